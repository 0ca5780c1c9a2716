//! What the fuzz targets do with their inputs, without libFuzzer: the package `ginnel-tests` feeds the same functions
//! with random inputs in the ordinary test run (`tests/tests/images.rs`).
//!
//! An input is bytes, and every input is good for something. A panic, a signal or a call that does not return is a finding.

pub mod handshake;
pub mod lane_recv;
pub mod patch;
pub mod ring_ops;
pub mod untrusted_recv;
