//! File descriptors: how many this process may hold, and so how many clients it may let in.

use rustix::process::{Resource, getrlimit, setrlimit};
use tracing::{info, warn};

use crate::view::Limits;

/// Kept for probes, the admin listener, logs and files (`reliability.md` C3).
const RESERVED: u64 = 64;
/// Of the others, the share that clients' connections may take, in per cent: each may need one
/// more towards a region, and regions' idle connections are kept.
const CLIENTS_SHARE: u64 = 40;

const LOWERED: &str =
    "limits.connections is lowered: raise the limit of open files (ulimit -Hn, LimitNOFILE=) for more";

/// How many descriptors there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descriptors {
    /// `None`: as many as one likes.
    limit: Option<u64>,
}

impl Descriptors {
    /// Raises this process's limit as far as it may by itself, and reads it.
    pub(super) fn claim() -> Self {
        let found = getrlimit(Resource::Nofile);
        let mut wanted = found;
        wanted.current = found.maximum;
        let limit = match setrlimit(Resource::Nofile, wanted) {
            Ok(()) => wanted.current,
            Err(cause) => {
                info!(%cause, "the limit of file descriptors stays as it is");
                found.current
            }
        };
        Self { limit }
    }

    /// Lowers the limit of connections to what the descriptors allow, and says so.
    pub(super) fn clamp(self, limits: &mut Limits) {
        let (configured, in_force) = (limits.connections, self.fitting(limits.connections));
        let descriptors = self.limit;
        if in_force >= configured {
            return;
        }
        limits.connections = in_force;
        if configured == Limits::default().connections {
            // nobody asked for that many
            info!(in_force, descriptors, "{LOWERED}");
        } else {
            warn!(configured, in_force, descriptors, "{LOWERED}");
        }
    }

    /// At most so many clients, and never fewer than one.
    fn fitting(self, connections: u32) -> u32 {
        let Some(limit) = self.limit else { return connections };
        let share = limit.saturating_sub(RESERVED).saturating_mul(CLIENTS_SHARE) / 100;
        connections.min(u32::try_from(share).unwrap_or(u32::MAX)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_their_share_of_what_is_not_reserved() {
        for (limit, asked, wanted) in [
            (None, 10_000, 10_000),
            (Some(1_048_576), 10_000, 10_000),
            (Some(20_000), 10_000, 7974),
            (Some(25_064), 10_000, 10_000),
            (Some(1024), 10_000, 384),
            (Some(1024), 100, 100),
            (Some(64), 10_000, 1),
            (Some(0), 10_000, 1),
            (Some(u64::MAX), 10_000, 10_000),
        ] {
            assert_eq!(Descriptors { limit }.fitting(asked), wanted, "{limit:?} {asked}");
        }
    }
}
