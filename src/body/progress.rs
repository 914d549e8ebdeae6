//! The progress clock of a body: dead when it moved too little while we waited on it. Pure.
//!
//! It runs only while we wait on that side (`rulings`: a client that does not read is never a
//! region's fault, and the other way round).

use std::time::{Duration, Instant};

/// How much must move in which time of waiting.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Time spent waiting after which too little movement is death (`timeouts.body_progress`).
    pub window: Duration,
    /// Bytes that must move in that time: 1 KiB a second of the window.
    pub bytes: u64,
}

impl Pace {
    /// 1 KiB/s over `window`.
    #[must_use]
    pub fn over(window: Duration) -> Self {
        Self { window, bytes: window.as_secs().max(1).saturating_mul(1024) }
    }

    /// A byte within `window`: of an answer by which a store says that it is still at work.
    #[must_use]
    pub fn sign_of_life(window: Duration) -> Self {
        Self { window, bytes: 1 }
    }
}

/// Time waited and bytes moved since the last full measure of progress.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    waited: Duration,
    moved: u64,
    waiting_since: Option<Instant>,
}

impl Progress {
    /// We begin (or go on) to wait: the instant at which waiting becomes death.
    pub fn waiting(&mut self, now: Instant, pace: Pace) -> Instant {
        let since = *self.waiting_since.get_or_insert(now);
        since + pace.window.saturating_sub(self.waited)
    }

    /// Bytes moved, and the wait (if any) is over.
    pub fn moved(&mut self, bytes: u64, now: Instant, pace: Pace) {
        if let Some(since) = self.waiting_since.take() {
            self.waited += now.saturating_duration_since(since);
        }
        self.moved = self.moved.saturating_add(bytes);
        if self.moved >= pace.bytes {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { window: Duration::from_secs(20), bytes: 20 * 1024 };

    fn start() -> Instant {
        crate::clock::Clock::system().mono()
    }

    #[test]
    fn silence_is_dead_after_the_window() {
        let now = start();
        assert_eq!(Progress::default().waiting(now, PACE), now + PACE.window);
    }

    #[test]
    fn a_drip_does_not_move_the_deadline_but_a_flow_does() {
        let now = start();
        let mut drip = Progress::default();
        drip.waiting(now, PACE);
        drip.moved(100, now + Duration::from_secs(15), PACE);
        assert_eq!(drip.waiting(now + Duration::from_secs(15), PACE), now + Duration::from_secs(20));
        drip.moved(20 * 1024, now + Duration::from_secs(16), PACE);
        assert_eq!(drip.waiting(now + Duration::from_secs(16), PACE), now + Duration::from_secs(36));
    }

    #[test]
    fn time_in_which_nobody_waited_does_not_count() {
        let now = start();
        let mut progress = Progress::default();
        progress.waiting(now, PACE);
        progress.moved(1, now + Duration::from_secs(5), PACE);
        let later = now + Duration::from_hours(1);
        assert_eq!(progress.waiting(later, PACE), later + Duration::from_secs(15));
    }
}
