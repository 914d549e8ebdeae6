//! `serve`: a gateway until a signal says otherwise.

use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use super::{Gateway, Origin};
use crate::config::Loaded;
use crate::telemetry::{log, metric};

/// Runs a gateway until SIGTERM or SIGINT has drained it; SIGHUP reloads. A second SIGTERM ends
/// it at once.
///
/// # Errors
/// What kept it from starting.
pub fn serve(loaded: Loaded, origin: Origin) -> anyhow::Result<()> {
    log::install(&loaded.settings.telemetry).context("the log")?;
    let metrics = metric::install().context("the metrics recorder")?;
    for warning in &loaded.warnings {
        warn!(%warning, "configuration");
    }
    let upkeep = metrics.clone();
    let gateway = Gateway::start(loaded, origin, metrics)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut hangups = signal(SignalKind::hangup())?;
        let mut terms = signal(SignalKind::terminate())?;
        let mut interrupts = signal(SignalKind::interrupt())?;
        let mut tidy = tokio::time::interval(metric::UPKEEP_INTERVAL);
        loop {
            tokio::select! {
                _ = hangups.recv() => gateway.reload(),
                _ = terms.recv() => return anyhow::Ok(()),
                _ = interrupts.recv() => return Ok(()),
                _ = tidy.tick() => upkeep.run_upkeep(),
            }
        }
    })?;
    // said once it holds: who reads the log may ask `/readyz` at once
    gateway.drain();
    info!("draining");
    runtime.spawn_blocking(force_on_second_signal);
    gateway.stop();
    info!("ended");
    runtime.shutdown_timeout(Duration::ZERO);
    Ok(())
}

/// Whoever asks twice does not want to wait.
fn force_on_second_signal() {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let (Ok(mut terms), Ok(mut interrupts)) =
            (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            return;
        };
        tokio::select! { _ = terms.recv() => {}, _ = interrupts.recv() => {} }
        warn!("ended by a second signal, requests under way are cut");
        std::process::exit(1);
    });
}
