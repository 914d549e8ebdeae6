//! Is this request signed as S3 wants it? Answered by signing it again with the `aws-sigv4` crate.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SessionTokenMode, SignableBody, SignableRequest,
    SignatureLocation, SigningSettings, UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;

use super::asymmetric;
use super::wire::Head;
use super::{Refusal, Settings};
use crate::house::{moment, text};

/// Requests dated further off than this are refused, as S3 does.
const SKEW: Duration = Duration::from_mins(15);

/// What a valid signature says.
#[derive(Clone, Debug)]
pub struct Authorised {
    /// `x-amz-content-sha256`, or what stands for it.
    pub payload: String,
    /// The names in `SignedHeaders`.
    pub signed_headers: Vec<String>,
    /// Where chunk signatures begin.
    pub seed: Option<Seed>,
}

/// The start of a chain of chunk signatures.
#[derive(Clone, Debug)]
pub struct Seed {
    pub signature: String,
    pub time: SystemTime,
}

/// What a credential text names.
struct Claim {
    access_key_id: String,
    day: String,
    region: String,
    service: String,
    terminator: String,
    signed_headers: Vec<String>,
    signature: String,
    /// By SigV4A.
    asymmetric: bool,
}

/// Judges a head; the body's hash is judged once it is there.
pub fn judge(head: &Head, settings: &Settings, now: SystemTime) -> Result<Authorised, Refusal> {
    let parameters = text::parameters(head.query());
    let presigned = parameters.iter().any(|(name, _)| name == "X-Amz-Signature");
    match (head.header("authorization"), presigned) {
        (Some(_), true) => Err(Refusal::new(400, "InvalidArgument", "Only one auth mechanism allowed")),
        (Some(value), false) => by_header(head, value, settings, now),
        (None, true) => by_query(head, &parameters, settings, now),
        (None, false) => anonymous(head, settings),
    }
}

fn anonymous(head: &Head, settings: &Settings) -> Result<Authorised, Refusal> {
    if head.method == "OPTIONS" || settings.anonymous.contains(&head.method.as_str()) {
        let payload = "UNSIGNED-PAYLOAD".to_owned();
        return Ok(Authorised { payload, signed_headers: Vec::new(), seed: None });
    }
    Err(Refusal::new(403, "AccessDenied", "Access Denied"))
}

fn by_header(
    head: &Head,
    authorization: &str,
    settings: &Settings,
    now: SystemTime,
) -> Result<Authorised, Refusal> {
    let claim = claimed_in_header(authorization)?;
    check_claim(&claim, settings, "AuthorizationHeaderMalformed")?;
    let date = head.header("x-amz-date").or_else(|| head.header("date"));
    let time = date
        .and_then(|text| moment::of_amz(text).or_else(|| moment::of_http(text)))
        .ok_or_else(|| Refusal::new(403, "AccessDenied", "a valid Date or x-amz-date header is required"))?;
    if !moment::amz(time).starts_with(&claim.day) {
        return Err(malformed("AuthorizationHeaderMalformed", "the scope's date is not the request's"));
    }
    if distance(time, now) > SKEW {
        return Err(Refusal::new(403, "RequestTimeTooSkewed", "the difference of the times is too large"));
    }
    check_token(head.header("x-amz-security-token"), settings)?;
    check_coverage(head, &claim)?;
    let Some(payload) = head.header("x-amz-content-sha256") else {
        return Err(Refusal::new(400, "InvalidRequest", "Missing required header: x-amz-content-sha256"));
    };
    if claim.asymmetric {
        if head.header("x-amz-region-set") != Some(&settings.signing_region) {
            return Err(malformed("AuthorizationHeaderMalformed", "X-Amz-Region-Set"));
        }
        if !asymmetric::holds(head, &claim.signed_headers, &claim.signature, time, settings) {
            return Err(no_match());
        }
        let (payload, signed_headers) = (payload.to_owned(), claim.signed_headers);
        return Ok(Authorised { payload, signed_headers, seed: None });
    }
    let headers =
        signed_values(head, &claim, &["x-amz-date", "x-amz-content-sha256", "x-amz-security-token"]);
    let mut how = rules(SignatureLocation::Headers);
    how.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    compare(head, &head.target, &headers, payload, time, how, settings, &claim)?;
    let seed = Some(Seed { signature: claim.signature, time });
    Ok(Authorised { payload: payload.to_owned(), signed_headers: claim.signed_headers, seed })
}

fn by_query(
    head: &Head,
    parameters: &[(String, String)],
    settings: &Settings,
    now: SystemTime,
) -> Result<Authorised, Refusal> {
    let fault = |what: &str| malformed("AuthorizationQueryParametersError", what);
    let one = |name: &str| {
        let mut values = parameters.iter().filter(|(have, _)| have == name).map(|(_, value)| value.as_str());
        match (values.next(), values.next()) {
            (Some(value), None) => Ok(value),
            _ => Err(fault(name)),
        }
    };
    if one("X-Amz-Algorithm")? != "AWS4-HMAC-SHA256" {
        return Err(fault("X-Amz-Algorithm only supports AWS4-HMAC-SHA256"));
    }
    let expires: u64 = one("X-Amz-Expires")?.parse().map_err(|_| fault("X-Amz-Expires is no number"))?;
    if expires == 0 || expires > 604_800 {
        return Err(fault("X-Amz-Expires must be within a week"));
    }
    let claim = claim(one("X-Amz-Credential")?, one("X-Amz-SignedHeaders")?, one("X-Amz-Signature")?)
        .ok_or_else(|| fault("X-Amz-Credential"))?;
    check_claim(&claim, settings, "AuthorizationQueryParametersError")?;
    let time = moment::of_amz(one("X-Amz-Date")?).ok_or_else(|| fault("X-Amz-Date"))?;
    if now > time + Duration::from_secs(expires) {
        return Err(Refusal::new(403, "AccessDenied", "Request has expired"));
    }
    if time > now + SKEW {
        return Err(Refusal::new(403, "AccessDenied", "Request is not valid yet"));
    }
    let token = parameters.iter().find(|(name, _)| name == "X-Amz-Security-Token");
    check_token(token.map(|(_, value)| value.as_str()), settings)?;
    check_coverage(head, &claim)?;
    let auth = [
        "X-Amz-Algorithm",
        "X-Amz-Credential",
        "X-Amz-Date",
        "X-Amz-Expires",
        "X-Amz-SignedHeaders",
        "X-Amz-Signature",
        "X-Amz-Security-Token",
    ];
    let rest: Vec<&str> = head
        .query()
        .split('&')
        .filter(|pair| !auth.contains(&pair.split('=').next().unwrap_or("")))
        .collect();
    let target =
        if rest.is_empty() { head.path().to_owned() } else { format!("{}?{}", head.path(), rest.join("&")) };
    let mut how = rules(SignatureLocation::QueryParams);
    how.expires_in = Some(Duration::from_secs(expires));
    let payload = head.header("x-amz-content-sha256").unwrap_or("UNSIGNED-PAYLOAD");
    compare(head, &target, &signed_values(head, &claim, &[]), payload, time, how, settings, &claim)?;
    Ok(Authorised { payload: payload.to_owned(), signed_headers: claim.signed_headers, seed: None })
}

/// How S3 signs: paths neither encoded again nor normalised, tokens signed.
pub fn rules(location: SignatureLocation) -> SigningSettings {
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.session_token_mode = SessionTokenMode::Include;
    settings.signature_location = location;
    settings.excluded_headers = None;
    settings
}

fn claimed_in_header(authorization: &str) -> Result<Claim, Refusal> {
    let fault = |what: &str| malformed("AuthorizationHeaderMalformed", what);
    let Some((algorithm, rest)) = authorization.split_once(' ') else {
        return Err(Refusal::new(400, "InvalidArgument", "Unsupported Authorization Type"));
    };
    let asymmetric = match algorithm {
        "AWS4-HMAC-SHA256" => false,
        asymmetric::ALGORITHM => true,
        "AWS" => {
            return Err(Refusal::new(400, "InvalidRequest", "Please use AWS4-HMAC-SHA256."));
        }
        _ => return Err(Refusal::new(400, "InvalidArgument", "Unsupported Authorization Type")),
    };
    let part = |name: &str| {
        let mut parts = rest.split(',').map(str::trim);
        parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('=')).ok_or_else(|| fault(name))
    };
    // its scope names no region
    let credential = match part("Credential")? {
        credential if asymmetric => credential.replacen("/s3/", "/*/s3/", 1),
        credential => credential.to_owned(),
    };
    let claim = claim(&credential, part("SignedHeaders")?, part("Signature")?);
    claim.map(|claim| Claim { asymmetric, ..claim }).ok_or_else(|| fault("Credential"))
}

fn claim(credential: &str, signed_headers: &str, signature: &str) -> Option<Claim> {
    let mut parts = credential.rsplitn(5, '/').map(str::to_owned);
    let (terminator, service, region, day) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    Some(Claim {
        access_key_id: parts.next()?,
        day,
        region,
        service,
        terminator,
        signed_headers: signed_headers.split(';').map(str::to_owned).collect(),
        signature: signature.to_owned(),
        asymmetric: false,
    })
}

fn check_claim(claim: &Claim, settings: &Settings, code: &'static str) -> Result<(), Refusal> {
    if claim.service != "s3" || claim.terminator != "aws4_request" {
        return Err(malformed(code, "the scope does not end in s3/aws4_request"));
    }
    // regions of which this is one, and those in several, speak each its own algorithm
    if claim.region != settings.signing_region {
        let text = format!("the region '{}' is wrong; expecting '{}'", claim.region, settings.signing_region);
        return Err(Refusal::new(400, code, &text).with("Region", &settings.signing_region));
    }
    if claim.access_key_id != settings.access_key_id {
        return Err(Refusal::new(
            403,
            "InvalidAccessKeyId",
            "The access key id does not exist in our records",
        ));
    }
    Ok(())
}

fn check_token(seen: Option<&str>, settings: &Settings) -> Result<(), Refusal> {
    if seen == settings.session_token.as_deref() {
        return Ok(());
    }
    Err(Refusal::new(400, "InvalidToken", "The provided token is malformed or otherwise invalid."))
}

/// `host` and every `x-amz-*` that came must be signed, and everything signed must have come.
fn check_coverage(head: &Head, claim: &Claim) -> Result<(), Refusal> {
    let signed = |name: &str| claim.signed_headers.iter().any(|have| have == name);
    let unsigned: Vec<&str> = head
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| name.starts_with("x-amz-") && !signed(name))
        .collect();
    if !signed("host") || !unsigned.is_empty() {
        let text = "There were headers present in the request which were not signed";
        return Err(Refusal::new(403, "AccessDenied", text).with("HeadersNotSigned", &unsigned.join(", ")));
    }
    match claim.signed_headers.iter().find(|name| head.header(name).is_none()) {
        Some(_) => Err(no_match()),
        None => Ok(()),
    }
}

fn signed_values<'a>(head: &'a Head, claim: &Claim, added_by_signer: &[&str]) -> Vec<(&'a str, &'a str)> {
    let wanted =
        |name: &str| claim.signed_headers.iter().any(|have| have == name) && !added_by_signer.contains(&name);
    let headers = head.headers.iter().filter(|(name, _)| wanted(name));
    headers.map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

#[expect(clippy::too_many_arguments, reason = "everything that a signature is made of")]
fn compare(
    head: &Head,
    target: &str,
    headers: &[(&str, &str)],
    payload: &str,
    time: SystemTime,
    how: SigningSettings,
    settings: &Settings,
    claim: &Claim,
) -> Result<(), Refusal> {
    let identity = settings.credentials().into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(&settings.signing_region)
        .name("s3")
        .time(time)
        .settings(how)
        .build()
        .unwrap()
        .into();
    let uri = format!("http://{}{target}", head.header("host").unwrap_or_default());
    let body = SignableBody::Precomputed(payload.to_owned());
    let signable = SignableRequest::new(&head.method, uri, headers.iter().copied(), body)
        .map_err(|_| Refusal::new(400, "InvalidURI", "Couldn't parse the specified URI."))?;
    let signature = sign(signable, &parameters).map_err(|_| no_match())?.into_parts().1;
    if signature == claim.signature { Ok(()) } else { Err(no_match()) }
}

fn no_match() -> Refusal {
    Refusal::new(403, "SignatureDoesNotMatch", "The signature we calculated does not match.")
}

fn malformed(code: &'static str, what: &str) -> Refusal {
    Refusal::new(400, code, what)
}

fn distance(a: SystemTime, b: SystemTime) -> Duration {
    a.duration_since(b).unwrap_or_else(|error| error.duration())
}

impl Settings {
    /// Its clock.
    pub fn now(&self) -> SystemTime {
        moment::shifted(moment::now(), self.clock_ahead)
    }

    /// The key pair as the oracle wants it.
    pub fn credentials(&self) -> Credentials {
        let token = self.session_token.clone();
        Credentials::new(&self.access_key_id, &self.secret, token, None, "scripted region")
    }
}
