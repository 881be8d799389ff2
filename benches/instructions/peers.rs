//! Peers that answer pings and do nothing else.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::dial::open;

/// The connections to one server.
pub(crate) struct Peers {
    poll: Poll,
    events: Events,
    peers: Vec<Peer>,
}

impl Peers {
    pub(crate) fn connect(addr: SocketAddr, count: usize) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut peers = Vec::with_capacity(count);
        for index in 0..count {
            let stream = open(addr, PATIENCE, None)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry()
                .register(&mut stream, Token(index), Interest::READABLE)?;
            peers.push(Peer {
                stream,
                received: Vec::new(),
            });
        }
        Ok(Self {
            poll,
            events: Events::with_capacity(1024),
            peers,
        })
    }

    /// Answers pings until there have been so many, and returns how many exactly.
    pub(crate) fn answer(&mut self, count: u64) -> io::Result<u64> {
        let mut answered = 0;
        while answered < count {
            self.poll.poll(&mut self.events, Some(PATIENCE))?;
            if self.events.is_empty() {
                return Err(io::Error::new(ErrorKind::TimedOut, "no ping comes"));
            }
            for event in &self.events {
                answered += self.peers[event.token().0].answer()?;
            }
        }
        Ok(answered)
    }
}

struct Peer {
    stream: TcpStream,
    /// The begin of a frame.
    received: Vec<u8>,
}

impl Peer {
    fn answer(&mut self) -> io::Result<u64> {
        let mut answered = 0;
        loop {
            let mut buffer = [0; 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(answered),
                Err(error) => return Err(error),
            }
            while let [first, len, rest @ ..] = &self.received[..]
                && let Some(payload) = rest.get(..usize::from(*len))
            {
                if *first != PING {
                    return Err(io::Error::other("the server sends more than pings"));
                }
                // The mask is of zeros, so that it changes nothing.
                let mut pong = vec![PONG, MASKED | len, 0, 0, 0, 0];
                pong.extend_from_slice(payload);
                let end = 2 + payload.len();
                self.stream.write_all(&pong)?;
                self.received.drain(..end);
                answered += 1;
            }
        }
    }
}

/// First bytes of frames, and the bit of a masked one (RFC 6455, section 5.2).
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
const MASKED: u8 = 0x80;

/// How long a server, slowed down as it is, may stay silent before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(60);
