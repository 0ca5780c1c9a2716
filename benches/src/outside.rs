//! Programs that measure themselves: Python's scripts, and those of `benches/rivals`. Each prints one figure a line.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::fault::Fault;

/// The program of `benches/rivals`.
const RIVALS: &str = "ginnel-rivals";
/// Where it may be said that it is.
const VARIABLE: &str = "GINNEL_RIVALS";

/// The rivals, about to be run.
pub(crate) fn rivals() -> Result<Command, Fault> {
    let program = find_rivals().ok_or_else(|| {
        Fault::Unsupported(
            "needs cargo build --release --manifest-path benches/rivals/Cargo.toml, or GINNEL_RIVALS".into(),
        )
    })?;
    Ok(Command::new(program))
}

/// Where the variable says, beside this program, or where the repository builds it.
fn find_rivals() -> Option<PathBuf> {
    if let Some(said) = env::var_os(VARIABLE) {
        return Some(said.into());
    }
    let beside = env::current_exe().ok().and_then(|program| Some(program.parent()?.join(RIVALS)));
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("rivals/target/release").join(RIVALS);
    beside.into_iter().chain([built]).find(|program| program.is_file())
}

/// Runs a program and gives its figures. One that cannot be run is `missing`, which is no defect; one that fails is
/// refused with its last words.
pub(crate) fn figures(mut command: Command, missing: &str) -> Result<Vec<u64>, Fault> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Fault::Unsupported(format!("{missing}: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().last().unwrap_or("it does not say why");
        return Err(Fault::failed("a program that measures itself", format!("{last} ({})", output.status)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let figures = text.lines().map(str::parse).collect::<Result<_, _>>();
    figures.map_err(|error| Fault::failed("reading figures", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_is_no_defect() {
        let fault = figures(Command::new("/nowhere/rivals"), "no such program here");
        assert!(fault.is_err_and(|fault| fault.is_unsupported()));
    }

    #[test]
    fn a_program_that_fails_is_refused_with_its_last_words() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo 7 >&2; echo a wrong value came back >&2; exit 1"]);
        let fault = figures(command, "").expect_err("it failed");
        assert!(!fault.is_unsupported() && fault.to_string().contains("a wrong value came back"), "{fault}");
    }
}
