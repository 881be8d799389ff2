//! permessage-deflate: offers and answers, and compressed messages cut anywhere.

use heartwheel::config::{DeflateConfig, HeartbeatConfig, LimitsConfig, WireKind};
use heartwheel::proto::heartbeat::PingPhase;
use heartwheel::proto::http::{HeadLimits, HeadProgress, Request};
use heartwheel::proto::policy::Policy;
use heartwheel::proto::session::{Asked, Door, Env, Event, Session, Wire};
use heartwheel::proto::time::{Micros, Moment};
use heartwheel::proto::websocket::handshake::{
    DeflateAgreement, Upgrade, accept_for, accept_response_with, parse_more_response_with,
};
use heartwheel::proto::websocket::{Opcode, encode};
use heartwheel::proto::wire::Payload;
use heartwheel::{Cause, MessageKind};

use super::dice::Dice;

/// Arbitrary bytes as the value of `Sec-WebSocket-Extensions`, offered and answered.
pub fn deflate_handshake(data: &[u8]) {
    let Some((&how, rest)) = data.split_first() else {
        return;
    };
    let config = config(how);
    check_offer(&config, rest);
    check_answer(&config, rest);
}

/// Arbitrary bytes as the payload of compressed messages.
pub fn deflate_messages(data: &[u8]) {
    let Some(([how, cut], payload)) = data.split_first_chunk() else {
        return;
    };
    let kind = [Opcode::Text, Opcode::Binary][usize::from(how & 1)];
    let takeover = how & 2 != 0;
    let frame = |fin, opcode, bits: u8, payload: &[u8]| {
        let mut frame = Vec::new();
        encode(fin, opcode, payload, Some([9, 8, 7, 6]), &mut frame);
        frame[0] |= bits;
        frame
    };
    let whole = frame(true, kind, COMPRESSED, payload);
    // Twice: the second one may refer to the first.
    let expected = hear(takeover, [&whole[..], &whole].concat(), usize::MAX);
    for (bytes, _) in &expected.0 {
        assert!(bytes.len() <= MOST, "{} bytes", bytes.len());
    }
    let cuts = match payload.len() {
        few @ ..=64 => 0..few + 1,
        many => {
            let at = usize::from(*cut) * many / 256;
            at..at + 1
        }
    };
    for at in cuts {
        let (first, second) = payload.split_at(at);
        let parts = [
            frame(false, kind, COMPRESSED, first),
            frame(true, Opcode::Ping, 0, b"meanwhile"),
            frame(true, Opcode::Continuation, 0, second),
        ];
        let bytes = [parts.concat(), parts.concat()].concat();
        let heard = hear(takeover, bytes, usize::from(*cut).max(1));
        assert_eq!(heard, expected, "cut at {at}");
    }
}

/// The largest message allowed.
const MOST: usize = 20_000;

const COMPRESSED: u8 = 0x40;
const KEY: [u8; 16] = *b"the sample nonce";

fn config(how: u8) -> DeflateConfig {
    DeflateConfig {
        takeover: how & 1 != 0,
        peer_takeover: how & 2 != 0,
        window_bits: [15, 9, 10, 12][usize::from(how >> 2 & 3)],
        peer_window_bits: [15, 8, 9, 14][usize::from(how >> 4 & 3)],
        ..DeflateConfig::default()
    }
}

/// Makes a line of a head; nobody gets further with other characters.
fn line(value: &[u8]) -> Vec<u8> {
    let value = value.iter().filter(|byte| (b' '..=b'~').contains(byte));
    let value: Vec<u8> = value.copied().collect();
    [b"Sec-WebSocket-Extensions: ", &value[..], b"\r\n"].concat()
}

fn check_offer(config: &DeflateConfig, value: &[u8]) {
    let head = [
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n",
        &line(value)[..],
        b"\r\n",
    ];
    let head = head.concat();
    let Ok(Some((request, _))) = Request::parse(&head, &HeadLimits::default()) else {
        return;
    };
    let Ok(upgrade) = Upgrade::of(&request) else {
        return;
    };
    let none: [(&str, &str); 0] = [];
    let built = accept_response_with(&upgrade, None, Some(config), None, &none);
    let (response, agreed) = built.unwrap();
    let response = String::from_utf8(response).unwrap();
    let mut lines = response.lines();
    let answer = lines.find_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: "));
    assert_eq!(answer.is_some(), agreed.is_some(), "{response}");
    let (Some(answer), Some(agreed)) = (answer, agreed) else {
        return;
    };
    check_agreement(config, agreed);
    assert!(agreed.window_bits >= 9, "we must be able to compress");
    let has = |part: &str| answer.split("; ").any(|other| other == part);
    assert_eq!(has("server_no_context_takeover"), !agreed.takeover);
    assert_eq!(has("client_no_context_takeover"), !agreed.peer_takeover);
    // Whoever offers the answer gets the same one.
    assert!(answer.starts_with("permessage-deflate"), "{answer}");
}

fn check_answer(config: &DeflateConfig, value: &[u8]) {
    let accept = accept_for(KEY);
    let head = [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Accept: ",
        &accept[..],
        b"\r\n",
        &line(value),
        b"\r\n",
    ];
    let head = head.concat();
    let none: [&str; 0] = [];
    let parse = |config| {
        let (mut progress, limits) = (HeadProgress::default(), HeadLimits::default());
        let parsed =
            parse_more_response_with(&mut progress, &head, &accept, &none, config, &limits);
        parsed.map(|parsed| parsed.unwrap().0.deflate())
    };
    assert!(parse(None).is_err(), "nothing was offered");
    if let Ok(agreed) = parse(Some(config)) {
        check_agreement(config, agreed.expect("an empty answer is none"));
    }
}

/// Nothing that is agreed on goes beyond what was configured.
fn check_agreement(config: &DeflateConfig, agreed: DeflateAgreement) {
    assert!(config.takeover || !agreed.takeover);
    assert!(config.peer_takeover || !agreed.peer_takeover);
    assert!((8..=config.window_bits).contains(&agreed.window_bits));
    assert!((8..=15).contains(&agreed.peer_window_bits));
}

/// What a server heard, and why it has ended the connection, if it has.
type Heard = (Vec<(Vec<u8>, MessageKind)>, Option<Cause>);

/// Feeds a server in pieces of this length.
fn hear(takeover: bool, mut bytes: Vec<u8>, piece: usize) -> Heard {
    let (mut env, mut session) = server(takeover);
    let (mut heard, mut fed) = (Vec::new(), 0);
    let now = Moment::on_time(Micros::from_secs(1));
    loop {
        let (consumed, event) = session.decode(&mut env, now, &mut bytes[..fed]);
        let is_starved = matches!(event, Event::NeedMore);
        if let Event::Message { kind, payload } = event {
            let message = match payload {
                Payload::Input(range) => bytes[range].to_vec(),
                Payload::Assembled => session.take_assembled(),
            };
            heard.push((message, kind));
        }
        if is_starved && fed == bytes.len() {
            break;
        }
        bytes.drain(..consumed);
        fed -= consumed;
        if is_starved {
            fed = fed.saturating_add(piece).min(bytes.len());
        }
    }
    let cause = session.cause();
    session.discard(&mut env);
    (heard, cause)
}

/// Opens a server whose peer has agreed to compress.
fn server(takeover: bool) -> (Env, Session) {
    let limits = LimitsConfig {
        max_message: MOST,
        deflate: Some(DeflateConfig {
            takeover,
            peer_takeover: takeover,
            ..DeflateConfig::default()
        }),
        ..LimitsConfig::default()
    };
    let heartbeat = HeartbeatConfig::websocket();
    let tick = std::time::Duration::from_millis(10);
    let policy = Policy::new(&heartbeat, &limits, WireKind::WebSocket, tick).unwrap();
    let mut env = Env::new(Box::new(Dice::new(1)));
    let policy = env.intern(policy).unwrap();
    let (wire, now) = (Wire::WebSocket, Moment::on_time(Micros::ZERO));
    let mut session = Session::accepted(&mut env, policy, wire, PingPhase::ZERO, now);
    let head = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    let door = Door::default();
    let Asked::Upgrade(request, _) = session.next_request(&mut env, now, head, door) else {
        unreachable!("it asks for an upgrade");
    };
    let upgrade = session.check_upgrade(&mut env, now, &request, door);
    let none: [(&str, &str); 0] = [];
    let opened = session.accept_upgrade(&mut env, now, &upgrade.unwrap(), None, &none);
    opened.unwrap();
    assert!(session.deflate().is_some());
    (env, session)
}
