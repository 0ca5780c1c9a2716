//! What many children leave: nothing. The only test of its program, as it counts what the program has.

use std::fs;
use std::process;
use std::thread;
use std::time::Duration;

use ginnel_object::Manager;
use ginnel_process::{Process, Start, info};
use ginnel_testkit::watchdog::Watchdog;

/// Descriptors, threads and zombies of this process, and bytes and participants of its arena.
fn ledger() -> [usize; 5] {
    let fds = fs::read_dir("/proc/self/fd").expect("proc").count();
    let threads = fs::read_dir("/proc/self/task").expect("proc").count();
    let manager = Manager::current().expect("an arena");
    [fds, threads, zombies(), manager.size(), manager.inspect().participants.len()]
}

/// Children of this process that have ended and that nobody has waited for.
fn zombies() -> usize {
    let me = process::id().to_string();
    let is_mine = |stat: &String| {
        let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let mut fields = rest.split(' ');
        fields.next() == Some("Z") && fields.next() == Some(me.as_str())
    };
    let all = fs::read_dir("/proc").expect("proc");
    let stats = all.filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("stat")).ok());
    stats.filter(is_mine).count()
}

fn round(n: u64) {
    let start = if n.is_multiple_of(10) { Start::Exec } else { Start::Auto };
    let child = Process::builder().start(start).spawn(|n: u64| vec![n; 1000], n).expect("a child");
    match n % 4 {
        0 => drop(child),
        1 => child.kill().expect("ours"),
        2 => child.wait(),
        _ => assert_eq!(child.join().expect("a value").len(), 1000),
    }
}

/// Waits until the service has put away what it has, and no more is there than `most`, up to the watchdog's patience.
fn until_all_are_gone(most: Option<[usize; 5]>) -> [usize; 5] {
    loop {
        let now = ledger();
        let is_over = info::children().is_empty() && now[2] == 0 && now[3] == 0 && now[4] == 1;
        if is_over && most.is_none_or(|most| now.iter().zip(most).all(|(now, most)| *now <= most)) {
            return now;
        }
        // A poll, not synchronisation: nobody tells when the service has put the last one away. The watchdog ends it.
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn nothing_grows() {
    let watchdog = Watchdog::new("growth", Duration::from_secs(120));
    (0..16).for_each(round);
    watchdog.waits_for("the first children to be gone");
    let before = until_all_are_gone(None);
    (0..200).for_each(round);
    watchdog.waits_for(format!("{before:?}, as before 200 children"));
    until_all_are_gone(Some(before));
}
