//! Receiving from a lane whose bytes somebody else chose. See `ginnel_fuzz::lane_recv`.
#![no_main]

use ginnel_fuzz::lane_recv::Lanes;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static WORLD: Lanes = Lanes::new();
}

fuzz_target!(|input: &[u8]| {
    WORLD.with(|world| world.run(input));
});
