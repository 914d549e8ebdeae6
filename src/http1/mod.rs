//! HTTP/1.1 as we speak it to regions (RFC 9112): heads and framings are values, and a connection is a
//! conversation that whoever asks drives itself. No task stands between a region's socket and the client's,
//! and no piece of a body goes through a channel.

pub mod answer;
pub mod chunked;
mod conversation;
pub mod request;

pub use conversation::{Answered, Asked, Conversation, Fault, Incoming, Io};

/// What came is no HTTP/1.1 answer, or is longer than any store's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no HTTP/1.1 answer: {0}")]
pub struct Malformed(pub &'static str);
