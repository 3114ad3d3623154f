//! Network addresses: `host:port`, or `unix:/path` for two ends on one host.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::schema_format::{SchemaFormat, schema_format};

/// Maximum length of a host name in bytes (RFC 1035, section 2.3.4).
const MAX_HOST: usize = 253;
/// Maximum length of a Unix socket's path in bytes, as Linux limits it.
const MAX_PATH: usize = 107;

/// The address of a listener, as configuration files and the API write it.
///
/// ```
/// use app_proxy_api::address::Address;
///
/// let address: Address = "[::1]:8888".parse()?;
/// assert_eq!(address.port(), Some(8888));
/// assert_eq!(address.to_string(), "[::1]:8888");
///
/// let socket: Address = "unix:/run/notes.sock".parse()?;
/// assert_eq!(socket.port(), None);
/// assert!("notes".parse::<Address>().is_err());
/// # Ok::<(), app_proxy_api::address::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Address {
    /// `host:port`; the host is a name or a literal address (IPv6 in brackets).
    Inet {
        /// A name, or a literal address without brackets.
        host: String,
        /// The port; a listener on port 0 gets a free port from the system.
        port: u16,
    },
    /// `unix:/path`.
    Unix(PathBuf),
}

/// An invalid address.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AddressError {
    /// The text has another format, or is too long.
    #[error("address `{0}`: write host:port or unix:/path")]
    Format(String),
    /// The port is not a number from 0 to 65535.
    #[error("address `{0}`: the port must be a number from 0 to 65535")]
    Port(String),
}

schema_format!(
    Address,
    "Address",
    SchemaFormat {
        description: "The address of a listener: `host:port`, or `unix:/path` for two ends on one \
                      host.",
        pattern: concat!(
            r"^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}",
            r"|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$|^unix:/[^\u0000]{1,106}$",
        ),
        max_length: MAX_HOST + ":65535".len(),
        format: None,
        example: "10.0.0.5:8888",
    }
);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.starts_with('/')
                && (2..=MAX_PATH).contains(&path.len())
                && !path.contains('\0')
            {
                Ok(Self::Unix(PathBuf::from(path)))
            } else {
                Err(AddressError::Format(text.to_owned()))
            };
        }
        let (host, port) = text
            .rsplit_once(':')
            .ok_or_else(|| AddressError::Format(text.to_owned()))?;
        let port = port
            .parse()
            .map_err(|_| AddressError::Port(text.to_owned()))?;
        let bracketed = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let valid = match bracketed {
            Some(literal) => literal.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                (1..=MAX_HOST).contains(&host.len())
                    && host
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
            }
        };
        if !valid {
            return Err(AddressError::Format(text.to_owned()));
        }
        Ok(Self::Inet {
            host: bracketed.unwrap_or(host).to_owned(),
            port,
        })
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Inet { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Address {
    /// Returns the port, or `None` for a Unix socket.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Inet { port, .. } => Some(*port),
            Self::Unix(_) => None,
        }
    }

    /// Returns the internet address. Resolving a host name blocks: do not call this on the request
    /// path.
    ///
    /// # Errors
    /// If the name does not resolve, or this is a Unix address.
    pub fn resolve_inet(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Inet { host, port } => match host.parse::<IpAddr>() {
                Ok(ip) => Ok(SocketAddr::new(ip, *port)),
                Err(_) => (host.as_str(), *port)
                    .to_socket_addrs()?
                    .next()
                    .ok_or_else(|| {
                        io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"))
                    }),
            },
            Self::Unix(_) => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not an internet address",
            )),
        }
    }

    /// Returns whether the host is a name that must be resolved.
    #[must_use]
    pub fn is_name(&self) -> bool {
        matches!(self, Self::Inet { host, .. } if host.parse::<IpAddr>().is_err())
    }

    /// Returns the path of a Unix address.
    #[must_use]
    pub fn unix_path(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) => Some(path),
            Self::Inet { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_printed_as_they_were_written() {
        for text in [
            "127.0.0.1:8080",
            "[::1]:80",
            "localhost:0",
            "unix:/run/x.sock",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn invalid_addresses_are_rejected() {
        let (host, path) = (
            format!("{}:1", "h".repeat(254)),
            format!("unix:/{}", "p".repeat(107)),
        );
        for text in [&host, &path, "unix:/a\0b"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
        for text in [
            "",
            "8080",
            ":80",
            "host:",
            "host:70000",
            "unix:",
            "unix:relative",
            "a b:80",
            "[::1:80",
            "::1:80",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
