//! What an operator wants to know of a bucket before there is traffic: single signed requests, each
//! told as it was answered. A door; what follows from the answers is judged elsewhere.

use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Method};

use super::Tools;
use super::check::{CheckFault, Site, exchange, sign};
use super::write::sha256;
use crate::head::Head;
use crate::names::BucketName;
use crate::s3::xml::read_error;
use crate::sigv4::chunks::{Encoder, Layout, Miscount, signed_body};
use crate::sigv4::{Credential, PayloadMark};

/// One request.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// Its method.
    pub method: Method,
    /// The key, as it is named (not encoded); empty for the bucket itself.
    pub key: &'a str,
    /// The query, encoded, its parameters in order.
    pub query: Option<&'a str>,
    /// Further header fields.
    pub fields: &'a [(&'a str, &'a str)],
    /// The body of a `PUT`; empty where there is none.
    pub body: Bytes,
    /// How the body goes out.
    pub sent: Sent<'a>,
}

/// How a body goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent<'a> {
    /// As it is, with its hash.
    Hashed,
    /// As it is, with the hash of another.
    Mishashed,
    /// In `aws-chunked` framing, with this trailer behind it.
    Trailing {
        /// The trailer's name, lower-case.
        name: &'a str,
        /// Its value.
        value: &'a str,
        /// Whether chunk and trailer are signed: SigV4 only.
        signed: bool,
    },
}

/// How it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// 100 to 999.
    pub status: u16,
    /// The code of the error document, where there is one.
    pub code: Option<String>,
    /// The head's fields.
    pub headers: HeaderMap,
    /// The document.
    pub document: Bytes,
}

impl Told {
    /// Status and code, for people.
    #[must_use]
    pub fn words(&self) -> String {
        self.code.as_ref().map_or_else(|| self.status.to_string(), |code| format!("{} {code}", self.status))
    }

    /// A field of the head; `None` where it is absent or no text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Asks over a connection of its own.
///
/// # Errors
/// [`CheckFault`] where no answer came before `deadline`.
pub async fn ask(
    (site, bucket): (&Site, &BucketName),
    asked: &Asked<'_>,
    credential: &Credential,
    tools: &Tools,
    deadline: Instant,
) -> Result<Told, CheckFault> {
    let site = &site.of_bucket(bucket, tools);
    let mut head = site.head(asked.method.clone(), Some(bucket), asked.key);
    if asked.query.is_some() {
        let path = head.path().to_owned();
        head.set_target(&path, asked.query);
    }
    for (name, value) in asked.fields {
        head.push(name, value.as_bytes());
    }
    let payload = marked(&mut head, asked);
    sign(&mut head, Some(credential), site, &payload, (&site.region, tools));
    let body = framed(&head, asked, credential, &site.signing_region)?;
    if matches!(asked.method, Method::PUT | Method::POST) {
        // not signed: what frames have signatures in them is as long as it turns out
        head.push("content-length", body.len().to_string().as_bytes());
    }
    let got = exchange(site, bucket, (&head, body), tools, deadline).await?;
    let code = if got.status < 300 { None } else { read_error(&got.document).map(|error| error.code) };
    Ok(Told { status: got.status, code, headers: got.headers, document: got.document })
}

/// Says in the head how the body goes out.
fn marked(head: &mut Head, asked: &Asked<'_>) -> PayloadMark {
    if !matches!(asked.method, Method::PUT | Method::POST) {
        return PayloadMark::Empty;
    }
    match asked.sent {
        Sent::Hashed => PayloadMark::Sha256(sha256(&asked.body)),
        Sent::Mishashed => PayloadMark::Sha256(sha256(b"another body")),
        Sent::Trailing { name, signed, .. } => {
            head.push("content-encoding", b"aws-chunked");
            head.push("x-amz-decoded-content-length", asked.body.len().to_string().as_bytes());
            head.push("x-amz-trailer", name.as_bytes());
            if signed { PayloadMark::SignedTrailer } else { PayloadMark::UnsignedTrailer }
        }
    }
}

/// The body as it goes out behind a signed head.
fn framed(
    head: &Head,
    asked: &Asked<'_>,
    credential: &Credential,
    region: &str,
) -> Result<Bytes, CheckFault> {
    let body = asked.body.clone();
    let Sent::Trailing { name, value, signed } = asked.sent else { return Ok(body) };
    if signed {
        return signed_body(head, credential, region, &body, (name, value))
            .ok_or_else(|| CheckFault::Broken("SigV4A signs no frames here".to_owned()));
    }
    let chunk = u32::try_from(body.len()).unwrap_or(u32::MAX).max(1);
    let decoded_length = u64::try_from(body.len()).unwrap_or(u64::MAX);
    let trailer = Some((name.to_owned(), value.len()));
    let mut encoder = Encoder::new(Layout { decoded_length, chunk, trailer });
    let miscounted = |error: Miscount| CheckFault::Broken(error.to_string());
    let mut frames = Vec::new();
    encoder.push(body, &mut frames).map_err(miscounted)?;
    frames.push(encoder.finish(Some(value)).map_err(miscounted)?);
    Ok(frames.concat().into())
}
