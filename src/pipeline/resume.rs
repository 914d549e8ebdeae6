//! A GET whose reply may go on elsewhere: what is kept of the request until its last byte has left,
//! and how what is missing is asked for.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use http::{Method, Response};

use super::checksums;
use super::ids::Ids;
use super::ledger::Ledger;
use super::outgoing::Outgoing;
use super::sender::Sender;
use super::{House, Visit};
use crate::body::reply::{Resume, Resumed, Resuming};
use crate::body::{Reply, Source};
use crate::exchange::{Abandoned, Errand, Journey, Prepared, Reached, Resumption};
use crate::fleet::Standing;
use crate::head::Head;
use crate::route::resume::{Ask, Broken, How, Thread};
use crate::route::{AccessPoint, Permit, Step};
use crate::s3::Call;
use crate::s3::operation::Kind;
use crate::telemetry::metric::{self, Metric};
use crate::view::RegionSettings;

/// What the missing bytes are asked for without: what the first answer has settled.
const SETTLED: &[&str] = &["range", "if-"];

/// What is known of the object of an answer, where its body may go on elsewhere.
pub(super) fn thread(visit: &Visit<'_>, reached: &Reached) -> Option<Thread> {
    let resumable = visit.call.facts().resumable && visit.view.limits.resumes > 0 && !reached.body.is_empty();
    if !resumable {
        return None;
    }
    Thread::of(&reached.step.region, reached.head.status, &reached.head.headers)
}

/// The answer with what going on with it takes. Moves only; nothing is made before a reply breaks.
pub(super) fn keep(
    visit: Visit<'_>,
    permit: Permit,
    thread: Option<Thread>,
    mut response: Response<Reply>,
) -> Response<Reply> {
    if checksums::adds(&visit) {
        checksums::hide(response.headers_mut());
    }
    let Some(thread) = thread else { return response };
    let total = thread.total();
    let Visit { house, view: _, ledger, sender, head, call, access_point, copy_from: _, ids, nonce: _ } =
        visit;
    let (house, ledger) = (Rc::clone(house), ledger.share());
    let kept = Kept { house, ledger, sender, head, call, access_point, ids, permit, thread, resumes: 0 };
    response.map(|body| body.resumable(Box::new(kept), total))
}

/// A request whose reply is on its way.
struct Kept {
    house: Rc<House>,
    ledger: Ledger,
    sender: Sender,
    head: Rc<Head>,
    call: Arc<Call>,
    access_point: Arc<AccessPoint>,
    ids: Ids,
    permit: Permit,
    thread: Thread,
    /// How often it was gone on with.
    resumes: u32,
}

impl Resume for Kept {
    fn resume(self: Box<Self>, broken: Broken) -> Resuming {
        Box::pin(self.go_on(broken))
    }

    fn is_lost(&self) -> bool {
        let (exchange, region) = (&self.house.exchange, self.thread.region());
        let table = &self.house.view.load().table;
        let out = table.standing(region, Kind::Read) == Standing::Out;
        !table.self_suspect()
            && (out || exchange.meters.of(region).is_silent(exchange.clock.mono()))
            && self.access_point.members.len() > 1
    }
}

impl Kept {
    async fn go_on(self: Box<Self>, broken: Broken) -> Resumed {
        let Self { house, ledger, sender, head, call, access_point, ids, permit, thread, resumes } = *self;
        // Whatever is decided now is decided by what is true now.
        let view = house.view.load_full();
        let visit = Visit {
            house: &house,
            view: &view,
            ledger: &ledger,
            sender,
            head,
            call,
            access_point,
            copy_from: None,
            ids,
            nonce: Cell::default(),
        };
        let resumption = fetch(&visit, &permit, &thread, &broken, resumes).await;
        let (body, thread, resumes) = match resumption {
            Resumption::Rest(body, thread) => (Some(body), *thread, resumes + 1),
            Resumption::Complete => return Resumed::Complete,
            Resumption::Abandoned(_) => (None, thread, resumes),
        };
        let Visit { sender, head, call, access_point, ids, .. } = visit;
        let (house, ledger) = (Rc::clone(&house), ledger.share());
        if body.is_some() {
            ledger.resumed(broken.delivered);
        }
        let next = Self { house, ledger, sender, head, call, access_point, ids, permit, thread, resumes };
        match body {
            Some(body) => Resumed::Rest(body, Box::new(next)),
            None => Resumed::Abandoned(Box::new(next)),
        }
    }
}

/// Asks for what is missing.
async fn fetch(
    visit: &Visit<'_>,
    permit: &Permit,
    thread: &Thread,
    broken: &Broken,
    resumes: u32,
) -> Resumption {
    // What is only silent goes on as it was where nobody else has the rest.
    let may_go_on = broken.how == How::Silent;
    if !may_go_on {
        visit.ledger.broke(broken.label());
    }
    let source = Source::empty();
    let outgoing = Outgoing::new(visit, &source, None);
    let errand = Errand {
        permit,
        came: visit.ledger.came(),
        source: &source,
        written: None,
        in_hand: false,
        prepare: &|step, region| outgoing.prepare(step, region),
        replan: &|tried| super::replan(visit, permit, tried),
        anonymous: visit.sender.anonymous_upstream,
        own_credential: &|region| visit.sender.own_credential(region),
        canary: &|step| super::blame::canary(visit, step),
    };
    let exchange = &visit.house.exchange;
    exchange.broke_off(&errand, thread.region(), broken);
    let journey = RefCell::new(Journey::default());
    let resumption = if resumes < visit.view.limits.resumes {
        let asking =
            |step: &Step, settings: &RegionSettings, ask: &Ask| asked(visit, &source, step, settings, ask);
        exchange.resume(&errand, &asking, thread, broken, &journey).await
    } else {
        Resumption::Abandoned(Abandoned::Limit)
    };
    if may_go_on && !matches!(resumption, Resumption::Abandoned(_)) {
        visit.ledger.broke(broken.label());
    }
    visit.ledger.went_on(journey.into_inner());
    let outcome = resumption.label();
    tracing::debug!(id = %visit.ledger.id(), region = %thread.region(), broke = broken.label(), outcome, "a reply broke off");
    metric::counter(Metric::Resumes, &[thread.region().as_str(), outcome]).increment(1);
    resumption
}

/// The request for what is missing, or for the head of the object.
fn asked(visit: &Visit<'_>, source: &Source, step: &Step, settings: &RegionSettings, ask: &Ask) -> Prepared {
    let mut outgoing = Outgoing::new(visit, source, None);
    outgoing.dropped_headers = SETTLED;
    outgoing.replaced_query.push(("partNumber", None));
    let mut prepared = outgoing.prepare(step, settings);
    let head = &mut prepared.head;
    match &ask.range {
        Some(range) => head.push("range", range.to_string().as_bytes()),
        None => head.set_method(Method::HEAD),
    }
    if let Some(etag) = &ask.if_match {
        head.push("if-match", etag.as_bytes());
    }
    if ask.checksums {
        checksums::ask(head);
    }
    prepared
}
