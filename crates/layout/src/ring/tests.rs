//! Words of slots and cells survive being taken apart.

use super::*;

#[test]
fn slot_words_survive_the_round_trip() {
    let me = ParticipantId::from_index(PARTICIPANTS_MAX - 1);
    for position in [0, 1, 77, POSITION_MAX] {
        let writing = SlotWord::writing(position, me);
        assert_eq!((writing.position(), writing.st()), (position, SlotWord::WRITING));
        assert_eq!(writing.owner(), Some(me));
        let reading = SlotWord::reading(position, me).waited_for();
        assert_eq!((reading.position(), reading.st()), (position, SlotWord::READING));
        assert_eq!((reading.owner(), reading.is_waited_for()), (Some(me), true));
        let back = SlotWord::full(position, SlotWord::REDELIVER);
        assert_eq!((back.position(), back.mark(), back.owner()), (position, SlotWord::REDELIVER, None));
        assert!(!back.is_new(position) && SlotWord::full(position, 0).waited_for().is_new(position));
        assert!(SlotWord::free(position).waited_for().is_free(position));
        assert!(!SlotWord::free(position).is_free(after(position, 1)));
    }
}

#[test]
fn cell_words_survive_the_round_trip() {
    let me = ParticipantId::from_index(3);
    assert_eq!(CellWord::free(0).0, 0);
    for generation in [0, 1, (1 << 47) - 1] {
        for (word, st, owner) in [
            (CellWord::free(generation), CellWord::FREE, None),
            (CellWord::loan(generation, me), CellWord::LOAN, Some(me)),
            (CellWord::held(generation, me), CellWord::HELD, Some(me)),
            (CellWord::orphan(generation), CellWord::ORPHAN, None),
        ] {
            assert_eq!((word.generation(), word.st(), word.owner()), (generation, st, owner));
        }
    }
    assert_eq!(CellWord::free(1 << 47), CellWord::free(0), "generations go round");
}

#[test]
fn owners_that_nobody_is_are_nobody() {
    for bits in [0, u64::from(PARTICIPANTS_MAX) + 1, OWNER_MASK] {
        assert_eq!(SlotWord::new(1, bits, SlotWord::READING).owner(), None, "{bits}");
        assert_eq!(CellWord::new(1, bits, CellWord::HELD).owner(), None, "{bits}");
    }
}

#[test]
fn positions_go_round() {
    assert_eq!(after(POSITION_MAX, 1), 0);
    for from in [0, 5, POSITION_MAX - 2, POSITION_MAX] {
        assert_eq!(distance(from, after(from, 7)), 7);
        assert_eq!(distance(after(from, 7), from), -7);
        assert_eq!(distance(from, from), 0);
    }
}

#[test]
fn holes_are_free_and_cannot_be_claimed() {
    for first in [8, 1 << 40, POSITION_MAX - 7] {
        let (absent, present) = (PresenceWord::absent(first), PresenceWord::present(first));
        assert_eq!((absent.first(), absent.is_present()), (first, false));
        assert_eq!((present.first(), present.is_present()), (first, true));
        let hole = present.hole(3);
        assert_eq!((hole.st(), hole.position(), hole.owner()), (SlotWord::FREE, after(first, 3), None));
        assert!(hole.is_hole() && !hole.is_free(after(first, 3)) && !SlotWord::free(first).is_hole());
    }
}
