//! Going on with a reply that broke off: asks region after region for what is missing until one
//! proves to have it. What may be asked, and what proves it, is `route::resume`'s to say.

use std::cell::RefCell;

use super::attempt::Prepared;
use super::errand::{Errand, Journey, Reached};
use super::run::{Exchange, Run, Turn};
use crate::body::Reply;
use crate::fleet::{Never, Signal};
use crate::names::RegionId;
use crate::route::resume::{self, Ask, Broken, Heard, How, Terms, Thread};
use crate::route::{Outcome, Plan, Step};
use crate::s3::profile::Features;
use crate::telemetry::metric::{self, Metric};
use crate::view::RegionSettings;

/// What is sent to the region of a step for an ask.
pub type Asking<'a> = &'a dyn Fn(&Step, &RegionSettings, &Ask) -> Prepared;

/// What came of going on with a reply.
pub enum Resumption {
    /// The rest, and the thread in the region that it comes from.
    Rest(Reply, Box<Thread>),
    /// Every byte had been delivered.
    Complete,
    /// Nobody has the rest, or could prove it.
    Abandoned(Abandoned),
}

/// Why a reply was not gone on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abandoned {
    /// It broke off more often than `limits.resumes`.
    Limit,
    /// Too many requests are being repeated.
    Budget,
    /// No region could prove to have the same version, or none may be asked.
    NoRegion,
    /// Those asked did not answer as they should.
    Unanswered,
    /// Those asked have another version of the object, or do not say which.
    Changed,
}

impl Resumption {
    /// As metrics are labelled.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Rest(..) => "resumed",
            Self::Complete => "complete",
            Self::Abandoned(Abandoned::Limit) => "limit",
            Self::Abandoned(Abandoned::Budget) => "budget",
            Self::Abandoned(Abandoned::NoRegion) => "no region",
            Self::Abandoned(Abandoned::Unanswered) => "unanswered",
            Self::Abandoned(Abandoned::Changed) => "changed",
        }
    }
}

impl Exchange {
    /// Goes on with the reply of `thread`. What is tried is in `journey` in any case.
    ///
    /// Each region asked draws on the retry budget, as every repeat does; at most `limits.attempts`
    /// are.
    pub async fn resume(
        &self,
        errand: &Errand<'_>,
        asking: Asking<'_>,
        thread: &Thread,
        broken: &Broken,
        journey: &RefCell<Journey>,
    ) -> Resumption {
        let going = Going { exchange: self, errand, asking, thread, broken, journey };
        going.go().await
    }

    /// Draws one repeat on the retry budget; false where it is spent, which is counted.
    #[must_use]
    pub fn take_repeat(&self) -> bool {
        let taken = self.budget_in_force(&self.view.load()).take(self.clock.mono());
        if !taken {
            metric::counter(Metric::BudgetExhausted, &[]).increment(1);
        }
        taken
    }

    /// Tells the fleet of a region whose reply broke off, unless the client was the reason.
    pub fn broke_off(&self, errand: &Errand<'_>, region: &RegionId, broken: &Broken) {
        let never = match broken.how {
            How::Cut if broken.by_reader() => return,
            How::Cut => Never::Reset,
            How::Stalled => Never::FirstByteTimeout,
            // what says so is known to the fleet, and this body may yet go on
            How::Silent => return,
        };
        Run::new(self, errand, &RefCell::default()).tell(region, Signal::NeverAnswered(never));
    }
}

/// A reply that broke off, being gone on with.
struct Going<'a> {
    exchange: &'a Exchange,
    errand: &'a Errand<'a>,
    asking: Asking<'a>,
    thread: &'a Thread,
    broken: &'a Broken,
    journey: &'a RefCell<Journey>,
}

impl Going<'_> {
    async fn go(&self) -> Resumption {
        if self.thread.is_complete(self.broken.delivered) {
            return Resumption::Complete;
        }
        let mut reason = Abandoned::NoRegion;
        let mut run = Run::new(self.exchange, self.errand, self.journey);
        let attempts = self.exchange.view.load().limits.attempts;
        for _ in 0..attempts {
            let Some(plan) = self.plan(&run.tried) else { break };
            let Ok(turn) = run.first_open(&plan) else { break };
            if !self.exchange.take_repeat() {
                return Resumption::Abandoned(Abandoned::Budget);
            }
            run.tried.push(turn.step.region.clone());
            match self.go_on_in(&turn).await {
                Ok(resumption) => return resumption,
                Err(why) => reason = why,
            }
        }
        Resumption::Abandoned(reason)
    }

    /// The regions that could go on, by the view in force.
    fn plan(&self, tried: &[RegionId]) -> Option<Plan> {
        let terms = self.terms();
        // Plans are cut to `limits.attempts` regions, those given last: the one that it broke off in
        // is one of the last, unless it is the one to ask.
        let mut behind = tried.to_vec();
        if self.thread.crosses(terms) && !self.broken.by_reader() {
            behind.push(self.thread.region().clone());
        }
        let plan = (self.errand.replan)(&behind).ok()?;
        let honours = |region: &RegionId| self.honours(region);
        let steps = resume::order(&plan, self.thread, self.broken, terms, &honours, tried);
        (!steps.is_empty()).then_some(Plan { steps, ..plan })
    }

    fn terms(&self) -> Terms {
        Terms::of(self.errand.permit.access_point())
    }

    fn honours(&self, region: &RegionId) -> Features {
        let view = self.exchange.view.load();
        view.region(region).map_or(Features::NONE, |settings| settings.profile.honours)
    }

    /// Asks one region for the rest.
    async fn go_on_in(&self, turn: &Turn) -> Result<Resumption, Abandoned> {
        let step = &turn.step;
        let (region, terms, delivered) = (&step.region, self.terms(), self.broken.delivered);
        let mut thread = self.thread.clone();
        if thread.total().is_none() {
            // Only the object's head says where it ends.
            thread = self.confirm(turn).await?;
            if thread.is_complete(delivered) {
                return Ok(Resumption::Complete);
            }
        }
        let ask = thread.ask(region, delivered, self.honours(region), terms);
        let Reached { head, body, .. } = self.ask(turn, &ask).await?;
        let mut heard = thread.heard(region, delivered, terms, head.status, &head.headers);
        if heard == Heard::Unproven && ask.checksums {
            let confirmed = self.confirm(turn).await?;
            heard = confirmed.heard(region, delivered, terms, head.status, &head.headers);
        }
        match heard {
            Heard::Same(thread) => Ok(Resumption::Rest(body, Box::new(thread))),
            Heard::Unproven | Heard::Different => Err(self.differs()),
        }
    }

    /// The thread as the head of the object in this region continues it.
    async fn confirm(&self, turn: &Turn) -> Result<Thread, Abandoned> {
        let (region, terms) = (&turn.step.region, self.terms());
        let ask = self.thread.ask_head(region, self.honours(region), terms);
        let Reached { head, .. } = self.ask(turn, &ask).await?;
        let confirmed =
            self.thread.confirmed(region, self.broken.delivered, terms, head.status, &head.headers);
        confirmed.ok_or_else(|| self.differs())
    }

    /// One try. Whatever a region answers in vain is no reason to wait for it: the next is asked.
    async fn ask(&self, turn: &Turn, ask: &Ask) -> Result<Reached, Abandoned> {
        let prepare = |step: &Step, settings: &RegionSettings| (self.asking)(step, settings, ask);
        let errand = Errand { prepare: &prepare, ..*self.errand };
        let mut run = Run::new(self.exchange, &errand, self.journey);
        let mut tried = run.try_once(&turn.step, turn.alone).await;
        if matches!(&tried, Ok(judged) if judged.outcome.is_stale()) {
            run.distrusts_kept = true;
            tried = run.try_once(&turn.step, turn.alone).await;
        }
        match tried.map(|judged| (judged.outcome, judged.answer)) {
            Ok((Outcome::Answered { status: 200..=206, .. }, Some(reached))) => Ok(reached),
            // The object is gone, or has another tag.
            Ok((Outcome::Answered { status: 304 | 404 | 412 | 416, .. }, _)) => Err(self.differs()),
            Ok(_) | Err(_) => Err(Abandoned::Unanswered),
        }
    }

    fn differs(&self) -> Abandoned {
        if let Some(note) = self.journey.borrow_mut().notes.last_mut() {
            note.outcome = "another version";
        }
        Abandoned::Changed
    }
}
