//! Why a plan is as it is: facts now, words only when somebody asks. Pure.

use std::fmt;
use std::time::Duration;

use smallvec::SmallVec;

use crate::fleet::Standing;
use crate::names::RegionId;
use crate::s3::operation::Kind;
use crate::s3::profile::Features;

/// What decided which regions were asked at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them, by the access point's order for this kind.
    Order(Kind),
    /// Only the first of that order: its failover is refused.
    First(Kind),
    /// Only home.
    Home,
    /// Only the region of the upload, version or token that the request names.
    Bound,
}

/// Whether a region is fit for the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fitness {
    /// It is, with this standing.
    Fit(Standing),
    /// It is, but it is ranked behind others for a while after it failed.
    Held(Standing),
    /// It is, with this standing, and ranked behind others while it is slow.
    Slow(Standing),
    /// Its turn to be tried by a single request.
    Trial,
    /// It is out for this kind.
    Out,
    /// It refuses the credential.
    CredentialRefused,
    /// Its bucket or signing region is wrong.
    ConfigurationRefused,
    /// It does not honour what the request depends on.
    Lacks(Features),
    /// The access point's order, home or the request's bond leaves it out.
    LeftOut,
}

impl Fitness {
    /// Whether the region may be sent the request in the ordinary way.
    #[must_use]
    pub const fn is_fit(self) -> bool {
        match self {
            Self::Fit(_) | Self::Held(_) | Self::Slow(_) | Self::Trial => true,
            Self::Out
            | Self::CredentialRefused
            | Self::ConfigurationRefused
            | Self::Lacks(_)
            | Self::LeftOut => false,
        }
    }
}

/// One region and what was found about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Considered {
    /// The region.
    pub region: RegionId,
    /// Whether it is fit.
    pub fitness: Fitness,
    /// Its latency for this class of request.
    pub latency: Option<Duration>,
    /// It was tried before.
    pub tried: bool,
}

/// The reasons of a plan: every region of the access point, those of the plan first and in its
/// order. Its text form is one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// What decided which regions were asked.
    pub scope: Scope,
    /// The regions.
    pub regions: SmallVec<[Considered; 4]>,
    /// None was fit, and those that are allowed are tried all the same.
    pub fail_open: bool,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Order(Kind::Read) => "read order",
            Self::Order(Kind::Write) => "write order",
            Self::First(Kind::Read) => "first of the read order",
            Self::First(Kind::Write) => "first of the write order",
            Self::Home => "home only",
            Self::Bound => "bound by id",
        })
    }
}

impl fmt::Display for Fitness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fit(standing) => fmt::Display::fmt(standing, f),
            Self::Held(standing) => write!(f, "{standing}, held back"),
            Self::Slow(standing) => write!(f, "{standing}, slow"),
            Self::Trial => f.write_str("on trial"),
            Self::Out => f.write_str("out"),
            Self::CredentialRefused => f.write_str("credential refused"),
            Self::ConfigurationRefused => f.write_str("bucket or signing region refused"),
            Self::Lacks(_) => f.write_str("lacks a feature"),
            Self::LeftOut => f.write_str("left out"),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.scope, f)?;
        if self.fail_open {
            f.write_str(", none fit: by last success")?;
        }
        let mut mark = ": ";
        for considered in &self.regions {
            f.write_str(mark)?;
            f.write_str(considered.region.as_str())?;
            f.write_str(" ")?;
            if let Some(latency) = considered.latency {
                f.write_str(itoa::Buffer::new().format(latency.as_millis()))?;
                f.write_str("ms ")?;
            }
            fmt::Display::fmt(&considered.fitness, f)?;
            if considered.tried {
                f.write_str(", tried before")?;
            }
            mark = "; ";
        }
        Ok(())
    }
}
