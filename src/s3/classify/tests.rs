use proptest::prelude::*;

use super::*;
use crate::s3::call::Style;

fn head(method: &str, target: &str, fields: &[(&str, &str)]) -> Head {
    let mut head = Head::new(Method::from_bytes(method.as_bytes()).unwrap(), target);
    head.push("host", b"h:9000");
    for (name, value) in fields {
        head.push(name, value.as_bytes());
    }
    head
}

fn call(method: &str, target: &str, fields: &[(&str, &str)]) -> Call {
    classify(&head(method, target, fields), &Domains::default()).unwrap()
}

fn refused(method: &str, target: &str, fields: &[(&str, &str)]) -> Code {
    classify(&head(method, target, fields), &Domains::default()).unwrap_err().code
}

/// A request that is the operation and nothing else; `None` for what is never carried out or is an
/// older name of another row.
fn example(operation: Operation) -> Option<Head> {
    use Operation as O;
    let hidden = matches!(
        operation,
        O::GetBucketLifecycle | O::PutBucketLifecycle | O::GetBucketNotification | O::PutBucketNotification
    );
    if operation.is_foreign() || hidden {
        return None;
    }
    let rule = operation.facts().rule;
    let path = match rule.level {
        Level::Service => "/",
        Level::Bucket => "/photos",
        Level::Object => "/photos/k",
    };
    let query = match (operation, rule.selector) {
        (_, "list-type") => "?list-type=2".into(),
        (O::UploadPart | O::UploadPartCopy, _) => "?partNumber=7&uploadId=u".into(),
        (_, "uploadId") => "?uploadId=u".into(),
        (_, "select") => "?select&select-type=2".into(),
        (O::GetObjectAnnotation, _) => "?annotation&annotationName=a".into(),
        (
            O::GetBucketAnalyticsConfiguration
            | O::GetBucketInventoryConfiguration
            | O::GetBucketMetricsConfiguration
            | O::GetBucketIntelligentTieringConfiguration,
            selector,
        ) => format!("?{selector}&id=i"),
        (_, "") => String::new(),
        (_, selector) => format!("?{selector}="),
    };
    let mut head = head(rule.method, &format!("{path}{query}&x-id={operation:?}"), &[]);
    if query.is_empty() {
        head.set_target(path, None);
    }
    match operation {
        O::CopyObject | O::UploadPartCopy => head.push("x-amz-copy-source", b"photos/src"),
        O::PostObject => head.push("content-type", b"Multipart/Form-Data; boundary=x"),
        O::Preflight => {
            head.push("origin", b"https://a");
            head.push("access-control-request-method", b"PUT");
        }
        _ => {}
    }
    Some(head)
}

#[test]
fn every_operation_is_recognised() {
    let mut seen = 0;
    for operation in Operation::ALL {
        let Some(head) = example(*operation) else { continue };
        let call = classify(&head, &Domains::default()).unwrap();
        assert_eq!(call.operation, *operation, "{}", head.target());
        seen += 1;
    }
    assert_eq!(seen, 118 - 4 - 4);
}

#[test]
fn foreign_operations_are_never_carried_out() {
    assert_eq!(refused("GET", "/photos?session", &[]), Code::NotImplemented);
    assert_eq!(refused("PUT", "/photos/k?renameObject", &[]), Code::NotImplemented);
    assert_eq!(refused("POST", "/", &[]), Code::NotImplemented);
}

#[test]
fn bare_and_empty_sub_resources_are_the_same() {
    for target in
        ["/photos?acl", "/photos?acl=", "/photos/?acl=x", "/photos?%61cl", "/photos?x-id=GetBucketAcl&acl"]
    {
        assert_eq!(call("GET", target, &[]).operation, Operation::GetBucketAcl, "{target}");
    }
    assert_eq!(call("GET", "/photos?ACL", &[]).operation, Operation::ListObjects);
}

#[test]
fn the_target_is_taken_apart() {
    let own = call("GET", "/photos//a%20b/../c?versionId=v%2F1", &[]);
    let expected =
        Target::Object { bucket: "photos".into(), raw_key: "/a%20b/../c".into(), key: b"/a b/../c".to_vec() };
    assert_eq!((own.target, own.style), (expected, Style::Path));
    assert_eq!(own.version_id.as_deref(), Some("v/1"));

    let mut head = Head::new(Method::GET, "/k?uploadId=a%2Bb+c");
    head.push("host", b"photos.dom.ain");
    let own = classify(&head, &Domains::new(vec!["dom.ain".into()])).unwrap();
    assert_eq!((own.style, own.bucket()), (Style::Virtual, Some("photos")));
    assert_eq!(own.upload_id.as_deref(), Some("a+b c"));
    assert_eq!(own.operation, Operation::ListParts);
}

#[test]
fn part_numbers_are_1_to_10000() {
    for good in ["1", "10000", "007"] {
        let own = call("PUT", &format!("/photos/k?uploadId=u&partNumber={good}"), &[]);
        assert_eq!(own.part_number, good.parse().ok());
    }
    for bad in ["0", "10001", "-1", "+1", "", "x", "99999999999999999999", "1.0", "%31%30%30%30%31"] {
        let target = format!("/photos/k?partNumber={bad}");
        assert_eq!(refused("GET", &target, &[]), Code::InvalidArgument, "{bad}");
        assert_eq!(refused("PUT", &format!("{target}&uploadId=u"), &[]), Code::InvalidArgument, "{bad}");
    }
    assert_eq!(refused("PUT", "/photos/k?uploadId=u", &[]), Code::InvalidArgument);
    assert_eq!(refused("PUT", "/photos/k?partNumber=1", &[]), Code::InvalidArgument);
    assert_eq!(call("HEAD", "/photos/k?partNumber=3", &[]).part_number, Some(3));
}

#[test]
fn two_readings_are_refused() {
    assert_eq!(refused("GET", "/photos/k?acl&tagging", &[]), Code::InvalidArgument);
    // a store might write over that version
    for query in ["versionId=v", "uploads&versionId=v", "partNumber=1&uploadId=u&versionId=v"] {
        let method = if query.starts_with("uploads") { "POST" } else { "PUT" };
        assert_eq!(refused(method, &format!("/photos/k?{query}"), &[]), Code::InvalidArgument, "{query}");
    }
    assert_eq!(refused("GET", "/photos?list-type=2&versions", &[]), Code::InvalidArgument);
    assert_eq!(refused("DELETE", "/photos/k?uploadId=a&uploadId=b", &[]), Code::InvalidArgument);
    assert_eq!(refused("GET", "/photos/k?versionId=a&version%49d=b", &[]), Code::InvalidArgument);
    assert_eq!(refused("GET", "/photos?list-type=1", &[]), Code::InvalidArgument);
    assert_eq!(refused("GET", "/photos/k?versionId=", &[]), Code::InvalidArgument);
    assert_eq!(call("GET", "/photos/k?acl&acl", &[]).operation, Operation::GetObjectAcl);
}

#[test]
fn a_sub_resource_we_do_not_know_never_becomes_a_plain_write() {
    for (method, target) in
        [("PUT", "/photos/k?newthing"), ("POST", "/photos?delete&append="), ("DELETE", "/photos/k?newthing=")]
    {
        assert_eq!(refused(method, target, &[]), Code::NotImplemented, "{method} {target}");
    }
    assert_eq!(call("GET", "/photos/k?1699999999", &[]).operation, Operation::GetObject);
    assert_eq!(call("PUT", "/photos/k?x-id=PutObject", &[]).operation, Operation::PutObject);
    assert_eq!(refused("DELETE", "/photos/k?acl", &[]), Code::MethodNotAllowed);
    assert_eq!(refused("HEAD", "/photos?policy", &[]), Code::MethodNotAllowed);
    assert_eq!(refused("POST", "/photos/k", &[]), Code::MethodNotAllowed);
    assert_eq!(refused("PUT", "/photos/k?policy", &[]), Code::InvalidArgument);
    assert_eq!(refused("DELETE", "/photos?uploadId=x", &[]), Code::InvalidArgument);
    assert_eq!(refused("DELETE", "/", &[]), Code::MethodNotAllowed);
}

#[test]
fn forms_and_preflights_need_their_headers() {
    assert_eq!(refused("POST", "/photos", &[]), Code::RequestIsNotMultiPartContent);
    assert_eq!(
        refused("POST", "/photos", &[("content-type", "text/xml")]),
        Code::RequestIsNotMultiPartContent
    );
    assert_eq!(refused("OPTIONS", "/photos/k", &[("origin", "https://a")]), Code::BadRequest);
}

#[test]
fn names_and_keys_are_judged() {
    assert_eq!(refused("GET", "/photos/%zz", &[]), Code::InvalidURI);
    assert_eq!(refused("GET", "/photos/%ff", &[]), Code::InvalidURI);
    assert_eq!(refused("GET", "/photos?prefix=a&%zz=1", &[]), Code::InvalidURI);
    assert_eq!(refused("GET", "/Photos/k", &[]), Code::InvalidBucketName);
    assert_eq!(refused("PUT", &format!("/photos/{}", "k".repeat(1025)), &[]), Code::KeyTooLongError);
    assert_eq!(call("PUT", &format!("/photos/{}", "k".repeat(1024)), &[]).key().len(), 1024);
}

#[test]
fn copy_sources_are_parsed() {
    let copied = |text| {
        let source = call("PUT", "/photos/k", &[("x-amz-copy-source", text)]).copy_source.unwrap();
        (source.bucket, String::from_utf8(source.key).unwrap(), source.version_id)
    };
    let plain = |bucket: &str, key: &str| (bucket.to_owned(), key.to_owned(), None);
    assert_eq!(copied("bkt/a%20b/%C3%BC%2B%3F%26%3D%25"), plain("bkt", "a b/\u{fc}+?&=%"));
    assert_eq!(copied("/bkt/a+b/../c"), plain("bkt", "a+b/../c"));
    assert_eq!(copied("bkt%2Fk"), plain("bkt", "k"));
    assert_eq!(copied("bkt//k"), plain("bkt", "/k"));
    assert_eq!(copied("bkt/a%252Fb"), plain("bkt", "a%2Fb"));
    assert_eq!(copied("bkt/k?versionId=v%201").2.as_deref(), Some("v 1"));
    let arn = "arn%3Aaws%3As3%3Aeu-west-1%3A111122223333%3Aaccesspoint/myap/object/a%20b/c";
    assert_eq!(copied(arn), plain("myap", "a b/c"));
    assert_eq!(copied("arn:aws:s3::111122223333:accesspoint/x1y2.mrap/object/k"), plain("x1y2.mrap", "k"));
}

#[test]
fn bad_copy_sources_are_refused() {
    for bad in [
        "",
        "/",
        "bkt",
        "bkt/",
        "/bkt/",
        "http://store/bkt/k",
        "https://a.b/c",
        "Bkt/k",
        "bkt/%zz",
        "bkt/%ff",
        "bkt/k?versionId=",
        "bkt/k?versionId=%zz",
        "arn:aws:s3:::bkt/k",
        "arn:aws:s3:r:1:accesspoint/ap/k",
        "arn:aws:s3-outposts:r:1:outpost/o/object/k",
    ] {
        for target in ["/photos/k", "/photos/k?partNumber=1&uploadId=u"] {
            assert_eq!(refused("PUT", target, &[("x-amz-copy-source", bad)]), Code::InvalidArgument, "{bad}");
        }
    }
    let two = [("x-amz-copy-source", "bkt/k"), ("x-amz-copy-source", "bkt/l")];
    assert_eq!(refused("PUT", "/photos/k", &two), Code::InvalidArgument);
}

#[test]
fn a_hoisted_copy_source_is_a_copy() {
    let own = call("PUT", "/photos/k?X-Amz-Signature=s&x-amz-copy-source=bkt%2Fk", &[]);
    assert_eq!(own.operation, Operation::CopyObject);
    assert_eq!(own.copy_source.unwrap().bucket, "bkt");
    let own = call("PUT", "/photos/k?x-amz-copy-source=bkt%2Fk", &[]);
    assert_eq!(
        own.operation,
        Operation::PutObject,
        "not presigned: the parameter means nothing, and is not sent on"
    );
}

#[test]
fn what_a_request_depends_on_shows_in_its_headers() {
    use Feature as F;
    let depends = |fields: &[(&str, &str)]| call("PUT", "/photos/k", fields).depends_on;
    for (name, value, feature) in [
        ("x-amz-server-side-encryption", "AES256", F::Sse),
        ("x-amz-server-side-encryption", "aws:kms", F::SseKms),
        ("x-amz-server-side-encryption", "aws:kms:dsse", F::SseKms),
        ("x-amz-server-side-encryption-aws-kms-key-id", "k", F::SseKms),
        ("x-amz-server-side-encryption-customer-key", "k", F::SseC),
        ("x-amz-object-lock-mode", "GOVERNANCE", F::ObjectLock),
        ("x-amz-acl", "public-read", F::Acl),
        ("x-amz-grant-read", "id=1", F::Acl),
        ("x-amz-tagging", "a=b", F::Tagging),
        ("if-none-match", "*", F::ConditionalWrites),
        ("if-match", "\"a\"", F::ConditionalWrites),
    ] {
        assert_eq!(depends(&[(name, value)]), Features::of(&[feature]), "{name}: {value}");
        if name.starts_with("x-amz-") {
            let hoisted = format!("/photos/k?X-Amz-Signature=s&{name}={}", crate::s3::query::encode(value));
            assert_eq!(call("PUT", &hoisted, &[]).depends_on, Features::of(&[feature]), "{name} hoisted");
        }
    }
    for (name, value) in [
        ("x-amz-acl", "private"),
        ("x-amz-acl", "bucket-owner-full-control"),
        ("x-amz-acl", ""),
        ("x-amz-storage-class", "STANDARD"),
        ("x-amz-tagging", ""),
        ("x-amz-server-side-encryption-bucket-key-enabled", "false"),
        ("x-amz-meta-acl", "public-read"),
    ] {
        assert!(depends(&[(name, value)]).is_empty(), "{name}: {value}");
    }
    let copy_key = "x-amz-copy-source-server-side-encryption-customer-key";
    let copy = call("PUT", "/photos/k", &[("x-amz-copy-source", "bkt/k?versionId=v"), (copy_key, "k")]);
    assert_eq!(copy.depends_on, Features::of(&[F::SseC, F::Versioning]));
}

#[test]
fn what_a_request_depends_on_shows_in_its_operation() {
    use Feature as F;
    for (method, target, feature) in [
        ("PUT", "/photos/k?acl", F::Acl),
        ("PUT", "/photos?acl", F::Acl),
        ("GET", "/photos/k?tagging", F::Tagging),
        ("DELETE", "/photos?tagging", F::Tagging),
        ("GET", "/photos/k?retention", F::ObjectLock),
        ("PUT", "/photos/k?legal-hold", F::ObjectLock),
        ("GET", "/photos?versions", F::Versioning),
        ("GET", "/photos/k?versionId=v", F::Versioning),
        ("GET", "/photos/k?attributes", F::Attributes),
        ("PUT", "/photos/k?encryption", F::SseKms),
    ] {
        assert_eq!(call(method, target, &[]).depends_on, Features::of(&[feature]), "{method} {target}");
    }
    for (method, target) in [
        ("GET", "/photos/k?acl"),
        ("GET", "/photos/k?versionId=null"),
        ("DELETE", "/photos/k"),
        ("GET", "/photos"),
    ] {
        assert!(call(method, target, &[]).depends_on.is_empty(), "{method} {target}");
    }
}

#[test]
fn conditions_of_writes_are_seen() {
    let read = call("GET", "/photos/k", &[("if-match", "\"a\""), ("range", "bytes=0-1")]);
    assert!(!read.conditional_write && read.depends_on.is_empty());
    assert!(call("DELETE", "/photos/k", &[("x-amz-if-match-size", "1")]).conditional_write);
    assert!(!call("GET", "/photos/k", &[("if-none-match", "\"a\"")]).conditional_write);
}

#[test]
fn headers_ask_for_further_actions() {
    let fields = [
        ("x-amz-acl", "public-read"),
        ("x-amz-grant-read", "id=1"),
        ("x-amz-tagging", "a=b"),
        ("x-amz-object-lock-legal-hold", "ON"),
        ("x-amz-object-lock-mode", "GOVERNANCE"),
    ];
    let expected =
        ["s3:PutObjectAcl", "s3:PutObjectTagging", "s3:PutObjectLegalHold", "s3:PutObjectRetention"];
    assert_eq!(call("PUT", "/photos/k", &fields).also[..], expected);
    assert_eq!(call("POST", "/photos/k?uploads", &fields).also[..], expected);
    assert!(call("PUT", "/photos/k", &[("x-amz-acl", "private")]).also.is_empty());
    // some stores undo percent-encoding before they read it
    for bypass in ["true", "TRUE", "%74rue", "1", ""] {
        let delete = call("DELETE", "/photos/k", &[("x-amz-bypass-governance-retention", bypass)]);
        assert_eq!(delete.also[..], ["s3:BypassGovernanceRetention"], "{bypass}");
    }
    assert!(call("DELETE", "/photos/k", &[("x-amz-bypass-governance-retention", "false")]).also.is_empty());
    assert_eq!(call("GET", "/photos/k?attributes&versionId=v", &[]).also[..], ["s3:GetObjectVersion"]);
    assert_eq!(call("GET", "/photos/k?versionId=v", &[]).action(), "s3:GetObjectVersion");
    assert_eq!(call("GET", "/photos/k", &[]).action(), "s3:GetObject");
}

#[test]
fn framing_is_read_and_not_judged() {
    let fields =
        [("content-length", "70"), ("x-amz-decoded-content-length", "3"), ("transfer-encoding", "chunked")];
    let framing = call("PUT", "/photos/k", &fields).framing;
    let expected = Framing { content_length: Some(70), chunked: true, decoded_length: Some(3) };
    assert_eq!(framing, expected);
    for bad in ["-1", "+1", "x", "99999999999999999999"] {
        assert_eq!(
            refused("PUT", "/photos/k", &[("x-amz-decoded-content-length", bad)]),
            Code::InvalidArgument
        );
    }
}

#[test]
fn overrides_of_replies_are_seen() {
    assert!(overrides_reply(&head("GET", "/photos/k?response-content-type=text%2Fhtml", &[])));
    assert!(overrides_reply(&head("GET", "/photos/k?response%2Dexpires=1", &[])));
    assert!(!overrides_reply(&head("GET", "/photos/k?prefix=response-expires", &[])));
}

proptest! {
    #[test]
    fn any_head_is_classified_or_refused(
        method in "[A-Z]{1,7}",
        target in "/?.{0,40}",
        host in ".{0,20}",
        fields in prop::collection::vec((
            "(x-amz-(copy-source|acl|tagging|decoded-content-length|meta-a)|range|if-match|content-length|expect|[a-z-]{1,10})",
            prop::collection::vec(any::<u8>(), 0..30),
        ), 0..6),
    ) {
        let mut head = Head::new(Method::from_bytes(method.as_bytes()).unwrap(), &target);
        head.push("host", host.as_bytes());
        for (name, value) in &fields {
            head.push(name, value);
        }
        drop(classify(&head, &Domains::new(vec!["a.b".into(), host.clone()])));
    }

    #[test]
    fn the_raw_key_is_the_targets_tail(key in "[a-zA-Z0-9/._~+!*'()-]{1,30}") {
        let own = call("GET", &format!("/photos/{key}"), &[]);
        prop_assert_eq!(own.key(), key.as_bytes());
        let tail = matches!(&own.target, Target::Object { raw_key, .. } if *raw_key == key);
        prop_assert!(tail);
    }
}
