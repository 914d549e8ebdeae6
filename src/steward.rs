//! The one writer: folds events into the fleet and publishes views. A door only in that it is a
//! task; what events mean is decided in `fleet`.
//!
//! It publishes at once when a standing changes or a region becomes doubtful, else at most ten times a
//! second, so that the hot path's pointer moves rarely.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::chance::Coin;
use crate::clock::Clock;
use crate::fleet::{Event, Fleet, Standing, Subject, Transition};
use crate::publish::{Published, Publisher, publish};
use crate::view::View;

/// Events that wait for the steward; more are dropped and counted.
const QUEUE: usize = 8192;
/// Events folded in one go before a view is published.
const BATCH: usize = 1024;
/// The least time between two views when no standing changed.
const CALM: Duration = Duration::from_millis(100);

/// What every other room holds of the steward.
#[derive(Clone, Debug)]
pub struct Handle {
    events: mpsc::Sender<Note>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Note {
    Event(Event),
    Replace(Box<View>),
}

impl Handle {
    /// Reports what happened. Never waits: a full queue drops the event and counts it.
    pub fn report(&self, event: Event) {
        if self.events.try_send(Note::Event(event)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Puts a newly compiled view into force; its table and epoch are the steward's to fill.
    pub async fn replace(&self, view: View) {
        if self.events.send(Note::Replace(Box::new(view))).await.is_err() {
            warn!("the steward is gone: a new configuration was not put into force");
        }
    }

    /// Events dropped so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// The task that owns the fleet.
#[derive(Debug)]
pub struct Steward {
    fleet: Fleet,
    view: View,
    publisher: Publisher<View>,
    notes: mpsc::Receiver<Note>,
    clock: Clock,
    coin: Coin,
    announce: fn(&Transition),
}

impl Steward {
    /// A steward over a first view. `announce` is told of every transition.
    #[must_use]
    pub fn new(
        fleet: Fleet,
        view: View,
        clock: Clock,
        coin: Coin,
        announce: fn(&Transition),
    ) -> (Self, Handle, Published<View>) {
        let (events, notes) = mpsc::channel(QUEUE);
        let (publisher, reader) = publish(view.clone());
        let handle = Handle { events, dropped: Arc::new(AtomicU64::new(0)) };
        let fleet = fleet.shared_by(view.access_points.groups());
        let mut steward = Self { fleet, view, publisher, notes, clock, coin, announce };
        steward.put();
        (steward, handle, reader)
    }

    /// Runs until every handle is gone.
    pub async fn run(mut self) {
        let mut published = self.clock.mono();
        let mut stale = false;
        loop {
            let calm_over = published + CALM;
            let tick = self.fleet.next_tick();
            let changed = tokio::select! {
                biased;
                note = self.notes.recv() => match note {
                    Some(note) => { stale = true; self.fold(note) }
                    None => return,
                },
                () = until(tick) => { stale = true; self.tick() }
                () = until(Some(calm_over)), if stale => false,
            };
            let now = self.clock.mono();
            if changed || (stale && now >= calm_over) {
                self.put();
                published = now;
                stale = false;
            }
        }
    }

    /// Folds one note and those that wait behind it; true where a standing changed, or where a
    /// probe must not wait for the next view.
    fn fold(&mut self, first: Note) -> bool {
        let mut changed = self.take(first);
        for _ in 1..BATCH {
            let Ok(note) = self.notes.try_recv() else { break };
            changed |= self.take(note);
        }
        changed || self.fleet.hurries_beyond(&self.view.table)
    }

    fn take(&mut self, note: Note) -> bool {
        let now = self.clock.mono();
        match note {
            Note::Event(event) => {
                let transitions = self.fleet.apply(event, now, &mut self.coin);
                self.tell(&transitions)
            }
            Note::Replace(view) => {
                let old = std::mem::replace(&mut self.view, *view);
                let regions = self.view.regions.iter().map(|region| region.id.clone()).collect();
                let renewed = self
                    .view
                    .regions
                    .iter()
                    .filter(|region| !old.regions.iter().any(|before| before == *region))
                    .map(|region| region.id.clone())
                    .collect();
                let groups = self.view.access_points.groups();
                let transitions =
                    self.fleet.apply(Event::Reloaded { regions, renewed, groups }, now, &mut self.coin);
                self.tell(&transitions);
                true
            }
        }
    }

    fn tick(&mut self) -> bool {
        let transitions = self.fleet.tick(self.clock.mono());
        self.tell(&transitions)
    }

    fn tell(&self, transitions: &[Transition]) -> bool {
        for transition in transitions {
            (self.announce)(transition);
            log(transition);
        }
        !transitions.is_empty()
    }

    fn put(&mut self) {
        self.view.epoch += 1;
        self.view.table = Arc::new(self.fleet.table(self.clock.mono()));
        self.publisher.put(self.view.clone());
    }
}

fn log(transition: &Transition) {
    let Transition { region, subject, from, to, why, .. } = transition;
    let what = match subject {
        Subject::Kind(kind) => format!("{kind:?}").to_lowercase(),
        Subject::Credential(credential) => format!("credential {credential:?}"),
        Subject::Configuration(access_point) => format!("configuration of {access_point}"),
        Subject::Nearest => "nearest".to_owned(),
        Subject::Speed => "speed".to_owned(),
        Subject::Probes => "probes".to_owned(),
        Subject::Ourselves => "ourselves".to_owned(),
    };
    let ourselves = matches!((subject, to), (Subject::Ourselves, Standing::Suspect));
    if ourselves || *to == Standing::Out {
        warn!(%region, what, %from, %to, %why, "standing changed");
    } else {
        info!(%region, what, %from, %to, %why, "standing changed");
    }
}

async fn until(at: Option<std::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
