//! Sockets in the hands of somebody who means harm.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use crate::server::{Server, is_over_tls};
use crate::support::raw::{Arrival, RawPeer, finish_knock};
use crate::support::{PATIENCE, Wire};

/// Connects from this address of the machine, with deadlines for whatever follows.
pub(crate) fn connect(from: Ipv4Addr, port: u16) -> TcpStream {
    dial(from, port, None)
}

/// Connects with a receive buffer so small that the server's output soon has nowhere to go.
pub(crate) fn connect_narrow(from: Ipv4Addr, port: u16) -> TcpStream {
    dial(from, port, Some(4 * 1024))
}

/// Connects from the address that this machine has for itself, and shakes hands where the wire does.
pub(crate) fn meet(server: &Server, wire: Wire) -> RawPeer {
    RawPeer::over(connect(Ipv4Addr::LOCALHOST, server.port(wire)), wire)
}

fn dial(from: Ipv4Addr, port: u16, receive: Option<usize>) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    if let Some(size) = receive {
        socket.set_recv_buffer_size(size).unwrap();
    }
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    // A relay comes from the same address.
    socket.set_reuse_address(true).unwrap();
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = finish_knock(socket, server);
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Ends a connection with a reset.
pub(crate) fn reset(stream: TcpStream) {
    let linger = Some(Duration::ZERO);
    SockRef::from(&stream).set_linger(linger).unwrap();
}

/// Writes, and says whether the connection still stands.
pub(crate) fn write(mut stream: &TcpStream, bytes: &[u8]) -> bool {
    match stream.write_all(bytes) {
        Ok(()) => true,
        Err(error) if is_end(error.kind()) => false,
        Err(error) => panic!("the server neither reads nor ends: {error}"),
    }
}

/// Writes the same again and again, reading nothing, until the server ends the connection.
pub(crate) fn write_until_ended(stream: &TcpStream, bytes: &[u8]) {
    let deadline = Instant::now() + PATIENCE;
    while write(stream, bytes) {
        assert!(Instant::now() < deadline, "the server bears it for ever");
    }
}

/// Reads whatever comes until the end, whichever that is.
pub(crate) fn read_to_end(mut stream: &TcpStream) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return all,
            Ok(count) => all.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if is_end(error.kind()) => return all,
            Err(error) => panic!("no end: {error}"),
        }
    }
}

fn is_end(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted
    )
}

/// Waits for a message to come back, answering pings meanwhile.
pub(crate) fn assert_echo(peer: &mut RawPeer, text: &[u8]) {
    match peer.next_answering() {
        // Without printing it: it may be long.
        Arrival::Message(echo) => assert!(echo == text, "{} bytes came back", echo.len()),
        other => panic!("{other:?} instead of the echo"),
    }
}

/// Checks that the server refuses a connection, and says so by this status. Before the handshake of TLS, which
/// it does not lead with somebody for whom there is no place, it has no words.
pub(crate) fn assert_refused(stream: &TcpStream, status: u16) {
    let told = read_to_end(stream);
    if !(is_over_tls() && told.is_empty()) {
        assert_eq!(only_status(&told), status);
        let shown = String::from_utf8_lossy(&told);
        assert!(shown.contains("Retry-After: "), "{shown}");
    }
}

/// Returns the status of an HTTP response, and checks that it is the only one.
pub(crate) fn only_status(response: &[u8]) -> u16 {
    let text = String::from_utf8_lossy(response);
    assert_eq!(text.matches("HTTP/1.").count(), 1, "{text}");
    let status = text
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3));
    status
        .and_then(|status| status.parse().ok())
        .unwrap_or_else(|| panic!("no status in {text:?}"))
}
