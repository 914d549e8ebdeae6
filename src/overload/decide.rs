//! Whether a request gets a place, from a picture of those that are taken.

use std::fmt;

use crate::s3::operation::Class;

/// In which order classes of requests are refused as places run out: the first goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rank {
    /// Listings: dear for a store, and whoever lists can list again.
    List,
    /// Reads of one object.
    Get,
    /// Writes, `CompleteMultipartUpload` and copies among them: a client has paid for their bodies.
    Put,
}

impl Rank {
    /// All of them, those first that are refused first.
    pub const ALL: [Self; 3] = [Self::List, Self::Get, Self::Put];

    /// The rank of a class of operations.
    #[must_use]
    pub fn of(class: Class) -> Self {
        match class {
            Class::List => Self::List,
            Class::Get => Self::Get,
            Class::Put | Class::Long => Self::Put,
        }
    }

    /// As metrics are labelled.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Get => "get",
            Self::Put => "put",
        }
    }

    /// Sixteenths of the places up to which this rank gets one: steps that are wide enough for what
    /// comes and goes within one answer's time, and so narrow that reads alone have nearly all.
    fn sixteenths(self) -> u32 {
        match self {
            Self::List => 13,
            Self::Get => 15,
            Self::Put => 16,
        }
    }
}

/// Why a request got no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// All places are taken.
    Full,
    /// What is left is for writes, or for writes and reads.
    Rank,
    /// Its client has its share: what is left is for those who have less.
    Share,
}

impl Reason {
    /// As metrics are labelled.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Rank => "rank",
            Self::Share => "share",
        }
    }
}

/// A request that got no place, with what was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shed {
    /// Why.
    pub reason: Reason,
    /// Of the request.
    pub rank: Rank,
    /// What it was decided on.
    pub picture: Picture,
}

/// For the access log: what operators need to see whether more places or fewer requests are wanted.
impl fmt::Display for Shed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Picture { limit, taken, held, .. } = self.picture;
        let class = self.rank.label();
        write!(f, "limits.in_flight: {} of {limit} places are taken", taken.min(limit))?;
        match self.reason {
            Reason::Full => Ok(()),
            Reason::Rank => write!(f, ", class {class} gets one below {}", self.picture.ceiling(self.rank)),
            Reason::Share => write!(f, ", {held} of them by this client; what is left is for others"),
        }
    }
}

/// What is known when a request asks for a place, itself not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picture {
    /// `limits.in_flight`.
    pub limit: u32,
    /// Places taken, by all.
    pub taken: u32,
    /// Of these, by the client that asks.
    pub held: u32,
    /// Lately one was refused that has few places, and not for having too many.
    pub wanted: bool,
}

/// Parts in which shares of the places are told.
const PARTS: u32 = 16;
/// A client may have so many times the places that are free. Alone it leaves one in nine, so that who
/// comes next gets its first places at once; two that want everything have the same, and leave one in
/// seventeen; and so on. Who wants less than those that want everything have is not bounded by it: that is
/// max-min fairness, and nobody need know how many clients there are. (A fixed half for each, as
/// `reliability.md` A4 has it, would leave half of the places empty where one client is alone.)
const TIMES: u32 = 8;
/// Whoever has more than so many parts, an eighth of all, has many places.
const MANY: u32 = 2;
/// From so many parts on places are regained from who has stopped reading: before the first listing
/// is refused.
const PRESSED: u32 = 12;

impl Picture {
    /// Whether the request gets a place.
    ///
    /// # Errors
    /// [`Shed`].
    pub fn decide(self, rank: Rank) -> Result<(), Shed> {
        let refused = |reason| Err(Shed { reason, rank, picture: self });
        let ceiling = self.ceiling(rank);
        if self.taken >= self.limit {
            refused(Reason::Full)
        } else if self.taken >= ceiling {
            refused(if self.gives_way() { Reason::Share } else { Reason::Rank })
        } else if self.held >= (ceiling - self.taken).saturating_mul(TIMES) {
            refused(Reason::Share)
        } else {
            Ok(())
        }
    }

    /// Places up to which the request gets one; at least one. Who has many is judged as if it listed
    /// while one who has few is refused: else a flood of writes would leave no room for any reader.
    #[must_use]
    pub fn ceiling(&self, rank: Rank) -> u32 {
        parts_up(self.limit, if self.gives_way() { Rank::List } else { rank }.sixteenths())
    }

    /// Whether the client that asks has so few places that another makes room for it.
    #[must_use]
    pub fn has_few(&self) -> bool {
        u64::from(self.held) * u64::from(PARTS) <= u64::from(self.limit) * u64::from(MANY)
    }

    /// Places that should be regained from who has stopped reading; 0 while there is no hurry.
    #[must_use]
    pub fn pressed_by(&self) -> u32 {
        self.taken.saturating_sub(parts_up(self.limit, PRESSED))
    }

    fn gives_way(&self) -> bool {
        self.wanted && !self.has_few()
    }
}

impl Shed {
    /// Whether those who have many places should make room for this client from now on.
    #[must_use]
    pub fn is_wanting(&self) -> bool {
        self.picture.has_few() && self.reason != Reason::Share
    }
}

/// A number of sixteenths, rounded up.
fn parts_up(limit: u32, parts: u32) -> u32 {
    let exact = u64::from(limit) * u64::from(parts);
    u32::try_from(exact.div_ceil(u64::from(PARTS))).unwrap_or(limit)
}

/// Seconds that a refused client is asked to stay away: one to three, by a share in `[0, 1)` from
/// the coin. Drawn, so that a crowd that was refused together does not come back together.
#[must_use]
pub fn retry_after(share: f64) -> u32 {
    match share {
        share if share < 1.0 / 3.0 => 1,
        share if share < 2.0 / 3.0 => 2,
        _ => 3,
    }
}
