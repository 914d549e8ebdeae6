//! Success and failure over the last seconds, in buckets, with the key that fails most left out.
//! Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Buckets a window has; its resolution is a tenth of its width.
pub(super) const BUCKETS: u32 = 10;

/// Failures whose keys are remembered, per window. Fewer would let a majority go unseen, more
/// costs time on each failure; a region that fails at a high rate is judged on the latest ones.
const REMEMBERED: usize = 64;

/// Counts over a sliding window.
#[derive(Clone, Debug)]
pub(super) struct Window {
    origin: Instant,
    bucket: Duration,
    buckets: [Bucket; BUCKETS as usize],
    failing: VecDeque<Failure>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    slot: u64,
    good: u32,
    bad: u32,
}

/// A failure; without a key where no request can be to blame.
#[derive(Clone, Copy, Debug)]
struct Failure {
    slot: u64,
    key: Option<u64>,
}

/// What a window holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    /// Successes.
    pub(super) good: u32,
    /// Failures, less those of a key that has more than half of them.
    pub(super) bad: u32,
    /// Whether the failures that count have two different keys or more, or need none.
    pub(super) spread: bool,
}

impl Window {
    /// An empty window of this width that begins now.
    pub(super) fn new(width: Duration, now: Instant) -> Self {
        Self {
            origin: now,
            bucket: (width / BUCKETS).max(Duration::from_millis(1)),
            buckets: [Bucket::default(); BUCKETS as usize],
            failing: VecDeque::new(),
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.buckets = [Bucket::default(); BUCKETS as usize];
        self.failing.clear();
    }

    /// Counts so many successes.
    pub(super) fn good(&mut self, count: u32, now: Instant) {
        if let Some(bucket) = self.bucket_at(now) {
            bucket.good = bucket.good.saturating_add(count);
        }
    }

    /// Counts a failure; `key` where a request of this key may be to blame.
    pub(super) fn bad(&mut self, now: Instant, key: Option<u64>) {
        if let Some(bucket) = self.bucket_at(now) {
            bucket.bad = bucket.bad.saturating_add(1);
        }
        if self.failing.len() >= REMEMBERED {
            self.failing.pop_front();
        }
        let slot = self.slot(now);
        self.failing.push_back(Failure { slot, key });
    }

    /// What the last `buckets` of the window, at most all of them, hold at `now`.
    pub(super) fn sums(&self, buckets: u32, now: Instant) -> Sums {
        let oldest = (self.slot(now) + 1).saturating_sub(u64::from(buckets.min(BUCKETS)));
        let (mut good, mut bad) = (0_u32, 0_u32);
        for bucket in self.buckets.iter().filter(|bucket| bucket.slot >= oldest) {
            good = good.saturating_add(bucket.good);
            bad = bad.saturating_add(bucket.bad);
        }
        let keys = self.failing.iter().filter(|failure| failure.slot >= oldest).map(|failure| failure.key);
        let blame = Blame::of(keys);
        Sums { good, bad: blame.share_of(bad), spread: blame.spread }
    }

    fn slot(&self, now: Instant) -> u64 {
        let slot = now.saturating_duration_since(self.origin).as_nanos() / self.bucket.as_nanos().max(1);
        u64::try_from(slot).unwrap_or(u64::MAX)
    }

    fn bucket_at(&mut self, now: Instant) -> Option<&mut Bucket> {
        let slot = self.slot(now);
        let at = usize::try_from(slot % u64::from(BUCKETS)).ok()?;
        let bucket = self.buckets.get_mut(at)?;
        if bucket.slot != slot {
            *bucket = Bucket { slot, ..Bucket::default() };
        }
        Some(bucket)
    }
}

/// Failures by whom they may be blamed on: one key with more than half of them is a poisonous
/// request, not an outage, and is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Blame {
    all: u32,
    /// Failures that count.
    pub(super) counted: u32,
    /// Whether those that count have two different keys or more, or need none.
    pub(super) spread: bool,
}

impl Blame {
    /// Sorts the keys of failures; `None` is a failure that no request can be blamed for.
    pub(super) fn of(keys: impl Iterator<Item = Option<u64>> + Clone) -> Self {
        let all = count(keys.clone());
        let poison = majority(keys.clone().flatten())
            .filter(|poison| 2 * count(keys.clone().filter(|key| *key == Some(*poison))) > all);
        let mut counted = keys.filter(|key| key.is_none() || *key != poison);
        let first = counted.clone().next().flatten();
        Self {
            all,
            counted: count(counted.clone()),
            spread: counted.any(|key| key.is_none() || key != first),
        }
    }

    /// Of `bad` failures, of which perhaps only the latest have known keys, those that count.
    fn share_of(self, bad: u32) -> u32 {
        let counted = u64::from(bad) * u64::from(self.counted) / u64::from(self.all.max(1));
        u32::try_from(counted).unwrap_or(bad)
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}

/// The only key that can have more than half of all (Boyer and Moore 1981).
fn majority(keys: impl Iterator<Item = u64>) -> Option<u64> {
    let mut candidate = None;
    let mut lead = 0_u32;
    for key in keys {
        if lead == 0 {
            candidate = Some(key);
            lead = 1;
        } else if candidate == Some(key) {
            lead += 1;
        } else {
            lead -= 1;
        }
    }
    candidate
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests need some instant to count from")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window() -> (Window, Instant) {
        let now = Instant::now();
        (Window::new(Duration::from_secs(10), now), now)
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let (mut window, start) = window();
        window.good(1, start);
        window.bad(start, Some(1));
        window.bad(start + Duration::from_secs(5), None);
        assert_eq!(
            window.sums(BUCKETS, start + Duration::from_millis(9_999)),
            Sums { good: 1, bad: 2, spread: true }
        );
        assert_eq!(
            window.sums(BUCKETS, start + Duration::from_secs(10)),
            Sums { good: 0, bad: 1, spread: true }
        );
        assert_eq!(
            window.sums(BUCKETS, start + Duration::from_mins(1)),
            Sums { good: 0, bad: 0, spread: false }
        );
    }

    #[test]
    fn the_last_buckets_hold_what_came_lately() {
        let (mut window, start) = window();
        for second in 0..10 {
            window.good(10, start + Duration::from_secs(second));
        }
        let now = start + Duration::from_secs(9);
        window.bad(now, Some(1));
        window.bad(now, None);
        assert_eq!(window.sums(BUCKETS, now), Sums { good: 100, bad: 2, spread: true });
        assert_eq!(window.sums(3, now), Sums { good: 30, bad: 2, spread: true });
        assert_eq!(window.sums(3, now + Duration::from_secs(2)), Sums { good: 10, bad: 2, spread: true });
    }

    #[test]
    fn a_bucket_is_used_again_after_a_round() {
        let (mut window, start) = window();
        for second in 0..25 {
            window.good(1, start + Duration::from_secs(second));
        }
        assert_eq!(window.sums(BUCKETS, start + Duration::from_secs(24)).good, 10);
    }

    #[test]
    fn one_key_with_more_than_half_of_the_failures_does_not_count() {
        let (mut window, start) = window();
        for n in 0..20 {
            window.bad(start, Some(if n < 15 { 7 } else { n }));
        }
        assert_eq!(window.sums(BUCKETS, start), Sums { good: 0, bad: 5, spread: true });
    }

    #[test]
    fn exactly_half_is_not_a_majority() {
        assert_eq!(
            Blame::of([Some(1), Some(2), Some(1), Some(2)].into_iter()),
            Blame { all: 4, counted: 4, spread: true }
        );
        assert_eq!(
            Blame::of([Some(1), Some(2), Some(1)].into_iter()),
            Blame { all: 3, counted: 1, spread: false }
        );
    }

    #[test]
    fn failures_without_a_key_are_never_excused() {
        assert_eq!(Blame::of([None, None].into_iter()), Blame { all: 2, counted: 2, spread: true });
        assert_eq!(
            Blame::of([Some(1), Some(1), Some(1), None].into_iter()),
            Blame { all: 4, counted: 1, spread: true }
        );
    }

    proptest! {
        #[test]
        fn sums_never_exceed_what_was_counted(
            events in proptest::collection::vec((0_u64..30_000, any::<bool>(), 0_u64..4), 0..300),
        ) {
            let (mut window, start) = window();
            let mut events = events;
            events.sort_unstable();
            let mut last = start;
            for (ms, good, key) in &events {
                last = start + Duration::from_millis(*ms);
                if *good { window.good(1, last) } else { window.bad(last, Some(*key)) }
            }
            let within = |ms: u64| start + Duration::from_millis(ms) + Duration::from_secs(10) > last;
            let good = events.iter().filter(|(ms, good, _)| *good && within(*ms)).count();
            let bad = events.iter().filter(|(ms, good, _)| !*good && within(*ms)).count();
            let sums = window.sums(BUCKETS, last);
            prop_assert!(sums.good as usize <= good);
            prop_assert!(sums.bad as usize <= bad);
        }
    }
}
