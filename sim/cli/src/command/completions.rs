//! `oncesim completions`: completions for a shell.

use clap::CommandFactory;

use crate::args::{Cli, CompletionsArgs};
use crate::exit::{Exit, Refusal};
use crate::output;

pub(crate) fn completions(args: &CompletionsArgs) -> Result<Exit, Refusal> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "oncesim", &mut script);
    output::result(&String::from_utf8_lossy(&script))?;
    Ok(Exit::AsClaimed)
}
