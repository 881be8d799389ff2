//! Codecs of the embedder's, over real sockets: who connects, what the handler reaches, what is answered.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use heartwheel::error::ProtocolError;
use heartwheel::proto::codec::{Codec, Decoded};
use heartwheel::proto::wire::{EncodeError, Role};
use heartwheel::reactor::{ClientConfig, Contact, Endpoint, Handler, Reactor};
use heartwheel::{ConnId, Context, Message, MessageKind, WireFactory};

use crate::support::PATIENCE;
use crate::support::recorder::*;
use crate::support::turning::*;

/// Lines. Each is answered by `ok` and its number before the application gets it.
#[derive(Debug, Default)]
struct Numbered {
    count: usize,
    greeting: String,
}

impl Codec for Numbered {
    fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Decoded, ProtocolError> {
        let Some(end) = input.iter().position(|&byte| byte == b'\n') else {
            return Ok(Decoded::NeedMore);
        };
        self.count += 1;
        out.extend_from_slice(format!("ok {}\n", self.count).as_bytes());
        Ok(Decoded::Message {
            consumed: end + 1,
            kind: MessageKind::Text,
            payload: 0..end,
        })
    }

    fn encode(
        &mut self,
        _: MessageKind,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        out.extend_from_slice(self.greeting.as_bytes());
        out.extend_from_slice(payload);
        out.push(b'\n');
        Ok(())
    }
}

#[test]
fn the_factory_learns_who_connects_on_both_sides_and_may_be_shared() {
    let contacts = Arc::new(Mutex::new(Vec::<Contact>::new()));
    let seen = Arc::clone(&contacts);
    let wire = WireFactory::own(move |contact: &Contact| {
        seen.lock().unwrap().push(contact.clone());
        Numbered::default()
    });
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (listener, addr) = listen(&mut reactor, wire.clone());
    let mut config = ClientConfig::new("127.0.0.1", addr.port(), wire);
    config.heartbeat.interval = None;
    let client = reactor.connect(config).unwrap();
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 2);
    let contacts = contacts.lock().unwrap();
    // Asked for its pings as each was configured, then for each end of the connection.
    let endpoints = [Endpoint::Listener(listener), Endpoint::Client(client)];
    let listed: Vec<_> = contacts.iter().map(|contact| contact.endpoint).collect();
    let [first, second] = endpoints;
    assert_eq!(listed, [first, second, second, first]);
    let nobody = "0.0.0.0:0".parse().ok();
    assert_eq!(contacts[0].peer.socket_addr(), nobody);
    assert_eq!(contacts[1].peer.socket_addr(), nobody);
    assert_eq!(contacts[2].peer.socket_addr(), Some(addr));
    assert_eq!(contacts[2].role(), Role::Client);
    assert_eq!(contacts[3].role(), Role::Server);
    let context = reactor.context();
    let ids: Vec<_> = context.connections().collect();
    let served = ids
        .into_iter()
        .map(|id| context.info(id).unwrap())
        .find(|info| info.endpoint == first)
        .unwrap();
    assert_eq!(contacts[3].peer, served.peer);
}

#[test]
fn a_handler_reaches_the_codec_of_a_connection() {
    struct Greeter;

    impl Handler<u64> for Greeter {
        type Data = u32;

        fn on_message(&mut self, cx: &mut Context<'_, u32>, id: ConnId, message: Message<'_>) {
            let codec = cx.codec_mut::<Numbered>(id).unwrap();
            assert!(codec.count > 0);
            codec.greeting.push('>');
            assert!(cx.codec::<Other>(id).is_none(), "it is of another type");
            cx.send(id, message).unwrap();
        }
    }

    let mut reactor = reactor();
    let (_, addr) = listen(&mut reactor, WireFactory::own(|_| Numbered::default()));
    let (_, plain) = listen(&mut reactor, WireFactory::Line);
    let mut peer = dial(addr);
    peer.write_all(b"a\nb\n").unwrap();
    let _plain = dial(plain);
    let read = thread::spawn(move || {
        let mut read = [0; 17];
        peer.read_exact(&mut read).unwrap();
        (read, peer)
    });
    turn_until(&mut reactor, &mut Greeter, |reactor, _| {
        read.is_finished() && reactor.stats().opened == 2
    });
    let (read, _peer) = read.join().unwrap();
    assert_eq!(&read, b"ok 1\n>a\nok 2\n>>b\n");
    let context = reactor.context();
    let ids: Vec<_> = context.connections().collect();
    let with_codec = ids
        .iter()
        .filter(|&&id| context.codec::<Numbered>(id).is_some());
    assert_eq!(with_codec.count(), 1);
}

/// Not the codec of anybody.
#[derive(Debug)]
struct Other;

impl Codec for Other {
    fn decode(&mut self, _: &[u8], _: &mut Vec<u8>) -> Result<Decoded, ProtocolError> {
        Ok(Decoded::NeedMore)
    }

    fn encode(&mut self, _: MessageKind, _: &[u8], _: &mut Vec<u8>) -> Result<(), EncodeError> {
        Ok(())
    }
}

/// Turns a loop until the condition holds.
#[track_caller]
fn turn_until<H: Handler<u64, Data = u32>>(
    reactor: &mut Reactor<u32, u64>,
    handler: &mut H,
    mut until: impl FnMut(&mut Reactor<u32, u64>, &H) -> bool,
) {
    let deadline = Instant::now() + PATIENCE;
    while !until(reactor, handler) {
        assert!(Instant::now() < deadline, "gave up: {:?}", reactor.stats());
        let limit = Some(Duration::from_millis(20));
        reactor.turn(handler, limit).unwrap();
    }
}

fn dial(addr: SocketAddr) -> TcpStream {
    let peer = TcpStream::connect(addr).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer
}

/// The peer writes two megabytes before it reads a byte, as a pipeline may: it must wait, and none of
/// the answers is lost.
#[test]
fn a_peer_that_reads_late_gets_all_its_answers() {
    const LINES: u64 = 100_000;

    struct Nobody;

    impl Handler<u64> for Nobody {
        type Data = u32;
    }

    let mut reactor = reactor();
    let (_, addr) = listen(&mut reactor, WireFactory::own(|_| Numbered::default()));
    let mut peer = dial(addr);
    let mut writer = peer.try_clone().unwrap();
    let writing = thread::spawn(move || {
        let lines = b"twenty bytes a line\n".repeat(LINES as usize);
        writer.write_all(&lines).unwrap();
    });
    let paused = |reactor: &mut Reactor<u32, u64>| {
        let context = reactor.context();
        let id = context.connections().next();
        let info = id.and_then(|id| context.info(id));
        info.filter(|info| info.queued >= 64 * 1024)
    };
    turn_until(&mut reactor, &mut Nobody, |reactor, _| {
        paused(reactor).is_some()
    });
    let info = paused(&mut reactor).unwrap();
    assert!(info.queued < 64 * 1024 + 20, "{} bytes", info.queued);
    let before = reactor.stats().messages_in;
    assert!(before < LINES, "it stops by itself");
    for _ in 0..20 {
        let limit = Some(Duration::from_millis(1));
        reactor.turn(&mut Nobody, limit).unwrap();
    }
    assert_eq!(reactor.stats().messages_in, before);
    let reading = thread::spawn(move || {
        let expected: String = (1..=LINES).map(|number| format!("ok {number}\n")).collect();
        let mut read = vec![0; expected.len()];
        peer.read_exact(&mut read).unwrap();
        assert!(read == expected.as_bytes(), "in their order");
        peer
    });
    turn_until(&mut reactor, &mut Nobody, |_, _| reading.is_finished());
    writing.join().unwrap();
    reading.join().unwrap();
}
