//! What the process-level tests share: a place of their own, sweeps that count, children, and a watchdog.
//!
//! - I2: a forked child of a test does nothing but what its role says: no allocation of other threads' making is used,
//!   and it ends by a signal or by `_exit`.
//! - I1: the tests pass only places that they got from a segment or mirror which lives on, within its bounds, and no
//!   other thread or process writes there meanwhile.
#![allow(unsafe_code, reason = "tests look into pages of data")]
#![allow(dead_code, reason = "each test file uses its part of it")]

use std::io::{BufRead, BufReader, IoSlice, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::{AtomicU64, Ordering};
use ginnel_segment::{Options, Place, Segment, Sweep};
use nix::libc;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::unistd::ForkResult;
use tempfile::TempDir;

/// Long enough for any machine; only a hang gets there.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(60);

/// What tests are patient for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The only kind of object that the tests' sweeps know.
pub(crate) const TAG: u32 = 7;

pub(crate) const SMALL: Options =
    Options { participants: 4, objects: 8, limit: 64 * 4096, persistent: false };

/// A sweep that releases the pages of entry `dead - 1` and counts.
#[derive(Default)]
pub(crate) struct Sweeps(pub(crate) Arc<AtomicU64>);

impl Sweeps {
    pub(crate) fn boxed() -> Box<dyn Sweep> {
        Box::new(Self::default())
    }
}

impl Sweep for Sweeps {
    fn knows(&self, tag: u32) -> bool {
        tag == TAG
    }

    fn sweep(&self, segment: &Segment, dead: ParticipantId) {
        segment.release_pages(u32::from(dead.index()));
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A fresh tmpfs directory that is removed with what is in it.
pub(crate) struct Scratch {
    pub(crate) directory: TempDir,
    pub(crate) place: Place,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let directory = TempDir::with_prefix_in("ginnel-test-", "/dev/shm").expect("a directory in /dev/shm");
        let place = Place::at(directory.path());
        Self { directory, place }
    }

    /// Everything in the directory, whatever it is.
    pub(crate) fn listing(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.path()).expect("the directory is ours");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

/// Descriptors of this process. Only meaningful while no other thread opens any.
pub(crate) fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("proc is mounted").count()
}

/// Waits until `done`, as long as the watchdog lets it.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < WATCHDOG, "watchdog: {what}");
        // Pacing of a poll, not synchronisation.
        thread::sleep(Duration::from_millis(1));
    }
}

/// A child process that runs the test function `child` of the same binary in the role `role`.
pub(crate) struct Actor {
    pub(crate) process: Child,
    input: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
}

/// Name of the variable that tells a child its role; its words are the role's arguments.
pub(crate) const ROLE: &str = "GINNEL_TEST_ROLE";

/// What a child says when it got somewhere starts with this, as the test harness talks on the same pipe.
const MARK: &str = "actor: ";

impl Actor {
    pub(crate) fn start(role: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("we run from a file"))
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test binary starts");
        let input = process.stdin.take();
        let output = process.stdout.take().expect("it is piped");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || read_lines(output, &sender));
        Self { process, input, lines }
    }

    /// What the child says next.
    pub(crate) fn hear(&self) -> String {
        self.lines.recv_timeout(WATCHDOG).expect("watchdog: the child says nothing")
    }

    /// Tells the child something.
    pub(crate) fn tell(&mut self, text: &str) {
        let input = self.input.as_mut().expect("it is open");
        writeln!(input, "{text}").and_then(|()| input.flush()).expect("the child listens");
    }

    /// `kill -9`, and waits until the kernel has taken it apart.
    pub(crate) fn kill(mut self) {
        self.process.kill().expect("it is ours to kill");
        let status = self.process.wait().expect("it is our child");
        assert_eq!(status.signal(), Some(9), "the child ended before it was killed");
    }

    /// Lets it end (its next line is the end of input) and asserts that it was content.
    pub(crate) fn finish(mut self) {
        self.input = None;
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.process.try_wait().expect("it is our child") {
                break status;
            }
            assert!(start.elapsed() < WATCHDOG, "watchdog: the child does not end");
            // Pacing of a poll, not synchronisation.
            thread::sleep(Duration::from_millis(1));
        };
        assert!(status.success(), "the child failed: {status}");
        // The reader drops its end of the channel after the child's output: then no descriptor of ours is left.
        while self.lines.recv_timeout(WATCHDOG).is_ok() {}
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn read_lines(output: ChildStdout, sender: &mpsc::Sender<String>) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        if let Some((_, said)) = line.split_once(MARK)
            && sender.send(said.to_owned()).is_err()
        {
            return;
        }
    }
}

/// In a child: tells the parent.
pub(crate) fn say(text: &str) {
    println!("{MARK}{text}");
    std::io::stdout().flush().expect("the parent listens");
}

/// In a child: what the parent says next; `None` at the end of input.
pub(crate) fn listen() -> Option<String> {
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line).expect("the parent's pipe");
    (read > 0).then(|| line.trim_end().to_owned())
}

/// In a child: the words of its role. `None` in the parent, where the test is nothing.
pub(crate) fn role() -> Option<Vec<String>> {
    let role = std::env::var(ROLE).ok()?;
    Some(role.split(' ').map(str::to_owned).collect())
}

/// A word of a mapping that lives longer than the test uses it.
pub(crate) fn word_at<'a>(place: *const AtomicU64) -> &'a AtomicU64 {
    // SAFETY: I1.
    unsafe { &*place }
}

/// Writes a byte all over pages.
pub(crate) fn fill(first: NonNull<u8>, pages: u32, byte: u8) {
    // SAFETY: I1.
    unsafe { first.as_ptr().write_bytes(byte, pages as usize * 4096) };
}

/// Copies pages.
pub(crate) fn copy(first: NonNull<u8>, pages: u32) -> Vec<u8> {
    let mut bytes = vec![0; pages as usize * 4096];
    // SAFETY: I1.
    unsafe { bytes.as_mut_ptr().copy_from_nonoverlapping(first.as_ptr(), bytes.len()) };
    bytes
}

/// `fork` with all that libc does for it.
pub(crate) fn fork() -> ForkResult {
    // SAFETY: I2.
    unsafe { nix::unistd::fork() }.expect("forked")
}

/// The bare system call, of which libc knows nothing. 0 in the child.
pub(crate) fn clone_without_handlers() -> i32 {
    // SAFETY: I2.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    assert!(pid >= 0, "cloned");
    pid as i32
}

/// Ends a forked child at once: no destructors, no harness.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: I2.
    unsafe { libc::_exit(code) }
}

/// One byte and any number of descriptors.
pub(crate) fn send_descriptors(socket: &UnixStream, descriptors: &[BorrowedFd<'_>]) {
    let raw: Vec<i32> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let message = [ControlMessage::ScmRights(&raw)];
    let sent = sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(b"g")], &message, MsgFlags::empty(), None);
    assert_eq!(sent, Ok(1));
}
