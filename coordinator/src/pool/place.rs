//! The place of a worker on the rings, which comes from its identifier alone.
//!
//! A ring hashes an IP address and a port for each worker. Every worker gets an address derived
//! from its identifier, the same at every coordinator and in every version; no connection uses it.
//! A worker may therefore change its listener, and keeps its sessions.

use std::net::{Ipv6Addr, SocketAddrV6};

use http::Extensions;
use pingora_core::protocols::l4::socket::SocketAddr as PeerAddr;
use pingora_load_balancing::Backend;
use sha2::{Digest, Sha256};

/// The domain of the hash: place version 1. Another version moves sessions that are not pinned, and
/// coordinators of different versions disagree about them.
const CONTEXT: &[u8] = b"app-proxy worker place v1\0";

/// The number of a worker's listener in this process; a worker that changes its address gets the
/// next one.
pub(super) type ListenerNumber = u32;

/// Returns the entry of a worker on the rings.
///
/// The ring hashes the IP address and the port only. The scope of the address is the number of the
/// listener, so that the entry of a worker that has moved differs, and its health starts anew.
pub(super) fn backend(id: &str, listener: ListenerNumber, weight: u16) -> Backend {
    let place = SocketAddrV6::new(address(id), 1, 0, listener);
    Backend {
        addr: PeerAddr::Inet(place.into()),
        weight: usize::from(weight),
        ext: Extensions::new(),
    }
}

/// Returns `fd` and the first 15 bytes of a SHA-256 digest: a unique local address (RFC 4193),
/// which has one text form (RFC 5952). The ring hashes that text.
fn address(id: &str) -> Ipv6Addr {
    let digest = Sha256::new()
        .chain_update(CONTEXT)
        .chain_update(id)
        .finalize();
    let mut octets = [0xfd; 16];
    octets
        .iter_mut()
        .skip(1)
        .zip(digest)
        .for_each(|(octet, byte)| *octet = byte);
    octets.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_an_identifier_never_changes() {
        for (id, address_of_id) in [
            ("w1", "fdca:8105:f537:e074:9917:1a19:5dd6:268b"),
            ("", "fdd3:4ff1:9675:5f1e:b759:f00a:f84:ee21"),
            ("worker-eu-1", "fdd8:33a8:6c87:f876:9562:6c4b:8694:6f23"),
        ] {
            assert_eq!(address(id).to_string(), address_of_id, "{id}");
        }
    }
}
