//! What a request says of its body, so that a changed body can be told. Pure.
//!
//! Source: the S3 user guide, "Checking object integrity"; `PutObject` for the refusals.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::checksum::Algorithm;
use super::{Code, Malformed};
use crate::head::Head;

/// Family of the headers that carry a checksum.
const FAMILY: &str = "x-amz-checksum-";

/// Names of the family that carry none.
const NO_CHECKSUM: [&str; 3] = ["algorithm", "mode", "type"];

/// What was declared; whether it is true shows once the body was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// `Content-MD5`: base64 of 16 bytes.
    pub md5: Option<String>,
    /// `x-amz-checksum-*`: base64 of the right length.
    pub checksum: Option<(Algorithm, String)>,
    /// The checksum that is declared to come behind the body.
    pub trailer: Option<Algorithm>,
}

impl Declared {
    /// Reads a head; `trailers` are the names in `x-amz-trailer` where the body has any.
    ///
    /// # Errors
    /// `InvalidDigest` and `InvalidRequest` for values that are no digests and for more than one
    /// checksum, `NotImplemented` for one that we cannot compute: a store may ignore it, and then
    /// nobody would have checked it.
    pub fn of(head: &Head, trailers: &[String]) -> Result<Self, Malformed> {
        let md5 = content_md5(head)?;
        let mut checksum = None;
        for field in head.fields() {
            let Some(algorithm) = named(field.name)? else { continue };
            if checksum.is_some() {
                return Err(not_single());
            }
            let value = field.text().filter(|value| algorithm.decode(value).is_some());
            let Some(value) = value else {
                let words = format!("Value for {} header is invalid.", algorithm.header());
                return Err(Malformed::because(Code::InvalidRequest, words));
            };
            checksum = Some((algorithm, value.to_owned()));
        }
        let mut trailer = None;
        for name in trailers {
            let Some(algorithm) = named(name)? else { continue };
            if trailer.replace(algorithm).is_some() || checksum.is_some() {
                return Err(not_single());
            }
        }
        Ok(Self { md5, checksum, trailer })
    }
}

/// `Content-MD5`, where there is one.
///
/// # Errors
/// `InvalidDigest` where it is not base64 of 16 bytes.
pub fn content_md5(head: &Head) -> Result<Option<String>, Malformed> {
    head.first("content-md5").map(digest_of_md5).transpose()
}

/// The algorithm of a header or trailer; `None` where it carries no checksum.
fn named(name: &str) -> Result<Option<Algorithm>, Malformed> {
    let Some(own) = name.strip_prefix(FAMILY).filter(|own| !NO_CHECKSUM.contains(own)) else {
        return Ok(None);
    };
    match Algorithm::of_header(name) {
        Some(algorithm) => Ok(Some(algorithm)),
        None => Err(Malformed::because(
            Code::NotImplemented,
            format!("The checksum algorithm {} is not supported.", own.to_ascii_uppercase()),
        )),
    }
}

fn not_single() -> Malformed {
    Malformed::because(
        Code::InvalidRequest,
        "Expecting a single x-amz-checksum- header. Multiple checksum types are not allowed.",
    )
}

fn digest_of_md5(value: &[u8]) -> Result<String, Malformed> {
    let text = std::str::from_utf8(value).ok();
    let digest = text.filter(|text| STANDARD.decode(text).is_ok_and(|digest| digest.len() == 16));
    digest.map(str::to_owned).ok_or_else(|| Malformed::new(Code::InvalidDigest))
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn of(target: &str, fields: &[(&str, &str)], trailers: &[&str]) -> Result<Declared, Code> {
        let mut head = Head::new(Method::PUT, target);
        for (name, value) in fields {
            head.push(name, value.as_bytes());
        }
        let trailers: Vec<String> = trailers.iter().map(|name| (*name).to_owned()).collect();
        Declared::of(&head, &trailers).map_err(|fault| fault.code)
    }

    const CRC: (&str, &str) = ("x-amz-checksum-crc32", "AAAAAA==");

    #[test]
    fn a_checksum_counts_in_the_head_and_behind_the_body() {
        let crc = Some((Algorithm::Crc32, "AAAAAA==".to_owned()));
        assert_eq!(of("/b/k", &[CRC], &[]).unwrap().checksum, crc);
        // AWS passes over a checksum in a presigned URL
        let presigned = "/b/k?X-Amz-Signature=s&x-amz-checksum-crc32=AAAAAA%3D%3D";
        assert_eq!(of(presigned, &[], &[]).unwrap().checksum, None);
        assert_eq!(of(presigned, &[CRC], &[]).unwrap().checksum, crc);
        assert_eq!(of("/b/k", &[], &["x-amz-checksum-sha1"]).unwrap().trailer, Some(Algorithm::Sha1));
        let md5 = ("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==");
        assert_eq!(of("/b/k", &[md5], &[]).unwrap().md5.as_deref(), Some(md5.1));
    }

    #[test]
    fn what_says_nothing_of_the_body_is_passed_over() {
        let fields = [
            ("x-amz-checksum-type", "FULL_OBJECT"),
            ("x-amz-checksum-algorithm", "CRC32"),
            ("x-amz-checksum-mode", "ENABLED"),
        ];
        assert_eq!(of("/b/k", &fields, &["x-amz-meta-late"]), Ok(Declared::default()));
    }

    #[test]
    fn two_checksums_or_none_that_we_know_are_refused() {
        let sha1 = ("x-amz-checksum-sha1", "2jmj7l5rSw0yVb/vlWAYkK/YBwk=");
        assert_eq!(of("/b/k", &[CRC, sha1], &[]), Err(Code::InvalidRequest));
        assert_eq!(of("/b/k", &[CRC], &["x-amz-checksum-crc32"]), Err(Code::InvalidRequest));
        let both = ["x-amz-checksum-crc32", "x-amz-checksum-sha256"];
        assert_eq!(of("/b/k", &[], &both), Err(Code::InvalidRequest));
        assert_eq!(of("/b/k", &[("x-amz-checksum-xxhash64", "AAAA")], &[]), Err(Code::NotImplemented));
        assert_eq!(of("/b/k", &[], &["x-amz-checksum-xxhash3"]), Err(Code::NotImplemented));
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        assert_eq!(of("/b/k", &[("x-amz-checksum-crc32", "AAAA")], &[]), Err(Code::InvalidRequest));
        for bad in ["", "AAAA", "?"] {
            assert_eq!(of("/b/k", &[("content-md5", bad)], &[]), Err(Code::InvalidDigest), "{bad}");
        }
    }
}
