//! The test house tested: a region that believed anything would prove nothing.

use std::sync::Arc;
use std::time::Duration;

use crate::house::client::{Client, Ended, Framing, Payload, Request, Signed, http_chunked};
use crate::house::digest::{self, Algorithm};
use crate::house::gateway::{Setup, Tenant};
use crate::house::region::{Act, Change, End, PATIENCE, Region, Settings, When};
use crate::house::replicator::{Replicator, Ways};
use crate::house::{moment, text};

const BUCKET: &str = "photos";

fn region() -> (Region, Client) {
    let region = Region::start("frankfurt", &[BUCKET]);
    let client = Client::of(&region);
    (region, client)
}

/// A body whose bytes differ from place to place.
fn body(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

// ── what is right is taken ───────────────────────────────────────────────────

#[tokio::test]
async fn every_payload_mode_arrives_whole_at_every_size() {
    let (region, client) = region();
    for payload in Payload::ALL {
        for length in [0, 1, 8191, 65_536, 200_001] {
            let put = Request::put("/photos/k", body(length)).payload(payload);
            let reply = client.send(&put).await.expect(200);
            let object = region.object(BUCKET, "k").expect("stored");
            assert_eq!(object.body, body(length), "{payload:?} {length}");
            assert_eq!(reply.header("etag"), Some(object.etag.as_str()));
            assert_eq!(object.header("content-encoding"), None, "framing is not stored");
        }
    }
}

#[tokio::test]
async fn what_a_request_was_is_recorded_byte_for_byte() {
    let (region, client) = region();
    let target = "/photos/a%20b//./..%2F+%C3%A9?partNumber=1&x-id=GetObject";
    client.send(&Request::get(target).with("x-amz-checksum-mode", "ENABLED")).await.expect(404);
    let seen = region.seen_once();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", target));
    assert_eq!((seen.operation, seen.key.as_str()), ("GetObject", "a b//./../+é"));
    assert_eq!((seen.status, seen.code), (Some(404), Some("NoSuchKey")));
    let signed = ["host", "x-amz-checksum-mode", "x-amz-content-sha256", "x-amz-date"];
    assert_eq!(seen.signed_headers, signed);
    assert!(seen.signed("host") && seen.header("authorization").is_some());
}

#[tokio::test]
async fn objects_are_read_back_in_ranges_and_under_conditions() {
    let (region, client) = region();
    let put = Request::put("/photos/k", body(100)).with("x-amz-meta-who", "me").with("content-type", "a/b");
    let etag = client.send(&put).await.expect(200).header("etag").unwrap().to_owned();
    let whole = client.send(&Request::get("/photos/k")).await.expect(200);
    assert_eq!((whole.body.as_slice(), whole.header("x-amz-meta-who")), (&body(100)[..], Some("me")));
    let head = client.send(&Request::head("/photos/k")).await.expect(200);
    assert_eq!((head.header("content-length"), head.header("content-type")), (Some("100"), Some("a/b")));
    for (range, wanted) in [("bytes=10-19", 10..20), ("bytes=90-", 90..100), ("bytes=-5", 95..100)] {
        let part = client.send(&Request::get("/photos/k").with("range", range)).await.expect(206);
        assert_eq!(part.body, body(100)[wanted], "{range}");
    }
    client.send(&Request::get("/photos/k").with("range", "bytes=9-1")).await.expect(200);
    client.send(&Request::get("/photos/k").with("range", "bytes=100-")).await.expect(416);
    client.send(&Request::get("/photos/k").with("if-match", "\"no\"")).await.expect(412);
    client.send(&Request::get("/photos/k").with("if-none-match", &etag)).await.expect(304);
    client.send(&Request::put("/photos/k", "").with("if-none-match", "*")).await.expect(412);
    client.send(&Request::put("/photos/k", "2").with("if-match", &etag)).await.expect(200);
    assert_eq!(region.object(BUCKET, "k").unwrap().body, "2");
    client.send(&Request::delete("/photos/k")).await.expect(204);
    client.send(&Request::get("/photos/k")).await.expect(404);
}

#[tokio::test]
async fn listings_page_through_every_key_once() {
    let (region, client) = region();
    for key in ["a/1", "a/2", "b", "c/1", "d", "e f&<"] {
        region.seed(BUCKET, key, "x");
    }
    for (query, next) in [("list-type=2&", "NextContinuationToken"), ("", "NextMarker")] {
        let parameter = if query.is_empty() { "marker" } else { "continuation-token" };
        let (mut names, mut cursor) = (Vec::new(), String::new());
        loop {
            let target = format!("/photos?{query}delimiter=%2F&max-keys=2{cursor}");
            let page = client.send(&Request::get(&target)).await.expect(200).text();
            names.extend(text::elements(&page, "Key"));
            let prefixes = text::elements(&page, "CommonPrefixes");
            names.extend(prefixes.iter().map(|inner| text::element(inner, "Prefix").unwrap()));
            match text::element(&page, next) {
                Some(token) => cursor = format!("&{parameter}={}", text::encoded(&token, "")),
                None => break,
            }
        }
        names.sort();
        assert_eq!(names, ["a/", "b", "c/", "d", "e f&<"], "{parameter}");
    }
    let foreign = client.send(&Request::get("/photos?list-type=2&continuation-token=elsewhere.00")).await;
    assert_eq!(foreign.expect(400).code().as_deref(), Some("InvalidArgument"));
}

#[tokio::test]
async fn uploads_in_parts_become_one_object_or_none() {
    let (region, client) = region();
    let (first, second) = (body(70_000), body(33));
    let done = client.upload("/photos/big", &[&first, &second]).await.expect(200);
    assert!(text::element(&done.text(), "ETag").unwrap().ends_with("-2\""));
    assert_eq!(region.object(BUCKET, "big").unwrap().body, [first, second].concat());
    let created = client.send(&Request::post("/photos/other?uploads", "")).await.expect(200);
    let id = text::element(&created.text(), "UploadId").unwrap();
    client.send(&Request::put(&format!("/photos/other?partNumber=2&uploadId={id}"), "2")).await.expect(200);
    let list = client.send(&Request::get("/photos?uploads")).await.expect(200).text();
    assert_eq!(text::elements(&list, "UploadId"), [id.as_str()]);
    let parts = client.send(&Request::get(&format!("/photos/other?uploadId={id}"))).await.expect(200).text();
    assert_eq!(text::elements(&parts, "PartNumber"), ["2"]);
    let xml = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>";
    let wrong = client.send(&Request::post(&format!("/photos/other?uploadId={id}"), xml)).await.expect(400);
    assert_eq!(wrong.code().as_deref(), Some("InvalidPart"));
    client.send(&Request::delete(&format!("/photos/other?uploadId={id}"))).await.expect(204);
    let gone = client.send(&Request::get(&format!("/photos/other?uploadId={id}"))).await.expect(404);
    assert_eq!(gone.code().as_deref(), Some("NoSuchUpload"));
    assert_eq!(region.keys(BUCKET), ["big"]);
}

#[tokio::test]
async fn copies_deletes_and_versions_are_kept() {
    let region = Region::start_with(Settings { versioned: true, ..Settings::new("oslo", &[BUCKET]) });
    let client = Client::of(&region);
    let first = client.send(&Request::put("/photos/k", "1")).await.expect(200);
    let first = first.header("x-amz-version-id").unwrap().to_owned();
    client.send(&Request::put("/photos/k", "2")).await.expect(200);
    let source = format!("/photos/k?versionId={first}");
    client.send(&Request::put("/photos/copy", "").with("x-amz-copy-source", &source)).await.expect(200);
    assert_eq!(region.object(BUCKET, "copy").unwrap().body, "1");
    let marker = client.send(&Request::delete("/photos/k")).await.expect(204);
    assert_eq!(marker.header("x-amz-delete-marker"), Some("true"));
    client.send(&Request::get("/photos/k")).await.expect(404);
    let old = client.send(&Request::get(&format!("/photos/k?versionId={first}"))).await.expect(200);
    assert_eq!(old.body, b"1");
    let xml = "<Delete><Object><Key>copy</Key></Object></Delete>";
    client.send(&Request::post("/photos?delete", xml)).await.expect(200);
    assert!(region.keys(BUCKET).is_empty());
    let list = client.send(&Request::get("/photos?versions")).await.expect(200).text();
    assert_eq!(text::elements(&list, "VersionId").len(), 5);
}

#[tokio::test]
async fn presigned_urls_hold_until_they_expire() {
    let (region, client) = region();
    region.seed(BUCKET, "k", "v");
    let get = Request::get("/photos/k?response-content-type=text/x");
    let target = client.presign(&get, 60);
    let reply = client.send_signed(&client.unsigned(&Request::get(&target))).await.expect(200);
    assert_eq!(reply.body, b"v");
    let swapped = client.send_signed(&client.unsigned(&Request::delete(&target))).await.expect(403);
    assert_eq!(swapped.code().as_deref(), Some("SignatureDoesNotMatch"));
    let old = client.presigned_at(&get, 60, moment::shifted(moment::now(), -61));
    let late = client.send_signed(&client.unsigned(&Request::get(&old))).await.expect(403);
    assert_eq!(late.code().as_deref(), Some("AccessDenied"));
}

#[tokio::test]
async fn session_tokens_are_compared() {
    let settings = Settings { session_token: Some("the-token".into()), ..Settings::new("oslo", &[BUCKET]) };
    let region = Region::start_with(settings);
    let client = Client::of(&region);
    client.send(&Request::get("/photos")).await.expect(200);
    let other = client.with_token("another-token");
    let refused = other.send(&Request::get("/photos")).await.expect(400);
    assert_eq!(refused.code().as_deref(), Some("InvalidToken"));
}

// ── what is wrong is refused, and nothing is stored ──────────────────────────

/// Sends an upload that must be refused with this code; nothing may be stored.
async fn refused(what: &str, region: &Region, client: &Client, signed: Signed, status: u16, code: &str) {
    let reply = client.send_signed(&signed).await;
    assert_eq!((reply.status, reply.code().as_deref()), (status, Some(code)), "{what}");
    assert!(region.keys(BUCKET).is_empty(), "{what} was stored");
}

#[tokio::test]
async fn a_head_that_is_not_signed_as_s3_wants_is_refused() {
    let (region, client) = region();
    let put = Request::put("/photos/k", "body").with("x-amz-meta-a", "1");
    let good = || client.sign(&put);
    let edit = |from: &str, to: &str| good().edit("authorization", |text| text.replacen(from, to, 1));
    let cases: Vec<(&str, Signed, u16, &str)> = vec![
        ("no signature", client.unsigned(&put), 403, "AccessDenied"),
        ("another scheme", edit("AWS4-HMAC-SHA256", "Bearer"), 400, "InvalidArgument"),
        ("no credential", edit("Credential", "Credentiall"), 400, "AuthorizationHeaderMalformed"),
        ("another key", edit("AKIDFRANKFURT", "AKIDOSLO"), 403, "InvalidAccessKeyId"),
        ("another region", edit("frankfurt-1", "oslo-1"), 400, "AuthorizationHeaderMalformed"),
        ("another service", edit("/s3/", "/ec2/"), 400, "AuthorizationHeaderMalformed"),
        ("host unsigned", edit("host;", ""), 403, "AccessDenied"),
        ("metadata changed", good().set("x-amz-meta-a", "2"), 403, "SignatureDoesNotMatch"),
        ("metadata added", good().add("x-amz-meta-b", "2"), 403, "AccessDenied"),
        ("metadata removed", good().without("x-amz-meta-a"), 403, "SignatureDoesNotMatch"),
        ("no date", good().without("x-amz-date"), 403, "AccessDenied"),
        ("another key's path", good().aim("/photos/l"), 403, "SignatureDoesNotMatch"),
        ("early", client.clone().skewed(16 * 60).sign(&put), 403, "RequestTimeTooSkewed"),
        ("late", client.clone().skewed(-16 * 60).sign(&put), 403, "RequestTimeTooSkewed"),
    ];
    for (what, signed, status, code) in cases {
        refused(what, &region, &client, signed, status, code).await;
    }
}

#[tokio::test]
async fn a_body_that_is_not_what_was_signed_is_refused() {
    let (region, client) = region();
    let put = |payload| Request::put("/photos/k", body(20_000)).payload(payload);
    let signed = |payload| client.sign(&put(payload));
    let bent = |payload, at: usize| {
        signed(payload).edit_body(|mut bytes| {
            bytes[at] ^= 1;
            bytes
        })
    };
    let crc = Algorithm::Crc32;
    let trailer = Payload::UnsignedTrailer(8192, crc, Framing::Length);
    let signed_trailer = Payload::SignedChunksTrailer(8192, crc);
    let undeclared = signed(trailer).edit_body(|bytes| {
        let at = memchr::memmem::find(&bytes, b"crc32:").expect("the trailer");
        [&bytes[..at], b"crc33:", &bytes[at + 6..]].concat()
    });
    let last_signature = |bytes: Vec<u8>| {
        let mut text = bytes;
        let at = text.len() - 6;
        text[at] = if text[at] == b'0' { b'1' } else { b'0' };
        text
    };
    let cases: Vec<(&str, Signed, u16, &str)> = vec![
        ("hash", bent(Payload::Hex, 100), 400, "XAmzContentSHA256Mismatch"),
        ("chunk", bent(Payload::SignedChunks(8192), 9000), 403, "SignatureDoesNotMatch"),
        ("chunk before a trailer", bent(signed_trailer, 9000), 403, "SignatureDoesNotMatch"),
        ("checksum behind", bent(trailer, 9000), 400, "BadDigest"),
        ("trailer signature", signed(signed_trailer).edit_body(last_signature), 403, "SignatureDoesNotMatch"),
        ("undeclared trailer", undeclared, 400, "MalformedTrailerError"),
    ];
    for (what, signed, status, code) in cases {
        refused(what, &region, &client, signed, status, code).await;
    }
    let crc32 = crc.base64(&body(20_000));
    let wrong_md5 = put(Payload::Unsigned).with("content-md5", &digest::md5_base64(b"other"));
    refused("md5", &region, &client, client.sign(&wrong_md5), 400, "BadDigest").await;
    let wrong_crc = put(Payload::Unsigned).with("x-amz-checksum-crc32c", &crc32);
    refused("crc", &region, &client, client.sign(&wrong_crc), 400, "BadDigest").await;
    let right_crc = put(Payload::Unsigned).with("x-amz-checksum-crc32", &crc32);
    client.send(&right_crc).await.expect(200);
}

#[tokio::test]
async fn a_body_cut_on_its_way_stores_nothing() {
    let (region, client) = region();
    for payload in Payload::ALL {
        let signed = client.sign(&Request::put("/photos/k", body(50_000)).payload(payload));
        let mut bytes = signed.bytes();
        bytes.truncate(bytes.len() - 3);
        let mut connection = client.connect().await;
        tokio::io::AsyncWriteExt::write_all(&mut connection.stream, &bytes).await.unwrap();
        tokio::io::AsyncWriteExt::shutdown(&mut connection.stream).await.unwrap();
        assert!(connection.is_closed().await);
        assert!(region.keys(BUCKET).is_empty(), "{payload:?}");
        assert_eq!(region.seen_once().body, None);
        region.forget();
    }
}

#[tokio::test]
async fn frames_may_be_split_anywhere() {
    let (region, client) = region();
    let plain = Payload::UnsignedTrailer(8192, Algorithm::Sha256, Framing::Length);
    let framed = Payload::UnsignedTrailer(8192, Algorithm::Sha256, Framing::Chunked);
    let inner = client.sign(&Request::put("/photos/k", body(30_000)).payload(plain)).body;
    for size in [1, 7, 8192, 100_000] {
        let mut signed = client.sign(&Request::put("/photos/k", body(30_000)).payload(framed));
        signed.body = http_chunked(&inner, size);
        client.send_signed(&signed).await.expect(200);
        assert_eq!(region.object(BUCKET, "k").unwrap().body, body(30_000), "{size}");
    }
}

// ── what goes wrong on demand ────────────────────────────────────────────────

#[tokio::test]
async fn a_killed_region_refuses_and_its_sockets_are_reset_until_revived() {
    let (region, client) = region();
    region.seed(BUCKET, "k", body(10));
    let mut kept = client.connect().await;
    let get = client.sign(&Request::get("/photos/k")).bytes();
    let first = kept.exchange(&get, "GET").await.expect("a reply").expect(200);
    assert_eq!(first.body, body(10));
    region.kill();
    let refused = tokio::net::TcpStream::connect(region.address()).await;
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(kept.exchange(&get, "GET").await.is_none());
    region.revive();
    client.send(&Request::get("/photos/k")).await.expect(200);
}

#[tokio::test]
async fn a_frozen_region_accepts_and_says_nothing_until_thawed() {
    let (region, client) = region();
    region.freeze();
    let mut connection = client.connect().await;
    let put = client.sign(&Request::put("/photos/k", "v")).bytes();
    let silence = tokio::time::timeout(Duration::from_millis(100), connection.exchange(&put, "PUT"));
    assert!(silence.await.is_err());
    assert!(region.keys(BUCKET).is_empty());
    region.thaw();
    assert_eq!(connection.reply("PUT").await.expect("a reply").status, 200);
    assert_eq!(region.keys(BUCKET), ["k"]);
}

#[tokio::test]
async fn replies_are_cut_lied_about_slowed_and_replaced_as_told() {
    let (region, client) = region();
    region.seed(BUCKET, "k", body(5000));
    let get = Request::get("/photos/k");
    for end in [End::Reset, End::Close] {
        region.fault(When::key("k").times(1), Act::CutAfter(1234, end));
        let cut = client.send(&get).await;
        assert_eq!((cut.status, cut.body.len(), cut.ended), (200, 1234, Ended::Cut), "{end:?}");
    }
    region.fault(When::key("k").times(1), Act::LieAboutLength(7));
    let lied = client.send(&get).await;
    assert_eq!((lied.header("content-length"), lied.ended), (Some("5007"), Ended::Cut));
    region.fault(When::key("k").times(1), Act::Slow(25_000));
    let started = moment::mono();
    assert_eq!(client.send(&get).await.expect(200).body, body(5000));
    assert!(started.elapsed() >= Duration::from_millis(100));
    region.fault(When::operation("GetObject").times(2), Act::Answer { status: 500, code: "InternalError" });
    for _ in 0..2 {
        assert_eq!(client.send(&get).await.expect(500).code().as_deref(), Some("InternalError"));
    }
    client.send(&get).await.expect(200);
    region.fault(When::always().after(1), Act::DropAtHead(End::Reset));
    client.send(&get).await.expect(200);
    assert!(client.send_bytes(&client.sign(&get).bytes()).await.is_none());
    region.heal();
    client.send(&get).await.expect(200);
}

#[tokio::test]
async fn answers_are_lost_before_or_after_the_commit_as_told() {
    let (region, client) = region();
    let lost = |key: &str| client.sign(&Request::put(&format!("/photos/{key}"), "v")).bytes();
    region.fault(When::key("before"), Act::DropBeforeCommit(End::Reset));
    region.fault(When::key("after"), Act::DropAfterCommit(End::Reset));
    assert!(client.send_bytes(&lost("before")).await.is_none());
    assert!(client.send_bytes(&lost("after")).await.is_none());
    assert_eq!(region.keys(BUCKET), ["after"]);
    region.fault(When::key("silent"), Act::Silent);
    let mut connection = client.connect().await;
    let silent = lost("silent");
    let silence = tokio::time::timeout(Duration::from_millis(50), connection.exchange(&silent, "PUT"));
    assert!(silence.await.is_err());
    region.wait_for(|seen| seen.key == "silent").await;
    assert_eq!(region.keys(BUCKET), ["after"]);
}

#[tokio::test]
async fn a_hundred_is_sent_after_the_signature_or_withheld() {
    let (region, client) = region();
    let put = Request::put("/photos/k", "v").with("expect", "100-continue");
    client.send(&put).await.expect(200);
    assert!(region.seen_once().continued);
    region.forget();
    region.fault(When::always(), Act::NoContinue);
    client.send(&put).await.expect(200);
    assert!(!region.seen_once().continued);
    region.heal();
    region.forget();
    let forged = client.sign(&put).set("x-amz-date", &moment::amz(moment::shifted(client.now(), 1)));
    let mut connection = client.connect().await;
    let reply = connection.exchange(&forged.head_bytes(), "PUT").await.expect("an answer without the body");
    assert_eq!(reply.code().as_deref(), Some("SignatureDoesNotMatch"));
    assert!(connection.is_closed().await);
}

#[tokio::test]
async fn more_than_the_throttle_allows_is_told_to_slow_down() {
    let (region, client) = region();
    region.throttle(Some(0));
    let reply = client.send(&Request::get("/photos")).await.expect(503);
    assert_eq!(reply.code().as_deref(), Some("SlowDown"));
    region.throttle(Some(1000));
    client.send(&Request::get("/photos")).await.expect(200);
}

// ── the gateway's configuration ──────────────────────────────────────────────

#[test]
fn the_configuration_of_the_default_set_up_is_accepted_without_a_warning() {
    let (near, far) = (Region::start("near", &["photos-near"]), Region::start("far", &["photos-far"]));
    let mut setup = Setup::over(&[&near, &far]);
    let mut second = Tenant::of("second", &["photos"]);
    second.session_token = Some("a-token".to_owned());
    setup.tenants.push(second);
    let folder = tempfile::tempdir().unwrap();
    let loaded =
        nearpoint::config::load(&setup.write(folder.path())).unwrap_or_else(|refused| panic!("{refused}"));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

// ── replication ──────────────────────────────────────────────────────────────

fn three() -> Vec<Arc<Region>> {
    let buckets = [("near", "photos-near"), ("mid", "photos-mid"), ("far", "photos-far")];
    buckets.iter().map(|(name, bucket)| Arc::new(Region::start(name, &[bucket]))).collect()
}

#[tokio::test]
async fn writes_and_deletes_reach_the_others_and_the_later_wins() {
    let regions = three();
    let [near, mid, far] = regions.as_slice() else { panic!("three regions") };
    let replicator = Replicator::by_hand(&[near, mid, far], Ways::Two);
    near.seed("photos-near", "a", "1");
    mid.seed("photos-mid", "b", "1");
    replicator.settle();
    assert_eq!(far.keys("photos-far"), ["a", "b"]);
    near.seed("photos-near", "a", "near");
    far.seed("photos-far", "a", "far, later");
    mid.unseed("photos-mid", "b");
    replicator.settle();
    for (region, bucket) in [(near, "photos-near"), (mid, "photos-mid"), (far, "photos-far")] {
        assert_eq!(region.keys(bucket), ["a"]);
        assert_eq!(region.object(bucket, "a").unwrap().body, "far, later");
    }
}

#[tokio::test]
async fn lag_holds_changes_back() {
    let regions = three();
    let lagging = Replicator::start(&[&regions[0], &regions[1]], Ways::One, Duration::from_hours(1));
    regions[0].seed("photos-near", "a", "1");
    let quick = Replicator::start(&[&regions[0], &regions[2]], Ways::One, Duration::from_millis(1));
    let started = moment::mono();
    while regions[2].object("photos-far", "a").is_none() {
        assert!(started.elapsed() < PATIENCE, "the quick one carries it");
        tokio::task::yield_now().await;
    }
    assert!(regions[1].object("photos-mid", "a").is_none());
    lagging.settle();
    assert!(regions[1].object("photos-mid", "a").is_some());
    drop(quick);
}

// ── what a region with a log keeps ───────────────────────────────────────────

#[tokio::test]
async fn a_region_with_a_log_comes_back_with_what_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        let home = Some(folder.path().to_owned());
        Region::start_with(Settings { home, versioned: true, ..Settings::new("frankfurt", &[BUCKET]) })
    };
    let region = start();
    let client = Client::of(&region);
    client.send(&Request::put("/photos/k", body(10)).with("x-amz-meta-who", "me")).await.expect(200);
    client.send(&Request::put("/photos/k", body(20))).await.expect(200);
    client.send(&Request::put("/photos/gone", body(5))).await.expect(200);
    client.send(&Request::delete("/photos/gone")).await.expect(204);
    let begun = client.send(&Request::post("/photos/large?uploads", Vec::new())).await.expect(200);
    let id = text::element(&begun.text(), "UploadId").unwrap();
    let part = format!("/photos/large?partNumber=1&uploadId={id}");
    client.send(&Request::put(&part, body(30))).await.expect(200);
    let (before, contents) = (region.journal(0), region.contents(BUCKET));
    drop(region);
    // half a record, as a kill in the middle of a write leaves it
    let log = folder.path().join("log");
    let mut torn = std::fs::read(&log).unwrap();
    torn.extend_from_slice(b"{\"is\":\"change\",\"buck");
    std::fs::write(&log, torn).unwrap();

    let region = start();
    let client = Client::of(&region);
    assert_eq!(region.contents(BUCKET), contents);
    assert_eq!(region.object(BUCKET, "k").unwrap().body, body(20));
    assert!(region.object(BUCKET, "gone").is_none());
    assert_eq!(region.uploads(BUCKET), [(id, 1)]);
    assert_eq!(region.journal(0).1, before.1, "a replicator's cursor still means the same");
    // and it goes on: nothing is written behind half a record
    client.send(&Request::put("/photos/new", body(7))).await.expect(200);
    drop(region);
    assert_eq!(start().object(BUCKET, "new").unwrap().body, body(7));
}

#[tokio::test]
async fn a_journal_forgets_what_was_read() {
    let (region, client) = region();
    for key in ["a", "b", "c"] {
        client.send(&Request::put(&format!("/photos/{key}"), body(1))).await.expect(200);
    }
    region.forget_journal(2);
    let (changes, cursor) = region.journal(2);
    assert_eq!((changes.len(), changes[0].key.as_str(), cursor), (1, "c", 3));
    let read = changes[0].to_wire();
    let written = Change::of_wire(&read.0, read.1).unwrap();
    assert_eq!((written.key, written.stamp), (changes[0].key.clone(), changes[0].stamp.clone()));
}
