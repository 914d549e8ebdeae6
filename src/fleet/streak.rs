//! Failures in a row, with the keys that they may be blamed on. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::window::Blame;

/// What the failures in a row were.
#[derive(Clone, Debug, Default)]
pub(super) struct Streak {
    /// Unanswered, before any request was sent.
    unconnected: u32,
    /// Unanswered after a request was sent, by key.
    unanswered: VecDeque<u64>,
    /// Server errors, by key.
    errors: VecDeque<u64>,
    /// When the last one was.
    pub(super) last: Option<Instant>,
}

/// Keys remembered of failures in a row: more than twice what ejects, so that a key with more
/// than half of them is told from two that alternate.
const STREAK: usize = 32;

impl Streak {
    /// One more was never answered; `key` where its request may be to blame.
    pub(super) fn unanswered(&mut self, key: Option<u64>, window: Duration, now: Instant) {
        self.forget_old(window, now);
        self.last = Some(now);
        match key {
            None => self.unconnected = self.unconnected.saturating_add(1),
            Some(key) => push(&mut self.unanswered, key),
        }
    }

    /// One more met a server error.
    pub(super) fn error(&mut self, key: u64, window: Duration, now: Instant) {
        self.forget_old(window, now);
        self.last = Some(now);
        push(&mut self.errors, key);
    }

    /// A connection was made.
    pub(super) fn connected(&mut self) {
        self.unconnected = 0;
    }

    /// Failures in a row must also be near in time: three in an hour are no outage.
    pub(super) fn forget_old(&mut self, window: Duration, now: Instant) {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) >= window) {
            *self = Self::default();
        }
    }

    /// When the last of those in a row that were never answered was.
    pub(super) fn unanswered_at(&self) -> Option<Instant> {
        self.last.filter(|_| self.never() > 0)
    }

    /// How many were never answered.
    pub(super) fn never(&self) -> u32 {
        u32::try_from(self.unanswered.len()).unwrap_or(u32::MAX).saturating_add(self.unconnected)
    }

    /// Whether what was never answered cannot be blamed on one request.
    pub(super) fn is_spread(&self) -> bool {
        let first = self.unanswered.front();
        self.unconnected > 0 || self.unanswered.iter().any(|key| Some(key) != first)
    }

    /// Whom the server errors may be blamed on.
    pub(super) fn blame(&self) -> Blame {
        Blame::of(self.errors.iter().map(|key| Some(*key)))
    }

    /// The region lives: what was never answered is no row any more.
    pub(super) fn answered(&mut self) {
        self.connected();
        self.unanswered.clear();
    }

    /// Whether nothing failed.
    pub(super) fn is_empty(&self) -> bool {
        self.never() == 0 && self.errors.is_empty()
    }
}

fn push(keys: &mut VecDeque<u64>, key: u64) {
    if keys.len() >= STREAK {
        keys.pop_front();
    }
    keys.push_back(key);
}
