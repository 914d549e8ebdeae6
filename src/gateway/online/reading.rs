//! What a store's answers show of its capabilities. Pure.

use super::Answer;
use super::capability::Shown;
use super::judge::{BODY, seen};
use crate::probe::survey::Told;
use crate::s3::checksum::{Algorithm, Hasher};

/// The body's checksum, and one that is not its own.
pub(super) fn checksums(algorithm: Algorithm) -> (String, String) {
    let of = |body: &[u8]| {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(body);
        hasher.finish_text()
    };
    (of(BODY), of(b"another body"))
}

fn is_taken(answer: &Answer) -> bool {
    matches!(answer, Ok(Told { status: 200..=299, .. }))
}

/// Of a request that was not carried out: refused for what it wants, or for another reason, which says
/// nothing.
fn refused(what: &str, answer: &Answer, expected: &str) -> Shown {
    let words = format!("{what} is answered {}, not {expected}", seen(answer));
    match answer {
        Ok(told) => match (told.status, told.code.as_deref()) {
            // the signature over a framing that it does not know
            (403, Some("SignatureDoesNotMatch")) => Shown::Refuses(words),
            (401 | 403 | 408 | 429, _) => Shown::Untold(words),
            (300..=499 | 501, _) => Shown::Refuses(words),
            _ => Shown::Untold(words),
        },
        Err(_) => Shown::Untold(words),
    }
}

/// Of a request that must be refused with one of these statuses.
fn must_refuse(what: &str, answer: &Answer, expected: &[u16]) -> Shown {
    let words = expected.first().map(u16::to_string).unwrap_or_default();
    match answer {
        Ok(told) if expected.contains(&told.status) => Shown::Has,
        answer if is_taken(answer) => {
            Shown::Ignores(format!("{what} is answered {}, not {words}", seen(answer)))
        }
        answer => refused(what, answer, &words),
    }
}

/// Of a key that is there, put on the condition that it is not.
pub(super) fn if_none_match(again: &Answer) -> Shown {
    must_refuse("a PUT with `If-None-Match: *` of a key that is there", again, &[412, 409])
}

/// Of a key that is there, put on the condition that it has a tag that it has not.
pub(super) fn if_match(other: &Answer) -> Shown {
    must_refuse("a PUT with `If-Match` and a tag that is not the key's", other, &[412, 409])
}

/// Of an upload's end, on the condition that its key is not there, though it is; nothing where no upload
/// could be begun.
pub(super) fn conditional_complete(end: Option<&Answer>) -> Shown {
    match end {
        Some(end) => must_refuse(
            "the end of an upload with `If-None-Match: *` to a key that is there",
            end,
            &[412, 409],
        ),
        None => Shown::Untold("no upload could be begun".to_owned()),
    }
}

/// Of a copy onto a key that is there, on the condition that it is not.
pub(super) fn conditional_copy(copied: &Answer) -> Shown {
    must_refuse("a copy with `If-None-Match: *` onto a key that is there", copied, &[412, 409])
}

/// Of a deletion on the condition that the key has a tag that it has not.
pub(super) fn conditional_delete(deleted: &Answer) -> Shown {
    must_refuse("a deletion with `If-Match` and a tag that is not the key's", deleted, &[412, 409])
}

/// Of a body with its checksum, and with another's.
pub(super) fn checksum(algorithm: Algorithm, right: &Answer, wrong: &Answer) -> Shown {
    let name = algorithm.header();
    if !is_taken(right) {
        return refused(&format!("a PUT with its right `{name}`"), right, "200");
    }
    must_refuse(&format!("a PUT that its `{name}` contradicts"), wrong, &[400])
}

/// Of a framed body with its checksum behind it, read back, and of one with another's.
pub(super) fn trailers(signed: bool, right: &Answer, back: &Answer, wrong: &Answer) -> Shown {
    let kind = if signed { "signed" } else { "unsigned" };
    let what = format!("a PUT in {kind} chunks with a checksum behind them");
    if !is_taken(right) {
        return refused(&what, right, "200");
    }
    match back {
        Ok(told) if told.status == 200 && told.document == BODY => {}
        Ok(told) if told.status == 200 => {
            let (kept, put) = (told.document.len(), BODY.len());
            return Shown::Spoils(format!(
                "{what} is taken, and {kept} bytes are read back of the {put} put"
            ));
        }
        other => {
            return Shown::Untold(format!(
                "{what} is taken, and reading it back is answered {}, not 200",
                seen(other)
            ));
        }
    }
    must_refuse(&format!("{what} that contradicts the body"), wrong, &[400])
}

/// Of a body with another's hash.
pub(super) fn body_hash(wrong: &Answer) -> Shown {
    must_refuse("a PUT that its `x-amz-content-sha256` contradicts", wrong, &[400])
}

const SSE: &str = "x-amz-server-side-encryption";

/// Of a body that is to be encrypted, and of the key's head then.
pub(super) fn sse(put: &Answer, head: &Answer) -> Shown {
    let what = "a PUT with `x-amz-server-side-encryption: AES256`";
    if is_taken(put) { encrypted(what, head, |how| how == "AES256") } else { refused(what, put, "200") }
}

/// The same with a key of the store's key management. What it refuses otherwise than by 501 may be the
/// key, or the right to use it.
pub(super) fn sse_kms(put: &Answer, head: &Answer) -> Shown {
    let what = "a PUT with `x-amz-server-side-encryption: aws:kms`";
    if is_taken(put) {
        return encrypted(what, head, |how| how.starts_with("aws:kms"));
    }
    match refused(what, put, "200") {
        Shown::Refuses(words) if !matches!(put, Ok(Told { status: 501, .. })) => Shown::Untold(words),
        other => other,
    }
}

fn encrypted(what: &str, head: &Answer, right: impl Fn(&str) -> bool) -> Shown {
    match head {
        Ok(told) if is_taken(head) => match told.header(SSE) {
            Some(how) if right(how) => Shown::Has,
            Some(how) => Shown::Ignores(format!("{what} is taken, and the key is told to be under `{how}`")),
            None => Shown::Ignores(format!("{what} is taken, and the key is not told to be encrypted")),
        },
        other => Shown::Untold(format!("{what} is taken, and a HEAD then answered {}, not 200", seen(other))),
    }
}

/// Of a body with a customer's key, and of the key's head asked for without it, which must be refused.
pub(super) fn sse_c(put: &Answer, bare: &Answer) -> Shown {
    let what = "a PUT with a customer's key";
    if !is_taken(put) {
        return refused(what, put, "200");
    }
    match bare {
        Ok(Told { status: 400..=499, .. }) => Shown::Has,
        bare if is_taken(bare) => Shown::Ignores(format!(
            "{what} is taken, and a HEAD without the key answered {}, not 400",
            seen(bare)
        )),
        other => Shown::Untold(format!("{what} is taken, and a HEAD then answered {}", seen(other))),
    }
}

/// The tag that is put.
pub(super) const TAG: (&str, &str) = ("nearpoint", "check");

/// Of a body with a tag, and of the key's tags then.
pub(super) fn tagging(put: &Answer, tags: &Answer) -> Shown {
    if !is_taken(put) {
        return refused("a PUT with `x-amz-tagging`", put, "200");
    }
    match tags {
        Ok(told) if told.status == 200 && has(told, "<Value>check</Value>") => Shown::Has,
        Ok(told) if told.status == 200 => {
            Shown::Ignores("a PUT with `x-amz-tagging` is taken, and its tag is not there then".to_owned())
        }
        other => refused("`GET ?tagging`", other, "200"),
    }
}

/// Of the key's ACL, told and set to what it is.
pub(super) fn acl(told: &Answer, set: &Answer) -> Shown {
    if !is_taken(told)
        && let refuses @ Shown::Refuses(_) = refused("`GET ?acl`", told, "200")
    {
        return refuses;
    }
    match set {
        // it knows them, and this bucket has them switched off
        Ok(Told { code: Some(code), .. }) if code == "AccessControlListNotSupported" => Shown::Has,
        set if is_taken(set) => Shown::Has,
        other => refused("`PUT ?acl` to private", other, "200"),
    }
}

/// Of `GetObjectAttributes`.
pub(super) fn attributes(answer: &Answer) -> Shown {
    document("`GET ?attributes`", answer, "<GetObjectAttributes")
}

/// Of a list of versions.
pub(super) fn versioning(answer: &Answer) -> Shown {
    document("`GET ?versions`", answer, "<ListVersionsResult")
}

/// Of the bucket's lock: one that has none is told by a code of its own.
pub(super) fn object_lock(answer: &Answer) -> Shown {
    match answer {
        Ok(Told { code: Some(code), .. }) if code.contains("ObjectLockConfiguration") => Shown::Has,
        answer => document("`GET ?object-lock`", answer, "<ObjectLockConfiguration"),
    }
}

/// Of a listing asked for with the bucket's name in the host: a name that nobody answers to says nothing.
pub(super) fn virtual_hosts(answer: &Answer) -> Shown {
    document("a listing with the bucket's name in the host", answer, "<ListBucketResult")
}

fn document(what: &str, answer: &Answer, root: &str) -> Shown {
    match answer {
        Ok(told) if told.status == 200 && has(told, root) => Shown::Has,
        Ok(told) if is_taken(answer) => Shown::Ignores(format!(
            "{what} is answered {} with something else than {}",
            told.status,
            root.trim_start_matches('<')
        )),
        other => refused(what, other, "200"),
    }
}

fn has(told: &Told, part: &str) -> bool {
    memchr::memmem::find(&told.document, part.as_bytes()).is_some()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    /// Status 0: no answer.
    fn told(status: u16, code: &str, document: &[u8]) -> Answer {
        if status == 0 {
            return Err("no answer in time".to_owned());
        }
        let code = (!code.is_empty()).then(|| code.to_owned());
        Ok(Told { status, code, headers: HeaderMap::new(), document: Bytes::copy_from_slice(document) })
    }

    fn plain(status: u16) -> Answer {
        told(status, "", b"")
    }

    fn encrypted_by(how: &'static str) -> Told {
        let headers = HeaderMap::from_iter([(HeaderName::from_static(SSE), HeaderValue::from_static(how))]);
        Told { status: 200, code: None, headers, document: Bytes::new() }
    }

    #[track_caller]
    fn assert_all(table: &[(Shown, &str)]) {
        for (at, (shown, expected)) in table.iter().enumerate() {
            assert_eq!(shown.name(), *expected, "row {at}: {:?}", shown.words());
        }
    }

    #[test]
    fn a_refusal_says_something_only_where_it_is_of_what_was_asked() {
        for (status, code, expected) in [
            (412, "PreconditionFailed", "has"),
            (409, "ConditionalRequestConflict", "has"),
            (200, "", "ignores"),
            (501, "NotImplemented", "refuses"),
            (400, "InvalidRequest", "refuses"),
            (405, "MethodNotAllowed", "refuses"),
            (403, "SignatureDoesNotMatch", "refuses"),
            (403, "AccessDenied", "untold"),
            (429, "", "untold"),
            (500, "InternalError", "untold"),
            (503, "SlowDown", "untold"),
            (0, "", "untold"),
        ] {
            let answer = told(status, code, b"");
            assert_eq!(if_none_match(&answer).name(), expected, "{status} {code}");
            assert_eq!(if_match(&answer).name(), expected, "{status} {code}");
        }
        let words = if_match(&told(501, "NotImplemented", b""));
        assert!(words.words().unwrap().ends_with("is answered 501 NotImplemented, not 412"), "{words:?}");
    }

    #[test]
    fn a_checksum_must_be_taken_where_it_is_right_and_refused_where_it_is_wrong() {
        let of = |right, wrong| checksum(Algorithm::Crc32c, &plain(right), &plain(wrong));
        assert_all(&[
            (of(200, 400), "has"),
            (of(200, 200), "ignores"),
            (of(501, 501), "refuses"),
            (of(400, 400), "refuses"),
            (of(403, 403), "untold"),
            (of(200, 500), "untold"),
            (body_hash(&plain(400)), "has"),
            (body_hash(&plain(200)), "ignores"),
        ]);
        let (own, other) = checksums(Algorithm::Crc32);
        assert!(own != other && Algorithm::Crc32.decode(&other).is_some(), "well formed, and another's");
    }

    #[test]
    fn frames_must_be_taken_off_the_object_and_their_checksum_looked_at() {
        let of = |right, back: Answer, wrong| trailers(false, &plain(right), &back, &plain(wrong));
        let own = || told(200, "", BODY);
        let framed = || told(200, "", b"21\r\nnearpoint");
        assert_all(&[
            (of(200, own(), 400), "has"),
            (of(200, framed(), 400), "spoils"),
            (of(200, plain(403), 400), "untold"),
            (of(200, own(), 200), "ignores"),
            (of(411, own(), 400), "refuses"),
            (of(0, own(), 400), "untold"),
            (trailers(true, &told(400, "InvalidRequest", b""), &own(), &plain(400)), "refuses"),
        ]);
        let spoilt = of(200, framed(), 400);
        assert!(spoilt.words().unwrap().contains("13 bytes are read back of the 33 put"), "{spoilt:?}");
    }

    #[test]
    fn what_is_to_be_encrypted_is_told_to_be() {
        let key = |code| told(400, code, b"");
        assert_all(&[
            (sse(&plain(200), &Ok(encrypted_by("AES256"))), "has"),
            (sse(&plain(200), &Ok(encrypted_by("aws:kms"))), "ignores"),
            (sse(&plain(200), &plain(200)), "ignores"),
            (sse(&plain(200), &plain(403)), "untold"),
            (sse(&plain(501), &plain(200)), "refuses"),
            (sse_kms(&plain(200), &Ok(encrypted_by("aws:kms"))), "has"),
            (sse_kms(&plain(200), &plain(200)), "ignores"),
            (sse_kms(&plain(501), &plain(200)), "refuses"),
            // its key, perhaps
            (sse_kms(&key("InvalidArgument"), &plain(200)), "untold"),
            (sse_c(&plain(200), &plain(400)), "has"),
            (sse_c(&plain(200), &plain(200)), "ignores"),
            (sse_c(&plain(200), &plain(0)), "untold"),
            (sse_c(&plain(501), &plain(200)), "refuses"),
        ]);
    }

    #[test]
    fn settings_are_there_where_they_are_told_as_they_should_be() {
        let tags = told(200, "", b"<TagSet><Tag><Key>nearpoint</Key><Value>check</Value></Tag></TagSet>");
        let lock = |status, code| object_lock(&told(status, code, b""));
        assert_all(&[
            (tagging(&plain(200), &tags), "has"),
            (tagging(&plain(200), &told(200, "", b"<TagSet/>")), "ignores"),
            (tagging(&plain(200), &plain(501)), "refuses"),
            (tagging(&plain(403), &tags), "untold"),
            (acl(&plain(200), &plain(200)), "has"),
            (acl(&plain(200), &told(400, "AccessControlListNotSupported", b"")), "has"),
            (acl(&plain(200), &plain(501)), "refuses"),
            (acl(&plain(501), &plain(403)), "refuses"),
            (acl(&plain(403), &plain(403)), "untold"),
            (lock(404, "ObjectLockConfigurationNotFoundError"), "has"),
            (lock(501, "NotImplemented"), "refuses"),
            (lock(403, "AccessDenied"), "untold"),
            (object_lock(&told(200, "", b"<ObjectLockConfiguration/>")), "has"),
            // the sub-resource is not looked at
            (object_lock(&told(200, "", b"<ListBucketResult/>")), "ignores"),
            (attributes(&told(200, "", BODY)), "ignores"),
            (attributes(&told(200, "", b"<GetObjectAttributesResponse/>")), "has"),
            (versioning(&told(200, "", b"<ListVersionsResult/>")), "has"),
            (versioning(&plain(501)), "refuses"),
            (virtual_hosts(&told(200, "", b"<ListBucketResult/>")), "has"),
            (virtual_hosts(&told(404, "NoSuchBucket", b"")), "refuses"),
            (virtual_hosts(&plain(0)), "untold"),
        ]);
    }
}
