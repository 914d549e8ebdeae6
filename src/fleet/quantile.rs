//! How times to first byte are spread: the high quantiles that timeouts and hedges go by. Pure.
//!
//! A peak says how far a region is; it says nothing of its slow answers, which are what a timeout
//! must not mistake for silence. So every time counts here, in slots a quarter of a doubling wide.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

/// Slots to a doubling, as a power of two: a quantile is at most a quarter too long.
const STEPS: u32 = 2;
/// The first slot ends above 2^8 µs: shorter times are all alike.
const FIRST: u32 = 8;
/// Eighteen doublings: up to 67 s, beyond any wait for a first byte.
const SLOTS: u8 = 72;
/// Samples, faded by age, below which nothing is known. Until there are a thousand the slowest
/// stands for the slowest in a thousand; three times the slowest of a hundred is passed by about
/// one in a thousand where long times are as rare as those of stores are.
const LEARNT: f64 = 100.0;
/// Reads that were given up and wait to be counted. More than that in a row without an answer is
/// an outage.
const CUTS: usize = 8;

/// What share of answers is longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantiles {
    /// One in twenty is longer.
    pub p95: Duration,
    /// One in a thousand is longer.
    pub p999: Duration,
}

/// A handful of times, counted by slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times(SmallVec<[(u8, u32); 4]>);

impl Times {
    /// One time more.
    pub fn add(&mut self, time: Duration) {
        let slot = slot_of(time);
        match self.0.iter_mut().find(|(known, _)| *known == slot) {
            Some((_, count)) => *count = count.saturating_add(1),
            None => self.0.push((slot, 1)),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Duration> for Times {
    fn from_iter<I: IntoIterator<Item = Duration>>(times: I) -> Self {
        let mut all = Self::default();
        times.into_iter().for_each(|time| all.add(time));
        all
    }
}

/// The slot of a time: its leading bits.
fn slot_of(time: Duration) -> u8 {
    let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1 << FIRST);
    let doubling = us.ilog2();
    let step = (us >> (doubling - STEPS)) & ((1 << STEPS) - 1);
    let slot = u64::from((doubling - FIRST) << STEPS) + step;
    u8::try_from(slot).unwrap_or(u8::MAX).min(SLOTS - 1)
}

/// The longest time of a slot.
fn longest_of(slot: usize) -> Duration {
    let slot = u32::try_from(slot).unwrap_or(0);
    let (doubling, step) = ((slot >> STEPS) + FIRST, u64::from(slot & ((1 << STEPS) - 1)));
    Duration::from_micros(((1 << STEPS) + step + 1) << (doubling - STEPS))
}

/// A read that was given up: it would have taken longer than this.
#[derive(Clone, Copy, Debug)]
struct Cut {
    waited: Duration,
    at: Instant,
}

/// The times of one class at one region, the older the lighter.
#[derive(Clone, Debug)]
pub(super) struct Spread {
    weights: [f64; SLOTS as usize],
    /// Up to when weights are faded.
    at: Instant,
    cuts: SmallVec<[Cut; 2]>,
}

impl Spread {
    /// Nothing known.
    pub(super) fn new(now: Instant) -> Self {
        Self { weights: [0.0; SLOTS as usize], at: now, cuts: SmallVec::new() }
    }

    /// Takes times in, the last of them measured at `at`; `memory` is the time constant of fading.
    /// Reads that were given up before that count now: the region is alive, and they were slow.
    pub(super) fn observe(&mut self, times: &Times, at: Instant, memory: Duration, now: Instant) {
        let keep = self.faded(memory, now);
        self.weights.iter_mut().for_each(|weight| *weight *= keep);
        self.at = self.at.max(now);
        let cuts: Times = self.cuts.iter().filter(|cut| cut.at < at).map(|cut| cut.waited).collect();
        self.cuts.retain(|cut| cut.at >= at);
        for (slot, count) in times.0.iter().chain(&cuts.0) {
            if let Some(weight) = self.weights.get_mut(usize::from(*slot)) {
                *weight += f64::from(*count);
            }
        }
    }

    /// A read was given up after `waited`. That counts once the region is heard again: one that
    /// hangs would else teach us patience with it.
    pub(super) fn cut(&mut self, waited: Duration, at: Instant) {
        if self.cuts.len() < CUTS {
            self.cuts.push(Cut { waited, at });
        }
    }

    /// The region is out: what was given up was not slow but lost.
    pub(super) fn forget_cuts(&mut self) {
        self.cuts.clear();
    }

    /// `None` while there are too few.
    pub(super) fn quantiles(&self, memory: Duration, now: Instant) -> Option<Quantiles> {
        let total: f64 = self.weights.iter().sum();
        (total * self.faded(memory, now) >= LEARNT).then(|| Quantiles {
            p95: self.longer_than_all_but(0.05 * total),
            p999: self.longer_than_all_but(0.001 * total),
        })
    }

    fn longer_than_all_but(&self, spared: f64) -> Duration {
        let mut longer = 0.0;
        let place = self.weights.iter().rposition(|weight| {
            longer += weight;
            longer > spared
        });
        longest_of(place.unwrap_or(0))
    }

    fn faded(&self, memory: Duration, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.at).as_secs_f64();
        (-age / memory.as_secs_f64().max(1e-3)).exp()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests need some instant to count from")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MEMORY: Duration = Duration::from_mins(2);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn many(count: usize, time: Duration) -> Times {
        std::iter::repeat_n(time, count).collect()
    }

    /// Within a slot above.
    fn about(quantile: Duration, time: Duration) -> bool {
        quantile >= time && quantile <= time.mul_f64(1.25)
    }

    #[test]
    fn a_hundred_times_are_known_and_ninety_nine_are_not() {
        let now = Instant::now();
        let mut spread = Spread::new(now);
        spread.observe(&many(99, ms(5)), now, MEMORY, now);
        assert_eq!(spread.quantiles(MEMORY, now), None);
        spread.observe(&many(1, ms(800)), now, MEMORY, now);
        let known = spread.quantiles(MEMORY, now).unwrap();
        assert!(about(known.p95, ms(5)) && about(known.p999, ms(800)), "{known:?}");
        assert_eq!(spread.quantiles(MEMORY, now + ms(10)), None, "and fade");
    }

    #[test]
    fn one_in_a_thousand_is_told_from_two() {
        let now = Instant::now();
        for (slow, p999) in [(1, ms(5)), (3, ms(800))] {
            let mut spread = Spread::new(now);
            spread.observe(&many(2_000 - slow, ms(5)), now, MEMORY, now);
            spread.observe(&many(slow, ms(800)), now, MEMORY, now);
            let known = spread.quantiles(MEMORY, now).unwrap();
            assert!(about(known.p999, p999) && about(known.p95, ms(5)), "{slow}: {known:?}");
        }
    }

    #[test]
    fn what_was_slow_is_forgotten_in_a_quarter_of_an_hour() {
        let mut now = Instant::now();
        let mut spread = Spread::new(now);
        spread.observe(&many(1_000, ms(2_000)), now, MEMORY, now);
        for _ in 0..15 * 60 {
            now += ms(1_000);
            spread.observe(&many(10, ms(5)), now, MEMORY, now);
        }
        assert!(about(spread.quantiles(MEMORY, now).unwrap().p999, ms(5)));
    }

    #[test]
    fn what_was_given_up_counts_once_the_region_is_heard_again() {
        let start = Instant::now();
        let mut spread = Spread::new(start);
        spread.observe(&many(500, ms(5)), start, MEMORY, start);
        let p999 = |spread: &Spread| spread.quantiles(MEMORY, start + ms(600)).unwrap().p999;
        spread.cut(ms(500), start + ms(500));
        // told late: it was before
        spread.observe(&many(1, ms(5)), start + ms(400), MEMORY, start + ms(600));
        assert!(about(p999(&spread), ms(5)));
        spread.observe(&many(1, ms(5)), start + ms(600), MEMORY, start + ms(600));
        assert!(about(p999(&spread), ms(500)));

        let mut lost = Spread::new(start);
        lost.observe(&many(500, ms(5)), start, MEMORY, start);
        (0..100).for_each(|_| lost.cut(ms(500), start + ms(500)));
        assert_eq!(lost.cuts.len(), CUTS);
        lost.forget_cuts();
        lost.observe(&many(1, ms(5)), start + ms(600), MEMORY, start + ms(600));
        assert!(about(p999(&lost), ms(5)));
    }

    proptest! {
        #[test]
        fn a_slot_holds_what_is_put_into_it(us in 256_u64..60_000_000) {
            let time = Duration::from_micros(us);
            let slot = usize::from(slot_of(time));
            prop_assert!(about(longest_of(slot), time), "{time:?} in {slot}");
            prop_assert!(slot == 0 || longest_of(slot - 1) <= time);
        }

        #[test]
        fn any_time_has_a_slot_and_quantiles_are_in_order(
            times in proptest::collection::vec(any::<u64>(), 100..300),
        ) {
            let now = Instant::now();
            let mut spread = Spread::new(now);
            spread.observe(&times.into_iter().map(Duration::from_nanos).collect(), now, MEMORY, now);
            let known = spread.quantiles(MEMORY, now).unwrap();
            prop_assert!(known.p95 <= known.p999);
        }
    }
}
