//! `oncesim schema`: the JSON Schema of scenarios, and of the documents that commands print.

use oncesim_render::{DOCUMENTS, document_schema};

use crate::args::SchemaArgs;
use crate::exit::{Exit, Refusal};
use crate::output;

/// What the schema of scenarios is asked for by; it is printed when nothing else is.
const SCENARIO: &str = "scenario";

pub(crate) fn schema(args: &SchemaArgs) -> Result<Exit, Refusal> {
    let kind = args.kind.as_deref().unwrap_or(SCENARIO);
    let schema = match kind {
        SCENARIO => oncesim_spec::schema(),
        kind => document_schema(kind).ok_or_else(|| {
            let fix = format!("one of {SCENARIO}, {}", DOCUMENTS.join(", "));
            Refusal::new(format!("there is no schema of `{kind}`"), "KIND", fix)
        })?,
    };
    output::result(&format!("{schema:#}\n"))?;
    Ok(Exit::AsClaimed)
}
