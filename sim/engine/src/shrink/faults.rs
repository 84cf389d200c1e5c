//! Faults: delta debugging over the plan (Zeller and Hildebrandt's ddmin, by complements).

use std::sync::Arc;

use oncesim_spec::Scenario;

use super::Shrinker;

impl Shrinker<'_> {
    /// Takes out faults, first all at once, then in ever smaller groups, at last one by one until
    /// no single one can go. Whether any went.
    pub(super) fn shrink_faults(&mut self) -> bool {
        let mut smaller = false;
        let mut size = self.current.0.scripted.len();
        while size > 0 {
            let removed = self.take_out_groups(size);
            smaller |= removed;
            let left = self.current.0.scripted.len();
            size = match size.min(left) {
                // What stayed because of another fault may go when that one is gone.
                1 if removed => 1,
                0 | 1 => 0,
                size => size / 2,
            };
        }
        smaller
    }

    /// Takes out every group of `size` neighbouring faults that can go.
    fn take_out_groups(&mut self, size: usize) -> bool {
        let mut smaller = false;
        let mut from = 0;
        loop {
            let scenario = Arc::clone(&self.current.0);
            let starts: Vec<usize> = (from..scenario.scripted.len()).step_by(size).collect();
            let candidates: Vec<_> =
                starts.iter().map(|start| without(&scenario, *start, size)).collect();
            let Some(index) = self.take_first(&candidates) else { return smaller };
            smaller = true;
            // Those before it were tried beside a fault that is gone now; the next round does that.
            from = starts[index];
        }
    }
}

fn without(scenario: &Scenario, start: usize, size: usize) -> Arc<Scenario> {
    let mut smaller = scenario.clone();
    let end = (start + size).min(smaller.scripted.len());
    smaller.scripted.drain(start..end);
    Arc::new(smaller)
}
