//! Ten tasks of different lengths on five workers: whoever is free takes the next.
//!
//! ```text
//! cargo run --release -p ginnel --example pool_uneven
//! ```

use std::hash::{BuildHasher, RandomState};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ginnel::Pool;

fn work(name: u32) {
    println!("task {name} runs in {}", std::process::id());
    let began = Instant::now();
    // The hasher of the standard library begins with another number each time: chance without a crate.
    sleep(Duration::from_millis(RandomState::new().hash_one(name) % 300));
    println!("task {name} ran for {} ms", began.elapsed().as_millis());
}

fn main() -> ginnel::Result<()> {
    let pool = Pool::new(5)?;
    for name in 0..10 {
        pool.spawn(work, name)?;
    }
    pool.join()?;
    println!("end of the test");
    Ok(())
}
