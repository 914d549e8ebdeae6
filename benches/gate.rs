//! What the wire gate costs a request: `cargo bench --bench gate`.
//!
//! It looks at every byte of a head before hyper does; it should cost a few per cent of a small
//! request at most, and bodies should pass it for nothing.

#![allow(missing_docs, reason = "a benchmark's names say what it measures")]

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use nearpoint::listen::gate::{HeadLimits, Scanner};

fn main() {
    divan::main();
}

const LIMITS: HeadLimits = HeadLimits { bytes: 32 << 10, fields: 100 };

/// A signed GET as boto3 sends it.
const GET: &[u8] = b"GET /photos/2026/11/23/IMG_0001%20%28copy%29.jpg HTTP/1.1\r\n\
Host: localhost:9000\r\n\
Accept-Encoding: identity\r\n\
x-amz-checksum-mode: ENABLED\r\n\
User-Agent: Boto3/1.44.5 md/Botocore#1.44.5 ua/2.1 os/linux#6.18 md/arch#x86_64 lang/python#3.13\r\n\
X-Amz-Date: 20261123T120000Z\r\n\
X-Amz-Content-SHA256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\r\n\
Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261123/eu-central-1/s3/aws4_request, SignedHeaders=host;x-amz-checksum-mode;x-amz-content-sha256;x-amz-date, Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd\r\n\
amz-sdk-invocation-id: 5f3c1d2e-8b1f-4d57-9a53-0a7c1b5f7d11\r\n\
amz-sdk-request: attempt=1\r\n\r\n";

#[divan::bench]
fn head(bencher: Bencher) {
    let mut scanner = Scanner::new(LIMITS);
    bencher.counter(BytesCount::new(GET.len())).bench_local(|| scanner.scan(black_box(GET)));
}

#[divan::bench]
fn head_in_two_reads(bencher: Bencher) {
    let mut scanner = Scanner::new(LIMITS);
    let (first, second) = GET.split_at(300);
    bencher.bench_local(|| (scanner.scan(black_box(first)), scanner.scan(black_box(second))));
}

#[divan::bench]
fn chunked_body_of_64_kib_chunks(bencher: Bencher) {
    let mut scanner = Scanner::new(LIMITS);
    scanner.scan(b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut chunk = b"10000\r\n".to_vec();
    chunk.resize(chunk.len() + (64 << 10), b'x');
    chunk.extend_from_slice(b"\r\n");
    bencher.counter(BytesCount::new(chunk.len())).bench_local(|| scanner.scan(black_box(&chunk)));
}
