//! A whole configuration, compiled: what the composition root builds the rooms from.

use std::path::PathBuf;

use crate::admin::AdminSettings;
use crate::listen::ListenerSettings;
use crate::names::Secret;
use crate::policy::Client;
use crate::route::AccessPoint;
use crate::sigv4::Key;
use crate::telemetry::TelemetrySettings;
use crate::view::{Limits, LogicalRegion, RegionSettings, Timeouts};

/// Everything that an operator says. Secrets in it never print.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The region that clients sign for.
    pub logical_region: LogicalRegion,
    /// Keys of tokens, the first signs; at least one where there. `None` only where no token is
    /// ever made, or where all listeners are local: then one is made in [`Self::state_dir`].
    pub tokens: Option<Vec<Secret>>,
    /// Where a token key that was made is kept.
    pub state_dir: PathBuf,
    /// The data listeners, at least one.
    pub listeners: Vec<ListenerSettings>,
    /// The admin listener.
    pub admin: AdminSettings,
    /// Domains under which a Host's first labels are a bucket.
    pub domains: Vec<String>,
    /// The regions, in the order of the file.
    pub regions: Vec<RegionSettings>,
    /// The access points, in the order of the file; the wildcard among them.
    pub access_points: Vec<AccessPoint>,
    /// The clients, in the order of the file.
    pub clients: Vec<Client>,
    /// Their keys, in the same order.
    pub keys: Vec<Key>,
    /// Bounds.
    pub limits: Limits,
    /// Waits.
    pub timeouts: Timeouts,
    /// Logs.
    pub telemetry: TelemetrySettings,
}

impl Settings {
    /// Whether tokens are ever made: upload ids, listing tokens and version ids are wrapped on
    /// access points of more than one region.
    #[must_use]
    pub fn needs_tokens(&self) -> bool {
        self.access_points.iter().any(|point| point.members.len() > 1)
    }
}
