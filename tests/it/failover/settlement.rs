//! Writes whose answer was lost: told as done only where the object's head proves it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;

use super::{
    BUCKETS, NAMES, Scene, begin, body, expect_unavailable, operations, pair, regions, seen, served_by,
    setup, timed, tries,
};
use crate::house::client::{Client, Payload, Reply, Request};
use crate::house::digest::{self, Algorithm};
use crate::house::region::{self, Act, End, PATIENCE, Region, Seen, Settings, When};
use crate::house::text;

const NONCE: &str = "x-amz-meta-nearpoint-write";
const LOST: Act = Act::DropAfterCommit(End::Reset);
const NEVER_TAKEN: Act = Act::DropBeforeCommit(End::Reset);

/// The next PUT of the nearest region goes like this.
fn put_ends(scene: &Scene, act: Act) {
    scene.near().fault(When::operation("PutObject").times(1), act);
}

/// Sends a request whose answer the nearest region loses in this way, and which it says nothing of
/// while `meanwhile` goes on.
async fn lost(scene: &Scene, request: &Request, act: Act, meanwhile: impl Future) -> Reply {
    put_ends(scene, act);
    scene.near().fault(When::operation("HeadObject"), Act::DropAtHead(End::Reset));
    let between = async {
        let asked = |seen: &Seen| seen.operation == "HeadObject" && request.target.ends_with(&seen.key);
        scene.near().wait_for(asked).await;
        meanwhile.await;
        scene.near().heal();
    };
    tokio::join!(scene.client.send(request), between).0
}

/// How the access log says that a request was settled.
fn settled(scene: &Scene, reply: &Reply) -> String {
    let line = scene.gateway.access_line(reply.header("x-amz-request-id").unwrap());
    line["settled"].as_str().unwrap_or("not").to_owned()
}

fn fresh(target: &str, body: &str) -> Request {
    Request::put(target, body).with("if-none-match", "*")
}

fn nonce_of(scene: &Scene, key: &str) -> Option<String> {
    scene.near().object(BUCKETS[0], key)?.header(NONCE).map(str::to_owned)
}

#[tokio::test]
async fn a_put_that_was_done_is_told_as_done_although_its_answer_was_lost() {
    let named = NAMES.iter().zip(BUCKETS).take(2);
    let versioned = |(name, bucket): (&&str, &str)| {
        let settings = Settings { versioned: true, ..Settings::new(name, &[bucket]) };
        Arc::new(Region::start_with(settings))
    };
    let regions: Vec<_> = named.map(|(name, bucket)| versioned((name, bucket))).collect();
    let mut setup = setup(&regions, "refuse");
    setup.rest = "timeouts: {put_answer: 2s}\n".to_owned();
    let scene = begin(regions, &setup).await;
    let silent = Act::SilentAfterCommit;
    for (key, act) in [("a", LOST), ("b", Act::DropAfterCommit(End::Close)), ("c", silent)] {
        put_ends(&scene, act.clone());
        scene.near().forget();
        let put = Request::put(&format!("/photos/{key}"), "value")
            .with("content-type", "text/plain")
            .with("x-amz-meta-colour", "blue");
        let reply = scene.client.send(&put).await.expect(200);
        let object = scene.near().object(BUCKETS[0], key).unwrap();
        assert_eq!(
            (served_by(&reply), reply.header("etag")),
            ("near", Some(object.etag.as_str())),
            "{act:?}"
        );
        assert!(reply.header("x-amz-version-id").is_some_and(|id| id.starts_with("np1_")), "{act:?}");
        assert_eq!((reply.body.len(), reply.header("x-amz-meta-colour")), (0, None), "{act:?}");
        assert_eq!(operations(scene.near()), ["PutObject", "HeadObject"], "{act:?}");
        assert_eq!(settled(&scene, &reply), "proven", "{act:?}");
        let head = &seen(scene.near(), "HeadObject")[0];
        assert_eq!(head.header("x-amz-checksum-mode"), Some("ENABLED"));
        assert_eq!(head.target, format!("/{}/{key}", BUCKETS[0]));
        assert_eq!(object.header(NONCE), None, "an unconditional write leaves nothing");
    }
    assert!(scene.far().seen().is_empty());
    let (_, metrics) = scene.gateway.admin_text("/metrics").await;
    let counted = r#"nearpoint_writes_settled_total{region="near",outcome="proven"}"#;
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn a_put_over_what_was_acknowledged_a_moment_ago_is_sent_again_if_it_was_never_taken() {
    let regions = regions(2);
    let setup = setup(&regions, "refuse");
    let scene = begin(regions, &setup).await;
    scene.client.send(&Request::put("/photos/k", "first")).await.expect(200);
    put_ends(&scene, NEVER_TAKEN);
    let reply = scene.client.send(&Request::put("/photos/k", "second")).await.expect(200);
    assert_eq!((settled(&scene, &reply).as_str(), seen(scene.near(), "PutObject").len()), ("refuted", 3));
    assert_eq!(scene.near().object(BUCKETS[0], "k").unwrap().body, "second");
    // an upload's end is a write as well
    scene.client.upload("/photos/k", &[b"part"]).await.expect(200);
    put_ends(&scene, NEVER_TAKEN);
    let reply = scene.client.send(&Request::put("/photos/k", "after")).await.expect(200);
    assert_eq!(settled(&scene, &reply), "refuted");
    scene.near().forget();
    // written by somebody else meanwhile: ours might undo it
    let competitor = async { scene.near().seed(BUCKETS[0], "k", "theirs") };
    let reply = lost(&scene, &Request::put("/photos/k", "third"), NEVER_TAKEN, competitor).await;
    assert_eq!(settled(&scene, &reply), "unclear");
    expect_unavailable(reply);
}

#[tokio::test]
async fn a_clock_that_is_a_little_behind_makes_no_write_unproven_and_no_older_object_ours() {
    let regions = regions(2);
    regions[0].change_settings(|settings| settings.clock_ahead = -2);
    let setup = setup(&regions, "refuse");
    let scene = begin(regions, &setup).await;
    for key in ["a", "b", "c"] {
        put_ends(&scene, LOST);
        let reply = scene.client.send(&Request::put(&format!("/photos/{key}"), "value")).await.expect(200);
        assert_eq!((settled(&scene, &reply).as_str(), seen(scene.near(), "PutObject").len()), ("proven", 1));
        scene.near().forget();
    }
    scene.near().seed_old(BUCKETS[0], "old", "value", 60);
    put_ends(&scene, NEVER_TAKEN);
    let reply = scene.client.send(&Request::put("/photos/old", "value")).await.expect(200);
    assert_eq!((settled(&scene, &reply).as_str(), seen(scene.near(), "PutObject").len()), ("refuted", 2));
}

#[tokio::test]
async fn a_put_that_the_region_never_took_is_sent_again() {
    for body in ["value", "other"] {
        let scene = pair("refuse").await;
        scene.near().seed_old(BUCKETS[0], "k", "value", 60);
        scene.near().seed_old(BUCKETS[0], "gone", "value", 60);
        scene.near().unseed(BUCKETS[0], "gone");
        for key in ["k", "gone"] {
            put_ends(&scene, NEVER_TAKEN);
            let put = Request::put(&format!("/photos/{key}"), body).with("x-amz-meta-a", "1");
            let reply = scene.client.send(&put).await.expect(200);
            let object = scene.near().object(BUCKETS[0], key).unwrap();
            assert_eq!((object.body.as_ref(), object.header("x-amz-meta-a")), (body.as_bytes(), Some("1")));
            assert_eq!(settled(&scene, &reply), "refuted");
            let line = scene.gateway.access_line(reply.header("x-amz-request-id").unwrap());
            let told = [("near", "broken"), ("near", "answered")];
            assert_eq!(tries(&line), told.map(|(region, outcome)| (region.to_owned(), outcome.to_owned())));
        }
    }
}

#[tokio::test]
async fn an_empty_put_is_settled_when_its_repeats_were_not_answered_either() {
    let scene = pair("refuse").await;
    scene.near().fault(When::operation("PutObject"), LOST);
    let reply = scene.client.send(&Request::put("/photos/k", "")).await.expect(200);
    assert_eq!((settled(&scene, &reply).as_str(), seen(scene.near(), "PutObject").len()), ("proven", 3));
}

#[tokio::test]
async fn an_object_under_the_clients_own_key_is_asked_for_with_it() {
    const CUSTOMER: &str = "x-amz-server-side-encryption-customer-";
    let scene = pair("refuse").await;
    let key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    let fields = [("algorithm", "AES256"), ("key", key), ("key-md5", "hRasmdxgYDKV3nvbahU1MA==")];
    for (name, value) in [("algorithm", "AES256"), ("key-md5", "hRasmdxgYDKV3nvbahU1MA==")] {
        let name: &'static str = format!("{CUSTOMER}{name}").leak();
        scene.near().fault(When::operation("HeadObject"), Act::Say(name, value.to_owned()));
    }
    // its tag is of ciphertext: without a checksum nothing shows what it is
    for (checksum, status) in [(true, 200), (false, 503)] {
        let mut put = Request::put("/photos/k", "value");
        for (name, value) in fields {
            put = put.with(&format!("{CUSTOMER}{name}"), value);
        }
        if checksum {
            put = put.with(Algorithm::Crc32.header(), &Algorithm::Crc32.base64(b"value"));
        }
        put_ends(&scene, LOST);
        scene.near().forget();
        scene.client.send(&put).await.expect(status);
        let head = &seen(scene.near(), "HeadObject")[0];
        for (name, value) in fields {
            assert_eq!(head.header(&format!("{CUSTOMER}{name}")), Some(value));
        }
    }
}

#[tokio::test]
async fn a_put_is_not_mistaken_for_another_one() {
    let put = || Request::put("/photos/k", "value").with("x-amz-meta-a", "1");
    // the same bytes with other metadata, and a competitor's other bytes over ours
    let cases = [(NEVER_TAKEN, "value"), (LOST, "theirs")];
    let cases = cases
        .into_iter()
        .flat_map(|(act, other)| ["refuse", "allow"].map(|writes| (act.clone(), other, writes)));
    for (act, other, writes) in cases {
        let scene = pair(writes).await;
        let theirs = async { scene.near().seed(BUCKETS[0], "k", other) };
        let reply = lost(&scene, &put(), act.clone(), theirs).await;
        assert_eq!(settled(&scene, &reply), "unclear", "{act:?}");
        expect_unavailable(reply);
        assert!(scene.far().seen().is_empty(), "there it might win over theirs: {act:?} {writes}");
        let object = scene.near().object(BUCKETS[0], "k").unwrap();
        assert_eq!((object.body.as_ref(), object.headers.len()), (other.as_bytes(), 0), "{act:?}");
        assert_eq!(seen(scene.near(), "PutObject").len(), 1, "{act:?}");
    }
}

#[tokio::test]
async fn a_region_that_will_not_say_settles_nothing() {
    let scene = pair("refuse").await;
    scene.near().fault(When::operation("HeadObject"), Act::Answer { status: 403, code: "AccessDenied" });
    put_ends(&scene, LOST);
    let reply = scene.client.send(&Request::put("/photos/k", "value")).await;
    assert_eq!(settled(&scene, &reply), "unknown");
    expect_unavailable(reply);
    assert_eq!(operations(scene.near()), ["PutObject", "HeadObject"], "asking again would not help");
}

#[tokio::test]
async fn a_region_that_is_back_after_five_seconds_settles_what_it_took() {
    let scene = pair("refuse").await;
    let away = async {
        scene.near().kill();
        tokio::time::sleep(Duration::from_secs(5)).await;
        scene.near().revive();
    };
    let (reply, took) = timed(lost(&scene, &Request::put("/photos/k", "value"), LOST, away)).await;
    let reply = reply.expect(200);
    assert!(took >= Duration::from_secs(5), "{took:?}");
    assert_eq!((served_by(&reply), settled(&scene, &reply).as_str()), ("near", "proven"));
    assert_eq!(seen(scene.near(), "PutObject").len(), 1);
}

#[tokio::test]
async fn where_writes_may_move_a_lost_one_is_settled_first_and_moves_if_it_cannot_be() {
    let scene = pair("allow").await;
    put_ends(&scene, LOST);
    let reply = scene.client.send(&Request::put("/photos/k", "value")).await.expect(200);
    assert_eq!((served_by(&reply), settled(&scene, &reply).as_str()), ("near", "proven"));
    assert!(scene.far().seen().is_empty());
    scene.near().fault(When::operation("HeadObject"), Act::DropAtHead(End::Reset));
    put_ends(&scene, LOST);
    let (reply, took) = timed(scene.client.send(&Request::put("/photos/l", "value"))).await;
    let reply = reply.expect(200);
    assert_eq!((served_by(&reply), settled(&scene, &reply).as_str()), ("far", "unknown"));
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[tokio::test]
async fn where_writes_may_move_nothing_is_awaited_of_a_region_that_is_out() {
    let scene = pair("allow").await;
    scene.client.send(&Request::put("/photos/before", "value")).await.expect(200);
    scene.near().freeze();
    let reply = scene.client.send(&Request::put("/photos/k", "value")).await.expect(200);
    assert_eq!(served_by(&reply), "far");
    assert_eq!(scene.standing_of("near", "writes").await, "out");
    scene.near().thaw();
    scene.near().wait_for(|seen| seen.key == "k").await;
    Client::of(scene.near()).send(&Request::get(&format!("/{}/before", BUCKETS[0]))).await.expect(200);
    assert_eq!(seen(scene.near(), "HeadObject").len(), 0);
}

// ── conditional writes ───────────────────────────────────────────────────────

#[tokio::test]
async fn a_conditional_put_is_known_by_its_nonce_which_no_client_sees() {
    let scene = pair("refuse").await;
    put_ends(&scene, LOST);
    let reply = scene.client.send(&fresh("/photos/k", "value").with("x-amz-meta-a", "1")).await.expect(200);
    assert_eq!(settled(&scene, &reply), "proven");
    let first = nonce_of(&scene, "k").expect("it was left");
    assert_eq!(first.len(), 16);
    let put = &seen(scene.near(), "PutObject")[0];
    assert_eq!((put.header(NONCE), put.signed(NONCE)), (Some(first.as_str()), true));
    for request in [Request::get("/photos/k"), Request::head("/photos/k")] {
        let reply = scene.client.send(&request).await.expect(200);
        assert_eq!((reply.header(NONCE), reply.header("x-amz-meta-a")), (None, Some("1")));
    }
    // a lock file has no byte
    put_ends(&scene, LOST);
    let lock = scene.client.send(&fresh("/photos/lock", "")).await.expect(200);
    assert_eq!(settled(&scene, &lock), "proven");
    // one for each attempt, and no client's own
    let etag = reply.header("etag").unwrap();
    let again = Request::put("/photos/k", "value").with("if-match", etag).with(NONCE, &first);
    scene.client.send(&again).await.expect(200);
    assert!(nonce_of(&scene, "k").is_some_and(|second| second != first));
}

#[tokio::test]
async fn of_two_equal_conditional_puts_only_the_one_that_was_done_is_told_so() {
    let scene = pair("refuse").await;
    let put = fresh("/photos/k", "value");
    let other = async { scene.client.send(&put).await.expect(200) };
    let reply = lost(&scene, &put, NEVER_TAKEN, other).await;
    assert_eq!(settled(&scene, &reply), "unclear");
    expect_unavailable(reply);
    assert_eq!(seen(scene.near(), "PutObject").len(), 2);
}

#[tokio::test]
async fn a_condition_is_told_to_have_failed_only_upon_what_was_there_before() {
    let scene = pair("refuse").await;
    scene.near().seed_old(BUCKETS[0], "old", "value", 60);
    scene.near().seed_old(BUCKETS[0], "new", "value", 1);
    put_ends(&scene, LOST);
    let reply = scene.client.send(&fresh("/photos/old", "value")).await.expect(412);
    assert_eq!(
        (reply.code().as_deref(), settled(&scene, &reply).as_str()),
        (Some("PreconditionFailed"), "refuted")
    );
    put_ends(&scene, LOST);
    expect_unavailable(scene.client.send(&fresh("/photos/new", "value")).await);
    put_ends(&scene, LOST);
    let stale = Request::put("/photos/old", "value").with("if-match", "\"another\"");
    scene.client.send(&stale).await.expect(412);
    // it would have held: whatever became of it, it was not refused
    put_ends(&scene, NEVER_TAKEN);
    let etag = scene.near().object(BUCKETS[0], "old").unwrap().etag;
    let held = Request::put("/photos/old", "other").with("if-match", &etag);
    expect_unavailable(scene.client.send(&held).await);
}

#[tokio::test]
async fn without_a_nonce_a_conditional_put_is_never_told_as_done() {
    let regions = regions(2);
    let mut setup = setup(&regions, "refuse");
    let off = "replication: two_way\n    write_nonce: false";
    setup.edit_access_point("photos", "replication: two_way", off);
    let scene = begin(regions, &setup).await;
    put_ends(&scene, LOST);
    expect_unavailable(scene.client.send(&fresh("/photos/k", "value")).await);
    assert_eq!(nonce_of(&scene, "k"), None);
    let scene = pair("refuse").await;
    // the metadata is as long as it may be
    put_ends(&scene, LOST);
    let full = fresh("/photos/k", "value").with("x-amz-meta-a", &"v".repeat(2047));
    expect_unavailable(scene.client.send(&full).await);
    assert!(scene.near().object(BUCKETS[0], "k").is_some() && nonce_of(&scene, "k").is_none());
}

// ── bodies that are not kept ─────────────────────────────────────────────────

#[tokio::test]
async fn a_body_too_long_to_be_kept_is_known_by_what_was_computed_on_its_way() {
    let long = body(300_000);
    let crc = Algorithm::Crc64Nvme.base64(&long);
    for (line, told, status) in [
        ("etag_check: md5", None, 200),
        ("etag_check: auto", Some(crc), 200),
        ("etag_check: auto", Some(Algorithm::Crc64Nvme.base64(b"another")), 503),
        ("etag_check: auto", None, 503),
    ] {
        let regions = regions(2);
        let mut setup = setup(&regions, "refuse");
        setup.rest = "limits: {replay_body: 64KiB}\n".to_owned();
        let line = format!("replication: two_way\n    {line}");
        setup.edit_access_point("photos", "replication: two_way", &line);
        let scene = begin(regions, &setup).await;
        if let Some(told) = &told {
            let says = Act::Say(Algorithm::Crc64Nvme.header(), told.clone());
            scene.near().fault(When::operation("HeadObject"), says);
        }
        put_ends(&scene, LOST);
        let put = Request::put("/photos/k", long.clone()).payload(Payload::Unsigned);
        scene.client.send(&put).await.expect(status);
        assert!(scene.near().object(BUCKETS[0], "k").unwrap().body == long, "{line}");
        assert_eq!(seen(scene.near(), "PutObject").len(), 1);
    }
}

// ── uploads ──────────────────────────────────────────────────────────────────

/// An upload of two parts in the nearest region, all but its end.
async fn upload(scene: &Scene) -> Request {
    let created = scene.client.send(&Request::post("/photos/big?uploads", "")).await.expect(200);
    let id = text::encoded(&text::element(&created.text(), "UploadId").unwrap(), "");
    let mut parts = String::new();
    for number in 1..=2 {
        let put =
            Request::put(&format!("/photos/big?partNumber={number}&uploadId={id}"), format!("part {number}"));
        let reply = scene.client.send(&put).await.expect(200);
        let etag = text::escaped(reply.header("etag").unwrap());
        parts.push_str(&format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"));
    }
    let xml = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
    Request::post(&format!("/photos/big?uploadId={id}"), xml)
}

#[tokio::test]
async fn an_upload_that_was_completed_is_told_so_at_once_and_again() {
    let scene = pair("refuse").await;
    for complete in [upload(&scene).await, upload(&scene).await.with("if-none-match", "*")] {
        scene.near().unseed(BUCKETS[0], "big");
        scene.near().fault(When::operation("CompleteMultipartUpload").times(1), LOST);
        // the client's own repeat finds no upload any more
        for _ in 0..2 {
            let reply = scene.client.send(&complete).await.expect(200);
            assert_eq!(settled(&scene, &reply), "proven");
            let object = scene.near().object(BUCKETS[0], "big").unwrap();
            let told = |name: &str| text::element(&reply.text(), name);
            assert_eq!(told("ETag").as_deref(), Some(object.etag.as_str()), "{}", reply.text());
            assert!(object.etag.ends_with("-2\""));
            assert_eq!((told("Bucket").as_deref(), told("Key").as_deref()), (Some("photos"), Some("big")));
            assert!(told("Location").is_some_and(|at| at.ends_with("/photos/big")), "{}", reply.text());
            assert!(!reply.text().contains(BUCKETS[0]), "{}", reply.text());
        }
    }
    let nonce = nonce_of(&scene, "big").expect("an upload leaves one");
    let created = seen(scene.near(), "CreateMultipartUpload");
    assert_eq!(created.last().unwrap().header(NONCE), Some(nonce.as_str()));
    assert_eq!(scene.client.send(&Request::head("/photos/big")).await.expect(200).header(NONCE), None);
}

#[tokio::test]
async fn an_upload_is_not_mistaken_for_an_equal_one() {
    let scene = pair("refuse").await;
    let (ours, theirs) = (upload(&scene).await, upload(&scene).await);
    scene.client.send(&theirs).await.expect(200);
    // never completed: another one of the same parts is what is there
    scene.near().fault(When::operation("CompleteMultipartUpload").times(1), NEVER_TAKEN);
    let reply = scene.client.send(&ours).await;
    assert_eq!(settled(&scene, &reply), "unclear");
    expect_unavailable(reply);
    let aborted = Request::delete(&ours.target);
    scene.client.send(&aborted).await.expect(204);
    let reply = scene.client.send(&ours).await.expect(404);
    assert_eq!(reply.code().as_deref(), Some("NoSuchUpload"));
}

// ── errors inside a success ──────────────────────────────────────────────────

/// A `200` with this document, after white space.
fn says(document: &str) -> Act {
    let body = format!("  \n{document}");
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/xml\r\ncontent-length: {}\r\n\r\n", body.len());
    Act::AnswerBytes(Bytes::from(head + &body))
}

const FAULT: &str = "<Error><Code>InternalError</Code><Message>m</Message></Error>";

#[tokio::test]
async fn an_error_inside_a_success_is_told_as_one_and_is_no_sign_of_health() {
    let scene = pair("refuse").await;
    scene.seed_numbers(1);
    let complete = upload(&scene).await;
    let target = complete.target.replace("uploadId", "partNumber=3&uploadId");
    let source = |request: Request| request.with("x-amz-copy-source", "/photos/n/0");
    for (operation, request) in [
        ("CopyObject", source(Request::put("/photos/copy", ""))),
        ("UploadPartCopy", source(Request::put(&target, ""))),
    ] {
        scene.near().fault(When::operation(operation).times(1), says(FAULT));
        let reply = scene.client.send(&request).await.expect(500);
        assert_eq!(reply.code().as_deref(), Some("InternalError"), "{operation}");
        let line = scene.gateway.access_line(reply.header("x-amz-request-id").unwrap());
        assert_eq!(tries(&line), [("near".to_owned(), "server fault".to_owned())], "{operation}");
        scene.client.send(&request).await.expect(200);
    }
    // an upload ends once, however often that is asked for
    scene.near().fault(When::operation("CompleteMultipartUpload").times(1), says(FAULT));
    let reply = scene.client.send(&complete).await.expect(200);
    let line = scene.gateway.access_line(reply.header("x-amz-request-id").unwrap());
    let word = |outcome: &str| ("near".to_owned(), outcome.to_owned());
    assert_eq!(tries(&line), [word("server fault"), word("answered")]);
    // one that asks for less is asked again
    scene.near().fault(
        When::operation("CopyObject").times(1),
        says("<Error><Code>SlowDown</Code><Message>m</Message></Error>"),
    );
    let reply = scene.client.send(&source(Request::put("/photos/again", ""))).await.expect(200);
    let line = scene.gateway.access_line(reply.header("x-amz-request-id").unwrap());
    assert_eq!(tries(&line)[0].1, "throttled");
    // what was done although it says otherwise
    let complete = upload(&scene).await;
    let inside = Act::ErrorInsideOk { code: "InternalError" };
    scene.near().fault(When::operation("CompleteMultipartUpload").times(1), inside);
    let reply = scene.client.send(&complete).await.expect(200);
    assert_eq!(settled(&scene, &reply), "proven");
}

#[tokio::test]
async fn a_success_that_breaks_off_is_a_lost_answer() {
    let scene = pair("refuse").await;
    let complete = upload(&scene).await;
    let cut = Act::CutAfter(20, End::Reset);
    scene.near().fault(When::operation("CompleteMultipartUpload").times(1), cut);
    let reply = scene.client.send(&complete).await.expect(200);
    assert_eq!(settled(&scene, &reply), "proven");
    assert!(text::element(&reply.text(), "ETag").is_some_and(|etag| etag.ends_with("-2\"")));
}

#[tokio::test]
async fn a_success_of_nothing_but_white_space_is_a_lost_answer() {
    let scene = pair("refuse").await;
    let complete = upload(&scene).await;
    let nothing = || When::operation("CompleteMultipartUpload").times(1);
    scene.near().fault(nothing(), Act::NothingInsideOk);
    let reply = scene.client.send(&complete).await.expect(200);
    assert_eq!(settled(&scene, &reply), "proven");
    assert!(text::element(&reply.text(), "ETag").is_some_and(|etag| etag.ends_with("-2\"")));
    // nothing is there: whatever the store meant, it was no success
    let spaces =
        "HTTP/1.1 200 OK\r\nx-amz-request-id: 1\r\ntransfer-encoding: chunked\r\n\r\n4\r\n  \n \r\n0\r\n\r\n";
    let copy = Request::put("/photos/copy", "").with("x-amz-copy-source", "photos/big");
    scene.near().fault(When::operation("CopyObject"), Act::AnswerBytes(spaces.into()));
    expect_unavailable(scene.client.send(&copy).await);
}

#[tokio::test]
async fn a_success_that_takes_long_is_passed_on_as_it_comes() {
    let scene = pair("refuse").await;
    let complete = upload(&scene).await;
    // bytes a second: its document is at hand only after its head could not be held any longer
    scene.near().fault(When::operation("CompleteMultipartUpload").times(1), Act::Slow(20));
    let mut connection = scene.client.connect().await;
    connection.stream.write_all(&scene.client.sign(&complete).bytes()).await.unwrap();
    let begins = tokio::time::timeout(3 * PATIENCE, connection.stream.readable());
    let (begins, took) = timed(begins).await;
    begins.expect("the answer begins").unwrap();
    assert!(took >= Duration::from_secs(9), "{took:?}");
    let reply = connection.reply("POST").await.expect("an answer").expect(200);
    let object = scene.near().object(BUCKETS[0], "big").unwrap();
    assert_eq!(
        text::element(&reply.text(), "ETag").as_deref(),
        Some(object.etag.as_str()),
        "{}",
        reply.text()
    );
    assert_eq!(text::element(&reply.text(), "Bucket").as_deref(), Some("photos"));
}

/// Once its head had to go, an error behind it is passed on as it comes, and says nothing of the region.
#[tokio::test]
async fn an_error_that_takes_long_is_passed_on_as_it_comes_and_blames_nobody() {
    let scene = pair("refuse").await;
    let complete = upload(&scene).await;
    let inner = format!("<Code>InternalError</Code><Message>{}</Message>", "m".repeat(200));
    let when = || When::operation("CompleteMultipartUpload").times(1);
    scene.near().fault(when(), Act::Instead(region::Reply::new(200).xml("Error", &inner)));
    scene.near().fault(when(), Act::Slow(20));
    let mut connection = scene.client.connect().await;
    connection.stream.write_all(&scene.client.sign(&complete).bytes()).await.unwrap();
    let (begins, took) = timed(tokio::time::timeout(3 * PATIENCE, connection.stream.readable())).await;
    begins.expect("the answer begins").unwrap();
    assert!(took >= Duration::from_secs(9), "{took:?}");
    let reply = connection.reply("POST").await.expect("an answer");
    assert_eq!((reply.status, reply.code().as_deref()), (200, Some("InternalError")), "{}", reply.text());
    assert!(scene.near().object(BUCKETS[0], "big").is_none());
    let standing = scene.gateway.standing().await;
    assert!(standing.iter().all(|row| row.1 == "healthy" && row.2 == "healthy"), "{standing:?}");
}

#[tokio::test]
async fn what_takes_a_store_long_is_not_cut_for_coming_slowly() {
    let regions = regions(2);
    let mut setup = setup(&regions, "refuse");
    setup.rest = "timeouts: {body_progress: 1s}\n".to_owned();
    let scene = begin(regions, &setup).await;
    let complete = upload(&scene).await;
    let copied = Request::put("/photos/copy", "").with("x-amz-copy-source", "photos/big");
    for (operation, request) in [("CompleteMultipartUpload", complete), ("CopyObject", copied)] {
        // some 300 bytes: slower than any body may be, and as slow as white space
        scene.near().fault(When::operation(operation).times(1), Act::Slow(150));
        let (reply, took) = timed(scene.client.send(&request)).await;
        assert!(took > Duration::from_millis(1_200), "{operation}: {took:?}");
        assert!(text::element(&reply.expect(200).text(), "ETag").is_some(), "{operation}");
    }
}

#[tokio::test]
async fn keys_that_were_not_deleted_are_told_and_are_no_sign_of_health() {
    let scene = pair("refuse").await;
    let failed = |code: &str| {
        let key = format!("<Key>a</Key><Code>{code}</Code><Message>m</Message>");
        format!("<DeleteResult><Deleted><Key>b</Key></Deleted><Error>{key}</Error></DeleteResult>")
    };
    let xml = "<Delete><Object><Key>a</Key></Object><Object><Key>b</Key></Object></Delete>";
    let delete =
        Request::post("/photos?delete", xml).with("content-md5", &digest::md5_base64(xml.as_bytes()));
    let inside = r#"nearpoint_errors_inside_success_total{region="near"} 1"#;
    for (code, counted) in [("AccessDenied", false), ("InternalError", true)] {
        scene.near().fault(When::operation("DeleteObjects").times(1), says(&failed(code)));
        let reply = scene.client.send(&delete).await.expect(200);
        assert_eq!(reply.code().as_deref(), Some(code), "{}", reply.text());
        let (_, metrics) = scene.gateway.admin_text("/metrics").await;
        assert_eq!(metrics.contains(inside), counted, "{code}");
    }
}
