//! One worker: a thread with its own runtime, listeners, pools and house.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::body::ReplayRoom;
use crate::clock::Clock;
use crate::exchange::Exchange;
use crate::exchange::bell::Bell;
use crate::exchange::meters::Meters;
use crate::exchange::run::Lanes;
use crate::exchange::tls::MachineRoots;
use crate::fleet::Digest;
use crate::listen::{Admission, Bound, Guests, PeerAddress, RefusedHook, Worker, WorkerRules, run_worker};
use crate::overload::{ByteRoom, Places};
use crate::pipeline::{self, Changes, House, Quarantine};
use crate::probe::Canaries;
use crate::publish::Published;
use crate::route::Budget;
use crate::route::hedge::Hedges;
use crate::s3::form::Endings;
use crate::sigv4::KeyCache;
use crate::steward;
use crate::telemetry::access::{Aborted, AccessLine, AccessLog, LogHandle};
use crate::telemetry::metric::WorkerMeters;
use crate::view::View;
use crate::{credentials, dns};

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
    pub documents: Arc<ByteRoom>,
    pub places: Arc<Places>,
    pub hurry: Arc<Notify>,
    pub quarantine: Quarantine,
    pub endings: Arc<Mutex<Endings>>,
    pub changes: Changes,
    pub admission: Arc<Admission>,
    pub mark: Arc<str>,
    pub workers: usize,
}

/// A worker's sockets: those of the start, and those of listeners that come with a reload.
pub(super) type Sockets = (Vec<Bound>, mpsc::Receiver<Bound>);

/// Serves until `stop`, then drains.
pub(super) fn run(crew: &Crew, sockets: Sockets, log: &LogHandle, stop: CancellationToken) {
    let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
        Ok(runtime) => runtime,
        Err(error) => {
            error!(%error, "a worker has no runtime");
            return;
        }
    };
    runtime.block_on(serve(crew, sockets, log, stop));
}

async fn serve(crew: &Crew, sockets: Sockets, log: &LogHandle, stop: CancellationToken) {
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
    let alert = tokio::task::spawn_local({
        let house = Rc::clone(&house);
        async move { house.stay_alert().await }
    });
    let (rules, guests) = (crew.view.clone(), Rc::clone(&house.guests));
    let worker = Worker {
        answer: move |peer, head, body, fate| {
            let house = Rc::clone(&house);
            async move { pipeline::answer(&house, &peer, head, body, fate).await }
        },
        rules: Box::new(move || {
            let view = rules.load();
            WorkerRules::of(&view.limits, &view.timeouts)
        }),
        admission: Arc::clone(&crew.admission),
        guests,
        clock: crew.clock,
        coin: super::fresh_coin(),
        refused: refused_at_the_wire(crew.clock, access.clone()),
    };
    let (sockets, later) = sockets;
    match run_worker(sockets, later, worker, stop).await {
        Ok(drained) if drained.cut > 0 => {
            warn!(cut = drained.cut, finished = drained.finished, "connections were cut at the drain's end");
        }
        Ok(_) => {}
        Err(error) => error!(%error, "a worker cannot use its sockets"),
    }
    ringing.abort();
    alert.abort();
    flushing.abort();
    access.flush();
}

/// A request that never became one has its line too: what cannot be read of it is left empty.
fn refused_at_the_wire(clock: Clock, access: AccessLog) -> RefusedHook {
    Box::new(move |peer, violation, id| {
        let now = clock.now();
        let address = match peer.address {
            PeerAddress::Ip(address) => Some(address),
            PeerAddress::Unix => None,
        };
        // with HTTP/2 nothing was answered: the stream was reset
        let (status, aborted) =
            if peer.http2 { (0, Some(Aborted::Proxy)) } else { (violation.status().0, None) };
        access.write(&AccessLine {
            status,
            aborted,
            http2: peer.http2,
            code: Some(violation.code()),
            cause: Some(violation.label()),
            ..AccessLine::unread(id, (now.wall, now.wall_millis), address, peer.tls)
        });
    })
}

/// A worker's house.
pub(super) fn house(crew: &Crew, access: AccessLog) -> House {
    let exchange = Exchange {
        clock: crew.clock,
        resolver: crew.resolver.clone(),
        credentials: crew.credentials.clone(),
        meters: Arc::clone(&crew.meters),
        steward: crew.steward.clone(),
        digest: RefCell::new(Digest::default()),
        view: crew.view.clone(),
        bell: Bell::default(),
        roots: crew.roots.clone(),
        workers: crew.workers,
        budget: RefCell::new(Budget::empty(crew.clock.mono())),
        hedges: RefCell::new(Hedges::new(crew.clock.mono())),
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
        documents: Arc::clone(&crew.documents),
        places: Arc::clone(&crew.places),
        guests: Guests::new(),
        hurry: Arc::clone(&crew.hurry),
        looked: Cell::new(None),
        regained: Cell::new(0),
        meters: Rc::new(WorkerMeters::new()),
        access,
        canaries: crew.canaries.clone(),
        quarantine: crew.quarantine.clone(),
        endings: Arc::clone(&crew.endings),
        changes: crew.changes.clone(),
        left_out_said: Cell::new(None),
        diagnosed: Cell::new((0, 0)),
        mark: Arc::clone(&crew.mark),
    }
}
