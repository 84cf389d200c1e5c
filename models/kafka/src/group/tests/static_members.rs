//! Static membership: KIP-345, KIP-814.

use super::*;

/// A static member S with everything, stable in generation 1.
fn static_group() -> Broker {
    let mut broker = Broker::new();
    let id = broker.send(join(None, A, Some(7)));
    broker.pass(Duration::from_secs(3));
    let told = broker.joined(id).expect("no member id is required of a static member");
    assert_eq!((told.member, told.generation), (A, GenerationId(1)));
    let id = broker.send(sync(A, 1, &[(A, vec![TP])]));
    assert_eq!(broker.synced(id), Some((ErrorCode::None, vec![TP])));
    broker
}

/// KIP-345, KIP-814, KAFKA-10284.
#[test]
fn a_static_member_comes_back_without_a_rebalance_and_fences_its_past() {
    let mut broker = static_group();
    broker.mode = Log::Stuck;
    let id = broker.send(join(None, B, Some(7)));
    assert!(broker.joined(id).is_none(), "first the new member id is written");
    broker.heal();
    let back = broker.joined(id).expect("written");
    assert_eq!((back.error, back.member, back.generation), (ErrorCode::None, B, GenerationId(1)));
    assert!(back.skip_assignment, "KIP-814: the leader keeps the stored assignment");
    let id = broker.send(sync(B, 1, &[]));
    assert_eq!(broker.synced(id), Some((ErrorCode::None, vec![TP])));
    for _ in 0..2 {
        let instance = Some(GroupInstanceId(7));
        assert_eq!(broker.heartbeat_as(A, instance, 1), ErrorCode::FencedInstanceId);
        let zombie = broker.send(commit(Some(A), Some(7), 1, 3));
        assert_eq!(broker.committed(zombie), Some(ErrorCode::FencedInstanceId));
        assert_eq!(broker.heartbeat_as(B, instance, 1), ErrorCode::None);
        // The next coordinator knows it too.
        broker.fail_over();
    }
}

#[test]
fn a_static_replacement_that_was_not_written_did_not_happen() {
    let mut broker = static_group();
    broker.mode = Log::Refusing(ErrorCode::NotEnoughReplicas);
    let id = broker.send(join(None, B, Some(7)));
    let refused = broker.joined(id).expect("at once");
    assert_eq!(refused.error, ErrorCode::CoordinatorNotAvailable);
    let instance = Some(GroupInstanceId(7));
    assert_eq!(broker.heartbeat_as(A, instance, 1), ErrorCode::None);
    assert_eq!(broker.heartbeat_as(B, instance, 1), ErrorCode::FencedInstanceId);
}

/// KAFKA-9801.
#[test]
fn a_static_member_that_comes_back_before_the_assignment_causes_a_rebalance() {
    let mut broker = Broker::new();
    broker.send(join(None, A, Some(7)));
    broker.pass(Duration::from_secs(3));
    let id = broker.send(join(None, B, Some(7)));
    let back = broker.joined(id).expect("it is the only member");
    assert_eq!((back.member, back.generation), (B, GenerationId(2)));
}
