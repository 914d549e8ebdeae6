//! One history: what happens when, to which regions, and what the fleet is told of it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nearpoint::chance::Coin;
use nearpoint::fleet::{
    Event, Fleet, FleetSettings, Never, ProbeFault, RegionTable, Standing, Subject, Transition,
};
use nearpoint::names::{CredentialId, RegionId};
use nearpoint::route::{AccessPoint, Budget};
use nearpoint::s3::operation::Kind;

use crate::regions::{Mode, Region, below, seconds_within};
use crate::requests::Request;
use crate::rules;

/// How long each is.
const LENGTH: Duration = Duration::from_secs(80);

/// The least time between two tables while no standing changes, as the steward's.
const CALM: Duration = Duration::from_millis(100);

/// What happens at an instant.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Arrival,
    AttemptEnds(u64),
    ProbeDue(usize),
    ProbeEnds(usize, Result<Duration, ProbeFault>),
    ModeChanges,
    Publish,
    Tick,
    /// The operator changes orders, failover, buckets or regions.
    Reload,
    /// The machine sleeps, and the clock goes on.
    Jump,
    /// Our wall clock is set.
    WallClock,
    /// Something is written to every region, and looked for in the others.
    WriteProbes,
}

/// What may happen in a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Everything.
    Foul,
    /// All regions are well, and stay so; the wall clock is set again and again.
    ClocksOnly,
}

pub(crate) struct Simulation {
    ends: Instant,
    pub(crate) now: Instant,
    pub(crate) coin: Coin,
    agenda: BinaryHeap<Reverse<(Instant, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    pub(crate) next_id: u64,
    pub(crate) regions: Vec<Region>,
    pub(crate) fleet: Fleet,
    pub(crate) table: Arc<RegionTable>,
    pub(crate) access_points: Vec<Arc<AccessPoint>>,
    /// Seconds by which our wall clock is ahead of the true time.
    pub(crate) wall: i64,
    pub(crate) budget: Budget,
    /// When requests came and when repeats were granted, over the last seconds.
    pub(crate) granted: [VecDeque<Instant>; 2],
    pub(crate) requests: BTreeMap<u64, Request>,
    pub(crate) changes: BTreeMap<(RegionId, bool), VecDeque<Instant>>,
    /// When a kind of request last had fewer than two regions of an access point serving.
    pub(crate) lonely: [Instant; 2],
    /// Since when no other region serves reads, by region.
    pub(crate) alone_since: Vec<Option<Instant>>,
    /// One access point has the nearest region only.
    pub(crate) indispensable: bool,
    weather: Weather,
    trace: DefaultHasher,
    pub(crate) tally: Tally,
}

/// The defaults, but that regions whose probes contradict their requests are awaited no longer than
/// others: a history is too short for more.
pub(crate) fn settings() -> FleetSettings {
    let contradicted = Duration::from_secs(20);
    FleetSettings { contradicted, contradicted_cap: Duration::from_mins(1), ..FleetSettings::default() }
}

/// What a history came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) reads: u64,
    pub(crate) reads_failed: u64,
    pub(crate) writes: u64,
    pub(crate) writes_failed: u64,
    pub(crate) moved: u64,
    pub(crate) trials: u64,
    pub(crate) changes: u64,
    /// Of these: to suspect or out.
    pub(crate) worse: u64,
    pub(crate) slow: u64,
    pub(crate) alarms: u64,
    pub(crate) self_suspect: u64,
    /// Requests whose date a region refused.
    pub(crate) skewed: u64,
    /// Regions that did not answer a request, and that were probed at once.
    pub(crate) doubts: u64,
    /// Changes of the configuration.
    pub(crate) reloads: u64,
    pub(crate) trace: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        let Self { reads, reads_failed, writes, writes_failed, moved, trials, changes, .. } = other;
        self.reads += reads;
        self.reads_failed += reads_failed;
        self.writes += writes;
        self.writes_failed += writes_failed;
        self.moved += moved;
        self.trials += trials;
        self.changes += changes;
        let Self { worse, slow, alarms, self_suspect, skewed, doubts, reloads, .. } = other;
        self.worse += worse;
        self.slow += slow;
        self.alarms += alarms;
        self.self_suspect += self_suspect;
        self.skewed += skewed;
        self.doubts += doubts;
        self.reloads += reloads;
    }
}

impl Simulation {
    pub(crate) fn new(seed: u64, weather: Weather) -> Self {
        #[expect(clippy::disallowed_methods, reason = "a virtual clock needs an instant to count from")]
        let start = Instant::now();
        let mut coin = Coin::seeded(seed);
        let regions: Vec<Region> = [("home", 20), ("near", 4), ("far", 80)]
            .into_iter()
            .map(|(name, ttfb)| {
                let dead = weather == Weather::Foul && coin.lands(0.2);
                let mode = if dead { Mode::Refusing } else { Mode::Well };
                Region::new(name, ttfb, mode, start, &mut coin)
            })
            .collect();
        let ids: Vec<RegionId> = regions.iter().map(|region| region.id.clone()).collect();
        let fleet = Fleet::new(settings(), &ids, start);
        let table = Arc::new(fleet.table(start));
        let mut simulation = Self {
            ends: start + LENGTH,
            now: start,
            agenda: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            next_id: 0,
            access_points: rules::at_first(&ids, &RegionId::new("home")),
            wall: 0,
            budget: Budget::new(0.2, 10.0, start),
            granted: Default::default(),
            requests: BTreeMap::new(),
            changes: BTreeMap::new(),
            lonely: [start; 2],
            alone_since: vec![Some(start); regions.len()],
            indispensable: seed.is_multiple_of(3),
            weather,
            trace: DefaultHasher::new(),
            tally: Tally::default(),
            regions,
            fleet,
            table,
            coin,
        };
        let groups = simulation.groups();
        simulation.fleet = simulation.fleet.shared_by(groups);
        simulation.plan_ahead();
        simulation
    }

    /// Which regions serve an access point together: as configured, and in every third history one
    /// alone.
    pub(crate) fn groups(&self) -> Vec<Vec<RegionId>> {
        let of =
            |point: &Arc<AccessPoint>| point.members.iter().map(|member| member.region.clone()).collect();
        let mut groups: Vec<Vec<RegionId>> = self.access_points.iter().map(of).collect();
        if self.indispensable {
            groups.push(vec![RegionId::new("near")]);
        }
        groups
    }

    fn plan_ahead(&mut self) {
        for happening in [Happening::Publish, Happening::Arrival, Happening::Tick, Happening::WriteProbes] {
            self.after(Duration::from_millis(1), happening);
        }
        match self.weather {
            Weather::ClocksOnly => self.after(Duration::from_millis(1), Happening::WallClock),
            Weather::Foul => {
                self.after(Duration::from_millis(1), Happening::ModeChanges);
                let (asleep, set, changed) =
                    (self.millis(10_000, 80_000), self.millis(1_000, 60_000), self.millis(1_000, 40_000));
                self.after(changed, Happening::Reload);
                if self.coin.lands(0.25) {
                    self.after(asleep, Happening::Jump);
                }
                if self.coin.lands(0.5) {
                    self.after(set, Happening::WallClock);
                }
            }
        }
        self.plan_probes();
    }

    fn at(&mut self, at: Instant, happening: Happening) {
        let id = self.next_id;
        self.next_id += 1;
        self.agenda.push(Reverse((at, id)));
        self.happenings.insert(id, happening);
    }

    fn after(&mut self, pause: Duration, happening: Happening) {
        self.at(self.now + pause, happening);
    }

    pub(crate) fn attempt_ends_after(&mut self, pause: Duration, id: u64) {
        self.after(pause, Happening::AttemptEnds(id));
    }

    pub(crate) fn millis(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.coin.bits() % (most - least + 1))
    }

    pub(crate) fn run(mut self) -> Tally {
        while let Some(Reverse((at, id))) = self.agenda.pop() {
            if at > self.ends {
                break;
            }
            self.now = self.now.max(at);
            self.check_doubts();
            let happening = self.happenings.remove(&id).expect("whatever is on the agenda happens");
            let looks = matches!(happening, Happening::Publish | Happening::Tick);
            self.happen(happening);
            if looks {
                self.check_recovery();
                self.check_changes();
            }
        }
        self.tally.trace = self.trace.finish();
        self.tally
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrival => {
                self.arrive();
                let pause = self.millis(5, 235);
                self.after(pause, Happening::Arrival);
            }
            Happening::AttemptEnds(id) => self.attempt_ends(id),
            Happening::ProbeDue(place) => self.probe_due(place),
            Happening::ProbeEnds(place, alive) => self.probe_ends(place, alive),
            Happening::ModeChanges => self.mode_changes(),
            Happening::Publish => {
                self.publish();
                self.after(CALM, Happening::Publish);
            }
            Happening::Tick => {
                let transitions = self.fleet.tick(self.now);
                self.note(transitions);
                let due = self.fleet.next_tick().expect("there are regions");
                assert!(due > self.now, "a tick settles what was due");
                // sometimes everything stops for a while: a paused machine, a starved process
                let stall = if self.coin.lands(0.002) { self.millis(0, 8_000) } else { Duration::ZERO };
                self.after(due - self.now + stall, Happening::Tick);
            }
            Happening::Reload => self.reload(),
            Happening::Jump => self.jump(),
            Happening::WallClock => {
                // a day's worth of wrong, as after a dead battery, or minutes, as after a drift
                let most = if self.coin.lands(0.5) { 11 * 60 * 60 } else { 20 * 60 };
                self.wall = seconds_within(most, &mut self.coin);
                let pause = self.millis(500, 20_000);
                self.after(pause, Happening::WallClock);
            }
            Happening::WriteProbes => self.write_probes(),
        }
    }

    /// Everything that was due meanwhile happens at once; nobody has been watched.
    fn jump(&mut self) {
        let asleep = self.millis(1_000, 900_000);
        self.now += asleep;
        // half a history is still to come
        self.ends = self.now + LENGTH / 2;
        for region in &mut self.regions {
            region.since = self.now;
            region.probes.doubted = None;
        }
        self.lonely = [self.now; 2];
        self.alone_since.iter_mut().for_each(|since| *since = None);
        self.granted = Default::default();
    }

    /// Orders, failover and buckets change; a region leaves or comes back; endpoints change, so that
    /// all that is known of their regions is forgotten.
    fn reload(&mut self) {
        let mut regions: Vec<RegionId> = self.regions.iter().map(|region| region.id.clone()).collect();
        if self.coin.lands(0.2) {
            regions.retain(|region| region.as_str() != "far");
        }
        let home = RegionId::new(if self.coin.lands(0.15) { "near" } else { "home" });
        self.access_points = rules::changed(&regions, &home, &mut self.coin);
        if self.coin.lands(0.5) {
            regions.reverse();
        }
        let renewed: Vec<RegionId> = regions.iter().filter(|_| self.coin.lands(0.1)).cloned().collect();
        for region in &mut self.regions {
            if renewed.contains(&region.id) || !regions.contains(&region.id) {
                region.probes.doubted = None;
            }
        }
        self.lonely = [self.now; 2];
        self.alone_since.iter_mut().for_each(|since| *since = None);
        let groups = self.groups();
        self.apply(Event::Reloaded { regions, renewed, groups });
        self.publish();
        self.tally.reloads += 1;
        let pause = self.millis(5_000, 60_000);
        self.after(pause, Happening::Reload);
    }

    fn write_probes(&mut self) {
        for place in 0..self.regions.len() {
            let alive = match self.regions[place].meets(self.now, &mut self.coin) {
                Mode::Refusing => Err(ProbeFault::Never(Never::Refused)),
                Mode::Hung | Mode::Cut => Err(ProbeFault::Never(Never::FirstByteTimeout)),
                Mode::ReadOnly => Err(ProbeFault::ServerError(507)),
                _ => Ok(()),
            };
            let region = self.regions[place].id.clone();
            self.apply(Event::WriteProbed { region: region.clone(), alive });
            let lag = self.millis(1, 60_000);
            self.apply(Event::Lagged { from: RegionId::new("home"), to: region, lag });
        }
        let pause = self.millis(2_000, 15_000);
        self.after(pause, Happening::WriteProbes);
    }

    /// One region changes, or we are cut off from all or from all but one; for a third of the time
    /// all are left in peace.
    fn mode_changes(&mut self) {
        let now = self.now;
        let place = below(self.regions.len(), &mut self.coin);
        let mode = Mode::drawn(&mut self.coin);
        let calm = self.coin.lands(0.35);
        let all = !calm && self.coin.lands(0.05);
        let others = !calm && self.coin.lands(0.05);
        for (at, region) in self.regions.iter_mut().enumerate() {
            let next = match (calm, all || (others && at != place)) {
                (true, _) => Mode::Well,
                (false, true) => Mode::Cut,
                (false, false) if at == place => mode,
                (false, false) => continue,
            };
            if region.mode != next {
                (region.mode, region.since) = (next, now);
            }
        }
        let pause = if calm { self.millis(1_000, 80_000) } else { self.millis(50, 20_000) };
        self.after(pause, Happening::ModeChanges);
    }

    /// Plans probes by what the table says, as the prober does when it hears of a new one.
    fn plan_probes(&mut self) {
        for place in 0..self.regions.len() {
            let Some(due) = self.probe_is_due(place) else { continue };
            let planned = &mut self.regions[place].probes.planned;
            if planned.is_none_or(|at| due < at) {
                *planned = Some(due);
                self.at(due, Happening::ProbeDue(place));
            }
        }
    }

    /// When the next probe is due; `None` while one is under way, or the region is not configured.
    fn probe_is_due(&self, place: usize) -> Option<Instant> {
        let region = &self.regions[place];
        let row = self.table.row(&region.id).filter(|_| region.probes.running.is_none())?;
        Some(region.probes.schedule.due(row.pace, row.last_answer, self.now).max(self.now))
    }

    fn probe_due(&mut self, place: usize) {
        if self.regions[place].probes.planned.is_some_and(|at| at <= self.now) {
            self.regions[place].probes.planned = None;
        }
        match self.probe_is_due(place) {
            Some(due) if due <= self.now => self.probe_starts(place),
            Some(_) => self.plan_probes(),
            None => {}
        }
    }

    fn probe_starts(&mut self, place: usize) {
        let region = &mut self.regions[place];
        region.probes.running = Some(self.now);
        let timeout = region.probes.schedule.timeout();
        let (pause, alive) = match region.meets(self.now, &mut self.coin) {
            Mode::Refusing => (Duration::from_millis(1), Err(ProbeFault::Never(Never::Refused))),
            Mode::Hung => (timeout, Err(ProbeFault::Never(Never::FirstByteTimeout))),
            Mode::Cut => (timeout, Err(ProbeFault::Never(Never::ConnectTimeout))),
            Mode::Unprobeable => (region.ttfb(), Err(ProbeFault::ServerError(500))),
            _ if region.ttfb() > timeout => (timeout, Err(ProbeFault::Never(Never::FirstByteTimeout))),
            _ => (region.ttfb(), Ok(region.ttfb())),
        };
        self.after(pause, Happening::ProbeEnds(place, alive));
    }

    fn probe_ends(&mut self, place: usize, alive: Result<Duration, ProbeFault>) {
        let (now, wall) = (self.now, self.wall);
        let region = &mut self.regions[place];
        let id = region.id.clone();
        region.probes.running = None;
        region.probes.ended = now;
        region.probes.schedule.ended(now, alive.ok(), &mut self.coin);
        if alive.is_ok() {
            region.probes.doubted = None;
            let refused = region.dates.refuses(wall);
            region.dates.seen(wall, refused, now);
        }
        self.apply(Event::Probed { region: id.clone(), alive });
        if alive.is_ok() && self.refuses(&id) {
            let sound = self.regions[place].mode_at(now) != Mode::BadCredential;
            let credential = CredentialId::Region;
            self.apply(Event::CredentialJudged { region: id, credential, sound });
        }
        self.plan_probes();
    }

    /// Whether our credential is held to be bad there; a canary asks again after each probe.
    fn refuses(&self, region: &RegionId) -> bool {
        self.table.row(region).is_some_and(|row| !row.refused_credentials.is_empty())
    }

    pub(crate) fn apply(&mut self, event: Event) {
        let transitions = self.fleet.apply(event, self.now, &mut self.coin);
        self.note(transitions);
    }

    /// Counts changes, and publishes at once where there are any, or where a probe must not wait.
    fn note(&mut self, transitions: Vec<Transition>) {
        let publish = !transitions.is_empty() || self.fleet.hurries_beyond(&self.table);
        for transition in transitions {
            self.tally.changes += 1;
            let text = format!("{} {:?} {}", transition.region, transition.subject, transition.why);
            text.hash(&mut self.trace);
            match transition.subject {
                Subject::Speed => self.tally.slow += 1,
                Subject::Probes => self.tally.alarms += 1,
                Subject::Ourselves => self.check_self_suspicion(transition.to),
                _ => {}
            }
            let Subject::Kind(kind) = transition.subject else { continue };
            self.tally.worse += u64::from(matches!(transition.to, Standing::Suspect | Standing::Out));
            if transition.to == Standing::Out {
                self.check_blame(&transition.region);
                let place = self.regions.iter().position(|region| region.id == transition.region);
                self.regions[place.expect("it exists")].probes.doubted = None;
            }
            let changes = self.changes.entry((transition.region, kind == Kind::Write)).or_default();
            changes.push_back(self.now);
        }
        if publish {
            self.publish();
        }
    }

    fn publish(&mut self) {
        self.table = Arc::new(self.fleet.table(self.now));
        self.plan_probes();
    }
}
