//! Presigned reads by Signature Version 2.

use http::Method;

use super::{KEY, SECRET, head};
use crate::head::Head;
use crate::names::{AccessKeyId, ClientName, Secret};
use crate::sigv4::{Allowances, Key, KeyRing, Place, Rejected, Signed, verify_version_2};
use crate::units::UnixSeconds;

fn ring(allowed: bool, session_token: Option<&str>) -> KeyRing {
    KeyRing::new(vec![Key {
        access_key_id: AccessKeyId::new(KEY),
        secret: Secret::from(SECRET),
        session_token: session_token.map(Secret::from),
        client: ClientName::new("reader"),
        allowances: Allowances { version_2_reads: allowed, ..Allowances::default() },
    }])
}

fn judged(head: &Head, bucket: Option<&str>) -> Result<Signed, Rejected> {
    verify_version_2(head, bucket, &ring(true, None), UnixSeconds(1_175_139_620))
}

/// What botocore's `HmacV1QueryAuth` makes of these, by the documentation's key pair.
const GET: &str = "/photos/puppy.jpg?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Expires=1175139620&Signature=";

fn url(signature: &str, more: &str) -> Head {
    let signature = encoded(signature);
    head("GET", &format!("{GET}{signature}{more}"), &[("host", "h")])
}

fn encoded(text: &str) -> String {
    text.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

fn sign(text: &str) -> String {
    use aws_lc_rs::hmac;
    use base64::Engine as _;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, SECRET.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(hmac::sign(&key, text.as_bytes()))
}

/// "Query string request authentication alternative" of the S3 user guide.
#[test]
fn the_documented_signature_holds() {
    let documented = head(
        "GET",
        "/photos/puppy.jpg?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&Expires=1175139620",
        &[("host", "johnsmith.s3.us-west-1.amazonaws.com")],
    );
    let signed = judged(&documented, Some("johnsmith")).unwrap();
    assert_eq!((signed.client.as_str(), signed.presigned, signed.region), ("reader", true, None));
    assert!(judged(&documented, Some("another")).is_err());
    assert!(judged(&documented, None).is_err());
}

#[test]
fn what_is_signed_cannot_be_changed() {
    let right = sign("GET\n\n\n1175139620\n/photos/puppy.jpg?response-content-type=a b&versionId=v");
    let more = "&versionId=v&response-content-type=a%20b";
    let good = url(&right, more);
    assert!(judged(&good, None).is_ok());
    let mut head_request = good.clone();
    head_request.set_method(Method::HEAD);
    let mut typed = good.clone();
    typed.push("content-type", b"text/plain");
    let mut amz = good.clone();
    amz.push("x-amz-request-payer", b"requester");
    for changed in [
        url(&right, "&versionId=w&response-content-type=a%20b"),
        url(&right, "&versionId=v"),
        url(&right, &format!("{more}&partNumber=1")),
        url(&right, &format!("{more}&versionId=v")),
        url(&sign("GET\n\n\n1175139621\n/photos/puppy.jpg"), ""),
        url("c2ln", more),
        url("", more),
        head_request,
        typed,
        amz,
    ] {
        let rejected = judged(&changed, None).unwrap_err();
        assert_eq!(rejected.code(), "SignatureDoesNotMatch", "{}", changed.target());
    }
    let twice = url(&right, &format!("{more}&Expires=9999999999"));
    assert_eq!(judged(&twice, None).map(|_| ()).unwrap_err().code(), "AuthorizationQueryParametersError");
    let late = verify_version_2(&good, None, &ring(true, None), UnixSeconds(1_175_139_621));
    assert!(matches!(late, Err(Rejected::Expired { .. })));
}

#[test]
fn only_keys_that_opt_in_are_good_for_it() {
    let good = url(&sign("GET\n\n\n1175139620\n/photos/puppy.jpg"), "");
    let now = UnixSeconds(1_175_139_620);
    let refused = verify_version_2(&good, None, &ring(false, None), now).map(|_| ());
    assert_eq!(refused, Err(Rejected::SignatureV2(Place::Query)));
    let stranger = head("GET", &good.target().replace("AKIA", "AKIB"), &[("host", "h")]);
    assert_eq!(judged(&stranger, None).map(|_| ()), Err(Rejected::SignatureV2(Place::Query)));
    let by_header = head("GET", "/photos/puppy.jpg", &[("host", "h"), ("authorization", "AWS AKID:c2ln")]);
    assert_eq!(judged(&by_header, None).map(|_| ()), Err(Rejected::SignatureV2(Place::Query)));
}

#[test]
fn a_token_is_signed_required_and_compared() {
    let with = |token: &str, keys: &KeyRing| {
        let text = format!("GET\n\n\n1175139620\nx-amz-security-token:{token}\n/photos/puppy.jpg");
        let head = url(&sign(&text), &format!("&x-amz-security-token={token}"));
        verify_version_2(&head, None, keys, UnixSeconds(1_175_139_620)).map(|_| ())
    };
    assert_eq!(with("the-token", &ring(true, Some("the-token"))), Ok(()));
    assert_eq!(with("another", &ring(true, Some("the-token"))), Err(Rejected::TokenWrong));
    assert_eq!(with("the-token", &ring(true, None)), Err(Rejected::TokenUnexpected));
    let bare = url(&sign("GET\n\n\n1175139620\n/photos/puppy.jpg"), "");
    let missing = verify_version_2(&bare, None, &ring(true, Some("t")), UnixSeconds(1_175_139_620));
    assert_eq!(missing.map(|_| ()), Err(Rejected::TokenMissing));
}
