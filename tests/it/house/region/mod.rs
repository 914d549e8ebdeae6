//! A scripted S3 region in this process: it verifies, stores, records, and misbehaves on demand.
//!
//! It runs on a thread of its own, so that no test's runtime (paused or busy) holds it up.

mod answer;
mod asymmetric;
mod fault;
mod frames;
mod judge;
mod listing;
mod log;
mod serve;
mod store;
mod wire;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedSender;

pub use self::fault::{Act, End, When};
pub use self::frames::{chunk_signature, trailer_signature};
pub use self::judge::{Seed, rules};
pub use self::store::{Change, Object};
pub use self::wire::Reply;

use self::fault::Faults;
use self::serve::Command;
use self::store::Store;
use super::moment;

/// How long waits of tests may take before they fail.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Keys of probes and canaries begin with this; they are no traffic.
const PROBES: &str = ".nearpoint/";

/// Whether a key is a probe's.
pub fn is_probe(key: &str) -> bool {
    key.starts_with(PROBES)
}

/// Who a region is and whom it lets in.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name in tests, ids and tokens.
    pub name: String,
    /// The region that scopes must name; `*`: it is in several, and takes SigV4A for all.
    pub signing_region: String,
    pub access_key_id: String,
    pub secret: String,
    /// Where set, required and compared.
    pub session_token: Option<String>,
    pub buckets: Vec<String>,
    /// Keeps every version.
    pub versioned: bool,
    /// Methods that it lets through unsigned.
    pub anonymous: &'static [&'static str],
    /// Hosts `BUCKET.domain` are virtual-hosted.
    pub domain: Option<String>,
    /// Seconds by which its clock is ahead of this machine's.
    pub clock_ahead: i64,
    /// Where it listens; port 0 is the kernel's choice.
    pub listen: SocketAddr,
    /// The folder it keeps everything in; `None`: it forgets everything with its end.
    pub home: Option<PathBuf>,
    /// Requests that it remembers for [`Region::seen`]; those before are forgotten.
    pub remembered: usize,
    /// What it answers to `GET` of a sub-resource (`policy`), of buckets and objects alike.
    pub documents: Vec<(&'static str, String)>,
    /// Request headers that it does not look at, though it verifies their signature (`if-match`); with
    /// `aws-chunked`, frames are part of the object; with `x-amz-tagging-count`, tags are not counted in heads.
    pub ignores: Vec<&'static str>,
    /// Request headers and sub-resources that it answers with `501`.
    pub refuses: Vec<&'static str>,
    /// Most buckets in a page of `ListBuckets`, whatever is asked; `None`: as many as are asked for.
    pub bucket_page: Option<usize>,
    /// What stands for a space in listings with `encoding-type=url`: `+`, or `%20`.
    pub space: &'static str,
    /// An object that comes without a checksum is given a CRC64-NVME of the whole, as S3 does.
    pub sums_whole: bool,
}

impl Settings {
    /// A region with keys and a signing region of its own.
    pub fn new(name: &str, buckets: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            signing_region: format!("{name}-1"),
            access_key_id: format!("AKID{}", name.to_ascii_uppercase()),
            secret: format!("upstream-secret-of-{name}"),
            session_token: None,
            buckets: buckets.iter().map(|&bucket| bucket.to_owned()).collect(),
            versioned: false,
            anonymous: &[],
            domain: None,
            clock_ahead: 0,
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            home: None,
            remembered: usize::MAX,
            documents: Vec::new(),
            ignores: Vec::new(),
            refuses: Vec::new(),
            bucket_page: None,
            space: "+",
            sums_whole: false,
        }
    }
}

/// A refusal by the region: S3's error document.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub status: u16,
    pub code: &'static str,
    message: String,
    extra: Vec<(&'static str, String)>,
    headers: Vec<(String, String)>,
}

impl Refusal {
    fn new(status: u16, code: &'static str, message: &str) -> Self {
        Self { status, code, message: message.to_owned(), extra: Vec::new(), headers: Vec::new() }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.extra.push((name, value.to_owned()));
        self
    }

    fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn reply(&self) -> Reply {
        let mut inner = format!(
            "<Code>{}</Code><Message>{}</Message><RequestId>REGION</RequestId>",
            self.code,
            crate::house::text::escaped(&self.message)
        );
        for (name, value) in &self.extra {
            inner.push_str(&format!("<{name}>{}</{name}>", crate::house::text::escaped(value)));
        }
        let mut reply = Reply::new(self.status);
        reply.headers.clone_from(&self.headers);
        if self.status == 304 { reply } else { reply.xml("Error", &inner) }
    }
}

/// A request that a region saw.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    /// The raw target, byte for byte.
    pub target: String,
    /// In order, names lower-cased.
    pub headers: Vec<(String, String)>,
    /// Empty where the signature was refused or absent.
    pub signed_headers: Vec<String>,
    /// As S3 calls it.
    pub operation: &'static str,
    pub bucket: String,
    /// Decoded.
    pub key: String,
    /// The body's bytes on the wire (HTTP chunking removed); `None` until it is there whole.
    pub body: Option<Bytes>,
    /// Where the body ended early: how many bytes with a length were there by then.
    pub cut_at: Option<usize>,
    /// The status answered; `None` where nothing was answered.
    pub status: Option<u16>,
    /// The error code answered.
    pub code: Option<&'static str>,
    /// Whether `100 Continue` was sent.
    pub continued: bool,
    /// When the head was read.
    pub at: Instant,
    /// Which connection it came on, counted from 0.
    pub connection: usize,
}

impl Seen {
    /// A header's first value (lower-case name).
    pub fn header(&self, name: &str) -> Option<&str> {
        crate::house::text::header(&self.headers, name)
    }

    /// Whether a header was signed.
    pub fn signed(&self, name: &str) -> bool {
        self.signed_headers.iter().any(|have| have == name)
    }
}

/// What the handle and the serving thread share.
#[derive(Debug)]
struct State {
    settings: Settings,
    store: Store,
    faults: Faults,
    seen: Vec<Seen>,
    connections: usize,
    throttle: Option<Throttle>,
    counts: Counts,
}

/// What a region has answered since it started, probes left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub requests: u64,
    pub throttled: u64,
    pub connections: u64,
}

/// At most so many requests in each second.
#[derive(Debug)]
struct Throttle {
    per_second: usize,
    window: Instant,
    used: usize,
}

/// A running region; dropping it ends it.
#[derive(Debug)]
pub struct Region {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    commands: UnboundedSender<Command>,
    thread: Option<JoinHandle<()>>,
}

impl Region {
    /// A region with its own keys and signing region (`NAME-1`) on a free port.
    pub fn start(name: &str, buckets: &[&str]) -> Self {
        Self::start_with(Settings::new(name, buckets))
    }

    /// A region as told.
    pub fn start_with(settings: Settings) -> Self {
        let names: Vec<&str> = settings.buckets.iter().map(String::as_str).collect();
        let mut store = Store::new(&settings.name, settings.versioned, &names);
        if let Some(home) = &settings.home {
            store.keep(home);
        }
        let listen = settings.listen;
        let state = State {
            store,
            settings,
            faults: Faults::default(),
            seen: Vec::new(),
            connections: 0,
            throttle: None,
            counts: Counts::default(),
        };
        let state = Arc::new(Mutex::new(state));
        let (commands, inbox) = tokio::sync::mpsc::unbounded_channel();
        let (ready, address) = mpsc::channel();
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || serve::run(shared, listen, inbox, &ready));
        let address = address.recv_timeout(PATIENCE).expect("the region starts");
        Self { address, state, commands, thread: Some(thread) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Who it is.
    pub fn settings(&self) -> Settings {
        self.state().settings.clone()
    }

    /// Changes whom it lets in, from the next request on.
    pub fn change_settings(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.state().settings);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    // ── what it saw ──────────────────────────────────────────────────────────

    /// Every request so far, probes left out.
    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.iter().filter(|seen| !is_probe(&seen.key)).cloned().collect()
    }

    /// Every request so far.
    pub fn seen_with_probes(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    /// The one request seen, probes left out.
    pub fn seen_once(&self) -> Seen {
        let mut seen = self.seen();
        assert_eq!(seen.len(), 1, "{}: {seen:#?}", self.state().settings.name);
        seen.remove(0)
    }

    /// Forgets what it saw.
    pub fn forget(&self) {
        self.state().seen.clear();
    }

    /// Waits until a request was seen for which `wanted` holds (its head is enough).
    pub async fn wait_for(&self, wanted: impl Fn(&Seen) -> bool) -> Seen {
        let patience = tokio::time::sleep(PATIENCE);
        tokio::pin!(patience);
        loop {
            if let Some(seen) = self.state().seen.iter().find(|seen| wanted(seen)) {
                return seen.clone();
            }
            tokio::select! {
                () = &mut patience => panic!("no such request within {PATIENCE:?}"),
                () = tokio::time::sleep(Duration::from_millis(2)) => {}
            }
        }
    }

    // ── what it holds ────────────────────────────────────────────────────────

    /// A key's current object.
    pub fn object(&self, bucket: &str, key: &str) -> Option<Object> {
        let state = self.state();
        let version = state.store.bucket(state.store.index(bucket)?).current(key)?;
        version.object.as_deref().cloned()
    }

    /// Its buckets, in the order in which they were made.
    pub fn buckets(&self) -> Vec<String> {
        self.state().store.names().to_vec()
    }

    /// What a setting of a bucket was set to.
    pub fn setting(&self, bucket: &str, name: &str) -> Option<String> {
        let setting = (bucket.to_owned(), name.to_owned());
        let state = self.state();
        state.store.settings.get(&setting).map(|document| String::from_utf8_lossy(document).into_owned())
    }

    /// The keys of a bucket, in order.
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        let state = self.state();
        let index = state.store.index(bucket).expect("the bucket exists");
        state.store.bucket(index).listed().map(|(key, _)| key.to_owned()).collect()
    }

    /// How many versions a bucket has, marks of deletion among them.
    pub fn versions(&self, bucket: &str) -> usize {
        let state = self.state();
        let index = state.store.index(bucket).expect("the bucket exists");
        state.store.bucket(index).versions().count()
    }

    /// The keys of a bucket with their `ETag`s, in order: what must not change.
    pub fn contents(&self, bucket: &str) -> Vec<(String, String)> {
        let state = self.state();
        let index = state.store.index(bucket).expect("the bucket exists");
        let listed = state.store.bucket(index).listed();
        listed.map(|(key, object)| (key.to_owned(), object.etag.clone())).collect()
    }

    /// Uploads under way in a bucket: ids and how many parts each has.
    pub fn uploads(&self, bucket: &str) -> Vec<(String, usize)> {
        let state = self.state();
        let index = state.store.index(bucket).expect("the bucket exists");
        let uploads = &state.store.bucket(index).uploads;
        uploads.iter().map(|(id, upload)| (id.clone(), upload.parts.len())).collect()
    }

    /// Puts an object without a request; a replicator carries it on.
    pub fn seed(&self, bucket: &str, key: &str, body: impl Into<Bytes>) {
        let mut state = self.state();
        let index = state.store.index(bucket).expect("the bucket exists");
        state.store.put(index, key, Object::new(body.into(), Vec::new()));
    }

    /// Puts an object that is so many seconds old already.
    pub fn seed_old(&self, bucket: &str, key: &str, body: impl Into<Bytes>, seconds: i64) {
        let mut state = self.state();
        let index = state.store.index(bucket).expect("the bucket exists");
        let modified = moment::shifted(moment::now(), -seconds);
        state.store.put(index, key, Object { modified, ..Object::new(body.into(), Vec::new()) });
    }

    /// Begins so many uploads of a key without requests.
    pub fn begin_uploads(&self, bucket: &str, key: &str, count: usize) {
        let mut state = self.state();
        let index = state.store.index(bucket).expect("the bucket exists");
        for _ in 0..count {
            let id = state.store.new_id("upload");
            state.store.open_upload(index, id, store::Upload::begun(key));
        }
    }

    /// Deletes an object without a request; a replicator carries it on.
    pub fn unseed(&self, bucket: &str, key: &str) {
        let mut state = self.state();
        let index = state.store.index(bucket).expect("the bucket exists");
        state.store.delete(index, key);
    }

    /// The changes from `cursor` on, and the cursor behind them: for replicators.
    pub fn journal(&self, cursor: usize) -> (Vec<Change>, usize) {
        self.state().store.journal(cursor)
    }

    /// Forgets the changes before `cursor`: for the only replicator there is.
    pub fn forget_journal(&self, cursor: usize) {
        self.state().store.forget_journal(cursor);
    }

    /// What it has answered so far.
    pub fn counts(&self) -> Counts {
        let state = self.state();
        Counts { connections: state.connections as u64, ..state.counts }
    }

    /// Takes over another region's change, if newer: for replicators.
    pub fn replicate(&self, change: &Change) -> bool {
        self.state().store.replicate(change)
    }

    // ── what is wrong with it ────────────────────────────────────────────────

    /// Misbehaves from now on.
    pub fn fault(&self, when: When, act: Act) {
        self.state().faults.push(when, act);
    }

    /// At most so many requests a second; the rest are answered `503 SlowDown`.
    pub fn throttle(&self, per_second: Option<usize>) {
        let window = moment::mono();
        self.state().throttle = per_second.map(|per_second| Throttle { per_second, window, used: 0 });
    }

    /// Ends every fault and throttle.
    pub fn heal(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.throttle = None;
    }

    /// As `kill -9`: the port refuses, every connection is reset, when this returns.
    pub fn kill(&self) {
        self.command(Command::Kill);
    }

    /// Listens again on the same port.
    pub fn revive(&self) {
        self.command(Command::Revive);
    }

    /// As SIGSTOP: connects succeed, nothing is read or written.
    pub fn freeze(&self) {
        self.command(|done| Command::Freeze(true, done));
    }

    /// As SIGCONT: goes on where it stood.
    pub fn thaw(&self) {
        self.command(|done| Command::Freeze(false, done));
    }

    /// Ends every connection that waits for a request, as servers do with idle ones; their FINs are
    /// out when this returns.
    pub fn hang_up_idle(&self) {
        self.command(Command::HangUp);
    }

    fn command(&self, command: impl FnOnce(mpsc::Sender<()>) -> Command) {
        let (done, wait) = mpsc::channel();
        self.commands.send(command(done)).expect("the region runs");
        wait.recv_timeout(PATIENCE).expect("the region obeys");
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // gone already where the thread panicked
        self.commands.send(Command::Stop).unwrap_or_default();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the region's thread panicked");
        }
    }
}
