//! `apply` waits for each task: five workers, and yet one task after the other.
//!
//! ```text
//! cargo run --release -p ginnel --example pool_apply
//! ```

use std::thread::sleep;
use std::time::{Duration, Instant};

use ginnel::Pool;

fn work(_number: u32) {
    sleep(Duration::from_millis(50));
    println!("in process {}", std::process::id());
}

fn main() -> ginnel::Result<()> {
    let pool = Pool::new(5)?;
    let began = Instant::now();
    for number in 0..10 {
        pool.apply(work, number)?;
    }
    println!("end");
    println!("elapsed: {} ms", began.elapsed().as_millis());
    pool.join()?;
    Ok(())
}
