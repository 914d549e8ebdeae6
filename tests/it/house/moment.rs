//! Wall time and its text forms.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// How wrong this process's clock is, seconds.
static SKEW: AtomicI64 = AtomicI64::new(0);

/// The machine's wall clock, wrong by what [`be_wrong_by`] said.
#[expect(clippy::disallowed_methods, reason = "tests sign for the real time")]
pub fn now() -> SystemTime {
    shifted(SystemTime::now(), SKEW.load(Ordering::Relaxed))
}

/// Makes this process's clock wrong, for a region in a process of its own.
pub fn be_wrong_by(seconds: i64) {
    SKEW.store(seconds, Ordering::Relaxed);
}

/// The machine's monotonic clock.
#[expect(clippy::disallowed_methods, reason = "regions date what they see in real time")]
pub fn mono() -> Instant {
    Instant::now()
}

/// `time` moved by seconds, either way.
pub fn shifted(time: SystemTime, seconds: i64) -> SystemTime {
    let by = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { time - by } else { time + by }
}

/// `20261123T224550Z`.
pub fn amz(time: SystemTime) -> String {
    form(time, "%Y%m%dT%H%M%SZ")
}

/// `Mon, 23 Nov 2026 22:45:50 GMT`.
pub fn http_date(time: SystemTime) -> String {
    form(time, "%a, %d %b %Y %H:%M:%S GMT")
}

/// `2026-11-23T22:45:50.123Z`.
pub fn iso(time: SystemTime) -> String {
    form(time, "%Y-%m-%dT%H:%M:%S.%3fZ")
}

/// Reads `20261123T224550Z`.
pub fn of_amz(text: &str) -> Option<SystemTime> {
    of(text, "%Y%m%dT%H%M%SZ")
}

/// Reads `Mon, 23 Nov 2026 22:45:50 GMT`.
pub fn of_http(text: &str) -> Option<SystemTime> {
    of(text, "%a, %d %b %Y %H:%M:%S GMT")
}

fn form(time: SystemTime, format: &str) -> String {
    let stamp = Timestamp::try_from(time).unwrap();
    TimeZone::UTC.to_datetime(stamp).strftime(format).to_string()
}

fn of(text: &str, format: &str) -> Option<SystemTime> {
    let civil = DateTime::strptime(format, text).ok()?;
    TimeZone::UTC.to_timestamp(civil).ok()?.try_into().ok()
}
