//! Diagnostics on standard error: `env_logger`, with a filter that can change at runtime.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use env_logger::Logger;
use log::{Level, LevelFilter, Log, Metadata, Record};
use serde::Deserialize;

use crate::pingora;

/// The environment variable that overrides the configuration.
const ENVIRONMENT: &str = "RUST_LOG";

/// A filter of log lines: a level, levels of single targets, or both, in `env_logger`'s syntax
/// (`warn,app_proxy_hop=debug`).
///
/// Stricter than `env_logger`, which reads a misspelt level as the name of a target.
///
/// ```
/// use app_proxy_runtime::daemon::LogFilter;
///
/// assert!("warn,app_proxy_hop=debug".parse::<LogFilter>().is_ok());
/// assert!("wran".parse::<LogFilter>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct LogFilter(String);

/// A text that is not a [`LogFilter`].
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is not a log level: write off, error, warn, info, debug or trace, \
     or warn,app_proxy_hop=debug"
)]
pub struct LogFilterError(String);

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl FromStr for LogFilter {
    type Err = LogFilterError;

    fn from_str(text: &str) -> Result<Self, LogFilterError> {
        let target = |name: &str| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b':'))
        };
        for part in text.split(',').map(str::trim) {
            let level = match part.split_once('=') {
                Some((name, level)) if target(name.trim()) => level.trim(),
                Some(_) => return Err(LogFilterError(part.to_owned())),
                None => part,
            };
            if level.parse::<LevelFilter>().is_err() {
                return Err(LogFilterError(part.to_owned()));
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for LogFilter {
    type Error = LogFilterError;

    fn try_from(text: String) -> Result<Self, LogFilterError> {
        text.parse()
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl LogFilter {
    /// The filter for `env_logger`. Pingora's `info` lines are left out unless the filter names
    /// their targets.
    fn directives(&self) -> String {
        let general = self
            .0
            .split(',')
            .filter_map(|part| part.trim().parse::<LevelFilter>().ok())
            .next_back();
        match general {
            Some(level) if level > LevelFilter::Warn => {
                format!("{},{}", pingora::LOG_FILTER, self.0)
            }
            _ => self.0.clone(),
        }
    }
}

/// A handle to the process's diagnostics; clones share them.
#[derive(Clone)]
pub struct Logging {
    current: Arc<ArcSwap<Logger>>,
    /// The environment sets the filter.
    from_environment: bool,
}

impl Logging {
    /// Starts diagnostics with the filter in `RUST_LOG`, or `info`. The `log` crate accepts one
    /// logger for the life of the process: the handle of a second call has no effect.
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

    /// Sets the filter, from the next line on. Returns whether it was set: `RUST_LOG` takes
    /// precedence.
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

    /// Returns whether `RUST_LOG` sets the filter.
    pub(super) fn is_from_environment(&self) -> bool {
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

/// The `log` crate's logger: forwards to the current one.
struct Current(Arc<ArcSwap<Logger>>);

impl Log for Current {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.load().enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        let logger = self.0.load();
        if pingora::is_false_alarm(record) {
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
    fn misspelt_levels_are_rejected() {
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
    fn pingora_logs_less_than_the_rest_and_never_more() {
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
