//! The manager: an arena with a limit, and the names of the objects in it.
//!
//! `Manager::current()` is the arena of this process; `Manager::new` makes a private one; a named one
//! (`open_or_create`) is for unrelated processes of the same user. An object in it is made under a name, or
//! without; it lives while a process holds a handle of it or its name exists.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::entry::{Entry, st};
use ginnel_layout::line::PAGE;
use ginnel_layout::{ParticipantId, participant};
use ginnel_segment::{Collected, Place, Segment, default_limit, fd_passing};

use crate::arena::{self, Arena, Kind, ObjectRef, check_name};
use crate::detect;
use crate::error::{Error, ErrorKind, Owner, Result};
use crate::info::{self, SyncInfo};
use crate::life;
use crate::queue::Stats;
use crate::seat::Tenure;
use crate::store::{self, Usage};
use crate::sweep::{Objects, tag, tag_name};
use crate::words;

/// How long opening a name waits while somebody removes it.
const GATE_PATIENCE: Duration = Duration::from_secs(10);

/// An arena with a limit, and a map from names to the objects in it. Cloning it is cheap.
#[derive(Clone)]
pub struct Manager {
    pub(crate) arena: Arc<Arena>,
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager")
            .field("name", &self.name())
            .field("limit", &self.limit())
            .finish_non_exhaustive()
    }
}

/// What can live in a [`Manager`]: the handles of this crate. Sealed.
///
/// `T::Options` is what is needed to make one: [`Options`](crate::spsc::Options) for the ends of a lane,
/// [`Init`](crate::mutex::Init) for a mutex.
pub trait Object: sealed::Sealed {}

impl<T: sealed::Sealed> Object for T {}

/// The making and opening of objects, out of sight of users.
pub(crate) mod sealed {
    use super::{Arc, Arena, Kind, ObjectRef, Result, Tenure};

    pub trait Sealed: Sized {
        type Options: Default;

        /// Is it an end that one process has at a time?
        const EXCLUSIVE: bool = false;

        fn kind() -> Kind;

        /// Can what was found be opened as this?
        fn accepts(found: Kind) -> bool {
            found == Self::kind()
        }

        fn make(arena: &Arc<Arena>, name: Option<&str>, options: Self::Options) -> Result<ObjectRef>;
        fn open(object: ObjectRef) -> Result<Self>;

        /// [`Sealed::open`] of what came with this ticket of ours, which is freed after it.
        fn arrive(object: ObjectRef, ticket: u32) -> Result<Self> {
            let _ = ticket;
            Self::open(object)
        }

        fn object(&self) -> &ObjectRef;

        /// What an exclusive end keeps; `None` for handles that others may have at the same time.
        fn tenure(&self) -> Option<&Tenure> {
            None
        }

        /// Another one, which goes into transit instead of this one. `None`: this one goes.
        ///
        /// # Errors
        /// When there can be no other now.
        fn other(&self) -> Result<Option<Self>> {
            Ok(None)
        }

        /// Before an exclusive end is put into transit: may the message at its head have been delivered before?
        ///
        /// # Errors
        /// When it cannot go now.
        fn departing(&self) -> Result<bool> {
            Ok(false)
        }
    }
}

/// How a named manager is made.
#[derive(Debug, Clone, Default)]
pub struct Options {
    limit: Option<usize>,
    participants: Option<u16>,
    objects: Option<u32>,
    directory: Option<Place>,
    persistent: bool,
}

impl Options {
    /// The defaults: a quarter of the machine's memory as limit, 256 participants, 1024 objects.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Most bytes its objects may take together. Memory is taken as they are made, not before.
    #[must_use]
    pub fn limit(mut self, bytes: usize) -> Self {
        self.limit = Some(bytes);
        self
    }

    /// Most processes attached at a time, up to 256.
    #[must_use]
    pub fn participants(mut self, most: u16) -> Self {
        self.participants = Some(most);
        self
    }

    /// Most objects at a time, up to 32768.
    #[must_use]
    pub fn objects(mut self, most: u32) -> Self {
        self.objects = Some(most);
        self
    }

    /// The directory of named managers: `/dev/shm`, or another tmpfs.
    #[must_use]
    pub fn directory(mut self, path: impl Into<std::path::PathBuf>) -> Self {
        self.directory = Some(Place::at(path.into()));
        self
    }

    /// It outlives every process: when the last one leaves, its name stays, and with it all objects in it that have names.
    /// [`Manager::unlink`] and [`Manager::collect`] (`ginnel gc`) remove it, and so does a restart of the machine. Means
    /// something for named managers only.
    #[must_use]
    pub fn persistent(mut self) -> Self {
        self.persistent = true;
        self
    }

    fn segment(&self) -> ginnel_segment::Options {
        let default = ginnel_segment::Options::default();
        ginnel_segment::Options {
            participants: self.participants.unwrap_or(default.participants),
            objects: self.objects.unwrap_or(default.objects),
            limit: self.limit.map_or_else(default_limit, |bytes| bytes as u64),
            persistent: self.persistent,
        }
    }

    fn place(&self) -> Place {
        self.directory.clone().unwrap_or_default()
    }
}

/// The manager of this process. Leaked, as what is in it is `'static`.
static CURRENT: RwLock<Option<Result<&'static Manager>>> = RwLock::new(None);

impl Manager {
    /// The manager of this process, made at the first call. A child process that was started through
    /// ginnel has that of its starter.
    ///
    /// # Errors
    /// When the system refuses the memory; the same error each time.
    pub fn current() -> Result<&'static Self> {
        // A panic in here leaves the place empty or filled, both of which are good.
        if let Some(current) = &*CURRENT.read().unwrap_or_else(PoisonError::into_inner) {
            return current.clone();
        }
        let mut place = CURRENT.write().unwrap_or_else(PoisonError::into_inner);
        let make = || Self::with(Options::new()).map(|manager| &*Box::leak(Box::new(manager)));
        place.get_or_insert_with(make).clone()
    }

    /// Makes the manager behind an inherited descriptor that of this process, as the participant `name`.
    ///
    /// # Errors
    /// `Invalid` when there is one already that did not cross a fork; else as [`Manager::from_fd`].
    pub(crate) fn adopt(fd: OwnedFd, name: &str) -> Result<()> {
        let mut place = CURRENT.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(Ok(current)) = &*place
            && current.arena.segment().check_fork().is_ok()
        {
            return Err(Error::new(ErrorKind::Invalid, "this process has a manager of its own already"));
        }
        let segment = Segment::attach_inherited(fd, Box::new(Objects), name)?;
        *place = Some(Ok(Box::leak(Box::new(Self { arena: Arena::new(segment) }))));
        Ok(())
    }

    /// A private manager whose objects may take `limit` bytes together; gone with its last handle.
    ///
    /// # Errors
    /// `Invalid` for a limit of zero, `Full` for one above the machine's memory, `Os`.
    pub fn new(limit: usize) -> Result<Self> {
        Self::with(Options::new().limit(limit))
    }

    /// A private manager apart from that of this process, with the usual limit. No child gets it by itself, whatever it
    /// is started with: who is to have it is sent its descriptor ([`Manager::send_over`]). So what others write into their
    /// arena cannot harm what is in this one, and what fills the one leaves the other as it is.
    ///
    /// # Errors
    /// As [`Manager::new`].
    pub fn isolated() -> Result<Self> {
        Self::with(Options::new())
    }

    /// A private manager with options.
    ///
    /// # Errors
    /// As [`Manager::new`].
    pub fn with(options: Options) -> Result<Self> {
        let segment = Segment::create(options.segment(), Box::new(Objects))?;
        Ok(Self { arena: Arena::new(segment) })
    }

    /// The manager of that name, made if there is none. Processes of the same user share it; it goes when the
    /// last of them leaves in order, or with `ginnel gc`; a persistent one ([`Options::persistent`]) only so.
    ///
    /// # Errors
    /// `Invalid` for an impossible name, `Denied` for a file that is not ours or open to others, `Mismatch` for
    /// another version of the layout, `Corrupted`, `Full`, `Os`.
    pub fn open_or_create(name: &str) -> Result<Self> {
        Self::open_or_create_with(name, Options::new())
    }

    /// [`Manager::open_or_create`] with options, which count only if it is made.
    ///
    /// # Errors
    /// As [`Manager::open_or_create`].
    pub fn open_or_create_with(name: &str, options: Options) -> Result<Self> {
        let segment = Segment::open_or_create(
            &options.place(),
            name,
            options.segment(),
            Box::new(Objects),
            GATE_PATIENCE,
        )?;
        Ok(Self { arena: Arena::new(segment) })
    }

    /// The manager of that name.
    ///
    /// # Errors
    /// `NotFound`; else as [`Manager::open_or_create`].
    pub fn open(name: &str) -> Result<Self> {
        Self::open_with(name, &Options::new())
    }

    /// [`Manager::open`] in the directory that the options name.
    ///
    /// # Errors
    /// As [`Manager::open`].
    pub fn open_with(name: &str, options: &Options) -> Result<Self> {
        let segment = Segment::open(&options.place(), name, Box::new(Objects), GATE_PATIENCE)?;
        Ok(Self { arena: Arena::new(segment) })
    }

    /// Removes the name; who has it open keeps it. False: there was none.
    ///
    /// # Errors
    /// `Invalid`, `Denied`, `Os`.
    pub fn unlink(name: &str) -> Result<bool> {
        Ok(Segment::unlink(&Place::default(), name)?)
    }

    /// Removes the named manager if no living process is attached, also a persistent one. True: it did.
    ///
    /// # Errors
    /// `NotFound`, `Invalid`, `Denied`, `Os`.
    pub fn collect(name: &str) -> Result<bool> {
        Ok(matches!(Segment::collect(&Place::default(), name)?, Collected::Removed))
    }

    /// The named managers of this user.
    ///
    /// # Errors
    /// `Os` when the directory cannot be read.
    pub fn list() -> Result<Vec<String>> {
        Ok(Segment::names(&Place::default())?)
    }

    /// Attaches to a manager whose descriptor came from another process (or was duplicated): a participant of
    /// its own.
    ///
    /// # Errors
    /// `Denied` when it is no sealed memfd, `Corrupted`, `Mismatch`, `Full` when all places are taken, `Os`.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        Ok(Self { arena: Arena::new(Segment::attach(fd, Box::new(Objects))?) })
    }

    /// Sends the manager's descriptor over a Unix socket; the receiver calls [`Manager::receive`].
    ///
    /// # Errors
    /// `Os` when the socket refuses.
    pub fn send_over(&self, socket: &UnixStream) -> Result<()> {
        Ok(fd_passing::send(socket, self.as_fd())?)
    }

    /// Receives a manager that was sent with [`Manager::send_over`], and attaches to it.
    ///
    /// # Errors
    /// As [`Manager::from_fd`].
    pub fn receive(socket: &UnixStream) -> Result<Self> {
        Self::from_fd(fd_passing::receive(socket)?)
    }

    /// Makes an object without a name.
    ///
    /// # Errors
    /// `Full`, `Forked`, and what the object's own options can have wrong.
    pub fn create<T: Object>(&self) -> Result<T> {
        self.create_with(T::Options::default())
    }

    /// Makes an object without a name.
    ///
    /// # Errors
    /// As [`Manager::create`].
    pub fn create_with<T: Object>(&self, options: T::Options) -> Result<T> {
        T::open(T::make(&self.arena, None, options)?)
    }

    /// The object of that name. `None`: there is none.
    ///
    /// # Errors
    /// `Mismatch` when it is of another type; `Taken` when it is an exclusive end that a living process holds.
    pub fn get<T: Object>(&self, name: &str) -> Result<Option<T>> {
        check_name(name)?;
        let found = self.arena.with_names(|| self.arena.find(name))?;
        found.map(|(object, kind)| T::open(expect::<T>(object, kind)?)).transpose()
    }

    /// The object of that name, made with the type's defaults if there is none.
    ///
    /// # Errors
    /// As [`Manager::get`] and [`Manager::create`].
    pub fn get_or_create<T: Object>(&self, name: &str) -> Result<T> {
        self.get_or_create_with(name, T::Options::default())
    }

    /// The object of that name, made with these options if there is none.
    ///
    /// # Errors
    /// As [`Manager::get`] and [`Manager::create`].
    pub fn get_or_create_with<T: Object>(&self, name: &str, options: T::Options) -> Result<T> {
        check_name(name)?;
        let object = self.arena.with_names(|| match self.arena.find(name)? {
            Some((object, kind)) => expect::<T>(object, kind),
            None => T::make(&self.arena, Some(name), options),
        })?;
        T::open(object)
    }

    /// Takes a name away. Its object lives on while somebody holds it. False: there was none.
    ///
    /// # Errors
    /// `Timeout` when another process sits on the names; `Forked`.
    pub fn remove(&self, name: &str) -> Result<bool> {
        self.arena.with_names(|| Ok(self.arena.remove(name)))
    }

    /// The names of its objects, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.arena.names()
    }

    /// Bytes its objects take of the limit. An unbounded queue counts with all it has reserved, also while that has no
    /// memory.
    #[must_use]
    pub fn size(&self) -> usize {
        self.arena.segment().used_pages() as usize * PAGE
    }

    /// Most bytes they may take.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.arena.segment().geometry().pages as usize * PAGE
    }

    /// Does it stay when the last process leaves it? See [`Options::persistent`].
    #[must_use]
    pub fn is_persistent(&self) -> bool {
        self.arena.segment().is_persistent()
    }

    /// Its name, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.arena.segment().name()
    }

    /// Looks at every participant and recovers what the dead ones left; how many there were. Nobody has to call
    /// this: whoever waits for a dead one, and whoever attaches, does it by itself.
    ///
    /// # Errors
    /// `Forked`.
    pub fn recover(&self) -> Result<usize> {
        self.arena.segment().check_fork()?;
        Ok(self.arena.segment().recover_dead() as usize)
    }

    /// Lets this process notice when it waits for a lock in a cycle of processes that wait for one another: the wait
    /// then fails with `Deadlock`. It sees only processes that have called this, too. A lock that is free costs nothing
    /// more.
    ///
    /// # Errors
    /// `Full`, `Forked`, `Timeout` when another process sits on the names.
    pub fn detect_deadlocks(&self) -> Result<()> {
        detect::enable(&self.arena)
    }

    /// Who is attached, and what is in it. For people and tools.
    #[must_use]
    pub fn inspect(&self) -> Inspection {
        let segment = self.arena.segment();
        let rows = 0..segment.geometry().participants;
        let participants = rows
            .map(ParticipantId::from_index)
            .filter(|id| is_live(segment, *id))
            .filter_map(|id| self.arena.describe(id))
            .collect();
        let objects = segment
            .used_entries()
            .filter(|(_, entry)| life::state(entry).st == st::LIVE)
            .map(|(index, entry)| ObjectInfo {
                kind: tag_name(entry.tag.load(Relaxed)),
                name: if entry.named.load(Relaxed) == 0 { None } else { arena::read_name(entry) },
                size: entry.pages.load(Relaxed) as usize * PAGE,
                holders: entry.holders.iter().map(|word| word.load(Relaxed).count_ones()).sum(),
                queue: match entry.tag.load(Relaxed) {
                    tag::QUEUE | tag::CHANNEL => {
                        words::ring_of(segment, entry).map(|ring| Stats::of(&ring, &self.arena))
                    }
                    _ => None,
                },
                sync: info::of(segment, entry, &self.arena),
                store: store_usage(segment, index, entry),
            })
            .map(with_claimed)
            .collect();
        let recoveries = segment.control().recoveries.load(Relaxed);
        Inspection { participants, objects, recoveries }
    }
}

/// Adds the pages that the shards of a store have claimed.
fn with_claimed(mut object: ObjectInfo) -> ObjectInfo {
    object.size += object.store.map_or(0, |usage| usage.claimed as usize);
    object
}

fn store_usage(segment: &Segment, index: u32, entry: &Entry) -> Option<Usage> {
    match entry.tag.load(Relaxed) {
        tag::DICT | tag::LIST | tag::NAMESPACE => store::usage_of(segment, index, entry),
        _ => None,
    }
}

fn is_live(segment: &Segment, id: ParticipantId) -> bool {
    segment
        .participant(id)
        .is_some_and(|record| participant::state::st(record.state.load(Relaxed)) != participant::state::FREE)
}

/// Refuses an object of another type than the one asked for.
pub(crate) fn expect<T: Object>(object: ObjectRef, found: Kind) -> Result<ObjectRef> {
    let wanted = T::kind();
    if T::accepts(found) {
        return Ok(object);
    }
    let describe = |kind: Kind| match (kind.format & ((1 << 48) - 1), kind.format >> 48) {
        (_, 0xffff) => format!("a {} of encoded values", tag_name(kind.tag)),
        (size, 0) => format!("a {} of values of {size} bytes", tag_name(kind.tag)),
        (size, align) => format!("a {} of values of {size} bytes aligned to {align}", tag_name(kind.tag)),
    };
    let error =
        Error::new(ErrorKind::Mismatch, format!("wanted {}, found {}", describe(wanted), describe(found)));
    Err(object.name_error(error).with_advice("open it as what it is, or choose another name"))
}

impl AsFd for Manager {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.arena.segment().fd()
    }
}

/// What is in a manager at one moment.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Inspection {
    /// Who is attached; the dead that nobody recovered yet are among them.
    pub participants: Vec<Owner>,
    /// The objects.
    pub objects: Vec<ObjectInfo>,
    /// Participants recovered since it was made.
    pub recoveries: u64,
}

/// One object.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ObjectInfo {
    /// What it is.
    pub kind: &'static str,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Bytes of the arena it takes.
    pub size: usize,
    /// Processes that hold it.
    pub holders: u32,
    /// Its counters, if it is a queue.
    pub queue: Option<Stats>,
    /// Who holds it and who waits for it, if it is a lock.
    pub sync: Option<SyncInfo>,
    /// What its memory is used for, if it is a dict, a namespace or a list.
    pub store: Option<Usage>,
}

impl From<ginnel_segment::Forked> for Error {
    fn from(forked: ginnel_segment::Forked) -> Self {
        Self::new(ErrorKind::Forked, forked.to_string())
    }
}

impl From<ginnel_segment::Error> for Error {
    fn from(error: ginnel_segment::Error) -> Self {
        use ginnel_segment::Error as E;
        let kind = match &error {
            E::Forked(_) => ErrorKind::Forked,
            E::BadName { .. } | E::ZeroCapacity { .. } | E::BadPlace { .. } => ErrorKind::Invalid,
            E::TooMany { .. } | E::LimitTooLarge { .. } => ErrorKind::TooLarge,
            E::NotFound { .. } => ErrorKind::NotFound,
            E::OtherLayout { .. } | E::UnknownObject { .. } => ErrorKind::Mismatch,
            E::WrongMagic { .. } | E::BadHeader { .. } | E::WrongSize { .. } => ErrorKind::Corrupted,
            E::WrongOwner { .. }
            | E::WrongMode { .. }
            | E::NotAFile { .. }
            | E::Symlink { .. }
            | E::NotShmem { .. }
            | E::MissingSeals { .. }
            | E::ReadOnly { .. } => ErrorKind::Denied,
            E::TableFull { .. }
            | E::DirectoryFull { .. }
            | E::Full { .. }
            | E::NoSpace { .. }
            | E::NoMemory { .. } => ErrorKind::Full,
            E::GateBusy { .. } => ErrorKind::Timeout,
            E::Unsupported { .. } => ErrorKind::Unsupported,
            E::TooManyFiles { .. } => ErrorKind::TooManyFiles,
            _ => ErrorKind::Os,
        };
        let code = match &error {
            E::Os { source, .. } => source.raw_os_error(),
            _ => None,
        };
        // The sentence of the segment has the object and the advice in it.
        Self::new(kind, error.to_string()).with_os(code)
    }
}
