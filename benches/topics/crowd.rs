//! A neutral peer: one connection publishes, the others subscribe and count what arrives.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream as Blocking};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::dial::open;

/// One point of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Bytes of payload in a message.
    pub(crate) size: usize,
    /// Subscribers: of one topic all of them, of several ten each, and each of ten.
    pub(crate) connections: usize,
    pub(crate) topics: usize,
    /// Messages that are published at a time, once the ones before have arrived.
    pub(crate) burst: usize,
}

impl Load {
    /// Returns the topics of a connection.
    fn topics_of(self, connection: usize) -> Vec<usize> {
        match self.topics {
            1 => vec![0],
            topics => (0..EACH).map(|next| (connection + next) % topics).collect(),
        }
    }

    /// Returns how many subscribe to each topic.
    fn subscribers(self) -> usize {
        match self.topics {
            1 => self.connections,
            _ => EACH,
        }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (size, topics, subscribers) = (self.size, self.topics, self.subscribers());
        let plural = if topics == 1 { "" } else { "s" };
        let burst = self.burst;
        write!(
            f,
            "{size} B, {topics} topic{plural} of {subscribers}, {burst} at a time"
        )
    }
}

/// Topics of each connection, and connections of each topic, where there are several.
const EACH: usize = 10;

/// The connections to one server.
pub(crate) struct Crowd {
    load: Load,
    poll: Poll,
    events: Events,
    subscribers: Vec<TcpStream>,
    publisher: Blocking,
    /// How many messages were published so far.
    published: usize,
    buffer: Vec<u8>,
}

impl Crowd {
    /// Opens the connections, and makes sure that each of them subscribes.
    pub(crate) fn connect(addr: SocketAddr, load: Load) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut subscribers = Vec::with_capacity(load.connections);
        for index in 0..load.connections {
            let stream = open(addr, PATIENCE, None)?;
            subscribe(&stream, &load.topics_of(index))?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry()
                .register(&mut stream, Token(index), Interest::READABLE)?;
            subscribers.push(stream);
        }
        Ok(Self {
            load,
            poll,
            events: Events::with_capacity(4096),
            subscribers,
            publisher: open(addr, PATIENCE, None)?,
            published: 0,
            buffer: vec![0; 64 * 1024],
        })
    }

    /// Publishes for a time, one topic after the other, and waits each time until all has arrived. Returns how many
    /// messages arrived, and the time that it took.
    pub(crate) fn publish(&mut self, span: Duration) -> io::Result<(usize, Duration)> {
        let start = Instant::now();
        let first = self.published;
        // All frames are the same, but for the topic.
        let arrives = head_len(self.load.size) + self.load.size;
        let of_each = arrives * self.load.subscribers();
        let mut bytes = 0;
        loop {
            if bytes == (self.published - first) * of_each {
                if start.elapsed() >= span {
                    return Ok((bytes / arrives, start.elapsed()));
                }
                self.send(self.load.burst)?;
            }
            self.poll.poll(&mut self.events, Some(PATIENCE))?;
            if self.events.is_empty() {
                return Err(io::Error::new(ErrorKind::TimedOut, "the server is stuck"));
            }
            for event in &self.events {
                let stream = &mut self.subscribers[event.token().0];
                bytes += receive(stream, &mut self.buffer)?;
            }
        }
    }

    fn send(&mut self, count: usize) -> io::Result<()> {
        let payload = "x".repeat(self.load.size);
        let mut frames = Vec::new();
        for _ in 0..count {
            let topic = self.published % self.load.topics;
            frames.extend(frame(&format!("topic {topic}\n{payload}")));
            self.published += 1;
        }
        self.publisher.write_all(&frames)
    }
}

/// Reads what is there, and returns how much it was.
fn receive(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let mut bytes = 0;
    loop {
        match stream.read(buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                bytes += count;
                if count < buffer.len() {
                    return Ok(bytes);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(bytes),
            Err(error) => return Err(error),
        }
    }
}

fn subscribe(mut stream: &Blocking, topics: &[usize]) -> io::Result<()> {
    let (mut asked, mut answer) = (Vec::new(), Vec::new());
    for topic in topics {
        let text = format!("+topic {topic}");
        asked.extend(frame(&text));
        answer.extend([0x81, u8::try_from(text.len()).expect("it is short")]);
        answer.extend(text.as_bytes());
    }
    stream.write_all(&asked)?;
    let mut answered = vec![0; answer.len()];
    stream.read_exact(&mut answered)?;
    if answered == answer {
        return Ok(());
    }
    Err(io::Error::other(
        "the server does not say that one subscribes",
    ))
}

/// Encodes a text by hand (RFC 6455, section 5.2), masked as a client must.
fn frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match (u8::try_from(text.len()), u16::try_from(text.len())) {
        (Ok(short @ ..126), _) => frame.push(0x80 | short),
        (_, Ok(medium)) => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&medium.to_be_bytes());
        }
        (_, Err(_)) => panic!("no point has messages of {} bytes", text.len()),
    }
    frame.extend_from_slice(&MASK);
    let masked = text.bytes().zip(MASK.iter().cycle());
    frame.extend(masked.map(|(byte, mask)| byte ^ mask));
    frame
}

/// Returns the length of a server's frame head.
const fn head_len(payload: usize) -> usize {
    if payload < 126 { 2 } else { 4 }
}

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// How long a server may stay silent before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(20);
