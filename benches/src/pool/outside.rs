//! Pools that measure themselves in programs of their own: Python's, and those of `benches/rivals`.
//!
//! Each does what the loops of `drive` do, checks what comes back, leaves out a first fifth, and prints one figure a line:
//! the nanoseconds of a turn, or how many a second.

use std::process::Command;

use crate::drive::{Report, counts, histogram};
use crate::fault::Fault;
use crate::outside;

use super::plan::{Case, Row};

/// Dies with its parent, as its workers do. A map is a task an item, or what Python makes of it by itself.
const SCRIPT: &str = "\
import ctypes, multiprocessing, os, signal, sys, time
case, seconds, workers, items = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
parent = os.getpid()
def prepare():
    ctypes.CDLL(None).prctl(1, 9)
    if parent not in (os.getpid(), os.getppid()): os._exit(0)
def successor(number): return number + 1
def answer(number, block): return number + 1, block
def check(right):
    if not right: sys.exit('a wrong value came back')
now = time.perf_counter_ns
prepare()
pool = multiprocessing.get_context('fork').Pool(workers, prepare)
figures = []
def loop(turn):
    begin = now()
    while True:
        before = now()
        figure = turn()
        if before >= begin + seconds * 2e8: figures.append(figure or now() - before)
        if now() >= begin + seconds * 1e9 and figures: break
number = 0
def apply():
    global number
    number += 1
    before = now()
    check(pool.apply(successor, (number,)) == number + 1)
    return now() - before
def mapped(count, chunk):
    before = now()
    values = pool.map(successor, range(count), chunk)
    rate = count * 10**9 / (now() - before)
    check(values == list(range(1, count + 1)))
    return rate
block = bytes(range(256)) * 4096
out = []
def large():
    global number
    before = now()
    for _ in range(8):
        while len(out) < 4:
            out.append((number, pool.apply_async(answer, (number, block))))
            number += 1
        due, task = out.pop(0)
        value, back = task.get()
        check(value == due + 1 and len(back) == len(block))
    return 8 * 10**9 / (now() - before)
def kill():
    old = [worker.pid for worker in pool._pool]
    before = now()
    os.kill(old[0], signal.SIGKILL)
    while True:
        living = [worker.pid for worker in list(pool._pool) if worker.is_alive()]
        if len(living) == workers and old[0] not in living: break
        time.sleep(0.0002)
    return now() - before
if case in ('rtt', 'rtt-asleep'): loop(apply)
elif case == 'chunk1': loop(lambda: mapped(5000, 1))
elif case == 'auto': loop(lambda: mapped(items, None))
elif case == 'large': loop(large)
elif case == 'kill': loop(kill)
print('\\n'.join(str(int(figure)) for figure in figures), flush=True)
os._exit(0)
";

/// Python's pool.
pub(super) fn python(row: Row, seconds: f64, items: u64) -> Result<Report, Fault> {
    let mut command = Command::new("python3");
    let numbers = [seconds.to_string(), row.case.workers().to_string(), items.to_string()];
    command.arg("-c").arg(SCRIPT).arg(row.case.name()).args(numbers);
    figures(row.case, command, "python3 does not run here")
}

/// The pool of `procspawn`.
pub(super) fn procspawn(row: Row, seconds: f64) -> Result<Report, Fault> {
    let mut command = outside::rivals()?;
    let case = if row.case == Case::RttAsleep { Case::Rtt } else { row.case };
    command.args(["procspawn", case.name(), &seconds.to_string(), &row.case.workers().to_string()]);
    figures(row.case, command, "the rivals do not run here")
}

fn figures(case: Case, command: Command, missing: &str) -> Result<Report, Fault> {
    report(case, &outside::figures(command, missing)?)
}

/// What the figures of a case are.
fn report(case: Case, figures: &[u64]) -> Result<Report, Fault> {
    if matches!(case, Case::Chunk1 | Case::Auto | Case::Large) {
        return Ok(Report { rates: figures.iter().map(|rate| *rate as f64).collect(), ..Report::default() });
    }
    let mut histogram = histogram()?;
    figures.iter().for_each(|time| histogram.saturating_record(*time));
    let count = figures.len() as u64;
    Ok(Report { received: count, latencies: counts(&histogram), ..Report::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Pick;

    #[test]
    fn figures_are_times_or_rates() {
        let print = |case| {
            let mut command = Command::new("sh");
            command.args(["-c", "echo 100; echo 300"]);
            figures(case, command, "").expect("numbers")
        };
        assert_eq!(print(Case::Kill).latencies.len(), 2);
        assert_eq!(print(Case::Auto).rates, [100.0, 300.0]);
    }

    #[test]
    fn python_does_every_case_where_it_is_there() {
        for &case in Case::ALL {
            let row = Pick { case, implementation: super::super::plan::Implementation::PyPool };
            match python(row, 0.01, 1000) {
                Ok(report) => assert!(report.latencies.len() + report.rates.len() > 0, "{case}"),
                Err(fault) => assert!(fault.is_unsupported(), "{case}: {fault}"),
            }
        }
    }
}
