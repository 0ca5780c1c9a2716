//! Opens a segment that a program made with the crate `shared_memory`, without that crate.
//!
//! - I1 the segment has room for what is put there, and is unmapped after its last use.
#![allow(unsafe_code, reason = "the traits of raw_sync are unsafe to make an event with")]

use ginnel::compat::{Event, Shmem};
use raw_sync::Timeout;
use raw_sync::events::{EventInit, EventState};
use shared_memory::ShmemConf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The other program: a segment with a link file, and a greeting in it.
    let link = std::env::temp_dir().join(format!("ginnel-example-{}", std::process::id()));
    let theirs = ShmemConf::new().size(4096).flink(&link).create()?;
    let greeting = b"passage";
    // SAFETY: I1.
    unsafe { theirs.as_ptr().copy_from_nonoverlapping(greeting.as_ptr(), greeting.len()) };

    // This one.
    let ours = Shmem::open_flink(&link)?;
    // SAFETY: I1.
    let text = unsafe { &ours.as_slice()[..greeting.len()] };
    println!("{} bytes in {}: {}", ours.len(), ours.os_id(), String::from_utf8_lossy(text));

    // An event fits in it as well, behind the greeting.
    let place = ours.as_ptr().wrapping_add(128);
    // SAFETY: I1.
    let (event, _) = unsafe { Event::new(place, false)? };
    event.set(EventState::Signaled)?;
    event.wait(Timeout::Infinite)?;
    Ok(())
}
