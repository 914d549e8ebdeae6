//! Bodies as they come (raw or `aws-chunked`) to the bytes of an object, every hash, chunk
//! signature and checksum judged. Nothing is stored that does not pass here.

use aws_sigv4::sign::v4;
use bytes::Bytes;

use super::judge::{Authorised, Seed};
use super::wire::Head;
use super::{Refusal, Settings};
use crate::house::digest::{self, Algorithm};

/// The smallest size of a chunk that is not the last.
const SMALLEST_CHUNK: usize = 8192;

/// The object's bytes, and the checksum headers that came with them (in the head or behind them).
pub fn payload(
    head: &Head,
    wire: &Bytes,
    authorised: &Authorised,
    settings: &Settings,
) -> Result<(Bytes, Vec<(String, String)>), Refusal> {
    let mut checksums: Vec<(String, String)> =
        head.headers.iter().filter(|(name, _)| Algorithm::of_header(name).is_some()).cloned().collect();
    let ignores = |what: &str| settings.ignores.contains(&what);
    let body = match authorised.payload.as_str() {
        "UNSIGNED-PAYLOAD" => wire.clone(),
        mode if mode.starts_with("STREAMING-") && ignores("aws-chunked") => wire.clone(),
        hash if hash.len() == 64 && ignores("x-amz-content-sha256") => wire.clone(),
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => {
            let (body, trailers) = decode(head, wire, None, settings)?;
            checksums.extend(trailers);
            body
        }
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" | "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => {
            let (body, trailers) = decode(head, wire, authorised.seed.as_ref(), settings)?;
            checksums.extend(trailers);
            body
        }
        hash if hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            if digest::sha256_hex(wire) != hash.to_ascii_lowercase() {
                let text = "The provided 'x-amz-content-sha256' header does not match what was computed.";
                return Err(Refusal::new(400, "XAmzContentSHA256Mismatch", text));
            }
            wire.clone()
        }
        _ => return Err(Refusal::new(400, "InvalidArgument", "x-amz-content-sha256 must be a known mode")),
    };
    check_digests(head, &body, &checksums)?;
    Ok((body, checksums))
}

fn check_digests(head: &Head, body: &[u8], checksums: &[(String, String)]) -> Result<(), Refusal> {
    if let Some(md5) = head.header("content-md5") {
        if md5.len() != 24 {
            return Err(Refusal::new(400, "InvalidDigest", "The Content-MD5 you specified is not valid."));
        }
        if md5 != digest::md5_base64(body) {
            return Err(Refusal::new(400, "BadDigest", "The Content-MD5 you specified did not match."));
        }
    }
    // what comes with the completion of an upload is the checksum of its object
    let completes = head.method == "POST" && head.query().contains("uploadId=");
    for (name, value) in checksums.iter().filter(|_| !completes) {
        let algorithm = Algorithm::of_header(name).expect("only checksum headers are collected");
        if *value != algorithm.base64(body) {
            let text = format!("The {algorithm:?} you specified did not match the calculated checksum.");
            return Err(Refusal::new(400, "BadDigest", &text));
        }
    }
    Ok(())
}

/// Reads the frames; `seed` where each chunk must be signed.
fn decode(
    head: &Head,
    wire: &Bytes,
    seed: Option<&Seed>,
    settings: &Settings,
) -> Result<(Bytes, Vec<(String, String)>), Refusal> {
    let Some(length) = head.header("x-amz-decoded-content-length") else {
        return Err(Refusal::new(411, "MissingContentLength", "x-amz-decoded-content-length is missing"));
    };
    let length: usize = length.parse().map_err(|_| invalid("x-amz-decoded-content-length is no number"))?;
    let mut chain = seed.map(|seed| Chain { previous: seed.signature.clone(), seed, settings });
    let mut body = Vec::with_capacity(length);
    let mut rest = wire.as_ref();
    let mut small_chunk_seen = false;
    loop {
        let line = take_line(&mut rest).ok_or_else(incomplete)?;
        let (size, signature) = chunk_head(line)?;
        if size > 0 && small_chunk_seen {
            return Err(Refusal::new(400, "InvalidChunkSizeError", "Only the last chunk may be under 8192"));
        }
        small_chunk_seen = size < SMALLEST_CHUNK;
        if size > rest.len() {
            return Err(incomplete());
        }
        let (data, tail) = rest.split_at(size);
        if let Some(chain) = &mut chain {
            chain.check_chunk(data, signature)?;
        }
        if size == 0 {
            break;
        }
        body.extend_from_slice(data);
        rest = tail.strip_prefix(b"\r\n").ok_or_else(incomplete)?;
    }
    if body.len() != length {
        return Err(incomplete());
    }
    let trailers = trailers(head, rest, chain.as_mut())?;
    Ok((Bytes::from(body), trailers))
}

fn trailers(
    head: &Head,
    mut rest: &[u8],
    chain: Option<&mut Chain<'_>>,
) -> Result<Vec<(String, String)>, Refusal> {
    let malformed = |what: &str| Refusal::new(400, "MalformedTrailerError", what);
    let declared: Vec<String> = head
        .header("x-amz-trailer")
        .map(|names| names.split(',').map(|name| name.trim().to_ascii_lowercase()).collect())
        .unwrap_or_default();
    let mut found = Vec::new();
    let mut signature = None;
    while let Some(line) = take_line(&mut rest) {
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| malformed("a trailer has no colon"))?;
        let (name, value) = (name.to_ascii_lowercase(), value.trim().to_owned());
        match name.as_str() {
            "x-amz-trailer-signature" => signature = Some(value),
            _ if declared.contains(&name) && Algorithm::of_header(&name).is_some() => {
                found.push((name, value));
            }
            _ => return Err(malformed("a trailer was not declared")),
        }
    }
    if !rest.is_empty() {
        return Err(invalid("there are bytes after the end"));
    }
    if found.len() != declared.len() {
        return Err(malformed("a declared trailer is missing"));
    }
    let trailer_signed =
        head.header("x-amz-content-sha256").is_some_and(|mode| mode.ends_with("PAYLOAD-TRAILER"));
    if let (Some(chain), true) = (chain, trailer_signed) {
        chain.check_trailers(&found, signature.as_deref())?;
    }
    Ok(found)
}

/// The running chain of signatures.
struct Chain<'a> {
    previous: String,
    seed: &'a Seed,
    settings: &'a Settings,
}

impl Chain<'_> {
    fn check_chunk(&mut self, data: &[u8], signature: Option<&str>) -> Result<(), Refusal> {
        let expected = chunk_signature(self.settings, self.seed, &self.previous, data);
        if signature != Some(expected.as_str()) {
            return Err(Refusal::new(403, "SignatureDoesNotMatch", "a chunk's signature does not match"));
        }
        self.previous = expected;
        Ok(())
    }

    fn check_trailers(&self, found: &[(String, String)], signature: Option<&str>) -> Result<(), Refusal> {
        let expected = trailer_signature(self.settings, self.seed, &self.previous, found);
        if signature == Some(expected.as_str()) {
            return Ok(());
        }
        Err(Refusal::new(403, "SignatureDoesNotMatch", "the trailer's signature does not match"))
    }
}

/// A chunk's signature, by the oracle.
pub fn chunk_signature(settings: &Settings, seed: &Seed, previous: &str, data: &[u8]) -> String {
    let data = Bytes::copy_from_slice(data);
    signed(settings, seed, |parameters| v4::sign_chunk(&data, previous, parameters).unwrap().into_parts().1)
}

/// The trailers' signature, by the oracle.
pub fn trailer_signature(
    settings: &Settings,
    seed: &Seed,
    previous: &str,
    trailers: &[(String, String)],
) -> String {
    let mut map = http::HeaderMap::new();
    for (name, value) in trailers {
        map.append(http::HeaderName::try_from(name).unwrap(), http::HeaderValue::try_from(value).unwrap());
    }
    let headers = map.try_into().unwrap();
    signed(settings, seed, |parameters| {
        v4::sign_trailer(&headers, previous, parameters).unwrap().into_parts().1
    })
}

fn signed<R>(settings: &Settings, seed: &Seed, sign: impl FnOnce(&v4::SigningParams<'_, ()>) -> R) -> R {
    let identity = settings.credentials().into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(&settings.signing_region)
        .name("s3")
        .time(seed.time)
        .settings(())
        .build()
        .unwrap();
    sign(&parameters)
}

/// `size` or `size;chunk-signature=…`.
fn chunk_head(line: &str) -> Result<(usize, Option<&str>), Refusal> {
    let (size, extension) = line.split_once(';').map_or((line, None), |(size, rest)| (size, Some(rest)));
    if size.is_empty() || size.len() > 16 || !size.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(invalid("a chunk's size is no number"));
    }
    let size = usize::from_str_radix(size, 16).map_err(|_| invalid("a chunk's size is no number"))?;
    let signature = match extension {
        None => None,
        Some(text) => {
            Some(text.strip_prefix("chunk-signature=").ok_or_else(|| invalid("an unknown chunk extension"))?)
        }
    };
    Ok((size, signature))
}

/// A line without its CRLF, as text.
fn take_line<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let at = memchr::memmem::find(rest, b"\r\n")?;
    let (line, tail) = rest.split_at(at);
    *rest = &tail[2..];
    std::str::from_utf8(line).ok()
}

fn incomplete() -> Refusal {
    Refusal::new(400, "IncompleteBody", "The request body terminated unexpectedly")
}

fn invalid(what: &str) -> Refusal {
    Refusal::new(400, "InvalidRequest", what)
}

/// Metadata that has to do with framing and is not stored: `aws-chunked` in `content-encoding`.
pub fn stored_encoding(value: &str) -> Option<String> {
    let kept: Vec<&str> = value.split(',').map(str::trim).filter(|name| *name != "aws-chunked").collect();
    if kept.is_empty() { None } else { Some(kept.join(",")) }
}
