//! The one integration binary of the command line.

mod cli;
mod shell;
mod tidy;
