//! What an application does outside of Kafka for each record.

mod identity;

use std::sync::Arc;

use oncesim_spec::SinkSpec;
use oncesim_types::ActorId;

pub(crate) use identity::Identities;

/// An application's use of a system. All of it is memory: a crash forgets it.
#[derive(Debug)]
pub(crate) struct Sink {
    #[expect(dead_code, reason = "sessions come next")]
    spec: Arc<SinkSpec>,
    #[expect(dead_code, reason = "sessions come next")]
    identities: Identities,
    #[expect(dead_code, reason = "sessions come next")]
    actor: ActorId,
}

impl Sink {
    /// Of the application of `actor`.
    pub(crate) fn new(spec: Arc<SinkSpec>, identities: Identities, actor: ActorId) -> Self {
        Sink { spec, identities, actor }
    }
}
