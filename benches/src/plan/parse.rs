//! Sizes and capacities as people write them.

/// The largest message that can be asked for.
pub const SIZE_MAX: usize = 64 << 20;

/// Reads a size such as `64`, `1KiB`, `64k` or `4MiB`.
///
/// # Errors
/// What is no size, no multiple of 8, zero, or above [`SIZE_MAX`]; the message says which.
pub fn parse_size(text: &str) -> Result<usize, String> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|character: char| !character.is_ascii_digit());
    let unit = match lower[digits.len()..].trim_start() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        _ => return Err(format!("{text:?} is no size; write 64, 1KiB or 4MiB")),
    };
    let number: usize = digits.parse().map_err(|_| format!("{text:?} is no size; write 64, 1KiB or 4MiB"))?;
    match number.checked_mul(unit) {
        Some(size) if size == 0 || size % 8 != 0 => Err(format!("a size is a multiple of 8, not {size}")),
        Some(size) if size <= SIZE_MAX => Ok(size),
        _ => Err(format!("{text:?} is above the largest size, 64MiB")),
    }
}

/// Reads a capacity of a queue, such as `256`.
///
/// # Errors
/// What is no power of two between 2 and 65536.
pub fn parse_capacity(text: &str) -> Result<usize, String> {
    let capacity = text.parse().ok().filter(|capacity: &usize| capacity.is_power_of_two());
    capacity
        .filter(|capacity| (2..=1 << 16).contains(capacity))
        .ok_or_else(|| format!("a capacity is a power of two between 2 and 65536, not {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!(parse_size("64"), Ok(64));
        assert_eq!(parse_size("1KiB"), Ok(1024));
        assert_eq!(parse_size("4 MiB"), Ok(4 << 20));
        for wrong in ["", "x", "7", "0", "1GiB", "128MiB", "99999999999999999999", "-8"] {
            parse_size(wrong).expect_err(wrong);
        }
    }

    #[test]
    fn capacities_are_read() {
        assert_eq!(parse_capacity("256"), Ok(256));
        for wrong in ["", "0", "1", "100", "131072", "-2", "2k"] {
            parse_capacity(wrong).expect_err(wrong);
        }
    }
}
