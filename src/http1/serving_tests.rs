//! A client's connection over a pipe: what it says, and what it is answered.

use std::cell::Cell;
use std::future::poll_fn;

use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

use super::*;

/// An answer's body: pieces, and how it ends.
struct Script {
    pieces: VecDeque<&'static str>,
    told: Option<u64>,
    fails: bool,
}

fn script(pieces: &[&'static str]) -> Script {
    Script { pieces: pieces.iter().copied().collect(), told: None, fails: false }
}

impl Body for Script {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<http_body::Frame<Bytes>>>> {
        let piece = self.pieces.pop_front().map(|piece| Ok(http_body::Frame::data(Bytes::from(piece))));
        Poll::Ready(piece.or_else(|| self.fails.then(|| Err(io::Error::other("cut")))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && !self.fails
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.told.map_or_else(http_body::SizeHint::default, http_body::SizeHint::with_exact)
    }
}

async fn read(mut body: ClientBody) -> Result<String, BrokeOff> {
    let mut whole = Vec::new();
    while let Some(bytes) = poll_fn(|cx| body.poll_bytes(cx)).await.transpose()? {
        whole.extend_from_slice(&bytes);
    }
    Ok(String::from_utf8(whole).unwrap())
}

/// Serves by path until the connection ends; how it did, and what the client has read.
async fn served(client: impl AsyncFnOnce(&mut DuplexStream)) -> (End, String) {
    let (mut near, far) = duplex(1 << 20);
    let serve = |head: Head, mut body: ClientBody| async move {
        match head.path() {
            "/chunked" => Response::new(script(&["a", "", "bc"])),
            "/sized" => Response::new(Script { told: Some(3), ..script(&["a", "bc"]) }),
            "/short" => Response::new(Script { told: Some(9), ..script(&["abc"]) }),
            "/long" => Response::new(Script { told: Some(1), ..script(&["abc"]) }),
            "/cut" => Response::new(Script { fails: true, ..script(&["abc"]) }),
            "/first" => {
                let first = poll_fn(|cx| body.poll_bytes(cx)).await;
                drop(first);
                Response::new(Script { told: Some(0), ..script(&[]) })
            }
            "/unread" => Response::new(Script { told: Some(0), ..script(&[]) }),
            "/never" => std::future::pending().await,
            _ => {
                let said = read(body).await.unwrap_or_else(|BrokeOff| "broken".to_owned());
                let said: &'static str = said.leak();
                Response::new(Script { told: Some(said.len() as u64), ..script(&[said]) })
            }
        }
    };
    let serving = async {
        let mut serving = Serving::new(far, serve, 64 << 10, Clock::system());
        let end = (&mut serving).await;
        drop(serving.into_io());
        end
    };
    let speaking = async {
        client(&mut near).await;
        let mut answers = Vec::new();
        near.read_to_end(&mut answers).await.unwrap();
        String::from_utf8(answers).unwrap()
    };
    tokio::join!(serving, speaking)
}

/// The same where the client says everything at once, and leaves.
async fn answers(said: &str) -> (End, String) {
    let (end, text) = served(async |near| {
        near.write_all(said.as_bytes()).await.unwrap();
        near.shutdown().await.unwrap();
    })
    .await;
    let lines = text.split("\r\n").filter(|line| !line.starts_with("date: "));
    (end, lines.collect::<Vec<_>>().join("|"))
}

#[tokio::test]
async fn one_request_follows_the_other() {
    let said = "PUT /a HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabc\
                PUT /b HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n2;x=y\r\nde\r\n1\r\nf\r\n0\r\nt: u\r\n\r\n\
                HEAD /sized HTTP/1.1\r\nhost: h\r\n\r\n\
                GET /sized HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n\
                GET /sized HTTP/1.1\r\nhost: h\r\n\r\n";
    let (end, text) = answers(said).await;
    assert_eq!(end, End::Done);
    assert_eq!(
        text,
        "HTTP/1.1 200 OK|content-length: 3||abcHTTP/1.1 200 OK|content-length: 3||def\
         HTTP/1.1 200 OK||HTTP/1.1 200 OK|content-length: 3|connection: close||abc",
        "nobody is served after a close"
    );
}

#[tokio::test]
async fn a_body_without_a_length_is_chunked_or_ends_with_the_connection() {
    let (end, text) = answers("GET /chunked HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert_eq!((end, &*text), (End::Done, "HTTP/1.1 200 OK|transfer-encoding: chunked||1|a|2|bc|0||"));
    let (end, text) = answers("GET /chunked HTTP/1.0\r\nhost: h\r\nconnection: keep-alive\r\n\r\n").await;
    assert_eq!((end, &*text), (End::Done, "HTTP/1.0 200 OK||abc"));
}

#[tokio::test]
async fn an_answer_that_is_not_what_it_said_is_torn() {
    for path in ["/short", "/long", "/cut"] {
        let (end, text) = answers(&format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n")).await;
        assert_eq!(end, End::Torn, "{path}: {text}");
        assert!(!text.ends_with("0||"), "{path}: {text}");
    }
}

#[tokio::test]
async fn who_waits_is_asked_to_go_on_and_nobody_else() {
    let (end, text) = served(async |near| {
        near.write_all(b"PUT /k HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
            .await
            .unwrap();
        let mut first = [0; 25];
        near.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 100 Continue\r\n\r\n");
        near.write_all(b"ab").await.unwrap();
        near.shutdown().await.unwrap();
    })
    .await;
    assert!(end == End::Done && text.ends_with("ab"), "{end:?} {text}");
    let (_, text) =
        answers("PUT /unread HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n").await;
    assert_eq!(text, "HTTP/1.1 200 OK|content-length: 0||", "it is answered already");
}

#[tokio::test]
async fn what_nobody_read_is_passed_over_where_it_is_there() {
    let next = "GET /sized HTTP/1.1\r\nhost: h\r\n\r\n";
    for path in ["/unread", "/first"] {
        let (end, text) =
            answers(&format!("PUT {path} HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabc{next}")).await;
        assert!(end == End::Done && text.ends_with("abc"), "{path}: {text}");
        // the rest has not come: whatever does is no request
        let (end, text) =
            answers(&format!("PUT {path} HTTP/1.1\r\nhost: h\r\ncontent-length: 999\r\n\r\n{next}")).await;
        assert!(end == End::Done && text.ends_with("content-length: 0||"), "{path}: {text}");
    }
    let long = "x".repeat(4 * DRAINED_MOST);
    let said =
        format!("PUT /unread HTTP/1.1\r\nhost: h\r\ncontent-length: {}\r\n\r\n{long}{next}", long.len());
    assert!(answers(&said).await.1.ends_with("content-length: 0||"), "that is too much to read for nothing");
}

#[tokio::test]
async fn a_client_that_goes_is_not_answered() {
    assert_eq!(answers("GET /never HTTP/1.1\r\nhost: h\r\n\r\n").await, (End::Gone, String::new()));
    assert_eq!(answers("GET /never HTTP/1.1\r\nhos").await, (End::Gone, String::new()));
    assert_eq!(answers("").await, (End::Done, String::new()));
    let (_, text) = answers("PUT /k HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\nab").await;
    assert!(text.ends_with("broken"), "who reads the body hears of it: {text}");
}

#[tokio::test]
async fn a_connection_that_is_to_finish_does_after_its_answer() {
    let (mut near, far) = duplex(1 << 20);
    let count = Cell::new(0);
    let serve = |_: Head, _: ClientBody| {
        count.set(count.get() + 1);
        async { Response::new(Script { told: Some(1), ..script(&["x"]) }) }
    };
    let mut serving = Serving::new(far, serve, 64 << 10, Clock::system());
    near.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\nGET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    Pin::new(&mut serving).finish();
    assert_eq!((&mut serving).await, End::Done);
    drop(serving.into_io());
    let mut text = String::new();
    near.read_to_string(&mut text).await.unwrap();
    assert!(text.contains("connection: close\r\n") && count.get() == 1, "{text}");
    let (_near, far) = duplex(1 << 20);
    let mut idle = Serving::new(far, serve, 64 << 10, Clock::system());
    Pin::new(&mut idle).finish();
    assert_eq!(idle.await, End::Done, "nothing has come");
}

#[tokio::test]
async fn the_body_of_an_earlier_request_reads_nothing_of_the_next() {
    let (mut near, far) = duplex(1 << 20);
    let kept: Rc<RefCell<Vec<ClientBody>>> = Rc::default();
    let serve = |_: Head, body: ClientBody| {
        kept.borrow_mut().push(body);
        async { Response::new(Script { told: Some(0), ..script(&[]) }) }
    };
    near.write_all(b"PUT / HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\n\r\nxPUT / HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\n\r\ny")
        .await
        .unwrap();
    near.shutdown().await.unwrap();
    let serving = Serving::new(far, serve, 64 << 10, Clock::system());
    assert_eq!(serving.await, End::Done);
    for body in kept.take() {
        assert_eq!(read(body).await, Err(BrokeOff));
    }
}
