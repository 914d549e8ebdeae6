//! What differs where a signature does not match. Proxies rewrite headers, and clients spell paths in
//! ways of their own: what is often changed is changed back, one thing at a time, until the signature
//! holds.
//!
//! Safe to tell: a difference is found only where the signature is a genuine one of that key, over a
//! request that differs from this in one guessed thing. Whoever lacks the secret has no such signature,
//! and learns nothing. What is told is the guess, never anything of a secret header.

use std::borrow::Cow;
use std::fmt;

use crate::head::Head;
use crate::sigv4::EMPTY_SHA256;
use crate::sigv4::canonical::{Canonical, Sorted};
use crate::sigv4::found::{Found, Parts, locate, signed_headers};
use crate::sigv4::key::{Judge, KeyCache, KeyRing};
use crate::sigv4::verify::{Claim, Rules, scope_fits, signature_holds};
use crate::units::UnixSeconds;

/// Most guesses about one request: each costs some microseconds.
const GUESSES_MAX: usize = 96;

/// Most parameters of which each is guessed to be a proxy's.
const PARAMETERS_MAX: usize = 16;

/// What SDKs sign where they sign this header, and what proxies make another of.
const ACCEPT_ENCODINGS: [&str; 8] = [
    "identity",
    "gzip",
    "gzip, deflate",
    "gzip,deflate",
    "gzip, deflate, br",
    "gzip, deflate, br, zstd",
    "gzip;q=1.0,deflate;q=0.6,identity;q=0.3",
    "*",
];

/// Other headers that are signed by some clients and rewritten by some proxies, with what clients say.
const REWRITTEN: [(&str, &[&str]); 7] = [
    ("connection", &["keep-alive", "Keep-Alive", "close"]),
    ("content-length", &["0"]),
    (
        "content-type",
        &["application/octet-stream", "binary/octet-stream", "application/x-www-form-urlencoded"],
    ),
    ("expect", &["100-continue"]),
    ("te", &["trailers"]),
    ("transfer-encoding", &["chunked"]),
    ("x-forwarded-proto", &["http", "https"]),
];

/// What a request was signed with, and came without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// A header had another value.
    Header {
        /// Which.
        name: String,
        /// Its value when it was signed; empty where it was not there.
        signed: String,
    },
    /// It was another method.
    Method(&'static str),
    /// The path was another, or was encoded otherwise.
    Path(&'static str),
    /// A parameter that was added on the way.
    Parameter(String),
    /// Another `x-amz-content-sha256`.
    Payload(&'static str),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header { name, signed } if signed.is_empty() => {
                write!(f, "the header `{name}` was empty or absent when the request was signed")
            }
            Self::Header { name, signed } => {
                write!(f, "the header `{name}` was `{signed}` when the request was signed")
            }
            Self::Method(method) => write!(f, "the request was signed as a {method}"),
            Self::Path(how) => write!(f, "the path was signed {how}"),
            Self::Parameter(name) => {
                write!(f, "the query parameter `{name}` was not there when it was signed")
            }
            Self::Payload(text) => write!(f, "the request was signed with the payload {text}"),
        }
    }
}

/// Finds what differs in a head whose signature [`crate::sigv4::verify()`] has found not to match.
/// `None`: none of the guesses makes it hold, so the secret is another, or something that nobody but the
/// signer knows.
#[must_use]
pub fn diagnose(
    head: &Head,
    keys: &KeyRing,
    rules: &Rules,
    now: UnixSeconds,
    cache: &mut KeyCache,
) -> Option<Difference> {
    let query;
    let claim = match locate(head).ok()? {
        Found::Header(algorithm, parts) => Claim::by_header(head, algorithm, parts).ok()?,
        Found::Query(algorithm, parameters) => {
            query = parameters;
            Claim::by_query(head, algorithm, &query, rules, now).ok()?
        }
        Found::Nothing | Found::V2(_) => return None,
    };
    scope_fits(&claim, rules).ok()?;
    let key = keys.find(claim.credential.access_key_id)?;
    let mut buffer = cache.take_buffer();
    let derived = match claim.credential.region {
        Some(region) => Judge::Hmac(cache.key(&key.access_key_id, &key.secret, claim.credential.day, region)),
        None => Judge::Ecdsa(cache.verifying(&key.access_key_id, &key.secret)),
    };
    let found = guesses(head, &claim)
        .take(GUESSES_MAX)
        .find(|guess| guess.holds(&claim, derived, &mut buffer))
        .map(|guess| guess.difference);
    cache.give_back(buffer);
    found
}

/// The heads that a trusted proxy may have made this one of: those with another `Accept-Encoding`, or
/// none, where that was signed; those with the port that the proxy says it was reached at.
pub fn restored(head: &Head) -> impl Iterator<Item = Head> + use<> {
    let signed = match locate(head) {
        Ok(Found::Header(_, parts)) => Parts::parse(parts).ok().map(|parts| parts.signed_headers.to_owned()),
        Ok(Found::Query(_, parameters)) => parameters.signed_headers.map(Cow::into_owned),
        Ok(Found::Nothing | Found::V2(_)) | Err(_) => None,
    };
    let is_signed = signed.is_some_and(|signed| signed.split(';').any(|name| name == "accept-encoding"));
    let codings = ACCEPT_ENCODINGS.into_iter().filter(move |_| is_signed);
    let mut hosts = vec![head.clone()];
    hosts.extend(outer_host(head).map(|host| with(head, "host", &host)));
    hosts.into_iter().enumerate().flat_map(move |(at, head)| {
        let coded = codings.clone().map(|coding| with(&head, "accept-encoding", coding)).collect::<Vec<_>>();
        // the head as it came was judged already
        (at > 0).then_some(head).into_iter().chain(coded)
    })
}

/// The host with the port that a proxy was reached at, where it says which and the host has none.
fn outer_host(head: &Head) -> Option<String> {
    let host = head.first_text("host")?;
    let port = head.first_text("x-forwarded-port").map(str::trim)?;
    let bare = !host.is_empty() && (host.ends_with(']') || !host.contains(':'));
    (bare && !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| format!("{host}:{port}"))
}

/// A head as it may have been signed.
struct Guess {
    difference: Difference,
    head: Head,
    payload: Option<&'static str>,
}

impl Guess {
    fn holds(&self, claim: &Claim<'_>, key: Judge<'_>, buffer: &mut Vec<u8>) -> bool {
        let Ok(signed) = signed_headers(claim.signed_headers) else { return false };
        let fields = Sorted::of(&self.head);
        let payload = self.payload.map_or(claim.payload_text.as_bytes(), str::as_bytes);
        let request = Canonical { head: &self.head, fields: &fields, signed: &signed, payload };
        signature_holds(&request, claim, key, buffer)
    }
}

fn with(head: &Head, name: &str, value: &str) -> Head {
    let mut head = head.clone();
    head.set(name, value.as_bytes());
    head
}

fn guesses<'a>(head: &'a Head, claim: &Claim<'a>) -> impl Iterator<Item = Guess> + use<'a> {
    let signed = claim.signed_headers;
    let is_signed = move |name: &str| signed.split(';').any(|own| own == name);
    let header = move |name: &str, value: &str| {
        let difference = Difference::Header { name: name.to_owned(), signed: value.to_owned() };
        Guess { difference, head: with(head, name, value), payload: None }
    };
    let hosts = hosts(head).into_iter().map(move |host| header("host", &host));
    let codings = ACCEPT_ENCODINGS.into_iter().filter(move |_| is_signed("accept-encoding"));
    let codings = codings.map(move |coding| header("accept-encoding", coding));
    let others = REWRITTEN.into_iter().filter(move |(name, _)| is_signed(name));
    let others = others.flat_map(move |(name, values)| values.iter().map(move |value| header(name, value)));
    let bare = head.first_text("content-type").and_then(|value| value.split_once(';'));
    let bare = bare.filter(move |_| is_signed("content-type"));
    let bare = bare.into_iter().map(move |(bare, _)| header("content-type", bare.trim_end()));
    let absent = signed.split(';').filter(|name| *name != "host").map(move |name| header(name, ""));
    let payloads = ["UNSIGNED-PAYLOAD", EMPTY_SHA256].into_iter().map(move |text| Guess {
        difference: Difference::Payload(text),
        head: head.clone(),
        payload: Some(text),
    });
    hosts.chain(codings).chain(targets(head)).chain(payloads).chain(bare).chain(others).chain(absent)
}

/// The hosts that a proxy may have had in front of it.
fn hosts(head: &Head) -> Vec<String> {
    let ours = head.first_text("host").unwrap_or_default();
    let name = match ours.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => ours,
    };
    let port = head.first_text("x-forwarded-port").unwrap_or("443");
    let mut hosts = vec![name.to_owned(), format!("{name}:80"), format!("{name}:443")];
    for header in ["x-forwarded-host", "x-original-host", "x-host"] {
        let told = head.first_text(header).into_iter().flat_map(|hosts| hosts.split(','));
        for host in told.map(str::trim).take(2) {
            hosts.push(host.to_owned());
            hosts.push(format!("{host}:{port}"));
        }
    }
    hosts.retain(|host| host != ours);
    hosts
}

/// Other methods, paths and queries.
fn targets(head: &Head) -> impl Iterator<Item = Guess> + use<'_> {
    let guess = |difference, path: &str, query: Option<&str>| {
        let mut head = head.clone();
        head.set_target(path, query);
        Guess { difference, head, payload: None }
    };
    let (path, query) = (head.path(), head.query());
    let mut out = Vec::new();
    let other = if *head.method() == http::Method::HEAD { http::Method::GET } else { http::Method::HEAD };
    if matches!(head.method().as_str(), "GET" | "HEAD") {
        let name = if other == http::Method::GET { "GET" } else { "HEAD" };
        let mut head = head.clone();
        head.set_method(other);
        out.push(Guess { difference: Difference::Method(name), head, payload: None });
    }
    if path.contains('%') {
        let twice = path.replace('%', "%25");
        out.push(guess(Difference::Path("as encoded twice, which S3 does not do"), &twice, query));
    }
    let plain = normalised(path);
    if plain != path {
        out.push(guess(Difference::Path("without its empty and dot segments"), &plain, query));
    }
    if let Some(prefix) = head.first_text("x-forwarded-prefix") {
        let whole = format!("{}{path}", prefix.trim_end_matches('/'));
        out.push(guess(Difference::Path("with the prefix in x-forwarded-prefix"), &whole, query));
    }
    match path.strip_suffix('/').filter(|path| !path.is_empty()) {
        Some(bare) => out.push(guess(Difference::Path("without the slash at its end"), bare, query)),
        None => out.push(guess(Difference::Path("with a slash at its end"), &format!("{path}/"), query)),
    }
    let pairs: Vec<&str> = query.into_iter().flat_map(|query| query.split('&')).collect();
    for (at, pair) in pairs.iter().enumerate().take(PARAMETERS_MAX) {
        let name = pair.split('=').next().unwrap_or_default();
        if name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("x-amz-")) {
            continue;
        }
        let rest: Vec<&str> =
            pairs.iter().enumerate().filter(|(n, _)| *n != at).map(|(_, pair)| *pair).collect();
        let rest = (!rest.is_empty()).then(|| rest.join("&"));
        out.push(guess(Difference::Parameter(name.to_owned()), path, rest.as_deref()));
    }
    out.into_iter()
}

/// The path as other services than S3 have it signed.
fn normalised(path: &str) -> String {
    let mut out: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                out.pop();
            }
            segment => out.push(segment),
        }
    }
    let end = if path.ends_with('/') && !out.is_empty() { "/" } else { "" };
    format!("/{}{end}", out.join("/"))
}
