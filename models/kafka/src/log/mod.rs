//! One partition's log and what is derived from it.

pub mod batch;
