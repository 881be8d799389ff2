//! Frames: what unmasking and checking text cost beside a plain copy, as part of decoding, and what one
//! frame costs.
//!
//! `cargo bench --bench frames`

#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

use heartwheel::proto::pool::Pool;
use heartwheel::proto::websocket::{Decoder, Opcode, encode, fragments};
use heartwheel::proto::wire::{MessageKind, Role};

/// Keeps ASCII text ASCII, so that a frame can be unmasked over and over where it lies.
const MASK: [u8; 4] = [0x37, 0x7a, 0x21, 0x3d];
const SIZES: [usize; 5] = [64, 1024, 16 * 1024, 64 * 1024, 1024 * 1024];

/// Texts by what they are made of. Pieces of 1 000 bytes cut code points of every length.
const TEXTS: [(&str, &str); 5] = [
    ("ascii", "text"),
    ("2 bytes", "é"),
    ("3 bytes", "€"),
    ("4 bytes", "😀"),
    ("mixed", "aé€😀"),
];
const PIECE: usize = 1_000;

/// The passes over a payload, beside the copy that is their floor.
fn passes(c: &mut Criterion) {
    for size in SIZES {
        let source = vec![b'a'; size];
        let mut target = vec![0; size + 1];
        let mut group = c.benchmark_group(format!("{size} bytes"));
        group
            .sample_size(50)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1))
            .throughput(Throughput::Bytes(size as u64));
        group.bench_function("copy", |b| {
            b.iter(|| black_box(&mut target[..size]).copy_from_slice(black_box(&source)));
        });
        for (name, start) in [("unmask", 0), ("unmask, a byte further", 1)] {
            let mut frame = vec![0; start];
            encode(true, Opcode::Binary, &source, Some(MASK), &mut frame);
            group.bench_function(name, |b| {
                b.iter(|| decode_all(Role::Server, black_box(&mut frame[start..])));
            });
        }
        for (name, sample) in TEXTS {
            let text = sample.repeat(size / sample.len());
            group.throughput(Throughput::Bytes(text.len() as u64));
            let mut frame = Vec::new();
            encode(true, Opcode::Text, text.as_bytes(), None, &mut frame);
            group.bench_function(format!("utf-8, {name}"), |b| {
                b.iter(|| decode_all(Role::Client, black_box(&mut frame)));
            });
            if size > PIECE {
                let mut frames = in_pieces(text.as_bytes());
                group.bench_function(format!("utf-8, {name}, in fragments"), |b| {
                    b.iter(|| decode_all(Role::Client, black_box(&mut frames)));
                });
            }
        }
        group.finish();
    }
}

fn in_pieces(text: &[u8]) -> Vec<u8> {
    let mut frames = Vec::new();
    for (fin, opcode, piece) in fragments(MessageKind::Text, text.len(), PIECE) {
        encode(fin, opcode, &text[piece], None, &mut frames);
    }
    frames
}

/// Decodes the frames of one message, and lets go of it.
fn decode_all(role: Role, input: &mut [u8]) {
    let (mut decoder, mut pool) = (Decoder::default(), Pool::default());
    let mut rest = input;
    while !rest.is_empty() {
        let (consumed, item) = decoder.decode(role, rest, 1 << 20, &mut pool).unwrap();
        black_box(item);
        rest = &mut rest[consumed..];
    }
    decoder.release(&mut pool);
}

/// One frame from its bytes to its item.
fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    for (name, role, opcode, size) in [
        ("ping of 0 bytes, masked", Role::Server, Opcode::Ping, 0),
        ("ping of 0 bytes", Role::Client, Opcode::Ping, 0),
        ("ping of 4 bytes, masked", Role::Server, Opcode::Ping, 4),
        ("ping of 4 bytes", Role::Client, Opcode::Ping, 4),
        (
            "binary of 64 bytes, masked",
            Role::Server,
            Opcode::Binary,
            64,
        ),
        ("binary of 64 bytes", Role::Client, Opcode::Binary, 64),
        ("text of 64 bytes, masked", Role::Server, Opcode::Text, 64),
        ("text of 64 bytes", Role::Client, Opcode::Text, 64),
        (
            "binary of 16 KiB, masked",
            Role::Server,
            Opcode::Binary,
            16 * 1024,
        ),
        (
            "text of 16 KiB, masked",
            Role::Server,
            Opcode::Text,
            16 * 1024,
        ),
    ] {
        let mask = (role == Role::Server).then_some(MASK);
        let mut frame = Vec::new();
        encode(true, opcode, &vec![b'a'; size], mask, &mut frame);
        let mut input = frame.repeat(BATCH);
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |b| {
            b.iter_custom(|frames| time_decoding(role, &mut input, frames));
        });
    }
    group.finish();
}

/// Decodes so many frames, again and again those in `input`.
fn time_decoding(role: Role, input: &mut [u8], frames: u64) -> Duration {
    let (mut decoder, mut pool) = (Decoder::default(), Pool::default());
    let start = Instant::now();
    let mut rest = &mut *input;
    for done in 0..frames {
        if done % BATCH as u64 == 0 {
            rest = &mut *input;
        }
        let (consumed, item) = decoder.decode(role, rest, 1 << 20, &mut pool).unwrap();
        black_box(item);
        rest = &mut rest[consumed..];
    }
    start.elapsed()
}

/// Frames that lie one behind the other, as a busy peer sends them.
const BATCH: usize = 64;

/// A message of 16 KiB that arrives in pieces of 4 KiB, through the assembly buffer.
fn assemble(c: &mut Criterion) {
    let mut wire = Vec::new();
    encode(
        true,
        Opcode::Binary,
        &vec![7; 16 * 1024],
        Some(MASK),
        &mut wire,
    );
    let (mut decoder, mut pool) = (Decoder::default(), Pool::default());
    let mut group = c.benchmark_group("assemble");
    group.throughput(Throughput::Bytes(wire.len() as u64));
    group.bench_function("16 KiB by 4 KiB", |b| {
        b.iter_batched_ref(
            || wire.clone(),
            |input| {
                for piece in input.chunks_mut(4 * 1024) {
                    let found = decoder.decode(Role::Server, piece, 1 << 20, &mut pool);
                    black_box(found).unwrap();
                }
                assert_eq!(decoder.assembled().len(), 16 * 1024);
                decoder.release(&mut pool);
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn write(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    for (name, opcode, size, mask) in [
        ("ping of 0 bytes", Opcode::Ping, 0, None),
        ("ping of 0 bytes, masked", Opcode::Ping, 0, Some(MASK)),
        ("ping of 4 bytes", Opcode::Ping, 4, None),
        ("ping of 4 bytes, masked", Opcode::Ping, 4, Some(MASK)),
        ("binary of 64 bytes", Opcode::Binary, 64, None),
        ("binary of 64 bytes, masked", Opcode::Binary, 64, Some(MASK)),
        ("binary of 16 KiB", Opcode::Binary, 16 * 1024, None),
        (
            "binary of 16 KiB, masked",
            Opcode::Binary,
            16 * 1024,
            Some(MASK),
        ),
    ] {
        let payload = vec![7; size];
        let mut out = Vec::with_capacity(size + 14);
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                encode(true, opcode, black_box(&payload), mask, black_box(&mut out));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, passes, decode, assemble, write);
criterion_main!(benches);
