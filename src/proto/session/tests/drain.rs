//! The floor for output: a full queue must drain at a rate, whatever else the peer does.

use super::*;

/// A queue of 64 KiB on a wire without pings, and a message that did not fit at second 1. Each second of
/// the grace of 10 s asks for 1 KiB.
fn full() -> Bench {
    full_with(|_, _| {})
}

fn full_with(change: impl FnOnce(&mut HeartbeatConfig, &mut LimitsConfig)) -> Bench {
    let mut bench = Bench::with(Wire::Binary, |heartbeat, limits| {
        (heartbeat.interval, heartbeat.timeout) = (None, None);
        limits.send_queue = Some(64 * 1024);
        change(heartbeat, limits);
    });
    fill(&mut bench, secs(1));
    bench
}

/// Sends until a message does not fit.
fn fill(bench: &mut Bench, now: Moment) {
    while bench.send(now, Message::binary(&[7; 4096])).is_ok() {}
    bench.session.handle_blocked();
    bench.session.take_rearm();
}

/// Does what a shell does whose socket refuses the output.
fn expire(bench: &mut Bench, now: Moment) -> Step {
    let (mut expiry, found) = (Expiry::default(), Found::default());
    loop {
        let step = bench
            .session
            .handle_expiry(&mut bench.env, now, &mut expiry, &found);
        if matches!(step, Step::Wait(_)) || bench.session.phase() != Phase::Open {
            return step;
        }
    }
}

#[test]
fn a_full_queue_that_drains_below_the_floor_is_a_slow_peer() {
    let mut bench = full();
    assert_eq!(bench.deadline(secs(1)), secs(11).at);
    for second in 2..=10 {
        assert_eq!(bench.flush_some(secs(second), 1_024).len(), 1_024);
        assert!(matches!(expire(&mut bench, secs(second)), Step::Wait(_)));
    }
    // 9 KiB of 10 have left, and nobody is blamed before the socket has refused once more.
    assert_eq!(bench.due(secs(11)), Due::Stalled);
    assert_eq!(bench.session.cause(), None);
    expire(&mut bench, secs(11));
    assert_eq!(bench.session.cause(), Some(Cause::SlowPeer));
    assert_eq!(bench.session.phase(), Phase::Closing);
}

#[test]
fn a_full_queue_that_drains_at_the_floor_stays_and_is_judged_again() {
    let mut bench = full();
    bench.flush_some(secs(9), 20 * 1024);
    assert_eq!(bench.due(secs(11)), wait(19), "the write timeout is next");
    bench.flush_some(secs(18), 1_024);
    // What left before the second span counts no more.
    assert_eq!(bench.due(secs(18)), wait(21));
    assert_eq!(bench.due(secs(21)), Due::Stalled);
    expire(&mut bench, secs(21));
    assert_eq!(bench.session.cause(), Some(Cause::SlowPeer));
}

#[test]
fn what_leaves_in_the_last_look_counts() {
    let mut bench = full();
    bench.flush_some(secs(5), 9 * 1024);
    assert_eq!(bench.due(secs(11)), Due::Stalled);
    bench.flush_some(secs(11), 1_024);
    assert!(matches!(expire(&mut bench, secs(11)), Step::Wait(_)));
    assert_eq!(bench.session.cause(), None);
}

#[test]
fn unread_bytes_behind_a_pause_do_not_speak_for_who_does_not_read() {
    let mut bench = full();
    bench.session.handle_pause(secs(2));
    bench.flush_some(secs(9), 1_024);
    bench.session.handle_waiting_bytes(&bench.env, secs(10));
    expire(&mut bench, secs(11));
    assert_eq!(bench.session.cause(), Some(Cause::SlowPeer));
}

#[test]
fn a_queue_that_was_empty_again_has_no_floor() {
    let mut bench = full();
    bench.flush(secs(2));
    bench.send(secs(3), Message::binary(&[7; 4096])).unwrap();
    assert_eq!(bench.deadline(secs(3)), secs(13).at, "the write timeout");
    bench.flush_some(secs(12), 1);
    assert_eq!(bench.due(secs(13)), wait(22));
}

#[test]
fn a_queue_that_is_not_full_has_no_floor() {
    let mut bench = Bench::with(Wire::Binary, |heartbeat, _| {
        (heartbeat.interval, heartbeat.timeout) = (None, None);
    });
    bench.send(secs(1), Message::binary(&[7; 100_000])).unwrap();
    bench.session.handle_blocked();
    bench.flush_some(secs(9), 1);
    assert_eq!(bench.due(secs(11)), wait(19));
}

#[test]
fn the_floor_is_off_at_zero_and_waits_no_less_than_the_write_timeout() {
    let mut bench = full_with(|_, limits| limits.slow_floor = 0);
    bench.flush_some(secs(9), 1);
    assert_eq!(bench.due(secs(11)), wait(19));
    let mut bench = full_with(|heartbeat, _| {
        heartbeat.write_timeout = Some(Duration::from_secs(30));
    });
    assert_eq!(bench.due(secs(11)), wait(31));
    bench.flush_some(secs(30), 1);
    expire(&mut bench, secs(31));
    assert_eq!(bench.session.cause(), Some(Cause::SlowPeer));
}

#[test]
fn who_takes_nothing_at_all_has_stalled() {
    let mut bench = full();
    expire(&mut bench, secs(11));
    assert_eq!(bench.session.cause(), Some(Cause::WriteStalled));
}

#[test]
fn our_own_lateness_is_credited_in_full() {
    let mut bench = full();
    for second in 2..5 {
        bench.late(second, second + 1);
    }
    bench.flush_some(secs(9), 1_024);
    assert_eq!(bench.due(secs(11)), wait(14));
    expire(&mut bench, secs(14));
    assert_eq!(bench.session.cause(), Some(Cause::SlowPeer));
}
