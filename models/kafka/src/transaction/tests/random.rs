//! Any order of requests, time, trouble and failovers.

use proptest::prelude::*;

use super::*;
use crate::transaction::valid_previous_states;

#[derive(Debug, Clone)]
enum Step {
    Init(bool),
    Add(bool, u16),
    End(bool, bool),
    Pass(u64),
    Mode(u8),
    Leaders(u8),
    FailOver,
    ElectAgain,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => any::<bool>().prop_map(Step::Init),
        5 => (prop::bool::weighted(0.2), 0u16..3).prop_map(|(s, p)| Step::Add(s, p)),
        5 => (prop::bool::weighted(0.2), any::<bool>()).prop_map(|(s, c)| Step::End(s, c)),
        2 => (0u64..90).prop_map(Step::Pass),
        2 => (0u8..4).prop_map(Step::Mode),
        2 => (0u8..4).prop_map(Step::Leaders),
        1 => Just(Step::FailOver),
        1 => Just(Step::ElectAgain),
    ]
}

/// A client that takes whatever session it is given, and remembers the ones before.
#[derive(Default)]
struct Client {
    sessions: Vec<Session>,
    waiting: Vec<u32>,
    number: u64,
}

impl Client {
    fn session(&self, stale: bool) -> Session {
        let known = self.sessions.len();
        let at = if stale { known.saturating_sub(2) } else { known.saturating_sub(1) };
        self.sessions.get(at).copied().unwrap_or(session(1000, 0))
    }

    /// Looks at the answers that have come.
    fn listen(&mut self, world: &mut World) {
        for (id, response) in std::mem::take(&mut world.replies) {
            assert!(self.waiting.contains(&id), "somebody was answered twice");
            self.waiting.retain(|waiting| *waiting != id);
            let told = match response {
                Response::InitProducerId(answer) if answer.error == ErrorCode::None => {
                    (answer.producer_id, answer.producer_epoch)
                }
                Response::EndTxn(answer)
                    if answer.error == ErrorCode::None
                        && answer.producer_id != ProducerId::NONE =>
                {
                    (answer.producer_id, answer.producer_epoch)
                }
                _ => continue,
            };
            if self.sessions.last().is_none_or(|last| *last < told) {
                self.sessions.push(told);
            }
        }
    }
}

fn check_story(world: &World) -> Result<(), TestCaseError> {
    let mut newest = session(-1, -1);
    for note in &world.notes {
        match note {
            Note::TransactionState { from, to, producer_id, producer_epoch, .. } => {
                prop_assert!(valid_previous_states(*to).contains(from), "{from:?} -> {to:?}");
                let now = (*producer_id, *producer_epoch);
                prop_assert!(now >= newest, "{now:?} after {newest:?}");
                newest = now;
            }
            Note::EndTxnApplied { issued, applied, .. } => {
                prop_assert!(world.config.transaction_version == V1 || issued == applied);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Sessions in the log do not go back, unless a write failed after it had been made.
fn check_log(world: &World) -> Result<(), TestCaseError> {
    for pair in world.log.windows(2) {
        let [
            CoordinatorRecord::Transaction { metadata: Some(before), .. },
            CoordinatorRecord::Transaction { metadata: Some(after), .. },
        ] = pair
        else {
            continue;
        };
        let session = |v: &TransactionMetadataValue| (v.producer_id, v.producer_epoch);
        prop_assert!(session(before) <= session(after), "{before:?} then {after:?}");
    }
    Ok(())
}

fn walk(
    version: TransactionVersion,
    first_epoch: i16,
    steps: Vec<Step>,
) -> Result<World, TestCaseError> {
    let log = log_of(TransactionState::Empty, first_epoch, version);
    let mut world = World::with(version, Mutations::NONE, log);
    let mut client = Client { sessions: vec![session(500, first_epoch)], ..Client::default() };
    for step in steps {
        let request = match step {
            Step::Init(bump) => Some(init(bump.then(|| client.session(false)))),
            Step::Add(stale, partition) => {
                let partition = TopicPartition::new(TopicId(0), partition);
                Some(add(client.session(stale), client.number, version, partition, false))
            }
            Step::End(stale, commit) => {
                let result = if commit { Commit } else { Abort };
                let request = end(client.session(stale), client.number, version, result);
                Some(request)
            }
            Step::Pass(seconds) => {
                world.pass(Duration::from_secs(seconds));
                None
            }
            Step::Mode(mode) => {
                world.mode = match mode {
                    0 => Log::Stuck,
                    1 => Log::Refusing(ErrorCode::NotEnoughReplicas),
                    _ => Log::Healthy,
                };
                if mode > 1 {
                    world.replicate(world.log.len());
                }
                None
            }
            Step::Leaders(mode) => {
                world.leaders = match mode {
                    0 => Leaders::Silent,
                    1 => Leaders::Refusing(ErrorCode::NotLeaderOrFollower),
                    _ => Leaders::Writing,
                };
                world.perform(Vec::new());
                None
            }
            Step::FailOver => {
                client.waiting.clear();
                world.replies.clear();
                world.fail_over();
                None
            }
            Step::ElectAgain => {
                world.elect_again();
                None
            }
        };
        if let Some(request) = request {
            let id = world.send(request);
            client.waiting.push(id);
        }
        client.listen(&mut world);
    }
    world.heal();
    world.pass(Duration::from_secs(600));
    client.listen(&mut world);
    prop_assert!(client.waiting.is_empty(), "{} without an answer", client.waiting.len());
    Ok(world)
}

proptest! {
    /// Whatever clients, time, the log and the leaders do: states follow each other as in Kafka,
    /// epochs do not go back, everybody is answered once; when the world heals every transaction
    /// ends, and another coordinator reads the same state from the log.
    #[test]
    fn states_are_legal_and_silence_ends_every_transaction(
        v2 in any::<bool>(),
        near_the_end in any::<bool>(),
        steps in proptest::collection::vec(step(), 1..50),
    ) {
        let version = if v2 { V2 } else { V1 };
        let first_epoch = if near_the_end { i16::MAX - 4 } else { 0 };
        // A write that took too long is in the log, and the coordinator does not know it.
        let may_surface = steps.iter().any(|step| matches!(step, Step::Mode(0)));
        let mut world = walk(version, first_epoch, steps)?;
        check_story(&world)?;
        world.coordinator.settled(true).map_err(TestCaseError::fail)?;
        let state = world.state();
        let length = world.log.len();
        world.fail_over();
        if may_surface {
            world.pass(Duration::from_secs(600));
            check_story(&world)?;
            world.coordinator.settled(true).map_err(TestCaseError::fail)?;
        } else {
            check_log(&world)?;
            prop_assert_eq!(world.state(), state);
            prop_assert_eq!(world.log.len(), length, "nothing was left to do");
        }
    }
}
