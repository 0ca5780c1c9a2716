//! `round_trips N [spin]`: two processes exchange N messages each way and say how long one round trip took.
//!
//! Run it under `strace -f -c` with two values of N to see that system calls belong to the start and the end, and
//! not to the messages: see docs/no-syscalls.md.

use std::process::Command;
use std::time::Instant;

use ginnel::spsc::Wait;
use ginnel::{Manager, spsc};

fn main() -> ginnel::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let count = words.first().and_then(|word| word.parse().ok()).unwrap_or(1_000_000_u64);
    if words.get(1).is_some_and(|word| word == "answer") {
        return answer(&words[2], count);
    }
    let wait = if words.iter().any(|word| word == "spin") { Wait::Spin } else { Wait::Adaptive };
    let lane = spsc::Options::new().wait(wait);
    let name = format!("round-trips-{}", std::process::id());
    let manager = Manager::open_or_create(&name)?;
    let mut there = lane.producer::<u64>(&manager, "there")?;
    let mut back = lane.consumer::<u64>(&manager, "back")?;
    let mut peer =
        Command::new(std::env::current_exe()?).args([&count.to_string(), "answer", &name]).spawn()?;
    // The first one also waits for the peer to come up.
    there.send(0)?;
    back.recv()?;
    let start = Instant::now();
    for n in 1..count {
        there.send(n)?;
        assert_eq!(back.recv()?, n);
    }
    println!("{} ns a round trip", start.elapsed().as_nanos() / u128::from(count.max(1)));
    peer.wait()?;
    Ok(())
}

fn answer(name: &str, count: u64) -> ginnel::Result<()> {
    let manager = Manager::open(name)?;
    let mut there = spsc::consumer::<u64>(&manager, "there")?;
    let mut back = spsc::producer::<u64>(&manager, "back")?;
    (0..count).try_for_each(|_| Ok(back.send(there.recv()?)?))
}
