//! Whether a region became plainly slow: against its own past and against its peers. Pure.
//!
//! A slow region answers, so nothing ejects it; it is ranked behind others until it is as it was.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::settings::FleetSettings;

/// Time constant with which a region's past follows what becomes quicker.
const PAST_FALLS: Duration = Duration::from_secs(10);
/// The same for what becomes slower: after some ten minutes the new is the usual.
const PAST_RISES: Duration = Duration::from_mins(10);
/// Measurements a region needs before it has a past.
const SETTLED: u32 = 5;
/// Requests remembered of each region, for their spread.
const REMEMBERED: usize = 64;
/// Requests within the window below which their spread says nothing.
const ENOUGH: usize = 20;
/// The share of requests that a spread says are quicker. Below the tenth or two that a lossy path
/// slows down, above the odd slow object.
const SPREAD: usize = 85;
/// How long the spread of requests must be beyond its bounds: it is made of twenty requests or more, so
/// that one pause of a store is over by then.
const SPREAD_LASTS: Duration = Duration::from_millis(1_500);
/// Bouts of slow requests, with quick ones between them, that leave no doubt: whoever pauses, be it the
/// region, the path or this process, makes all requests slow at once, and that is one bout however many
/// they are. A path that loses packets makes some slow and others not.
const BOUTS: usize = 6;
/// Probes in a row that must be quick until a slow region is quick again: one in a second, so that it
/// takes no longer than [`FleetSettings::slow_hold`]. Behind a path that loses one packet in ten each
/// way they all are about once in seventy times; of eight it were once in five.
const QUICK_PROBES: usize = 20;
/// Times of being slow that are remembered: enough for the cap of the hold.
const TIMES: usize = 16;

/// How long requests took lately, and probes.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples {
    requests: VecDeque<(Instant, f64)>,
    probes: VecDeque<f64>,
}

impl Samples {
    pub(super) fn request(&mut self, took: Duration, now: Instant) {
        if self.requests.len() >= REMEMBERED {
            self.requests.pop_front();
        }
        self.requests.push_back((now, took.as_secs_f64()));
    }

    pub(super) fn probe(&mut self, took: Duration) {
        if self.probes.len() >= QUICK_PROBES {
            self.probes.pop_front();
        }
        self.probes.push_back(took.as_secs_f64());
    }

    /// What the requests of the window took; `None` of too few.
    pub(super) fn spread(&self, window: Duration, now: Instant) -> Option<Scatter> {
        let fresh = self.requests.iter().filter(|(at, _)| now.saturating_duration_since(*at) <= window);
        let mut seconds: Vec<f64> = fresh.map(|(_, seconds)| *seconds).collect();
        if seconds.len() < ENOUGH {
            return None;
        }
        let mut sorted = seconds.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let most = sorted.get((sorted.len() * SPREAD).div_ceil(100).saturating_sub(1)).copied()?;
        seconds.dedup_by_key(|took| *took > most / 2.0);
        Some(Scatter { most, bouts: seconds.iter().filter(|took| **took > most / 2.0).count() })
    }

    /// The slowest of the last probes, where there are enough.
    pub(super) fn slowest_probe(&self) -> Option<f64> {
        let enough = self.probes.len() >= QUICK_PROBES;
        enough.then(|| self.probes.iter().copied().fold(0.0, f64::max))
    }
}

/// How the times of requests are spread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scatter {
    /// What all but the slowest took at most, in seconds.
    pub(super) most: f64,
    /// How often they became slow, by more than half of that, and quick again.
    pub(super) bouts: usize,
}

/// What is known of a region at one moment, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Glance {
    /// Its distance: what probes take, or requests less their usual surcharge.
    pub(super) near: Option<f64>,
    /// Measurements behind it.
    pub(super) samples: u32,
    /// The spread of its requests.
    pub(super) spread: Option<Scatter>,
    /// The slowest of its last probes.
    pub(super) probes: Option<f64>,
    /// The distance of the nearest other region that serves and is not slow.
    pub(super) peer_near: Option<f64>,
    /// The best spread of others, or what their requests would take by their probes.
    pub(super) peer_spread: Option<f64>,
    /// The best spread of others that have requests.
    pub(super) peer_busy: Option<f64>,
}

/// Whether one region is slow.
#[derive(Clone, Debug, Default)]
pub(super) struct Slow {
    near: Past,
    spread: Past,
    suspected: Option<Instant>,
    held: Option<Held>,
    times: VecDeque<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    since: Instant,
    until: Instant,
    /// How slow its requests were, where they were why.
    spread: Option<f64>,
}

/// A change: how long it takes, and took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Turned {
    Slow {
        from: f64,
        to: f64,
    },
    Quick,
    /// It was the requests that became slow, and not the region: they are so elsewhere too.
    NotToBlame,
}

impl Slow {
    pub(super) fn is_slow(&self) -> bool {
        self.held.is_some()
    }

    /// Whether it is or may be slow: nothing usual is learnt from it.
    pub(super) fn is_doubtful(&self) -> bool {
        self.held.is_some() || self.suspected.is_some()
    }

    /// Looks again.
    pub(super) fn look(&mut self, glance: &Glance, settings: &FleetSettings, now: Instant) -> Option<Turned> {
        match self.held {
            None => self.look_at_quick(glance, settings, now),
            Some(held) => self.look_at_slow(held, glance, settings, now),
        }
    }

    /// Whether a request that took so long may be one of many.
    pub(super) fn is_remarkable(&self, took: Duration, settings: &FleetSettings) -> bool {
        let remarkable = |usual: f64| settings.slower_than_before.lies_between(usual, took.as_secs_f64());
        self.held.is_none() && self.spread.level.is_some_and(remarkable)
    }

    fn look_at_quick(&mut self, glance: &Glance, settings: &FleetSettings, now: Instant) -> Option<Turned> {
        let most = glance.spread.map(|spread| spread.most);
        let by_spread = exceeds(settings, self.spread.level, most, glance.peer_spread);
        let by_near = exceeds(settings, self.near.level, glance.near, glance.peer_near);
        let Some((from, to)) = by_spread.or(by_near) else {
            self.suspected = None;
            self.spread.learn(most, now);
            self.near.learn(glance.near.filter(|_| glance.samples >= SETTLED), now);
            return None;
        };
        let since = *self.suspected.get_or_insert(now);
        let scattered = glance.spread.is_some_and(|spread| spread.bouts >= BOUTS);
        let lasting = match (by_spread, scattered) {
            (Some(_), true) => Duration::ZERO,
            (Some(_), false) => SPREAD_LASTS,
            (None, _) => settings.slower_than_before.lasting,
        };
        if now.saturating_duration_since(since) < lasting {
            return None;
        }
        self.suspected = None;
        while self.times.front().is_some_and(|at| now.saturating_duration_since(*at) > settings.flap_memory) {
            self.times.pop_front();
        }
        let times = u32::try_from(self.times.len()).unwrap_or(u32::MAX);
        let hold = 2_u32.checked_pow(times).and_then(|factor| settings.slow_hold.checked_mul(factor));
        let hold = hold.map_or(settings.hold_down_cap, |hold| hold.min(settings.hold_down_cap));
        if self.times.len() >= TIMES {
            self.times.pop_front();
        }
        self.times.push_back(now);
        let spread = by_spread.map(|(_, to)| to);
        self.held = Some(Held { since: now, until: now + hold, spread });
        Some(Turned::Slow { from, to })
    }

    fn look_at_slow(
        &mut self,
        held: Held,
        glance: &Glance,
        settings: &FleetSettings,
        now: Instant,
    ) -> Option<Turned> {
        self.near.learn(glance.near, now);
        if let (Some(slow), Some(busy)) = (held.spread, glance.peer_busy)
            && now.saturating_duration_since(held.since) >= settings.slower_than_peers.lasting
            && !settings.slower_than_peers.lies_between(busy, slow)
        {
            self.spread.level = Some(slow);
            self.held = None;
            return Some(Turned::NotToBlame);
        }
        let quick = match (self.near.level, glance.probes) {
            (Some(past), Some(probes)) => {
                let margin = settings.slower_than_before;
                probes <= past * (1.0 + margin.share / 2.0) || probes - past <= margin.gap.as_secs_f64() / 2.0
            }
            _ => false,
        };
        if now < held.until || !quick {
            return None;
        }
        self.held = None;
        Some(Turned::Quick)
    }

    /// What must hold, in words where it does not.
    pub(super) fn fault(&self) -> Option<&'static str> {
        if self.held.is_some() && self.suspected.is_some() {
            return Some("a region that is slow is no longer suspected of it");
        }
        (self.times.len() > TIMES).then_some("the memory of slow times is bounded")
    }
}

/// From what to what it became slower, where that is plain.
fn exceeds(
    settings: &FleetSettings,
    past: Option<f64>,
    seen: Option<f64>,
    peer: Option<f64>,
) -> Option<(f64, f64)> {
    let (past, seen, peer) = (past?, seen?, peer?);
    let slower = settings.slower_than_before.lies_between(past, seen)
        && settings.slower_than_peers.lies_between(peer, seen);
    slower.then_some((past, seen))
}

/// What is usual.
#[derive(Clone, Copy, Debug, Default)]
struct Past {
    level: Option<f64>,
    at: Option<Instant>,
}

impl Past {
    fn learn(&mut self, seen: Option<f64>, now: Instant) {
        let Some(seen) = seen else { return };
        let age = self.at.map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        self.at = Some(now);
        self.level = Some(self.level.map_or(seen, |level| {
            let constant = if seen < level { PAST_FALLS } else { PAST_RISES };
            let keep = (-age / constant.as_secs_f64()).exp();
            level * keep + seen * (1.0 - keep)
        }));
    }
}
