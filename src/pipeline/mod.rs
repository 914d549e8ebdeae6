//! The story: one request from its head to its answer. Read [`answer`] and [`carry`] from top to
//! bottom, and you know the product.
//!
//! listen → classify → verify → enter → authorise → plan → exchange → relay. Each step takes what the one
//! before proved: there is no plan without a permit and no permit without a verified sender.

mod blame;
mod checksums;
mod copies;
mod entrance;
mod everywhere;
mod form;
mod house;
mod ids;
mod intake;
mod ledger;
mod local;
mod many;
mod outgoing;
mod owner;
mod relay;
mod resume;
mod sender;
mod settle;
mod shield;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use http::Response;

pub use house::{House, Quarantine};
pub use shield::Changes;

use self::entrance::Caller;
use self::ids::Ids;
use self::ledger::Ledger;
use self::outgoing::Outgoing;
use self::sender::Sender;
use crate::body::{Reply, Source};
use crate::exchange::{Errand, Journey, Reached, Unanswered};
use crate::head::{Head, strict};
use crate::http1::ClientBody;
use crate::listen::{Fate, ListenerSettings, Peer, Unwelcome};
use crate::names::{RegionId, WriteNonce};
use crate::policy::{self, Granted, Named};
use crate::refusal::{Blame, Refusal};
use crate::route::{self, AccessPoint, Affinity, Change, GiveUp, Member, NoRoute, Permit, Recalled, Scene};
use crate::s3::operation::{BodyKind, Operation};
use crate::s3::profile::Features;
use crate::s3::{Call, Code, classify};
use crate::view::View;

/// Answers one request. Never fails: a refusal becomes S3's error document.
pub async fn answer(
    house: &Rc<House>,
    peer: &Rc<Peer>,
    head: Head,
    body: ClientBody,
    fate: Fate,
) -> Response<Reply> {
    let now = house.clock.now();
    let head = Rc::new(head);
    let ledger = Ledger::open(house, peer, &head, fate, now);
    let (view, terms) = house.in_force(peer).await;
    let debug_headers = terms.as_ref().is_ok_and(|terms| terms.settings.debug_headers);
    if local::is_health(&head, &view.domains) {
        ledger.named(local::HEALTH_OPERATION);
        return ledger.close(local::health(), debug_headers);
    }
    let head_only = *head.method() == http::Method::HEAD;
    let told = match terms {
        Ok(terms) => tell(house, &view, (peer, &terms.settings), head, body, &ledger).await,
        Err(unwelcome) => Err(refuse(unwelcome)),
    };
    let response = told.unwrap_or_else(|refusal| {
        let refusal = ledger.explained(refusal);
        ledger.refused(&refusal);
        refusal.respond(ledger.resource(), ledger.id(), head_only)
    });
    ledger.close(response, debug_headers)
}

/// A connection that is being closed brought one more request.
fn refuse(unwelcome: Unwelcome) -> Refusal {
    let code = match unwelcome {
        Unwelcome::NotAllowed => Code::AccessDenied,
        // SDKs ask again, over a new connection
        Unwelcome::Outdated => Code::ServiceUnavailable,
    };
    let mut refusal = Refusal::new(code, Blame::House).caused_by(unwelcome.to_string());
    refusal.close = true;
    refusal
}

/// From a head to an answer, or to the refusal that the client deserves.
async fn tell(
    house: &Rc<House>,
    view: &Arc<View>,
    (peer, listener): (&Peer, &ListenerSettings),
    head: Rc<Head>,
    body: ClientBody,
    ledger: &Ledger,
) -> Result<Response<Reply>, Refusal> {
    let head = before_proxy(listener, peer, head);
    strict::check(&head, &strict::Rules { max_fields: view.limits.header_fields as usize })?;
    house.refuse_loop(&head)?;
    let mut call = classify::classify(&head, &view.domains)?;
    let unmeasured = peer.http2 && call.framing.content_length.is_none();
    if unmeasured && body.is_end_stream() {
        call.framing.content_length = Some(0);
    }
    ledger.classified(&call);

    let caller = Caller { house, view, peer, call: &call, came: ledger.came() };
    caller.knock(listener, &head)?;
    if call.operation == Operation::PostObject {
        // Boxed: few requests come here, and the futures of the others stay as small.
        return Box::pin(form::post(&caller, view, listener, &head, body, ledger)).await;
    }
    let mut sender = sender::verify(house, view, listener, (peer, &head), &call)?;
    let head = sender.restored.take().map_or(head, |restored| Rc::new(*restored));
    ledger.sent_by(&sender);
    ledger.hold(caller.enter(sender.client.as_deref()).await?);
    if unmeasured && call.framing.content_length.is_none() && !tells_length(&call, &sender) {
        // HTTP/1.1 cannot say it so: it has a Transfer-Encoding, or no body
        return Err(Refusal::new(Code::MissingContentLength, Blame::Client));
    }
    proceed(house, view, ledger, Request { sender, head, call, cargo: Cargo::Body(body) }).await
}

/// The head with the `Host` that the client used, where a trusted proxy says which.
fn before_proxy(listener: &ListenerSettings, peer: &Peer, head: Rc<Head>) -> Rc<Head> {
    if listener.trusted_proxies.is_empty() || !peer.address.ip().is_some_and(|ip| listener.trusts(ip)) {
        return head;
    }
    let told = head.first_text("x-forwarded-host").and_then(|hosts| hosts.split(',').next()).map(str::trim);
    match told.filter(|host| !host.is_empty() && head.first_text("host") != Some(host)) {
        None => head,
        Some(host) => {
            let mut restored = Head::clone(&head);
            restored.set("host", host.as_bytes());
            Rc::new(restored)
        }
    }
}

/// A request whose sender is known.
struct Request {
    sender: Sender,
    head: Rc<Head>,
    call: Call,
    cargo: Cargo,
}

/// What a request brings.
enum Cargo {
    /// A body of its own.
    Body(ClientBody),
    /// The file of a form.
    File(Box<form::Upload>),
    /// Nothing.
    Nothing,
}

/// From a request to its answer.
async fn proceed(
    house: &Rc<House>,
    view: &Arc<View>,
    ledger: &Ledger,
    Request { sender, head, call, cargo }: Request,
) -> Result<Response<Reply>, Refusal> {
    let access_point = resolve(view, &call)?;
    let granted = authorise(view, &sender, &call, access_point.as_ref())?;
    owner::check(view, &head, &call, access_point.as_deref())?;
    if let Some(reply) = local::answer(view, &sender, &call, head.query(), access_point.as_ref())? {
        return Ok(reply);
    }
    let access_point = access_point.ok_or_else(|| Refusal::new(Code::NoSuchBucket, Blame::Client))?;
    ledger.on(&access_point.name);
    let copy_from = copy_source(view, &call).cloned();
    let ids = Ids::open(view, &access_point, copy_from.as_ref(), &call, head.query())?;
    house.quarantine.admit(&call, house.clock.mono())?;
    let call = Arc::new(call);
    let nonce = Cell::default();
    let visit = Visit { house, view, ledger, sender, head, call, access_point, copy_from, ids, nonce };
    match (visit.call.operation, granted, cargo) {
        (_, Granted::PerKey, Cargo::Body(body)) => many::delete_objects(visit, body).await,
        (Operation::ListBuckets, ..) if visit.view.access_points.are_named() || visit.wraps() => {
            many::list_buckets(visit).await
        }
        (Operation::ListMultipartUploads, ..) if visit.wraps() => many::list_uploads(visit).await,
        // Boxed: few requests are these, and the futures of the others stay as small.
        (Operation::CopyObject | Operation::UploadPartCopy, _, cargo) => {
            Box::pin(copies::copy(visit, cargo)).await
        }
        (_, _, Cargo::Body(body)) if everywhere::is_of_every_region(&visit) => {
            Box::pin(everywhere::change(visit, body)).await
        }
        (.., cargo) => carry(visit, cargo).await,
    }
}

/// A request that may be carried out, with all that is known of it.
struct Visit<'a> {
    house: &'a Rc<House>,
    view: &'a Arc<View>,
    ledger: &'a Ledger,
    sender: Sender,
    head: Rc<Head>,
    call: Arc<Call>,
    access_point: Arc<AccessPoint>,
    /// Where a copy's source is.
    copy_from: Option<Arc<AccessPoint>>,
    ids: Ids,
    /// What the last try has left in the object's metadata.
    nonce: Cell<Option<WriteNonce>>,
}

impl Visit<'_> {
    /// Ids handed to clients are wrapped: there is more than one region they could be of.
    fn wraps(&self) -> bool {
        self.access_point.members.len() > 1
    }

    fn permit(&self) -> Permit {
        self.permit_by(None)
    }

    /// The same, where the key's last change is remembered: it is read where that happened.
    fn permit_by(&self, recalled: Option<&Recalled>) -> Permit {
        let affinity = match route::affinity::affinity(&self.access_point, &self.call, &self.ids.origins) {
            // A copy of a version happens where that version is.
            Affinity::None => self.ids.source_region().cloned().map_or(Affinity::None, Affinity::Region),
            bound => bound,
        };
        let affinity = match (affinity, recalled) {
            (Affinity::None, Some(Recalled { region, change: Change::Touched, .. })) => {
                Affinity::Prefer(region.clone())
            }
            (Affinity::None, Some(recalled)) if shield::begins_there(self, recalled) => {
                Affinity::Recent(recalled.region.clone())
            }
            (affinity, _) => affinity,
        };
        self.permit_of(affinity)
    }

    /// The same, bound as said.
    fn permit_of(&self, affinity: Affinity) -> Permit {
        Permit::granted(self.reachable(), self.sender.client.clone(), Arc::clone(&self.call), affinity)
    }

    /// A stranger that sends its body only once it is asked to: the region says whether it may. What is
    /// empty behind its framing is complete with its head, and nothing of it would be held back.
    fn waits_for_the_region(&self, source: &Source) -> bool {
        self.sender.anonymous_upstream && source.length() > 0 && self.head.first("expect").is_some()
    }

    /// The access point less the regions that do not have a copy's source: stores copy only what
    /// they have, and its logical name may be another's bucket there.
    fn reachable(&self) -> Arc<AccessPoint> {
        let has_source = |member: &Member| {
            let stored = self.copy_from.as_ref().is_none_or(|from| from.member(&member.region).is_some());
            stored && self.ids.source_region().is_none_or(|region| *region == member.region)
        };
        if self.access_point.members.iter().all(has_source) {
            return Arc::clone(&self.access_point);
        }
        let mut narrowed = AccessPoint::clone(&self.access_point);
        narrowed.members.retain(has_source);
        Arc::new(narrowed)
    }
}

/// Plans, takes the body in, sends it to a region and brings the answer; a read that found nothing
/// asks on.
async fn carry(visit: Visit<'_>, cargo: Cargo) -> Result<Response<Reply>, Refusal> {
    shield::refuse_condition_on_what_moved(&visit, visit.call.key())?;
    let recalled = shield::recall(&visit);
    let permit = visit.permit_by(recalled.as_ref());
    let plan = plan(&visit, &permit)?;
    let source = match cargo {
        Cargo::Body(body) => intake::receive(&visit, body)?,
        Cargo::File(upload) => Box::pin(intake::receive_file(&visit, *upload)).await?,
        Cargo::Nothing => Source::empty(),
    };
    if !visit.waits_for_the_region(&source) {
        source.verify_if_short().await?;
        if outgoing::is_trailer_told_ahead(&visit, &plan) {
            source.verify_if_kept().await?;
        }
    }
    let document = match visit.call.facts().body {
        BodyKind::Document => Some(intake::document(&visit, &source).await?),
        BodyKind::Empty | BodyKind::Stream => None,
    };
    let told = document.as_deref().and_then(|document| intake::told_acl(&visit, document));
    let own = document.as_deref().and_then(|document| intake::with_own_keys(&visit, &plan, document));
    let sent = match &own {
        _ if told.is_some() => Source::empty(),
        Some(own) => Source::full(own.clone()),
        None => source.clone(),
    };
    let written = own.as_deref().or(document.as_deref()).filter(|_| told.is_none());
    let mut outgoing = Outgoing::new(&visit, &sent, written);
    if let Some(canned) = told {
        outgoing.say_acl(canned);
    }
    if own.is_some() {
        outgoing.change_document();
    }
    let reached = travel(&visit, &permit, plan, &outgoing).await;
    visit.ledger.received(source.wire_bytes());
    let mut reached = reached?;
    let upload = settle::tag_of_upload(&visit.call, document.as_deref());
    shield::remember(&visit, &reached, upload.as_deref());
    if shield::doubts(&visit, &permit, recalled.as_ref(), &reached) {
        // Boxed: few requests come here, and the futures of the others stay as small.
        reached = Box::pin(shield::look_further(&visit, recalled, &outgoing, reached)).await?;
    }
    let thread = resume::thread(&visit, &reached);
    let response = relay::relay(&visit, reached).await?;
    Ok(resume::keep(visit, permit, thread, response))
}

/// From a plan to a region's answer.
async fn travel(
    visit: &Visit<'_>,
    permit: &Permit,
    plan: route::Plan,
    outgoing: &Outgoing<'_>,
) -> Result<Reached, Unanswered> {
    let errand = Errand {
        permit,
        came: visit.ledger.came(),
        source: outgoing.source,
        written: outgoing.provable(),
        in_hand: false,
        prepare: &|step, region| outgoing.prepare(step, region),
        replan: &|tried| replan(visit, permit, tried),
        anonymous: visit.sender.anonymous_upstream,
        own_credential: &|region| visit.sender.own_credential(region),
        canary: &|step| blame::canary(visit, step),
    };
    let journey = RefCell::new(Journey::default());
    visit.house.exchange.earn();
    let reached = visit.house.exchange.run(&errand, plan, &journey).await;
    visit.ledger.travelled(journey.into_inner());
    if let Err(Unanswered::Full) = &reached {
        entrance::count_region_full(visit.house, &visit.call);
    }
    if let Err(Unanswered::GaveUp(GiveUp::Poisonous)) = &reached {
        tracing::warn!(operation = visit.call.facts().name, "a request ended the connections of two regions");
        visit.house.quarantine.take(&visit.call, visit.house.clock.mono());
    }
    reached
}

/// Whether it is known how long a body will be of which HTTP itself says nothing: none is awaited, or
/// its own framing tells.
fn tells_length(call: &Call, sender: &Sender) -> bool {
    call.facts().body == BodyKind::Empty || sender.framing.is_some()
}

/// The access point that the client means.
fn resolve(view: &View, call: &Call) -> Result<Option<Arc<AccessPoint>>, Refusal> {
    // The service itself is the wildcard's where there is one: its store lists its own buckets.
    let Some(bucket) = call.bucket() else { return Ok(view.access_points.wildcard().cloned()) };
    match view.access_points.resolve(bucket) {
        Some(access_point) => Ok(Some(Arc::clone(access_point))),
        None => Err(Refusal::new(Code::NoSuchBucket, Blame::Client).with("BucketName", bucket)),
    }
}

/// The access point that a copy's source is in.
fn copy_source<'a>(view: &'a View, call: &Call) -> Option<&'a Arc<AccessPoint>> {
    view.access_points.resolve(&call.copy_source.as_ref()?.bucket)
}

/// Whether the sender may do what the call asks.
fn authorise(
    view: &View,
    sender: &Sender,
    call: &Call,
    access_point: Option<&Arc<AccessPoint>>,
) -> Result<Granted, Refusal> {
    let source = copy_source(view, call).map(|point| &point.name);
    let named = Named { target: access_point.map(|point| &point.name), copy_source: source };
    Ok(policy::decide(&sender.grant, call, named)?)
}

fn plan(visit: &Visit<'_>, permit: &Permit) -> Result<route::Plan, Refusal> {
    Ok(plan_on(visit, visit.view, permit, &[])?)
}

/// Plans again on the view in force: a failover decided later sees what is true then.
fn replan(visit: &Visit<'_>, permit: &Permit, tried: &[RegionId]) -> Result<route::Plan, NoRoute> {
    let view = visit.house.view.load_full();
    plan_on(visit, &view, permit, tried)
}

fn plan_on(
    visit: &Visit<'_>,
    view: &View,
    permit: &Permit,
    tried: &[RegionId],
) -> Result<route::Plan, NoRoute> {
    let honours =
        |region: &RegionId| view.region(region).map_or(Features::NONE, |settings| settings.profile.honours);
    let scene = Scene {
        table: &view.table,
        honours: &honours,
        tried,
        attempts: view.limits.attempts as usize,
        now: visit.house.clock.mono(),
    };
    route::plan(permit, &scene, &mut visit.house.coin.borrow_mut())
}
