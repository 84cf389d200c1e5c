//! Narrated tests of replication and delivery at the broker, and a small random walk.

mod cluster;
mod coordination;
mod coordinator_walk;
mod delivery;
mod in_sync;
mod random_walk;
mod replication;
mod transaction_coordinator;
mod transactional_walk;
mod transactions;
mod verification;
