//! Which requests a fault is for.

use serde::{Deserialize, Serialize};

use crate::chance::Coin;

/// A request as far as faults care.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked<'a> {
    /// The region it goes to.
    pub region: &'a str,
    /// The access point it is for, or the bucket where only that is known.
    pub bucket: &'a str,
    /// The API's name: `GetObject`.
    pub operation: &'a str,
    /// The method.
    pub method: &'a str,
    /// The key, decoded; empty for a bucket.
    pub key: &'a str,
    /// One of our own probes or canaries.
    pub probe: bool,
}

/// Which requests; what is absent limits nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scope {
    /// To this region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// For this access point or bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// Of this operation, by its API name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// With this method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// For exactly this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// For keys that begin so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Only this share of them, 0 to 1, by chance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// The first so many pass.
    pub skip: u64,
    /// And then so many are hit; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// Probes and canaries too, which are spared otherwise.
    pub probes: bool,
}

impl Scope {
    /// Whether it speaks of such a request; neither chance nor counting is asked.
    #[must_use]
    pub fn covers(&self, asked: &Asked<'_>) -> bool {
        let same = |want: &Option<String>, have: &str| want.as_deref().is_none_or(|want| want == have);
        same(&self.region, asked.region)
            && same(&self.bucket, asked.bucket)
            && same(&self.operation, asked.operation)
            && same(&self.method, asked.method)
            && same(&self.key, asked.key)
            && self.prefix.as_deref().is_none_or(|prefix| asked.key.starts_with(prefix))
            && (self.probes || !asked.probe)
    }

    /// Counts a request that it covers, and says whether that one is hit.
    pub(super) fn hits(&mut self, coin: &mut Coin) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        if self.times == Some(0) || self.share.is_some_and(|share| !coin.lands(share)) {
            return false;
        }
        if let Some(left) = &mut self.times {
            *left -= 1;
        }
        true
    }
}
