//! Reports from plain data: text, JSON and the trace view; it can run nothing.
//!
//! Every function here is pure: a view goes in, a `String` comes out. `styled` asks for ANSI
//! colours; whoever prints decides whether its stream can show them.

mod about;
mod campaign;
mod catalogue;
mod causality;
mod coverage;
mod event;
mod explain;
mod explore;
mod external;
mod github;
mod html;
mod json;
mod junit;
mod lanes;
mod matrix;
mod measure;
mod model;
mod number;
mod perfetto;
mod problem;
mod regression;
mod row;
mod run;
mod sarif;
mod schema;
mod shiviz;
mod shrink;
mod story;
mod strategies;
mod style;
mod subject;
mod table;
mod trace;
mod verify;

#[cfg(test)]
mod tests;

pub use campaign::{bound_in_words, campaign_text, summary_text};
pub use catalogue::{anomalies_json, anomalies_markdown, anomalies_text, anomaly_text};
pub use event::event_text;
pub use explain::{explain_json, explain_text, link_text};
pub use explore::{explore_json, explore_text};
pub use github::{github_annotations, github_summary};
pub use html::{campaign_html, measure_html, run_html};
pub use json::{bench_json, campaign_json, mutants_json, run_json};
pub use junit::junit_xml;
pub use lanes::{Around, Lens, lanes_text};
pub use matrix::{
    MatrixAdviceView, MatrixCellView, MatrixCheckView, MatrixColumnView, MatrixCounterexample,
    MatrixPromiseView, MatrixRowView, MatrixSectionView, MatrixView, matrix_html, matrix_json,
    matrix_markdown, matrix_text,
};
pub use measure::{
    Figure, MeasureView, MeasuredFault, MeasuredRun, PointView, RowView, SectionView, Unit,
    measure_json, measure_markdown, measure_text, measured_sections, merged,
};
pub use model::{
    AreaView, BenchLine, CampaignView, ChangeView, ClaimView, CurveView, DepthView, End,
    ExplanationView, ExploreView, FailureView, FaultView, FindView, Judgement, LinkView,
    MutantView, NecessityView, NondeterminismView, RegressionState, RegressionView, RunView,
    ShrinkView, SilentView, SummaryView, UnavoidableView,
};
pub use number::{grouped, percent, seconds, short_count};
pub use perfetto::perfetto_json;
pub use problem::quoted;
pub use regression::regressions_text;
pub use row::Recording;
pub use run::{failure_line, promise, run_text};
pub use sarif::sarif_json;
pub use schema::{DOCUMENTS, document_schema};
pub use shiviz::shiviz_log;
pub use shrink::{shrink_story, shrink_text, sizes_text};
pub use story::{Facts, story};
pub use strategies::{
    EASY, HuntCell, HuntRow, STRATEGIES_HEADER, StrategyTable, strategies_json,
    strategies_markdown, strategies_text,
};
pub use subject::{Subjects, partition_names};
pub use table::{ListRow, bench_text, list_text, mutants_markdown, mutants_text};
pub use verify::{
    ParityView, SourceView, Validity, VerifyView, parity_json, parity_text, verify_json,
    verify_text,
};
