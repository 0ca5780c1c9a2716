//! Bare workers on kernel pipes: two pipes a worker, numbers in, successors out, and nothing that would survive anything.
//!
//! Whoever reads takes what is there. Where each task is by itself, each is a `write` of its own, on both sides; a task
//! of more than a number is one message, which the worker answers when it has it whole.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

use ginnel_layout::atomic::spin_loop;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{pipe2, read, write};
use zerocopy::IntoBytes;

use crate::drive::Report;
use crate::fault::Fault;

use super::drive::{answer_large, large, read_large, write_large};
use super::{Engine, successor};

/// In place of a number: there will be no more.
const END: u64 = u64::MAX;
/// Numbers that a reader has room for.
const ROOM: usize = 512;
/// Numbers of one message where many are mapped.
const CHUNK: usize = 4096;
/// Such messages that a worker has at a time: both fit its pipe, so that neither side can wait for the other for ever.
const CHUNKS: usize = 2;
/// The largest pipe that the system allows to everybody, unless its administrator said otherwise.
const PIPE_MAX: i32 = 1 << 20;

/// The pipes of one worker.
#[derive(Debug)]
pub(super) struct Wires {
    tasks: Pipe,
    results: Pipe,
}

#[derive(Debug)]
struct Pipe {
    input: OwnedFd,
    output: OwnedFd,
}

impl Pipe {
    /// A pipe; where `is_awake`, one that is asked again and again.
    fn new(is_awake: bool, is_large: bool) -> Result<Self, Fault> {
        let awake = if is_awake { OFlag::O_NONBLOCK } else { OFlag::empty() };
        let (output, input) =
            pipe2(OFlag::O_CLOEXEC | awake).map_err(|error| Fault::failed("making a pipe", error))?;
        if is_large {
            // Refused above the limit for pipes of this user; the default of 64 KiB then stays.
            let _ = fcntl(&input, FcntlArg::F_SETPIPE_SZ(PIPE_MAX));
        }
        Ok(Self { input, output })
    }

    /// Reads some whole words: how many.
    #[inline(always)]
    fn read(&self, words: &mut [u64]) -> Result<usize, Fault> {
        loop {
            match read(self.output.as_fd(), words.as_mut_bytes()) {
                Ok(0) => return Err(Fault::failed("reading a pipe", "it ended")),
                Ok(bytes) if bytes.is_multiple_of(size_of::<u64>()) => return Ok(bytes / size_of::<u64>()),
                Ok(bytes) => return Err(Fault::failed("reading a pipe", format!("{bytes} bytes came"))),
                Err(Errno::EAGAIN) => spin_loop(),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(Fault::failed("reading a pipe", error)),
            }
        }
    }

    /// Reads as many words as there is room for.
    fn read_whole(&self, words: &mut [u64]) -> Result<(), Fault> {
        let mut have = 0;
        while have < words.len() {
            have += self.read(&mut words[have..])?;
        }
        Ok(())
    }

    #[inline(always)]
    fn write(&self, words: &[u64]) -> Result<(), Fault> {
        let mut rest = words.as_bytes();
        while !rest.is_empty() {
            match write(self.input.as_fd(), rest) {
                Ok(written) => rest = &rest[written..],
                Err(Errno::EAGAIN) => spin_loop(),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(Fault::failed("writing to a pipe", error)),
            }
        }
        Ok(())
    }
}

impl Wires {
    /// The pipes of so many workers.
    pub(super) fn new(workers: usize, is_awake: bool, is_large: bool) -> Result<Vec<Self>, Fault> {
        let one =
            || Ok(Self { tasks: Pipe::new(is_awake, is_large)?, results: Pipe::new(is_awake, is_large)? });
        (0..workers).map(|_| one()).collect()
    }

    /// A worker whose tasks are numbers.
    pub(super) fn serve(&self) -> Result<Report, Fault> {
        let mut numbers = [0; ROOM];
        let mut received = 0;
        loop {
            let count = self.tasks.read(&mut numbers)?;
            for &number in &numbers[..count] {
                if number == END {
                    return Ok(Report { received, ..Report::default() });
                }
                self.results.write(&[successor(number)])?;
                received += 1;
            }
        }
    }

    /// A worker whose tasks are messages of many numbers.
    pub(super) fn serve_chunks(&self) -> Result<Report, Fault> {
        self.serve_whole(CHUNK, |numbers| numbers.iter_mut().for_each(|number| *number = successor(*number)))
    }

    /// A worker whose tasks are blocks of so many words.
    pub(super) fn serve_large(&self, words: usize) -> Result<Report, Fault> {
        self.serve_whole(words, answer_large)
    }

    fn serve_whole(&self, words: usize, answer: impl Fn(&mut [u64])) -> Result<Report, Fault> {
        let mut message = vec![0; words];
        let mut received = 0;
        loop {
            self.tasks.read_whole(&mut message)?;
            if message.first() == Some(&END) {
                return Ok(Report { received, ..Report::default() });
            }
            answer(&mut message);
            self.results.write(&message)?;
            received += 1;
        }
    }
}

/// The process that gives tasks out.
#[derive(Debug)]
pub(super) struct Giver<'a> {
    wires: &'a [Wires],
    /// How many tasks each worker has.
    out: Vec<usize>,
    /// Results that were read and not asked for yet.
    results: Box<[u64; ROOM]>,
    read: usize,
    taken: usize,
    /// Whose results were read last.
    turn: usize,
    /// Messages of many numbers that were sent.
    sent: u64,
}

impl<'a> Giver<'a> {
    pub(super) fn new(wires: &'a [Wires]) -> Self {
        Self {
            wires,
            out: vec![0; wires.len()],
            results: Box::new([0; ROOM]),
            read: 0,
            taken: 0,
            turn: 0,
            sent: 0,
        }
    }

    /// Tells every worker that there will be no more.
    pub(super) fn end(self) -> Result<(), Fault> {
        self.end_by(1)
    }

    /// The same to workers whose messages are many numbers: how many such messages there were.
    pub(super) fn end_chunks(self) -> Result<u64, Fault> {
        let sent = self.sent;
        self.end_by(CHUNK)?;
        Ok(sent)
    }

    fn end_by(self, words: usize) -> Result<(), Fault> {
        self.wires.iter().try_for_each(|wires| wires.tasks.write(&vec![END; words]))
    }

    /// The worker with the fewest tasks.
    #[inline(always)]
    fn idlest(&self) -> usize {
        (0..self.out.len()).min_by_key(|worker| self.out[*worker]).unwrap_or(0)
    }

    /// The next worker, in turn, that has tasks.
    #[inline(always)]
    fn next(&mut self) -> usize {
        for _ in 0..self.out.len() {
            self.turn = (self.turn + 1) % self.out.len();
            if self.out[self.turn] > 0 {
                break;
            }
        }
        self.turn
    }

    /// Maps the numbers below `items`, a message of many at a time.
    pub(super) fn map(&mut self, items: u64) -> Result<Vec<u64>, Fault> {
        let chunks = items.div_ceil(CHUNK as u64);
        let mut values = vec![0; chunks as usize * CHUNK];
        let mut message = [0; CHUNK];
        let (mut given, mut back) = (0, 0);
        // Which chunks a worker has, the oldest first.
        let mut has = vec![VecDeque::with_capacity(CHUNKS); self.wires.len()];
        while back < chunks {
            let worker = self.idlest();
            if given < chunks && self.out[worker] < CHUNKS {
                (given * CHUNK as u64..).zip(&mut message).for_each(|(number, place)| *place = number);
                self.wires[worker].tasks.write(&message)?;
                has[worker].push_back(given as usize);
                self.out[worker] += 1;
                self.sent += 1;
                given += 1;
                continue;
            }
            let worker = self.next();
            let Some(chunk) = has[worker].pop_front() else { break };
            self.wires[worker].results.read_whole(&mut values[chunk * CHUNK..][..CHUNK])?;
            self.out[worker] -= 1;
            back += 1;
        }
        values.truncate(items as usize);
        Ok(values)
    }

    /// What goes there and back as blocks of so many words, one a worker.
    pub(super) fn blocks(self, words: usize) -> Blocks<'a> {
        Blocks { giver: self, back: vec![0; words], block: large(words) }
    }
}

impl Engine for Giver<'_> {
    #[inline(always)]
    fn put(&mut self, number: u64) -> Result<(), Fault> {
        let worker = self.idlest();
        self.out[worker] += 1;
        self.wires[worker].tasks.write(&[number])
    }

    #[inline(always)]
    fn get(&mut self) -> Result<u64, Fault> {
        if self.taken == self.read {
            let worker = self.next();
            self.read = self.wires[worker].results.read(&mut self.results[..])?;
            self.taken = 0;
            self.out[worker] = self.out[worker].checked_sub(self.read).ok_or_else(|| {
                Fault::failed("reading a pipe", format!("worker {worker} answered more than it was asked"))
            })?;
        }
        let value = self.results[self.taken];
        self.taken += 1;
        Ok(value)
    }
}

/// Numbers inside large blocks.
#[derive(Debug)]
pub(super) struct Blocks<'a> {
    giver: Giver<'a>,
    block: Vec<u64>,
    back: Vec<u64>,
}

impl Blocks<'_> {
    /// Tells every worker that there will be no more.
    pub(super) fn end(self) -> Result<(), Fault> {
        let words = self.block.len();
        self.giver.end_by(words)
    }
}

impl Engine for Blocks<'_> {
    fn put(&mut self, number: u64) -> Result<(), Fault> {
        write_large(&mut self.block, number);
        let worker = self.giver.idlest();
        self.giver.out[worker] += 1;
        self.giver.wires[worker].tasks.write(&self.block)
    }

    fn get(&mut self) -> Result<u64, Fault> {
        let worker = self.giver.next();
        self.giver.wires[worker].results.read_whole(&mut self.back)?;
        self.giver.out[worker] -= 1;
        read_large(&self.back, &self.block)
    }
}
