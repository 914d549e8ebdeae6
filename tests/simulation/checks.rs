//! What must hold after each step, whatever happened: what clients and operators would care about.

use std::time::Duration;

use nearpoint::fleet::Standing;
use nearpoint::names::RegionId;
use nearpoint::route::{AccessPoint, Affinity, Meaning, Outcome, Plan};
use nearpoint::s3::Call;
use nearpoint::s3::operation::Kind;

use crate::history::{Simulation, settings};
use crate::regions::Mode;
use crate::requests::Request;
use crate::rules::{allowed, reads_move};

/// A region that is well for so long is no longer out: the longest ejection, the longest pause
/// between probes, five probes, and some air.
const HEALED: Duration = Duration::from_secs(60 + 5 + 3 + 2);

/// The same where no other region serves: a probe that is still timing out, five fast probes of a
/// slow region, and some air. (Requests are sent there all the while, and none may fail.)
const HEALED_ALONE: Duration = Duration::from_millis(2_000 + 5 * (250 + 330) + 500);

/// Changes of standing a minute, of one region and kind, whatever happens: while nothing else
/// serves a region is out for a second at least, and four changes make a round.
const CHANGES_A_MINUTE: usize = 240;

/// The same while another region serves all the time: ejections double, so there are six at most,
/// and a suspicion lasts five seconds.
const CHANGES_A_MINUTE_IN_COMPANY: usize = 6 * 4 + 12 * 2;

impl Simulation {
    /// Where we suspect ourselves nothing is held against anybody.
    pub(crate) fn check_self_suspicion(&mut self, to: Standing) {
        let table = self.fleet.table(self.now);
        assert_eq!(table.self_suspect(), to == Standing::Suspect);
        if table.self_suspect() {
            self.tally.self_suspect += 1;
            for row in table.rows() {
                assert_eq!(row.reads.standing, Standing::Out, "{row:?}");
            }
        }
    }

    /// Nobody is out for asking for less, however long.
    pub(crate) fn check_blame(&self, region: &RegionId) {
        let region = self.regions.iter().find(|known| known.id == *region).expect("it exists");
        let long = self.now - region.since > Duration::from_secs(20);
        assert!(!(region.mode == Mode::Throttling && long), "{region:?} is out for asking for less");
    }

    /// A plan names only what the access point allows; never a region that is out before one that is
    /// not; and for a read all regions that may help, so that none goes out alone.
    pub(crate) fn check_plan(&self, plan: &Plan, call: &Call, point: &AccessPoint, affinity: &Affinity) {
        let table = &self.table;
        let kind = call.facts().kind;
        let allowed = allowed(call, point, affinity, table);
        let out = |step: &RegionId| table.standing(step, kind) == Standing::Out;
        assert!(!plan.steps.is_empty());
        for step in &plan.steps {
            assert!(allowed.contains(&step.region), "{call:?} must not go to {}", step.region);
            let fine = step.last_resort || plan.steps.len() == 1 || !out(&step.region);
            assert!(fine, "a region that is out is a last resort: {}", plan.why);
        }
        if kind == Kind::Write || *affinity != Affinity::None || !reads_move(point) {
            return;
        }
        let refuses = |id: &RegionId| table.row(id).is_some_and(|row| !row.refused_credentials.is_empty());
        let planned = |id: &RegionId| plan.steps.iter().any(|step| step.region == *id);
        for region in allowed.iter().filter(|region| !refuses(region)) {
            assert!(planned(region), "{region} is left out of a read's plan: {}", plan.why);
        }
    }

    /// A read that may move fails only if no region could answer it all the while, or if its region
    /// asks for less: a crowd that moved on would be the next one's.
    pub(crate) fn check_refusal(&self, call: &Call, point: &AccessPoint, request: Option<&Request>) {
        if call.facts().kind == Kind::Write || !reads_move(point) {
            return;
        }
        let began = request.map_or(self.now, |request| request.began);
        let history: &[(RegionId, Outcome)] = request.map_or(&[], |request| &request.history);
        let throttled =
            |outcome: &Outcome| matches!(outcome, Outcome::Answered { meaning: Meaning::Throttled, .. });
        if history.last().is_some_and(|(_, last)| throttled(last)) {
            return;
        }
        let allowed = allowed(call, point, &Affinity::None, &self.table);
        let spared =
            self.regions.iter().find(|region| allowed.contains(&region.id) && region.is_well_since(began));
        assert!(
            spared.is_none(),
            "a read failed that {spared:?} could have answered; {history:?}; {:?}",
            self.table
        );
    }

    pub(crate) fn check_recovery(&mut self) {
        let now = self.now;
        let standings: Vec<Standing> =
            self.regions.iter().map(|region| self.table.standing(&region.id, Kind::Read)).collect();
        for (place, region) in self.regions.iter().enumerate() {
            let others = standings.iter().enumerate().filter(|(other, _)| *other != place);
            let alone = !others.map(|(_, standing)| standing).copied().any(Standing::is_serving);
            let since = alone.then(|| self.alone_since[place].unwrap_or(now));
            self.alone_since[place] = since;
            let eligible = standings[place].is_eligible();
            let well_for = |bound: Duration| region.since + bound <= now && region.is_well_since(now);
            assert!(eligible || !well_for(HEALED), "{} is well and still out", region.id);
            let alone_for = since.is_some_and(|since| now - since >= HEALED_ALONE);
            let needed = alone_for && well_for(HEALED_ALONE + region.ttfb());
            assert!(
                eligible || !needed,
                "{} is well and needed, and still out; {:?} {now:?} {:?}",
                region.id,
                self.table,
                self.regions
            );
        }
    }

    /// A region that did not answer a request is probed within ten milliseconds, or, where a probe is
    /// under way, ten after it, until one passes or the region is out. Not by a probe that is known to be
    /// wrong.
    pub(crate) fn check_doubts(&self) {
        let hurry = settings().probe_doubt;
        for region in &self.regions {
            let probes = &region.probes;
            let wrong = self.table.row(&region.id).is_some_and(|row| row.probe_contradicted);
            let asked = probes.running.is_some() || wrong;
            let Some(since) = probes.doubted.filter(|_| !asked) else { continue };
            let late = self.now > since.max(probes.ended) + hurry;
            assert!(!late, "{} is in doubt, and not probed: {region:?} at {:?}", region.id, self.now);
        }
    }

    /// With each repeat: no more of them than a fifth of the requests and ten a second. The budget
    /// counts by whole seconds, so its window is between nine and ten of them.
    pub(crate) fn check_budget(&mut self) {
        let now = self.now;
        for (times, reach) in self.granted.iter_mut().zip([10, 9]) {
            while times.front().is_some_and(|at| now - *at > Duration::from_secs(reach)) {
                times.pop_front();
            }
        }
        let [requests, repeats] = &self.granted;
        assert!(repeats.len() * 5 <= requests.len() + 500, "{} of {}", repeats.len(), requests.len());
    }

    pub(crate) fn check_changes(&mut self) {
        let now = self.now;
        for (slot, kind) in [Kind::Read, Kind::Write].into_iter().enumerate() {
            let serves = |region: &RegionId| self.table.standing(region, kind).is_serving();
            let lonely = self
                .access_points
                .iter()
                .any(|point| point.members.iter().filter(|member| serves(&member.region)).count() < 2);
            if lonely {
                self.lonely[slot] = now;
            }
        }
        let minute = Duration::from_mins(1);
        for ((region, write), changes) in &mut self.changes {
            while changes.front().is_some_and(|at| now - *at > minute) {
                changes.pop_front();
            }
            let lonely = self.lonely[usize::from(*write)];
            let needed = self.indispensable && region.as_str() == "near";
            let bound =
                if now - lonely > minute && !needed { CHANGES_A_MINUTE_IN_COMPANY } else { CHANGES_A_MINUTE };
            assert!(changes.len() <= bound, "{region} changed {} times in a minute", changes.len());
        }
    }
}
