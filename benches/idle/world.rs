//! Many WebSocket connections of the library's own loop on virtual time, whose peers answer every ping at
//! once: what heartbeats cost where the kernel costs nothing.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::time::Duration;

use heartwheel::close::KernelFigures;
use heartwheel::config::{HeartbeatConfig, ReactorConfig};
use heartwheel::event_loop::{Handler, ListenerConfig, WireFactory};
use heartwheel::proto::message::SharedMessage;
use heartwheel::proto::session::{Entropy, Session};
use heartwheel::proto::time::Micros;
use heartwheel::stats::Stats;
use heartwheel::sys::{Ready, Socket, Token};

use super::memory::{Edges, Memory, MemoryLoop, Plug, opening};

pub(crate) struct World(MemoryLoop<Nobody, Peer>);

impl World {
    pub(crate) fn new(count: usize) -> Self {
        let config = ReactorConfig {
            max_connections: count,
            history: 0,
            ..ReactorConfig::default()
        };
        let addr = SocketAddr::from(([127, 0, 0, 1], 1));
        let mut listener = ListenerConfig::new(addr, WireFactory::WebSocket);
        listener.heartbeat = HeartbeatConfig {
            interval: Some(INTERVAL),
            ping_slack: Some(Duration::ZERO),
            ..HeartbeatConfig::websocket()
        };
        listener.admission.half_open_per_address = None;
        listener.admission.share_per_address = None;
        let mut process = MemoryLoop::new(config, Micros::ZERO, Box::new(Seven), Nobody);
        process.inner.listen(listener).unwrap();
        while process.inner.len() < count {
            // One by one, so that no queue of theirs grows.
            process.memory.come(addr.port(), addr, Peer::default());
            process.settle();
        }
        assert_eq!(process.inner.stats().opened, count as u64);
        Self(process)
    }

    /// Lets a minute pass, turn by turn, as far as there is something to do.
    pub(crate) fn run_a_minute(&mut self) {
        let end = self.0.memory.clock() + Micros::from_secs(60);
        self.0.run_to(end);
    }

    /// Sends everybody a message, of which peers take no notice.
    #[allow(dead_code, reason = "not all of its users ask for it")]
    pub(crate) fn broadcast(&mut self, message: &SharedMessage) {
        self.0.inner.context().broadcast(message).unwrap();
        self.0.settle();
    }

    pub(crate) fn stats(&self) -> &Stats {
        self.0.inner.stats()
    }

    /// Makes sure that every connection has had two pings and two answers a minute.
    pub(crate) fn check(&self, minutes: u64) {
        let stats = self.stats();
        let expected = 2 * minutes * self.0.inner.len() as u64;
        assert_eq!(stats.pings_written, expected);
        assert_eq!(stats.pongs_matched, expected);
        let mut sessions = self.0.inner.inspect().map(|held| held.session);
        assert!(sessions.all(Session::is_released));
    }
}

struct Nobody;

impl Handler<(), Memory<Peer>> for Nobody {
    type Data = ();
}

/// A socket with its peer in it.
#[derive(Debug, Default)]
struct Peer {
    edges: Edges,
    token: Option<Token>,
    says: Says,
}

/// What the peer has said that was not read.
#[derive(Debug, Default)]
enum Says {
    /// That it wants a WebSocket.
    #[default]
    Hello,
    /// The answer to a ping with this token.
    Pong([u8; 4]),
    Nothing,
}

impl Peer {
    fn tell(&self) {
        let ready = Ready {
            readable: true,
            ..Ready::default()
        };
        self.edges
            .note(self.token.expect("it is registered"), ready);
    }
}

impl Plug for Peer {
    fn register(&mut self, token: Token, edges: &Edges) {
        (self.token, self.edges) = (Some(token), edges.clone());
        self.tell();
    }
}

impl Socket for Peer {
    const SHORT_READ_DRAINS: bool = true;

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match std::mem::replace(&mut self.says, Says::Nothing) {
            Says::Nothing => Err(io::ErrorKind::WouldBlock.into()),
            Says::Pong(token) => {
                // The mask is zero: its payload is the ping's.
                buffer[..6].copy_from_slice(&[0x8A, 0x84, 0, 0, 0, 0]);
                buffer[6..10].copy_from_slice(&token);
                Ok(10)
            }
            Says::Hello => {
                let hello = opening::ask();
                buffer[..hello.len()].copy_from_slice(&hello);
                Ok(hello.len())
            }
        }
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let [first, rest @ ..] = slices else {
            return Ok(0);
        };
        if let [0x89, 4, token @ ..] = &first[..] {
            self.says = Says::Pong(token.try_into().expect("a ping is all that is said"));
            self.tell();
        }
        Ok(first.len() + rest.iter().map(|slice| slice.len()).sum::<usize>())
    }

    fn has_waiting_bytes(&self) -> bool {
        !matches!(self.says, Says::Nothing)
    }

    fn is_connected(&self) -> io::Result<bool> {
        Ok(true)
    }

    fn shutdown(&self) -> io::Result<()> {
        Ok(())
    }

    fn reset_on_close(&mut self) {}

    fn figures(&self) -> Option<KernelFigures> {
        None
    }
}

/// A server needs no randomness but for its tokens.
#[derive(Debug)]
struct Seven;

impl Entropy for Seven {
    fn next_u64(&mut self) -> u64 {
        7
    }
}

pub(crate) const INTERVAL: Duration = Duration::from_secs(30);
