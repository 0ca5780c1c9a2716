//! A configuration that workers watch: whoever sleeps on it wakes when it changes, and sees all of it or nothing.
//!
//! ```text
//! cargo run --release -p ginnel --example config_watch
//! ```

use ginnel::sync::Semaphore;
use ginnel::{Dict, Process, Result};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Config {
    rate: f64,
    hosts: Vec<String>,
}

type Configs = Dict<String, Config>;

/// Until the configuration is taken away.
fn worker(configs: Configs, seen: Semaphore, number: u32) -> Result<()> {
    let mut watch = configs.watch("crawler")?;
    let mut now = watch.get()?;
    while let Some(config) = now {
        println!("worker {number}: {} a second from {}", config.rate, config.hosts.join(", "));
        seen.release(1)?;
        now = watch.next()?;
    }
    println!("worker {number}: ends");
    Ok(())
}

fn main() -> Result<()> {
    let (configs, seen) = (Configs::new()?, Semaphore::new(0)?);
    let wait_for_all = || (0..3).for_each(|_| seen.acquire());
    configs.insert("crawler".into(), Config { rate: 0.5, hosts: vec!["one".into()] })?;
    let mut workers = Vec::new();
    for number in 0..3 {
        workers.push(Process::spawn(worker, (&configs, &seen, number))?);
    }
    wait_for_all();

    configs.insert("crawler".into(), Config { rate: 2.0, hosts: vec!["one".into()] })?;
    wait_for_all();
    // Part of a value, changed where others change other parts: none of it is lost.
    configs.modify("crawler", |config| config.hosts.push("two".into()))?;
    wait_for_all();
    configs.remove("crawler")?;
    workers.into_iter().try_for_each(|worker| worker.join()?)
}
