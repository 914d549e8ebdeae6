//! The state machine of one region for one kind of request. Pure.
//!
//! It decides whether a region may be sent requests of that kind, from probes and from what
//! became of requests. It does not know which region it is, nor what routing makes of it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::chance::Coin;

use super::event::{Cause, Never, ProbeFault};
use super::settings::FleetSettings;
use super::standing::Standing;
use super::streak::Streak;
use super::window::{BUCKETS, Window};

/// Buckets of the window that are judged by themselves where they hold enough: a good past does not
/// shield a region whose share has fallen for three seconds.
const LATELY: u32 = 3;

/// What a mutation may look at besides the machine itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene<'a> {
    pub(super) settings: &'a FleetSettings,
    pub(super) now: Instant,
    /// No other region of any of its access points serves this kind: caution about this one would
    /// help nobody.
    pub(super) alone: bool,
    /// No other region of at least one of its access points serves this kind.
    pub(super) needed: bool,
    /// Every region failed at once, so that it is perhaps our own network: nothing is held against
    /// anybody.
    pub(super) frozen: bool,
    /// Reads: where probes pass that requests contradict, an ejection may last so long from its
    /// start. Writes have no such patience: the same region is often the only one that may take
    /// them.
    pub(super) contradicted: Option<Duration>,
}

/// A change of standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) from: Standing,
    pub(super) to: Standing,
    pub(super) why: Cause,
}

/// The ejection under way.
#[derive(Clone, Copy, Debug)]
struct Ejection {
    /// Not tried before this while others serve.
    until: Instant,
    /// The same for as long as probes contradict what requests met.
    until_contradicted: Instant,
    /// Probes failed too: a passing one is then news.
    probes_agree: bool,
    /// It was for an answer, and nothing was left unanswered since.
    errs: bool,
}

/// An ejection that is held against the region.
#[derive(Clone, Copy, Debug)]
struct Flap {
    at: Instant,
    /// It had served before: no trial that failed.
    served: bool,
}

/// The machine of one (region, kind).
#[derive(Clone, Debug)]
pub(super) struct Health {
    standing: Standing,
    since: Instant,
    streak: Streak,
    window: Window,
    probe_fails: u32,
    probe_failed_at: Option<Instant>,
    probe_passes: u32,
    probe_passed_at: Option<Instant>,
    trials: u32,
    ejection: Option<Ejection>,
    flaps: VecDeque<Flap>,
    held_until: Option<Instant>,
    /// Since when it has not been healthy, trials that failed included.
    down_since: Option<Instant>,
}

impl Ejection {
    /// When the region may be tried again.
    fn ends(&self) -> Instant {
        if self.probes_agree { self.until } else { self.until.max(self.until_contradicted) }
    }
}

impl Health {
    /// A region that was not heard yet.
    pub(super) fn new(settings: &FleetSettings, now: Instant) -> Self {
        Self {
            standing: Standing::Unknown,
            since: now,
            streak: Streak::default(),
            window: Window::new(settings.window, now),
            probe_fails: 0,
            probe_failed_at: None,
            probe_passes: 0,
            probe_passed_at: None,
            trials: 0,
            ejection: None,
            flaps: VecDeque::new(),
            held_until: None,
            down_since: None,
        }
    }

    pub(super) fn standing(&self) -> Standing {
        self.standing
    }

    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// Since when it has been out, trials that failed in between included.
    pub(super) fn down_since(&self) -> Option<Instant> {
        self.down_since.filter(|_| self.standing == Standing::Out)
    }

    /// It went out together with every other region: it is perhaps our own network that failed,
    /// and neither this nor a hold-down is held against the region.
    pub(super) fn absolve(&mut self, settings: &FleetSettings) {
        let Some(down) = self.down_since else { return };
        while self.flaps.back().is_some_and(|flap| flap.at >= down) {
            self.flaps.pop_back();
        }
        self.held_until = self.held_until.filter(|_| !self.flaps.is_empty());
        if let Some(ejection) = &mut self.ejection {
            ejection.until = ejection.until.min(self.since + settings.ejection);
            ejection.until_contradicted = ejection.until;
        }
    }

    /// Whether it is out for what it answered, and still answers.
    pub(super) fn errs(&self) -> bool {
        self.ejection.is_some_and(|ejection| ejection.errs)
    }

    /// Whether it is out although probes pass again: where they failed too a single one is news. Whoever has
    /// another region waits until that is believed; what nobody else may take is not kept waiting.
    pub(super) fn risen(&self, settings: &FleetSettings) -> bool {
        let passes = self.probe_passes;
        self.ejection.is_some_and(|ejection| passes >= settings.rise || (ejection.probes_agree && passes > 0))
    }

    /// Whether an ejection is still held against it.
    pub(super) fn flapped(&self) -> bool {
        !self.flaps.is_empty()
    }

    pub(super) fn held_until(&self) -> Option<Instant> {
        self.held_until
    }

    pub(super) fn probe_fails(&self) -> u32 {
        self.probe_fails
    }

    pub(super) fn probe_passes(&self) -> u32 {
        self.probe_passes
    }

    /// Whether a request was never answered and no probe passed since: one should not be waited for.
    pub(super) fn in_doubt(&self) -> bool {
        let unanswered = self.streak.unanswered_at();
        self.standing != Standing::Out && unanswered.is_some() && unanswered >= self.probe_passed_at
    }

    /// So many requests were answered as they should be, the last of them at `at`. More than one
    /// is no more of a trial than one. What was before the standing, or before the last failure,
    /// changes neither: it was only told late.
    pub(super) fn answered(&mut self, count: u32, at: Instant, scene: Scene<'_>) -> Option<Change> {
        if at < self.since {
            return None;
        }
        self.window.good(count, scene.now);
        if self.failed_after(at) {
            return None;
        }
        self.streak = Streak::default();
        self.probe_fails = 0;
        match self.standing {
            Standing::Unknown => Some(self.enter(Standing::Healthy, Cause::FirstAnswer, scene)),
            Standing::Healthy => None,
            Standing::Suspect => self.clear_suspicion(scene),
            Standing::Out => self.answered_while_out(scene),
            Standing::Probation => self.trial_passed(scene),
        }
    }

    /// A request was throttled: the region is alive, and that is all it says.
    pub(super) fn throttled(&mut self) {
        self.streak.answered();
    }

    /// A request of the other kind was answered at `at`: the region could be reached then. One that was
    /// answered as it should be (`sound`) says more than the probes that failed before it.
    pub(super) fn reached(&mut self, at: Instant, sound: bool) {
        if self.failed_after(at) {
            return;
        }
        self.streak.connected();
        if sound && self.standing != Standing::Out {
            self.probe_fails = 0;
        }
    }

    fn failed_after(&self, at: Instant) -> bool {
        let failures = self.streak.last.into_iter().chain(self.probe_failed_at);
        failures.max().is_some_and(|last| at < last)
    }

    /// A request was never answered.
    pub(super) fn never_answered(
        &mut self,
        never: Never,
        key: u64,
        scene: Scene<'_>,
        coin: &mut Coin,
    ) -> Option<Change> {
        let key = (!never.is_of_the_connection()).then_some(key);
        self.window.bad(scene.now, key);
        self.unanswered(never, key, scene, coin)
    }

    /// A request of the other kind could not connect: this kind cannot either. It is no sample of
    /// this kind's success, since an answer to the other kind is none.
    pub(super) fn unreachable(&mut self, never: Never, scene: Scene<'_>, coin: &mut Coin) -> Option<Change> {
        self.unanswered(never, None, scene, coin)
    }

    fn unanswered(
        &mut self,
        never: Never,
        key: Option<u64>,
        scene: Scene<'_>,
        coin: &mut Coin,
    ) -> Option<Change> {
        self.streak.unanswered(key, scene.settings.window, scene.now);
        if let Some(ejection) = &mut self.ejection {
            ejection.errs = false;
        }
        let count = self.streak.never();
        if self.standing == Standing::Probation {
            let agree = never.is_of_the_connection();
            return self.trial_failed(self.streak.is_spread(), agree, scene, coin);
        }
        if count >= scene.settings.never_answered && self.streak.is_spread() {
            return self.fail(Cause::NeverAnswered(count, never), scene, coin);
        }
        let change = self.judge_window(scene, coin);
        if change.is_some() || count < 2 {
            return change;
        }
        self.suspect(Cause::NeverAnswered(count, never), scene)
    }

    /// A request met a server error.
    pub(super) fn server_error(
        &mut self,
        status: u16,
        key: u64,
        scene: Scene<'_>,
        coin: &mut Coin,
    ) -> Option<Change> {
        self.window.bad(scene.now, Some(key));
        self.streak.answered();
        self.streak.error(key, scene.settings.window, scene.now);
        let blame = self.streak.blame();
        if self.standing == Standing::Probation {
            return self.trial_failed(blame.spread, false, scene, coin);
        }
        if blame.counted >= scene.settings.server_errors && blame.spread {
            return self.fail(Cause::ServerErrors(blame.counted, status), scene, coin);
        }
        let change = self.judge_window(scene, coin);
        if change.is_some() || blame.counted < scene.settings.server_errors / 2 || !blame.spread {
            return change;
        }
        self.suspect(Cause::ServerErrors(blame.counted, status), scene)
    }

    /// A probe was answered.
    pub(super) fn probe_passed(&mut self, scene: Scene<'_>) -> Option<Change> {
        self.probe_fails = 0;
        self.probe_passes = self.probe_passes.saturating_add(1);
        self.probe_passed_at = Some(scene.now);
        match self.standing {
            Standing::Unknown => Some(self.enter(Standing::Healthy, Cause::FirstAnswer, scene)),
            Standing::Healthy | Standing::Probation => None,
            Standing::Suspect => self.clear_suspicion(scene),
            Standing::Out => self.readmit(scene),
        }
    }

    /// A probe failed.
    pub(super) fn probe_failed(
        &mut self,
        fault: ProbeFault,
        scene: Scene<'_>,
        coin: &mut Coin,
    ) -> Option<Change> {
        self.probe_passes = 0;
        self.probe_fails = self.probe_fails.saturating_add(1);
        self.probe_failed_at = Some(scene.now);
        let why = Cause::ProbesFailed(self.probe_fails, fault);
        match self.standing {
            Standing::Out => {
                if let Some(ejection) = &mut self.ejection {
                    ejection.probes_agree = true;
                    ejection.errs &= fault.is_an_answer();
                }
                None
            }
            Standing::Probation => Some(self.eject(why, true, scene, coin)),
            Standing::Unknown | Standing::Healthy | Standing::Suspect => {
                if self.probe_fails >= scene.settings.fall {
                    self.fail(why, scene, coin)
                } else {
                    self.suspect(why, scene)
                }
            }
        }
    }

    /// What time alone changes.
    pub(super) fn tick(&mut self, scene: Scene<'_>) -> Option<Change> {
        self.streak.forget_old(scene.settings.window, scene.now);
        while self.flaps.front().is_some_and(|flap| age(flap.at, scene.now) > scene.settings.flap_memory) {
            self.flaps.pop_front();
        }
        match self.standing {
            Standing::Unknown | Standing::Healthy | Standing::Probation => None,
            Standing::Suspect => self.clear_suspicion(scene),
            Standing::Out => self.readmit(scene),
        }
    }

    /// When [`Self::tick`] may next change the standing; never a time that a tick leaves as it is.
    pub(super) fn due(&self, settings: &FleetSettings) -> Option<Instant> {
        match self.standing {
            Standing::Unknown | Standing::Healthy | Standing::Probation => None,
            Standing::Suspect if self.probe_fails > 0 => None,
            Standing::Suspect => {
                let dwelt = self.since + settings.suspect_dwell;
                Some(self.streak.last.map_or(dwelt, |last| dwelt.max(last + settings.window)))
            }
            Standing::Out => {
                let risen = self.ejection.filter(|_| self.probe_passes >= settings.rise);
                risen.map(|ejection| {
                    ejection.ends().max(self.since + settings.out_dwell).max(self.steady_at(settings))
                })
            }
        }
    }

    /// What must hold between mutations, in words where it does not.
    pub(super) fn fault(&self, settings: &FleetSettings) -> Option<&'static str> {
        let out = self.standing == Standing::Out;
        if out != self.ejection.is_some() {
            return Some("an ejection belongs to a region that is out, and to no other");
        }
        if self.trials >= settings.trials.max(1) {
            return Some("trials that sufficed must end the probation");
        }
        if self.trials > 0 && self.standing != Standing::Probation {
            return Some("only a region in probation is tried");
        }
        if self.standing.is_serving() && self.probe_fails >= settings.fall {
            return Some("a region whose probes fail must not serve");
        }
        if self.probe_fails > 0 && self.probe_passes > 0 {
            return Some("the last probe passed or failed, not both");
        }
        if self.flaps.len() > FLAPS {
            return Some("the memory of flaps is bounded");
        }
        None
    }

    /// Out, unless it is already.
    fn fail(&mut self, why: Cause, scene: Scene<'_>, coin: &mut Coin) -> Option<Change> {
        // a probe takes the same road: one that passes where connections failed is news
        let probes_agree = match why {
            Cause::ProbesFailed(..) => true,
            Cause::NeverAnswered(_, never) => never.is_of_the_connection(),
            _ => false,
        };
        (self.standing != Standing::Out).then(|| self.eject(why, probes_agree, scene, coin))
    }

    /// Out by the share of successes, where it is too small.
    fn judge_window(&mut self, scene: Scene<'_>, coin: &mut Coin) -> Option<Change> {
        if !matches!(self.standing, Standing::Unknown | Standing::Healthy | Standing::Suspect) {
            return None;
        }
        let settings = scene.settings;
        let low = |buckets: u32, samples: u32| {
            let sums = self.window.sums(buckets, scene.now);
            let all = sums.good.saturating_add(sums.bad);
            let low = f64::from(sums.good) < f64::from(all) * settings.success_share;
            (all >= samples && low && sums.spread).then_some(Cause::LowSuccess(sums.good, all))
        };
        let why = low(BUCKETS, settings.window_samples).or_else(|| low(LATELY, settings.recent_samples))?;
        self.fail(why, scene, coin)
    }

    fn suspect(&mut self, why: Cause, scene: Scene<'_>) -> Option<Change> {
        (self.standing == Standing::Healthy).then(|| self.enter(Standing::Suspect, why, scene))
    }

    fn clear_suspicion(&mut self, scene: Scene<'_>) -> Option<Change> {
        let dwelt = age(self.since, scene.now) >= scene.settings.suspect_dwell;
        let clean = self.streak.is_empty() && self.probe_fails == 0;
        (dwelt && clean).then(|| self.enter(Standing::Healthy, Cause::Cleared, scene))
    }

    /// A request got through although nothing should have been sent: where no other region
    /// serves, that is all the proof there will ever be.
    fn answered_while_out(&mut self, scene: Scene<'_>) -> Option<Change> {
        let dwelt = age(self.since, scene.now) >= scene.settings.out_dwell;
        (scene.needed && dwelt).then(|| self.enter(Standing::Healthy, Cause::AnsweredAlone, scene))
    }

    fn trial_passed(&mut self, scene: Scene<'_>) -> Option<Change> {
        self.trials += 1;
        if !scene.needed && self.trials < scene.settings.trials {
            return None;
        }
        let why = Cause::TrialsPassed(self.trials);
        Some(self.enter(Standing::Healthy, why, scene))
    }

    /// One poisonous request must not keep a region out: `spread` says that there were two, or
    /// that none can be to blame.
    fn trial_failed(
        &mut self,
        spread: bool,
        probes_agree: bool,
        scene: Scene<'_>,
        coin: &mut Coin,
    ) -> Option<Change> {
        self.trials = 0;
        spread.then(|| self.eject(Cause::TrialFailed, probes_agree, scene, coin))
    }

    /// From out to probation: never by a probe alone, since probation ends by requests only.
    fn readmit(&mut self, scene: Scene<'_>) -> Option<Change> {
        let ejection = self.ejection?;
        let dwelt = age(self.since, scene.now) >= scene.settings.out_dwell;
        let risen = self.probe_passes >= scene.settings.rise;
        let over = risen && scene.now >= ejection.ends().max(self.steady_at(scene.settings));
        // a passing probe is news where probes failed too; else it takes more of them
        let needed = scene.needed && (risen || (ejection.probes_agree && self.probe_passes > 0));
        (dwelt && (over || needed))
            .then(|| self.enter(Standing::Probation, Cause::ProbesPassed(self.probe_passes), scene))
    }

    /// When it will have been well for long enough to be believed, if no probe fails until then.
    fn steady_at(&self, settings: &FleetSettings) -> Instant {
        let well_since = self.probe_failed_at.map_or(self.since, |failed| failed.max(self.since));
        let outages = self.flaps.iter().filter(|flap| flap.served).count();
        match u32::try_from(outages).unwrap_or(u32::MAX) {
            0 | 1 => well_since,
            more => well_since + doubled(settings.steady, more - 2, settings.ejection_cap),
        }
    }

    fn eject(&mut self, why: Cause, probes_agree: bool, scene: Scene<'_>, coin: &mut Coin) -> Change {
        let settings = scene.settings;
        // where nothing else serves it is perhaps our own network that failed: not held against it
        let held = !scene.alone && !scene.frozen;
        if held {
            if self.flaps.len() >= FLAPS {
                self.flaps.pop_front();
            }
            self.flaps.push_back(Flap { at: scene.now, served: self.standing.is_serving() });
            let hold = doubled(settings.hold_down, self.earlier_flaps(), settings.hold_down_cap);
            self.held_until = Some(scene.now + hold);
        }
        // the failure that ejects is the last one
        let errs = match why {
            Cause::ProbesFailed(_, fault) => fault.is_an_answer(),
            _ => self.streak.never() == 0,
        };
        let change = self.enter(Standing::Out, why, scene);
        let times = if scene.frozen { 0 } else { self.earlier_flaps() };
        let jitter = 1.0 + settings.ejection_jitter * (2.0 * coin.share() - 1.0);
        let length = doubled(settings.ejection, times, settings.ejection_cap);
        let length = length.mul_f64(jitter.max(0.0)).min(settings.ejection_cap);
        let contradicted = scene.contradicted.filter(|_| held && !scene.needed);
        let contradicted =
            contradicted.map_or(length, |first| doubled(first, times, settings.contradicted_cap));
        self.ejection = Some(Ejection {
            until: scene.now + length,
            until_contradicted: scene.now + contradicted,
            probes_agree,
            errs,
        });
        change
    }

    /// Flaps before the present one.
    fn earlier_flaps(&self) -> u32 {
        u32::try_from(self.flaps.len()).unwrap_or(u32::MAX).saturating_sub(1)
    }

    fn enter(&mut self, to: Standing, why: Cause, scene: Scene<'_>) -> Change {
        let change = Change { from: self.standing, to, why };
        self.standing = to;
        self.since = scene.now;
        match to {
            Standing::Out => self.down_since = self.down_since.or(Some(scene.now)),
            Standing::Healthy => {
                self.down_since = None;
                // Reads return slowly from now on, however long it was out. A suspicion that was cleared is no
                // return: it served all the while.
                if change.from != Standing::Suspect {
                    self.held_until = self.held_until.map(|until| until.max(scene.now));
                }
            }
            Standing::Unknown | Standing::Suspect | Standing::Probation => {}
        }
        self.trials = 0;
        self.ejection = None;
        if to != Standing::Suspect {
            self.streak = Streak::default();
            self.window.clear();
        }
        if to == Standing::Out {
            self.probe_passes = 0;
        }
        change
    }
}

/// Ejections remembered: enough for the cap of the ejection and of the hold-down.
const FLAPS: usize = 16;

fn age(at: Instant, now: Instant) -> Duration {
    now.saturating_duration_since(at)
}

/// `first` doubled so often, but no longer than `cap`.
fn doubled(first: Duration, times: u32, cap: Duration) -> Duration {
    2_u32.checked_pow(times).and_then(|factor| first.checked_mul(factor)).map_or(cap, |long| long.min(cap))
}
