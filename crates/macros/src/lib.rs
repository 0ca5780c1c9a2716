//! Floor 0 of ginnel: the one attribute.
//!
//! `#[ginnel::main]` puts a call in front of the body of `main`. Finding the body needs no parser: it is the last
//! group of braces of the item.

use proc_macro::{Delimiter, Group, TokenStream, TokenTree};

/// Runs what a child is for inside the real `main`, before its body, instead of before it.
///
/// A child started by ginnel runs its function before the runtime of the standard library has begun: its main thread
/// has no name and a stack overflow no message. With this attribute the runtime is complete.
///
/// ```text
/// #[ginnel::main]
/// fn main() -> ginnel::Result<()> {
///     let child = ginnel::Process::spawn(|| 6 * 7, ())?;
///     println!("{}", child.join()?);
///     Ok(())
/// }
/// ```
#[proc_macro_attribute]
pub fn main(arguments: TokenStream, item: TokenStream) -> TokenStream {
    if !arguments.is_empty() {
        return refusal("`#[ginnel::main]` takes no arguments");
    }
    let mut tokens: Vec<TokenTree> = item.into_iter().collect();
    match tokens.pop() {
        Some(TokenTree::Group(body)) if body.delimiter() == Delimiter::Brace => {
            let mut entered: TokenStream = "::ginnel::process::enter();".parse().unwrap_or_default();
            entered.extend(body.stream());
            let mut whole = Group::new(Delimiter::Brace, entered);
            whole.set_span(body.span());
            tokens.push(TokenTree::Group(whole));
            tokens.into_iter().collect()
        }
        _ => refusal("`#[ginnel::main]` goes on `fn main() { .. }`"),
    }
}

fn refusal(why: &str) -> TokenStream {
    format!("compile_error!({why:?});").parse().unwrap_or_default()
}
