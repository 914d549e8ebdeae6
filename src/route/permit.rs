//! The proof that a request may be carried out. Pure.

use std::sync::Arc;

use crate::names::{CredentialId, RegionId};
use crate::policy::Client;
use crate::s3::Call;

use super::access_point::AccessPoint;
use super::affinity::Affinity;

/// A call that policy has granted. Nothing plans without one.
#[derive(Clone, Debug)]
pub struct Permit {
    access_point: Arc<AccessPoint>,
    client: Option<Arc<Client>>,
    call: Arc<Call>,
    affinity: Affinity,
}

impl Permit {
    /// Says that `policy::decide` granted this call. To be called by the pipeline only, after it
    /// has: `tests/architecture.rs` looks for other callers. `client`: who signed, if anybody did.
    #[must_use]
    pub fn granted(
        access_point: Arc<AccessPoint>,
        client: Option<Arc<Client>>,
        call: Arc<Call>,
        affinity: Affinity,
    ) -> Self {
        Self { access_point, client, call, affinity }
    }

    /// On which access point.
    #[must_use]
    pub fn access_point(&self) -> &Arc<AccessPoint> {
        &self.access_point
    }

    /// With which upstream credential in a region: the client's own where it has one there, else
    /// the region's.
    #[must_use]
    pub fn credential(&self, region: &RegionId) -> CredentialId {
        self.client.as_ref().map_or(CredentialId::Region, |client| client.credential_id(region))
    }

    /// What was granted.
    #[must_use]
    pub fn call(&self) -> &Arc<Call> {
        &self.call
    }

    /// Which region it is bound to, if any.
    #[must_use]
    pub fn affinity(&self) -> &Affinity {
        &self.affinity
    }
}
