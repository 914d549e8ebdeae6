//! A browser's form upload: its fields are read and judged, and what it asks for is carried out as the
//! `PutObject` that it stands for, by the same road as any other.

use std::rc::Rc;
use std::sync::Arc;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderValue, LOCATION, VARY,
};
use http::{HeaderMap, HeaderName, Response, StatusCode};

use super::entrance::Caller;
use super::ledger::Ledger;
use super::{Cargo, House, Request, proceed, sender};
use crate::body::Reply;
use crate::body::form::{Arriving, Reached};
use crate::body::progress::Pace;
use crate::head::strict::UPLOAD_MAX;
use crate::head::{Head, strict};
use crate::http1::ClientBody;
use crate::listen::ListenerSettings;
use crate::refusal::{Blame, Refusal};
use crate::s3::form::{self, Boundary, OutOfRange, SizeRange, Success};
use crate::s3::query::encode;
use crate::s3::{Call, Code, classify};
use crate::sigv4;
use crate::view::View;

/// A form whose fields were judged, at the first byte of its file.
pub(super) struct Upload {
    pub reached: Reached,
    /// Bytes of the form, by its head.
    pub length: u64,
    /// How large its file may be.
    pub range: SizeRange,
    /// Who sends forms in this way.
    pub habit: u64,
}

/// Answers a form upload.
pub(super) async fn post(
    caller: &Caller<'_>,
    view: &Arc<View>,
    listener: &ListenerSettings,
    head: &Rc<Head>,
    body: ClientBody,
    ledger: &Ledger,
) -> Result<Response<Reply>, Refusal> {
    let house = caller.house;
    sigv4::carries_none(head)?;
    let length = length(caller.call)?;
    let boundary = Boundary::of(head)?;
    // Who sends it is known when its fields are read; reading them is work.
    ledger.hold(caller.enter(None).await?);
    let reached = Arriving::new(body, Pace::over(view.timeouts.body_progress)).fields(boundary).await?;
    let fields = &reached.form;
    let bucket = caller.call.bucket().unwrap_or_default();
    let (sender, range) = sender::verify_form(house, view, listener, head, (fields, bucket))?;
    ledger.sent_by(&sender);
    let put = form::put(fields, head)?;
    strict::check(&put, &strict::Rules { max_fields: view.limits.header_fields as usize })?;
    let call = classify::classify(&put, &view.domains)?;
    let told = Told::of(&reached, head, bucket, ledger.tls());
    let allowed = match form::preflight(head, &put) {
        Some(question) => what_pages_may(house, view, ledger, question).await,
        None => HeaderMap::new(),
    };
    let (sent_by, closing) = (caller.peer.address.network(), reached.reader.closing());
    let habit = form::habit((sent_by, bucket), head.first("user-agent"), &reached.form, closing);
    let cargo = Cargo::File(Box::new(Upload { reached, length, range, habit }));
    let request = Request { sender, head: Rc::new(put), call, cargo };
    let mut answer = told.tell(proceed(house, view, ledger, request).await?);
    answer.headers_mut().extend(allowed);
    Ok(answer)
}

/// What the store lets a page of another site see of the answer to its form: the store is asked as a
/// browser would. Without an answer the page sees nothing; its form is carried out all the same, as S3
/// does.
async fn what_pages_may(house: &Rc<House>, view: &Arc<View>, ledger: &Ledger, question: Head) -> HeaderMap {
    const SEEN: [HeaderName; 4] =
        [ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, VARY];
    let mut allowed = HeaderMap::new();
    let Ok(call) = classify::classify(&question, &view.domains) else { return allowed };
    let sender = sender::of_a_preflight();
    let request = Request { sender, head: Rc::new(question), call, cargo: Cargo::Nothing };
    if let Ok(answer) = proceed(house, view, ledger, request).await
        && answer.status().is_success()
    {
        for name in SEEN {
            if let Some(value) = answer.headers().get(&name) {
                allowed.insert(name, value.clone());
            }
        }
    }
    allowed
}

/// Bytes of the form: as of any upload, S3 wants to know them ahead.
fn length(call: &Call) -> Result<u64, Refusal> {
    let Some(length) = call.framing.content_length else {
        return Err(Refusal::new(Code::MissingContentLength, Blame::Client).closing());
    };
    if length > UPLOAD_MAX.0 {
        return Err(too_large(length, UPLOAD_MAX.0).closing());
    }
    Ok(length)
}

/// Judges the size of a form's file.
pub(super) fn judge_size(range: SizeRange, size: u64) -> Result<(), Refusal> {
    match range.judge(size) {
        Ok(()) => Ok(()),
        Err(OutOfRange::TooLarge(max)) => Err(too_large(size, max)),
        Err(OutOfRange::TooSmall(min)) => Err(Refusal::new(Code::EntityTooSmall, Blame::Client)
            .with("ProposedSize", size.to_string())
            .with("MinSizeAllowed", min.to_string())),
    }
}

fn too_large(size: u64, max: u64) -> Refusal {
    Refusal::new(Code::EntityTooLarge, Blame::Client)
        .with("ProposedSize", size.to_string())
        .with("MaxSizeAllowed", max.to_string())
}

/// What the client is told of an object that was stored.
struct Told {
    success: Success,
    bucket: String,
    key: String,
    /// The object's URL, by the form's own.
    location: String,
}

impl Told {
    fn of(reached: &Reached, head: &Head, bucket: &str, tls: bool) -> Self {
        let key = reached.form.value("key").unwrap_or_default().to_owned();
        let scheme = if tls { "https" } else { "http" };
        let (host, path) = (head.first_text("host").unwrap_or_default(), head.path().trim_end_matches('/'));
        let location = format!("{scheme}://{host}{path}/{}", encode(&key));
        Self { success: Success::of(&reached.form), bucket: bucket.to_owned(), key, location }
    }

    /// The answer to a put in the words of a form's; errors are the same.
    fn tell(self, mut put: Response<Reply>) -> Response<Reply> {
        if !put.status().is_success() {
            return put;
        }
        let etag = put.headers().get(ETAG).and_then(|etag| etag.to_str().ok()).unwrap_or_default().to_owned();
        let headers = put.headers_mut();
        headers.remove(CONTENT_LENGTH);
        headers.remove(CONTENT_TYPE);
        let url = self.success.url(&self.bucket, &self.key, &etag);
        insert(headers, LOCATION, url.as_deref().unwrap_or(&self.location));
        let (status, document) = match self.success {
            Success::Status(status) => (status, None),
            Success::Redirect(_) => (StatusCode::SEE_OTHER, None),
            Success::Document => {
                insert(headers, CONTENT_TYPE, "application/xml");
                let document = form::post_response(&self.location, &self.bucket, &self.key, &etag);
                (StatusCode::CREATED, Some(document))
            }
        };
        *put.status_mut() = status;
        put.map(|body| match document {
            Some(document) => Reply::full(document.into()),
            None => body,
        })
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
