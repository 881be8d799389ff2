//! How a peer that uses none of the libraries measured gets to a server, and through WebSocket's opening
//! handshake.

use std::io::{self, BufRead, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Reads what a server says until it tells where it listens: by itself on a line, or in an event of
/// `heartwheel serve`.
pub(crate) fn read_addr(output: &mut impl BufRead) -> io::Result<SocketAddr> {
    for line in output.lines() {
        let line = line?;
        let event: Value = serde_json::from_str(&line).unwrap_or_default();
        if let Ok(addr) = event["addr"].as_str().unwrap_or(&line).parse() {
            return Ok(addr);
        }
    }
    Err(io::Error::other("the server tells no address"))
}

/// Dials, and returns once the server has agreed to WebSocket, and to an extension if one is offered. What
/// it sends afterwards is unread.
pub(crate) fn open(
    addr: SocketAddr,
    patience: Duration,
    extension: Option<&str>,
) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(patience))?;
    let offer = extension.map(|extension| format!("Sec-WebSocket-Extensions: {extension}\r\n"));
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {addr}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{}\r\n",
        offer.unwrap_or_default()
    );
    stream.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
    }
    if !head.starts_with(b"HTTP/1.1 101 ") {
        let head = String::from_utf8_lossy(&head);
        return Err(io::Error::other(format!("handshake refused: {head}")));
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let agreed = head.contains("sec-websocket-extensions:");
    match agreed == extension.is_some() {
        true => Ok(stream),
        false => Err(io::Error::other(format!("other extensions: {head}"))),
    }
}
