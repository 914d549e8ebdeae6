//! The door of the cache: one task asks name servers, everybody else reads what it learnt.
//!
//! A [`Resolver`] is used from any thread and any runtime; look-ups run on the runtime that
//! started it (the control runtime), so that no worker carries another's sockets.

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{ResolverBuilder, TokioResolver};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::cache::{Cache, Look};
use super::{Answer, DnsFault, Family};
use crate::clock::Clock;
use crate::telemetry::metric::{self, Metric};

/// Names remembered. Endpoints are few; under `"*"` with virtual addressing clients choose names.
pub const NAMES_MAX: usize = 1024;
/// Names that may wait for a look-up; one more is refused with [`DnsFault::Busy`].
pub const LOOKUPS_WAITING_MAX: usize = 256;
/// Look-ups under way at once.
const LOOKUPS_MAX: usize = 32;
/// One try of one name server (`reliability.md` A4; the library's default is 5 s).
const TRY_TIMEOUT: Duration = Duration::from_secs(1);
/// Tries after the first.
const RETRIES: usize = 1;
/// A whole look-up, search list included: above it the last good answer is better than waiting.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(4);
/// Both families of a name: less than a whole look-up, so that one that is known is not lost.
const FAMILY_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a family that is known waits for the other one: longer than RFC 8305's 50 ms, since
/// nobody waits for it but the first user of a name.
const FAMILY_DELAY: Duration = Duration::from_millis(500);
/// How often the task looks for names to forget while nothing is due.
const LOOK_AROUND: Duration = Duration::from_secs(30);
/// A failed look-up reads the machine's configuration anew, at most this often: it may have changed.
const RELOAD_PAUSE: Duration = Duration::from_secs(30);

/// Whoever knows addresses: the machine's name servers, or a script in tests.
pub trait Lookup: Send + Sync + 'static {
    /// Asks for every address of `host`.
    fn lookup(&self, host: Arc<str>) -> impl Future<Output = Result<Answer, DnsFault>> + Send;
}

/// Addresses of names, at once where they are known. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Resolver {
    book: Arc<Mutex<Book>>,
    asks: mpsc::Sender<Arc<str>>,
    /// Grows whenever some name has other addresses than before.
    version: Arc<AtomicU64>,
    clock: Clock,
}

/// The addresses of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// In the name server's order.
    pub addresses: Vec<SocketAddr>,
    /// They are one machine's (`localhost`): connections are not spread over them.
    pub one_machine: bool,
}

#[derive(Debug)]
struct Book {
    cache: Cache,
    waiting: HashMap<Arc<str>, Vec<oneshot::Sender<()>>>,
}

impl Resolver {
    /// A resolver that asks as the machine is told to (`/etc/resolv.conf`, `/etc/hosts`). Its
    /// task lives on the current runtime until the last clone is gone.
    #[must_use]
    pub fn system(clock: Clock) -> Self {
        Self::over(MachineLookup::new(clock), clock)
    }

    /// A resolver over any [`Lookup`].
    pub fn over(lookup: impl Lookup, clock: Clock) -> Self {
        let book = Book { cache: Cache::new(NAMES_MAX), waiting: HashMap::new() };
        let book = Arc::new(Mutex::new(book));
        let (asks, asked) = mpsc::channel(LOOKUPS_WAITING_MAX);
        let version = Arc::new(AtomicU64::new(0));
        let task =
            Task { lookup: Arc::new(lookup), book: Arc::clone(&book), version: Arc::clone(&version), clock };
        tokio::spawn(task.run(asked));
        Self { book, asks, version, clock }
    }

    /// The socket addresses of `host`. An address literal or `localhost` never asks anybody.
    ///
    /// # Errors
    /// [`DnsFault`] where nothing is known, not even an old answer.
    pub async fn addresses(&self, host: &str, port: u16) -> Result<Found, DnsFault> {
        if let Some(addresses) = literal(host) {
            return Ok(Found { addresses: at_port(&addresses, port), one_machine: true });
        }
        let addresses = self.named(&host.to_ascii_lowercase()).await?;
        Ok(Found { addresses: at_port(&addresses, port), one_machine: false })
    }

    /// A number that grows whenever some name has other addresses than before.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    /// What is known of `host` now, without asking; counts as a use of it, so that it stays known.
    /// `None` for literals and `localhost`, which never change, and for what nobody asked for.
    #[must_use]
    pub fn follow(&self, host: &str, port: u16) -> Option<Vec<SocketAddr>> {
        if literal(host).is_some() {
            return None;
        }
        let known = lock(&self.book).cache.follow(&host.to_ascii_lowercase(), self.clock.mono())?;
        Some(at_port(&known, port))
    }

    /// How old the last good answer for `host` is; `None` where there is none, or needs none.
    #[must_use]
    pub fn age(&self, host: &str) -> Option<Duration> {
        let at = lock(&self.book).cache.good_at(&host.to_ascii_lowercase())?;
        Some(self.clock.mono().saturating_duration_since(at))
    }

    async fn named(&self, host: &str) -> Result<Arc<[IpAddr]>, DnsFault> {
        match self.look(host) {
            Ok(Known::Now(addresses)) => Ok(addresses),
            // an old answer is better than none
            Err(DnsFault::Busy) => self.last_resort(host),
            Err(fault) => Err(fault),
            Ok(Known::After(wait)) => {
                // too late, or the task is gone with its runtime: old answers remain
                let _late = tokio::time::timeout(LOOKUP_TIMEOUT, wait).await;
                self.last_resort(host)
            }
        }
    }

    fn look(&self, host: &str) -> Result<Known, DnsFault> {
        let mut book = lock(&self.book);
        match book.cache.look(host, self.clock.mono()) {
            Look::Ready { addresses, ask } => {
                if ask {
                    self.ask(&mut book, host);
                }
                Ok(Known::Now(addresses))
            }
            Look::Wait { ask } => {
                if ask && !self.ask(&mut book, host) {
                    return Err(DnsFault::Busy);
                }
                let (wake, wait) = oneshot::channel();
                let waiting = book.waiting.entry(Arc::from(host)).or_default();
                waiting.retain(|wake| !wake.is_closed());
                waiting.push(wake);
                Ok(Known::After(wait))
            }
            Look::Failed(fault) => Err(fault),
        }
    }

    /// Has the task ask for `host`; says whether it can.
    fn ask(&self, book: &mut Book, host: &str) -> bool {
        let asked = self.asks.try_send(Arc::from(host)).is_ok();
        if !asked {
            book.cache.answered(host, Err(DnsFault::Busy), self.clock.mono());
        }
        asked
    }

    fn last_resort(&self, host: &str) -> Result<Arc<[IpAddr]>, DnsFault> {
        lock(&self.book).cache.last_resort(host)
    }
}

enum Known {
    Now(Arc<[IpAddr]>),
    After(oneshot::Receiver<()>),
}

struct Task<L> {
    lookup: Arc<L>,
    book: Arc<Mutex<Book>>,
    version: Arc<AtomicU64>,
    clock: Clock,
}

impl<L: Lookup> Task<L> {
    async fn run(self, mut asked: mpsc::Receiver<Arc<str>>) {
        let mut lookups = JoinSet::new();
        loop {
            let now = self.clock.mono();
            for host in lock(&self.book).cache.take_due(now) {
                self.start(&mut lookups, host);
            }
            let due = lock(&self.book).cache.next_due(now).unwrap_or(now + LOOK_AROUND);
            tokio::select! {
                host = asked.recv(), if lookups.len() < LOOKUPS_MAX => match host {
                    Some(host) => self.start(&mut lookups, host),
                    None => return,
                },
                Some(_done) = lookups.join_next() => {}
                () = tokio::time::sleep_until(due.into()), if lookups.len() < LOOKUPS_MAX => {}
            }
        }
    }

    fn start(&self, lookups: &mut JoinSet<()>, host: Arc<str>) {
        let (lookup, book, clock) = (Arc::clone(&self.lookup), Arc::clone(&self.book), self.clock);
        let version = Arc::clone(&self.version);
        lookups.spawn(async move {
            let asking = tokio::time::timeout(LOOKUP_TIMEOUT, lookup.lookup(Arc::clone(&host)));
            let answer = asking.await.unwrap_or_else(|_| {
                Err(DnsFault::Failed { host: Arc::clone(&host), cause: Arc::from("no answer in time") })
            });
            let result = answer.as_ref().map_or_else(DnsFault::name, |answer| {
                if answer.addresses.is_empty() { "no_address" } else { "answered" }
            });
            metric::counter(Metric::DnsLookups, &[result]).increment(1);
            if let Err(fault) = &answer {
                tracing::debug!(%host, %fault, "a name was not resolved");
            }
            let mut book = lock(&book);
            if book.cache.answered(&host, answer, clock.mono()) {
                version.fetch_add(1, Ordering::Relaxed);
            }
            for wake in book.waiting.remove(&host).unwrap_or_default() {
                // who waited may have given up
                let _gone = wake.send(());
            }
        });
    }
}

/// The machine's name servers, through hickory.
struct MachineLookup {
    clock: Clock,
    current: Mutex<(Instant, Built)>,
}

/// The library's resolvers, or why there are none.
type Built = Result<Pair, Arc<str>>;

/// One resolver a family: asked for both at once, the library does not say that it could not hear
/// of one of them.
#[derive(Clone)]
struct Pair {
    v4: TokioResolver,
    v6: TokioResolver,
}

impl MachineLookup {
    fn new(clock: Clock) -> Self {
        Self { clock, current: Mutex::new((clock.mono(), machine_resolver())) }
    }

    fn resolver(&self) -> Built {
        lock(&self.current).1.clone()
    }

    fn reload(&self) {
        let now = self.clock.mono();
        let mut current = lock(&self.current);
        if now.saturating_duration_since(current.0) >= RELOAD_PAUSE {
            *current = (now, machine_resolver());
        }
    }
}

impl Lookup for MachineLookup {
    async fn lookup(&self, host: Arc<str>) -> Result<Answer, DnsFault> {
        let answer = match self.resolver() {
            Ok(resolver) => ask(&resolver, host, self.clock).await,
            Err(cause) => Err(DnsFault::Failed { host, cause }),
        };
        if answer.is_err() {
            self.reload();
        }
        answer
    }
}

async fn ask(pair: &Pair, host: Arc<str>, clock: Clock) -> Result<Answer, DnsFault> {
    match heard(pair, &host, clock).await {
        (Ok(v4), Ok(v6)) => {
            let ttl = v4.ttl.min(v6.ttl);
            Ok(Answer { addresses: [v4.addresses, v6.addresses].concat(), ttl, unheard: None })
        }
        (Ok(v4), Err(fault)) => Ok(Answer { unheard: fault.unheard(Family::V6), ..v4 }),
        (Err(fault), Ok(v6)) => Ok(Answer { unheard: fault.unheard(Family::V4), ..v6 }),
        // where one was heard and has none, the other one is why there is no address
        (Err(DnsFault::NoAddress { .. }), Err(fault)) | (Err(fault), Err(_)) => Err(fault),
    }
}

/// Both families; once one has addresses the other one may be late.
async fn heard(
    pair: &Pair,
    host: &Arc<str>,
    clock: Clock,
) -> (Result<Answer, DnsFault>, Result<Answer, DnsFault>) {
    let mut v4 = std::pin::pin!(tokio::time::timeout(FAMILY_TIMEOUT, family(&pair.v4, host, clock)));
    let mut v6 = std::pin::pin!(tokio::time::timeout(FAMILY_TIMEOUT, family(&pair.v6, host, clock)));
    let late = || DnsFault::Failed { host: Arc::clone(host), cause: Arc::from("no answer in time") };
    let patience =
        |first: &Result<Answer, DnsFault>| if first.is_ok() { FAMILY_DELAY } else { FAMILY_TIMEOUT };
    tokio::select! {
        first = &mut v4 => {
            let first = first.unwrap_or_else(|_| Err(late()));
            let other = tokio::time::timeout(patience(&first), v6).await;
            (first, other.ok().and_then(Result::ok).unwrap_or_else(|| Err(late())))
        }
        first = &mut v6 => {
            let first = first.unwrap_or_else(|_| Err(late()));
            let other = tokio::time::timeout(patience(&first), v4).await;
            (other.ok().and_then(Result::ok).unwrap_or_else(|| Err(late())), first)
        }
    }
}

async fn family(resolver: &TokioResolver, host: &Arc<str>, clock: Clock) -> Result<Answer, DnsFault> {
    match resolver.lookup_ip(&**host).await {
        Ok(found) => {
            let ttl = found.valid_until().saturating_duration_since(clock.mono());
            Ok(Answer { addresses: found.iter().collect(), ttl, unheard: None })
        }
        Err(error) if error.is_no_records_found() => Err(DnsFault::NoAddress { host: Arc::clone(host) }),
        Err(error) => Err(DnsFault::Failed { host: Arc::clone(host), cause: Arc::from(error.to_string()) }),
    }
}

impl DnsFault {
    /// The family that a failed look-up leaves unheard.
    fn unheard(&self, family: Family) -> Option<Family> {
        (!matches!(self, Self::NoAddress { .. })).then_some(family)
    }
}

/// As the machine is configured; where it is not (an image without `/etc/resolv.conf`), the
/// C library's own default: a name server on loopback.
fn machine_resolver() -> Built {
    build(|| {
        TokioResolver::builder_tokio().unwrap_or_else(|error| {
            tracing::warn!(%error, "the machine's DNS configuration cannot be read; asking 127.0.0.1");
            let servers = vec![NameServerConfig::udp_and_tcp(IpAddr::V4(Ipv4Addr::LOCALHOST))];
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        })
    })
}

fn build(builder: impl Fn() -> ResolverBuilder<TokioRuntimeProvider>) -> Built {
    let of = |strategy| {
        let mut builder = builder();
        let options = builder.options_mut();
        options.timeout = TRY_TIMEOUT;
        options.attempts = RETRIES;
        options.ip_strategy = strategy;
        options.cache_size = 0; // ours clamps TTLs and keeps old answers
        options.try_tcp_on_error = true;
        builder.build().map_err(|error| Arc::from(error.to_string()))
    };
    Ok(Pair { v4: of(LookupIpStrategy::Ipv4Only)?, v6: of(LookupIpStrategy::Ipv6Only)? })
}

/// A poisoned lock only means that a thread panicked between two whole updates.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Addresses that need no name server: literals (IPv6 with or without brackets), `localhost`
/// and names under it (RFC 6761 §6.3).
fn literal(host: &str) -> Option<Vec<IpAddr>> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse() {
        return Some(vec![address]);
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let last_label = name.rsplit('.').next().unwrap_or(name);
    last_label
        .eq_ignore_ascii_case("localhost")
        .then(|| vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)])
}

fn at_port(addresses: &[IpAddr], port: u16) -> Vec<SocketAddr> {
    addresses.iter().map(|address| SocketAddr::new(*address, port)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::net::UdpSocket;

    use super::*;

    /// Answers from a list, one entry a look-up; the last one for ever.
    #[derive(Debug)]
    struct Script {
        answers: Vec<Result<Answer, DnsFault>>,
        asked: Arc<AtomicUsize>,
        takes: Duration,
    }

    impl Lookup for Script {
        async fn lookup(&self, _host: Arc<str>) -> Result<Answer, DnsFault> {
            let turn = self.asked.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(self.takes).await;
            self.answers.get(turn).or(self.answers.last()).cloned().unwrap()
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "stands beside `bad` in lists")]
    fn good(last: u8) -> Result<Answer, DnsFault> {
        Ok(Answer {
            addresses: vec![IpAddr::from([192, 0, 2, last])],
            ttl: Duration::from_secs(10),
            unheard: None,
        })
    }

    fn bad() -> Result<Answer, DnsFault> {
        Err(DnsFault::Failed { host: Arc::from("h"), cause: Arc::from("refused") })
    }

    fn scripted(answers: Vec<Result<Answer, DnsFault>>, takes: Duration) -> (Resolver, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let script = Script { answers, asked: Arc::clone(&asked), takes };
        (Resolver::over(script, Clock::system()), asked)
    }

    async fn ips(resolver: &Resolver) -> Result<Vec<String>, DnsFault> {
        let found = resolver.addresses("h", 443).await?;
        Ok(found.addresses.iter().map(ToString::to_string).collect())
    }

    #[tokio::test(start_paused = true)]
    async fn many_users_share_one_look_up() {
        let (resolver, asked) = scripted(vec![good(1)], Duration::from_millis(200));
        let (a, b, c) = tokio::join!(ips(&resolver), ips(&resolver), ips(&resolver));
        assert_eq!(a.unwrap(), ["192.0.2.1:443"]);
        assert_eq!((b.is_ok(), c.is_ok()), (true, true));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_in_use_is_refreshed_before_it_ends() {
        let (resolver, _) = scripted(vec![good(1), good(2)], Duration::from_millis(200));
        assert_eq!(ips(&resolver).await.unwrap(), ["192.0.2.1:443"]);
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert_eq!(ips(&resolver).await.unwrap(), ["192.0.2.2:443"]);
    }

    #[tokio::test(start_paused = true)]
    async fn losing_dns_never_makes_a_known_name_wait() {
        let (resolver, asked) = scripted(vec![good(1), bad()], Duration::from_secs(3));
        ips(&resolver).await.unwrap();
        for _ in 0..500 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let before = Clock::system().mono();
            assert_eq!(ips(&resolver).await.unwrap(), ["192.0.2.1:443"]);
            assert_eq!(Clock::system().mono(), before);
        }
        let asked = asked.load(Ordering::SeqCst);
        assert!((10..40).contains(&asked), "asked {asked} times in 500 s: backs off, never gives up");
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_name_fails_and_is_soon_asked_again() {
        let (resolver, _) = scripted(vec![bad(), good(1)], Duration::ZERO);
        assert_eq!(ips(&resolver).await, Err(bad().unwrap_err()));
        assert_eq!(ips(&resolver).await, Err(bad().unwrap_err()), "not asked again at once");
        tokio::time::sleep(Duration::from_millis(1100)).await;
        assert_eq!(ips(&resolver).await.unwrap(), ["192.0.2.1:443"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_look_up_ends() {
        let (resolver, _) = scripted(vec![good(1)], Duration::from_hours(1));
        let cause = ips(&resolver).await.unwrap_err().to_string();
        assert!(cause.contains("no answer in time") || cause.contains("no address"), "{cause}");
    }

    #[tokio::test]
    async fn literals_and_localhost_ask_nobody() {
        let (resolver, asked) = scripted(vec![bad()], Duration::ZERO);
        for (host, expected) in [
            ("127.0.0.1", vec!["127.0.0.1:9"]),
            ("::1", vec!["[::1]:9"]),
            ("[2001:db8::1]", vec!["[2001:db8::1]:9"]),
            ("localhost", vec!["127.0.0.1:9", "[::1]:9"]),
            ("photos.LOCALHOST.", vec!["127.0.0.1:9", "[::1]:9"]),
        ] {
            let found = resolver.addresses(host, 9).await.unwrap();
            let found: Vec<_> = found.addresses.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{host}");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 0);
        assert!(resolver.addresses("localhost.example.com", 9).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_day_without_dns_costs_nothing_and_grows_nothing() {
        let (resolver, asked) = scripted(vec![good(1), bad()], Duration::from_secs(3));
        ips(&resolver).await.unwrap();
        let began = Clock::system().mono();
        for _ in 0..24 * 60 * 6 {
            tokio::time::sleep(Duration::from_secs(10)).await;
            let before = Clock::system().mono();
            assert_eq!(ips(&resolver).await.unwrap(), ["192.0.2.1:443"]);
            assert_eq!(Clock::system().mono(), before, "nobody waited");
        }
        let day = Clock::system().mono() - began;
        assert!(day >= Duration::from_hours(24));
        assert_eq!(resolver.age("h"), Some(day), "operators see how old it is");
        // every 30 s and the three that each takes
        let asked = asked.load(Ordering::SeqCst);
        assert!((1_200..2_900).contains(&asked), "{asked}");
        let book = lock(&resolver.book);
        assert_eq!((book.cache.len(), book.waiting.len()), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_of_addresses_shows_in_the_version() {
        let (resolver, _) = scripted(vec![good(1), good(1), bad(), good(2)], Duration::ZERO);
        ips(&resolver).await.unwrap();
        let first = resolver.version();
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert_eq!(resolver.version(), first, "the same answer");
        assert_eq!(resolver.follow("h", 443).unwrap(), [SocketAddr::from(([192, 0, 2, 1], 443))]);
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(resolver.version(), first + 1);
        assert_eq!(resolver.follow("H", 443).unwrap(), [SocketAddr::from(([192, 0, 2, 2], 443))]);
        assert_eq!((resolver.follow("localhost", 1), resolver.follow("unknown", 1)), (None, None));
    }

    /// What a name server says of a type of record.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Says {
        Address,
        Empty,
        NxDomain,
        ServFail,
        Nothing,
    }

    /// A name server on loopback: the first label of a name says what it says of A, the second
    /// what of AAAA. TTLs are 60 s.
    async fn name_server(socket: UdpSocket) {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query).await {
            // header is 12 bytes, one question follows up to its type and class
            let name_end = 12 + query[12..length].iter().position(|byte| *byte == 0).unwrap() + 1;
            let is_a = query[name_end..name_end + 2] == [0, 1];
            let first = usize::from(query[12]);
            let label = if is_a { query[13] } else { query[13 + first + 1] };
            let says = match label.to_ascii_lowercase() {
                b'a' => Says::Address,
                b'e' => Says::Empty,
                b'n' => Says::NxDomain,
                b's' => Says::ServFail,
                _ => Says::Nothing,
            };
            let mut reply = query[..name_end + 4].to_vec();
            let rcode = match says {
                Says::Address | Says::Empty => 0,
                Says::ServFail => 2,
                Says::NxDomain => 3,
                Says::Nothing => continue,
            };
            reply[2..12].copy_from_slice(&[0x81, 0x80 | rcode, 0, 1, 0, 0, 0, 0, 0, 0]);
            if says == Says::Address {
                reply[7] = 1;
                reply.extend([0xc0, 12, 0, if is_a { 1 } else { 28 }, 0, 1, 0, 0, 0, 60]);
                if is_a {
                    reply.extend([0, 4, 192, 0, 2, 7]);
                } else {
                    reply.extend([0, 16, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
                }
            }
            socket.send_to(&reply, from).await.unwrap();
        }
    }

    async fn served() -> Pair {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        tokio::spawn(name_server(socket));
        build(|| {
            let mut server = NameServerConfig::udp(IpAddr::V4(Ipv4Addr::LOCALHOST));
            server.connections[0].port = port;
            let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        })
        .unwrap()
    }

    #[tokio::test]
    async fn what_a_name_server_says_is_read_as_it_is_meant() {
        let pair = served().await;
        let (v4, v6) = (IpAddr::from([192, 0, 2, 7]), "2001:db8::7".parse::<IpAddr>().unwrap());
        for (name, addresses, unheard) in [
            ("address.address.test", vec![v4, v6], None),
            ("address.empty.test", vec![v4], None),
            ("empty.address.test", vec![v6], None),
            ("address.servfail.test", vec![v4], Some(Family::V6)),
            ("servfail.address.test", vec![v6], Some(Family::V4)),
            ("address.lost.test", vec![v4], Some(Family::V6)),
        ] {
            let found = ask(&pair, Arc::from(name), Clock::system()).await.unwrap();
            assert_eq!((found.addresses, found.unheard), (addresses, unheard), "{name}");
            assert!((50..=60).contains(&found.ttl.as_secs()), "{:?}", found.ttl);
        }
        for (name, result) in [
            ("nx.nx.test", "no_address"),
            ("empty.empty.test", "no_address"),
            ("servfail.servfail.test", "failed"),
            ("empty.servfail.test", "failed"),
        ] {
            let fault = ask(&pair, Arc::from(name), Clock::system()).await.unwrap_err();
            assert_eq!(fault.name(), result, "{name}");
        }
    }

    #[tokio::test]
    async fn whatever_goes_wrong_with_dns_the_last_good_answer_stays() {
        let pair = served().await;
        let mut now = Clock::system().mono();
        let mut cache = Cache::new(1);
        let good = ask(&pair, Arc::from("address.empty.test"), Clock::system()).await;
        cache.look("h", now);
        assert!(cache.answered("h", good, now));
        for name in ["nx.nx.test", "empty.empty.test", "servfail.servfail.test", "lost.lost.test"] {
            now += Duration::from_hours(1);
            assert!(matches!(cache.look("h", now), Look::Wait { .. } | Look::Ready { .. }), "{name}");
            let answer = ask(&pair, Arc::from(name), Clock::system()).await;
            assert!(answer.is_err(), "{name}");
            assert!(!cache.answered("h", answer, now));
            assert_eq!(*cache.last_resort("h").unwrap(), [IpAddr::from([192, 0, 2, 7])], "{name}");
        }
    }
}
