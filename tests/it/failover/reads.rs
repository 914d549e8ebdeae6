//! Reads: no client sees a region die.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{
    BUCKETS, Scene, attempts, begin, body, expect_unavailable, numbers, operations, pair,
    pair_judged_by_traffic, regions, served_by, setup, setup_with, timed, tries,
};
use crate::house::client::{Ended, Request};
use crate::house::moment;
use crate::house::region::{Act, End, PATIENCE, When};
use crate::house::text;

/// Three reads in a row, each of another object, meet the fault; nobody notices, and the region is
/// out by these three alone.
async fn three_reads_end_it(scene: &Scene, why: &str) {
    for request in numbers(0..3) {
        let reply = scene.client.send(&request).await.expect(200);
        assert_eq!((served_by(&reply), attempts(&reply)), ("far", 2));
    }
    let out = scene.gateway.transition("near", "read", "out");
    assert_eq!(out["why"], why);
    it_is_left_alone(scene).await;
}

/// The nearest region is out, and whoever comes later is not sent there.
async fn it_is_left_alone(scene: &Scene) {
    scene.gateway.wait_for_reads(&[("near", "out")]).await;
    scene.near().forget();
    for (number, reply) in scene.together(numbers(0..20)).await.into_iter().enumerate() {
        let reply = reply.expect(200);
        assert_eq!((served_by(&reply), attempts(&reply)), ("far", 1));
        assert_eq!(reply.text(), number.to_string());
    }
    assert!(scene.near().seen().is_empty());
}

#[tokio::test]
async fn a_killed_region_is_out_after_one_read_that_nobody_missed() {
    let scene = pair_judged_by_traffic().await;
    scene.seed_numbers(20);
    // connections are in the pool when it dies
    for reply in scene.together(numbers(0..20)).await {
        assert_eq!(served_by(&reply.expect(200)), "near");
    }
    scene.near().kill();
    let reply = scene.client.send(&Request::get("/photos/n/0")).await.expect(200);
    assert_eq!((served_by(&reply), attempts(&reply)), ("far", 2));
    // the next probe is due in a minute, but one refused connection is asked about at once
    let out = scene.gateway.transition("near", "read", "out");
    assert_eq!(out["why"], "3 probes in a row failed: connection refused");
    it_is_left_alone(&scene).await;
}

#[tokio::test]
async fn a_region_that_resets_every_request_is_out_after_three_reads() {
    for end in [End::Reset, End::Close] {
        let scene = pair_judged_by_traffic().await;
        scene.seed_numbers(20);
        scene.near().fault(When::always(), Act::DropAtHead(end));
        three_reads_end_it(&scene, "3 attempts in a row unanswered: connection ended without an answer")
            .await;
    }
}

#[tokio::test]
async fn a_kept_connection_that_ends_under_a_read_is_a_try_that_is_told_and_paid_for() {
    for (limits, status, told) in [
        ("", 200, &["stale", "answered"][..]),
        ("limits: {attempts: 1}\n", 200, &["stale", "answered"]),
        ("limits: {retry_share: 0%, retry_floor: 0/s}\n", 503, &["stale"]),
    ] {
        let regions = regions(2);
        let mut setup = setup(&regions, "refuse");
        setup.probe_rarely();
        setup.rest = format!("timeouts: {{upstream_idle: 60s}}\n{limits}");
        let scene = begin(regions, &setup).await;
        scene.seed_numbers(2);
        // one client connection is one worker's, and so is the connection it keeps
        let mut connection = scene.client.connect().await;
        let mut get = async |number| {
            let signed = scene.client.sign(&Request::get(&format!("/photos/n/{number}")));
            connection.exchange(&signed.bytes(), "GET").await.expect("an answer")
        };
        assert_eq!(attempts(&get(0).await.expect(200)), 1);
        scene.near().fault(When::always().times(1), Act::DropAtHead(End::Close));
        let reply = get(1).await.expect(status);
        let line = scene.gateway.access_line(reply.header("x-amz-request-id").unwrap());
        let near = |outcome: &&str| ("near".to_owned(), (*outcome).to_owned());
        assert_eq!(tries(&line), told.iter().map(near).collect::<Vec<_>>());
        assert_eq!(scene.far().seen().len(), 0);
        assert_eq!(scene.standing_of("near", "reads").await, "healthy");
        let (_, metrics) = scene.gateway.admin_text("/metrics").await;
        let retried = metrics.contains("nearpoint_retries_total{reason=\"stale\"} 1");
        assert_eq!(retried, status == 200, "{metrics}");
    }
}

#[tokio::test]
async fn a_region_that_falls_silent_is_out_within_three_seconds() {
    let scene = pair_judged_by_traffic().await;
    scene.seed_numbers(20);
    // half a second, unless this machine is very busy
    let patience = scene.learn_patience().await;
    scene.near().fault(When::always(), Act::Silent);
    let (replies, took) = timed(scene.together(numbers(0..10))).await;
    for reply in replies {
        assert_eq!(served_by(&reply.expect(200)), "far");
    }
    assert!(took < patience + Duration::from_millis(1_500), "{took:?}, {patience:?}");
    let out = scene.gateway.transition("near", "read", "out");
    assert_eq!(out["why"], "3 attempts in a row unanswered: no first byte in time");
}

#[tokio::test]
async fn reads_that_take_long_everywhere_are_waited_for() {
    let scene = pair_judged_by_traffic().await;
    scene.seed_numbers(20);
    let list = Request::get("/photos?list-type=2");
    // probes take a few milliseconds, and so do reads of objects: listings are another matter
    let patience = scene.learn_patience().await;
    let slow = || Act::Delay(Duration::from_millis(1_700));
    scene.regions.iter().for_each(|region| region.fault(When::operation("ListObjectsV2"), slow()));
    let reply = scene.client.send(&list).await.expect(200);
    assert_eq!((served_by(&reply), attempts(&reply)), ("near", 1));
    // what became slow lately is given up where it was known to be quick, and waited for in the end
    let longer = || Act::Delay((patience + Duration::from_millis(700)).min(Duration::from_secs(4)));
    scene.regions.iter().for_each(|region| region.fault(When::key("n/1"), longer()));
    let reply = scene.client.send(&Request::get("/photos/n/1")).await.expect(200);
    let line = scene.gateway.access_line(reply.header("x-amz-request-id").unwrap());
    let told = [("near", "silent"), ("far", "answered")];
    assert_eq!(tries(&line), told.map(|(region, outcome)| (region.to_owned(), outcome.to_owned())));
    assert!(scene.gateway.transitions().iter().all(|line| line["to"] != "out"));
}

#[tokio::test]
async fn a_hung_region_is_out_within_three_seconds_and_those_who_wait_go_on() {
    let regions = regions(2);
    let mut setup = setup(&regions, "refuse");
    // so patient that only a change of standing can help
    setup.rest = "timeouts: {first_byte: 30s}\n".to_owned();
    let scene = begin(regions, &setup).await;
    scene.seed_numbers(20);
    scene.near().freeze();
    let (replies, took) = timed(scene.together(numbers(0..10))).await;
    for reply in replies {
        let reply = reply.expect(200);
        assert_eq!((served_by(&reply), attempts(&reply)), ("far", 2));
    }
    assert!(took < Duration::from_millis(3_200), "{took:?}");
    let out = scene.gateway.transition("near", "read", "out");
    assert_eq!(out["why"], "3 probes in a row failed: no first byte in time");
}

#[tokio::test]
async fn a_configured_first_byte_timeout_is_kept() {
    let regions = regions(2);
    let mut setup = setup(&regions, "refuse");
    setup.rest = "timeouts: {first_byte: 100ms}\n".to_owned();
    let scene = begin(regions, &setup).await;
    scene.seed_numbers(3);
    scene.near().fault(When::always(), Act::Silent);
    for operation in ["/photos/n/0", "/photos?list-type=2"] {
        let (reply, took) = timed(scene.client.send(&Request::get(operation))).await;
        assert_eq!(attempts(&reply.expect(200)), 2);
        assert!((Duration::from_millis(100)..Duration::from_millis(600)).contains(&took), "{took:?}");
    }
    let (reply, _) = timed(scene.client.send(&Request::head("/photos/n/1"))).await;
    assert_eq!(served_by(&reply.expect(200)), "far");
}

#[tokio::test]
async fn server_errors_are_read_elsewhere_and_five_of_them_end_it() {
    for (status, code) in
        [(500, "InternalError"), (502, "BadGateway"), (503, "ServiceUnavailable"), (504, "GatewayTimeout")]
    {
        let scene = pair_judged_by_traffic().await;
        scene.seed_numbers(20);
        scene.near().fault(When::always(), Act::Answer { status, code });
        for (tried, request) in numbers(0..5).enumerate() {
            let reply = scene.client.send(&request).await.expect(200);
            assert_eq!((served_by(&reply), attempts(&reply)), ("far", 2), "read {tried}");
        }
        let out = scene.gateway.transition("near", "read", "out");
        assert_eq!(out["why"], format!("5 server errors in a row: status {status}"));
        scene.gateway.wait_for_reads(&[("near", "out")]).await;
        for reply in scene.together(numbers(0..20)).await {
            assert_eq!(attempts(&reply.expect(200)), 1);
        }
        // writes were never tried: they keep their standing
        assert_eq!(scene.standing_of("near", "writes").await, "healthy");
    }
}

#[tokio::test]
async fn a_region_that_fails_a_third_of_its_requests_costs_no_read() {
    let scene = pair_judged_by_traffic().await;
    scene.seed_numbers(90);
    for number in (0..90).step_by(3) {
        let fails = Act::Answer { status: 500, code: "InternalError" };
        scene.near().fault(When::key(&format!("n/{number}")), fails);
    }
    for request in numbers(0..90) {
        scene.client.send(&request).await.expect(200);
    }
    let out = scene.gateway.transition("near", "read", "out");
    assert!(out["why"].as_str().unwrap().starts_with("only "), "{out}");
}

#[tokio::test]
async fn with_failover_refused_the_same_faults_reach_the_client() {
    let regions = regions(2);
    let setup = setup_with(&regions, "refuse", "refuse");
    let scene = begin(regions, &setup).await;
    scene.seed_numbers(3);
    scene.near().kill();
    for request in numbers(0..3) {
        expect_unavailable(scene.client.send(&request).await);
    }
    assert!(scene.far().seen().is_empty());
}

#[tokio::test]
async fn it_starts_with_every_region_down_and_serves_once_one_is_back() {
    let regions = regions(2);
    regions[0].seed(BUCKETS[0], "k", "v");
    for region in &regions {
        region.kill();
    }
    let gateway = setup(&regions, "refuse").start();
    let client = gateway.client();
    gateway.wait_for_reads(&[("near", "out"), ("far", "out")]).await;
    for _ in 0..20 {
        let (reply, took) = timed(client.send(&Request::get("/photos/k"))).await;
        expect_unavailable(reply);
        assert!(took < Duration::from_millis(500), "{took:?}");
    }
    regions[0].revive();
    let back = moment::mono();
    let mut refused = 0;
    while client.send(&Request::get("/photos/k")).await.status != 200 {
        refused += 1;
        assert!(moment::mono().saturating_duration_since(back) < Duration::from_secs(2), "{refused} refused");
    }
    // requests take it back for good: no other region serves, so the first in probation is enough
    while gateway.standing().await.iter().all(|(_, reads, _)| reads != "healthy") {
        client.send(&Request::get("/photos/k")).await.expect(200);
        assert!(moment::mono().saturating_duration_since(back) < PATIENCE);
    }
    client.send(&Request::put("/photos/new", "v")).await.expect(200);
}

#[tokio::test]
async fn a_reply_cut_in_its_middle_is_never_ended_cleanly() {
    let regions = regions(2);
    let mut setup = setup(&regions, "refuse");
    setup.rest = "limits: {resumes: 0}\n".to_owned();
    let scene = begin(regions, &setup).await;
    scene.seed([("big".to_owned(), body(300_000))]);
    scene.seed_numbers(40);
    let object = Request::get("/photos/big");
    for end in [End::Reset, End::Close] {
        scene.near().fault(When::key("big"), Act::CutAfter(150_000, end));
        let reply = scene.client.send(&object).await;
        assert_eq!((reply.status, reply.ended), (200, Ended::Cut), "{end:?}");
        assert!(reply.body.len() <= 150_000 && body(300_000).starts_with(&reply.body));
        scene.near().heal();
    }
    // a listing is rewritten on its way and sent without a length
    scene.near().fault(When::operation("ListObjectsV2"), Act::CutAfter(2_000, End::Close));
    let reply = scene.client.send(&Request::get("/photos?list-type=2")).await;
    assert_eq!((reply.status, reply.ended), (200, Ended::Cut));
    scene.near().heal();
    // a region that promises more than it has
    scene.near().fault(When::always(), Act::LieAboutLength(10));
    let reply = scene.client.send(&object).await;
    assert_eq!((reply.status, reply.ended), (200, Ended::Cut));
    // a reset may overtake bytes that were still on their way
    assert!(body(300_000).starts_with(&reply.body));
    let reply = scene.client.send(&Request::get("/photos?list-type=2")).await;
    assert_eq!((reply.status, reply.ended), (200, Ended::Cut));
    scene.near().heal();
    scene.client.send(&object).await.expect(200);
}

#[tokio::test]
async fn what_a_region_sends_beyond_its_length_is_nobodys_answer() {
    let scene = pair("refuse").await;
    scene.seed_numbers(30);
    scene.seed([("short".to_owned(), b"0123456789".to_vec())]);
    for _ in 0..10 {
        scene.near().fault(When::key("short").times(1), Act::LieAboutLength(-4));
        let reply = scene.client.send(&Request::get("/photos/short")).await;
        assert_eq!((reply.status, reply.text().as_str()), (200, "012345"));
        for (number, reply) in scene.together(numbers(0..30)).await.into_iter().enumerate() {
            assert_eq!(reply.expect(200).text(), number.to_string());
        }
    }
}

#[tokio::test]
async fn reads_over_connections_that_end_after_each_answer_never_show_it() {
    let scene = pair("refuse").await;
    scene.seed_numbers(100);
    scene.near().fault(When::always(), Act::CutAfter(usize::MAX, End::Close));
    let mut connection = scene.client.connect().await;
    for request in numbers(0..100) {
        let signed = scene.client.sign(&request);
        let reply =
            connection.exchange(&signed.bytes(), &signed.method).await.expect("an answer").expect(200);
        // where the end came only after the next request had gone out, that request is sent once more
        assert_eq!(served_by(&reply), "near");
        if attempts(&reply) > 1 {
            let line = scene.gateway.access_line(reply.header("x-amz-request-id").expect("an id"));
            let outcomes: Vec<String> = tries(&line).into_iter().map(|(_, outcome)| outcome).collect();
            assert_eq!(outcomes, ["stale", "answered"]);
        }
    }
    assert_eq!(scene.standing_of("near", "reads").await, "healthy");
}

#[tokio::test]
async fn idle_connections_that_the_store_ended_never_show() {
    let scene = pair("refuse").await;
    let mut connection = scene.client.connect().await;
    for number in 0..50 {
        let key = format!("/photos/n/{number}");
        let requests =
            [Request::put(&key, "v"), Request::get(&key), Request::delete(&key), Request::put(&key, "")];
        for request in requests {
            let signed = scene.client.sign(&request);
            scene.near().hang_up_idle();
            let reply = connection.exchange(&signed.bytes(), &signed.method).await.expect("an answer");
            assert!([200, 204].contains(&reply.status), "{} {number}: {}", request.method, reply.text());
            assert_eq!((served_by(&reply), attempts(&reply)), ("near", 1), "{} {number}", request.method);
        }
    }
    // every request came once, and on a connection of its own
    let seen = scene.near().seen();
    let connections: BTreeSet<usize> = seen.iter().map(|seen| seen.connection).collect();
    assert_eq!((seen.len(), connections.len()), (200, 200));
    let standing = scene.gateway.standing().await;
    assert!(standing.iter().all(|row| row.1 == "healthy" && row.2 == "healthy"), "{standing:?}");
}

#[tokio::test]
async fn a_listing_is_read_where_it_can_be_read() {
    let scene = pair("refuse").await;
    scene.seed_numbers(10);
    scene.near().kill();
    let listing = scene.client.send(&Request::get("/photos?list-type=2")).await.expect(200).text();
    assert_eq!(text::elements(&listing, "Key").len(), 10);
    assert_eq!(text::element(&listing, "Name").as_deref(), Some("photos"));
    scene.client.send(&Request::head("/photos/n/1")).await.expect(200);
    assert_eq!(operations(scene.far()), ["ListObjectsV2", "HeadObject"]);
}

#[tokio::test]
async fn a_search_in_an_object_is_waited_for_as_long_as_it_takes() {
    let regions = regions(2);
    let mut setup = setup(&regions, "refuse");
    setup.rest = "timeouts: {first_byte: 100ms}\n".to_owned();
    let scene = begin(regions, &setup).await;
    scene.seed_numbers(1);
    scene.near().fault(When::operation("SubResource"), Act::Delay(Duration::from_millis(500)));
    let xml = "<SelectObjectContentRequest><Expression>select 1</Expression></SelectObjectContentRequest>";
    let search = Request::post("/photos/n/0?select&select-type=2", xml);
    let (reply, took) = timed(scene.client.send(&search)).await;
    assert!(took >= Duration::from_millis(500), "{took:?} {}", reply.text());
    assert_eq!((served_by(&reply), attempts(&reply)), ("near", 1));
    assert_eq!(scene.standing_of("near", "reads").await, "healthy");
}

#[tokio::test]
async fn a_reply_that_stands_still_is_cut_when_its_time_is_up() {
    let regions = regions(2);
    let mut setup = setup(&regions, "refuse");
    setup.rest = "timeouts: {body_progress: 1s}\nlimits: {resumes: 0}\n".to_owned();
    let scene = begin(regions, &setup).await;
    scene.seed([("big".to_owned(), body(300_000))]);
    scene.near().fault(When::key("big"), Act::HangAfter(1_000));
    let (reply, took) = timed(scene.client.send(&Request::get("/photos/big"))).await;
    assert_eq!((reply.status, reply.ended, reply.body.len()), (200, Ended::Cut, 1_000));
    assert!((Duration::from_millis(900)..Duration::from_secs(3)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn while_no_region_takes_connections_requests_wait_for_none_and_probes_find_the_first_that_does() {
    let scene = pair("refuse").await;
    scene.seed_numbers(1);
    scene.regions.iter().for_each(|region| region.kill());
    scene.gateway.wait_for_reads(&[("near", "out"), ("far", "out")]).await;
    for request in [Request::get("/photos/n/0"), Request::put("/photos/k", "v")] {
        let reply = scene.client.send(&request).await;
        let line = scene.gateway.access_line(reply.header("x-amz-request-id").expect("an id"));
        expect_unavailable(reply);
        assert_eq!(line["cause"], "no region is fit, and all of them refuse connections", "{line}");
        assert!(tries(&line).is_empty(), "{line}");
    }
    scene.near().revive();
    let patience = moment::mono() + PATIENCE;
    while scene.client.send(&Request::get("/photos/n/0")).await.status != 200 {
        assert!(moment::mono() < patience, "it is not read although its region is back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
