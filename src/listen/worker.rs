//! One worker's part of listening: accept, admit, serve, and at the end drain.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use http_body::Body;
use metrics::{Counter, Gauge};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admission::{Admission, Ticket};
use super::bind::{Bound, BoundSocket};
use super::connection::{ConnectionRules, Ending, Fault, Refuse, part, serve_http1, serve_http2};
use super::door::{Door, Terms};
use super::guests::{Guest, Guests};
use super::stream::ClientStream;
use super::wire::{Fate, Wire};
use super::{HeadLimits, Patience, Peer, PeerAddress, Violation};
use crate::chance::Coin;
use crate::clock::Clock;
use crate::head::Head;
use crate::http1::ClientBody;
use crate::names::RequestId;
use crate::telemetry::metric::{Metric, counter, gauge};
use crate::view::{Limits, Timeouts};

/// Who answers requests. Implemented for async closures; the story is one.
pub trait Answer: 'static {
    /// The body of its answers. An error in it cuts the connection (HTTP/1.1) or resets the
    /// stream (HTTP/2): a client never takes what it has for all.
    type Body: Body<Data = Bytes, Error: Into<Fault>> + Unpin + 'static;

    /// Answers one request. Dropped when the client is gone, or we let go of it: its fate tells
    /// which. The body's first poll sends `100 Continue` where the client waits for it.
    fn answer(
        &self,
        peer: &Rc<Peer>,
        head: Head,
        body: ClientBody,
        fate: Fate,
    ) -> impl Future<Output = Response<Self::Body>>;
}

impl<F, Fut, B> Answer for F
where
    F: Fn(Rc<Peer>, Head, ClientBody, Fate) -> Fut + 'static,
    Fut: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes, Error: Into<Fault>> + Unpin + 'static,
{
    type Body = B;

    fn answer(
        &self,
        peer: &Rc<Peer>,
        head: Head,
        body: ClientBody,
        fate: Fate,
    ) -> impl Future<Output = Response<B>> {
        self(Rc::clone(peer), head, body, fate)
    }
}

/// What applies to connections accepted from now on; asked for at each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerRules {
    /// Client connections of the whole process.
    pub connections: usize,
    /// Client connections from one address (IPv6: one /64), except from this machine and
    /// from trusted proxies.
    pub connections_per_address: usize,
    /// How each connection is served.
    pub connection: ConnectionRules,
    /// A TLS handshake may take this long.
    pub handshake: Duration,
    /// At a drain: go on accepting for this long, so that load balancers notice first.
    pub drain_min: Duration,
    /// At a drain: wait this long for requests under way, then cut.
    pub drain: Duration,
}

impl WorkerRules {
    /// The rules that limits and timeouts of the configuration make.
    #[must_use]
    pub fn of(limits: &Limits, timeouts: &Timeouts) -> Self {
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let head = HeadLimits {
            bytes: usize::try_from(limits.head.0).unwrap_or(usize::MAX),
            fields: count(limits.header_fields),
        };
        let patience = Patience {
            head: timeouts.client_head,
            idle: timeouts.idle,
            reader: timeouts.stalled_reader,
            farewell: FAREWELL,
        };
        Self {
            connections: count(limits.connections),
            connections_per_address: count(limits.connections_per_ip),
            connection: ConnectionRules { head, patience, buffer: BUFFER },
            handshake: timeouts.client_head,
            drain_min: timeouts.drain_min,
            drain: timeouts.drain,
        }
    }
}

/// Bytes of a connection's buffers, each way: see [`ConnectionRules::buffer`].
const BUFFER: usize = 128 << 10;
/// An idle connection's time for one more request once the process drains. Clients in the middle
/// of their work bring one sooner and are told to close; cutting at once would meet it half-way.
const FAREWELL: Duration = Duration::from_millis(500);

/// What became of the connections that were open when draining began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Ended on their own.
    pub finished: usize,
    /// Were cut with a request under way.
    pub cut: usize,
}

/// Told of each request that the wire gate refused: an access line's worth.
pub type RefusedHook = Box<dyn Fn(&Peer, Violation, RequestId)>;

/// One worker's listening half: everything but the sockets.
pub struct Worker<A> {
    /// Who answers.
    pub answer: A,
    /// The rules in force, read at each accept.
    pub rules: Box<dyn Fn() -> WorkerRules>,
    /// Connections of the process.
    pub admission: Arc<Admission>,
    /// Those of this worker.
    pub guests: Rc<Guests>,
    /// Time.
    pub clock: Clock,
    /// Ids of refused requests.
    pub coin: Coin,
    /// Told of refused requests.
    pub refused: RefusedHook,
}

impl<A> std::fmt::Debug for Worker<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("admission", &self.admission).finish_non_exhaustive()
    }
}

/// Serves a worker's sockets, and those that come later, until `shutdown`, then drains: accepts
/// for `drain_min` more, lets go of idle connections, waits up to `drain` for the others, cuts the
/// rest. Must run within a `LocalSet` or a local runtime: connections are tasks of this thread.
///
/// # Errors
/// Where a socket of the start cannot be given to this runtime.
pub async fn run_worker<A: Answer>(
    sockets: Vec<Bound>,
    mut later: mpsc::Receiver<Bound>,
    worker: Worker<A>,
    shutdown: CancellationToken,
) -> io::Result<Drained> {
    let hall = Rc::new(Hall::new(worker));
    let stop = CancellationToken::new();
    let accepting = TaskTracker::new();
    let open = |bound: Bound| -> io::Result<()> {
        let listener = Listener::new(bound.socket)?;
        accepting.spawn_local(attend(Rc::clone(&hall), listener, bound.door, stop.clone()));
        Ok(())
    };
    sockets.into_iter().try_for_each(&open)?;
    let opening = async {
        while let Some(bound) = later.recv().await {
            let address = bound.door.address().clone();
            open(bound).unwrap_or_else(|fault| tracing::error!(%address, %fault, "a listener is not served"));
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = opening => {}
    }
    let rules = (hall.rules)();
    sleep(rules.drain_min).await;
    stop.cancel();
    accepting.close();
    accepting.wait().await;
    Ok(hall.drain(rules.drain).await)
}

/// What the connections of one worker share.
struct Hall<A> {
    answer: Rc<A>,
    rules: Box<dyn Fn() -> WorkerRules>,
    admission: Arc<Admission>,
    clock: Clock,
    coin: RefCell<Coin>,
    refused: RefusedHook,
    tasks: TaskTracker,
    guests: Rc<Guests>,
    next_id: Cell<u64>,
}

impl<A: Answer> Hall<A> {
    fn new(worker: Worker<A>) -> Self {
        Self {
            answer: Rc::new(worker.answer),
            rules: worker.rules,
            admission: worker.admission,
            clock: worker.clock,
            coin: RefCell::new(worker.coin),
            refused: worker.refused,
            tasks: TaskTracker::new(),
            guests: worker.guests,
            next_id: Cell::new(0),
        }
    }

    fn id(&self) -> u64 {
        self.next_id.replace(self.next_id.get().wrapping_add(1))
    }

    /// Gives a refused request an id, a count and an access line.
    fn refuse(&self, peer: &Peer, violation: Violation) -> RequestId {
        let id = RequestId(self.coin.borrow_mut().bits());
        counter(Metric::Violations, &[violation.label()]).increment(1);
        (self.refused)(peer, violation, id);
        id
    }

    async fn drain(&self, limit: Duration) -> Drained {
        let open = self.guests.open.borrow().len();
        self.each(Wire::drain);
        self.tasks.close();
        // the limit passing is what the next lines are about
        let _late = timeout(limit, self.tasks.wait()).await;
        let cut = self.guests.open.borrow().values().filter(|open| open.wire.is_busy()).count();
        self.each(Wire::cut);
        let _late = timeout(CUT_WAIT, self.tasks.wait()).await;
        let finished = open.saturating_sub(cut);
        let count = |how: &str, many: usize| {
            counter(Metric::ConnectionsDrained, &[how]).increment(u64::try_from(many).unwrap_or(u64::MAX));
        };
        count("finished", finished);
        count("cut", cut);
        Drained { finished, cut }
    }

    fn each(&self, act: impl Fn(&Wire)) {
        self.guests.open.borrow().values().for_each(|open| act(&open.wire));
    }

    /// Lets go of the connections of a door that its terms are no longer for.
    fn review(self: &Rc<Self>, door: &Arc<Door>) {
        let unwelcome: Vec<u64> = {
            let open = self.guests.open.borrow();
            let own = open.iter().filter(|(_, open)| Arc::ptr_eq(&open.peer.door, door));
            own.filter(|(_, open)| open.peer.terms().is_err()).map(|(id, _)| *id).collect()
        };
        self.let_go(unwelcome);
    }

    /// Ends connections as a drain does: what is under way may end, for so long. They bring no
    /// new request meanwhile: [`Peer::terms`] refuses it.
    fn let_go(self: &Rc<Self>, ids: Vec<u64>) {
        let each = |hall: &Self, ids: &[u64], act: fn(&Wire)| {
            let open = hall.guests.open.borrow();
            ids.iter().filter_map(|id| open.get(id)).for_each(|open| act(&open.wire));
        };
        if ids.is_empty() {
            return;
        }
        each(self, &ids, Wire::drain);
        let (hall, limit) = (Rc::downgrade(self), (self.rules)().drain);
        tokio::task::spawn_local(async move {
            sleep(limit).await;
            if let Some(hall) = hall.upgrade() {
                each(&hall, &ids, Wire::cut);
            }
        });
    }
}

/// After a cut connections only drop their sockets.
const CUT_WAIT: Duration = Duration::from_millis(500);
/// Out of file descriptors: trying at once would spin (`reliability.md` C3).
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// How often a listener says that it cannot accept; the metric counts every time.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

/// A worker's socket on this runtime.
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

enum Accepted {
    Tcp(tokio::net::TcpStream, PeerAddress),
    Unix(tokio::net::UnixStream),
}

impl Listener {
    fn new(socket: BoundSocket) -> io::Result<Self> {
        Ok(match socket {
            BoundSocket::Tcp(socket) => Self::Tcp(TcpListener::from_std(socket)?),
            BoundSocket::Unix(socket) => Self::Unix(UnixListener::from_std(socket)?),
        })
    }

    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok(Accepted::Tcp(stream, peer.into()))
            }
            Self::Unix(listener) => Ok(Accepted::Unix(listener.accept().await?.0)),
        }
    }
}

/// Accepts on one socket until told to stop or the door is closed, and lets go of connections that
/// new terms are not for.
async fn attend<A: Answer>(hall: Rc<Hall<A>>, listener: Listener, door: Arc<Door>, stop: CancellationToken) {
    let meters = Rc::new(DoorMeters::new(&door));
    let mut terms = door.watch();
    let mut complaints = Complaints::default();
    let accepting = async {
        loop {
            match listener.accept().await {
                Ok(accepted) => admit(&hall, accepted, &door, &meters).await,
                Err(fault) if is_of_one_connection(&fault) => {}
                Err(fault) => {
                    meters.faults.increment(1);
                    if complaints.is_due(hall.clock.mono()) {
                        tracing::warn!(listener = %door.address(), %fault, "cannot accept connections");
                    }
                    sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    };
    tokio::pin!(accepting);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = terms.changed() => {
                hall.review(&door);
                if door.terms().closed {
                    return;
                }
            }
            () = &mut accepting => return,
        }
    }
}

/// Says the same thing now and then only: a fault that lasts is met twenty times a second.
#[derive(Debug, Default)]
struct Complaints {
    last: Option<Instant>,
}

impl Complaints {
    /// Whether it is time to say it again.
    fn is_due(&mut self, now: Instant) -> bool {
        let due = self.last.is_none_or(|last| now.saturating_duration_since(last) >= COMPLAINT_INTERVAL);
        if due {
            self.last = Some(now);
        }
        due
    }
}

/// The client went away before it was accepted.
fn is_of_one_connection(fault: &io::Error) -> bool {
    matches!(
        fault.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// Lets a connection in, or closes it; waits while all places are taken.
async fn admit<A: Answer>(hall: &Rc<Hall<A>>, accepted: Accepted, door: &Arc<Door>, meters: &Rc<DoorMeters>) {
    let rules = (hall.rules)();
    let address = match &accepted {
        Accepted::Tcp(_, address) => *address,
        Accepted::Unix(_) => PeerAddress::Unix,
    };
    let terms = door.terms();
    if address.ip().is_some_and(|ip| !terms.settings.admits(ip)) {
        meters.refused("not_allowed");
        return;
    }
    // a proxy's connections are those of many clients
    let trusted = address.ip().is_some_and(|ip| terms.settings.trusts(ip));
    let per_address = if trusted { usize::MAX } else { rules.connections_per_address };
    let ticket = hall.admission.enter(&address, rules.connections, per_address).await;
    let Some(ticket) = ticket else {
        meters.refused("address_limit");
        return;
    };
    meters.accepted.increment(1);
    // waiting for a place can take longer than a reload
    let terms = door.terms();
    let peer = Peer {
        address,
        tls: false,
        http2: false,
        client_certificate: None,
        id: hall.id(),
        door: Arc::clone(door),
        welcomed: RefCell::new(Arc::clone(&terms)),
    };
    let visitor = Visitor {
        hall: Rc::clone(hall),
        terms,
        meters: Rc::clone(meters),
        rules,
        peer,
        _place: Place::new(ticket, meters),
    };
    match accepted {
        Accepted::Tcp(stream, _) => hall.tasks.spawn_local(visitor.greet(stream)),
        Accepted::Unix(stream) => hall.tasks.spawn_local(visitor.greet(stream)),
    };
}

/// One accepted connection.
struct Visitor<A> {
    hall: Rc<Hall<A>>,
    /// Those that it was accepted under.
    terms: Arc<Terms>,
    meters: Rc<DoorMeters>,
    rules: WorkerRules,
    peer: Peer,
    _place: Place,
}

impl<A: Answer> Visitor<A> {
    async fn greet<S: ClientStream>(self, stream: S) {
        match &self.terms.tls {
            None => self.serve(stream).await,
            Some(terminator) => {
                let acceptor = TlsAcceptor::from(terminator.server(self.terms.settings.takes_signed_only()));
                match timeout(self.rules.handshake, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => self.serve_tls(stream).await,
                    Ok(Err(fault)) => {
                        tracing::debug!(peer = %self.peer.address, %fault, "TLS handshake failed");
                        self.meters.refused("tls");
                    }
                    Err(_) => self.meters.refused("tls_timeout"),
                }
            }
        }
    }

    async fn serve_tls<S: ClientStream>(mut self, stream: tokio_rustls::server::TlsStream<S>) {
        let (_, session) = stream.get_ref();
        self.peer.tls = true;
        self.peer.http2 = session.alpn_protocol() == Some(b"h2");
        self.peer.client_certificate = session
            .peer_certificates()
            .and_then(<[_]>::first)
            .map(|certificate| certificate.clone().into_owned());
        self.serve(stream).await;
    }

    async fn serve<S: ClientStream>(self, stream: S) {
        let wire = Rc::new(Wire::new(self.hall.clock));
        let peer = Rc::new(self.peer);
        let _listed = Listed::new(&self.hall, &peer, &wire);
        if peer.terms().is_err() {
            // they changed during the handshake
            self.hall.let_go(vec![peer.id]);
        }
        let answer = Rc::clone(&self.hall.answer);
        let rules = self.rules.connection;
        if peer.http2 {
            let refuse: Refuse = {
                let (hall, peer) = (Rc::clone(&self.hall), Rc::clone(&peer));
                Rc::new(move |violation| {
                    hall.refuse(&peer, violation);
                })
            };
            let ending = serve_http2(stream, &wire, Rc::clone(&peer), rules, answer, refuse).await;
            self.meters.ended(&ending);
            return;
        }
        let (stream, ending) = serve_http1(stream, &wire, Rc::clone(&peer), rules, answer).await;
        self.meters.ended(&ending);
        let words = match &ending {
            Ending::Violated(violation) => Some(violation.answer(self.hall.refuse(&peer, *violation))),
            _ => None,
        };
        part(stream, &wire, &ending, words).await;
    }
}

/// A connection's entry in the hall's list, for the drain.
struct Listed<'a, A> {
    hall: &'a Hall<A>,
    id: u64,
}

impl<'a, A> Listed<'a, A> {
    fn new(hall: &'a Hall<A>, peer: &Rc<Peer>, wire: &Rc<Wire>) -> Self {
        let guest = Guest { wire: Rc::clone(wire), peer: Rc::clone(peer) };
        hall.guests.open.borrow_mut().insert(peer.id, guest);
        Self { hall, id: peer.id }
    }
}

impl<A> Drop for Listed<'_, A> {
    fn drop(&mut self) {
        self.hall.guests.open.borrow_mut().remove(&self.id);
    }
}

/// A connection's place among the process's, and in the gauge.
struct Place {
    _ticket: Ticket,
    open: Gauge,
}

impl Place {
    fn new(ticket: Ticket, meters: &DoorMeters) -> Self {
        let open = meters.open.clone();
        open.increment(1.0);
        Self { _ticket: ticket, open }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.decrement(1.0);
    }
}

/// One listener's handles.
struct DoorMeters {
    listener: String,
    accepted: Counter,
    faults: Counter,
    open: Gauge,
}

impl DoorMeters {
    fn new(door: &Door) -> Self {
        let listener = door.address().to_string();
        Self {
            accepted: counter(Metric::ConnectionsAccepted, &[&listener]),
            faults: counter(Metric::AcceptFaults, &[&listener]),
            open: gauge(Metric::Connections, &[&listener]),
            listener,
        }
    }

    fn refused(&self, reason: &str) {
        counter(Metric::ConnectionsRefused, &[&self.listener, reason]).increment(1);
    }

    /// Counts a connection that we ended; those that clients end are not worth a count.
    fn ended(&self, ending: &Ending) {
        let reason = match ending {
            Ending::Closed(_) => return,
            Ending::Violated(_) => "violation",
            Ending::Overdue(why) => why.label(),
            Ending::Cut { .. } => "cut",
        };
        counter(Metric::ConnectionsEnded, &[&self.listener, reason]).increment(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lasting_fault_is_told_now_and_then() {
        let start = Clock::system().mono();
        let mut complaints = Complaints::default();
        let told = (0..600).filter(|n| complaints.is_due(start + ACCEPT_BACKOFF * *n)).count();
        assert_eq!(told, 3, "half a minute");
    }
}
