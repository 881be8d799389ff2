//! TLS between socket and session, in memory and on virtual time. The other side is rustls as its own users
//! drive it, with buffers of its own.
#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/certs.rs"]
mod certs;
#[path = "support/dice.rs"]
mod dice;
#[path = "support/memory/mod.rs"]
mod memory;

use std::io::{self, Read, Write};
use std::sync::Arc;

use heartwheel::close::{Cause, CloseCode, Evidence, Phase};
use heartwheel::config::{HeartbeatConfig, ReactorConfig, WireKind};
use heartwheel::event_loop::{
    ClientConfig, ClientEvent, ClientId, Closed, ConnId, Context, DialError, Handler,
    ListenerConfig, Rejected, WireFactory,
};
use heartwheel::proto::message::Message;
use heartwheel::proto::time::Micros;
use heartwheel::proto::wire::Role;
use heartwheel::sys::{Seal, Tls};
use heartwheel::tls::{Certificates, ClientTls, Pair, Roots, ServerTls, Trust};
use rustls::{ClientConnection, Connection, ServerConnection};

use certs::Root;
use dice::Dice;
use memory::pipe::{Far, Fate, Pipe};
use memory::{Between, Memory, MemoryLoop};

impl Between<Pipe> for Tls {
    fn between(_role: Role, seal: &Seal) -> io::Result<Option<Self>> {
        match seal {
            Seal::Server(config) => Self::server(config).map(Some),
            Seal::Client(config, name) => Self::client(config, name).map(Some),
            _ => Ok(None),
        }
    }
}

type Cx<'a> = Context<'a, (), Memory<Pipe, Tls>>;
/// Of Linux.
const ECONNRESET: i32 = 104;

type Process = MemoryLoop<Ear, Pipe, Tls>;

#[derive(Debug, Default)]
struct Ear {
    opened: Option<ConnId>,
    heard: Vec<String>,
    bytes: usize,
    pongs: usize,
    end: Option<(Evidence, String)>,
    failed: Option<DialError>,
}

impl Ear {
    fn cause(&self) -> Option<Cause> {
        Some(self.end.as_ref()?.0.cause)
    }

    /// The cause of the end and its reason.
    fn end(&self) -> (Cause, &str) {
        let (evidence, reason) = self.end.as_ref().unwrap();
        (evidence.cause, reason)
    }
}

impl Handler<(), Memory<Pipe, Tls>> for Ear {
    type Data = ();

    fn on_open(&mut self, _: &mut Cx<'_>, id: ConnId) {
        assert_eq!(self.opened.replace(id), None);
    }

    fn on_message(&mut self, _: &mut Cx<'_>, _: ConnId, message: Message<'_>) {
        self.bytes += message.data().len();
        let text = String::from_utf8_lossy(message.data());
        self.heard.push(text.into_owned());
    }

    fn on_pong(&mut self, _: &mut Cx<'_>, _: ConnId, _: Option<std::time::Duration>) {
        self.pongs += 1;
    }

    fn on_close(&mut self, _: &mut Cx<'_>, closed: Closed<'_, ()>) {
        self.end = Some((*closed.evidence, closed.reason.to_owned()));
    }

    fn on_client(&mut self, _: &mut Cx<'_>, _: ClientId, event: ClientEvent) {
        if let ClientEvent::Failed { error } = event {
            self.failed = Some(error);
        }
    }

    fn on_rejected(&mut self, _: &mut Cx<'_>, rejected: Rejected<'_>) {
        self.end = Some((*rejected.evidence, rejected.reason.to_owned()));
    }
}

/// The other side.
struct Peer {
    tls: Connection,
    far: Far,
}

impl Peer {
    fn new(tls: impl Into<Connection>, far: Far) -> Self {
        let tls = tls.into();
        Self { tls, far }
    }

    /// Sends what rustls has to say; at most so many bytes at a time, with a turn of the loop behind each.
    fn speak(&mut self, process: &mut Process, most: usize) {
        let mut bytes = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut bytes).unwrap();
        }
        for piece in bytes.chunks(most) {
            self.far.send(piece);
            process.settle();
        }
    }

    /// Takes what the loop has written.
    fn hear(&mut self) -> Result<Vec<u8>, rustls::Error> {
        let bytes = self.far.take();
        let mut sealed = &bytes[..];
        while !sealed.is_empty() {
            self.tls.read_tls(&mut sealed).unwrap();
            self.tls.process_new_packets()?;
        }
        let mut plain = Vec::new();
        match self.tls.reader().read_to_end(&mut plain) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => drop(read.unwrap()),
        }
        Ok(plain)
    }

    /// Goes on until neither side has anything to say.
    fn talk(&mut self, process: &mut Process, most: usize) -> Vec<u8> {
        let mut plain = Vec::new();
        process.settle();
        for _ in 0..20 {
            plain.extend(self.hear().unwrap());
            self.speak(process, most);
        }
        plain
    }

    /// Says something.
    fn say(&mut self, process: &mut Process, text: &str) {
        self.tls.writer().write_all(text.as_bytes()).unwrap();
        self.speak(process, usize::MAX);
    }
}

fn secs(secs: u64) -> Micros {
    Micros::from_secs(secs)
}

fn process() -> Process {
    let config = ReactorConfig::default();
    MemoryLoop::new(config, Micros::ZERO, Box::new(Dice::new(1)), Ear::default())
}

fn pair(root: &Root) -> Pair {
    let issued = root.issue(&["server.test"], -1, 90);
    Pair::from_pem(issued.chain.as_bytes(), issued.key.as_bytes()).unwrap()
}

fn server_config(root: &Root) -> Arc<rustls::ServerConfig> {
    let certificates = Certificates::new(vec![pair(root)]).unwrap();
    ServerTls::new(certificates, WireKind::Line)
        .config()
        .unwrap()
}

fn client_config(root: &Root) -> Arc<rustls::ClientConfig> {
    let trust = Trust::Roots(Roots::from_pem(root.pem().as_bytes()).unwrap());
    let client = ClientTls {
        trust,
        ..ClientTls::for_wire(WireKind::Line)
    };
    client.config().unwrap()
}

/// Only this version of TLS.
fn only(
    config: &Arc<rustls::ClientConfig>,
    root: &Root,
    version: &'static rustls::SupportedProtocolVersion,
) -> Arc<rustls::ClientConfig> {
    let provider = config.crypto_provider().clone();
    let roots = Roots::from_pem(root.pem().as_bytes()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots.store().clone())
        .with_no_client_auth();
    Arc::new(config)
}

/// Interval 10 s, timeout 25 s, handshake 5 s, write 10 s.
fn listen(process: &mut Process, wire: WireFactory, root: &Root) {
    let addr = ([127, 0, 0, 1], 1).into();
    let listener = ListenerConfig {
        heartbeat: HeartbeatConfig::tcp(),
        tls: Some(server_config(root)),
        ..ListenerConfig::new(addr, wire)
    };
    process.inner.listen(listener).unwrap();
}

/// A server to whom somebody has come.
fn server_for(config: Arc<rustls::ClientConfig>, root: &Root) -> (Process, Peer) {
    let mut process = process();
    listen(&mut process, WireFactory::Line, root);
    let (pipe, far) = Pipe::new(0, true);
    process.memory.come(1, ([127, 0, 0, 1], 2).into(), pipe);
    process.settle();
    let client = ClientConnection::new(config, "server.test".try_into().unwrap()).unwrap();
    (process, Peer::new(client, far))
}

fn server() -> (Process, Peer) {
    let root = Root::new();
    server_for(client_config(&root), &root)
}

fn open_server() -> (Process, Peer) {
    let (mut process, mut peer) = server();
    peer.talk(&mut process, usize::MAX);
    assert!(process.handler.opened.is_some());
    (process, peer)
}

/// A client, and the server that it dials, of which `change` may change the configuration.
fn client(change: impl FnOnce(&mut rustls::ServerConfig)) -> (Process, Peer) {
    let root = Root::new();
    client_that_trusts(&root, &root, change)
}

fn client_that_trusts(
    trusted: &Root,
    root: &Root,
    change: impl FnOnce(&mut rustls::ServerConfig),
) -> (Process, Peer) {
    let mut process = process();
    let (pipe, far) = Pipe::new(0, false);
    process.memory.expect_dial(pipe);
    let config = ClientConfig {
        heartbeat: HeartbeatConfig::tcp(),
        reconnect: None,
        secure: true,
        tls: Some(client_config(trusted)),
        server_name: Some("server.test".to_owned()),
        ..ClientConfig::new("127.0.0.1", 1, WireFactory::Line)
    };
    process.inner.connect(config).unwrap();
    process.settle();
    assert_eq!(far.take(), b"", "the dial is under way");
    far.connect();
    let mut config = Arc::unwrap_or_clone(server_config(root));
    change(&mut config);
    let server = ServerConnection::new(Arc::new(config)).unwrap();
    (process, Peer::new(server, far))
}

#[test]
fn a_server_opens_behind_the_handshake_and_is_spoken_to() {
    for most in [1, 7, usize::MAX] {
        let (mut process, mut peer) = server();
        peer.talk(&mut process, most);
        let id = process.handler.opened.unwrap();
        peer.say(&mut process, "hello\n");
        assert_eq!(process.handler.heard, ["hello"]);
        let sent = process.inner.context().send(id, Message::text("welcome"));
        assert_eq!(sent, Ok(()));
        assert_eq!(peer.talk(&mut process, most), b"welcome\n");
    }
}

#[test]
fn both_versions_are_spoken() {
    for version in rustls::ALL_VERSIONS {
        let root = Root::new();
        let config = only(&client_config(&root), &root, version);
        let (mut process, mut peer) = server_for(config, &root);
        peer.talk(&mut process, usize::MAX);
        assert_eq!(peer.tls.protocol_version(), Some(version.version));
        peer.say(&mut process, "hello\n");
        assert_eq!(process.handler.heard, ["hello"]);
    }
}

#[test]
fn a_client_opens_behind_the_dial_and_the_handshake() {
    for most in [1, usize::MAX] {
        let (mut process, mut peer) = client(|_| {});
        peer.talk(&mut process, most);
        let id = process.handler.opened.unwrap();
        let sent = process.inner.context().send(id, Message::text("hello"));
        assert_eq!(sent, Ok(()));
        assert_eq!(peer.talk(&mut process, most), b"hello\n");
        peer.say(&mut process, "welcome\n");
        assert_eq!(process.handler.heard, ["welcome"]);
    }
}

#[test]
fn what_comes_with_the_last_of_the_handshake_is_read() {
    let (mut process, mut peer) = server();
    process.settle();
    peer.speak(&mut process, usize::MAX);
    peer.hear().unwrap();
    peer.say(&mut process, "early\n");
    assert_eq!(process.handler.heard, ["early"]);
}

#[test]
fn a_heartbeat_is_answered_and_leaves_nothing_behind() {
    let (mut process, mut peer) = open_server();
    for beat in 1..=3 {
        process.run_to(secs(10 * beat));
        assert_eq!(peer.hear().unwrap(), b"PING\n");
        peer.say(&mut process, "PONG\n");
        assert_eq!(process.handler.pongs as u64, beat);
        assert_eq!(process.inner.stats().memory, 0);
    }
    process.run_to(secs(54));
    assert_eq!(process.handler.cause(), None);
    process.run_to(secs(56));
    assert_eq!(process.handler.cause(), Some(Cause::PongTimeout));
    assert_eq!(peer.far.fate(), Fate::Reset);
}

#[test]
fn a_half_message_is_kept_and_counted_until_it_is_whole() {
    let (mut process, mut peer) = open_server();
    peer.tls.writer().write_all(b"hello\n").unwrap();
    let mut record = Vec::new();
    peer.tls.write_tls(&mut record).unwrap();
    for byte in &record[..record.len() - 1] {
        peer.far.send(&[*byte]);
        process.settle();
    }
    assert!(process.handler.heard.is_empty());
    assert!(process.inner.stats().memory > 0);
    peer.far.send(&record[record.len() - 1..]);
    process.settle();
    assert_eq!(process.handler.heard, ["hello"]);
    assert_eq!(process.inner.stats().memory, 0);
}

#[test]
fn long_messages_come_and_go_whole_through_a_narrow_socket() {
    let (mut process, mut peer) = open_server();
    let id = process.handler.opened.unwrap();
    let long = "x".repeat(100_000);
    let sent = process.inner.context().send(id, Message::text(&long));
    assert_eq!(sent, Ok(()));
    let mut came = Vec::new();
    while came.len() <= long.len() {
        peer.far.set_room(1000);
        process.settle();
        came.extend(peer.hear().unwrap());
    }
    assert_eq!(came, format!("{long}\n").into_bytes());
    peer.far.set_room(usize::MAX);
    peer.far.set_chunk(777);
    peer.tls.set_buffer_limit(None);
    peer.say(&mut process, &format!("{}\n", &long[..60_000]));
    assert_eq!(process.handler.bytes, 60_000);
}

/// The pong counted as sent, and the end of the message was sent twice: its record was on its way.
#[test]
fn an_answer_to_a_ping_comes_behind_what_is_on_its_way() {
    let (mut process, mut peer) = open_server();
    let id = process.handler.opened.unwrap();
    peer.far.set_room(3);
    let said: String = ('a'..='z').cycle().take(10_000).collect();
    let sent = process.inner.context().send(id, Message::text(&said));
    assert_eq!(sent, Ok(()));
    process.settle();
    peer.say(&mut process, "PING\n");
    peer.far.set_room(usize::MAX);
    process.settle();
    let heard = String::from_utf8(peer.hear().unwrap()).unwrap();
    assert_eq!(heard, format!("{said}\nPONG\n"));
}

/// A record counts only when its last byte has left, which takes longer than the rate is judged over.
#[test]
fn who_reads_slowly_but_fast_enough_is_judged_by_the_bytes_of_the_socket() {
    for (room, cause) in [(2_000, None), (400, Some(Cause::SlowPeer))] {
        let (mut process, mut peer) = open_server();
        let id = process.handler.opened.unwrap();
        peer.far.set_room(0);
        let long = "x".repeat(100_000);
        while process
            .inner
            .context()
            .send(id, Message::text(&long))
            .is_ok()
        {}
        for second in 1..=40 {
            if process.handler.end.is_some() {
                break;
            }
            peer.far.set_room(room);
            process.settle();
            peer.say(&mut process, "PONG\n");
            process.run_to(secs(second));
        }
        assert_eq!(process.handler.cause(), cause, "{room} bytes a second");
    }
}

#[test]
fn a_goodbye_is_an_end_and_its_lack_is_a_truncation() {
    let (mut process, mut peer) = open_server();
    peer.tls.writer().write_all(b"last\nhalf").unwrap();
    peer.tls.send_close_notify();
    peer.speak(&mut process, usize::MAX);
    peer.far.end();
    process.settle();
    assert_eq!(process.handler.heard, ["last", "half"]);
    assert_eq!(process.handler.cause(), Some(Cause::PeerEof));

    let (mut process, mut peer) = open_server();
    peer.say(&mut process, "last\nhalf");
    peer.far.end();
    process.settle();
    assert_eq!(process.handler.heard, ["last"]);
    assert_eq!(process.handler.end(), (Cause::TlsError, "truncated"));
}

/// It was a truncation, since a socket tells of a reset once.
#[test]
fn a_reset_that_a_write_hears_of_is_one() {
    let (mut process, peer) = open_server();
    let id = process.handler.opened.unwrap();
    peer.far.set_room(3);
    let sent = process.inner.context().send(id, Message::text("hello"));
    assert_eq!(sent, Ok(()));
    process.settle();
    peer.far.fail_unnoticed(ECONNRESET);
    peer.far.set_room(1000);
    process.settle();
    assert_eq!(process.handler.end(), (Cause::PeerReset, ""));
}

#[test]
fn our_end_says_goodbye_behind_what_is_queued() {
    let (mut process, mut peer) = open_server();
    let id = process.handler.opened.unwrap();
    peer.far.set_room(3);
    let mut cx = process.inner.context();
    assert_eq!(cx.send(id, Message::text("so long")), Ok(()));
    cx.close(id, CloseCode::NORMAL, "");
    process.settle();
    assert_eq!(peer.far.fate(), Fate::Held);
    let mut heard = Vec::new();
    for _ in 0..100 {
        peer.far.set_room(3);
        process.settle();
        heard.extend(peer.hear().unwrap());
    }
    assert_eq!(heard, b"so long\n");
    assert_eq!(peer.far.fate(), Fate::Shut);
    let mut rest = [0];
    assert_eq!(
        peer.tls.reader().read(&mut rest).unwrap(),
        0,
        "close_notify came"
    );
    peer.tls.send_close_notify();
    peer.speak(&mut process, usize::MAX);
    peer.far.end();
    process.settle();
    assert_eq!(process.handler.cause(), Some(Cause::LocalClose));
}

/// rustls would take the second alert for a mistake of ours, and panic where it checks itself.
#[test]
fn what_comes_behind_our_goodbye_is_not_judged() {
    let (mut process, mut peer) = open_server();
    let id = process.handler.opened.unwrap();
    process.inner.context().close(id, CloseCode::NORMAL, "");
    process.settle();
    assert_eq!(peer.far.fate(), Fate::Shut);
    peer.say(&mut process, "too late\n");
    peer.far.send(&[23, 3, 3, 0, 20]);
    peer.far.send(&[0; 20]);
    process.settle();
    assert_eq!(process.handler.cause(), None, "it waits for the end");
    peer.far.end();
    process.settle();
    assert_eq!(process.handler.cause(), Some(Cause::LocalClose));
    assert!(process.handler.heard.is_empty());
}

#[test]
fn an_end_at_once_says_goodbye_too() {
    let (mut process, mut peer) = open_server();
    peer.tls.send_close_notify();
    peer.speak(&mut process, usize::MAX);
    peer.far.end();
    process.settle();
    assert_eq!(process.handler.cause(), Some(Cause::PeerEof));
    assert_eq!(peer.far.fate(), Fate::Closed);
    assert_eq!(peer.hear().unwrap(), b"");
    assert_eq!(peer.tls.reader().read(&mut [0]).unwrap(), 0, "close_notify");
}

#[test]
fn what_is_no_tls_is_told_so_and_never_was() {
    let (mut process, peer) = server();
    peer.far.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    process.settle();
    let (cause, reason) = process.handler.end();
    assert_eq!(cause, Cause::TlsHandshake);
    assert!(!reason.is_empty());
    assert_eq!(process.handler.opened, None);
    let alert = peer.far.take();
    assert_eq!(alert.first(), Some(&21), "an alert: {alert:?}");
    assert_eq!(peer.far.fate(), Fate::Closed);
}

#[test]
fn a_handshake_that_stops_is_a_timeout_or_an_end_of_the_handshake() {
    let (mut process, mut peer) = server();
    let mut hello = Vec::new();
    peer.tls.write_tls(&mut hello).unwrap();
    peer.far.send(&hello[..hello.len() / 2]);
    process.run_to(secs(5) + Micros::from_millis(20));
    assert_eq!(process.handler.cause(), Some(Cause::HandshakeTimeout));

    let (mut process, mut peer) = server();
    peer.speak(&mut process, usize::MAX);
    peer.far.end();
    process.settle();
    assert_eq!(process.handler.end(), (Cause::TlsHandshake, "truncated"));
}

/// The dial itself has its own, which is over.
#[test]
fn a_client_whose_server_keeps_silent_behind_the_dial_is_a_handshake_timeout() {
    let (mut process, peer) = client(|_| {});
    process.run_to(secs(4));
    assert!(!peer.far.take().is_empty(), "a ClientHello");
    process.run_to(secs(5) + Micros::from_millis(20));
    let (evidence, _) = process.handler.end.as_ref().unwrap();
    assert_eq!(
        (evidence.cause, evidence.phase),
        (Cause::HandshakeTimeout, Phase::Connecting)
    );
}

#[test]
fn a_certificate_that_is_refused_is_named_on_both_sides() {
    let (mine, other) = (Root::new(), Root::new());
    let (mut process, mut peer) = server_for(client_config(&other), &mine);
    process.settle();
    peer.speak(&mut process, usize::MAX);
    assert!(peer.hear().is_err());
    peer.speak(&mut process, usize::MAX);
    let (cause, reason) = process.handler.end();
    assert_eq!((cause, reason), (Cause::TlsHandshake, "unknown_ca"));

    let (mut process, mut peer) = client_that_trusts(&other, &mine, |_| {});
    process.settle();
    peer.hear().unwrap();
    peer.speak(&mut process, usize::MAX);
    let (cause, reason) = process.handler.end();
    assert_eq!(cause, Cause::TlsHandshake);
    assert!(reason.contains("unknown_issuer"), "{reason}");
    let reason = reason.to_owned();
    assert_eq!(process.handler.failed, Some(DialError::Tls(reason)));
    assert!(peer.hear().is_err(), "it was told by an alert");
}

#[test]
fn a_record_that_nobody_sealed_ends_an_open_connection() {
    let (mut process, peer) = open_server();
    peer.far.send(&[23, 3, 3, 0, 20]);
    peer.far.send(&[0; 20]);
    process.settle();
    let (cause, reason) = process.handler.end();
    assert_eq!((cause, reason.is_empty()), (Cause::TlsError, false));
    let alert = peer.far.take();
    assert_eq!(alert.first(), Some(&23), "a sealed alert: {alert:?}");
}

#[test]
fn new_keys_do_no_harm_and_a_flood_of_them_ends() {
    let (mut process, mut peer) = open_server();
    for _ in 0..5 {
        peer.tls.refresh_traffic_keys().unwrap();
        peer.say(&mut process, "hello\n");
    }
    assert_eq!(process.handler.heard.len(), 5);
    let id = process.handler.opened.unwrap();
    let sent = process.inner.context().send(id, Message::text("welcome"));
    assert_eq!(sent, Ok(()));
    assert_eq!(peer.talk(&mut process, usize::MAX), b"welcome\n");
    for _ in 0..1000 {
        if process.handler.end.is_some() {
            break;
        }
        peer.tls.refresh_traffic_keys().unwrap();
        peer.speak(&mut process, usize::MAX);
    }
    assert_eq!(process.handler.cause(), Some(Cause::TlsError));
}

/// rustls keeps its place in the bytes that it was shown: they must be there whenever it is asked anything.
#[test]
fn what_is_written_while_half_a_ticket_is_here_does_no_harm() {
    let (mut process, mut peer) = client(|config| config.max_fragment_size = Some(64));
    process.settle();
    let (mut text, mut said) = (Vec::new(), 0);
    for _ in 0..10 {
        text.extend(peer.hear().unwrap());
        let mut bytes = Vec::new();
        while peer.tls.wants_write() {
            peer.tls.write_tls(&mut bytes).unwrap();
        }
        for byte in bytes {
            peer.far.send(&[byte]);
            process.settle();
            if let Some(id) = process.handler.opened {
                let sent = process.inner.context().send(id, Message::text("x"));
                assert_eq!(sent, Ok(()));
                process.settle();
                said += 1;
            }
        }
    }
    assert_eq!(process.handler.cause(), None);
    assert!(said > 100, "there were tickets: {said}");
    assert_eq!(text, b"x\n".repeat(said));
    peer.say(&mut process, "welcome\n");
    assert_eq!(process.handler.heard, ["welcome"]);
}

#[test]
fn the_application_can_ask_who_the_peer_is() {
    let (mut process, mut peer) = client(|_| {});
    peer.talk(&mut process, usize::MAX);
    let id = process.handler.opened.unwrap();
    let cx = process.inner.context();
    let tls = cx.tls(id).unwrap();
    assert_eq!(tls.version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert_eq!((tls.certificates().len(), tls.is_resumed()), (1, false));
    assert_eq!(tls.protocol(), None, "lines have none");
}

/// The rest of its price is the slot: 144 bytes. What rustls keeps is the most of it; see `Tls`.
#[test]
fn an_idle_connection_keeps_little_beside_what_rustls_needs() {
    let root = Root::new();
    let config = client_config(&root);
    let mut process = process();
    listen(&mut process, WireFactory::Line, &root);
    let (mut kept, mut blocks) = (0, 0);
    // The first ones fill what stays.
    for number in 0..5 {
        (kept, blocks) = (0, 0);
        let (pipe, far) = Pipe::new(number, true);
        process.memory.come(1, ([127, 0, 0, 1], 2).into(), pipe);
        let client = ClientConnection::new(config.clone(), "server.test".try_into().unwrap());
        let mut peer = Peer::new(client.unwrap(), far.clone());
        process.handler.opened = None;
        let mut heard = Vec::with_capacity(64 * 1024);
        for _ in 0..6 {
            let mut bytes = Vec::new();
            while peer.tls.wants_write() {
                peer.tls.write_tls(&mut bytes).unwrap();
            }
            far.send(&bytes);
            let allocated = allocation_counter::measure(|| {
                process.settle();
                heard.clear();
                heard.extend(far.take());
            });
            kept += allocated.bytes_current;
            blocks += allocated.count_current;
            let mut sealed = &heard[..];
            while !sealed.is_empty() {
                peer.tls.read_tls(&mut sealed).unwrap();
            }
            peer.tls.process_new_packets().unwrap();
        }
        assert!(process.handler.opened.is_some());
    }
    println!("{kept} bytes in {blocks} blocks");
    assert!(
        (1..=2_300).contains(&kept),
        "{kept} bytes in {blocks} blocks"
    );
    assert!(blocks <= 7, "{kept} bytes in {blocks} blocks");
}
