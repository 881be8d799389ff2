//! A peer that writes its own bytes, and knows when it wrote the last one.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::{PATIENCE, Wire};

/// The mask of all frames: any does (RFC 6455, section 5.3, asks for an unpredictable one to protect
/// intermediaries, and there is none here).
const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

/// What arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    Message(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    /// A Close frame with its code.
    Close(Option<u16>),
    /// The end of input.
    Eof,
    Reset,
}

/// Connects to a server that may refuse.
///
/// A reset that comes before the dial is over is told by the dial itself: here the connection is
/// returned as ended, so that a refusal looks the same however soon it comes.
pub(crate) fn dial(addr: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).unwrap();
    finish_dial(socket, addr)
}

/// The same over a socket whose options are set.
pub(crate) fn finish_dial(socket: Socket, addr: SocketAddr) -> TcpStream {
    match socket.connect(&addr.into()) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => {
            panic!("no connection: {error}")
        }
        Ok(()) | Err(_) => socket.into(),
    }
}

/// Lets peers send a text each, and checks that all others hear it, and nothing before it.
pub(crate) fn assert_broadcast_from(
    peers: &mut [RawPeer],
    senders: impl IntoIterator<Item = usize>,
) {
    for sender in senders {
        let text = format!("from {sender}");
        peers[sender].send_text(&text);
        for (place, peer) in peers.iter_mut().enumerate() {
            if place != sender {
                // Had an earlier one come back to its sender, it would be in front of this.
                let heard = peer.next_answering();
                assert_eq!(heard, Arrival::Message(text.clone().into_bytes()));
            }
        }
    }
}

/// A client that does nothing by itself.
pub(crate) struct RawPeer {
    stream: TcpStream,
    wire: Wire,
    rx: Vec<u8>,
    /// The message whose last fragment is still to come.
    message: Vec<u8>,
    /// Just before the last write began: no server can have read its bytes earlier.
    last_write: Instant,
    /// Bytes read so far.
    read: usize,
    /// Longest payload of a data frame so far.
    longest_frame: usize,
}

impl RawPeer {
    /// Connects, and shakes hands where the wire does.
    pub(crate) fn connect(wire: Wire, port: u16) -> Self {
        Self::over(TcpStream::connect(("127.0.0.1", port)).unwrap(), wire)
    }

    /// Shakes hands over a connection where the wire does.
    pub(crate) fn over(stream: TcpStream, wire: Wire) -> Self {
        stream.set_nodelay(true).unwrap();
        let port = stream.peer_addr().unwrap().port();
        let mut peer = Self {
            stream,
            wire,
            rx: Vec::new(),
            message: Vec::new(),
            last_write: Instant::now(),
            read: 0,
            longest_frame: 0,
        };
        if wire == Wire::WebSocket {
            peer.write(&handshake(port));
            let rest = peer.read_until(handshake_end);
            peer.rx.drain(..rest);
        }
        peer
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    pub(crate) fn local_port(&self) -> u16 {
        self.local_addr().port()
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Returns how many bytes were read.
    pub(crate) fn bytes_read(&self) -> usize {
        self.read
    }

    /// Returns how many bytes were read up to the end of what [`next`](Self::next) returned last.
    pub(crate) fn bytes_taken(&self) -> usize {
        self.read - self.rx.len()
    }

    pub(crate) fn longest_frame(&self) -> usize {
        self.longest_frame
    }

    /// Returns the stream and what was read from it beyond the handshake.
    pub(crate) fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.rx)
    }

    pub(crate) fn last_write(&self) -> Instant {
        self.last_write
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.last_write = Instant::now();
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends a short text.
    pub(crate) fn send_text(&mut self, text: &str) {
        self.write(&message(self.wire, text.as_bytes()));
    }

    /// Sends binary data; on the line wire it must not have a line feed.
    pub(crate) fn send_binary(&mut self, payload: &[u8]) {
        let bytes = match self.wire {
            Wire::WebSocket => masked_frame(0x82, payload),
            Wire::Line | Wire::Binary => message(self.wire, payload),
        };
        self.write(&bytes);
    }

    /// Sends a ping, with a token where the wire has one.
    pub(crate) fn send_ping(&mut self, token: &[u8]) {
        self.write(&ping(self.wire, token));
    }

    /// Sends the pong to a ping.
    pub(crate) fn send_pong(&mut self, token: &[u8]) {
        self.write(&pong(self.wire, token));
    }

    /// Sends a Close frame.
    pub(crate) fn send_close(&mut self, code: u16) {
        assert_eq!(self.wire, Wire::WebSocket);
        self.write(&masked_frame(0x88, &code.to_be_bytes()));
    }

    /// Waits for what comes next.
    pub(crate) fn next(&mut self) -> Arrival {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some((used, arrival)) = self.parse() {
                self.rx.drain(..used);
                match arrival {
                    Some(arrival) => return arrival,
                    None => continue,
                }
            }
            if let Some(end) = self.fill(deadline) {
                return end;
            }
        }
    }

    /// Reads until something arrives that is not a ping; each of those is answered.
    pub(crate) fn next_answering(&mut self) -> Arrival {
        loop {
            match self.next() {
                Arrival::Ping(token) => self.send_pong(&token),
                other => return other,
            }
        }
    }

    /// Reads what has arrived, and looks at it later.
    pub(crate) fn read_what_came(&mut self) {
        self.stream.set_nonblocking(true).unwrap();
        let mut buffer = [0; 64 * 1024];
        while let Ok(count @ 1..) = self.stream.read(&mut buffer) {
            self.rx.extend_from_slice(&buffer[..count]);
            self.read += count;
        }
        self.stream.set_nonblocking(false).unwrap();
    }

    /// Reads at most so many bytes of what has arrived, and looks at them later.
    pub(crate) fn read_some(&mut self, most: usize) {
        self.stream.set_nonblocking(true).unwrap();
        let mut buffer = vec![0; most];
        if let Ok(count) = self.stream.read(&mut buffer) {
            self.rx.extend_from_slice(&buffer[..count]);
            self.read += count;
        }
        self.stream.set_nonblocking(false).unwrap();
    }

    /// Answers the pings that have arrived, and takes no notice of what else has.
    pub(crate) fn answer_what_came(&mut self) {
        self.read_what_came();
        while let Some((used, arrival)) = self.parse() {
            self.rx.drain(..used);
            if let Some(Arrival::Ping(token)) = arrival {
                self.send_pong(&token);
            }
        }
    }

    /// Takes no notice of anything until the connection ends; returns how and when it did.
    pub(crate) fn ignore_until_end(&mut self) -> (Arrival, Instant) {
        loop {
            let arrival = self.next();
            if matches!(arrival, Arrival::Eof | Arrival::Reset) {
                return (arrival, Instant::now());
            }
        }
    }

    /// Reads once more; returns the end if that is what came.
    fn fill(&mut self, deadline: Instant) -> Option<Arrival> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.stream
            .set_read_timeout(Some(left.max(Duration::from_millis(1))))
            .unwrap();
        let mut buffer = [0; 64 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => Some(Arrival::Eof),
            Ok(count) => {
                self.rx.extend_from_slice(&buffer[..count]);
                self.read += count;
                None
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Some(Arrival::Reset),
            // Linux restarts no read that has a timeout.
            Err(error) if error.kind() == ErrorKind::Interrupted => None,
            Err(error) => panic!("waiting for the server: {error}"),
        }
    }

    fn read_until(&mut self, done: impl Fn(&[u8]) -> Option<usize>) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(used) = done(&self.rx) {
                return used;
            }
            if let Some(end) = self.fill(deadline) {
                panic!("{end:?} in the handshake");
            }
        }
    }

    /// Takes the first frame apart, if it is complete: its length, and what it was unless it was a
    /// fragment with more to come.
    fn parse(&mut self) -> Option<(usize, Option<Arrival>)> {
        let rx = &self.rx;
        match self.wire {
            Wire::WebSocket => {
                let (first, payload) = unmasked_frame(rx)?;
                let used = payload.end;
                let payload = &rx[payload];
                let arrival = match first & 0x0F {
                    0..=2 => {
                        self.longest_frame = self.longest_frame.max(payload.len());
                        self.message.extend_from_slice(payload);
                        let whole = first & 0x80 != 0;
                        whole.then(|| Arrival::Message(std::mem::take(&mut self.message)))
                    }
                    8 => {
                        let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                        Some(Arrival::Close(code))
                    }
                    9 => Some(Arrival::Ping(payload.to_vec())),
                    10 => Some(Arrival::Pong),
                    opcode => panic!("opcode {opcode}"),
                };
                Some((used, arrival))
            }
            Wire::Line => {
                let end = rx.iter().position(|&byte| byte == b'\n')?;
                let arrival = match &rx[..end] {
                    b"PING" => Arrival::Ping(Vec::new()),
                    b"PONG" => Arrival::Pong,
                    line => Arrival::Message(line.to_vec()),
                };
                Some((end + 1, Some(arrival)))
            }
            Wire::Binary => match rx.first()? {
                1 => Some((1, Some(Arrival::Ping(Vec::new())))),
                2 => Some((1, Some(Arrival::Pong))),
                0 => {
                    let len = u32::from_be_bytes(*rx[1..].first_chunk()?);
                    let end = 5 + usize::try_from(len).unwrap();
                    let payload = rx.get(5..end)?.to_vec();
                    Some((end, Some(Arrival::Message(payload))))
                }
                tag => panic!("tag {tag}"),
            },
        }
    }
}

/// Returns an opening handshake with the key of RFC 6455, section 1.3.
pub(crate) fn handshake(port: u16) -> Vec<u8> {
    format!(
        "GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    .into_bytes()
}

/// Returns where the server's half of the handshake ends, once it is complete.
pub(crate) fn handshake_end(rx: &[u8]) -> Option<usize> {
    let end = rx.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&rx[..end]);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    // The answer to that key, as the section prints it.
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    Some(end)
}

/// Returns the first byte of a server's frame and where its payload lies, once it is complete.
pub(crate) fn unmasked_frame(rx: &[u8]) -> Option<(u8, std::ops::Range<usize>)> {
    let (&first, &second) = (rx.first()?, rx.get(1)?);
    assert_eq!(second & 0x80, 0, "a server must not mask");
    let (start, len) = match second {
        127 => (10, u64::from_be_bytes(*rx[2..].first_chunk()?)),
        126 => (4, u64::from(u16::from_be_bytes(*rx[2..].first_chunk()?))),
        len => (2, u64::from(len)),
    };
    let end = start + usize::try_from(len).unwrap();
    (rx.len() >= end).then_some((first, start..end))
}

/// Returns a text as a client writes it.
pub(crate) fn message(wire: Wire, payload: &[u8]) -> Vec<u8> {
    match wire {
        Wire::WebSocket => masked_frame(0x81, payload),
        Wire::Line => [payload, b"\n"].concat(),
        Wire::Binary => {
            let len = u32::try_from(payload.len()).unwrap();
            [&[0], &len.to_be_bytes()[..], payload].concat()
        }
    }
}

/// Returns a ping as a client writes it.
pub(crate) fn ping(wire: Wire, token: &[u8]) -> Vec<u8> {
    match wire {
        Wire::WebSocket => masked_frame(0x89, token),
        Wire::Line => b"PING\n".to_vec(),
        Wire::Binary => vec![1],
    }
}

/// Returns a pong as a client writes it.
pub(crate) fn pong(wire: Wire, token: &[u8]) -> Vec<u8> {
    match wire {
        Wire::WebSocket => masked_frame(0x8A, token),
        Wire::Line => b"PONG\n".to_vec(),
        Wire::Binary => vec![2],
    }
}

/// Returns a client's frame.
pub(crate) fn masked_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = masked_header(first, payload.len() as u64);
    bytes.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    bytes
}

/// Returns the header of a client's frame that declares this length, whatever follows.
pub(crate) fn masked_header(first: u8, len: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(len @ ..126), _) => bytes.push(0x80 | len),
        (_, Ok(len)) => {
            bytes.push(0x80 | 126);
            bytes.extend(len.to_be_bytes());
        }
        (_, Err(_)) => {
            bytes.push(0x80 | 127);
            bytes.extend(len.to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes
}
