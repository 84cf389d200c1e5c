//! The one integration binary of the command line.

mod cli;
mod determinism;
mod readme;
mod runs;
mod shell;
mod tidy;
