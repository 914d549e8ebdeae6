//! The door of the cache: one task asks name servers, everybody else reads what it learnt.
//!
//! A [`Resolver`] is used from any thread and any runtime; look-ups run on the runtime that
//! started it (the control runtime), so that no worker carries another's sockets.

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{ResolverBuilder, TokioResolver};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::cache::{Cache, Look};
use super::{Answer, DnsFault};
use crate::clock::Clock;

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
    clock: Clock,
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
        let task = Task { lookup: Arc::new(lookup), book: Arc::clone(&book), clock };
        tokio::spawn(task.run(asked));
        Self { book, asks, clock }
    }

    /// The socket addresses of `host`, best tried in this order: families take turns, and each
    /// call begins one further. An address literal or `localhost` never asks anybody.
    ///
    /// # Errors
    /// [`DnsFault`] where nothing is known, not even an old answer.
    pub async fn addresses(&self, host: &str, port: u16) -> Result<Arc<[SocketAddr]>, DnsFault> {
        let addresses = match literal(host) {
            Some(addresses) => addresses,
            None => self.named(&host.to_ascii_lowercase()).await?,
        };
        Ok(interleaved(&addresses, port))
    }

    async fn named(&self, host: &str) -> Result<Vec<IpAddr>, DnsFault> {
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
        match book.cache.look(host, self.clock.now().mono) {
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
            book.cache.answered(host, Err(DnsFault::Busy), self.clock.now().mono);
        }
        asked
    }

    fn last_resort(&self, host: &str) -> Result<Vec<IpAddr>, DnsFault> {
        lock(&self.book).cache.last_resort(host, self.clock.now().mono)
    }
}

enum Known {
    Now(Vec<IpAddr>),
    After(oneshot::Receiver<()>),
}

struct Task<L> {
    lookup: Arc<L>,
    book: Arc<Mutex<Book>>,
    clock: Clock,
}

impl<L: Lookup> Task<L> {
    async fn run(self, mut asked: mpsc::Receiver<Arc<str>>) {
        let mut lookups = JoinSet::new();
        loop {
            let now = self.clock.now().mono;
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
        lookups.spawn(async move {
            let asking = tokio::time::timeout(LOOKUP_TIMEOUT, lookup.lookup(Arc::clone(&host)));
            let answer = asking.await.unwrap_or_else(|_| {
                Err(DnsFault::Failed { host: Arc::clone(&host), cause: Arc::from("no answer in time") })
            });
            if let Err(fault) = &answer {
                tracing::debug!(%host, %fault, "a name was not resolved");
            }
            let mut book = lock(&book);
            book.cache.answered(&host, answer, clock.now().mono);
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

/// The library's resolver, or why there is none.
type Built = Result<TokioResolver, Arc<str>>;

impl MachineLookup {
    fn new(clock: Clock) -> Self {
        Self { clock, current: Mutex::new((clock.now().mono, machine_resolver())) }
    }

    fn resolver(&self) -> Built {
        lock(&self.current).1.clone()
    }

    fn reload(&self) {
        let now = self.clock.now().mono;
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

async fn ask(resolver: &TokioResolver, host: Arc<str>, clock: Clock) -> Result<Answer, DnsFault> {
    match resolver.lookup_ip(&*host).await {
        Ok(found) => {
            let ttl = found.valid_until().saturating_duration_since(clock.now().mono);
            Ok(Answer { addresses: found.iter().collect(), ttl })
        }
        Err(error) if error.is_no_records_found() => Err(DnsFault::NoAddress { host }),
        Err(error) => Err(DnsFault::Failed { host, cause: Arc::from(error.to_string()) }),
    }
}

/// As the machine is configured; where it is not (an image without `/etc/resolv.conf`), the
/// C library's own default: a name server on loopback.
fn machine_resolver() -> Built {
    let builder = TokioResolver::builder_tokio().unwrap_or_else(|error| {
        tracing::warn!(%error, "the machine's DNS configuration cannot be read; asking 127.0.0.1");
        let servers = vec![NameServerConfig::udp_and_tcp(IpAddr::V4(Ipv4Addr::LOCALHOST))];
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    });
    build(builder)
}

fn build(mut builder: ResolverBuilder<TokioRuntimeProvider>) -> Built {
    let options = builder.options_mut();
    options.timeout = TRY_TIMEOUT;
    options.attempts = RETRIES;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.cache_size = 0; // ours clamps TTLs and keeps old answers
    options.try_tcp_on_error = true;
    builder.build().map_err(|error| Arc::from(error.to_string()))
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

/// Families take turns (RFC 8305 §4), beginning with that of the first address.
fn interleaved(addresses: &[IpAddr], port: u16) -> Arc<[SocketAddr]> {
    let first_is_v6 = addresses.first().is_some_and(IpAddr::is_ipv6);
    let (mut same, mut other): (Vec<IpAddr>, Vec<IpAddr>) =
        addresses.iter().rev().partition(|address| address.is_ipv6() == first_is_v6);
    let mut ordered = Vec::with_capacity(addresses.len());
    while let Some(address) = same.pop().or_else(|| other.pop()) {
        ordered.push(SocketAddr::new(address, port));
        std::mem::swap(&mut same, &mut other);
    }
    ordered.into()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

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
        Ok(Answer { addresses: vec![IpAddr::from([192, 0, 2, last])], ttl: Duration::from_secs(10) })
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
        Ok(found.iter().map(ToString::to_string).collect())
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
            let before = Clock::system().now().mono;
            assert_eq!(ips(&resolver).await.unwrap(), ["192.0.2.1:443"]);
            assert_eq!(Clock::system().now().mono, before);
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
            let found: Vec<_> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{host}");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 0);
        assert!(resolver.addresses("localhost.example.com", 9).await.is_err());
    }

    #[test]
    fn families_take_turns() {
        let texts = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "192.0.2.3"];
        let addresses: Vec<IpAddr> = texts.iter().map(|text| text.parse().unwrap()).collect();
        let ordered: Vec<_> = interleaved(&addresses, 1).iter().map(|at| at.ip().to_string()).collect();
        assert_eq!(ordered, ["192.0.2.1", "2001:db8::1", "192.0.2.2", "192.0.2.3"]);
    }

    /// A name server on loopback that knows one A record with a TTL of 60 s, and NXDOMAIN.
    async fn name_server(socket: UdpSocket) {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query).await {
            // header is 12 bytes, one question follows up to its type and class
            let name_end = 12 + query[12..length].iter().position(|byte| *byte == 0).unwrap() + 1;
            let is_a = query[name_end..name_end + 2] == [0, 1];
            let known = query[12..name_end].windows(5).any(|label| label.eq_ignore_ascii_case(b"known"));
            let mut reply = query[..name_end + 4].to_vec();
            let rcode = if known { 0 } else { 3 };
            reply[2..12].copy_from_slice(&[0x81, 0x80 | rcode, 0, 1, 0, 0, 0, 0, 0, 0]);
            if known && is_a {
                reply[7] = 1;
                reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7]);
            }
            socket.send_to(&reply, from).await.unwrap();
        }
    }

    #[tokio::test]
    async fn the_library_is_asked_as_it_wants_to_be() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut server = NameServerConfig::udp(IpAddr::V4(Ipv4Addr::LOCALHOST));
        server.connections[0].port = socket.local_addr().unwrap().port();
        tokio::spawn(name_server(socket));
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let provider = TokioRuntimeProvider::default();
        let library = build(TokioResolver::builder_with_config(config, provider)).unwrap();

        let found = ask(&library, Arc::from("known.test"), Clock::system()).await.unwrap();
        assert_eq!(found.addresses, [IpAddr::from([192, 0, 2, 7])]);
        assert!((50..=60).contains(&found.ttl.as_secs()), "{:?}", found.ttl);
        let fault = ask(&library, Arc::from("absent.test"), Clock::system()).await.unwrap_err();
        assert_eq!(fault, DnsFault::NoAddress { host: Arc::from("absent.test") });
    }
}
