//! Who signed the policy of a form upload, and whether that is true.
//!
//! Source: "Calculating a Signature" of the S3 API reference, browser-based uploads. The signature is of
//! the policy's base64 as it was sent; how long it is good for, the policy says.

use std::borrow::Cow;

use crate::head::Head;
use crate::names::AccessKeyId;
use crate::sigv4::found::{CredentialText, Found, locate};
use crate::sigv4::key::{Judge, KeyCache, KeyRing};
use crate::sigv4::rejected::{Malformed, Mismatch, Place, Rejected};
use crate::sigv4::verify::{Claim, Rules, Signed, scope_fits, token_fits};
use crate::sigv4::{Algorithm, Payload, Stamp};

/// The fields of a form that say by whom its policy is signed.
#[derive(Clone, Copy, Debug, Default)]
pub struct SignedPolicy<'a> {
    /// `policy`, as it was sent.
    pub policy: Option<&'a str>,
    /// `x-amz-algorithm`.
    pub algorithm: Option<&'a str>,
    /// `x-amz-credential`.
    pub credential: Option<&'a str>,
    /// `x-amz-date`.
    pub date: Option<&'a str>,
    /// `x-amz-signature`.
    pub signature: Option<&'a str>,
    /// `x-amz-security-token`.
    pub token: Option<&'a str>,
    /// `AWSAccessKeyId` or `signature`: Signature Version 2.
    pub version_2: bool,
}

/// A form carries its credential in its fields, and no other: the head of one that has another is
/// refused.
///
/// # Errors
/// [`Rejected::TwoMechanisms`], and what is wrong with the head's own credential.
pub fn carries_none(head: &Head) -> Result<(), Rejected> {
    match locate(head)? {
        Found::Nothing => Ok(()),
        Found::Header(..) | Found::Query(..) | Found::V2(_) => Err(Rejected::TwoMechanisms),
    }
}

/// Says who signed this policy.
///
/// # Errors
/// [`Rejected`], whose variants say it all: a form with any of these fields is never anonymous.
pub fn verify_policy(
    form: &SignedPolicy<'_>,
    keys: &KeyRing,
    rules: &Rules,
    cache: &mut KeyCache,
) -> Result<Signed, Rejected> {
    let place = Place::Form;
    if form.version_2 {
        let both = form.algorithm.is_some() || form.signature.is_some();
        return Err(if both { Rejected::TwoMechanisms } else { Rejected::SignatureV2(place) });
    }
    let field = |value: Option<_>, name| value.ok_or(Rejected::FieldMissing { name });
    let policy: &str = field(form.policy, "policy")?;
    let claim = claim(form)?;
    scope_fits(&claim, rules)?;
    let region = claim.credential.region.unwrap_or_default();
    let known = keys.find(claim.credential.access_key_id);
    let key = known.unwrap_or(keys.decoy());
    let derived = cache.key(&key.access_key_id, &key.secret, claim.credential.day, region);
    let holds = Judge::Hmac(derived).holds(policy.as_bytes(), claim.signature.as_bytes());
    let access_key_id = AccessKeyId::new(claim.credential.access_key_id);
    let Some(key) = known else { return Err(Rejected::UnknownKey { access_key_id }) };
    if !holds {
        // what was signed may hold a token
        return Err(Rejected::SignatureMismatch(Box::new(Mismatch {
            access_key_id,
            provided: claim.signature.to_owned(),
            string_to_sign: String::new(),
            canonical_request: String::new(),
            told: None,
        })));
    }
    token_fits(claim.token, key)?;
    Ok(Signed {
        client: key.client.clone(),
        access_key_id: key.access_key_id.clone(),
        presigned: false,
        region: Some(region.to_owned()),
        payload: Payload::Unsigned,
        framing: None,
    })
}

fn claim<'a>(form: &SignedPolicy<'a>) -> Result<Claim<'a>, Rejected> {
    let place = Place::Form;
    let malformed = |fault| Rejected::Malformed { place, fault };
    let field = |value: Option<&'a str>, name| value.ok_or(Rejected::FieldMissing { name });
    let algorithm = field(form.algorithm, "x-amz-algorithm")?;
    let credential = field(form.credential, "x-amz-credential")?;
    let date = field(form.date, "x-amz-date")?;
    let signature = field(form.signature, "x-amz-signature")?;
    // no SDK signs policies with SigV4A, and AWS takes none
    if Algorithm::of(algorithm) != Some(Algorithm::Hmac) {
        return Err(malformed(Malformed::FormAlgorithm));
    }
    Ok(Claim {
        place,
        algorithm: Algorithm::Hmac,
        region_set: Cow::Borrowed(""),
        credential: CredentialText::parse(Algorithm::Hmac, credential).map_err(malformed)?,
        signed_headers: "",
        signature,
        stamp: Stamp::parse(date).ok_or(Rejected::QueryDate)?,
        payload: Payload::Unsigned,
        payload_text: Cow::Borrowed(""),
        token: form.token.map(str::as_bytes),
    })
}
