//! Ordering edges: every acquire and release says which edge it is an end of, and the head of the file lists
//! them.
//!
//! In the crates that touch shared words, each use of Acquire, Release, AcqRel or SeqCst carries a label
//! `E<n>` in a comment (behind it, or above it or its statement). A row of the file's head defines the label.
//! An edge has two ends: its label is used in at least two places, or its row says `pairs with <file> E<n>`
//! and that file defines it.

use super::Finding;
use super::source::{Source, labels, parent};

const RULE: &str = "edges";

const CRATES: [&str; 6] = ["layout", "sync", "queue", "store", "segment", "object"];

/// Where an ordering passes through as a parameter and is nobody's edge.
const FACADE: &str = "crates/layout/src/atomic.rs";

pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| concerned(&source.path)) {
        findings.extend(check_file(source, sources));
    }
    findings
}

fn concerned(path: &str) -> bool {
    path != FACADE && CRATES.iter().any(|name| path.starts_with(&format!("crates/{name}/src/")))
}

/// Checks a file against its own table and the one of the module file above it; the ends of an edge may lie
/// in any file of such a family.
fn check_file(source: &Source, all: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut report = |line, text: String| findings.push(Finding::new(&source.path, line, RULE, text));
    let table = source.definitions('E');
    let above = parent(all, &source.path).map(|above| above.definitions('E')).unwrap_or_default();
    for site in ends(source) {
        if site.labels.is_empty() {
            report(site.line, format!("{} carries no edge label `E<n>`", site.ordering));
        }
        for label in site.labels {
            if table.iter().chain(&above).all(|(defined, ..)| *defined != label) {
                report(site.line, format!("{label} is not in the edge table at the head of this file"));
            }
        }
    }
    let family = all.iter().filter(|s| s.path == source.path || is_below(all, s, source));
    let used: Vec<(&str, usize, String)> = family
        .flat_map(|s| ends(s).into_iter().map(move |end| (s.path.as_str(), end)))
        .flat_map(|(path, end)| end.labels.into_iter().map(move |label| (path, end.line, label)))
        .collect();
    for (label, line, row) in &table {
        let mut places: Vec<_> =
            used.iter().filter(|(.., l)| l == label).map(|(path, line, _)| (path, line)).collect();
        places.dedup();
        match partner(row) {
            Some((file, other)) if !defines(all, &file, &other) => {
                report(*line, format!("{label} pairs with {file} {other}, which is not there"));
            }
            None if places.len() == 1 => {
                report(*line, format!("{label} has one end only, and names no partner"))
            }
            _ => {}
        }
        if places.is_empty() {
            report(*line, format!("{label} is in the table and nowhere in the code"));
        }
    }
    findings
}

/// A use of an ordering, with the labels that its comments give it.
struct End {
    line: usize,
    ordering: String,
    labels: Vec<String>,
}

fn ends(source: &Source) -> Vec<End> {
    let sites = source.survey.orderings.iter().filter(|site| !site.in_test);
    sites
        .map(|site| {
            let comments = source.comments_for(site.line, site.anchor);
            let labels = comments.iter().map(|text| own_labels(text)).find(|found| !found.is_empty());
            End { line: site.line, ordering: site.name.clone(), labels: labels.unwrap_or_default() }
        })
        .collect()
}

fn is_below(all: &[Source], child: &Source, source: &Source) -> bool {
    parent(all, &child.path).is_some_and(|above| above.path == source.path)
}

/// The labels a comment carries for its own file: those behind a file name belong to that file.
fn own_labels(comment: &str) -> Vec<String> {
    let words: Vec<&str> = comment.split_whitespace().collect();
    let foreign = |i: usize| i > 0 && words[i - 1].trim_matches(|c: char| "`(".contains(c)).ends_with(".rs");
    let own = words.iter().enumerate().filter(|(i, _)| !foreign(*i));
    own.flat_map(|(_, word)| labels(word, 'E')).collect()
}

/// `pairs with <file> E<n>` in a row of the table.
fn partner(row: &str) -> Option<(String, String)> {
    let mut words = row.split_once("pairs with ")?.1.split_whitespace();
    let file = words.next()?.trim_matches('`').to_owned();
    let label = labels(words.next()?, 'E').pop()?;
    Some((file, label))
}

fn defines(all: &[Source], file: &str, label: &str) -> bool {
    let named = |path: &str| path == file || path.ends_with(&format!("/{file}"));
    all.iter().any(|source| named(&source.path) && source.definitions('E').iter().any(|(l, ..)| l == label))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "//! A.\n//!\n//! | E1 | store of a | load of a | the payload |\n";

    fn texts(head: &str, body: &str) -> Vec<String> {
        let source = Source::parse("crates/queue/src/a.rs", &format!("{head}{body}")).unwrap();
        let other = Source::parse("crates/sync/src/park.rs", "//! P.\n//! E3: x\n").unwrap();
        let all = [source, other];
        check_file(&all[0], &all).into_iter().map(|finding| finding.text).collect()
    }

    const BOTH: &str = "fn f() {\n    a.store(1, Release); // E1\n    // E1\n    a.load(Acquire);\n}\n";

    #[test]
    fn a_labelled_pair_passes() {
        assert!(texts(TABLE, BOTH).is_empty());
        let split = BOTH.replace("a.load(Acquire)", "a\n        .b()\n        .load(Acquire)");
        assert!(texts(TABLE, &split).is_empty());
    }

    #[test]
    fn a_missing_label_fails() {
        assert!(texts(TABLE, &BOTH.replace(" // E1", ""))[0].contains("Release carries no"));
        assert!(texts(TABLE, &BOTH.replace("    // E1\n", ""))[0].contains("Acquire carries no"));
    }

    #[test]
    fn a_label_that_the_table_lacks_fails() {
        assert!(texts("//! A.\n", BOTH).iter().all(|text| text.contains("not in the edge table")));
    }

    #[test]
    fn an_edge_with_one_end_fails_unless_it_names_its_partner() {
        let one = "fn f() {\n    a.store(1, Release); // E1\n}\n";
        assert!(texts(TABLE, one)[0].contains("one end only"));
        assert!(texts("//! A.\n//! - E1: wake, pairs with park.rs E3\n", one).is_empty());
        assert!(texts("//! A.\n//! - E1: wake, pairs with park.rs E4\n", one)[0].contains("not there"));
    }

    #[test]
    fn an_edge_without_code_fails() {
        assert!(texts(TABLE, "fn f() {}\n")[0].contains("nowhere"));
    }

    #[test]
    fn a_family_of_files_shares_the_table_of_its_module() {
        let file = |path: &str, text: &str| Source::parse(path, text).unwrap();
        let mut all = vec![
            file("crates/queue/src/a.rs", TABLE),
            file("crates/queue/src/a/p.rs", "//! P.\nfn f() {\n    a.store(1, Release); // E1\n}\n"),
            file("crates/queue/src/a/c.rs", "//! C.\nfn f() {\n    a.load(Acquire); // E1\n}\n"),
        ];
        assert_eq!(check(&all), []);
        all.pop();
        assert!(check(&all)[0].text.contains("one end only"));
        assert!(check(&all[1..])[0].text.contains("not in the edge table"));
    }

    #[test]
    fn the_label_of_another_file_is_no_label_of_this_one() {
        assert_eq!(own_labels("pairs with park.rs E3, our E1"), ["E1"]);
    }

    #[test]
    fn tests_facade_and_other_crates_are_not_concerned() {
        assert!(texts("//! A.\n", "#[cfg(test)]\nmod tests { fn f() { a.load(Acquire); } }\n").is_empty());
        assert!(!concerned(FACADE) && !concerned("benches/src/a.rs") && concerned("crates/sync/src/park.rs"));
    }
}
