//! The bodies of the fuzz targets (`fuzz/src`), fed with random inputs: no fault, no panic, an end.
//!
//! libFuzzer finds more, but needs a nightly toolchain; this runs everywhere.

#[path = "../../fuzz/src/handshake.rs"]
pub mod handshake;
#[path = "../../fuzz/src/lane_recv.rs"]
pub mod lane_recv;
#[path = "../../fuzz/src/patch.rs"]
pub mod patch;
#[path = "../../fuzz/src/ring_ops.rs"]
pub mod ring_ops;
#[path = "../../fuzz/src/untrusted_recv.rs"]
pub mod untrusted_recv;

use std::time::Duration;

use ginnel_testkit::rng::Rng;
use ginnel_testkit::watchdog::Watchdog;

/// Long enough for a machine ten times slower.
const LIMIT: Duration = Duration::from_secs(120);

/// Feeds `run` with inputs of up to `longest` bytes; how many of them came to something.
fn feed(
    what: &str,
    inputs: u64,
    longest: u64,
    shape: impl Fn(&mut [u8]),
    run: impl Fn(&[u8]) -> usize,
) -> u64 {
    let dog = Watchdog::new(what, LIMIT);
    let mut fruitful = 0;
    for seed in 0..inputs {
        dog.waits_for(format!("{what}, input {seed}"));
        let mut rng = Rng::new(seed);
        let mut input: Vec<u8> = (0..rng.below(longest)).map(|_| rng.next_u64() as u8).collect();
        shape(&mut input);
        fruitful += u64::from(run(&input) > 0);
    }
    fruitful
}

#[test]
fn lanes_with_chosen_bytes_are_received_from_to_the_end() {
    let lanes = lane_recv::Lanes::new();
    for choice in 0..4 {
        assert!(lanes.run(&[choice]) >= 2, "what was sent comes, when nothing is changed");
    }
    let fruitful = feed("lane_recv", 20_000, 120, |_| {}, |input| lanes.run(input));
    assert!(fruitful > 1000, "{fruitful} inputs got past the first message");
}

#[test]
fn rings_with_chosen_bytes_survive_every_script() {
    let memory = ring_ops::Memory::new();
    // Capacity 16, three cells; two sends, a take, a lease, its end.
    assert_eq!(memory.run(&[4, 40, 3, 0, 0, 0, 8, 1, 8, 3, 6, 8]), 5);
    // Few changes before the script leave more to be done by it.
    let shape = |input: &mut [u8]| input.iter_mut().skip(4).take(1).for_each(|count| *count %= 8);
    let fruitful = feed("ring_ops", 20_000, 300, shape, |input| memory.run(input));
    assert!(fruitful > 10_000, "{fruitful} inputs came to an operation that succeeded");
}

#[test]
fn connections_with_chosen_memory_survive_every_script() {
    let world = untrusted_recv::World::new();
    let shape = |input: &mut [u8]| input.iter_mut().take(1).for_each(|count| *count %= 4);
    let fruitful = feed("untrusted_recv", 20_000, 200, shape, |input| world.run(input));
    assert!(fruitful > 10_000, "{fruitful} inputs came to an operation that succeeded");
}

#[test]
fn handshakes_with_chosen_packets_end() {
    assert_eq!(handshake::run(&[1]), 3, "what nobody changed comes through");
    let shape = |input: &mut [u8]| input.iter_mut().take(1).for_each(|choice| *choice &= 1);
    let fruitful = feed("handshake", 20_000, 40, shape, handshake::run);
    assert!(fruitful > 1000, "{fruitful} inputs got past the first packet");
}
