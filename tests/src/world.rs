//! A small segment to do harm in, and the question whether everything is back in its place afterwards.

use std::fmt::Display;
use std::mem::offset_of;
use std::os::fd::AsFd;

use ginnel::Manager;
use ginnel::manager::Options;
use ginnel_layout::atomic::Ordering;
use ginnel_layout::entry::{Entry, EntryState, NAME_MAX, st};
use ginnel_layout::header::{Geometry, Header};
use ginnel_layout::line::PAGE;
use ginnel_testkit::scratch::{Scratch, View};

/// Places in the participant table of a world's segment: the survivor, the victim, and two to spare.
pub const PARTICIPANTS: u16 = 4;

/// Says what failed, in front of why.
pub fn during<E: Display>(what: &str) -> impl Fn(E) -> String + Copy {
    move |error| format!("{what}: {error}")
}

/// A fresh private segment with few places and objects, so that a recovery is short, and words for results.
#[derive(Debug)]
pub struct World {
    /// The survivor's handle.
    pub manager: Manager,
    /// What victims say; 16 words, zero at first.
    pub results: Scratch,
}

impl World {
    /// A world with nothing in it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new() -> Result<Self, String> {
        let options = Options::new().limit(8 * PAGE).participants(PARTICIPANTS).objects(4);
        let manager = Manager::with(options).map_err(during("make a segment"))?;
        Ok(Self { manager, results: Scratch::new(16).map_err(during("make words for results"))? })
    }

    /// A participant of its own, for a forked victim, whose inherited handles are worth nothing.
    ///
    /// # Panics
    /// When it cannot attach: then the victim ends before its mark, and the trial fails.
    #[must_use]
    pub fn attach(&self) -> Manager {
        try_attach(&self.manager).expect("a victim attaches")
    }

    /// The segment's words, to see when they change.
    #[must_use]
    pub fn view(&self) -> Option<View> {
        View::readable(&self.manager).ok()
    }

    /// Recovers the victim, which must be the one dead participant.
    ///
    /// # Errors
    /// When there was none, or more.
    pub fn recover_one(&self) -> Result<(), String> {
        match self.manager.recover().map_err(during("recover"))? {
            1 => Ok(()),
            other => Err(format!("{other} participants were recovered, and one had died")),
        }
    }

    /// The survivor leaves, and another one takes its place: what it has not given back comes free with its end.
    ///
    /// # Errors
    /// When nobody can attach, or what it had was free before.
    pub fn replace_survivor(&mut self) -> Result<(), String> {
        if self.manager.inspect().objects.is_empty() {
            return Err("what the survivor holds is gone".to_owned());
        }
        self.manager = try_attach(&self.manager).map_err(during("attach another survivor"))?;
        Ok(())
    }

    /// Nothing is left but the survivor: no participant, object or page, and every place can be taken again.
    /// The caller has dropped its handles.
    ///
    /// # Errors
    /// What is left.
    pub fn is_empty_again(&self) -> Result<(), String> {
        for name in self.manager.names() {
            self.manager.remove(&name).map_err(during("remove a name"))?;
        }
        let inside = self.manager.inspect();
        if inside.participants.len() != 1 || !inside.objects.is_empty() || self.manager.size() != 0 {
            return Err(format!("left behind, {} bytes: {inside:?}", self.manager.size()));
        }
        let attach = |_| try_attach(&self.manager).map_err(during("a place is not free"));
        // As many as the table has rows: were one of them not given back, the last would find no place.
        (1..PARTICIPANTS).map(attach).collect::<Result<Vec<_>, _>>().map(drop)
    }
}

/// Another participant of the segment of `manager`, in this process.
///
/// # Errors
/// As `Manager::from_fd`.
pub fn try_attach(manager: &Manager) -> ginnel::Result<Manager> {
    Manager::from_fd(manager.as_fd().try_clone_to_owned()?)
}

/// Where the object of that name begins, in bytes from the start of its segment. Reads the words as a tool would.
#[must_use]
pub fn locate(view: &View, name: &str) -> Option<u64> {
    let word = |byte: u64| view.word((byte / 8) as usize).load(Ordering::Acquire);
    let half = |byte: u64| view.half((byte / 4) as usize).load(Ordering::Acquire);
    let participants = half(offset_of!(Header, participants) as u64);
    let objects = half(offset_of!(Header, objects) as u64);
    let pages = word(offset_of!(Header, pages) as u64);
    let geometry = Geometry::new(participants as u16, objects, pages)?;
    let entries =
        (0..u64::from(objects)).map(|index| geometry.directory_at() + index * size_of::<Entry>() as u64);
    let live = |entry: &u64| EntryState::from_bits(word(*entry)).st == st::LIVE;
    let named = |entry: &u64| {
        let length = word(entry + offset_of!(Entry, name_len) as u64) as usize;
        let at = entry + offset_of!(Entry, name) as u64;
        let bytes: Vec<u8> =
            (0..NAME_MAX as u64 / 8).flat_map(|index| word(at + 8 * index).to_ne_bytes()).collect();
        bytes.get(..length) == Some(name.as_bytes())
    };
    let entry = entries.filter(live).find(named)?;
    Some(geometry.data_at() + u64::from(half(entry + offset_of!(Entry, first_page) as u64)) * PAGE as u64)
}
