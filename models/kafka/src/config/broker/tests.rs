use super::*;

fn read(text: &str) -> (BrokerConfig, Vec<ConfigIssue>) {
    let pairs = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let pairs = pairs.map(|line| line.split_once('=').expect("name=value"));
    broker_config(&pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

#[test]
fn nothing_set_is_the_default() {
    assert_eq!(read(""), (BrokerConfig::default(), vec![]));
}

#[test]
fn every_default_is_a_value_and_every_name_is_listed_once() {
    for property in broker_properties().filter(|property| property.modelled) {
        let unset = property.default.is_empty();
        assert!(unset || property.kind.accepts(property.default), "{}", property.name);
    }
    let mut names: Vec<_> = broker_properties().map(|property| property.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), broker_properties().count());
}

#[test]
fn values_arrive_in_their_fields() {
    let (config, issues) = read(
        "min.insync.replicas=2\nlog.flush.interval.messages=1\nlog.flush.interval.ms=1000
         eligible.leader.replicas.version=0\nunclean.leader.election.enable=true",
    );
    assert_eq!(issues, []);
    assert_eq!((config.min_insync_replicas, config.log_flush_interval_messages), (2, Some(1)));
    assert_eq!(config.log_flush_interval, Some(Duration::from_millis(1_000)));
    assert_eq!((config.eligible_leader_replicas, config.unclean_leader_election), (false, true));
}

#[test]
fn values_that_do_not_fit_together() {
    let table = [
        ("replica.fetch.wait.max.ms=30001", true),
        ("broker.heartbeat.interval.ms=9000", false),
        ("group.min.session.timeout.ms=1800001", false),
        ("min.insync.replicas=0", true),
        ("log.retention.ms=1", false),
        ("zookeeper.connect=z:2181", false),
        ("min.insync.replica=2", true),
    ];
    for (text, error) in table {
        let (_, issues) = read(text);
        assert_eq!(issues.len(), 1, "{text}: {issues:?}");
        assert_eq!(issues[0].is_error(), error, "{text}: {issues:?}");
    }
}
