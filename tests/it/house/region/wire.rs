//! HTTP/1.1 by hand, so that a region can misbehave at any byte.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::house::moment;

/// Heads above this are refused.
const HEAD_MAX: usize = 64 << 10;

/// A request head, byte for byte; names are lower-cased.
#[derive(Clone, Debug)]
pub struct Head {
    pub method: String,
    /// The raw request target.
    pub target: String,
    /// In the order in which they came.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The first value of a header (lower-case name).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// The head without these headers (lower-case names).
    pub fn without(&self, names: &[&str]) -> Self {
        let mut head = self.clone();
        head.headers.retain(|(have, _)| !names.contains(&have.as_str()));
        head
    }

    /// The raw path.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The raw query, empty where there is none.
    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// How many body bytes follow, or that they are chunked.
    fn length(&self) -> Option<Length> {
        if let Some(coding) = self.header("transfer-encoding") {
            return (coding == "chunked").then_some(Length::Chunked);
        }
        match self.header("content-length") {
            None => Some(Length::Bytes(0)),
            Some(text) => text.parse().ok().map(Length::Bytes),
        }
    }
}

enum Length {
    Bytes(usize),
    Chunked,
}

/// A connection that stands still while its region is frozen.
pub struct Line<'a> {
    stream: &'a mut TcpStream,
    frozen: watch::Receiver<bool>,
    buffer: BytesMut,
}

impl<'a> Line<'a> {
    pub fn new(stream: &'a mut TcpStream, frozen: watch::Receiver<bool>) -> Self {
        Self { stream, frozen, buffer: BytesMut::with_capacity(64 << 10) }
    }

    /// The next head; `None` where the client is gone or sends no HTTP.
    pub async fn head(&mut self) -> Option<Head> {
        loop {
            if let Some(end) = memchr::memmem::find(&self.buffer, b"\r\n\r\n") {
                let bytes = self.buffer.split_to(end + 4);
                return parse(&bytes[..end]);
            }
            if self.buffer.len() > HEAD_MAX || self.more().await.ok()? == 0 {
                return None;
            }
        }
    }

    /// The body's bytes, HTTP chunking removed; an error where it ends early.
    pub async fn body(&mut self, head: &Head) -> io::Result<Bytes> {
        match head.length().ok_or(io::ErrorKind::InvalidData)? {
            Length::Bytes(count) => self.exactly(count).await,
            Length::Chunked => self.chunks().await,
        }
    }

    async fn exactly(&mut self, count: usize) -> io::Result<Bytes> {
        self.at_least(count).await?;
        Ok(self.buffer.split_to(count).freeze())
    }

    /// Waits until so many bytes of a body are there; takes none.
    pub async fn at_least(&mut self, count: usize) -> io::Result<()> {
        while self.buffer.len() < count {
            if self.more().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    /// Bytes that are there and not taken.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    async fn chunks(&mut self) -> io::Result<Bytes> {
        let mut body = BytesMut::new();
        loop {
            let line = self.line().await?;
            let size = line.split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(size, 16).map_err(|_| io::ErrorKind::InvalidData)?;
            if size == 0 {
                while !self.line().await?.is_empty() {}
                return Ok(body.freeze());
            }
            body.extend_from_slice(&self.exactly(size).await?);
            if self.exactly(2).await?.as_ref() != b"\r\n" {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = memchr::memmem::find(&self.buffer, b"\r\n") {
                let line = self.buffer.split_to(end);
                self.buffer.advance(2);
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            if self.more().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn more(&mut self) -> io::Result<usize> {
        self.thawed().await;
        let read = self.stream.read_buf(&mut self.buffer).await?;
        // bytes that came while frozen stay unread until thawed
        self.thawed().await;
        Ok(read)
    }

    /// Writes; waits while the region is frozen.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.thawed().await;
        self.stream.write_all(bytes).await
    }

    /// Waits until the client is gone.
    pub async fn closed(&mut self) {
        let mut scratch = [0; 4096];
        while let Ok(1..) = self.stream.read(&mut scratch).await {}
    }

    async fn thawed(&mut self) {
        // the sender lives as long as the region
        self.frozen.wait_for(|frozen| !frozen).await.map(|_| ()).unwrap_or_default();
    }
}

fn parse(bytes: &[u8]) -> Option<Head> {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target, version) = (first.next()?, first.next()?, first.next()?);
    if version != "HTTP/1.1" || first.next().is_some() {
        return None;
    }
    let headers = lines
        .map(|line| {
            line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        })
        .collect::<Option<_>>()?;
    Some(Head { method: method.to_owned(), target: target.to_owned(), headers })
}

/// A reply, before any fault.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl Reply {
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new() }
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn body(mut self, bytes: Bytes) -> Self {
        self.body = bytes;
        self
    }

    /// An XML document.
    #[must_use]
    pub fn xml(self, root: &str, inner: &str) -> Self {
        let space = " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";
        let space = if root == "Error" { "" } else { space };
        let text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root}{space}>{inner}</{root}>");
        self.with("content-type", "application/xml").body(text.into())
    }

    /// The head's bytes, for a body of `length` bytes.
    pub fn head_bytes(&self, length: usize, close: bool) -> Vec<u8> {
        let reason = http::StatusCode::from_u16(self.status).ok().and_then(|code| code.canonical_reason());
        let throttles = String::from_utf8_lossy(&self.body).contains("<Code>SlowDown</Code>");
        // as AWS does: it is all that the answer to a HEAD says
        let reason = if throttles { "Slow Down" } else { reason.unwrap_or("Status") };
        let mut text = format!("HTTP/1.1 {} {reason}\r\n", self.status);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(&format!("date: {}\r\n", moment::http_date(moment::now())));
        if close {
            text.push_str("connection: close\r\n");
        }
        let framed = ["content-length", "transfer-encoding"];
        let has_length = self.headers.iter().any(|(name, _)| framed.contains(&name.as_str()));
        if !has_length && self.status != 204 && self.status != 304 {
            text.push_str(&format!("content-length: {length}\r\n"));
        }
        text.push_str("\r\n");
        text.into_bytes()
    }
}
