//! `get`, without a lock. Every load is a step; what it copies is judged only when the brackets hold.

use super::super::check::{Steps, Who};
use super::words::{
    EMPTY, KEY, LOCK, MOVES, REPAIRS, ROOT, TOMB, VALUE, block, current, find, in_key_word, in_slot,
    is_block, of_shard,
};
use super::{Bug, CAPACITY, READER, State, Store};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) enum At {
    #[default]
    Idle,
    Root,
    Slot,
    Serial,
    Key,
    Value,
    Rest,
    Repairs,
    SlotAgain,
    SerialAgain,
    RootAgain,
    MovesAgain,
    LateRepairs,
    /// Has a value with a version, and asks under the lock whether it is still the one.
    Lock,
    Look,
    // Of a list.
    Len,
    Entry,
    Element,
    ElementAgain,
    LenAgain,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Reader {
    pub(super) at: At,
    pub(super) moves: u8,
    pub(super) root: u8,
    pub(super) index: u8,
    pub(super) slot: u8,
    pub(super) serial: u8,
    /// It has a node; of another key.
    pub(super) found: bool,
    pub(super) differs: bool,
    pub(super) value: u8,
    pub(super) rest: u8,
    pub(super) repairs: u8,
    pub(super) leaf: u8,
    /// How many it has done.
    pub(super) done: u8,
    /// Known to the checks: what the key has been since this try began, one bit a value.
    pub(super) was: u16,
}

impl Reader {
    pub(super) fn again(&self) -> Self {
        Reader { done: self.done, ..Reader::default() }
    }

    fn node(&self, shard: usize, list: bool) -> usize {
        block(shard, if list { self.slot } else { in_slot(self.slot).0 })
    }
}

/// The key that is read.
pub(super) const KEY_READ: u8 = 0;

impl Store {
    /// The one next step of the reader.
    pub(super) fn read(&self, s: &State, out: &mut Steps<State>) {
        let me = s.reader;
        if me.at == At::Idle && me.done == self.reads {
            return;
        }
        let (mut n, shard) = (*s, self.shard(KEY_READ));
        let word = |word| s.words[of_shard(shard, word)];
        let what = match me.at {
            At::Idle => {
                n.reader = Reader { moves: word(MOVES), at: At::Root, done: me.done, ..Reader::default() };
                "m = moves"
            }
            At::Root => {
                n.reader.root = word(ROOT);
                n.reader.at = match (n.reader.root, self.list) {
                    (0, _) => self.end(),
                    (_, true) => At::Len,
                    _ => At::Slot,
                };
                "t = root"
            }
            At::Lock if word(LOCK) != 0 => return,
            At::Lock => {
                n.words[of_shard(shard, LOCK)] = READER;
                n.reader.at = At::Look;
                "locks, with the version it has seen"
            }
            At::Look => return self.validate(s, shard, out),
            At::Len | At::Entry | At::Element | At::ElementAgain | At::LenAgain => self.read_list(s, &mut n),
            At::Slot | At::Serial | At::Key | At::Value | At::Rest | At::Repairs => {
                self.probe(s, &mut n, shard)
            }
            _ => match self.brackets(s, &mut n, shard) {
                Ok(what) => what,
                Err(why) => return out.violation(Who::Process(READER as usize - 1), "returns", why),
            },
        };
        self.add(Who::Process(READER as usize - 1), what, n, out);
    }

    fn probe(&self, s: &State, n: &mut State, shard: usize) -> &'static str {
        let me = &mut n.reader;
        match me.at {
            At::Slot => {
                me.slot = s.words[block(shard, me.root) + me.index as usize];
                me.at = match me.slot {
                    EMPTY => self.end(),
                    TOMB => self.next(me),
                    slot if in_slot(slot).1 != KEY_READ => self.next(me),
                    slot if !is_block(in_slot(slot).0) => {
                        *me = me.again();
                        return "s = slot: wild, again";
                    }
                    _ => At::Serial,
                };
                me.found = me.at == At::Serial;
                if !me.found {
                    me.slot = 0;
                }
                "s = slot"
            }
            At::Serial => {
                me.serial = s.words[me.node(shard, self.list)];
                me.at = At::Key;
                if me.serial == 0 {
                    *me = me.again();
                }
                "v = serial"
            }
            At::Key => {
                match in_key_word(s.words[me.node(shard, self.list) + KEY]) {
                    None => *me = me.again(),
                    Some((key, _)) if key != KEY_READ => (me.differs, me.at) = (true, self.recheck()),
                    Some(_) => me.at = At::Value,
                }
                "key and lengths"
            }
            At::Value => {
                me.value = s.words[me.node(shard, self.list) + VALUE];
                me.at = At::Rest;
                if self.one_word {
                    me.rest = s.words[me.node(shard, self.list) + VALUE + 1];
                    me.at = if self.validates { At::Repairs } else { self.recheck() };
                }
                "copies the value"
            }
            At::Rest => {
                me.rest = s.words[me.node(shard, self.list) + VALUE + 1];
                me.at = if self.validates { At::Repairs } else { self.recheck() };
                "copies the rest of it"
            }
            _ => {
                me.repairs = s.words[of_shard(shard, REPAIRS)];
                me.at = self.recheck();
                "r = repairs"
            }
        }
    }

    /// The next slot, or the end of a miss.
    fn next(&self, me: &mut Reader) -> At {
        me.index += 1;
        if me.index as usize == CAPACITY { self.end() } else { At::Slot }
    }

    /// Where the second looks begin.
    fn recheck(&self) -> At {
        if self.list {
            return At::ElementAgain;
        }
        if self.bug == Bug::SerialBeforeSlot { At::SerialAgain } else { At::SlotAgain }
    }

    /// Where the last of them begin.
    pub(super) fn end(&self) -> At {
        if self.bug == Bug::MovesBeforeRoot { At::MovesAgain } else { At::RootAgain }
    }

    fn brackets(&self, s: &State, n: &mut State, shard: usize) -> Result<&'static str, &'static str> {
        let me = &mut n.reader;
        let word = |word| s.words[of_shard(shard, word)];
        let (holds, next, what) = match me.at {
            At::SlotAgain => {
                let now = s.words[block(shard, me.root) + me.index as usize];
                let next = if self.bug == Bug::SerialBeforeSlot { self.end() } else { At::SerialAgain };
                (now == me.slot || self.bug == Bug::NoSlotCheck, next, "slot == s?")
            }
            At::SerialAgain => {
                let now = s.words[me.node(shard, self.list)];
                let next = if self.bug == Bug::SerialBeforeSlot { At::SlotAgain } else { self.end() };
                (now == me.serial || self.bug == Bug::NoSerialCheck, next, "serial == v?")
            }
            At::RootAgain => {
                let holds = word(ROOT) == me.root || self.bug == Bug::NoRootCheck;
                (
                    holds,
                    if self.bug == Bug::MovesBeforeRoot { At::Idle } else { At::MovesAgain },
                    "root == t?",
                )
            }
            At::LateRepairs => {
                me.repairs = word(REPAIRS);
                (true, At::Idle, "r = repairs")
            }
            _ => {
                let holds = word(MOVES) == me.moves || self.bug == Bug::NoMovesCheck;
                (
                    holds,
                    if self.bug == Bug::MovesBeforeRoot { At::RootAgain } else { At::Idle },
                    "moves == m?",
                )
            }
        };
        if !holds {
            *me = me.again();
            return Ok(what);
        }
        me.at = next;
        if me.differs && next == self.end() {
            // Another key with this tag, seen whole: on with the next slot.
            (me.found, me.differs, me.slot, me.serial) = (false, false, 0, 0);
            me.at = self.next(me);
            return Ok(what);
        }
        if me.at != At::Idle {
            return Ok(what);
        }
        if self.bug == Bug::RepairsLate && self.validates && what != "r = repairs" {
            me.at = At::LateRepairs;
            return Ok(what);
        }
        self.judge(n)?;
        Ok(what)
    }

    /// The reader believes what it has.
    fn judge(&self, n: &mut State) -> Result<(), &'static str> {
        let me = n.reader;
        let value = if me.found { me.value + u8::from(self.list) } else { 0 };
        if me.found && me.value != me.rest {
            return Err("a torn value");
        }
        if me.was & 1 << value == 0 {
            return Err("a value that the key did not have");
        }
        let done = me.done + 1;
        n.reader = Reader { done, ..Reader::default() };
        if self.validates && me.found {
            n.reader =
                Reader { at: At::Lock, value, serial: me.serial, repairs: me.repairs, done, ..n.reader };
        }
        Ok(())
    }

    /// An optimistic transaction: the version is the one that was seen, so the value must be.
    fn validate(&self, s: &State, shard: usize, out: &mut Steps<State>) {
        let me = s.reader;
        let who = Who::Process(READER as usize - 1);
        let repairs = s.words[of_shard(shard, REPAIRS)];
        let same = find(&s.words, shard, KEY_READ).is_some_and(|(_, node)| {
            let repaired = me.repairs != repairs && self.bug != Bug::VersionWithoutRepairs;
            s.words[block(shard, node)] == me.serial && !repaired
        });
        if same && current(&s.words, shard, KEY_READ) != Some(me.value) {
            return out.violation(who, "looks at the version", "two values have one version");
        }
        let mut n = *s;
        n.words[of_shard(shard, LOCK)] = 0;
        n.reader = Reader { done: me.done, ..Reader::default() };
        self.add(who, "looks at the version, unlocks", n, out);
    }
}
