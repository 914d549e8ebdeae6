//! What a store can be seen to do, and how that is called. Pure.

use crate::s3::checksum::Algorithm;
use crate::s3::profile::{Addressing, BodyHash, Feature, Profile, Trailers};

/// One thing that a store may do or not, and that can be asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Writes under `If-None-Match: *`.
    IfNoneMatch,
    /// Writes under `If-Match`.
    IfMatch,
    /// Ends of uploads under `If-None-Match: *`.
    ConditionalComplete,
    /// Copies under `If-None-Match: *`.
    ConditionalCopy,
    /// Deletions under `If-Match`.
    ConditionalDelete,
    /// A checksum ahead of the body, checked.
    Checksum(Algorithm),
    /// A checksum behind the body, in unsigned chunks.
    UnsignedTrailers,
    /// The same in signed chunks. Nothing depends on it: they are judged here and go on otherwise.
    SignedTrailers,
    /// A body checked against its signed hash.
    BodyHash,
    /// SSE-S3.
    Sse,
    /// SSE-KMS.
    SseKms,
    /// SSE with the customer's key.
    SseC,
    /// Object lock.
    ObjectLock,
    /// ACLs of objects.
    Acl,
    /// Tags of objects.
    Tagging,
    /// Lists of versions.
    Versioning,
    /// `GetObjectAttributes`.
    Attributes,
    /// The bucket's name in the host.
    VirtualHosts,
}

/// The checksums that are asked for: those that every store that honours checksums must know.
pub(super) const CHECKSUMS: [Algorithm; 5] =
    [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme, Algorithm::Sha1, Algorithm::Sha256];

impl Capability {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 22] = [
        Self::IfNoneMatch,
        Self::IfMatch,
        Self::ConditionalComplete,
        Self::ConditionalCopy,
        Self::ConditionalDelete,
        Self::Checksum(Algorithm::Crc32),
        Self::Checksum(Algorithm::Crc32c),
        Self::Checksum(Algorithm::Crc64Nvme),
        Self::Checksum(Algorithm::Sha1),
        Self::Checksum(Algorithm::Sha256),
        Self::UnsignedTrailers,
        Self::SignedTrailers,
        Self::BodyHash,
        Self::Sse,
        Self::SseKms,
        Self::SseC,
        Self::ObjectLock,
        Self::Acl,
        Self::Tagging,
        Self::Versioning,
        Self::Attributes,
        Self::VirtualHosts,
    ];

    /// As tables and JSON name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::IfNoneMatch => "if_none_match",
            Self::IfMatch => "if_match",
            Self::ConditionalComplete => "conditional_complete",
            Self::ConditionalCopy => "conditional_copy",
            Self::ConditionalDelete => "conditional_delete",
            Self::Checksum(Algorithm::Crc32) => "checksum_crc32",
            Self::Checksum(Algorithm::Crc32c) => "checksum_crc32c",
            Self::Checksum(Algorithm::Crc64Nvme) => "checksum_crc64nvme",
            Self::Checksum(Algorithm::Sha1) => "checksum_sha1",
            Self::Checksum(Algorithm::Sha256) => "checksum_sha256",
            Self::Checksum(Algorithm::Sha512) => "checksum_sha512",
            Self::Checksum(Algorithm::Md5) => "checksum_md5",
            Self::UnsignedTrailers => "unsigned_trailers",
            Self::SignedTrailers => "signed_trailers",
            Self::BodyHash => "body_hash",
            Self::Sse => "sse",
            Self::SseKms => "sse_kms",
            Self::SseC => "sse_c",
            Self::ObjectLock => "object_lock",
            Self::Acl => "acl",
            Self::Tagging => "tagging",
            Self::Versioning => "versioning",
            Self::Attributes => "attributes",
            Self::VirtualHosts => "virtual_hosts",
        }
    }

    /// The feature of a profile that it belongs to; `None` for what other keys say, or none.
    #[must_use]
    pub fn feature(self) -> Option<Feature> {
        Some(match self {
            Self::IfNoneMatch | Self::IfMatch | Self::ConditionalComplete => Feature::ConditionalWrites,
            Self::ConditionalCopy | Self::ConditionalDelete => Feature::ConditionalDeletes,
            Self::Checksum(_) => Feature::Checksums,
            Self::UnsignedTrailers => Feature::Trailers,
            Self::Sse => Feature::Sse,
            Self::SseKms => Feature::SseKms,
            Self::SseC => Feature::SseC,
            Self::ObjectLock => Feature::ObjectLock,
            Self::Acl => Feature::Acl,
            Self::Tagging => Feature::Tagging,
            Self::Versioning => Feature::Versioning,
            Self::Attributes => Feature::Attributes,
            Self::SignedTrailers | Self::BodyHash | Self::VirtualHosts => return None,
        })
    }

    /// Whether this profile counts on it; `None` for what no profile speaks of.
    pub(super) fn claimed(self, profile: Profile) -> Option<bool> {
        match self {
            Self::SignedTrailers => None,
            Self::BodyHash => Some(profile.body_hash == BodyHash::Store),
            Self::VirtualHosts => Some(profile.addressing == Addressing::Virtual),
            Self::UnsignedTrailers => {
                Some(profile.honours.has(Feature::Trailers) && profile.trailers == Trailers::Pass)
            }
            _ => self.feature().map(|feature| profile.honours.has(feature)),
        }
    }
}

/// What asking for it showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The store does it.
    Has,
    /// It refuses requests that want it: what was seen.
    Refuses(String),
    /// It takes them, and does not do it: what was seen.
    Ignores(String),
    /// It takes them, and keeps something else than what was put: what was seen.
    Spoils(String),
    /// Nobody can say, and why.
    Untold(String),
}

impl Shown {
    /// As tables and JSON name it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Has => "has",
            Self::Refuses(_) => "refuses",
            Self::Ignores(_) => "ignores",
            Self::Spoils(_) => "spoils",
            Self::Untold(_) => "untold",
        }
    }

    /// What was seen, where that is not what was expected.
    #[must_use]
    pub fn words(&self) -> Option<&str> {
        match self {
            Self::Has => None,
            Self::Refuses(words) | Self::Ignores(words) | Self::Spoils(words) | Self::Untold(words) => {
                Some(words)
            }
        }
    }

    /// Whether the store plainly lacks it.
    pub(super) fn is_lack(&self) -> bool {
        matches!(self, Self::Refuses(_) | Self::Ignores(_) | Self::Spoils(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_named_once_and_every_feature_is_asked_for() {
        let mut names: Vec<&str> = Capability::ALL.iter().map(|can| can.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Capability::ALL.len());
        for feature in Feature::ALL {
            assert!(Capability::ALL.iter().any(|can| can.feature() == Some(feature)), "{feature:?}");
        }
        for algorithm in CHECKSUMS {
            assert!(algorithm.is_common() && Capability::ALL.contains(&Capability::Checksum(algorithm)));
        }
    }
}
