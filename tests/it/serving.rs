//! The serving side: TLS, HTTP/2, addresses, sockets, limits, patience, drains, and what operators
//! see of it.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use crate::house::client::{Client, Connection, Ended, Payload, Reply, Request, Signed};
use crate::house::gateway::{Gateway, Setup, run};
use crate::house::region::{Act, End, PATIENCE, Region, When};
use crate::house::text;
use crate::house::tls::{self, Authority};

const BUCKET: &str = "photos-home";

fn home() -> Region {
    let region = Region::start("home", &[BUCKET]);
    region.seed(BUCKET, "k", "x");
    region
}

fn with(home: &Region, rest: &str) -> Setup {
    Setup { rest: rest.to_owned(), ..Setup::over(&[home]) }
}

fn id(reply: &Reply) -> &str {
    reply.header("x-amz-request-id").expect("a request id")
}

#[track_caller]
fn refused(reply: &Reply, status: u16, code: &str) {
    assert_eq!((reply.status, reply.code().as_deref()), (status, Some(code)), "{}", reply.text());
}

// ── TLS and HTTP/2 ───────────────────────────────────────────────────────────

/// A gateway with TLS, and the authority of its certificate.
fn encrypted(home: &Region, folder: &tempfile::TempDir, rest: &str) -> (Gateway, Authority) {
    let authority = Authority::new();
    let listener = authority.serve(folder.path());
    let setup = Setup { listener, ..with(home, rest) };
    (setup.start(), authority)
}

#[tokio::test]
async fn only_clients_with_a_certificate_of_the_authority_get_in() {
    let home = home();
    let folder = tempfile::tempdir().unwrap();
    let (servers, clients) = (Authority::new(), Authority::new());
    let authorities = folder.path().join("clients.crt");
    std::fs::write(&authorities, clients.pem()).unwrap();
    let listener = servers.serve(folder.path());
    let listener = listener.replace("}\n", &format!(", client_ca: {}}}\n", authorities.display()));
    let gateway = Setup { listener, ..Setup::over(&[&home]) }.start();
    let client = gateway.client();
    let get = client.sign(&Request::get("/photos/k")).bytes();
    let known = clients.issue("app");
    let unknown = Authority::new().issue("app");
    for (identity, wanted) in [(Some(&known), Some(200)), (Some(&unknown), None), (None, None)] {
        // with TLS 1.3 the refusal comes after the client's part of the handshake
        let reply = match tls::connect(gateway.address, servers.client(identity, &[b"http/1.1"])).await {
            Ok(stream) => Connection::over(stream).exchange(&get, "GET").await,
            Err(_) => None,
        };
        assert_eq!(reply.map(|reply| reply.status), wanted);
    }
    // plain text is no handshake
    let mut plain = client.connect().await;
    assert!(plain.exchange(&get, "GET").await.is_none_or(|reply| reply.status == 400));
    gateway.assert_alive();
}

/// An HTTP/2 connection.
struct Second {
    send: hyper::client::conn::http2::SendRequest<Full<Bytes>>,
    client: Client,
}

impl Second {
    async fn open(gateway: &Gateway, authority: &Authority) -> Self {
        Self::with_window(gateway, authority, 1 << 20).await
    }

    /// Answers get this many bytes before the client has read some.
    async fn with_window(gateway: &Gateway, authority: &Authority, window: u32) -> Self {
        let stream =
            tls::connect(gateway.address, authority.client(None, &[b"h2", b"http/1.1"])).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (send, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(window)
            .handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        Self { send, client: gateway.client() }
    }

    async fn send(&mut self, request: &Request) -> http::Response<hyper::body::Incoming> {
        let signed = self.client.sign(request);
        let uri = format!("https://{}{}", self.client.host, signed.target);
        let mut out = http::Request::builder().method(signed.method.as_str()).uri(uri);
        // the authority stands for the Host that was signed
        for (name, value) in signed.headers.iter().filter(|(name, _)| name != "host") {
            out = out.header(name, value);
        }
        let body = Full::new(Bytes::from(signed.body));
        self.send.send_request(out.body(body).unwrap()).await.expect("an answer")
    }
}

async fn whole(response: http::Response<hyper::body::Incoming>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn http2_carries_the_same_requests() {
    let home = home();
    let folder = tempfile::tempdir().unwrap();
    let (gateway, authority) = encrypted(&home, &folder, "domains: [s3.example.com]\n");
    let mut second = Second::open(&gateway, &authority).await;
    let body: Vec<u8> = (0..300_000).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let put = second.send(&Request::put("/photos/a%20b", body.clone())).await;
    assert_eq!(put.status(), 200);
    assert_eq!(home.object(BUCKET, "a b").unwrap().body, body);
    let got = second.send(&Request::get("/photos/a%20b")).await;
    assert_eq!((got.status().as_u16(), got.version()), (200, http::Version::HTTP_2));
    assert_eq!(whole(got).await, body);
    let head = second.send(&Request::head("/photos/a%20b")).await;
    assert_eq!(head.headers()["content-length"], "300000");
    let listed = second.send(&Request::get("/photos?list-type=2")).await;
    let listed = String::from_utf8(whole(listed).await.to_vec()).unwrap();
    assert_eq!(text::elements(&listed, "Key"), ["a b", "k"]);
    // the authority addresses too
    second.client.host = "photos.s3.example.com".to_owned();
    let got = second.send(&Request::get("/k")).await;
    assert_eq!((got.status().as_u16(), whole(got).await), (200, Bytes::from("x")));
    second.client.host = gateway.client().host;
    second.client.settings.secret = "wrong".to_owned();
    let forged = second.send(&Request::get("/photos/k")).await;
    assert_eq!(forged.status(), 403);
    let line = gateway.access_line(forged.headers()["x-amz-request-id"].to_str().unwrap());
    assert_eq!((line["protocol"].as_str(), line["tls"].as_bool()), (Some("h2"), Some(true)));
}

/// The access line of a path that is as wanted, waited for.
fn line_of(gateway: &Gateway, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    gateway.wait_for_line(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        (line["path"] == path && wanted(&line)).then_some(line)
    })
}

/// An HTTP/2 frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// What an HTTP/2 connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A text of HPACK, as it is: its length in a prefix of seven bits, then its bytes.
fn hpack(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.len();
    if rest < 127 {
        out.push(u8::try_from(rest).unwrap());
    } else {
        out.push(127);
        rest -= 127;
        while rest >= 128 {
            out.push(u8::try_from(rest % 128).unwrap() | 128);
            rest /= 128;
        }
        out.push(u8::try_from(rest).unwrap());
    }
    out.extend_from_slice(text.as_bytes());
}

/// A request's pseudo fields and fields, uncompressed.
fn header_block(signed: &Signed) -> Vec<u8> {
    let mut block = Vec::new();
    let host = text::header(&signed.headers, "host").unwrap();
    let pseudo = [
        (":method", signed.method.as_str()),
        (":scheme", "https"),
        (":authority", host),
        (":path", &signed.target),
    ];
    let fields = signed.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in pseudo.into_iter().chain(fields.filter(|(name, _)| *name != "host")) {
        block.push(0);
        hpack(name, &mut block);
        hpack(value, &mut block);
    }
    block
}

/// Sends a request over a new HTTP/2 connection byte for byte as it says, which no client library
/// would: a fragment in its target, a body without a length. What becomes of it the log tells.
async fn send_raw(
    gateway: &Gateway,
    authority: &Authority,
    signed: &Signed,
    ends: bool,
) -> impl Sized + use<> {
    let mut stream = tls::connect(gateway.address, authority.client(None, &[b"h2"])).await.unwrap();
    let block = header_block(signed);
    let (end_stream, end_headers) = (1, 4);
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    bytes.extend(frame(1, end_headers | if ends { end_stream } else { 0 }, 1, &block));
    if !ends {
        bytes.extend(frame(0, end_stream, 1, &signed.body));
    }
    stream.write_all(&bytes).await.unwrap();
    stream.flush().await.unwrap();
    stream
}

#[tokio::test]
async fn a_fragment_over_http2_never_means_another_object_than_was_signed() {
    let home = home();
    home.seed(BUCKET, "dir", "x");
    let folder = tempfile::tempdir().unwrap();
    let (gateway, authority) = encrypted(&home, &folder, "");
    let client = gateway.client();
    let delete = |signed_for: &str| client.sign(&Request::delete(signed_for)).aim("/photos/dir#1");
    let mut open = Vec::new();
    for signed_for in ["/photos/dir%231", "/photos/other"] {
        open.push(send_raw(&gateway, &authority, &delete(signed_for), true).await);
    }
    let get = Request::get("/photos/dir");
    let presigned = client.presign(&get, 60);
    let between = presigned.replacen("/photos/dir", "/photos/dir#1", 1);
    open.push(send_raw(&gateway, &authority, &client.unsigned(&get).aim(&between), true).await);
    let refused = || gateway.access_lines().iter().filter(|line| line["status"] == 403).count();
    let all = async {
        while refused() < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("all refused");
    assert!(home.object(BUCKET, "dir").is_some());
    // behind the signature nothing is left to mean something else
    let after = client.unsigned(&get).aim(&format!("{presigned}#1"));
    let _open = send_raw(&gateway, &authority, &after, true).await;
    line_of(&gateway, "/photos/dir", |line| line["status"] == 200);
    assert!(
        home.seen().iter().all(|seen| seen.method == "GET" && seen.target.starts_with("/photos-home/dir"))
    );
}

#[tokio::test]
async fn http2_bodies_without_a_length_are_empty_or_refused() {
    let home = home();
    let folder = tempfile::tempdir().unwrap();
    let (gateway, authority) = encrypted(&home, &folder, "");
    let put = |key: &str, body: &str| {
        let put = Request::put(&format!("/photos/{key}"), body);
        gateway.client().sign(&put).without("content-length")
    };
    let _open = send_raw(&gateway, &authority, &put("empty", ""), true).await;
    line_of(&gateway, "/photos/empty", |line| line["status"] == 200);
    assert_eq!(home.object(BUCKET, "empty").unwrap().body, "");
    let _open = send_raw(&gateway, &authority, &put("unmeasured", "body"), false).await;
    let line = line_of(&gateway, "/photos/unmeasured", |_| true);
    assert_eq!((line["status"].as_u64(), line["code"].as_str()), (Some(411), Some("MissingContentLength")));
    // an encoded body says its length itself
    let chunked = Request::put("/photos/chunked", "body").payload(Payload::SignedChunks(8192));
    let _open =
        send_raw(&gateway, &authority, &gateway.client().sign(&chunked).without("content-length"), false)
            .await;
    line_of(&gateway, "/photos/chunked", |line| line["status"] == 200);
    assert_eq!(home.object(BUCKET, "chunked").unwrap().body, "body");
}

#[tokio::test]
async fn two_opinions_on_the_host_over_http2_have_their_access_line() {
    let home = home();
    let folder = tempfile::tempdir().unwrap();
    let (gateway, authority) = encrypted(&home, &folder, "");
    let mut second = Second::open(&gateway, &authority).await;
    let uri = format!("https://{}/photos/k", gateway.address);
    let request = http::Request::get(uri).header("host", "elsewhere.example");
    second.send.send_request(request.body(Full::default()).unwrap()).await.expect_err("a reset");
    let line = gateway.wait_for_line(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        (line["cause"] == "authority").then_some(line)
    });
    assert_eq!((line["protocol"].as_str(), line["aborted"].as_str()), (Some("h2"), Some("proxy")), "{line}");
    assert!(line["id"].as_str().is_some_and(|id| !id.is_empty()));
    let (_, metrics) = gateway.admin_text("/metrics").await;
    assert!(metrics.contains("nearpoint_streams_reset_total{reason=\"authority\"} 1"), "{metrics}");
}

#[tokio::test]
async fn a_connection_holds_a_hundred_streams_and_no_more() {
    const MOST: u32 = 100;
    let home = home();
    home.fault(When::key("k"), Act::Silent);
    let folder = tempfile::tempdir().unwrap();
    let (gateway, authority) = encrypted(&home, &folder, "");
    let block = header_block(&gateway.client().sign(&Request::get("/photos/k")));
    let mut stream = tls::connect(gateway.address, authority.client(None, &[b"h2"])).await.unwrap();
    let mut bytes = [PREFACE, &frame(4, 0, 0, &[])].concat();
    for number in 0..=MOST {
        // a whole head, and no body
        bytes.extend(frame(1, 4 | 1, 2 * number + 1, &block));
    }
    stream.write_all(&bytes).await.unwrap();
    stream.flush().await.unwrap();
    // the first stream that is reset, and why
    let reset = async {
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.unwrap();
            let [high, middle, low, kind, _, number @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
            stream.read_exact(&mut payload).await.unwrap();
            if kind == 3 {
                let reason = u32::from_be_bytes(payload.try_into().unwrap());
                return (u32::from_be_bytes(number), h2::Reason::from(reason));
            }
        }
    };
    let reset = tokio::time::timeout(PATIENCE, reset).await.expect("one too many is refused");
    assert_eq!(reset, (2 * MOST + 1, h2::Reason::REFUSED_STREAM));
}

#[tokio::test]
async fn a_cut_reply_over_http2_goes_on() {
    let home = home();
    let body: Vec<u8> = (0..1 << 20).map(|at| u8::try_from(at % 251).unwrap()).collect();
    home.seed(BUCKET, "big", body.clone());
    let folder = tempfile::tempdir().unwrap();
    let (gateway, authority) = encrypted(&home, &folder, "");
    let mut second = Second::open(&gateway, &authority).await;
    home.fault(When::key("big").times(2), Act::CutAfter(100_000, End::Close));
    let reply = second.send(&Request::get("/photos/big")).await;
    let request_id = reply.headers()["x-amz-request-id"].to_str().unwrap().to_owned();
    let collected = reply.into_body().collect().await.unwrap();
    assert_eq!(gateway.access_line(&request_id)["resumed"], 2);
    // what the head could not know
    let trailers = collected.trailers().expect("it was gone on with");
    assert_eq!((trailers.len(), &trailers["x-nearpoint-resumed"]), (1, &HeaderValue::from(2)));
    assert_eq!(collected.to_bytes(), body);
    let uncut = second.send(&Request::get("/photos/big")).await.into_body().collect().await.unwrap();
    assert_eq!(uncut.trailers(), None);
}

#[tokio::test]
async fn a_cut_reply_resets_its_stream_and_no_other() {
    let home = home();
    home.seed(BUCKET, "big", vec![7; 1 << 20]);
    let folder = tempfile::tempdir().unwrap();
    let (gateway, authority) = encrypted(&home, &folder, "");
    let mut second = Second::open(&gateway, &authority).await;
    home.fault(When::key("big"), Act::CutAfter(100_000, End::Close));
    let reply = second.send(&Request::get("/photos/big")).await;
    assert_eq!(reply.status(), 200);
    let request_id = reply.headers()["x-amz-request-id"].to_str().unwrap().to_owned();
    let error = reply.into_body().collect().await.expect_err("cut, and never a clean end");
    let mut source: Option<&dyn std::error::Error> = Some(&error);
    let mut reason = None;
    while let Some(error) = source {
        reason = reason.or(error.downcast_ref::<h2::Error>().and_then(h2::Error::reason));
        source = error.source();
    }
    assert!(reason.is_some_and(|reason| reason != h2::Reason::NO_ERROR), "{error:?}");
    assert_eq!(gateway.access_line(&request_id)["aborted"], "region");
    let next = second.send(&Request::get("/photos/k")).await;
    assert_eq!(whole(next).await, "x");
}

#[tokio::test]
async fn a_cut_reply_over_http1_breaks_its_connection() {
    let home = home();
    home.seed(BUCKET, "big", vec![7; 1 << 20]);
    let gateway = with(&home, "").start();
    home.fault(When::key("big"), Act::CutAfter(100_000, End::Close));
    let reply = gateway.client().send(&Request::get("/photos/big")).await;
    assert_eq!((reply.status, reply.ended), (200, Ended::Cut));
    assert_eq!(gateway.access_line(id(&reply))["aborted"], "region");
}

// ── addresses and sockets ────────────────────────────────────────────────────

#[tokio::test]
async fn hosts_address_buckets_in_every_domain() {
    let home = home();
    let gateway = with(&home, "domains: [s3.example.com, \"storage.internal\"]\n").start();
    let mut client = gateway.client();
    for host in [
        "photos.s3.example.com",
        "photos.s3.example.com:9000",
        "photos.storage.internal",
        "PHOTOS.s3.example.com",
    ] {
        client.host = host.to_owned();
        let got = client.send(&Request::get("/k")).await;
        assert_eq!(got.status, 200, "{host}: {}", got.text());
    }
    client.host = "photos.s3.example.com".to_owned();
    client.send(&Request::put("/photos/k", "y")).await.expect(200);
    assert_eq!(home.object(BUCKET, "photos/k").unwrap().body, "y", "a key may look like a path");
    let done = client.upload("/big", &[b"1"]).await.expect(200).text();
    let location = text::element(&done, "Location");
    assert_eq!(location.as_deref(), Some("http://photos.s3.example.com/big"));
    for host in ["s3.example.com", "storage.internal", "anything.else", "127.0.0.1", "[::1]:9000"] {
        client.host = host.to_owned();
        client.send(&Request::get("/photos/k")).await.expect(200);
    }
    client.host = "nowhere.s3.example.com".to_owned();
    refused(&client.send(&Request::get("/k")).await, 404, "NoSuchBucket");
}

#[tokio::test]
async fn a_unix_socket_serves_too() {
    let home = home();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s3.sock");
    let listener = format!("    - address: unix:{}\n", path.display());
    let gateway = Setup { listener, ..with(&home, "limits: {connections_per_ip: 1}\n") }.start();
    let client = gateway.client();
    let get = client.sign(&Request::get("/photos/k")).bytes();
    let mut one = Connection::over(UnixStream::connect(&path).await.unwrap());
    let mut two = Connection::over(UnixStream::connect(&path).await.unwrap());
    for connection in [&mut one, &mut two] {
        let reply = connection.exchange(&get, "GET").await.unwrap().expect(200);
        assert_eq!(gateway.access_line(id(&reply))["peer"], "unix");
    }
    gateway.signal("TERM");
    assert_eq!(gateway.wait_for_end().await, Some(0));
}

#[tokio::test]
async fn a_second_process_on_the_port_is_refused() {
    let home = home();
    let gateway = with(&home, "").start();
    let second = Setup { address: gateway.address.to_string(), ..with(&home, "") };
    let (code, written) = second.start_in_vain();
    assert_eq!(code, Some(1));
    assert!(written.contains("address in use"), "{written}");
    gateway.client().send(&Request::get("/photos/k")).await.expect(200);
}

// ── limits and patience ──────────────────────────────────────────────────────

#[tokio::test]
async fn loopback_has_no_limit_of_connections_by_address() {
    let home = home();
    let gateway = with(&home, "limits: {connections_per_ip: 1}\n").start();
    let client = gateway.client();
    let get = client.sign(&Request::get("/photos/k")).bytes();
    let (mut one, mut two) = (client.connect().await, client.connect().await);
    one.exchange(&get, "GET").await.unwrap().expect(200);
    two.exchange(&get, "GET").await.unwrap().expect(200);
    one.exchange(&get, "GET").await.unwrap().expect(200);
}

#[tokio::test]
async fn beyond_all_connections_the_next_waits() {
    let home = home();
    let gateway = with(&home, "limits: {connections: 1}\n").start();
    let client = gateway.client();
    let get = client.sign(&Request::get("/photos/k")).bytes();
    let mut one = client.connect().await;
    one.exchange(&get, "GET").await.unwrap().expect(200);
    let mut two = client.connect().await;
    two.stream.write_all(&get).await.unwrap();
    let waits = tokio::time::timeout(Duration::from_millis(200), two.reply("GET")).await;
    assert!(waits.is_err(), "served beyond the limit");
    drop(one);
    two.reply("GET").await.expect("its turn").expect(200);
}

#[tokio::test]
async fn few_descriptors_let_few_clients_in_and_regions_and_operators_get_theirs() {
    let home = home();
    let gateway = with(&home, "limits: {connections: 9000}\n").start_with_descriptors(128);
    let lowered = gateway.wait_for_line(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        let fields = line.get("fields").unwrap_or(&line).clone();
        fields["message"].as_str()?.starts_with("limits.connections is lowered").then_some(fields)
    });
    assert_eq!((lowered["configured"].as_u64(), lowered["in_force"].as_u64()), (Some(9000), Some(25)));
    let client = gateway.client();
    let get = client.sign(&Request::get("/photos/k")).bytes();
    let mut held = Vec::new();
    for _ in 0..25 {
        let mut one = client.connect().await;
        one.exchange(&get, "GET").await.unwrap().expect(200);
        held.push(one);
    }
    // a crowd beyond them waits its turn, and probes and operators go on
    let mut crowd = Vec::new();
    for _ in 0..100 {
        let mut one = client.connect().await;
        one.stream.write_all(&get).await.unwrap();
        crowd.push(one);
    }
    assert_eq!(gateway.admin_text("/livez").await.0, 200);
    for one in &mut held {
        one.exchange(&get, "GET").await.unwrap().expect(200);
    }
    drop(held);
    crowd[0].reply("GET").await.expect("its turn").expect(200);
    gateway.assert_alive();
}

#[tokio::test]
async fn a_head_beyond_the_limit_is_431_and_has_its_access_line() {
    let home = home();
    let gateway = with(&home, "limits: {head: 8KiB}\n").start();
    let client = gateway.client();
    let fits = Request::get("/photos/k").with("x-amz-meta-a", &"a".repeat(1500));
    client.send(&fits).await.expect(200);
    let large = Request::get("/photos/k").with("x-other", &"a".repeat(9000));
    let reply = client.send(&large).await;
    refused(&reply, 431, "RequestHeaderSectionTooLarge");
    let line = gateway.access_line(id(&reply));
    assert_eq!(
        (line["status"].as_u64(), line["code"].as_str()),
        (Some(431), Some("RequestHeaderSectionTooLarge"))
    );
    let broken = client.send_bytes(b"GET /photos/k HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").await.unwrap();
    assert_eq!(broken.status, 400);
    let line = gateway.access_line(id(&broken));
    assert_eq!((line["status"].as_u64(), line["code"].as_str()), (Some(400), Some("InvalidRequest")));
    assert_eq!(line["cause"], "host_repeated");
}

#[tokio::test]
async fn beyond_the_requests_at_work_the_next_slows_down() {
    let home = home();
    home.seed(BUCKET, "big", vec![7; 1 << 20]);
    let gateway = with(&home, "limits: {in_flight: 1}\n").start();
    let client = gateway.client();
    home.fault(When::key("slow").times(1), Act::Delay(Duration::from_millis(300)));
    let put = client.sign(&Request::put("/photos/slow", "x")).bytes();
    let mut busy = client.connect().await;
    busy.stream.write_all(&put).await.unwrap();
    home.wait_for(|seen| seen.key == "slow").await;
    let reply = client.send(&Request::get("/photos/k")).await;
    refused(&reply, 503, "SlowDown");
    assert!(reply.header("retry-after").is_some());
    busy.reply("PUT").await.unwrap().expect(200);
    client.send(&Request::get("/photos/k")).await.expect(200);
    // a request is at work until its answer has left
    home.fault(When::key("big").times(1), Act::HangAfter(1000));
    let get = client.sign(&Request::get("/photos/big")).bytes();
    let mut reading = client.connect().await;
    reading.stream.write_all(&get).await.unwrap();
    let mut first = [0; 12];
    reading.stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    refused(&client.send(&Request::get("/photos/k")).await, 503, "SlowDown");
    drop(reading);
    let patience = tokio::time::timeout(PATIENCE, async {
        while client.send(&Request::get("/photos/k")).await.status != 200 {}
    });
    patience.await.expect("an aborted request is at work no more");
}

#[tokio::test]
async fn a_client_that_dawdles_with_its_head_is_dropped() {
    let home = home();
    let gateway = with(&home, "timeouts: {client_head: 200ms}\n").start();
    let client = gateway.client();
    let mut slow = client.connect().await;
    slow.stream.write_all(b"GET /photos/k HTTP/1.1\r\nHost: a\r\nX-Slow").await.unwrap();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, slow.stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "still open");
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 40"), "{:?}", String::from_utf8_lossy(&rest));
    // an idle connection between requests has another clock
    let mut idle = client.connect().await;
    let get = client.sign(&Request::get("/photos/k")).bytes();
    idle.exchange(&get, "GET").await.unwrap().expect(200);
    tokio::time::sleep(Duration::from_millis(400)).await;
    idle.exchange(&get, "GET").await.unwrap().expect(200);
}

#[tokio::test]
async fn a_client_that_stops_reading_is_cut_and_no_region_is_blamed() {
    let home = home();
    home.seed(BUCKET, "big", vec![7; 32 << 20]);
    let mut setup = with(&home, "timeouts: {stalled_reader: 300ms}\n");
    setup.probe_rarely();
    let gateway = setup.start();
    let client = gateway.client();
    let get = client.sign(&Request::get("/photos/big")).bytes();
    let mut stalled = client.connect().await;
    stalled.stream.write_all(&get).await.unwrap();
    let line = gateway.wait_for_line(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        (line["path"] == "/photos/big").then_some(line)
    });
    assert_eq!((line["aborted"].as_str(), line["cause"].as_str()), (Some("proxy"), Some("stalled_reader")));
    let standing = gateway.standing().await;
    assert!(standing.iter().all(|(_, reads, _)| reads == "healthy"), "{standing:?}");
}

#[tokio::test]
async fn an_http2_client_that_gives_no_window_is_cut_and_makes_room() {
    let home = home();
    home.seed(BUCKET, "big", vec![7; 8 << 20]);
    let folder = tempfile::tempdir().unwrap();
    let rest = "timeouts: {stalled_reader: 300ms}\nlimits: {in_flight: 2}\n";
    let (gateway, authority) = encrypted(&home, &folder, rest);
    let mut stalled = Second::with_window(&gateway, &authority, 0).await;
    let mut answers = Vec::new();
    for _ in 0..2 {
        let answer = stalled.send(&Request::get("/photos/big")).await;
        assert_eq!(answer.status(), 200);
        answers.push(answer);
    }
    for answer in answers {
        let line = gateway.access_line(answer.headers()["x-amz-request-id"].to_str().unwrap());
        assert_eq!(
            (line["aborted"].as_str(), line["cause"].as_str()),
            (Some("proxy"), Some("stalled_reader"))
        );
        answer.into_body().collect().await.expect_err("cut, and never a clean end");
    }
    let mut other = Second::open(&gateway, &authority).await;
    assert_eq!(other.send(&Request::get("/photos/k")).await.status(), 200, "the stalled are at work no more");
    let (_, metrics) = gateway.admin_text("/metrics").await;
    assert!(metrics.contains("nearpoint_streams_reset_total{reason=\"stalled_reader\"} 2"), "{metrics}");
    let standing = gateway.standing().await;
    assert!(standing.iter().all(|(_, reads, _)| reads == "healthy"), "{standing:?}");
}

#[tokio::test]
async fn an_http2_stream_that_is_not_read_gives_up_its_place_and_the_next_keeps_its_own() {
    let home = home();
    home.seed(BUCKET, "big", vec![7; 8 << 20]);
    let folder = tempfile::tempdir().unwrap();
    // a twentieth of it is enough where a place is wanted
    let rest = "timeouts: {stalled_reader: 20s}\nlimits: {in_flight: 2}\n";
    let (gateway, authority) = encrypted(&home, &folder, rest);
    let mut stalled = Second::with_window(&gateway, &authority, 0).await;
    let oldest = stalled.send(&Request::get("/photos/big")).await;
    let next = stalled.send(&Request::get("/photos/big")).await;
    assert_eq!((oldest.status().as_u16(), next.status().as_u16()), (200, 200));
    let mut other = Second::open(&gateway, &authority).await;
    let served = async { while other.send(&Request::get("/photos/k")).await.status() != 200 {} };
    tokio::time::timeout(PATIENCE, served).await.expect("a place");
    let line = gateway.access_line(oldest.headers()["x-amz-request-id"].to_str().unwrap());
    let why = (line["aborted"].as_str(), line["cause"].as_str());
    assert_eq!(why, (Some("proxy"), Some("stalled_reader_shed")));
    oldest.into_body().collect().await.expect_err("cut, and never a clean end");
    let (_, metrics) = gateway.admin_text("/metrics").await;
    assert!(metrics.contains("nearpoint_streams_reset_total{reason=\"stalled_reader_shed\"} 1"), "{metrics}");
}

// ── the end ──────────────────────────────────────────────────────────────────

#[tokio::test]
async fn a_drain_lets_requests_finish_and_takes_no_more() {
    let home = home();
    let gateway = with(&home, "timeouts: {drain: 8s}\n").start();
    let client = gateway.client();
    let mut idle = client.connect().await;
    let get = client.sign(&Request::get("/photos/k")).bytes();
    idle.exchange(&get, "GET").await.unwrap().expect(200);
    home.fault(When::key("slow"), Act::Delay(Duration::from_millis(600)));
    let mut busy = client.connect().await;
    busy.stream.write_all(&client.sign(&Request::put("/photos/slow", "late")).bytes()).await.unwrap();
    home.wait_for(|seen| seen.key == "slow").await;
    gateway.signal("TERM");
    gateway.wait_for_event("draining");
    let refused = tokio::time::timeout(PATIENCE, async {
        while TcpStream::connect(gateway.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    refused.await.expect("new connections are refused");
    busy.reply("PUT").await.expect("the answer").expect(200);
    assert_eq!(gateway.wait_for_end().await, Some(0));
    assert_eq!(home.object(BUCKET, "slow").unwrap().body, "late");
    let lines = gateway.access_lines();
    assert!(
        lines.iter().any(|line| line["path"] == "/photos/slow" && line["status"] == 200),
        "the last line too"
    );
}

#[tokio::test]
async fn what_a_drain_cuts_is_our_doing_in_the_log() {
    let home = home();
    let gateway = with(&home, "timeouts: {drain: 200ms}\n").start();
    let client = gateway.client();
    home.fault(When::key("never"), Act::Silent);
    let mut busy = client.connect().await;
    busy.stream.write_all(&client.sign(&Request::put("/photos/never", "x")).bytes()).await.unwrap();
    home.wait_for(|seen| seen.key == "never").await;
    gateway.signal("TERM");
    assert_eq!(gateway.wait_for_end().await, Some(0));
    let line = line_of(&gateway, "/photos/never", |_| true);
    assert_eq!((line["aborted"].as_str(), line["cause"].as_str()), (Some("proxy"), Some("drain")), "{line}");
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    for (first, second) in [("TERM", "TERM"), ("TERM", "INT"), ("INT", "TERM")] {
        let home = home();
        let gateway = with(&home, "timeouts: {drain_min: 10m, drain: 10m}\n").start();
        let client = gateway.client();
        home.fault(When::key("never"), Act::Silent);
        let mut busy = client.connect().await;
        busy.stream.write_all(&client.sign(&Request::put("/photos/never", "x")).bytes()).await.unwrap();
        home.wait_for(|seen| seen.key == "never").await;
        gateway.signal(first);
        gateway.wait_for_event("draining");
        gateway.signal(second);
        assert_eq!(gateway.wait_for_end().await, Some(1), "{first} {second}");
        gateway.wait_for_event("ended by a second signal, requests under way are cut");
        assert!(busy.reply("PUT").await.is_none());
    }
}

#[tokio::test]
async fn before_the_drain_load_balancers_are_told_while_all_is_served() {
    let (home, away) = (home(), Region::start("away", &["photos-away"]));
    away.seed("photos-away", "k", "x");
    let setup = Setup {
        rest: "timeouts: {drain_min: 1500ms, drain: 5s}\n".to_owned(),
        ..Setup::over(&[&home, &away])
    };
    let gateway = setup.start();
    gateway.wait_for_reads(&[("home", "healthy"), ("away", "healthy")]).await;
    gateway.signal("TERM");
    gateway.wait_for_event("draining");
    let (status, text) = gateway.admin_text("/readyz?verbose").await;
    assert_eq!((status, text.contains("[-] staying")), (503, true), "{text}");
    assert_eq!(gateway.admin_text("/livez").await.0, 200);
    // everything works as ever, a region's death included
    home.kill();
    let client = gateway.client();
    client.send(&Request::get("/photos/k")).await.expect(200);
    tokio::time::sleep(Duration::from_millis(200)).await;
    client.send(&Request::get("/photos/k")).await.expect(200);
    assert_eq!(gateway.admin_text("/metrics").await.0, 200);
    assert_eq!(gateway.wait_for_end().await, Some(0));
}

// ── what operators see ───────────────────────────────────────────────────────

#[tokio::test]
async fn health_is_told_on_every_door() {
    let home = home();
    home.seed(BUCKET, ".nearpoint/health", "an object");
    let gateway = with(&home, "domains: [s3.example.com]\n").start();
    gateway.wait_for_reads(&[("home", "healthy")]).await;
    let mut client = gateway.client();
    let asked = Request::get("/.nearpoint/health");
    let health = client.send_signed(&client.unsigned(&asked)).await.expect(200);
    assert_eq!(health.text(), "ok\n");
    let line = gateway.access_line(id(&health));
    assert_eq!((line["operation"].as_str(), line["status"].as_u64()), (Some("Health"), Some(200)));
    client.host = "photos.s3.example.com".to_owned();
    assert_eq!(client.send(&asked).await.expect(200).text(), "an object");
    assert_eq!(gateway.admin_text("/livez").await.0, 200);
    let ready = tokio::time::timeout(PATIENCE, async {
        while gateway.admin_text("/readyz").await.0 != 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    ready.await.expect("ready");
    let admin = gateway.admin.to_string();
    for words in [vec!["healthcheck", "--admin", &admin], vec!["healthcheck", "--admin", &admin, "--ready"]] {
        let (code, written) = run(&words);
        assert_eq!(code, Some(0), "{written}");
    }
    // whoever else answers HTTP is not healthy
    let (code, written) = run(&["healthcheck", "--admin", &gateway.address.to_string()]);
    assert_eq!(code, Some(1), "{written}");
    assert!(written.contains("is this the admin listener?"), "{written}");
    drop(gateway);
    assert_eq!(run(&["healthcheck", "--admin", &admin]).0, Some(1));
}

#[tokio::test]
async fn every_metric_says_what_it_is() {
    let home = home();
    let gateway = with(&home, "").start();
    let client = gateway.client();
    client.send(&Request::get("/photos/k")).await.expect(200);
    client.send(&Request::get("/photos/none")).await.expect(404);
    client.send(&Request::put("/photos/k", "y")).await.expect(200);
    client.send_signed(&client.unsigned(&Request::get("/photos/k"))).await.expect(403);
    let (status, metrics) = gateway.admin_text("/metrics").await;
    assert_eq!(status, 200);
    let told = |what: &str| -> Vec<&str> {
        let prefix = format!("# {what} ");
        metrics.lines().filter_map(|line| line.strip_prefix(prefix.as_str())?.split(' ').next()).collect()
    };
    let (helps, types) = (told("HELP"), told("TYPE"));
    let mut samples = 0;
    for line in metrics.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let name = series.split('{').next().unwrap();
        assert!(name.starts_with("nearpoint_"), "{line}");
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let known = |name: &str| helps.contains(&name) && types.contains(&name);
        assert!(known(name) || family.is_some_and(known), "{line} has no HELP or TYPE");
        for word in ["/photos/", BUCKET, "NPAPP", &home.settings().signing_region] {
            assert!(!line.contains(word), "{line}");
        }
        samples += 1;
    }
    assert!(samples > 20, "{metrics}");
    assert_eq!(helps.len(), helps.iter().collect::<std::collections::BTreeSet<_>>().len(), "each once");
    assert!(metrics.contains("operation=\"GetObject\""), "{metrics}");
}

#[tokio::test]
async fn every_request_has_its_line_in_the_access_log() {
    let home = home();
    home.seed(BUCKET, "big", vec![7; 4 << 20]);
    let gateway = with(&home, "").start();
    let client = gateway.client();
    let put = Request::put("/photos/a%20b?x-id=PutObject", "body").with("user-agent", "test/1");
    let put = client.send(&put).await.expect(200);
    let line = gateway.access_line(id(&put));
    for (field, wanted) in [
        ("protocol", Value::from("http/1.1")),
        ("tls", Value::from(false)),
        ("method", Value::from("PUT")),
        ("path", Value::from("/photos/a%20b")),
        ("query", Value::from("x-id=PutObject")),
        ("access_point", Value::from("photos")),
        ("operation", Value::from("PutObject")),
        ("client", Value::from("app")),
        ("status", Value::from(200)),
        ("region", Value::from("home")),
        ("attempts", Value::from(1)),
        ("bytes_in", Value::from(4)),
        ("bytes_out", Value::from(0)),
        ("user_agent", Value::from("test/1")),
    ] {
        assert_eq!(line[field], wanted, "{field}: {line}");
    }
    for field in ["time", "peer", "why", "total_ms", "first_byte_ms", "upstream_ms"] {
        assert!(!line[field].is_null(), "{field}: {line}");
    }
    assert!(line["time"].as_str().unwrap().ends_with('Z') && line.get("code").is_none());
    let missing = client.send(&Request::get("/photos/none")).await.expect(404);
    let line = gateway.access_line(id(&missing));
    assert_eq!((line["code"].as_str(), line["region"].as_str()), (Some("NoSuchKey"), Some("home")));
    let absent = client.send(&Request::head("/photos/none")).await.expect(404);
    assert_eq!(gateway.access_line(id(&absent))["code"], "NoSuchKey");
    let anonymous = client.send_signed(&client.unsigned(&Request::get("/photos/k"))).await.expect(403);
    let line = gateway.access_line(id(&anonymous));
    assert_eq!((line["code"].as_str(), line["attempts"].as_u64()), (Some("AccessDenied"), Some(0)));
    assert!(line.get("client").is_none() && line.get("region").is_none(), "{line}");
    let got = client.send(&Request::get("/photos/big")).await.expect(200);
    assert_eq!(gateway.access_line(id(&got))["bytes_out"], 4 << 20);
    // a client that goes away before the answer
    home.fault(When::key("silent"), Act::Silent);
    let mut leaving = client.connect().await;
    leaving.stream.write_all(&client.sign(&Request::get("/photos/silent")).bytes()).await.unwrap();
    home.wait_for(|seen| seen.key == "silent").await;
    drop(leaving);
    let line = gateway.wait_for_line(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        (line["path"] == "/photos/silent").then_some(line)
    });
    assert_eq!((line["status"].as_u64(), line["aborted"].as_str()), (Some(0), Some("client")), "{line}");
}
