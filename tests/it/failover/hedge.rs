//! Hedged reads: a slow one is tried in a second region too, and the first good answer wins.

use std::time::Duration;

use super::{BUCKETS, Scene, attempts, begin, body, operations, regions, served_by, setup, timed, tries};
use crate::house::client::Request;
use crate::house::region::{Act, End, When};

/// So slow that no hurry of the machine's makes it quick.
const SLOW: Duration = Duration::from_secs(3);

/// Two regions, the first preferred; reads are hedged as told.
async fn hedging(reads: &str) -> Scene {
    hedging_within(reads, "20s").await
}

/// The same, where a region may take so long to its first byte.
async fn hedging_within(reads: &str, first_byte: &str) -> Scene {
    let regions = regions(2);
    let mut setup = setup(&regions, "refuse");
    setup.probe_rarely();
    let line = format!("replication: two_way\n    hedge: {{reads: {reads}}}");
    setup.edit_access_point("photos", "replication: two_way", &line);
    setup.rest = format!("timeouts: {{first_byte: {first_byte}}}\n");
    let scene = begin(regions, &setup).await;
    scene.seed([("k".to_owned(), body(5_000))]);
    scene.seed_numbers(3);
    scene
}

fn get() -> Request {
    Request::get("/photos/k")
}

#[tokio::test]
async fn a_slow_read_is_answered_by_the_second_region() {
    let scene = hedging("50ms").await;
    scene.near().fault(When::always(), Act::Delay(SLOW));
    let (reply, took) = timed(scene.client.send(&get())).await;
    let reply = reply.expect(200);
    assert!(took < SLOW, "{took:?}");
    assert_eq!((served_by(&reply), attempts(&reply)), ("far", 2));
    assert!(reply.body == body(5_000));
    let line = scene.gateway.access_line(reply.header("x-amz-request-id").unwrap());
    let word = |region: &str, outcome: &str| (region.to_owned(), outcome.to_owned());
    assert_eq!(tries(&line), [word("near", "cancelled"), word("far", "answered")]);
    // who lost is not to blame
    assert_eq!(scene.standing_of("near", "reads").await, "healthy");
    let (_, metrics) = scene.gateway.admin_text("/metrics").await;
    assert!(metrics.contains("nearpoint_hedges_total{region=\"far\",outcome=\"won\"} 1"), "{metrics}");
    assert!(!metrics.contains("nearpoint_failovers_total{"), "{metrics}");
}

#[tokio::test]
async fn where_the_first_falls_silent_the_seconds_no_is_the_answer() {
    let scene = hedging_within("50ms", "500ms").await;
    scene.near().fault(When::always(), Act::Silent);
    let reply = scene.client.send(&Request::get("/photos/absent")).await.expect(404);
    assert_eq!((served_by(&reply), reply.code().as_deref()), ("far", Some("NoSuchKey")));
    assert!(!operations(scene.near()).is_empty());
}

#[tokio::test]
async fn a_second_try_that_meets_a_stale_connection_does_not_spend_its_region() {
    let scene = hedging_within("50ms", "500ms").await;
    // one connection, and so one worker, whose connections to regions are its own
    let mut connection = scene.client.connect().await;
    let get = scene.client.sign(&get()).bytes();
    scene.near().fault(When::always().times(1), Act::DropAtHead(End::Reset));
    let reply = connection.exchange(&get, "GET").await.expect("an answer").expect(200);
    assert_eq!(served_by(&reply), "far", "it keeps a connection now");
    scene.near().fault(When::always(), Act::Silent);
    scene.far().fault(When::always().times(1), Act::DropAtHead(End::Close));
    let reply = connection.exchange(&get, "GET").await.expect("an answer").expect(200);
    assert_eq!(served_by(&reply), "far");
    assert!(reply.body == body(5_000));
    let line = scene.gateway.access_line(reply.header("x-amz-request-id").unwrap());
    let word = |region: &str, outcome: &str| (region.to_owned(), outcome.to_owned());
    assert_eq!(tries(&line), [word("far", "stale"), word("near", "silent"), word("far", "answered")]);
}

#[tokio::test]
async fn a_listing_is_hedged_too() {
    let scene = hedging("50ms").await;
    scene.near().fault(When::always(), Act::Delay(SLOW));
    let (reply, took) = timed(scene.client.send(&Request::get("/photos?list-type=2"))).await;
    assert_eq!(served_by(&reply.expect(200)), "far");
    assert!(took < SLOW, "{took:?}");
}

#[tokio::test]
async fn nothing_is_hedged_unless_the_operator_says_so() {
    let scene = hedging("off").await;
    scene.near().fault(When::key("k"), Act::Delay(Duration::from_millis(400)));
    let reply = scene.client.send(&get()).await.expect(200);
    assert_eq!((served_by(&reply), attempts(&reply)), ("near", 1));
    assert!(scene.far().seen().is_empty());
}

#[tokio::test]
async fn a_quick_read_is_not_hedged_and_a_write_never_is() {
    let scene = hedging("2s").await;
    for _ in 0..10 {
        assert_eq!(attempts(&scene.client.send(&get()).await.expect(200)), 1);
    }
    assert!(scene.far().seen().is_empty());
    let scene = hedging("20ms").await;
    scene.near().fault(When::always(), Act::Delay(Duration::from_millis(400)));
    scene.client.send(&Request::put("/photos/new", "v")).await.expect(200);
    scene.client.send(&Request::delete("/photos/new")).await.expect(204);
    assert!(scene.far().seen().is_empty());
}

#[tokio::test]
async fn another_regions_no_is_not_the_answer_while_the_first_may_say_yes() {
    let scene = hedging("20ms").await;
    scene.near().seed(BUCKETS[0], "only-near", "here");
    scene.near().fault(When::key("only-near"), Act::Delay(Duration::from_millis(600)));
    let reply = scene.client.send(&Request::get("/photos/only-near")).await.expect(200);
    assert_eq!((reply.text().as_str(), served_by(&reply), attempts(&reply)), ("here", "near", 2));
    assert_eq!(operations(scene.far()), ["GetObject"]);
    let (_, metrics) = scene.gateway.admin_text("/metrics").await;
    assert!(metrics.contains("nearpoint_hedges_total{region=\"far\",outcome=\"failed\"} 1"), "{metrics}");
    let wasted = metrics.lines().find_map(|line| line.strip_prefix("nearpoint_hedge_wasted_bytes_total "));
    let wasted: u64 = wasted.expect("a document that nobody was given").parse().unwrap();
    assert!((1..1_000).contains(&wasted), "{wasted}");
}

#[tokio::test]
async fn hedges_are_a_small_share_of_the_reads() {
    let scene = hedging("1ms").await;
    scene.near().fault(When::always(), Act::Delay(Duration::from_millis(30)));
    for number in 0..100 {
        let target = format!("/photos/n/{}", number % 3);
        scene.client.send(&Request::get(&target)).await.expect(200);
    }
    let hedged = scene.far().seen().len();
    // 5 of them, and one in ten seconds for each of the workers
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    assert!((1..=5 + 2 * workers).contains(&hedged), "{hedged} of 100");
}

#[tokio::test]
async fn nothing_is_hedged_while_a_region_throttles() {
    let scene = hedging("200ms").await;
    let mut connection = scene.client.connect().await;
    let mut read = async |target: &str| {
        let signed = scene.client.sign(&Request::get(target));
        connection.exchange(&signed.bytes(), "GET").await.unwrap().expect(200)
    };
    // reads of which several may be hedged
    for _ in 0..100 {
        read("/photos/n/1").await;
    }
    scene.near().fault(When::always(), Act::Delay(SLOW));
    assert_eq!(served_by(&read("/photos/k").await), "far");
    // the next hedge learns it
    scene.near().heal();
    scene.near().fault(When::always(), Act::Delay(Duration::from_millis(800)));
    scene.far().fault(When::key("n/0"), Act::Answer { status: 503, code: "SlowDown" });
    assert_eq!(served_by(&read("/photos/n/0").await), "near");
    scene.forget();
    assert_eq!(attempts(&read("/photos/k").await), 1);
    assert!(scene.far().seen().is_empty());
}

#[tokio::test]
async fn the_delay_is_learnt_from_what_was_seen() {
    let scene = hedging("on").await;
    let mut connection = scene.client.connect().await;
    let signed = scene.client.sign(&get());
    scene.near().fault(When::key("k").times(1), Act::Delay(Duration::from_millis(300)));
    for number in 0..40 {
        let reply = connection.exchange(&signed.bytes(), "GET").await.unwrap().expect(200);
        // too few seen to call one slow
        assert!(number > 0 || attempts(&reply) == 1);
    }
    scene.near().fault(When::key("k"), Act::Delay(SLOW));
    let (reply, took) = timed(connection.exchange(&signed.bytes(), "GET")).await;
    assert_eq!(served_by(&reply.unwrap().expect(200)), "far");
    assert!(took < SLOW, "{took:?}");
}
