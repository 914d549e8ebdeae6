//! What the deciding rooms cost a request: `cargo bench --bench decisions`.
//!
//! What is asked for, whether it may be done, and where it goes: together they should stay below
//! a microsecond, a small part of what the kernel takes for the same request.

#![allow(missing_docs, reason = "a benchmark's names say what it measures")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot be set up must stop")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use divan::{Bencher, black_box};
use http::Method;
use nearpoint::chance::Coin;
use nearpoint::fleet::{Event, Fleet, FleetSettings, RegionTable};
use nearpoint::head::{Head, strict};
use nearpoint::names::{AccessPointName, BucketName, RegionId};
use nearpoint::policy::{Grant, Named, Policy, decide};
use nearpoint::route::{
    AccessPoint, Affinity, ConditionalWrites, EtagCheck, Etags, Hedge, LagShield, Member, Order, Permit,
    Replication, Rule, Scene, Versions, plan,
};
use nearpoint::s3::address::Domains;
use nearpoint::s3::profile::{Feature, Features};
use nearpoint::s3::{Call, classify};

fn main() {
    divan::main();
}

const REGIONS: [&str; 3] = ["frankfurt", "ireland", "cellar"];

/// A signed GET as boto3 sends it.
fn get() -> Head {
    head(Method::GET, "/photos/2026/11/23/IMG_0001%20%28copy%29.jpg")
}

/// A listing: a query of several parameters.
fn list() -> Head {
    head(Method::GET, "/photos?list-type=2&prefix=2026%2F11%2F&delimiter=%2F&max-keys=1000&encoding-type=url")
}

fn head(method: Method, target: &str) -> Head {
    let mut head = Head::new(method, target);
    for (name, value) in [
        ("host", "localhost:9000"),
        ("accept-encoding", "identity"),
        (
            "user-agent",
            "Boto3/1.44.5 md/Botocore#1.44.5 ua/2.1 os/linux#6.18 md/arch#x86_64 lang/python#3.13",
        ),
        ("x-amz-checksum-mode", "ENABLED"),
        ("x-amz-date", "20261123T120000Z"),
        ("x-amz-content-sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (
            "authorization",
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261123/eu-central-1/s3/aws4_request, \
             SignedHeaders=host;x-amz-checksum-mode;x-amz-content-sha256;x-amz-date, \
             Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        ("amz-sdk-invocation-id", "5f3c1d2e-8b1f-4d57-9a53-0a7c1b5f7d11"),
        ("amz-sdk-request", "attempt=1"),
    ] {
        head.push(name, value.as_bytes());
    }
    head
}

fn domains() -> Domains {
    Domains::new(vec!["s3.example.com".to_owned()])
}

/// Everything that two parsers might read differently.
#[divan::bench]
fn strictness_get(bencher: Bencher<'_, '_>) {
    let (head, rules) = (get(), strict::Rules { max_fields: 100 });
    bencher.bench_local(|| strict::check(black_box(&head), &rules).unwrap());
}

#[divan::bench]
fn classify_get(bencher: Bencher<'_, '_>) {
    classifies(bencher, &get());
}

#[divan::bench]
fn classify_list(bencher: Bencher<'_, '_>) {
    classifies(bencher, &list());
}

fn classifies(bencher: Bencher<'_, '_>, head: &Head) {
    let domains = domains();
    bencher.bench_local(|| classify::classify(black_box(head), &domains).unwrap());
}

/// By a policy of two statements.
#[divan::bench]
fn decide_get(bencher: Bencher<'_, '_>) {
    let policy = r#"{"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"],
         "Resource": ["arn:aws:s3:::photos", "arn:aws:s3:::photos/*"]},
        {"Effect": "Allow", "Action": ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
         "Resource": "arn:aws:s3:::photos/thumbnails/*"}]}"#;
    let grant = Grant::Policy(Arc::new(Policy::parse(policy).unwrap()));
    let (call, name) = (call(&get()), AccessPointName::new("photos"));
    let named = Named { target: Some(&name), copy_source: None };
    bencher.bench_local(|| decide(black_box(&grant), &call, named).unwrap());
}

fn call(head: &Head) -> Call {
    classify::classify(head, &domains()).unwrap()
}

/// Over three regions, all healthy, by nearness.
#[divan::bench]
fn plan_get(bencher: Bencher<'_, '_>) {
    plans(bencher, &get());
}

/// A write: home alone.
#[divan::bench]
fn plan_put(bencher: Bencher<'_, '_>) {
    plans(bencher, &head(Method::PUT, "/photos/2026/11/23/IMG_0001.jpg"));
}

#[expect(clippy::disallowed_methods, reason = "a benchmark has no clock injected")]
fn plans(bencher: Bencher<'_, '_>, head: &Head) {
    let now = Instant::now();
    let mut coin = Coin::seeded(1);
    let table = table(now, &mut coin);
    let permit = Permit::granted(access_point(), None, Arc::new(call(head)), Affinity::None);
    let honours = |_: &RegionId| Features::of(&Feature::ALL);
    let scene = Scene { table: &table, honours: &honours, tried: &[], attempts: 3, now };
    bencher.bench_local(|| plan(black_box(&permit), &scene, &mut coin).unwrap());
}

fn table(now: Instant, coin: &mut Coin) -> RegionTable {
    let regions = REGIONS.map(RegionId::new);
    let mut fleet = Fleet::new(FleetSettings::default(), &regions, now);
    for (region, ms) in regions.into_iter().zip([10, 25, 40]) {
        fleet.apply(Event::Probed { region, alive: Ok(Duration::from_millis(ms)) }, now, coin);
    }
    fleet.table(now)
}

fn access_point() -> Arc<AccessPoint> {
    let member = |region| Member { region: RegionId::new(region), bucket: Some(BucketName::new("photos")) };
    Arc::new(AccessPoint {
        name: AccessPointName::new("photos"),
        alias: None,
        owner: None,
        members: REGIONS.into_iter().map(member).collect(),
        reads: Rule { order: Order::Nearest, failover: true },
        writes: Rule { order: Order::Home, failover: false },
        home: RegionId::new("frankfurt"),
        conditional_writes: ConditionalWrites::Home,
        replication: Replication::TwoWay,
        versions: Versions::PerRegion,
        etags: Etags::Opaque,
        hedge: Hedge::Off,
        write_nonce: true,
        etag_check: EtagCheck::Auto,
        lag_shield: LagShield::default(),
    })
}
