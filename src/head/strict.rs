//! What is refused before anything else looks at a head. Pure.
//!
//! Whatever two parsers might read differently is refused here, once: the path of a request then
//! has one meaning for routing, for the signature and for the store. What only the bytes on the
//! wire show (bare LF, folded lines, doubled lengths that a parser merges) is the wire gate's.

use std::net::Ipv6Addr;

use crate::head::{Field, Head};
use crate::units::ByteCount;

/// Largest object or part of one request: S3's own limit, 5 GiB.
pub const UPLOAD_MAX: ByteCount = ByteCount(5 << 30);

/// Largest user metadata: names and values of `x-amz-meta-*` together, S3's own limit, 2 KiB. The
/// prefix of the names does not count.
pub const METADATA_MAX: ByteCount = ByteCount(2 << 10);

/// Prefix of user metadata.
pub const METADATA_PREFIX: &str = "x-amz-meta-";

/// Header families by which stores' own nodes speak to each other; a client that sends one wants
/// to be mistaken for a node.
const INTERNAL_FAMILIES: [&str; 5] = ["x-minio-", "x-rgw-", "x-amz-replication", "x-emc-", "x-rustfs-"];

/// User metadata that a store obeys: `MinIO` and `RustFS` unpack such an upload, and write what is in it
/// under keys that nobody judged.
const OBEYED_METADATA: [&str; 2] = ["snowball-auto-extract", "minio-snowball-"];

/// Headers that decide what was signed or how long the body is.
const ONCE_ONLY: [&str; 8] = [
    "host",
    "authorization",
    "x-amz-date",
    "x-amz-content-sha256",
    "x-amz-security-token",
    "x-amz-decoded-content-length",
    "content-length",
    "content-md5",
];

/// The limits that differ from house to house.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Most header fields, repeats counted (`limits.header_fields`).
    pub max_fields: usize,
}

/// Why a head is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The method is none of S3's. 405 `MethodNotAllowed`.
    #[error("method {0} is none of GET, HEAD, PUT, POST, DELETE, OPTIONS")]
    Method(String),
    /// The target has bytes or escapes that no two parsers read alike. 400 `InvalidURI`.
    #[error("the request target {0}")]
    Target(&'static str),
    /// `Host` is missing or no authority. 400 `InvalidRequest`.
    #[error("the Host header {0}")]
    Host(&'static str),
    /// A header that must be there at most once. 400 `InvalidRequest` (Authorization: `InvalidArgument`).
    #[error("header {0} occurs more than once")]
    Repeated(&'static str),
    /// A header name with `_` outside user metadata. 400 `InvalidRequest`.
    #[error("header names may not contain an underscore, except in x-amz-meta-*")]
    FieldName,
    /// More header fields than the limit. 400 `RequestHeaderSectionTooLarge`, then close.
    #[error("{seen} header fields, at most {most} are allowed")]
    TooManyFields {
        /// Fields in the head.
        seen: usize,
        /// The limit.
        most: usize,
    },
    /// `Connection` names a header that must travel on. 400 `InvalidRequest`.
    #[error("the Connection header may not name {0}")]
    Connection(String),
    /// An expectation other than `100-continue`. 417.
    #[error("the only expectation that can be met is 100-continue")]
    Expectation,
    /// The body's framing has two readings, or a coding we do not undo. 400 `InvalidRequest`, then close.
    #[error("the body's framing {0}")]
    Framing(&'static str),
    /// A header of a store's internal protocol. 403 `AccessDenied`.
    #[error("header {0} belongs to a store's internal protocol")]
    Internal(String),
    /// User metadata past [`METADATA_MAX`]. 400 `MetadataTooLarge`.
    #[error("user metadata of {size} bytes, at most {} are allowed", METADATA_MAX.0)]
    Metadata {
        /// Bytes of names and values.
        size: u64,
    },
    /// An upload past [`UPLOAD_MAX`]. 400 `EntityTooLarge`.
    #[error("an upload of {size} bytes, at most {} are allowed in one request", UPLOAD_MAX.0)]
    Upload {
        /// Bytes of the proposed object or part.
        size: u64,
    },
}

/// Refuses a head that two parsers might read differently, or that is past S3's limits.
///
/// # Errors
/// The first [`Fault`], method and target first.
pub fn check(head: &Head, rules: &Rules) -> Result<(), Fault> {
    method(head)?;
    target(head)?;
    if head.field_count() > rules.max_fields {
        return Err(Fault::TooManyFields { seen: head.field_count(), most: rules.max_fields });
    }
    fields(head)?;
    host(head)?;
    framing(head)?;
    expectation(head)
}

/// Whether a header (lower-case) belongs to a store's internal protocol.
#[must_use]
pub fn is_internal(name: &str) -> bool {
    match name.strip_prefix(METADATA_PREFIX) {
        Some(own) => OBEYED_METADATA.iter().any(|obeyed| own.starts_with(obeyed)),
        None => INTERNAL_FAMILIES.iter().any(|family| name.starts_with(family)),
    }
}

/// A host and perhaps a port, as in `Host` or `:authority`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// Name or address; an IPv6 address without its brackets.
    pub host: &'a str,
    /// The port, where one is given.
    pub port: Option<u16>,
}

/// Splits `host`, `host:port`, `[v6]` or `[v6]:port`. `None` for anything else.
#[must_use]
pub fn authority(text: &str) -> Option<Authority<'_>> {
    let (host, rest) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        host.parse::<Ipv6Addr>().ok()?;
        (host, rest)
    } else {
        let (host, rest) = text.split_at_checked(text.find(':').unwrap_or(text.len()))?;
        let named = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if host.is_empty() || !host.bytes().all(named) {
            return None;
        }
        (host, rest)
    };
    let port = match rest.strip_prefix(':') {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
        None if rest.is_empty() => None,
        _ => return None,
    };
    Some(Authority { host, port })
}

fn method(head: &Head) -> Result<(), Fault> {
    match head.method().as_str() {
        "GET" | "HEAD" | "PUT" | "POST" | "DELETE" | "OPTIONS" => Ok(()),
        other => Err(Fault::Method(other.chars().take(32).collect())),
    }
}

/// The bytes of the target. Whether the decoded path is UTF-8 shows when the key is taken from it.
fn target(head: &Head) -> Result<(), Fault> {
    let path = head.path();
    if !path.starts_with('/') {
        return Err(Fault::Target("must begin with a slash"));
    }
    for part in [path, head.query().unwrap_or_default()] {
        let mut bytes = part.bytes();
        while let Some(byte) = bytes.next() {
            let fault = match byte {
                b'%' if ![bytes.next(), bytes.next()].into_iter().all(is_hex) => "has a broken escape",
                0..=b' ' | 0x7f => "has a space or control character",
                b'#' | b'\\' | 0x80.. => "has a character that is not percent-encoded",
                _ => continue,
            };
            return Err(Fault::Target(fault));
        }
    }
    Ok(())
}

fn is_hex(byte: Option<u8>) -> bool {
    byte.is_some_and(|byte| byte.is_ascii_hexdigit())
}

fn fields(head: &Head) -> Result<(), Fault> {
    let mut metadata = 0;
    let mut seen = [false; ONCE_ONLY.len()];
    for field in head.fields() {
        if is_internal(field.name) {
            return Err(Fault::Internal(field.name.chars().take(64).collect()));
        }
        if let Some(own) = field.name.strip_prefix(METADATA_PREFIX) {
            metadata += own.len() + field.value.len();
            continue;
        }
        if field.name.contains('_') {
            return Err(Fault::FieldName);
        }
        for (name, seen) in ONCE_ONLY.iter().zip(&mut seen) {
            if field.name == *name && std::mem::replace(seen, true) {
                return Err(Fault::Repeated(name));
            }
        }
        if field.name == "connection" {
            connection(field)?;
        }
    }
    let size = metadata as u64;
    if size > METADATA_MAX.0 { Err(Fault::Metadata { size }) } else { Ok(()) }
}

/// `Connection` may drop hop-by-hop headers only; naming a signed one would remove what was meant.
fn connection(field: Field<'_>) -> Result<(), Fault> {
    for name in field.value.split(|byte| *byte == b',') {
        let name = String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase();
        let kept = ["host", "content-length", "content-type", "content-md5", "authorization", "range"];
        if kept.contains(&name.as_str()) || name.starts_with("x-amz-") || name.starts_with("if-") {
            return Err(Fault::Connection(name.chars().take(64).collect()));
        }
    }
    Ok(())
}

fn host(head: &Head) -> Result<(), Fault> {
    let value = head.first("host").ok_or(Fault::Host("is missing"))?;
    let text = std::str::from_utf8(value).map_err(|_| Fault::Host("is not text"))?;
    authority(text).map(|_| ()).ok_or(Fault::Host("is no host name or address with an optional port"))
}

fn framing(head: &Head) -> Result<(), Fault> {
    let length = head.first("content-length").map(digits).transpose()?;
    let decoded = head.first("x-amz-decoded-content-length").map(digits).transpose()?;
    let mut codings = head.all("transfer-encoding");
    if let Some(coding) = codings.next() {
        if codings.next().is_some() || !coding.eq_ignore_ascii_case(b"chunked") {
            return Err(Fault::Framing("has a transfer coding other than one `chunked`"));
        }
        if length.is_some() {
            return Err(Fault::Framing("has both a length and a transfer coding"));
        }
    }
    match decoded.or(length) {
        Some(size) if head.method() == http::Method::PUT && size > UPLOAD_MAX.0 => {
            Err(Fault::Upload { size })
        }
        _ => Ok(()),
    }
}

fn digits(value: &[u8]) -> Result<u64, Fault> {
    std::str::from_utf8(value)
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .ok_or(Fault::Framing("has a length that is no number"))
}

fn expectation(head: &Head) -> Result<(), Fault> {
    if head.all("expect").all(|value| value.eq_ignore_ascii_case(b"100-continue")) {
        Ok(())
    } else {
        Err(Fault::Expectation)
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use proptest::prelude::*;

    use super::*;

    const RULES: Rules = Rules { max_fields: 100 };

    fn head(method: &Method, target: &str, fields: &[(&str, &str)]) -> Head {
        let mut head = Head::new(method.clone(), target);
        for (name, value) in fields {
            head.push(name, value.as_bytes());
        }
        head
    }

    fn get(target: &str) -> Result<(), Fault> {
        check(&head(&Method::GET, target, &[("host", "h")]), &RULES)
    }

    fn put(fields: &[(&str, &str)]) -> Result<(), Fault> {
        let mut head = head(&Method::PUT, "/b/k", fields);
        head.push("host", b"h:9000");
        check(&head, &RULES)
    }

    #[test]
    fn methods_that_are_not_s3_are_refused() {
        for method in ["CONNECT", "TRACE", "PATCH", "get", "PROPFIND"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert!(matches!(check(&head(&method, "/", &[("host", "h")]), &RULES), Err(Fault::Method(_))));
        }
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE, Method::OPTIONS]
        {
            assert_eq!(check(&head(&method, "/", &[("host", "h")]), &RULES), Ok(()));
        }
    }

    #[test]
    fn legal_keys_pass_whatever_they_look_like() {
        for target in [
            "/b/a/../b",
            "/b//",
            "/b/./",
            "/b/a%2Fb",
            "/b/%2e%2E",
            "/b/+",
            "/b/%C3%A9",
            "/b/%F0%9F%A6%80?x=%20",
        ] {
            assert_eq!(get(target), Ok(()), "{target}");
        }
    }

    #[test]
    fn targets_with_two_readings_are_refused() {
        for target in [
            "", "b/k", "*", "/%", "/%4", "/%zz", "/?a=%g0", "/a#b", "/a b", "/a\\b", "/é", "/a\u{1b}",
            "/\u{7f}", "/?\t",
        ] {
            assert!(matches!(get(target), Err(Fault::Target(_))), "{target:?}");
        }
    }

    #[test]
    fn host_is_one_authority() {
        for host in ["h", "H.example:80", "127.0.0.1:1", "[::1]", "[::1]:9000", "my_service:9000", "h."] {
            assert_eq!(check(&head(&Method::GET, "/", &[("host", host)]), &RULES), Ok(()), "{host}");
        }
        for host in
            ["", ":80", "a/b@c", "u@h", "h:", "h:x", "h:65536", "h:+1", "a,b", "a b", "[::1", "[x]", "[::1]9"]
        {
            let head = head(&Method::GET, "/", &[("host", host)]);
            assert!(matches!(check(&head, &RULES), Err(Fault::Host(_))), "{host}");
        }
        assert!(matches!(check(&head(&Method::GET, "/", &[]), &RULES), Err(Fault::Host(_))));
        let two = [("host", "h"), ("Host", "h")];
        assert_eq!(check(&head(&Method::GET, "/", &two), &RULES), Err(Fault::Repeated("host")));
    }

    #[test]
    fn what_decides_the_meaning_occurs_once() {
        for name in ONCE_ONLY.into_iter().filter(|name| *name != "host") {
            assert_eq!(put(&[(name, "1"), (name, "1")]), Err(Fault::Repeated(name)));
        }
        assert_eq!(put(&[("x-amz-meta-a", "1"), ("x-amz-meta-a", "2")]), Ok(()));
    }

    #[test]
    fn underscores_belong_to_metadata() {
        assert_eq!(put(&[("x-amz-meta-a_b", "1")]), Ok(()));
        assert_eq!(put(&[("content_length", "1")]), Err(Fault::FieldName));
        assert_eq!(put(&[("x_amz-date", "1")]), Err(Fault::FieldName));
    }

    #[test]
    fn internal_families_are_refused() {
        for name in ["X-Minio-Source-Mtime", "x-rgw-a", "x-amz-replication-status", "x-emc-a", "x-rustfs-a"] {
            assert!(matches!(put(&[(name, "1")]), Err(Fault::Internal(_))), "{name}");
        }
        assert_eq!(put(&[("x-amz-something-new", "1")]), Ok(()));
    }

    #[test]
    fn connection_drops_nothing_that_was_meant() {
        for value in ["Host", "close, X-Amz-Date", "content-length", "keep-alive,RANGE", "if-none-match"] {
            assert!(matches!(put(&[("connection", value)]), Err(Fault::Connection(_))), "{value}");
        }
        assert_eq!(put(&[("connection", "close, te, x-custom")]), Ok(()));
    }

    #[test]
    fn only_one_expectation_can_be_met() {
        assert_eq!(put(&[("expect", "100-Continue")]), Ok(()));
        assert_eq!(put(&[("expect", "y 100-continue")]), Err(Fault::Expectation));
        assert_eq!(put(&[("expect", "100-continue"), ("expect", "")]), Err(Fault::Expectation));
    }

    #[test]
    fn framing_has_one_reading() {
        assert_eq!(put(&[("transfer-encoding", "Chunked")]), Ok(()));
        for fields in [
            &[("transfer-encoding", "chunked"), ("content-length", "1")][..],
            &[("transfer-encoding", "chunked, chunked")],
            &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
            &[("transfer-encoding", "gzip")],
            &[("content-length", "+1")],
            &[("content-length", "")],
            &[("content-length", "18446744073709551616")],
            &[("x-amz-decoded-content-length", "-1")],
        ] {
            assert!(matches!(put(fields), Err(Fault::Framing(_))), "{fields:?}");
        }
    }

    #[test]
    fn limits_hold_at_the_limit_and_one_above() {
        assert_eq!(put(&[("content-length", "5368709120")]), Ok(()));
        assert_eq!(put(&[("content-length", "5368709121")]), Err(Fault::Upload { size: 5_368_709_121 }));
        let encoded = [("content-length", "5368709999"), ("x-amz-decoded-content-length", "5368709120")];
        assert_eq!(put(&encoded), Ok(()));

        let value = "v".repeat(2047);
        assert_eq!(put(&[("x-amz-meta-a", &value)]), Ok(()));
        assert_eq!(put(&[("x-amz-meta-ab", &value)]), Err(Fault::Metadata { size: 2049 }));

        let rules = Rules { max_fields: 2 };
        let mut head = head(&Method::GET, "/", &[("host", "h"), ("a", "1")]);
        assert_eq!(check(&head, &rules), Ok(()));
        head.push("b", b"1");
        assert_eq!(check(&head, &rules), Err(Fault::TooManyFields { seen: 3, most: 2 }));
    }

    proptest! {
        #[test]
        fn no_head_makes_it_panic(
            target in ".*",
            fields in prop::collection::vec(("[a-zA-Z_-]{1,12}", prop::collection::vec(any::<u8>(), 0..20)), 0..8),
        ) {
            let mut head = Head::new(Method::PUT, &target);
            for (name, value) in &fields {
                head.push(name, value);
            }
            drop(check(&head, &RULES));
        }

        #[test]
        fn what_passes_has_whole_escapes(target in "/[a-f%0-9g]{0,12}") {
            let whole = target.split('%').skip(1).all(|rest| {
                rest.get(..2).is_some_and(|two| two.bytes().all(|byte| byte.is_ascii_hexdigit()))
            });
            prop_assert_eq!(get(&target).is_ok(), whole);
        }
    }
}
