//! Every configuration and every mutation of every model, and the verdict that it must get.
//!
//! The tables repeat what the models say of themselves, so that a row cannot disappear unnoticed. A mutation
//! must in addition be caught for its own reason, which stands beside it in the model. One row of what comes
//! out is printed for each (shown with `--nocapture`); for a wrong verdict also the shortest trace.
//!
//! All of it takes about a minute of one core, and some hundred megabytes of memory.

use ginnel_testkit::model::{Depth, Expect, cases};

#[path = "models/moving.rs"]
mod moving;
#[path = "models/pool.rs"]
mod pool;
#[path = "models/process.rs"]
mod process;
#[path = "models/store.rs"]
mod store;
#[path = "models/sync.rs"]
mod sync;
#[path = "models/ring.rs"]
mod tables;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Verified,
    Unsafe,
    Stuck,
}

use Verdict::{Stuck, Unsafe, Verified};

type Table = &'static [(&'static str, Verdict)];

const LANE: Table = &[
    ("room for 1, 4 messages, 3 kills", Verified),
    ("room for 2, 4 messages, 2 kills", Verified),
    ("room for 2, batches and loans of 2, no kill", Verified),
    ("room for 2, batches and loans of 2, 2 kills", Verified),
    ("room for 3, batches and loans of 2, 1 kill", Verified),
    ("slices: nobody fences", Verified),
    ("slices: recovery is silent, 2 kills", Verified),
    ("mutation NoPostFence", Stuck),
    ("mutation NoArmFence", Stuck),
    ("mutation NoSecondLook", Stuck),
    ("mutation SeqAfterLook", Stuck),
    ("mutation ClearAfterWake", Stuck),
    ("mutation SilentRecovery", Stuck),
    ("mutation RoleStaysHeld", Unsafe),
    ("mutation RoleWithoutProof", Unsafe),
    ("mutation CommitBeforePayload", Unsafe),
    ("mutation NoZero", Unsafe),
    ("mutation ZeroAfterCommit", Unsafe),
    ("mutation NoRoomForZero", Stuck),
    ("mutation FirstHeaderFirst", Unsafe),
    ("mutation HintBeforeCommit", Unsafe),
    ("mutation NoWalk", Unsafe),
    ("mutation AckBeforeRead", Unsafe),
    ("mutation NoLastLook", Unsafe),
    ("mutation NoFlag", Unsafe),
    ("mutation FlagFirstOnly", Unsafe),
    ("mutation CloseForgetsFlag", Unsafe),
    ("control 1 of 9 mutations", Verified),
    ("control 2 of 8 mutations", Verified),
    ("control 3 of 1 mutations", Verified),
    ("control 4 of 1 mutations", Verified),
    ("control 5 of 1 mutations", Verified),
];

const MUTEX: Table = &[
    ("3 lockers x3, 2 deadlines, no kill", Verified),
    ("3 lockers x2, 2 kills, 2 recoverers", Verified),
    ("3 lockers x1, 3 kills, 2 recoverers", Verified),
    ("3 lockers x1, 2 kills, 2 recoverers, 1 deadline", Verified),
    ("not needed: DIRTY in the word while locked", Verified),
    ("not needed: W left by recovery", Verified),
    ("slices: recovery is silent", Verified),
    ("mutation SilentRecovery", Stuck),
    ("mutation WakeIfChanged", Stuck),
    ("mutation RecoverToFree", Unsafe),
    ("mutation RecoverAnyOwner", Unsafe),
    ("mutation RecoverWithoutLock", Unsafe),
    ("mutation SleeperDropsW", Stuck),
    ("mutation LeaveAtDeadline", Stuck),
    ("mutation TakeExactWordsOnly", Stuck),
    ("mutation ArmByStore", Unsafe),
    ("mutation SleepWithoutCompare", Stuck),
    ("mutation UnlockWithoutWake", Stuck),
    ("mutation UnlockInTwoSteps", Stuck),
    ("mutation WakeBeforeUnlock", Stuck),
    ("mutation DropForgetsDirty", Unsafe),
    ("control 1 of 6 mutations", Verified),
    ("control 2 of 1 mutations", Verified),
    ("control 3 of 6 mutations", Verified),
    ("control 4 of 1 mutations", Verified),
];

const ATTACH: Table = &[
    ("3 processes x1, no kill", Verified),
    ("2 processes x2, gc, 2 kills", Verified),
    ("2 processes x1, gc, 2 kills, 1 leak", Verified),
    ("3 processes x1, 1 kill, no gc: a name stays", Stuck),
    ("tolerable with gc: DEAD before unlink, 1 kill", Verified),
    ("not needed: a look at DEAD, 1 kill", Verified),
    ("mutation LinkBeforeLocks", Unsafe),
    ("mutation LinkReplaces", Unsafe),
    ("mutation NoLinkCheck", Unsafe),
    ("mutation CheckBeforeGate", Unsafe),
    ("mutation NoGate", Unsafe),
    ("mutation CollectWithoutGate", Unsafe),
    ("mutation NoRestat", Unsafe),
    ("mutation UpgradeInPlace", Stuck),
    ("mutation StateBeforeLock", Unsafe),
    ("mutation SharedDescription", Unsafe),
    ("mutation ProbesItself", Unsafe),
    ("mutation UnlockBeforeFree", Unsafe),
    ("mutation NoSweep", Unsafe),
    ("mutation FreeBeforeSweep", Unsafe),
    ("control 1 of 9 mutations", Verified),
    ("control 2 of 3 mutations", Verified),
    ("control 3 of 1 mutations", Verified),
    ("control 4 of 1 mutations", Verified),
];

const LIFETIME: Table = &[
    ("2 processes, names, 2 kills", Verified),
    ("2 processes, 2 messages, 2 kills", Verified),
    ("2 processes, 2 objects want 1 page, 2 kills", Verified),
    ("2 processes, 2 objects of 2 pages, 2 kills", Verified),
    ("2 processes, at most once, 2 kills", Verified),
    ("2 processes, late ACK, 2 kills", Verified),
    ("2 processes, weak references, names, 1 kill", Verified),
    ("3 processes, 1 kill", Verified),
    ("3 processes, scan looks again, 1 kill", Verified),
    ("3 processes, bits scanned first, 1 kill", Verified),
    ("3 processes, bumps from bits only, names", Verified),
    ("3 processes, bumps from bits only, bits first", Unsafe),
    ("mutation TicketFreedBeforeAck", Unsafe),
    ("mutation AckWithoutReceive", Unsafe),
    ("mutation NoBump", Unsafe),
    ("mutation NoBumpOnEncode", Unsafe),
    ("mutation NoBumpOnDecode", Unsafe),
    ("mutation NoBumpOnOpen", Unsafe),
    ("mutation NoBumpOnName", Unsafe),
    ("mutation BumpBeforeTicket", Unsafe),
    ("mutation BumpBeforeBit", Unsafe),
    ("mutation TicketFreedBeforeBit", Unsafe),
    ("mutation OpenWithoutLock", Unsafe),
    ("mutation LiveBeforeBit", Unsafe),
    ("mutation FreeBeforePages", Unsafe),
    ("mutation NoUndo", Stuck),
    ("mutation NoFence", Stuck),
    ("mutation UpgradeStateFirst", Unsafe),
    ("mutation UpgradeBlind", Unsafe),
    ("mutation UpgradeNoTryFree", Stuck),
    ("mutation SkipFreeing", Unsafe),
    ("mutation SkipCreating", Unsafe),
    ("mutation SkipBits", Unsafe),
    ("mutation SkipTickets", Unsafe),
    ("mutation SkipWriting", Unsafe),
    ("mutation SkipLock", Unsafe),
    ("mutation SweepInFlight", Unsafe),
    ("mutation InFlightFullOnly", Unsafe),
    ("mutation TicketsFirst", Unsafe),
    ("mutation NoBumpByRecovery", Unsafe),
    ("mutation NoTryFree", Stuck),
    ("mutation TryFreeIfBit", Stuck),
    ("mutation FreeBeforeBit", Stuck),
    ("control 1 of 12 mutations", Verified),
    ("control 2 of 7 mutations", Verified),
    ("control 3 of 2 mutations", Verified),
    ("control 4 of 1 mutations", Verified),
    ("control 5 of 2 mutations", Verified),
    ("control 6 of 1 mutations", Verified),
    ("control 7 of 3 mutations", Verified),
    ("control 8 of 2 mutations", Verified),
    ("control 9 of 1 mutations", Verified),
];

const BROADCAST: Table = &[
    ("1 slot, 2+2 messages, 1 kill", Verified),
    ("2 slots, 2+1 messages, 1 kill", Verified),
    ("1 slot, 1+1 messages, 2 kills", Verified),
    ("1 slot, 2+1 messages, W, 1 kill", Verified),
    ("1 slot, 1+1 messages, hints, 1 kill", Verified),
    ("2 slots, 2+1 messages, hints", Verified),
    ("1 slot, 1+1 messages, hints, closed, 1 kill", Verified),
    ("1 slot, 1+1 messages, 2 readers", Verified),
    ("mutation NoClaimFence", Unsafe),
    ("mutation RelaxedCommit", Unsafe),
    ("mutation NoReadFence", Unsafe),
    ("mutation RelaxedFirstLook", Unsafe),
    ("mutation NoSecondLook", Unsafe),
    ("mutation CompareW", Unsafe),
    ("mutation RecoverToFull", Unsafe),
    ("mutation RecoverToOldFull", Unsafe),
    ("mutation NoRecovery", Stuck),
    ("mutation RecoverAnyOwner", Unsafe),
    ("mutation OverwriteWriting", Unsafe),
    ("mutation RelaxedHint", Unsafe),
    ("mutation HintBeforeClaim", Unsafe),
    ("mutation JumpToTail", Unsafe),
    ("mutation ClosedBeforeClaim", Unsafe),
    ("mutation RelaxedClosed", Unsafe),
    ("mutation NoLastLook", Unsafe),
    ("control 1 of 7 mutations", Verified),
    ("control 2 of 1 mutations", Verified),
    ("control 3 of 3 mutations", Verified),
    ("control 4 of 1 mutations", Verified),
    ("control 5 of 2 mutations", Verified),
    ("control 6 of 3 mutations", Verified),
];

const BROADCAST_WAITING: Table = &[
    ("2 writers, 2 readers, 2+1 messages, no kill", Verified),
    ("2 writers, 2 readers, 1+1 messages, 1 kill", Verified),
    ("mutation NoPostFence", Stuck),
    ("mutation NoArmFence", Stuck),
    ("mutation NoSecondLook", Stuck),
    ("mutation SeqAfterLook", Stuck),
    ("mutation ClearAfterWake", Stuck),
    ("mutation WakeOne", Stuck),
    ("mutation LeaverClears", Stuck),
    ("mutation SilentRecovery", Stuck),
    ("control 1 of 4 mutations", Verified),
    ("control 2 of 3 mutations", Verified),
    ("control 3 of 1 mutations", Verified),
];

const BLOCKS: Table = &[
    ("1+1, 2 blocks, 2 queues, 2 kills", Verified),
    ("1+1, 2 blocks, leases, 2 kills", Verified),
    ("1+1, 2 blocks, drop, 2 kills", Verified),
    ("1+1, 2 blocks, drop, leases, 1 kill", Verified),
    ("1+1, 2 blocks, closed, 1 kill", Verified),
    ("1+1, 2 blocks, a queue made anew, 1 kill", Verified),
    ("1+1, a block sent on, 2 kills", Verified),
    ("1+1, 2 blocks, 1 queue of 2, 2 kills", Verified),
    ("2+1, 2 kills", Verified),
    ("1+2, leases, 1 kill", Verified),
    ("2+2, 1 kill", Verified),
    ("not needed: the generation, 1+1, 2 kills", Verified),
    ("not needed if redelivered: queues first", Verified),
    ("mutation SweepInFlight", Unsafe),
    ("mutation InFlightFullOnly", Unsafe),
    ("mutation InFlightAborted", Unsafe),
    ("mutation InFlightNoCell", Unsafe),
    ("mutation CellBeforeSlot", Unsafe),
    ("mutation AckBeforeReceive", Unsafe),
    ("mutation CarrierAfterCommit", Unsafe),
    ("mutation CarrierWithoutQueue", Unsafe),
    ("mutation CarrierWithoutPosition", Unsafe),
    ("mutation BlocksFirst", Unsafe),
    ("mutation DropWithoutReceive", Stuck),
    ("mutation FreeByStore", Unsafe),
    ("mutation ClearUnlooked", Unsafe),
    ("mutation FreeWithCarrier", Unsafe),
    ("mutation ClearBeforeAck", Unsafe),
    ("mutation NoClear", Unsafe),
    ("mutation BitsFirst", Unsafe),
    ("mutation ReleaseUnderLease", Unsafe),
    ("mutation SkipBlocks", Unsafe),
    ("mutation SkipWriting", Unsafe),
    ("mutation SkipReading", Unsafe),
    ("mutation SkipCells", Unsafe),
    ("control 1 of 9 mutations", Verified),
    ("control 2 of 1 mutations", Verified),
    ("control 3 of 1 mutations", Verified),
    ("control 4 of 4 mutations", Verified),
    ("control 5 of 2 mutations", Verified),
    ("control 6 of 2 mutations", Verified),
    ("control 7 of 1 mutations", Verified),
    ("control 8 of 2 mutations", Verified),
];

const BLOCKWAIT: Table = &[
    ("3 users x2, 1 block, no kill", Verified),
    ("3 users x1, 1 block, 2 deadlines, no kill", Verified),
    ("3 users x1, 2 blocks, 1 deadline, no kill", Verified),
    ("3 users x1, 1 block, 2 kills, 1 deadline", Verified),
    ("mutation NoPostFence", Stuck),
    ("mutation NoArmFence", Stuck),
    ("mutation NoSecondLook", Stuck),
    ("mutation SeqAfterLook", Stuck),
    ("mutation ClearAfterBump", Stuck),
    ("mutation NoPass", Stuck),
    ("mutation LeaveAtDeadline", Stuck),
    ("mutation PassWithoutArm", Stuck),
    ("mutation LeaverDisarms", Stuck),
    ("mutation SilentRecovery", Stuck),
    ("control 1 of 8 mutations", Verified),
    ("control 2 of 1 mutations", Verified),
    ("control 3 of 1 mutations", Verified),
];

const UNBOUNDED: Table = &[
    ("1P1C x9", Verified),
    ("1P1C x5, 1 kill", Verified),
    ("2P1C x2", Verified),
    ("1P2C x4", Verified),
    ("mutation PunchStores", Unsafe),
    ("mutation PunchDespiteW", Stuck),
    ("mutation OpenOverwrites", Unsafe),
    ("mutation OpenLapOfPosition", Unsafe),
    ("mutation PositionsFromZero", Stuck),
    ("mutation NoLock", Unsafe),
    ("mutation LapAfterZero", Unsafe),
    ("mutation PunchBeforeAbsent", Unsafe),
    ("mutation PresentBeforeMemory", Unsafe),
    ("mutation LapStays", Unsafe),
    ("mutation LookOnce", Unsafe),
    ("mutation SleepAtHole", Stuck),
    ("mutation LockNotRecovered", Stuck),
    ("control 1 of 5 mutations", Verified),
    ("control 2 of 1 mutations", Verified),
    ("control 3 of 5 mutations", Verified),
    ("control 4 of 2 mutations", Verified),
];

const MPSC: Table = &[
    ("2 producers x2, 2 lanes, all stay, no kill", Verified),
    ("2 producers x2, 1 lane, 1 kill", Verified),
    ("1 producer x1, 2 lanes, 2 kills, 1 close", Verified),
    ("1 producer and 1 clone, 2 lanes, 1 kill", Verified),
    ("mutation TakeAsEmpty", Unsafe),
    ("mutation PostToOwnLine", Stuck),
    ("mutation ArmAfterLook", Stuck),
    ("mutation LookAtOneLane", Stuck),
    ("mutation ClearAfterWake", Stuck),
    ("mutation SilentRecovery", Stuck),
    ("mutation RoleStaysHeld", Stuck),
    ("mutation SilentClose", Stuck),
    ("mutation OneCensus", Unsafe),
    ("mutation CensusBeforeTaking", Unsafe),
    ("mutation CensusAfterCommit", Unsafe),
    ("mutation NoLastLook", Unsafe),
    ("mutation NoFlag", Unsafe),
    ("mutation FlagOneLane", Unsafe),
    ("mutation CloseForgetsFlag", Unsafe),
    ("mutation AckBeforeRead", Unsafe),
    ("control 1 of 1 mutations", Verified),
    ("control 2 of 4 mutations", Verified),
    ("control 3 of 1 mutations", Verified),
    ("control 4 of 3 mutations", Verified),
    ("control 5 of 3 mutations", Verified),
    ("control 6 of 2 mutations", Verified),
    ("control 7 of 1 mutations", Verified),
    ("control 8 of 1 mutations", Verified),
];

fn check(model: &str, table: Table) {
    let cases: Vec<_> = cases(Depth::Default).into_iter().filter(|case| case.model == model).collect();
    let kind = |expect| match expect {
        Expect::Verified => Verified,
        Expect::Unsafe(_) => Unsafe,
        Expect::Stuck => Stuck,
    };
    let listed: Vec<_> = cases.iter().map(|case| (case.configuration.as_str(), kind(case.expect))).collect();
    assert_eq!(listed, table, "the model {model} and this table disagree about what there is");
    let mut wrong = Vec::new();
    for case in &cases {
        let row = case.run();
        println!("{row}");
        if !row.is_as_expected() {
            wrong.push(format!("{row}\n    expected {:?}\n    {}", row.expect, row.trace().join("\n    ")));
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows are wrong:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn lane() {
    check("lane", LANE);
}

#[test]
fn mutex() {
    check("mutex", MUTEX);
}

#[test]
fn attach() {
    check("attach", ATTACH);
}

#[test]
fn lifetime() {
    check("lifetime", LIFETIME);
}

#[test]
fn broadcast() {
    check("broadcast", BROADCAST);
    check("bcastwait", BROADCAST_WAITING);
}

#[test]
fn blocks() {
    check("blocks", BLOCKS);
}

#[test]
fn blockwait() {
    check("blockwait", BLOCKWAIT);
}

#[test]
fn mpsc() {
    check("mpsc", MPSC);
}

#[test]
fn ring() {
    check("ring", tables::RING);
}

#[test]
fn leases() {
    check("leases", tables::LEASES);
}

#[test]
fn unbounded() {
    check("unbounded", UNBOUNDED);
}

#[test]
fn waiting() {
    check("waiting", tables::WAITING);
}

#[test]
fn bells() {
    check("bells", sync::BELLS);
}

#[test]
fn permits() {
    check("permits", sync::PERMITS);
}

#[test]
fn gate() {
    check("gate", sync::GATE);
}

#[test]
fn waiters() {
    check("waiters", sync::WAITERS);
}

#[test]
fn barrier() {
    check("barrier", sync::BARRIER);
}

#[test]
fn rwlock() {
    check("rwlock", sync::RWLOCK);
}

#[test]
fn detect() {
    check("detect", sync::DETECT);
}

#[test]
fn store() {
    check("store", store::STORE);
}

#[test]
fn storewait() {
    check("storewait", store::STORE_WAITING);
}

#[test]
fn board() {
    check("board", process::BOARD);
}

#[test]
fn record() {
    check("record", process::RECORD);
}

#[test]
fn spare() {
    check("spare", process::SPARE);
}

#[test]
fn moving() {
    check("moving", moving::MOVING);
}

#[test]
fn pool() {
    check("pool", pool::POOL);
}

#[test]
fn the_deep_set_contains_the_default_one() {
    let deep: Vec<_> = cases(Depth::Deep).into_iter().map(|case| (case.model, case.configuration)).collect();
    for case in cases(Depth::Default) {
        assert!(deep.contains(&(case.model, case.configuration.clone())), "{case:?}");
    }
    let names = deep.iter().collect::<std::collections::HashSet<_>>();
    assert_eq!(names.len(), deep.len(), "two rows of one name cannot be told apart");
}
