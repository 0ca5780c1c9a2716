//! One child sends, another receives; the main process only makes the pipe between them.
//!
//! ```text
//! cargo run --release -p ginnel --example two_children_talk
//! ```

use std::thread::sleep;
use std::time::Duration;

use ginnel::pipe::{self, Receiver, Sender};
use ginnel::{Process, Result};

const PAUSE: Duration = Duration::from_millis(20);

fn talk(mut numbers: Sender<u32>) -> Result<()> {
    for number in (0..2).flat_map(|_| 0..5) {
        println!("send: {number}");
        numbers.send(number)?;
        sleep(PAUSE);
    }
    Ok(())
}

/// Until the sender is gone.
fn listen(mut numbers: Receiver<u32>) -> Result<()> {
    while let Some(number) = numbers.next()? {
        println!("received: {number}");
    }
    Ok(())
}

fn main() -> Result<()> {
    let (tx, rx) = pipe::simplex()?;
    let talker = Process::spawn(talk, tx)?;
    let listener = Process::spawn(listen, rx)?;
    talker.join()??;
    listener.join()?
}
