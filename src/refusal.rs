//! Every room's error as what the client gets: S3's code, status, words and details; and as what
//! the operator gets: whose fault it was and what was seen. Pure; the only place that maps.
//!
//! No detail for the client names a physical bucket, an endpoint, a secret or an expected
//! signature.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderName, Response, StatusCode};

use crate::body::form::Unread;
use crate::body::{BodyFault, Reply};
use crate::exchange::Unanswered;
use crate::head::strict;
use crate::names::RequestId;
use crate::policy::Denied;
use crate::route::{GiveUp, NoRoute};
use crate::s3::{Code, Malformed, xml};
use crate::sigv4::Rejected;
use crate::sigv4::chunks;

/// Whose fault a refusal was. Only the region's own faults ever touch its standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// What the client sent, or failed to send.
    Client,
    /// A store, or the way to it.
    Region,
    /// nearpoint: its limits, its configuration.
    House,
}

/// A request that is answered by us with an error.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// S3's code.
    pub code: Cow<'static, str>,
    /// The status that goes with it.
    pub status: StatusCode,
    /// What the client reads.
    pub message: Cow<'static, str>,
    /// Further elements of the error document.
    pub details: Vec<(&'static str, String)>,
    /// Seconds after which trying again makes sense.
    pub retry_after: Option<u32>,
    /// The connection's framing cannot be trusted any more.
    pub close: bool,
    /// Whose fault it was.
    pub blame: Blame,
    /// For the log only.
    pub cause: Option<String>,
}

/// Seconds that `Retry-After` says at the most, and over which it is spread.
const RETRY_AFTER_MOST: u32 = 5;
const RETRY_AFTER_SPREAD: u32 = 4;

impl Refusal {
    /// With the code's own status and words.
    #[must_use]
    pub fn new(code: Code, blame: Blame) -> Self {
        Self::because(code, blame, code.message())
    }

    /// With words that say more.
    #[must_use]
    pub fn because(code: Code, blame: Blame, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: Cow::Borrowed(code.as_str()),
            status: code.status(),
            message: message.into(),
            details: Vec::new(),
            retry_after: None,
            close: false,
            blame,
            cause: None,
        }
    }

    /// `503 ServiceUnavailable`, to be tried again. (`SlowDown` is for overload only: SDKs
    /// throttle themselves on it.)
    #[must_use]
    pub fn unavailable(blame: Blame, cause: impl Into<String>) -> Self {
        Self::new(Code::ServiceUnavailable, blame).caused_by(cause).after(1)
    }

    /// What the log says beside.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// With `Retry-After`, in seconds at the least.
    #[must_use]
    pub fn after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// With `Connection: close`.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// With one more element in the error document.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.details.push((name, value.into()));
        self
    }

    /// The error document.
    #[must_use]
    pub fn document(&self, resource: &str, request_id: RequestId) -> String {
        let extra: Vec<(&str, &str)> =
            self.details.iter().map(|(name, value)| (*name, value.as_str())).collect();
        xml::error_document(&self.code, &self.message, resource, &request_id.to_string(), &extra)
    }

    /// The answer. `head_only` for HEAD, whose replies have no body.
    #[must_use]
    pub fn respond(&self, resource: &str, request_id: RequestId, head_only: bool) -> Response<Reply> {
        let id = request_id.to_string();
        let body = if head_only {
            Reply::empty()
        } else {
            Reply::full(Bytes::from(self.document(resource, request_id)))
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        insert_text(headers, &HeaderName::from_static("x-amz-request-id"), &id);
        if let Some(seconds) = self.retry_after {
            // spread by the id, which is random: those who were refused together do not come back together
            // (overload draws its own)
            let spread = if self.code == Code::ServiceUnavailable.as_str() { RETRY_AFTER_SPREAD } else { 1 };
            let more = u32::try_from(request_id.0 % u64::from(spread)).unwrap_or_default();
            headers.insert(RETRY_AFTER, seconds.saturating_add(more).min(RETRY_AFTER_MOST).into());
        }
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

fn insert_text(headers: &mut http::HeaderMap, name: &HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

impl From<strict::Fault> for Refusal {
    fn from(fault: strict::Fault) -> Self {
        use strict::Fault;
        let code = match &fault {
            Fault::Method(_) => Code::MethodNotAllowed,
            Fault::Target(_) => Code::InvalidURI,
            Fault::Repeated("authorization") | Fault::Expectation => Code::InvalidArgument,
            Fault::Host(_)
            | Fault::Repeated(_)
            | Fault::FieldName
            | Fault::Connection(_)
            | Fault::Framing(_) => Code::InvalidRequest,
            Fault::TooManyFields { .. } => Code::RequestHeaderSectionTooLarge,
            Fault::Internal(_) => Code::AccessDenied,
            Fault::Metadata { .. } => Code::MetadataTooLarge,
            Fault::Upload { .. } => Code::EntityTooLarge,
        };
        let close = matches!(fault, Fault::TooManyFields { .. } | Fault::Framing(_) | Fault::Target(_));
        let mut refusal = Self::because(code, Blame::Client, fault.to_string());
        if matches!(fault, Fault::Expectation) {
            refusal.status = StatusCode::EXPECTATION_FAILED;
        }
        refusal.close = close;
        refusal
    }
}

impl From<Malformed> for Refusal {
    fn from(fault: Malformed) -> Self {
        let mut refusal = Self::because(fault.code, Blame::Client, fault.detail);
        // What is no target to us may be one to whoever framed it.
        refusal.close = fault.code == Code::InvalidURI;
        match fault.argument {
            Some((name, value)) => refusal.with("ArgumentName", name).with("ArgumentValue", value),
            None => refusal,
        }
    }
}

impl From<Rejected> for Refusal {
    fn from(rejected: Rejected) -> Self {
        let code = Code::parse(rejected.code()).unwrap_or(Code::AccessDenied);
        let mut refusal = Self::because(code, Blame::Client, rejected.to_string());
        refusal.details = rejected.details();
        refusal
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        Self::new(Code::AccessDenied, Blame::Client).caused_by(denied.to_string())
    }
}

impl From<chunks::Fault> for Refusal {
    fn from(fault: chunks::Fault) -> Self {
        let code = Code::parse(fault.code()).unwrap_or(Code::InvalidRequest);
        let mut refusal = Self::because(code, Blame::Client, fault.to_string());
        refusal.close = fault.closes();
        refusal
    }
}

/// What to do about a form whose file was taken to be longer or shorter than it is.
const NOT_LAST: &str = " The file must be the last field of a form that is longer than limits.replay_body; how \
                        this one ends is known now, if it is sent again.";

impl From<BodyFault> for Refusal {
    fn from(fault: BodyFault) -> Self {
        let words = fault.to_string();
        match fault {
            BodyFault::Chunk(fault) => fault.into(),
            BodyFault::Form(_) | BodyFault::NotLast => {
                let said = Code::MalformedPOSTRequest.message();
                let remedy = if fault == BodyFault::NotLast { NOT_LAST } else { "" };
                Self::because(Code::MalformedPOSTRequest, Blame::Client, format!("{said}{remedy}"))
                    .caused_by(words)
            }
            BodyFault::Aborted => Self::new(Code::RequestTimeout, Blame::Client).caused_by(words).closing(),
            BodyFault::Source => Self::unavailable(Blame::Region, words),
            BodyFault::TooSlow => Self::new(Code::RequestTimeout, Blame::Client).closing(),
            BodyFault::Length { .. } => {
                Self::new(Code::IncompleteBody, Blame::Client).caused_by(words).closing()
            }
            BodyFault::Sha256 { claimed, computed } => Self::because(
                Code::XAmzContentSHA256Mismatch,
                Blame::Client,
                "The provided 'x-amz-content-sha256' header does not match what was computed.",
            )
            .with("ClientComputedContentSHA256", claimed)
            .with("S3ComputedContentSHA256", computed),
            BodyFault::Checksum(algorithm) => Self::because(
                Code::BadDigest,
                Blame::Client,
                format!("The {algorithm} you specified did not match the calculated checksum."),
            ),
            BodyFault::Trailer => Self::new(Code::MalformedTrailerError, Blame::Client),
            BodyFault::TooLong { .. } => Self::new(Code::MaxMessageLengthExceeded, Blame::Client),
        }
    }
}

impl From<Unread> for Refusal {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Body(fault) => fault.into(),
            Unread::Form(fault) => fault.into(),
        }
    }
}

impl From<NoRoute> for Refusal {
    fn from(no_route: NoRoute) -> Self {
        let words = no_route.to_string();
        match no_route {
            NoRoute::NotHonoured { .. } | NoRoute::ConditionalRefused | NoRoute::ConditionElsewhere => {
                Self::because(Code::NotImplemented, Blame::House, words)
            }
            _ => Self::unavailable(Blame::Region, words),
        }
    }
}

impl From<GiveUp> for Refusal {
    fn from(reason: GiveUp) -> Self {
        let cause = match reason {
            GiveUp::Ambiguous => "sent in full and not answered: it may have been carried out",
            GiveUp::BodySpent => "its body was partly taken and is not kept for a repeat",
            GiveUp::TooLate => "a repeat would come too late to be harmless",
            GiveUp::NoRegion => "only another region would do, and there is none",
            GiveUp::Poisonous => "it ended the connections of two regions",
            GiveUp::Attempts => "all tries are used up",
            GiveUp::Deadline => "its time is up",
            GiveUp::Budget => "the retry budget is spent",
            GiveUp::Shortage => {
                let cause = "no file descriptor, port or memory was left for a connection to a region";
                return Self::unavailable(Blame::House, cause);
            }
        };
        Self::unavailable(Blame::Region, cause)
    }
}

impl From<Unanswered> for Refusal {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::NoRoute(no_route) => no_route.into(),
            Unanswered::GaveUp(reason) => reason.into(),
            Unanswered::Body(fault) => fault.into(),
            Unanswered::Hopeless => {
                Self::unavailable(Blame::Region, "no region is fit, and enough requests try them").after(2)
            }
            Unanswered::Refusing => {
                Self::unavailable(Blame::Region, "no region is fit, and all of them refuse connections")
                    .after(1)
            }
            Unanswered::Target => Self::new(Code::InvalidURI, Blame::Client).caused_by(
                "in a region's words the target is longer than a URI, or a field would end its line",
            ),
            Unanswered::Throttled => Self::new(Code::SlowDown, Blame::Region)
                .after(1)
                .caused_by("the region asked for less, and no other may take what is above its rate"),
            Unanswered::Full => {
                Self::new(Code::SlowDown, Blame::House).after(1).caused_by("limits.in_flight_per_region")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn retry_after(refusal: &Refusal, id: u64) -> Option<u32> {
        let response = refusal.respond("/k", RequestId(id), false);
        response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()
    }

    #[test]
    fn who_is_sent_away_together_comes_back_at_different_times() {
        let out = Refusal::unavailable(Blame::Region, "every region is out");
        let told: BTreeSet<_> = (0..100).filter_map(|id| retry_after(&out, id)).collect();
        assert!(told.len() >= 3 && told.iter().all(|after| (1..=5).contains(after)), "{told:?}");
        // overload has drawn its own
        let full = Refusal::new(Code::SlowDown, Blame::House).after(2);
        let told: BTreeSet<_> = (0..100).filter_map(|id| retry_after(&full, id)).collect();
        assert_eq!(told, BTreeSet::from([2]));
        assert_eq!(retry_after(&Refusal::new(Code::NoSuchBucket, Blame::Client), 1), None);
    }
}
