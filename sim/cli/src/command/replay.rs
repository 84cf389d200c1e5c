//! `oncesim replay`: the run of a counterexample again.

use oncesim_render::Judgement;

use crate::args::ReplayArgs;
use crate::command::run::{once, quoted_path, show, why};
use crate::exit::{Exit, Refusal};
use crate::{convert, export, output, page, source};

pub(crate) fn replay(args: &ReplayArgs) -> Result<Exit, Refusal> {
    super::trace::sensible(&args.view, args.format)?;
    let loaded = source::load(&args.file, &[])?;
    let seed = loaded.seed(args.seed)?.ok_or_else(|| source::which_run(&args.file))?;
    let recorded = loaded.replay.map(|replay| replay.digest);
    export::ensure(&args.export, &[(args.html.as_deref(), "--html")])?;
    let traced = args.view.trace || args.html.is_some() || export::wanted(&args.export);
    let (outcome, wall) = once(&loaded.scenario, seed, args.format, traced);
    let mut which = quoted_path(&args.file);
    if let Some(seed) = args.seed {
        which.push_str(&format!(" --seed {seed}"));
    }
    let command = format!("oncesim replay {which}");
    let mut view = convert::run(&loaded.scenario, &outcome, wall, command);
    view.why = why(&loaded.scenario, &outcome, &which);
    if let Some(recorded) = recorded {
        if recorded == view.digest {
            view.note = Some("the digest is the recorded one: this is the same run".to_owned());
        } else {
            view.note = Some(format!(
                "the recorded digest is {recorded}: this is another run (the file was edited, or \
                 the same input no longer gives the same run)"
            ));
            view.judgement = view.judgement.max(Judgement::Nondeterministic);
        }
    }
    page::run(args.html.as_deref(), &view, None)?;
    export::write(&args.export, &view)?;
    if args.view.trace
        && let Some(note) = &view.note
    {
        output::note(note);
    }
    show(&view, args.format, &args.view)
}
