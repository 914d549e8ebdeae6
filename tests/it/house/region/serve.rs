//! The region's thread: accepts, serves one request after the other, obeys commands.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};

use super::answer::{self, Ask, Desk};
use super::fault::{Act, End};
use super::judge::{self, Authorised};
use super::wire::{Head, Line, Reply};
use super::{Refusal, Seen, State, frames, is_probe};
use crate::house::moment;

/// What the handle asks of the thread; answered once it is so.
pub enum Command {
    Kill(mpsc::Sender<()>),
    Revive(mpsc::Sender<()>),
    Freeze(bool, mpsc::Sender<()>),
    HangUp(mpsc::Sender<()>),
    Stop,
}

/// The port: held for good, so that nobody else ever takes it, and listened on or refusing.
struct Port {
    address: SocketAddr,
    /// Bound, never listening.
    _hold: TcpSocket,
    listener: Option<TcpListener>,
}

impl Port {
    fn open(at: SocketAddr) -> Self {
        let hold = bound(at);
        let address = hold.local_addr().unwrap();
        Self { address, _hold: hold, listener: Some(listen(bound(address))) }
    }
}

/// The body of the region's thread.
pub fn run(
    state: Arc<Mutex<State>>,
    listen_at: SocketAddr,
    inbox: UnboundedReceiver<Command>,
    ready: &mpsc::Sender<SocketAddr>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let port = {
        let _inside = runtime.enter();
        Port::open(listen_at)
    };
    ready.send(port.address).unwrap();
    LocalSet::new().block_on(&runtime, obey(state, inbox, port));
}

/// Bound, not listening: connects are refused. Several may be bound, one of them listening.
fn bound(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

fn listen(socket: TcpSocket) -> TcpListener {
    socket.listen(1024).unwrap()
}

async fn obey(state: Arc<Mutex<State>>, mut inbox: UnboundedReceiver<Command>, mut port: Port) {
    let (frozen, freezes) = watch::channel(false);
    let (killer, kills) = watch::channel(());
    let (hanger, hang_ups) = watch::channel(());
    let house = Rc::new(House { state, frozen: freezes, kills, hang_ups, idle: Cell::new(0) });
    let mut connections = JoinSet::new();
    loop {
        let command = tokio::select! {
            command = inbox.recv() => command.unwrap_or(Command::Stop),
            stream = accepted(&port, *frozen.borrow()) => {
                // from now on, not from when its task first runs: a kill may come in between
                let mut kills = house.kills.clone();
                kills.mark_unchanged();
                connections.spawn_local(connection(stream, Rc::clone(&house), kills));
                continue;
            }
            Some(ended) = connections.join_next() => {
                ended.unwrap();
                continue;
            }
        };
        match command {
            Command::Kill(done) => {
                drop(port.listener.take());
                killer.send(()).unwrap();
                while let Some(ended) = connections.join_next().await {
                    ended.unwrap();
                }
                done.send(()).unwrap();
            }
            Command::Revive(done) => {
                let address = port.address;
                port.listener.get_or_insert_with(|| listen(bound(address)));
                done.send(()).unwrap();
            }
            Command::Freeze(whether, done) => {
                frozen.send(whether).unwrap();
                done.send(()).unwrap();
            }
            Command::HangUp(done) => {
                hanger.send(()).unwrap();
                while house.idle.get() > 0 {
                    tokio::task::yield_now().await;
                }
                done.send(()).unwrap();
            }
            Command::Stop => return,
        }
    }
}

/// The next connection; never while frozen (the kernel's queue takes them) or killed.
async fn accepted(port: &Port, frozen: bool) -> TcpStream {
    match &port.listener {
        Some(listener) if !frozen => listener.accept().await.unwrap().0,
        _ => std::future::pending().await,
    }
}

struct House {
    state: Arc<Mutex<State>>,
    frozen: watch::Receiver<bool>,
    kills: watch::Receiver<()>,
    hang_ups: watch::Receiver<()>,
    /// Connections that wait for a request.
    idle: Cell<usize>,
}

/// One connection that waits for a request, until dropped.
struct Idle<'a>(&'a Cell<usize>);

impl<'a> Idle<'a> {
    fn at(house: &'a House) -> Self {
        house.idle.set(house.idle.get() + 1);
        Self(&house.idle)
    }
}

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

async fn connection(mut stream: TcpStream, house: Rc<House>, mut kills: watch::Receiver<()>) {
    stream.set_nodelay(true).unwrap();
    let number = {
        let mut state = house.state.lock().unwrap();
        state.connections += 1;
        state.connections - 1
    };
    let end = tokio::select! {
        biased;
        _ = kills.changed() => End::Reset,
        end = served(&mut stream, &house, number) => end,
    };
    if end == End::Reset {
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

/// Serves to the end. A clean end is a FIN, and what still comes is read away: closing on unread
/// bytes would be a reset.
async fn served(stream: &mut TcpStream, house: &House, number: usize) -> End {
    let end = requests(stream, house, number).await;
    if end == End::Close && stream.shutdown().await.is_ok() {
        Line::new(stream, house.frozen.clone()).closed().await;
    }
    end
}

/// Serves requests until the connection is to end, and says how.
async fn requests(stream: &mut TcpStream, house: &House, number: usize) -> End {
    let mut line = Line::new(stream, house.frozen.clone());
    let mut hang_ups = house.hang_ups.clone();
    loop {
        hang_ups.mark_unchanged();
        let head = {
            let _idle = Idle::at(house);
            tokio::select! {
                biased;
                head = line.head() => head,
                _ = hang_ups.changed() => None,
            }
        };
        let Some(head) = head else { break };
        if let Err(end) = request(&mut line, house, head, number).await {
            return end;
        }
    }
    End::Close
}

/// One request; `Err` where the connection ends with it.
async fn request(line: &mut Line<'_>, house: &House, head: Head, number: usize) -> Result<(), End> {
    let opened = open(house, &head, number);
    let has = |want: fn(&Act) -> bool| opened.acts.iter().any(want);
    if let Some(Act::DropAtHead(end)) = opened.acts.iter().find(|act| matches!(act, Act::DropAtHead(_))) {
        return Err(*end);
    }
    let expects = head.header("expect").is_some_and(|text| text.eq_ignore_ascii_case("100-continue"));
    if expects {
        if opened.verdict.is_err() || has(|act| matches!(act, Act::Answer { .. })) {
            // refused before the body: say so and close, as S3 does
            return finish(line, house, &opened, &head, Bytes::new()).await.and(Err(End::Close));
        }
        if !has(|act| matches!(act, Act::NoContinue | Act::Silent)) {
            house.note(&opened, |seen| seen.continued = true);
            line.write(b"HTTP/1.1 100 Continue\r\n\r\n").await.map_err(|_| End::Close)?;
        }
    }
    for act in &opened.acts {
        if let Act::DropInBody(count, end) = act {
            // gone already where the client ended first
            let came = line.at_least(*count).await;
            house.note(&opened, |seen| seen.cut_at = Some(line.buffered()));
            return Err(if came.is_ok() { *end } else { End::Close });
        }
    }
    let Ok(body) = line.body(&head).await else {
        house.note(&opened, |seen| seen.cut_at = Some(line.buffered()));
        return Err(End::Close);
    };
    house.note(&opened, |seen| seen.body = Some(body.clone()));
    finish(line, house, &opened, &head, body).await
}

/// A request whose head was read.
struct Opened {
    /// Its place in the list of what was seen.
    place: Instant,
    connection: usize,
    acts: Vec<Act>,
    verdict: Result<(Ask, Authorised), Refusal>,
}

fn open(house: &House, head: &Head, number: usize) -> Opened {
    let mut state = house.state.lock().unwrap();
    let ask = answer::ask(head, &state.settings);
    let (operation, bucket, key) = match &ask {
        Ok(ask) => (ask.operation, ask.bucket.clone(), ask.key.clone()),
        Err(_) => ("Unknown", String::new(), String::new()),
    };
    let verdict = ask.and_then(|ask| Ok((ask, judge::judge(head, &state.settings, state.settings.now())?)));
    let acts = state.faults.take(operation, &head.method, &key);
    let at = moment::mono();
    state.counts.requests += u64::from(!is_probe(&key));
    let kept = state.settings.remembered;
    if state.seen.len() >= kept {
        state.seen.remove(0);
    }
    let signed_headers = verdict.as_ref().map(|(_, judged)| judged.signed_headers.clone());
    state.seen.push(Seen {
        method: head.method.clone(),
        target: head.target.clone(),
        headers: head.headers.clone(),
        signed_headers: signed_headers.unwrap_or_default(),
        operation,
        bucket,
        key,
        body: None,
        cut_at: None,
        status: None,
        code: None,
        continued: false,
        at,
        connection: number,
    });
    Opened { place: at, connection: number, acts, verdict }
}

impl House {
    /// Adds to the record of a request.
    fn note(&self, opened: &Opened, add: impl FnOnce(&mut Seen)) {
        let mut state = self.state.lock().unwrap();
        let mut seen = state.seen.iter_mut().rev();
        // gone where the test made the region forget
        if let Some(seen) = seen.find(|seen| seen.at == opened.place && seen.connection == opened.connection)
        {
            add(seen);
        }
    }
}

/// Commits and answers, or misbehaves.
async fn finish(
    line: &mut Line<'_>,
    house: &House,
    opened: &Opened,
    head: &Head,
    body: Bytes,
) -> Result<(), End> {
    for act in &opened.acts {
        match act {
            Act::Silent => {
                line.closed().await;
                return Err(End::Close);
            }
            Act::DropBeforeCommit(end) => return Err(*end),
            Act::Answer { status, code } => {
                let refusal = Refusal::new(*status, code, "as told");
                return send(line, house, opened, head, refusal.reply(), Some(refusal.code)).await;
            }
            Act::AnswerBytes(bytes) => {
                line.write(bytes).await.map_err(|_| End::Close)?;
                return Err(End::Close);
            }
            _ => {}
        }
    }
    let outcome = commit(house, opened, head, &body);
    for act in &opened.acts {
        match act {
            Act::SilentAfterCommit => {
                line.closed().await;
                return Err(End::Close);
            }
            Act::DropAfterCommit(end) => return Err(*end),
            Act::Delay(time) => tokio::time::sleep(*time).await,
            Act::ErrorInsideOk { code } => {
                let inner = format!("<Code>{code}</Code><Message>as told</Message>");
                let reply = Reply::new(200).xml("Error", &inner);
                return send(line, house, opened, head, reply, Some(code)).await;
            }
            Act::NothingInsideOk => {
                let reply = Reply::new(200).body(Bytes::from_static(b"  \n "));
                return send(line, house, opened, head, reply, None).await;
            }
            _ => {}
        }
    }
    match outcome {
        Ok(reply) => send(line, house, opened, head, reply, None).await,
        Err(refusal) => send(line, house, opened, head, refusal.reply(), Some(refusal.code)).await,
    }
}

fn commit(house: &House, opened: &Opened, head: &Head, body: &Bytes) -> Result<Reply, Refusal> {
    let (ask, authorised) = opened.verdict.as_ref().map_err(Clone::clone)?;
    let mut state = house.state.lock().unwrap();
    let State { settings, store, throttle, counts, .. } = &mut *state;
    if let (Some(throttle), false) = (throttle, is_probe(&ask.key)) {
        throttle.count(opened.place).inspect_err(|_| counts.throttled += 1)?;
    }
    if let Some(name) =
        settings.refuses.iter().find(|name| head.header(name).is_some() || ask.parameter(name).is_some())
    {
        return Err(Refusal::new(501, "NotImplemented", name));
    }
    let head = &head.without(&settings.ignores);
    let (body, checksums) = frames::payload(head, body, authorised, settings)?;
    let told = opened.acts.iter().find_map(|act| match act {
        Act::Instead(reply) => Some(reply.clone()),
        _ => None,
    });
    if let Some(reply) = told {
        return Ok(reply);
    }
    Desk { store, settings, head, ask, body, checksums }.answer()
}

impl super::Throttle {
    fn count(&mut self, now: Instant) -> Result<(), Refusal> {
        if now.saturating_duration_since(self.window) >= Duration::from_secs(1) {
            self.window = now;
            self.used = 0;
        }
        self.used += 1;
        if self.used > self.per_second {
            return Err(Refusal::new(503, "SlowDown", "Please reduce your request rate."));
        }
        Ok(())
    }
}

async fn send(
    line: &mut Line<'_>,
    house: &House,
    opened: &Opened,
    head: &Head,
    reply: Reply,
    code: Option<&'static str>,
) -> Result<(), End> {
    house.note(opened, |seen| {
        seen.status = Some(reply.status);
        seen.code = code;
    });
    let gone = |_| End::Close;
    let date = house.state.lock().unwrap().settings.now();
    let mut reply = reply.with("date", &moment::http_date(date));
    let announced = opened.acts.iter().find_map(|act| match act {
        Act::LieAboutLength(by) => Some(reply.body.len().saturating_add_signed(*by)),
        _ => None,
    });
    for act in &opened.acts {
        if let Act::Say(name, value) = act {
            reply.headers.retain(|(have, _)| have != name);
            reply = reply.with(name, value);
        }
    }
    if opened.acts.iter().any(|act| matches!(act, Act::Chunked)) && head.method != "HEAD" {
        return send_chunked(line, opened, reply).await;
    }
    let close = head.header("connection").is_some_and(|text| text.eq_ignore_ascii_case("close"));
    line.write(&reply.head_bytes(announced.unwrap_or(reply.body.len()), close)).await.map_err(gone)?;
    let body = if head.method == "HEAD" { Bytes::new() } else { reply.body };
    for act in &opened.acts {
        match act {
            Act::HangAfter(count) => {
                line.write(&body[..(*count).min(body.len())]).await.map_err(gone)?;
                line.closed().await;
                return Err(End::Close);
            }
            Act::CutAfter(count, end) => {
                line.write(&body[..(*count).min(body.len())]).await.map_err(gone)?;
                return Err(*end);
            }
            Act::Slow(per_second) => {
                for piece in body.chunks((*per_second / 10).max(1)) {
                    line.write(piece).await.map_err(gone)?;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                return Ok(());
            }
            _ => {}
        }
    }
    line.write(&body).await.map_err(gone)?;
    if announced.is_some() || close { Err(End::Close) } else { Ok(()) }
}

/// A body without a length, in pieces; cut between two of them, or before the last, empty one.
async fn send_chunked(line: &mut Line<'_>, opened: &Opened, reply: Reply) -> Result<(), End> {
    const PIECE: usize = 10_000;
    let gone = |_| End::Close;
    let reply = reply.with("transfer-encoding", "chunked");
    line.write(&reply.head_bytes(0, false)).await.map_err(gone)?;
    let cut = opened.acts.iter().find_map(|act| match act {
        Act::CutAfter(count, end) => Some((*count, *end)),
        _ => None,
    });
    let sent = cut.map_or(reply.body.len(), |(count, _)| count.min(reply.body.len()));
    let slow = opened.acts.iter().find_map(|act| match act {
        Act::Slow(per_second) => Some((*per_second / 10).max(1)),
        _ => None,
    });
    for piece in reply.body[..sent].chunks(slow.unwrap_or(PIECE)) {
        line.write(format!("{:x}\r\n", piece.len()).as_bytes()).await.map_err(gone)?;
        line.write(piece).await.map_err(gone)?;
        line.write(b"\r\n").await.map_err(gone)?;
        if slow.is_some() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    match cut {
        Some((_, end)) => Err(end),
        None => line.write(b"0\r\n\r\n").await.map_err(gone),
    }
}
