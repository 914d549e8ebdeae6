//! What one worker has seen of its regions and not yet told the fleet. Pure.
//!
//! Answers as they should be come by the ten thousands a second and say the same each time, so they
//! are told together, once in a hundredth of a second. What may change a standing is
//! told at once and in order: a failure, what came before it, the first success after it, and every
//! success of a region that is not settled.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::names::RegionId;
use crate::s3::operation::{Class, Kind};

use super::event::{Event, Signal};
use super::quantile::Times;

/// The least time between two tellings of successes of one region, kind and class. Longer would
/// delay a rise in latency, of which the fleet wants three samples; shorter would wake the steward
/// more often than requests of one core are worth.
const TOGETHER: Duration = Duration::from_millis(10);

/// One worker's successes since they were last told.
#[derive(Debug, Default)]
pub struct Digest {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    region: RegionId,
    kind: Kind,
    class: Class,
    /// Not told yet.
    count: u32,
    ttfb: Option<Duration>,
    /// All of them.
    times: Times,
    /// When the last of them was.
    at: Instant,
    /// `None` where the next success is to be told at once.
    told: Option<Instant>,
}

impl Digest {
    /// Takes in one answer as it should be; what is to be told now. `settled` says that the region
    /// is healthy for this kind, so that one more success cannot change its standing.
    pub fn success(
        &mut self,
        region: &RegionId,
        (kind, class): (Kind, Class),
        ttfb: Option<Duration>,
        settled: bool,
        now: Instant,
    ) -> SmallVec<[Event; 2]> {
        let row = self.row(region, (kind, class), now);
        row.at = now;
        row.count = row.count.saturating_add(1);
        if let Some(ttfb) = ttfb {
            row.ttfb = Some(ttfb);
            row.times.add(ttfb);
        }
        let waits = row.told.is_some_and(|told| now.saturating_duration_since(told) < TOGETHER);
        if settled && waits {
            return SmallVec::new();
        }
        row.told = Some(now);
        row.tell().collect()
    }

    /// A failure of this region is about to be told: what must be told before it, so that failures
    /// in a row are in a row.
    pub fn failure(&mut self, region: &RegionId) -> SmallVec<[Event; 2]> {
        let rows = self.rows.iter_mut().filter(|row| row.region == *region);
        rows.flat_map(|row| {
            row.told = None;
            row.tell()
        })
        .collect()
    }

    fn row(&mut self, region: &RegionId, (kind, class): (Kind, Class), now: Instant) -> &mut Row {
        let known = |row: &Row| (row.kind, row.class) == (kind, class) && row.region == *region;
        let at = self.rows.iter().position(known).unwrap_or(self.rows.len());
        if at == self.rows.len() {
            let region = region.clone();
            self.rows.push(Row {
                region,
                kind,
                class,
                count: 0,
                ttfb: None,
                times: Times::default(),
                at: now,
                told: None,
            });
        }
        #[expect(clippy::indexing_slicing, reason = "the row was found there or pushed there")]
        &mut self.rows[at]
    }
}

impl Row {
    fn tell(&mut self) -> impl Iterator<Item = Event> + use<> {
        let Self { kind, class, at, .. } = *self;
        let (count, times) = (std::mem::take(&mut self.count), std::mem::take(&mut self.times));
        let (region, ttfb) = (self.region.clone(), self.ttfb.take());
        let timed = (!times.is_empty()).then(|| Event::Timed { region: region.clone(), class, times, at });
        let answered = (count > 0).then(|| {
            // Successes are nobody's fault.
            Event::Answered { region, kind, class, key_hash: 0, signal: Signal::Answered { ttfb }, at, count }
        });
        timed.into_iter().chain(answered)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests need some instant to count from")]
mod tests {
    use super::*;

    const GET: (Kind, Class) = (Kind::Read, Class::Get);

    struct House {
        digest: Digest,
        start: Instant,
        region: RegionId,
    }

    impl House {
        fn new() -> Self {
            Self { digest: Digest::default(), start: Instant::now(), region: RegionId::new("fra") }
        }

        /// How many successes are told when one comes after this many milliseconds.
        fn success(&mut self, ms: u64, settled: bool) -> Option<u32> {
            let now = self.start + Duration::from_millis(ms);
            let ttfb = Some(Duration::from_millis(ms));
            let told = self.digest.success(&self.region, GET, ttfb, settled, now);
            (!told.is_empty()).then(|| counted(&told, ttfb))
        }
    }

    /// The times of all, then the successes: how many, of which the last took so long.
    fn counted(told: &[Event], latest: Option<Duration>) -> u32 {
        let [Event::Timed { .. }, Event::Answered { count, signal, .. }] = told else { panic!("{told:?}") };
        assert_eq!(*signal, Signal::Answered { ttfb: latest });
        *count
    }

    #[test]
    fn the_times_of_all_are_told_and_of_those_that_were_not_measured_none() {
        let mut house = House::new();
        assert_eq!(house.success(0, true), Some(1));
        assert!(house.success(1, true).is_none() && house.success(9, true).is_none());
        let ttfb = Some(Duration::from_millis(800));
        let later = house.start + Duration::from_millis(10);
        let told = house.digest.success(&house.region, GET, ttfb, true, later);
        let Event::Timed { times, at, .. } = &told[0] else { panic!("{told:?}") };
        assert_eq!((times, *at), (&[1, 9, 800].map(Duration::from_millis).into_iter().collect(), later));
        let unmeasured = house.digest.success(&house.region, GET, None, false, later);
        assert!(matches!(&unmeasured[..], [Event::Answered { .. }]), "{unmeasured:?}");
    }

    #[test]
    fn successes_of_a_settled_region_are_told_together() {
        let mut house = House::new();
        assert_eq!(house.success(0, true), Some(1));
        assert_eq!(house.success(1, true), None);
        assert_eq!(house.success(9, true), None);
        assert_eq!(house.success(10, true), Some(3));
        assert_eq!(house.success(19, true), None);
    }

    #[test]
    fn every_success_of_an_unsettled_region_is_told() {
        let mut house = House::new();
        for ms in 0..5 {
            assert_eq!(house.success(ms, false), Some(1));
        }
    }

    #[test]
    fn a_failure_is_told_after_the_successes_before_it_and_before_those_after_it() {
        let mut house = House::new();
        assert_eq!(house.success(0, true), Some(1));
        assert_eq!(house.success(1, true), None);
        let before = house.digest.failure(&house.region);
        assert_eq!(counted(&before, Some(Duration::from_millis(1))), 1);
        assert!(house.digest.failure(&house.region).is_empty());
        assert_eq!(house.success(2, true), Some(1));
        assert!(house.digest.failure(&RegionId::new("dub")).is_empty());
    }
}
