//! Parts of several machines, put together: a union. What is there twice counts once, of two states
//! of one shard the later one counts, and two shards that have seeds in common are refused. So it is
//! associative, commutative and idempotent, in whatever order machines come to an end.

use super::part::Part;

impl Part {
    /// Adds this part to others of the same scenario, which stay in the order of their seeds.
    ///
    /// # Errors
    /// What is wrong with it, a fragment: seeds that another shard has as well, or the same shard
    /// with other results.
    pub fn join(self, parts: &mut Vec<Part>) -> Result<(), String> {
        let name = |part: &Part| {
            let seeds = part.seeds;
            format!("shard {}/{} from seed {}", seeds.shard, seeds.of, seeds.from)
        };
        for known in parts.iter_mut() {
            if known.seeds == self.seeds {
                if known.done == self.done && !known.agrees(&self) {
                    return Err(format!("{} is there twice, with different results", name(&self)));
                }
                // Of two states of one shard the later one holds the earlier one; of two equal ones
                // the faster one is kept, whichever comes first.
                if (self.done, known.times()) > (known.done, self.times()) {
                    *known = self;
                }
                return Ok(());
            }
            if known.seeds.overlap(known.done, &self.seeds, self.done) {
                let (ours, theirs) = (name(&self), name(known));
                return Err(format!("{ours} and {theirs} have seeds in common"));
            }
        }
        let at = parts.partition_point(|known| known.seeds < self.seeds);
        parts.insert(at, self);
        Ok(())
    }

    /// Everything that was measured in wall time: no two machines agree about it.
    fn times(&self) -> (u64, Vec<u64>) {
        (self.wall_ms, self.found.values().map(|found| found.after_ms).collect())
    }
}
