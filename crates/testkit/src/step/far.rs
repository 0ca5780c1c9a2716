//! The far end of a long window, without a step for each instruction before it.
//!
//! A [`Path`] is where a scout was after each step of a window. An instruction of it that was met a few times only
//! makes a good stop: the tracer puts a breakpoint there, lets the child run to the right meeting, takes the breakpoint
//! away and steps the rest. A forked child has the addresses of the scout. A run that goes another way ends at the next
//! system call at the latest, as one that steps does.

use std::collections::HashMap;

/// Stops of the tracer that one meeting of a breakpoint costs: the trap, a step over it.
const MEETING: usize = 3;

/// The places of a window, by address, from its first instruction on.
#[derive(Debug, Default)]
pub struct Path {
    addresses: Vec<u64>,
    /// How often the address of a step had been met, that step included.
    meetings: Vec<u32>,
    met: HashMap<u64, u32>,
}

/// How to come to a step: let the child run to `address` for the `meetings`th time, then step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// An instruction.
    pub address: u64,
    /// How often it is met on the way.
    pub meetings: u32,
    /// The step at which the child then is.
    pub step: usize,
}

impl Path {
    /// The child is at `address` now, one step further.
    pub fn push(&mut self, address: u64) {
        let met = self.met.entry(address).or_default();
        *met += 1;
        self.addresses.push(address);
        self.meetings.push(*met);
    }

    /// The cheapest way to `step`; `None`: stepping.
    #[must_use]
    pub fn route(&self, step: usize) -> Option<Route> {
        let mut best = (step, None);
        // The start of a window is never met: the child stands there.
        for at in (1..=step.min(self.addresses.len().checked_sub(1)?)).rev() {
            if step - at >= best.0 {
                break;
            }
            let (address, meetings) = (self.addresses[at], self.meetings[at]);
            // One that is met where the child stands would count otherwise.
            let cost = step - at + MEETING * meetings as usize + MEETING;
            if cost < best.0 && address != self.addresses[0] {
                best = (cost, Some(Route { address, meetings, step: at }));
            }
        }
        best.1
    }
}

#[cfg(target_arch = "x86_64")]
mod breakpoint {
    //! One breakpoint in a stopped child.
    use std::io;

    use nix::sys::ptrace;
    use nix::unistd::Pid;

    /// The instruction that traps, and what stood in its place.
    #[derive(Debug)]
    pub(crate) struct Breakpoint {
        address: u64,
        before: i64,
    }

    const TRAP: i64 = 0xcc;

    impl Breakpoint {
        /// Puts one at `address`.
        pub(crate) fn set(pid: Pid, address: u64) -> io::Result<Self> {
            let before = ptrace::read(pid, address as ptrace::AddressType)?;
            ptrace::write(pid, address as ptrace::AddressType, before & !0xff | TRAP)?;
            Ok(Self { address, before })
        }

        /// Puts it there once more.
        pub(crate) fn set_again(&self, pid: Pid) -> io::Result<()> {
            Self::set(pid, self.address).map(drop)
        }

        /// Does the child stand at it? Then the instruction of old is the next one.
        pub(crate) fn is_met(&self, pid: Pid) -> io::Result<bool> {
            let mut registers = ptrace::getregs(pid)?;
            if registers.rip != self.address + 1 {
                return Ok(false);
            }
            registers.rip = self.address;
            ptrace::setregs(pid, registers)?;
            Ok(true)
        }

        /// Takes it away.
        pub(crate) fn clear(&self, pid: Pid) -> io::Result<()> {
            Ok(ptrace::write(pid, self.address as ptrace::AddressType, self.before)?)
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod breakpoint {
    //! No breakpoints here: everything is stepped.
    use std::io;

    use nix::unistd::Pid;

    #[derive(Debug)]
    pub(crate) struct Breakpoint;

    impl Breakpoint {
        pub(crate) fn set(_: Pid, _: u64) -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(crate) fn set_again(&self, _: Pid) -> io::Result<()> {
            Ok(())
        }

        pub(crate) fn is_met(&self, _: Pid) -> io::Result<bool> {
            Ok(false)
        }

        pub(crate) fn clear(&self, _: Pid) -> io::Result<()> {
            Ok(())
        }
    }
}

pub(super) use breakpoint::Breakpoint;

#[cfg(test)]
mod tests {
    use super::*;

    fn path(addresses: impl IntoIterator<Item = u64>) -> Path {
        let mut path = Path::default();
        addresses.into_iter().for_each(|address| path.push(address));
        path
    }

    #[test]
    fn what_is_near_is_stepped() {
        assert_eq!(path(0..100).route(3), None);
        assert_eq!(path(0..100).route(0), None);
        assert_eq!(Path::default().route(7), None);
    }

    #[test]
    fn what_is_behind_a_loop_is_met_once() {
        let around = (0..1000).flat_map(|_| 10..14);
        let path = path((0..3).chain(around).chain(20..40));
        assert_eq!(path.route(4010), Some(Route { address: 27, meetings: 1, step: 4010 }));
    }

    #[test]
    fn within_a_loop_the_way_begins_at_what_was_met_least() {
        let around = (0..1000).flat_map(|_| 10..14);
        let path = path((0..3).chain(20..40).chain(around));
        let route = path.route(25).expect("nearer than the beginning");
        assert_eq!((route.step, route.meetings), (25, 1));
        let far = path.route(1000).expect("cheaper than stepping");
        assert_eq!(far.step, 1000 - (1000 - far.step));
        assert!(far.meetings as usize * MEETING < 1000);
    }
}
