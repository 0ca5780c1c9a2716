//! The configurations of the model, and its mutations, with what must come out.

use super::super::{Case, Depth, Expect, with_controls};
use super::changes::{self, Changes};
use super::ops::Op::{
    self, Abandon, Both, Clear, Delete, Insert, Large, Pop, Push, Put, Rehash, Remove, Set, Word,
};
use super::{Bug, Store};

/// One shard, nobody is killed, nobody reads.
const SMALL: Store = Store {
    scripts: [&[], &[]],
    setup: &[],
    shards: 1,
    pages: 4,
    list: false,
    plain: false,
    index: 0,
    reads: 0,
    validates: false,
    one_word: false,
    fake: 0,
    kills: 0,
    recoverers: 1,
    bug: Bug::None,
};

/// Every case of the model.
pub(in super::super) fn cases(depth: Depth) -> Vec<Case> {
    let mut cases = configurations(depth);
    let without = |model| Store { bug: Bug::None, ..model };
    cases.extend(with_controls("store", depth, MUTATIONS, |model| format!("{:?}", model.bug), without));
    cases.extend(waiting(depth));
    cases
}

/// The cases of those who wait for a change.
fn waiting(depth: Depth) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add =
        |what: &str, model| cases.push(Case::new("storewait", what, Expect::Verified, depth, model));
    add("2 writers, 2 watchers of 2 shards, no kill", WATCHED);
    add("1 writer, 2 watchers of 2 shards, 2 kills", Changes { kills: 2, recoverers: 2, ..ONE });
    add("1 writer, 2 watchers of 1 shard, 1 kill", Changes { watches: [0, 0], kills: 1, ..ONE });
    add("not needed: the flag before the look", Changes { bug: changes::Bug::FlagAfterLook, ..WATCHED });
    add("not needed: the commit before the flag", Changes { bug: changes::Bug::FlagBeforeCommit, ..WATCHED });
    if depth == Depth::Deep {
        add("2 writers, 2 watchers of 2 shards, 2 kills", Changes { kills: 2, recoverers: 2, ..WATCHED });
        add("2 writers, 2 watchers of 1 shard, 2 kills", Changes { watches: [0, 0], kills: 2, ..WATCHED });
    }
    let without = |model| Changes { bug: changes::Bug::None, ..model };
    let bug = |model: &Changes| format!("{:?}", model.bug);
    cases.extend(with_controls("storewait", depth, WAITING_MUTATIONS, bug, without));
    cases
}

const WATCHED: Changes =
    Changes { writes: [&[0, 1], &[1]], watches: [0, 1], kills: 0, recoverers: 1, bug: changes::Bug::None };
const ONE: Changes = Changes { writes: [&[0], &[]], ..WATCHED };

const fn silent(bug: changes::Bug) -> Changes {
    Changes { bug, kills: 1, ..ONE }
}

const fn watched(bug: changes::Bug) -> Changes {
    Changes { bug, ..WATCHED }
}

const WAITING_MUTATIONS: &[(Expect, Changes)] = &[
    (Expect::Stuck, silent(changes::Bug::SilentRecovery)),
    (Expect::Stuck, silent(changes::Bug::PostIfLocked)),
    (Expect::Stuck, Changes { bug: changes::Bug::ArmWithoutLock, ..ONE }),
    (Expect::Stuck, watched(changes::Bug::SeqAfterLook)),
    (Expect::Stuck, watched(changes::Bug::SeqAfterUnlock)),
    (Expect::Stuck, watched(changes::Bug::FlagBeforeLock)),
    (Expect::Stuck, watched(changes::Bug::ClearAfterBump)),
    (Expect::Stuck, Changes { writes: [&[1], &[0]], ..watched(changes::Bug::WakeOne) }),
];

/// Key 0 lies in the second half of a page that can become part of a RUN; what lies there then says that it is key 0
/// with the serial that key 0 will have when it is there once more.
const PURPOSES: Store = Store {
    setup: &[Put(1, 1), Large(0, 2), Remove(0), Put(0, 1), Put(0, 2)],
    scripts: [&[Remove(0), Large(1, 3), Remove(1), Put(1, 4), Put(0, 5), Put(0, 6)], &[]],
    pages: 3,
    fake: 8,
    reads: 1,
    ..SMALL
};

/// Two writers on two keys of one shard, and a reader.
const BUSY: Store = Store {
    setup: &[Put(0, 1)],
    scripts: [&[Put(0, 2), Remove(0), Put(1, 3)], &[Rehash(0), Put(0, 4)]],
    pages: 3,
    reads: 1,
    ..SMALL
};

/// A value in place, its version, and the death of its writer.
const VERSIONS: Store = Store {
    setup: &[Put(0, 1)],
    scripts: [&[Word(0, 2)], &[]],
    pages: 2,
    reads: 1,
    validates: true,
    one_word: true,
    kills: 1,
    ..SMALL
};

/// Two transactions over two shards, and somebody between.
const PAIR: Store = Store {
    setup: &[Put(0, 1), Put(1, 1)],
    scripts: [&[Both((0, 2), (1, 3))], &[Both((1, 4), (0, 5)), Put(0, 6)]],
    shards: 2,
    pages: 2,
    ..SMALL
};

/// Two new keys at once in one shard.
const NEW: Store = Store { scripts: [&[Both((0, 2), (1, 3))], &[Remove(0)]], pages: 2, ..SMALL };

/// A list of nodes, and one of plain values.
const LIST: Store = Store { list: true, setup: &[Push(1), Push(2)], reads: 1, index: 1, ..SMALL };
const PLAIN: Store = Store { plain: true, setup: &[Push(1)], index: 0, pages: 2, ..LIST };

fn configurations(depth: Depth) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |what: &str, model| cases.push(Case::new("store", what, Expect::Verified, depth, model));
    add("put, remove, rehash, a reader, no kill", BUSY);
    let killed = Store { scripts: [&[Put(0, 2), Remove(0)], &[Rehash(0), Put(1, 4)]], kills: 1, ..BUSY };
    add("put, remove, rehash, a reader, 1 kill", killed);
    let all: [&[Op]; 2] =
        [&[Put(0, 2), Rehash(0), Put(1, 3), Remove(0)], &[Abandon(0, 7), Clear(0), Large(1, 4)]];
    let unread = Store { scripts: all, reads: 0, pages: 4, kills: 2, recoverers: 2, ..BUSY };
    add("every operation, 2 kills", unread);
    add("every operation, little memory, 2 kills", Store { pages: 2, ..unread });
    add("purposes of a page, a reader, no kill", PURPOSES);
    add("purposes of a page, a reader, 1 kill", Store { kills: 1, ..PURPOSES });
    add(
        "values in place, versions, 1 kill",
        Store { scripts: [&[Word(0, 2), Word(0, 3)], &[Put(0, 4)]], ..VERSIONS },
    );
    add("2 transactions, 2 shards, 2 kills", Store { kills: 2, recoverers: 2, ..PAIR });
    let one = Store { scripts: [&[Both((0, 2), (1, 3))], &[Put(0, 6)]], kills: 1, reads: 1, ..PAIR };
    add("a transaction, 2 shards, a reader, 1 kill", one);
    add("a transaction, 1 shard, 2 kills", Store { kills: 2, recoverers: 2, reads: 1, ..NEW });
    add("a list of nodes, no kill", Store { scripts: [&[Pop, Push(3)], &[Insert(0, 4), Set(1, 5)]], ..LIST });
    add("a list of nodes, 1 kill", Store { scripts: [&[Pop, Push(3)], &[Delete(0)]], kills: 1, ..LIST });
    let plain: [&[Op]; 2] = [&[Pop, Push(2), Push(3)], &[Insert(0, 4), Delete(1)]];
    add("a list of plain values, 1 kill", Store { scripts: plain, kills: 1, pages: 4, ..PLAIN });
    let shrinks: [&[Op]; 2] = [&[Pop, Pop, Push(6), Push(7), Set(0, 8), Pop, Insert(0, 9)], &[]];
    let shrinks = Store { scripts: shrinks, setup: &[Push(1), Push(2), Push(3)], kills: 2, index: 2, ..LIST };
    add("a list that shrinks and grows, 2 kills", shrinks);
    for (what, model) in [
        (
            "not needed: serials of the dead, a reader",
            Store { bug: Bug::SerialFromNodes, scripts: [&[Put(0, 2)], &[Put(0, 4)]], ..killed },
        ),
        (
            "not needed: serials of the dead, versions",
            Store { bug: Bug::SerialFromNodes, kills: 2, ..VERSIONS },
        ),
        ("not needed: serial 0 while written", Store { bug: Bug::NoZero, ..BUSY }),
        ("not needed: moves when FREE gets a purpose", Store { bug: Bug::NoMovesAtPurpose, ..PURPOSES }),
        ("not needed: the redo lock is freed last", Store { bug: Bug::RedoLockFirst, kills: 1, ..PAIR }),
        ("not needed: the same, by recovery", Store { bug: Bug::RedoLockRecoveredFirst, kills: 2, ..PAIR }),
    ] {
        add(what, model);
    }
    if depth == Depth::Deep {
        add("put, remove, rehash, a reader, 2 kills", Store { kills: 2, recoverers: 2, ..BUSY });
        add("every operation, 2 readings, 2 kills", Store { reads: 2, ..unread });
        let twice: [&[Op]; 2] = [&[Word(0, 2), Word(0, 3)], &[Put(0, 4), Word(0, 5)]];
        add(
            "values in place, versions, 2 kills",
            Store { scripts: twice, kills: 2, recoverers: 2, ..VERSIONS },
        );
        add(
            "2 transactions, 2 shards, a reader, 2 kills",
            Store { kills: 2, recoverers: 2, reads: 1, ..PAIR },
        );
        add("a list of nodes, 2 kills", Store { scripts: LISTED, kills: 2, recoverers: 2, ..LIST });
        add(
            "a list of plain values, 2 kills",
            Store { scripts: plain, kills: 2, recoverers: 2, pages: 4, ..PLAIN },
        );
    }
    cases
}

const LISTED: [&[Op]; 2] = [&[Pop, Push(3), Insert(1, 6)], &[Insert(0, 4), Set(1, 5), Delete(0)]];

const fn read(bug: Bug, script: &'static [Op]) -> Store {
    Store { bug, scripts: [script, &[]], ..BUSY }
}

const fn killed(bug: Bug, script: &'static [Op]) -> Store {
    Store { kills: 1, reads: 0, ..read(bug, script) }
}

const fn version(bug: Bug) -> Store {
    Store { bug, ..VERSIONS }
}

const fn pair(bug: Bug) -> Store {
    Store { bug, kills: 1, ..PAIR }
}

const fn list(bug: Bug, script: &'static [Op]) -> Store {
    Store { bug, scripts: [script, &[]], ..LIST }
}

const fn plain(bug: Bug, script: &'static [Op]) -> Store {
    Store { bug, scripts: [script, &[]], ..PLAIN }
}

const NEVER: Expect = Expect::Unsafe("a value that the key did not have");
const TORN: Expect = Expect::Unsafe("a torn value");
const DAMAGED: Expect = Expect::Unsafe("a node that a slot names is damaged");
const LEAKED: Expect = Expect::Unsafe("a block is leaked");
const COUNTS: Expect = Expect::Unsafe("len or used");
const LOST: Expect = Expect::Unsafe("a key does not have what was committed");
const TILES: Expect = Expect::Unsafe("the spans do not tile");
const NO_SPAN: Expect = Expect::Unsafe("a page that no span has");
const VERSION: Expect = Expect::Unsafe("two values have one version");
const OTHER_LIST: Expect = Expect::Unsafe("the list is not what was committed");

/// Each mistake in a configuration that is right without it, and shows it.
const MUTATIONS: &[(Expect, Store)] = &[
    (NEVER, read(Bug::NoSlotCheck, &[Remove(0), Put(0, 3)])),
    (TORN, read(Bug::NoSerialCheck, &[Remove(0), Put(0, 3)])),
    (NEVER, read(Bug::NoRootCheck, &[Rehash(0), Put(0, 3)])),
    (TORN, Store { bug: Bug::NoMovesCheck, ..PURPOSES }),
    (NEVER, read(Bug::SerialBeforeSlot, &[Remove(0), Abandon(0, 3), Put(0, 4)])),
    (NEVER, read(Bug::MovesBeforeRoot, &[Rehash(0), Put(1, 3), Remove(1), Rehash(0)])),
    (NEVER, read(Bug::NoMovesAtRehash, &[Rehash(0), Put(1, 3), Remove(1), Rehash(0)])),
    (TORN, Store { bug: Bug::NoMovesOfSpans, ..PURPOSES }),
    (VERSION, version(Bug::RebuildWithoutMoves)),
    (DAMAGED, killed(Bug::SerialAfterCommit, &[Put(0, 2)])),
    (TORN, read(Bug::SerialAtCommit, &[Remove(0), Abandon(0, 3), Put(0, 4)])),
    (DAMAGED, killed(Bug::FreeBeforeCommit, &[Put(0, 2)])),
    (LOST, killed(Bug::RootBeforeFill, &[Rehash(0)])),
    (NO_SPAN, killed(Bug::UnlockBeforeRebuild, &[Put(0, 2), Remove(0)])),
    (NO_SPAN, killed(Bug::NoRebuild, &[Put(0, 2)])),
    (COUNTS, killed(Bug::LenFromMemory, &[Put(0, 2), Remove(0)])),
    (COUNTS, killed(Bug::UsedFromMemory, &[Put(1, 2)])),
    (LEAKED, killed(Bug::FreeFromMemory, &[Put(0, 2), Remove(0)])),
    (NO_SPAN, killed(Bug::NeverMadeStays, &[Put(0, 2), Put(1, 3)])),
    (DAMAGED, Store { setup: &[Put(0, 1), Put(1, 1)], ..NEW_DESPITE }),
    (
        TILES,
        Store { setup: &[Put(1, 1), Large(0, 2), Remove(0)], ..killed(Bug::SplitFrontFirst, &[Put(0, 5)]) },
    ),
    (VERSION, version(Bug::VersionWithoutRepairs)),
    (VERSION, version(Bug::RepairsLate)),
    (VERSION, version(Bug::NoRepairs)),
    (VERSION, version(Bug::WordAfterSerial)),
    (LOST, pair(Bug::NoRedo)),
    (LOST, pair(Bug::RedoBeforeEntries)),
    (LOST, pair(Bug::ClearBeforeApply)),
    (LOST, Store { kills: 2, ..pair(Bug::RedoClearedFirst) }),
    (DAMAGED, pair(Bug::UnlockBeforeClear)),
    (LOST, pair(Bug::RedoForgotten)),
    (LEAKED, pair(Bug::RedoAfterRebuild)),
    (COUNTS, Store { bug: Bug::SamePlace, ..NEW }),
    (Expect::Stuck, Store { kills: 0, ..pair(Bug::KeyOrder) }),
    (NEVER, plain(Bug::PopZeroes, &[Pop, Push(2)])),
    (OTHER_LIST, plain(Bug::LenFirst, &[Pop, Push(2)])),
    (NEVER, list(Bug::NoElementCheck, &[Pop, Set(0, 3), Push(4)])),
    (NEVER, plain(Bug::NoLenCheck, &[Pop, Push(2)])),
    (NEVER, Store { setup: SPREAD, index: 2, ..list(Bug::LeafFreedSilently, SHRINKS) }),
];

const NEW_DESPITE: Store = Store { bug: Bug::RebuildDespitePending, ..NEW };
/// The last push but two finds the block of the leaf that was freed, and its serial names that block.
const SPREAD: &[Op] = &[Push(1), Set(0, 7), Push(2), Push(3), Set(0, 8)];
const SHRINKS: &[Op] = &[Pop, Pop, Pop, Push(4), Push(5), Push(6)];
