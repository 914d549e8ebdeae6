//! Connections over real sockets, and over pipes where time is paused.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::authority::Authority;
use super::connection::{Ending, part, serve_http1, serve_http2};
use super::gate::Scanner;
use super::guests::Guest;
use super::stream::ClientStream;
use super::wire::Wire;
use super::*;
use crate::chance::Coin;
use crate::clock::Clock;
use crate::head::Head;
use crate::http1::{BrokeOff, ClientBody, End, Serving};
use crate::names::Secret;
use crate::pem::PemFile;
use crate::view::{Limits, Timeouts};

/// An answer's body by script.
struct Script {
    piece: Bytes,
    pieces: usize,
    /// Fails after the pieces.
    fails: bool,
    length: Option<u64>,
}

impl Script {
    fn text(text: &str) -> Self {
        let length = text.len() as u64;
        Self { piece: Bytes::copy_from_slice(text.as_bytes()), pieces: 1, fails: false, length: Some(length) }
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.pieces > 0 {
            self.pieces -= 1;
            return Poll::Ready(Some(Ok(Frame::data(self.piece.clone()))));
        }
        let fails = std::mem::take(&mut self.fails);
        Poll::Ready(fails.then(|| Err(io::Error::other("the region went away"))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces == 0 && !self.fails
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Reads a body to its end.
async fn length_of(mut body: ClientBody) -> Result<usize, BrokeOff> {
    let mut length = 0;
    while let Some(bytes) = std::future::poll_fn(|cx| body.poll_bytes(cx)).await.transpose()? {
        length += bytes.len();
    }
    Ok(length)
}

/// Answers by path: what the tests ask for.
#[derive(Clone, Default)]
struct Story {
    seen: Rc<RefCell<Vec<String>>>,
    /// `/hold` waits for this.
    release: Rc<Notify>,
    /// Told when a request arrives.
    arrived: Rc<Notify>,
}

impl Answer for Story {
    type Body = Script;

    async fn answer(&self, peer: &Rc<Peer>, head: Head, body: ClientBody, _: Fate) -> Response<Script> {
        self.seen.borrow_mut().push(head.target().to_owned());
        self.arrived.notify_one();
        let piece = Bytes::from(vec![b'x'; 64 << 10]);
        match head.path() {
            "/hold" => {
                self.release.notified().await;
                Response::new(Script::text("held"))
            }
            "/refuse" => {
                let mut response = Response::new(Script::text("refused"));
                *response.status_mut() = http::StatusCode::FORBIDDEN;
                response
            }
            "/cut" => Response::new(Script { piece, pieces: 2, fails: true, length: None }),
            "/cut-sized" => Response::new(Script { piece, pieces: 2, fails: true, length: Some(1 << 20) }),
            "/two" => Response::new(Script { piece, pieces: 2, fails: false, length: Some(128 << 10) }),
            "/large" => Response::new(Script { piece, pieces: 1024, fails: false, length: Some(64 << 20) }),
            "/peer" => {
                let certificate = peer.client_certificate.is_some();
                Response::new(Script::text(&format!("{} {} {certificate}", peer.tls, peer.http2)))
            }
            "/terms" => {
                let verify = peer.terms().map(|terms| terms.settings.verify);
                Response::new(Script::text(&format!("{verify:?}")))
            }
            _ => {
                let Ok(length) = length_of(body).await else {
                    let mut response = Response::new(Script::text("broken body"));
                    *response.status_mut() = http::StatusCode::BAD_REQUEST;
                    return response;
                };
                Response::new(Script::text(&format!("{} {length}", head.target())))
            }
        }
    }
}

/// The shipped defaults.
fn rules() -> WorkerRules {
    WorkerRules::of(&Limits::default(), &Timeouts::default())
}

/// A worker with one listener, on this thread.
struct House {
    address: Address,
    doors: Vec<Arc<Door>>,
    new_sockets: mpsc::Sender<Bound>,
    story: Story,
    admission: Arc<Admission>,
    refused: Rc<RefCell<Vec<Violation>>>,
    shutdown: CancellationToken,
    running: JoinHandle<io::Result<Drained>>,
}

impl House {
    fn open(settings: ListenerSettings, rules: WorkerRules) -> Self {
        let mut binding = bind(&[settings], 1).unwrap();
        let story = Story::default();
        let admission = Admission::new();
        let refused = Rc::new(RefCell::new(Vec::new()));
        let shutdown = CancellationToken::new();
        let worker = Worker {
            answer: story.clone(),
            rules: Box::new(move || rules),
            admission: Arc::clone(&admission),
            guests: Guests::new(),
            clock: Clock::system(),
            coin: Coin::seeded(1),
            refused: Box::new({
                let refused = Rc::clone(&refused);
                move |_, violation, _| refused.borrow_mut().push(violation)
            }),
        };
        let sockets = binding.workers.remove(0);
        let (new_sockets, later) = mpsc::channel(1);
        let running = spawn_local(run_worker(sockets, later, worker, shutdown.clone()));
        let address = binding.doors[0].address().clone();
        Self { address, doors: binding.doors, new_sockets, story, admission, refused, shutdown, running }
    }

    /// Puts other listeners in force.
    async fn reload(&mut self, settings: &[ListenerSettings]) {
        let number = self.doors.first().map_or(0, |door| door.terms().configuration) + 1;
        let mut binding = Rebinding::prepare(&self.doors, settings, 1).unwrap().put_in_force(number);
        for bound in binding.workers.remove(0) {
            self.new_sockets.send(bound).await.unwrap();
        }
        self.doors = binding.doors;
    }

    fn plain() -> Self {
        Self::open(ListenerSettings::new("127.0.0.1:0".parse().unwrap()), rules())
    }

    async fn dial(&self) -> TcpStream {
        match &self.address {
            Address::Tcp(address) => TcpStream::connect(address).await.unwrap(),
            Address::Unix(_) => panic!("a TCP listener"),
        }
    }

    /// Sends bytes, half-closes, reads to the end.
    async fn exchange(&self, input: &[u8]) -> String {
        let mut stream = self.dial().await;
        stream.write_all(input).await.unwrap();
        let mut output = Vec::new();
        stream.read_to_end(&mut output).await.unwrap();
        String::from_utf8(output).unwrap()
    }
}

async fn on_local<F: Future>(test: F) -> F::Output {
    LocalSet::new().run_until(Box::pin(test)).await
}

/// Reads until `text` has come.
async fn read_until<S: AsyncRead + Unpin>(stream: &mut S, text: &str) -> String {
    let mut output = Vec::new();
    while !String::from_utf8_lossy(&output).contains(text) {
        let mut room = [0_u8; 4096];
        let read = stream.read(&mut room).await.unwrap();
        assert_ne!(read, 0, "{text} did not come, but {}", String::from_utf8_lossy(&output));
        output.extend_from_slice(&room[..read]);
    }
    String::from_utf8(output).unwrap()
}

#[tokio::test]
async fn a_hundred_pipelined_requests_are_answered_in_order() {
    on_local(async {
        let house = House::plain();
        let mut input = String::new();
        for index in 0..100 {
            let close = if index == 99 { "Connection: close\r\n" } else { "" };
            let head = format!("PUT /{index} HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n{close}\r\n");
            input += &(head + "abc");
        }
        let output = house.exchange(input.as_bytes()).await;
        let answers: Vec<usize> =
            (0..100).filter_map(|index| output.find(&format!("\r\n\r\n/{index} 3"))).collect();
        assert_eq!(answers.len(), 100, "{output}");
        assert!(answers.is_sorted());
    })
    .await;
}

#[tokio::test]
async fn a_violation_is_answered_and_the_connection_ends() {
    on_local(async {
        let house = House::plain();
        let output = house.exchange(b"GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert!(output.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{output}");
        assert!(output.contains("<Code>InvalidURI</Code>"), "{output}");
        let connect = house.exchange(b"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert!(connect.starts_with("HTTP/1.1 405 "), "{connect}");
        assert!(connect.contains("<Code>MethodNotAllowed</Code>"), "{connect}");
        assert_eq!(*house.refused.borrow(), [Violation::Target, Violation::Connect]);
        assert!(house.story.seen.borrow().is_empty(), "the story never hears of it");
    })
    .await;
}

#[tokio::test]
async fn what_came_before_a_violation_is_answered_first() {
    on_local(async {
        let house = House::plain();
        let mut stream = house.dial().await;
        stream.write_all(b"GET /hold HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\n\n").await.unwrap();
        house.story.arrived.notified().await;
        house.story.release.notify_one();
        let mut output = String::new();
        stream.read_to_string(&mut output).await.unwrap();
        let (held, refusal) = output.split_once("held").expect("the first is answered");
        assert!(held.starts_with("HTTP/1.1 200 OK"), "{output}");
        assert!(refusal.starts_with("HTTP/1.1 400 Bad Request"), "{output}");
        assert_eq!(*house.story.seen.borrow(), ["/hold"]);
    })
    .await;
}

#[tokio::test]
async fn a_broken_chunk_reaches_the_reader_of_the_body() {
    on_local(async {
        let house = House::plain();
        let input = b"PUT /k HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n";
        let output = house.exchange(input).await;
        assert!(output.starts_with("HTTP/1.1 400 ") && output.ends_with("broken body"), "{output}");
        assert_eq!(output.matches("HTTP/1.1").count(), 1, "one answer: {output}");
    })
    .await;
}

#[tokio::test]
async fn other_methods_and_small_unread_bodies_leave_the_next_request_intact() {
    on_local(async {
        let house = House::plain();
        let input = b"TRACE /t HTTP/1.1\r\nHost: h\r\n\r\nget /g HTTP/1.1\r\nHost: h\r\n\r\n\
            GET /refuse HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc\
            GET /last HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: close, upgrade\r\n\r\n";
        let output = house.exchange(input).await;
        assert_eq!(*house.story.seen.borrow(), ["/t", "/g", "/refuse", "/last"], "{output}");
        assert!(output.ends_with("/last 0") && !output.contains("101"), "{output}");
    })
    .await;
}

#[tokio::test]
async fn a_refused_upload_reads_its_answer() {
    on_local(async {
        let house = House::plain();
        let mut stream = house.dial().await;
        stream
            .write_all(b"PUT /refuse HTTP/1.1\r\nHost: h\r\nContent-Length: 1073741824\r\n\r\n")
            .await
            .unwrap();
        let (mut read, mut write) = stream.split();
        let upload = async {
            // ends when the house has closed its end
            while write.write_all(&[0; 4096]).await.is_ok() {}
        };
        let answer = read_until(&mut read, "refused");
        tokio::pin!(upload);
        let answer = tokio::select! {
            answer = answer => answer,
            () = &mut upload => panic!("closed before the answer was read"),
        };
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        upload.await;
    })
    .await;
}

#[tokio::test]
async fn continue_is_sent_when_the_body_is_first_asked_for() {
    on_local(async {
        let house = House::plain();
        let head = |path: &str| {
            format!("PUT {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        };
        let mut stream = house.dial().await;
        stream.write_all(head("/k").as_bytes()).await.unwrap();
        assert_eq!(read_until(&mut stream, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"abc").await.unwrap();
        assert!(read_until(&mut stream, "/k 3").await.starts_with("HTTP/1.1 200 "));
        let refused = house.exchange(head("/refuse").as_bytes()).await;
        assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    })
    .await;
}

#[tokio::test]
async fn a_cut_answer_is_a_reset_and_never_a_clean_end() {
    on_local(async {
        let house = House::plain();
        for (path, version) in [("/cut", "1.1"), ("/cut", "1.0"), ("/cut-sized", "1.1")] {
            let mut stream = house.dial().await;
            let request = format!("GET {path} HTTP/{version}\r\nHost: h\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut output = Vec::new();
            let end = stream.read_to_end(&mut output).await.map_err(|fault| fault.kind());
            assert_eq!(end, Err(io::ErrorKind::ConnectionReset), "{path} {version}");
            assert!(!output.ends_with(b"0\r\n\r\n"), "no last chunk");
        }
    })
    .await;
}

#[tokio::test]
async fn unix_sockets_serve_and_peers_say_so() {
    on_local(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s3.sock");
        let _house = House::open(ListenerSettings::new(Address::Unix(path.clone())), rules());
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_all(b"GET /peer HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut output = String::new();
        stream.read_to_string(&mut output).await.unwrap();
        assert!(output.ends_with("false false false"), "{output}");
    })
    .await;
}

#[tokio::test]
async fn strangers_are_closed_at_once_and_settings_can_be_replaced() {
    on_local(async {
        let mut settings = ListenerSettings::new("127.0.0.1:0".parse().unwrap());
        settings.allow_from = vec!["192.0.2.0/24".parse().unwrap()];
        let mut house = House::open(settings.clone(), rules());
        let mut stream = house.dial().await;
        let mut output = Vec::new();
        assert_eq!(stream.read_to_end(&mut output).await.unwrap(), 0);
        settings.allow_from = vec!["127.0.0.0/8".parse().unwrap()];
        house.reload(&[settings]).await;
        let output = house.exchange(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
        assert!(output.starts_with("HTTP/1.1 200 "), "{output}");
    })
    .await;
}

#[tokio::test]
async fn open_connections_are_bound_by_new_terms() {
    on_local(async {
        let mut settings = ListenerSettings::new("127.0.0.1:0".parse().unwrap());
        let mut house = House::open(settings.clone(), rules());
        let mut stream = house.dial().await;
        let ask = b"GET /terms HTTP/1.1\r\nHost: h\r\n\r\n";
        stream.write_all(ask).await.unwrap();
        read_until(&mut stream, "Ok(true)").await;
        settings.verify = false;
        house.reload(&[settings.clone()]).await;
        stream.write_all(ask).await.unwrap();
        read_until(&mut stream, "Ok(false)").await;
        // a request under way ends; the next would be a stranger's
        stream.write_all(b"GET /hold HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        let mut idle = house.dial().await;
        idle.write_all(ask).await.unwrap();
        read_until(&mut idle, "Ok(false)").await;
        settings.allow_from = vec!["192.0.2.0/24".parse().unwrap()];
        house.reload(&[settings]).await;
        idle.write_all(ask).await.unwrap();
        let mut output = String::new();
        idle.read_to_string(&mut output).await.unwrap();
        assert!(output.is_empty() || output.ends_with("Err(NotAllowed)"), "{output}");
        house.story.release.notify_one();
        let mut output = String::new();
        stream.read_to_string(&mut output).await.unwrap();
        assert!(output.ends_with("held"), "{output}");
    })
    .await;
}

#[tokio::test]
async fn listeners_come_and_go_while_requests_end() {
    on_local(async {
        let first = ListenerSettings::new("127.0.0.1:0".parse().unwrap());
        let second = ListenerSettings::new("127.0.0.2:0".parse().unwrap());
        let mut house = House::open(first, rules());
        let mut busy = house.dial().await;
        busy.write_all(b"GET /hold HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        house.story.arrived.notified().await;
        house.reload(&[second]).await;
        let refused = async { while TcpStream::connect(house.address.to_string()).await.is_ok() {} };
        tokio::time::timeout(Duration::from_secs(20), refused).await.expect("nobody listens any more");
        house.story.release.notify_one();
        let mut output = String::new();
        busy.read_to_string(&mut output).await.unwrap();
        assert!(output.ends_with("held"), "{output}");
        house.address = house.doors[0].address().clone();
        let output = house.exchange(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
        assert!(output.starts_with("HTTP/1.1 200 "), "{output}");
    })
    .await;
}

#[tokio::test]
async fn a_handshake_that_proved_less_than_is_asked_for_now_is_worth_nothing() {
    on_local(async {
        let mut secure = Secure::open(false);
        let mut stream = secure.dial("http/1.1", false).await.unwrap();
        let ask = b"GET /terms HTTP/1.1\r\nHost: h\r\n\r\n";
        stream.write_all(ask).await.unwrap();
        read_until(&mut stream, "Ok(true)").await;
        let mut settings = secure.house.doors[0].terms().settings.clone();
        // another certificate of our own proves nothing else
        let (certificate, key) = secure.authority.issue("localhost");
        let files = settings.tls.as_mut().unwrap();
        (files.certificate, files.key) = (pem("tls.crt", certificate), pem("tls.key", key));
        secure.house.reload(&[settings.clone()]).await;
        stream.write_all(ask).await.unwrap();
        read_until(&mut stream, "Ok(true)").await;
        settings.tls.as_mut().unwrap().client_ca = Some(pem("ca.crt", secure.authority.pem()));
        settings.verify = false;
        secure.house.reload(&[settings]).await;
        stream.write_all(ask).await.unwrap();
        let mut output = String::new();
        stream.read_to_string(&mut output).await.unwrap_or_default();
        assert!(output.is_empty() || output.ends_with("Err(Outdated)"), "{output}");
        // (TLS 1.3: the client hears of a refusal when it reads)
        let mut stranger = secure.dial("http/1.1", false).await.unwrap();
        stranger.write_all(ask).await.unwrap_or_default();
        assert!(stranger.read_u8().await.is_err());
        let mut known = secure.dial("http/1.1", true).await.unwrap();
        known.write_all(ask).await.unwrap();
        read_until(&mut known, "Ok(false)").await;
    })
    .await;
}

#[tokio::test]
async fn at_the_cap_accepting_pauses_and_nobody_is_turned_away() {
    on_local(async {
        let house = House::open(
            ListenerSettings::new("127.0.0.1:0".parse().unwrap()),
            WorkerRules { connections: 1, ..rules() },
        );
        let mut first = house.dial().await;
        first.write_all(b"GET /hold HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await.unwrap();
        house.story.arrived.notified().await;
        let mut second = house.dial().await;
        second.write_all(b"GET /second HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        assert_eq!(house.admission.open(), 1);
        assert_eq!(*house.story.seen.borrow(), ["/hold"]);
        house.story.release.notify_one();
        read_until(&mut first, "held").await;
        read_until(&mut second, "/second 0").await;
    })
    .await;
}

#[tokio::test]
async fn a_drain_lets_requests_end_and_says_close() {
    on_local(async {
        let house = House::plain();
        let mut idle = house.dial().await;
        idle.write_all(b"GET /one HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        read_until(&mut idle, "/one 0").await;
        house.story.arrived.notified().await;
        let mut busy = house.dial().await;
        busy.write_all(b"GET /hold HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        house.story.arrived.notified().await;
        house.shutdown.cancel();
        assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0, "an idle connection is let go");
        house.story.release.notify_one();
        let mut output = String::new();
        busy.read_to_string(&mut output).await.unwrap();
        assert!(output.contains("connection: close\r\n") && output.ends_with("held"), "{output}");
        assert_eq!(house.running.await.unwrap().unwrap(), Drained { finished: 2, cut: 0 });
    })
    .await;
}

#[tokio::test]
async fn an_idle_connection_may_bring_one_more_request_while_draining() {
    on_local(async {
        let house = House::plain();
        let mut idle = house.dial().await;
        idle.write_all(b"GET /one HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        read_until(&mut idle, "/one 0").await;
        house.story.arrived.notified().await;
        house.shutdown.cancel();
        let Address::Tcp(address) = house.address else { panic!("a TCP listener") };
        while TcpStream::connect(address).await.is_ok() {}
        idle.write_all(b"GET /hold HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        house.story.arrived.notified().await;
        house.story.release.notify_one();
        let mut output = String::new();
        idle.read_to_string(&mut output).await.unwrap();
        assert!(output.contains("connection: close\r\n") && output.ends_with("held"), "{output}");
    })
    .await;
}

#[tokio::test]
async fn the_end_of_a_drain_cuts_what_is_left() {
    on_local(async {
        let house = House::open(
            ListenerSettings::new("127.0.0.1:0".parse().unwrap()),
            WorkerRules { drain: Duration::from_millis(50), ..rules() },
        );
        let mut busy = house.dial().await;
        busy.write_all(b"GET /hold HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        house.story.arrived.notified().await;
        house.shutdown.cancel();
        assert_eq!(house.running.await.unwrap().unwrap(), Drained { finished: 0, cut: 1 });
        let end = busy.read(&mut [0; 1]).await.map_err(|fault| fault.kind());
        assert_eq!(end, Err(io::ErrorKind::ConnectionReset));
    })
    .await;
}

// ── clocks: pipes and paused time ───────────────────────────────────────────────────────────

impl ClientStream for DuplexStream {
    fn reset_on_drop(&self) {}
}

/// Serves one end of a pipe; the other is the client's.
fn pipe(story: &Story) -> (DuplexStream, JoinHandle<Ending>) {
    let (client, server) = duplex(16 << 10);
    let story = Rc::new(story.clone());
    let served = spawn_local(async move {
        let wire = Rc::new(Wire::new(Clock::system()));
        let (stream, ending) = serve_http1(server, &wire, piped(), rules().connection, story).await;
        part(stream, &wire, &ending, None).await;
        ending
    });
    (client, served)
}

/// Serves a connection in memory as a listener on a unix socket would that judges no signature.
pub(crate) async fn serve_in_memory(stream: DuplexStream, clock: Clock, answer: Rc<impl Answer>) {
    let mut settings = ListenerSettings::new(Address::Unix("/".into()));
    settings.verify = false;
    let wire = Rc::new(Wire::new(clock));
    let (stream, ending) =
        serve_http1(stream, &wire, at_the_door(&settings), rules().connection, answer).await;
    part(stream, &wire, &ending, None).await;
}

/// Who is at the other end of a pipe.
fn piped() -> Rc<Peer> {
    at_the_door(&ListenerSettings::new(Address::Unix("/".into())))
}

fn at_the_door(settings: &ListenerSettings) -> Rc<Peer> {
    let door = Arc::new(Door::new(Terms::new(settings, None).unwrap(), settings.address.clone()));
    Rc::new(Peer {
        address: PeerAddress::Unix,
        tls: false,
        http2: false,
        client_certificate: None,
        id: 0,
        welcomed: RefCell::new(door.terms()),
        door,
    })
}

/// An HTTP/2 client at one end of a pipe, whose streams open with this window.
async fn http2_pipe(window: u32) -> (hyper::client::conn::http2::SendRequest<Empty<Bytes>>, Rc<Wire>) {
    let (client, server) = duplex(64 << 10);
    let wire = Rc::new(Wire::new(Clock::system()));
    spawn_local({
        let wire = Rc::clone(&wire);
        let story = Rc::new(Story::default());
        async move { serve_http2(server, &wire, piped(), rules().connection, story, Rc::new(|_| {})).await }
    });
    let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor)
        .initial_stream_window_size(window)
        .handshake(TokioIo::new(client))
        .await
        .unwrap();
    spawn_local(connection);
    (sender, wire)
}

fn since(start: tokio::time::Instant) -> Duration {
    start.elapsed()
}

#[expect(clippy::disallowed_methods, reason = "tests steer this clock")]
fn now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

fn overdue(ending: &Ending) -> Option<Overdue> {
    match ending {
        Ending::Overdue(why) => Some(*why),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_drips_is_dropped_in_time() {
    on_local(async {
        let start = now();
        let (mut client, served) = pipe(&Story::default());
        let drip = async {
            for byte in b"GET / HTTP/1.1\r\nHost: h".iter().cycle() {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if client.write_all(&[*byte]).await.is_err() {
                    break;
                }
            }
        };
        let (ending, ()) = tokio::join!(served, drip);
        assert_eq!(overdue(&ending.unwrap()), Some(Overdue::Head));
        // the first byte comes after 1 s, the end 10 s later; then a moment to part
        assert!((11..=13).contains(&since(start).as_secs()), "{:?}", since(start));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_says_nothing_is_dropped_as_a_head_that_drips() {
    on_local(async {
        let start = now();
        let (_client, served) = pipe(&Story::default());
        assert_eq!(overdue(&served.await.unwrap()), Some(Overdue::Head));
        assert_eq!(since(start).as_secs(), 11, "10 s, and one to part");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn idle_time_counts_from_the_last_answer() {
    on_local(async {
        let (mut client, served) = pipe(&Story::default());
        for _ in 0..3 {
            client.write_all(b"GET /k HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
            read_until(&mut client, "/k 0").await;
            tokio::time::sleep(Duration::from_secs(59)).await;
        }
        let start = now();
        client.write_all(b"GET /k HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        read_until(&mut client, "/k 0").await;
        assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
        assert_eq!(since(start).as_secs(), 60);
        assert!(matches!(served.await.unwrap(), Ending::Closed(End::Done)));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_answer_is_read_as_slowly_as_its_reader_likes() {
    on_local(async {
        let (mut client, server) = duplex(16 << 10);
        let wire = Rc::new(Wire::new(Clock::system()));
        let served = spawn_local({
            let (wire, story) = (Rc::clone(&wire), Rc::new(Story::default()));
            async move {
                let (stream, ending) = serve_http1(server, &wire, piped(), rules().connection, story).await;
                part(stream, &wire, &ending, None).await;
            }
        });
        client.write_all(b"GET /two HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        let mut answer = vec![0; 10 << 10];
        client.read_exact(&mut answer).await.unwrap();
        // what is left is in our buffers: its request has ended, and the client reads
        wire.drain();
        for _ in 0..11 {
            tokio::time::sleep(Duration::from_secs(20)).await;
            assert!(wire.is_busy(), "a cut would be one");
            let at = answer.len();
            answer.resize(at + (10 << 10), 0);
            client.read_exact(&mut answer[at..]).await.unwrap();
        }
        client.read_to_end(&mut answer).await.unwrap();
        let head = answer.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
        assert_eq!(answer.len() - head, 128 << 10);
        served.await.unwrap();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_is_nobodys_idleness() {
    on_local(async {
        let story = Story::default();
        let (mut client, _served) = pipe(&story);
        client.write_all(b"GET /hold HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        story.arrived.notified().await;
        tokio::time::sleep(Duration::from_mins(10)).await;
        story.release.notify_one();
        read_until(&mut client, "held").await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stalls_is_cut_and_one_that_is_slow_is_not() {
    on_local(async {
        let (mut client, served) = pipe(&Story::default());
        client.write_all(b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(119)).await;
            let mut room = vec![0; 16 << 10];
            client.read_exact(&mut room).await.unwrap();
        }
        let start = now();
        assert_eq!(overdue(&served.await.unwrap()), Some(Overdue::Reader));
        assert!((119..=121).contains(&since(start).as_secs()), "{:?}", since(start));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_http2_client_without_a_window_is_a_reader_that_stalls() {
    on_local(async {
        let start = now();
        let (mut sender, wire) = http2_pipe(0).await;
        // small answers and large ones: not a byte of either can leave
        for target in ["/large", "/peer"] {
            let stalled = sender.send_request(get(target)).await.unwrap();
            let ended = tokio::time::timeout(Duration::from_mins(10), stalled.into_body().collect()).await;
            let fault = ended.expect("it ends").expect_err("reset");
            assert_eq!(reason(&fault), Some(h2::Reason::CANCEL));
        }
        assert!((240..=242).contains(&since(start).as_secs()), "{:?}", since(start));
        assert!(wire.is_quiet(), "nothing is in flight");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn one_stalled_stream_ends_and_its_neighbours_go_on() {
    on_local(async {
        let (mut sender, wire) = http2_pipe(1 << 20).await;
        let stalled = sender.send_request(get("/large")).await.unwrap().into_body();
        let mut slow = sender.send_request(get("/large")).await.unwrap().into_body();
        let mut read = 0;
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_secs(100)).await;
            let other = sender.send_request(get("/peer")).await.unwrap().into_body().collect().await;
            assert_eq!(other.unwrap().to_bytes(), "false false false");
            // as much as makes hyper widen the window again
            let before = read;
            while read < before + (1 << 20) {
                read += slow.frame().await.unwrap().unwrap().into_data().unwrap().len();
            }
        }
        let fault = stalled.collect().await.expect_err("reset");
        assert_eq!(reason(&fault), Some(h2::Reason::CANCEL));
        assert_eq!(slow.collect().await.unwrap().to_bytes().len() + read, 64 << 20);
        assert!(wire.is_quiet());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn places_are_taken_back_from_those_who_have_not_read_longest() {
    on_local(async {
        let pause = || tokio::time::sleep(Duration::from_secs(10));
        let (mut sender, second) = http2_pipe(0).await;
        let oldest = sender.send_request(get("/large")).await.unwrap();
        pause().await;
        let (mut client, server) = duplex(64 << 10);
        let first = Rc::new(Wire::new(Clock::system()));
        let served = spawn_local({
            let wire = Rc::clone(&first);
            let story = Rc::new(Story::default());
            async move { serve_http1(server, &wire, piped(), rules().connection, story).await.1 }
        });
        client.write_all(b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        pause().await;
        let _newest = sender.send_request(get("/large")).await.unwrap();
        pause().await;

        let guests = Guests::new();
        for (id, wire) in [(1, &first), (2, &second)] {
            guests.open.borrow_mut().insert(id, Guest { wire: Rc::clone(wire), peer: piped() });
        }
        let ago = |seconds| now().into_std().checked_sub(Duration::from_secs(seconds)).unwrap();
        assert_eq!(guests.end_stalled(ago(40), 9), 0, "nobody has waited so long");
        assert_eq!(guests.end_stalled(ago(15), 1), 1, "no more than are wanted");
        let fault = oldest.into_body().collect().await.expect_err("reset");
        assert_eq!(reason(&fault), Some(h2::Reason::CANCEL));
        assert_eq!(guests.end_stalled(ago(15), 9), 1, "the next, and once");
        assert_eq!(guests.end_stalled(ago(15), 9), 0);
        assert_eq!(overdue(&served.await.unwrap()), Some(Overdue::Shed));
        assert!(first.is_quiet() && !second.is_quiet(), "the newest goes on");
    })
    .await;
}

// ── the gate against hyper and us ──────────────────────────────────────────────────────────────────

/// How many requests a bare hyper server sees in these bytes.
async fn hyper_sees(input: Vec<u8>) -> usize {
    let (mut client, server) = duplex(1 << 20);
    let seen = std::cell::Cell::new(0);
    let service = hyper::service::service_fn(|request: Request<Incoming>| {
        seen.set(seen.get() + 1);
        async move {
            // a body that breaks off still is a request seen
            let _length = request.into_body().collect().await.map(|body| body.to_bytes().len());
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .serve_connection(TokioIo::new(server), service);
    client.write_all(&input).await.unwrap();
    client.shutdown().await.unwrap();
    let mut answers = Vec::new();
    let (_ended, _read) = tokio::join!(connection, client.read_to_end(&mut answers));
    seen.get()
}

/// How many requests our own server sees in these bytes, without the gate before it.
async fn we_see(input: Vec<u8>) -> usize {
    let (mut client, server) = duplex(1 << 20);
    let seen = std::cell::Cell::new(0);
    let serve = |_: Head, body: ClientBody| {
        seen.set(seen.get() + 1);
        async move {
            let _length = length_of(body).await;
            Response::new(Empty::<Bytes>::new())
        }
    };
    client.write_all(&input).await.unwrap();
    client.shutdown().await.unwrap();
    let mut answers = Vec::new();
    let serving = async {
        let mut serving = Serving::new(server, serve, 64 << 10, Clock::system());
        (&mut serving).await;
        drop(serving.into_io());
    };
    let ((), _read) = tokio::join!(serving, client.read_to_end(&mut answers));
    seen.get()
}

fn well_formed() -> impl Strategy<Value = Vec<u8>> {
    let request = prop_oneof![
        Just("GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned()),
        Just("\r\nGET http://h/x?y HTTP/1.1\r\nHost: h\r\nX:\r\n\r\n".to_owned()),
        (0_usize..40).prop_map(|length| format!(
            "PUT /k HTTP/1.1\r\nhost: h\r\ncontent-length: {length}\r\n\r\n{}",
            "GET / HTTP/1.1\r\nHost: h\r\n\r\nxxxxxxxxxxxxxx".get(..length).unwrap()
        )),
        prop::collection::vec((1_usize..20, any::<bool>()), 0..4).prop_map(|chunks| {
            let mut text = "PUT /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
            for (length, extended) in chunks {
                let extension = if extended { ";a=\"b\"" } else { "" };
                let data = "\r\n0\r\n\r\nGET / HTTP/1.1".get(..length).unwrap();
                text = format!("{text}{length:X}{extension}\r\n{data}\r\n");
            }
            text + "0\r\nt: u\r\n\r\n"
        }),
    ];
    prop::collection::vec(request, 0..8).prop_map(|requests| requests.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn hyper_and_we_see_the_requests_that_the_gate_counts(input in well_formed()) {
        let mut scanner = Scanner::new(rules().connection.head);
        prop_assert_eq!(scanner.scan(&input).violation, None);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let seen = runtime.block_on(on_local(hyper_sees(input.clone())));
        prop_assert_eq!(seen as u64, scanner.heads());
        let served = runtime.block_on(on_local(we_see(input)));
        prop_assert_eq!(served as u64, scanner.heads());
    }

    /// Whatever bytes of such requests are changed, hyper never sees a request more than the
    /// gate counted before it refused.
    #[test]
    fn neither_hyper_nor_we_see_more_than_what_passes(
        mut input in well_formed(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(b"\r\n :;0129af,xXhH#".to_vec())), 1..4),
    ) {
        prop_assume!(!input.is_empty());
        for (at, byte) in changes {
            let at = at.index(input.len());
            input[at] = byte;
        }
        let mut scanner = Scanner::new(rules().connection.head);
        let scan = scanner.scan(&input);
        input.truncate(scan.passed);
        // HTTP/1.0 ends a connection after one request: whatever follows stays unseen
        let ended_early = input.windows(8).any(|window| window == b"HTTP/1.0");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for seen in [
            runtime.block_on(on_local(hyper_sees(input.clone()))),
            runtime.block_on(on_local(we_see(input))),
        ] {
            prop_assert!(seen as u64 == scanner.heads() || (ended_early && (seen as u64) < scanner.heads()));
        }
    }
}

// ── TLS and HTTP/2 ──────────────────────────────────────────────────────────────────────────

struct Secure {
    house: House,
    authority: Authority,
}

fn pem(name: &str, text: String) -> PemFile {
    PemFile::new(name.into(), Secret::from(text))
}

impl Secure {
    fn open(client_ca: bool) -> Self {
        Self::with(client_ca, rules())
    }

    fn with(client_ca: bool, rules: WorkerRules) -> Self {
        let authority = Authority::new();
        let (certificate, key) = authority.issue("localhost");
        let files = TlsSettings {
            certificate: pem("tls.crt", certificate),
            key: pem("tls.key", key),
            client_ca: client_ca.then(|| pem("ca.crt", authority.pem())),
        };
        let mut settings = ListenerSettings::new("127.0.0.1:0".parse().unwrap());
        settings.tls = Some(files);
        Self { house: House::open(settings, rules), authority }
    }

    async fn dial(
        &self,
        protocol: &str,
        certificate: bool,
    ) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from(self.authority.der())).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = if certificate {
            let (certificate, key) = self.authority.issue("client");
            let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![certificate], key).unwrap()
        } else {
            builder.with_no_client_auth()
        };
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, self.house.dial().await).await
    }

    async fn http2(&self) -> hyper::client::conn::http2::SendRequest<Empty<Bytes>> {
        let stream = self.dial("h2", false).await.unwrap();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor, TokioIo::new(stream)).await.unwrap();
        spawn_local(connection);
        sender
    }
}

#[derive(Clone)]
struct TokioExecutor;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for TokioExecutor {
    fn execute(&self, task: F) {
        spawn_local(task);
    }
}

fn get(target: &str) -> Request<Empty<Bytes>> {
    Request::get(format!("https://localhost{target}")).body(Empty::new()).unwrap()
}

#[tokio::test]
async fn http1_over_tls_passes_the_gate_too() {
    on_local(async {
        let secure = Secure::open(false);
        let mut stream = secure.dial("http/1.1", false).await.unwrap();
        stream.write_all(b"GET /peer HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\n\n").await.unwrap();
        let mut output = String::new();
        stream.read_to_string(&mut output).await.unwrap();
        assert!(output.contains("true false false"), "{output}");
        assert!(output.contains("HTTP/1.1 400 Bad Request"), "{output}");
    })
    .await;
}

#[tokio::test]
async fn http2_carries_requests_and_resets_the_stream_of_a_cut_answer() {
    on_local(async {
        let secure = Secure::open(false);
        let mut sender = secure.http2().await;
        let body = sender.send_request(get("/peer")).await.unwrap().into_body().collect().await.unwrap();
        assert_eq!(body.to_bytes(), "true true false");
        // the reset may overtake the head
        let cut = async { sender.send_request(get("/cut")).await?.into_body().collect().await };
        let fault = cut.await.expect_err("a cut answer does not end");
        assert!(reason(&fault).is_some(), "{fault:?}");
        let large = sender.send_request(get("/large")).await.unwrap().into_body().collect().await.unwrap();
        assert_eq!(large.to_bytes().len(), 64 << 20, "the connection goes on");
    })
    .await;
}

fn reason(fault: &hyper::Error) -> Option<h2::Reason> {
    std::error::Error::source(fault)
        .and_then(|cause| cause.downcast_ref::<h2::Error>())
        .and_then(h2::Error::reason)
}

#[tokio::test]
async fn two_hosts_reset_the_stream() {
    on_local(async {
        let secure = Secure::open(false);
        let mut sender = secure.http2().await;
        let mut request = get("/peer");
        request.headers_mut().insert("host", http::HeaderValue::from_static("other"));
        let fault = sender.send_request(request).await.expect_err("two opinions");
        assert_eq!(reason(&fault), Some(h2::Reason::PROTOCOL_ERROR));
        assert!(sender.send_request(get("/peer")).await.is_ok());
        assert_eq!(*secure.house.story.seen.borrow(), ["/peer"]);
        assert_eq!(*secure.house.refused.borrow(), [Violation::Authority]);
    })
    .await;
}

#[tokio::test]
async fn http2_is_for_listeners_that_take_signed_requests_only() {
    on_local(async {
        let mut secure = Secure::open(false);
        let mut sender = secure.http2().await;
        sender.send_request(get("/peer")).await.unwrap();
        let mut unverified = secure.house.doors[0].terms().settings.clone();
        unverified.verify = false;
        secure.house.reload(&[unverified]).await;
        assert!(secure.dial("h2", false).await.is_err());
        // nor may one that is open go on
        if let Ok(answer) = sender.send_request(get("/terms")).await {
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, "Err(Outdated)");
        }
        assert!(secure.dial("http/1.1", false).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn http2_heads_are_as_long_as_http1_heads() {
    on_local(async {
        let mut rules = rules();
        rules.connection.head.bytes = 48 << 10;
        let secure = Secure::with(false, rules);
        let mut sender = secure.http2().await;
        for (bytes, status) in [(40 << 10, 200), (50 << 10, 431)] {
            let mut request = get("/peer");
            request.headers_mut().insert("x-long", "a".repeat(bytes).try_into().unwrap());
            // a client that was told the limit keeps it
            let answered = sender.send_request(request).await.map(|answer| answer.status().as_u16());
            assert!(
                answered.as_ref().is_ok_and(|got| *got == status) || (answered.is_err() && status == 431)
            );
        }
        assert!(sender.send_request(get("/peer")).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn client_certificates_are_required_where_an_authority_is_named() {
    on_local(async {
        let secure = Secure::open(true);
        let mut stream = secure.dial("http/1.1", true).await.unwrap();
        stream.write_all(b"GET /peer HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut output = String::new();
        stream.read_to_string(&mut output).await.unwrap();
        assert!(output.ends_with("true false true"), "{output}");
        // with TLS 1.3 the client learns of it when it first reads
        let refused = async {
            let mut stream = secure.dial("http/1.1", false).await?;
            stream.read_to_end(&mut Vec::new()).await
        };
        assert!(refused.await.is_err());
    })
    .await;
}

#[tokio::test]
async fn what_is_no_tls_is_closed() {
    on_local(async {
        // the last of these is an unfinished hello, which takes the handshake's time to end
        let secure = Secure::with(false, WorkerRules { handshake: Duration::from_secs(1), ..rules() });
        for garbage in [&b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"[..], &[0xff; 64], &[0x16, 3, 1, 0, 1, 9]] {
            let mut stream = secure.house.dial().await;
            stream.write_all(garbage).await.unwrap();
            // an alert may come before the end, and the end may be a reset
            let _end = stream.read_to_end(&mut Vec::new()).await;
        }
        assert!(secure.dial("http/1.1", false).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn http2_connections_are_drained_with_goaway() {
    on_local(async {
        let secure = Secure::open(false);
        let mut sender = secure.http2().await;
        let held = sender.send_request(get("/hold"));
        tokio::pin!(held);
        tokio::select! {
            _ = &mut held => panic!("it is held"),
            () = secure.house.story.arrived.notified() => {}
        }
        secure.house.shutdown.cancel();
        secure.house.story.release.notify_one();
        let body = held.await.unwrap().into_body().collect().await.unwrap();
        assert_eq!(body.to_bytes(), "held");
        assert_eq!(secure.house.running.await.unwrap().unwrap(), Drained { finished: 1, cut: 0 });
    })
    .await;
}
