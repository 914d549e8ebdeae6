//! Signing a head for a store, once per attempt.

use crate::head::Head;
use crate::names::ExposeSecret;
use crate::sigv4::canonical::{Canonical, Names, PathForm, Scope, Sorted, names, string_to_sign};
use crate::sigv4::key::{Credential, KeyCache};
use crate::sigv4::{Algorithm, PayloadMark, SERVICE, Stamp, hex32, sha256};
use crate::units::UnixSeconds;

/// Signs a head for a store: sets `x-amz-date`, `x-amz-content-sha256`, `x-amz-security-token`
/// (with temporary credentials), `x-amz-region-set` (for a set of regions) and `authorization`; whatever
/// of these was there is replaced or removed. The rest of the head is as it goes on the wire, `host`
/// included.
///
/// Signed are `host`, `content-type`, `content-md5`, `range` and all `x-amz-*`: what gives the
/// request its meaning, and nothing that something on the way may touch (`accept-encoding`,
/// `expect`, `content-length`). The path is signed as the store will spell it: only targets that are
/// not encoded as SigV4 encodes (`%2F`, a raw `+`) have two spellings.
///
/// A retry signs again, with a fresh `now`: stores allow 15 minutes.
pub fn sign(
    head: &mut Head,
    credential: &Credential,
    to: &Destination<'_>,
    now: UnixSeconds,
    payload: &PayloadMark,
    keys: &mut KeyCache,
) {
    let stamp = Stamp::of(now);
    mark(head, credential, &stamp, to, payload);
    let mut buffer = keys.take_buffer();
    let start = authorization(&mut buffer, head, credential, &Place { to, stamp }, payload, keys);
    head.push("authorization", buffer.get(start..).unwrap_or_default());
    keys.give_back(buffer);
}

/// The store that a head is signed for.
#[derive(Clone, Copy, Debug)]
pub struct Destination<'a> {
    /// The region in the scope; or a set of regions (`*`, `us-*`, `us-east-1,us-west-2`), for which
    /// SigV4A signs.
    pub region: &'a str,
    /// How the store spells the path when it verifies.
    pub path: PathForm,
}

impl Destination<'_> {
    /// Whether it names a set of regions: no region's name has these characters.
    fn is_set(&self) -> bool {
        is_region_set(self.region)
    }
}

/// Whether this names a set of regions, as SigV4A takes it, and not one region.
#[must_use]
pub fn is_region_set(region: &str) -> bool {
    memchr::memchr2(b'*', b',', region.as_bytes()).is_some()
}

/// When and for which store a head is signed.
struct Place<'a> {
    to: &'a Destination<'a>,
    stamp: Stamp,
}

/// Sets the headers that say when, by which session and over which payload.
fn mark(
    head: &mut Head,
    credential: &Credential,
    stamp: &Stamp,
    to: &Destination<'_>,
    payload: &PayloadMark,
) {
    const OURS: [&str; 5] =
        ["authorization", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token", "x-amz-region-set"];
    head.retain(|field| !OURS.contains(&field.name));
    head.push("x-amz-date", stamp.text().as_bytes());
    payload.text(|text| head.push("x-amz-content-sha256", text));
    if let Some(token) = &credential.session_token {
        head.push("x-amz-security-token", token.expose_secret().as_bytes());
    }
    if to.is_set() {
        head.push("x-amz-region-set", to.region.as_bytes());
    }
}

/// Writes canonical request, string to sign and the header's value after each other; returns
/// where the value begins.
fn authorization(
    buffer: &mut Vec<u8>,
    head: &Head,
    credential: &Credential,
    place: &Place<'_>,
    payload: &PayloadMark,
    keys: &mut KeyCache,
) -> usize {
    let fields = Sorted::of(head);
    let signed: Names<'_> = fields.names().filter(|name| is_signed(name)).collect();
    payload.text(|payload| {
        let request = Canonical { head, fields: &fields, signed: &signed, payload };
        request.write(buffer, place.to.path);
    });
    let region = Some(place.to.region).filter(|_| !place.to.is_set());
    let algorithm = if region.is_some() { Algorithm::Hmac } else { Algorithm::Ecdsa };
    let scope = Scope { day: place.stamp.day(), region, service: SERVICE };
    let canonical = sha256(buffer);
    let to_sign = buffer.len();
    string_to_sign(buffer, algorithm, &place.stamp, &scope, &canonical);
    let text = buffer.get(to_sign..).unwrap_or_default();
    let signature = match region {
        Some(region) => {
            let key = keys.key(&credential.access_key_id, &credential.secret, scope.day, region);
            Signature::Hmac(hex32(&key.sign(text)))
        }
        None => Signature::Ecdsa(keys.signing(&credential.access_key_id, &credential.secret).sign(text)),
    };
    let start = buffer.len();
    buffer.extend_from_slice(algorithm.name().as_bytes());
    buffer.extend_from_slice(b" Credential=");
    buffer.extend_from_slice(credential.access_key_id.as_str().as_bytes());
    buffer.push(b'/');
    scope.write(buffer);
    buffer.extend_from_slice(b", SignedHeaders=");
    names(buffer, &signed);
    buffer.extend_from_slice(b", Signature=");
    buffer.extend_from_slice(match &signature {
        Signature::Hmac(hex) => hex,
        Signature::Ecdsa(hex) => hex.as_bytes(),
    });
    start
}

/// In lower-case hex.
enum Signature {
    Hmac([u8; 64]),
    Ecdsa(String),
}

fn is_signed(name: &str) -> bool {
    matches!(name, "host" | "content-type" | "content-md5" | "range") || name.starts_with("x-amz-")
}
