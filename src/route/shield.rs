//! The lag shield: what a read that found nothing proves, whom to ask next, and what its client is
//! told. Replication may not have brought the object yet, or the only region that knows of its last
//! change may be out. Pure.

use std::time::Duration;

use smallvec::SmallVec;

use super::access_point::LagShield;
use super::memory::{Change, Recalled};
use crate::names::RegionId;
use crate::s3::Call;
use crate::s3::operation::{BodyKind, Kind, Level, Operation, Reach, Replay};
use crate::units::UnixSeconds;

/// The part of the lag window after which what was written has most likely arrived: 10 s of 15 min, as
/// replication takes seconds where nothing is wrong.
const ARRIVES: u32 = 90;

impl LagShield {
    /// Whether a read of a key that was changed through here begins where that happened. Else it begins
    /// as any other does, and goes there only where the answer is not proven to be of that write: soon
    /// after it that would cost most reads a second question, later it spares them the way.
    #[must_use]
    pub fn begins_there(&self, recalled: &Recalled, tags_compare: bool, age: Duration) -> bool {
        let provable = tags_compare && recalled.change == Change::Wrote && recalled.tag.is_some();
        !provable || age < self.remember / ARRIVES
    }
}

/// Regions that are asked again beside home: those that took writes last. A third would make one
/// read of a key that never was cost more than four requests.
const MORE: usize = 2;

/// Whether an object dated so was written after a change that was `age` ago, `now` being so many
/// milliseconds into its second. Stores date in whole
/// seconds, downwards: one that was written before the change is never dated after it, and of one
/// that was written within the second of the change nobody can tell. Clocks are taken to be right:
/// that a store's is ahead of ours shows only with an object that was written that little before it
/// was deleted, while home is out.
#[must_use]
pub fn is_later(dated: UnixSeconds, age: Duration, (now, millis): (UnixSeconds, u16)) -> bool {
    let ago = i64::from(millis) - i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    dated.since(now).saturating_mul(1_000) > ago
}

/// Whether a call is a read whose answer lag may make empty: of one object, from any region. Of
/// settings and uploads one region decides; a listing that lags is still a listing.
#[must_use]
pub fn applies(call: &Call) -> bool {
    let facts = call.facts();
    facts.kind == Kind::Read
        && facts.rule.level == Level::Object
        && facts.reach == Reach::Any
        && facts.replay == Replay::Always
        && facts.body == BodyKind::Empty
        && call.operation != Operation::Preflight
}

/// What one region said of what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Finding {
    /// It has something to say of the object: the answer stands.
    Found,
    /// It does not have it, or not what the request's condition or range presupposes: another
    /// version of it may.
    Missing,
    /// A delete marker: it does not merely lack the object, it was told of its end.
    Marker,
    /// It could not be asked, or its answer says nothing of the object.
    Silent,
}

impl Finding {
    /// Reads an answer; `marker`: it has `x-amz-delete-marker: true`.
    ///
    /// A `412` to a read comes of `If-Match` or `If-Unmodified-Since`, a `416` of a range behind
    /// the end: a region that lags answers so of an older object. `304` is found: whoever says it
    /// has the very object that the client has.
    #[must_use]
    pub fn of(status: u16, code: Option<&str>, marker: bool) -> Self {
        match status {
            404 if code == Some("NoSuchBucket") => Self::Silent,
            404 if marker => Self::Marker,
            404 | 412 | 416 => Self::Missing,
            200..=299 | 304 => Self::Found,
            // where listing is not allowed an absent key is forbidden: no answer to our question
            300..=399 | 401 | 403 | 429 | 500.. => Self::Silent,
            _ => Self::Found,
        }
    }

    /// Whether another region may have more.
    #[must_use]
    pub const fn is_nothing(self) -> bool {
        matches!(self, Self::Missing | Self::Marker)
    }
}

/// What a region said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Who.
    pub region: RegionId,
    /// What.
    pub finding: Finding,
    /// It is of the remembered write: its tag says so.
    pub proven: bool,
    /// It is dated after the remembered change ([`is_later`]): others write too, through other proxies.
    /// That is worth less than what the region of the change says, since a replicator may date what it
    /// copies late by its arrival, and counts only where that region cannot be asked.
    pub later: bool,
}

/// What is known beside the answers.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// [`LagShield::fallback`].
    pub fallback: bool,
    /// The access point's home.
    pub home: &'a RegionId,
    /// The key's last change that this process saw.
    pub recalled: Option<&'a Recalled>,
    /// Regions other than home that took writes since home was last known to be in sync with them,
    /// the last one first.
    pub away: &'a [RegionId],
    /// More keys were changed in them than are remembered.
    pub overflowed: bool,
    /// How many of those heard were not asked for the shield's sake: those that the read was tried at
    /// in vain and whose word does not decide, those that take no reads, and who answered first.
    pub before: usize,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// This region is asked too.
    Ask(&'a RegionId),
    /// The answer at this place of those heard is the client's.
    Answer(usize, Certainty),
    /// Nobody who was heard can know: 503.
    Withhold(Withheld),
}

/// How much an answer is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// Somebody has it.
    Found,
    /// Somebody has it, or an older version: where it was written last cannot be asked.
    Unproven,
    /// Whoever must know says that there is nothing.
    Confirmed,
    /// All that could be asked say that there is nothing; home could not, or the region of the last
    /// change could not.
    Unconfirmed,
}

/// Why no answer is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// It was written through here, and where that happened cannot be asked.
    Written,
    /// It was deleted through here, and where that happened cannot be asked.
    Deleted,
    /// More keys were changed while home was out than are remembered, and not all regions that took
    /// those changes can be asked.
    Overflowed,
    /// Nobody was heard at all.
    Unheard,
}

impl Withheld {
    /// For the access log.
    #[must_use]
    pub const fn cause(self) -> &'static str {
        match self {
            Self::Written => {
                "written through here lately, and the region where that happened cannot be asked"
            }
            Self::Deleted => {
                "deleted through here lately, and the region where that happened cannot be asked"
            }
            Self::Overflowed => {
                "home cannot be asked, and more keys were changed elsewhere than limits.remembered_keys"
            }
            Self::Unheard => "no region that may have the object can be asked",
        }
    }
}

/// Whether an answer has to be looked into at all: [`next`] would say more than that it stands.
#[must_use]
pub fn doubts(fallback: bool, recalled: Option<&Recalled>, said: &Heard) -> bool {
    match said.finding {
        Finding::Missing | Finding::Marker => fallback || recalled.is_some(),
        Finding::Found => doubted(recalled, said).is_some(),
        Finding::Silent => false,
    }
}

/// What follows from what was heard, the last of it last. Each region is asked at most once, and no
/// more than home and [`MORE`] others are.
#[must_use]
pub fn next<'a>(case: &Case<'a>, heard: &[Heard]) -> Next<'a> {
    let Some((last, said)) = heard.len().checked_sub(1).and_then(|at| Some((at, heard.get(at)?))) else {
        return Next::Ask(case.home);
    };
    let found = heard.iter().position(|one| one.finding == Finding::Found);
    match said.finding {
        Finding::Found => match doubted(case.recalled, said) {
            Some(region) if heard.iter().any(|one| one.region == *region) => stale(case, heard, last),
            Some(region) => Next::Ask(region),
            None => Next::Answer(last, Certainty::Found),
        },
        Finding::Missing | Finding::Marker if is_final(case, said) => {
            Next::Answer(last, Certainty::Confirmed)
        }
        Finding::Silent if found.is_some() => stale(case, heard, found.unwrap_or(last)),
        Finding::Missing | Finding::Marker | Finding::Silent => {
            let unheard = |region: &&RegionId| heard.iter().all(|one| one.region != **region);
            whom(case, heard).into_iter().find(unheard).map_or_else(|| conclude(case, heard), Next::Ask)
        }
    }
}

/// Where a key was deleted or written that another region still has as it was before, or has again:
/// only that region knows.
fn doubted<'a>(recalled: Option<&'a Recalled>, said: &Heard) -> Option<&'a RegionId> {
    let recalled = recalled.filter(|recalled| recalled.region != said.region)?;
    let doubtful = match recalled.change {
        Change::Deleted | Change::Wrote => !said.proven,
        Change::Touched => false,
    };
    doubtful.then_some(&recalled.region)
}

/// What is told where another region has the key and the one of its last change cannot be asked: what
/// was written later stands, an older version is better than none, but what was deleted does not come
/// back.
fn stale<'a>(case: &Case<'a>, heard: &[Heard], found: usize) -> Next<'a> {
    if heard.get(found).is_some_and(|one| one.later) {
        return Next::Answer(found, Certainty::Found);
    }
    if case.recalled.is_some_and(|recalled| recalled.change == Change::Deleted) {
        return Next::Withhold(Withheld::Deleted);
    }
    Next::Answer(found, Certainty::Unproven)
}

/// Whether nobody can know better that there is nothing. Home does not, while other regions took
/// writes that may not have reached it; unless it was told of the deletion.
fn is_final(case: &Case<'_>, said: &Heard) -> bool {
    match case.recalled {
        Some(recalled) => recalled.region == said.region,
        None => said.region == *case.home && (case.away.is_empty() || said.finding == Finding::Marker),
    }
}

/// Who may be asked, in this order: where the key was changed last, home, and where writes went.
fn whom<'a>(case: &Case<'a>, heard: &[Heard]) -> SmallVec<[&'a RegionId; 4]> {
    let mut whom: SmallVec<[&RegionId; 4]> =
        case.recalled.map(|recalled| &recalled.region).into_iter().collect();
    if !case.fallback {
        return whom;
    }
    // Who was heard before costs no more questions, and is asked none.
    let known = |region: &RegionId| heard.iter().take(case.before).any(|one| one.region == *region);
    let mut more = whom.iter().filter(|region| **region != case.home && !known(region)).count();
    if !whom.contains(&case.home) {
        whom.push(case.home);
    }
    for region in case.away {
        if more < MORE && !whom.contains(&region) && !known(region) {
            whom.push(region);
            more += 1;
        }
    }
    whom
}

/// What is told where nobody was final and nobody is left to ask.
fn conclude<'a>(case: &Case<'_>, heard: &[Heard]) -> Next<'a> {
    let nothing = |one: &&Heard| one.finding.is_nothing();
    let answered = |region: &RegionId| heard.iter().filter(nothing).any(|one| one.region == *region);
    let home = answered(case.home);
    match case.recalled {
        // In the journal, and home cannot say what became of it. What was changed at home, or is not
        // there any more, may have been changed again through another proxy: what all others lack then
        // is told so, and counted as unconfirmed.
        Some(Recalled { change: Change::Wrote, away: true, .. }) if !home => {
            return Next::Withhold(Withheld::Written);
        }
        Some(Recalled { change: Change::Deleted, away: true, .. }) if !home => {
            return Next::Withhold(Withheld::Deleted);
        }
        Some(_) | None => {}
    }
    // Where every region that took writes was heard, what was forgotten makes no difference: of a key
    // that is remembered its region would have been asked, and was.
    if case.fallback && case.overflowed && !home && !case.away.iter().all(answered) {
        return Next::Withhold(Withheld::Overflowed);
    }
    let of =
        |region: &RegionId| heard.iter().position(|one| one.finding.is_nothing() && one.region == *region);
    let best = of(case.home).or_else(|| heard.iter().position(|one| one.finding.is_nothing()));
    match best {
        Some(at) if home && case.recalled.is_none() => Next::Answer(at, Certainty::Confirmed),
        Some(at) => Next::Answer(at, Certainty::Unconfirmed),
        None => Next::Withhold(Withheld::Unheard),
    }
}
