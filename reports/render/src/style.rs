//! The few styles of every report.

use std::fmt::Display;

use anstyle::{AnsiColor, Style};
use oncesim_semantics::Holds;

use crate::model::Judgement;

pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(crate) const DOUBT: Style = AnsiColor::Yellow.on_default();
pub(crate) const FAINT: Style = Style::new().dimmed();
pub(crate) const STRONG: Style = Style::new().bold();

/// `text` in `style`, or as it is.
pub(crate) fn paint(styled: bool, style: Style, text: impl Display) -> String {
    if styled { format!("{style}{text}{style:#}") } else { text.to_string() }
}

pub(crate) const fn of_holds(holds: Holds) -> Style {
    match holds {
        Holds::Holds => GOOD,
        Holds::Violated => BAD,
        Holds::Unknown => FAINT,
    }
}

pub(crate) const fn of_judgement(judgement: Judgement) -> Style {
    match judgement {
        Judgement::AsClaimed => GOOD,
        Judgement::Vacuous | Judgement::NotLive => DOUBT,
        Judgement::Violated | Judgement::Nondeterministic | Judgement::Bug => BAD,
    }
}
