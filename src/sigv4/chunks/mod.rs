//! `aws-chunked` bodies: taken apart while they come ([`Decoder`]), put together again
//! ([`Encoder`]).
//!
//! ```text
//! unsigned:   *( size CRLF bytes CRLF )                        "0" CRLF  *trailer CRLF
//! signed:     *( size ";chunk-signature=" sig CRLF bytes CRLF ) "0;chunk-signature=" sig CRLF *trailer CRLF
//! trailer:    name ":" value CRLF      the last signed one is x-amz-trailer-signature
//! ```
//!
//! Sizes are hex counts of decoded bytes. Sources: "Signature calculations for the Authorization
//! header: transferring payload in multiple chunks" of the S3 API reference, and what clients send.

mod decode;
mod encode;
mod signed;
#[cfg(test)]
mod tests;

pub use decode::{Decoder, Fault, Trailer};
pub use encode::{Encoder, Layout, Miscount};
pub use signed::signed_body;

use smallvec::SmallVec;

use crate::head::Head;
use crate::sigv4::asymmetric::{SIGNATURE_MAX, VerifyingKey};
use crate::sigv4::canonical::Scope;
use crate::sigv4::key::{Judge, SigningKey};
use crate::sigv4::{EMPTY_SHA256, Stamp, hex32, sha256};

/// Which of the framings, and by what its signatures are judged.
#[derive(Clone, Debug)]
pub enum Framing {
    /// No signatures.
    UnsignedTrailer,
    /// A signature at each chunk, and one over the trailers where there are any.
    Signed {
        /// What the first chunk's signature is chained to.
        seed: Box<Seed>,
        /// Whether trailers follow.
        trailers: bool,
    },
    /// Signatures are there and nobody looks at them: `verify: off`.
    Unjudged {
        /// Whether trailers follow.
        trailers: bool,
    },
}

/// What the signature of the next chunk is computed from: the key, time and scope of the head,
/// kept for the whole body even past midnight, and the signature before.
#[derive(Clone, Debug)]
pub struct Seed {
    key: Kept,
    /// `time "\n" scope "\n"`, the same in each string to sign.
    prefix: Box<[u8]>,
    /// In lower-case hex, as it came: without padding.
    previous: Claimed,
}

/// A signature in a frame, as it came.
pub(super) type Claimed = SmallVec<[u8; SIGNATURE_MAX]>;

/// The head's key, kept for the whole body.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "its seed is boxed, and nearly all are the large one")]
enum Kept {
    Hmac(SigningKey),
    Ecdsa(VerifyingKey),
}

impl Kept {
    fn judge(&self) -> Judge<'_> {
        match self {
            Self::Hmac(key) => Judge::Hmac(key),
            Self::Ecdsa(key) => Judge::Ecdsa(key),
        }
    }
}

impl Seed {
    /// Begins at the head's signature, which held.
    pub(super) fn new(key: Judge<'_>, stamp: Stamp, scope: Scope<'_>, signature: &str) -> Self {
        let mut prefix = Vec::with_capacity(96);
        prefix.extend_from_slice(stamp.text().as_bytes());
        prefix.push(b'\n');
        scope.write(&mut prefix);
        prefix.push(b'\n');
        let key = match key {
            Judge::Hmac(key) => Kept::Hmac(key.clone()),
            Judge::Ecdsa(key) => Kept::Ecdsa(key.clone()),
        };
        // one that is too long does not hold, and its seed is thrown away
        let previous = signature.as_bytes().get(..SIGNATURE_MAX).unwrap_or(signature.as_bytes());
        Self { key, prefix: prefix.into(), previous: Claimed::from_slice(previous) }
    }

    /// Whether this is the signature of a chunk with this SHA-256; if so, the next is chained to it.
    fn takes_chunk(&mut self, digest: &[u8; 32], claimed: &Claimed) -> bool {
        let holds = self.holds("PAYLOAD", Some(EMPTY_SHA256.as_bytes()), digest, claimed);
        if holds {
            self.previous.clone_from(claimed);
        }
        holds
    }

    /// Whether this is the signature of the trailers in their canonical form.
    fn takes_trailers(&self, canonical: &[u8], claimed: &Claimed) -> bool {
        self.holds("TRAILER", None, &sha256(canonical), claimed)
    }

    fn holds(&self, of: &str, headers: Option<&[u8]>, digest: &[u8; 32], claimed: &[u8]) -> bool {
        self.key.judge().holds(&self.to_sign(of, headers, digest), claimed)
    }

    /// What the signature of a chunk or of the trailers is made over.
    fn to_sign(&self, of: &str, headers: Option<&[u8]>, digest: &[u8; 32]) -> SmallVec<[u8; 512]> {
        let mut text: SmallVec<[u8; 512]> = SmallVec::new();
        text.extend_from_slice(self.key.judge().algorithm().name().as_bytes());
        text.push(b'-');
        text.extend_from_slice(of.as_bytes());
        text.push(b'\n');
        text.extend_from_slice(&self.prefix);
        text.extend_from_slice(&self.previous);
        text.push(b'\n');
        if let Some(headers) = headers {
            text.extend_from_slice(headers);
            text.push(b'\n');
        }
        text.extend_from_slice(&hex32(digest));
        text
    }
}

/// Reads a signature in a frame: no longer than one can be. SigV4A's are padded with `*`.
fn signature(text: &[u8]) -> Option<Claimed> {
    let padding = text.iter().rev().take_while(|byte| **byte == b'*').count();
    let text = text.get(..text.len().saturating_sub(padding))?;
    (text.len() + padding <= SIGNATURE_MAX).then(|| Claimed::from_slice(text))
}

/// The names in `x-amz-trailer`, lower-case, as declared.
#[must_use]
pub fn declared(head: &Head) -> Vec<String> {
    head.all("x-amz-trailer")
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(|name| String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase())
        .filter(|name| !name.is_empty())
        .collect()
}
