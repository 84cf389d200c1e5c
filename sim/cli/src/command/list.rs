//! `oncesim list`: scenarios with what they claim.

use oncesim_render::{ListRow, promise};

use crate::args::ListArgs;
use crate::exit::{Exit, Refusal};
use crate::{convert, output, source};

pub(crate) fn list(args: &ListArgs) -> Result<Exit, Refusal> {
    let paths = source::discover(std::slice::from_ref(&args.path))?;
    let rows: Vec<ListRow> = paths
        .iter()
        .map(|path| match source::load_quietly(path, &[]) {
            Ok(loaded) => ListRow {
                path: path.display().to_string(),
                title: loaded.scenario.title.clone(),
                promise: promise(
                    loaded.scenario.claim.as_ref(),
                    convert::expectation(&loaded.scenario).as_ref(),
                ),
                valid: true,
            },
            Err(_) => ListRow {
                path: path.display().to_string(),
                title: String::new(),
                promise: "cannot run (oncesim check says why)".to_owned(),
                valid: false,
            },
        })
        .collect();
    output::result(&oncesim_render::list_text(&rows, output::styled()))?;
    Ok(if rows.iter().all(|row| row.valid) { Exit::AsClaimed } else { Exit::Wrong })
}
