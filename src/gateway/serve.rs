//! `serve`: a gateway until a signal says otherwise.

use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // before anybody can know that we are there: until it is listened for, a signal is the end
    let (mut hangups, mut terms, mut interrupts) = {
        let _entered = runtime.enter();
        (signal(SignalKind::hangup())?, signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    let gateway = Gateway::start(loaded, origin, metrics)?;
    let (terms, interrupts) = runtime.block_on(async {
        let mut tidy = tokio::time::interval(metric::UPKEEP_INTERVAL);
        loop {
            tokio::select! {
                _ = hangups.recv() => gateway.reload(),
                _ = terms.recv() => return anyhow::Ok((terms, interrupts)),
                _ = interrupts.recv() => return Ok((terms, interrupts)),
                _ = tidy.tick() => upkeep.run_upkeep(),
            }
        }
    })?;
    // said once it holds: who reads the log may ask `/readyz` at once
    gateway.drain();
    info!("draining");
    runtime.spawn_blocking(|| force_on_second_signal(terms, interrupts));
    gateway.stop();
    info!("ended");
    runtime.shutdown_timeout(Duration::ZERO);
    Ok(())
}

/// Whoever asks twice does not want to wait. It is listened for where the first was heard, so that
/// none is lost in between.
fn force_on_second_signal(mut terms: Signal, mut interrupts: Signal) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        tokio::select! { _ = terms.recv() => {}, _ = interrupts.recv() => {} }
        warn!("ended by a second signal, requests under way are cut");
        std::process::exit(1);
    });
}
