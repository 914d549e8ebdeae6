//! Where a request carries its credential, and the parts of that credential.

use std::borrow::Cow;

use crate::head::Head;
use crate::sigv4::canonical::{Names, decode_parameter};
use crate::sigv4::rejected::{Malformed, Place, Rejected};
use crate::sigv4::{ALGORITHM, ALGORITHM_V4A, Algorithm};

/// Where a request carries its credential. More than one place is refused before this exists.
pub(super) enum Found<'a> {
    /// Nowhere.
    Nothing,
    /// `Authorization: AWS4-HMAC-SHA256 …`: what follows the algorithm.
    Header(Algorithm, &'a str),
    /// `X-Amz-*` parameters.
    Query(Algorithm, Box<Parameters<'a>>),
    /// Signature Version 2.
    V2(Place),
}

/// The authentication parameters of a query, decoded once. Names are matched whatever their case,
/// so that no spelling of one slips through as an ordinary parameter.
#[derive(Default)]
pub(super) struct Parameters<'a> {
    pub(super) algorithm: Option<Cow<'a, str>>,
    pub(super) credential: Option<Cow<'a, str>>,
    pub(super) date: Option<Cow<'a, str>>,
    pub(super) expires: Option<Cow<'a, str>>,
    pub(super) signed_headers: Option<Cow<'a, str>>,
    pub(super) signature: Option<Cow<'a, str>>,
    pub(super) token: Option<Cow<'a, str>>,
    pub(super) content_sha256: Option<Cow<'a, str>>,
    /// For which regions SigV4A's signature is.
    pub(super) region_set: Option<Cow<'a, str>>,
    /// Those of Signature Version 2.
    pub(super) version_2: Version2<'a>,
}

/// The authentication parameters of Signature Version 2, in their one spelling.
#[derive(Default)]
pub(super) struct Version2<'a> {
    /// `AWSAccessKeyId`.
    pub(super) access_key_id: Option<Cow<'a, str>>,
    /// `Signature`, in base64.
    pub(super) signature: Option<Cow<'a, str>>,
    /// `Expires`, in seconds since 1970.
    pub(super) expires: Option<Cow<'a, str>>,
}

impl Version2<'_> {
    fn authenticates(&self) -> bool {
        self.access_key_id.is_some() || self.signature.is_some()
    }
}

impl<'a> Parameters<'a> {
    /// Collects them.
    ///
    /// # Errors
    /// [`Malformed::Repeated`] and [`Malformed::NotText`].
    pub(super) fn of(head: &'a Head) -> Result<Self, Malformed> {
        let mut found = Self::default();
        let Some(query) = head.query() else { return Ok(found) };
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decoded(name);
            if let Some(name) = name.as_deref() {
                found.keep(name, value)?;
            }
        }
        Ok(found)
    }

    fn keep(&mut self, name: &str, value: &'a str) -> Result<(), Malformed> {
        let Some((name, slot)) = self.slot(name) else { return Ok(()) };
        if slot.is_some() {
            return Err(Malformed::Repeated(name));
        }
        *slot = Some(decoded(value).ok_or(Malformed::NotText(name))?);
        Ok(())
    }

    /// Where the value of this parameter belongs, and the name as AWS writes it.
    fn slot(&mut self, name: &str) -> Option<(&'static str, &mut Option<Cow<'a, str>>)> {
        match name {
            "AWSAccessKeyId" => return Some(("AWSAccessKeyId", &mut self.version_2.access_key_id)),
            "Signature" => return Some(("Signature", &mut self.version_2.signature)),
            "Expires" => return Some(("Expires", &mut self.version_2.expires)),
            _ => {}
        }
        if !name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("X-Amz-")) {
            return None;
        }
        let slots = [
            ("X-Amz-Algorithm", &mut self.algorithm),
            ("X-Amz-Credential", &mut self.credential),
            ("X-Amz-Date", &mut self.date),
            ("X-Amz-Expires", &mut self.expires),
            ("X-Amz-SignedHeaders", &mut self.signed_headers),
            ("X-Amz-Signature", &mut self.signature),
            ("X-Amz-Security-Token", &mut self.token),
            ("X-Amz-Content-Sha256", &mut self.content_sha256),
            ("X-Amz-Region-Set", &mut self.region_set),
        ];
        slots.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    /// Whether any of them says that the query authenticates. `X-Amz-Content-Sha256` alone does
    /// not: it describes the body.
    fn authenticate(&self) -> bool {
        // a token may belong to either version
        let token = if self.version_2.authenticates() { &None } else { &self.token };
        [
            &self.algorithm,
            &self.credential,
            &self.date,
            &self.expires,
            &self.signed_headers,
            &self.signature,
            token,
            &self.region_set,
        ]
        .into_iter()
        .any(Option::is_some)
    }
}

/// A parameter's name or value, decoded once; `None` where it is not UTF-8.
fn decoded(raw: &str) -> Option<Cow<'_, str>> {
    if raw.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        String::from_utf8(decode_parameter(raw)).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(raw))
    }
}

/// Finds the credential.
///
/// # Errors
/// [`Rejected::TwoAuthorizations`], [`Rejected::TwoMechanisms`], [`Rejected::EmptyAuthorization`],
/// [`Rejected::UnsupportedScheme`], and [`Rejected::Malformed`] for repeated parameters or an
/// algorithm that nobody knows.
pub(super) fn locate(head: &Head) -> Result<Found<'_>, Rejected> {
    if head.count("authorization") > 1 {
        return Err(Rejected::TwoAuthorizations);
    }
    let query = Parameters::of(head).map_err(|fault| Rejected::Malformed { place: Place::Query, fault })?;
    let by_query = query.authenticate() || query.version_2.authenticates();
    match head.first("authorization") {
        Some(_) if by_query => Err(Rejected::TwoMechanisms),
        Some(authorization) => by_scheme(authorization),
        None if query.authenticate() => by_algorithm(query),
        None if query.version_2.authenticates() => Ok(Found::V2(Place::Query)),
        None => Ok(Found::Nothing),
    }
}

fn by_scheme(authorization: &[u8]) -> Result<Found<'_>, Rejected> {
    if authorization.is_empty() {
        return Err(Rejected::EmptyAuthorization);
    }
    let text = std::str::from_utf8(authorization).map_err(|_| Rejected::UnsupportedScheme)?;
    match text.split_once(' ').unwrap_or((text, "")) {
        (ALGORITHM, parts) => Ok(Found::Header(Algorithm::Hmac, parts)),
        (ALGORITHM_V4A, parts) => Ok(Found::Header(Algorithm::Ecdsa, parts)),
        ("AWS", _) => Ok(Found::V2(Place::Header)),
        _ => Err(Rejected::UnsupportedScheme),
    }
}

fn by_algorithm(query: Parameters<'_>) -> Result<Found<'_>, Rejected> {
    let malformed = |fault| Rejected::Malformed { place: Place::Query, fault };
    let Some(name) = query.algorithm.as_deref() else {
        return Err(malformed(Malformed::Missing("X-Amz-Algorithm")));
    };
    match Algorithm::of(name) {
        Some(algorithm) => Ok(Found::Query(algorithm, Box::new(query))),
        None => Err(malformed(Malformed::Algorithm)),
    }
}

/// The three parts of an `Authorization` header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    pub(super) credential: &'a str,
    pub(super) signed_headers: &'a str,
    pub(super) signature: &'a str,
}

impl<'a> Parts<'a> {
    /// Reads `Credential=…, SignedHeaders=…, Signature=…`, in any order, spaces optional.
    ///
    /// # Errors
    /// [`Malformed::Missing`], [`Malformed::Repeated`], [`Malformed::UnknownPart`].
    pub(super) fn parse(text: &'a str) -> Result<Self, Malformed> {
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or(Malformed::UnknownPart)?;
            let (name, slot) = match name {
                "Credential" => ("Credential", &mut credential),
                "SignedHeaders" => ("SignedHeaders", &mut signed_headers),
                "Signature" => ("Signature", &mut signature),
                _ => return Err(Malformed::UnknownPart),
            };
            if slot.replace(value).is_some() {
                return Err(Malformed::Repeated(name));
            }
        }
        Ok(Self {
            credential: credential.ok_or(Malformed::Missing("Credential"))?,
            signed_headers: signed_headers.ok_or(Malformed::Missing("SignedHeaders"))?,
            signature: signature.ok_or(Malformed::Missing("Signature"))?,
        })
    }
}

/// `ACCESS-KEY/YYYYMMDD/REGION/SERVICE/TERMINATOR`, not judged yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CredentialText<'a> {
    pub(super) access_key_id: &'a str,
    pub(super) day: &'a str,
    /// `None` with SigV4A, whose regions stand elsewhere.
    pub(super) region: Option<&'a str>,
    pub(super) service: &'a str,
    pub(super) terminator: &'a str,
}

impl<'a> CredentialText<'a> {
    /// Reads it from the right, since some stores have `/` in access keys.
    ///
    /// # Errors
    /// [`Malformed::Credential`] for too few parts, or an empty key or region.
    pub(super) fn parse(algorithm: Algorithm, text: &'a str) -> Result<Self, Malformed> {
        let malformed = Malformed::Credential(algorithm);
        let has_region = algorithm == Algorithm::Hmac;
        let mut parts = text.rsplitn(if has_region { 5 } else { 4 }, '/');
        let mut part = || parts.next().ok_or(malformed);
        let (terminator, service) = (part()?, part()?);
        let region = if has_region { Some(part()?) } else { None };
        let (day, access_key_id) = (part()?, part()?);
        if access_key_id.is_empty() || region.is_some_and(str::is_empty) {
            return Err(malformed);
        }
        Ok(Self { access_key_id, day, region, service, terminator })
    }
}

/// Reads `SignedHeaders`.
///
/// # Errors
/// [`Malformed::SignedHeaders`] where the names are not lower-case, in order and unique.
pub(super) fn signed_headers(text: &str) -> Result<Names<'_>, Malformed> {
    let names: Names<'_> = text.split(';').collect();
    let in_order = names.is_sorted_by(|a, b| a < b);
    let well_formed = |name: &&str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase())
    };
    if in_order && names.iter().all(well_formed) { Ok(names) } else { Err(Malformed::SignedHeaders) }
}
