//! What an operator wants to know of a bucket before there is traffic: single signed requests, each
//! told as it was answered. A door; what follows from the answers is judged elsewhere.

use std::time::Instant;

use bytes::Bytes;
use http::Method;

use super::Tools;
use super::check::{CheckFault, Site, exchange, sign};
use super::write::sha256;
use crate::names::BucketName;
use crate::s3::xml::read_error;
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
    /// The body; empty where there is none.
    pub body: Bytes,
}

/// How it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// 100 to 999.
    pub status: u16,
    /// The code of the error document, where there is one.
    pub code: Option<String>,
    /// The document.
    pub document: Bytes,
}

impl Told {
    /// Status and code, for people.
    #[must_use]
    pub fn words(&self) -> String {
        self.code.as_ref().map_or_else(|| self.status.to_string(), |code| format!("{} {code}", self.status))
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
    let mut payload = PayloadMark::Empty;
    if asked.method == Method::PUT {
        head.push("content-length", asked.body.len().to_string().as_bytes());
        payload = PayloadMark::Sha256(sha256(&asked.body));
    }
    sign(&mut head, Some(credential), site, &payload, (&site.region, tools));
    let (status, document) = exchange(site, bucket, (&head, asked.body.clone()), tools, deadline).await?;
    let code = if status < 300 { None } else { read_error(&document).map(|error| error.code) };
    Ok(Told { status, code, document })
}
