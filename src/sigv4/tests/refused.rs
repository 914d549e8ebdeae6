//! What is refused, and as what: one row for each way in which a head can be wrong.

use aws_sigv4::http_request::SignableBody;

use super::{
    KEY, NOW, Oracle, REGION, SECRET, at, head, key, ring, rules, verified, verified_at, with, without,
};
use crate::head::Head;
use crate::names::{AccessKeyId, Secret};
use crate::sigv4::{
    Algorithm, Credential, DateFault, Destination, EMPTY_SHA256, ExpiresFault, KeyCache, KeyRing, Malformed,
    PathForm, Payload, PayloadMark, Place, Region, Rejected, Rules, Verified, sign, verify, verify_off,
};
use crate::units::UnixSeconds;

/// A signed GET and a signed PUT with metadata.
fn get() -> Head {
    Oracle::default().sign(&head("GET", "/photos/cat.jpg", &[("host", "localhost:9000")]))
}

fn put() -> Head {
    let fields = [("host", "localhost:9000"), ("x-amz-meta-a", "1"), ("content-type", "text/plain")];
    Oracle::default().sign(&head("PUT", "/photos/cat.jpg", &fields))
}

fn presigned() -> Head {
    let oracle = Oracle { presigned: Some(3_600), ..Oracle::default() };
    oracle.sign(&head("GET", "/photos/cat.jpg", &[("host", "localhost:9000")]))
}

/// A head whose `Authorization` has one text replaced by another.
fn authorized(head: &Head, from: &str, to: &str) -> Head {
    let text = head.first_text("authorization").expect("signed");
    assert!(text.contains(from), "{from} is not in {text}");
    with(head, "authorization", &text.replacen(from, to, 1))
}

/// The same for the target.
fn asked(head: &Head, from: &str, to: &str) -> Head {
    let target = head.target();
    assert!(target.contains(from), "{from} is not in {target}");
    at(head, &target.replacen(from, to, 1))
}

/// Adds a field.
fn and(head: &Head, name: &str, value: &str) -> Head {
    let mut more = head.clone();
    more.push(name, value.as_bytes());
    more
}

/// Signs with our own signer for a scope that the oracle would not make.
fn ours(unsigned: &Head, region: &str, at: UnixSeconds) -> Head {
    let credential = Credential {
        access_key_id: AccessKeyId::new(KEY),
        secret: Secret::from(SECRET),
        session_token: None,
    };
    let mut signed = unsigned.clone();
    sign(
        &mut signed,
        &credential,
        &Destination { region, path: PathForm::Reencoded },
        at,
        &PayloadMark::Unsigned,
        &mut KeyCache::new(),
    );
    signed
}

/// The signature that a head carries.
fn provided(head: &Head) -> String {
    let text = head.first_text("authorization").expect("signed");
    text.rsplit('=').next().expect("a signature").to_owned()
}

type Row = (&'static str, Head, &'static str, u16);

#[track_caller]
fn refused(rows: Vec<Row>) {
    for (what, head, code, status) in rows {
        match verified(&head) {
            Err(rejected) => assert_eq!((rejected.code(), rejected.status()), (code, status), "{what}"),
            Ok(found) => panic!("{what}: {found:?}"),
        }
    }
}

#[test]
fn what_the_rows_are_made_of_is_accepted() {
    for head in [get(), put(), presigned()] {
        assert!(matches!(verified(&head), Ok(Verified::Signed(_))));
    }
}

#[test]
fn authorization_headers() {
    let signature = provided(&get());
    refused(vec![
        ("empty", with(&get(), "authorization", ""), "InvalidArgument", 400),
        ("unknown scheme", with(&get(), "authorization", "Bearer abc"), "InvalidArgument", 400),
        ("one word", with(&get(), "authorization", "abc"), "InvalidArgument", 400),
        ("other case", authorized(&get(), "AWS4-HMAC", "aws4-hmac"), "InvalidArgument", 400),
        ("SigV2", with(&get(), "authorization", "AWS AKID:c2ln"), "InvalidRequest", 400),
        (
            "SigV4A without regions",
            authorized(&get(), "HMAC-SHA256", "ECDSA-P256-SHA256"),
            "AuthorizationHeaderMalformed",
            400,
        ),
        ("no credential", authorized(&get(), "Credential=", "X="), "AuthorizationHeaderMalformed", 400),
        (
            "nothing after the algorithm",
            with(&get(), "authorization", "AWS4-HMAC-SHA256"),
            "AuthorizationHeaderMalformed",
            400,
        ),
        (
            "no signed headers",
            authorized(&get(), "SignedHeaders=host;x-amz-content-sha256;x-amz-date, ", ""),
            "AuthorizationHeaderMalformed",
            400,
        ),
        (
            "no signature",
            authorized(&get(), &format!(", Signature={signature}"), ""),
            "AuthorizationHeaderMalformed",
            400,
        ),
        (
            "two signatures",
            authorized(&get(), ", Signature", &format!(", Signature={signature}, Signature")),
            "AuthorizationHeaderMalformed",
            400,
        ),
        ("four-part credential", authorized(&get(), "/s3/", "/"), "AuthorizationHeaderMalformed", 400),
        ("unknown key", authorized(&get(), KEY, "AKIAIOSFODNN7EXAMPL0"), "InvalidAccessKeyId", 403),
        ("key with a slash", authorized(&get(), KEY, "AKIA/EXAMPLE"), "InvalidAccessKeyId", 403),
        ("two headers", and(&get(), "authorization", "AWS AKID:c2ln"), "InvalidArgument", 400),
        (
            "header and query",
            with(&presigned(), "authorization", "Bearer of-a-browser"),
            "InvalidArgument",
            400,
        ),
        ("header and SigV2 query", asked(&get(), "jpg", "jpg?Signature=abc"), "InvalidArgument", 400),
    ]);
}

#[test]
fn signatures() {
    let signature = provided(&get());
    let signature = signature.as_str();
    let last = if signature.ends_with('0') { "1" } else { "0" };
    let short = signature.get(..63).expect("64 characters");
    let flipped = format!("{short}{last}");
    let letters = signature.to_ascii_uppercase();
    assert_ne!(letters, signature, "a signature of digits only proves nothing here");
    let rows = ["", "abc", short, &format!("{signature}0"), &flipped, &letters, &"z".repeat(64)]
        .map(|other| ("signature", authorized(&get(), signature, other), "SignatureDoesNotMatch", 403));
    refused(rows.into());
    refused(vec![
        (
            "method",
            {
                let mut head = get();
                head.set_method(http::Method::DELETE);
                head
            },
            "SignatureDoesNotMatch",
            403,
        ),
        ("path", asked(&get(), "cat", "dog"), "SignatureDoesNotMatch", 403),
        ("parameter", asked(&get(), "jpg", "jpg?acl"), "SignatureDoesNotMatch", 403),
        ("value of a signed header", with(&put(), "x-amz-meta-a", "2"), "SignatureDoesNotMatch", 403),
        ("host", with(&get(), "host", "localhost"), "SignatureDoesNotMatch", 403),
        ("payload", with(&get(), "x-amz-content-sha256", EMPTY_SHA256), "SignatureDoesNotMatch", 403),
        ("signed header gone", without(&put(), "content-type"), "SignatureDoesNotMatch", 403),
        ("signed x-amz header gone", without(&put(), "x-amz-meta-a"), "SignatureDoesNotMatch", 403),
        (
            "presigned method",
            {
                let mut head = presigned();
                head.set_method(http::Method::PUT);
                head
            },
            "SignatureDoesNotMatch",
            403,
        ),
        ("presigned parameter", asked(&presigned(), "?", "?versionId=1&"), "SignatureDoesNotMatch", 403),
        (
            "presigned expiry",
            asked(&presigned(), "Expires=3600", "Expires=3601"),
            "SignatureDoesNotMatch",
            403,
        ),
    ]);
}

/// A header that is listed and absent is no empty header: its absence cannot be signed.
#[test]
fn an_absent_header_is_not_an_empty_one() {
    let unsigned = head("PUT", "/b/k", &[("host", "h"), ("content-type", "")]);
    let signed = Oracle::default().sign(&unsigned);
    assert!(verified(&signed).is_ok());
    let result = verified(&without(&signed, "content-type"));
    assert!(matches!(result, Err(Rejected::SignatureMismatch(_))), "{result:?}");
}

#[test]
fn scopes() {
    let malformed = "AuthorizationHeaderMalformed";
    let query = "AuthorizationQueryParametersError";
    refused(vec![
        ("region", authorized(&get(), REGION, "eu-west-1"), malformed, 400),
        ("empty region", authorized(&get(), REGION, ""), malformed, 400),
        ("service", authorized(&get(), "/s3/", "/ec2/"), malformed, 400),
        ("terminator", authorized(&get(), "aws4_request", "aws5_request"), malformed, 400),
        ("day", authorized(&get(), "20130524", "20130523"), malformed, 400),
        ("presigned region", asked(&presigned(), REGION, "eu-west-1"), query, 400),
        ("presigned service", asked(&presigned(), "%2Fs3%2F", "%2Fsts%2F"), query, 400),
        ("presigned day", asked(&presigned(), "%2F20130524", "%2F20130523"), query, 400),
    ]);
    let wrong = verified(&ours(&head("GET", "/b/k", &[("host", "h")]), "eu-west-1", NOW));
    let Err(wrong @ Rejected::WrongRegion { .. }) = wrong else { panic!("{wrong:?}") };
    assert_eq!(wrong.details(), [("Region", REGION.to_owned())]);
    assert!(wrong.to_string().ends_with("the region 'eu-west-1' is wrong; expecting 'us-east-1'"), "{wrong}");
}

#[test]
fn any_region_may_be_signed_for_where_the_rules_say_so() {
    let signed = ours(&head("GET", "/b/k", &[("host", "h")]), "mars-1", NOW);
    let result = verify(&signed, &ring(), &Rules::new(Region::Any), NOW, &mut KeyCache::new());
    assert!(matches!(result, Ok(Verified::Signed(signed)) if signed.region.as_deref() == Some("mars-1")));
}

#[test]
fn dates() {
    refused(vec![
        ("none", without(&get(), "x-amz-date"), "AccessDenied", 403),
        ("no date text", with(&get(), "x-amz-date", "yesterday"), "AccessDenied", 403),
        ("HTTP date", with(&get(), "x-amz-date", "Fri, 24 May 2013 00:00:00 GMT"), "AccessDenied", 403),
        ("two", and(&get(), "x-amz-date", "20130524T000000Z"), "InvalidRequest", 400),
    ]);
    for (now, good) in [(0, true), (900, true), (-900, true), (901, false), (-901, false)] {
        let result = verified_at(&get(), UnixSeconds(NOW.0 + now));
        match result {
            Ok(_) => assert!(good, "{now}"),
            Err(Rejected::TimeTooSkewed { request, server, skew_ms_max }) => {
                assert!(!good, "{now}");
                assert_eq!((request.at(), server.at().0, skew_ms_max), (NOW, NOW.0 + now, 900_000));
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(
        verified(&without(&get(), "x-amz-date")).err(),
        Some(Rejected::HeaderDate(DateFault::Missing))
    );
}

/// Old clients sign `Date` and send no `x-amz-date`: the same string to sign.
#[test]
fn a_date_header_serves_where_there_is_no_x_amz_date() {
    for text in ["Fri, 24 May 2013 00:00:00 GMT", "20130524T000000Z"] {
        let mut dated = head("GET", "/b/k", &[("host", "h"), ("x-amz-content-sha256", EMPTY_SHA256)]);
        dated.push("date", text.as_bytes());
        let names = ["date", "host", "x-amz-content-sha256"];
        let canonical = format!(
            "GET\n/b/k\n\ndate:{text}\nhost:h\nx-amz-content-sha256:{EMPTY_SHA256}\n\n{}\n{EMPTY_SHA256}",
            names.join(";")
        );
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/{REGION}/s3/aws4_request\n{}",
            hex::encode(crate::sigv4::sha256(canonical.as_bytes()))
        );
        let signing = crate::sigv4::SigningKey::derive(&Secret::from(SECRET), "20130524", REGION);
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={KEY}/20130524/{REGION}/s3/aws4_request,SignedHeaders={},Signature={}",
            names.join(";"),
            hex::encode(signing.sign(to_sign.as_bytes()))
        );
        dated.push("authorization", authorization.as_bytes());
        assert!(matches!(verified(&dated), Ok(Verified::Signed(_))), "{text}");
        assert!(verified(&and(&dated, "date", text)).is_err(), "two dates");
    }
}

#[test]
fn signed_headers() {
    let list = "host;x-amz-content-sha256;x-amz-date";
    let malformed = "AuthorizationHeaderMalformed";
    refused(vec![
        ("host unsigned", authorized(&get(), "host;", ""), "AccessDenied", 403),
        ("x-amz unsigned", and(&get(), "x-amz-meta-b", "1"), "AccessDenied", 403),
        ("not sorted", authorized(&get(), list, "x-amz-content-sha256;host;x-amz-date"), malformed, 400),
        ("twice", authorized(&get(), list, "host;host;x-amz-content-sha256;x-amz-date"), malformed, 400),
        ("upper-case", authorized(&get(), list, "Host;x-amz-content-sha256;x-amz-date"), malformed, 400),
        ("empty name", authorized(&get(), list, ";host;x-amz-content-sha256;x-amz-date"), malformed, 400),
        ("empty", authorized(&get(), list, ""), malformed, 400),
        ("presigned, unsigned x-amz", and(&presigned(), "x-amz-acl", "public-read"), "AccessDenied", 403),
    ]);
    let unsigned = and(&and(&and(&get(), "x-amz-z", "1"), "x-amz-a", "1"), "x-amz-z", "2");
    let names = vec!["x-amz-a".to_owned(), "x-amz-z".to_owned()];
    assert_eq!(verified(&unsigned).err(), Some(Rejected::HeadersNotSigned { names }));
    let added = and(&and(&get(), "content-type", "text/plain"), "amz-sdk-invocation-id", "1");
    assert!(verified(&added).is_ok(), "others may be added unsigned");
}

#[test]
fn repeated_headers() {
    let rows = [
        ("host", "localhost:9000"),
        ("x-amz-date", "20130524T000000Z"),
        ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        ("x-amz-security-token", "t"),
        ("x-amz-decoded-content-length", "1"),
        ("content-length", "1"),
        ("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg=="),
    ];
    for (name, value) in rows {
        let once = without(&get(), name);
        let twice = and(&and(&once, name, value), name, value);
        assert_eq!(verified(&twice).err(), Some(Rejected::RepeatedHeader { name }));
    }
    // others are joined in the order in which they came
    let unsigned = head("PUT", "/b/k", &[("host", "h"), ("x-amz-meta-a", "2"), ("x-amz-meta-a", "1")]);
    let signed = Oracle::default().sign(&unsigned);
    assert!(verified(&signed).is_ok());
    let mut swapped = without(&signed, "x-amz-meta-a");
    swapped.push("x-amz-meta-a", b"1");
    swapped.push("x-amz-meta-a", b"2");
    assert!(matches!(verified(&swapped), Err(Rejected::SignatureMismatch(_))));
}

#[test]
fn presigned_parameters() {
    let query = "AuthorizationQueryParametersError";
    let mut rows: Vec<Row> = [
        ("X-Amz-Algorithm=AWS4-HMAC-SHA256&", ""),
        ("X-Amz-Algorithm=AWS4-HMAC-SHA256", "X-Amz-Algorithm=AWS5"),
        ("X-Amz-Date=20130524T000000Z&", ""),
        ("X-Amz-Date=20130524T000000Z", "X-Amz-Date=today"),
        ("X-Amz-Expires=3600&", ""),
        ("X-Amz-Expires=3600", "X-Amz-Expires=604801"),
        ("X-Amz-Expires=3600", "X-Amz-Expires=99999999999999999999"),
        ("X-Amz-Expires=3600", "X-Amz-Expires=-1"),
        ("X-Amz-Expires=3600", "X-Amz-Expires=0"),
        ("X-Amz-Expires=3600", "X-Amz-Expires=abc"),
        ("X-Amz-Expires=3600", "X-Amz-Expires="),
        ("X-Amz-Expires=3600", "X-Amz-Expires=%2B3600"),
        ("X-Amz-Expires=3600", "X-Amz-Expires=3600&X-Amz-Expires=3600"),
        ("X-Amz-Expires=3600", "X-Amz-Expires=3600&x-amz-expires=3600"),
        ("X-Amz-Expires=3600", "X-Amz-Expires=3600&X%2DAmz-Expires=3600"),
        ("X-Amz-SignedHeaders=host&", ""),
        ("X-Amz-SignedHeaders=host", "X-Amz-SignedHeaders=Host"),
        ("X-Amz-Signature=", "X-Amz-Signature=00&X-Amz-Signature="),
        ("X-Amz-Signature=", "Y="),
        ("X-Amz-Credential=AKIAIOSFODNN7EXAMPLE", "X-Amz-Credential=%FF"),
        ("%2F20130524%2F", "%2F"),
    ]
    .map(|(from, to)| ("parameter", asked(&presigned(), from, to), query, 400))
    .into();
    let v2 = "/b/k?AWSAccessKeyId=AKID&Signature=c2ln&Expires=1369357200";
    rows.push(("SigV2", head("GET", v2, &[("host", "h")]), "InvalidRequest", 400));
    let v4a = asked(&presigned(), "HMAC-SHA256", "ECDSA-P256-SHA256");
    rows.push(("SigV4A without regions", v4a, query, 400));
    let named = asked(&presigned(), "SignedHeaders=host", "SignedHeaders=date");
    rows.push(("host unsigned", named, "AccessDenied", 403));
    refused(rows);
    for (from, fault) in
        [("604801", ExpiresFault::TooLong), ("-5", ExpiresFault::TooShort), ("1.5", ExpiresFault::NotANumber)]
    {
        let head = asked(&presigned(), "Expires=3600", &format!("Expires={from}"));
        assert_eq!(verified(&head).err(), Some(Rejected::Expires(fault)));
    }
    let week = Oracle { presigned: Some(604_800), ..Oracle::default() };
    let week = week.sign(&head("GET", "/b/k", &[("host", "h")]));
    assert!(verified_at(&week, UnixSeconds(NOW.0 + 604_800)).is_ok());
}

#[test]
fn both_version_2_refusals_name_the_fix() {
    let header = head("GET", "/b/k", &[("host", "h"), ("authorization", "AWS AKID:c2ln")]);
    let query = head("GET", "/b/k?Signature=c2ln&AWSAccessKeyId=A&Expires=1", &[("host", "h")]);
    for (head, place) in [(header, Place::Header), (query, Place::Query)] {
        let rejected = verified(&head).expect_err("not supported");
        assert_eq!(rejected, Rejected::SignatureV2(place));
        assert!(rejected.to_string().contains("signature_version=\"s3v4\""), "{rejected}");
    }
}

#[test]
fn payloads() {
    let sent = |value: &str| with(&get(), "x-amz-content-sha256", value);
    refused(vec![
        ("none", without(&get(), "x-amz-content-sha256"), "InvalidRequest", 400),
        ("junk", sent("junk"), "InvalidArgument", 400),
        ("empty", sent(""), "InvalidArgument", 400),
        ("no such mode", sent("STREAMING-UNSIGNED-PAYLOAD"), "InvalidArgument", 400),
        ("events", sent("STREAMING-AWS4-HMAC-SHA256-EVENTS"), "InvalidArgument", 400),
        ("SigV4A chunks", sent("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"), "InvalidRequest", 400),
    ]);
    let anonymous = head("PUT", "/b/k", &[("host", "h")]);
    let signed_chunks = with(&anonymous, "x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
    assert_eq!(verified(&signed_chunks).err(), Some(Rejected::SignedChunksAnonymous));
    let chunked = with(&presigned(), "x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER");
    assert_eq!(verified(&chunked).err(), Some(Rejected::SignedChunksPresigned));
    let both = asked(&presigned(), "&X-Amz-Date", "&X-Amz-Content-Sha256=UNSIGNED-PAYLOAD&X-Amz-Date");
    let both = with(&both, "x-amz-content-sha256", EMPTY_SHA256);
    assert_eq!(verified(&both).err(), Some(Rejected::ContentSha256Contradicts));
}

/// CVE-2025-31489 and its like: in no mode, wherever the credential is, does a made-up signature
/// pass.
#[test]
fn a_made_up_signature_passes_in_no_mode() {
    let modes = [
        (EMPTY_SHA256, true),
        ("UNSIGNED-PAYLOAD", true),
        ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", true),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", false),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", false),
    ];
    let scope = format!("{KEY}/20130524/{REGION}/s3/aws4_request");
    let forged = "ab".repeat(32);
    for method in ["PUT", "POST", "DELETE", "GET"] {
        for (mode, presigned_too) in modes {
            let fields = [("host", "h"), ("x-amz-content-sha256", mode), ("x-amz-date", "20130524T000000Z")];
            let signed = "host;x-amz-content-sha256;x-amz-date";
            let authorization =
                format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={signed}, Signature={forged}");
            let by_header = and(&head(method, "/b/k", &fields), "authorization", &authorization);
            let result = verified(&by_header);
            assert!(matches!(result, Err(Rejected::SignatureMismatch(_))), "{method} {mode}: {result:?}");

            let target = format!(
                "/b/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={}&X-Amz-Date=20130524T000000Z\
                 &X-Amz-Expires=60&X-Amz-SignedHeaders={}&X-Amz-Signature={forged}",
                super::encoded(&scope),
                super::encoded(signed)
            );
            let result = verified(&head(method, &target, &fields));
            match result {
                Err(Rejected::SignatureMismatch(_)) => assert!(presigned_too, "{method} {mode}"),
                Err(Rejected::SignedChunksPresigned) => assert!(!presigned_too, "{method} {mode}"),
                other => panic!("{method} {mode}: {other:?}"),
            }
        }
    }
}

#[test]
fn tokens() {
    let unsigned = head("GET", "/b/k", &[("host", "h")]);
    let with_token = |token, presigned| Oracle { token, presigned, ..Oracle::default() }.sign(&unsigned);
    let plain = ring();
    let temporary = KeyRing::new(vec![key(Some("the-token"))]);
    for presigned in [None, Some(60)] {
        let table = [
            (&plain, None, None),
            (&plain, Some("the-token"), Some(Rejected::TokenUnexpected)),
            (&temporary, None, Some(Rejected::TokenMissing)),
            (&temporary, Some("the-tokeN"), Some(Rejected::TokenWrong)),
            (&temporary, Some("the-token"), None),
        ];
        for (ring, token, expected) in table {
            let head = with_token(token, presigned);
            let result = verify(&head, ring, &rules(), NOW, &mut KeyCache::new());
            let refused = result.err();
            assert_eq!(refused, expected, "{token:?}");
            assert!(refused.is_none_or(|r| (r.code(), r.status()) == ("InvalidToken", 400)));
        }
    }
    // without the right signature nobody learns anything about tokens
    let forged = authorized(&with_token(Some("x"), None), "Signature=", "Signature=0");
    let result = verify(&forged, &temporary, &rules(), NOW, &mut KeyCache::new());
    assert!(matches!(result, Err(Rejected::SignatureMismatch(_))));
}

#[test]
fn no_credential_is_anonymous() {
    for (value, payload) in [
        (None, Payload::Unsigned),
        (Some("UNSIGNED-PAYLOAD"), Payload::Unsigned),
        (Some("STREAMING-UNSIGNED-PAYLOAD-TRAILER"), Payload::UnsignedTrailer),
        (Some(EMPTY_SHA256), Payload::Sha256(crate::sigv4::sha256(b""))),
    ] {
        let mut head = head("GET", "/b/k?response-expires=1&X-Amz-Content-Sha256=x", &[("host", "h")]);
        if let Some(value) = value {
            head.push("x-amz-content-sha256", value.as_bytes());
        }
        match verified(&head) {
            Ok(Verified::Anonymous { payload: found, framing }) => {
                assert_eq!(found, payload);
                assert_eq!(framing.is_some(), payload == Payload::UnsignedTrailer);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn keys_may_have_slashes() {
    let ring =
        KeyRing::new(vec![crate::sigv4::Key { access_key_id: AccessKeyId::new("a/b/c"), ..key(None) }]);
    for presigned in [None, Some(60)] {
        let oracle = Oracle { key: "a/b/c", presigned, ..Oracle::default() };
        let signed = oracle.sign(&head("GET", "/b/k", &[("host", "h")]));
        let result = verify(&signed, &ring, &rules(), NOW, &mut KeyCache::new());
        assert!(matches!(result, Ok(Verified::Signed(_))), "{result:?}");
    }
}

#[test]
fn hoisted_headers_are_signed_as_parameters() {
    let target = "/b/k?x-amz-acl=private&x-amz-meta-a=1";
    let oracle = Oracle { presigned: Some(60), ..Oracle::default() };
    let signed = oracle.sign(&head("PUT", target, &[("host", "h")]));
    assert!(verified(&signed).is_ok());
    let raised = asked(&signed, "acl=private", "acl=public-read");
    assert!(matches!(verified(&raised), Err(Rejected::SignatureMismatch(_))));
}

#[test]
fn a_path_is_good_in_either_spelling() {
    for raw in ["/b/a!b", "/b/a'(b)*", "/b/a+b", "/b/a%2Fb", "/b/%c3%a9", "/b/%2e%2e/c", "/b//./../c/"] {
        // the oracle signs the path as it stands; clients that decode and encode again sign the other
        let raw_form = Oracle::default().sign(&head("GET", raw, &[("host", "h")]));
        assert!(verified(&raw_form).is_ok(), "{raw} as it stands");
        let reencoded = ours(&head("GET", raw, &[("host", "h")]), REGION, NOW);
        assert!(verified(&reencoded).is_ok(), "{raw} encoded again");
        let other = format!("{raw}x");
        assert!(verified(&at(&raw_form, &other)).is_err() && verified(&at(&reencoded, &other)).is_err());
    }
}

#[test]
fn a_plus_is_a_space_in_a_query_and_a_plus_in_a_path() {
    let signed = Oracle::default().sign(&head("GET", "/b?prefix=a%20b", &[("host", "h")]));
    assert!(verified(&at(&signed, "/b?prefix=a+b")).is_ok());
    assert!(verified(&at(&signed, "/b?prefix=a%2Bb")).is_err());
    let signed = Oracle::default().sign(&head("GET", "/b/a%2Bb", &[("host", "h")]));
    assert!(verified(&at(&signed, "/b/a+b")).is_ok());
    assert!(verified(&at(&signed, "/b/a%20b")).is_err());
}

/// What a refusal says goes to strangers and into logs.
#[test]
fn a_mismatch_tells_the_signer_what_was_signed_and_no_secret() {
    let fields = [
        ("host", "h"),
        ("x-amz-meta-a", "visible"),
        ("x-amz-server-side-encryption-customer-key", "canary"),
        ("x-amz-copy-source-server-side-encryption-customer-key-md5", "canary"),
    ];
    let by_header = Oracle { token: Some("canary"), ..Oracle::default() }.sign(&head("PUT", "/b/k", &fields));
    let by_query = Oracle { token: Some("canary"), presigned: Some(60), ..Oracle::default() };
    let by_query = by_query.sign(&head("PUT", "/b/k?x-amz-meta-a=visible", &fields[..1]));
    let moved = at(&by_header, "/b/k?x=1");
    let right = Oracle { token: Some("canary"), ..Oracle::default() }.sign(&without(&moved, "authorization"));
    let right = provided(&right);
    let right = right.as_str();
    for head in [&moved, &asked(&by_query, "?", "?x=1&")] {
        let rejected = verified(head).expect_err("changed");
        let Rejected::SignatureMismatch(mismatch) = &rejected else { panic!("{rejected:?}") };
        assert!(mismatch.canonical_request.contains("visible"));
        assert!(mismatch.string_to_sign.starts_with("AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/"));
        let details = rejected.details();
        let told =
            |wanted: &str| details.iter().find(|(name, _)| *name == wanted).map(|(_, text)| text.clone());
        for (text, name) in [
            (&mismatch.string_to_sign, "StringToSignBytes"),
            (&mismatch.canonical_request, "CanonicalRequestBytes"),
        ] {
            let bytes = told(name).unwrap();
            let bytes: Vec<u8> = bytes.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
            assert_eq!(bytes, text.as_bytes(), "{name}");
        }
        let said = format!("{rejected} {rejected:?} {details:?}");
        assert!(!said.contains("canary") && !said.contains(SECRET) && !said.contains(right), "{said}");
    }
    // it is the right one: with it, only the token is still wrong
    let result = verified(&authorized(&moved, &provided(&moved), right));
    assert_eq!(result.err(), Some(Rejected::TokenUnexpected));
}

#[test]
fn a_scheme_that_is_not_ours_is_not_repeated() {
    let head = head("GET", "/b/k", &[("host", "h"), ("authorization", "Bearer canary")]);
    let rejected = verified(&head).expect_err("not ours");
    assert_eq!(rejected, Rejected::UnsupportedScheme);
    assert!(!format!("{rejected} {:?}", rejected.details()).contains("canary"));
}

#[test]
fn unjudged_heads_are_still_checked_for_expiry_and_framing() {
    let off = |head: &Head, now: i64| verify_off(head, &rules(), UnixSeconds(NOW.0 + now));
    let forged = authorized(&get(), "Signature=", "Signature=0");
    assert!(off(&forged, 1_000_000).is_ok_and(|found| !found.presigned && found.framing.is_none()));
    let forged = asked(&presigned(), "Signature=", "Signature=0");
    assert!(off(&forged, 0).is_ok_and(|found| found.presigned));
    assert!(matches!(off(&forged, 3_601), Err(Rejected::Expired { .. })));
    assert!(matches!(off(&forged, -901), Err(Rejected::NotValidYet { .. })));
    let v4a = asked(&presigned(), "HMAC-SHA256", "ECDSA-P256-SHA256");
    assert!(off(&v4a, 3_600).is_ok());
    assert!(matches!(off(&v4a, 3_601), Err(Rejected::Expired { .. })));
    let v2 = head("GET", "/b/k?AWSAccessKeyId=A&Signature=c2ln&Expires=1369353600", &[("host", "h")]);
    assert!(off(&v2, 0).is_ok_and(|found| found.presigned));
    assert!(matches!(off(&v2, 1), Err(Rejected::Expired { .. })));
    let junk = with(&get(), "x-amz-content-sha256", "junk");
    assert!(matches!(off(&junk, 0), Err(Rejected::ContentSha256Invalid { .. })));
    let twice = and(&and(&get(), "content-length", "1"), "content-length", "2");
    assert!(matches!(off(&twice, 0), Err(Rejected::RepeatedHeader { name: "content-length" })));
    let chunks = with(&get(), "x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
    assert!(off(&chunks, 0).is_ok_and(|found| found.framing.is_some()));
}

#[test]
fn the_oracle_agrees_on_signed_trailers() {
    let oracle = Oracle { body: SignableBody::StreamingSignedPayloadTrailer, ..Oracle::default() };
    let fields =
        [("host", "h"), ("x-amz-decoded-content-length", "5"), ("x-amz-trailer", "x-amz-checksum-crc32")];
    let result = verified(&oracle.sign(&head("PUT", "/b/k", &fields)));
    let Ok(Verified::Signed(signed)) = result else { panic!("{result:?}") };
    assert_eq!(signed.payload, Payload::SignedChunksTrailer);
    assert!(signed.framing.is_some());
}

#[test]
fn malformed_credentials_say_what_is_wrong() {
    let fault = |head: Head| match verified(&head) {
        Err(Rejected::Malformed { fault, .. }) => fault,
        other => panic!("{other:?}"),
    };
    assert_eq!(fault(authorized(&get(), "Signature=", "Sig=")), Malformed::UnknownPart);
    assert_eq!(fault(authorized(&get(), "/s3/", "/")), Malformed::Credential(Algorithm::Hmac));
    let v4a = authorized(&get(), "HMAC-SHA256", "ECDSA-P256-SHA256");
    assert_eq!(fault(v4a.clone()), Malformed::Missing("X-Amz-Region-Set"));
    assert_eq!(fault(asked(&presigned(), "X-Amz-Expires=3600&", "")), Malformed::Missing("X-Amz-Expires"));
}
