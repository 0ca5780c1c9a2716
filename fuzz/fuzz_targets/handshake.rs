//! The handshake of two strangers, with packets that somebody else chose. See `ginnel_fuzz::handshake`.
//!
//! Inputs to begin with are in `fuzz/seeds/handshake`; name that directory behind the corpus.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    ginnel_fuzz::handshake::run(input);
});
