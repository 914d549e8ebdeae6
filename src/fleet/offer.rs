//! How much a region is offered, and how much it takes: a rate that is cut by a factor when the
//! region asks for less and grows by a step otherwise (Chiu and Jain 1989). Pure.

use std::time::{Duration, Instant};

/// Slots of a second over which the offered rate is counted.
const SLOTS: u32 = 10;
/// Length of a slot.
const SLOT: Duration = Duration::from_millis(100);
/// What is left of the rate after the region asked for less: the factor of AWS's SDKs.
const CUT: f64 = 0.7;
/// Cuts are at least so far apart: the answers of one second tell of one rate, which is cut once.
const ROUND: Duration = Duration::from_secs(1);
/// Growth a second, as a share of the rate that was too much: back there after ten seconds.
const GROWTH: f64 = 0.03;
/// The least rate, requests a second: below it there is nothing worth governing, and a region must
/// be asked now and then to be known.
const LEAST: f64 = 10.0;
/// How long after the last request for less the rate is governed: by then it has grown to twice
/// what was too much.
const MEMORY: Duration = Duration::from_mins(1);
/// Share of its limit below which a region may take requests that are too many for another.
const SPARE: f64 = 0.7;

/// One region's rates.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    origin: Instant,
    slots: [Slot; SLOTS as usize],
    limit: Option<Limit>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    at: u64,
    count: u32,
}

/// A limit in force.
#[derive(Clone, Copy, Debug)]
struct Limit {
    /// Requests a second at `cut`.
    rate: f64,
    /// Growth, requests a second each second.
    growth: f64,
    cut: Instant,
    /// When the region last asked for less.
    asked: Instant,
}

/// What routing is told of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Requests a second that the region may be sent.
    pub limit: f64,
    /// Requests a second that it was sent lately.
    pub offered: f64,
}

impl Rate {
    /// Whether it may take requests that are too many for another region.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.offered < SPARE * self.limit
    }
}

impl Offer {
    pub(super) fn new(now: Instant) -> Self {
        Self { origin: now, slots: [Slot::default(); SLOTS as usize], limit: None }
    }

    /// So many requests were sent there.
    pub(super) fn sent(&mut self, count: u32, now: Instant) {
        let at = self.slot(now);
        let place = usize::try_from(at % u64::from(SLOTS)).unwrap_or(0);
        let Some(slot) = self.slots.get_mut(place) else { return };
        if slot.at != at {
            *slot = Slot { at, count: 0 };
        }
        slot.count = slot.count.saturating_add(count);
    }

    /// The region asked for less.
    pub(super) fn throttled(&mut self, now: Instant) {
        let present = self.limit_at(now);
        if let Some(limit) = &mut self.limit
            && present.is_some()
            && now.saturating_duration_since(limit.cut) < ROUND
        {
            limit.asked = now;
            return;
        }
        let offered = self.offered(now);
        let too_much = present.map_or(offered, |limit| limit.min(offered)).max(LEAST);
        let rate = (CUT * too_much).max(LEAST);
        self.limit = Some(Limit { rate, growth: GROWTH * too_much, cut: now, asked: now });
    }

    /// The rate, where it is governed.
    pub(super) fn rate(&self, now: Instant) -> Option<Rate> {
        self.limit_at(now).map(|limit| Rate { limit, offered: self.offered(now) })
    }

    fn limit_at(&self, now: Instant) -> Option<f64> {
        let limit = self.limit.filter(|limit| now.saturating_duration_since(limit.asked) < MEMORY)?;
        let since = now.saturating_duration_since(limit.cut);
        Some(limit.rate + limit.growth * since.as_secs_f64())
    }

    /// Requests over the last second.
    fn offered(&self, now: Instant) -> f64 {
        let oldest = (self.slot(now) + 1).saturating_sub(u64::from(SLOTS));
        let counts = self.slots.iter().filter(|slot| slot.at >= oldest).map(|slot| slot.count);
        f64::from(counts.fold(0, u32::saturating_add))
    }

    fn slot(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.origin).as_millis() / SLOT.as_millis();
        // the first slot is 1, so that an empty one is never taken for it
        u64::try_from(since).unwrap_or(u64::MAX - 1).saturating_add(1)
    }

    /// What must hold, in words where it does not.
    pub(super) fn fault(&self) -> Option<&'static str> {
        let sound = |limit: Limit| limit.rate.is_finite() && limit.rate >= LEAST && limit.growth >= 0.0;
        (!self.limit.is_none_or(sound)).then_some("a limit is a rate, and never below the least")
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests need some instant to count from")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A store that takes so many requests in each second, and what it was offered in each.
    fn offered_by_second(takes: u32, wanted: u32, seconds: u32) -> Vec<u32> {
        let start = Instant::now();
        let mut offer = Offer::new(start);
        let mut offered = Vec::new();
        let mut next = start;
        for second in 0..seconds {
            let (begin, mut taken) = (start + Duration::from_secs(second.into()), 0);
            for n in 0..wanted {
                let now = begin + Duration::from_secs(1) * n / wanted;
                if let Some(rate) = offer.rate(now) {
                    if now + Duration::from_millis(20) < next {
                        continue;
                    }
                    next = now.max(next) + Duration::from_secs_f64(1.0 / rate.limit);
                }
                taken += 1;
                offer.sent(1, now);
                if taken > takes {
                    offer.throttled(now);
                }
            }
            offered.push(taken);
        }
        offered
    }

    #[test]
    fn what_is_offered_comes_down_to_what_is_taken_within_ten_seconds_and_stays_there() {
        let offered = offered_by_second(100, 200, 60);
        assert!(offered[10..].iter().all(|count| *count <= 110), "{offered:?}");
        let mean = offered[10..].iter().sum::<u32>() / 50;
        assert!(mean >= 75, "what the store would take is mostly used: {offered:?}");
    }

    #[test]
    fn without_a_request_for_less_nothing_is_governed() {
        let start = Instant::now();
        let mut offer = Offer::new(start);
        offer.sent(10_000, start);
        assert_eq!(offer.rate(start), None);
    }

    #[test]
    fn a_limit_is_forgotten_a_minute_after_the_last_request_for_less() {
        let start = Instant::now();
        let mut offer = Offer::new(start);
        offer.sent(100, start);
        offer.throttled(start);
        let limit = |after: u64| offer.rate(start + Duration::from_secs(after)).map(|rate| rate.limit);
        assert!((limit(0).unwrap() - 70.0).abs() < 1e-9);
        assert!((limit(10).unwrap() - 100.0).abs() < 1e-9, "back after ten seconds");
        assert!(limit(59).is_some());
        assert_eq!(limit(60), None);
    }

    #[test]
    fn the_answers_of_one_second_cut_once() {
        let start = Instant::now();
        let mut offer = Offer::new(start);
        offer.sent(200, start);
        for n in 0..50 {
            offer.throttled(start + Duration::from_millis(n * 10));
        }
        let rate = offer.rate(start).unwrap();
        assert!((rate.limit - 140.0).abs() < 1e-9, "{rate:?}");
        assert!(!rate.has_room(), "it is offered more than it takes");
    }

    #[test]
    fn a_quiet_region_is_not_choked() {
        let start = Instant::now();
        let mut offer = Offer::new(start);
        for second in 0..30 {
            let now = start + Duration::from_secs(second);
            offer.sent(1, now);
            offer.throttled(now);
        }
        let limit = offer.rate(start + Duration::from_secs(30)).unwrap().limit;
        assert!((LEAST..LEAST * 1.1).contains(&limit), "{limit}");
    }

    proptest! {
        #[test]
        fn the_limit_is_sound_whatever_comes(
            events in proptest::collection::vec((0_u64..3_000, 0_u32..500, any::<bool>()), 1..300),
        ) {
            let mut now = Instant::now();
            let mut offer = Offer::new(now);
            for (pause, count, throttled) in events {
                now += Duration::from_millis(pause);
                offer.sent(count, now);
                if throttled {
                    offer.throttled(now);
                }
                prop_assert_eq!(offer.fault(), None);
                if let Some(rate) = offer.rate(now) {
                    prop_assert!(rate.limit >= LEAST && rate.limit.is_finite());
                    prop_assert!(rate.offered <= 500.0 * 301.0);
                }
            }
        }
    }
}
