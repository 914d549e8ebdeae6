//! `nearpoint demo`: three embedded S3 regions at different distances, a replicator between them,
//! a gateway over them; regions die and return at the press of a key or by a script. A side room.
//!
//! It knows neither the configuration nor the gateway: [`play`] hands [`DemoSettings`] to whoever
//! starts one, and shows what the [`Running`] gateway says of itself.

mod door;
mod keyboard;
mod play;
pub mod regions;
pub mod replicator;
pub mod screen;
pub mod script;
pub mod traffic;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::names::{AccessPointName, BucketName, RegionId};
use crate::sigv4::Credential;

pub use play::play;
pub use script::Script;
pub use traffic::Tally;

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the gateway is to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// How long the replicator holds every change back.
    pub lag: Duration,
    /// Played without hands; `None` leaves it to the keyboard.
    pub script: Option<Script>,
    /// Standard output is a terminal: lines are redrawn in place, keys are read.
    pub terminal: bool,
    /// Colours are welcome (a terminal, and no `NO_COLOR`).
    pub colour: bool,
}

/// One region, as the gateway must know it.
#[derive(Clone, Debug)]
pub struct DemoRegion {
    /// Its name.
    pub id: RegionId,
    /// Where it listens: plain HTTP, path style, always loopback.
    pub address: SocketAddr,
    /// For its signatures.
    pub signing_region: String,
    /// Its bucket of the access point.
    pub bucket: BucketName,
    /// Its key pair.
    pub credential: Credential,
    /// Added to every answer: its distance.
    pub latency: Duration,
}

/// What the gateway is to be started with. Reads go to the nearest region and may fail over; so do
/// writes, since replication goes both ways.
#[derive(Clone, Debug)]
pub struct DemoSettings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The region that clients sign for.
    pub logical_region: String,
    /// The one access point.
    pub access_point: AccessPointName,
    /// The regions, nearest first.
    pub regions: Vec<DemoRegion>,
    /// The first region: home of writes.
    pub home: RegionId,
    /// The one client's key pair.
    pub client: Credential,
    /// An empty folder that vanishes with the demo, for keys and journals.
    pub state_dir: PathBuf,
}

/// What the gateway thinks of a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionStanding {
    /// Which.
    pub region: RegionId,
    /// Standing for reads (`healthy`).
    pub reads: String,
    /// Standing for writes.
    pub writes: String,
    /// Measured time to first byte; `None` until measured.
    pub latency: Option<Duration>,
}

/// A gateway that was started for the demo.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where its operators ask: address and port.
    pub admin: String,
    /// What it thinks of its regions now; asked four times a second.
    pub standings: Box<dyn Fn() -> Vec<RegionStanding> + Send>,
    /// Ends it; returns once its listeners are closed.
    pub stop: Box<dyn FnOnce() + Send>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Why the demo cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A folder, a socket or the terminal failed.
    #[error("{what}: {source}")]
    Machine {
        /// What was being done.
        what: &'static str,
        /// What the machine said.
        source: std::io::Error,
    },
    /// An embedded store did not start.
    #[error("an embedded store did not start: {0}")]
    Store(String),
    /// The gateway did not start.
    #[error("the gateway did not start: {0}")]
    Gateway(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No secret could be drawn.
    #[error("the machine gives no random bytes")]
    NoRandomness,
}

impl Fault {
    /// For `map_err`: says what was being done.
    fn machine(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Machine { what, source }
    }
}
