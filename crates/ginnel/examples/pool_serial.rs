//! `apply` gives the result, or what became of the task.
//!
//! ```text
//! cargo run --release -p ginnel --example pool_serial
//! ```

use std::thread::sleep;
use std::time::Duration;

use ginnel::Pool;

fn work(number: u32) -> u32 {
    sleep(Duration::from_millis(50));
    println!("in process {}", std::process::id());
    number + 100
}

fn main() -> ginnel::Result<()> {
    let pool = Pool::new(3)?;
    for number in 0..4 {
        println!("result {}", pool.apply(work, number)?);
    }
    println!("end");
    pool.join()?;
    Ok(())
}
