//! Process-level tests: what is left when processes die, under load, at every instruction, beside a mad peer.
//!
//! Three programs, each of which `cargo xtask` runs, use this library:
//!
//! | program | what it does | module |
//! |---|---|---|
//! | `step-kill` | SIGKILL after each instruction of each operation, then an exact comparison | [`step`] |
//! | `kill` | random SIGKILLs under load, every message accounted for | [`load`] |
//! | `hostile` | a peer that overwrites the segment, clean errors wanted | [`hostile`] |
//!
//! Each runs its work in a role: a copy of itself with one thread, which may fork, and which its parent watches and
//! ends if it hangs. [`world`] is what they share: a small segment, victims that attach to it, and the question
//! whether everything is back in its place.
#![forbid(unsafe_code)]

pub mod hostile;
pub mod load;
pub mod show;
pub mod step;
pub mod world;
