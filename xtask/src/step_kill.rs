//! `cargo xtask step-kill`: SIGKILL after every instruction of each operation, then recovery, then an exact
//! comparison.

use crate::workspace::{self, Workspace};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Every operation and every fill state, instead of a sample that takes seconds
    #[arg(long)]
    full: bool,
    /// Arguments for the step-kill program itself
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<(), String> {
    let mut command = workspace.program("ginnel-tests", "--bin", "step-kill");
    if args.full {
        command.arg("--full");
    }
    command.args(&args.arguments);
    workspace::run(command)
}

/// The short form for `test`.
pub(crate) fn short(workspace: &Workspace) -> Result<(), String> {
    run(workspace, &Args { full: false, arguments: Vec::new() })
}
