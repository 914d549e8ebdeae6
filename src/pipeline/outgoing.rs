//! What a region gets: the head in its terms, and the body as its store understands it.

use super::Visit;
use super::ids::{Replaced, parameter};
use crate::body::Source;
use crate::body::upload::Framing;
use crate::exchange::Prepared;
use crate::head::Head;
use crate::names::BucketName;
use crate::route::{self, Step};
use crate::s3::call::CopySource;
use crate::s3::checksum::{Algorithm, Hasher};
use crate::s3::operation::Operation;
use crate::s3::outbound::{self, Physical};
use crate::s3::profile::{Feature, Profile};
use crate::sigv4::{Payload, PayloadMark};
use crate::view::RegionSettings;

/// Longest `Via` that is carried on; a longer one is somebody's loop.
const VIA_MAX: usize = 1024;

/// Whether the body goes first to a store that knows checksums and no trailers: a checksum that follows
/// the body is kept there only if it goes ahead of it.
pub(super) fn is_trailer_told_ahead(visit: &Visit<'_>, plan: &route::Plan) -> bool {
    let first = plan.steps.first().and_then(|step| visit.view.region(&step.region));
    // the profile first: most bodies go where trailers pass, and need not be asked for theirs
    first.map(|region| region.profile).is_some_and(|profile| {
        !profile.passes_trailers() && super::intake::trailer(visit).is_some_and(|one| profile.keeps(one))
    })
}

/// What stays the same over all regions of one request.
pub(super) struct Outgoing<'a> {
    pub(super) visit: &'a Visit<'a>,
    /// The body.
    pub source: &'a Source,
    /// The body, where it is a document.
    pub(super) document: Option<&'a [u8]>,
    /// Its hash.
    document_hash: Option<[u8; 32]>,
    /// The checksum that comes behind the body.
    pub(super) trailer: Option<Algorithm>,
    /// Headers that a changed document needs anew.
    pub replaced_headers: Vec<(&'static str, String)>,
    /// Prefixes of headers that a changed document contradicts.
    pub dropped_headers: &'static [&'static str],
    /// Query parameters beside those of the ids.
    pub replaced_query: Replaced,
}

impl<'a> Outgoing<'a> {
    pub(super) fn new(visit: &'a Visit<'a>, source: &'a Source, document: Option<&'a [u8]>) -> Self {
        let digest = |bytes: &[u8]| {
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
            digest.as_ref().try_into().unwrap_or_default()
        };
        Self {
            visit,
            source,
            document,
            document_hash: document.map(digest),
            trailer: super::intake::trailer(visit),
            replaced_headers: Vec::new(),
            dropped_headers: &[],
            replaced_query: Replaced::new(),
        }
    }

    /// An ACL by its canned name in place of a document: the object's owner has another id in each region.
    pub(super) fn say_acl(&mut self, canned: &str) {
        self.dropped_headers =
            &["content-md5", "content-type", "x-amz-checksum-", "x-amz-sdk-checksum-algorithm"];
        self.replaced_headers.push(("x-amz-acl", canned.to_owned()));
        self.trailer = None;
    }

    /// The document is not as the client sent it: it gets another checksum in the place of the client's.
    pub(super) fn change_document(&mut self) {
        self.dropped_headers =
            &["content-md5", "x-amz-checksum-", "x-amz-sdk-checksum-algorithm", "x-amz-trailer"];
        if let Some(document) = self.document {
            self.replaced_headers.push(("content-md5", super::intake::md5(document)));
        }
    }

    /// The request as the region of a step gets it.
    pub(super) fn prepare(&self, step: &Step, region: &RegionSettings) -> Prepared {
        let mut head = self.head(step, region);
        self.leave_nonce(&mut head);
        let (framing, payload) = self.body(&mut head, region.profile);
        Prepared { head, framing, payload }
    }

    /// Its head, in that region's words; without what depends on how the body goes.
    pub(super) fn head(&self, step: &Step, region: &RegionSettings) -> Head {
        let profile = region.profile;
        let mut query = self.visit.ids.query_in(&step.region);
        query.extend(self.replaced_query.iter().cloned());
        if self.asks_for_our_region(region) {
            query.push(("bucket-region", None));
        }
        let authority = region.endpoint.authority();
        let physical = Physical {
            host: &authority,
            bucket: step.bucket.as_ref(),
            addressing: profile.addressing,
            honours: profile.honours,
            base_path: &region.endpoint.base_path,
            query,
            kms_keys: &region.kms_keys,
            as_the_client: self.visit.sender.signs_itself(&step.region),
            copy_source: self.visit.call.copy_source.as_ref().map(|source| self.copy_source(source, step)),
        };
        let mut head = outbound::outbound(&self.visit.head, &self.visit.call, &physical);
        head.push("host", physical.authority(&self.visit.call).as_bytes());
        self.mark(&mut head);
        if profile.honours.has(Feature::Checksums) && super::checksums::adds(self.visit) {
            super::checksums::ask(&mut head);
        }
        if !self.dropped_headers.is_empty() {
            head.retain(|field| !self.dropped_headers.iter().any(|dropped| field.name.starts_with(dropped)));
        }
        for (name, value) in &self.replaced_headers {
            head.set(name, value.as_bytes());
        }
        head
    }

    /// Whether the buckets of the region that clients see are asked for, where the store calls it otherwise:
    /// to clients all of its buckets are in that one.
    fn asks_for_our_region(&self, region: &RegionSettings) -> bool {
        if self.visit.call.operation != Operation::ListBuckets {
            return false;
        }
        let ours = self.visit.view.logical_region.answer(self.visit.sender.region.as_deref());
        let asked = parameter(self.visit.head.query(), "bucket-region");
        asked.as_deref() == Some(ours) && region.signing_region != ours
    }

    /// The source in the region that copies. Plans hold no region without it; a name that no
    /// bucket has is refused by any store.
    fn copy_source(&self, source: &CopySource, step: &Step) -> String {
        let from = self.visit.copy_from.as_ref();
        let member = from.and_then(|access_point| access_point.member(&step.region));
        let bucket = member.and_then(|member| member.bucket.clone());
        let bucket = bucket.unwrap_or_else(|| BucketName::new(&source.bucket));
        outbound::copy_source(&bucket, &source.key, self.visit.ids.source_version())
    }

    /// Says in `Via` that the request went through this process.
    fn mark(&self, head: &mut Head) {
        let mut via = Vec::with_capacity(64);
        for earlier in self.visit.head.all("via").filter(|via| via.len() < VIA_MAX) {
            via.extend_from_slice(earlier);
            via.extend_from_slice(b", ");
        }
        via.extend_from_slice(b"1.1 ");
        via.extend_from_slice(self.visit.house.mark.as_bytes());
        head.push("via", &via);
    }

    /// How the body goes: as the store understands it, and never less protected than it could be.
    fn body(&self, head: &mut Head, profile: Profile) -> (Framing, PayloadMark) {
        if let Some(digest) = self.document_hash {
            self.protect_document(head, profile);
            return (Framing::Plain, PayloadMark::Sha256(digest));
        }
        if self.source.length() == 0 && self.trailer.is_none() {
            return (Framing::Plain, PayloadMark::Empty);
        }
        match (self.visit.sender.payload, self.trailer) {
            (Payload::Sha256(digest), _) => (Framing::Plain, PayloadMark::Sha256(digest)),
            (
                Payload::UnsignedTrailer | Payload::SignedChunksTrailer | Payload::EcdsaChunksTrailer,
                Some(algorithm),
            ) => self.trailing(head, profile, algorithm),
            (
                Payload::Unsigned
                | Payload::SignedChunks
                | Payload::EcdsaChunks
                | Payload::UnsignedTrailer
                | Payload::SignedChunksTrailer
                | Payload::EcdsaChunksTrailer,
                _,
            ) => (Framing::Plain, PayloadMark::Unsigned),
        }
    }

    /// The checksum that came behind a document goes ahead of it, or another in its place where the store
    /// does not know it: AWS refuses many a document that has none. One that was changed here has its own
    /// already, and in the head of a completion it would be the object's.
    fn protect_document(&self, head: &mut Head, profile: Profile) {
        let (Some(document), Some(algorithm)) = (self.document, self.trailer) else { return };
        let completes = self.visit.call.operation == Operation::CompleteMultipartUpload;
        if completes || !self.dropped_headers.is_empty() {
            return;
        }
        if profile.keeps(algorithm) {
            let mut hasher = Hasher::new(algorithm);
            hasher.update(document);
            head.set(algorithm.header(), hasher.finish_text().as_bytes());
            self.announce(head, algorithm);
        } else if head.count("content-md5") == 0 {
            head.set("content-md5", super::intake::md5(document).as_bytes());
        }
    }

    fn trailing(&self, head: &mut Head, profile: Profile, algorithm: Algorithm) -> (Framing, PayloadMark) {
        let name = algorithm.header();
        // A short body is verified already: its checksum goes ahead of it, where it is understood.
        if let Some(value) = self.source.trailer(name) {
            if profile.keeps(algorithm) {
                head.set(name, value.as_bytes());
                self.announce(head, algorithm);
            }
            return (Framing::Plain, PayloadMark::Unsigned);
        }
        // Unsigned there is no mark by which a store would know the framing from the object; and of
        // the newest algorithms not every store knows the trailer.
        if self.visit.sender.anonymous_upstream || !profile.passes_trailers() || !algorithm.is_common() {
            return (Framing::Plain, PayloadMark::Unsigned);
        }
        let encoding = match head.first_text("content-encoding") {
            Some(encoding) => format!("{encoding},aws-chunked"),
            None => "aws-chunked".to_owned(),
        };
        head.set("content-encoding", encoding.as_bytes());
        head.set("x-amz-decoded-content-length", self.source.length().to_string().as_bytes());
        head.set("x-amz-trailer", name.as_bytes());
        self.announce(head, algorithm);
        (Framing::Trailer(algorithm), PayloadMark::UnsignedTrailer)
    }

    /// Names the algorithm of a checksum that goes along, where the client named it.
    fn announce(&self, head: &mut Head, algorithm: Algorithm) {
        let named = self.visit.head.first("x-amz-sdk-checksum-algorithm");
        if let Some(named) = named.filter(|named| named.eq_ignore_ascii_case(algorithm.name().as_bytes())) {
            head.set("x-amz-sdk-checksum-algorithm", named);
        }
    }
}
