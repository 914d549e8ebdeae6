//! How long the regions take: which is the nearest, which became slow. Pure.

use std::time::{Duration, Instant};

use super::latency::Peak;
use super::nearest::Distance;
use super::slow::{Glance, Turned};
use super::table::class_slot;
use super::{COMPARE_EVERY, Cause, Fleet, Region, Standing, Subject, Transition};
use crate::s3::operation::Class;

/// Weight of a look in the learnt surcharge of a class: some fifty looks, half a minute, to forget.
const SURCHARGE_WEIGHT: f64 = 0.02;

impl Fleet {
    /// Compares the regions: which is slow, and which is the nearest.
    pub(super) fn compare(&mut self, now: Instant) -> Vec<Transition> {
        self.compared = now;
        self.learn_surcharges(now);
        let mut transitions = self.look_for_slow(now);
        let distances: Vec<Distance> = self.regions.iter().map(|region| self.distance(region, now)).collect();
        let before = self.nearest.order().first().copied();
        self.nearest.compare(&distances, &self.settings, now);
        let first = self.nearest.order().first().copied().filter(|first| Some(*first) != before);
        if let Some(region) = first.and_then(|first| self.regions.get(first)) {
            let standing = region.reads.standing();
            let (region, subject, why) = (region.id.clone(), Subject::Nearest, Cause::Faster);
            transitions.push(Transition { region, subject, from: standing, to: standing, why, at: now });
        }
        transitions
    }

    /// Looks for regions that became slow.
    pub(super) fn look_for_slow(&mut self, now: Instant) -> Vec<Transition> {
        self.look_due = None;
        let glances: Vec<Glance> = (0..self.regions.len()).map(|place| self.glance(place, now)).collect();
        let mut transitions = Vec::new();
        let mut usual_changed = false;
        for (region, glance) in self.regions.iter_mut().zip(&glances) {
            let Some(turned) = region.slow.look(glance, &self.settings, now) else { continue };
            let (from, to, why) = match turned {
                Turned::Slow { from, to } => {
                    let why = Cause::Slower(seconds(to), seconds(from));
                    (Standing::Healthy, Standing::Suspect, why)
                }
                Turned::Quick => {
                    // what it took while it was slow must not rank it any more
                    region.latency = Default::default();
                    region.probes.settle();
                    (Standing::Suspect, Standing::Healthy, Cause::QuickAgain)
                }
                Turned::NotToBlame => {
                    usual_changed = true;
                    (Standing::Suspect, Standing::Healthy, Cause::SlowElsewhereToo)
                }
            };
            let (region, subject) = (region.id.clone(), Subject::Speed);
            transitions.push(Transition { region, subject, from, to, why, at: now });
        }
        if usual_changed {
            // requests take longer than they used to, wherever they go: learnt anew
            self.surcharge = [None; 4];
        }
        transitions
    }

    fn glance(&self, place: usize, now: Instant) -> Glance {
        let Some(region) = self.regions.get(place) else { return Glance::default() };
        let window = self.settings.window;
        let surcharge = self.surcharge_of(Class::Get);
        let peers = || {
            self.regions.iter().filter(|peer| {
                peer.id != region.id && peer.reads.standing().is_serving() && !peer.slow.is_slow()
            })
        };
        let busy = peers()
            .filter_map(|peer| peer.samples.spread(window, now))
            .map(|spread| spread.most)
            .reduce(f64::min);
        let near = peers().filter_map(|peer| self.distance(peer, now).seconds).reduce(f64::min);
        let Distance { seconds, samples, .. } = self.distance(region, now);
        Glance {
            near: seconds,
            samples,
            spread: region.samples.spread(window, now),
            probes: region.samples.slowest_probe(),
            peer_near: near,
            peer_spread: busy.or(near.zip(surcharge).map(|(near, surcharge)| near + surcharge)),
            peer_busy: busy,
        }
    }

    fn learn_surcharges(&mut self, now: Instant) {
        for place in 0..self.regions.len() {
            let doubtful = self.regions.get(place).is_none_or(|region| region.slow.is_doubtful());
            for class in [Class::Get, Class::List, Class::Put].into_iter().filter(|_| !doubtful) {
                let peak = self.regions.get(place).and_then(|region| region.latency.get(class_slot(class)));
                if peak.is_some_and(|peak| peak.is_within(COMPARE_EVERY, now)) {
                    self.learn_surcharge(place, class, now);
                }
            }
        }
    }

    /// A region's distance: what live requests take beyond their class's usual surcharge, or what
    /// probes take where there were none lately.
    fn distance(&self, region: &Region, now: Instant) -> Distance {
        let live = [Class::Get, Class::List, Class::Put].into_iter().find_map(|class| {
            let peak = region.latency.get(class_slot(class))?;
            let surcharge = self.surcharge_of(class)?;
            let fresh = peak.is_within(self.settings.latency_decay, now);
            peak.seconds().filter(|_| fresh).map(|seconds| (seconds - surcharge).max(0.0))
        });
        let samples =
            region.latency.iter().map(Peak::samples).fold(region.probes.samples(), u32::saturating_add);
        Distance { seconds: live.or(region.probes.seconds()), samples, slow: region.slow.is_slow() }
    }

    /// `None` while it cannot be known although probes are: nothing may be compared by it then.
    fn surcharge_of(&self, class: Class) -> Option<f64> {
        let probed = self.regions.iter().any(|region| region.probes.samples() > 0);
        let known = self.surcharge.get(class_slot(class)).copied().flatten();
        if probed { known } else { Some(0.0) }
    }

    /// A class usually takes longer than a probe. Where both are fresh the difference is learnt,
    /// so that a region that is only probed can be compared with one that is busy.
    pub(super) fn learn_surcharge(&mut self, place: usize, class: Class, now: Instant) {
        let Some(region) = self.regions.get(place) else { return };
        if !region.probes.is_within(self.settings.latency_decay, now) {
            return;
        }
        let peak = region.latency.get(class_slot(class)).and_then(Peak::seconds);
        let (Some(peak), Some(probes)) = (peak, region.probes.seconds()) else { return };
        let seen = (peak - probes).max(0.0);
        if let Some(known) = self.surcharge.get_mut(class_slot(class)) {
            *known = Some(known.map_or(seen, |known| known + SURCHARGE_WEIGHT * (seen - known)));
        }
    }

    /// A class's own peak while it is fresh, else the probes' with the class's surcharge.
    pub(super) fn latency(&self, region: &Region, class: Class, now: Instant) -> Option<Duration> {
        let own = region.latency.get(class_slot(class));
        if let Some(own) = own.filter(|own| own.is_within(self.settings.latency_decay, now)) {
            return own.duration();
        }
        let surcharge = self.surcharge.get(class_slot(class)).copied().flatten().unwrap_or(0.0);
        let probes =
            region.probes.seconds().and_then(|probes| Duration::try_from_secs_f64(probes + surcharge).ok());
        probes.or_else(|| own.and_then(Peak::duration))
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
