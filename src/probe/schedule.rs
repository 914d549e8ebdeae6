//! When a region is probed next, and how long a probe may take. Pure.

use std::time::{Duration, Instant};

use crate::chance::Coin;
use crate::fleet::Pace;

/// The shortest time a probe may take: a hiccup of the scheduler is no outage.
pub const TIMEOUT_MIN: Duration = Duration::from_millis(250);
/// The longest: three of these in a row are still an outage seen within seconds.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(2);
/// Before anything was learnt.
pub const TIMEOUT_FIRST: Duration = Duration::from_millis(500);
/// A probe may take this many times the 99th percentile of those before it.
const TIMEOUT_FACTOR: u32 = 4;
/// Durations remembered: two minutes at one probe a second.
const REMEMBERED: usize = 128;
/// Durations needed before they may shorten the first timeout.
const LEARNT_AFTER: usize = 8;
/// Failures in a row that take a region out (`reliability.md` A4). Only beyond them does the
/// timeout of a region that was ever heard grow: by then nothing is lost, and one that became slow
/// must be able to come back. One that was never heard is given twice the time after each failure,
/// so that it is not called dead for being far.
const FALL: u32 = 3;
/// Pauses are shortened by up to this share, so that gateways do not probe in step.
const JITTER: f64 = 0.2;
/// An answer this soon after our own probe is most likely our own, told by the fleet.
const ECHO: Duration = Duration::from_millis(100);

/// One region's probes.
#[derive(Clone, Debug)]
pub struct Schedule {
    interval: Duration,
    last_end: Option<Instant>,
    /// Of the coming pause: 0.8 to 1.
    shortened: f64,
    durations: Vec<Duration>,
    /// Where the next duration goes.
    next: usize,
    failures: u32,
}

impl Schedule {
    /// A region never probed: the first probe is due at once.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        let durations = Vec::with_capacity(REMEMBERED);
        Self { interval, last_end: None, shortened: 1.0, durations, next: 0, failures: 0 }
    }

    /// When the next probe is due. While all is well, an answer to traffic counts as a probe.
    #[must_use]
    pub fn due(&self, pace: Pace, last_answer: Option<Instant>, now: Instant) -> Instant {
        let Some(last_end) = self.last_end else { return now };
        match pace {
            Pace::Fast(pause) => last_end + self.shorten(pause.min(self.interval)),
            Pace::Down(pause) => last_end + self.shorten(pause),
            Pace::Normal => {
                let by_traffic = last_answer.filter(|at| *at > last_end + ECHO);
                by_traffic.unwrap_or(last_end) + self.shorten(self.interval)
            }
        }
    }

    /// How long the next probe may take, all told.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        // one that was late is given more the next time: slow is not dead, and the three of them
        // still end within three seconds
        let doubtful = self.durations.len() < LEARNT_AFTER || self.failures > 0;
        let least = if doubtful { TIMEOUT_FIRST } else { TIMEOUT_MIN };
        let base = (self.percentile_99() * TIMEOUT_FACTOR).clamp(least, TIMEOUT_MAX);
        let spared = if self.durations.is_empty() { 0 } else { FALL - 1 };
        let doublings = self.failures.saturating_sub(spared).min(8);
        base.saturating_mul(1 << doublings).min(TIMEOUT_MAX)
    }

    /// A probe ended; `took` is how long it took where it was answered.
    pub fn ended(&mut self, now: Instant, took: Option<Duration>, coin: &mut Coin) {
        self.put_off(now, coin);
        let Some(took) = took else {
            self.failures = self.failures.saturating_add(1);
            return;
        };
        self.failures = 0;
        match self.durations.get_mut(self.next) {
            Some(oldest) => *oldest = took,
            None => self.durations.push(took),
        }
        self.next = (self.next + 1) % REMEMBERED;
    }

    /// A probe could not be sent: it says nothing, and the next one is due as if it had been.
    pub fn put_off(&mut self, now: Instant, coin: &mut Coin) {
        self.last_end = Some(now);
        self.shortened = 1.0 - JITTER * coin.share();
    }

    fn shorten(&self, pause: Duration) -> Duration {
        pause.mul_f64(self.shortened)
    }

    /// By nearest rank; zero where nothing is remembered.
    fn percentile_99(&self) -> Duration {
        let mut sorted = self.durations.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * 99).div_ceil(100);
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Clock;

    const SECOND: Duration = Duration::from_secs(1);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn start() -> Instant {
        Clock::system().mono()
    }

    /// A schedule whose last probe ended at the instant given, after `count` that took `took`.
    fn after(count: usize, took: Duration) -> (Schedule, Instant, Coin) {
        let (mut schedule, now, mut coin) = (Schedule::new(SECOND), start(), Coin::seeded(3));
        for _ in 0..count {
            schedule.ended(now, Some(took), &mut coin);
        }
        (schedule, now, coin)
    }

    fn pause(schedule: &Schedule, pace: Pace, answer: Option<Instant>, end: Instant) -> Duration {
        schedule.due(pace, answer, end).saturating_duration_since(end)
    }

    #[test]
    fn the_first_probe_is_due_at_once() {
        let now = start();
        assert_eq!(Schedule::new(SECOND).due(Pace::Normal, Some(now), now), now);
    }

    #[test]
    fn pauses_follow_the_pace_and_are_only_ever_shortened() {
        let (mut schedule, now, mut coin) = after(1, ms(5));
        let mut seen = Vec::new();
        for _ in 0..200 {
            schedule.ended(now, Some(ms(5)), &mut coin);
            for (pace, whole) in [
                (Pace::Normal, SECOND),
                (Pace::Fast(ms(250)), ms(250)),
                (Pace::Fast(SECOND * 3), SECOND),
                (Pace::Down(SECOND * 2), SECOND * 2),
            ] {
                let pause = pause(&schedule, pace, None, now);
                assert!(pause <= whole && pause >= whole.mul_f64(0.8), "{pace:?} {pause:?}");
                if pace == Pace::Normal {
                    seen.push(pause);
                }
            }
        }
        seen.sort_unstable();
        assert!(seen.last().unwrap().saturating_sub(seen[0]) > ms(150), "spread over the whole range");
    }

    #[test]
    fn an_answer_to_traffic_counts_as_a_probe_while_all_is_well() {
        let (schedule, end, _) = after(1, ms(5));
        let plain = pause(&schedule, Pace::Normal, None, end);
        let answer = Some(end + ms(700));
        assert_eq!(pause(&schedule, Pace::Normal, answer, end), plain + ms(700));
        assert_eq!(pause(&schedule, Pace::Normal, Some(end + ms(20)), end), plain, "our own echo");
        let old = end.checked_sub(SECOND);
        assert_eq!(pause(&schedule, Pace::Normal, old, end), plain);
        let fast = Pace::Fast(ms(250));
        assert_eq!(pause(&schedule, fast, answer, end), pause(&schedule, fast, None, end));
    }

    #[test]
    fn the_timeout_is_four_times_the_99th_percentile_within_its_bounds() {
        for (took, timeout) in [(1, 250), (62, 250), (100, 400), (200, 800), (900, 2000)] {
            assert_eq!(after(100, ms(took)).0.timeout(), ms(timeout), "{took}");
        }
        // one outlier in a hundred does not move it, two do
        let (mut schedule, now, mut coin) = after(99, ms(100));
        schedule.ended(now, Some(ms(300)), &mut coin);
        assert_eq!(schedule.timeout(), ms(400));
        schedule.ended(now, Some(ms(300)), &mut coin);
        assert_eq!(schedule.timeout(), ms(1200));
    }

    #[test]
    fn old_durations_are_forgotten() {
        let (mut schedule, now, mut coin) = after(REMEMBERED, ms(400));
        for _ in 0..REMEMBERED {
            schedule.ended(now, Some(ms(100)), &mut coin);
        }
        assert_eq!(schedule.timeout(), ms(400));
        assert_eq!(schedule.durations.len(), REMEMBERED);
    }

    fn timeouts(of: usize, (mut schedule, now, mut coin): (Schedule, Instant, Coin)) -> Vec<Duration> {
        let mut timeouts = Vec::new();
        for _ in 0..of {
            timeouts.push(schedule.timeout());
            schedule.ended(now, None, &mut coin);
        }
        timeouts
    }

    #[test]
    fn a_far_region_is_given_more_time_before_it_is_called_dead() {
        assert_eq!(timeouts(4, after(0, SECOND)), [ms(500), ms(1000), ms(2000), ms(2000)]);
    }

    #[test]
    fn a_region_that_was_heard_but_once_is_given_no_more_time_to_die() {
        assert_eq!(timeouts(4, after(1, ms(2))), [ms(500), ms(500), ms(500), ms(1000)]);
        assert_eq!(timeouts(4, after(1, ms(300))), [ms(1200), ms(1200), ms(1200), ms(2000)]);
    }

    #[test]
    fn a_known_region_is_not_given_more_time_to_die_but_to_come_back() {
        assert_eq!(timeouts(7, after(100, ms(50))), [250, 500, 500, 1000, 2000, 2000, 2000].map(ms));
        let (mut schedule, now, mut coin) = after(100, ms(50));
        (0..7).for_each(|_| schedule.ended(now, None, &mut coin));
        schedule.ended(now, Some(ms(900)), &mut coin);
        assert_eq!(schedule.timeout(), ms(250));
    }

    proptest! {
        #[test]
        fn the_timeout_stays_within_its_bounds(
            probes in prop::collection::vec(prop::option::of(0_u64..10_000), 0..400),
        ) {
            let (mut schedule, now, mut coin) = after(0, SECOND);
            for took in probes {
                prop_assert!((TIMEOUT_MIN..=TIMEOUT_MAX).contains(&schedule.timeout()));
                schedule.ended(now, took.map(Duration::from_millis), &mut coin);
            }
        }
    }
}
