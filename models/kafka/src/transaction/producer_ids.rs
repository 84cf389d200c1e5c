//! The block of producer ids that a broker hands out.
//!
//! Mirrors `ProducerIdManager`, `RPCProducerIdManager` (KIP-730).

use oncesim_types::ProducerId;

/// What is left of a broker's block.
#[derive(Debug, Clone, Copy)]
pub struct ProducerIds {
    next: ProducerId,
    end: ProducerId,
}

impl ProducerIds {
    /// No block yet.
    pub const NONE: ProducerIds = ProducerIds { next: ProducerId(0), end: ProducerId(0) };

    /// The block of `count` ids from `first` on.
    #[must_use]
    pub const fn block(first: ProducerId, count: i64) -> ProducerIds {
        ProducerIds { next: first, end: ProducerId(first.0.saturating_add(count)) }
    }

    /// Whether another block is needed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.next >= self.end
    }

    /// Takes the next id.
    pub fn take(&mut self) -> Option<ProducerId> {
        if self.is_empty() {
            return None;
        }
        let id = self.next;
        self.next = ProducerId(id.0 + 1);
        Some(id)
    }
}
