//! Peers that mean harm below the session, where TLS has records: beside a healthy peer, whose beats go on. Each
//! has a cause and a reason of its own, and leaves nothing behind.
#![cfg(all(feature = "tls", feature = "websocket"))]
#![allow(clippy::unwrap_used, reason = "a test")]

mod handshakes;
mod hello;
mod streams;

#[path = "../support/mod.rs"]
mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use heartwheel::close::Cause;
use heartwheel::config::WireKind;
use heartwheel::reactor::{ListenerConfig, Reactor, WireFactory};
use heartwheel::rustls;
use heartwheel::tls::{Certificates, Pair, ServerTls};
use rustls::SupportedProtocolVersion;
use rustls::version::TLS13;
use socket2::SockRef;

use support::PATIENCE;
use support::certs::Root;
use support::recorder::{Recorder, Seen};
use support::sealer::{Peer, Sealer};
use support::turning::{listen_with, on_loopback, reactor};

/// A server of ours, and a healthy peer.
struct Scene {
    reactor: Reactor<u32, u64>,
    recorder: Recorder,
    addr: SocketAddr,
    root: Root,
    healthy: Option<Peer>,
    /// What the healthy one has heard, and not looked at.
    heard: Vec<u8>,
    /// How many ends were told of.
    told: usize,
}

impl Scene {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut ListenerConfig)) -> Self {
        let root = Root::new();
        let issued = root.issue(&["server.test"], -1, 90);
        let pair = Pair::from_pem(issued.chain.as_bytes(), issued.key.as_bytes()).unwrap();
        let certificates = Certificates::new(vec![pair]).unwrap();
        let tls = ServerTls::new(certificates, WireKind::Line).config();
        let mut config = ListenerConfig {
            tls: Some(tls.unwrap()),
            ..on_loopback(WireFactory::Line, Some(20), Some(60_000))
        };
        change(&mut config);
        let mut reactor = reactor();
        let (_, addr) = listen_with(&mut reactor, config);
        let mut scene = Self {
            reactor,
            recorder: Recorder::echoing(),
            addr,
            root,
            healthy: None,
            heard: Vec::new(),
            told: 0,
        };
        scene.healthy = Some(scene.open(&TLS13));
        scene.assert_well();
        scene
    }

    /// Connects, and leads the handshake to its end.
    fn open(&mut self, version: &'static SupportedProtocolVersion) -> Peer {
        let mut peer = Peer::new(self.dial(), &self.root, version);
        let before = self.recorder.opened().len();
        self.drive(|scene| {
            peer.pump().unwrap();
            peer.is_open() && scene.recorder.opened().len() > before
        });
        peer
    }

    /// The same for one who then makes its own records.
    fn open_sealer(&mut self) -> (TcpStream, Sealer) {
        self.open(&TLS13).into_parts()
    }

    /// Connects.
    fn dial(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Turns until a condition holds. The healthy peer answers meanwhile.
    #[track_caller]
    fn drive(&mut self, mut until: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !until(self) {
            let seen = &self.recorder.seen;
            assert!(Instant::now() < deadline, "gave up; {:?}", seen.last());
            self.turn();
        }
    }

    fn turn(&mut self) {
        let limit = Duration::from_millis(1);
        self.reactor.turn(&mut self.recorder, Some(limit)).unwrap();
        let Some(healthy) = &mut self.healthy else {
            return;
        };
        let heard = healthy.pump().unwrap();
        let pings = heard.iter().filter(|&&byte| byte == b'G').count();
        healthy.say(&b"PONG\n".repeat(pings));
        self.heard.extend(heard);
    }

    /// Writes all of it, as fast as the server reads; until the end if that comes first.
    fn write(&mut self, stream: &TcpStream, bytes: &[u8]) {
        self.write_pieces(stream, bytes, usize::MAX);
    }

    /// The same in pieces, with a turn behind each.
    fn write_pieces(&mut self, mut stream: &TcpStream, bytes: &[u8], most: usize) {
        let mut at = 0;
        while at < bytes.len() {
            let end = bytes.len().min(at.saturating_add(most));
            match stream.write(&bytes[at..end]) {
                Ok(count) => at += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
            self.turn();
        }
    }

    /// Waits for the next end of an attacker, and returns its cause and reason.
    #[track_caller]
    fn end(&mut self) -> (Cause, String) {
        let end = |seen: &Seen| match seen {
            Seen::Closed(_, evidence, _, reason) | Seen::Rejected(evidence, reason) => {
                Some((evidence.cause, reason.clone()))
            }
            _ => None,
        };
        let mut found = None;
        self.drive(|scene| {
            found = scene.recorder.seen.iter().filter_map(end).nth(scene.told);
            found.is_some()
        });
        self.told += 1;
        found.unwrap()
    }

    /// Checks that the healthy peer is answered and its beats go on, and that nothing is kept for anybody.
    #[track_caller]
    fn assert_well(&mut self) {
        let pongs = |scene: &Self| {
            let seen = &scene.recorder.seen;
            let pongs = seen.iter().filter(|seen| matches!(seen, Seen::Pong(..)));
            pongs.count()
        };
        let before = pongs(self);
        self.heard.clear();
        self.healthy.as_mut().unwrap().say(b"well\n");
        self.drive(|scene| {
            let heard = String::from_utf8_lossy(&scene.heard);
            heard.contains("well\n") && pongs(scene) > before + 1
        });
        self.drive(|scene| scene.reactor.stats().memory == 0 && scene.reactor.len() == 1);
    }

    /// Waits for a ServerHello, lets the attacker go, and waits for its end.
    #[track_caller]
    fn assert_answered_and_left(&mut self, stream: TcpStream) {
        let mut answer = Vec::new();
        self.drive(|_| {
            answer.extend(read_all(&stream));
            !answer.is_empty()
        });
        assert_eq!(answer[0], HANDSHAKE, "{answer:?}");
        end_output(&stream);
        let (cause, reason) = self.end();
        assert_eq!((cause, &*reason), (Cause::TlsHandshake, "truncated"));
        self.assert_well();
    }

    /// Runs an attack that ends itself; `attack` writes, and does not wait for the end.
    #[track_caller]
    fn assert_end(
        &mut self,
        name: &str,
        cause: Cause,
        reason: &str,
        attack: impl FnOnce(&mut Self) -> TcpStream,
    ) {
        let stream = attack(self);
        let end = self.end();
        assert_eq!((end.0, &*end.1), (cause, reason), "{name}");
        drop(stream);
        self.assert_well();
    }
}

/// Reads what has come.
fn read_all(mut stream: &TcpStream) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        all.extend_from_slice(&buffer[..count]);
    }
    all
}

/// Ends the output.
fn end_output(stream: &TcpStream) {
    // It may be over already.
    let _over = stream.shutdown(Shutdown::Write);
}

/// Ends a connection with a reset.
fn reset(stream: TcpStream) {
    let linger = Some(Duration::ZERO);
    SockRef::from(&stream).set_linger(linger).unwrap();
}

/// A record that nobody has sealed.
fn record(typ: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&[typ, 3, 3], &len[..], payload].concat()
}

/// Types of records (RFC 8446, 5.1).
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;
