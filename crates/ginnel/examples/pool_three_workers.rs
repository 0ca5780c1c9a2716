//! Three workers and four tasks: the fourth waits until a worker is free.
//!
//! ```text
//! cargo run --release -p ginnel --example pool_three_workers
//! ```

use std::thread::sleep;
use std::time::Duration;

use ginnel::Pool;

fn work(message: String) {
    println!("message: {message}");
    sleep(Duration::from_millis(300));
    println!("end {message}");
}

fn main() -> ginnel::Result<()> {
    let pool = Pool::new(3)?;
    for number in 0..4 {
        pool.spawn(work, format!("hello {number}"))?;
    }
    println!("mark");
    pool.join()?;
    println!("all workers are done");
    Ok(())
}
