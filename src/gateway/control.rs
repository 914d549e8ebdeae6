//! The control thread: steward, probes, credentials, admin listener, reloads.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::descriptors::Descriptors;
use super::reload::Reloader;
use super::status::Gauges;
use super::worker::Crew;
use super::{Doors, Origin, compile, count_configuration, fresh_coin, status};
use crate::admin::{self, AdminSocket, Plane, Readiness};
use crate::body::ReplayRoom;
use crate::clock::Clock;
use crate::config::Settings;
use crate::credentials::{self, Store};
use crate::dns::Resolver;
use crate::exchange::meters::Meters;
use crate::exchange::tls::{MachineRoots, TlsClient, TlsFault};
use crate::fleet::{Event, Fleet, FleetSettings, Pace, ProbeFault};
use crate::listen::Admission;
use crate::names::{BucketName, RegionId};
use crate::overload::{ByteRoom, Places};
use crate::pipeline::{Changes, Quarantine};
use crate::probe::{self, Canaries, Follower, Outlook, ProbeTarget, Site, Tools, Wrote, written};
use crate::publish::Published;
use crate::route::AccessPoint;
use crate::steward::{self, Steward};
use crate::telemetry::metric::{self, Metric, PrometheusHandle};
use crate::view::{RegionSettings, View};

/// How long the first round of probes may hold readiness back.
const FIRST_ROUND: Duration = Duration::from_secs(3);
/// How often clocks and certificates are looked at, to warn of them.
const WARNINGS: Duration = Duration::from_secs(5);
/// How often the keys that clients changed are looked after: windows are of many seconds.
const TENDING: Duration = Duration::from_secs(1);

/// What the control thread starts with.
pub(super) struct Control {
    pub settings: Settings,
    pub origin: Origin,
    pub depends_on: BTreeSet<PathBuf>,
    pub doors: Doors,
    pub admin_socket: AdminSocket,
    pub metrics: PrometheusHandle,
    pub clock: Clock,
    pub descriptors: Descriptors,
    pub ready: Arc<Readiness>,
    /// The last request has ended.
    pub over: CancellationToken,
    pub asked: mpsc::Receiver<()>,
}

/// Runs until the gateway stops. `tell` gets what the workers share.
pub(super) fn run(control: Control, tell: oneshot::Sender<anyhow::Result<Crew>>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            drop(tell.send(Err(error.into())));
            return;
        }
    };
    runtime.block_on(conduct(control, tell));
}

async fn conduct(control: Control, tell: oneshot::Sender<anyhow::Result<Crew>>) {
    let over = control.over.clone();
    match compile::view(&control.settings, control.descriptors) {
        Ok(view) => {
            let crew = assemble(control, view);
            drop(tell.send(Ok(crew)));
            // Probes, steward, names and the admin listener go on for as long as requests do, and a
            // drain may take its time.
            over.cancelled().await;
        }
        Err(fault) => drop(tell.send(Err(fault))),
    }
}

fn assemble(control: Control, view: View) -> Crew {
    let Control { settings, origin, depends_on, doors, admin_socket, metrics, clock, .. } = control;
    let (descriptors, ready, over, asked) = (control.descriptors, control.ready, control.over, control.asked);
    let (crew, probes) = found(&settings, view, Resolver::system(clock), clock);
    let (handle, reader) = (crew.steward.clone(), crew.view.clone());
    let (store, meters) = (crew.credentials.clone(), Arc::clone(&crew.meters));
    tokio::spawn(first_round(reader.clone(), Arc::clone(&ready)));
    tokio::spawn(warnings(crew.clone()));
    tokio::spawn(tend_changes(crew.clone()));
    let learnt = Arc::clone(&meters);
    let gauges = Mutex::new(Gauges::new(crew.clone(), doors.clone()));
    let plane = Plane {
        ready,
        metrics: Arc::new(move || {
            gauges.lock().unwrap_or_else(PoisonError::into_inner).read();
            metrics.render()
        }),
        status: {
            let (view, clock) = (reader, clock);
            Arc::new(move || status::document(&view.load(), &meters, clock.now()))
        },
        clock,
    };
    tokio::spawn(async move {
        if let Err(error) = admin::serve(admin_socket, plane, over).await {
            error!(%error, "the admin listener ended");
        }
    });
    let reloader = Reloader {
        origin,
        depends_on,
        settings,
        configuration: 0,
        doors,
        steward: handle,
        store,
        meters: learnt,
        probes,
        clock,
        descriptors,
        told: BTreeSet::new(),
        refused: BTreeSet::new(),
    };
    tokio::spawn(reloader.run(asked));
    count_configuration(true, clock);
    metric::gauge(Metric::Build, &[env!("CARGO_PKG_VERSION")]).set(1.0);
    crew
}

/// What workers share, with the tasks that keep it: steward, credentials, canaries and probes. A reload
/// tells the probes by the sender.
pub(super) fn found(
    settings: &Settings,
    view: View,
    resolver: Resolver,
    clock: Clock,
) -> (Crew, watch::Sender<Probing>) {
    let now = clock.mono();
    let ids: Vec<RegionId> = settings.regions.iter().map(|region| region.id.clone()).collect();
    let fleet = Fleet::new(FleetSettings::default(), &ids, now);
    let clients = Arc::clone(&view.clients);
    let (steward, handle, reader) = Steward::new(fleet, view, clock, fresh_coin(), status::announce);
    tokio::spawn(steward.run());

    let store = Store::new(credentials::rows(&settings.regions, &clients), clock);
    keep_credentials_fresh(store.clone());
    let roots = MachineRoots::load();
    let meters = Arc::new(Meters::new(now, fresh_coin()));
    let tools =
        Tools { resolver: resolver.clone(), credentials: store.clone(), meters: Arc::clone(&meters), clock };
    let crew = Crew {
        clock,
        view: reader.clone(),
        steward: handle.clone(),
        resolver,
        credentials: store.clone(),
        canaries: Canaries::start(tools.clone()),
        meters: Arc::clone(&meters),
        roots: roots.clone(),
        replays: ReplayRoom::default(),
        documents: ByteRoom::new(),
        places: Places::new(fresh_coin().bits(), now),
        hurry: Arc::default(),
        quarantine: Quarantine::default(),
        endings: Arc::default(),
        changes: Changes::new(settings.limits.remembered_keys),
        admission: Admission::new(),
        mark: Arc::from(format!("nearpoint-{:016x}", fresh_coin().bits())),
        workers: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
    };
    let (probes, settings_of_probes) = watch::channel(Probing::of(settings));
    let outlook = Watch { view: reader.clone(), steward: handle.clone(), meters: Arc::clone(&meters), clock };
    tokio::spawn(keep_probing(settings_of_probes, tools, roots, outlook));
    (crew, probes)
}

#[cfg(feature = "aws-chain")]
pub(super) fn keep_credentials_fresh(store: Store) {
    // The chain reads what AWS's tools read; it is the one place besides config that may.
    let chain = credentials::chain::AwsChain::new(std::env::vars());
    tokio::spawn(credentials::keep_fresh(store, chain, fresh_coin()));
}

#[cfg(not(feature = "aws-chain"))]
pub(super) fn keep_credentials_fresh(_store: Store) {}

/// What probes read of the configuration in force.
#[derive(Clone)]
pub(super) struct Probing {
    regions: Vec<RegionSettings>,
    access_points: Vec<AccessPoint>,
}

impl Probing {
    pub(super) fn of(settings: &Settings) -> Self {
        Self { regions: settings.regions.clone(), access_points: settings.access_points.clone() }
    }

    fn targets(&self, roots: &MachineRoots) -> Vec<ProbeTarget> {
        let sites: Vec<(&RegionSettings, Option<TlsClient>)> = self
            .regions
            .iter()
            .filter_map(|region| match tls(region, roots) {
                Ok(tls) => Some((region, tls)),
                Err(fault) => {
                    error!(region = %region.id, %fault, "a region cannot be probed");
                    None
                }
            })
            .collect();
        let follower = |(region, bucket): (RegionId, BucketName)| {
            let (settings, tls) = sites.iter().find(|(settings, _)| settings.id == region)?;
            Some(Follower { region, site: Site::new(settings, tls.clone()), bucket })
        };
        let target = |(region, tls): &(&RegionSettings, Option<TlsClient>)| {
            let followers = written::followers(region, &self.access_points);
            ProbeTarget::new(region, tls.clone(), followers.into_iter().filter_map(follower).collect())
        };
        sites.iter().map(target).collect()
    }
}

/// Probes the regions of the configuration in force.
async fn keep_probing(
    mut settings: watch::Receiver<Probing>,
    tools: Tools,
    roots: MachineRoots,
    outlook: Watch,
) {
    loop {
        let targets = settings.borrow_and_update().targets(&roots);
        tokio::select! {
            () = probe::run(targets, tools.clone(), outlook.clone(), fresh_coin()) => return,
            changed = settings.changed() => if changed.is_err() { return },
        }
    }
}

/// TLS towards a region, where it speaks it.
fn tls(region: &RegionSettings, roots: &MachineRoots) -> Result<Option<TlsClient>, TlsFault> {
    region.endpoint.tls.then(|| TlsClient::new(&region.tls, roots)).transpose()
}

/// The fleet as probes see it.
#[derive(Clone)]
struct Watch {
    view: Published<View>,
    steward: steward::Handle,
    meters: Arc<Meters>,
    clock: Clock,
}

impl Outlook for Watch {
    fn pace(&self, region: &RegionId) -> Pace {
        self.view.load().table.row(region).map_or(Pace::Normal, |row| row.pace)
    }

    fn last_answer(&self, region: &RegionId) -> Option<Instant> {
        self.view.load().table.row(region).and_then(|row| row.last_answer)
    }

    async fn changed(&mut self) {
        self.view.changed().await;
    }

    fn probed(&self, region: &RegionId, alive: Result<Duration, ProbeFault>) {
        let result = if alive.is_ok() { "passed" } else { "failed" };
        metric::counter(Metric::Probes, &[region.as_str(), result]).increment(1);
        if let Ok(ttfb) = alive {
            metric::histogram(Metric::ProbeSeconds, &[region.as_str()]).record(ttfb);
            self.meters.of(region).answered(self.clock.mono());
        }
        self.steward.report(Event::Probed { region: region.clone(), alive });
    }

    fn wrote(&self, region: &RegionId, wrote: &Wrote) {
        let (result, alive) = match wrote {
            Wrote::Taken => ("taken", Some(Ok(()))),
            Wrote::Failed(fault) => ("failed", Some(Err(*fault))),
            Wrote::Refused(_) => ("refused", None),
            Wrote::Throttled => ("throttled", None),
            Wrote::Unsent => ("shortage", None),
        };
        metric::counter(Metric::WriteProbes, &[region.as_str(), result]).increment(1);
        if let Some(alive) = alive {
            self.steward.report(Event::WriteProbed { region: region.clone(), alive });
        }
    }

    fn lagged(&self, from: &RegionId, to: &RegionId, lag: Duration) {
        self.steward.report(Event::Lagged { from: from.clone(), to: to.clone(), lag });
    }

    fn unsent(&self, region: &RegionId) {
        metric::counter(Metric::Probes, &[region.as_str(), "shortage"]).increment(1);
        warn!(%region, "a probe was not sent: this machine has no file or port left for it");
    }
}

/// Ready once every region was heard of, or after three seconds: never dependent on regions.
async fn first_round(mut view: Published<View>, ready: Arc<Readiness>) {
    let heard = async {
        loop {
            let known = |row: &crate::fleet::RegionRow| row.reads.standing != crate::fleet::Standing::Unknown;
            if view.load().table.rows().iter().all(known) {
                return;
            }
            view.changed().await;
        }
    };
    let all = tokio::time::timeout(FIRST_ROUND, heard).await.is_ok();
    info!(all, "first round of probes");
    ready.probed();
}

/// Forgets what need not be remembered any more.
async fn tend_changes(crew: Crew) {
    loop {
        tokio::time::sleep(TENDING).await;
        crew.changes.tend(&crew.view.load(), crew.clock.mono());
    }
}

async fn warnings(crew: Crew) {
    let mut warned = status::Warned::default();
    loop {
        tokio::time::sleep(WARNINGS).await;
        status::warn_in_time(&crew, &mut warned);
    }
}
