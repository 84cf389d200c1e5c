//! Table D: committed offsets and ownership.

pub(crate) mod commits;
pub(crate) mod ownership;
