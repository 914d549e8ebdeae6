//! One try at one region: connect, sign, send, wait for the head of the answer. Says what of the
//! request may be out; never decides what follows.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use smallvec::SmallVec;

use super::bell::Bell;
use super::dial::DialFault;
use super::lane::Lane;
use super::meters::InFlight;
use super::pool::{Connection, Pool, Wanted};
use crate::body::progress::{Pace, Progress};
use crate::body::source::BodyFault;
use crate::body::upload::{Framing, Gate, Sent as SentSoFar};
use crate::body::{Source, Upload};
use crate::clock::Clock;
use crate::dns::accrual::{Blame, Failure};
use crate::fleet::Never;
use crate::head::Head;
use crate::http1::{Answered, Fault, Incoming};
use crate::names::RegionId;
use crate::route::{Outcome, Sent, Stage, Unsent};
use crate::s3::profile::SignedPath;
use crate::sigv4::{self, Credential, Destination, KeyCache, PathForm, PayloadMark};
use crate::units::UnixSeconds;
use crate::view::{RegionSettings, Timeouts};

/// How long the body waits for `100 Continue` before something else must prove the region alive.
const CONTINUE_WAIT: Duration = Duration::from_secs(1);
/// Addresses on which one try may find that nothing was sent before it is the region's affair.
const ADDRESSES_TRIED: usize = 4;
/// How often an attempt whose body is under way looks whether the body has gone out.
const UPLOAD_GLANCE: Duration = Duration::from_millis(250);

/// What is sent to one region.
pub struct Prepared {
    /// Without signature and length.
    pub head: Head,
    /// How the body goes.
    pub framing: Framing,
    /// The payload hash line.
    pub payload: PayloadMark,
}

/// What one try sends.
pub struct Try<'a> {
    /// Where to.
    pub lane: &'a Rc<Lane>,
    /// By which settings: the lane's, unless the store has said that the bucket is elsewhere.
    pub settings: &'a RegionSettings,
    /// The client's body.
    pub source: &'a Source,
    /// Whose name it goes in; unsigned where `None`.
    pub credential: Option<Arc<Credential>>,
    /// Whether the body waits for `100 Continue`.
    pub expect: bool,
    /// From the last byte sent to the first byte of the answer.
    pub patience: Duration,
    /// Whether a kept connection that ends under it counts as stale: it may be sent again at will.
    pub repeatable: bool,
    /// Kept connections are not used: an earlier try of the same request broke one, and only a
    /// fresh one can tell whether it was stale or the request kills stores.
    pub fresh: bool,
    /// The region's addresses that have failed this request: used only where there is no other.
    pub avoid: SmallVec<[SocketAddr; 2]>,
    /// Not written to any connection from then on: later it might do harm.
    pub send_by: Option<Instant>,
    /// When the whole request must be over.
    pub deadline: Instant,
}

/// What the tries of one worker share.
pub struct Desk<'a> {
    /// Reads time.
    pub clock: Clock,
    /// Connect and TLS limits.
    pub timeouts: &'a Timeouts,
    /// Rung when standings change.
    pub bell: &'a Bell,
    /// Derived signing keys.
    pub keys: &'a std::cell::RefCell<KeyCache>,
    /// Whether the region may still be waited for.
    pub still_worth_waiting: &'a dyn Fn(&RegionId) -> bool,
}

/// A region's answer, its body still on the wire.
pub struct Answer {
    /// Status and headers.
    pub head: http::response::Parts,
    /// The body.
    pub body: Incoming,
    /// What it came over; to be given back after the body.
    pub connection: Connection,
    /// Where to give it back: the pool of the settings that it was made by.
    pub pool: Pool,
    /// Whether the request had been sent in full when it came.
    pub request_sent: bool,
    /// From the request's head to the answer's.
    pub ttfb: Duration,
    /// By how many seconds the request was dated ahead of our clock.
    pub ahead: i64,
    /// Counts as on its way until dropped.
    pub in_flight: InFlight,
}

/// How a try failed.
#[derive(Debug)]
pub enum Failed {
    /// The region's, or the way to it.
    Region {
        /// What it ended in.
        outcome: Outcome,
        /// It ended on a kept connection, which may have been stale.
        kept: bool,
        /// The address that it ended at; `None` where no address was reached.
        address: Option<SocketAddr>,
        /// The address's affair or the region's.
        blame: Blame,
    },
    /// The client's body.
    Client(BodyFault),
    /// The target, in this region's words, is no URI.
    Target,
}

impl Failed {
    /// On a connection of its own, or before there was one.
    #[must_use]
    pub const fn region(outcome: Outcome) -> Self {
        Self::Region { outcome, kept: false, address: None, blame: Blame::Region }
    }
}

/// Makes one try: what is prepared goes out at most once.
///
/// # Errors
/// [`Failed`]: whose fault it was, and what of the request may be out.
pub async fn attempt(desk: &Desk<'_>, this: &Try<'_>, prepared: Prepared) -> Result<Answer, Failed> {
    let in_flight = this.lane.meter.enter();
    let (connection, kept) = connect(desk, this, &prepared.head).await.map_err(Failed::region)?;
    if this.send_by.is_some_and(|by| desk.clock.mono() >= by) {
        return Err(Failed::region(Outcome::NotSent(Unsent::TooLate)));
    }
    let exchanged = exchange(desk, this, prepared, connection, kept).await;
    let (head, body, connection, request_sent, ttfb, ahead) = exchanged?;
    let pool = this.lane.pool.clone();
    Ok(Answer { head, body, connection, pool, request_sent, ttfb, ahead, in_flight })
}

/// A connection to send on, unless it is called off before there is one.
async fn connect(desk: &Desk<'_>, this: &Try<'_>, head: &Head) -> Result<(Connection, bool), Outcome> {
    tokio::select! {
        biased;
        reached = reach(desk, this, head) => reached,
        unsent = called_off(desk, this) => Err(Outcome::NotSent(unsent)),
    }
}

/// Why a connection is not waited for any longer.
async fn called_off(desk: &Desk<'_>, this: &Try<'_>) -> Unsent {
    let mut ring = desk.bell.listen();
    loop {
        tokio::select! {
            () = &mut ring => {
                if !(desk.still_worth_waiting)(&this.lane.region) {
                    return Unsent::StandingChanged;
                }
            }
            () = until(this.send_by) => return Unsent::TooLate,
        }
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant.into()).await,
        None => std::future::pending().await,
    }
}

async fn reach(desk: &Desk<'_>, this: &Try<'_>, head: &Head) -> Result<(Connection, bool), Outcome> {
    let authority = head.first_text("host").unwrap_or_default();
    let (lane, idle_max) = (this.lane, desk.timeouts.upstream_idle);
    let wanted = Wanted { authority, host: lane.host(authority), avoid: &this.avoid, idle_max };
    let mut waits = !this.fresh;
    loop {
        let idle = (!this.fresh).then(|| lane.pool.take(&wanted, desk.clock.mono())).flatten();
        let kept = match idle {
            None if std::mem::take(&mut waits) => lane.wait(&wanted).await,
            idle => idle,
        };
        let Some(kept) = kept else { break };
        // What may not be repeated at will is not risked on a connection that has just ended.
        if kept.conversation.is_open() && (this.repeatable || kept.is_quiet()) {
            return Ok((kept, true));
        }
        lane.pool.was_closed(&kept, idle_max, desk.clock.mono());
    }
    let lease = lane.pool.dials(authority);
    let dialled = lane.dial(authority, &this.avoid, desk.timeouts).await;
    let dialled = dialled.map_err(|fault| not_connected(&fault))?;
    lease.dialled(desk.clock.mono());
    Ok((lane.open(dialled, authority, lease), false))
}

const fn unreachable(never: Never) -> Outcome {
    Outcome::NotSent(Unsent::Unreachable(never))
}

fn not_connected(fault: &DialFault) -> Outcome {
    Outcome::NotSent(fault.stage.never().map_or(Unsent::Shortage, Unsent::Unreachable))
}

type Exchanged = (http::response::Parts, Incoming, Connection, bool, Duration, i64);

async fn exchange(
    desk: &Desk<'_>,
    this: &Try<'_>,
    prepared: Prepared,
    connection: Connection,
    kept: bool,
) -> Result<Exchanged, Failed> {
    let address = connection.address();
    let region = |outcome: Outcome| {
        let blame = blame(desk, this, address, &outcome, kept);
        Failed::Region { outcome, kept, address: Some(address), blame }
    };
    let gate = this.expect.then(Gate::closed);
    let upload = Upload::new(this.source, prepared.framing, gate.as_ref());
    let sent = upload.sent();
    let method = prepared.head.method().clone();
    let ahead = this.lane.meter.ahead();
    let head = signed(desk, this, prepared, ahead);
    let length = upload.length();
    let tells_length = length > 0 || matches!(method, Method::PUT | Method::POST);
    let framing = (tells_length.then_some(length), gate.is_some());
    let continued = |status| {
        if status == StatusCode::CONTINUE
            && let Some(gate) = &gate
        {
            gate.continued();
        }
    };
    let asked = connection.conversation.ask(&head, framing, upload, continued);
    let started = desk.clock.mono();
    if this.repeatable {
        this.lane.meter.awaits(started);
    }
    // Nothing else may take the place of a target that is too long: `/` would be the bucket itself.
    let mut answer = std::pin::pin!(asked.map_err(|_| Failed::Target)?);
    let wait = Wait { desk, this, sent: &sent, gate: gate.as_ref(), started };
    let answered = wait.until(answer.as_mut()).await;
    if gate.as_ref().is_some_and(Gate::was_continued) {
        this.lane.meter.learn_continues();
    }
    match answered {
        Ok(Ok(Answered { head, body, request_sent })) => {
            let moment = desk.clock.now();
            let now = moment.mono;
            let status = head.status;
            let vouched = this.lane.settings.endpoint.tls;
            if !vouched && this.lane.meter.mark.is_missing(&method, status, &head.headers) {
                return Err(stranger(desk, this, address, status, how_much(&sent, this.source), kept));
            }
            this.lane.meter.answered(now);
            connection.answered(now);
            this.lane.meter.dated(&head.headers, moment);
            if refuses_to_say_100(status, gate.as_ref()) {
                // nothing was carried out: the same again, without the expectation
                this.lane.meter.learn_mute(now);
                let outcome = Outcome::Stale { sent: Sent::Nothing };
                return Err(Failed::Region { outcome, kept, address: None, blame: Blame::Address });
            }
            if is_impossible(status, request_sent) {
                return Err(region(Outcome::Broken { sent: how_much(&sent, this.source) }));
            }
            Ok((head, body, connection, request_sent, now.saturating_duration_since(started), ahead))
        }
        Ok(Err(failure)) => {
            let unsent = matches!(failure, Fault::Unsent(_));
            if let Some(fault) = this.source.fault() {
                return Err(Failed::Client(fault));
            }
            // The daily case: the store closed a kept connection just as we took it, or between
            // our looking at it and our writing to it.
            if kept && (unsent || (this.repeatable && sent.bytes() == 0)) {
                this.lane.pool.was_closed(&connection, desk.timeouts.upstream_idle, started);
                let sent = if unsent { Sent::Nothing } else { how_much(&sent, this.source) };
                return Err(region(Outcome::Stale { sent }));
            }
            if unsent {
                let elsewhere = another_address(this, address);
                let stale = Outcome::Stale { sent: Sent::Nothing };
                return Err(region(if elsewhere { stale } else { unreachable(Never::Reset) }));
            }
            Err(region(Outcome::Broken { sent: how_much(&sent, this.source) }))
        }
        Err(outcome) => Err(region(outcome)),
    }
}

/// Whether the region has an address left that this request has not met, when one took nothing of it.
fn another_address(this: &Try<'_>, address: SocketAddr) -> bool {
    let room = !this.avoid.contains(&address) && this.avoid.len() < ADDRESSES_TRIED;
    room && this.lane.meter.addresses.has_other(address)
}

/// Notes at its address that a request was not answered, and says whose affair that is. A kept
/// connection that ended may have been stale: that is nobody's fault.
fn blame(desk: &Desk<'_>, this: &Try<'_>, address: SocketAddr, outcome: &Outcome, kept: bool) -> Blame {
    let (addresses, now) = (&this.lane.meter.addresses, desk.clock.mono());
    match outcome {
        Outcome::Broken { .. } if kept && addresses.is_proven_beside(address, now) => Blame::Address,
        Outcome::Broken { .. } | Outcome::Stale { .. } if kept => Blame::Region,
        _ => addresses.failed(address, Failure::Unanswered, now),
    }
}

/// What answers at this address is not the region's store: its answer is nobody's. Of a `404` the
/// client's key may be the cause, where something stands before the store: so that one says nothing
/// about the region. Probes, whose key is ours, say it.
fn stranger(
    desk: &Desk<'_>,
    this: &Try<'_>,
    address: SocketAddr,
    status: StatusCode,
    sent: Sent,
    kept: bool,
) -> Failed {
    let now = desk.clock.mono();
    let blame = this.lane.meter.addresses.failed(address, Failure::Stranger, now);
    let blame = if status == StatusCode::NOT_FOUND { Blame::Address } else { blame };
    let outcome = Outcome::Broken { sent };
    Failed::Region { outcome, kept, address: Some(address), blame }
}

/// Whether it is our own `Expect` that is refused, which the client knows nothing of (RFC 9110 §10.1.1).
fn refuses_to_say_100(status: StatusCode, gate: Option<&Gate>) -> bool {
    status == StatusCode::EXPECTATION_FAILED && gate.is_some_and(|gate| !gate.is_open())
}

/// An answer that no store gives: one that switches protocols, and the success of an upload whose
/// end it has not seen. Taken for it, the client would be told of an object that nobody has.
fn is_impossible(status: StatusCode, request_sent: bool) -> bool {
    status.is_informational() || (status.is_success() && !request_sent)
}

/// What of the request may be out.
fn how_much(sent: &SentSoFar, source: &Source) -> Sent {
    match (sent.all(), sent.bytes()) {
        (true, _) if source.length() > 0 => Sent::All,
        (_, 0) => Sent::Head,
        (_, bytes) => Sent::Body(bytes),
    }
}

/// What a wait has seen so far.
#[derive(Default)]
struct Watched {
    /// When the whole request was handed over.
    all_sent_at: Option<Instant>,
    /// Body bytes handed over by then.
    bytes: u64,
    /// The region's clock: how slowly it takes the body.
    taking: Progress,
}

/// Waits for an answer's head, with every reason to stop waiting.
struct Wait<'a> {
    desk: &'a Desk<'a>,
    this: &'a Try<'a>,
    sent: &'a SentSoFar,
    gate: Option<&'a Gate>,
    started: Instant,
}

impl Wait<'_> {
    async fn until<F: Future>(&self, mut answer: std::pin::Pin<&mut F>) -> Result<F::Output, Outcome> {
        let mut ring = self.desk.bell.listen();
        let mut watched = Watched::default();
        loop {
            let wake_at = self.next_glance(&mut watched);
            tokio::select! {
                biased;
                answered = answer.as_mut() => return Ok(answered),
                () = &mut ring => {
                    if !(self.desk.still_worth_waiting)(&self.this.lane.region) {
                        return Err(self.silent(Stage::FirstByte));
                    }
                }
                () = tokio::time::sleep_until(wake_at.into()) => self.glance(&mut watched)?,
            }
        }
    }

    /// When to look again: the deadline of the stage that the try is in.
    fn next_glance(&self, watched: &mut Watched) -> Instant {
        let now = self.desk.clock.mono();
        if let Some(gate) = self.gate
            && !gate.is_open()
        {
            return self.started + CONTINUE_WAIT;
        }
        if watched.all_sent_at.is_none() && self.sent.all() {
            watched.all_sent_at = Some(if self.this.source.length() == 0 { self.started } else { now });
        }
        let due = watched.all_sent_at.map_or(now + UPLOAD_GLANCE, |at| at + self.this.patience);
        due.min(self.this.deadline)
    }

    fn glance(&self, watched: &mut Watched) -> Result<(), Outcome> {
        let now = self.desk.clock.mono();
        if now >= self.this.deadline {
            return Err(self.silent(Stage::FirstByte));
        }
        if let Some(gate) = self.gate
            && !gate.is_open()
        {
            let meter = &self.this.lane.meter;
            if !meter.answered_since(self.started) {
                return Err(self.silent(Stage::Continue));
            }
            // It lives, and does not know the expectation: it pays its second once.
            meter.learn_mute(now);
            gate.open();
            return Ok(());
        }
        let (over, stage) = match watched.all_sent_at {
            Some(at) => (now >= at + self.this.patience, Stage::FirstByte),
            None => (self.takes_too_little(watched, now), Stage::Body),
        };
        if over { Err(self.silent(stage)) } else { Ok(()) }
    }

    /// Whether the region, while we had bytes for it, took fewer than a body must move. Looked at
    /// every [`UPLOAD_GLANCE`]; the client's own silence stops the clock.
    fn takes_too_little(&self, watched: &mut Watched, now: Instant) -> bool {
        let pace = Pace::over(self.desk.timeouts.body_progress);
        let bytes = self.sent.bytes();
        let moved = bytes.saturating_sub(std::mem::replace(&mut watched.bytes, bytes));
        watched.taking.moved(moved, now, pace);
        !self.sent.starved() && now >= watched.taking.waiting(now, pace)
    }

    fn silent(&self, stage: Stage) -> Outcome {
        Outcome::Silent { sent: how_much(self.sent, self.this.source), stage }
    }
}

/// The head as it goes out, signed where the request goes in somebody's name.
fn signed(desk: &Desk<'_>, this: &Try<'_>, prepared: Prepared, ahead: i64) -> Head {
    let Prepared { mut head, payload, .. } = prepared;
    let settings = this.settings;
    if let Some(credential) = &this.credential {
        // dated by the region's clock, as far as it is known
        let now = UnixSeconds(desk.clock.now().wall.0.saturating_add(ahead));
        let mut keys = desk.keys.borrow_mut();
        let path = match settings.profile.signed_path {
            SignedPath::AsSent => PathForm::Raw,
            SignedPath::Reencoded => PathForm::Reencoded,
        };
        let to = Destination { region: &settings.signing_region, path };
        sigv4::sign(&mut head, credential, &to, now, &payload, &mut keys);
    }
    head
}
