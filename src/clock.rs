//! The only reader of time. A door: everything that decides takes a [`Moment`] or a part of it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::units::UnixSeconds;

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Never goes backwards: deadlines, windows, ages.
    pub mono: Instant,
    /// May jump: SigV4 dates, log lines.
    pub wall: UnixSeconds,
    /// Milliseconds within the second of `wall`, 0 to 999: log lines, and what stores date.
    pub wall_millis: u16,
}

/// Reads time. `mono` is tokio's, so that paused tests steer it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// In tests: the wall time of a chosen instant, so that wall time moves with `mono`.
    anchor: Option<(Instant, UnixSeconds)>,
}

impl Clock {
    /// The machine's clocks.
    #[must_use]
    pub fn system() -> Self {
        Self { anchor: None }
    }

    /// A wall clock that shows `wall` now and moves with the monotonic clock from here on.
    #[must_use]
    pub fn anchored(wall: UnixSeconds) -> Self {
        Self { anchor: Some((mono_now(), wall)) }
    }

    /// The monotonic clock alone, which is all that most who ask need: half the price of [`Self::now`].
    #[must_use]
    pub fn mono(&self) -> Instant {
        mono_now()
    }

    /// Both clocks, now.
    #[must_use]
    pub fn now(&self) -> Moment {
        let mono = mono_now();
        let since_epoch = match self.anchor {
            Some((at, wall)) => {
                let start = Duration::from_secs(u64::try_from(wall.0).unwrap_or(0));
                start.saturating_add(mono.saturating_duration_since(at))
            }
            None => wall_now(),
        };
        Moment {
            mono,
            wall: UnixSeconds(i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX)),
            wall_millis: u16::try_from(since_epoch.subsec_millis()).unwrap_or(0),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one reader of the monotonic clock")]
fn mono_now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[expect(clippy::disallowed_methods, reason = "this is the one reader of the wall clock")]
fn wall_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_anchored_wall_clock_moves_with_paused_time() {
        let clock = Clock::anchored(UnixSeconds(1_000_000));
        let before = clock.now();
        tokio::time::advance(Duration::from_millis(2_500)).await;
        let after = clock.now();
        assert_eq!(after.wall.since(before.wall), 2);
        assert_eq!(after.mono - before.mono, Duration::from_millis(2_500));
    }
}
