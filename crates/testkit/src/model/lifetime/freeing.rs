//! `try_free`: the scan, the CAS that ends an object, the release of its pages.

use super::{At, Attempt, Bug, Freeing, Life, Lifetime, State, Ticket, bit, id};

impl Lifetime {
    pub(super) fn first_release(&self) -> Freeing {
        if self.bug == Bug::FreeBeforePages { Freeing::Store } else { Freeing::Release(0) }
    }

    pub(super) fn start_attempt(&self, n: &mut State, k: usize, entry: u8) {
        n.processes[k].at = At::TryFree;
        n.processes[k].attempt = Attempt { at: Freeing::Load, entry, moved: false };
    }

    /// One step of `try_free` by process `k`.
    pub(super) fn try_free(&self, n: &mut State, k: usize) -> &'static str {
        let mut attempt = n.processes[k].attempt;
        let buffered = n.processes[k].buffered;
        if buffered && matches!(attempt.at, Freeing::Claim | Freeing::Off) {
            self.drop_becomes_visible(n, k);
            n.processes[k].at = if attempt.at == Freeing::Off { At::Idle } else { At::TryFree };
            return "the drop becomes visible, late";
        }
        let what = self.attempt(n, &mut attempt, id(k));
        n.processes[k].attempt = attempt;
        if attempt.at == Freeing::Off && !buffered {
            n.processes[k].at = At::Idle;
        }
        what
    }

    /// Without the fence, what a process gave up may stay in its store buffer until the next atomic
    /// read-modify-write of its own, or until it is killed.
    pub(super) fn drop_becomes_visible(&self, n: &mut State, k: usize) {
        let process = n.processes[k];
        if process.buffered && process.flag {
            n.entries[process.entry as usize].bits &= !bit(id(k));
        } else if process.buffered {
            n.tickets[process.ticket as usize] = Ticket::default();
        }
        n.processes[k].buffered = false;
    }

    /// The reference that `k` has given up, and itself no longer sees, although others do.
    fn buffered(&self, s: &State, k: usize, probe: usize) -> bool {
        let process = s.processes[k];
        let given_up = if process.flag { self.tickets + 1 + k } else { process.ticket as usize };
        process.buffered && probe == given_up
    }

    /// Whether reference number `probe` keeps `entry`; `None` when there are no more.
    fn finds(&self, s: &State, me: u8, entry: u8, probe: u8) -> Option<bool> {
        let count = self.tickets + 1 + self.processes;
        let probe = probe as usize;
        if probe >= count {
            return None;
        }
        let probe = if self.bits_first { count - 1 - probe } else { probe };
        let keeper = s.entries[entry as usize];
        Some(if self.buffered(s, me as usize - 1, probe) {
            false
        } else if probe < self.tickets {
            s.tickets[probe].owner != 0 && s.tickets[probe].entry == entry
        } else if probe == self.tickets {
            keeper.named
        } else {
            keeper.bits & bit(id(probe - self.tickets - 1)) != 0
        })
    }

    /// One step of an attempt, for a process or for a recoverer that acts as the dead.
    pub(super) fn attempt(&self, n: &mut State, attempt: &mut Attempt, me: u8) -> &'static str {
        let e = attempt.entry;
        let free_first = self.bug == Bug::FreeBeforePages;
        match attempt.at {
            Freeing::Load => {
                attempt.at = if n.live(e) { Freeing::Probe(0) } else { Freeing::Off };
                attempt.moved = false;
                "try_free: load the state"
            }
            Freeing::Probe(probe) => {
                let found = self.finds(n, me, e, probe) == Some(true);
                let more = self.finds(n, me, e, probe + 1).is_some();
                attempt.at = match (found, more) {
                    (true, _) => Freeing::Off,
                    (false, true) => Freeing::Probe(probe + 1),
                    (false, false) => Freeing::Claim,
                };
                if found { "try_free: found a reference" } else { "try_free: not this one" }
            }
            Freeing::Claim if attempt.moved => {
                attempt.at = if self.looks_again { Freeing::Load } else { Freeing::Off };
                "try_free: CAS fails, the version moved"
            }
            Freeing::Claim => {
                n.set_life(e, Life::Freeing(me));
                attempt.at = self.first_release();
                "try_free: CAS LIVE -> FREEING(me)"
            }
            Freeing::Release(page) => {
                if n.pages[page as usize] == e + 1 {
                    n.pages[page as usize] = 0;
                }
                attempt.at = match (page as usize + 1 < self.pages, free_first) {
                    (true, _) => Freeing::Release(page + 1),
                    (false, true) => Freeing::Off,
                    (false, false) => Freeing::Store,
                };
                "try_free: release a page"
            }
            _ => {
                n.set_life(e, Life::Free);
                attempt.at = if free_first { Freeing::Release(0) } else { Freeing::Off };
                "try_free: store FREE"
            }
        }
    }
}
