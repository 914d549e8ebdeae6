//! Connections: each of nearpoint's has one of its own to the store. Requests and replies pass
//! side by side, so that `100 Continue` and early answers come through as they are.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use nearpoint::chance::Coin;
use nearpoint::clock::Clock;
use nearpoint::faults::{Asked, Course, End, ErrorAnswer, Faults, Instead, Passage, ReplyFate, Stop};
use nearpoint::head;
use nearpoint::s3::address::Domains;
use nearpoint::s3::classify::classify;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

use super::framing::{Framing, Head, Messages};

/// A dial that takes longer is none: what the store's side of the proxy has as patience.
const DIAL: Duration = Duration::from_secs(10);

/// Requests whose reply is not complete on one connection. nearpoint sends one after the other.
const UNANSWERED_MAX: usize = 16;

/// Keys of probes and canaries begin so.
const PROBES: &str = ".nearpoint/";

/// A certificate and its key, read anew for each connection: swapping the files is enough.
#[derive(Clone, Debug)]
pub struct Tls {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// What every connection shares.
#[derive(Clone, Debug)]
pub struct Desk(Rc<Shared>);

#[derive(Debug)]
struct Shared {
    region: String,
    upstream: SocketAddr,
    tls: Option<Tls>,
    clock: Clock,
    faults: RefCell<Faults>,
    coin: RefCell<Coin>,
    hang_ups: watch::Sender<()>,
}

impl Desk {
    pub fn new(region: String, upstream: SocketAddr, seed: u64, tls: Option<Tls>) -> Self {
        let (hang_ups, _) = watch::channel(());
        Self(Rc::new(Shared {
            region,
            upstream,
            tls,
            clock: Clock::system(),
            faults: RefCell::default(),
            coin: RefCell::new(Coin::seeded(seed)),
            hang_ups,
        }))
    }

    /// The faults in force, to be changed.
    pub fn faults<T>(&self, act: impl FnOnce(&mut Faults) -> T) -> T {
        act(&mut self.0.faults.borrow_mut())
    }

    /// The time that faults end by.
    pub fn now(&self) -> std::time::Instant {
        self.0.clock.now().mono
    }

    /// Resets every connection.
    pub fn hang_up(&self) {
        self.0.hang_ups.send_replace(());
    }

    fn course(&self, head: &Head) -> Course {
        let (operation, bucket, key) = describe(head);
        let asked = Asked {
            region: &self.0.region,
            bucket: &bucket,
            operation,
            method: &head.first[0],
            key: &key,
            probe: key.starts_with(PROBES),
        };
        let now = self.now();
        self.0.faults.borrow_mut().course(&asked, now, &mut self.0.coin.borrow_mut())
    }
}

/// Operation, bucket and key, as nearpoint itself reads them; empty where it cannot.
fn describe(head: &Head) -> (&'static str, String, String) {
    let Ok(method) = head.first[0].parse() else { return ("", String::new(), String::new()) };
    let mut read = head::Head::new(method, &head.first[1]);
    for name in ["host", "x-amz-copy-source", "content-length", "transfer-encoding"] {
        if let Some(value) = head.field(name) {
            read.push(name, value.as_bytes());
        }
    }
    match classify(&read, &Domains::default()) {
        Ok(call) => {
            let key = String::from_utf8_lossy(call.key()).into_owned();
            (call.facts().name, call.bucket().unwrap_or_default().to_owned(), key)
        }
        Err(_) => ("", String::new(), String::new()),
    }
}

/// Serves until the listener fails.
pub async fn serve(listener: TcpListener, desk: Desk) -> io::Result<()> {
    let local = LocalSet::new();
    local
        .run_until(async move {
            loop {
                let (client, _) = listener.accept().await?;
                let desk = desk.clone();
                tokio::task::spawn_local(async move { connection(client, desk).await });
            }
        })
        .await
}

async fn connection(client: TcpStream, desk: Desk) {
    // a connection that is gone already is found out when it is read
    client.set_nodelay(true).unwrap_or_default();
    let mut hang_ups = desk.0.hang_ups.subscribe();
    let raw = socket2::SockRef::from(&client).try_clone();
    let end = tokio::select! {
        biased;
        _ = hang_ups.changed() => End::Reset,
        end = opened(client, &desk) => end,
    };
    if let (End::Reset, Ok(raw)) = (end, raw) {
        // the last holder of the socket, so this is what ends it
        raw.set_linger(Some(Duration::ZERO)).unwrap_or_default();
    }
}

async fn opened(client: TcpStream, desk: &Desk) -> End {
    let dialled = tokio::time::timeout(DIAL, TcpStream::connect(desk.0.upstream)).await;
    let Ok(Ok(store)) = dialled else { return End::Reset };
    store.set_nodelay(true).unwrap_or_default();
    match &desk.0.tls {
        None => exchanges(client, store, desk).await,
        Some(tls) => match accept(client, tls).await {
            Ok(client) => exchanges(client, store, desk).await,
            Err(_) => End::Close,
        },
    }
}

async fn accept(client: TcpStream, tls: &Tls) -> io::Result<tokio_rustls::server::TlsStream<TcpStream>> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = CertificateDer::pem_file_iter(&tls.certificate).map_err(io::Error::other)?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(io::Error::other)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(io::Error::other)?;
    tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(client).await
}

/// What the request side tells the reply side about each request, in order.
struct Turn {
    method: String,
    course: Course,
    /// The store was not asked: this is the answer.
    instead: Option<(ErrorAnswer, u16, Duration, bool)>,
}

async fn exchanges<C>(client: C, store: TcpStream, desk: &Desk) -> End
where
    C: AsyncRead + AsyncWrite,
{
    let (from_client, to_client) = tokio::io::split(client);
    let (from_store, to_store) = store.into_split();
    let (turns, awaited) = mpsc::channel(UNANSWERED_MAX);
    let requests = requests(Messages::new(Box::pin(from_client)), to_store, desk, turns);
    let replies = replies(Messages::new(from_store), Box::pin(to_client), awaited);
    tokio::pin!(requests, replies);
    tokio::select! {
        end = &mut requests => match end {
            // what was asked is still to be answered
            Ok(()) => replies.await.unwrap_or(End::Reset),
            Err(end) => end,
        },
        end = &mut replies => end.unwrap_or(End::Reset),
    }
}

/// Passes requests on. `Ok` where the client ended, `Err` where the connection is to end so.
async fn requests<R, W>(
    mut from: Messages<R>,
    mut to: W,
    desk: &Desk,
    turns: mpsc::Sender<Turn>,
) -> Result<(), End>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let gone = |_: io::Error| End::Reset;
    while let Some(head) = from.head().await.map_err(gone)? {
        let mut course = desk.course(&head);
        let framing = head.request_body().map_err(gone)?;
        from.body(framing);
        let method = head.first[0].clone();
        let mut upload = std::mem::take(&mut course.upload);
        match course.instead.take() {
            None => {
                let turn = Turn { method, course, instead: None };
                turns.send(turn).await.map_err(|_| End::Reset)?;
                to.write_all(&head.bytes).await.map_err(gone)?;
                pass(&mut from, &mut to, &mut upload).await?;
            }
            Some(Instead::Reset) => return Err(End::Reset),
            Some(Instead::DieBeforeCommit(end)) => {
                if !head.says("expect", "100-continue") {
                    while from.piece().await.map_err(gone)?.is_some() {}
                }
                return Err(end);
            }
            Some(Instead::Answer(error)) => {
                answer(&mut from, &head, turns, method, course, (error, 0, Duration::ZERO, false)).await?;
                return Ok(());
            }
            Some(Instead::ErrorInsideOk(error, spaces, pause)) => {
                answer(&mut from, &head, turns, method, course, (error, spaces, pause, true)).await?;
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Has an error answered without the store; the connection serves nothing after it.
async fn answer<R: AsyncRead + Unpin>(
    from: &mut Messages<R>,
    head: &Head,
    turns: mpsc::Sender<Turn>,
    method: String,
    course: Course,
    instead: (ErrorAnswer, u16, Duration, bool),
) -> Result<(), End> {
    if !head.says("expect", "100-continue") {
        while from.piece().await.map_err(|_| End::Reset)?.is_some() {}
    }
    let turn = Turn { method, course, instead: Some(instead) };
    turns.send(turn).await.map_err(|_| End::Reset)
}

/// Passes replies on until the connection is to end; `Err` where a side is gone.
async fn replies<R, W>(mut from: Messages<R>, mut to: W, mut awaited: mpsc::Receiver<Turn>) -> io::Result<End>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    loop {
        // a reply before its request is the store's own business: it ends the connection
        let turn = tokio::select! {
            turn = awaited.recv() => turn,
            head = from.head() => return head.map(|_| End::Close),
        };
        let Some(turn) = turn else { return Ok(End::Close) };
        let Turn { method, mut course, instead } = turn;
        if let Some(instead) = instead {
            tokio::time::sleep(course.delay).await;
            compose(&mut to, &method, instead).await?;
            to.shutdown().await?;
            return Ok(End::Close);
        }
        let head = loop {
            let Some(head) = from.head().await? else { return Ok(End::Close) };
            match head.status() {
                Some(100..=199) => to.write_all(&head.bytes).await?,
                _ => break head,
            }
        };
        match course.reply {
            ReplyFate::Passes => {}
            ReplyFate::Hangs => std::future::pending().await,
            ReplyFate::Dropped(end) => return Ok(end),
        }
        tokio::time::sleep(course.delay).await;
        to.write_all(&head.bytes).await?;
        let framing = head.reply_body(&method)?;
        from.body(framing);
        if let Err(end) = pass(&mut from, &mut to, &mut course.download).await {
            return Ok(end);
        }
        if framing == Framing::UntilEnd || head.says("connection", "close") {
            to.shutdown().await?;
            return Ok(End::Close);
        }
    }
}

/// Passes a body on as its passage allows; `Err` where the connection is to end so.
async fn pass<R, W>(from: &mut Messages<R>, to: &mut W, passage: &mut Passage) -> Result<(), End>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let free = passage.is_free();
    loop {
        // a body that ends where it is to stop stops before it is over
        if let Some(stop) = passage.next(0).stop {
            return halt(from, to, stop).await;
        }
        let Some(mut piece) = from.piece().await.map_err(|_| End::Reset)? else { return Ok(()) };
        if free {
            to.write_all(&piece).await.map_err(|_| End::Reset)?;
            continue;
        }
        while !piece.is_empty() {
            let step = passage.next(piece.len());
            tokio::time::sleep(step.wait).await;
            let mut taken = piece.split_to(step.take);
            if let Some(at) = step.turn {
                taken = turned(&taken, at);
            }
            to.write_all(&taken).await.map_err(|_| End::Reset)?;
            if let Some(stop) = step.stop {
                return halt(from, to, stop).await;
            }
        }
    }
}

async fn halt<R, W>(from: &mut Messages<R>, to: &mut W, stop: Stop) -> Result<(), End>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    to.flush().await.map_err(|_| End::Reset)?;
    match stop {
        Stop::End(End::Close) => {
            to.shutdown().await.map_err(|_| End::Reset)?;
            Err(End::Close)
        }
        Stop::End(End::Reset) => Err(End::Reset),
        Stop::Hang => std::future::pending().await,
        Stop::HalfClose => {
            to.shutdown().await.map_err(|_| End::Reset)?;
            from.drain().await;
            Err(End::Close)
        }
    }
}

fn turned(bytes: &Bytes, at: usize) -> Bytes {
    let mut changed = BytesMut::from(bytes.as_ref());
    if let Some(byte) = changed.get_mut(at) {
        *byte ^= 1;
    }
    changed.freeze()
}

/// Writes an error of our own and says that the connection ends.
async fn compose<W: AsyncWrite + Unpin>(
    to: &mut W,
    method: &str,
    (error, spaces, pause, inside_ok): (ErrorAnswer, u16, Duration, bool),
) -> io::Result<()> {
    let document = error.document();
    let status = if inside_ok { 200 } else { error.status() };
    let length = document.len() + usize::from(spaces);
    let head = format!(
        "HTTP/1.1 {status} Injected\r\ncontent-type: application/xml\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    to.write_all(head.as_bytes()).await?;
    if method == "HEAD" {
        return Ok(());
    }
    for _ in 0..spaces {
        to.write_all(b" ").await?;
        to.flush().await?;
        tokio::time::sleep(pause).await;
    }
    to.write_all(document.as_bytes()).await
}
