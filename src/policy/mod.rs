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

use std::sync::Arc;

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
    StoreJudges,
    /// GetObject, HeadObject and object listings on named access points: `anonymous: sign`.
    AnonymousReads,
    /// Everything on named access points: `verify: off`.
    Everything,
}
