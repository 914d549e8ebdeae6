//! The fault proxy: byte for byte the same where nothing is armed, and wrong exactly as told.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::house::moment;
use crate::house::region::PATIENCE;

#[path = "../../faultd"]
mod faultd {
    pub mod control;
    pub mod framing;
    pub mod relay;
}

/// A store that takes one request's bytes and answers with what it was given.
struct Store {
    listener: TcpListener,
}

impl Store {
    async fn open() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// Takes exactly these bytes, answers those; gives the connection back.
    async fn exchange(&self, wanted: &[u8], answer: &[u8]) -> TcpStream {
        let (mut stream, _) = self.listener.accept().await.unwrap();
        take(&mut stream, wanted).await;
        stream.write_all(answer).await.unwrap();
        stream
    }
}

async fn take(stream: &mut TcpStream, wanted: &[u8]) {
    let mut got = vec![0; wanted.len()];
    let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut got)).await;
    read.expect("the bytes come in time").unwrap();
    assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(wanted));
}

/// All bytes until the other side ends; `Err` for a reset.
async fn rest(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut all = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut all)).await;
    read.expect("the connection ends in time").map(|_| all)
}

/// A fault proxy on a thread of its own; it ends with the test's process.
struct Proxy {
    address: SocketAddr,
    control: SocketAddr,
}

impl Proxy {
    fn before(store: &Store) -> Self {
        let upstream = store.address();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let controls = TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send((listener.local_addr().unwrap(), controls.local_addr().unwrap())).unwrap();
                let desk = faultd::relay::Desk::new("eu".to_owned(), upstream, 1, None);
                tokio::select! {
                    ended = faultd::relay::serve(listener, desk.clone()) => ended.unwrap(),
                    ended = faultd::control::serve(controls, desk) => ended.unwrap(),
                }
            });
        });
        let (address, control) = told.recv_timeout(PATIENCE).unwrap();
        Self { address, control }
    }

    async fn order(&self, order: Value) -> Value {
        let mut stream = BufReader::new(TcpStream::connect(self.control).await.unwrap());
        stream.write_all(format!("{order}\n").as_bytes()).await.unwrap();
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        serde_json::from_str(&line).unwrap()
    }

    async fn arm(&self, fault: Value) -> u64 {
        let answer = self.order(json!({"do": "arm", "fault": fault})).await;
        answer["id"].as_u64().unwrap_or_else(|| panic!("{answer}"))
    }

    async fn dial(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

const GET: &[u8] = b"GET /photos/a HTTP/1.1\r\nHost: store\r\n\r\n";
const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nX-Odd:  kept \r\n\r\n0123456789";

#[tokio::test]
async fn bytes_pass_as_they_are_and_connections_are_kept() {
    let (store, put) = (Store::open().await, b"PUT /b/k HTTP/1.1\r\nhost: s\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nx-amz-trailer: 1\r\n\r\n");
    let proxy = Proxy::before(&store);
    let mut client = proxy.dial().await;
    client.write_all(GET).await.unwrap();
    let mut upstream = store.exchange(GET, HELLO).await;
    take(&mut client, HELLO).await;
    // the same connection serves on, in both directions
    client.write_all(put).await.unwrap();
    take(&mut upstream, put).await;
    let chunked =
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-end: 1\r\n\r\n".as_slice();
    upstream.write_all(chunked).await.unwrap();
    take(&mut client, chunked).await;
    client.write_all(b"HEAD /b/k HTTP/1.1\r\nhost: s\r\n\r\n").await.unwrap();
    take(&mut upstream, b"HEAD /b/k HTTP/1.1\r\nhost: s\r\n\r\n").await;
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n".as_slice();
    upstream.write_all(head).await.unwrap();
    take(&mut client, head).await;
    let bare = b"HTTP/1.1 204 No Content\r\n\r\n".as_slice();
    client.write_all(GET).await.unwrap();
    take(&mut upstream, GET).await;
    upstream.write_all(bare).await.unwrap();
    take(&mut client, bare).await;
}

#[tokio::test]
async fn a_continue_comes_before_the_body() {
    let store = Store::open().await;
    let proxy = Proxy::before(&store);
    let mut client = proxy.dial().await;
    let head = b"PUT /b/k HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n".as_slice();
    client.write_all(head).await.unwrap();
    let go_on = b"HTTP/1.1 100 Continue\r\n\r\n".as_slice();
    let mut upstream = store.exchange(head, go_on).await;
    take(&mut client, go_on).await;
    client.write_all(b"body").await.unwrap();
    take(&mut upstream, b"body").await;
    upstream.write_all(HELLO).await.unwrap();
    take(&mut client, HELLO).await;
}

#[tokio::test]
async fn an_answer_that_ends_with_the_connection_does_so() {
    let store = Store::open().await;
    let proxy = Proxy::before(&store);
    let mut client = proxy.dial().await;
    client.write_all(GET).await.unwrap();
    let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nto the end";
    drop(store.exchange(GET, answer).await);
    assert_eq!(rest(&mut client).await.unwrap(), answer);
}

#[tokio::test]
async fn a_body_is_cut_where_it_is_told_and_cleanly_or_not() {
    for (end, reset) in [("close", false), ("reset", true)] {
        let store = Store::open().await;
        let proxy = Proxy::before(&store);
        proxy.arm(json!({"fault": "cut", "at": 4, "end": end})).await;
        let mut client = proxy.dial().await;
        client.write_all(GET).await.unwrap();
        let _upstream = store.exchange(GET, HELLO).await;
        let body = HELLO.len() - 6;
        match rest(&mut client).await {
            Ok(got) => assert!(!reset && got == HELLO[..body], "{end}"),
            // a reset may overtake what was sent before it
            Err(fault) => {
                assert!(reset && fault.kind() == std::io::ErrorKind::ConnectionReset, "{end}: {fault}");
            }
        }
    }
}

#[tokio::test]
async fn one_bit_is_turned() {
    let store = Store::open().await;
    let proxy = Proxy::before(&store);
    let id = proxy.arm(json!({"fault": "corrupt", "at": 9})).await;
    let mut client = proxy.dial().await;
    client.write_all(GET).await.unwrap();
    let _upstream = store.exchange(GET, HELLO).await;
    let mut wrong = HELLO.to_vec();
    *wrong.last_mut().unwrap() ^= 1;
    take(&mut client, &wrong).await;
    assert_eq!(proxy.order(json!({"do": "lift", "id": id})).await, json!({"hits": 1}));
}

#[tokio::test]
async fn an_error_is_answered_in_place_of_the_store() {
    let store = Store::open().await;
    let proxy = Proxy::before(&store);
    proxy.arm(json!({"fault": "answer", "code": "SlowDown"})).await;
    let mut client = proxy.dial().await;
    client.write_all(b"PUT /b/k HTTP/1.1\r\ncontent-length: 4\r\n\r\nbody").await.unwrap();
    let got = String::from_utf8(rest(&mut client).await.unwrap()).unwrap();
    assert!(got.starts_with("HTTP/1.1 503 ") && got.contains("<Code>SlowDown</Code>"), "{got}");
}

#[tokio::test]
async fn an_error_hides_behind_white_space() {
    let store = Store::open().await;
    let proxy = Proxy::before(&store);
    let fault = json!({"fault": "error_inside_ok", "code": "InternalError", "spaces": 3, "pause_ms": 1});
    proxy.arm(fault).await;
    let mut client = proxy.dial().await;
    client.write_all(b"POST /b/k?uploadId=1 HTTP/1.1\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    let got = String::from_utf8(rest(&mut client).await.unwrap()).unwrap();
    let (head, body) = got.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("HTTP/1.1 200 ") && head.contains(&format!("content-length: {}", body.len())),
        "{got}"
    );
    assert!(body.starts_with("   <") && body.contains("<Code>InternalError</Code>"), "{got}");
}

#[tokio::test]
async fn a_reply_is_dropped_after_the_store_gave_it() {
    let store = Store::open().await;
    let proxy = Proxy::before(&store);
    proxy.arm(json!({"fault": "drop_reply", "end": "close"})).await;
    let mut client = proxy.dial().await;
    client.write_all(GET).await.unwrap();
    let _upstream = store.exchange(GET, HELLO).await;
    assert!(rest(&mut client).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_request_dies_before_the_store_sees_it() {
    let store = Store::open().await;
    let proxy = Proxy::before(&store);
    proxy.arm(json!({"fault": "die_before_commit", "end": "close"})).await;
    let mut client = proxy.dial().await;
    client.write_all(b"PUT /b/k HTTP/1.1\r\ncontent-length: 4\r\n\r\nbody").await.unwrap();
    assert!(rest(&mut client).await.unwrap().is_empty());
    let (mut upstream, _) = store.listener.accept().await.unwrap();
    assert!(rest(&mut upstream).await.unwrap_or_default().is_empty(), "the store saw something");
}

#[tokio::test]
async fn a_hang_ends_with_its_connections() {
    let store = Store::open().await;
    let proxy = Proxy::before(&store);
    proxy.arm(json!({"fault": "hang_in_body", "at": 5})).await;
    let mut client = proxy.dial().await;
    client.write_all(GET).await.unwrap();
    let _upstream = store.exchange(GET, HELLO).await;
    take(&mut client, &HELLO[..HELLO.len() - 5]).await;
    let mut more = [0];
    let silence = tokio::time::timeout(Duration::from_millis(100), client.read(&mut more)).await;
    assert!(silence.is_err(), "something came after the hang");
    proxy.order(json!({"do": "hang_up"})).await;
    assert!(rest(&mut client).await.is_err(), "hanging up is a reset");
}

#[tokio::test]
async fn a_reply_that_never_begins_leaves_its_connection_standing() {
    let store = Store::open().await;
    let proxy = Proxy::before(&store);
    proxy.arm(json!({"fault": "hang_before_head"})).await;
    let mut client = proxy.dial().await;
    client.write_all(GET).await.unwrap();
    let _upstream = store.exchange(GET, HELLO).await;
    let silence = tokio::time::timeout(Duration::from_millis(100), client.read(&mut [0])).await;
    assert!(silence.is_err(), "the answer, or an end, got through");
    proxy.order(json!({"do": "hang_up"})).await;
    assert!(rest(&mut client).await.is_err());
}

#[tokio::test]
async fn a_reply_is_held_back_and_then_whole() {
    let store = Store::open().await;
    let proxy = Proxy::before(&store);
    proxy.arm(json!({"fault": "delay", "by_ms": 150})).await;
    let mut client = proxy.dial().await;
    let began = moment::mono();
    client.write_all(GET).await.unwrap();
    let _upstream = store.exchange(GET, HELLO).await;
    take(&mut client, HELLO).await;
    assert!(began.elapsed() >= Duration::from_millis(150), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_body_passes_in_pieces_with_pauses_between_them() {
    for way in ["download", "upload"] {
        let store = Store::open().await;
        let proxy = Proxy::before(&store);
        proxy.arm(json!({"fault": "slice", "bytes": 2, "pause_ms": 30, "way": way})).await;
        let mut client = proxy.dial().await;
        let put = b"PUT /photos/a HTTP/1.1\r\nHost: store\r\nContent-Length: 10\r\n\r\n0123456789".as_slice();
        let began = moment::mono();
        client.write_all(put).await.unwrap();
        let _upstream = store.exchange(put, HELLO).await;
        take(&mut client, HELLO).await;
        assert!(began.elapsed() >= Duration::from_millis(4 * 30), "{way}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn half_closed_is_not_closed() {
    let store = Store::open().await;
    let proxy = Proxy::before(&store);
    proxy.arm(json!({"fault": "half_close", "at": 5})).await;
    let mut client = proxy.dial().await;
    client.write_all(GET).await.unwrap();
    let _upstream = store.exchange(GET, HELLO).await;
    assert_eq!(rest(&mut client).await.unwrap(), &HELLO[..HELLO.len() - 5]);
    client.write_all(GET).await.unwrap();
}

#[tokio::test]
async fn only_what_the_scope_names_is_wronged() {
    let store = Store::open().await;
    let proxy = Proxy::before(&store);
    let order = json!({
        "do": "arm", "fault": {"fault": "reset"},
        "scope": {"operation": "GetObject", "bucket": "photos", "key": "a", "region": "eu", "times": 1},
    });
    assert_eq!(proxy.order(order).await, json!({"id": 1}));
    let other = b"GET /photos/b HTTP/1.1\r\nHost: store\r\n\r\n".as_slice();
    let mut client = proxy.dial().await;
    client.write_all(other).await.unwrap();
    let _upstream = store.exchange(other, HELLO).await;
    take(&mut client, HELLO).await;
    client.write_all(GET).await.unwrap();
    assert!(rest(&mut client).await.is_err(), "it is reset");
    let mut again = proxy.dial().await;
    again.write_all(GET).await.unwrap();
    let _upstream = store.exchange(GET, HELLO).await;
    take(&mut again, HELLO).await;
}

#[tokio::test]
async fn what_cannot_be_read_is_said() {
    let store = Store::open().await;
    let proxy = Proxy::before(&store);
    for order in
        [json!({"do": "dance"}), json!({"do": "arm", "fault": {"fault": "rate", "bytes_per_second": 0}})]
    {
        let answer = proxy.order(order.clone()).await;
        assert!(answer["error"].is_string(), "{order}: {answer}");
    }
}
