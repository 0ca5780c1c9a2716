//! `ginnel doctor`: whether this machine has what ginnel needs, and what would make it faster.
//!
//! Each check is a small function that looks at one thing and gives a [`Finding`]; none of them changes
//! anything.

mod checks;
mod memory;

use std::io::{Write, stdout};
use std::process::ExitCode;

use serde::Serialize;

use crate::args::Doctor;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    /// As it should be.
    Ok,
    /// ginnel works, but slower, or not all of it.
    Warn,
    /// ginnel does not work.
    Fail,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    check: &'static str,
    level: Level,
    found: String,
    /// What to do, where something is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, found: found.into(), advice: None }
    }

    fn warn(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, level: Level::Warn, found: found.into(), advice: Some(advice.into()) }
    }

    fn fail(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, level: Level::Fail, found: found.into(), advice: Some(advice.into()) }
    }
}

/// Runs the command.
pub(crate) fn run(options: &Doctor) -> ExitCode {
    let findings = examine();
    let text = if options.json { as_json(&findings) } else { as_lines(&findings) };
    // Whoever closed standard output does not want the rest.
    let _ = stdout().write_all(text.as_bytes());
    if findings.iter().any(|finding| finding.level == Level::Fail) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn examine() -> Vec<Finding> {
    vec![
        checks::kernel(),
        checks::page_size(),
        checks::futex_waitv(),
        checks::populate(),
        checks::memfd(),
        checks::proc_files(),
        memory::shm(std::path::Path::new("/dev/shm")),
        memory::limits(),
        checks::cores(),
        checks::cpu_quota(),
        checks::halt_polling(),
    ]
}

fn as_json(findings: &[Finding]) -> String {
    findings
        .iter()
        .filter_map(|finding| serde_json::to_string(finding).ok())
        .map(|line| line + "\n")
        .collect()
}

fn as_lines(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        text += &format!("{:<5} {:<20} {}\n", finding.level.name(), finding.check, finding.found);
        if let Some(advice) = &finding.advice {
            text += &format!("{:27}{advice}\n", "");
        }
    }
    let worst = findings.iter().map(|finding| finding.level).max();
    text += match worst {
        Some(Level::Fail) => "\nginnel does not work here until the lines marked fail are dealt with.\n",
        Some(Level::Warn) => "\nginnel works here; the lines marked warn cost speed or comfort.\n",
        _ => "\nginnel has all it needs here.\n",
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_stands_below_its_finding_and_the_verdict_last() {
        let findings = [Finding::ok("kernel", "Linux 6.18"), Finding::warn("cores", "one", "find another")];
        let text = as_lines(&findings);
        assert!(text.starts_with("ok    kernel               Linux 6.18\nwarn  cores"));
        assert!(text.contains("\n                           find another\n"));
        assert!(text.ends_with("cost speed or comfort.\n"));
    }

    #[test]
    fn json_has_a_line_a_check() {
        let text = as_json(&[Finding::ok("kernel", "Linux 6.18"), Finding::fail("memfd", "none", "get one")]);
        assert_eq!(
            text,
            "{\"check\":\"kernel\",\"level\":\"ok\",\"found\":\"Linux 6.18\"}\n\
             {\"check\":\"memfd\",\"level\":\"fail\",\"found\":\"none\",\"advice\":\"get one\"}\n"
        );
    }

    #[test]
    fn every_check_answers_once_and_says_what_to_do() {
        let findings = examine();
        let mut names: Vec<_> = findings.iter().map(|finding| finding.check).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), findings.len());
        for finding in findings {
            assert_eq!(finding.advice.is_some(), finding.level != Level::Ok, "{finding:?}");
        }
    }
}
