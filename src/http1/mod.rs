//! HTTP/1.1 (RFC 9112), towards regions and towards clients: heads and framings are values, and a connection
//! is driven by whoever asks or answers over it. No task stands between a region's socket and the client's,
//! and no piece of a body goes through a channel. HTTP/2 is hyper's.

pub mod answer;
pub mod chunked;
mod conversation;
mod date;
pub mod request;
mod serving;

pub use conversation::{Answered, Asked, Conversation, Fault, Incoming, Io};
pub use serving::{BrokeOff, ClientBody, End, RequestBody, Serving};

/// What came is no HTTP/1.1, or longer than anybody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no HTTP/1.1: {0}")]
pub struct Malformed(pub &'static str);
