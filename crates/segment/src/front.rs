//! Reading the front of a segment that somebody else made: once, into private memory, believing nothing.
//!
//! The file is read rather than mapped, so that a truncated or foreign file cannot fault. All offsets are computed
//! anew from the four counts and compared; nothing geometric is looked at in shared memory ever again.

use std::fmt::Display;
use std::mem::offset_of;
use std::os::fd::AsFd;

use ginnel_layout::LAYOUT_VERSION;
use ginnel_layout::header::{Control, Geometry, Header, MAGIC, layout_hash, segment_flag, segment_state};
use ginnel_layout::line::LINE;
use nix::errno::Errno;
use nix::sys::stat::fstat;
use nix::sys::uio::{pread, pwrite};

use crate::Error;

/// Offset of [`Control::state`] in the file.
const STATE_AT: usize = LINE + offset_of!(Control, state);

/// A front that was found to be good.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Front {
    pub(crate) geometry: Geometry,
    pub(crate) uuid: [u64; 2],
    /// Removed, or being removed.
    pub(crate) gone: bool,
    /// The name stays when the last participant leaves.
    pub(crate) persistent: bool,
}

impl Front {
    /// Reads and judges the front of the file behind `fd`.
    pub(crate) fn read(fd: impl AsFd, of: &dyn Display) -> Result<Self, Error> {
        let look = |errno| Error::os("read", of, errno);
        let stat = fstat(&fd).map_err(look)?;
        let mut bytes = [0; 2 * LINE];
        let read = pread(&fd, &mut bytes, 0).map_err(look)?;
        let length = stat.st_size as u64;
        if read < bytes.len() {
            let shortest = Geometry { participants: 1, objects: 1, pages: 1 }.total_len();
            return Err(Error::WrongSize { of: of.to_string(), expected: shortest, found: length });
        }
        let front = Self::judge(&bytes, of)?;
        let expected = front.geometry.total_len();
        if length != expected {
            return Err(Error::WrongSize { of: of.to_string(), expected, found: length });
        }
        Ok(Self { gone: front.gone || stat.st_nlink == 0, ..front })
    }

    fn judge(bytes: &[u8; 2 * LINE], of: &dyn Display) -> Result<Self, Error> {
        let of = || of.to_string();
        let bad = |what| Err(Error::BadHeader { of: of(), what });
        if word(bytes, offset_of!(Header, magic)) != MAGIC {
            return Err(Error::WrongMagic { of: of() });
        }
        let version = half(bytes, offset_of!(Header, version));
        let hash = word(bytes, offset_of!(Header, layout_hash));
        if (version, hash) != (LAYOUT_VERSION, layout_hash()) {
            let show = |version, hash| format!("{version}/{hash:016x}");
            let (found, ours) = (show(version, hash), show(LAYOUT_VERSION, layout_hash()));
            return Err(Error::OtherLayout { of: of(), found, ours });
        }
        let flags = half(bytes, offset_of!(Header, flags));
        if flags & !segment_flag::ALL != 0 {
            return bad("unknown flags");
        }
        let participants = half(bytes, offset_of!(Header, participants));
        let objects = half(bytes, offset_of!(Header, objects));
        let pages = word(bytes, offset_of!(Header, pages));
        let Some(geometry) = u16::try_from(participants).ok().and_then(|n| Geometry::new(n, objects, pages))
        else {
            return bad("a count out of bounds");
        };
        if word(bytes, offset_of!(Header, total_len)) != geometry.total_len() {
            return bad("a length that does not follow from the counts");
        }
        let uuid = [0, 8].map(|half| word(bytes, offset_of!(Header, uuid) + half));
        let gone = match half(bytes, STATE_AT) {
            segment_state::READY => false,
            segment_state::DEAD => true,
            _ => return bad("an unknown state"),
        };
        Ok(Self { geometry, uuid, gone, persistent: flags & segment_flag::PERSISTENT != 0 })
    }
}

/// Tells openers that were faster than the removal of the name to look again. The caller holds the gate alone.
pub(crate) fn mark_dead(fd: impl AsFd) -> Result<(), Errno> {
    pwrite(fd, &segment_state::DEAD.to_ne_bytes(), STATE_AT as i64).map(drop)
}

/// Does the file start as a segment of any layout does?
pub(crate) fn has_magic(fd: impl AsFd) -> Result<bool, Errno> {
    let mut bytes = [0; 8];
    Ok(pread(fd, &mut bytes, 0)? == 8 && u64::from_ne_bytes(bytes) == MAGIC)
}

fn word(bytes: &[u8; 2 * LINE], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_ne_bytes(word)
}

fn half(bytes: &[u8; 2 * LINE], at: usize) -> u32 {
    let mut half = [0; 4];
    half.copy_from_slice(&bytes[at..at + 4]);
    u32::from_ne_bytes(half)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The front of a segment of 2 participants, 3 objects and 4 pages.
    fn image() -> [u8; 2 * LINE] {
        let mut bytes = [0; 2 * LINE];
        let geometry = Geometry::new(2, 3, 4).expect("within bounds");
        let words = [
            (offset_of!(Header, magic), MAGIC),
            (offset_of!(Header, layout_hash), layout_hash()),
            (offset_of!(Header, total_len), geometry.total_len()),
            (offset_of!(Header, uuid), 5),
            (offset_of!(Header, uuid) + 8, 6),
            (offset_of!(Header, pages), 4),
        ];
        for (at, value) in words {
            bytes[at..at + 8].copy_from_slice(&value.to_ne_bytes());
        }
        let halves = [
            (offset_of!(Header, version), LAYOUT_VERSION),
            (offset_of!(Header, participants), 2),
            (offset_of!(Header, objects), 3),
            (STATE_AT, segment_state::READY),
        ];
        for (at, value) in halves {
            put(&mut bytes, at, value);
        }
        bytes
    }

    fn put(bytes: &mut [u8; 2 * LINE], at: usize, value: u32) {
        bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }

    #[test]
    fn a_good_front_passes() {
        let front = Front::judge(&image(), &"it").expect("good");
        assert_eq!((front.geometry.objects, front.uuid, front.gone), (3, [5, 6], false));
        let mut dead = image();
        put(&mut dead, STATE_AT, segment_state::DEAD);
        assert!(Front::judge(&dead, &"it").expect("good").gone);
        assert!(!front.persistent);
        let mut kept = image();
        put(&mut kept, offset_of!(Header, flags), segment_flag::PERSISTENT);
        assert!(Front::judge(&kept, &"it").expect("good").persistent);
    }

    #[test]
    fn every_field_is_judged() {
        let with = |at, value| {
            let mut bytes = image();
            put(&mut bytes, at, value);
            Front::judge(&bytes, &"it").expect_err("refused")
        };
        assert!(matches!(with(offset_of!(Header, magic), 1), Error::WrongMagic { .. }));
        assert!(matches!(with(offset_of!(Header, version), 99), Error::OtherLayout { .. }));
        assert!(matches!(with(offset_of!(Header, layout_hash), 1), Error::OtherLayout { .. }));
        for (at, value) in [
            (offset_of!(Header, flags), 2),
            (offset_of!(Header, participants), 0),
            (offset_of!(Header, participants), 0x1_0002),
            (offset_of!(Header, objects), u32::MAX),
            (offset_of!(Header, pages), 0),
            (offset_of!(Header, pages) + 4, 7),
            (offset_of!(Header, total_len), 7),
            (STATE_AT, 0),
            (STATE_AT, 3),
        ] {
            assert!(matches!(with(at, value), Error::BadHeader { .. }), "{at} {value}");
        }
    }

    #[test]
    fn any_bytes_give_an_answer() {
        let mut state = 1_u64;
        for _ in 0..20_000 {
            let mut bytes = image();
            for _ in 0..1 + state % 3 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                bytes[(state >> 33) as usize % bytes.len()] ^= 1 << (state >> 60 & 7);
            }
            let _ = Front::judge(&bytes, &"it");
        }
    }
}
