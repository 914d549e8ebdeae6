//! Changes of buckets under the wildcard: made in each of its regions, home first, so that what home
//! has is what is listed, and home last where a bucket is deleted, so that it is listed until it is
//! gone everywhere.
//!
//! Nothing is changed unless every region is fit to be asked. What fails half-way is told as an error
//! and can be repeated: what a region did before is done.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response};

use super::ids::Ids;
use super::many::bound;
use super::outgoing::Outgoing;
use super::{Visit, intake, plan_on, relay, travel};
use crate::body::{Reply, Source};
use crate::exchange::Reached;
use crate::head::Head;
use crate::http1::ClientBody;
use crate::names::RegionId;
use crate::policy::Grant;
use crate::refusal::{Blame, Refusal};
use crate::route::{self, NoRoute, Permit};
use crate::s3::everywhere::{Fate, constrained, constraint, is_empty, names_one_region};
use crate::s3::operation::Operation;
use crate::s3::profile::Feature;
use crate::s3::{Code, classify};
use crate::sigv4::is_region_set;
use crate::telemetry::metric::{self, Metric};
use crate::view::LogicalRegion;

/// Most of a listing of one entry that is read.
const LISTING: usize = 64 * 1024;

/// Whether a request changes a bucket in every region that the wildcard has, or is told to one in that
/// region's own words.
pub(super) fn is_of_every_region(visit: &Visit<'_>) -> bool {
    let operation = visit.call.operation;
    let changes = operation.sets_bucket() && visit.access_point.is_wildcard();
    changes && (visit.wraps() || operation == Operation::CreateBucket)
}

/// Carries a change out.
pub(super) async fn change(visit: Visit<'_>, body: ClientBody) -> Result<Response<Reply>, Refusal> {
    let source = intake::receive(&visit, body)?;
    let document = intake::document(&visit, &source).await;
    visit.ledger.received(source.wire_bytes());
    let document = document?;
    let operation = visit.call.operation;
    if visit.wraps() && (grants_by_header(visit.head.as_ref()) || names_one_region(operation, &document)) {
        return Err(Refusal::because(
            Code::NotImplemented,
            Blame::House,
            "This setting names buckets, keys or accounts of one region, and the bucket is in several.",
        ));
    }
    let mut steps = steps(&visit, &document)?;
    if operation == Operation::DeleteBucket {
        prove_empty(&visit, &steps).await?;
        // home last
        steps.reverse();
    }
    carry_out(&visit, steps).await
}

/// Whether it names grantees in its headers, or in the query where they are hoisted: their ids are of one
/// region.
fn grants_by_header(head: &Head) -> bool {
    const GRANT: &str = "x-amz-grant-";
    let in_query = |query: &str| query.to_ascii_lowercase().contains(GRANT);
    head.fields().any(|field| field.name.starts_with(GRANT)) || head.query().is_some_and(in_query)
}

/// One region's share of a change.
struct Share {
    region: RegionId,
    permit: Permit,
    plan: route::Plan,
    /// What it is told, where that is not what the client said.
    document: Option<Bytes>,
    told: Bytes,
}

/// All shares, home's first. Planned before anything is sent: a region that is out is not waited for,
/// and nothing is changed without it.
fn steps(visit: &Visit<'_>, document: &Bytes) -> Result<Vec<Share>, Refusal> {
    let point = &visit.access_point;
    let home = point.members.iter().filter(|member| member.region == point.home);
    let others = point.members.iter().filter(|member| member.region != point.home);
    let regions = home.chain(others).map(|member| &member.region);
    let share = |region: &RegionId| {
        let permit = bound(visit, Some(region));
        let plan = plan_on(visit, visit.view, &permit, &[])?;
        if plan.fail_open && visit.wraps() {
            return Err(NoRoute::RegionDown(region.clone()).into());
        }
        let own = placed(visit, region, document)?;
        let told = own.clone().unwrap_or_else(|| document.clone());
        Ok(Share { region: region.clone(), permit, plan, document: own, told })
    };
    regions.map(share).collect()
}

/// Where a new bucket is to be, as its region calls itself: a client knows the logical region only.
/// AWS wants to be told, whatever the client said; other stores need not be.
fn placed(visit: &Visit<'_>, region: &RegionId, document: &Bytes) -> Result<Option<Bytes>, Refusal> {
    if visit.call.operation != Operation::CreateBucket {
        return Ok(None);
    }
    let Some(settings) = visit.view.region(region) else { return Ok(None) };
    // a set of regions is no place for a bucket: then the store's own affair
    let Some(place) = Some(&settings.signing_region).filter(|place| !is_region_set(place)) else {
        return Ok(None);
    };
    // Whom a single store knows itself, where no region is ours to name, speaks of the store's own.
    let speaks_of_the_store = visit.sender.grant == Grant::StoreJudges
        && visit.view.logical_region == LogicalRegion::Any
        && !visit.wraps();
    if speaks_of_the_store {
        return Ok(None);
    }
    let logical = visit.view.logical_region.answer(visit.sender.region.as_deref());
    let wants = match constraint(document)? {
        Some(told) if told == logical => visit.wraps() || told != *place,
        // a single store's own affair
        Some(_) if !visit.wraps() => false,
        Some(told) => {
            let words = format!(
                "The {told} location constraint is incompatible for the region specific endpoint this request was sent to."
            );
            return Err(Refusal::because(Code::IllegalLocationConstraintException, Blame::Client, words));
        }
        None => visit.wraps() && settings.endpoint.is_of_aws(),
    };
    if !wants {
        return Ok(None);
    }
    Ok(Some(Bytes::from(constrained(document, place)?)))
}

/// Makes the change in region after region; the answer is the first one's.
async fn carry_out(visit: &Visit<'_>, steps: Vec<Share>) -> Result<Response<Reply>, Refusal> {
    let (mut made, mut before) = (None, None);
    for (at, share) in steps.into_iter().enumerate() {
        let reached = match share.send(visit).await {
            Ok(reached) => reached,
            Err(refusal) if at == 0 => return Err(refusal),
            Err(refusal) => return Err(half_way(visit, &share.region, refusal)),
        };
        let code = reached.error.as_ref().map(|error| error.code.as_str());
        match Fate::of(visit.call.operation, reached.head.status.as_u16(), code) {
            Fate::Made => made = made.or(Some(reached)),
            Fate::Before => before = before.or(Some(reached)),
            Fate::Refused if at == 0 => return relay::relay(visit, reached).await,
            Fate::Refused => return Err(half_way(visit, &share.region, relay::refusal(visit, &reached))),
        }
    }
    // who asks again is told that all is done, and who asks for what is so everywhere that it is
    let answer =
        made.or(before).ok_or_else(|| Refusal::unavailable(Blame::House, "the wildcard has no region"))?;
    relay::relay(visit, answer).await
}

/// The refusal of a region after others have made the change.
fn half_way(visit: &Visit<'_>, region: &RegionId, mut refusal: Refusal) -> Refusal {
    metric::counter(Metric::BucketsHalfChanged, &[region.as_str()]).increment(1);
    let operation = visit.call.facts().name;
    tracing::warn!(%region, operation, code = %refusal.code, cause = refusal.cause,
        "a bucket under `*` was changed in some of its regions and not in this one");
    refusal.message = format!(
        "{} The bucket was changed in some of its regions only; the request may be repeated.",
        refusal.message
    )
    .into();
    refusal
}

impl Share {
    async fn send(&self, visit: &Visit<'_>) -> Result<Reached, Refusal> {
        let source = Source::full(self.told.clone());
        let document = (!self.told.is_empty()).then_some(&self.told[..]);
        let mut outgoing = Outgoing::new(visit, &source, document);
        if self.document.is_some() {
            outgoing.change_document();
        }
        Ok(travel(visit, &self.permit, self.plan.clone(), &outgoing).await?)
    }
}

/// Proves that a bucket is empty in every region: no object, and no version of one. A region that has
/// no such bucket any more, after a deletion that failed half-way, is empty.
async fn prove_empty(visit: &Visit<'_>, steps: &[Share]) -> Result<(), Refusal> {
    let mut known = false;
    for share in steps {
        let versions = visit
            .view
            .region(&share.region)
            .is_some_and(|settings| settings.profile.honours.has(Feature::Versioning));
        let query = if versions { "versions&max-keys=1" } else { "list-type=2&max-keys=1" };
        known |= is_there(visit, &share.region, query).await?;
    }
    if known { Ok(()) } else { Err(Refusal::new(Code::NoSuchBucket, Blame::Client)) }
}

/// Whether a region has the bucket; refuses where that is not empty, or where it cannot be told.
async fn is_there(visit: &Visit<'_>, region: &RegionId, query: &str) -> Result<bool, Refusal> {
    let bucket = visit.call.bucket().unwrap_or_default();
    let mut head = Head::new(Method::GET, "/");
    head.set_target(&format!("/{bucket}"), Some(query));
    for name in ["user-agent", "x-amz-expected-bucket-owner"] {
        if let Some(value) = visit.head.first(name) {
            head.push(name, value);
        }
    }
    let call = classify::classify(&head, &visit.view.domains)?;
    let ids = Ids::open(visit.view, &visit.access_point, None, &call, head.query())?;
    let look = Visit {
        house: visit.house,
        view: visit.view,
        ledger: visit.ledger,
        sender: visit.sender.clone(),
        head: Rc::new(head),
        call: Arc::new(call),
        access_point: Arc::clone(&visit.access_point),
        copy_from: None,
        ids,
        nonce: Cell::default(),
    };
    let permit = bound(&look, Some(region));
    let plan = plan_on(&look, visit.view, &permit, &[])?;
    let nothing = Source::empty();
    let reached = travel(&look, &permit, plan, &Outgoing::new(&look, &nothing, None)).await?;
    let code = reached.error.as_ref().map(|error| error.code.as_str());
    if code == Some(Code::NoSuchBucket.as_str()) {
        return Ok(false);
    }
    if !reached.head.status.is_success() {
        return Err(relay::refusal(&look, &reached));
    }
    let document = reached.body.collect(LISTING).await;
    match document.as_deref().and_then(is_empty) {
        Some(true) => Ok(true),
        Some(false) => Err(Refusal::new(Code::BucketNotEmpty, Blame::Client).with("BucketName", bucket)),
        None => Err(Refusal::unavailable(
            Blame::Region,
            "a listing cannot be read: nothing shows that the bucket is empty",
        )),
    }
}
