//! What one try ended in, how much of the request was sent, and what an answer means. Pure.

use std::time::Duration;

use crate::fleet::{Never, Signal};

/// How much of a request may have reached the region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sent {
    /// Nothing at all: proven by a failed dial or by the request handed back whole.
    Nothing,
    /// The head, perhaps.
    Head,
    /// The head and so many body bytes, but not the last.
    Body(u64),
    /// All of it.
    All,
}

/// Why nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unsent {
    /// No connection could be made.
    Unreachable(Never),
    /// The region became unable to serve while the attempt waited for a connection.
    StandingChanged,
    /// We had nothing left to make a connection of: file descriptors, ports, memory. Ours, and no
    /// region's fault.
    Shortage,
    /// There was no connection before a repeat would have come too late to be harmless.
    TooLate,
}

/// What an attempt was waiting for when its time was up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// `100 Continue`; the body was kept back.
    Continue,
    /// The region to take more of the body.
    Body,
    /// The first byte of the answer.
    FirstByte,
}

/// What one try ended in. Whatever the client caused (an abort, a stalled or refused body) is no
/// outcome: there is nothing left to decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was sent.
    NotSent(Unsent),
    /// A kept connection had ended, or ended under a request that may be repeated at will before
    /// anything came of it: everyday, and nobody's fault. Also one address that took nothing of the
    /// request while the region has another.
    Stale {
        /// Nothing where the request was handed back whole, else the head, perhaps.
        sent: Sent,
    },
    /// The connection ended before an answer.
    Broken {
        /// How much was out.
        sent: Sent,
    },
    /// The region fell silent.
    Silent {
        /// How much was out.
        sent: Sent,
        /// While what was awaited.
        stage: Stage,
    },
    /// It was answered.
    Answered {
        /// With this status.
        status: u16,
        /// Which means this.
        meaning: Meaning,
    },
}

/// What an answer says about the region and about the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Meaning {
    /// The region did its work; the answer is the client's.
    Final,
    /// The region failed: 500, 502, 503, 504, 507.
    ServerFault,
    /// It asks for less: `SlowDown`, 429, 509.
    Throttled,
    /// It names our credential as the fault, or may mean it: any 403, and a bare 400 to a HEAD.
    Forbidden,
    /// It refused the clock by which the request was signed, and what its own says is known now.
    Skewed,
    /// It names bucket or signing region as the fault.
    Misplaced,
    /// The same, and it names the region that the bucket is in, where it can be asked for now.
    Moved,
    /// It rejects the body (hash, checksum, length): the client's, whatever the status.
    BodyRefused,
    /// It knows no such upload: also what it says of one that was completed a moment ago.
    NoSuchUpload,
}

impl Meaning {
    /// Reads the answer to a HEAD, which has no document: `code` where its head says as much.
    #[must_use]
    pub fn of_head(status: u16, code: Option<&str>) -> Self {
        match (status, code) {
            // AWS says no more of an expired token or a wrong signing region
            (400, None) => Self::Forbidden,
            _ => Self::read(status, code),
        }
    }

    /// Reads a status and, where the answer had one, its S3 error code.
    #[must_use]
    pub fn read(status: u16, code: Option<&str>) -> Self {
        if code.is_some_and(|code| BODY_REFUSALS.contains(&code)) && status >= 400 {
            return Self::BodyRefused;
        }
        if code.is_some_and(|code| THROTTLES.contains(&code)) {
            return Self::Throttled;
        }
        match (status, code) {
            (429 | 509, _) => Self::Throttled,
            (400 | 401 | 403, Some(code)) if CREDENTIAL_FAULTS.contains(&code) => Self::Forbidden,
            (403, _) => Self::Forbidden,
            (301 | 307, _) => Self::Misplaced,
            (404, Some("NoSuchUpload")) => Self::NoSuchUpload,
            (_, Some("NoSuchBucket" | "PermanentRedirect" | "AuthorizationHeaderMalformed")) => {
                Self::Misplaced
            }
            // what the region will never do is an answer; what it cannot do now is a fault
            (501 | 505, _) => Self::Final,
            (500..=599, _) => Self::ServerFault,
            _ => Self::Final,
        }
    }
}

/// Codes by which a store rejects the bytes that the client sent.
const BODY_REFUSALS: [&str; 10] = [
    "BadDigest",
    "EntityTooLarge",
    "EntityTooSmall",
    "IncompleteBody",
    "InvalidDigest",
    "MissingContentLength",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
    "InvalidChunkSizeError",
    "MalformedTrailerError",
];

/// Codes by which a store asks for less.
const THROTTLES: [&str; 6] = [
    "SlowDown",
    "SlowDownRead",
    "SlowDownWrite",
    "TooManyRequests",
    "RequestLimitExceeded",
    "ThrottlingException",
];

/// Codes by which a store rejects our credential or clock, where its status is not 403.
const CREDENTIAL_FAULTS: [&str; 6] = [
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
];

impl Outcome {
    /// How much of the request may have reached the region.
    #[must_use]
    pub const fn sent(&self) -> Sent {
        match self {
            Self::NotSent(_) => Sent::Nothing,
            Self::Stale { sent } | Self::Broken { sent } | Self::Silent { sent, .. } => *sent,
            Self::Answered { .. } => Sent::All,
        }
    }

    /// Whether it is the client's answer whatever else is known, so that [`super::verdict`] is
    /// [`super::Verdict::Relay`] and no other region need be looked for.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Answered { meaning: Meaning::Final | Meaning::BodyRefused, .. })
    }

    /// Whether the region answered that it cannot now, or not so much.
    #[must_use]
    pub const fn is_the_regions_fault(&self) -> bool {
        matches!(self, Self::Answered { meaning: Meaning::ServerFault | Meaning::Throttled, .. })
    }

    /// Whether the region may have carried the request out. An answer that refuses it says that it
    /// did not.
    #[must_use]
    pub const fn may_have_acted(&self) -> bool {
        match self {
            Self::NotSent(_) => false,
            Self::Stale { sent } | Self::Broken { sent } | Self::Silent { sent, .. } => {
                !matches!(sent, Sent::Nothing)
            }
            Self::Answered { meaning, .. } => match meaning {
                Meaning::Final | Meaning::ServerFault => true,
                Meaning::Throttled
                | Meaning::Forbidden
                | Meaning::Skewed
                | Meaning::Misplaced
                | Meaning::Moved
                | Meaning::BodyRefused
                | Meaning::NoSuchUpload => false,
            },
        }
    }

    /// Whether it says no more than that a kept connection was stale.
    #[must_use]
    pub const fn is_stale(&self) -> bool {
        matches!(self, Self::Stale { .. })
    }

    /// Whether no connection was had for it.
    #[must_use]
    pub const fn is_not_sent(&self) -> bool {
        matches!(self, Self::NotSent(_))
    }

    /// What the fleet is told of it; `ttfb` where it was measured. `None` where it says nothing
    /// about the region.
    #[must_use]
    pub fn signal(&self, ttfb: Option<Duration>) -> Option<Signal> {
        match self {
            Self::NotSent(Unsent::Unreachable(never)) => Some(Signal::NeverAnswered(*never)),
            Self::NotSent(Unsent::StandingChanged | Unsent::Shortage | Unsent::TooLate)
            | Self::Stale { .. } => None,
            Self::Broken { .. } => Some(Signal::NeverAnswered(Never::Reset)),
            Self::Silent { .. } => Some(Signal::NeverAnswered(Never::FirstByteTimeout)),
            Self::Answered { status, meaning } => Some(match meaning {
                Meaning::ServerFault => Signal::ServerError(*status),
                Meaning::Throttled => Signal::Throttled,
                Meaning::Final
                | Meaning::Forbidden
                | Meaning::Skewed
                | Meaning::Misplaced
                | Meaning::Moved
                | Meaning::BodyRefused
                | Meaning::NoSuchUpload => Signal::Answered { ttfb },
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_mean_what_the_table_says() {
        let table = [
            (200, None, Meaning::Final),
            (206, None, Meaning::Final),
            (304, None, Meaning::Final),
            (404, Some("NoSuchKey"), Meaning::Final),
            (404, None, Meaning::Final),
            (409, Some("OperationAborted"), Meaning::Final),
            (412, Some("PreconditionFailed"), Meaning::Final),
            (501, Some("NotImplemented"), Meaning::Final),
            (505, None, Meaning::Final),
            (500, Some("InternalError"), Meaning::ServerFault),
            (500, None, Meaning::ServerFault),
            (502, None, Meaning::ServerFault),
            (503, Some("ServiceUnavailable"), Meaning::ServerFault),
            (503, None, Meaning::ServerFault),
            (504, None, Meaning::ServerFault),
            (507, Some("XMinioStorageFull"), Meaning::ServerFault),
            (503, Some("SlowDown"), Meaning::Throttled),
            (503, Some("SlowDownRead"), Meaning::Throttled),
            (429, None, Meaning::Throttled),
            (509, None, Meaning::Throttled),
            (403, Some("AccessDenied"), Meaning::Forbidden),
            (403, Some("SignatureDoesNotMatch"), Meaning::Forbidden),
            (403, None, Meaning::Forbidden),
            (400, Some("ExpiredToken"), Meaning::Forbidden),
            (401, Some("InvalidAccessKeyId"), Meaning::Forbidden),
            (404, Some("NoSuchUpload"), Meaning::NoSuchUpload),
            (404, Some("NoSuchBucket"), Meaning::Misplaced),
            (301, Some("PermanentRedirect"), Meaning::Misplaced),
            (307, None, Meaning::Misplaced),
            (400, Some("AuthorizationHeaderMalformed"), Meaning::Misplaced),
            (400, Some("BadDigest"), Meaning::BodyRefused),
            (400, Some("XAmzContentSHA256Mismatch"), Meaning::BodyRefused),
            (500, Some("BadDigest"), Meaning::BodyRefused),
            (411, Some("MissingContentLength"), Meaning::BodyRefused),
        ];
        for (status, code, meaning) in table {
            assert_eq!(Meaning::read(status, code), meaning, "{status} {code:?}");
            assert_eq!(Meaning::of_head(status, code), meaning, "{status} {code:?}");
        }
        assert_eq!(Meaning::read(400, None), Meaning::Final);
        assert_eq!(Meaning::of_head(400, None), Meaning::Forbidden);
    }

    #[test]
    fn what_was_refused_was_not_carried_out() {
        let answered = |status, code| Outcome::Answered { status, meaning: Meaning::read(status, code) };
        for outcome in [
            Outcome::NotSent(Unsent::Unreachable(Never::Refused)),
            Outcome::Stale { sent: Sent::Nothing },
            answered(503, Some("SlowDown")),
            answered(403, None),
            answered(404, Some("NoSuchBucket")),
        ] {
            assert!(!outcome.may_have_acted(), "{outcome:?}");
        }
        for outcome in [
            Outcome::Broken { sent: Sent::Head },
            Outcome::Silent { sent: Sent::All, stage: Stage::FirstByte },
            answered(500, None),
            answered(204, None),
        ] {
            assert!(outcome.may_have_acted(), "{outcome:?}");
        }
    }

    #[test]
    fn only_the_regions_own_faults_count_against_it() {
        let answered = |status, code| Outcome::Answered { status, meaning: Meaning::read(status, code) };
        let fine = Some(Signal::Answered { ttfb: None });
        for outcome in [
            answered(404, Some("NoSuchKey")),
            answered(403, Some("AccessDenied")),
            answered(404, Some("NoSuchBucket")),
            answered(500, Some("BadDigest")),
            answered(400, None),
        ] {
            assert_eq!(outcome.signal(None), fine, "{outcome:?}");
        }
        assert_eq!(answered(503, None).signal(None), Some(Signal::ServerError(503)));
        assert_eq!(answered(503, Some("SlowDown")).signal(None), Some(Signal::Throttled));
        for sent in [Sent::Nothing, Sent::Head] {
            assert_eq!(Outcome::Stale { sent }.signal(None), None);
        }
        for unsent in [Unsent::StandingChanged, Unsent::Shortage, Unsent::TooLate] {
            assert_eq!(Outcome::NotSent(unsent).signal(None), None);
        }
        assert_eq!(
            Outcome::NotSent(Unsent::Unreachable(Never::Refused)).signal(None),
            Some(Signal::NeverAnswered(Never::Refused))
        );
        assert_eq!(
            Outcome::Broken { sent: Sent::Head }.signal(None),
            Some(Signal::NeverAnswered(Never::Reset))
        );
        assert_eq!(
            Outcome::Silent { sent: Sent::All, stage: Stage::FirstByte }.signal(None),
            Some(Signal::NeverAnswered(Never::FirstByteTimeout))
        );
    }
}
