//! Pools that come and go leave nothing: no process, thread, descriptor, participant or object.

mod common;

use std::fs;

use common::{die, pids, sigkill, until, watchdog};
use ginnel_object::{Manager, Mutex};
use ginnel_pool::{OnWorkerDeath, Pool, attempt};
use ginnel_process::info;

fn count(directory: &str) -> usize {
    fs::read_dir(directory).expect("proc").count()
}

/// Descriptors, threads, participants, objects.
fn ledger() -> [usize; 4] {
    let inspection = Manager::current().expect("a manager").inspect();
    [
        count("/proc/self/fd"),
        count("/proc/self/task"),
        inspection.participants.len(),
        inspection.objects.len(),
    ]
}

fn grow(runs: Mutex<u64>, n: u64) -> Vec<u8> {
    if n % 16 == 3 && attempt() == 0 {
        die();
    }
    *runs.lock_or_repair(|_| ()).expect("a lock") += 1;
    vec![n as u8; n as usize * 100]
}

fn round(n: u64) {
    let builder = Pool::builder().workers(2).on_worker_death(OnWorkerDeath::Retry(9));
    let pool = builder.max_tasks_per_worker(if n.is_multiple_of(2) { 7 } else { 0 }).build().expect("a pool");
    let tasks: Vec<_> = (0..40_u64)
        .map(|n| {
            let runs = Mutex::new(0_u64).expect("a mutex");
            pool.spawn(grow, (runs, n)).expect("a place")
        })
        .collect();
    match n % 4 {
        0 => drop(pool),
        1 => {
            pids(&pool).first().into_iter().for_each(|pid| sigkill(*pid));
            for (n, task) in (0_usize..).zip(tasks) {
                assert_eq!(task.join().expect("a value").len(), n * 100);
            }
            pool.terminate();
        }
        2 => {
            drop(tasks);
            pool.join().map(drop).expect("no failure");
        }
        _ => {
            let values = pool.map(|n| n + 1, 0..1000_u64).expect("values");
            assert_eq!(values.len(), 1000);
            pool.join().map(drop).expect("no failure");
        }
    }
}

#[test]
fn nothing_grows() {
    let watchdog = watchdog("growth");
    (0..8).for_each(round);
    watchdog.waits_for("the first pools to be gone");
    until(|| info::children().is_empty());
    let mut before = [0; 4];
    // What ended in order is put away behind our back.
    until(|| {
        let now = ledger();
        std::mem::replace(&mut before, now) == now && now[2] <= 2
    });
    (0..24).for_each(round);
    watchdog.waits_for(format!("{before:?}, as before 24 pools"));
    until(|| info::children().is_empty() && ledger().iter().zip(before).all(|(now, before)| *now <= before));
}
