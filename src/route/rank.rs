//! Which of an access point's regions are fit for a request, and in which order. Pure.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::chance::Coin;
use crate::fleet::{KindRow, RegionRow, Standing};
use crate::names::RegionId;
use crate::s3::operation::{Kind, Replay};
use crate::s3::profile::Features;

use super::access_point::{AccessPoint, Member, Order};
use super::permit::Permit;
use super::plan::{Course, Scene, Step};
use super::why::{Fitness, Scope};

/// A region that is asked, with all that ranks it.
#[derive(Clone, Debug)]
pub(super) struct Candidate<'a> {
    pub(super) member: &'a Member,
    pub(super) fitness: Fitness,
    pub(super) tried: bool,
    preferred: bool,
    tier: Tier,
    place: usize,
    last_success: Option<Instant>,
}

/// Candidates of one request; few access points have more than four regions.
pub(super) type Candidates<'a> = SmallVec<[Candidate<'a>; 4]>;

/// How a fit region ranks before its place in the order counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tier {
    /// Serving.
    Serving,
    /// Serving, but plainly slow.
    Slow,
    /// Serving again, but not to be relied on yet.
    Held,
    /// Not proven by requests yet.
    Probation,
    /// Never heard.
    Unknown,
    /// Not fit.
    Unfit,
}

impl Candidate<'_> {
    /// Whether its store honours what the request depends on.
    pub(super) fn honours(&self) -> bool {
        !matches!(self.fitness, Fitness::Lacks(_))
    }

    pub(super) fn step(&self, last_resort: bool) -> Step {
        Step {
            region: self.member.region.clone(),
            bucket: self.member.bucket.clone(),
            trial: self.fitness == Fitness::Trial,
            last_resort,
        }
    }

    fn serves(&self) -> bool {
        matches!(self.tier, Tier::Serving | Tier::Slow | Tier::Held)
    }
}

/// The regions of the course in the order in which they should be tried.
pub(super) fn candidates<'a>(
    permit: &'a Permit,
    course: &Course<'_>,
    scene: &Scene<'_>,
    coin: &mut Coin,
) -> Candidates<'a> {
    let access_point = permit.access_point();
    let mut ranked: Candidates<'a> = access_point
        .members
        .iter()
        .filter(|member| course.only.is_none_or(|only| *only == member.region))
        .filter_map(|member| {
            let place =
                if course.only.is_some() { 0 } else { place(access_point, course.order, member, scene)? };
            Some(candidate(permit, course, scene, (member, place), coin))
        })
        .collect();
    match course.scope {
        Scope::First(_) => {
            // by the order alone: whatever the first one's health, no other is asked
            ranked.sort_by_key(|candidate| (!candidate.honours(), !candidate.preferred, candidate.place));
            ranked.truncate(1);
        }
        Scope::Order(_) | Scope::Home | Scope::Bound => ranked.sort_by_key(|candidate| {
            (
                candidate.tried,
                candidate.tier == Tier::Unfit,
                !candidate.preferred,
                candidate.tier,
                candidate.place,
            )
        }),
    }
    ranked
}

/// Failing open: whoever succeeded last comes first, in whole seconds; among equals, whoever is least
/// behind home.
pub(super) fn by_last_success(ranked: &mut Candidates<'_>, permit: &Permit, scene: &Scene<'_>) {
    let home = &permit.access_point().home;
    let lag = |candidate: &Candidate<'_>| match &candidate.member.region {
        region if region == home => Duration::ZERO,
        region => scene.table.lag(home, region).unwrap_or(Duration::MAX),
    };
    ranked.sort_by_key(|candidate| {
        let age = candidate.last_success.map(|at| scene.now.saturating_duration_since(at).as_secs());
        (candidate.tried, age.unwrap_or(u64::MAX), lag(candidate), candidate.place)
    });
}

/// Share of reads that try a region in probation although a nearer one serves: without them it
/// would stay in probation until it is needed, and be unproven then.
const STRAY_TRIALS: f64 = 0.125;

/// Lets one request try a region in probation where others serve. Only requests that may be
/// repeated elsewhere if the trial fails, and that do not go on with what another region began.
pub(super) fn put_trial_first(ranked: &mut Candidates<'_>, permit: &Permit, coin: &mut Coin) {
    // with nobody left to fall back on it is no trial but the last hope
    if !ranked.iter().any(|candidate| candidate.serves() && !candidate.tried) {
        return;
    }
    // what goes on where it began stays there while it can
    if ranked.first().is_some_and(|first| first.preferred && first.fitness.is_fit() && !first.tried) {
        return;
    }
    let on_trial = |candidate: &Candidate<'_>| candidate.tier == Tier::Probation && !candidate.tried;
    let Some(at) = ranked.iter().position(on_trial) else { return };
    let place = ranked.get(at).map_or(usize::MAX, |candidate| candidate.place);
    let natural = ranked.iter().filter(|candidate| candidate.serves()).all(|other| place < other.place);
    let call = permit.call();
    let risk = match call.facts().replay {
        Replay::Always => true,
        Replay::BodyUnsent | Replay::Harmless => natural && !call.conditional_write,
        Replay::HeadUnsent | Replay::Unsent => false,
    };
    if risk && (natural || coin.lands(STRAY_TRIALS)) {
        let mut candidate = ranked.remove(at);
        candidate.fitness = Fitness::Trial;
        ranked.insert(0, candidate);
    }
}

fn candidate<'a>(
    permit: &Permit,
    course: &Course<'_>,
    scene: &Scene<'_>,
    (member, place): (&'a Member, usize),
    coin: &mut Coin,
) -> Candidate<'a> {
    let row = scene.table.row(&member.region);
    let missing = missing(permit.call().depends_on, &member.region, scene);
    let (fitness, tier) = if missing.is_empty() {
        row.map_or((Fitness::Fit(Standing::Unknown), Tier::Unknown), |row| {
            fitness(permit, row, course, scene, coin)
        })
    } else {
        (Fitness::Lacks(missing), Tier::Unfit)
    };
    Candidate {
        member,
        fitness,
        tried: scene.tried.contains(&member.region),
        preferred: course.prefer == Some(&member.region) && (!course.yields || tier == Tier::Serving),
        tier,
        place,
        last_success: row.and_then(|row| row.last_success),
    }
}

/// The region's place in the order; `None` where the order leaves it out.
fn place(access_point: &AccessPoint, order: &Order, member: &Member, scene: &Scene<'_>) -> Option<usize> {
    let nearness = || {
        let rows = scene.table.rows();
        rows.iter().position(|row| row.region == member.region).unwrap_or(rows.len())
    };
    match order {
        Order::Nearest => Some(nearness()),
        Order::Home if member.region == access_point.home => Some(0),
        Order::Home => Some(1 + nearness()),
        Order::List(list) => list.iter().position(|region| *region == member.region),
    }
}

fn missing(depends_on: Features, region: &RegionId, scene: &Scene<'_>) -> Features {
    if depends_on.is_empty() { Features::NONE } else { depends_on.without((scene.honours)(region)) }
}

fn fitness(
    permit: &Permit,
    row: &RegionRow,
    course: &Course<'_>,
    scene: &Scene<'_>,
    coin: &mut Coin,
) -> (Fitness, Tier) {
    let refused = &row.refused_credentials;
    if !refused.is_empty() && refused.contains(&permit.credential(&row.region)) {
        return (Fitness::CredentialRefused, Tier::Unfit);
    }
    if row.refused_configurations.contains(&permit.access_point().name) {
        return (Fitness::ConfigurationRefused, Tier::Unfit);
    }
    let kind = course.kind;
    let half = row.of(kind);
    let standing = half.standing;
    match standing {
        Standing::Out => (Fitness::Out, Tier::Unfit),
        Standing::Unknown => (Fitness::Fit(standing), Tier::Unknown),
        Standing::Probation => (Fitness::Fit(standing), Tier::Probation),
        Standing::Healthy | Standing::Suspect
            if is_held(half, kind, scene.now, coin) || (kind == Kind::Write && lags(permit, row, scene)) =>
        {
            (Fitness::Held(standing), Tier::Held)
        }
        Standing::Healthy | Standing::Suspect if row.slow && minds_slowness(course) => {
            (Fitness::Slow(standing), Tier::Slow)
        }
        Standing::Healthy | Standing::Suspect => (Fitness::Fit(standing), Tier::Serving),
    }
}

/// A slow region is left where the order is by speed. An operator's list is not: readers may be
/// there for what was written there a moment ago, and a change of the region of writes is a change
/// of what wins.
fn minds_slowness(course: &Course<'_>) -> bool {
    *course.order == Order::Nearest
}

/// How long reads take to return in full after the hold-down, from a tenth of them upwards: a
/// store with cold caches is not hit by everybody at once.
const RAMP: Duration = Duration::from_secs(30);

/// The share of reads that returns at once.
const RAMP_START: f64 = 0.1;

/// How far a region may be behind the others, for writes to return to it: replication takes seconds
/// where nothing is wrong.
const RETURN_LAG: Duration = Duration::from_secs(10);
/// How long after the hold-down writes stay away for that at most: a region that is never nearer to the
/// others is one that replication has left behind, and that is the operator's affair.
const RETURN_LAG_MOST: Duration = Duration::from_mins(10);

/// Whether a region that is back has yet to take over what the others took meanwhile, as the replication
/// canary measures it. Of two writes of a key the older might win there.
fn lags(permit: &Permit, row: &RegionRow, scene: &Scene<'_>) -> bool {
    let Some(until) = row.writes.held_until else { return false };
    let others = || permit.access_point().members.iter().filter(|member| member.region != row.region);
    let behind = || others().filter_map(|other| scene.table.lag(&other.region, &row.region)).max();
    scene.now < until + RETURN_LAG_MOST && behind().is_some_and(|lag| lag > RETURN_LAG)
}

fn is_held(half: &KindRow, kind: Kind, now: Instant, coin: &mut Coin) -> bool {
    let Some(until) = half.held_until else { return false };
    if now < until {
        return true;
    }
    let since = now.saturating_duration_since(until);
    match kind {
        Kind::Write => false,
        Kind::Read if since >= RAMP => false,
        Kind::Read => {
            let returned = since.as_secs_f64() / RAMP.as_secs_f64();
            !coin.lands(RAMP_START + (1.0 - RAMP_START) * returned)
        }
    }
}
