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
#[cfg(test)]
mod tests;

pub use decode::{Decoder, Fault, Trailer};
pub use encode::{Encoder, Layout, Miscount};

use crate::head::Head;
use crate::sigv4::canonical::Scope;
use crate::sigv4::key::SigningKey;
use crate::sigv4::{EMPTY_SHA256, Hex, Stamp, hex32, sha256, unhex32};

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
    key: SigningKey,
    /// `time "\n" scope "\n"`, the same in each string to sign.
    prefix: Box<[u8]>,
    /// Lower-case hex.
    previous: [u8; 64],
}

impl Seed {
    /// Begins at the head's signature, which held.
    pub(super) fn new(key: SigningKey, stamp: Stamp, scope: Scope<'_>, signature: &str) -> Self {
        let mut prefix = Vec::with_capacity(96);
        prefix.extend_from_slice(stamp.text().as_bytes());
        prefix.push(b'\n');
        scope.write(&mut prefix);
        prefix.push(b'\n');
        // a signature that is no hex does not hold, and its seed is thrown away
        let previous = signature.as_bytes().try_into().unwrap_or([0; 64]);
        Self { key, prefix: prefix.into(), previous }
    }

    /// The signature of a chunk with this SHA-256.
    fn of_chunk(&self, digest: &[u8; 32]) -> [u8; 32] {
        self.sign(b"AWS4-HMAC-SHA256-PAYLOAD\n", Some(EMPTY_SHA256.as_bytes()), digest)
    }

    /// The signature of the trailers in their canonical form.
    fn of_trailers(&self, canonical: &[u8]) -> [u8; 32] {
        self.sign(b"AWS4-HMAC-SHA256-TRAILER\n", None, &sha256(canonical))
    }

    fn sign(&self, algorithm: &[u8], headers: Option<&[u8]>, digest: &[u8; 32]) -> [u8; 32] {
        let mut text: smallvec::SmallVec<[u8; 384]> = smallvec::SmallVec::new();
        text.extend_from_slice(algorithm);
        text.extend_from_slice(&self.prefix);
        text.extend_from_slice(&self.previous);
        text.push(b'\n');
        if let Some(headers) = headers {
            text.extend_from_slice(headers);
            text.push(b'\n');
        }
        text.extend_from_slice(&hex32(digest));
        self.key.sign(&text)
    }

    /// Takes one link of the chain, once it held.
    fn advance(&mut self, signature: &[u8; 32]) {
        self.previous = hex32(signature);
    }
}

/// Reads a signature in a frame.
fn signature(text: &[u8]) -> Option<[u8; 32]> {
    unhex32(text, Hex::Lower)
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
