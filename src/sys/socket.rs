//! Making sockets: options that accepted connections inherit, and the ways to end one.

use std::io;
use std::net::SocketAddr;

use mio::Interest;
use mio::net::{TcpListener, TcpStream};

#[cfg(feature = "sockets")]
use super::options::Keepalive;
use super::options::SocketOptions;
use crate::close::Cause;

/// Binds a listener. What Linux lets accepted sockets inherit is set here, once.
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
    socket.set_tcp_nodelay(true)?;
    // A byte that is marked as urgent stays where it stands in the stream (RFC 6093, section 5).
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
    socket.bind(&addr.into())?;
    socket.listen(options.backlog)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Says it as socket2 does. OpenBSD has but one clock for all sockets.
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

/// What a connection's events tell of: both directions, and urgent data where the system says so.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) const INTEREST: Interest = Interest::READABLE
    .add(Interest::WRITABLE)
    .add(Interest::PRIORITY);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) const INTEREST: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// Starts to dial.
pub(super) fn dial(addr: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    #[cfg(feature = "sockets")]
    socket2::SockRef::from(&stream).set_out_of_band_inline(true)?;
    #[cfg(all(feature = "sockets", target_os = "linux"))]
    socket2::SockRef::from(&stream).set_tcp_notsent_lowat(NOT_SENT)?;
    Ok(stream)
}

/// Makes the coming close a reset: what is still queued is thrown away, and the peer is told.
pub(super) fn reset_on_close(stream: &TcpStream) {
    #[cfg(feature = "sockets")]
    if let Err(error) = socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO)) {
        log::debug!("could not prepare a reset: {error}");
    }
    #[cfg(not(feature = "sockets"))]
    let _ = stream;
}

/// Says whether a socket error is the peer's reset.
pub(crate) fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected
    )
}

/// Names the cause of an error on a connection that was established.
///
/// The kernel gives such a connection up when nothing it sends is acknowledged: for its own quarter of
/// an hour, for `TCP_USER_TIMEOUT`, or through all its keepalive probes. It then reports what routers and
/// firewalls have told it meanwhile (RFC 5461 calls these soft errors), or else a timeout.
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
            // A port unreachable; a refusal proper comes instead of a connection.
            | io::ErrorKind::ConnectionRefused
    );
    // EHOSTDOWN and ENONET as Linux numbers them, EHOSTDOWN as the BSDs do.
    if is_path || matches!(error.raw_os_error(), Some(112 | 64)) {
        return Cause::PathDead;
    }
    Cause::IoError
}

/// Lets the kernel hold as much unsent as the socket's buffer takes, or again only [`NOT_SENT`]. Where it
/// cannot be told so, nothing changes.
#[cfg(all(feature = "sockets", target_os = "linux"))]
pub(super) fn deepen(stream: &TcpStream, is_deep: bool) {
    let unsent = if is_deep { u32::MAX } else { NOT_SENT };
    let told = socket2::SockRef::from(stream).set_tcp_notsent_lowat(unsent);
    debug_assert!(told.is_ok(), "{told:?}");
}

/// Elsewhere the kernel always holds as much as it takes.
#[cfg(not(all(feature = "sockets", target_os = "linux")))]
pub(super) fn deepen(_stream: &TcpStream, _is_deep: bool) {}

/// Bytes the kernel may hold unsent before the socket stops being writable. Little, so that control
/// frames do not wait behind data in a queue we cannot reorder.
#[cfg(all(feature = "sockets", target_os = "linux"))]
const NOT_SENT: u32 = 16 * 1024;

#[cfg(all(test, feature = "sockets", target_os = "linux"))]
mod tests {
    use std::time::Duration;

    use socket2::SockRef;

    use super::*;

    #[test]
    fn an_accepted_connection_inherits_the_listeners_options() {
        let keepalive = Keepalive {
            idle: Duration::from_secs(40),
            interval: Duration::from_secs(5),
            probes: 3,
        };
        let options = SocketOptions {
            user_timeout: Some(Duration::from_secs(7)),
            keepalive: Some(keepalive),
            ..SocketOptions::default()
        };
        let listener = listen(([127, 0, 0, 1], 0).into(), &options).expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let _peer = std::net::TcpStream::connect(addr).expect("the listener is there");
        SockRef::from(&listener)
            .set_nonblocking(false)
            .expect("it can wait");
        let (accepted, _) = listener.accept().expect("somebody has dialed");
        let accepted = SockRef::from(&accepted);
        assert!(accepted.tcp_nodelay().expect("readable"));
        assert!(accepted.out_of_band_inline().expect("readable"));
        assert!(accepted.keepalive().expect("readable"));
        let (idle, interval) = (
            accepted.tcp_keepalive_time(),
            accepted.tcp_keepalive_interval(),
        );
        assert_eq!(idle.expect("readable"), keepalive.idle);
        assert_eq!(interval.expect("readable"), keepalive.interval);
        let probes = accepted.tcp_keepalive_retries().expect("readable");
        assert_eq!(probes, keepalive.probes);
        assert_eq!(accepted.tcp_notsent_lowat().expect("readable"), NOT_SENT);
        let timeout = accepted.tcp_user_timeout().expect("readable");
        assert_eq!(timeout, options.user_timeout);
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
