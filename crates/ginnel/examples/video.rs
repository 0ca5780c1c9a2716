//! Video frames through shared blocks: a frame of any size crosses as its number and a few bytes.
//!
//! `cargo run --release --example video` films 600 frames of 8 MB, of which eight are in memory, and an encoder in
//! another process reads each.

use std::process::Command;
use std::time::Instant;

use ginnel::blocks::{self, Block, Blocks};
use ginnel::{Manager, Queue, queue};
use serde::{Deserialize, Serialize};

const SIZE: usize = 1920 * 1080 * 4;
const FRAMES: u64 = 600;

#[derive(Debug, Serialize, Deserialize)]
struct Frame {
    number: u64,
    pixels: Block,
}

fn main() -> ginnel::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [role, name] = &words[..]
        && role == "encoder"
    {
        return encode(&Manager::open(name)?);
    }
    let name = format!("video-{}", std::process::id());
    let manager = Manager::open_or_create(&name)?;
    let frames: Queue<Frame> = manager.get_or_create_with("frames", queue::Options::bounded(8))?;
    let blocks: Blocks = manager.get_or_create_with("pixels", blocks::Options::new(8, SIZE))?;
    let mut encoder = Command::new(std::env::current_exe()?).args(["encoder", &name]).spawn()?;
    let start = Instant::now();
    for number in 0..FRAMES {
        let mut pixels = blocks.claim()?;
        // The camera.
        pixels[..8].copy_from_slice(&number.to_le_bytes());
        frames.send(Frame { number, pixels: pixels.freeze() })?;
    }
    frames.close();
    encoder.wait()?;
    let took = start.elapsed();
    println!("{FRAMES} frames of {SIZE} bytes in {took:?}; {} blocks are free again", blocks.free());
    Ok(())
}

fn encode(manager: &Manager) -> ginnel::Result<()> {
    let frames: Queue<Frame> = manager.get_or_create("frames")?;
    while let Some(frame) = frames.next()? {
        assert_eq!(frame.pixels[..8], frame.number.to_le_bytes());
        if frame.number % 200 == 0 {
            println!("frame {} at {} bytes", frame.number, frame.pixels.len());
        }
    }
    Ok(())
}
