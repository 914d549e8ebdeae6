//! SigV4A judged: the signature must hold over the text that the `aws-sigv4` crate signs for the same
//! request, by the key pair that it derives. The text is made here, and shown to be that one: the crate's
//! own signature holds over it.

use std::time::SystemTime;

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ParsedPublicKey};
use aws_sigv4::http_request::{PayloadChecksumKind, SignableBody, SignableRequest, SignatureLocation, sign};
use aws_sigv4::sign::v4a;

use super::Settings;
use super::judge::rules;
use super::wire::Head;
use crate::house::{moment, text};

pub const ALGORITHM: &str = "AWS4-ECDSA-P256-SHA256";

/// What signing adds by itself.
const ADDED: [&str; 4] = ["x-amz-date", "x-amz-content-sha256", "x-amz-region-set", "x-amz-security-token"];

/// Whether this head was signed so, for the regions that it names.
pub fn holds(
    head: &Head,
    signed_headers: &[String],
    signature: &str,
    time: SystemTime,
    settings: &Settings,
) -> bool {
    let to_sign = to_sign(head, signed_headers, time);
    let key = v4a::generate_signing_key(&settings.access_key_id, &settings.secret);
    let private = PrivateKey::from_private_key(&ECDH_P256, key.as_ref()).unwrap();
    let public = private.compute_public_key().unwrap();
    let public = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public.as_ref()).unwrap();
    let holds = |signature: &str| {
        hex::decode(signature).is_ok_and(|der| public.verify_sig(to_sign.as_bytes(), &der).is_ok())
    };
    assert!(
        holds(&of_the_oracle(head, signed_headers, time, settings)),
        "signed is another text:\n{to_sign}"
    );
    holds(signature)
}

fn to_sign(head: &Head, signed_headers: &[String], time: SystemTime) -> String {
    let mut query: Vec<String> = text::parameters(head.query())
        .iter()
        .map(|(name, value)| format!("{}={}", text::encoded(name, ""), text::encoded(value, "")))
        .collect();
    query.sort();
    let value = |name: &String| {
        let value = head.header(name).unwrap_or_default();
        format!("{name}:{}\n", value.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let canonical = [
        &head.method,
        head.path(),
        &query.join("&"),
        &signed_headers.iter().map(value).collect::<String>(),
        &signed_headers.join(";"),
        head.header("x-amz-content-sha256").unwrap_or_default(),
    ]
    .join("\n");
    let hash = hex::encode(digest(&SHA256, canonical.as_bytes()));
    let stamp = moment::amz(time);
    format!("{ALGORITHM}\n{stamp}\n{}/s3/aws4_request\n{hash}", &stamp[..8])
}

fn of_the_oracle(head: &Head, signed_headers: &[String], time: SystemTime, settings: &Settings) -> String {
    let mut how = rules(SignatureLocation::Headers);
    how.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let identity = settings.credentials().into();
    let parameters = v4a::SigningParams::builder()
        .identity(&identity)
        .region_set(head.header("x-amz-region-set").unwrap_or_default())
        .name("s3")
        .time(time)
        .settings(how)
        .build()
        .unwrap()
        .into();
    let headers = head.headers.iter().filter(|(name, _)| {
        signed_headers.iter().any(|have| have == name) && !ADDED.contains(&name.as_str())
    });
    let uri = format!("http://{}{}", head.header("host").unwrap_or_default(), head.target);
    let body = SignableBody::Precomputed(head.header("x-amz-content-sha256").unwrap_or_default().to_owned());
    let headers = headers.map(|(name, value)| (name.as_str(), value.as_str()));
    let signable = SignableRequest::new(&head.method, uri, headers, body).unwrap();
    sign(signable, &parameters).unwrap().into_parts().1
}
