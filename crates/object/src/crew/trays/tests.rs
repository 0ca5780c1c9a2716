//! The buddies against a map of who has what.
//!
//! - I1 a tray that was lent to no slot is the test's alone.

use super::buddies::Buddies;
use super::*;

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

fn take(buddies: &mut Buddies, order: u8) -> Option<u32> {
    let at = buddies.take(order)?;
    for run in buddies.without_memory(at, order) {
        buddies.set_memory(run, true);
    }
    assert!(buddies.without_memory(at, order).is_empty());
    Some(at)
}

#[test]
fn random_blocks_never_overlap_and_all_come_back() {
    for units in [64, 100, 1024, 4096 - 4] {
        let mut random = Random(u64::from(units));
        let mut buddies = Buddies::new(units);
        let mut owner = vec![false; units as usize];
        let mut out: Vec<(u32, u8)> = Vec::new();
        for _ in 0..20_000 {
            if random.below(2) == 0 {
                let order = random.below(7) as u8;
                let Some(at) = take(&mut buddies, order) else {
                    let largest_gap =
                        owner.chunks_exact(1 << order).any(|block| block.iter().all(|taken| !taken));
                    assert!(!largest_gap, "a block of order {order} is free in {units}");
                    continue;
                };
                assert!(at.is_multiple_of(1 << order) && at + (1 << order) <= units);
                for unit in &mut owner[at as usize..][..1 << order] {
                    assert!(!std::mem::replace(unit, true), "unit of the block at {at} given out twice");
                }
                out.push((at, order));
            } else if !out.is_empty() {
                let (at, order) = out.swap_remove(random.below(out.len() as u64) as usize);
                buddies.give(at, order);
                owner[at as usize..][..1 << order].fill(false);
            }
            let taken = owner.iter().filter(|taken| **taken).count() as u64;
            assert_eq!(buddies.bytes_out(), taken * TRAY_UNIT);
            assert!(buddies.bytes_of_memory() >= buddies.bytes_out());
            if random.below(500) == 0 {
                let kept = random.below(16) * PAGE as u64;
                for run in buddies.idle_above(kept) {
                    let units = run.start as usize * 4..run.end as usize * 4;
                    assert!(owner[units].iter().all(|taken| !taken), "a page in use would be punched");
                    buddies.set_memory(run, false);
                }
                // What is left beyond that shares its page with a block that is out.
                let shared: usize =
                    owner.chunks(4).filter(|page| page.contains(&true)).map(|page| page.len()).sum();
                let left = buddies.bytes_of_memory() - buddies.bytes_out();
                assert!(
                    left <= kept.max(PAGE as u64) + shared as u64 * TRAY_UNIT,
                    "{left} left, {kept} kept"
                );
            }
        }
        for (at, order) in out {
            buddies.give(at, order);
        }
        let surplus = buddies.idle_above(0);
        surplus.into_iter().for_each(|run| buddies.set_memory(run, false));
        assert_eq!((buddies.bytes_out(), buddies.bytes_of_memory()), (0, 0));
        if units.is_power_of_two() {
            assert_eq!(buddies.take(units.ilog2() as u8), Some(0), "all of it is one block again");
        }
    }
}

#[test]
fn the_block_that_was_given_back_last_is_the_next_one() {
    let mut buddies = Buddies::new(1024);
    let taken: Vec<_> = (0..8).filter_map(|_| take(&mut buddies, 4)).collect();
    assert_eq!(taken, [0, 16, 32, 48, 64, 80, 96, 112]);
    for at in [32, 0, 80] {
        buddies.give(at, 4);
    }
    assert_eq!([80, 0, 32].map(Some), [0; 3].map(|_| take(&mut buddies, 4)));
}

#[test]
fn the_end_of_the_region_loses_its_memory_first() {
    let mut buddies = Buddies::new(1 << 10);
    let all: Vec<_> = (0..16).filter_map(|_| take(&mut buddies, 6)).collect();
    assert_eq!((all.len(), buddies.bytes_of_memory()), (16, 1 << 20));
    all.iter().for_each(|at| buddies.give(*at, 6));
    let punched = buddies.idle_above(256 << 10);
    assert_eq!(punched, vec![64..256]);
    punched.into_iter().for_each(|run| buddies.set_memory(run, false));
    assert_eq!(buddies.bytes_of_memory(), 256 << 10);
    // The next ones are those that still have it.
    assert_eq!(buddies.take(6), Some(0));
    assert!(buddies.without_memory(0, 6).is_empty());
}

#[test]
fn there_is_no_block_larger_than_the_region() {
    let mut buddies = Buddies::new(64);
    assert_eq!((buddies.take(7), buddies.take(30), buddies.take(255)), (None, None, None));
    assert_eq!(Buddies::new(0).take(0), None);
}

#[test]
fn trays_get_memory_when_they_are_used_and_keep_a_part_of_it() {
    let manager = crate::Manager::new(1 << 30).expect("a manager");
    let shape = crate::crew::Shape { slots: 16, tray_bytes: 128 << 20, ..Default::default() };
    let crew = Crew::make(&manager, shape).expect("made");
    let trays = Trays::new(&crew);
    assert_eq!((trays.largest(), trays.bytes_of_memory()), (32 << 20, 0));
    assert!(trays.get((32 << 20) + 1).is_none());
    let tray = trays.get(5000).expect("room");
    assert_eq!((tray.room(), trays.bytes_out(), trays.bytes_of_memory()), (8192, 8192, 8192));
    // SAFETY: I1.
    assert!(unsafe { tray.bytes(usize::MAX) }.iter().all(|byte| *byte == 0));
    let place = tray.at();
    drop(tray);
    assert_eq!(trays.get(8000).expect("room").at(), place, "warm");
    let all: Vec<_> = (0..32).map(|_| trays.get(1 << 20).expect("room")).collect();
    assert_eq!(trays.bytes_out(), 32 << 20);
    drop(all);
    let kept = trays.bytes_of_memory();
    assert!(trays.bytes_out() == 0 && (KEPT / 2..=KEPT).contains(&kept), "{kept}");
    let all: Vec<_> = std::iter::from_fn(|| trays.get(32 << 20)).collect();
    assert!(all.len() >= 3 && trays.get(32 << 20).is_none());
    assert!(format!("{trays:?} {:?}", all[0]).contains("room: 33554432"));
}
