//! Ceilings and heads: a file opens with what it is, has at most 800 lines, and its functions at most 70.

use super::Finding;
use super::source::Source;

const FILE_LINES: usize = 800;
const FUNCTION_LINES: usize = 70;

pub(crate) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut report = |line, rule, text: String| findings.push(Finding::new(&source.path, line, rule, text));
    let opening = source.lines.first().map_or("", String::as_str);
    if opening.strip_prefix("//!").is_none_or(|text| text.trim().is_empty()) {
        report(1, "head", "the file does not open with `//!` and what it is".into());
    }
    if source.lines.len() > FILE_LINES {
        report(1, "size", format!("{} lines, the ceiling is {FILE_LINES}", source.lines.len()));
    }
    for function in source.survey.functions.iter().filter(|function| function.length > FUNCTION_LINES) {
        let text =
            format!("`{}` has {} lines, the ceiling is {FUNCTION_LINES}", function.name, function.length);
        report(function.line, "size", text);
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Vec<&'static str> {
        check(&Source::parse("a.rs", text).unwrap()).into_iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn a_short_file_with_a_head_passes() {
        assert!(rules("//! A.\nfn f() {}\n").is_empty());
    }

    #[test]
    fn a_missing_or_empty_head_fails() {
        assert_eq!(rules("fn f() {}\n"), ["head"]);
        assert_eq!(rules("//!\nfn f() {}\n"), ["head"]);
        assert_eq!(rules("#![allow(a)]\n//! A.\n"), ["head"]);
    }

    #[test]
    fn long_files_and_functions_fail() {
        assert_eq!(rules(&format!("//! A.\n{}", "\n".repeat(FILE_LINES))), ["size"]);
        let body = |lines| format!("//! A.\nfn f() {{\n{}}}\n", "    g();\n".repeat(lines));
        assert!(rules(&body(FUNCTION_LINES - 2)).is_empty());
        assert_eq!(rules(&body(FUNCTION_LINES - 1)), ["size"]);
    }
}
