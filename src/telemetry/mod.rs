//! Room: telemetry.

pub mod settings;

pub use settings::{AccessLogTo, LogFormat, LogLevel, NotAWord, TelemetrySettings};
