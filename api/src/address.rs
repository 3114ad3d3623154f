//! Network addresses of the configuration: `host:port`, or `unix:/path` where both ends are on one
//! host.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::schema_format;
use crate::schema_format::SchemaFormat;

/// Longest name of a host, in bytes (RFC 1035, section 2.3.4).
const LONGEST_HOST: usize = 253;
/// Longest path of a Unix socket, in bytes: what the system has room for.
const LONGEST_PATH: usize = 107;

/// Where something listens, as it is written in a configuration or an API call.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Address {
    /// `host:port`; the host is a name or a literal address (IPv6 in brackets).
    Inet {
        /// A name, or a literal address without brackets.
        host: String,
        /// 0 takes a free port where the address is listened on.
        port: u16,
    },
    /// `unix:/path`.
    Unix(PathBuf),
}

/// Why a text is no address.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AddressError {
    /// Neither form fits, or it is too long.
    #[error("address `{0}`: write host:port or unix:/path")]
    Form(String),
    /// The port is not a number from 0 to 65535.
    #[error("address `{0}`: the port is a number from 0 to 65535")]
    Port(String),
}

schema_format!(
    Address,
    "Address",
    SchemaFormat {
        description: "Where something listens: `host:port`, or `unix:/path` where both ends are on one host.",
        pattern: r"^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$|^unix:/[^\u0000]{1,106}$",
        longest: LONGEST_HOST + ":65535".len(),
        format: None,
        example: "10.0.0.5:8888",
    }
);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.starts_with('/')
                && (2..=LONGEST_PATH).contains(&path.len())
                && !path.contains('\0')
            {
                Ok(Self::Unix(PathBuf::from(path)))
            } else {
                Err(AddressError::Form(text.to_owned()))
            };
        }
        let (host, port) = text
            .rsplit_once(':')
            .ok_or_else(|| AddressError::Form(text.to_owned()))?;
        let port = port
            .parse()
            .map_err(|_| AddressError::Port(text.to_owned()))?;
        let bracketed = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let valid = match bracketed {
            Some(literal) => literal.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                (1..=LONGEST_HOST).contains(&host.len())
                    && host
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
            }
        };
        if !valid {
            return Err(AddressError::Form(text.to_owned()));
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
    /// The port; none of a Unix socket.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Inet { port, .. } => Some(*port),
            Self::Unix(_) => None,
        }
    }

    /// Returns the internet address. A host name is looked up, which blocks: call this where the
    /// configuration or the app table changes, never for a request.
    ///
    /// # Errors
    /// When the name does not resolve, or this is a Unix address.
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

    /// Whether a lookup is needed to connect to it.
    #[must_use]
    pub fn is_name(&self) -> bool {
        matches!(self, Self::Inet { host, .. } if host.parse::<IpAddr>().is_err())
    }

    /// The path of a Unix address.
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
    fn both_forms_parse_and_print_alike() {
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
    fn what_is_no_address_is_refused() {
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
