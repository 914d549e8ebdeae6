//! Requests that ended the connections of two regions, remembered for a while. Pure.
//!
//! Some requests kill the store that reads them (Ceph RGW 16 has one). The try itself stops at the
//! second region; this memory stops the client's repeats from going on to the third.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long a request is refused: longer than the retries of an SDK with its pauses (about 20 s),
/// shorter than an outage of every region that only looked like poison takes to be forgiven.
const REFUSED_FOR: Duration = Duration::from_secs(30);

/// Requests remembered; beyond it the oldest are forgotten. More than this at a time are not
/// poison but an outage.
const REMEMBERED_MAX: usize = 256;

/// What is remembered: hashes of method and key.
#[derive(Debug, Default)]
pub struct Poison {
    /// Oldest first.
    requests: VecDeque<(u64, Instant)>,
}

impl Poison {
    /// A request, by its hash, ended the connections of two regions.
    pub fn remember(&mut self, request: u64, now: Instant) {
        self.forget(now);
        self.requests.retain(|(known, _)| *known != request);
        if self.requests.len() >= REMEMBERED_MAX {
            self.requests.pop_front();
        }
        self.requests.push_back((request, now));
        debug_assert!(self.requests.len() <= REMEMBERED_MAX, "bounded");
    }

    /// Whether a request is refused.
    #[must_use]
    pub fn refuses(&mut self, request: u64, now: Instant) -> bool {
        self.forget(now);
        self.requests.iter().any(|(known, _)| *known == request)
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    fn forget(&mut self, now: Instant) {
        while self.requests.front().is_some_and(|(_, at)| now.saturating_duration_since(*at) >= REFUSED_FOR) {
            self.requests.pop_front();
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests need some instant to count from")]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_refused_for_a_while_and_no_other_is() {
        let now = Instant::now();
        let mut poison = Poison::default();
        assert!(!poison.refuses(1, now));
        poison.remember(1, now);
        assert!(poison.refuses(1, now) && !poison.refuses(2, now));
        assert!(poison.refuses(1, now + REFUSED_FOR.saturating_sub(Duration::from_nanos(1))));
        assert!(!poison.refuses(1, now + REFUSED_FOR));
        assert!(poison.is_empty());
    }

    #[test]
    fn a_repeat_of_the_offence_begins_the_time_anew() {
        let now = Instant::now();
        let mut poison = Poison::default();
        poison.remember(1, now);
        poison.remember(2, now + REFUSED_FOR / 4);
        poison.remember(1, now + REFUSED_FOR / 2);
        assert!(poison.refuses(1, now + REFUSED_FOR) && poison.refuses(2, now + REFUSED_FOR));
    }

    #[test]
    fn it_is_bounded() {
        let now = Instant::now();
        let mut poison = Poison::default();
        for request in 0..=REMEMBERED_MAX as u64 {
            poison.remember(request, now);
        }
        assert!(!poison.refuses(0, now) && poison.refuses(1, now));
        assert_eq!(poison.requests.len(), REMEMBERED_MAX);
    }
}
