//! Which region is nearer than which, without wavering. Pure.

use std::time::Instant;

use super::settings::{FleetSettings, Margin};

/// Measurements a region needs before its rank is defended: until then the first impression is
/// corrected at once, so that a start does not take half a minute to find the nearest.
const SETTLED: u32 = 5;

/// What is known of one region's distance.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Distance {
    /// Seconds to the first byte of a probe, or what requests take less their usual surcharge.
    pub(super) seconds: Option<f64>,
    /// How many measurements stand behind it.
    pub(super) samples: u32,
    /// It is slow for now: ranked behind others by that, it keeps its place for when it is not.
    pub(super) slow: bool,
}

/// The order of regions by distance; regions are named by their place in the fleet.
#[derive(Clone, Debug, Default)]
pub(super) struct Nearest {
    order: Vec<usize>,
    rivals: Vec<Rival>,
}

/// A region that is nearer than one ranked before it.
#[derive(Clone, Copy, Debug)]
struct Rival {
    before: usize,
    after: usize,
    better: Option<Instant>,
    much_better: Option<Instant>,
}

impl Nearest {
    /// In the order of the configuration.
    pub(super) fn new(regions: usize) -> Self {
        Self { order: (0..regions).collect(), rivals: Vec::new() }
    }

    /// The places in order, the nearest first.
    pub(super) fn order(&self) -> &[usize] {
        &self.order
    }

    /// Compares again. `distances` by place. True if the order changed.
    pub(super) fn compare(&mut self, distances: &[Distance], settings: &FleetSettings, now: Instant) -> bool {
        let mut changed = false;
        // each turn removes one pair that is in the wrong order; all pairs are an upper bound
        for _ in 0..=self.order.len().saturating_mul(self.order.len()) {
            self.update_rivals(distances, settings, now);
            let Some(rival) = self.rivals.iter().find(|rival| rival.wins(distances, settings, now)).copied()
            else {
                break;
            };
            self.promote(rival);
            changed = true;
        }
        changed
    }

    fn promote(&mut self, rival: Rival) {
        self.order.retain(|place| *place != rival.after);
        let at = self.order.iter().position(|place| *place == rival.before).unwrap_or(self.order.len());
        self.order.insert(at, rival.after);
        self.rivals.retain(|known| !(known.before == rival.before && known.after == rival.after));
    }

    /// Keeps since when each pair has been in the wrong order.
    fn update_rivals(&mut self, distances: &[Distance], settings: &FleetSettings, now: Instant) {
        let mut rivals = Vec::new();
        for (rank, before) in self.order.iter().enumerate() {
            for after in self.order.iter().skip(rank + 1) {
                let known = self.rivals.iter().find(|known| known.before == *before && known.after == *after);
                let lead = |margin: Margin, since: Option<Instant>| {
                    is_nearer(distances, (*after, *before), margin).then(|| since.unwrap_or(now))
                };
                let better = lead(settings.better, known.and_then(|known| known.better));
                let much_better = lead(settings.much_better, known.and_then(|known| known.much_better));
                if better.is_some() || much_better.is_some() {
                    rivals.push(Rival { before: *before, after: *after, better, much_better });
                }
            }
        }
        self.rivals = rivals;
    }
}

impl Rival {
    fn wins(&self, distances: &[Distance], settings: &FleetSettings, now: Instant) -> bool {
        let lasted = |since: Option<Instant>, margin: Margin| {
            since.is_some_and(|since| now.saturating_duration_since(since) >= margin.lasting)
        };
        let slow = |place: usize| distances.get(place).is_some_and(|distance| distance.slow);
        if slow(self.before) {
            return false;
        }
        let unsettled = |place: usize| distances.get(place).is_none_or(|distance| distance.samples < SETTLED);
        unsettled(self.before)
            || unsettled(self.after)
            || lasted(self.better, settings.better)
            || lasted(self.much_better, settings.much_better)
    }
}

/// Whether the first of the pair is nearer than the second by this margin. A region that was
/// measured is nearer than one that was not.
fn is_nearer(distances: &[Distance], pair: (usize, usize), margin: Margin) -> bool {
    let seconds = |place: usize| distances.get(place).and_then(|distance| distance.seconds);
    match (seconds(pair.0), seconds(pair.1)) {
        (Some(near), Some(far)) => margin.lies_between(near, far),
        (Some(_), None) => true,
        (None, _) => false,
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests need some instant to count from")]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn far(millis: &[f64]) -> Vec<Distance> {
        millis.iter().map(|ms| Distance { seconds: Some(ms / 1e3), samples: 100, slow: false }).collect()
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_first_measurements_decide_at_once() {
        let now = Instant::now();
        let mut nearest = Nearest::new(3);
        let mut distances = far(&[90.0, 10.0, 40.0]);
        for distance in &mut distances {
            distance.samples = 1;
        }
        assert!(nearest.compare(&distances, &FleetSettings::default(), now));
        assert_eq!(nearest.order(), [1, 2, 0]);
    }

    #[test]
    fn a_fifth_and_five_milliseconds_must_last_half_a_minute() {
        let start = Instant::now();
        let settings = FleetSettings::default();
        let mut nearest = Nearest::new(2);
        let distances = far(&[30.0, 20.0]);
        assert!(!nearest.compare(&distances, &settings, start));
        assert!(!nearest.compare(&distances, &settings, start + secs(29)));
        assert!(nearest.compare(&distances, &settings, start + secs(30)));
        assert_eq!(nearest.order(), [1, 0]);
    }

    #[test]
    fn a_break_in_the_lead_starts_the_half_minute_again() {
        let start = Instant::now();
        let settings = FleetSettings::default();
        let mut nearest = Nearest::new(2);
        nearest.compare(&far(&[30.0, 20.0]), &settings, start);
        nearest.compare(&far(&[30.0, 28.0]), &settings, start + secs(20));
        assert!(!nearest.compare(&far(&[30.0, 20.0]), &settings, start + secs(30)));
        assert!(!nearest.compare(&far(&[30.0, 20.0]), &settings, start + secs(59)));
        assert!(nearest.compare(&far(&[30.0, 20.0]), &settings, start + secs(60)));
    }

    #[test]
    fn twice_as_good_and_fifty_milliseconds_act_after_five_seconds() {
        let start = Instant::now();
        let settings = FleetSettings::default();
        let mut nearest = Nearest::new(2);
        let distances = far(&[120.0, 60.0]);
        nearest.compare(&distances, &settings, start);
        assert!(!nearest.compare(&distances, &settings, start + Duration::from_millis(4_900)));
        assert!(nearest.compare(&distances, &settings, start + secs(5)));
    }

    #[test]
    fn a_large_share_of_little_is_no_reason() {
        let start = Instant::now();
        let settings = FleetSettings::default();
        let mut nearest = Nearest::new(2);
        for second in 0..300 {
            assert!(!nearest.compare(&far(&[5.0, 1.0]), &settings, start + secs(second)));
        }
    }

    proptest! {
        #[test]
        fn noise_below_the_margin_never_changes_the_order(
            noise in proptest::collection::vec((-0.08_f64..0.08, -0.08_f64..0.08), 1..200),
        ) {
            let start = Instant::now();
            let settings = FleetSettings::default();
            let mut nearest = Nearest::new(2);
            for (second, (first, second_noise)) in noise.into_iter().enumerate() {
                let now = start + Duration::from_secs(second as u64);
                let distances = far(&[50.0 * (1.0 + first), 50.0 * (1.0 + second_noise)]);
                prop_assert!(!nearest.compare(&distances, &settings, now));
            }
        }

        #[test]
        fn the_order_stays_a_permutation(
            rounds in proptest::collection::vec(proptest::collection::vec(1.0_f64..500.0, 5), 1..60),
        ) {
            let start = Instant::now();
            let settings = FleetSettings::default();
            let mut nearest = Nearest::new(5);
            for (round, distances) in rounds.into_iter().enumerate() {
                nearest.compare(&far(&distances), &settings, start + secs(round as u64 * 3));
                let mut places = nearest.order().to_vec();
                places.sort_unstable();
                prop_assert_eq!(places, vec![0, 1, 2, 3, 4]);
            }
        }
    }
}
