//! The smallest program with two processes: one sends, the other receives.

use std::process::Command;

use ginnel::{Manager, Queue};

fn main() -> ginnel::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [role, name] = &words[..]
        && role == "producer"
    {
        return produce(&Manager::open(name)?.get_or_create("letters")?);
    }
    let name = format!("producer-consumer-{}", std::process::id());
    let letters: Queue<(u32, Option<String>, String)> =
        Manager::open_or_create(&name)?.get_or_create("letters")?;
    let mut producer = Command::new(std::env::current_exe()?).args(["producer", &name]).spawn()?;
    for letter in letters.iter() {
        println!("{:?}", letter?);
    }
    producer.wait()?;
    Ok(())
}

fn produce(letters: &Queue<(u32, Option<String>, String)>) -> ginnel::Result<()> {
    letters.send((66, None, "hello world".into()))?;
    letters.send((67, Some("again".into()), "and goodbye".into()))?;
    letters.close();
    Ok(())
}
