//! From host names to socket addresses, so that losing DNS never stops serving. The cache is
//! pure, the resolver is its door.
//!
//! Decides: how long an answer is used, when it is asked for again, and that the last good
//! answer outlives a name server by a day. Refuses to decide: which address is tried first by
//! whom (`exchange::dial` races them), and what a failed name means for a region (`fleet`).

pub mod cache;
pub mod resolver;

use std::sync::Arc;
use std::time::Duration;

pub use resolver::Resolver;

/// What a name server said of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// At least one address.
    pub addresses: Vec<std::net::IpAddr>,
    /// How long it may be used, as told; the cache clamps it.
    pub ttl: Duration,
}

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsFault {
    /// The name server knows no address of this name.
    #[error("no address is known for {host}")]
    NoAddress {
        /// The name asked for.
        host: Arc<str>,
    },
    /// No name server answered, or with an error.
    #[error("looking up {host}: {cause}")]
    Failed {
        /// The name asked for.
        host: Arc<str>,
        /// What the resolver saw.
        cause: Arc<str>,
    },
    /// More names wait for an answer than [`resolver::LOOKUPS_WAITING_MAX`], or nobody is left to ask.
    #[error("nobody has time to look a name up")]
    Busy,
}
