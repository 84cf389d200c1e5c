//! Merging: a union of parts (`oncesim::Part::join`), of what was told of failures (by their first
//! seeds) and of what regressions did. All of it is associative, commutative and idempotent.

use super::{Results, ScenarioResults, Shard, Told};

/// The two together.
///
/// # Errors
/// Why they are not shards of one campaign: a fragment.
pub(crate) fn merge(mut ours: Results, theirs: Results) -> Result<Results, String> {
    if ours.scenarios.len() != theirs.scenarios.len() {
        let (n, m) = (ours.scenarios.len(), theirs.scenarios.len());
        return Err(format!("one has {n} scenarios and the other {m}"));
    }
    for shard in theirs.shards {
        add_shard(&mut ours.shards, shard);
    }
    ours.shards.sort();
    for (our, their) in ours.scenarios.iter_mut().zip(theirs.scenarios) {
        scenario(our, their)?;
    }
    for regression in theirs.regressions {
        let known = ours.regressions.iter().position(|it| it.file == regression.file);
        match known {
            // Two shards that replayed the same file have seen the same, or the worse counts.
            Some(at) if ours.regressions[at].judgement >= regression.judgement => {}
            Some(at) => ours.regressions[at] = regression,
            None => ours.regressions.push(regression),
        }
    }
    ours.regressions.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(ours)
}

fn add_shard(shards: &mut Vec<Shard>, shard: Shard) {
    let key = |shard: &Shard| (shard.from, shard.of, shard.shard);
    match shards.iter_mut().find(|it| key(it) == key(&shard)) {
        Some(known) => {
            // The later state of one process.
            if (shard.finished, shard.wall_ms) > (known.finished, known.wall_ms) {
                *known = shard;
            }
        }
        None => shards.push(shard),
    }
}

fn scenario(ours: &mut ScenarioResults, theirs: ScenarioResults) -> Result<(), String> {
    if let Some(cause) = ours.differs(&theirs) {
        return Err(cause);
    }
    ours.finished |= theirs.finished;
    for part in theirs.parts {
        let path = &ours.facts.path;
        part.join(&mut ours.parts).map_err(|cause| format!("{cause}: {path}"))?;
    }
    for (id, told) in theirs.told {
        let worth = |told: &Told| (told.seed, told.file.clone(), told.text.clone());
        match ours.told.get(&id) {
            Some(known) if worth(known) <= worth(&told) => {}
            _ => {
                ours.told.insert(id, told);
            }
        }
    }
    Ok(())
}
