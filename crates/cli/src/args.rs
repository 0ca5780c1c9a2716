//! What may be written on the command line.

use std::str::FromStr;

use clap::{Parser, Subcommand};
use ginnel_bench::plan::{Case, Implementation, Shape, Wait, parse_capacity, parse_size};
use ginnel_bench::{dict, locks, pool, process};

/// Shared-memory IPC that survives kill -9: measure it, look at its segments, check the machine.
#[derive(Debug, Parser)]
#[command(name = "ginnel", version, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Measure lanes, queues, locks, events, child processes, pools and dicts beside what the system offers and the limits of the machine
    Bench(Bench),
    /// List the named segments of this user
    Ls(Ls),
    /// Remove named segments that nobody uses any more
    Gc(Gc),
    /// Check whether this machine has what ginnel needs
    Doctor(Doctor),
}

const BENCH_EXAMPLES: &str = "\
Examples:
  ginnel bench                              lanes, queues and pipes, about two minutes
  ginnel bench --quick                      the same, about 15 seconds, coarse
  ginnel bench --group locks                locks, semaphores and events, about a minute
  ginnel bench --group locks --case uncontended,contended --impl mutex,pthread-robust
  ginnel bench --group process              starting functions in children, about a minute
  ginnel bench --group process --case start-join,start-join-1g --impl zygote,reexec,posix-spawn-true,python-fork
  ginnel bench --group pool                 tasks in worker processes, about two minutes
  ginnel bench --group pool --case chunk1,auto --impl pool,pipes,py-pool
  ginnel bench --group dict                 maps and lists in shared memory, about a minute
  ginnel bench --group dict --case growth-10k,growth-10m  with ten million entries, where there are 4 GiB to spare
  ginnel bench --group all --quick          everything
  ginnel bench --case rtt --size 8          round trips of 8 bytes
  ginnel bench --impl lane,pipe --size 64,1MiB --seconds 3
  ginnel bench --impl ring --shape 2x2,4x4  several producers and consumers, beside the bare queue
  ginnel bench --impl queue,pipe --size 32  a small structure through the queue that users hold
  ginnel bench --impl duplex,peer,unix-stream --size 64,64KiB,1MiB  pipes and connections
  ginnel bench --json > rows.jsonl          one JSON object a row

Two processes are pinned to two cores and exchange checked messages; every message is written whole and
verified. Rows with a shape (2x1: two producers, one consumer) have as many processes, alternately on the
cores; where they outnumber the cores the table says \"cores shared\", and those that spin then take turns
by the slices of the scheduler. A lost, doubled, stale or torn message refuses its row, and the exit code is then 1. The limits
(limit-*) belong to every run: compare rows with them, not with another machine's. Rows of the group process start one child after the other on
all cores; a wrong result, a zygote that fell back and a spare that was not there before refuse the row. In rows of the group pool a task
computes n + 1 from n; a result that is wrong or comes twice refuses the row. In rows of the group dict every value
says its key and its age; one that is torn, lost or of another key refuses the row. A pipe and the other
system calls move one message a call; batches are for what knows batches.";

/// What `--group` may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Groups {
    /// Lanes, queues and pipes.
    Queue,
    /// Locks, semaphores and events.
    Locks,
    /// Functions in child processes.
    Process,
    /// Functions in workers that stay.
    Pool,
    /// Maps and lists that processes share.
    Dict,
    /// All of them.
    All,
}

/// Options of `ginnel bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = BENCH_EXAMPLES)]
pub(crate) struct Bench {
    /// What is measured: queue (lanes, queues and pipes), locks (locks, semaphores, events), process
    /// (functions in child processes), pool (functions in workers that stay), or all
    #[arg(long, value_name = "GROUP", value_enum, default_value = "queue")]
    pub(crate) group: Groups,
    /// Only these cases: rtt, rtt-samecore, oneway, handover, idle, paced; of the locks uncontended, contended,
    /// oversub, wake, event-rtt, async-rtt, async-rtt-samecore; of processes start-join, start-join-1g, spare-body,
    /// kill-seen, churn-64; of pools rtt, rtt-asleep, chunk1, auto, large, kill; of dicts get,
    /// set, update, mixed1, mixed2, list-append, memory, repair and, only where they are named, growth-10k, growth-1m,
    /// growth-10m
    #[arg(long = "case", value_name = "CASE", value_delimiter = ',', value_parser = parse_case)]
    pub(crate) cases: Vec<String>,
    /// Only these implementations, and the limits: pipe, unix-stream, unix-seqpacket, posix-mq, lane, lane-copy,
    /// ring, mpsc, broadcast, queue, blocks, duplex, peer (pipe is the kernel's, duplex ours, peer a connection that is
    /// not trusted); queues bring vyukov along, the bare queue. Of the locks mutex, lock,
    /// rlock, rwlock-read, rwlock-write, semaphore, permits, event, event-auto, condvar, pthread, pthread-robust,
    /// posix-sem, eventfd, std-mutex, raw_sync; for async-rtt queue and tokio. Of processes zygote, reexec, spare, fork,
    /// posix-spawn-true, std-process, python-fork. Of pools pool, pipes, threads, procspawn (a program of its own:
    /// benches/rivals), py-pool. Of dicts dict, dict-record, dict-raw, hashmap, lmdb (in benches/rivals, too), py-manager
    #[arg(long = "impl", value_name = "IMPL", value_delimiter = ',', value_parser = parse_implementation)]
    pub(crate) implementations: Vec<String>,
    /// Only these sizes: multiples of 8 bytes up to 64MiB, such as 64, 1KiB, 4MiB
    #[arg(long = "size", value_name = "SIZE", value_delimiter = ',', value_parser = parse_size)]
    pub(crate) sizes: Vec<usize>,
    /// Only these batches: 1, 32
    #[arg(long = "batch", value_name = "N", value_delimiter = ',', value_parser = parse_batch)]
    pub(crate) batches: Vec<usize>,
    /// Only these ways for a lane or queue to wait: spin, sleep, default
    #[arg(long = "wait", value_name = "WAIT", value_delimiter = ',')]
    pub(crate) waits: Vec<Wait>,
    /// Only these producers and consumers, for queues: 1x1, 2x1, 1x2, 2x2, 4x4, or others up to 16x16
    #[arg(long = "shape", value_name = "PxC", value_delimiter = ',')]
    pub(crate) shapes: Vec<Shape>,
    /// Only these capacities, for queues: 1024, 256, or other powers of two
    #[arg(long = "capacity", value_name = "N", value_delimiter = ',', value_parser = parse_capacity)]
    pub(crate) capacities: Vec<usize>,
    /// Seconds to measure each row, all passes together [default: 0.9, with --quick 0.08; locks 1.0 and 0.12,
    /// process 1.0 and 0.1, pool and dict 1.5 and 0.2]
    #[arg(long, value_name = "S", value_parser = parse_seconds)]
    pub(crate) seconds: Option<f64>,
    /// A first look: all rows of a group in about 15 seconds
    #[arg(long)]
    pub(crate) quick: bool,
    /// One JSON object a row on standard output, and nothing else there
    #[arg(long)]
    pub(crate) json: bool,
}

const LS_EXAMPLES: &str = "\
Examples:
  ginnel ls                                 one line a segment
  ginnel ls --long shop                     with its participants and objects
  ginnel ls --json                          one JSON object a segment

To look at a segment ginnel attaches to it for a moment; like whoever attaches, it then repairs what dead
participants left. A segment that nobody uses stays: ginnel gc removes it.";

/// Options of `ginnel ls`.
#[derive(Debug, clap::Args)]
#[command(after_help = LS_EXAMPLES)]
pub(crate) struct Ls {
    /// Only these segments
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Participants and objects too
    #[arg(short, long)]
    pub(crate) long: bool,
    /// One JSON object a segment
    #[arg(long)]
    pub(crate) json: bool,
}

const GC_EXAMPLES: &str = "\
Examples:
  ginnel gc shop                            remove it if no process is attached
  ginnel gc --all                           remove all that no process is attached to

What lies unreceived in a removed segment is lost, and so is what a persistent one holds. A segment in use is
kept, whatever is asked.";

/// Options of `ginnel gc`.
#[derive(Debug, clap::Args)]
#[command(after_help = GC_EXAMPLES)]
pub(crate) struct Gc {
    /// These segments
    #[arg(value_name = "NAME", required_unless_present = "all")]
    pub(crate) names: Vec<String>,
    /// Every segment of this user
    #[arg(long, conflicts_with = "names")]
    pub(crate) all: bool,
}

const DOCTOR_EXAMPLES: &str = "\
Examples:
  ginnel doctor                             one line a check
  ginnel doctor --json                      one JSON object a check

The exit code is 1 where something is missing that ginnel cannot do without.";

/// Options of `ginnel doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = DOCTOR_EXAMPLES)]
pub(crate) struct Doctor {
    /// One JSON object a check
    #[arg(long)]
    pub(crate) json: bool,
}

/// A name that one of the groups knows. Which group is asked for is known when the whole line is.
fn parse_case(text: &str) -> Result<String, String> {
    let groups = [
        ("queue", refusal::<Case>(text)),
        ("locks", refusal::<locks::plan::Case>(text)),
        ("process", refusal::<process::plan::Case>(text)),
        ("pool", refusal::<pool::plan::Case>(text)),
        ("dict", refusal::<dict::plan::Case>(text)),
    ];
    known(text, groups)
}

fn parse_implementation(text: &str) -> Result<String, String> {
    let groups = [
        ("queue", refusal::<Implementation>(text)),
        ("locks", refusal::<locks::plan::Implementation>(text)),
        ("process", refusal::<process::plan::Implementation>(text)),
        ("pool", refusal::<pool::plan::Implementation>(text)),
        ("dict", refusal::<dict::plan::Implementation>(text)),
    ];
    known(text, groups)
}

/// Why a name is none of `T`, where it is none.
fn refusal<T: FromStr<Err = String>>(text: &str) -> Option<String> {
    text.parse::<T>().err()
}

/// A name that one of the groups knows.
fn known<const N: usize>(text: &str, groups: [(&str, Option<String>); N]) -> Result<String, String> {
    if groups.iter().any(|(_, refusal)| refusal.is_none()) {
        return Ok(text.to_owned());
    }
    let said = groups.map(|(group, refusal)| format!("group {group}: {}", refusal.unwrap_or_default()));
    Err(said.join("; "))
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text:?} is no number of seconds"))?;
    if (0.01..=600.0).contains(&seconds) {
        Ok(seconds)
    } else {
        Err("a row is measured between 0.01 and 600 seconds".to_owned())
    }
}

fn parse_batch(text: &str) -> Result<usize, String> {
    match text {
        "1" => Ok(1),
        "32" => Ok(32),
        _ => Err("rows have batches of 1 or 32 messages".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn lists_are_split_and_read() {
        let line =
            ["ginnel", "bench", "--impl", "lane,pipe", "--size", "8,1KiB", "--size", "4MiB", "--batch", "32"];
        let Command::Bench(bench) = Args::try_parse_from(line).expect("a good line").command else {
            panic!("bench was asked for");
        };
        assert_eq!(bench.implementations, ["lane", "pipe"]);
        assert_eq!(bench.group, Groups::Queue);
        assert_eq!(bench.sizes, [8, 1024, 4 << 20]);
        assert_eq!(bench.batches, [32]);
    }

    #[test]
    fn nonsense_is_refused_with_what_there_is() {
        for (option, value, hint) in [
            ("--impl", "lame", "unix-stream"),
            ("--case", "two-way", "oneway"),
            ("--wait", "maybe", "sleep"),
            ("--size", "7", "multiple of 8"),
            ("--size", "0", "multiple of 8"),
            ("--size", "99TiB", "no size"),
            ("--seconds", "0", "between"),
            ("--seconds", "nan", "between"),
            ("--batch", "2", "1 or 32"),
            ("--shape", "2y1", "2x1"),
            ("--shape", "0x1", "2x1"),
            ("--capacity", "100", "power of two"),
            ("--group", "doors", "locks"),
            ("--impl", "rwlock", "rwlock-read"),
            ("--case", "woken", "wake"),
            ("--case", "churn", "churn-64"),
            ("--impl", "exec", "reexec"),
            ("--case", "chunk", "chunk1"),
            ("--impl", "pypool", "py-pool"),
        ] {
            let error =
                Args::try_parse_from(["ginnel", "bench", option, value]).expect_err(value).to_string();
            assert!(error.contains(hint), "{option} {value}: {error}");
        }
    }
}
