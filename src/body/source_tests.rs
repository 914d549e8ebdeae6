//! What is held of a body, as a client may cut it: through hyper's own connection.

use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::pin::pin;

use http_body_util::BodyExt as _;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;

use super::*;
use crate::body::ReplayRoom;
use crate::body::upload::{Framing, Upload};

const KIB: usize = 1024;

/// The object, in chunks of these sizes.
fn chunked(object: &[u8], size: usize) -> Vec<u8> {
    let mut body = String::new();
    for chunk in object.chunks(size) {
        write!(body, "{:x}\r\n{}\r\n", chunk.len(), std::str::from_utf8(chunk).unwrap()).unwrap();
    }
    (body + "0\r\n\r\n").into_bytes()
}

fn object(length: usize) -> Vec<u8> {
    (b'a'..=b'y').cycle().take(length).collect()
}

/// What to expect of an object of this length.
fn intake(length: usize, framed: bool) -> Intake {
    let length = length as u64;
    let framing =
        || Decoder::Chunks(chunks::Decoder::new(chunks::Framing::UnsignedTrailer, length, Vec::new()));
    let replay = ReplayRoom::default().reserve(length, length);
    Intake { length, decoder: framed.then(framing), replay, ..Intake::default() }
}

/// Sends a body in writes of so many bytes, and looks at what becomes of it.
async fn receive(intake: Intake, body: Vec<u8>, write: usize, look: impl AsyncFnOnce(Source)) {
    let (mut client, server) = tokio::io::duplex(64 * KIB);
    let (intake, look) = (RefCell::new(Some(intake)), RefCell::new(Some(look)));
    let service = service_fn(async |request: http::Request<hyper::body::Incoming>| {
        let body = ClientBody::Http2(request.into_body());
        let source = Source::stream(body, intake.take().expect("one request"));
        look.take().expect("one request")(source).await;
        Ok::<_, Infallible>(http::Response::new(String::new()))
    });
    let builder = hyper::server::conn::http1::Builder::new();
    let serve = pin!(builder.serve_connection(TokioIo::new(server), service));
    let send = async {
        let head = format!(
            "PUT / HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        client.write_all(head.as_bytes()).await.unwrap();
        for piece in body.chunks(write) {
            client.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        client
    };
    let (served, _client) = tokio::join!(serve, send);
    served.unwrap();
    assert!(look.take().is_none(), "it was looked at");
}

/// The object as an upload gives it, from its start.
async fn sent(source: &Source) -> Vec<u8> {
    let upload = Upload::new(source, Framing::Plain, None);
    upload.collect().await.expect("a good body").to_bytes().to_vec()
}

#[tokio::test(flavor = "current_thread")]
async fn a_short_body_in_chunks_of_a_byte_is_held_in_few_spans() {
    let object = object(64 * KIB);
    let body = chunked(&object, 1);
    receive(intake(object.len(), true), body, 8 * KIB, async |source| {
        source.verify_if_short().await.unwrap();
        let handles = source.shared.intake.borrow().held.handles();
        assert!(handles <= 16, "{handles} handles");
        assert_eq!(sent(&source).await, object);
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn what_is_kept_for_replay_is_held_in_few_spans_however_it_came() {
    let object = object(256 * KIB);
    for (size, write) in [(1, 8 * KIB), (100, 64 * KIB), (8 * KIB, 1500), (300 * KIB, 1)] {
        let body = chunked(&object, size);
        receive(intake(object.len(), true), body, write, async |source| {
            assert_eq!(sent(&source).await, object, "chunks of {size}");
            let handles = source.shared.intake.borrow().kept.handles();
            assert!(handles <= 2 * 256 * KIB / (4 * KIB), "{handles} handles for chunks of {size}");
            assert_eq!(sent(&source).await, object, "and again, of chunks of {size}");
        })
        .await;
    }
    receive(intake(object.len(), false), object.clone(), 1, async |source| {
        assert_eq!(sent(&source).await, object, "a plain one");
        let handles = source.shared.intake.borrow().kept.handles();
        assert!(handles <= 128, "{handles} handles for a plain body in writes of a byte");
        assert_eq!(sent(&source).await, object, "and again, a plain one");
    })
    .await;
}

/// Whether some span that is held lies in the frame.
fn keeps(reception: &Reception, frame: &Bytes) -> bool {
    let range = frame.as_ptr_range();
    reception.held.iter().any(|span| range.contains(&span.as_ptr()))
}

#[test]
fn a_frame_that_is_mostly_framing_is_not_kept() {
    let chunk = 4 * KIB;
    for (bytes, kept) in [(10, false), (9_000, true)] {
        // a large chunk, and others of a byte each with as long a line as may be
        let thin = format!("{:016x}\r\nx\r\n", 1).repeat(bytes.min(400));
        let large = "y".repeat(chunk + bytes);
        let body = Bytes::from(format!("{:x}\r\n{large}\r\n{thin}", large.len()));
        let source = Source::assemble(None, intake(MIB, true), Spans::expecting(MIB as u64), true);
        let mut reception = source.shared.intake.borrow_mut();
        reception.decoded = 0;
        let frame = if kept { body } else { Bytes::from([&body[..], thin.repeat(60).as_bytes()].concat()) };
        reception.take(frame.clone()).unwrap();
        assert_eq!(keeps(&reception, &frame), kept, "{bytes}");
    }
}

const MIB: usize = 1024 * KIB;
