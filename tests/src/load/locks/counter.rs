//! A counter with a condition variable: the count behind the mutex is what was raised and not lowered.

use ginnel::Manager;
use ginnel::sync::{Condvar, Init, Mutex, MutexGuard};

use super::books::{Books, Kind};
use super::workers::{A_MOMENT, LONGEST, Worker};
use crate::load::account::Account;
use crate::world::during;

pub(super) struct Counter {
    changed: Condvar,
    count: Mutex<u64>,
}

impl Counter {
    pub(super) fn open(manager: &Manager) -> ginnel::Result<Self> {
        Ok(Self {
            changed: manager.get_or_create("changed")?,
            count: manager.get_or_create_with("count", Init(Some(0)))?,
        })
    }

    pub(super) fn settle(&self, books: &Books, account: &mut Account) -> Result<(), String> {
        let (raised, raising) = books.count(Kind::Raise);
        let (lowered, lowering) = books.count(Kind::Lower);
        let count = *self.count().map_err(during("look at the count"))? as i64;
        account.compare("the count", count, raised - lowered - lowering, raised + raising - lowered);
        Ok(())
    }

    /// A count is whole whatever happened.
    fn count(&self) -> ginnel::Result<MutexGuard<'_, u64>> {
        match self.count.lock_timeout(LONGEST) {
            Err(error) if error.is_owner_died() => self.count.lock_or_repair(|_| {}),
            outcome => outcome,
        }
    }

    pub(super) fn raise_or_lower(&self, worker: &Worker<'_>, raise: bool) {
        if raise {
            worker.books.act(worker.index, Kind::Raise, || {
                *self.count().expect("the mutex is to be had") += 1;
                self.changed.notify_one();
                1
            });
            return;
        }
        worker.books.act(worker.index, Kind::Lower, || {
            let guard = self.count().expect("the mutex is to be had");
            match self.changed.wait_timeout_while(guard, A_MOMENT, |count| *count == 0) {
                Ok((mut count, _)) => {
                    let is_there = *count > 0;
                    *count -= u64::from(is_there);
                    u64::from(is_there)
                }
                Err(error) if error.is_owner_died() => 0,
                Err(error) => panic!("wait: {error}"),
            }
        });
    }
}
