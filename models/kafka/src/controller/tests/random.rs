//! Any order of crashes, restarts, ISR changes and failovers.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    Crash(u16),
    Restart { broker: u16, clean: bool },
    NewIsr { size: usize, partition: u16 },
    Elect { unclean: bool, partition: u16 },
    Shutdown(u16),
    FailOver,
}

fn step() -> impl Strategy<Value = Step> {
    let broker = || 1u16..=3;
    prop_oneof![
        4 => (2u64..12).prop_map(Step::Pass),
        3 => broker().prop_map(Step::Crash),
        3 => (broker(), any::<bool>())
            .prop_map(|(broker, clean)| Step::Restart { broker, clean }),
        4 => (1usize..=3, 0u16..3).prop_map(|(size, partition)| Step::NewIsr { size, partition }),
        1 => (any::<bool>(), 0u16..3)
            .prop_map(|(unclean, partition)| Step::Elect { unclean, partition }),
        1 => broker().prop_map(Step::Shutdown),
        1 => Just(Step::FailOver),
    ]
}

/// One request of a partition's leader for the first `size` replicas beginning with itself.
fn alter(cluster: &mut Cluster, partition: u16, size: usize) {
    let tp = TopicPartition::new(TopicId(0), partition);
    let controller = cluster.controller.as_ref().expect("runs");
    let old = controller.partition(tp).expect("it exists").clone();
    let Some(leader) = old.leader else { return };
    let mut isr = vec![leader];
    isr.extend(old.replicas.iter().copied().filter(|replica| *replica != leader));
    isr.truncate(size);
    let request = AlterPartitionRequest {
        partition: tp,
        broker: leader,
        broker_epoch: cluster.epoch(leader),
        leader_epoch: old.leader_epoch,
        partition_epoch: old.partition_epoch,
        new_isr: isr.iter().map(|replica| (*replica, cluster.epoch(*replica))).collect(),
        recovery: RecoveryState::Recovered,
    };
    cluster.alter(request);
}

fn restart(cluster: &mut Cluster, broker: ActorId, clean: bool, incarnation: u32) {
    let previous = if clean { cluster.epoch(broker) } else { BrokerEpoch::NONE };
    if cluster.register(broker, incarnation, previous) == ErrorCode::None {
        cluster.crash(broker);
        cluster.alive.push(broker);
        cluster.heartbeat(broker);
    }
}

fn check(cluster: &Cluster, elr: bool) -> Result<(), TestCaseError> {
    let controller = cluster.controller.as_ref().expect("runs");
    for p in 0..3 {
        let partition = controller.partition(TopicPartition::new(TopicId(0), p)).expect("exists");
        let active = |broker: &ActorId| controller.is_active(*broker);
        let PartitionRegistration { isr, elr: eligible, replicas, leader, .. } = partition;
        prop_assert!(isr.iter().all(|replica| replicas.contains(replica)));
        prop_assert!(eligible.iter().all(|replica| !isr.contains(replica)));
        prop_assert!(leader.is_none_or(|leader| isr.contains(&leader) && active(&leader)));
        prop_assert!(elr || (!isr.is_empty() && eligible.is_empty()));
        // Fenced replicas are in sync only as the last one standing.
        prop_assert!(isr.iter().all(active) || (!elr && isr.len() == 1 && leader.is_none()));
        prop_assert!(isr.len() < 2 || eligible.is_empty(), "min.insync.replicas is 2");
        prop_assert!(leader.is_none() || partition.last_known_elr.is_empty());
        // Whoever may lead does.
        let electable = |replica: &ActorId| {
            active(replica)
                && (isr.contains(replica) || isr.is_empty() && eligible.contains(replica))
        };
        prop_assert!(leader.is_some() || !replicas.iter().any(electable));
    }
    Ok(())
}

/// The epochs of one partition's changes never go back, and a new leader has a new epoch.
fn check_epochs(notes: &[Note], tp: TopicPartition) -> Result<(), TestCaseError> {
    let mut last = None;
    for note in notes {
        let Note::PartitionChanged { partition, leader, leader_epoch, partition_epoch, .. } = note
        else {
            continue;
        };
        if *partition != tp {
            continue;
        }
        if let Some((old_leader, old_leader_epoch, old_partition_epoch)) = last {
            prop_assert_eq!(partition_epoch.0, old_partition_epoch + 1);
            prop_assert_eq!(leader_epoch.0, old_leader_epoch + i32::from(old_leader != *leader));
        }
        last = Some((*leader, leader_epoch.0, partition_epoch.0));
    }
    Ok(())
}

proptest! {
    #[test]
    fn elections_keep_their_rules_and_a_healed_cluster_is_whole_again(
        steps in proptest::collection::vec(step(), 1..60),
        elr in any::<bool>(),
    ) {
        let off: fn(&mut BrokerConfig, &mut TopicConfig) =
            |config, _| config.eligible_leader_replicas = false;
        let mut cluster = Cluster::with(if elr { |_, _| {} } else { off }, Mutations::NONE);
        let mut incarnation = 0;
        for step in steps {
            incarnation += 1;
            match step {
                Step::Pass(seconds) => cluster.pass(seconds),
                Step::Crash(broker) => cluster.crash(ActorId(broker)),
                Step::Restart { broker, clean } => {
                    restart(&mut cluster, ActorId(broker), clean, incarnation);
                }
                Step::NewIsr { size, partition } => alter(&mut cluster, partition, size),
                Step::Elect { unclean, partition } => {
                    let partition = TopicPartition::new(TopicId(0), partition);
                    let request = ElectLeadersRequest { partition, preferred: None, unclean };
                    cluster.ask(ActorId(9), Request::ElectLeaders(request));
                }
                Step::Shutdown(broker) => {
                    let broker = ActorId(broker);
                    let epoch = cluster.epoch(broker);
                    cluster.heartbeat_with(broker, epoch, 1_000_000, true);
                    cluster.crash(broker);
                }
                Step::FailOver => cluster.fail_over(),
            }
            check(&cluster, elr)?;
        }
        cluster.alive.clear();
        cluster.pass(10);
        for broker in BROKERS {
            incarnation += 1;
            restart(&mut cluster, broker, false, incarnation);
            check(&cluster, elr)?;
        }
        for partition in 0..3 {
            alter(&mut cluster, partition, 3);
            check_epochs(&cluster.notes, TopicPartition::new(TopicId(0), partition))?;
        }
        let settled = cluster.controller.as_ref().expect("runs").settled();
        settled.map_err(TestCaseError::fail)?;
    }
}
