//! The boring path of the buffers: a small read, a ping out, a short message in.
#![allow(
    missing_docs,
    reason = "the macros of criterion make undocumented items"
)]
#![allow(clippy::unwrap_used, reason = "a bench")]

use std::hint::black_box;
use std::io::IoSlice;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use heartwheel::proto::binary::{self, BinaryDecoder};
use heartwheel::proto::line::LineDecoder;
use heartwheel::proto::outbox::Outbox;
use heartwheel::proto::pool::Pool;
use heartwheel::proto::ring::Ring;

fn ring(c: &mut Criterion) {
    let mut group = c.benchmark_group("ring");
    for size in [64, 4096] {
        let bytes = vec![7; size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_with_input(
            BenchmarkId::new("fill_consume", size),
            &bytes,
            |b, bytes| {
                let (mut pool, mut ring) = (Pool::default(), Ring::default());
                b.iter(|| {
                    ring.spare_mut(&mut pool)[..bytes.len()].copy_from_slice(black_box(bytes));
                    ring.commit(bytes.len());
                    black_box(ring.contiguous_mut());
                    ring.consume(bytes.len());
                    ring.release(&mut pool);
                });
            },
        );
    }
    group.finish();
}

fn write_all(outbox: &mut Outbox, pool: &mut Pool) {
    let mut slices = [IoSlice::new(&[]); 8];
    let count = outbox.slices(&mut slices);
    let len = slices[..count].iter().map(|slice| slice.len()).sum();
    black_box(&slices);
    outbox.commit(len, pool);
}

fn outbox(c: &mut Criterion) {
    let mut group = c.benchmark_group("outbox");
    group.throughput(Throughput::Elements(1));
    group.bench_function("ping", |b| {
        let (mut pool, mut outbox) = (Pool::default(), Outbox::default());
        b.iter(|| {
            outbox.set_ping(black_box(&[0x89, 4, 1, 2, 3, 4]));
            write_all(&mut outbox, &mut pool);
        });
    });
    group.bench_function("message_64", |b| {
        let (mut pool, mut outbox) = (Pool::default(), Outbox::default());
        b.iter(|| {
            outbox.push_frame(black_box(&[0x81, 64]), black_box(&[7; 64]), &mut pool);
            write_all(&mut outbox, &mut pool);
        });
    });
    group.finish();
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode_64");
    let mut text = [[b'x'; 64].as_slice(), b"\n"].concat();
    let mut framed = Vec::new();
    binary::encode(&[7; 64], &mut framed).unwrap();
    group.throughput(Throughput::Elements(1));
    group.bench_function("line", |b| {
        let (mut pool, mut decoder) = (Pool::default(), LineDecoder::default());
        b.iter(|| decoder.decode(black_box(&mut text), 1024, &mut pool));
    });
    group.bench_function("binary", |b| {
        let (mut pool, mut decoder) = (Pool::default(), BinaryDecoder::default());
        b.iter(|| decoder.decode(black_box(&mut framed), 1024, &mut pool));
    });
    group.finish();
}

criterion_group!(benches, ring, outbox, decode);
criterion_main!(benches);
