//! Signed policies of form uploads.

use super::{KEY, REGION, SECRET};
use crate::names::{AccessKeyId, ClientName, Secret};
use crate::sigv4::{
    Key, KeyCache, KeyRing, Place, Region, Rejected, Rules, Signed, SignedPolicy, SigningKey, verify_policy,
};

const POLICY: &str = "eyJleHBpcmF0aW9uIjoiMjAxNS0xMi0zMFQxMjowMDowMC4wMDBaIn0=";

fn key(session_token: Option<&str>) -> Key {
    Key {
        access_key_id: AccessKeyId::new(KEY),
        secret: Secret::from(SECRET),
        session_token: session_token.map(Secret::from),
        client: ClientName::new("reader"),
        allowances: crate::sigv4::Allowances::default(),
    }
}

fn judged(form: &SignedPolicy<'_>, key: Key) -> Result<Signed, Rejected> {
    let rules = Rules::new(Region::Exactly(REGION.to_owned()));
    verify_policy(form, &KeyRing::new(vec![key]), &rules, &mut KeyCache::new())
}

fn signature(secret: &str, region: &str, policy: &str) -> String {
    hex::encode(SigningKey::derive(&Secret::from(secret), "20151229", region).sign(policy.as_bytes()))
}

const CREDENTIAL: &str = "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request";

fn form(signature: &str) -> SignedPolicy<'_> {
    SignedPolicy {
        policy: Some(POLICY),
        algorithm: Some("AWS4-HMAC-SHA256"),
        credential: Some(CREDENTIAL),
        date: Some("20151229T000000Z"),
        signature: Some(signature),
        token: None,
        version_2: false,
    }
}

/// "Example: Browser-Based Upload using HTTP POST (Using AWS Signature Version 4)" of the S3 API
/// reference.
#[test]
fn the_documented_signature_holds() {
    use base64::Engine as _;
    let policy = "{ \"expiration\": \"2015-12-30T12:00:00.000Z\",\r\n  \"conditions\": [\r\n    \
        {\"bucket\": \"sigv4examplebucket\"},\r\n    [\"starts-with\", \"$key\", \"user/user1/\"],\r\n    \
        {\"acl\": \"public-read\"},\r\n    {\"success_action_redirect\": \
        \"http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html\"},\r\n    \
        [\"starts-with\", \"$Content-Type\", \"image/\"],\r\n    {\"x-amz-meta-uuid\": \
        \"14365123651274\"},\r\n    {\"x-amz-server-side-encryption\": \"AES256\"},\r\n    \
        [\"starts-with\", \"$x-amz-meta-tag\", \"\"],\r\n\r\n    {\"x-amz-credential\": \
        \"AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request\"},\r\n    {\"x-amz-algorithm\": \
        \"AWS4-HMAC-SHA256\"},\r\n    {\"x-amz-date\": \"20151229T000000Z\" }\r\n  ]\r\n}";
    let policy = base64::engine::general_purpose::STANDARD.encode(policy);
    let documented = "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e";
    let signed = judged(&SignedPolicy { policy: Some(&policy), ..form(documented) }, key(None)).unwrap();
    assert_eq!((signed.client.as_str(), signed.region.as_deref()), ("reader", Some(REGION)));
}

#[test]
fn every_other_signature_is_refused_and_tells_nothing() {
    let right = signature(SECRET, REGION, POLICY);
    for wrong in [
        signature("another", REGION, POLICY),
        signature(SECRET, "us-west-2", POLICY),
        signature(SECRET, REGION, "another"),
        right.to_uppercase(),
        right.clone().split_off(1),
        String::new(),
    ] {
        let rejected = judged(&form(&wrong), key(None)).unwrap_err();
        assert_eq!((rejected.code(), rejected.status()), ("SignatureDoesNotMatch", 403), "{wrong}");
        let said = format!("{rejected} {rejected:?} {:?}", rejected.details());
        assert!(!said.contains(&right) && !said.contains(POLICY), "{said}");
    }
    assert!(judged(&form(&right), key(None)).is_ok());
}

#[test]
fn fields_that_are_missing_or_wrong_are_named() {
    let right = signature(SECRET, REGION, POLICY);
    let whole = form(&right);
    let said = |form: SignedPolicy<'_>| judged(&form, key(None)).map(|signed| signed.client).unwrap_err();
    let missing = |name| Rejected::FieldMissing { name };
    assert_eq!(said(SignedPolicy { policy: None, ..whole }), missing("policy"));
    assert_eq!(said(SignedPolicy { algorithm: None, ..whole }), missing("x-amz-algorithm"));
    assert_eq!(said(SignedPolicy { credential: None, ..whole }), missing("x-amz-credential"));
    assert_eq!(said(SignedPolicy { date: None, ..whole }), missing("x-amz-date"));
    assert_eq!(said(SignedPolicy { signature: None, ..whole }), missing("x-amz-signature"));
    assert_eq!(missing("policy").code(), "InvalidArgument");
    let query_error = "AuthorizationQueryParametersError";
    let scope = |scope| SignedPolicy { credential: Some(scope), ..whole };
    for (form, code) in [
        (SignedPolicy { algorithm: Some("AWS4-ECDSA-P256-SHA256"), ..whole }, query_error),
        (SignedPolicy { algorithm: Some("AWS4-HMAC-SHA1"), ..whole }, query_error),
        (SignedPolicy { date: Some("2015-12-29T00:00:00Z"), ..whole }, query_error),
        (SignedPolicy { date: Some("20151230T000000Z"), ..whole }, query_error),
        (scope("AKIAIOSFODNN7EXAMPLE/20151229/us-west-2/s3/aws4_request"), query_error),
        (scope("AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/ec2/aws4_request"), query_error),
        (scope("us-east-1/s3/aws4_request"), query_error),
        (scope("AKIANOBODY/20151229/us-east-1/s3/aws4_request"), "InvalidAccessKeyId"),
        (SignedPolicy { token: Some("t"), ..whole }, "InvalidToken"),
    ] {
        assert_eq!(said(form).code(), code, "{form:?}");
    }
    let wrong_region = said(scope("AKIAIOSFODNN7EXAMPLE/20151229/us-west-2/s3/aws4_request"));
    assert_eq!(wrong_region.details(), [("Region", REGION.to_owned())]);
}

#[test]
fn a_session_token_is_required_and_compared() {
    let right = signature(SECRET, REGION, POLICY);
    let with = |token| judged(&SignedPolicy { token, ..form(&right) }, key(Some("the-token")));
    assert!(with(Some("the-token")).is_ok());
    assert_eq!(with(Some("another")).map(|_| ()), Err(Rejected::TokenWrong));
    assert_eq!(with(None).map(|_| ()), Err(Rejected::TokenMissing));
}

#[test]
fn signature_version_2_is_refused_with_its_remedy() {
    let version_2 = SignedPolicy { policy: Some(POLICY), version_2: true, ..SignedPolicy::default() };
    let rejected = judged(&version_2, key(None)).unwrap_err();
    assert_eq!((rejected.code(), rejected.status()), ("InvalidRequest", 400));
    assert_eq!(rejected, Rejected::SignatureV2(Place::Form));
    assert!(rejected.to_string().contains("signature_version=\"s3v4\""), "{rejected}");
    let both = SignedPolicy { version_2: true, ..form("s") };
    assert_eq!(judged(&both, key(None)).map(|_| ()), Err(Rejected::TwoMechanisms));
}
