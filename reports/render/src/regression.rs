//! Regressions: what was found before, replayed before anything else.

use std::fmt::Write;

use crate::model::{RegressionState, RegressionView};
use crate::number::short_count;
use crate::style::{FAINT, GOOD, STRONG, of_judgement, paint};

/// The report on the regressions that were replayed; empty when there were none.
#[must_use]
pub fn regressions_text(regressions: &[RegressionView], styled: bool) -> String {
    let mut out = String::new();
    if regressions.is_empty() {
        return out;
    }
    let gone = regressions.iter().filter(|one| one.state == RegressionState::NoLongerFails).count();
    let all = short_count(regressions.len() as u64, "regression", "regressions");
    let line = format!("{all} replayed first: {} fail, {gone} no longer", regressions.len() - gone);
    let _ = writeln!(out, "{}", paint(styled, STRONG, line));
    for one in regressions {
        let (style, word) = match one.state {
            RegressionState::Fails => (of_judgement(one.judgement), "fails"),
            RegressionState::FailsOtherwise => (of_judgement(one.judgement), "fails otherwise"),
            RegressionState::NoLongerFails => (GOOD, "no longer fails"),
        };
        let _ = writeln!(out, "  {}  {}", paint(styled, style, word), one.file);
        let what = match (&one.now, one.state) {
            (Some(now), RegressionState::FailsOtherwise) => {
                format!("{now}, was {}: {}", one.id, one.sentence)
            }
            (Some(_), _) => format!("{}: {}", one.id, one.sentence),
            (None, _) => format!("was {}", one.id),
        };
        let _ = writeln!(out, "    {}", paint(styled, FAINT, what));
    }
    out
}
