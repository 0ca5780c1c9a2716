//! What the rules care about in the tree of one file: unsafe code, orderings, functions, tests, sleeps.
//!
//! One visitor walks the tree and only lists; the rules judge. The tokens of macro calls and definitions are
//! looked through as well, because `assert!(word.load(Acquire) == 1)` is an ordering like any other.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// A place in a file.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(crate) line: usize,
    /// Where the innermost statement, arm or item around it starts.
    pub(crate) anchor: usize,
    /// Inside `#[cfg(test)]`, or the file is a test.
    pub(crate) in_test: bool,
    /// What stands there, where that matters.
    pub(crate) name: String,
    /// Inside the body of an unsafe function that has a `# Safety` section.
    pub(crate) contract: bool,
}

#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) length: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Unsafe blocks and unsafe impls.
    pub(crate) unsafe_sites: Vec<Site>,
    /// Unsafe functions and traits: (name, line, has a `# Safety` section).
    pub(crate) unsafe_contracts: Vec<(String, usize, bool)>,
    /// `allow(unsafe_code)` and its like.
    pub(crate) unsafe_allowed: Vec<usize>,
    /// Acquire, Release, AcqRel, SeqCst.
    pub(crate) orderings: Vec<Site>,
    pub(crate) functions: Vec<Function>,
    /// Functions marked `#[test]`.
    pub(crate) tests: Vec<Site>,
    pub(crate) ignored: Vec<usize>,
    pub(crate) sleeps: Vec<Site>,
    /// `todo!` and `unimplemented!`.
    pub(crate) unfinished: Vec<Site>,
}

const ORDERINGS: [&str; 4] = ["Acquire", "Release", "AcqRel", "SeqCst"];

impl Survey {
    pub(crate) fn of(tree: &syn::File, path: &str) -> Self {
        let parts: Vec<&str> = path.split('/').collect();
        let in_test = parts.contains(&"tests") || path.ends_with("/tests.rs");
        let mut walk = Walk {
            survey: Self::default(),
            anchors: vec![1],
            tests: in_test.into(),
            contracts: vec![false],
            trait_impl: false,
        };
        walk.visit_file(tree);
        walk.survey
    }
}

struct Walk {
    survey: Survey,
    anchors: Vec<usize>,
    /// How many test modules we are in.
    tests: usize,
    contracts: Vec<bool>,
    /// The functions around us implement a trait: its own declaration holds their contract.
    trait_impl: bool,
}

impl Walk {
    fn site(&self, line: usize, name: impl Into<String>) -> Site {
        let anchor = *self.anchors.last().unwrap_or(&line);
        let contract = *self.contracts.last().unwrap_or(&false);
        Site { line, anchor, in_test: self.tests > 0, name: name.into(), contract }
    }

    fn anchored<T: Spanned>(&mut self, node: &T, inside: impl FnOnce(&mut Self)) {
        self.anchors.push(node.span().start().line);
        inside(self);
        self.anchors.pop();
    }

    fn function(
        &mut self,
        attributes: &[syn::Attribute],
        signature: &syn::Signature,
        body: Option<&syn::Block>,
        own: bool,
    ) {
        let line = signature.span().start().line;
        let name = signature.ident.to_string();
        let documented = attributes.iter().any(is_safety_heading);
        if signature.unsafety.is_some() && own {
            self.survey.unsafe_contracts.push((name.clone(), line, documented));
        }
        if let Some(body) = body {
            let length = body.span().end().line + 1 - line;
            self.survey.functions.push(Function { name: name.clone(), line, length });
        }
        if attributes.iter().any(|attribute| attribute.path().is_ident("test")) {
            let site = self.site(line, name);
            self.survey.tests.push(site);
        }
        self.contracts.push(signature.unsafety.is_some() && (documented || !own));
    }

    /// Looks through tokens that are not parsed: those of macros.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        for (i, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Ident(ident) if ident == "unsafe" => {
                    let next = tokens.get(i + 1);
                    if matches!(next, Some(TokenTree::Group(g)) if g.delimiter() == Delimiter::Brace) {
                        let line = ident.span().start().line;
                        let site = Site { anchor: line, ..self.site(line, "block") };
                        self.survey.unsafe_sites.push(site);
                    }
                }
                TokenTree::Ident(ident) => {
                    let before = qualifier(&tokens[..i]);
                    self.word(&ident.to_string(), before.as_deref(), ident.span().start().line);
                }
                _ => {}
            }
        }
    }

    /// Notes the last word of a path, if it is an ordering or a sleep; `before` is the word in front of it.
    fn word(&mut self, word: &str, before: Option<&str>, line: usize) {
        let site = self.site(line, word);
        if ORDERINGS.contains(&word) && before.is_none_or(|before| before.ends_with("Ordering")) {
            self.survey.orderings.push(site);
        } else if word == "sleep" && before.is_none_or(|before| before == "thread") {
            self.survey.sleeps.push(site);
        }
    }
}

impl<'a> Visit<'a> for Walk {
    fn visit_item(&mut self, node: &'a syn::Item) {
        let test = attributes(node).iter().any(is_cfg_test);
        self.tests += usize::from(test);
        self.anchored(node, |walk| visit::visit_item(walk, node));
        self.tests -= usize::from(test);
    }

    /// Naming an ordering in an import is no use of it.
    fn visit_item_use(&mut self, _: &'a syn::ItemUse) {}

    fn visit_item_fn(&mut self, node: &'a syn::ItemFn) {
        self.function(&node.attrs, &node.sig, Some(&node.block), true);
        visit::visit_item_fn(self, node);
        self.contracts.pop();
    }

    fn visit_impl_item_fn(&mut self, node: &'a syn::ImplItemFn) {
        self.function(&node.attrs, &node.sig, Some(&node.block), !self.trait_impl);
        self.anchored(node, |walk| visit::visit_impl_item_fn(walk, node));
        self.contracts.pop();
    }

    fn visit_trait_item_fn(&mut self, node: &'a syn::TraitItemFn) {
        self.function(&node.attrs, &node.sig, node.default.as_ref(), true);
        self.anchored(node, |walk| visit::visit_trait_item_fn(walk, node));
        self.contracts.pop();
    }

    fn visit_item_trait(&mut self, node: &'a syn::ItemTrait) {
        if node.unsafety.is_some() {
            let documented = node.attrs.iter().any(is_safety_heading);
            self.survey.unsafe_contracts.push((
                node.ident.to_string(),
                node.ident.span().start().line,
                documented,
            ));
        }
        visit::visit_item_trait(self, node);
    }

    fn visit_item_impl(&mut self, node: &'a syn::ItemImpl) {
        if let Some(token) = &node.unsafety {
            let site = self.site(token.span().start().line, "impl");
            self.survey.unsafe_sites.push(site);
        }
        let outer = std::mem::replace(&mut self.trait_impl, node.trait_.is_some());
        visit::visit_item_impl(self, node);
        self.trait_impl = outer;
    }

    fn visit_stmt(&mut self, node: &'a syn::Stmt) {
        self.anchored(node, |walk| visit::visit_stmt(walk, node));
    }

    fn visit_arm(&mut self, node: &'a syn::Arm) {
        self.anchored(node, |walk| visit::visit_arm(walk, node));
    }

    fn visit_field_value(&mut self, node: &'a syn::FieldValue) {
        self.anchored(node, |walk| visit::visit_field_value(walk, node));
    }

    fn visit_expr_unsafe(&mut self, node: &'a syn::ExprUnsafe) {
        let site = self.site(node.unsafe_token.span().start().line, "block");
        self.survey.unsafe_sites.push(site);
        visit::visit_expr_unsafe(self, node);
    }

    fn visit_path(&mut self, node: &'a syn::Path) {
        let mut words = node.segments.iter().rev().map(|segment| &segment.ident);
        if let Some(last) = words.next() {
            let before = words.next().map(ToString::to_string);
            self.word(&last.to_string(), before.as_deref(), last.span().start().line);
        }
        visit::visit_path(self, node);
    }

    fn visit_macro(&mut self, node: &'a syn::Macro) {
        if node.path.is_ident("todo") || node.path.is_ident("unimplemented") {
            let site = self.site(node.path.span().start().line, node.path.segments[0].ident.to_string());
            self.survey.unfinished.push(site);
        }
        self.tokens(node.tokens.clone());
        visit::visit_macro(self, node);
    }

    fn visit_attribute(&mut self, node: &'a syn::Attribute) {
        let line = node.span().start().line;
        if node.path().is_ident("ignore") {
            self.survey.ignored.push(line);
        }
        let silences = ["allow", "expect", "warn"].iter().any(|name| node.path().is_ident(name));
        if let (true, syn::Meta::List(list)) = (silences, &node.meta) {
            let words = list.tokens.clone().into_iter();
            let names =
                words.filter_map(|t| if let TokenTree::Ident(i) = t { Some(i.to_string()) } else { None });
            if names.into_iter().any(|name| name == "unsafe_code") {
                self.survey.unsafe_allowed.push(line);
            }
        }
    }
}

/// The identifier before `::`, where there is one.
fn qualifier(before: &[TokenTree]) -> Option<String> {
    match before {
        [.., TokenTree::Ident(ident), TokenTree::Punct(a), TokenTree::Punct(b)]
            if a.as_char() == ':' && b.as_char() == ':' =>
        {
            Some(ident.to_string())
        }
        _ => None,
    }
}

fn is_safety_heading(attribute: &syn::Attribute) -> bool {
    let syn::Meta::NameValue(pair) = &attribute.meta else { return false };
    let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = &pair.value else { return false };
    attribute.path().is_ident("doc") && text.value().trim() == "# Safety"
}

fn is_cfg_test(attribute: &syn::Attribute) -> bool {
    let syn::Meta::List(list) = &attribute.meta else { return false };
    let words: Vec<String> =
        list.tokens.to_string().split(|c: char| !c.is_alphanumeric()).map(str::to_owned).collect();
    attribute.path().is_ident("cfg") && words.iter().any(|w| w == "test") && words.iter().all(|w| w != "not")
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::Survey;

    fn survey(text: &str) -> Survey {
        Survey::of(&syn::parse_file(text).unwrap(), "crates/a/src/a.rs")
    }

    #[test]
    fn orderings_are_found_in_calls_and_macros_but_not_in_imports() {
        let found = survey(
            "use Ordering::Acquire;\nfn f() {\n w.load(Acquire);\n assert!(w.load(Ordering::SeqCst));\n}",
        );
        let lines: Vec<_> = found.orderings.iter().map(|site| site.line).collect();
        assert_eq!(lines, [3, 4]);
    }

    #[test]
    fn a_variant_of_another_enum_is_no_ordering() {
        assert!(survey("fn f() { g(Step::Release); h!(Step::Release) }").orderings.is_empty());
    }

    #[test]
    fn test_modules_and_test_files_are_marked() {
        let text = "#[cfg(test)]\nmod tests { fn f() { w.load(Acquire); } }\nfn g() { w.load(Acquire); }";
        let marks: Vec<_> = survey(text).orderings.iter().map(|site| site.in_test).collect();
        assert_eq!(marks, [true, false]);
        let file = Survey::of(&syn::parse_file("fn f() { w.load(Acquire) }").unwrap(), "crates/a/tests/b.rs");
        assert!(file.orderings[0].in_test);
    }

    #[test]
    fn a_condition_on_not_test_is_no_test() {
        assert!(!survey("#[cfg(not(test))]\nmod a { fn f() { w.load(Acquire); } }").orderings[0].in_test);
    }

    #[test]
    fn unsafe_in_macros_is_found() {
        assert_eq!(survey("macro_rules! m { () => { unsafe { f() } } }").unsafe_sites.len(), 1);
    }

    #[test]
    fn contracts_of_unsafe_functions_are_read() {
        let found = survey("/// # Safety\n/// x\nunsafe fn a() { unsafe { b() } }\nunsafe fn c() {}");
        assert_eq!(found.unsafe_contracts, [("a".into(), 3, true), ("c".into(), 4, false)]);
        assert!(found.unsafe_sites[0].contract);
    }

    #[test]
    fn a_method_of_a_trait_impl_has_the_contract_of_its_trait() {
        assert!(survey("impl A for B { unsafe fn a() {} }").unsafe_contracts.is_empty());
        assert_eq!(survey("impl B { unsafe fn a() {} }").unsafe_contracts.len(), 1);
    }

    #[test]
    fn function_length_counts_from_signature_to_brace() {
        assert_eq!(survey("/// A.\nfn f() {\n}\n").functions[0].length, 2);
    }
}
