//! What is said of signatures that do not match.

use super::{NOW, Oracle, at, head, ring, rules, verified, with};
use crate::head::Head;
use crate::sigv4::{Difference, KeyCache, diagnose, restored};

fn found(head: &Head) -> Option<Difference> {
    assert_eq!(verified(head).map(|_| ()).map_err(|rejected| rejected.code()), Err("SignatureDoesNotMatch"));
    diagnose(head, &ring(), &rules(), NOW, &mut KeyCache::new())
}

fn unsigned() -> Head {
    let fields = [
        ("host", "s3.example.com"),
        ("accept-encoding", "identity"),
        ("content-type", "text/plain"),
        ("x-amz-meta-a", "1"),
    ];
    head("GET", "/photos/a%20b//c?versionId=v", &fields)
}

fn header(name: &str, signed: &str) -> Difference {
    Difference::Header { name: name.to_owned(), signed: signed.to_owned() }
}

#[test]
fn what_is_often_rewritten_is_found() {
    for region_set in [None, Some("*")] {
        let oracle = Oracle { region_set, ..Oracle::default() };
        let signed = oracle.sign(&unsigned());
        let forwarded = with(&with(&signed, "host", "10.0.0.1:9000"), "x-forwarded-host", "s3.example.com");
        let mut method = signed.clone();
        method.set_method(http::Method::HEAD);
        let rows: Vec<(Head, Option<Difference>)> = vec![
            (with(&signed, "host", "s3.example.com:9000"), Some(header("host", "s3.example.com"))),
            (forwarded, Some(header("host", "s3.example.com"))),
            (with(&signed, "accept-encoding", "gzip"), Some(header("accept-encoding", "identity"))),
            (method, Some(Difference::Method("GET"))),
            (
                at(&signed, "/photos/a%20b//c?versionId=v&utm_source=x"),
                Some(Difference::Parameter("utm_source".to_owned())),
            ),
            (
                at(&signed, "/photos/a%20b//c/?versionId=v"),
                Some(Difference::Path("without the slash at its end")),
            ),
            (with(&signed, "x-amz-meta-a", "2"), None),
            (at(&signed, "/photos/another?versionId=v"), None),
        ];
        for (head, expected) in rows {
            assert_eq!(found(&head), expected, "{head:?}");
        }
    }
    let typed =
        Oracle::default().sign(&head("PUT", "/b/k", &[("host", "h"), ("content-type", "text/plain")]));
    let charset = with(&typed, "content-type", "text/plain; charset=utf-8");
    assert_eq!(found(&charset), Some(header("content-type", "text/plain")));
    let empty = Oracle::default().sign(&head("PUT", "/b/k", &[("host", "h"), ("x-amz-acl", "")]));
    assert_eq!(found(&with(&empty, "x-amz-acl", "private")), Some(header("x-amz-acl", "")));
    let plain = Oracle::default().sign(&head("GET", "/b/a/c", &[("host", "h")]));
    let dots = Some(Difference::Path("without its empty and dot segments"));
    assert_eq!(found(&at(&plain, "/b/a//./x/../c")), dots);
    let twice = Oracle::default().sign(&head("GET", "/b/a%2520c", &[("host", "h")]));
    let encoded = Some(Difference::Path("as encoded twice, which S3 does not do"));
    assert_eq!(found(&at(&twice, "/b/a%20c")), encoded);
    let presigned = Oracle { presigned: Some(60), ..Oracle::default() }.sign(&unsigned());
    assert_eq!(
        found(&with(&presigned, "host", "s3.example.com:443")),
        Some(header("host", "s3.example.com"))
    );
}

/// Whoever lacks the secret is told nothing, whatever is tried.
#[test]
fn a_forger_learns_nothing() {
    let forged = Oracle { secret: "guess", ..Oracle::default() }.sign(&unsigned());
    for head in
        [forged.clone(), with(&forged, "host", "10.0.0.1:9000"), with(&forged, "accept-encoding", "gzip")]
    {
        assert_eq!(found(&head), None);
    }
    let stranger = Oracle { key: "AKIANOBODY", ..Oracle::default() }.sign(&unsigned());
    assert_eq!(diagnose(&stranger, &ring(), &rules(), NOW, &mut KeyCache::new()), None);
    let anonymous = head("GET", "/b/k", &[("host", "h")]);
    assert_eq!(diagnose(&anonymous, &ring(), &rules(), NOW, &mut KeyCache::new()), None);
}

#[test]
fn guesses_are_bounded() {
    let signed = Oracle::default().sign(&unsigned());
    let many: Vec<String> = (0..5_000).map(|n| format!("p{n}=1")).collect();
    assert_eq!(found(&at(&signed, &format!("/photos/a%20b//c?{}", many.join("&")))), None);
}

#[test]
fn another_accept_encoding_is_restored_and_nothing_else() {
    let signed = Oracle::default().sign(&unsigned());
    let holds = |head: &Head| restored(head).filter(|head| verified(head).is_ok()).count();
    assert_eq!(holds(&with(&signed, "accept-encoding", "gzip, br")), 1);
    assert_eq!(holds(&with(&with(&signed, "accept-encoding", "gzip"), "x-amz-meta-a", "2")), 0);
    let unsaid = Oracle::default().sign(&head("GET", "/b/k", &[("host", "h")]));
    assert_eq!(restored(&unsaid).count(), 0);
}
