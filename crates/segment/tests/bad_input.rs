//! Everything that is no segment, or cannot become one: an error of its own that says what to do, and nothing left.
//!
//! The tests of this file run one at a time, because each counts the descriptors of the process.

mod support;

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ginnel_layout::atomic::Ordering;
use ginnel_layout::entry::EntryState;
use ginnel_segment::{Error, Options, Place, Segment, default_limit, fd_passing};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use support::{Actor, PATIENCE, SMALL, Scratch, Sweeps, TAG, descriptors, role, say};

/// One test's turn, at whose end everything must be as before.
struct Quiet {
    scratch: Scratch,
    descriptors: usize,
    _turn: MutexGuard<'static, ()>,
}

fn quiet() -> Quiet {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    // The first mark of a process and the like are made once and stay.
    drop(Segment::create(SMALL, Sweeps::boxed()).expect("created"));
    Quiet { scratch: Scratch::new(), descriptors: descriptors(), _turn: turn }
}

impl Quiet {
    fn file(&self) -> PathBuf {
        self.scratch.directory.path().join(format!("ginnel.{}.s", nix::unistd::geteuid()))
    }

    fn open(&self) -> Result<Segment, Error> {
        Segment::open(&self.scratch.place, "s", Sweeps::boxed(), Duration::from_millis(20))
    }

    fn open_or_create(&self) -> Result<Segment, Error> {
        Segment::open_or_create(&self.scratch.place, "s", SMALL, Sweeps::boxed(), Duration::from_millis(20))
    }

    /// What both ways in say about what stands at the name; they must not differ, nor remove it.
    fn refused(&self) -> Error {
        let error = self.open().expect_err("refused");
        let other = self.open_or_create().expect_err("refused");
        assert_eq!(error.to_string(), other.to_string());
        assert!(error.to_string().contains("\"s\""), "{error}");
        assert!(fs::symlink_metadata(self.file()).is_ok(), "it is not ours to remove");
        advises(&error);
        error
    }

    fn write(&self, bytes: &[u8], mode: u32) {
        fs::write(self.file(), bytes).expect("written");
        fs::set_permissions(self.file(), fs::Permissions::from_mode(mode)).expect("permitted");
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(descriptors(), self.descriptors, "descriptors were leaked");
        }
    }
}

/// An error's text says what happened and, behind a semicolon, what to do.
fn advises(error: &Error) {
    let text = error.to_string();
    assert!(
        text.split_once("; ").is_some_and(|(what, advice)| what.len() > 10 && advice.len() > 10),
        "{text}"
    );
}

/// The bytes of a good segment that nobody is attached to.
fn image() -> Vec<u8> {
    let scratch = Scratch::new();
    let segment =
        Segment::open_or_create(&scratch.place, "s", SMALL, Sweeps::boxed(), PATIENCE).expect("made");
    let row = segment.participant(segment.me()).expect("the row").state.load(Ordering::Relaxed);
    let file = scratch.directory.path().join(&scratch.listing()[0]);
    let mut bytes = fs::read(file).expect("readable");
    // As if the maker had left: generation 1, FREE.
    bytes[4096..4104].copy_from_slice(&(row & !0xffff).to_ne_bytes());
    bytes
}

/// The good bytes with one byte changed.
fn image_with(at: usize, change: u8) -> Vec<u8> {
    let mut bytes = image();
    bytes[at] ^= change;
    bytes
}

fn memfd(bytes: &[u8], seals: SealFlag) -> OwnedFd {
    let fd = memfd_create("test", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).expect("memfd");
    assert_eq!(nix::sys::uio::pwrite(&fd, bytes, 0), Ok(bytes.len()));
    fcntl(&fd, FcntlArg::F_ADD_SEALS(seals)).expect("sealed");
    fd
}

const SEALS: SealFlag = SealFlag::F_SEAL_SHRINK.union(SealFlag::F_SEAL_GROW).union(SealFlag::F_SEAL_SEAL);

fn attach(fd: impl Into<OwnedFd>) -> Error {
    let error = Segment::attach(fd.into(), Sweeps::boxed()).expect_err("refused");
    advises(&error);
    error
}

#[test]
fn the_unchanged_image_is_good() {
    let quiet = quiet();
    quiet.write(&image(), 0o600);
    drop(quiet.open().expect("a stale segment"));
    assert!(!quiet.file().exists(), "the last leaver removed it");
    drop(Segment::attach(memfd(&image(), SEALS), Sweeps::boxed()).expect("the same as a memfd"));
}

#[test]
fn wrong_magic() {
    let quiet = quiet();
    quiet.write(&image_with(0, 1), 0o600);
    assert!(matches!(quiet.refused(), Error::WrongMagic { .. }));
    let collected = Segment::collect(&quiet.scratch.place, "s");
    assert!(matches!(collected, Err(Error::WrongMagic { .. })), "nor does a collector touch it");
    assert!(matches!(attach(memfd(&image_with(0, 1), SEALS)), Error::WrongMagic { .. }));
    assert!(Segment::unlink(&quiet.scratch.place, "s").expect("but who asks for it may"));
}

#[test]
fn wrong_version_or_layout() {
    let quiet = quiet();
    for at in [8, 16] {
        quiet.write(&image_with(at, 4), 0o600);
        assert!(matches!(quiet.refused(), Error::OtherLayout { .. }));
        assert!(matches!(attach(memfd(&image_with(at, 4), SEALS)), Error::OtherLayout { .. }));
    }
    let collected = Segment::collect(&quiet.scratch.place, "s").expect("a stale one of another version");
    assert_eq!(collected, ginnel_segment::Collected::Removed);
}

#[test]
fn a_damaged_header() {
    let quiet = quiet();
    // Flags, length, participants, objects, pages, state.
    for at in [12, 25, 49, 53, 60, 128] {
        quiet.write(&image_with(at, 0x80), 0o600);
        assert!(matches!(quiet.refused(), Error::BadHeader { .. }), "{at}");
        assert!(matches!(attach(memfd(&image_with(at, 0x80), SEALS)), Error::BadHeader { .. }), "{at}");
    }
}

#[test]
fn truncated_or_too_long() {
    let quiet = quiet();
    let good = image();
    let mut long = good.clone();
    long.push(0);
    for bytes in [&[][..], &good[..10], &good[..4096], &good[..good.len() - 1], &long] {
        quiet.write(bytes, 0o600);
        assert!(matches!(quiet.refused(), Error::WrongSize { .. }), "{}", bytes.len());
        assert!(matches!(attach(memfd(bytes, SEALS)), Error::WrongSize { .. }), "{}", bytes.len());
    }
}

#[test]
fn wrong_owner() {
    let quiet = quiet();
    quiet.write(&image(), 0o600);
    if let Err(e) = std::os::unix::fs::chown(quiet.file(), Some(54321), None) {
        println!("skipped: only root can give a file away ({e})");
        return;
    }
    assert!(matches!(quiet.refused(), Error::WrongOwner { owner: 54321, .. }));
}

#[test]
fn wrong_mode() {
    let quiet = quiet();
    for mode in [0o644, 0o660, 0o604, 0o700, 0o400, 0o000, 0o4600] {
        quiet.write(&image(), mode);
        assert!(matches!(quiet.refused(), Error::WrongMode { mode: found, .. } if found == mode), "{mode:o}");
        fs::remove_file(quiet.file()).expect("ours");
    }
}

#[test]
fn what_is_no_file() {
    let quiet = quiet();
    fs::create_dir(quiet.file()).expect("made");
    assert!(matches!(quiet.refused(), Error::NotAFile { kind: "directory", .. }));
    let unlinked = Segment::unlink(&quiet.scratch.place, "s");
    assert!(matches!(unlinked, Err(Error::NotAFile { kind: "directory", .. })));
    fs::remove_dir(quiet.file()).expect("ours");

    nix::unistd::mkfifo(&quiet.file(), nix::sys::stat::Mode::S_IRWXU).expect("made");
    assert!(matches!(quiet.refused(), Error::NotAFile { kind: "fifo", .. }));
    fs::remove_file(quiet.file()).expect("ours");

    drop(UnixListener::bind(quiet.file()).expect("bound"));
    assert!(matches!(quiet.refused(), Error::NotAFile { kind: "socket", .. }));
}

#[test]
fn a_symlink_is_not_followed_wherever_it_leads() {
    let quiet = quiet();
    let target = quiet.scratch.directory.path().join("target");
    fs::write(&target, image()).expect("written");
    fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).expect("permitted");
    for target in [target.as_path(), "/nowhere".as_ref(), "/".as_ref()] {
        symlink(target, quiet.file()).expect("linked");
        assert!(matches!(quiet.refused(), Error::Symlink { .. }));
        fs::remove_file(quiet.file()).expect("ours");
    }
}

#[test]
fn what_is_no_memfd() {
    let _quiet = quiet();
    let disk = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).expect("a file");
    let system = nix::sys::statfs::fstatfs(&disk).expect("a file system").filesystem_type();
    let error = attach(disk);
    if system == nix::sys::statfs::TMPFS_MAGIC {
        println!("skipped in part: the build directory is in a tmpfs");
    } else {
        assert!(matches!(error, Error::NotShmem { .. }), "{error}");
    }
    // A plain file of a tmpfs is shared memory, but can be truncated at any time.
    let plain = tempfile::tempfile_in("/dev/shm").expect("a file");
    assert!(matches!(attach(plain), Error::MissingSeals { .. }));
    assert!(matches!(
        attach(fs::File::open("/").expect("opened")),
        Error::NotAFile { kind: "directory", .. }
    ));
    let (one, _other) = UnixStream::pair().expect("a pair");
    assert!(matches!(attach(one), Error::NotAFile { kind: "socket", .. }));
    let (read, _write) = std::io::pipe().expect("a pipe");
    assert!(matches!(attach(read), Error::NotAFile { kind: "fifo", .. }));
    assert!(matches!(
        attach(fs::File::open("/dev/null").expect("opened")),
        Error::NotAFile { kind: "device", .. }
    ));
}

#[test]
fn seals_that_are_missing_or_too_many() {
    let _quiet = quiet();
    let bytes = image();
    for missing in [SealFlag::F_SEAL_SHRINK, SealFlag::F_SEAL_GROW, SealFlag::F_SEAL_SEAL] {
        let Error::MissingSeals { missing: named, .. } = attach(memfd(&bytes, SEALS.difference(missing)))
        else {
            panic!("another error");
        };
        assert_eq!(named, missing.iter_names().map(|(name, _)| name).collect::<String>());
    }
    let future_write = SealFlag::from_bits_retain(0x10);
    for extra in [SealFlag::F_SEAL_WRITE, future_write] {
        assert!(matches!(attach(memfd(&bytes, SEALS | extra)), Error::ReadOnly { .. }));
    }
    let fd = memfd(&bytes, SEALS);
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
    assert!(matches!(attach(fs::File::open(path).expect("reopened")), Error::ReadOnly { .. }));
}

#[test]
fn no_capacity_and_absurd_capacity() {
    let quiet = quiet();
    let tried = |options: Options| {
        let error = Segment::create(options, Sweeps::boxed()).expect_err("refused");
        let named = Segment::open_or_create(&quiet.scratch.place, "s", options, Sweeps::boxed(), PATIENCE);
        assert_eq!(named.expect_err("refused").to_string(), error.to_string());
        advises(&error);
        error
    };
    for options in
        [Options { participants: 0, ..SMALL }, Options { objects: 0, ..SMALL }, Options { limit: 0, ..SMALL }]
    {
        assert!(matches!(tried(options), Error::ZeroCapacity { .. }));
    }
    assert!(matches!(tried(Options { participants: 257, ..SMALL }), Error::TooMany { .. }));
    assert!(matches!(tried(Options { objects: 1 << 20, ..SMALL }), Error::TooMany { .. }));
    // Refused by arithmetic; nothing of the kind is ever tried.
    for limit in [1 << 60, u64::MAX] {
        assert!(matches!(tried(Options { limit, ..SMALL }), Error::LimitTooLarge { .. }));
    }
    assert!(default_limit() > 0);
    assert!(quiet.scratch.listing().is_empty());
}

#[test]
fn bad_names() {
    let quiet = quiet();
    for name in ["", ".x", "a/b", "../s", "a b", "a\nb", "ü", &"x".repeat(201)] {
        let place = &quiet.scratch.place;
        let errors = [
            Segment::open(place, name, Sweeps::boxed(), PATIENCE).map(drop),
            Segment::open_or_create(place, name, SMALL, Sweeps::boxed(), PATIENCE).map(drop),
            Segment::unlink(place, name).map(drop),
            Segment::collect(place, name).map(drop),
        ];
        for error in errors {
            let error = error.expect_err("refused");
            assert!(matches!(error, Error::BadName { .. }), "{error}");
            advises(&error);
        }
    }
    let longest = "x".repeat(200);
    Segment::open_or_create(&quiet.scratch.place, &longest, SMALL, Sweeps::boxed(), PATIENCE)
        .expect("just good");
    assert!(quiet.scratch.listing().is_empty());
}

#[test]
fn bad_places() {
    let quiet = quiet();
    let file = quiet.scratch.directory.path().join("file");
    fs::write(&file, "").expect("written");
    let missing = quiet.scratch.directory.path().join("missing");
    for path in [file, missing, "/proc".into()] {
        let place = Place::at(path);
        let error =
            Segment::open_or_create(&place, "s", SMALL, Sweeps::boxed(), PATIENCE).expect_err("refused");
        assert!(matches!(error, Error::BadPlace { .. }), "{error}");
        advises(&error);
        assert!(matches!(Segment::names(&place), Err(Error::BadPlace { .. })));
    }
}

#[test]
fn nothing_of_that_name() {
    let quiet = quiet();
    let error = quiet.open().expect_err("there is none");
    assert!(matches!(error, Error::NotFound { .. }));
    advises(&error);
    assert!(!Segment::unlink(&quiet.scratch.place, "s").expect("looked"));
}

#[test]
fn all_rows_taken() {
    let quiet = quiet();
    let options = Options { participants: 2, ..SMALL };
    let one =
        Segment::open_or_create(&quiet.scratch.place, "s", options, Sweeps::boxed(), PATIENCE).expect("made");
    let two = quiet.open().expect("opened");
    assert!(matches!(quiet.refused(), Error::TableFull { participants: 2, .. }));
    drop(two);
    let two = quiet.open().expect("there is room again");
    drop((one, two));
    assert!(quiet.scratch.listing().is_empty());

    let one = Segment::create(Options { participants: 1, ..SMALL }, Sweeps::boxed()).expect("made");
    let fd = one.fd().try_clone_to_owned().expect("duplicated");
    assert!(matches!(attach(fd), Error::TableFull { participants: 1, .. }));
}

#[test]
fn an_object_that_this_build_does_not_know() {
    let quiet = quiet();
    let segment = quiet.open_or_create().expect("made");
    let claimed = EntryState::from_bits(0).freed().bits();
    for (_, entry) in segment.entries().take(4) {
        entry.state.store(claimed, Ordering::Relaxed);
    }
    let tag = &segment.entry(3).expect("an entry").tag;
    tag.store(TAG, Ordering::Relaxed);
    drop(quiet.open().expect("this one is known"));
    tag.store(TAG + 1, Ordering::Relaxed);
    assert!(matches!(quiet.refused(), Error::UnknownObject { entry: 3, tag, .. } if tag == TAG + 1));
    drop(segment);
    assert!(quiet.scratch.listing().is_empty());
}

#[test]
fn a_gate_that_stays_closed() {
    let quiet = quiet();
    quiet.write(&image(), 0o600);
    let file = fs::File::options().read(true).write(true).open(quiet.file()).expect("opened");
    let gate = nix::libc::flock {
        l_type: nix::libc::F_WRLCK as i16,
        l_whence: 0,
        l_start: 1 << 60,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_OFD_SETLK(&gate)).expect("locked");
    assert!(matches!(quiet.refused(), Error::GateBusy { .. }));
    drop(file);
    drop(quiet.open().expect("it is open again"));
}

#[test]
fn no_descriptor_over_the_socket() {
    let _quiet = quiet();
    let refused = |send: &dyn Fn(&UnixStream)| {
        let (here, there) = UnixStream::pair().expect("a pair");
        send(&here);
        drop(here);
        let error = fd_passing::receive(&there).expect_err("refused");
        assert!(matches!(error, Error::NoDescriptor { .. }), "{error}");
        advises(&error);
    };
    refused(&|_| ());
    refused(&|socket| std::io::Write::write_all(&mut &*socket, b"g").expect("sent"));
    let file = fs::File::open("/dev/null").expect("opened");
    // More than one, and more than there is room for: all of them are closed, as the count at the end shows.
    for count in [2, 3, 20, 253] {
        refused(&|socket| support::send_descriptors(socket, &vec![file.as_fd(); count]));
    }
    let (here, there) = UnixStream::pair().expect("a pair");
    drop(there);
    assert!(matches!(fd_passing::send(&here, file.as_fd()), Err(Error::Os { .. })));
}

/// A tmpfs of its own size, mounted and unmounted by root.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(directory: PathBuf, bytes: u64) -> Option<Self> {
        fs::create_dir(&directory).expect("made");
        let size = format!("size={bytes}");
        let flags = nix::mount::MsFlags::empty();
        match nix::mount::mount(Some("tmpfs"), &directory, Some("tmpfs"), flags, Some(size.as_str())) {
            Ok(()) => Some(Self(directory)),
            Err(e) => {
                println!("skipped: a small tmpfs cannot be mounted here ({e})");
                None
            }
        }
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH);
    }
}

#[test]
fn a_full_tmpfs_at_creation() {
    let quiet = quiet();
    let Some(tmpfs) = Tmpfs::mount(quiet.scratch.directory.path().join("full"), 8 * 4096) else { return };
    let options = Options { objects: 1024, ..SMALL };
    let made = Segment::open_or_create(&Place::at(&tmpfs.0), "s", options, Sweeps::boxed(), PATIENCE);
    let error = made.expect_err("no room");
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    advises(&error);
    assert_eq!(fs::read_dir(&tmpfs.0).expect("listed").count(), 0);
    let free = nix::sys::statvfs::statvfs(&tmpfs.0).expect("a file system").blocks_available();
    assert!(free >= 7, "all of it was given back: {free} blocks");
}

#[test]
fn a_tmpfs_that_fills_up_later() {
    let quiet = quiet();
    let Some(tmpfs) = Tmpfs::mount(quiet.scratch.directory.path().join("filling"), 64 * 4096) else { return };
    let place = Place::at(&tmpfs.0);
    let options = Options { limit: 1000 * 4096, ..SMALL };
    let segment =
        Segment::open_or_create(&place, "s", options, Sweeps::boxed(), PATIENCE).expect("there is room");
    let error = segment.claim_pages(0, 100).expect_err("no room");
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    advises(&error);
    assert_eq!(segment.used_pages(), 0);
    let first = segment.claim_pages(0, 20).expect("what had been taken was given back");
    support::fill(segment.page(first, 20).expect("they exist"), 20, 1);
    segment.release_pages(0);
    segment.claim_pages(1, 20).expect("and again");
    drop(segment);
    assert_eq!(fs::read_dir(&tmpfs.0).expect("listed").count(), 0);
}

/// What the children do: scenarios that change the whole process.
#[test]
fn child() {
    let Some(role) = role() else { return };
    match role[0].as_str() {
        "few-descriptors" => few_descriptors(&Place::at(&role[1])),
        "no-proc" => no_proc(&Place::at(&role[1])),
        other => panic!("no role {other}"),
    }
}

/// A way to get a segment, and its name.
type Way<'a> = (&'a str, &'a dyn Fn() -> Result<(), Error>);

/// Lowers the limit step by step under each way in, until even the first descriptor is one too many.
fn few_descriptors(place: &Place) {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let donor = Segment::create(SMALL, Sweeps::boxed()).expect("created");
    let open = || Segment::open_or_create(place, "s", SMALL, Sweeps::boxed(), PATIENCE).map(drop);
    let create = || Segment::create(SMALL, Sweeps::boxed()).map(drop);
    let again = || donor.attach_again(Sweeps::boxed()).map(drop);
    let ways: [Way<'_>; 3] = [("open_or_create", &open), ("create", &create), ("attach_again", &again)];
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    // The first number that is free; everything above it is too, in a process that just started.
    let next = std::os::fd::AsRawFd::as_raw_fd(&fs::File::open("/dev/null").expect("opened")) as u64;
    for (what, way) in ways {
        let before = descriptors();
        for room in 0..3 {
            setrlimit(Resource::RLIMIT_NOFILE, next + room, hard).expect("lowered");
            let result = way();
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("raised");
            match result {
                Err(error @ Error::TooManyFiles { .. }) => advises(&error),
                Err(error) => panic!("{what} with room for {room}: {error}"),
                Ok(()) => assert_eq!(room, 2, "{what} needs two descriptors"),
            }
            assert_eq!(descriptors(), before, "{what} with room for {room}");
        }
        way().unwrap_or_else(|e| panic!("{what} works again: {e}"));
    }
    let (here, there) = UnixStream::pair().expect("a pair");
    fd_passing::send(&here, donor.fd()).expect("sent");
    let before = descriptors();
    setrlimit(Resource::RLIMIT_NOFILE, next, hard).expect("lowered");
    let received = fd_passing::receive(&there);
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("raised");
    assert!(matches!(received, Err(Error::TooManyFiles { .. })));
    assert_eq!(descriptors(), before);
    say("done");
}

#[test]
fn no_descriptor_left() {
    let quiet = quiet();
    let actor = Actor::start(&format!("few-descriptors {}", quiet.scratch.directory.path().display()));
    assert_eq!(actor.hear(), "done");
    actor.finish();
    assert!(quiet.scratch.listing().is_empty());
}

/// Hides /proc in a mount namespace of its own.
fn no_proc(place: &Place) {
    use nix::mount::{MsFlags, mount};
    let none: Option<&str> = None;
    let hidden = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)
        .and_then(|()| mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none))
        .and_then(|()| mount(Some("tmpfs"), "/proc", Some("tmpfs"), MsFlags::empty(), none));
    if let Err(e) = hidden {
        println!("skipped: /proc cannot be hidden here ({e})");
        say("done");
        return;
    }
    let made = Segment::create(SMALL, Sweeps::boxed()).map(drop);
    let named = Segment::open_or_create(place, "s", SMALL, Sweeps::boxed(), PATIENCE).map(drop);
    for result in [made, named] {
        let error = result.expect_err("no /proc");
        assert!(matches!(&error, Error::Unsupported { what } if what == "/proc"), "{error}");
        advises(&error);
    }
    say("done");
}

#[test]
fn no_proc_file_system() {
    let quiet = quiet();
    let actor = Actor::start(&format!("no-proc {}", quiet.scratch.directory.path().display()));
    assert_eq!(actor.hear(), "done");
    actor.finish();
    assert!(quiet.scratch.listing().is_empty());
}

#[test]
fn errors_that_the_crates_above_make_advise_too() {
    advises(&Error::DirectoryFull { of: "the segment \"s\"".into(), objects: 8 });
    advises(&Error::Forked(ginnel_segment::Forked));
}
