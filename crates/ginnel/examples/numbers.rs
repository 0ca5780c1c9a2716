//! One program, started twice: `numbers` prints what `numbers send` sends. The README shows it.

use ginnel::{Manager, spsc};

fn main() -> ginnel::Result<()> {
    let manager = Manager::open_or_create("numbers")?;
    if std::env::args().any(|word| word == "send") {
        let mut numbers = spsc::producer::<u64>(&manager, "numbers")?;
        return Ok((1..=1_000_000).try_for_each(|n| numbers.send(n))?);
    }
    let mut numbers = spsc::consumer::<u64>(&manager, "numbers")?;
    while let Some(n) = numbers.next()? {
        println!("{}", *n);
    }
    Ok(())
}
