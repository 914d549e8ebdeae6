//! A new configuration, compiled aside and swapped whole, or refused whole with the old one kept.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use super::control::Probing;
use super::{Origin, compile, count_configuration};
use crate::clock::Clock;
use crate::config::{self, How, Loaded, Settings};
use crate::credentials::{self, Store};
use crate::listen::Door;
use crate::steward;
use crate::telemetry::metric::{self, Metric};

/// Editors and `ConfigMap`s write in several steps: the last one counts.
const DEBOUNCE: Duration = Duration::from_millis(250);

pub(super) struct Reloader {
    pub origin: Origin,
    pub depends_on: BTreeSet<PathBuf>,
    pub settings: Settings,
    pub doors: Vec<Arc<Door>>,
    pub steward: steward::Handle,
    pub store: Store,
    pub probes: watch::Sender<Probing>,
    pub clock: Clock,
}

impl Reloader {
    /// Reloads whenever asked or when a file changes, for as long as there is a gateway.
    pub(super) async fn run(mut self, mut asked: mpsc::Receiver<()>) {
        let (touched, mut touches) = mpsc::channel(1);
        let mut watcher = self.watch(&touched);
        // What changed between the start's reading and this watch was seen by neither.
        self.reload().await;
        loop {
            tokio::select! {
                ask = asked.recv() => if ask.is_none() { return },
                touch = touches.recv() => {
                    if touch.is_none() { return }
                    tokio::time::sleep(DEBOUNCE).await;
                    while touches.try_recv().is_ok() {}
                }
            }
            self.reload().await;
            watcher = self.watch(&touched).or(watcher);
        }
    }

    /// Watches the folders of every file that counts: a mounted `ConfigMap` changes by a symlink.
    fn watch(&self, touched: &mpsc::Sender<()>) -> Option<RecommendedWatcher> {
        let touched = touched.clone();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                touched.try_send(()).unwrap_or_default();
            }
        })
        .inspect_err(|error| warn!(%error, "files are not watched; SIGHUP still reloads"))
        .ok()?;
        let folders: BTreeSet<PathBuf> = self
            .depends_on
            .iter()
            .filter_map(|file| file.parent())
            .map(|folder| if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() })
            .collect();
        for folder in folders {
            if let Err(error) = watcher.watch(&folder, RecursiveMode::NonRecursive) {
                warn!(folder = %folder.display(), %error, "a folder is not watched; SIGHUP still reloads");
            }
        }
        Some(watcher)
    }

    async fn reload(&mut self) {
        for door in &self.doors {
            let Some(reloaded) = door.tls().map(|tls| tls.reload()) else { continue };
            let result = if reloaded.is_ok() { "taken" } else { "refused" };
            let values = [&*door.address().to_string(), result];
            metric::counter(Metric::CertificateReloads, &values).increment(1);
            if let Err(fault) = reloaded {
                error!(address = %door.address(), %fault, "a certificate was not taken; the old one stays");
            }
        }
        let Origin::File(file) = &self.origin else { return };
        match config::load(file) {
            Ok(loaded) => self.take(loaded).await,
            Err(refused) => {
                count_configuration(false, self.clock);
                for fault in &refused.faults {
                    error!(%fault, "the new configuration is refused; the old one stays in force");
                }
                self.depends_on.extend(refused.depends_on);
            }
        }
    }

    async fn take(&mut self, loaded: Loaded) {
        let Loaded { mut settings, warnings, depends_on } = loaded;
        self.depends_on = depends_on;
        if settings.tokens.is_none() {
            settings.tokens.clone_from(&self.settings.tokens);
        }
        let changes = config::diff(&self.settings, &settings);
        if changes.is_empty() {
            return;
        }
        let view = match compile::view(&settings) {
            Ok(view) => view,
            Err(fault) => {
                error!(%fault, "the new configuration is refused; the old one stays in force");
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
        self.probes.send_replace(Probing::of(&settings));
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
