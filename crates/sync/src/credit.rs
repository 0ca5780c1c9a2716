//! The book-keeping of the credit policy: whether a waiter may spin, and for how long. Pure; no clock, no word.
//!
//! All amounts are ns. `v`, the length of a spin, is twice the measured cost of a wake: a sleep costs the sleeper
//! that much latency, and sleeper and waker together about that much CPU again. A spin that is answered earns what
//! it saved, one that is not costs what it burnt, and sleeping earns `budget` of the time slept, halved with each
//! miss in a row (the price). The length of the train of misses after a good period is `TRAIN`.
//!
//! Invariants
//! - I1 `floor <= v <= max_spin`, and `v == 0` only if nothing may be spun at all.
//! - I2 `-TRAIN * v <= credit <= TRAIN * v`, also after `v` changed.
//! - I3 `price <= price_max` and `v << price_max <= max(v, budget * RELEARN)`: counted from no credit, nobody
//!   sleeps longer than `RELEARN` before a changed world is tried again.
//! - I4 what other processes wrote (stamp, core) moves `v` and `price` inside these bounds and nothing else.
//! - I5 with `H` answered spins and `A` ns asleep, spins that keep their core burn at most
//!   `TRAIN * v + v * H + budget * A` ns, and each of them one turn of the clock loop and `v / FREE_SHARE` more.
//!
//! Progress: wait-free. Source: measured and argued for this project (docs/decisions/0005).

/// A sleep costs its sleeper the wake, and sleeper and waker about that much CPU.
const WAKES_PER_SPIN: u64 = 2;
/// Misses in a row that full credit pays for.
const TRAIN: i64 = 4;
/// Longest time asleep before a changed world is tried again.
const RELEARN_NS: u64 = 50_000_000;
/// Beyond this more sleep earns nothing: the credit is full long before.
const EARNING_NS: u64 = 1 << 40;
/// Share of `v` that is spun without looking at the clock, as a divisor.
const FREE_SHARE: u32 = 16;
/// Wakes remembered.
const SAMPLES: usize = 8;
/// The sample that counts, from below: the low quartile. Time spent queueing behind other threads for a core is
/// part of the larger samples, and spinning would not save it.
const QUARTILE: usize = 2;
/// Parts in a budget of all the time.
pub(crate) const PPM: u32 = 1_000_000;

/// What the machine and the two knobs say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// Share of the time asleep that may be spun, in millionths. 0: never spin.
    pub(crate) budget_ppm: u32,
    /// Longest spin.
    pub(crate) max_spin_ns: u32,
    /// Shortest spin: a few cheap system calls.
    pub(crate) floor_ns: u32,
    /// One turn of a spin loop.
    pub(crate) pause_ns: u32,
    /// A first guess at the cost of a wake.
    pub(crate) wake_ns: u32,
}

/// What a woken sleeper saw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wake {
    /// From the waker's stamp to the sleeper's first look, as far as that lay inside the sleep.
    pub(crate) latency_ns: u64,
    /// The waker ran on another core, so that a spin would not have kept it from running.
    pub(crate) other_core: bool,
}

/// The account of one waiter.
#[derive(Debug, Clone)]
pub(crate) struct Credit {
    terms: Terms,
    credit: i64,
    v: i64,
    free: u32,
    price: u8,
    price_max: u8,
    next: u8,
    wakes: [u32; SAMPLES],
}

impl Credit {
    /// An account with credit for one train of misses.
    pub(crate) fn new(terms: Terms) -> Self {
        let wakes = [terms.wake_ns; SAMPLES];
        let mut new = Self { terms, credit: 0, v: 0, free: 0, price: 0, price_max: 0, next: 0, wakes };
        new.set_length();
        new.credit = TRAIN * new.v;
        new
    }

    /// Whether a spin may start now.
    #[inline]
    pub(crate) fn may_spin(&self) -> bool {
        self.v > 0 && self.credit >= self.v
    }

    /// How long it may last.
    #[inline]
    pub(crate) fn spin_ns(&self) -> u64 {
        self.v as u64
    }

    /// Turns of the loop that come first and need no clock.
    #[inline]
    pub(crate) fn free_turns(&self) -> u32 {
        self.free
    }

    /// Answered before the clock was first read.
    #[inline]
    pub(crate) fn hit_at_once(&mut self) {
        self.settle(self.v);
        self.price = 0;
    }

    /// Answered after `spun` ns. More than was planned means that the spinner lost its core meanwhile: a loss.
    pub(crate) fn hit(&mut self, spun: u64) {
        let spun = signed(spun);
        self.settle(self.v - spun);
        if spun <= self.v {
            self.price = 0;
        }
    }

    /// Not answered in `spun` ns.
    pub(crate) fn miss(&mut self, spun: u64) {
        self.settle(-signed(spun));
        self.price = self.price.saturating_add(1).min(self.price_max);
    }

    /// Answered between the decision to sleep and the sleep, `ns` after the decision: a spin would have been too.
    pub(crate) fn hit_while_arming(&mut self, ns: u64) {
        if signed(ns) < self.v {
            self.settle(self.v - signed(ns));
        } else {
            self.slept(ns, None);
        }
    }

    /// Slept for `ns`; `wake` if a waker ended it.
    pub(crate) fn slept(&mut self, ns: u64, wake: Option<Wake>) {
        let earned = (ns.min(EARNING_NS) * u64::from(self.terms.budget_ppm) / u64::from(PPM)) >> self.price;
        self.settle(signed(earned));
        let Some(wake) = wake else { return };
        let latency = wake.latency_ns.min(ns);
        if wake.other_core && signed(ns - latency) < self.v {
            // The waker came within a spin's length, and was not waiting for our core: try again soon.
            self.price = 0;
        }
        self.sample(latency);
    }

    /// Takes the cost of a wake into account that was measured elsewhere in this process.
    pub(crate) fn sample(&mut self, wake_ns: u64) {
        self.wakes[usize::from(self.next) % SAMPLES] = u32::try_from(wake_ns).unwrap_or(u32::MAX);
        self.next = self.next.wrapping_add(1);
        self.set_length();
    }

    fn settle(&mut self, amount: i64) {
        let full = TRAIN * self.v;
        self.credit = self.credit.saturating_add(amount).clamp(-full, full);
    }

    fn set_length(&mut self) {
        let Terms { budget_ppm, max_spin_ns, floor_ns, pause_ns, .. } = self.terms;
        let mut wakes = self.wakes;
        wakes.sort_unstable();
        let wake = u64::from(wakes[QUARTILE]);
        let v = if budget_ppm == 0 {
            0
        } else {
            (WAKES_PER_SPIN * wake).clamp(u64::from(floor_ns.min(max_spin_ns)), u64::from(max_spin_ns)) as u32
        };
        let tries = RELEARN_NS * u64::from(budget_ppm) / u64::from(PPM) / u64::from(v.max(1));
        self.v = i64::from(v);
        self.free = v / FREE_SHARE / pause_ns.max(1);
        self.price_max = tries.max(1).ilog2() as u8;
        self.price = self.price.min(self.price_max);
        self.settle(0);
    }
}

fn signed(ns: u64) -> i64 {
    i64::try_from(ns).unwrap_or(i64::MAX)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One turn of the clock loop.
    const TURN_NS: u64 = 200;

    const USUAL: Terms =
        Terms { budget_ppm: 20_000, max_spin_ns: 100_000, floor_ns: 1_200, pause_ns: 15, wake_ns: 30_000 };

    /// What happens to a waiter. Spins take place only where they are allowed.
    #[derive(Debug, Clone, Copy)]
    enum Event {
        HitAtOnce,
        /// In thousandths of the spin.
        Hit(u64),
        /// Beyond the spin, by at most a turn.
        Miss(u64),
        /// Lost its core for so long, in the spin.
        Preempted {
            ns: u64,
            answered: bool,
        },
        Arming(u64),
        Slept(u64, Option<(u64, bool)>),
        Sample(u64),
    }

    /// Mostly plausible, sometimes anything.
    fn ns() -> impl Strategy<Value = u64> {
        prop_oneof![4 => 0_u64..200_000, 4 => 0_u64..100_000_000, 1 => any::<u64>(), 1 => Just(u64::MAX)]
    }

    fn calm() -> impl Strategy<Value = Event> {
        let wake = proptest::option::of((ns(), any::<bool>()));
        prop_oneof![
            Just(Event::HitAtOnce),
            (0_u64..1000).prop_map(Event::Hit),
            (0..TURN_NS).prop_map(Event::Miss),
            (0..TURN_NS).prop_map(Event::Miss),
            ns().prop_map(Event::Arming),
            (ns(), wake).prop_map(|(ns, wake)| Event::Slept(ns, wake)),
            ns().prop_map(Event::Sample),
        ]
    }

    fn any_event() -> impl Strategy<Value = Event> {
        let preempted = (ns(), any::<bool>()).prop_map(|(ns, answered)| Event::Preempted { ns, answered });
        prop_oneof![4 => calm(), 1 => preempted]
    }

    fn terms() -> impl Strategy<Value = Terms> {
        (0..=PPM, 0_u32..1_000_000, 0_u32..10_000, 0_u32..500, any::<u32>()).prop_map(
            |(budget_ppm, max_spin_ns, floor_ns, pause_ns, wake_ns)| Terms {
                budget_ppm,
                max_spin_ns,
                floor_ns,
                pause_ns,
                wake_ns,
            },
        )
    }

    /// What I5 counts.
    #[derive(Default)]
    struct Sums {
        spun: u128,
        spins: u128,
        hits: u128,
        asleep: u128,
        longest: u128,
    }

    fn apply(account: &mut Credit, event: Event, sums: &mut Sums) {
        let v = account.spin_ns();
        sums.longest = sums.longest.max(u128::from(v));
        let spin = |spun: u64, sums: &mut Sums| {
            sums.spun += u128::from(spun);
            sums.spins += 1;
        };
        match event {
            Event::HitAtOnce | Event::Hit(_) | Event::Miss(_) | Event::Preempted { .. }
                if !account.may_spin() => {}
            Event::HitAtOnce => {
                sums.hits += 1;
                account.hit_at_once();
            }
            Event::Hit(thousandths) => {
                let spun = v * thousandths / 1000;
                spin(spun, sums);
                sums.hits += 1;
                account.hit(spun);
            }
            Event::Miss(beyond) => {
                spin(v + beyond, sums);
                account.miss(v + beyond);
            }
            Event::Preempted { ns, answered: true } => account.hit(ns),
            Event::Preempted { ns, answered: false } => account.miss(ns),
            Event::Arming(ns) => {
                sums.hits += 1;
                sums.asleep += u128::from(ns);
                account.hit_while_arming(ns);
            }
            Event::Slept(ns, wake) => {
                sums.asleep += u128::from(ns);
                account.slept(ns, wake.map(|(latency_ns, other_core)| Wake { latency_ns, other_core }));
            }
            Event::Sample(ns) => account.sample(ns),
        }
    }

    fn check_ranges(account: &Credit) {
        let Credit { terms, credit, v, price, price_max, .. } = *account;
        let (floor, most) = (terms.floor_ns.min(terms.max_spin_ns), terms.max_spin_ns);
        if terms.budget_ppm == 0 {
            assert_eq!(v, 0);
        } else {
            assert!((i64::from(floor)..=i64::from(most)).contains(&v), "I1: v = {v}");
        }
        assert!(credit.abs() <= TRAIN * v, "I2: credit = {credit}, v = {v}");
        let relearn = RELEARN_NS * u64::from(terms.budget_ppm) / u64::from(PPM);
        assert!(price <= price_max && (v as u64) << price_max <= relearn.max(v as u64), "I3: {price_max}");
        assert!(v > 0 || !account.may_spin());
    }

    proptest! {
        #[test]
        fn everything_stays_in_range(terms in terms(), events in proptest::collection::vec(any_event(), 0..200)) {
            let mut account = Credit::new(terms);
            check_ranges(&account);
            for event in events {
                apply(&mut account, event, &mut Sums::default());
                check_ranges(&account);
            }
        }

        #[test]
        fn spinning_is_paid_for(
            budget_ppm in 1..=PPM,
            wake_ns in 0_u32..200_000,
            events in proptest::collection::vec(calm(), 0..400),
        ) {
            let terms = Terms { budget_ppm, wake_ns, ..USUAL };
            let mut account = Credit::new(terms);
            let mut sums = Sums { longest: u128::from(account.spin_ns()), ..Sums::default() };
            for event in events {
                apply(&mut account, event, &mut sums);
                let earned = u128::from(budget_ppm) * sums.asleep / u128::from(PPM);
                let bound = (TRAIN as u128 + sums.hits) * sums.longest + earned + sums.spins * u128::from(TURN_NS);
                prop_assert!(sums.spun <= bound, "I5: {} > {bound}", sums.spun);
            }
        }
    }

    #[test]
    fn the_usual_terms_give_the_usual_numbers() {
        let account = Credit::new(USUAL);
        assert_eq!((account.spin_ns(), account.free_turns(), account.price_max), (60_000, 250, 4));
        assert!(account.may_spin());
    }

    #[test]
    fn no_budget_and_no_length_mean_no_spin() {
        for terms in [Terms { budget_ppm: 0, ..USUAL }, Terms { max_spin_ns: 0, ..USUAL }] {
            let mut account = Credit::new(terms);
            account.hit_while_arming(0);
            account.slept(u64::MAX, None);
            assert!(!account.may_spin());
        }
    }

    #[test]
    fn full_credit_pays_for_one_train_of_misses() {
        let mut account = Credit::new(USUAL);
        let mut train = 0;
        while account.may_spin() {
            account.miss(account.spin_ns());
            train += 1;
        }
        assert_eq!(train, TRAIN);
    }

    #[test]
    fn misses_in_a_row_make_spinning_dear() {
        let mut account = Credit::new(USUAL);
        let (mut spun, mut asleep) = (0_u64, 0_u64);
        for _ in 0..100_000 {
            if account.may_spin() {
                spun += account.spin_ns();
                account.miss(account.spin_ns());
            }
            asleep += 1_000_000;
            account.slept(1_000_000, None);
        }
        // A sixteenth of the budget, and the first train.
        assert!(spun <= asleep / 50 / 16 + 4 * 60_000, "{spun} ns spun in {asleep} ns");
        assert!(spun >= asleep / 50 / 16 / 2, "tries now and then: {spun} ns");
    }

    #[test]
    fn a_wake_that_a_spin_would_have_seen_lowers_the_price() {
        let mut account = Credit::new(USUAL);
        while account.may_spin() {
            account.miss(account.spin_ns());
        }
        assert_eq!(account.price, 4);
        account.slept(90_000, Some(Wake { latency_ns: 30_000, other_core: false }));
        assert_eq!(account.price, 4, "on our own core a spin would have kept the waker away");
        account.slept(91_000, Some(Wake { latency_ns: 30_000, other_core: true }));
        assert_eq!(account.price, 4, "a spin would have ended before");
        account.slept(89_000, Some(Wake { latency_ns: 30_000, other_core: true }));
        assert_eq!(account.price, 0);
    }

    #[test]
    fn the_length_follows_the_low_quartile_of_the_wakes() {
        let mut account = Credit::new(USUAL);
        for latency_ns in [5_000, 5_000, 5_000] {
            account.slept(50_000, Some(Wake { latency_ns, other_core: true }));
        }
        assert_eq!(account.spin_ns(), 10_000);
        for _ in 0..5 {
            account.slept(u64::MAX, Some(Wake { latency_ns: u64::MAX, other_core: true }));
        }
        assert_eq!(account.spin_ns(), 10_000, "five long ones among eight");
    }
}
