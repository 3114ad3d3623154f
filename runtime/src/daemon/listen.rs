//! Listening addresses, checked before Pingora binds them: a listener that cannot bind would only
//! end its own task.

use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use pingora_core::services::listening::Service;
use socket2::{Domain, Protocol, Socket, Type};

use app_proxy_api::address::Address;

/// An address that a listener can have.
#[derive(Debug)]
pub struct Bound {
    /// What to give to Pingora; the port is a number other than 0.
    pub address: String,
    /// What the log calls it.
    pub name: &'static str,
    /// Whether `address` is the path of a Unix socket.
    pub is_unix: bool,
    /// Holds a port that the system chose until Pingora has it; it never listens.
    _holder: Option<Socket>,
}

impl Bound {
    /// The address as a configuration writes it.
    #[must_use]
    pub fn display(&self) -> String {
        if self.is_unix {
            format!("unix:{}", self.address)
        } else {
            self.address.clone()
        }
    }

    /// Makes a Pingora service listen on it. A Unix socket is for this user alone.
    pub fn listen<A>(&self, service: &mut Service<A>) {
        if self.is_unix {
            service.add_uds(&self.address, Some(Permissions::from_mode(0o600)));
        } else {
            service.add_tcp(&self.address);
        }
    }
}

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("{address} ({name}): {cause}")]
pub struct BindError {
    address: Address,
    name: &'static str,
    cause: io::Error,
}

/// Checks that `address` can be listened on, and takes a free port for port 0.
///
/// With `inherited` the address belongs to the daemon that is being succeeded, so that it is in use
/// rightly.
///
/// # Errors
/// When it is in use, not an address of this host, or not permitted.
pub fn bind(address: &Address, name: &'static str, inherited: bool) -> Result<Bound, BindError> {
    let fail = |cause| BindError {
        address: address.clone(),
        name,
        cause,
    };
    if let Some(path) = address.unix_path() {
        if !inherited && UnixStream::connect(path).is_ok() {
            return Err(fail(io::ErrorKind::AddrInUse.into()));
        }
        let folder = path.parent().unwrap_or(path);
        if !folder.is_dir() {
            return Err(fail(io::Error::new(
                io::ErrorKind::NotFound,
                "its folder does not exist",
            )));
        }
        return Ok(Bound {
            address: path.display().to_string(),
            name,
            is_unix: true,
            _holder: None,
        });
    }
    let wanted = address.resolve_inet().map_err(fail)?;
    if inherited && wanted.port() != 0 {
        return Ok(Bound {
            address: wanted.to_string(),
            name,
            is_unix: false,
            _holder: None,
        });
    }
    let (socket, actual) = try_bind(wanted).map_err(fail)?;
    let holder = (wanted.port() == 0).then_some(socket);
    Ok(Bound {
        address: actual.to_string(),
        name,
        is_unix: false,
        _holder: holder,
    })
}

fn try_bind(wanted: SocketAddr) -> io::Result<(Socket, SocketAddr)> {
    let socket = Socket::new(
        Domain::for_address(wanted),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // As Pingora's own listeners: the two can then be bound together as long as only one listens.
    socket.set_reuse_address(true)?;
    socket.bind(&wanted.into())?;
    if wanted.port() != 0 {
        // Binding alone succeeds beside a listener of the same user that has the option too;
        // listening does not.
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
    fn an_address_in_use_is_refused_with_its_name() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let error = bind(&address.parse().unwrap(), "admin", false)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with(&format!("{address} (admin): ")),
            "{error}"
        );
        assert!(error.to_lowercase().contains("in use"), "{error}");
        assert!(bind(&address.parse().unwrap(), "admin", true).is_ok());
    }
}
