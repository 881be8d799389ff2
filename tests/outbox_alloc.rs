//! A recycled outbox allocates nothing for a heartbeat or a small message.
#![allow(
    unsafe_code,
    reason = "counting allocations takes a global allocator of one's own"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::io::IoSlice;

use heartwheel::proto::outbox::Outbox;
use heartwheel::proto::pool::Pool;

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    // No count is possible, nor needed, while the thread ends.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call is passed on unchanged to the system allocator, which keeps the contract; the
// counter is a plain cell of the calling thread and allocates nothing itself.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `realloc`; `block` came from `System`.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`; `block` came from `System`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Counts the allocations of this thread in `work`, after a first run that may fill capacities.
fn allocations(mut work: impl FnMut()) -> usize {
    work();
    let before = COUNT.get();
    for _ in 0..100 {
        work();
    }
    COUNT.get() - before
}

fn write_all(outbox: &mut Outbox, step: usize, pool: &mut Pool) {
    while !outbox.is_empty() {
        let mut slices = [IoSlice::new(&[]); 8];
        let count = outbox.slices(&mut slices);
        black_box(&slices[..count]);
        outbox.commit(step.min(outbox.len()), pool);
    }
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(black_box(Box::new(1)))), 100);
}

#[test]
fn a_ping_through_a_recycled_outbox_allocates_nothing() {
    let (mut pool, mut outbox) = (Pool::default(), Outbox::default());
    let allocated = allocations(|| {
        outbox.set_ping(&[0x89, 4, 1, 2, 3, 4]);
        write_all(&mut outbox, usize::MAX, &mut pool);
        outbox.clear(&mut pool);
    });
    assert_eq!(allocated, 0);
}

#[test]
fn a_small_message_through_a_recycled_outbox_allocates_nothing() {
    let (mut pool, mut outbox) = (Pool::default(), Outbox::default());
    let allocated = allocations(|| {
        outbox.push_frame(&[0x81, 5], b"hello", &mut pool);
        write_all(&mut outbox, usize::MAX, &mut pool);
        outbox.clear(&mut pool);
    });
    assert_eq!(allocated, 0);
}

#[test]
fn everything_small_written_byte_by_byte_allocates_nothing() {
    let (mut pool, mut outbox) = (Pool::default(), Outbox::default());
    let allocated = allocations(|| {
        for _ in 0..20 {
            outbox.push_frame(&[0x81, 5], b"hello", &mut pool);
        }
        outbox.push_pong(&[0x8a, 2, 1, 2]);
        outbox.push_pong(&[0x8a, 2, 3, 4]);
        outbox.set_ping(&[0x89, 4, 1, 2, 3, 4]);
        write_all(&mut outbox, 1, &mut pool);
        outbox.set_close(&[0x88, 2, 3, 232]);
        write_all(&mut outbox, 1, &mut pool);
        outbox.clear(&mut pool);
    });
    assert_eq!(allocated, 0);
}

#[test]
fn a_new_outbox_allocates_nothing_before_its_first_frame() {
    assert_eq!(allocations(|| drop(black_box(Outbox::default()))), 0);
}
