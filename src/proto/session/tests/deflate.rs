//! Compressed messages between two sessions, and from peers who break the rules.

use proptest::prelude::*;

use super::*;
use crate::config::DeflateConfig;
use crate::proto::message::SharedMessage;
use crate::proto::websocket::encode_header;
use crate::proto::websocket::handshake::{accept_for, request_with};

const KEY: [u8; 16] = *b"the sample nonce";

/// Compresses whatever becomes shorter.
const ANY: DeflateConfig = DeflateConfig {
    level: 2,
    threshold: 1,
    longest: 1 << 24,
    takeover: false,
    peer_takeover: false,
    window_bits: 15,
    peer_window_bits: 15,
};

const TAKEOVER: DeflateConfig = DeflateConfig {
    takeover: true,
    peer_takeover: true,
    ..ANY
};

/// A client and a server that have shaken hands.
struct Pair {
    client: Bench,
    server: Bench,
}

impl Pair {
    fn new(client: DeflateConfig, server: DeflateConfig) -> Self {
        Self::with(client, server, |_| {})
    }

    /// The limits of both are changed alike.
    fn with(
        client: DeflateConfig,
        server: DeflateConfig,
        change: impl Fn(&mut LimitsConfig),
    ) -> Self {
        let wire = || Wire::WebSocket;
        let bench = |deflate, is_client: bool| {
            let (mut env, policy) = surroundings(&wire(), |_, limits| {
                limits.deflate = Some(deflate);
                change(limits);
            });
            let begin = if is_client {
                Session::dialed
            } else {
                Session::accepted
            };
            let session = begin(&mut env, policy, wire(), PingPhase::ZERO, secs(0));
            Bench { env, session }
        };
        let mut pair = Self {
            client: bench(client, true),
            server: bench(server, false),
        };
        pair.shake_hands(&client);
        pair
    }

    fn shake_hands(&mut self, deflate: &DeflateConfig) {
        let no_headers: &[(&str, &str)] = &[];
        let no_names: &[&str] = &[];
        let asked = request_with("a", "/", KEY, no_names, Some(deflate), no_headers);
        let Bench { env, session } = &mut self.client;
        session.handle_connected(env, secs(0), &asked.unwrap());
        let asked = self.client.flush(secs(0));

        let Bench { env, session } = &mut self.server;
        let door = Door::default();
        let Asked::Upgrade(request, _) = session.next_request(env, secs(0), &asked, door) else {
            unreachable!("it asks for an upgrade");
        };
        let upgrade = session.check_upgrade(env, secs(0), &request, door).unwrap();
        session
            .accept_upgrade(env, secs(0), &upgrade, None, no_headers)
            .unwrap();
        let answer = self.server.flush(secs(0));

        let Bench { env, session } = &mut self.client;
        let accept = accept_for(KEY);
        let replied = session.next_response(env, secs(0), &answer, &accept, no_names);
        let Replied::Accepted(acceptance, _) = replied else {
            unreachable!("the answer fits: {replied:?}");
        };
        session.handle_acceptance(env, secs(0), &acceptance);
        session.release(env);
    }

    /// Sends a message of the server to the client. Returns what it heard, and what was on the wire.
    fn down(&mut self, message: Message<'_>) -> (Vec<Heard>, Vec<u8>) {
        pass(&mut self.server, &mut self.client, message)
    }

    fn up(&mut self, message: Message<'_>) -> (Vec<Heard>, Vec<u8>) {
        pass(&mut self.client, &mut self.server, message)
    }
}

fn pass(from: &mut Bench, to: &mut Bench, message: Message<'_>) -> (Vec<Heard>, Vec<u8>) {
    from.send(secs(1), message).unwrap();
    let bytes = from.flush(secs(1));
    (to.feed(secs(1), &bytes), bytes)
}

/// A server whose peer has agreed to compress, and sends these frames.
fn server(change: impl Fn(&mut LimitsConfig)) -> Bench {
    Pair::with(ANY, ANY, change).server
}

/// A frame of a client with the bits for extensions set so.
fn marked(fin: bool, opcode: Opcode, bits: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = fragment(fin, opcode, payload);
    frame[0] |= bits << 4;
    frame
}

fn rsv1(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    marked(true, opcode, 4, payload)
}

const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

fn cause_after(bench: &mut Bench, bytes: &[u8]) -> Option<Cause> {
    assert_eq!(bench.feed(secs(1), bytes), []);
    bench.session.cause()
}

#[test]
fn a_message_leaves_compressed_and_arrives_as_it_was() {
    let news = "the same words again and again, ".repeat(30);
    for config in [ANY, TAKEOVER] {
        let mut pair = Pair::new(config, config);
        for _ in 0..3 {
            let (heard, bytes) = pair.down(Message::text(&news));
            assert_eq!(heard, [text(&news)]);
            assert_eq!(bytes[0], 0xc1);
            assert!(bytes.len() < 100, "{}", bytes.len());
            let (heard, bytes) = pair.up(Message::binary(news.as_bytes()));
            assert_eq!(heard, [Heard::Bytes(news.clone().into())]);
            assert_eq!(bytes[0], 0xc2);
        }
        let stats = &pair.server.env.stats;
        assert_eq!((stats.messages_deflated, stats.messages_inflated), (3, 3));
        assert_eq!(stats.deflated_from, 3 * news.len() as u64);
        assert_eq!(stats.inflated_to, 3 * news.len() as u64);
        assert!(stats.deflated_to < 300 && stats.inflated_from < 300);
    }
}

#[test]
fn an_idle_connection_keeps_nothing_unless_it_was_asked_for() {
    let news = "the same words again and again, ".repeat(30);
    let mut pair = Pair::new(ANY, ANY);
    pair.down(Message::text(&news));
    pair.up(Message::text(&news));
    for bench in [&pair.client, &pair.server] {
        assert!(bench.session.is_released() && bench.session.rare.is_none());
        assert_eq!(bench.session.memory(), 0);
    }
    let mut pair = Pair::new(TAKEOVER, TAKEOVER);
    assert!(
        pair.server.session.is_released(),
        "before the first message"
    );
    pair.down(Message::text(&news));
    let one = pair.server.session.memory();
    assert!((news.len()..news.len() + 2_000).contains(&one), "{one}");
    for _ in 0..100 {
        pair.up(Message::text(&news));
        pair.down(Message::text(&news));
    }
    let most = pair.server.session.memory();
    assert!((36_864..39_000).contains(&most), "both windows: {most}");
    let Bench { env, session } = &mut pair.server;
    session.handle_memory_limit(env, secs(1));
    assert!(session.memory() < 2_000, "{}", session.memory());
}

#[test]
fn messages_refer_to_earlier_ones_only_where_that_was_agreed_on() {
    let mut dice = Dice::new(3);
    let noise: Vec<u8> = (0..2_000).map(|_| dice.next_u64() as u8).collect();
    for (client, server, repeats) in [
        (ANY, ANY, false),
        (TAKEOVER, ANY, false),
        (ANY, TAKEOVER, false),
        (TAKEOVER, TAKEOVER, true),
    ] {
        let mut pair = Pair::new(client, server);
        let first = [&noise[..], &[b'x'; 500]].concat();
        for _ in 0..2 {
            let (heard, _) = pair.down(Message::binary(&first));
            assert_eq!(heard, [Heard::Bytes(first.clone())]);
        }
        let (heard, bytes) = pair.down(Message::binary(&noise));
        assert_eq!(heard, [Heard::Bytes(noise.clone())]);
        assert_eq!(bytes.len() < 100, repeats, "{}", bytes.len());
        assert_eq!(bytes[0] == 0xc2, repeats, "noise alone is sent as it is");
    }
}

#[test]
fn a_long_message_leaves_in_fragments_and_a_ping_goes_between_them() {
    let mut dice = Dice::new(7);
    let words: String = (0..60_000)
        .map(|_| char::from(b'a' + dice.below(16) as u8))
        .collect();
    let mut pair = Pair::with(ANY, ANY, |limits| limits.max_fragment = 8_192);
    pair.server.send(secs(1), Message::text(&words)).unwrap();
    let part = pair.server.flush_some(secs(1), 10_000);
    let Bench { env, session } = &mut pair.server;
    session.ping(env, secs(1));
    let rest = pair.server.flush(secs(1));
    assert_eq!(part[0], 0x41, "the first fragment has the mark");
    assert!(rest.windows(2).any(|two| two == [0x89, 4]), "the ping");
    let mut heard = pair.client.feed(secs(1), &part);
    heard.extend(pair.client.feed(secs(1), &rest));
    assert_eq!(heard, [text(&words)]);
}

#[test]
fn short_and_very_long_messages_and_noise_are_not_compressed() {
    let config = DeflateConfig {
        threshold: 100,
        longest: 200,
        ..ANY
    };
    let mut pair = Pair::new(config, config);
    for (len, first) in [(0, 0x81), (99, 0x81), (100, 0xc1), (200, 0xc1), (201, 0x81)] {
        let message = "a".repeat(len);
        let (heard, bytes) = pair.down(Message::text(&message));
        assert_eq!((heard, bytes[0]), (vec![text(&message)], first), "{len}");
    }
}

#[test]
fn who_has_not_agreed_neither_sends_nor_takes_compressed_messages() {
    let mut bench = Bench::new(Wire::WebSocket);
    assert_eq!(bench.session.deflate(), None);
    let cause = cause_after(&mut bench, &rsv1(Opcode::Text, &HELLO));
    assert_eq!(cause, Some(Cause::ProtocolError));
}

#[test]
fn the_mark_stands_on_the_first_frame_of_a_message_only() {
    let sound = rsv1(Opcode::Text, &HELLO);
    assert_eq!(server(|_| {}).feed(secs(1), &sound), [text("Hello")]);
    let cut = [
        marked(false, Opcode::Text, 4, &HELLO[..3]),
        fragment(true, Opcode::Ping, b"meanwhile"),
        fragment(false, Opcode::Continuation, b""),
        fragment(true, Opcode::Continuation, &HELLO[3..]),
    ];
    assert_eq!(server(|_| {}).feed(secs(1), &cut.concat()), [text("Hello")]);
    for broken in [
        marked(true, Opcode::Text, 2, &HELLO),
        marked(true, Opcode::Text, 5, &HELLO),
        rsv1(Opcode::Ping, b""),
        rsv1(Opcode::Pong, b""),
        rsv1(Opcode::Close, b""),
        [
            marked(false, Opcode::Text, 4, &HELLO[..3]),
            rsv1(Opcode::Continuation, &HELLO[3..]),
        ]
        .concat(),
        [
            marked(false, Opcode::Text, 0, b"He"),
            rsv1(Opcode::Continuation, b"llo"),
        ]
        .concat(),
    ] {
        let cause = cause_after(&mut server(|_| {}), &broken);
        assert_eq!(cause, Some(Cause::ProtocolError), "{broken:02x?}");
    }
}

#[test]
fn every_cut_of_a_compressed_message_comes_to_the_same() {
    let message = [
        marked(false, Opcode::Text, 4, &HELLO[..2]),
        fragment(true, Opcode::Continuation, &HELLO[2..]),
        rsv1(Opcode::Text, &HELLO),
    ];
    let bytes = message.concat();
    for first in 0..bytes.len() {
        for second in first..bytes.len() {
            let mut bench = server(|_| {});
            let mut heard = bench.feed(secs(1), &bytes[..first]);
            heard.extend(bench.feed(secs(1), &bytes[first..second]));
            heard.extend(bench.feed(secs(1), &bytes[second..]));
            assert_eq!(heard, [text("Hello"), text("Hello")], "{first} {second}");
            assert!(bench.session.is_released());
        }
    }
}

#[test]
fn broken_messages_end_with_the_cause_that_fits() {
    let pack = |message: &[u8]| {
        let mut pair = Pair::new(ANY, ANY);
        let (_, bytes) = pair.down(Message::binary(message));
        let header = encode_header(true, Opcode::Binary, 1 << 14, None);
        assert_eq!(bytes[0], header[0] | 0x40);
        let start = if bytes[1] < 126 { 2 } else { 4 };
        bytes[start..].to_vec()
    };
    let bomb = pack(&vec![0; 300_000]);
    let not_text = pack(&[0xff; 300]);
    for (payload, expected) in [
        (&bomb[..], Cause::MessageTooBig),
        (&not_text, Cause::InvalidUtf8),
        (&HELLO[..4], Cause::ProtocolError),
        (b"", Cause::ProtocolError),
        (b"\xff", Cause::ProtocolError),
    ] {
        let mut bench = server(|limits| limits.max_message = 100_000);
        let cause = cause_after(&mut bench, &rsv1(Opcode::Text, payload));
        assert_eq!(cause, Some(expected));
        let close = bench.flush(secs(1));
        let code = expected.close_code().unwrap();
        assert_eq!(&close[2..4], code.as_u16().to_be_bytes(), "{close:?}");
    }
}

#[test]
fn a_long_message_is_inflated_in_steps_and_input_behind_it_waits() {
    let long = "b".repeat(3 << 20);
    let mut pair = Pair::new(ANY, ANY);
    pair.client.send(secs(1), Message::text(&long)).unwrap();
    pair.client.send(secs(1), Message::text("next")).unwrap();
    let mut bytes = pair.client.flush(secs(1));
    let Bench { env, session } = &mut pair.server;
    let (consumed, mut event) = session.decode(env, secs(1), &mut bytes);
    assert!(consumed < bytes.len() && session.is_inflating());
    let mut steps = 0;
    while matches!(event, Event::Inflating) {
        assert!(session.has_input() && session.memory() > 256 * 1024 * steps);
        steps += 1;
        let step = session.decode(env, secs(1), &mut bytes[consumed..]);
        assert_eq!(step.0, 0, "the rest waits");
        event = step.1;
    }
    assert!(steps > 4, "{steps}");
    assert!(matches!(event, Event::Message { .. }));
    assert_eq!(session.take_assembled(), long.as_bytes());
    assert_eq!(
        pair.server.feed(secs(1), &bytes[consumed..]),
        [text("next")]
    );
    assert!(pair.server.session.is_released());
}

#[test]
fn after_our_goodbye_nothing_is_inflated_any_more() {
    let long = "b".repeat(3 << 20);
    let mut pair = Pair::new(ANY, ANY);
    pair.client.send(secs(1), Message::text(&long)).unwrap();
    let mut bytes = pair.client.flush(secs(1));
    let Bench { env, session } = &mut pair.server;
    let (consumed, event) = session.decode(env, secs(1), &mut bytes);
    assert!(matches!(event, Event::Inflating));
    session.close(env, secs(1), Cause::LocalClose, None, "bye");
    let (_, event) = session.decode(env, secs(1), &mut bytes[consumed..]);
    assert!(matches!(event, Event::Consumed) && !session.is_inflating());
    let inflated = env.stats.messages_inflated;
    let close = masked(Opcode::Close, &[]);
    let more = [&rsv1(Opcode::Text, &HELLO)[..], &close].concat();
    assert_eq!(pair.server.feed(secs(1), &more), []);
    assert_eq!(pair.server.env.stats.messages_inflated, inflated);
    assert!(pair.server.evidence(secs(1)).clean || !pair.server.flush(secs(1)).is_empty());
}

#[test]
fn a_shared_message_is_compressed_once_for_all_who_can_take_it() {
    let news = "the same words again and again, ".repeat(30);
    let shared = SharedMessage::new(Message::text(&news));
    let small = DeflateConfig {
        window_bits: 9,
        ..ANY
    };
    let mut addresses = Vec::new();
    for server in [ANY, ANY, TAKEOVER, small] {
        let mut pair = Pair::new(TAKEOVER, server);
        for _ in 0..2 {
            let Bench { env, session } = &mut pair.server;
            session.send_shared(env, secs(1), &shared).unwrap();
            let mut slices = [IoSlice::new(&[]); 4];
            assert_eq!(session.slices(&mut slices), 1);
            addresses.push(slices[0].as_ptr());
            let bytes = pair.server.flush(secs(1));
            assert_eq!(pair.client.feed(secs(1), &bytes), [text(&news)]);
            assert_eq!(bytes[0], 0xc1);
            // What refers to it is understood.
            let (heard, _) = pair.down(Message::text(&news));
            assert_eq!(heard, [text(&news)]);
        }
    }
    let (same, other) = addresses.split_at(6);
    assert!(same.iter().all(|address| *address == same[0]));
    assert!(other[0] == other[1] && other[0] != same[0]);
}

#[test]
fn the_policy_of_an_open_connection_may_end_compression_of_ours() {
    let news = "the same words again and again, ".repeat(30);
    let mut pair = Pair::new(ANY, ANY);
    pair.server
        .set_policy(secs(1), |_, limits| limits.deflate = None);
    let (heard, bytes) = pair.down(Message::text(&news));
    assert_eq!((heard, bytes[0]), (vec![text(&news)], 0x81));
    let (heard, bytes) = pair.up(Message::text(&news));
    assert_eq!((heard, bytes[0]), (vec![text(&news)], 0xc1));
}

fn configs() -> impl Strategy<Value = DeflateConfig> {
    let windows = (9..=15u8, 9..=15u8);
    let all = (1..=9u8, 0..200usize, any::<[bool; 2]>(), windows);
    all.prop_map(
        |(level, threshold, [takeover, peer_takeover], windows)| DeflateConfig {
            level,
            threshold,
            longest: 1 << 20,
            takeover,
            peer_takeover,
            window_bits: windows.0,
            peer_window_bits: windows.1,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any messages both ways, in any fragments, and cut anywhere on the way.
    #[test]
    fn any_message_arrives_however_it_is_compressed_and_cut(
        client in configs(),
        server in configs(),
        max_fragment in 1..5_000usize,
        messages in prop::collection::vec(
            (any::<bool>(), "[ab ]{0,40}", 0..300usize, 1..3_000usize),
            1..6,
        ),
    ) {
        let mut pair = Pair::with(client, server, |limits| limits.max_fragment = max_fragment);
        for (is_up, words, count, cut) in messages {
            let message = words.repeat(count);
            let Pair { client, server } = &mut pair;
            let (from, to) = if is_up { (client, server) } else { (server, client) };
            from.send(secs(1), Message::text(&message)).unwrap();
            let bytes = from.flush(secs(1));
            let heard: Vec<Heard> = bytes
                .chunks(cut)
                .flat_map(|piece| to.feed(secs(1), piece))
                .collect();
            prop_assert_eq!(heard, [text(&message)]);
        }
    }
}
