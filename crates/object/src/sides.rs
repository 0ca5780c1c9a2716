//! Channels end when one of their sides is empty, and lanes when an end is lost on its way.
//!
//! Who holds a sending or a receiving end is written in the entry of the channel, by participant (`life`, I7). Whoever
//! leaves a side, and whoever recovers one that left by dying, looks if anybody is left there, and closes the queue
//! towards the other side if not.
//!
//! An exclusive end has no side to be on: its role word names its holder, or the ticket it travels with. Whoever gives
//! that ticket up gives the end up (`ginnel_queue::lane::role`).

use ginnel_layout::atomic::AtomicU32;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::entry::{Entry, Side};
use ginnel_layout::ring::gate;
use ginnel_layout::wait::WaitLine;
use ginnel_layout::{Liveness, ParticipantId};
use ginnel_queue::lane::role;
use ginnel_segment::Segment;
use ginnel_sync::park;

use crate::arena::ObjectRef;
use crate::life;
use crate::seat::Post;
use crate::sweep::tag;
use crate::words;

/// Is it one that closes when a side is empty?
pub(crate) fn has_sides(object: &ObjectRef) -> bool {
    let entry = object.arena().segment().entry(object.index());
    entry.is_some_and(|entry| entry.tag.load(Relaxed) == tag::CHANNEL)
}

/// Is the object in `entry` one that closes when a side of it is empty?
pub(crate) fn may_have(entry: &Entry) -> bool {
    matches!(entry.tag.load(Relaxed), tag::CHANNEL | tag::BROADCAST)
}

/// Closes the channel in `entry` if nobody is left on `side`. The caller keeps the object alive.
pub(crate) fn close_if_empty(segment: &Segment, index: u32, entry: &Entry, side: Side) {
    let tag = entry.tag.load(Relaxed);
    if !may_have(entry) || !life::side_is_empty(segment, index, entry, side) {
        return;
    }
    if tag == tag::BROADCAST {
        // Receivers are on no side: without them a broadcast channel stays open.
        if let (Side::Sender, Some(words)) = (side, words::broadcast_of(segment, entry)) {
            words.close();
        }
        return;
    }
    let bit = match side {
        Side::Neither => return,
        Side::Sender => gate::NO_INPUT,
        Side::Receiver => gate::NO_RECEIVER,
    };
    if let Some(ring) = words::ring_of(segment, entry) {
        ring.close(bit);
    }
}

/// Asks whether those on that side of a channel live. One who died with the last end of it owns no word in the queue,
/// so whoever waits for him has to ask for him. The caller keeps the object alive.
pub(crate) fn probe(segment: &Segment, index: u32, side: Side) {
    let Some(entry) = segment.entry(index).filter(|entry| entry.tag.load(Relaxed) == tag::CHANNEL) else {
        return;
    };
    for id in life::on_side(segment, index, entry, side).into_iter().filter(|id| *id != segment.me()) {
        // True or false, the next look at the queue tells what came of it.
        let _ = segment.is_dead(id);
    }
}

/// The words of an exclusive end.
pub(crate) struct End<'a> {
    role: &'a AtomicU32,
    /// Where those sleep who wait for it.
    peers: Vec<&'a WaitLine>,
}

impl End<'_> {
    pub(crate) fn role(&self) -> &AtomicU32 {
        self.role
    }

    pub(crate) fn wake_peer(&self) {
        self.peers.iter().for_each(|line| park::wake_all(line));
    }
}

/// Runs `f` with the words of an end of an object that the caller holds. `None`: it has no such end.
pub(crate) fn with_end<R>(object: &ObjectRef, post: Post, f: impl FnOnce(End<'_>) -> R) -> Option<R> {
    let segment = object.arena().segment();
    let entry = segment.entry(object.index())?;
    let end = match post {
        Post::Producer | Post::Consumer => ends_of(segment, entry, side_of(post)).pop()?,
        Post::Receiver => ends_of(segment, entry, Side::Receiver).pop()?,
        Post::Lane(index) => {
            let mut ends = ends_of(segment, entry, Side::Sender);
            if index as usize >= ends.len() {
                return None;
            }
            ends.swap_remove(index as usize)
        }
    };
    Some(f(end))
}

/// The side that the ticket of such an end has.
pub(crate) fn side_of(post: Post) -> Side {
    match post {
        Post::Producer | Post::Lane(_) => Side::Sender,
        Post::Consumer | Post::Receiver => Side::Receiver,
    }
}

/// The exclusive ends on a side of the object in `entry`, which the caller keeps alive. None, if it has no such ends.
fn ends_of<'a>(segment: &'a Segment, entry: &Entry, side: Side) -> Vec<End<'a>> {
    match entry.tag.load(Relaxed) {
        tag::LANE | tag::PIPE => {
            let Some(control) = words::lane_of(segment, entry) else { return Vec::new() };
            let (mine, peer) = match side {
                Side::Neither => return Vec::new(),
                Side::Sender => (&control.not_full, &control.not_empty),
                Side::Receiver => (&control.not_empty, &control.not_full),
            };
            vec![End { role: &mine.role, peers: vec![peer] }]
        }
        tag::MPSC => {
            let Some((control, lanes)) = words::mpsc_of(segment, entry) else { return Vec::new() };
            match side {
                Side::Neither => Vec::new(),
                Side::Sender => {
                    let end = |lane| End { role: lane, peers: vec![&control.not_empty] };
                    lanes.iter().map(|lane| end(&lane.not_full.role)).collect()
                }
                Side::Receiver => {
                    let peers = lanes.iter().map(|lane| &lane.not_full).collect();
                    vec![End { role: &control.not_empty.role, peers }]
                }
            }
        }
        _ => Vec::new(),
    }
}

/// A ticket of that side is given up, by who frees it next; because `dead` died, if so. What travels with it ends. The
/// caller keeps the object alive.
pub(crate) fn lost(
    segment: &Segment,
    (index, entry): (u32, &Entry),
    side: Side,
    ticket: u32,
    dead: Option<ParticipantId>,
) {
    close_if_empty(segment, index, entry, side);
    for end in ends_of(segment, entry, side) {
        // The dead one may have died between this and the wake, so recovery wakes in any case.
        if role::lose(end.role, ticket, dead) || dead.is_some() {
            end.wake_peer();
        }
    }
}
