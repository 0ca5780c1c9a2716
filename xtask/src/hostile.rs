//! `cargo xtask hostile`: random words into a segment in use. Clean errors only, no crash, no hang.

use crate::workspace::{self, Workspace};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long to scribble
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<(), String> {
    let mut command = workspace.program("ginnel-tests", "--bin", "hostile");
    command.args(["--seconds", &args.seconds.to_string()]);
    workspace::run(command)
}

/// The short form for `test`.
pub(crate) fn short(workspace: &Workspace) -> Result<(), String> {
    run(workspace, &Args { seconds: 2 })
}
