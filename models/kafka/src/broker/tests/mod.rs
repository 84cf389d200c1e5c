//! Narrated tests of replication and delivery at the broker, and a small random walk.

mod cluster;
mod delivery;
mod random_walk;
mod replication;
