//! Whom we do not wait for any longer. Pure.

/// Why a connection was ended before its client ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Overdue {
    /// A head was not complete in time.
    Head,
    /// Nothing came for too long.
    Idle,
    /// The client did not read for too long while we had bytes for it.
    Reader,
    /// The connection stayed idle while the process is draining.
    Drain,
    /// The client had stopped reading, and another one wanted its place.
    Shed,
}

impl Overdue {
    /// The label of metrics and logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Head => "head_timeout",
            Self::Idle => "idle",
            Self::Reader => "stalled_reader",
            Self::Drain => "drained",
            Self::Shed => "stalled_reader_shed",
        }
    }
}
