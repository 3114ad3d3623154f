//! From a YAML file to a validated configuration.
//!
//! One file holds Pingora's own keys at the top level and ours in one section. Pingora ignores what
//! it does not know, so the file is read twice: once by Pingora, once here, where a misspelt key or
//! a bad value ends the start with one line that names the file, the line and the key.

mod load;
mod sections;
mod units;

pub use load::{ConfigError, ConfigFile, ConfigPath};
pub use sections::{
    AccessLogSection, AdminSection, DrainSection, LimitsSection, LogFormat, RequestIdSection,
    TimeoutsSection, WebSocketSection,
};
pub use units::{ByteSize, Period};
