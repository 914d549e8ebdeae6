//! Asking what became of a write whose answer was lost: the same region, by HEAD, a few times.
//! What an answer proves, and how long it is worth asking, is `route::settle`'s to say.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ETAG, LAST_MODIFIED};
use http::{HeaderMap, Response, StatusCode};
use tracing::debug;

use super::attempt::{Answer, Desk, Try, attempt};
use super::errand::{Reached, Written};
use super::run::Run;
use crate::body::{Reply, Source};
use crate::fleet::Standing;
use crate::names::RegionId;
use crate::route::settle::{Evidence, Fate, Finding, Heard, Inquiry, Loss, Next};
use crate::route::{self, Question, Step, Verdict};
use crate::s3::Code;
use crate::s3::operation::Kind;
use crate::s3::xml::StoreError;
use crate::sigv4::Stamp;
use crate::telemetry::metric::{self, Metric};
use crate::view::RegionSettings;

/// How long one look waits for its answer: a HEAD is answered at once, or by nobody.
const LOOK: Duration = Duration::from_secs(2);

/// What the region said of the object.
struct Look {
    status: StatusCode,
    headers: HeaderMap,
}

impl Run<'_> {
    /// Settles a write: the answer that its region would have given, where that is proven; else what
    /// follows.
    ///
    /// Looks are no repeats and draw nothing from their budget: no more are made than requests were
    /// under way. Where the region did answer, with a fault, one is a courtesy and draws on it.
    pub(super) async fn settle(
        &self,
        question: &Question<'_>,
        loss: Loss,
        step: &Step,
    ) -> Result<Reached, Verdict> {
        let (fate, answer) = match self.inquire(question, loss, step).await {
            Some((fate, evidence, look)) => {
                (fate, look.and_then(|look| answer(fate, &evidence, &look.headers, step)))
            }
            None => (Fate::Unknown, None),
        };
        self.journey.borrow_mut().settled = Some(fate.label());
        metric::counter(Metric::WritesSettled, &[step.region.as_str(), fate.label()]).increment(1);
        debug!(region = %step.region, ?loss, ?fate, "the answer to a write was lost");
        answer.ok_or_else(|| {
            let now = self.exchange.clock.mono();
            let mut budget = self.exchange.budget_in_force(&self.exchange.view.load());
            let mut coin = self.exchange.coin.borrow_mut();
            route::after_settlement(question, fate, &mut budget, &mut coin, now)
        })
    }

    /// Looks until it is settled: what became of it, what shows that, and the last answer. `None`
    /// where nothing could be learnt.
    async fn inquire(
        &self,
        question: &Question<'_>,
        loss: Loss,
        step: &Step,
    ) -> Option<(Fate, Evidence, Option<Look>)> {
        let written = self.errand.written?;
        let view = self.exchange.view.load_full();
        let now = self.exchange.clock.mono();
        if loss == Loss::Fault && !self.exchange.budget_in_force(&view).take(now) {
            return None;
        }
        let settings = view.region(&step.region)?;
        let began = self.exchange.meters.of(&step.region).not_before(self.written_at);
        let evidence = written.evidence(step, settings, began);
        if !evidence.can_settle() {
            return None;
        }
        let may_move = question.failover && question.next_exists && question.body.can_repeat();
        let mut inquiry = Inquiry::begin(loss, may_move, view.timeouts.put_answer, now);
        // Of a region that is known to be out nothing is awaited that another one may take.
        let worth_asking = |region: &RegionId| {
            !may_move || self.exchange.view.load().table.standing(region, Kind::Write) != Standing::Out
        };
        loop {
            if !worth_asking(&step.region) {
                return None;
            }
            let look = self.look(written, step, &inquiry, &worth_asking).await;
            let finding = match &look {
                Some(look) => {
                    let modified = look.headers.get(LAST_MODIFIED).and_then(|date| date.to_str().ok());
                    let tag = look.headers.get(ETAG).map(http::HeaderValue::as_bytes);
                    let heard = Heard {
                        acknowledged: tag.is_some_and(|tag| written.acknowledged(step, tag)),
                        status: look.status.as_u16(),
                        headers: &look.headers,
                        modified: modified.and_then(Stamp::parse_date).map(|stamp| stamp.at()),
                    };
                    evidence.judge(&heard, &|algorithm| written.digest(algorithm))
                }
                None => Finding::Mute,
            };
            let share = self.exchange.coin.borrow_mut().share();
            match inquiry.after(finding, share, self.exchange.clock.mono()) {
                Next::Settled(fate) => return Some((fate, evidence, look)),
                Next::Look(pause) => tokio::time::sleep(pause).await,
            }
        }
    }

    /// Asks once for the object's head. On a connection of its own, since the kept ones may have
    /// ended with the one that the write went by.
    async fn look(
        &self,
        written: &dyn Written,
        step: &Step,
        inquiry: &Inquiry,
        worth_asking: &dyn Fn(&RegionId) -> bool,
    ) -> Option<Look> {
        let view = self.exchange.view.load_full();
        let (lane, credential) = self.way(&view, step)?;
        let desk = Desk {
            clock: self.exchange.clock,
            timeouts: &view.timeouts,
            bell: &self.exchange.bell,
            keys: &self.exchange.keys,
            still_worth_waiting: worth_asking,
        };
        let (nothing, moved) = (Source::empty(), self.moved(&lane, step));
        let settings: &RegionSettings = moved.as_ref().unwrap_or(&lane.settings);
        let this = Try {
            lane: &lane,
            settings,
            source: &nothing,
            credential,
            expect: false,
            patience: LOOK,
            repeatable: true,
            fresh: true,
            avoid: self.avoid.borrow().clone(),
            send_by: None,
            deadline: inquiry.until(),
        };
        let asked = attempt(&desk, &this, written.ask(step, settings));
        let answer = tokio::time::timeout_at(inquiry.until().into(), asked).await.ok()?;
        let Answer { head, connection, pool, .. } = answer.ok()?;
        pool.put(connection, view.timeouts.upstream_idle, self.exchange.clock.mono());
        Some(Look { status: head.status, headers: head.headers })
    }
}

/// The answer that the region would have given to a write of this fate.
fn answer(fate: Fate, evidence: &Evidence, headers: &HeaderMap, step: &Step) -> Option<Reached> {
    let (mut head, ()) = Response::new(()).into_parts();
    let (body, error) = match fate {
        Fate::Done => {
            let (told, document) = evidence.answer(headers);
            head.headers = told;
            (Reply::full(Bytes::from(document)), None)
        }
        Fate::ConditionFailed => {
            head.status = StatusCode::PRECONDITION_FAILED;
            let code = Code::PreconditionFailed.as_str().to_owned();
            (Reply::empty(), Some(StoreError { code, ..StoreError::default() }))
        }
        Fate::NotDone | Fate::Unclear | Fate::Unknown => return None,
    };
    Some(Reached { head, body, error, step: step.clone() })
}
