//! What is written down of a request: one access line and the metrics, on success, refusal and
//! abort alike. Filled along the way, written when the answer's body has ended.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::header::HeaderValue;
use http::{HeaderName, Response};
use smallvec::SmallVec;

use super::House;
use super::sender::Sender;
use crate::body::Reply;
use crate::body::reply::Ending;
use crate::clock::{Clock, Moment};
use crate::exchange::{ANSWERED, CANCELLED, Journey};
use crate::head::Head;
use crate::listen::{Fate, Peer, PeerAddress};
use crate::names::{AccessPointName, ClientName, RegionId, RequestId};
use crate::overload::{ByteRoom, ByteShare, Overfull, Place};
use crate::refusal::{Blame, Refusal};
use crate::route::Why;
use crate::s3::{Call, Code};
use crate::telemetry::access::{Aborted, AccessLine, AccessLog};
use crate::telemetry::metric::{self, Metric, WorkerMeters};
use crate::units::UnixSeconds;

static ID_2: HeaderName = HeaderName::from_static("x-amz-id-2");
static REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");
static DEBUG_REGION: HeaderName = HeaderName::from_static("x-nearpoint-region");
static DEBUG_ATTEMPTS: HeaderName = HeaderName::from_static("x-nearpoint-attempts");
static DEBUG_RESUMED: HeaderName = HeaderName::from_static("x-nearpoint-resumed");

/// The outcome of a try that was answered, and had nothing of what was asked for.
const NOT_FOUND: &str = "not found";

/// One request's line, under way.
pub(super) struct Ledger {
    entry: Rc<Entry>,
}

struct Entry {
    id: RequestId,
    at: Moment,
    clock: Clock,
    access: AccessLog,
    meters: Rc<WorkerMeters>,
    peer: PeerAddress,
    tls: bool,
    http2: bool,
    head: Rc<Head>,
    /// Tells whether we ended the request.
    fate: Fate,
    operation: Cell<Option<&'static str>>,
    late: RefCell<Late>,
    written: Cell<bool>,
    /// The request's place among those at work, held until its answer has left.
    place: RefCell<Option<Place>>,
    /// The room for its documents, held as long.
    documents: RefCell<Option<ByteShare>>,
}

/// What is learnt on the way.
#[derive(Default)]
struct Late {
    access_point: Option<AccessPointName>,
    client: Option<ClientName>,
    status: u16,
    code: Option<String>,
    cause: Option<String>,
    region: Option<RegionId>,
    journey: Journey,
    bytes_in: u64,
    first_byte: Option<std::time::Duration>,
    /// What the lag shield did.
    shield: Option<&'static str>,
    /// How often the reply was gone on with.
    resumed: u32,
    /// Bytes given before it first was.
    resumed_at: Option<u64>,
}

impl Ledger {
    pub(super) fn open(house: &House, peer: &Peer, head: &Rc<Head>, fate: Fate, at: Moment) -> Self {
        let entry = Entry {
            id: house.request_id(),
            at,
            clock: house.clock,
            access: house.access.clone(),
            meters: Rc::clone(&house.meters),
            peer: peer.address,
            tls: peer.tls,
            http2: peer.http2,
            head: Rc::clone(head),
            fate,
            operation: Cell::new(None),
            late: RefCell::default(),
            written: Cell::new(false),
            place: RefCell::default(),
            documents: RefCell::default(),
        };
        Self { entry: Rc::new(entry) }
    }

    pub(super) fn id(&self) -> RequestId {
        self.entry.id
    }

    /// When the request's head came.
    pub(super) fn came(&self) -> Instant {
        self.entry.at.mono
    }

    /// The same, on the clock.
    pub(super) fn came_at(&self) -> UnixSeconds {
        self.entry.at.wall
    }

    /// Holds the request's place until its answer has left.
    pub(super) fn hold(&self, place: Place) {
        self.entry.place.replace(Some(place));
    }

    /// Takes room for so many bytes more of the request's documents, and holds it as long.
    pub(super) fn hold_bytes(&self, room: &Arc<ByteRoom>, bytes: u64, limit: u64) -> Result<(), Overfull> {
        // who has no place has no work done, either
        let Some(asker) = self.entry.place.borrow().as_ref().map(Place::asker) else { return Ok(()) };
        let mut documents = self.entry.documents.borrow_mut();
        documents.get_or_insert_with(|| room.share(asker)).grow(bytes, limit)
    }

    /// Whether the client's connection is encrypted.
    pub(super) fn tls(&self) -> bool {
        self.entry.tls
    }

    /// What an error document names: the path, as the client sent it.
    pub(super) fn resource(&self) -> &str {
        self.entry.head.path()
    }

    pub(super) fn classified(&self, call: &Call) {
        self.named(call.facts().name);
    }

    /// What was asked for.
    pub(super) fn named(&self, operation: &'static str) {
        self.entry.operation.set(Some(operation));
    }

    pub(super) fn sent_by(&self, sender: &Sender) {
        self.entry.late.borrow_mut().client = sender.name().cloned();
    }

    pub(super) fn on(&self, access_point: &AccessPointName) {
        self.entry.late.borrow_mut().access_point = Some(access_point.clone());
    }

    pub(super) fn received(&self, bytes: u64) {
        self.entry.late.borrow_mut().bytes_in += bytes;
    }

    pub(super) fn travelled(&self, journey: Journey) {
        let mut late = self.entry.late.borrow_mut();
        late.journey.notes.extend(journey.notes);
        late.journey.ttfb = journey.ttfb.or(late.journey.ttfb);
        late.journey.why = journey.why.or(late.journey.why.take());
        late.journey.settled = journey.settled.or(late.journey.settled);
    }

    /// The ledger of the same request, for who goes on with its reply.
    pub(super) fn share(&self) -> Self {
        Self { entry: Rc::clone(&self.entry) }
    }

    /// The reply of the region tried last broke off.
    pub(super) fn broke(&self, how: &'static str) {
        if let Some(note) = self.entry.late.borrow_mut().journey.notes.last_mut() {
            note.outcome = how;
        }
    }

    /// Regions were asked for the rest of a reply.
    pub(super) fn went_on(&self, journey: Journey) {
        self.entry.late.borrow_mut().journey.notes.extend(journey.notes);
    }

    /// What the lag shield did; its last word counts.
    pub(super) fn shielded(&self, how: &'static str) {
        self.entry.late.borrow_mut().shield = Some(how);
    }

    /// The region tried last had nothing of what was asked for, and another is asked.
    pub(super) fn had_nothing(&self) {
        if let Some(note) = self.entry.late.borrow_mut().journey.notes.last_mut() {
            note.outcome = NOT_FOUND;
        }
    }

    /// Regions were asked the same again; why the first were is still the reason of the plan.
    pub(super) fn asked_again(&self, journey: Journey) {
        let mut late = self.entry.late.borrow_mut();
        late.journey.notes.extend(journey.notes);
        late.journey.ttfb = journey.ttfb.or(late.journey.ttfb);
    }

    /// The regions other than this one that were tried and did not answer. One whose answer came second,
    /// or was no better than this one's, is none of them.
    pub(super) fn tried_in_vain(&self, answered: &RegionId) -> SmallVec<[RegionId; 2]> {
        let late = self.entry.late.borrow();
        let failed = late.journey.notes.iter().filter(|note| ![ANSWERED, CANCELLED].contains(&note.outcome));
        let mut regions = SmallVec::new();
        for note in failed.filter(|note| note.region != *answered) {
            if !regions.contains(&note.region) {
                regions.push(note.region.clone());
            }
        }
        regions
    }

    /// The reply goes on, after so many bytes.
    pub(super) fn resumed(&self, delivered: u64) {
        let mut late = self.entry.late.borrow_mut();
        late.resumed += 1;
        late.resumed_at.get_or_insert(delivered);
    }

    pub(super) fn answered_by(&self, region: &RegionId) {
        self.entry.late.borrow_mut().region = Some(region.clone());
    }

    /// Whether another region than this one has refused the request for this; it is not the last word
    /// then, and not noted.
    pub(super) fn was_refused_elsewhere(&self, code: Code, than: &RegionId) -> bool {
        let mut late = self.entry.late.borrow_mut();
        let elsewhere = late.region.as_ref().is_some_and(|region| region != than);
        let refused = elsewhere && late.code.as_deref() == Some(code.as_str());
        if refused {
            (late.code, late.cause) = (None, None);
            if let Some(note) = late.journey.notes.last_mut() {
                note.outcome = NOT_FOUND;
            }
        }
        refused
    }

    /// A body that broke off because the wire gate refused a piece of it is no matter of time.
    pub(super) fn explained(&self, refusal: Refusal) -> Refusal {
        match self.entry.fate.body_violation() {
            Some(violation) if refusal.code == Code::RequestTimeout.as_str() => {
                metric::counter(Metric::Violations, &[violation.label()]).increment(1);
                Refusal::because(Code::InvalidRequest, Blame::Client, violation.message())
                    .caused_by(violation.label())
                    .closing()
            }
            _ => refusal,
        }
    }

    pub(super) fn refused(&self, refusal: &Refusal) {
        let mut late = self.entry.late.borrow_mut();
        late.code = Some(refusal.code.to_string());
        late.cause.clone_from(&refusal.cause);
        drop(late);
        metric::counter(Metric::ClientErrors, &[&refusal.code]).increment(1);
        if refusal.blame == Blame::House {
            tracing::debug!(id = %self.entry.id, code = %refusal.code, cause = refusal.cause, "refused by us");
        }
    }

    /// Names the request in the answer, and writes the line when the answer's body has ended.
    pub(super) fn close(self, mut response: Response<Reply>, debug_headers: bool) -> Response<Reply> {
        let entry = self.entry;
        {
            let mut late = entry.late.borrow_mut();
            late.status = response.status().as_u16();
            late.first_byte = Some(entry.clock.mono().saturating_duration_since(entry.at.mono));
            let headers = response.headers_mut();
            if let Ok(id) = HeaderValue::from_bytes(&entry.id.text()) {
                headers.insert(&ID_2, id.clone());
                headers.insert(&REQUEST_ID, id);
            }
            if debug_headers && !late.journey.notes.is_empty() {
                let region = late.region.as_ref().map_or("none", RegionId::as_str);
                if let Ok(region) = HeaderValue::from_str(region) {
                    headers.insert(&DEBUG_REGION, region);
                }
                let attempts = match late.journey.notes.len() {
                    1 => HeaderValue::from_static("1"),
                    more => HeaderValue::from(more),
                };
                headers.insert(&DEBUG_ATTEMPTS, attempts);
            }
        }
        response.map(|body| {
            let body = if debug_headers { body.telling(&DEBUG_RESUMED) } else { body };
            body.observed(Box::new(move |ending, bytes| entry.write(Some(ending), bytes)))
        })
    }
}

impl Entry {
    fn write(&self, ending: Option<Ending>, bytes_out: u64) {
        if self.written.replace(true) {
            return;
        }
        let late = self.late.borrow();
        let total = self.clock.mono().saturating_duration_since(self.at.mono);
        let (aborted, cut_for) = match ending {
            Some(Ending::Whole) => (None, None),
            Some(Ending::Cut | Ending::Stalled) => (Some(Aborted::Region), None),
            Some(Ending::Dropped) | None => match self.fate.ended_for() {
                None => (Some(Aborted::Client), None),
                why => (Some(Aborted::Proxy), why),
            },
        };
        let why = late.journey.why.as_ref().map(in_words);
        self.access.write(&AccessLine {
            id: self.id,
            at: (self.at.wall, self.at.wall_millis),
            peer: self.peer.socket(),
            tls: self.tls,
            http2: self.http2,
            method: self.head.method().as_str(),
            path: self.head.path(),
            query: self.head.query(),
            user_agent: self.head.first("user-agent"),
            access_point: late.access_point.as_ref().map(AccessPointName::as_str),
            operation: self.operation.get(),
            client: late.client.as_ref(),
            status: late.status,
            code: late.code.as_deref(),
            cause: late.cause.as_deref().or(cut_for),
            region: late.region.as_ref(),
            attempts: u32::try_from(late.journey.notes.len()).unwrap_or(u32::MAX),
            why: why.as_deref(),
            tries: &late.journey.notes,
            bytes_in: late.bytes_in,
            bytes_out,
            total,
            first_byte: late.first_byte,
            upstream: late.journey.ttfb,
            shield: late.shield,
            resumed: late.resumed,
            settled: late.journey.settled,
            aborted,
        });
        let operation = self.operation.get().unwrap_or("none");
        let meters = self.meters.request(operation, late.region.as_ref(), late.status);
        meters.answered(total, late.first_byte.unwrap_or(total));
        self.meters.body_bytes(late.bytes_in, bytes_out);
        self.count_attempts(&late.journey);
        if let Some(at) = late.resumed_at {
            metric::counter(Metric::ResumedBytes, &[]).increment(bytes_out.saturating_sub(at));
        }
        if let Some(aborted) = aborted {
            metric::counter(Metric::RequestsAborted, &[aborted.label()]).increment(1);
        }
    }
}

/// Room for the reason of a plan of three regions; longer ones grow.
const WHY_USUAL: usize = 160;

/// The reason of a plan, as it is logged.
fn in_words(why: &Why) -> String {
    let mut words = String::with_capacity(WHY_USUAL);
    // writing to a string does not fail
    let _never = write!(words, "{why}");
    words
}

/// Outcomes after which a request may have been carried out although nobody said so.
const UNHEARD: [&str; 2] = ["broken", "silent"];

impl Entry {
    fn count_attempts(&self, journey: &Journey) {
        for note in &journey.notes {
            self.meters.attempt(&note.region, note.outcome);
        }
        for pair in journey.notes.windows(2) {
            let [before, after] = pair else { continue };
            // The two ran side by side: neither followed the other.
            // What a region has not is no fault of it: the lag shield counts that.
            // What was answered is followed by another request of many.
            if [ANSWERED, CANCELLED, NOT_FOUND].contains(&before.outcome) {
                continue;
            }
            metric::counter(Metric::Retries, &[before.outcome]).increment(1);
            if before.region != after.region {
                metric::counter(Metric::Failovers, &[before.region.as_str(), after.region.as_str()])
                    .increment(1);
            }
            if self.operation.get() == Some("CreateMultipartUpload") && UNHEARD.contains(&before.outcome) {
                metric::counter(Metric::UploadOrphans, &[before.region.as_str()]).increment(1);
            }
        }
    }
}

/// A request whose client went away before there was an answer has a line too.
impl Drop for Entry {
    fn drop(&mut self) {
        self.write(None, 0);
    }
}
