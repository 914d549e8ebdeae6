//! Room: the fleet. What every region may do now, from probes, from what became of requests, and
//! from canaries. Pure: one writer (the steward) feeds it events and publishes its table.
//!
//! Reachability is kept per (region, kind of request), credentials per (region, credential),
//! configuration per (region, access point), so that one client's mistake changes no standing but
//! its own. It knows no S3 beyond the names of request kinds and classes, and decides nothing
//! about a request: that is `route`.

mod digest;
mod event;
mod health;
mod latency;
mod nearest;
mod offer;
mod quantile;
mod settings;
mod slow;
mod speed;
mod standing;
mod streak;
mod suspicion;
mod table;
mod trial;
mod window;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::chance::Coin;
use crate::names::{AccessPointName, CredentialId, RegionId};
use crate::s3::operation::{Class, Kind};

pub use digest::Digest;
pub use event::{Cause, Event, Never, ProbeFault, Signal, Subject, Transition};
pub use offer::Rate;
pub use quantile::{Quantiles, Times};
pub use settings::{FleetSettings, Margin};
pub use standing::Standing;
pub use table::{KindRow, Lag, PATIENCE_MOST, Pace, RegionRow, RegionTable};
pub use trial::{Trial, Turn};

use health::{Change, Health, Scene};
use latency::Peak;
use nearest::Nearest;
use offer::Offer;
use quantile::Spread;
use slow::{Samples, Slow};
use suspicion::Disagreement;
use table::class_slot;

/// How often the order of nearness is compared. Finer would cost time, coarser would blur the
/// five seconds of [`FleetSettings::much_better`].
const COMPARE_EVERY: Duration = Duration::from_millis(500);
/// How soon after a remarkably slow request the region is looked at: a path that loses packets costs
/// every third request a fifth of a second until it is left. Sooner would look at every request.
const LOOK_AFTER: Duration = Duration::from_millis(50);

/// Every region's standing. One exists; the steward owns it.
#[derive(Debug)]
pub struct Fleet {
    settings: FleetSettings,
    regions: Vec<Region>,
    nearest: Nearest,
    compared: Instant,
    /// When to look for slow regions before the next comparison, because of a remarkable request.
    look_due: Option<Instant>,
    /// By how many seconds a class takes longer than a probe, learnt where both are known.
    surcharge: [Option<f64>; 4],
    credentials: BTreeMap<(RegionId, CredentialId), Instant>,
    configurations: BTreeMap<(RegionId, AccessPointName), Instant>,
    /// The regions of each access point; none: all belong together.
    groups: Vec<Vec<RegionId>>,
    /// How far regions are behind others, and when that was measured.
    lags: BTreeMap<(RegionId, RegionId), (Duration, Instant)>,
    /// Every region failed at once, and none serves yet.
    suspicious: bool,
    /// When the first region served again after that, while it is recent.
    regained: Option<Instant>,
}

/// How long a measured lag counts: several write probes, so that a lost one changes nothing.
const LAG_MEMORY: Duration = Duration::from_mins(5);

/// One region's part.
#[derive(Debug)]
struct Region {
    id: RegionId,
    reads: Health,
    writes: Health,
    trial_reads: Trial,
    trial_writes: Trial,
    latency: [Peak; 4],
    spread: [Spread; 4],
    probes: Peak,
    samples: Samples,
    slow: Slow,
    offer: Offer,
    disagreement: Disagreement,
    /// Whether the last write probe was taken; `None` where there are none.
    takes_writes: Option<bool>,
    last_success: Option<Instant>,
    last_answer: Option<Instant>,
}

impl Fleet {
    /// Regions nobody has heard yet, in the order of the configuration.
    #[must_use]
    pub fn new(settings: FleetSettings, regions: &[RegionId], now: Instant) -> Self {
        let regions: Vec<Region> = regions.iter().map(|id| Region::new(id, &settings, now)).collect();
        let nearest = Nearest::new(regions.len());
        Self {
            settings,
            regions,
            nearest,
            compared: now,
            look_due: None,
            surcharge: [None; 4],
            credentials: BTreeMap::new(),
            configurations: BTreeMap::new(),
            groups: Vec::new(),
            lags: BTreeMap::new(),
            suspicious: false,
            regained: None,
        }
    }

    /// Says which regions serve an access point together.
    #[must_use]
    pub fn shared_by(mut self, groups: Vec<Vec<RegionId>>) -> Self {
        self.groups = groups;
        self
    }

    /// Takes one observation; returns what changed by it. An event about a region that is not
    /// (or no longer) there changes nothing.
    pub fn apply(&mut self, event: Event, now: Instant, coin: &mut Coin) -> Vec<Transition> {
        let mut transitions = match event {
            Event::Probed { region, alive } => self.probed(&region, alive, now, coin),
            Event::WriteProbed { region, alive } => self.write_probed(&region, alive, now, coin),
            Event::Lagged { from, to, lag } => {
                if self.place(&from).is_some() && self.place(&to).is_some() {
                    self.lags.insert((from, to), (lag, now));
                }
                Vec::new()
            }
            Event::Answered { region, kind, class, key_hash, signal, at, count } => {
                let attempt = Attempt { kind, class, key_hash, signal, at: at.min(now), count };
                self.answered(&region, attempt, now, coin)
            }
            Event::Timed { region, class, times, at } => {
                let memory = self.settings.quantile_memory;
                if let Some(spread) = self.spread(&region, class) {
                    spread.observe(&times, at, memory, now);
                }
                Vec::new()
            }
            Event::GivenUp { region, class, waited, at } => {
                self.given_up(&region, class, waited, at);
                Vec::new()
            }
            Event::CredentialJudged { region, credential, sound } => {
                self.credential_judged(region, credential, sound, now)
            }
            Event::ConfigurationJudged { region, access_point, sound } => {
                self.configuration_judged(region, access_point, sound, now)
            }
            Event::Reloaded { regions, renewed, groups } => {
                self.reloaded(&regions, &renewed, now);
                self.groups = groups;
                Vec::new()
            }
        };
        transitions.extend(self.suspect_ourselves(now));
        self.check_invariants();
        transitions
    }

    /// What time alone changes: ejections and suspicions that end, the order of nearness.
    pub fn tick(&mut self, now: Instant) -> Vec<Transition> {
        let mut transitions = Vec::new();
        for place in 0..self.regions.len() {
            for kind in [Kind::Read, Kind::Write] {
                self.change(place, kind, now, &mut transitions, Health::tick);
            }
        }
        self.forget_refusals(now, &mut transitions);
        self.lags.retain(|_, (_, at)| now.saturating_duration_since(*at) < LAG_MEMORY);
        self.regained = self.regained.filter(|_| self.regaining_ends().is_some_and(|end| now < end));
        transitions.extend(self.suspect_ourselves(now));
        if now.saturating_duration_since(self.compared) >= COMPARE_EVERY {
            transitions.extend(self.compare(now));
        } else if self.look_due.is_some_and(|due| due <= now) {
            transitions.extend(self.look_for_slow(now));
        }
        self.check_invariants();
        transitions
    }

    /// When [`Self::tick`] should next be called. `None` only without regions.
    #[must_use]
    pub fn next_tick(&self) -> Option<Instant> {
        let compare = (self.regions.len() > 1).then(|| self.compared + COMPARE_EVERY);
        let refusals = self.credentials.values().chain(self.configurations.values());
        let expiries = refusals.map(|since| *since + self.settings.refusal_memory);
        let standings = self
            .regions
            .iter()
            .flat_map(|region| [region.reads.due(&self.settings), region.writes.due(&self.settings)])
            .flatten();
        let regained = self.regaining_ends();
        standings.chain(expiries).chain(compare).chain(self.look_due).chain(regained).min()
    }

    /// The picture that routing reads.
    #[must_use]
    pub fn table(&self, now: Instant) -> RegionTable {
        let rows = self.nearest.order().iter().filter_map(|place| self.regions.get(*place));
        let lags = self.lags.iter();
        let lags = lags.map(|((from, to), (lag, _))| Lag { from: from.clone(), to: to.clone(), lag: *lag });
        let rows = rows.map(|region| self.row(region, now)).collect();
        RegionTable::new(rows, lags.collect(), self.suspicious)
    }

    /// How soon a region should be probed again, after its last probe ended.
    #[must_use]
    pub fn probe_interval(&self, region: &RegionId) -> Pace {
        self.place(region)
            .and_then(|place| self.regions.get(place))
            .map_or(Pace::Normal, |region| self.pace(region))
    }

    /// Panics in debug builds where the fleet contradicts itself; called after each mutation.
    pub fn check_invariants(&self) {
        if !cfg!(debug_assertions) {
            return;
        }
        for region in &self.regions {
            for health in [&region.reads, &region.writes] {
                let fault = health.fault(&self.settings);
                debug_assert!(fault.is_none(), "{}: {}: {health:?}", region.id, fault.unwrap_or_default());
            }
            let fault = region.slow.fault().or(region.offer.fault());
            debug_assert!(fault.is_none(), "{}: {}: {region:?}", region.id, fault.unwrap_or_default());
            let mut estimates = region.latency.iter().chain([&region.probes]).filter_map(Peak::seconds);
            debug_assert!(estimates.all(|seconds| seconds.is_finite() && seconds >= 0.0));
        }
        let mut places = self.nearest.order().to_vec();
        places.sort_unstable();
        debug_assert!(places.iter().copied().eq(0..self.regions.len()), "the order is a permutation");
        debug_assert!(self.surcharge.iter().flatten().all(|seconds| seconds.is_finite() && *seconds >= 0.0));
    }

    fn probed(
        &mut self,
        region: &RegionId,
        alive: Result<Duration, ProbeFault>,
        now: Instant,
        coin: &mut Coin,
    ) -> Vec<Transition> {
        let mut transitions = Vec::new();
        let Some(place) = self.place(region) else { return transitions };
        let decay = self.settings.latency_decay;
        if let Some(region) = self.regions.get_mut(place) {
            match alive {
                Ok(ttfb) => {
                    region.probes.observe(ttfb, decay, now);
                    region.samples.probe(ttfb);
                    region.last_answer = Some(now);
                    region.last_success = Some(now);
                }
                Err(ProbeFault::ServerError(_)) => region.last_answer = Some(now),
                Err(ProbeFault::Never(_)) => {}
            }
        }
        // where writes are probed as well, a read that is answered says nothing about them
        let refused = self.regions.get(place).is_some_and(|region| region.takes_writes == Some(false));
        if !self.believes_probe(place, alive, now, &mut transitions) {
            // what is out is let in again by the requests that contradict the probe: no other would ever pass
            for kind in [Kind::Read, Kind::Write] {
                if kind == Kind::Write && refused {
                    continue;
                }
                self.change(place, kind, now, &mut transitions, |health, scene| {
                    (health.standing() == Standing::Out).then(|| health.probe_passed(scene)).flatten()
                });
            }
            return transitions;
        }
        for kind in [Kind::Read, Kind::Write] {
            if kind == Kind::Write && refused && alive.is_ok() {
                continue;
            }
            self.change(place, kind, now, &mut transitions, |health, scene| match alive {
                Ok(_) => health.probe_passed(scene),
                Err(fault) => health.probe_failed(fault, scene, coin),
            });
        }
        transitions
    }

    fn write_probed(
        &mut self,
        region: &RegionId,
        alive: Result<(), ProbeFault>,
        now: Instant,
        coin: &mut Coin,
    ) -> Vec<Transition> {
        let mut transitions = Vec::new();
        let Some(place) = self.place(region) else { return transitions };
        if let Some(region) = self.regions.get_mut(place) {
            region.takes_writes = Some(alive.is_ok());
        }
        self.change(place, Kind::Write, now, &mut transitions, |health, scene| match alive {
            Ok(()) => health.probe_passed(scene),
            Err(fault) => health.probe_failed(fault, scene, coin),
        });
        transitions
    }

    fn answered(
        &mut self,
        region: &RegionId,
        attempt: Attempt,
        now: Instant,
        coin: &mut Coin,
    ) -> Vec<Transition> {
        let mut transitions = Vec::new();
        let Some(place) = self.place(region) else { return transitions };
        let Attempt { kind, class, key_hash, signal, at, count } = attempt;
        self.note(place, class, signal, count, now);
        if let (Signal::Answered { .. }, Some(region)) = (signal, self.regions.get_mut(place)) {
            region.disagreement.answered(at);
        }
        self.change(place, kind, now, &mut transitions, |health, scene| match signal {
            Signal::Answered { .. } => health.answered(count, at, scene),
            Signal::NeverAnswered(never) => health.never_answered(never, key_hash, scene, coin),
            Signal::ServerError(status) => health.server_error(status, key_hash, scene, coin),
            Signal::Throttled => {
                health.throttled();
                None
            }
        });
        self.change(place, other(kind), now, &mut transitions, |health, scene| match signal {
            Signal::NeverAnswered(never) if never.is_of_the_connection() => {
                health.unreachable(never, scene, coin)
            }
            Signal::NeverAnswered(_) => None,
            Signal::Answered { .. } => {
                health.reached(at, true);
                None
            }
            Signal::ServerError(_) | Signal::Throttled => {
                health.reached(at, false);
                None
            }
        });
        transitions
    }

    fn spread(&mut self, region: &RegionId, class: Class) -> Option<&mut Spread> {
        let place = self.place(region)?;
        self.regions.get_mut(place)?.spread.get_mut(class_slot(class))
    }

    /// A read of a region that is out was lost, whatever it would have taken.
    fn given_up(&mut self, id: &RegionId, class: Class, waited: Duration, at: Instant) {
        let Some(region) = self.regions.iter_mut().find(|region| region.id == *id) else { return };
        let out = region.reads.standing() == Standing::Out;
        if let Some(spread) = region.spread.get_mut(class_slot(class)).filter(|_| !out) {
            spread.cut(waited, at);
        }
    }

    /// Keeps what does not depend on standing: times and latencies.
    fn note(&mut self, place: usize, class: Class, signal: Signal, count: u32, now: Instant) {
        let decay = self.settings.latency_decay;
        let Some(region) = self.regions.get_mut(place) else { return };
        region.offer.sent(count, now);
        if !matches!(signal, Signal::NeverAnswered(_)) {
            region.last_answer = Some(now);
        }
        match signal {
            Signal::NeverAnswered(_) | Signal::ServerError(_) => {}
            Signal::Throttled => region.offer.throttled(now),
            Signal::Answered { ttfb } => {
                region.last_success = Some(now);
                let peak = region.latency.get_mut(class_slot(class));
                let (Some(peak), Some(ttfb)) = (peak, ttfb) else { return };
                peak.observe(ttfb, decay, now);
                if class == Class::Get {
                    region.samples.request(ttfb, now);
                    if region.slow.is_remarkable(ttfb, &self.settings) {
                        self.look_due.get_or_insert(now + LOOK_AFTER);
                    }
                }
                if self.surcharge.get(class_slot(class)).is_some_and(Option::is_none) {
                    self.learn_surcharge(place, class, now);
                }
            }
        }
    }

    /// Runs one mutation of one machine and announces what it changed.
    fn change(
        &mut self,
        place: usize,
        kind: Kind,
        now: Instant,
        transitions: &mut Vec<Transition>,
        mutate: impl FnOnce(&mut Health, Scene<'_>) -> Option<Change>,
    ) {
        let (alone, needed) = self.company(place, kind);
        let scene = Scene {
            settings: &self.settings,
            now,
            alone,
            needed,
            frozen: self.suspicious,
            contradicted: (kind == Kind::Read).then_some(self.settings.contradicted),
        };
        let Some(region) = self.regions.get_mut(place) else { return };
        let Some(change) = mutate(region.of_mut(kind), scene) else { return };
        if (kind, change.to) == (Kind::Read, Standing::Out) {
            region.spread.iter_mut().for_each(Spread::forget_cuts);
        }
        transitions.push(Transition {
            region: region.id.clone(),
            subject: Subject::Kind(kind),
            from: change.from,
            to: change.to,
            why: change.why,
            at: now,
        });
    }

    /// When the first region after a total outage is no longer the only one by chance.
    fn regaining_ends(&self) -> Option<Instant> {
        self.regained.map(|since| since + self.settings.regaining)
    }

    /// Whether no other region of any of its access points serves, and whether none of at least
    /// one does. Which region is found first after a total outage is chance, and all traffic is at
    /// it: for a while the others are needed as if there were none.
    fn company(&self, place: usize, kind: Kind) -> (bool, bool) {
        let Some(region) = self.regions.get(place) else { return (true, true) };
        let (alone, needed) = self.company_now(region, kind);
        (alone, needed || (self.regained.is_some() && !region.of(kind).standing().is_serving()))
    }

    fn company_now(&self, region: &Region, kind: Kind) -> (bool, bool) {
        let serves = |other: &Region| other.id != region.id && other.of(kind).standing().is_serving();
        let (mut alone, mut needed, mut shared) = (true, false, false);
        for group in self.groups.iter().filter(|group| group.contains(&region.id)) {
            let served = self.regions.iter().any(|other| group.contains(&other.id) && serves(other));
            (alone, needed, shared) = (alone && !served, needed || !served, true);
        }
        if shared {
            return (alone, needed);
        }
        let served = self.regions.iter().any(serves);
        (!served, !served)
    }

    fn credential_judged(
        &mut self,
        region: RegionId,
        credential: CredentialId,
        sound: bool,
        now: Instant,
    ) -> Vec<Transition> {
        if self.place(&region).is_none() {
            return Vec::new();
        }
        let subject = Subject::Credential(credential.clone());
        let changed = judge(&mut self.credentials, (region.clone(), credential), sound, now);
        changed.then(|| refusal(region, subject, sound, now)).into_iter().collect()
    }

    fn configuration_judged(
        &mut self,
        region: RegionId,
        access_point: AccessPointName,
        sound: bool,
        now: Instant,
    ) -> Vec<Transition> {
        if self.place(&region).is_none() {
            return Vec::new();
        }
        let subject = Subject::Configuration(access_point.clone());
        let changed = judge(&mut self.configurations, (region.clone(), access_point), sound, now);
        changed.then(|| refusal(region, subject, sound, now)).into_iter().collect()
    }

    fn forget_refusals(&mut self, now: Instant, transitions: &mut Vec<Transition>) {
        let memory = self.settings.refusal_memory;
        let mut expired = |region: &RegionId, subject: Subject, since: Instant| {
            let keep = now.saturating_duration_since(since) < memory;
            if !keep {
                let why = Cause::RefusalExpired;
                transitions.push(Transition { why, ..refusal(region.clone(), subject, true, now) });
            }
            keep
        };
        self.credentials
            .retain(|(region, name), since| expired(region, Subject::Credential(name.clone()), *since));
        self.configurations
            .retain(|(region, name), since| expired(region, Subject::Configuration(name.clone()), *since));
    }

    fn reloaded(&mut self, ids: &[RegionId], renewed: &[RegionId], now: Instant) {
        let nearest: Vec<RegionId> = self
            .nearest
            .order()
            .iter()
            .filter_map(|place| self.regions.get(*place))
            .map(|r| r.id.clone())
            .collect();
        let mut known = std::mem::take(&mut self.regions);
        known.retain(|region| !renewed.contains(&region.id));
        for id in nearest.iter().chain(ids).filter(|id| ids.contains(id)) {
            if self.place(id).is_some() {
                continue;
            }
            let kept = known.iter().position(|region| region.id == *id).map(|at| known.swap_remove(at));
            self.regions.push(kept.unwrap_or_else(|| Region::new(id, &self.settings, now)));
        }
        self.nearest = Nearest::new(self.regions.len());
        let stays = |region: &RegionId| ids.contains(region) && !renewed.contains(region);
        self.credentials.retain(|(region, _), _| stays(region));
        self.lags.retain(|(from, to), _| stays(from) && stays(to));
        // which buckets an access point has may have changed too: canaries will say it again
        self.configurations.clear();
    }

    fn row(&self, region: &Region, now: Instant) -> RegionRow {
        let latency =
            [Class::Get, Class::List, Class::Put, Class::Long].map(|class| self.latency(region, class, now));
        let spread = |class| region.spread.get(class_slot(class));
        let quantiles = [Class::Get, Class::List, Class::Put, Class::Long]
            .map(|class| spread(class)?.quantiles(self.settings.quantile_memory, now));
        let kind_row = |health: &Health, trial: &Trial| KindRow {
            standing: health.standing(),
            errs: health.errs(),
            risen: health.risen(&self.settings),
            flapped: health.flapped(),
            held_until: health.held_until(),
            trial: trial.clone(),
        };
        RegionRow {
            region: region.id.clone(),
            reads: kind_row(&region.reads, &region.trial_reads),
            writes: kind_row(&region.writes, &region.trial_writes),
            latency,
            quantiles,
            last_success: region.last_success,
            last_answer: region.last_answer,
            refused_credentials: names_at(&self.credentials, &region.id),
            refused_configurations: names_at(&self.configurations, &region.id),
            slow: region.slow.is_slow(),
            probe_contradicted: region.disagreement.is_raised(),
            rate: region.offer.rate(now),
            pace: self.pace(region),
        }
    }

    /// Whether some region is to be probed without delay, and this table does not say so of it: the
    /// prober must be told now.
    #[must_use]
    pub fn hurries_beyond(&self, table: &RegionTable) -> bool {
        let hurry = Pace::Fast(self.settings.probe_doubt);
        let told = |region: &Region| table.row(&region.id).is_some_and(|row| row.pace == hurry);
        self.regions.iter().any(|region| region.in_doubt() && !told(region))
    }

    fn pace(&self, region: &Region) -> Pace {
        if region.in_doubt() {
            return Pace::Fast(self.settings.probe_doubt);
        }
        let place = self.regions.iter().position(|other| other.id == region.id);
        let needed = |kind| place.is_some_and(|place| self.company(place, kind).1);
        let pace = |health: &Health, kind: Kind| match health.standing() {
            Standing::Healthy | Standing::Probation => Pace::Normal,
            Standing::Unknown | Standing::Suspect => Pace::Fast(self.settings.probe_fast),
            Standing::Out if self.regained.is_some() => Pace::Fast(self.settings.probe_regaining),
            Standing::Out if needed(kind) => Pace::Fast(self.settings.probe_fast),
            Standing::Out => match health.probe_passes() {
                0 => Pace::Down(self.down_pace(health.probe_fails())),
                passes if passes < self.settings.rise => Pace::Fast(self.settings.probe_fast),
                _ => Pace::Normal,
            },
        };
        match sooner(pace(&region.reads, Kind::Read), pace(&region.writes, Kind::Write)) {
            Pace::Normal if region.slow.is_slow() => Pace::Fast(self.settings.probe_slow),
            pace => pace,
        }
    }

    fn down_pace(&self, fails: u32) -> Duration {
        let extra = fails.saturating_sub(self.settings.fall).min(16);
        let growth = 1.5_f64.powi(i32::try_from(extra).unwrap_or(0));
        self.settings.probe_down.mul_f64(growth).min(self.settings.probe_down_cap)
    }

    fn place(&self, id: &RegionId) -> Option<usize> {
        self.regions.iter().position(|region| region.id == *id)
    }
}

/// What became of one attempt.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    kind: Kind,
    class: Class,
    key_hash: u64,
    signal: Signal,
    at: Instant,
    count: u32,
}

impl Region {
    fn new(id: &RegionId, settings: &FleetSettings, now: Instant) -> Self {
        Self {
            id: id.clone(),
            reads: Health::new(settings, now),
            writes: Health::new(settings, now),
            trial_reads: Trial::default(),
            trial_writes: Trial::default(),
            latency: Default::default(),
            spread: std::array::from_fn(|_| Spread::new(now)),
            probes: Peak::default(),
            samples: Samples::default(),
            slow: Slow::default(),
            offer: Offer::new(now),
            disagreement: Disagreement::default(),
            takes_writes: None,
            last_success: None,
            last_answer: None,
        }
    }

    /// Whether a probe may tell what requests left open: not one that is known to be wrong.
    fn in_doubt(&self) -> bool {
        // Out for one kind since it gave no answer, and its last probe failed: if it is dead, the other
        // kind's requests need not find out one by one.
        let torn = |out: &Health, other: &Health| {
            let unreachable = out.standing() == Standing::Out && !out.errs();
            unreachable && other.standing().is_serving() && other.probe_fails() > 0
        };
        let torn = torn(&self.reads, &self.writes) || torn(&self.writes, &self.reads);
        (self.reads.in_doubt() || self.writes.in_doubt() || torn) && !self.disagreement.is_raised()
    }

    fn of(&self, kind: Kind) -> &Health {
        match kind {
            Kind::Read => &self.reads,
            Kind::Write => &self.writes,
        }
    }

    fn of_mut(&mut self, kind: Kind) -> &mut Health {
        match kind {
            Kind::Read => &mut self.reads,
            Kind::Write => &mut self.writes,
        }
    }
}

fn other(kind: Kind) -> Kind {
    match kind {
        Kind::Read => Kind::Write,
        Kind::Write => Kind::Read,
    }
}

/// Notes a canary's verdict; true if it is news.
fn judge<K: Ord>(refused: &mut BTreeMap<K, Instant>, key: K, sound: bool, now: Instant) -> bool {
    if sound { refused.remove(&key).is_some() } else { refused.insert(key, now).is_none() }
}

fn refusal(region: RegionId, subject: Subject, sound: bool, at: Instant) -> Transition {
    let (from, to, why) = if sound {
        (Standing::Out, Standing::Healthy, Cause::CanaryPassed)
    } else {
        (Standing::Healthy, Standing::Out, Cause::CanaryRefused)
    };
    Transition { region, subject, from, to, why, at }
}

fn names_at<N: Clone>(refused: &BTreeMap<(RegionId, N), Instant>, region: &RegionId) -> Vec<N> {
    refused.keys().filter(|(at, _)| at == region).map(|(_, name)| name.clone()).collect()
}

fn sooner(one: Pace, two: Pace) -> Pace {
    match (one, two) {
        (Pace::Fast(pause), _) | (_, Pace::Fast(pause)) => Pace::Fast(pause),
        (Pace::Normal, _) | (_, Pace::Normal) => Pace::Normal,
        (Pace::Down(first), Pace::Down(second)) => Pace::Down(first.min(second)),
    }
}
