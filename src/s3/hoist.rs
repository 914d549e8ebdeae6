//! Presigned URLs that carry headers as query parameters. Pure.
//!
//! Presigners move `x-amz-*` headers (metadata, ACL, encryption) into the query, where S3 reads them
//! as if they were headers. Upstream they become headers again, signed anew; so every judgement
//! about headers must see them too. Checksums are the exception: AWS passes over those in a query, and
//! the JavaScript SDK puts that of an empty body there, for a body it does not have yet.

use std::borrow::Cow;

use crate::head::Head;
use crate::head::strict::{METADATA_MAX, METADATA_PREFIX, is_internal};
use crate::s3::query::{Pair, Query};
use crate::s3::{Code, Malformed};

/// The authentication itself, in either spelling: never a header, never sent on.
const AUTHENTICATION: [&str; 9] = [
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-signedheaders",
    "x-amz-signature",
    "x-amz-security-token",
    "x-amz-content-sha256",
    "x-amz-region-set",
];

/// Whether a query authenticates its request (SigV4), in whatever spelling: verification knows
/// these names in any case, and what it takes for presigned must be presigned here too.
#[must_use]
pub fn is_presigned(query: Query<'_>) -> bool {
    const NAMES: [&str; 3] = ["x-amz-signature", "x-amz-algorithm", "x-amz-credential"];
    query.pairs().any(|pair| {
        let may_be = matches!(pair.raw_name.as_bytes().first(), Some(b'x' | b'X' | b'%'));
        let named = |name: Cow<'_, str>| NAMES.iter().any(|known| name.eq_ignore_ascii_case(known));
        may_be && pair.name().is_some_and(named)
    })
}

/// The header (lower-case) that a query name stands for, in a presigned URL.
#[must_use]
pub fn header_of(pair: Pair<'_>) -> Option<String> {
    // Nearly every name fails here, undecoded.
    if !matches!(pair.raw_name.as_bytes().first(), Some(b'x' | b'X' | b'%')) {
        return None;
    }
    let name = pair.name()?.to_ascii_lowercase();
    let counts = !AUTHENTICATION.contains(&name.as_str()) && !is_checksum(&name);
    (name.starts_with("x-amz-") && counts).then_some(name)
}

/// Whether a name says which checksum a body has. `x-amz-checksum-mode`, of reads, does not.
fn is_checksum(name: &str) -> bool {
    name == "x-amz-sdk-checksum-algorithm"
        || name.strip_prefix("x-amz-checksum-").is_some_and(|own| own != "mode")
}

/// The headers that a presigned URL carries in its query, decoded, in order, each name once. Empty
/// for a request that is not presigned: there S3 ignores such parameters.
///
/// # Errors
/// `InvalidArgument` for a name or value that no header can have, `InvalidRequest` where the same
/// header is there with another value, `AccessDenied` for a store's internal families,
/// `MetadataTooLarge` where metadata in headers and query pass 2 KiB together.
pub fn hoisted(head: &Head) -> Result<Vec<(String, String)>, Malformed> {
    let mut out: Vec<(String, String)> = Vec::new();
    let Some(query) = head.query().map(Query::new).filter(|query| is_presigned(*query)) else {
        return Ok(out);
    };
    for pair in query.pairs() {
        let Some(name) = header_of(pair) else { continue };
        let value = pair.value().map(Cow::into_owned).filter(|value| is_value(value));
        let (true, Some(value)) = (is_name(&name), value) else {
            return Err(Malformed::argument(
                "query",
                pair.raw_name,
                "A query parameter is not a valid header",
            ));
        };
        if is_internal(&name) {
            return Err(Malformed::because(
                Code::AccessDenied,
                "A query parameter belongs to a store's internal protocol",
            ));
        }
        let same = |other: &[u8]| other == value.trim().as_bytes();
        let in_query = out.iter().find(|(own, _)| *own == name);
        if !head.all(&name).all(same) || in_query.is_some_and(|(_, own)| !same(own.as_bytes())) {
            return Err(Malformed::because(
                Code::InvalidRequest,
                "A header and the query parameter of the same name have different values",
            ));
        }
        if in_query.is_none() {
            out.push((name, value.trim().to_owned()));
        }
    }
    metadata(head, &out)?;
    Ok(out)
}

fn is_name(name: &str) -> bool {
    let under_score_allowed = name.starts_with(METADATA_PREFIX);
    name.bytes().all(|byte| match byte {
        b'_' => under_score_allowed,
        byte => byte.is_ascii_alphanumeric() || b"-.!#$&'*^`|~+".contains(&byte),
    })
}

fn is_value(value: &str) -> bool {
    value.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}

/// The head's own metadata has been measured already, but not together with what is hoisted.
fn metadata(head: &Head, hoisted: &[(String, String)]) -> Result<(), Malformed> {
    let measure =
        |name: &str, length: usize| name.strip_prefix(METADATA_PREFIX).map_or(0, |own| own.len() + length);
    let query: usize = hoisted.iter().map(|(name, value)| measure(name, value.len())).sum();
    if query == 0 {
        return Ok(());
    }
    let twice = |name: &str| hoisted.iter().any(|(own, _)| own == name);
    let own: usize = head
        .fields()
        .filter(|field| !twice(field.name))
        .map(|field| measure(field.name, field.value.len()))
        .sum();
    if (query + own) as u64 > METADATA_MAX.0 { Err(Malformed::new(Code::MetadataTooLarge)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn of(query: &str, fields: &[(&str, &str)]) -> Result<Vec<(String, String)>, Code> {
        let mut head = Head::new(Method::PUT, &format!("/b/k?{query}"));
        for (name, value) in fields {
            head.push(name, value.as_bytes());
        }
        hoisted(&head).map_err(|fault| fault.code)
    }

    #[test]
    fn presigned_parameters_become_headers() {
        let query = "X-Amz-Algorithm=A&X-Amz-Credential=c&X-Amz-Date=d&X-Amz-Expires=1&X-Amz-SignedHeaders=host\
                     &X-Amz-Security-Token=t&X-Amz-Content-Sha256=UNSIGNED-PAYLOAD&X-Amz-Acl=public-read\
                     &x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-sdk-checksum-algorithm=CRC32\
                     &x-amz-meta-a_b=%C3%A9+x&versionId=1&X-Amz-Signature=s&x-id=PutObject";
        let expected = [("x-amz-acl", "public-read"), ("x-amz-meta-a_b", "\u{e9} x")];
        assert_eq!(of(query, &[]).unwrap(), expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
    }

    #[test]
    fn without_a_signature_they_mean_nothing() {
        assert_eq!(of("x-amz-acl=public-read", &[]), Ok(vec![]));
    }

    #[test]
    fn a_header_may_agree_but_not_contradict() {
        let query = "X-Amz-Signature=s&x-amz-acl=private";
        assert_eq!(of(query, &[("x-amz-acl", "private")]).unwrap().len(), 1);
        assert_eq!(of(query, &[("x-amz-acl", "public-read")]), Err(Code::InvalidRequest));
        assert_eq!(of("X-Amz-Signature=s&x-amz-acl=a&X-Amz-Acl=b", &[]), Err(Code::InvalidRequest));
        assert_eq!(of("X-Amz-Signature=s&x-amz-acl=a&X-Amz-Acl=a", &[]).unwrap().len(), 1);
    }

    #[test]
    fn nothing_is_injected() {
        for bad in [
            "x-amz-meta-a=%0d%0aHost:%20x",
            "x-amz-meta-a=%00",
            "x-amz-a%0a=1",
            "x-amz-a_b=1",
            "x-amz-a%3A=1",
        ] {
            assert_eq!(of(&format!("X-Amz-Signature=s&{bad}"), &[]), Err(Code::InvalidArgument), "{bad}");
        }
        let internal = "X-Amz-Signature=s&x-amz-replication-status=REPLICA";
        assert_eq!(of(internal, &[]), Err(Code::AccessDenied));
    }

    #[test]
    fn metadata_is_measured_together() {
        let half = "v".repeat(1023);
        let query = format!("X-Amz-Signature=s&x-amz-meta-a={half}");
        assert!(of(&query, &[("x-amz-meta-b", &half)]).is_ok());
        assert_eq!(of(&query, &[("x-amz-meta-bb", &half)]), Err(Code::MetadataTooLarge));
    }
}
