//! One connection to a region: name, socket, TLS. A door; it decides nothing about regions.
//!
//! Addresses race (RFC 8305), TCP and TLS together: the next one starts when the one before has
//! failed or its head start is over; the first that is ready wins, the others are closed. The
//! region's [`Addresses`] say in which order, and are told how each of them did. Proxies of the
//! environment are never used: a dial goes where the configuration says. Dropping the future closes
//! everything.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::addresses::Addresses;
use super::tls::TlsClient;
use crate::clock::Clock;
use crate::dns::Resolver;
use crate::dns::accrual::{Candidate, Failure, RACE_AFTER};
use crate::fleet::Never;
use crate::view::Timeouts;

/// A handshake is given so many times what its connect took before the next address starts beside
/// it: it is two round trips at most, and a far region is no slow one.
const HANDSHAKE_ROUNDS: u32 = 4;
/// Unacknowledged bytes for this long end a connection: what finds a peer that is gone while we send.
pub const USER_TIMEOUT: Duration = Duration::from_secs(5);
/// Silence before the first keep-alive probe: what finds a peer that is gone while we wait.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(3);
/// Between keep-alive probes.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// Probes without an answer that end a connection.
pub const KEEPALIVE_COUNT: u32 = 3;

/// Where to.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// A name, or an address literal; with virtual addressing `bucket.endpoint`. Also the name
    /// that the certificate must have (and SNI, unless it is a literal).
    pub host: &'a str,
    /// 1 to 65535.
    pub port: u16,
    /// `None` for plain HTTP.
    pub tls: Option<&'a TlsClient>,
    /// How the region's addresses are doing.
    pub addresses: &'a Arc<Addresses>,
    /// Addresses that have failed the same request already: tried last.
    pub avoid: &'a [SocketAddr],
}

/// How long a dial may take once addresses are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DialTimeouts {
    /// For TCP, all addresses together.
    pub connect: Duration,
    /// For TCP and TLS together.
    pub tls: Duration,
}

impl From<&Timeouts> for DialTimeouts {
    fn from(timeouts: &Timeouts) -> Self {
        Self { connect: timeouts.connect, tls: timeouts.tls }
    }
}

/// Where a dial failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The name has no address.
    Dns,
    /// No address took the connection.
    Connect {
        /// Every address refused: something answers there, and nobody listens.
        refused: bool,
    },
    /// The handshake failed or took too long.
    Tls,
    /// This process or machine had no file descriptor, port or memory left for a socket: says
    /// nothing of the region.
    Shortage,
}

/// Why there is no connection. Nothing of a request was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {cause}", stage.name(), address.map(|at| format!(" {at}")).unwrap_or_default())]
pub struct DialFault {
    /// How far it came.
    pub stage: Stage,
    /// What was seen: for logs, never for clients.
    pub cause: String,
    /// The address tried last.
    pub address: Option<SocketAddr>,
}

impl Stage {
    /// In the words of the fleet; `None` where the fault is ours.
    #[must_use]
    pub const fn never(self) -> Option<Never> {
        match self {
            Self::Dns => Some(Never::Dns),
            Self::Connect { refused: true } => Some(Never::Refused),
            Self::Connect { refused: false } => Some(Never::ConnectTimeout),
            Self::Tls => Some(Never::Tls),
            Self::Shortage => None,
        }
    }

    /// As metrics are labelled.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect { .. } => "connect",
            Self::Tls => "tls",
            Self::Shortage => "shortage",
        }
    }
}

/// A connection to a region.
#[derive(Debug)]
pub enum Stream {
    /// Plain.
    Tcp(TcpStream),
    /// Encrypted, the peer verified.
    Tls(Box<TlsStream<TcpStream>>),
    /// Plain, in the memory of a test.
    #[cfg(test)]
    Memory(super::tests::memory::Pipe),
}

/// A connection and where it goes.
#[derive(Debug)]
pub struct Dialled {
    /// The connection.
    pub stream: Stream,
    /// The address that won.
    pub address: SocketAddr,
}

/// Connects to `to`. The timeouts run from the moment that its addresses are known; a name never
/// seen before may take the resolver four seconds more.
///
/// # Errors
/// [`DialFault`] with the stage that failed.
pub async fn dial(
    to: Target<'_>,
    resolver: &Resolver,
    timeouts: DialTimeouts,
    clock: Clock,
) -> Result<Dialled, DialFault> {
    let found = resolver.addresses(to.host, to.port).await.map_err(|fault| DialFault {
        stage: Stage::Dns,
        cause: fault.to_string(),
        address: None,
    })?;
    let tls = to.tls.map(|tls| Ok((tls.connector(), server_name(to.host)?))).transpose();
    let tls = tls.map_err(|cause| DialFault { stage: Stage::Tls, cause, address: None })?;
    let order = to.addresses.order(to.host, &found, to.avoid, clock.mono());
    let began = Instant::from_std(clock.mono());
    let limits = Limits { connect: began + timeouts.connect, all: began + timeouts.tls };
    if let Some(address) = order.trial {
        let trial = trial(address, tls.clone(), Arc::clone(to.addresses), limits, clock);
        // beside the request that made the dial: it does not wait for it
        tokio::spawn(trial);
    }
    let mut race = Race::new(order.candidates, tls, limits, clock);
    let won = race.run().await;
    let connected = won.as_ref().ok().map(|dialled| dialled.address);
    to.addresses.dialled(&race.failures(connected), connected, clock.mono());
    won
}

/// Connects to one address that is out, for its own sake.
async fn trial(
    address: SocketAddr,
    tls: Option<Tls>,
    addresses: Arc<Addresses>,
    limits: Limits,
    clock: Clock,
) {
    let candidate = Candidate { address, head_start: RACE_AFTER };
    let ended = Race::new(vec![candidate], tls, limits, clock).run().await;
    // for want of a socket it was not tried: the next dial does
    if ended.as_ref().is_ok() || ended.as_ref().is_err_and(|fault| fault.stage != Stage::Shortage) {
        addresses.tried(address, ended.is_ok(), clock.mono());
    }
}

fn server_name(host: &str) -> Result<ServerName<'static>, String> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let name = bare.strip_suffix('.').unwrap_or(bare);
    ServerName::try_from(name.to_owned()).map_err(|_| format!("{name} is no name for a certificate"))
}

/// What every address's handshake needs.
type Tls = (TlsConnector, ServerName<'static>);

/// When a dial must be over.
#[derive(Clone, Copy)]
struct Limits {
    /// For TCP.
    connect: Instant,
    /// For TCP and TLS together.
    all: Instant,
}

/// The addresses of one dial.
struct Race {
    waiting: std::vec::IntoIter<Candidate>,
    running: Vec<Runner>,
    tls: Option<Tls>,
    limits: Limits,
    clock: Clock,
    /// When the next one starts beside those that run.
    next_start: Instant,
    faults: Faults,
}

struct Runner {
    candidate: Candidate,
    started: Instant,
    step: Running,
}

/// What an address is doing.
enum Running {
    Connecting(Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>),
    Securing(Pin<Box<dyn Future<Output = io::Result<TlsStream<TcpStream>>> + Send>>),
    #[cfg(test)]
    InMemory(super::tests::memory::Connecting),
}

/// What has happened to an address.
enum Step {
    Connected(TcpStream),
    Ready(Stream),
    Failed(io::Error),
}

impl Race {
    fn new(candidates: Vec<Candidate>, tls: Option<Tls>, limits: Limits, clock: Clock) -> Self {
        let next_start = Instant::from_std(clock.mono());
        let (waiting, running) = (candidates.into_iter(), Vec::new());
        Self { waiting, running, tls, limits, clock, next_start, faults: Faults::default() }
    }

    fn now(&self) -> Instant {
        Instant::from_std(self.clock.mono())
    }

    async fn run(&mut self) -> Result<Dialled, DialFault> {
        loop {
            let now = self.now();
            self.end_the_late(now);
            if self.running.is_empty() || now >= self.next_start {
                self.start_next(now);
            }
            if self.running.is_empty() {
                return Err(self.faults.verdict());
            }
            let Ok((place, step)) = timeout_at(self.wake_at(), self.first_step()).await else { continue };
            let mut runner = self.running.swap_remove(place);
            let address = runner.candidate.address;
            match (step, self.tls.clone()) {
                (Step::Ready(stream), _) => return Ok(Dialled { stream, address }),
                (Step::Connected(socket), None) => {
                    return Ok(Dialled { stream: Stream::Tcp(socket), address });
                }
                (Step::Connected(socket), Some((connector, name))) => {
                    let now = self.now();
                    let round = now.saturating_duration_since(runner.started);
                    let patience = runner.candidate.head_start.max(round * HANDSHAKE_ROUNDS);
                    self.next_start = self.next_start.max(now + patience);
                    runner.step =
                        Running::Securing(Box::pin(async move { connector.connect(name, socket).await }));
                    self.running.push(runner);
                }
                (Step::Failed(error), _) => {
                    self.faults.add(&error, address, runner.is_securing());
                    self.next_start = self.now();
                }
            }
        }
    }

    fn start_next(&mut self, now: Instant) {
        if let Some(candidate) = self.waiting.next() {
            self.next_start = now + candidate.head_start;
            let step = Running::connecting(candidate.address);
            self.running.push(Runner { candidate, started: now, step });
        }
    }

    /// When to look again although nothing has happened.
    fn wake_at(&self) -> Instant {
        let connecting = self.running.iter().any(|runner| !runner.is_securing());
        let deadline = if connecting { self.limits.connect } else { self.limits.all };
        let next = if self.waiting.len() == 0 { deadline } else { self.next_start };
        next.min(deadline).min(self.limits.all)
    }

    /// Takes out of the race whoever has used up its time; nobody starts with none left.
    fn end_the_late(&mut self, now: Instant) {
        let Limits { connect, all } = self.limits;
        if now < connect.min(all) {
            return;
        }
        self.waiting = Vec::new().into_iter();
        let late = |runner: &Runner| now >= if runner.is_securing() { all } else { connect.min(all) };
        let (late, running) = std::mem::take(&mut self.running).into_iter().partition(late);
        self.running = running;
        for runner in &late {
            self.faults.late(runner.candidate.address, runner.is_securing());
        }
    }

    async fn first_step(&mut self) -> (usize, Step) {
        std::future::poll_fn(|context| {
            for (place, runner) in self.running.iter_mut().enumerate() {
                if let Poll::Ready(step) = runner.step.poll(context) {
                    return Poll::Ready((place, step));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// What the addresses are to be told, the race being over. A handshake that fails everywhere is
    /// the name's affair, not the addresses'.
    fn failures(&self, winner: Option<SocketAddr>) -> Vec<(SocketAddr, Failure)> {
        let now = self.now();
        let told = self.faults.seen.iter().copied();
        let failed = told.filter(|(_, failure)| winner.is_some() || *failure != Failure::Tls);
        let outrun =
            |runner: &&Runner| now.saturating_duration_since(runner.started) >= runner.candidate.head_start;
        let slow = self.running.iter().filter(outrun).map(|runner| (runner.candidate.address, Failure::Slow));
        failed.chain(slow).collect()
    }
}

impl Runner {
    const fn is_securing(&self) -> bool {
        matches!(self.step, Running::Securing(_))
    }
}

impl Running {
    fn connecting(address: SocketAddr) -> Self {
        #[cfg(test)]
        if let Some(connecting) = super::tests::memory::connect(address) {
            return Self::InMemory(connecting);
        }
        Self::Connecting(Box::pin(connect(address)))
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Step> {
        match self {
            Self::Connecting(connecting) => connecting.as_mut().poll(context).map(|ended| match ended {
                Ok(socket) => Step::Connected(socket),
                Err(error) => Step::Failed(error),
            }),
            Self::Securing(securing) => securing.as_mut().poll(context).map(|ended| match ended {
                Ok(stream) => Step::Ready(Stream::Tls(Box::new(stream))),
                Err(error) => Step::Failed(error),
            }),
            #[cfg(test)]
            Self::InMemory(connecting) => connecting.as_mut().poll(context).map(|ended| match ended {
                Ok(stream) => Step::Ready(stream),
                Err(error) => Step::Failed(error),
            }),
        }
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_COUNT);
    let options = SockRef::from(&socket);
    options.set_tcp_nodelay(true)?;
    options.set_tcp_keepalive(&keepalive)?;
    options.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    let stream = socket.connect(address).await?;
    refuse_self(&stream)?;
    Ok(stream)
}

/// A loopback port in the ephemeral range that nobody listens on may connect to itself (TCP's
/// simultaneous open): a region that is down would seem to be up, and echo.
fn refuse_self(stream: &TcpStream) -> io::Result<()> {
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "connected to itself"));
    }
    Ok(())
}

/// What the addresses said before one was found, or none.
#[derive(Default)]
struct Faults {
    refused: usize,
    others: usize,
    /// Addresses that were never asked, for want of a socket.
    ours: usize,
    seen: Vec<(SocketAddr, Failure)>,
    last: Option<DialFault>,
}

impl Faults {
    fn add(&mut self, error: &io::Error, address: SocketAddr, securing: bool) {
        match error.kind() {
            _ if securing => {}
            _ if is_shortage(error, address) => {
                // it says nothing about the address
                self.ours += 1;
                self.last = Some(DialFault {
                    stage: Stage::Shortage,
                    cause: error.to_string(),
                    address: Some(address),
                });
                return;
            }
            io::ErrorKind::ConnectionRefused => self.refused += 1,
            // this machine has no such address family: that says nothing of the region
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable => {}
            _ => self.others += 1,
        }
        self.note(error.to_string(), address, securing);
    }

    fn late(&mut self, address: SocketAddr, securing: bool) {
        self.others += usize::from(!securing);
        let cause = if securing { "no handshake in time" } else { "no connection in time" };
        self.note(cause.to_owned(), address, securing);
    }

    /// An address that came as far as a handshake says more than those that did not.
    fn note(&mut self, cause: String, address: SocketAddr, securing: bool) {
        self.seen.push((address, if securing { Failure::Tls } else { Failure::Connect }));
        if securing || self.last.as_ref().is_none_or(|last| last.stage != Stage::Tls) {
            let stage = if securing { Stage::Tls } else { Stage::Connect { refused: false } };
            self.last = Some(DialFault { stage, cause, address: Some(address) });
        }
    }

    fn verdict(&self) -> DialFault {
        let none = || DialFault { stage: Stage::Dns, cause: "no address".to_owned(), address: None };
        let mut fault = self.last.clone().unwrap_or_else(none);
        if self.ours > 0 {
            fault.stage = Stage::Shortage;
        } else if let Stage::Connect { refused } = &mut fault.stage {
            *refused = self.refused > 0 && self.others == 0;
        }
        fault
    }
}

/// Whether it is this process or machine that has nothing left to make a socket of. A machine
/// without IPv6 says of such an address that it is not available; of an IPv4 one that means that
/// all local ports are taken.
fn is_shortage(error: &io::Error, address: SocketAddr) -> bool {
    /// Open files of this process, of the machine: the same numbers on Linux, macOS and the BSDs.
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    match error.kind() {
        io::ErrorKind::OutOfMemory => true,
        io::ErrorKind::AddrNotAvailable => address.is_ipv4(),
        _ => matches!(error.raw_os_error(), Some(EMFILE | ENFILE)),
    }
}

impl Stream {
    /// The socket beneath, for its addresses and options.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Tcp(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
            #[cfg(test)]
            Self::Memory(_) => unreachable!("what is in memory has no socket"),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(context, buffer),
            #[cfg(test)]
            Self::Memory(pipe) => Pin::new(pipe).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(context, bytes),
            #[cfg(test)]
            Self::Memory(pipe) => Pin::new(pipe).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(context, slices),
            #[cfg(test)]
            Self::Memory(pipe) => Pin::new(pipe).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(socket) => socket.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
            #[cfg(test)]
            Self::Memory(pipe) => pipe.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_flush(context),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(context),
            #[cfg(test)]
            Self::Memory(pipe) => Pin::new(pipe).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(context),
            #[cfg(test)]
            Self::Memory(pipe) => Pin::new(pipe).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::ServerConfig;
    use rustls::crypto::aws_lc_rs;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::server::WebPkiClientVerifier;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::super::tls::MachineRoots;
    use super::*;
    use crate::dns::resolver::Lookup;
    use crate::dns::{Answer, DnsFault};
    use crate::names::Secret;
    use crate::pem::PemFile;
    use crate::view::{UpstreamIdentity, UpstreamTls};

    const QUICK: DialTimeouts =
        DialTimeouts { connect: Duration::from_millis(200), tls: Duration::from_millis(400) };
    const PATIENT: DialTimeouts =
        DialTimeouts { connect: Duration::from_secs(10), tls: Duration::from_secs(20) };

    struct Nowhere;

    impl Lookup for Nowhere {
        async fn lookup(&self, host: Arc<str>) -> Result<Answer, DnsFault> {
            Err(DnsFault::NoAddress { host })
        }
    }

    fn region() -> Arc<Addresses> {
        let (region, now) = (crate::names::RegionId::new("eu"), Clock::system().mono());
        Arc::new(Addresses::new(region, now, crate::chance::Coin::seeded(1)))
    }

    async fn dial_to(
        host: &str,
        port: u16,
        tls: Option<&TlsClient>,
        timeouts: DialTimeouts,
    ) -> Result<Stream, DialFault> {
        let (clock, addresses) = (Clock::system(), region());
        let target = Target { host, port, tls, addresses: &addresses, avoid: &[] };
        dial(target, &Resolver::over(Nowhere, clock), timeouts, clock).await.map(|dialled| dialled.stream)
    }

    /// A name server that knows one set of addresses for every name.
    struct Knows(Vec<std::net::IpAddr>);

    impl Lookup for Knows {
        async fn lookup(&self, _host: Arc<str>) -> Result<Answer, DnsFault> {
            Ok(Answer { addresses: self.0.clone(), ttl: Duration::from_mins(1), unheard: None })
        }
    }

    /// 127.0.0.`last`: all of 127/8 is this machine.
    fn local(last: u8) -> std::net::IpAddr {
        std::net::IpAddr::from([127, 0, 0, last])
    }

    /// Listeners on addresses of this machine, all on one port that is theirs on each.
    async fn on_one_port<const N: usize>(lasts: [u8; N]) -> ([TcpListener; N], u16) {
        loop {
            let first = TcpListener::bind((local(lasts[0]), 0)).await.unwrap();
            let port = first.local_addr().unwrap().port();
            let mut all = vec![first];
            for last in &lasts[1..] {
                all.extend(TcpListener::bind((local(*last), port)).await);
            }
            if let Ok(all) = all.try_into() {
                return (all, port);
            }
        }
    }

    /// One region at these addresses, dialled over and over.
    struct Dialling {
        resolver: Resolver,
        addresses: Arc<Addresses>,
        port: u16,
    }

    impl Dialling {
        fn to(lasts: &[u8], port: u16) -> Self {
            let known = Knows(lasts.iter().map(|last| local(*last)).collect());
            Self { resolver: Resolver::over(known, Clock::system()), addresses: region(), port }
        }

        async fn dial(&self, tls: Option<&TlsClient>) -> Result<Dialled, DialFault> {
            let addresses = &self.addresses;
            let target = Target { host: "store.test", port: self.port, tls, addresses, avoid: &[] };
            dial(target, &self.resolver, PATIENT, Clock::system()).await
        }

        fn state(&self, last: u8) -> &'static str {
            let seen = self.addresses.seen(Clock::system().mono());
            seen.iter().find(|seen| seen.address.ip() == local(last)).unwrap().state.name()
        }
    }

    #[tokio::test]
    async fn one_address_refuses_one_hangs_and_one_serves_all() {
        let ([hangs, _serves], port) = on_one_port([12, 13]).await;
        let _filling = fill(&hangs).await;
        let region = Dialling::to(&[11, 12, 13], port);
        for _ in 0..3 {
            assert_eq!(region.dial(None).await.unwrap().address.ip(), local(13));
        }
        assert_eq!((region.state(11), region.state(12), region.state(13)), ("out", "out", "well"));
        assert_eq!(region.addresses.generation(), 2);
    }

    #[tokio::test]
    async fn connections_are_spread_and_an_address_comes_back_on_trial() {
        let ([_a, _b], port) = on_one_port([21, 22]).await;
        let region = Dialling::to(&[21, 22, 23], port);
        let mut firsts = std::collections::BTreeMap::new();
        for _ in 0..12 {
            *firsts.entry(region.dial(None).await.unwrap().address.ip()).or_insert(0) += 1;
        }
        assert!(firsts.len() == 2 && firsts.values().all(|count| *count >= 4), "{firsts:?}");
        assert_eq!(region.state(23), "out");
        let _back = TcpListener::bind((local(23), port)).await.unwrap();
        while region.state(23) == "out" {
            // dials are what starts a trial
            region.dial(None).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut again = std::collections::BTreeSet::new();
        for _ in 0..3 {
            again.insert(region.dial(None).await.unwrap().address.ip());
        }
        assert_eq!(again.len(), 3);
    }

    #[tokio::test]
    async fn an_address_of_somebody_else_is_never_spoken_to() {
        let authority = Authority::new();
        let client = authority.client(None);
        let ([ours, theirs], port) = on_one_port([31, 32]).await;
        serve_tls(&authority, "store.test", false, ours);
        serve_tls(&authority, "elsewhere.test", false, theirs);
        let region = Dialling::to(&[32, 31], port);
        for _ in 0..4 {
            let dialled = region.dial(Some(&client)).await.unwrap();
            assert_eq!(dialled.address.ip(), local(31));
        }
        assert_eq!((region.state(31), region.state(32)), ("well", "out"));
        // where no address has the name, it is the name that is wrong: nobody is out for it
        let region = Dialling::to(&[32], port);
        let fault = region.dial(Some(&client)).await.unwrap_err();
        assert_eq!((fault.stage, region.state(32)), (Stage::Tls, "well"));
    }

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// A loopback address where nobody listens: bound, so that nobody else gets the port.
    fn refusing() -> (TcpSocket, SocketAddr) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    /// A listener whose backlog is full: the kernel drops further SYNs.
    async fn black_hole() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let filling = fill(&listener).await;
        (listener, filling, address)
    }

    /// Connections that nobody accepts, until the listener takes no more.
    async fn fill(listener: &TcpListener) -> Vec<TcpStream> {
        // the shortest backlog that there is
        SockRef::from(listener).listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let (mut filling, mut silent) = (Vec::new(), 0);
        // twice in a row: once may be a busy machine
        while silent < 2 {
            let connecting = TcpStream::connect(address);
            match tokio::time::timeout(Duration::from_millis(100), connecting).await {
                Ok(stream) => {
                    filling.push(stream.unwrap());
                    silent = 0;
                }
                Err(_elapsed) => silent += 1,
            }
        }
        filling
    }

    #[tokio::test]
    async fn a_plain_dial_sets_the_socket_options_that_find_dead_peers() {
        let (_listener, address) = listener().await;
        let stream = dial_to("localhost", address.port(), None, PATIENT).await.unwrap();
        let options = SockRef::from(stream.socket());
        assert!(options.tcp_nodelay().unwrap());
        assert_eq!(options.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
        assert!(options.keepalive().unwrap());
        assert_eq!(options.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
        assert_eq!(options.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
        assert_eq!(options.tcp_keepalive_retries().unwrap(), KEEPALIVE_COUNT);
    }

    #[tokio::test]
    async fn a_refused_connect_says_so_at_once() {
        let (_socket, address) = refusing();
        for host in ["127.0.0.1", "localhost"] {
            let fault = dial_to(host, address.port(), None, PATIENT).await.unwrap_err();
            assert_eq!(fault.stage, Stage::Connect { refused: true }, "{fault}");
        }
    }

    #[tokio::test]
    async fn a_silent_address_is_given_up_in_time_and_is_no_refusal() {
        let (_listener, _filling, address) = black_hole().await;
        let fault = dial_to("127.0.0.1", address.port(), None, QUICK).await.unwrap_err();
        assert_eq!(fault.stage, Stage::Connect { refused: false }, "{fault}");
        assert_eq!(fault.address, Some(address));
    }

    #[tokio::test]
    async fn an_unknown_name_is_a_dns_fault() {
        let fault = dial_to("absent.test", 443, None, QUICK).await.unwrap_err();
        assert_eq!(fault.stage, Stage::Dns);
        assert_eq!(fault.address, None);
    }

    #[tokio::test]
    async fn the_next_address_starts_beside_a_silent_one_and_after_a_refusal() {
        let (_listener, good) = listener().await;
        let (_hole, _filling, silent) = black_hole().await;
        let (_socket, refused) = refusing();
        let clock = Clock::system();
        let limit = Instant::from_std(clock.mono()) + Duration::from_secs(10);
        let race = |addresses: Vec<SocketAddr>| {
            let candidate = |address| Candidate { address, head_start: RACE_AFTER };
            let candidates = addresses.into_iter().map(candidate).collect();
            Race::new(candidates, None, Limits { connect: limit, all: limit }, clock)
        };
        for (addresses, failed) in [
            (vec![silent, good], vec![(silent, Failure::Slow)]),
            (vec![refused, good], vec![(refused, Failure::Connect)]),
            (vec![silent, refused, good], vec![(refused, Failure::Connect), (silent, Failure::Slow)]),
        ] {
            let mut race = race(addresses);
            let won = race.run().await.unwrap();
            assert_eq!((won.stream.socket().peer_addr().unwrap(), won.address), (good, good));
            assert_eq!(race.failures(Some(good)), failed);
        }
        // if each refusal waited for its turn to end, this would take six seconds
        let mut many = vec![refused; 20];
        many.push(good);
        let began = clock.mono();
        race(many).run().await.unwrap();
        assert!(clock.mono() - began < RACE_AFTER * 10);
    }

    #[test]
    fn what_this_machine_lacks_is_not_the_regions_fault() {
        let (v4, v6): (SocketAddr, SocketAddr) =
            ("192.0.2.1:443".parse().unwrap(), "[2001:db8::1]:443".parse().unwrap());
        let stage = |faults: &[(i32, SocketAddr)]| {
            let mut all = Faults::default();
            for (code, at) in faults {
                all.add(&io::Error::from_raw_os_error(*code), *at, false);
            }
            all.verdict().stage
        };
        let code_of = |kind| {
            let is = |code: &i32| io::Error::from_raw_os_error(*code).kind() == kind;
            (1..200).find(is).unwrap()
        };
        let refused = code_of(io::ErrorKind::ConnectionRefused);
        let not_available = code_of(io::ErrorKind::AddrNotAvailable);
        for ours in [24, 23] {
            assert_eq!(stage(&[(ours, v4)]), Stage::Shortage);
            assert_eq!(stage(&[(refused, v4), (ours, v6)]), Stage::Shortage, "it was not asked everywhere");
        }
        assert_eq!(stage(&[(not_available, v4)]), Stage::Shortage, "no port is left");
        let refusal = Stage::Connect { refused: true };
        assert_eq!(stage(&[(not_available, v6), (refused, v4)]), refusal, "there is no IPv6 here");
        assert_eq!(Stage::Shortage.never(), None);
    }

    #[tokio::test]
    async fn a_connection_to_oneself_is_a_refusal() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let own = socket.local_addr().unwrap();
        let stream = socket.connect(own).await.unwrap();
        assert_eq!(refuse_self(&stream).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    /// A certificate authority of the test, and files signed by it.
    struct Authority {
        issuer: CertifiedIssuer<'static, KeyPair>,
    }

    struct Signed {
        certificate: PemFile,
        key: PemFile,
        chain: Vec<rustls::pki_types::CertificateDer<'static>>,
        secret: PrivateKeyDer<'static>,
    }

    impl Authority {
        fn new() -> Self {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
            Self { issuer }
        }

        fn file(&self) -> PemFile {
            pem("ca.pem", &self.issuer.pem())
        }

        fn sign(&self, name: &str) -> Signed {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &self.issuer).unwrap();
            Signed {
                certificate: pem(&format!("{name}.crt"), &certificate.pem()),
                key: pem(&format!("{name}.key"), &key.serialize_pem()),
                chain: vec![certificate.der().clone()],
                secret: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            }
        }

        fn client(&self, identity: Option<&Signed>) -> TlsClient {
            let identity = identity.map(|signed| UpstreamIdentity {
                certificate: signed.certificate.clone(),
                key: signed.key.clone(),
            });
            let files = UpstreamTls { ca_file: Some(self.file()), identity };
            TlsClient::new(&files, &MachineRoots::load()).unwrap()
        }
    }

    fn pem(name: &str, text: &str) -> PemFile {
        PemFile::new(PathBuf::from(name), Secret::from(text.to_owned()))
    }

    async fn tls_server(authority: &Authority, name: &str, wants_client: bool) -> SocketAddr {
        let (listener, address) = listener().await;
        serve_tls(authority, name, wants_client, listener);
        address
    }

    /// Serves TLS for `name`; writes `ok` to whoever finishes the handshake.
    fn serve_tls(authority: &Authority, name: &str, wants_client: bool, listener: TcpListener) {
        let signed = authority.sign(name);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if wants_client {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(authority.issuer.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let mut config = builder.with_single_cert(signed.chain, signed.secret).unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    if let Ok(mut stream) = acceptor.accept(socket).await {
                        stream.write_all(b"ok").await.unwrap();
                        stream.shutdown().await.unwrap();
                    }
                });
            }
        });
    }

    async fn said(stream: Result<Stream, DialFault>) -> Result<String, String> {
        let mut text = String::new();
        let mut stream = stream.map_err(|fault| fault.to_string())?;
        stream.read_to_string(&mut text).await.map_err(|error| error.to_string())?;
        Ok(text)
    }

    #[tokio::test]
    async fn a_private_authority_vouches_for_its_region_only() {
        let (ours, theirs) = (Authority::new(), Authority::new());
        let address = tls_server(&ours, "localhost", false).await;
        let good = dial_to("localhost", address.port(), Some(&ours.client(None)), PATIENT).await;
        if let Ok(Stream::Tls(stream)) = &good {
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        }
        assert_eq!(said(good).await.as_deref(), Ok("ok"));

        let machine = TlsClient::new(&UpstreamTls::default(), &MachineRoots::load()).unwrap();
        for wrong in [theirs.client(None), machine] {
            let fault = dial_to("localhost", address.port(), Some(&wrong), PATIENT).await.unwrap_err();
            assert_eq!((fault.stage, fault.address), (Stage::Tls, Some(address)));
            assert!(fault.cause.contains("invalid peer certificate"), "{fault}");
        }
    }

    #[tokio::test]
    async fn the_certificate_must_name_the_host() {
        let authority = Authority::new();
        let client = authority.client(None);
        let elsewhere = tls_server(&authority, "elsewhere.test", false).await;
        let fault = dial_to("localhost", elsewhere.port(), Some(&client), PATIENT).await.unwrap_err();
        assert_eq!(fault.stage, Stage::Tls, "{fault}");
        // virtual addressing: one name a bucket; and an address literal as the endpoint
        for name in ["photos.localhost", "127.0.0.1"] {
            let address = tls_server(&authority, name, false).await;
            let stream = dial_to(name, address.port(), Some(&client), PATIENT).await;
            assert_eq!(said(stream).await.as_deref(), Ok("ok"), "{name}");
        }
    }

    #[tokio::test]
    async fn a_region_that_asks_who_we_are_is_told() {
        let authority = Authority::new();
        let address = tls_server(&authority, "localhost", true).await;
        let known = authority.client(Some(&authority.sign("nearpoint.test")));
        let stream = dial_to("localhost", address.port(), Some(&known), PATIENT).await;
        assert_eq!(said(stream).await.as_deref(), Ok("ok"));
        let stranger = authority.client(None);
        let stream = dial_to("localhost", address.port(), Some(&stranger), PATIENT).await;
        assert!(said(stream).await.is_err(), "nobody gets in without a certificate");
    }

    #[tokio::test]
    async fn a_handshake_that_never_ends_is_given_up() {
        let authority = Authority::new();
        let (_listener, address) = listener().await;
        let client = authority.client(None);
        let fault = dial_to("localhost", address.port(), Some(&client), QUICK).await.unwrap_err();
        assert_eq!(fault.stage, Stage::Tls);
        assert_eq!(fault.cause, "no handshake in time");
    }
}
