//! What a store understands, and ready profiles of the stores we know.

/// One thing that a request may depend on and a store may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Feature {
    /// `If-Match` and `If-None-Match` on writes.
    ConditionalWrites,
    /// SSE-S3.
    Sse,
    /// SSE-KMS and DSSE.
    SseKms,
    /// SSE with the customer's key.
    SseC,
    /// Retention, legal hold, object lock.
    ObjectLock,
    /// ACLs other than `private` and `bucket-owner-full-control`.
    Acl,
    /// Object tags.
    Tagging,
    /// Versions.
    Versioning,
    /// `STREAMING-UNSIGNED-PAYLOAD-TRAILER`.
    Trailers,
    /// `x-amz-checksum-*`.
    Checksums,
    /// GetObjectAttributes.
    Attributes,
}

/// A set of [`Feature`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Features(u16);

impl Features {
    /// Nothing.
    pub const NONE: Self = Self(0);

    /// These features.
    #[must_use]
    pub const fn of(features: &[Feature]) -> Self {
        let mut set = 0;
        let mut rest = features;
        while let [first, tail @ ..] = rest {
            set |= 1 << (*first as u16);
            rest = tail;
        }
        Self(set)
    }

    /// With one more.
    #[must_use]
    pub const fn with(self, feature: Feature) -> Self {
        Self(self.0 | 1 << (feature as u16))
    }

    /// Whether the set has it.
    #[must_use]
    pub const fn has(self, feature: Feature) -> bool {
        self.0 & (1 << (feature as u16)) != 0
    }

    /// What of `self` is not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether nothing is in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// How a region wants its buckets addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Addressing {
    /// `https://endpoint/bucket/key`.
    Path,
    /// `https://bucket.endpoint/key`.
    Virtual,
}

/// What becomes of a trailing checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trailers {
    /// Sent on as `STREAMING-UNSIGNED-PAYLOAD-TRAILER`.
    Pass,
    /// Verified here; the store gets the decoded bytes with a length.
    Decode,
}

/// Who checks the client's hex payload hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BodyHash {
    /// nearpoint hashes on the way and holds the tail back.
    Proxy,
    /// The store refuses a body that does not match.
    Store,
}

/// What a region's store understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// What it honours.
    pub honours: Features,
    /// How it is addressed.
    pub addressing: Addressing,
    /// What it gets of trailing checksums.
    pub trailers: Trailers,
    /// Who checks hex payload hashes.
    pub body_hash: BodyHash,
}
