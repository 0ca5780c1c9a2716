//! Crash tables and kill tests name each other.
//!
//! A row of a crash table may name its test: `kill_<structure>_<step>` in backquotes in the head of a file.
//! Such a name has to be a `#[test]`, and a `#[test]` with such a name has to be in a row: a table without a
//! test is a hope, and a test without a row is a promise nobody can read.

use super::Finding;
use super::source::Source;

const RULE: &str = "crash";
const PREFIX: &str = "kill_";

pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut named = Vec::new();
    for source in sources {
        for (line, row) in source.head() {
            named.extend(names(row).map(|name| (name.to_owned(), &source.path, line)));
        }
    }
    let tests: Vec<_> = sources
        .iter()
        .filter(|source| !source.path.starts_with("xtask/"))
        .flat_map(|source| source.survey.tests.iter().map(move |test| (test, &source.path)))
        .filter(|(test, _)| test.name.starts_with(PREFIX))
        .collect();
    for (name, path, line) in &named {
        if !tests.iter().any(|(test, _)| test.name == *name) {
            findings.push(Finding::new(
                path,
                *line,
                RULE,
                format!("names the test `{name}`, which does not exist"),
            ));
        }
    }
    for (test, path) in tests {
        if !named.iter().any(|(name, ..)| *name == test.name) {
            findings.push(Finding::new(
                path,
                test.line,
                RULE,
                format!("no crash table names `{}`", test.name),
            ));
        }
    }
    findings
}

/// The names in backquotes that look like kill tests.
fn names(row: &str) -> impl Iterator<Item = &str> {
    row.split('`').skip(1).step_by(2).filter(|word| {
        let rest = word.strip_prefix(PREFIX);
        rest.is_some_and(|rest| {
            !rest.is_empty() && rest.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(head: &str, test: &str) -> Vec<String> {
        let table = Source::parse("crates/queue/src/lane.rs", &format!("//! A.\n{head}")).unwrap();
        let tests = Source::parse("tests/tests/kill.rs", &format!("//! K.\n{test}")).unwrap();
        check(&[table, tests]).into_iter().map(|finding| finding.text).collect()
    }

    const ROW: &str = "//! | 2 | nothing visible | nobody | `kill_lane_fill` |\n";
    const TEST: &str = "#[test]\nfn kill_lane_fill() {}\n";

    #[test]
    fn a_row_and_its_test_pass() {
        assert!(texts(ROW, TEST).is_empty());
    }

    #[test]
    fn a_row_without_test_and_a_test_without_row_fail() {
        assert!(texts(ROW, "")[0].contains("does not exist"));
        assert!(texts(ROW, "fn kill_lane_fill() {}\n")[0].contains("does not exist"));
        assert!(texts("", TEST)[0].contains("no crash table"));
    }

    #[test]
    fn other_words_are_no_tests() {
        assert!(texts("//! `kill -9` and `kill_` and kill_x\n", "").is_empty());
    }
}
