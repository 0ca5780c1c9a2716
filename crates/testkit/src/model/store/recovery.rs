//! Recovery of a dead writer: the redo record, then its shards, then the lock of the record.

use super::super::check::{Steps, Who};
use super::heap::Sim;
use super::plans::{Put, keep};
use super::words::{ENTRIES, LOCK, REDO, REDO_LOCK, of_shard};
use super::{Bug, Life, Recoverer, SHARDS, State, Store, id};

impl Store {
    pub(super) fn start_recovery(&self, s: &State, out: &mut Steps<State>) {
        for (k, writer) in s.writers.iter().enumerate() {
            let busy = s.recoverers.iter().any(|r| r.dead == id(k));
            let idle = s.recoverers[..self.recoverers].iter().position(|r| r.dead == 0);
            if let (Life::Dead, false, Some(r)) = (writer.life, busy, idle) {
                let mut n = *s;
                n.recoverers[r] = Recoverer { dead: id(k), plan: keep(&self.repair(s, id(k))) };
                self.add(Who::Recoverer(r), "takes the lock of the dead", n, out);
            }
        }
    }

    /// All that recovery will store: whatever it touches is locked by the dead, so nobody else changes it.
    fn repair(&self, s: &State, dead: u8) -> Vec<Put> {
        let mut sim = Sim::new(*self, &s.words);
        let late = self.bug == Bug::RedoAfterRebuild;
        if !late {
            redo(&mut sim, dead);
        }
        if self.bug == Bug::RedoLockRecoveredFirst && sim.words[REDO_LOCK] == dead {
            sim.put("frees the lock of the redo record", REDO_LOCK, 0);
        }
        for shard in 0..SHARDS {
            let lock = of_shard(shard, LOCK);
            if sim.words[lock] != dead {
                continue;
            }
            if self.bug == Bug::UnlockBeforeRebuild {
                sim.put("frees the lock", lock, 0);
            }
            if self.bug != Bug::NoRebuild {
                sim.repair(shard);
            }
            sim.put("frees the lock", lock, 0);
        }
        if late {
            redo(&mut sim, dead);
        }
        if sim.words[REDO_LOCK] == dead {
            sim.put("frees the lock of the redo record", REDO_LOCK, 0);
        }
        sim.plan
    }

    /// The one next step of a recoverer.
    pub(super) fn recover(&self, s: &State, r: usize, out: &mut Steps<State>) {
        let me = s.recoverers[r];
        let mut n = *s;
        let what = if me.plan == 0 {
            n.writers[me.dead as usize - 1].life = Life::Gone;
            n.recoverers[r] = Recoverer::default();
            "the id is reusable"
        } else {
            let (put, rest) = super::plans::first(me.plan);
            n.store(&put);
            n.recoverers[r].plan = rest;
            put.what
        };
        self.add(Who::Recoverer(r), what, n, out);
    }
}

/// What the dead had decided.
fn redo(sim: &mut Sim, dead: u8) {
    if sim.words[REDO] != dead || sim.has(Bug::RedoForgotten) {
        return;
    }
    if sim.has(Bug::RedoClearedFirst) {
        sim.put("redo = 0", REDO, 0);
    }
    for entry in [ENTRIES, ENTRIES + 2] {
        let (place, word) = (sim.words[entry], sim.words[entry + 1]);
        sim.put("slot = the node, as recorded", place as usize, word);
    }
    sim.put("redo = 0", REDO, 0);
}
