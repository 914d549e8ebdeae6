//! Grants against calls as `classify` makes them.

use std::sync::Arc;

use http::Method;
use proptest::prelude::*;

use super::*;
use crate::head::Head;
use crate::policy::{Grant, Policy};
use crate::s3::address::Domains;
use crate::s3::classify::classify;
use crate::s3::operation::Level;

fn call(method: &str, target: &str, fields: &[(&str, &str)]) -> Call {
    let mut head = Head::new(Method::from_bytes(method.as_bytes()).unwrap(), target);
    head.push("host", b"localhost");
    for (name, value) in fields {
        head.push(name, value.as_bytes());
    }
    classify(&head, &Domains::default()).unwrap()
}

fn point(name: &str) -> AccessPointName {
    AccessPointName::new(name)
}

fn policy(statements: &[(&str, &str, &str)]) -> Grant {
    let statements: Vec<_> = statements
        .iter()
        .map(|(effect, action, resource)| {
            serde_json::json!({"Effect": effect, "Action": action, "Resource": resource})
        })
        .collect();
    let text = serde_json::json!({ "Statement": statements }).to_string();
    Grant::Policy(Arc::new(Policy::parse(&text).unwrap()))
}

/// Whether `grant` covers the request on the access point of its own bucket's name.
fn granted(grant: &Grant, method: &str, target: &str, fields: &[(&str, &str)]) -> bool {
    let call = call(method, target, fields);
    let own = call.bucket().map(point);
    let source = call.copy_source.as_ref().map(|source| point(&source.bucket));
    decide(grant, &call, Named { target: own.as_ref(), copy_source: source.as_ref() }) == Ok(Granted::Whole)
}

/// The actions of requests, written down from the service authorisation reference and not from our table.
const ACTIONS: &[(&str, &str, &str)] = &[
    ("GET", "/data/k", "GetObject"),
    ("GET", "/data/k?versionId=v", "GetObjectVersion"),
    ("HEAD", "/data/k", "GetObject"),
    ("HEAD", "/data/k?versionId=v", "GetObjectVersion"),
    ("PUT", "/data/k", "PutObject"),
    ("DELETE", "/data/k", "DeleteObject"),
    ("DELETE", "/data/k?versionId=v", "DeleteObjectVersion"),
    ("POST", "/data/k?uploads", "PutObject"),
    ("PUT", "/data/k?partNumber=1&uploadId=u", "PutObject"),
    ("POST", "/data/k?uploadId=u", "PutObject"),
    ("DELETE", "/data/k?uploadId=u", "AbortMultipartUpload"),
    ("GET", "/data/k?uploadId=u", "ListMultipartUploadParts"),
    ("GET", "/data?uploads", "ListBucketMultipartUploads"),
    ("GET", "/data/k?acl", "GetObjectAcl"),
    ("GET", "/data/k?acl&versionId=v", "GetObjectVersionAcl"),
    ("PUT", "/data/k?acl", "PutObjectAcl"),
    ("PUT", "/data/k?acl&versionId=v", "PutObjectVersionAcl"),
    ("GET", "/data/k?tagging", "GetObjectTagging"),
    ("GET", "/data/k?tagging&versionId=v", "GetObjectVersionTagging"),
    ("PUT", "/data/k?tagging", "PutObjectTagging"),
    ("PUT", "/data/k?tagging&versionId=v", "PutObjectVersionTagging"),
    ("DELETE", "/data/k?tagging", "DeleteObjectTagging"),
    ("DELETE", "/data/k?tagging&versionId=v", "DeleteObjectVersionTagging"),
    ("GET", "/data/k?retention", "GetObjectRetention"),
    ("PUT", "/data/k?retention", "PutObjectRetention"),
    ("GET", "/data/k?legal-hold", "GetObjectLegalHold"),
    ("PUT", "/data/k?legal-hold", "PutObjectLegalHold"),
    ("GET", "/data/k?annotation", "ListObjectAnnotations"),
    ("GET", "/data/k?annotation&id=x", "ListObjectAnnotations"),
    ("GET", "/data/k?annotation&annotationName=x", "GetObjectAnnotation"),
    ("GET", "/data/k?torrent", "GetObjectTorrent"),
    ("POST", "/data/k?restore", "RestoreObject"),
    ("POST", "/data/k?select&select-type=2", "GetObject"),
    ("GET", "/data?list-type=2", "ListBucket"),
    ("GET", "/data", "ListBucket"),
    ("HEAD", "/data", "ListBucket"),
    ("GET", "/data?versions", "ListBucketVersions"),
    ("GET", "/data?location", "GetBucketLocation"),
    ("PUT", "/data", "CreateBucket"),
    ("DELETE", "/data", "DeleteBucket"),
    ("GET", "/data?accelerate", "GetAccelerateConfiguration"),
    ("PUT", "/data?accelerate", "PutAccelerateConfiguration"),
    ("GET", "/data?acl", "GetBucketAcl"),
    ("PUT", "/data?acl", "PutBucketAcl"),
    ("GET", "/data?cors", "GetBucketCORS"),
    ("PUT", "/data?cors", "PutBucketCORS"),
    ("DELETE", "/data?cors", "PutBucketCORS"),
    ("GET", "/data?encryption", "GetEncryptionConfiguration"),
    ("PUT", "/data?encryption", "PutEncryptionConfiguration"),
    ("DELETE", "/data?encryption", "PutEncryptionConfiguration"),
    ("GET", "/data?analytics&id=x", "GetAnalyticsConfiguration"),
    ("PUT", "/data?analytics&id=x", "PutAnalyticsConfiguration"),
    ("DELETE", "/data?analytics&id=x", "PutAnalyticsConfiguration"),
    ("GET", "/data?inventory", "GetInventoryConfiguration"),
    ("PUT", "/data?inventory&id=x", "PutInventoryConfiguration"),
    ("GET", "/data?metrics", "GetMetricsConfiguration"),
    ("DELETE", "/data?metrics&id=x", "PutMetricsConfiguration"),
    ("GET", "/data?intelligent-tiering", "GetIntelligentTieringConfiguration"),
    ("PUT", "/data?intelligent-tiering&id=x", "PutIntelligentTieringConfiguration"),
    ("GET", "/data?lifecycle", "GetLifecycleConfiguration"),
    ("PUT", "/data?lifecycle", "PutLifecycleConfiguration"),
    ("DELETE", "/data?lifecycle", "PutLifecycleConfiguration"),
    ("GET", "/data?logging", "GetBucketLogging"),
    ("PUT", "/data?logging", "PutBucketLogging"),
    ("GET", "/data?notification", "GetBucketNotification"),
    ("PUT", "/data?notification", "PutBucketNotification"),
    ("GET", "/data?object-lock", "GetBucketObjectLockConfiguration"),
    ("PUT", "/data?object-lock", "PutBucketObjectLockConfiguration"),
    ("GET", "/data?ownershipControls", "GetBucketOwnershipControls"),
    ("PUT", "/data?ownershipControls", "PutBucketOwnershipControls"),
    ("DELETE", "/data?ownershipControls", "PutBucketOwnershipControls"),
    ("GET", "/data?policy", "GetBucketPolicy"),
    ("PUT", "/data?policy", "PutBucketPolicy"),
    ("DELETE", "/data?policy", "DeleteBucketPolicy"),
    ("GET", "/data?policyStatus", "GetBucketPolicyStatus"),
    ("GET", "/data?publicAccessBlock", "GetBucketPublicAccessBlock"),
    ("PUT", "/data?publicAccessBlock", "PutBucketPublicAccessBlock"),
    ("DELETE", "/data?publicAccessBlock", "PutBucketPublicAccessBlock"),
    ("GET", "/data?replication", "GetReplicationConfiguration"),
    ("PUT", "/data?replication", "PutReplicationConfiguration"),
    ("DELETE", "/data?replication", "PutReplicationConfiguration"),
    ("GET", "/data?requestPayment", "GetBucketRequestPayment"),
    ("PUT", "/data?requestPayment", "PutBucketRequestPayment"),
    ("GET", "/data?tagging", "GetBucketTagging"),
    ("PUT", "/data?tagging", "PutBucketTagging"),
    ("DELETE", "/data?tagging", "PutBucketTagging"),
    ("GET", "/data?versioning", "GetBucketVersioning"),
    ("PUT", "/data?versioning", "PutBucketVersioning"),
    ("GET", "/data?website", "GetBucketWebsite"),
    ("PUT", "/data?website", "PutBucketWebsite"),
    ("DELETE", "/data?website", "DeleteBucketWebsite"),
];

#[test]
fn each_request_needs_its_action_and_no_other() {
    for (method, target, action) in ACTIONS {
        let action = format!("s3:{action}");
        let only = policy(&[("Allow", &action, "*")]);
        let all_but = policy(&[("Allow", "s3:*", "*"), ("Deny", &action, "*")]);
        assert!(granted(&only, method, target, &[]), "{method} {target} by {action}");
        assert!(!granted(&all_but, method, target, &[]), "{method} {target} without {action}");
    }
}

#[test]
fn a_policy_grants_what_it_names_and_nothing_else() {
    let grant = policy(&[
        ("Allow", "s3:Get*", "arn:aws:s3:::data/*"),
        ("Allow", "s3:ListBucket", "arn:aws:s3:::data"),
        ("Allow", "s3:PutObject", "arn:aws:s3:::data/in/*"),
        ("Deny", "s3:*", "arn:aws:s3:::data/in/secret*"),
    ]);
    for (method, target, expected) in [
        ("GET", "/data/a", true),
        ("HEAD", "/data/a", true),
        ("GET", "/data/a?versionId=v", true),
        ("GET", "/data/a?acl", true),
        ("GET", "/data/in/secret", false),
        ("GET", "/data/%69n/secret", false), // the same key, encoded
        ("GET", "/data-private/a", false),
        ("GET", "/data?list-type=2", true),
        ("GET", "/data", true),
        ("HEAD", "/data", true),
        ("GET", "/data?location", false), // s3:Get*, but on keys only
        ("GET", "/data?versions", false),
        ("PUT", "/data/in/a", true),
        ("PUT", "/data/out/a", false),
        ("POST", "/data/in/a?uploads", true),
        ("DELETE", "/data/in/a", false),
        ("DELETE", "/data", false),
        ("PUT", "/data?policy", false),
        ("GET", "/", false),
    ] {
        assert_eq!(granted(&grant, method, target, &[]), expected, "{method} {target}");
    }
}

#[test]
fn versions_are_actions_of_their_own() {
    let plain = policy(&[("Allow", "s3:GetObject", "*"), ("Allow", "s3:DeleteObject", "*")]);
    let versioned =
        policy(&[("Allow", "s3:GetObjectVersion", "*"), ("Allow", "s3:DeleteObjectVersion", "*")]);
    for method in ["GET", "DELETE"] {
        assert!(granted(&plain, method, "/b-1/k", &[]));
        assert!(!granted(&plain, method, "/b-1/k?versionId=v", &[]));
        assert!(!granted(&plain, method, "/b-1/k?versionId=null", &[]));
        assert!(granted(&versioned, method, "/b-1/k?versionId=v", &[]));
        assert!(!granted(&versioned, method, "/b-1/k", &[]));
    }
}

#[test]
fn headers_need_actions_of_their_own() {
    let put = policy(&[("Allow", "s3:PutObject", "*")]);
    for (name, value, action) in [
        ("x-amz-acl", "public-read", "s3:PutObjectAcl"),
        ("x-amz-tagging", "a=b", "s3:PutObjectTagging"),
        ("x-amz-object-lock-mode", "GOVERNANCE", "s3:PutObjectRetention"),
        ("x-amz-object-lock-legal-hold", "ON", "s3:PutObjectLegalHold"),
    ] {
        let both = policy(&[("Allow", "s3:PutObject", "*"), ("Allow", action, "*")]);
        assert!(!granted(&put, "PUT", "/b-1/k", &[(name, value)]), "{name}");
        assert!(granted(&both, "PUT", "/b-1/k", &[(name, value)]), "{name}");
    }
    assert!(granted(&put, "PUT", "/b-1/k", &[("x-amz-acl", "private")]));
    let create = policy(&[("Allow", "s3:CreateBucket", "*")]);
    assert!(granted(&create, "PUT", "/b-1", &[]));
    for (name, value, actions) in [
        ("x-amz-acl", "public-read", &["s3:PutBucketAcl"][..]),
        ("x-amz-object-ownership", "BucketOwnerEnforced", &["s3:PutBucketOwnershipControls"]),
        (
            "x-amz-bucket-object-lock-enabled",
            "true",
            &["s3:PutBucketObjectLockConfiguration", "s3:PutBucketVersioning"],
        ),
    ] {
        assert!(!granted(&create, "PUT", "/b-1", &[(name, value)]), "{name}");
        let statements: Vec<_> =
            actions.iter().chain(&["s3:CreateBucket"]).map(|action| ("Allow", *action, "*")).collect();
        assert!(granted(&policy(&statements), "PUT", "/b-1", &[(name, value)]), "{name}");
        assert!(!granted(&policy(&statements[1..]), "PUT", "/b-1", &[(name, value)]), "{name}");
    }
    let attributes = policy(&[("Allow", "s3:GetObjectAttributes", "*")]);
    assert!(!granted(&attributes, "GET", "/b-1/k?attributes", &[("x-amz-object-attributes", "ETag")]));
}

#[test]
fn a_copy_reads_its_source() {
    let source = ("x-amz-copy-source", "/secret/k");
    let old = ("x-amz-copy-source", "/secret/k?versionId=v");
    let open = policy(&[("Allow", "s3:*", "arn:aws:s3:::open/*")]);
    assert!(!granted(&open, "PUT", "/open/k", &[source]));
    assert!(granted(&open, "PUT", "/open/k", &[("x-amz-copy-source", "open/other")]));
    let reads = policy(&[
        ("Allow", "s3:*", "arn:aws:s3:::open/*"),
        ("Allow", "s3:GetObject", "arn:aws:s3:::secret/*"),
    ]);
    assert!(granted(&reads, "PUT", "/open/k", &[source]));
    assert!(!granted(&reads, "PUT", "/open/k", &[old]));
    assert!(!granted(&reads, "PUT", "/open/k?partNumber=1&uploadId=u", &[old]));
}

#[test]
fn names_reach_policies_resolved_or_not_at_all() {
    let grant = policy(&[("Allow", "*", "*"), ("Deny", "s3:*", "arn:aws:s3:::secret/*")]);
    let read = call("GET", "/alias.mrap/k", &[]);
    let named = |target: Option<&AccessPointName>, copy_source: Option<&AccessPointName>, call: &Call| {
        decide(&grant, call, Named { target, copy_source })
    };
    let (secret, open, wildcard) = (point("secret"), point("open"), point("*"));
    let denied = named(Some(&secret), None, &read).unwrap_err();
    assert_eq!(denied.to_string(), "s3:GetObject on arn:aws:s3:::secret/k is not granted");
    assert_eq!(named(Some(&open), None, &read), Ok(Granted::Whole));
    assert!(named(None, None, &read).is_err(), "a name that no access point takes");

    let copy = call("PUT", "/open/k", &[("x-amz-copy-source", "alias.mrap/k")]);
    assert!(named(Some(&open), Some(&secret), &copy).is_err());
    assert!(named(Some(&open), None, &copy).is_err());
    assert_eq!(named(Some(&open), Some(&open), &copy), Ok(Granted::Whole));

    let any = call("GET", "/secret/k", &[]);
    assert!(named(Some(&wildcard), None, &any).is_err(), "under the wildcard the client's own name counts");
}

#[test]
fn keys_in_bodies_are_judged_one_by_one() {
    let grant = policy(&[("Allow", "s3:DeleteObject", "arn:aws:s3:::data/tmp/*")]);
    let request = call("POST", "/data?delete", &[]);
    let data = point("data");
    let named = Named { target: Some(&data), copy_source: None };
    assert_eq!(decide(&grant, &request, named), Ok(Granted::PerKey));
    assert_eq!(decide_key(&grant, &request, "s3:DeleteObject", &data, b"tmp/a"), Ok(()));
    assert!(decide_key(&grant, &request, "s3:DeleteObject", &data, b"a").is_err());
    assert!(decide_key(&grant, &request, "s3:DeleteObjectVersion", &data, b"tmp/a").is_err());
    let bypass = call("POST", "/data?delete", &[("x-amz-bypass-governance-retention", "true")]);
    assert!(decide_key(&grant, &bypass, "s3:DeleteObject", &data, b"tmp/a").is_err());

    assert!(decide(&Grant::AnonymousReads, &request, Named::default()).is_err());
    assert!(decide_key(&Grant::AnonymousReads, &request, "s3:DeleteObject", &data, b"a").is_err());
    assert_eq!(decide_key(&Grant::NamedObjects, &request, "s3:DeleteObject", &data, b"a"), Ok(()));
}

#[test]
fn fixed_grants_end_where_their_names_say() {
    let rows: &[(&str, &str, &str, [bool; 4])] = &[
        // method, target, access point, [NamedObjects, StoreJudges, AnonymousReads, Everything]
        ("GET", "/photos/k", "photos", [true, true, true, true]),
        ("GET", "/other/k", "*", [false, true, false, false]),
        ("GET", "/photos?list-type=2", "photos", [true, true, true, true]),
        ("GET", "/photos", "photos", [true, true, true, true]),
        ("GET", "/photos/k?versionId=v", "photos", [true, true, false, true]),
        ("GET", "/photos?versions", "photos", [true, true, false, true]),
        ("GET", "/photos/k?acl", "photos", [true, true, false, true]),
        ("POST", "/photos/k?select&select-type=2", "photos", [true, true, false, true]),
        ("PUT", "/photos/k", "photos", [true, true, false, true]),
        ("HEAD", "/photos", "photos", [true, true, false, true]),
        ("PUT", "/photos", "photos", [true, true, false, true]),
        ("DELETE", "/photos", "photos", [false, true, false, true]),
        ("GET", "/photos?policy", "photos", [false, true, false, true]),
        ("PUT", "/photos?policy", "photos", [false, true, false, true]),
        ("PUT", "/other", "*", [false, true, false, false]),
    ];
    let grants = [Grant::NamedObjects, Grant::StoreJudges, Grant::AnonymousReads, Grant::Everything];
    for (method, target, name, expected) in rows {
        let (request, name) = (call(method, target, &[]), point(name));
        for (grant, expected) in grants.iter().zip(expected) {
            let decided = decide(grant, &request, Named { target: Some(&name), copy_source: None });
            assert_eq!(decided.is_ok(), *expected, "{grant:?} {method} {target}: {decided:?}");
        }
    }
    let buckets = call("GET", "/", &[]);
    let listed = grants.map(|grant| decide(&grant, &buckets, Named::default()).is_ok());
    assert_eq!(listed, [true, false, false, true]);
    let bypass = call("DELETE", "/photos/k", &[("x-amz-bypass-governance-retention", "true")]);
    let photos = point("photos");
    assert!(
        decide(&Grant::NamedObjects, &bypass, Named { target: Some(&photos), copy_source: None }).is_err()
    );
}

#[test]
fn a_preflight_is_never_judged() {
    let nothing = Grant::Policy(Arc::new(Policy::default()));
    let preflight =
        call("OPTIONS", "/photos/k", &[("origin", "https://a"), ("access-control-request-method", "PUT")]);
    assert_eq!(decide(&nothing, &preflight, Named::default()), Ok(Granted::Whole));
}

#[test]
fn the_grant_of_objects_knows_every_action_on_objects() {
    const WITHHELD: &[&str] = &[
        "",                        // the preflight
        "s3express:CreateSession", // RenameObject, which is never carried out
        "s3-object-lambda:WriteGetObjectResponse",
    ];
    for operation in Operation::ALL {
        let facts = operation.facts();
        if facts.rule.level == Level::Object {
            for action in std::iter::once(facts.action).chain(facts.version_action) {
                assert_ne!(
                    OBJECT_ACTIONS.contains(&action),
                    WITHHELD.contains(&action),
                    "{action} of {operation:?} is neither granted nor withheld, or both"
                );
            }
        }
    }
}

/// Statements over so small a world that they often meet.
fn statements() -> impl Strategy<Value = Vec<(&'static str, &'static str, &'static str)>> {
    let effect = prop::sample::select(vec!["Allow", "Deny"]);
    let action =
        prop::sample::select(vec!["s3:GetObject", "s3:*", "s3:Put*", "*", "s3:?etObject", "s3:ListBucket"]);
    let resource = prop::sample::select(vec![
        "*",
        "arn:aws:s3:::data",
        "arn:aws:s3:::data/*",
        "arn:aws:s3:::data/a*",
        "arn:aws:s3:::d*",
        "arn:aws:s3:::other/*",
    ]);
    prop::collection::vec((effect, action, resource), 1..6)
}

fn requests() -> impl Strategy<Value = (&'static str, &'static str)> {
    prop::sample::select(vec![
        ("GET", "/data/a"),
        ("GET", "/data/b?versionId=v"),
        ("PUT", "/data/ab"),
        ("GET", "/data?list-type=2"),
        ("GET", "/other/x"),
        ("DELETE", "/data/a"),
    ])
}

proptest! {
    #[test]
    fn taking_a_permission_away_never_widens_access(
        statements in statements(), which: prop::sample::Index, (method, target) in requests(),
    ) {
        let fewer: Vec<_> = {
            let at = which.index(statements.len());
            let kept = |(n, s): (usize, &(&'static str, _, _))| (n != at || s.0 == "Deny").then_some(*s);
            statements.iter().enumerate().filter_map(kept).collect()
        };
        prop_assume!(!fewer.is_empty());
        if granted(&policy(&fewer), method, target, &[]) {
            prop_assert!(granted(&policy(&statements), method, target, &[]));
        }
    }

    #[test]
    fn adding_a_denial_never_widens_access(
        statements in statements(), more in statements(), (method, target) in requests(),
    ) {
        let denials = more.iter().map(|(_, action, resource)| ("Deny", *action, *resource));
        let stricter: Vec<_> = statements.iter().copied().chain(denials).collect();
        if granted(&policy(&stricter), method, target, &[]) {
            prop_assert!(granted(&policy(&statements), method, target, &[]));
        }
    }

    #[test]
    fn an_action_that_a_policy_denies_everywhere_is_denied(
        statements in statements(), (method, target) in requests(),
    ) {
        let mut all = statements;
        all.insert(0, ("Allow", "*", "*"));
        all.push(("Deny", "s3:*", "*"));
        prop_assert!(!granted(&policy(&all), method, target, &[]));
    }
}
