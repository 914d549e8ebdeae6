//! The attempt loop: from a plan to an answer, over as many regions as evidence and budget allow.
//! Every decision is `route`'s; this file asks, waits, and tells the steward what it saw.

use std::cell::{RefCell, RefMut};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use smallvec::SmallVec;
use tracing::debug;

use super::attempt::{Answer, Desk, Failed, Try, attempt};
use super::bell::Bell;
use super::booking::Hope;
use super::doubt::Doubt;
use super::errand::{ANSWERED, CANCELLED, Errand, Journey, Reached, Unanswered};
use super::lane::Lane;
use super::meters::Meters;
use super::moved::{self, Place};
use super::skew;
use super::tls::MachineRoots;
use crate::body::progress::Pace;
use crate::body::source::HOLD_BACK;
use crate::body::{Reply, Source};
use crate::chance::Coin;
use crate::clock::Clock;
use crate::credentials;
use crate::dns::Resolver;
use crate::dns::accrual::Blame;
use crate::fleet::{self, Digest, Event, Never, PATIENCE_MOST, Signal, Standing};
use crate::http1::answer::Reason;
use crate::names::{CredentialId, RegionId};
use crate::publish::Published;
use crate::route::hedge::Hedges;
use crate::route::{
    self, BodyState, Budget, GiveUp, Hedge, Meaning, Outcome, Permit, Plan, Question, Sent, Stage, Step,
    Unsent, Verdict,
};
use crate::s3::Call;
use crate::s3::operation::{BodyKind, Class, Facts, Kind};
use crate::s3::reply::code_in_head;
use crate::s3::xml::{self, StoreError};
use crate::sigv4::{Credential, KeyCache};
use crate::steward;
use crate::telemetry::access::TryNote;
use crate::telemetry::metric::{self, Metric};
use crate::units::UnixSeconds;
use crate::view::{FirstByte, RegionSettings, Timeouts, View};

/// Most of an error document that is read: S3's are below 4 KiB.
const ERROR_DOCUMENT: usize = 64 * 1024;
/// How long an error document may take.
const ERROR_DOCUMENT_WAIT: Duration = Duration::from_secs(2);
/// How long a read may take until its answer's head, over all regions.
const READ_DEADLINE: Duration = Duration::from_secs(30);
/// One in so many of `limits.in_flight` may at a time be trying regions that are not fit.
const HOPES: usize = 10;
/// Addresses that one request remembers to have failed it: more than it has tries.
const ADDRESSES_AVOIDED: usize = 8;
/// How long a request may wait for a place in the rate of a region that asked for less. Longer
/// would pile requests up; shorter would refuse what a steady client is owed.
const RATE_WAIT: Duration = Duration::from_millis(100);
/// A region takes what is above another's rate while it has fewer requests at work than this share
/// of `limits.in_flight_per_region`, in tenths.
const ROOM_USED: usize = 7;
const ROOM_PARTS: usize = 10;
/// How long a write may take: progress clocks end it long before.
const WRITE_DEADLINE: Duration = Duration::from_hours(24);

/// Everything one worker needs to reach the regions.
pub struct Exchange {
    /// Reads time.
    pub clock: Clock,
    /// Names to addresses.
    pub resolver: Resolver,
    /// Whose name requests go in.
    pub credentials: credentials::Store,
    /// What all workers see of the regions.
    pub meters: Arc<Meters>,
    /// Who is told what happened.
    pub steward: steward::Handle,
    /// Successes that the steward was not told of yet.
    pub digest: RefCell<Digest>,
    /// The view in force.
    pub view: Published<View>,
    /// Rung when a view is published.
    pub bell: Bell,
    /// The authorities this machine trusts.
    pub roots: MachineRoots,
    /// How many workers share what the process may spend.
    pub workers: usize,
    /// Repeats that may be spent: [`Self::budget_in_force`].
    pub budget: RefCell<Budget>,
    /// What second tries of slow reads go by.
    pub hedges: RefCell<Hedges>,
    /// Pauses and trials.
    pub coin: RefCell<Coin>,
    /// Keys derived for signing.
    pub keys: RefCell<KeyCache>,
    /// The ways to the regions, built when first used.
    pub lanes: RefCell<Lanes>,
}

/// The ways of one worker, for one set of region settings.
#[derive(Default)]
pub struct Lanes {
    regions: Option<Arc<[Arc<RegionSettings>]>>,
    ways: Vec<Rc<Lane>>,
}

impl Exchange {
    /// Carries a request to a region and brings the answer, or says why there is none. What
    /// happened on the way is in `journey` in any case.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn run(
        &self,
        errand: &Errand<'_>,
        plan: Plan,
        journey: &RefCell<Journey>,
    ) -> Result<Reached, Unanswered> {
        Run::new(self, errand, journey).go(plan).await
    }

    /// A client's request came: it earns its share of a repeat, which our own questions do not.
    pub fn earn(&self) {
        self.budget_in_force(&self.view.load()).request(self.clock.mono());
    }

    /// The budget, with what this view grants: a reload changes it at once.
    pub(super) fn budget_in_force(&self, view: &View) -> RefMut<'_, Budget> {
        #[expect(clippy::cast_precision_loss, reason = "a number of cores")]
        let floor = view.limits.retry_floor.0 / self.workers.max(1) as f64;
        let mut budget = self.budget.borrow_mut();
        budget.grant(view.limits.retry_share.0, floor);
        budget
    }

    /// The way to a region, where it is configured and its TLS could be set up.
    #[must_use]
    pub fn lane(&self, view: &View, region: &RegionId) -> Option<Rc<Lane>> {
        let mut lanes = self.lanes.borrow_mut();
        if !lanes.regions.as_ref().is_some_and(|known| Arc::ptr_eq(known, &view.regions)) {
            let kept = std::mem::take(&mut lanes.ways);
            lanes.ways = kept
                .into_iter()
                .filter(|lane| view.region(&lane.region).is_some_and(|settings| *settings == lane.settings))
                .collect();
            lanes.regions = Some(Arc::clone(&view.regions));
        }
        if let Some(lane) = lanes.ways.iter().find(|lane| lane.region == *region) {
            return Some(Rc::clone(lane));
        }
        let settings = view.region(region)?;
        let lane = Rc::new(self.open(settings)?);
        lanes.ways.push(Rc::clone(&lane));
        Some(lane)
    }

    fn open(&self, settings: &Arc<RegionSettings>) -> Option<Lane> {
        let tls = match Lane::tls(settings, &self.roots) {
            Ok(tls) => tls,
            Err(fault) => {
                tracing::error!(region = %settings.id, %fault, "TLS of a region cannot be set up");
                return None;
            }
        };
        let meter = self.meters.of(&settings.id);
        Some(Lane::new(Arc::clone(settings), tls, meter, self.resolver.clone(), self.clock))
    }
}

/// What operators count of requests that nobody answered.
fn count(reason: GiveUp, step: &Step) {
    match reason {
        GiveUp::Budget => metric::counter(Metric::BudgetExhausted, &[]).increment(1),
        GiveUp::Ambiguous => metric::counter(Metric::WritesUnsettled, &[step.region.as_str()]).increment(1),
        GiveUp::BodySpent
        | GiveUp::TooLate
        | GiveUp::NoRegion
        | GiveUp::Poisonous
        | GiveUp::Attempts
        | GiveUp::Deadline
        // counted where it is met: `UpstreamConnects`
        | GiveUp::Shortage => {}
    }
}

fn deadline_of(permit: &Permit) -> Duration {
    let facts = permit.call().facts();
    if facts.kind == Kind::Read && facts.body == BodyKind::Empty { READ_DEADLINE } else { WRITE_DEADLINE }
}

pub(super) struct Run<'a> {
    pub(super) exchange: &'a Exchange,
    pub(super) errand: &'a Errand<'a>,
    pub(super) journey: &'a RefCell<Journey>,
    started: Instant,
    deadline: Instant,
    pub(super) attempts: u8,
    pub(super) tried: SmallVec<[RegionId; 4]>,
    /// Regions whose connection, a fresh one, ended after it had taken the head.
    broken: SmallVec<[RegionId; 4]>,
    /// Regions that have refused the date of a try.
    redated: SmallVec<[RegionId; 2]>,
    /// Regions that have said that the bucket is elsewhere.
    moved: SmallVec<[RegionId; 2]>,
    /// A kept connection had ended, or ended after it had taken the head: no other is risked.
    pub(super) distrusts_kept: bool,
    /// Addresses, of whatever region, at which a try failed.
    pub(super) avoid: RefCell<SmallVec<[SocketAddr; 2]>>,
    /// When, by our clock, the first try began that may have been carried out, or else the last one.
    pub(super) written_at: UnixSeconds,
    /// A try before the last one may have been carried out.
    acted: bool,
    /// When a repeat would come too late to be harmless.
    send_by: Option<Instant>,
}

/// A step, and the turn that goes with it where the region is on trial.
pub(super) struct Turn {
    pub(super) step: Step,
    trial: Option<fleet::Turn>,
    /// Of a last resort: its share of those that may be tried at a time.
    hope: Option<Hope>,
    /// The region whose rate it is above, where it is sent to another for that.
    moved_from: Option<RegionId>,
    /// No other fit region is left to try.
    pub(super) alone: bool,
}

/// A try that ended in an answer, read as far as judging it takes.
pub(super) struct Judged {
    pub(super) outcome: Outcome,
    /// It ended on a kept connection, which may have been stale: no evidence against the request.
    kept: bool,
    /// One address's affair: another one has just shown that the region is alive.
    blame: Blame,
    pub(super) answer: Option<Reached>,
    /// What a success may have inside.
    doubt: Doubt,
}

impl<'a> Run<'a> {
    pub(super) fn new(exchange: &'a Exchange, errand: &'a Errand<'a>, journey: &'a RefCell<Journey>) -> Self {
        let moment = exchange.clock.now();
        let now = moment.mono;
        Self {
            exchange,
            errand,
            journey,
            started: now,
            deadline: now + deadline_of(errand.permit),
            attempts: 0,
            tried: SmallVec::new(),
            broken: SmallVec::new(),
            redated: SmallVec::new(),
            moved: SmallVec::new(),
            distrusts_kept: false,
            avoid: RefCell::default(),
            written_at: moment.wall,
            acted: false,
            send_by: None,
        }
    }

    async fn go(&mut self, plan: Plan) -> Result<Reached, Unanswered> {
        let first = self.first_open(&plan);
        let mut second = first.as_ref().ok().and_then(|turn| self.second(&plan, &turn.step));
        let mut failover = plan.failover;
        self.journey.borrow_mut().why = Some(plan.why);
        let mut turn = first?;
        let mut before = None;
        loop {
            let step = turn.step.clone();
            if !self.keeps_rate(&step, turn.moved_from.take()).await {
                return before.ok_or(Unanswered::Throttled);
            }
            if !self.acted && self.attempts > 0 {
                self.written_at = self.exchange.clock.now().wall;
            }
            let (step, judged) = if let Some(second) = second.take() {
                // Boxed: most requests are none of these, and their futures stay as small.
                let (step, judged) = Box::pin(self.try_two(step, second)).await?;
                // whatever is repeated in the same region is repeated in this one
                turn.step = step.clone();
                (step, judged)
            } else {
                let judged = self.try_once(&step, turn.alone).await?;
                (step, judged)
            };
            // At most once a request, as a stale connection is: the same try, made anew, in its turn.
            if !judged.outcome.is_stale() && !self.is_made_anew(&step, &judged) {
                self.attempts += 1;
                drop((turn.trial.take(), turn.hope.take()));
            }
            if !self.tried.contains(&step.region) {
                self.tried.push(step.region.clone());
            }
            if judged.outcome.is_final() {
                return judged.answer.ok_or(Unanswered::GaveUp(GiveUp::Ambiguous));
            }
            let fresh = (self.errand.replan)(&self.tried);
            let (next, refusing) = match fresh.as_ref().map(|plan| self.first_open(plan)) {
                Ok(Ok(next)) => (Some(next), false),
                Ok(Err(unanswered)) => (None, matches!(unanswered, Unanswered::Refusing)),
                Err(_) => (None, false),
            };
            let next = next.filter(|next| !self.tried.contains(&next.step.region));
            let alone = next.is_none();
            let question = self.question(failover, &step, &judged, !alone);
            let mut verdict = self.decide(&question, &step).await;
            if let Verdict::Settle(loss) = verdict {
                verdict = match Box::pin(self.settle(&question, loss, &step)).await {
                    Ok(settled) => return Ok(settled),
                    Err(verdict) => verdict,
                };
            }
            self.acted |= judged.outcome.may_have_acted();
            match verdict {
                Verdict::Relay | Verdict::AskCanary | Verdict::Settle(_) => {
                    return judged.answer.ok_or(Unanswered::GaveUp(GiveUp::Ambiguous));
                }
                Verdict::GiveUp(reason) => {
                    count(reason, &step);
                    return Err(Unanswered::GaveUp(reason));
                }
                // the region went out meanwhile, and probes ask it more often than we would
                Verdict::SameAgain { .. } if refusing && !self.acted && judged.outcome.is_not_sent() => {
                    return before.ok_or(Unanswered::Refusing);
                }
                Verdict::SameAgain { after, within } => {
                    self.send_by = within.map(|within| self.exchange.clock.mono() + within);
                    turn.alone |= alone;
                    self.pause(after, &step).await;
                }
                Verdict::Next => {
                    let (Ok(fresh), Some(next)) = (fresh, next) else {
                        return judged.answer.ok_or(Unanswered::GaveUp(GiveUp::NoRegion));
                    };
                    (failover, turn, self.send_by) = (fresh.failover, next, None);
                }
            }
            // what blames us is not told while another region may answer
            before = judged.answer.filter(|_| judged.outcome.is_the_regions_fault());
        }
    }

    /// The first step that is not full and, where it is a trial, gives us the turn. A trial that
    /// is somebody else's turn is taken all the same where the plan has nothing else.
    pub(super) fn first_open(&self, plan: &Plan) -> Result<Turn, Unanswered> {
        let view = self.exchange.view.load();
        let most = usize::try_from(view.limits.in_flight_per_region).unwrap_or(usize::MAX);
        let now = self.exchange.clock.mono();
        let open = |step: &&Step| self.exchange.meters.of(&step.region).in_flight() < most;
        let refuses = |step: &Step| step.last_resort && self.exchange.meters.of(&step.region).refuses(now);
        let turn = |step: &Step, trial| match self.spared(step, plan, &view, most) {
            Some(spare) => self.turn(plan, spare, None, &view, Some(step)),
            None => self.turn(plan, step, trial, &view, None),
        };
        if plan.steps.iter().all(refuses) {
            return Err(Unanswered::Refusing);
        }
        for step in plan.steps.iter().filter(|step| !refuses(step)).filter(open) {
            let row = view.table.row(&step.region).filter(|_| step.trial);
            match row.map(|row| row.of(self.kind()).trial.take()) {
                Some(None) if !self.tried.contains(&step.region) => {}
                trial => return turn(step, trial.flatten()),
            }
        }
        turn(plan.steps.iter().filter(|step| !refuses(step)).find(open).ok_or(Unanswered::Full)?, None)
    }

    /// Where a read goes that is above a region's rate: to another one that the plan allows and
    /// that is not itself near what it can take, so that one throttled region does not push over
    /// the next. `None` where it is not above the rate, or must wait: of two writes of a key that go
    /// to two regions which serve, the older might win by their clocks.
    fn spared<'p>(&self, step: &Step, plan: &'p Plan, view: &View, most: usize) -> Option<&'p Step> {
        if self.kind() == Kind::Write {
            return None;
        }
        let now = self.exchange.clock.mono();
        let rate = view.table.row(&step.region)?.rate?;
        let meter = |region: &RegionId| self.exchange.meters.of(region);
        if meter(&step.region).has_slot(rate.limit, now) {
            return None;
        }
        plan.steps.iter().find(|other| {
            let rate = view.table.row(&other.region).and_then(|row| row.rate);
            let ordinary = !other.trial && !other.last_resort && other.region != step.region;
            ordinary
                && !self.tried.contains(&other.region)
                && rate.is_none_or(|rate| rate.has_room())
                && meter(&other.region).in_flight() * ROOM_PARTS < most * ROOM_USED
        })
    }

    /// Keeps to the rate of a region that asked for less: waits for a place in it, or says that
    /// there is none.
    async fn keeps_rate(&self, step: &Step, moved_from: Option<RegionId>) -> bool {
        let rate = self.exchange.view.load().table.row(&step.region).and_then(|row| row.rate);
        let held = |region: &RegionId, how| {
            metric::counter(Metric::RegionRateHeld, &[region.as_str(), how]).increment(1);
        };
        if let Some(from) = moved_from {
            held(&from, "moved");
        }
        let Some(rate) = rate else { return true };
        let now = self.exchange.clock.mono();
        match self.exchange.meters.of(&step.region).book(rate.limit, RATE_WAIT, now) {
            Some(Duration::ZERO) => true,
            Some(wait) => {
                held(&step.region, "waited");
                tokio::time::sleep(wait).await;
                true
            }
            None => {
                held(&step.region, "refused");
                false
            }
        }
    }

    /// A step's turn; of a last resort, where there is room for one more hope.
    fn turn(
        &self,
        plan: &Plan,
        step: &Step,
        trial: Option<fleet::Turn>,
        view: &View,
        instead_of: Option<&Step>,
    ) -> Result<Turn, Unanswered> {
        let hope = if step.last_resort {
            let most = usize::try_from(view.limits.in_flight).unwrap_or(usize::MAX) / HOPES;
            Some(self.exchange.meters.hope(most.max(1)).ok_or(Unanswered::Hopeless)?)
        } else {
            None
        };
        let moved_from = instead_of.map(|step| step.region.clone());
        let other = |other: &Step| {
            other.region != step.region && !other.last_resort && !self.tried.contains(&other.region)
        };
        Ok(Turn { step: step.clone(), trial, hope, moved_from, alone: !plan.steps.iter().any(other) })
    }

    fn question(
        &mut self,
        failover: bool,
        step: &Step,
        judged: &Judged,
        next_exists: bool,
    ) -> Question<'static> {
        let permit = self.errand.permit;
        let now = self.exchange.clock.mono();
        let attempts_max = self.exchange.view.load().limits.attempts;
        let broken_elsewhere = self.broken_elsewhere(step, judged);
        let source = self.errand.source;
        Question {
            facts: permit.call().facts(),
            conditional: permit.call().conditional_write,
            wildcard: permit.access_point().is_wildcard(),
            provable: self.errand.written.is_some(),
            own_credential: permit.credential(&step.region) != CredentialId::Region,
            outcome: judged.outcome,
            body: BodyState {
                empty: source.length() == 0,
                untouched: !source.touched(),
                replayable: source.replayable(),
            },
            failover,
            next_exists,
            attempts_made: self.attempts,
            attempts_max: u8::try_from(attempts_max).unwrap_or(u8::MAX),
            broken_elsewhere: u8::try_from(broken_elsewhere).unwrap_or(u8::MAX),
            acted_before: self.acted,
            since_first_try: now.saturating_duration_since(self.started),
            deadline_left: self.deadline.saturating_duration_since(now),
        }
    }

    async fn decide(&self, question: &Question<'_>, step: &Step) -> Verdict {
        let now = self.exchange.clock.mono();
        let verdict = {
            let mut budget = self.exchange.budget_in_force(&self.exchange.view.load());
            let mut coin = self.exchange.coin.borrow_mut();
            route::verdict(question, &mut budget, &mut coin, now)
        };
        if verdict != Verdict::AskCanary {
            return verdict;
        }
        let before = self.place(step);
        let sound = (self.errand.canary)(step).await;
        let mut question = *question;
        if let (true, Outcome::Answered { status, .. }) = (before != self.place(step), question.outcome) {
            // it was told where the bucket is, and so are we
            question.outcome = Outcome::Answered { status, meaning: Meaning::Moved };
        }
        let moved = matches!(question.outcome, Outcome::Answered { meaning: Meaning::Moved, .. });
        let now = self.exchange.clock.mono();
        let mut budget = self.exchange.budget_in_force(&self.exchange.view.load());
        let mut coin = self.exchange.coin.borrow_mut();
        if moved {
            return route::verdict(&question, &mut budget, &mut coin, now);
        }
        route::after_canary(&question, sound, &mut budget, &mut coin, now)
    }

    /// Other regions whose connection this request has ended, where it has just ended one more. A
    /// kept connection may have been stale: it proves nothing, but the next ones will be fresh.
    fn broken_elsewhere(&mut self, step: &Step, judged: &Judged) -> usize {
        let took_head = matches!(judged.outcome, Outcome::Broken { sent } if sent != Sent::Nothing);
        if judged.outcome.is_stale() || (took_head && judged.kept) {
            self.distrusts_kept = true;
            return 0;
        }
        let elsewhere = self.broken.iter().filter(|region| **region != step.region).count();
        if took_head {
            self.broken.push(step.region.clone());
        }
        elsewhere
    }

    /// Whether a try was only refused for its date or for where it asked for the bucket, and that for the
    /// first time in this region: it is made anew as it should be, and takes none of the tries that other
    /// regions may need.
    fn is_made_anew(&mut self, step: &Step, judged: &Judged) -> bool {
        let before = match judged.outcome {
            Outcome::Answered { meaning: Meaning::Skewed, .. } => &mut self.redated,
            Outcome::Answered { meaning: Meaning::Moved, .. } => &mut self.moved,
            _ => return false,
        };
        let first = !before.contains(&step.region);
        if first {
            before.push(step.region.clone());
        }
        first
    }

    /// Waits before the same region is asked again.
    async fn pause(&self, after: Duration, step: &Step) {
        debug!(region = %step.region, ms = after.as_millis(), "the same region is asked again");
        if !after.is_zero() {
            tokio::time::sleep(after).await;
        }
    }

    pub(super) async fn try_once(&mut self, step: &Step, alone: bool) -> Result<Judged, Unanswered> {
        let began = self.exchange.clock.mono();
        let (judged, ttfb) = self.ask(step, alone, began).await?;
        self.note(step, &judged, began, ttfb);
        Ok(judged)
    }

    /// One try, whose outcome nobody is told yet; with it the time to its first byte.
    pub(super) async fn ask(
        &self,
        step: &Step,
        alone: bool,
        began: Instant,
    ) -> Result<(Judged, Option<Duration>), Unanswered> {
        let view = self.exchange.view.load_full();
        let last = u32::from(self.attempts) + 1 >= view.limits.attempts;
        let others = if last {
            Others::None
        } else if alone {
            Others::Here
        } else {
            Others::Elsewhere
        };
        let patience = patience(&view, step, self.errand.permit, self.errand.source, others);
        match self.send(&view, step, alone, began, patience).await {
            Ok((answer, moved)) => {
                let ttfb = answer.ttfb;
                Ok((self.read(answer, step, moved).await, Some(ttfb)))
            }
            Err(Failed::Client(fault)) => Err(Unanswered::Body(fault)),
            Err(Failed::Target) => Err(Unanswered::Target),
            Err(Failed::Region { outcome, kept, address, blame }) => {
                // a kept connection that was stale says nothing about where it went
                let met = address.filter(|_| !(kept && outcome.is_stale()));
                let mut avoid = self.avoid.borrow_mut();
                let room = avoid.len() < ADDRESSES_AVOIDED;
                avoid.extend(met.filter(|_| room));
                drop(avoid);
                let silent = matches!(outcome, Outcome::Silent { stage: Stage::FirstByte, .. });
                if silent && blame == Blame::Region {
                    self.tell_given_up(step, began, patience);
                }
                Ok((Judged { outcome, kept, blame, answer: None, doubt: Doubt::None }, None))
            }
        }
    }

    fn kind(&self) -> Kind {
        self.errand.permit.call().facts().kind
    }

    /// One try; with its answer the settings that it went by, where they are not the region's own.
    async fn send(
        &self,
        view: &Arc<View>,
        step: &Step,
        alone: bool,
        now: Instant,
        patience: Duration,
    ) -> Result<(Answer, Option<Arc<RegionSettings>>), Failed> {
        let unreachable = || Failed::region(Outcome::NotSent(Unsent::StandingChanged));
        let (lane, credential) = self.way(view, step).ok_or_else(unreachable)?;
        let moved = self.moved(&lane, step);
        let settings = moved.as_ref().unwrap_or(&lane.settings);
        let prepared = (self.errand.prepare)(step, settings);
        let facts = self.errand.permit.call().facts();
        let kind = facts.kind;
        let still_worth_waiting = |region: &RegionId| {
            let view = self.exchange.view.load();
            step.is_worth_waiting(
                alone && !self.errand.in_hand,
                view.table.row(region).map(|row| row.of(kind)),
            )
        };
        let desk = Desk {
            clock: self.exchange.clock,
            timeouts: &view.timeouts,
            bell: &self.exchange.bell,
            keys: &self.exchange.keys,
            still_worth_waiting: &still_worth_waiting,
        };
        let this = Try {
            expect: expects(view, step, &lane, self.errand, facts.body, now),
            lane: &lane,
            settings,
            source: self.errand.source,
            credential,
            patience,
            repeatable: kind == Kind::Read,
            fresh: self.distrusts_kept,
            avoid: self.avoid.borrow().clone(),
            send_by: self.send_by,
            deadline: self.deadline,
        };
        Ok((attempt(&desk, &this, prepared).await?, moved))
    }

    /// By which settings a step's bucket is asked for, where not by the region's own.
    pub(super) fn moved(&self, lane: &Lane, step: &Step) -> Option<Arc<RegionSettings>> {
        lane.moved(self.bucket(step))
    }

    /// Where it is asked for, where not as the region is configured.
    fn place(&self, step: &Step) -> Option<Place> {
        let lane = self.exchange.lane(&self.exchange.view.load(), &step.region)?;
        lane.meter.moved.of(self.bucket(step)?, &lane.settings)
    }

    /// The bucket as the region of a step knows it.
    fn bucket<'b>(&'b self, step: &'b Step) -> Option<&'b str> {
        step.bucket
            .as_ref()
            .map_or_else(|| self.errand.permit.call().bucket(), |bucket| Some(bucket.as_str()))
    }

    /// The way to a region, and whose name is used there: nobody's where requests go unsigned.
    pub(super) fn way(&self, view: &View, step: &Step) -> Option<(Rc<Lane>, Option<Arc<Credential>>)> {
        let lane = self.exchange.lane(view, &step.region)?;
        if self.errand.anonymous {
            return Some((lane, None));
        }
        let own = (self.errand.own_credential)(&step.region);
        let region = || self.exchange.credentials.current(&step.region, &CredentialId::Region);
        Some((lane, Some(own.or_else(region)?)))
    }

    /// Reads what judging an answer takes: of errors the document, of the rest nothing.
    async fn read(&self, answer: Answer, step: &Step, went_by: Option<Arc<RegionSettings>>) -> Judged {
        let Answer { mut head, body, connection, pool, request_sent, ttfb: _, ahead, in_flight } = answer;
        let view = self.exchange.view.load();
        let facts = self.errand.permit.call().facts();
        let pace = reply_pace(&view.timeouts, facts);
        let idle_max = view.timeouts.upstream_idle;
        drop(view);
        let clock = self.exchange.clock;
        // An early answer leaves the rest of our body in the pipe: never used again. A refusal of a
        // longer body may be early although the last byte was handed over, to the socket's buffer.
        let longer = self.errand.source.length() > HOLD_BACK;
        let whole = request_sent && !(longer && head.status.as_u16() >= 400);
        let release = Box::new(move || {
            drop(in_flight);
            if whole {
                pool.put(connection, idle_max, clock.mono());
            }
        });
        let mut body = Reply::stream(body, pace, release);
        let (mut error, mut doubt) = (None, Doubt::None);
        if head.status == StatusCode::OK && facts.doubtful_success {
            doubt = Box::pin(super::doubt::look_inside(&head.headers, &mut body)).await;
        }
        match &doubt {
            Doubt::Cut => {
                let outcome = Outcome::Broken { sent: Sent::All };
                return Judged { outcome, kept: false, blame: Blame::Region, answer: None, doubt };
            }
            Doubt::Error(status) => head.status = *status,
            Doubt::None | Doubt::Unread | Doubt::Faults => {}
        }
        let status = head.status.as_u16();
        let bare = facts.rule.method == "HEAD";
        if status >= 300 && status != 304 && !bare {
            let read = tokio::time::timeout(ERROR_DOCUMENT_WAIT, body.collect(ERROR_DOCUMENT)).await;
            let document: Bytes = read.ok().flatten().unwrap_or_default();
            error = xml::read_error(&document);
            body = Reply::full(document);
        }
        let told = if bare { self.told_by_head(&head, &step.region) } else { None };
        let code = error.as_ref().map(|error: &StoreError| error.code.as_str()).or(told.as_deref());
        let meaning = if bare { Meaning::of_head(status, code) } else { Meaning::read(status, code) };
        let meaning = match meaning {
            Meaning::Forbidden if self.knows_its_clock_now(&head.headers, code, &step.region, ahead) => {
                Meaning::Skewed
            }
            Meaning::Misplaced | Meaning::Forbidden
                if self.knows_the_bucket_now(&head, error.as_ref(), step, went_by.as_ref()) =>
            {
                Meaning::Moved
            }
            meaning => meaning,
        };
        let outcome = Outcome::Answered { status, meaning };
        let answer = Some(Reached { head, body, error, step: step.clone() });
        if !matches!(doubt, Doubt::None | Doubt::Unread) {
            metric::counter(Metric::DoubtfulSuccesses, &[step.region.as_str()]).increment(1);
        }
        Judged { outcome, kept: false, blame: Blame::Region, answer, doubt }
    }

    /// What the answer to a HEAD says without a document.
    fn told_by_head(&self, head: &http::response::Parts, region: &RegionId) -> Option<String> {
        let throttles = self.exchange.meters.of(region).throttles(self.exchange.clock.mono());
        code_in_head(head.status, &head.headers, reason(head), throttles).map(str::to_owned)
    }

    /// Whether a HEAD was taken for throttled only since the region had asked for less before: that is no
    /// reason to believe it for longer.
    fn is_only_inferred(&self, judged: &Judged) -> bool {
        let to_head = self.errand.permit.call().facts().rule.method == "HEAD";
        let said = judged.answer.as_ref().is_some_and(|answer| {
            code_in_head(answer.head.status, &answer.head.headers, reason(&answer.head), false).is_some()
        });
        to_head && !said
    }

    /// Whether a refusal is of our clock (it says so, or says nothing and is dated far from what we
    /// signed), and the region's clock is known better now than when the request was dated.
    fn knows_its_clock_now(
        &self,
        headers: &http::HeaderMap,
        code: Option<&str>,
        region: &RegionId,
        ahead: i64,
    ) -> bool {
        if code.is_some_and(|code| code != "RequestTimeTooSkewed") {
            return false;
        }
        let offset = self.exchange.meters.of(region).clock_refused(headers, self.exchange.clock.now());
        let off = (offset - ahead).abs();
        if code.is_some() { off > 1 } else { off >= skew::PLAIN }
    }

    /// Whether a refusal is of where the bucket was asked for, for the first time in this region, and it is
    /// known now where to ask. A 403 is none, whatever region it names.
    fn knows_the_bucket_now(
        &self,
        head: &http::response::Parts,
        error: Option<&StoreError>,
        step: &Step,
        went_by: Option<&Arc<RegionSettings>>,
    ) -> bool {
        if head.status == StatusCode::FORBIDDEN || self.moved.contains(&step.region) || self.errand.anonymous
        {
            return false;
        }
        let (Some(told), Some(bucket)) = (moved::told(head.status, &head.headers, error), self.bucket(step))
        else {
            return false;
        };
        let Some(lane) = self.exchange.lane(&self.exchange.view.load(), &step.region) else { return false };
        let (configured, at) = (&lane.settings, went_by.unwrap_or(&lane.settings));
        let (configured, at) = (Place::configured(configured), Place::configured(at));
        lane.meter.moved.learn((&step.region, bucket), told, &configured, &at).is_some()
    }

    /// Tells the steward how a try ended: failures at once, successes together.
    pub(super) fn tell(&self, region: &RegionId, signal: Signal) {
        let call = self.errand.permit.call();
        let (kind, class) = (call.facts().kind, call.facts().class);
        let (steward, mut digest) = (&self.exchange.steward, self.exchange.digest.borrow_mut());
        if let Signal::Answered { ttfb } = signal {
            let settled = self.exchange.view.load().table.standing(region, kind) == Standing::Healthy;
            let now = self.exchange.clock.mono();
            let told = digest.success(region, (kind, class), ttfb, settled, now);
            told.into_iter().for_each(|event| steward.report(event));
            return;
        }
        digest.failure(region).into_iter().for_each(|event| steward.report(event));
        let (region, key_hash) = (region.clone(), hash_of(call));
        let at = self.exchange.clock.mono();
        steward.report(Event::Answered { region, kind, class, key_hash, signal, at, count: 1 });
    }

    /// Tells the steward of a read that was waited for in vain, and not woken by news.
    fn tell_given_up(&self, step: &Step, began: Instant, waited: Duration) {
        let facts = self.errand.permit.call().facts();
        let at = self.exchange.clock.mono();
        if facts.kind == Kind::Read && at.saturating_duration_since(began) >= waited {
            let (region, class) = (step.region.clone(), facts.class);
            self.exchange.steward.report(Event::GivenUp { region, class, waited, at });
        }
    }

    /// Tells the steward and the journey.
    pub(super) fn note(&self, step: &Step, judged: &Judged, began: Instant, ttfb: Option<Duration>) {
        let (facts, outcome) = (self.errand.permit.call().facts(), &judged.outcome);
        if let Some(ttfb) = ttfb.filter(|_| self.errand.permit.access_point().hedge != Hedge::Off) {
            self.exchange.hedges.borrow_mut().observe(&step.region, facts.class, ttfb);
        }
        let throttled = matches!(outcome, Outcome::Answered { meaning: Meaning::Throttled, .. });
        if throttled && !self.is_only_inferred(judged) {
            self.exchange.meters.of(&step.region).learn_throttled(self.exchange.clock.mono());
        }
        let signal = match judged.doubt {
            // a success until more of it is read, which the fleet is not told of
            Doubt::Unread => None,
            Doubt::Faults => Some(Signal::ServerError(StatusCode::INTERNAL_SERVER_ERROR.as_u16())),
            Doubt::None | Doubt::Error(_) | Doubt::Cut => {
                outcome.signal(ttfb.filter(|_| measurable(facts.body)))
            }
        };
        if let Some(signal) = signal.filter(|_| judged.answer.is_some() || judged.blame == Blame::Region) {
            self.tell(&step.region, signal);
        }
        let mut journey = self.journey.borrow_mut();
        journey.ttfb = ttfb.or(journey.ttfb);
        journey.notes.push(self.noted_as(step, began, word(outcome)));
    }

    /// Notes a try that was given up because another had won: nothing is to be said against its
    /// region, and it would have taken longer than this.
    pub(super) fn note_cancelled(&self, step: &Step, began: Instant) {
        let waited = self.exchange.clock.mono().saturating_duration_since(began);
        let class = self.errand.permit.call().facts().class;
        self.exchange.hedges.borrow_mut().observe(&step.region, class, waited);
        self.journey.borrow_mut().notes.push(self.noted_as(step, began, CANCELLED));
    }

    fn noted_as(&self, step: &Step, began: Instant, outcome: &'static str) -> TryNote {
        let at = began.saturating_duration_since(self.errand.came);
        let at_us = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
        TryNote { region: step.region.clone(), at_us, outcome }
    }
}

/// Tells one poisonous key from another.
fn hash_of(call: &Call) -> u64 {
    let mut hasher = DefaultHasher::new();
    (call.bucket(), call.key()).hash(&mut hasher);
    hasher.finish()
}

/// Whether time to first byte says something of the region: a streamed body is as slow as its client.
fn measurable(body: BodyKind) -> bool {
    match body {
        BodyKind::Empty | BodyKind::Document => true,
        BodyKind::Stream => false,
    }
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::NotSent(Unsent::Unreachable(Never::Refused)) => "refused",
        Outcome::NotSent(Unsent::Unreachable(Never::ConnectTimeout)) => "connect timeout",
        Outcome::NotSent(Unsent::Unreachable(Never::Dns)) => "no address",
        Outcome::NotSent(Unsent::Unreachable(Never::Tls)) => "tls failed",
        Outcome::NotSent(Unsent::Unreachable(Never::Reset | Never::FirstByteTimeout)) => "reset",
        Outcome::NotSent(Unsent::StandingChanged) => "standing changed",
        Outcome::NotSent(Unsent::Shortage) => "shortage",
        Outcome::NotSent(Unsent::TooLate) => "too late",
        Outcome::Stale { .. } => "stale",
        Outcome::Broken { .. } => "broken",
        Outcome::Silent { .. } => "silent",
        Outcome::Answered { meaning: Meaning::ServerFault, .. } => "server fault",
        Outcome::Answered { meaning: Meaning::Throttled, .. } => "throttled",
        Outcome::Answered { meaning: Meaning::Forbidden, .. } => "forbidden",
        Outcome::Answered { meaning: Meaning::Skewed, .. } => "clock refused",
        Outcome::Answered { meaning: Meaning::Misplaced, .. } => "misplaced",
        Outcome::Answered { meaning: Meaning::Moved, .. } => "moved",
        Outcome::Answered {
            meaning: Meaning::Final | Meaning::BodyRefused | Meaning::NoSuchUpload, ..
        } => ANSWERED,
    }
}

/// What would be tried after a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Others {
    /// Another region.
    Elsewhere,
    /// The same region, perhaps at another address of it.
    Here,
    /// Nothing.
    None,
}

/// The words behind an answer's status, where they are not the usual ones.
fn reason(head: &http::response::Parts) -> Option<&[u8]> {
    head.extensions.get().map(|Reason(words)| &**words)
}

/// How long the first byte of an answer may take once the request is out.
fn patience(view: &View, step: &Step, permit: &Permit, source: &Source, others: Others) -> Duration {
    let timeouts: &Timeouts = &view.timeouts;
    let facts = permit.call().facts();
    match (facts.class, facts.kind) {
        (Class::Long, _) => timeouts.complete,
        // a write, or a question that is answered by reading a whole object: SelectObjectContent
        (_, Kind::Write | Kind::Read) if source.length() > 0 => timeouts.put_answer,
        (_, Kind::Write) => PATIENCE_MOST,
        (Class::Get | Class::List | Class::Put, Kind::Read) => match timeouts.first_byte {
            FirstByte::Fixed(patience) => patience,
            // nothing is won by giving up what nobody else would ever answer
            FirstByte::Auto if others == Others::None && permit.access_point().members.len() == 1 => {
                READ_DEADLINE
            }
            FirstByte::Auto if others != Others::Elsewhere => PATIENCE_MOST,
            FirstByte::Auto => {
                let row = view.table.row(&step.region);
                row.map_or(PATIENCE_MOST, |row| row.patience_of(facts.class))
            }
        },
    }
}

/// How much of an answer must come in which time. What takes a store minutes is kept alive by it with
/// white space, and a search with messages that say nothing.
fn reply_pace(timeouts: &Timeouts, facts: &Facts) -> Pace {
    match facts.class {
        Class::Long => Pace::sign_of_life(timeouts.complete),
        _ if facts.doubtful_success || facts.body == BodyKind::Document => {
            Pace::sign_of_life(timeouts.body_progress)
        }
        Class::Get | Class::List | Class::Put => Pace::over(timeouts.body_progress),
    }
}

/// Whether the body waits for `100 Continue`: long ones, which could not be sent twice, strangers',
/// which only the region may let in, and any to a region that is not known to be well this very second.
fn expects(view: &View, step: &Step, lane: &Lane, errand: &Errand<'_>, body: BodyKind, now: Instant) -> bool {
    const FRESH: Duration = Duration::from_secs(1);
    let source = errand.source;
    if source.length() == 0 || body != BodyKind::Stream || lane.meter.is_mute(now) {
        return false;
    }
    let healthy = view.table.standing(&step.region, Kind::Write) == Standing::Healthy;
    let long = source.length() > view.limits.replay_body.0;
    long || errand.anonymous || !healthy || !lane.meter.fresh(now, FRESH)
}
