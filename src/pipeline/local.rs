//! What nearpoint answers itself: health, and the bucket calls whose answer is the access
//! point's and not a store's.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderName, Method, Response, StatusCode};

use super::sender::Sender;
use crate::body::Reply;
use crate::head::Head;
use crate::names::ClientName;
use crate::policy::{self, Grant, Named};
use crate::refusal::{Blame, Refusal};
use crate::route::AccessPoint;
use crate::s3::address::Domains;
use crate::s3::buckets::{Asked, Bucket, Page};
use crate::s3::call::Target;
use crate::s3::operation::{Kind, Level, Operation, Reach, Tells};
use crate::s3::{Call, Code, xml};
use crate::view::View;

/// The path of the health answer on data listeners: no bucket name begins with a dot.
const HEALTH: &str = "/.nearpoint/health";
/// Its name among operations, in metrics and access lines.
pub(super) const HEALTH_OPERATION: &str = "Health";

/// Whether this asks for the health of the process. On a bucket's own host the same path is an
/// object of that bucket.
pub(super) fn is_health(head: &Head, domains: &Domains) -> bool {
    head.path() == HEALTH
        && (*head.method() == Method::GET || *head.method() == Method::HEAD)
        && head.first_text("host").is_none_or(|host| domains.bucket(host).is_none())
}

/// It answers, so it is well.
pub(super) fn health() -> Response<Reply> {
    let mut response = Response::new(Reply::full(Bytes::from_static(b"ok\n")));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

/// The answer to a bucket call on a named access point, or to the listing of buckets; `None` for
/// everything that a store answers.
pub(super) fn answer(
    view: &View,
    sender: &Sender,
    call: &Call,
    query: Option<&str>,
    access_point: Option<&Arc<AccessPoint>>,
) -> Result<Option<Response<Reply>>, Refusal> {
    let region = view.logical_region.answer(sender.region.as_deref());
    if call.operation == Operation::ListBuckets && access_point.is_none() {
        return Ok(Some(buckets(view, sender, &Asked::of(query)?, Vec::new())));
    }
    let Some(access_point) = access_point.filter(|access_point| !access_point.is_wildcard()) else {
        return Ok(None);
    };
    let store_judges = matches!(sender.grant, Grant::StoreJudges);
    match call.operation {
        Operation::HeadBucket | Operation::GetBucketLocation if store_judges => Ok(None),
        // nobody's bucket calls tell which access points there are
        _ if sender.anonymous_upstream && is_administration(call) => {
            Err(Refusal::new(Code::AccessDenied, Blame::Client))
        }
        Operation::HeadBucket => Ok(Some(head_bucket(region))),
        Operation::GetBucketLocation => Ok(Some(document(xml::location_document(region)))),
        Operation::CreateBucket => Err(Refusal::new(Code::BucketAlreadyOwnedByYou, Blame::Client)
            .with("BucketName", access_point.name.as_str())),
        _ if is_administration(call) => Err(Refusal::new(Code::MethodNotAllowed, Blame::Client)
            .with("Method", call.facts().rule.method)
            .with("ResourceType", "BUCKET")),
        _ if call.facts().tells == Tells::Others => Err(Refusal::because(
            Code::NotImplemented,
            Blame::House,
            "This setting names other buckets, hosts or accounts, which an access point does not tell.",
        )),
        _ => Ok(None),
    }
}

/// A write to the bucket itself: its buckets are the operator's.
fn is_administration(call: &Call) -> bool {
    let facts = call.facts();
    facts.rule.level == Level::Bucket
        && facts.kind == Kind::Write
        && (facts.reach != Reach::Any || call.operation == Operation::DeleteBucket)
}

fn head_bucket(region: &str) -> Response<Reply> {
    let mut response = Response::new(Reply::empty());
    if let Ok(region) = HeaderValue::from_str(region) {
        response.headers_mut().insert(HeaderName::from_static("x-amz-bucket-region"), region);
    }
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

/// The buckets that a sender sees: a store's, and the named access points that it may list.
pub(super) fn buckets(view: &View, sender: &Sender, asked: &Asked, theirs: Vec<Bucket>) -> Response<Reply> {
    let region = view.logical_region.answer(sender.region.as_deref());
    let page =
        if asked.is_of(region) { asked.page(theirs, listed(view, &sender.grant)) } else { Page::default() };
    document(asked.document(&page, owner(sender), region))
}

fn owner(sender: &Sender) -> &str {
    sender.name().map_or("nearpoint", ClientName::as_str)
}

/// Buckets are as old as the configuration: a date that never changes sorts nobody's list anew.
const CREATED: &str = "2020-01-01T00:00:00.000Z";

/// The named access points that the sender may list, with their dates.
fn listed<'a>(view: &'a View, grant: &Grant) -> Vec<(&'a str, &'a str)> {
    // under the wildcard a store has answered for its own buckets, and for no access point
    let judged_here = !matches!(grant, Grant::StoreJudges);
    let named = view.access_points.iter().filter(|point| judged_here && !point.is_wildcard());
    named
        .filter(|access_point| may_list(grant, access_point))
        .map(|access_point| (access_point.name.as_str(), CREATED))
        .collect()
}

fn may_list(grant: &Grant, access_point: &AccessPoint) -> bool {
    let bucket = access_point.name.to_string();
    let asked = Call::new(Operation::ListObjectsV2, Target::Bucket { bucket });
    policy::decide(grant, &asked, Named { target: Some(&access_point.name), copy_source: None }).is_ok()
}

pub(super) fn document(text: String) -> Response<Reply> {
    let mut response = Response::new(Reply::full(Bytes::from(text)));
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_is_asked_for_on_path_style_hosts_only() {
        let domains = Domains::new(vec!["s3.example.com".to_owned()]);
        let asks = |method: Method, target: &str, host: &str| {
            let mut head = Head::new(method, target);
            head.push("host", host.as_bytes());
            is_health(&head, &domains)
        };
        for host in ["127.0.0.1:9000", "s3.example.com", "anything.else"] {
            assert!(
                asks(Method::GET, HEALTH, host) && asks(Method::HEAD, "/.nearpoint/health?x", host),
                "{host}"
            );
            assert!(!asks(Method::PUT, HEALTH, host) && !asks(Method::GET, "/.nearpoint/healthy", host));
        }
        assert!(!asks(Method::GET, HEALTH, "photos.s3.example.com"));
    }
}
