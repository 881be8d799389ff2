//! The address of a peer, for any kind of socket.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::SocketAddr as UnixAddr;
use std::path::Path;
use std::sync::Arc;

// Addresses are values: the protocol core, which names no sockets, has them from here.
pub(crate) use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The address of a peer: an IP address with a port, a Unix socket, or the client that a proxy in
/// front of us reports.
///
/// It is displayed as the address only: `192.0.2.1:9001`, `[2001:db8::1]:9001`,
/// `unix:/run/app.sock`, or `unix:` for a Unix socket without a name, such as that of a client.
/// Text that a peer can choose is escaped and contains no space. Behind a proxy, the client's
/// address is displayed, and [`proxy`](Self::proxy) returns the proxy's.
///
/// A peer that came by a TCP socket has a [`socket_addr`](Self::socket_addr); one that came by a Unix
/// socket has none.
///
/// ```
/// use std::net::SocketAddr;
///
/// use heartwheel::PeerAddr;
///
/// let client: SocketAddr = "203.0.113.7:4711".parse()?;
/// let proxy: SocketAddr = "192.0.2.1:9001".parse()?;
/// let peer = PeerAddr::from(client).behind(proxy);
/// assert_eq!(peer.to_string(), "203.0.113.7:4711");
/// assert_eq!(peer.ip(), Some(client.ip()));
/// assert_eq!(peer.proxy(), Some(&proxy.into()));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PeerAddr(Kind);

/// Rare kinds are behind a pointer, so that an address is no larger than that of a TCP peer.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Kind {
    Ip(SocketAddr),
    /// A Unix socket without a name.
    Unnamed,
    /// A Unix socket with a path in the file system.
    Path(Arc<Path>),
    /// A Unix socket with a name in the abstract namespace (Linux).
    Abstract(Arc<[u8]>),
    Proxied(Arc<Proxied>),
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Proxied {
    client: PeerAddr,
    proxy: PeerAddr,
}

impl PeerAddr {
    /// Returns the address of a client that reaches us through `proxy`. `self` is the client's
    /// address; [`proxy`](Self::proxy) returns the proxy's.
    #[must_use]
    pub fn behind(self, proxy: impl Into<Self>) -> Self {
        Self(Kind::Proxied(Arc::new(Proxied {
            client: self,
            proxy: proxy.into(),
        })))
    }

    /// Makes an address of the path of a Unix socket as the system writes it: ended by a zero, or, in the
    /// abstract namespace, begun by one.
    pub(crate) fn of_unix_bytes(path: &[u8]) -> Self {
        let is_end = |byte: &u8| *byte == 0;
        Self(match path {
            [0, name @ ..] => match name.iter().rposition(|byte| !is_end(byte)) {
                Some(last) => Kind::Abstract(name[..=last].into()),
                None => Kind::Unnamed,
            },
            path => {
                let len = path.iter().position(is_end).unwrap_or(path.len());
                match len {
                    0 => Kind::Unnamed,
                    len => Kind::Path(Path::new(OsStr::from_bytes(&path[..len])).into()),
                }
            }
        })
    }

    /// Returns the address of a Unix socket with this path.
    pub(crate) fn of_path(path: &Path) -> Self {
        Self(Kind::Path(path.into()))
    }

    /// Returns the address of a Unix socket without a name.
    pub(crate) fn unnamed() -> Self {
        Self(Kind::Unnamed)
    }

    /// Returns the IP address and port; `None` for a Unix socket.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match &self.0 {
            Kind::Ip(addr) => Some(*addr),
            Kind::Unnamed | Kind::Path(_) | Kind::Abstract(_) => None,
            Kind::Proxied(proxied) => proxied.client.socket_addr(),
        }
    }

    /// Returns the IP address; `None` for a Unix socket.
    pub fn ip(&self) -> Option<IpAddr> {
        self.socket_addr().map(|addr| addr.ip())
    }

    /// Returns the port; `None` for a Unix socket.
    pub fn port(&self) -> Option<u16> {
        self.socket_addr().map(|addr| addr.port())
    }

    /// Says whether it is the address of a Unix socket.
    pub fn is_unix(&self) -> bool {
        self.socket_addr().is_none()
    }

    /// Returns the path that a Unix socket is bound to. `None` if it has no path, and for an IP
    /// address.
    pub fn unix_path(&self) -> Option<&Path> {
        match &self.0 {
            Kind::Path(path) => Some(path),
            Kind::Ip(_) | Kind::Unnamed | Kind::Abstract(_) => None,
            Kind::Proxied(proxied) => proxied.client.unix_path(),
        }
    }

    /// Returns the address of the proxy through which the client came, to which our socket is
    /// connected. `None` if there is no proxy.
    pub fn proxy(&self) -> Option<&Self> {
        match &self.0 {
            Kind::Proxied(proxied) => Some(&proxied.proxy),
            Kind::Ip(_) | Kind::Unnamed | Kind::Path(_) | Kind::Abstract(_) => None,
        }
    }
}

impl From<SocketAddr> for PeerAddr {
    fn from(addr: SocketAddr) -> Self {
        Self(Kind::Ip(addr))
    }
}

impl From<UnixAddr> for PeerAddr {
    fn from(addr: UnixAddr) -> Self {
        Self(match (addr.as_pathname(), abstract_name(&addr)) {
            (Some(path), _) => Kind::Path(path.into()),
            (None, Some(name)) => Kind::Abstract(name.into()),
            (None, None) => Kind::Unnamed,
        })
    }
}

#[cfg(target_os = "linux")]
fn abstract_name(addr: &UnixAddr) -> Option<&[u8]> {
    use std::os::linux::net::SocketAddrExt;

    addr.as_abstract_name()
}

#[cfg(not(target_os = "linux"))]
fn abstract_name(_addr: &UnixAddr) -> Option<&[u8]> {
    None
}

/// Equal only if the peer came without a proxy.
impl PartialEq<SocketAddr> for PeerAddr {
    fn eq(&self, other: &SocketAddr) -> bool {
        matches!(&self.0, Kind::Ip(addr) if addr == other)
    }
}

impl fmt::Display for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Ip(addr) => addr.fmt(f),
            Kind::Unnamed => f.pad("unix:"),
            Kind::Path(path) => write_name(f, "unix:", path.as_os_str()),
            Kind::Abstract(name) => write_name(f, "unix:@", OsStr::from_bytes(name)),
            Kind::Proxied(proxied) => proxied.client.fmt(f),
        }
    }
}

/// The displayed address, with its proxy.
impl fmt::Debug for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        match self.proxy() {
            Some(proxy) => write!(f, " behind {proxy:?}"),
            None => Ok(()),
        }
    }
}

/// Writes a name that somebody else chose. It is escaped, so that it cannot end a line or start
/// another field of a record.
fn write_name(f: &mut fmt::Formatter<'_>, scheme: &str, name: &OsStr) -> fmt::Result {
    let mut text = scheme.to_owned();
    for &byte in name.as_bytes() {
        match byte {
            b'\\' | b'"' | b'\'' | ..=b' ' | 0x7f.. => text.push_str(&format!("\\x{byte:02x}")),
            _ => text.push(byte.into()),
        }
    }
    f.pad(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> PeerAddr {
        let addr: SocketAddr = text.parse().expect("an address");
        addr.into()
    }

    fn path(path: &str) -> PeerAddr {
        UnixAddr::from_pathname(path).expect("it fits").into()
    }

    fn unnamed() -> PeerAddr {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().expect("two sockets");
        ours.peer_addr().expect("it is connected").into()
    }

    #[test]
    fn it_is_shown_as_users_write_it() {
        for text in ["192.0.2.1:9001", "[2001:db8::1]:9001", "[fe80::1%7]:0"] {
            assert_eq!(ip(text).to_string(), text);
            assert_eq!(format!("{:?}", ip(text)), text);
        }
        assert_eq!(path("/run/app.sock").to_string(), "unix:/run/app.sock");
        assert_eq!(unnamed().to_string(), "unix:");
        assert_eq!(format!("{:>18}|", ip("192.0.2.1:1")), "       192.0.2.1:1|");
    }

    #[test]
    fn a_name_that_the_peer_chose_stays_within_its_field() {
        assert_eq!(
            path("/tmp/a b\n\\\"'\u{7f}é").to_string(),
            r"unix:/tmp/a\x20b\x0a\x5c\x22\x27\x7f\xc3\xa9"
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_abstract_name_has_no_path() {
        use std::os::linux::net::SocketAddrExt;

        let peer = PeerAddr::from(UnixAddr::from_abstract_name(b"app\0 1").expect("it fits"));
        assert_eq!(peer.to_string(), r"unix:@app\x00\x201");
        assert_eq!((peer.is_unix(), peer.unix_path()), (true, None));
        assert_ne!(peer, unnamed());
    }

    #[test]
    fn each_kind_tells_what_it_has() {
        let addr: SocketAddr = "[2001:db8::1]:9001".parse().expect("an address");
        let tcp = PeerAddr::from(addr);
        assert_eq!(tcp, addr);
        assert_eq!(tcp.socket_addr(), Some(addr));
        assert_eq!((tcp.ip(), tcp.port()), (Some(addr.ip()), Some(9001)));
        assert_eq!((tcp.is_unix(), tcp.unix_path()), (false, None));
        assert_eq!(tcp.proxy(), None);

        let unix = path("/run/app.sock");
        assert!(unix.is_unix() && unnamed().is_unix());
        assert_eq!(unix.unix_path(), Some(Path::new("/run/app.sock")));
        assert_eq!(unnamed().unix_path(), None);
        assert_eq!(
            (unix.socket_addr(), unix.ip(), unix.port()),
            (None, None, None)
        );
    }

    #[test]
    fn behind_a_proxy_it_is_the_clients() {
        let client = ip("203.0.113.7:4711");
        for proxy in [ip("192.0.2.1:9001"), path("/run/proxy.sock")] {
            let peer = client.clone().behind(proxy.clone());
            assert_eq!(peer.to_string(), "203.0.113.7:4711");
            assert_eq!(peer.socket_addr(), client.socket_addr());
            assert_eq!(peer.proxy(), Some(&proxy));
            assert_ne!(
                peer, client,
                "who comes through a proxy is not the same socket"
            );
            assert_ne!(peer, client.socket_addr().expect("TCP"));
            assert_eq!(
                format!("{peer:?}"),
                format!("203.0.113.7:4711 behind {proxy}")
            );
        }
        let peer = path("/run/app.sock").behind(ip("192.0.2.1:9001"));
        assert_eq!(peer.unix_path(), Some(Path::new("/run/app.sock")));
        assert!(peer.is_unix());
    }

    #[test]
    fn it_is_no_larger_than_a_tcp_address() {
        assert_eq!(size_of::<PeerAddr>(), size_of::<SocketAddr>());
    }
}
