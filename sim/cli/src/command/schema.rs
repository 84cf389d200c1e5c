//! `oncesim schema`: the JSON Schema of scenarios.

use crate::exit::{Exit, Refusal};
use crate::output;

pub(crate) fn schema() -> Result<Exit, Refusal> {
    output::result(&format!("{:#}\n", oncesim_spec::schema()))?;
    Ok(Exit::AsClaimed)
}
