//! A new configuration, compiled aside and swapped whole, or refused whole with the old one kept.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use super::descriptors::Descriptors;
use super::waypoints::{folders, waypoints};
use super::{Origin, compile, count_configuration};
use crate::clock::Clock;
use crate::config::{self, How, Loaded, Settings};
use crate::credentials::{self, Store};
use crate::listen::Door;
use crate::steward;
use crate::telemetry::metric::{self, Metric};
use crate::view::RegionSettings;

/// Editors and `ConfigMap`s write in several steps: the last one counts.
const DEBOUNCE: Duration = Duration::from_millis(250);

pub(super) struct Reloader {
    pub origin: Origin,
    pub depends_on: BTreeSet<PathBuf>,
    pub settings: Settings,
    pub doors: Vec<Arc<Door>>,
    pub steward: steward::Handle,
    pub store: Store,
    pub probes: watch::Sender<Vec<RegionSettings>>,
    pub clock: Clock,
    pub descriptors: Descriptors,
    /// What the last round refused, in words: not told again until somebody asks.
    pub told: BTreeSet<String>,
    /// What this round has refused so far.
    pub refused: BTreeSet<String>,
}

/// Reading a configuration may show that it hangs on other files than before, which then are
/// watched and read once more: what changed in between was seen by neither. Whoever writes faster
/// than that is heard at the next change.
const ROUNDS: usize = 3;

/// What is watched.
#[derive(Default)]
struct Watched {
    waypoints: Arc<BTreeSet<PathBuf>>,
    /// Kept for as long as it is to tell.
    _watcher: Option<RecommendedWatcher>,
}

impl Reloader {
    /// Reloads whenever asked or when a file changes, for as long as there is a gateway.
    pub(super) async fn run(mut self, mut asked: mpsc::Receiver<()>) {
        let (touched, mut touches) = mpsc::channel(1);
        let mut watched = Watched::default();
        self.settle(&mut watched, &touched, false).await;
        loop {
            let wished = tokio::select! {
                ask = asked.recv() => {
                    if ask.is_none() { return }
                    true
                }
                touch = touches.recv() => {
                    if touch.is_none() { return }
                    tokio::time::sleep(DEBOUNCE).await;
                    while touches.try_recv().is_ok() {}
                    false
                }
            };
            self.settle(&mut watched, &touched, wished).await;
        }
    }

    /// Reads everything again, until what was read is what is watched. Where somebody asked for it,
    /// everything that is refused is told; else only what was not told the last time.
    async fn settle(&mut self, watched: &mut Watched, touched: &mpsc::Sender<()>, wished: bool) {
        if wished {
            self.told.clear();
        }
        for _ in 0..ROUNDS {
            self.reload().await;
            let waypoints = waypoints(&self.depends_on);
            let same = waypoints == *watched.waypoints;
            // watched anew in any case: a folder may be another one under the same name
            if let Some(fresh) = watch(waypoints, touched) {
                *watched = fresh;
            }
            if same {
                return;
            }
        }
    }

    /// Whether a refusal is news; remembers it.
    fn is_news(&mut self, refusal: String) -> bool {
        let news = !self.told.contains(&refusal);
        self.refused.insert(refusal);
        news
    }

    async fn reload(&mut self) {
        self.renew_certificates();
        let Origin::File(file) = &self.origin else { return self.tell_no_more() };
        match config::load(file) {
            Ok(loaded) => self.take(loaded).await,
            Err(refused) => {
                count_configuration(false, self.clock);
                for fault in &refused.faults {
                    if self.is_news(fault.to_string()) {
                        error!(%fault, "the new configuration is refused; the old one stays in force");
                    }
                }
                self.depends_on.extend(refused.depends_on);
            }
        }
        self.tell_no_more();
    }

    /// What was refused in this round is told by now.
    fn tell_no_more(&mut self) {
        self.told = std::mem::take(&mut self.refused);
    }

    fn renew_certificates(&mut self) {
        for door in self.doors.clone() {
            let Some(reloaded) = door.tls().map(|tls| tls.reload()) else { continue };
            let result = if reloaded.is_ok() { "taken" } else { "refused" };
            let values = [&*door.address().to_string(), result];
            metric::counter(Metric::CertificateReloads, &values).increment(1);
            if let Err(fault) = reloaded
                && self.is_news(format!("{} {fault}", door.address()))
            {
                error!(address = %door.address(), %fault, "a certificate was not taken; the old one stays");
            }
        }
    }

    async fn take(&mut self, loaded: Loaded) {
        let Loaded { mut settings, warnings, depends_on } = loaded;
        self.depends_on = depends_on;
        if settings.tokens.is_none() {
            settings.tokens.clone_from(&self.settings.tokens);
        }
        // A second region may be new, and with it the need for a key.
        if let Err(fault) = compile::token_keys(&mut settings) {
            error!(%fault, "the new configuration is refused; the old one stays in force");
            return count_configuration(false, self.clock);
        }
        let changes = config::diff(&self.settings, &settings);
        if changes.is_empty() {
            return;
        }
        let view = match compile::view(&settings, self.descriptors) {
            Ok(view) => view,
            Err(fault) => {
                if self.is_news(fault.to_string()) {
                    error!(%fault, "the new configuration is refused; the old one stays in force");
                }
                return count_configuration(false, self.clock);
            }
        };
        for warning in &warnings {
            warn!(%warning, "configuration");
        }
        for change in &changes {
            let how = match change.how {
                How::Added => "added",
                How::Removed => "removed",
                How::Changed => "changed",
            };
            if change.needs_restart {
                warn!(what = %change.what, how, "takes effect at the next start only");
            } else {
                info!(what = %change.what, how, "configuration");
            }
        }
        self.store.replace(credentials::rows(&settings.regions, &view.clients));
        self.steward.replace(view).await;
        self.probes.send_replace(settings.regions.clone());
        for door in &self.doors {
            // By the address as it was asked for: of port 0 nobody knows another name.
            let asked = &door.settings().address;
            if let Some(listener) = settings.listeners.iter().find(|listener| listener.address == *asked) {
                door.replace(listener.clone());
            }
        }
        self.settings = settings;
        count_configuration(true, self.clock);
        info!("the new configuration is in force");
    }
}

/// Watches the folders in which these names stand, and listens to these names only: logs and state
/// may be written beside them. `None`: nothing can be watched.
fn watch(waypoints: BTreeSet<PathBuf>, touched: &mpsc::Sender<()>) -> Option<Watched> {
    let folders = folders(&waypoints);
    let waypoints = Arc::new(waypoints);
    let (touched, listening_to) = (touched.clone(), Arc::clone(&waypoints));
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| concerns(&event, &listening_to)) {
            touched.try_send(()).unwrap_or_default();
        }
    })
    .inspect_err(|error| warn!(%error, "files are not watched; SIGHUP still reloads"))
    .ok()?;
    for folder in folders {
        if let Err(error) = watcher.watch(&folder, RecursiveMode::NonRecursive) {
            warn!(folder = %folder.display(), %error, "a folder is not watched; SIGHUP still reloads");
        }
    }
    Some(Watched { waypoints, _watcher: Some(watcher) })
}

/// Whether an event is about one of these names or the folder of one, or tells that events were
/// lost.
fn concerns(event: &notify::Event, waypoints: &BTreeSet<PathBuf>) -> bool {
    let counts = |path: &PathBuf| {
        waypoints.contains(path) || waypoints.iter().any(|point| point.parent() == Some(path.as_path()))
    };
    !event.kind.is_access() && (event.need_rescan() || event.paths.iter().any(counts))
}
