//! Opening the listeners of `serve`: on addresses, on paths, and on sockets that were handed in.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use heartwheel::config::WireKind;
use heartwheel::error::Error;
use heartwheel::reactor::{ListenAddr, ListenerId, Reactor};
use heartwheel::{ListenerConfig, PeerAddr};
use listenfd::ListenFd;
use socket2::{Domain, Socket, Type};

use crate::Failure;
use crate::values::address;

/// Where to listen, as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
    /// A descriptor that whoever started us has opened.
    Descriptor(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Descriptor(number) => write!(f, "fd:{number}"),
        }
    }
}

impl Place {
    /// Parses an address, `unix:PATH` or `fd:NUMBER`.
    pub(crate) fn parse(typed: &str) -> Result<Self, String> {
        match typed.split_once(':') {
            Some(("unix", _)) => match ListenAddr::parse(typed) {
                Ok(ListenAddr::Unix(path)) => Ok(Self::Unix(path)),
                Ok(ListenAddr::Tcp(_) | ListenAddr::Socket(_)) => unreachable!("it is a path"),
                Err(error) => Err(error.reason().to_owned()),
            },
            Some(("fd", number)) => match number.parse() {
                Ok(number) if number >= FIRST_HANDED_IN => Ok(Self::Descriptor(number)),
                _ => Err("is not fd: and a number from 3 on, such as fd:3".into()),
            },
            _ => address(typed).map(Self::Tcp),
        }
    }
}

/// The sockets that whoever started us has opened: systemd, for example (`LISTEN_FDS`).
pub(crate) struct HandedIn(ListenFd);

impl HandedIn {
    pub(crate) fn new() -> Self {
        Self(ListenFd::from_env())
    }

    fn take(&mut self, number: usize) -> Result<ListenAddr, Failure> {
        let index = number - FIRST_HANDED_IN;
        let socket = self
            .0
            .take_tcp_listener(index)
            .map(|socket| socket.map(OwnedFd::from));
        let socket = match socket {
            Ok(socket) => Ok(socket),
            Err(_) => self
                .0
                .take_unix_listener(index)
                .map(|socket| socket.map(OwnedFd::from)),
        };
        match socket {
            Ok(Some(socket)) => Ok(socket.into()),
            Ok(None) => Err(Failure::usage(format!(
                "fd:{number}: no such socket was handed in ({}); systemd sets LISTEN_FDS, and \
                 each one serves one listener",
                match self.0.len() {
                    0 => "LISTEN_FDS is not set, or LISTEN_PID is not this process".to_owned(),
                    count => format!("LISTEN_FDS is {count}, from fd:{FIRST_HANDED_IN} on"),
                }
            ))),
            Err(_) => Err(Failure::usage(format!(
                "fd:{number} is neither a TCP nor a Unix stream socket"
            ))),
        }
    }
}

/// What was opened.
pub(crate) struct Opened {
    pub(crate) addr: PeerAddr,
    /// The listener of each loop.
    pub(crate) ids: Vec<ListenerId>,
}

/// Listens with every loop.
pub(crate) fn listen<C: Send + 'static>(
    reactors: &mut [Reactor<(), C>],
    handed_in: &mut HandedIn,
    flag: &str,
    place: &Place,
    config: impl Fn(ListenAddr, bool) -> ListenerConfig,
) -> Result<Opened, Failure> {
    match place {
        Place::Tcp(addr) => listen_tcp(reactors, flag, *addr, config),
        Place::Unix(path) => share(reactors, flag, ListenAddr::Unix(path.clone()), config),
        Place::Descriptor(number) => share(reactors, flag, handed_in.take(*number)?, config),
    }
}

/// Each loop has a listening socket of its own, and the kernel spreads connections over them.
fn listen_tcp<C: Send + 'static>(
    reactors: &mut [Reactor<(), C>],
    flag: &str,
    mut addr: SocketAddr,
    config: impl Fn(ListenAddr, bool) -> ListenerConfig,
) -> Result<Opened, Failure> {
    let is_shared = reactors.len() > 1;
    if is_shared {
        demand_free(addr).map_err(|source| {
            let addr = addr.into();
            cannot_listen(flag, Error::Listen { addr, source })
        })?;
    }
    let mut ids = Vec::new();
    for reactor in reactors {
        let id = reactor
            .listen(config(addr.into(), is_shared))
            .map_err(|error| cannot_listen(flag, error))?;
        ids.push(id);
        // The first chooses the port, if none was asked for.
        addr = reactor
            .local_addr(id)
            .expect("a listener that was just made has an address");
    }
    let addr = addr.into();
    Ok(Opened { addr, ids })
}

/// All loops have the same listening socket, and each connection goes to whichever comes first.
fn share<C: Send + 'static>(
    reactors: &mut [Reactor<(), C>],
    flag: &str,
    addr: ListenAddr,
    config: impl Fn(ListenAddr, bool) -> ListenerConfig,
) -> Result<Opened, Failure> {
    let name = addr.name();
    let (mut next, mut ids) = (Some(addr), Vec::new());
    for reactor in reactors {
        let Some(addr) = next.take() else { break };
        let id = reactor
            .listen(config(addr, false))
            .map_err(|error| cannot_listen(flag, error))?;
        ids.push(id);
        let socket = reactor
            .listener_fd(id)
            .expect("a listener that was just made has a socket");
        let socket = socket.try_clone_to_owned().map_err(|source| {
            let addr = name.clone();
            cannot_listen(flag, Error::Listen { addr, source })
        })?;
        next = Some(socket.into());
    }
    Ok(Opened { addr: name, ids })
}

/// Fails where another program listens: it may share its port as we do, and would take part of ours.
pub(crate) fn demand_free(addr: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())
}

/// Says what the kernel has against an address, and what to do about it.
pub(crate) fn cannot_listen(flag: &str, error: Error) -> Failure {
    let Error::Listen { addr: name, source } = error else {
        return error.into();
    };
    let Some(addr) = name.socket_addr() else {
        let advice = match source.kind() {
            io::ErrorKind::AddrInUse => {
                "; stop the program that listens there, or choose another path"
            }
            io::ErrorKind::NotFound => "; make its directory first",
            io::ErrorKind::PermissionDenied => "; choose a directory that you may write to",
            _ => "",
        };
        return Failure::failed(format!("cannot listen on {name}: {source}{advice}"));
    };
    let port = addr.port();
    let at = |port| {
        let mut other = addr;
        other.set_port(port);
        other
    };
    let (what, advice) = match source.kind() {
        _ if matches!(source.raw_os_error(), Some(libc::ENFILE | libc::EMFILE)) => (
            source.to_string(),
            "raise the limit with ulimit -Hn, or choose fewer --shards".to_owned(),
        ),
        io::ErrorKind::AddrInUse => (
            "the port is in use".to_owned(),
            format!(
                "stop the program that uses it (ss -ltnp 'sport = :{port}' shows it) or choose \
                 another one, such as {flag} {}",
                at(port.checked_add(10).unwrap_or(0))
            ),
        ),
        io::ErrorKind::PermissionDenied => (
            "permission denied".to_owned(),
            format!(
                "only privileged programs may use ports below 1024: choose a higher one, such as {flag} {}",
                at(9001)
            ),
        ),
        io::ErrorKind::AddrNotAvailable => (
            "this machine does not have that address".to_owned(),
            format!(
                "choose one that it has (ip addr lists them), or all of them with {flag} {}",
                SocketAddr::new(unspecified(addr.ip()), port)
            ),
        ),
        _ if needs_interface(addr) => (
            source.to_string(),
            format!(
                "a link-local address needs its interface (ip -6 addr lists them), such as \
                 {flag} [{}%eth0]:{port}",
                addr.ip()
            ),
        ),
        _ => (source.to_string(), format!("choose another {flag}")),
    };
    Failure::failed(format!("cannot listen on {addr}: {what}; {advice}"))
}

/// Says whether a link-local address lacks its interface (RFC 4007, section 6).
fn needs_interface(addr: SocketAddr) -> bool {
    matches!(addr, SocketAddr::V6(addr) if addr.ip().is_unicast_link_local() && addr.scope_id() == 0)
}

fn unspecified(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Returns commands that reach a listener from this machine.
pub(crate) fn hints(wire: WireKind, addr: &PeerAddr, pings: bool, program: &str) -> Vec<String> {
    if let Some(addr) = addr.socket_addr() {
        return hints_at(wire, addr, pings, program);
    }
    let Some(path) = addr.unix_path() else {
        return Vec::new();
    };
    let path = path.display();
    let connect = format!("{program} connect {}+unix:{path}", wire.label());
    match wire {
        WireKind::Line | WireKind::Raw => vec![
            format!("try: nc -U {path}   then type hello"),
            format!("or:  {connect}"),
        ],
        WireKind::WebSocket | WireKind::Binary | WireKind::Own => vec![format!("try: {connect}")],
    }
}

/// Returns a command that reaches a listener with TLS. Whether this machine believes its certificate is not
/// known.
pub(crate) fn hints_over_tls(
    scheme: &str,
    addr: &PeerAddr,
    name: Option<&str>,
    program: &str,
) -> Vec<String> {
    let place = match (addr.socket_addr(), addr.unix_path()) {
        (Some(addr), _) => format!("://{}", near(addr)),
        (None, Some(path)) => format!("+unix:{}", path.display()),
        (None, None) => return Vec::new(),
    };
    let name = name.map_or_else(String::new, |name| format!(" --server-name {name}"));
    vec![format!(
        "try: {program} connect {scheme}{place}{name}   and --ca FILE unless a root of the system has signed it"
    )]
}

fn hints_at(wire: WireKind, addr: SocketAddr, pings: bool, program: &str) -> Vec<String> {
    let (near, port) = (near(addr), addr.port());
    let ip = match near {
        SocketAddr::V6(addr) if addr.scope_id() > 0 => format!("{}%{}", addr.ip(), addr.scope_id()),
        SocketAddr::V6(_) | SocketAddr::V4(_) => near.ip().to_string(),
    };
    let connect = format!("try: {program} connect {}://{near}", wire.label());
    match wire {
        WireKind::WebSocket => vec![connect, format!("or:  python3 -m websockets ws://{near}")],
        WireKind::Line if pings => vec![
            format!("try: nc {ip} {port}   then type hello, and PONG when asked PING"),
            format!("or:  {program} connect tcp://{near}"),
        ],
        WireKind::Line => vec![
            format!("try: nc {ip} {port}   then type hello"),
            format!("or:  {program} connect tcp://{near}"),
        ],
        WireKind::Binary => vec![connect],
        WireKind::Raw | WireKind::Own => vec![format!("try: nc {ip} {port}   then type hello")],
    }
}

/// Returns where this machine reaches a listener. The interface of a link-local address stays with it.
fn near(mut addr: SocketAddr) -> SocketAddr {
    addr.set_ip(match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    });
    addr
}

/// Returns the name that this program was called by, where a shell would take it as it is.
pub(crate) fn program_name() -> String {
    std::env::args()
        .next()
        .filter(|name| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte))
        })
        .unwrap_or_else(|| "heartwheel".into())
}

/// The first descriptor behind the standard streams.
const FIRST_HANDED_IN: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_an_address_a_path_or_a_descriptor() {
        let tcp = Place::Tcp(([127, 0, 0, 1], 9001).into());
        assert_eq!(Place::parse("localhost:9001"), Ok(tcp));
        let path = PathBuf::from("/run/app.sock");
        assert_eq!(Place::parse("unix:/run/app.sock"), Ok(Place::Unix(path)));
        assert_eq!(
            Place::parse("unix:app.sock"),
            Ok(Place::Unix("app.sock".into()))
        );
        assert_eq!(Place::parse("fd:3"), Ok(Place::Descriptor(3)));
        for nonsense in ["unix:", "fd:", "fd:2", "fd:-1", "fd:x", "/run/app.sock"] {
            assert!(Place::parse(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn hints_can_be_typed_on_this_machine() {
        let any = SocketAddr::from(([0, 0, 0, 0], 9001));
        assert_eq!(
            hints_at(WireKind::WebSocket, any, true, "heartwheel"),
            [
                "try: heartwheel connect ws://127.0.0.1:9001",
                "or:  python3 -m websockets ws://127.0.0.1:9001"
            ]
        );
        let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 7));
        let line = |pings| hints_at(WireKind::Line, v6, pings, "heartwheel");
        assert!(line(true)[0].starts_with("try: nc ::1 7 ") && line(true)[0].contains("PING"));
        assert!(line(true)[1].ends_with("tcp://[::1]:7"));
        assert!(!line(false)[0].contains("PING"));
        let scoped = "[fe80::1%3]:7".parse().expect("an address");
        let [nc, connect] = &hints_at(WireKind::Line, scoped, true, "heartwheel")[..] else {
            panic!("two hints");
        };
        assert!(nc.starts_with("try: nc fe80::1%3 7 "), "{nc}");
        assert!(connect.ends_with("tcp://[fe80::1%3]:7"), "{connect}");
    }
}
