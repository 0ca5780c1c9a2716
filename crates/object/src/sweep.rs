//! Recovery dispatch: what a death means for each kind of object.
//!
//! The kinds are a closed set of tags. A segment that holds a tag this build does not know is refused at attach,
//! because nobody may recover what he cannot read.

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::entry::Entry;
use ginnel_queue::lane::Lane;
use ginnel_segment::{Segment, Sweep};
use ginnel_sync::mutex;

use crate::life;
use crate::words;

/// The kinds of objects.
pub(crate) mod tag {
    /// `spsc`: a lane.
    pub(crate) const LANE: u32 = 1;
    /// `Mutex<T>`.
    pub(crate) const MUTEX: u32 = 2;
    /// `Queue<T>`: a ring.
    pub(crate) const QUEUE: u32 = 3;
    /// `mpsc`: a lane for each sender.
    pub(crate) const MPSC: u32 = 4;
    /// `broadcast`.
    pub(crate) const BROADCAST: u32 = 5;
    /// `Blocks`.
    pub(crate) const BLOCKS: u32 = 6;
    /// `Shared<T>`.
    pub(crate) const SHARED: u32 = 7;
}

/// A tag in words, for messages.
pub(crate) fn tag_name(tag: u32) -> &'static str {
    match tag {
        tag::LANE => "lane",
        tag::MUTEX => "mutex",
        tag::QUEUE => "queue",
        tag::MPSC => "mpsc channel",
        tag::BROADCAST => "broadcast channel",
        tag::BLOCKS => "set of blocks",
        tag::SHARED => "shared value",
        _ => "object of an unknown kind",
    }
}

/// The sweep that every segment of this crate is attached with.
#[derive(Debug)]
pub(crate) struct Objects;

impl Sweep for Objects {
    fn knows(&self, tag: u32) -> bool {
        matches!(tag, tag::LANE | tag::MUTEX)
    }

    fn sweep(&self, segment: &Segment, dead: ParticipantId) {
        life::recover_tickets(segment, dead);
        mutex::recover(&segment.control().names_lock, dead);
        for (index, entry) in segment.entries() {
            life::recover(segment, index, entry, dead, |entry| repair(segment, entry, dead));
        }
    }
}

fn repair(segment: &Segment, entry: &Entry, dead: ParticipantId) {
    match entry.tag.load(Relaxed) {
        tag::LANE => {
            if let Some(control) = words::lane_of(segment, entry) {
                Lane::recover(control, dead);
            }
        }
        tag::MUTEX => {
            if let Some(words) = words::mutex_of(segment, entry) {
                mutex::recover(&words.word, dead);
            }
        }
        // Refused at attach; a word that changed since is a broken peer's, and nothing here trusts it.
        _ => {}
    }
}
