use super::*;

fn read(text: &str) -> (ProducerConfig, Vec<ConfigIssue>) {
    let pairs = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let pairs = pairs.map(|line| line.split_once('=').expect("name=value"));
    producer_config(&pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// The one issue of `text`.
fn issue(text: &str) -> ConfigIssue {
    let (_, mut issues) = read(text);
    assert_eq!(issues.len(), 1, "{issues:?}");
    issues.remove(0)
}

#[test]
fn nothing_set_is_the_default_and_the_tables_agree_with_the_struct() {
    let (config, issues) = read("");
    assert_eq!(issues, []);
    assert_eq!(config, ProducerConfig::default());
}

#[test]
fn every_default_is_a_value_and_every_name_is_listed_once() {
    for property in producer_properties().filter(|property| property.modelled) {
        let unset = property.default.is_empty();
        assert!(unset || property.kind.accepts(property.default), "{}", property.name);
        assert!(!property.doc.is_empty(), "{}", property.name);
    }
    let mut names: Vec<_> = producer_properties().map(|property| property.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), producer_properties().count());
}

#[test]
fn values_arrive_in_their_fields() {
    let (config, issues) = read(
        "acks=-1\nretries=3\nlinger.ms=0\nbatch.size=1\nmax.in.flight.requests.per.connection=1
         delivery.timeout.ms=40000\npartitioner.class=RoundRobinPartitioner",
    );
    assert_eq!(issues, []);
    assert_eq!((config.acks, config.retries, config.batch_size), (Acks::All, 3, 1));
    assert_eq!((config.linger, config.max_in_flight), (Duration::ZERO, 1));
    assert_eq!(config.delivery_timeout, Duration::from_millis(40_000));
    assert_eq!(config.partitioner, Partitioner::RoundRobin);
    assert_eq!(read("partitioner.ignore.keys=true").0.partitioner, Partitioner::IgnoreKeys);
}

#[test]
fn idempotence_is_silently_off_when_nobody_asked_for_it() {
    for (text, property) in [("acks=1", "acks"), ("acks=0", "acks"), ("retries=0", "retries")] {
        let issue = issue(text);
        assert_eq!(issue.property, property);
        assert_eq!(issue.kind, IssueKind::Adjusted { with: "enable.idempotence" });
        assert!(!issue.is_error());
        assert!(!read(text).0.idempotence);
    }
}

#[test]
fn idempotence_that_was_asked_for_is_refused_instead() {
    for (text, with) in [("acks=1", "acks"), ("retries=0", "retries")] {
        let issue = issue(&format!("enable.idempotence=true\n{text}"));
        assert_eq!(issue.kind, IssueKind::Conflict { with });
        assert!(issue.is_error());
    }
    let issue = issue("enable.idempotence=true\nacks=0");
    assert!(issue.message.starts_with("must set acks to all"), "{}", issue.message);
    assert_eq!(issue.fix, "acks=all, or enable.idempotence=false");
}

#[test]
fn more_than_five_in_flight_are_refused_even_when_idempotence_is_a_default() {
    for text in ["", "enable.idempotence=true\n"] {
        let issue = issue(&format!("{text}max.in.flight.requests.per.connection=6"));
        assert_eq!(issue.kind, IssueKind::Conflict { with: "enable.idempotence" });
        assert!(issue.message.ends_with("current value is 6"), "{}", issue.message);
    }
    let off = "enable.idempotence=false\nmax.in.flight.requests.per.connection=6";
    assert_eq!(read(off).1, []);
    assert_eq!(read("max.in.flight.requests.per.connection=5").1, []);
}

#[test]
fn idempotence_switched_off_conflicts_with_nothing_but_a_transactional_id() {
    let (config, issues) = read("enable.idempotence=false\nacks=0\nretries=0");
    assert_eq!((config.idempotence, issues), (false, vec![]));
    let (_, issues) = read("enable.idempotence=false\ntransactional.id=t");
    let conflict = issues.iter().find(|issue| issue.is_error()).expect("a conflict");
    assert_eq!(conflict.property, "transactional.id");
    assert_eq!(conflict.kind, IssueKind::Conflict { with: "enable.idempotence" });
}

#[test]
fn a_delivery_timeout_covers_linger_and_one_request() {
    let refused = issue("delivery.timeout.ms=30004");
    assert_eq!(refused.kind, IssueKind::Conflict { with: "request.timeout.ms" });
    assert_eq!(refused.fix, "delivery.timeout.ms=30005");
    assert_eq!(read("delivery.timeout.ms=30005").1, []);
    let (config, issues) = read("request.timeout.ms=200000");
    assert_eq!(issues[0].kind, IssueKind::Adjusted { with: "request.timeout.ms" });
    assert_eq!(config.delivery_timeout, Duration::from_millis(200_005));
}

#[test]
fn what_is_not_a_value_names_what_would_be() {
    let table = [
        ("acks=2", "one of all, -1, 0, 1"),
        ("enable.idempotence=yes", "true or false"),
        ("retries=-1", "a whole number, at least 0"),
        ("linger.ms=5ms", "a whole number of milliseconds, at least 0"),
        ("batch.size=4294967296", "a whole number of bytes, at least 0"),
        ("max.in.flight.requests.per.connection=0", "a whole number, at least 1"),
        ("partitioner.class=com.acme.P", "RoundRobinPartitioner, or not set"),
    ];
    for (text, expected) in table {
        let issue = issue(text);
        let kind = IssueKind::Invalid { expected: expected.to_owned() };
        assert_eq!(issue.kind, kind, "{text}");
        assert!(issue.is_error());
    }
    let message = issue("acks=2").message;
    assert_eq!(message, "invalid value 2 for configuration acks: must be one of all, -1, 0, 1");
    assert_eq!(read("acks=2").0, ProducerConfig::default());
}

#[test]
fn names_are_known_or_not_modelled_or_removed_or_unknown() {
    assert_eq!(read("client.id=a\nbootstrap.servers=b:9092\nkey.serializer=c").1, []);
    let quiet = issue("compression.type=zstd");
    assert_eq!((quiet.kind.clone(), quiet.is_error()), (IssueKind::NotModelled, false));
    let old = issue("block.on.buffer.full=true");
    assert_eq!((old.kind.clone(), old.is_error()), (IssueKind::Deprecated, false));
    let typo = issue("linger.mss=1");
    assert_eq!(typo.kind, IssueKind::Unknown { suggestion: None });
    assert!(typo.is_error());
}
