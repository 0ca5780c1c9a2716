//! What no file may contain: unfinished code, ignored tests, and sleeps that stand for synchronisation.
//!
//! A test that sleeps hopes; a test that waits with a watchdog knows. Where a test sleeps because time itself
//! is its subject or its pace, the comment above says so with the words "not synchronisation".

use super::Finding;
use super::source::Source;

const EXCUSE: &str = "not synchronisation";

pub(crate) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut report = |line, rule, text: String| findings.push(Finding::new(&source.path, line, rule, text));
    for site in &source.survey.unfinished {
        report(site.line, "unfinished", format!("`{}!`", site.name));
    }
    for line in &source.survey.ignored {
        report(*line, "ignored", "an ignored test proves nothing: repair it or remove it".into());
    }
    for site in source.survey.sleeps.iter().filter(|site| site.in_test) {
        let comments = source.comments_for(site.line, site.anchor);
        if !comments.iter().any(|comment| comment.contains(EXCUSE)) {
            let text = format!("a test sleeps: wait with a watchdog, or say above it why this is {EXCUSE}");
            report(site.line, "sleep", text);
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Vec<&'static str> {
        check(&Source::parse("crates/a/tests/a.rs", text).unwrap())
            .into_iter()
            .map(|found| found.rule)
            .collect()
    }

    #[test]
    fn each_rule_bites() {
        assert_eq!(rules("//! A.\nfn f() { todo!() }\n"), ["unfinished"]);
        assert_eq!(rules("//! A.\nfn f() { unimplemented!(\"x\") }\n"), ["unfinished"]);
        assert_eq!(rules("//! A.\n#[test]\n#[ignore = \"slow\"]\nfn f() {}\n"), ["ignored"]);
        assert_eq!(rules("//! A.\nfn f() { std::thread::sleep(d); }\n"), ["sleep"]);
        assert_eq!(rules("//! A.\nfn f() { g!(thread::sleep(d)); }\n"), ["sleep"]);
    }

    #[test]
    fn a_reasoned_sleep_passes() {
        assert!(
            rules("//! A.\nfn f() {\n    // Pacing, not synchronisation.\n    thread::sleep(d);\n}\n")
                .is_empty()
        );
    }

    #[test]
    fn sleeping_outside_tests_is_no_matter_of_this_rule() {
        assert!(
            check(&Source::parse("crates/a/src/a.rs", "//! A.\nfn f() { sleep(d) }\n").unwrap()).is_empty()
        );
    }
}
