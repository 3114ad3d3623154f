//! Diagnostics on standard error: `env_logger` behind a handle that can change what is logged while
//! the daemon runs.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use env_logger::Logger;
use log::{Level, LevelFilter, Log, Metadata, Record};
use serde::Deserialize;

/// Wins over the configuration where it is set.
const ENVIRONMENT: &str = "RUST_LOG";
/// What Pingora says at level `info` that matters to itself alone: each service that starts and
/// each signal.
const QUIETER: &str = "pingora_core::services=warn,pingora_core::server::bootstrap_services=warn";

/// What is logged: a level, levels of single targets, or both, as `env_logger` writes them
/// (`warn,app_proxy_hop=debug`).
///
/// Narrower than `env_logger`, to which a misspelt level is the name of a target.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct LogFilter(String);

/// A text is no [`LogFilter`].
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is no log level: write off, error, warn, info, debug or trace, or warn,app_proxy_hop=debug"
)]
pub struct BadFilter(String);

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl FromStr for LogFilter {
    type Err = BadFilter;

    fn from_str(text: &str) -> Result<Self, BadFilter> {
        let target = |name: &str| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b':'))
        };
        for part in text.split(',').map(str::trim) {
            let level = match part.split_once('=') {
                Some((name, level)) if target(name.trim()) => level.trim(),
                Some(_) => return Err(BadFilter(part.to_owned())),
                None => part,
            };
            if level.parse::<LevelFilter>().is_err() {
                return Err(BadFilter(part.to_owned()));
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for LogFilter {
    type Error = BadFilter;

    fn try_from(text: String) -> Result<Self, BadFilter> {
        text.parse()
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl LogFilter {
    /// As `env_logger` is told it. Pingora is kept quiet unless less than that is logged anyway;
    /// what the text says of the same targets wins.
    fn directives(&self) -> String {
        let general = self
            .0
            .split(',')
            .filter_map(|part| part.trim().parse::<LevelFilter>().ok())
            .next_back();
        match general {
            Some(level) if level > LevelFilter::Warn => format!("{QUIETER},{}", self.0),
            _ => self.0.clone(),
        }
    }
}

/// Diagnostics of the process; clones share them.
#[derive(Clone)]
pub struct Logging {
    current: Arc<ArcSwap<Logger>>,
    /// Whether the environment says what is logged.
    from_environment: bool,
}

impl Logging {
    /// Starts diagnostics by `RUST_LOG`, at `info` without it. The `log` crate takes one logger for
    /// the life of the process: a second call gives a handle that changes nothing.
    #[must_use]
    pub fn start() -> Self {
        let environment = std::env::var(ENVIRONMENT)
            .ok()
            .filter(|text| !text.trim().is_empty());
        let logger = logger(
            environment
                .as_deref()
                .unwrap_or(&LogFilter::default().directives()),
        );
        let level = logger.filter();
        let logging = Self {
            current: Arc::new(ArcSwap::from_pointee(logger)),
            from_environment: environment.is_some(),
        };
        if log::set_boxed_logger(Box::new(Current(Arc::clone(&logging.current)))).is_ok() {
            log::set_max_level(level);
        }
        logging
    }

    /// Changes what is logged, from the next line on. Says whether that was done: `RUST_LOG` wins
    /// where it is set.
    pub fn set_level(&self, filter: &LogFilter) -> bool {
        if self.from_environment {
            return false;
        }
        let logger = logger(&filter.directives());
        let level = logger.filter();
        self.current.store(Arc::new(logger));
        log::set_max_level(level);
        true
    }

    /// Whether `RUST_LOG` says what is logged, and no configuration does.
    #[must_use]
    pub fn is_from_environment(&self) -> bool {
        self.from_environment
    }
}

fn logger(directives: &str) -> Logger {
    env_logger::Builder::new()
        .parse_filters(directives)
        .parse_write_style(&style())
        .build()
}

fn style() -> String {
    std::env::var(env_logger::DEFAULT_WRITE_STYLE_ENV).unwrap_or_else(|_| "auto".to_owned())
}

/// Whether Pingora calls an error what is none: a kept connection that is handed from one thread to
/// another in the moment in which it is let go is given up, and another one is used. Where clients
/// come one after the other, some requests in a hundred see it.
fn is_no_error(record: &Record<'_>) -> bool {
    record.target() == "pingora_core::connectors"
        && record.args().as_str() == Some("failed to acquire reusable stream")
}

/// What the `log` crate is given: the logger of the moment.
struct Current(Arc<ArcSwap<Logger>>);

impl Log for Current {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.load().enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        let logger = self.0.load();
        if is_no_error(record) {
            logger.log(
                &Record::builder()
                    .target(record.target())
                    .level(Level::Debug)
                    .args(*record.args())
                    .build(),
            );
        } else {
            logger.log(record);
        }
    }

    fn flush(&self) {
        self.0.load().flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enabled(directives: &str, target: &str, level: Level) -> bool {
        logger(directives).enabled(&Metadata::builder().target(target).level(level).build())
    }

    #[test]
    fn levels_and_targets_are_taken_and_misspelt_ones_are_not() {
        for good in [
            "info",
            "OFF",
            "warn,app_proxy_hop=debug",
            "app_proxy_hop::drain=trace",
            " warn , a=info",
        ] {
            assert!(good.parse::<LogFilter>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "inof",
            "app_proxy_hop",
            "info,",
            "a=loud",
            "=info",
            "info/regex",
            "a=b=info",
        ] {
            assert!(bad.parse::<LogFilter>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_connection_that_was_given_up_is_no_error() {
        let is =
            |target: &str, args| is_no_error(&Record::builder().target(target).args(args).build());
        assert!(is(
            "pingora_core::connectors",
            format_args!("failed to acquire reusable stream")
        ));
        assert!(!is(
            "pingora_core::connectors",
            format_args!("failed to acquire")
        ));
        assert!(!is(
            "app_proxy_hop",
            format_args!("failed to acquire reusable stream")
        ));
    }

    #[test]
    fn pingora_is_quieter_than_the_rest_and_never_louder() {
        let directives = |text: &str| text.parse::<LogFilter>().unwrap().directives();
        let services = "pingora_core::services::background";
        for (text, target, level, expected) in [
            ("info", "app_proxy_hop", Level::Info, true),
            ("info", services, Level::Info, false),
            ("info", services, Level::Warn, true),
            (
                "info,pingora_core::services=info",
                services,
                Level::Info,
                true,
            ),
            ("error", services, Level::Warn, false),
            ("app_proxy_hop=debug", services, Level::Warn, false),
            (
                "warn,app_proxy_hop=debug",
                "app_proxy_hop::drain",
                Level::Debug,
                true,
            ),
            (
                "warn,app_proxy_hop=debug",
                "app_proxy_worker",
                Level::Info,
                false,
            ),
        ] {
            assert_eq!(
                enabled(&directives(text), target, level),
                expected,
                "{text} {target} {level}"
            );
        }
    }
}
