//! Named segments: finding, publishing and removing them.
//!
//! While anybody is attached, the name leads to the segment he is attached to. The gate sees to that: whoever is
//! attached shares it, and a name is removed only by one who has it alone. Everybody who gets through the gate looks
//! again at what he opened.
//!
//! ```text
//! open     open(name) -> share the gate -> still linked, not DEAD -> lock a row -> read its state -> LIVE
//! create   O_TMPFILE -> set memory aside -> write the front -> gate, row, LIVE -> linkat (or somebody was faster)
//! leave    FREE -> unlock the row -> leave the gate -> collect (a persistent one: no more)
//! collect  the gate alone -> bells -> the name still leads here -> unlink -> DEAD
//! ```
//!
//! | dies after | left | who repairs |
//! |---|---|---|
//! | `O_TMPFILE`, any step before `linkat` | nothing | the kernel |
//! | `linkat`, or while attached, the last one | the name; nobody attached | the next opener when it leaves; [`Segment::collect`]: `kill_last_participant` |
//! | collect: having the gate, any of the bells | the name; nobody attached | the same |
//! | collect: `unlink` | no name; DEAD missing | nobody needs to: openers see that there is no link |
//! | having leaked its locks to a child | gate and row stay locked | the child, by ending: `kill_with_leaked_locks` |
//!
//! Progress: an opener waits only for a collector, which makes three system calls; bounded by its patience.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use ginnel_layout::ParticipantId;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::linkat;

use crate::attach::{Busy, Door, Entered, Patience};
use crate::bells;
use crate::create::Blank;
use crate::fork::ForkMark;
use crate::front::{Front, has_magic, mark_dead};
use crate::locks::LockFile;
use crate::place::{Named, Place};
use crate::segment::{Segment, Sweep};
use crate::{Error, Options, needs};

/// What [`Segment::collect`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collected {
    /// Nobody was attached; the name is gone.
    Removed,
    /// Somebody is attached; nothing was changed.
    InUse,
    /// There is no such name, or it was removed or taken anew while we looked.
    Absent,
}

impl Segment {
    /// Attaches to the segment of that name.
    ///
    /// Waits, at most for `patience`, while somebody removes it or all rows are taken. A segment whose participants
    /// all died is attached to like any other: what its queues hold is still there.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::BadName`], [`Error::BadPlace`]; what is wrong with the file
    /// ([`Error::Symlink`], [`Error::NotAFile`], [`Error::WrongOwner`], [`Error::WrongMode`]) or with its front (as
    /// [`Segment::attach`]); [`Error::GateBusy`], [`Error::TableFull`].
    pub fn open(place: &Place, name: &str, sweep: Box<dyn Sweep>, patience: Duration) -> Result<Self, Error> {
        needs::check()?;
        let named = Named::new(place, name)?;
        let mut patience = Patience::new(patience);
        loop {
            let Some(fd) = named.open()? else { return Err(Error::NotFound { of: named.to_string() }) };
            match knock(fd, &named)? {
                Ok((door, front, me)) => return Self::sit(door, front, me, sweep, &named),
                Err(busy) => patience.pause(busy, &named)?,
            }
        }
    }

    /// Attaches to the segment of that name, and makes it if there is none.
    ///
    /// `options` count only for the one who makes it. Of several that come at once, one makes it and the others
    /// attach to his.
    ///
    /// # Errors
    /// As [`Segment::open`] and [`Segment::create`]; [`Error::NoSpace`] where the tmpfs is full. Nothing is left.
    pub fn open_or_create(
        place: &Place,
        name: &str,
        options: Options,
        sweep: Box<dyn Sweep>,
        patience: Duration,
    ) -> Result<Self, Error> {
        needs::check()?;
        let named = Named::new(place, name)?;
        let geometry = options.geometry()?;
        let mut patience = Patience::new(patience);
        loop {
            let Some(fd) = named.open()? else {
                let new = Blank::new(nameless(place)?, geometry, options.persistent, &named)?;
                if publish(&new.door.fd, &named)? {
                    bells::sweep(place, None);
                    return Ok(new.into_segment(Some(named), sweep));
                }
                // Somebody was faster. Ours never had a name, so nothing of it is left.
                continue;
            };
            match knock(fd, &named)? {
                Ok((door, front, me)) => return Self::sit(door, front, me, sweep, &named),
                Err(busy) => patience.pause(busy, &named)?,
            }
        }
    }

    /// Removes the name, whether or not somebody is attached. False: there was none.
    ///
    /// Those attached go on with what they have, and the next opener makes a new segment of that name. To remove
    /// only what nobody uses, see [`Segment::collect`].
    ///
    /// # Errors
    /// [`Error::BadName`], [`Error::BadPlace`], [`Error::NotAFile`] for a directory, or that of the system.
    pub fn unlink(place: &Place, name: &str) -> Result<bool, Error> {
        let removed = Named::new(place, name)?.unlink()?;
        bells::sweep(place, None);
        Ok(removed)
    }

    /// Removes the name if nobody is attached: what the last participant left when it was killed, or when it left a
    /// persistent segment.
    ///
    /// # Errors
    /// [`Error::BadName`], [`Error::BadPlace`]; what is wrong with the file, as [`Segment::open`]; and
    /// [`Error::WrongMagic`], as nothing is removed that is no segment (of whatever layout).
    pub fn collect(place: &Place, name: &str) -> Result<Collected, Error> {
        let named = Named::new(place, name)?;
        let Some(fd) = named.open()? else { return Ok(Collected::Absent) };
        if !has_magic(&fd).map_err(|e| Error::os("read", &named, e))? {
            return Err(Error::WrongMagic { of: named.to_string() });
        }
        let locks = LockFile::reopen(&fd, ForkMark::here()?, &named)?;
        collect(&named, &fd, &locks)
    }

    /// The names of this user's segments in a place, sorted; stale ones included.
    ///
    /// # Errors
    /// [`Error::BadPlace`], or that of the system.
    pub fn names(place: &Place) -> Result<Vec<String>, Error> {
        place.names()
    }
}

/// One try at getting in: through the gate and to a row. What is busy, if that fails, is to be tried again from the
/// name on, because the segment may be gone by then.
fn knock(fd: OwnedFd, named: &Named) -> Result<Result<(Door, Front, ParticipantId), Busy>, Error> {
    Ok(match Door::enter(fd, Some(named.clone()), named)? {
        Entered::Busy | Entered::Gone => Err(Busy::Gate),
        Entered::In(door, front) => match door.seat(&front, named)? {
            Some(me) => Ok((door, front, me)),
            None => Err(Busy::Table(front.geometry.participants)),
        },
    })
}

/// Removes the name if it still leads to the file behind `fd` and nobody has shared its gate.
///
/// `DEAD` comes after `unlink`: a collector that dies in between leaves a file without a name, which nobody can
/// open. The other way round it would leave a name that nobody can enter.
pub(crate) fn collect(named: &Named, fd: &OwnedFd, locks: &LockFile) -> Result<Collected, Error> {
    let failed = |errno| Error::os("remove", named, errno);
    if !locks.close_gate().map_err(failed)? {
        return Ok(Collected::InUse);
    }
    // Before the name: a collector that dies in between leaves a name that leads the next one here. Whatever has its name
    // by now, nobody can be attached to this one.
    bells::sweep(&named.place, Front::read(fd, named).ok().map(|front| front.uuid));
    let mut removed = false;
    if named.leads_to(fd)? {
        removed = named.unlink()?;
        mark_dead(fd).map_err(failed)?;
    }
    locks.leave_gate();
    Ok(if removed { Collected::Removed } else { Collected::Absent })
}

/// A file in the place that has no name yet, for its owner alone.
fn nameless(place: &Place) -> Result<OwnedFd, Error> {
    let bad = |why| Error::BadPlace { of: place.to_string(), why };
    let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
    let private = Mode::S_IRUSR | Mode::S_IWUSR;
    let fd = open(place.path(), flags, private).map_err(|errno| match errno {
        Errno::EACCES | Errno::EPERM | Errno::EROFS => bad("you may not write to it"),
        Errno::EOPNOTSUPP | Errno::EISDIR => bad("it has no O_TMPFILE"),
        _ => Error::os("create a file in", place, errno),
    })?;
    // The process's umask may have taken away even the owner's rights.
    fchmod(&fd, private).map_err(|errno| Error::os("create a file in", place, errno))?;
    Ok(fd)
}

/// Gives the complete segment its name. False: somebody else has it.
fn publish(fd: &OwnedFd, named: &Named) -> Result<bool, Error> {
    let file = format!("/proc/self/fd/{}", fd.as_raw_fd());
    match linkat(AT_FDCWD, file.as_str(), AT_FDCWD, &named.path(), AtFlags::AT_SYMLINK_FOLLOW) {
        Ok(()) => Ok(true),
        Err(Errno::EEXIST) => Ok(false),
        Err(errno) => Err(Error::os("publish", named, errno)),
    }
}
