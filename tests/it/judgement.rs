//! How regions are judged that neither serve nor fail plainly: through real sockets.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::house::client::{Client, Reply, Request};
use crate::house::gateway::{Gateway, Setup};
use crate::house::moment;
use crate::house::region::{Act, PATIENCE, Region, Seen, When};
use crate::house::replicator::{Replicator, Ways};
use crate::house::tls::Authority;

const BUCKETS: [&str; 2] = ["photos-near", "photos-far"];

struct Pair {
    near: Arc<Region>,
    far: Arc<Region>,
}

impl Pair {
    fn new() -> Self {
        let [near, far] =
            [("near", BUCKETS[0]), ("far", BUCKETS[1])].map(|(name, bucket)| Region::start(name, &[bucket]));
        Self { near: Arc::new(near), far: Arc::new(far) }
    }

    /// Reads go to the near region first and may move on; writes are its own, or may move on.
    fn setup(&self, writes: &str, probe: &str) -> Setup {
        let all = [self.near.as_ref(), self.far.as_ref()];
        let mut setup = Setup::over(&all).access_point("photos", &all, 0, "allow", writes);
        setup.edit_access_point("photos", "reads: {order: nearest", "reads: {order: [near, far]");
        for (_, lines) in &mut setup.regions {
            lines.push_str(probe);
        }
        setup
    }

    async fn begin(&self, setup: &Setup) -> (Gateway, Client) {
        for number in 0..20 {
            self.near.seed(BUCKETS[0], &format!("n/{number}"), number.to_string());
        }
        Replicator::by_hand(&[&self.near, &self.far], Ways::One).settle();
        let gateway = setup.start();
        gateway.wait_for_standing(|(_, reads, writes)| reads == "healthy" && writes == "healthy").await;
        let client = gateway.client();
        (gateway, client)
    }
}

fn read(number: usize) -> Request {
    Request::get(&format!("/photos/n/{}", number % 20))
}

fn served_by(reply: &Reply) -> &str {
    reply.header("x-nearpoint-region").expect("on loopback it is told")
}

/// Changes of a region's standing for reads.
fn changes(gateway: &Gateway, region: &str, what: &str) -> Vec<String> {
    let of = |line: &serde_json::Value| line["region"] == region && line["what"] == what;
    let all = gateway.transitions();
    all.iter().filter(|line| of(line)).map(|line| line["to"].as_str().unwrap().to_owned()).collect()
}

// ── slow ─────────────────────────────────────────────────────────────────────

#[tokio::test]
async fn a_region_that_becomes_slow_is_left_by_reads_and_loses_none() {
    let pair = Pair::new();
    // an order by speed, in which one is plainly nearer
    pair.far.fault(When::everything(), Act::Delay(Duration::from_millis(100)));
    let mut setup = pair.setup("refuse", "");
    setup.edit_access_point("photos", "reads: {order: [near, far]", "reads: {order: nearest");
    let (gateway, client) = pair.begin(&setup).await;
    let nearer = async { while served_by(&client.send(&read(0)).await.expect(200)) != "near" {} };
    tokio::time::timeout(PATIENCE * 4, nearer).await.expect("the nearer one is found");
    for number in 0..60 {
        assert_eq!(served_by(&client.send(&read(number)).await.expect(200)), "near");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let everything = When { operation: Some("GetObject"), ..When::everything() };
    pair.near.fault(everything, Act::Delay(Duration::from_millis(300)));
    let slow = moment::mono();
    while served_by(&client.send(&read(1)).await.expect(200)) == "near" {
        assert!(slow.elapsed() < Duration::from_secs(30), "it is never left");
    }
    let why = gateway.transition("near", "speed", "suspect");
    assert!(why["why"].as_str().unwrap().contains("others are quicker"), "{why}");
    // a write is not about speed
    assert_eq!(served_by(&client.send(&Request::put("/photos/w", "v")).await.expect(200)), "near");
    let status = gateway.admin_json("/api/v1/status").await;
    let near = status["regions"].as_array().unwrap().iter().find(|row| row["id"] == "near").unwrap();
    assert_eq!((&near["slow"], &near["reads"]), (&true.into(), &"healthy".into()), "{status:#}");
}

// ── asking for less ──────────────────────────────────────────────────────────

/// So many requests a second for so long, whatever is answered.
async fn at_a_rate(
    client: &Client,
    per_second: u32,
    seconds: u32,
    request: fn(usize) -> Request,
) -> Vec<Reply> {
    let mut pace = tokio::time::interval(Duration::from_secs(1) / per_second);
    let mut under_way = JoinSet::new();
    for number in 0..(per_second * seconds) as usize {
        pace.tick().await;
        let (client, request) = (client.clone(), request(number));
        under_way.spawn(async move { client.send(&request).await });
    }
    under_way.join_all().await
}

#[tokio::test]
async fn a_throttled_region_is_offered_what_it_takes_and_reads_lose_nothing() {
    const TAKES: usize = 20;
    let pair = Pair::new();
    let mut setup = pair.setup("refuse", "    probe: {interval: 60s}\n");
    // so that a busy machine is not taken for a silent region
    setup.rest = "timeouts: {first_byte: 20s}\n".to_owned();
    let (gateway, client) = pair.begin(&setup).await;
    pair.near.throttle(Some(TAKES));
    let replies = at_a_rate(&client, 50, 10, read).await;
    let failed = replies.iter().filter(|reply| reply.status != 200).count();
    assert!(failed <= replies.len() / 10, "{failed} of {}", replies.len());
    let last = pair.near.seen().last().unwrap().at;
    let within = |from: u64, to: u64| {
        let ago = |seen: &Seen| last.saturating_duration_since(seen.at);
        let between = Duration::from_secs(from)..Duration::from_secs(to);
        pair.near.seen().iter().filter(|seen| between.contains(&ago(seen))).count()
    };
    let offered = within(0, 4) / 4;
    assert!((TAKES / 3..=TAKES * 11 / 10 + 1).contains(&offered), "{offered} a second");
    assert!(!pair.far.seen().is_empty(), "what is above the rate is served elsewhere");
    let standing = gateway.standing().await;
    assert!(standing.iter().all(|row| row.1 == "healthy" && row.2 == "healthy"), "{standing:?}");
    assert!(changes(&gateway, "near", "read").iter().all(|to| to == "healthy"));
    let metrics = gateway.admin_text("/metrics").await.1;
    assert!(metrics.contains("nearpoint_region_rate_held_total{region=\"near\",how=\"moved\"}"), "{metrics}");
}

/// Nor do those that might move: of two writes of a key in two regions that serve, the older might win by
/// their clocks.
#[tokio::test]
async fn writes_above_the_rate_of_their_region_wait_or_are_told_to_slow_down() {
    for failover in ["refuse", "allow"] {
        let pair = Pair::new();
        let (gateway, client) = pair.begin(&pair.setup(failover, "")).await;
        pair.near.throttle(Some(20));
        let put = |number: usize| Request::put(&format!("/photos/w/{number}"), "v");
        let replies = at_a_rate(&client, 80, 6, put).await;
        for reply in &replies {
            if reply.status != 200 {
                assert_eq!((reply.status, reply.code().as_deref()), (503, Some("SlowDown")), "{failover}");
            }
        }
        let ours = replies.iter().find(|reply| reply.status == 503 && reply.header("retry-after").is_some());
        assert!(ours.is_some(), "what is refused here says when to come back");
        assert!(replies.iter().any(|reply| reply.status == 200), "{failover}");
        assert!(pair.far.seen().is_empty(), "{failover}: {:?}", pair.far.seen().first());
        assert!(gateway.standing().await.iter().all(|row| row.2 == "healthy"), "{failover}");
    }
}

// ── clocks ───────────────────────────────────────────────────────────────────

#[tokio::test]
async fn a_region_whose_clock_is_wrong_is_signed_for_by_its_own() {
    for ahead in [1_200, -1_200] {
        let pair = Pair::new();
        pair.near.change_settings(|settings| settings.clock_ahead = ahead);
        let (gateway, client) = pair.begin(&pair.setup("refuse", "")).await;
        for request in [read(1), Request::head("/photos/n/1"), Request::put("/photos/k", "v")] {
            let reply = client.send(&request).await.expect(200);
            assert_eq!((served_by(&reply), reply.header("x-nearpoint-attempts")), ("near", Some("1")));
        }
        let status = gateway.admin_json("/api/v1/status").await;
        let rows = status["regions"].as_array().unwrap();
        let seen = |id: &str| rows.iter().find(|row| row["id"] == id).unwrap()["clock_ahead_s"].as_i64();
        assert_eq!(seen("far"), Some(0));
        assert!((seen("near").unwrap() - ahead).abs() <= 2, "{status:#}");
        let said = gateway.wait_for_event(
            "a region's clock is ahead of ours by this much; what is signed for it is dated by its clock",
        );
        assert_eq!(said["region"], "near");
        assert!(said["hint"].as_str().unwrap().contains("the store's clock"), "{said}");
    }
}

#[tokio::test]
async fn a_clock_that_jumps_costs_one_more_try_and_no_request() {
    let pair = Pair::new();
    // nothing but these requests tells of the jump
    let (gateway, client) = pair.begin(&pair.setup("refuse", "    probe: {interval: 60s}\n")).await;
    let mut clock = 0;
    for request in
        [read(1), Request::head("/photos/n/1"), Request::put("/photos/k", "v"), Request::delete("/photos/k")]
    {
        clock += 3_600;
        pair.near.change_settings(|settings| settings.clock_ahead = clock);
        let reply = client.send(&request).await;
        assert!([200, 204].contains(&reply.status), "{}: {}", request.method, reply.text());
        assert_eq!((served_by(&reply), reply.header("x-nearpoint-attempts")), ("near", Some("2")));
    }
    assert!(gateway.transitions().iter().all(|line| line["to"] != "out"), "nobody is to blame");
}

/// That all regions agree with each other, and not with this machine, is the same as if its own clock were
/// as much behind.
#[tokio::test]
async fn a_clock_of_ours_that_all_regions_contradict_judges_no_client() {
    for (near, far, judges_by) in [(1_200, 1_201, 1_200), (-1_200, -1_200, -1_200), (1_200, 0, 0)] {
        let pair = Pair::new();
        pair.near.change_settings(|settings| settings.clock_ahead = near);
        pair.far.change_settings(|settings| settings.clock_ahead = far);
        let (gateway, client) = pair.begin(&pair.setup("refuse", "")).await;
        let dated = |ahead: i64| client.clone().skewed(ahead);
        for request in [read(1), Request::put("/photos/k", "v")] {
            dated(judges_by).send(&request).await.expect(200);
            let other = if judges_by == 0 { near } else { 0 };
            let refused = dated(other).send(&request).await.expect(403);
            assert_eq!(refused.code().as_deref(), Some("RequestTimeTooSkewed"));
        }
        let presigned = dated(judges_by).presign(&read(1), 60);
        client.send_signed(&client.unsigned(&Request::get(&presigned))).await.expect(200);
        let metrics = gateway.admin_text("/metrics").await.1;
        let line = metrics.lines().find(|line| line.starts_with("nearpoint_clock_correction_seconds "));
        let shown: i64 = line.unwrap().split(' ').next_back().unwrap().parse().unwrap();
        assert!((shown - judges_by).abs() <= 2, "{shown}");
    }
}

// ── ourselves ────────────────────────────────────────────────────────────────

#[tokio::test]
async fn where_all_regions_fail_at_once_we_suspect_ourselves_and_are_back_at_once() {
    let pair = Pair::new();
    let (gateway, client) = pair.begin(&pair.setup("allow", "")).await;
    pair.near.kill();
    pair.far.kill();
    for number in 0..20 {
        client.send(&read(number)).await.expect(503);
    }
    gateway.wait_for_status(|status| status["self_suspect"] == true).await;
    let told = gateway.wait_for_line(|line| line.contains("\"ourselves\"").then(|| line.to_owned()));
    assert!(told.contains("check this machine's network"), "{told}");
    pair.near.revive();
    pair.far.revive();
    let began = moment::mono();
    while client.send(&read(1)).await.status != 200 {
        assert!(began.elapsed() < Duration::from_secs(10));
    }
    // a request that was let through before its region was on trial proved nothing: the next one does
    let clears = async {
        while gateway.admin_json("/api/v1/status").await["self_suspect"] != false {
            client.send(&read(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, clears).await.expect("whoever is answered suspects nobody");
}

// ── probes and requests that disagree ────────────────────────────────────────

#[tokio::test]
async fn reads_that_fail_while_probes_pass_move_away_for_good() {
    let pair = Pair::new();
    let (gateway, client) = pair.begin(&pair.setup("refuse", "")).await;
    pair.near.fault(When::operation("GetObject"), Act::Answer { status: 500, code: "InternalError" });
    let began = moment::mono();
    let mut number = 0;
    while began.elapsed() < Duration::from_secs(8) {
        client.send(&read(number)).await.expect(200);
        number += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let changes = changes(&gateway, "near", "read");
    let outs = changes.iter().filter(|to| *to == "out").count();
    assert_eq!(outs, 1, "{changes:?}");
    assert!(!changes.iter().any(|to| to == "probation"), "it is not tried again for a minute: {changes:?}");
    let fails = pair.near.seen().iter().filter(|seen| seen.status == Some(500)).count();
    assert!(fails <= 20, "{fails} reads found out");
}

#[tokio::test]
async fn a_probe_that_fails_while_requests_are_answered_drains_nobody() {
    let pair = Pair::new();
    let (gateway, client) = pair.begin(&pair.setup("refuse", "    probe: {interval: 200ms}\n")).await;
    let canary = When { key: Some(".nearpoint/canary".to_owned()), ..When::everything() };
    pair.near.fault(canary, Act::Answer { status: 500, code: "InternalError" });
    let began = moment::mono();
    let raised = || {
        let lines = gateway.transitions();
        lines.into_iter().find(|line| line["region"] == "near" && line["what"] == "probes")
    };
    // more often than three probes fail, and not so often that none is sent
    while raised().is_none() {
        assert!(began.elapsed() < Duration::from_secs(20), "no alarm");
        client.send(&read(1)).await.expect(200);
        tokio::time::sleep(Duration::from_millis(210)).await;
    }
    let why = raised().unwrap();
    assert!(why["why"].as_str().unwrap().contains("check probe.bucket and probe.key"), "{why}");
    for kind in ["read", "write"] {
        assert!(!changes(&gateway, "near", kind).iter().any(|to| to == "out"), "{kind}");
    }
    assert_eq!(served_by(&client.send(&read(1)).await.expect(200)), "near");
}

#[tokio::test]
async fn a_probe_that_is_throttled_is_no_failure() {
    let pair = Pair::new();
    let (gateway, _client) = pair.begin(&pair.setup("refuse", "    probe: {interval: 200ms}\n")).await;
    let canary = When { key: Some(".nearpoint/canary".to_owned()), ..When::everything() };
    pair.far.fault(canary, Act::Answer { status: 503, code: "SlowDown" });
    let began = moment::mono();
    let throttled = || pair.far.seen_with_probes().iter().filter(|seen| seen.status == Some(503)).count();
    while throttled() < 6 {
        assert!(began.elapsed() < Duration::from_secs(20), "{} probes", throttled());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for kind in ["read", "write"] {
        let changes = changes(&gateway, "far", kind);
        assert!(changes.iter().all(|to| to == "healthy"), "{kind} {changes:?}");
    }
}

// ── write probes ─────────────────────────────────────────────────────────────

const WRITES: &str = "    probe: {write: 1s}\n";

#[tokio::test]
async fn writes_that_fail_are_noticed_without_a_write_of_a_client() {
    let pair = Pair::new();
    let (gateway, client) = pair.begin(&pair.setup("allow", WRITES)).await;
    pair.near.wait_for(|seen| seen.key == ".nearpoint/canary.near" && seen.status == Some(200)).await;
    let puts = When { operation: Some("PutObject"), ..When::everything() };
    pair.near.fault(puts, Act::Answer { status: 507, code: "StorageFull" });
    gateway.transition("near", "write", "out");
    assert_eq!(served_by(&client.send(&Request::put("/photos/k", "v")).await.expect(200)), "far");
    assert_eq!(served_by(&client.send(&read(1)).await.expect(200)), "near", "reads stay");
    assert!(!changes(&gateway, "near", "read").iter().any(|to| to == "out"));
}

#[tokio::test]
async fn a_write_probe_that_may_not_write_is_said_and_blames_nobody() {
    let pair = Pair::new();
    let puts = When { operation: Some("PutObject"), ..When::everything() };
    pair.near.fault(puts, Act::Answer { status: 403, code: "AccessDenied" });
    let (gateway, _) = pair.begin(&pair.setup("allow", WRITES)).await;
    let said = gateway.wait_for_event(
        "a write probe is refused: allow s3:PutObject on this key, or set probe.write to off",
    );
    assert_eq!((&said["region"], &said["code"]), (&"near".into(), &"AccessDenied".into()));
    assert!(gateway.standing().await.iter().all(|row| row.2 == "healthy"));
}

#[tokio::test]
async fn the_lag_between_regions_is_measured_both_ways() {
    let lag = Duration::from_millis(700);
    let pair = Pair::new();
    let _replicator = Replicator::start(&[&pair.near, &pair.far], Ways::Two, lag);
    let (gateway, _) = pair.begin(&pair.setup("refuse", WRITES)).await;
    let measured = |status: &serde_json::Value, from: &str, to: &str| {
        let lags = status["replication_lag"].as_array().unwrap();
        let lag = lags.iter().find(|lag| lag["from"] == from && lag["to"] == to)?;
        lag["lag_ms"].as_f64()
    };
    let status = gateway
        .wait_for_status(|status| {
            let plausible = |ms: Option<f64>| ms.is_some_and(|ms| ms >= 600.0);
            plausible(measured(status, "near", "far")) && plausible(measured(status, "far", "near"))
        })
        .await;
    assert!(measured(&status, "near", "far").unwrap() < 10_000.0, "{status:#}");
    let metrics = gateway.admin_text("/metrics").await.1;
    assert!(metrics.contains("nearpoint_replication_lag_seconds{from=\"near\",to=\"far\"}"), "{metrics}");
}

#[tokio::test]
async fn without_replication_no_lag_is_measured() {
    let pair = Pair::new();
    let mut setup = pair.setup("refuse", WRITES);
    setup.edit_access_point("photos", "replication: two_way", "replication: none");
    let (gateway, _) = pair.begin(&setup).await;
    let written = |seen: &Seen| seen.key == ".nearpoint/canary.far" && seen.method == "PUT";
    pair.far.wait_for(written).await;
    assert_eq!(gateway.admin_json("/api/v1/status").await["replication_lag"], serde_json::json!([]));
    let looks = |seen: &Seen| seen.method == "GET" && seen.key.starts_with(".nearpoint/");
    assert!(!pair.near.seen_with_probes().iter().any(looks));
}

// ── certificates ─────────────────────────────────────────────────────────────

/// TLS in front of a region, with a certificate that is good for so many days; its port.
async fn tls_front(region: &Region, authority: &Authority, days: i64) -> u16 {
    let (certificate, key) = authority.issue_for("localhost", days);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let acceptor =
        TlsAcceptor::from(Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, address) = (listener.local_addr().unwrap().port(), region.address());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut tls = acceptor.accept(stream).await?;
                let mut plain = TcpStream::connect(address).await?;
                tokio::io::copy_bidirectional(&mut tls, &mut plain).await
            });
        }
    });
    port
}

#[tokio::test]
async fn a_certificate_that_is_about_to_expire_is_said_and_counted() {
    let pair = Pair::new();
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let mut setup = pair.setup("refuse", "");
    for ((_, lines), (region, days)) in setup.regions.iter_mut().zip([(&pair.near, 10), (&pair.far, 100)]) {
        let port = tls_front(region, &authority, days).await;
        *lines = lines.replace(&region.endpoint(), &format!("https://localhost:{port}"));
        lines.push_str(&format!("    tls: {{ca_file: {}}}\n", ca.display()));
    }
    let (gateway, client) = pair.begin(&setup).await;
    client.send(&read(1)).await.expect(200);
    let status = gateway.admin_json("/api/v1/status").await;
    let left: Vec<_> = status["regions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["certificate_days_left"].as_i64())
        .collect();
    assert!(left.contains(&Some(9)) && left.contains(&Some(99)), "{left:?}");
    let said = gateway.wait_for_event("a region's certificate is about to expire");
    assert_eq!((&said["region"], &said["days"]), (&"near".into(), &9.into()));
}
