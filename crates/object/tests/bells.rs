//! Those who poll in a named segment: rung across network namespaces, and leaving nothing.
//!
//! Children are this test binary again, in a role (the test `bells_entry`).

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ginnel_object::event::Event;
use ginnel_object::manager::{Manager, Options};
use ginnel_object::ready::Registration;
use ginnel_segment::{Collected, Place, Segment};
use ginnel_testkit::child::{self, Child, Exit, Role};
use ginnel_testkit::scratch::Scratch;
use ginnel_testkit::watchdog::Watchdog;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

const LIMIT: Duration = Duration::from_secs(60);

/// The words that the two processes share beside the segment.
const STEP: usize = 0;
const NAMESPACE: usize = 1;

/// A directory of its own, which goes with what is in it.
struct Home(PathBuf);

impl Home {
    fn new(test: &str) -> Self {
        let path = PathBuf::from(format!("/dev/shm/ginnel-bells-{test}-{}", std::process::id()));
        fs::create_dir(&path).expect("a directory in /dev/shm");
        Self(path)
    }

    fn manager(&self) -> Manager {
        manager_in(&self.0)
    }

    fn collect(&self) -> Collected {
        Segment::collect(&Place::at(&self.0), "s").expect("looked at")
    }

    /// The files at which somebody listens, or did.
    fn ears(&self) -> usize {
        let files = fs::read_dir(&self.0).expect("it is there").map(|file| file.expect("readable"));
        let sockets = files.filter(|file| file.file_type().expect("known").is_socket());
        sockets
            .inspect(|file| assert_eq!(file.metadata().expect("known").permissions().mode() & 0o7777, 0o600))
            .count()
    }

    /// Starts a child, in its own network namespace or not.
    fn start(&self, role: &str, words: &Scratch, apart: bool) -> Child {
        let role = Role::new(role).arg(self.0.display()).fd(words).through_test("bells_entry");
        if !apart {
            return role.spawn().expect("started");
        }
        let command = role.command().expect("we run from a file");
        let mut wrapped = Command::new("unshare");
        wrapped.arg("-n").arg(command.get_program()).args(command.get_args());
        let given = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
        child::adopt(&wrapped.envs(given).spawn().expect("started")).expect("a child")
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn manager_in(directory: &Path) -> Manager {
    let options = Options::new().directory(directory).limit(1 << 20);
    Manager::open_or_create_with("s", options).expect("attached")
}

fn event(manager: &Manager) -> Event {
    manager.get_or_create("event").expect("an event")
}

fn network() -> u64 {
    fs::metadata("/proc/self/ns/net").expect("proc is mounted").ino()
}

fn wait_for(words: &Scratch, index: usize, wanted: u64) {
    let start = Instant::now();
    while words.get(index) != wanted {
        assert!(start.elapsed() < LIMIT, "watchdog: word {index} is never {wanted}");
        // Pacing of a poll, not synchronisation.
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Arms, says so, and waits for the byte alone, not for the end of any slice.
fn hear_one(event: &Event, armed: impl FnOnce()) {
    let mut wanted = Registration::new(event).expect("an ear");
    assert!(wanted.arm().expect("armed"), "nobody has set it yet");
    armed();
    let mut fds = [PollFd::from_borrowed_fd(wanted.as_fd(), PollFlags::IN)];
    let long = Timespec { tv_sec: 30, tv_nsec: 0 };
    assert_eq!(poll(&mut fds, Some(&long)), Ok(1), "no byte came");
    assert!(!wanted.arm().expect("looked") && event.is_set());
}

/// The way in for roles; by itself it does nothing.
#[test]
fn bells_entry() {
    let Some((name, arguments)) = child::role() else { return };
    let words = Scratch::from_fd(arguments.fd(1).expect("words")).expect("mapped");
    let manager = manager_in(Path::new(&arguments.get::<String>(0).expect("a directory")));
    match name.as_str() {
        "exchange" => exchange(&manager, &words),
        "listener" => listener(&manager, &words),
        other => panic!("no role {other}"),
    }
}

/// Rings once, then listens once.
fn exchange(manager: &Manager, words: &Scratch) {
    let event = event(manager);
    words.set(NAMESPACE, network());
    wait_for(words, STEP, 1);
    event.set();
    wait_for(words, STEP, 2);
    hear_one(&event, || words.set(STEP, 3));
}

/// Listens when it is killed.
fn listener(manager: &Manager, words: &Scratch) {
    let event = event(manager);
    let mut wanted = Registration::new(&event).expect("an ear");
    assert!(wanted.arm().expect("armed"));
    words.set(STEP, 1);
    loop {
        std::thread::park();
    }
}

fn exchange_with(child_apart: bool) {
    let (home, words) =
        (Home::new(if child_apart { "apart" } else { "together" }), Scratch::new(2).expect("words"));
    let (manager, mut child) = (home.manager(), home.start("exchange", &words, child_apart));
    let event = event(&manager);
    hear_one(&event, || words.set(STEP, 1));
    event.clear();
    words.set(STEP, 2);
    wait_for(&words, STEP, 3);
    event.set();
    assert_eq!(child.wait().expect("it ends"), Exit::Code(0));
    assert_eq!(words.get(NAMESPACE) != network(), child_apart);
    drop((event, manager));
    assert_eq!(fs::read_dir(&home.0).expect("it is there").count(), 0);
}

#[test]
fn pollers_of_one_network_namespace_are_rung() {
    let _watchdog = Watchdog::new("pollers_of_one_network_namespace_are_rung", LIMIT);
    exchange_with(false);
}

#[test]
fn pollers_in_another_network_namespace_are_rung() {
    let _watchdog = Watchdog::new("pollers_in_another_network_namespace_are_rung", LIMIT);
    let tried = Command::new("unshare").args(["-n", "true"]).stderr(Stdio::null()).status();
    if !tried.is_ok_and(|status| status.success()) {
        eprintln!("not tested: this user may not make network namespaces");
        return;
    }
    exchange_with(true);
}

/// A child that is killed while it listens.
fn killed_listener(home: &Home) {
    let words = Scratch::new(2).expect("words");
    let mut child = home.start("listener", &words, false);
    wait_for(&words, STEP, 1);
    assert_eq!(home.ears(), 1);
    assert_eq!(child.kill().expect("ours"), Exit::KILLED);
    assert_eq!(home.ears(), 1, "the kernel removes no file");
}

#[test]
fn kill_poller_beside_others() {
    let _watchdog = Watchdog::new("kill_poller_beside_others", LIMIT);
    let home = Home::new("others");
    let manager = home.manager();
    let event = event(&manager);
    killed_listener(&home);
    // Nobody listens there any more, which hinders nobody who rings or listens.
    event.set();
    event.clear();
    let mut mine = Registration::new(&event).expect("an ear");
    assert!(mine.arm().expect("armed") && home.ears() == 2);
    assert_eq!((manager.recover().expect("recovered"), home.ears()), (1, 1));
    drop(mine);
    assert_eq!(home.ears(), 0);
}

#[test]
fn kill_poller_and_everybody() {
    let _watchdog = Watchdog::new("kill_poller_and_everybody", LIMIT);
    let home = Home::new("everybody");
    killed_listener(&home);
    assert_eq!((home.collect(), home.ears()), (Collected::Removed, 0));
    // Or the next one attaches, which has the dead one's place.
    killed_listener(&home);
    let manager = home.manager();
    assert_eq!(home.ears(), 0);
    drop(manager);
    assert_eq!(fs::read_dir(&home.0).expect("it is there").count(), 0);
}

#[test]
fn kill_poller_whose_segment_has_lost_its_name() {
    let _watchdog = Watchdog::new("kill_poller_whose_segment_has_lost_its_name", LIMIT);
    let home = Home::new("nameless");
    let place = Place::at(&home.0);
    let words = Scratch::new(2).expect("words");
    let mut child = home.start("listener", &words, false);
    wait_for(&words, STEP, 1);
    assert!(Segment::unlink(&place, "s").expect("removed"));
    // It listens, so it keeps its file, also when somebody makes and leaves another segment of that name.
    drop(home.manager());
    assert_eq!(home.ears(), 1);
    child.kill().expect("ours");
    drop(home.manager());
    assert_eq!(fs::read_dir(&home.0).expect("it is there").count(), 0);
}
