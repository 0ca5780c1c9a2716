//! What letters carry.

use ginnel::Manager;
use ginnel::blocks::{self, Block, Blocks};
use ginnel::spsc::{self, Consumer, Producer};
use ginnel::sync::{Init, Mutex};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::world::during;

/// Something that travels in a message and holds a number.
pub(in crate::step) trait Cargo: Serialize + DeserializeOwned + Send + 'static {
    /// Makes what all of them need.
    fn prepare(manager: &Manager) -> Result<(), String>;

    /// One that holds `number`.
    fn of(manager: &Manager, number: u64) -> Self;

    /// The number that it holds.
    fn read(&self) -> Result<u64, String>;

    /// May it come with a message that is leased?
    const LEASED: bool = true;

    /// None is left.
    fn is_all_back(manager: &Manager) -> Result<(), String>;
}

/// A handle: it keeps its object, which is gone when no letter and nobody has it any more.
impl Cargo for Mutex<u64> {
    fn prepare(_: &Manager) -> Result<(), String> {
        Ok(())
    }

    fn of(manager: &Manager, number: u64) -> Self {
        manager.create_with(Init(Some(number))).expect("there is room")
    }

    fn read(&self) -> Result<u64, String> {
        self.lock().map(|number| *number).map_err(during("lock the mutex of a letter"))
    }

    fn is_all_back(_: &Manager) -> Result<(), String> {
        // Whoever looks whether the segment is empty sees it.
        Ok(())
    }
}

/// Both ends of a lane with one message more in it than the number: each has to be whole, and to know of the other.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::step) struct Ends(Producer<u64>, Consumer<u64>);

impl Cargo for Ends {
    const LEASED: bool = false;

    fn prepare(_: &Manager) -> Result<(), String> {
        Ok(())
    }

    fn of(manager: &Manager, number: u64) -> Self {
        let name = format!("lane {}", std::process::id());
        let options = spsc::Options::new().capacity(100);
        let mut tx: Producer<u64> = options.producer(manager, &name).expect("there is room");
        let rx = options.consumer(manager, &name).expect("it is there");
        assert!(manager.remove(&name).expect("it has a name"));
        tx.try_send_many(&vec![number; number as usize + 1]).expect("it fits");
        Self(tx, rx)
    }

    fn read(&self) -> Result<u64, String> {
        let Self(tx, rx) = self;
        if tx.is_closed() || rx.is_closed() {
            return Err("corrupt: an end that came does not know of the other".into());
        }
        match (tx.len(), rx.len()) {
            (sent, there) if sent == there && there > 0 => Ok(there as u64 - 1),
            other => Err(format!("corrupt: messages in the lane, by its ends: {other:?}")),
        }
    }

    fn is_all_back(_: &Manager) -> Result<(), String> {
        // Whoever looks whether the segment is empty sees it.
        Ok(())
    }
}

/// The name of the pool.
pub(in crate::step) const POOL: &str = "pool";
/// Its blocks.
pub(in crate::step) const BLOCKS: usize = 3;

pub(in crate::step) fn pool(manager: &Manager) -> Blocks {
    manager.get(POOL).expect("it can be opened").expect("it is there")
}

/// A block of the pool.
impl Cargo for Block {
    fn prepare(manager: &Manager) -> Result<(), String> {
        let options = blocks::Options::new(BLOCKS, 64);
        manager.get_or_create_with::<Blocks>(POOL, options).map(drop).map_err(during("make a pool"))
    }

    fn of(manager: &Manager, number: u64) -> Self {
        let mut block = pool(manager).try_claim().expect("it is a good pool").expect("a block is free");
        block.fill(number as u8);
        block[..8].copy_from_slice(&number.to_ne_bytes());
        block.freeze()
    }

    fn read(&self) -> Result<u64, String> {
        let (number, rest) = self.split_first_chunk().ok_or("corrupt: the block is empty")?;
        let number = u64::from_ne_bytes(*number);
        if rest.len() == 56 && rest.iter().all(|byte| *byte == number as u8) {
            return Ok(number);
        }
        Err(format!("corrupt: a block of {} bytes: {:x?}", self.len(), &self[..]))
    }

    fn is_all_back(manager: &Manager) -> Result<(), String> {
        let pool = pool(manager);
        let stats = pool.stats();
        if stats.free != BLOCKS || !stats.owners.is_empty() {
            return Err(format!("leaked: {stats:?}"));
        }
        let all: Vec<_> = (0..BLOCKS).map_while(|_| pool.try_claim().ok().flatten()).collect();
        if all.len() == BLOCKS { Ok(()) } else { Err(format!("leaked: {} of {BLOCKS} blocks", all.len())) }
    }
}
