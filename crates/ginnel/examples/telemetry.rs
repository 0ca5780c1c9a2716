//! Telemetry to whoever listens: the sender never waits, and who is too slow is told how much it missed.
//!
//! `cargo run --release --example telemetry` starts a fast and a slow listener in processes of their own.

use std::process::Command;
use std::time::Duration;

use ginnel::{Manager, Raw, broadcast};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Sample {
    number: u64,
    temperature: f64,
}

const SAMPLES: u64 = 200_000;

fn main() -> ginnel::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [role, name] = &words[..] {
        return listen(role, &Manager::open(name)?);
    }
    let name = format!("telemetry-{}", std::process::id());
    let manager = Manager::open_or_create(&name)?;
    let samples = broadcast::Options::new().capacity(1024).sender::<Raw<Sample>>(&manager, "samples")?;
    let program = std::env::current_exe()?;
    let mut listeners = Vec::new();
    for role in ["fast", "slow"] {
        listeners.push(Command::new(&program).args([role, &name]).spawn()?);
    }
    // Until both listen: one sample a millisecond, for them to begin with.
    while listening(&manager) < 3 {
        samples.send(Raw(Sample { number: 0, temperature: 0.0 }))?;
        std::thread::sleep(Duration::from_millis(1)); // not synchronisation
    }
    for number in 1..=SAMPLES {
        samples.send(Raw(Sample { number, temperature: (number as f64).sin() }))?;
        if number % 256 == 0 {
            // The sensor has its own pace.
            std::thread::sleep(Duration::from_micros(100)); // not synchronisation
        }
    }
    samples.close();
    for mut listener in listeners {
        listener.wait()?;
    }
    Ok(())
}

/// Processes that have the channel open, this one included.
fn listening(manager: &Manager) -> u32 {
    manager.inspect().objects.iter().map(|object| object.holders).max().unwrap_or(0)
}

fn listen(role: &str, manager: &Manager) -> ginnel::Result<()> {
    let mut samples = broadcast::Options::new().receiver::<Raw<Sample>>(manager, "samples")?;
    let (mut got, mut missed, mut warmest) = (0_u64, 0, f64::MIN);
    while let Some(Raw(sample)) = samples.next()? {
        got += 1;
        missed += samples.take_missed();
        warmest = warmest.max(sample.temperature);
        if role == "slow" && sample.number % 500 == 0 {
            std::thread::sleep(Duration::from_millis(1)); // not synchronisation
        }
    }
    println!("{role}: {got} samples, {missed} missed, {warmest:.3} at most");
    Ok(())
}
