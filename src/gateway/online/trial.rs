//! `check --online --write`: puts a key that nobody has, asks all that a store may do of it, and takes it
//! away again, every version of it. A door; what the answers show is read in `reading`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;

use super::capability::{CHECKSUMS, Capability, Shown};
use super::compare::compared;
use super::fit::Fit;
use super::{Answer, Check, Found, Visit, judge, reading};
use crate::gateway::fresh_coin;
use crate::probe::survey::{Asked, Sent, Told};
use crate::s3::checksum::Algorithm;
use crate::s3::copy::{self, Part};
use crate::s3::profile::Addressing;
use crate::s3::query::encode;

/// How long one bucket may take to answer all that is asked of its capabilities, some 45 requests: what is
/// not answered by then is untold.
const PATIENCE: Duration = Duration::from_secs(90);
/// After a `SlowDown`: some stores take one write of a key a second. It is asked once more.
const SLOWED: Duration = Duration::from_millis(1100);
/// What is under a customer's key is encrypted with this: it is nobody's, and lives as long as the key.
const CUSTOMERS_KEY: [(&str, &str); 3] = [
    ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
    ("x-amz-server-side-encryption-customer-key", "bmVhcnBvaW50IGNoZWNrIC0tb25saW5lIC0td3JpdGU="),
    ("x-amz-server-side-encryption-customer-key-md5", "ARz0nfKE+SpAP5cHzUV66A=="),
];
/// A tag that no body has.
const NO_TAG: &str = "\"00000000000000000000000000000000\"";

/// What came of it.
pub(super) struct Tried {
    /// For the list of findings.
    pub(super) findings: Vec<(Check, Found)>,
    /// What was seen; empty where nothing could be put.
    pub(super) shown: Vec<(Capability, Shown)>,
    /// What it comes to, where anything was seen.
    pub(super) fit: Option<Fit>,
}

impl Tried {
    /// Nothing was put.
    pub(super) fn only(findings: Vec<(Check, Found)>) -> Self {
        Self { findings, shown: Vec::new(), fit: None }
    }
}

/// The key under way.
struct Trial<'a> {
    visit: &'a Visit<'a>,
    key: String,
    until: Instant,
    /// The versions that the store made of it.
    versions: BTreeSet<String>,
    shown: Vec<(Capability, Shown)>,
}

/// Tries everything, and leaves nothing.
pub(super) async fn run(visit: &Visit<'_>) -> Tried {
    let key = format!("{}-check-{:016x}", visit.region.probe.key, fresh_coin().bits());
    let until = visit.tools.clock.mono() + PATIENCE;
    let mut trial = Trial { visit, key, until, versions: BTreeSet::new(), shown: Vec::new() };
    let first = trial.put(&[], Sent::Hashed).await;
    // what was not plainly refused may be there
    let perhaps = !matches!(first, Ok(Told { status: 300..=499 | 501, .. }));
    let taken = judge::put(first);
    let written = taken == Found::Well;
    let mut findings = vec![(Check::Write, taken)];
    if written {
        trial.ask_all().await;
    }
    let compared = compared(&trial.shown, visit.region.profile);
    findings.extend(compared.into_iter().map(|(can, found)| (Check::Can(can), found)));
    if perhaps {
        findings.push((Check::Delete, trial.remove().await));
    }
    let shown = trial.shown;
    let fit = written.then(|| Fit::of(&shown, visit.region.profile));
    Tried { findings, shown, fit }
}

impl Trial<'_> {
    async fn ask_all(&mut self) {
        self.ask_for_conditions().await;
        self.ask_for_integrity().await;
        self.ask_for_settings().await;
        self.ask_for_encryption().await;
        self.ask_for_addressing().await;
    }

    async fn ask_for_conditions(&mut self) {
        let again = self.put(&[("if-none-match", "*")], Sent::Hashed).await;
        self.show(Capability::IfNoneMatch, reading::if_none_match(&again));
        let other = self.put(&[("if-match", NO_TAG)], Sent::Hashed).await;
        self.show(Capability::IfMatch, reading::if_match(&other));
        let end = self.end_upload(&[("if-none-match", "*")]).await;
        self.show(Capability::ConditionalComplete, reading::conditional_complete(end.as_ref()));
        let source = format!("/{}/{}", self.visit.bucket, self.key);
        let fields = [
            ("x-amz-copy-source", source.as_str()),
            // onto itself, it must change something
            ("x-amz-metadata-directive", "REPLACE"),
            ("if-none-match", "*"),
        ];
        let copied = self.ask(&Asked { fields: &fields, ..self.asked(Method::PUT) }).await;
        self.note_version(&copied);
        self.show(Capability::ConditionalCopy, reading::conditional_copy(&copied));
        let fields = [("if-match", NO_TAG)];
        let deleted = self.ask(&Asked { fields: &fields, ..self.asked(Method::DELETE) }).await;
        self.note_version(&deleted);
        self.show(Capability::ConditionalDelete, reading::conditional_delete(&deleted));
        if !matches!(deleted, Ok(Told { status: 400.., .. })) {
            // what is asked next is asked of a key that is there
            drop(self.put(&[], Sent::Hashed).await);
        }
    }

    /// Puts the key as an upload of one part, upon conditions: what its end is answered. Nothing of it is
    /// left where it is refused.
    async fn end_upload(&mut self, conditions: &[(&str, &str)]) -> Option<Answer> {
        let begun = self.ask(&Asked { query: Some("uploads="), ..self.asked(Method::POST) }).await.ok()?;
        let id = encode(&copy::upload_id(std::str::from_utf8(&begun.document).ok()?)?);
        let (part, upload) = (format!("partNumber=1&uploadId={id}"), format!("uploadId={id}"));
        let body = Bytes::from_static(judge::BODY);
        let put = self.ask(&Asked { query: Some(&part), body, ..self.asked(Method::PUT) }).await;
        let tag = put.ok().and_then(|told| told.header("etag").map(str::to_owned)).unwrap_or_default();
        let body = Bytes::from(copy::completion(&[Part { number: 1, etag: tag, checksum: None }]));
        let asked = Asked { query: Some(&upload), body, fields: conditions, ..self.asked(Method::POST) };
        let end = self.ask(&asked).await;
        self.note_version(&end);
        if !matches!(end, Ok(Told { status: 200..=299, .. })) {
            drop(self.ask(&Asked { query: Some(&upload), ..self.asked(Method::DELETE) }).await);
        }
        Some(end)
    }

    async fn ask_for_integrity(&mut self) {
        for algorithm in CHECKSUMS {
            let (own, other) = reading::checksums(algorithm);
            let right = self.put(&[(algorithm.header(), &own)], Sent::Hashed).await;
            let wrong = self.put(&[(algorithm.header(), &other)], Sent::Hashed).await;
            self.show(Capability::Checksum(algorithm), reading::checksum(algorithm, &right, &wrong));
        }
        // what most SDKs send
        let name = Algorithm::Crc32.header();
        let (own, other) = reading::checksums(Algorithm::Crc32);
        for (can, signed) in [(Capability::UnsignedTrailers, false), (Capability::SignedTrailers, true)] {
            let right = self.put(&[], Sent::Trailing { name, value: &own, signed }).await;
            let back = self.get(Method::GET, "").await;
            let wrong = self.put(&[], Sent::Trailing { name, value: &other, signed }).await;
            self.show(can, reading::trailers(signed, &right, &back, &wrong));
        }
        let wrong = self.put(&[], Sent::Mishashed).await;
        self.show(Capability::BodyHash, reading::body_hash(&wrong));
    }

    /// Behind all that reads the key: not everybody reads what is encrypted.
    async fn ask_for_encryption(&mut self) {
        const HOW: &str = "x-amz-server-side-encryption";
        const KEY: &str = "x-amz-server-side-encryption-aws-kms-key-id";
        let put = self.put(&[(HOW, "AES256")], Sent::Hashed).await;
        let head = self.get(Method::HEAD, "").await;
        self.show(Capability::Sse, reading::sse(&put, &head));
        let visit = self.visit;
        let mut fields = vec![(HOW, "aws:kms")];
        fields.extend(visit.region.kms_keys.any().map(|key| (KEY, key)));
        let put = self.put(&fields, Sent::Hashed).await;
        let head = self.get(Method::HEAD, "").await;
        self.show(Capability::SseKms, reading::sse_kms(&put, &head));
        let endpoint = &self.visit.region.endpoint;
        let shown = if endpoint.tls || endpoint.is_within_the_machine() {
            let put = self.put(&CUSTOMERS_KEY, Sent::Hashed).await;
            let bare = self.get(Method::HEAD, "").await;
            reading::sse_c(&put, &bare)
        } else {
            Shown::Untold("customers' keys do not go over plain http".to_owned())
        };
        self.show(Capability::SseC, shown);
    }

    async fn ask_for_settings(&mut self) {
        let lock = self.visit.bucket_get("object-lock=").await;
        self.show(Capability::ObjectLock, reading::object_lock(&lock));
        let (name, value) = reading::TAG;
        let put = self.put(&[("x-amz-tagging", &format!("{name}={value}"))], Sent::Hashed).await;
        let tags = self.get(Method::GET, "tagging=").await;
        let told = self.get(Method::GET, "acl=").await;
        let asked = Asked { query: Some("acl="), body: Bytes::new(), ..self.asked(Method::PUT) };
        // some want the hash of a body that sets something, even of none
        let private = [("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg=="), ("x-amz-acl", "private")];
        let set = self.ask(&Asked { fields: &private, ..asked }).await;
        self.show(Capability::Acl, reading::acl(&told, &set));
        self.show(Capability::Tagging, reading::tagging(&put, &tags));
        let versions = self.visit.bucket_get("max-keys=1&prefix=.nearpoint%2F&versions=").await;
        self.show(Capability::Versioning, reading::versioning(&versions));
        let wanted = [("x-amz-object-attributes", "ETag,ObjectSize")];
        let asked = Asked { query: Some("attributes="), ..self.asked(Method::GET) };
        let answer = self.ask(&Asked { fields: &wanted, ..asked }).await;
        self.show(Capability::Attributes, reading::attributes(&answer));
    }

    /// A bucket that is addressed by its host already has been.
    async fn ask_for_addressing(&mut self) {
        let visit = self.visit;
        let (host, bucket) = (&visit.region.endpoint.host, visit.bucket.as_str());
        let named = host.parse::<std::net::IpAddr>().is_err();
        let shown = if visit.site.addressing.is_in_host(bucket) {
            Shown::Has
        } else if named && Addressing::Virtual.is_in_host(bucket) {
            let mut site = visit.site.clone();
            site.addressing = Addressing::Virtual;
            let query = Some("list-type=2&max-keys=1&prefix=.nearpoint%2F");
            let asked = Asked { key: "", query, ..self.asked(Method::GET) };
            reading::virtual_hosts(&visit.ask_at(&site, &asked, self.deadline()).await)
        } else {
            Shown::Untold(format!("`{bucket}` goes into no host at `{host}`"))
        };
        self.show(Capability::VirtualHosts, shown);
    }

    fn show(&mut self, can: Capability, shown: Shown) {
        self.shown.push((can, shown));
    }

    async fn put(&mut self, fields: &[(&str, &str)], sent: Sent<'_>) -> Answer {
        let body = Bytes::from_static(judge::BODY);
        let asked = Asked { fields, body, sent, ..self.asked(Method::PUT) };
        let told = self.ask(&asked).await;
        self.note_version(&told);
        told
    }

    async fn get(&self, method: Method, query: &str) -> Answer {
        let query = Some(query).filter(|query| !query.is_empty());
        self.ask(&Asked { query, ..self.asked(method) }).await
    }

    fn asked(&self, method: Method) -> Asked<'_> {
        Asked { method, key: &self.key, query: None, fields: &[], body: Bytes::new(), sent: Sent::Hashed }
    }

    async fn ask(&self, asked: &Asked<'_>) -> Answer {
        let told = self.visit.ask_at(&self.visit.site, asked, self.deadline()).await;
        if !matches!(told, Ok(Told { status: 429 | 503, .. })) {
            return told;
        }
        tokio::time::sleep(SLOWED).await;
        self.visit.ask_at(&self.visit.site, asked, self.deadline()).await
    }

    fn deadline(&self) -> Instant {
        self.visit.deadline().min(self.until)
    }

    fn note_version(&mut self, told: &Answer) {
        let id = told
            .as_ref()
            .ok()
            .filter(|told| told.status < 300)
            .and_then(|told| told.header("x-amz-version-id"));
        self.versions.extend(id.map(str::to_owned));
    }

    /// Deletes the key; where versions were made of it, and of its end, each of them.
    async fn remove(&mut self) -> Found {
        let patient = |trial: &Self| trial.visit.deadline();
        let asked = self.asked(Method::DELETE);
        let told = self.visit.ask_at(&self.visit.site, &asked, patient(self)).await;
        self.note_version(&told);
        let found = judge::deleted(told, &self.key);
        // a store without versions may give ids all the same: there is nothing behind them
        let versioned =
            !self.shown.iter().any(|(can, what)| *can == Capability::Versioning && what.is_lack());
        if found != Found::Well || !versioned {
            return found;
        }
        let (mut left, mut last) = (0, None);
        for id in &self.versions {
            let query = format!("versionId={}", encode(id));
            let asked = Asked { query: Some(&query), ..self.asked(Method::DELETE) };
            let told = self.visit.ask_at(&self.visit.site, &asked, patient(self)).await;
            if !matches!(told, Ok(Told { status: 200..=299 | 404, .. })) {
                (left, last) = (left + 1, Some(told));
            }
        }
        last.map_or(Found::Well, |told| judge::left(left, &told, &self.key))
    }
}
