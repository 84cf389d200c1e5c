//! The consumer alone, driven through its inputs and effects.

mod commits;
mod fetching;
mod group;
mod membership;
mod world;
