//! Successes that may have an error inside: the store said `200` before it knew, and sent white
//! space until it did. The answer's head is held until its document has told, or for a while.

use std::time::Duration;

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode};

use crate::body::Reply;
use crate::route::Meaning;
use crate::s3::{Code, xml};

/// How long an answer's head is held for its document. Longer, and a client that waits for a sign
/// of life would give up: the white space is its sign.
const HOLD: Duration = Duration::from_secs(10);
/// Most of a document that is read before the client is told: results are below 4 KiB, but for
/// those of a thousand deletions.
const DOCUMENT: usize = 1 << 20;

/// What a success has inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// Nothing but what it says, or it is none of those that may.
    None,
    /// Not read yet: too long, or too slow.
    Unread,
    /// An error, which stands for this status.
    Error(StatusCode),
    /// Keys that were not deleted through the store's fault: the answer is the client's, but no
    /// sign of health.
    Faults,
    /// It broke off: no answer at all.
    Cut,
}

/// Reads a success that may have an error inside; every byte is still to be read from `body`.
pub(super) async fn look_inside(headers: &HeaderMap, body: &mut Reply) -> Doubt {
    let says_empty = headers.get(CONTENT_LENGTH).is_some_and(|length| length == "0");
    match tokio::time::timeout(HOLD, body.read_ahead(DOCUMENT)).await {
        Ok(Ok(Some(document))) => judge(document, says_empty),
        Ok(Ok(None)) | Err(_) => Doubt::Unread,
        Ok(Err(_)) => Doubt::Cut,
    }
}

/// A document that never came, or not to its end, is none: the store died over its white space, and
/// whatever stands before it took that for the end.
fn judge(document: &[u8], says_empty: bool) -> Doubt {
    if let Some(error) = xml::read_error(document) {
        return Doubt::Error(status_of(&error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    }
    if !says_empty && !xml::is_document(document) {
        return Doubt::Cut;
    }
    let is_fault = |code: &String| {
        let status = status_of(code).map_or(0, |status| status.as_u16());
        Meaning::read(status, Some(code)) == Meaning::ServerFault
    };
    if xml::failed_deletions(document).iter().any(is_fault) { Doubt::Faults } else { Doubt::None }
}

fn status_of(code: &str) -> Option<StatusCode> {
    Code::parse(code).map(Code::status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_inside_a_success_is_seen() {
        let error = |code: &str| format!("  \n<Error><Code>{code}</Code><Message>m</Message></Error>");
        let deleted = |code: &str| {
            format!("<DeleteResult><Error><Key>k</Key><Code>{code}</Code></Error></DeleteResult>")
        };
        for (document, doubt) in [
            (error("InternalError"), Doubt::Error(StatusCode::INTERNAL_SERVER_ERROR)),
            (error("SlowDown"), Doubt::Error(StatusCode::SERVICE_UNAVAILABLE)),
            (error("InvalidPart"), Doubt::Error(StatusCode::BAD_REQUEST)),
            (error("OfThatStoreAlone"), Doubt::Error(StatusCode::INTERNAL_SERVER_ERROR)),
            (deleted("InternalError"), Doubt::Faults),
            (deleted("AccessDenied"), Doubt::None),
            ("<CompleteMultipartUploadResult/>".to_owned(), Doubt::None),
            (
                "  \n <?xml version=\"1.0\"?>\n<CopyObjectResult><ETag>t</ETag></CopyObjectResult> "
                    .to_owned(),
                Doubt::None,
            ),
            ("<CopyPartResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"/>".to_owned(), Doubt::None),
            (String::new(), Doubt::Cut),
            (" \n  ".to_owned(), Doubt::Cut),
            ("<?xml version=\"1.0\"?>\n  ".to_owned(), Doubt::Cut),
            ("  <CompleteMultipartUploadResult><ETag>t</ETag>".to_owned(), Doubt::Cut),
            ("  <CompleteMult".to_owned(), Doubt::Cut),
        ] {
            assert_eq!(judge(document.as_bytes(), false), doubt, "{document}");
        }
        assert_eq!(judge(b"", true), Doubt::None, "a store that says so has no more to say");
    }
}
