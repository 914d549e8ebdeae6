//! Bodies: every way to send one arrives whole, and what is wrong with one stores nothing.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{BUCKETS, Scene, begin, body, expect_unavailable, regions, setup, timed};
use crate::house::client::{Client, Framing, Payload, Request, Signed};
use crate::house::digest::{self, Algorithm};
use crate::house::region::{PATIENCE, Region, Seen};
use crate::house::text;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// What stores understand: the lines of a region's profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Store {
    /// Trailers pass, checksums are kept, the store checks hashes.
    Rich,
    /// Checksums are kept, trailers are not understood.
    Decoding,
    /// No checksums, no trailers; hashes are checked here.
    Poor,
}

impl Store {
    const ALL: [Self; 3] = [Self::Rich, Self::Decoding, Self::Poor];

    fn lines(self) -> &'static str {
        match self {
            Self::Rich => "profile: minio",
            Self::Decoding => "profile: custom\n    honours: [checksums]",
            Self::Poor => "profile: custom",
        }
    }

    fn keeps_checksums(self) -> bool {
        self != Self::Poor
    }

    /// Whether a checksum that comes behind a body reaches the store. A long body has left by then,
    /// its head before it.
    fn keeps_trailer(self, length: usize) -> bool {
        match self {
            Self::Rich => true,
            Self::Decoding => length <= 64 * KIB,
            Self::Poor => false,
        }
    }
}

/// One region behind a gateway that takes it for such a store.
async fn behind(store: Store) -> Scene {
    let regions = regions(1);
    let mut setup = setup(&regions, "refuse");
    setup.regions.clear();
    let setup = setup.region(&regions[0], store.lines());
    begin(regions, &setup).await
}

/// The sizes at which something changes: nothing, the least, below the smallest chunk, what is held
/// back and one more, what is kept for a replay and one more, many chunks.
const SIZES: [usize; 7] = [0, 1, 8 * KIB - 1, 64 * KIB, 64 * KIB + 1, MIB + 1, 8 * MIB + 1];

fn algorithm(payload: Payload) -> Option<Algorithm> {
    match payload {
        Payload::SignedChunksTrailer(_, algorithm) | Payload::UnsignedTrailer(_, algorithm, _) => {
            Some(algorithm)
        }
        Payload::Hex | Payload::Unsigned | Payload::SignedChunks(_) => None,
    }
}

async fn arrives_whole(payload: Payload) {
    for store in Store::ALL {
        let scene = behind(store).await;
        for length in SIZES {
            let what = format!("{payload:?} {store:?} {length}");
            scene.forget();
            let put = Request::put("/photos/k", body(length)).payload(payload).with("x-amz-meta-who", "me");
            let reply = scene.client.send(&put).await.expect(200);
            let object = scene.near().object(BUCKETS[0], "k").expect(&what);
            assert!(object.body == body(length), "{what}: other bytes");
            assert_eq!(reply.header("etag"), Some(object.etag.as_str()), "{what}");
            assert_eq!(
                (object.header("content-encoding"), object.header("x-amz-meta-who")),
                (None, Some("me"))
            );
            let seen = scene.near().seen_once();
            checksum_is_kept(&what, store, payload, &body(length), &seen);
            let checksum = algorithm(payload).filter(|_| store.keeps_trailer(length));
            let header = checksum.map(|algorithm| (algorithm.header(), algorithm.base64(&body(length))));
            let stored = header.as_ref().map(|(name, _)| object.header(name).map(str::to_owned));
            assert_eq!(stored, header.map(|(_, value)| Some(value)), "{what}");
        }
    }
}

/// What the region saw of the body's protection.
fn checksum_is_kept(what: &str, store: Store, payload: Payload, body: &[u8], seen: &Seen) {
    let mark = seen.header("x-amz-content-sha256").expect("every request has one");
    let long = body.len() > 64 * KIB;
    let expected = match payload {
        Payload::Hex => digest::sha256_hex(body),
        Payload::UnsignedTrailer(..) | Payload::SignedChunksTrailer(..) if store == Store::Rich && long => {
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER".to_owned()
        }
        _ if mark == digest::sha256_hex(b"") && body.is_empty() => mark.to_owned(),
        _ => "UNSIGNED-PAYLOAD".to_owned(),
    };
    assert_eq!(mark, expected, "{what}");
    assert!(seen.header("transfer-encoding").is_none(), "{what}: a length is what every store understands");
}

macro_rules! arrive_whole {
    ($($name:ident: $payload:expr;)*) => {$(
        #[tokio::test]
        async fn $name() {
            arrives_whole($payload).await;
        }
    )*};
}

arrive_whole! {
    bodies_with_their_hash_arrive_whole: Payload::Hex;
    unsigned_bodies_arrive_whole: Payload::Unsigned;
    signed_chunks_arrive_whole: Payload::SignedChunks(64 * KIB);
    signed_chunks_with_a_trailer_arrive_whole: Payload::SignedChunksTrailer(64 * KIB, Algorithm::Crc64Nvme);
    an_unsigned_trailer_with_a_length_arrives_whole:
        Payload::UnsignedTrailer(64 * KIB, Algorithm::Crc32, Framing::Length);
    an_unsigned_trailer_without_a_length_arrives_whole:
        Payload::UnsignedTrailer(MIB, Algorithm::Crc32c, Framing::Chunked);
    one_chunk_for_all_arrives_whole: Payload::UnsignedTrailer(16 * MIB, Algorithm::Sha256, Framing::Length);
}

#[tokio::test]
async fn a_checksum_in_the_head_is_kept_where_it_is_understood() {
    for store in Store::ALL {
        let scene = behind(store).await;
        for (length, algorithm) in
            [(100, Algorithm::Crc32), (100_000, Algorithm::Sha1), (2 * MIB, Algorithm::Crc64Nvme)]
        {
            for payload in [Payload::Hex, Payload::Unsigned] {
                let value = algorithm.base64(&body(length));
                let put =
                    Request::put("/photos/k", body(length)).payload(payload).with(algorithm.header(), &value);
                scene.client.send(&put).await.expect(200);
                let object = scene.near().object(BUCKETS[0], "k").unwrap();
                let kept = store.keeps_checksums().then_some(value.as_str());
                assert_eq!(object.header(algorithm.header()), kept, "{store:?} {payload:?} {length}");
            }
        }
    }
}

// ── what is wrong stores nothing ─────────────────────────────────────────────

/// An upload that must be refused.
struct Wrong {
    what: String,
    signed: Signed,
    status: u16,
    code: &'static str,
    /// It is refused before a short one reaches a region, whoever checks hashes.
    judged_here: bool,
}

fn flipped(at: usize) -> impl Fn(Vec<u8>) -> Vec<u8> {
    move |mut bytes| {
        bytes[at] ^= 1;
        bytes
    }
}

fn replaced(from: &'static [u8], to: &'static [u8]) -> impl Fn(Vec<u8>) -> Vec<u8> {
    move |bytes| {
        let at = memchr::memmem::rfind(&bytes, from).expect("it is there");
        [&bytes[..at], to, &bytes[at + from.len()..]].concat()
    }
}

/// Everything that can be wrong with a body of this length.
fn wrongs(client: &Client, target: &str, length: usize) -> Vec<Wrong> {
    let put = |payload| Request::put(target, body(length)).payload(payload);
    let signed = |payload| client.sign(&put(payload));
    let chunks = Payload::SignedChunks(8 * KIB);
    let signed_trailer = Payload::SignedChunksTrailer(8 * KIB, Algorithm::Crc32);
    let trailers = [Framing::Length, Framing::Chunked]
        .map(|framing| Payload::UnsignedTrailer(8 * KIB, Algorithm::Crc32, framing));
    let last = length - 1;
    let mut wrongs = Vec::new();
    let mut add = |what: &str, signed: Signed, status, code, judged_here| {
        wrongs.push(Wrong { what: format!("{what}, {length} bytes"), signed, status, code, judged_here });
    };
    for at in [0, last] {
        let what = format!("byte {at} of a hashed body");
        add(&what, signed(Payload::Hex).edit_body(flipped(at)), 400, "XAmzContentSHA256Mismatch", false);
    }
    for at in [200, last] {
        for payload in [chunks, signed_trailer] {
            let what = format!("byte {at} of {payload:?}");
            add(&what, signed(payload).edit_body(flipped(at)), 403, "SignatureDoesNotMatch", true);
        }
        for payload in trailers {
            let what = format!("byte {at} of {payload:?}");
            add(&what, signed(payload).edit_body(flipped(at)), 400, "BadDigest", true);
        }
    }
    let resigned = replaced(b"x-amz-trailer-signature:", b"x-amz-trailer-signature:0");
    let shorter = move |bytes: Vec<u8>| {
        // one more digit in front, one less behind: as long as before
        let bytes = resigned(bytes);
        [&bytes[..bytes.len() - 5], b"\r\n\r\n"].concat()
    };
    add(
        "the trailer's signature",
        signed(signed_trailer).edit_body(shorter),
        403,
        "SignatureDoesNotMatch",
        true,
    );
    let length_framed = signed(trailers[0]).edit_body(replaced(b"crc32:", b"crc33:"));
    add("an undeclared trailer", length_framed, 400, "MalformedTrailerError", true);
    let unsigned = |name: &str, value: &str| client.sign(&put(Payload::Unsigned).with(name, value));
    let other = body(length - 1);
    add(
        "a checksum ahead",
        unsigned("x-amz-checksum-crc32", &Algorithm::Crc32.base64(&other)),
        400,
        "BadDigest",
        false,
    );
    add("Content-MD5", unsigned("content-md5", &digest::md5_base64(&other)), 400, "BadDigest", false);
    wrongs
}

/// What of a region's bucket anybody could see.
fn shown(region: &Region) -> (Vec<String>, Vec<usize>) {
    let parts = region.uploads(BUCKETS[0]).into_iter().map(|(_, parts)| parts).collect();
    (region.keys(BUCKETS[0]), parts)
}

async fn stores_nothing(store: Store) {
    let scene = behind(store).await;
    let created = scene.client.send(&Request::post("/photos/big?uploads", "")).await.expect(200);
    let id = text::encoded(&text::element(&created.text(), "UploadId").unwrap(), "");
    let part = format!("/photos/big?partNumber=1&uploadId={id}");
    for target in ["/photos/k", part.as_str()] {
        for length in [20_000, 200_000] {
            for Wrong { what, signed, status, code, judged_here } in wrongs(&scene.client, target, length) {
                scene.forget();
                let reply = scene.client.send_signed(&signed).await;
                assert_eq!(
                    (reply.status, reply.code().as_deref()),
                    (status, Some(code)),
                    "{store:?}: {what}"
                );
                assert_eq!(shown(scene.near()), (Vec::new(), vec![0]), "{store:?}: {what}");
                let seen = scene.near().seen();
                let whole = seen.iter().any(|seen| seen.body.is_some() && seen.status == Some(200));
                assert!(!whole, "{store:?}: {what}");
                assert!(!(judged_here && length < 64 * KIB && !seen.is_empty()), "{store:?}: {what} left us");
            }
        }
    }
    let standing = scene.gateway.standing().await;
    assert!(standing.iter().all(|row| row.1 == "healthy" && row.2 == "healthy"), "{standing:?}");
    // the same region takes what is right
    scene.client.send(&Request::put("/photos/k", body(200_000))).await.expect(200);
}

#[tokio::test]
async fn a_wrong_body_stores_nothing_in_a_rich_store() {
    stores_nothing(Store::Rich).await;
}

#[tokio::test]
async fn a_wrong_body_stores_nothing_in_a_poor_store() {
    stores_nothing(Store::Poor).await;
}

/// What an upload says of its body, whatever its store could check, and what it must come to.
#[tokio::test]
async fn declared_checksums_are_checked_or_refused_and_never_dropped() {
    const SHA512_OF_OTHER: &str =
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==";
    const SHA512_OF_ABC: &str =
        "3a81oZNherrMQXNJriBBMRLm+k6JqX6iCp7u5ktV05ohkpkqJ0/BqDa6PCOj/uu9RU1EI2Q86A4qmslPpUyknw==";
    let crc = |bytes: &[u8]| Algorithm::Crc32.base64(bytes);
    let (right, wrong) = (crc(b"abc"), crc(b"other"));
    let sha256 = Algorithm::Sha256.base64(b"abc");
    for store in Store::ALL {
        let scene = behind(store).await;
        let client = &scene.client;
        let put = |body: &str, fields: &[(&str, &str)]| {
            let put = Request::put("/photos/k", body).payload(Payload::Unsigned);
            client.sign(&fields.iter().fold(put, |put, (name, value)| put.with(name, value)))
        };
        // the JavaScript SDK signs the checksum of an empty body into a URL, and AWS passes over it
        let by_url = |value: &str| {
            let target = format!("/photos/k?x-amz-checksum-crc32={}", text::encoded(value, ""));
            client.unsigned(&Request::put(&client.presign(&Request::new("PUT", &target), 60), "abc"))
        };
        let trailing = |declared: &str| {
            let put = Request::put("/photos/k", "abc");
            let payload = Payload::UnsignedTrailer(8 * KIB, Algorithm::Crc32, Framing::Length);
            client.sign_with(&put.payload(payload), |draft| draft.set("x-amz-trailer", declared))
        };
        let both = "x-amz-checksum-crc32,x-amz-checksum-sha256";
        let wrongs = [
            (put("", &[("x-amz-checksum-crc32", &wrong)]), 400, "BadDigest"),
            (
                put("abc", &[("x-amz-checksum-crc32", &right), ("x-amz-checksum-sha256", &sha256)]),
                400,
                "InvalidRequest",
            ),
            (put("abc", &[("x-amz-checksum-sha512", SHA512_OF_OTHER)]), 400, "BadDigest"),
            (put("abc", &[("x-amz-checksum-xxhash64", "AAAAAAAAAAA=")]), 501, "NotImplemented"),
            (trailing(both), 400, "InvalidRequest"),
            (trailing("x-amz-checksum-xxhash3"), 501, "NotImplemented"),
        ];
        for (number, (signed, status, code)) in wrongs.into_iter().enumerate() {
            let reply = client.send_signed(&signed).await;
            assert_eq!((reply.status, reply.code().as_deref()), (status, Some(code)), "{store:?} {number}");
            assert_eq!(shown(scene.near()).0, Vec::<String>::new(), "{store:?} {number}");
        }
        let rights = [put("abc", &[("x-amz-checksum-sha512", SHA512_OF_ABC)]), by_url(&wrong)];
        for signed in rights {
            client.send_signed(&signed).await.expect(200);
            assert_eq!(scene.near().object(BUCKETS[0], "k").unwrap().body.as_ref(), b"abc");
        }
    }
}

/// The checksum of a completed upload is its object's: the store's to check, and none of the
/// document that completes it.
#[tokio::test]
async fn an_upload_is_completed_with_its_objects_checksum() {
    let scene = behind(Store::Rich).await;
    let client = &scene.client;
    let created = client.send(&Request::post("/photos/big?uploads", "")).await.expect(200);
    let id = text::encoded(&text::element(&created.text(), "UploadId").unwrap(), "");
    let part = format!("/photos/big?partNumber=1&uploadId={id}");
    let etag = client.send(&Request::put(&part, "abc")).await.expect(200).header("etag").unwrap().to_owned();
    let document = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    );
    scene.forget();
    let complete = Request::post(&format!("/photos/big?uploadId={id}"), document)
        .with("x-amz-checksum-crc32", &Algorithm::Crc32.base64(b"abc"))
        .with("x-amz-checksum-type", "FULL_OBJECT");
    client.send(&complete).await.expect(200);
    let seen = scene.near().seen_once();
    assert_eq!(seen.header("x-amz-checksum-crc32"), Some(Algorithm::Crc32.base64(b"abc").as_str()));
    assert_eq!(seen.header("x-amz-checksum-type"), Some("FULL_OBJECT"));
}

#[tokio::test]
async fn a_deletion_is_protected_by_what_was_verified() {
    let scene = behind(Store::Rich).await;
    scene.client.send(&Request::put("/photos/k", "v")).await.expect(200);
    let document = "<Delete><Object><Key>k</Key></Object></Delete>";
    for (name, value, code) in [
        ("content-md5", digest::md5_base64(b"another"), "BadDigest"),
        ("x-amz-checksum-crc32", Algorithm::Crc32.base64(b"another"), "BadDigest"),
        ("x-amz-checksum-type", "FULL_OBJECT".to_owned(), "InvalidRequest"),
        ("x-amz-trailer", "x-amz-meta-late".to_owned(), "InvalidRequest"),
    ] {
        let delete = Request::post("/photos?delete", document).payload(Payload::Unsigned).with(name, &value);
        let reply = scene.client.send(&delete).await.expect(400);
        assert_eq!(reply.code().as_deref(), Some(code), "{name}");
        assert_eq!(scene.near().keys(BUCKETS[0]), ["k"], "{name}");
    }
    let right = digest::md5_base64(document.as_bytes());
    let delete = Request::post("/photos?delete", document).payload(Payload::Unsigned);
    scene.client.send(&delete.with("content-md5", &right)).await.expect(200);
    assert!(scene.near().keys(BUCKETS[0]).is_empty());
}

#[tokio::test]
async fn an_upload_cut_on_its_way_stores_nothing() {
    for store in [Store::Rich, Store::Poor] {
        let scene = behind(store).await;
        for payload in Payload::ALL {
            for length in [20_000, 200_000] {
                let signed = scene.client.sign(&Request::put("/photos/k", body(length)).payload(payload));
                let mut bytes = signed.bytes();
                bytes.truncate(bytes.len() - 3);
                let mut connection = scene.client.connect().await;
                connection.stream.write_all(&bytes).await.unwrap();
                connection.stream.shutdown().await.unwrap();
                // answered or not: the gateway is done with it
                let answer = connection.reply("PUT").await;
                assert!(answer.is_none_or(|answer| answer.status == 400), "{payload:?} {length}");
                assert!(scene.near().keys(BUCKETS[0]).is_empty(), "{payload:?} {length}");
            }
        }
        // every attempt that reached the region was ended there
        let seen = scene.near().seen();
        assert!(seen.iter().all(|seen| seen.status.is_none()), "{seen:#?}");
        let standing = scene.gateway.standing().await;
        assert!(standing.iter().all(|row| row.1 == "healthy" && row.2 == "healthy"), "{standing:?}");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_upload_in_the_region() {
    let scene = behind(Store::Rich).await;
    for payload in Payload::ALL {
        scene.forget();
        let signed = scene.client.sign(&Request::put("/photos/k", body(4 * MIB)).payload(payload));
        let mut connection = scene.client.connect().await;
        connection.stream.write_all(&signed.head_bytes()).await.unwrap();
        connection.stream.write_all(&signed.body[..2 * MIB]).await.unwrap();
        scene.near().wait_for(|seen| seen.continued).await;
        drop(connection);
        let ended = scene.near().wait_for(|seen| seen.operation == "PutObject" && seen.cut_at.is_some());
        let (seen, took) = timed(ended).await;
        assert!(took < Duration::from_secs(1), "{payload:?}: {took:?}");
        assert!(seen.cut_at.is_some_and(|bytes| bytes < 3 * MIB), "{payload:?}");
    }
    assert!(scene.near().keys(BUCKETS[0]).is_empty());
    assert_eq!(scene.standing_of("near", "writes").await, "healthy");
}

// ── the client's own expectation ─────────────────────────────────────────────

/// The status of the first answer to a head alone.
async fn first_status(client: &Client, signed: &Signed) -> u16 {
    let mut connection = client.connect().await;
    connection.stream.write_all(&signed.head_bytes()).await.unwrap();
    let mut start = [0; 12];
    tokio::time::timeout(PATIENCE, connection.stream.read_exact(&mut start)).await.unwrap().unwrap();
    String::from_utf8_lossy(&start[9..]).parse().expect("a status")
}

#[tokio::test]
async fn a_client_is_asked_for_its_body_once_it_may_send_it() {
    let scene = behind(Store::Rich).await;
    let put = Request::put("/photos/k", body(2 * MIB)).with("expect", "100-continue");
    let signed = scene.client.sign(&put);
    assert_eq!(first_status(&scene.client, &signed).await, 100);
    assert_eq!(first_status(&scene.client, &signed.clone().set("x-amz-meta-a", "1")).await, 403);
    scene.client.send(&put).await.expect(200);
    scene.near().kill();
    assert_eq!(first_status(&scene.client, &signed).await, 503);
    expect_unavailable(scene.client.send(&put).await);
}
