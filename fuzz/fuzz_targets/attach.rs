//! Attaching to a segment whose bytes somebody else chose, and using what is found in it.
//!
//! The input is laid over the front of a segment that was made properly (so that most inputs get past the first
//! checks) or over an empty file; then everything that a careful program does with a foreign manager is done. Errors
//! are expected; a panic, a signal, memory outside the mapping or a call that does not return is a finding.
#![no_main]

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use ginnel_object::blocks::{self, Block, Blocks};
use ginnel_object::manager::Options;
use ginnel_object::spsc::{self, Wait};
use ginnel_object::{Manager, Mutex, Queue, Shared, broadcast, mpsc, queue, shared};
use libfuzzer_sys::fuzz_target;
use rustix::fs::{MemfdFlags, SealFlags};

fuzz_target!(|input: &[u8]| {
    let Some((choice, patch)) = input.split_first() else { return };
    let Some(fd) = image(*choice, patch) else { return };
    let Ok(manager) = Manager::from_fd(fd) else { return };
    let _ = manager.recover();
    let _ = manager.inspect();
    let _ = manager.names();
    let _ = (manager.size(), manager.limit());
    let moment = Duration::from_millis(1);
    if let Ok(Some(mut lane)) = manager.get::<spsc::Consumer<[u8]>>("bytes") {
        for _ in 0..8 {
            if lane.recv_timeout(moment).is_err() {
                break;
            }
        }
        let _ = lane.len();
    }
    if let Ok(Some(mut lane)) = manager.get::<spsc::Producer<u64>>("values") {
        for value in 0..8 {
            let _ = lane.send_timeout(value, moment);
        }
        let _ = lane.len();
    }
    if let Ok(Some(mutex)) = manager.get::<Mutex<u64>>("mutex") {
        let _ = mutex.lock_timeout(moment).map(drop);
    }
    use_queues(&manager, moment);
});

/// What a message of the queue carries: a handle, a block, and more bytes than fit into a slot.
type Letter = (Vec<u8>, Option<Block>, Option<Shared<[u64]>>);

fn use_queues(manager: &Manager, moment: Duration) {
    if let Ok(Some(letters)) = manager.get::<Queue<Letter>>("letters") {
        let _ = letters.try_send((vec![3; 9], None, None));
        if let Ok(lease) = letters.lease_timeout(moment) {
            std::hint::black_box((
                lease.0.len(),
                lease.1.as_deref().map(<[u8]>::len),
                lease.2.as_deref().map(<[u64]>::len),
            ));
            let _ = lease.redelivered();
            lease.nack();
        }
        for letter in letters.drain().take(8).flatten() {
            std::hint::black_box((
                letter.1.map(|block| block.to_vec()),
                letter.2.map(|shared| shared.to_vec()),
            ));
        }
        let _ = (letters.stats(), letters.is_closed());
    }
    if let Ok(Some(pool)) = manager.get::<Blocks>("pool") {
        let _ = pool.try_claim().map(|block| block.map(|mut block| block.fill(1)));
        let _ = pool.stats();
    }
    if let Ok(Some(mut lanes)) = manager.get::<mpsc::Receiver<String>>("lanes") {
        for _ in 0..8 {
            let _ = lanes.recv_timeout(moment);
        }
        let _ = (lanes.len(), lanes.senders());
    }
    if let Ok(Some(mut posters)) = manager.get::<broadcast::Receiver<u64>>("posters") {
        for _ in 0..8 {
            let _ = posters.try_recv();
        }
        let _ = (posters.take_missed(), posters.skip_to_latest(), posters.len());
    }
}

/// A sealed memfd: a proper segment with the patch laid over it, or the patch alone.
fn image(choice: u8, patch: &[u8]) -> Option<OwnedFd> {
    let bytes = if choice & 1 == 0 { patch.to_vec() } else { patched(proper()?, choice, patch) };
    let fd = rustix::fs::memfd_create("fuzz", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).ok()?;
    rustix::io::write(&fd, &bytes).ok()?;
    rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL).ok()?;
    Some(fd)
}

/// Each patch is a run of records: where (3 bytes), how many words are skipped (1), eight bytes to store.
fn patched(mut bytes: Vec<u8>, choice: u8, patch: &[u8]) -> Vec<u8> {
    for record in patch.chunks_exact(12) {
        let at = u32::from_le_bytes([record[0], record[1], record[2], 0]) as usize * 8 % bytes.len();
        let room = (bytes.len() - at).min(if record[3] & 1 == 0 { 8 } else { 4 });
        bytes[at..at + room].copy_from_slice(&record[4..4 + room]);
    }
    if choice & 2 != 0 {
        let cut = bytes.len() / 2;
        bytes.truncate(cut);
    }
    bytes
}

/// The bytes of a small segment with one object of each kind and some messages.
fn proper() -> Option<Vec<u8>> {
    use std::os::unix::fs::FileExt;
    let manager = Manager::with(Options::new().limit(256 << 10).objects(16).participants(4)).ok()?;
    let mut bytes =
        spsc::Options::new().size(4096).wait(Wait::Sleep).producer::<[u8]>(&manager, "bytes").ok()?;
    bytes.send(b"one").ok()?;
    bytes.send(&[7; 100]).ok()?;
    drop(spsc::Options::new().capacity(8).producer::<u64>(&manager, "values").ok()?);
    drop(manager.get_or_create::<Mutex<u64>>("mutex").ok()?);
    furnish(&manager).ok()?;
    let file = std::fs::File::from(manager.as_fd().try_clone_to_owned().ok()?);
    let mut image = vec![0; file.metadata().ok()?.len() as usize];
    file.read_exact_at(&mut image, 0).ok()?;
    Some(image)
}

/// One of each kind of queue, with messages in it.
fn furnish(manager: &Manager) -> ginnel_object::Result<()> {
    let options = queue::Options::bounded(4).leases(2).inline_size(112);
    let letters: Queue<Letter> = manager.get_or_create_with("letters", options)?;
    let pool: Blocks = manager.get_or_create_with("pool", blocks::Options::new(2, 100))?;
    let three: Shared<[u64]> = manager.create_with(shared::Init::slice(&[1, 2, 3]))?;
    let block = pool.claim()?.freeze();
    letters.send((vec![1; 9], Some(block), Some(three)))?;
    letters.send((vec![2; 500], None, None))?;
    let mut sender: mpsc::Sender<String> =
        mpsc::Options::new().size(4096).senders(2).sender(manager, "lanes")?;
    sender.send("one".into())?;
    let sender: broadcast::Sender<u64> =
        broadcast::Options::new().capacity(4).message_size(48).sender(manager, "posters")?;
    sender.send(1)?;
    Ok(())
}
