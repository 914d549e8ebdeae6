//! Clients' requests: planned, tried and tried again as the product does it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nearpoint::fleet::{Event, Never, Turn};
use nearpoint::names::{CredentialId, RegionId};
use nearpoint::route::{
    AccessPoint, Affinity, BodyState, GiveUp, Meaning, Outcome, Permit, Plan, Question, Scene, Sent, Stage,
    Step, Unsent, Verdict, after_canary, plan, verdict,
};
use nearpoint::s3::call::Target;
use nearpoint::s3::operation::Kind;
use nearpoint::s3::profile::Features;
use nearpoint::s3::{Call, Operation};

use crate::history::Simulation;
use crate::regions::{Mode, below};

/// One request under way.
pub(crate) struct Request {
    call: Arc<Call>,
    access_point: Arc<AccessPoint>,
    affinity: Affinity,
    key: u64,
    poison: bool,
    pub(crate) began: Instant,
    tried: Vec<RegionId>,
    pub(crate) history: Vec<(RegionId, Outcome)>,
    broken: u8,
    attempts: u8,
    /// Regions that have refused a date of it.
    redated: Vec<RegionId>,
    plan: Plan,
    region: usize,
    /// The mode in which the region took the request, and how much of it was sent.
    met: Mode,
    sent: Sent,
    /// Its date is one that the region refuses.
    skewed: bool,
    /// The next try is in the same region.
    again: bool,
    turn: Option<Turn>,
}

impl Request {
    /// The plan's first step that was not tried, else its first.
    fn next_step(&self) -> usize {
        let untried = self.plan.steps.iter().position(|step| !self.tried.contains(&step.region));
        untried.unwrap_or(0)
    }
}

impl Simulation {
    pub(crate) fn arrive(&mut self) {
        self.budget.request(self.now);
        self.granted[0].push_back(self.now);
        let at = below(self.access_points.len(), &mut self.coin);
        let access_point = Arc::clone(&self.access_points[at]);
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
            let place = below(access_point.members.len(), &mut self.coin);
            Affinity::Region(access_point.members[place].region.clone())
        } else {
            Affinity::None
        };
        match operation.facts().kind {
            Kind::Read => self.tally.reads += 1,
            Kind::Write => self.tally.writes += 1,
        }
        let call = Arc::new(call);
        let Some(plan) = self.plan(&call, &access_point, &affinity, &[]) else {
            self.check_refusal(&call, &access_point, None);
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
            redated: Vec::new(),
            plan,
            region: 0,
            met: Mode::Well,
            sent: Sent::Nothing,
            skewed: false,
            again: false,
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
        self.check_plan(&plan, call, access_point, affinity);
        Some(plan)
    }

    /// Starts the next try: the first step that was not tried, or again the same region.
    fn attempt(&mut self, id: u64, pause: Duration) {
        let now = self.now;
        let request = self.requests.get_mut(&id).expect("it is under way");
        let here = std::mem::take(&mut request.again).then(|| self.regions[request.region].id.clone());
        let mut at = request.next_step();
        if let Some(same) = request.plan.steps.iter().position(|step| Some(&step.region) == here.as_ref()) {
            at = same;
        } else if request.plan.steps[at].trial {
            let kind = request.call.facts().kind;
            let row = self.table.row(&request.plan.steps[at].region);
            request.turn = row.and_then(|row| row.of(kind).trial.take());
            if request.turn.is_none() {
                // somebody else's turn: it is tried where nothing else is left
                let step = request.plan.steps.remove(at);
                request.plan.steps.push(Step { trial: false, ..step });
                at = request.next_step();
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
        request.met = region.meets(now + pause, &mut self.coin);
        request.skewed = region.dates.refuses(self.wall);
        let fresh = self.table.row(&step.region).is_some_and(|row| row.is_fresh(now));
        let read = request.call.facts().kind == Kind::Read;
        let (length, sent) = match request.met {
            Mode::Refusing => (Duration::from_millis(1), Sent::Nothing),
            Mode::Cut => (Duration::from_secs(1), Sent::Nothing),
            Mode::Hung if read => (Duration::from_millis(500), Sent::All),
            // without 100 the body is not sent
            Mode::Hung => (Duration::from_secs(1), if fresh { Sent::All } else { Sent::Head }),
            _ => (region.ttfb(), Sent::All),
        };
        request.sent = sent;
        self.attempt_ends_after(pause + length, id);
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
            // it died under the request
            _ if region.mode_at(self.now) == Mode::Refusing => Outcome::Broken { sent: request.sent },
            Mode::Throttling => answered(503, Meaning::Throttled),
            _ if request.skewed => answered(403, Meaning::Skewed),
            Mode::BadCredential => answered(403, Meaning::Forbidden),
            _ if request.poison => answered(500, Meaning::ServerFault),
            Mode::Unreadable if !write => fault,
            Mode::Erring if self.coin.lands(0.5) => fault,
            Mode::ReadOnly if write => answered(507, Meaning::ServerFault),
            Mode::Well
            | Mode::Slow
            | Mode::Lossy
            | Mode::Erring
            | Mode::Unreadable
            | Mode::Unprobeable
            | Mode::ReadOnly
            | Mode::Flapping(_) => answered(200, Meaning::Final),
        }
    }

    pub(crate) fn attempt_ends(&mut self, id: u64) {
        let mut request = self.requests.remove(&id).expect("it is under way");
        if request.turn.take().is_some() {
            self.regions[request.region].trials_running -= 1;
        }
        let region = self.regions[request.region].id.clone();
        let outcome = self.outcome(&request);
        self.tell(&request, outcome);
        request.history.push((region.clone(), outcome));
        let redated = matches!(outcome, Outcome::Answered { meaning: Meaning::Skewed, .. });
        if redated && !request.redated.contains(&region) {
            // the same try, made anew
            request.redated.push(region.clone());
            request.attempts -= 1;
        }
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
                request.again = true;
                self.requests.insert(id, request);
                self.attempt(id, after);
            }
            Verdict::GiveUp(GiveUp::Budget) => self.spent(),
            Verdict::GiveUp(GiveUp::Poisonous) => self.failed(&request),
            Verdict::GiveUp(_) => self.lost(&request),
            Verdict::AskCanary => unreachable!("the canary was asked"),
            Verdict::Settle(_) => unreachable!("nothing here can be proven"),
        }
    }

    /// What the fleet hears of a try, and what it taught of the region's clock.
    fn tell(&mut self, request: &Request, outcome: Outcome) {
        let (now, wall) = (self.now, self.wall);
        let region = &mut self.regions[request.region];
        if let Outcome::Answered { meaning, .. } = outcome {
            self.tally.skewed += u64::from(meaning == Meaning::Skewed);
            region.dates.seen(wall, meaning == Meaning::Skewed, now);
            region.probes.doubted = None;
        }
        let id = region.id.clone();
        let facts = request.call.facts();
        if let Some(signal) = outcome.signal(Some(region.ttfb())) {
            self.apply(Event::Answered {
                region: id.clone(),
                kind: facts.kind,
                class: facts.class,
                key_hash: request.key,
                signal,
                at: now,
                count: 1,
            });
        }
        let unanswered = matches!(
            outcome,
            Outcome::NotSent(Unsent::Unreachable(_)) | Outcome::Broken { .. } | Outcome::Silent { .. }
        );
        let out = |kind| self.table.row(&id).is_none_or(|row| !row.of(kind).standing.is_eligible());
        if unanswered && !out(Kind::Read) && !out(Kind::Write) {
            let probes = &mut self.regions[request.region].probes;
            self.tally.doubts += u64::from(probes.doubted.is_none());
            probes.doubted = Some(now);
        }
    }

    fn judge(&mut self, request: &Request, outcome: Outcome) -> Verdict {
        let next = |step: &Step| !request.tried.contains(&step.region);
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
        if matches!(outcome, Outcome::Answered { meaning: Meaning::Forbidden, .. }) {
            // our credential was right again when the canary asked, so that the refusal is the client's
            self.failed(request);
            return;
        }
        self.lost(request);
    }

    /// Ten repeats a second are always granted, so it takes an outage to get here.
    fn spent(&mut self) {
        assert!(self.budget.left(self.now) < 1.0);
    }

    fn lost(&mut self, request: &Request) {
        self.failed(request);
        if !request.poison {
            self.check_refusal(&request.call, &request.access_point, Some(request));
        }
    }

    fn failed(&mut self, request: &Request) {
        match request.call.facts().kind {
            Kind::Read if request.poison => {}
            Kind::Read => self.tally.reads_failed += 1,
            Kind::Write => self.tally.writes_failed += 1,
        }
    }
}
