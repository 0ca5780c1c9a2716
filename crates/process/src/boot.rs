//! A child's first steps: from the boot line to the function, and from its return to the exit.
//!
//! The boot line is the value of one environment variable. It holds numbers only; everything else lies in the record,
//! which the child reads once it is a participant.
//!
//! ```text
//! 1:c:3:14:-1:77:5:4711:9a3f..:0:Process-1
//! | | | |  |  |  | |    |      | name
//! | | | |  |  |  | |    |      length of our path at the front of LD_PRELOAD; 0 without
//! | | | |  |  |  | |    fingerprint of the image, hexadecimal
//! | | | |  |  |  | number of the starter
//! | | | |  |  ticket of the record, and its generation
//! | | | |  descriptor of the board; -1 without
//! | | | descriptor of the arena
//! | | 1: main takes over; 2: ends with its parent
//! | c: a child, z: the zygote
//! version
//! ```
//!
//! | dies after | left | who sees it |
//! |---|---|---|
//! | nothing yet, or attaching | the record as REQUESTED | the starter gives the start up |
//! | STARTED | the arguments, some of them received | the starter takes them back |
//! | RUNNING | what the function held | recovery, as for any participant |
//! | the result is there | the result | the starter, although the exit code says otherwise |

use std::fmt;
use std::os::fd::RawFd;
use std::process;

use ginnel_object::bridge::{self, BootTicket, Record};
use ginnel_object::{Error, ErrorKind, Manager, Result};
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

use crate::task::{self, code};
use crate::{hook, image, info, panic, zygote};

pub(crate) mod settings;

use settings::Boot;

/// The variable that makes an execution of this program a child.
pub(crate) const VARIABLE: &str = "GINNEL_BOOT";

/// The variable by which a library gets into a host.
pub(crate) const PRELOAD: &str = "LD_PRELOAD";

/// What a new process is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A child that runs one function.
    Child,
    /// The zygote.
    Zygote,
}

/// All that a new process is told before it is a participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) mode: Mode,
    /// Does `enter` take over, inside `main`?
    pub(crate) in_main: bool,
    /// The memfd of the arena.
    pub(crate) arena: RawFd,
    /// The memfd of the board; -1 without.
    pub(crate) board: RawFd,
    /// The ticket of the record.
    pub(crate) ticket: u32,
    pub(crate) generation: u32,
    /// Who starts it: with another parent it is an orphan already.
    pub(crate) starter: u32,
    /// Is it killed when its parent dies?
    pub(crate) ends_with_parent: bool,
    /// Fingerprint of the image.
    pub(crate) image: u64,
    /// Bytes of our own path at the front of `LD_PRELOAD`; 0 for a program.
    pub(crate) preload: u32,
    /// What it is called as a participant.
    pub(crate) name: Name,
}

/// The first 32 bytes of a name: what the table of participants has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Name([u8; 32]);

impl Name {
    /// Cut between characters.
    pub(crate) fn of(name: &str) -> Self {
        let mut bytes = [0; 32];
        let end = name.floor_char_boundary(bytes.len());
        bytes[..end].copy_from_slice(&name.as_bytes()[..end]);
        Self(bytes)
    }

    pub(crate) fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(crate) fn as_str(&self) -> &str {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        str::from_utf8(&self.0[..end]).unwrap_or_default()
    }
}

const IN_MAIN: u8 = 1;
const ENDS_WITH_PARENT: u8 = 2;

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.mode {
            Mode::Child => 'c',
            Mode::Zygote => 'z',
        };
        let flags = u8::from(self.in_main) * IN_MAIN + u8::from(self.ends_with_parent) * ENDS_WITH_PARENT;
        let Self { arena, board, ticket, generation, starter, image, preload, name, .. } = self;
        write!(f, "1:{mode}:{flags}:{arena}:{board}:{ticket}:{generation}:{starter}:{image:x}:{preload}:")?;
        f.write_str(name.as_str())
    }
}

impl Line {
    /// The line in this text. `None`: it is none, or one of another version.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        // The name comes last, because it may have colons.
        let mut parts = text.splitn(11, ':');
        let mut next = || parts.next();
        if next()? != "1" {
            return None;
        }
        let mode = match next()? {
            "c" => Mode::Child,
            "z" => Mode::Zygote,
            _ => return None,
        };
        let flags: u8 = next()?.parse().ok()?;
        let line = Self {
            mode,
            in_main: flags & IN_MAIN != 0,
            ends_with_parent: flags & ENDS_WITH_PARENT != 0,
            arena: next()?.parse().ok()?,
            board: next()?.parse().ok()?,
            ticket: next()?.parse().ok()?,
            generation: next()?.parse().ok()?,
            starter: next()?.parse().ok()?,
            image: u64::from_str_radix(next()?, 16).ok()?,
            preload: next()?.parse().ok()?,
            name: Name::of(next()?),
        };
        (flags <= IN_MAIN + ENDS_WITH_PARENT).then_some(line)
    }
}

/// The life of a process that was started with a line, from the hook or `enter` on.
pub(crate) fn run(line: Line) -> ! {
    match line.mode {
        Mode::Child => child(line),
        Mode::Zygote => zygote::serve(line),
    }
}

/// The life of a child: in one thread until the function begins. Clones of the zygote begin here too.
pub(crate) fn child(line: Line) -> ! {
    if line.ends_with_parent && !end_with_parent(line.starter) {
        process::exit(0);
    }
    let code = live(line).unwrap_or_else(|error| {
        // No record, so nobody to tell but whoever reads the terminal.
        eprintln!("ginnel: a child could not begin: {error}");
        code::FAILED
    });
    process::exit(code)
}

/// Asks the kernel for death with the parent. False: the parent is gone already.
pub(crate) fn end_with_parent(starter: u32) -> bool {
    // It fails for impossible signals only.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    getppid().is_some_and(|parent| parent.as_raw_nonzero().get().unsigned_abs() == starter)
}

/// Attaches, takes the record, runs the function; the code to exit with.
fn live(line: Line) -> Result<i32> {
    bridge::adopt_current(hook::inherited(line.arena), line.name.as_str())?;
    let manager = Manager::current()?;
    let ticket = BootTicket { ticket: line.ticket, generation: line.generation };
    // A starter that gave up has taken the ticket back.
    let Ok(record) = Record::redeem(manager, ticket) else { return Ok(0) };
    Ok(work(manager, record, line.starter))
}

/// The rest, with a record to say everything in.
pub(crate) fn work(manager: &'static Manager, record: Record, starter: u32) -> i32 {
    work_by(manager, record, starter, |record| Ok(function(record)?(manager, record)))
}

/// [`work`], with another way to do what the child is for. Never gives the record back: the process ends with it.
pub(crate) fn work_by(
    manager: &'static Manager,
    record: Record,
    starter: u32,
    run: impl FnOnce(&'static Record) -> Result<i32>,
) -> i32 {
    let record: &'static Record = Box::leak(Box::new(record));
    if !record.start(getpid().as_raw_nonzero().get().unsigned_abs()) {
        return 0;
    }
    prepare(record, starter)
        .and_then(|()| run(record))
        .unwrap_or_else(|error| task::fail(manager, record, &error))
}

/// Takes the settings on.
fn prepare(record: &'static Record, starter: u32) -> Result<()> {
    let boot = Boot::decode(&record.boot())?;
    info::adopt(boot.name.clone(), boot.parent_name.clone(), starter, boot.daemon);
    panic::install(record);
    boot.apply()
}

/// What the child is to run.
fn function(record: &Record) -> Result<task::Entry> {
    let head = record.head();
    let found = (head.image == image::fingerprint()).then(|| image::entry_at(head.thunk)).flatten();
    found.ok_or_else(|| Error::new(ErrorKind::Mismatch, "the starter of this process runs another program"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        Line {
            mode: Mode::Child,
            in_main: true,
            arena: 12,
            board: -1,
            ticket: 7,
            generation: u32::MAX,
            starter: 4711,
            ends_with_parent: true,
            image: u64::MAX - 1,
            preload: 17,
            name: Name::of("Process-1:2"),
        }
    }

    #[test]
    fn a_line_survives_the_environment() {
        let zygote = Line { mode: Mode::Zygote, in_main: false, ends_with_parent: false, ..line() };
        for line in [line(), zygote, Line { name: Name::default(), ..line() }] {
            assert_eq!(Line::parse(&line.to_string()), Some(line));
        }
    }

    #[test]
    fn a_name_is_cut_between_characters() {
        let long = "\u{e9}".repeat(20);
        assert_eq!(Name::of(&long).as_str(), "\u{e9}".repeat(16));
        assert_eq!(Name::from_bytes(Name::of("worker").to_bytes()).as_str(), "worker");
    }

    #[test]
    fn whatever_else_is_in_the_variable_is_no_line() {
        let good = line().to_string();
        let (short, _) = good.split_once(":Process").expect("has a name");
        for bad in ["", "1", "garbage", "2:c:0", short, &format!("1{good}"), &good.replace(":c:3", ":c:4")] {
            assert_eq!(Line::parse(bad), None, "{bad:?}");
        }
    }
}
