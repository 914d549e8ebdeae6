//! One probe, one canary: a signed request over a connection of its own. A door.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;
use tokio::time::timeout_at;

use super::verdict::{CanaryVerdict, verdict};
use super::{ProbeTarget, Tools};
use crate::certificate;
use crate::dns::accrual::{Blame, Failure};
use crate::exchange::addresses::Pulse;
use crate::exchange::dial::{DialFault, DialTimeouts, Stream, Target, dial};
use crate::exchange::moved::{self, Place};
use crate::exchange::tls::TlsClient;
use crate::fleet::{Never, ProbeFault};
use crate::head::Head;
use crate::names::{BucketName, RegionId};
use crate::route::Meaning;
use crate::s3::profile::Addressing;
use crate::s3::query::encode_into;
use crate::s3::reply::code_in_head;
use crate::s3::xml::{StoreError, read_error};
use crate::sigv4::{self, Credential, KeyCache, PayloadMark};
use crate::units::UnixSeconds;
use crate::view::{Endpoint, RegionSettings};

/// Bytes read of an error document: S3's are below 1 KiB.
const DOCUMENT_MAX: usize = 64 << 10;
/// Bytes of a head that are buffered; the smallest that hyper takes.
const BUFFER_MAX: usize = 8 << 10;

/// Where a region is and how it wants to be asked.
#[derive(Clone, Debug)]
pub struct Site {
    /// Whose.
    pub region: RegionId,
    /// Its endpoint.
    pub endpoint: Endpoint,
    /// `None` for plain HTTP.
    pub tls: Option<TlsClient>,
    /// What requests are signed for: a region, or a set of them.
    pub signing_region: String,
    /// How buckets are addressed.
    pub addressing: Addressing,
}

impl Site {
    /// The site of a region; `tls` is that of its `https` endpoint.
    #[must_use]
    pub fn new(region: &RegionSettings, tls: Option<TlsClient>) -> Self {
        Self {
            region: region.id.clone(),
            endpoint: region.endpoint.clone(),
            tls,
            signing_region: region.signing_region.clone(),
            addressing: region.profile.addressing,
        }
    }

    /// Where a bucket is asked for: as configured, unless the store has said that it is elsewhere.
    pub(super) fn of_bucket(&self, bucket: &BucketName, tools: &Tools) -> Self {
        let known = tools.meters.of(&self.region).moved.from(bucket.as_str(), &self.place());
        known.map_or_else(|| self.clone(), |place| self.at(place))
    }

    fn place(&self) -> Place {
        Place { endpoint: self.endpoint.clone(), signing_region: self.signing_region.clone() }
    }

    fn at(&self, place: Place) -> Self {
        let Place { endpoint, signing_region } = place;
        Self { endpoint, signing_region, ..self.clone() }
    }

    /// The bucket that goes into the host, as for traffic.
    fn virtual_bucket<'a>(&self, bucket: Option<&'a BucketName>) -> Option<&'a BucketName> {
        bucket.filter(|bucket| self.addressing.is_in_host(bucket.as_str()))
    }

    /// The host to dial for a bucket, and that with its port for `Host`.
    fn names(&self, bucket: Option<&BucketName>) -> (String, String) {
        let (host, authority) = (self.endpoint.host.clone(), self.endpoint.authority());
        match self.virtual_bucket(bucket) {
            Some(bucket) => (format!("{bucket}.{host}"), format!("{bucket}.{authority}")),
            None => (host, authority),
        }
    }

    /// An unsigned head that asks for `key` in `bucket`, or for the root.
    pub(super) fn head(&self, method: Method, bucket: Option<&BucketName>, key: &str) -> Head {
        let mut path = format!("{}/", self.endpoint.base_path);
        if let Some(bucket) = bucket {
            if self.virtual_bucket(Some(bucket)).is_none() {
                path.push_str(bucket.as_str());
                path.push('/');
            }
            encode_into(key.as_bytes(), b"/", &mut path);
        }
        let mut head = Head::new(method, "/");
        head.set_target(&path, None);
        head.push("host", self.names(bucket).1.as_bytes());
        head.push("user-agent", concat!("nearpoint/", env!("CARGO_PKG_VERSION")).as_bytes());
        head
    }
}

/// An answer, whatever it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alive {
    /// From the request sent to its first byte: no dial in it.
    pub ttfb: Duration,
    /// 100 to 999.
    pub status: u16,
    /// What it means: 404 and 403 are answers, and one that asks for less is no failure.
    pub meaning: Meaning,
}

/// Why there was no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckFault {
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialFault),
    /// The connection ended before the answer.
    #[error("no answer: {0}")]
    Broken(String),
    /// Nothing came in time.
    #[error("no {0} in time")]
    Late(Waiting),
    /// What answers is not the region's store: it lacks what all its answers had.
    #[error("{0} is not the region's store")]
    Stranger(SocketAddr),
    /// One address did not answer, and another one of the region has just done so: says nothing
    /// about the region.
    #[error("{0} did not answer, and other addresses do")]
    OneAddress(SocketAddr),
}

/// What a probe waited for when its time was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// A connection.
    Connection,
    /// An answer.
    Answer,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connection => "connection",
            Self::Answer => "answer",
        })
    }
}

impl CheckFault {
    /// In the words of the fleet; `None` where the fault is ours, or one address's.
    #[must_use]
    pub fn never(&self) -> Option<Never> {
        match self {
            Self::Dial(fault) => fault.stage.never(),
            Self::Broken(_) | Self::Stranger(_) => Some(Never::Reset),
            Self::Late(Waiting::Connection) => Some(Never::ConnectTimeout),
            Self::Late(Waiting::Answer) => Some(Never::FirstByteTimeout),
            Self::OneAddress(_) => None,
        }
    }
}

/// A connection that probes keep between them, so that they cost one round trip.
#[derive(Debug, Default)]
pub struct Line(Option<Open>);

#[derive(Debug)]
struct Open {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
    pulse: Arc<Pulse>,
}

impl Line {
    /// No connection yet.
    #[must_use]
    pub fn closed() -> Self {
        Self(None)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Asks whether the region answers: a signed HEAD of the probe's key, or a GET of the root where
/// there is no bucket. Unsigned where there is no credential: a refusal is an answer too.
///
/// # Errors
/// [`CheckFault`] where no answer came before `deadline`. A kept connection that turns out to be
/// closed is replaced once, silently.
pub async fn probe(
    line: &mut Line,
    target: &ProbeTarget,
    credential: Option<&Credential>,
    tools: &Tools,
    deadline: Instant,
) -> Result<Alive, CheckFault> {
    let bucket = target.bucket.as_ref();
    let method = if bucket.is_some() { Method::HEAD } else { Method::GET };
    let mut head = target.site.head(method, bucket, &target.key);
    let region = &target.site.region;
    let meter = tools.meters.of(region);
    sign(&mut head, credential, &target.site, &PayloadMark::Empty, (region, tools));
    let unwanted = meter.addresses.unwanted(tools.clock.mono());
    // a certificate that has expired on a kept connection is one that no new one would be let past
    let expired = meter.certificate().is_some_and(|expires| expires <= tools.clock.now().wall);
    let usable =
        |open: &Open| !open.sender.is_closed() && !expired && !unwanted.contains(&open.pulse.address);
    if let Some(open) = line.0.take().filter(usable) {
        let address = open.pulse.address;
        match ask(line, open, (&head, &target.site), tools, deadline).await {
            Err(CheckFault::Broken(_)) => {} // closed between two probes: stale, not dead
            other => return other.map_err(|fault| blamed(fault, &target.site, address, tools)),
        }
    }
    let open = connect(&target.site, bucket, tools, deadline).await?;
    let address = open.pulse.address;
    let asked = ask(line, open, (&head, &target.site), tools, deadline).await;
    asked.map_err(|fault| blamed(fault, &target.site, address, tools))
}

/// Notes at its address that a probe was not answered, and says whose affair that is.
fn blamed(fault: CheckFault, site: &Site, address: SocketAddr, tools: &Tools) -> CheckFault {
    let addresses = &tools.meters.of(&site.region).addresses;
    let stranger = matches!(fault, CheckFault::Stranger(_));
    let failure = if stranger { Failure::Stranger } else { Failure::Unanswered };
    match addresses.failed(address, failure, tools.clock.mono()) {
        Blame::Address => CheckFault::OneAddress(address),
        Blame::Region => fault,
    }
}

/// Asks over one connection; keeps it where it can be used again.
async fn ask(
    line: &mut Line,
    mut open: Open,
    (head, site): (&Head, &Site),
    tools: &Tools,
    deadline: Instant,
) -> Result<Alive, CheckFault> {
    let began = tools.clock.mono();
    let response = send(&mut open, head, Full::default(), deadline).await?;
    let to_head = head.method() == Method::HEAD;
    let meter = tools.meters.of(&site.region);
    let vouched = site.tls.is_some();
    if !vouched && meter.mark.is_missing(head.method(), response.status(), response.headers()) {
        return Err(CheckFault::Stranger(open.pulse.address));
    }
    let now = tools.clock.now();
    open.pulse.answered(now.mono);
    meter.dated(response.headers(), now);
    let ttfb = now.mono.saturating_duration_since(began);
    // the body of a GET is nobody's interest: its connection is not kept
    if to_head {
        line.0 = Some(open);
    }
    let status = response.status();
    let reason =
        response.extensions().get::<hyper::ext::ReasonPhrase>().map(hyper::ext::ReasonPhrase::as_bytes);
    // a bare 503 is no sign of life: that the store throttled lately excuses requests, and no probe
    let code = code_in_head(status, response.headers(), reason, false);
    Ok(Alive { ttfb, status: status.as_u16(), meaning: Meaning::of_head(status.as_u16(), code) })
}

/// Settles who is to blame for a refusal: asks for the first byte of `key` in `bucket` with
/// `credential`, over a new connection. A refusal of our clock is answered by the region's own, and one of
/// our signing region by the bucket's, once.
pub async fn canary(
    (region, site): (&RegionId, &Site),
    bucket: &BucketName,
    key: &str,
    credential: &Credential,
    tools: &Tools,
    deadline: Instant,
) -> CanaryVerdict {
    let meter = tools.meters.of(region);
    let mut known = meter.ahead();
    let (configured, mut told) = (site.place(), false);
    loop {
        let site = &site.of_bucket(bucket, tools);
        let mut head = site.head(Method::GET, Some(bucket), key);
        head.push("range", b"bytes=0-0");
        sign(&mut head, Some(credential), site, &PayloadMark::Empty, (region, tools));
        match answer((region, site), bucket, &head, tools, deadline).await {
            Ok(Answered { code: Some(code), .. })
                if code == "RequestTimeTooSkewed" && known != meter.ahead() =>
            {
                known = meter.ahead();
            }
            Ok(Answered { status, code, headers, region: named }) => {
                let error = StoreError { region: named, ..StoreError::default() };
                let misplaced =
                    matches!(verdict(status, code.as_deref()), CanaryVerdict::ConfigurationFault(_));
                if !told
                    && misplaced
                    && let Ok(status) = StatusCode::from_u16(status)
                    && let Some(named) = moved::told(status, &headers, Some(&error))
                    && meter
                        .moved
                        .learn((region, bucket.as_str()), named, &configured, &site.place())
                        .is_some()
                {
                    told = true;
                    continue;
                }
                return verdict(status, code.as_deref());
            }
            Err(fault) => {
                return match fault.never() {
                    Some(never) => CanaryVerdict::Unreachable(ProbeFault::Never(never)),
                    None => CanaryVerdict::Unasked,
                };
            }
        }
    }
}

/// What an answer says.
struct Answered {
    status: u16,
    headers: HeaderMap,
    /// Of the error document.
    code: Option<String>,
    /// The region that the error document names.
    region: Option<String>,
}

/// Asks, and reads the error document.
async fn answer(
    (region, site): (&RegionId, &Site),
    bucket: &BucketName,
    head: &Head,
    tools: &Tools,
    deadline: Instant,
) -> Result<Answered, CheckFault> {
    let mut open = connect(site, Some(bucket), tools, deadline).await?;
    let response = send(&mut open, head, Full::default(), deadline).await?;
    let headers = response.headers().clone();
    let status = response.status().as_u16();
    if status < 300 {
        return Ok(Answered { status, headers, code: None, region: None });
    }
    let document = Limited::new(response.into_body(), DOCUMENT_MAX).collect();
    // a document too long, cut or late has no code: the status must do
    let document = timeout_at(deadline.into(), document).await.ok().and_then(Result::ok);
    let error = document.and_then(|document| read_error(&document.to_bytes()));
    let (code, named) = error.map(|error| (error.code, error.region)).unzip();
    if code.as_deref() == Some("RequestTimeTooSkewed") {
        tools.meters.of(region).clock_refused(&headers, tools.clock.now());
    }
    Ok(Answered { status, headers, code, region: named.flatten() })
}

/// An answer, read whole.
pub(super) struct Exchanged {
    /// 100 to 999.
    pub(super) status: u16,
    /// The head's fields.
    pub(super) headers: HeaderMap,
    /// The body; empty where it was too long, cut or late.
    pub(super) document: Bytes,
}

/// One request over a connection of its own, its answer read whole. What the answer says of the
/// region's clock is noted.
pub(super) async fn exchange(
    site: &Site,
    bucket: &BucketName,
    (head, body): (&Head, Bytes),
    tools: &Tools,
    deadline: Instant,
) -> Result<Exchanged, CheckFault> {
    let mut open = connect(site, Some(bucket), tools, deadline).await?;
    let response = send(&mut open, head, Full::new(body), deadline).await?;
    tools.meters.of(&site.region).dated(response.headers(), tools.clock.now());
    let (parts, body) = response.into_parts();
    let document = Limited::new(body, DOCUMENT_MAX).collect();
    let document = timeout_at(deadline.into(), document).await.ok().and_then(Result::ok);
    Ok(Exchanged {
        status: parts.status.as_u16(),
        headers: parts.headers,
        document: document.map(http_body_util::Collected::to_bytes).unwrap_or_default(),
    })
}

/// A connection of its own; what certificate the region shows is noted.
async fn connect(
    site: &Site,
    bucket: Option<&BucketName>,
    tools: &Tools,
    deadline: Instant,
) -> Result<Open, CheckFault> {
    let (host, _) = site.names(bucket);
    let meter = tools.meters.of(&site.region);
    let addresses = &meter.addresses;
    let (port, tls) = (site.endpoint.port, site.tls.as_ref());
    let to = Target { host: &host, port, tls, addresses, avoid: &[] };
    let left = deadline.saturating_duration_since(tools.clock.mono());
    let timeouts = DialTimeouts { connect: left, tls: left };
    let dialling = dial(to, &tools.resolver, timeouts, tools.clock);
    let dialled = timeout_at(deadline.into(), dialling)
        .await
        .map_err(|_elapsed| CheckFault::Late(Waiting::Connection))?;
    meter.dialled(dialled.as_ref().err().map(|fault| fault.stage), tools.clock.mono());
    let dialled = dialled?;
    if let Some(expires) = shown(&dialled.stream) {
        meter.showed_certificate(expires);
    }
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(BUFFER_MAX)
        .handshake(TokioIo::new(dialled.stream))
        .await
        .map_err(|error| broken(&error))?;
    let driver = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::trace!(%error, "a probe's connection ended");
        }
    });
    Ok(Open { sender, driver, pulse: addresses.pulse(dialled.address) })
}

/// When the certificate expires that the region showed.
fn shown(stream: &Stream) -> Option<UnixSeconds> {
    let Stream::Tls(tls) = stream else { return None };
    let (_, session) = tls.get_ref();
    certificate::expiry(session.peer_certificates()?.first()?)
}

async fn send(
    open: &mut Open,
    head: &Head,
    body: Full<Bytes>,
    deadline: Instant,
) -> Result<Response<Incoming>, CheckFault> {
    let request = request(head, body).map_err(|error| CheckFault::Broken(error.to_string()))?;
    match timeout_at(deadline.into(), open.sender.send_request(request)).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(broken(&error)),
        Err(_elapsed) => Err(CheckFault::Late(Waiting::Answer)),
    }
}

fn broken(error: &hyper::Error) -> CheckFault {
    CheckFault::Broken(error.to_string())
}

/// Signs, dated by the region's clock as far as it is known.
pub(super) fn sign(
    head: &mut Head,
    credential: Option<&Credential>,
    site: &Site,
    payload: &PayloadMark,
    (region, tools): (&RegionId, &Tools),
) {
    if let Some(credential) = credential {
        let now = tools.meters.of(region).its_time(tools.clock.now().wall);
        let mut keys = KeyCache::holding(1);
        // The probe key is encoded as SigV4 encodes: both spellings are one.
        let to = sigv4::Destination { region: &site.signing_region, path: sigv4::PathForm::Raw };
        sigv4::sign(head, credential, &to, now, payload, &mut keys);
    }
}

/// Our own head in hyper's words; the target goes out as it was signed.
fn request(head: &Head, body: Full<Bytes>) -> http::Result<Request<Full<Bytes>>> {
    let mut request = Request::builder().method(head.method()).uri(head.target());
    for field in head.fields() {
        request = request.header(field.name, HeaderValue::from_bytes(field.value)?);
    }
    request.body(body)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::clock::Clock;
    use crate::credentials::Store;
    use crate::credentials::stand_in::{Reply, Request as Seen, Server};
    use crate::dns::Resolver;
    use crate::exchange::meters::Meters;
    use crate::names::{AccessKeyId, ClientName, RegionId, Secret};
    use crate::sigv4::{Key, KeyRing, Region, Rules, Verified, verify};

    const PATIENT: Duration = Duration::from_secs(10);
    const QUICK: Duration = Duration::from_millis(500);

    fn tools() -> Tools {
        let clock = Clock::system();
        let credentials = Store::new(Vec::new(), clock);
        let meters = Meters::new(clock.mono(), crate::chance::Coin::seeded(1));
        Tools { resolver: Resolver::system(clock), credentials, meters: Arc::new(meters), clock }
    }

    fn target(port: u16, addressing: Addressing, bucket: Option<&str>) -> ProbeTarget {
        let endpoint = Endpoint { tls: false, host: "localhost".to_owned(), port, base_path: String::new() };
        let (region, signing_region) = (RegionId::new("eu"), "eu-test-1".to_owned());
        let site = Site { region, endpoint, tls: None, signing_region, addressing };
        ProbeTarget {
            region: RegionId::new("eu"),
            site,
            bucket: bucket.map(BucketName::new),
            key: ".nearpoint/canary ü+".to_owned(),
            interval: Duration::from_secs(1),
            write: None,
        }
    }

    fn credential() -> Credential {
        Credential {
            access_key_id: AccessKeyId::new("AKIANP"),
            secret: Secret::from("np-secret"),
            session_token: Some(Secret::from("np-token")),
        }
    }

    async fn probe_once(line: &mut Line, target: &ProbeTarget, time: Duration) -> Result<Alive, CheckFault> {
        let tools = tools();
        let deadline = tools.clock.mono() + time;
        probe(line, target, Some(&credential()), &tools, deadline).await
    }

    fn statuses(statuses: &'static [u16]) -> impl Fn(&Seen) -> Reply + Send + Sync {
        let turn = AtomicUsize::new(0);
        move |_| Reply::status(statuses[turn.fetch_add(1, Ordering::SeqCst) % statuses.len()])
    }

    /// Whether the request, as it was seen on the wire, carries a true signature for the region.
    fn is_truly_signed(seen: &Seen) -> bool {
        let mut head = Head::new(seen.method.parse().unwrap(), &seen.target);
        for (name, value) in &seen.headers {
            head.push(name, value.as_bytes());
        }
        let Credential { access_key_id, secret, session_token } = credential();
        let client = ClientName::new("us");
        let keys = KeyRing::new(vec![Key {
            access_key_id,
            secret,
            session_token,
            client,
            allowances: sigv4::Allowances::default(),
        }]);
        let rules = Rules::new(Region::Exactly("eu-test-1".to_owned()));
        let now = Clock::system().now().wall;
        matches!(verify(&head, &keys, &rules, now, &mut KeyCache::new()), Ok(Verified::Signed(_)))
    }

    #[tokio::test]
    async fn a_probe_is_a_signed_head_over_one_kept_connection() {
        let server = Server::start(statuses(&[200, 403, 404])).await;
        let target = target(server.address().port(), Addressing::Path, Some("photos"));
        let mut line = Line::closed();
        for status in [200, 403, 404] {
            assert_eq!(probe_once(&mut line, &target, PATIENT).await.unwrap().status, status);
        }
        let seen = server.seen();
        for request in &seen {
            assert_eq!(request.method, "HEAD");
            assert_eq!(request.target, "/photos/.nearpoint/canary%20%C3%BC%2B");
            assert_eq!(request.connection, 0);
            assert!(is_truly_signed(request), "{request:?}");
        }
        assert_eq!(seen.len(), 3);
    }

    #[tokio::test]
    async fn buckets_are_addressed_as_the_region_wants() {
        let server = Server::start(statuses(&[200])).await;
        let port = server.address().port();
        let mut target = target(port, Addressing::Virtual, Some("photos"));
        probe_once(&mut Line::closed(), &target, PATIENT).await.unwrap();
        target.site.endpoint.base_path = "/s3".to_owned();
        target.site.addressing = Addressing::Path;
        probe_once(&mut Line::closed(), &target, PATIENT).await.unwrap();
        target.site.addressing = Addressing::Virtual;
        target.bucket = Some(BucketName::new("with.dots"));
        probe_once(&mut Line::closed(), &target, PATIENT).await.unwrap();
        target.bucket = None;
        probe_once(&mut Line::closed(), &target, PATIENT).await.unwrap();
        let seen: Vec<_> = server
            .seen()
            .iter()
            .map(|request| {
                assert!(is_truly_signed(request), "{request:?}");
                let host = request.header("host").unwrap().replace(&port.to_string(), "PORT");
                format!("{} {host} {}", request.method, request.target)
            })
            .collect();
        assert_eq!(
            seen,
            [
                "HEAD photos.localhost:PORT /.nearpoint/canary%20%C3%BC%2B",
                "HEAD localhost:PORT /s3/photos/.nearpoint/canary%20%C3%BC%2B",
                "HEAD localhost:PORT /s3/with.dots/.nearpoint/canary%20%C3%BC%2B",
                "GET localhost:PORT /s3/",
            ]
        );
    }

    #[tokio::test]
    async fn without_a_credential_a_refusal_is_still_an_answer() {
        let server = Server::start(statuses(&[403])).await;
        let target = target(server.address().port(), Addressing::Path, Some("photos"));
        let tools = tools();
        let deadline = tools.clock.mono() + PATIENT;
        let alive = probe(&mut Line::closed(), &target, None, &tools, deadline).await.unwrap();
        assert_eq!(alive.status, 403);
        assert_eq!(server.seen()[0].header("authorization"), None);
    }

    #[tokio::test]
    async fn a_kept_connection_that_was_closed_is_replaced() {
        let server = Server::start(|_: &Seen| Reply::status(200).and_close()).await;
        let target = target(server.address().port(), Addressing::Path, Some("photos"));
        let mut line = Line::closed();
        for _ in 0..5 {
            probe_once(&mut line, &target, PATIENT).await.unwrap();
        }
        let connections: Vec<_> = server.seen().iter().map(|request| request.connection).collect();
        assert_eq!(connections, [0, 1, 2, 3, 4]);
    }

    #[tokio::test]
    async fn each_silence_has_its_name() {
        let silent = Server::start(|_: &Seen| Reply::silence()).await;
        let hangs_up = Server::start(|_: &Seen| Reply::silence().and_close()).await;
        let nobody = tokio::net::TcpSocket::new_v4().unwrap();
        nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let refused = nobody.local_addr().unwrap().port();
        for (port, time, never) in [
            (silent.address().port(), QUICK, Never::FirstByteTimeout),
            (hangs_up.address().port(), PATIENT, Never::Reset),
            (refused, PATIENT, Never::Refused),
        ] {
            let target = target(port, Addressing::Path, Some("photos"));
            let fault = probe_once(&mut Line::closed(), &target, time).await.unwrap_err();
            assert_eq!(fault.never(), Some(never), "{fault}");
        }
    }

    async fn canary_against(reply: Reply) -> (CanaryVerdict, Seen) {
        let server = Server::start(move |_: &Seen| reply.clone()).await;
        let target = target(server.address().port(), Addressing::Path, None);
        let (tools, bucket) = (tools(), BucketName::new("photos"));
        let deadline = tools.clock.mono() + PATIENT;
        let verdict =
            canary((&target.region, &target.site), &bucket, "k", &credential(), &tools, deadline).await;
        (verdict, server.seen().remove(0))
    }

    fn document(status: u16, code: &str) -> Reply {
        Reply::xml(format!(
            "<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>no</Message></Error>"
        ))
        .and_status(status)
    }

    #[tokio::test]
    async fn a_canary_asks_for_one_byte_and_reads_the_code() {
        let (verdict, seen) = canary_against(document(403, "InvalidAccessKeyId")).await;
        assert_eq!(verdict, CanaryVerdict::CredentialFault("InvalidAccessKeyId".to_owned()));
        assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", "/photos/k"));
        assert_eq!(seen.header("range"), Some("bytes=0-0"));
        assert!(is_truly_signed(&seen), "{seen:?}");
        let (verdict, _) = canary_against(document(404, "NoSuchBucket")).await;
        assert_eq!(verdict, CanaryVerdict::ConfigurationFault("NoSuchBucket".to_owned()));
        let (verdict, _) = canary_against(Reply::text("x").and_status(206)).await;
        assert_eq!(verdict, CanaryVerdict::Clear);
    }

    #[tokio::test]
    async fn a_document_without_end_is_not_read_to_its_end() {
        let long = "x".repeat(DOCUMENT_MAX + 1);
        let (verdict, _) = canary_against(document(403, &long)).await;
        assert_eq!(verdict, CanaryVerdict::AccessDenied, "the status must do");
        let (verdict, _) = canary_against(Reply::text("{\"code\": 7}").and_status(403)).await;
        assert_eq!(verdict, CanaryVerdict::AccessDenied);
        let silence = Reply::silence().and_close();
        let (verdict, _) = canary_against(silence).await;
        assert_eq!(verdict, CanaryVerdict::Unreachable(ProbeFault::Never(Never::Reset)));
    }
}
