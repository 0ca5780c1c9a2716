//! Words that belong to one machine: paths of somebody's home, and registries other than the public one.

use super::Finding;

const RULE: &str = "words";

/// Openings of paths that exist on one machine only; written in two halves so that this file does not match
/// itself.
const PLACES: [&str; 6] = [
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/Us", "ers/"),
    concat!("/wo", "rk/"),
    concat!("/tmp/tar", "get"),
    concat!("file:", "///"),
];

/// The one registry a lock file may name.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

pub(crate) fn check(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (i, line) in text.lines().enumerate() {
        for place in PLACES {
            if line.match_indices(place).any(|(at, _)| opens_a_path(&line[..at])) {
                findings.push(Finding::new(
                    path,
                    i + 1,
                    RULE,
                    format!("`{place}` is a place on one machine"),
                ));
            }
        }
        let source = path.ends_with("Cargo.lock").then(|| line.strip_prefix("source = \"")).flatten();
        if source.is_some_and(|source| source.trim_end_matches('"') != REGISTRY) {
            findings.push(Finding::new(
                path,
                i + 1,
                RULE,
                "the lock file names another registry than crates.io",
            ));
        }
    }
    findings
}

/// A path opens where no other path component stands before it.
fn opens_a_path(before: &str) -> bool {
    !before.ends_with(|c: char| c.is_alphanumeric() || "_-./}".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_is_found() {
        for place in PLACES {
            assert_eq!(check("a.md", &format!("see `{place}somebody/x`")).len(), 1, "{place}");
        }
    }

    #[test]
    fn common_places_and_longer_paths_pass() {
        assert!(check("a.md", "/proc/self/fd, /dev/shm, /tmp/x, frame/work/x").is_empty());
    }

    #[test]
    fn a_foreign_registry_in_the_lock_file_is_found() {
        let good = format!("source = \"{REGISTRY}\"\n");
        assert!(check("Cargo.lock", &good).is_empty());
        assert_eq!(check("Cargo.lock", &good.replace("rust-lang", "other")).len(), 1);
    }
}
