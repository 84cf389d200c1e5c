//! Exit codes, and the one-screen message of a command that cannot be done.

use std::fmt;
use std::process::ExitCode;

use oncesim_render::Judgement;

/// What the shell gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything as claimed.
    AsClaimed = 0,
    /// A claimed guarantee was violated.
    Violated = 1,
    /// The scenario, history or command is wrong.
    Wrong = 2,
    /// The system never recovered.
    NotLive = 3,
    /// The same input gave another digest.
    Nondeterministic = 4,
    /// Nothing was proved.
    Vacuous = 5,
    /// A bug of oncesim.
    Bug = 101,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

impl From<Judgement> for Exit {
    fn from(judgement: Judgement) -> Self {
        match judgement {
            Judgement::AsClaimed => Exit::AsClaimed,
            Judgement::Vacuous => Exit::Vacuous,
            Judgement::NotLive => Exit::NotLive,
            Judgement::Violated => Exit::Violated,
            Judgement::Nondeterministic => Exit::Nondeterministic,
            Judgement::Bug => Exit::Bug,
        }
    }
}

/// Why a command cannot be done: exit code 2. The message names the place, the cause and the fix.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Something about a file, a folder or an argument.
    Plain {
        /// What is wrong, a fragment in lower case.
        cause: String,
        /// Where: a path, or an argument.
        place: String,
        /// What to do instead.
        fix: String,
    },
    /// Diagnostics of a scenario, ready for a terminal.
    Diagnostics(String),
}

impl Refusal {
    /// A refusal in three parts.
    pub(crate) fn new(
        cause: impl Into<String>,
        place: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Refusal::Plain { cause: cause.into(), place: place.into(), fix: fix.into() }
    }
}

impl fmt::Display for Refusal {
    /// In the manner of rustc, as diagnostics of scenarios are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use anstyle::{AnsiColor, Style};
        const ERROR: Style = AnsiColor::BrightRed.on_default().bold();
        const ARROW: Style = AnsiColor::BrightBlue.on_default().bold();
        const BOLD: Style = Style::new().bold();
        match self {
            Refusal::Plain { cause, place, fix } => {
                writeln!(f, "{ERROR}error{ERROR:#}{BOLD}: {cause}{BOLD:#}")?;
                writeln!(f, " {ARROW}-->{ARROW:#} {place}")?;
                write!(f, "  {ARROW}={ARROW:#} {BOLD}help{BOLD:#}: {fix}")
            }
            Refusal::Diagnostics(text) => f.write_str(text.trim_end()),
        }
    }
}
