//! Settling a write whose answer was lost: whether the head of the object proves that the write
//! was done, that it was not, or neither; how often it is looked at; and what the client is told
//! of a write that was done. Pure.
//!
//! A write counts as done only if the bytes agree (a checksum, or an entity tag that is one), all
//! that was to be kept with them agrees, and the object is not older than the attempt by the
//! store's clock, in whole seconds. Of two equal conditional writes only one was done: they are
//! told apart by the nonce that each leaves in the metadata, and by nothing else. The parts of an
//! upload say its tag, `md5(md5s)-N`, and its beginning dates it: stores date the object by it.
//!
//! A write counts as not done only if what is there was there before it began: by its date, or
//! because it has the tag of the write that was acknowledged here last, and other bytes than this
//! one. That a multipart object is old says nothing: it is dated by a beginning that may lie long
//! before its end.

use std::time::{Duration, Instant};

use http::header::{CONTENT_LENGTH, ETAG};
use http::{HeaderMap, HeaderName};

use crate::names::WriteNonce;
use crate::s3::checksum::Algorithm;
use crate::s3::conditions::WriteCondition;
use crate::s3::kept::{Kept, NONCE};
use crate::s3::xml;
use crate::units::UnixSeconds;

/// Seconds by which an object must be older than an attempt to have been there before it: what a
/// clock that is learnt from dates may be wrong by, and the second that dates leave out.
const OLDER: i64 = 3;

/// How long a fate is looked into where the region must answer for it: a store that restarts, or a
/// path that converges anew, is back within seconds, and a client waits longer than this.
const LONG: Duration = Duration::from_secs(10);
/// The same where another region may take the write.
const SHORT: Duration = Duration::from_secs(2);
/// Looks within [`SHORT`].
const FEW: u32 = 3;
/// Looks within [`LONG`]: more than the pauses leave room for.
const MANY: u32 = 16;
/// The first pause between looks; each later one is twice as long, up to [`PAUSE_MOST`].
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MOST: Duration = Duration::from_secs(2);
/// How long after a first look that found nothing a second one must find nothing too: what was
/// taken whole before its connection ended is there by then.
const PAUSE_ABSENT: Duration = Duration::from_millis(250);

/// What shows that a write was done.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// What was to be written.
    pub write: Write,
    /// Under which condition.
    pub condition: WriteCondition,
    /// What it leaves in the metadata, and no other write does.
    pub nonce: Option<WriteNonce>,
    /// When the attempt began, by the store's clock.
    pub began: UnixSeconds,
}

/// A write that can be settled.
#[derive(Clone, Debug)]
pub enum Write {
    /// `PutObject`.
    Put {
        /// Bytes of the object.
        length: u64,
        /// What was to be kept with them.
        kept: Kept,
    },
    /// `CompleteMultipartUpload`.
    Complete {
        /// When the upload began, by the store's clock; `None` where nobody remembers.
        initiated: Option<UnixSeconds>,
        /// The tag that its parts make, without quotes; `None` where theirs are no MD5s.
        etag: Option<String>,
        /// How many parts it has.
        parts: usize,
        /// The object's key.
        key: String,
    },
}

/// Base64 of the digest that the written bytes have, or were declared to have; `None` where it is
/// not known.
pub type DigestOf<'a> = &'a dyn Fn(Algorithm) -> Option<String>;

/// What the region said of the object.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a> {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// `Last-Modified`.
    pub modified: Option<UnixSeconds>,
    /// It has the tag of the key's last write, which this region acknowledged to us before the
    /// attempt began.
    pub acknowledged: bool,
}

/// What one look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The write was done.
    Done,
    /// It was not, because its condition did not hold.
    ConditionFailed,
    /// Nothing of it is to be seen: no object, or one that was there before.
    Nothing,
    /// Another object, or one that proves nothing.
    Unclear,
    /// The region will not say.
    Withheld,
    /// The region did not answer, or cannot say now.
    Mute,
}

impl Evidence {
    /// Whether any answer could settle it: a conditional write without a nonce is never shown to be
    /// done, and only some conditions are ever shown to have failed.
    #[must_use]
    pub fn can_settle(&self) -> bool {
        match self.condition {
            WriteCondition::None | WriteCondition::Absent | WriteCondition::Matches(_) => true,
            WriteCondition::Other => self.nonce.is_some(),
        }
    }

    /// What an answer to HEAD shows.
    #[must_use]
    pub fn judge(&self, heard: &Heard<'_>, digest: DigestOf<'_>) -> Finding {
        match heard.status {
            200 => {}
            404 => return Finding::Nothing,
            429 | 500..=599 => return Finding::Mute,
            _ => return Finding::Withheld,
        }
        let etag = text(heard.headers, &ETAG).unwrap_or_default();
        if self.is_done(heard, etag, digest) {
            return Finding::Done;
        }
        let limit = self.began.0.saturating_sub(OLDER);
        let is_old = heard.modified.is_some_and(|at| at.0 < limit) && !is_multipart(etag);
        if self.condition != WriteCondition::None {
            let failed = is_old && self.condition.fails_upon(etag);
            return if failed { Finding::ConditionFailed } else { Finding::Unclear };
        }
        let was_there = is_old || (heard.acknowledged && self.is_another(heard.headers, etag, digest));
        if was_there { Finding::Nothing } else { Finding::Unclear }
    }

    /// Whether the object is known to have other bytes than this write.
    fn is_another(&self, headers: &HeaderMap, etag: &str, digest: DigestOf<'_>) -> bool {
        match &self.write {
            // no PUT leaves the tag of an upload, whatever its bytes are
            Write::Put { .. } => is_multipart(etag) || bytes_agree(headers, etag, digest) == Some(false),
            Write::Complete { etag: expected, .. } => {
                expected.as_deref().is_some_and(|expected| expected != bare(etag)) && !is_encrypted(headers)
            }
        }
    }

    fn is_done(&self, heard: &Heard<'_>, etag: &str, digest: DigestOf<'_>) -> bool {
        let shown = heard.headers.get(NONCE).map(|value| value.as_bytes().trim_ascii());
        let named = self.nonce.map(|nonce| shown == Some(nonce.to_string().as_bytes()));
        let not_before = |at: UnixSeconds| heard.modified.is_some_and(|modified| modified >= at);
        match (&self.write, named) {
            // of another write, or of an upload that nobody completed
            (_, Some(false)) => false,
            (Write::Put { .. }, Some(true)) => true,
            (_, None) if self.condition != WriteCondition::None => false,
            (Write::Put { length, kept }, None) => {
                length_of(heard.headers) == Some(*length)
                    && kept.agrees(heard.headers)
                    && not_before(self.began)
                    && bytes_agree(heard.headers, etag, digest) == Some(true)
            }
            (Write::Complete { initiated, etag: expected, parts, .. }, named) => {
                // Tags of encrypted parts are no MD5s, but there are as many.
                let same = expected.as_deref() == Some(bare(etag));
                let untold = expected.is_none() || is_encrypted(heard.headers);
                let alike = named.is_some() && untold && parts_of(etag) == Some(*parts);
                (same || alike || checksums_agree(heard.headers, digest) == Some(true))
                    && (named.is_some() || not_before(initiated.unwrap_or(self.began)))
            }
        }
    }

    /// What the client is told of a write that was done: the headers of the region's answer, and
    /// its document in the region's words, from what its HEAD said.
    #[must_use]
    pub fn answer(&self, headers: &HeaderMap) -> (HeaderMap, String) {
        let told = headers.iter().filter(|(name, _)| is_of_a_write(name.as_str()));
        let told: HeaderMap = told.map(|(name, value)| (name.clone(), value.clone())).collect();
        let document = match &self.write {
            Write::Put { .. } => String::new(),
            Write::Complete { key, .. } => {
                let etag = text(headers, &ETAG).unwrap_or_default();
                xml::complete_result(key, etag, &checksums(headers))
            }
        };
        (told, document)
    }
}

/// Whether a header of HEAD's answer is one that answers a write too.
fn is_of_a_write(name: &str) -> bool {
    const SAME: [&str; 4] = ["etag", "x-amz-expiration", "x-amz-request-charged", "x-amz-version-id"];
    SAME.contains(&name)
        || name.starts_with("x-amz-checksum-")
        || name.starts_with("x-amz-server-side-encryption")
}

/// Whether the object's bytes are those that were written; `None` where that cannot be told.
fn bytes_agree(headers: &HeaderMap, etag: &str, digest: DigestOf<'_>) -> Option<bool> {
    if let Some(agree) = checksums_agree(headers, digest) {
        return Some(agree);
    }
    // of ciphertext, or of parts, a tag is no digest of the bytes
    if is_multipart(etag) || is_encrypted(headers) {
        return None;
    }
    let digest = Algorithm::Md5.decode(&digest(Algorithm::Md5)?)?;
    Some(bare(etag).eq_ignore_ascii_case(&hex::encode(digest)))
}

/// Whether the checksums that the head shows are those of the written bytes; `None` where it shows
/// none that is known.
fn checksums_agree(headers: &HeaderMap, digest: DigestOf<'_>) -> Option<bool> {
    let known = checksums(headers);
    let mut compared = known.iter().filter_map(|(algorithm, theirs)| Some(digest(*algorithm)? == *theirs));
    let first = compared.next()?;
    Some(first && compared.all(|same| same))
}

/// The checksums that a head shows.
fn checksums(headers: &HeaderMap) -> Vec<(Algorithm, &str)> {
    let of = |algorithm: &Algorithm| {
        let value = headers.get(algorithm.header())?.to_str().ok()?;
        Some((*algorithm, value.trim()))
    };
    Algorithm::ALL.iter().filter_map(of).collect()
}

/// Whether the entity tag is of ciphertext, or of nothing at all.
fn is_encrypted(headers: &HeaderMap) -> bool {
    let by_key = headers.get("x-amz-server-side-encryption");
    by_key.is_some_and(|value| value.as_bytes().starts_with(b"aws:"))
        || headers.contains_key("x-amz-server-side-encryption-customer-algorithm")
}

fn is_multipart(etag: &str) -> bool {
    bare(etag).contains('-')
}

/// How many parts a tag is of.
fn parts_of(etag: &str) -> Option<usize> {
    bare(etag).rsplit_once('-')?.1.parse().ok()
}

fn bare(etag: &str) -> &str {
    etag.trim().trim_matches('"')
}

fn length_of(headers: &HeaderMap) -> Option<u64> {
    text(headers, &CONTENT_LENGTH)?.parse().ok()
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// How an answer was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The connection ended.
    Ended,
    /// The region fell silent: it may do yet what it was asked for.
    Silence,
    /// The region answered with a fault.
    Fault,
    /// It knows no such upload: any more, where it completed it a moment ago.
    Gone,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was done.
    Done,
    /// It was not, because its condition did not hold.
    ConditionFailed,
    /// It was not, and what was sent is gone.
    NotDone,
    /// Another object is there, newer than the write may be, or one that proves nothing: a repeat
    /// elsewhere might undo what somebody else was told is stored.
    Unclear,
    /// Nobody can say.
    Unknown,
}

impl Fate {
    /// As metrics are labelled, and as the access log says it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Done => "proven",
            Self::ConditionFailed | Self::NotDone => "refuted",
            Self::Unclear => "unclear",
            Self::Unknown => "unknown",
        }
    }
}

/// What follows a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It is settled.
    Settled(Fate),
    /// Another look, after this pause.
    Look(Duration),
}

/// Looks at one object, until its write is settled or it has been long enough.
#[derive(Clone, Debug)]
pub struct Inquiry {
    loss: Loss,
    until: Instant,
    looks_left: u32,
    pause: Duration,
    nothing_seen: bool,
}

impl Inquiry {
    /// Begins one. `may_move`: another region may take the write if this one does not settle it.
    /// `patience`: how long the answer itself would have been waited for (`timeouts.put_answer`);
    /// its settlement takes no longer.
    #[must_use]
    pub fn begin(loss: Loss, may_move: bool, patience: Duration, now: Instant) -> Self {
        let (time, looks_left) = match (loss, may_move) {
            // there is an answer, and whoever gives it is not well
            (Loss::Fault, _) => (SHORT, 1),
            (Loss::Gone, _) | (Loss::Ended | Loss::Silence, true) => (SHORT, FEW),
            (Loss::Ended | Loss::Silence, false) => (LONG, MANY),
        };
        Self { loss, until: now + time.min(patience), looks_left, pause: PAUSE_FIRST, nothing_seen: false }
    }

    /// When it has been long enough: no look takes longer.
    #[must_use]
    pub fn until(&self) -> Instant {
        self.until
    }

    /// What follows a look that found this. `share`, from 0 to 1, spreads those who wait for the
    /// same region.
    pub fn after(&mut self, finding: Finding, share: f64, now: Instant) -> Next {
        self.looks_left = self.looks_left.saturating_sub(1);
        match finding {
            Finding::Done => return Next::Settled(Fate::Done),
            Finding::ConditionFailed => return Next::Settled(Fate::ConditionFailed),
            Finding::Unclear => return Next::Settled(Fate::Unclear),
            Finding::Withheld => return Next::Settled(Fate::Unknown),
            Finding::Nothing => match (self.loss, std::mem::replace(&mut self.nothing_seen, true)) {
                (Loss::Fault | Loss::Gone, _) | (Loss::Ended, true) => return Next::Settled(Fate::NotDone),
                (Loss::Ended, false) => return self.again(PAUSE_ABSENT, now),
                (Loss::Silence, _) => {}
            },
            Finding::Mute => {}
        }
        let pause = self.pause.mul_f64(0.75 + share.clamp(0.0, 1.0) / 2.0);
        self.pause = (self.pause * 2).min(PAUSE_MOST);
        self.again(pause, now)
    }

    fn again(&self, pause: Duration, now: Instant) -> Next {
        let in_time = self.looks_left > 0 && now + pause < self.until;
        if in_time { Next::Look(pause) } else { Next::Settled(Fate::Unknown) }
    }
}
