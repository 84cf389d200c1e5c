//! Narrated tests.
