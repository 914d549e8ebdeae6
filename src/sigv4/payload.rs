//! How a body is sent and how much of it the head's signature covers: `x-amz-content-sha256`.

use crate::sigv4::{EMPTY_SHA256, Hex, hex32, unhex32};

/// What a verified head says of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Raw bytes with this SHA-256, which somebody must still compare with the body.
    Sha256([u8; 32]),
    /// Raw bytes that nobody hashed.
    Unsigned,
    /// `aws-chunked`, each chunk signed.
    SignedChunks,
    /// `aws-chunked`, each chunk and the trailers signed.
    SignedChunksTrailer,
    /// `aws-chunked`, each chunk signed with SigV4A.
    EcdsaChunks,
    /// `aws-chunked`, each chunk and the trailers signed with SigV4A.
    EcdsaChunksTrailer,
    /// `aws-chunked` with trailers, nothing signed.
    UnsignedTrailer,
}

/// A value of `x-amz-content-sha256` that is not a [`Payload`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoPayload;

const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
const UNSIGNED_TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
const SIGNED_CHUNKS: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
const SIGNED_CHUNKS_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
const ECDSA_CHUNKS: &str = "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD";
const ECDSA_CHUNKS_TRAILER: &str = "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER";

impl Payload {
    /// Reads the header's text. Hex may be of either case, since the text is signed as it came.
    pub(super) fn parse(text: &str) -> Result<Self, NoPayload> {
        match text {
            UNSIGNED => Ok(Self::Unsigned),
            UNSIGNED_TRAILER => Ok(Self::UnsignedTrailer),
            SIGNED_CHUNKS => Ok(Self::SignedChunks),
            SIGNED_CHUNKS_TRAILER => Ok(Self::SignedChunksTrailer),
            ECDSA_CHUNKS => Ok(Self::EcdsaChunks),
            ECDSA_CHUNKS_TRAILER => Ok(Self::EcdsaChunksTrailer),
            _ => unhex32(text.as_bytes(), Hex::Either).map(Self::Sha256).ok_or(NoPayload),
        }
    }

    /// The canonical text of a presigned request that names no payload.
    pub(super) const PRESIGNED_DEFAULT: &str = UNSIGNED;
}

/// What [`crate::sigv4::sign()`] is to say of the body that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadMark {
    /// Raw bytes with this SHA-256; the store is expected to check it.
    Sha256([u8; 32]),
    /// No body.
    Empty,
    /// Raw bytes without a hash.
    Unsigned,
    /// `aws-chunked` with trailers, as [`crate::sigv4::chunks::Encoder`] writes it.
    UnsignedTrailer,
    /// The same with signatures, as [`crate::sigv4::chunks::signed_body`] writes it.
    SignedTrailer,
}

impl PayloadMark {
    /// Hands the header's text to `with`.
    pub(super) fn text<R>(&self, with: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Self::Sha256(digest) => with(&hex32(digest)),
            Self::Empty => with(EMPTY_SHA256.as_bytes()),
            Self::Unsigned => with(UNSIGNED.as_bytes()),
            Self::UnsignedTrailer => with(UNSIGNED_TRAILER.as_bytes()),
            Self::SignedTrailer => with(SIGNED_CHUNKS_TRAILER.as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_value_is_read() {
        let table = [
            ("UNSIGNED-PAYLOAD", Ok(Payload::Unsigned)),
            ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", Ok(Payload::UnsignedTrailer)),
            ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", Ok(Payload::SignedChunks)),
            ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", Ok(Payload::SignedChunksTrailer)),
            ("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", Ok(Payload::EcdsaChunks)),
            ("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER", Ok(Payload::EcdsaChunksTrailer)),
            (EMPTY_SHA256, Ok(Payload::Sha256(crate::sigv4::sha256(b"")))),
        ];
        for (text, expected) in table {
            assert_eq!(Payload::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn nothing_else_is() {
        let long = "0".repeat(65);
        for text in
            ["", "unsigned-payload", "STREAMING-UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-EVENTS", &long]
        {
            assert_eq!(Payload::parse(text), Err(NoPayload), "{text}");
        }
    }
}
