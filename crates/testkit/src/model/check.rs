//! The explorer: walks every reachable state of a [`Model`], breadth first, and passes a [`Verdict`].
//!
//! Breadth first means that the first violation found has a shortest trace. States are kept once, in the
//! order of discovery, and addressed by a 32-bit number; an open-addressing table of those numbers finds a
//! state again. After the walk the edges are followed backwards from every goal state; whatever was not
//! reached that way can never reach a goal any more, and is called stuck.
//!
//! One call runs on one thread and allocates; nothing here blocks, and nothing touches shared memory.

use std::fmt;
use std::hash::{Hash, Hasher};

/// Who takes a step, for the lines of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A process that takes part in the protocol.
    Process(usize),
    /// Whoever repairs after a death.
    Recoverer(usize),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Process(k) => write!(f, "process {k}"),
            Who::Recoverer(k) => write!(f, "recoverer {k}"),
        }
    }
}

/// A transition system over small states.
pub trait Model {
    /// One state of everything: shared memory, every actor's private variables, and what the checks need to
    /// know.
    type State: Copy + Eq + Hash + fmt::Debug;

    /// Where every run begins.
    fn initial(&self) -> Self::State;

    /// Adds every step that some actor can take in `state`: program steps, kills, repairs, ends of waits.
    fn steps(&self, state: &Self::State, out: &mut Steps<Self::State>);

    /// What must hold in every reachable state; the error says what was broken.
    fn invariant(&self, state: &Self::State) -> Result<(), String>;

    /// Whether everything is done and nothing is left behind. Such a state must stay reachable for ever.
    fn goal(&self, state: &Self::State) -> bool;
}

/// Collects the steps out of one state.
#[derive(Debug)]
pub struct Steps<S> {
    next: Vec<(Who, &'static str, S)>,
    violation: Option<String>,
}

impl<S> Steps<S> {
    fn new() -> Self {
        Steps { next: Vec::new(), violation: None }
    }

    /// `who` can do `what`, and everything is then as in `state`.
    pub fn add(&mut self, who: Who, what: &'static str, state: S) {
        self.next.push((who, what, state));
    }

    /// `who` is about to do `what`, and that alone already breaks the protocol.
    pub fn violation(&mut self, who: Who, what: &'static str, why: &str) {
        self.violation.get_or_insert_with(|| format!("{who}, {what}: {why}"));
    }
}

/// What the explorer found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every reachable state keeps the invariant and can still reach a goal.
    Verified {
        /// Number of distinct states.
        states: usize,
    },
    /// A reachable state breaks the invariant, or a step is itself a violation.
    Unsafe {
        /// What was broken.
        why: String,
        /// A shortest way there, one line a step, then the state.
        trace: Vec<String>,
    },
    /// Some reachable states can never reach a goal: a lost wake-up, a leak, a deadlock.
    Stuck {
        /// How many such states there are.
        count: usize,
        /// A shortest way to one of them; to one without any step, if there is one.
        trace: Vec<String>,
    },
    /// The limit on states was reached before the end; nothing is known.
    TooBig,
}

/// A verdict with the size of the search.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Distinct states seen.
    pub states: usize,
    /// Steps between them.
    pub transitions: usize,
    /// What was found.
    pub verdict: Verdict,
}

/// Explores `model` up to `limit` states.
pub fn explore<M: Model>(model: &M, limit: usize) -> Outcome {
    let mut seen = Seen::new();
    let mut graph = Graph::default();
    seen.insert(model.initial(), ROOT);
    let mut steps = Steps::new();
    let mut at = 0;
    while at < seen.states.len() {
        let state = seen.states[at];
        steps.next.clear();
        model.steps(&state, &mut steps);
        let broken = steps.violation.take().or_else(|| model.invariant(&state).err());
        if let Some(why) = broken {
            return graph.outcome(&seen, Verdict::Unsafe { why, trace: trace(model, &seen, at) });
        }
        if seen.states.len() > limit {
            return graph.outcome(&seen, Verdict::TooBig);
        }
        for (_, _, next) in &steps.next {
            graph.targets.push(seen.insert(*next, at as u32));
        }
        graph.end_row(model.goal(&state));
        at += 1;
    }
    let stuck = graph.cannot_reach_a_goal();
    let verdict = match graph.example(&stuck) {
        None => Verdict::Verified { states: at },
        Some(example) => Verdict::Stuck {
            count: stuck.iter().filter(|stuck| **stuck).count(),
            trace: trace(model, &seen, example),
        },
    };
    graph.outcome(&seen, verdict)
}

/// The steps on the shortest way to state number `to`, and that state.
fn trace<M: Model>(model: &M, seen: &Seen<M::State>, to: usize) -> Vec<String> {
    let mut path = vec![to];
    let mut at = to;
    while seen.parents[at] != ROOT {
        at = seen.parents[at] as usize;
        path.push(at);
    }
    path.reverse();
    let mut lines = Vec::with_capacity(path.len());
    for pair in path.windows(2) {
        let mut steps = Steps::new();
        model.steps(&seen.states[pair[0]], &mut steps);
        let goal = seen.states[pair[1]];
        let step = steps.next.iter().find(|(_, _, next)| *next == goal);
        lines.extend(step.map(|(who, what, _)| format!("{who}: {what}")));
    }
    lines.push(format!("{:?}", seen.states[to]));
    lines
}

/// Steps between numbered states, row after row, and which rows are goals.
#[derive(Default)]
struct Graph {
    targets: Vec<u32>,
    ends: Vec<usize>,
    goals: Vec<u32>,
}

impl Graph {
    fn end_row(&mut self, is_goal: bool) {
        if is_goal {
            self.goals.push(self.ends.len() as u32);
        }
        self.ends.push(self.targets.len());
    }

    fn row(&self, at: usize) -> &[u32] {
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.targets[start..self.ends[at]]
    }

    /// One flag a state, by walking the edges backwards from the goals.
    fn cannot_reach_a_goal(&self) -> Vec<bool> {
        let count = self.ends.len();
        // Counting sort by target: sources[first[b]..first[b + 1]] are the states with a step to b.
        let mut first = vec![0usize; count + 1];
        for target in &self.targets {
            first[*target as usize + 1] += 1;
        }
        for at in 0..count {
            first[at + 1] += first[at];
        }
        let mut free = first.clone();
        let mut sources = vec![0u32; self.targets.len()];
        for at in 0..count {
            for target in self.row(at) {
                let place = &mut free[*target as usize];
                sources[*place] = at as u32;
                *place += 1;
            }
        }
        let mut stuck = vec![true; count];
        let mut work = self.goals.clone();
        for goal in &self.goals {
            stuck[*goal as usize] = false;
        }
        while let Some(at) = work.pop() {
            for source in &sources[first[at as usize]..first[at as usize + 1]] {
                if std::mem::replace(&mut stuck[*source as usize], false) {
                    work.push(*source);
                }
            }
        }
        stuck
    }

    /// The stuck state that is best to show: one that nothing leads out of, else the first found.
    fn example(&self, stuck: &[bool]) -> Option<usize> {
        let dead_end = |at: usize| self.row(at).iter().all(|target| *target as usize == at);
        let mut all = (0..stuck.len()).filter(|at| stuck[*at]);
        let first = all.next()?;
        Some(std::iter::once(first).chain(all).find(|at| dead_end(*at)).unwrap_or(first))
    }

    fn outcome<S>(&self, seen: &Seen<S>, verdict: Verdict) -> Outcome {
        Outcome { states: seen.states.len(), transitions: self.targets.len(), verdict }
    }
}

/// The parent of the initial state, and an empty place in the table.
const ROOT: u32 = u32::MAX;

/// Every state met so far, in order, and how it was first reached.
struct Seen<S> {
    states: Vec<S>,
    parents: Vec<u32>,
    table: Vec<u32>,
}

impl<S: Copy + Eq + Hash> Seen<S> {
    fn new() -> Self {
        Seen { states: Vec::new(), parents: Vec::new(), table: vec![ROOT; 1 << 12] }
    }

    /// The number of `state`, which is new if it was never met before.
    fn insert(&mut self, state: S, parent: u32) -> u32 {
        let place = self.place(&state);
        if self.table[place] != ROOT {
            return self.table[place];
        }
        let number = self.states.len() as u32;
        self.table[place] = number;
        self.states.push(state);
        self.parents.push(parent);
        if self.states.len() * 2 > self.table.len() {
            self.grow();
        }
        number
    }

    /// Where in the table `state` is, or belongs.
    fn place(&self, state: &S) -> usize {
        let mut hasher = Mix(0);
        state.hash(&mut hasher);
        let mask = self.table.len() - 1;
        let mut place = hasher.finish() as usize & mask;
        while self.table[place] != ROOT && self.states[self.table[place] as usize] != *state {
            place = (place + 1) & mask;
        }
        place
    }

    fn grow(&mut self) {
        self.table = vec![ROOT; self.table.len() * 2];
        for number in 0..self.states.len() {
            let place = self.place(&self.states[number]);
            self.table[place] = number as u32;
        }
    }
}

/// A hash for small fields: multiply by an odd constant, fold the high half down. Speed is all that matters
/// here, because equal states are found by comparing them.
struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        let product = u128::from(self.0 ^ value ^ 0x9e6c_63d0_876a_8b4d) * 0xda94_2042_e4dd_58b5;
        self.0 = (product as u64) ^ ((product >> 64) as u64).rotate_left(23);
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u64(value as u64);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two processes add one to a counter by load and store, under a lock that each may forget to take or to
    /// leave.
    struct Counter {
        takes_lock: bool,
        leaves_lock: bool,
    }

    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    struct CounterState {
        counter: u8,
        holder: Option<u8>,
        step: [u8; 2],
        loaded: [u8; 2],
    }

    impl Model for Counter {
        type State = CounterState;

        fn initial(&self) -> CounterState {
            CounterState::default()
        }

        fn steps(&self, state: &CounterState, out: &mut Steps<CounterState>) {
            for k in 0..2 {
                let mut next = *state;
                next.step[k] += 1;
                let what = match state.step[k] {
                    0 if !self.takes_lock => "does not lock",
                    0 if state.holder.is_none() => {
                        next.holder = Some(k as u8);
                        "lock"
                    }
                    1 => {
                        next.loaded[k] = state.counter;
                        "load"
                    }
                    2 => {
                        next.counter = state.loaded[k] + 1;
                        "store"
                    }
                    3 => {
                        next.holder = next.holder.filter(|_| !self.leaves_lock);
                        "unlock"
                    }
                    _ => continue,
                };
                out.add(Who::Process(k), what, next);
            }
        }

        fn invariant(&self, state: &CounterState) -> Result<(), String> {
            let done = state.step == [4, 4];
            if done && state.counter != 2 { Err("an increment was lost".into()) } else { Ok(()) }
        }

        fn goal(&self, state: &CounterState) -> bool {
            state.step == [4, 4]
        }
    }

    #[test]
    fn a_right_lock_is_verified() {
        let outcome = explore(&Counter { takes_lock: true, leaves_lock: true }, 1000);
        assert_eq!(outcome.verdict, Verdict::Verified { states: outcome.states });
        assert!(outcome.transitions >= outcome.states - 1);
    }

    #[test]
    fn a_lost_increment_is_unsafe_with_a_shortest_trace() {
        let outcome = explore(&Counter { takes_lock: false, leaves_lock: true }, 1000);
        let Verdict::Unsafe { why, trace } = outcome.verdict else { panic!("{outcome:?}") };
        assert_eq!(why, "an increment was lost");
        assert_eq!(trace.len(), 9, "eight steps and the state: {trace:#?}");
        assert!(trace[0].starts_with("process"));
    }

    #[test]
    fn a_lock_that_is_kept_is_stuck() {
        let outcome = explore(&Counter { takes_lock: true, leaves_lock: false }, 1000);
        let Verdict::Stuck { count, trace } = outcome.verdict else { panic!("{outcome:?}") };
        assert_eq!(count, outcome.states, "no run of this one gets to the end");
        assert_eq!(trace.len(), 5, "the shown state is the one without a step: {trace:#?}");
    }

    #[test]
    fn a_limit_ends_the_search() {
        let outcome = explore(&Counter { takes_lock: false, leaves_lock: true }, 5);
        assert_eq!(outcome.verdict, Verdict::TooBig);
    }

    #[test]
    fn many_states_survive_the_growth_of_the_table() {
        let mut seen = Seen::new();
        for number in 0..100_000u64 {
            assert_eq!(seen.insert(number, ROOT), number as u32);
        }
        for number in 0..100_000u64 {
            assert_eq!(seen.insert(number, ROOT), number as u32);
        }
    }
}
