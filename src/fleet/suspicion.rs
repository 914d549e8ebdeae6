//! When not to believe what is seen: probes that requests contradict, and a world in which
//! everybody failed at once. Pure.

use std::time::{Duration, Instant};

use super::{Cause, Fleet, ProbeFault, Standing, Subject, Transition};

/// Probes in a row that must fail while requests are answered until the probe is held to be wrong.
const CONTRADICTED: u32 = 3;

/// Probes of one region against what its requests meet.
#[derive(Clone, Debug, Default)]
pub(super) struct Disagreement {
    answered: Option<Instant>,
    failed: Option<Instant>,
    contradicted: u32,
    raised: bool,
}

impl Disagreement {
    /// A request was answered at that time.
    pub(super) fn answered(&mut self, at: Instant) {
        self.answered = self.answered.max(Some(at));
    }

    /// Whether the probe is held to be wrong.
    pub(super) fn is_raised(&self) -> bool {
        self.raised
    }

    /// Whether a request was answered after the last probe that failed.
    fn is_contradicted(&self) -> bool {
        self.failed.is_some() && self.answered >= self.failed
    }

    fn answered_within(&self, age: Duration, now: Instant) -> bool {
        self.answered.is_some_and(|at| now.saturating_duration_since(at) <= age)
    }
}

impl Fleet {
    /// Whether a probe counts. One that fails does not where the probes before it failed too and
    /// requests were answered all the while: the probe is wrong (its bucket is gone, its key makes
    /// the store err), and the region stays in service.
    pub(super) fn believes_probe(
        &mut self,
        place: usize,
        alive: Result<Duration, ProbeFault>,
        now: Instant,
        transitions: &mut Vec<Transition>,
    ) -> bool {
        let window = self.settings.window;
        let Some(region) = self.regions.get_mut(place) else { return false };
        let this = &mut region.disagreement;
        let before = this.raised;
        let fault = alive.err();
        match fault {
            Some(_) if this.is_contradicted() => {
                this.contradicted = this.contradicted.saturating_add(1);
                this.raised |= this.contradicted >= CONTRADICTED;
            }
            // while it is known to be wrong, quiet moments change nothing
            Some(_) if this.raised && this.answered_within(window, now) => {}
            Some(_) | None => (this.contradicted, this.raised) = (0, false),
        }
        this.failed = fault.map(|_| now);
        let (raised, count) = (this.raised, this.contradicted);
        if raised != before {
            let (from, to, why) = match fault {
                Some(fault) if raised => {
                    (Standing::Healthy, Standing::Out, Cause::ProbesContradicted(count, fault))
                }
                _ => (Standing::Out, Standing::Healthy, Cause::ProbesAgree),
            };
            let (region, subject) = (region.id.clone(), Subject::Probes);
            transitions.push(Transition { region, subject, from, to, why, at: now });
        }
        !(raised && fault.is_some())
    }

    /// Whether every region is out for reads, and at least two of them failed within one window:
    /// perhaps it is us. It ends when one serves.
    pub(super) fn suspect_ourselves(&mut self, now: Instant) -> Option<Transition> {
        let mut all = self.regions.iter();
        let (from, to, why) = if self.suspicious {
            if !all.any(|region| region.reads.standing().is_serving()) && self.regions.len() > 1 {
                return None;
            }
            (Standing::Suspect, Standing::Healthy, Cause::OneServes)
        } else {
            if self.regions.len() < 2 || !all.all(|region| region.reads.standing() == Standing::Out) {
                return None;
            }
            let downs = || self.regions.iter().filter_map(|region| region.reads.down_since());
            let last = downs().max()?;
            let together = downs().filter(|at| last.saturating_duration_since(*at) <= self.settings.window);
            if together.count() < 2 || now.saturating_duration_since(last) > self.settings.window {
                return None;
            }
            let count = u32::try_from(self.regions.len()).unwrap_or(u32::MAX);
            (Standing::Healthy, Standing::Suspect, Cause::AllFailed(count))
        };
        self.suspicious = to == Standing::Suspect;
        self.regained = (!self.suspicious).then_some(now);
        if self.suspicious {
            for region in &mut self.regions {
                region.reads.absolve(&self.settings);
                region.writes.absolve(&self.settings);
            }
        }
        let last = self.regions.iter().max_by_key(|region| region.reads.since());
        let region = last.map(|region| region.id.clone())?;
        Some(Transition { region, subject: Subject::Ourselves, from, to, why, at: now })
    }
}
