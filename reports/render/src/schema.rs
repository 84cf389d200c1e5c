//! JSON Schemas (draft 2020-12) of the documents that `--format json` prints: derived from what is
//! serialised, so that they cannot differ from it.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::{Value, json};

use crate::catalogue::CatalogueDoc;
use crate::explain::ExplanationDoc;
use crate::explore::ExploreDoc;
use crate::json::{BenchDoc, FuzzDoc, MutantsDoc, RunDoc, SCHEMA};
use crate::matrix::json::MatrixDoc;
use crate::verify::{ParityDoc, VerifyDoc};

/// The kinds of documents, by the command that prints them.
pub const DOCUMENTS: [&str; 11] = [
    "anomalies",
    "bench",
    "explain",
    "explore",
    "fuzz",
    "matrix",
    "measure",
    "mutants",
    "parity",
    "run",
    "verify",
];

/// The schema of one kind of document.
#[must_use]
pub fn document_schema(kind: &str) -> Option<Value> {
    let schema = match kind {
        "anomalies" => of::<CatalogueDoc<'_>>(),
        "bench" => of::<BenchDoc<'_>>(),
        "explain" => of::<ExplanationDoc<'_>>(),
        "explore" => of::<ExploreDoc<'_>>(),
        "fuzz" => of::<FuzzDoc<'_>>(),
        "matrix" => of::<MatrixDoc<'_>>(),
        "measure" => return Some(versioned(measure(), kind)),
        "mutants" => of::<MutantsDoc<'_>>(),
        "parity" => of::<ParityDoc<'_>>(),
        "run" => of::<RunDoc<'_>>(),
        "verify" => of::<VerifyDoc<'_>>(),
        _ => return None,
    };
    Some(versioned(schema.to_value(), kind))
}

/// What is written, not what could be read: a field that is always there is required.
fn of<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>()
}

/// The number of the shape, and where the document comes from.
fn versioned(mut schema: Value, kind: &str) -> Value {
    schema["properties"]["schema"] = json!({ "const": SCHEMA });
    schema["title"] = json!(format!("what `oncesim {kind} --format json` prints"));
    schema
}

/// Its sections and columns are values of the run, so that it is no structure.
fn measure() -> Value {
    let figure = json!({
        "type": ["object", "null"],
        "properties": {
            "unit": { "type": "string" },
            "median": { "type": "number" },
            "low": { "type": "number" },
            "high": { "type": "number" },
            "n": { "type": "integer" },
        },
        "required": ["unit", "median", "low", "high", "n"],
    });
    let row = json!({
        "type": "object",
        "properties": { "subject": { "type": "string" } },
        "required": ["subject"],
        "additionalProperties": figure,
    });
    let rows = json!({ "type": "array", "items": row });
    let text = json!({ "type": "string" });
    let texts = json!({ "type": "array", "items": text });
    let point = json!({
        "type": "object",
        "properties": {
            "set": { "type": "object", "additionalProperties": text },
            "outcome": text,
            "vacuous": { "type": "boolean" },
            "notes": texts,
            "measures": { "type": "object", "additionalProperties": rows },
        },
        "required": ["set", "outcome", "vacuous", "notes", "measures"],
    });
    let sweep = json!({
        "type": "object",
        "properties": { "path": text, "values": texts },
        "required": ["path", "values"],
    });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "scenario": text,
            "title": text,
            "first_seed": { "type": "integer" },
            "seeds": { "type": "integer" },
            "sweeps": { "type": "array", "items": sweep },
            "points": { "type": "array", "items": point },
            "command": text,
        },
        "required": [
            "schema", "scenario", "title", "first_seed", "seeds", "sweeps", "points", "command"
        ],
    })
}
