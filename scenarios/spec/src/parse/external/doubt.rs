//! What is legal and probably not meant.
use crate::diagnostic::Diagnostics;
use crate::parse::application::Applications;
use oncesim_semantics::Claim;
pub(in crate::parse) fn doubts(
    _a: &Applications,
    _c: Option<&Claim>,
    _n: &crate::names::Names,
    _out: &mut Diagnostics,
) {
}
