//! One request against one grant.

use smallvec::{SmallVec, smallvec};

use super::Grant;
use super::model::{ARN, Policy, Ruling};
use crate::names::AccessPointName;
use crate::s3::Call;
use crate::s3::call::Target;
use crate::s3::operation::Facts;
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
    /// them (`DeleteObjects`, the browser's form upload).
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

/// Whether the grant covers the call: its own action, the reading of its copy source, and what
/// its headers set besides (ACL, tags, lock).
///
/// # Errors
/// [`Denied`] names the first action and resource that is not granted.
pub fn decide(grant: &Grant, call: &Call, named: Named<'_>) -> Result<Granted, Denied> {
    let facts = call.facts();
    if facts.action.is_empty() {
        // A browser's preflight carries no credential and changes nothing: never judged.
        return Ok(Granted::Whole);
    }
    if PER_KEY.contains(&facts.name) {
        let resource = Resource { bucket: bucket(named.target, call.bucket()), key: None };
        return if out_of_reach(grant, named.target) {
            Err(resource.denied(facts.action))
        } else {
            Ok(Granted::PerKey)
        };
    }
    for need in needs(call, named) {
        if !covers(grant, facts, &need) {
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
    let need = Need {
        action,
        access_point: Some(access_point),
        resource: Resource { bucket: bucket(Some(access_point), call.bucket()), key: Some(key) },
    };
    if covers(grant, call.facts(), &need) { Ok(()) } else { Err(need.resource.denied(action)) }
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
    needs.extend(implied(action, call).map(need));
    if let Some(source) = &call.copy_source {
        let action = if source.version_id.is_some() { "s3:GetObjectVersion" } else { "s3:GetObject" };
        let resource =
            Resource { bucket: bucket(named.copy_source, Some(&source.bucket)), key: Some(&source.key) };
        needs.push(Need { action, access_point: named.copy_source, resource });
    }
    needs
}

/// What an action entails, and what the headers of a write set besides (Service Authorization
/// Reference, "Actions, resources, and condition keys for Amazon S3"). Which of the two lock
/// headers is there the call does not say, so both actions are needed: rather one too many.
fn implied(action: &str, call: &Call) -> impl Iterator<Item = &'static str> + use<> {
    const ALWAYS: &[(&str, &str)] = &[
        ("s3:GetObjectAttributes", "s3:GetObject"),
        ("s3:GetObjectVersionAttributes", "s3:GetObjectVersion"),
    ];
    const BY_HEADER: &[(&str, Feature, &str)] = &[
        ("s3:PutObject", Feature::Acl, "s3:PutObjectAcl"),
        ("s3:PutObject", Feature::Tagging, "s3:PutObjectTagging"),
        ("s3:PutObject", Feature::ObjectLock, "s3:PutObjectRetention"),
        ("s3:PutObject", Feature::ObjectLock, "s3:PutObjectLegalHold"),
        ("s3:DeleteObject", Feature::ObjectLock, "s3:BypassGovernanceRetention"),
        ("s3:DeleteObjectVersion", Feature::ObjectLock, "s3:BypassGovernanceRetention"),
        ("s3:CreateBucket", Feature::Acl, "s3:PutBucketAcl"),
        ("s3:CreateBucket", Feature::ObjectLock, "s3:PutBucketObjectLockConfiguration"),
    ];
    let mut implied: SmallVec<[&'static str; 4]> = SmallVec::new();
    implied.extend(ALWAYS.iter().filter(|(of, _)| *of == action).map(|(_, then)| *then));
    let depends_on = call.depends_on;
    implied.extend(
        BY_HEADER
            .iter()
            .filter(|(of, feature, _)| *of == action && depends_on.has(*feature))
            .map(|(_, _, then)| *then),
    );
    implied.into_iter()
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

fn covers(grant: &Grant, facts: &Facts, need: &Need<'_>) -> bool {
    if need.action == LIST_BUCKETS && need.access_point.is_none() {
        return match grant {
            Grant::Policy(policy) => allows(policy, need),
            Grant::NamedObjects | Grant::StoreJudges | Grant::Everything => true,
            Grant::AnonymousReads => false,
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
            ANONYMOUS_OPERATIONS.contains(&facts.name) && ANONYMOUS_ACTIONS.contains(&need.action)
        }
    }
}

fn allows(policy: &Policy, need: &Need<'_>) -> bool {
    policy.ruling(need.action, &need.resource.path()) == Ruling::Allowed
}

const LIST_BUCKETS: &str = "s3:ListAllMyBuckets";

/// Operations whose keys are in the body.
const PER_KEY: &[&str] = &["DeleteObjects", "PostObject"];

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
const ANONYMOUS_OPERATIONS: &[&str] = &["GetObject", "HeadObject", "ListObjects", "ListObjectsV2"];

/// … and by action, which leaves out old versions.
const ANONYMOUS_ACTIONS: &[&str] = &["s3:GetObject", "s3:ListBucket"];
