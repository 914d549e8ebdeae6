//! Arithmetic of `Range` and `Content-Range`, on which resuming a body depends. Pure.
//!
//! Source: RFC 9110 §14. A range that is malformed, reversed or multiple is not judged here: it is
//! sent on as it came, and the store decides; such a reply is merely not resumed.

use std::fmt;

/// One requested range of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// `bytes=first-last`, both included.
    Closed {
        /// First byte.
        first: u64,
        /// Last byte, not before the first.
        last: u64,
    },
    /// `bytes=first-`.
    From {
        /// First byte.
        first: u64,
    },
    /// `bytes=-length`: the last bytes.
    Suffix {
        /// How many.
        length: u64,
    },
}

impl Range {
    /// Reads a `Range` header. `None` where it is not exactly one well-formed range of bytes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (unit, range) = text.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        match range.trim().split_once('-')? {
            ("", length) => Some(Self::Suffix { length: number(length)? }),
            (first, "") => Some(Self::From { first: number(first)? }),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::Closed { first, last })
            }
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { first, last } => write!(f, "bytes={first}-{last}"),
            Self::From { first } => write!(f, "bytes={first}-"),
            Self::Suffix { length } => write!(f, "bytes=-{length}"),
        }
    }
}

/// What a `206` says it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// First byte.
    pub first: u64,
    /// Last byte, not before the first.
    pub last: u64,
    /// Length of the whole object, where told.
    pub whole: Option<u64>,
}

impl ContentRange {
    /// Reads `bytes first-last/whole` or `bytes first-last/*`. `None` for anything else, also where
    /// the last byte is past the whole.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (range, whole) = text.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last) = (number(first)?, number(last)?);
        let whole = match whole.trim() {
            "*" => None,
            whole => Some(number(whole)?),
        };
        let sound = first <= last && whole.is_none_or(|whole| last < whole);
        sound.then_some(Self { first, last, whole })
    }

    /// Everything of an object of this length; `None` for an empty one.
    #[must_use]
    pub fn whole(length: u64) -> Option<Self> {
        Some(Self { first: 0, last: length.checked_sub(1)?, whole: Some(length) })
    }

    /// How many bytes it is; at least 1. Saturates at 2^64 - 1.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }

    /// What to ask for after `delivered` bytes of this reply; `None` where nothing is left.
    #[must_use]
    pub fn remaining(&self, delivered: u64) -> Option<Range> {
        let first = self.first.checked_add(delivered)?;
        (first <= self.last).then_some(Range::Closed { first, last: self.last })
    }

    /// Whether `continuation` goes on where this reply stopped after `delivered` bytes, to the same
    /// end of an object of the same length.
    #[must_use]
    pub fn continues(&self, delivered: u64, continuation: &Self) -> bool {
        self.remaining(delivered)
            == Some(Range::Closed { first: continuation.first, last: continuation.last })
            && (self.whole.is_none() || continuation.whole.is_none() || self.whole == continuation.whole)
    }
}

impl fmt::Display for ContentRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.whole {
            Some(whole) => write!(f, "bytes {}-{}/{whole}", self.first, self.last),
            None => write!(f, "bytes {}-{}/*", self.first, self.last),
        }
    }
}

/// Digits only: no sign, no space, below 2^64.
fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) { None } else { text.parse().ok() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn single_ranges_are_read() {
        assert_eq!(Range::parse("bytes=0-0"), Some(Range::Closed { first: 0, last: 0 }));
        assert_eq!(Range::parse("Bytes=5-"), Some(Range::From { first: 5 }));
        assert_eq!(Range::parse("bytes=-7"), Some(Range::Suffix { length: 7 }));
    }

    #[test]
    fn odd_ranges_are_no_ranges() {
        let many = format!("bytes={}", "0-0,".repeat(1000));
        for text in [
            "bytes=9-1",
            "bytes=0-18446744073709551616",
            "bytes=18446744073709551616-",
            "bytes=+1-2",
            "bytes=--1",
            "bytes=-",
            "bytes",
            "items=0-1",
            "",
            &many,
        ] {
            assert_eq!(Range::parse(text), None, "{text}");
        }
    }

    #[test]
    fn content_ranges_are_read() {
        let range = ContentRange::parse("bytes 2-5/10").unwrap();
        assert_eq!(range, ContentRange { first: 2, last: 5, whole: Some(10) });
        assert_eq!((range.length(), range.to_string().as_str()), (4, "bytes 2-5/10"));
        assert_eq!(ContentRange::parse("bytes 2-5/*").unwrap().whole, None);
        for text in ["bytes */10", "bytes 5-2/10", "bytes 2-10/10", "2-5/10", "bytes 2-5", "bytes 2-5/x"] {
            assert_eq!(ContentRange::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_rest_is_asked_for() {
        let reply = ContentRange::whole(10).unwrap();
        assert_eq!(reply.remaining(0), Some(Range::Closed { first: 0, last: 9 }));
        assert_eq!(reply.remaining(9), Some(Range::Closed { first: 9, last: 9 }));
        assert_eq!(reply.remaining(10), None);
        assert_eq!(ContentRange::whole(0), None);
        assert!(reply.continues(4, &ContentRange { first: 4, last: 9, whole: Some(10) }));
        assert!(!reply.continues(4, &ContentRange { first: 4, last: 9, whole: Some(11) }));
        assert!(!reply.continues(4, &ContentRange { first: 5, last: 9, whole: Some(10) }));
        assert!(!reply.continues(4, &ContentRange { first: 4, last: 8, whole: Some(10) }));
    }

    proptest! {
        #[test]
        fn any_text_can_be_read(text in ".*") {
            if let Some(range) = Range::parse(&text) {
                prop_assert_eq!(Range::parse(&range.to_string()), Some(range));
            }
            if let Some(range) = ContentRange::parse(&text) {
                prop_assert_eq!(ContentRange::parse(&range.to_string()), Some(range));
            }
        }

        #[test]
        fn what_is_delivered_and_what_remains_is_the_whole(first: u64, more: u64, delivered: u64) {
            let reply = ContentRange { first, last: first.saturating_add(more), whole: None };
            match reply.remaining(delivered) {
                Some(Range::Closed { first, last }) => {
                    prop_assert_eq!(first, reply.first + delivered);
                    prop_assert_eq!(last, reply.last);
                }
                _ => prop_assert!(delivered > reply.last - reply.first),
            }
        }
    }
}
