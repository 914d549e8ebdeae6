//! The whole proxy with time that is simulated: listener's HTTP, pipeline, exchange, steward, probes and
//! DNS as they are, on one thread with a paused clock, between clients and regions in memory. Minutes,
//! and a day, take a moment; a seed replays them.

mod region;
mod scenes;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tokio::task::{LocalSet, spawn_local};

use super::control;
use super::descriptors::Descriptors;
use super::worker;
use crate::clock::Clock;
use crate::config::{self, Outside};
use crate::dns::resolver::Lookup;
use crate::dns::{Answer, DnsFault, Resolver};
use crate::fleet::Standing;
use crate::listen::tests::serve_in_memory;
use crate::names::RegionId;
use crate::pipeline::{self, House};
use crate::publish::Published;
use crate::s3::operation::Kind;
use crate::telemetry::access::AccessWriter;
use crate::telemetry::settings::AccessLogTo;
use crate::units::UnixSeconds;
use crate::view::View;
use region::Region;

/// When scenes begin: the wall clock moves with the paused one.
const BEGINS: UnixSeconds = UnixSeconds(1_800_000_000);

/// Plays a scene on a thread of its own runtime, with seeded chance.
fn play<F: Future<Output = ()>>(seed: u64, scene: impl FnOnce() -> F) {
    fastrand::seed(seed);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, scene());
}

/// A gateway, its regions, and what was seen of them.
struct Stage {
    house: Rc<House>,
    view: Published<View>,
    clock: Clock,
    regions: HashMap<&'static str, Region>,
    names: Names,
    /// How often the standing of any region for reads has changed, from having been heard first.
    changes: Rc<Cell<u32>>,
}

/// An answer as a client has it.
#[derive(Debug)]
struct Got {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// Name servers: names are known as long as they answer.
#[derive(Clone, Default)]
struct Names {
    known: Arc<HashMap<&'static str, IpAddr>>,
    dead: Arc<AtomicBool>,
}

impl Lookup for Names {
    async fn lookup(&self, host: Arc<str>) -> Result<Answer, DnsFault> {
        if self.dead.load(Ordering::Relaxed) {
            // as a name server that is gone: the asker's own time runs out
            tokio::time::sleep(Duration::from_secs(2)).await;
            return Err(DnsFault::Failed { host, cause: Arc::from("no answer in time") });
        }
        let address = self.known.get(&*host).copied();
        let addresses = address.into_iter().collect();
        Ok(Answer { addresses, ttl: Duration::from_mins(1), unheard: None })
    }
}

impl Stage {
    /// A gateway over these regions, the first of which is home, heard and healthy. `settings` are
    /// further lines of the access point.
    async fn open(regions: &[(&'static str, u64)], probe: &str, settings: &str) -> Self {
        let clock = Clock::anchored(BEGINS);
        let mut known = HashMap::new();
        let mut all = HashMap::new();
        let (mut listed, mut buckets) = (Vec::new(), Vec::new());
        for (n, (name, delay)) in regions.iter().enumerate() {
            let address = IpAddr::from([192, 0, 2, u8::try_from(n).unwrap() + 1]);
            known.insert(*name, address);
            all.insert(*name, Region::open(address, Duration::from_millis(*delay), clock));
            listed.push(format!(
                "  {name}: {{endpoint: 'http://{name}:80', signing_region: eu, addressing: path, profile: minio, \
                 probe: {{interval: {probe}}}, credentials: {{access_key_id: A, secret_access_key: S}}}}\n"
            ));
            buckets.push(format!("{name}: photos"));
        }
        let home = regions[0].0;
        let text = format!(
            "listeners: {{s3: [{{address: 'unix:/run/np.sock', verify: off}}]}}\nregions:\n{}access_points:\n  \
             photos:\n    buckets: {{{}}}\n    writes: {{home: {home}}}\n    {settings}\n",
            listed.concat(),
            buckets.join(", ")
        );
        let outside = Outside { env: &|_| None, read_file: &|_| Err(std::io::ErrorKind::NotFound.into()) };
        let loaded = config::compile(&text, Path::new("scene.yaml"), outside)
            .unwrap_or_else(|refused| panic!("{text}\n{refused}"));
        let mut settings = loaded.settings;
        settings.tokens = Some(vec![crate::names::Secret::from("a key for the scenes of this test")]);
        let names = Names { known: Arc::new(known), dead: Arc::default() };
        let view = super::compile::view(&settings, Descriptors::claim()).unwrap();
        let resolver = Resolver::over(names.clone(), clock);
        let (crew, probes) = control::found(&settings, view, resolver, clock);
        // dropped, it would say that there are no more reloads
        std::mem::forget(probes);
        let access = AccessWriter::open(&AccessLogTo::Off).unwrap().handle().worker();
        let house = Rc::new(worker::house(&crew, access));
        let (bell, mut rung) = (house.exchange.bell.clone(), crew.view.clone());
        spawn_local(async move {
            loop {
                rung.changed().await;
                bell.ring();
            }
        });
        let changes = Rc::new(Cell::new(0));
        spawn_local(count_changes(crew.view.clone(), Rc::clone(&changes)));
        let stage = Self { house, view: crew.view.clone(), clock, regions: all, names, changes };
        stage
            .until("every region is heard", |stage| {
                regions.iter().all(|(name, _)| stage.standing(name) == Standing::Healthy)
            })
            .await;
        stage
    }

    fn region(&self, name: &str) -> &Region {
        &self.regions[name]
    }

    fn standing(&self, name: &str) -> Standing {
        self.view.load().table.standing(&RegionId::new(name), Kind::Read)
    }

    fn now(&self) -> Instant {
        self.clock.mono()
    }

    /// Waits until something holds; a minute of the scene's time, and no more.
    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let late = self.now() + Duration::from_mins(1);
        while !holds(self) {
            assert!(self.now() < late, "never: {what}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A GET over a connection of its own.
    async fn get(&self, key: &str) -> Result<Got, String> {
        let (near, far) = tokio::io::duplex(64 << 10);
        let house = Rc::clone(&self.house);
        let answer = move |peer, head, body, fate| {
            let house = Rc::clone(&house);
            async move { pipeline::answer(&house, &peer, head, body, fate).await }
        };
        let serving = spawn_local(serve_in_memory(far, self.clock, Rc::new(answer)));
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near))
            .await
            .map_err(|fault| fault.to_string())?;
        let driving = spawn_local(connection);
        let request = Request::get(format!("/photos/{key}")).header("host", "np.test");
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.map_err(|fault| fault.to_string())?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|fault| format!("{}: body: {fault}", head.status))?;
        drop(sender);
        // the connection ends with its client
        let _over = (driving.await, serving.await);
        Ok(Got { status: head.status, headers: head.headers, body: body.to_bytes() })
    }

    /// GETs at this pace for so long, one after the other begun on time; what became of each.
    async fn read_for(self: &Rc<Self>, length: Duration, pace: Duration) -> Vec<Read> {
        let reads = Rc::new(RefCell::new(Vec::new()));
        let began = self.now();
        let mut tasks = tokio::task::JoinSet::new();
        let mut n = 0_u32;
        while self.now() < began + length {
            let (stage, reads) = (Rc::clone(self), Rc::clone(&reads));
            n += 1;
            tasks.spawn_local(async move {
                let at = stage.now();
                let key = format!("object-{}", 100 + n % 7);
                let got = stage.get(&key).await;
                let took = stage.now() - at;
                let status = got.map(|got| {
                    let region = got
                        .headers
                        .get("x-nearpoint-region")
                        .map(|region| region.to_str().unwrap().to_owned());
                    assert!(
                        !got.status.is_success() || got.body == region::bytes_of(&key),
                        "{key}: another's bytes"
                    );
                    (got.status.as_u16(), region)
                });
                reads.borrow_mut().push(Read { at: at - began, took, status });
            });
            tokio::time::sleep_until((began + pace * n).into()).await;
        }
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
        reads.take()
    }
}

/// One GET of many.
#[derive(Debug)]
struct Read {
    /// From the beginning.
    at: Duration,
    took: Duration,
    /// With the region that answered.
    status: Result<(u16, Option<String>), String>,
}

impl Read {
    fn is_good(&self) -> bool {
        self.status.as_ref().is_ok_and(|(status, _)| *status == 200)
    }

    fn is_from(&self, region: &str) -> bool {
        self.is_good() && self.status.as_ref().is_ok_and(|(_, from)| from.as_deref() == Some(region))
    }
}

#[track_caller]
fn all_good(reads: &[Read]) {
    let bad: Vec<&Read> = reads.iter().filter(|read| !read.is_good()).collect();
    assert!(bad.is_empty(), "{} of {} failed: {:?}", bad.len(), reads.len(), &bad[..bad.len().min(5)]);
}

/// Counts changes of standing for reads, from the second one of each region: the first says that it
/// was heard.
async fn count_changes(mut view: Published<View>, changes: Rc<Cell<u32>>) {
    let mut known: HashMap<RegionId, Standing> = HashMap::new();
    loop {
        for row in view.load().table.rows() {
            let before = known.insert(row.region.clone(), row.reads.standing);
            if before.is_some_and(|before| before != Standing::Unknown && before != row.reads.standing) {
                changes.set(changes.get() + 1);
            }
        }
        view.changed().await;
    }
}
