//! `async_queue N`: a tokio task and a blocking process exchange N messages each way, and say how long one round trip
//! took.

use std::process::Command;
use std::time::Instant;

use ginnel::tokio::Async;
use ginnel::{Manager, Queue};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let count = words.first().and_then(|word| word.parse().ok()).unwrap_or(100_000_u64);
    if let [_, name] = &words[..] {
        return answer(name, count);
    }
    let name = format!("async-queue-{}", std::process::id());
    let manager = Manager::open_or_create(&name)?;
    let there = Async::new(manager.get_or_create::<Queue<u64>>("there")?)?;
    let back = Async::new(manager.get_or_create::<Queue<u64>>("back")?)?;
    let mut peer = Command::new(std::env::current_exe()?).args([&count.to_string(), &name]).spawn()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let elapsed = runtime.block_on(async {
        // The first one also waits for the peer to come up.
        there.send(0).await?;
        back.recv().await?;
        let start = Instant::now();
        for n in 1..count {
            there.send(n).await?;
            assert_eq!(back.recv().await?, n);
        }
        Ok::<_, ginnel::Error>(start.elapsed())
    })?;
    println!("{} ns a round trip", elapsed.as_nanos() / u128::from(count.max(1)));
    peer.wait()?;
    Ok(())
}

/// The other process knows nothing of tokio.
fn answer(name: &str, count: u64) -> Result<(), Box<dyn std::error::Error>> {
    let manager = Manager::open(name)?;
    let there = manager.get_or_create::<Queue<u64>>("there")?;
    let back = manager.get_or_create::<Queue<u64>>("back")?;
    for _ in 0..count {
        back.send(there.recv()?)?;
    }
    Ok(())
}
