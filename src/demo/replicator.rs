//! Carries changes between the embedded regions, as the stores' own replication would: both ways,
//! after a lag that can be set, deletes included; the last committed change of a key wins. A door.
//!
//! It never goes in circles: only clients' requests make changes, and each region's copy of a key
//! is marked with the change that it reflects. What cannot be carried (a region is dead) waits and
//! is carried once both sides live.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, Method};
use tokio::sync::{mpsc, watch};

use super::regions::{Change, Down, Region};
use crate::clock::Clock;

/// How often waiting changes are looked at.
const TICK: Duration = Duration::from_millis(20);

/// A store that refuses a copy so often will not take it (`s3s-fs` cannot hold both `a` and `a/b`).
const REFUSALS_MAX: u32 = 50;

/// Headers that make up an object besides its bytes.
const KEPT: [&str; 6] = [
    "content-type",
    "content-encoding",
    "content-language",
    "content-disposition",
    "cache-control",
    "content-length",
];

/// A change on its way. One a key: a later change replaces an earlier one.
#[derive(Debug)]
struct Waiting {
    since: Instant,
    source: usize,
    targets: Vec<usize>,
    refusals: u32,
}

/// What became of one copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carried {
    /// The target holds this state or a later one.
    Done,
    /// A side is dead or the key is being changed: later.
    Later,
    /// A store refused.
    Refused,
}

/// The replicator. [`Replicator::run`] does the work.
pub struct Replicator {
    regions: Arc<[Region]>,
    changes: mpsc::Receiver<Change>,
    lag: watch::Receiver<Duration>,
    waiting: HashMap<String, Waiting>,
    clock: Clock,
}

impl Replicator {
    /// A replicator of these regions; `changes` is the other end of what they were started with.
    #[must_use]
    pub fn new(
        regions: Arc<[Region]>,
        changes: mpsc::Receiver<Change>,
        lag: watch::Receiver<Duration>,
    ) -> Self {
        Self { regions, changes, lag, waiting: HashMap::new(), clock: Clock::system() }
    }

    /// Carries until it is dropped.
    pub async fn run(mut self) {
        loop {
            tokio::select! {
                change = self.changes.recv() => match change {
                    Some(change) => self.note(change),
                    None => return,
                },
                () = tokio::time::sleep(TICK), if !self.waiting.is_empty() => self.carry_due().await,
            }
        }
    }

    fn note(&mut self, change: Change) {
        let targets = (0..self.regions.len()).filter(|place| *place != change.region).collect();
        let since = self.clock.mono();
        let waiting = Waiting { since, source: change.region, targets, refusals: 0 };
        self.waiting.insert(change.key, waiting);
    }

    async fn carry_due(&mut self) {
        let (now, lag) = (self.clock.mono(), *self.lag.borrow());
        let due = |waiting: &Waiting| now.saturating_duration_since(waiting.since) >= lag;
        let keys: Vec<String> =
            self.waiting.iter().filter(|(_, waiting)| due(waiting)).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.carry_key(&key).await;
        }
    }

    async fn carry_key(&mut self, key: &str) {
        let Some(mut waiting) = self.waiting.remove(key) else { return };
        let mut left = Vec::new();
        for place in std::mem::take(&mut waiting.targets) {
            let (Some(source), Some(target)) = (self.regions.get(waiting.source), self.regions.get(place))
            else {
                continue;
            };
            match carry(source, target, key).await.unwrap_or(Carried::Later) {
                Carried::Done => {}
                Carried::Later => left.push(place),
                Carried::Refused => {
                    waiting.refusals += 1;
                    left.push(place);
                }
            }
        }
        if !left.is_empty() && waiting.refusals < REFUSALS_MAX {
            waiting.targets = left;
            // a later change that came meanwhile is still in the channel and will replace this
            self.waiting.insert(key.to_owned(), waiting);
        }
    }
}

/// Brings the source's state of a key to the target, unless the target's is as late.
async fn carry(source: &Region, target: &Region, key: &str) -> Result<Carried, Down> {
    let Some(_turn) = target.try_changing(key) else { return Ok(Carried::Later) };
    // read before the object: the mark may be too old for what is copied, never too new
    let mark = source.mark(key);
    if target.mark(key) >= mark {
        return Ok(Carried::Done);
    }
    let found = source.call(Method::GET, key, &[], s3s::Body::empty()).await?;
    let reply = match found.status().as_u16() {
        200 => {
            let headers = kept(found.headers());
            let headers: Vec<(&str, &str)> =
                headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            target.call(Method::PUT, key, &headers, found.into_body()).await?
        }
        404 => target.call(Method::DELETE, key, &[], s3s::Body::empty()).await?,
        _ => return Ok(Carried::Refused),
    };
    if !reply.status().is_success() {
        return Ok(Carried::Refused);
    }
    target.set_mark(key, mark);
    Ok(Carried::Done)
}

fn kept(headers: &HeaderMap) -> Vec<(String, String)> {
    let wanted = |name: &str| KEPT.contains(&name) || name.starts_with("x-amz-meta-");
    headers
        .iter()
        .filter(|(name, _)| wanted(name.as_str()))
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .collect()
}

impl std::fmt::Debug for Replicator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replicator").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "replicator_tests.rs"]
mod tests;
