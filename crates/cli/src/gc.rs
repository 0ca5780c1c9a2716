//! `ginnel gc`: removes named segments that no process is attached to.
//!
//! Whether anybody is attached is decided by the kernel's locks, so a segment in use is never removed, and one
//! whose users were all killed always can be.

use std::io::{Write, stderr, stdout};
use std::process::ExitCode;

use ginnel::Manager;

use crate::args::Gc;

/// Runs the command. It fails where a segment that was named is not there, or one cannot be removed.
pub(crate) fn run(options: &Gc) -> ExitCode {
    let present = match Manager::list() {
        Ok(names) => names,
        Err(error) => return complain(&error.to_string()),
    };
    let names = if options.all { &present } else { &options.names };
    let mut code = ExitCode::SUCCESS;
    for name in names {
        // What nobody can have looks the same to the library as what was removed just now.
        if !present.contains(name) {
            code = complain(&format!("there is no segment \"{name}\""));
            continue;
        }
        match Manager::collect(name) {
            Ok(true) => say(&format!("{name}: removed\n")),
            Ok(false) => say(&format!("{name}: in use, kept\n")),
            Err(error) => code = complain(&error.to_string()),
        }
    }
    code
}

fn say(text: &str) {
    // Whoever closed standard output does not want the rest.
    let _ = stdout().write_all(text.as_bytes());
}

fn complain(text: &str) -> ExitCode {
    let _ = writeln!(stderr(), "ginnel gc: {text}");
    ExitCode::FAILURE
}
