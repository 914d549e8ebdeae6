//! What every worker reads, and the one task that keeps it fresh.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::Notify;

use super::rhythm::Rhythm;
use super::{Chain, ChainFault, Lease, Row, Source};
use crate::chance::Coin;
use crate::clock::{Clock, Moment};
use crate::names::{CredentialId, RegionId};
use crate::sigv4::Credential;
use crate::units::UnixSeconds;

/// One fetch, all sources of the chain tried: IMDS alone may take ten seconds to give up.
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);
/// Nobody hurries the chain more often than this.
const HURRY_PAUSE: Duration = Duration::from_secs(5);
/// The longest sleep: the wall clock, which leases die by, may be set while we sleep.
const SLEEP_MAX: Duration = Duration::from_mins(1);

/// Current credentials by (region, credential). Cheap to clone; reading takes no lock and never
/// waits.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
    clock: Clock,
}

#[derive(Debug)]
struct Shared {
    rows: ArcSwap<HashMap<RegionId, Vec<(CredentialId, Source)>>>,
    lease: ArcSwapOption<Lease>,
    fault: ArcSwapOption<ChainFault>,
    /// A row with [`Source::Chain`] appeared, or somebody is in a hurry.
    wake: Notify,
}

/// How the chain is doing: for metrics and the status page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainState {
    /// When what it last gave dies; `None` where it gave nothing yet, or something unexpiring.
    pub expires: Option<UnixSeconds>,
    /// Whether there is something to sign with now.
    pub usable: bool,
    /// Why the last fetch failed; `None` after a good one.
    pub fault: Option<ChainFault>,
}

impl Store {
    /// A store of `rows`. Those of the chain stay empty until [`keep_fresh`] has fetched.
    #[must_use]
    pub fn new(rows: Vec<Row>, clock: Clock) -> Self {
        let shared = Shared {
            rows: ArcSwap::from_pointee(by_region(rows)),
            lease: ArcSwapOption::empty(),
            fault: ArcSwapOption::empty(),
            wake: Notify::new(),
        };
        Self { shared: Arc::new(shared), clock }
    }

    /// Replaces all rows (a reload). What the chain gave stays.
    pub fn replace(&self, rows: Vec<Row>) {
        self.shared.rows.store(Arc::new(by_region(rows)));
        self.shared.wake.notify_one();
    }

    /// What to sign with now; `None` where nothing is configured, nothing was fetched yet, or
    /// what was fetched has expired.
    #[must_use]
    pub fn current(&self, region: &RegionId, credential: &CredentialId) -> Option<Arc<Credential>> {
        let rows = self.shared.rows.load();
        let (_, source) = rows.get(region)?.iter().find(|(id, _)| id == credential)?;
        match source {
            Source::Static(credential) => Some(Arc::clone(credential)),
            Source::Chain => self.living_lease().map(|lease| Arc::clone(&lease.credential)),
        }
    }

    /// Asks for a new lease soon: a store has called ours expired.
    pub fn hurry(&self) {
        self.shared.wake.notify_one();
    }

    /// How the chain is doing; `None` where no row uses it.
    #[must_use]
    pub fn chain_state(&self) -> Option<ChainState> {
        self.uses_chain().then(|| ChainState {
            expires: self.shared.lease.load_full().and_then(|lease| lease.expires),
            usable: self.living_lease().is_some(),
            fault: self.shared.fault.load_full().map(|fault| (*fault).clone()),
        })
    }

    fn uses_chain(&self) -> bool {
        self.shared.rows.load().values().flatten().any(|(_, source)| matches!(source, Source::Chain))
    }

    fn living_lease(&self) -> Option<Arc<Lease>> {
        let lease = self.shared.lease.load_full()?;
        let lives = lease.expires.is_none_or(|expires| self.clock.now().wall < expires);
        lives.then_some(lease)
    }
}

fn by_region(rows: Vec<Row>) -> HashMap<RegionId, Vec<(CredentialId, Source)>> {
    let mut by_region: HashMap<_, Vec<_>> = HashMap::new();
    for row in rows {
        by_region.entry(row.region).or_default().push((row.credential, row.source));
    }
    by_region
}

/// Keeps the rows of the chain fresh. Never ends; asks nobody while no row uses the chain.
pub async fn keep_fresh(store: Store, mut chain: impl Chain, coin: Coin) {
    let mut rhythm = Rhythm::new(coin);
    loop {
        while !store.uses_chain() {
            store.shared.wake.notified().await;
        }
        let fetched = tokio::time::timeout(FETCH_TIMEOUT, chain.fetch())
            .await
            .unwrap_or_else(|_| Err(ChainFault(format!("no answer within {} s", FETCH_TIMEOUT.as_secs()))));
        let now = store.clock.now();
        let pause = match fetched.and_then(|lease| living(lease, now)) {
            Ok(lease) => take(&store, &mut rhythm, lease, now),
            Err(fault) => keep(&store, &mut rhythm, fault),
        };
        wait(&store, now, pause).await;
    }
}

/// A source that hands out the dead is no better than one that hands out nothing.
fn living(lease: Lease, now: Moment) -> Result<Lease, ChainFault> {
    match lease.expires {
        Some(expires) if expires <= now.wall => Err(ChainFault("it had expired already".to_owned())),
        _ => Ok(lease),
    }
}

fn take(store: &Store, rhythm: &mut Rhythm, lease: Lease, now: Moment) -> Duration {
    let pause = rhythm.after_lease(lease.expires, now.wall);
    let access_key_id = &lease.credential.access_key_id;
    let expires = lease.expires.map(|at| at.0);
    let known = store.shared.lease.load();
    if known.as_ref().is_none_or(|known| known.credential.access_key_id != *access_key_id) {
        tracing::info!(%access_key_id, expires, "credentials of the chain");
    }
    store.shared.lease.store(Some(Arc::new(lease)));
    store.shared.fault.store(None);
    pause
}

fn keep(store: &Store, rhythm: &mut Rhythm, fault: ChainFault) -> Duration {
    let pause = rhythm.after_failure();
    let retry_s = pause.as_secs();
    if store.living_lease().is_some() {
        tracing::warn!(%fault, retry_s, "credentials not renewed; the old ones are in use until they expire");
    } else {
        tracing::error!(%fault, retry_s, "no credentials: regions that need the chain get no requests");
    }
    store.shared.fault.store(Some(Arc::new(fault)));
    pause
}

/// Until `pause` has passed by either clock, or somebody is in a hurry.
async fn wait(store: &Store, since: Moment, pause: Duration) {
    let due = since.mono + pause;
    let due_wall = since.wall.0.saturating_add(i64::try_from(pause.as_secs()).unwrap_or(i64::MAX));
    let hurry_from = (since.mono + HURRY_PAUSE).min(due);
    loop {
        let now = store.clock.now();
        if now.mono >= due || now.wall.0 > due_wall {
            return;
        }
        let wake_at = due.min(now.mono + SLEEP_MAX);
        tokio::select! {
            () = tokio::time::sleep_until(wake_at.into()) => {}
            () = store.shared.wake.notified() => return sleep_until(hurry_from).await,
        }
    }
}

async fn sleep_until(at: Instant) {
    tokio::time::sleep_until(at.into()).await;
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use tokio::sync::mpsc;

    use super::*;
    use crate::names::{AccessKeyId, ClientName, Secret};

    const START: UnixSeconds = UnixSeconds(1_800_000_000);

    fn pair(id: &str) -> Arc<Credential> {
        Arc::new(Credential {
            access_key_id: AccessKeyId::new(id),
            secret: Secret::from("secret"),
            session_token: None,
        })
    }

    #[expect(clippy::unnecessary_wraps, reason = "stands beside failures in lists")]
    fn lease(id: &str, life_s: i64) -> Result<Lease, ChainFault> {
        Ok(Lease { credential: pair(id), expires: Some(UnixSeconds(START.0 + life_s)) })
    }

    fn row(region: &str, credential: CredentialId, source: Source) -> Row {
        Row { region: RegionId::new(region), credential, source }
    }

    fn in_use(store: &Store, region: &str) -> Option<String> {
        let credential = store.current(&RegionId::new(region), &CredentialId::Region)?;
        Some(credential.access_key_id.to_string())
    }

    /// Gives the next of a list, then fails for ever; tells when it was asked.
    struct Script {
        leases: VecDeque<Result<Lease, ChainFault>>,
        asked: mpsc::UnboundedSender<()>,
    }

    impl Chain for Script {
        async fn fetch(&mut self) -> Result<Lease, ChainFault> {
            self.asked.send(()).unwrap();
            self.leases.pop_front().unwrap_or_else(|| Err(ChainFault("gone".to_owned())))
        }
    }

    /// A store with one row of the chain, and word of each fetch.
    fn running(
        rows: Vec<Row>,
        leases: impl IntoIterator<Item = Result<Lease, ChainFault>>,
    ) -> (Store, mpsc::UnboundedReceiver<()>) {
        let (asked, word) = mpsc::unbounded_channel();
        let store = Store::new(rows, Clock::anchored(START));
        let script = Script { leases: leases.into_iter().collect(), asked };
        tokio::spawn(keep_fresh(store.clone(), script, Coin::seeded(7)));
        (store, word)
    }

    fn chain_row() -> Vec<Row> {
        vec![row("eu", CredentialId::Region, Source::Chain)]
    }

    async fn advance(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    #[test]
    fn each_region_and_client_has_its_own() {
        let client = CredentialId::Client(ClientName::new("a"));
        let store = Store::new(
            vec![
                row("eu", CredentialId::Region, Source::Static(pair("EU"))),
                row("eu", client.clone(), Source::Static(pair("A"))),
                row("us", CredentialId::Region, Source::Chain),
            ],
            Clock::system(),
        );
        assert_eq!(in_use(&store, "eu").as_deref(), Some("EU"));
        let of_client = store.current(&RegionId::new("eu"), &client).unwrap();
        assert_eq!(of_client.access_key_id.as_str(), "A");
        assert!(store.current(&RegionId::new("us"), &client).is_none());
        assert_eq!(in_use(&store, "us"), None, "nothing fetched yet");
        store.replace(vec![row("us", CredentialId::Region, Source::Static(pair("US")))]);
        assert_eq!((in_use(&store, "eu"), in_use(&store, "us").as_deref()), (None, Some("US")));
        assert_eq!(store.chain_state(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_renewed_at_half_its_life() {
        let (store, mut word) = running(chain_row(), [lease("ONE", 3600), lease("TWO", 7200)]);
        word.recv().await.unwrap();
        advance(1).await;
        assert_eq!(in_use(&store, "eu").as_deref(), Some("ONE"));
        let began = store.clock.mono();
        word.recv().await.unwrap();
        let half = (store.clock.mono() - began).as_secs();
        assert!((1430..=1800).contains(&half), "{half}");
        advance(1).await;
        assert_eq!(in_use(&store, "eu").as_deref(), Some("TWO"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_used_until_it_expires_and_only_then_missed() {
        let (store, _word) = running(chain_row(), [lease("ONE", 600)]);
        advance(599).await;
        assert_eq!(in_use(&store, "eu").as_deref(), Some("ONE"));
        let state = store.chain_state().unwrap();
        assert!(state.usable && state.fault.is_some(), "{state:?}");
        assert_eq!(state.expires, Some(UnixSeconds(START.0 + 600)));
        advance(1).await;
        assert_eq!(in_use(&store, "eu"), None);
        assert!(!store.chain_state().unwrap().usable);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_retried_with_growing_pauses() {
        let failing = || Err(ChainFault("not yet".to_owned()));
        let leases = [failing(), failing(), failing(), lease("ONE", 3600)];
        let (store, mut word) = running(chain_row(), leases);
        let mut pauses = Vec::new();
        word.recv().await.unwrap();
        for _ in 0..3 {
            let began = store.clock.mono();
            word.recv().await.unwrap();
            pauses.push((store.clock.mono() - began).as_secs_f64());
        }
        for (pause, limit) in pauses.iter().zip([1.0, 2.0, 4.0]) {
            assert!(*pause <= limit && *pause >= 0.79 * limit, "{pauses:?}");
        }
        advance(1).await;
        assert_eq!(in_use(&store, "eu").as_deref(), Some("ONE"));
        assert_eq!(store.chain_state().unwrap().fault, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_lease_is_a_failure() {
        let (store, mut word) = running(chain_row(), [lease("ONE", -1)]);
        word.recv().await.unwrap();
        advance(0).await;
        assert_eq!(in_use(&store, "eu"), None);
        assert!(store.chain_state().unwrap().fault.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn the_chain_is_left_alone_until_a_reload_needs_it() {
        let (store, mut word) = running(Vec::new(), [lease("ONE", 3600)]);
        advance(3600 * 24 * 365).await;
        assert!(word.try_recv().is_err());
        store.replace(chain_row());
        word.recv().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_hurries_is_heard_but_not_too_often() {
        let (store, mut word) = running(chain_row(), [lease("ONE", 36_000), lease("TWO", 36_000)]);
        word.recv().await.unwrap();
        let began = store.clock.mono();
        for _ in 0..100 {
            store.hurry();
        }
        word.recv().await.unwrap();
        assert_eq!(store.clock.mono() - began, HURRY_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_chain_that_hangs_does_not_hang_us() {
        struct Hangs(mpsc::UnboundedSender<()>);
        impl Chain for Hangs {
            async fn fetch(&mut self) -> Result<Lease, ChainFault> {
                self.0.send(()).unwrap();
                std::future::pending().await
            }
        }
        let (asked, mut word) = mpsc::unbounded_channel();
        let store = Store::new(chain_row(), Clock::anchored(START));
        tokio::spawn(keep_fresh(store.clone(), Hangs(asked), Coin::seeded(7)));
        word.recv().await.unwrap();
        word.recv().await.unwrap();
        assert!(store.chain_state().unwrap().fault.unwrap().0.contains("30 s"));
    }
}
