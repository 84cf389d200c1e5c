//! Variations of a plan: one fault more, one less, another time, another victim; two plans in one.
//!
//! What comes out is a plan that the scenario declares: its kinds, its targets, as many faults as it
//! allows.

use oncesim_spec::{FaultPlan, PlannedFault, Scenario, SwarmSpec, Trigger};
use oncesim_types::Instant;

use super::fault::FaultDraw;
use super::swarm::microseconds;
use crate::coverage::kind_of;
use crate::draw::Draws;

/// Varies plans. The first `scripted` faults of a plan are the scenario's, and stay.
pub(super) struct Mutator<'a> {
    draw: FaultDraw<'a>,
    spec: &'a SwarmSpec,
    scripted: usize,
}

impl<'a> Mutator<'a> {
    /// `None` when the scenario declares no faults to be drawn.
    pub(super) fn new(scenario: &'a Scenario, draws: Draws, scripted: usize) -> Option<Self> {
        let spec = scenario.swarm.as_ref()?;
        let draw = FaultDraw::new(scenario, spec, draws);
        Some(Mutator { draw, spec, scripted })
    }

    /// A variation of a plan, and maybe of another plan that goes into it; `moments` are those of the
    /// plan's run.
    pub(super) fn vary(
        &mut self,
        plan: &FaultPlan,
        other: &FaultPlan,
        moments: &[Instant],
    ) -> FaultPlan {
        let mut varied = plan.clone();
        if self.one_in(6) {
            self.splice(&mut varied.faults, other);
        }
        let changes = self.draw.draws.between(1, 5);
        for _ in 0..changes {
            self.change(&mut varied.faults, moments);
        }
        let most = self.scripted + self.spec.count.max(1) as usize;
        while varied.faults.len() > most {
            let at = self.below(varied.faults.len() - self.scripted) + self.scripted;
            varied.faults.remove(at);
        }
        varied
    }

    fn change(&mut self, faults: &mut Vec<PlannedFault>, moments: &[Instant]) {
        let drawn = faults.len().saturating_sub(self.scripted);
        let room = drawn < self.spec.count.max(1) as usize;
        let at = if drawn == 0 { 0 } else { self.scripted + self.below(drawn) };
        match self.below(8) {
            _ if drawn == 0 => self.add(faults, moments),
            0 | 1 if room => self.add(faults, moments),
            2 if drawn > 1 => drop(faults.remove(at)),
            3 | 4 => self.redraw(&mut faults[at]),
            5 if room => {
                let mut again = faults[at].clone();
                self.retime(&mut again, moments);
                faults.push(again);
            }
            _ => self.retime(&mut faults[at], moments),
        }
    }

    fn add(&mut self, faults: &mut Vec<PlannedFault>, moments: &[Instant]) {
        let Some(kind) = self.draw.draws.pick(&self.spec.kinds).copied() else { return };
        let Some(mut fault) = self.draw.fault(kind) else { return };
        if self.one_in(2) {
            self.retime(&mut fault, moments);
        }
        faults.push(fault);
    }

    /// Another fault of the same kind; at the same time, half of the time.
    fn redraw(&mut self, fault: &mut PlannedFault) {
        let Some(mut drawn) = kind_of(fault).and_then(|kind| self.draw.fault(kind)) else {
            return;
        };
        let of_message = matches!(drawn.trigger, Trigger::OnMessage { .. });
        if !of_message && self.one_in(2) {
            drawn.trigger = fault.trigger.clone();
        }
        *fault = drawn;
    }

    /// Another time: just after something happened, when some message is sent or arrives, or any.
    fn retime(&mut self, fault: &mut PlannedFault, moments: &[Instant]) {
        if let Trigger::OnMessage { nth, .. } = &mut fault.trigger {
            // The neighbours first: what is lost next to it matters in another way.
            let by = self.draw.draws.between(1, 4);
            let by = u32::try_from(by).expect("a small number");
            *nth = if self.one_in(2) { nth.saturating_sub(by).max(1) } else { (*nth + by).min(64) };
            return;
        }
        let delay = self.draw.short();
        match self.below(5) {
            0 | 1 => {
                if let Some(trigger) = self.draw.aimed(&fault.action) {
                    fault.trigger = trigger;
                }
            }
            2 | 3 if !moments.is_empty() => {
                let moment = moments[self.below(moments.len())];
                let at = (moment + delay).min(self.draw.until);
                fault.trigger = Trigger::At(microseconds(at));
            }
            _ => {
                let at = self.draw.draws.below_inclusive(self.draw.until.0);
                fault.trigger = Trigger::At(microseconds(Instant(at)));
            }
        }
    }

    /// Some faults of another plan in the place of some of this one.
    fn splice(&mut self, faults: &mut Vec<PlannedFault>, other: &FaultPlan) {
        let scripted = self.scripted;
        let mut keep = |fault: &PlannedFault| self.one_in(2).then(|| fault.clone());
        let ours: Vec<_> = faults.drain(scripted.min(faults.len())..).collect();
        faults.extend(ours.iter().filter_map(&mut keep));
        faults.extend(other.faults.iter().skip(scripted).filter_map(&mut keep));
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.draw.draws.below_inclusive(n - 1) == 0
    }

    fn below(&mut self, n: usize) -> usize {
        let last = (n as u64).saturating_sub(1);
        usize::try_from(self.draw.draws.below_inclusive(last)).expect("below a length")
    }
}
