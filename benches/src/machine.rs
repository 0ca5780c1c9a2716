//! The machine a run was made on, and whether it was fit for measuring.

use std::fmt;
use std::fs;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::unistd::{Pid, SysconfVar, sysconf};

use crate::clock;
use crate::pair::Cores;

/// Above this load average somebody else is likely to be at work.
const QUIET_LOAD: f64 = 0.5;

/// What a reader must know to judge the figures.
#[derive(Debug, Clone)]
pub struct Machine {
    /// As the processor calls itself.
    pub model: String,
    /// Processors that are online.
    pub online: usize,
    /// Those that this process may use, ascending.
    pub allowed: Vec<usize>,
    /// Release of the kernel.
    pub kernel: String,
    /// Whether a hypervisor is below us.
    pub is_virtual: bool,
    /// What one reading of the clock adds to every round trip.
    pub clock_ns: u64,
}

impl Machine {
    /// Looks around. What cannot be read is called unknown.
    pub fn look() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let allowed = allowed_cores();
        let online = sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten();
        Self {
            model: field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            online: online.map_or(allowed.len(), |count| count as usize),
            allowed,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or_else(|_| "unknown".to_owned(), |release| release.trim().to_owned()),
            is_virtual: field("flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            clock_ns: clock::reading_cost_ns(),
        }
    }

    /// The two cores to measure on; the same twice where there is only one.
    pub fn cores(&self) -> Cores {
        Cores::among(&self.allowed)
    }

    /// Why the figures may not be worth much, one sentence each.
    pub fn warnings(&self, load: Option<f64>) -> Vec<String> {
        let mut warnings = Vec::new();
        match self.allowed.len() {
            0 | 1 if self.online < 2 => warnings
                .push("one core only: both processes share it, rows that spin are left out".to_owned()),
            0 | 1 => warnings.push(format!(
                "this process may use one core of {}: rows that spin are left out (see taskset, cpuset)",
                self.online
            )),
            _ => {}
        }
        if let Some(load) = load.filter(|load| *load > QUIET_LOAD) {
            warnings.push(format!(
                "load average {load:.2}: two free cores are needed, so the figures below may be far off"
            ));
        }
        warnings
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cores { client, server } = self.cores();
        let kind = if self.is_virtual { ", virtual machine" } else { "" };
        write!(
            formatter,
            "{}, {} cores ({client} and {server} used){kind}, Linux {}, clock {} ns",
            self.model, self.online, self.kernel, self.clock_ns
        )
    }
}

/// The cores this process may run on.
pub fn allowed_cores() -> Vec<usize> {
    let set = sched_getaffinity(Pid::from_raw(0)).unwrap_or_else(|_| CpuSet::new());
    (0..CpuSet::count()).filter(|core| set.is_set(*core).unwrap_or(false)).collect()
}

/// The load average of the last minute.
pub fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// Processor time since boot, in seconds: all of the machine's, and that of this process and its children.
#[derive(Debug, Clone, Copy)]
pub struct CpuTime {
    busy: f64,
    stolen: f64,
    own: f64,
    at_ns: u64,
}

impl CpuTime {
    /// Reads the counters; `None` without /proc.
    pub fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let ticks: Vec<f64> =
            stat.lines().next()?.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
        let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten()? as f64;
        // user, nice, system, idle, iowait, irq, softirq, steal
        let [user, nice, system, _, _, irq, softirq, stolen] = *ticks.first_chunk::<8>()?;
        let used = |who| {
            let usage = getrusage(who).ok()?;
            Some((usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6)
        };
        Some(Self {
            busy: (user + nice + system + irq + softirq) / per_second,
            stolen: stolen / per_second,
            own: used(UsageWho::RUSAGE_SELF)? + used(UsageWho::RUSAGE_CHILDREN)?,
            at_ns: clock::now_ns(),
        })
    }

    /// What others took since `before`, in percent of one core: other processes, and the hypervisor.
    pub fn others_since(&self, before: &Self) -> (f64, f64) {
        let seconds = ((self.at_ns - before.at_ns) as f64 / 1e9).max(1e-3);
        let others = (self.busy - before.busy) - (self.own - before.own);
        (others.max(0.0) / seconds * 100.0, (self.stolen - before.stolen) / seconds * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_found() {
        let machine = Machine::look();
        assert!(!machine.allowed.is_empty() && machine.online >= 1);
        assert!(machine.to_string().contains("Linux"));
        assert!(CpuTime::read().is_some());
    }

    #[test]
    fn a_busy_machine_and_a_small_one_are_warned_of() {
        let mut machine = Machine::look();
        machine.online = 4;
        machine.allowed = vec![0, 1];
        assert!(machine.warnings(Some(0.1)).is_empty());
        assert_eq!(machine.warnings(Some(0.9)).len(), 1);
        machine.allowed = vec![3];
        assert!(machine.warnings(None)[0].contains("one core of 4"));
        assert_eq!(machine.cores(), Cores { client: 3, server: 3 });
        machine.online = 1;
        assert!(machine.warnings(None)[0].contains("one core only"));
    }
}
