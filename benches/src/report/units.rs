//! Numbers as people read them.

/// A time: `189 ns`, `61.4 µs`, `1.20 ms`. Three digits, `us` where only ASCII is wanted.
pub(super) fn time(nanoseconds: u64, unicode: bool) -> String {
    let micro = if unicode { "µs" } else { "us" };
    let value = nanoseconds as f64;
    match nanoseconds {
        0..1_000 => format!("{nanoseconds} ns"),
        1_000..1_000_000 => format!("{} {micro}", digits(value / 1e3)),
        1_000_000..1_000_000_000 => format!("{} ms", digits(value / 1e6)),
        _ => format!("{} s", digits(value / 1e9)),
    }
}

/// A rate: `231 M/s`, `12.6 k/s`, `870 /s`.
pub(super) fn rate(per_s: f64) -> String {
    if per_s >= 1e6 {
        format!("{} M/s", digits(per_s / 1e6))
    } else if per_s >= 1e3 {
        format!("{} k/s", digits(per_s / 1e3))
    } else {
        format!("{} /s", digits(per_s))
    }
}

/// A size: `8 B`, `64 KiB`, `4 MiB`.
pub(super) fn size(bytes: usize) -> String {
    if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) {
        format!("{} MiB", bytes >> 20)
    } else if bytes >= 1 << 10 && bytes.is_multiple_of(1 << 10) {
        format!("{} KiB", bytes >> 10)
    } else {
        format!("{bytes} B")
    }
}

/// A factor: `1.18x`, `37x`.
pub(super) fn factor(value: f64) -> String {
    if value >= 10.0 { format!("{value:.0}x") } else { format!("{value:.2}x") }
}

/// Three digits.
pub(super) fn digits(value: f64) -> String {
    if value >= 99.95 {
        format!("{value:.0}")
    } else if value >= 9.995 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_a_unit() {
        assert_eq!(time(189, true), "189 ns");
        assert_eq!(time(61_400, true), "61.4 µs");
        assert_eq!(time(1_200_000, false), "1.20 ms");
        assert_eq!(rate(231.4e6), "231 M/s");
        assert_eq!(rate(12_600.0), "12.6 k/s");
        assert_eq!(size(64 << 10), "64 KiB");
        assert_eq!(size(100), "100 B");
        assert_eq!(factor(1.178), "1.18x");
        assert_eq!(factor(140.4), "140x");
    }
}
