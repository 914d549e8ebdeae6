//! Digests of bodies, by libraries alone.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm;
use md5::{Digest, Md5};

/// SHA-256 in lower-case hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

/// MD5, 16 bytes.
pub fn md5(bytes: &[u8]) -> [u8; 16] {
    Md5::digest(bytes).into()
}

/// MD5 as `Content-MD5` wants it.
pub fn md5_base64(bytes: &[u8]) -> String {
    STANDARD.encode(md5(bytes))
}

/// A checksum of S3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    pub const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    /// The header (or trailer) that carries it.
    pub fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// The algorithm that a header carries.
    pub fn of_header(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.header() == name)
    }

    /// Base64 of the digest, big-endian.
    pub fn base64(self, bytes: &[u8]) -> String {
        let crc = |algorithm| crc_fast::checksum(algorithm, bytes).to_be_bytes();
        match self {
            Self::Crc32 => STANDARD.encode(&crc(CrcAlgorithm::Crc32IsoHdlc)[4..]),
            Self::Crc32c => STANDARD.encode(&crc(CrcAlgorithm::Crc32Iscsi)[4..]),
            Self::Crc64Nvme => STANDARD.encode(crc(CrcAlgorithm::Crc64Nvme)),
            Self::Sha1 => STANDARD.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes)),
            Self::Sha256 => STANDARD.encode(digest::digest(&digest::SHA256, bytes)),
        }
    }
}
