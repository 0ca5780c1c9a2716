//! LMDB, through the crate `heed`: a map in a file of a tmpfs, written in place and never synced, which is its fastest way; a
//! transaction for each operation.
//!
//! Invariant
//! - I1 the directory is made for this run, and only this program opens it.

use std::ops::Range;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use heed::byteorder::BigEndian;
use heed::types::{Bytes, U64};
use heed::{Database, Env, EnvFlags, EnvOpenOptions, WithoutTls};

/// Bytes of a value.
const VALUE: usize = 64;
/// Operations from one look at the clock to the next.
const WINDOW: u64 = 4096;
/// Most bytes of the map; only what is written takes memory.
const MAP: usize = 2 << 30;

type Table = Database<U64<BigEndian>, Bytes>;

/// The map in a directory of its own, which goes with it.
struct Map {
    env: Env<WithoutTls>,
    table: Table,
    at: PathBuf,
    is_mine: bool,
}

impl Drop for Map {
    fn drop(&mut self) {
        if self.is_mine {
            let _ = std::fs::remove_dir_all(&self.at);
        }
    }
}

fn said(what: &str) -> impl Fn(heed::Error) -> String {
    move |error| format!("{what}: {error}")
}

impl Map {
    fn open(at: PathBuf, is_mine: bool) -> Result<Self, String> {
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(MAP);
        // SAFETY: I1: nobody else changes the files of this directory; both processes use this library.
        let env = unsafe { options.flags(EnvFlags::NO_SYNC | EnvFlags::WRITE_MAP).open(&at) }
            .map_err(said("opening the map"))?;
        let mut writing = env.write_txn().map_err(said("beginning"))?;
        let table = env.create_database(&mut writing, None).map_err(said("making the table"))?;
        writing.commit().map_err(said("committing"))?;
        Ok(Self { env, table, at, is_mine })
    }

    fn filled(keys: u64) -> Result<Self, String> {
        let at = PathBuf::from("/dev/shm").join(format!("ginnel-rivals-{}", std::process::id()));
        std::fs::create_dir_all(&at).map_err(|error| format!("making {}: {error}", at.display()))?;
        let map = Self::open(at, true)?;
        let mut writing = map.env.write_txn().map_err(said("beginning"))?;
        for key in 0..keys {
            map.table.put(&mut writing, &key, &value(key)).map_err(said("filling"))?;
        }
        writing.commit().map_err(said("committing"))?;
        Ok(map)
    }

    fn get(&self, key: u64) -> Result<[u8; VALUE], String> {
        let reading = self.env.read_txn().map_err(said("beginning"))?;
        let found = self.table.get(&reading, &key).map_err(said("getting"))?;
        found
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| format!("key {key} has no value of its size"))
    }

    fn set(&self, key: u64, value: &[u8; VALUE]) -> Result<(), String> {
        let mut writing = self.env.write_txn().map_err(said("beginning"))?;
        self.table.put(&mut writing, &key, value).map_err(said("setting"))?;
        writing.commit().map_err(said("committing"))
    }

    /// Reads a number and writes the next one, in one transaction.
    fn update(&self, key: u64) -> Result<(), String> {
        let mut writing = self.env.write_txn().map_err(said("beginning"))?;
        let mut next = [0; VALUE];
        if let Some(bytes) = self.table.get(&writing, &key).map_err(said("getting"))? {
            next.copy_from_slice(bytes.get(..VALUE).ok_or("a value that is too short")?);
        }
        let (number, _) = next.split_first_chunk_mut::<8>().ok_or("a value that is too short")?;
        *number = (u64::from_le_bytes(*number) + 1).to_le_bytes();
        self.table.put(&mut writing, &key, &next).map_err(said("setting"))?;
        writing.commit().map_err(said("committing"))
    }
}

/// A value that says its key, and ends as it begins: what a torn one would not.
fn value(key: u64) -> [u8; VALUE] {
    let mut value = [key as u8; VALUE];
    value[..8].copy_from_slice(&key.to_le_bytes());
    value
}

fn check(key: u64, found: &[u8; VALUE]) -> Result<(), String> {
    if *found == value(key) { Ok(()) } else { Err(format!("key {key} has a wrong value")) }
}

/// Prints operations a second, one line a window; of two processes their sum.
pub(crate) fn measure(case: &str, seconds: f64, keys: u64) -> Result<(), String> {
    let map = Map::filled(keys)?;
    let mut partner = match case {
        "mixed2" => Some(partner(&map, seconds, keys)?),
        _ => None,
    };
    let rates = run(&map, case, seconds, 0..keys)?;
    let theirs = partner.take().map_or(Ok(0.0), middle_rate)?;
    rates.into_iter().for_each(|rate| println!("{:.0}", rate + theirs));
    Ok(())
}

/// What the other process got done a second, in the middle.
fn middle_rate(partner: Child) -> Result<f64, String> {
    let output =
        partner.wait_with_output().map_err(|error| format!("waiting for the other process: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut rates: Vec<f64> = text.lines().filter_map(|line| line.parse().ok()).collect();
    rates.sort_by(f64::total_cmp);
    rates
        .get(rates.len() / 2)
        .copied()
        .ok_or_else(|| format!("the other process ended with {}", output.status))
}

/// The second process of the mixed case: it does the same, and prints what it did.
fn partner(map: &Map, seconds: f64, keys: u64) -> Result<Child, String> {
    let me = std::env::current_exe().map_err(|error| format!("finding this program: {error}"))?;
    let at = map.at.display().to_string();
    Command::new(me)
        .args(["lmdb-partner", &at, &seconds.to_string(), &keys.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("starting the other process: {error}"))
}

/// What [`partner`] starts.
pub(crate) fn join_in(at: &str, seconds: f64, keys: u64) -> Result<(), String> {
    let rates = run(&Map::open(at.into(), false)?, "mixed2", seconds, 0..keys)?;
    rates.into_iter().for_each(|rate| println!("{rate:.0}"));
    Ok(())
}

fn run(map: &Map, case: &str, seconds: f64, keys: Range<u64>) -> Result<Vec<f64>, String> {
    let begin = Instant::now();
    let (warm, end) = (begin + share(seconds, 0.2), begin + share(seconds, 1.0));
    let mut rates = Vec::new();
    let mut turn = 0_u64;
    loop {
        let before = Instant::now();
        for _ in 0..WINDOW {
            turn = turn.wrapping_add(1);
            let key = turn.wrapping_mul(7919) % keys.end;
            match case {
                "get" => check(key, &map.get(key)?)?,
                "set" => map.set(key, &value(key))?,
                "update" => map.update(key)?,
                "mixed2" if turn.is_multiple_of(10) => map.set(key, &value(key))?,
                "mixed2" => check(key, &map.get(key)?)?,
                _ => return Err(format!("LMDB has no case {case}")),
            }
        }
        let after = Instant::now();
        if before >= warm {
            rates.push(WINDOW as f64 / (after - before).as_secs_f64());
        }
        if after >= end && !rates.is_empty() {
            return Ok(rates);
        }
    }
}

fn share(seconds: f64, part: f64) -> Duration {
    Duration::from_secs_f64(seconds * part)
}
