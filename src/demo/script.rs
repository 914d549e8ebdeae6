//! The demo without hands: what happens when. Pure.

use std::time::Duration;

use crate::names::RegionId;
use crate::units;

/// What happens to a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// Its listener and every open socket are closed at once.
    Kill,
    /// It listens again on the same port.
    Revive,
}

/// A play: how long, and what happens when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    length: Duration,
    /// In order of time.
    acts: Vec<(Duration, Act, RegionId)>,
}

/// A script that cannot be played.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScriptFault {
    /// `--for` is no duration.
    #[error("--for {seen}: {expected}")]
    Length {
        /// What was seen.
        seen: String,
        /// What was expected.
        expected: units::NotAQuantity,
    },
    /// Not `REGION@TIME`.
    #[error("{seen}: expected REGION@TIME, for example {example}@10s")]
    Form {
        /// What was seen.
        seen: String,
        /// A region that exists.
        example: String,
    },
    /// No such region.
    #[error("{seen}: no such region; there are {known}")]
    Region {
        /// What was seen.
        seen: String,
        /// All regions.
        known: String,
    },
    /// It would happen after the end.
    #[error("{seen}: that is after the end; --for is {length:?}")]
    TooLate {
        /// What was seen.
        seen: String,
        /// The play's length.
        length: Duration,
    },
}

impl Script {
    /// Reads `--for 30s`, every `--kill REGION@10s` and every `--revive REGION@20s`.
    ///
    /// # Errors
    /// The first [`ScriptFault`] in that order.
    pub fn parse(
        length: &str,
        kills: &[String],
        revives: &[String],
        regions: &[RegionId],
    ) -> Result<Self, ScriptFault> {
        let length = units::duration(length)
            .map_err(|expected| ScriptFault::Length { seen: length.to_owned(), expected })?;
        let kills = kills.iter().map(|text| (text, Act::Kill));
        let both = kills.chain(revives.iter().map(|text| (text, Act::Revive)));
        let mut acts = both
            .map(|(text, act)| {
                let (at, region) = moment(text, regions)?;
                if at >= length {
                    return Err(ScriptFault::TooLate { seen: text.clone(), length });
                }
                Ok((at, act, region))
            })
            .collect::<Result<Vec<_>, _>>()?;
        acts.sort();
        Ok(Self { length, acts })
    }

    /// When it ends.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.length
    }

    /// What happens after `from`, up to and with `to`, in order.
    pub fn between(&self, from: Duration, to: Duration) -> impl Iterator<Item = (Act, &RegionId)> {
        let due = self.acts.iter().filter(move |(at, ..)| *at > from && *at <= to);
        due.map(|(_, act, region)| (*act, region))
    }
}

/// `REGION@TIME`.
fn moment(text: &str, regions: &[RegionId]) -> Result<(Duration, RegionId), ScriptFault> {
    let form = || ScriptFault::Form {
        seen: text.to_owned(),
        example: regions.first().map(ToString::to_string).unwrap_or_default(),
    };
    let (region, at) = text.rsplit_once('@').ok_or_else(form)?;
    let at = units::duration(at).map_err(|_| form())?;
    let Some(region) = regions.iter().find(|id| id.as_str() == region) else {
        let known: Vec<&str> = regions.iter().map(RegionId::as_str).collect();
        return Err(ScriptFault::Region { seen: text.to_owned(), known: known.join(", ") });
    };
    // at the start means: at the first tick
    Ok((at.max(Duration::from_millis(1)), region.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regions() -> Vec<RegionId> {
        ["frankfurt", "virginia"].map(RegionId::new).to_vec()
    }

    fn script(length: &str, kill: &str, revive: &str) -> Result<Script, ScriptFault> {
        let texts = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        Script::parse(length, &texts(kill), &texts(revive), &regions())
    }

    #[test]
    fn acts_come_in_the_order_of_their_times_and_once() {
        let script = script("30s", "virginia@10s frankfurt@0s", "virginia@20s").unwrap();
        assert_eq!(script.length(), Duration::from_secs(30));
        let mut seen = Vec::new();
        let mut from = Duration::ZERO;
        for second in [5, 10, 15, 30] {
            let to = Duration::from_secs(second);
            seen.extend(script.between(from, to).map(|(act, region)| (second, act, region.to_string())));
            from = to;
        }
        let expected =
            [(5, Act::Kill, "frankfurt"), (10, Act::Kill, "virginia"), (30, Act::Revive, "virginia")];
        assert_eq!(seen, expected.map(|(at, act, region)| (at, act, region.to_owned())));
    }

    #[test]
    fn what_cannot_be_played_is_refused_with_what_would_be_right() {
        let cases = [
            (script("soon", "", ""), "--for soon: expected a duration such as 250ms, 30s, 10m or 24h"),
            (script("9s", "frankfurt", ""), "frankfurt: expected REGION@TIME, for example frankfurt@10s"),
            (script("9s", "frankfurt@x", ""), "frankfurt@x: expected REGION@TIME, for example frankfurt@10s"),
            (script("9s", "", "rome@1s"), "rome@1s: no such region; there are frankfurt, virginia"),
            (script("9s", "frankfurt@9s", ""), "frankfurt@9s: that is after the end; --for is 9s"),
        ];
        for (result, expected) in cases {
            assert_eq!(result.map_err(|fault| fault.to_string()), Err(expected.to_owned()));
        }
    }
}
