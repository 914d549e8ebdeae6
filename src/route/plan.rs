//! From a permit and the fleet's table to the regions that one request may be sent to. Pure.

use std::time::Instant;

use smallvec::SmallVec;

use crate::chance::Coin;
use crate::fleet::{KindRow, RegionTable, Standing};
use crate::names::{BucketName, RegionId};
use crate::s3::operation::{Kind, Reach};
use crate::s3::profile::Features;

use super::access_point::{ConditionalWrites, Order};
use super::affinity::Affinity;
use super::permit::Permit;
use super::rank::{Candidate, Candidates, by_last_success, candidates, put_trial_first};
use super::why::{Considered, Fitness, Scope, Why};

/// What a plan may look at.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// The fleet.
    pub table: &'a RegionTable,
    /// What each region's store honours.
    pub honours: &'a dyn Fn(&RegionId) -> Features,
    /// Regions that this request has been sent to already: ranked last.
    pub tried: &'a [RegionId],
    /// The most steps a plan may have (`limits.attempts`).
    pub attempts: usize,
    /// Now.
    pub now: Instant,
}

/// One region to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which.
    pub region: RegionId,
    /// Its bucket; `None` under the wildcard: the client's own bucket name.
    pub bucket: Option<BucketName>,
    /// The region is in probation, and one request at a time may try it: where
    /// [`crate::fleet::Trial::take`] gives no turn it is not awaited: the others come
    /// first.
    pub trial: bool,
    /// The region is not fit and is tried because nothing else is left.
    pub last_resort: bool,
}

impl Step {
    /// Whether an answer from there is still worth waiting for, `half` being the region's for this kind of
    /// request. Not where the region went out because it gives none and another may be asked. Where it is
    /// the only one (`alone`) or answers, be it errors, what is under way is left alone: cut off it would
    /// certainly fail, and a body that moves may yet arrive.
    #[must_use]
    pub fn is_worth_waiting(&self, alone: bool, half: Option<&KindRow>) -> bool {
        let silent = half.is_some_and(|half| half.standing == Standing::Out && !half.errs);
        self.last_resort || alone || !silent
    }
}

/// Steps, in order.
pub type Steps = SmallVec<[Step; 4]>;

/// Where one request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The regions to try in order; at least one, each at most once.
    pub steps: Steps,
    /// A write that was sent in full without an answer may be repeated in another region.
    pub failover: bool,
    /// No region is fit: those allowed are tried by most recent success. To be bounded by the
    /// caller (a share of the requests in flight).
    pub fail_open: bool,
    /// The reasons.
    pub why: Why,
}

/// Why no region may be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoute {
    /// None of the access point's regions may take such a request: 503.
    #[error("no region may take this request")]
    Nothing,
    /// The request is home's, and home is out: 503.
    #[error("home is out for this kind of request")]
    HomeDown(RegionId),
    /// The region of the upload, version or listing is out: 503, never "no such upload".
    #[error("the region that this request is bound to is out")]
    RegionDown(RegionId),
    /// The region of the upload, version or listing is no longer one of the access point's: 503.
    #[error("the region that this request is bound to is no longer configured")]
    RegionGone(RegionId),
    /// The stores do not honour what the request depends on: 501.
    #[error("the stores do not honour what the request depends on")]
    NotHonoured(Features),
    /// Conditional writes are refused on this access point: 501.
    #[error("conditional writes are refused here")]
    ConditionalRefused,
    /// An upload that was begun elsewhere would decide its condition there, while others are decided at
    /// home: two could both say yes. 501.
    #[error("this upload was begun in another region than the one in which conditions are decided")]
    ConditionElsewhere,
}

/// Orders the regions for one request.
///
/// # Errors
/// [`NoRoute`], each variant with the status it stands for. If a region that may take the request
/// is not out there is always a plan; if all are out there still is one, which fails open, unless
/// the request is bound to one region that is out for reads too, and not for errors that it answers,
/// while others serve.
pub fn plan(permit: &Permit, scene: &Scene<'_>, coin: &mut Coin) -> Result<Plan, NoRoute> {
    let course = Course::of(permit)?;
    require_features(permit, scene)?;
    let mut ranked = candidates(permit, &course, scene, coin);
    if !ranked.iter().any(Candidate::honours) {
        return Err(nobody(permit.call().depends_on, !ranked.is_empty()));
    }
    let fit = ranked.iter().any(|candidate| candidate.fitness.is_fit());
    let unconditional = course.scope == Scope::First(Kind::Read);
    let fail_open = !fit && !unconditional;
    if fail_open {
        if let Some(down) = course.down(permit, &ranked, scene) {
            return Err(down);
        }
        by_last_success(&mut ranked, permit, scene);
    } else if matches!(course.scope, Scope::Order(_)) {
        put_trial_first(&mut ranked, permit, coin);
    }
    let steps = steps(&ranked, &course, scene);
    let why = why(permit, &course, &ranked, scene, fail_open);
    let failover =
        matches!(course.scope, Scope::Order(_)) && permit.access_point().rule(course.kind).failover;
    Ok(Plan { steps, failover, fail_open, why })
}

/// The fit regions, or all that are allowed where none is. A read that failed everywhere else is
/// tried where nothing should be sent before it is given up.
fn steps(ranked: &Candidates<'_>, course: &Course<'_>, scene: &Scene<'_>) -> Steps {
    let fit = |candidate: &&Candidate<'_>| candidate.fitness.is_fit();
    let any_fit = ranked.iter().any(|candidate| candidate.fitness.is_fit());
    let attempts = scene.attempts.max(1);
    if !any_fit {
        let honouring = ranked.iter().filter(|candidate| candidate.honours());
        return honouring.take(attempts).map(|candidate| candidate.step(true)).collect();
    }
    let out = |candidate: &&Candidate<'_>| course.kind == Kind::Read && candidate.fitness == Fitness::Out;
    let first = ranked.iter().filter(fit).map(|candidate| candidate.step(false));
    let last = ranked.iter().filter(out).map(|candidate| candidate.step(true));
    first.chain(last).take(attempts).collect()
}

/// Which regions are asked at all, and which comes first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Course<'a> {
    pub(super) scope: Scope,
    pub(super) kind: Kind,
    pub(super) order: &'a Order,
    /// The only region, where there is only one.
    pub(super) only: Option<&'a RegionId>,
    /// Comes first where it is fit.
    pub(super) prefer: Option<&'a RegionId>,
    /// Only while it is not slow, held back or on probation.
    pub(super) yields: bool,
}

impl<'a> Course<'a> {
    fn of(permit: &'a Permit) -> Result<Self, NoRoute> {
        let access_point = permit.access_point();
        let call = permit.call();
        let kind = call.facts().kind;
        let rule = access_point.rule(kind);
        let order = Course {
            scope: Scope::Order(kind),
            kind,
            order: &rule.order,
            only: None,
            prefer: None,
            yields: false,
        };
        let home = Course { scope: Scope::Home, only: Some(&access_point.home), ..order };
        let conditional = kind == Kind::Write && call.conditional_write;
        if conditional && access_point.conditional_writes == ConditionalWrites::Refuse {
            return Err(NoRoute::ConditionalRefused);
        }
        let at_home = conditional && access_point.conditional_writes == ConditionalWrites::Home;
        let (bound, yields) = match permit.affinity() {
            // of a version its own region decides
            Affinity::Region(region)
                if at_home && call.facts().reach == Reach::Upload && *region != access_point.home =>
            {
                return Err(NoRoute::ConditionElsewhere);
            }
            Affinity::Region(region) => {
                return match access_point.member(region) {
                    Some(member) => Ok(Course { scope: Scope::Bound, only: Some(&member.region), ..order }),
                    None => Err(NoRoute::RegionGone(region.clone())),
                };
            }
            Affinity::Prefer(region) => (Some(region), false),
            Affinity::Recent(region) => (Some(region), true),
            Affinity::None => (None, false),
        };
        if at_home {
            return Ok(home);
        }
        match call.facts().reach {
            // every region of the wildcard has the same settings
            Reach::Home | Reach::Local
                if kind == Kind::Read && access_point.is_wildcard() && access_point.members.len() > 1 => {}
            // an upload without a token of ours is home's
            Reach::Home | Reach::Upload | Reach::Local => return Ok(home),
            Reach::Any | Reach::Every => {}
        }
        if access_point.may_move(kind) {
            return Ok(Course { prefer: bound, yields, ..order });
        }
        if kind == Kind::Write && rule.order == Order::Home {
            return Ok(home);
        }
        Ok(Course { scope: Scope::First(kind), prefer: bound, yields, ..order })
    }

    /// The refusal of a request that only one region may take, which is out while others serve.
    /// Where none of the access point's serves it is tried all the same: it is the only candidate,
    /// or perhaps it is our own network. So is what a region may take that is out for errors it
    /// answers or that answers probes again, and a write whose region serves reads: it is reachable,
    /// some of its requests may fail, and to refuse them all would be worse than to try.
    fn down(&self, permit: &Permit, ranked: &Candidates<'_>, scene: &Scene<'_>) -> Option<NoRoute> {
        let only = match self.scope {
            Scope::Order(_) => return None,
            Scope::First(_) | Scope::Home | Scope::Bound => ranked.first()?,
        };
        let members = permit.access_point().members.iter();
        let others = members.filter(|member| member.region != only.member.region);
        let served =
            others.map(|member| scene.table.standing(&member.region, self.kind)).any(Standing::is_eligible);
        let serves_reads = scene.table.standing(&only.member.region, Kind::Read).is_serving();
        let answers = |half: &KindRow| half.errs || half.risen;
        let answers = scene.table.row(&only.member.region).is_some_and(|row| answers(row.of(self.kind)));
        let reachable = answers || (self.kind == Kind::Write && serves_reads);
        if only.fitness != Fitness::Out || !served || reachable {
            return None;
        }
        let region = only.member.region.clone();
        Some(match self.scope {
            Scope::Home => NoRoute::HomeDown(region),
            Scope::Order(_) | Scope::First(_) | Scope::Bound => NoRoute::RegionDown(region),
        })
    }
}

/// The refusal where no region is asked, or none of those asked can do what the request needs.
fn nobody(depends_on: Features, asked: bool) -> NoRoute {
    if asked { NoRoute::NotHonoured(depends_on) } else { NoRoute::Nothing }
}

/// What home cannot do is not done at all: another region's store might, and then the object
/// would be protected in one place and not in the next.
fn require_features(permit: &Permit, scene: &Scene<'_>) -> Result<(), NoRoute> {
    let depends_on = permit.call().depends_on;
    if depends_on.is_empty() {
        return Ok(());
    }
    let missing = depends_on.without((scene.honours)(&permit.access_point().home));
    if missing.is_empty() { Ok(()) } else { Err(NoRoute::NotHonoured(missing)) }
}

fn why(
    permit: &Permit,
    course: &Course<'_>,
    ranked: &Candidates<'_>,
    scene: &Scene<'_>,
    fail_open: bool,
) -> Why {
    let class = permit.call().facts().class;
    let latency = |region: &RegionId| scene.table.row(region).and_then(|row| row.latency_of(class));
    let asked = ranked.iter().map(|candidate| (candidate.member, candidate.fitness, candidate.tried));
    let members = permit.access_point().members.iter();
    let left_out = members
        .filter(|member| ranked.iter().all(|candidate| candidate.member.region != member.region))
        .map(|member| (member, Fitness::LeftOut, false));
    let regions = asked
        .chain(left_out)
        .map(|(member, fitness, tried)| Considered {
            region: member.region.clone(),
            fitness,
            latency: latency(&member.region),
            tried,
        })
        .collect();
    Why { scope: course.scope, regions, fail_open }
}
