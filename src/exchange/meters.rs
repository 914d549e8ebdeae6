//! What is happening towards each region right now, over all workers: a few atomics a region,
//! which live through every republishing of the view.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::names::RegionId;

/// One region's meter.
#[derive(Debug)]
pub struct Meter {
    origin: Instant,
    /// Milliseconds from `origin` to the last answer of any kind, plus one; 0 where none came yet.
    answered: AtomicU64,
    in_flight: AtomicUsize,
    /// It was seen to answer without ever saying `100 Continue`.
    never_continues: AtomicBool,
}

impl Meter {
    fn new(origin: Instant) -> Self {
        Self {
            origin,
            answered: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            never_continues: AtomicBool::new(false),
        }
    }

    /// The region answered something, to traffic or to a probe.
    pub fn answered(&self, now: Instant) {
        let ms =
            u64::try_from(now.saturating_duration_since(self.origin).as_millis()).unwrap_or(u64::MAX - 1);
        self.answered.fetch_max(ms + 1, Ordering::Relaxed);
    }

    /// Whether it answered anything since `then`.
    #[must_use]
    pub fn answered_since(&self, then: Instant) -> bool {
        let ms = u64::try_from(then.saturating_duration_since(self.origin).as_millis()).unwrap_or(u64::MAX);
        self.answered.load(Ordering::Relaxed) > ms
    }

    /// Whether it answered anything within the last `age`.
    #[must_use]
    pub fn fresh(&self, now: Instant, age: Duration) -> bool {
        now.checked_sub(age).is_some_and(|then| self.answered_since(then))
    }

    /// One more request on its way; the guard takes it off again.
    #[must_use]
    pub fn enter(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight { meter: Arc::clone(self) }
    }

    /// Requests on their way now.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Learns that the region answers without ever saying `100 Continue`.
    pub fn learn_never_continues(&self, never: bool) {
        self.never_continues.store(never, Ordering::Relaxed);
    }

    /// Whether the region is known never to say `100 Continue`.
    #[must_use]
    pub fn never_continues(&self) -> bool {
        self.never_continues.load(Ordering::Relaxed)
    }
}

/// One request on its way to a region.
#[derive(Debug)]
pub struct InFlight {
    meter: Arc<Meter>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.meter.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The meters of all regions. Locked only when a worker meets a region for the first time.
#[derive(Debug)]
pub struct Meters {
    origin: Instant,
    regions: RwLock<BTreeMap<RegionId, Arc<Meter>>>,
}

impl Meters {
    /// No region yet; `origin` is where time is counted from.
    #[must_use]
    pub fn new(origin: Instant) -> Self {
        Self { origin, regions: RwLock::default() }
    }

    /// The region's meter.
    #[must_use]
    pub fn of(&self, region: &RegionId) -> Arc<Meter> {
        if let Some(meter) = self.regions.read().unwrap_or_else(PoisonError::into_inner).get(region) {
            return Arc::clone(meter);
        }
        let mut regions = self.regions.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(regions.entry(region.clone()).or_insert_with(|| Arc::new(Meter::new(self.origin))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freshness_is_since_an_instant_of_ours() {
        let origin = crate::clock::Clock::system().now().mono;
        let meters = Meters::new(origin);
        let meter = meters.of(&RegionId::new("a"));
        let at = |ms| origin + Duration::from_millis(ms);
        assert!(!meter.answered_since(at(0)));
        meter.answered(at(500));
        assert!(meter.answered_since(at(500)));
        assert!(!meter.answered_since(at(501)));
        assert!(meter.fresh(at(1400), Duration::from_secs(1)));
        assert!(!meter.fresh(at(1600), Duration::from_secs(1)));
        let guard = meters.of(&RegionId::new("a")).enter();
        assert_eq!(meter.in_flight(), 1);
        drop(guard);
        assert_eq!(meter.in_flight(), 0);
    }
}
