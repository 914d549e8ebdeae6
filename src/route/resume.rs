//! Going on with a reply body that broke off: what may be asked of which region, and whether what
//! it answers is the rest of the same object. Pure.
//!
//! The rest is taken only where its range goes on exactly to the same end, and where a validator
//! says that it is of the same version, in this order: the same checksum of the full object, the
//! same version id where ids survive replication (`versions: shared`), the same strong entity tag
//! and size where the operator says that equal bytes have equal tags (`etags: stable`). In the
//! region that it broke off in, the same strong entity tag and size always suffice (RFC 9110
//! §8.8.1, §14.2). A validator that disagrees ends it, whatever a later one would say.

use std::time::Duration;

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG};
use http::{HeaderMap, HeaderName, StatusCode};

use super::access_point::{AccessPoint, Etags, Versions};
use super::plan::{Plan, Steps};
use crate::names::RegionId;
use crate::s3::profile::{Feature, Features};
use crate::s3::range::{ContentRange, Range};

/// How long a client may read nothing before a cut is taken for the store's own patience with it:
/// shorter than any store's that we know of (the shortest gives up after 10 s), longer than a
/// client that is merely busy.
const LONG_PAUSE: Duration = Duration::from_secs(5);

/// What became of a reply body that did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Its connection ended.
    Cut,
    /// The region sent too little for too long.
    Stalled,
    /// It stands still, and its region answers nobody or is out. It may yet go on: the rest is asked
    /// for elsewhere only.
    Silent,
}

/// How a reply body broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Bytes of it that the client's connection has taken.
    pub delivered: u64,
    /// What became of it.
    pub how: How,
    /// The longest time for which the client had taken nothing, shortly before.
    pub unread: Duration,
}

impl Broken {
    /// The client had stopped reading for so long that the store may have given up on it: not the
    /// region's fault, and the same region goes on first.
    #[must_use]
    pub fn by_reader(&self) -> bool {
        self.how == How::Cut && self.unread >= LONG_PAUSE
    }

    /// As attempts are logged and counted.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self.how {
            How::Stalled => "stalled",
            How::Silent => "silent",
            How::Cut if self.by_reader() => "cut after a pause",
            How::Cut => "cut",
        }
    }
}

/// What the operator says that regions have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// A version id names the same bytes in every region.
    pub versions_shared: bool,
    /// The same bytes have the same entity tag in every region.
    pub etags_stable: bool,
}

impl Terms {
    /// Those of an access point.
    #[must_use]
    pub fn of(access_point: &AccessPoint) -> Self {
        Self {
            versions_shared: access_point.versions == Versions::Shared,
            etags_stable: access_point.etags == Etags::Stable,
        }
    }
}

/// What is known of the version of an object whose bytes a client is being given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Where it was read last.
    region: RegionId,
    /// What the reply carries of the object; `None` where its length was never told.
    range: Option<ContentRange>,
    /// Its entity tag in that region, where it is a strong one.
    etag: Option<String>,
    version: Option<String>,
    /// Of the full object: its header's name and its value.
    checksum: Option<(HeaderName, String)>,
    encoding: Option<String>,
}

/// What is asked of a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The missing bytes; `None` asks for the head of the object only.
    pub range: Option<Range>,
    /// `If-Match`.
    pub if_match: Option<String>,
    /// The checksum of the full object is wanted too.
    pub checksums: bool,
}

/// What a region's answer is to a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The rest of the same version; the thread goes on there.
    Same(Thread),
    /// The right bytes by their place, but nothing says of which version: the head of the object
    /// may ([`Thread::confirmed`]).
    Unproven,
    /// Another version, another place, or no such answer at all.
    Different,
}

/// What two heads say of the versions that they are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Agreement {
    Same,
    Unproven,
    Different,
}

impl Thread {
    /// What a region's first answer says. `None` where it is not one range of an object, or
    /// contradicts itself: then nothing can go on with it.
    #[must_use]
    pub fn of(region: &RegionId, status: StatusCode, headers: &HeaderMap) -> Option<Self> {
        let range = match status {
            StatusCode::OK if headers.contains_key(CONTENT_RANGE) => return None,
            StatusCode::OK => match length(headers) {
                Some(length) => Some(ContentRange::whole(length)?),
                // Coded on the way: another answer may be coded otherwise.
                None if headers.contains_key(CONTENT_ENCODING) => return None,
                None => None,
            },
            StatusCode::PARTIAL_CONTENT => {
                let range = ContentRange::parse(text(headers, &CONTENT_RANGE)?)?;
                if length(headers).is_some_and(|length| length != range.length()) {
                    return None;
                }
                Some(range)
            }
            _ => return None,
        };
        Some(Self {
            region: region.clone(),
            range,
            etag: strong(headers).map(str::to_owned),
            version: version(headers).map(str::to_owned),
            checksum: checksum(headers).map(|(name, value)| (name.clone(), value.to_owned())),
            encoding: text(headers, &CONTENT_ENCODING).map(str::to_owned),
        })
    }

    /// Where it was read last.
    #[must_use]
    pub fn region(&self) -> &RegionId {
        &self.region
    }

    /// Bytes of the whole reply, where told.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        self.range.map(|range| range.length())
    }

    /// Whether nothing is missing after so many bytes.
    #[must_use]
    pub fn is_complete(&self, delivered: u64) -> bool {
        self.total() == Some(delivered)
    }

    /// Whether a region other than [`Self::region`] could prove to have the same version.
    #[must_use]
    pub fn crosses(&self, terms: Terms) -> bool {
        self.checksum.is_some()
            || (terms.versions_shared && self.version.is_some())
            || (terms.etags_stable && self.etag.is_some() && self.size().is_some())
    }

    /// Whether this region, whose store honours these features, could prove it.
    fn may_continue_in(&self, region: &RegionId, honours: Features, terms: Terms) -> bool {
        if *region == self.region {
            return self.etag.is_some() || self.version.is_some() || self.checksum.is_some();
        }
        let by_checksum = self.checksum.is_some() && honours.has(Feature::Checksums);
        by_checksum || Self { checksum: None, ..self.clone() }.crosses(terms)
    }

    /// The object's size, where told.
    fn size(&self) -> Option<u64> {
        self.range.and_then(|range| range.whole)
    }

    /// What to ask of a region for what is missing after `delivered` bytes, or (where the length
    /// was never told) for the head that tells it.
    #[must_use]
    pub fn ask(&self, region: &RegionId, delivered: u64, honours: Features, terms: Terms) -> Ask {
        let range = self.range.and_then(|range| range.remaining(delivered));
        Ask { range, ..self.ask_head(region, honours, terms) }
    }

    /// What to ask of a region for the head of the object.
    #[must_use]
    pub fn ask_head(&self, region: &RegionId, honours: Features, terms: Terms) -> Ask {
        let comparable = *region == self.region || terms.etags_stable;
        Ask {
            range: None,
            if_match: self.etag.clone().filter(|_| comparable),
            checksums: self.checksum.is_some() && honours.has(Feature::Checksums),
        }
    }

    /// Judges the answer to [`Self::ask`] for a range.
    #[must_use]
    pub fn heard(
        &self,
        region: &RegionId,
        delivered: u64,
        terms: Terms,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Heard {
        let told = text(headers, &CONTENT_RANGE).and_then(ContentRange::parse);
        let (Some(range), Some(told), StatusCode::PARTIAL_CONTENT) = (self.range, told, status) else {
            return Heard::Different;
        };
        let framed = length(headers).is_none_or(|length| length == told.length());
        if !framed || !range.continues(delivered, &told) {
            return Heard::Different;
        }
        match self.agrees(region, terms, told.whole, headers) {
            Agreement::Same => Heard::Same(self.moved(region, range.whole.or(told.whole), headers)),
            Agreement::Unproven => Heard::Unproven,
            Agreement::Different => Heard::Different,
        }
    }

    /// The thread as the head of the object in another region continues it: its tag there, and its
    /// length where that was never told. `None` where that head is not proven to be of the same
    /// version, or of one shorter than what was delivered.
    #[must_use]
    pub fn confirmed(
        &self,
        region: &RegionId,
        delivered: u64,
        terms: Terms,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Option<Self> {
        let size = length(headers)?;
        if status != StatusCode::OK || self.agrees(region, terms, Some(size), headers) != Agreement::Same {
            return None;
        }
        let mut thread = self.moved(region, Some(size), headers);
        if thread.range.is_none() {
            thread.range = ContentRange::whole(size);
        }
        thread.total().is_some_and(|total| delivered <= total).then_some(thread)
    }

    fn moved(&self, region: &RegionId, size: Option<u64>, headers: &HeaderMap) -> Self {
        Self {
            region: region.clone(),
            range: self.range.map(|range| ContentRange { whole: size, ..range }),
            etag: strong(headers).map(str::to_owned),
            ..self.clone()
        }
    }

    /// Compares what both know, strongest first.
    fn agrees(&self, region: &RegionId, terms: Terms, size: Option<u64>, headers: &HeaderMap) -> Agreement {
        let same_region = *region == self.region;
        let differs = |one: Option<&str>, other: Option<&str>| one != other;
        if differs(self.encoding.as_deref(), text(headers, &CONTENT_ENCODING)) {
            return Agreement::Different;
        }
        if self.size().is_some() && size.is_some() && self.size() != size {
            return Agreement::Different;
        }
        if let (Some((name, mine)), Some((theirs_name, theirs))) = (&self.checksum, checksum(headers))
            && name == theirs_name
        {
            return judged(mine == theirs);
        }
        let versions = self.version.as_deref().zip(version(headers));
        let etags = self.etag.as_deref().zip(strong(headers));
        // A length that was never told cannot differ: in one region the tag alone is proof enough.
        let sized = (size.is_some() && self.size() == size) || (same_region && self.range.is_none());
        match (same_region, versions, etags) {
            (true, _, Some((mine, theirs))) if sized => judged(mine == theirs),
            (true, Some((mine, theirs)), _) => judged(mine == theirs),
            (false, Some((mine, theirs)), _) if terms.versions_shared => judged(mine == theirs),
            (false, _, Some((mine, theirs))) if terms.etags_stable => {
                if mine != theirs {
                    Agreement::Different
                } else if sized {
                    Agreement::Same
                } else {
                    Agreement::Unproven
                }
            }
            _ => Agreement::Unproven,
        }
    }
}

fn judged(same: bool) -> Agreement {
    if same { Agreement::Same } else { Agreement::Different }
}

/// The regions of a fresh plan that could go on, in order: the one that it broke off in first
/// where its store had merely lost patience with a client that did not read, else last; not at all
/// where it answers nobody.
#[must_use]
pub fn order(
    plan: &Plan,
    thread: &Thread,
    broken: &Broken,
    terms: Terms,
    honours: &dyn Fn(&RegionId) -> Features,
    tried: &[RegionId],
) -> Steps {
    let silent = |region: &RegionId| broken.how == How::Silent && *region == thread.region;
    let able = plan.steps.iter().filter(|step| {
        !tried.contains(&step.region)
            && !silent(&step.region)
            && thread.may_continue_in(&step.region, honours(&step.region), terms)
    });
    let mut steps: Steps = able.cloned().collect();
    let here_first = broken.by_reader();
    steps.sort_by_key(|step| (step.region == thread.region) != here_first);
    steps
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

fn length(headers: &HeaderMap) -> Option<u64> {
    text(headers, &CONTENT_LENGTH)?.trim().parse().ok()
}

/// A strong entity tag, quotes and all.
fn strong(headers: &HeaderMap) -> Option<&str> {
    text(headers, &ETAG).map(str::trim).filter(|etag| !etag.starts_with("W/") && !etag.is_empty())
}

/// A version id that names a version: the one of an object without versions names any.
fn version(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get("x-amz-version-id")?.to_str().ok()?;
    (id != "null" && !id.is_empty()).then_some(id)
}

/// A checksum of the full object. One of a part, or one made of the parts' checksums, says nothing
/// about the object in another region.
fn checksum(headers: &HeaderMap) -> Option<(&HeaderName, &str)> {
    let whole = headers.get("x-amz-checksum-type")?.as_bytes().eq_ignore_ascii_case(b"FULL_OBJECT");
    let mut sums = headers.iter().filter(|(name, _)| {
        let name = name.as_str().strip_prefix("x-amz-checksum-");
        name.is_some_and(|name| !matches!(name, "type" | "mode" | "algorithm"))
    });
    let (name, value) = sums.next().filter(|_| whole)?;
    Some((name, value.to_str().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OPAQUE: Terms = Terms { versions_shared: false, etags_stable: false };
    const STABLE: Terms = Terms { versions_shared: false, etags_stable: true };
    const SHARED: Terms = Terms { versions_shared: true, etags_stable: false };
    const ALL: Features = Features::of(&Feature::ALL);

    fn here() -> RegionId {
        RegionId::new("here")
    }

    fn there() -> RegionId {
        RegionId::new("there")
    }

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let name = |name: &str| HeaderName::try_from(name).unwrap();
        lines.iter().map(|(line, value)| (name(line), value.parse().unwrap())).collect()
    }

    /// 100 bytes, of which a region gave none, some or all.
    fn whole(more: &[(&str, &str)]) -> Thread {
        let lines = [&[("content-length", "100"), ("etag", "\"a\"")], more].concat();
        Thread::of(&here(), StatusCode::OK, &headers(&lines)).unwrap()
    }

    fn rest(region: &RegionId, thread: &Thread, terms: Terms, more: &[(&str, &str)]) -> Heard {
        let lines = [&[("content-range", "bytes 40-99/100"), ("content-length", "60")], more].concat();
        thread.heard(region, 40, terms, StatusCode::PARTIAL_CONTENT, &headers(&lines))
    }

    fn is_same(heard: &Heard) -> bool {
        matches!(heard, Heard::Same(_))
    }

    #[test]
    fn first_answers_that_say_what_they_are_can_be_gone_on_with() {
        let of = |status: u16, lines: &[(&str, &str)]| {
            Thread::of(&here(), StatusCode::from_u16(status).unwrap(), &headers(lines))
        };
        let told = |status, lines| of(status, lines).map(|thread| thread.total());
        assert_eq!(told(200, &[("content-length", "7")]), Some(Some(7)));
        assert_eq!(told(200, &[]), Some(None), "sent without a length");
        assert_eq!(told(206, &[("content-range", "bytes 5-9/20"), ("content-length", "5")]), Some(Some(5)));
        assert_eq!(told(206, &[("content-range", "bytes 5-9/*")]), Some(Some(5)));
        for (status, lines) in [
            (200, &[("content-length", "0")][..]),
            (200, &[("content-range", "bytes 0-9/10")]),
            (200, &[("content-encoding", "gzip")]),
            (206, &[("content-type", "multipart/byteranges; boundary=x")]),
            (206, &[("content-range", "bytes 5-9/20"), ("content-length", "6")]),
            (206, &[("content-range", "bytes 9-5/20")]),
            (304, &[("etag", "\"a\"")]),
            (404, &[("content-length", "7")]),
        ] {
            assert_eq!(told(status, lines), None, "{status} {lines:?}");
        }
    }

    #[test]
    fn what_is_asked_for_is_what_is_missing() {
        let thread = whole(&[("x-amz-checksum-type", "FULL_OBJECT"), ("x-amz-checksum-crc32", "x")]);
        let ask = |region: &RegionId, honours, terms| thread.ask(region, 40, honours, terms);
        let same = ask(&here(), ALL, OPAQUE);
        assert_eq!(same.range.unwrap().to_string(), "bytes=40-99");
        assert_eq!((same.if_match.as_deref(), same.checksums), (Some("\"a\""), true));
        assert_eq!(ask(&there(), ALL, OPAQUE).if_match, None, "another region's tag is another");
        assert_eq!(ask(&there(), ALL, STABLE).if_match.as_deref(), Some("\"a\""));
        assert!(!ask(&there(), Features::NONE, OPAQUE).checksums);
        let ranged = headers(&[("content-range", "bytes 10-19/100"), ("etag", "\"a\"")]);
        let ranged = Thread::of(&here(), StatusCode::PARTIAL_CONTENT, &ranged).unwrap();
        assert_eq!(ranged.ask(&here(), 0, ALL, OPAQUE).range.unwrap().to_string(), "bytes=10-19");
        assert_eq!(ranged.ask(&here(), 9, ALL, OPAQUE).range.unwrap().to_string(), "bytes=19-19");
        assert!(ranged.is_complete(10) && ranged.ask(&here(), 10, ALL, OPAQUE).range.is_none());
    }

    #[test]
    fn validators_count_in_their_order() {
        const SUM: &[(&str, &str)] =
            &[("x-amz-checksum-type", "FULL_OBJECT"), ("x-amz-checksum-crc64nvme", "s")];
        const OTHER_SUM: &[(&str, &str)] =
            &[("x-amz-checksum-type", "FULL_OBJECT"), ("x-amz-checksum-crc64nvme", "t")];
        const PARTS: &[(&str, &str)] =
            &[("x-amz-checksum-type", "COMPOSITE"), ("x-amz-checksum-crc64nvme", "s")];
        const TAG: (&str, &str) = ("etag", "\"a\"");
        const OTHER_TAG: (&str, &str) = ("etag", "\"b\"");
        const WEAK: (&str, &str) = ("etag", "W/\"a\"");
        const VERSION: (&str, &str) = ("x-amz-version-id", "v");
        const OTHER_VERSION: (&str, &str) = ("x-amz-version-id", "w");
        let both = |one: &[(&'static str, &'static str)], more: &[_]| [one, more].concat();
        // what the first answer said beside its tag, in which region the rest is, on which terms,
        // what the rest says, and what that proves
        let table = [
            (vec![], here(), OPAQUE, vec![TAG], Some(true)),
            (vec![], here(), OPAQUE, vec![OTHER_TAG], Some(false)),
            (vec![], here(), OPAQUE, vec![WEAK], None),
            (vec![], there(), OPAQUE, vec![TAG], None),
            (vec![], there(), STABLE, vec![TAG], Some(true)),
            (vec![], there(), STABLE, vec![OTHER_TAG], Some(false)),
            (vec![VERSION], there(), OPAQUE, vec![TAG, VERSION], None),
            (vec![VERSION], there(), SHARED, vec![OTHER_TAG, VERSION], Some(true)),
            (vec![VERSION], there(), SHARED, vec![TAG, OTHER_VERSION], Some(false)),
            (vec![("x-amz-version-id", "null")], there(), SHARED, vec![("x-amz-version-id", "null")], None),
            (SUM.to_vec(), there(), OPAQUE, both(SUM, &[OTHER_TAG]), Some(true)),
            (SUM.to_vec(), there(), STABLE, both(OTHER_SUM, &[TAG]), Some(false)),
            (SUM.to_vec(), here(), OPAQUE, both(OTHER_SUM, &[TAG]), Some(false)),
            (SUM.to_vec(), there(), OPAQUE, both(PARTS, &[TAG]), None),
            (PARTS.to_vec(), there(), OPAQUE, both(SUM, &[TAG]), None),
            (PARTS.to_vec(), there(), STABLE, both(PARTS, &[TAG]), Some(true)),
            (vec![], here(), OPAQUE, vec![TAG, ("content-encoding", "gzip")], Some(false)),
        ];
        for (said, region, terms, says, proves) in table {
            let heard = rest(&region, &whole(&said), terms, &says);
            let proven = match &heard {
                Heard::Same(_) => Some(true),
                Heard::Unproven => None,
                Heard::Different => Some(false),
            };
            assert_eq!(proven, proves, "{said:?}, then in {region} {says:?}");
        }
    }

    #[test]
    fn the_rest_goes_on_exactly_or_not_at_all() {
        let thread = whole(&[]);
        let heard = |status: u16, lines: &[(&str, &str)]| {
            let lines = [&[("etag", "\"a\"")], lines].concat();
            thread.heard(&here(), 40, OPAQUE, StatusCode::from_u16(status).unwrap(), &headers(&lines))
        };
        assert!(is_same(&heard(206, &[("content-range", "bytes 40-99/100")])));
        for (status, lines) in [
            (200, &[("content-length", "60")][..]),
            (200, &[("content-range", "bytes 40-99/100")]),
            (206, &[]),
            (206, &[("content-range", "bytes 39-99/100")]),
            (206, &[("content-range", "bytes 41-99/100")]),
            (206, &[("content-range", "bytes 40-98/100")]),
            (206, &[("content-range", "bytes 40-100/101")]),
            (206, &[("content-range", "bytes 40-99/101")]),
            (206, &[("content-range", "bytes 40-99/100"), ("content-length", "59")]),
            (206, &[("content-range", "bytes */100")]),
            (412, &[]),
            (416, &[("content-range", "bytes */40")]),
        ] {
            assert_eq!(heard(status, lines), Heard::Different, "{status} {lines:?}");
        }
    }

    #[test]
    fn a_head_says_what_a_range_does_not() {
        let sum = [("x-amz-checksum-type", "FULL_OBJECT"), ("x-amz-checksum-crc32", "s")];
        let thread = whole(&sum);
        // the tag ties the head to the range
        assert_eq!(rest(&there(), &thread, OPAQUE, &[("etag", "\"b\"")]), Heard::Unproven);
        let head = headers(&[&[("content-length", "100"), ("etag", "\"b\"")], &sum[..]].concat());
        let confirmed = thread.confirmed(&there(), 40, OPAQUE, StatusCode::OK, &head).unwrap();
        assert!(is_same(&rest(&there(), &confirmed, OPAQUE, &[("etag", "\"b\"")])));
        assert_eq!(rest(&there(), &confirmed, OPAQUE, &[("etag", "\"c\"")]), Heard::Different);
        let shorter = headers(&[&[("content-length", "99"), ("etag", "\"b\"")], &sum[..]].concat());
        assert_eq!(thread.confirmed(&there(), 40, OPAQUE, StatusCode::OK, &shorter), None);
    }

    #[test]
    fn a_reply_without_a_length_learns_it_from_the_head() {
        let thread = Thread::of(&here(), StatusCode::OK, &headers(&[("etag", "\"a\"")])).unwrap();
        assert_eq!(thread.ask(&here(), 40, ALL, OPAQUE).range, None);
        let head = |length: &str| headers(&[("content-length", length), ("etag", "\"a\"")]);
        let confirmed = |region: &RegionId, length: &str, terms| {
            thread.confirmed(region, 40, terms, StatusCode::OK, &head(length))
        };
        assert_eq!(confirmed(&here(), "100", OPAQUE).unwrap().total(), Some(100));
        assert!(confirmed(&here(), "40", OPAQUE).unwrap().is_complete(40));
        assert_eq!(confirmed(&here(), "39", OPAQUE), None, "shorter than what was delivered");
        assert_eq!(confirmed(&there(), "100", STABLE), None, "equal tags prove nothing without a size");
    }

    #[test]
    fn a_client_that_read_nothing_for_long_is_why_a_store_hung_up() {
        let broken = |how, secs| Broken { delivered: 1, how, unread: Duration::from_secs(secs) };
        assert!(broken(How::Cut, 5).by_reader() && !broken(How::Cut, 4).by_reader());
        assert!(
            !broken(How::Stalled, 60).by_reader(),
            "a stall is of the region: its clock runs while we read"
        );
    }

    /// A version of an object, as an honest store describes it. Equal labels, equal versions.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Version {
        id: u8,
        size: u64,
    }

    /// What one region answers: which version, cut how far off the mark, with which validators.
    #[derive(Clone, Debug)]
    #[expect(clippy::struct_excessive_bools, reason = "each is one thing that a head may say or not")]
    struct Claim {
        version: u8,
        status: u16,
        first_off: i8,
        last_off: i8,
        size_off: i8,
        tag: bool,
        weak: bool,
        version_id: bool,
        checksum: bool,
        elsewhere: bool,
        breaks_after: u64,
    }

    fn claims() -> impl Strategy<Value = Claim> {
        let off = || prop_oneof![6 => Just(0_i8), 1 => -2..3_i8];
        let place = (prop_oneof![4 => Just(206_u16), 1 => Just(200)], off(), off(), off());
        let labels = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
        (0..2_u8, place, labels, 0..40_u64).prop_map(|(version, place, labels, breaks_after)| Claim {
            version,
            status: place.0,
            first_off: place.1,
            last_off: place.2,
            size_off: place.3,
            tag: labels.0,
            weak: labels.1,
            version_id: labels.2,
            checksum: labels.3,
            elsewhere: labels.4,
            breaks_after,
        })
    }

    impl Claim {
        fn region(&self) -> RegionId {
            if self.elsewhere { there() } else { here() }
        }

        fn labels(&self, version: Version, lines: &mut Vec<(String, String)>) {
            let id = version.id;
            let mut say = |name: &str, value: String| lines.push((name.to_owned(), value));
            if self.tag {
                say("etag", format!("{}\"{id}\"", if self.weak { "W/" } else { "" }));
            }
            if self.version_id {
                say("x-amz-version-id", format!("v{id}"));
            }
            if self.checksum {
                say("x-amz-checksum-type", "FULL_OBJECT".to_owned());
                say("x-amz-checksum-crc64nvme", format!("sum-{id}"));
            }
        }

        /// The head of the answer, and the bytes that follow it: those that its range says.
        fn answer(&self, version: Version, from: u64) -> (HeaderMap, Vec<(u8, u64)>) {
            let first = from.saturating_add_signed(self.first_off.into());
            let last = (version.size - 1).saturating_add_signed(self.last_off.into());
            let size = version.size.saturating_add_signed(self.size_off.into());
            let mut lines = vec![("content-range".to_owned(), format!("bytes {first}-{last}/{size}"))];
            self.labels(version, &mut lines);
            let lines: Vec<(&str, &str)> =
                lines.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let bytes = (first..=last).map(|at| (version.id, at)).collect();
            (headers(&lines), bytes)
        }
    }

    proptest! {
        /// Whatever continuations claim, what is delivered is a piece of one version, or it ends.
        #[test]
        fn two_versions_never_meet_in_one_body(
            sizes in (20_u64..24, 20_u64..24),
            start in 0_u64..10,
            first in claims(),
            rest in proptest::collection::vec(claims(), 1..6),
            terms in (any::<bool>(), any::<bool>()),
        ) {
            let terms = Terms { versions_shared: terms.0, etags_stable: terms.1 };
            let version = |claim: &Claim| Version { id: claim.version, size: [sizes.0, sizes.1][usize::from(claim.version)] };
            // the first answer is honest about its place: there is nothing to hold it against
            let honest = Claim { first_off: 0, last_off: 0, size_off: 0, elsewhere: false, ..first };
            let truth = version(&honest);
            let (head, bytes) = honest.answer(truth, start);
            let mut thread = Thread::of(&here(), StatusCode::PARTIAL_CONTENT, &head).unwrap();
            let wanted = bytes.clone();
            let mut delivered: Vec<(u8, u64)> =
                bytes.into_iter().take(usize::try_from(honest.breaks_after).unwrap()).collect();
            for claim in rest {
                let count = delivered.len() as u64;
                if thread.is_complete(count) {
                    break;
                }
                let (head, bytes) = claim.answer(version(&claim), start + count);
                let status = StatusCode::from_u16(claim.status).unwrap();
                let Heard::Same(next) = thread.heard(&claim.region(), count, terms, status, &head) else {
                    continue;
                };
                thread = next;
                delivered.extend(bytes.into_iter().take(usize::try_from(claim.breaks_after).unwrap()));
                prop_assert!(wanted.starts_with(&delivered), "{wanted:?} is not what was delivered: {delivered:?}");
            }
            prop_assert!(wanted.starts_with(&delivered));
            prop_assert_eq!(thread.is_complete(delivered.len() as u64), delivered == wanted);
        }
    }
}
