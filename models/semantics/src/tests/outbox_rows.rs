//! One small history per row of table H.

use super::rows::Row;

pub(super) const TABLE_H: &[Row] = &[];
