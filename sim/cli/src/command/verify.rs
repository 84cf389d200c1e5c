//! `oncesim verify`: a history that was recorded elsewhere, judged.

use std::path::Path;
use std::time::{Duration, Instant};

use oncesim::history::jepsen::{self, JepsenHistory};
use oncesim::history::{Complaint, History, LineReader, Read, jsonl};
use oncesim::semantics::{self, ParityOptions, Severity, Verdict};
use oncesim_render::{ParityView, SourceView, Validity, VerifyView, grouped};

use super::lines::Lines;
use crate::args::{Format, Input, VerifyArgs};
use crate::exit::{Exit, Refusal};
use crate::output;

/// Skipped lines that are shown.
const SHOWN: usize = 5;

/// A history as it was read.
enum Recorded {
    Events(History),
    Operations(JepsenHistory),
}

pub(crate) fn verify(args: &VerifyArgs) -> Result<Exit, Refusal> {
    let place = args.history.display().to_string();
    let began = Instant::now();
    let mut lines = Lines::open(&args.history)?;
    let first = lines.first()?;
    let input = args.input.unwrap_or_else(|| guess(&args.history, first));
    let wrong = |complaint: Complaint| refusal(&place, input, args.lenient, &complaint);
    let (recorded, skipped, skips) = match input {
        Input::Jsonl => {
            split(read(&mut lines, jsonl::reader(args.lenient), wrong)?, Recorded::Events)
        }
        Input::JepsenEdn => {
            split(read(&mut lines, jepsen::edn_reader(args.lenient), wrong)?, Recorded::Operations)
        }
        Input::JepsenJson => {
            split(read(&mut lines, jepsen::json_reader(args.lenient), wrong)?, Recorded::Operations)
        }
    };
    for complaint in skipped.iter().take(SHOWN) {
        output::note(&format!("skipped {complaint}"));
    }
    if let more @ 1.. = skips.saturating_sub(SHOWN as u64) {
        output::note(&format!("and {} more lines", grouped(more)));
    }
    let source = SourceView {
        history: place.clone(),
        input: input.name(),
        events: match &recorded {
            Recorded::Events(history) => history.events.len() as u64,
            Recorded::Operations(history) => history.ops.len() as u64,
        },
        skipped: skips,
        wall: (began.elapsed(), Duration::ZERO),
    };
    lines.judging(source.events);
    let done = if args.parity {
        parity(&recorded, source, args.format)
    } else {
        own(recorded, source, args.format).map_err(wrong)?
    };
    lines.finish();
    output::result(&done.0)?;
    Ok(done.1)
}

/// Reads to the end, a line at a time.
fn read<R: LineReader>(
    lines: &mut Lines,
    mut reader: R,
    wrong: impl Fn(Complaint) -> Refusal,
) -> Result<Read<R::History>, Refusal> {
    while let Some(line) = lines.next()? {
        reader.line(line).map_err(&wrong)?;
    }
    reader.finish().map_err(wrong)
}

fn split<T>(read: Read<T>, of: impl Fn(T) -> Recorded) -> (Recorded, Vec<Complaint>, u64) {
    (of(read.value), read.skipped, read.skips)
}

fn refusal(place: &str, input: Input, lenient: bool, complaint: &Complaint) -> Refusal {
    let mut fix = format!("expected {}", complaint.expected);
    if !lenient {
        fix.push_str(&format!(
            "\n      (read as {}; --input says otherwise, --lenient skips such lines)",
            input.name()
        ));
    }
    Refusal::new(
        format!("the history cannot be read: {}", complaint.what),
        format!("{place}:{}", complaint.line),
        fix,
    )
}

/// The format, by the file's name, else by its first line.
fn guess(path: &Path, first: &[u8]) -> Input {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let name = name.trim_end_matches(".gz").trim_end_matches(".zst");
    let first = String::from_utf8_lossy(first);
    let first = first.trim_start();
    let edn = |text: &str| text.starts_with("{:") || text.starts_with("#jepsen");
    if name.ends_with(".edn") || edn(first) || first.strip_prefix('[').is_some_and(edn) {
        Input::JepsenEdn
    } else if !first.contains("\"oncesim-history\"")
        && ["\"process\"", "\"history\""].iter().any(|field| first.contains(field))
    {
        Input::JepsenJson
    } else {
        Input::Jsonl
    }
}

fn own(
    recorded: Recorded,
    mut source: SourceView,
    format: Format,
) -> Result<(String, Exit), Complaint> {
    let began = Instant::now();
    let mut unjudged = Vec::new();
    let history = match recorded {
        Recorded::Events(history) => history,
        Recorded::Operations(operations) => {
            let imported = jepsen::import(&operations)?;
            drop(operations);
            limits(&imported, &mut unjudged);
            imported.history
        }
    };
    let verdict = semantics::check(&history);
    source.wall.1 = began.elapsed();
    let drained = history.events.iter().any(|event| {
        use oncesim::history::{ClientKind, EventKind};
        matches!(event.kind, EventKind::Client(ClientKind::Drained { .. }))
    });
    if !drained {
        unjudged.push(
            "whether what was not read is lost or only late: no final read of every partition \
             (event \"drained\") is on record"
                .to_owned(),
        );
    }
    unjudged.push(
        "what only brokers know: replication, leader epochs, fencing (no broker wrote this history)"
            .to_owned(),
    );
    let validity = validity(&verdict);
    let view = VerifyView { source, verdict: &verdict, validity, unjudged };
    let text = match format {
        Format::Text => oncesim_render::verify_text(&view, output::styled()),
        Format::Json => oncesim_render::verify_json(&view),
    };
    let exit = match validity {
        Validity::Valid => Exit::AsClaimed,
        Validity::Invalid => Exit::Violated,
        Validity::Unknown => Exit::Vacuous,
    };
    Ok((text, exit))
}

/// What Jepsen's operations do not tell.
fn limits(imported: &jepsen::Imported, unjudged: &mut Vec<String>) {
    if imported.transactions > 0 {
        unjudged.push(format!(
            "atomicity and isolation of {} transactions: their records are judged one by one, and \
             cycles between them are not looked for (--parity does)",
            imported.transactions
        ));
    }
    if imported.unsettled > 0 {
        unjudged.push(format!(
            "{} transactions of unknown outcome, of which nobody has read anything: whatever \
             became of them is allowed",
            imported.unsettled
        ));
    }
    unjudged.push(
        "committed offsets and ownership in a group: the operations do not record them".to_owned(),
    );
}

/// A defect is a defect; without one, a history is valid only if it was exercised and nothing that
/// was acknowledged is missing.
fn validity(verdict: &Verdict) -> Validity {
    let found = |id: &str| verdict.anomalies.iter().any(|anomaly| anomaly.id() == id);
    let saw = |what: &[&str]| {
        let seen = verdict.witnesses.iter().filter(|w| what.contains(&w.what));
        seen.map(|w| w.count).sum::<u64>() > 0
    };
    let exercised = saw(&["acknowledged sends"]) && saw(&["polled records", "drained records"]);
    if found("history-malformed") {
        Validity::Unknown
    } else if verdict.anomalies.iter().any(|anomaly| anomaly.severity < Severity::Legal) {
        Validity::Invalid
    } else if !exercised || found("unseen") {
        Validity::Unknown
    } else {
        Validity::Valid
    }
}

fn parity(recorded: &Recorded, mut source: SourceView, format: Format) -> (String, Exit) {
    let began = Instant::now();
    let exported;
    let operations = match recorded {
        Recorded::Operations(operations) => operations,
        Recorded::Events(history) => {
            exported = jepsen::export(history);
            &exported
        }
    };
    let subscribe = operations.ops.iter().any(|op| op.kind == jepsen::OpKind::Subscribe);
    let judge = |ww_deps| semantics::parity(operations, ParityOptions { ww_deps, subscribe });
    let (verdict, ww) = (judge(false), judge(true));
    source.wall.1 = began.elapsed();
    let view = ParityView { source, verdict: &verdict, ww: &ww };
    let text = match format {
        Format::Text => oncesim_render::parity_text(&view, output::styled()),
        Format::Json => oncesim_render::parity_json(&view),
    };
    (text, if verdict.valid { Exit::AsClaimed } else { Exit::Violated })
}
