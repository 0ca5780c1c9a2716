//! The two files of an untrusted connection: what their seals stop, what is refused, and two processes that use them.
//!
//! - I1 the memory lives longer than the ends and words made of it.
//! - I2 the test maps what it must not be able to write, and touches it by loads only.
#![allow(unsafe_code, reason = "tries to map what is sealed, and lends mapped memory to ends")]

use std::fs::File;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::peer::MAGIC;
use ginnel_layout::record::kind;
use ginnel_queue::lane::LaneError;
use ginnel_queue::untrusted::{OtherHalf, OwnHalf, Receiver, Sender, ends};
use ginnel_segment::sealed::{Foreign, Own};
use ginnel_segment::{Error, fd_passing};
use ginnel_sync::{Deadline, Mode};
use ginnel_testkit::child::{Exit, Role, role};
use ginnel_testkit::watchdog::Watchdog;
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, FdFlag, OFlag, SealFlag, fallocate, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mprotect};
use nix::sys::signal::Signal;
use nix::unistd::ftruncate;

const LIMIT: Duration = Duration::from_secs(120);
const RING: u64 = 8192;
const LENGTH: u64 = 4096 + RING;

const ALL: [SealFlag; 4] =
    [SealFlag::F_SEAL_SHRINK, SealFlag::F_SEAL_GROW, SealFlag::F_SEAL_SEAL, SealFlag::from_bits_retain(0x10)];

/// A file that carries these seals and otherwise is what it should be, if it can be.
fn imitation(length: u64, seals: impl IntoIterator<Item = SealFlag>) -> OwnedFd {
    let file = File::from(memfd_create("imitation", MFdFlags::MFD_ALLOW_SEALING).expect("made"));
    file.set_len(length).expect("there is room");
    let mut front = [0; 24];
    front[..8].copy_from_slice(&MAGIC.to_ne_bytes());
    front[8..12].copy_from_slice(&1_u32.to_ne_bytes());
    front[16..].copy_from_slice(&RING.to_ne_bytes());
    if length > 0 {
        file.write_all_at(&front, 0).expect("written");
        file.set_len(length).expect("there is room");
    }
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals.into_iter().collect())).expect("sealed");
    file.into()
}

fn refused(fd: OwnedFd) -> Error {
    let error = Foreign::map(fd, RING).map(drop).expect_err("refused");
    assert!(error.to_string().contains(';') || matches!(error, Error::Os { .. }), "says what to do: {error}");
    error
}

fn map(fd: &OwnedFd, protection: ProtFlags) -> Result<*mut u8, Errno> {
    let length = NonZeroUsize::new(LENGTH as usize).expect("not zero");
    // SAFETY: I2; the kernel chooses a free range.
    unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, fd, 0) }.map(|at| at.as_ptr().cast())
}

#[test]
fn nobody_can_write_map_or_change_what_is_sealed() {
    let (own, fd) = Own::create(RING).expect("made");
    assert_eq!(
        (own.size(), File::from(fd.try_clone().expect("a copy")).metadata().expect("a file").len()),
        (RING, LENGTH)
    );
    let flags = FdFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFD).expect("open"));
    assert!(flags.contains(FdFlag::FD_CLOEXEC));
    // By mapping: at once, or afterwards.
    assert_eq!(map(&fd, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE), Err(Errno::EPERM));
    let readable = map(&fd, ProtFlags::PROT_READ).expect("readable");
    let pointer = std::ptr::NonNull::new(readable.cast()).expect("mapped");
    // SAFETY: I2: the protection of a mapping of our own.
    let more = unsafe { mprotect(pointer, LENGTH as usize, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE) };
    assert_eq!(more, Err(Errno::EACCES));
    // By writing, also through a description of one's own.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
    let again = File::options().read(true).write(true).open(path).expect("opened anew");
    for file in [&File::from(fd.try_clone().expect("a copy")), &again] {
        let error = file.write_at(b"x", 128).expect_err("sealed");
        assert_eq!(error.raw_os_error(), Some(Errno::EPERM as i32));
    }
    // By its length, and by its holes.
    for length in [0, LENGTH - 4096, LENGTH + 4096] {
        assert_eq!(ftruncate(&fd, length as i64), Err(Errno::EPERM), "{length}");
    }
    let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    assert_eq!(fallocate(&fd, hole, 4096, 4096), Err(Errno::EPERM));
    // Nor are the seals to be had off, or more of them.
    for seal in [SealFlag::F_SEAL_WRITE, SealFlag::F_SEAL_SHRINK] {
        assert_eq!(fcntl(&fd, FcntlArg::F_ADD_SEALS(seal)), Err(Errno::EPERM));
    }
    drop(Foreign::map(fd, RING).expect("proved"));
}

#[test]
fn each_seal_is_asked_for() {
    drop(Foreign::map(imitation(LENGTH, ALL), RING).expect("a good imitation is as good"));
    for missing in ALL {
        let error = refused(imitation(LENGTH, ALL.into_iter().filter(|seal| *seal != missing)));
        assert!(matches!(error, Error::MissingSeals { .. }), "{error}");
    }
    let error = refused(imitation(LENGTH, ALL.into_iter().take(3)));
    assert!(error.to_string().contains("F_SEAL_FUTURE_WRITE"), "{error}");
}

#[test]
fn what_is_no_memory_of_a_peer_is_refused() {
    let (socket, _other) = UnixStream::pair().expect("made");
    assert!(matches!(refused(socket.into()), Error::NotAFile { .. }));
    let (pipe, _end) = nix::unistd::pipe().expect("made");
    assert!(matches!(refused(pipe), Error::NotAFile { .. }));
    let directory = File::open("/").expect("readable");
    assert!(matches!(refused(directory.into()), Error::NotAFile { .. }));
    let device = File::open("/dev/zero").expect("readable");
    assert!(matches!(refused(device.into()), Error::NotAFile { .. }));
    let on_disk = tempfile::tempfile().expect("made");
    on_disk.set_len(LENGTH).expect("there is room");
    assert!(matches!(refused(on_disk.into()), Error::NotShmem { .. } | Error::MissingSeals { .. }));
    let in_shm = tempfile::tempfile_in("/dev/shm").expect("made");
    in_shm.set_len(LENGTH).expect("there is room");
    assert!(matches!(refused(in_shm.into()), Error::MissingSeals { .. }));
}

#[test]
fn what_was_not_agreed_is_refused() {
    for length in [0, 24, 4096, LENGTH - 4096, LENGTH - 1, LENGTH + 1, LENGTH + 4096, 1 << 40] {
        let error = refused(imitation(length, ALL));
        let lengths = (LENGTH, length.max(if length == 0 { 0 } else { 24 }));
        assert!(
            matches!(error, Error::WrongSize { expected, found, .. } if (expected, found) == lengths),
            "{error}"
        );
    }
    let fd = |ring| Own::create(ring).expect("made").1;
    assert!(matches!(Foreign::map(fd(RING), 4096), Err(Error::WrongSize { .. })));
    for ring in [0, 100, u64::MAX, 1 << 32] {
        assert!(matches!(Foreign::map(fd(RING), ring), Err(Error::BadRing { .. })), "{ring}");
    }
    let blank = memfd_create("blank", MFdFlags::MFD_ALLOW_SEALING).expect("made");
    ftruncate(&blank, LENGTH as i64).expect("there is room");
    fcntl(&blank, FcntlArg::F_ADD_SEALS(ALL.into_iter().collect())).expect("sealed");
    let error = refused(blank);
    assert!(matches!(error, Error::WrongPeer { what: "another magic number", .. }), "{error}");
}

#[test]
fn descriptors_are_closed_and_those_for_reading_are_enough() {
    let (_own, fd) = Own::create(RING).expect("made");
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
    let open = |options: &mut std::fs::OpenOptions| OwnedFd::from(options.open(&path).expect("opened anew"));
    drop(Foreign::map(open(File::options().read(true)), RING).expect("proved"));
    assert!(matches!(refused(open(File::options().write(true))), Error::Os { .. }));
    let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL).expect("open"));
    assert!(flags.contains(OFlag::O_RDWR), "ours was left alone");
}

/// A maker that punches holes before it seals, or sets no memory aside, gives zeros to read, not a fault.
#[test]
fn holes_read_as_zeros() {
    let fd = memfd_create("holes", MFdFlags::MFD_ALLOW_SEALING).expect("made");
    let file = File::from(fd.try_clone().expect("a copy"));
    file.set_len(LENGTH).expect("there is room");
    let mut front = [0; 24];
    front[..8].copy_from_slice(&MAGIC.to_ne_bytes());
    front[8] = 1;
    front[16..].copy_from_slice(&RING.to_ne_bytes());
    file.write_all_at(&front, 0).expect("written");
    file.write_all_at(&[0xff; 4096], 4096).expect("written");
    // Mapped by the other side while the seals are not complete: that is refused, so it maps after them, but the maker's
    // own hole may come in between. Without FUTURE_WRITE a hole can be made at any time; what was mapped reads zeros then.
    let early = map(&fd, ProtFlags::PROT_READ).expect("readable").cast::<AtomicU64>().wrapping_add(512);
    // SAFETY: I1, I2: mapped, aligned, loaded only.
    let word = unsafe { &*early };
    assert_eq!(word.load(Relaxed), u64::MAX);
    let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    fallocate(&fd, hole, 4096, RING as i64).expect("nothing stops it yet");
    assert_eq!(word.load(Relaxed), 0, "a hole under a mapping is zeros");
    fcntl(&fd, FcntlArg::F_ADD_SEALS(ALL.into_iter().collect())).expect("sealed");
    let foreign = Foreign::map(fd, RING).expect("proved");
    let (own, _fd) = Own::create(RING).expect("made");
    let (_sends, mut receives) = lane(&own, &foreign);
    assert_eq!(receives.peek(), Err(LaneError::WouldBlock));
}

fn lane(own: &Own, other: &Foreign) -> (Sender, Receiver) {
    // SAFETY: I1; `Own` promises the rest.
    let own = unsafe { OwnHalf::from_raw(own.control(), own.ring(), own.size()) };
    // SAFETY: I1; `Foreign` promises the rest.
    let other = unsafe { OtherHalf::from_raw(other.control(), other.ring(), other.size()) };
    ends(own, other, Mode::Adaptive)
}

/// One side of a connection over `socket`. The memory is left to the process.
fn connect(socket: &UnixStream) -> (Sender, Receiver) {
    let (own, fd) = Own::create(RING).expect("made");
    fd_passing::send(socket, fd.as_fd()).expect("sent");
    let foreign = Foreign::map(fd_passing::receive(socket).expect("came"), RING).expect("proved");
    lane(Box::leak(Box::new(own)), Box::leak(Box::new(foreign)))
}

/// Sends back what comes, and one more for each, which nobody asked for.
fn echo(socket: &UnixStream) {
    let (mut sends, mut receives) = connect(socket);
    loop {
        receives.wait(Deadline::after(LIMIT), || true).expect("the parent sends or kills");
        let mut bytes = Vec::new();
        receives.append(0, &mut bytes);
        receives.release();
        for part in [&bytes[..], b"and more"] {
            sends
                .wait_for_room(part.len() as u64, Deadline::after(LIMIT), || true)
                .expect("the parent receives");
            sends.try_send(kind::WHOLE, &[part]).expect("there is room");
        }
    }
}

#[test]
fn entry() {
    if let Some((name, arguments)) = role() {
        assert_eq!(name, "echo");
        let path: String = arguments.get(0).expect("given");
        echo(&UnixStream::connect(path).expect("the parent listens"));
    }
}

#[test]
fn two_processes_talk_until_one_is_killed() {
    let _dog = Watchdog::new("two processes", LIMIT);
    let directory = tempfile::tempdir().expect("made");
    let path = directory.path().join("door");
    let listener = UnixListener::bind(&path).expect("bound");
    let mut child = Role::new("echo").through_test("entry").arg(path.display()).spawn().expect("started");
    let (socket, _) = listener.accept().expect("it comes");
    let (mut sends, mut receives) = connect(&socket);
    let mut next = |expected: &[u8]| {
        receives.wait(Deadline::after(LIMIT), || true).expect("comes");
        let mut bytes = Vec::new();
        receives.append(0, &mut bytes);
        receives.release();
        assert!(bytes == expected, "{} bytes instead of {}", bytes.len(), expected.len());
    };
    for round in 0..3000_usize {
        let bytes: Vec<u8> = (0..round * 7 % 5000).map(|i| (i ^ round) as u8).collect();
        sends.wait_for_room(bytes.len() as u64, Deadline::after(LIMIT), || true).expect("it receives");
        sends.try_send(kind::WHOLE, &[&bytes]).expect("there is room");
        next(&bytes);
        next(b"and more");
    }
    sends.try_send(kind::WHOLE, &[b"last words"]).expect("there is room");
    next(b"last words");
    child.signal(Signal::SIGKILL).expect("it is ours");
    assert_eq!(child.wait().expect("it ends"), Exit::KILLED);
    // What it had committed comes; then the question whether it lives is asked, and answered by the hangup.
    let mut gone = false;
    let left = loop {
        let ended = receives.wait(Deadline::after(LIMIT), || {
            socket.set_nonblocking(true).expect("ours");
            gone = matches!(std::io::Read::read(&mut &socket, &mut [0]), Ok(0));
            !gone
        });
        match ended {
            Ok(()) => receives.release(),
            Err(why) => break why,
        };
    };
    assert_eq!((left, gone), (LaneError::PeerDied(None), true));
}
