//! A neutral peer: it sends frames encoded beforehand, counts the bytes of the answers, and uses
//! nothing of the libraries under test.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream as Blocking};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

/// What every connection does in one point of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) connections: usize,
    /// Bytes of payload in a message.
    pub(crate) size: usize,
    pub(crate) kind: Kind,
    /// Messages on their way at a time, on each connection.
    pub(crate) window: usize,
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = match self.size {
            kib if kib % 1024 == 0 => format!("{} KiB", kib / 1024),
            bytes => format!("{bytes} B"),
        };
        let kind = match self.kind {
            Kind::Binary => "binary",
            Kind::Text => "text",
        };
        let (connections, window) = (self.connections, self.window);
        let plural = if connections == 1 { "" } else { "s" };
        write!(
            f,
            "{size} {kind}, {connections} connection{plural}, {window} in flight"
        )
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Binary,
    Text,
}

/// What a span of echoing came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Echoed {
    pub(crate) messages: u64,
    pub(crate) time: Duration,
}

/// The connections to one server.
pub(crate) struct Crowd {
    poll: Poll,
    events: Events,
    peers: Vec<Peer>,
    /// One window's worth of frames as the client sends them.
    out: Vec<u8>,
    /// Bytes that answer one message.
    answer: usize,
    window: usize,
    buffer: Vec<u8>,
}

impl Crowd {
    /// Opens the connections and makes sure of each that it echoes.
    pub(crate) fn connect(addr: SocketAddr, load: Load) -> io::Result<Self> {
        let poll = Poll::new()?;
        let payload: Vec<u8> = (b'a'..=b'z').cycle().take(load.size).collect();
        let frame = frame(load.kind, &payload, Some(MASK));
        let answer = self::frame(load.kind, &payload, None);
        let mut peers = Vec::with_capacity(load.connections);
        for index in 0..load.connections {
            let stream = open(addr)?;
            expect_echo(&stream, &frame, &answer)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry()
                .register(&mut stream, Token(index), interest)?;
            peers.push(Peer::new(stream));
        }
        Ok(Self {
            poll,
            events: Events::with_capacity(1024),
            peers,
            out: frame.repeat(load.window),
            answer: answer.len(),
            window: load.window,
            buffer: vec![0; 64 * 1024],
        })
    }

    /// Keeps every window full for a time, then waits for the answers still to come.
    pub(crate) fn echo(&mut self, span: Duration) -> io::Result<Echoed> {
        let start = Instant::now();
        let end = start + span;
        let (mut messages, mut waiting) = (0, 0);
        for peer in &mut self.peers {
            peer.send(&self.out, self.out.len())?;
            waiting += self.window as u64;
        }
        let frame = self.out.len() / self.window;
        let mut over = false;
        while waiting > 0 {
            self.poll.poll(&mut self.events, Some(PATIENCE))?;
            if self.events.is_empty() {
                return Err(io::Error::new(ErrorKind::TimedOut, "the server is stuck"));
            }
            over = over || Instant::now() >= end;
            for event in &self.events {
                let peer = &mut self.peers[event.token().0];
                let answered = peer.receive(&mut self.buffer, self.answer)?;
                messages += answered as u64;
                if over {
                    waiting -= answered as u64;
                } else {
                    peer.send(&self.out, answered * frame)?;
                }
                peer.write(&self.out)?;
            }
        }
        Ok(Echoed {
            messages,
            time: start.elapsed(),
        })
    }
}

struct Peer {
    stream: TcpStream,
    /// Bytes received of the answer that is not complete.
    received: usize,
    /// Bytes still to be written. They end at the end of a window.
    unsent: usize,
    /// Where in the window the next byte lies.
    at: usize,
}

impl Peer {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            received: 0,
            unsent: 0,
            at: 0,
        }
    }

    /// Adds bytes of the repeating window to what is to be sent, and sends what the socket takes.
    fn send(&mut self, window: &[u8], count: usize) -> io::Result<()> {
        self.unsent += count;
        self.write(window)
    }

    fn write(&mut self, window: &[u8]) -> io::Result<()> {
        while self.unsent > 0 {
            let end = window.len().min(self.at + self.unsent);
            match self.stream.write(&window[self.at..end]) {
                Ok(count) => {
                    self.unsent -= count;
                    self.at = (self.at + count) % window.len();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what is there and returns how many answers that completes.
    fn receive(&mut self, buffer: &mut [u8], answer: usize) -> io::Result<usize> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.received += count;
                    if count < buffer.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let answered = self.received / answer;
        self.received %= answer;
        Ok(answered)
    }
}

/// Dials and goes through the opening handshake.
fn open(addr: SocketAddr) -> io::Result<Blocking> {
    let mut stream = Blocking::connect(addr)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {addr}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
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
    Ok(stream)
}

fn expect_echo(mut stream: &Blocking, frame: &[u8], expected: &[u8]) -> io::Result<()> {
    stream.write_all(frame)?;
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer)?;
    if answer != expected {
        return Err(io::Error::other("the answer is not the message sent"));
    }
    Ok(())
}

/// Encodes a message by hand (RFC 6455, section 5.2).
fn frame(kind: Kind, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let first = match kind {
        Kind::Binary => 0x82,
        Kind::Text => 0x81,
    };
    let mut frame = vec![first];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ ..126), _) => frame.push(masked | short),
        (_, Ok(medium)) => {
            frame.push(masked | 126);
            frame.extend_from_slice(&medium.to_be_bytes());
        }
        (_, Err(_)) => {
            frame.push(masked | 127);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    let key = mask.unwrap_or_default();
    frame.extend_from_slice(&key[..if mask.is_some() { 4 } else { 0 }]);
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(a, b)| a ^ b));
    frame
}

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// How long a server may stay silent before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(20);
