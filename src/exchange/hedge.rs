//! Two tries of one read at a time: the second when the first is slow. The first good head wins; the
//! other try ends, and its connection with it. When a second try is made is `route::hedge`'s to say.

use std::time::{Duration, Instant};

use super::errand::{Reached, Unanswered};
use super::run::{Judged, Run};
use crate::route::{Hedge, Outcome, Plan, Step, hedge};
use crate::telemetry::metric::{self, Metric};

/// A second try that may be made.
pub(super) struct Second {
    step: Step,
    after: Duration,
}

/// What became of a try.
type Tried = Result<(Judged, Option<Duration>), Unanswered>;

/// How a second try is counted.
#[derive(Clone, Copy)]
enum Came {
    /// Its answer is the client's.
    Won,
    /// The first try's was there before.
    Lost,
    /// It was none that could be the client's.
    Failed,
}

impl Run<'_> {
    /// The second try of a read whose first goes to `first`, where there may be one.
    pub(super) fn second(&self, plan: &Plan, first: &Step) -> Option<Second> {
        let permit = self.errand.permit;
        if permit.access_point().hedge == Hedge::Off || !hedge::may_hedge(permit) {
            return None;
        }
        let now = self.exchange.clock.mono();
        let throttles = |region: &_| self.exchange.meters.of(region).throttles(now);
        let step = hedge::second(plan, first, &throttles)?.clone();
        let class = permit.call().facts().class;
        let mut hedges = self.exchange.hedges.borrow_mut();
        let after = hedges.after(permit.access_point().hedge, &first.region, class, now)?;
        Some(Second { step, after })
    }

    /// Tries `first` and, where it is slow, `second` as well. The step that the outcome is of.
    pub(super) async fn try_two(
        &mut self,
        first: Step,
        second: Second,
    ) -> Result<(Step, Judged), Unanswered> {
        let Raced { ended, judged, spent } = self.race(&first, &second).await?;
        let (winner, loser) = match ended {
            Ended::Alone => return Ok((first, judged)),
            Ended::First => (first, second.step),
            Ended::Second => (second.step, first),
        };
        if spent {
            self.attempts += 1;
            self.tried.push(loser.region);
        }
        Ok((winner, judged))
    }

    async fn race(&self, first: &Step, second: &Second) -> Result<Raced, Unanswered> {
        let began = self.exchange.clock.mono();
        let mut one = std::pin::pin!(self.ask(first, false, began));
        let in_time = tokio::select! {
            biased;
            tried = one.as_mut() => Some(tried),
            () = tokio::time::sleep(second.after) => None,
        };
        if in_time.is_none() && self.take_second(&second.step) {
            let race = Race { run: self, first, second: &second.step, began };
            return race.run(one).await;
        }
        let tried = match in_time {
            Some(tried) => tried,
            None => one.await,
        };
        self.noted(first, began, tried).map(|judged| Raced { ended: Ended::Alone, judged, spent: false })
    }

    /// Takes what a second try costs; false where there is nothing left, or no room.
    fn take_second(&self, step: &Step) -> bool {
        let now = self.exchange.clock.mono();
        let view = self.exchange.view.load();
        let most = usize::try_from(view.limits.in_flight_per_region).unwrap_or(usize::MAX);
        let meter = self.exchange.meters.of(&step.region);
        let mut hedges = self.exchange.hedges.borrow_mut();
        meter.in_flight() < most
            && !meter.throttles(now)
            && hedges.take(&mut self.exchange.budget_in_force(&view), now)
    }

    fn noted(&self, step: &Step, began: Instant, tried: Tried) -> Result<Judged, Unanswered> {
        let (judged, ttfb) = tried?;
        self.note(step, &judged, began, ttfb);
        Ok(judged)
    }
}

/// Whose outcome it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// Of the first try; there was no second.
    Alone,
    First,
    Second,
}

/// What came of it.
struct Raced {
    ended: Ended,
    judged: Judged,
    /// The other try was one: it did not just meet a stale connection, and its region is not asked again.
    spent: bool,
}

/// Two tries under way.
struct Race<'a, 'r> {
    run: &'a Run<'r>,
    first: &'a Step,
    second: &'a Step,
    began: Instant,
}

impl Race<'_, '_> {
    /// Whose outcome it is, and which.
    async fn run<F>(&self, mut one: std::pin::Pin<&mut F>) -> Result<Raced, Unanswered>
    where
        F: Future<Output = Tried>,
    {
        let began = self.run.exchange.clock.mono();
        let mut two = std::pin::pin!(self.run.ask(self.second, false, began));
        tokio::select! {
            biased;
            tried = one.as_mut() => {
                let (judged, ttfb) = tried?;
                if judged.outcome.is_final() {
                    self.give_up(self.second, began, &mut two).await;
                    self.count(Came::Lost);
                    self.run.note(self.first, &judged, self.began, ttfb);
                    return Ok(Raced { ended: Ended::First, judged, spent: true });
                }
                // Failed: the second is what would be tried next.
                self.run.note(self.first, &judged, self.began, ttfb);
                let spent = !judged.outcome.is_stale();
                let judged = self.run.noted(self.second, began, two.await)?;
                self.count(if judged.outcome.is_final() { Came::Won } else { Came::Failed });
                Ok(Raced { ended: Ended::Second, judged, spent })
            }
            tried = two.as_mut() => {
                let (judged, ttfb) = tried?;
                if is_good(&judged.outcome) {
                    self.give_up(self.first, self.began, &mut one).await;
                    self.count(Came::Won);
                    self.run.note(self.second, &judged, began, ttfb);
                    return Ok(Raced { ended: Ended::Second, judged, spent: true });
                }
                // Another region's "no" is no answer while the first may still say yes.
                self.run.note(self.second, &judged, began, ttfb);
                let first = self.run.noted(self.first, self.began, one.await)?;
                if judged.outcome.is_final() && !first.outcome.is_final() {
                    self.count(Came::Won);
                    return Ok(Raced { ended: Ended::Second, judged, spent: !first.outcome.is_stale() });
                }
                self.count(Came::Failed);
                count_waste(judged.answer.as_ref());
                Ok(Raced { ended: Ended::First, judged: first, spent: !judged.outcome.is_stale() })
            }
        }
    }

    /// Notes a try that is given up; dropping it ends its connection.
    async fn give_up<F>(&self, step: &Step, began: Instant, try_: &mut std::pin::Pin<&mut F>)
    where
        F: Future<Output = Tried>,
    {
        // Its head may have come in the same moment.
        let late = tokio::select! {
            biased;
            late = try_.as_mut() => late.ok(),
            () = std::future::ready(()) => None,
        };
        count_waste(late.as_ref().and_then(|(judged, _)| judged.answer.as_ref()));
        self.run.note_cancelled(step, began);
    }

    fn count(&self, came: Came) {
        let came = match came {
            Came::Won => "won",
            Came::Lost => "lost",
            Came::Failed => "failed",
        };
        metric::counter(Metric::Hedges, &[self.second.region.as_str(), came]).increment(1);
    }
}

/// An answer that may take the place of the first region's: one that has what was asked for.
fn is_good(outcome: &Outcome) -> bool {
    outcome.is_final() && matches!(outcome, Outcome::Answered { status: 200..400, .. })
}

/// Counts the body that an answer announced and nobody took.
fn count_waste(answer: Option<&Reached>) {
    let length = answer.and_then(|answer| answer.head.headers.get(http::header::CONTENT_LENGTH));
    let bytes = length.and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or(0);
    metric::counter(Metric::HedgeWastedBytes, &[]).increment(bytes);
}
