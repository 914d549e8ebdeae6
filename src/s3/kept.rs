//! What a write asks a store to keep with the object, held against what an object's head says. Pure.
//!
//! Source: the S3 API reference, `PutObject` (request headers) and `HeadObject` (response headers).

use http::HeaderMap;

use super::classify::is_default_acl;
use crate::head::Head;
use crate::head::strict::{METADATA_MAX, METADATA_PREFIX};

/// The header by which a write of ours is known again: its value names one attempt, or one upload.
pub const NONCE: &str = "x-amz-meta-nearpoint-write";

/// Bytes of a nonce's value: 16 hexadecimal digits.
const NONCE_VALUE: usize = 16;

/// Headers that a head shows exactly where a write had them.
const TOLD: [&str; 6] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
    "x-amz-website-redirect-location",
];

/// Headers that a head may show although the write did not have them: the bucket's defaults.
const DEFAULTED: [&str; 8] = [
    "content-type",
    "x-amz-object-lock-legal-hold",
    "x-amz-object-lock-mode",
    "x-amz-object-lock-retain-until-date",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-server-side-encryption-customer-key-md5",
    "x-amz-storage-class",
];

/// What one write asked to be kept with its object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Names (lower-case) and values, sorted; values of one name joined as S3 joins them.
    told: Vec<(String, Vec<u8>)>,
    /// It also asked for what no head shows: tags, an ACL.
    hidden: bool,
}

impl Kept {
    /// Reads a head as a region gets it.
    #[must_use]
    pub fn of(head: &Head) -> Self {
        let fields = head.fields().filter(|field| is_compared(field.name));
        let told = joined(fields.map(|field| (field.name, field.value)));
        let hidden = head.fields().any(|field| match field.name {
            "x-amz-acl" => !is_default_acl(field.value),
            "x-amz-tagging" => !field.value.is_empty(),
            name => name.starts_with("x-amz-grant-"),
        });
        Self { told, hidden }
    }

    /// Whether an object's head shows all of it, and nothing of the kind that was not asked for.
    /// What no head can show counts as not shown.
    #[must_use]
    pub fn agrees(&self, headers: &HeaderMap) -> bool {
        let fields = headers.iter().filter(|(name, _)| is_compared(name.as_str()));
        let shown = joined(fields.map(|(name, value)| (name.as_str(), value.as_bytes())));
        let asked = |name: &str| self.told.iter().any(|(own, _)| own == name);
        let defaults = |name: &str| DEFAULTED.contains(&name) && !asked(name);
        !self.hidden && shown.iter().filter(|(name, _)| !defaults(name)).eq(&self.told)
    }
}

/// Whether what is asked by this header shows in a head.
fn is_compared(name: &str) -> bool {
    (name.starts_with(METADATA_PREFIX) && name != NONCE) || TOLD.contains(&name) || DEFAULTED.contains(&name)
}

fn joined<'a>(fields: impl Iterator<Item = (&'a str, &'a [u8])>) -> Vec<(String, Vec<u8>)> {
    let mut out: Vec<(String, Vec<u8>)> = Vec::new();
    for (name, value) in fields {
        let value =
            if name == "content-encoding" { without_framing(value) } else { value.trim_ascii().to_vec() };
        match out.iter_mut().find(|(own, _)| own == name) {
            Some((_, own)) => {
                own.push(b',');
                own.extend_from_slice(&value);
            }
            None if value.is_empty() && name == "content-encoding" => {}
            None => out.push((name.to_owned(), value)),
        }
    }
    out.sort();
    out
}

/// Without `aws-chunked`, which some stores keep although it is no coding of the object.
fn without_framing(value: &[u8]) -> Vec<u8> {
    let codings = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let codings: Vec<&[u8]> = codings.filter(|coding| !coding.eq_ignore_ascii_case(b"aws-chunked")).collect();
    codings.join(&b","[..])
}

/// Whether a nonce fits into a head's metadata beside what is there: S3 takes 2 KiB of it.
#[must_use]
pub fn has_room_for_nonce(head: &Head) -> bool {
    let own = |field: crate::head::Field<'_>| {
        field.name.strip_prefix(METADATA_PREFIX).map_or(0, |name| name.len() + field.value.len())
    };
    let used: usize = head.fields().map(own).sum();
    let needed = NONCE.len() - METADATA_PREFIX.len() + NONCE_VALUE;
    used + needed <= usize::try_from(METADATA_MAX.0).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue, Method};

    use super::*;

    fn sent(fields: &[(&str, &str)]) -> Head {
        let mut head = Head::new(Method::PUT, "/b/k");
        for (name, value) in fields {
            head.push(name, value.as_bytes());
        }
        head
    }

    fn shown(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        fields.iter().map(field).collect()
    }

    const META: (&str, &str) = ("x-amz-meta-a", "1");

    #[test]
    fn what_was_asked_for_must_show_and_nothing_else() {
        type Fields = &'static [(&'static str, &'static str)];
        const TYPED: (&str, &str) = ("content-type", "text/plain");
        let table: [(Fields, Fields, bool); 14] = [
            (&[], &[("etag", "\"e\""), ("content-length", "3")], true),
            (&[META, TYPED], &[TYPED, META], true),
            (&[META], &[], false),
            (&[], &[META], false),
            (&[META], &[("x-amz-meta-a", "2")], false),
            (&[], &[TYPED], true),
            (&[TYPED], &[("content-type", "text/html")], false),
            (&[], &[("cache-control", "no-store")], false),
            (&[("x-amz-meta-a", "1"), ("x-amz-meta-a", "2")], &[("x-amz-meta-a", "1,2")], true),
            (&[("content-encoding", "gzip,aws-chunked")], &[("content-encoding", "gzip")], true),
            (&[("content-encoding", "aws-chunked")], &[], true),
            (&[], &[("x-amz-storage-class", "GLACIER")], true),
            (&[("x-amz-storage-class", "STANDARD_IA")], &[], false),
            (&[META], &[META, (NONCE, "0123456789abcdef")], true),
        ];
        for (asked, told, agrees) in table {
            assert_eq!(Kept::of(&sent(asked)).agrees(&shown(told)), agrees, "{asked:?} {told:?}");
        }
    }

    #[test]
    fn what_no_head_shows_never_agrees() {
        for (name, value, hidden) in [
            ("x-amz-tagging", "a=1", true),
            ("x-amz-tagging", "", false),
            ("x-amz-acl", "public-read", true),
            ("x-amz-acl", "private", false),
            ("x-amz-grant-read", "id=x", true),
        ] {
            assert_eq!(Kept::of(&sent(&[(name, value)])).agrees(&shown(&[])), !hidden, "{name}: {value}");
        }
    }

    #[test]
    fn a_nonce_is_left_out_where_it_would_pass_the_limit() {
        let room = 2048 - ("nearpoint-write".len() + 16);
        for (used, fits) in [(0, true), (room, true), (room + 1, false), (2048, false)] {
            let head = if used == 0 { sent(&[]) } else { sent(&[("x-amz-meta-a", &"v".repeat(used - 1))]) };
            assert_eq!(has_room_for_nonce(&head), fits, "{used}");
        }
    }
}
