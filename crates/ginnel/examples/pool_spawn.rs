//! `spawn` does not wait: ten tasks on five workers, and `join` waits for all of them.
//!
//! ```text
//! cargo run --release -p ginnel --example pool_spawn
//! ```

use std::thread::sleep;
use std::time::Duration;

use ginnel::Pool;

fn work(_number: u32) {
    sleep(Duration::from_millis(200));
    println!("in process {}", std::process::id());
}

fn main() -> ginnel::Result<()> {
    let pool = Pool::new(5)?;
    for number in 0..10 {
        pool.spawn(work, number)?; // nobody asks for the result; a failure would be `join`'s error
    }
    println!("end");
    pool.join()?;
    Ok(())
}
