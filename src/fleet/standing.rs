//! The names of what a region may do. Pure.

use std::fmt;

/// What a region may do now, for one kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Not heard yet: eligible, ranked last.
    Unknown,
    /// Serving.
    Healthy,
    /// Serving, with failures lately: probed faster, keeps its rank.
    Suspect,
    /// Sent nothing while anything else is left.
    Out,
    /// Back, and being tried by one request at a time.
    Probation,
}

impl Standing {
    /// Whether requests may be sent there in the ordinary way.
    #[must_use]
    pub const fn is_eligible(self) -> bool {
        match self {
            Self::Unknown | Self::Healthy | Self::Suspect | Self::Probation => true,
            Self::Out => false,
        }
    }

    /// Whether it serves: other regions may be taken back slowly as long as it does.
    #[must_use]
    pub const fn is_serving(self) -> bool {
        match self {
            Self::Healthy | Self::Suspect => true,
            Self::Unknown | Self::Out | Self::Probation => false,
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Suspect => "suspect",
            Self::Out => "out",
            Self::Probation => "probation",
        })
    }
}
