//! Pages: one self-contained file each, that works from disk, in light and dark, and on paper.
//!
//! A page of a run carries its data as one JSON document. What is expensive or needs judgement is
//! decided here: which rows matter, how long a silence is folded, what changes the state. The
//! program in the page filters, draws the rows in sight, and replays the changes.

mod campaign;
mod data;
mod intern;
mod measure;
pub(crate) mod page;
mod plot;
mod rows;
mod run;
mod state;
mod story;

pub use campaign::campaign_html;
pub use measure::measure_html;
pub use run::run_html;
