//! Free ports of loopback.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, Result};

/// Allocates ports below those that the kernel uses for outgoing connections, so that none of the
/// client's many connections occupies a port before its server has bound it.
#[derive(Debug)]
pub struct Ports {
    next: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self { next: 20_000 }
    }
}

impl Ports {
    /// An address where nothing listens.
    ///
    /// # Errors
    /// There is none left.
    pub fn free(&mut self) -> Result<SocketAddr> {
        let free = (self.next..32_000)
            .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
            .find(|address| TcpListener::bind(address).is_ok())
            .context("no port of 127.0.0.1 between 20000 and 32000 is free")?;
        self.next = free.port() + 1;
        Ok(free)
    }
}
