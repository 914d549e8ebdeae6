//! GETs whose reply breaks off: they go on elsewhere, byte for byte, or the client's connection is
//! aborted. Never two versions in one body.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{BUCKETS, Scene, begin, body, numbers, operations, regions, seen, setup, timed, tries};
use crate::house::client::{Ended, Reply, Request};
use crate::house::digest::Algorithm;
use crate::house::moment;
use crate::house::region::{Act, End, PATIENCE, Region, When};

/// Bytes of the object that is read.
const SIZE: usize = 300_000;

/// Two regions whose equal bytes have equal tags; probes stay out of it.
async fn stable(rest: &str) -> Scene {
    scene("etags: stable", rest).await
}

/// Two regions, the first preferred, with one more line about the access point and one at the top.
async fn scene(line: &str, rest: &str) -> Scene {
    let regions = regions(2);
    let mut setup = setup(&regions, "refuse");
    setup.probe_rarely();
    setup.edit_access_point("photos", "replication: two_way", &format!("replication: two_way\n    {line}"));
    setup.rest = rest.to_owned();
    let scene = begin(regions, &setup).await;
    scene.seed([("big".to_owned(), body(SIZE))]);
    scene
}

fn big() -> Request {
    Request::get("/photos/big")
}

fn cut(region: &Region, after: usize) {
    region.fault(When::key("big").times(1), Act::CutAfter(after, End::Close));
}

/// The access line of a reply's request.
fn line(scene: &Scene, reply: &Reply) -> Value {
    scene.gateway.access_line(reply.header("x-amz-request-id").expect("every answer has one"))
}

#[track_caller]
fn expect_whole(reply: &Reply, status: u16, wanted: &[u8]) {
    assert_eq!((reply.status, reply.ended, reply.body.len()), (status, Ended::Whole, wanted.len()));
    assert!(reply.body == wanted, "the bytes are others");
}

/// Lines of requests that were aborted because a region's reply broke off.
fn aborts(scene: &Scene) -> Vec<Value> {
    scene.gateway.access_lines().into_iter().filter(|line| line["aborted"] == "region").collect()
}

/// Reads the object: the connection is aborted, and what came before is of the object. The request's
/// access line, which alone says how much was sent: a reset may overtake what was on its way, even
/// the head.
async fn read_aborted(scene: &Scene) -> Value {
    let before = aborts(scene).len();
    let mut connection = scene.client.connect().await;
    let signed = scene.client.sign(&big());
    if let Some(reply) = connection.exchange(&signed.bytes(), "GET").await {
        assert_eq!((reply.status, reply.ended), (200, Ended::Cut));
        assert!(body(SIZE).starts_with(&reply.body));
    }
    let began = moment::mono();
    while aborts(scene).len() == before {
        assert!(moment::mono().saturating_duration_since(began) < PATIENCE, "no line of an abort");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    aborts(scene).remove(before)
}

/// The same, of a reply that nobody went on with after so many bytes.
async fn expect_aborted(scene: &Scene, after: u64) -> Value {
    let line = read_aborted(scene).await;
    assert_eq!((line["bytes_out"].as_u64(), line.get("resumed")), (Some(after), None), "{line}");
    line
}

fn word(region: &str, outcome: &str) -> (String, String) {
    (region.to_owned(), outcome.to_owned())
}

#[tokio::test]
async fn a_cut_reply_goes_on_in_the_next_region_wherever_it_was_cut() {
    let scene = stable("").await;
    let object = body(SIZE);
    let etag = scene.near().object(BUCKETS[0], "big").unwrap().etag;
    for at in [0, 1, 65_535, 65_536, 150_000, SIZE - 1] {
        scene.forget();
        cut(scene.near(), at);
        let reply = scene.client.send(&big()).await;
        expect_whole(&reply, 200, &object);
        let line = line(&scene, &reply);
        assert_eq!((line["resumed"].as_u64(), line["bytes_out"].as_u64()), (Some(1), Some(SIZE as u64)));
        assert_eq!(tries(&line), [word("near", "cut"), word("far", "answered")]);
        let rest = scene.far().seen_once();
        assert_eq!(rest.header("range"), Some(format!("bytes={at}-{}", SIZE - 1).as_str()));
        assert_eq!(rest.header("if-match"), Some(etag.as_str()));
    }
    let (_, metrics) = scene.gateway.admin_text("/metrics").await;
    assert!(metrics.contains("nearpoint_resumes_total{region=\"near\",outcome=\"resumed\"} 6"), "{metrics}");
    let bytes = metrics.lines().find_map(|line| line.strip_prefix("nearpoint_resumed_bytes_total "));
    let wanted: usize = [0, 1, 65_535, 65_536, 150_000, SIZE - 1].iter().map(|at| SIZE - at).sum();
    assert_eq!(bytes, Some(wanted.to_string().as_str()));
}

#[tokio::test]
async fn a_reset_reply_goes_on_from_the_last_byte_that_came() {
    let scene = stable("").await;
    for at in [1, 40_000, 131_072, 200_000, SIZE - 1] {
        scene.near().fault(When::key("big").times(1), Act::CutAfter(at, End::Reset));
        let reply = scene.client.send(&big()).await;
        // a reset may have overtaken the head
        expect_whole(&reply, 200, &body(SIZE));
    }
}

#[tokio::test]
async fn ranges_go_on_to_their_own_end() {
    let scene = stable("").await;
    let object = body(SIZE);
    for (asked, first, last) in [
        ("bytes=1000-200000", 1_000, 200_000),
        ("bytes=250000-", 250_000, SIZE - 1),
        ("bytes=-70000", SIZE - 70_000, SIZE - 1),
        ("bytes=0-10000", 0, 10_000),
    ] {
        scene.forget();
        cut(scene.near(), 10_000);
        let request = big().with("range", asked).with("if-none-match", "\"another\"");
        let reply = scene.client.send(&request).await;
        expect_whole(&reply, 206, &object[first..=last]);
        let rest = scene.far().seen_once();
        assert_eq!(rest.header("range"), Some(format!("bytes={}-{last}", first + 10_000).as_str()));
        assert_eq!(rest.header("if-none-match"), None, "the first answer has settled it");
    }
}

#[tokio::test]
async fn the_rest_of_a_part_is_asked_for_by_its_place_with_all_else_as_it_was() {
    let scene = stable("").await;
    scene.near().fault(When::key("big").times(1), Act::CutAfter(5_000, End::Close));
    let target = "/photos/big?partNumber=1&response-content-type=text%2Fplain";
    let key = "x-amz-server-side-encryption-customer-key-md5";
    let reply = scene.client.send(&Request::get(target).with(key, "1B2M2Y8AsgTpgAmY7PhCfg==")).await;
    expect_whole(&reply, 200, &body(SIZE));
    let rest = scene.far().seen_once();
    assert_eq!(rest.target, "/photos-far/big?response-content-type=text%2Fplain");
    assert_eq!(rest.header(key), Some("1B2M2Y8AsgTpgAmY7PhCfg=="));
    assert_eq!(rest.header("range"), Some(format!("bytes=5000-{}", SIZE - 1).as_str()));
}

#[tokio::test]
async fn a_multipart_object_goes_on_by_its_tag() {
    let scene = stable("").await;
    let part = body(SIZE);
    scene.client.upload("/photos/parts", &[&part, b"tail"]).await.expect(200);
    let all: Vec<&_> = scene.regions.iter().collect();
    let replicator = crate::house::replicator::Replicator::by_hand(&all, crate::house::replicator::Ways::One);
    replicator.settle();
    scene.near().fault(When::key("parts").times(1), Act::CutAfter(200_000, End::Close));
    let reply = scene.client.send(&Request::get("/photos/parts")).await;
    expect_whole(&reply, 200, &[&part[..], b"tail"].concat());
    assert!(reply.header("etag").unwrap().ends_with("-2\""), "{:?}", reply.header("etag"));
}

#[tokio::test]
async fn a_reply_that_stands_still_goes_on_elsewhere() {
    let scene = stable("timeouts: {body_progress: 1s}\n").await;
    scene.near().fault(When::key("big"), Act::HangAfter(100_000));
    let (reply, took) = timed(scene.client.send(&big())).await;
    expect_whole(&reply, 200, &body(SIZE));
    assert!((Duration::from_millis(900)..Duration::from_secs(5)).contains(&took), "{took:?}");
    assert_eq!(tries(&line(&scene, &reply)), [word("near", "stalled"), word("far", "answered")]);
    // a drip is no movement
    scene.near().heal();
    scene.near().fault(When::key("big"), Act::Slow(500));
    let reply = scene.client.send(&big()).await;
    expect_whole(&reply, 200, &body(SIZE));
}

#[tokio::test]
async fn the_same_region_goes_on_where_no_other_can_prove_anything() {
    let scene = scene("etags: opaque", "").await;
    scene.forget();
    cut(scene.near(), 123_456);
    let reply = scene.client.send(&big()).await;
    expect_whole(&reply, 200, &body(SIZE));
    assert_eq!(tries(&line(&scene, &reply)), [word("near", "cut"), word("near", "answered")]);
    assert!(scene.far().seen().is_empty(), "equal tags prove nothing unless the operator says so");
    let [first, rest] = &scene.near().seen()[..] else { panic!("{:?}", scene.near().seen()) };
    assert_ne!(first.connection, rest.connection, "a connection whose reply broke is not used again");
    // and if it is gone there is nobody
    cut(scene.near(), 123_456);
    scene.near().fault(When::key("big").after(1), Act::DropAtHead(End::Reset));
    expect_aborted(&scene, 123_456).await;
}

#[tokio::test]
async fn a_checksum_of_the_full_object_proves_it_whatever_the_tags() {
    let scene = scene("etags: opaque", "").await;
    let object = body(SIZE);
    let crc = Algorithm::Crc32.base64(&object);
    let put = Request::put("/photos/big", object.clone()).with("x-amz-checksum-crc32", &crc);
    scene.client.send(&put).await.expect(200);
    scene.seed([]);
    scene.far().fault(When::key("big"), Act::Say("etag", "\"made-otherwise\"".to_owned()));
    scene.forget();
    cut(scene.near(), 99_999);
    let reply = scene.client.send(&big()).await;
    expect_whole(&reply, 200, &object);
    // S3 tells no checksum with a range: the object's head does
    assert_eq!(operations(scene.far()), ["GetObject", "HeadObject"]);
    assert_eq!(scene.far().seen()[0].header("if-match"), None);
    assert_eq!(scene.far().seen()[1].header("x-amz-checksum-mode"), Some("ENABLED"));
    // we asked for it, not the client
    assert_eq!(reply.header("x-amz-checksum-crc32"), None);
    let asked = scene.client.send(&big().with("x-amz-checksum-mode", "ENABLED")).await.expect(200);
    assert_eq!(asked.header("x-amz-checksum-crc32"), Some(crc.as_str()));
    // another object is another object, whatever its tag and its size
    let mut other = object;
    other[SIZE - 1] ^= 1;
    let crc = Algorithm::Crc32.base64(&other);
    let put = Request::put("/photos-far/big", other).with("x-amz-checksum-crc32", &crc);
    let far = crate::house::client::Client::of(scene.far());
    far.send(&put).await.expect(200);
    cut(scene.near(), 99_999);
    scene.near().fault(When::key("big").after(1), Act::DropAtHead(End::Reset));
    expect_aborted(&scene, 99_999).await;
}

#[tokio::test]
async fn a_version_id_proves_it_where_ids_are_shared() {
    let scene = scene("versions: shared", "").await;
    for region in &scene.regions {
        region.fault(When::key("big"), Act::Say("x-amz-version-id", "v1".to_owned()));
    }
    scene.far().fault(When::key("big"), Act::Say("etag", "\"made-otherwise\"".to_owned()));
    cut(scene.near(), 77_777);
    let reply = scene.client.send(&big()).await;
    expect_whole(&reply, 200, &body(SIZE));
    assert_eq!(tries(&line(&scene, &reply)), [word("near", "cut"), word("far", "answered")]);
    scene.far().heal();
    scene.far().fault(When::key("big"), Act::Say("x-amz-version-id", "v2".to_owned()));
    cut(scene.near(), 77_777);
    scene.near().fault(When::key("big").after(1), Act::DropAtHead(End::Reset));
    expect_aborted(&scene, 77_777).await;
}

#[tokio::test]
async fn an_object_that_changed_meanwhile_ends_the_connection() {
    let scene = stable("timeouts: {body_progress: 1s}\n").await;
    scene.near().fault(When::key("big").times(1), Act::HangAfter(100_000));
    let change = async {
        scene.near().wait_for(|seen| seen.key == "big" && seen.status == Some(200)).await;
        let mut other = body(SIZE);
        other[0] ^= 1;
        scene.seed([("big".to_owned(), other)]);
    };
    tokio::join!(expect_aborted(&scene, 100_000), change);
    let conditional = seen(scene.far(), "GetObject");
    assert_eq!(conditional.last().unwrap().status, Some(412));
}

#[tokio::test]
async fn whoever_lies_about_the_rest_is_not_believed() {
    let last = SIZE - 1;
    let whole = format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n").into_bytes();
    let whole = [whole, body(SIZE)].concat();
    for lie in [
        Act::Say("etag", "\"another\"".to_owned()),
        Act::Say("etag", "W/\"weak\"".to_owned()),
        Act::Say("content-range", format!("bytes 0-{last}/{SIZE}")),
        Act::Say("content-range", format!("bytes 100001-{last}/{SIZE}")),
        Act::Say("content-range", format!("bytes 100000-{}/{SIZE}", last - 1)),
        Act::Say("content-range", format!("bytes 100000-{last}/{}", SIZE + 1)),
        Act::Say("content-range", "bytes */1".to_owned()),
        Act::Say("content-encoding", "gzip".to_owned()),
        Act::LieAboutLength(-5),
        Act::LieAboutLength(5),
        Act::AnswerBytes(whole.into()),
        Act::Answer { status: 404, code: "NoSuchKey" },
        Act::Answer { status: 403, code: "AccessDenied" },
        Act::Answer { status: 500, code: "InternalError" },
    ] {
        let scene = stable("").await;
        cut(scene.near(), 100_000);
        scene.near().fault(When::key("big").after(1), Act::DropAtHead(End::Reset));
        scene.far().fault(When::key("big"), lie.clone());
        let line = expect_aborted(&scene, 100_000).await;
        assert!(tries(&line).len() > 1, "{lie:?}: {line}");
    }
}

/// Reads the object at a pace that leaves time for a fault, while `meanwhile` runs from its first byte on.
async fn read_slowly(scene: &Scene, meanwhile: impl Future<Output = ()>) -> (Reply, Duration) {
    scene.near().fault(When::key("big"), Act::Slow(100_000));
    let request = big();
    let faulty = async {
        scene.near().wait_for(|seen| seen.key == "big" && seen.status == Some(200)).await;
        meanwhile.await;
    };
    let (read, ()) = tokio::join!(timed(scene.client.send(&request)), faulty);
    read
}

#[tokio::test]
async fn a_reply_whose_region_answers_nobody_goes_on_elsewhere_long_before_its_own_time_is_up() {
    let scene = stable("timeouts: {body_progress: 60s}\n").await;
    scene.seed_numbers(4);
    let (reply, took) = read_slowly(&scene, async {
        scene.near().freeze();
        // who asks in vain is what tells a silent region from a slow body
        for reply in scene.together(numbers(0..2)).await {
            reply.expect(200);
        }
    })
    .await;
    expect_whole(&reply, 200, &body(SIZE));
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert_eq!(tries(&line(&scene, &reply)), [word("near", "silent"), word("far", "answered")]);
}

#[tokio::test]
async fn a_reply_whose_region_answers_nobody_goes_on_where_it_stood_if_nobody_else_has_the_rest() {
    let scene = stable("timeouts: {body_progress: 60s}\n").await;
    scene.seed_numbers(4);
    scene.far().seed(BUCKETS[1], "big", body(SIZE + 1)[1..].to_vec());
    let (reply, _) = read_slowly(&scene, async {
        scene.near().freeze();
        let reads = scene.together(numbers(0..2));
        let asked = scene.far().wait_for(|seen| seen.key == "big" && seen.status.is_some());
        tokio::join!(reads, asked);
        scene.near().thaw();
    })
    .await;
    expect_whole(&reply, 200, &body(SIZE));
    let line = line(&scene, &reply);
    assert_eq!(tries(&line), [word("near", "answered"), word("far", "another version")]);
    assert_eq!(line.get("resumed"), None, "{line}");
}

#[tokio::test]
async fn a_reply_without_a_length_goes_on_by_the_objects_head() {
    let scene = stable("").await;
    scene.near().fault(When::operation("GetObject"), Act::Chunked);
    for (at, asked) in
        [(120_000, vec!["GetObject", "HeadObject", "GetObject"]), (SIZE, vec!["GetObject", "HeadObject"])]
    {
        scene.forget();
        cut(scene.near(), at);
        let reply = scene.client.send(&big()).await;
        expect_whole(&reply, 200, &body(SIZE));
        assert_eq!(operations(scene.near()), asked, "a tag without a size is none in another region");
    }
    // a range tells where it ends, however it is framed
    scene.forget();
    cut(scene.near(), 20_000);
    let reply = scene.client.send(&big().with("range", "bytes=100-50099")).await;
    expect_whole(&reply, 206, &body(SIZE)[100..50_100]);
    assert_eq!(scene.far().seen_once().header("range"), Some("bytes=20100-50099"));
    // all of it came, but for the last, empty chunk: nothing is missing
    scene.forget();
    cut(scene.near(), 50_000);
    let reply = scene.client.send(&big().with("range", "bytes=100-50099")).await;
    expect_whole(&reply, 206, &body(SIZE)[100..50_100]);
    assert!(scene.far().seen().is_empty());
}

#[tokio::test]
async fn a_rest_without_a_length_ends_where_the_client_was_told() {
    let scene = stable("").await;
    scene.far().fault(When::key("big"), Act::Chunked);
    cut(scene.near(), 120_000);
    let mut connection = scene.client.connect().await;
    let signed = scene.client.sign(&big());
    let reply = connection.exchange(&signed.bytes(), "GET").await.unwrap();
    expect_whole(&reply, 200, &body(SIZE));
    assert_eq!(line(&scene, &reply).get("aborted"), None);
    // and the connection is as good as before
    let reply = connection.exchange(&scene.client.sign(&big()).bytes(), "GET").await.unwrap();
    expect_whole(&reply, 200, &body(SIZE));
}

#[tokio::test]
async fn a_reply_goes_on_as_often_as_the_limit_says() {
    let scene = stable("limits: {resumes: 2, retry_floor: 100/s}\n").await;
    for region in &scene.regions {
        region.fault(When::key("big"), Act::CutAfter(10_000, End::Close));
    }
    let line = read_aborted(&scene).await;
    assert_eq!(line["bytes_out"].as_u64(), Some(30_000));
    assert_eq!(line["resumed"].as_u64(), Some(2));
    assert_eq!(tries(&line), [word("near", "cut"), word("far", "cut"), word("near", "cut")]);
    // one more would have done
    for region in &scene.regions {
        region.heal();
        region.fault(When::key("big"), Act::CutAfter(100_000, End::Close));
    }
    expect_whole(&scene.client.send(&big()).await, 200, &body(SIZE));
}

#[tokio::test]
async fn a_spent_budget_ends_it() {
    let scene = stable("limits: {retry_share: 0%, retry_floor: 0/s}\n").await;
    cut(scene.near(), 100_000);
    expect_aborted(&scene, 100_000).await;
    assert!(scene.far().seen().is_empty());
    let (_, metrics) = scene.gateway.admin_text("/metrics").await;
    assert!(metrics.contains("nearpoint_resumes_total{region=\"near\",outcome=\"budget\"} 1"), "{metrics}");
}

#[tokio::test]
async fn a_region_that_cuts_its_replies_is_out_and_nobody_has_missed_a_byte() {
    let scene = stable("limits: {retry_floor: 100/s}\n").await;
    // one object alone might be to blame itself
    scene.seed((0..12).map(|number| (format!("n/{number}"), body(SIZE))));
    scene.near().fault(When::operation("GetObject"), Act::CutAfter(50_000, End::Close));
    for request in numbers(0..12) {
        expect_whole(&scene.client.send(&request).await, 200, &body(SIZE));
    }
    let out = scene.gateway.transition("near", "read", "out");
    assert!(out["why"].as_str().unwrap().starts_with("only "), "{out}");
}

#[tokio::test]
async fn a_store_that_gave_up_on_a_client_that_did_not_read_is_asked_again_and_not_blamed() {
    const HUGE: usize = 24 << 20;
    let scene = stable("").await;
    scene.seed([("huge".to_owned(), body(HUGE))]);
    scene.forget();
    // more than the buffers towards the client hold: it is cut after the client has read on
    scene.near().fault(When::key("huge").times(1), Act::CutAfter(HUGE / 2, End::Close));
    let mut connection = scene.client.connect().await;
    let signed = scene.client.sign(&Request::get("/photos/huge"));
    connection.stream.write_all(&signed.bytes()).await.unwrap();
    scene.near().wait_for(|seen| seen.key == "huge" && seen.status == Some(200)).await;
    // not a wait for something: the client's own pause, longer than any store's patience counts from
    tokio::time::sleep(Duration::from_millis(6_500)).await;
    let began = moment::mono();
    let reply = connection.reply("GET").await.unwrap();
    expect_whole(&reply, 200, &body(HUGE));
    assert!(moment::mono().saturating_duration_since(began) < Duration::from_secs(20));
    let line = line(&scene, &reply);
    assert_eq!(tries(&line), [word("near", "cut after a pause"), word("near", "answered")]);
    assert!(scene.far().seen().is_empty());
    let standing = scene.gateway.standing().await;
    assert!(standing.iter().all(|(_, reads, _)| reads == "healthy"), "{standing:?}");
    let mut rest = Vec::new();
    drop(connection.stream.shutdown().await);
    connection.stream.read_to_end(&mut rest).await.unwrap_or_default();
}
