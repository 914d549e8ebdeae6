//! From host names to socket addresses, so that losing DNS never stops serving. Cache and accrual
//! are pure, the resolver is the cache's door, `exchange::addresses` that of the accrual.
//!
//! Decides: how long an answer is used, when it is asked for again, that the last good answer
//! outlives its name server, and which address of a region a new connection tries first. Refuses to
//! decide: what a failed name means for a region (`fleet`).

pub mod accrual;
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
    /// The family about which no name server could be heard: it may have addresses all the same.
    pub unheard: Option<Family>,
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4: A records.
    V4,
    /// IPv6: AAAA records.
    V6,
}

impl Family {
    /// That of an address.
    #[must_use]
    pub const fn of(address: &std::net::IpAddr) -> Self {
        if address.is_ipv6() { Self::V6 } else { Self::V4 }
    }
}

impl DnsFault {
    /// As metrics are labelled.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NoAddress { .. } => "no_address",
            Self::Failed { .. } => "failed",
            Self::Busy => "busy",
        }
    }
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
