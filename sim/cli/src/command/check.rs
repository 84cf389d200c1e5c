//! `oncesim check`: everything that is wrong with scenarios.

use crate::args::CheckArgs;
use crate::exit::{Exit, Refusal};
use crate::{output, source};

pub(crate) fn check(args: &CheckArgs) -> Result<Exit, Refusal> {
    let paths = source::discover(&args.paths)?;
    let mut wrong = 0;
    for path in &paths {
        if let Err(refusal) = source::load(path, &[]) {
            output::note(&format!("{refusal}\n"));
            wrong += 1;
        }
    }
    let all = oncesim_render::short_count(paths.len() as u64, "scenario", "scenarios");
    if wrong > 0 {
        let wrong = oncesim_render::grouped(wrong);
        output::result(&format!("{wrong} of {all} cannot run\n"))?;
        return Ok(Exit::Wrong);
    }
    output::result(&format!("{all}, nothing wrong\n"))?;
    Ok(Exit::AsClaimed)
}
