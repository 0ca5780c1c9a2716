//! For tests only: what it takes to show that a `kill -9` costs the others nothing.
//!
//! Nothing here knows the facade. The programs in the package `ginnel-tests` put the two together; the tests of this
//! crate run the same machinery against toys, one of which is broken on purpose, because a harness that cannot fail
//! proves nothing.
//!
//! Reading order: [`rng`] (choices that can be repeated), [`scratch`] (memory that outlives a killed process),
//! [`child`] (start, stop, kill and reap processes), [`watchdog`] (an end to every wait), [`mod@block_on`] (wait for a future), [`step`] (one process, one
//! instruction at a time), [`sweep`] (a kill at every place of an operation), [`oracle`] (what was sent, what arrived),
//! [`linear`] (whether a history is one that a queue may
//! have), [`kill`] (workers that are killed and started again), [`scribble`] (a peer gone mad), [`leak`] (what is left
//! behind), [`toy`] (a correct and a broken lane), and the explicit-state models.
//!
//! There is no macro that marks kill points in the code under test. A mark would have to be a branch or a call in the
//! fast path, or a build that is not the one people run; and it would say what its author thought of. [`sweep`] stops
//! the unchanged release build in front of every instruction instead. What a mark's name would tell, a place in an
//! operation, is told by the window (which system call came last) and the step within it, and both are printed when
//! a check fails.

pub mod block_on;
pub mod child;
pub mod kill;
pub mod leak;
pub mod linear;
pub mod model;
pub mod oracle;
pub mod rng;
pub mod scratch;
pub mod scribble;
pub mod step;
pub mod sweep;
pub mod toy;
pub mod watchdog;
