//! Both notations say the same, and what is wrong is named with its line.

use super::{OpType, export, read_edn, read_json, write_edn, write_json};
use crate::{HistoryBuilder, Outcome};
use oncesim_types::{ErrorCode, TopicId, TopicPartition};

const EDN: &str = r#"{:index 0, :time 1000, :type :invoke, :process 0, :f :subscribe, :value [1 2]}
#jepsen.history.Op{:index 1, :time 1100, :type :ok, :process 0, :f :subscribe, :value [1 2]}
{:index 2, :time 1200, :type :info, :process :nemesis, :f :kill, :value {"n1" :killed}}
{:index 3, :time 2000, :type :invoke, :process 0, :f :txn, :value [[:poll] [:send 1 10]]}
#jepsen.history.Op{:index 4, :time 2900, :type :ok, :process 0, :f :txn, :value [[:poll {1 [[0 9] [1 8]] 2 []}] [:send 1 [nil 10]]], :rebalance-log [{:type :assigned, :keys [1]}], :error [:why 1.5 "text"]}
{:index 5, :time 3000, :type :invoke, :process 1, :f :send, :value [[:send 1 9]]}
{:index 6, :time 3000, :type :info, :process 1, :f :send, :value [[:send 1 9]], :error :kafka-timeout}
"#;

#[test]
fn plain_maps_and_op_records_are_read() {
    let history = read_edn(EDN.as_bytes(), false).expect("a history").value;
    assert_eq!((history.ops.len(), history.foreign), (6, 1));
    assert_eq!(history.polled.len(), 2);
    let ok = history.ops[3];
    assert_eq!((ok.ty, ok.mops.len, ok.rebalanced.len), (OpType::Ok, 2, 1));
}

#[test]
fn both_notations_round_trip() {
    let history = read_edn(EDN.as_bytes(), false).expect("a history").value;
    let edn = write_edn(&history);
    let json = write_json(&history);
    let again = read_edn(edn.as_bytes(), false).expect("its own text").value;
    assert_eq!(again.ops, history.ops);
    assert_eq!(write_edn(&again), edn);
    let again = read_json(json.as_bytes(), false).expect("its own text").value;
    assert_eq!(again.ops, history.ops);
    assert_eq!(write_edn(&again), edn, "the same operations in the other notation");
}

#[test]
fn a_run_is_exported_with_one_open_operation_per_process() {
    let mut b = HistoryBuilder::new();
    let topic = b.topic("orders", 2);
    let group = b.group("mailer", &[topic]);
    let (shop, mailer) = (b.producer("shop"), b.consumer("mailer-0", group));
    let at = TopicPartition::new(TopicId(0), 1);
    let records: Vec<_> = (0..3).map(|_| b.send(shop, at)).collect();
    b.acked(records[0], at, 0);
    b.send_end(records[1], None, Outcome::Info(ErrorCode::RequestTimedOut), None);
    b.assigned(mailer, 1, &[at], &[at]);
    let polled = [b.polled(at, 0, records[0]), b.polled(at, 1, records[1])];
    b.poll(mailer, &polled);
    let history = export(&b.finish());
    let text = write_edn(&history);
    let again = read_edn(text.as_bytes(), false).expect("operations are paired").value;
    assert_eq!(write_edn(&again), text);
    let sends = history.ops.iter().filter(|op| op.kind == super::OpKind::Send).count();
    assert_eq!(sends, 6, "each call begins and ends, the open one with an unknown outcome");
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let op = "{:type :invoke, :process 0, :f :poll, :value [[:poll]]}";
    for (text, line, what) in [
        (String::new(), 1, "no operation"),
        (format!("{op}\n{{:type :ok, :process 0"), 2, "no EDN"),
        (format!("{op}\n{op}"), 2, "another is open"),
        ("{:type :ok, :process 0, :f :poll, :value []}".to_owned(), 1, "has not begun"),
        ("{:type :invoke, :process 0, :f :send, :value [[:send 1]]}".to_owned(), 1, "neither"),
        ("[[[[".repeat(40), 1, "deeper"),
        ("42".to_owned(), 1, "no operation"),
    ] {
        let complaint = read_edn(text.as_bytes(), false).expect_err(what);
        assert_eq!(complaint.line, line, "{complaint}");
        assert!(complaint.to_string().contains(what), "{complaint}");
    }
    let complaint = read_json(b"{\"type\":\"ok\"}", false).expect_err("no process");
    assert!(complaint.to_string().contains(":process"), "{complaint}");
}

#[test]
fn a_poll_of_several_partitions_names_each_once() {
    let mut b = HistoryBuilder::new();
    let topic = b.topic("orders", 2);
    let group = b.group("mailer", &[topic]);
    let (shop, mailer) = (b.producer("shop"), b.consumer("mailer-0", group));
    let at = |p| TopicPartition::new(TopicId(0), p);
    let polled: Vec<_> = [(1, 0), (0, 0), (1, 1)]
        .into_iter()
        .map(|(p, offset)| {
            let record = b.send(shop, at(p));
            b.acked(record, at(p), offset);
            b.polled(at(p), offset, record)
        })
        .collect();
    b.poll(mailer, &polled);
    let text = write_edn(&export(&b.finish()));
    assert!(text.contains(r#"[:poll {"orders-0" [[0 1]], "orders-1" [[0 0] [1 2]]}]"#), "{text}");
    let again = read_edn(text.as_bytes(), false).expect("its own text").value;
    assert_eq!(write_edn(&again), text);
}
