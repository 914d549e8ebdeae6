//! What one request takes through the whole house: `cargo bench --bench relay`.
//!
//! A gateway in this process over loopback: verified, planned, signed anew, sent to a tiny origin
//! on a thread of its own, answered, and its access line written (to nowhere). One connection, one
//! request at a time, so that this is latency: both directions, both hops. CPU per request under
//! load, against nginx, is `benches/gateway_vs_nginx`'s.

#![allow(missing_docs, reason = "a benchmark's names say what it measures")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot be set up must stop")]
#![allow(
    clippy::indexing_slicing,
    clippy::format_collect,
    reason = "offsets are those of what was just read"
)]

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::OnceLock;

use divan::Bencher;
use divan::counter::BytesCount;
use nearpoint::clock::Clock;
use nearpoint::config::{self, Outside};
use nearpoint::gateway::{Gateway, Origin};
use nearpoint::head::Head;
use nearpoint::names::{AccessKeyId, Secret};
use nearpoint::sigv4::{Credential, Destination, KeyCache, PathForm, PayloadMark, sign};
use nearpoint::telemetry::metric::{self, PrometheusHandle};

fn main() {
    divan::main();
}

const SMALL: usize = 4 << 10;
const LARGE: usize = 1 << 20;

/// The origin itself: what the kernel and the two ends take.
#[divan::bench(args = [SMALL, LARGE])]
fn direct(bencher: Bencher<'_, '_>, size: usize) {
    let wire = RefCell::new(Wire::to(origin(), &format!("/photos/{size}")));
    bencher.counter(BytesCount::new(size)).bench_local(|| wire.borrow_mut().get(200));
}

/// Through the gateway.
#[divan::bench(args = [SMALL, LARGE])]
fn relayed(bencher: Bencher<'_, '_>, size: usize) {
    let house = House::open();
    let wire = RefCell::new(Wire::to(house.address, &format!("/photos/{size}")));
    bencher.counter(BytesCount::new(size)).bench_local(|| wire.borrow_mut().get(200));
    drop(wire);
    house.gateway.stop();
}

/// A forged signature: refused before anything is sent on.
#[divan::bench]
fn refused(bencher: Bencher<'_, '_>) {
    let house = House::open();
    let mut wire = Wire::to(house.address, "/photos/4096");
    wire.request = wire.request.replace("GET", "PUT");
    let wire = RefCell::new(wire);
    bencher.bench_local(|| wire.borrow_mut().get(403));
    drop(wire);
    house.gateway.stop();
}

const CONFIGURATION: &str = r#"
listeners:
  s3: [{address: "127.0.0.1:0"}]
  admin: {address: "127.0.0.1:0"}
regions:
  near:
    endpoint: http://ORIGIN
    signing_region: near-1
    profile: minio
    credentials: {access_key_id: NEAR, secret_access_key: secret-of-near}
access_points:
  photos:
    buckets: {near: photos}
clients:
  - {name: bench, access_key_id: BENCH, secret_access_key: secret-of-bench}
telemetry: {access_log: /dev/null}
"#;

struct House {
    gateway: Gateway,
    address: SocketAddr,
}

impl House {
    fn open() -> Self {
        let text = CONFIGURATION.replace("ORIGIN", &origin().to_string());
        let outside = Outside { env: &|_| None, read_file: &|_| Err(io::ErrorKind::NotFound.into()) };
        let loaded = config::compile(&text, Path::new("bench.yaml"), outside).unwrap();
        let gateway = Gateway::start(loaded, Origin::Fixed, metrics()).unwrap();
        let address = gateway.address().unwrap();
        Self { gateway, address }
    }
}

/// The process's recorder, which all its gateways share.
fn metrics() -> PrometheusHandle {
    static INSTALLED: OnceLock<PrometheusHandle> = OnceLock::new();
    INSTALLED.get_or_init(|| metric::install().unwrap()).clone()
}

/// A client's connection with one request, sent again and again.
struct Wire {
    stream: TcpStream,
    request: String,
    room: Vec<u8>,
}

impl Wire {
    fn to(address: SocketAddr, path: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, request: signed(address, path), room: vec![0; 256 << 10] }
    }

    /// Sends the request and takes the whole answer in.
    fn get(&mut self, status: u16) {
        self.stream.write_all(self.request.as_bytes()).unwrap();
        let mut filled = 0;
        let (head, length) = loop {
            filled += self.read(filled);
            if let Some(found) = answer(&self.room[..filled], status) {
                break found;
            }
        };
        let mut left = (head + length).saturating_sub(filled);
        while left > 0 {
            left -= self.read(0);
        }
    }

    fn read(&mut self, at: usize) -> usize {
        let read = self.stream.read(&mut self.room[at..]).unwrap();
        assert!(read > 0, "the answer broke off");
        read
    }
}

/// Bytes of the head and of the body of an answer, once its head is whole.
fn answer(bytes: &[u8], status: u16) -> Option<(usize, usize)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..end]).unwrap().to_ascii_lowercase();
    assert!(head.starts_with(&format!("http/1.1 {status}")), "{head}");
    let length = head.split_once("content-length: ").unwrap().1.split_once('\r').unwrap().0;
    Some((end, length.parse().unwrap()))
}

fn signed(address: SocketAddr, path: &str) -> String {
    let mut head = Head::new(http::Method::GET, path);
    head.push("host", address.to_string().as_bytes());
    head.push("accept-encoding", b"identity");
    let credential = Credential {
        access_key_id: AccessKeyId::new("BENCH"),
        secret: Secret::from("secret-of-bench"),
        session_token: None,
    };
    let now = Clock::system().now().wall;
    let to = Destination { region: "us-east-1", path: PathForm::Reencoded };
    sign(&mut head, &credential, &to, now, &PayloadMark::Empty, &mut KeyCache::new());
    let fields: String =
        head.fields().map(|field| format!("{}: {}\r\n", field.name, field.text().unwrap())).collect();
    format!("GET {path} HTTP/1.1\r\n{fields}\r\n")
}

/// An origin that answers every GET with as many bytes as the last part of its path says, until
/// the process ends.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || converse(stream.unwrap()));
        }
    });
    address
}

/// Until the other end closes.
fn converse(mut stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let (mut room, mut filled) = (vec![0; 64 << 10], 0);
    while let Ok(read @ 1..) = stream.read(&mut room[filled..]) {
        filled += read;
        let Some(head) = room[..filled].strip_suffix(b"\r\n\r\n") else { continue };
        let line = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        let size = std::str::from_utf8(line).unwrap().rsplit('/').next().and_then(|size| size.parse().ok());
        let size: usize = size.unwrap_or_default();
        let mut reply =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nETag: \"e\"\r\n\r\n").into_bytes();
        if head.starts_with(b"GET") {
            reply.resize(reply.len() + size, 0);
        }
        if stream.write_all(&reply).is_err() {
            return;
        }
        filled = 0;
    }
}
