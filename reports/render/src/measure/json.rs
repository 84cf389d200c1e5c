//! The JSON document of `oncesim measure`.

use serde_json::{Map, Value, json};

use super::{Figure, MeasureView, PointView, SectionView};

/// One document: figures by section, subject and column, each with unit, median and range.
#[must_use]
pub fn measure_json(view: &MeasureView) -> String {
    let sweeps: Vec<Value> = view
        .sweeps
        .iter()
        .map(|(path, values)| json!({ "path": path, "values": values }))
        .collect();
    let document = json!({
        "schema": crate::json::SCHEMA,
        "scenario": view.scenario,
        "title": view.title,
        "first_seed": view.seeds.0,
        "seeds": view.seeds.1,
        "sweeps": sweeps,
        "points": view.points.iter().map(|point| self::point(view, point)).collect::<Vec<_>>(),
        "command": view.command,
    });
    let mut text = serde_json::to_string_pretty(&document).expect("a document of plain values");
    text.push('\n');
    text
}

fn point(view: &MeasureView, point: &PointView) -> Value {
    let set: Map<String, Value> = view
        .sweeps
        .iter()
        .zip(&point.values)
        .map(|((path, _), value)| (path.clone(), json!(value)))
        .collect();
    let sections: Map<String, Value> =
        point.sections.iter().map(|one| (one.id.to_owned(), section(one))).collect();
    json!({
        "set": set,
        "outcome": point.judgement.name(),
        "vacuous": point.vacuous,
        "notes": point.notes,
        "measures": sections,
    })
}

fn section(section: &SectionView) -> Value {
    let rows = section.rows.iter().map(|row| {
        let mut entry = Map::new();
        entry.insert("subject".to_owned(), json!(row.subject.trim()));
        for ((key, _), cell) in section.columns.iter().zip(&row.cells) {
            entry.insert((*key).to_owned(), cell.as_ref().map_or(Value::Null, figure));
        }
        Value::Object(entry)
    });
    Value::Array(rows.collect())
}

fn figure(figure: &Figure) -> Value {
    json!({
        "unit": figure.unit.name(),
        "median": number(figure.median),
        "low": number(figure.low),
        "high": number(figure.high),
        "n": figure.runs(),
    })
}

/// Whole numbers without a point.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 9e15 { json!(value as i64) } else { json!(value) }
}
