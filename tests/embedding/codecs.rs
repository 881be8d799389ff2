//! Codecs of the embedder's, over real sockets: who connects, what the handler reaches, what is answered.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use heartwheel::error::ProtocolError;
use heartwheel::proto::codec::{Codec, Decoded};
use heartwheel::proto::line_codec::{Beat, LineCodec, LineEnd, LineFormat};
use heartwheel::proto::wire::{EncodeError, Role};
use heartwheel::reactor::{
    Adoption, ClientConfig, Contact, Endpoint, Handler, ListenerConfig, Reactor,
};
use heartwheel::{
    Cause, ConnId, Context, Decision, Message, MessageKind, Offer, Rejected, Rejection, Welcome,
    WireFactory,
};

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

/// Returns a wire, and those for whom its codecs were made.
fn noting_contacts() -> (WireFactory, Arc<Mutex<Vec<Contact>>>) {
    let contacts = Arc::new(Mutex::new(Vec::<Contact>::new()));
    let seen = Arc::clone(&contacts);
    let wire = WireFactory::own(move |contact: &Contact| {
        seen.lock().unwrap().push(contact.clone());
        Numbered::default()
    });
    (wire, contacts)
}

#[test]
fn the_factory_learns_who_connects_on_both_sides_and_may_be_shared() {
    let (wire, contacts) = noting_contacts();
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
fn a_factory_learns_the_client_that_a_proxy_names() {
    let (wire, contacts) = noting_contacts();
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let mut config = on_loopback(wire, None, None);
    config.proxy.protocol = true;
    let (_, addr) = listen_with(&mut reactor, config);
    let mut peer = dial(addr);
    let header = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\nhello\n";
    peer.write_all(header).unwrap();
    drive(&mut reactor, &mut recorder, |seen| {
        !seen.messages().is_empty()
    });
    let contacts = contacts.lock().unwrap();
    let last = contacts.last().unwrap();
    assert_eq!(last.peer.socket_addr(), "192.0.2.7:4711".parse().ok());
    let context = reactor.context();
    let codec = context.codec::<Numbered>(recorder.opened()[0]).unwrap();
    assert_eq!(codec.count, 1, "the line behind the header, and no other");
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

/// Lines, the first of which is a name.
#[derive(Debug, Default)]
struct Named {
    name: Option<String>,
}

impl Codec for Named {
    fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Decoded, ProtocolError> {
        let Some(end) = input.iter().position(|&byte| byte == b'\n') else {
            return Ok(Decoded::NeedMore);
        };
        let consumed = end + 1;
        if self.name.is_some() {
            return Ok(Decoded::Message {
                consumed,
                kind: MessageKind::Text,
                payload: 0..end,
            });
        }
        let name = String::from_utf8_lossy(&input[..end]);
        if name.is_empty() {
            out.extend_from_slice(b"no name\n");
            return Ok(Decoded::Refuse { reason: "no name" });
        }
        self.name = Some(name.into());
        Ok(Decoded::Open { consumed })
    }

    fn encode(
        &mut self,
        _: MessageKind,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        out.extend_from_slice(payload);
        out.push(b'\n');
        Ok(())
    }

    fn has_handshake(&self) -> bool {
        true
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"name?\n");
    }

    fn resume(&mut self, _: &mut Vec<u8>) {
        self.name = Some("you".to_owned());
    }

    fn encode_open(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"welcome\n");
    }

    fn encode_refusal(&mut self, status: u16, reason: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{status} {reason}\n").as_bytes());
    }
}

/// Accepts who is not called eve, and echoes with the name.
#[derive(Default)]
struct Porter {
    opened: usize,
    rejected: Vec<(Cause, String)>,
    late: usize,
    /// Who waits.
    asked: Vec<ConnId>,
}

impl Handler<u64> for Porter {
    type Data = u32;

    fn on_accept(
        &mut self,
        cx: &mut Context<'_, u32>,
        offer: &Offer<'_>,
    ) -> Result<Decision<Welcome<u32>>, Rejection> {
        let name = cx.codec::<Named>(offer.id).unwrap().name.as_deref();
        match name {
            Some("eve") => Err(Rejection::new(403, "not you")),
            Some("zoe") => {
                self.asked.push(offer.id);
                Ok(Decision::Later)
            }
            _ => Ok(Welcome::with(7).into()),
        }
    }

    fn on_open(&mut self, cx: &mut Context<'_, u32>, id: ConnId) {
        self.opened += 1;
        let name = cx.codec::<Named>(id).unwrap().name.clone().unwrap();
        cx.send(id, Message::text(&format!("hello {name}")))
            .unwrap();
    }

    fn on_message(&mut self, cx: &mut Context<'_, u32>, id: ConnId, message: Message<'_>) {
        cx.send(id, message).unwrap();
    }

    fn on_rejected(&mut self, _: &mut Context<'_, u32>, rejected: Rejected<'_>) {
        let cause = rejected.evidence.cause;
        self.late += usize::from(cause == Cause::HandshakeTimeout);
        self.rejected.push((cause, rejected.reason.to_owned()));
    }
}

/// Writes these bytes, whole or one by one, and returns what comes until the end.
fn converse(addr: SocketAddr, bytes: &'static [u8], piece: usize) -> thread::JoinHandle<String> {
    let mut peer = dial(addr);
    peer.set_nodelay(true).unwrap();
    thread::spawn(move || {
        for piece in bytes.chunks(piece) {
            peer.write_all(piece).unwrap();
        }
        peer.shutdown(Shutdown::Write).unwrap();
        let mut read = String::new();
        peer.read_to_string(&mut read).unwrap();
        read
    })
}

#[test]
fn a_codec_shakes_hands_and_the_handler_sees_what_it_learned() {
    let mut reactor = reactor();
    let (_, addr) = listen(&mut reactor, WireFactory::own(|_| Named::default()));
    for piece in [usize::MAX, 1] {
        let mut porter = Porter::default();
        let peers = [&b"ann\none\ntwo\n"[..], b"eve\nlost\n", b"\nlost\n"];
        let peers = peers.map(|bytes| converse(addr, bytes, piece));
        turn_until(&mut reactor, &mut porter, |reactor, porter| {
            reactor.is_empty() && porter.opened == 1 && porter.rejected.len() == 2
        });
        let read = peers.map(|peer| peer.join().unwrap());
        assert_eq!(read[0], "name?\nwelcome\nhello ann\none\ntwo\n");
        assert_eq!(read[1], "name?\n403 not you\n");
        assert_eq!(read[2], "name?\nno name\n");
        porter.rejected.sort_by_key(|(_, reason)| reason.clone());
        let refused = |reason: &str| (Cause::Refused, reason.to_owned());
        assert_eq!(porter.rejected, [refused("no name"), refused("not you")]);
    }
}

#[test]
fn a_codec_waits_for_a_handler_that_decides_later() {
    let mut reactor = reactor();
    let (_, addr) = listen(&mut reactor, WireFactory::own(|_| Named::default()));
    for (is_welcome, expected) in [
        (true, "name?\nwelcome\nhello zoe\none\n"),
        (false, "name?\n401 who are you\n"),
    ] {
        let mut porter = Porter::default();
        let mut peer = dial(addr);
        peer.write_all(b"zoe\none\n").unwrap();
        turn_until(&mut reactor, &mut porter, |_, porter| {
            porter.asked.len() == 1
        });
        let id = porter.asked[0];
        assert_eq!(porter.opened, 0);
        let mut context = reactor.context();
        assert!(context.codec::<Named>(id).is_some());
        let decided = match is_welcome {
            true => context.accept(id, Welcome::with(7)),
            false => context.reject(id, Rejection::new(401, "who are you")),
        };
        assert_eq!(decided, Ok(()));
        let reading = thread::spawn(move || {
            let mut read = vec![0; expected.len()];
            peer.read_exact(&mut read).unwrap();
            assert_eq!(String::from_utf8_lossy(&read), expected);
        });
        turn_until(&mut reactor, &mut porter, |reactor, _| reactor.is_empty());
        reading.join().unwrap();
        assert_eq!(porter.opened, usize::from(is_welcome));
    }
}

#[test]
fn a_codec_without_a_name_is_half_open_and_has_its_time() {
    let mut reactor = reactor();
    let wire = WireFactory::own(|_| Named::default());
    let mut config = on_loopback(wire, None, None);
    config.heartbeat.handshake_timeout = Duration::from_millis(300);
    config.admission.half_open_per_address = Some(2);
    let (_, addr) = listen_with(&mut reactor, config);
    let mut porter = Porter::default();
    let peers = [(); 3].map(|()| dial(addr));
    let reading = peers.map(|mut peer| {
        thread::spawn(move || {
            let mut read = String::new();
            let end = peer.read_to_string(&mut read);
            (read, end.is_ok())
        })
    });
    turn_until(&mut reactor, &mut porter, |reactor, porter| {
        reactor.is_empty() && porter.rejected.len() == 3
    });
    assert_eq!((porter.opened, porter.late), (0, 2), "the oldest made way");
    let read: Vec<_> = reading
        .into_iter()
        .map(|peer| peer.join().unwrap())
        .collect();
    let told = "name?\n408 the opening handshake took too long\n";
    let late = read.iter().filter(|(read, _)| read == told);
    assert_eq!(late.count(), 2, "{read:?}");
}

/// Its codec said its greeting a second time, and then waited for a handshake that was over.
#[test]
fn a_connection_that_was_opened_elsewhere_goes_on_without_a_second_greeting() {
    for (opened, expected) in [
        (Some(7), "hello you\none\n"),
        (None, "name?\nwelcome\nhello one\n"),
    ] {
        let mut reactor = reactor();
        let mut config = ListenerConfig::nowhere(WireFactory::own(|_| Named::default()));
        config.heartbeat = heartbeat(None, None);
        let listener = reactor.listen(config).unwrap();
        let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = converse(elsewhere.local_addr().unwrap(), b"e\n", 1);
        let (socket, _) = elsewhere.accept().unwrap();
        let received = b"on".to_vec();
        let adoption = Adoption { received, opened };
        reactor.context().adopt(listener, socket, adoption).unwrap();
        let mut porter = Porter::default();
        turn_until(&mut reactor, &mut porter, |reactor, porter| {
            reactor.is_empty() && porter.opened == 1
        });
        assert_eq!(peer.join().unwrap(), expected);
    }
}

/// What the page of the guide shows.
#[test]
fn a_line_codec_answers_numbered_heartbeats_and_sends_them() {
    let lines = LineCodec::new(LineFormat {
        end: LineEnd::CrLf,
        beat: Some(Beat::numbered("HB", "HB-ACK")),
        ..LineFormat::default()
    });
    let (mut reactor, mut recorder) = (reactor(), Recorder::echoing());
    let wire = WireFactory::own(move |_| lines.clone());
    let (_, quiet) = listen(&mut reactor, wire.clone());
    let (_, asking) = listen_with(&mut reactor, on_loopback(wire, Some(50), Some(10_000)));
    for piece in [usize::MAX, 1] {
        let said = b"one\r\nHB 1\r\nHB x y\r\ntwo\nHB\r\nHB-ACK 7\r\n";
        let peer = converse(quiet, said, piece);
        let before = recorder.closed().len();
        drive(&mut reactor, &mut recorder, |seen| {
            seen.closed().len() > before
        });
        let mut read: Vec<_> = peer
            .join()
            .unwrap()
            .split_inclusive("\r\n")
            .map(str::to_owned)
            .collect();
        read.sort();
        assert_eq!(
            read,
            [
                "HB\r\n",
                "HB-ACK 1\r\n",
                "HB-ACK x y\r\n",
                "one\r\n",
                "two\r\n"
            ]
        );
    }
    // Each ping of ours is answered by its number.
    let mut peer = dial(asking);
    let answering = thread::spawn(move || {
        let mut read = Vec::new();
        while read.iter().filter(|&&byte| byte == b'\n').count() < 3 {
            let mut byte = [0];
            peer.read_exact(&mut byte).unwrap();
            read.push(byte[0]);
            if byte[0] == b'\n' {
                let line = read.split(|&byte| byte == b'\n').nth_back(1).unwrap();
                let number = line.strip_prefix(b"HB ").unwrap();
                peer.write_all(&[b"HB-ACK ", number, b"\n"].concat())
                    .unwrap();
            }
        }
        peer
    });
    drive(&mut reactor, &mut recorder, |seen| {
        let pongs = seen
            .seen
            .iter()
            .filter(|seen| matches!(seen, Seen::Pong(..)));
        pongs.count() >= 3
    });
    drop(answering.join().unwrap());
    assert_eq!(reactor.stats().pongs_mismatched, 0);
}
