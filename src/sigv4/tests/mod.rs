//! What several of the tests below need: the keys of S3's documentation, and a signer that is
//! not ours.

mod asymmetric;
mod diagnose;
mod documented;
mod form;
mod oracle;
mod refused;
mod suite;
mod version_2;

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation,
    SigningParams, SigningSettings, UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::{v4, v4a};

use crate::head::Head;
use crate::names::{AccessKeyId, ClientName, Secret};
use crate::sigv4::{Key, KeyCache, KeyRing, Region, Rejected, Rules, Stamp, Verified, verify};
use crate::units::UnixSeconds;

const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const REGION: &str = "us-east-1";
/// 2013-05-24T00:00:00Z, the time of S3's examples.
const NOW: UnixSeconds = UnixSeconds(1_369_353_600);

fn key(token: Option<&str>) -> Key {
    Key {
        access_key_id: AccessKeyId::new(KEY),
        secret: Secret::from(SECRET),
        session_token: token.map(Secret::from),
        client: ClientName::new("reader"),
        allowances: crate::sigv4::Allowances::default(),
    }
}

fn ring() -> KeyRing {
    KeyRing::new(vec![key(None)])
}

fn rules() -> Rules {
    Rules::new(Region::Exactly(REGION.to_owned()))
}

fn verified_at(head: &Head, now: UnixSeconds) -> Result<Verified, Rejected> {
    verify(head, &ring(), &rules(), now, &mut KeyCache::new())
}

fn verified(head: &Head) -> Result<Verified, Rejected> {
    verified_at(head, NOW)
}

/// A head from a method, a target and fields.
fn head(method: &str, target: &str, fields: &[(&str, &str)]) -> Head {
    let mut head = Head::new(method.parse().expect("a method"), target);
    for (name, value) in fields {
        head.push(name, value.as_bytes());
    }
    head
}

/// Rebuilds a head with one field's value changed.
fn with(head: &Head, name: &str, value: &str) -> Head {
    let mut changed = head.clone();
    changed.set(name, value.as_bytes());
    changed
}

/// The same, with a field gone.
fn without(head: &Head, name: &str) -> Head {
    let mut changed = head.clone();
    changed.remove(name);
    changed
}

/// The same, with another target.
fn at(head: &Head, target: &str) -> Head {
    let mut changed = head.clone();
    match target.split_once('?') {
        Some((path, query)) => changed.set_target(path, Some(query)),
        None => changed.set_target(target, None),
    }
    changed
}

/// How the oracle signs.
#[derive(Clone, Debug)]
struct Oracle<'a> {
    key: &'a str,
    secret: &'a str,
    token: Option<&'a str>,
    region: &'a str,
    at: UnixSeconds,
    /// With SigV4A, for these regions.
    region_set: Option<&'a str>,
    /// A presigned URL good for so many seconds.
    presigned: Option<u64>,
    body: SignableBody<'a>,
}

impl Default for Oracle<'_> {
    fn default() -> Self {
        Self {
            key: KEY,
            secret: SECRET,
            token: None,
            region: REGION,
            at: NOW,
            region_set: None,
            presigned: None,
            body: SignableBody::UnsignedPayload,
        }
    }
}

impl Oracle<'_> {
    /// Signs with the crate `aws-sigv4`, as its S3 client does.
    fn sign(&self, unsigned: &Head) -> Head {
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.expires_in = self.presigned.map(Duration::from_secs);
        if self.presigned.is_some() {
            settings.payload_checksum_kind = PayloadChecksumKind::NoHeader;
            settings.signature_location = SignatureLocation::QueryParams;
        }
        let token = self.token.map(str::to_owned);
        let identity = Credentials::new(self.key, self.secret, token, None, "test").into();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(self.at.0.unsigned_abs());
        let params: SigningParams<'_> = match self.region_set {
            None => v4::SigningParams::builder()
                .identity(&identity)
                .region(self.region)
                .name("s3")
                .time(time)
                .settings(settings)
                .build()
                .expect("all parameters are there")
                .into(),
            Some(regions) => v4a::SigningParams::builder()
                .identity(&identity)
                .region_set(regions)
                .name("s3")
                .time(time)
                .settings(settings)
                .build()
                .expect("all parameters are there")
                .into(),
        };
        let host = unsigned.first_text("host").expect("a host");
        let fields: Vec<(&str, &str)> =
            unsigned.fields().map(|field| (field.name, field.text().expect("text"))).collect();
        let url = format!("https://{host}{}", unsigned.target());
        let request =
            SignableRequest::new(unsigned.method().as_str(), url, fields.into_iter(), self.body.clone())
                .expect("a request that can be signed");
        let (instructions, _) = sign(request, &params).expect("a signature").into_parts();
        let (headers, parameters) = instructions.into_parts();
        let mut signed = unsigned.clone();
        for header in headers {
            signed.set(header.name(), header.value().as_bytes());
        }
        let mut query = signed.query().unwrap_or_default().to_owned();
        for (name, value) in parameters {
            let separator = if query.is_empty() { "" } else { "&" };
            query.extend([separator, name, "=", &encoded(&value)]);
        }
        if !query.is_empty() {
            let path = signed.path().to_owned();
            signed.set_target(&path, Some(&query));
        }
        signed
    }
}

/// Percent-encodes all but the unreserved characters.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

fn stamp(text: &str) -> Stamp {
    Stamp::parse(text).expect("a stamp")
}
