//! A work queue that survives its workers: a job is leased, and comes back if its worker is killed.
//!
//! `cargo run --example work_queue` starts three workers, kills one of them in the middle, and shows that every job
//! was done.

use std::process::{Child, Command};
use std::time::Duration;

use ginnel::{Manager, Queue};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Job {
    id: u32,
}

const JOBS: u32 = 300;

fn main() -> ginnel::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [role, name] = &words[..]
        && role == "worker"
    {
        return worker(&Manager::open(name)?);
    }
    let name = format!("work-queue-{}", std::process::id());
    let manager = Manager::open_or_create(&name)?;
    let jobs: Queue<Job> = manager.get_or_create("jobs")?;
    let done: Queue<(u32, u32)> = manager.get_or_create("done")?;
    let mut workers: Vec<Child> = (0..3).map(|_| start(&name)).collect::<ginnel::Result<_>>()?;
    for id in 0..JOBS {
        jobs.send(Job { id })?;
    }
    jobs.close();

    let mut seen = vec![0; JOBS as usize];
    let mut again = 0;
    for count in 1.. {
        let (id, redelivered) = done.recv()?;
        seen[id as usize] += 1;
        again += u32::from(redelivered > 0);
        if count == 20 {
            workers[0].kill()?;
        }
        if seen.iter().all(|times| *times > 0) {
            break;
        }
    }
    jobs.wait_done()?;
    for worker in &mut workers {
        worker.wait()?;
    }
    println!("{JOBS} jobs done, {again} of them after a worker was killed");
    println!("{:?}", jobs.stats());
    Ok(())
}

fn start(name: &str) -> ginnel::Result<Child> {
    Ok(Command::new(std::env::current_exe()?).args(["worker", name]).spawn()?)
}

fn worker(manager: &Manager) -> ginnel::Result<()> {
    let jobs: Queue<Job> = manager.get_or_create("jobs")?;
    let done: Queue<(u32, u32)> = manager.get_or_create("done")?;
    while let Some(job) = jobs.next_lease()? {
        // The work itself.
        std::thread::sleep(Duration::from_millis(1)); // not synchronisation
        done.send((job.id, job.redelivered()))?;
        job.ack()?;
    }
    Ok(())
}
