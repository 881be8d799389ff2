//! Addresses of peers, packed: there are 100 000 connections, and most of them speak IPv4.

use std::net::{Ipv4Addr, SocketAddr};

use slab::Slab;

/// The address of one peer in six bytes, to be read by [`Peers`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    /// An IPv4 address; without a port, the place of a larger address.
    bytes: [u8; 4],
    port: [u8; 2],
}

impl Peer {
    fn place(self) -> Option<usize> {
        let is_apart = self.port == [0; 2];
        is_apart.then(|| u32::from_be_bytes(self.bytes) as usize)
    }
}

/// Addresses that do not fit into a [`Peer`]: IPv6, and the port zero that nobody should have.
#[derive(Debug)]
pub(super) struct Peers {
    apart: Slab<SocketAddr>,
}

impl Peers {
    /// Bytes that an address takes beyond its [`Peer`], at most.
    pub(super) const BYTES: usize = size_of::<Option<SocketAddr>>();

    /// Reserves address space for so many.
    pub(super) fn with_capacity(count: usize) -> Self {
        Self {
            apart: Slab::with_capacity(count),
        }
    }

    /// Takes an address in, until [`forget`](Self::forget).
    pub(super) fn keep(&mut self, addr: SocketAddr) -> Peer {
        match addr {
            SocketAddr::V4(v4) if v4.port() != 0 => Peer {
                bytes: v4.ip().octets(),
                port: v4.port().to_be_bytes(),
            },
            SocketAddr::V4(_) | SocketAddr::V6(_) => {
                let place = u32::try_from(self.apart.insert(addr)).expect("peers have slots");
                Peer {
                    bytes: place.to_be_bytes(),
                    port: [0; 2],
                }
            }
        }
    }

    /// Returns an address that was taken in.
    pub(super) fn addr(&self, peer: Peer) -> SocketAddr {
        match peer.place() {
            Some(place) => self.apart[place],
            None => {
                let ip = Ipv4Addr::from(peer.bytes);
                (ip, u16::from_be_bytes(peer.port)).into()
            }
        }
    }

    /// Lets an address go, and returns it.
    pub(super) fn forget(&mut self, peer: Peer) -> SocketAddr {
        let addr = self.addr(peer);
        if let Some(place) = peer.place() {
            self.apart.remove(place);
        }
        addr
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_comes_back_as_it_was() {
        let mut peers = Peers::with_capacity(0);
        let addrs = [
            "192.0.2.1:65535",
            "127.0.0.1:1",
            "192.0.2.1:0",
            "[2001:db8::1]:9001",
            "[::ffff:192.0.2.1]:9001",
            "[fe80::1%7]:0",
        ]
        .map(|addr| addr.parse::<SocketAddr>().expect("an address"));
        let kept = addrs.map(|addr| peers.keep(addr));
        for (addr, peer) in addrs.into_iter().zip(kept) {
            assert_eq!(peers.addr(peer), addr);
        }
        for (addr, peer) in addrs.into_iter().zip(kept) {
            assert_eq!(peers.forget(peer), addr);
        }
        assert!(peers.apart.is_empty());
    }

    #[test]
    fn an_address_takes_little_room() {
        assert_eq!(size_of::<Peer>(), 6);
        let mut peers = Peers::with_capacity(0);
        peers.keep(([192, 0, 2, 1], 9_001).into());
        assert_eq!(peers.apart.capacity(), 0, "IPv4 stays out of the table");
    }
}
