//! A recycled outbox allocates nothing for a heartbeat or a small message, and a session nothing for
//! either, ping and pong both ways included.
#![allow(
    unsafe_code,
    reason = "counting allocations takes a global allocator of one's own"
)]

#[path = "support/dice.rs"]
mod dice;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::io::IoSlice;

use dice::Dice;
use heartwheel::config::{HeartbeatConfig, LimitsConfig};
use heartwheel::proto::heartbeat::PingPhase;
use heartwheel::proto::message::Message;
use heartwheel::proto::outbox::{Outbox, Parting};
use heartwheel::proto::policy::Policy;
use heartwheel::proto::pool::Pool;
use heartwheel::proto::session::{Env, Event, Expiry, Found, Session, Step, Wire};
use heartwheel::proto::time::{Micros, Moment};

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
        outbox.set_close(&[0x88, 2, 3, 232], Parting::Everything, &mut pool);
        write_all(&mut outbox, 1, &mut pool);
        outbox.clear(&mut pool);
    });
    assert_eq!(allocated, 0);
}

#[test]
fn a_new_outbox_allocates_nothing_before_its_first_frame() {
    assert_eq!(allocations(|| drop(black_box(Outbox::default()))), 0);
}

/// Reads `bytes` as a shell does.
fn read(session: &mut Session, env: &mut Env, now: Moment, bytes: &[u8]) -> usize {
    let mut input = session.take_input(env);
    input.extend(bytes, env.pool_mut());
    session.handle_bytes(env, now, bytes.len());
    let mut pongs = 0;
    loop {
        let (consumed, event) = session.decode(env, now, input.contiguous_mut());
        input.consume(consumed);
        match event {
            Event::NeedMore => break,
            Event::Pong { .. } => pongs += 1,
            Event::Consumed | Event::Inflating | Event::Message { .. } => {}
        }
    }
    session.put_input(env, input);
    session.release(env);
    pongs
}

/// Writes all output and returns the last four bytes, a token on some wires.
fn write(session: &mut Session, env: &mut Env, now: Moment) -> [u8; 4] {
    let mut token = [0; 4];
    loop {
        let mut slices = [IoSlice::new(&[]); 8];
        let count = session.slices(&mut slices);
        if count == 0 {
            break;
        }
        let len = slices[..count].iter().map(|slice| slice.len()).sum();
        if let Some(tail) = slices[count - 1].last_chunk() {
            token = *tail;
        }
        session.handle_written(env, now, len);
    }
    session.release(env);
    token
}

fn assert_beats_allocate_nothing(wire: Wire, pong: impl Fn([u8; 4]) -> [u8; 10], len: usize) {
    let tick = std::time::Duration::from_millis(10);
    let (heartbeat, limits) = (HeartbeatConfig::tcp(), LimitsConfig::default());
    let policy =
        Policy::new(&heartbeat, &limits, wire.kind(), tick).expect("the defaults are sound");
    let mut env = Env::new(Box::new(Dice::new(7)));
    let policy = env.intern(policy).expect("one policy fits");
    let mut now = Moment::on_time(Micros::from_secs(5));
    let mut session = Session::accepted(&mut env, policy, wire, PingPhase::ZERO, now);
    if !session.was_open() {
        session.handle_handshake(&mut env, now, b"");
    }
    let count = allocations(|| {
        now.at = now.at + Micros::from_secs(10);
        let (mut expiry, found) = (Expiry::default(), Found::default());
        let step = session.handle_expiry(&mut env, now, &mut expiry, &found);
        assert_eq!(step, Step::Flush);
        let token = write(&mut session, &mut env, now);
        assert_eq!(read(&mut session, &mut env, now, &pong(token)[..len]), 1);
        session
            .send(&mut env, now, Message::text("hello"))
            .expect("there is room");
        write(&mut session, &mut env, now);
        assert!(session.is_released());
    });
    assert_eq!(count, 0, "{:?}", session.wire());
}

#[test]
fn a_session_that_beats_and_sends_allocates_nothing() {
    assert_beats_allocate_nothing(Wire::Line, |_| *b"PONG\n.....", 5);
    assert_beats_allocate_nothing(Wire::Binary, |_| [2; 10], 1);
}

#[cfg(feature = "websocket")]
#[test]
fn a_websocket_session_that_beats_and_sends_allocates_nothing() {
    // The mask is zero: the token stands there as it is.
    let pong = |[a, b, c, d]: [u8; 4]| [0x8a, 0x84, 0, 0, 0, 0, a, b, c, d];
    assert_beats_allocate_nothing(Wire::WebSocket, pong, 10);
}
