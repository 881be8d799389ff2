//! Addresses of peers, packed: there are 100 000 connections, and most of them speak IPv4.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::token::SLOT_BITS;
use crate::peer::PeerAddr;

/// The address of one peer in six bytes, to be read by [`Peers`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    /// An IPv4 address; or, where it is a multicast one (class D: RFC 1112, section 4), the place of an
    /// address that does not fit. No peer has a multicast address itself: TCP neither dials one nor heeds
    /// a SYN from one (RFC 1122, section 4.2.3.10).
    ip: Ipv4Addr,
    port: [u8; 2],
}

impl Peer {
    fn port(self) -> u16 {
        u16::from_be_bytes(self.port)
    }

    fn place(self) -> Option<u32> {
        let is_apart = self.ip.is_multicast();
        is_apart.then(|| self.ip.to_bits() - MULTICAST)
    }
}

/// The first multicast address, and the bits that tell one from another.
const MULTICAST: u32 = 0b1110 << PLACE_BITS;
const PLACE_BITS: u32 = 28;

const _: () = assert!(
    SLOT_BITS <= PLACE_BITS,
    "every connection's address may be apart"
);

/// Addresses that do not fit into a [`Peer`].
#[derive(Debug)]
pub(super) struct Peers {
    apart: Table,
    /// By place, the rare ones that an IPv6 address and a port do not tell: those with a scope or a flow,
    /// Unix sockets, clients of a proxy, and what claims to be an IPv4 multicast address after all.
    odd: HashMap<u32, PeerAddr>,
}

impl Peers {
    /// Bytes that an address takes beyond its [`Peer`], unless it is odd.
    pub(super) const BYTES: usize = Table::ENTRY;

    /// Reserves address space for so many.
    pub(super) fn with_capacity(count: usize) -> Self {
        Self {
            apart: Table::with_capacity(count),
            odd: HashMap::new(),
        }
    }

    /// Takes an address in, until [`forget`](Self::forget).
    pub(super) fn keep(&mut self, addr: PeerAddr) -> Peer {
        let port = addr.port().unwrap_or_default().to_be_bytes();
        let ip = match addr.ip() {
            Some(IpAddr::V4(ip)) if addr.proxy().is_none() && !ip.is_multicast() => ip,
            _ => Ipv4Addr::from_bits(MULTICAST + self.keep_apart(addr)),
        };
        Peer { ip, port }
    }

    fn keep_apart(&mut self, addr: PeerAddr) -> u32 {
        let ip = match addr.ip() {
            Some(IpAddr::V4(ip)) => ip.to_ipv6_mapped(),
            Some(IpAddr::V6(ip)) => ip,
            None => Ipv6Addr::UNSPECIFIED,
        };
        let place = self.apart.insert(ip);
        let plain: SocketAddr = (ip, addr.port().unwrap_or_default()).into();
        if addr != plain {
            self.odd.insert(place, addr);
        }
        place
    }

    /// Returns an address that was taken in.
    pub(super) fn addr(&self, peer: Peer) -> PeerAddr {
        let Some(place) = peer.place() else {
            return SocketAddr::from((peer.ip, peer.port())).into();
        };
        match self.odd.get(&place) {
            Some(addr) => addr.clone(),
            None => SocketAddr::from((self.apart.get(place), peer.port())).into(),
        }
    }

    /// Lets an address go, and returns it.
    pub(super) fn forget(&mut self, peer: Peer) -> PeerAddr {
        let addr = self.addr(peer);
        if let Some(place) = peer.place() {
            self.apart.remove(place);
            self.odd.remove(&place);
        }
        addr
    }
}

/// IPv6 addresses without a tag, which would take half as much again: whoever has a place knows that it
/// is taken.
#[derive(Debug)]
struct Table {
    /// Addresses; in a vacant place, the place that is `next` after it.
    entries: Vec<u128>,
    /// The place to be taken next: a vacant one, or the one behind the last.
    next: u32,
}

impl Table {
    const ENTRY: usize = size_of::<u128>();

    fn with_capacity(count: usize) -> Self {
        Self {
            entries: Vec::with_capacity(count),
            next: 0,
        }
    }

    fn insert(&mut self, ip: Ipv6Addr) -> u32 {
        let place = self.next;
        match self.entries.get_mut(place as usize) {
            Some(entry) => {
                self.next = *entry as u32;
                *entry = ip.to_bits();
            }
            None => {
                self.entries.push(ip.to_bits());
                self.next = place + 1;
            }
        }
        place
    }

    fn get(&self, place: u32) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.entries[place as usize])
    }

    fn remove(&mut self, place: u32) {
        self.entries[place as usize] = self.next.into();
        self.next = place;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::SocketAddr as UnixAddr;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    fn addr(text: &str) -> PeerAddr {
        let addr: SocketAddr = text.parse().expect("an address");
        addr.into()
    }

    fn unix(path: &str) -> PeerAddr {
        UnixAddr::from_pathname(path).expect("it fits").into()
    }

    #[test]
    fn every_address_comes_back_as_it_was() {
        let mut peers = Peers::with_capacity(0);
        let addrs = [
            "192.0.2.1:65535",
            "127.0.0.1:1",
            "192.0.2.1:0",
            "0.0.0.0:0",
            "223.255.255.255:9001",
            "224.0.0.0:9001",
            "239.255.255.255:0",
            "240.0.0.0:9001",
            "255.255.255.255:65535",
            "[::]:0",
            "[::1]:65535",
            "[2001:db8::1]:9001",
            "[::ffff:192.0.2.1]:9001",
            "[::ffff:224.0.0.1]:9001",
            "[fe80::1%7]:0",
            "[ff02::1]:1",
            "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535",
        ]
        .map(addr)
        .into_iter()
        .chain([
            unix("/run/app.sock"),
            unix(""),
            addr("203.0.113.7:4711").behind(addr("192.0.2.1:9001")),
            addr("[2001:db8::1]:9001").behind(addr("192.0.2.1:9001")),
            unix("/run/app.sock").behind(addr("[::]:0")),
        ]);
        let addrs: Vec<_> = addrs.collect();
        let kept: Vec<_> = addrs.iter().map(|addr| peers.keep(addr.clone())).collect();
        for (addr, &peer) in addrs.iter().zip(&kept) {
            assert_eq!(peers.addr(peer), *addr);
        }
        for (addr, peer) in addrs.into_iter().zip(kept) {
            assert_eq!(peers.forget(peer), addr);
        }
        assert!(peers.odd.is_empty());
    }

    #[test]
    fn a_place_that_is_vacant_is_taken_again() {
        let mut peers = Peers::with_capacity(0);
        let [odd, long] = ["[fe80::1%7]:1", "[2001:db8::1]:1"].map(addr);
        let first = peers.keep(odd.clone());
        let second = peers.keep(long.clone());
        assert_eq!((first.place(), second.place()), (Some(0), Some(1)));
        peers.forget(first);
        assert_eq!(peers.keep(long.clone()).place(), Some(0));
        assert_eq!(peers.addr(first), long, "nothing is left of the odd one");
        assert_eq!(peers.keep(odd).place(), Some(2));
    }

    #[test]
    fn the_last_place_of_all_fits_beside_the_mark() {
        let last = (1 << SLOT_BITS) - 1;
        let ip = Ipv4Addr::from_bits(MULTICAST + last);
        let peer = Peer { ip, port: [0; 2] };
        assert_eq!(peer.place(), Some(last));
    }

    #[test]
    fn an_address_takes_little_room() {
        assert_eq!(size_of::<Peer>(), 6);
        let mut peers = Peers::with_capacity(0);
        peers.keep(addr("192.0.2.1:9001"));
        assert_eq!(peers.apart.entries.capacity(), 0, "IPv4 stays out of it");

        const COUNT: u16 = 1_000;
        let memory = allocation_counter::measure(|| {
            let mut peers = Peers::with_capacity(COUNT.into());
            for port in 0..COUNT {
                peers.keep(SocketAddr::from((Ipv6Addr::LOCALHOST, port)).into());
            }
        });
        let bytes = Peers::BYTES as u64 * u64::from(COUNT);
        assert_eq!((memory.count_total, memory.bytes_total), (1, bytes));
        assert_eq!(Peers::BYTES, 16);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Keep(PeerAddr),
        Forget(Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        let multicast = (224_u8..=239, any::<[u8; 3]>(), any::<u16>());
        let multicast = multicast.prop_map(|(a, [b, c, d], port)| ([a, b, c, d], port).into());
        let plain = any::<(Ipv6Addr, u16)>().prop_map(SocketAddr::from);
        prop_oneof![
            any::<SocketAddr>().prop_map(|addr| Step::Keep(addr.into())),
            plain.prop_map(|addr| Step::Keep(addr.into())),
            multicast.prop_map(|addr: SocketAddr| Step::Keep(addr.into())),
            any::<[SocketAddr; 2]>()
                .prop_map(|[client, proxy]| Step::Keep(PeerAddr::from(client).behind(proxy))),
            "(/[a-z]{1,9})?".prop_map(|path| Step::Keep(unix(&path))),
            any::<Index>().prop_map(Step::Forget),
            any::<Index>().prop_map(Step::Forget),
        ]
    }

    proptest! {
        #[test]
        fn addresses_come_and_go_as_in_a_map(steps in vec(step(), 0..100)) {
            let mut peers = Peers::with_capacity(0);
            let mut kept = HashMap::new();
            let mut most = 0;
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Keep(addr) => drop(kept.insert(number, (peers.keep(addr.clone()), addr))),
                    Step::Forget(index) if !kept.is_empty() => {
                        let mut numbers: Vec<_> = kept.keys().copied().collect();
                        numbers.sort_unstable();
                        let (peer, addr) = kept.remove(index.get(&numbers)).expect("it is there");
                        prop_assert_eq!(peers.forget(peer), addr);
                    }
                    Step::Forget(_) => {}
                }
                for (peer, addr) in kept.values() {
                    prop_assert_eq!(&peers.addr(*peer), addr);
                }
                let apart = kept.values().filter(|(peer, _)| peer.place().is_some());
                most = most.max(apart.count());
                prop_assert_eq!(peers.apart.entries.len(), most, "no more places than ever taken");
            }
            for (peer, addr) in kept.into_values() {
                prop_assert_eq!(peers.forget(peer), addr);
            }
            prop_assert!(peers.odd.is_empty());
        }
    }
}
