//! Reports from plain data: text, JSON and the trace view; it can run nothing.
