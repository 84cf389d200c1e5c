//! One file per command.

pub(crate) mod anomalies;
pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod explain;
pub(crate) mod explore;
pub(crate) mod fuzz;
mod lines;
pub(crate) mod list;
pub(crate) mod matrix;
pub(crate) mod measure;
pub(crate) mod merge;
pub(crate) mod mutants;
pub(crate) mod new;
pub(crate) mod regressions;
pub(crate) mod replay;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod shrink;
pub(crate) mod strategies;
pub(crate) mod trace;
pub(crate) mod verify;
