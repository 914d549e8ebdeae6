//! What routing reads: an immutable picture of the fleet. Pure.

use std::time::{Duration, Instant};

use crate::names::{AccessPointName, CredentialId, RegionId};
use crate::s3::operation::{Class, Kind};

use super::offer::Rate;
use super::quantile::Quantiles;
use super::standing::Standing;
use super::trial::Trial;

/// How soon a region should be probed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// At the region's own interval.
    Normal,
    /// Its standing is changing, or there is no other: after this.
    Fast(Duration),
    /// It is out and others serve: after this.
    Down(Duration),
}

/// What a region may do for one kind of request.
#[derive(Clone, Debug)]
pub struct KindRow {
    /// Its standing.
    pub standing: Standing,
    /// It is out for what it answered, and answers: what nobody else may answer can still be asked there.
    pub errs: bool,
    /// It is out, and answers probes again: what nobody else may answer can be asked there.
    pub risen: bool,
    /// It was out within [`super::FleetSettings::flap_memory`].
    pub flapped: bool,
    /// Not preferred before this, while another region serves.
    pub held_until: Option<Instant>,
    /// Whose turn it is to try the region while it is in probation.
    pub trial: Trial,
}

/// One region.
#[derive(Clone, Debug)]
pub struct RegionRow {
    /// Its name.
    pub region: RegionId,
    /// For reads.
    pub reads: KindRow,
    /// For writes.
    pub writes: KindRow,
    /// Decayed peak of the time to first byte, by class; the probes' where a class has none.
    pub latency: [Option<Duration>; 4],
    /// How times to first byte are spread, by class; `None` while too few are known.
    pub quantiles: [Option<Quantiles>; 4],
    /// When a request or a probe last succeeded.
    pub last_success: Option<Instant>,
    /// When it last answered anything at all, an error included.
    pub last_answer: Option<Instant>,
    /// Credentials that it refuses.
    pub refused_credentials: Vec<CredentialId>,
    /// Access points whose bucket or signing region is wrong there.
    pub refused_configurations: Vec<AccessPointName>,
    /// It answers, but became plainly slow: ranked behind others.
    pub slow: bool,
    /// Its probes fail while its requests are answered: they do not count.
    pub probe_contradicted: bool,
    /// How much it may be sent, where it asked for less lately.
    pub rate: Option<Rate>,
    /// How soon to probe it again.
    pub pace: Pace,
}

impl RegionRow {
    /// The half for one kind.
    #[must_use]
    pub fn of(&self, kind: Kind) -> &KindRow {
        match kind {
            Kind::Read => &self.reads,
            Kind::Write => &self.writes,
        }
    }

    /// The latency estimate of one class.
    #[must_use]
    pub fn latency_of(&self, class: Class) -> Option<Duration> {
        self.latency.get(class_slot(class)).copied().flatten()
    }

    /// The high quantiles of one class's times to first byte; `None` while too few are known.
    #[must_use]
    pub fn quantile_of(&self, class: Class) -> Option<Quantiles> {
        self.quantiles.get(class_slot(class)).copied().flatten()
    }

    /// How long the first byte of a read's answer is waited for, where another region may be asked
    /// instead (`first_byte: auto`): three times the slowest answer in a thousand.
    #[must_use]
    pub fn patience_of(&self, class: Class) -> Duration {
        let most = if self.reads.flapped { PATIENCE_FLAPPED } else { PATIENCE_MOST };
        self.quantile_of(class).map_or(most, |seen| (seen.p999 * 3).clamp(PATIENCE_LEAST, most))
    }

    /// Whether the region answered anything within the last second and is healthy for writes: a
    /// write may then be sent without waiting for `100 Continue`.
    #[must_use]
    pub fn is_fresh(&self, now: Instant) -> bool {
        self.writes.standing == Standing::Healthy
            && self.last_answer.is_some_and(|at| now.saturating_duration_since(at) <= FRESH)
    }
}

/// The bounds of `first_byte: auto`; the most is also what holds while little is known of a region.
const PATIENCE_LEAST: Duration = Duration::from_millis(500);
/// See [`PATIENCE_LEAST`].
pub const PATIENCE_MOST: Duration = Duration::from_secs(5);
/// The most where a region was out lately: what was learnt of it then is of its outage, and another may
/// begin at any time, which is noticed only after so long.
const PATIENCE_FLAPPED: Duration = Duration::from_secs(1);

/// How recent an answer must be to spare `Expect: 100-continue`. Longer would let more writes be
/// sent in full into a region that has just hung.
const FRESH: Duration = Duration::from_secs(1);

/// The fleet as routing sees it. Cheap to read, never changed; published anew when it changes.
#[derive(Clone, Debug, Default)]
pub struct RegionTable {
    rows: Vec<RegionRow>,
    lags: Vec<Lag>,
    self_suspect: bool,
}

/// How far one region is behind another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    /// Where it is written.
    pub from: RegionId,
    /// Where it comes later.
    pub to: RegionId,
    /// By how much.
    pub lag: Duration,
}

impl RegionTable {
    /// Rows in the order of nearness.
    pub(super) fn new(rows: Vec<RegionRow>, lags: Vec<Lag>, self_suspect: bool) -> Self {
        Self { rows, lags, self_suspect }
    }

    /// How far `to` is behind `from`, as the replication canary measured it lately; `None` where
    /// nothing is measured.
    #[must_use]
    pub fn lag(&self, from: &RegionId, to: &RegionId) -> Option<Duration> {
        self.lags.iter().find(|lag| lag.from == *from && lag.to == *to).map(|lag| lag.lag)
    }

    /// All that is measured.
    #[must_use]
    pub fn lags(&self) -> &[Lag] {
        &self.lags
    }

    /// All regions, the nearest first.
    #[must_use]
    pub fn rows(&self) -> &[RegionRow] {
        &self.rows
    }

    /// The regions by name, the nearest first.
    pub fn nearest(&self) -> impl Iterator<Item = &RegionId> {
        self.rows.iter().map(|row| &row.region)
    }

    /// One region's row.
    #[must_use]
    pub fn row(&self, region: &RegionId) -> Option<&RegionRow> {
        self.rows.iter().find(|row| row.region == *region)
    }

    /// One region's standing; [`Standing::Unknown`] for a region that is not (yet) known.
    #[must_use]
    pub fn standing(&self, region: &RegionId, kind: Kind) -> Standing {
        self.row(region).map_or(Standing::Unknown, |row| row.of(kind).standing)
    }

    /// Every region went out within one window: our own network is the likelier culprit. Never a
    /// reason to refuse; ejections are then not held against the regions.
    #[must_use]
    pub fn self_suspect(&self) -> bool {
        self.self_suspect
    }
}

/// Where a class is kept in an array of four.
pub(super) const fn class_slot(class: Class) -> usize {
    match class {
        Class::Get => 0,
        Class::List => 1,
        Class::Put => 2,
        Class::Long => 3,
    }
}
