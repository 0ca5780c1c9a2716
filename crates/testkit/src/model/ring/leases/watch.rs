//! Somebody who only looks: is everything acknowledged, is this position in flight?

use super::super::super::check::{Steps, Who};
use super::super::Word;
use super::{Bug, Leases, Lent, State, Watch, Watcher, bit};

impl Leases {
    pub(super) fn watch(&self, s: &State, out: &mut Steps<State>) {
        let who = Who::Process(self.producers + self.consumers);
        if self.watch == Watch::Nothing {
            return;
        }
        let Watcher { asks, i, about } = s.watcher;
        if !asks {
            return self.ask(s, out);
        }
        let mut n = *s;
        let (slots, cells) = (self.slots_to_look_at(about), 0..self.cells as u8);
        let first_cells = self.bug == Bug::WatchCellsFirst;
        let slots = slots.map(|i| (true, i));
        let cells = cells.map(|i| (false, i));
        let place =
            if first_cells { cells.chain(slots).nth(i as usize) } else { slots.chain(cells).nth(i as usize) };
        let Some((slot, place)) = place else {
            if about & !(s.acked | s.dropped) != 0 {
                return out.violation(who, "says that it is over", "a message is still on its way");
            }
            n.watcher = Watcher::default();
            return out.add(who, "asks: it is over", n);
        };
        if self.finds(s, slot, place as usize, about) {
            n.watcher = Watcher::default();
            return out.add(who, "asks: it is not over", n);
        }
        n.watcher.i += 1;
        out.add(who, if slot { "asks: not in this slot" } else { "asks: not in this cell" }, n);
    }

    fn ask(&self, s: &State, out: &mut Steps<State>) {
        let who = Who::Process(self.producers + self.consumers);
        let mut n = *s;
        if self.watch == Watch::Done {
            n.watcher = Watcher { asks: true, i: 0, about: s.committed };
            return out.add(who, "asks whether all is done", n);
        }
        for pos in (0..s.tail).filter(|pos| s.committed & bit(*pos) != 0) {
            n.watcher = Watcher { asks: true, i: 0, about: bit(pos) };
            out.add(who, "asks whether a position is in flight", n);
        }
    }

    fn slots_to_look_at(&self, about: u16) -> std::ops::Range<u8> {
        match self.watch {
            Watch::InFlight => {
                let slot = about.trailing_zeros() as u8 % self.capacity;
                slot..slot + 1
            }
            _ => 0..self.capacity,
        }
    }

    fn finds(&self, s: &State, slot: bool, i: usize, about: u16) -> bool {
        let (pos, there) = if slot {
            let there = match s.slots[i].word {
                Word::Full | Word::Redeliv => true,
                Word::Reading(_) => self.bug != Bug::WatchIgnoresReading,
                _ => false,
            };
            (s.slots[i].pos, there)
        } else {
            let there = match s.cells[i].word {
                Lent::Held(_) => true,
                Lent::Orphan => self.bug != Bug::WatchIgnoresOrphan,
                _ => false,
            };
            (s.cells[i].pos, there)
        };
        there && (self.watch == Watch::Done || about == bit(pos))
    }
}
