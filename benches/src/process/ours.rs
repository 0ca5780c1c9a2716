//! Children of `ginnel::Process`.

use std::fs;

use ginnel::Process;
use ginnel::process::{Builder, ProcessError, Start, start_method, warm};
use ginnel::sync::Event;

use crate::arena::failed;
use crate::clock::now_ns;
use crate::fault::Fault;

use super::pace::{checked, successor};

/// By which method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// A clone of the zygote.
    Zygote,
    /// The program again.
    Reexec,
    /// One that waits already.
    Spare,
}

/// How long a child may take to say that it runs.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// Says that it runs, and waits to be killed.
fn idle(runs: &Event) {
    runs.set();
    loop {
        std::thread::park();
    }
}

impl Way {
    fn builder(self) -> Builder {
        Process::builder().start(match self {
            Self::Zygote | Self::Spare => Start::Zygote,
            Self::Reexec => Start::Exec,
        })
    }

    /// What is done before the clock starts: a spare is there, and these are all that are there.
    fn prepare(self) -> Result<Vec<u32>, Fault> {
        if self != Self::Spare {
            return Ok(Vec::new());
        }
        warm(1).map_err(|error| failed("keeping a spare", error))?;
        children_of_this_process()
    }

    /// Was it started as the row says?
    fn check(self, pid: u32, before: &[u32]) -> Result<(), Fault> {
        let method = || start_method();
        match self {
            Self::Reexec => Ok(()),
            Self::Spare if !before.contains(&pid) => {
                Err(Fault::failed("taking a spare", format!("process {pid} was made after the call")))
            }
            Self::Zygote | Self::Spare => match method() {
                (Start::Zygote, _) => Ok(()),
                (other, why) => {
                    let why = why.unwrap_or_else(|| "it does not say why".into());
                    Err(Fault::failed("starting by the zygote", format!("fell back to {other:?}: {why}")))
                }
            },
        }
    }

    /// From the call to the value.
    pub(super) fn join(self, number: u64) -> Result<u64, Fault> {
        let before = self.prepare()?;
        let mut pid = 0;
        let took = checked(number, |number| {
            let child = self.builder().spawn(successor, number).map_err(start_failed)?;
            pid = child.pid();
            child.join().map_err(end_failed)
        })?;
        self.check(pid, &before)?;
        Ok(took)
    }

    /// From the call to the function.
    pub(super) fn body(self) -> Result<u64, Fault> {
        let known = self.prepare()?;
        let before = now_ns();
        let child = self.builder().spawn(now_ns, ()).map_err(start_failed)?;
        let pid = child.pid();
        let began = child.join().map_err(end_failed)?;
        self.check(pid, &known)?;
        began
            .checked_sub(before)
            .ok_or_else(|| Fault::failed("starting a child", "its function began before it was asked for"))
    }

    /// From SIGKILL to the end of the wait for it.
    pub(super) fn kill(self) -> Result<u64, Fault> {
        let runs = Event::new().map_err(|error| failed("making an event", error))?;
        let known = self.prepare()?;
        let child = self.builder().spawn(|runs: Event| idle(&runs), &runs).map_err(start_failed)?;
        self.check(child.pid(), &known)?;
        if !runs.wait_timeout(PATIENCE) {
            return Err(Fault::failed("starting a child", "it did not run in 10 s"));
        }
        let before = now_ns();
        child.kill().map_err(|error| failed("killing a child", error))?;
        child.wait();
        let took = now_ns() - before;
        match child.join() {
            Err(ProcessError::Killed { signal: 9, .. }) => Ok(took),
            other => Err(Fault::failed("killing a child", format!("it ended as {other:?}"))),
        }
    }

    /// So many at a time, all joined.
    pub(super) fn churn(self, count: u64) -> Result<u64, Fault> {
        let before = now_ns();
        let children = self.builder().spawn_all(successor, 0..count).map_err(start_failed)?;
        for (number, child) in (0..).zip(children) {
            let value = child.join().map_err(end_failed)?;
            if value != successor(number) {
                return Err(Fault::failed("starting children", format!("{value} came back from {number}")));
            }
        }
        let took = now_ns() - before;
        self.check(0, &[])?;
        Ok(took)
    }
}

fn start_failed(error: ginnel::Error) -> Fault {
    failed("starting a child", error)
}

fn end_failed(error: ProcessError) -> Fault {
    failed("waiting for a child", error)
}

/// The children of all threads of this process.
fn children_of_this_process() -> Result<Vec<u32>, Fault> {
    let failed = |error| Fault::failed("reading the children of this process", error);
    let mut children = Vec::new();
    for task in fs::read_dir("/proc/self/task").map_err(failed)? {
        let list = fs::read_to_string(task.map_err(failed)?.path().join("children")).map_err(failed)?;
        children.extend(list.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    Ok(children)
}
