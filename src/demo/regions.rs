//! Embedded S3 regions: `s3s-fs` stores in folders, each behind a door that adds
//! its distance, can be shut like a process that dies, and tells the replicator what changed. A door.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::sync::{OwnedMutexGuard, mpsc, oneshot};

use super::door::{self, Command};
use super::{DemoRegion, Fault};
use crate::clock::Clock;
use crate::head::Head;
use crate::names::{BucketName, ExposeSecret, RegionId};
use crate::s3::query;
use crate::sigv4::{Credential, Destination, KeyCache, PathForm, PayloadMark, sign};

/// A region as it is planned.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Its name.
    pub id: &'static str,
    /// What AWS calls the place.
    pub signing_region: &'static str,
    /// Its distance: added to each connection and each answer.
    pub latency: Duration,
}

/// The demo's three regions, nearest first. The distances are those of real places from Frankfurt,
/// halved, so that three of them are told apart and nobody waits.
pub const PLANS: [Plan; 3] = [
    Plan { id: "frankfurt", signing_region: "eu-central-1", latency: Duration::from_millis(2) },
    Plan { id: "virginia", signing_region: "us-east-1", latency: Duration::from_millis(45) },
    Plan { id: "singapore", signing_region: "ap-southeast-1", latency: Duration::from_millis(80) },
];

/// A key was written or deleted in a region, by a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The region's place in the list.
    pub region: usize,
    /// The key.
    pub key: String,
}

/// Where all regions tell what changed, and what orders their changes: a state of a key that was
/// committed later, wherever, has a greater mark.
#[derive(Clone, Debug)]
pub struct Journal {
    changes: mpsc::Sender<Change>,
    commits: Arc<AtomicU64>,
}

/// Changes that wait for the replicator to note them; above this, writers wait.
const CHANGES_MAX: usize = 1024;

impl Journal {
    /// An empty journal, and its reading end for a replicator.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Change>) {
        let (changes, read) = mpsc::channel(CHANGES_MAX);
        (Self { changes, commits: Arc::default() }, read)
    }

    /// Greater than all before; never 0, which is no state.
    fn next_mark(&self) -> u64 {
        self.commits.fetch_add(1, Ordering::SeqCst) + 1
    }
}

/// The region is dead: nothing answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the region is down")]
pub struct Down;

/// Which state of a key a region holds: 0 is none, later states have greater numbers.
#[derive(Debug, Default)]
struct KeyState {
    mark: AtomicU64,
    /// Held while the key is being changed, so that a mark always belongs to what is stored.
    changing: Arc<tokio::sync::Mutex<()>>,
}

/// What region and door share.
pub(super) struct Shared {
    place: usize,
    pub(super) id: RegionId,
    pub(super) latency: Duration,
    address: SocketAddr,
    signing_region: String,
    bucket: BucketName,
    credential: Credential,
    pub(super) service: S3Service,
    alive: AtomicBool,
    served: AtomicU64,
    /// One entry a key ever touched: the demo's own keys and what is pasted into a shell.
    keys: Mutex<HashMap<String, Arc<KeyState>>>,
    journal: Journal,
    clock: Clock,
}

impl Shared {
    /// Whether a request is for the region's bucket of the access point.
    pub(super) fn owns(&self, bucket: &str) -> bool {
        self.bucket.as_str() == bucket
    }

    pub(super) fn set_alive(&self, alive: bool) {
        self.alive.store(alive, Ordering::SeqCst);
    }

    pub(super) fn count_served(&self) {
        self.served.fetch_add(1, Ordering::Relaxed);
    }

    fn state(&self, key: &str) -> Arc<KeyState> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(keys.entry(key.to_owned()).or_default())
    }

    /// Waits for its turn to change a key.
    pub(super) async fn changing(&self, key: &str) -> OwnedMutexGuard<()> {
        Arc::clone(&self.state(key).changing).lock_owned().await
    }

    /// A client changed a key: a new state, to be carried to the others.
    pub(super) async fn changed(&self, key: &str) {
        self.state(key).mark.store(self.journal.next_mark(), Ordering::SeqCst);
        let change = Change { region: self.place, key: key.to_owned() };
        // without a replicator nothing is carried
        self.journal.changes.send(change).await.unwrap_or_default();
    }
}

/// A running region. Dropping it ends it.
pub struct Region {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
}

impl Region {
    /// Starts a region with an empty bucket on a free loopback port; it keeps its objects below
    /// `folder`. `place` is its place in the list of regions, told with every change to the
    /// `journal` that all regions share.
    ///
    /// # Errors
    /// [`Fault::Machine`] without folder or socket, [`Fault::Store`] where the store refuses.
    pub async fn start(
        plan: &Plan,
        place: usize,
        credential: Credential,
        folder: &Path,
        journal: Journal,
    ) -> Result<Self, Fault> {
        let bucket = BucketName::new(&format!("photos-{}", plan.id));
        let folder = folder.join(plan.id);
        let made = tokio::fs::create_dir_all(folder.join(bucket.as_str())).await;
        made.map_err(Fault::machine("making a folder for a region"))?;
        let port = door::Port::open().map_err(Fault::machine("binding a port for a region"))?;
        let shared = Arc::new(Shared {
            place,
            id: RegionId::new(plan.id),
            latency: plan.latency,
            address: port.address,
            signing_region: plan.signing_region.to_owned(),
            bucket,
            service: store(&folder, &credential)?,
            credential,
            alive: AtomicBool::new(true),
            served: AtomicU64::new(0),
            keys: Mutex::new(HashMap::new()),
            journal,
            clock: Clock::system(),
        });
        let (commands, inbox) = mpsc::channel(8);
        tokio::spawn(door::keep(Arc::clone(&shared), port, inbox));
        Ok(Self { shared, commands })
    }

    /// As the gateway must know it.
    #[must_use]
    pub fn facts(&self) -> DemoRegion {
        DemoRegion {
            id: self.shared.id.clone(),
            address: self.shared.address,
            signing_region: self.shared.signing_region.clone(),
            bucket: self.shared.bucket.clone(),
            credential: self.shared.credential.clone(),
            latency: self.shared.latency,
        }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &RegionId {
        &self.shared.id
    }

    /// Whether it listens.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.shared.alive.load(Ordering::SeqCst)
    }

    /// Requests answered since the start; probes and replication are not counted.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.shared.served.load(Ordering::Relaxed)
    }

    /// As `kill -9`: once this returns, the port refuses and every open connection is reset.
    pub async fn kill(&self) {
        self.command(Command::Kill).await;
    }

    /// Listens again on the same port.
    pub async fn revive(&self) {
        self.command(Command::Revive).await;
    }

    async fn command(&self, command: impl FnOnce(oneshot::Sender<()>) -> Command) {
        let (done, wait) = oneshot::channel();
        if self.commands.send(command(done)).await.is_ok() {
            // a door that is gone has closed everything already
            wait.await.unwrap_or_default();
        }
    }

    /// Writes an object as a client would: the replicator carries it on.
    ///
    /// # Errors
    /// [`Down`] while the region is dead.
    pub async fn put(&self, key: &str, body: Vec<u8>) -> Result<(), Down> {
        let _turn = self.shared.changing(key).await;
        let length = body.len().to_string();
        let reply = self.call(Method::PUT, key, &[("content-length", &length)], body.into()).await?;
        if reply.status().is_success() {
            self.shared.changed(key).await;
        }
        Ok(())
    }

    /// Asks the store behind the door, signed, without its distance: the replicator's road.
    ///
    /// # Errors
    /// [`Down`] while the region is dead.
    pub async fn call(
        &self,
        method: Method,
        key: &str,
        headers: &[(&str, &str)],
        body: s3s::Body,
    ) -> Result<s3s::HttpResponse, Down> {
        if !self.is_alive() {
            return Err(Down);
        }
        let mut target = format!("/{}/", self.shared.bucket);
        query::encode_into(key.as_bytes(), b"/", &mut target);
        let mut head = Head::new(method, &target);
        head.push("host", self.shared.address.to_string().as_bytes());
        for (name, value) in headers {
            head.push(name, value.as_bytes());
        }
        let now = self.shared.clock.now().wall;
        let region = &self.shared.signing_region;
        sign(
            &mut head,
            &self.shared.credential,
            &Destination { region, path: PathForm::Raw },
            now,
            &PayloadMark::Unsigned,
            &mut KeyCache::new(),
        );
        let request = wire_request(&head, body).ok_or(Down)?;
        let reply = self.shared.service.call(request).await.map_err(|_| Down)?;
        if self.is_alive() { Ok(reply) } else { Err(Down) }
    }

    /// A client changed a key behind the door's back.
    #[cfg(test)]
    pub(super) async fn told(&self, key: &str) {
        self.shared.changed(key).await;
    }

    /// Whether the region holds the state `mark` of a key, or a later one.
    pub(super) fn mark(&self, key: &str) -> u64 {
        self.shared.state(key).mark.load(Ordering::SeqCst)
    }

    /// The replicator brought a state of a key. Only while its turn is held.
    pub(super) fn set_mark(&self, key: &str, mark: u64) {
        self.shared.state(key).mark.store(mark, Ordering::SeqCst);
    }

    /// The turn to change a key, if nobody has it.
    pub(super) fn try_changing(&self, key: &str) -> Option<OwnedMutexGuard<()>> {
        Arc::clone(&self.shared.state(key).changing).try_lock_owned().ok()
    }
}

/// A head as hyper's and `s3s`'s request; `None` where it holds what HTTP cannot.
pub(super) fn wire_request<B>(head: &Head, body: B) -> Option<http::Request<B>> {
    let mut request = http::Request::builder().method(head.method().clone()).uri(head.target());
    for field in head.fields() {
        request = request.header(field.name, field.value);
    }
    request.body(body).ok()
}

fn store(folder: &Path, credential: &Credential) -> Result<S3Service, Fault> {
    let files = s3s_fs::FileSystem::new(folder).map_err(|fault| Fault::Store(format!("{fault:?}")))?;
    let mut builder = S3ServiceBuilder::new(files);
    let secret = credential.secret.expose_secret();
    builder.set_auth(SimpleAuth::from_single(credential.access_key_id.as_str(), secret));
    Ok(builder.build())
}

impl std::fmt::Debug for Region {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Region").field("id", &self.shared.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "regions_tests.rs"]
mod tests;
