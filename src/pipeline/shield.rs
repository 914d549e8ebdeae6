//! The lag shield at work: remembers what clients change, sends their reads where that happened, and
//! asks on where a region has nothing. What follows from what is `route::shield`'s to say.

use std::cell::RefCell;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::StatusCode;
use smallvec::SmallVec;

use super::ids::bound_bucket;
use super::outgoing::Outgoing;
use super::{Visit, blame};
use crate::exchange::{Errand, Journey, Reached};
use crate::fleet::Standing;
use crate::names::{AccessPointName, RegionId};
use crate::refusal::{Blame, Refusal};
use crate::route::memory::{Change, Forgotten, Memory, Recalled, Tended, Tending};
use crate::route::shield::{self, Case, Certainty, Finding, Heard, Next};
use crate::route::{AccessPoint, Affinity, ConditionalWrites, Etags, Order, Permit, Traces};
use crate::s3::Call;
use crate::s3::call::CopySource;
use crate::s3::operation::Kind;
use crate::sigv4::Stamp;
use crate::telemetry::metric::{self, Metric};
use crate::units::UnixSeconds;
use crate::view::View;

/// Keys looked after in one go: about a millisecond, for which workers may have to wait.
const TENDED: usize = 4_096;
/// How often it is said that keys are forgotten: a busy gateway forgets with every write.
const SAID_EVERY: Duration = Duration::from_mins(1);

/// What this process saw changed, over all workers. Who reads takes its lock only where something
/// may be remembered of the very key.
#[derive(Clone, Debug)]
pub struct Changes {
    memory: Arc<Mutex<Memory>>,
    traces: Arc<Traces>,
    /// Makes keys into numbers that no client can foresee.
    hasher: RandomState,
    said: Arc<Mutex<Said>>,
}

/// What operators were told.
#[derive(Debug, Default)]
struct Said {
    /// When last that keys are forgotten, and how many were since.
    forgotten: Option<(Instant, Forgotten)>,
    /// The access points whose journal is not complete.
    overflowed: HashSet<AccessPointName>,
}

impl Changes {
    /// Room for about so many keys; how many there may be is the view's to say.
    #[must_use]
    pub fn new(keys: u32) -> Self {
        let traces = Arc::new(Traces::new(usize::try_from(keys).unwrap_or(usize::MAX)));
        let memory = Arc::new(Mutex::new(Memory::new(Arc::clone(&traces))));
        Self { memory, traces, hasher: RandomState::new(), said: Arc::default() }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `bucket`: as the client called it.
    fn number(&self, point: &AccessPoint, bucket: Option<&str>, key: &[u8]) -> u64 {
        self.hasher.hash_one((point.name.as_str(), bound_bucket(point, bucket), key))
    }

    fn tag(&self, tag: &[u8]) -> u64 {
        self.hasher.hash_one(tag)
    }

    /// The last change of a key, in a region that the access point still has.
    fn recall(&self, point: &AccessPoint, bucket: Option<&str>, key: &[u8]) -> Option<Recalled> {
        if self.traces.is_empty() {
            return None;
        }
        let number = self.number(point, bucket, key);
        if !self.traces.may_hold(number) {
            return None;
        }
        let recalled = self.memory().recall(&point.name, number)?;
        point.member(&recalled.region).is_some().then_some(recalled)
    }

    /// The region in which a copy's source was last changed, where that is remembered. A version is
    /// what it was.
    pub(super) fn changed_in(&self, point: &AccessPoint, source: &CopySource) -> Option<RegionId> {
        if point.members.len() < 2 || source.version_id.is_some() {
            return None;
        }
        let recalled = self.recall(point, Some(&source.bucket), &source.key)?;
        may_read(point, &recalled.region).then_some(recalled.region)
    }

    /// Whether the last change of a key was a write of this tag, acknowledged by this region before
    /// an instant.
    pub(super) fn acknowledged(
        &self,
        point: &AccessPoint,
        call: &Call,
        region: &RegionId,
        tag: &[u8],
        before: Instant,
    ) -> bool {
        self.recall(point, call.bucket(), call.key()).is_some_and(|last| {
            last.change == Change::Wrote
                && last.region == *region
                && last.at < before
                && last.tag == Some(self.tag(tag))
        })
    }

    /// Forgets a change that its own region contradicts.
    fn compare(&self, point: &AccessPoint, call: &Call, recalled: &Recalled, status: StatusCode) {
        let otherwise = match recalled.change {
            Change::Deleted => status.is_success(),
            Change::Wrote => status == StatusCode::NOT_FOUND,
            Change::Touched => false,
        };
        if otherwise {
            let number = self.number(point, call.bucket(), call.key());
            self.memory().outdated(&point.name, number, recalled);
        }
    }

    fn remember<'k>(
        &self,
        (point, bucket, region): (&AccessPoint, Option<&str>, &RegionId),
        changes: impl Iterator<Item = (&'k [u8], Change)>,
        tag: Option<&[u8]>,
        (view, now): (&View, Instant),
    ) {
        if point.members.len() < 2 || point.lag_shield.remember.is_zero() {
            return;
        }
        let most = usize::try_from(view.limits.remembered_keys).unwrap_or(usize::MAX);
        let numbered = changes.map(|(key, change)| (self.number(point, bucket, key), change));
        let forgotten =
            self.memory().remember((point, region), numbered, tag.map(|tag| self.tag(tag)), now, most);
        if forgotten != Forgotten::default() {
            self.tell_forgotten(forgotten, most, now);
        }
    }

    /// Loud, but not with every write.
    #[cold]
    fn tell_forgotten(&self, forgotten: Forgotten, limit: usize, now: Instant) {
        for (kind, count) in [("recent", forgotten.recent), ("journal", forgotten.journal)] {
            metric::counter(Metric::ShieldForgotten, &[kind]).increment(count as u64);
        }
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, mut since) = said.forgotten.map_or((None, forgotten), |(at, since)| (Some(at), since));
        if last.is_some() {
            since.recent += forgotten.recent;
            since.journal += forgotten.journal;
        }
        if last.is_some_and(|last| now.saturating_duration_since(last) < SAID_EVERY) {
            said.forgotten = last.map(|last| (last, since));
            return;
        }
        tracing::warn!(
            limit,
            recent = since.recent,
            journal = since.journal,
            "more keys were changed than limits.remembered_keys: the oldest are forgotten, and readers may see what was before"
        );
        said.forgotten = Some((now, Forgotten::default()));
    }

    /// Forgets what home has had time to catch up with, and shows how much is remembered.
    pub fn tend(&self, view: &View, now: Instant) {
        let known = self.memory().points();
        for name in &known {
            let point = view.access_points.iter().find(|point| point.name == *name);
            if let Some(point) = point.filter(|point| !point.lag_shield.remember.is_zero()) {
                self.tend_point(point, view, now);
            } else {
                self.memory().forget(name);
                self.show(name, &Tended::default());
            }
        }
    }

    fn tend_point(&self, point: &AccessPoint, view: &View, now: Instant) {
        let well =
            |kind| matches!(view.table.standing(&point.home, kind), Standing::Healthy | Standing::Suspect);
        let behind = |region: &RegionId| {
            let others = point.members.iter().filter(|member| member.region != *region);
            others.filter_map(|other| view.table.lag(region, &other.region)).max().unwrap_or_default()
        };
        let tending = Tending {
            window: point.lag_shield.remember,
            home_well: well(Kind::Read) && well(Kind::Write),
            behind: &behind,
            most: TENDED,
        };
        loop {
            let tended = self.memory().tend(point, &tending, now);
            for region in &tended.synced {
                tracing::info!(access_point = %point.name, home = %point.home, %region,
                    "home has had the lag window to take over what was changed elsewhere: its journal is closed");
            }
            if !tended.more {
                return self.show(&point.name, &tended);
            }
        }
    }

    fn show(&self, point: &AccessPointName, tended: &Tended) {
        let name = point.as_str();
        for (kind, keys) in [("recent", tended.recent), ("journal", tended.journal)] {
            #[expect(clippy::cast_precision_loss, reason = "a number of keys")]
            metric::gauge(Metric::ShieldKeys, &[name, kind]).set(keys as f64);
        }
        metric::gauge(Metric::ShieldOverflowed, &[name]).set(f64::from(u8::from(tended.overflowed)));
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if !tended.overflowed {
            said.overflowed.remove(point);
        } else if said.overflowed.insert(point.clone()) {
            tracing::error!(access_point = %point,
                "more keys were changed away from home than limits.remembered_keys: until home is in sync again, \
                 what nobody finds is answered 503 where not every region that took writes can be asked");
        }
    }
}

/// What is remembered of the key that a read is of. One atomic load where nothing is remembered, and
/// no lock unless something may be of this very key.
pub(super) fn recall(visit: &Visit<'_>) -> Option<Recalled> {
    let (point, call) = (&visit.access_point, &visit.call);
    if point.members.len() < 2 || visit.house.changes.traces.is_empty() {
        return None;
    }
    // a version is where it is, whatever became of its key
    if !shield::applies(call) || call.version_id.is_some() {
        return None;
    }
    visit
        .house
        .changes
        .recall(point, call.bucket(), call.key())
        .filter(|recalled| may_read(point, &recalled.region))
}

/// Whether the read of a remembered key begins where the key was changed.
pub(super) fn begins_there(visit: &Visit<'_>, recalled: &Recalled) -> bool {
    let point = &visit.access_point;
    let age = visit.house.clock.mono().saturating_duration_since(recalled.at);
    point.lag_shield.begins_there(recalled, point.etags == Etags::Stable, age)
}

/// A condition is home's to judge, and of a key that was changed elsewhere while home was out it may not
/// know yet: what it says could be true of an older object only.
///
/// # Errors
/// `503` until home has had the lag window to take the change over.
pub(super) fn refuse_condition_on_what_moved(visit: &Visit<'_>, key: &[u8]) -> Result<(), Refusal> {
    let (point, call) = (&visit.access_point, &visit.call);
    if !call.conditional_write || point.conditional_writes != ConditionalWrites::Home {
        return Ok(());
    }
    // of a version its own region decides, whatever became of its key
    if call.version_id.is_some() {
        return Ok(());
    }
    let (_, overflowed) = visit.house.changes.memory().away(&point.name);
    if overflowed {
        let words =
            "more keys were changed away from home than are remembered: home may not have this one's change";
        return Err(Refusal::unavailable(Blame::Region, words));
    }
    let recalled = visit.house.changes.recall(point, call.bucket(), key);
    match recalled.filter(|recalled| recalled.away) {
        None => Ok(()),
        Some(recalled) => Err(Refusal::unavailable(
            Blame::Region,
            format!("home may not have what {} took of this key last", recalled.region),
        )),
    }
}

/// Whether the operator lets reads go to a region: a list leaves regions out for a reason.
fn may_read(point: &AccessPoint, region: &RegionId) -> bool {
    match &point.reads.order {
        Order::Nearest | Order::Home => point.member(region).is_some(),
        Order::List(listed) => listed.contains(region),
    }
}

/// Remembers a change that a region has acknowledged; `upload`: the tag of what the end of an upload made.
pub(super) fn remember(visit: &Visit<'_>, reached: &Reached, upload: Option<&str>) {
    if !reached.head.status.is_success() {
        return;
    }
    let Some(change) = Change::of(&visit.call) else { return };
    let tag = etag(reached).or(upload.map(str::as_bytes));
    remember_all(visit, &reached.step.region, std::iter::once((visit.call.key(), change)), tag);
}

/// Remembers deletions that a region has acknowledged.
pub(super) fn remember_deleted<'k>(
    visit: &Visit<'_>,
    region: &RegionId,
    deletions: impl Iterator<Item = (&'k [u8], Change)>,
) {
    remember_all(visit, region, deletions, None);
}

fn remember_all<'k>(
    visit: &Visit<'_>,
    region: &RegionId,
    changes: impl Iterator<Item = (&'k [u8], Change)>,
    tag: Option<&[u8]>,
) {
    let now = visit.house.clock.mono();
    let place = (&*visit.access_point, visit.call.bucket(), region);
    visit.house.changes.remember(place, changes, tag, (visit.view, now));
}

/// Whether an answer must be looked into before it is the client's. Tells where a remembered key was
/// read.
pub(super) fn doubts(
    visit: &Visit<'_>,
    permit: &Permit,
    recalled: Option<&Recalled>,
    reached: &Reached,
) -> bool {
    let point = &visit.access_point;
    // nearly all answers to nearly all requests end here
    if recalled.is_none() && reached.head.status.is_success() || point.members.len() < 2 {
        return false;
    }
    if let Some(recalled) = recalled.filter(|recalled| recalled.region == reached.step.region) {
        visit.house.changes.compare(point, &visit.call, recalled, reached.head.status);
        visit.ledger.shielded(match recalled.change {
            Change::Wrote | Change::Touched => "read where it was written",
            Change::Deleted => "read where it was deleted",
        });
    }
    shield::applies(&visit.call)
        && !matches!(permit.affinity(), Affinity::Region(_))
        && shield::doubts(point.lag_shield.fallback, recalled, &heard_of(visit, recalled, reached))
}

fn etag(reached: &Reached) -> Option<&[u8]> {
    reached.head.headers.get(http::header::ETAG).map(http::HeaderValue::as_bytes)
}

fn heard_of(visit: &Visit<'_>, recalled: Option<&Recalled>, reached: &Reached) -> Heard {
    let written = recalled.and_then(|recalled| recalled.tag);
    let is_it = written.is_some() && written == etag(reached).map(|tag| visit.house.changes.tag(tag));
    let later = recalled.is_some_and(|recalled| is_later(visit, recalled, reached));
    Heard { region: reached.step.region.clone(), finding: finding(reached), proven: is_it, later }
}

/// Whether an answer is of an object that was written after the remembered change, by the region's
/// clock as it is known.
fn is_later(visit: &Visit<'_>, recalled: &Recalled, reached: &Reached) -> bool {
    let date = reached.head.headers.get(http::header::LAST_MODIFIED).and_then(|date| date.to_str().ok());
    let Some(written) = date.and_then(Stamp::parse_date) else { return false };
    let now = visit.house.clock.now();
    let ahead = visit.house.exchange.meters.of(&reached.step.region).ahead();
    let written = UnixSeconds(written.at().0.saturating_sub(ahead));
    shield::is_later(written, now.mono.saturating_duration_since(recalled.at), (now.wall, now.wall_millis))
}

fn finding(reached: &Reached) -> Finding {
    let head = &reached.head;
    let marker = head.headers.get("x-amz-delete-marker").is_some_and(|value| value == "true");
    let code = reached.error.as_ref().map(|error| error.code.as_str());
    Finding::of(head.status.as_u16(), code, marker)
}

/// Asks on until it is known whether there is nothing, or nobody is left who could know.
pub(super) async fn look_further(
    visit: &Visit<'_>,
    recalled: Option<Recalled>,
    outgoing: &Outgoing<'_>,
    first: Reached,
) -> Result<Reached, Refusal> {
    let point = &visit.access_point;
    let (away, overflowed) = visit.house.changes.memory().away(&point.name);
    let (mut heard, mut answers, mut asked) = (Heards::new(), Answers::new(), false);
    let silent = |region: &RegionId| Heard {
        region: region.clone(),
        finding: Finding::Silent,
        proven: false,
        later: false,
    };
    let left_out =
        point.members.iter().map(|member| &member.region).filter(|region| !may_read(point, region));
    // Whose word decides is asked once more, and waited for as long as it serves: that it was slow, or
    // failed once, while another had an answer ready does not make that answer true.
    let decides = |region: &RegionId| {
        *region == point.home || recalled.as_ref().is_some_and(|recalled| recalled.region == *region)
    };
    let mut tried = visit.ledger.tried_in_vain(&first.step.region);
    tried.retain(|region| !decides(region));
    for region in tried.iter().chain(left_out) {
        heard.push(silent(region));
        answers.push(None);
    }
    heard.push(heard_of(visit, recalled.as_ref(), &first));
    answers.push(Some(first));
    let case = Case {
        fallback: point.lag_shield.fallback,
        home: &point.home,
        recalled: recalled.as_ref(),
        away: &away,
        overflowed,
        before: heard.len(),
    };
    loop {
        match shield::next(&case, &heard) {
            Next::Ask(region) => {
                if heard.last().is_some_and(|last| last.finding.is_nothing()) {
                    visit.ledger.had_nothing();
                }
                asked = true;
                let answer = ask(visit, region, outgoing).await;
                let said = answer.as_ref().map(|answer| heard_of(visit, recalled.as_ref(), answer));
                heard.push(said.unwrap_or_else(|| silent(region)));
                answers.push(answer);
            }
            // home has not, and nobody may know better: everyday, and nothing to tell
            Next::Answer(at, Certainty::Confirmed) if !asked => return chosen(&mut answers, at),
            Next::Answer(at, certainty) => {
                let (outcome, words) = said(certainty, at + 1 == answers.len());
                count(point, outcome);
                visit.ledger.shielded(words);
                return chosen(&mut answers, at);
            }
            Next::Withhold(why) => {
                count(point, "withheld");
                visit.ledger.shielded("withheld");
                return Err(Refusal::unavailable(Blame::Region, why.cause()));
            }
        }
    }
}

type Heards = SmallVec<[Heard; 4]>;
type Answers = SmallVec<[Option<Reached>; 1]>;

fn chosen(answers: &mut Answers, at: usize) -> Result<Reached, Refusal> {
    let chosen = answers.get_mut(at).and_then(Option::take);
    chosen.ok_or_else(|| Refusal::unavailable(Blame::House, "an answer got lost"))
}

/// As metrics count an answer, and as the access log says it.
fn said(certainty: Certainty, last: bool) -> (&'static str, &'static str) {
    match certainty {
        Certainty::Found if last => ("found", "found where it was asked for again"),
        Certainty::Found => ("found", "found"),
        Certainty::Unproven => ("unproven", "found, and not proven to be what was written last"),
        Certainty::Confirmed => ("confirmed", "confirmed that there is nothing"),
        Certainty::Unconfirmed => ("unconfirmed", "nothing found by those that could be asked"),
    }
}

fn count(point: &AccessPoint, outcome: &'static str) {
    metric::counter(Metric::ShieldReads, &[point.name.as_str(), outcome]).increment(1);
}

/// Asks one region the same; `None` where it is out by now, goes out meanwhile, or did not answer.
async fn ask(visit: &Visit<'_>, region: &RegionId, outgoing: &Outgoing<'_>) -> Option<Reached> {
    let permit = Permit::granted(
        visit.reachable(),
        visit.sender.client.clone(),
        Arc::clone(&visit.call),
        Affinity::Region(region.clone()),
    );
    let answer = match super::replan(visit, &permit, &[]) {
        Ok(plan) => {
            let errand = Errand {
                permit: &permit,
                came: visit.ledger.came(),
                source: outgoing.source,
                // a read leaves nothing to be proven
                written: None,
                in_hand: true,
                prepare: &|step, region| outgoing.prepare(step, region),
                replan: &|tried| super::replan(visit, &permit, tried),
                anonymous: visit.sender.anonymous_upstream,
                own_credential: &|region| visit.sender.own_credential(region),
                canary: &|step| blame::canary(visit, step),
            };
            let journey = RefCell::new(Journey::default());
            let answer = visit.house.exchange.run(&errand, plan, &journey).await.ok();
            visit.ledger.asked_again(journey.into_inner());
            answer
        }
        Err(_out) => None,
    };
    let outcome = match answer.as_ref().map(finding) {
        Some(Finding::Found) => "found",
        Some(Finding::Missing | Finding::Marker) => "nothing",
        Some(Finding::Silent) | None => "unanswered",
    };
    metric::counter(Metric::ShieldAsks, &[region.as_str(), outcome]).increment(1);
    answer
}
