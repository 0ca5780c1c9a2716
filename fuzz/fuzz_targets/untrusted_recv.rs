//! One side of an untrusted connection, against memory that somebody else chose. See `ginnel_fuzz::untrusted_recv`.
//!
//! Inputs to begin with are in `fuzz/seeds/untrusted_recv`; name that directory behind the corpus.
#![no_main]

use ginnel_fuzz::untrusted_recv::World;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static WORLD: World = World::new();
}

fuzz_target!(|input: &[u8]| {
    WORLD.with(|world| world.run(input));
});
