//! The role word of an end: who holds it, who gave it up, and with which ticket it is on its way.
//!
//! ```text
//! VACANT, CLOSED, DEAD --take--> HELD(me) --depart--> MOVING(t) --arrive--> HELD(you)
//!                                   ^  |                |    |
//!                                   |  +-- give up      |    +-- lose: CLOSED, or DEAD(d)
//!                                   +------- stay ------+
//! ```
//! A ticket `t` (crate `object`, `life.rs`) has one owner at a time, and is not free as long as the word names it. He
//! alone changes MOVING(t): the mover who was not rid of his message, the receiver, or whoever discards it; and if he
//! dies, who recovers him. So a word that still says MOVING(t) is about this journey and no other.
//!
//! Edges E3 and E4 are those of [`super`].
//!
//! | killed | what is left | who repairs, and the outcome |
//! |---|---|---|
//! | before or after `take` | the word before, or HELD(d) | `recover_role`: DEAD(d) |
//! | after `depart`, message not committed | MOVING(t), t of the dead and not in flight | recovery of t: `lose`, DEAD(d) |
//! | after the commit | MOVING(t), t in flight | nobody: its receiver takes it, its discarder closes it |
//! | received, before `arrive` | MOVING(t), t of the dead | recovery of t: `lose`, DEAD(d) |
//! | after `arrive` | HELD(d) | `recover_role`: DEAD(d); where t is still in flight (an unacknowledged lease), MOVING(t) |
//! | after `lose`, before the wake | the peer asleep | recovery of t wakes always |

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::AtomicU32;
use ginnel_layout::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use ginnel_layout::lane::Role;

use super::LaneError;

/// HELD(dead) becomes DEAD(dead). The caller holds the byte lock of `dead`. An end that is MOVING is its ticket's.
pub(crate) fn recover_role(role: &AtomicU32, dead: ParticipantId) {
    // E3. Nobody but the holder changes HELD, and he is dead: the outcome says nothing new.
    let _ = role.compare_exchange(Role::held(dead), dead_of(Some(dead)), AcqRel, Relaxed);
}

fn dead_of(owner: Option<ParticipantId>) -> u32 {
    Role { owner, st: Role::DEAD }.bits()
}

/// CAS a role word to HELD(me), if nobody holds it. Gives the word before.
pub(crate) fn take(role: &AtomicU32, me: ParticipantId) -> Result<u32, LaneError> {
    loop {
        let word = role.load(Acquire); // E4
        let before = Role::from_bits(word);
        match before.st {
            Role::VACANT | Role::CLOSED | Role::DEAD => {
                // E4
                if role.compare_exchange(word, Role::held(me), AcqRel, Relaxed).is_ok() {
                    return Ok(word);
                }
            }
            Role::HELD | Role::MOVING => return Err(LaneError::Taken(before.owner)),
            _ => return Err(LaneError::Corrupted),
        }
    }
}

/// MOVING(ticket), whose ticket is ours, becomes HELD(me). Gives the word before.
///
/// # Errors
/// `Taken`: it does not travel with this ticket.
pub(crate) fn arrive(role: &AtomicU32, me: ParticipantId, ticket: u32) -> Result<u32, LaneError> {
    let word = role.load(Acquire); // E4
    let is_it = Role::ticket_of(word) == Some(ticket);
    // E4
    if is_it && role.compare_exchange(word, Role::held(me), AcqRel, Relaxed).is_ok() {
        return Ok(word);
    }
    Err(LaneError::Taken(Role::from_bits(word).owner))
}

/// Undoes [`take`] or [`arrive`], where the lane turned out to be corrupted.
pub(crate) fn put_back(role: &AtomicU32, me: ParticipantId, before: u32) {
    let _ = role.compare_exchange(Role::held(me), before, Release, Relaxed); // E4
}

/// Had the last holder of an end perhaps seen what is at its head, by the word before it was taken?
pub(crate) fn after_death(before: u32) -> bool {
    Role::was_seen(before) || Role::from_bits(before).st == Role::DEAD
}

/// HELD(owner) becomes MOVING(ticket), whose ticket is the caller's or that of the dead `owner`, whom he recovers.
/// False: `owner` does not hold the end.
pub fn depart(role: &AtomicU32, owner: ParticipantId, ticket: u32, seen: bool) -> bool {
    let moving = Role::moving(Some(owner), ticket, seen);
    role.compare_exchange(Role::held(owner), moving, AcqRel, Relaxed).is_ok() // E4
}

/// MOVING(ticket), whose ticket is ours, becomes HELD(me) again: the message was not sent.
pub fn stay(role: &AtomicU32, me: ParticipantId, ticket: u32) -> bool {
    arrive(role, me, ticket).is_ok()
}

/// MOVING(ticket), whose ticket the caller frees next, is given up: DEAD, if that is because its owner `dead` died. True:
/// the peer is to be woken.
pub fn lose(role: &AtomicU32, ticket: u32, dead: Option<ParticipantId>) -> bool {
    let word = role.load(Acquire); // E4
    if Role::ticket_of(word) != Some(ticket) {
        return false;
    }
    let gone = match dead {
        Some(_) => dead_of(dead),
        // As DEAD of nobody, so that the flag outlives the journey (as in `give_up`).
        None if Role::was_seen(word) => dead_of(None),
        None => Role { owner: Role::from_bits(word).owner, st: Role::CLOSED }.bits(),
    };
    role.compare_exchange(word, gone, AcqRel, Relaxed).is_ok() // E3
}

/// An end that nobody came back to, though its message was not sent, is given up: HELD(me) becomes CLOSED.
pub fn give_up(role: &AtomicU32, me: ParticipantId, seen: bool) {
    let gone = if seen { dead_of(None) } else { Role { owner: Some(me), st: Role::CLOSED }.bits() };
    let _ = role.compare_exchange(Role::held(me), gone, AcqRel, Relaxed); // E3
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const ME: ParticipantId = ParticipantId::from_index(3);
    const YOU: ParticipantId = ParticipantId::from_index(4);

    fn held() -> AtomicU32 {
        AtomicU32::new(Role::held(ME))
    }

    fn word(role: &AtomicU32) -> u32 {
        role.load(Relaxed)
    }

    #[test]
    fn an_end_goes_and_arrives() {
        let role = held();
        assert!(!depart(&role, YOU, 5, false), "not his");
        assert!(depart(&role, ME, 5, false));
        assert_eq!(take(&role, YOU), Err(LaneError::Taken(Some(ME))), "by name nobody takes it");
        assert_eq!(arrive(&role, YOU, 6), Err(LaneError::Taken(Some(ME))), "another journey");
        assert!(!after_death(arrive(&role, YOU, 5).expect("his ticket")));
        assert_eq!(word(&role), Role::held(YOU));
        assert!(!lose(&role, 5, None) && !stay(&role, ME, 5), "that journey is over");
    }

    #[test]
    fn what_was_not_sent_stays() {
        let role = held();
        assert!(depart(&role, ME, 0, true));
        assert!(stay(&role, ME, 0));
        assert_eq!(word(&role), Role::held(ME));
        give_up(&role, ME, true);
        assert_eq!(word(&role), dead_of(None));
        give_up(&role, ME, false);
        assert_eq!(word(&role), dead_of(None), "not ours any more");
    }

    #[test]
    fn a_lost_ticket_closes_the_end_and_the_flag_outlives_it() {
        for (seen, dead, st, owner) in [
            (false, None, Role::CLOSED, Some(ME)),
            (true, None, Role::DEAD, None),
            (false, Some(YOU), Role::DEAD, Some(YOU)),
            (true, Some(YOU), Role::DEAD, Some(YOU)),
        ] {
            let role = held();
            assert!(depart(&role, ME, 2047, seen));
            assert!(!lose(&role, 2046, dead));
            assert!(lose(&role, 2047, dead));
            assert_eq!(Role::from_bits(word(&role)), Role { owner, st });
            assert_eq!(after_death(take(&role, YOU).expect("free")), st == Role::DEAD);
        }
    }

    #[test]
    fn recovery_leaves_what_moves_alone() {
        let role = held();
        recover_role(&role, YOU);
        assert_eq!(word(&role), Role::held(ME));
        assert!(depart(&role, ME, 9, true));
        recover_role(&role, ME);
        assert_eq!(Role::ticket_of(word(&role)), Some(9));
        assert!(after_death(arrive(&role, YOU, 9).expect("his ticket")), "it may have been seen");
        recover_role(&role, YOU);
        assert_eq!(word(&role), dead_of(Some(YOU)));
    }
}
