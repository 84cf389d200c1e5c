//! Any order of requests, time, log trouble and failovers.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Ask(Request),
    Pass(u64),
    Mode(u8),
    FailOver,
    Resign,
}

fn step() -> impl Strategy<Value = Step> {
    let member = || (1u64..5).prop_map(MemberId);
    let instance = || proptest::option::weighted(0.4, 1u16..3);
    let generation = || -1i32..5;
    prop_oneof![
        4 => (proptest::option::of(member()), member(), instance(), 0u16..2)
            .prop_map(|(m, c, i, t)| {
                Step::Ask(join_with(m, c, i, &[Assignor::Range], vec![TopicId(t)]))
            }),
        4 => (member(), generation()).prop_map(|(m, g)| Step::Ask(sync(m, g, &[(m, vec![TP])]))),
        2 => (proptest::option::of(member()), instance(), generation(), 0i64..9)
            .prop_map(|(m, i, g, o)| Step::Ask(commit(m, i, g, o))),
        1 => member().prop_map(|m| Step::Ask(leave(m))),
        1 => any::<bool>().prop_map(|require_stable| Step::Ask(Request::OffsetFetch(
            OffsetFetchRequest { group: G, partitions: vec![TP], require_stable }
        ))),
        3 => (1u64..60).prop_map(Step::Pass),
        2 => (0u8..3).prop_map(Step::Mode),
        1 => Just(Step::FailOver),
        1 => Just(Step::Resign),
    ]
}

proptest! {
    /// Whatever clients, time and the log do: nothing panics, nobody is answered twice, and when
    /// the world heals and everybody falls silent, everybody has been answered and nothing waits.
    #[test]
    fn every_request_is_answered_once_and_silence_ends_empty(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut broker = Broker::new();
        // Answers are owed to the requests after the last failover: the others went down with it.
        let mut owed = Vec::new();
        // A client's join or sync that is sent again replaces the one that waits.
        let mut replaced = 0;
        for step in steps {
            match step {
                Step::Ask(request) => {
                    let repeats =
                        matches!(request, Request::JoinGroup(_) | Request::SyncGroup(_));
                    replaced += usize::from(repeats);
                    owed.push(broker.send(request));
                }
                Step::Pass(seconds) => broker.pass(Duration::from_secs(seconds)),
                Step::Mode(0) => broker.heal(),
                Step::Mode(1) => broker.mode = Log::Stuck,
                Step::Mode(_) => broker.mode = Log::Refusing(ErrorCode::NotEnoughReplicas),
                Step::FailOver => {
                    owed.clear();
                    replaced = 0;
                    broker.fail_over();
                }
                Step::Resign => {
                    let mut out = Vec::new();
                    broker.coordinator.resigned(0, &mut out);
                    broker.perform(out);
                    broker.load();
                }
            }
        }
        broker.heal();
        broker.pass(Duration::from_secs(3_600));
        broker.coordinator.settled().map_err(TestCaseError::fail)?;
        prop_assert!(broker.timers.is_empty());
        let mut answered: Vec<u32> = broker.replies.iter().map(|(to, _)| *to).collect();
        answered.sort_unstable();
        let all = answered.len();
        answered.dedup();
        prop_assert_eq!(all, answered.len(), "somebody was answered twice");
        let silent = owed.iter().filter(|id| !answered.contains(id)).count();
        prop_assert!(silent <= replaced, "{silent} without an answer");
    }
}
