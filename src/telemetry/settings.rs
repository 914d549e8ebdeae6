//! What the logs are told: how much, in which form, where to. Pure.

use std::path::PathBuf;
use std::str::FromStr;

/// How much is logged. Whatever the level, libraries below us that see raw traffic stay at
/// `warn` (`telemetry::log`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// An operator must act.
    Error,
    /// An operator may act.
    Warn,
    /// Changes of state.
    #[default]
    Info,
    /// Decisions.
    Debug,
    /// Everything of our own.
    Trace,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For eyes.
    Text,
    /// One JSON object a line.
    #[default]
    Json,
}

/// Where access lines go. Text forms: `off`, `stdout`, `stderr`, an absolute path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AccessLogTo {
    /// Nowhere.
    Off,
    /// Standard output; the log proper then goes to standard error.
    #[default]
    Stdout,
    /// Standard error.
    Stderr,
    /// Appended to a file.
    File(PathBuf),
}

/// The `telemetry` section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TelemetrySettings {
    /// How much is logged; default `info`.
    pub log: LogLevel,
    /// Where access lines go; default `stdout`.
    pub access_log: AccessLogTo,
    /// The form of log lines (access lines are always JSON); default `json`.
    pub format: LogFormat,
}

/// A text that is none of the words expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub struct NotAWord {
    /// The words, as an operator writes them.
    pub expected: &'static str,
}

impl FromStr for LogLevel {
    type Err = NotAWord;

    fn from_str(text: &str) -> Result<Self, NotAWord> {
        match text {
            "error" => Ok(Self::Error),
            "warn" => Ok(Self::Warn),
            "info" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            "trace" => Ok(Self::Trace),
            _ => Err(NotAWord { expected: "error, warn, info, debug or trace" }),
        }
    }
}

impl FromStr for LogFormat {
    type Err = NotAWord;

    fn from_str(text: &str) -> Result<Self, NotAWord> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(NotAWord { expected: "text or json" }),
        }
    }
}

impl FromStr for AccessLogTo {
    type Err = NotAWord;

    fn from_str(text: &str) -> Result<Self, NotAWord> {
        match text {
            "off" => Ok(Self::Off),
            "stdout" => Ok(Self::Stdout),
            "stderr" => Ok(Self::Stderr),
            path if path.starts_with('/') => Ok(Self::File(PathBuf::from(path))),
            _ => Err(NotAWord { expected: "off, stdout, stderr or an absolute path" }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_exactly() {
        assert_eq!("trace".parse(), Ok(LogLevel::Trace));
        assert_eq!("text".parse(), Ok(LogFormat::Text));
        assert_eq!("/var/log/access".parse(), Ok(AccessLogTo::File(PathBuf::from("/var/log/access"))));
        assert!("Info".parse::<LogLevel>().is_err());
        assert!("yaml".parse::<LogFormat>().is_err());
        assert!("access.log".parse::<AccessLogTo>().is_err());
    }
}
