//! What goes in comes out: under any fragmentation, any masks, any pieces, any control frames in
//! between, in both roles; first for the wires by themselves, then between two whole connections.
#![cfg(feature = "websocket")]
#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "a test, and a helper that others share"
)]

#[path = "support/dice.rs"]
mod dice;
#[path = "support/end.rs"]
mod end;
#[path = "support/memory/mod.rs"]
mod memory;

use heartwheel::close::{Cause, CloseCode};
use heartwheel::config::{HeartbeatConfig, LimitsConfig, WireKind};
use heartwheel::error::ProtocolError;
use heartwheel::event_loop::WireFactory;
use heartwheel::proto::binary::{self, BinaryDecoder};
use heartwheel::proto::http::{HeadLimits, Request};
use heartwheel::proto::line::{self, LineDecoder};
use heartwheel::proto::message::{Message, SharedMessage};
use heartwheel::proto::pool::Pool;
use heartwheel::proto::websocket::handshake::{
    Upgrade, accept_for, accept_response, parse_response, request,
};
use heartwheel::proto::websocket::{self, Decoder, Opcode, close_body, encode, fragments};
use heartwheel::proto::wire::{self, EncodeError, MessageKind, Payload, Role};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::Config;

use end::End;
use memory::pipe::Fate;

/// What a wire carries, as its reader is told.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    Message(MessageKind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, Vec<u8>),
}

/// What one step of decoding found.
enum Found {
    /// More bytes are needed.
    Nothing,
    /// Part of a message.
    Part,
    Item(Item),
}

/// One step of decoding: bytes consumed, and what was found.
type Step = Result<(usize, Found), ProtocolError>;

/// Lets a decoder read a stream in pieces of these lengths, over and over, as a driver does.
fn read_in_pieces(
    stream: &[u8],
    lengths: &[usize],
    mut decode: impl FnMut(&mut [u8]) -> Step,
) -> Result<Vec<Item>, ProtocolError> {
    let (mut rx, mut items) = (Vec::new(), Vec::new());
    let (mut rest, mut lengths) = (stream, lengths.iter().cycle());
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(rest.len().min(*lengths.next().unwrap()));
        rx.extend_from_slice(piece);
        rest = behind;
        loop {
            let (consumed, found) = decode(&mut rx)?;
            rx.drain(..consumed);
            match found {
                Found::Nothing => break,
                Found::Part => {}
                Found::Item(item) => items.push(item),
            }
        }
    }
    assert!(rx.is_empty(), "nothing is left over");
    Ok(items)
}

/// A message with the places where it is cut and what stands in the gaps.
#[derive(Clone, Debug)]
struct Sent {
    kind: MessageKind,
    payload: Vec<u8>,
    cuts: Vec<Index>,
    between: Vec<Vec<Item>>,
}

impl Sent {
    /// Returns the fragments, which may be empty.
    fn pieces(&self) -> Vec<&[u8]> {
        let places = self.payload.len() + 1;
        let mut ends: Vec<_> = self.cuts.iter().map(|cut| cut.index(places)).collect();
        ends.sort_unstable();
        ends.push(self.payload.len());
        let mut start = 0;
        let mut pieces = Vec::new();
        for end in ends {
            pieces.push(&self.payload[start..end]);
            start = end;
        }
        pieces
    }
}

/// Writes frames, each with the next of the masks, and notes what a reader has to find.
struct Writer<'a> {
    masks: Option<std::iter::Cycle<std::slice::Iter<'a, [u8; 4]>>>,
    bytes: Vec<u8>,
    expected: Vec<Item>,
}

impl<'a> Writer<'a> {
    /// Writes for a reader of this role.
    fn to(role: Role, masks: &'a [[u8; 4]]) -> Self {
        let masks = (role == Role::Server).then(|| masks.iter().cycle());
        let (bytes, expected) = (Vec::new(), Vec::new());
        Self {
            masks,
            bytes,
            expected,
        }
    }

    fn frame(&mut self, fin: bool, opcode: Opcode, payload: &[u8]) {
        let mask = self.masks.as_mut().map(|masks| *masks.next().unwrap());
        encode(fin, opcode, payload, mask, &mut self.bytes);
    }

    fn message(&mut self, sent: &Sent) {
        let mut opcode = match sent.kind {
            MessageKind::Text => Opcode::Text,
            MessageKind::Binary => Opcode::Binary,
        };
        let pieces = sent.pieces();
        for (at, piece) in pieces.iter().enumerate() {
            let is_last = at + 1 == pieces.len();
            self.frame(is_last, opcode, piece);
            opcode = Opcode::Continuation;
            if !is_last {
                let between = sent.between.get(at).into_iter().flatten();
                between.for_each(|control| self.control(control));
            }
        }
        let message = Item::Message(sent.kind, sent.payload.clone());
        self.expected.push(message);
    }

    fn control(&mut self, control: &Item) {
        match control {
            Item::Ping(payload) => self.frame(true, Opcode::Ping, payload),
            Item::Pong(payload) => self.frame(true, Opcode::Pong, payload),
            Item::Close(None, _) => self.frame(true, Opcode::Close, b""),
            Item::Close(Some(code), reason) => {
                let reason = std::str::from_utf8(reason).unwrap();
                let body = close_body(CloseCode::new(*code), reason);
                self.frame(true, Opcode::Close, &body);
            }
            Item::Message(..) => unreachable!("a message is no control frame"),
        }
        self.expected.push(control.clone());
    }
}

/// One step of the WebSocket decoder.
fn decode_websocket(decoder: &mut Decoder, role: Role, pool: &mut Pool, rx: &mut [u8]) -> Step {
    let (consumed, item) = decoder.decode(role, rx, u64::MAX, pool)?;
    let item = match item {
        websocket::Item::NeedMore => return Ok((consumed, Found::Nothing)),
        websocket::Item::Fragment => return Ok((consumed, Found::Part)),
        websocket::Item::Message { kind, payload } => {
            message(kind, payload, rx, || decoder.take_assembled())
        }
        websocket::Item::Compressed { .. } => unreachable!("nobody has agreed to it"),
        websocket::Item::Ping(range) => Item::Ping(rx[range].to_vec()),
        websocket::Item::Pong(range) => Item::Pong(rx[range].to_vec()),
        websocket::Item::Close { code, reason } => {
            let code = code.map(CloseCode::as_u16);
            Item::Close(code, rx[reason].to_vec())
        }
    };
    Ok((consumed, Found::Item(item)))
}

/// Translates what the two plain decoders find.
fn plain(found: (usize, wire::Item), rx: &[u8], take: impl FnOnce() -> Vec<u8>) -> Step {
    let (consumed, item) = found;
    let item = match item {
        wire::Item::NeedMore => return Ok((consumed, Found::Nothing)),
        wire::Item::Ping => Item::Ping(Vec::new()),
        wire::Item::Pong => Item::Pong(Vec::new()),
        wire::Item::Message { kind, payload } => message(kind, payload, rx, take),
    };
    Ok((consumed, Found::Item(item)))
}

fn message(kind: MessageKind, payload: Payload, rx: &[u8], take: impl FnOnce() -> Vec<u8>) -> Item {
    match payload {
        Payload::Input(range) => Item::Message(kind, rx[range].to_vec()),
        Payload::Assembled => Item::Message(kind, take()),
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "\\PC{0,40}",
        2 => "[\\x00-\\x7f]{0,200}",
        1 => ("[a-zé日😀]{1,8}", 1_usize..4_000).prop_map(|(text, count)| text.repeat(count)),
    ]
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => vec(any::<u8>(), 0..200),
        2 => (120_usize..132).prop_map(|len| vec![0xA5; len]),
        1 => (65_530_usize..65_545).prop_map(|len| vec![0x5A; len]),
        1 => vec(any::<u8>(), 4_000..9_000),
    ]
}

fn payload() -> impl Strategy<Value = (MessageKind, Vec<u8>)> {
    prop_oneof![
        text().prop_map(|text| (MessageKind::Text, text.into_bytes())),
        data().prop_map(|data| (MessageKind::Binary, data)),
    ]
}

/// Text that a line can be: without line feed, and not one of the two words of the heartbeat.
fn line_text() -> impl Strategy<Value = (MessageKind, Vec<u8>)> {
    let odd = ["", "\r", "\r\r", "PING ", "ping", "PONG\r", "PINGPONG"];
    let text = prop_oneof![
        4 => text().prop_map(|text| text.replace('\n', " ")),
        1 => prop::sample::select(odd.to_vec()).prop_map(str::to_owned),
    ];
    text.prop_map(|text| (MessageKind::Text, text.into_bytes()))
}

/// Messages of a wire without fragments, with pings and pongs between them.
fn plain_conversation(
    message: impl Strategy<Value = (MessageKind, Vec<u8>)>,
) -> impl Strategy<Value = Vec<Item>> {
    let step = prop_oneof![
        4 => message.prop_map(|(kind, payload)| Item::Message(kind, payload)),
        1 => Just(Item::Ping(Vec::new())),
        1 => Just(Item::Pong(Vec::new())),
    ];
    vec(step, 0..10)
}

fn write_plain(
    conversation: &[Item],
    [ping, pong]: [&[u8]; 2],
    encode: impl Fn(&[u8], &mut Vec<u8>) -> Result<(), EncodeError>,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    for item in conversation {
        match item {
            Item::Message(_, payload) => encode(payload, &mut bytes).unwrap(),
            Item::Ping(_) => bytes.extend_from_slice(ping),
            Item::Pong(_) => bytes.extend_from_slice(pong),
            Item::Close(..) => unreachable!("a plain wire has no goodbye"),
        }
    }
    bytes
}

fn control() -> impl Strategy<Value = Item> {
    let payload = vec(any::<u8>(), 0..=125);
    (any::<bool>(), payload).prop_map(|(is_ping, payload)| match is_ping {
        true => Item::Ping(payload),
        false => Item::Pong(payload),
    })
}

fn close() -> impl Strategy<Value = Item> {
    let code = prop_oneof![
        Just(1000_u16),
        1001_u16..=1003,
        1007_u16..=1014,
        3000_u16..=4999
    ];
    let reason = "\\PC{0,30}".prop_filter("a reason that fits", |reason| reason.len() <= 123);
    let coded = (code, reason).prop_map(|(code, reason)| Item::Close(Some(code), reason.into()));
    prop_oneof![1 => Just(Item::Close(None, Vec::new())), 4 => coded]
}

fn sent() -> impl Strategy<Value = Sent> {
    let between = vec(vec(control(), 0..3), 0..5);
    (payload(), vec(any::<Index>(), 0..5), between).prop_map(|((kind, payload), cuts, between)| {
        Sent {
            kind,
            payload,
            cuts,
            between,
        }
    })
}

/// Lengths of pieces, single bytes and whole streams among them.
fn lengths() -> impl Strategy<Value = Vec<usize>> {
    let length = prop_oneof![4 => 1_usize..20, 4 => 1_usize..3_000, 1 => Just(usize::MAX)];
    vec(length, 1..6)
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Server), Just(Role::Client)]
}

proptest! {
    #![proptest_config(Config::with_cases(256))]

    #[test]
    fn websocket_messages_and_control_frames_come_out_in_their_order(
        role in role(),
        conversation in vec(prop_oneof![3 => sent().prop_map(Ok), 1 => control().prop_map(Err)], 0..8),
        end in prop::option::of(close()),
        masks in vec(any::<[u8; 4]>(), 1..6),
        lengths in lengths(),
    ) {
        let mut writer = Writer::to(role, &masks);
        for step in &conversation {
            match step {
                Ok(sent) => writer.message(sent),
                Err(control) => writer.control(control),
            }
        }
        end.iter().for_each(|close| writer.control(close));
        let (mut decoder, mut pool) = (Decoder::default(), Pool::default());
        let items = read_in_pieces(&writer.bytes, &lengths, |rx| {
            decode_websocket(&mut decoder, role, &mut pool, rx)
        });
        prop_assert_eq!(items, Ok(writer.expected));
        prop_assert!(decoder.is_idle());
    }

    #[test]
    fn websocket_messages_survive_our_own_fragments(
        role in role(),
        (kind, payload) in payload(),
        limit in prop_oneof![1_usize..50, 100_usize..5_000],
        masks in vec(any::<[u8; 4]>(), 1..6),
        lengths in lengths(),
    ) {
        let mut writer = Writer::to(role, &masks);
        for (fin, opcode, range) in fragments(kind, payload.len(), limit) {
            writer.frame(fin, opcode, &payload[range]);
        }
        let (mut decoder, mut pool) = (Decoder::default(), Pool::default());
        let items = read_in_pieces(&writer.bytes, &lengths, |rx| {
            decode_websocket(&mut decoder, role, &mut pool, rx)
        });
        prop_assert_eq!(items, Ok(vec![Item::Message(kind, payload)]));
    }

    #[test]
    fn lines_and_their_pings_come_out_in_their_order(
        conversation in plain_conversation(line_text()),
        lengths in lengths(),
    ) {
        let bytes = write_plain(&conversation, [line::PING, line::PONG], line::encode);
        let (mut decoder, mut pool) = (LineDecoder::default(), Pool::default());
        let items = read_in_pieces(&bytes, &lengths, |rx| {
            let found = decoder.decode(rx, u64::MAX, &mut pool)?;
            plain(found, rx, || decoder.take_assembled())
        });
        prop_assert_eq!(items, Ok(conversation));
        prop_assert!(decoder.is_idle());
    }

    #[test]
    fn binary_messages_and_their_pings_come_out_in_their_order(
        conversation in plain_conversation(data().prop_map(|data| (MessageKind::Binary, data))),
        lengths in lengths(),
    ) {
        let bytes = write_plain(&conversation, [binary::PING, binary::PONG], binary::encode);
        let (mut decoder, mut pool) = (BinaryDecoder::default(), Pool::default());
        let items = read_in_pieces(&bytes, &lengths, |rx| {
            let found = decoder.decode(rx, u64::MAX, &mut pool)?;
            plain(found, rx, || decoder.take_assembled())
        });
        prop_assert_eq!(items, Ok(conversation));
        prop_assert!(decoder.is_idle());
    }

    #[test]
    fn a_handshake_of_ours_is_one_that_we_take_at_whatever_cut(
        key in any::<[u8; 16]>(),
        host in "[a-z0-9.-]{1,20}(:[1-9][0-9]{0,3})?|\\[::[0-9a-f]{1,4}\\]:80",
        path in "/[a-zA-Z0-9/._~!$&'()*+,;=:@-]{0,20}(\\?[a-z=&%{}|]{0,20})?",
        offered in prop::collection::hash_set("[a-zA-Z0-9!#$%&'*+.^_`|~-]{1,10}", 0..4),
        chosen in prop::option::of(any::<Index>()),
        value in "[ -~\\t]{0,40}",
        behind in vec(any::<u8>(), 0..40),
        interim in 0_usize..3,
    ) {
        let offered: Vec<_> = offered.into_iter().collect();
        let chosen = chosen.filter(|_| !offered.is_empty()).map(|at| at.get(&offered).as_str());
        let headers = [("X-Value", value.as_str())];
        let limits = HeadLimits::default();

        let asked = request(&host, &path, key, &offered, &headers).unwrap();
        let stream = [&asked[..], &behind].concat();
        for cut in 0..asked.len() {
            prop_assert!(Request::parse(&stream[..cut], &limits).unwrap().is_none(), "cut at {}", cut);
        }
        for cut in asked.len()..=stream.len() {
            let (_, len) = Request::parse(&stream[..cut], &limits).unwrap().unwrap();
            prop_assert_eq!(len, asked.len());
        }
        let (parsed, _) = Request::parse(&stream, &limits).unwrap().unwrap();
        let upgrade = Upgrade::of(&parsed).unwrap();
        prop_assert_eq!(parsed.target(), &path);
        prop_assert_eq!(parsed.header("host"), Some(host.as_bytes()));
        prop_assert_eq!(parsed.header("x-value"), Some(value.trim_ascii().as_bytes()));
        prop_assert_eq!(upgrade.subprotocols(), &offered[..]);

        let answer = accept_response(&upgrade, chosen, None, &headers).unwrap();
        let answer = [b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n".repeat(interim), answer].concat();
        let stream = [&answer[..], &behind].concat();
        let accept = accept_for(key);
        let parse = |cut: usize| parse_response(&stream[..cut], &accept, &offered, &limits);
        for cut in 0..answer.len() {
            prop_assert!(parse(cut).unwrap().is_none(), "cut at {}", cut);
        }
        for cut in answer.len()..=stream.len() {
            let (response, len) = parse(cut).unwrap().unwrap();
            prop_assert_eq!(len, answer.len());
            prop_assert_eq!(response.subprotocol(), chosen);
            prop_assert_eq!(response.response().header("x-value"), Some(value.trim_ascii().as_bytes()));
        }
    }
}

/// Something that happens between two connected ends; 0 is the client, and 1 the server.
#[derive(Clone, Debug)]
enum Op {
    /// A message of this kind and about this many bytes, by itself or shared.
    Send(usize, MessageKind, usize, bool),
    Ping(usize),
    /// Room for so many bytes at this end, and so many of those on their way arrive at the other.
    Carry(usize, usize, usize),
}

fn op() -> impl Strategy<Value = Op> {
    let kind = prop_oneof![Just(MessageKind::Text), Just(MessageKind::Binary)];
    let len = prop_oneof![8 => 0_usize..300, 2 => 3_000_usize..20_000, 1 => 60_000_usize..140_000];
    let bytes = || prop_oneof![2 => 1_usize..10, 3 => 1_usize..2_000, 3 => 1_usize..100_000];
    prop_oneof![
        3 => (0_usize..2, kind, len, any::<bool>())
            .prop_map(|(end, kind, len, is_shared)| Op::Send(end, kind, len, is_shared)),
        1 => (0_usize..2).prop_map(Op::Ping),
        6 => (0_usize..2, bytes(), bytes())
            .prop_map(|(end, written, read)| Op::Carry(end, written, read)),
    ]
}

/// Two ends and the pipes between them.
struct Pair {
    ends: [End; 2],
    sent: [Vec<(MessageKind, Vec<u8>)>; 2],
    /// Bytes on their way to each of them.
    under_way: [Vec<u8>; 2],
    wire: WireKind,
}

impl Pair {
    fn new(wire: WireKind, max_fragment: usize, seed: u64) -> Self {
        let heartbeat = HeartbeatConfig {
            interval: None,
            timeout: None,
            ..HeartbeatConfig::default()
        };
        let limits = LimitsConfig {
            max_fragment,
            send_queue: Some(400_000),
            pings_per_second: None,
            pongs_per_second: None,
            ..LimitsConfig::default()
        };
        let factory = || match wire {
            WireKind::WebSocket => WireFactory::WebSocket,
            WireKind::Line => WireFactory::Line,
            WireKind::Binary => WireFactory::Binary,
            WireKind::Raw | WireKind::Own => unreachable!("these have no messages of ours"),
        };
        let end = |role, seed| {
            let end = End::begin(factory(), role, seed, &heartbeat, &limits).open();
            end.far.set_room(0);
            end
        };
        Self {
            ends: [end(Role::Client, seed), end(Role::Server, !seed)],
            sent: Default::default(),
            under_way: Default::default(),
            wire,
        }
    }

    fn act(&mut self, op: &Op) {
        match *op {
            Op::Send(end, kind, len, is_shared) => self.send(end, kind, len, is_shared),
            Op::Ping(end) => self.ends[end].ping(),
            Op::Carry(end, written, read) => {
                let peer = 1 - end;
                self.under_way[peer].extend(self.ends[end].write(written));
                self.ends[end].far.set_room(0);
                let read = read.min(self.under_way[peer].len());
                let bytes: Vec<_> = self.under_way[peer].drain(..read).collect();
                self.ends[peer].feed(&bytes);
            }
        }
    }

    /// Sends text that tells its place and that every wire can carry; as binary where that is asked for.
    fn send(&mut self, end: usize, kind: MessageKind, len: usize, is_shared: bool) {
        let mut text = format!("{}:{end}:", self.sent[end].len());
        let filler = ['x', 'é', '日', '😀', '\r', '\0'];
        text.extend(filler.iter().cycle().take(len / 2));
        let message = match kind {
            MessageKind::Text => Message::text(&text),
            MessageKind::Binary => Message::binary(text.as_bytes()),
        };
        let queued = match is_shared {
            true => self.ends[end].send_shared(&SharedMessage::new(message)),
            false => self.ends[end].send(message),
        };
        if queued.is_ok() {
            self.sent[end].push((kind, text.into_bytes()));
        }
    }

    /// Carries everything until nothing moves, and the end of one output as the end of the other's input.
    fn settle(&mut self) {
        let mut rest = 4;
        while rest > 0 {
            rest -= 1;
            for end in 0..2 {
                let bytes = self.ends[end].write(usize::MAX);
                if !bytes.is_empty() || !self.under_way[1 - end].is_empty() {
                    rest = 4;
                }
                self.under_way[1 - end].extend(bytes);
                self.act(&Op::Carry(end, usize::MAX, usize::MAX));
                let fate = self.ends[end].fate();
                assert_ne!(fate, Fate::Reset);
                if fate != Fate::Held {
                    self.ends[1 - end].end();
                }
            }
        }
    }

    fn heard(&self, end: usize) -> &[(MessageKind, Vec<u8>)] {
        &self.ends[end].process.handler.heard
    }

    /// What one end has to have heard: all that the other sent, as its wire tells kinds apart.
    fn expected(&self, end: usize) -> Vec<(MessageKind, Vec<u8>)> {
        let kind = |kind| match self.wire {
            WireKind::Line => MessageKind::Text,
            WireKind::Binary => MessageKind::Binary,
            _ => kind,
        };
        let sent = self.sent[1 - end].iter();
        sent.map(|(sent, data)| (kind(*sent), data.clone()))
            .collect()
    }
}

proptest! {
    #![proptest_config(Config::with_cases(96))]

    #[test]
    fn two_ends_hear_what_the_other_sent_and_own_nothing_at_the_end(
        wire in prop::sample::select(vec![WireKind::WebSocket, WireKind::Line, WireKind::Binary]),
        max_fragment in prop_oneof![1_usize..50, 100_usize..5_000, Just(65_536)],
        seed in any::<u64>(),
        ops in vec(op(), 0..60),
        closer in 0_usize..2,
        last in vec(0_usize..30_000, 0..3),
    ) {
        let mut pair = Pair::new(wire, max_fragment, seed);
        ops.iter().for_each(|op| pair.act(op));
        for end in 0..2 {
            // What has arrived so far is the beginning of what was sent.
            prop_assert!(pair.expected(end).starts_with(pair.heard(end)));
        }
        pair.settle();
        for end in 0..2 {
            let (heard, expected) = (pair.heard(end), pair.expected(end));
            prop_assert!(heard == expected, "{} heard, {} sent", heard.len(), expected.len());
            prop_assert_eq!(pair.ends[end].cause(), None);
            let session = pair.ends[end].session().expect("it is open");
            let (_, written, answered) = session.heartbeat().pings();
            prop_assert_eq!(written, answered, "every ping is settled by a pong");
            prop_assert!(session.is_released(), "an idle session owns nothing");
            let process = &pair.ends[end].process.inner;
            prop_assert_eq!(process.stats().pongs_unsolicited, 0);
            prop_assert!(process.pool().free_bytes() <= Pool::KEPT);
        }

        // What is queued when one end closes arrives before the end.
        last.iter().for_each(|&len| pair.send(closer, MessageKind::Text, len, false));
        pair.ends[closer].close(1000, "done");
        pair.settle();
        prop_assert_eq!(pair.ends[closer].cause(), Some(Cause::LocalClose));
        let expected = match wire {
            WireKind::WebSocket => Cause::PeerClosed,
            _ => Cause::PeerEof,
        };
        prop_assert_eq!(pair.ends[1 - closer].cause(), Some(expected));
        let (heard, expected) = (pair.heard(1 - closer), pair.expected(1 - closer));
        prop_assert!(heard == expected, "{} heard, {} sent", heard.len(), expected.len());
        prop_assert!(pair.ends.iter().all(|end| end.process.inner.wheel().is_empty()));
    }
}
