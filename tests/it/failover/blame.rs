//! Who is to blame: what a client does wrong, or one key, or a credential, is not the region's fault.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    BUCKETS, Scene, attempts, begin, body, expect_unavailable, numbers, pair, regions, seen, served_by,
    setup, timed, tries,
};
use crate::house::client::{Client, Payload, Request, Signed};
use crate::house::digest::{self, Algorithm};
use crate::house::gateway::Tenant;
use crate::house::moment;
use crate::house::region::{Act, PATIENCE, Region, When};

/// How often each hostile request is sent.
const OFTEN: usize = 100;

/// Sends a request a hundred times, by `client`, in step with sound ones; every answer is as said,
/// and no standing changes.
async fn changes_nothing(scene: &Scene, what: &str, client: &Client, signed: &Signed, status: u16) {
    let standing = scene.gateway.standing().await;
    let mut connection = client.connect().await;
    for _ in 0..OFTEN {
        let reply = connection.exchange(&signed.bytes(), &signed.method).await.expect(what);
        assert_eq!(reply.status, status, "{what}: {}", reply.text());
        if reply.header("connection") == Some("close") {
            connection = client.connect().await;
        }
    }
    assert_eq!(scene.gateway.standing().await, standing, "{what}");
}

#[tokio::test]
async fn a_hundred_hostile_requests_change_no_standing() {
    let scene = pair("allow").await;
    scene.seed_numbers(1);
    let client = &scene.client;
    let changes = || {
        // two equals may change places in the order of nearness at any time
        let all = scene.gateway.transitions().into_iter();
        all.filter(|change| change["what"] != "nearest").collect::<Vec<_>>()
    };
    let before = changes().len();
    let flipped = |mut bytes: Vec<u8>| {
        bytes[3] ^= 1;
        bytes
    };
    let put = |payload| client.sign(&Request::put("/photos/k", body(100_000)).payload(payload));
    let md5 = digest::md5_base64(b"another body");
    // a body's framing on a request that has no body
    let framed = |request: Request| {
        let request = request.with("x-amz-trailer", "x-amz-checksum-crc32");
        client.sign_with(&request, |draft| draft.mark = Some("STREAMING-UNSIGNED-PAYLOAD-TRAILER".to_owned()))
    };
    let cases = [
        ("a GET with a body's framing", framed(Request::get("/photos/n/0")), 200),
        ("a DELETE with a body's framing", framed(Request::delete("/photos/nothing")), 204),
        ("a listing with a body's framing", framed(Request::get("/photos?uploads")), 200),
        ("an unknown bucket", client.sign(&Request::get("/nobodys/k")), 404),
        ("a physical bucket", client.sign(&Request::get(&format!("/{}/k", BUCKETS[0]))), 404),
        ("a missing key", client.sign(&Request::get("/photos/missing")), 404),
        ("an odd key", client.sign(&Request::get("/photos/%E2%80%AE//./%7F")), 404),
        ("an unknown version", client.sign(&Request::get("/photos/n/0?versionId=none")), 404),
        ("an unknown upload", client.sign(&Request::put("/photos/k?partNumber=1&uploadId=none", "v")), 404),
        ("a range beyond", client.sign(&Request::get("/photos/n/0").with("range", "bytes=9-")), 416),
        (
            "a bad signature",
            client.sign(&Request::get("/photos/n/0")).set("x-amz-date", "20260101T000000Z"),
            403,
        ),
        ("a bad hash", put(Payload::Hex).edit_body(flipped), 400),
        ("a bad chunk", put(Payload::SignedChunks(8192)).edit_body(flipped_at(200)), 403),
        (
            "a bad checksum",
            client.sign(
                &Request::put("/photos/k", "body")
                    .payload(Payload::Unsigned)
                    .with("x-amz-checksum-crc32", &Algorithm::Crc32.base64(b"another")),
            ),
            400,
        ),
        ("a bad MD5", client.sign(&Request::put("/photos/k", "body").with("content-md5", &md5)), 400),
    ];
    for (what, signed, status) in cases {
        changes_nothing(&scene, what, client, &signed, status).await;
    }
    assert_eq!(changes().len(), before, "{:#?}", changes());
    assert!(scene.near().keys(BUCKETS[0]).iter().all(|key| key.starts_with("n/")));
}

fn flipped_at(at: usize) -> impl Fn(Vec<u8>) -> Vec<u8> {
    move |mut bytes| {
        bytes[at] ^= 1;
        bytes
    }
}

#[tokio::test]
async fn a_body_that_a_store_refuses_with_500_is_the_clients() {
    let scene = pair("allow").await;
    scene.near().fault(When::operation("PutObject"), Act::Answer { status: 500, code: "BadDigest" });
    let put = scene.client.sign(&Request::put("/photos/k", "v"));
    changes_nothing(&scene, "refused with 500", &scene.client, &put, 400).await;
    assert!(scene.far().seen().is_empty());
}

#[tokio::test]
async fn a_refusal_of_one_key_is_passed_on_and_settled_by_a_canary_a_second() {
    let scene = pair("allow").await;
    scene.near().fault(When::key("secret"), Act::Answer { status: 403, code: "AccessDenied" });
    for method in ["GET", "HEAD"] {
        let signed = scene.client.sign(&Request::new(method, "/photos/secret"));
        changes_nothing(&scene, method, &scene.client, &signed, 403).await;
    }
    assert!(scene.far().seen().is_empty());
    let canaries = canaries(scene.near());
    assert!((1..20).contains(&canaries), "{canaries} canaries for {} refusals", 2 * OFTEN);
}

/// Canaries that a region saw: probes ask by HEAD.
fn canaries(region: &Region) -> usize {
    let seen = region.seen_with_probes();
    seen.iter().filter(|seen| seen.key == ".nearpoint/canary" && seen.method == "GET").count()
}

#[tokio::test]
async fn a_tenants_bad_key_is_the_tenants() {
    let regions = regions(2);
    let mut setup = setup(&regions, "allow");
    let mut tenant = Tenant::of("tenant", &["photos"]);
    tenant.lines = "    region_credentials:\n      near: {access_key_id: AKIDTYPO, secret_access_key: nothing}\n      far: {access_key_id: AKIDTYPO, secret_access_key: nothing}\n".to_owned();
    setup.tenants.push(tenant);
    let scene = begin(regions, &setup).await;
    scene.seed_numbers(10);
    let tenant = scene.gateway.client_of(1);
    let signed = tenant.sign(&Request::get("/photos/n/0"));
    changes_nothing(&scene, "a tenant's bad key", &tenant, &signed, 403).await;
    let put = tenant.sign(&Request::put("/photos/mine", "v"));
    changes_nothing(&scene, "a tenant's bad key", &tenant, &put, 403).await;
    // only the tenant's own credential is known to be refused
    for region in ["near", "far"] {
        let what = scene.gateway.transition(region, "credential", "out")["what"].as_str().unwrap().to_owned();
        assert!(what.contains("tenant"), "{what}");
    }
    for reply in scene.together(numbers(0..10)).await {
        let reply = reply.expect(200);
        assert_eq!((served_by(&reply), attempts(&reply)), ("near", 1));
    }
    let refused = scene.client.send(&Request::put("/photos/ours", "v")).await.expect(200);
    assert_eq!(served_by(&refused), "near");
}

#[tokio::test]
async fn under_the_wildcard_a_missing_bucket_is_the_clients() {
    let regions = regions(1);
    let mut setup = setup(&regions, "refuse");
    setup.access_points.push(("\"*\"".to_owned(), "    regions: [near]\n".to_owned()));
    setup.tenants[0] = Tenant::of("app", &["*"]);
    let scene = begin(regions, &setup).await;
    let signed = scene.client.sign(&Request::get("/nobodys/k"));
    changes_nothing(&scene, "a missing bucket", &scene.client, &signed, 404).await;
    assert_eq!(canaries(scene.near()), 0);
}

// ── what is the region's, though it answers ──────────────────────────────────

#[tokio::test]
async fn a_credential_that_expired_in_one_region_costs_no_read() {
    let scene = pair("refuse").await;
    scene.seed_numbers(60);
    scene.near().change_settings(|settings| settings.secret = "rotated away".to_owned());
    for (number, reply) in scene.together(numbers(0..50)).await.into_iter().enumerate() {
        let reply = reply.expect(200);
        assert_eq!((served_by(&reply), reply.text()), ("far", number.to_string()));
    }
    let out = scene.gateway.transition("near", "credential", "out");
    assert_eq!(out["why"], "the canary was refused");
    assert_eq!(canaries(scene.near()), 1, "for all who met the refusal at once");
    scene
        .gateway
        .wait_for_status(|status| {
            let regions = status["regions"].as_array().expect("`regions` is a list");
            let near = regions.iter().find(|region| region["id"] == "near").expect("it is there");
            near["refused_credentials"].as_array().is_some_and(|refused| !refused.is_empty())
        })
        .await;
    for reply in scene.together(numbers(50..60)).await {
        assert_eq!(attempts(&reply.expect(200)), 1, "nobody asks there any more");
    }
    // the region can be reached, and says so
    assert_eq!(scene.standing_of("near", "reads").await, "healthy");
    // home's own writes are not the client's fault: it is told to come back, not that it may not
    for request in [
        Request::put("/photos/k", "v"),
        Request::put("/photos/k", body(2 << 20)),
        Request::delete("/photos/k"),
    ] {
        expect_unavailable(scene.client.send(&request).await);
    }
    assert!(scene.far().seen().iter().all(|seen| seen.method == "GET"));
}

#[tokio::test]
async fn writes_follow_where_they_may_when_a_credential_expired() {
    let scene = pair("allow").await;
    scene.near().change_settings(|settings| settings.access_key_id = "AKIDOTHER".to_owned());
    for number in 0..10 {
        let put = Request::put(&format!("/photos/{number}"), body(100_000 * number));
        assert_eq!(served_by(&scene.client.send(&put).await.expect(200)), "far");
    }
    assert!(seen(scene.near(), "PutObject").len() <= 2, "once for a body, and no more once it is known");
}

#[tokio::test]
async fn a_bucket_that_is_gone_in_one_region_costs_no_read() {
    let scene = pair("refuse").await;
    scene.seed_numbers(20);
    let direct = Client::of(scene.near());
    for key in scene.near().keys(BUCKETS[0]) {
        direct.send(&Request::delete(&format!("/{}/{key}", BUCKETS[0]))).await.expect(204);
    }
    direct.send(&Request::delete(&format!("/{}", BUCKETS[0]))).await.expect(204);
    for reply in scene.together(numbers(0..20)).await {
        assert_eq!(served_by(&reply.expect(200)), "far");
    }
    let out = scene.gateway.transition("near", "configuration", "out");
    assert_eq!(out["what"], "configuration of photos");
    assert_eq!(scene.standing_of("near", "reads").await, "healthy");
}

// ── what is no outage ────────────────────────────────────────────────────────

#[tokio::test]
async fn an_expired_token_is_seen_in_the_bare_400_that_answers_a_head() {
    let scene = pair("allow").await;
    scene.seed_numbers(1);
    let expired = || Act::Answer { status: 400, code: "ExpiredToken" };
    scene.near().fault(When::everything(), expired());
    let reply = scene.client.send(&Request::head("/photos/n/0")).await.expect(200);
    assert_eq!(served_by(&reply), "far");
    // a 400 that is of this request alone is the client's
    let scene = pair("allow").await;
    scene.seed_numbers(1);
    scene.near().fault(When::key("n/0"), Act::Answer { status: 400, code: "InvalidRequest" });
    let reply = scene.client.send(&Request::head("/photos/n/0")).await.expect(400);
    assert_eq!(served_by(&reply), "near");
}

#[tokio::test]
async fn slow_down_is_not_death() {
    let scene = pair("allow").await;
    scene.seed_numbers(40);
    scene.near().fault(When::always().times(2), Act::Answer { status: 503, code: "SlowDown" });
    let reply = scene.client.send(&Request::get("/photos/n/0")).await.expect(200);
    assert_eq!((served_by(&reply), attempts(&reply)), ("near", 3));
    assert!(scene.far().seen().is_empty(), "what was asked for too often is asked again, and not elsewhere");
    scene.near().fault(When::always(), Act::Answer { status: 503, code: "SlowDown" });
    let heads = (0..30).map(|number| Request::head(&format!("/photos/n/{number}")));
    for request in numbers(0..30).chain([Request::put("/photos/k", "v")]).chain(heads) {
        let reply = scene.client.send(&request).await;
        let code = if request.method == "HEAD" { None } else { Some("SlowDown") };
        let slow_down = (reply.status, reply.code().as_deref()) == (503, code);
        assert!(slow_down || (reply.status == 200 && served_by(&reply) == "far"), "{}", reply.text());
    }
    let standing = scene.gateway.standing().await;
    assert!(standing.iter().all(|row| row.1 == "healthy" && row.2 == "healthy"), "{standing:?}");
}

#[tokio::test]
async fn open_files_that_run_out_are_no_regions_fault() {
    let regions = regions(2);
    let gateway = setup(&regions, "refuse").start();
    gateway.wait_for_reads(&[("near", "healthy"), ("far", "healthy")]).await;
    regions[0].seed(BUCKETS[0], "k", "v");
    let client = gateway.client();
    let mut connection = client.connect().await;
    let health = client.sign(&Request::get("/.nearpoint/health")).bytes();
    connection.exchange(&health, "GET").await.expect("an answer").expect(200);
    // no connection to a region is kept: there was no request yet
    gateway.limit_open_files(Some(0));
    let crowd = client.connect().await;
    gateway.wait_for_event("cannot accept connections");
    let get = client.sign(&Request::get("/photos/k")).bytes();
    for _ in 0..5 {
        let reply = connection.exchange(&get, "GET").await.expect("an answer");
        let line = gateway.access_line(reply.header("x-amz-request-id").unwrap());
        expect_unavailable(reply);
        assert!(tries(&line).iter().all(|(_, outcome)| outcome == "shortage"), "{line}");
        assert!(line["cause"].as_str().unwrap().starts_with("no file descriptor"), "{line}");
    }
    gateway.wait_for_event(
        "no files, ports or memory left for connections to regions: raise ulimit -n or lower limits.connections",
    );
    drop(crowd);
    gateway.limit_open_files(None);
    let served = async { while connection.exchange(&get, "GET").await.expect("an answer").status != 200 {} };
    tokio::time::timeout(PATIENCE, served).await.expect("it recovers");
    assert!(gateway.transitions().iter().all(|line| line["to"] == "healthy"), "{:?}", gateway.transitions());
    let (_, metrics) = gateway.admin_text("/metrics").await;
    assert!(metrics.contains("outcome=\"shortage\""), "{metrics}");
}

#[tokio::test]
async fn one_poisonous_key_at_a_high_rate_ejects_nobody() {
    let scene = pair("allow").await;
    scene.seed_numbers(100);
    scene.near().fault(When::key("n/0"), Act::Answer { status: 500, code: "InternalError" });
    for number in 1..100 {
        let (bad, good) =
            tokio::join!(scene.together(numbers(0..1)), scene.together(numbers(number..number + 1)),);
        assert_eq!(served_by(&bad.into_iter().next().unwrap().expect(200)), "far");
        let good = good.into_iter().next().unwrap().expect(200);
        assert_eq!((served_by(&good), attempts(&good)), ("near", 1));
    }
    let standing = scene.gateway.standing().await;
    assert!(standing.iter().all(|row| row.1 == "healthy"), "{standing:?}");
}

#[tokio::test]
async fn writes_that_fail_leave_reads_where_they_are() {
    let scene = pair("allow").await;
    scene.seed_numbers(20);
    scene.near().fault(When::operation("PutObject"), Act::Answer { status: 500, code: "InternalError" });
    for number in 0..20 {
        let put = Request::put(&format!("/photos/w/{number}"), "v");
        assert_eq!(served_by(&scene.client.send(&put).await.expect(200)), "far");
    }
    scene.gateway.transition("near", "write", "out");
    for reply in scene.together(numbers(0..20)).await {
        let reply = reply.expect(200);
        assert_eq!((served_by(&reply), attempts(&reply)), ("near", 1));
    }
    assert_eq!(scene.standing_of("near", "reads").await, "healthy");
}

#[tokio::test]
async fn with_writes_refused_elsewhere_a_failing_home_is_asked_again_and_then_believed() {
    let scene = pair("refuse").await;
    scene.near().fault(When::key("k").times(1), Act::Answer { status: 500, code: "InternalError" });
    let reply = scene.client.send(&Request::put("/photos/k", "v")).await.expect(200);
    assert_eq!((served_by(&reply), attempts(&reply)), ("near", 2));
    scene.near().fault(When::key("k"), Act::Answer { status: 500, code: "InternalError" });
    let reply = scene.client.send(&Request::put("/photos/k", "w")).await.expect(500);
    assert_eq!(reply.code().as_deref(), Some("InternalError"));
    // five tries, since nobody else may be asked
    assert_eq!(seen(scene.near(), "PutObject").len(), 2 + 5);
    assert!(scene.far().seen().is_empty());
}

#[tokio::test]
async fn repeats_are_bounded_however_much_fails() {
    const REQUESTS: usize = 400;
    let scene = pair("allow").await;
    scene.seed_numbers(REQUESTS);
    let fails = || Act::Answer { status: 500, code: "InternalError" };
    scene.regions.iter().for_each(|region| region.fault(When::always(), fails()));
    let began = moment::mono();
    for begin in (0..REQUESTS).step_by(50) {
        for reply in scene.together(numbers(begin..begin + 50)).await {
            assert!([500, 503].contains(&reply.status), "{}", reply.status);
        }
    }
    let tried: usize = scene.regions.iter().map(|region| region.seen().len()).sum();
    // a fifth of the requests, and ten a second for the ten seconds that count and those it took
    let seconds = usize::try_from(moment::mono().saturating_duration_since(began).as_secs()).unwrap() + 1;
    let bound = REQUESTS + REQUESTS / 5 + 10 * (10 + seconds);
    assert!((REQUESTS + 50..=bound).contains(&tried), "{tried} tries for {REQUESTS} requests in {seconds} s");
}

// ── clients that go away or stand still ──────────────────────────────────────

#[tokio::test]
async fn clients_that_go_away_are_nobodys_failure() {
    let regions = regions(2);
    let mut setup = setup(&regions, "allow");
    setup.rest = "timeouts: {first_byte: 30s, put_answer: 30s}\n".to_owned();
    let scene = begin(regions, &setup).await;
    scene.seed([("big".to_owned(), body(8 << 20))]);
    let standing = scene.gateway.standing().await;
    scene.near().fault(When::key("silent"), Act::Silent);
    let waits = [
        Request::get("/photos/silent"),
        Request::put("/photos/silent", "v"),
        Request::delete("/photos/silent"),
    ];
    for number in 0..30 {
        let signed = scene.client.sign(&waits[number % waits.len()]);
        let mut connection = scene.client.connect().await;
        connection.stream.write_all(&signed.bytes()).await.unwrap();
        scene.near().wait_for(|seen| seen.key == "silent").await;
        scene.near().forget();
    }
    for _ in 0..30 {
        let mut connection = scene.client.connect().await;
        connection.stream.write_all(&scene.client.sign(&Request::get("/photos/big")).bytes()).await.unwrap();
        let mut start = [0; 1000];
        connection.stream.read_exact(&mut start).await.unwrap();
    }
    // each has its line before we look: none of them can come too late
    let lines = |scene: &Scene| {
        let lines = scene.gateway.access_lines();
        lines.into_iter().filter(|line| line["aborted"] == "client").count()
    };
    scene.gateway.wait_for_status(|_| lines(&scene) == 60).await;
    assert_eq!(scene.gateway.standing().await, standing);
    assert!(scene.far().seen().is_empty(), "nobody is left to go on for");
}

#[tokio::test]
async fn a_client_that_stops_sending_is_cut_and_its_upload_with_it() {
    let regions = regions(2);
    let mut setup = setup(&regions, "allow");
    setup.rest = "timeouts: {body_progress: 1s}\n".to_owned();
    let scene = begin(regions, &setup).await;
    let signed = scene.client.sign(&Request::put("/photos/k", body(4 << 20)).payload(Payload::Unsigned));
    let mut connection = scene.client.connect().await;
    connection.stream.write_all(&signed.head_bytes()).await.unwrap();
    connection.stream.write_all(&signed.body[..1 << 20]).await.unwrap();
    let (reply, took) = timed(connection.reply("PUT")).await;
    assert_eq!(reply.expect("an answer").expect(400).code().as_deref(), Some("RequestTimeout"));
    assert!((Duration::from_millis(900)..Duration::from_secs(3)).contains(&took), "{took:?}");
    scene.near().wait_for(|seen| seen.cut_at.is_some()).await;
    assert!(scene.near().keys(BUCKETS[0]).is_empty() && scene.far().seen().is_empty());
    assert_eq!(scene.standing_of("near", "writes").await, "healthy");
}
