//! `oncesim new`: a commented scenario to start from.

use std::path::Path;

use crate::args::NewArgs;
use crate::command::run::quoted_path;
use crate::exit::{Exit, Refusal};
use crate::{artifact, output, source};

pub(crate) fn new(args: &NewArgs) -> Result<Exit, Refusal> {
    let name = args.name.strip_suffix(".toml").unwrap_or(&args.name);
    let path = Path::new(name).with_file_name(format!(
        "{}.toml",
        Path::new(name).file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned())
    ));
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let Some(stem) = stem.filter(|stem| !stem.is_empty() && !stem.starts_with('.')) else {
        return Err(Refusal::new(
            "a scenario needs a name",
            "NAME",
            "a few words in kebab-case: retry-after-lost-ack",
        ));
    };
    let text = source::template(&stem, args.template.as_deref())?;
    artifact::write_new(&path, &text)?;
    output::result(&format!(
        "{} is written; next: oncesim run {} --seed 42\n",
        path.display(),
        quoted_path(&path),
    ))?;
    Ok(Exit::AsClaimed)
}
