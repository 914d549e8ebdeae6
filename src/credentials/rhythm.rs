//! When to fetch the next lease. Pure.

use std::time::Duration;

use crate::chance::Coin;
use crate::units::UnixSeconds;

/// Shortest pause after a good lease: below it a source that hands out dying leases would be
/// asked without end.
pub const PAUSE_MIN: Duration = Duration::from_secs(5);
/// Pause after a lease that never expires: profile files and mounted secrets do change.
pub const PAUSE_UNEXPIRING: Duration = Duration::from_mins(15);
/// First pause after a failure; doubles with each.
pub const RETRY_FIRST: Duration = Duration::from_secs(1);
/// Longest pause between failures: a source that comes back is seen within a minute.
pub const RETRY_MAX: Duration = Duration::from_mins(1);
/// Part of a lease's life after which it is renewed (`reliability.md` A4).
const RENEW_AT: f64 = 0.5;
/// Every pause is shortened by up to this share, so that gateways started together do not ask together.
const JITTER: f64 = 0.2;

/// Pauses between fetches.
#[derive(Clone, Debug)]
pub struct Rhythm {
    failures: u32,
    coin: Coin,
}

impl Rhythm {
    /// Nothing fetched yet.
    #[must_use]
    pub fn new(coin: Coin) -> Self {
        Self { failures: 0, coin }
    }

    /// The pause after a lease that was fetched `now`.
    pub fn after_lease(&mut self, expires: Option<UnixSeconds>, now: UnixSeconds) -> Duration {
        self.failures = 0;
        let pause = match expires {
            None => PAUSE_UNEXPIRING,
            Some(expires) => {
                let life = u64::try_from(expires.since(now)).unwrap_or(0);
                Duration::from_secs(life).mul_f64(RENEW_AT)
            }
        };
        self.jittered(pause).max(PAUSE_MIN)
    }

    /// The pause after a failure.
    pub fn after_failure(&mut self) -> Duration {
        let pause = RETRY_FIRST.saturating_mul(1 << self.failures.min(16)).min(RETRY_MAX);
        self.failures = self.failures.saturating_add(1);
        self.jittered(pause)
    }

    fn jittered(&mut self, pause: Duration) -> Duration {
        pause.mul_f64(1.0 - JITTER * self.coin.share())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

    fn within(pause: Duration, seconds: u64) -> bool {
        let whole = Duration::from_secs(seconds);
        pause <= whole && pause >= whole.mul_f64(0.8)
    }

    #[test]
    fn leases_are_renewed_at_half_their_life() {
        let mut rhythm = Rhythm::new(Coin::seeded(1));
        for life in [60, 3600, 43_200] {
            let pause = rhythm.after_lease(Some(UnixSeconds(NOW.0 + life)), NOW);
            assert!(within(pause, u64::try_from(life).unwrap() / 2), "{life}: {pause:?}");
        }
        assert!(within(rhythm.after_lease(None, NOW), 900));
        assert_eq!(rhythm.after_lease(Some(NOW), NOW), PAUSE_MIN);
    }

    #[test]
    fn failures_back_off_and_success_forgets_them() {
        let mut rhythm = Rhythm::new(Coin::seeded(2));
        for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
            let pause = rhythm.after_failure();
            assert!(within(pause, expected), "{expected}: {pause:?}");
        }
        let _pause = rhythm.after_lease(None, NOW);
        assert!(within(rhythm.after_failure(), 1));
    }

    proptest! {
        #[test]
        fn a_pause_is_never_zero_and_never_outlives_a_living_lease(life in any::<i64>(), seed: u64) {
            let mut rhythm = Rhythm::new(Coin::seeded(seed));
            let expires = UnixSeconds(NOW.0.saturating_add(life));
            let pause = rhythm.after_lease(Some(expires), NOW);
            prop_assert!(pause >= PAUSE_MIN);
            if expires.since(NOW) > 10 {
                prop_assert!(pause.as_secs() < u64::try_from(expires.since(NOW)).unwrap());
            }
        }
    }
}
