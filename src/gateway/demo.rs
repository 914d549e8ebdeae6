//! A gateway for the demo.

use std::sync::mpsc;

use super::{Gateway, Origin, standings};
use crate::clock::Clock;
use crate::config;
use crate::demo::{DemoSettings, RegionStanding, Running};
use crate::telemetry::metric;

/// Starts a gateway over the demo's regions.
///
/// # Errors
/// What kept it from starting.
#[expect(clippy::needless_pass_by_value, reason = "the demo hands its settings over")]
pub fn start(demo: DemoSettings) -> anyhow::Result<Running> {
    let metrics = metric::install()?;
    let upkeep = metrics.clone();
    let gateway = Gateway::start(config::from_demo(&demo)?, Origin::Fixed, metrics)?;
    let (over, ended) = mpsc::channel::<()>();
    let upkeep = std::thread::Builder::new().name("upkeep".to_owned()).spawn(move || {
        while ended.recv_timeout(metric::UPKEEP_INTERVAL) == Err(mpsc::RecvTimeoutError::Timeout) {
            upkeep.run_upkeep();
        }
    })?;
    let address = gateway.address().ok_or_else(|| anyhow::anyhow!("the demo listens on no port"))?;
    let (view, clock) = (gateway.view.clone(), Clock::system());
    let standings = move || {
        standings(&view.load(), clock.mono())
            .iter()
            .filter_map(|row| {
                Some(RegionStanding {
                    region: row["id"].as_str()?.into(),
                    reads: row["reads"].as_str()?.to_owned(),
                    writes: row["writes"].as_str()?.to_owned(),
                    latency: row["latency_ms"]
                        .as_f64()
                        .map(|ms| std::time::Duration::from_secs_f64(ms / 1000.0)),
                })
            })
            .collect()
    };
    let admin = gateway.admin.to_string();
    let stop = move || {
        gateway.stop();
        drop(over);
        if upkeep.join().is_err() {
            tracing::error!("the upkeep of metrics panicked");
        }
    };
    Ok(Running { address, admin, standings: Box::new(standings), stop: Box::new(stop) })
}
