//! The consumer alone, driven through its inputs and effects.

mod fetching;
mod world;
