//! Other futures: from some step on the world draws anew.
//!
//! What is on its way keeps the time of its arrival: it was drawn before. What applications do is no
//! luck and stays: which records they send, and which transactions they abort.

use super::World;
use crate::draw::{Draws, Purpose};
use crate::outcome::Fork;

/// No run has so many steps.
pub(super) const NEVER: Fork = Fork { before: u32::MAX, salt: 0, keep_faults: false };

impl World {
    /// Lets the run take another future from some step on.
    pub(crate) fn will_fork(&mut self, fork: Option<Fork>) {
        self.fork = fork.unwrap_or(NEVER);
    }

    /// The other future begins.
    #[cold]
    pub(super) fn take_fork(&mut self) {
        self.luck = Draws::at(self.seed, Purpose::Fork, 0, 0, self.fork.salt);
        self.network.draw_anew(self.luck);
        for fault in &mut self.faults {
            if self.fork.keep_faults {
                break;
            }
            if fault.report.struck.is_none() {
                (fault.called_off, fault.armed, fault.active) = (true, false, false);
            }
        }
        self.refresh_armed_apis();
    }
}
