//! The group coordinator on its replicated log.

use oncesim_types::{
    ActorId, ErrorCode, GenerationId, GroupId, LeaderEpoch, Offset, TopicId, TopicPartition,
};

use super::cluster::{B1, B2, Cluster, P, topic};
use crate::broker::Crash;
use crate::config::{BrokerConfig, TopicConfig};
use crate::message::{
    CoordinatorKey, FindCoordinatorRequest, OffsetCommitRequest, OffsetFetchRequest, Request,
    Response,
};
use crate::mutation::Mutations;

const GROUP: GroupId = GroupId(0);
const OFFSETS: TopicPartition = TopicPartition::new(TopicId(1), 0);

fn cluster() -> Cluster {
    let offsets = TopicConfig {
        topic: OFFSETS.topic,
        internal: Some(crate::config::InternalTopic::ConsumerOffsets),
        ..topic(3, 2)
    };
    let topics = vec![topic(3, 2), offsets];
    Cluster::with(3, topics, Mutations::NONE, BrokerConfig::default(), None)
}

fn find(t: &mut Cluster, ask: ActorId) -> (ErrorCode, Option<ActorId>) {
    let request = FindCoordinatorRequest { key: CoordinatorKey::Group(GROUP) };
    match t.call(ask, Request::FindCoordinator(request)) {
        Some(Response::FindCoordinator(answer)) => (answer.error, answer.coordinator),
        other => panic!("not a coordinator: {other:?}"),
    }
}

fn commit(t: &mut Cluster, to: ActorId, offset: i64) -> Option<ErrorCode> {
    let request = OffsetCommitRequest {
        group: GROUP,
        member: None,
        instance: None,
        generation: GenerationId::NONE,
        offsets: vec![(P, Offset(offset), LeaderEpoch(0))],
    };
    match t.call(to, Request::OffsetCommit(Box::new(request)))? {
        Response::OffsetCommit(answers) => Some(answers[0].1),
        other => panic!("not an answer to a commit: {other:?}"),
    }
}

fn committed(t: &mut Cluster, to: ActorId) -> (ErrorCode, Option<Offset>) {
    let request = OffsetFetchRequest { group: GROUP, partitions: vec![P], require_stable: true };
    match t.call(to, Request::OffsetFetch(request)) {
        Some(Response::OffsetFetch(answer)) => {
            let offset = answer.offsets.first().and_then(|(_, _, offset)| *offset);
            (answer.error, offset.map(|(offset, _)| offset))
        }
        other => panic!("not an answer to an offset fetch: {other:?}"),
    }
}

#[test]
fn a_committed_offset_survives_its_coordinator() {
    let mut t = cluster();
    let (_, coordinator) = find(&mut t, B2);
    let coordinator = coordinator.unwrap();
    assert_eq!(t.leader_of(OFFSETS), Some(coordinator));
    assert_eq!(commit(&mut t, coordinator, 7), Some(ErrorCode::None));
    assert_eq!(committed(&mut t, coordinator), (ErrorCode::None, Some(Offset(7))));
    t.crash(coordinator, Crash::Process);
    t.run_ms(12_000);
    let next = t.leader_of(OFFSETS).unwrap();
    assert_ne!(next, coordinator);
    assert_eq!(committed(&mut t, next), (ErrorCode::None, Some(Offset(7))));
    t.start(coordinator);
    t.settle();
    assert_eq!(committed(&mut t, coordinator).0, ErrorCode::NotCoordinator);
}

#[test]
fn a_commit_needs_enough_in_sync_replicas() {
    let mut t = cluster();
    let coordinator = find(&mut t, B1).1.unwrap();
    for other in [1, 2, 3].map(ActorId).into_iter().filter(|other| *other != coordinator) {
        t.crash(other, Crash::Process);
    }
    t.run_ms(12_000);
    assert_eq!(commit(&mut t, coordinator, 7), Some(ErrorCode::CoordinatorNotAvailable));
}

#[test]
fn without_an_offsets_topic_nobody_coordinates() {
    let mut t = Cluster::new(1, topic(1, 1), Mutations::NONE);
    assert_eq!(find(&mut t, B1), (ErrorCode::CoordinatorNotAvailable, None));
    assert_eq!(commit(&mut t, B1, 7), Some(ErrorCode::NotCoordinator));
}
