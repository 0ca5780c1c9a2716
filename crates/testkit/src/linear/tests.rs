//! Histories that a queue may have, and each kind that it may not.

use super::What::*;
use super::*;

/// One operation: who, from, to, what.
const fn op(who: u8, called: u64, end: u64, what: What) -> Op {
    Op { who, what, called, end }
}

const fn pop(value: u64) -> What {
    Pop { value, again: Some(false) }
}

const fn again(value: u64) -> What {
    Pop { value, again: Some(true) }
}

/// Operations one after the other, by one.
fn sequence(whats: &[What]) -> Vec<Op> {
    let ops = whats.iter().enumerate();
    ops.map(|(at, what)| op(0, 10 * at as u64, 10 * at as u64 + 5, *what)).collect()
}

#[track_caller]
fn allowed(capacity: usize, history: &[Op]) {
    assert_eq!(check(capacity, Rules::InProgress, history), Ok(()));
}

#[track_caller]
fn refused(capacity: usize, history: &[Op]) {
    assert!(!is_linearizable(capacity, Rules::InProgress, history), "{history:?}");
    assert!(!is_linearizable(capacity, Rules::Strict, history), "strict: {history:?}");
}

/// Allowed only because an operation has two steps.
#[track_caller]
fn excused(capacity: usize, history: &[Op]) {
    allowed(capacity, history);
    assert!(!is_linearizable(capacity, Rules::Strict, history), "strict: {history:?}");
}

#[test]
fn one_after_the_other_it_is_a_queue() {
    allowed(2, &sequence(&[Empty, Push(1), Push(2), Full, pop(1), Push(3), pop(2), pop(3), Empty]));
    assert!(is_linearizable(1, Rules::Strict, &sequence(&[Push(1), Full, pop(1), Empty, Push(2)])));
    allowed(1, &[]);
}

#[test]
fn a_lost_message_is_refused() {
    refused(2, &sequence(&[Push(1), Empty]));
    refused(2, &sequence(&[Push(1), Push(2), pop(2)]));
    refused(2, &sequence(&[Push(1), Push(2), pop(2), Empty]));
}

#[test]
fn a_duplicate_and_an_invention_are_refused() {
    refused(2, &sequence(&[Push(1), pop(1), pop(1)]));
    refused(2, &sequence(&[Push(1), pop(1), again(1)]));
    refused(2, &sequence(&[pop(1)]));
    refused(2, &sequence(&[pop(1), Push(1)]));
    refused(2, &[op(0, 0, 9, Push(1)), op(1, 0, 9, pop(1)), op(2, 0, 9, pop(1))]);
}

#[test]
fn another_order_is_refused_unless_the_sends_overlap() {
    refused(4, &sequence(&[Push(1), Push(2), pop(2), pop(1)]));
    let sends = [op(0, 0, 6, Push(1)), op(1, 5, 9, Push(2))];
    allowed(4, &[sends[0], sends[1], op(0, 10, 11, pop(2)), op(0, 12, 13, pop(1))]);
    let sends = [op(0, 0, 4, Push(1)), op(1, 5, 9, Push(2))];
    refused(4, &[sends[0], sends[1], op(0, 10, 11, pop(2)), op(0, 12, 13, pop(1))]);
}

#[test]
fn more_than_the_capacity_is_refused() {
    refused(2, &sequence(&[Push(1), Push(2), Push(3)]));
    refused(1, &[op(0, 0, 4, Push(1)), op(1, 2, 8, Push(2)), op(2, 10, 11, pop(1))]);
}

#[test]
fn full_is_refused_where_there_was_room_all_the_time() {
    refused(2, &sequence(&[Push(1), Full]));
    refused(1, &sequence(&[Push(1), pop(1), Full]));
    allowed(2, &[op(0, 0, 5, Push(1)), op(1, 0, 5, Push(2)), op(2, 4, 5, Full)]);
    // A consumer has the oldest of two places in hand; the newer one is free.
    excused(
        2,
        &[
            op(0, 0, 1, Push(1)),
            op(0, 2, 3, Push(2)),
            op(1, 4, 50, pop(1)),
            op(2, 6, 7, pop(2)),
            op(0, 8, 9, Full),
        ],
    );
    refused(
        2,
        &[
            op(0, 0, 1, Push(1)),
            op(0, 2, 3, Push(2)),
            op(1, 4, 5, pop(1)),
            op(2, 6, 50, pop(2)),
            op(0, 8, 9, Full),
        ],
    );
}

#[test]
fn empty_is_refused_where_there_was_something_all_the_time() {
    refused(4, &[op(0, 0, 1, Push(1)), op(1, 2, 3, Empty), op(0, 5, 6, pop(1))]);
    allowed(4, &[op(0, 0, 3, Push(1)), op(1, 2, 4, Empty), op(0, 5, 6, pop(1))]);
    // One producer is in the middle of the next message; the one behind it is there.
    let behind = [op(0, 0, 50, Push(1)), op(1, 2, 3, Push(2)), op(2, 4, 5, Empty)];
    excused(4, &[behind[0], behind[1], behind[2], op(2, 60, 61, pop(1)), op(2, 62, 63, pop(2))]);
    // Were it so, then the other message would be the first.
    refused(4, &[behind[0], behind[1], behind[2], op(2, 60, 61, pop(2)), op(2, 62, 63, pop(1))]);
}

#[test]
fn of_two_pops_one_gets_the_message() {
    let pops = [op(1, 2, 9, Empty), op(2, 3, 8, pop(1))];
    allowed(1, &[op(0, 0, 1, Push(1)), pops[0], pops[1]]);
    refused(1, &[op(0, 0, 1, Push(1)), op(1, 2, 9, Empty), op(2, 3, 8, Empty)]);
}

#[test]
fn a_killed_send_may_or_may_not_have_happened() {
    let killed = [op(1, 0, 9, KilledPush(1)), op(1, 9, 12, Death)];
    allowed(1, &[killed[0], killed[1], op(0, 20, 21, Empty)]);
    allowed(1, &[killed[0], killed[1], op(0, 20, 21, pop(1)), op(0, 30, 31, Empty)]);
    refused(1, &[killed[0], killed[1], op(0, 20, 21, pop(1)), op(0, 30, 31, pop(1))]);
    // The place it had may be full of nothing, until a consumer has looked.
    allowed(1, &[killed[0], killed[1], op(0, 20, 21, Full), op(0, 30, 31, Empty), op(0, 40, 41, Push(2))]);
    refused(1, &[killed[0], killed[1], op(0, 30, 31, Empty), op(0, 40, 41, Full)]);
    // Its message comes at its place or not at all.
    let others = [op(0, 20, 21, Push(2)), op(0, 30, 31, pop(2)), op(0, 40, 41, pop(1))];
    refused(2, &[&killed[..], &others].concat());
}

#[test]
fn what_was_seen_of_a_killed_send_stays() {
    let killed = [op(1, 0, 9, KilledPush(1)), op(1, 9, 12, Death)];
    refused(2, &[killed[0], killed[1], op(0, 20, 21, Empty), op(0, 30, 31, pop(1))]);
    // Before the recovery others see it in the middle; after it, it is nothing or whole.
    excused(
        2,
        &[
            op(1, 0, 9, KilledPush(1)),
            op(1, 9, 40, Death),
            op(0, 10, 11, Push(2)),
            op(0, 20, 21, Empty),
            op(0, 50, 51, pop(2)),
        ],
    );
    refused(2, &[killed[0], killed[1], op(0, 20, 21, Push(2)), op(0, 22, 23, Empty)]);
}

#[test]
fn a_killed_receive_may_take_along_what_was_given_back() {
    let given_back = [
        op(0, 0, 1, Push(1)),
        op(0, 2, 3, Lease { value: 1, again: Some(false) }),
        op(0, 4, 5, Nack(1)),
        op(1, 6, 9, KilledPop),
        op(1, 9, 12, Death),
    ];
    let then = |rest: &[Op]| given_back.iter().chain(rest).copied().collect::<Vec<_>>();
    allowed(1, &then(&[op(0, 20, 21, Empty)]));
    allowed(1, &then(&[op(0, 20, 21, again(1)), op(0, 22, 23, Empty)]));
    refused(1, &then(&[op(0, 20, 21, again(1)), op(0, 22, 23, again(1))]));
}

#[test]
fn a_killed_receive_takes_its_message_along_or_it_comes_again_flagged() {
    let start = [op(0, 0, 1, Push(1)), op(1, 2, 9, KilledPop), op(1, 9, 12, Death)];
    let then = |whats: &[What]| -> Vec<Op> {
        let ops = whats.iter().enumerate().map(|(at, what)| {
            let at = 20 + 10 * at as u64;
            op(0, at, at + 5, *what)
        });
        start.into_iter().chain(ops).collect()
    };
    for rest in [&[Empty][..], &[again(1), Empty], &[pop(1), Empty]] {
        allowed(1, &then(rest));
    }
    for rest in [&[again(1), again(1)][..], &[pop(1), again(1)], &[Empty, pop(1)], &[Empty, again(1)]] {
        refused(1, &then(rest));
    }
    let unsaid = Pop { value: 1, again: None };
    allowed(1, &then(&[unsaid, Empty]));
    // What comes back may be overtaken, but is not lost, and is flagged.
    let two = |whats: &[What]| [&[op(0, 0, 0, Push(1))], &then(whats)[1..]].concat();
    allowed(2, &two(&[Push(2), pop(2), again(1)]));
    refused(2, &two(&[Push(2), pop(2), pop(1)]));
}

#[test]
fn a_lease_of_the_dead_comes_again() {
    let leased = Lease { value: 1, again: Some(false) };
    let start = [op(0, 0, 1, Push(1)), op(1, 2, 3, leased)];
    let held = [&start[..], &[op(1, 9, 12, Death)]].concat();
    allowed(1, &[&held[..], &[op(0, 20, 21, again(1))]].concat());
    refused(1, &[&held[..], &[op(0, 20, 21, Empty)]].concat());
    refused(1, &[&held[..], &[op(0, 20, 21, pop(1))]].concat());
    let acked = [&start[..], &[op(1, 4, 9, KilledAck(1)), op(1, 9, 12, Death)]].concat();
    allowed(1, &[&acked[..], &[op(0, 20, 21, Empty)]].concat());
    allowed(1, &[&acked[..], &[op(0, 20, 21, again(1))]].concat());
    let given_back = [&start[..], &[op(1, 4, 9, KilledNack(1)), op(1, 9, 12, Death)]].concat();
    refused(1, &[&given_back[..], &[op(0, 20, 21, Empty)]].concat());
    // Nobody has put the ring in order yet.
    allowed(1, &[&start[..], &[op(1, 9, 40, Death), op(0, 20, 21, Empty)]].concat());
}

#[test]
fn a_lease_leaves_its_place_and_ends_once() {
    let leased = |value, again| Lease { value, again: Some(again) };
    allowed(1, &sequence(&[Push(1), leased(1, false), Push(2), Full, pop(2), Nack(1), again(1), Empty]));
    allowed(1, &sequence(&[Push(1), leased(1, false), Nack(1), leased(1, true), Ack(1), Empty]));
    refused(1, &sequence(&[Push(1), leased(1, false), Empty, again(1)]));
    refused(1, &sequence(&[Push(1), leased(1, false), Nack(1), Empty]));
    refused(1, &sequence(&[Push(1), leased(1, false), Ack(1), again(1)]));
    refused(1, &sequence(&[Push(1), leased(1, false), Nack(1), leased(1, false)]));
}

#[test]
fn a_refusal_shows_the_history() {
    let text = check(1, Rules::Strict, &sequence(&[Push(7), Empty])).expect_err("it is lost");
    assert!(text.contains("Push(7)") && text.contains("Empty"), "{text}");
}

#[test]
fn long_histories_with_little_overlap_are_quick() {
    let mut history = Vec::new();
    for at in 0..200_u64 {
        history.push(op(0, 10 * at, 10 * at + 6, Push(at)));
        history.push(op(1, 10 * at + 4, 10 * at + 9, pop(at)));
        history.push(op(2, 10 * at + 5, 10 * at + 9, Empty));
    }
    allowed(1, &history);
}
