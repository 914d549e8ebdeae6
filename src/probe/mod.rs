//! Asking regions how they are, on the road that traffic takes: same names, sockets, TLS and
//! signatures. A door, over a pure schedule and a pure verdict.
//!
//! A *probe* judges reachability only: any answer below 500 is alive, so that it needs no set-up
//! and no permission. A *canary* settles who is to blame for a refusal: the credential, the
//! configuration, or nobody (`rulings.md` §1). Neither changes a standing: they report, `fleet`
//! decides. A *write probe* (opt-in) judges writes, and measures how far behind other regions are.

pub mod canary;
pub mod check;
pub mod schedule;
pub mod survey;
pub mod verdict;
pub mod write;
pub mod written;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

pub use canary::{Canaries, Judged, Question};
pub use check::{Alive, CheckFault, Line, Site, canary, probe};
pub use verdict::CanaryVerdict;
pub use write::{Follower, WriteTarget, Wrote};

use crate::chance::Coin;
use crate::clock::Clock;
use crate::credentials::Store;
use crate::dns::Resolver;
use crate::exchange::meters::Meters;
use crate::exchange::tls::TlsClient;
use crate::fleet::{Pace, ProbeFault};
use crate::names::{BucketName, CredentialId, RegionId};
use crate::route::Meaning;
use crate::view::RegionSettings;
use schedule::Schedule;

/// One region to be probed.
#[derive(Clone, Debug)]
pub struct ProbeTarget {
    /// Its name.
    pub region: RegionId,
    /// Where it is, and how to sign for it.
    pub site: Site,
    /// The bucket probed; `None` where only `"*"` uses the region: then its root is asked.
    pub bucket: Option<BucketName>,
    /// The key probed, as it is named (not encoded); need not exist.
    pub key: String,
    /// Between two probes while all is well.
    pub interval: Duration,
    /// How it is written to, where it is.
    pub write: Option<WriteTarget>,
}

impl ProbeTarget {
    /// How the configuration wants a region probed; `tls` is that of its `https` endpoint,
    /// `followers` where what is written there should turn up.
    #[must_use]
    pub fn new(region: &RegionSettings, tls: Option<TlsClient>, followers: Vec<Follower>) -> Self {
        let key = written::key(&region.probe.key, &region.id);
        let write = region.probe.write.map(|interval| WriteTarget { interval, key, followers });
        Self {
            region: region.id.clone(),
            site: Site::new(region, tls),
            bucket: region.probe.bucket.clone(),
            key: region.probe.key.clone(),
            interval: region.probe.interval,
            write,
        }
    }
}

/// What probes use.
#[derive(Clone, Debug)]
pub struct Tools {
    /// Names to addresses.
    pub resolver: Resolver,
    /// What to sign with.
    pub credentials: Store,
    /// What is known of the regions' addresses, clocks and certificates.
    pub meters: Arc<Meters>,
    /// Time.
    pub clock: Clock,
}

/// The fleet, as seen from here. Each region's task has its own clone.
pub trait Outlook: Clone + Send + Sync + 'static {
    /// How soon a region is to be asked again.
    fn pace(&self, region: &RegionId) -> Pace;
    /// When traffic (or a probe) last had an answer of it.
    fn last_answer(&self, region: &RegionId) -> Option<Instant>;
    /// Waits until either of the two may have changed.
    fn changed(&mut self) -> impl Future<Output = ()> + Send;
    /// Takes in what a probe saw: time to first byte, or why there was none.
    fn probed(&self, region: &RegionId, alive: Result<Duration, ProbeFault>);
    /// Takes in what a write probe came to.
    fn wrote(&self, region: &RegionId, wrote: &Wrote);
    /// Takes in how far behind a region is.
    fn lagged(&self, from: &RegionId, to: &RegionId, lag: Duration);
    /// Takes in that a probe could not be sent, for want of something of ours.
    fn unsent(&self, region: &RegionId);
}

/// Probes all of `targets`, each in its own task on the current runtime, for as long as the
/// future lives: drop it and run another when the configuration changes. Never ends by itself.
pub async fn run(targets: Vec<ProbeTarget>, tools: Tools, outlook: impl Outlook, mut coin: Coin) {
    let mut tasks = JoinSet::new();
    for target in targets {
        tasks.spawn(write::watch(target.clone(), tools.clone(), outlook.clone(), coin.fork()));
        tasks.spawn(watch(target, tools.clone(), outlook.clone(), coin.fork()));
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a probe's task died");
        }
    }
    std::future::pending::<()>().await;
}

async fn watch(target: ProbeTarget, tools: Tools, mut outlook: impl Outlook, mut coin: Coin) {
    let mut schedule = Schedule::new(target.interval);
    let mut line = Line::closed();
    loop {
        wait_until_due(&target.region, &schedule, &mut outlook, tools.clock).await;
        let credential = tools.credentials.current(&target.region, &CredentialId::Region);
        let began = tools.clock.mono();
        let deadline = began + schedule.timeout();
        let result = probe(&mut line, &target, credential.as_deref(), &tools, deadline).await;
        let ended = tools.clock.mono();
        if let Err(fault) = &result {
            tracing::debug!(region = %target.region, %fault, "a probe failed");
        }
        let Some(alive) = judged(&result) else {
            schedule.put_off(ended, &mut coin);
            outlook.unsent(&target.region);
            continue;
        };
        schedule.ended(ended, alive.is_ok().then(|| ended.saturating_duration_since(began)), &mut coin);
        outlook.probed(&target.region, alive);
    }
}

async fn wait_until_due(region: &RegionId, schedule: &Schedule, outlook: &mut impl Outlook, clock: Clock) {
    loop {
        let now = clock.mono();
        let due = schedule.due(outlook.pace(region), outlook.last_answer(region), now);
        if due <= now {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep_until(due.into()) => {}
            () = outlook.changed() => {}
        }
    }
}

/// A server error says that something answers, and that it does not work; one that asks for less says that
/// it does. `None` where the region was not asked.
fn judged(result: &Result<Alive, CheckFault>) -> Option<Result<Duration, ProbeFault>> {
    Some(match result {
        Ok(alive) if alive.meaning == Meaning::ServerFault => Err(ProbeFault::ServerError(alive.status)),
        Ok(alive) => Ok(alive.ttfb),
        Err(fault) => Err(ProbeFault::Never(fault.never()?)),
    })
}

#[cfg(test)]
mod tests {
    use tokio::sync::{mpsc, watch};

    use super::*;
    use crate::credentials::stand_in::{Reply, Request, Server};
    use crate::fleet::Never;
    use crate::s3::profile::Addressing;
    use crate::view::Endpoint;

    type Seen = (String, Result<Duration, ProbeFault>);

    /// A fleet that only listens; its pace is set from outside.
    #[derive(Clone)]
    struct Listening {
        pace: watch::Receiver<Pace>,
        heard: mpsc::UnboundedSender<Seen>,
    }

    impl Outlook for Listening {
        fn pace(&self, _region: &RegionId) -> Pace {
            *self.pace.borrow()
        }

        fn last_answer(&self, _region: &RegionId) -> Option<Instant> {
            None
        }

        async fn changed(&mut self) {
            self.pace.changed().await.unwrap();
        }

        fn probed(&self, region: &RegionId, alive: Result<Duration, ProbeFault>) {
            // nobody hears once the test is over
            let _over = self.heard.send((region.to_string(), alive));
        }

        fn wrote(&self, _region: &RegionId, _wrote: &Wrote) {}

        fn lagged(&self, _from: &RegionId, _to: &RegionId, _lag: Duration) {}

        fn unsent(&self, _region: &RegionId) {}
    }

    fn target(region: &str, port: u16, interval: Duration) -> ProbeTarget {
        let endpoint = Endpoint { tls: false, host: "localhost".to_owned(), port, base_path: String::new() };
        let site = Site {
            region: RegionId::new(region),
            endpoint,
            tls: None,
            signing_region: region.to_owned(),
            addressing: Addressing::Path,
        };
        let bucket = Some(BucketName::new("photos"));
        ProbeTarget {
            region: RegionId::new(region),
            site,
            bucket,
            key: "k".to_owned(),
            interval,
            write: None,
        }
    }

    struct Running {
        pace: watch::Sender<Pace>,
        heard: mpsc::UnboundedReceiver<Seen>,
        /// The probes live as long as it.
        tasks: JoinSet<()>,
    }

    impl Running {
        async fn hears(&mut self) {
            assert!(self.heard.recv().await.unwrap().1.is_ok());
        }
    }

    fn start(targets: Vec<ProbeTarget>) -> Running {
        let clock = Clock::system();
        let credentials = Store::new(Vec::new(), clock);
        let meters = Arc::new(Meters::new(clock.mono(), Coin::seeded(1)));
        let tools = Tools { resolver: Resolver::system(clock), credentials, meters, clock };
        let (pace, paced) = watch::channel(Pace::Normal);
        let (sender, heard) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        let outlook = Listening { pace: paced, heard: sender };
        tasks.spawn(run(targets, tools, outlook, Coin::seeded(5)));
        Running { pace, heard, tasks }
    }

    #[tokio::test]
    async fn each_region_is_told_of_as_it_is() {
        let alive = Server::start(|_: &Request| Reply::status(404)).await;
        let broken = Server::start(|_: &Request| Reply::status(503)).await;
        let nobody = tokio::net::TcpSocket::new_v4().unwrap();
        nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let hour = Duration::from_hours(1);
        let mut running = start(vec![
            target("alive", alive.address().port(), hour),
            target("broken", broken.address().port(), hour),
            target("dead", nobody.local_addr().unwrap().port(), hour),
        ]);
        for _ in 0..3 {
            let (region, seen) = running.heard.recv().await.unwrap();
            match region.as_str() {
                "alive" => assert!(seen.is_ok(), "{seen:?}"),
                "broken" => assert_eq!(seen, Err(ProbeFault::ServerError(503))),
                _ => assert_eq!(seen, Err(ProbeFault::Never(Never::Refused))),
            }
        }
        assert!(running.heard.try_recv().is_err(), "each once, the next in an hour");
    }

    #[tokio::test]
    async fn a_change_of_pace_wakes_who_sleeps() {
        let server = Server::start(|_: &Request| Reply::status(200)).await;
        let port = server.address().port();
        let mut running = start(vec![target("eu", port, Duration::from_hours(1))]);
        running.hears().await;
        running.pace.send(Pace::Fast(Duration::from_millis(1))).unwrap();
        for _ in 0..5 {
            running.hears().await;
        }
        assert!(server.seen().iter().all(|request| request.connection == 0));
    }

    #[tokio::test]
    async fn probes_end_with_the_future_that_runs_them() {
        let server = Server::start(|_: &Request| Reply::status(200)).await;
        let port = server.address().port();
        let mut running = start(vec![target("eu", port, Duration::from_millis(1))]);
        running.hears().await;
        drop(running.tasks);
        // ends only when the last task, and its clone of the fleet, is gone
        while running.heard.recv().await.is_some() {}
    }
}
