//! Guards that were forgotten: what they held comes free with their process, also if its handles went before.
//!
//! Children are this test binary again, in a role (the test `forgotten_entry`).

use std::mem;
use std::os::fd::AsFd;
use std::time::Duration;

use ginnel_object::lock::{Lock, RLock};
use ginnel_object::manager::{Manager, Options};
use ginnel_object::permits::{PermitPool, Permits};
use ginnel_object::rwlock::RwLock;
use ginnel_object::{Mutex, Owner, OwnerState};
use ginnel_testkit::child::{self, Exit, Role};
use ginnel_testkit::watchdog::Watchdog;

const LIMIT: Duration = Duration::from_secs(60);

fn manager() -> Manager {
    Manager::with(Options::new().limit(8 << 20).objects(16).participants(6)).expect("a small manager")
}

/// A second participant of the same manager.
fn second(manager: &Manager) -> Manager {
    Manager::from_fd(manager.as_fd().try_clone_to_owned().expect("dup")).expect("attach")
}

/// All that has guards.
struct Things {
    lock: Lock,
    rlock: RLock,
    mutex: Mutex<u64>,
    shelf: RwLock<[u64; 2]>,
    paper: RwLock<u64>,
    cameras: PermitPool,
}

impl Things {
    fn of(manager: &Manager) -> Self {
        Self {
            lock: manager.get_or_create("lock").expect("made"),
            rlock: manager.get_or_create("rlock").expect("made"),
            mutex: manager.get_or_create("mutex").expect("made"),
            shelf: manager.get_or_create("shelf").expect("made"),
            paper: manager.get_or_create("paper").expect("made"),
            cameras: manager.get_or_create_with("cameras", Permits(2)).expect("made"),
        }
    }

    /// Takes everything and forgets that it has to be given back.
    fn forget_all(&self) {
        mem::forget(self.lock.lock().expect("free"));
        mem::forget((self.rlock.lock().expect("free"), self.rlock.lock().expect("mine")));
        mem::forget(self.mutex.lock().expect("whole"));
        mem::forget(self.shelf.write().expect("whole"));
        mem::forget(self.paper.read().expect("whole"));
        mem::forget(self.cameras.acquire().expect("free"));
    }

    /// Takes everything, as the next one after somebody's end.
    fn check_that_all_is_free(&self, is_dead: impl Fn(Option<&Owner>) -> bool) {
        let guard = self.lock.lock().expect("comes free");
        assert!(is_dead(guard.previous_owner_died()), "{guard:?}");
        let guard = self.rlock.lock().expect("comes free");
        assert!(is_dead(guard.previous_owner_died()), "{guard:?}");
        let error = self.mutex.lock().expect_err("not repaired");
        assert!(error.is_owner_died() && is_dead(error.owner()), "{error}");
        *self.mutex.lock_or_repair(|_| ()).expect("repaired") += 1;
        let error = self.shelf.read().expect_err("not repaired");
        assert!(error.is_owner_died() && is_dead(error.owner()), "{error}");
        self.shelf.write_or_repair(|_| ()).expect("repaired")[0] += 1;
        *self.paper.write().expect("a reader leaves nothing") += 1;
        let both = (self.cameras.acquire().expect("came back"), self.cameras.acquire().expect("free"));
        assert_eq!(self.cameras.available(), 0, "{both:?}");
    }
}

/// The way in for roles; by itself it does nothing.
#[test]
fn forgotten_entry() {
    let Some((name, arguments)) = child::role() else { return };
    let manager = Manager::from_fd(arguments.fd(0).expect("a manager")).expect("attach");
    let things = Things::of(&manager);
    things.forget_all();
    // The handles go first, and then the attachment, or the process without a word.
    drop(things);
    match name.as_str() {
        "detaches" => drop(manager),
        "ends" => mem::forget(manager),
        other => panic!("no role {other}"),
    }
}

#[test]
fn what_a_process_forgot_is_free_after_its_end() {
    for role in ["ends", "detaches"] {
        let dog = Watchdog::new(role, LIMIT);
        let manager = manager();
        let things = Things::of(&manager);
        let mut child =
            Role::new(role).through_test("forgotten_entry").fd(&manager).spawn().expect("started");
        dog.waits_for("a child that ends in order");
        let exit = child.wait().expect("waited");
        assert_eq!(exit, Exit::Code(0));
        let pid = child.pid().as_raw().unsigned_abs();
        dog.waits_for("what it held");
        things.check_that_all_is_free(|owner| {
            owner.is_some_and(|owner| owner.pid == pid && owner.state == OwnerState::Dead)
        });
    }
}

#[test]
fn what_lives_keeps_what_it_forgot_until_it_detaches() {
    let dog = Watchdog::new("detaches", LIMIT);
    let one = manager();
    let things = Things::of(&one);
    let two = second(&one);
    Things::of(&two).forget_all();
    assert!(things.lock.try_lock().expect("asked").is_none());
    assert_eq!(one.recover().expect("not forked"), 0, "nobody has died");
    assert!(things.lock.lock_timeout(Duration::from_millis(100)).expect_err("held").is_timeout());
    assert_eq!(things.lock.owner().map(|owner| owner.state), Some(OwnerState::Running));
    assert_eq!(things.cameras.available(), 1);
    drop(two);
    dog.waits_for("what it held");
    things.check_that_all_is_free(|owner| owner.is_some());
}

#[test]
fn an_object_goes_with_its_last_handle_once_nothing_in_it_is_held() {
    let _dog = Watchdog::new("goes", LIMIT);
    let manager = manager();
    let things = Things::of(&manager);
    mem::forget(things.lock.lock().expect("free"));
    mem::forget(things.paper.read().expect("whole"));
    drop(things);
    for name in ["lock", "rlock", "mutex", "shelf", "paper", "cameras"] {
        assert!(manager.remove(name).expect("not forked"), "{name}");
    }
    assert_eq!(manager.inspect().objects.len(), 2, "{:?}", manager.inspect().objects);

    // One whose name is left is found again, and given back.
    let lock: Lock = manager.get_or_create("door").expect("made");
    mem::forget(lock.lock().expect("free"));
    drop(lock);
    let lock: Lock = manager.get_or_create("door").expect("found");
    assert!(lock.lock().expect_err("held by this thread").is_deadlock());
    lock.release_unowned().expect("held");
    drop(lock);
    assert!(manager.remove("door").expect("not forked"));
    assert_eq!(manager.inspect().objects.len(), 2, "the door is gone");
}
