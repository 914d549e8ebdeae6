//! Seeded histories of regions that die, hang, err, flap and come back, played into the fleet and
//! the routing on a virtual clock. After each step what must always hold is looked at.
//!
//! `SIM_SEED=n cargo test --test simulation` replays one seed.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "the whole file is a test; a broken simulation should stop"
)]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nearpoint::chance::Coin;
use nearpoint::fleet::{
    Event, Fleet, FleetSettings, Never, Pace, ProbeFault, RegionTable, Standing, Subject, Transition, Turn,
};
use nearpoint::names::{AccessPointName, BucketName, CredentialId, RegionId};
use nearpoint::route::{
    AccessPoint, Affinity, BodyState, Budget, ConditionalWrites, EtagCheck, Etags, GiveUp, Hedge, LagShield,
    Meaning, Member, Order, Outcome, Permit, Plan, Question, Replication, Rule, Scene, Sent, Stage, Unsent,
    Verdict, Versions, after_canary, plan, verdict,
};
use nearpoint::s3::call::Target;
use nearpoint::s3::operation::Kind;
use nearpoint::s3::profile::Features;
use nearpoint::s3::{Call, Operation};

/// Histories per run.
const SEEDS: u64 = 256;

/// How long each is.
const LENGTH: Duration = Duration::from_mins(2);

/// A region that is well for so long is no longer out: the longest ejection, the longest pause
/// between probes, five probes, and some air.
const HEALED: Duration = Duration::from_secs(60 + 5 + 3 + 2);

/// The same where no other region serves: a probe that is still timing out, five fast probes of a
/// slow region, and some air. (Requests are sent there all the while, and none may fail.)
const HEALED_ALONE: Duration = Duration::from_millis(500 + 5 * (250 + 250 + 330) + 500);

/// How often a probe's turn is looked at.
const PROBE_LOOK: Duration = Duration::from_millis(250);

/// Changes of standing a minute, of one region and kind, whatever happens: while nothing else
/// serves a region is out for a second at least, and four changes make a round.
const CHANGES_A_MINUTE: usize = 240;

/// The same while another region serves all the time: ejections double, so there are six at most,
/// and a suspicion lasts five seconds.
const CHANGES_A_MINUTE_IN_COMPANY: usize = 6 * 4 + 12 * 2;

/// What a region really does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Mode {
    Well,
    Slow,
    Refusing,
    Hung,
    /// Connections are not answered.
    Cut,
    /// Half of the requests fail; probes pass.
    Erring,
    /// Every read fails; probes pass.
    Unreadable,
    /// Requests are answered; probes fail.
    Unprobeable,
    /// It asks for less whenever it is asked for anything.
    Throttling,
    /// Writes fail.
    ReadOnly,
    /// It refuses our credential.
    BadCredential,
    /// Well and refusing by turns of so many milliseconds.
    Flapping(u64),
}

const MODES: [Mode; 13] = [
    Mode::Well,
    Mode::Slow,
    Mode::Refusing,
    Mode::Hung,
    Mode::Cut,
    Mode::Erring,
    Mode::Unreadable,
    Mode::Unprobeable,
    Mode::Throttling,
    Mode::ReadOnly,
    Mode::BadCredential,
    Mode::Flapping(300),
    Mode::Flapping(4_000),
];

#[derive(Debug)]
struct Region {
    id: RegionId,
    ttfb: Duration,
    mode: Mode,
    /// Since when it has been in this mode.
    since: Instant,
    trials_running: u32,
    /// When its last probe ended, or the start.
    probed: Instant,
}

impl Region {
    fn mode_at(&self, now: Instant) -> Mode {
        match self.mode {
            Mode::Flapping(period) => {
                let turn = (now - self.since).as_millis() / u128::from(period);
                if turn.is_multiple_of(2) { Mode::Refusing } else { Mode::Well }
            }
            mode => mode,
        }
    }

    /// Whether it has answered reads as it should since then.
    fn is_well_since(&self, start: Instant) -> bool {
        matches!(self.mode, Mode::Well | Mode::Slow | Mode::ReadOnly) && self.since <= start
    }

    fn ttfb(&self) -> Duration {
        if self.mode == Mode::Slow { self.ttfb + Duration::from_millis(250) } else { self.ttfb }
    }
}

/// What happens at an instant.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Arrival,
    AttemptEnds(u64),
    ProbeStarts(usize),
    ProbeEnds(usize, Result<Duration, ProbeFault>),
    ModeChanges,
    Publish,
    Tick,
    Reload,
    /// The machine sleeps, and the clock goes on.
    Jump,
    /// Something is written to every region, and looked for in the others.
    WriteProbes,
}

/// One request under way.
struct Request {
    call: Arc<Call>,
    access_point: Arc<AccessPoint>,
    affinity: Affinity,
    key: u64,
    poison: bool,
    began: Instant,
    tried: Vec<RegionId>,
    history: Vec<(RegionId, Outcome)>,
    broken: u8,
    attempts: u8,
    plan: Plan,
    region: usize,
    /// The mode in which the region took the request, and how much of it was sent.
    met: Mode,
    sent: Sent,
    turn: Option<Turn>,
}

struct Simulation {
    ends: Instant,
    now: Instant,
    coin: Coin,
    agenda: BinaryHeap<Reverse<(Instant, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    next_id: u64,
    regions: Vec<Region>,
    fleet: Fleet,
    table: Arc<RegionTable>,
    access_points: Vec<Arc<AccessPoint>>,
    budget: Budget,
    /// When requests came and when repeats were granted, over the last seconds.
    granted: [VecDeque<Instant>; 2],
    requests: BTreeMap<u64, Request>,
    changes: BTreeMap<(RegionId, bool), VecDeque<Instant>>,
    /// When a kind of request last had fewer than two regions serving.
    lonely: [Instant; 2],
    /// Since when no other region serves reads, by region.
    alone_since: Vec<Option<Instant>>,
    /// One access point has the nearest region only.
    indispensable: bool,
    seed: u64,
    trace: DefaultHasher,
    tally: Tally,
}

/// The defaults, but that regions whose probes contradict their requests are awaited no longer than
/// others: a history is too short for more.
fn settings() -> FleetSettings {
    let contradicted = Duration::from_secs(20);
    FleetSettings { contradicted, contradicted_cap: Duration::from_mins(1), ..FleetSettings::default() }
}

/// Which regions serve an access point together: all of them, and in every third history one alone.
fn groups(seed: u64, ids: &[RegionId]) -> Vec<Vec<RegionId>> {
    let mut groups = vec![ids.to_vec()];
    if seed.is_multiple_of(3) {
        groups.push(vec![RegionId::new("near")]);
    }
    groups
}

/// What a history came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    reads: u64,
    reads_failed: u64,
    writes: u64,
    writes_failed: u64,
    moved: u64,
    trials: u64,
    changes: u64,
    slow: u64,
    alarms: u64,
    self_suspect: u64,
    trace: u64,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        #[expect(clippy::disallowed_methods, reason = "a virtual clock needs an instant to count from")]
        let start = Instant::now();
        let mut coin = Coin::seeded(seed);
        let regions: Vec<Region> = [("home", 20), ("near", 4), ("far", 80)]
            .into_iter()
            .map(|(name, ttfb)| Region {
                id: RegionId::new(name),
                ttfb: Duration::from_millis(ttfb),
                mode: if coin.lands(0.2) { Mode::Refusing } else { Mode::Well },
                since: start,
                trials_running: 0,
                probed: start,
            })
            .collect();
        let ids: Vec<RegionId> = regions.iter().map(|region| region.id.clone()).collect();
        let fleet = Fleet::new(settings(), &ids, start).shared_by(groups(seed, &ids));
        let table = Arc::new(fleet.table(start));
        let mut simulation = Self {
            ends: start + LENGTH,
            now: start,
            agenda: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            next_id: 0,
            access_points: access_points(&ids),
            budget: Budget::new(0.2, 10.0, start),
            granted: Default::default(),
            requests: BTreeMap::new(),
            changes: BTreeMap::new(),
            lonely: [start; 2],
            alone_since: vec![Some(start); regions.len()],
            indispensable: seed.is_multiple_of(3),
            seed,
            trace: DefaultHasher::new(),
            tally: Tally::default(),
            regions,
            fleet,
            table,
            coin,
        };
        simulation.plan_ahead();
        simulation
    }

    fn plan_ahead(&mut self) {
        for place in 0..self.regions.len() {
            self.after(Duration::ZERO, Happening::ProbeStarts(place));
        }
        let from_the_start = [
            Happening::Arrival,
            Happening::Publish,
            Happening::Tick,
            Happening::ModeChanges,
            Happening::WriteProbes,
        ];
        for happening in from_the_start {
            self.after(Duration::from_millis(1), happening);
        }
        self.after(Duration::from_secs(50), Happening::Reload);
        if self.coin.lands(0.25) {
            let asleep = self.millis(10_000, 100_000);
            self.after(asleep, Happening::Jump);
        }
    }

    fn after(&mut self, pause: Duration, happening: Happening) {
        let id = self.next_id;
        self.next_id += 1;
        self.agenda.push(Reverse((self.now + pause, id)));
        self.happenings.insert(id, happening);
    }

    fn millis(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.coin.bits() % (most - least + 1))
    }

    fn run(mut self) -> Tally {
        while let Some(Reverse((at, id))) = self.agenda.pop() {
            if at > self.ends {
                break;
            }
            self.now = self.now.max(at);
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
                let pause = self.millis(5, 195);
                self.after(pause, Happening::Arrival);
            }
            Happening::AttemptEnds(id) => self.attempt_ends(id),
            Happening::ProbeStarts(place) => self.probe_starts(place),
            Happening::ProbeEnds(place, alive) => self.probe_ends(place, alive),
            Happening::ModeChanges => self.mode_changes(),
            Happening::Publish => {
                self.publish();
                self.after(Duration::from_millis(100), Happening::Publish);
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
            Happening::Reload => {
                let regions: Vec<RegionId> =
                    self.regions.iter().rev().map(|region| region.id.clone()).collect();
                let renewed = regions.iter().filter(|_| self.coin.lands(0.3)).cloned().collect();
                let groups = groups(self.seed, &regions);
                self.apply(Event::Reloaded { regions, renewed, groups });
                self.publish();
            }
            Happening::Jump => self.jump(),
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
        }
        self.lonely = [self.now; 2];
        self.alone_since.iter_mut().for_each(|since| *since = None);
        self.granted = Default::default();
    }

    fn write_probes(&mut self) {
        for place in 0..self.regions.len() {
            let alive = match self.regions[place].mode_at(self.now) {
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

    /// One region changes, or all are cut off at once; for a third of the time all are left in peace.
    fn mode_changes(&mut self) {
        let now = self.now;
        let place = usize::try_from(self.coin.bits() % 3).expect("below three");
        let mode = MODES[usize::try_from(self.coin.bits() % 13).expect("below thirteen")];
        let calm = self.coin.lands(0.35);
        let all = !calm && self.coin.lands(0.05);
        for (at, region) in self.regions.iter_mut().enumerate() {
            let next = match (calm, all) {
                (true, _) => Mode::Well,
                (false, true) => Mode::Cut,
                (false, false) => mode,
            };
            if (calm || all || at == place) && region.mode != next {
                (region.mode, region.since) = (next, now);
            }
        }
        let pause = if calm { self.millis(1_000, 90_000) } else { self.millis(50, 20_000) };
        self.after(pause, Happening::ModeChanges);
    }

    /// Looks a few times a second whether a probe is due: how soon may change meanwhile.
    fn probe_starts(&mut self, place: usize) {
        let region = &self.regions[place];
        let pause = match self.fleet.probe_interval(&region.id) {
            Pace::Normal => Duration::from_millis(900),
            Pace::Fast(pause) | Pace::Down(pause) => pause,
        };
        if self.now < region.probed + pause {
            self.after(PROBE_LOOK, Happening::ProbeStarts(place));
            return;
        }
        let timeout = Duration::from_millis(500);
        let (pause, alive) = match region.mode_at(self.now) {
            Mode::Refusing => (Duration::from_millis(1), Err(ProbeFault::Never(Never::Refused))),
            Mode::Hung => (timeout, Err(ProbeFault::Never(Never::FirstByteTimeout))),
            Mode::Cut => (timeout, Err(ProbeFault::Never(Never::ConnectTimeout))),
            Mode::Unprobeable => (region.ttfb(), Err(ProbeFault::ServerError(500))),
            Mode::Well
            | Mode::Slow
            | Mode::Erring
            | Mode::Unreadable
            | Mode::Throttling
            | Mode::ReadOnly
            | Mode::BadCredential
            | Mode::Flapping(_) => (region.ttfb(), Ok(region.ttfb())),
        };
        self.after(pause, Happening::ProbeEnds(place, alive));
    }

    fn probe_ends(&mut self, place: usize, alive: Result<Duration, ProbeFault>) {
        let id = self.regions[place].id.clone();
        self.apply(Event::Probed { region: id.clone(), alive });
        if alive.is_ok() && self.refuses(&id) {
            let sound = self.regions[place].mode_at(self.now) != Mode::BadCredential;
            let credential = CredentialId::Region;
            self.apply(Event::CredentialJudged { region: id.clone(), credential, sound });
        }
        self.regions[place].probed = self.now;
        self.after(PROBE_LOOK, Happening::ProbeStarts(place));
    }

    /// Whether our credential is held to be bad there; a canary asks again after each probe.
    fn refuses(&self, region: &RegionId) -> bool {
        self.table.row(region).is_some_and(|row| !row.refused_credentials.is_empty())
    }

    fn apply(&mut self, event: Event) {
        let transitions = self.fleet.apply(event, self.now, &mut self.coin);
        self.note(transitions);
    }

    /// Counts changes, and publishes at once where there are any.
    fn note(&mut self, transitions: Vec<Transition>) {
        if transitions.is_empty() {
            return;
        }
        for transition in transitions {
            self.tally.changes += 1;
            let text = format!("{} {:?} {}", transition.region, transition.subject, transition.why);
            text.hash(&mut self.trace);
            match transition.subject {
                Subject::Speed => self.tally.slow += 1,
                Subject::Probes => self.tally.alarms += 1,
                Subject::Ourselves => self.check_doubt(transition.to),
                _ => {}
            }
            let Subject::Kind(kind) = transition.subject else { continue };
            if transition.to == Standing::Out {
                self.check_blame(&transition.region);
            }
            let changes = self.changes.entry((transition.region, kind == Kind::Write)).or_default();
            changes.push_back(self.now);
        }
        self.publish();
    }

    /// Where we suspect ourselves nothing is held against anybody.
    fn check_doubt(&mut self, to: Standing) {
        let table = self.fleet.table(self.now);
        assert_eq!(table.self_suspect(), to == Standing::Suspect);
        if table.self_suspect() {
            self.tally.self_suspect += 1;
            for row in table.rows() {
                assert_eq!(row.reads.standing, Standing::Out, "{row:?}");
            }
        }
    }

    /// Nobody is out for asking for less, however long.
    fn check_blame(&self, region: &RegionId) {
        let region = self.regions.iter().find(|known| known.id == *region).expect("it exists");
        let long = self.now - region.since > Duration::from_secs(20);
        assert!(!(region.mode == Mode::Throttling && long), "{region:?} is out for asking for less");
    }

    fn publish(&mut self) {
        self.table = Arc::new(self.fleet.table(self.now));
    }

    fn arrive(&mut self) {
        self.budget.request(self.now);
        self.granted[0].push_back(self.now);
        let access_point = {
            let at = self.coin.bits() % self.access_points.len() as u64;
            Arc::clone(&self.access_points[usize::try_from(at).expect("few")])
        };
        let roll = self.coin.share();
        let operation = match roll {
            _ if roll < 0.70 => Operation::GetObject,
            _ if roll < 0.90 => Operation::PutObject,
            _ if roll < 0.95 => Operation::DeleteObject,
            _ => Operation::UploadPart,
        };
        let poison = operation == Operation::GetObject && self.coin.lands(0.1);
        let key = if poison { 666 } else { self.coin.bits() };
        let target = Target::Object { bucket: "b".to_owned(), raw_key: "k".to_owned(), key: b"k".to_vec() };
        let mut call = Call::new(operation, target);
        call.conditional_write = operation == Operation::PutObject && self.coin.lands(0.1);
        let affinity = if operation == Operation::UploadPart {
            let place = usize::try_from(self.coin.bits() % 3).expect("below three");
            Affinity::Region(self.regions[place].id.clone())
        } else {
            Affinity::None
        };
        match operation.facts().kind {
            Kind::Read => self.tally.reads += 1,
            Kind::Write => self.tally.writes += 1,
        }
        let call = Arc::new(call);
        let Some(plan) = self.plan(&call, &access_point, &affinity, &[]) else {
            self.refused(&call, &access_point, self.now, &[]);
            return;
        };
        let id = self.next_id;
        self.next_id += 1;
        let request = Request {
            call,
            access_point,
            affinity,
            key,
            poison,
            began: self.now,
            tried: Vec::new(),
            history: Vec::new(),
            broken: 0,
            attempts: 0,
            plan,
            region: 0,
            met: Mode::Well,
            sent: Sent::Nothing,
            turn: None,
        };
        self.requests.insert(id, request);
        self.attempt(id, Duration::ZERO);
    }

    /// Plans, and checks the plan against what the access point allows.
    fn plan(
        &mut self,
        call: &Arc<Call>,
        access_point: &Arc<AccessPoint>,
        affinity: &Affinity,
        tried: &[RegionId],
    ) -> Option<Plan> {
        let permit = Permit::granted(Arc::clone(access_point), None, Arc::clone(call), affinity.clone());
        let table = Arc::clone(&self.table);
        let scene = Scene { table: &table, honours: &|_| Features::NONE, tried, attempts: 3, now: self.now };
        let plan = plan(&permit, &scene, &mut self.coin).ok()?;
        let allowed = allowed(call, access_point, affinity);
        let out = |step: &RegionId| table.standing(step, call.facts().kind) == Standing::Out;
        for step in &plan.steps {
            assert!(allowed.contains(&step.region), "{call:?} must not go to {}", step.region);
            let fine = step.last_resort || plan.steps.len() == 1 || !out(&step.region);
            assert!(fine, "a region that is out is a last resort: {}", plan.why);
        }
        assert!(!plan.steps.is_empty());
        if call.facts().kind == Kind::Read && *affinity == Affinity::None {
            let fit = |id: &&RegionId| {
                let row = table.row(id).expect("every region has its row");
                row.reads.standing.is_eligible() && row.refused_credentials.is_empty()
            };
            for region in allowed.iter().filter(fit) {
                let planned = plan.steps.iter().any(|step| step.region == *region);
                assert!(planned, "{region} serves, slow or not, and is left out: {}", plan.why);
            }
        }
        Some(plan)
    }

    /// Starts the next try: the first step that was not tried, or again the same region.
    fn attempt(&mut self, id: u64, pause: Duration) {
        let now = self.now;
        let request = self.requests.get_mut(&id).expect("it is under way");
        let untried = request.plan.steps.iter().position(|step| !request.tried.contains(&step.region));
        let mut at = untried.unwrap_or(0);
        if request.plan.steps[at].trial {
            let kind = request.call.facts().kind;
            let row = self.table.row(&request.plan.steps[at].region).expect("it was planned");
            request.turn = row.of(kind).trial.take();
            if request.turn.is_none() {
                request.plan.put_off(at);
                let untried =
                    request.plan.steps.iter().position(|step| !request.tried.contains(&step.region));
                at = untried.unwrap_or(0);
            }
        }
        let step = request.plan.steps[at].clone();
        let place = self.regions.iter().position(|region| region.id == step.region).expect("it exists");
        let region = &mut self.regions[place];
        if request.turn.is_some() {
            region.trials_running += 1;
            self.tally.trials += 1;
        }
        assert!(region.trials_running <= 2, "one trial at a time (for reads, and for writes)");
        request.region = place;
        request.attempts += 1;
        request.met = region.mode_at(now + pause);
        let fresh = self.table.row(&step.region).is_some_and(|row| row.is_fresh(now));
        let read = request.call.facts().kind == Kind::Read;
        let (length, sent) = match request.met {
            Mode::Refusing => (Duration::from_millis(1), Sent::Nothing),
            Mode::Cut => (Duration::from_secs(1), Sent::Nothing),
            Mode::Hung if read => (Duration::from_millis(500), Sent::All),
            // without 100 the body is not sent
            Mode::Hung => (Duration::from_secs(1), if fresh { Sent::All } else { Sent::Head }),
            Mode::Well
            | Mode::Slow
            | Mode::Erring
            | Mode::Unreadable
            | Mode::Unprobeable
            | Mode::Throttling
            | Mode::ReadOnly
            | Mode::BadCredential
            | Mode::Flapping(_) => (region.ttfb(), Sent::All),
        };
        request.sent = sent;
        self.after(pause + length, Happening::AttemptEnds(id));
    }

    fn outcome(&mut self, request: &Request) -> Outcome {
        let region = &self.regions[request.region];
        let write = request.call.facts().kind == Kind::Write;
        let answered = |status, meaning| Outcome::Answered { status, meaning };
        let fault = answered(503, Meaning::ServerFault);
        match request.met {
            Mode::Refusing => Outcome::NotSent(Unsent::Unreachable(Never::Refused)),
            Mode::Cut => Outcome::NotSent(Unsent::Unreachable(Never::ConnectTimeout)),
            Mode::Hung => Outcome::Silent { sent: request.sent, stage: Stage::FirstByte },
            Mode::BadCredential => answered(403, Meaning::Forbidden),
            // it died under the request
            _ if region.mode_at(self.now) == Mode::Refusing => Outcome::Broken { sent: request.sent },
            Mode::Throttling => answered(503, Meaning::Throttled),
            _ if request.poison => answered(500, Meaning::ServerFault),
            Mode::Unreadable if !write => fault,
            Mode::Erring if self.coin.lands(0.5) => fault,
            Mode::ReadOnly if write => answered(507, Meaning::ServerFault),
            Mode::Well
            | Mode::Slow
            | Mode::Erring
            | Mode::Unreadable
            | Mode::Unprobeable
            | Mode::ReadOnly
            | Mode::Flapping(_) => answered(200, Meaning::Final),
        }
    }

    fn attempt_ends(&mut self, id: u64) {
        let mut request = self.requests.remove(&id).expect("it is under way");
        if request.turn.take().is_some() {
            self.regions[request.region].trials_running -= 1;
        }
        let region = self.regions[request.region].id.clone();
        let outcome = self.outcome(&request);
        let facts = request.call.facts();
        if let Some(signal) = outcome.signal(Some(self.regions[request.region].ttfb())) {
            let (kind, class, key_hash) = (facts.kind, facts.class, request.key);
            self.apply(Event::Answered {
                region: region.clone(),
                kind,
                class,
                key_hash,
                signal,
                at: self.now,
                count: 1,
            });
        }
        request.history.push((region.clone(), outcome));
        if !request.tried.contains(&region) {
            request.tried.push(region);
        }
        let follows = self.judge(&request, outcome);
        if matches!(outcome, Outcome::Broken { .. }) {
            request.broken += 1;
        }
        match follows {
            Verdict::Relay => self.relayed(&request, outcome),
            Verdict::Next => {
                self.tally.moved += 1;
                let (call, access_point) = (Arc::clone(&request.call), Arc::clone(&request.access_point));
                let affinity = request.affinity.clone();
                let planned = self.plan(&call, &access_point, &affinity, &request.tried);
                request.plan = planned.expect("a plan that moved once can be made again");
                self.requests.insert(id, request);
                self.attempt(id, Duration::ZERO);
            }
            Verdict::SameAgain { after, .. } => {
                self.requests.insert(id, request);
                self.attempt(id, after);
            }
            Verdict::GiveUp(GiveUp::Budget) => self.spent(),
            Verdict::GiveUp(GiveUp::Poisonous) => self.failed(&request),
            Verdict::GiveUp(_) => {
                self.failed(&request);
                if !request.poison {
                    self.refused(&request.call, &request.access_point, request.began, &request.history);
                }
            }
            Verdict::AskCanary => unreachable!("the canary was asked"),
            Verdict::Settle(_) => unreachable!("nothing here can be proven"),
        }
    }

    fn judge(&mut self, request: &Request, outcome: Outcome) -> Verdict {
        let next = |step: &nearpoint::route::Step| !request.tried.contains(&step.region);
        let deletes = request.call.operation == Operation::DeleteObject;
        let read = request.call.facts().kind == Kind::Read;
        let question = Question {
            facts: request.call.facts(),
            conditional: request.call.conditional_write,
            wildcard: false,
            provable: false,
            own_credential: false,
            outcome,
            body: BodyState { empty: read || deletes, untouched: false, replayable: true },
            failover: request.plan.failover,
            next_exists: request.plan.steps.iter().any(next),
            attempts_made: request.attempts,
            attempts_max: 3,
            broken_elsewhere: request.broken,
            acted_before: request.history.iter().rev().skip(1).any(|(_, before)| before.may_have_acted()),
            since_first_try: self.now - request.began,
            deadline_left: Duration::from_secs(30).saturating_sub(self.now - request.began),
        };
        let first = verdict(&question, &mut self.budget, &mut self.coin, self.now);
        if first != Verdict::AskCanary {
            let free = matches!(outcome, Outcome::NotSent(_));
            self.count_repeat(first, free);
            return first;
        }
        let region = &self.regions[request.region];
        let sound = region.mode_at(self.now) != Mode::BadCredential;
        let event =
            Event::CredentialJudged { region: region.id.clone(), credential: CredentialId::Region, sound };
        self.apply(event);
        let second = after_canary(&question, sound, &mut self.budget, &mut self.coin, self.now);
        self.count_repeat(second, false);
        second
    }

    fn count_repeat(&mut self, verdict: Verdict, free: bool) {
        if !free && matches!(verdict, Verdict::Next | Verdict::SameAgain { .. }) {
            self.granted[1].push_back(self.now);
            self.check_budget();
        }
    }

    fn relayed(&mut self, request: &Request, outcome: Outcome) {
        let good = matches!(outcome, Outcome::Answered { meaning: Meaning::Final, .. });
        if good {
            return;
        }
        if self.budget.left(self.now) < 1.0 {
            self.spent();
            return;
        }
        self.failed(request);
        if !request.poison {
            self.refused(&request.call, &request.access_point, request.began, &request.history);
        }
    }

    /// Ten repeats a second are always granted, so it takes an outage to get here.
    fn spent(&mut self) {
        assert!(self.budget.left(self.now) < 1.0);
    }

    fn failed(&mut self, request: &Request) {
        match request.call.facts().kind {
            Kind::Read if request.poison => {}
            Kind::Read => self.tally.reads_failed += 1,
            Kind::Write => self.tally.writes_failed += 1,
        }
    }

    /// A read that may move fails only if no region could answer it all the while.
    fn refused(
        &mut self,
        call: &Call,
        access_point: &AccessPoint,
        began: Instant,
        history: &[(RegionId, Outcome)],
    ) {
        let table = &self.table;
        if call.facts().kind == Kind::Write {
            return;
        }
        let allowed = allowed(call, access_point, &Affinity::None);
        let spared =
            self.regions.iter().find(|region| allowed.contains(&region.id) && region.is_well_since(began));
        assert!(
            spared.is_none(),
            "a read failed that {spared:?} could have answered; {history:?}; {table:?}"
        );
    }

    fn check_recovery(&mut self) {
        let now = self.now;
        let standings: Vec<Standing> =
            self.regions.iter().map(|region| self.table.standing(&region.id, Kind::Read)).collect();
        for (place, region) in self.regions.iter().enumerate() {
            let others = standings.iter().enumerate().filter(|(other, _)| *other != place);
            let alone = !others.map(|(_, standing)| standing).copied().any(Standing::is_serving);
            let since = alone.then(|| self.alone_since[place].unwrap_or(now));
            self.alone_since[place] = since;
            let eligible = standings[place].is_eligible();
            let well_for = |bound: Duration| region.since + bound <= now && region.is_well_since(now);
            assert!(eligible || !well_for(HEALED), "{} is well and still out", region.id);
            let alone_for = since.is_some_and(|since| now - since >= HEALED_ALONE);
            let needed = alone_for && well_for(HEALED_ALONE + region.ttfb());
            assert!(
                eligible || !needed,
                "{} is well and needed, and still out; {:?} {now:?} {:?}",
                region.id,
                self.table,
                self.regions
            );
        }
    }

    /// With each repeat: no more of them than a fifth of the requests and ten a second. The budget
    /// counts by whole seconds, so its window is between nine and ten of them.
    fn check_budget(&mut self) {
        let now = self.now;
        for (times, reach) in self.granted.iter_mut().zip([10, 9]) {
            while times.front().is_some_and(|at| now - *at > Duration::from_secs(reach)) {
                times.pop_front();
            }
        }
        let [requests, repeats] = &self.granted;
        assert!(repeats.len() * 5 <= requests.len() + 500, "{} of {}", repeats.len(), requests.len());
    }

    fn check_changes(&mut self) {
        let now = self.now;
        for (slot, kind) in [Kind::Read, Kind::Write].into_iter().enumerate() {
            let serving = self.table.rows().iter().filter(|row| row.of(kind).standing.is_serving()).count();
            if serving < 2 {
                self.lonely[slot] = now;
            }
        }
        let minute = Duration::from_mins(1);
        for ((region, write), changes) in &mut self.changes {
            while changes.front().is_some_and(|at| now - *at > minute) {
                changes.pop_front();
            }
            let lonely = self.lonely[usize::from(*write)];
            let needed = self.indispensable && region.as_str() == "near";
            let bound =
                if now - lonely > minute && !needed { CHANGES_A_MINUTE_IN_COMPANY } else { CHANGES_A_MINUTE };
            assert!(changes.len() <= bound, "{region} changed {} times in a minute", changes.len());
        }
    }
}

/// Three access points that differ in what they allow.
fn access_points(ids: &[RegionId]) -> Vec<Arc<AccessPoint>> {
    let member =
        |id: &RegionId| Member { region: id.clone(), bucket: Some(BucketName::new(&format!("b-{id}"))) };
    let plain = AccessPoint {
        name: AccessPointName::new("plain"),
        alias: None,
        members: ids.iter().map(member).collect(),
        reads: Rule { order: Order::Nearest, failover: true },
        writes: Rule { order: Order::Home, failover: false },
        home: ids[0].clone(),
        conditional_writes: ConditionalWrites::Home,
        replication: Replication::TwoWay,
        versions: Versions::PerRegion,
        etags: Etags::Opaque,
        hedge: Hedge::Off,
        write_nonce: true,
        etag_check: EtagCheck::Auto,
        lag_shield: LagShield::default(),
    };
    let free = AccessPoint {
        name: AccessPointName::new("free"),
        reads: Rule { order: Order::Home, failover: true },
        writes: Rule { order: Order::Nearest, failover: true },
        ..plain.clone()
    };
    let pair = Order::List(vec![ids[2].clone(), ids[0].clone()]);
    let listed = AccessPoint {
        name: AccessPointName::new("listed"),
        writes: Rule { order: pair, failover: true },
        ..plain.clone()
    };
    [plain, free, listed].into_iter().map(Arc::new).collect()
}

/// Where a request may go, by the words of the configuration and nothing else.
fn allowed(call: &Call, access_point: &AccessPoint, affinity: &Affinity) -> Vec<RegionId> {
    if let Affinity::Region(region) = affinity {
        return vec![region.clone()];
    }
    let all = || access_point.members.iter().map(|member| member.region.clone()).collect();
    match (call.facts().kind, access_point.name.as_str()) {
        (Kind::Write, _) if call.conditional_write => vec![RegionId::new("home")],
        (Kind::Write, "plain") => vec![RegionId::new("home")],
        (Kind::Write, "listed") => vec![RegionId::new("far"), RegionId::new("home")],
        (Kind::Read | Kind::Write, _) => all(),
    }
}

fn play(seed: u64) -> Tally {
    let simulation = Simulation::new(seed);
    match catch_unwind(AssertUnwindSafe(|| simulation.run())) {
        Ok(tally) => tally,
        Err(cause) => {
            eprintln!("replay with SIM_SEED={seed}");
            resume_unwind(cause)
        }
    }
}

#[test]
fn whatever_happens_the_house_holds() {
    #[expect(clippy::disallowed_methods, reason = "the seed to replay comes from whoever debugs")]
    let replay = std::env::var("SIM_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    if let Some(seed) = replay {
        println!("{:?}", play(seed));
        return;
    }
    let halves = std::thread::scope(|scope| {
        let halves =
            [0, 1].map(|half| scope.spawn(move || (half..SEEDS).step_by(2).map(play).collect::<Vec<_>>()));
        halves.map(|half| half.join().unwrap_or_else(|cause| resume_unwind(cause)))
    });
    let mut sum = Tally::default();
    for tally in halves.iter().flatten() {
        sum.reads += tally.reads;
        sum.reads_failed += tally.reads_failed;
        sum.writes += tally.writes;
        sum.writes_failed += tally.writes_failed;
        sum.moved += tally.moved;
        sum.trials += tally.trials;
        sum.changes += tally.changes;
        sum.slow += tally.slow;
        sum.alarms += tally.alarms;
        sum.self_suspect += tally.self_suspect;
    }
    println!("{sum:?}");
    // a simulation in which nothing happens proves nothing
    assert!(sum.moved > SEEDS && sum.trials > SEEDS && sum.changes > SEEDS, "{sum:?}");
    assert!(sum.slow > SEEDS / 4 && sum.alarms > SEEDS / 16 && sum.self_suspect > SEEDS / 16, "{sum:?}");
    assert!(sum.reads_failed * 10 < sum.reads, "{sum:?}");
}

#[test]
fn a_seed_replays_exactly() {
    assert_eq!(play(7), play(7));
    assert_ne!(play(7).trace, play(8).trace);
}
