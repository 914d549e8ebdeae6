//! What a region's failure costs clients: through real sockets, with regions that fail on demand.

mod addresses;
mod blame;
mod capabilities;
mod check;
mod hedge;
mod reads;
mod resume;
mod settlement;
mod shield;
mod shift;
mod uploads;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;

use crate::house::client::{Client, Reply, Request};
use crate::house::gateway::{Gateway, Setup};
use crate::house::moment;
use crate::house::region::{PATIENCE, Region, Seen};
use crate::house::replicator::{Replicator, Ways};

/// The regions' names, nearest first.
const NAMES: [&str; 3] = ["near", "far", "third"];
/// Their buckets.
const BUCKETS: [&str; 3] = ["photos-near", "photos-far", "photos-third"];

/// Regions with one access point `photos` over them. The first is home and comes first for reads:
/// by a list, since all are equally near on one machine.
struct Scene {
    regions: Vec<Arc<Region>>,
    gateway: Gateway,
    client: Client,
}

/// Regions without a gateway yet.
fn regions(count: usize) -> Vec<Arc<Region>> {
    let named = NAMES.iter().zip(BUCKETS).take(count);
    named.map(|(name, bucket)| Arc::new(Region::start(name, &[bucket]))).collect()
}

/// A set-up over these regions, whose writes may fail over or not.
fn setup(regions: &[Arc<Region>], writes: &str) -> Setup {
    setup_with(regions, "allow", writes)
}

/// The same, and reads may fail over or not.
fn setup_with(regions: &[Arc<Region>], reads: &str, writes: &str) -> Setup {
    let all: Vec<&Region> = regions.iter().map(AsRef::as_ref).collect();
    let mut setup = Setup::over(&all).access_point("photos", &all, 0, reads, writes);
    let listed = NAMES.iter().take(regions.len()).copied().collect::<Vec<_>>().join(", ");
    setup.edit_access_point("photos", "reads: {order: nearest", &format!("reads: {{order: [{listed}]"));
    setup
}

/// Starts the gateway and waits until it knows its regions to be well.
async fn begin(regions: Vec<Arc<Region>>, setup: &Setup) -> Scene {
    let gateway = setup.start();
    gateway
        .wait_for_status(|status| {
            let regions = status["regions"].as_array().expect("`regions` is a list");
            regions.iter().all(|region| region["reads"] == "healthy" && region["writes"] == "healthy")
        })
        .await;
    let client = gateway.client();
    Scene { regions, gateway, client }
}

/// Two regions; writes fail over or not.
async fn pair(writes: &str) -> Scene {
    let regions = regions(2);
    let setup = setup(&regions, writes);
    begin(regions, &setup).await
}

/// The same, but only requests judge the regions once they are known to be well.
async fn pair_judged_by_traffic() -> Scene {
    let regions = regions(2);
    let mut setup = setup(&regions, "refuse");
    setup.probe_rarely();
    begin(regions, &setup).await
}

impl Scene {
    fn near(&self) -> &Region {
        &self.regions[0]
    }

    fn far(&self) -> &Region {
        &self.regions[1]
    }

    /// Puts objects into the nearest region and lets a replicator carry them to the others.
    fn seed(&self, objects: impl IntoIterator<Item = (String, Vec<u8>)>) {
        for (key, body) in objects {
            self.near().seed(BUCKETS[0], &key, body);
        }
        let all: Vec<&Arc<Region>> = self.regions.iter().collect();
        Replicator::by_hand(&all, Ways::One).settle();
    }

    /// Objects `n/0`, `n/1`, … whose bodies are their numbers.
    fn seed_numbers(&self, count: usize) {
        self.seed((0..count).map(|number| (format!("n/{number}"), number.to_string().into_bytes())));
    }

    /// Forgets what the regions saw.
    fn forget(&self) {
        self.regions.iter().for_each(|region| region.forget());
    }

    /// Sends all at once; the replies, in the order of the requests.
    async fn together(&self, requests: impl IntoIterator<Item = Request>) -> Vec<Reply> {
        let mut tasks = JoinSet::new();
        for (place, request) in requests.into_iter().enumerate() {
            let client = self.client.clone();
            tasks.spawn(async move { (place, client.send(&request).await) });
        }
        let mut replies = tasks.join_all().await;
        replies.sort_by_key(|(place, _)| *place);
        replies.into_iter().map(|(_, reply)| reply).collect()
    }

    /// `reads` or `writes` of a region.
    async fn standing_of(&self, region: &str, kind: &str) -> String {
        let status = self.gateway.admin_json("/api/v1/status").await;
        let regions = status["regions"].as_array().expect("`regions` is a list");
        let row = regions.iter().find(|row| row["id"] == region).expect("the region is there");
        row[kind].as_str().expect("a standing is a text").to_owned()
    }

    /// Waits until every region may be read and written.
    async fn wait_until_none_is_out(&self) {
        let back = |region: &Value| region["writes"] != "out" && region["reads"] != "out";
        let all = |status: &Value| status["regions"].as_array().unwrap().iter().all(back);
        self.gateway.wait_for_status(all).await;
    }

    /// Reads until it is known how long the nearest region's slowest answers take; how long a read
    /// is then waited for there.
    async fn learn_patience(&self) -> Duration {
        let learnt = async {
            loop {
                for request in numbers(0..20) {
                    self.client.send(&request).await.expect(200);
                }
                let status = self.gateway.admin_json("/api/v1/status").await;
                let regions = status["regions"].as_array().expect("`regions` is a list");
                let near = regions.iter().find(|row| row["id"] == "near").expect("the region is there");
                if let Some(p999) = near["first_byte_p999_ms"].as_f64() {
                    return Duration::from_secs_f64((p999 * 3.0 / 1e3).clamp(0.5, 5.0));
                }
            }
        };
        tokio::time::timeout(PATIENCE, learnt).await.expect("a hundred answers are enough")
    }

    /// Waits until no region has answered anything for longer than a region counts as fresh.
    async fn wait_until_stale(&self) {
        self.gateway
            .wait_for_status(|status| {
                let regions = status["regions"].as_array().expect("`regions` is a list");
                regions.iter().all(|row| row["last_answer_ms_ago"].as_f64().is_some_and(|ms| ms > 1_100.0))
            })
            .await;
    }
}

/// GETs of `n/…`.
fn numbers(range: std::ops::Range<usize>) -> impl Iterator<Item = Request> {
    range.map(|number| Request::get(&format!("/photos/n/{number}")))
}

/// How often a reply's request was tried.
fn attempts(reply: &Reply) -> u32 {
    reply.header("x-nearpoint-attempts").expect("on loopback it is told").parse().expect("a number")
}

/// Which region answered.
fn served_by(reply: &Reply) -> &str {
    reply.header("x-nearpoint-region").expect("on loopback it is told")
}

/// Fails unless this is `503 ServiceUnavailable` that says when to come back.
#[track_caller]
fn expect_unavailable(reply: Reply) {
    let reply = reply.expect(503);
    assert_eq!(reply.code().as_deref(), Some("ServiceUnavailable"), "{}", reply.text());
    assert!(reply.header("retry-after").is_some_and(|after| after.parse::<u32>().is_ok()));
}

/// The operations that a region saw, in order.
fn operations(region: &Region) -> Vec<&'static str> {
    region.seen().iter().map(|seen| seen.operation).collect()
}

/// What a region saw of one operation.
fn seen(region: &Region, operation: &str) -> Vec<Seen> {
    region.seen().into_iter().filter(|seen| seen.operation == operation).collect()
}

/// The outcomes of a request's tries, in order: region and word.
fn tries(line: &Value) -> Vec<(String, String)> {
    let tries = line["tries"].as_array().expect("`tries` is a list");
    let text = |one: &Value, name: &str| one[name].as_str().expect("a text").to_owned();
    tries.iter().map(|one| (text(one, "region"), text(one, "outcome"))).collect()
}

/// A body whose bytes differ from place to place.
fn body(length: usize) -> Vec<u8> {
    // a prime, so that no block of a power of two is like another
    const PERIOD: usize = 8_191;
    let block: Vec<u8> = (0..PERIOD).map(|at| u8::try_from((at / 7 + at) % 251).unwrap()).collect();
    let mut body = block.repeat(length.div_ceil(PERIOD));
    body.truncate(length);
    body
}

/// How long a future takes.
async fn timed<T>(what: impl Future<Output = T>) -> (T, Duration) {
    let began = moment::mono();
    let done = what.await;
    (done, moment::mono().saturating_duration_since(began))
}
