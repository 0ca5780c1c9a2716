//! A callback runs in the starter, when the task is done.
//!
//! ```text
//! cargo run --release -p ginnel --example pool_callback
//! ```

use std::thread::sleep;
use std::time::Duration;

use ginnel::Pool;

fn work(_number: u32) {
    sleep(Duration::from_millis(100));
    println!("in process {}", std::process::id());
}

fn main() -> ginnel::Result<()> {
    let pool = Pool::new(2)?;
    println!("main process {}", std::process::id());
    for number in 0..3 {
        let task = pool.spawn(work, number)?;
        task.on_done(|done| println!("--> done: {done:?} in {}", std::process::id()));
    }
    println!("end");
    pool.join()?; // for the callbacks, too
    Ok(())
}
