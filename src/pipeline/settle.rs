//! What is known of a write whose answer was lost, and how a region is asked about it. Nothing of
//! this is made before an answer is lost.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;

use super::outgoing::Outgoing;
use crate::body::upload::Framing;
use crate::exchange::{Prepared, Written};
use crate::head::Head;
use crate::names::WriteNonce;
use crate::route::Step;
use crate::route::settle::{Evidence, Write};
use crate::s3::Call;
use crate::s3::checksum::Algorithm;
use crate::s3::conditions::WriteCondition;
use crate::s3::kept::{self, Kept, NONCE};
use crate::s3::operation::Operation;
use crate::s3::profile::Feature;
use crate::s3::xml::{self, CompletedPart};
use crate::sigv4::{Payload, PayloadMark};
use crate::units::UnixSeconds;
use crate::view::RegionSettings;

/// Headers of a write without which its object's head is refused, or is another's.
const ASKED_WITH: [&str; 7] = [
    "host",
    "via",
    "user-agent",
    "traceparent",
    "tracestate",
    "x-amz-expected-bucket-owner",
    "x-amz-request-payer",
];

/// Of an object that is encrypted with the client's key.
const CUSTOMER_KEY: &str = "x-amz-server-side-encryption-customer-";

impl Outgoing<'_> {
    /// Itself, where the object's head can show whether the write was done.
    pub(super) fn provable(&self) -> Option<&dyn Written> {
        matches!(self.visit.call.operation, Operation::PutObject | Operation::CompleteMultipartUpload)
            .then_some(self)
    }

    /// Leaves a nonce in the metadata of what could not be known again otherwise: one for each try,
    /// and one for each upload, whose token remembers it.
    pub(super) fn leave_nonce(&self, head: &mut Head) {
        let visit = self.visit;
        let wanted = match visit.call.operation {
            Operation::PutObject => visit.call.conditional_write,
            Operation::CreateMultipartUpload => visit.wraps(),
            _ => return,
        };
        let leaves = wanted && visit.access_point.write_nonce && kept::has_room_for_nonce(head);
        let nonce = leaves.then(|| WriteNonce(visit.house.coin.borrow_mut().bits()));
        if let Some(nonce) = nonce {
            head.push(NONCE, nonce.to_string().as_bytes());
        }
        visit.nonce.set(nonce);
    }

    /// What the client said of its bytes, which were refused or verified if it was wrong.
    fn declared(&self, algorithm: Algorithm) -> Option<String> {
        let (head, name) = (&self.visit.head, algorithm.header());
        let field = |name: &str| head.first_text(name).map(|value| value.trim().to_owned());
        if let Some(declared) = field(name) {
            return Some(declared);
        }
        if self.visit.call.operation != Operation::PutObject {
            // the rest is of a document, which is not the object
            return None;
        }
        self.source.trailer(name).or_else(|| match (algorithm, self.visit.sender.payload) {
            (Algorithm::Md5, _) => field("content-md5"),
            (Algorithm::Sha256, Payload::Sha256(digest)) => Some(STANDARD.encode(digest)),
            _ => None,
        })
    }
}

impl Written for Outgoing<'_> {
    fn ask(&self, step: &Step, region: &RegionSettings) -> Prepared {
        let mut head = self.head(step, region);
        head.set_method(Method::HEAD);
        let path = head.path().to_owned();
        head.set_target(&path, None);
        head.retain(|field| ASKED_WITH.contains(&field.name) || field.name.starts_with(CUSTOMER_KEY));
        if region.profile.honours.has(Feature::Checksums) {
            super::checksums::ask(&mut head);
        }
        Prepared { head, framing: Framing::Plain, payload: PayloadMark::Empty }
    }

    fn evidence(&self, step: &Step, region: &RegionSettings, began: UnixSeconds) -> Evidence {
        let visit = self.visit;
        let (write, nonce) = if visit.call.operation == Operation::CompleteMultipartUpload {
            let begun = visit.ids.begun();
            let parts = self.document.and_then(|document| xml::complete_request(document).ok());
            let parts = parts.unwrap_or_default();
            let write = Write::Complete {
                initiated: begun.map(|begun| begun.initiated),
                etag: tag_of(&parts),
                parts: parts.len(),
                key: String::from_utf8_lossy(visit.call.key()).into_owned(),
            };
            (write, begun.and_then(|begun| begun.nonce))
        } else {
            let kept = Kept::of(&self.head(step, region));
            (Write::Put { length: self.source.length(), kept }, visit.nonce.get())
        };
        Evidence { write, condition: WriteCondition::of(&visit.head), nonce, began }
    }

    fn acknowledged(&self, step: &Step, tag: &[u8]) -> bool {
        let visit = self.visit;
        visit.house.changes.acknowledged(
            &visit.access_point,
            &visit.call,
            &step.region,
            tag,
            visit.ledger.came(),
        )
    }

    fn digest(&self, algorithm: Algorithm) -> Option<String> {
        let is_object = self.visit.call.operation == Operation::PutObject;
        self.declared(algorithm).or_else(|| self.source.digest(algorithm).filter(|_| is_object))
    }
}

/// The tag of the object that the end of an upload makes of the parts which this document lists, as
/// its head shows it: no header of the answer says it.
pub(super) fn tag_of_upload(call: &Call, document: Option<&[u8]>) -> Option<String> {
    let document = document.filter(|_| call.operation == Operation::CompleteMultipartUpload)?;
    Some(format!("\"{}\"", tag_of(&xml::complete_request(document).ok()?)?))
}

/// The tag of an object of these parts: the MD5 of their MD5s, and how many they are. `None` where
/// their tags are no MD5s.
fn tag_of(parts: &[CompletedPart]) -> Option<String> {
    use md5::Digest as _;
    let mut whole = md5::Md5::new();
    for part in parts {
        let digest = hex::decode(part.etag.trim_matches('"')).ok().filter(|digest| digest.len() == 16)?;
        whole.update(digest);
    }
    Some(format!("{}-{}", hex::encode(whole.finalize()), parts.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(etag: &str) -> CompletedPart {
        CompletedPart { number: 1, etag: etag.to_owned(), checksums: Vec::new() }
    }

    #[test]
    fn the_tag_of_an_upload_is_that_of_its_parts_tags() {
        // MD5 of the sixteen bytes that are the MD5 of "abc"
        let abc = "\"900150983cd24fb0d6963f7d28e17f72\"";
        assert_eq!(tag_of(&[part(abc)]).as_deref(), Some("af5da9f45af7a300e3aded972f8ff687-1"));
        assert_ne!(tag_of(&[part(abc), part(abc)]), tag_of(&[part(abc)]));
        for odd in ["", "\"900150983cd24fb0d6963f7d28e17f72-2\"", "opaque"] {
            assert_eq!(tag_of(&[part(abc), part(odd)]), None, "{odd}");
        }
    }
}
