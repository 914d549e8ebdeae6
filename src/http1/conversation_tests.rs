//! Conversations over pipes: every split of what comes, every way to end.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;

use http_body_util::{Empty, Full};
use proptest::prelude::*;
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

use super::*;

fn head(method: Method) -> Head {
    let mut head = Head::new(method, "/b/k");
    head.push("host", b"store");
    head
}

fn pair() -> (Conversation, DuplexStream) {
    let (near, far) = duplex(1 << 20);
    (Conversation::new(near), far)
}

/// Whether the last exchange has come to its end, whatever the far end has done since.
fn is_ready(conversation: &Conversation) -> bool {
    conversation.0.borrow().state == State::Ready
}

type Asking<B = Empty<Bytes>> = Asked<B, fn(StatusCode)>;

fn ask(conversation: &Conversation, method: Method) -> Asking {
    conversation.ask(&head(method), (None, false), Empty::new(), (|_| {}) as fn(StatusCode)).unwrap()
}

fn put(conversation: &Conversation, body: &'static [u8]) -> Asking<Full<Bytes>> {
    let framing = (Some(body.len() as u64), false);
    conversation.ask(&head(Method::PUT), framing, Full::from(body), (|_| {}) as fn(StatusCode)).unwrap()
}

async fn heard(far: &mut DuplexStream, until: &[u8]) -> Vec<u8> {
    let mut heard = Vec::new();
    while !heard.ends_with(until) {
        assert_ne!(far.read_buf(&mut heard).await.unwrap(), 0, "{}", String::from_utf8_lossy(&heard));
    }
    heard
}

async fn whole(body: &mut Incoming) -> io::Result<Vec<u8>> {
    let mut whole = Vec::new();
    while let Some(bytes) = poll_fn(|cx| body.poll_bytes(cx)).await.transpose()? {
        whole.extend_from_slice(&bytes);
    }
    Ok(whole)
}

#[tokio::test]
async fn one_exchange_follows_the_other() {
    let (conversation, mut far) = pair();
    for round in 0..3 {
        assert!(conversation.is_open(), "{round}");
        let answering = async {
            let said = heard(&mut far, b"hello").await;
            let text = String::from_utf8(said).unwrap();
            assert_eq!(text, "PUT /b/k HTTP/1.1\r\nhost: store\r\ncontent-length: 5\r\n\r\nhello");
            far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes").await.unwrap();
        };
        let (answered, ()) = tokio::join!(put(&conversation, b"hello"), answering);
        let Answered { head, mut body, request_sent } = answered.unwrap();
        assert!(request_sent);
        assert_eq!((head.status, body.left()), (StatusCode::OK, Some(3)));
        assert!(!is_ready(&conversation), "its body is on the wire");
        assert_eq!(whole(&mut body).await.unwrap(), b"yes");
        assert!(body.is_ended() && is_ready(&conversation));
    }
}

#[tokio::test]
async fn what_may_be_used_again_is_said_by_both_sides() {
    for (method, answer, again) in [
        (Method::GET, "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx", true),
        (Method::GET, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", true),
        (Method::HEAD, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", true),
        (Method::GET, "HTTP/1.1 204 No Content\r\n\r\n", true),
        (Method::GET, "HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx", false),
        (Method::GET, "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nxHTTP/1.1 200 OK", false),
        (Method::HEAD, "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx", false),
        (Method::GET, "HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nx", false),
    ] {
        let (conversation, mut far) = pair();
        far.write_all(answer.as_bytes()).await.unwrap();
        let mut answered = ask(&conversation, method).await.unwrap();
        whole(&mut answered.body).await.unwrap();
        assert_eq!(conversation.is_open(), again, "{answer}");
    }
}

#[tokio::test]
async fn an_idle_connection_that_ends_or_speaks_is_over() {
    let (conversation, far) = pair();
    assert!(conversation.is_open());
    drop(far);
    assert!(!conversation.is_open() && !is_ready(&conversation));
    let (conversation, mut far) = pair();
    far.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").await.unwrap();
    assert!(!conversation.is_open());
}

#[tokio::test]
async fn a_body_without_a_length_ends_with_its_connection() {
    let (conversation, mut far) = pair();
    far.write_all(b"HTTP/1.1 200 OK\r\n\r\nall of").await.unwrap();
    let mut answered = ask(&conversation, Method::GET).await.unwrap();
    assert_eq!(answered.body.left(), None);
    far.write_all(b" it").await.unwrap();
    drop(far);
    assert_eq!(whole(&mut answered.body).await.unwrap(), b"all of it");
    assert!(!is_ready(&conversation));
}

#[tokio::test]
async fn a_body_that_is_cut_is_never_ended() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalfway\r\n0\r\n\r\n",
    ] {
        let (conversation, mut far) = pair();
        far.write_all(answer.as_bytes()).await.unwrap();
        let mut answered = ask(&conversation, Method::GET).await.unwrap();
        drop(far);
        assert!(whole(&mut answered.body).await.is_err(), "{answer}");
        assert!(!is_ready(&conversation));
    }
}

#[tokio::test]
async fn an_end_before_an_answer_says_what_was_sent() {
    let (conversation, far) = pair();
    drop(far);
    assert!(matches!(put(&conversation, b"x").await, Err(Fault::Unsent(_))), "nothing took a byte");
    let (conversation, mut far) = pair();
    let reading = async {
        heard(&mut far, b"\r\n\r\n").await;
        drop(far);
    };
    let (asked, ()) = tokio::join!(ask(&conversation, Method::GET), reading);
    assert!(matches!(asked, Err(Fault::Broken(_))));
    let (conversation, mut far) = pair();
    far.write_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n").await.unwrap();
    assert!(matches!(ask(&conversation, Method::GET).await, Err(Fault::Broken(_))));
    assert!(!is_ready(&conversation));
}

#[tokio::test]
async fn interim_answers_are_told_and_passed_over() {
    let (conversation, mut far) = pair();
    far.write_all(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n").await.unwrap();
    far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    let told = Cell::new(0);
    let interim = |status: StatusCode| told.set(told.get() + status.as_u16());
    let asked = conversation.ask(&head(Method::GET), (None, true), Empty::<Bytes>::new(), interim).unwrap();
    assert_eq!(asked.await.unwrap().head.status, 200);
    assert_eq!(told.get(), 203);
    assert!(heard(&mut far, b"\r\n\r\n").await.ends_with(b"expect: 100-continue\r\n\r\n"));
    let (conversation, mut far) = pair();
    far.write_all(&b"HTTP/1.1 100 Continue\r\n\r\n".repeat(2_000)).await.unwrap();
    assert!(matches!(ask(&conversation, Method::GET).await, Err(Fault::Broken(_))), "not for ever");
    let (conversation, mut far) = pair();
    far.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").await.unwrap();
    assert_eq!(ask(&conversation, Method::GET).await.unwrap().head.status, 101);
    assert!(!is_ready(&conversation), "whatever it speaks now");
}

/// A body that waits for ever behind its first piece.
struct Unending(Option<Bytes>);

impl Body for Unending {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        match self.0.take() {
            Some(first) => Poll::Ready(Some(Ok(http_body::Frame::data(first)))),
            None => Poll::Pending,
        }
    }
}

#[tokio::test]
async fn an_early_answer_is_heard_and_ends_the_connection() {
    let (conversation, mut far) = pair();
    let asked = conversation
        .ask(&head(Method::PUT), (Some(100), false), Unending(Some(Bytes::from_static(b"first"))), |_| {})
        .unwrap();
    let refusing = async {
        heard(&mut far, b"first").await;
        far.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
    };
    let (answered, ()) = tokio::join!(asked, refusing);
    let mut answered = answered.unwrap();
    assert!(!answered.request_sent);
    assert_eq!(whole(&mut answered.body).await.unwrap(), b"no");
    assert!(!is_ready(&conversation), "the rest of the body is missing on the wire");
}

#[tokio::test]
async fn a_body_larger_than_any_buffer_goes_out_whole() {
    const LENGTH: usize = 3 << 20;
    const HEAD: &str = "PUT /b/k HTTP/1.1\r\nhost: store\r\ncontent-length: 3145728\r\n\r\n";
    static BYTES: [u8; LENGTH] = [7; LENGTH];
    let (conversation, mut far) = pair();
    let asked = put(&conversation, &BYTES);
    let answering = async {
        let (mut came, mut room) = (0, vec![0; 100_000]);
        while came < HEAD.len() + LENGTH {
            came += far.read(&mut room).await.unwrap();
        }
        far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    };
    let (answered, ()) = tokio::join!(asked, answering);
    assert!(answered.unwrap().body.is_ended() && is_ready(&conversation));
}

#[tokio::test]
async fn a_head_that_cannot_be_said_costs_nothing() {
    let (conversation, _far) = pair();
    let mut head = head(Method::GET);
    head.push("x-amz-meta-a", b"1\r\nx: y");
    assert!(conversation.ask(&head, (None, false), Empty::<Bytes>::new(), |_| {}).is_err());
    assert!(conversation.is_open());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_split_of_an_answer_is_the_same_answer(
        chunked: bool,
        body in prop::collection::vec(any::<u8>(), 0..300),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut wire = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 206 Partial Content\r\nx: y\r\n".to_vec();
        if chunked {
            wire.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
            for chunk in body.chunks(7) {
                wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
        } else {
            wire.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
            wire.extend_from_slice(&body);
        }
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(wire.len())).collect();
        cuts.sort_unstable();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (got, open) = runtime.block_on(async {
            let (conversation, mut far) = pair();
            let sending = async {
                let mut from = 0;
                for cut in cuts.into_iter().chain([wire.len()]) {
                    far.write_all(&wire[from..cut]).await.unwrap();
                    from = cut;
                    tokio::task::yield_now().await;
                }
            };
            let asking = async {
                let mut answered = ask(&conversation, Method::GET).await.unwrap();
                whole(&mut answered.body).await.unwrap()
            };
            let (got, ()) = tokio::join!(asking, sending);
            (got, conversation.is_open())
        });
        prop_assert_eq!(got, body);
        prop_assert!(open);
    }
}
