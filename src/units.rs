//! Quantities with their units, and the text forms that configuration uses. Pure.

use std::fmt;
use std::time::Duration;

/// Seconds since 1970-01-01T00:00:00Z, leap seconds ignored: the wall clock of SigV4 and HTTP dates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixSeconds(pub i64);

impl UnixSeconds {
    /// Seconds from `earlier` to `self`; negative where `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A count of bytes. Text form: `32KiB`, `1MiB`, `5GiB`, `512` (bytes); powers of 1024 only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteCount(pub u64);

/// A share from 0 to 1. Text form: `20%`.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Ratio(pub f64);

/// Events a second. Text form: `10/s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct PerSecond(pub f64);

/// A text that is no quantity: what was expected, with an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub struct NotAQuantity {
    /// The expected form, with an example.
    pub expected: &'static str,
}

/// Splits `250ms` into its digits and its unit.
fn split(text: &str) -> (&str, &str) {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (text.get(..at).unwrap_or_default(), text.get(at..).unwrap_or_default().trim_start())
}

/// Reads a duration: `250ms`, `30s`, `10m`, `24h`.
///
/// # Errors
/// [`NotAQuantity`] where the number is missing or too large, or the unit is none of `ms s m h`.
pub fn duration(text: &str) -> Result<Duration, NotAQuantity> {
    let fault = NotAQuantity { expected: "a duration such as 250ms, 30s, 10m or 24h" };
    let (digits, unit) = split(text);
    let number: u64 = digits.parse().map_err(|_| fault)?;
    let ms_per = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(fault),
    };
    number.checked_mul(ms_per).map(Duration::from_millis).ok_or(fault)
}

/// Reads a byte count: `512`, `32KiB`, `1MiB`, `5GiB`.
///
/// # Errors
/// [`NotAQuantity`] where the number is missing or too large, or the unit is none of `B KiB MiB GiB`.
pub fn bytes(text: &str) -> Result<ByteCount, NotAQuantity> {
    let fault = NotAQuantity { expected: "a size such as 512, 32KiB, 1MiB or 5GiB" };
    let (digits, unit) = split(text);
    let number: u64 = digits.parse().map_err(|_| fault)?;
    let per: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(fault),
    };
    number.checked_mul(per).map(ByteCount).ok_or(fault)
}

/// Reads a share: `20%`, `0%` to `100%`.
///
/// # Errors
/// [`NotAQuantity`] where there is no `%` or the number is not within 0 and 100.
pub fn ratio(text: &str) -> Result<Ratio, NotAQuantity> {
    let fault = NotAQuantity { expected: "a share from 0% to 100%" };
    let number: f64 = text.strip_suffix('%').and_then(|n| n.trim().parse().ok()).ok_or(fault)?;
    if (0.0..=100.0).contains(&number) { Ok(Ratio(number / 100.0)) } else { Err(fault) }
}

/// Reads a rate: `10/s`.
///
/// # Errors
/// [`NotAQuantity`] where there is no `/s` or the number is negative or not finite.
pub fn per_second(text: &str) -> Result<PerSecond, NotAQuantity> {
    let fault = NotAQuantity { expected: "a rate such as 10/s" };
    let number: f64 = text.strip_suffix("/s").and_then(|n| n.trim().parse().ok()).ok_or(fault)?;
    if number.is_finite() && number >= 0.0 { Ok(PerSecond(number)) } else { Err(fault) }
}

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
            if self.0 >= 1 << shift && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms_are_read() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("10m"), Ok(Duration::from_mins(10)));
        assert_eq!(bytes("32KiB"), Ok(ByteCount(32 << 10)));
        assert_eq!(bytes("7"), Ok(ByteCount(7)));
        assert_eq!(ratio("20%"), Ok(Ratio(0.2)));
        assert_eq!(per_second("10/s"), Ok(PerSecond(10.0)));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in
            ["", "s", "1", "1 fortnight", "-1s", "1.5s", "99999999999999999999h", "18446744073709551615h"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["", "KiB", "1KB", "1k", "-1", "18446744073709551615GiB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
        for text in ["20", "101%", "-1%", "NaN%"] {
            assert!(ratio(text).is_err(), "{text}");
        }
        for text in ["10", "-1/s", "inf/s", "NaN/s"] {
            assert!(per_second(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_print_as_they_are_written() {
        for text in ["512", "32KiB", "1MiB", "5GiB", "1025"] {
            assert_eq!(bytes(text).map(|b| b.to_string()), Ok(text.to_owned()));
        }
    }
}
