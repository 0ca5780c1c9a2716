//! The limits: what the machine itself can do. Every run has them, and a row is judged by its ratio to one.

pub mod copy;
pub mod futex;
pub mod index;
pub mod line;
pub mod vyukov;
