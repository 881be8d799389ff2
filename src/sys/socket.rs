//! Creates sockets, with options that accepted connections inherit, and resets them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use mio::Interest;
use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

#[cfg(feature = "sockets")]
use super::options::Keepalive;
use super::options::SocketOptions;
use crate::close::Cause;

/// Binds a listener. Options that accepted sockets inherit on Linux are set here, only once.
#[cfg(feature = "sockets")]
pub(super) fn listen(addr: SocketAddr, options: &SocketOptions) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};

    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    set_inherited(&socket, options)?;
    socket.bind(&addr.into())?;
    socket.listen(options.backlog)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Sets what every TCP connection has, and what the options ask for. Accepted sockets inherit it from their
/// listener on Linux.
#[cfg(feature = "sockets")]
pub(super) fn set_inherited(socket: &impl AsFd, options: &SocketOptions) -> io::Result<()> {
    let socket = socket2::SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    // Urgent data stays at its place in the stream (RFC 6093, section 5).
    socket.set_out_of_band_inline(true)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_notsent_lowat(NOT_SENT)?;
    #[cfg(target_os = "linux")]
    if options.user_timeout.is_some() {
        socket.set_tcp_user_timeout(options.user_timeout)?;
    }
    if let Some(keepalive) = options.keepalive {
        socket.set_tcp_keepalive(&parameters(keepalive))?;
    }
    Ok(())
}

/// Without socket options there is nothing to set.
#[cfg(not(feature = "sockets"))]
pub(super) fn set_inherited(_socket: &impl AsFd, _options: &SocketOptions) -> io::Result<()> {
    Ok(())
}

/// Binds a Unix socket.
#[cfg(feature = "sockets")]
pub(super) fn listen_unix(path: &Path, options: &SocketOptions) -> io::Result<UnixListener> {
    use socket2::{Domain, SockAddr, Socket, Type};

    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(options.backlog)?;
    Ok(UnixListener::from_std(socket.into()))
}

/// Binds a Unix socket with mio's own options.
#[cfg(not(feature = "sockets"))]
pub(super) fn listen_unix(path: &Path, _options: &SocketOptions) -> io::Result<UnixListener> {
    UnixListener::bind(path)
}

/// Refuses a socket without a stream of bytes, where the system tells.
pub(super) fn demand_stream(socket: &impl AsFd) -> io::Result<()> {
    #[cfg(feature = "sockets")]
    if socket2::SockRef::from(socket).r#type()? != socket2::Type::STREAM {
        let reason = "it is not a stream socket";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    let _ = socket;
    Ok(())
}

/// Refuses a socket that does not listen, where the system tells.
pub(super) fn demand_listening(socket: &impl AsFd) -> io::Result<()> {
    #[cfg(all(feature = "sockets", any(target_os = "linux", target_os = "freebsd")))]
    if !socket2::SockRef::from(socket).is_listener()? {
        let reason = "it does not listen";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    let _ = socket;
    Ok(())
}

/// Converts to the type of socket2. On OpenBSD the times can only be set for all sockets together.
#[cfg(feature = "sockets")]
fn parameters(keepalive: Keepalive) -> socket2::TcpKeepalive {
    let parameters = socket2::TcpKeepalive::new();
    #[cfg(not(target_os = "openbsd"))]
    let parameters = parameters
        .with_time(keepalive.idle)
        .with_interval(keepalive.interval)
        .with_retries(keepalive.probes);
    #[cfg(target_os = "openbsd")]
    let _ = keepalive;
    parameters
}

/// Binds a listener with mio's own options.
#[cfg(not(feature = "sockets"))]
pub(super) fn listen(addr: SocketAddr, _options: &SocketOptions) -> io::Result<TcpListener> {
    TcpListener::bind(addr)
}

/// The events of a connection: both directions, and urgent data if the system reports it.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) const INTEREST: Interest = Interest::READABLE
    .add(Interest::WRITABLE)
    .add(Interest::PRIORITY);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) const INTEREST: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// Starts to connect.
#[cfg(feature = "sockets")]
pub(super) fn dial(addr: SocketAddr, options: &SocketOptions) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(addr)?;
    set_inherited(&stream, options)?;
    Ok(stream)
}

/// Starts to connect, with mio's own options.
#[cfg(not(feature = "sockets"))]
pub(super) fn dial(addr: SocketAddr, _options: &SocketOptions) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Connects to a Unix socket. That takes no time: it is done, or fails.
pub(super) fn dial_unix(path: &Path) -> io::Result<TcpStream> {
    match UnixStream::connect(path) {
        Ok(stream) => Ok(OwnedFd::from(stream).into()),
        // The listener's backlog is full, and nothing will tell when there is room.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(io::ErrorKind::ConnectionRefused.into())
        }
        Err(error) => Err(error),
    }
}

/// Makes the next close a reset: unsent bytes are discarded, and the peer is told.
pub(super) fn reset_on_close(stream: &TcpStream) {
    #[cfg(feature = "sockets")]
    if let Err(error) = socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO)) {
        log::debug!("could not prepare a reset: {error}");
    }
    #[cfg(not(feature = "sockets"))]
    let _ = stream;
}

/// Returns whether a socket error is a reset by the peer.
pub(crate) fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected
    )
}

/// Returns the cause for an error on an established connection.
///
/// The kernel gives up such a connection when nothing that it sends is acknowledged: after its own
/// limit of about 15 minutes, after `TCP_USER_TIMEOUT`, or after all keepalive probes. It then
/// reports the last error that routers or firewalls sent in that time (RFC 5461 calls these soft
/// errors), or otherwise a timeout.
pub(crate) fn cause_of(error: &io::Error) -> Cause {
    if is_reset(error) {
        return Cause::PeerReset;
    }
    let is_path = matches!(
        error.kind(),
        io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            // The port is unreachable. A refusal by the peer comes only while connecting.
            | io::ErrorKind::ConnectionRefused
    );
    // The numbers of EHOSTDOWN and ENONET on Linux, and of EHOSTDOWN on the BSDs.
    if is_path || matches!(error.raw_os_error(), Some(112 | 64)) {
        return Cause::PathDead;
    }
    Cause::IoError
}

/// Lets the kernel hold as many unsent bytes as the socket's buffer takes, or only [`NOT_SENT`]
/// again.
#[cfg(all(feature = "sockets", target_os = "linux"))]
pub(super) fn deepen(stream: &TcpStream, is_deep: bool) {
    let unsent = if is_deep { u32::MAX } else { NOT_SENT };
    // A Unix socket has no such option, and one buffer that both sides share.
    let told = socket2::SockRef::from(stream).set_tcp_notsent_lowat(unsent);
    let is_other = |error: &io::Error| error.raw_os_error() == Some(libc::EOPNOTSUPP);
    debug_assert!(told.as_ref().err().is_none_or(is_other), "{told:?}");
}

/// On other systems the kernel always holds as many bytes as its buffer takes.
#[cfg(not(all(feature = "sockets", target_os = "linux")))]
pub(super) fn deepen(_stream: &TcpStream, _is_deep: bool) {}

/// How many unsent bytes the kernel may hold before the socket stops being writable. The number is
/// small, so that control frames do not wait behind data in the kernel's queue, where they cannot
/// overtake it.
#[cfg(all(feature = "sockets", target_os = "linux"))]
const NOT_SENT: u32 = 16 * 1024;

#[cfg(all(test, feature = "sockets", target_os = "linux"))]
mod tests {
    use std::time::Duration;

    use socket2::SockRef;

    use super::*;

    fn patient() -> SocketOptions {
        let keepalive = Keepalive {
            idle: Duration::from_secs(40),
            interval: Duration::from_secs(5),
            probes: 3,
        };
        SocketOptions {
            user_timeout: Some(Duration::from_secs(7)),
            keepalive: Some(keepalive),
            ..SocketOptions::default()
        }
    }

    #[track_caller]
    fn check(socket: SockRef<'_>, options: &SocketOptions) {
        let keepalive = options.keepalive.expect("it is set");
        assert!(socket.tcp_nodelay().expect("readable"));
        assert!(socket.out_of_band_inline().expect("readable"));
        assert!(socket.keepalive().expect("readable"));
        let (idle, interval) = (socket.tcp_keepalive_time(), socket.tcp_keepalive_interval());
        assert_eq!(idle.expect("readable"), keepalive.idle);
        assert_eq!(interval.expect("readable"), keepalive.interval);
        let probes = socket.tcp_keepalive_retries().expect("readable");
        assert_eq!(probes, keepalive.probes);
        assert_eq!(socket.tcp_notsent_lowat().expect("readable"), NOT_SENT);
        let timeout = socket.tcp_user_timeout().expect("readable");
        assert_eq!(timeout, options.user_timeout);
    }

    #[test]
    fn a_dialed_connection_has_the_options_of_its_client() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let dialed = dial(addr, &patient()).expect("it listens");
        check((&dialed).into(), &patient());
        let dialed = dial(addr, &SocketOptions::default()).expect("it listens");
        let socket = SockRef::from(&dialed);
        assert!(!socket.keepalive().expect("readable"));
        assert_eq!(socket.tcp_user_timeout().expect("readable"), None);
    }

    #[test]
    fn an_accepted_connection_inherits_the_listeners_options() {
        let options = patient();
        let listener = listen(([127, 0, 0, 1], 0).into(), &options).expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let _peer = std::net::TcpStream::connect(addr).expect("the listener is there");
        SockRef::from(&listener)
            .set_nonblocking(false)
            .expect("it can wait");
        let (accepted, _) = listener.accept().expect("somebody has dialed");
        check((&accepted).into(), &options);
    }

    #[test]
    fn an_error_is_the_peers_the_paths_or_something_else() {
        for (errno, cause) in [
            (libc::ECONNRESET, Cause::PeerReset),
            (libc::EPIPE, Cause::PeerReset),
            (libc::ENOTCONN, Cause::PeerReset),
            (libc::ETIMEDOUT, Cause::PathDead),
            (libc::EHOSTUNREACH, Cause::PathDead),
            (libc::ENETUNREACH, Cause::PathDead),
            (libc::ENETDOWN, Cause::PathDead),
            (libc::EHOSTDOWN, Cause::PathDead),
            (libc::ENONET, Cause::PathDead),
            (libc::ECONNREFUSED, Cause::PathDead),
            (libc::ENOBUFS, Cause::IoError),
            (libc::EMSGSIZE, Cause::IoError),
        ] {
            let error = io::Error::from_raw_os_error(errno);
            assert_eq!(cause_of(&error), cause, "{error}");
        }
    }
}
