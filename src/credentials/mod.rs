//! The keys that nearpoint signs with towards regions, always at hand. A door.
//!
//! Static pairs come from the configuration. Everything else comes from AWS's own chain
//! (environment, profile, SSO, web identity, ECS and EKS, IMDS, process, assumed role), fetched
//! ahead of expiry in the background: a request never waits for a credential. Where there is
//! none, [`Store::current`] says so and the caller leaves that region out; the others serve on.
//!
//! Refuses to decide: whether a store likes a credential (the canary of `probe`), and who may
//! use it (`policy`).

#[cfg(feature = "aws-chain")]
pub mod chain;
pub mod rhythm;
#[cfg(test)]
pub(crate) mod stand_in;
pub mod store;

use std::future::Future;
use std::sync::Arc;

pub use store::{ChainState, Store, keep_fresh};

use crate::names::{CredentialId, RegionId};
use crate::sigv4::Credential;
use crate::units::UnixSeconds;

/// Whether this build has the chain (feature `aws-chain`); without it, configuration that asks
/// for it is a fault.
pub const CHAIN_IS_BUILT_IN: bool = cfg!(feature = "aws-chain");

/// Where one credential comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// From the configuration; never expires.
    Static(Arc<Credential>),
    /// From AWS's chain. All rows with this source share what it gives.
    Chain,
}

/// One credential that requests may be signed with.
#[derive(Clone, Debug)]
pub struct Row {
    /// Towards this region.
    pub region: RegionId,
    /// The region's own, or a client's.
    pub credential: CredentialId,
    /// Where it comes from.
    pub source: Source,
}

/// A credential and how long it may be used.
#[derive(Clone, Debug)]
pub struct Lease {
    /// What to sign with.
    pub credential: Arc<Credential>,
    /// `None`: for ever.
    pub expires: Option<UnixSeconds>,
}

/// Why the chain gave nothing: for logs and the status page. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ChainFault(pub String);

/// Whoever hands out leases: AWS's chain, or a script in tests.
pub trait Chain: Send + 'static {
    /// Fetches a new lease. The caller sets the time limit.
    fn fetch(&mut self) -> impl Future<Output = Result<Lease, ChainFault>> + Send;
}
