//! The configurations of the model of the board, and its mutations, with what must come out.

use super::super::super::{Case, Depth, Expect, with_controls};
use super::{Board, Bug};

/// One thread that asks once, and two zygotes.
const SMALL: Board = Board {
    threads: 1,
    cells: 1,
    wants: 1,
    daemons: false,
    zygotes: 2,
    zygote_kills: 0,
    child_kills: 0,
    kill_starter: false,
    failures: 0,
    cancels: 0,
    lost: 0,
    bug: Bug::None,
};

/// Every case of this model.
pub(in super::super) fn cases(depth: Depth) -> Vec<Case> {
    let mut cases = configurations(depth);
    let without = |model| Board { bug: Bug::None, ..model };
    cases.extend(with_controls("board", depth, MUTATIONS, |model| format!("{:?}", model.bug), without));
    cases
}

fn configurations(depth: Depth) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |what: &str, expect, model| cases.push(Case::new("board", what, expect, depth, model));
    let two = Board { threads: 2, cells: 2, ..SMALL };
    let right = Expect::Verified;
    add("2 threads x2, 1 cell, no kill", right, Board { wants: 2, cells: 1, ..two });
    add("1 thread x2, 2 zygote kills, 1 child kill", right, Board { wants: 2, zygotes: 3, ..killed(2, 1) });
    add("2 threads, 2 cells, 1 zygote kill", right, Board { zygote_kills: 1, ..two });
    add("2 threads, 1 cell, 2 kills, the last zygote", right, Board { zygote_kills: 2, cells: 1, ..two });
    let cancels = Board { cancels: 1, failures: 1, ..killed(1, 1) };
    add("1 thread x2, 1 zygote kill, cancel, clone fails", right, Board { wants: 2, ..cancels });
    add(
        "2 threads, 1 cell, 1 zygote kill, 1 cancel",
        right,
        Board { cancels: 1, zygote_kills: 1, cells: 1, ..two },
    );
    add(
        "daemons, the starter killed, 1 zygote kill",
        right,
        Board { daemons: true, kill_starter: true, ..killed(1, 0) },
    );
    add("no daemons, the starter killed, 1 zygote kill", right, Board { kill_starter: true, ..killed(1, 1) });
    add("2 daemons, the starter killed", right, Board { daemons: true, kill_starter: true, ..two });
    add(
        "not needed: posix_spawn, no pid: REQUESTED again",
        right,
        Board { bug: Bug::AskAgain, zygote_kills: 1, ..two },
    );
    add("a kernel loses a pid: the body runs once", right, Board { lost: 1, wants: 2, ..SMALL });
    add("draft Scan, 1 zygote kill", NEVER, Board { bug: Bug::Scan, ..killed(1, 0) });
    let record = |child_kills| Board { bug: Bug::ScanRecord, ..killed(1, child_kills) };
    add("draft ScanRecord, 1 zygote kill", right, record(0));
    add("draft ScanRecord, 1 zygote kill, 1 child kill", Expect::Stuck, record(1));
    if depth == Depth::Deep {
        add(
            "2 threads, 2 cells, 1 zygote kill, 1 child kill",
            right,
            Board { zygote_kills: 1, child_kills: 1, ..two },
        );
        add(
            "2 threads, 2 kills each, 1 cancel, 1 failure",
            right,
            Board { zygotes: 3, zygote_kills: 2, child_kills: 2, cancels: 1, failures: 1, ..two },
        );
        add(
            "2 threads x2, 1 zygote kill, 1 cancel",
            right,
            Board { wants: 2, zygote_kills: 1, cancels: 1, ..two },
        );
    }
    cases
}

const fn killed(zygote_kills: u8, child_kills: u8) -> Board {
    Board { zygote_kills, child_kills, ..SMALL }
}

const fn kill(bug: Bug) -> Board {
    Board { bug, ..killed(1, 0) }
}

const fn orphan(bug: Bug) -> Board {
    Board { bug, daemons: true, kill_starter: true, ..SMALL }
}

const STRANGER: Expect = Expect::Unsafe("the pid of somebody else");
const TWICE: Expect = Expect::Unsafe("a body ran twice");
const CANCELLED: Expect = Expect::Unsafe("a cancelled body ran");
const NEVER: Expect = Expect::Unsafe("the body never ran");

/// Each mistake in a configuration that is right without it, and shows it.
const MUTATIONS: &[(Expect, Board)] = &[
    (NEVER, kill(Bug::PidByZygote)),
    (STRANGER, Board { wants: 2, ..kill(Bug::PidStays) }),
    (STRANGER, Board { threads: 2, bug: Bug::ChildReadsCell, ..SMALL }),
    (NEVER, kill(Bug::SweepBeforeDeath)),
    (NEVER, kill(Bug::RepeatCloned)),
    (CANCELLED, Board { cancels: 1, bug: Bug::StartByStore, ..SMALL }),
    (TWICE, Board { lost: 1, bug: Bug::StartTwice, ..SMALL }),
    (CANCELLED, Board { cancels: 1, bug: Bug::CancelByStore, ..SMALL }),
    (Expect::Stuck, Board { bug: Bug::CountAfterScan, ..SMALL }),
    (Expect::Stuck, Board { bug: Bug::AnswerWithoutWake, ..SMALL }),
    (Expect::Stuck, kill(Bug::SweepWithoutWake)),
    (Expect::Stuck, kill(Bug::AnsweredNotWoken)),
    (Expect::Stuck, Board { zygotes: 1, ..kill(Bug::AskBeforeLock) }),
    (Expect::Stuck, Board { zygotes: 1, ..kill(Bug::SweepLeavesRequested) }),
    (Expect::Stuck, Board { child_kills: 1, bug: Bug::WaitForRecord, ..SMALL }),
    (Expect::Stuck, Board { cancels: 1, bug: Bug::ForgetCell, ..SMALL }),
    (Expect::Stuck, orphan(Bug::NoCheck)),
    (Expect::Stuck, orphan(Bug::CheckBeforeArm)),
    (Expect::Stuck, kill(Bug::ZygoteNotReaped)),
];
