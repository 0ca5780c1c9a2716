//! `cargo xtask hostile`: random words into a segment in use, and connections with a hostile side. Clean errors only, no
//! crash, no hang.

use crate::workspace::{self, Workspace};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long to go on, for each of the two
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Only the `segment`, or only the `strangers`
    #[arg(long)]
    who: Option<String>,
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<(), String> {
    let mut command = workspace.program("ginnel-tests", "--bin", "hostile");
    command.args(["--seconds", &args.seconds.to_string()]);
    if let Some(who) = &args.who {
        command.args(["--who", who]);
    }
    workspace::run(command)
}

/// The short form for `test`.
pub(crate) fn short(workspace: &Workspace) -> Result<(), String> {
    run(workspace, &Args { seconds: 2, who: None })
}
