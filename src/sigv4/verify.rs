//! Who sent a head, and whether that is true.

use std::borrow::Cow;
use std::time::Duration;

use subtle::ConstantTimeEq;

use crate::head::Head;
use crate::names::{AccessKeyId, ClientName, ExposeSecret};
use crate::sigv4::canonical::{
    Canonical, Coverage, Names, PathForm, Scope, Sorted, path_is_spelled_twice, string_to_sign,
};
use crate::sigv4::chunks::{Framing, Seed};
use crate::sigv4::found::{CredentialText, Found, Parameters, Parts, locate, signed_headers};
use crate::sigv4::key::{Judge, Key, KeyCache, KeyRing};
use crate::sigv4::payload::NoPayload;
use crate::sigv4::rejected::{DateFault, ExpiresFault, Malformed, Mismatch, Place, Rejected};
use crate::sigv4::{Algorithm, Payload, SERVICE, Stamp, TERMINATOR, sha256, version_2};
use crate::units::UnixSeconds;

/// For which region clients must sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Region {
    /// This one only; a wrong one is answered with the right one, which SDKs follow.
    Exactly(String),
    /// Whatever the client says.
    Any,
}

/// What a signature is judged by, beside the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The region in the scope.
    pub region: Region,
    /// How far a request's time may be from ours, either way, in whole seconds.
    pub skew: Duration,
}

impl Rules {
    /// S3's allowance for clocks: 15 minutes. Wider opens the window for replays, narrower
    /// refuses machines whose clocks S3 accepts.
    pub const SKEW: Duration = Duration::from_mins(15);

    /// S3's rules for this region.
    #[must_use]
    pub fn new(region: Region) -> Self {
        Self { region, skew: Self::SKEW }
    }

    fn skew_seconds(&self) -> i64 {
        i64::try_from(self.skew.as_secs()).unwrap_or(i64::MAX)
    }
}

/// A head whose sender is known, or that says nothing of its sender.
#[derive(Clone, Debug)]
pub enum Verified {
    /// No credential anywhere. Whether that may do anything is policy's to say. Browser forms
    /// (POST policy) carry theirs in the body: see [`super::verify_policy`].
    Anonymous {
        /// How the body is sent.
        payload: Payload,
        /// How to take an `aws-chunked` body apart; `None` for raw bodies.
        framing: Option<Framing>,
    },
    /// Signed, and the signature holds.
    Signed(Signed),
}

/// A head whose signature holds.
#[derive(Clone, Debug)]
pub struct Signed {
    /// Whose key signed.
    pub client: ClientName,
    /// Which key.
    pub access_key_id: AccessKeyId,
    /// By a presigned URL.
    pub presigned: bool,
    /// The region that the client signed for; `None` where it signed for several, or for any.
    pub region: Option<String>,
    /// How the body is sent.
    pub payload: Payload,
    /// How to take an `aws-chunked` body apart and check it; `None` for raw bodies.
    pub framing: Option<Framing>,
}

/// A head that nobody judged: what `verify: off` still says of it.
#[derive(Clone, Debug)]
pub struct Unjudged {
    /// A presigned URL, of either signature version.
    pub presigned: bool,
    /// How the body is sent.
    pub payload: Payload,
    /// How to take an `aws-chunked` body apart; signatures in it are skipped unread.
    pub framing: Option<Framing>,
}

/// Headers that may occur once only: what they say must not depend on which one is read.
const ONCE: [&str; 8] = [
    "host",
    "x-amz-date",
    "x-amz-region-set",
    "x-amz-content-sha256",
    "x-amz-security-token",
    "x-amz-decoded-content-length",
    "content-length",
    "content-md5",
];

/// Says who sent this head.
///
/// `head` is as the client sent it (HTTP/2: `host` set from `:authority`), before anything was
/// added, removed or rewritten. A CORS preflight is not for here: it repeats the query of the
/// presigned URL it asks for, under another method, and is never authenticated.
///
/// # Errors
/// [`Rejected`], whose variants say it all. A head with a credential is never anonymous,
/// whatever is wrong with that credential.
pub fn verify(
    head: &Head,
    keys: &KeyRing,
    rules: &Rules,
    now: UnixSeconds,
    cache: &mut KeyCache,
) -> Result<Verified, Rejected> {
    let found = locate(head)?;
    once_only(head)?;
    match found {
        Found::Nothing => {
            let (payload, _) = payload_of_anonymous(head)?;
            admit(Location::Nowhere, payload)?;
            Ok(Verified::Anonymous { payload, framing: unsigned_framing(payload) })
        }
        Found::Header(algorithm, parts) => {
            let claim = Claim::by_header(head, algorithm, parts)?;
            within_skew(&claim.stamp, rules, now)?;
            judge(head, &claim, keys, rules, cache).map(Verified::Signed)
        }
        Found::Query(algorithm, parameters) => {
            let claim = Claim::by_query(head, algorithm, &parameters, rules, now)?;
            judge(head, &claim, keys, rules, cache).map(Verified::Signed)
        }
        Found::V2(place) => Err(Rejected::SignatureV2(place)),
    }
}

/// What `verify: off` says of a head: signatures are not judged, but an expired presigned URL is
/// refused, and so is a head whose framing cannot be told.
///
/// # Errors
/// [`Rejected::Expired`], [`Rejected::NotValidYet`], [`Rejected::Expires`], [`Rejected::QueryDate`],
/// [`Rejected::Malformed`] for presigned URLs without a time; [`Rejected::RepeatedHeader`] and those
/// about `x-amz-content-sha256`; [`Rejected::TwoMechanisms`] and its like, since nobody could say
/// which of two was meant.
pub fn verify_off(head: &Head, rules: &Rules, now: UnixSeconds) -> Result<Unjudged, Rejected> {
    let found = locate(head)?;
    once_only(head)?;
    let presigned = match &found {
        Found::Query(_, parameters) => {
            unexpired(parameters, rules, now)?;
            true
        }
        Found::V2(Place::Query) => {
            version_2::unexpired(head, now)?;
            true
        }
        Found::Nothing | Found::Header(..) | Found::V2(_) => false,
    };
    let (payload, _) = match &found {
        Found::Query(_, parameters) => payload_of_query(head, parameters)?,
        _ => payload_of_anonymous(head)?,
    };
    let framing = match payload {
        Payload::SignedChunks | Payload::EcdsaChunks => Some(Framing::Unjudged { trailers: false }),
        Payload::SignedChunksTrailer | Payload::EcdsaChunksTrailer => {
            Some(Framing::Unjudged { trailers: true })
        }
        Payload::Sha256(_) | Payload::Unsigned | Payload::UnsignedTrailer => unsigned_framing(payload),
    };
    Ok(Unjudged { presigned, payload, framing })
}

fn once_only(head: &Head) -> Result<(), Rejected> {
    let mut seen = [false; ONCE.len()];
    for field in head.fields() {
        for (name, seen) in ONCE.into_iter().zip(&mut seen) {
            if field.name == name && std::mem::replace(seen, true) {
                return Err(Rejected::RepeatedHeader { name });
            }
        }
    }
    Ok(())
}

/// Where the credential is, for the table in [`admit`].
#[derive(Clone, Copy)]
enum Location {
    Nowhere,
    At(Place, Algorithm),
}

/// Which bodies may follow which credentials. Every pair is named, so that a new payload does not
/// compile until somebody decided on it.
fn admit(location: Location, payload: Payload) -> Result<(), Rejected> {
    match payload {
        Payload::Sha256(_) | Payload::Unsigned | Payload::UnsignedTrailer => match location {
            Location::Nowhere | Location::At(_, Algorithm::Hmac | Algorithm::Ecdsa) => Ok(()),
        },
        Payload::SignedChunks | Payload::SignedChunksTrailer => match location {
            Location::At(Place::Header, Algorithm::Hmac) => Ok(()),
            Location::At(Place::Header, Algorithm::Ecdsa) => Err(Rejected::ForeignChunks),
            Location::At(Place::Query | Place::Form, _) => Err(Rejected::SignedChunksPresigned),
            Location::Nowhere => Err(Rejected::SignedChunksAnonymous),
        },
        Payload::EcdsaChunks | Payload::EcdsaChunksTrailer => match location {
            Location::At(Place::Header, Algorithm::Ecdsa) => Ok(()),
            Location::At(Place::Header, Algorithm::Hmac) => Err(Rejected::ForeignChunks),
            Location::At(Place::Query | Place::Form, _) => Err(Rejected::SignedChunksPresigned),
            Location::Nowhere => Err(Rejected::SignedChunksAnonymous),
        },
    }
}

fn unsigned_framing(payload: Payload) -> Option<Framing> {
    matches!(payload, Payload::UnsignedTrailer).then_some(Framing::UnsignedTrailer)
}

/// What a request claims: everything that its signature is judged by.
pub(super) struct Claim<'a> {
    pub(super) place: Place,
    pub(super) algorithm: Algorithm,
    /// Of SigV4A: for which regions.
    pub(super) region_set: Cow<'a, str>,
    pub(super) credential: CredentialText<'a>,
    pub(super) signed_headers: &'a str,
    pub(super) signature: &'a str,
    pub(super) stamp: Stamp,
    pub(super) payload: Payload,
    /// The payload's line in the canonical request.
    pub(super) payload_text: Cow<'a, str>,
    pub(super) token: Option<&'a [u8]>,
}

impl<'a> Claim<'a> {
    pub(super) fn by_header(head: &'a Head, algorithm: Algorithm, parts: &'a str) -> Result<Self, Rejected> {
        let place = Place::Header;
        let malformed = |fault| Rejected::Malformed { place, fault };
        let parts = Parts::parse(parts).map_err(malformed)?;
        let credential = CredentialText::parse(algorithm, parts.credential).map_err(malformed)?;
        let region_set = match (algorithm, head.first("x-amz-region-set")) {
            (Algorithm::Hmac, _) => Cow::Borrowed(""),
            (Algorithm::Ecdsa, Some(set)) => String::from_utf8_lossy(set),
            (Algorithm::Ecdsa, None) => return Err(malformed(Malformed::Missing("X-Amz-Region-Set"))),
        };
        let stamp = header_date(head).map_err(Rejected::HeaderDate)?;
        let text = head.first("x-amz-content-sha256").ok_or(Rejected::ContentSha256Missing)?;
        let (payload, payload_text) = read_payload(text)?;
        admit(Location::At(place, algorithm), payload)?;
        Ok(Self {
            place,
            algorithm,
            region_set,
            credential,
            signed_headers: parts.signed_headers,
            signature: parts.signature,
            stamp,
            payload,
            payload_text,
            token: head.first("x-amz-security-token"),
        })
    }

    pub(super) fn by_query(
        head: &'a Head,
        algorithm: Algorithm,
        query: &'a Parameters<'a>,
        rules: &Rules,
        now: UnixSeconds,
    ) -> Result<Self, Rejected> {
        let place = Place::Query;
        let malformed = |fault| Rejected::Malformed { place, fault };
        let required = |value: &'a Option<Cow<'a, str>>, name| {
            value.as_deref().ok_or(Rejected::Malformed { place, fault: Malformed::Missing(name) })
        };
        let credential = required(&query.credential, "X-Amz-Credential")?;
        let credential = CredentialText::parse(algorithm, credential).map_err(malformed)?;
        let region_set = match algorithm {
            Algorithm::Hmac => "",
            Algorithm::Ecdsa => required(&query.region_set, "X-Amz-Region-Set")?,
        };
        let region_set = Cow::Borrowed(region_set);
        let signed_headers = required(&query.signed_headers, "X-Amz-SignedHeaders")?;
        let signature = required(&query.signature, "X-Amz-Signature")?;
        let stamp = unexpired(query, rules, now)?;
        let (payload, payload_text) = payload_of_query(head, query)?;
        admit(Location::At(place, algorithm), payload)?;
        let token = query.token.as_deref().map(str::as_bytes);
        if token.is_some() && head.count("x-amz-security-token") > 0 {
            return Err(Rejected::TwoMechanisms);
        }
        let token = token.or_else(|| head.first("x-amz-security-token"));
        Ok(Self {
            place,
            algorithm,
            region_set,
            credential,
            signed_headers,
            signature,
            stamp,
            payload,
            payload_text,
            token,
        })
    }
}

/// The time of a request signed by header: `x-amz-date`, else `Date`.
fn header_date(head: &Head) -> Result<Stamp, DateFault> {
    if head.count("x-amz-date") > 0 {
        return head.first_text("x-amz-date").and_then(Stamp::parse).ok_or(DateFault::NotADate);
    }
    match head.count("date") {
        0 => Err(DateFault::Missing),
        1 => head.first_text("date").and_then(Stamp::parse_date).ok_or(DateFault::NotADate),
        _ => Err(DateFault::NotADate),
    }
}

fn within_skew(stamp: &Stamp, rules: &Rules, now: UnixSeconds) -> Result<(), Rejected> {
    if now.since(stamp.at()).saturating_abs() <= rules.skew_seconds() {
        return Ok(());
    }
    let skew_ms_max = u64::try_from(rules.skew.as_millis()).unwrap_or(u64::MAX);
    Err(Rejected::TimeTooSkewed { request: *stamp, server: Stamp::of(now), skew_ms_max })
}

/// The longest that a presigned URL may be good for: a week, in seconds.
const EXPIRES_MAX: u32 = 604_800;

/// The time of a presigned request whose time is now.
fn unexpired(query: &Parameters<'_>, rules: &Rules, now: UnixSeconds) -> Result<Stamp, Rejected> {
    let missing = |name| Rejected::Malformed { place: Place::Query, fault: Malformed::Missing(name) };
    let date = query.date.as_deref().ok_or(missing("X-Amz-Date"))?;
    let stamp = Stamp::parse(date).ok_or(Rejected::QueryDate)?;
    let seconds = query.expires.as_deref().ok_or(missing("X-Amz-Expires"))?;
    let seconds = expires(seconds).map_err(Rejected::Expires)?;
    let age = now.since(stamp.at());
    if age < -rules.skew_seconds() {
        return Err(Rejected::NotValidYet { request: stamp, server: Stamp::of(now) });
    }
    if age > i64::from(seconds) {
        let until = Stamp::of(UnixSeconds(stamp.at().0.saturating_add(i64::from(seconds))));
        return Err(Rejected::Expired { seconds, until, server: Stamp::of(now) });
    }
    Ok(stamp)
}

/// Reads `X-Amz-Expires`: 1 to 604,800 whole seconds.
fn expires(text: &str) -> Result<u32, ExpiresFault> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ExpiresFault::NotANumber);
    }
    if text.starts_with('-') || digits.bytes().all(|byte| byte == b'0') {
        return Err(ExpiresFault::TooShort);
    }
    digits.parse().ok().filter(|seconds| *seconds <= EXPIRES_MAX).ok_or(ExpiresFault::TooLong)
}

/// Reads `x-amz-content-sha256`.
fn read_payload(text: &[u8]) -> Result<(Payload, Cow<'_, str>), Rejected> {
    let text = std::str::from_utf8(text).map_or_else(|_| String::from_utf8_lossy(text), Cow::Borrowed);
    match Payload::parse(&text) {
        Ok(payload) => Ok((payload, text)),
        Err(NoPayload) => Err(Rejected::ContentSha256Invalid { value: text.chars().take(128).collect() }),
    }
}

/// Without a credential the header is optional.
pub(super) fn payload_of_anonymous(head: &Head) -> Result<(Payload, Cow<'_, str>), Rejected> {
    let default = Payload::PRESIGNED_DEFAULT.as_bytes();
    read_payload(head.first("x-amz-content-sha256").unwrap_or(default))
}

/// Of a presigned URL: the parameter, else the header, else unsigned. Two that differ are refused.
fn payload_of_query<'a>(
    head: &'a Head,
    query: &'a Parameters<'a>,
) -> Result<(Payload, Cow<'a, str>), Rejected> {
    match (query.content_sha256.as_deref(), head.first("x-amz-content-sha256")) {
        (Some(parameter), Some(header)) if parameter.as_bytes() != header => {
            Err(Rejected::ContentSha256Contradicts)
        }
        (Some(parameter), _) => read_payload(parameter.as_bytes()),
        (None, _) => payload_of_anonymous(head),
    }
}

/// Judges a claim: its scope, what it signs, its signature, its token, in this order.
fn judge(
    head: &Head,
    claim: &Claim<'_>,
    keys: &KeyRing,
    rules: &Rules,
    cache: &mut KeyCache,
) -> Result<Signed, Rejected> {
    scope_fits(claim, rules)?;
    let place = claim.place;
    let signed =
        signed_headers(claim.signed_headers).map_err(|fault| Rejected::Malformed { place, fault })?;
    let fields = Sorted::of(head);
    covers(&fields, &signed)?;
    let request =
        Canonical { head, fields: &fields, signed: &signed, payload: claim.payload_text.as_bytes() };
    let known = keys.find(claim.credential.access_key_id);
    let key = known.unwrap_or(keys.decoy());
    let mut buffer = cache.take_buffer();
    let (id, secret) = (&key.access_key_id, &key.secret);
    let derived = match claim.credential.region {
        Some(region) => Judge::Hmac(cache.key(id, secret, claim.credential.day, region)),
        None => Judge::Ecdsa(cache.verifying(id, secret)),
    };
    let holds = signature_holds(&request, claim, derived, &mut buffer);
    let framing = framing(claim, derived);
    cache.give_back(buffer);
    let Some(key) = known else {
        return Err(Rejected::UnknownKey { access_key_id: AccessKeyId::new(claim.credential.access_key_id) });
    };
    if !holds {
        return Err(mismatch(&request, claim));
    }
    token_fits(claim.token, key)?;
    Ok(Signed {
        client: key.client.clone(),
        access_key_id: key.access_key_id.clone(),
        presigned: matches!(claim.place, Place::Query),
        region: signed_region(claim),
        payload: claim.payload,
        framing,
    })
}

/// The scope is for this day, region and service.
pub(super) fn scope_fits(claim: &Claim<'_>, rules: &Rules) -> Result<(), Rejected> {
    let Claim { place, credential, stamp, .. } = claim;
    let place = *place;
    if credential.terminator != TERMINATOR {
        return Err(Rejected::WrongTerminator { place, presented: credential.terminator.to_owned() });
    }
    if credential.service != SERVICE {
        return Err(Rejected::WrongService { place, presented: credential.service.to_owned() });
    }
    if credential.day != stamp.day() {
        let (presented, day) = (credential.day.to_owned(), stamp.day().to_owned());
        return Err(Rejected::ScopeDate { place, presented, day });
    }
    let Region::Exactly(expected) = &rules.region else { return Ok(()) };
    let (fits, presented) = match credential.region {
        Some(region) => (region == expected, region),
        None => (regions(claim).any(|pattern| names_region(pattern, expected)), &*claim.region_set),
    };
    if fits {
        return Ok(());
    }
    Err(Rejected::WrongRegion { place, presented: presented.to_owned(), expected: expected.clone() })
}

/// The parts of a region set.
fn regions<'c>(claim: &'c Claim<'_>) -> impl Iterator<Item = &'c str> {
    claim.region_set.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// Whether a part of a region set names a region: `*` stands for any characters, also within a name
/// (`us-*`), where AWS has at most one.
fn names_region(pattern: &str, region: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == region,
        Some((begins, ends)) => region.strip_prefix(begins).is_some_and(|rest| rest.ends_with(ends)),
    }
}

/// The one region that the client signed for.
fn signed_region(claim: &Claim<'_>) -> Option<String> {
    if let Some(region) = claim.credential.region {
        return Some(region.to_owned());
    }
    let mut regions = regions(claim);
    let only = regions.next().filter(|region| !region.contains('*'))?;
    regions.next().is_none().then(|| only.to_owned())
}

/// `host` and every `x-amz-*` header are signed.
fn covers(fields: &Sorted<'_>, signed: &Names<'_>) -> Result<(), Rejected> {
    if !signed.contains(&"host") {
        return Err(Rejected::HostNotSigned);
    }
    let names: Vec<String> = fields
        .names()
        .filter(|name| name.starts_with("x-amz-") && !signed.contains(name))
        .map(str::to_owned)
        .collect();
    if names.is_empty() { Ok(()) } else { Err(Rejected::HeadersNotSigned { names }) }
}

/// Whether the signature is that of either spelling of the path.
pub(super) fn signature_holds(
    request: &Canonical<'_, '_>,
    claim: &Claim<'_>,
    key: Judge<'_>,
    buffer: &mut Vec<u8>,
) -> bool {
    let holds_as = |form: PathForm, buffer: &mut Vec<u8>| {
        buffer.clear();
        let coverage = request.write(buffer, form);
        let canonical = sha256(buffer);
        buffer.clear();
        string_to_sign(buffer, claim.algorithm, &claim.stamp, &scope(claim), &canonical);
        key.holds(buffer, claim.signature.as_bytes()) && coverage == Coverage::All
    };
    holds_as(PathForm::Reencoded, buffer)
        || (path_is_spelled_twice(request.head.path()) && holds_as(PathForm::Raw, buffer))
}

fn scope<'a>(claim: &Claim<'a>) -> Scope<'a> {
    Scope { day: claim.credential.day, region: claim.credential.region, service: SERVICE }
}

/// How the body's chunks are judged, should the head's signature hold.
fn framing(claim: &Claim<'_>, key: Judge<'_>) -> Option<Framing> {
    let seed = || Box::new(Seed::new(key, claim.stamp, scope(claim), claim.signature));
    match claim.payload {
        Payload::Sha256(_) | Payload::Unsigned => None,
        Payload::UnsignedTrailer => Some(Framing::UnsignedTrailer),
        Payload::SignedChunks | Payload::EcdsaChunks => {
            Some(Framing::Signed { seed: seed(), trailers: false })
        }
        Payload::SignedChunksTrailer | Payload::EcdsaChunksTrailer => {
            Some(Framing::Signed { seed: seed(), trailers: true })
        }
    }
}

/// A key with a token needs that token; a key without one must come without.
pub(super) fn token_fits(token: Option<&[u8]>, key: &Key) -> Result<(), Rejected> {
    match (token, &key.session_token) {
        (None, None) => Ok(()),
        (Some(_), None) => Err(Rejected::TokenUnexpected),
        (None, Some(_)) => Err(Rejected::TokenMissing),
        (Some(token), Some(expected)) => {
            let equal = token.ct_eq(expected.expose_secret().as_bytes());
            if bool::from(equal) { Ok(()) } else { Err(Rejected::TokenWrong) }
        }
    }
}

/// The facts for the signer. Slow and allocating, as only refusals are.
fn mismatch(request: &Canonical<'_, '_>, claim: &Claim<'_>) -> Rejected {
    let (mut canonical, mut to_sign) = (Vec::new(), Vec::new());
    request.write(&mut canonical, PathForm::Reencoded);
    string_to_sign(&mut to_sign, claim.algorithm, &claim.stamp, &scope(claim), &sha256(&canonical));
    Rejected::SignatureMismatch(Box::new(Mismatch {
        access_key_id: AccessKeyId::new(claim.credential.access_key_id),
        provided: claim.signature.to_owned(),
        string_to_sign: String::from_utf8_lossy(&to_sign).into_owned(),
        canonical_request: request.redacted(PathForm::Reencoded),
        told: None,
    }))
}
