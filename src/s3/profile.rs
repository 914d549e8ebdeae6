//! What a store understands, and ready profiles of the stores we know. Pure.
//!
//! Source of the profiles: measured where the store could be run (Garage 2.5, Ceph RGW 16.2, moto 5.2),
//! else its source or its vendor's compatibility pages. In doubt a feature is left out: the request is
//! then refused with `501` instead of half carried out.

use super::checksum::Algorithm;

/// One thing that a request may depend on and a store may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Feature {
    /// `If-Match` and `If-None-Match` on puts and on the ends of uploads.
    ConditionalWrites,
    /// Conditions on deletions, and on what a copy is written over: stores pass over these that meet
    /// those on puts.
    ConditionalDeletes,
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
    /// `GetObjectAttributes`.
    Attributes,
}

impl Feature {
    /// Every feature.
    pub const ALL: [Self; 12] = [
        Self::ConditionalWrites,
        Self::ConditionalDeletes,
        Self::Sse,
        Self::SseKms,
        Self::SseC,
        Self::ObjectLock,
        Self::Acl,
        Self::Tagging,
        Self::Versioning,
        Self::Trailers,
        Self::Checksums,
        Self::Attributes,
    ];

    /// Its name in a configuration's `honours`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ConditionalWrites => "conditional_writes",
            Self::ConditionalDeletes => "conditional_deletes",
            Self::Sse => "sse",
            Self::SseKms => "sse_kms",
            Self::SseC => "sse_c",
            Self::ObjectLock => "object_lock",
            Self::Acl => "acl",
            Self::Tagging => "tagging",
            Self::Versioning => "versioning",
            Self::Trailers => "trailers",
            Self::Checksums => "checksums",
            Self::Attributes => "attributes",
        }
    }

    /// The feature of a configuration's name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|feature| feature.name() == name)
    }
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

    /// What is in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What of `self` is not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// What is in it, in the order of [`Feature::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Feature> {
        Feature::ALL.into_iter().filter(move |feature| self.has(*feature))
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

impl Addressing {
    /// Whether a bucket's name goes into the host. One with dots never does, since no certificate covers
    /// it; but the alias of a multi-region access point (`NAME.mrap`, an end that no bucket's name may
    /// have) goes nowhere else, and has certificates of its own.
    #[must_use]
    pub fn is_in_host(self, bucket: &str) -> bool {
        self == Self::Virtual && (!bucket.contains('.') || is_alias(bucket))
    }
}

fn is_alias(bucket: &str) -> bool {
    bucket.strip_suffix(".mrap").is_some_and(|name| !name.is_empty() && !name.contains('.'))
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

/// Which spelling of a path a store verifies signatures over, where a client's escapes are not
/// SigV4's own (`%2F`, a raw `+`): for all other paths the two are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignedPath {
    /// As it stands in the request's target.
    AsSent,
    /// Decoded once and encoded again.
    Reencoded,
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
    /// Which spelling of the path it verifies signatures over.
    pub signed_path: SignedPath,
}

/// Stores that we know, by the name that a configuration's `profile` gives them. `custom` honours
/// nothing until the configuration says otherwise.
pub const READY: [(&str, Profile); 9] = [
    ("aws", AWS),
    ("minio", MINIO),
    ("garage", GARAGE),
    ("ceph", CEPH),
    ("r2", R2),
    ("b2", B2),
    ("gcs", CUSTOM),
    ("moto", MOTO),
    ("custom", CUSTOM),
];

const AWS: Profile = Profile {
    honours: Features::of(&Feature::ALL),
    addressing: Addressing::Virtual,
    trailers: Trailers::Pass,
    body_hash: BodyHash::Store,
    signed_path: SignedPath::Reencoded,
};

/// Passes over conditions on deletions and copies, and over ACLs, of which it knows the calls only
/// (by its source; it was not run).
const MINIO: Profile = Profile {
    honours: AWS.honours.without(Features::of(&[Feature::ConditionalDeletes, Feature::Acl])),
    addressing: Addressing::Path,
    ..AWS
};

/// The least that is S3. Also Google's XML API: it refuses trailers and has checksums, versions,
/// conditions and encryption under headers of its own.
const CUSTOM: Profile = Profile {
    honours: Features::NONE,
    addressing: Addressing::Path,
    trailers: Trailers::Decode,
    body_hash: BodyHash::Proxy,
    signed_path: SignedPath::AsSent,
};

/// Ignores conditions on writes and SSE-S3 without a word; no ACLs, tags, versions, locks.
const GARAGE: Profile = Profile {
    honours: Features::of(&[Feature::SseC, Feature::Trailers, Feature::Checksums]),
    trailers: Trailers::Pass,
    body_hash: BodyHash::Store,
    ..CUSTOM
};

/// RGW 16: ignores conditions on writes and SSE-S3 without a word; refuses trailers.
const CEPH: Profile = Profile {
    honours: Features::of(&[
        Feature::SseKms,
        Feature::SseC,
        Feature::ObjectLock,
        Feature::Acl,
        Feature::Tagging,
        Feature::Versioning,
    ]),
    body_hash: BodyHash::Store,
    signed_path: SignedPath::Reencoded,
    ..CUSTOM
};

/// Conditions and SSE-C only; trailers work for some checksums, so they are decoded.
const R2: Profile = Profile {
    honours: Features::of(&[Feature::ConditionalWrites, Feature::SseC, Feature::Checksums]),
    ..CUSTOM
};

/// Has refused `x-amz-checksum-*` as an unsupported header.
const B2: Profile = Profile {
    honours: Features::of(&[Feature::Sse, Feature::SseC, Feature::ObjectLock, Feature::Versioning]),
    ..CUSTOM
};

/// Accepts nearly everything, and checks neither hashes nor checksums. Trailers are decoded here: over
/// the chunks of 100 MiB it thinks for seconds, and answers nobody meanwhile.
const MOTO: Profile = Profile {
    honours: Features::of(&[
        Feature::ConditionalWrites,
        Feature::Sse,
        Feature::SseKms,
        Feature::ObjectLock,
        Feature::Acl,
        Feature::Tagging,
        Feature::Versioning,
        Feature::Checksums,
        Feature::Attributes,
    ]),
    ..CUSTOM
};

impl Profile {
    /// The ready profile of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        READY.iter().find(|(own, _)| *own == name).map(|(_, profile)| *profile)
    }

    /// Whether what follows a body is sent on behind it.
    #[must_use]
    pub fn passes_trailers(self) -> bool {
        self.trailers == Trailers::Pass && self.honours.has(Feature::Trailers)
    }

    /// Whether a checksum by this algorithm is checked there, and kept with the object.
    #[must_use]
    pub fn keeps(self, algorithm: Algorithm) -> bool {
        self.honours.has(Feature::Checksums) && algorithm.is_common()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_named_once_and_found() {
        for feature in Feature::ALL {
            assert_eq!(Feature::parse(feature.name()), Some(feature));
            assert!(Features::of(&[feature]).has(feature));
            assert_eq!(Features::of(&[feature]).iter().collect::<Vec<_>>(), [feature]);
        }
        assert_eq!(Feature::parse("acls"), None);
        assert_eq!(Features::of(&Feature::ALL).iter().count(), Feature::ALL.len());
        assert!(Features::of(&[Feature::Acl]).without(Features::of(&Feature::ALL)).is_empty());
    }

    #[test]
    fn dots_keep_a_bucket_out_of_the_host_but_for_the_alias_of_an_access_point() {
        for (bucket, fits) in [
            ("photos", true),
            ("my.photos", false),
            ("mfzwi23gnjvgw.mrap", true),
            ("a.b.mrap", false),
            (".mrap", false),
            ("photos.mrapped", false),
        ] {
            assert_eq!(Addressing::Virtual.is_in_host(bucket), fits, "{bucket}");
            assert!(!Addressing::Path.is_in_host(bucket));
        }
    }

    #[test]
    fn profiles_do_not_contradict_themselves() {
        for (name, profile) in READY {
            assert_eq!(Profile::named(name), Some(profile));
            let pass = profile.trailers == Trailers::Pass;
            assert_eq!(pass, profile.honours.has(Feature::Trailers), "{name}");
            assert!(
                !pass || profile.honours.has(Feature::Checksums),
                "{name} takes trailers but no checksums"
            );
        }
        assert_eq!(Profile::named("swift"), None);
    }

    #[test]
    fn stores_that_ignore_conditions_do_not_honour_them() {
        for name in ["garage", "ceph"] {
            let honours = Profile::named(name).unwrap().honours;
            assert!(!honours.has(Feature::ConditionalWrites) && !honours.has(Feature::Sse), "{name}");
        }
    }
}
