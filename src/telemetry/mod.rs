//! Room: telemetry. What operators see: metrics, access lines, logs. Soil: every room may use it.

pub mod access;
pub mod log;
pub mod metric;
pub mod settings;

pub use settings::{AccessLogTo, LogFormat, LogLevel, NotAWord, TelemetrySettings};
