//! Floors: a member depends on lower floors only, and neither `queue` nor `store` knows a segment.
//!
//! The floor of a crate is `package.metadata.floor` of its manifest. Dependencies for tests are exempt,
//! because a test may stand on anything; the absence of `segment` in those two holds for them too, or its tests
//! would stop proving that the algorithms run on any memory. Every member also has to take the workspace's
//! lints.

use super::Finding;
use crate::workspace::Package;

const RULE: &str = "floors";

/// Pairs that must not meet at all: (who, must not know, because).
const STRANGERS: [(&str, &str, &str); 2] =
    [("ginnel-queue", "ginnel-segment", BORROWED), ("ginnel-store", "ginnel-segment", BORROWED)];

const BORROWED: &str =
    "algorithms work on borrowed views, so that the same code runs on the heap, under loom and in a mapping";

/// Checks the members; `text_of` gives the text of a manifest.
pub(crate) fn check<'a>(packages: &[Package], text_of: impl Fn(&str) -> Option<&'a str>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages {
        let mut report = |text: String| findings.push(Finding::new(&package.manifest, 1, RULE, text));
        if !text_of(&package.manifest).is_some_and(takes_workspace_lints) {
            report("the manifest lacks `[lints] workspace = true`".into());
        }
        let Some(floor) = package.floor else {
            report("the manifest names no `package.metadata.floor`".into());
            continue;
        };
        for dependency in &package.dependencies {
            let stranger =
                STRANGERS.iter().find(|(who, whom, _)| *who == package.name && *whom == dependency.name);
            if let Some((_, whom, because)) = stranger {
                report(format!("must not know {whom}: {because}"));
            }
            let below =
                packages.iter().find(|other| other.name == dependency.name).and_then(|other| other.floor);
            if !dependency.dev && below.is_some_and(|below| below >= floor) {
                let below = below.unwrap_or_default();
                report(format!(
                    "stands on floor {floor} and depends on {} on floor {below}",
                    dependency.name
                ));
            }
        }
    }
    for (who, whom, _) in STRANGERS {
        for name in [who, whom] {
            if packages.iter().all(|package| package.name != name) {
                findings.push(Finding::new(
                    "Cargo.toml",
                    1,
                    RULE,
                    format!("{name} is kept apart but does not exist"),
                ));
            }
        }
    }
    findings
}

fn takes_workspace_lints(manifest: &str) -> bool {
    let mut lines = manifest.lines().map(str::trim).skip_while(|line| *line != "[lints]").skip(1);
    lines.find(|line| !line.is_empty() && !line.starts_with('#')) == Some("workspace = true")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    const LINTS: &str = "[package]\n\n[lints]\nworkspace = true\n";

    fn package(name: &str, floor: Option<u64>, dependencies: &[(&str, bool)]) -> Package {
        Package {
            name: name.into(),
            floor,
            manifest: format!("{name}/Cargo.toml"),
            dependencies: dependencies
                .iter()
                .map(|(n, dev)| Dependency { name: (*n).into(), dev: *dev })
                .collect(),
        }
    }

    fn house(more: Vec<Package>) -> Vec<Package> {
        let mut all = vec![package("ginnel-segment", Some(1), &[])];
        for name in ["ginnel-queue", "ginnel-store"] {
            if more.iter().all(|package| package.name != name) {
                all.push(package(name, Some(2), &[]));
            }
        }
        all.extend(more);
        all
    }

    fn texts(packages: &[Package]) -> Vec<String> {
        check(packages, |_| Some(LINTS)).into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn lower_floors_are_fine() {
        assert!(
            texts(&house(vec![package("ginnel-object", Some(3), &[("ginnel-segment", false)])])).is_empty()
        );
    }

    #[test]
    fn the_same_floor_and_a_higher_one_are_not() {
        for floor in [0, 1] {
            let found = texts(&house(vec![package("a", Some(floor), &[("ginnel-segment", false)])]));
            assert!(found[0].contains("depends on ginnel-segment on floor 1"), "{found:?}");
        }
    }

    #[test]
    fn tests_may_look_up() {
        assert!(texts(&house(vec![package("a", Some(0), &[("ginnel-segment", true)])])).is_empty());
    }

    #[test]
    fn queue_must_not_know_segment_even_in_tests() {
        let found = texts(&house(vec![package("ginnel-queue", Some(2), &[("ginnel-segment", true)])]));
        assert!(found[0].starts_with("must not know"), "{found:?}");
    }

    #[test]
    fn a_missing_floor_a_missing_member_and_missing_lints_are_found() {
        assert!(texts(&house(vec![package("a", None, &[])]))[0].contains("names no"));
        // The segment is missing twice: once for each that must not know it.
        let pair = ["ginnel-queue", "ginnel-store"].map(|name| package(name, Some(2), &[]));
        assert_eq!(texts(&pair).len(), 2);
        let found = check(&house(vec![]), |_| Some("[package]\n[lints]\n[dependencies]\n"));
        assert_eq!(found.len(), 3);
    }
}
