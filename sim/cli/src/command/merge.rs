//! `oncesim merge`: the results of shards into one.

use std::path::Path;

use oncesim_render::{campaign_text, regressions_text};

use crate::args::{Format, MergeArgs};
use crate::command::fuzz::report;
use crate::exit::{Exit, Refusal};
use crate::report::Reports;
use crate::results::{self, Results};
use crate::{artifact, output};

pub(crate) fn merge(args: &MergeArgs) -> Result<Exit, Refusal> {
    let mut merged: Option<Results> = None;
    for file in &args.files {
        let read = Results::read(file)?;
        merged = Some(match merged {
            None => read,
            Some(merged) => results::merge(merged, read).map_err(|cause| {
                Refusal::new(
                    format!("the results do not belong together: {cause}"),
                    file.display().to_string(),
                    "merge the shards of one campaign: the same scenarios, options and --from, and \
                     one --shard K/N for each K",
                )
            })?,
        });
    }
    let mut merged = merged.expect("the command line wants a file");
    let reports = Reports::prepare(&args.reports)?;
    args.out.as_deref().map_or(Ok(()), |path| artifact::ensure_file(path, "--out"))?;
    counterexamples(&args.counterexamples, &mut merged)?;
    let stored = args.out.as_deref().map_or(Ok(()), |path| merged.write(path));
    let summary = merged.summary();
    if args.format == Format::Text {
        let mut text = regressions_text(&summary.regressions, output::styled());
        for campaign in &summary.campaigns {
            text.push_str(&campaign_text(campaign, output::styled()));
        }
        output::result(&text)?;
    }
    report(&summary, &reports, args.format)?;
    stored?;
    Ok(merged.exit(&summary))
}

/// Writes every counterexample, so that the commands of the report work on this machine.
fn counterexamples(folder: &Path, merged: &mut Results) -> Result<(), Refusal> {
    let scenarios = merged.scenarios.iter_mut();
    for told in scenarios.flat_map(|scenario| scenario.told.values_mut()) {
        let name = told.file.as_deref().and_then(|file| Path::new(file).file_name());
        let (Some(name), Some(text)) = (name, &told.text) else { continue };
        artifact::ensure_writable(folder)?;
        let path = folder.join(name);
        artifact::write(&path, text)?;
        told.file = Some(path.display().to_string());
    }
    Ok(())
}
