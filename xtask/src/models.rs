//! `cargo xtask models`: the explicit-state models, and every mutation of them that has to be refused.

use crate::workspace::{self, Workspace};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Arguments for the models program (a name prefix, a verbosity)
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<(), String> {
    let mut command = workspace.program("ginnel-testkit", "--example", "models");
    command.args(&args.arguments);
    workspace::run(command)
}

/// The form for `test`.
pub(crate) fn all(workspace: &Workspace) -> Result<(), String> {
    run(workspace, &Args { arguments: Vec::new() })
}
