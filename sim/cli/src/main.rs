//! The command line `oncesim`.
fn main() {}
