//! Room: who may do what on which access point. Pure.
//!
//! Decides, for one request, whether its client was granted it: by an IAM policy document, or by
//! one of the few fixed grants of [`Grant`]. Explicit denial wins, silence is denial. It refuses to
//! decide what a request is (`s3`), who sent it (`sigv4`) or where it goes (`route`).
//!
//! The language is a first cut of AWS's (IAM User Guide, "Grammar of the IAM JSON policy
//! language"): Version, Id, Sid, Statement, Effect, Action, Resource. Anything else is a fault and
//! never ignored, since an ignored Condition would widen access.

mod decide;
mod model;
mod pattern;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::names::{ClientName, CredentialId, RegionId};
use crate::sigv4::Credential;

pub use decide::{Denied, Granted, Named, decide, decide_key};
pub use model::{Policy, PolicyFault};

/// What a client, or a listener's unverified requests, may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// What this document allows.
    Policy(Arc<Policy>),
    /// Objects and listings on named access points: the only client without a policy.
    NamedObjects,
    /// Whatever the stores allow this identity: `region_credentials: same`, `anonymous: forward`.
    /// Nothing is answered for a store; the list of access points, which none knows, is not granted.
    StoreJudges,
    /// `GetObject`, `HeadObject` and object listings on named access points: `anonymous: sign`.
    AnonymousReads,
    /// Everything on named access points: `verify: off`.
    Everything,
}

/// Somebody with a key, and what it opens.
#[derive(Clone, Debug)]
pub struct Client {
    /// The operator's name for it.
    pub name: ClientName,
    /// What it may do.
    pub grant: Grant,
    /// As whom its requests reach the stores.
    pub region_credentials: RegionCredentials,
}

/// As whom a client's requests reach the stores.
#[derive(Clone, Debug, Default)]
pub enum RegionCredentials {
    /// As nearpoint: with each region's own credentials.
    #[default]
    None,
    /// As itself: with the very pair that it signs with, in every region.
    Same(Credential),
    /// As itself in these regions, as nearpoint in all others.
    Map(BTreeMap<RegionId, Credential>),
}

impl Client {
    /// The client's own credential for a region, where it has one.
    #[must_use]
    pub fn credential(&self, region: &RegionId) -> Option<&Credential> {
        match &self.region_credentials {
            RegionCredentials::None => None,
            RegionCredentials::Same(credential) => Some(credential),
            RegionCredentials::Map(map) => map.get(region),
        }
    }

    /// Under which name that credential's standing in a region is kept.
    #[must_use]
    pub fn credential_id(&self, region: &RegionId) -> CredentialId {
        match self.credential(region) {
            Some(_) => CredentialId::Client(self.name.clone()),
            None => CredentialId::Region,
        }
    }
}
