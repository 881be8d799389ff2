//! Peers as bare as the floor: they hold many connections, answer pings, and know how far apart these
//! came. One read and one write for each.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use heartwheel::proto::time::Micros;
use heartwheel::rustls;
use heartwheel::stats::Histogram;
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};

use super::control::{Look, next_command, show};
use super::line::Line;
use super::secure;
use super::subject::{ANSWERED, ENDED, HELD};

/// What peers are told when they start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    pub(crate) server: SocketAddrV4,
    /// The first address that they dial from. Beyond half of its 28 000 ports the kernel looks for a free
    /// one for long, so that so many connections take the next.
    pub(crate) source: Ipv4Addr,
    pub(crate) interval: Duration,
    pub(crate) capacity: usize,
    /// Over TLS.
    pub(crate) is_secure: bool,
}

impl Order {
    pub(crate) fn to_words(self) -> Vec<String> {
        vec![
            "peers".to_owned(),
            self.server.to_string(),
            self.source.to_string(),
            self.interval.as_millis().to_string(),
            self.capacity.to_string(),
            self.is_secure.to_string(),
        ]
    }

    pub(crate) fn from_words(words: &[String]) -> Option<Self> {
        let [server, source, interval, capacity, is_secure] = words else {
            return None;
        };
        Some(Self {
            server: server.parse().ok()?,
            source: source.parse().ok()?,
            interval: Duration::from_millis(interval.parse().ok()?),
            capacity: capacity.parse().ok()?,
            is_secure: is_secure.parse().ok()?,
        })
    }

    /// Takes commands: `open N` dials until so many are held and then answers; `mute N` lets the first
    /// so many answer no more; `look` answers at once.
    pub(crate) fn hold(self) -> io::Result<()> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let stdin = rustix::stdio::stdin();
        let input = epoll::EventFlags::IN;
        epoll::add(&epoll, stdin, epoll::EventData::new_u64(STDIN), input)?;
        let tls = self.is_secure.then(secure::client).transpose()?;
        let crowd = Crowd {
            epoll,
            tls,
            order: self,
            start: Instant::now(),
            peers: Vec::with_capacity(self.capacity),
            wanted: 0,
            first: usize::MAX,
            is_owed: false,
            counts: Counts::default(),
        };
        crowd.run()
    }
}

struct Peer {
    line: Line,
    stage: Stage,
    /// When it last was pinged, or began to dial, µs.
    pinged: u64,
    /// When it last sent something.
    sent: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connecting,
    Handshaking,
    Open,
    Mute,
    Ended,
}

struct Crowd {
    epoll: OwnedFd,
    tls: Option<Arc<rustls::ClientConfig>>,
    order: Order,
    start: Instant,
    peers: Vec<Peer>,
    /// How many there are to be.
    wanted: usize,
    /// How many the first command asked for.
    first: usize,
    /// The answer to `open` is owed.
    is_owed: bool,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    held: usize,
    answered: u64,
    ended: u64,
    /// How much the time between two pings of a connection differed from the interval.
    gaps: Histogram,
    /// The same for those connections that were there first.
    first_gaps: Histogram,
    /// From the dial to the end of the handshake.
    opening: Histogram,
    /// From the last byte of a mute peer to the end of its connection.
    detection: Histogram,
}

impl Crowd {
    fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(1024);
        loop {
            events.clear();
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                None,
            ) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let now = self.now();
            for event in &events {
                match event.data.u64() {
                    STDIN => match next_command()? {
                        Some(command) => self.obey(&command)?,
                        None => return Ok(()),
                    },
                    index => self.handle(index as usize, event.flags, now)?,
                }
            }
            self.dial()?;
            if self.is_owed && self.counts.held + self.counts.ended as usize >= self.wanted {
                self.is_owed = false;
                show(&self.look())?;
            }
        }
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    fn obey(&mut self, command: &str) -> io::Result<()> {
        let mut words = command.split(' ');
        let name = words.next();
        let count = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        match name {
            Some("open") => {
                self.wanted = count;
                self.first = self.first.min(count);
                self.is_owed = true;
                Ok(())
            }
            Some("mute") => {
                for peer in &mut self.peers[..count] {
                    peer.stage = Stage::Mute;
                }
                show(&self.look())
            }
            _ => show(&self.look()),
        }
    }

    /// Dials on, a bounded number at a time so that none waits for the kernel to take it.
    fn dial(&mut self) -> io::Result<()> {
        let settled = self.counts.held + self.counts.ended as usize;
        let until = self
            .wanted
            .min(settled + DIALS)
            .min(self.peers.len() + DIALS_AT_ONCE);
        while self.peers.len() < until {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
            // So that its end leaves nothing behind in the kernel.
            sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
            let [a, b, c, d] = self.order.source.octets();
            let source = Ipv4Addr::new(a, b, c, d + (self.peers.len() / FROM_ONE) as u8);
            bind(&socket, &SocketAddrV4::new(source, 0))?;
            match connect(&socket, &self.order.server) {
                Ok(()) | Err(Errno::INPROGRESS) => {}
                Err(error) => return Err(error.into()),
            }
            let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
            let data = epoll::EventData::new_u64(self.peers.len() as u64);
            epoll::add(&self.epoll, &socket, data, flags)?;
            let now = self.now();
            self.peers.push(Peer {
                line: Line::new(socket, self.tls.as_ref())?,
                stage: Stage::Connecting,
                pinged: now,
                sent: now,
            });
        }
        Ok(())
    }

    fn handle(&mut self, index: usize, flags: epoll::EventFlags, now: u64) -> io::Result<()> {
        let peer = &mut self.peers[index];
        let is_over = flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR);
        match peer.stage {
            Stage::Ended => Ok(()),
            Stage::Connecting => {
                let sent = peer.line.send(REQUEST);
                sent.map_err(|error| io::Error::other(format!("a dial failed: {error}")))?;
                peer.stage = Stage::Handshaking;
                Ok(())
            }
            // A reset gives no further edge for itself, whatever is read before it.
            Stage::Open | Stage::Mute if is_over => {
                self.end(index, now);
                Ok(())
            }
            Stage::Handshaking | Stage::Open | Stage::Mute => self.read(index, now),
        }
    }

    fn read(&mut self, index: usize, now: u64) -> io::Result<()> {
        let mut buffer = [0; 1024];
        let peer = &mut self.peers[index];
        let count = match peer.line.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Ok(count) if count > 0 => count,
            _ => {
                self.end(index, now);
                return Ok(());
            }
        };
        let mut input = &buffer[..count];
        if peer.stage == Stage::Handshaking {
            let head = find(input, b"\r\n\r\n").filter(|_| input.starts_with(b"HTTP/1.1 101"));
            let Some(head) = head else {
                let told = String::from_utf8_lossy(input);
                return Err(io::Error::other(format!("a handshake failed: {told}")));
            };
            input = &input[head + 4..];
            peer.stage = Stage::Open;
            self.counts.held += 1;
            self.counts
                .opening
                .record(Duration::from_micros(now - peer.pinged));
            // What comes first is no gap.
            peer.pinged = 0;
        }
        while !input.is_empty() {
            input = self.answer(index, input, now)?;
        }
        Ok(())
    }

    /// Answers the ping at the front of the input and returns the rest.
    fn answer<'a>(&mut self, index: usize, input: &'a [u8], now: u64) -> io::Result<&'a [u8]> {
        let peer = &mut self.peers[index];
        let payload = match input {
            [0x89, len @ ..126, rest @ ..] if rest.len() >= usize::from(*len) => {
                &rest[..usize::from(*len)]
            }
            _ => return Err(io::Error::other(format!("no ping: {input:x?}"))),
        };
        let interval = Micros::from(self.order.interval).as_micros();
        if peer.pinged > 0 {
            let error = Duration::from_micros((now - peer.pinged).abs_diff(interval));
            self.counts.gaps.record(error);
            if index < self.first {
                self.counts.first_gaps.record(error);
            }
        }
        peer.pinged = now;
        if peer.stage == Stage::Open {
            let mut pong = [0; 6 + 125];
            pong[0] = 0x8A;
            // The mask is zero: masked or not, the payload is the same.
            pong[1] = 0x80 | payload.len() as u8;
            pong[6..6 + payload.len()].copy_from_slice(payload);
            let pong = &pong[..6 + payload.len()];
            if peer.line.send(pong).is_ok() {
                peer.sent = now;
                self.counts.answered += 1;
            }
        }
        Ok(&input[2 + payload.len()..])
    }

    fn end(&mut self, index: usize, now: u64) {
        let peer = &mut self.peers[index];
        if peer.stage == Stage::Mute {
            self.counts
                .detection
                .record(Duration::from_micros(now - peer.sent));
        }
        peer.stage = Stage::Ended;
        self.counts.ended += 1;
        self.counts.held -= 1;
    }

    fn look(&self) -> Look {
        Look::now()
            .with(HELD, self.counts.held as u64)
            .with(ANSWERED, self.counts.answered)
            .with(ENDED, self.counts.ended)
            .with_times(GAPS, &self.counts.gaps)
            .with_times(FIRST_GAPS, &self.counts.first_gaps)
            .with_times(OPENING, &self.counts.opening)
            .with_times(DETECTION, &self.counts.detection)
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

pub(crate) const GAPS: &str = "gaps";
pub(crate) const FIRST_GAPS: &str = "first_gaps";
pub(crate) const OPENING: &str = "opening";
pub(crate) const DETECTION: &str = "detection";

/// Dials under way at once, which the listeners' backlog holds, and those begun between two waits.
const DIALS: usize = 4_000;
const DIALS_AT_ONCE: usize = 64;

/// Connections from one address.
const FROM_ONE: usize = 9_000;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// The answer that RFC 6455, section 1.3, gives to this key.
pub(crate) const RESPONSE: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

const STDIN: u64 = u64::MAX;
