//! The reports that a campaign leaves for machines, besides its result.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use oncesim_render::{SummaryView, github_annotations, github_summary, junit_xml, sarif_json};

use crate::args::{Format, ReportArgs};
use crate::exit::Refusal;
use crate::{artifact, output, page};

/// Where GitHub wants the summary of a step.
const STEP_SUMMARY: &str = "GITHUB_STEP_SUMMARY";

/// Which reports to write; each place was tried before anything ran.
#[derive(Debug)]
pub(crate) struct Reports {
    junit: Option<PathBuf>,
    sarif: Option<PathBuf>,
    html: Option<PathBuf>,
    github: bool,
    step_summary: Option<PathBuf>,
}

impl Reports {
    /// Refuses a place that takes no file, before a campaign spends its time.
    pub(crate) fn prepare(args: &ReportArgs) -> Result<Reports, Refusal> {
        let files = [
            (args.junit.as_deref(), "--junit"),
            (args.sarif.as_deref(), "--sarif"),
            (args.html.as_deref(), "--html"),
        ];
        artifact::ensure_files(&files)?;
        let named = std::env::var_os(STEP_SUMMARY).filter(|path| args.github && !path.is_empty());
        let step_summary = named.map(PathBuf::from);
        if let Some(path) = &step_summary {
            append(path, "")?;
        }
        Ok(Reports {
            junit: args.junit.clone(),
            sarif: args.sarif.clone(),
            html: args.html.clone(),
            github: args.github,
            step_summary,
        })
    }

    /// Writes every report that goes to a file, whole or not at all.
    pub(crate) fn write(&self, summary: &SummaryView) -> Result<(), Refusal> {
        if let Some(path) = &self.junit {
            artifact::write(path, &junit_xml(summary))?;
        }
        if let Some(path) = &self.sarif {
            artifact::write(path, &sarif_json(summary, env!("CARGO_PKG_VERSION")))?;
        }
        if let Some(path) = &self.html {
            page::campaign(path, summary)?;
        }
        if let Some(path) = &self.step_summary {
            append(path, &github_summary(summary))?;
        }
        Ok(())
    }

    /// Prints the annotations. GitHub reads both streams; beside a document they go to standard
    /// error, so that the document stays one.
    pub(crate) fn annotate(&self, summary: &SummaryView, format: Format) -> Result<(), Refusal> {
        let text = if self.github { github_annotations(summary) } else { String::new() };
        match format {
            _ if text.is_empty() => Ok(()),
            Format::Text => output::result(&text),
            Format::Json => {
                output::note(&text);
                Ok(())
            }
        }
    }
}

/// Adds to the summary of the step, in which other commands may have written.
fn append(path: &Path, text: &str) -> Result<(), Refusal> {
    let opened = OpenOptions::new().append(true).create(true).open(path);
    opened.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| {
        Refusal::new(
            format!("the job summary cannot be written: {}", artifact::reason(&error)),
            path.display().to_string(),
            format!("let {STEP_SUMMARY} name a file that you may write to, or unset it"),
        )
    })
}
