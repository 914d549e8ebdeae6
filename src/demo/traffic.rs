//! A little traffic through the gateway, so that there is something to see: signed
//! reads that are compared, listings, and writes of new keys. A door.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::regions::wire_request;
use crate::clock::Clock;
use crate::head::Head;
use crate::names::AccessPointName;
use crate::sigv4::{Credential, Destination, KeyCache, PathForm, PayloadMark, sign};

/// Longer than any failover takes: what has no answer by then has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Keys that reads ask for.
pub const SAMPLES: u64 = 8;

/// What a sample key is called and holds.
#[must_use]
pub fn sample(number: u64) -> (String, String) {
    let number = number % SAMPLES;
    (format!("sample/{number}"), format!("sample {number} of the nearpoint demo\n"))
}

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `GetObject` of a sample, its bytes compared.
    Read,
    /// `ListObjectsV2` of the samples.
    List,
    /// `PutObject` of a new key.
    Write,
}

/// How one request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// What was asked.
    pub kind: Kind,
    /// Answered, with the right bytes.
    pub good: bool,
    /// From connect to the last byte.
    pub took: Duration,
}

/// How all requests ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Reads and listings sent.
    pub reads: u64,
    /// Of these, not answered or not rightly.
    pub failed_reads: u64,
    /// Writes sent.
    pub writes: u64,
    /// Of these, not acknowledged.
    pub failed_writes: u64,
    /// The longest that a read took.
    pub slowest_read: Duration,
}

impl Tally {
    /// Adds one.
    pub fn add(&mut self, sample: Sample) {
        let failed = u64::from(!sample.good);
        match sample.kind {
            Kind::Read | Kind::List => {
                self.reads += 1;
                self.failed_reads += failed;
                self.slowest_read = self.slowest_read.max(sample.took);
            }
            Kind::Write => {
                self.writes += 1;
                self.failed_writes += failed;
            }
        }
    }

    /// Whether every read was answered: what the demo promises. (A write that was under way when
    /// its region died may be answered `503`: nobody could know what became of it.)
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.failed_reads == 0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} reads, {} failed, the slowest took {} ms; {} writes, {} failed",
            self.reads,
            self.failed_reads,
            self.slowest_read.as_millis(),
            self.writes,
            self.failed_writes
        )
    }
}

/// A client of the gateway.
#[derive(Clone, Debug)]
pub struct Client {
    /// Where the gateway listens.
    pub address: SocketAddr,
    /// What it signs for.
    pub region: String,
    /// What it asks for.
    pub access_point: AccessPointName,
    /// Its key pair.
    pub credential: Credential,
}

impl Client {
    /// Sends the `number`-th request: seven reads, two writes and a listing of every ten.
    pub async fn ask(&self, number: u64) -> Sample {
        let clock = Clock::system();
        let started = clock.mono();
        let kind = match number % 10 {
            0 => Kind::List,
            3 | 7 => Kind::Write,
            _ => Kind::Read,
        };
        let (key, body) = sample(number);
        let (method, suffix, sent) = match kind {
            Kind::Read => (Method::GET, format!("/{key}"), ""),
            Kind::List => (Method::GET, "?list-type=2&prefix=sample%2F".to_owned(), ""),
            Kind::Write => (Method::PUT, format!("/written/{number}"), "written by the demo\n"),
        };
        let answer = tokio::time::timeout(PATIENCE, self.send(method, &suffix, sent)).await;
        let answer = answer.ok().flatten();
        let good =
            answer.is_some_and(|(status, bytes)| status == 200 && (kind != Kind::Read || bytes == body));
        Sample { kind, good, took: clock.mono().saturating_duration_since(started) }
    }

    /// Sends one request on a connection of its own: status and body, `None` where the connection
    /// ended before. `suffix` follows the access point in the target.
    pub(super) async fn send(&self, method: Method, suffix: &str, body: &str) -> Option<(u16, Bytes)> {
        let mut head = Head::new(method, &format!("/{}{suffix}", self.access_point));
        head.push("host", self.address.to_string().as_bytes());
        if !body.is_empty() {
            head.push("content-length", body.len().to_string().as_bytes());
        }
        let now = Clock::system().now().wall;
        sign(
            &mut head,
            &self.credential,
            &Destination { region: &self.region, path: PathForm::Raw },
            now,
            &PayloadMark::Unsigned,
            &mut KeyCache::new(),
        );
        let request = wire_request(&head, Full::new(Bytes::copy_from_slice(body.as_bytes())))?;
        let stream = TcpStream::connect(self.address).await.ok()?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        let exchange = async {
            let reply = sender.send_request(request).await.ok()?;
            let status = reply.status().as_u16();
            Some((status, reply.into_body().collect().await.ok()?.to_bytes()))
        };
        tokio::pin!(connection, exchange);
        tokio::select! {
            answer = &mut exchange => answer,
            // the rest of the answer may be read already
            _ = &mut connection => exchange.await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_reads_and_writes_are_told_apart() {
        let sample = |kind, good, ms| Sample { kind, good, took: Duration::from_millis(ms) };
        let mut tally = Tally::default();
        tally.add(sample(Kind::Read, true, 5));
        tally.add(sample(Kind::List, true, 40));
        tally.add(sample(Kind::Write, false, 900));
        assert!(tally.is_clean());
        assert_eq!(tally.to_string(), "2 reads, 0 failed, the slowest took 40 ms; 1 writes, 1 failed");
        tally.add(sample(Kind::Read, false, 1));
        assert!(!tally.is_clean());
    }
}
