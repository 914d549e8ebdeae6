//! A region's answer in the client's words: names mapped back, ids wrapped, errors said as S3
//! says them, nothing physical in it.

use std::sync::Arc;

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Response, StatusCode};

use super::ids::{Begun, Wrapper, parameter};
use super::{Visit, intake, owner};
use crate::body::Reply;
use crate::body::reply::{Broken, Edit};
use crate::exchange::Reached;
use crate::names::{BucketName, CredentialId, RegionId};
use crate::refusal::{Blame, Refusal};
use crate::route::AccessPoint;
use crate::s3::bucket_policy::{self, Untellable};
use crate::s3::kms::NO_KEYS;
use crate::s3::operation::Tells;
use crate::s3::profile::{Feature, Features};
use crate::s3::reply::{Mapping, reply_headers};
use crate::s3::rewrite::{Edits, Near, Rewriter, Slot};
use crate::s3::{Call, Code, listed};
use crate::token::Position;
use crate::view::View;

/// Most of a document that is read whole to be merged with others.
pub(super) const DOCUMENT: usize = 8 * 1024 * 1024;

/// Most of a bucket's policy that is read: S3's are below 20 KiB.
const POLICY: usize = 256 * 1024;

/// The answer for the client.
pub(super) async fn relay(visit: &Visit<'_>, reached: Reached) -> Result<Response<Reply>, Refusal> {
    visit.ledger.answered_by(&reached.step.region);
    let status = reached.head.status;
    if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
        return Err(Refusal::unavailable(
            Blame::Region,
            "a store redirects: its endpoint or bucket is wrong",
        ));
    }
    if status.is_client_error() || status.is_server_error() {
        return Ok(error(visit, reached));
    }
    let (headers, body) = in_clients_words(visit, reached).await?;
    Ok(response(status, headers, body))
}

/// A region's XML in the client's words, whole: to be merged with others', and counted as a document
/// of the request.
pub(super) async fn rewritten(visit: &Visit<'_>, reached: Reached) -> Result<String, Refusal> {
    let words = Words::new(visit, &reached.step.region);
    let admit = |bytes: usize| intake::hold(visit, bytes as u64);
    let document = reached.body.edited(words.editor()).collect_admitted(DOCUMENT, admit).await?;
    let document = document.ok_or_else(|| Refusal::unavailable(Blame::Region, "an answer broke off"))?;
    String::from_utf8(document.to_vec())
        .map_err(|_| Refusal::unavailable(Blame::Region, "an answer is not UTF-8"))
}

fn response(status: StatusCode, headers: HeaderMap, body: Reply) -> Response<Reply> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// A region's headers in the client's words.
pub(super) fn map_headers(
    visit: &Visit<'_>,
    region: &RegionId,
    status: StatusCode,
    theirs: HeaderMap,
) -> HeaderMap {
    let version = |id: &str| {
        let wrapper = Wrapper::new(visit.view, &visit.access_point, visit.call.bucket(), region);
        wrapper.version(id, visit.call.key())
    };
    let source_version = |id: &str| source_version(visit, region, id);
    let settings = visit.view.region(region);
    let honours = settings.map_or(Features::NONE, |settings| settings.profile.honours);
    let names = Mapping {
        region: visit.view.logical_region.answer(visit.sender.region.as_deref()),
        location: Some(logical_bucket(visit)),
        versions: honours.has(Feature::Versioning),
        kms_keys: settings.map_or(&NO_KEYS, |settings| &settings.kms_keys),
        transparent: visit.access_point.is_wildcard(),
        encryption_context: visit.head.first("x-amz-server-side-encryption-context"),
        version: &version,
        source_version: &source_version,
    };
    reply_headers(status, theirs, &names)
}

/// What the client gets of a region's reply. Objects are never looked into, whatever their type
/// says.
async fn in_clients_words(visit: &Visit<'_>, reached: Reached) -> Result<(HeaderMap, Reply), Refusal> {
    let region = &reached.step.region;
    let mut headers = map_headers(visit, region, reached.head.status, reached.head.headers);
    let wildcard = visit.access_point.is_wildcard();
    let body = match visit.call.facts().tells {
        Tells::Nothing => reached.body,
        Tells::Accounts | Tells::Policy | Tells::Others if wildcard => reached.body,
        Tells::Names | Tells::Accounts => {
            headers.remove(CONTENT_LENGTH);
            reached.body.edited(Words::new(visit, region).editor())
        }
        Tells::Policy => {
            headers.remove(CONTENT_LENGTH);
            policy(visit, reached.step.bucket.as_ref(), reached.body).await?
        }
        // Refused before anybody was asked.
        Tells::Others => Reply::empty(),
    };
    Ok((headers, body))
}

/// The bucket's policy as that of the access point.
async fn policy(visit: &Visit<'_>, bucket: Option<&BucketName>, body: Reply) -> Result<Reply, Refusal> {
    let broken = || Refusal::unavailable(Blame::Region, "a bucket's policy broke off");
    let document = body.collect(POLICY).await.ok_or_else(broken)?;
    let physical = bucket.map_or(visit.access_point.name.as_str(), BucketName::as_str);
    match bucket_policy::in_clients_words(&document, physical, visit.access_point.name.as_str()) {
        Ok(policy) => Ok(Reply::full(policy.into())),
        Err(Untellable::NotJson) => Err(Refusal::unavailable(Blame::Region, "a bucket's policy is not JSON")),
        Err(untellable) => Err(Refusal::because(
            Code::NotImplemented,
            Blame::House,
            "The bucket policy names accounts or other resources, which an access point does not tell.",
        )
        .caused_by(untellable.to_string())),
    }
}

/// Where the client's own request says that the object is, in either style of address.
fn location(visit: &Visit<'_>) -> String {
    let scheme = if visit.ledger.tls() { "https" } else { "http" };
    let host = visit.head.first_text("host").unwrap_or_default();
    format!("{scheme}://{host}{}", visit.head.path())
}

/// The version of a copy's source, as the access point that it is in hands it out.
fn source_version(visit: &Visit<'_>, region: &RegionId, id: &str) -> String {
    let (Some(from), Some(source)) = (&visit.copy_from, &visit.call.copy_source) else {
        return id.to_owned();
    };
    Wrapper::new(visit.view, from, Some(&source.bucket), region).version(id, &source.key)
}

/// What the client calls the bucket.
pub(super) fn logical_bucket<'a>(visit: &'a Visit<'_>) -> &'a str {
    if visit.access_point.is_wildcard() {
        visit.call.bucket().unwrap_or_default()
    } else {
        visit.access_point.name.as_str()
    }
}

/// A store's error in S3's own words: its document may name its bucket, its host or our key.
fn error(visit: &Visit<'_>, reached: Reached) -> Response<Reply> {
    let mut refusal = refusal(visit, &reached);
    let unsaid = reached.error.is_none_or(|theirs| theirs.code.is_empty());
    let status = reached.head.status;
    let mut headers = map_headers(visit, &reached.step.region, status, reached.head.headers);
    // Of their document; ours has another length, and no coding.
    headers.remove(CONTENT_LENGTH);
    headers.remove(CONTENT_ENCODING);
    let head_only = visit.call.facts().rule.method == "HEAD";
    if head_only || (unsaid && status == StatusCode::PRECONDITION_FAILED) {
        visit.ledger.refused(&refusal);
        return response(status, headers, Reply::empty());
    }
    if refusal.code == Code::MethodNotAllowed.as_str() {
        refusal = refusal.with("Method", visit.call.facts().rule.method);
    }
    if let (Some(bucket), true) = (visit.call.bucket(), refusal.code == Code::NoSuchBucket.as_str()) {
        refusal = refusal.with("BucketName", bucket);
    }
    visit.ledger.refused(&refusal);
    let mut answer = refusal.respond(visit.ledger.resource(), visit.ledger.id(), false);
    for (name, value) in &headers {
        if !answer.headers().contains_key(name) && name != CONTENT_TYPE {
            answer.headers_mut().insert(name, value.clone());
        }
    }
    answer
}

/// Characters of a store's message that are logged.
const MESSAGE_LOGGED: usize = 256;

/// A store's error as ours, where it is part of an answer.
pub(super) fn refusal(visit: &Visit<'_>, reached: &Reached) -> Refusal {
    let status = reached.head.status;
    let code = reached.error.as_ref().map_or("", |error| error.code.as_str());
    if !status.is_client_error() && !status.is_server_error() {
        return Refusal::unavailable(Blame::Region, format!("the store answers {status}"));
    }
    let ours = visit.sender.credential_id(&reached.step.region) == CredentialId::Region;
    let mut refusal = said(code, status, ours);
    let Some(theirs) = &reached.error else { return refusal };
    // most errors are told in S3's own words, and those are in the code
    if !theirs.message.is_empty() && theirs.message != refusal.message {
        let told: String = theirs.message.chars().take(MESSAGE_LOGGED).collect();
        refusal.cause = Some(format!("the store says {code}: {told}"));
    }
    if refusal.code == theirs.code {
        refusal.details.extend(theirs.details.iter().cloned());
        let point = &visit.access_point;
        if !ours && point.is_wildcard() && point.members.len() == 1 && !theirs.message.is_empty() {
            // it is told of its own buckets, and of nobody but itself
            refusal.message = theirs.message.clone().into();
        }
    }
    refusal
}

/// Their code as S3 would say it. What blames a credential says nothing to the client but that it
/// may not where the credential is its own, and that we cannot where it is ours.
fn said(code: &str, status: StatusCode, ours: bool) -> Refusal {
    let blamed = || format!("the store says {code}");
    let known = match Code::parse(code) {
        Some(
            Code::InvalidAccessKeyId
            | Code::SignatureDoesNotMatch
            | Code::ExpiredToken
            | Code::InvalidToken
            | Code::InvalidTokenId
            | Code::RequestTimeTooSkewed
            | Code::InvalidSecurity,
        ) if !ours => {
            return Refusal::new(Code::AccessDenied, Blame::Region).caused_by(blamed());
        }
        Some(
            Code::InvalidAccessKeyId
            | Code::SignatureDoesNotMatch
            | Code::ExpiredToken
            | Code::InvalidToken
            | Code::InvalidTokenId
            | Code::RequestTimeTooSkewed
            | Code::InvalidSecurity
            | Code::AuthorizationHeaderMalformed
            | Code::PermanentRedirect
            | Code::TemporaryRedirect,
        ) => return Refusal::unavailable(Blame::Region, blamed()),
        Some(known) => known,
        None => by_status(status),
    };
    let mut refusal = Refusal::new(known, Blame::Client);
    if status.is_server_error() && known.status().is_client_error() {
        // A body that the store rejects with 500 is still the client's.
        return refusal;
    }
    refusal.status = status;
    if Code::parse(code).is_none()
        && !code.is_empty()
        && code.bytes().all(|byte| byte.is_ascii_alphanumeric())
    {
        refusal.code = code.to_owned().into();
        refusal.message = "The store refused the request.".into();
    }
    refusal
}

/// The code of a status, for stores that send none, or one that we do not know.
fn by_status(status: StatusCode) -> Code {
    match status.as_u16() {
        401 | 403 => Code::AccessDenied,
        404 => Code::NoSuchKey,
        405 => Code::MethodNotAllowed,
        409 => Code::OperationAborted,
        411 => Code::MissingContentLength,
        412 => Code::PreconditionFailed,
        416 => Code::InvalidRange,
        429 => Code::SlowDown,
        501 => Code::NotImplemented,
        503 => Code::ServiceUnavailable,
        500..=599 => Code::InternalError,
        _ => Code::InvalidRequest,
    }
}

/// What a reply's document says in the client's words.
struct Words {
    view: Arc<View>,
    access_point: Arc<AccessPoint>,
    call: Arc<Call>,
    region: RegionId,
    bucket: String,
    /// The object's URL, as the client named it.
    location: String,
    logical_region: String,
    request_id: String,
    url_keys: bool,
    delimiter: Option<String>,
    prefix: usize,
    without_prefix: Option<Vec<u8>>,
    /// The client's `version-id-marker`.
    version_marker: Option<String>,
    /// The client's `key-marker`, where the listing went on elsewhere by another.
    key_marker: Option<String>,
    /// The client's `start-after`, where the listing went on elsewhere by another.
    start_after: Option<String>,
    /// Where the listing stood before this page.
    listed_to: Option<Position>,
    /// Of an upload that begins with this answer.
    begun: Begun,
}

impl Words {
    fn new(visit: &Visit<'_>, region: &RegionId) -> Self {
        let query = visit.head.query();
        let moved = visit.ids.listing_moved(region);
        Self {
            view: Arc::clone(visit.view),
            access_point: Arc::clone(&visit.access_point),
            call: Arc::clone(&visit.call),
            region: region.clone(),
            bucket: logical_bucket(visit).to_owned(),
            location: location(visit),
            logical_region: visit.view.logical_region.answer(visit.sender.region.as_deref()).to_owned(),
            request_id: visit.ledger.id().to_string(),
            url_keys: parameter(query, "encoding-type").as_deref() == Some("url"),
            delimiter: parameter(query, "delimiter").filter(|delimiter| !delimiter.is_empty()),
            prefix: parameter(query, "prefix").map_or(0, |prefix| prefix.len()),
            without_prefix: visit.ids.prefix_seen(region),
            version_marker: parameter(query, "version-id-marker"),
            key_marker: moved.then(|| parameter(query, "key-marker").unwrap_or_default()),
            start_after: moved.then(|| parameter(query, "start-after").unwrap_or_default()),
            listed_to: visit.ids.listed_to().cloned(),
            begun: begun(visit, region),
        }
    }

    fn wrapper(&self) -> Wrapper<'_> {
        Wrapper::new(&self.view, &self.access_point, self.call.bucket(), &self.region)
    }

    fn editor(self) -> Box<dyn Edit> {
        let edits = Edits {
            url_keys: self.url_keys,
            without_prefix: self.without_prefix.clone(),
            edit: move |slot: Slot, near: Near<'_>| self.said(slot, near),
        };
        Box::new(Editor(Rewriter::new(edits)))
    }

    fn said(&self, slot: Slot, near: Near<'_>) -> Option<String> {
        let wrapper = self.wrapper();
        let key = near.key.unwrap_or_else(|| self.call.key());
        match slot {
            Slot::Bucket => Some(self.bucket.clone()),
            Slot::Constraint if self.logical_region == "us-east-1" => Some(String::new()),
            Slot::Region | Slot::Constraint => Some(self.logical_region.clone()),
            Slot::Location => Some(self.location.clone()),
            Slot::Resource => {
                let key = String::from_utf8_lossy(self.call.key());
                Some(format!("/{}/{key}", self.bucket))
            }
            Slot::RequestId | Slot::HostId => Some(self.request_id.clone()),
            // Its documents are the store's own: grants there name the same accounts.
            Slot::Owner | Slot::Tenant | Slot::Arn if self.access_point.is_wildcard() => None,
            Slot::Owner => Some(owner::SHOWN.to_owned()),
            Slot::Endpoint | Slot::Tenant => Some(String::new()),
            Slot::Arn => match self.kms_key(near.text) {
                Some(key) => Some(key),
                None => near.text.starts_with("arn:").then(String::new),
            },
            Slot::UploadId => Some(self.upload(near.text, key)),
            Slot::VersionId if near.text == "null" => None,
            Slot::VersionId => Some(wrapper.version(near.text, key)),
            Slot::NextVersionIdMarker if near.text.is_empty() => None,
            Slot::NextVersionIdMarker => Some(wrapper.version_marker(near.text)),
            Slot::NextContinuation if wrapper.wraps() => {
                Some(wrapper.listing(near.text, self.position(near.key)))
            }
            Slot::Continuation => self.call.continuation.clone(),
            Slot::VersionIdMarker => self.version_marker.clone(),
            Slot::KeyMarker => self.key(self.key_marker.as_deref()),
            Slot::StartAfter => self.key(self.start_after.as_deref()),
            Slot::NextContinuation | Slot::UploadIdMarker | Slot::NextUploadIdMarker => None,
        }
    }

    /// The name that clients have for a key of the region's KMS.
    fn kms_key(&self, told: &str) -> Option<String> {
        self.view.region(&self.region)?.kms_keys.logical(told).map(str::to_owned)
    }

    /// A key of the client's, as it asked keys to be shown.
    fn key(&self, key: Option<&str>) -> Option<String> {
        if self.url_keys { key.map(|key| listed::encoded(key.as_bytes())) } else { key.map(str::to_owned) }
    }

    /// An upload's id: the client's own token again where it named one.
    fn upload(&self, id: &str, key: &[u8]) -> String {
        match &self.call.upload_id {
            Some(token) => token.clone(),
            None => self.wrapper().upload(id, key, self.begun),
        }
    }

    /// Whether a listing ended with a key or with a common prefix, which ends in the delimiter and
    /// is longer than what was asked for. A page without entries ends where it began.
    fn position(&self, last: Option<&[u8]>) -> Position {
        let Some(last) = last else {
            return self.listed_to.clone().unwrap_or_else(|| Position::Key(Vec::new()));
        };
        let rolled_up = self.delimiter.as_ref().is_some_and(|delimiter| last.ends_with(delimiter.as_bytes()));
        if rolled_up && last.len() > self.prefix {
            Position::Prefix(last.to_vec())
        } else {
            Position::Key(last.to_vec())
        }
    }
}

/// An upload that began here: not before the request came, by the store's clock, which dates the
/// object by it.
fn begun(visit: &Visit<'_>, region: &RegionId) -> Begun {
    let initiated = visit.house.exchange.meters.of(region).not_before(visit.ledger.came_at());
    Begun { initiated, nonce: visit.nonce.get() }
}

struct Editor<F>(Rewriter<F>);

impl<F: FnMut(Slot, Near<'_>) -> Option<String>> Edit for Editor<F> {
    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Broken> {
        self.0.push(bytes, out).map_err(|_| Broken)
    }

    fn finish(self: Box<Self>) -> Result<(), Broken> {
        self.0.finish().map_err(|_| Broken)
    }
}
