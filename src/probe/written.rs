//! What write probes write, where it should turn up, and how long that takes. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::names::{BucketName, RegionId};
use crate::route::{AccessPoint, Replication};
use crate::units::UnixSeconds;
use crate::view::RegionSettings;

/// Writes remembered until they turn up: a quarter of an hour of them at the usual pace. Beyond it
/// the oldest is kept and the newest are not, since it is the oldest that tells the lag.
const REMEMBERED: usize = 64;
/// Passes in a row after a failure that are awaited at the fast pace: as many as readmit a region.
const RISE: u32 = 5;
/// The pause between write probes while the region's standing may be changing.
const FAST: Duration = Duration::from_secs(2);
/// The first pause between two looks for a write.
const LOOK_FIRST: Duration = Duration::from_millis(100);
/// The longest: a lag of minutes is not worth a look a second.
const LOOK_LONGEST: Duration = Duration::from_secs(5);

/// The key that a region's write probe writes, next to the probe's: one for each region, so that
/// two-way replication never makes two of them meet.
#[must_use]
pub fn key(probe_key: &str, region: &RegionId) -> String {
    format!("{probe_key}.{region}")
}

/// What is written: who wrote it, his count, and his time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The gateway's own random name: several may write to one key.
    pub writer: u64,
    /// Counts the gateway's writes.
    pub count: u64,
    /// The gateway's clock.
    pub at: UnixSeconds,
}

impl Mark {
    /// Most bytes of a mark's text.
    pub const LONGEST: usize = 256;

    /// As it is written.
    #[must_use]
    pub fn text(&self) -> String {
        format!("nearpoint write probe {:016x} {} {}\n", self.writer, self.count, self.at.0)
    }

    /// Reads what a region has.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let mut words = text.strip_prefix("nearpoint write probe ")?.split_ascii_whitespace();
        let writer = u64::from_str_radix(words.next()?, 16).ok()?;
        let (count, at) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Self { writer, count, at: UnixSeconds(at) })
    }
}

/// Writes that have not turned up in one other region.
#[derive(Clone, Debug, Default)]
pub struct Outstanding {
    /// Oldest first.
    writes: VecDeque<(Mark, Instant)>,
}

impl Outstanding {
    /// A write was acknowledged.
    pub fn wrote(&mut self, mark: Mark, now: Instant) {
        if self.writes.len() < REMEMBERED {
            self.writes.push_back((mark, now));
        }
    }

    /// Whether all have turned up.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// The other region has `visible`: how far it is behind. `None` where that is not news.
    pub fn look(&mut self, visible: Option<&Mark>, now: Instant) -> Option<Duration> {
        let mut came = None;
        while let Some((mark, at)) = self.writes.front() {
            // what another gateway wrote later has replaced ours
            let passed = visible.is_some_and(|seen| {
                if seen.writer == mark.writer { seen.count >= mark.count } else { seen.at > mark.at }
            });
            if !passed {
                break;
            }
            came = Some(now.saturating_duration_since(*at));
            self.writes.pop_front();
        }
        let waiting = self.writes.front().map(|(_, at)| now.saturating_duration_since(*at));
        waiting.or(came)
    }
}

/// Where what a region's write probe writes should turn up: the other regions of the access points
/// whose bucket it writes to, as far as the stores replicate.
#[must_use]
pub fn followers(region: &RegionSettings, access_points: &[AccessPoint]) -> Vec<(RegionId, BucketName)> {
    let mut found: Vec<(RegionId, BucketName)> = Vec::new();
    for point in access_points {
        let replicates = match point.replication {
            Replication::None => false,
            Replication::OneWay => point.home == region.id,
            Replication::TwoWay => true,
        };
        let own = point.member(&region.id).and_then(|member| member.bucket.as_ref());
        if !replicates || own.is_none() || own != region.probe.bucket.as_ref() {
            continue;
        }
        for member in point.members.iter().filter(|member| member.region != region.id) {
            let known = found.iter().any(|(known, _)| *known == member.region);
            if let Some(bucket) = member.bucket.clone().filter(|_| !known) {
                found.push((member.region.clone(), bucket));
            }
        }
    }
    found
}

/// When a region is written to next.
#[derive(Clone, Copy, Debug)]
pub struct Rhythm {
    interval: Duration,
    /// Passes in a row; as good as endless before the first failure.
    passes: u32,
}

impl Rhythm {
    /// At this interval while all is well.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self { interval, passes: RISE }
    }

    /// A write probe ended.
    pub fn ended(&mut self, taken: bool) {
        self.passes = if taken { self.passes.saturating_add(1) } else { 0 };
    }

    /// The pause before the next.
    #[must_use]
    pub fn pause(&self) -> Duration {
        if self.passes < RISE { self.interval.min(FAST) } else { self.interval }
    }
}

/// The pause before the next look for a write, after so many.
#[must_use]
pub fn look_pause(looks: u32) -> Duration {
    2_u32
        .checked_pow(looks)
        .and_then(|factor| LOOK_FIRST.checked_mul(factor))
        .map_or(LOOK_LONGEST, |pause| pause.min(LOOK_LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn mark(writer: u64, count: u64, at: i64) -> Mark {
        Mark { writer, count, at: UnixSeconds(at) }
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_mark_is_read_as_it_was_written_and_nothing_else_is_one() {
        let mark = mark(0x1234_5678_9abc_def0, 17, 1_800_000_000);
        assert_eq!(Mark::read(&mark.text()), Some(mark.clone()));
        assert!(mark.text().len() <= Mark::LONGEST);
        for text in ["", "nearpoint write probe", "nearpoint write probe x 1 2", "nearpoint write probe 1 2"]
        {
            assert_eq!(Mark::read(text), None, "{text}");
        }
    }

    #[test]
    fn the_lag_is_how_long_a_write_took_or_how_long_it_has_not_come() {
        let start = Clock::system().mono();
        let mut outstanding = Outstanding::default();
        assert_eq!(outstanding.look(None, start), None, "nothing was written");
        outstanding.wrote(mark(1, 1, 100), start);
        assert_eq!(outstanding.look(None, start + secs(1)), Some(secs(1)));
        assert_eq!(outstanding.look(Some(&mark(1, 1, 100)), start + secs(2)), Some(secs(2)));
        assert!(outstanding.is_empty());
        assert_eq!(outstanding.look(Some(&mark(1, 1, 100)), start + secs(9)), None, "no news");

        outstanding.wrote(mark(1, 2, 115), start + secs(15));
        outstanding.wrote(mark(1, 3, 130), start + secs(30));
        let behind = outstanding.look(Some(&mark(1, 1, 100)), start + secs(40));
        assert_eq!(behind, Some(secs(25)), "the oldest tells the lag");
        assert_eq!(outstanding.look(Some(&mark(1, 2, 115)), start + secs(41)), Some(secs(11)));
        assert_eq!(outstanding.look(Some(&mark(1, 3, 130)), start + secs(42)), Some(secs(12)));
    }

    #[test]
    fn another_gateways_later_write_has_replaced_ours() {
        let start = Clock::system().mono();
        let mut outstanding = Outstanding::default();
        outstanding.wrote(mark(1, 1, 100), start);
        assert_eq!(outstanding.look(Some(&mark(2, 900, 99)), start + secs(1)), Some(secs(1)));
        assert!(!outstanding.is_empty(), "it is older than ours");
        assert_eq!(outstanding.look(Some(&mark(2, 901, 101)), start + secs(2)), Some(secs(2)));
        assert!(outstanding.is_empty());
    }

    #[test]
    fn what_never_turns_up_is_bounded() {
        let start = Clock::system().mono();
        let mut outstanding = Outstanding::default();
        for count in 0..1_000 {
            outstanding.wrote(mark(1, count, 0), start + secs(count));
        }
        assert_eq!(outstanding.writes.len(), REMEMBERED);
        assert_eq!(outstanding.look(None, start + secs(1_000)), Some(secs(1_000)));
    }

    #[test]
    fn a_region_that_takes_no_writes_is_asked_sooner_until_it_is_back() {
        let mut rhythm = Rhythm::new(secs(15));
        assert_eq!(rhythm.pause(), secs(15));
        rhythm.ended(true);
        assert_eq!(rhythm.pause(), secs(15));
        rhythm.ended(false);
        for _ in 0..RISE {
            assert_eq!(rhythm.pause(), FAST);
            rhythm.ended(true);
        }
        assert_eq!(rhythm.pause(), secs(15));
    }

    #[test]
    fn looks_become_rarer() {
        assert_eq!(look_pause(0), LOOK_FIRST);
        assert_eq!(look_pause(2), LOOK_FIRST * 4);
        assert_eq!(look_pause(10), LOOK_LONGEST);
        assert_eq!(look_pause(u32::MAX), LOOK_LONGEST);
    }
}
