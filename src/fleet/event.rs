//! What the fleet is told, and what it announces. Pure.

use std::fmt;
use std::time::{Duration, Instant};

use crate::names::{AccessPointName, CredentialId, RegionId};
use crate::s3::operation::{Class, Kind};

use super::quantile::Times;
use super::standing::Standing;

/// One observation. Whatever a client caused (an abort, a stalled reader, a refused body, our own
/// shed answers) is never reported.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A probe came back, or did not.
    Probed {
        /// Of which region.
        region: RegionId,
        /// Time to its first byte, or why it failed.
        alive: Result<Duration, ProbeFault>,
    },
    /// A write probe came back, or did not.
    WriteProbed {
        /// Of which region.
        region: RegionId,
        /// Whether the region took the write; why it did not, where that is its fault.
        alive: Result<(), ProbeFault>,
    },
    /// What was written in one region was looked for in another.
    Lagged {
        /// Where it was written.
        from: RegionId,
        /// Where it was looked for.
        to: RegionId,
        /// How long it took to come, or how long it has not come.
        lag: Duration,
    },
    /// One attempt of a client's request ended.
    Answered {
        /// At which region.
        region: RegionId,
        /// Read or write.
        kind: Kind,
        /// Its latency class.
        class: Class,
        /// A hash of bucket and key (or listing prefix), so that one poisonous key is not
        /// mistaken for an outage.
        key_hash: u64,
        /// How it ended.
        signal: Signal,
        /// When it ended. Workers tell their successes together and so late: one that was before
        /// another worker's failure says nothing against it.
        at: Instant,
        /// How many attempts this tells of: more than one only of answers as they should be
        /// ([`super::Digest`]), whose `ttfb` is then the latest; all of them are in [`Self::Timed`].
        count: u32,
    },
    /// How long answers took, those of several attempts together ([`super::Digest`]).
    Timed {
        /// At which region.
        region: RegionId,
        /// Of which latency class.
        class: Class,
        /// From a request sent to its answer's first byte.
        times: Times,
        /// When the last of them came.
        at: Instant,
    },
    /// A read was given up because its first byte did not come in its time. Beside the
    /// [`Signal::NeverAnswered`] that tells of it: where the region lives it was only slow.
    GivenUp {
        /// At which region.
        region: RegionId,
        /// Its latency class.
        class: Class,
        /// How long it was waited for.
        waited: Duration,
        /// When it was given up.
        at: Instant,
    },
    /// A canary settled whether a region takes a credential.
    CredentialJudged {
        /// Which region.
        region: RegionId,
        /// Which credential.
        credential: CredentialId,
        /// Whether it was accepted.
        sound: bool,
    },
    /// A canary settled whether a region has an access point's bucket.
    ConfigurationJudged {
        /// Which region.
        region: RegionId,
        /// Which access point.
        access_point: AccessPointName,
        /// Whether bucket and signing region are right.
        sound: bool,
    },
    /// The configuration changed: these are the regions now.
    Reloaded {
        /// All regions, in the order of the configuration.
        regions: Vec<RegionId>,
        /// Those whose endpoint, signing or credentials changed: they start anew.
        renewed: Vec<RegionId>,
        /// The regions of each access point.
        groups: Vec<Vec<RegionId>>,
    },
}

/// How an attempt ended, as far as the region's health is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Any answer that is the region doing its work: 2xx to 4xx, and 501.
    Answered {
        /// Time to first byte, where it was measured from the request's last byte sent.
        ttfb: Option<Duration>,
    },
    /// No answer came.
    NeverAnswered(Never),
    /// A server error that is the region's fault: this status.
    ServerError(u16),
    /// `SlowDown`, 429: alive, and asking for less.
    Throttled,
}

/// Why no answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Never {
    /// The connection was refused.
    Refused,
    /// The connection ended before an answer.
    Reset,
    /// The TLS handshake failed.
    Tls,
    /// No connection within its time.
    ConnectTimeout,
    /// No first byte within its time.
    FirstByteTimeout,
    /// The name has no address, and none is remembered.
    Dns,
}

impl Never {
    /// Whether it happened before any request was sent, so that no request can be to blame and
    /// reads and writes are hit alike.
    #[must_use]
    pub const fn is_of_the_connection(self) -> bool {
        match self {
            Self::Refused | Self::Tls | Self::ConnectTimeout | Self::Dns => true,
            Self::Reset | Self::FirstByteTimeout => false,
        }
    }
}

/// Why a probe failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProbeFault {
    /// As for requests.
    Never(Never),
    /// It was answered by a server error.
    ServerError(u16),
}

impl ProbeFault {
    /// Whether the region answered at all.
    #[must_use]
    pub const fn is_an_answer(self) -> bool {
        matches!(self, Self::ServerError(_))
    }
}

/// What a [`Transition`] is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The region, for this kind of request.
    Kind(Kind),
    /// A credential at the region: healthy or out.
    Credential(CredentialId),
    /// An access point's configuration at the region: healthy or out.
    Configuration(AccessPointName),
    /// The region became the nearest; `from` and `to` are its standing for reads.
    Nearest,
    /// How fast it answers: healthy, or suspect while it is ranked behind others for it.
    Speed,
    /// Its probes, where requests contradict them: out while they fail and requests do not.
    Probes,
    /// Ourselves: suspect while every region has failed at once.
    Ourselves,
}

/// A change worth a log line, a metric and a new table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Where.
    pub region: RegionId,
    /// Of what.
    pub subject: Subject,
    /// Before.
    pub from: Standing,
    /// After.
    pub to: Standing,
    /// In words, without names: `3 consecutive attempts were never answered (refused)`.
    pub why: Cause,
    /// When.
    pub at: Instant,
}

/// Why a standing changed; its text form is meant for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It was heard for the first time.
    FirstAnswer,
    /// Attempts in a row without an answer, the last one for this reason.
    NeverAnswered(u32, Never),
    /// Server errors in a row, the last one with this status.
    ServerErrors(u32, u16),
    /// Too small a share of successes: good ones, of so many.
    LowSuccess(u32, u32),
    /// Probes failed in a row, the last one for this reason.
    ProbesFailed(u32, ProbeFault),
    /// Probes passed in a row, and the ejection is over.
    ProbesPassed(u32),
    /// Trial requests succeeded.
    TrialsPassed(u32),
    /// A trial request failed.
    TrialFailed,
    /// It answered a request while no other region could.
    AnsweredAlone,
    /// It was suspect for a while, and nothing came of it.
    Cleared,
    /// A canary refused it.
    CanaryRefused,
    /// A canary accepted it.
    CanaryPassed,
    /// The refusal is old enough to be tried again.
    RefusalExpired,
    /// It has been answering faster than the one before it.
    Faster,
    /// It takes so long, and took so long before; others are quicker.
    Slower(Duration, Duration),
    /// It is as quick as it was.
    QuickAgain,
    /// Requests are as slow elsewhere: it is not the region.
    SlowElsewhereToo,
    /// So many probes failed in a row while requests were answered.
    ProbesContradicted(u32, ProbeFault),
    /// Probes and requests agree again.
    ProbesAgree,
    /// So many regions, all there are, failed within the window.
    AllFailed(u32),
    /// A region serves again.
    OneServes,
}

impl fmt::Display for Never {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "connection refused",
            Self::Reset => "connection ended without an answer",
            Self::Tls => "TLS failed",
            Self::ConnectTimeout => "no connection in time",
            Self::FirstByteTimeout => "no first byte in time",
            Self::Dns => "no address",
        })
    }
}

impl fmt::Display for ProbeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never(never) => fmt::Display::fmt(never, f),
            Self::ServerError(status) => write!(f, "status {status}"),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstAnswer => f.write_str("heard for the first time"),
            Self::NeverAnswered(count, never) => write!(f, "{count} attempts in a row unanswered: {never}"),
            Self::ServerErrors(count, status) => write!(f, "{count} server errors in a row: status {status}"),
            Self::LowSuccess(good, all) => write!(f, "only {good} of {all} requests succeeded"),
            Self::ProbesFailed(count, fault) => write!(f, "{count} probes in a row failed: {fault}"),
            Self::ProbesPassed(count) => write!(f, "{count} probes in a row passed"),
            Self::TrialsPassed(count) => write!(f, "{count} trial requests succeeded"),
            Self::TrialFailed => f.write_str("a trial request failed"),
            Self::AnsweredAlone => f.write_str("answered while no other region could"),
            Self::Cleared => f.write_str("no further failure"),
            Self::CanaryRefused => f.write_str("the canary was refused"),
            Self::CanaryPassed => f.write_str("the canary passed"),
            Self::RefusalExpired => f.write_str("due to be tried again"),
            Self::Faster => f.write_str("lastingly faster"),
            Self::Slower(now, before) => {
                write!(
                    f,
                    "takes {} ms, and took {} ms; others are quicker",
                    now.as_millis(),
                    before.as_millis()
                )
            }
            Self::QuickAgain => f.write_str("as quick as before"),
            Self::SlowElsewhereToo => f.write_str("the same requests are slow elsewhere too"),
            Self::ProbesContradicted(count, fault) => write!(
                f,
                "{count} probes in a row failed ({fault}) while requests were answered: check probe.bucket and \
                 probe.key; the region stays in service"
            ),
            Self::ProbesAgree => f.write_str("probes and requests agree again"),
            Self::AllFailed(count) => write!(
                f,
                "all {count} regions failed at once: check this machine's network; ejections are not held against them"
            ),
            Self::OneServes => f.write_str("a region serves again"),
        }
    }
}
