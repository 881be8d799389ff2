//! The line and binary wires: what is written is read back, however the stream is cut, and no stream
//! of bytes does harm.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::mem::discriminant;

use heartwheel::error::ProtocolError;
use heartwheel::proto::binary::{self, BinaryDecoder};
use heartwheel::proto::line::{self, LineDecoder};
use heartwheel::proto::pool::Pool;
use heartwheel::proto::ring::Ring;
use heartwheel::proto::wire::{Item, MessageKind, Payload};
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Debug, PartialEq)]
enum Frame {
    Message(MessageKind, Vec<u8>),
    Ping,
    Pong,
}

/// What the two decoders have in common.
trait Decoder: Default {
    fn decode(
        &mut self,
        input: &mut [u8],
        limit: u64,
        pool: &mut Pool,
    ) -> Result<(usize, Item), ProtocolError>;
    fn assembled(&self) -> &[u8];
    fn take_assembled(&mut self) -> Vec<u8>;
    fn release(&mut self, pool: &mut Pool);
    fn is_idle(&self) -> bool;
}

macro_rules! decoder {
    ($name:ty) => {
        impl Decoder for $name {
            fn decode(
                &mut self,
                input: &mut [u8],
                limit: u64,
                pool: &mut Pool,
            ) -> Result<(usize, Item), ProtocolError> {
                Self::decode(self, input, limit, pool)
            }
            fn assembled(&self) -> &[u8] {
                Self::assembled(self)
            }
            fn take_assembled(&mut self) -> Vec<u8> {
                Self::take_assembled(self)
            }
            fn release(&mut self, pool: &mut Pool) {
                Self::release(self, pool);
            }
            fn is_idle(&self) -> bool {
                Self::is_idle(self)
            }
        }
    };
}

decoder!(LineDecoder);
decoder!(BinaryDecoder);

/// A connection's reading side: a ring, a decoder, and what came out of them.
#[derive(Default)]
struct Reader<D> {
    rx: Ring,
    decoder: D,
    frames: Vec<Frame>,
    taking: bool,
}

impl<D: Decoder> Reader<D> {
    fn receive(&mut self, bytes: &[u8], limit: u64, pool: &mut Pool) -> Result<(), ProtocolError> {
        let mut bytes = bytes;
        while !bytes.is_empty() {
            let spare = self.rx.spare_mut(pool);
            let (now, later) = bytes.split_at(bytes.len().min(spare.len()));
            spare[..now.len()].copy_from_slice(now);
            self.rx.commit(now.len());
            self.drain(limit, pool)?;
            bytes = later;
        }
        Ok(())
    }

    fn drain(&mut self, limit: u64, pool: &mut Pool) -> Result<(), ProtocolError> {
        loop {
            let input = self.rx.contiguous_mut();
            let (consumed, item) = self.decoder.decode(input, limit, pool)?;
            let done = item == Item::NeedMore;
            match item {
                Item::NeedMore => {}
                Item::Ping => self.frames.push(Frame::Ping),
                Item::Pong => self.frames.push(Frame::Pong),
                Item::Message {
                    kind,
                    payload: Payload::Input(range),
                } => {
                    assert!(range.end <= consumed);
                    self.frames
                        .push(Frame::Message(kind, input[range].to_vec()));
                }
                Item::Message {
                    kind,
                    payload: Payload::Assembled,
                } => {
                    self.taking = !self.taking;
                    let bytes = if self.taking {
                        self.decoder.take_assembled()
                    } else {
                        self.decoder.assembled().to_vec()
                    };
                    self.frames.push(Frame::Message(kind, bytes));
                }
            }
            assert!(self.decoder.is_idle() || done);
            self.rx.consume(consumed);
            self.decoder.release(pool);
            self.rx.release(pool);
            if done {
                assert!(
                    self.rx.len() < binary::HEADER_LEN,
                    "no more than a header may stay"
                );
                return Ok(());
            }
        }
    }
}

/// Decodes `stream` cut into pieces of the given lengths, the last one as long as it takes.
fn read_in_pieces<D: Decoder>(
    stream: &[u8],
    pieces: &[usize],
    limit: u64,
) -> (Vec<Frame>, Option<ProtocolError>) {
    let (mut pool, mut reader) = (Pool::default(), Reader::<D>::default());
    let mut rest = stream;
    for piece in pieces.iter().copied().chain([usize::MAX]) {
        let (now, later) = rest.split_at(piece.min(rest.len()));
        if let Err(error) = reader.receive(now, limit, &mut pool) {
            return (reader.frames, Some(error));
        }
        let kept = u64::try_from(reader.decoder.assembled().len()).unwrap();
        assert!(
            kept <= limit.saturating_add(1),
            "more than the limit is kept"
        );
        rest = later;
    }
    (reader.frames, None)
}

fn line_frame() -> impl Strategy<Value = Frame> {
    let text = prop_oneof![
        "[^\n]{0,20}",
        "P[IO]NG\r{0,2}",
        "\r{0,3}",
        "[a-z\r]{4000,9000}"
    ];
    let message = text
        .prop_filter("not to be written", |text| {
            line::line_end(text.as_bytes()).is_ok()
        })
        .prop_map(|text| Frame::Message(MessageKind::Text, text.into_bytes()));
    prop_oneof![4 => message, 1 => Just(Frame::Ping), 1 => Just(Frame::Pong)]
}

fn binary_frame() -> impl Strategy<Value = Frame> {
    let bytes = prop_oneof![8 => vec(any::<u8>(), 0..20), 1 => vec(any::<u8>(), 4_000..10_000)];
    let message = bytes.prop_map(|bytes| Frame::Message(MessageKind::Binary, bytes));
    prop_oneof![4 => message, 1 => Just(Frame::Ping), 1 => Just(Frame::Pong)]
}

fn encode_line(frames: &[Frame]) -> Vec<u8> {
    let mut out = Vec::new();
    for frame in frames {
        match frame {
            Frame::Message(_, bytes) => line::encode(bytes, &mut out).unwrap(),
            Frame::Ping => out.extend(line::PING),
            Frame::Pong => out.extend(line::PONG),
        }
    }
    out
}

fn encode_binary(frames: &[Frame]) -> Vec<u8> {
    let mut out = Vec::new();
    for frame in frames {
        match frame {
            Frame::Message(_, bytes) => binary::encode(bytes, &mut out).unwrap(),
            Frame::Ping => out.extend(binary::PING),
            Frame::Pong => out.extend(binary::PONG),
        }
    }
    out
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![0..10usize, 0..6_000usize], 0..40)
}

/// Bytes that often mean something to one of the wires.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte]),
        vec(any::<u8>(), 0..50),
        vec(0..4u8, 1..8),
        Just(b"PING\r\n".to_vec()),
        Just(b"PONG".to_vec()),
        Just(b"text\r".to_vec()),
        Just(b"\n".to_vec()),
    ];
    vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Cutting a stream must not change what it says. The size in an error may differ: it is what was
/// known when the limit was passed.
fn check_cuts_do_not_matter<D: Decoder>(
    stream: &[u8],
    pieces: &[usize],
    limit: u64,
) -> Result<(), TestCaseError> {
    let whole = read_in_pieces::<D>(stream, &[], limit);
    let bytewise = vec![1; stream.len()];
    for pieces in [pieces, &bytewise] {
        let cut = read_in_pieces::<D>(stream, pieces, limit);
        prop_assert_eq!(&cut.0, &whole.0);
        prop_assert_eq!(
            cut.1.map(|e| discriminant(&e)),
            whole.1.map(|e| discriminant(&e))
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn lines_are_read_back_as_written(frames in vec(line_frame(), 0..20), pieces in pieces()) {
        let stream = encode_line(&frames);
        let (read, error) = read_in_pieces::<LineDecoder>(&stream, &pieces, 30_000);
        prop_assert_eq!(error, None);
        prop_assert_eq!(read, frames);
    }

    #[test]
    fn binary_frames_are_read_back_as_written(
        frames in vec(binary_frame(), 0..20),
        pieces in pieces(),
    ) {
        let stream = encode_binary(&frames);
        let (read, error) = read_in_pieces::<BinaryDecoder>(&stream, &pieces, 20_000);
        prop_assert_eq!(error, None);
        prop_assert_eq!(read, frames);
    }

}

proptest! {
    #[test]
    fn random_lines_say_the_same_however_cut(
        stream in noise(),
        pieces in pieces(),
        limit in prop_oneof![0..40u64, Just(u64::MAX)],
    ) {
        check_cuts_do_not_matter::<LineDecoder>(&stream, &pieces, limit)?;
    }

    #[test]
    fn random_binary_frames_say_the_same_however_cut(
        stream in noise(),
        pieces in pieces(),
        limit in prop_oneof![0..40u64, Just(u64::MAX)],
    ) {
        check_cuts_do_not_matter::<BinaryDecoder>(&stream, &pieces, limit)?;
    }

    #[test]
    fn any_text_is_a_line_or_refused(bytes in noise()) {
        let mut out = Vec::new();
        if line::encode(&bytes, &mut out).is_ok() {
            let (read, error) = read_in_pieces::<LineDecoder>(&out, &[], 10_000);
            prop_assert_eq!(error, None);
            prop_assert_eq!(read, vec![Frame::Message(MessageKind::Text, bytes)]);
        } else {
            prop_assert!(out.is_empty());
        }
    }
}
