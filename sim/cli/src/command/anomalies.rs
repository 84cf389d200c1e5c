//! `oncesim anomalies`: what anomalies mean.

use oncesim::semantics::{AnomalyClass, DUPLICATE_KINDS, catalogue, find};

use crate::args::{AnomaliesArgs, Format};
use crate::exit::{Exit, Refusal};
use crate::output;

pub(crate) fn anomalies(args: &AnomaliesArgs) -> Result<Exit, Refusal> {
    let styled = output::styled();
    let text = match (&args.id, args.format) {
        _ if args.markdown => oncesim_render::anomalies_markdown(catalogue(), DUPLICATE_KINDS),
        (None, Format::Text) => oncesim_render::anomalies_text(catalogue(), styled),
        (None, Format::Json) => oncesim_render::anomalies_json(catalogue()),
        (Some(id), Format::Text) => oncesim_render::anomaly_text(one(id)?, styled),
        (Some(id), Format::Json) => oncesim_render::anomalies_json(&[one(id)?]),
    };
    output::result(&text)?;
    Ok(Exit::AsClaimed)
}

/// The anomaly with this id; a sub-kind (`dup-retry`) finds its class.
fn one(id: &str) -> Result<&'static AnomalyClass, Refusal> {
    find(id).ok_or_else(|| {
        let words: Vec<&str> = id.split('-').filter(|word| word.len() > 2).collect();
        let like: Vec<&str> = catalogue()
            .iter()
            .map(|class| class.id)
            .filter(|known| words.iter().any(|word| known.contains(word)))
            .take(6)
            .collect();
        let fix = if like.is_empty() {
            "`oncesim anomalies` lists them all".to_owned()
        } else {
            format!("did you mean {}? `oncesim anomalies` lists them all", like.join(", "))
        };
        Refusal::new(format!("no anomaly is called `{id}`"), "ID", fix)
    })
}
