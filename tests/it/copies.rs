//! Copies whose source and place are in regions that do not meet: carried out by the gateway.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use crate::house::client::{Reply, Request};
use crate::house::digest::Algorithm;
use crate::house::gateway::{Gateway, Setup, Tenant, allow};
use crate::house::region::{Act, End, Region, Seen, Settings, When};
use crate::house::text;

/// Where the copies go.
const HERE: &str = "photos-here";
/// Where their sources are.
const THERE: &str = "vault-there";

const MIB: usize = 1 << 20;

#[track_caller]
fn refused(reply: &Reply, status: u16, code: &str) {
    assert_eq!((reply.status, reply.code().as_deref()), (status, Some(code)), "{}", reply.text());
}

fn regions() -> (Region, Region) {
    (Region::start("here", &[HERE]), Region::start("there", &[THERE]))
}

/// `photos` is in one region, `vault` in another.
fn apart(here: &Region, there: &Region) -> Setup {
    let mut setup = Setup::over(&[here, there])
        .access_point("photos", &[here], 0, "allow", "refuse")
        .access_point("vault", &[there], 0, "allow", "refuse");
    setup.tenants = vec![Tenant::of("app", &["photos", "vault"])];
    // large bodies keep a region busy for so long that its probes would be late
    setup.probe_rarely();
    setup
}

async fn started(setup: &Setup) -> Gateway {
    let gateway = setup.start();
    gateway.wait_for_standing(|(_, reads, writes)| reads == "healthy" && writes == "healthy").await;
    gateway
}

fn copy_of(source: &str) -> Request {
    Request::put("/photos/copy", "").with("x-amz-copy-source", source)
}

/// Bytes of which no two stretches are alike.
fn object(length: usize) -> Vec<u8> {
    (0u32..).flat_map(u32::to_be_bytes).take(length).collect()
}

fn operations(region: &Region) -> Vec<&'static str> {
    region.seen().iter().map(|seen| seen.operation).collect()
}

fn saw(region: &Region, operation: &str) -> Vec<Seen> {
    region.seen().into_iter().filter(|seen| seen.operation == operation).collect()
}

#[tokio::test]
async fn a_copy_is_made_with_all_that_describes_its_source() {
    let (here, there) = regions();
    let gateway = started(&apart(&here, &there)).await;
    let client = gateway.client();
    let put = Request::put("/vault/a%20b", "the source")
        .with("content-type", "text/x-odd")
        .with("cache-control", "no-store")
        .with("x-amz-meta-colour", "gr\u{fc}n")
        .with("x-amz-tagging", "a=1&b%20c=%26");
    client.send(&put).await.expect(200);
    there.forget();
    let copy = copy_of("/vault/a%20b").with("x-amz-storage-class", "STANDARD_IA");
    let copied = client.send(&copy).await.expect(200);
    let etag = text::element(&copied.text(), "ETag").unwrap();
    assert!(copied.text().contains("<CopyObjectResult"), "{}", copied.text());
    assert!(text::element(&copied.text(), "LastModified").is_some_and(|date| date.contains(".000Z")));
    assert_eq!(copied.header("content-type"), Some("application/xml"));
    assert_eq!(copied.header("x-nearpoint-region"), Some("here"));
    let made = here.object(HERE, "copy").unwrap();
    assert_eq!((&made.body[..], &made.etag), (&b"the source"[..], &etag));
    for (name, value) in [
        ("content-type", "text/x-odd"),
        ("cache-control", "no-store"),
        ("x-amz-meta-colour", "gr\u{fc}n"),
        ("x-amz-tagging", "a=1&b%20c=%26"),
        ("x-amz-storage-class", "STANDARD_IA"),
    ] {
        assert_eq!(made.header(name), Some(value), "{name}");
    }
    assert_eq!(operations(&there), ["HeadObject", "SubResource", "GetObject"]);
    assert_eq!(operations(&here), ["PutObject"]);
    let line = gateway.access_line(copied.header("x-amz-request-id").unwrap());
    assert_eq!((line["operation"].as_str(), line["status"].as_u64()), (Some("CopyObject"), Some(200)));
    let metrics = gateway.admin_text("/metrics").await.1;
    assert!(metrics.contains("nearpoint_copied_bytes_total{from=\"there\",to=\"here\"} 10"), "{metrics}");
    assert!(!metrics.contains("nearpoint_retries_total"), "nothing was repeated");

    // an empty one too, and one that is presigned
    client.send(&Request::put("/vault/empty", "")).await.expect(200);
    client
        .send(&Request::put("/photos/empty", "").with("x-amz-copy-source", "vault/empty"))
        .await
        .expect(200);
    assert_eq!(here.object(HERE, "empty").unwrap().body, "");
}

/// Not every store counts tags in heads, and none does for whom it lets read no tags.
#[tokio::test]
async fn tags_that_are_not_counted_are_looked_for() {
    let (here, there) = regions();
    there.change_settings(|settings| settings.ignores = vec!["x-amz-tagging-count"]);
    let gateway = started(&apart(&here, &there)).await;
    let client = gateway.client();
    client.send(&Request::put("/vault/k", "v").with("x-amz-tagging", "a=1")).await.expect(200);
    client.send(&copy_of("vault/k")).await.expect(200);
    assert_eq!(here.object(HERE, "copy").unwrap().header("x-amz-tagging"), Some("a=1"));
    client.send(&Request::put("/vault/k", "v")).await.expect(200);
    client.send(&copy_of("vault/k")).await.expect(200);
    assert_eq!(here.object(HERE, "copy").unwrap().header("x-amz-tagging"), None);
    // what nobody may read is not left out without a word
    there.fault(When::operation("SubResource"), Act::Answer { status: 403, code: "AccessDenied" });
    here.forget();
    refused(&client.send(&copy_of("vault/k")).await, 403, "AccessDenied");
    assert!(operations(&here).is_empty());
}

#[tokio::test]
async fn directives_say_whose_metadata_and_tags_a_copy_has() {
    let (here, there) = regions();
    let gateway = started(&apart(&here, &there)).await;
    let client = gateway.client();
    let put = Request::put("/vault/k", "v").with("x-amz-meta-a", "source").with("x-amz-tagging", "a=source");
    client.send(&put).await.expect(200);
    let copy = copy_of("vault/k").with("x-amz-meta-b", "request").with("x-amz-tagging", "b=request");
    let made = |key: &str| here.object(HERE, key).unwrap();
    client.send(&copy.clone().with("x-amz-metadata-directive", "REPLACE")).await.expect(200);
    let replaced = made("copy");
    assert_eq!((replaced.header("x-amz-meta-a"), replaced.header("x-amz-meta-b")), (None, Some("request")));
    assert_eq!(replaced.header("x-amz-tagging"), Some("a=source"));
    client.send(&copy.clone().with("x-amz-tagging-directive", "REPLACE")).await.expect(200);
    let retagged = made("copy");
    assert_eq!((retagged.header("x-amz-meta-a"), retagged.header("x-amz-meta-b")), (Some("source"), None));
    assert_eq!(retagged.header("x-amz-tagging"), Some("b=request"));
    refused(&client.send(&copy.with("x-amz-metadata-directive", "MERGE")).await, 400, "InvalidArgument");
}

#[tokio::test]
async fn conditions_of_source_and_copy_hold_or_nothing_is_copied() {
    let (here, there) = regions();
    let gateway = started(&apart(&here, &there)).await;
    let client = gateway.client();
    there.seed(THERE, "k", "v");
    let etag = there.object(THERE, "k").unwrap().etag;
    let other = "\"00000000000000000000000000000000\"";
    let old = "Thu, 01 Jan 2015 00:00:00 GMT";
    for (name, value) in [
        ("x-amz-copy-source-if-match", other),
        ("x-amz-copy-source-if-none-match", etag.as_str()),
        ("x-amz-copy-source-if-unmodified-since", old),
    ] {
        refused(&client.send(&copy_of("/vault/k").with(name, value)).await, 412, "PreconditionFailed");
    }
    refused(&client.send(&copy_of("/vault/absent")).await, 404, "NoSuchKey");
    assert!(here.seen().is_empty(), "{:?}", here.seen());
    for (name, value) in [
        ("x-amz-copy-source-if-match", etag.as_str()),
        ("x-amz-copy-source-if-none-match", other),
        ("x-amz-copy-source-if-modified-since", old),
        ("if-none-match", "*"),
    ] {
        let copied = client.send(&copy_of("/vault/k").with(name, value)).await.expect(200);
        assert!(copied.text().contains("CopyObjectResult"), "{name}");
        if name != "if-none-match" {
            here.unseed(HERE, "copy");
        }
    }
    refused(&client.send(&copy_of("/vault/k").with("if-none-match", "*")).await, 412, "PreconditionFailed");
    let own = there.object(THERE, "k").unwrap().etag;
    client.send(&copy_of("/vault/k").with("if-match", &own)).await.expect(200);
}

#[tokio::test]
async fn a_version_is_copied_from_where_it_is() {
    let versioned = |name: &str, bucket: &str| {
        Region::start_with(Settings { versioned: true, ..Settings::new(name, &[bucket]) })
    };
    let (here, there, yonder) =
        (versioned("here", HERE), versioned("there", THERE), versioned("yonder", "vault-yonder"));
    let mut setup = apart(&here, &there).region(&yonder, "profile: minio");
    setup = setup.access_point("vault", &[&there, &yonder], 0, "allow", "allow");
    let gateway = started(&setup).await;
    let client = gateway.client();
    let first = client.send(&Request::put("/vault/k", "first")).await.expect(200);
    let first = first.header("x-amz-version-id").unwrap().to_owned();
    client.send(&Request::put("/vault/k", "second")).await.expect(200);
    let source = format!("/vault/k?versionId={first}");
    let copied = client.send(&copy_of(&source)).await.expect(200);
    assert_eq!(copied.header("x-amz-copy-source-version-id"), Some(first.as_str()));
    let made = here.object(HERE, "copy").unwrap();
    assert_eq!(made.body, "first");
    let id = copied.header("x-amz-version-id").unwrap();
    assert_eq!(
        client.send(&Request::get(&format!("/photos/copy?versionId={id}"))).await.expect(200).body,
        b"first"
    );
    // without one it is the current
    let copied = client.send(&copy_of("/vault/k")).await.expect(200);
    assert_ne!(copied.header("x-amz-copy-source-version-id"), Some(first.as_str()));
    assert_eq!(here.object(HERE, "copy").unwrap().body, "second");
    assert!(yonder.seen().iter().all(|seen| seen.key != "k"));
    let forged = format!("/vault/other?versionId={first}");
    refused(&client.send(&copy_of(&forged)).await, 400, "InvalidArgument");
}

#[tokio::test]
async fn a_large_copy_is_made_in_parts_whatever_breaks_on_the_way() {
    let (here, there) = regions();
    let source = object(17 * MIB + 7);
    there.seed(THERE, "large", source.clone());
    let gateway = started(&apart(&here, &there)).await;
    let client = gateway.client();
    // a reply that breaks off is gone on with, and a part that breaks off is read again
    there.fault(When::operation("GetObject").times(1), Act::CutAfter(5 * MIB, End::Close));
    here.fault(When::operation("UploadPart").after(1).times(1), Act::DropInBody(3 * MIB, End::Reset));
    let copied = client.send(&copy_of("/vault/large").with("x-amz-meta-a", "b")).await.expect(200);
    let made = here.object(HERE, "copy").unwrap();
    assert!(made.body == source, "byte for byte");
    assert!(made.etag.ends_with("-3\""), "{}", made.etag);
    assert_eq!(text::element(&copied.text(), "ETag"), Some(made.etag));
    assert_eq!(here.uploads(HERE), []);
    assert_eq!(saw(&here, "UploadPart").len(), 4);
    let ranges: Vec<_> =
        saw(&there, "GetObject").iter().map(|seen| seen.header("range").unwrap().to_owned()).collect();
    assert_eq!(ranges[0], "bytes=0-8388607");
    assert_eq!(ranges[1], "bytes=5242880-8388607", "gone on with");
    let tag = there.object(THERE, "large").unwrap().etag;
    assert!(saw(&there, "GetObject").iter().all(|seen| seen.header("if-match") == Some(&tag)));
}

#[tokio::test]
async fn a_copy_that_fails_leaves_no_object_and_no_upload() {
    let (here, there) = regions();
    there.seed(THERE, "large", object(9 * MIB));
    let gateway = started(&apart(&here, &there)).await;
    let client = gateway.client();
    // the store refuses a part
    here.fault(When::operation("UploadPart"), Act::Answer { status: 400, code: "InvalidStorageClass" });
    refused(&client.send(&copy_of("/vault/large")).await, 400, "InvalidStorageClass");
    here.heal();
    // the source is another between two parts
    there.fault(
        When::operation("GetObject").after(1),
        Act::Answer { status: 412, code: "PreconditionFailed" },
    );
    refused(&client.send(&copy_of("/vault/large")).await, 503, "ServiceUnavailable");
    there.heal();
    // the source says another tag
    there.fault(When::operation("GetObject"), Act::Say("etag", "\"another\"".to_owned()));
    refused(&client.send(&copy_of("/vault/large")).await, 503, "ServiceUnavailable");
    there.heal();
    // the end of the upload fails inside a success
    here.fault(When::operation("CompleteMultipartUpload"), Act::Answer { status: 400, code: "InvalidPart" });
    refused(&client.send(&copy_of("/vault/large")).await, 400, "InvalidPart");
    here.heal();
    assert_eq!(saw(&here, "AbortMultipartUpload").len(), 4);
    assert_eq!((here.uploads(HERE), here.object(HERE, "copy")), (vec![], None));
    client.send(&copy_of("/vault/large")).await.expect(200);
}

#[tokio::test]
async fn bytes_that_have_not_the_source_s_checksum_are_never_a_copy() {
    let (here, there) = regions();
    let gateway = started(&apart(&here, &there)).await;
    let client = gateway.client();
    for (key, length) in [("small", 9), ("middling", 3 * MIB), ("large", 9 * MIB)] {
        let source = object(length);
        there.seed(THERE, key, source.clone());
        let lie = |sum: String| {
            there.heal();
            there.fault(
                When::operation("HeadObject"),
                Act::Say("x-amz-checksum-type", "FULL_OBJECT".to_owned()),
            );
            there.fault(When::operation("HeadObject"), Act::Say("x-amz-checksum-crc32", sum));
        };
        lie("AAAAAA==".to_owned());
        let from = format!("/vault/{key}");
        refused(&client.send(&copy_of(&from)).await, 503, "ServiceUnavailable");
        assert_eq!((here.uploads(HERE), here.object(HERE, "copy")), (vec![], None), "{key}");
        lie(Algorithm::Crc32.base64(&source));
        client.send(&copy_of(&from)).await.expect(200);
        assert!(here.object(HERE, "copy").unwrap().body == source);
        here.unseed(HERE, "copy");
    }
    there.heal();
    // one that the client asks for is computed on the way, and told
    there.seed(THERE, "k", "abc");
    let copied =
        client.send(&copy_of("/vault/k").with("x-amz-checksum-algorithm", "SHA256")).await.expect(200);
    let expected = Algorithm::Sha256.base64(b"abc");
    assert_eq!(text::element(&copied.text(), "ChecksumSHA256"), Some(expected));
}

#[tokio::test]
async fn no_more_is_copied_than_an_object_may_have() {
    let (here, there) = regions();
    let gateway = started(&apart(&here, &there)).await;
    there.seed(THERE, "k", "v");
    there.fault(When::operation("HeadObject"), Act::LieAboutLength(5 << 40));
    refused(&gateway.client().send(&copy_of("/vault/k")).await, 400, "InvalidRequest");
    assert!(here.seen().is_empty());
}

#[tokio::test]
async fn parts_are_copied_into_an_upload_where_their_source_is_not() {
    let (here, there) = regions();
    let gateway = started(&apart(&here, &there)).await;
    let client = gateway.client();
    let source = object(6 * MIB);
    there.seed(THERE, "k", source.clone());
    let begun = client.send(&Request::post("/photos/big?uploads", "")).await.expect(200).text();
    let id = text::element(&begun, "UploadId").unwrap();
    let part = |number: usize, range: &str| {
        let target = format!("/photos/big?partNumber={number}&uploadId={}", text::encoded(&id, ""));
        let part = Request::put(&target, "").with("x-amz-copy-source", "vault/k");
        if range.is_empty() { part } else { part.with("x-amz-copy-source-range", range) }
    };
    for (range, code) in [("bytes=0-6291456", "InvalidArgument"), ("bytes=5-", "InvalidArgument")] {
        refused(&client.send(&part(1, range)).await, 400, code);
    }
    let first = client.send(&part(1, "bytes=7-5242886")).await.expect(200).text();
    // a store that wants the upload's checksum of each part gets it
    let listed = "<ListPartsResult><ChecksumAlgorithm>CRC32C</ChecksumAlgorithm></ListPartsResult>";
    let reply = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{listed}", listed.len());
    here.fault(When::operation("ListParts"), Act::AnswerBytes(reply.into()));
    let second = client.send(&part(2, "")).await.expect(200).text();
    here.heal();
    assert!(first.contains("<CopyPartResult"), "{first}");
    let sent = saw(&here, "UploadPart");
    let body = &sent.last().unwrap().body;
    let trailer = format!("x-amz-checksum-crc32c:{}", Algorithm::Crc32c.base64(&source));
    assert!(String::from_utf8_lossy(body.as_ref().unwrap()).contains(&trailer));
    let etags = [&first, &second].map(|text| text::element(text, "ETag").unwrap());
    let parts = etags.iter().zip(1..).map(|(etag, number)| {
        format!("<Part><PartNumber>{number}</PartNumber><ETag>{}</ETag></Part>", text::escaped(etag))
    });
    let document =
        format!("<CompleteMultipartUpload>{}</CompleteMultipartUpload>", parts.collect::<String>());
    let target = format!("/photos/big?uploadId={}", text::encoded(&id, ""));
    client.send(&Request::post(&target, document)).await.expect(200);
    let whole = [&source[7..5_242_887], &source].concat();
    assert!(here.object(HERE, "big").unwrap().body == whole);
    refused(&client.send(&part(3, "")).await, 404, "NoSuchUpload");
}

#[tokio::test]
async fn keys_of_encryption_go_to_whom_they_are_of() {
    let (here, there) = regions();
    let gateway = started(&apart(&here, &there)).await;
    there.seed(THERE, "k", "v");
    let copy = copy_of("/vault/k")
        .with("x-amz-copy-source-server-side-encryption-customer-algorithm", "AES256")
        .with("x-amz-copy-source-server-side-encryption-customer-key", "of-the-source")
        .with("x-amz-server-side-encryption-customer-algorithm", "AES256")
        .with("x-amz-server-side-encryption-customer-key", "of-the-copy");
    gateway.client().send(&copy).await.expect(200);
    let key = "x-amz-server-side-encryption-customer-key";
    let keys = |region: &Region| {
        region.seen().iter().map(|seen| seen.header(key).map(str::to_owned)).collect::<Vec<_>>()
    };
    // tags are not encrypted
    assert_eq!(keys(&there), [Some("of-the-source".to_owned()), None, Some("of-the-source".to_owned())]);
    assert_eq!(keys(&here), [Some("of-the-copy".to_owned())]);
    let names = here.seen_once().headers.iter().any(|(name, _)| name.starts_with("x-amz-copy-source"));
    assert!(!names && !gateway.written().join("\n").contains("of-the-"));
}

#[tokio::test]
async fn a_copy_needs_leave_for_its_source_its_place_and_its_tags() {
    let (here, there) = regions();
    let mut setup = apart(&here, &there);
    let reads =
        |actions: &str| format!("{}, {}", allow("s3:PutObject", &["photos"]), allow(actions, &["vault"]));
    setup.tenants = vec![
        Tenant::with_statements("writer", &allow("s3:*", &["photos"])),
        Tenant::with_statements("reader", &allow("s3:*", &["vault"])),
        Tenant::with_statements("plain", &reads("s3:GetObject")),
        Tenant::with_statements(
            "tagger",
            &format!("{}, {}", reads("s3:GetObject*"), allow("s3:PutObjectTagging", &["photos"])),
        ),
    ];
    let gateway = started(&setup).await;
    there.seed(THERE, "k", "v");
    let client = gateway.client_of(1);
    client.send(&Request::put("/vault/tagged", "v").with("x-amz-tagging", "a=1")).await.expect(200);
    there.forget();
    for tenant in [0, 1] {
        refused(&gateway.client_of(tenant).send(&copy_of("/vault/k")).await, 403, "AccessDenied");
    }
    assert!(here.seen().is_empty() && there.seen().is_empty());
    gateway.client_of(2).send(&copy_of("/vault/k")).await.expect(200);
    here.forget();
    refused(&gateway.client_of(2).send(&copy_of("/vault/tagged")).await, 403, "AccessDenied");
    assert!(here.seen().is_empty());
    gateway.client_of(3).send(&copy_of("/vault/tagged")).await.expect(200);
    assert_eq!(here.object(HERE, "copy").unwrap().header("x-amz-tagging"), Some("a=1"));
}

#[tokio::test]
async fn white_space_says_that_a_long_copy_goes_on_and_its_end_is_true() {
    let (here, there) = regions();
    let gateway = started(&apart(&here, &there)).await;
    let client = gateway.client();
    there.seed(THERE, "k", "v");
    for key in ["copy", "failing"] {
        let put = When { key: Some(key.to_owned()), ..When::operation("PutObject") };
        here.fault(put, Act::Delay(Duration::from_secs(6)));
    }
    let failing = Request::put("/photos/failing", "")
        .with("x-amz-copy-source", "/vault/k")
        .with("if-match", "\"none\"");
    let (copied, failed) = (copy_of("/vault/k"), failing);
    let (copied, failed) = tokio::join!(client.send(&copied), client.send(&failed));
    let (copied, failed) = (copied.expect(200).text(), failed.expect(200));
    for text in [&copied, &failed.text()] {
        assert!(text.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"), "{text}");
        assert_eq!(text.matches("<?xml").count(), 1, "{text}");
    }
    assert!(copied.contains("<CopyObjectResult") && here.object(HERE, "copy").is_some());
    assert_eq!(failed.code().as_deref(), Some("NoSuchKey"), "{}", failed.text());
    assert!(here.object(HERE, "failing").is_none());
    let line = gateway.access_line(failed.header("x-amz-request-id").unwrap());
    assert_eq!((line["status"].as_u64(), line["code"].as_str()), (Some(200), Some("NoSuchKey")));
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_copy() {
    let (here, there) = regions();
    there.seed(THERE, "large", object(9 * MIB));
    let gateway = started(&apart(&here, &there)).await;
    let client = gateway.client();
    there.fault(When::operation("GetObject").after(1), Act::Slow(MIB));
    let mut connection = client.connect().await;
    let request = client.sign(&copy_of("/vault/large"));
    connection.stream.write_all(&request.bytes()).await.unwrap();
    here.wait_for(|seen| seen.operation == "UploadPart" && seen.target.contains("partNumber=2")).await;
    assert_eq!(here.uploads(HERE).len(), 1);
    drop(connection);
    here.wait_for(|seen| seen.operation == "AbortMultipartUpload" && seen.status == Some(204)).await;
    assert_eq!((here.uploads(HERE), here.object(HERE, "copy")), (vec![], None));
}

#[tokio::test]
async fn a_source_that_was_changed_elsewhere_is_copied_from_there() {
    // both access points are in both regions: stores could copy, but home has not the object yet
    let home = Region::start("home", &["photos-home", "vault-home"]);
    let away = Region::start("away", &["photos-away", "vault-away"]);
    let mut setup = Setup::over(&[&home, &away])
        .access_point("photos", &[&home, &away], 0, "allow", "refuse")
        .access_point("vault", &[&home, &away], 1, "allow", "allow");
    setup.tenants = vec![Tenant::of("app", &["photos", "vault"])];
    let gateway = started(&setup).await;
    let client = gateway.client();
    home.seed("vault-home", "k", "old");
    home.kill();
    client.send(&Request::put("/vault/k", "new")).await.expect(200);
    home.revive();
    gateway.wait_for_standing(|(_, reads, writes)| reads != "out" && writes != "out").await;
    client.send(&copy_of("/vault/k")).await.expect(200);
    assert_eq!(home.object("photos-home", "copy").unwrap().body, "new");
    // what stores can do they do
    home.forget();
    client.send(&Request::put("/vault/other", "other")).await.expect(200);
    client.send(&copy_of("/vault/other")).await.expect(200);
    assert_eq!(saw(&home, "CopyObject").len(), 1);
}

#[tokio::test]
async fn a_region_that_lags_behind_copies_what_home_has() {
    let home = Region::start("home", &["photos-home", "vault-home"]);
    let away = Region::start("away", &["photos-away", "vault-away"]);
    let mut setup = Setup::over(&[&home, &away])
        .access_point("photos", &[&away], 0, "allow", "refuse")
        .access_point("vault", &[&home, &away], 1, "allow", "refuse");
    setup.tenants = vec![Tenant::of("app", &["photos", "vault"])];
    let gateway = started(&setup).await;
    let client = gateway.client();
    home.seed("vault-home", "k", "v");
    let copied = client.send(&copy_of("/vault/k")).await.expect(200);
    assert_eq!(saw(&away, "CopyObject")[0].status, Some(404));
    assert_eq!(away.object("photos-away", "copy").unwrap().body, "v");
    let line = gateway.access_line(copied.header("x-amz-request-id").unwrap());
    assert_eq!((line["status"].as_u64(), line["code"].as_str()), (Some(200), None), "{line}");
    refused(&client.send(&copy_of("/vault/absent")).await, 404, "NoSuchKey");
}

#[tokio::test]
async fn an_object_of_an_access_point_s_arn_is_copied() {
    let (here, there) = regions();
    let gateway = started(&apart(&here, &there)).await;
    there.seed(THERE, "a/b", "v");
    for arn in [
        "arn:aws:s3:eu-central-1:123456789012:accesspoint/vault/object/a/b",
        "arn%3Aaws%3As3%3A%3A123456789012%3Aaccesspoint%3Avault/object/a/b",
    ] {
        here.unseed(HERE, "copy");
        gateway.client().send(&copy_of(arn)).await.expect(200);
        assert_eq!(here.object(HERE, "copy").unwrap().body, "v", "{arn}");
    }
}
