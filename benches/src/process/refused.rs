//! What the harness must refuse: a child that gives a wrong value, or somebody else's.

use std::time::Duration;

use super::pace::{Pace, checked};
use crate::fault::Fault;

const PACE: Pace = Pace { duration: Duration::ZERO, least: 10 };

#[test]
fn a_wrong_value_is_refused() {
    let last = |number: u64| checked(number, |number| Ok(if number == 7 { number } else { number + 1 }));
    match PACE.times(last) {
        Err(Fault::Failed { error, .. }) => assert_eq!(error, "7 came back where 7 + 1 was due"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn right_values_are_counted_without_the_warm_up() {
    let report = PACE.times(|number| checked(number, |number| Ok(number + 1))).expect("all are right");
    assert_eq!(report.received, 10);
    assert_eq!(report.latencies.iter().map(|(_, count)| count).sum::<u64>(), 10);
    let report = PACE.rates(64, |_| Ok(64_000)).expect("nothing is wrong");
    assert_eq!((report.received, report.rates), (640, vec![1e6; 10]));
}

#[test]
fn what_fails_says_so() {
    let fault = PACE.times(|_| Err(Fault::failed("starting a child", "no"))).expect_err("it failed");
    assert_eq!(fault.to_string(), "starting a child: no");
}
