//! What follows when a try has ended: one table of operation, evidence and limits. Pure.

use std::time::{Duration, Instant};

use crate::chance::Coin;
use crate::s3::operation::{Facts, Reach, Replay};

use super::budget::{Budget, backoff};
use super::outcome::{Meaning, Outcome, Sent, Unsent};
use super::settle::{Fate, Loss};

/// What is known of the request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyState {
    /// It has no byte.
    pub empty: bool,
    /// None of it was taken from the client yet.
    pub untouched: bool,
    /// All of it that was taken is kept.
    pub replayable: bool,
}

impl BodyState {
    /// Whether it can be sent again from its start.
    #[must_use]
    pub const fn can_repeat(self) -> bool {
        self.empty || self.untouched || self.replayable
    }
}

/// A try that ended, and what is left to spend.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is one column of the table of verdicts")]
pub struct Question<'a> {
    /// The operation's facts.
    pub facts: &'a Facts,
    /// It has `If-Match` or `If-None-Match`, and writes.
    pub conditional: bool,
    /// It came through the wildcard: bucket names are the client's, not configuration.
    pub wildcard: bool,
    /// The object's head can show whether it was done: a `PutObject`, the end of an upload.
    pub provable: bool,
    /// It was signed with a pair of the client's own: a refusal of it is the client's affair.
    pub own_credential: bool,
    /// What the try ended in.
    pub outcome: Outcome,
    /// The request body.
    pub body: BodyState,
    /// [`super::Plan::failover`]: a fully sent write may be repeated elsewhere.
    pub failover: bool,
    /// The plan has another region that was not tried.
    pub next_exists: bool,
    /// Tries so far, this one included.
    pub attempts_made: u8,
    /// The most there may be.
    pub attempts_max: u8,
    /// Earlier tries in *other* regions that ended their connection after taking the head.
    pub broken_elsewhere: u8,
    /// An earlier try may have carried it out ([`Outcome::may_have_acted`]).
    pub acted_before: bool,
    /// Since the first try began.
    pub since_first_try: Duration,
    /// Until the request's deadline.
    pub deadline_left: Duration,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The answer is the client's.
    Relay,
    /// Try the plan's next region, at once.
    Next,
    /// Try the same region, after this pause.
    SameAgain {
        /// The pause.
        after: Duration,
        /// How much later than now it may still be sent; `None` where that does no harm.
        within: Option<Duration>,
    },
    /// Ask a canary who is to blame, then [`after_canary`].
    AskCanary,
    /// Look whether it was done, then [`after_settlement`].
    Settle(Loss),
    /// No answer can be had: `503`.
    GiveUp(GiveUp),
}

/// Why a request that was not answered is not tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GiveUp {
    /// It may have been carried out; a repeat might do it twice, or undo a newer write.
    Ambiguous,
    /// Its body was partly taken and is not kept.
    BodySpent,
    /// A repeat of what commits by its head would come too late to be harmless.
    TooLate,
    /// Only another region would do, and there is none.
    NoRegion,
    /// It has ended the connections of two regions: not carried on to the next store.
    Poisonous,
    /// All tries are used up.
    Attempts,
    /// Its time is up.
    Deadline,
    /// Too many requests are being repeated.
    Budget,
    /// We had nothing left to make a connection of.
    Shortage,
}

/// Tries beyond `limits.attempts` of what only its region may answer (a part of an upload, a delete),
/// where that answers with an error: nobody else can make up for it. Of a region that fails three of
/// ten requests one in thirty-seven fails three times in a row, one in four hundred five times.
const MORE_IN_PLACE: u8 = 2;

/// How long after the first try a DELETE or an empty PUT may be sent again once its head may be
/// out: a later repeat might delete a newer object.
pub const HEAD_REPEAT: Duration = Duration::from_secs(2);

/// Decides what follows a try. Draws on the budget where it says so.
#[must_use]
pub fn verdict(question: &Question<'_>, budget: &mut Budget, coin: &mut Coin, now: Instant) -> Verdict {
    if let Some(loss) = lost(question) {
        return Verdict::Settle(loss);
    }
    let verdict = unsettled(question, budget, coin, now);
    match (verdict, may_be_done(question)) {
        (Verdict::GiveUp(_) | Verdict::Relay, Some(loss)) => Verdict::Settle(loss),
        (verdict, _) => verdict,
    }
}

/// Decides what follows once it was looked whether the write was done, and it was not seen to be.
#[must_use]
pub fn after_settlement(
    question: &Question<'_>,
    fate: Fate,
    budget: &mut Budget,
    coin: &mut Coin,
    now: Instant,
) -> Verdict {
    let ended = matches!(question.outcome, Outcome::Broken { .. }) && question.broken_elsewhere == 0;
    let gone = fate == Fate::NotDone && ended && commitment(question) == Commitment::Body;
    if gone && question.body.can_repeat() {
        // The region ended it and has nothing of it: as if it had not been sent in full.
        let place = if question.failover { Place::Anywhere } else { Place::Here };
        if let Ok(verdict) = repeat(question, place, budget, coin, now) {
            return verdict;
        }
    }
    if fate == Fate::Unclear && lost(question).is_some() {
        return Verdict::GiveUp(GiveUp::Ambiguous);
    }
    unsettled(question, budget, coin, now)
}

/// How the answer to a write was lost that a repeat might do twice, where it can be settled.
fn lost(question: &Question<'_>) -> Option<Loss> {
    let (sent, loss) = match question.outcome {
        Outcome::Broken { sent } => (sent, Loss::Ended),
        Outcome::Silent { sent, .. } => (sent, Loss::Silence),
        Outcome::NotSent(_) | Outcome::Stale { .. } | Outcome::Answered { .. } => return None,
    };
    let committed = match commitment(question) {
        Commitment::Body | Commitment::BodyOnce => sent == Sent::All,
        Commitment::HeadOnce => sent != Sent::Nothing,
        Commitment::Nothing | Commitment::Part | Commitment::Head => false,
    };
    (question.provable && committed).then_some(loss)
}

/// Whether a write for which no more is tried may have been done all the same.
fn may_be_done(question: &Question<'_>) -> Option<Loss> {
    let by_head = commitment(question) == Commitment::Head;
    let loss = match question.outcome {
        Outcome::Answered { meaning: Meaning::ServerFault, .. } => Loss::Fault,
        Outcome::Answered { meaning: Meaning::NoSuchUpload, .. } => Loss::Gone,
        // its repeats were in vain
        Outcome::Broken { sent } if by_head && sent != Sent::Nothing => Loss::Ended,
        Outcome::Silent { sent, .. } if by_head && sent != Sent::Nothing => Loss::Silence,
        Outcome::NotSent(_) | Outcome::Stale { .. } if by_head && question.acted_before => Loss::Ended,
        Outcome::NotSent(_)
        | Outcome::Stale { .. }
        | Outcome::Broken { .. }
        | Outcome::Silent { .. }
        | Outcome::Answered { .. } => return None,
    };
    question.provable.then_some(loss)
}

/// The verdict on a try whose fate cannot be, or was not, learnt.
fn unsettled(question: &Question<'_>, budget: &mut Budget, coin: &mut Coin, now: Instant) -> Verdict {
    let wish = match question.outcome {
        Outcome::NotSent(unsent) => nothing_sent(question, unsent),
        Outcome::Stale { sent: Sent::Nothing } => Wish::Free(Place::HereAtOnce),
        // clock and region are refused before any of the request was done, and they are not the client's
        Outcome::Stale { .. } | Outcome::Answered { meaning: Meaning::Skewed | Meaning::Moved, .. } => {
            Wish::Repeat(Place::HereAtOnce)
        }
        Outcome::Broken { sent } if sent != Sent::Nothing && question.broken_elsewhere > 0 => {
            Wish::Never(GiveUp::Poisonous)
        }
        Outcome::Broken { sent } | Outcome::Silent { sent, .. } => unanswered(question, sent),
        Outcome::Answered { meaning, .. } => match answered(question, meaning) {
            Answer::Verdict(verdict) => return verdict,
            Answer::Repeat(place) => {
                return repeat(question, place, budget, coin, now).unwrap_or(Verdict::Relay);
            }
        },
    };
    match wish {
        Wish::Never(reason) => Verdict::GiveUp(reason),
        Wish::Free(_) | Wish::Repeat(_) if !question.body.can_repeat() => Verdict::GiveUp(GiveUp::BodySpent),
        Wish::Free(place) => free_repeat(question, place, coin).unwrap_or_else(|reason| {
            // whatever ended it: what is to be told is that no region was even asked
            let ours = question.outcome == Outcome::NotSent(Unsent::Shortage);
            Verdict::GiveUp(if ours { GiveUp::Shortage } else { reason })
        }),
        Wish::Repeat(place) => repeat(question, place, budget, coin, now).unwrap_or_else(Verdict::GiveUp),
    }
}

/// Decides what follows once a canary has settled who is to blame for an answer: `sound` if the
/// region takes the credential and has the bucket, so that the answer is the client's.
#[must_use]
pub fn after_canary(
    question: &Question<'_>,
    sound: bool,
    budget: &mut Budget,
    coin: &mut Coin,
    now: Instant,
) -> Verdict {
    if sound {
        return Verdict::Relay;
    }
    let moved = if bound_by_its_head(question) {
        Err(GiveUp::Ambiguous)
    } else if question.body.can_repeat() {
        // the region refused the request before doing any of it: whatever it is may be sent elsewhere
        repeat(question, Place::Elsewhere, budget, coin, now)
    } else {
        Err(GiveUp::BodySpent)
    };
    let refused = matches!(question.outcome, Outcome::Answered { meaning: Meaning::Forbidden, .. });
    match moved {
        Ok(verdict) => verdict,
        Err(_) if question.own_credential && refused => Verdict::Relay,
        // what is wrong is ours: a client that is told that it may not would not come back
        Err(reason) => Verdict::GiveUp(reason),
    }
}

/// Where a repeat may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The next region, or where there is none the same again.
    Anywhere,
    /// The next region only.
    Elsewhere,
    /// The same region only, after a pause.
    Here,
    /// The same region only, at once, on another connection.
    HereAtOnce,
}

/// What the evidence allows, before limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// A repeat that draws no budget, since nothing was sent.
    Free(Place),
    Repeat(Place),
    Never(GiveUp),
}

enum Answer {
    Verdict(Verdict),
    /// A repeat if there is something to spend, else the answer as it is.
    Repeat(Place),
}

/// By what a request takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Commitment {
    /// It has none, or a repeat is harmless.
    Nothing,
    /// By its last body byte.
    Body,
    /// By its last body byte, and a repeat in the same place leaves the same: a part.
    Part,
    /// By its last body byte, and only once: a conditional write.
    BodyOnce,
    /// By its head.
    Head,
    /// By its head, and only once.
    HeadOnce,
}

fn commitment(question: &Question<'_>) -> Commitment {
    match question.facts.replay {
        Replay::Always | Replay::Harmless => Commitment::Nothing,
        Replay::BodyUnsent if question.conditional && question.body.empty => Commitment::HeadOnce,
        Replay::BodyUnsent if question.conditional => Commitment::BodyOnce,
        Replay::BodyUnsent if question.facts.reach == Reach::Upload => Commitment::Part,
        Replay::BodyUnsent if question.body.empty => Commitment::Head,
        Replay::BodyUnsent => Commitment::Body,
        Replay::HeadUnsent if question.conditional => Commitment::HeadOnce,
        Replay::HeadUnsent => Commitment::Head,
        Replay::Unsent => Commitment::HeadOnce,
    }
}

/// The end of an upload happens once, however often it is asked for: a store that has ended it says
/// so again, or that there is no such upload, and then the object's head settles it.
fn ends_an_upload(question: &Question<'_>) -> bool {
    question.provable && !question.conditional && question.facts.replay == Replay::Unsent
}

/// What commits by its head may have been carried out by an earlier try, whatever became of this
/// one: it stays in its region, and is not sent late.
fn bound_by_its_head(question: &Question<'_>) -> bool {
    question.acted_before && commitment(question) == Commitment::Head
}

fn nothing_sent(question: &Question<'_>, unsent: Unsent) -> Wish {
    match unsent {
        Unsent::TooLate => Wish::Never(GiveUp::TooLate),
        Unsent::Unreachable(_) | Unsent::StandingChanged | Unsent::Shortage
            if bound_by_its_head(question) =>
        {
            Wish::Free(Place::Here)
        }
        Unsent::Unreachable(_) | Unsent::StandingChanged | Unsent::Shortage => Wish::Free(Place::Anywhere),
    }
}

fn unanswered(question: &Question<'_>, sent: Sent) -> Wish {
    match (commitment(question), sent) {
        (
            Commitment::Nothing
            | Commitment::Body
            | Commitment::Part
            | Commitment::BodyOnce
            | Commitment::Head
            | Commitment::HeadOnce,
            Sent::Nothing,
        ) => Wish::Free(Place::Anywhere),
        (Commitment::Nothing, Sent::Head | Sent::Body(_) | Sent::All)
        | (Commitment::Body, Sent::Head | Sent::Body(_)) => Wish::Repeat(Place::Anywhere),
        (Commitment::Body, Sent::All) if question.failover => Wish::Repeat(Place::Elsewhere),
        (Commitment::Part | Commitment::Head, Sent::Head | Sent::Body(_) | Sent::All)
        | (Commitment::BodyOnce, Sent::Head | Sent::Body(_)) => Wish::Repeat(Place::Here),
        (Commitment::Body | Commitment::BodyOnce, Sent::All)
        | (Commitment::HeadOnce, Sent::Head | Sent::Body(_) | Sent::All) => Wish::Never(GiveUp::Ambiguous),
    }
}

fn answered(question: &Question<'_>, meaning: Meaning) -> Answer {
    let relay = Answer::Verdict(Verdict::Relay);
    match meaning {
        Meaning::Final | Meaning::BodyRefused | Meaning::NoSuchUpload | Meaning::Skewed | Meaning::Moved => {
            relay
        }
        Meaning::Misplaced if question.wildcard => relay,
        Meaning::Forbidden | Meaning::Misplaced => Answer::Verdict(Verdict::AskCanary),
        Meaning::Throttled | Meaning::ServerFault if !question.body.can_repeat() => relay,
        // it was not carried out, whatever it is
        Meaning::Throttled => Answer::Repeat(Place::Here),
        Meaning::ServerFault => match commitment(question) {
            Commitment::Nothing => Answer::Repeat(Place::Anywhere),
            Commitment::Body if question.failover => Answer::Repeat(Place::Anywhere),
            Commitment::Body | Commitment::Part | Commitment::Head => Answer::Repeat(Place::Here),
            Commitment::HeadOnce if ends_an_upload(question) => Answer::Repeat(Place::Here),
            Commitment::HeadOnce | Commitment::BodyOnce => relay,
        },
    }
}

fn repeat(
    question: &Question<'_>,
    place: Place,
    budget: &mut Budget,
    coin: &mut Coin,
    now: Instant,
) -> Result<Verdict, GiveUp> {
    let verdict = free_repeat(question, place, coin)?;
    if budget.take(now) { Ok(verdict) } else { Err(GiveUp::Budget) }
}

fn free_repeat(question: &Question<'_>, place: Place, coin: &mut Coin) -> Result<Verdict, GiveUp> {
    if question.attempts_made >= most_attempts(question, place) {
        return Err(GiveUp::Attempts);
    }
    let within = send_within(question);
    let again = |after: Duration| {
        if after >= question.deadline_left {
            Err(GiveUp::Deadline)
        } else if within.is_some_and(|within| after >= within) {
            Err(GiveUp::TooLate)
        } else {
            Ok(Verdict::SameAgain { after, within })
        }
    };
    match place {
        Place::Anywhere | Place::Elsewhere if question.next_exists => {
            if question.deadline_left.is_zero() {
                Err(GiveUp::Deadline)
            } else {
                Ok(Verdict::Next)
            }
        }
        Place::Elsewhere => Err(GiveUp::NoRegion),
        Place::HereAtOnce => again(Duration::ZERO),
        Place::Anywhere | Place::Here => {
            again(backoff(question.attempts_made.saturating_sub(1), coin.share()))
        }
    }
}

/// The most tries there may be, where the next one goes to `place`.
fn most_attempts(question: &Question<'_>, place: Place) -> u8 {
    let erred = matches!(question.outcome, Outcome::Answered { meaning: Meaning::ServerFault, .. });
    let more = if erred && place == Place::Here && question.attempts_max > 1 { MORE_IN_PLACE } else { 0 };
    question.attempts_max.saturating_add(more)
}

/// How much longer what commits by its head may be sent again, once it may have been carried out.
fn send_within(question: &Question<'_>) -> Option<Duration> {
    let acted = question.acted_before || question.outcome.may_have_acted();
    (acted && commitment(question) == Commitment::Head)
        .then(|| HEAD_REPEAT.saturating_sub(question.since_first_try))
}
