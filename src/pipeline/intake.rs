//! The client's body, taken in: how long it is, how it is framed, what must be checked here
//! because some region's store would not check it.

use std::sync::{Arc, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::{Visit, entrance, form};
use crate::body::progress::Pace;
use crate::body::source::{Decoder, HOLD_BACK, Intake};
use crate::body::{BodyFault, Source};
use crate::head::strict::UPLOAD_MAX;
use crate::http1::ClientBody;
use crate::policy::Grant;
use crate::refusal::{Blame, Refusal};
use crate::route::{EtagCheck, Plan};
use crate::s3::checksum::{Algorithm, Hasher};
use crate::s3::integrity::{self, Declared};
use crate::s3::operation::{BodyKind, Kind, Operation};
use crate::s3::profile::{BodyHash, Feature, Profile};
use crate::s3::{Code, xml};
use crate::sigv4::{Payload, chunks};

/// The body as a shared handle; nothing of it is read yet.
pub(super) fn receive(visit: &Visit<'_>, body: ClientBody) -> Result<Source, Refusal> {
    let facts = visit.call.facts();
    if facts.body == BodyKind::Empty {
        return Ok(Source::empty());
    }
    let length = length(visit)?;
    let declared = declared(visit)?;
    let trailer = declared.trailer;
    let says_nothing = declared == Declared::default();
    let Checks { sha256, checksums } = checked_here(visit, declared, length);
    if length == 0 && visit.sender.framing.is_none() {
        check_whole(&[], sha256, &checksums)?;
        return Ok(Source::empty());
    }
    let decoder =
        visit.sender.framing.clone().map(|framing| {
            Decoder::Chunks(chunks::Decoder::new(framing, length, chunks::declared(&visit.head)))
        });
    let limits = &visit.view.limits;
    let replay = (facts.kind == Kind::Write && length <= limits.replay_body.0)
        .then(|| visit.house.replays.reserve(length, limits.replay_total.0))
        .flatten();
    let intake = Intake {
        length,
        decoder,
        sha256,
        checksums,
        trailer,
        witness: witness(visit, says_nothing).filter(|_| replay.is_none()),
        replay,
        pace: Some(Pace::over(visit.view.timeouts.body_progress)),
        ..Intake::default()
    };
    Ok(Source::stream(body, intake))
}

/// The file of a form as a shared handle. S3 wants an object's length ahead of it, which a form does not
/// say. A short file is read whole. A longer one is sent on as it comes, as long as it is if the form's
/// end follows it and nothing else, or what followed the sender's last one; where it turns out otherwise,
/// the upload breaks off before its end, and nothing is stored.
pub(super) async fn receive_file(visit: &Visit<'_>, upload: form::Upload) -> Result<Source, Refusal> {
    let form::Upload { reached, length: announced, range, habit } = upload;
    let remaining = announced.saturating_sub(reached.before);
    let endings = Arc::clone(&visit.house.endings);
    let learnt = endings.lock().unwrap_or_else(PoisonError::into_inner).of(habit);
    let length = remaining.saturating_sub(learnt.unwrap_or_else(|| reached.reader.closing()));
    let measured = move |file: u64| {
        let behind = remaining.saturating_sub(file);
        endings.lock().unwrap_or_else(PoisonError::into_inner).learn(habit, behind);
    };
    let declared = declared(visit)?;
    let says_nothing = declared == Declared::default();
    let Checks { sha256, checksums } = checked_here(visit, declared, length);
    let limits = &visit.view.limits;
    let paid = (HOLD_BACK..=limits.replay_body.0)
        .contains(&remaining)
        .then(|| visit.house.replays.reserve(remaining, limits.replay_total.0))
        .flatten();
    if remaining < HOLD_BACK || paid.is_some() {
        let file = reached.whole().await?;
        measured(file.len() as u64);
        visit.ledger.received(announced);
        form::judge_size(range, file.len() as u64)?;
        check_whole(&file, sha256, &checksums)?;
        return Ok(Source::arrived(file, paid));
    }
    form::judge_size(range, length)?;
    let before = reached.before;
    let (first, reader, client) = reached.into_client();
    visit.ledger.received(before + first.len() as u64);
    let intake = Intake {
        length,
        decoder: Some(Decoder::Form(reader)),
        sha256,
        checksums,
        witness: witness(visit, says_nothing),
        pace: Some(Pace::over(visit.view.timeouts.body_progress)),
        measured: Some(Box::new(measured)),
        ..Intake::default()
    };
    Ok(Source::begun(first, client, intake))
}

/// What is computed of a body that is not kept, so that a lost answer can be settled: what some
/// region's store gives back of the object.
pub(super) fn witness(visit: &Visit<'_>, says_nothing: bool) -> Option<Algorithm> {
    if visit.call.operation != Operation::PutObject {
        return None;
    }
    match visit.access_point.etag_check {
        EtagCheck::Md5 => Some(Algorithm::Md5),
        EtagCheck::Auto => {
            let gives_back = profiles(visit).any(|profile| profile.honours.has(Feature::Checksums));
            (says_nothing && gives_back).then_some(Algorithm::Crc64Nvme)
        }
    }
}

/// Object bytes, which S3 wants to know before the first of them.
fn length(visit: &Visit<'_>) -> Result<u64, Refusal> {
    let length = announced(visit)?;
    // The head was judged by whichever length it had; only now is known which one counts.
    if length > UPLOAD_MAX.0 {
        return Err(
            Refusal::new(Code::EntityTooLarge, Blame::Client).with("ProposedSize", length.to_string())
        );
    }
    Ok(length)
}

fn announced(visit: &Visit<'_>) -> Result<u64, Refusal> {
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

/// What the client says of its body. The checksums of a `CompleteMultipartUpload` are the
/// object's and not its document's: they are the store's to check.
fn declared(visit: &Visit<'_>) -> Result<Declared, Refusal> {
    if visit.call.operation == Operation::CompleteMultipartUpload {
        let md5 = integrity::content_md5(&visit.head)?;
        return Ok(Declared { md5, ..Declared::default() });
    }
    Ok(Declared::of(&visit.head, &trailers(visit))?)
}

/// The names of what comes behind the body, where its framing has room for it.
fn trailers(visit: &Visit<'_>) -> Vec<String> {
    if visit.sender.framing.is_some() { chunks::declared(&visit.head) } else { Vec::new() }
}

/// What is verified here.
struct Checks {
    sha256: Option<[u8; 32]>,
    checksums: Vec<(Algorithm, String)>,
}

/// What some region that the request may reach does not check itself. Documents are small and
/// signed anew, empty bodies are cheap, and of a request that goes on unsigned the store never sees
/// the signed hash: all of it is checked here. So is all of it where a store does not compare bodies with
/// their hashes (`body_hash: proxy`): it may take in checksums and MD5s without a look, too.
fn checked_here(visit: &Visit<'_>, declared: Declared, length: u64) -> Checks {
    let everything = visit.call.facts().body == BodyKind::Document
        || length == 0
        || visit.sender.anonymous_upstream
        || !profiles(visit).all(store_hashes);
    let sha256 = match visit.sender.payload {
        Payload::Sha256(claimed) if everything => Some(claimed),
        _ => None,
    };
    let stores_check = |algorithm: Algorithm| {
        algorithm.is_common() && profiles(visit).all(|profile| profile.honours.has(Feature::Checksums))
    };
    let checksum = declared.checksum.filter(|(algorithm, _)| everything || !stores_check(*algorithm));
    let md5 = declared.md5.filter(|_| everything).map(|md5| (Algorithm::Md5, md5));
    Checks { sha256, checksums: checksum.into_iter().chain(md5).collect() }
}

/// Compares a body that is whole with its hash and checksums; an empty one has them too.
fn check_whole(
    body: &[u8],
    sha256: Option<[u8; 32]>,
    checksums: &[(Algorithm, String)],
) -> Result<(), BodyFault> {
    let computed = sha256.map(|_| aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body));
    if let (Some(claimed), Some(computed)) = (sha256, computed)
        && computed.as_ref() != claimed
    {
        let (claimed, computed) = (hex::encode(claimed), hex::encode(computed.as_ref()));
        return Err(BodyFault::Sha256 { claimed, computed });
    }
    for (algorithm, claimed) in checksums {
        let mut hasher = Hasher::new(*algorithm);
        hasher.update(body);
        if hasher.finish_text() != claimed.trim() {
            return Err(BodyFault::Checksum(algorithm.name()));
        }
    }
    Ok(())
}

fn profiles<'a>(visit: &'a Visit<'_>) -> impl Iterator<Item = Profile> + use<'a> {
    let members = visit.access_point.members.iter();
    members.filter_map(|member| visit.view.region(&member.region)).map(|region| region.profile)
}

fn store_hashes(profile: Profile) -> bool {
    profile.body_hash == BodyHash::Store
}

/// The checksum that comes behind the body, where there is one.
pub(super) fn trailer(visit: &Visit<'_>) -> Option<Algorithm> {
    if visit.call.facts().body == BodyKind::Empty {
        return None;
    }
    trailers(visit).iter().find_map(|name| Algorithm::of_header(name))
}

/// Whether the body is protected by something that was verified: S3 wants that of a document by
/// which a flipped bit deletes another key.
pub(super) fn is_protected(visit: &Visit<'_>) -> Result<bool, Refusal> {
    let declared = declared(visit)?;
    Ok(declared.md5.is_some() || declared.checksum.is_some() || declared.trailer.is_some())
}

/// The MD5 of a document, as `Content-MD5` says it.
pub(super) fn md5(document: &[u8]) -> String {
    use md5::Digest as _;
    STANDARD.encode(md5::Md5::digest(document))
}

/// Takes room in memory for so many bytes more of the request's documents, and of the answers that
/// are merged for it.
pub(super) fn hold(visit: &Visit<'_>, bytes: u64) -> Result<(), Refusal> {
    let held = visit.ledger.hold_bytes(&visit.house.documents, bytes, visit.view.limits.replay_total.0);
    held.map_err(|overfull| entrance::refuse_document(visit.house, &visit.call, overfull))
}

/// A small document, whole and verified.
pub(super) async fn document(visit: &Visit<'_>, source: &Source) -> Result<Bytes, Refusal> {
    let limits = &visit.view.limits;
    // a longer one is not read at all
    if (1..=limits.xml_body.0).contains(&source.length()) {
        hold(visit, source.length())?;
    }
    let document = source.document(limits.xml_body.0).await?;
    if visit.call.operation == Operation::CompleteMultipartUpload {
        let parts = xml::complete_request(&document)?;
        // a part that is named twice is the store's to judge: some take it
        if !parts.is_sorted_by(|one, two| one.number <= two.number) {
            return Err(Refusal::new(Code::InvalidPartOrder, Blame::Client));
        }
    }
    // The store would judge our credential, not the client's, and the bucket is a name of the store's.
    let judged_there = visit.sender.grant == Grant::StoreJudges;
    let restores = visit.call.operation == Operation::RestoreObject && !document.is_empty();
    if restores && !judged_there && xml::restores_elsewhere(&document)? {
        let words = "An OutputLocation names a bucket of the store, which clients here do not know.";
        return Err(Refusal::because(Code::NotImplemented, Blame::Client, words));
    }
    Ok(document)
}

/// A document with the keys of the region that it goes to, where clients have other names for those. The
/// requests that name keys in a document have one region to go to, whatever becomes of it.
pub(super) fn with_own_keys(visit: &Visit<'_>, plan: &Plan, document: &[u8]) -> Option<Bytes> {
    let region = visit.view.region(&plan.steps.first()?.region)?;
    region.kms_keys.in_document(visit.call.operation, document).map(Bytes::from)
}

/// The canned ACL that stands for what an object's ACL is set to, where it names but the owner that we
/// told: each region's was shown as one name that no region knows. Clients put back what they were told
/// when they copy an object, or with a grant more (s3cmd).
pub(super) fn told_acl(visit: &Visit<'_>, document: &[u8]) -> Option<&'static str> {
    let ours = visit.call.operation == Operation::PutObjectAcl && !visit.access_point.is_wildcard();
    ours.then(|| xml::canned_acl(document, super::owner::SHOWN)).flatten()
}
