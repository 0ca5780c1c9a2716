//! Maps that measure themselves in programs of their own: LMDB, and that of Python's manager.
//!
//! Each does what the loops of `drive` do, checks what comes back, leaves out a first fifth, and prints operations a
//! second, one line a window; of several processes their sum.

use std::process::Command;

use crate::drive::Report;
use crate::fault::Fault;
use crate::outside::{figures, rivals};

use super::plan::Row;

/// The dict is a server's, so a read and a write in one step is both of them under the server's lock. Processes and
/// server die with whoever started this.
const SCRIPT: &str = "\
import ctypes, multiprocessing.managers, os, sys, time
case, seconds, keys = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
parent = os.getpid()
def prepare():
    ctypes.CDLL(None).prctl(1, 9)
    if parent not in (os.getpid(), os.getppid()): os._exit(0)
def check(right):
    if not right: sys.exit('a wrong value came back')
def value(key): return key.to_bytes(8, 'little') + bytes([key % 256]) * 56
now = time.perf_counter_ns
prepare()
context = multiprocessing.get_context('fork')
manager = multiprocessing.managers.SyncManager(ctx=context)
manager.start(prepare)
shared, lock, row = manager.dict(), manager.Lock(), manager.list()
shared.update({key: value(key) for key in range(keys)})
def get(key): check(shared[key] == value(key))
def store(key): shared[key] = value(key)
def update(key):
    with lock:
        old = shared[key]
        shared[key] = (int.from_bytes(old[:8], 'little') + 1).to_bytes(8, 'little') + old[8:]
def append(key): row.append(value(key))
def loop(first):
    begin, turn, rates = now(), first, []
    while True:
        before = now()
        for _ in range(50):
            turn += 1
            key = turn * 7919 % keys
            if case == 'get': get(key)
            elif case == 'set': store(key)
            elif case == 'update': update(key)
            elif case == 'list-append': append(key)
            elif turn % 10 == 0: store(key)
            else: get(key)
        after = now()
        if before >= begin + seconds * 2e8: rates.append(50 * 10**9 // (after - before))
        if after >= begin + seconds * 1e9 and rates: return rates
if case == 'mixed2':
    def other(pipe):
        prepare()
        pipe.send(loop(keys // 2))
    mine, theirs = context.Pipe()
    process = context.Process(target=other, args=(theirs,))
    process.start()
    own, rates = loop(0), mine.recv()
    process.join()
    middle = sorted(rates)[len(rates) // 2]
    rates = [rate + middle for rate in own]
else: rates = loop(0)
if case == 'list-append': check(row[-1] == value((len(row)) * 7919 % keys))
manager.shutdown()
print('\\n'.join(str(rate) for rate in rates), flush=True)
os._exit(0)
";

/// Python's manager.
pub(super) fn python(row: Row, seconds: f64, keys: u64) -> Result<Report, Fault> {
    let mut command = Command::new("python3");
    command.arg("-c").arg(SCRIPT).arg(row.case.name()).args([seconds.to_string(), keys.to_string()]);
    Ok(report(&figures(command, "python3 does not run here")?))
}

/// LMDB.
pub(super) fn lmdb(row: Row, seconds: f64, keys: u64) -> Result<Report, Fault> {
    let mut command = rivals()?;
    command.args(["lmdb", row.case.name(), &seconds.to_string(), &keys.to_string()]);
    Ok(report(&figures(command, "the rivals do not run here")?))
}

fn report(rates: &[u64]) -> Report {
    Report { rates: rates.iter().map(|rate| *rate as f64).collect(), ..Report::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dict::plan::{Case, Implementation};

    #[test]
    fn python_does_every_case_where_it_is_there() {
        for &case in Case::ALL {
            let row = Row { case, implementation: Implementation::PyManager };
            if !case.implementations().any(|one| one == row.implementation) {
                continue;
            }
            match python(row, 0.01, 1000) {
                Ok(report) => assert!(!report.rates.is_empty(), "{case}"),
                Err(fault) => assert!(fault.is_unsupported(), "{case}: {fault}"),
            }
        }
    }
}
