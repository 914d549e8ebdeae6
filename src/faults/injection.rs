//! The ways in which a request can be wronged.

use serde::{Deserialize, Serialize};

use crate::chance::Coin;
use crate::s3::Code;
use crate::s3::xml::error_document;

/// How a connection ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// A TCP reset: what a killed process leaves.
    #[default]
    Reset,
    /// A FIN, as if all were said.
    Close,
}

/// Which body is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// The request's body, on its way to the store.
    Upload,
    /// The reply's body, on its way to the client.
    #[default]
    Download,
}

/// A byte of a body, as it is on the wire behind the head; drawn anew for each request where
/// `spread` is not 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The first byte that may be meant, counted from 0.
    #[serde(default)]
    pub at: u64,
    /// How many bytes further it may be.
    #[serde(default)]
    pub spread: u64,
}

impl Place {
    pub(super) fn draw(self, coin: &mut Coin) -> u64 {
        let further = match self.spread {
            0 => 0,
            spread => coin.bits() % spread.saturating_add(1).max(1),
        };
        self.at.saturating_add(further)
    }
}

/// An S3 error that is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorAnswer {
    /// The text in `<Code>`.
    pub code: String,
    /// The status; default: the one S3 sends with this code, 500 for one that it does not have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Default: what S3 says with this code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl ErrorAnswer {
    /// The status to send.
    #[must_use]
    pub fn status(&self) -> u16 {
        let own = Code::parse(&self.code).map(|code| code.status().as_u16());
        self.status.or(own).unwrap_or(500)
    }

    /// S3's error document.
    #[must_use]
    pub fn document(&self) -> String {
        let own = Code::parse(&self.code).map_or("An injected fault.", Code::message);
        error_document(&self.code, self.message.as_deref().unwrap_or(own), "", "INJECTED", &[])
    }
}

/// One way to wrong a request. Times are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case", deny_unknown_fields)]
pub enum Injection {
    /// The reply's head is held back.
    Delay {
        /// For so long,
        by_ms: u64,
        /// and up to so much more.
        #[serde(default)]
        jitter_ms: u64,
    },
    /// A body passes no faster than this.
    Rate {
        /// At least 1.
        bytes_per_second: u64,
        /// Which body.
        #[serde(default)]
        way: Way,
    },
    /// A body passes in pieces.
    Slice {
        /// Of this many bytes, at least 1,
        bytes: u64,
        /// each after such a pause.
        pause_ms: u64,
        /// Which body.
        #[serde(default)]
        way: Way,
    },
    /// A body ends early, and its connection with it.
    Cut {
        /// The first byte that is not sent.
        #[serde(default, flatten)]
        place: Place,
        /// How.
        #[serde(default)]
        end: End,
        /// Which body.
        #[serde(default)]
        way: Way,
    },
    /// The connection is reset once the head was read; the store sees nothing.
    Reset,
    /// The reply never begins, although the store answered.
    HangBeforeHead,
    /// A body stands still.
    HangInBody {
        /// The first byte that is not sent.
        #[serde(default, flatten)]
        place: Place,
        /// Which body.
        #[serde(default)]
        way: Way,
    },
    /// The reply's body ends with a FIN, but the connection goes on taking bytes.
    HalfClose {
        /// The first byte that is not sent.
        #[serde(default, flatten)]
        place: Place,
    },
    /// One bit of a body is turned.
    Corrupt {
        /// The byte it is in.
        #[serde(default, flatten)]
        place: Place,
        /// Which body.
        #[serde(default)]
        way: Way,
    },
    /// An error is answered; the store sees nothing.
    Answer {
        /// Which.
        #[serde(flatten)]
        error: ErrorAnswer,
    },
    /// `200`, white space, and then an error; the store sees nothing.
    ErrorInsideOk {
        /// Which.
        #[serde(flatten)]
        error: ErrorAnswer,
        /// How often a space comes first,
        #[serde(default)]
        spaces: u16,
        /// each after such a pause.
        #[serde(default)]
        pause_ms: u64,
    },
    /// The request is taken whole, then the connection ends; the store sees nothing.
    DieBeforeCommit {
        /// How.
        #[serde(default)]
        end: End,
    },
    /// The store does it and answers, and then the connection ends without a word.
    DropReply {
        /// How.
        #[serde(default)]
        end: End,
    },
}
