//! Operations on a ring whose bytes somebody else chose, and goes on choosing. See `ginnel_fuzz::ring_ops`.
#![no_main]

use ginnel_fuzz::ring_ops::Memory;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static WORLD: Memory = Memory::new();
}

fuzz_target!(|input: &[u8]| {
    WORLD.with(|world| world.run(input));
});
