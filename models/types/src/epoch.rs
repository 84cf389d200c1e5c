//! Epochs: each fences one kind of stale actor, and none may ever decrease at one observer.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! epoch {
    ($(#[$doc:meta])* $name:ident($repr:ty)) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $repr);

        impl $name {
            /// Not known, or none yet.
            pub const NONE: $name = $name(-1);

            /// The following epoch.
            #[must_use]
            pub const fn next(self) -> Self {
                $name(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

epoch!(
    /// Bumped by the controller with each change of a partition's leader.
    LeaderEpoch(i32)
);
epoch!(
    /// Bumped by the controller with each change of a partition's leader or in-sync replicas.
    PartitionEpoch(i32)
);
epoch!(
    /// Given by the controller with each registration of a broker process; monotonic.
    BrokerEpoch(i64)
);
epoch!(
    /// Fences zombie producers of one producer id. At most 32767.
    ProducerEpoch(i16)
);
epoch!(
    /// A consumer group's generation: one more with each completed rebalance.
    GenerationId(i32)
);
