//! Where the log goes. Secrets stay out of it twice: our own types print none (`names::Secret`,
//! `Head`), and the libraries that see raw traffic are not let below `warn` at any level.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing::subscriber::SetGlobalDefaultError;
use tracing::{Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, fmt};

use super::settings::{LogFormat, LogLevel, TelemetrySettings};

/// Installs the process's log on standard error, which leaves standard output to access lines
/// and to what commands print.
///
/// # Errors
/// Where a log is installed already.
pub fn install(settings: &TelemetrySettings) -> Result<(), SetGlobalDefaultError> {
    tracing::subscriber::set_global_default(subscriber(settings, io::stderr))
}

/// The log as `settings` say, written wherever it is told to.
pub fn subscriber<W>(settings: &TelemetrySettings, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = fmt::layer().with_writer(writer).with_ansi(false);
    let lines = match settings.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
    };
    Registry::default().with(lines.with_filter(targets(settings.log)))
}

/// Our own events at `level`; everybody else's at `warn` at most. An allow-list, since hyper,
/// h2, rustls, reqwest and the AWS crates write headers and keys at `debug` and `trace`, and
/// the next one will too.
fn targets(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    };
    let others = LevelFilter::from_level(level).min(LevelFilter::WARN);
    Targets::new().with_default(others).with_target(OURS, level)
}

const OURS: &str = "nearpoint";

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::names::Secret;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(log: LogLevel, format: LogFormat, events: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let settings = TelemetrySettings { log, format, ..TelemetrySettings::default() };
        tracing::subscriber::with_default(subscriber(&settings, move || writer.clone()), events);
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn libraries_below_us_are_not_heard_below_warn() {
        let text = logged(LogLevel::Trace, LogFormat::Text, || {
            for_each_library();
            tracing::trace!("of our own");
        });
        assert!(text.contains("of our own"), "{text}");
        assert!(!text.contains("canary"), "{text}");
        assert!(text.contains("worth a word"), "{text}");
    }

    fn for_each_library() {
        tracing::trace!(target: "hyper::proto::h1::io", "canary");
        tracing::debug!(target: "h2::codec::framed_write", "canary");
        tracing::debug!(target: "rustls::client::hs", "canary");
        tracing::info!(target: "aws_config::profile", "canary");
        tracing::info!(target: "some_new_crate", "canary");
        tracing::warn!(target: "h2::proto", "worth a word");
    }

    #[test]
    fn the_level_holds_for_us_and_caps_the_others() {
        let events = || {
            tracing::error!("first");
            tracing::warn!("second");
            tracing::warn!(target: "hyper", "third");
        };
        let text = logged(LogLevel::Error, LogFormat::Text, events);
        assert!(text.contains("first") && !text.contains("second") && !text.contains("third"), "{text}");
    }

    #[test]
    fn a_line_is_one_json_object_whatever_is_in_it() {
        let text = logged(LogLevel::Info, LogFormat::Json, || {
            tracing::info!(key = "a\r\n\u{1b}[31m\"", secret = ?Secret::from("canary"), "an event");
        });
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["message"], "an event");
        assert_eq!(line["key"], "a\r\n\u{1b}[31m\"");
        assert!(!text.contains("canary") && !text.contains('\u{1b}'), "{text}");
    }
}
