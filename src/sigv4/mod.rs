//! AWS Signature Version 4 as S3 speaks it: what bytes are signed, by whom, and whether it is true.
//! Pure.
//!
//! Decides who sent a request head ([`verify()`]), signs one for a store ([`sign()`]), and takes
//! `aws-chunked` bodies apart and together ([`chunks`]). It refuses to decide what a client may do
//! (`policy`), what a request means (`s3`) and how a refusal is written (`refusal`).
//!
//! - Verification is a total function of where the credential is and how the body is sent
//!   ([`Payload`]): an exhaustive match, denied by default. No mode skips the head's signature.
//! - Signatures and tokens are compared in constant time; an unknown key costs the same HMAC as a
//!   known one.
//! - Stores are spoken to in SigV4, and in SigV4A where their signing region is a set of regions: those
//!   are multi-region access points themselves.
//! - The canonical request is made of the target's raw bytes: S3 neither normalises paths nor
//!   encodes them twice.
//!
//! Sources: "Authenticating Requests (AWS Signature Version 4)" of the S3 API reference, its
//! examples, the AWS signing test suite, and what clients were seen to send.

mod asymmetric;
mod canonical;
pub mod chunks;
mod claimed;
mod diagnose;
mod digits;
mod form;
mod found;
mod key;
mod payload;
mod rejected;
mod sign;
mod stamp;
#[cfg(test)]
mod tests;
mod verify;
mod version_2;

use digits::{Hex, hex32, unhex32};

pub use canonical::{PathForm, canonical_request};
pub use claimed::claimed;
pub use diagnose::{Difference, diagnose, restored};
pub use form::{SignedPolicy, carries_none, verify_policy};
pub use key::{Allowances, Credential, Key, KeyCache, KeyRing, SigningKey};
pub use payload::{Payload, PayloadMark};
pub use rejected::{DateFault, ExpiresFault, Malformed, Mismatch, Place, Rejected};
pub use sign::{Destination, is_region_set, sign};
pub use stamp::Stamp;
pub use verify::{Region, Rules, Signed, Unjudged, Verified, verify, verify_off};
pub use version_2::verify_version_2;

/// The algorithm that nearly all stores are spoken to in, and nearly all clients speak.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The asymmetric one, of requests that are good for several regions.
const ALGORITHM_V4A: &str = "AWS4-ECDSA-P256-SHA256";

/// What is signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// SigV4.
    Hmac,
    /// SigV4A.
    Ecdsa,
}

impl Algorithm {
    /// As it is named on the wire.
    const fn name(self) -> &'static str {
        match self {
            Self::Hmac => ALGORITHM,
            Self::Ecdsa => ALGORITHM_V4A,
        }
    }

    fn of(name: &str) -> Option<Self> {
        [Self::Hmac, Self::Ecdsa].into_iter().find(|algorithm| algorithm.name() == name)
    }
}

/// The service in every scope.
const SERVICE: &str = "s3";
/// The last part of every scope.
const TERMINATOR: &str = "aws4_request";
/// SHA-256 of nothing, in lower-case hex.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// SHA-256 in one go.
fn sha256(bytes: &[u8]) -> [u8; 32] {
    array(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref())
}

/// Copies a 32-byte digest out of its wrapper.
fn array(digest: &[u8]) -> [u8; 32] {
    debug_assert_eq!(digest.len(), 32);
    digest.try_into().unwrap_or_default()
}
