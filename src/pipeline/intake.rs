//! The client's body, taken in: how long it is, how it is framed, what must be checked here
//! because some region's store would not check it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::body::Incoming;

use super::Visit;
use crate::body::Source;
use crate::body::progress::Pace;
use crate::body::source::Intake;
use crate::refusal::{Blame, Refusal};
use crate::s3::checksum::Algorithm;
use crate::s3::operation::{BodyKind, Kind, Operation};
use crate::s3::profile::{BodyHash, Feature, Profile};
use crate::s3::{Code, xml};
use crate::sigv4::{Payload, chunks};

/// The body as a shared handle; nothing of it is read yet.
pub(super) fn receive(visit: &Visit<'_>, body: Incoming) -> Result<Source, Refusal> {
    let facts = visit.call.facts();
    if facts.body == BodyKind::Empty {
        return Ok(Source::empty());
    }
    let length = length(visit)?;
    content_md5(visit)?;
    if length == 0 && visit.sender.framing.is_none() {
        check_empty(visit)?;
        return Ok(Source::empty());
    }
    let (sha256, checksum) = checked_here(visit)?;
    let decoder = visit
        .sender
        .framing
        .clone()
        .map(|framing| chunks::Decoder::new(framing, length, chunks::declared(&visit.head)));
    let limits = &visit.view.limits;
    let replay = (facts.kind == Kind::Write && length <= limits.replay_body.0)
        .then(|| visit.house.replays.reserve(length, limits.replay_total.0))
        .flatten();
    let intake = Intake {
        length,
        decoder,
        sha256,
        checksum,
        trailer: trailer(visit),
        replay,
        pace: Some(Pace::over(visit.view.timeouts.body_progress)),
    };
    Ok(Source::stream(body, intake))
}

/// Object bytes, which S3 wants to know before the first of them.
fn length(visit: &Visit<'_>) -> Result<u64, Refusal> {
    let framing = &visit.call.framing;
    if visit.sender.framing.is_some() {
        return framing.decoded_length.ok_or_else(|| Refusal::new(Code::MissingContentLength, Blame::Client));
    }
    match framing.content_length {
        Some(length) => Ok(length),
        None if framing.chunked => Err(Refusal::because(
            Code::NotImplemented,
            Blame::Client,
            "A header you provided implies functionality that is not implemented: Transfer-Encoding without a length.",
        )
        .with("Header", "Transfer-Encoding")
        .closing()),
        // A POST without a body (CreateMultipartUpload's like) needs none; a PUT must say.
        None if visit.call.operation == Operation::PutObject || visit.call.operation == Operation::UploadPart => {
            Err(Refusal::new(Code::MissingContentLength, Blame::Client))
        }
        None => Ok(0),
    }
}

/// `Content-MD5` must be one; whether it is the body's the store says.
fn content_md5(visit: &Visit<'_>) -> Result<(), Refusal> {
    match visit.head.first("content-md5") {
        Some(text) if STANDARD.decode(text).is_ok_and(|digest| digest.len() == 16) => Ok(()),
        Some(_) => Err(Refusal::new(Code::InvalidDigest, Blame::Client)),
        None => Ok(()),
    }
}

/// An empty body has a hash too.
fn check_empty(visit: &Visit<'_>) -> Result<(), Refusal> {
    let (Payload::Sha256(claimed), false) = (visit.sender.payload, profiles(visit).all(store_hashes)) else {
        return Ok(());
    };
    let computed = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &[]);
    if computed.as_ref() == claimed {
        return Ok(());
    }
    let (claimed, computed) = (hex::encode(claimed), hex::encode(computed.as_ref()));
    Err(crate::body::BodyFault::Sha256 { claimed, computed }.into())
}

fn profiles<'a>(visit: &'a Visit<'_>) -> impl Iterator<Item = Profile> + use<'a> {
    let members = visit.access_point.members.iter();
    members.filter_map(|member| visit.view.region(&member.region)).map(|region| region.profile)
}

fn store_hashes(profile: Profile) -> bool {
    profile.body_hash == BodyHash::Store
}

type Checked = (Option<[u8; 32]>, Option<(Algorithm, String)>);

/// What some region that the request may reach does not check itself. Documents are small and
/// signed anew: always checked here.
fn checked_here(visit: &Visit<'_>) -> Result<Checked, Refusal> {
    let document = visit.call.facts().body == BodyKind::Document;
    let sha256 = match visit.sender.payload {
        Payload::Sha256(claimed) if document || !profiles(visit).all(store_hashes) => Some(claimed),
        _ => None,
    };
    let store_checks = profiles(visit).all(|profile| profile.honours.has(Feature::Checksums));
    let declared =
        visit.head.fields().find_map(|field| Some((Algorithm::of_header(field.name)?, field.text()?)));
    let Some((algorithm, text)) = declared else { return Ok((sha256, None)) };
    if algorithm.decode(text).is_none() {
        let words = format!("Value for {} header is invalid.", algorithm.header());
        return Err(Refusal::because(Code::InvalidRequest, Blame::Client, words));
    }
    let checksum = (document || !store_checks).then(|| (algorithm, text.to_owned()));
    Ok((sha256, checksum))
}

/// The checksum that is declared to come behind the body.
pub(super) fn trailer(visit: &Visit<'_>) -> Option<Algorithm> {
    visit.sender.framing.as_ref()?;
    chunks::declared(&visit.head).iter().find_map(|name| Algorithm::of_header(name))
}

/// The MD5 of a document, as `Content-MD5` says it.
pub(super) fn md5(document: &[u8]) -> String {
    use md5::Digest as _;
    STANDARD.encode(md5::Md5::digest(document))
}

/// A small document, whole and verified.
pub(super) async fn document(visit: &Visit<'_>, source: &Source) -> Result<Bytes, Refusal> {
    let document = source.document(visit.view.limits.xml_body.0).await?;
    if visit.call.operation == Operation::CompleteMultipartUpload {
        let parts = xml::complete_request(&document)?;
        if !parts.is_sorted_by(|one, two| one.number < two.number) {
            return Err(Refusal::new(Code::InvalidPartOrder, Blame::Client));
        }
    }
    Ok(document)
}
