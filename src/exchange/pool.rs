//! Our own small pool: last in, first out; idle for at most
//! `timeouts.upstream_idle`, or less where the region closes earlier; none to an address that is out
//! or that DNS has given up; no retry out of sight. Who finds none idle may wait for one that is
//! given back, where that is sooner than making one. One a region and worker, so no lock.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::Gauge;
use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::addresses::{Addresses, Pulse};
use super::idle::IdleLimit;
use super::line::Line;
use super::socket::Socket;
use crate::clock::Clock;
use crate::dns::Resolver;
use crate::http1::Conversation;

/// Idle connections kept for one authority of one region by one worker.
const IDLE_MAX: usize = 256;
/// How often a pool in use looks at what DNS and the other workers know of its addresses although
/// nobody has said that anything changed: an address that DNS has dropped becomes unwanted by time.
const LOOK_AROUND: Duration = Duration::from_secs(5);
/// How often a pool that nobody asks looks for connections that have lain idle for too long: what a burst
/// opened is not kept until the next request, nor half-closed once the region has closed it.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// An open connection to a region. Dropping it ends the connection at once.
pub struct Connection {
    /// One request after the other.
    pub conversation: Conversation,
    socket: Socket,
    authority: Rc<str>,
    pulse: Arc<Pulse>,
    /// How long it had lain idle when it was taken last; `None` while it is fresh.
    rested: Option<Duration>,
    open: Gauge,
    /// Its use; `None` while it is idle.
    lease: Option<Lease>,
}

/// A connection that is being made or is in use, as its pool knows it, until this is dropped.
pub struct Lease {
    pool: Rc<Inside>,
    /// `None` once it was told that the connection is given back.
    place: Option<usize>,
}

/// What came of waiting for a connection.
pub enum Waited {
    /// Making one is sooner.
    Not,
    /// Somebody gave theirs back.
    Given(Connection),
    /// Nobody did.
    InVain,
}

/// Who waits for a connection of theirs.
struct Waiting {
    authority: Rc<str>,
    avoid: SmallVec<[SocketAddr; 2]>,
    hand: oneshot::Sender<Connection>,
}

impl Connection {
    /// A connection whose `conversation` goes over `socket`, counted in `open` for as long as it is, and
    /// in use under `lease`.
    #[must_use]
    pub fn new(
        conversation: Conversation,
        socket: Socket,
        authority: Rc<str>,
        pulse: Arc<Pulse>,
        open: Gauge,
        lease: Lease,
    ) -> Self {
        open.increment(1.0);
        Self { conversation, socket, authority, pulse, rested: None, open, lease: Some(lease) }
    }

    /// Where it goes.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.pulse.address
    }

    /// A request was answered on it.
    pub fn answered(&self, now: Instant) {
        self.pulse.answered(now);
    }

    /// Whether the region has neither ended it nor sent what nobody asked for.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.socket.is_quiet()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.decrement(1.0);
    }
}

impl Lease {
    /// The connection was made.
    pub fn dialled(&self, now: Instant) {
        if let Some(place) = self.place {
            self.pool.line.borrow_mut().dialled(place, now);
        }
    }

    fn given_back(&mut self, now: Instant) {
        if let Some(place) = self.place.take() {
            self.pool.line.borrow_mut().given_back(place, now);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.pool.line.borrow_mut().ended(place);
        }
    }
}

struct Idle {
    connection: Connection,
    since: Instant,
}

/// The idle connections of one region.
#[derive(Clone)]
pub struct Pool(Rc<Inside>);

struct Inside {
    idle: RefCell<Vec<Idle>>,
    /// How long they may be idle, as this region has taught.
    limit: Cell<IdleLimit>,
    addresses: Arc<Addresses>,
    resolver: Resolver,
    clock: Clock,
    port: u16,
    /// `timeouts.upstream_idle` when a connection was last given back.
    idle_max: Cell<Duration>,
    /// Whether a task sweeps: while there are idle connections, one does.
    sweeping: Cell<bool>,
    followed: Cell<Followed>,
    /// The addresses whose connections are not to be used again, as of the last look.
    unwanted: RefCell<SmallVec<[SocketAddr; 2]>>,
    /// What is being made and in use.
    line: RefCell<Line>,
    /// Who waits, the first first. As many as there are requests: no more than may be in flight.
    waiting: RefCell<VecDeque<Waiting>>,
}

/// What a pool has seen of the world around it.
#[derive(Clone, Copy, Default)]
struct Followed {
    /// Of the resolver.
    version: u64,
    /// Of the region's addresses.
    generation: u64,
    at: Option<Instant>,
}

/// How a connection is asked for.
pub struct Wanted<'a> {
    /// Its authority, with the host in it that is dialled for it.
    pub authority: &'a str,
    /// That host.
    pub host: &'a str,
    /// Addresses that have failed the same request already.
    pub avoid: &'a [SocketAddr],
    /// `timeouts.upstream_idle`.
    pub idle_max: Duration,
}

impl Pool {
    /// An empty pool of one region's connections.
    #[must_use]
    pub fn new(addresses: Arc<Addresses>, resolver: Resolver, clock: Clock, port: u16) -> Self {
        Self(Rc::new(Inside {
            idle: RefCell::default(),
            limit: Cell::default(),
            addresses,
            resolver,
            clock,
            port,
            idle_max: Cell::default(),
            sweeping: Cell::default(),
            followed: Cell::default(),
            unwanted: RefCell::default(),
            line: RefCell::default(),
            waiting: RefCell::default(),
        }))
    }

    /// The connection used last for this authority that is still good.
    #[must_use]
    pub fn take(&self, wanted: &Wanted<'_>, now: Instant) -> Option<Connection> {
        self.0.follow(wanted.host, now);
        let mut idle = self.0.idle.borrow_mut();
        let mut limit = self.0.limit.get();
        end_stale(&mut idle, limit.now(wanted.idle_max), now);
        let fits = |idle: &Idle| {
            *idle.connection.authority == *wanted.authority
                && !wanted.avoid.contains(&idle.connection.address())
        };
        while let Some(at) = idle.iter().rposition(fits) {
            let Idle { mut connection, since } = idle.remove(at);
            let rested = now.saturating_duration_since(since);
            if !connection.conversation.is_open() {
                limit.was_closed(rested, wanted.idle_max, now);
                self.0.limit.set(limit);
                continue;
            }
            connection.rested = Some(rested);
            connection.lease = Some(self.0.taken(&connection.authority, now));
            return Some(connection);
        }
        None
    }

    /// Waits for a connection that somebody gives back, where that is sooner than making one.
    pub async fn wait(&self, wanted: &Wanted<'_>) -> Waited {
        let ahead = self.0.expectant(wanted.authority);
        let longest = self.0.line.borrow().wait(wanted.authority, ahead, self.0.clock.mono());
        let Some(longest) = longest else { return Waited::Not };
        let (hand, mut given) = oneshot::channel();
        let (authority, avoid) = (Rc::from(wanted.authority), SmallVec::from(wanted.avoid));
        self.0.waiting.borrow_mut().push_back(Waiting { authority, avoid, hand });
        if let Ok(Ok(given)) = tokio::time::timeout(longest, &mut given).await {
            return Waited::Given(given);
        }
        // what came at the last moment is not lost
        given.close();
        if let Ok(given) = given.try_recv() {
            return Waited::Given(given);
        }
        self.0.line.borrow_mut().waited_in_vain(self.0.clock.mono());
        Waited::InVain
    }

    /// A connection to this authority is being made.
    #[must_use]
    pub fn dials(&self, authority: &str) -> Lease {
        self.0.dials(authority.into(), self.0.clock.mono())
    }

    /// A connection that was taken from here turned out to be closed by the region.
    pub fn was_closed(&self, connection: &Connection, idle_max: Duration, now: Instant) {
        if let Some(rested) = connection.rested {
            let mut limit = self.0.limit.get();
            limit.was_closed(rested, idle_max, now);
            self.0.limit.set(limit);
        }
    }

    /// Gives a connection back after a whole reply to a wholly sent request.
    pub fn put(&self, mut connection: Connection, idle_max: Duration, now: Instant) {
        if !connection.conversation.is_open() || self.0.unwanted.borrow().contains(&connection.address()) {
            return;
        }
        if let Some(mut lease) = connection.lease.take() {
            lease.given_back(now);
        }
        if connection.rested.is_some() {
            let mut limit = self.0.limit.get();
            limit.was_open(idle_max, now);
            self.0.limit.set(limit);
        }
        let Some(connection) = self.0.hand_on(connection, now) else { return };
        let mut idle = self.0.idle.borrow_mut();
        if idle.len() >= IDLE_MAX {
            idle.remove(0);
        }
        idle.push(Idle { connection, since: now });
        self.0.idle_max.set(idle_max);
        if !self.0.sweeping.replace(true) {
            tokio::task::spawn_local(sweep(Rc::downgrade(&self.0)));
        }
    }

    /// How many are idle.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.idle.borrow().len()
    }

    /// Whether none is idle.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.idle.borrow().is_empty()
    }
}

/// Ends what has lain idle for longer than `idle_max`. The oldest stand first: all goes at once.
fn end_stale(idle: &mut Vec<Idle>, idle_max: Duration, now: Instant) {
    let stale = idle.iter().take_while(|idle| now.saturating_duration_since(idle.since) > idle_max).count();
    idle.drain(..stale);
}

/// Sweeps until nothing is idle any more or the pool is gone.
async fn sweep(pool: Weak<Inside>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let Some(pool) = pool.upgrade() else { return };
        let (mut idle, mut limit) = (pool.idle.borrow_mut(), pool.limit.get());
        let (idle_max, now) = (pool.idle_max.get(), pool.clock.mono());
        end_stale(&mut idle, limit.now(idle_max), now);
        // Many that end at once teach as much as one: the region was started anew, or closes what is as old.
        // Where one that has lain idle for longer is open, it is not that.
        let mut rested = None;
        idle.retain(|one| {
            let open = one.connection.conversation.is_open();
            rested = rested.max((!open).then(|| now.saturating_duration_since(one.since)));
            open
        });
        let longest = idle.first().map(|one| now.saturating_duration_since(one.since));
        if let Some(rested) = rested.filter(|rested| longest.is_none_or(|longest| longest < *rested)) {
            limit.was_closed(rested, idle_max, now);
            pool.limit.set(limit);
        }
        if idle.is_empty() {
            // what grew with a burst goes with it
            *idle = Vec::new();
            pool.sweeping.set(false);
            return;
        }
    }
}

impl Inside {
    fn taken(self: &Rc<Self>, authority: &Rc<str>, now: Instant) -> Lease {
        let place = self.line.borrow_mut().taken(Rc::clone(authority), now);
        Lease { pool: Rc::clone(self), place: Some(place) }
    }

    fn dials(self: &Rc<Self>, authority: Rc<str>, now: Instant) -> Lease {
        let place = self.line.borrow_mut().dials(authority, now);
        Lease { pool: Rc::clone(self), place: Some(place) }
    }

    /// How many wait for one to this authority; those that have gone are forgotten.
    fn expectant(&self, authority: &str) -> usize {
        let mut waiting = self.waiting.borrow_mut();
        waiting.retain(|one| !one.hand.is_closed());
        waiting.iter().filter(|one| *one.authority == *authority).count()
    }

    /// Gives a connection to the first who waits for one like it; back where nobody does.
    fn hand_on(self: &Rc<Self>, mut connection: Connection, now: Instant) -> Option<Connection> {
        loop {
            let fits = |one: &Waiting| {
                one.authority == connection.authority
                    && !one.avoid.contains(&connection.address())
                    && !one.hand.is_closed()
            };
            let at = self.waiting.borrow().iter().position(fits);
            let Some(one) = at.and_then(|at| self.waiting.borrow_mut().remove(at)) else {
                return Some(connection);
            };
            connection.rested = Some(Duration::ZERO);
            connection.lease = Some(self.taken(&connection.authority, now));
            match one.hand.send(connection) {
                Ok(()) => return None,
                Err(back) => connection = back,
            }
        }
    }

    /// Looks whether an address went out or DNS says something new, and ends the idle connections
    /// that this concerns; those in use end when they are given back.
    fn follow(&self, host: &str, now: Instant) {
        let seen = self.followed.get();
        let (version, generation) = (self.resolver.version(), self.addresses.generation());
        let lately = |at: Instant| now.saturating_duration_since(at) < LOOK_AROUND;
        if (version, generation) == (seen.version, seen.generation) && seen.at.is_some_and(lately) {
            return;
        }
        self.followed.set(Followed { version, generation, at: Some(now) });
        if let Some(listed) = self.resolver.follow(host, self.port) {
            self.addresses.listed(host, &listed, now);
        }
        let unwanted = self.addresses.unwanted(now);
        self.idle.borrow_mut().retain(|idle| !unwanted.contains(&idle.connection.address()));
        *self.unwanted.borrow_mut() = unwanted;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::LocalSet;

    use super::*;
    use crate::chance::Coin;
    use crate::clock::Clock;
    use crate::dns::accrual::{Failure, RETIRE_AFTER};
    use crate::dns::resolver::Lookup;
    use crate::dns::{Answer, DnsFault};
    use crate::exchange::dial::Stream;
    use crate::names::RegionId;
    use crate::telemetry::metric::{self, Metric};

    const HOST: &str = "store.test";
    const IDLE: Duration = Duration::from_mins(1);

    /// A name server that says what it is told to, for the shortest time there is.
    #[derive(Clone)]
    struct Says(Arc<Mutex<Vec<u8>>>);

    impl Lookup for Says {
        async fn lookup(&self, _host: Arc<str>) -> Result<Answer, DnsFault> {
            let lasts = self.0.lock().unwrap().clone();
            let addresses = lasts.into_iter().map(|last| [127, 0, 0, last].into()).collect();
            Ok(Answer { addresses, ttl: Duration::ZERO, unheard: None })
        }
    }

    struct Scene {
        says: Says,
        resolver: Resolver,
        addresses: Arc<Addresses>,
        pool: Pool,
        listener: TcpListener,
        far: Vec<TcpStream>,
    }

    impl Scene {
        async fn with(lasts: &[u8]) -> Self {
            let clock = Clock::system();
            let says = Says(Arc::new(Mutex::new(lasts.to_vec())));
            let resolver = Resolver::over(says.clone(), clock);
            let region = RegionId::new("eu");
            let addresses = Arc::new(Addresses::new(region, clock.mono(), Coin::seeded(1)));
            let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let pool = Pool::new(Arc::clone(&addresses), resolver.clone(), clock, port);
            Self { says, resolver, addresses, pool, listener, far: Vec::new() }
        }

        fn now() -> Instant {
            Clock::system().mono()
        }

        fn at(&self, last: u8) -> SocketAddr {
            SocketAddr::from(([127, 0, 0, last], self.listener.local_addr().unwrap().port()))
        }

        /// A connection to 127.0.0.`last`, as a dial would make it.
        async fn connection(&mut self, last: u8) -> Connection {
            let found = self.resolver.addresses(HOST, self.at(last).port()).await.unwrap();
            self.addresses.order(HOST, &found, &[], Self::now());
            let near = TcpStream::connect(self.at(last)).await.unwrap();
            self.far.push(self.listener.accept().await.unwrap().0);
            let socket = Socket::new(Stream::Tcp(near));
            let conversation = Conversation::new(socket.clone());
            let open = metric::gauge(Metric::UpstreamConnections, &["eu"]);
            let (pulse, lease) = (self.addresses.pulse(self.at(last)), self.pool.dials(HOST));
            lease.dialled(Self::now());
            Connection::new(conversation, socket, Rc::from(HOST), pulse, open, lease)
        }

        async fn put(&mut self, last: u8) {
            let connection = self.connection(last).await;
            self.pool.put(connection, IDLE, Self::now());
        }

        fn take(&self, avoid: &[SocketAddr]) -> Option<Connection> {
            let wanted = Wanted { authority: HOST, host: HOST, avoid, idle_max: IDLE };
            self.pool.take(&wanted, Self::now())
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_address_that_goes_out_loses_its_idle_connections() {
        LocalSet::new()
            .run_until(async {
                let mut scene = Scene::with(&[41, 42]).await;
                for last in [42, 41, 41] {
                    scene.put(last).await;
                }
                let busy = scene.take(&[]).unwrap();
                assert_eq!(busy.address(), scene.at(41));
                scene.addresses.failed(scene.at(41), Failure::Connect, Scene::now());
                let other = scene.take(&[]).unwrap();
                assert_eq!(other.address(), scene.at(42));
                assert!(scene.pool.is_empty());
                // the one in use goes when it is given back
                scene.pool.put(busy, IDLE, Scene::now());
                assert!(scene.pool.is_empty());
                scene.pool.put(other, IDLE, Scene::now());
                assert_eq!(scene.pool.len(), 1);
            })
            .await;
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_request_is_not_sent_again_where_it_has_failed() {
        LocalSet::new()
            .run_until(async {
                let mut scene = Scene::with(&[41, 42]).await;
                for last in [42, 41] {
                    scene.put(last).await;
                }
                let avoid = [scene.at(41)];
                assert_eq!(scene.take(&avoid).unwrap().address(), scene.at(42));
                assert!(scene.take(&avoid).is_none());
                assert!(scene.take(&[]).is_some());
            })
            .await;
    }

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn what_dns_lists_no_more_is_retired_and_what_it_lists_is_kept() {
        LocalSet::new()
            .run_until(async {
                let mut scene = Scene::with(&[41, 42]).await;
                for last in [41, 42] {
                    scene.put(last).await;
                }
                *scene.says.0.lock().unwrap() = vec![42];
                let began = Scene::now();
                let mut held = Vec::new();
                while scene.pool.len() + held.len() == 2 {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    held.extend(scene.take(&[scene.at(42)]));
                    for connection in held.drain(..) {
                        scene.pool.put(connection, IDLE, Scene::now());
                    }
                    assert!(Scene::now() - began < Duration::from_mins(1), "never retired");
                }
                assert!(Scene::now() - began >= RETIRE_AFTER, "a list that rotates ends no connection");
                assert_eq!(scene.take(&[]).unwrap().address(), scene.at(42));
            })
            .await;
    }

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn what_nobody_asks_for_again_is_ended_in_time() {
        LocalSet::new()
            .run_until(async {
                let mut scene = Scene::with(&[41]).await;
                for _ in 0..2 {
                    scene.put(41).await;
                    scene.put(41).await;
                    tokio::time::sleep(IDLE.checked_sub(SWEEP_EVERY).unwrap()).await;
                    assert_eq!(scene.pool.len(), 2, "ended before their time");
                    tokio::time::sleep(3 * SWEEP_EVERY).await;
                    assert!(scene.pool.is_empty(), "kept although nobody asks for them");
                }
            })
            .await;
    }

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn one_that_ends_early_among_older_ones_that_stay_teaches_nothing() {
        LocalSet::new()
            .run_until(async {
                let mut scene = Scene::with(&[41, 42]).await;
                scene.put(41).await;
                tokio::time::sleep(Duration::from_secs(5)).await;
                scene.put(42).await;
                scene.far.pop();
                while scene.pool.len() == 2 {
                    tokio::time::sleep(SWEEP_EVERY).await;
                }
                assert_eq!(scene.pool.0.limit.get().now(IDLE), IDLE, "a server was started anew, no more");
                // and one that ended alone does
                scene.far.clear();
                while !scene.pool.is_empty() {
                    tokio::time::sleep(SWEEP_EVERY).await;
                }
                assert!(scene.pool.0.limit.get().now(IDLE) < IDLE);
            })
            .await;
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_has_ended_by_the_time_that_it_is_given_back_is_not_kept() {
        LocalSet::new()
            .run_until(async {
                let mut scene = Scene::with(&[41]).await;
                let connection = scene.connection(41).await;
                scene.far.clear();
                while connection.is_quiet() {
                    tokio::task::yield_now().await;
                }
                while connection.conversation.is_open() {
                    tokio::task::yield_now().await;
                }
                scene.pool.put(connection, IDLE, Scene::now());
                assert!(scene.pool.is_empty());
            })
            .await;
    }

    /// A scene whose one region is 60 ms away, and a connection to it in use.
    async fn far_scene() -> (Scene, Connection) {
        let mut scene = Scene::with(&[41, 42]).await;
        let lease = scene.pool.dials(HOST);
        tokio::time::sleep(Duration::from_millis(60)).await;
        lease.dialled(Scene::now());
        drop(lease);
        scene.put(41).await;
        let busy = scene.take(&[]).unwrap();
        (scene, busy)
    }

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn who_finds_none_idle_is_given_the_next_that_is_put_back() {
        LocalSet::new()
            .run_until(async {
                let (scene, busy) = far_scene().await;
                let wanted = Wanted { authority: HOST, host: HOST, avoid: &[], idle_max: IDLE };
                let began = Scene::now();
                let later = async {
                    tokio::time::sleep(Duration::from_millis(30)).await;
                    scene.pool.put(busy, IDLE, Scene::now());
                };
                let (given, ()) = tokio::join!(scene.pool.wait(&wanted), later);
                assert!(matches!(given, Waited::Given(given) if given.address() == scene.at(41)));
                assert_eq!(Scene::now() - began, Duration::from_millis(30));
                assert!(scene.pool.is_empty() && scene.pool.0.waiting.borrow().is_empty());
            })
            .await;
    }

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn what_does_not_fit_is_given_to_nobody_and_waited_for_in_vain_once() {
        LocalSet::new()
            .run_until(async {
                let (scene, busy) = far_scene().await;
                let avoid = [scene.at(41)];
                let wanted = Wanted { authority: HOST, host: HOST, avoid: &avoid, idle_max: IDLE };
                let began = Scene::now();
                let later = async {
                    tokio::time::sleep(Duration::from_millis(30)).await;
                    scene.pool.put(busy, IDLE, Scene::now());
                };
                let (given, ()) = tokio::join!(scene.pool.wait(&wanted), later);
                assert!(matches!(given, Waited::InVain));
                let waited = Scene::now() - began;
                assert!(
                    waited >= Duration::from_millis(85),
                    "longer than a dial, which two of them took 52 ms for: {waited:?}"
                );
                assert_eq!(scene.pool.len(), 1);
                let _busy = scene.take(&[]).unwrap();
                assert!(matches!(scene.pool.wait(&wanted).await, Waited::Not));
                assert_eq!(Scene::now() - began, waited, "not again at once");
            })
            .await;
    }

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn who_has_gone_is_passed_over() {
        LocalSet::new()
            .run_until(async {
                let (scene, busy) = far_scene().await;
                let wanted = Wanted { authority: HOST, host: HOST, avoid: &[], idle_max: IDLE };
                let gone = tokio::time::timeout(Duration::from_millis(10), scene.pool.wait(&wanted)).await;
                assert!(gone.is_err());
                scene.pool.put(busy, IDLE, Scene::now());
                assert_eq!(scene.pool.len(), 1);
            })
            .await;
    }

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn a_region_that_closes_early_is_no_longer_left_waiting_as_long() {
        LocalSet::new()
            .run_until(async {
                let mut scene = Scene::with(&[41]).await;
                for _ in 0..6 {
                    scene.put(41).await;
                    tokio::time::sleep(Duration::from_secs(5)).await;
                    scene.far.clear();
                    // until the runtime has heard of the end
                    while scene.pool.0.idle.borrow().iter().any(|idle| idle.connection.conversation.is_open())
                    {
                        tokio::task::yield_now().await;
                    }
                    assert!(scene.take(&[]).is_none());
                }
                assert!(scene.pool.0.limit.get().now(IDLE) < IDLE);
            })
            .await;
    }
}
