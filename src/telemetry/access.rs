//! One JSON line per request, written without ever holding up a worker.
//!
//! A worker appends lines to a buffer of its own and hands full buffers to a writer thread over
//! a bounded channel. Where the writer is behind, lines are dropped and counted: a slow disk
//! must not become slow answers.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use jiff::Timestamp;
use metrics::Counter;
use tokio::sync::{Notify, oneshot};

use super::metric::{Metric, counter};
use super::settings::AccessLogTo;
use crate::names::{ClientName, RegionId, RequestId};
use crate::units::UnixSeconds;

/// What is known of one request at its end. Filled along the way; absent where it never came
/// to it.
///
/// Paths and keys are shown as they came, cut and escaped; of queries only the names and values
/// that cannot be credentials are shown. Headers are never shown, but for the user agent.
#[derive(Clone, Debug)]
pub struct AccessLine<'a> {
    /// The id that the client was given.
    pub id: RequestId,
    /// When the request came, and milliseconds within that second.
    pub at: (UnixSeconds, u16),
    /// The client's address; `None` for a unix socket.
    pub peer: Option<SocketAddr>,
    /// Encrypted.
    pub tls: bool,
    /// HTTP/2 rather than HTTP/1.1.
    pub http2: bool,
    /// As sent.
    pub method: &'a str,
    /// The raw path.
    pub path: &'a str,
    /// The raw query.
    pub query: Option<&'a str>,
    /// `User-Agent`.
    pub user_agent: Option<&'a [u8]>,
    /// The access point's name.
    pub access_point: Option<&'a str>,
    /// The operation's API name.
    pub operation: Option<&'static str>,
    /// The client's name; absent for anonymous and unverified requests.
    pub client: Option<&'a ClientName>,
    /// The status sent; 0 where none was.
    pub status: u16,
    /// The S3 error code of an error answer.
    pub code: Option<&'a str>,
    /// The region that answered.
    pub region: Option<&'a RegionId>,
    /// Tries made.
    pub attempts: u32,
    /// The plan's reason, one line.
    pub why: Option<&'a str>,
    /// For operators: what was seen where the client was told less.
    pub cause: Option<&'a str>,
    /// Every try, in order.
    pub tries: &'a [TryNote],
    /// Body bytes taken from the client.
    pub bytes_in: u64,
    /// Body bytes given to the client.
    pub bytes_out: u64,
    /// From the head to the end of the answer.
    pub total: Duration,
    /// From the head to the head of the answer.
    pub first_byte: Option<Duration>,
    /// Of that, the last try's wait for the region's first byte.
    pub upstream: Option<Duration>,
    /// What the lag shield did for a read that found nothing, or of a key changed lately.
    pub shield: Option<&'a str>,
    /// How often the reply broke off and was gone on with.
    pub resumed: u32,
    /// Of a write whose answer was lost: whether the object's head proved it, refuted it, showed another object, or nothing.
    pub settled: Option<&'a str>,
    /// Who ended the request before its answer was complete.
    pub aborted: Option<Aborted>,
}

/// One try at a region.
#[derive(Clone, Debug)]
pub struct TryNote {
    /// Where.
    pub region: RegionId,
    /// Microseconds from the request's head to the beginning of the try.
    pub at_us: u64,
    /// `answered`, or in a word or two why not.
    pub outcome: &'static str,
}

/// Who ended a request early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aborted {
    /// The client went away.
    Client,
    /// The region's answer broke off.
    Region,
    /// We did, at a drain's end or because the client did not read: the cause says which.
    Proxy,
}

impl Aborted {
    /// As logged, and as metrics are labelled.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Region => "region",
            Self::Proxy => "proxy",
        }
    }
}

/// Characters of a path, a query, a user agent or a reason that are shown.
const TEXT_MAX: usize = 1024;

/// Query names whose values are shown. All others are shown without: a list of what is safe
/// cannot forget a credential.
const SHOWN_VALUES: &[&str] = &[
    "list-type",
    "prefix",
    "delimiter",
    "max-keys",
    "encoding-type",
    "fetch-owner",
    "start-after",
    "partNumber",
    "max-parts",
    "max-uploads",
    "part-number-marker",
    "X-Amz-Algorithm",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "x-id",
];

/// A name as it stands in a line, after what is before it.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}

impl AccessLine<'_> {
    /// The line of a request of which nothing could be read.
    #[must_use]
    pub fn unread(id: RequestId, at: (UnixSeconds, u16), peer: Option<SocketAddr>, tls: bool) -> Self {
        Self {
            id,
            at,
            peer,
            tls,
            http2: false,
            method: "",
            path: "",
            query: None,
            user_agent: None,
            access_point: None,
            operation: None,
            client: None,
            status: 0,
            code: None,
            region: None,
            attempts: 0,
            why: None,
            cause: None,
            tries: &[],
            bytes_in: 0,
            bytes_out: 0,
            total: Duration::ZERO,
            first_byte: None,
            upstream: None,
            shield: None,
            resumed: 0,
            settled: None,
            aborted: None,
        }
    }

    /// Appends the line, newline included.
    pub fn write_to(&self, out: &mut String) {
        let mut line = Line { out };
        line.time(self.at);
        line.plain(key!("id"), std::str::from_utf8(&self.id.text()).unwrap_or_default());
        line.peer(self.peer);
        line.plain(key!("protocol"), if self.http2 { "h2" } else { "http/1.1" });
        line.flag(key!("tls"), self.tls);
        line.text(key!("method"), self.method);
        line.text(key!("path"), self.path);
        if let Some(query) = self.query {
            line.text(key!("query"), &shown_query(query));
        }
        line.optional(key!("access_point"), self.access_point);
        line.optional(key!("operation"), self.operation);
        line.optional(key!("client"), self.client.map(ClientName::as_str));
        line.number(key!("status"), self.status);
        line.optional(key!("code"), self.code);
        line.optional(key!("region"), self.region.map(RegionId::as_str));
        line.number(key!("attempts"), self.attempts);
        line.optional(key!("why"), self.why);
        line.optional(key!("cause"), self.cause);
        line.tries(self.tries);
        line.number(key!("bytes_in"), self.bytes_in);
        line.number(key!("bytes_out"), self.bytes_out);
        line.millis(key!("total_ms"), Some(self.total));
        line.millis(key!("first_byte_ms"), self.first_byte);
        line.millis(key!("upstream_ms"), self.upstream);
        line.optional(key!("shield"), self.shield);
        if self.resumed > 0 {
            line.number(key!("resumed"), self.resumed);
        }
        line.optional(key!("settled"), self.settled);
        line.optional(key!("aborted"), self.aborted.map(Aborted::label));
        if let Some(agent) = self.user_agent {
            match std::str::from_utf8(agent) {
                Ok(agent) => line.text(key!("user_agent"), agent),
                Err(_) => line.text(key!("user_agent"), &String::from_utf8_lossy(agent)),
            }
        }
        line.out.push_str("}\n");
    }
}

/// A line under way; each name comes as its [`key!`].
struct Line<'a> {
    out: &'a mut String,
}

impl Line<'_> {
    /// A text of any origin, cut and escaped.
    fn text(&mut self, key: &'static str, text: &str) {
        self.out.push_str(key);
        self.out.push('"');
        escape(text, self.out);
        self.out.push('"');
    }

    fn tries(&mut self, tries: &[TryNote]) {
        self.out.push_str(key!("tries"));
        let mut mark = '[';
        for one in tries {
            self.out.push(mark);
            self.out.push_str("{\"region\":\"");
            escape(one.region.as_str(), self.out);
            self.out.push_str("\",\"at_us\":");
            self.out.push_str(itoa::Buffer::new().format(one.at_us));
            self.out.push_str(",\"outcome\":\"");
            self.out.push_str(one.outcome);
            self.out.push_str("\"}");
            mark = ',';
        }
        self.out.push_str(if mark == '[' { "[]" } else { "]" });
    }

    fn optional(&mut self, key: &'static str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(key, text);
        }
    }

    fn number(&mut self, key: &'static str, number: impl itoa::Integer) {
        self.out.push_str(key);
        self.out.push_str(itoa::Buffer::new().format(number));
    }

    fn flag(&mut self, key: &'static str, value: bool) {
        self.out.push_str(key);
        self.out.push_str(if value { "true" } else { "false" });
    }

    /// A text of our own that needs no escapes.
    fn plain(&mut self, key: &'static str, text: &str) {
        self.out.push_str(key);
        self.out.push('"');
        self.out.push_str(text);
        self.out.push('"');
    }

    /// `2026-01-02T03:04:05.678Z`.
    fn time(&mut self, (seconds, millis): (UnixSeconds, u16)) {
        self.out.push_str("{\"time\":\"");
        let nanos = i32::from(millis.min(999)) * 1_000_000;
        if let Ok(time) = Timestamp::new(seconds.0, nanos) {
            self.format(format_args!("{time:.3}"));
        }
        self.out.push('"');
    }

    /// Address and port; `unix` for a unix socket.
    fn peer(&mut self, peer: Option<SocketAddr>) {
        let Some(peer) = peer else { return self.plain(key!("peer"), "unix") };
        self.out.push_str(key!("peer"));
        self.out.push('"');
        match peer {
            SocketAddr::V4(peer) => {
                let mut mark = "";
                for octet in peer.ip().octets() {
                    self.out.push_str(mark);
                    self.out.push_str(itoa::Buffer::new().format(octet));
                    mark = ".";
                }
                self.out.push(':');
                self.out.push_str(itoa::Buffer::new().format(peer.port()));
            }
            SocketAddr::V6(peer) => self.format(format_args!("{peer}")),
        }
        self.out.push('"');
    }

    fn millis(&mut self, key: &'static str, duration: Option<Duration>) {
        if let Some(duration) = duration {
            // half a million years of microseconds fit
            let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
            self.number(key, micros / 1000);
            // the leading one holds the place of the zeros
            let mut part = itoa::Buffer::new();
            self.out.push('.');
            self.out.push_str(part.format(1000 + micros % 1000).get(1..).unwrap_or_default());
        }
    }

    fn format(&mut self, text: std::fmt::Arguments<'_>) {
        // writing to a string does not fail
        let _never = self.out.write_fmt(text);
    }
}

/// Escapes for JSON whatever could end the string, the line, or move a terminal's cursor.
fn escape(text: &str, out: &mut String) {
    let mut end = text.len().min(TEXT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let shown = text.get(..end).unwrap_or_default();
    // all are looked at, in steps of many bytes, rather than one by one until the first is found
    let odd = |byte: &u8| !matches!(byte, b' '..0x7f) | matches!(byte, b'"' | b'\\');
    if shown.as_bytes().iter().fold(false, |any, byte| any | odd(byte)) {
        shown.chars().for_each(|character| escape_one(character, out));
    } else {
        out.push_str(shown);
    }
    if end < text.len() {
        out.push('\u{2026}');
    }
}

fn escape_one(character: char, out: &mut String) {
    match character {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        // C0, DEL and C1 controls; separators that some readers take for line ends; marks that
        // turn the direction of what follows
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            let _never = write!(out, "\\u{:04x}", u32::from(character));
        }
        other => out.push(other),
    }
}

/// A query with the values left out that are not on the list of those shown.
fn shown_query(query: &str) -> String {
    let mut shown = String::with_capacity(query.len());
    for (index, pair) in query.split('&').enumerate() {
        if index > 0 {
            shown.push('&');
        }
        match pair.split_once('=') {
            Some((name, value)) if !SHOWN_VALUES.contains(&name) && !value.is_empty() => {
                shown.push_str(name);
                shown.push_str("=\u{2026}");
            }
            _ => shown.push_str(pair),
        }
    }
    shown
}

/// Bytes after which a worker hands its buffer over.
const BATCH_BYTES: usize = 32 << 10;
/// Lines wait no longer than this in a worker's buffer.
const BATCH_WAIT: Duration = Duration::from_millis(100);
/// Buffers that may wait for the writer: with [`BATCH_BYTES`] at most 8 MiB.
const BATCHES_MAX: usize = 256;

/// The process's end of the access log: the writer thread.
#[derive(Debug)]
pub struct AccessWriter {
    batches: Option<SyncSender<Batch>>,
    /// Closed when the thread has written its last.
    ended: Option<oneshot::Receiver<()>>,
    dropped: Counter,
}

#[derive(Debug)]
struct Batch {
    text: String,
    lines: u64,
}

/// What a worker's thread makes its end of: unlike that end, it may cross threads.
#[derive(Clone, Debug)]
pub struct LogHandle {
    batches: Option<SyncSender<Batch>>,
    dropped: Counter,
}

impl LogHandle {
    /// A worker's end.
    #[must_use]
    pub fn worker(&self) -> AccessLog {
        AccessLog(Rc::new(Buffered {
            batches: self.batches.clone(),
            dropped: self.dropped.clone(),
            batch: RefCell::new(Batch { text: String::new(), lines: 0 }),
            begun: Notify::new(),
        }))
    }
}

impl AccessWriter {
    /// Opens the log and starts its thread; `Off` starts none.
    ///
    /// # Errors
    /// Where the file cannot be opened or the thread not started.
    pub fn open(to: &AccessLogTo) -> io::Result<Self> {
        match to {
            AccessLogTo::Off => Ok(Self { batches: None, ended: None, dropped: Counter::noop() }),
            AccessLogTo::Stdout => Self::to(io::stdout()),
            AccessLogTo::Stderr => Self::to(io::stderr()),
            AccessLogTo::File(path) => Self::to(File::options().append(true).create(true).open(path)?),
        }
    }

    /// A log that writes wherever it is told to.
    ///
    /// # Errors
    /// Where the thread cannot be started.
    pub fn to(mut sink: impl Write + Send + 'static) -> io::Result<Self> {
        let (batches, receiver) = sync_channel(BATCHES_MAX);
        let dropped = counter(Metric::AccessLinesDropped, &[]);
        let lost = dropped.clone();
        let (end, ended) = oneshot::channel();
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            write_batches(&receiver, &mut sink, &lost);
            drop(end);
        })?;
        Ok(Self { batches: Some(batches), ended: Some(ended), dropped })
    }

    /// For a worker's thread.
    #[must_use]
    pub fn handle(&self) -> LogHandle {
        LogHandle { batches: self.batches.clone(), dropped: self.dropped.clone() }
    }

    /// Waits until all that was handed over is written, no longer than `limit`: a sink that
    /// takes nothing must not hold up the end. Workers must have let go of their ends, and
    /// flushed them before. Says whether all is written.
    pub async fn finish(mut self, limit: Duration) -> bool {
        drop(self.batches.take());
        match self.ended.take() {
            None => true,
            // the sender is dropped, never used
            Some(ended) => tokio::time::timeout(limit, ended).await.is_ok(),
        }
    }
}

fn write_batches(batches: &Receiver<Batch>, sink: &mut dyn Write, dropped: &Counter) {
    for batch in batches {
        if sink.write_all(batch.text.as_bytes()).and_then(|()| sink.flush()).is_err() {
            dropped.increment(batch.lines);
        }
    }
}

/// A worker's end of the access log. Clones share one buffer.
#[derive(Clone, Debug)]
pub struct AccessLog(Rc<Buffered>);

#[derive(Debug)]
struct Buffered {
    batches: Option<SyncSender<Batch>>,
    dropped: Counter,
    batch: RefCell<Batch>,
    /// A first line is in the buffer.
    begun: Notify,
}

impl AccessLog {
    /// Writes a line. Never waits.
    pub fn write(&self, line: &AccessLine<'_>) {
        let buffered = &*self.0;
        if buffered.batches.is_none() {
            return;
        }
        let full = {
            let mut batch = buffered.batch.borrow_mut();
            line.write_to(&mut batch.text);
            batch.lines += 1;
            if batch.lines == 1 {
                buffered.begun.notify_one();
            }
            batch.text.len() >= BATCH_BYTES
        };
        if full {
            self.flush();
        }
    }

    /// Hands the buffer over.
    pub fn flush(&self) {
        let room = Batch { text: String::with_capacity(BATCH_BYTES + 2048), lines: 0 };
        let batch = self.0.batch.replace(room);
        let lines = batch.lines;
        if lines == 0 {
            return;
        }
        match self.0.batches.as_ref().map(|batches| batches.try_send(batch)) {
            None | Some(Ok(())) => {}
            Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))) => {
                self.0.dropped.increment(lines);
            }
        }
    }

    /// Hands lines over before they are old; to be run beside the worker's requests. Sleeps
    /// while nothing is logged. Never ends.
    pub async fn keep_fresh(&self) {
        loop {
            self.0.begun.notified().await;
            tokio::time::sleep(BATCH_WAIT).await;
            self.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, mpsc};

    use proptest::prelude::*;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    fn line<'a>() -> AccessLine<'a> {
        AccessLine {
            id: RequestId(0xabc),
            at: (UnixSeconds(1_767_323_045), 678),
            peer: Some("192.0.2.1:5".parse().unwrap()),
            tls: true,
            http2: false,
            method: "GET",
            path: "/b/k",
            query: None,
            user_agent: None,
            access_point: None,
            operation: Some("GetObject"),
            client: None,
            status: 200,
            code: None,
            region: None,
            attempts: 2,
            why: None,
            cause: None,
            tries: &[],
            bytes_in: 0,
            bytes_out: 4096,
            total: Duration::from_micros(1_234_567),
            first_byte: Some(Duration::from_micros(4)),
            upstream: None,
            shield: None,
            resumed: 0,
            settled: None,
            aborted: None,
        }
    }

    fn text(line: &AccessLine<'_>) -> String {
        let mut text = String::new();
        line.write_to(&mut text);
        text
    }

    #[test]
    fn a_line_reads_as_it_should() {
        let client = ClientName::new("thumbnailer");
        let region = RegionId::new("fra");
        let tries = [
            TryNote { region: RegionId::new("us"), at_us: 7, outcome: "refused" },
            TryNote { region: region.clone(), at_us: 90, outcome: "answered" },
        ];
        let line = AccessLine {
            query: Some("versionId=abc&uploads"),
            user_agent: Some(b"curl/8"),
            access_point: Some("photos"),
            client: Some(&client),
            region: Some(&region),
            code: Some("NoSuchKey"),
            why: Some("nearest"),
            tries: &tries,
            resumed: 2,
            settled: Some("proven"),
            aborted: Some(Aborted::Client),
            ..line()
        };
        assert_eq!(
            text(&line),
            concat!(
                r#"{"time":"2026-01-02T03:04:05.678Z","id":"0000000000000ABC","peer":"192.0.2.1:5","#,
                r#""protocol":"http/1.1","tls":true,"method":"GET","path":"/b/k","query":"versionId=…&uploads","#,
                r#""access_point":"photos","operation":"GetObject","client":"thumbnailer","status":200,"#,
                r#""code":"NoSuchKey","region":"fra","attempts":2,"why":"nearest","#,
                r#""tries":[{"region":"us","at_us":7,"outcome":"refused"},{"region":"fra","at_us":90,"outcome":"answered"}],"#,
                r#""bytes_in":0,"bytes_out":4096,"#,
                r#""total_ms":1234.567,"first_byte_ms":0.004,"resumed":2,"settled":"proven","aborted":"client","user_agent":"curl/8"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn credentials_in_queries_are_never_shown() {
        let query = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA%2F1&X-Amz-Signature=canary\
            &X-Amz-Security-Token=canary&x-amz-server-side-encryption-customer-key=canary&prefix=p&uploadId=canary\
            &x-amz-signature=canary&canary=";
        let text = text(&AccessLine { query: Some(query), ..line() });
        assert_eq!(text.matches("canary").count(), 1, "the name alone: {text}");
        assert!(!text.contains("AKIA"), "{text}");
        assert!(text.contains("prefix=p"), "{text}");
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let path = "é".repeat(TEXT_MAX);
        let text = text(&AccessLine { path: &path, ..line() });
        assert!(text.contains(&format!("{}…\"", "é".repeat(TEXT_MAX / 2))));
        assert!(text.len() < 2 * TEXT_MAX);
    }

    proptest! {
        #[test]
        fn whatever_is_sent_stays_one_line_of_json(
            path in "(\\PC|[\r\n\t\"\\\\\u{1b}\u{0}\u{85}\u{2028}\u{202e}]){0,40}",
            query in ".{0,40}",
            agent in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let text = text(&AccessLine { path: &path, query: Some(&query), user_agent: Some(&agent), ..line() });
            prop_assert_eq!(text.matches('\n').count(), 1);
            prop_assert!(!text.trim_end_matches('\n').chars().any(char::is_control), "{}", text);
            let read: serde_json::Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(read["path"].as_str(), Some(&*path));
        }
    }

    /// A sink that a test reads, and may hold up.
    #[derive(Clone, Default)]
    struct Sink {
        text: Arc<Mutex<Vec<u8>>>,
        fails: bool,
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.fails {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.text.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn lines_of_all_workers_are_written_whole_by_the_end() {
        let sink = Sink::default();
        let writer = AccessWriter::to(sink.clone()).unwrap();
        let (first, second) = (writer.handle().worker(), writer.handle().worker());
        for _ in 0..500 {
            first.write(&line());
            second.write(&line());
        }
        first.flush();
        second.flush();
        drop((first, second));
        assert!(writer.finish(LIMIT).await);
        let written = String::from_utf8(sink.text.lock().unwrap().clone()).unwrap();
        assert_eq!(written.lines().count(), 1000);
        assert!(written.lines().all(|written| format!("{written}\n") == text(&line())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lonely_line_does_not_wait_for_company() {
        let sink = Sink::default();
        let writer = AccessWriter::to(sink.clone()).unwrap();
        let worker = writer.handle().worker();
        worker.write(&line());
        let late = tokio::time::timeout(BATCH_WAIT * 2, worker.keep_fresh()).await;
        assert!(late.is_err(), "it never ends");
        drop(worker);
        tokio::time::resume();
        assert!(writer.finish(LIMIT).await);
        assert!(!sink.text.lock().unwrap().is_empty());
    }

    /// A sink that blocks until it is told to go on.
    struct Stuck(Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // the sender's end lets everything pass
            let _gone = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn lines_are_dropped_and_counted_and_nobody_waits() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let dropped = metrics::with_local_recorder(&recorder, || counter(Metric::AccessLinesDropped, &[]));
        let (release, stuck) = mpsc::channel();
        let mut writer = AccessWriter::to(Stuck(stuck)).unwrap();
        writer.dropped = dropped;
        let worker = writer.handle().worker();
        for _ in 0..BATCHES_MAX + 10 {
            worker.write(&line());
            worker.flush();
        }
        drop(release);
        drop(worker);
        assert!(writer.finish(LIMIT).await);
        let text = handle.render();
        let count: usize = text
            .lines()
            .find_map(|line| line.strip_prefix("nearpoint_access_lines_dropped_total "))
            .and_then(|count| count.parse().ok())
            .unwrap();
        assert!((9..=10).contains(&count), "the channel's room, and perhaps one at the sink: {count}");
    }

    #[tokio::test]
    async fn a_sink_that_takes_nothing_does_not_hold_up_the_end() {
        let (_release, stuck) = mpsc::channel();
        let writer = AccessWriter::to(Stuck(stuck)).unwrap();
        let worker = writer.handle().worker();
        worker.write(&line());
        worker.flush();
        drop(worker);
        assert!(!writer.finish(Duration::from_millis(10)).await);
    }

    #[tokio::test]
    async fn a_sink_that_fails_ends_nothing() {
        let writer = AccessWriter::to(Sink { fails: true, ..Sink::default() }).unwrap();
        let worker = writer.handle().worker();
        worker.write(&line());
        worker.flush();
        worker.write(&line());
        worker.flush();
        drop(worker);
        assert!(writer.finish(LIMIT).await);
    }

    #[tokio::test]
    async fn off_writes_nothing() {
        let writer = AccessWriter::open(&AccessLogTo::Off).unwrap();
        let worker = writer.handle().worker();
        worker.write(&line());
        assert_eq!(worker.0.batch.borrow().lines, 0);
        drop(worker);
        assert!(writer.finish(LIMIT).await);
    }
}
