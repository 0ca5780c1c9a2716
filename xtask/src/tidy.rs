//! `cargo xtask tidy`: the house rules that neither the compiler nor clippy knows.
//!
//! `source` reads a file once (tokens, tree, comments), `survey` lists what in it the rules care about, and
//! each rule is a module with tests that make it fail. A rule that finds nothing to look at is a finding too,
//! so no rule can quietly stop checking.

mod crash;
mod edges;
mod floors;
mod forbidden;
mod sizes;
mod source;
mod survey;
mod unsafety;
mod words;

use std::fmt;
use std::fs;
use std::path::Path;

use crate::workspace::Workspace;
use source::Source;

/// One place where a rule is broken.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    rule: &'static str,
    text: String,
}

impl Finding {
    fn new(path: &str, line: usize, rule: &'static str, text: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, rule, text: text.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.path, self.line, self.rule, self.text)
    }
}

pub(crate) fn run(workspace: &Workspace) -> Result<(), String> {
    let texts = read_tree(&workspace.root)?;
    let mut findings = floors::check(&workspace.packages, |manifest| {
        texts.iter().find(|(path, _)| path == manifest).map(|(_, text)| text.as_str())
    });
    let mut sources = Vec::new();
    for (path, text) in &texts {
        findings.extend(words::check(path, text));
        if path.ends_with(".rs") {
            match Source::parse(path, text) {
                Ok(source) => sources.push(source),
                Err(finding) => findings.push(finding),
            }
        }
    }
    findings.extend(check_sources(&sources));
    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    println!("tidy: {} files, {} findings", texts.len(), findings.len());
    if findings.is_empty() { Ok(()) } else { Err(format!("tidy found {}", findings.len())) }
}

/// The rules over Rust files; the last ones need all files at once.
fn check_sources(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        findings.extend(sizes::check(source));
        findings.extend(forbidden::check(source));
        findings.extend(unsafety::check(source, source::parent(sources, &source.path)));
    }
    findings.extend(unsafety::check_list(sources, unsafety::MODULES));
    findings.extend(edges::check(sources));
    findings.extend(crash::check(sources));
    findings
}

/// Every text file below the root that belongs to the project, as (path with slashes, text), sorted.
fn read_tree(root: &Path) -> Result<Vec<(String, String)>, String> {
    const TEXT: [&str; 8] = ["rs", "md", "toml", "lock", "yml", "sh", "h", "c"];
    let mut texts = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        for entry in entries {
            let entry = entry.map_err(|e| format!("{}: {e}", folder.display()))?;
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().map_err(|e| format!("{}: {e}", path.display()))?;
            if kind.is_dir() {
                let foreign = ["target", ".git", "corpus", "artifacts"].contains(&name.as_str());
                folders.extend((!foreign).then_some(path));
                continue;
            }
            let text_file = path.extension().is_some_and(|e| TEXT.iter().any(|t| e == *t))
                || folder.file_name().is_some_and(|f| f == ".ci");
            if kind.is_file() && text_file {
                let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
                let relative = path.strip_prefix(root).unwrap_or(&path);
                texts.push((relative.display().to_string(), text));
            }
        }
    }
    texts.sort();
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_says_where_and_which_rule() {
        let finding = Finding::new("a/b.rs", 3, "size", "too long");
        assert_eq!(finding.to_string(), "a/b.rs:3: size: too long");
    }

    #[test]
    fn every_rule_is_wired_to_the_command() {
        let bad = "// no head\nfn f() { todo!(); w.load(Acquire); unsafe { g() } }\n";
        let table = "//! | 1 | x | nobody | `kill_nothing` |\n";
        let sources = [("bad.rs", bad), ("table.rs", table)]
            .map(|(name, text)| Source::parse(&format!("crates/queue/src/{name}"), text).unwrap());
        let findings = check_sources(&sources);
        for rule in ["head", "unfinished", "edges", "unsafe", "crash"] {
            assert!(
                findings.iter().any(|f| f.rule == rule && f.path.ends_with(".rs")),
                "{rule} is not wired"
            );
        }
    }

    #[test]
    fn the_tree_leaves_out_what_is_built() {
        let root = tempfile::tempdir().unwrap();
        for path in ["src", "target/debug", ".ci"] {
            fs::create_dir_all(root.path().join(path)).unwrap();
        }
        for path in ["src/a.rs", "target/debug/b.rs", ".ci/run", "src/picture.png"] {
            fs::write(root.path().join(path), "x").unwrap();
        }
        let paths: Vec<_> = read_tree(root.path()).unwrap().into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths, [".ci/run", "src/a.rs"]);
    }

    #[test]
    fn a_file_that_is_not_rust_is_a_finding() {
        assert!(Source::parse("a.rs", "//! A.\nfn {").is_err());
    }
}
