//! Signature Version 2 of presigned URLs, which old clients still make: accepted for reads of objects
//! where a client's configuration says so.
//!
//! It signs less than Version 4: neither `Host` nor most parameters. So what it is taken for is one
//! object, by one method, with the parameters that it does sign.
//!
//! Source: "Signing and authenticating REST requests" of the S3 user guide.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use crate::head::Head;
use crate::names::{AccessKeyId, ExposeSecret};
use crate::sigv4::canonical::{Sorted, decode_parameter};
use crate::sigv4::found::{Found, Parameters, locate};
use crate::sigv4::key::KeyRing;
use crate::sigv4::rejected::{ExpiresFault, Malformed, Mismatch, Place, Rejected};
use crate::sigv4::verify::{Signed, payload_of_anonymous, token_fits};
use crate::sigv4::{Payload, Stamp};
use crate::units::UnixSeconds;

/// The parameters of a read that are signed, in order.
const SIGNED: [&str; 8] = [
    "partNumber",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "versionId",
];

/// Says who presigned this read of an object. `bucket`: the one that `Host` names, where it does.
///
/// # Errors
/// [`Rejected::SignatureV2`] where the key is none for which this is allowed, or the credential is not
/// such a URL's; else what is wrong with it.
pub fn verify_version_2(
    head: &Head,
    bucket: Option<&str>,
    keys: &KeyRing,
    now: UnixSeconds,
) -> Result<Signed, Rejected> {
    let refused = Rejected::SignatureV2(Place::Query);
    let Found::V2(Place::Query) = locate(head)? else { return Err(refused) };
    let query = parameters(head)?;
    let id = query.version_2.access_key_id.as_deref().unwrap_or_default();
    let Some(key) = keys.find(id).filter(|key| key.allowances.version_2_reads) else { return Err(refused) };
    unexpired(head, now)?;
    let text = string_to_sign(head, bucket, &query);
    let secret = key.secret.expose_secret().as_bytes();
    let ours = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret), &text);
    let provided = query.version_2.signature.as_deref().unwrap_or_default();
    let decoded = STANDARD.decode(provided).unwrap_or_default();
    if !bool::from(ours.as_ref().ct_eq(&decoded)) {
        return Err(Rejected::SignatureMismatch(Box::new(Mismatch {
            access_key_id: AccessKeyId::new(id),
            provided: provided.to_owned(),
            // it may hold a token
            string_to_sign: String::new(),
            canonical_request: String::new(),
            told: None,
        })));
    }
    token_fits(
        query.token.as_deref().map(str::as_bytes).or_else(|| head.first("x-amz-security-token")),
        key,
    )?;
    let (payload, _) = payload_of_anonymous(head)?;
    if !matches!(payload, Payload::Unsigned | Payload::Sha256(_)) {
        return Err(Rejected::SignedChunksPresigned);
    }
    Ok(Signed {
        client: key.client.clone(),
        access_key_id: key.access_key_id.clone(),
        presigned: true,
        region: None,
        payload,
        framing: None,
    })
}

/// Refuses a URL whose time is over: it says when it ends.
pub(super) fn unexpired(head: &Head, now: UnixSeconds) -> Result<(), Rejected> {
    let missing = Rejected::Malformed { place: Place::Query, fault: Malformed::Missing("Expires") };
    let query = parameters(head)?;
    let until = query.version_2.expires.as_deref().ok_or(missing)?;
    let until: i64 = until.parse().map_err(|_| Rejected::Expires(ExpiresFault::NotANumber))?;
    if now.0 > until {
        let (until, server) = (Stamp::of(UnixSeconds(until)), Stamp::of(now));
        return Err(Rejected::Expired { seconds: 0, until, server });
    }
    Ok(())
}

fn parameters(head: &Head) -> Result<Parameters<'_>, Rejected> {
    Parameters::of(head).map_err(|fault| Rejected::Malformed { place: Place::Query, fault })
}

/// Method, MD5, type, expiry, `x-amz-*` headers and the resource. Of the parameters that stand for
/// headers a token is the only one: with any other the signature does not hold.
fn string_to_sign(head: &Head, bucket: Option<&str>, query: &Parameters<'_>) -> Vec<u8> {
    let expires = query.version_2.expires.as_deref().unwrap_or_default();
    let mut out = Vec::with_capacity(256);
    for part in [
        head.method().as_str().as_bytes(),
        head.first("content-md5").unwrap_or_default(),
        head.first("content-type").unwrap_or_default(),
        expires.as_bytes(),
    ] {
        out.extend_from_slice(part);
        out.push(b'\n');
    }
    amz_headers(&mut out, head, query.token.as_deref());
    if let Some(bucket) = bucket {
        out.push(b'/');
        out.extend_from_slice(bucket.as_bytes());
    }
    out.extend_from_slice(head.path().as_bytes());
    resource_parameters(&mut out, head.query().unwrap_or_default());
    out
}

fn amz_headers(out: &mut Vec<u8>, head: &Head, token: Option<&str>) {
    const TOKEN: &str = "x-amz-security-token";
    let sorted = Sorted::of(head);
    let mut lines: Vec<(&str, Vec<u8>)> = sorted
        .names()
        .filter(|name| name.starts_with("x-amz-"))
        .map(|name| (name, head.all(name).collect::<Vec<_>>().join(&b","[..])))
        .collect();
    if let Some(token) = token {
        lines.push((TOKEN, token.as_bytes().to_vec()));
        lines.sort();
    }
    for (name, value) in lines {
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        out.extend_from_slice(&value);
        out.push(b'\n');
    }
}

fn resource_parameters(out: &mut Vec<u8>, query: &str) {
    let pairs = || query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut joint = b'?';
    for name in SIGNED {
        for (_, value) in pairs().filter(|(raw, _)| decode_parameter(raw) == name.as_bytes()) {
            out.push(std::mem::replace(&mut joint, b'&'));
            out.extend_from_slice(name.as_bytes());
            out.push(b'=');
            out.extend_from_slice(&decode_parameter(value));
        }
    }
}
