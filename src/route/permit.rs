//! The proof that a request may be carried out. Pure.

use std::sync::Arc;

use crate::names::CredentialId;
use crate::s3::Call;

use super::access_point::AccessPoint;
use super::affinity::Affinity;

/// A call that policy has granted. Nothing plans without one.
#[derive(Clone, Debug)]
pub struct Permit {
    access_point: Arc<AccessPoint>,
    credential: CredentialId,
    call: Arc<Call>,
    affinity: Affinity,
}

impl Permit {
    /// Says that `policy::decide` granted this call. To be called by the pipeline only, after it
    /// has: `tests/architecture.rs` looks for other callers.
    #[must_use]
    pub fn granted(
        access_point: Arc<AccessPoint>,
        credential: CredentialId,
        call: Arc<Call>,
        affinity: Affinity,
    ) -> Self {
        Self { access_point, credential, call, affinity }
    }

    /// On which access point.
    #[must_use]
    pub fn access_point(&self) -> &Arc<AccessPoint> {
        &self.access_point
    }

    /// With which upstream credential.
    #[must_use]
    pub fn credential(&self) -> &CredentialId {
        &self.credential
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
