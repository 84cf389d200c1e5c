//! Pages: one self-contained file each, that works from disk, in light and dark, and on paper.

#[expect(dead_code, reason = "the pages come next")]
pub(crate) mod page;
