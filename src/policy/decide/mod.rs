//! One request against one grant.

use smallvec::{SmallVec, smallvec};

use super::Grant;
use super::model::{ARN, Policy, Ruling};
use crate::names::AccessPointName;
use crate::s3::Call;
use crate::s3::call::Target;
use crate::s3::operation::Operation;
use crate::s3::profile::Feature;

/// The access points that a request's bucket names stand for, aliases resolved. `*` where only
/// the wildcard takes the name: then policies see the name that the client used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Named<'a> {
    /// Of the target; `None` for `ListBuckets` only: anything else is denied without one, so that
    /// no bucket name reaches a policy before its alias is resolved.
    pub target: Option<&'a AccessPointName>,
    /// Of `x-amz-copy-source`; a copy without one is denied.
    pub copy_source: Option<&'a AccessPointName>,
}

/// What was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Granted {
    /// The request.
    Whole,
    /// Nothing yet: the request names its keys in its body, and [`decide_key`] judges each of
    /// them (`DeleteObjects`).
    PerKey,
}

/// What was not granted: for the log, never for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{action} on {resource} is not granted")]
pub struct Denied {
    /// `s3:GetObject`.
    pub action: &'static str,
    /// `arn:aws:s3:::photos/a.jpg`; key bytes that are no UTF-8 are replaced.
    pub resource: String,
}

/// Whether the grant covers the call: its own action, what its headers set besides (ACL, tags,
/// lock), and the reading of its copy source.
///
/// # Errors
/// [`Denied`] names the first action and resource that is not granted.
pub fn decide(grant: &Grant, call: &Call, named: Named<'_>) -> Result<Granted, Denied> {
    let facts = call.facts();
    if facts.action.is_empty() {
        // A browser's preflight carries no credential and changes nothing: never judged.
        return Ok(Granted::Whole);
    }
    if call.operation == Operation::DeleteObjects {
        let resource = Resource { bucket: bucket(named.target, call.bucket()), key: None };
        return if out_of_reach(grant, named.target) {
            Err(resource.denied(facts.action))
        } else {
            Ok(Granted::PerKey)
        };
    }
    for need in needs(call, named) {
        if !covers(grant, call.operation, &need) {
            return Err(need.resource.denied(need.action));
        }
    }
    Ok(Granted::Whole)
}

/// Whether the grant covers an action on one key of a request that names its keys in its body.
/// `action` is by key: `s3:DeleteObjectVersion` where the entry names a version. `requested` is
/// the bucket as the client named it.
///
/// # Errors
/// [`Denied`] names action and resource.
pub fn decide_key(
    grant: &Grant,
    call: &Call,
    action: &'static str,
    access_point: &AccessPointName,
    key: &[u8],
) -> Result<(), Denied> {
    let resource = Resource { bucket: bucket(Some(access_point), call.bucket()), key: Some(key) };
    for action in std::iter::once(action).chain(besides(call)) {
        let need = Need { action, access_point: Some(access_point), resource };
        if !covers(grant, call.operation, &need) {
            return Err(resource.denied(action));
        }
    }
    Ok(())
}

/// One thing that must be granted.
struct Need<'a> {
    action: &'static str,
    /// `None` for the service.
    access_point: Option<&'a AccessPointName>,
    resource: Resource<'a>,
}

/// What a policy's Resource is matched with.
#[derive(Clone, Copy)]
struct Resource<'a> {
    /// The access point's name; empty for the service.
    bucket: &'a str,
    /// The decoded key.
    key: Option<&'a [u8]>,
}

impl Resource<'_> {
    /// What follows the ARN's prefix.
    fn path(self) -> SmallVec<[u8; 256]> {
        let mut path = SmallVec::from_slice(self.bucket.as_bytes());
        if let Some(key) = self.key {
            path.push(b'/');
            path.extend_from_slice(key);
        }
        path
    }

    fn denied(self, action: &'static str) -> Denied {
        Denied { action, resource: format!("{ARN}{}", String::from_utf8_lossy(&self.path())) }
    }
}

/// The name that policies know: the access point's, or under the wildcard the client's own.
fn bucket<'a>(access_point: Option<&'a AccessPointName>, requested: Option<&'a str>) -> &'a str {
    match access_point {
        Some(name) if !is_wildcard(name) => name.as_str(),
        _ => requested.unwrap_or_default(),
    }
}

fn is_wildcard(name: &AccessPointName) -> bool {
    name.as_str() == "*"
}

fn needs<'a>(call: &'a Call, named: Named<'a>) -> SmallVec<[Need<'a>; 4]> {
    let facts = call.facts();
    let key = match &call.target {
        Target::Object { key, .. } => Some(key.as_slice()),
        Target::Bucket { .. } | Target::Service => None,
    };
    let resource = Resource { bucket: bucket(named.target, call.bucket()), key };
    let need = |action| Need { action, access_point: named.target, resource };
    let versioned = call.version_id.is_some();
    let action = facts.version_action.filter(|_| versioned).unwrap_or(facts.action);
    let mut needs = smallvec![need(action)];
    needs.extend(besides(call).map(need));
    if let Some(source) = &call.copy_source {
        let action = if source.version_id.is_some() { "s3:GetObjectVersion" } else { "s3:GetObject" };
        let resource =
            Resource { bucket: bucket(named.copy_source, Some(&source.bucket)), key: Some(&source.key) };
        needs.push(Need { action, access_point: named.copy_source, resource });
    }
    needs
}

/// What an operation's headers ask for besides ([`Call::also`], and for a new bucket what its
/// headers set; Service Authorization Reference, "Actions, resources, and condition keys for
/// Amazon S3").
fn besides(call: &Call) -> impl Iterator<Item = &'static str> {
    const OF_A_BUCKET: [(Feature, &str); 2] =
        [(Feature::Acl, "s3:PutBucketAcl"), (Feature::ObjectLock, "s3:PutBucketObjectLockConfiguration")];
    let creates = call.operation == Operation::CreateBucket;
    let of_a_bucket = OF_A_BUCKET.iter().filter(move |(feature, _)| creates && call.depends_on.has(*feature));
    call.also.iter().copied().chain(of_a_bucket.map(|(_, action)| *action))
}

/// Whether no grant of this kind reaches a name: no access point takes it, or only the wildcard.
fn out_of_reach(grant: &Grant, access_point: Option<&AccessPointName>) -> bool {
    match grant {
        Grant::Policy(_) | Grant::StoreJudges => access_point.is_none(),
        Grant::NamedObjects | Grant::AnonymousReads | Grant::Everything => {
            access_point.is_none_or(is_wildcard)
        }
    }
}

fn covers(grant: &Grant, operation: Operation, need: &Need<'_>) -> bool {
    if need.action == LIST_BUCKETS && need.access_point.is_none() {
        return match grant {
            Grant::Policy(policy) => allows(policy, need),
            Grant::NamedObjects | Grant::Everything => true,
            // no store can be asked which access points somebody may see
            Grant::StoreJudges | Grant::AnonymousReads => false,
        };
    }
    if out_of_reach(grant, need.access_point) {
        return false;
    }
    match grant {
        Grant::Policy(policy) => allows(policy, need),
        Grant::StoreJudges | Grant::Everything => true,
        Grant::NamedObjects => {
            let granted = if need.resource.key.is_some() { OBJECT_ACTIONS } else { BUCKET_ACTIONS };
            granted.contains(&need.action)
        }
        Grant::AnonymousReads => {
            ANONYMOUS_OPERATIONS.contains(&operation) && ANONYMOUS_ACTIONS.contains(&need.action)
        }
    }
}

fn allows(policy: &Policy, need: &Need<'_>) -> bool {
    policy.ruling(need.action, &need.resource.path()) == Ruling::Allowed
}

const LIST_BUCKETS: &str = "s3:ListAllMyBuckets";

/// [`Grant::NamedObjects`] on keys. Withheld: `s3:BypassGovernanceRetention`, whose whole purpose
/// is to be withheld, and operations newer than this list.
const OBJECT_ACTIONS: &[&str] = &[
    "s3:GetObject",
    "s3:GetObjectVersion",
    "s3:GetObjectAcl",
    "s3:GetObjectVersionAcl",
    "s3:GetObjectTagging",
    "s3:GetObjectVersionTagging",
    "s3:GetObjectRetention",
    "s3:GetObjectLegalHold",
    "s3:GetObjectAttributes",
    "s3:GetObjectVersionAttributes",
    "s3:GetObjectTorrent",
    "s3:GetObjectVersionTorrent",
    "s3:GetObjectAnnotation",
    "s3:ListObjectAnnotations",
    "s3:PutObject",
    "s3:PutObjectAcl",
    "s3:PutObjectVersionAcl",
    "s3:PutObjectTagging",
    "s3:PutObjectVersionTagging",
    "s3:PutObjectRetention",
    "s3:PutObjectLegalHold",
    "s3:PutObjectAnnotation",
    "s3:UpdateObjectEncryption",
    "s3:RestoreObject",
    "s3:DeleteObject",
    "s3:DeleteObjectVersion",
    "s3:DeleteObjectTagging",
    "s3:DeleteObjectVersionTagging",
    "s3:DeleteObjectAnnotation",
    "s3:AbortMultipartUpload",
    "s3:ListMultipartUploadParts",
];

/// [`Grant::NamedObjects`] on buckets: listings, and what clients ask before they list or write.
/// (`CreateBucket` on a named access point creates nothing: it is answered `BucketAlreadyOwnedByYou`,
/// which tools that make sure of their bucket take for an answer, and a `403` not.)
const BUCKET_ACTIONS: &[&str] = &[
    "s3:ListBucket",
    "s3:ListBucketVersions",
    "s3:ListBucketMultipartUploads",
    "s3:GetBucketLocation",
    "s3:CreateBucket",
];

/// [`Grant::AnonymousReads`], by operation, since other operations share these actions …
const ANONYMOUS_OPERATIONS: &[Operation] =
    &[Operation::GetObject, Operation::HeadObject, Operation::ListObjects, Operation::ListObjectsV2];

/// … and by action, which leaves out old versions.
const ANONYMOUS_ACTIONS: &[&str] = &["s3:GetObject", "s3:ListBucket"];

#[cfg(test)]
mod tests;
