//! Attaching: through the door, to a free row of the table, as a participant.
//!
//! The order is everything. The gate is shared first; then the file is looked at (a name that was removed before
//! that is seen, one that is removed after that cannot be); then a row is taken by its lock; then its state is read.
//!
//! | dies after | left | who repairs |
//! |---|---|---|
//! | the gate | nothing: the lock goes with the process | the kernel; of a named segment the next leaver removes the name |
//! | taking the row, before LIVE | FREE, or LIVE or RECOVERING of the one before, byte free | `kill_attach_sweep`: the next who takes or probes the row |
//! | LIVE | LIVE, byte free: dead | the next who takes or probes the row |
//!
//! Progress: no waiting but for a free row, which a prober may hold for a moment; bounded by the caller's patience.

use std::fmt::Display;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::{AtomicU64, Ordering};
use ginnel_layout::entry::Entry;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, SealFlag, fcntl};
use nix::libc;
use nix::sys::stat::fstat;
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};

use crate::create::SEALS;
use crate::fork::ForkMark;
use crate::front::Front;
use crate::locks::LockFile;
use crate::map::Map;
use crate::named::collect;
use crate::participants::{enter, enter_as};
use crate::place::Named;
use crate::segment::{Segment, Sweep};
use crate::{Error, needs};

/// How long [`Segment::attach`] waits for a prober to let go of the last free row.
pub(crate) const MOMENT: Duration = Duration::from_millis(250);

/// `F_SEAL_FUTURE_WRITE`: nobody may map it for writing any more.
pub(crate) const FUTURE_WRITE: SealFlag = SealFlag::from_bits_retain(0x10);

impl Segment {
    /// Attaches to the segment behind a descriptor that came from elsewhere: over a socket, or inherited by `exec`.
    ///
    /// Everything about it is checked before it is touched: that it is shared memory of the kernel, that nobody can
    /// change its length, and that its front says the same as its length. A participant that died and has the first
    /// free row is recovered on the way.
    ///
    /// # Errors
    /// [`Error::NotShmem`], [`Error::MissingSeals`], [`Error::ReadOnly`], [`Error::NotAFile`], those of a front
    /// ([`Error::WrongMagic`], [`Error::OtherLayout`], [`Error::BadHeader`], [`Error::WrongSize`]),
    /// [`Error::UnknownObject`], [`Error::TableFull`], [`Error::TooManyFiles`], or that of the system. The
    /// descriptor is closed.
    pub fn attach(fd: OwnedFd, sweep: Box<dyn Sweep>) -> Result<Self, Error> {
        needs::check()?;
        let of = format!("the segment passed as descriptor {}", fd.as_raw_fd());
        prove(&fd, &of)?;
        Self::attach_to(&fd, None, sweep, &of)
    }

    /// Attaches to the segment behind a descriptor that this process inherited from the one that made the segment, under
    /// the given name.
    ///
    /// It is our own, so nothing is proved about it but its front and its length. What a starter costs its children is
    /// paid here, so this makes as few system calls as it can. Who survived an `exec` with it has set its close-on-exec
    /// flag already, or whatever this process executes inherits it too.
    ///
    /// # Errors
    /// As [`Segment::attach`], without those of the proof.
    pub fn attach_inherited(fd: OwnedFd, sweep: Box<dyn Sweep>, name: &str) -> Result<Self, Error> {
        let of = format!("the inherited segment of descriptor {}", fd.as_raw_fd());
        let mut patience = Patience::new(MOMENT);
        // No name leads to it, so nobody takes its gate alone, and nobody removes it.
        let Entered::In(door, front) = Door::enter(fd, None, &of)? else {
            return Err(Error::NotFound { of });
        };
        loop {
            match door.seat(&front, &of)? {
                Some(me) => return Self::sit_as(door, front, me, sweep, &of, Some(name)),
                None => patience.pause(Busy::Table(front.geometry.participants), &of)?,
            }
        }
    }

    /// Attaches once more to the same segment, as another participant, without looking a name up.
    ///
    /// This is how a forked child gets back in: the parent's attachment is good for nothing there but this.
    ///
    /// # Errors
    /// As [`Segment::attach`]; [`Error::NotFound`] where the name was removed meanwhile.
    pub fn attach_again(&self, sweep: Box<dyn Sweep>) -> Result<Self, Error> {
        Self::attach_to(&self.door.fd, self.door.name.as_ref(), sweep, self)
    }

    fn attach_to(
        fd: &OwnedFd,
        name: Option<&Named>,
        sweep: Box<dyn Sweep>,
        of: &dyn Display,
    ) -> Result<Self, Error> {
        let mut patience = Patience::new(MOMENT);
        loop {
            let own = fd.try_clone().map_err(|e| Error::os("duplicate", of, errno_of(&e)))?;
            let busy = match Door::enter(own, name.cloned(), of)? {
                Entered::In(door, front) => match door.seat(&front, of)? {
                    Some(me) => return Self::sit(door, front, me, sweep, of),
                    None => Busy::Table(front.geometry.participants),
                },
                Entered::Gone => return Err(Error::NotFound { of: of.to_string() }),
                Entered::Busy => Busy::Gate,
            };
            patience.pause(busy, of)?;
        }
    }

    /// The rest of attaching, once the row `me` is locked.
    pub(crate) fn sit(
        door: Door,
        front: Front,
        me: ParticipantId,
        sweep: Box<dyn Sweep>,
        of: &dyn Display,
    ) -> Result<Self, Error> {
        Self::sit_as(door, front, me, sweep, of, None)
    }

    /// [`Segment::sit`] under a name; `None`: that of the process.
    fn sit_as(
        door: Door,
        front: Front,
        me: ParticipantId,
        sweep: Box<dyn Sweep>,
        of: &dyn Display,
        name: Option<&str>,
    ) -> Result<Self, Error> {
        let map = Map::new(door.fd.as_fd(), front.geometry).map_err(|e| Error::os("map", of, e))?;
        // Who gave us its own segment has looked at it with the same build; it would be the most expensive step here.
        let strangers = if name.is_none() { front.geometry.objects } else { 0 };
        let used = |entry: &&Entry| entry.state.load(Ordering::Relaxed) != 0;
        for (index, entry) in (0..strangers).map_while(|index| Some((index, map.entry(index).filter(used)?)))
        {
            let tag = entry.tag.load(Ordering::Relaxed);
            if tag != 0 && !sweep.knows(tag) {
                return Err(Error::UnknownObject { of: of.to_string(), entry: index, tag });
            }
        }
        let segment = Self {
            me,
            uuid: front.uuid,
            map: Arc::new(map),
            door,
            busy: Default::default(),
            next_page: AtomicU64::new(0),
            sweep,
        };
        segment.succeed();
        match name {
            Some(name) => enter_as(&segment.map, me, name),
            None => enter(&segment.map, me),
        }
        Ok(segment)
    }
}

/// A file that may be a segment, and the lock file on it with the gate shared. Leaving removes the name if nobody is
/// left, however far attaching came: a leaver that met our share of the gate relies on us for that. A persistent segment
/// keeps its name.
#[derive(Debug)]
pub(crate) struct Door {
    /// Shared with the attachments of heirs.
    pub(crate) fd: Arc<OwnedFd>,
    pub(crate) locks: LockFile,
    pub(crate) mark: ForkMark,
    /// Where it is published. `None` for a memfd, and until `linkat`.
    pub(crate) name: Option<Named>,
    /// The name stays when nobody is left.
    pub(crate) persistent: bool,
}

/// What came of going through the door.
pub(crate) enum Entered {
    /// Inside: nobody removes the segment now.
    In(Door, Front),
    /// It was removed before we came.
    Gone,
    /// Somebody removes it right now.
    Busy,
}

impl Door {
    /// Shares the gate, then looks whether the segment is still there, and good.
    pub(crate) fn enter(fd: OwnedFd, name: Option<Named>, of: &dyn Display) -> Result<Entered, Error> {
        let mark = ForkMark::here()?;
        let locks = LockFile::reopen(&fd, mark, of)?;
        if !locks.share_gate().map_err(|e| Error::os("lock", of, e))? {
            return Ok(Entered::Busy);
        }
        let front = Front::read(&fd, of)?;
        // A memfd has no name to be removed; its link count is zero from the start.
        if name.is_some() && front.gone {
            return Ok(Entered::Gone);
        }
        let fd = Arc::new(fd);
        Ok(Entered::In(Self { fd, locks, mark, name, persistent: front.persistent }, front))
    }

    /// Locks the first row that can be locked: one that nobody has, or whose participant died.
    pub(crate) fn seat(&self, front: &Front, of: &dyn Display) -> Result<Option<ParticipantId>, Error> {
        seat(&self.locks, front.geometry.participants, of)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if self.locks.check().is_err() {
            return;
        }
        // The gate is left before it is asked for alone: two leavers that both kept their share would each keep the
        // other from removing the name.
        self.locks.leave_gate();
        if let Some(named) = &self.name
            && !self.persistent
        {
            let _ = collect(named, &self.fd, &self.locks);
        }
    }
}

/// Locks the first of so many rows that can be locked.
pub(crate) fn seat(
    locks: &LockFile,
    participants: u16,
    of: &dyn Display,
) -> Result<Option<ParticipantId>, Error> {
    for row in 0..participants {
        let id = ParticipantId::from_index(row);
        if locks.take(id).map_err(|e| Error::os("lock", of, e))? {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// Why a try at attaching has to be repeated.
pub(crate) enum Busy {
    /// A collector is at work.
    Gate,
    /// All rows of a table of so many are locked.
    Table(u16),
}

/// How long a caller is willing to try again.
pub(crate) struct Patience {
    given: Duration,
    until: Option<Instant>,
    pause: Duration,
}

impl Patience {
    pub(crate) fn new(given: Duration) -> Self {
        Self { given, until: Instant::now().checked_add(given), pause: Duration::from_micros(50) }
    }

    /// Sleeps a little, longer each time and never twice the same, or fails with what there was to wait for.
    pub(crate) fn pause(&mut self, busy: Busy, of: &dyn Display) -> Result<(), Error> {
        let left = self.until.map(|until| until.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            let of = of.to_string();
            return Err(match busy {
                Busy::Gate => Error::GateBusy { of, patience: self.given },
                Busy::Table(participants) => Error::TableFull { of, participants },
            });
        }
        // Openers that keep in step would meet at the gate for ever; the clock's low digits put them out of step.
        let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |t| t.subsec_nanos());
        let pause = self.pause.mul_f64(0.5 + f64::from(clock % 1024) / 1024.0);
        std::thread::sleep(left.map_or(pause, |left| pause.min(left)));
        self.pause = (self.pause * 2).min(Duration::from_millis(5));
        Ok(())
    }
}

/// Proves that a descriptor is a memfd whose length is fixed and that we may write.
fn prove(fd: &OwnedFd, of: &str) -> Result<(), Error> {
    let look = |errno| Error::os("look at", &of, errno);
    let seals = prove_sealed(fd, SEALS, of)?;
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL).map_err(look)?);
    if flags & OFlag::O_ACCMODE != OFlag::O_RDWR || seals.intersects(FUTURE_WRITE | SealFlag::F_SEAL_WRITE) {
        return Err(Error::ReadOnly { of: of.to_owned() });
    }
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(look)?;
    Ok(())
}

/// Proves that a descriptor is a memfd that carries at least these seals; gives all that it carries.
pub(crate) fn prove_sealed(fd: &OwnedFd, wanted: SealFlag, of: &str) -> Result<SealFlag, Error> {
    let look = |errno| Error::os("look at", &of, errno);
    let of_owned = || of.to_owned();
    let stat = fstat(fd).map_err(look)?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(Error::NotAFile { of: of_owned(), kind: kind(stat.st_mode) });
    }
    // Huge pages are shared memory too, but a hole in them can find the pool empty: a fault instead of an error.
    if fstatfs(fd).map_err(look)?.filesystem_type() != TMPFS_MAGIC {
        return Err(Error::NotShmem { of: of_owned() });
    }
    let seals = match fcntl(fd, FcntlArg::F_GET_SEALS) {
        Ok(bits) => SealFlag::from_bits_retain(bits),
        Err(Errno::EINVAL) => return Err(Error::NotShmem { of: of_owned() }),
        Err(errno) => return Err(look(errno)),
    };
    let missing = wanted.difference(seals);
    if !missing.is_empty() {
        let mut names: Vec<&str> = missing.iter_names().map(|(name, _)| name).collect();
        names.extend(missing.contains(FUTURE_WRITE).then_some("F_SEAL_FUTURE_WRITE"));
        return Err(Error::MissingSeals { of: of_owned(), missing: names.join(" ") });
    }
    Ok(seals)
}

/// What a file is that is not a regular one.
pub(crate) fn kind(mode: libc::mode_t) -> &'static str {
    match mode & libc::S_IFMT {
        libc::S_IFDIR => "directory",
        libc::S_IFIFO => "fifo",
        libc::S_IFSOCK => "socket",
        libc::S_IFLNK => "symbolic link",
        _ => "device",
    }
}

fn errno_of(e: &std::io::Error) -> Errno {
    e.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
