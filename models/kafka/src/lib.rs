//! Kafka's protocol as sans-IO state machines: log, brokers, controller, coordinators, producer
//! and consumer.
//!
//! Nothing here reads a clock, draws a random number or performs anything: see [`machine`].

pub mod broker;
pub mod client;
pub mod config;
pub mod consumer;
pub mod controller;
pub mod group;
pub mod log;
pub mod machine;
pub mod message;
pub mod mutation;
pub mod note;
pub mod producer;
pub mod replica;
pub mod transaction;

/// The text, if words are wanted: a check that only asks yes or no builds none.
fn said(words: bool, text: std::fmt::Arguments<'_>) -> String {
    if words { text.to_string() } else { String::new() }
}
