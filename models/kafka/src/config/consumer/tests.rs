use super::*;

fn read(text: &str) -> (ConsumerConfig, Vec<ConfigIssue>) {
    let pairs = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let pairs = pairs.map(|line| line.split_once('=').expect("name=value"));
    consumer_config(&pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

fn issue(text: &str) -> ConfigIssue {
    let (_, mut issues) = read(text);
    assert_eq!(issues.len(), 1, "{issues:?}");
    issues.remove(0)
}

#[test]
fn nothing_set_is_the_default() {
    assert_eq!(read(""), (ConsumerConfig::default(), vec![]));
}

#[test]
fn every_default_is_a_value_and_every_name_is_listed_once() {
    for property in consumer_properties().filter(|property| property.modelled) {
        let unset = property.default.is_empty();
        assert!(unset || property.kind.accepts(property.default), "{}", property.name);
    }
    let mut names: Vec<_> = consumer_properties().map(|property| property.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), consumer_properties().count());
}

#[test]
fn assignors_go_by_full_or_short_name_in_order() {
    let text = "partition.assignment.strategy=org.apache.kafka.clients.consumer.StickyAssignor, \
                RoundRobinAssignor";
    assert_eq!(read(text).0.assignors, [Assignor::Sticky, Assignor::RoundRobin]);
    for text in ["RangeAssigner", "RangeAssignor,RangeAssignor", ""] {
        let issue = issue(&format!("partition.assignment.strategy={text}"));
        assert!(matches!(issue.kind, IssueKind::Invalid { .. }), "{issue:?}");
    }
}

#[test]
fn a_reset_policy_is_one_of_kafkas_words() {
    let table = [
        ("earliest", OffsetResetStrategy::Earliest),
        ("latest", OffsetResetStrategy::Latest),
        ("none", OffsetResetStrategy::None),
    ];
    for (word, policy) in table {
        let (config, issues) = read(&format!("auto.offset.reset={word}"));
        assert_eq!((config.auto_offset_reset, issues), (policy, vec![]));
    }
    assert!(issue("auto.offset.reset=smallest").is_error());
    assert_eq!(issue("auto.offset.reset=by_duration:P7D").kind, IssueKind::NotModelled);
}

#[test]
fn heartbeats_come_more_often_than_sessions_end() {
    let refused = issue("heartbeat.interval.ms=6000\nsession.timeout.ms=6000");
    assert_eq!(refused.kind, IssueKind::Conflict { with: "session.timeout.ms" });
    assert_eq!(refused.fix, "heartbeat.interval.ms=2000");
    assert_eq!(read("heartbeat.interval.ms=5999\nsession.timeout.ms=6000").1, []);
}

#[test]
fn a_fetch_that_waits_longer_than_its_timeout_is_pointed_out() {
    let hazard = issue("fetch.max.wait.ms=30000");
    assert_eq!(hazard.kind, IssueKind::Hazard { with: "request.timeout.ms" });
    assert!(!hazard.is_error());
    assert_eq!(read("fetch.max.wait.ms=29999").1, []);
}

#[test]
fn the_new_group_protocol_is_refused_rather_than_ignored() {
    assert_eq!(read("group.protocol=classic").1, []);
    assert!(issue("group.protocol=consumer").is_error());
}

#[test]
fn values_arrive_in_their_fields() {
    let (config, issues) =
        read("isolation.level=read_committed\nenable.auto.commit=FALSE\nmax.poll.records=1");
    assert_eq!(issues, []);
    assert_eq!(config.isolation, IsolationLevel::ReadCommitted);
    assert_eq!((config.auto_commit, config.max_poll_records), (false, 1));
}
