//! What the programs show while they run, and the copies of themselves that do the work.
//!
//! A program's first copy watches: it draws the bars and ends what hangs. The copies that it starts (roles) have one
//! thread each, because they fork. They tell their progress through shared words and their outcome as one line of JSON.

use std::io::{self, IsTerminal, Read};
use std::process::{ChildStdout, Stdio};
use std::time::{Duration, Instant};

use ginnel_testkit::child::{Child, Role, adopt};
use ginnel_testkit::scratch::Scratch;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

/// Words of progress that each role has: done, of how many, and a number of what is done now.
pub const PROGRESS: usize = 3;

/// A role at work.
#[derive(Debug)]
pub struct Job {
    child: Child,
    stdout: Option<ChildStdout>,
    progress: usize,
    seen: u64,
    moved: Instant,
}

/// How a job ended.
#[derive(Debug)]
pub enum Outcome {
    /// The line it printed.
    Line(Value),
    /// It ended without one, or was ended because it hung.
    Broken(String),
}

impl Job {
    /// Starts `role`, whose progress stands in the words from `progress` on.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(role: &Role, progress: usize) -> io::Result<Self> {
        let mut child = role.command()?.stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take();
        Ok(Self { child: adopt(&child)?, stdout, progress, seen: 0, moved: Instant::now() })
    }

    /// Waits up to `slice` for its end. `None`: it still runs. If its progress words have not moved for `patience`, it
    /// hangs, and is ended.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn wait(
        &mut self,
        slice: Duration,
        patience: Duration,
        words: &Scratch,
    ) -> io::Result<Option<Outcome>> {
        if let Some(exit) = self.child.wait_timeout(slice)? {
            let mut text = String::new();
            self.stdout.take().map(|mut pipe| pipe.read_to_string(&mut text)).transpose()?;
            let line = text.lines().rev().find_map(|line| serde_json::from_str(line).ok());
            return Ok(Some(match line {
                Some(line) => Outcome::Line(line),
                None => Outcome::Broken(format!("it ended with {exit} and said nothing")),
            }));
        }
        let now = (0..PROGRESS)
            .fold(0, |sum: u64, index| sum.wrapping_mul(31).wrapping_add(words.get(self.progress + index)));
        if now != self.seen {
            (self.seen, self.moved) = (now, Instant::now());
        }
        if self.moved.elapsed() > patience {
            self.child.kill()?;
            let (done, what) = (words.get(self.progress), words.get(self.progress + 2));
            let text =
                format!("it hung: no progress for {patience:?} after step {done}, in operation {what}");
            return Ok(Some(Outcome::Broken(text)));
        }
        Ok(None)
    }
}

/// A bar on a terminal, and nothing elsewhere or where `quiet`.
#[must_use]
pub fn bar(quiet: bool, length: u64, template: &str) -> ProgressBar {
    if quiet || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style)
}
