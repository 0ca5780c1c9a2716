//! One process waits for an event as long as it takes, another for a moment.
//!
//! ```text
//! cargo run --release -p ginnel --example event_two
//! ```

use std::time::Duration;

use ginnel::sync::Event;
use ginnel::{Process, Result};

fn patient(event: Event) {
    println!("patient: waits");
    event.wait();
    println!("patient: is set: {}", event.is_set());
}

fn hasty(event: Event, limit: Duration) {
    println!("hasty: waits");
    let came = event.wait_timeout(limit);
    println!("hasty: is set: {came}");
}

fn main() -> Result<()> {
    let event = Event::new()?;
    let patient = Process::builder().name("patient").spawn(patient, &event)?;
    let hasty = Process::builder().name("hasty").spawn(hasty, (&event, Duration::from_millis(200)))?;
    hasty.wait();
    event.set();
    println!("main: event is set");
    patient.wait();
    println!("names: {} {}", patient.name(), hasty.name());
    Ok(())
}
