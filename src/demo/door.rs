//! The door of an embedded region: accepts, adds the region's distance, watches for changes, and
//! can be shut as a dying process shuts it. A door.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::regions::Shared;
use crate::head::Head;
use crate::s3::address::Domains;
use crate::s3::call::Target;
use crate::s3::classify::classify;
use crate::s3::{Operation, xml};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// Bodies of `DeleteObjects` are read to know the keys: 1000 keys of 1 KiB and their markup.
const DELETE_BODY_MAX: usize = 2 << 20;

/// After a failed accept (no file descriptors left): long enough not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the region asks of its door; answered once it is so.
#[derive(Debug)]
pub(super) enum Command {
    Kill(oneshot::Sender<()>),
    Revive(oneshot::Sender<()>),
}

/// A loopback port. While dead it stays bound, so that it refuses and nobody else takes it.
#[derive(Debug)]
pub(super) struct Port {
    /// Where it is, alive or dead.
    pub(super) address: SocketAddr,
    state: State,
}

#[derive(Debug)]
enum State {
    Listening(TcpListener),
    /// `None` where the port could not be kept: it is bound anew when revived.
    Refusing(Option<TcpSocket>),
}

impl Port {
    /// A free port, listening.
    pub(super) fn open() -> io::Result<Self> {
        let listener = bound(0)?.listen(BACKLOG)?;
        Ok(Self { address: listener.local_addr()?, state: State::Listening(listener) })
    }

    fn close(&mut self) {
        // the listener must be gone before its port can be bound again
        self.state = State::Refusing(None);
        self.state = State::Refusing(bound(self.address.port()).ok());
    }

    fn reopen(&mut self) -> io::Result<()> {
        if let State::Refusing(kept) = &mut self.state {
            let socket = match kept.take() {
                Some(socket) => socket,
                None => bound(self.address.port())?,
            };
            self.state = State::Listening(socket.listen(BACKLOG)?);
        }
        Ok(())
    }

    /// The next connection; never while dead.
    async fn accept(&self) -> io::Result<TcpStream> {
        match &self.state {
            State::Listening(listener) => Ok(listener.accept().await?.0),
            State::Refusing(_) => std::future::pending().await,
        }
    }
}

fn bound(port: u16) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, port).into())?;
    Ok(socket)
}

/// Keeps the door until its region is dropped.
pub(super) async fn keep(shared: Arc<Shared>, mut port: Port, mut inbox: mpsc::Receiver<Command>) {
    let (killer, kills) = watch::channel(());
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            command = inbox.recv() => match command {
                Some(Command::Kill(done)) => {
                    shared.set_alive(false);
                    port.close();
                    killer.send_replace(());
                    while connections.join_next().await.is_some() {}
                    done.send(()).unwrap_or_default();
                }
                Some(Command::Revive(done)) => {
                    shared.set_alive(port.reopen().is_ok());
                    done.send(()).unwrap_or_default();
                }
                None => return,
            },
            accepted = port.accept() => match accepted {
                Ok(stream) => drop(connections.spawn(serve(Arc::clone(&shared), stream, kills.clone()))),
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection until it ends or the region dies; then it is reset.
async fn serve(shared: Arc<Shared>, stream: TcpStream, mut kills: watch::Receiver<()>) {
    kills.mark_unchanged();
    let Ok((stream, twin)) = twins(stream) else { return };
    let service = service_fn(|request| answer(Arc::clone(&shared), request));
    let connection = async {
        tokio::time::sleep(shared.latency).await;
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await
    };
    tokio::select! {
        biased;
        _ = kills.changed() => {
            // closing is a reset, as the kernel does for a process that was killed
            socket2::SockRef::from(&twin).set_linger(Some(Duration::ZERO)).unwrap_or_default();
        }
        // how a client ends its connection is its own affair
        ended = connection => ended.unwrap_or_default(),
    }
}

/// The stream, and a second handle of its socket that stays ours.
fn twins(stream: TcpStream) -> io::Result<(TcpStream, std::net::TcpStream)> {
    stream.set_nodelay(true)?;
    let stream = stream.into_std()?;
    let twin = stream.try_clone()?;
    Ok((TcpStream::from_std(stream)?, twin))
}

/// The keys that a request changes if it succeeds.
#[derive(Debug, PartialEq, Eq)]
enum Changes {
    None,
    One(String),
    /// In the body.
    Listed,
}

async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<s3s::Body>, s3s::HttpError> {
    tokio::time::sleep(shared.latency).await;
    let (changes, probe) = read(&shared, &request);
    if !probe {
        shared.count_served();
    }
    match changes {
        Changes::None => shared.service.call(request.map(s3s::Body::from)).await,
        Changes::One(key) => {
            let _turn = shared.changing(&key).await;
            let reply = shared.service.call(request.map(s3s::Body::from)).await?;
            if reply.status().is_success() {
                shared.changed(&key).await;
            }
            Ok(reply)
        }
        Changes::Listed => delete_listed(&shared, request).await,
    }
}

/// Which keys a request changes, and whether it is a probe.
fn read(shared: &Shared, request: &Request<Incoming>) -> (Changes, bool) {
    let target = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let mut head = Head::new(request.method().clone(), target);
    for (name, value) in request.headers() {
        head.push(name.as_str(), value.as_bytes());
    }
    let Ok(call) = classify(&head, &Domains::new(Vec::new())) else {
        return (Changes::None, false);
    };
    match call.target {
        Target::Object { bucket, key, .. } if shared.owns(&bucket) => {
            let key = String::from_utf8(key).unwrap_or_default();
            let probe = key.starts_with(".nearpoint/");
            let changes = match call.operation {
                Operation::PutObject
                | Operation::CopyObject
                | Operation::CompleteMultipartUpload
                | Operation::DeleteObject => Changes::One(key),
                _ => Changes::None,
            };
            (changes, probe)
        }
        Target::Bucket { bucket } if shared.owns(&bucket) && call.operation == Operation::DeleteObjects => {
            (Changes::Listed, false)
        }
        _ => (Changes::None, false),
    }
}

/// `DeleteObjects`: the body is read first, for its keys.
async fn delete_listed(
    shared: &Shared,
    request: Request<Incoming>,
) -> Result<Response<s3s::Body>, s3s::HttpError> {
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, DELETE_BODY_MAX).collect().await.map_err(s3s::HttpError::new)?.to_bytes();
    let keys = xml::delete_request(&body).map(|request| request.objects).unwrap_or_default();
    let reply = shared.service.call(Request::from_parts(parts, s3s::Body::from(body))).await?;
    if reply.status().is_success() {
        for object in keys {
            shared.changed(&object.key).await;
        }
    }
    Ok(reply)
}
