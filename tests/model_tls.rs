//! The layer of TLS against two lists of bytes: what each side said is what the other hears, however the
//! socket cuts it. The peer is rustls as its own users drive it.
#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/certs.rs"]
mod certs;

use std::cell::Cell;
use std::io::{self, IoSlice, Read, Write};
use std::sync::{Arc, LazyLock};

use heartwheel::close::{Cause, KernelFigures};
use heartwheel::config::WireKind;
use heartwheel::proto::pool::Pool;
use heartwheel::sys::{Layer, LayerFault, Received, Socket, Tls};
use heartwheel::tls::{Certificates, Pair, Roots, ServerTls};
use proptest::collection::vec;
use proptest::prelude::*;
use rustls::{ClientConnection, Connection, ServerConnection};

use certs::Root;

#[derive(Clone, Copy, Debug)]
enum Op {
    /// The peer says so many bytes.
    Say(usize),
    /// So many bytes of the peer's reach the socket.
    Arrive(usize),
    /// The layer reads at most so many bytes, at most so often.
    Read(usize, usize),
    /// The session has so many bytes more to write.
    Queue(usize),
    /// The session writes, in slices of so many bytes.
    Write(usize),
    /// The socket takes so many bytes more.
    Room(usize),
    /// The next call of the socket is interrupted.
    Interrupt,
    /// The peer changes its key, and asks for another of ours.
    Renew,
    /// The peer says that no more comes.
    Goodbye,
    /// The peer's socket ends where it is.
    Cut,
    /// A byte that is under way is changed.
    Garble(usize),
    /// The session ends its output: at once, or when all has been written.
    Shutdown { is_hasty: bool },
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0..10usize, 4 => 0..600usize, 1 => 0..40_000usize]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => size().prop_map(Op::Say),
        8 => size().prop_map(Op::Arrive),
        8 => (1..20_000usize, 1..4usize).prop_map(|(most, times)| Op::Read(most, times)),
        2 => (1..20usize, 1..9usize).prop_map(|(most, times)| Op::Read(most, times)),
        5 => size().prop_map(Op::Queue),
        8 => size().prop_map(Op::Write),
        6 => size().prop_map(Op::Room),
        2 => Just(Op::Interrupt),
        2 => Just(Op::Renew),
    ]
}

/// An end of some kind, or none.
fn end() -> impl Strategy<Value = Option<Op>> {
    prop_oneof![
        2 => Just(None),
        2 => Just(Some(Op::Goodbye)),
        1 => Just(Some(Op::Cut)),
        1 => any::<usize>().prop_map(|at| Some(Op::Garble(at))),
        1 => Just(Some(Op::Shutdown { is_hasty: true })),
        2 => Just(Some(Op::Shutdown { is_hasty: false })),
    ]
}

/// A start that mostly gets through the handshake, a life, and two ends with some life between them.
fn ops() -> impl Strategy<Value = Vec<Op>> {
    let through = [Op::Room(9_000), Op::Arrive(9_000), Op::Read(1, 1)];
    let start = prop_oneof![
        3 => Just(through.repeat(3)),
        1 => Just(Vec::new()),
    ];
    let life = || vec(op(), 0..50);
    (start, life(), end(), life(), end(), life()).prop_map(|(start, a, end, b, other, c)| {
        let ends = [end, other].map(|end| end.into_iter().collect());
        let [end, other] = ends;
        [start, a, end, b, other, c].concat()
    })
}

/// How the two sides are made.
#[derive(Clone, Copy, Debug)]
struct Shape {
    is_server: bool,
    is_old: bool,
    /// The peer sends records of at most so many bytes, and so do we.
    fragment: Option<usize>,
    ours: Option<usize>,
}

fn shape() -> impl Strategy<Value = Shape> {
    let fragment = || prop_oneof![2 => Just(None), 1 => (40..400usize).prop_map(Some)];
    let shape = (any::<bool>(), any::<bool>(), fragment(), fragment());
    shape.prop_map(|(is_server, is_old, fragment, ours)| Shape {
        is_server,
        is_old,
        fragment,
        ours,
    })
}

/// The layer's socket. What the peer ever sent is one stream.
#[derive(Debug, Default)]
struct Wire {
    stream: Vec<u8>,
    /// So much of it has arrived, and so much of that was read.
    arrived: usize,
    read: usize,
    /// The stream ends where it is.
    is_over: bool,
    room: usize,
    /// What the layer wrote, and how much that was in all.
    written: Vec<u8>,
    written_ever: usize,
    is_interrupted: bool,
    is_shut: Cell<bool>,
}

impl Wire {
    fn interrupted(&mut self) -> io::Result<()> {
        match std::mem::take(&mut self.is_interrupted) {
            true => Err(io::ErrorKind::Interrupted.into()),
            false => Ok(()),
        }
    }

    /// Returns how many bytes of a record were read without its rest.
    fn half_record(&self) -> usize {
        let mut at = 0;
        loop {
            let Some(header) = self.stream.get(at..at + 5) else {
                return self.read - at;
            };
            let end = at + 5 + usize::from(u16::from_be_bytes([header[3], header[4]]));
            if end > self.read {
                return self.read - at;
            }
            at = end;
        }
    }
}

impl Socket for Wire {
    const SHORT_READ_DRAINS: bool = true;

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        assert!(!buffer.is_empty());
        self.interrupted()?;
        let count = buffer.len().min(self.arrived - self.read);
        if count == 0 && !(self.is_over && self.arrived == self.stream.len()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        buffer[..count].copy_from_slice(&self.stream[self.read..self.read + count]);
        self.read += count;
        Ok(count)
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        assert!(!self.is_shut.get(), "nothing is written behind the end");
        self.interrupted()?;
        let offered: Vec<u8> = slices
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .collect();
        assert!(!offered.is_empty());
        let count = offered.len().min(self.room);
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.written.extend(&offered[..count]);
        self.written_ever += count;
        self.room -= count;
        Ok(count)
    }

    fn has_waiting_bytes(&self) -> bool {
        self.read < self.arrived
    }

    fn is_connected(&self) -> io::Result<bool> {
        Ok(true)
    }

    fn shutdown(&self) -> io::Result<()> {
        assert!(!self.is_shut.replace(true), "it ends once");
        Ok(())
    }

    fn reset_on_close(&mut self) {}

    fn figures(&self) -> Option<KernelFigures> {
        None
    }
}

/// Both sides of a connection, and what has gone between them.
struct Talk {
    shape: Shape,
    tls: Tls,
    wire: Wire,
    pool: Pool,
    peer: Connection,
    /// What the peer said, and what we got of it.
    said: Vec<u8>,
    got: Vec<u8>,
    /// Where in the stream how much of it is whole.
    whole: Vec<(usize, usize)>,
    /// What the session had to write, how much of that the layer called sent, what the peer got of it.
    queued: Vec<u8>,
    sent: usize,
    /// What it has taken over beyond that.
    carried: usize,
    heard: Vec<u8>,
    /// Where in the stream the peer's goodbye ends.
    goodbye: Option<usize>,
    is_garbled: bool,
    has_peer_failed: bool,
    wants_shutdown: bool,
    is_ending: bool,
    /// What had arrived when a read said that nothing is left.
    drained: Option<usize>,
    end: Option<Received>,
    fault: Option<LayerFault>,
}

/// What this side of a conversation says at a place.
fn words(from: usize, count: usize) -> impl Iterator<Item = u8> {
    (from..from + count).map(|at| (at % 251) as u8)
}

impl Talk {
    fn new(shape: Shape) -> Self {
        let (tls, peer) = both(shape);
        Self {
            shape,
            tls,
            wire: Wire::default(),
            pool: Pool::default(),
            peer,
            said: Vec::new(),
            got: Vec::new(),
            whole: Vec::new(),
            queued: Vec::new(),
            sent: 0,
            carried: 0,
            heard: Vec::new(),
            goodbye: None,
            is_garbled: false,
            has_peer_failed: false,
            wants_shutdown: false,
            is_ending: false,
            drained: None,
            end: None,
            fault: None,
        }
    }

    fn is_open(&self) -> bool {
        Layer::<Wire>::is_open(&self.tls)
    }

    fn is_over(&self) -> bool {
        self.fault.is_some() || self.end == Some(Received::Cut)
    }

    fn play(&mut self, op: Op) {
        match op {
            Op::Say(count) if self.goodbye.is_none() && !self.has_peer_failed => {
                let bytes: Vec<_> = words(self.said.len(), count).collect();
                let taken = self.peer.writer().write(&bytes).unwrap();
                self.said.extend(&bytes[..taken]);
            }
            Op::Arrive(count) => {
                let left = self.wire.stream.len() - self.wire.arrived;
                self.wire.arrived += count.min(left);
            }
            Op::Read(most, times) => self.read(most, times),
            Op::Queue(count) if !self.is_ending && !self.wants_shutdown => {
                self.queued.extend(words(self.queued.len(), count));
            }
            Op::Write(cut) => self.write(cut),
            Op::Room(count) => self.wire.room += count,
            Op::Interrupt => self.wire.is_interrupted = true,
            Op::Renew if !self.shape.is_old && !self.peer.is_handshaking() => {
                if self.goodbye.is_none() && !self.has_peer_failed {
                    self.peer.refresh_traffic_keys().unwrap();
                }
            }
            Op::Goodbye if self.may_say_goodbye() => {
                self.speak();
                self.peer.send_close_notify();
                self.speak();
                self.goodbye = Some(self.wire.stream.len());
            }
            Op::Cut => {
                self.wire.stream.truncate(self.wire.arrived);
                self.wire.is_over = true;
            }
            Op::Garble(at) => {
                let under_way = &mut self.wire.stream[self.wire.arrived..];
                if !under_way.is_empty() {
                    let at = at % under_way.len();
                    under_way[at] ^= 0x10;
                    self.is_garbled = true;
                }
            }
            Op::Shutdown { is_hasty: true } if self.is_open() => {
                // The goodbye does not fit.
                self.wire.room = self.wire.room.min(5);
                self.shutdown();
            }
            Op::Shutdown { is_hasty: false } => self.wants_shutdown = true,
            Op::Say(_) | Op::Queue(_) | Op::Renew | Op::Goodbye | Op::Shutdown { .. } => {}
        }
        self.go_on();
        self.hear();
        self.speak();
        self.check();
    }

    fn may_say_goodbye(&self) -> bool {
        let is_able = !self.peer.is_handshaking() && !self.has_peer_failed;
        is_able && !self.wire.is_over && self.goodbye.is_none()
    }

    /// What a loop does after any event.
    fn go_on(&mut self) {
        if self.is_over() {
            return;
        }
        if !self.is_open() {
            match self.tls.open(&mut self.wire, &mut self.pool) {
                Ok(is_open) => assert_eq!(is_open, self.is_open()),
                Err(error) => self.fail(&error),
            }
        } else if self.wants_shutdown && self.sent == self.queued.len() {
            self.shutdown();
        }
    }

    fn read(&mut self, most: usize, times: usize) {
        // Nobody reads again before there is an event. The end of a socket is one that stays.
        if self.drained.take() == Some(self.wire.arrived) && !self.wire.is_over {
            self.drained = Some(self.wire.arrived);
            return;
        }
        for _ in 0..times {
            if !self.is_open() || self.is_over() || self.end.is_some() {
                return;
            }
            let (before, had) = (self.wire.read, self.got.len());
            let got = &mut self.got;
            let mut take = |piece: &[u8]| got.extend_from_slice(piece);
            let found = self
                .tls
                .read(&mut self.wire, &mut self.pool, most, &mut take);
            match found {
                Ok(Received::Bytes {
                    kernel,
                    session,
                    is_drained,
                    ..
                }) => {
                    assert_eq!(kernel, self.wire.read - before);
                    assert_eq!(session, self.got.len() - had);
                    assert!(kernel + session > 0 && session <= most);
                    let holds = Layer::<Wire>::holds_bytes(&self.tls);
                    assert!(!is_drained || !holds && !self.wire.has_waiting_bytes());
                    if is_drained {
                        self.drained = Some(self.wire.arrived);
                        return;
                    }
                }
                Ok(end) => self.end = Some(end),
                Err(error) => return self.fail(&error),
            }
        }
    }

    fn write(&mut self, cut: usize) {
        let wants = Layer::<Wire>::wants_write(&self.tls);
        let rest = match self.is_ending {
            true => &[],
            // What it has taken over does not come again, and others may stand there.
            false if self.carried > 0 => b"overtakes it".as_slice(),
            false => &self.queued[self.sent..],
        };
        if !self.is_open() || self.is_over() || (rest.is_empty() && !wants) {
            return;
        }
        let slices: Vec<_> = rest.chunks(cut.max(1)).map(IoSlice::new).collect();
        let before = self.wire.written_ever;
        match self.tls.write(&mut self.wire, &mut self.pool, &slices) {
            Ok(sent) => {
                assert_eq!(sent.kernel, self.wire.written_ever - before);
                assert!(self.carried == 0 || [0, self.carried].contains(&sent.session));
                self.carried = self.carried + sent.carried - sent.session.min(self.carried);
                self.sent += sent.session;
                assert!(self.sent <= self.queued.len());
                let wants = Layer::<Wire>::wants_write(&self.tls);
                assert_eq!(sent.is_refused, wants);
                assert!(!wants || self.wire.room == 0, "all the room is used");
            }
            Err(error) => self.fail(&error),
        }
    }

    fn tls_is_quiet(&self) -> bool {
        !Layer::<Wire>::wants_write(&self.tls)
    }

    fn shutdown(&mut self) {
        if self.is_ending || self.is_over() {
            return;
        }
        self.is_ending = true;
        if let Err(error) = self.tls.shutdown(&mut self.wire, &mut self.pool) {
            self.fail(&error);
        }
    }

    fn fail(&mut self, error: &io::Error) {
        let again = [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted];
        if !again.contains(&error.kind()) {
            self.fault = Some(LayerFault::of(error).unwrap().clone());
        }
    }

    /// The peer takes what was written.
    fn hear(&mut self) {
        let bytes = std::mem::take(&mut self.wire.written);
        let mut sealed = &bytes[..];
        while !sealed.is_empty() {
            self.peer.read_tls(&mut sealed).unwrap();
            if let Err(error) = self.peer.process_new_packets() {
                assert!(self.is_garbled || self.fault.is_some(), "{error}");
                self.has_peer_failed = true;
                return;
            }
            if let Err(error) = self.peer.reader().read_to_end(&mut self.heard) {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            }
        }
    }

    /// What the peer has to say is under way.
    fn speak(&mut self) {
        while self.peer.wants_write() {
            let mut bytes = Vec::new();
            self.peer.write_tls(&mut bytes).unwrap();
            if !self.wire.is_over {
                self.wire.stream.extend(bytes);
            }
        }
        if !self.peer.is_handshaking() && !self.wire.is_over {
            self.whole.push((self.wire.stream.len(), self.said.len()));
        }
    }

    /// What holds at any time.
    fn check(&self) {
        assert!(self.said.starts_with(&self.got), "what comes was said");
        assert!(self.queued.starts_with(&self.heard), "what leaves was said");
        if self.is_garbled || self.is_over() {
            return;
        }
        let holds = Layer::<Wire>::holds_bytes(&self.tls);
        let is_quiet = self.tls_is_quiet();
        assert!(self.heard.len() >= self.sent, "what was sent has left");
        assert!(!is_quiet || self.is_ending || self.heard.len() == self.sent);
        assert!(!self.wire.is_shut.get() || is_quiet);
        // Behind our goodbye nothing that comes is handed over any more.
        if !self.is_open() || self.end.is_some() || self.is_ending {
            return;
        }
        let mut whole = self.whole.iter().rev();
        let whole = whole.find(|&&(at, _)| at <= self.wire.read);
        assert!(
            holds || self.got.len() >= whole.map_or(0, |&(_, said)| said),
            "what is whole is handed over"
        );
        self.check_memory(holds || !is_quiet);
    }

    fn check_memory(&self, is_busy: bool) {
        let memory = Layer::<Wire>::memory(&self.tls);
        let half = self.wire.half_record();
        assert!(memory >= half, "half a record is counted");
        if is_busy {
            assert!(memory > half, "what is under way is counted");
        } else if half == 0
            // Messages of the handshake may lie in several records.
            && (self.shape.fragment.is_none() || self.wire.read == self.wire.stream.len())
        {
            assert_eq!(memory, 0, "nothing is under way");
        }
    }

    /// All that is under way comes through.
    fn settle(&mut self) {
        for _ in 0..40 {
            for op in [
                Op::Room(200_000),
                Op::Arrive(usize::MAX),
                Op::Read(20_000, 40),
                Op::Write(3_000),
            ] {
                self.play(op);
            }
        }
    }

    /// How it must have ended.
    fn check_end(&self) {
        let cause = self.fault.as_ref().map(|fault| fault.cause);
        if self.is_garbled {
            let known = [None, Some(Cause::TlsHandshake), Some(Cause::TlsError)];
            return assert!(known.contains(&cause));
        }
        if cause.is_some() || !self.is_open() {
            assert!(self.wire.is_over && !self.is_open());
            return assert_eq!(cause, Some(Cause::TlsHandshake));
        }
        if self.is_ending {
            return self.check_ending();
        }
        let is_said = self.goodbye.is_some_and(|at| at <= self.wire.stream.len());
        let end = match (is_said, self.wire.is_over) {
            (true, _) => Some(Received::End),
            (false, true) => Some(Received::Cut),
            (false, false) => None,
        };
        assert_eq!(self.end, end);
        if !self.wire.is_over {
            assert!(self.got == self.said, "all that was said has come");
        }
        if !self.is_over() {
            assert!(self.heard == self.queued, "all that was queued has left");
        }
    }

    /// The same where we have said goodbye.
    fn check_ending(&self) {
        let ends = [Some(Received::End), Some(Received::Cut)];
        assert_eq!(
            ends.contains(&self.end),
            self.wire.is_over || self.end.is_some()
        );
        if self.is_over() {
            return;
        }
        assert!(self.wire.is_shut.get());
        if self.wants_shutdown && !self.is_hasty() {
            assert!(self.heard == self.queued, "all that was queued has left");
        }
    }

    /// The session ended before all was written.
    fn is_hasty(&self) -> bool {
        self.is_ending && self.sent < self.queued.len()
    }
}

/// Returns the layer and its peer.
fn both(shape: Shape) -> (Tls, Connection) {
    let version = match shape.is_old {
        true => &rustls::version::TLS12,
        false => &rustls::version::TLS13,
    };
    let (mut server, mut client) = (server(version), client(version));
    let name = rustls::pki_types::ServerName::try_from("server.test").unwrap();
    let (for_server, for_client) = match shape.is_server {
        true => (shape.ours, shape.fragment),
        false => (shape.fragment, shape.ours),
    };
    server.max_fragment_size = for_server;
    client.max_fragment_size = for_client;
    let (server, client) = (Arc::new(server), Arc::new(client));
    if shape.is_server {
        let peer = ClientConnection::new(client, name).unwrap();
        (Tls::server(&server).unwrap(), peer.into())
    } else {
        let peer = ServerConnection::new(server).unwrap();
        (Tls::client(&client, &name).unwrap(), peer.into())
    }
}

/// One root, and one server's certificate, for all that is played.
static CREDENTIALS: LazyLock<(String, String, String)> = LazyLock::new(|| {
    let root = Root::new();
    let issued = root.issue(&["server.test"], -1, 90);
    (root.pem(), issued.chain, issued.key)
});

fn server(version: &'static rustls::SupportedProtocolVersion) -> rustls::ServerConfig {
    let (_, chain, key) = &*CREDENTIALS;
    let pair = Pair::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
    let certificates = Certificates::new(vec![pair]).unwrap();
    let config = ServerTls::new(certificates, WireKind::Line)
        .config()
        .unwrap();
    let provider = config.crypto_provider().clone();
    let builder = rustls::ServerConfig::builder_with_provider(provider);
    builder
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(config.cert_resolver.clone())
}

fn client(version: &'static rustls::SupportedProtocolVersion) -> rustls::ClientConfig {
    let roots = Roots::from_pem(CREDENTIALS.0.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots.store().clone())
        .with_no_client_auth()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn what_was_said_is_heard_however_it_is_cut(shape in shape(), ops in ops()) {
        let mut talk = Talk::new(shape);
        for op in ops {
            talk.play(op);
        }
        talk.settle();
        talk.check_end();
    }
}
