//! What producer and consumer clients share: connections with their requests in flight, the
//! metadata cache and backoffs.
//!
//! Mirrors `NetworkClient`, `InFlightRequests`, `Metadata`, `ExponentialBackoff`. Simplifications
//! are listed in each file.

mod alarm;
mod backoff;
mod connection;
mod metadata;

pub use alarm::Alarm;
pub use backoff::Backoff;
pub use connection::{Connections, InFlight};
pub use metadata::{Leader, Metadata};
