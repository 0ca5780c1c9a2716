//! A Rust file, read once: its lines, its tokens' extent, its comments, and the survey of its tree.
//!
//! Comments are no tokens, so they are found by subtraction: what stands on a line behind the last token and
//! starts with two slashes. A slash inside a string is inside a token and never counted.

use proc_macro2::{TokenStream, TokenTree};

use super::Finding;
use super::survey::Survey;

#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) lines: Vec<String>,
    pub(crate) survey: Survey,
    comments: Vec<Option<String>>,
    /// Lines that hold a token.
    code: Vec<bool>,
}

impl Source {
    pub(crate) fn parse(path: &str, text: &str) -> Result<Self, Finding> {
        let refuse = |e: &dyn std::fmt::Display, line| Finding::new(path, line, "parse", e.to_string());
        let tokens: TokenStream =
            text.parse().map_err(|e: proc_macro2::LexError| refuse(&e, e.span().start().line))?;
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let mut ends = vec![None; lines.len() + 2];
        mark(tokens.clone(), &mut ends);
        let tree: syn::File = syn::parse2(tokens).map_err(|e| refuse(&e, e.span().start().line))?;
        let comments = lines.iter().zip(&ends[1..]).map(|(line, end)| comment(line, *end)).collect();
        let code = ends[1..].iter().map(Option::is_some).collect();
        Ok(Self { path: path.to_owned(), survey: Survey::of(&tree, path), lines, comments, code })
    }

    /// The comment at the end of a line (from 1), without its slashes.
    pub(crate) fn comment(&self, line: usize) -> Option<&str> {
        self.comments.get(line.checked_sub(1)?)?.as_deref()
    }

    /// The comments that speak for the code on `line`, which belongs to something that starts on line
    /// `anchor`, the nearest first: for each line from `line` up to `anchor` what stands behind it and the
    /// block of comment lines directly above it. Attributes may stand between.
    pub(crate) fn comments_for(&self, line: usize, anchor: usize) -> Vec<String> {
        let candidates = (anchor.min(line)..=line).rev();
        let texts = candidates.map(|candidate| {
            let pieces = self.block_above(candidate).into_iter().chain(self.comment(candidate));
            pieces.map(str::trim).collect::<Vec<_>>().join(" ")
        });
        texts.filter(|text| !text.is_empty()).collect()
    }

    fn block_above(&self, line: usize) -> Vec<&str> {
        let mut block = Vec::new();
        let mut above = line.saturating_sub(1);
        while above >= 1 {
            let attribute = self.lines[above - 1].trim_start().starts_with("#[");
            match self.comment(above) {
                Some(comment) if !self.code[above - 1] => block.push(comment),
                _ if attribute => {}
                _ => break,
            }
            above -= 1;
        }
        block.reverse();
        block
    }

    /// The module documentation, of the file and of the modules inside it: line number and text behind the
    /// mark.
    pub(crate) fn head(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines
            .iter()
            .enumerate()
            .filter_map(|(i, line)| Some((i + 1, line.trim_start().strip_prefix("//!")?.trim())))
    }

    /// The places of a head that define a label, with their rows: the label opens the row (perhaps as a list
    /// item or a table cell), or a colon follows it.
    pub(crate) fn definitions(&self, letter: char) -> Vec<(String, usize, &str)> {
        let mut found: Vec<(String, usize, &str)> = Vec::new();
        for (line, row) in self.head() {
            let opening = row.trim_start_matches(|c: char| "|-* `[".contains(c));
            for label in labels(row, letter) {
                let defines = label_at(opening, letter) == Some(&label) || row.contains(&format!("{label}:"));
                if defines && !found.iter().any(|(known, ..)| *known == label) {
                    found.push((label, line, row));
                }
            }
        }
        found
    }
}

/// The file above this one: `lane.rs` of `lane/producer.rs`. A structure cut into several files keeps one
/// head.
pub(crate) fn parent<'a>(sources: &'a [Source], path: &str) -> Option<&'a Source> {
    let (folder, _) = path.rsplit_once('/')?;
    let names = [format!("{folder}.rs"), format!("{folder}/mod.rs")];
    sources.iter().find(|source| source.path != path && names.contains(&source.path))
}

/// The label at the very start of a text: the letter, digits, and then no further word character.
fn label_at(text: &str, letter: char) -> Option<&str> {
    let digits = text.strip_prefix(letter)?;
    let length = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let whole = !digits[length..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
    (length > 0 && whole).then(|| &text[..letter.len_utf8() + length])
}

/// Every label of this letter in a text.
pub(crate) fn labels(text: &str, letter: char) -> Vec<String> {
    let mut found = Vec::new();
    let mut before = ' ';
    for (i, c) in text.char_indices() {
        if c == letter && !before.is_alphanumeric() && before != '_' {
            found.extend(label_at(&text[i..], letter).map(str::to_owned));
        }
        before = c;
    }
    found
}

/// Notes for each line in which column its last token ends; a line inside a long token is full.
fn mark(tokens: TokenStream, ends: &mut [Option<usize>]) {
    let mut note = |line: usize, column: usize| {
        if let Some(end) = ends.get_mut(line) {
            *end = Some(end.unwrap_or(0).max(column));
        }
    };
    let mut inner = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                for span in [group.span_open(), group.span_close()] {
                    note(span.end().line, span.end().column);
                }
                inner.push(group.stream());
            }
            other => {
                let (start, end) = (other.span().start(), other.span().end());
                for line in start.line..end.line {
                    note(line, usize::MAX);
                }
                note(end.line, end.column);
            }
        }
    }
    for stream in inner {
        mark(stream, ends);
    }
}

fn comment(line: &str, end: Option<usize>) -> Option<String> {
    let behind: String = line.chars().skip(end.unwrap_or(0)).collect();
    let behind = behind.trim_start_matches(|c: char| c.is_whitespace() || c == ',' || c == ';');
    let text = behind.strip_prefix("//")?;
    Some(text.trim_start_matches(['/', '!']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_in_a_string_is_none() {
        let source = Source::parse("a.rs", "//! A.\nconst A: &str = \"// no\"; // yes\n").unwrap();
        assert_eq!(source.comment(2), Some(" yes"));
        let source = Source::parse("a.rs", "//! A.\nconst A: &str = \"a\n// no\n\";\n").unwrap();
        assert_eq!(source.comment(3), None);
    }

    #[test]
    fn comments_above_a_statement_speak_for_its_later_lines() {
        let text = "//! A.\nfn f() {\n    // one\n    // two\n    #[cfg(a)]\n    g(\n        1,\n    );\n}\n";
        let source = Source::parse("a.rs", text).unwrap();
        assert_eq!(source.comments_for(7, 6), ["one two"]);
        assert!(source.comments_for(7, 7).is_empty());
    }

    #[test]
    fn a_comment_behind_the_line_before_speaks_for_that_line_only() {
        let source = Source::parse("a.rs", "//! A.\nfn f() {\n    g(); // one\n    g();\n}\n").unwrap();
        assert!(source.comments_for(4, 4).is_empty());
        assert_eq!(source.comments_for(3, 3), ["one"]);
    }

    #[test]
    fn the_parent_of_a_file_is_its_module() {
        let paths = ["a/lane.rs", "a/lane/consumer.rs", "a/sync/mod.rs", "a/sync/park.rs", "a/lib.rs"];
        let sources: Vec<_> = paths.iter().map(|path| Source::parse(path, "//! A.\n").unwrap()).collect();
        let parent_of = |path: &str| parent(&sources, path).map(|source| source.path.as_str());
        assert_eq!(parent_of("a/lane/consumer.rs"), Some("a/lane.rs"));
        assert_eq!(parent_of("a/sync/park.rs"), Some("a/sync/mod.rs"));
        assert_eq!(parent_of("a/sync/mod.rs"), None);
        assert_eq!(parent_of("a/lane.rs"), None);
    }

    #[test]
    fn labels_are_whole_words() {
        assert_eq!(labels("E1, [E12 acquire] E3x xE4 E 5", 'E'), ["E1", "E12"]);
    }

    #[test]
    fn definitions_open_their_row_or_have_a_colon() {
        let text = "//! A.\n//! | E1 | from E2 |\n//! - **E3** x\n//! see E4\n//! Edges: E5: x, E6: y\n";
        let source = Source::parse("a.rs", text).unwrap();
        let labels: Vec<_> = source.definitions('E').into_iter().map(|(label, ..)| label).collect();
        assert_eq!(labels, ["E1", "E3", "E5", "E6"]);
    }
}
