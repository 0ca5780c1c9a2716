//! Somebody died half-way, and whoever repairs what he left dies as well.

use std::cell::Cell;

use ginnel::Manager;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_testkit::scratch::View;
use ginnel_testkit::step::Marks;
use ginnel_testkit::sweep::{Fault, Plan, Report, Subject};

use super::dicts::{FOUR_SHARDS, PAIRS};
use super::{Act, DictWorld, LONG, RECOVERED, SHORT, STORE, Start, perform};
use crate::step::queue::stop_where;
use crate::step::{Progress, all};
use crate::world::locate;

/// Where the words are of which it depends: the record of a transaction in the front, the lock of the first shard.
const REDO: u64 = 384;
const LOCK: u64 = 8192 + 128;

/// The doomed one dies so many changes of the memory after this word became another.
#[derive(Debug, Clone, Copy)]
enum After {
    Lock(u32),
    Redo(u32),
}

impl After {
    /// Whether that is so, asked again and again.
    fn is_reached(self, view: &View) -> impl Fn() -> bool + '_ {
        let (at, changes) = match self {
            Self::Lock(changes) => (LOCK, changes),
            Self::Redo(changes) => (REDO, changes),
        };
        let word = locate(view, STORE).map(|object| view.word(((object + at) / 8) as usize));
        let before = word.map_or(0, |word| word.load(Relaxed));
        let (seen, left) = (Cell::new(None), Cell::new(changes));
        move || {
            if seen.get().is_none() && word.is_none_or(|word| word.load(Relaxed) == before) {
                return false;
            }
            let now = View::fingerprint(view);
            let moved = seen.replace(Some(now)).is_some_and(|last| last != now);
            left.set(left.get() - u32::from(moved && left.get() > 0));
            left.get() == 0
        }
    }
}

fn recovering(start: Start, act: Act, after: After) -> (String, Subject<'static, DictWorld>) {
    let subject = Subject {
        setup: Box::new(move || {
            let mut world = DictWorld::new(start)?;
            let view = world.world.view().ok_or("the segment can be mapped")?;
            let reached = after.is_reached(&view);
            let operation = |manager: &Manager, marks: &Marks| perform(&world, manager, act, marks);
            let doomed = stop_where(&world.world, operation, reached)?;
            world.doomed = Some(doomed);
            Ok(world)
        }),
        view: Box::new(|world: &DictWorld| world.world.view()),
        victim: Box::new(|world: &DictWorld, marks| {
            let manager = world.world.attach();
            let doomed = world.doomed.as_ref().expect("somebody is to die");
            doomed.kill_from_elsewhere().expect("it can be killed");
            marks.begin();
            let count = manager.recover();
            world.world.results.set(RECOVERED, u64::from(count.is_ok_and(|count| count == 1)));
            marks.end();
        }),
        check: Box::new(move |world, _| {
            let dead = if world.world.results.get(RECOVERED) == 1 { 1 } else { 2 };
            world.after_death(act, dead)
        }),
    };
    (format!("after a death in {act:?}, {after:?}"), subject)
}

pub(in crate::step) fn recover(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let one = Start { shards: 1, pages: 0, history: &[Act::Set(1, 0, SHORT)] };
    let mut cases = vec![
        recovering(one, Act::Set(1, 1, SHORT), After::Lock(9)),
        recovering(FOUR_SHARDS, PAIRS, After::Redo(2)),
    ];
    // A recovery is long, and a sample is to take seconds.
    if !plan.is_sample() {
        cases.extend([
            recovering(one, Act::Set(2, 1, SHORT), After::Lock(3)),
            recovering(one, Act::Set(2, 1, LONG), After::Lock(5)),
            recovering(one, Act::Remove(1), After::Lock(1)),
            recovering(FOUR_SHARDS, PAIRS, After::Redo(0)),
        ]);
    }
    all(plan, progress, cases)
}
