//! The checksums of S3 objects: names, headers, running values. Pure.
//!
//! Source: the S3 user guide, "Checking object integrity". Values are base64 of the big-endian
//! digest.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm;
use md5::Digest as _;

/// A checksum that S3 takes and nearpoint can compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// CRC-32 (ISO-HDLC), 4 bytes.
    Crc32,
    /// CRC-32C (iSCSI), 4 bytes.
    Crc32c,
    /// CRC-64/NVME, 8 bytes.
    Crc64Nvme,
    /// SHA-1, 20 bytes.
    Sha1,
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-512, 64 bytes.
    Sha512,
    /// MD5, 16 bytes: `Content-MD5`, and newer clients' `x-amz-checksum-md5`.
    Md5,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 7] =
        [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256, Self::Sha512, Self::Md5];

    /// Whether every store that honours checksums knows it. The others are S3's newest: a store
    /// that ignores one would leave it unchecked, so they are checked here.
    #[must_use]
    pub fn is_common(self) -> bool {
        match self {
            Self::Crc32 | Self::Crc32c | Self::Crc64Nvme | Self::Sha1 | Self::Sha256 => true,
            Self::Sha512 | Self::Md5 => false,
        }
    }

    /// Its name in the API: `CRC64NVME`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
            Self::Md5 => "MD5",
        }
    }

    /// The header or trailer that carries it, lower-case: `x-amz-checksum-crc64nvme`.
    #[must_use]
    pub fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
            Self::Sha512 => "x-amz-checksum-sha512",
            Self::Md5 => "x-amz-checksum-md5",
        }
    }

    /// The algorithm of an API name, in any case. `None` for one that we cannot compute.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// The algorithm of a header or trailer name, in any case.
    #[must_use]
    pub fn of_header(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.header().eq_ignore_ascii_case(name))
    }

    /// Bytes of a digest.
    #[must_use]
    pub fn length(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// Characters of a digest's base64 text.
    #[must_use]
    pub fn text_length(self) -> usize {
        self.length().div_ceil(3) * 4
    }

    /// Decodes a digest's text. `None` where it is not base64 of the right length.
    #[must_use]
    pub fn decode(self, text: &str) -> Option<Vec<u8>> {
        STANDARD.decode(text.trim()).ok().filter(|digest| digest.len() == self.length())
    }
}

/// A checksum under way.
#[derive(Clone)]
pub struct Hasher {
    algorithm: Algorithm,
    state: State,
}

#[derive(Clone)]
enum State {
    Crc(Box<crc_fast::Digest>),
    Sha(digest::Context),
    Md5(md5::Md5),
}

impl Hasher {
    /// Begins one.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        let state = match algorithm {
            Algorithm::Crc32 => State::Crc(Box::new(crc_fast::Digest::new(CrcAlgorithm::Crc32IsoHdlc))),
            Algorithm::Crc32c => State::Crc(Box::new(crc_fast::Digest::new(CrcAlgorithm::Crc32Iscsi))),
            Algorithm::Crc64Nvme => State::Crc(Box::new(crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme))),
            Algorithm::Sha1 => State::Sha(digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY)),
            Algorithm::Sha256 => State::Sha(digest::Context::new(&digest::SHA256)),
            Algorithm::Sha512 => State::Sha(digest::Context::new(&digest::SHA512)),
            Algorithm::Md5 => State::Md5(md5::Md5::new()),
        };
        Self { algorithm, state }
    }

    /// What it computes.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Takes in more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Crc(state) => state.update(bytes),
            State::Sha(state) => state.update(bytes),
            State::Md5(state) => state.update(bytes),
        }
    }

    /// The digest, big-endian.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        let width = self.algorithm.length();
        match self.state {
            State::Crc(state) => {
                let whole = state.finalize().to_be_bytes();
                whole.get(whole.len().saturating_sub(width)..).unwrap_or_default().to_vec()
            }
            State::Sha(state) => state.finish().as_ref().to_vec(),
            State::Md5(state) => state.finalize().to_vec(),
        }
    }

    /// The digest in base64, as headers carry it.
    #[must_use]
    pub fn finish_text(self) -> String {
        STANDARD.encode(self.finish())
    }
}

/// Not the state: it says nothing to a reader.
impl std::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hasher").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(algorithm: Algorithm, parts: &[&[u8]]) -> String {
        let mut hasher = Hasher::new(algorithm);
        for part in parts {
            hasher.update(part);
        }
        assert_eq!(hasher.algorithm(), algorithm);
        hasher.finish_text()
    }

    #[test]
    fn published_check_values_come_out() {
        // The catalogue of parametrised CRC algorithms; RFC 1321; FIPS 180-4 ("abc").
        for (algorithm, input, hex_digest) in [
            (Algorithm::Crc32, "123456789", "cbf43926"),
            (Algorithm::Crc32c, "123456789", "e3069283"),
            (Algorithm::Crc64Nvme, "123456789", "ae8b14860a799888"),
            (Algorithm::Md5, "abc", "900150983cd24fb0d6963f7d28e17f72"),
            (Algorithm::Sha1, "abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (Algorithm::Sha256, "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                Algorithm::Sha512,
                "abc",
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                 2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            ),
        ] {
            let text = of(algorithm, &[input.as_bytes()]);
            assert_eq!(hex::encode(algorithm.decode(&text).unwrap()), hex_digest, "{algorithm:?}");
            assert_eq!(text.len(), algorithm.text_length());
        }
        // From the S3 documentation's example of a trailing checksum: 65 KiB of `a`.
        assert_eq!(of(Algorithm::Crc32c, &[&vec![b'a'; 65 << 10]]), "sOO8/Q==");
        assert_eq!(of(Algorithm::Crc32, &[]), "AAAAAA==");
    }

    #[test]
    fn names_and_headers_are_found_in_any_case() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::parse(&algorithm.name().to_lowercase()), Some(algorithm));
            assert_eq!(Algorithm::of_header(&algorithm.header().to_uppercase()), Some(algorithm));
        }
        assert_eq!(Algorithm::parse("XXHASH64"), None);
        assert_eq!(Algorithm::of_header("x-amz-checksum-type"), None);
    }

    #[test]
    fn digests_of_another_length_are_none() {
        assert_eq!(Algorithm::Crc32.decode("AAAAAA==").as_deref(), Some(&[0; 4][..]));
        for text in ["", "AAAA", "AAAAAAAA", "????????", "AAAAAA"] {
            assert_eq!(Algorithm::Crc32.decode(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_split_has_the_same_checksum(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0usize..300) {
            let (left, right) = bytes.split_at(at.min(bytes.len()));
            for algorithm in Algorithm::ALL {
                prop_assert_eq!(of(algorithm, &[left, right]), of(algorithm, &[&bytes]));
            }
        }
    }
}
