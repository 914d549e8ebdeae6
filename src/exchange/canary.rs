//! The canary: one signed GET of a byte of the probe key, with the credential and the bucket in
//! question, that settles who is to blame for a 403 or a misplaced bucket. Requests that meet the
//! same doubt share the one that runs and reuse its verdict for a second.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::Method;
use tokio::sync::Mutex;

use super::attempt::{Desk, Failed, Try, attempt};
use super::run::{Errand, Exchange};
use crate::body::upload::Framing;
use crate::body::{Reply, Source};
use crate::fleet::Event;
use crate::head::Head;
use crate::names::{AccessPointName, BucketName, CredentialId, RegionId};
use crate::route::{Permit, Step};
use crate::s3::profile::Addressing;
use crate::s3::xml;
use crate::sigv4::PayloadMark;
use crate::view::RegionSettings;

/// How long a verdict is reused.
const REUSED: Duration = Duration::from_secs(1);
/// How long a canary may take.
const WAIT: Duration = Duration::from_secs(2);
/// Most of an error document that is read.
const DOCUMENT: usize = 64 * 1024;

/// What a canary found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Region, credential and bucket are fine: the answer in question is the client's.
    Clear,
    /// The store does not take this credential.
    CredentialRefused,
    /// The bucket is not there, or the signing region is wrong.
    ConfigurationRefused,
    /// The store denies access, which blames the credential only if it was let in before.
    Denied,
    /// Nobody answered.
    Silent,
}

/// Reads a canary's answer.
#[must_use]
pub fn finding(status: u16, code: Option<&str>) -> Finding {
    match (status, code) {
        (
            _,
            Some(
                "InvalidAccessKeyId"
                | "SignatureDoesNotMatch"
                | "ExpiredToken"
                | "InvalidToken"
                | "RequestTimeTooSkewed",
            ),
        ) => Finding::CredentialRefused,
        (_, Some("NoSuchBucket" | "PermanentRedirect" | "AuthorizationHeaderMalformed")) | (301 | 307, _) => {
            Finding::ConfigurationRefused
        }
        (200 | 206 | 416 | 404, _) => Finding::Clear,
        (401 | 403, _) => Finding::Denied,
        (500..=599, _) => Finding::Silent,
        _ => Finding::Clear,
    }
}

type Doubt = (RegionId, CredentialId, Option<BucketName>);

/// The canaries of one worker.
#[derive(Debug, Default)]
pub struct Canaries {
    slots: RefCell<BTreeMap<Doubt, Rc<Slot>>>,
}

#[derive(Debug, Default)]
struct Slot {
    /// Held by the one that asks.
    running: Mutex<()>,
    last: Cell<Option<(Instant, bool)>>,
    passed_before: Cell<bool>,
}

/// Doubts remembered at the most: regions × credentials × buckets of any real configuration.
const SLOTS: usize = 4096;

impl Canaries {
    fn slot(&self, doubt: Doubt) -> Rc<Slot> {
        let mut slots = self.slots.borrow_mut();
        if slots.len() >= SLOTS && !slots.contains_key(&doubt) {
            slots.clear();
        }
        Rc::clone(slots.entry(doubt).or_default())
    }
}

impl Exchange {
    /// Whether the region takes the credential and has the bucket, so that the answer in question
    /// is the client's own.
    pub(super) async fn ask_canary(&self, permit: &Permit, step: &Step, errand: &Errand<'_>) -> bool {
        let doubt = (step.region.clone(), permit.credential().clone(), step.bucket.clone());
        let slot = self.canaries.slot(doubt);
        let _turn = slot.running.lock().await;
        let now = self.clock.now().mono;
        if let Some((at, sound)) = slot.last.get()
            && now.saturating_duration_since(at) < REUSED
        {
            return sound;
        }
        let found = self.fly(step, errand).await;
        let sound = self.settle(found, permit, step, slot.passed_before.get());
        if found == Finding::Clear {
            slot.passed_before.set(true);
        }
        slot.last.set(Some((self.clock.now().mono, sound)));
        sound
    }

    /// Tells the steward what a finding means; true where the answer is the client's.
    fn settle(&self, found: Finding, permit: &Permit, step: &Step, passed_before: bool) -> bool {
        let credential = |sound| Event::CredentialJudged {
            region: step.region.clone(),
            credential: permit.credential().clone(),
            sound,
        };
        let access_point: AccessPointName = permit.access_point().name.clone();
        let configuration =
            |sound| Event::ConfigurationJudged { region: step.region.clone(), access_point, sound };
        match found {
            Finding::Clear => {
                self.steward.report(credential(true));
                self.steward.report(configuration(true));
                true
            }
            Finding::CredentialRefused => {
                self.steward.report(credential(false));
                false
            }
            Finding::Denied if passed_before => {
                self.steward.report(credential(false));
                false
            }
            Finding::ConfigurationRefused if !permit.access_point().is_wildcard() => {
                self.steward.report(configuration(false));
                false
            }
            Finding::ConfigurationRefused | Finding::Denied | Finding::Silent => true,
        }
    }

    async fn fly(&self, step: &Step, errand: &Errand<'_>) -> Finding {
        let view = self.view.load_full();
        let Some(lane) = self.lane(&view, &step.region) else { return Finding::Silent };
        let own = (errand.own_credential)(&step.region);
        let region = || self.credentials.current(&step.region, &CredentialId::Region);
        let Some(credential) = own.or_else(region) else { return Finding::CredentialRefused };
        let desk = Desk {
            clock: self.clock,
            timeouts: &view.timeouts,
            bell: &self.bell,
            keys: &self.keys,
            still_worth_waiting: &|_| true,
        };
        let now = self.clock.now().mono;
        let source = Source::empty();
        let this = Try {
            lane: &lane,
            head: head(&lane.settings, step.bucket.as_ref(), &lane.authority(step.bucket.as_ref())),
            source: &source,
            framing: Framing::Plain,
            payload: PayloadMark::Empty,
            credential: Some(credential),
            expect: false,
            patience: WAIT,
            repeatable: true,
            deadline: now + WAIT,
        };
        let answer = match attempt(&desk, this).await {
            Ok(answer) => answer,
            Err(Failed::Region(_) | Failed::Client(_)) => return Finding::Silent,
        };
        let status = answer.head.status.as_u16();
        let pace = crate::body::progress::Pace::over(WAIT);
        let connection = answer.connection;
        let body = Reply::stream(answer.body, pace, Box::new(move || drop(connection)));
        let document = tokio::time::timeout(WAIT, body.collect(DOCUMENT)).await.ok().flatten();
        let error = document.and_then(|document| xml::read_error(&document));
        finding(status, error.as_ref().map(|error| error.code.as_str()))
    }
}

/// The first byte of the probe key; of the list of buckets where no bucket is in question.
fn head(settings: &RegionSettings, bucket: Option<&BucketName>, authority: &str) -> Head {
    let base = &settings.endpoint.base_path;
    let target = match (settings.profile.addressing, bucket) {
        (_, None) => format!("{base}/"),
        (Addressing::Path, Some(bucket)) => format!("{base}/{bucket}/{}", settings.probe.key),
        (Addressing::Virtual, Some(_)) => format!("{base}/{}", settings.probe.key),
    };
    let mut head = Head::new(Method::GET, &target);
    head.push("host", authority.as_bytes());
    if bucket.is_some() {
        head.push("range", b"bytes=0-0");
    }
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blame_follows_the_code() {
        let table = [
            (206, None, Finding::Clear),
            (404, Some("NoSuchKey"), Finding::Clear),
            (416, Some("InvalidRange"), Finding::Clear),
            (403, Some("InvalidAccessKeyId"), Finding::CredentialRefused),
            (403, Some("SignatureDoesNotMatch"), Finding::CredentialRefused),
            (400, Some("ExpiredToken"), Finding::CredentialRefused),
            (404, Some("NoSuchBucket"), Finding::ConfigurationRefused),
            (301, Some("PermanentRedirect"), Finding::ConfigurationRefused),
            (400, Some("AuthorizationHeaderMalformed"), Finding::ConfigurationRefused),
            (403, Some("AccessDenied"), Finding::Denied),
            (503, Some("SlowDown"), Finding::Silent),
        ];
        for (status, code, expected) in table {
            assert_eq!(finding(status, code), expected, "{status} {code:?}");
        }
    }
}
