//! What an actor is going to store, one word a step.
//!
//! Whoever holds a lock is the only one that changes what it protects, so the whole of an operation is known when it
//! begins: it is computed at once, on a copy of the words, and carried out one store a step, with everybody else's
//! steps between. A plan is kept once, as a chain from its first store to its last, and a state holds the number of
//! what is left of it. So states stay small, and two that have the same stores before them are the same.

use std::cell::RefCell;
use std::collections::HashMap;

/// What the checks learn from a store.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Commits {
    Nothing,
    /// A key has this value from now on; 0 is none.
    Key(u8, u8),
    Keys([(u8, u8); 2]),
    /// These keys are gone, one bit each.
    Clear(u8),
    /// The list is this one from now on.
    List([u8; super::LONGEST]),
}

/// One store.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Put {
    pub(super) what: &'static str,
    pub(super) place: u8,
    pub(super) value: u8,
    /// The next word gets the same value by the same store.
    pub(super) twin: bool,
    pub(super) commits: Commits,
}

#[derive(Default)]
struct Plans {
    steps: Vec<(Put, u32)>,
    known: HashMap<(Put, u32), u32>,
}

thread_local! {
    static PLANS: RefCell<Plans> = RefCell::default();
}

/// The number of a plan. An empty one has 0.
pub(super) fn keep(plan: &[Put]) -> u32 {
    PLANS.with_borrow_mut(|plans| {
        plan.iter().rev().fold(0, |next, put| {
            if let Some(known) = plans.known.get(&(*put, next)) {
                return *known;
            }
            plans.steps.push((*put, next));
            let number = plans.steps.len() as u32;
            plans.known.insert((*put, next), number);
            number
        })
    })
}

/// The first store of a plan that is not empty, and the number of the rest.
pub(super) fn first(plan: u32) -> (Put, u32) {
    PLANS.with_borrow(|plans| plans.steps[plan as usize - 1])
}
