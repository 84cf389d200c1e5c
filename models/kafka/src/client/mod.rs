//! What producer and consumer clients share: connections with their requests in flight, the
//! metadata cache and backoffs.
//!
//! Mirrors `NetworkClient`, `InFlightRequests`, `Metadata`, `ExponentialBackoff`. Simplifications
//! are listed in each file.

mod backoff;
mod connection;
mod metadata;

pub use backoff::Backoff;
pub use connection::{Connections, InFlight};
pub use metadata::{Leader, Metadata};
