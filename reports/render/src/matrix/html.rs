//! The matrix as a page.

use super::MatrixView;

/// One self-contained file.
#[must_use]
pub fn matrix_html(_view: &MatrixView) -> String {
    String::new()
}
