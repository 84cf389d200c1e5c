//! The one integration binary of the command line.

mod campaign;
mod ci;
mod cli;
mod determinism;
mod documents;
mod engines;
mod explain;
mod explore;
mod html;
mod matrix;
mod measure;
mod readme;
mod runs;
mod shell;
mod shrink;
mod tidy;
mod verify;
mod viewers;
