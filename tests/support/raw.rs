//! A peer that writes its own bytes, and knows when it wrote the last one.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::bytes::{
    handshake_end, masked_frame, message, ping, pong, unmasked_frame, upgrade_request,
};
use super::{PATIENCE, Wire};

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
/// A server may reset a connection before the dial is over. A dial that waits would then report that, and
/// lose the socket's address. This one leaves the reset in the socket: the next read or write reports
/// it, as if it had come later.
pub(crate) fn knock(addr: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).unwrap();
    finish_knock(socket, addr)
}

/// The same over a socket whose options are set.
pub(crate) fn finish_knock(socket: Socket, addr: SocketAddr) -> TcpStream {
    socket.set_nonblocking(true).unwrap();
    if let Err(error) = socket.connect(&addr.into()) {
        let under_way = rustix::io::Errno::INPROGRESS.raw_os_error();
        assert_eq!(error.raw_os_error(), Some(under_way), "{error}");
    }
    let patience = rustix::event::Timespec::try_from(PATIENCE).unwrap();
    let flags = rustix::event::PollFlags::OUT;
    let mut ends = [rustix::event::PollFd::new(&socket, flags)];
    let count = rustix::event::poll(&mut ends, Some(&patience)).unwrap();
    assert_eq!(count, 1, "no connection");
    socket.set_nonblocking(false).unwrap();
    socket.into()
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
    /// How many bytes of `rx` are done with.
    taken: usize,
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
        let mut peer = Self {
            stream,
            wire,
            rx: Vec::new(),
            taken: 0,
            message: Vec::new(),
            last_write: Instant::now(),
            read: 0,
            longest_frame: 0,
        };
        if wire == Wire::WebSocket {
            peer.write(&upgrade_request("/", ""));
            peer.taken = peer.read_until(handshake_end);
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
        self.read - (self.rx.len() - self.taken)
    }

    pub(crate) fn longest_frame(&self) -> usize {
        self.longest_frame
    }

    /// Returns the stream and what was read from it beyond the handshake.
    pub(crate) fn into_parts(mut self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.rx.split_off(self.taken))
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
                self.taken += used;
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
        self.forget_taken();
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
        self.forget_taken();
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
            self.taken += used;
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

    fn forget_taken(&mut self) {
        self.rx.drain(..std::mem::take(&mut self.taken));
    }

    /// Reads once more; returns the end if that is what came.
    fn fill(&mut self, deadline: Instant) -> Option<Arrival> {
        self.forget_taken();
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
        let rx = &self.rx[self.taken..];
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
