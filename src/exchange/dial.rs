//! One connection to a region: name, socket, TLS. A door; it decides nothing about regions.
//!
//! Addresses race (RFC 8305): the next one starts when the one before has failed or 300 ms have
//! passed; the first to connect wins, the others are closed. Proxies of the environment are never
//! used: a dial goes where the configuration says. Dropping the future closes everything.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::client::TlsStream;

use super::tls::TlsClient;
use crate::clock::Clock;
use crate::dns::Resolver;
use crate::fleet::Never;
use crate::view::Timeouts;

/// The pause before the next address is tried beside the one under way (RFC 8305 §8: 100 ms to 2 s).
pub const RACE_AFTER: Duration = Duration::from_millis(300);
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
) -> Result<Stream, DialFault> {
    let addresses = resolver.addresses(to.host, to.port).await.map_err(|fault| DialFault {
        stage: Stage::Dns,
        cause: fault.to_string(),
        address: None,
    })?;
    let began = Instant::from_std(clock.now().mono);
    let (socket, address) = race(&addresses, began + timeouts.connect, clock).await?;
    let Some(tls) = to.tls else { return Ok(Stream::Tcp(socket)) };
    let failed = |cause: String| DialFault { stage: Stage::Tls, cause, address: Some(address) };
    let name = server_name(to.host).map_err(failed)?;
    match timeout_at(began + timeouts.tls, tls.connector().connect(name, socket)).await {
        Ok(Ok(stream)) => Ok(Stream::Tls(Box::new(stream))),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_elapsed) => Err(failed("no handshake in time".to_owned())),
    }
}

fn server_name(host: &str) -> Result<ServerName<'static>, String> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let name = bare.strip_suffix('.').unwrap_or(bare);
    ServerName::try_from(name.to_owned()).map_err(|_| format!("{name} is no name for a certificate"))
}

/// The first of `addresses` that connects before `deadline`.
async fn race(
    addresses: &[SocketAddr],
    deadline: Instant,
    clock: Clock,
) -> Result<(TcpStream, SocketAddr), DialFault> {
    let mut waiting = addresses.iter().copied();
    let mut running: Vec<Runner> = Vec::new();
    let mut faults = Faults::default();
    loop {
        running.extend(waiting.next().map(Runner::start));
        if running.is_empty() {
            return Err(faults.verdict());
        }
        let next_start = Instant::from_std(clock.now().mono) + RACE_AFTER;
        let wait_until = if waiting.len() == 0 { deadline } else { next_start.min(deadline) };
        match timeout_at(wait_until, first_to_end(&mut running)).await {
            Ok((Ok(socket), address)) => return Ok((socket, address)),
            Ok((Err(error), address)) => faults.add(&error, address),
            Err(_elapsed) if wait_until >= deadline => {
                faults.late(running.last().map(|runner| runner.address));
                return Err(faults.verdict());
            }
            Err(_next_address_may_start) => {}
        }
    }
}

struct Runner {
    address: SocketAddr,
    connecting: Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>,
}

impl Runner {
    fn start(address: SocketAddr) -> Self {
        Self { address, connecting: Box::pin(connect(address)) }
    }
}

async fn first_to_end(running: &mut Vec<Runner>) -> (io::Result<TcpStream>, SocketAddr) {
    std::future::poll_fn(|context| {
        for (place, runner) in running.iter_mut().enumerate() {
            if let Poll::Ready(result) = runner.connecting.as_mut().poll(context) {
                return Poll::Ready((result, running.swap_remove(place).address));
            }
        }
        Poll::Pending
    })
    .await
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
    last: Option<(String, Option<SocketAddr>)>,
}

impl Faults {
    fn add(&mut self, error: &io::Error, address: SocketAddr) {
        match error.kind() {
            _ if is_shortage(error, address) => self.ours += 1,
            io::ErrorKind::ConnectionRefused => self.refused += 1,
            // this machine has no such address family: that says nothing of the region
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable => {}
            _ => self.others += 1,
        }
        self.last = Some((error.to_string(), Some(address)));
    }

    fn late(&mut self, address: Option<SocketAddr>) {
        self.others += 1;
        self.last = Some(("no connection in time".to_owned(), address));
    }

    fn verdict(self) -> DialFault {
        let refused = self.refused > 0 && self.others == 0;
        let (cause, address) = self.last.unwrap_or_else(|| ("no address".to_owned(), None));
        let stage = if self.ours > 0 { Stage::Shortage } else { Stage::Connect { refused } };
        DialFault { stage, cause, address }
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
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(context, bytes),
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
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(socket) => socket.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_flush(context),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(context),
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

    async fn dial_to(
        host: &str,
        port: u16,
        tls: Option<&TlsClient>,
        timeouts: DialTimeouts,
    ) -> Result<Stream, DialFault> {
        let clock = Clock::system();
        dial(Target { host, port, tls }, &Resolver::over(Nowhere, clock), timeouts, clock).await
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
        (listener, filling, address)
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
        let deadline = Instant::from_std(clock.now().mono) + Duration::from_secs(10);
        for addresses in [vec![silent, good], vec![refused, good], vec![silent, refused, good]] {
            let (socket, winner) = race(&addresses, deadline, clock).await.unwrap();
            assert_eq!((socket.peer_addr().unwrap(), winner), (good, good));
        }
        // if each refusal waited for its turn to end, this would take six seconds
        let mut many = vec![refused; 20];
        many.push(good);
        let began = clock.now().mono;
        race(&many, deadline, clock).await.unwrap();
        assert!(clock.now().mono - began < RACE_AFTER * 10);
    }

    #[test]
    fn what_this_machine_lacks_is_not_the_regions_fault() {
        let (v4, v6): (SocketAddr, SocketAddr) =
            ("192.0.2.1:443".parse().unwrap(), "[2001:db8::1]:443".parse().unwrap());
        let stage = |faults: &[(i32, SocketAddr)]| {
            let mut all = Faults::default();
            for (code, at) in faults {
                all.add(&io::Error::from_raw_os_error(*code), *at);
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
        folder: tempfile::TempDir,
    }

    struct Signed {
        certificate: PathBuf,
        key: PathBuf,
        chain: Vec<rustls::pki_types::CertificateDer<'static>>,
        secret: PrivateKeyDer<'static>,
    }

    impl Authority {
        fn new() -> Self {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
            Self { issuer, folder: tempfile::tempdir().unwrap() }
        }

        fn file(&self) -> PathBuf {
            self.written("ca.pem", &self.issuer.pem())
        }

        fn sign(&self, name: &str) -> Signed {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &self.issuer).unwrap();
            Signed {
                certificate: self.written(&format!("{name}.crt"), &certificate.pem()),
                key: self.written(&format!("{name}.key"), &key.serialize_pem()),
                chain: vec![certificate.der().clone()],
                secret: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            }
        }

        fn written(&self, name: &str, text: &str) -> PathBuf {
            let file = self.folder.path().join(name);
            std::fs::write(&file, text).unwrap();
            file
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

    /// Serves TLS for `name`; writes `ok` to whoever finishes the handshake.
    async fn tls_server(authority: &Authority, name: &str, wants_client: bool) -> SocketAddr {
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
        let (listener, address) = listener().await;
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
        address
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
