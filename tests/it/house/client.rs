//! A client that signs with the `aws-sigv4` crate, in every payload mode, and lets a test tamper
//! with anything before it goes out.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use aws_sigv4::http_request::{
    PayloadChecksumKind, SignableBody, SignableRequest, SignatureLocation, SigningInstructions,
    SigningSettings, sign,
};
use aws_sigv4::sign::{v4, v4a};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::digest::{self, Algorithm};
use super::region::{PATIENCE, Region, Seed, Settings, chunk_signature, rules, trailer_signature};
use super::{moment, text};

/// How a body is sent and hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Its SHA-256 in the head.
    Hex,
    /// `UNSIGNED-PAYLOAD`.
    Unsigned,
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD`, chunks of so many bytes.
    SignedChunks(usize),
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER`.
    SignedChunksTrailer(usize, Algorithm),
    /// `STREAMING-UNSIGNED-PAYLOAD-TRAILER`.
    UnsignedTrailer(usize, Algorithm, Framing),
}

/// How the encoded body of an unsigned trailer is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `Content-Length`.
    Length,
    /// `Transfer-Encoding: chunked`: two framings nested.
    Chunked,
}

impl Payload {
    /// Every mode once.
    pub const ALL: [Self; 6] = [
        Self::Hex,
        Self::Unsigned,
        Self::SignedChunks(64 << 10),
        Self::SignedChunksTrailer(64 << 10, Algorithm::Crc64Nvme),
        Self::UnsignedTrailer(64 << 10, Algorithm::Crc32, Framing::Length),
        Self::UnsignedTrailer(1 << 20, Algorithm::Crc32c, Framing::Chunked),
    ];

    /// The text of `x-amz-content-sha256`.
    pub fn mark(self, body: &[u8]) -> String {
        match self {
            Self::Hex => digest::sha256_hex(body),
            Self::Unsigned => "UNSIGNED-PAYLOAD".to_owned(),
            Self::SignedChunks(_) => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD".to_owned(),
            Self::SignedChunksTrailer(..) => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER".to_owned(),
            Self::UnsignedTrailer(..) => "STREAMING-UNSIGNED-PAYLOAD-TRAILER".to_owned(),
        }
    }
}

/// A request before it is signed.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// The raw target: path and query as they go on the wire.
    pub target: String,
    /// Signed, all of them.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub payload: Payload,
}

impl Request {
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            payload: Payload::Hex,
        }
    }

    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub fn head(target: &str) -> Self {
        Self::new("HEAD", target)
    }

    pub fn delete(target: &str) -> Self {
        Self::new("DELETE", target)
    }

    pub fn put(target: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::new("PUT", target) }
    }

    pub fn post(target: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::new("POST", target) }
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn payload(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }
}

/// Headers about to be signed.
#[derive(Clone, Debug)]
pub struct Draft {
    /// `host` first.
    pub headers: Vec<(String, String)>,
    /// `x-amz-content-sha256`; `None` leaves it out.
    pub mark: Option<String>,
}

impl Draft {
    /// Replaces a header's value.
    pub fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    /// Removes a header.
    pub fn remove(&mut self, name: &str) {
        self.headers.retain(|(have, _)| have != name);
    }
}

/// Headers that hops may change: not signed.
const UNSIGNED: [&str; 4] = ["transfer-encoding", "expect", "connection", "content-length"];

/// A signed request, open to tampering.
#[derive(Clone, Debug)]
pub struct Signed {
    pub method: String,
    pub target: String,
    /// As they go out, `host` first, `authorization` among them.
    pub headers: Vec<(String, String)>,
    /// As it goes out, all framing in it.
    pub body: Vec<u8>,
}

impl Signed {
    /// Replaces a header's value, or adds it.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(have, _)| !have.eq_ignore_ascii_case(name));
        self.add(name, value)
    }

    /// Adds a header, unsigned.
    #[must_use]
    pub fn add(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Removes a header.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(have, _)| !have.eq_ignore_ascii_case(name));
        self
    }

    /// Changes a header's value.
    #[must_use]
    pub fn edit(mut self, name: &str, change: impl FnOnce(&str) -> String) -> Self {
        let old = text::header(&self.headers, name).expect("the header is there").to_owned();
        self.headers.retain(|(have, _)| !have.eq_ignore_ascii_case(name));
        self.add(name, &change(&old))
    }

    /// Changes the body as it goes out; lengths announced stay as they are.
    #[must_use]
    pub fn edit_body(mut self, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Self {
        self.body = change(self.body);
        self
    }

    /// Replaces the target.
    #[must_use]
    pub fn aim(mut self, target: &str) -> Self {
        target.clone_into(&mut self.target);
        self
    }

    /// The head's bytes.
    pub fn head_bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// All bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// How a reply's body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// As the head announced.
    Whole,
    /// The connection ended first (a FIN or a reset).
    Cut,
    /// Nothing more came within [`PATIENCE`].
    Hung,
}

/// A reply.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    /// Names lower-cased.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub ended: Ended,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        text::header(&self.headers, name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The S3 code of an error document.
    pub fn code(&self) -> Option<String> {
        text::element(&self.text(), "Code")
    }

    /// Fails unless the status is this one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!((self.status, self.ended), (status, Ended::Whole), "{:?}\n{}", self.headers, self.text());
        self
    }
}

/// A signing client.
#[derive(Clone, Debug)]
pub struct Client {
    /// Where it connects.
    pub address: SocketAddr,
    /// The Host header.
    pub host: String,
    /// Keys and the region of the scope.
    pub settings: Settings,
    /// Added to the clock, in seconds.
    pub skew: i64,
    /// It signs with SigV4A, for these regions.
    pub region_set: Option<String>,
}

impl Client {
    /// A client of an endpoint.
    pub fn new(address: SocketAddr, region: &str, access_key_id: &str, secret: &str) -> Self {
        let mut settings = Settings::new(region, &[]);
        region.clone_into(&mut settings.signing_region);
        access_key_id.clone_into(&mut settings.access_key_id);
        secret.clone_into(&mut settings.secret);
        Self { address, host: address.to_string(), settings, skew: 0, region_set: None }
    }

    /// A client with a region's own keys.
    pub fn of(region: &Region) -> Self {
        let address = region.address();
        Self { address, host: address.to_string(), settings: region.settings(), skew: 0, region_set: None }
    }

    /// The same client with a session token.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Self {
        self.settings.session_token = Some(token.to_owned());
        self
    }

    /// The same client with a clock that is off.
    #[must_use]
    pub fn skewed(mut self, seconds: i64) -> Self {
        self.skew = seconds;
        self
    }

    /// The time it signs for.
    pub fn now(&self) -> SystemTime {
        moment::shifted(moment::now(), self.skew)
    }

    /// Signs with headers and encodes the body.
    pub fn sign(&self, request: &Request) -> Signed {
        self.sign_with(request, |_| {})
    }

    /// Signs what `change` made of the headers: valid signatures over odd heads.
    pub fn sign_with(&self, request: &Request, change: impl FnOnce(&mut Draft)) -> Signed {
        let mut headers = vec![("host".to_owned(), self.host.clone())];
        headers
            .extend(request.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())));
        headers.extend(framing_headers(request));
        let mut mark = request.payload.mark(&request.body);
        if self.region_set.is_some() {
            mark = mark.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256");
        }
        let mut draft = Draft { headers, mark: Some(mark) };
        change(&mut draft);
        let Draft { mut headers, mark } = draft;
        let mut how = rules(SignatureLocation::Headers);
        if mark.is_some() {
            how.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        }
        how.excluded_headers = Some(UNSIGNED.iter().map(|&name| name.into()).collect());
        let time = self.now();
        let take = |out: &SigningInstructions, signature| (owned(out.headers()), signature);
        let mark = mark.unwrap_or_else(|| "UNSIGNED-PAYLOAD".to_owned());
        let (added, signature) = self.with_signature(request, &headers, mark, time, how, take);
        headers.extend(added);
        let body = self.encoded(request, &Seed { signature, time });
        let chunked = text::header(&headers, "transfer-encoding").is_some();
        if !chunked && (!body.is_empty() || ["PUT", "POST"].contains(&request.method.as_str())) {
            headers.push(("content-length".to_owned(), body.len().to_string()));
        }
        Signed { method: request.method.clone(), target: request.target.clone(), headers, body }
    }

    /// A presigned target, valid for so many seconds; the request's headers are signed.
    pub fn presign(&self, request: &Request, expires: u64) -> String {
        self.presigned_at(request, expires, self.now())
    }

    /// A presigned target of another time.
    pub fn presigned_at(&self, request: &Request, expires: u64, time: SystemTime) -> String {
        let mut headers = vec![("host".to_owned(), self.host.clone())];
        headers.extend(request.headers.iter().cloned());
        let mut how = rules(SignatureLocation::QueryParams);
        how.expires_in = Some(Duration::from_secs(expires));
        let payload = "UNSIGNED-PAYLOAD".to_owned();
        self.with_signature(request, &headers, payload, time, how, |out, _| {
            let mut target = request.target.clone();
            for (name, value) in out.params() {
                let joint = if target.contains('?') { '&' } else { '?' };
                target.push_str(&format!("{joint}{name}={}", text::encoded(value, "")));
            }
            target
        })
    }

    /// A request without any signature, as it stands.
    pub fn unsigned(&self, request: &Request) -> Signed {
        let mut headers = vec![("host".to_owned(), self.host.clone())];
        headers.extend(request.headers.iter().cloned());
        if !request.body.is_empty() || ["PUT", "POST"].contains(&request.method.as_str()) {
            headers.push(("content-length".to_owned(), request.body.len().to_string()));
        }
        let (method, target, body) = (request.method.clone(), request.target.clone(), request.body.clone());
        Signed { method, target, headers, body }
    }

    #[expect(clippy::too_many_arguments, reason = "everything that a signature is made of")]
    fn with_signature<R>(
        &self,
        request: &Request,
        headers: &[(String, String)],
        payload: String,
        time: SystemTime,
        how: SigningSettings,
        take: impl FnOnce(&SigningInstructions, String) -> R,
    ) -> R {
        let identity = self.settings.credentials().into();
        let parameters = match &self.region_set {
            None => v4::SigningParams::builder()
                .identity(&identity)
                .region(&self.settings.signing_region)
                .name("s3")
                .time(time)
                .settings(how)
                .build()
                .unwrap()
                .into(),
            Some(regions) => v4a::SigningParams::builder()
                .identity(&identity)
                .region_set(regions)
                .name("s3")
                .time(time)
                .settings(how)
                .build()
                .unwrap()
                .into(),
        };
        let uri = format!("http://{}{}", self.host, request.target);
        let signed = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let body = SignableBody::Precomputed(payload);
        let signable = SignableRequest::new(&request.method, uri, signed, body).unwrap();
        let (out, signature) = sign(signable, &parameters).unwrap().into_parts();
        take(&out, signature)
    }

    fn encoded(&self, request: &Request, seed: &Seed) -> Vec<u8> {
        let body = &request.body;
        match request.payload {
            Payload::Hex | Payload::Unsigned => body.clone(),
            Payload::SignedChunks(size) => {
                let (mut out, _) = self.signed_chunks(body, size, seed);
                out.extend_from_slice(b"\r\n");
                out
            }
            Payload::SignedChunksTrailer(size, algorithm) => {
                let (mut out, last) = self.signed_chunks(body, size, seed);
                let trailer = (algorithm.header().to_owned(), algorithm.base64(body));
                let signature = if self.region_set.is_some() {
                    let text = digest::sha256_hex(format!("{}:{}\n", trailer.0, trailer.1).as_bytes());
                    format!("{:*<144}", self.asymmetric("TRAILER", seed, &last, &text))
                } else {
                    trailer_signature(&self.settings, seed, &last, std::slice::from_ref(&trailer))
                };
                out.extend_from_slice(format!("{}:{}\r\n", trailer.0, trailer.1).as_bytes());
                out.extend_from_slice(format!("x-amz-trailer-signature:{signature}\r\n\r\n").as_bytes());
                out
            }
            Payload::UnsignedTrailer(size, algorithm, framing) => {
                let out = unsigned_chunks(body, size, algorithm);
                match framing {
                    Framing::Length => out,
                    Framing::Chunked => http_chunked(&out, 10_000),
                }
            }
        }
    }

    fn signed_chunks(&self, body: &[u8], size: usize, seed: &Seed) -> (Vec<u8>, String) {
        let mut out = Vec::with_capacity(body.len() + 256);
        let mut previous = seed.signature.clone();
        for chunk in body.chunks(size).chain([&b""[..]]) {
            let padded;
            if self.region_set.is_some() {
                let text = format!("{}\n{}", digest::sha256_hex(b""), digest::sha256_hex(chunk));
                previous = self.asymmetric("PAYLOAD", seed, &previous, &text);
                padded = format!("{previous:*<144}");
            } else {
                previous = chunk_signature(&self.settings, seed, &previous, chunk);
                padded = previous.clone();
            }
            out.extend_from_slice(format!("{:x};chunk-signature={padded}\r\n", chunk.len()).as_bytes());
            out.extend_from_slice(chunk);
            if !chunk.is_empty() {
                out.extend_from_slice(b"\r\n");
            }
        }
        (out, previous)
    }

    /// A link of SigV4A's chain.
    fn asymmetric(&self, of: &str, seed: &Seed, previous: &str, digests: &str) -> String {
        let stamp = moment::amz(seed.time);
        let day = &stamp[..8];
        let text =
            format!("AWS4-ECDSA-P256-SHA256-{of}\n{stamp}\n{day}/s3/aws4_request\n{previous}\n{digests}");
        let key = v4a::generate_signing_key(&self.settings.access_key_id, &self.settings.secret);
        v4a::calculate_signature(key, text.as_bytes())
    }

    // ── on the wire ──────────────────────────────────────────────────────────

    /// A new connection.
    pub async fn connect(&self) -> Connection<TcpStream> {
        let stream = TcpStream::connect(self.address).await.expect("the endpoint accepts");
        stream.set_nodelay(true).unwrap();
        Connection { stream, buffer: Vec::new() }
    }

    /// Signs and sends on a connection of its own; the reply.
    pub async fn send(&self, request: &Request) -> Reply {
        self.send_signed(&self.sign(request)).await
    }

    /// Sends what was signed (and tampered with).
    pub async fn send_signed(&self, signed: &Signed) -> Reply {
        let mut connection = self.connect().await;
        connection.exchange(&signed.bytes(), &signed.method).await.expect("a reply")
    }

    /// Sends bytes; the reply, or `None` where the connection ended without one.
    pub async fn send_bytes(&self, bytes: &[u8]) -> Option<Reply> {
        self.connect().await.exchange(bytes, "GET").await
    }

    /// Uploads in parts; the reply to the completion.
    pub async fn upload(&self, target: &str, parts: &[&[u8]]) -> Reply {
        let created = self.send(&Request::post(&format!("{target}?uploads"), "")).await.expect(200);
        let id = text::element(&created.text(), "UploadId").expect("an upload id");
        let id = text::encoded(&id, "");
        let mut listed = String::new();
        for (number, part) in (1..).zip(parts) {
            let put = Request::put(&format!("{target}?partNumber={number}&uploadId={id}"), *part);
            let reply = self.send(&put).await.expect(200);
            let etag = text::escaped(reply.header("etag").expect("an ETag"));
            listed.push_str(&format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"));
        }
        let xml = format!("<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>");
        self.send(&Request::post(&format!("{target}?uploadId={id}"), xml)).await
    }
}

fn framing_headers(request: &Request) -> Vec<(String, String)> {
    let length = request.body.len().to_string();
    let chunked = |trailer: Option<Algorithm>| {
        let mut headers = vec![
            ("content-encoding".to_owned(), "aws-chunked".to_owned()),
            ("x-amz-decoded-content-length".to_owned(), length.clone()),
        ];
        if let Some(algorithm) = trailer {
            headers.push(("x-amz-trailer".to_owned(), algorithm.header().to_owned()));
        }
        headers
    };
    match request.payload {
        Payload::Hex | Payload::Unsigned => Vec::new(),
        Payload::SignedChunks(_) => chunked(None),
        Payload::SignedChunksTrailer(_, algorithm)
        | Payload::UnsignedTrailer(_, algorithm, Framing::Length) => chunked(Some(algorithm)),
        Payload::UnsignedTrailer(_, algorithm, Framing::Chunked) => {
            let mut headers = chunked(Some(algorithm));
            headers.push(("transfer-encoding".to_owned(), "chunked".to_owned()));
            headers
        }
    }
}

fn owned<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<(String, String)> {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Chunks without signatures, and the trailer.
pub fn unsigned_chunks(body: &[u8], size: usize, algorithm: Algorithm) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 256);
    for chunk in body.chunks(size) {
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    let trailer = format!("0\r\n{}:{}\r\n\r\n", algorithm.header(), algorithm.base64(body));
    out.extend_from_slice(trailer.as_bytes());
    out
}

/// HTTP/1.1 chunks of so many bytes.
pub fn http_chunked(bytes: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 64);
    for chunk in bytes.chunks(size) {
        out.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

/// A kept connection; replies are read one by one.
#[derive(Debug)]
pub struct Connection<S> {
    pub stream: S,
    buffer: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Over a stream that is there already (TLS, a unix socket).
    pub fn over(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// Writes while it reads the reply: an early answer to an upload is seen even where the server
    /// stops reading. `None` where the connection ended without a reply.
    pub async fn exchange(&mut self, bytes: &[u8], method: &str) -> Option<Reply> {
        let (mut reader, mut writer) = tokio::io::split(&mut self.stream);
        let buffer = &mut self.buffer;
        let write = async {
            // a server may stop reading; its answer tells
            writer.write_all(bytes).await.unwrap_or_default();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            reply = read_reply(&mut reader, buffer, method) => reply,
            () = write => unreachable!("the writer waits for the reader"),
        }
    }

    /// The next reply on this connection.
    pub async fn reply(&mut self, method: &str) -> Option<Reply> {
        read_reply(&mut self.stream, &mut self.buffer, method).await
    }

    /// Whether the server ends the connection within [`PATIENCE`]; bytes after a reply fail.
    pub async fn is_closed(&mut self) -> bool {
        let mut scratch = [0; 512];
        match tokio::time::timeout(PATIENCE, self.stream.read(&mut scratch)).await {
            Ok(Ok(0) | Err(_)) => true,
            Ok(Ok(count)) => panic!("unexpected: {}", String::from_utf8_lossy(&scratch[..count])),
            Err(_) => false,
        }
    }
}

/// More bytes; `Err` says how there are none.
async fn more<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>) -> Result<(), Ended> {
    match tokio::time::timeout(PATIENCE, stream.read_buf(buffer)).await {
        Ok(Ok(1..)) => Ok(()),
        Ok(_) => Err(Ended::Cut),
        Err(_) => Err(Ended::Hung),
    }
}

async fn read_reply<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
    method: &str,
) -> Option<Reply> {
    loop {
        let (status, headers) = read_head(stream, buffer).await?;
        if status == 100 {
            continue;
        }
        let find = |name: &str| text::header(&headers, name).map(str::to_owned);
        let empty = method == "HEAD" || status == 204 || status == 304;
        let (body, ended) = if empty {
            (Vec::new(), Ended::Whole)
        } else if find("transfer-encoding").is_some_and(|coding| coding == "chunked") {
            read_chunked(stream, buffer).await
        } else if let Some(length) = find("content-length") {
            read_exactly(stream, buffer, length.parse().expect("a length is a number")).await
        } else {
            while more(stream, buffer).await.is_ok() {}
            (std::mem::take(buffer), Ended::Whole)
        };
        return Some(Reply { status, headers, body, ended });
    }
}

async fn read_head<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
) -> Option<(u16, Vec<(String, String)>)> {
    let end = loop {
        match memchr::memmem::find(buffer, b"\r\n\r\n") {
            Some(end) => break end,
            None => more(stream, buffer).await.ok()?,
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    buffer.drain(..end + 4);
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().expect("a status is a number");
    let headers = lines
        .map(|line| line.split_once(':').expect("a header has a colon"))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Some((status, headers))
}

async fn read_exactly<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
    count: usize,
) -> (Vec<u8>, Ended) {
    while buffer.len() < count {
        if let Err(ended) = more(stream, buffer).await {
            return (std::mem::take(buffer), ended);
        }
    }
    (buffer.drain(..count).collect(), Ended::Whole)
}

async fn read_chunked<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>) -> (Vec<u8>, Ended) {
    let mut body = Vec::new();
    loop {
        let end = loop {
            match memchr::memmem::find(buffer, b"\r\n") {
                Some(end) => break end,
                None => {
                    if let Err(ended) = more(stream, buffer).await {
                        return (body, ended);
                    }
                }
            }
        };
        let line = String::from_utf8_lossy(&buffer[..end]).into_owned();
        buffer.drain(..end + 2);
        let size =
            usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16).expect("a chunk size");
        let (data, ended) = read_exactly(stream, buffer, size + 2).await;
        body.extend_from_slice(&data[..size.min(data.len())]);
        if ended != Ended::Whole || size == 0 {
            return (body, ended);
        }
    }
}
