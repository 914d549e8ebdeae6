//! A new configuration, compiled aside and swapped whole, or refused whole with the old one kept.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use super::control::Probing;
use super::descriptors::Descriptors;
use super::waypoints::{folders, waypoints};
use super::{Doors, Origin, compile, count_configuration};
use crate::clock::Clock;
use crate::config::{self, How, Loaded, Settings};
use crate::credentials::{self, Store};
use crate::exchange::meters::Meters;
use crate::listen::{self, Rebinding, Terms, TlsSettings};
use crate::names::Secret;
use crate::pem::PemFile;
use crate::steward;
use crate::telemetry::metric::{self, Metric};

/// What to do about a listener that cannot be bound while the old ones are.
const CANNOT_NOW: &str = "; free it and reload again, or restart with the new configuration";

/// Editors and `ConfigMap`s write in several steps: the last one counts.
const DEBOUNCE: Duration = Duration::from_millis(250);

pub(super) struct Reloader {
    pub origin: Origin,
    pub depends_on: BTreeSet<PathBuf>,
    pub settings: Settings,
    /// The number of the configuration in force.
    pub configuration: u64,
    pub doors: Doors,
    pub steward: steward::Handle,
    pub store: Store,
    pub meters: Arc<Meters>,
    pub probes: watch::Sender<Probing>,
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
        if let Origin::File(file) = &self.origin {
            match config::load(file) {
                Ok(loaded) => self.take(loaded).await,
                Err(refused) => {
                    self.depends_on.extend(refused.depends_on);
                    self.refuse(&refused.faults);
                }
            }
        }
        // what was refused in this round is told by now
        self.told = std::mem::take(&mut self.refused);
    }

    fn refuse<F: std::fmt::Display>(&mut self, faults: &[F]) {
        count_configuration(false, self.clock);
        for fault in faults {
            if self.is_news(fault.to_string()) {
                error!(%fault, "the new configuration is refused; the old one stays in force");
            }
        }
        self.renew_certificates();
    }

    async fn take(&mut self, loaded: Loaded) {
        let Loaded { mut settings, warnings, depends_on } = loaded;
        self.depends_on = depends_on;
        if settings.tokens.is_none() {
            settings.tokens.clone_from(&self.settings.tokens);
        }
        // A second region may be new, and with it the need for a key.
        if let Err(fault) = compile::token_keys(&mut settings) {
            return self.refuse(&[format!("{fault:#}")]);
        }
        let changes = config::diff(&self.settings, &settings);
        if changes.is_empty() {
            return;
        }
        // Everything that can fail comes first: then all of it is in force, or nothing.
        let prepared = compile::view(&settings, self.descriptors).and_then(|view| {
            let doors = self.doors.now();
            let rebinding = Rebinding::prepare(&doors, &settings.listeners, self.doors.workers.len());
            Ok((view, rebinding.map_err(|fault| anyhow::anyhow!("{fault}{CANNOT_NOW}"))?))
        });
        let (mut view, rebinding) = match prepared {
            Ok(prepared) => prepared,
            Err(fault) => return self.refuse(&[format!("{fault:#}")]),
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
        self.configuration += 1;
        view.configuration = self.configuration;
        self.store.replace(credentials::rows(&settings.regions, &view.clients));
        let changed = settings.regions.iter().filter(|region| !self.settings.regions.contains(region));
        self.meters.renew(changed.map(|region| &region.id));
        self.steward.replace(view).await;
        self.put_in_force(rebinding).await;
        self.probes.send_replace(Probing::of(&settings));
        self.settings = settings;
        count_configuration(true, self.clock);
        info!("the new configuration is in force");
    }

    /// Swaps the listeners: those that stay have other terms at once, those that are gone stop
    /// accepting, and workers take the new ones.
    async fn put_in_force(&self, rebinding: Rebinding) {
        for door in rebinding.gone() {
            let address = door.address().to_string();
            info!(%address, "no longer listening");
            if door.terms().tls.is_some() {
                // a date of nothing, that no alert is below
                metric::gauge(Metric::CertificateExpiry, &[&address]).set(f64::NAN);
            }
        }
        let before = self.doors.now();
        let certificates: Vec<_> = before.iter().map(|door| (Arc::clone(door), door.terms())).collect();
        let binding = rebinding.put_in_force(self.configuration);
        for (door, before) in certificates {
            if let (Some(old), Some(new)) = (&before.tls, &door.terms().tls)
                && !Arc::ptr_eq(old, new)
            {
                count_certificate(&door, "taken");
            }
        }
        self.doors.in_force.store(Arc::new(binding.doors));
        let new: BTreeSet<String> =
            binding.workers.iter().flatten().map(|bound| bound.door().address().to_string()).collect();
        for (worker, sockets) in self.doors.workers.iter().zip(binding.workers) {
            for bound in sockets {
                // a worker that is gone is draining, and takes nobody in
                drop(worker.send(bound).await);
            }
        }
        for address in new {
            info!(%address, "listening");
        }
    }

    /// A configuration that is refused does not let certificates run out: those that are in force
    /// are renewed from their files on their own.
    fn renew_certificates(&mut self) {
        for door in self.doors.now().iter() {
            let terms = door.terms();
            let Some(old) = &terms.settings.tls else { continue };
            let renewed = read_again(old).and_then(|files| {
                let mut settings = terms.settings.clone();
                settings.tls = Some(files);
                Ok(Terms { configuration: terms.configuration, ..Terms::new(&settings, Some(&terms))? })
            });
            match renewed {
                Ok(renewed) if renewed.settings == terms.settings => {}
                Ok(renewed) => {
                    let own = self.settings.listeners.iter_mut().find(|own| **own == terms.settings);
                    if let Some(own) = own {
                        own.clone_from(&renewed.settings);
                    }
                    door.put(renewed);
                    count_certificate(door, "taken");
                }
                Err(fault) => {
                    count_certificate(door, "refused");
                    if self.is_news(format!("{} {fault:#}", door.address())) {
                        let address = door.address();
                        error!(%address, fault = format!("{fault:#}"), "a certificate was not taken; the old one stays");
                    }
                }
            }
        }
    }
}

fn count_certificate(door: &listen::Door, result: &str) {
    metric::counter(Metric::CertificateReloads, &[&*door.address().to_string(), result]).increment(1);
}

/// The same files, as they are now.
fn read_again(files: &TlsSettings) -> anyhow::Result<TlsSettings> {
    let read = |file: &PemFile| -> anyhow::Result<PemFile> {
        let text = config::read_file(file.path()).with_context(|| file.path().display().to_string())?;
        Ok(PemFile::new(file.path().to_owned(), Secret::from(text)))
    };
    Ok(TlsSettings {
        certificate: read(&files.certificate)?,
        key: read(&files.key)?,
        client_ca: files.client_ca.as_ref().map(read).transpose()?,
    })
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
