//! The store of a dict or a list: writers under the lock of a shard, readers without one, and a repair that rebuilds.
//!
//! ```text
//! slot      EMPTY  TOMB  {key, block}            root   the block with the slots
//! node      serial | key | value | value         moves  counts new roots, and new purposes of spans
//! span      FREE  SLAB of two blocks  RUN of two pages; new pages have no header yet
//!
//! put       a block: serial = 0; key; value; shard.serial += 1; serial = it.  COMMIT slot = node.
//!           len, used; free the old one
//! remove    COMMIT slot = TOMB.  len; free the node
//! word      COMMIT value, in place.  shard.serial += 1; serial = it
//! rehash    fill another table; moves += 1; COMMIT root = it; used; free the old one
//! both      two nodes; their places; entries.  COMMIT redo = me.  slot = node, twice; redo = 0;
//!           len, used; free the old ones
//! alloc     off the free list, or the next of the fresh slab, or a FREE span (header of the rest, moves += 1,
//!           header), or new pages, or a rebuild as long as nothing is allocated and not committed
//! get       m = moves; t = root; s = slot; v = serial; key; value;
//!           slot == s? serial == v? root == t? moves == m? no: again
//! recover d redo names d: slots as recorded, redo = 0.  Each shard that d has locked: rebuild, repairs += 1,
//!           unlock.  The lock of redo
//! rebuild   moves += 1; what root reaches; SLAB, RUN with none of it: FREE; FREE neighbours merged; lists,
//!           len, used anew
//! ```
//!
//! What must hold: what a key has is what was committed last, at every moment (of a transaction: once it is applied); a
//! reader returns what the key had at some moment of its last try, whole; a version (serial and repairs) has one value;
//! and whenever a shard is unlocked, its spans tile its pages, each block is in use once or free once, and len and used
//! count. From everywhere it goes on to the end: no lock stays.
//!
//! | dies | leaves | repaired by |
//! |---|---|---|
//! | before COMMIT | a block that nothing names | rebuild: free |
//! | after COMMIT | len, used, the old block | rebuild: counted, free |
//! | in alloc | pages without a header, a list that lost a block | rebuild: given back, anew |
//! | between `word` and its serial | a value under the version of another | repairs is part of the version |
//! | after the COMMIT of `both` | some slots | redo, before rebuild, with every shard still locked |
//! | as a recoverer | any prefix | the next one does it again |
//!
//! All processors agree on one order here; what the fences order is the business of the tests of the store under loom.
//! Large values are written by somebody who knows what a reader looks for: serial, key, and header of a span, where they
//! do harm. What each mutation breaks stands at `Bug`.

mod cases;
mod changes;
mod heap;
mod list;
mod ops;
mod plans;
mod reader;
mod recovery;
mod whole;
mod words;

pub(super) use cases::cases;

use super::check::{Model, Steps, Who};
use heap::Sim;
use ops::Op;
use plans::{Commits, Put, first, keep};
use reader::{At, KEY_READ, Reader};
use words::{ALL, LOCK, REDO, REDO_LOCK, Words, current, of_shard};

const SHARDS: usize = 2;
const PAGES: usize = 4;
const WRITERS: usize = 2;
const KEYS: usize = 3;
/// Slots of a table.
const CAPACITY: usize = 2;
/// Elements of a list.
const LONGEST: usize = 4;
/// The reader, where it takes a lock, and who the holder of the redo record is.
const READER: u8 = 3;
/// A value that was never put: it lies in a large one.
const WRONG: u8 = 15;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Life {
    #[default]
    Lives,
    /// Killed, and not recovered yet.
    Dead,
    Gone,
}

/// A writer: which operation, how many of its locks it has, and what it is yet to store.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Writer {
    op: u8,
    locks: u8,
    plan: u32,
    life: Life,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Recoverer {
    /// Whom it recovers, plus one.
    dead: u8,
    plan: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct State {
    words: Words,
    writers: [Writer; WRITERS],
    reader: Reader,
    recoverers: [Recoverer; 2],
    kills: u8,
    /// Known to the checks: what was committed last.
    truth: [u8; KEYS],
    list: [u8; LONGEST],
}

/// A deliberate mistake; the last ones are none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    None,
    /// The reader does not look again: at the slot, the serial, the root, or moves.
    NoSlotCheck,
    NoSerialCheck,
    NoRootCheck,
    NoMovesCheck,
    /// It looks again in another order.
    SerialBeforeSlot,
    MovesBeforeRoot,
    /// A new root does not count; or a rebuild; or no change of a purpose at all.
    NoMovesAtRehash,
    RebuildWithoutMoves,
    NoMovesOfSpans,
    /// The node gets its serial after the slot was stored.
    SerialAfterCommit,
    /// The serial of the shard is stored after the slot: one that was given up comes again.
    SerialAtCommit,
    /// The old node is freed first, so that the new one takes its block.
    FreeBeforeCommit,
    /// The root is stored before the table is filled.
    RootBeforeFill,
    /// The lock of the dead is freed before the rebuild, or without one.
    UnlockBeforeRebuild,
    NoRebuild,
    /// The rebuild believes what it finds.
    LenFromMemory,
    UsedFromMemory,
    FreeFromMemory,
    /// The rebuild leaves pages that were never made a span.
    NeverMadeStays,
    /// A rebuild for want of memory takes blocks that are allocated and not committed.
    RebuildDespitePending,
    /// The front of a span gets its header before the rest.
    SplitFrontFirst,
    /// A version is a serial; or its repairs are read when all is over; or a repair does not count.
    VersionWithoutRepairs,
    RepairsLate,
    NoRepairs,
    /// The value in place comes after its serial.
    WordAfterSerial,
    /// A transaction has no record; or one that is valid before its entries.
    NoRedo,
    RedoBeforeEntries,
    /// The record is cleared before its slots are stored, by the writer or by recovery.
    ClearBeforeApply,
    RedoClearedFirst,
    /// The record is cleared after the shards were unlocked.
    UnlockBeforeClear,
    /// Recovery does not look at it; or applies it when the shards were rebuilt.
    RedoForgotten,
    RedoAfterRebuild,
    /// Two new keys of a transaction get one slot.
    SamePlace,
    /// A transaction locks its shards in the order of its keys, and the record last.
    KeyOrder,
    /// A popped element is set to 0 where 0 is a value.
    PopZeroes,
    /// The length is stored before the element.
    LenFirst,
    /// The reader of a list does not look again at the element, or the length.
    NoElementCheck,
    NoLenCheck,
    /// The popped leaf is freed without moves.
    LeafFreedSilently,
    /// None: a rebuild takes the serial from the nodes that it reaches; repairs tell it from the one of the dead.
    SerialFromNodes,
    /// None: the serial is not 0 while a node is written.
    NoZero,
    /// None: a FREE span gets a purpose without moves; the rebuild that made it FREE has counted.
    NoMovesAtPurpose,
    /// None: the record is unlocked before the shards, or by recovery before it rebuilds.
    RedoLockFirst,
    RedoLockRecoveredFirst,
}

/// One configuration of the model.
#[derive(Clone, Copy, Debug)]
struct Store {
    scripts: [&'static [Op]; WRITERS],
    /// What was there before.
    setup: &'static [Op],
    /// Keys are shared out among this many shards, of this many pages.
    shards: usize,
    pages: usize,
    list: bool,
    /// Elements of the list are values, not nodes; and the index that is read.
    plain: bool,
    index: u8,
    reads: u8,
    /// The reader takes the lock when it has a value, and compares versions.
    validates: bool,
    /// Values are copied by one load.
    one_word: bool,
    /// The serial that a large value pretends.
    fake: u8,
    kills: u8,
    recoverers: usize,
    bug: Bug,
}

fn id(k: usize) -> u8 {
    k as u8 + 1
}

impl State {
    fn store(&mut self, put: &Put) {
        self.words[put.place as usize] = put.value;
        if put.twin {
            self.words[put.place as usize + 1] = put.value;
        }
        match put.commits {
            Commits::Nothing => {}
            Commits::Key(key, value) => self.truth[key as usize] = value,
            Commits::Keys(keys) => keys.iter().for_each(|(key, value)| self.truth[*key as usize] = *value),
            Commits::Clear(keys) => {
                for (key, value) in self.truth.iter_mut().enumerate() {
                    *value = if keys & 1 << key != 0 { 0 } else { *value };
                }
            }
            Commits::List(list) => self.list = list,
        }
    }
}

impl Store {
    fn shard(&self, key: u8) -> usize {
        key as usize % self.shards
    }

    /// The locks of an operation, in the order in which they are taken.
    fn locks(&self, op: Op) -> Vec<usize> {
        let [one, two] = op.keys().map(|key| self.shard(key));
        let mut shards = vec![one, two];
        if self.bug != Bug::KeyOrder {
            shards.sort_unstable();
        }
        shards.dedup();
        let mut locks: Vec<usize> = shards.into_iter().map(|shard| of_shard(shard, LOCK)).collect();
        if matches!(op, Op::Both(..)) {
            let at = if self.bug == Bug::KeyOrder { locks.len() } else { 0 };
            locks.insert(at, REDO_LOCK);
        }
        locks
    }

    /// Adds a step; the reader's interval goes on.
    fn add(&self, who: Who, what: &'static str, mut n: State, out: &mut Steps<State>) {
        if !matches!(n.reader.at, At::Idle | At::Lock | At::Look) {
            n.reader.was |= self.now(&n);
        }
        out.add(who, what, n);
    }

    /// What the key that is read has now, as a bit.
    fn now(&self, s: &State) -> u16 {
        if self.list {
            return self.element(&s.words).map_or(0, |value| 1 << value);
        }
        current(&s.words, self.shard(KEY_READ), KEY_READ).map_or(0, |value| 1 << value)
    }

    /// The one next step of a writer, and its death.
    fn write(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let me = s.writers[k];
        let busy = me.locks > 0 || me.plan != 0;
        if me.life != Life::Lives {
            return;
        }
        if busy && s.kills < self.kills {
            let mut n = *s;
            n.kills += 1;
            n.writers[k] = Writer { life: Life::Dead, ..Writer::default() };
            self.add(Who::Process(k), "KILLED", n, out);
        }
        let mut n = *s;
        if me.plan != 0 {
            let (put, rest) = first(me.plan);
            n.store(&put);
            n.writers[k].plan = rest;
            if rest == 0 {
                n.writers[k] = Writer { op: me.op + 1, ..Writer::default() };
            }
            return self.add(Who::Process(k), put.what, n, out);
        }
        let Some(op) = self.scripts[k].get(me.op as usize) else { return };
        let locks = self.locks(*op);
        let lock = locks[me.locks as usize];
        if s.words[lock] != 0 {
            return;
        }
        n.words[lock] = id(k);
        n.writers[k].locks += 1;
        if n.writers[k].locks as usize == locks.len() {
            let mut sim = Sim::new(*self, &n.words);
            sim.run(*op, id(k));
            n.writers[k].plan = keep(&sim.plan);
        }
        self.add(
            Who::Process(k),
            if lock == REDO_LOCK { "locks the redo record" } else { "locks a shard" },
            n,
            out,
        );
    }

    /// What was committed is there, unless a transaction is being applied, or recovered.
    fn as_committed(&self, s: &State) -> Result<(), &'static str> {
        if self.list {
            return self.list_as_committed(s);
        }
        for key in 0..KEYS as u8 {
            match current(&s.words, self.shard(key), key) {
                None => return Err("a node that a slot names is damaged"),
                Some(value) if value != s.truth[key as usize] && s.words[REDO_LOCK] == 0 => {
                    return Err("a key does not have what was committed");
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn is_over(&self, s: &State) -> bool {
        let over = |k: usize| match s.writers[k].life {
            Life::Lives => s.writers[k].op as usize == self.scripts[k].len(),
            Life::Dead => false,
            Life::Gone => true,
        };
        (0..WRITERS).all(over) && s.reader.at == At::Idle && s.reader.done == self.reads
    }
}

impl Model for Store {
    type State = State;

    fn initial(&self) -> State {
        let mut state = State {
            words: [0; ALL],
            writers: [Writer::default(); WRITERS],
            reader: Reader::default(),
            recoverers: [Recoverer::default(); 2],
            kills: 0,
            truth: [0; KEYS],
            list: [0; LONGEST],
        };
        for op in self.setup {
            let mut sim = Sim::new(Store { bug: Bug::None, ..*self }, &state.words);
            sim.run(*op, 0);
            sim.plan.iter().for_each(|put| state.store(put));
        }
        state
    }

    fn steps(&self, state: &State, out: &mut Steps<State>) {
        if self.invariant(state).is_err() {
            return;
        }
        for k in 0..WRITERS {
            self.write(state, k, out);
        }
        self.read(state, out);
        self.start_recovery(state, out);
        for r in 0..self.recoverers {
            if state.recoverers[r].dead == 0 {
                continue;
            }
            self.recover(state, r, out);
            if state.kills < self.kills {
                let mut n = *state;
                n.kills += 1;
                n.recoverers[r] = Recoverer::default();
                self.add(Who::Recoverer(r), "KILLED", n, out);
            }
        }
    }

    fn invariant(&self, state: &State) -> Result<(), String> {
        self.as_committed(state)?;
        for shard in 0..self.shards {
            if state.words[of_shard(shard, LOCK)] == 0 {
                whole::check(*self, &state.words, shard)?;
            }
        }
        Ok(())
    }

    fn goal(&self, state: &State) -> bool {
        let locks = (0..SHARDS).any(|shard| state.words[of_shard(shard, LOCK)] != 0);
        self.is_over(state) && !locks && state.words[REDO_LOCK] == 0 && state.words[REDO] == 0
    }
}
