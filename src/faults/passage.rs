//! How a body goes on, piece by piece.

use std::time::Duration;

use super::injection::End;

/// A slow body moves at least so often, so that its rate is even.
const TICKS_PER_SECOND: u64 = 10;

/// What stops a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The connection ends so.
    End(End),
    /// Nothing more comes; the connection stands.
    Hang,
    /// A FIN is sent, and bytes are still taken.
    HalfClose,
}

/// What happens to the bytes that are ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Waits first.
    pub wait: Duration,
    /// Then so many of them go on,
    pub take: usize,
    /// with the lowest bit of this one turned,
    pub turn: Option<usize>,
    /// and then the body stops.
    pub stop: Option<Stop>,
}

/// One body's way. The default lets everything pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passage {
    /// Bytes that went on so far.
    sent: u64,
    pub(super) bytes_per_second: Option<u64>,
    pub(super) slice: Option<(u64, Duration)>,
    pub(super) stop: Option<(u64, Stop)>,
    pub(super) turn: Option<u64>,
}

impl Passage {
    /// Whether every byte passes at once and as it is.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.bytes_per_second.is_none() && self.slice.is_none() && self.stop.is_none() && self.turn.is_none()
    }

    /// What happens to `ready` bytes, the next of the body. Asked again with what it did not take;
    /// it takes some, or stops. Once the body is over, ask with 0: it may have to stop even so.
    pub fn next(&mut self, ready: usize) -> Step {
        let before_stop = self.stop.map(|(at, stop)| (at.saturating_sub(self.sent), stop));
        if let Some((0, stop)) = before_stop {
            return Step { stop: Some(stop), ..Step::default() };
        }
        let (most, wait) = self.pace();
        let most = before_stop.map_or(most, |(left, _)| most.min(left));
        let take = ready.min(usize::try_from(most).unwrap_or(usize::MAX));
        if take == 0 {
            return Step::default();
        }
        let first = self.sent;
        self.sent = self.sent.saturating_add(take as u64);
        let turn = self.turn.filter(|at| (first..self.sent).contains(at));
        let turn = turn.and_then(|at| usize::try_from(at - first).ok());
        let stop = self.stop.filter(|(at, _)| *at <= self.sent).map(|(_, stop)| stop);
        Step { wait: self.scaled(wait, take, most), take, turn, stop }
    }

    /// The most bytes that may go at once, and the wait before that many.
    fn pace(&self) -> (u64, Duration) {
        let (mut most, mut wait) = (u64::MAX, Duration::ZERO);
        if let Some((bytes, pause)) = self.slice {
            (most, wait) = (bytes.max(1), pause);
        }
        if let Some(rate) = self.bytes_per_second {
            most = most.min((rate / TICKS_PER_SECOND).max(1));
            wait = wait.max(Duration::from_secs(most) / u32::try_from(rate.max(1)).unwrap_or(u32::MAX));
        }
        (most, wait)
    }

    /// A wait that the rate alone asks for shrinks with the piece; a pause between slices does not.
    fn scaled(&self, wait: Duration, take: usize, most: u64) -> Duration {
        if self.slice.is_some() || self.bytes_per_second.is_none() {
            return wait;
        }
        let (take, most) = (u32::try_from(take).unwrap_or(u32::MAX), u32::try_from(most).unwrap_or(u32::MAX));
        wait * take / most.max(1)
    }
}
