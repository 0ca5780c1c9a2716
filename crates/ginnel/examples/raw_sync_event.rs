//! Code written against the traits of `raw_sync`, over an event of ginnel: only the type changes.
//!
//! The parent makes a segment with `shared_memory` and an event in it, starts itself once more, and waits until the child has
//! set the event.
//!
//! - I1 the segment has room for what is put there, and is unmapped after its last use.
#![allow(unsafe_code, reason = "the traits of raw_sync are unsafe to make an event with")]

use std::process::Command;
use std::time::Duration;

use ginnel::compat::Event;
use raw_sync::Timeout;
use raw_sync::events::{EventInit, EventState};
use shared_memory::ShmemConf;

/// Bytes of the segment: room for the event, wherever in it that begins.
const SIZE: usize = 4096;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Some(os_id) = std::env::args().nth(1) {
        return child(&os_id);
    }
    let segment = ShmemConf::new().size(SIZE).create()?;
    assert!(Event::size_of(Some(segment.as_ptr())) <= SIZE);
    // SAFETY: I1.
    let (event, used) = unsafe { Event::new(segment.as_ptr(), true)? };
    println!("an event of {used} bytes in {}", segment.get_os_id());
    let mut child = Command::new(std::env::current_exe()?).arg(segment.get_os_id()).spawn()?;
    event.wait(Timeout::Val(Duration::from_secs(10)))?;
    println!("the child has set it");
    child.wait()?;
    Ok(())
}

fn child(os_id: &str) -> Result<(), Box<dyn std::error::Error>> {
    let segment = ShmemConf::new().os_id(os_id).open()?;
    // SAFETY: I1.
    let (event, _) = unsafe { Event::from_existing(segment.as_ptr())? };
    event.set(EventState::Signaled)
}
