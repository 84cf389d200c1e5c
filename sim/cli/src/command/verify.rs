//! `oncesim verify`: a history that was recorded elsewhere, judged.

use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

use oncesim::history::jepsen::{self, JepsenHistory};
use oncesim::history::{Complaint, History, Read, jsonl};
use oncesim::semantics::{self, ParityOptions, Severity, Verdict};
use oncesim_render::{ParityView, SourceView, Validity, VerifyView};

use crate::args::{Format, Input, VerifyArgs};
use crate::artifact::reason;
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
    let text = load(&args.history)?;
    let input = args.input.unwrap_or_else(|| guess(&args.history, &text));
    let began = Instant::now();
    let wrong = |complaint: Complaint| refusal(&place, input, args.lenient, &complaint);
    let (recorded, skipped) = match input {
        Input::Jsonl => {
            split(jsonl::read_jsonl(&text, args.lenient).map_err(wrong)?, Recorded::Events)
        }
        Input::JepsenEdn => {
            split(jepsen::read_edn(&text, args.lenient).map_err(wrong)?, Recorded::Operations)
        }
        Input::JepsenJson => {
            split(jepsen::read_json(&text, args.lenient).map_err(wrong)?, Recorded::Operations)
        }
    };
    drop(text);
    for complaint in skipped.iter().take(SHOWN) {
        output::note(&format!("skipped {complaint}"));
    }
    if skipped.len() > SHOWN {
        output::note(&format!("and {} more lines", skipped.len() - SHOWN));
    }
    let source = SourceView {
        history: place.clone(),
        input: input.name(),
        events: match &recorded {
            Recorded::Events(history) => history.events.len() as u64,
            Recorded::Operations(history) => history.ops.len() as u64,
        },
        skipped: skipped.len() as u64,
        wall: (began.elapsed(), Duration::ZERO),
    };
    if args.parity {
        parity(&recorded, source, args.format)
    } else {
        own(recorded, source, args.format).map_err(wrong)?
    }
}

fn split<T>(read: Read<T>, of: impl Fn(T) -> Recorded) -> (Recorded, Vec<Complaint>) {
    (of(read.value), read.skipped)
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

/// The bytes of a file, decompressed if it is compressed.
fn load(path: &Path) -> Result<Vec<u8>, Refusal> {
    let refuse = |error: &std::io::Error, what: &str| {
        Refusal::new(
            format!("{what}: {}", reason(error)),
            path.display().to_string(),
            "name a file with a history: JSON Lines, Jepsen's history.edn, or the same as JSON, \
             plain or compressed with gzip or zstd",
        )
    };
    let bytes =
        std::fs::read(path).map_err(|error| refuse(&error, "the history cannot be read"))?;
    let mut text = Vec::new();
    let done = match bytes.get(..4) {
        Some([0x1f, 0x8b, ..]) => {
            flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut text)
        }
        Some([0x28, 0xb5, 0x2f, 0xfd]) => {
            zstd::Decoder::new(&bytes[..]).and_then(|mut decoder| decoder.read_to_end(&mut text))
        }
        _ => return Ok(bytes),
    };
    done.map_err(|error| refuse(&error, "the history cannot be decompressed"))?;
    Ok(text)
}

/// The format, by the file's name, else by its first line.
fn guess(path: &Path, text: &[u8]) -> Input {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let name = name.trim_end_matches(".gz").trim_end_matches(".zst");
    let first = text.split(|b| *b == b'\n').find(|line| !line.trim_ascii().is_empty());
    let first = String::from_utf8_lossy(first.unwrap_or_default());
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
) -> Result<Result<Exit, Refusal>, Complaint> {
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
    Ok(output::result(&text).map(|()| match validity {
        Validity::Valid => Exit::AsClaimed,
        Validity::Invalid => Exit::Violated,
        Validity::Unknown => Exit::Vacuous,
    }))
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

fn parity(recorded: &Recorded, mut source: SourceView, format: Format) -> Result<Exit, Refusal> {
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
    output::result(&text)?;
    Ok(if verdict.valid { Exit::AsClaimed } else { Exit::Violated })
}
