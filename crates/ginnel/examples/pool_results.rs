//! Results reach callbacks of the starter, in the order in which the tasks end.
//!
//! ```text
//! cargo run --release -p ginnel --example pool_results
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
    println!("main process {}", std::process::id());
    for number in 0..10 {
        pool.spawn(work, number)?.on_done(|done| match done {
            Ok(result) => println!("--> done: {result} in {}", std::process::id()),
            Err(why) => println!("--> failed: {why}"),
        });
    }
    println!("end");
    pool.join()?;
    Ok(())
}
