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
mod quantile;
mod settings;
mod table;
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
pub use health::Standing;
pub use quantile::{Quantiles, Times};
pub use settings::{FleetSettings, Margin};
pub use table::{KindRow, Pace, RegionRow, RegionTable, Trial, Turn};

use health::{Change, Health, Scene};
use latency::Peak;
use nearest::{Distance, Nearest};
use quantile::Spread;
use table::class_slot;

/// How often the order of nearness is compared. Finer would cost time, coarser would blur the
/// five seconds of [`FleetSettings::much_better`].
const COMPARE_EVERY: Duration = Duration::from_millis(500);

/// Weight of a new sample in the learnt surcharge of a class: some fifty samples to forget.
const SURCHARGE_WEIGHT: f64 = 0.02;

/// Every region's standing. One exists; the steward owns it.
#[derive(Debug)]
pub struct Fleet {
    settings: FleetSettings,
    regions: Vec<Region>,
    nearest: Nearest,
    compared: Instant,
    /// By how many seconds a class takes longer than a probe, learnt where both are known.
    surcharge: [Option<f64>; 4],
    credentials: BTreeMap<(RegionId, CredentialId), Instant>,
    configurations: BTreeMap<(RegionId, AccessPointName), Instant>,
}

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
            surcharge: [None; 4],
            credentials: BTreeMap::new(),
            configurations: BTreeMap::new(),
        }
    }

    /// Takes one observation; returns what changed by it. An event about a region that is not
    /// (or no longer) there changes nothing.
    pub fn apply(&mut self, event: Event, now: Instant, coin: &mut Coin) -> Vec<Transition> {
        let transitions = match event {
            Event::Probed { region, alive } => self.probed(&region, alive, now, coin),
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
            Event::Reloaded { regions, renewed } => {
                self.reloaded(&regions, &renewed, now);
                Vec::new()
            }
        };
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
        if now.saturating_duration_since(self.compared) >= COMPARE_EVERY {
            transitions.extend(self.compare(now));
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
        standings.chain(expiries).chain(compare).min()
    }

    /// The picture that routing reads.
    #[must_use]
    pub fn table(&self, now: Instant) -> RegionTable {
        let rows = self.nearest.order().iter().filter_map(|place| self.regions.get(*place));
        RegionTable::new(rows.map(|region| self.row(region, now)).collect(), self.suspects_itself())
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
        for region in &self.regions {
            for health in [&region.reads, &region.writes] {
                let fault = health.fault(&self.settings);
                debug_assert!(fault.is_none(), "{}: {}: {health:?}", region.id, fault.unwrap_or_default());
            }
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
                    region.last_answer = Some(now);
                    region.last_success = Some(now);
                }
                Err(ProbeFault::ServerError(_)) => region.last_answer = Some(now),
                Err(ProbeFault::Never(_)) => {}
            }
        }
        for kind in [Kind::Read, Kind::Write] {
            self.change(place, kind, now, &mut transitions, |health, scene| match alive {
                Ok(_) => health.probe_passed(scene),
                Err(fault) => health.probe_failed(fault, scene, coin),
            });
        }
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
        self.note(place, class, signal, now);
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
            Signal::Answered { .. } | Signal::ServerError(_) | Signal::Throttled => {
                health.reached(at);
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
    fn note(&mut self, place: usize, class: Class, signal: Signal, now: Instant) {
        let decay = self.settings.latency_decay;
        let Some(region) = self.regions.get_mut(place) else { return };
        match signal {
            Signal::NeverAnswered(_) => return,
            Signal::ServerError(_) | Signal::Throttled => {
                region.last_answer = Some(now);
                return;
            }
            Signal::Answered { ttfb } => {
                region.last_answer = Some(now);
                region.last_success = Some(now);
                let peak = region.latency.get_mut(class_slot(class));
                let (Some(peak), Some(ttfb)) = (peak, ttfb) else { return };
                peak.observe(ttfb, decay, now);
            }
        }
        self.learn_surcharge(place, class, now);
    }

    /// A class usually takes longer than a probe. Where both are fresh the difference is learnt,
    /// so that a region that is only probed can be compared with one that is busy.
    fn learn_surcharge(&mut self, place: usize, class: Class, now: Instant) {
        let Some(region) = self.regions.get(place) else { return };
        if !region.probes.is_within(self.settings.latency_decay, now) {
            return;
        }
        let peak = region.latency.get(class_slot(class)).and_then(Peak::seconds);
        let (Some(peak), Some(probes)) = (peak, region.probes.seconds()) else { return };
        let seen = (peak - probes).max(0.0);
        if let Some(known) = self.surcharge.get_mut(class_slot(class)) {
            *known = Some(known.map_or(seen, |known| known + SURCHARGE_WEIGHT * (seen - known)));
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
        let alone = !self.others_serve(place, kind);
        let scene = Scene { settings: &self.settings, now, alone };
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

    fn others_serve(&self, place: usize, kind: Kind) -> bool {
        let mut others = self.regions.iter().enumerate().filter(|(other, _)| *other != place);
        others.any(|(_, region)| region.of(kind).standing().is_serving())
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
        // which buckets an access point has may have changed too: canaries will say it again
        self.configurations.clear();
    }

    fn compare(&mut self, now: Instant) -> Option<Transition> {
        self.compared = now;
        let distances: Vec<Distance> = self.regions.iter().map(|region| self.distance(region, now)).collect();
        let before = self.nearest.order().first().copied();
        self.nearest.compare(&distances, &self.settings, now);
        let first = self.nearest.order().first().copied().filter(|first| Some(*first) != before)?;
        let region = self.regions.get(first)?;
        let standing = region.reads.standing();
        let (subject, why) = (Subject::Nearest, Cause::Faster);
        Some(Transition { region: region.id.clone(), subject, from: standing, to: standing, why, at: now })
    }

    /// A region's distance: what live requests take beyond their class's usual surcharge, or what
    /// probes take where there were none lately.
    fn distance(&self, region: &Region, now: Instant) -> Distance {
        let live = [Class::Get, Class::List, Class::Put].into_iter().find_map(|class| {
            let peak = region.latency.get(class_slot(class))?;
            let surcharge = self.surcharge_of(class)?;
            let fresh = peak.is_within(self.settings.latency_decay, now);
            peak.seconds().filter(|_| fresh).map(|seconds| (seconds - surcharge).max(0.0))
        });
        let samples =
            region.latency.iter().map(Peak::samples).fold(region.probes.samples(), u32::saturating_add);
        Distance { seconds: live.or(region.probes.seconds()), samples }
    }

    /// `None` while it cannot be known although probes are: nothing may be compared by it then.
    fn surcharge_of(&self, class: Class) -> Option<f64> {
        let probed = self.regions.iter().any(|region| region.probes.samples() > 0);
        let known = self.surcharge.get(class_slot(class)).copied().flatten();
        if probed { known } else { Some(0.0) }
    }

    fn row(&self, region: &Region, now: Instant) -> RegionRow {
        let latency =
            [Class::Get, Class::List, Class::Put, Class::Long].map(|class| self.latency(region, class, now));
        let spread = |class| region.spread.get(class_slot(class));
        let quantiles = [Class::Get, Class::List, Class::Put, Class::Long]
            .map(|class| spread(class)?.quantiles(self.settings.quantile_memory, now));
        let kind_row = |health: &Health, trial: &Trial| KindRow {
            standing: health.standing(),
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
            pace: self.pace(region),
        }
    }

    /// A class's own peak while it is fresh, else the probes' with the class's surcharge.
    fn latency(&self, region: &Region, class: Class, now: Instant) -> Option<Duration> {
        let own = region.latency.get(class_slot(class));
        if let Some(own) = own.filter(|own| own.is_within(self.settings.latency_decay, now)) {
            return own.duration();
        }
        let surcharge = self.surcharge.get(class_slot(class)).copied().flatten().unwrap_or(0.0);
        let probes =
            region.probes.seconds().and_then(|probes| Duration::try_from_secs_f64(probes + surcharge).ok());
        probes.or_else(|| own.and_then(Peak::duration))
    }

    fn pace(&self, region: &Region) -> Pace {
        let place = self.regions.iter().position(|other| other.id == region.id);
        let alone = |kind| place.is_some_and(|place| !self.others_serve(place, kind));
        let pace = |health: &Health, kind: Kind| match health.standing() {
            Standing::Healthy | Standing::Probation => Pace::Normal,
            Standing::Unknown | Standing::Suspect => Pace::Fast(self.settings.probe_fast),
            Standing::Out if alone(kind) => Pace::Fast(self.settings.probe_fast),
            Standing::Out => match health.probe_passes() {
                0 => Pace::Down(self.down_pace(health.probe_fails())),
                passes if passes < self.settings.rise => Pace::Fast(self.settings.probe_fast),
                _ => Pace::Normal,
            },
        };
        sooner(pace(&region.reads, Kind::Read), pace(&region.writes, Kind::Write))
    }

    fn down_pace(&self, fails: u32) -> Duration {
        let extra = fails.saturating_sub(self.settings.fall).min(16);
        let growth = 1.5_f64.powi(i32::try_from(extra).unwrap_or(0));
        self.settings.probe_down.mul_f64(growth).min(self.settings.probe_down_cap)
    }

    /// Every region out, and all within one window: perhaps it is us.
    fn suspects_itself(&self) -> bool {
        let outs = self.regions.iter().map(|region| &region.reads);
        let all_out = outs.clone().all(|health| health.standing() == Standing::Out);
        let first = outs.clone().map(Health::since).min();
        let last = outs.map(Health::since).max();
        let together = first.zip(last).is_some_and(|(first, last)| last - first <= self.settings.window);
        self.regions.len() > 1 && all_out && together
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
            last_success: None,
            last_answer: None,
        }
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
