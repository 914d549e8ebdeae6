//! Requests that are more than one: deletions of many keys, whose version ids may be of many
//! regions, the listing of uploads, which live in every region, and that of buckets, which are the
//! store's and ours.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};

use super::ids::{Begun, Replaced, Wrapper, bound_bucket, forged, parameter, unknown_key};
use super::outgoing::Outgoing;
use super::{Visit, intake, local, plan, plan_on, relay, shield, travel};
use crate::body::{Reply, Source};
use crate::exchange::{Reached, Unanswered};
use crate::http1::ClientBody;
use crate::names::RegionId;
use crate::policy;
use crate::refusal::{Blame, Refusal};
use crate::route::{self, Affinity, Change, GiveUp, NoRoute, Permit, Versions};
use crate::s3::buckets::{self, Asked, Bucket};
use crate::s3::profile::Feature;
use crate::s3::xml::{self, DeleteRequest, NotDeleted, ObjectToDelete, UploadsAsked};
use crate::s3::{Code, Malformed, merge};
use crate::telemetry::metric::{self, Metric};
use crate::token::{self, Binding, Kind, NotOpened};
use crate::units::UnixSeconds;

/// Most uploads in a page (S3's own bound).
const UPLOADS_MAX: usize = 1000;

/// `DeleteObjects`: every key is authorised on its own; versions go where they are.
pub(super) async fn delete_objects(
    mut visit: Visit<'_>,
    body: ClientBody,
) -> Result<Response<Reply>, Refusal> {
    let source = intake::receive(&visit, body)?;
    let document = intake::document(&visit, &source).await;
    visit.ledger.received(source.wire_bytes());
    let document = document?;
    require_checksum(&visit)?;
    let request = xml::delete_request(&document)?;
    for object in &request.objects {
        let action = if object.version_id.is_some() { "s3:DeleteObjectVersion" } else { "s3:DeleteObject" };
        let (grant, name) = (&visit.sender.grant, &visit.access_point.name);
        policy::decide_key(grant, &visit.call, action, name, object.key.as_bytes())?;
    }
    if request.objects.iter().any(|object| !object.conditions.is_empty()) {
        // A store that passes over them would delete what was not meant.
        let call = Arc::make_mut(&mut visit.call);
        call.conditional_write = true;
        call.depends_on = call.depends_on.with(Feature::ConditionalDeletes);
        for object in request.objects.iter().filter(|object| !object.conditions.is_empty()) {
            shield::refuse_condition_on_what_moved(&visit, object.key.as_bytes())?;
        }
    }
    let parts = by_region(&visit, &request)?;
    if let [part] = parts.as_slice() {
        let (permit, plan) = part.planned(&visit)?;
        return relay::relay(&visit, part.send(&visit, &permit, plan).await?).await;
    }
    delete_apart(&visit, &parts).await
}

/// Deletions in several regions, answered as one. All are planned before any is sent; and once one
/// was carried out, those that fail are told key by key: a client that was told of a failure as a
/// whole would repeat what was done, perhaps upon a newer object.
async fn delete_apart(visit: &Visit<'_>, parts: &[Part]) -> Result<Response<Reply>, Refusal> {
    let planned: Vec<_> = parts.iter().map(|part| part.planned(visit)).collect::<Result<_, _>>()?;
    let mut results = Vec::with_capacity(parts.len());
    for (part, (permit, plan)) in parts.iter().zip(planned) {
        let failed = match part.send(visit, &permit, plan).await {
            Ok(reached) if reached.head.status.is_success() => match deletions(visit, reached).await {
                Ok(result) => {
                    results.push(result);
                    continue;
                }
                // Carried out all the same, and nobody knows how.
                Err(refusal) => refusal,
            },
            Ok(reached) if results.is_empty() => return relay::relay(visit, reached).await,
            Ok(reached) => relay::refusal(visit, &reached),
            Err(refusal) if results.is_empty() => return Err(refusal),
            Err(refusal) => refusal,
        };
        visit.ledger.refused(&failed);
        results.push(merge::failed_deletions(&part.asked, &failed.code, &failed.message));
    }
    let merged = merge::delete_results(&results).ok_or_else(|| unreadable("no result of a deletion"))?;
    Ok(local::document(merged))
}

/// What a region says of its part.
async fn deletions(visit: &Visit<'_>, reached: Reached) -> Result<String, Refusal> {
    let result = relay::rewritten(visit, reached).await?;
    let whole = merge::delete_results(std::slice::from_ref(&result));
    whole.ok_or_else(|| unreadable("it is no result of a deletion"))
}

/// S3 wants these bodies protected, since a flipped bit deletes another key.
fn require_checksum(visit: &Visit<'_>) -> Result<(), Refusal> {
    if intake::is_protected(visit)? {
        return Ok(());
    }
    let words = "Missing required header for this request: Content-MD5 OR x-amz-checksum-*";
    Err(Refusal::because(Code::InvalidRequest, Blame::Client, words))
}

/// The deletions of one region.
struct Part {
    /// `None`: wherever keys without versions are deleted.
    region: Option<RegionId>,
    /// In the region's words.
    request: DeleteRequest,
    /// In the client's.
    asked: Vec<ObjectToDelete>,
}

impl Part {
    /// Leave to carry it out, and where.
    fn planned(&self, visit: &Visit<'_>) -> Result<(Permit, route::Plan), Refusal> {
        let permit = bound(visit, self.region.as_ref());
        let plan = plan(visit, &permit)?;
        Ok((permit, plan))
    }

    /// To its region, its checksum computed anew.
    async fn send(&self, visit: &Visit<'_>, permit: &Permit, plan: route::Plan) -> Result<Reached, Refusal> {
        let document = Bytes::from(self.request.document());
        let source = Source::full(document.clone());
        let mut outgoing = Outgoing::new(visit, &source, Some(&document));
        outgoing.change_document();
        let mut reached = travel(visit, permit, plan, &outgoing).await?;
        if reached.head.status.is_success() {
            let failed = not_deleted(&mut reached).await;
            let fate = |object: &ObjectToDelete| match failed.iter().find(|failed| failed.is(object)) {
                None => Some(Change::of_deletion(object.version_id.is_some())),
                // by the store's fault: it may be gone all the same, and is read where that can be seen
                Some(failed) if is_fault(&failed.code) => Some(Change::Touched),
                Some(_) => None,
            };
            let changed = self.request.objects.iter();
            let changed = changed.filter_map(|object| Some((object.key.as_bytes(), fate(object)?)));
            shield::remember_deleted(visit, &reached.step.region, changed);
        }
        Ok(reached)
    }
}

/// What was not deleted, as far as the result has come: it is not waited for. Who sends white space first
/// is taken at its word that everything was.
async fn not_deleted(reached: &mut Reached) -> Vec<NotDeleted> {
    let result = tokio::time::timeout(Duration::ZERO, reached.body.read_ahead(relay::DOCUMENT)).await;
    match result {
        Ok(Ok(Some(document))) => xml::not_deleted(document),
        Ok(Ok(None) | Err(_)) | Err(_) => Vec::new(),
    }
}

fn is_fault(code: &str) -> bool {
    Code::parse(code).is_none_or(|code| code.status().is_server_error())
}

/// Leave for one region, or for whichever it is by the order.
pub(super) fn bound(visit: &Visit<'_>, region: Option<&RegionId>) -> Permit {
    Permit::granted(
        Arc::clone(&visit.access_point),
        visit.sender.client.clone(),
        Arc::clone(&visit.call),
        region.cloned().map_or(Affinity::None, Affinity::Region),
    )
}

/// One request for each region that a version names, and one for the keys without.
fn by_region(visit: &Visit<'_>, request: &DeleteRequest) -> Result<Vec<Part>, Refusal> {
    let mut parts: BTreeMap<Option<RegionId>, Part> = BTreeMap::new();
    for asked in &request.objects {
        let (region, object) = located(visit, asked)?;
        let part = parts.entry(region.clone()).or_insert_with(|| Part {
            region,
            request: DeleteRequest { quiet: request.quiet, objects: Vec::new() },
            asked: Vec::new(),
        });
        part.request.objects.push(object);
        part.asked.push(asked.clone());
    }
    Ok(parts.into_values().collect())
}

fn located(
    visit: &Visit<'_>,
    object: &ObjectToDelete,
) -> Result<(Option<RegionId>, ObjectToDelete), Refusal> {
    let mut object = object.clone();
    let (Some(keys), Some(text)) = (&visit.view.tokens, object.version_id.clone()) else {
        return Ok((None, object));
    };
    let home = Some(visit.access_point.home.clone());
    if !visit.wraps() || visit.access_point.versions == Versions::Shared {
        return Ok((home, object));
    }
    let binding = Binding {
        access_point: &visit.access_point.name,
        bucket: bound_bucket(&visit.access_point, visit.call.bucket()),
        key: object.key.as_bytes(),
    };
    match token::open(keys, Kind::Version, &text, &binding) {
        Ok(token) => {
            object.version_id = Some(token.id);
            Ok((Some(token.region), object))
        }
        Err(NotOpened::NotOurs) => Ok((home, object)),
        Err(NotOpened::Forged) => Err(forged(Code::InvalidArgument)),
        Err(NotOpened::UnknownKey) => Err(unknown_key(&visit.access_point)),
    }
}

/// `ListMultipartUploads`: every region's page, merged by key, ids wrapped.
pub(super) async fn list_uploads(visit: Visit<'_>) -> Result<Response<Reply>, Refusal> {
    let asked = uploads_asked(&visit)?;
    let mut merged: Option<xml::UploadsPage> = None;
    for member in visit.access_point.members.clone() {
        let Some(page) = page_of(&visit, &member.region, &asked).await? else { continue };
        merged = Some(match merged {
            None => page,
            Some(first) => first.merged(page),
        });
    }
    let mut page =
        merged.ok_or_else(|| Refusal::unavailable(Blame::Region, "no region listed its uploads"))?;
    page.cut(asked.max_uploads);
    Ok(local::document(page.document(&asked)))
}

fn uploads_asked(visit: &Visit<'_>) -> Result<UploadsAsked, Refusal> {
    let value = |name| parameter(visit.head.query(), name);
    let wanted = value("max-uploads").map_or(Ok(UPLOADS_MAX), |text| text.parse::<usize>());
    let wanted = wanted.map_err(|_| Malformed::argument("max-uploads", "", "not an integer"))?;
    Ok(UploadsAsked {
        bucket: relay::logical_bucket(visit).to_owned(),
        prefix: value("prefix"),
        delimiter: value("delimiter"),
        key_marker: value("key-marker").unwrap_or_default(),
        upload_id_marker: value("upload-id-marker").unwrap_or_default(),
        max_uploads: wanted.min(UPLOADS_MAX),
        encoded: value("encoding-type").as_deref() == Some("url"),
    })
}

/// A region's uploads after the markers. `None` where it is out or does not answer: its uploads are
/// then as unreachable as their parts, and a listing without them, said and counted, is better than
/// none. A region that answers, and be it with an error, is never left out.
///
/// It is asked for as many as the client: the first so many of all are among the first so many of
/// each. What it says is counted as a document of the request: the merged page is no longer than all of
/// them together.
async fn page_of(
    visit: &Visit<'_>,
    region: &RegionId,
    wanted: &UploadsAsked,
) -> Result<Option<xml::UploadsPage>, Refusal> {
    let permit = bound(visit, Some(region));
    let source = Source::empty();
    let mut outgoing = Outgoing::new(visit, &source, None);
    outgoing.replaced_query = markers(visit, region, wanted)?;
    let asked = match plan_on(visit, visit.view, &permit, &[]) {
        Ok(plan) => travel(visit, &permit, plan, &outgoing).await,
        Err(no_route) => Err(Unanswered::NoRoute(no_route)),
    };
    let reached = match asked {
        Ok(reached) if reached.head.status == StatusCode::OK => reached,
        Ok(reached) => return Err(not_listed(relay::refusal(visit, &reached))),
        Err(silence) if is_silence(&silence) => {
            leave_out(visit, region, silence);
            return Ok(None);
        }
        Err(unanswered) => return Err(unanswered.into()),
    };
    let admit = |bytes: usize| intake::hold(visit, bytes as u64);
    let document = reached.body.collect_admitted(relay::DOCUMENT, admit).await?;
    let document = document.ok_or_else(|| Refusal::unavailable(Blame::Region, "a listing broke off"))?;
    let mut page = xml::list_uploads_result(&document, wanted.encoded).map_err(unreadable)?;
    let wrapper = Wrapper::new(visit.view, &visit.access_point, visit.call.bucket(), region);
    let wrapped = page.uploads.iter().map(|upload| {
        let begun = Begun { initiated: initiation(&upload.initiated), nonce: None };
        wrapper.upload(&upload.upload_id, &upload.key, begun)
    });
    let wrapped: Vec<String> = wrapped.collect();
    for (upload, id) in page.uploads.iter_mut().zip(wrapped) {
        upload.upload_id = id;
    }
    if !page.next_upload_id_marker.is_empty() {
        page.next_upload_id_marker =
            wrapper.upload(&page.next_upload_id_marker, &page.next_key_marker, NOWHEN);
    }
    Ok(Some(page))
}

/// Of a marker, by which nothing is completed.
const NOWHEN: Begun = Begun { initiated: UnixSeconds(0), nonce: None };

/// A region's error as that of the whole listing, which may be asked for again.
fn not_listed(refusal: Refusal) -> Refusal {
    if refusal.status.is_server_error() && refusal.status != StatusCode::SERVICE_UNAVAILABLE {
        return Refusal::unavailable(Blame::Region, format!("a region lists no uploads: {}", refusal.code));
    }
    refusal
}

/// Whether a region is out or was not heard; else the obstacle is ours or the client's.
fn is_silence(unanswered: &Unanswered) -> bool {
    match unanswered {
        Unanswered::NoRoute(NoRoute::RegionDown(_)) | Unanswered::Refusing => true,
        Unanswered::GaveUp(reason) => match reason {
            GiveUp::Ambiguous
            | GiveUp::TooLate
            | GiveUp::NoRegion
            | GiveUp::Attempts
            | GiveUp::Deadline
            | GiveUp::Budget => true,
            GiveUp::BodySpent | GiveUp::Poisonous | GiveUp::Shortage => false,
        },
        Unanswered::NoRoute(_)
        | Unanswered::Body(_)
        | Unanswered::Full
        | Unanswered::Throttled
        | Unanswered::Hopeless
        | Unanswered::Target => false,
    }
}

/// How often a worker says that listings are not complete: clients may ask for many.
const SAID_EVERY: Duration = Duration::from_secs(10);

fn leave_out(visit: &Visit<'_>, region: &RegionId, silence: Unanswered) {
    metric::counter(Metric::UploadsLeftOut, &[region.as_str()]).increment(1);
    let now = visit.house.clock.mono();
    let said = &visit.house.left_out_said;
    if said.get().is_none_or(|last| now.saturating_duration_since(last) >= SAID_EVERY) {
        said.set(Some(now));
        let why = Refusal::from(silence).cause;
        tracing::warn!(%region, access_point = %visit.access_point.name, why,
            "uploads are listed without those of a region");
    }
}

/// The markers as a region understands them: an upload's id means something in its own region
/// only; elsewhere the listing goes on behind the key.
fn markers(visit: &Visit<'_>, region: &RegionId, wanted: &UploadsAsked) -> Result<Replaced, Refusal> {
    let mut replaced = Replaced::new();
    replaced.push(("max-uploads", Some(wanted.max_uploads.to_string())));
    let query = visit.head.query();
    let (Some(key), Some(text)) = (parameter(query, "key-marker"), parameter(query, "upload-id-marker"))
    else {
        return Ok(replaced);
    };
    let Some(keys) = visit.view.tokens.as_ref().filter(|_| !text.is_empty()) else { return Ok(replaced) };
    let binding = Binding {
        access_point: &visit.access_point.name,
        bucket: bound_bucket(&visit.access_point, visit.call.bucket()),
        key: key.as_bytes(),
    };
    let mut own = None;
    for marker in merge::markers(&text) {
        match token::open(keys, Kind::Upload, marker, &binding) {
            Ok(token) if token.region == *region => own = Some(token.id),
            Ok(_) => {}
            // What is no token of ours may have dots of its own: no marker at all, then.
            Err(NotOpened::NotOurs) => break,
            Err(NotOpened::UnknownKey) => return Err(unknown_key(&visit.access_point)),
            Err(NotOpened::Forged) => return Err(forged(Code::InvalidArgument)),
        }
    }
    replaced.push(("upload-id-marker", own));
    Ok(replaced)
}

/// Most pages of a store's buckets that are read: ten times S3's own bound of buckets.
const BUCKET_PAGES: usize = 10;

/// `ListBuckets` where there are named access points: the store's less their physical buckets, and
/// those of them that the sender may list instead.
pub(super) async fn list_buckets(visit: Visit<'_>) -> Result<Response<Reply>, Refusal> {
    let asked = Asked::of(visit.head.query())?;
    let mut theirs: Vec<Bucket> = Vec::new();
    let (mut token, mut region) = (None, None);
    for _ in 0..BUCKET_PAGES {
        // what home has not is not yet everybody's; and a store's token is its own
        let permit = match &region {
            Some(region) => bound(&visit, Some(region)),
            None => visit.permit_of(Affinity::Prefer(visit.access_point.home.clone())),
        };
        let source = Source::empty();
        let mut outgoing = Outgoing::new(&visit, &source, None);
        outgoing.replaced_query.extend(asked.of_store(token));
        let plan = plan(&visit, &permit)?;
        let reached = travel(&visit, &permit, plan, &outgoing).await?;
        if !reached.head.status.is_success() {
            return relay::relay(&visit, reached).await;
        }
        visit.ledger.answered_by(&reached.step.region);
        region = Some(reached.step.region);
        let admit = |bytes: usize| intake::hold(&visit, bytes as u64);
        let document = reached.body.collect_admitted(relay::DOCUMENT, admit).await?;
        let document = document.ok_or_else(|| unreadable("the list of buckets broke off"))?;
        let page = buckets::read(&document).map_err(unreadable)?;
        theirs.extend(page.buckets.into_iter().filter(|bucket| is_the_stores(&visit, &bucket.name)));
        token = page.next;
        if token.is_none() {
            return Ok(local::buckets(visit.view, &visit.sender, &asked, theirs));
        }
    }
    Err(unreadable("the list of buckets does not end"))
}

/// Whether clients that say this name mean the store's own bucket: neither an access point nor
/// what is behind one.
fn is_the_stores(visit: &Visit<'_>, name: &str) -> bool {
    let meant = visit.view.access_points.resolve(name);
    meant.is_some_and(|access_point| access_point.is_wildcard())
}

/// When an upload began, by its listing; the epoch where that cannot be read.
fn initiation(text: &str) -> UnixSeconds {
    UnixSeconds(text.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_second))
}

fn unreadable(fault: impl std::fmt::Display) -> Refusal {
    Refusal::unavailable(Blame::Region, format!("a region's answer cannot be read: {fault}"))
}
