//! Listening addresses, bound before Pingora listens: a Pingora listener that cannot bind ends only
//! its own task, not the daemon.

use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use pingora_core::listeners::{L4BufferSettings, ListenerConfig};
use pingora_core::services::listening::Service;
use socket2::{Domain, Protocol, Socket, Type};

use app_proxy_api::address::Address;

use crate::config::{ConfigError, ConfigFile};

/// An address that a listener can have.
#[derive(Debug)]
pub struct ListenAddress {
    /// The address for Pingora. Its port is a number other than 0.
    address: String,
    /// The same as a configuration has it.
    actual: Address,
    /// The listener's name in the log.
    name: &'static str,
    /// `address` is the path of a Unix socket.
    is_unix: bool,
    /// Reserves a port that the system chose; never listens.
    _reserved: Option<Socket>,
}

impl ListenAddress {
    /// The address, with the actual port.
    #[must_use]
    pub fn address(&self) -> Address {
        self.actual.clone()
    }

    /// Returns whether the address is the path of a Unix socket.
    pub(crate) fn is_unix(&self) -> bool {
        self.is_unix
    }

    /// The address as Pingora's table of sockets has it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.address
    }

    /// The listener's name in the log.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the Pingora service of `application` that listens on the address. A Unix socket is
    /// for this user alone.
    pub fn service<A>(&self, application: A, buffers: Buffers) -> Service<A> {
        let mut service = Service::new(self.name.to_owned(), application);
        service.add_listener(self.endpoint().l4_buffer(buffers.settings()));
        service
    }

    fn endpoint(&self) -> ListenerConfig {
        if self.is_unix {
            ListenerConfig::uds(&self.address).permissions(Permissions::from_mode(0o600))
        } else {
            ListenerConfig::tcp(&self.address)
        }
    }
}

/// The buffers of a connection between its socket and the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buffers {
    /// Those of Pingora: 64 KiB to read, 1460 bytes to write. Its own HTTP code needs them.
    Pingora,
    /// None: for an application that reads and writes whole blocks.
    None,
}

impl Buffers {
    fn settings(self) -> L4BufferSettings {
        match self {
            Self::Pingora => L4BufferSettings::default(),
            Self::None => L4BufferSettings::unbuffered(),
        }
    }
}

/// Reserves an address that `config` names under `key`, and chooses a port for port 0.
///
/// With `inherited` the process that is being upgraded listens on the address already.
///
/// # Errors
/// If the address is in use, not an address of this host, or not permitted.
pub fn reserve(
    config: &ConfigFile,
    key: &str,
    address: &Address,
    name: &'static str,
    inherited: bool,
) -> Result<ListenAddress, ConfigError> {
    bind(address, name, inherited).map_err(|e| {
        let address = address.to_string();
        config.fault_of(&address, key, format!("{address} ({name}): {e}"))
    })
}

fn bind(address: &Address, name: &'static str, inherited: bool) -> io::Result<ListenAddress> {
    let listen = |address: String, actual, is_unix, reserved| ListenAddress {
        address,
        actual,
        name,
        is_unix,
        _reserved: reserved,
    };
    if let Some(path) = address.unix_path() {
        if !inherited && UnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        if !path.parent().unwrap_or(path).is_dir() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "its folder does not exist",
            ));
        }
        return Ok(listen(
            path.display().to_string(),
            address.clone(),
            true,
            None,
        ));
    }
    let wanted = address.resolve_inet()?;
    if inherited && wanted.port() != 0 {
        return Ok(listen(wanted.to_string(), inet(wanted), false, None));
    }
    let (socket, actual) = try_bind(wanted)?;
    let reserved = (wanted.port() == 0).then_some(socket);
    Ok(listen(actual.to_string(), inet(actual), false, reserved))
}

fn inet(address: SocketAddr) -> Address {
    Address::Inet {
        host: address.ip().to_string(),
        port: address.port(),
    }
}

fn try_bind(wanted: SocketAddr) -> io::Result<(Socket, SocketAddr)> {
    let socket = Socket::new(
        Domain::for_address(wanted),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // As Pingora's listeners have it: both sockets can be bound while only one of them listens.
    socket.set_reuse_address(true)?;
    socket.bind(&wanted.into())?;
    if wanted.port() != 0 {
        // Binding succeeds beside a listener of the same user with the same option; listening does
        // not.
        socket.listen(1)?;
    }
    let actual = socket.local_addr()?.as_socket().unwrap_or(wanted);
    Ok((socket, actual))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_0_becomes_a_port_that_can_still_be_listened_on() {
        let bound = bind(&"127.0.0.1:0".parse().unwrap(), "public", false).unwrap();
        let address: SocketAddr = bound.address.parse().unwrap();
        assert_ne!(address.port(), 0);
        std::net::TcpListener::bind(address).unwrap();
    }

    #[test]
    fn only_a_connection_without_buffers_costs_no_memory_for_them() {
        let sizes = |buffers: Buffers| {
            let settings = buffers.settings();
            (settings.read_capacity(), settings.write_capacity())
        };
        assert_eq!(sizes(Buffers::Pingora), (64 * 1024, 1460));
        assert_eq!(sizes(Buffers::None), (0, 0));
    }

    #[test]
    fn a_service_listens_on_the_address_with_and_without_buffers() {
        for address in ["127.0.0.1:0", "unix:/tmp/app-proxy.sock"] {
            let bound = bind(&address.parse().unwrap(), "public", true).unwrap();
            for buffers in [Buffers::Pingora, Buffers::None] {
                let mut service = bound.service((), buffers);
                assert_eq!(service.endpoints().addresses(), [bound.as_str()]);
            }
        }
    }

    #[test]
    fn an_address_in_use_is_rejected() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let error = bind(&address.parse().unwrap(), "admin", false)
            .unwrap_err()
            .to_string();
        assert!(error.to_lowercase().contains("in use"), "{error}");
        assert!(bind(&address.parse().unwrap(), "admin", true).is_ok());
    }
}
