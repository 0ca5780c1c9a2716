//! Operations on a list: at its end in place, anywhere else by a new directory.

use ginnel::Manager;
use ginnel::list::List;
use ginnel::{Message, Raw};
use ginnel_object::store::Wraps;
use ginnel_testkit::sweep::{Fault, Plan, Report, Subject};

use super::{DONE, SHORT, STORE, value, world};
use crate::step::{Progress, all};
use crate::world::{World, during};

/// What a list is of.
trait Element: Message + Clone + PartialEq + std::fmt::Debug + Ord + Send + Sync + 'static {
    fn of(number: u64) -> Self;
}

/// In a node.
impl Element for String {
    fn of(number: u64) -> Self {
        value(number as u8, SHORT)
    }
}

/// In a word of its own.
impl Element for Raw<u64> {
    fn of(number: u64) -> Self {
        Raw(number)
    }
}

/// What somebody does with a list, in one step.
#[derive(Debug, Clone, Copy)]
enum Act {
    Push(u64),
    Extend(u64),
    Pop,
    Set(usize, u64),
    Insert(usize, u64),
    Remove(usize),
    Sort,
    Truncate(usize),
    Clear,
}

/// Elements of an [`Act::Extend`].
const MANY: u64 = 9;

impl Act {
    fn on<T: Element>(self, list: &mut Vec<T>) {
        match self {
            Self::Push(number) => list.push(T::of(number)),
            Self::Extend(number) => list.extend((number..number + MANY).map(T::of)),
            Self::Pop => drop(list.pop()),
            Self::Set(index, number) => list[index] = T::of(number),
            Self::Insert(index, number) => list.insert(index, T::of(number)),
            Self::Remove(index) => drop(list.remove(index)),
            Self::Sort => list.sort(),
            Self::Truncate(len) => list.truncate(len),
            Self::Clear => list.clear(),
        }
    }

    fn perform<T: Element>(self, list: &List<T>) -> ginnel::Result<()> {
        match self {
            Self::Push(number) => list.push(T::of(number)),
            Self::Extend(number) => list.extend((number..number + MANY).map(T::of)),
            Self::Pop => list.pop().map(drop),
            Self::Set(index, number) => list.set(index, T::of(number)),
            Self::Insert(index, number) => list.insert(index, T::of(number)),
            Self::Remove(index) => list.remove(index).map(drop),
            Self::Sort => list.sort(),
            Self::Truncate(len) => list.truncate(len),
            Self::Clear => list.clear(),
        }
    }
}

struct ListWorld<T> {
    world: World,
    list: List<T>,
    before: Vec<T>,
}

fn open<T: Element>(manager: &Manager) -> ginnel::Result<List<T>> {
    manager.get_or_create::<List<T>>(STORE)
}

fn audit<T: Element>(list: &List<T>) -> Result<(), String> {
    list.raw().audit().map_err(during("audit the list"))?
}

impl<T: Element> ListWorld<T> {
    fn new(history: &[Act]) -> Result<Self, String> {
        let world = world()?;
        let list = open(&world.manager).map_err(during("make the list"))?;
        let mut before = Vec::new();
        for act in history {
            act.perform(&list).map_err(during("make its history"))?;
            act.on(&mut before);
        }
        audit(&list)?;
        Ok(Self { world, list, before })
    }

    fn after_death(self, act: Act) -> Result<(), String> {
        let mut after = self.before.clone();
        act.on(&mut after);
        for index in 0..after.len().max(self.before.len()) {
            let found = self.list.get(index).map_err(during("read beside the dead"))?;
            if found.as_ref() != self.before.get(index) && found.as_ref() != after.get(index) {
                return Err(format!("corrupt: element {index} is {found:?} beside the dead"));
            }
        }
        self.world.recover_one()?;
        let mut found = self.list.to_vec().map_err(during("read the list"))?;
        let is_over = self.world.results.get(DONE) == 1;
        if found != after && (is_over || found != self.before) {
            return Err(format!("lost or in part (the victim was done: {is_over}): {found:?}"));
        }
        audit(&self.list)?;
        for act in [Act::Push(20), Act::Push(21), Act::Insert(1, 22), Act::Pop] {
            act.perform(&self.list).map_err(during("go on"))?;
            act.on(&mut found);
        }
        let now = self.list.to_vec().map_err(during("read the list"))?;
        if now != found {
            return Err(format!("corrupt: it went on to {now:?}, and should to {found:?}"));
        }
        audit(&self.list)?;
        drop(self.list);
        self.world.is_empty_again()
    }
}

fn subject<T: Element>(
    what: &str,
    history: &'static [Act],
    act: Act,
) -> (String, Subject<'static, ListWorld<T>>) {
    let subject = Subject {
        setup: Box::new(|| ListWorld::new(history)),
        view: Box::new(|world: &ListWorld<T>| world.world.view()),
        victim: Box::new(move |world, marks| {
            let manager = world.world.attach();
            let list: List<T> = open(&manager).expect("it is there");
            marks.begin();
            let done = act.perform(&list);
            world.world.results.set(DONE, u64::from(done.is_ok()));
            marks.end();
        }),
        check: Box::new(move |world, _| world.after_death(act)),
    };
    (format!("{what}: {act:?}"), subject)
}

const FOUR: &[Act] = &[Act::Push(3), Act::Push(1), Act::Push(2), Act::Push(0)];

fn at_the_end<T: Element>(what: &str) -> Vec<(String, Subject<'static, ListWorld<T>>)> {
    let nine: &[Act] = &[Act::Extend(0), Act::Pop];
    vec![
        subject(what, &[], Act::Push(1)),
        subject(what, FOUR, Act::Push(5)),
        subject(what, FOUR, Act::Extend(5)),
        subject(what, FOUR, Act::Pop),
        subject(what, nine, Act::Truncate(2)),
        subject(what, FOUR, Act::Set(2, 9)),
    ]
}

fn anywhere<T: Element>(what: &str) -> Vec<(String, Subject<'static, ListWorld<T>>)> {
    vec![
        subject(what, FOUR, Act::Insert(1, 7)),
        subject(what, FOUR, Act::Remove(1)),
        subject(what, FOUR, Act::Sort),
        subject(what, FOUR, Act::Clear),
    ]
}

pub(in crate::step) fn ends(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let nodes = all(plan, &mut *progress, at_the_end::<String>("nodes"))?;
    Ok(nodes.and(all(plan, progress, at_the_end::<Raw<u64>>("words"))?))
}

pub(in crate::step) fn middle(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let nodes = all(plan, &mut *progress, anywhere::<String>("nodes"))?;
    Ok(nodes.and(all(plan, progress, anywhere::<Raw<u64>>("words"))?))
}
