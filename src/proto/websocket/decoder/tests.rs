//! One stream, many cuts: whatever way bytes arrive, the same items come out.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::proto::websocket::{close_body, encode, encode_header};

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const LIMIT: u64 = 1 << 20;

/// An item with its bytes, so that items of different runs can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Message(MessageKind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<CloseCode>, Vec<u8>),
    Error(ProtocolError),
}

/// A decoder behind a receive buffer, as a driver keeps it.
struct Feed {
    role: Role,
    limit: u64,
    decoder: Decoder,
    pool: Pool,
    rx: Vec<u8>,
    seen: Vec<Seen>,
    /// Bytes that went right to their place.
    directly: usize,
}

impl Feed {
    fn new(role: Role, limit: u64) -> Self {
        let (decoder, pool) = (Decoder::default(), Pool::default());
        Self {
            role,
            limit,
            decoder,
            pool,
            rx: Vec::new(),
            seen: Vec::new(),
            directly: 0,
        }
    }

    /// Takes bytes, those of long messages right to their place as a driver reads them.
    fn push_directly(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.is_failed() {
            let lent = match self.rx.is_empty() {
                true => self.decoder.take_assembly(&mut self.pool),
                false => None,
            };
            let Some((mut assembly, most)) = lent else {
                let (piece, rest) = bytes.split_at(bytes.len().min(20_000));
                self.push(piece);
                bytes = rest;
                continue;
            };
            let (arrived, capacity) = (assembly.len(), assembly.capacity());
            assert!(
                capacity <= LARGEST_POOLED.max(AHEAD * arrived),
                "{capacity} for {arrived}"
            );
            assert!(capacity >= arrived + most);
            let (piece, rest) = bytes.split_at(bytes.len().min(most));
            assembly.extend_from_slice(piece);
            assert_eq!(assembly.capacity(), capacity);
            self.decoder.put_assembly(assembly);
            self.directly += piece.len();
            bytes = rest;
            match self.decoder.decode_assembled(piece.len()) {
                Ok(Item::Message { kind, payload }) => {
                    assert_eq!(payload, Payload::Assembled);
                    let message = self.decoder.take_assembled();
                    self.seen.push(Seen::Message(kind, message));
                }
                Ok(item) => assert!(matches!(item, Item::NeedMore | Item::Fragment)),
                Err(error) => self.seen.push(Seen::Error(error)),
            }
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        if self.is_failed() {
            return;
        }
        self.rx.extend_from_slice(bytes);
        while self.step() {}
        assert!(
            self.is_failed() || self.rx.len() < 131,
            "only headers and control frames wait"
        );
    }

    /// Decodes one item; false if more bytes are needed or the stream has failed.
    fn step(&mut self) -> bool {
        let Self {
            role,
            limit,
            decoder,
            pool,
            rx,
            seen,
            ..
        } = self;
        let (consumed, item) = match decoder.decode(*role, rx, *limit, pool) {
            Ok(found) => found,
            Err(error) => {
                seen.push(Seen::Error(error));
                return false;
            }
        };
        let item = match item {
            Item::NeedMore => None,
            Item::Fragment => {
                rx.drain(..consumed);
                return true;
            }
            Item::Message {
                kind,
                payload: Payload::Input(range),
            } => {
                assert!(
                    range.end <= consumed,
                    "a range lies within the consumed bytes"
                );
                Some(Seen::Message(kind, rx[range].to_vec()))
            }
            Item::Message {
                kind,
                payload: Payload::Assembled,
            } => {
                let message = decoder.take_assembled();
                let seen = Seen::Message(kind, message.clone());
                pool.give_vec(message);
                Some(seen)
            }
            Item::Compressed { .. } => unreachable!("nobody has agreed to it"),
            Item::Ping(range) => Some(Seen::Ping(rx[range].to_vec())),
            Item::Pong(range) => Some(Seen::Pong(rx[range].to_vec())),
            Item::Close { code, reason } => Some(Seen::Close(code, rx[reason].to_vec())),
        };
        rx.drain(..consumed);
        let found = item.is_some();
        seen.extend(item);
        found
    }

    fn is_failed(&self) -> bool {
        matches!(self.seen.last(), Some(Seen::Error(_)))
    }
}

/// Feeds the pieces one after the other and returns all that was found.
fn see<'a>(role: Role, limit: u64, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Seen> {
    let mut feed = Feed::new(role, limit);
    pieces.into_iter().for_each(|piece| feed.push(piece));
    feed.seen
}

fn see_whole(role: Role, wire: &[u8]) -> Vec<Seen> {
    see(role, LIMIT, [wire])
}

/// Returns the one error that a stream ends with, after checking that no cut changes it.
fn error_of(role: Role, limit: u64, wire: &[u8]) -> Option<ProtocolError> {
    let whole = see(role, limit, [wire]);
    assert_eq!(see(role, limit, wire.chunks(1)), whole, "byte by byte");
    match whole.last() {
        Some(Seen::Error(error)) => Some(*error),
        Some(_) | None => None,
    }
}

/// Returns the index of the byte at which a client sees the error.
fn fails_at(wire: &[u8], error: ProtocolError) -> usize {
    let mut feed = Feed::new(Role::Client, LIMIT);
    let at = wire.iter().position(|&byte| {
        feed.push(&[byte]);
        feed.is_failed()
    });
    assert_eq!(feed.seen.last(), Some(&Seen::Error(error)));
    at.unwrap()
}

/// Text of exactly `len` bytes, of code points of every length.
fn text(len: usize) -> Vec<u8> {
    let mut text = String::new();
    for next in "aé€😀".chars().cycle() {
        if text.len() + next.len_utf8() > len {
            break;
        }
        text.push(next);
    }
    text.push_str(&"z".repeat(len - text.len()));
    text.into_bytes()
}

fn bytes(len: usize) -> Vec<u8> {
    (0..=250).cycle().take(len).collect()
}

/// Encodes a message as frames that end at these positions and at the message's end.
fn fragments(opcode: Opcode, payload: &[u8], ends: &[usize], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut wire = Vec::new();
    let (mut opcode, mut start) = (opcode, 0);
    for &end in ends {
        encode(false, opcode, &payload[start..end], mask, &mut wire);
        (opcode, start) = (Opcode::Continuation, end);
    }
    encode(true, opcode, &payload[start..], mask, &mut wire);
    wire
}

/// Every message shape: its wire bytes as sent to `Role`, and the item they mean.
fn shapes(sizes: &[usize]) -> Vec<(Role, Vec<u8>, Seen)> {
    let mut shapes = Vec::new();
    for &size in sizes {
        let splits: [&[usize]; 5] = [
            &[],
            &[size / 2],
            &[0],
            &[size],
            &[0, size / 3, size / 3, size / 2 + size % 2],
        ];
        for ends in splits {
            for (opcode, kind, payload) in [
                (Opcode::Text, MessageKind::Text, text(size)),
                (Opcode::Binary, MessageKind::Binary, bytes(size)),
            ] {
                for (role, mask) in [(Role::Server, Some(MASK)), (Role::Client, None)] {
                    let wire = fragments(opcode, &payload, ends, mask);
                    shapes.push((role, wire, Seen::Message(kind, payload.clone())));
                }
            }
        }
    }
    shapes
}

#[test]
fn every_small_message_comes_out_the_same_at_every_cut() {
    for (role, wire, message) in shapes(&[0, 1, 125, 126]) {
        let expected = [message];
        for cut in 0..=wire.len() {
            assert_eq!(
                see(role, LIMIT, [&wire[..cut], &wire[cut..]]),
                expected,
                "cut at {cut}"
            );
        }
        assert_eq!(see(role, LIMIT, wire.chunks(1)), expected, "byte by byte");
    }
}

#[test]
fn every_large_message_comes_out_the_same_at_cuts_around_its_borders() {
    // Every byte of 65 536 would take minutes; headers, borders, class sizes and a stride do not.
    for (role, wire, message) in shapes(&[65_535, 65_536]) {
        let len = wire.len();
        let near = |at: usize| at.saturating_sub(9)..(at + 9).min(len);
        let borders = [0, 14, 4096, 16_384, 21_845, 32_768, 65_536, len].into_iter();
        let cuts = borders.flat_map(near).chain((0..len).step_by(9973));
        let expected = [message];
        for cut in cuts {
            assert_eq!(
                see(role, LIMIT, [&wire[..cut], &wire[cut..]]),
                expected,
                "cut at {cut}"
            );
        }
        assert_eq!(
            see(role, LIMIT, wire.chunks(4096)),
            expected,
            "in pieces of 4 KiB"
        );
    }
}

#[test]
fn a_large_message_comes_out_the_same_byte_by_byte() {
    for (opcode, kind) in [
        (Opcode::Text, MessageKind::Text),
        (Opcode::Binary, MessageKind::Binary),
    ] {
        let wire = fragments(opcode, &text(65_536), &[1, 65_535], Some(MASK));
        let message = Seen::Message(kind, text(65_536));
        assert_eq!(see(Role::Server, LIMIT, wire.chunks(1)), [message]);
    }
}

#[test]
fn a_whole_message_is_handed_out_in_place() {
    for (role, mask) in [(Role::Server, Some(MASK)), (Role::Client, None)] {
        let mut wire = fragments(Opcode::Text, b"hello", &[], mask);
        let (len, pool) = (wire.len(), &mut Pool::default());
        wire.extend_from_slice(b"\x89"); // the next frame begins
        let mut decoder = Decoder::default();
        let (consumed, item) = decoder.decode(role, &mut wire, 5, pool).unwrap();
        let payload = Payload::Input(len - 5..len);
        assert_eq!(
            item,
            Item::Message {
                kind: MessageKind::Text,
                payload
            }
        );
        assert_eq!((consumed, &wire[len - 5..len]), (len, b"hello".as_slice()));
        assert_eq!(decoder.assembled.capacity(), 0, "nothing was borrowed");
        assert!(decoder.is_idle());
    }
}

#[test]
fn nothing_of_a_header_is_consumed_until_it_is_whole() {
    for len in [5, 126, 65_536] {
        for opcode in [Opcode::Binary, Opcode::Text] {
            let header = encode_header(true, opcode, len, Some(MASK));
            for cut in 0..header.len() {
                let mut input = header[..cut].to_vec();
                let found = Decoder::default().decode(
                    Role::Server,
                    &mut input,
                    LIMIT,
                    &mut Pool::default(),
                );
                assert_eq!(found, Ok((0, Item::NeedMore)));
                assert_eq!(input, header[..cut], "and nothing is changed");
            }
        }
    }
}

#[test]
fn an_incomplete_control_frame_is_left_as_it_is() {
    let mut wire = Vec::new();
    encode(true, Opcode::Ping, &[7; 125], Some(MASK), &mut wire);
    for cut in 0..wire.len() {
        let mut input = wire[..cut].to_vec();
        let found =
            Decoder::default().decode(Role::Server, &mut input, LIMIT, &mut Pool::default());
        assert_eq!(found, Ok((0, Item::NeedMore)));
        assert_eq!(input, wire[..cut]);
    }
    assert_eq!(see_whole(Role::Server, &wire), [Seen::Ping(vec![7; 125])]);
}

#[test]
fn control_frames_between_fragments_come_out_at_their_place() {
    // RFC 6455, 5.4: control frames may be injected in the middle of a fragmented message.
    for (role, mask) in [(Role::Server, Some(MASK)), (Role::Client, None)] {
        let mut wire = Vec::new();
        encode(true, Opcode::Pong, b"", mask, &mut wire);
        encode(false, Opcode::Text, b"caf\xc3", mask, &mut wire);
        encode(true, Opcode::Ping, b"\xff", mask, &mut wire);
        encode(false, Opcode::Continuation, b"", mask, &mut wire);
        encode(true, Opcode::Pong, b"token", mask, &mut wire);
        encode(true, Opcode::Continuation, b"\xa9", mask, &mut wire);
        encode(true, Opcode::Binary, b"\xff", mask, &mut wire);
        encode(
            true,
            Opcode::Close,
            &close_body(CloseCode::NORMAL, "bye"),
            mask,
            &mut wire,
        );
        let expected = [
            Seen::Pong(Vec::new()),
            Seen::Ping(vec![0xff]),
            Seen::Pong(b"token".to_vec()),
            Seen::Message(MessageKind::Text, "café".as_bytes().to_vec()),
            Seen::Message(MessageKind::Binary, vec![0xff]),
            Seen::Close(Some(CloseCode::NORMAL), b"bye".to_vec()),
        ];
        assert_eq!(see_whole(role, &wire), expected);
        for cut in 0..=wire.len() {
            assert_eq!(
                see(role, LIMIT, [&wire[..cut], &wire[cut..]]),
                expected,
                "cut at {cut}"
            );
        }
        assert_eq!(see(role, LIMIT, wire.chunks(1)), expected, "byte by byte");
    }
}

#[test]
fn the_examples_of_rfc_6455_section_5_7_decode() {
    let hello = || Seen::Message(MessageKind::Text, b"Hello".to_vec());
    let (server, client) = (Role::Server, Role::Client);
    assert_eq!(see_whole(client, b"\x81\x05Hello"), [hello()]);
    assert_eq!(
        see_whole(server, b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"),
        [hello()]
    );
    assert_eq!(see_whole(client, b"\x01\x03Hel\x80\x02lo"), [hello()]);
    assert_eq!(
        see_whole(client, b"\x89\x05Hello"),
        [Seen::Ping(b"Hello".to_vec())]
    );
    assert_eq!(
        see_whole(server, b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"),
        [Seen::Pong(b"Hello".to_vec())]
    );
    let head = [0x82, 0x7e, 0x01, 0x00];
    let message = Seen::Message(MessageKind::Binary, bytes(256));
    assert_eq!(
        see_whole(client, &[head.as_slice(), &bytes(256)].concat()),
        [message]
    );
    let head = [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0];
    let message = Seen::Message(MessageKind::Binary, bytes(65_536));
    assert_eq!(
        see_whole(client, &[head.as_slice(), &bytes(65_536)].concat()),
        [message]
    );
}

#[test]
fn reserved_bits_are_refused_at_the_first_byte() {
    // 5.2
    for bits in [0x40, 0x20, 0x10, 0x70] {
        for opcode in [0x01, 0x02, 0x08, 0x09, 0x0a, 0x0f] {
            let wire = [0x80 | bits | opcode];
            assert_eq!(
                error_of(Role::Client, LIMIT, &wire),
                Some(ProtocolError::ReservedBits)
            );
        }
    }
    assert_eq!(error_of(Role::Client, LIMIT, &[0x81, 0]), None);
}

#[test]
fn reserved_opcodes_are_refused_at_the_first_byte() {
    // 5.2
    for bits in 0..=0x0f {
        let expected = match bits {
            0x0 => Some(ProtocolError::UnexpectedContinuation),
            0x1 | 0x2 | 0x8..=0xa => None,
            0x3..=0x7 | 0xb.. => Some(ProtocolError::ReservedOpcode(bits)),
        };
        assert_eq!(error_of(Role::Client, LIMIT, &[0x80 | bits]), expected);
        assert_eq!(error_of(Role::Client, LIMIT, &[0x80 | bits, 0]), expected);
    }
}

#[test]
fn a_server_demands_masks_and_a_client_refuses_them() {
    // 5.1, for every kind of frame
    for opcode in [0x81, 0x82, 0x88, 0x89, 0x8a] {
        let (bare, masked) = ([opcode, 0x00], [opcode, 0x80]);
        let unmasked_frame = Some(ProtocolError::UnmaskedFrame);
        assert_eq!(error_of(Role::Server, LIMIT, &bare), unmasked_frame);
        assert_eq!(error_of(Role::Server, LIMIT, &masked), None);
        assert_eq!(
            error_of(Role::Client, LIMIT, &masked),
            Some(ProtocolError::MaskedFrame)
        );
        assert_eq!(error_of(Role::Client, LIMIT, &bare), None);
    }
}

#[test]
fn control_frames_hold_125_bytes_and_no_more() {
    // 5.5
    for opcode in [0x89, 0x8a] {
        let mut wire = vec![opcode, 125];
        wire.extend_from_slice(&[0; 125]);
        assert_eq!(error_of(Role::Client, LIMIT, &wire), None);
        for len in [126, 127] {
            let too_long = Some(ProtocolError::ControlTooLong);
            assert_eq!(error_of(Role::Client, LIMIT, &[opcode, len]), too_long);
        }
    }
    assert_eq!(
        error_of(Role::Client, LIMIT, &[0x88, 126]),
        Some(ProtocolError::ControlTooLong)
    );
}

#[test]
fn control_frames_are_not_fragmented() {
    // 5.5
    for opcode in [0x08, 0x09, 0x0a] {
        let fragmented = Some(ProtocolError::ControlFragmented);
        assert_eq!(error_of(Role::Client, LIMIT, &[opcode]), fragmented);
        assert_eq!(error_of(Role::Client, LIMIT, &[0x80 | opcode, 0]), None);
    }
}

#[test]
fn lengths_use_the_fewest_bytes() {
    // 5.2
    let error = |head: &[u8]| error_of(Role::Client, u64::MAX, head);
    assert_eq!(
        error(&[0x82, 126, 0, 125]),
        Some(ProtocolError::LengthNotMinimal)
    );
    assert_eq!(error(&[0x82, 126, 0, 126]), None);
    assert_eq!(error(&[0x82, 126, 0xff, 0xff]), None);
    assert_eq!(
        error(&[0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff]),
        Some(ProtocolError::LengthNotMinimal)
    );
    assert_eq!(error(&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]), None);
}

#[test]
fn the_top_bit_of_a_length_is_refused() {
    // 5.2
    let error = |head: &[u8]| error_of(Role::Client, u64::MAX, head);
    let top = Some(ProtocolError::LengthTopBit);
    assert_eq!(error(&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0]), top);
    assert_eq!(
        error(&[0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        top
    );
    assert_eq!(
        error(&[0x82, 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        None
    );
}

#[test]
fn continuations_stand_where_a_message_is_unfinished_and_only_there() {
    // 5.4
    let error = |wire: &[u8]| error_of(Role::Client, LIMIT, wire);
    let (unexpected, expected) = (
        Some(ProtocolError::UnexpectedContinuation),
        Some(ProtocolError::ExpectedContinuation),
    );
    assert_eq!(error(&[0x00]), unexpected);
    assert_eq!(error(&[0x80]), unexpected);
    assert_eq!(error(&[0x81, 0, 0x80]), unexpected, "after a whole message");
    assert_eq!(
        error(&[0x01, 0, 0x80, 0, 0x80]),
        unexpected,
        "after a finished message"
    );
    assert_eq!(error(&[0x01, 0, 0x80, 0]), None);
    for opcode in [0x01, 0x81, 0x02, 0x82] {
        assert_eq!(error(&[0x01, 0, opcode]), expected);
        assert_eq!(error(&[0x02, 0, 0x89, 0, 0x00, 1, 7, opcode]), expected);
        assert_eq!(error(&[0x01, 0, 0x80, 0, opcode, 0]), None);
    }
}

#[test]
fn a_close_body_is_empty_or_has_a_code() {
    // 5.5.1
    assert_eq!(
        see_whole(Role::Client, &[0x88, 0]),
        [Seen::Close(None, Vec::new())]
    );
    let short = Some(ProtocolError::CloseBodyTooShort);
    assert_eq!(error_of(Role::Client, LIMIT, &[0x88, 1, 3]), short);
    assert_eq!(
        see_whole(Role::Client, &[0x88, 2, 0x03, 0xe8]),
        [Seen::Close(Some(CloseCode::NORMAL), Vec::new())]
    );
}

#[test]
fn s7_4_each_of_the_65536_codes_is_taken_or_fails_the_connection() {
    // 7.4.1, 7.4.2, and the registry of IANA
    for code in 0..=u16::MAX {
        let [high, low] = code.to_be_bytes();
        let allowed = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
        let expected = match allowed {
            true => Seen::Close(Some(CloseCode::new(code)), Vec::new()),
            false => Seen::Error(ProtocolError::CloseCode(code)),
        };
        let expected = [expected];
        let masked = [0x88, 0x82, 0, 0, 0, 0, high, low];
        assert_eq!(see_whole(Role::Client, &[0x88, 2, high, low]), expected);
        assert_eq!(see_whole(Role::Server, &masked), expected);
    }
}

#[test]
fn a_close_reason_is_text() {
    // 5.5.1
    let invalid = Some(ProtocolError::InvalidUtf8);
    assert_eq!(
        error_of(Role::Client, LIMIT, b"\x88\x04\x03\xe8\xc3\xa9"),
        None
    );
    assert_eq!(
        error_of(Role::Client, LIMIT, b"\x88\x03\x03\xe8\xc3"),
        invalid
    );
    assert_eq!(
        error_of(Role::Client, LIMIT, b"\x88\x03\x03\xe8\xff"),
        invalid
    );
}

#[test]
fn a_message_too_big_is_refused_at_its_header() {
    let error = |wire: &[u8]| error_of(Role::Client, 200, wire);
    let too_big = |size| Some(ProtocolError::MessageTooBig { size, limit: 200 });
    assert_eq!(error(&[0x82, 126, 0, 200]), None);
    assert_eq!(
        error(&[0x82, 126, 0, 201]),
        too_big(201),
        "before any payload"
    );
    let half = [[0x02, 100].as_slice(), &[0; 100]].concat();
    let with = |header: &[u8]| [&half, header].concat();
    assert_eq!(error(&with(&[0x00, 100])), None);
    assert_eq!(
        error(&with(&[0x00, 101])),
        too_big(201),
        "all fragments count"
    );
    assert_eq!(error(&with(&[0x80, 101])), too_big(201));
    let most = i64::MAX.to_be_bytes();
    let size = 100 + u64::try_from(i64::MAX).unwrap();
    assert_eq!(
        error(&with(&[[0x80, 127].as_slice(), &most].concat())),
        too_big(size)
    );
}

#[test]
#[cfg(target_pointer_width = "64")]
fn no_limit_at_all_ends_where_memory_does() {
    let header = encode_header(true, Opcode::Continuation, MOST_IN_MEMORY - 99, None);
    let wire = [[0x02, 100].as_slice(), &[0; 100], &header].concat();
    let too_big = ProtocolError::MessageTooBig {
        size: 1 << 63,
        limit: MOST_IN_MEMORY,
    };
    assert_eq!(error_of(Role::Client, u64::MAX, &wire), Some(too_big));
}

#[test]
fn a_limit_of_zero_lets_empty_messages_and_control_frames_pass() {
    let too_big = ProtocolError::MessageTooBig { size: 1, limit: 0 };
    assert_eq!(error_of(Role::Client, 0, &[0x81, 0, 0x89, 1, 7]), None);
    assert_eq!(error_of(Role::Client, 0, &[0x81, 1]), Some(too_big));
}

#[test]
fn the_limit_holds_for_each_message_and_not_for_their_sum() {
    let wire = fragments(Opcode::Binary, &bytes(150), &[75], None).repeat(3);
    let message = Seen::Message(MessageKind::Binary, bytes(150));
    assert_eq!(see(Role::Client, 150, [wire.as_slice()]), vec![message; 3]);
}

#[test]
fn a_claimed_length_allocates_nothing() {
    let mut input = vec![0x82, 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    let (mut decoder, mut pool) = (Decoder::default(), Pool::default());
    let found = decoder.decode(Role::Client, &mut input, u64::MAX, &mut pool);
    assert_eq!(found, Ok((10, Item::NeedMore)));
    assert_eq!(decoder.assembled.capacity(), 0);
    let found = decoder.decode(Role::Client, &mut [7; 100], u64::MAX, &mut pool);
    assert_eq!(found, Ok((100, Item::NeedMore)));
    assert_eq!(
        decoder.assembled.capacity(),
        4096,
        "the smallest class for what has come"
    );
    assert_eq!(decoder.assembled_len(), 100);
}

#[test]
fn the_assembly_buffer_grows_with_the_bytes_received() {
    let header = encode_header(true, Opcode::Binary, 1 << 20, None);
    let (mut decoder, mut pool) = (Decoder::default(), Pool::default());
    decoder
        .decode(Role::Client, &mut header.to_vec(), LIMIT, &mut pool)
        .unwrap();
    let mut capacities = Vec::new();
    for _ in 0..(1 << 20) / 1024 {
        decoder
            .decode(Role::Client, &mut [7; 1024], LIMIT, &mut pool)
            .unwrap();
        let (len, capacity) = (decoder.assembled.len(), decoder.assembled.capacity());
        assert!(capacity <= (4 * len).max(4096), "{capacity} for {len}");
        capacities.push(capacity);
    }
    capacities.dedup();
    assert!(
        capacities.starts_with(&[4096, 16_384, 65_536]),
        "{capacities:?}"
    );
    assert!(capacities.len() <= 8, "it grows by factors: {capacities:?}");
    assert_eq!(
        pool.free_bytes(),
        4096 + 16_384,
        "smaller storage went back"
    );
}

#[test]
fn a_long_message_read_right_to_its_place_comes_out_the_same() {
    const LEN: usize = 700_000;
    let text = text(LEN);
    let len = text.len();
    let ends: [&[usize]; 4] = [&[], &[30_000, 30_001], &[50_000, 300_000], &[len - 1]];
    for (ends, mask) in ends.into_iter().zip([Some(MASK), None, Some(MASK), None]) {
        let role = if mask.is_some() {
            Role::Server
        } else {
            Role::Client
        };
        let mut wire = fragments(Opcode::Text, &text, ends, mask);
        encode(true, Opcode::Ping, b"next", mask, &mut wire);
        let expected = [
            Seen::Message(MessageKind::Text, text.clone()),
            Seen::Ping(b"next".to_vec()),
        ];
        for cut in [wire.len(), 100_003, 16_384, 4_001] {
            let mut feed = Feed::new(role, LIMIT);
            wire.chunks(cut).for_each(|piece| feed.push_directly(piece));
            assert!(feed.seen == expected, "{ends:?} in pieces of {cut}");
            assert!(feed.directly > LEN / 2, "{}", feed.directly);
        }
    }
}

#[test]
fn invalid_text_that_was_read_right_to_its_place_is_refused() {
    let mut text = text(200_000);
    for at in [150_000, 199_999] {
        text[at] = 0xff;
        let mut feed = Feed::new(Role::Server, LIMIT);
        feed.push_directly(&fragments(Opcode::Text, &text, &[], Some(MASK)));
        assert_eq!(feed.seen, [Seen::Error(ProtocolError::InvalidUtf8)]);
        assert!(feed.directly > 0);
    }
}

#[test]
fn little_of_a_long_message_lends_no_storage() {
    let header = encode_header(true, Opcode::Binary, 1 << 20, None);
    let (mut decoder, mut pool) = (Decoder::default(), Pool::default());
    let mut input = header.to_vec();
    input.extend([7; LEAST_READ - 1]);
    decoder
        .decode(Role::Client, &mut input, LIMIT, &mut pool)
        .unwrap();
    assert!(decoder.take_assembly(&mut pool).is_none());
    decoder
        .decode(Role::Client, &mut [7], LIMIT, &mut pool)
        .unwrap();
    let (assembly, most) = decoder.take_assembly(&mut pool).unwrap();
    assert_eq!(assembly.capacity(), LARGEST_POOLED);
    assert_eq!(most, LARGEST_POOLED - LEAST_READ);
}

#[test]
fn storage_comes_from_the_pool_and_goes_back() {
    let (mut decoder, mut pool) = (Decoder::default(), Pool::default());
    let wire = fragments(Opcode::Binary, &bytes(5000), &[2500], None);
    for _ in 0..3 {
        let item = decode_fragments(&mut decoder, &mut wire.clone(), &mut pool);
        assert!(matches!(
            item,
            Item::Message {
                payload: Payload::Assembled,
                ..
            }
        ));
        assert_eq!(decoder.assembled(), bytes(5000));
        decoder.release(&mut pool);
        assert_eq!(pool.free_bytes(), 4096 + 16_384);
        assert_eq!(decoder.assembled.capacity(), 0);
    }
    decode_fragments(&mut decoder, &mut wire.clone(), &mut pool);
    pool.give_vec(decoder.take_assembled());
    assert_eq!(pool.free_bytes(), 4096 + 16_384);
    pool.give_vec(Vec::with_capacity(100_000));
    pool.give_vec(Vec::new());
    assert_eq!(
        pool.free_bytes(),
        4096 + 16_384,
        "what is of no class is freed"
    );
}

#[test]
fn an_assembled_message_that_nobody_takes_does_not_reach_the_next_one() {
    let (mut decoder, mut pool) = (Decoder::default(), Pool::default());
    let mut first = fragments(Opcode::Text, b"first", &[2], None);
    decode_fragments(&mut decoder, &mut first, &mut pool);
    assert_eq!(decoder.assembled_len(), 0, "it is no unfinished message");
    let mut second = fragments(Opcode::Text, b"2nd", &[1], None);
    decode_fragments(&mut decoder, &mut second, &mut pool);
    assert_eq!(decoder.assembled(), b"2nd");
}

/// Decodes a fragmented message; returns what follows its fragments.
fn decode_fragments(decoder: &mut Decoder, mut input: &mut [u8], pool: &mut Pool) -> Item {
    loop {
        let (consumed, item) = decoder.decode(Role::Client, input, LIMIT, pool).unwrap();
        input = &mut input[consumed..];
        if item != Item::Fragment {
            return item;
        }
    }
}

#[test]
fn a_fragment_is_reported_once_it_is_whole() {
    let mut wire = fragments(Opcode::Binary, b"abcd", &[2], None);
    let (mut decoder, mut pool) = (Decoder::default(), Pool::default());
    let mut decode = |input: &mut [u8]| {
        decoder
            .decode(Role::Client, input, LIMIT, &mut pool)
            .unwrap()
    };
    assert_eq!(decode(&mut wire[..3]), (3, Item::NeedMore));
    assert_eq!(decode(&mut wire[3..]), (1, Item::Fragment));
    assert!(matches!(decode(&mut wire[4..]), (4, Item::Message { .. })));
}

#[test]
fn a_decoder_is_idle_between_messages_only() {
    let wire = fragments(Opcode::Binary, b"ab", &[1], Some(MASK));
    let mut feed = Feed::new(Role::Server, LIMIT);
    assert!(feed.decoder.is_idle());
    for (at, byte) in wire.iter().enumerate() {
        feed.push(&[*byte]);
        let is_last = at + 1 == wire.len();
        // The first five bytes are an incomplete header, which the driver still holds.
        assert_eq!(feed.decoder.is_idle(), at < 5 || is_last, "after byte {at}");
    }
    feed.push(&wire[..8]);
    assert!(!feed.decoder.is_idle());
    assert_eq!(feed.decoder.assembled_len(), 1);
    feed.decoder.release(&mut feed.pool);
    assert!(
        feed.decoder.is_idle(),
        "release forgets an unfinished message"
    );
}

#[test]
fn a_decoder_is_small() {
    assert!(size_of::<Decoder>() <= 72, "{}", size_of::<Decoder>());
}

#[test]
fn invalid_text_fails_at_its_earliest_byte() {
    // 8.1; the header has two bytes and announces more than comes.
    let invalid = |wire: &[u8]| fails_at(wire, ProtocolError::InvalidUtf8);
    assert_eq!(invalid(b"\x81\x64ok\xff"), 4);
    assert_eq!(invalid(b"\x81\x64\x80"), 2);
    assert_eq!(invalid(b"\x81\x64\xc3("), 3);
    assert_eq!(invalid(b"\x81\x64\xed\xa0"), 3, "surrogate");
    assert_eq!(
        invalid(b"\x81\x64\xf4\x90"),
        3,
        "beyond the last code point"
    );
    assert_eq!(invalid(b"\x81\x64\xf4\x8f\xbf\xc0"), 5);
    assert_eq!(
        invalid(b"\x81\x01\xc3"),
        2,
        "a code point cut by the message's end"
    );
    assert_eq!(
        invalid(b"\x01\x01\xc3\x80\x00"),
        4,
        "cut by an empty last fragment"
    );
}

#[test]
fn code_points_may_be_split_across_fragments() {
    // 5.6
    let text = "é€😀";
    for first in 0..=text.len() {
        for second in first..=text.len() {
            let wire = fragments(Opcode::Text, text.as_bytes(), &[first, second], Some(MASK));
            let expected = [Seen::Message(MessageKind::Text, text.as_bytes().to_vec())];
            assert_eq!(see_whole(Role::Server, &wire), expected);
            assert_eq!(see(Role::Server, LIMIT, wire.chunks(1)), expected);
        }
    }
}

#[test]
fn invalid_text_across_fragments_fails_at_its_earliest_byte() {
    let invalid = |wire: &[u8]| fails_at(wire, ProtocolError::InvalidUtf8);
    assert_eq!(invalid(b"\x01\x01\xc3\x80\x05(a"), 5);
    assert_eq!(
        invalid(b"\x01\x01\xf4\x00\x01\x8f\x89\x00\x80\x09\x7f"),
        10,
        "with a ping between"
    );
    assert_eq!(
        invalid(b"\x01\x02\xe2\x82\x00\x00\x80\x09\xff"),
        8,
        "with an empty one between"
    );
}

#[test]
fn a_cut_code_point_does_not_reach_the_next_message() {
    // A binary message follows a text one and ends in what would be half a code point.
    let wire = b"\x81\x02\xc3\xa9\x82\x01\xc3\x01\x01a\x80\x01b";
    let expected = [
        Seen::Message(MessageKind::Text, "é".as_bytes().to_vec()),
        Seen::Message(MessageKind::Binary, vec![0xc3]),
        Seen::Message(MessageKind::Text, b"ab".to_vec()),
    ];
    assert_eq!(see_whole(Role::Client, wire), expected);
    assert_eq!(see(Role::Client, LIMIT, wire.chunks(1)), expected);
}

#[test]
fn binary_messages_may_hold_any_bytes() {
    let every: Vec<u8> = (0..=u8::MAX).collect();
    let wire = fragments(Opcode::Binary, &every, &[3, 100], Some(MASK));
    let message = Seen::Message(MessageKind::Binary, every);
    assert_eq!(see_whole(Role::Server, &wire), [message]);
}

/// One step of a random conversation.
#[derive(Clone, Debug)]
enum Step {
    /// A message, where its fragments end, and a control frame after some of them.
    Message(MessageKind, Vec<u8>, Vec<Index>, Vec<Option<Control>>),
    Control(Control),
}

#[derive(Clone, Debug)]
struct Control(bool, Vec<u8>);

impl Control {
    fn encode(&self, mask: Option<[u8; 4]>, wire: &mut Vec<u8>, seen: &mut Vec<Seen>) {
        let Self(is_ping, payload) = self;
        let opcode = if *is_ping { Opcode::Ping } else { Opcode::Pong };
        let make = if *is_ping { Seen::Ping } else { Seen::Pong };
        encode(true, opcode, payload, mask, wire);
        seen.push(make(payload.clone()));
    }
}

impl Step {
    fn encode(&self, mask: Option<[u8; 4]>, wire: &mut Vec<u8>, seen: &mut Vec<Seen>) {
        let (kind, payload, cuts, controls) = match self {
            Self::Control(control) => return control.encode(mask, wire, seen),
            Self::Message(kind, payload, cuts, controls) => (kind, payload, cuts, controls),
        };
        let mut ends: Vec<_> = cuts
            .iter()
            .map(|cut| cut.index(payload.len() + 1))
            .collect();
        ends.sort_unstable();
        let mut opcode = match kind {
            MessageKind::Text => Opcode::Text,
            MessageKind::Binary => Opcode::Binary,
        };
        let mut start = 0;
        for (at, &end) in ends.iter().enumerate() {
            encode(false, opcode, &payload[start..end], mask, wire);
            (opcode, start) = (Opcode::Continuation, end);
            if let Some(Some(control)) = controls.get(at) {
                control.encode(mask, wire, seen);
            }
        }
        encode(true, opcode, &payload[start..], mask, wire);
        seen.push(Seen::Message(*kind, payload.clone()));
    }
}

fn control() -> impl Strategy<Value = Control> {
    (any::<bool>(), prop::collection::vec(any::<u8>(), 0..=125))
        .prop_map(|(is_ping, payload)| Control(is_ping, payload))
}

fn step() -> impl Strategy<Value = Step> {
    let message = prop_oneof![
        "\\PC{0,100}".prop_map(|text| (MessageKind::Text, text.into_bytes())),
        prop::collection::vec(any::<u8>(), 0..9000).prop_map(|bytes| (MessageKind::Binary, bytes)),
    ];
    let cuts = prop::collection::vec(any::<Index>(), 0..5);
    let controls = prop::collection::vec(prop::option::of(control()), 5);
    prop_oneof![
        3 => (message, cuts, controls).prop_map(|((kind, payload), cuts, controls)| {
            Step::Message(kind, payload, cuts, controls)
        }),
        1 => control().prop_map(Step::Control),
    ]
}

/// Cuts a stream into pieces of these lengths, over and over.
fn pieces<'a>(mut wire: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for len in lengths.iter().cycle() {
        if wire.is_empty() {
            break;
        }
        let (piece, rest) = wire.split_at((*len).min(wire.len()));
        pieces.push(piece);
        wire = rest;
    }
    pieces
}

/// Bytes that look like frames often enough to get past the first header.
fn almost_frames() -> impl Strategy<Value = Vec<u8>> {
    let first = prop::sample::select(vec![0x00, 0x80, 0x01, 0x81, 0x02, 0x82, 0x88, 0x89, 0x8a]);
    let second = prop_oneof![8 => 0_u8..20, 1 => any::<u8>()];
    let payload = prop::collection::vec(prop_oneof![4 => 0x20_u8..0x7f, 1 => any::<u8>()], 0..20);
    let frame = (first, second, payload).prop_map(|(first, second, payload)| {
        let mut frame = vec![first, second];
        frame.extend(payload);
        frame.resize(2 + usize::from(second % 128).min(30), b'x');
        frame
    });
    prop::collection::vec(frame, 0..10).prop_map(|frames| frames.concat())
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_under_any_cut(
        steps in prop::collection::vec(step(), 0..8),
        mask in prop::option::of(any::<[u8; 4]>()),
        lengths in prop::collection::vec(1_usize..5000, 1..6),
    ) {
        let role = if mask.is_some() { Role::Server } else { Role::Client };
        let (mut wire, mut expected) = (Vec::new(), Vec::new());
        steps.iter().for_each(|step| step.encode(mask, &mut wire, &mut expected));
        prop_assert_eq!(&see(role, LIMIT, [wire.as_slice()]), &expected);
        prop_assert_eq!(&see(role, LIMIT, pieces(&wire, &lengths)), &expected);
    }

    #[test]
    fn random_bytes_never_panic_and_mean_the_same_under_any_cut(
        wire in prop::collection::vec(any::<u8>(), 0..300),
        lengths in prop::collection::vec(1_usize..40, 1..6),
        limit in prop_oneof![0_u64..300, Just(u64::MAX)],
    ) {
        for role in [Role::Server, Role::Client] {
            let whole = see(role, limit, [wire.as_slice()]);
            prop_assert_eq!(&see(role, limit, pieces(&wire, &lengths)), &whole);
            prop_assert_eq!(&see(role, limit, wire.chunks(1)), &whole);
        }
    }

    #[test]
    fn almost_sound_frames_mean_the_same_under_any_cut(
        wire in almost_frames(),
        lengths in prop::collection::vec(1_usize..40, 1..6),
        limit in 0_u64..60,
    ) {
        let whole = see(Role::Client, limit, [wire.as_slice()]);
        prop_assert_eq!(&see(Role::Client, limit, pieces(&wire, &lengths)), &whole);
        prop_assert_eq!(&see(Role::Client, limit, wire.chunks(1)), &whole);
    }
}
