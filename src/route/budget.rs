//! What repeats may cost: a share of real requests and a floor. Pure arithmetic over time that is
//! handed in. One per worker; the floor is the process's divided by its workers.

use std::time::{Duration, Instant};

/// How far back requests and repeats count, in seconds (Finagle's and Envoy's ten).
const WINDOW: u32 = 10;

/// Tokens for repeats and hedges, over a sliding window of ten seconds.
///
/// Within any ten seconds no more repeats are granted than `share` of the requests in them, plus
/// `floor` a second. One budget for all reasons, so that loops cannot add up.
#[derive(Clone, Debug)]
pub struct Budget {
    share: f64,
    floor: f64,
    origin: Instant,
    seconds: [Second; WINDOW as usize],
}

#[derive(Clone, Copy, Debug, Default)]
struct Second {
    at: u64,
    requests: u64,
    repeats: u64,
}

impl Budget {
    /// `share` of requests (0 to 1) and `floor` repeats a second.
    #[must_use]
    pub fn new(share: f64, floor: f64, now: Instant) -> Self {
        let mut budget = Self::empty(now);
        budget.grant(share, floor);
        budget
    }

    /// One that grants nothing yet; `now` is where its seconds are counted from.
    #[must_use]
    pub fn empty(now: Instant) -> Self {
        Self { share: 0.0, floor: 0.0, origin: now, seconds: [Second::default(); WINDOW as usize] }
    }

    /// Sets what is granted from now on, for all of the window: what was spent stays spent.
    pub fn grant(&mut self, share: f64, floor: f64) {
        self.share = share.clamp(0.0, 1.0);
        self.floor = floor.max(0.0);
    }

    /// Counts a client's request.
    pub fn request(&mut self, now: Instant) {
        if let Some(second) = self.second(now) {
            second.requests += 1;
        }
    }

    /// Takes a token for a repeat; false where none is left.
    #[must_use]
    pub fn take(&mut self, now: Instant) -> bool {
        if self.left(now) < 1.0 {
            return false;
        }
        match self.second(now) {
            Some(second) => {
                second.repeats += 1;
                true
            }
            None => false,
        }
    }

    /// Tokens left; never negative.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of ten seconds are far below 2^52")]
    pub fn left(&self, now: Instant) -> f64 {
        let oldest = (self.index(now) + 1).saturating_sub(u64::from(WINDOW));
        let live = self.seconds.iter().filter(|second| second.at >= oldest);
        let (requests, repeats) = live.fold((0, 0), |(requests, repeats), second| {
            (requests + second.requests, repeats + second.repeats)
        });
        let granted = self.share * requests as f64 + self.floor * f64::from(WINDOW);
        (granted - repeats as f64).max(0.0)
    }

    fn index(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.origin).as_secs()
    }

    fn second(&mut self, now: Instant) -> Option<&mut Second> {
        let at = self.index(now);
        let second = self.seconds.get_mut(usize::try_from(at % u64::from(WINDOW)).ok()?)?;
        if second.at != at {
            *second = Second { at, ..Second::default() };
        }
        Some(second)
    }
}

/// The pause before a repeat in the same region: full jitter over 50 ms, doubling to 1 s
/// (`share` in `[0, 1)` from the coin; `repeats` so far).
#[must_use]
pub fn backoff(repeats: u8, share: f64) -> Duration {
    let ceiling = FIRST.saturating_mul(1 << u32::from(repeats.min(8))).min(LONGEST);
    ceiling.mul_f64(share.clamp(0.0, 1.0))
}

/// A request's place in a region's rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Until when the rate is then booked, from any fixed instant.
    pub booked: Duration,
    /// How long the request is to wait.
    pub wait: Duration,
}

/// How much of a rate may go out at once after a pause: traffic comes in crowds, and a store counts
/// by the second.
const CROWD: Duration = Duration::from_millis(250);
/// The same in requests, where the rate is small.
const CROWD_LEAST: f64 = 3.0;

/// The next request's place in a rate of so many a second, of which everything until `booked` is
/// taken; `None` where it would wait longer than `patience`. (The generic cell rate algorithm of
/// ITU-T I.371.)
#[must_use]
pub fn slot(booked: Duration, rate: f64, patience: Duration, now: Duration) -> Option<Slot> {
    /// Rates below it are none: no request waits a quarter of an hour.
    const LEAST: f64 = 0.001;
    let each = Duration::from_secs_f64(1.0 / rate.max(LEAST));
    let crowd = CROWD.max(each.mul_f64(CROWD_LEAST));
    let wait = booked.saturating_sub(now).saturating_sub(crowd.saturating_sub(each));
    (wait <= patience).then(|| Slot { booked: booked.max(now).saturating_add(each), wait })
}

/// Ceiling of the first pause; shorter ones would meet a restarting store, longer ones show.
const FIRST: Duration = Duration::from_millis(50);

/// Ceiling of any pause.
const LONGEST: Duration = Duration::from_secs(1);

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests need some instant to count from")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_rate_is_kept_and_a_crowd_may_go_at_once() {
        let ms = Duration::from_millis;
        let (mut booked, mut gone) = (Duration::ZERO, Vec::new());
        for at in 0..10_000 {
            if let Some(slot) = slot(booked, 50.0, Duration::ZERO, ms(1_000 + at)) {
                assert_eq!(slot.wait, Duration::ZERO);
                booked = slot.booked;
                gone.push(at);
            }
        }
        // fifty a second for ten seconds, and the quarter of a second that went at once
        assert!((500..=513).contains(&gone.len()), "{}", gone.len());
        assert!(gone[11] < 20, "{gone:?}");
        assert!(gone.windows(2).skip(20).all(|pair| (19..=21).contains(&(pair[1] - pair[0]))));
    }

    #[test]
    fn a_request_waits_within_its_patience_or_takes_no_place() {
        let (now, each) = (secs(100), Duration::from_millis(100));
        let full = now + Duration::from_millis(300);
        let slot_of = |patience| slot(full, 10.0, patience, now);
        assert_eq!(slot_of(Duration::from_millis(99)), None);
        assert_eq!(slot_of(each), Some(Slot { booked: full + each, wait: each }));
        assert!(slot(Duration::ZERO, 0.0, secs(1), now).is_some(), "no rate at all divides nothing");
    }

    #[test]
    fn an_idle_budget_has_its_floor_and_no_more() {
        let now = Instant::now();
        let mut budget = Budget::new(0.2, 1.0, now);
        let taken = (0..100).filter(|_| budget.take(now)).count();
        assert_eq!(taken, 10);
        assert!(!budget.take(now + secs(9)));
        assert!(budget.take(now + secs(10)), "what was taken ten seconds ago is forgotten");
    }

    #[test]
    fn a_fifth_of_the_requests_may_be_repeated() {
        let now = Instant::now();
        let mut budget = Budget::new(0.2, 0.0, now);
        for n in 0..1_000 {
            budget.request(now + Duration::from_millis(n * 5));
        }
        let taken = (0..1_000).filter(|_| budget.take(now + secs(5))).count();
        assert_eq!(taken, 200);
    }

    #[test]
    fn what_is_granted_may_change_and_what_was_spent_stays_spent() {
        let now = Instant::now();
        let mut budget = Budget::empty(now);
        assert!(!budget.take(now));
        budget.grant(0.0, 1.0);
        assert_eq!((0..100).filter(|_| budget.take(now)).count(), 10);
        budget.grant(0.0, 2.0);
        assert_eq!((0..100).filter(|_| budget.take(now)).count(), 10);
        budget.grant(0.0, 0.5);
        assert!(!budget.take(now));
    }

    #[test]
    fn pauses_grow_to_a_second() {
        assert_eq!(backoff(0, 0.0), Duration::ZERO);
        assert!(backoff(0, 0.999) < Duration::from_millis(50));
        assert!(backoff(200, 0.999) < secs(1));
        assert!(backoff(200, 0.999) > Duration::from_millis(900));
    }

    proptest! {
        #[test]
        fn it_never_grants_more_than_it_has(
            events in proptest::collection::vec((0_u64..2_000, any::<bool>()), 1..400),
        ) {
            let mut now = Instant::now();
            let mut budget = Budget::new(0.2, 2.0, now);
            let (mut requests, mut taken) = (0_u32, 0_u32);
            let mut spent = 0;
            for (pause, request) in events {
                now += Duration::from_millis(pause);
                spent += pause;
                if request {
                    budget.request(now);
                    requests += 1;
                } else if budget.take(now) {
                    taken += 1;
                }
                prop_assert!(budget.left(now) >= 0.0);
            }
            let windows = f64::from(u32::try_from(spent / 1_000 / u64::from(WINDOW)).unwrap() + 2);
            prop_assert!(f64::from(taken) <= 0.2 * f64::from(requests) + 20.0 * windows);
        }
    }
}
