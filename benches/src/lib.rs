//! The measurements behind `ginnel bench`: controls, rivals of the kernel, and the lane, between two real
//! processes.
//!
//! Two processes are forked from a coordinator that has no threads, each pinned to a core; they exchange
//! checked messages while the coordinator sleeps. A message that is lost, doubled, overtaken, stale or torn
//! refuses the row: the tests of this crate hand such transports to the harness and see that it does.
//!
//! Reading order: [`plan`] (which rows), [`passes`] and [`run`] (the passes), [`pair`] (two processes), [`drive`] (the
//! loops), [`payload`] (what is written and checked), [`transport`] (the one trait), then the transports in
//! [`control`], [`kernel`], [`lane`] and [`queues`], and [`report`]. Several producers and consumers: [`crowd`].
//! Locks and events are a group of rows by themselves: [`locks`]; so are children: [`process`]; so are pools: [`pool`]; so
//! are maps that processes share: [`dict`].

mod arena;
pub mod clock;
pub mod control;
pub mod crew;
pub mod crowd;
pub mod dict;
mod dispatch;
pub mod drive;
pub mod fault;
pub mod kernel;
pub mod lane;
pub mod locks;
pub mod machine;
pub mod memory;
mod outside;
pub mod pair;
pub mod passes;
pub mod payload;
pub mod plan;
pub mod pool;
pub mod process;
pub mod queues;
pub mod report;
pub mod run;
pub mod transport;

#[cfg(test)]
mod refused;
#[cfg(test)]
mod refused_crowd;
