//! Framing: the same result for any split, every fault by name, and what is written is read.

use bytes::Bytes;
use proptest::prelude::*;

use super::{Decoder, Encoder, Fault, Framing, Layout, Miscount, Seed, Trailer, declared};
use crate::head::Head;
use crate::names::Secret;
use crate::sigv4::asymmetric::{SigningPair, VerifyingKey};
use crate::sigv4::canonical::Scope;
use crate::sigv4::key::Judge;
use crate::sigv4::{Algorithm, EMPTY_SHA256, SigningKey, Stamp, sha256};

const CHECKSUM: &str = "x-amz-checksum-crc32";

/// The head's signature, in either algorithm.
const HEAD: &str = "00";

fn secret() -> Secret {
    Secret::from("s")
}

fn seed(algorithm: Algorithm) -> Seed {
    let stamp = Stamp::parse("20130524T000000Z").expect("a stamp");
    let scope = |region| Scope { day: "20130524", region, service: "s3" };
    match algorithm {
        Algorithm::Hmac => {
            let key = SigningKey::derive(&secret(), "20130524", "eu");
            Seed::new(Judge::Hmac(&key), stamp, scope(Some("eu")), HEAD)
        }
        Algorithm::Ecdsa => {
            let key = VerifyingKey::derive("AKID", &secret());
            Seed::new(Judge::Ecdsa(&key), stamp, scope(None), HEAD)
        }
    }
}

/// What a client signs chunks and trailers with, one after the other.
struct Client {
    algorithm: Algorithm,
    previous: String,
}

impl Client {
    /// The signature as it is in the frame: SigV4A's is padded.
    fn sign(&mut self, of: &str, headers: &str, digest: [u8; 32]) -> String {
        let (name, scope) = match self.algorithm {
            Algorithm::Hmac => ("AWS4-HMAC-SHA256", "20130524/eu/s3/aws4_request"),
            Algorithm::Ecdsa => ("AWS4-ECDSA-P256-SHA256", "20130524/s3/aws4_request"),
        };
        let (previous, digest) = (&self.previous, hex::encode(digest));
        let text = format!("{name}-{of}\n20130524T000000Z\n{scope}\n{previous}\n{headers}{digest}");
        self.previous = match self.algorithm {
            Algorithm::Hmac => {
                hex::encode(SigningKey::derive(&secret(), "20130524", "eu").sign(text.as_bytes()))
            }
            Algorithm::Ecdsa => SigningPair::derive("AKID", &secret()).sign(text.as_bytes()),
        };
        match self.algorithm {
            Algorithm::Hmac => self.previous.clone(),
            Algorithm::Ecdsa => format!("{:*<144}", self.previous),
        }
    }
}

fn signed(trailers: bool) -> Framing {
    signed_with(Algorithm::Hmac, trailers)
}

fn signed_with(algorithm: Algorithm, trailers: bool) -> Framing {
    Framing::Signed { seed: Box::new(seed(algorithm)), trailers }
}

/// A body in chunks of these sizes, framed as a client would.
fn framed(framing: &Framing, object: &[u8], sizes: &[usize], trailers: &[(&str, &str)]) -> Vec<u8> {
    let algorithm = match framing {
        Framing::Signed { seed, .. } => seed.key.judge().algorithm(),
        Framing::UnsignedTrailer | Framing::Unjudged { .. } => Algorithm::Hmac,
    };
    let mut client = Client { algorithm, previous: HEAD.to_owned() };
    let mut out = Vec::new();
    let mut rest = object;
    for size in sizes.iter().copied().chain([usize::MAX, 0]) {
        let (chunk, after) = rest.split_at(size.min(rest.len()));
        if chunk.is_empty() && size > 0 {
            continue;
        }
        rest = after;
        out.extend_from_slice(format!("{:x}", chunk.len()).as_bytes());
        if !matches!(framing, Framing::UnsignedTrailer) {
            let signature = client.sign("PAYLOAD", &format!("{EMPTY_SHA256}\n"), sha256(chunk));
            out.extend_from_slice(format!(";chunk-signature={signature}").as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(chunk);
        if !chunk.is_empty() {
            out.extend_from_slice(b"\r\n");
        }
    }
    let mut sorted = trailers.to_vec();
    sorted.sort_unstable();
    let lines = |pairs: &[(&str, &str)], end: &str| {
        pairs.iter().flat_map(|(name, value)| [name, ":", value, end]).collect::<String>()
    };
    let canonical = lines(&sorted, "\n");
    out.extend_from_slice(lines(trailers, "\r\n").as_bytes());
    if let Framing::Signed { trailers: true, .. } = framing {
        let signature = client.sign("TRAILER", "", sha256(canonical.as_bytes()));
        out.extend_from_slice(format!("x-amz-trailer-signature:{signature}\r\n").as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// What a decoder makes of a body: the object's bytes until the end or the fault.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    object: Vec<u8>,
    end: Result<Vec<(String, String)>, Fault>,
}

fn decode(framing: Framing, length: u64, names: &[&str], pieces: &[Bytes]) -> Outcome {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    let mut decoder = Decoder::new(framing, length, names);
    let mut spans = Vec::new();
    let mut end = Ok(());
    for piece in pieces {
        end = decoder.push(piece, &mut spans);
        if end.is_err() {
            break;
        }
    }
    let object = spans.concat();
    assert_eq!(u64::try_from(object.len()), Ok(decoder.decoded()));
    let pairs = |trailers: Vec<Trailer>| trailers.into_iter().map(|t| (t.name, t.value)).collect();
    Outcome { object, end: end.and_then(|()| decoder.finish()).map(pairs) }
}

fn whole(framing: Framing, length: u64, names: &[&str], body: &[u8]) -> Outcome {
    decode(framing, length, names, &[Bytes::copy_from_slice(body)])
}

fn split(body: &[u8], at: &[prop::sample::Index]) -> Vec<Bytes> {
    let mut cuts: Vec<usize> = at.iter().map(|index| index.index(body.len() + 1)).collect();
    cuts.extend([0, body.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| Bytes::copy_from_slice(&body[pair[0]..pair[1]])).collect()
}

fn framings() -> [(Framing, bool); 7] {
    [
        (Framing::UnsignedTrailer, true),
        (signed(false), false),
        (signed(true), true),
        (signed_with(Algorithm::Ecdsa, false), false),
        (signed_with(Algorithm::Ecdsa, true), true),
        (Framing::Unjudged { trailers: false }, false),
        (Framing::Unjudged { trailers: true }, true),
    ]
}

fn which() -> impl Strategy<Value = (Framing, bool)> {
    prop::sample::select(framings().to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_split_gives_the_same_object(
        (framing, trailers) in which(),
        object in prop::collection::vec(any::<u8>(), 0..300),
        sizes in prop::collection::vec(1_usize..80, 0..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let sent = if trailers { vec![("x-b", "2"), (CHECKSUM, "sOO8/Q==")] } else { vec![] };
        let names: Vec<&str> = sent.iter().map(|(name, _)| *name).collect();
        // a chunk of a client that signs and is not looked at is framed as a signed one
        let sender = match &framing {
            Framing::Unjudged { trailers } => signed(*trailers),
            other => other.clone(),
        };
        let body = framed(&sender, &object, &sizes, &sent);
        let length = u64::try_from(object.len()).expect("small");
        let outcome = decode(framing, length, &names, &split(&body, &cuts));
        prop_assert_eq!(outcome.object, object);
        let sent: Vec<(String, String)> = sent.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        prop_assert_eq!(outcome.end, Ok(sent));
    }

    #[test]
    fn any_split_of_a_spoilt_body_gives_the_same_outcome(
        (framing, trailers) in which(),
        object in prop::collection::vec(any::<u8>(), 0..200),
        sizes in prop::collection::vec(1_usize..80, 0..6),
        spoil in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..3), 1..3),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let sent = if trailers { vec![(CHECKSUM, "sOO8/Q==")] } else { vec![] };
        let names: Vec<&str> = sent.iter().map(|(name, _)| *name).collect();
        let mut body = framed(&framing, &object, &sizes, &sent);
        for (at, byte, how) in spoil {
            let at = at.index(body.len());
            match how {
                0 => body[at] = byte,
                1 => body.insert(at, byte),
                _ => body.truncate(at),
            }
            if body.is_empty() {
                break;
            }
        }
        let length = u64::try_from(object.len()).expect("small");
        let at_once = whole(framing.clone(), length, &names, &body);
        let in_pieces = decode(framing, length, &names, &split(&body, &cuts));
        prop_assert_eq!(at_once, in_pieces);
    }

    #[test]
    fn a_changed_bit_fails_or_changes_nothing(
        object in prop::collection::vec(any::<u8>(), 1..200),
        sizes in prop::collection::vec(1_usize..80, 0..6),
        at in any::<prop::sample::Index>(), bit in 0_u8..8,
    ) {
        let body = framed(&signed(true), &object, &sizes, &[(CHECKSUM, "sOO8/Q==")]);
        let mut changed = body.clone();
        changed[at.index(body.len())] ^= 1 << bit;
        let length = u64::try_from(object.len()).expect("small");
        let outcome = whole(signed(true), length, &[CHECKSUM], &changed);
        if let Ok(trailers) = &outcome.end {
            // the case of a size or the white space of a trailer: nothing that means anything
            prop_assert_eq!(&outcome.object, &object);
            prop_assert_eq!(trailers, &vec![(CHECKSUM.to_owned(), "sOO8/Q==".to_owned())]);
        }
    }

    #[test]
    fn what_is_written_is_read_and_as_long_as_announced(
        object in prop::collection::vec(any::<u8>(), 0..2000), chunk in 1_u32..300,
        value in prop::option::of("[A-Za-z0-9+/=]{1,44}"),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let layout = Layout {
            decoded_length: u64::try_from(object.len()).expect("small"),
            chunk,
            trailer: value.as_ref().map(|value| (CHECKSUM.to_owned(), value.len())),
        };
        let mut encoder = Encoder::new(layout.clone());
        let mut frames = Vec::new();
        for piece in split(&object, &cuts) {
            encoder.push(piece, &mut frames).expect("as long as announced");
        }
        frames.push(encoder.finish(value.as_deref()).expect("as announced"));
        let body = frames.concat();
        prop_assert_eq!(u64::try_from(body.len()), Ok(layout.encoded_length()));
        let names: &[&str] = if value.is_some() { &[CHECKSUM] } else { &[] };
        let outcome = whole(Framing::UnsignedTrailer, layout.decoded_length, names, &body);
        prop_assert_eq!(outcome.object, object);
        let trailers: Vec<_> = value.into_iter().map(|value| (CHECKSUM.to_owned(), value)).collect();
        prop_assert_eq!(outcome.end, Ok(trailers));
    }

    #[test]
    fn arbitrary_bytes_never_panic((framing, _) in which(), body in "[0-9a-f;=:\r\n\tchunk-signature]{0,200}") {
        let outcome = whole(framing, 7, &[CHECKSUM], body.as_bytes());
        prop_assert!(outcome.object.len() <= 7);
    }
}

/// One row: what is sent after `x-amz-decoded-content-length: 5`, and what becomes of it.
fn row(body: &str) -> Result<Vec<(String, String)>, Fault> {
    whole(Framing::UnsignedTrailer, 5, &[CHECKSUM], body.as_bytes()).end
}

#[track_caller]
fn refused(body: &str, code: &str, status: u16, closes: bool) {
    let fault = row(body).expect_err(body);
    assert_eq!((fault.code(), fault.status(), fault.closes()), (code, status, closes), "{body:?}: {fault:?}");
}

#[test]
fn tolerated_deviations_are_read() {
    let sum = Ok(vec![(CHECKSUM.to_owned(), "abc".to_owned())]);
    for body in [
        "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:abc\r\n\r\n",
        // chunks of any size, sizes of either case, leading zeros
        "2\r\nhe\r\n1\r\nl\r\n0002\r\nlo\r\n0\r\nx-amz-checksum-crc32:abc\r\n\r\n",
        // a bare LF between the value and its CRLF
        "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:abc\n\r\n\r\n",
        // an empty line before the trailers
        "5\r\nhello\r\n0\r\n\r\nx-amz-checksum-crc32:abc\r\n\r\n",
        // no last CRLF
        "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:abc\r\n",
        "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:abc\n\r\n",
        // white space and case
        "5\r\nhello\r\n0\r\nX-Amz-Checksum-CRC32 :  abc \r\n\r\n",
    ] {
        assert_eq!(row(body), sum, "{body:?}");
    }
    assert_eq!(whole(Framing::UnsignedTrailer, 5, &[], b"5\r\nhello\r\n0\r\n").end, Ok(vec![]));
    let upper = whole(Framing::UnsignedTrailer, 10, &[], b"A\r\n0123456789\r\n0\r\n\r\n");
    assert_eq!(upper.end, Ok(vec![]));
}

#[test]
fn sizes_that_are_none_are_refused() {
    for size in [
        "ffffffffffffffff",
        "10000000000000000",
        "40000000",
        "140000001",
        "g",
        "",
        "-5",
        "+5",
        "0x5",
        " 5",
        "5 ",
    ] {
        refused(&format!("{size}\r\nhello\r\n0\r\n\r\n"), "InvalidRequest", 400, true);
    }
    for extension in [";chunk-signature=00", ";a=b", ";"] {
        refused(&format!("5{extension}\r\nhello\r\n0\r\n\r\n"), "InvalidRequest", 400, true);
    }
    refused("5\nhello\r\n0\r\n\r\n", "InvalidRequest", 400, true);
    refused("5\r\nhelloo\r\n0\r\n\r\n", "InvalidRequest", 400, true);
    refused("5\r\nhello\n0\r\n\r\n", "InvalidRequest", 400, true);
    refused("5\r\nhello0\r\n\r\n", "InvalidRequest", 400, true);
    refused(&"0".repeat(1_025), "InvalidRequest", 400, true);
    refused(&format!("{}\r\n", "5;".repeat(600)), "InvalidRequest", 400, true);
}

/// Whatever the head declares: 5 GiB is S3's largest upload.
#[test]
fn a_chunk_may_have_5_gib_and_no_byte_more() {
    let first_line =
        |size: &str| whole(Framing::UnsignedTrailer, u64::MAX, &[], format!("{size}\r\n").as_bytes());
    let incomplete = Fault::IncompleteBody { declared: u64::MAX, seen: 0 };
    assert_eq!(first_line("140000000").end, Err(incomplete));
    assert!(matches!(first_line("140000001").end, Err(Fault::InvalidChunk(_))));
}

#[test]
fn lengths_that_differ_are_refused() {
    let good = "x-amz-checksum-crc32:abc\r\n\r\n";
    for body in ["4\r\nhell\r\n0\r\n", "6\r\nhello!\r\n0\r\n", "5\r\nhello\r\n1\r\n!\r\n0\r\n", "0\r\n"] {
        refused(&format!("{body}{good}"), "IncompleteBody", 400, true);
    }
    for body in ["", "5", "5\r\n", "5\r\nhell", "5\r\nhello", "5\r\nhello\r\n", "5\r\nhello\r\n0"] {
        refused(body, "IncompleteBody", 400, true);
    }
    refused(&format!("5\r\nhello\r\n0\r\n{good}0\r\n\r\n"), "InvalidRequest", 400, true);
    refused(&format!("5\r\nhello\r\n0\r\n{good} "), "InvalidRequest", 400, true);
}

#[test]
fn trailers_that_do_not_belong_are_refused() {
    let many = "x-undeclared:v\r\n".repeat(600);
    let long = format!("x-amz-checksum-crc32:{}\r\n", "a".repeat(8 << 10));
    for trailers in [
        "\r\n",
        "",
        "x-amz-checksum-sha1:abc\r\n\r\n",
        "x-amz-checksum-crc32:abc\r\nx-amz-meta-a:1\r\n\r\n",
        "x-amz-checksum-crc32:abc\r\nx-amz-checksum-crc32:abc\r\n\r\n",
        "x-amz-checksum-crc32:abc\r\nx-amz-trailer-signature:abc\r\n\r\n",
        "x-amz-checksum-crc32\r\n\r\n",
        "x-amz-checksum-crc32:abc\nx-amz-meta-a:1\r\n\r\n",
        "x-amz-checksum-crc32:abc\n\n",
        "x-amz-checksum-crc32:a\rbc\r\n\r\n",
        "\r\n\r\nx-amz-checksum-crc32:abc\r\n\r\n",
        &many,
        &long,
    ] {
        let body = format!("5\r\nhello\r\n0\r\n{trailers}");
        refused(&body, "MalformedTrailerError", 400, false);
    }
    refused("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:abc", "MalformedTrailerError", 400, false);
}

#[test]
fn a_number_of_trailers_is_enough() {
    let names: Vec<String> = (0..17).map(|n| format!("x-{n}")).collect();
    for (count, good) in [(16, true), (17, false)] {
        let names: Vec<&str> = names.iter().take(count).map(String::as_str).collect();
        let lines: String = names.iter().flat_map(|name| [name, ":v\r\n"]).collect();
        let body = format!("0\r\n{lines}\r\n");
        assert_eq!(whole(Framing::UnsignedTrailer, 0, &names, body.as_bytes()).end.is_ok(), good);
    }
}

#[test]
fn signatures_are_wanted_where_the_framing_has_them() {
    let object = b"hello world";
    let good = framed(&signed(false), object, &[5], &[]);
    assert_eq!(whole(signed(false), 11, &[], &good).end, Ok(vec![]));
    let unsigned = framed(&Framing::UnsignedTrailer, object, &[5], &[]);
    for framing in [signed(false), Framing::Unjudged { trailers: false }] {
        let fault = whole(framing, 11, &[], &unsigned).end.expect_err("no signatures");
        assert_eq!((fault.code(), fault.closes()), ("InvalidRequest", true));
    }
    let short = String::from_utf8(good.clone()).expect("text").replacen("signature=", "signature=0", 1);
    let fault = whole(signed(false), 11, &[], short.as_bytes()).end;
    assert_eq!(fault, Err(Fault::BadChunkSignature { chunk: 0 }));
    let extension = String::from_utf8(good).expect("text").replacen("chunk-sig", "chunk-sog", 1);
    assert!(matches!(whole(signed(false), 11, &[], extension.as_bytes()).end, Err(Fault::InvalidChunk(_))));
    // one chunk cannot be left out, repeated or moved
    let chunks = framed(&signed(false), object, &[5, 5], &[]);
    let first = chunks.iter().position(|b| *b == b'\n').expect("a line") + 1 + 5 + 2;
    let moved = [&chunks[first..2 * first], &chunks[..first], &chunks[2 * first..]].concat();
    assert_eq!(moved.len(), chunks.len());
    assert_eq!(whole(signed(false), 11, &[], &moved).end, Err(Fault::BadChunkSignature { chunk: 0 }));
}

#[test]
fn trailers_after_chunks_that_cannot_have_any_are_refused() {
    let mut body = framed(&signed(false), b"hello", &[], &[]);
    body.truncate(body.len() - 2);
    body.extend_from_slice(b"x-amz-checksum-crc32:abc\r\n\r\n");
    assert!(matches!(whole(signed(false), 5, &[], &body).end, Err(Fault::MalformedTrailer(_))));
    assert!(matches!(whole(signed(false), 5, &[CHECKSUM], &body).end, Err(Fault::MalformedTrailer(_))));
}

#[test]
fn after_a_fault_nothing_is_believed() {
    let mut decoder = Decoder::new(Framing::UnsignedTrailer, 5, vec![]);
    let mut spans = Vec::new();
    assert!(decoder.push(&Bytes::from_static(b"zz\r\n"), &mut spans).is_err());
    assert!(decoder.push(&Bytes::from_static(b"5\r\nhello\r\n0\r\n\r\n"), &mut spans).is_err());
    assert!(spans.is_empty() && decoder.finish().is_err());
}

#[test]
fn spans_are_not_copied() {
    let body = Bytes::from_static(b"5\r\nhello\r\n0\r\n\r\n");
    let mut spans = Vec::new();
    let mut decoder = Decoder::new(Framing::UnsignedTrailer, 5, vec![]);
    decoder.push(&body, &mut spans).expect("good");
    assert_eq!(spans[0].as_ptr(), body[3..].as_ptr());
}

#[test]
fn a_layout_that_is_not_kept_is_noticed() {
    let layout = Layout { decoded_length: 5, chunk: 65_536, trailer: Some((CHECKSUM.to_owned(), 3)) };
    assert_eq!(layout.encoded_length(), 3 + 5 + 2 + 3 + 20 + 1 + 3 + 2 + 2);
    let mut frames = Vec::new();
    let mut encoder = Encoder::new(layout.clone());
    assert_eq!(encoder.push(Bytes::from_static(b"hello!"), &mut frames), Err(Miscount));
    assert!(frames.is_empty());
    assert_eq!(Encoder::new(layout.clone()).finish(Some("abc")), Err(Miscount));
    for trailer in [None, Some("abcd"), Some("a\nb")] {
        let mut encoder = Encoder::new(layout.clone());
        encoder.push(Bytes::from_static(b"hello"), &mut frames).expect("as announced");
        assert_eq!(encoder.finish(trailer), Err(Miscount));
    }
    let large = Layout { decoded_length: u64::MAX, chunk: 0, trailer: None };
    assert_eq!(large.encoded_length(), u64::MAX, "never wraps");
}

#[test]
fn declared_trailers_are_read_from_the_head() {
    let mut head = Head::new(http::Method::PUT, "/b/k");
    head.push("x-amz-trailer", b"X-Amz-Checksum-CRC32 , x-b,");
    head.push("x-amz-trailer", b"x-c");
    assert_eq!(declared(&head), ["x-amz-checksum-crc32", "x-b", "x-c"]);
}
