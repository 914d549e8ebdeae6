//! The time of a request, as SigV4 writes it.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use crate::units::UnixSeconds;

/// A time in SigV4's form, `20130524T000000Z`, whose first eight characters are the scope's day.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    text: [u8; 16],
    at: UnixSeconds,
}

impl Stamp {
    /// The last second that four digits of a year can write here; earlier than 1970 is not written.
    const LAST: i64 = 253_402_207_200;

    /// Writes a time. Times outside 1970 to 9999 become the nearest that can be written.
    #[must_use]
    pub fn of(at: UnixSeconds) -> Self {
        let at = UnixSeconds(at.0.clamp(0, Self::LAST));
        let time = Timestamp::from_second(at.0).unwrap_or(Timestamp::UNIX_EPOCH);
        Self::written(Offset::UTC.to_datetime(time), at)
    }

    /// Reads `YYYYMMDD'T'HHMMSS'Z'` and nothing else: the form of `x-amz-date`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: &[u8; 16] = text.as_bytes().try_into().ok()?;
        let [y1, y2, y3, y4, mo1, mo2, d1, d2, b'T', h1, h2, m1, m2, s1, s2, b'Z'] = *bytes else {
            return None;
        };
        let (century, year) = (pair(y1, y2)?, pair(y3, y4)?);
        let time = DateTime::new(
            i16::from(century) * 100 + i16::from(year),
            pair(mo1, mo2)?,
            pair(d1, d2)?,
            pair(h1, h2)?,
            pair(m1, m2)?,
            pair(s1, s2)?,
            0,
        )
        .ok()?;
        let at = UnixSeconds(Offset::UTC.to_timestamp(time).ok()?.as_second());
        Some(Self { text: *bytes, at })
    }

    /// Reads a `Date` header: an HTTP date (`Fri, 24 May 2013 00:00:00 GMT`) or the form of
    /// [`Stamp::parse`].
    #[must_use]
    pub fn parse_date(text: &str) -> Option<Self> {
        Self::parse(text).or_else(|| {
            let time = jiff::fmt::rfc2822::parse(text).ok()?;
            let at = UnixSeconds(time.timestamp().as_second());
            (0..=Self::LAST).contains(&at.0).then(|| Self::of(at))
        })
    }

    /// `20130524T000000Z`.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.text).unwrap_or_default()
    }

    /// `20130524`.
    #[must_use]
    pub fn day(&self) -> &str {
        self.text().get(..8).unwrap_or_default()
    }

    /// The same time as a number.
    #[must_use]
    pub fn at(&self) -> UnixSeconds {
        self.at
    }

    /// `2013-05-24T00:00:00Z`, as AWS's error documents write times.
    #[must_use]
    pub fn extended(&self) -> String {
        let part = |from: usize, to: usize| self.text().get(from..to).unwrap_or_default();
        format!(
            "{}-{}-{}T{}:{}:{}Z",
            part(0, 4),
            part(4, 6),
            part(6, 8),
            part(9, 11),
            part(11, 13),
            part(13, 15)
        )
    }

    fn written(time: DateTime, at: UnixSeconds) -> Self {
        let [y1, y2] = digits(time.year() / 100);
        let [y3, y4] = digits(time.year() % 100);
        let [mo1, mo2] = digits(time.month().into());
        let [d1, d2] = digits(time.day().into());
        let [h1, h2] = digits(time.hour().into());
        let [m1, m2] = digits(time.minute().into());
        let [s1, s2] = digits(time.second().into());
        Self { text: [y1, y2, y3, y4, mo1, mo2, d1, d2, b'T', h1, h2, m1, m2, s1, s2, b'Z'], at }
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Two ASCII digits as a number.
fn pair(tens: u8, ones: u8) -> Option<i8> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| (byte - b'0').cast_signed());
    Some(digit(tens)? * 10 + digit(ones)?)
}

/// A number from 0 to 99 as two ASCII digits.
fn digits(number: i16) -> [u8; 2] {
    let number = u8::try_from(number).unwrap_or_default();
    [b'0' + number / 10 % 10, b'0' + number % 10]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_aws_writes_them() {
        let stamp = Stamp::of(UnixSeconds(1_369_353_600));
        assert_eq!((stamp.text(), stamp.day()), ("20130524T000000Z", "20130524"));
        assert_eq!(stamp.extended(), "2013-05-24T00:00:00Z");
        assert_eq!(Stamp::of(UnixSeconds(1_709_251_199)).text(), "20240229T235959Z");
        assert_eq!(Stamp::of(UnixSeconds(i64::MIN)).text(), "19700101T000000Z");
        assert_eq!(Stamp::of(UnixSeconds(i64::MAX)).day(), "99991230");
    }

    #[test]
    fn what_is_written_is_read() {
        for at in [0, 1, 951_782_399, 1_369_353_600, 4_102_444_799, Stamp::LAST] {
            let stamp = Stamp::of(UnixSeconds(at));
            assert_eq!(Stamp::parse(stamp.text()), Some(stamp));
        }
    }

    #[test]
    fn date_headers_are_read_in_both_forms() {
        for text in ["Fri, 24 May 2013 00:00:00 GMT", "20130524T000000Z"] {
            assert_eq!(Stamp::parse_date(text).map(|s| s.at()), Some(UnixSeconds(1_369_353_600)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_time() {
        for text in [
            "",
            "20130524T000000",
            "20130524T000000z",
            "20130524 000000Z",
            "2013-05-24T00:00:00Z",
            "20130532T000000Z",
            "20130230T000000Z",
            "20130524T240000Z",
            "20130524T000060Z",
            "+0130524T000000Z",
            "2013052\u{e4}T00000Z",
            "yesterday",
            "Sun, 24 May 2013 00:00:00 GMT",
        ] {
            assert_eq!(Stamp::parse_date(text), None, "{text}");
        }
    }
}
