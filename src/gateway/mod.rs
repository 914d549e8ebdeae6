//! Composition root: from settings to rooms, threads and listeners, and in order back to nothing.
//!
//! One thread a core answers requests, each with its own runtime, listeners and pools; one more
//! (the control thread) probes, stewards, refreshes credentials and serves the admin listener.

mod compile;
mod control;
#[cfg(feature = "demo")]
pub mod demo;
mod descriptors;
pub mod online;
mod reload;
mod serve;
mod status;
#[cfg(test)]
mod tests;
mod waypoints;
mod worker;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use self::descriptors::Descriptors;
pub use self::serve::serve;
pub use self::status::regions as standings;
use self::worker::Crew;
use crate::admin;
use crate::chance::Coin;
use crate::clock::Clock;
use crate::config::{Loaded, Settings};
use crate::listen::{self, Address, Bound, Door};
use crate::publish::Published;
use crate::telemetry::access::AccessWriter;
use crate::telemetry::metric::{self, Metric};
use crate::view::View;

/// How long the access log may take to reach its file at the end.
const LAST_LINES: Duration = Duration::from_secs(2);

/// New listeners' sockets that may wait for a worker to take them: a reload sends them and waits.
const SOCKETS_AHEAD: usize = 16;

/// The data listeners in force, and how workers get the sockets of new ones.
#[derive(Clone)]
struct Doors {
    in_force: Arc<ArcSwap<Vec<Arc<Door>>>>,
    workers: Vec<mpsc::Sender<Bound>>,
}

impl Doors {
    fn new(doors: Vec<Arc<Door>>, workers: Vec<mpsc::Sender<Bound>>) -> Self {
        Self { in_force: Arc::new(ArcSwap::from_pointee(doors)), workers }
    }

    fn now(&self) -> Arc<Vec<Arc<Door>>> {
        self.in_force.load_full()
    }
}

/// Where a configuration came from, and so how it is read again.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A file.
    File(std::path::PathBuf),
    /// The command line, or a program: never read again.
    Fixed,
}

/// A running gateway.
pub struct Gateway {
    /// The addresses that data listeners are bound to, ports known.
    pub addresses: Vec<Address>,
    /// The admin listener's.
    pub admin: Address,
    /// What the regions are doing.
    pub view: Published<View>,
    stop: CancellationToken,
    /// The last request has ended.
    over: CancellationToken,
    reloads: mpsc::Sender<()>,
    workers: Vec<JoinHandle<()>>,
    control: JoinHandle<()>,
    access: AccessWriter,
    ready: Arc<admin::Readiness>,
}

impl Gateway {
    /// Starts a gateway and returns once it listens. The log and the metrics recorder are the
    /// process's, and installed by then.
    ///
    /// # Errors
    /// What could not be bound, read or generated.
    pub fn start(loaded: Loaded, origin: Origin, metrics: metric::PrometheusHandle) -> anyhow::Result<Self> {
        let Loaded { mut settings, depends_on, .. } = loaded;
        let clock = Clock::system();
        let ready = Arc::new(admin::Readiness::new(clock.mono()));
        compile::token_keys(&mut settings)?;
        let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let binding = listen::bind(&settings.listeners, workers)?;
        let admin_socket = admin::bind(&settings.admin)?;
        let access = AccessWriter::open(&settings.telemetry.access_log).context("the access log")?;
        ready.configured();

        let (stop, over) = (CancellationToken::new(), CancellationToken::new());
        let (new_sockets, served): (Vec<_>, Vec<_>) =
            (0..workers).map(|_| mpsc::channel(SOCKETS_AHEAD)).unzip();
        let (reloads, asked) = mpsc::channel(1);
        let (addresses, admin_address) = (addresses(&binding.doors), admin_socket.address().clone());
        let control = control::Control {
            settings,
            origin,
            depends_on,
            doors: Doors::new(binding.doors, new_sockets),
            admin_socket,
            metrics,
            clock,
            descriptors: Descriptors::claim(),
            ready: Arc::clone(&ready),
            over: over.clone(),
            asked,
        };
        let (tell, told) = oneshot::channel();
        let control = std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || control::run(control, tell))
            .context("the control thread")?;
        let crew: Crew = told.blocking_recv().context("the control thread ended before it began")??;
        let view = crew.view.clone();

        let mut threads = Vec::with_capacity(workers);
        for (number, (sockets, later)) in binding.workers.into_iter().zip(served).enumerate() {
            let (crew, stop, log) = (crew.clone(), stop.clone(), access.handle());
            let work = move || worker::run(&crew, (sockets, later), &log, stop);
            let thread = std::thread::Builder::new().name(format!("worker-{number}")).spawn(work);
            threads.push(thread.context("a worker thread")?);
        }
        ready.bound();
        for address in &addresses {
            info!(%address, "listening");
        }
        info!(address = %admin_address, "admin listening");
        Ok(Self {
            addresses,
            admin: admin_address,
            view,
            stop,
            over,
            reloads,
            workers: threads,
            control,
            access,
            ready,
        })
    }

    /// The first TCP address that data is served on.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.addresses.iter().find_map(|address| match address {
            Address::Tcp(address) => Some(*address),
            Address::Unix(_) => None,
        })
    }

    /// Asks for the configuration to be read again.
    pub fn reload(&self) {
        // One request that waits is as good as two.
        self.reloads.try_send(()).unwrap_or_default();
    }

    /// Stops accepting and lets requests under way finish, within `timeouts.drain`.
    pub fn drain(&self) {
        self.ready.draining();
        self.stop.cancel();
    }

    /// Drains, and returns when everything has ended.
    pub fn stop(self) {
        self.drain();
        let Self { workers, control, over, access, .. } = self;
        workers.into_iter().for_each(join);
        over.cancel();
        join(control);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        if !runtime.is_ok_and(|runtime| runtime.block_on(access.finish(LAST_LINES))) {
            error!("the last access lines were not written");
        }
    }
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        error!("a thread of the gateway panicked");
    }
}

fn addresses(doors: &[Arc<Door>]) -> Vec<Address> {
    doors.iter().map(|door| door.address().clone()).collect()
}

/// A coin that no other process has.
fn fresh_coin() -> Coin {
    Coin::seeded(fastrand::u64(..))
}

/// Says in metrics which configuration is in force.
fn count_configuration(taken: bool, clock: Clock) {
    let result = if taken { "taken" } else { "refused" };
    metric::counter(Metric::ConfigReloads, &[result]).increment(1);
    if taken {
        let now = clock.now().wall.0;
        #[expect(clippy::cast_precision_loss, reason = "a Unix time is far below 2^52")]
        metric::gauge(Metric::ConfigTaken, &[]).set(now as f64);
    }
}

/// The settings that a gateway starts with, for those who have no file.
#[must_use]
pub fn fixed(settings: Settings) -> Loaded {
    Loaded { settings, warnings: Vec::new(), depends_on: std::collections::BTreeSet::new() }
}
