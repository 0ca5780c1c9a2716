//! Changes to an image of shared words, from bytes: nonsense of the kinds that get past coarse checks and fine ones.

/// Bytes of one change.
pub const CHANGE: usize = 11;

/// Applies the changes in `bytes` to an image of `words` words. A change is two bytes of place, one of kind, eight of
/// operand; what is left over at the end changes nothing.
pub fn patch(bytes: &[u8], words: usize, load: impl Fn(usize) -> u64, store: impl Fn(usize, u64)) {
    for change in bytes.as_chunks::<CHANGE>().0 {
        let [low, high, kind, operand @ ..] = *change;
        let (at, operand) =
            (usize::from(u16::from_le_bytes([low, high])) % words, u64::from_le_bytes(operand));
        let old = load(at);
        let new = match kind % 7 {
            0 => operand,
            1 => old ^ 1 << (operand % 64),
            2 => old.wrapping_add(operand % 9),
            3 => old.wrapping_sub(operand % 9),
            4 => load(operand as usize % words),
            5 => operand % 300,
            // One half only: lengths, kinds and states are that wide.
            _ => old & !0xffff_ffff | operand & 0xffff_ffff,
        };
        store(at, new);
    }
}
