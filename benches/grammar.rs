//! What the grammar rooms cost a request: `cargo bench --bench grammar`.
//!
//! Verification and signing are on the path of every request; with cached keys they should take a
//! few microseconds together. Framing should run at the speed of memory, signed chunks at that of
//! SHA-256.

#![allow(missing_docs, reason = "a benchmark's names say what it measures")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot be set up must stop")]

use bytes::Bytes;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use nearpoint::head::Head;
use nearpoint::names::{AccessKeyId, ClientName, Secret};
use nearpoint::sigv4::chunks::{Decoder, Encoder, Framing, Layout};
use nearpoint::sigv4::{
    Credential, Destination, Key, KeyCache, KeyRing, PathForm, PayloadMark, Region, Rules, SigningKey,
    Verified, canonical_request, sign, verify,
};
use nearpoint::units::UnixSeconds;

fn main() {
    divan::main();
}

const NOW: UnixSeconds = UnixSeconds(1_790_000_000);
const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

fn credential() -> Credential {
    Credential { access_key_id: AccessKeyId::new(KEY), secret: Secret::from(SECRET), session_token: None }
}

fn ring() -> KeyRing {
    KeyRing::new(vec![Key {
        access_key_id: AccessKeyId::new(KEY),
        secret: Secret::from(SECRET),
        session_token: None,
        client: ClientName::new("bench"),
        allowances: nearpoint::sigv4::Allowances::default(),
    }])
}

/// A GET as boto3 sends it.
fn get() -> Head {
    let mut head = Head::new(http::Method::GET, "/photos/2026/11/23/IMG_0001%20%28copy%29.jpg");
    for (name, value) in [
        ("host", "localhost:9000"),
        ("accept-encoding", "identity"),
        (
            "user-agent",
            "Boto3/1.44.5 md/Botocore#1.44.5 ua/2.1 os/linux#6.18 md/arch#x86_64 lang/python#3.13",
        ),
        ("x-amz-checksum-mode", "ENABLED"),
        ("amz-sdk-invocation-id", "5f3c1d2e-8b1f-4d57-9a53-0a7c1b5f7d11"),
        ("amz-sdk-request", "attempt=1"),
    ] {
        head.push(name, value.as_bytes());
    }
    head
}

/// A listing: a query of several parameters.
fn list() -> Head {
    let target = "/photos?list-type=2&prefix=2026%2F11%2F&delimiter=%2F&max-keys=1000&encoding-type=url";
    let mut head = Head::new(http::Method::GET, target);
    head.push("host", b"localhost:9000");
    head.push("accept-encoding", b"identity");
    head
}

fn signed(mut head: Head) -> Head {
    sign(
        &mut head,
        &credential(),
        &Destination { region: "us-east-1", path: PathForm::Reencoded },
        NOW,
        &PayloadMark::Empty,
        &mut KeyCache::new(),
    );
    head
}

fn canonicalises(bencher: Bencher<'_, '_>, head: &Head) {
    bencher.bench_local(|| canonical_request(black_box(head), b"UNSIGNED-PAYLOAD", PathForm::Reencoded));
}

#[divan::bench]
fn canonicalise_get(bencher: Bencher<'_, '_>) {
    canonicalises(bencher, &signed(get()));
}

#[divan::bench]
fn canonicalise_list(bencher: Bencher<'_, '_>) {
    canonicalises(bencher, &signed(list()));
}

fn verifies(bencher: Bencher<'_, '_>, head: &Head) {
    let (ring, rules) = (ring(), Rules::new(Region::Exactly("us-east-1".to_owned())));
    let mut cache = KeyCache::new();
    bencher.bench_local(|| {
        let verified = verify(black_box(head), &ring, &rules, NOW, &mut cache);
        assert!(matches!(verified, Ok(Verified::Signed(_))));
    });
}

#[divan::bench]
fn verify_get(bencher: Bencher<'_, '_>) {
    verifies(bencher, &signed(get()));
}

#[divan::bench]
fn verify_list(bencher: Bencher<'_, '_>) {
    verifies(bencher, &signed(list()));
}

#[divan::bench]
fn verify_forged_get(bencher: Bencher<'_, '_>) {
    let mut head = signed(get());
    head.set_method(http::Method::PUT);
    let (ring, rules) = (ring(), Rules::new(Region::Any));
    let mut cache = KeyCache::new();
    bencher.bench_local(|| verify(black_box(&head), &ring, &rules, NOW, &mut cache).unwrap_err());
}

fn signs(bencher: Bencher<'_, '_>, head: &Head) {
    let (credential, mut cache) = (credential(), KeyCache::new());
    bencher.with_inputs(|| head.clone()).bench_local_values(|mut head| {
        sign(
            &mut head,
            &credential,
            &Destination { region: "eu-west-1", path: PathForm::Reencoded },
            NOW,
            &PayloadMark::Empty,
            &mut cache,
        );
        head
    });
}

#[divan::bench]
fn sign_get(bencher: Bencher<'_, '_>) {
    signs(bencher, &get());
}

#[divan::bench]
fn sign_list(bencher: Bencher<'_, '_>) {
    signs(bencher, &list());
}

/// What each request costs: the client's signature judged, and the store's made.
#[divan::bench]
fn verify_and_sign_get(bencher: Bencher<'_, '_>) {
    let (ring, rules) = (ring(), Rules::new(Region::Exactly("us-east-1".to_owned())));
    let (credential, mut cache) = (credential(), KeyCache::new());
    let head = signed(get());
    bencher.with_inputs(|| head.clone()).bench_local_values(|mut head| {
        let verified = verify(&head, &ring, &rules, NOW, &mut cache);
        assert!(verified.is_ok());
        sign(
            &mut head,
            &credential,
            &Destination { region: "eu-west-1", path: PathForm::Reencoded },
            NOW,
            &PayloadMark::Empty,
            &mut cache,
        );
        head
    });
}

#[divan::bench]
fn derive_key() -> SigningKey {
    SigningKey::derive(&Secret::from(SECRET), black_box("20260101"), "us-east-1")
}

/// Takes apart 1 MiB in unsigned chunks of 64 KiB, read 64 KiB at a time.
#[divan::bench]
fn decode_unsigned_chunks(bencher: Bencher<'_, '_>) {
    let body = encoded();
    let pieces: Vec<Bytes> =
        (0..body.len()).step_by(65_536).map(|at| body.slice(at..body.len().min(at + 65_536))).collect();
    bencher.counter(BytesCount::new(1_u64 << 20)).bench_local(|| {
        let mut decoder = Decoder::new(Framing::UnsignedTrailer, 1 << 20, vec!["x-c".to_owned()]);
        let mut spans = Vec::new();
        for piece in &pieces {
            spans.clear();
            decoder.push(piece, &mut spans).unwrap();
        }
        decoder.finish().unwrap()
    });
}

/// Takes apart the upload of S3's documentation: 65,536 and 1,024 bytes in signed chunks.
#[divan::bench]
fn decode_signed_chunks(bencher: Bencher<'_, '_>) {
    let framing = documented_framing();
    let mut body = Vec::new();
    for (size, signature) in [
        (65_536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
        (1_024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
        (0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
    ] {
        body.extend_from_slice(format!("{size:x};chunk-signature={signature}\r\n").as_bytes());
        body.extend_from_slice(&vec![b'a'; size]);
        body.extend_from_slice(b"\r\n");
    }
    let body = Bytes::from(body);
    bencher.counter(BytesCount::new(66_560_u64)).bench_local(|| {
        let mut decoder = Decoder::new(framing.clone(), 66_560, Vec::new());
        let mut spans = Vec::new();
        decoder.push(&body, &mut spans).unwrap();
        decoder.finish().unwrap()
    });
}

/// What verifying the head of that upload yields.
fn documented_framing() -> Framing {
    let mut head = Head::new(http::Method::PUT, "/examplebucket/chunkObject.txt");
    for (name, value) in [
        ("host", "s3.amazonaws.com"),
        ("x-amz-date", "20130524T000000Z"),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
        ("content-encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", "66560"),
        ("content-length", "66824"),
        (
            "authorization",
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
             SignedHeaders=content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;\
             x-amz-decoded-content-length;x-amz-storage-class,\
             Signature=4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
        ),
    ] {
        head.push(name, value.as_bytes());
    }
    let then = UnixSeconds(1_369_353_600);
    let verified = verify(&head, &ring(), &Rules::new(Region::Any), then, &mut KeyCache::new()).unwrap();
    let Verified::Signed(signed) = verified else { unreachable!("it has a signature") };
    signed.framing.unwrap()
}

/// Writes 1 MiB in chunks of 64 KiB.
#[divan::bench]
fn encode_unsigned_chunks(bencher: Bencher<'_, '_>) {
    let object = object();
    bencher.counter(BytesCount::new(1_u64 << 20)).bench_local(|| encoded_frames(&object));
}

fn object() -> Bytes {
    Bytes::from(vec![0; 1 << 20])
}

fn encoded_frames(object: &Bytes) -> Vec<Bytes> {
    let layout = Layout { decoded_length: 1 << 20, chunk: 65_536, trailer: Some(("x-c".to_owned(), 8)) };
    let mut encoder = Encoder::new(layout);
    let mut frames = Vec::new();
    encoder.push(object.clone(), &mut frames).unwrap();
    frames.push(encoder.finish(Some("AAAAAA==")).unwrap());
    frames
}

fn encoded() -> Bytes {
    Bytes::from(encoded_frames(&object()).concat())
}
