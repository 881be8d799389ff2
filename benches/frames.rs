//! Frames: what unmasking and checking text cost beside a plain copy, and what one frame costs.
//!
//! `cargo bench --bench frames`

#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

use heartwheel::proto::pool::Pool;
use heartwheel::proto::websocket::utf8::Validator;
use heartwheel::proto::websocket::{Decoder, Item, Opcode, encode, mask};
use heartwheel::proto::wire::Role;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const SIZES: [usize; 3] = [64, 4 * 1024, 64 * 1024];

/// The passes over a payload, beside the copy that is their floor.
fn passes(c: &mut Criterion) {
    for size in SIZES {
        let ascii = vec![b'a'; size];
        let mixed: Vec<u8> = "aé€😀".bytes().cycle().take(size / 10 * 10).collect();
        let mut target = vec![0; size];
        let mut group = c.benchmark_group(format!("{size} bytes"));
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function("copy", |b| {
            b.iter(|| black_box(&mut target).copy_from_slice(black_box(&ascii)));
        });
        group.bench_function("mask", |b| {
            b.iter(|| mask::apply(black_box(&mut target), black_box(MASK), 0));
        });
        group.bench_function("utf-8, ascii", |b| {
            b.iter(|| Validator::default().push(black_box(&ascii)));
        });
        group.throughput(Throughput::Bytes(mixed.len() as u64));
        group.bench_function("utf-8, mixed", |b| {
            b.iter(|| Validator::default().push(black_box(&mixed)));
        });
        group.finish();
    }
}

/// One frame from its bytes to its item. The time includes a copy of the frame, since decoding
/// changes it in place.
fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    for (name, opcode, size) in [
        ("ping of 0 bytes", Opcode::Ping, 0),
        ("ping of 4 bytes", Opcode::Ping, 4),
        ("binary of 64 bytes", Opcode::Binary, 64),
        ("text of 64 bytes", Opcode::Text, 64),
        ("binary of 16 KiB", Opcode::Binary, 16 * 1024),
        ("text of 16 KiB", Opcode::Text, 16 * 1024),
    ] {
        let mut wire = Vec::new();
        encode(true, opcode, &vec![b'a'; size], Some(MASK), &mut wire);
        let (mut decoder, mut pool) = (Decoder::default(), Pool::default());
        let mut input = wire.clone();
        group.throughput(Throughput::Bytes(wire.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                input.copy_from_slice(&wire);
                let found = decoder.decode(Role::Server, black_box(&mut input), 1 << 20, &mut pool);
                assert_ne!(black_box(found).unwrap().1, Item::NeedMore);
            });
        });
    }
    group.finish();
}

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
        ("ping of 4 bytes", Opcode::Ping, 4, None),
        ("masked ping of 4 bytes", Opcode::Ping, 4, Some(MASK)),
        ("binary of 64 bytes", Opcode::Binary, 64, None),
        (
            "masked binary of 16 KiB",
            Opcode::Binary,
            16 * 1024,
            Some(MASK),
        ),
    ] {
        let payload = vec![7; size];
        let mut out = Vec::with_capacity(size + 14);
        group.throughput(Throughput::Bytes(size as u64));
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
