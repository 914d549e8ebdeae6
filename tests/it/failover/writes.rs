//! Writes: never a false success, never twice where that could do harm, elsewhere only if allowed.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::{
    BUCKETS, Scene, attempts, begin, body, expect_unavailable, operations, pair, regions, seen, served_by,
    setup, timed, tries,
};
use crate::house::client::{Payload, Reply, Request, Signed};
use crate::house::digest;
use crate::house::region::{Act, End, Region, When};
use crate::house::text;

const KIB: usize = 1024;

/// Sends a request up to so many body bytes, waits for something, sends the rest.
async fn in_two_parts(scene: &Scene, signed: &Signed, first: usize, between: impl Future) -> Reply {
    let mut connection = scene.client.connect().await;
    connection.stream.write_all(&signed.head_bytes()).await.unwrap();
    connection.stream.write_all(&signed.body[..first]).await.unwrap();
    between.await;
    connection.exchange(&signed.body[first..], &signed.method).await.expect("an answer")
}

/// The region ends a PUT's connection when a part of its body has arrived.
async fn put_cut_in_its_body(scene: &Scene) -> Reply {
    let fault = When { times: Some(1), ..When::key("k") };
    scene.near().fault(fault, Act::DropInBody(300 * KIB, End::Reset));
    let signed = scene.client.sign(&Request::put("/photos/k", body(900 * KIB)));
    let cut = async { drop(scene.near().wait_for(|seen| seen.cut_at.is_some()).await) };
    in_two_parts(scene, &signed, 500 * KIB, cut).await
}

#[tokio::test]
async fn a_body_that_broke_off_is_replayed_elsewhere_where_that_is_allowed() {
    let scene = pair("allow").await;
    let reply = put_cut_in_its_body(&scene).await.expect(200);
    assert_eq!((served_by(&reply), attempts(&reply)), ("far", 2));
    assert_eq!(scene.far().object(BUCKETS[1], "k").unwrap().body, body(900 * KIB));
    assert!(scene.near().object(BUCKETS[0], "k").is_none());
}

#[tokio::test]
async fn a_body_that_broke_off_is_replayed_at_home_where_it_must_stay() {
    let scene = pair("refuse").await;
    let reply = put_cut_in_its_body(&scene).await.expect(200);
    assert_eq!((served_by(&reply), attempts(&reply)), ("near", 2));
    assert_eq!(scene.near().object(BUCKETS[0], "k").unwrap().body, body(900 * KIB));
    assert!(scene.far().seen().is_empty());
}

#[tokio::test]
async fn a_body_too_long_to_be_kept_is_not_replayed() {
    let regions = regions(2);
    let mut setup = setup(&regions, "allow");
    setup.rest = "limits: {replay_body: 64KiB}\n".to_owned();
    let scene = begin(regions, &setup).await;
    expect_unavailable(put_cut_in_its_body(&scene).await);
    assert!(scene.far().seen().is_empty());
    assert!(scene.near().keys(BUCKETS[0]).is_empty());
}

#[tokio::test]
async fn a_dead_home_takes_its_writes_with_it_unless_they_may_move() {
    let requests = || {
        let xml = "<Delete><Object><Key>k</Key></Object></Delete>";
        [
            (Request::put("/photos/k", "v"), 200),
            (Request::put("/photos/k", ""), 200),
            (Request::put("/photos/k", body(2 << 20)), 200),
            (Request::put("/photos/copy", "").with("x-amz-copy-source", "/photos/k"), 200),
            (Request::post("/photos/k?uploads", ""), 200),
            (Request::delete("/photos/k"), 204),
            (
                Request::post("/photos?delete", xml).with("content-md5", &digest::md5_base64(xml.as_bytes())),
                200,
            ),
        ]
    };
    let scene = pair("refuse").await;
    scene.near().kill();
    for (request, _) in requests() {
        let (reply, took) = timed(scene.client.send(&request)).await;
        expect_unavailable(reply);
        assert!(took < Duration::from_secs(1), "{} {}: {took:?}", request.method, request.target);
    }
    assert!(scene.far().seen().is_empty());

    let scene = pair("allow").await;
    scene.near().kill();
    for (request, status) in requests() {
        let reply = scene.client.send(&request).await.expect(status);
        assert_eq!(served_by(&reply), "far", "{} {}", request.method, request.target);
    }
}

#[tokio::test]
async fn what_was_sent_in_full_is_never_called_a_success_without_an_answer() {
    for (act, stored) in [
        (Act::DropBeforeCommit(End::Reset), false),
        (Act::DropBeforeCommit(End::Close), false),
        (Act::DropAfterCommit(End::Reset), true),
        (Act::SilentAfterCommit, true),
        (Act::Silent, false),
    ] {
        for writes in ["refuse", "allow"] {
            let regions = regions(2);
            let mut setup = setup(&regions, writes);
            setup.rest = "timeouts: {put_answer: 300ms}\n".to_owned();
            let scene = begin(regions, &setup).await;
            scene.near().fault(When::key("k"), act.clone());
            let reply = scene.client.send(&Request::put("/photos/k", "v")).await;
            assert_eq!(scene.near().object(BUCKETS[0], "k").is_some(), stored, "{act:?}");
            assert_eq!(seen(scene.near(), "PutObject").len(), 1, "{act:?}: not sent again");
            if writes == "refuse" {
                expect_unavailable(reply);
                assert!(scene.far().seen().is_empty(), "{act:?}");
            } else {
                assert_eq!(served_by(&reply.expect(200)), "far", "{act:?}");
                assert_eq!(scene.far().object(BUCKETS[1], "k").unwrap().body, "v");
            }
        }
    }
}

// ── Expect: 100-continue ─────────────────────────────────────────────────────

#[tokio::test]
async fn a_long_body_waits_for_the_region_to_ask_for_it_and_a_short_one_for_a_fresh_region_does_not() {
    let scene = pair("refuse").await;
    scene.client.send(&Request::head("/photos/k")).await.expect(404);
    scene.client.send(&Request::put("/photos/short", body(100))).await.expect(200);
    scene.client.send(&Request::put("/photos/limit", body(1 << 20))).await.expect(200);
    scene.client.send(&Request::put("/photos/long", body((1 << 20) + 1))).await.expect(200);
    let puts = seen(scene.near(), "PutObject");
    let asked: Vec<_> = puts.iter().map(|put| (put.header("expect").is_some(), put.continued)).collect();
    assert_eq!(asked, [(false, false), (false, false), (true, true)]);
    assert!(puts.iter().all(|put| !put.signed("expect")));
    assert_eq!(scene.near().object(BUCKETS[0], "long").unwrap().body, body((1 << 20) + 1));
}

#[tokio::test]
async fn any_body_for_a_region_that_was_silent_for_a_second_waits_to_be_asked_for() {
    let regions = regions(2);
    let mut setup = setup(&regions, "refuse");
    for (_, lines) in &mut setup.regions {
        lines.push_str("    probe: {interval: 60s}\n");
    }
    let scene = begin(regions, &setup).await;
    scene.wait_until_stale().await;
    scene.client.send(&Request::put("/photos/k", "v")).await.expect(200);
    assert!(scene.near().seen_once().continued);
    // an empty one is a head
    scene.wait_until_stale().await;
    scene.near().forget();
    scene.client.send(&Request::put("/photos/k", "")).await.expect(200);
    assert!(scene.near().seen_once().header("expect").is_none());
}

#[tokio::test]
async fn a_region_that_never_says_100_is_learnt_once() {
    let scene = pair("refuse").await;
    scene.near().fault(When::always(), Act::NoContinue);
    let long = Request::put("/photos/long", body((1 << 20) + 1));
    // it answers something else meanwhile: a read of our own, sent when it has the head
    let reads = async {
        scene.near().wait_for(|seen| seen.operation == "PutObject").await;
        scene.client.send(&Request::head("/photos/k")).await.expect(404);
    };
    let ((reply, took), ()) = tokio::join!(timed(scene.client.send(&long)), reads);
    reply.expect(200);
    assert!((Duration::from_millis(900)..Duration::from_millis(2_500)).contains(&took), "{took:?}");
    // both workers may have to learn: it is known for the region
    for _ in 0..4 {
        scene.near().forget();
        let (reply, took) = timed(scene.client.send(&long)).await;
        reply.expect(200);
        assert!(took < Duration::from_millis(900), "{took:?}");
        assert!(scene.near().seen_once().header("expect").is_none());
    }
    assert_eq!(scene.standing_of("near", "writes").await, "healthy");
}

#[tokio::test]
async fn a_region_that_refuses_the_expectation_is_sent_none() {
    let scene = pair("refuse").await;
    let refusal = Act::Answer { status: 417, code: "ExpectationFailed" };
    scene.near().fault(When::operation("PutObject").times(1), refusal);
    let long = Request::put("/photos/long", body((1 << 20) + 1));
    let reply = scene.client.send(&long).await.expect(200);
    assert_eq!(served_by(&reply), "near");
    let seen = seen(scene.near(), "PutObject");
    let expected: Vec<bool> = seen.iter().map(|seen| seen.header("expect").is_some()).collect();
    assert_eq!(expected, [true, false]);
    assert_eq!(scene.near().object(BUCKETS[0], "long").unwrap().body, body((1 << 20) + 1));
    assert_eq!(scene.standing_of("near", "writes").await, "healthy");
}

#[tokio::test]
async fn a_region_that_answers_nothing_gets_no_byte_of_a_long_body() {
    for writes in ["refuse", "allow"] {
        let scene = pair(writes).await;
        scene.near().freeze();
        let (reply, took) = timed(scene.client.send(&Request::put("/photos/long", body(2 << 20)))).await;
        if writes == "refuse" {
            expect_unavailable(reply);
            assert!(scene.far().seen().is_empty());
        } else {
            let reply = reply.expect(200);
            assert_eq!((served_by(&reply), attempts(&reply)), ("far", 2));
            assert!(took < Duration::from_secs(2), "{took:?}");
        }
        scene.near().thaw();
        let head = scene.near().wait_for(|seen| seen.cut_at.is_some()).await;
        assert_eq!((head.operation, head.cut_at, head.body), ("PutObject", Some(0), None));
        assert!(scene.near().keys(BUCKETS[0]).is_empty());
    }
}

#[tokio::test]
async fn a_refusal_instead_of_100_costs_no_body() {
    let scene = pair("refuse").await;
    scene.near().fault(When::key("long"), Act::Answer { status: 403, code: "AccessDenied" });
    let (reply, took) = timed(scene.client.send(&Request::put("/photos/long", body(2 << 20)))).await;
    assert_eq!(reply.expect(403).code().as_deref(), Some("AccessDenied"));
    assert!(took < Duration::from_secs(1), "{took:?}");
    let put = &seen(scene.near(), "PutObject")[0];
    assert_eq!((put.body.as_ref(), put.continued), (None, false));
}

#[tokio::test]
async fn a_region_that_stops_taking_a_body_is_given_up_when_its_time_is_up() {
    let regions = regions(2);
    let mut setup = setup(&regions, "allow");
    setup.rest = "timeouts: {body_progress: 1s}\n".to_owned();
    let scene = begin(regions, &setup).await;
    // more than the sockets between hold
    let put = Request::put("/photos/k", body(48 << 20)).payload(Payload::Unsigned);
    let freezes = async {
        scene.near().wait_for(|seen| seen.continued).await;
        scene.near().freeze();
    };
    let ((reply, took), ()) = tokio::join!(timed(scene.client.send(&put)), freezes);
    expect_unavailable(reply);
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(scene.far().seen().is_empty(), "its beginning is gone");
    scene.near().thaw();
    scene.near().wait_for(|seen| seen.cut_at.is_some()).await;
    assert!(scene.near().keys(BUCKETS[0]).is_empty());
}

// ── what commits by its head ─────────────────────────────────────────────────

#[tokio::test]
async fn what_commits_by_its_head_is_repeated_in_the_same_region_only() {
    let requests = [
        ("DeleteObject", Request::delete("/photos/k"), 204),
        ("PutObject", Request::put("/photos/k", ""), 200),
    ];
    for (operation, request, status) in requests {
        for act in [Act::DropAtHead(End::Reset), Act::DropAfterCommit(End::Reset)] {
            let scene = pair("allow").await;
            scene.seed([("k".to_owned(), b"v".to_vec())]);
            // once: the repeat succeeds
            scene.near().fault(When::operation(operation).times(1), act.clone());
            let reply = scene.client.send(&request).await.expect(status);
            assert_eq!((served_by(&reply), attempts(&reply)), ("near", 2), "{operation} {act:?}");
            // for good: no other region sees it
            scene.near().fault(When::operation(operation), act.clone());
            scene
                .near()
                .fault(When::operation("HeadObject"), Act::Answer { status: 403, code: "AccessDenied" });
            expect_unavailable(scene.client.send(&request).await);
            assert!(scene.far().seen().is_empty(), "{operation} {act:?}");
            assert_eq!(seen(scene.near(), operation).len(), 5, "two, then three tries");
        }
    }
}

#[tokio::test]
async fn what_may_have_committed_by_its_head_stays_in_its_region_though_the_repeat_is_refused() {
    for request in [Request::delete("/photos/k"), Request::put("/photos/k", "")] {
        let scene = pair("allow").await;
        scene.seed([("k".to_owned(), b"v".to_vec())]);
        let method = if request.method == "DELETE" { "DELETE" } else { "PUT" };
        let writes = || When { method: Some(method), ..When::default() };
        let refuses = || Act::Answer { status: 403, code: "InvalidAccessKeyId" };
        scene.near().fault(writes().times(1), Act::DropAfterCommit(End::Reset));
        scene.near().fault(writes().after(1), refuses());
        // the canary, which settles that it is our credential
        scene.near().fault(When { method: Some("GET"), ..When::everything() }, refuses());
        expect_unavailable(scene.client.send(&request).await);
        scene.gateway.transition("near", "credential", "out");
        assert_eq!(scene.near().seen().iter().filter(|seen| seen.method == method).count(), 2);
        assert!(scene.far().seen().is_empty(), "{method}");
    }
}

#[tokio::test]
async fn a_copy_that_was_not_answered_is_not_repeated() {
    let scene = pair("allow").await;
    scene.seed([("k".to_owned(), b"v".to_vec())]);
    scene.near().fault(When::operation("CopyObject"), Act::DropAfterCommit(End::Reset));
    let copy = Request::put("/photos/copy", "").with("x-amz-copy-source", "/photos/k");
    expect_unavailable(scene.client.send(&copy).await);
    assert_eq!(operations(scene.near()), ["CopyObject"]);
    assert!(scene.far().seen().is_empty());
}

#[tokio::test]
async fn a_delete_that_a_hung_region_may_have_taken_is_not_repeated_late() {
    let scene = pair("allow").await;
    scene.seed([("k".to_owned(), b"v".to_vec())]);
    scene.near().fault(When::operation("DeleteObject"), Act::Silent);
    scene.near().freeze();
    let (reply, took) = timed(scene.client.send(&Request::delete("/photos/k"))).await;
    expect_unavailable(reply);
    assert!(took > Duration::from_secs(2), "{took:?}");
    scene.near().thaw();
    scene.near().wait_for(|seen| seen.operation == "DeleteObject").await;
    assert_eq!(operations(scene.near()), ["DeleteObject"]);
    assert!(scene.far().seen().is_empty());
}

#[tokio::test]
async fn an_upload_that_was_created_twice_is_one_for_the_client() {
    let scene = pair("allow").await;
    scene.near().fault(When::operation("CreateMultipartUpload"), Act::DropAfterCommit(End::Reset));
    let reply = scene.client.send(&Request::post("/photos/k?uploads", "")).await.expect(200);
    assert_eq!(served_by(&reply), "far");
    let (_, metrics) = scene.gateway.admin_text("/metrics").await;
    assert!(metrics.contains("nearpoint_upload_orphans_total{region=\"near\"} 1"), "{metrics}");
    assert_eq!(scene.near().uploads(BUCKETS[0]).len(), 1, "for the operator to remove");
}

#[tokio::test]
async fn the_end_of_an_upload_is_never_tried_elsewhere_nor_twice() {
    for act in [Act::DropAtHead(End::Reset), Act::DropAfterCommit(End::Reset)] {
        let scene = pair("allow").await;
        scene.near().fault(When::operation("CompleteMultipartUpload"), act.clone());
        scene.near().fault(When::operation("HeadObject"), Act::Answer { status: 403, code: "AccessDenied" });
        let (target, complete) = upload_of_one_part(&scene).await;
        expect_unavailable(scene.client.send(&complete).await);
        assert_eq!(seen(scene.near(), "CompleteMultipartUpload").len(), 1, "{act:?}");
        assert!(scene.far().seen().is_empty(), "{act:?} {target}");
    }
}

/// An upload begun in the nearest region with one part there: its target and its completion.
async fn upload_of_one_part(scene: &Scene) -> (String, Request) {
    let created = scene.client.send(&Request::post("/photos/k?uploads", "")).await.expect(200);
    assert_eq!(served_by(&created), "near");
    let id = text::encoded(&text::element(&created.text(), "UploadId").unwrap(), "");
    let target = format!("/photos/k?uploadId={id}");
    let put = Request::put(&format!("/photos/k?partNumber=1&uploadId={id}"), "v");
    let etag = scene.client.send(&put).await.expect(200).header("etag").unwrap().to_owned();
    let xml = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>",
        text::escaped(&etag)
    );
    let complete = Request::post(&target, xml);
    (target, complete)
}

#[tokio::test]
async fn an_upload_waits_for_its_region() {
    let scene = pair("allow").await;
    let (target, complete) = upload_of_one_part(&scene).await;
    let part = Request::put(&format!("{target}&partNumber=2"), "w");
    scene.near().kill();
    for request in [&part, &complete, &Request::get(&target), &Request::delete(&target)] {
        expect_unavailable(scene.client.send(request).await);
    }
    assert!(scene.far().seen().is_empty());
    scene.near().revive();
    scene.wait_until_none_is_out().await;
    // a part is repeated in place
    scene.near().fault(When::operation("UploadPart").times(1), Act::DropAfterCommit(End::Reset));
    scene.client.send(&part).await.expect(200);
    scene.client.send(&complete).await.expect(200);
    assert_eq!(scene.near().object(BUCKETS[0], "k").unwrap().body, "v");
}

#[tokio::test]
async fn an_upload_goes_on_in_a_region_that_is_out_for_errors() {
    let scene = pair("allow").await;
    scene.seed((0..8).map(|number| (format!("kept{number}"), body(100))));
    let (target, complete) = upload_of_one_part(&scene).await;
    for operation in ["PutObject", "GetObject"] {
        scene.near().fault(When::operation(operation), Act::Answer { status: 500, code: "InternalError" });
    }
    for number in 0..8 {
        scene.client.send(&Request::put(&format!("/photos/other{number}"), "v")).await.expect(200);
        scene.client.send(&Request::get(&format!("/photos/kept{number}"))).await.expect(200);
    }
    for kind in ["reads", "writes"] {
        assert_eq!(scene.standing_of("near", kind).await, "out");
    }
    scene.client.send(&Request::put(&format!("{target}&partNumber=2"), "w")).await.expect(200);
    let reply = scene.client.send(&complete).await.expect(200);
    assert_eq!(served_by(&reply), "near");
    for kind in ["reads", "writes"] {
        assert_eq!(scene.standing_of("near", kind).await, "out", "that proves nothing of the rest");
    }
    assert_eq!(scene.near().object(BUCKETS[0], "k").unwrap().body, "v");
}

#[tokio::test]
async fn a_write_under_way_is_left_alone_when_its_only_region_goes_out_for_errors() {
    let scene = pair("refuse").await;
    scene.near().fault(When::key("slow"), Act::Delay(Duration::from_secs(2)));
    for number in 0..8 {
        let refusal = Act::Answer { status: 500, code: "InternalError" };
        scene.near().fault(When::key(&format!("bad{number}")), refusal);
    }
    let errs = async {
        scene.near().wait_for(|seen| seen.key == "slow").await;
        for number in 0..8 {
            scene.client.send(&Request::put(&format!("/photos/bad{number}"), "v")).await;
            if scene.standing_of("near", "writes").await == "out" {
                return;
            }
        }
        panic!("it does not go out");
    };
    let slow = Request::put("/photos/slow", "v");
    let (reply, ()) = tokio::join!(scene.client.send(&slow), errs);
    assert_eq!(attempts(&reply.expect(200)), 1);
    let looked_at = seen(scene.near(), "HeadObject").iter().any(|seen| seen.key == "slow");
    assert!(!looked_at, "its answer was waited for");
}

// ── conditional writes ───────────────────────────────────────────────────────

#[tokio::test]
async fn home_does_not_judge_a_condition_on_what_changed_elsewhere_while_it_was_out() {
    let scene = pair("allow").await;
    scene.near().kill();
    let reply = scene.client.send(&Request::put("/photos/k", "theirs")).await.expect(200);
    assert_eq!(served_by(&reply), "far");
    scene.near().revive();
    scene.wait_until_none_is_out().await;
    // home has no such key, and would take it
    let fresh = |key: &str| Request::put(&format!("/photos/{key}"), "ours").with("if-none-match", "*");
    expect_unavailable(scene.client.send(&fresh("k")).await);
    assert_eq!(scene.far().object(BUCKETS[1], "k").unwrap().body, "theirs");
    assert!(scene.near().object(BUCKETS[0], "k").is_none());
    let reply = scene.client.send(&fresh("another")).await.expect(200);
    assert_eq!(served_by(&reply), "near");
}

#[tokio::test]
async fn conditional_writes_are_decided_at_home_or_not_at_all() {
    let regions = regions(2);
    let mut setup = setup(&regions, "allow");
    // writes go elsewhere first, and home is the other
    setup.edit_access_point(
        "photos",
        "writes: {order: home, home: near",
        "writes: {order: [far, near], home: near",
    );
    let scene = begin(regions, &setup).await;
    let reply = scene.client.send(&Request::put("/photos/k", "v")).await.expect(200);
    assert_eq!(served_by(&reply), "far");
    let fresh = || Request::put("/photos/new", "v").with("if-none-match", "*");
    let reply = scene.client.send(&fresh()).await.expect(200);
    assert_eq!(served_by(&reply), "near");
    scene.client.send(&fresh()).await.expect(412);
    let etag = reply.header("etag").unwrap();
    scene.client.send(&Request::put("/photos/new", "w").with("if-match", etag)).await.expect(200);
    scene.client.send(&Request::put("/photos/new", "x").with("if-match", etag)).await.expect(412);
    scene.forget();
    // an answer that was lost and cannot be settled is neither a success nor a 412, and is not asked
    // for again
    scene.near().fault(When::operation("PutObject"), Act::DropAfterCommit(End::Reset));
    scene.near().fault(When::operation("HeadObject"), Act::Answer { status: 403, code: "AccessDenied" });
    let lost = Request::put("/photos/lost", "v").with("if-none-match", "*");
    expect_unavailable(scene.client.send(&lost).await);
    assert_eq!(operations(scene.near()), ["PutObject", "HeadObject"]);
    scene.near().kill();
    for request in [fresh(), Request::put("/photos/new", "y").with("if-match", etag)] {
        expect_unavailable(scene.client.send(&request).await);
    }
    assert!(scene.far().seen().is_empty());
}

// ── requests that kill ───────────────────────────────────────────────────────

#[tokio::test]
async fn a_request_that_killed_two_regions_is_not_carried_to_a_third() {
    let regions = regions(3);
    let setup = setup(&regions, "allow");
    let scene = begin(regions, &setup).await;
    scene.seed_numbers(3);
    let kills = |region: &Region| region.fault(When::key("n/0"), Act::DropAtHead(End::Reset));
    scene.regions.iter().for_each(|region| kills(region));
    expect_unavailable(scene.client.send(&Request::get("/photos/n/0")).await);
    assert!(scene.regions[2].seen().is_empty());
    // who asks again is refused at once, by whatever worker; other keys and methods are not
    scene.forget();
    for _ in 0..8 {
        expect_unavailable(scene.client.send(&Request::get("/photos/n/0")).await);
    }
    assert!(scene.regions.iter().all(|region| region.seen().is_empty()));
    scene.client.send(&Request::get("/photos/n/1")).await.expect(200);
    let standing = scene.gateway.standing().await;
    assert!(standing.iter().all(|row| row.1 != "out" && row.2 != "out"), "{standing:?}");
}

#[tokio::test]
async fn a_region_that_dies_under_a_write_is_not_mistaken_for_a_poisonous_request() {
    let scene = pair("allow").await;
    scene.near().fault(When::always(), Act::DropAtHead(End::Reset));
    for number in 0..5 {
        let reply = scene.client.send(&Request::put(&format!("/photos/n/{number}"), "v")).await.expect(200);
        assert_eq!(served_by(&reply), "far");
    }
}

#[tokio::test]
async fn the_log_tells_every_try() {
    let scene = pair("allow").await;
    scene.near().kill();
    let reply = scene.client.send(&Request::put("/photos/k", "v")).await.expect(200);
    let line = scene.gateway.access_line(reply.header("x-amz-request-id").unwrap());
    let told = [("near", "refused"), ("far", "answered")];
    assert_eq!(tries(&line), told.map(|(region, outcome)| (region.to_owned(), outcome.to_owned())));
    assert_eq!((line["region"].as_str(), line["status"].as_u64()), (Some("far"), Some(200)));
}
