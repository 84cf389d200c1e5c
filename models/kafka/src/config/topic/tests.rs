use super::*;

fn read(base: &BrokerConfig, pairs: &[(&str, &str)]) -> (TopicConfig, Vec<ConfigIssue>) {
    let own = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
    topic_config(base, TopicId(3), 6, 3, &pairs.iter().map(own).collect())
}

#[test]
fn a_topic_takes_the_brokers_values_unless_it_has_its_own() {
    let base = BrokerConfig {
        min_insync_replicas: 2,
        unclean_leader_election: true,
        log_flush_interval_messages: Some(10),
        ..BrokerConfig::default()
    };
    let (inherited, issues) = read(&base, &[]);
    assert_eq!(issues, []);
    assert_eq!((inherited.topic, inherited.partitions), (TopicId(3), 6));
    assert_eq!((inherited.min_insync_replicas, inherited.flush_messages), (2, Some(10)));
    assert!(inherited.unclean_leader_election);

    let own = [
        ("min.insync.replicas", "1"),
        ("unclean.leader.election.enable", "false"),
        ("flush.messages", "9223372036854775807"),
    ];
    let (own, issues) = read(&base, &own);
    assert_eq!(issues, []);
    assert_eq!((own.min_insync_replicas, own.flush_messages), (1, None));
    assert!(!own.unclean_leader_election);
}

#[test]
fn an_invalid_value_leaves_the_brokers() {
    let base = BrokerConfig { min_insync_replicas: 2, ..BrokerConfig::default() };
    let (config, issues) = read(&base, &[("min.insync.replicas", "two"), ("retention.ms", "1")]);
    assert_eq!(config.min_insync_replicas, 2);
    let errors: Vec<_> = issues.iter().map(|i| (i.property.as_str(), i.is_error())).collect();
    assert_eq!(errors, [("min.insync.replicas", true), ("retention.ms", false)]);
}
