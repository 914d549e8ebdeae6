use http_body_util::BodyExt;

use super::*;
use crate::demo::regions::{Journal, Plan};
use crate::names::{AccessKeyId, Secret};
use crate::sigv4::Credential;

struct House {
    regions: Arc<[Region]>,
    replicator: Replicator,
    lag: watch::Sender<Duration>,
    _folder: tempfile::TempDir,
}

impl House {
    async fn build() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (journal, changes) = Journal::new();
        let mut regions = Vec::new();
        for (place, id) in ["near", "mid", "far"].into_iter().enumerate() {
            let plan = Plan { id, signing_region: "x-1", latency: Duration::ZERO };
            let secret = Secret::from("a-secret".to_owned());
            let pair =
                Credential { access_key_id: AccessKeyId::new("AKIDTEST"), secret, session_token: None };
            regions.push(Region::start(&plan, place, pair, folder.path(), journal.clone()).await.unwrap());
        }
        let regions: Arc<[Region]> = regions.into();
        let (lag, lagging) = watch::channel(Duration::ZERO);
        let replicator = Replicator::new(Arc::clone(&regions), changes, lagging);
        Self { regions, replicator, lag, _folder: folder }
    }

    /// Everything that was told so far is carried, as far as it can be.
    async fn step(&mut self) {
        while let Ok(change) = self.replicator.changes.try_recv() {
            self.replicator.note(change);
        }
        self.replicator.carry_due().await;
    }

    /// A key's bytes in each region.
    async fn copies(&self, key: &str) -> Vec<Option<String>> {
        let mut copies = Vec::new();
        for region in self.regions.iter() {
            let reply = region.call(Method::GET, key, &[], s3s::Body::empty()).await.unwrap();
            let found = reply.status() == 200;
            let bytes = reply.into_body().collect().await.unwrap().to_bytes();
            copies.push(found.then(|| String::from_utf8(bytes.to_vec()).unwrap()));
        }
        copies
    }

    async fn put(&self, place: usize, key: &str, text: &str) {
        self.regions[place].put(key, text.as_bytes().to_vec()).await.unwrap();
    }
}

fn all(text: &str) -> Vec<Option<String>> {
    vec![Some(text.to_owned()); 3]
}

#[tokio::test]
async fn a_change_anywhere_is_carried_everywhere_and_then_all_is_quiet() {
    let mut house = House::build().await;
    for place in 0..3 {
        let key = format!("from/{place}");
        house.put(place, &key, "value").await;
        house.step().await;
        assert_eq!(house.copies(&key).await, all("value"));
    }
    assert!(house.replicator.waiting.is_empty());
    assert!(house.replicator.changes.try_recv().is_err(), "carrying is no change");
}

#[tokio::test]
async fn the_last_committed_change_wins_in_every_region() {
    let mut house = House::build().await;
    house.put(0, "k", "first").await;
    house.put(2, "k", "second").await;
    house.step().await;
    assert_eq!(house.copies("k").await, all("second"));
    // told in the other order: the earlier must not come back
    house.put(1, "k", "third").await;
    house.put(0, "k", "fourth").await;
    let third = house.replicator.changes.try_recv().unwrap();
    let fourth = house.replicator.changes.try_recv().unwrap();
    house.replicator.note(fourth);
    house.replicator.carry_due().await;
    house.replicator.note(third);
    house.replicator.carry_due().await;
    assert_eq!(house.copies("k").await, all("fourth"));
}

#[tokio::test]
async fn deletes_are_carried_too() {
    let mut house = House::build().await;
    house.put(0, "k", "value").await;
    house.step().await;
    let deleted = house.regions[1].call(Method::DELETE, "k", &[], s3s::Body::empty()).await.unwrap();
    assert!(deleted.status().is_success());
    house.regions[1].told("k").await;
    house.step().await;
    assert_eq!(house.copies("k").await, [None, None, None]);
}

#[tokio::test]
async fn what_makes_up_an_object_travels_with_it() {
    let mut house = House::build().await;
    let headers = [("content-length", "1"), ("content-type", "text/x"), ("x-amz-meta-who", "me")];
    let put = house.regions[0].call(Method::PUT, "k", &headers, b"v".to_vec().into()).await.unwrap();
    assert!(put.status().is_success());
    house.regions[0].told("k").await;
    house.step().await;
    let reply = house.regions[2].call(Method::HEAD, "k", &[], s3s::Body::empty()).await.unwrap();
    assert_eq!(reply.headers()["content-type"], "text/x");
    assert_eq!(reply.headers()["x-amz-meta-who"], "me");
}

#[tokio::test]
async fn what_the_dead_miss_they_get_when_they_live_again() {
    let mut house = House::build().await;
    house.regions[1].kill().await;
    house.put(0, "k", "value").await;
    house.step().await;
    assert_eq!(house.replicator.waiting.len(), 1);
    house.regions[1].revive().await;
    house.step().await;
    assert_eq!(house.copies("k").await, all("value"));
    assert!(house.replicator.waiting.is_empty());
}

#[tokio::test]
async fn changes_of_a_dead_region_wait_for_it() {
    let mut house = House::build().await;
    house.put(0, "k", "value").await;
    house.regions[0].kill().await;
    house.step().await;
    assert_eq!(house.regions[1].mark("k"), 0);
    house.regions[0].revive().await;
    house.step().await;
    assert_eq!(house.copies("k").await, all("value"));
}

#[tokio::test]
async fn lag_holds_every_change_back() {
    let mut house = House::build().await;
    house.lag.send_replace(Duration::from_hours(1));
    house.put(0, "k", "value").await;
    house.step().await;
    assert_eq!(house.copies("k").await, [Some("value".to_owned()), None, None]);
    house.lag.send_replace(Duration::ZERO);
    house.step().await;
    assert_eq!(house.copies("k").await, all("value"));
}

#[tokio::test]
async fn a_copy_that_no_store_takes_is_given_up() {
    let mut house = House::build().await;
    house.put(1, "a", "a file").await;
    house.put(0, "a/b", "a file in what would have to be a folder").await;
    for _ in 0..=REFUSALS_MAX {
        house.step().await;
    }
    assert!(house.replicator.waiting.is_empty());
}

#[tokio::test]
async fn it_runs_by_itself() {
    let House { regions, replicator, lag, _folder } = House::build().await;
    let task = tokio::spawn(replicator.run());
    regions[0].put("k", b"value".to_vec()).await.unwrap();
    let carried = async {
        while regions[2].mark("k") == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), carried).await.unwrap();
    task.abort();
    drop(lag);
}
