//! What time it is by the regions together, for a machine whose own clock is wrong.
//!
//! Clients are judged by the time that we take it to be: by a clock that is twenty minutes off every
//! correctly dated request would be refused, and one that expired be let in. Where two regions or more
//! agree with each other and not with us, it is our clock that is wrong (`reliability.md` E1 22). What they
//! say is kept against the monotonic clock: that our own jumps changes nothing.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::skew::PLAIN;
use crate::clock::Moment;
use crate::names::RegionId;
use crate::units::UnixSeconds;

/// Seconds by which regions that agree may differ: dates are whole seconds, and answers are on their way.
const AGREE: i64 = 60;
/// How long what a region said counts: many times the pause between two probes.
const FRESH: Duration = Duration::from_mins(2);
/// They do not agree, or fewer than two of them have been heard.
const NONE: i64 = i64::MIN;

/// The time by the regions' clocks.
#[derive(Debug)]
pub struct CommonClock {
    origin: Instant,
    /// Locked once a second by each region at most.
    votes: Mutex<Vec<Vote>>,
    /// The Unix time at `origin`, as they agree; [`NONE`] where they do not.
    epoch: AtomicI64,
}

#[derive(Debug)]
struct Vote {
    region: RegionId,
    /// The Unix time at `origin` by its clock.
    epoch: i64,
    at: Instant,
}

impl CommonClock {
    /// Nobody was heard yet; monotonic time is counted from `origin`.
    #[must_use]
    pub fn new(origin: Instant) -> Self {
        Self { origin, votes: Mutex::default(), epoch: AtomicI64::new(NONE) }
    }

    /// A region dated an answer that came at `now`.
    pub fn told(&self, region: &RegionId, date: UnixSeconds, now: Instant) {
        let mut votes = self.votes.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |vote: &Vote| now.saturating_duration_since(vote.at) < FRESH;
        votes.retain(|vote| vote.region != *region && fresh(vote));
        let epoch = date.0.saturating_sub(self.seconds(now));
        votes.push(Vote { region: region.clone(), epoch, at: now });
        self.count(&votes);
    }

    /// What behind this name is may be another store: what it said does not count.
    pub fn forget(&self, region: &RegionId) {
        let mut votes = self.votes.lock().unwrap_or_else(PoisonError::into_inner);
        votes.retain(|vote| vote.region != *region);
        self.count(&votes);
    }

    fn count(&self, votes: &[Vote]) {
        let mut epochs: Vec<i64> = votes.iter().map(|vote| vote.epoch).collect();
        epochs.sort_unstable();
        self.epoch.store(agreed(&epochs).unwrap_or(NONE), Ordering::Relaxed);
    }

    /// What is to be added to our own time; 0 unless the regions agree that it is plainly wrong.
    #[must_use]
    pub fn correction(&self, now: Moment) -> i64 {
        match self.epoch.load(Ordering::Relaxed) {
            NONE => 0,
            epoch => {
                let theirs = epoch.saturating_add(self.seconds(now.mono));
                let ahead = theirs.saturating_sub(now.wall.0);
                if ahead.saturating_abs() > PLAIN { ahead } else { 0 }
            }
        }
    }

    /// The time by which others are judged: ours, or the regions' where ours is plainly wrong.
    #[must_use]
    pub fn believed(&self, now: Moment) -> UnixSeconds {
        UnixSeconds(now.wall.0.saturating_add(self.correction(now)))
    }

    fn seconds(&self, at: Instant) -> i64 {
        i64::try_from(at.saturating_duration_since(self.origin).as_secs()).unwrap_or(i64::MAX)
    }
}

/// What two or more say within [`AGREE`] of each other, the least first: the middle one. One that is alone
/// with what it says leaves nothing to go by.
fn agreed(sorted: &[i64]) -> Option<i64> {
    let (least, most) = (sorted.first()?, sorted.last()?);
    let agree = sorted.len() > 1 && most.saturating_sub(*least) <= AGREE;
    sorted.get(sorted.len() / 2).copied().filter(|_| agree)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    const RIGHT: i64 = 1_800_000_000;

    struct House {
        clock: CommonClock,
        start: Instant,
    }

    impl House {
        fn new() -> Self {
            let start = Clock::system().mono();
            Self { clock: CommonClock::new(start), start }
        }

        /// A region's clock is so many seconds off when this many have passed.
        fn told(&self, region: &str, off: i64, after: u64) {
            let date = UnixSeconds(RIGHT + i64::try_from(after).unwrap() + off);
            self.clock.told(&RegionId::new(region), date, self.start + Duration::from_secs(after));
        }

        /// What is added to ours, which is so many seconds off.
        fn correction(&self, off: i64, after: u64) -> i64 {
            let wall = UnixSeconds(RIGHT + i64::try_from(after).unwrap() + off);
            let mono = self.start + Duration::from_secs(after);
            self.clock.correction(Moment { mono, wall, wall_millis: 0 })
        }
    }

    #[test]
    fn regions_that_agree_correct_a_clock_that_is_plainly_wrong() {
        let house = House::new();
        assert_eq!(house.correction(-1_200, 0), 0, "nobody was heard");
        house.told("a", 0, 0);
        assert_eq!(house.correction(-1_200, 0), 0, "one region may be wrong itself");
        house.told("b", 1, 0);
        assert_eq!(house.correction(-1_200, 1), 1_201);
        assert_eq!(house.correction(1_200, 1), -1_199);
        assert_eq!(house.correction(-300, 1), 301);
        assert_eq!(house.correction(200, 1), 0, "small differences are nobody's harm");
    }

    #[test]
    fn that_our_clock_jumps_is_seen_at_once_and_that_it_is_set_right_too() {
        let house = House::new();
        for region in ["a", "b"] {
            house.told(region, 0, 0);
        }
        assert_eq!(house.correction(0, 9), 0);
        assert_eq!(house.correction(1_200, 10), -1_200);
        assert_eq!(house.correction(0, 11), 0);
    }

    #[test]
    fn one_that_disagrees_leaves_nothing_to_go_by_and_what_is_old_does_not_count() {
        let house = House::new();
        for region in ["a", "b"] {
            house.told(region, 0, 0);
        }
        house.told("c", 4_000, 0);
        assert_eq!(house.correction(1_200, 1), 0);
        house.told("a", 0, 200);
        assert_eq!(house.correction(1_200, 201), 0, "it is alone again");
        house.told("b", 0, 201);
        assert_eq!(house.correction(1_200, 202), -1_200);
        house.clock.forget(&RegionId::new("b"));
        assert_eq!(house.correction(1_200, 202), 0);
    }
}
