//! What a region can be told to do wrong, and to which requests.

use std::time::Duration;

use bytes::Bytes;

use super::wire::Reply;

/// How a connection is ended in the middle of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A reset: what a killed process leaves.
    Reset,
    /// A clean FIN.
    Close,
}

/// One way to misbehave.
#[derive(Clone, Debug)]
pub enum Act {
    /// Reads the request, commits nothing, never answers.
    Silent,
    /// Commits, never answers.
    SilentAfterCommit,
    /// Ends the connection once the head is read; body unread, nothing committed.
    DropAtHead(End),
    /// Ends the connection once so many body bytes are read; nothing committed. The body must have
    /// a length.
    DropInBody(usize, End),
    /// Ends the connection once the body is read; nothing committed.
    DropBeforeCommit(End),
    /// Commits, ends the connection without an answer.
    DropAfterCommit(End),
    /// Sends the head and so many body bytes, then nothing more.
    HangAfter(usize),
    /// Sends the head and so many body bytes, then ends the connection. A reset may lose what the
    /// client had not taken yet, as real ones do.
    CutAfter(usize, End),
    /// Sends so many body bytes a second.
    Slow(usize),
    /// Waits before the answer. Commits first.
    Delay(Duration),
    /// Answers this instead; commits nothing.
    Answer { status: u16, code: &'static str },
    /// Answers these bytes, whatever they are; commits nothing.
    AnswerBytes(Bytes),
    /// Verifies head and body, then answers this; commits nothing.
    Instead(Reply),
    /// Announces a body longer (or shorter) by so much than what is sent; then closes.
    LieAboutLength(isize),
    /// Says this in the answer's head in place of the truth.
    Say(&'static str, String),
    /// Sends the body in chunks, without telling its length; with `Slow`, a chunk every 100 ms.
    Chunked,
    /// Sends no `100 Continue`; takes a body that comes all the same.
    NoContinue,
    /// Commits, answers 200 with white space, then this error in the document.
    ErrorInsideOk { code: &'static str },
    /// Commits, answers 200 with white space and the end of it: the document never comes.
    NothingInsideOk,
}

/// Which requests.
#[derive(Clone, Debug, Default)]
pub struct When {
    /// The operation's name (`GetObject`).
    pub operation: Option<&'static str>,
    /// The decoded key.
    pub key: Option<String>,
    /// The method.
    pub method: Option<&'static str>,
    /// Lets so many matching requests pass first.
    pub skip: usize,
    /// Then for so many; `None`: until healed.
    pub times: Option<usize>,
    /// Only this share of them, by chance.
    pub share: Option<f64>,
    /// Probes of `.nearpoint/…` too, which are spared otherwise.
    pub probes: bool,
}

impl When {
    /// Every request but probes.
    pub fn always() -> Self {
        Self::default()
    }

    /// Every request, probes too.
    pub fn everything() -> Self {
        Self { probes: true, ..Self::default() }
    }

    /// Requests of one operation.
    pub fn operation(name: &'static str) -> Self {
        Self { operation: Some(name), ..Self::default() }
    }

    /// Requests for one key.
    pub fn key(key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..Self::default() }
    }

    /// For the next so many only.
    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.times = Some(times);
        self
    }

    /// After so many.
    #[must_use]
    pub fn after(mut self, skip: usize) -> Self {
        self.skip = skip;
        self
    }
}

/// The faults in force.
#[derive(Debug, Default)]
pub struct Faults(Vec<(When, Act)>);

impl Faults {
    pub fn push(&mut self, when: When, act: Act) {
        self.0.push((when, act));
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// What to do wrong with this request; counts it.
    pub fn take(&mut self, operation: &str, method: &str, key: &str) -> Vec<Act> {
        let mut acts = Vec::new();
        for (when, act) in &mut self.0 {
            let matches = when.operation.is_none_or(|want| want == operation)
                && when.method.is_none_or(|want| want == method)
                && when.key.as_deref().is_none_or(|want| want == key)
                && (when.probes || !super::is_probe(key));
            if !matches {
                continue;
            }
            if when.skip > 0 {
                when.skip -= 1;
                continue;
            }
            if when.share.is_some_and(|share| fastrand::f64() >= share) {
                continue;
            }
            match &mut when.times {
                Some(0) => continue,
                Some(left) => *left -= 1,
                None => {}
            }
            acts.push(act.clone());
        }
        acts
    }
}
