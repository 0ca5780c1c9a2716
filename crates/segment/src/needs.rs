//! What the system must offer, looked at once, before the first segment is made or attached.

use std::sync::OnceLock;

use ginnel_layout::line::PAGE;
use nix::sys::utsname::uname;
use nix::unistd::{SysconfVar, sysconf};

use crate::Error;

/// Oldest kernel: the first with `futex_waitv`.
const KERNEL: (u32, u32) = (5, 16);

/// Fails where ginnel cannot work.
pub(crate) fn check() -> Result<(), Error> {
    static MISSING: OnceLock<Option<String>> = OnceLock::new();
    match MISSING.get_or_init(missing) {
        None => Ok(()),
        Some(what) => Err(Error::Unsupported { what: what.clone() }),
    }
}

fn missing() -> Option<String> {
    let release = uname().ok()?.release().to_string_lossy().into_owned();
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    judge(&release, page)
}

fn judge(release: &str, page: Option<i64>) -> Option<String> {
    if version(release).is_some_and(|version| version < KERNEL) {
        return Some(format!("a recent kernel (this is Linux {release})"));
    }
    // The layout counts in pages of 4 KiB, and a part of a file can be mapped only from a border of real pages.
    page.filter(|page| *page != PAGE as i64)
        .map(|page| format!("pages of 4 KiB (its pages have {page} bytes)"))
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_kernels_and_large_pages_are_named() {
        assert!(judge("5.15.0-91-generic", Some(4096)).is_some_and(|what| what.contains("5.15.0")));
        assert!(judge("4.19", Some(4096)).is_some());
        assert!(judge("6.1.0", Some(65536)).is_some_and(|what| what.contains("65536")));
        for fine in ["5.16.0", "5.16-rc1", "6.18.44-custom", "10.0", "unreadable"] {
            assert_eq!(judge(fine, Some(4096)), None, "{fine}");
        }
    }

    #[test]
    fn this_machine_will_do() {
        assert!(check().is_ok());
    }
}
