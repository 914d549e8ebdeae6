//! Requests that are more than one: deletions of many keys, whose version ids may be of many
//! regions, and the listing of uploads, which live in every region.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use hyper::body::Incoming;

use super::ids::{Replaced, Wrapper, bound_bucket, forged, parameter, unknown_key};
use super::outgoing::Outgoing;
use super::{Visit, intake, plan, relay, travel};
use crate::body::{Reply, Source};
use crate::exchange::Reached;
use crate::names::RegionId;
use crate::policy;
use crate::refusal::{Blame, Refusal};
use crate::route::{Affinity, Permit, Versions};
use crate::s3::xml::{self, DeleteRequest, ObjectToDelete};
use crate::s3::{Code, Malformed, merge};
use crate::token::{self, Binding, Kind, NotOpened};
use crate::units::UnixSeconds;

/// Most of a region's answer that is read.
const ANSWER: usize = 8 * 1024 * 1024;

/// Most uploads in a page (S3's own bound). Regions are always asked for as many, so that a page of
/// theirs ends within a key only where the key has more.
const UPLOADS_MAX: usize = 1000;

/// `DeleteObjects`: every key is authorised on its own; versions go where they are.
pub(super) async fn delete_objects(visit: Visit<'_>, body: Incoming) -> Result<Response<Reply>, Refusal> {
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
    let parts = by_region(&visit, &request)?;
    let mut answers = Vec::with_capacity(parts.len());
    let alone = parts.len() == 1;
    for (region, part) in parts {
        let affinity = region.map_or(Affinity::None, Affinity::Region);
        let reached = send(&visit, affinity, &part).await?;
        if alone || !reached.head.status.is_success() {
            return relay::relay(&visit, reached).await;
        }
        answers.push(relay::rewritten(&visit, reached).await?);
    }
    let merged = merge::delete_results(&answers);
    Ok(xml_reply(
        merged.ok_or_else(|| Refusal::unavailable(Blame::Region, "a region's answer cannot be read"))?,
    ))
}

/// S3 wants these bodies protected, since a flipped bit deletes another key.
fn require_checksum(visit: &Visit<'_>) -> Result<(), Refusal> {
    if intake::is_protected(visit)? {
        return Ok(());
    }
    let words = "Missing required header for this request: Content-MD5 OR x-amz-checksum-*";
    Err(Refusal::because(Code::InvalidRequest, Blame::Client, words))
}

type Parts = BTreeMap<Option<RegionId>, DeleteRequest>;

/// One request for each region that a version names, and one for the keys without.
fn by_region(visit: &Visit<'_>, request: &DeleteRequest) -> Result<Parts, Refusal> {
    let mut parts = Parts::new();
    for object in &request.objects {
        let (region, object) = located(visit, object)?;
        let part = parts.entry(region);
        let part = part.or_insert_with(|| DeleteRequest { quiet: request.quiet, objects: Vec::new() });
        part.objects.push(object);
    }
    Ok(parts)
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

/// One part to its region, its checksum computed anew.
async fn send(visit: &Visit<'_>, affinity: Affinity, part: &DeleteRequest) -> Result<Reached, Refusal> {
    let document = Bytes::from(part.document());
    let permit = Permit::granted(
        Arc::clone(&visit.access_point),
        visit.sender.credential_id(),
        Arc::clone(&visit.call),
        affinity,
    );
    let source = Source::full(document.clone());
    let mut outgoing = Outgoing::new(visit, &source, Some(&document));
    outgoing.replaced_headers.push(("content-md5", intake::md5(&document)));
    outgoing.dropped_headers = &["x-amz-checksum-", "x-amz-sdk-checksum-algorithm", "x-amz-trailer"];
    ask(visit, &permit, &outgoing).await
}

async fn ask(visit: &Visit<'_>, permit: &Permit, outgoing: &Outgoing<'_>) -> Result<Reached, Refusal> {
    let plan = plan(visit, permit)?;
    travel(visit, permit, plan, outgoing).await
}

/// `ListMultipartUploads`: every region's page, merged by key, ids wrapped.
pub(super) async fn list_uploads(visit: Visit<'_>) -> Result<Response<Reply>, Refusal> {
    let query = visit.head.query();
    let wanted = parameter(query, "max-uploads").map_or(Ok(UPLOADS_MAX), |text| text.parse::<usize>());
    let wanted = wanted.map_err(|_| Malformed::argument("max-uploads", "", "not an integer"))?;
    let wanted = wanted.min(UPLOADS_MAX);
    let mut merged: Option<xml::UploadsPage> = None;
    for member in visit.access_point.members.clone() {
        let Some(page) = page_of(&visit, &member.region).await? else { continue };
        merged = Some(match merged {
            None => page,
            Some(first) => first.merged(page),
        });
    }
    let mut page =
        merged.ok_or_else(|| Refusal::unavailable(Blame::Region, "no region listed its uploads"))?;
    relay::logical_bucket(&visit).clone_into(&mut page.bucket);
    page.echo("MaxUploads", &wanted.to_string());
    page.echo("UploadIdMarker", &parameter(query, "upload-id-marker").unwrap_or_default());
    page.cut(wanted);
    Ok(xml_reply(page.document()))
}

/// A region's uploads after the markers. `None` where it cannot be reached: its uploads are then
/// as unreachable as their parts, and a listing without them is better than none.
async fn page_of(visit: &Visit<'_>, region: &RegionId) -> Result<Option<xml::UploadsPage>, Refusal> {
    let permit = Permit::granted(
        Arc::clone(&visit.access_point),
        visit.sender.credential_id(),
        Arc::clone(&visit.call),
        Affinity::Region(region.clone()),
    );
    let source = Source::empty();
    let mut outgoing = Outgoing::new(visit, &source, None);
    outgoing.replaced_query = markers(visit, region)?;
    let reached = match ask(visit, &permit, &outgoing).await {
        Ok(reached) if reached.head.status == StatusCode::OK => reached,
        Ok(reached) if reached.head.status.is_server_error() => return Ok(None),
        Ok(reached) => {
            let code =
                reached.error.and_then(|error| Code::parse(&error.code)).unwrap_or(Code::ServiceUnavailable);
            return Err(Refusal::new(code, Blame::Region));
        }
        Err(refusal) if refusal.status == StatusCode::SERVICE_UNAVAILABLE => return Ok(None),
        Err(refusal) => return Err(refusal),
    };
    let document = reached.body.collect(ANSWER).await;
    let document = document.ok_or_else(|| Refusal::unavailable(Blame::Region, "a listing broke off"))?;
    let mut page = xml::list_uploads_result(&document).map_err(|fault| unreadable(&fault))?;
    let wrapper = Wrapper::new(visit.view, &visit.access_point, visit.call.bucket(), region);
    let wrapped = page.uploads.iter().map(|upload| {
        let initiated = initiation(&upload.initiated);
        wrapper.upload(&upload.upload_id, &page.key_of(upload), initiated)
    });
    let wrapped: Vec<String> = wrapped.collect();
    for (upload, id) in page.uploads.iter_mut().zip(wrapped) {
        upload.upload_id = id;
    }
    if !page.next_upload_id_marker.is_empty() {
        let key = page.next_key();
        page.next_upload_id_marker = wrapper.upload(&page.next_upload_id_marker, &key, UnixSeconds(0));
    }
    Ok(Some(page))
}

/// The markers as a region understands them: an upload's id means something in its own region
/// only; elsewhere the listing goes on behind the key.
fn markers(visit: &Visit<'_>, region: &RegionId) -> Result<Replaced, Refusal> {
    let mut replaced = Replaced::new();
    replaced.push(("max-uploads", Some(UPLOADS_MAX.to_string())));
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
    match token::open(keys, Kind::Upload, &text, &binding) {
        Ok(token) => {
            replaced.push(("upload-id-marker", (token.region == *region).then_some(token.id)));
        }
        Err(NotOpened::NotOurs) => replaced.push(("upload-id-marker", None)),
        Err(NotOpened::UnknownKey) => return Err(unknown_key(&visit.access_point)),
        Err(NotOpened::Forged) => return Err(forged(Code::InvalidArgument)),
    }
    Ok(replaced)
}

/// When an upload began, by its listing; the epoch where that cannot be read.
fn initiation(text: &str) -> UnixSeconds {
    UnixSeconds(text.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_second))
}

fn unreadable(fault: &Malformed) -> Refusal {
    Refusal::unavailable(Blame::Region, format!("a region's answer cannot be read: {fault}"))
}

fn xml_reply(document: String) -> Response<Reply> {
    let mut response = Response::new(Reply::full(Bytes::from(document)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}
