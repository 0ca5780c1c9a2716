//! Producers and consumers: walk, claim, commit, acknowledge.

use super::super::check::{Steps, Who};
use super::{At, Bug, Ring, Slot, State, Word};

/// What a look at one slot says.
enum Look {
    Claim,
    Skip,
    Nothing,
    /// Go on at this position.
    Go(u8),
    Corrupted,
}

impl Ring {
    fn slot(&self, s: &State, pos: u8) -> Slot {
        s.slots[(pos % self.capacity) as usize]
    }

    fn slot_mut<'a>(&self, n: &'a mut State, pos: u8) -> &'a mut Slot {
        &mut n.slots[(pos % self.capacity) as usize]
    }

    /// The owner that `k` writes into its claims.
    fn id(&self, k: usize) -> u8 {
        if self.bug == Bug::Unattributed { 0 } else { k as u8 + 1 }
    }

    fn look_for_room(&self, slot: Slot, t: u8) -> Look {
        if slot.pos == t {
            return if slot.word == Word::Free { Look::Claim } else { Look::Go(t + 1) };
        }
        if slot.pos < t {
            let full = slot.pos + self.capacity == t && slot.word != Word::Free;
            return if full { Look::Nothing } else { Look::Corrupted };
        }
        let claimed = if slot.word == Word::Free { slot.pos + 1 - self.capacity } else { slot.pos + 1 };
        Look::Go(claimed.max(t + 1))
    }

    fn look_for_message(&self, slot: Slot, h: u8) -> Look {
        if slot.pos == h {
            return match slot.word {
                Word::Full | Word::Redeliv => Look::Claim,
                Word::Abort if self.bug == Bug::AbortTaken => Look::Claim,
                Word::Abort if self.bug != Bug::AbortNotSkipped => Look::Skip,
                Word::Reading(_) => Look::Go(h + 1),
                _ => Look::Nothing,
            };
        }
        if slot.pos < h {
            let taken = matches!(slot.word, Word::Full | Word::Redeliv | Word::Reading(_));
            return if taken { Look::Nothing } else { Look::Corrupted };
        }
        let reading = matches!(slot.word, Word::Reading(_));
        let far = reading || self.bug == Bug::JumpTooFar && slot.word == Word::Full;
        let claimed = if far { slot.pos + 1 } else { slot.pos + 1 - self.capacity };
        Look::Go(claimed.max(h + 1))
    }

    /// Trusting the hint: no second slot is looked at.
    fn go_on(&self, n: &mut State, k: usize, pos: u8) {
        if self.bug == Bug::HintTrusted {
            n.processes[k].rest();
        } else {
            n.processes[k].pos = pos;
        }
    }

    pub(super) fn send(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let process = s.processes[k];
        let pos = process.pos;
        let own = Slot { word: Word::Writing(self.id(k)), pos };
        let message = k as u8 * self.messages + process.sent;
        let early = self.bug == Bug::CommitBeforePayload;
        let mut n = *s;
        let me = &mut n.processes[k];
        let what = match process.at {
            At::Idle if process.sent == self.messages => return,
            At::Idle => {
                me.pos = s.tail_hint;
                me.at = At::Walk;
                if self.bug == Bug::HintBeforeClaim {
                    n.tail_hint += 1;
                }
                "send: load the tail hint"
            }
            At::Walk => match self.look_for_room(self.slot(s, pos), pos) {
                Look::Claim => {
                    me.at = At::Hint;
                    *self.slot_mut(&mut n, pos) = own;
                    "send: CAS slot FREE -> WRITING(me)"
                }
                Look::Go(pos) => {
                    self.go_on(&mut n, k, pos);
                    "send: claimed, go on"
                }
                Look::Corrupted => return out.violation(who, "send", "meets a word that cannot be there"),
                _ => {
                    me.rest();
                    "send: full"
                }
            },
            At::Hint | At::StoreHint => {
                let first = if early { At::Commit } else { At::Payload };
                return self.store_hint(s, k, first, out);
            }
            _ if !early && self.slot(s, pos) != own => {
                return out.violation(who, "send", "the slot is not its own");
            }
            At::Payload => {
                me.at = At::Commit;
                if early {
                    me.rest();
                }
                n.payloads[(pos % self.capacity) as usize] = message + 1;
                "send: write the payload"
            }
            _ => {
                me.sent += 1;
                me.rest();
                if early {
                    n.processes[k].at = At::Payload;
                    n.processes[k].pos = pos;
                }
                self.slot_mut(&mut n, pos).word = Word::Full;
                n.committed |= 1 << message;
                "send: COMMIT, slot = FULL"
            }
        };
        out.add(who, what, n);
    }

    /// The hint, looked at and then stored, in two steps.
    fn store_hint(&self, s: &State, k: usize, then: At, out: &mut Steps<State>) {
        let mut n = *s;
        let pos = s.processes[k].pos;
        let hint = if k < self.producers { &mut n.tail_hint } else { &mut n.head_hint };
        let stores = s.processes[k].at == At::StoreHint;
        let behind = *hint <= pos;
        if stores {
            *hint = pos + 1;
        }
        n.processes[k].at = if !stores && behind { At::StoreHint } else { then };
        out.add(Who::Process(k), if stores { "store the hint" } else { "look at the hint" }, n);
    }

    pub(super) fn take(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let process = s.processes[k];
        let mut n = *s;
        let me = &mut n.processes[k];
        let what = match process.at {
            At::Idle => {
                me.bit = s.bit;
                me.at = if s.bit && self.bug != Bug::NoScan { At::Scan(0) } else { At::LoadHint };
                "take: load redeliver"
            }
            At::Scan(i) if s.slots[i as usize].word == Word::Redeliv => {
                return self.claim(s, k, s.slots[i as usize].pos, false, out);
            }
            At::Scan(i) => {
                me.at = if i + 1 < self.capacity { At::Scan(i + 1) } else { At::Clear };
                "take: the slot is no REDELIV"
            }
            At::Clear => {
                me.at = At::LoadHint;
                me.bit = false;
                me.moved = false;
                if !process.moved || self.bug == Bug::ClearBlindly {
                    n.bit = false;
                    n.redeliver_moves();
                }
                "take: CAS redeliver f -> f without the bit"
            }
            At::LoadHint => {
                me.rest();
                me.pos = s.head_hint;
                me.at = At::Walk;
                "take: load the head hint"
            }
            At::Walk => return self.walk_to_message(s, k, out),
            At::Hint | At::StoreHint => return self.store_hint(s, k, At::Read, out),
            At::Bump => {
                me.rest();
                n.bump();
                "redeliver += 2, bit"
            }
            _ => return self.finish(s, k, out),
        };
        out.add(who, what, n);
    }

    fn walk_to_message(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let pos = s.processes[k].pos;
        let slot = self.slot(s, pos);
        let mut n = *s;
        let what = match self.look_for_message(slot, pos) {
            Look::Claim => return self.claim(s, k, pos, true, out),
            Look::Skip => {
                *self.slot_mut(&mut n, pos) = Slot { word: Word::Free, pos: pos + self.capacity };
                n.processes[k].pos += 1;
                "take: CAS slot ABORT -> FREE"
            }
            Look::Go(pos) => {
                self.go_on(&mut n, k, pos);
                "take: claimed, go on"
            }
            Look::Corrupted => return out.violation(who, "take", "meets a word that cannot be there"),
            Look::Nothing => {
                if let (Word::Writing(_), Bug::StealFromLiving) = (slot.word, self.bug) {
                    self.slot_mut(&mut n, pos).word = Word::Abort;
                }
                n.processes[k].rest();
                "take: nothing"
            }
        };
        out.add(who, what, n);
    }

    fn claim(&self, s: &State, k: usize, pos: u8, fifo: bool, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let mut n = *s;
        let slot = self.slot_mut(&mut n, pos);
        let again = slot.word == Word::Redeliv;
        slot.word = Word::Reading(self.id(k));
        let message = s.payloads[(pos % self.capacity) as usize].saturating_sub(1);
        if let (false, Some(claimed)) = (again, n.claimed.get_mut((message / self.messages) as usize)) {
            if message % self.messages < *claimed {
                return out.violation(who, "take", "overtakes a message of the same producer");
            }
            *claimed = message % self.messages + 1;
        }
        n.processes[k].rest();
        let me = &mut n.processes[k];
        me.pos = pos;
        me.again = again && self.bug != Bug::RedelivNotFlagged;
        me.at = if fifo { At::Hint } else { At::Read };
        out.add(
            who,
            if again { "take: CAS REDELIV -> READING(me)" } else { "take: CAS FULL -> READING(me)" },
            n,
        );
    }

    /// With a claim: read, then acknowledge, or put back.
    fn finish(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let process = s.processes[k];
        let pos = process.pos;
        let early = self.bug == Bug::AckBeforeRead;
        let payload = s.payloads[(pos % self.capacity) as usize];
        let message = 1_u16 << payload.saturating_sub(1);
        let own = Slot { word: Word::Reading(self.id(k)), pos };
        let mut n = *s;
        if process.at == At::Read && (!early || process.moved) {
            let why = if payload == 0 || s.committed & message == 0 {
                Some("a message that was never sent")
            } else if (s.acked | s.dropped) & message != 0 && !early {
                Some("the message was acknowledged before")
            } else if s.delivered & message != 0 && !process.again {
                Some("a message came twice and is not flagged")
            } else {
                None
            };
            if let Some(why) = why {
                return out.violation(who, "take: read", why);
            }
            n.delivered |= message;
            n.processes[k].at = At::Ack;
            if early {
                n.processes[k].rest();
            }
            return out.add(who, "take: read", n);
        }
        if self.slot(s, pos) != own {
            return out.violation(who, "take: ACK", "the slot is not its own");
        }
        *self.slot_mut(&mut n, pos) = Slot { word: Word::Free, pos: pos + self.capacity };
        n.acked |= message;
        n.processes[k].moved = early;
        if !early {
            n.processes[k].rest();
        }
        out.add(who, "take: ACK, slot = FREE", n);
        if self.puts_back {
            let mut n = *s;
            self.slot_mut(&mut n, pos).word = Word::Redeliv;
            n.processes[k].rest();
            if self.bug != Bug::PutBackWithoutBump {
                n.processes[k].at = At::Bump;
            }
            out.add(who, "take: put back, slot = REDELIV", n);
        }
    }
}
