//! Python's `multiprocessing.Pool` with Pillow, in a Python of its own.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use ginnel::Failure;
use serde::{Deserialize, Serialize};

use super::{Crew, Timing};
use crate::pictures::Job;

const SCRIPT: &str = include_str!("thumbnails.py");

/// How much of a picture Pillow decodes.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Decode {
    Whole,
    Draft,
}

#[derive(Serialize)]
struct Order<'a> {
    workers: usize,
    decode: Decode,
    jobs: &'a [Job],
}

/// What the script says of itself, in seconds.
#[derive(Deserialize)]
struct Answer {
    start: f64,
    work: f64,
    end: f64,
}

/// What is missing for these rows.
pub(super) fn lacks(python: &Path) -> Option<String> {
    let succeeds = |code: &str| {
        let mut command = Command::new(python);
        command.args(["-c", code]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if !succeeds("import multiprocessing") {
        Some(format!("there is no {}", python.display()))
    } else if !succeeds("from PIL import Image") {
        Some(format!("{} has no Pillow (pip install pillow)", python.display()))
    } else {
        None
    }
}

pub(super) fn run(crew: &Crew, decode: Decode, jobs: &[Job]) -> Result<Timing, Failure> {
    // A file and no `-c`: a start method other than fork imports it.
    let folder = jobs.first().and_then(|job| job.to.parent()).ok_or_else(|| Failure::msg("no pictures"))?;
    let script = folder.join("thumbnails.py");
    fs::write(&script, SCRIPT)?;
    let mut child =
        Command::new(&crew.python).arg(&script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let order = serde_json::to_vec(&Order { workers: crew.workers, decode, jobs })?;
    let mut input = child.stdin.take().ok_or_else(|| Failure::msg("no pipe to Python"))?;
    input.write_all(&order)?;
    drop(input);
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(Failure::msg(format!("Python ended with {}", output.status)));
    }
    let Answer { start, work, end } = serde_json::from_slice(&output.stdout)?;
    let [start, work, end] = [start, work, end].map(Duration::try_from_secs_f64);
    Ok(Timing { start: start?, work: work?, end: end?, killed: 0 })
}
