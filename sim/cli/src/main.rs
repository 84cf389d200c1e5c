//! The command line `oncesim`.

mod args;
mod artifact;
mod command;
mod convert;
mod exit;
mod explained;
mod export;
mod output;
mod page;
mod progress;
mod report;
mod results;
mod source;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};
use crate::exit::{Exit, Refusal};

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli.color.write_global();
    // A panic that escapes a run (those inside are reported by their seed) is ours as well.
    let done = std::panic::catch_unwind(|| dispatch(cli.command));
    let exit = match done {
        Ok(Ok(exit)) => exit,
        Ok(Err(refusal)) => {
            output::note(&refusal.to_string());
            Exit::Wrong
        }
        Err(_) => {
            output::note("a bug of oncesim: please report it with the command that showed it");
            Exit::Bug
        }
    };
    exit.into()
}

fn dispatch(command: Command) -> Result<Exit, Refusal> {
    match command {
        Command::Run(args) => command::run::run(&args),
        Command::Fuzz(args) => command::fuzz::fuzz(&args),
        Command::Merge(args) => command::merge::merge(&args),
        Command::Replay(args) => command::replay::replay(&args),
        Command::Shrink(args) => command::shrink::shrink(&args),
        Command::Explain(args) => command::explain::explain(&args),
        Command::Explore(args) => command::explore::explore(&args),
        Command::Check(args) => command::check::check(&args),
        Command::New(args) => command::new::new(&args),
        Command::List(args) => command::list::list(&args),
        Command::Verify(args) => command::verify::verify(&args),
        Command::Anomalies(args) => command::anomalies::anomalies(&args),
        Command::Mutants(args) => command::mutants::mutants(&args),
        Command::Measure(args) => command::measure::run(&args),
        Command::Matrix(args) => command::matrix::matrix(&args),
        Command::Bench(args) => command::bench::bench(&args),
        Command::Schema(args) => command::schema::schema(&args),
        Command::Completions(args) => command::completions::completions(&args),
    }
}
