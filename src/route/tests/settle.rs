//! What an object's head proves of a write whose answer was lost.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;

use crate::head::Head;
use crate::names::WriteNonce;
use crate::route::settle::{Evidence, Fate, Finding, Heard, Inquiry, Loss, Next, Write};
use crate::s3::checksum::{Algorithm, Hasher};
use crate::s3::conditions::WriteCondition;
use crate::s3::kept::Kept;
use crate::units::UnixSeconds;

const BEGAN: i64 = 1_800_000_000;
const BODY: &[u8] = b"abc";
/// The MD5 of [`BODY`].
const ETAG: &str = "\"900150983cd24fb0d6963f7d28e17f72\"";
const NONCE: &str = "x-amz-meta-nearpoint-write";
const OURS: WriteNonce = WriteNonce(0x0123_4567_89ab_cdef);

fn put(fields: &[(&str, &str)]) -> Evidence {
    let mut head = Head::new(Method::PUT, "/b/k");
    for (name, value) in fields {
        head.push(name, value.as_bytes());
    }
    let write = Write::Put { length: 3, kept: Kept::of(&head) };
    Evidence { write, condition: WriteCondition::of(&head), nonce: None, began: UnixSeconds(BEGAN) }
}

fn complete() -> Evidence {
    let write = Write::Complete {
        initiated: Some(UnixSeconds(BEGAN - 600)),
        etag: Some("0123-2".to_owned()),
        parts: 2,
        key: "k".to_owned(),
    };
    Evidence { write, condition: WriteCondition::None, nonce: None, began: UnixSeconds(BEGAN) }
}

fn named(evidence: Evidence) -> Evidence {
    Evidence { nonce: Some(OURS), ..evidence }
}

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
    };
    fields.iter().map(field).collect()
}

/// What a look finds: an object with this tag, dated so many seconds after the attempt began.
fn found(evidence: &Evidence, etag: &str, after: i64, fields: &[(&'static str, &str)]) -> Finding {
    look(evidence, etag, after, fields, false)
}

/// The same of the object whose write was acknowledged before this one began.
fn found_acknowledged(evidence: &Evidence, etag: &str, fields: &[(&'static str, &str)]) -> Finding {
    look(evidence, etag, -1, fields, true)
}

fn look(
    evidence: &Evidence,
    etag: &str,
    after: i64,
    fields: &[(&'static str, &str)],
    acknowledged: bool,
) -> Finding {
    let mut headers = headers(fields);
    headers.insert("etag", HeaderValue::from_str(etag).unwrap());
    headers.entry("content-length").or_insert(HeaderValue::from_static("3"));
    let modified = Some(UnixSeconds(BEGAN + after));
    let heard = Heard { status: 200, headers: &headers, modified, acknowledged };
    evidence.judge(&heard, &|algorithm| {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(BODY);
        Some(hasher.finish_text())
    })
}

#[test]
fn a_put_is_done_if_bytes_metadata_and_time_agree() {
    let evidence = put(&[("x-amz-meta-a", "1")]);
    let meta = ("x-amz-meta-a", "1");
    let sum = |bytes: &[u8]| {
        let mut hasher = Hasher::new(Algorithm::Crc64Nvme);
        hasher.update(bytes);
        hasher.finish_text()
    };
    let (right, wrong) = (sum(BODY), sum(b"abd"));
    let crc = "x-amz-checksum-crc64nvme";
    for (etag, after, fields, finding) in [
        (ETAG, 0, vec![meta], Finding::Done),
        (ETAG, 90, vec![meta], Finding::Done),
        (ETAG, -1, vec![meta], Finding::Unclear),
        (ETAG, 0, vec![], Finding::Unclear),
        (ETAG, 0, vec![("x-amz-meta-a", "2")], Finding::Unclear),
        (ETAG, 0, vec![meta, ("x-amz-meta-b", "2")], Finding::Unclear),
        (ETAG, 0, vec![meta, ("content-length", "4")], Finding::Unclear),
        ("\"other\"", 0, vec![meta], Finding::Unclear),
        ("\"other\"", 0, vec![meta, (crc, right.as_str())], Finding::Done),
        (ETAG, 0, vec![meta, (crc, wrong.as_str())], Finding::Unclear),
        // no digest of the bytes, whatever it looks like
        (ETAG, 0, vec![meta, ("x-amz-server-side-encryption", "aws:kms")], Finding::Unclear),
        (ETAG, 0, vec![meta, ("x-amz-server-side-encryption", "AES256")], Finding::Done),
        (
            ETAG,
            0,
            vec![meta, ("x-amz-server-side-encryption-customer-algorithm", "AES256")],
            Finding::Unclear,
        ),
    ] {
        assert_eq!(found(&evidence, etag, after, &fields), finding, "{etag} {after} {fields:?}");
    }
}

#[test]
fn what_was_acknowledged_before_shows_that_nothing_was_done_if_it_has_other_bytes() {
    let absent = put(&[("if-none-match", "*")]);
    let encrypted = [("x-amz-server-side-encryption", "aws:kms")];
    for (evidence, etag, fields, finding) in [
        (put(&[]), "\"00000000000000000000000000000000\"", &[][..], Finding::Nothing),
        // the same bytes: this one may have been done as well
        (put(&[]), ETAG, &[], Finding::Unclear),
        // an upload's
        (put(&[]), "\"0123-2\"", &[], Finding::Nothing),
        // of these no tag tells the bytes
        (put(&[]), "\"00000000000000000000000000000000\"", &encrypted, Finding::Unclear),
        (complete(), ETAG, &[], Finding::Nothing),
        (complete(), "\"4567-2\"", &[], Finding::Nothing),
        (complete(), "\"4567-2\"", &encrypted, Finding::Unclear),
        // a failed condition is told by nothing but a date
        (absent, "\"00000000000000000000000000000000\"", &[], Finding::Unclear),
    ] {
        assert_eq!(found_acknowledged(&evidence, etag, fields), finding, "{etag} {fields:?}");
    }
}

#[test]
fn an_object_that_was_there_before_shows_that_nothing_was_done() {
    let evidence = put(&[]);
    for (etag, after, finding) in [
        ("\"other\"", -4, Finding::Nothing),
        (ETAG, -4, Finding::Nothing),
        ("\"other\"", -3, Finding::Unclear),
        ("\"other\"", 5, Finding::Unclear),
        // dated by a beginning that says nothing of its end
        ("\"other-2\"", -4_000, Finding::Unclear),
    ] {
        assert_eq!(found(&evidence, etag, after, &[]), finding, "{etag} {after}");
    }
}

#[test]
fn of_two_equal_conditional_writes_the_nonce_tells_which_was_done() {
    let absent = [("if-none-match", "*")];
    for (evidence, nonce, after, finding) in [
        (named(put(&absent)), Some("0123456789abcdef"), 0, Finding::Done),
        // by its clock before we began: the nonce cannot be another's
        (named(put(&absent)), Some("0123456789abcdef"), -2, Finding::Done),
        (named(put(&absent)), Some("fedcba9876543210"), 0, Finding::Unclear),
        (named(put(&absent)), None, 0, Finding::Unclear),
        (put(&absent), None, 0, Finding::Unclear),
        (named(put(&absent)), None, -60, Finding::ConditionFailed),
        (put(&absent), Some("fedcba9876543210"), -60, Finding::ConditionFailed),
    ] {
        let fields: Vec<_> = nonce.map(|nonce| (NONCE, nonce)).into_iter().collect();
        assert_eq!(found(&evidence, ETAG, after, &fields), finding, "{evidence:?} {nonce:?}");
    }
}

#[test]
fn a_condition_failed_only_upon_what_was_there_before_and_is_not_multipart() {
    let matching = |etag: &str| named(put(&[("if-match", etag)]));
    for (evidence, etag, after, finding) in [
        (matching("\"old\""), "\"new\"", -60, Finding::ConditionFailed),
        // it held, and so it was not done, or is yet to be
        (matching("\"old\""), "\"old\"", -60, Finding::Unclear),
        (matching("\"old\""), "\"new\"", -2, Finding::Unclear),
        (matching("\"old\""), "\"new-2\"", -60, Finding::Unclear),
        (named(put(&[("if-none-match", "*")])), "\"any-2\"", -60, Finding::Unclear),
        (named(put(&[("x-amz-if-match-size", "3")])), "\"new\"", -60, Finding::Unclear),
    ] {
        assert_eq!(found(&evidence, etag, after, &[]), finding, "{evidence:?} {etag}");
    }
    assert!(!put(&[("x-amz-if-match-size", "3")]).can_settle(), "nothing could show anything");
    assert!(named(put(&[("x-amz-if-match-size", "3")])).can_settle());
}

#[test]
fn the_end_of_an_upload_is_proven_by_the_tag_of_its_parts_and_its_beginning() {
    let ours = (NONCE, "0123456789abcdef");
    let kms = ("x-amz-server-side-encryption", "aws:kms");
    let forgotten = Evidence {
        write: Write::Complete { initiated: None, etag: Some("0123-2".into()), parts: 2, key: "k".into() },
        ..complete()
    };
    let conditional = Evidence { condition: WriteCondition::Absent, ..complete() };
    for (evidence, etag, after, fields, finding) in [
        (complete(), "\"0123-2\"", -600, vec![], Finding::Done),
        (complete(), "\"0123-2\"", -601, vec![], Finding::Unclear),
        (complete(), "\"0123-3\"", 0, vec![], Finding::Unclear),
        (forgotten.clone(), "\"0123-2\"", -1, vec![], Finding::Unclear),
        (forgotten, "\"0123-2\"", 0, vec![], Finding::Done),
        (named(complete()), "\"0123-2\"", 0, vec![], Finding::Unclear),
        (named(complete()), "\"0123-2\"", -9_999, vec![ours], Finding::Done),
        (named(complete()), "\"4567-2\"", 0, vec![ours], Finding::Unclear),
        (named(complete()), "\"4567-2\"", 0, vec![ours, kms], Finding::Done),
        (named(complete()), "\"4567-3\"", 0, vec![ours, kms], Finding::Unclear),
        (complete(), "\"4567-2\"", 0, vec![kms], Finding::Unclear),
        (conditional.clone(), "\"0123-2\"", 0, vec![], Finding::Unclear),
        (named(conditional.clone()), "\"0123-2\"", 0, vec![ours], Finding::Done),
        (named(conditional), "\"old\"", -60, vec![], Finding::ConditionFailed),
    ] {
        let fields: Vec<_> = fields.into_iter().chain([("x-amz-checksum-sha1", "unlike")]).collect();
        assert_eq!(found(&evidence, etag, after, &fields), finding, "{evidence:?} {etag} {after}");
    }
}

#[test]
fn what_is_no_object_is_told_apart() {
    let nothing = HeaderMap::new();
    for (status, finding) in [
        (404, Finding::Nothing),
        (403, Finding::Withheld),
        (400, Finding::Withheld),
        (301, Finding::Withheld),
        (500, Finding::Mute),
        (503, Finding::Mute),
        (429, Finding::Mute),
        (200, Finding::Unclear),
    ] {
        let heard = Heard { status, headers: &nothing, modified: None, acknowledged: false };
        assert_eq!(put(&[]).judge(&heard, &|_| None), finding, "{status}");
    }
}

#[test]
fn a_write_that_was_done_is_answered_from_its_objects_head() {
    let told = headers(&[
        ("etag", "\"0123-2\""),
        ("x-amz-version-id", "v"),
        ("x-amz-checksum-crc32", "AAAAAA=="),
        ("x-amz-server-side-encryption", "AES256"),
        ("content-length", "3"),
        ("content-type", "text/plain"),
        ("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ("x-amz-meta-a", "1"),
        ("x-amz-replication-status", "PENDING"),
    ]);
    let (headers, document) = put(&[]).answer(&told);
    let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["etag", "x-amz-checksum-crc32", "x-amz-server-side-encryption", "x-amz-version-id"]);
    assert_eq!(document, "");
    let (_, document) = complete().answer(&told);
    assert!(
        document
            .contains("<Key>k</Key><ETag>&quot;0123-2&quot;</ETag><ChecksumCRC32>AAAAAA==</ChecksumCRC32>")
    );
}

const PATIENCE: Duration = Duration::from_secs(30);

/// Looks until it is settled, each taking so long; what came of it, how many there were and when.
fn looks(
    loss: Loss,
    may_move: bool,
    takes: Duration,
    mut finds: impl FnMut(u32, Duration) -> Finding,
) -> (Fate, u32, Duration) {
    let began = Instant::now();
    let (mut now, mut count) = (began, 0);
    let mut inquiry = Inquiry::begin(loss, may_move, PATIENCE, now);
    loop {
        now += takes.min(inquiry.until().saturating_duration_since(now));
        count += 1;
        match inquiry.after(finds(count, now - began), 0.5, now) {
            Next::Settled(fate) => return (fate, count, now - began),
            Next::Look(pause) => now += pause,
        }
    }
}

#[test]
fn a_region_that_is_back_within_seconds_is_asked_again() {
    let quick = Duration::from_millis(5);
    let back = |_, at: Duration| if at >= Duration::from_secs(5) { Finding::Done } else { Finding::Mute };
    for loss in [Loss::Ended, Loss::Silence] {
        let (fate, count, at) = looks(loss, false, quick, back);
        assert_eq!(fate, Fate::Done);
        assert!(count <= 8 && at < Duration::from_secs(8), "{loss:?} {count} {at:?}");
        // elsewhere it would have been taken by then
        let (fate, count, at) = looks(loss, true, quick, back);
        assert!(fate == Fate::Unknown && count == 3 && at < Duration::from_secs(1), "{count} {at:?}");
    }
    let (fate, _, at) = looks(Loss::Ended, false, Duration::from_secs(2), |_, _| Finding::Mute);
    assert!(fate == Fate::Unknown && at <= Duration::from_secs(10), "{at:?}");
}

#[test]
fn what_is_not_there_is_looked_for_again_while_it_may_come() {
    let quick = Duration::from_millis(5);
    let nothing = |_, _| Finding::Nothing;
    for loss in [Loss::Fault, Loss::Gone] {
        assert_eq!(looks(loss, false, quick, nothing), (Fate::NotDone, 1, quick));
    }
    assert_eq!(looks(Loss::Fault, false, quick, |_, _| Finding::Mute), (Fate::Unknown, 1, quick));
    let (fate, count, at) = looks(Loss::Ended, false, quick, nothing);
    assert_eq!((fate, count), (Fate::NotDone, 2));
    assert!(at >= Duration::from_millis(250), "{at:?}");
    let late = |count, _| if count == 2 { Finding::Done } else { Finding::Nothing };
    assert_eq!(looks(Loss::Ended, false, quick, late).0, Fate::Done);
    // a region that fell silent may do it at any time
    assert_eq!(looks(Loss::Silence, false, quick, nothing).0, Fate::Unknown);
    for (finding, fate) in [(Finding::Unclear, Fate::Unclear), (Finding::Withheld, Fate::Unknown)] {
        assert_eq!(looks(Loss::Silence, false, quick, |_, _| finding), (fate, 1, quick));
    }
}

proptest! {
    /// Whatever is found: it ends in time, and done means seen.
    #[test]
    fn an_inquiry_ends(
        loss in prop::sample::select(vec![Loss::Ended, Loss::Silence, Loss::Fault, Loss::Gone]),
        may_move: bool,
        takes in 0_u64..3_000,
        finds in prop::collection::vec(0_usize..6, 1..20),
    ) {
        let all = [
            Finding::Done, Finding::ConditionFailed, Finding::Nothing, Finding::Unclear,
            Finding::Withheld, Finding::Mute,
        ];
        let mut seen = Vec::new();
        let (fate, count, at) = looks(loss, may_move, Duration::from_millis(takes), |count, _| {
            let finding = all[finds[(count as usize - 1) % finds.len()]];
            seen.push(finding);
            finding
        });
        prop_assert!(count <= 16 && at <= Duration::from_secs(10));
        let last = seen.last().copied();
        prop_assert_eq!(fate == Fate::Done, last == Some(Finding::Done));
        prop_assert_eq!(fate == Fate::ConditionFailed, last == Some(Finding::ConditionFailed));
        if fate == Fate::NotDone {
            prop_assert_eq!(last, Some(Finding::Nothing));
        }
    }
}
