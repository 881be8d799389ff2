//! WebSocket frames in: however the bytes are cut, and beside another implementation.

use arbitrary::{Arbitrary, Unstructured};
use heartwheel::error::ProtocolError;
use heartwheel::proto::pool::Pool;
use heartwheel::proto::websocket::{Decoder, Item, Opcode, encode};
use heartwheel::proto::wire::{MessageKind, Payload, Role};

use super::feed::{Decode, End, Outcome, cut_everywhere};
use super::websocket_peer::{Heard, PeerEnd, Refusal, frame_at, listen};

/// Arbitrary bytes as the frames of a peer: role, limit, cuts, and the stream.
pub fn websocket_decode(data: &[u8]) {
    if let Some(([how, seed], stream)) = data.split_first_chunk() {
        let limit = LIMITS[usize::from(how >> 1) % LIMITS.len()];
        check(role(how & 1 == 1), limit, u64::from(*seed), stream);
    }
}

/// Frames that are mostly right, in an arbitrary order.
pub fn websocket_frames(data: &[u8]) {
    if let Ok(case) = Case::arbitrary_take_rest(Unstructured::new(data)) {
        let limit = LIMITS[usize::from(case.limit) % LIMITS.len()];
        let role = role(case.is_client);
        let mut stream = Vec::new();
        for frame in &case.frames {
            frame.write(role, &mut stream);
        }
        stream.truncate(LONGEST);
        check(role, limit, u64::from(case.seed), &stream);
    }
}

fn role(is_client: bool) -> Role {
    if is_client {
        Role::Client
    } else {
        Role::Server
    }
}

const LIMITS: [u64; 8] = [0, 1, 5, 125, 126, 1_000, 70_000, u64::MAX];

/// The longest stream that structured cases grow to, bytes.
const LONGEST: usize = 100_000;

fn check(role: Role, limit: u64, seed: u64, stream: &[u8]) {
    let outcome = match role {
        Role::Server => cut_everywhere::<Frames<false>>(stream, seed, limit, End::eq),
        Role::Client => cut_everywhere::<Frames<true>>(stream, seed, limit, End::eq),
    };
    check_limits(&outcome, limit);
    check_accepted(&stream[..outcome.at], role);
    // The other implementation reserves what a header declares: it needs a limit.
    if limit < u64::MAX {
        compare(role, limit, stream, &outcome);
    }
}

fn check_limits(outcome: &Outcome<Found>, limit: u64) {
    for found in &outcome.found {
        match found {
            Found::Fragment => {}
            Found::Message(kind, payload) => {
                assert!(payload.len() as u64 <= limit);
                assert!(*kind == MessageKind::Binary || std::str::from_utf8(payload).is_ok());
            }
            Found::Ping(payload) | Found::Pong(payload) => assert!(payload.len() <= 125),
            Found::Close(code, reason) => {
                assert!(reason.len() <= 123 && std::str::from_utf8(reason).is_ok());
                assert!(code.is_some() || reason.is_empty());
            }
        }
    }
}

/// Every frame that was let pass has a header as RFC 6455 wants it.
fn check_accepted(mut rest: &[u8], role: Role) {
    let is_masked = role == Role::Server;
    while !rest.is_empty() {
        let frame = frame_at(rest);
        let (first, opcode) = (rest[0], rest[0] & 0x0f);
        assert_eq!(first & 0x70, 0, "reserved bits");
        assert!(matches!(opcode, 0..=2 | 8..=10), "opcode {opcode}");
        assert!(
            opcode < 8 || (first & 0x80 != 0 && frame.len <= 125),
            "control"
        );
        assert!(frame.is_minimal && frame.is_masked == is_masked);
        assert_eq!(frame.len >> 63, 0, "top bit");
        rest = rest.get(frame.size()..).unwrap_or_default();
    }
}

/// Compares with what the other implementation makes of the same bytes.
fn compare(role: Role, limit: u64, stream: &[u8], outcome: &Outcome<Found>) {
    let End::Error(error) = outcome.end else {
        let peer = listen(role, limit, stream);
        agree(outcome, &peer.heard);
        return match (outcome.end, peer.end) {
            (End::More, PeerEnd::More) => {}
            (End::Over, PeerEnd::Closed) => agree_on_close(outcome, &peer.heard),
            (ours, theirs) => panic!("{ours:?}, the other says {theirs:?}"),
        };
    };
    let failed = frame_at(&stream[outcome.at..]);
    // Difference: 5.2, "the minimal number of bytes MUST be used to encode the length". The other one
    // lets a longer form pass, so that it is only asked about what stands before that frame. A control
    // frame whose long form says 125 bytes or less is refused here for the form, whatever the name of
    // the error.
    let is_long_form = !failed.is_minimal
        && matches!(
            error,
            ProtocolError::LengthNotMinimal | ProtocolError::ControlTooLong
        );
    if is_long_form {
        let peer = listen(role, limit, &stream[..outcome.at]);
        agree(outcome, &peer.heard);
        assert_eq!(peer.end, PeerEnd::More);
        return;
    }
    // Difference: we refuse a frame at the byte that is wrong, the other one when all of it is there.
    // So it gets the rest of the frame, whatever that may be.
    let mut whole = stream[..outcome.at].to_vec();
    whole.extend_from_slice(&failed.completed(&stream[outcome.at..], limit));
    let peer = listen(role, limit, &whole);
    if let ProtocolError::CloseCode(code) = error {
        return agree_on_close_code(outcome, &peer.heard, peer.end, code);
    }
    agree(outcome, &peer.heard);
    let PeerEnd::Refused(refusal) = peer.end else {
        panic!("{error:?}, the other says {:?}", peer.end);
    };
    let is_right = match error {
        ProtocolError::InvalidUtf8 => refusal == Refusal::Utf8,
        ProtocolError::MessageTooBig { .. } => refusal == Refusal::TooBig,
        ProtocolError::LengthTopBit => refusal == Refusal::TooBig,
        // Difference: of a frame with several faults we name the first, the other one a size above the
        // limit before the rest.
        _ => refusal == Refusal::Protocol || (refusal == Refusal::TooBig && failed.len > limit),
    };
    assert!(is_right, "{error:?}, the other says {refusal:?}");
}

/// Everything found before the end is what the other one heard.
fn agree(outcome: &Outcome<Found>, heard: &[Heard]) {
    let found: Vec<Heard> = outcome.found.iter().filter_map(Found::heard).collect();
    let heard: Vec<Heard> = heard
        .iter()
        .filter(|heard| !matches!(heard, Heard::Close(_)))
        .cloned()
        .collect();
    assert_eq!(found, heard);
}

fn agree_on_close(outcome: &Outcome<Found>, heard: &[Heard]) {
    let (Some(Found::Close(code, reason)), Some(Heard::Close(theirs))) =
        (outcome.found.last(), heard.last())
    else {
        panic!("a close comes last: {:?}, {heard:?}", outcome.found);
    };
    let ours = code.map(|code| (code, reason.clone()));
    // Difference: 1014 (bad gateway) is registered with IANA, the other one does not know it yet and
    // answers it as a violation.
    let expected = match ours {
        Some((1014, _)) => Some((1002, b"Protocol violation".to_vec())),
        other => other,
    };
    assert_eq!(*theirs, expected);
}

/// Difference: a code that must not be sent is an error here; the other one answers it with 1002, and
/// looks at the reason first.
fn agree_on_close_code(outcome: &Outcome<Found>, heard: &[Heard], end: PeerEnd, code: u16) {
    agree(outcome, heard);
    match end {
        PeerEnd::Closed => {
            let answer = (1002, b"Protocol violation".to_vec());
            assert_eq!(heard.last(), Some(&Heard::Close(Some(answer))), "{code}");
        }
        PeerEnd::Refused(Refusal::Utf8) => {}
        PeerEnd::Refused(_) | PeerEnd::More => panic!("close code {code}, the other says {end:?}"),
    }
}

/// What the decoder found, with its bytes.
#[derive(Clone, Debug, PartialEq)]
enum Found {
    Fragment,
    Message(MessageKind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, Vec<u8>),
}

impl Found {
    /// The same in the other implementation's words; a close is compared apart.
    fn heard(&self) -> Option<Heard> {
        match self {
            Self::Fragment | Self::Close(..) => None,
            Self::Message(MessageKind::Text, payload) => Some(Heard::Text(payload.clone())),
            Self::Message(MessageKind::Binary, payload) => Some(Heard::Binary(payload.clone())),
            Self::Ping(payload) => Some(Heard::Ping(payload.clone())),
            Self::Pong(payload) => Some(Heard::Pong(payload.clone())),
        }
    }
}

/// The frames of one peer, decoded as a client or as a server.
#[derive(Default)]
struct Frames<const AS_CLIENT: bool>(Decoder);

impl<const AS_CLIENT: bool> Decode for Frames<AS_CLIENT> {
    type Found = Found;

    const MOST_LEFT: usize = 130;

    fn step(
        &mut self,
        input: &mut [u8],
        limit: u64,
        pool: &mut Pool,
    ) -> Result<(usize, Option<Found>), ProtocolError> {
        step(&mut self.0, role(AS_CLIENT), input, limit, pool)
    }

    fn is_last(found: &Found) -> bool {
        matches!(found, Found::Close(..))
    }

    fn release(mut self, pool: &mut Pool) {
        self.0.release(pool);
    }
}

fn step(
    decoder: &mut Decoder,
    role: Role,
    input: &mut [u8],
    limit: u64,
    pool: &mut Pool,
) -> Result<(usize, Option<Found>), ProtocolError> {
    let (consumed, item) = decoder.decode(role, input, limit, pool)?;
    let bytes = |range: std::ops::Range<usize>| {
        assert!(range.end <= consumed, "a range beyond what was consumed");
        input[range].to_vec()
    };
    let found = match item {
        Item::NeedMore => None,
        Item::Fragment => Some(Found::Fragment),
        Item::Message { kind, payload } => {
            assert!(decoder.is_idle() && decoder.assembled_len() == 0);
            Some(Found::Message(
                kind,
                match payload {
                    Payload::Input(range) => bytes(range),
                    Payload::Assembled => decoder.assembled().to_vec(),
                },
            ))
        }
        Item::Compressed { .. } => unreachable!("nobody has agreed to it"),
        Item::Ping(range) => Some(Found::Ping(bytes(range))),
        Item::Pong(range) => Some(Found::Pong(bytes(range))),
        Item::Close { code, reason } => {
            let code = code.map(|code| {
                assert!(code.is_sendable());
                code.as_u16()
            });
            Some(Found::Close(code, bytes(reason)))
        }
    };
    Ok((consumed, found))
}

#[derive(Arbitrary, Debug)]
struct Case<'a> {
    is_client: bool,
    limit: u8,
    seed: u8,
    frames: Vec<Frame<'a>>,
}

/// A frame, and what is to be wrong with it.
#[derive(Arbitrary, Debug)]
struct Frame<'a> {
    kind: Kind,
    is_unfinished: bool,
    mask: [u8; 4],
    payload: Bytes<'a>,
    fault: u8,
}

#[derive(Arbitrary, Debug)]
enum Kind {
    Continuation,
    Text,
    Binary,
    Ping,
    Pong,
    Close(u16),
}

#[derive(Arbitrary, Debug)]
enum Bytes<'a> {
    Text(&'a str),
    Raw(&'a [u8]),
    Long { byte: u8, len: u16, twice: bool },
}

impl Frame<'_> {
    fn write(&self, role: Role, out: &mut Vec<u8>) {
        let (opcode, mut payload) = match self.kind {
            Kind::Continuation => (Opcode::Continuation, Vec::new()),
            Kind::Text => (Opcode::Text, Vec::new()),
            Kind::Binary => (Opcode::Binary, Vec::new()),
            Kind::Ping => (Opcode::Ping, Vec::new()),
            Kind::Pong => (Opcode::Pong, Vec::new()),
            Kind::Close(code) => (Opcode::Close, code.to_be_bytes().to_vec()),
        };
        payload.extend_from_slice(&self.payload.bytes());
        if opcode.is_control() {
            payload.truncate(125);
        }
        let fin = opcode.is_control() || !self.is_unfinished;
        let is_masked = (role == Role::Server) != (self.fault == 1);
        let mask = is_masked.then_some(self.mask);
        let start = out.len();
        encode(fin, opcode, &payload, mask, out);
        match self.fault {
            2 => out[start] ^= 0x40,
            3 => out[start] ^= 0x80,
            4 => out[start] |= 0x04,
            5 => out[start + 1] ^= 0x01,
            6 => out.truncate(start + 1 + payload.len() / 2),
            7 => out[start + 1] |= 0x7f,
            _ => {}
        }
    }
}

impl Bytes<'_> {
    fn bytes(&self) -> Vec<u8> {
        match *self {
            Self::Text(text) => text.as_bytes().to_vec(),
            Self::Raw(bytes) => bytes.to_vec(),
            Self::Long { byte, len, twice } => {
                vec![byte; usize::from(len) * (1 + usize::from(twice))]
            }
        }
    }
}
