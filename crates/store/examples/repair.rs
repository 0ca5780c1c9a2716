//! How long the repair of a shard takes, by its entries: `cargo run --release -p ginnel-store --example repair`.
//! Figures to quote come from `ginnel bench`.

use std::time::Instant;

use ginnel_layout::ParticipantId;
use ginnel_store::ground::Ground;
use ginnel_store::node::{Extra, Key};
use ginnel_sync::Holder;

fn main() {
    let dead = ParticipantId::from_index(0);
    let me = Holder::new(dead, 1).expect("a thread");
    for entries in [0_u64, 100, 1000, 10_000, 150_000] {
        let ground = Ground::new(64 + entries as usize / 16, 1);
        let store = ground.store();
        let locked = store.try_lock(0, me).expect("sound").expect("free");
        for number in 0..entries {
            let bytes = number.to_le_bytes();
            let key = Key::new(&bytes, 1).expect("short");
            let pending = locked.prepare(&key, &[7; 64], Extra::default(), || 0).expect("room");
            locked.commit(pending).expect("sound");
        }
        std::mem::forget(locked);
        let mut times = Vec::new();
        for _ in 0..5 {
            let start = Instant::now();
            let recovered = store.recover(dead);
            times.push(start.elapsed());
            assert_eq!((recovered.shards, recovered.lost), (1, 0));
            let locked = store.try_lock(0, me).expect("sound").expect("free");
            assert_eq!(locked.audit(), Ok(()));
            std::mem::forget(locked);
        }
        println!("{entries:>8} entries: {times:?}");
    }
}
