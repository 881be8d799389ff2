//! A neutral peer: it sends frames encoded beforehand, counts the messages that come back, and uses
//! nothing of the libraries under test.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream as Blocking};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::compressed::{self, OFFER};
use super::dial::open;

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
            size if size % MIB == 0 => format!("{} MiB", size / MIB),
            size if size % 1024 == 0 => format!("{} KiB", size / 1024),
            bytes => format!("{bytes} B"),
        };
        let kind = self.kind.name();
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
    /// Text that is sent compressed, each message for itself.
    Compressed,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Text => "text",
            Self::Compressed => "of compressed JSON",
        }
    }

    pub(crate) const fn is_compressed(self) -> bool {
        matches!(self, Self::Compressed)
    }
}

const MIB: usize = 1024 * 1024;

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
    /// Bytes of payload in an answer.
    size: u64,
    window: usize,
    buffer: Vec<u8>,
}

impl Crowd {
    /// Opens the connections and makes sure of each that it echoes.
    pub(crate) fn connect(addr: SocketAddr, load: Load) -> io::Result<Self> {
        let poll = Poll::new()?;
        let is_compressed = load.kind.is_compressed();
        let payload = match is_compressed {
            true => compressed::json(load.size),
            false => (b'a'..=b'z').cycle().take(load.size).collect(),
        };
        let frame = match is_compressed {
            true => frame(load.kind, &compressed::deflate(&payload)?),
            false => frame(load.kind, &payload),
        };
        let mut peers = Vec::with_capacity(load.connections);
        let mut size = 0;
        for index in 0..load.connections {
            let stream = open(addr, PATIENCE, is_compressed.then_some(OFFER))?;
            size = expect_echo(&stream, &frame, &payload, is_compressed)? as u64;
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
            size,
            window: load.window,
            buffer: vec![0; 256 * 1024],
        })
    }

    /// Returns how many bytes of payload an answer has.
    pub(crate) fn answer(&self) -> u64 {
        self.size
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
                let answered = peer.receive(&mut self.buffer, self.size)?;
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
    answers: Answers,
    /// Bytes still to be written. They end at the end of a window.
    unsent: usize,
    /// Where in the window the next byte lies.
    at: usize,
}

impl Peer {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            answers: Answers::default(),
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
    fn receive(&mut self, buffer: &mut [u8], size: u64) -> io::Result<usize> {
        let mut ended = 0;
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    ended += self.answers.take(&buffer[..count], size)?;
                    if count < buffer.len() {
                        return Ok(ended);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(ended),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Finds the ends of messages in what a server sends, in however many frames. Pings are passed over.
#[derive(Debug, Default)]
struct Answers {
    head: [u8; 10],
    /// Bytes of the head that are there.
    have: usize,
    /// Bytes still to come of the frame's payload.
    left: u64,
    /// Payload of the message so far.
    size: u64,
}

impl Answers {
    /// Returns how many messages end in these bytes. Each must have `size` bytes.
    fn take(&mut self, mut bytes: &[u8], size: u64) -> io::Result<usize> {
        let mut ended = 0;
        while let [first, rest @ ..] = bytes {
            if self.left == 0 {
                bytes = rest;
                self.head[self.have] = *first;
                self.have += 1;
                let Some(payload) = payload(&self.head[..self.have]) else {
                    continue;
                };
                self.have = 0;
                self.left = payload;
            }
            let here = bytes
                .len()
                .min(usize::try_from(self.left).unwrap_or(usize::MAX));
            bytes = &bytes[here..];
            self.left -= here as u64;
            if !is_control(self.head[0])? {
                self.size += here as u64;
                if self.left == 0 && self.head[0] & LAST != 0 {
                    check_size(self.size, size)?;
                    self.size = 0;
                    ended += 1;
                }
            }
        }
        Ok(ended)
    }
}

/// Returns the bytes of payload that a head announces, once it is complete (RFC 6455, section 5.2).
fn payload(head: &[u8]) -> Option<u64> {
    match head {
        [_, short @ ..=125] => Some(u64::from(*short)),
        [_, 126, a, b] => Some(u64::from(u16::from_be_bytes([*a, *b]))),
        [_, 127, long @ ..] => long.try_into().ok().map(u64::from_be_bytes),
        _ => None,
    }
}

/// Tells whether a frame is a ping or a pong. A goodbye is an error here.
fn is_control(first: u8) -> io::Result<bool> {
    match first & 0x0f {
        0x8 => Err(io::Error::other("the server says goodbye")),
        0x9 | 0xa => Ok(true),
        _ => Ok(false),
    }
}

fn check_size(is: u64, should: u64) -> io::Result<()> {
    if is == should {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "an answer of {is} bytes to a message of {should}"
    )))
}

/// The bit of a message's last frame, and that of the first one of a compressed message.
const LAST: u8 = 0x80;
const COMPRESSED: u8 = 0x40;

/// Returns how many bytes of payload the answer has.
fn expect_echo(
    mut stream: &Blocking,
    frame: &[u8],
    payload: &[u8],
    is_compressed: bool,
) -> io::Result<usize> {
    stream.write_all(frame)?;
    let (first, answer) = read_message(stream)?;
    if (first & COMPRESSED != 0) != is_compressed {
        return Err(io::Error::other("the answer is compressed, or is not"));
    }
    let is_echo = match is_compressed {
        true => compressed::inflate(&answer, payload.len())? == payload,
        false => answer == payload,
    };
    match is_echo {
        true => Ok(answer.len()),
        false => Err(io::Error::other("the answer is not the message sent")),
    }
}

/// Returns the first byte of a message and its payload.
fn read_message(mut stream: &Blocking) -> io::Result<(u8, Vec<u8>)> {
    let (mut first, mut message) = (0, Vec::new());
    loop {
        let mut head = Vec::new();
        let payload = loop {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.extend_from_slice(&byte);
            if let Some(payload) = payload(&head) {
                break payload;
            }
        };
        let start = message.len();
        stream.take(payload).read_to_end(&mut message)?;
        if is_control(head[0])? {
            message.truncate(start);
            continue;
        }
        first |= head[0];
        if head[0] & LAST != 0 {
            return Ok((first, message));
        }
    }
}

/// Encodes a message by hand (RFC 6455, section 5.2), masked as a client must.
fn frame(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![match kind {
        Kind::Binary => 0x82,
        Kind::Text => 0x81,
        Kind::Compressed => 0x81 | COMPRESSED,
    }];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ ..126), _) => frame.push(0x80 | short),
        (_, Ok(medium)) => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&medium.to_be_bytes());
        }
        (_, Err(_)) => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(a, b)| a ^ b));
    frame
}

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// How long a server may stay silent before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(20);
