//! Host and path to bucket and key. Pure.
//!
//! `BUCKET.domain` where the domain is configured; every other Host is path style, since sidecars
//! are reached by address and service name. The key's bytes stay as they are in the target.

use std::borrow::Cow;

use crate::head::strict::authority;
use crate::s3::call::Style;
use crate::s3::query::{decode, decode_text};
use crate::s3::{Code, Malformed};

/// Longest key: S3's own limit, in bytes of UTF-8.
pub const KEY_MAX: usize = 1024;

/// The domains under which buckets are addressed as hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Domains {
    /// Lower-case names with the port they are bound to, longest first: the most specific wins.
    names: Vec<(String, Option<u16>)>,
}

impl Domains {
    /// Takes `s3.example.com` (any port) or `s3.example.com:9000` (that port only). A text that is
    /// no authority matches nothing.
    #[must_use]
    pub fn new(domains: Vec<String>) -> Self {
        let mut names: Vec<_> = domains
            .into_iter()
            .filter_map(|domain| {
                let own = authority(&domain)?;
                Some((own.host.trim_end_matches('.').to_ascii_lowercase(), own.port))
            })
            .collect();
        names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        Self { names }
    }

    /// The bucket in a Host, lower-cased; `None` where the request is path style.
    #[must_use]
    pub fn bucket(&self, host: &str) -> Option<String> {
        if self.names.is_empty() {
            return None;
        }
        let own = authority(host)?;
        let host = own.host.trim_end_matches('.');
        let rest = self.names.iter().find_map(|(name, port)| {
            let (rest, end) = host.split_at_checked(host.len().checked_sub(name.len())?)?;
            let here = end.eq_ignore_ascii_case(name) && (rest.is_empty() || rest.ends_with('.'));
            (here && (port.is_none() || *port == own.port)).then_some(rest)
        })?;
        rest.strip_suffix('.').map(str::to_ascii_lowercase)
    }
}

/// Where a request points: a bucket or none, a key or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address<'a> {
    /// How the bucket was given.
    pub style: Style,
    /// The bucket; `None` for the service.
    pub bucket: Option<String>,
    /// The raw key, never empty; `None` for bucket and service.
    pub raw_key: Option<&'a str>,
}

/// Splits a request's Host and raw path.
///
/// # Errors
/// `InvalidURI` for a path that is not absolute or not percent-encoded UTF-8,
/// `InvalidBucketName` for a bucket that no store would accept.
pub fn address<'a>(host: &str, path: &'a str, domains: &Domains) -> Result<Address<'a>, Malformed> {
    let rest = path.strip_prefix('/').ok_or_else(|| Malformed::new(Code::InvalidURI))?;
    let (style, bucket, raw_key) = match domains.bucket(host) {
        Some(bucket) => (Style::Virtual, bucket, rest),
        None if rest.is_empty() => return Ok(Address { style: Style::Path, bucket: None, raw_key: None }),
        None => {
            let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
            let bucket = decode_text(bucket).ok_or_else(|| Malformed::new(Code::InvalidURI))?;
            (Style::Path, bucket.into_owned(), key)
        }
    };
    if !is_bucket_name(&bucket) {
        return Err(Malformed::new(Code::InvalidBucketName));
    }
    Ok(Address { style, bucket: Some(bucket), raw_key: Some(raw_key).filter(|key| !key.is_empty()) })
}

/// Decodes a raw key once.
///
/// # Errors
/// `InvalidURI` where it is not percent-encoded UTF-8, `KeyTooLongError` past [`KEY_MAX`].
pub fn key(raw: &str) -> Result<Cow<'_, [u8]>, Malformed> {
    let key = decode(raw).ok_or_else(|| Malformed::new(Code::InvalidURI))?;
    if key.len() > KEY_MAX {
        return Err(Malformed::new(Code::KeyTooLongError));
    }
    match std::str::from_utf8(&key) {
        Ok(_) => Ok(key),
        Err(_) => Err(Malformed::new(Code::InvalidURI)),
    }
}

/// Whether S3's rules for bucket names hold: 3 to 63 of `a-z 0-9 . -`, letter or digit at both
/// ends, no `..`, no IPv4 address. Names and aliases of access points obey them too.
#[must_use]
pub fn is_bucket_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'.' || byte == b'-';
    let outer = |byte: Option<u8>| byte.is_some_and(|byte| inner(byte) && byte.is_ascii_alphanumeric());
    (3..=63).contains(&name.len())
        && name.bytes().all(inner)
        && outer(name.bytes().next())
        && outer(name.bytes().next_back())
        && !name.as_bytes().windows(2).any(|two| two == b"..")
        && name.parse::<std::net::Ipv4Addr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domains() -> Domains {
        Domains::new(["S3.example.com", "example.com", "localhost:9000"].map(str::to_owned).to_vec())
    }

    fn at<'a>(host: &str, path: &'a str) -> (Style, Option<String>, Option<&'a str>) {
        let address = address(host, path, &domains()).unwrap();
        (address.style, address.bucket, address.raw_key)
    }

    #[test]
    fn buckets_under_a_domain_are_virtual() {
        for host in ["photos.s3.example.com", "Photos.S3.Example.com:8443", "photos.s3.example.com."] {
            assert_eq!(at(host, "/a//b"), (Style::Virtual, Some("photos".into()), Some("a//b")), "{host}");
        }
        assert_eq!(at("a.b.c.s3.example.com", "/"), (Style::Virtual, Some("a.b.c".into()), None));
        assert_eq!(at("photos.localhost:9000", "/k"), (Style::Virtual, Some("photos".into()), Some("k")));
    }

    #[test]
    fn any_other_host_is_path_style() {
        let expected = (Style::Path, Some("photos".into()), Some("k"));
        for host in [
            "s3.example.com",
            "example.com:80",
            "[::1]:9000",
            "127.0.0.1:9000",
            "photos.localhost:9001",
            "photos.localhost",
            "my_service:9000",
            "xs3example.com",
            "notexample.com",
        ] {
            assert_eq!(at(host, "/photos/k"), expected, "{host}");
        }
    }

    #[test]
    fn the_key_keeps_its_bytes() {
        for key in ["/", "a/../b", "./", "%2F", "a+b%20", "\u{e9}", "a//"] {
            assert_eq!(at("h", &format!("/bkt/{key}")).2, Some(key));
            assert_eq!(at("bkt.example.com", &format!("/{key}")).2, Some(key));
        }
        for path in ["/bkt", "/bkt/"] {
            assert_eq!(at("h", path), (Style::Path, Some("bkt".into()), None));
        }
        assert_eq!(at("h", "/"), (Style::Path, None, None));
        assert_eq!(at("h", "/b%6bt/k").1.as_deref(), Some("bkt"));
    }

    #[test]
    fn names_that_no_store_takes_are_refused() {
        let long = "a".repeat(64);
        for bucket in [
            "ab",
            "Upper",
            "under_score",
            "-ab",
            "ab-",
            ".ab",
            "a..b",
            "10.0.0.1",
            "a%2Fb",
            "a b",
            "..",
            &long,
        ] {
            let fault = address("h", &format!("/{bucket}/k"), &domains()).unwrap_err();
            assert_eq!(fault.code, Code::InvalidBucketName, "{bucket}");
        }
        assert_eq!(address("h", "//k", &domains()).unwrap_err().code, Code::InvalidBucketName);
        for bucket in ["abc", "a.b", "mfzwi23gnjvgw.mrap", "1.2.3", &"a".repeat(63)] {
            assert!(is_bucket_name(bucket), "{bucket}");
        }
        for path in ["", "bkt", "*", "/b%zz/k", "/%ff%fe%fd/k"] {
            assert_eq!(address("h", path, &domains()).unwrap_err().code, Code::InvalidURI, "{path}");
        }
    }

    #[test]
    fn keys_are_utf8_of_1024_bytes() {
        assert_eq!(key(&"%41".repeat(1024)).unwrap(), "A".repeat(1024).into_bytes());
        assert_eq!(key(&"a".repeat(1025)).unwrap_err().code, Code::KeyTooLongError);
        for raw in ["%ff", "%", "%zz", "%C3"] {
            assert_eq!(key(raw).unwrap_err().code, Code::InvalidURI, "{raw}");
        }
    }
}
