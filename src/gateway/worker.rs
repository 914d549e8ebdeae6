//! One worker: a thread with its own runtime, listeners, pools and house.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::body::ReplayRoom;
use crate::clock::Clock;
use crate::exchange::Exchange;
use crate::exchange::bell::Bell;
use crate::exchange::meters::Meters;
use crate::exchange::run::Lanes;
use crate::exchange::tls::MachineRoots;
use crate::listen::{
    Admission, Bound, ConnectionRules, HeadLimits, Patience, RefusedHook, Worker, WorkerRules, run_worker,
};
use crate::pipeline::{self, House};
use crate::probe::Canaries;
use crate::publish::Published;
use crate::route::Budget;
use crate::sigv4::KeyCache;
use crate::steward;
use crate::telemetry::access::{AccessLine, AccessLog, LogHandle};
use crate::telemetry::metric::WorkerMeters;
use crate::view::View;
use crate::{credentials, dns};

/// Bytes that hyper may hold for one client connection, each way.
const BUFFER: usize = 128 * 1024;
/// A TLS handshake may take this long.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// An idle connection gets this long for one more request once the process drains.
const FAREWELL: Duration = Duration::from_secs(1);

/// What all workers share.
#[derive(Clone)]
pub(super) struct Crew {
    pub clock: Clock,
    pub view: Published<View>,
    pub steward: steward::Handle,
    pub resolver: dns::Resolver,
    pub credentials: credentials::Store,
    pub canaries: Canaries,
    pub meters: Arc<Meters>,
    pub roots: MachineRoots,
    pub replays: ReplayRoom,
    pub in_flight: Arc<AtomicU32>,
    pub admission: Arc<Admission>,
    pub mark: Arc<str>,
    pub workers: usize,
}

/// Serves until `stop`, then drains.
pub(super) fn run(crew: &Crew, sockets: Vec<Bound>, log: &LogHandle, stop: CancellationToken) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            error!(%error, "a worker has no runtime");
            return;
        }
    };
    LocalSet::new().block_on(&runtime, serve(crew, sockets, log, stop));
}

async fn serve(crew: &Crew, sockets: Vec<Bound>, log: &LogHandle, stop: CancellationToken) {
    let access = log.worker();
    let house = Rc::new(house(crew, access.clone()));
    let bell = house.exchange.bell.clone();
    let mut view = crew.view.clone();
    let ringing = tokio::task::spawn_local(async move {
        loop {
            view.changed().await;
            bell.ring();
        }
    });
    let flushing = tokio::task::spawn_local({
        let access = access.clone();
        async move { access.keep_fresh().await }
    });
    let rules = crew.view.clone();
    let worker = Worker {
        answer: move |peer, head, body| {
            let house = Rc::clone(&house);
            async move { pipeline::answer(&house, &peer, head, body).await }
        },
        rules: Box::new(move || worker_rules(&rules.load())),
        admission: Arc::clone(&crew.admission),
        clock: crew.clock,
        coin: super::fresh_coin(),
        refused: refused_at_the_wire(crew.clock, access.clone()),
    };
    match run_worker(sockets, worker, stop).await {
        Ok(drained) if drained.cut > 0 => {
            warn!(cut = drained.cut, finished = drained.finished, "connections were cut at the drain's end");
        }
        Ok(_) => {}
        Err(error) => error!(%error, "a worker cannot use its sockets"),
    }
    ringing.abort();
    flushing.abort();
    access.flush();
}

/// Writes the access line of a request whose head was not let in, and of which nothing else can be
/// said.
fn refused_at_the_wire(clock: Clock, access: AccessLog) -> RefusedHook {
    Box::new(move |peer, violation, id| {
        let now = clock.now();
        access.write(&AccessLine {
            id,
            at: (now.wall, now.wall_millis),
            peer: peer.address.socket(),
            tls: peer.tls,
            http2: peer.http2,
            method: "-",
            path: "-",
            query: None,
            user_agent: None,
            access_point: None,
            operation: None,
            client: None,
            status: violation.status().0,
            code: Some(violation.code()),
            cause: Some(violation.label()),
            region: None,
            attempts: 0,
            why: None,
            tries: &[],
            bytes_in: 0,
            bytes_out: 0,
            total: Duration::ZERO,
            first_byte: None,
            upstream: None,
            aborted: None,
        });
    })
}

fn house(crew: &Crew, access: AccessLog) -> House {
    let limits = Arc::clone(&crew.view.load().limits);
    let now = crew.clock.now().mono;
    #[expect(clippy::cast_precision_loss, reason = "a number of cores")]
    let floor = limits.retry_floor.0 / crew.workers as f64;
    let exchange = Exchange {
        clock: crew.clock,
        resolver: crew.resolver.clone(),
        credentials: crew.credentials.clone(),
        meters: Arc::clone(&crew.meters),
        steward: crew.steward.clone(),
        view: crew.view.clone(),
        bell: Bell::default(),
        roots: crew.roots.clone(),
        budget: RefCell::new(Budget::new(limits.retry_share.0, floor, now)),
        coin: RefCell::new(super::fresh_coin()),
        keys: RefCell::new(KeyCache::new()),
        lanes: RefCell::new(Lanes::default()),
    };
    House {
        clock: crew.clock,
        view: crew.view.clone(),
        exchange,
        coin: RefCell::new(super::fresh_coin()),
        keys: RefCell::new(KeyCache::new()),
        replays: crew.replays.clone(),
        in_flight: Arc::clone(&crew.in_flight),
        meters: Rc::new(WorkerMeters::new()),
        access,
        canaries: crew.canaries.clone(),
        mark: Arc::clone(&crew.mark),
    }
}

fn worker_rules(view: &View) -> WorkerRules {
    let (limits, timeouts) = (&view.limits, &view.timeouts);
    WorkerRules {
        connections: limits.connections as usize,
        connections_per_address: limits.connections_per_ip as usize,
        connection: ConnectionRules {
            head: HeadLimits {
                bytes: usize::try_from(limits.head.0).unwrap_or(usize::MAX),
                fields: limits.header_fields as usize,
            },
            patience: Patience {
                head: timeouts.client_head,
                idle: timeouts.idle,
                reader: timeouts.stalled_reader,
                farewell: FAREWELL,
            },
            buffer: BUFFER,
        },
        handshake: HANDSHAKE,
        drain_min: timeouts.drain_min,
        drain: timeouts.drain,
    }
}
