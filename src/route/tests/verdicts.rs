//! The table of verdicts, cell by cell.

use super::*;
use crate::route::settle::{Fate, Loss};
use crate::route::verdict::HEAD_REPEAT;
use crate::s3::operation::{Facts, Reach, Replay};

/// What kind of request was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// GET, HEAD, listings.
    Read,
    /// `CreateMultipartUpload`.
    Harmless,
    /// `PutObject` whose body is kept.
    Put,
    /// `PutObject` whose body is gone.
    PutSpent,
    /// `PutObject` without a body.
    PutEmpty,
    /// `PutObject` with a condition.
    PutIf,
    /// `UploadPart` whose body is kept.
    Part,
    /// DELETE.
    Delete,
    /// DELETE with a condition.
    DeleteIf,
    /// `CompleteMultipartUpload` and the like.
    Once,
}

const SHAPES: [Shape; 10] = [
    Shape::Read,
    Shape::Harmless,
    Shape::Put,
    Shape::PutSpent,
    Shape::PutEmpty,
    Shape::PutIf,
    Shape::Part,
    Shape::Delete,
    Shape::DeleteIf,
    Shape::Once,
];

impl Shape {
    fn facts(self) -> Facts {
        let (kind, replay, reach) = match self {
            Self::Read => (Kind::Read, Replay::Always, Reach::Any),
            Self::Harmless => (Kind::Write, Replay::Harmless, Reach::Any),
            Self::Put | Self::PutSpent | Self::PutEmpty | Self::PutIf => {
                (Kind::Write, Replay::BodyUnsent, Reach::Any)
            }
            Self::Part => (Kind::Write, Replay::BodyUnsent, Reach::Upload),
            Self::Delete | Self::DeleteIf => (Kind::Write, Replay::HeadUnsent, Reach::Any),
            Self::Once => (Kind::Write, Replay::Unsent, Reach::Upload),
        };
        Facts { kind, replay, reach, ..*Operation::GetObject.facts() }
    }

    fn body(self) -> BodyState {
        match self {
            Self::Read | Self::Harmless | Self::PutEmpty | Self::Delete | Self::DeleteIf => {
                BodyState { empty: true, untouched: true, replayable: true }
            }
            Self::Put | Self::PutIf | Self::Part | Self::Once => {
                BodyState { empty: false, untouched: false, replayable: true }
            }
            Self::PutSpent => BodyState { empty: false, untouched: false, replayable: false },
        }
    }

    fn conditional(self) -> bool {
        matches!(self, Self::PutIf | Self::DeleteIf)
    }
}

/// A verdict without its pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    Relay,
    Next,
    Same,
    Canary,
    Settle(Loss),
    No(GiveUp),
}

const SPENT: Cell = Cell::No(GiveUp::BodySpent);
const AMBIGUOUS: Cell = Cell::No(GiveUp::Ambiguous);

fn ask(shape: Shape, outcome: Outcome, adjust: impl FnOnce(&mut Question<'_>)) -> Cell {
    let now = Instant::now();
    let mut budget = Budget::new(0.2, 10.0, now);
    let facts = shape.facts();
    let mut question = question(shape, &facts, outcome);
    adjust(&mut question);
    cell(verdict(&question, &mut budget, &mut Coin::seeded(1), now))
}

/// A first try, with failover, another region, time and tokens.
fn question(shape: Shape, facts: &Facts, outcome: Outcome) -> Question<'_> {
    Question {
        facts,
        conditional: shape.conditional(),
        wildcard: false,
        provable: false,
        own_credential: false,
        outcome,
        body: shape.body(),
        failover: true,
        next_exists: true,
        attempts_made: 1,
        attempts_max: 3,
        broken_elsewhere: 0,
        acted_before: false,
        since_first_try: Duration::from_millis(100),
        deadline_left: Duration::from_secs(10),
    }
}

fn cell(verdict: Verdict) -> Cell {
    match verdict {
        Verdict::Relay => Cell::Relay,
        Verdict::Next => Cell::Next,
        Verdict::SameAgain { .. } => Cell::Same,
        Verdict::AskCanary => Cell::Canary,
        Verdict::Settle(loss) => Cell::Settle(loss),
        Verdict::GiveUp(reason) => Cell::No(reason),
    }
}

fn answered(meaning: Meaning) -> Outcome {
    Outcome::Answered { status: 500, meaning }
}

const STALE: Outcome = Outcome::Stale { sent: Sent::Nothing };

const REFUSED: Outcome = Outcome::NotSent(Unsent::Unreachable(Never::Refused));

/// With failover and another region: nothing sent, head sent, body partly sent, all sent.
const UNANSWERED: [(Shape, [Cell; 4]); 10] = [
    (Shape::Read, [Cell::Next, Cell::Next, Cell::Next, Cell::Next]),
    (Shape::Harmless, [Cell::Next, Cell::Next, Cell::Next, Cell::Next]),
    (Shape::Put, [Cell::Next, Cell::Next, Cell::Next, Cell::Next]),
    (Shape::PutSpent, [SPENT; 4]),
    (Shape::PutEmpty, [Cell::Next, Cell::Same, Cell::Same, Cell::Same]),
    (Shape::PutIf, [Cell::Next, Cell::Same, Cell::Same, AMBIGUOUS]),
    (Shape::Part, [Cell::Next, Cell::Same, Cell::Same, Cell::Same]),
    (Shape::Delete, [Cell::Next, Cell::Same, Cell::Same, Cell::Same]),
    (Shape::DeleteIf, [Cell::Next, AMBIGUOUS, AMBIGUOUS, AMBIGUOUS]),
    (Shape::Once, [Cell::Next, AMBIGUOUS, AMBIGUOUS, AMBIGUOUS]),
];

const SENT: [Sent; 4] = [Sent::Nothing, Sent::Head, Sent::Body(100), Sent::All];

#[test]
fn every_shape_has_its_row() {
    for shape in SHAPES {
        assert_eq!(UNANSWERED.iter().filter(|(row, _)| *row == shape).count(), 1, "{shape:?}");
        assert_eq!(FAULTS.iter().filter(|(row, ..)| *row == shape).count(), 1, "{shape:?}");
    }
}

#[test]
fn unanswered_tries_with_failover() {
    for (shape, row) in UNANSWERED {
        for (sent, expected) in SENT.into_iter().zip(row) {
            let stage = Stage::FirstByte;
            for outcome in [Outcome::Broken { sent }, Outcome::Silent { sent, stage }] {
                assert_eq!(ask(shape, outcome, |_| ()), expected, "{shape:?} {outcome:?}");
            }
        }
        let or_spent = |cell| if shape == Shape::PutSpent { SPENT } else { cell };
        assert_eq!(ask(shape, REFUSED, |_| ()), or_spent(Cell::Next), "{shape:?}");
        let changed = Outcome::NotSent(Unsent::StandingChanged);
        assert_eq!(ask(shape, changed, |_| ()), or_spent(Cell::Next), "{shape:?}");
        assert_eq!(ask(shape, STALE, |_| ()), or_spent(Cell::Same), "{shape:?}");
    }
}

#[test]
fn unanswered_tries_without_failover() {
    for (shape, row) in UNANSWERED {
        for (sent, with_failover) in SENT.into_iter().zip(row) {
            let expected = match (shape, sent) {
                // whether it could be sent again does not matter: it must not be
                (Shape::Put | Shape::PutSpent, Sent::All) => AMBIGUOUS,
                _ => with_failover,
            };
            let outcome = Outcome::Broken { sent };
            assert_eq!(ask(shape, outcome, |q| q.failover = false), expected, "{shape:?} {sent:?}");
        }
    }
}

#[test]
fn unanswered_tries_without_another_region() {
    for (shape, row) in UNANSWERED {
        for (sent, with_next) in SENT.into_iter().zip(row) {
            let expected = match (shape, sent, with_next) {
                (Shape::Put, Sent::All, _) => Cell::No(GiveUp::NoRegion),
                (_, _, Cell::Next) => Cell::Same,
                (_, _, other) => other,
            };
            let outcome = Outcome::Broken { sent };
            assert_eq!(ask(shape, outcome, |q| q.next_exists = false), expected, "{shape:?} {sent:?}");
        }
    }
}

/// Server fault with failover, server fault without, throttled.
const FAULTS: [(Shape, Cell, Cell, Cell); 10] = [
    (Shape::Read, Cell::Next, Cell::Next, Cell::Same),
    (Shape::Harmless, Cell::Next, Cell::Next, Cell::Same),
    (Shape::Put, Cell::Next, Cell::Same, Cell::Same),
    (Shape::PutSpent, Cell::Relay, Cell::Relay, Cell::Relay),
    (Shape::PutEmpty, Cell::Same, Cell::Same, Cell::Same),
    (Shape::PutIf, Cell::Relay, Cell::Relay, Cell::Same),
    (Shape::Part, Cell::Same, Cell::Same, Cell::Same),
    (Shape::Delete, Cell::Same, Cell::Same, Cell::Same),
    (Shape::DeleteIf, Cell::Relay, Cell::Relay, Cell::Same),
    (Shape::Once, Cell::Relay, Cell::Relay, Cell::Same),
];

#[test]
fn answers_that_are_faults() {
    for (shape, with_failover, without, throttled) in FAULTS {
        let fault = answered(Meaning::ServerFault);
        assert_eq!(ask(shape, fault, |_| ()), with_failover, "{shape:?}");
        assert_eq!(ask(shape, fault, |q| q.failover = false), without, "{shape:?}");
        assert_eq!(ask(shape, answered(Meaning::Throttled), |_| ()), throttled, "{shape:?}");
    }
}

#[test]
fn answers_that_are_the_clients() {
    for shape in SHAPES {
        for meaning in [Meaning::Final, Meaning::BodyRefused, Meaning::NoSuchUpload] {
            assert_eq!(ask(shape, answered(meaning), |_| ()), Cell::Relay, "{shape:?} {meaning:?}");
        }
    }
}

#[test]
fn a_refused_clock_or_region_is_answered_by_the_right_one_and_is_never_the_clients() {
    let refused = answered(Meaning::Skewed);
    for (shape, refused) in
        SHAPES.iter().flat_map(|shape| [(*shape, refused), (*shape, answered(Meaning::Moved))])
    {
        let expected = if shape == Shape::PutSpent { SPENT } else { Cell::Same };
        assert_eq!(ask(shape, refused, |_| ()), expected, "{shape:?}");
        let over = ask(shape, refused, |q| q.attempts_made = 3);
        let expected = if shape == Shape::PutSpent { SPENT } else { Cell::No(GiveUp::Attempts) };
        assert_eq!(over, expected, "{shape:?}");
    }
    let now = Instant::now();
    let facts = Shape::Read.facts();
    let mut budget = Budget::new(0.0, 0.0, now);
    let question = question(Shape::Read, &facts, refused);
    let verdict = verdict(&question, &mut budget, &mut Coin::seeded(1), now);
    assert_eq!(verdict, Verdict::GiveUp(GiveUp::Budget), "it draws on the budget");
}

#[test]
fn answers_that_a_canary_must_settle() {
    for shape in SHAPES {
        let (forbidden, misplaced) = (answered(Meaning::Forbidden), answered(Meaning::Misplaced));
        assert_eq!(ask(shape, forbidden, |_| ()), Cell::Canary, "{shape:?}");
        assert_eq!(ask(shape, misplaced, |_| ()), Cell::Canary, "{shape:?}");
        assert_eq!(ask(shape, misplaced, |q| q.wildcard = true), Cell::Relay, "{shape:?}");
        assert_eq!(ask(shape, forbidden, |q| q.wildcard = true), Cell::Canary, "{shape:?}");
    }
}

#[test]
fn a_canarys_word_decides() {
    let now = Instant::now();
    for shape in SHAPES {
        let facts = shape.facts();
        let question = question(shape, &facts, answered(Meaning::Forbidden));
        let after = |sound: bool, question: &Question<'_>| {
            let mut budget = Budget::new(0.2, 10.0, now);
            cell(after_canary(question, sound, &mut budget, &mut Coin::seeded(1), now))
        };
        assert_eq!(after(true, &question), Cell::Relay);
        let spent = shape == Shape::PutSpent;
        let refused = if spent { Cell::No(GiveUp::BodySpent) } else { Cell::Next };
        assert_eq!(after(false, &question), refused, "{shape:?}: it was refused, not carried out");
        let alone = Question { next_exists: false, ..question };
        let given_up = if spent { GiveUp::BodySpent } else { GiveUp::NoRegion };
        assert_eq!(after(false, &alone), Cell::No(given_up), "{shape:?}: the fault is ours");
        let tenant = Question { own_credential: true, ..alone };
        assert_eq!(after(false, &tenant), Cell::Relay, "{shape:?}: the fault is the tenant's");
        let misplaced = Question { outcome: answered(Meaning::Misplaced), ..tenant };
        assert_eq!(after(false, &misplaced), Cell::No(given_up), "{shape:?}: no bucket is the tenant's");
    }
}

#[test]
fn what_commits_by_its_head_is_not_repeated_after_two_seconds() {
    for shape in [Shape::Delete, Shape::PutEmpty] {
        let late = |q: &mut Question<'_>| q.since_first_try = HEAD_REPEAT;
        let broken = Outcome::Broken { sent: Sent::Head };
        assert_eq!(ask(shape, broken, late), Cell::No(GiveUp::TooLate));
        assert_eq!(ask(shape, answered(Meaning::ServerFault), late), Cell::Relay);
        assert_eq!(ask(shape, REFUSED, late), Cell::Next, "nothing was sent");
        let too_late = Outcome::NotSent(Unsent::TooLate);
        assert_eq!(ask(shape, too_late, |q| q.acted_before = true), Cell::No(GiveUp::TooLate));
    }
}

#[test]
fn what_may_be_committed_by_its_head_says_until_when_it_may_be_sent_again() {
    let now = Instant::now();
    let within = |shape: Shape, outcome, acted_before| {
        let facts = shape.facts();
        let question = Question { acted_before, next_exists: false, ..question(shape, &facts, outcome) };
        match verdict(&question, &mut Budget::new(0.2, 10.0, now), &mut Coin::seeded(1), now) {
            Verdict::SameAgain { after, within } => {
                assert!(within.is_none_or(|within| after < within));
                within
            }
            other => panic!("{shape:?} {outcome:?}: {other:?}"),
        }
    };
    let broken = Outcome::Broken { sent: Sent::Head };
    let left = HEAD_REPEAT.checked_sub(Duration::from_millis(100));
    for shape in [Shape::Delete, Shape::PutEmpty] {
        assert_eq!(within(shape, broken, false), left);
        assert_eq!(within(shape, answered(Meaning::ServerFault), false), left);
        assert_eq!(within(shape, answered(Meaning::Throttled), false), None, "refused, not carried out");
        for unsent in [REFUSED, STALE, Outcome::NotSent(Unsent::StandingChanged)] {
            assert_eq!(within(shape, unsent, false), None, "{unsent:?}");
            assert_eq!(within(shape, unsent, true), left, "{unsent:?}");
        }
        assert_eq!(within(shape, answered(Meaning::Throttled), true), left);
    }
    for shape in [Shape::Read, Shape::Harmless, Shape::Put, Shape::Part] {
        assert_eq!(within(shape, Outcome::Broken { sent: Sent::Body(1) }, true), None, "{shape:?}");
    }
}

#[test]
fn what_may_be_committed_by_its_head_stays_in_its_region() {
    let now = Instant::now();
    let acted = |q: &mut Question<'_>| q.acted_before = true;
    for shape in [Shape::Delete, Shape::PutEmpty] {
        for unsent in [REFUSED, Outcome::NotSent(Unsent::StandingChanged)] {
            assert_eq!(ask(shape, unsent, acted), Cell::Same);
        }
        let facts = shape.facts();
        let forbidden = question(shape, &facts, answered(Meaning::Forbidden));
        let question = Question { acted_before: true, ..forbidden };
        let mut budget = Budget::new(0.2, 10.0, now);
        let after = after_canary(&question, false, &mut budget, &mut Coin::seeded(1), now);
        assert_eq!(cell(after), AMBIGUOUS);
    }
    assert_eq!(ask(Shape::Put, REFUSED, acted), Cell::Next, "its body never ended anywhere");
}

#[test]
fn a_request_that_ends_two_regions_connections_goes_no_further() {
    for shape in SHAPES {
        let again = |q: &mut Question<'_>| q.broken_elsewhere = 1;
        let broken = Outcome::Broken { sent: Sent::All };
        assert_eq!(ask(shape, broken, again), Cell::No(GiveUp::Poisonous), "{shape:?}");
        if shape != Shape::PutSpent {
            assert_eq!(ask(shape, REFUSED, again), Cell::Next, "{shape:?}");
        }
    }
    let silent = Outcome::Silent { sent: Sent::All, stage: Stage::FirstByte };
    assert_eq!(ask(Shape::Read, silent, |q| q.broken_elsewhere = 1), Cell::Next);
}

#[test]
fn what_we_lack_ourselves_is_said_to_be_ours() {
    let short = Outcome::NotSent(Unsent::Shortage);
    assert_eq!(ask(Shape::Read, short, |_| ()), Cell::Next, "a connection may be kept there");
    assert_eq!(ask(Shape::Put, short, |q| q.next_exists = false), Cell::Same, "one may come free");
    assert_eq!(ask(Shape::Read, short, |q| q.attempts_made = 3), Cell::No(GiveUp::Shortage));
    assert_eq!(ask(Shape::Read, short, |q| q.deadline_left = Duration::ZERO), Cell::No(GiveUp::Shortage));
}

#[test]
fn attempts_and_deadlines_end_it() {
    let broken = Outcome::Broken { sent: Sent::All };
    for outcome in [REFUSED, broken] {
        let spent = |q: &mut Question<'_>| q.attempts_made = 3;
        assert_eq!(ask(Shape::Read, outcome, spent), Cell::No(GiveUp::Attempts));
        let late = |q: &mut Question<'_>| q.deadline_left = Duration::ZERO;
        assert_eq!(ask(Shape::Read, outcome, late), Cell::No(GiveUp::Deadline));
    }
    let fault = answered(Meaning::ServerFault);
    assert_eq!(ask(Shape::Read, fault, |q| q.attempts_made = 3), Cell::Relay);
    assert_eq!(ask(Shape::Read, fault, |q| q.deadline_left = Duration::ZERO), Cell::Relay);
}

#[test]
fn what_only_its_region_may_answer_is_tried_there_twice_more_where_it_errs() {
    let fault = answered(Meaning::ServerFault);
    for shape in [Shape::Part, Shape::Delete] {
        for made in [3, 4] {
            assert_eq!(ask(shape, fault, |q| q.attempts_made = made), Cell::Same, "{shape:?}");
        }
        assert_eq!(ask(shape, fault, |q| q.attempts_made = 5), Cell::Relay, "{shape:?}");
        // nobody who wants one try is given three
        let single = |q: &mut Question<'_>| (q.attempts_made, q.attempts_max) = (1, 1);
        assert_eq!(ask(shape, fault, single), Cell::Relay, "{shape:?}");
        // what was never answered cost its time, and what is throttled is not to be asked more
        let silent = Outcome::Broken { sent: Sent::All };
        assert_eq!(ask(shape, silent, |q| q.attempts_made = 3), Cell::No(GiveUp::Attempts), "{shape:?}");
        let throttled = answered(Meaning::Throttled);
        assert_eq!(ask(shape, throttled, |q| q.attempts_made = 3), Cell::Relay, "{shape:?}");
    }
    assert_eq!(ask(Shape::Harmless, fault, |q| (q.attempts_made, q.next_exists) = (3, false)), Cell::Relay);
}

#[test]
fn repeats_cost_tokens_unless_nothing_was_sent() {
    let now = Instant::now();
    let mut budget = Budget::new(0.0, 0.0, now);
    let mut coin = Coin::seeded(1);
    let facts = Shape::Read.facts();
    let mut of =
        |outcome| cell(verdict(&question(Shape::Read, &facts, outcome), &mut budget, &mut coin, now));
    assert_eq!(of(REFUSED), Cell::Next);
    assert_eq!(of(STALE), Cell::Same);
    assert_eq!(of(Outcome::Stale { sent: Sent::Head }), Cell::No(GiveUp::Budget));
    assert_eq!(of(Outcome::Broken { sent: Sent::Head }), Cell::No(GiveUp::Budget));
    assert_eq!(of(answered(Meaning::ServerFault)), Cell::Relay);
    assert_eq!(of(answered(Meaning::Throttled)), Cell::Relay);
}

#[test]
fn a_stale_connection_is_replaced_at_once() {
    let now = Instant::now();
    let facts = Shape::Read.facts();
    let question = question(Shape::Read, &facts, STALE);
    let of = |question: &Question<'_>, floor| {
        verdict(question, &mut Budget::new(0.0, floor, now), &mut Coin::seeded(1), now)
    };
    assert_eq!(of(&question, 0.0), Verdict::SameAgain { after: Duration::ZERO, within: None });
    let question = Question { outcome: Outcome::Stale { sent: Sent::Head }, ..question };
    assert_eq!(of(&question, 1.0), Verdict::SameAgain { after: Duration::ZERO, within: None });
}

const ENDED: Cell = Cell::Settle(Loss::Ended);
const FAULT: Cell = Cell::Settle(Loss::Fault);

#[test]
fn a_write_that_may_have_been_done_is_settled_first_where_it_can_be() {
    // after nothing, the head, a part of the body, all of it; then after a fault that is answered
    let table = [
        (Shape::Put, [Cell::Next, Cell::Next, Cell::Next, ENDED], Cell::Next),
        (Shape::PutSpent, [SPENT, SPENT, SPENT, ENDED], FAULT),
        (Shape::PutEmpty, [Cell::Next, Cell::Same, Cell::Same, Cell::Same], Cell::Same),
        (Shape::PutIf, [Cell::Next, Cell::Same, Cell::Same, ENDED], FAULT),
        (Shape::Once, [Cell::Next, ENDED, ENDED, ENDED], Cell::Same),
    ];
    for (shape, row, fault) in table {
        for (sent, expected) in SENT.into_iter().zip(row) {
            let broken = ask(shape, Outcome::Broken { sent }, |q| q.provable = true);
            assert_eq!(broken, expected, "{shape:?} {sent:?}");
            let silent = Outcome::Silent { sent, stage: Stage::FirstByte };
            let expected = if expected == ENDED { Cell::Settle(Loss::Silence) } else { expected };
            assert_eq!(ask(shape, silent, |q| q.provable = true), expected, "{shape:?} {sent:?}");
        }
        let answered_with = |meaning| ask(shape, answered(meaning), |q| q.provable = true);
        assert_eq!(answered_with(Meaning::ServerFault), fault, "{shape:?}");
        assert_eq!(answered_with(Meaning::NoSuchUpload), Cell::Settle(Loss::Gone), "{shape:?}");
        for meaning in [Meaning::Final, Meaning::BodyRefused] {
            assert_eq!(answered_with(meaning), Cell::Relay, "{shape:?} {meaning:?}");
        }
    }
}

#[test]
fn the_end_of_an_upload_that_failed_is_asked_for_again_and_settled_when_that_was_in_vain() {
    let fault = answered(Meaning::ServerFault);
    let last = |q: &mut Question<'_>| (q.provable, q.attempts_made) = (true, 5);
    assert_eq!(ask(Shape::Once, fault, last), FAULT);
    let if_absent = |q: &mut Question<'_>| (q.provable, q.conditional) = (true, true);
    assert_eq!(ask(Shape::Once, fault, if_absent), FAULT, "a condition is not tried twice");
}

#[test]
fn what_commits_by_its_head_is_settled_when_its_repeats_were_in_vain() {
    let last = |q: &mut Question<'_>| (q.provable, q.attempts_made) = (true, 5);
    let broken = Outcome::Broken { sent: Sent::Head };
    assert_eq!(ask(Shape::PutEmpty, broken, last), ENDED);
    assert_eq!(ask(Shape::PutEmpty, REFUSED, last), Cell::No(GiveUp::Attempts), "nothing was ever sent");
    let acted = |q: &mut Question<'_>| {
        last(q);
        q.acted_before = true;
    };
    assert_eq!(ask(Shape::PutEmpty, REFUSED, acted), ENDED);
    assert_eq!(ask(Shape::PutEmpty, answered(Meaning::ServerFault), last), FAULT);
}

#[test]
fn what_was_not_done_is_done_again_and_what_is_unknown_is_not() {
    let now = Instant::now();
    let after = |shape: Shape, outcome, fate, adjust: fn(&mut Question<'_>)| {
        let facts = shape.facts();
        let mut question = question(shape, &facts, outcome);
        (question.provable, question.failover) = (true, false);
        adjust(&mut question);
        let mut budget = Budget::new(0.2, 10.0, now);
        cell(after_settlement(&question, fate, &mut budget, &mut Coin::seeded(1), now))
    };
    let (broken, silent) =
        (Outcome::Broken { sent: Sent::All }, Outcome::Silent { sent: Sent::All, stage: Stage::FirstByte });
    let plain: fn(&mut Question<'_>) = |_| ();
    assert_eq!(after(Shape::Put, broken, Fate::NotDone, plain), Cell::Same);
    assert_eq!(after(Shape::Put, broken, Fate::NotDone, |q| q.failover = true), Cell::Next);
    assert_eq!(after(Shape::Put, broken, Fate::Unknown, |q| q.failover = true), Cell::Next, "as was allowed");
    for outcome in [broken, silent] {
        let unclear = after(Shape::Put, outcome, Fate::Unclear, |q| q.failover = true);
        assert_eq!(unclear, AMBIGUOUS, "elsewhere it might win over what somebody else was told is stored");
    }
    for (shape, outcome, fate) in [
        (Shape::Put, broken, Fate::Unknown),
        (Shape::Put, silent, Fate::NotDone),
        (Shape::PutSpent, broken, Fate::NotDone),
        (Shape::PutIf, broken, Fate::NotDone),
        (Shape::Once, broken, Fate::NotDone),
    ] {
        assert_eq!(after(shape, outcome, fate, plain), AMBIGUOUS, "{shape:?} {outcome:?} {fate:?}");
    }
    let poisonous: fn(&mut Question<'_>) = |q| q.broken_elsewhere = 1;
    assert_eq!(after(Shape::Put, broken, Fate::NotDone, poisonous), Cell::No(GiveUp::Poisonous));
    let fault = answered(Meaning::ServerFault);
    assert_eq!(after(Shape::PutIf, fault, Fate::NotDone, plain), Cell::Relay);
}
