//! How long a connection to one region may lie idle. Pure.
//!
//! Stores close idle connections on their own (S3 after about five seconds), and a request written
//! to one that has just been closed is a request in doubt. What the operator allows is shortened
//! where a region is seen to close earlier, and given back slowly: one restart, which closes
//! everything at once, is soon forgotten.

use std::time::{Duration, Instant};

/// Below it nothing would be kept at all.
pub const IDLE_LEAST: Duration = Duration::from_millis(500);
/// Of the age at which a connection was found closed, in percent: it was closed before.
const SAFE_PERCENT: u32 = 75;
/// After so long without a closed connection the limit grows by [`GROWTH_PERCENT`].
const GROWS_EVERY: Duration = Duration::from_secs(30);
/// By how much it grows.
const GROWTH_PERCENT: u32 = 20;

/// What was learnt of one region.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdleLimit {
    learnt: Option<(Duration, Instant)>,
}

impl IdleLimit {
    /// How long a connection may lie idle now, where the operator allows `most`.
    #[must_use]
    pub fn now(&self, most: Duration) -> Duration {
        self.learnt.map_or(most, |(limit, _)| limit.min(most))
    }

    /// A connection that had lain idle for `age` turned out to be closed by the region. One
    /// observation shortens to half at most.
    pub fn was_closed(&mut self, age: Duration, most: Duration, now: Instant) {
        let current = self.now(most);
        // beyond the limit nobody would have used it: that teaches nothing
        if age > current {
            return;
        }
        let safe = (age * SAFE_PERCENT / 100).max(current / 2).max(IDLE_LEAST).min(current);
        self.learnt = Some((safe, now));
    }

    /// A connection that had lain idle was still good: time to try a little more, perhaps.
    pub fn was_open(&mut self, most: Duration, now: Instant) {
        let Some((limit, since)) = self.learnt else { return };
        if now.saturating_duration_since(since) < GROWS_EVERY {
            return;
        }
        let longer = limit * (100 + GROWTH_PERCENT) / 100;
        self.learnt = (longer < most).then_some((longer, now));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Clock;

    const MOST: Duration = Duration::from_mins(1);

    fn start() -> Instant {
        Clock::system().mono()
    }

    #[test]
    fn a_region_that_closes_early_is_learnt_in_a_few_steps() {
        let (mut limit, now) = (IdleLimit::default(), start());
        assert_eq!(limit.now(MOST), MOST);
        // it closes at five seconds; connections are found closed at whatever age they were taken
        for age in [58, 29, 14, 7, 6, 6, 6] {
            limit.was_closed(Duration::from_secs(age), MOST, now);
        }
        let learnt = limit.now(MOST);
        assert!(learnt < Duration::from_secs(6) && learnt >= Duration::from_secs(3), "{learnt:?}");
    }

    #[test]
    fn one_restart_costs_half_and_is_forgotten() {
        let (mut limit, mut now) = (IdleLimit::default(), start());
        limit.was_closed(Duration::from_millis(3), MOST, now);
        assert_eq!(limit.now(MOST), MOST / 2);
        for _ in 0..4 {
            now += GROWS_EVERY;
            limit.was_open(MOST, now);
        }
        assert_eq!(limit.now(MOST), MOST);
    }

    #[test]
    fn it_grows_no_faster_than_it_is_told() {
        let (mut limit, now) = (IdleLimit::default(), start());
        limit.was_closed(Duration::from_millis(3), MOST, now);
        for _ in 0..1000 {
            limit.was_open(MOST, now + GROWS_EVERY / 2);
        }
        assert_eq!(limit.now(MOST), MOST / 2);
    }

    proptest! {
        #[test]
        fn it_stays_between_the_least_and_what_the_operator_allows(
            steps in prop::collection::vec((any::<bool>(), 0_u64..100_000), 0..200),
            most in 0_u64..100_000,
        ) {
            let most = Duration::from_millis(most);
            let (mut limit, mut now) = (IdleLimit::default(), start());
            for (closed, ms) in steps {
                now += Duration::from_millis(ms);
                if closed { limit.was_closed(Duration::from_millis(ms), most, now) } else { limit.was_open(most, now) }
                prop_assert!(limit.now(most) <= most);
                prop_assert!(limit.now(most) >= most.min(IDLE_LEAST));
            }
        }
    }
}
