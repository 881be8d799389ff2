//! Limits on the messages and bytes of a second.

use super::*;
use crate::config::Excess;

/// A peer that may send ten messages a second.
fn ten(wire: Wire, excess: Excess) -> Bench {
    Bench::with(wire, |_, limits| {
        limits.messages_per_second = Some(10);
        limits.excess = excess;
    })
}

/// Expects a limit to end now, and reads on.
fn read_on(bench: &mut Bench, now: Moment) -> usize {
    assert!(bench.session.is_paused());
    assert_eq!(bench.due(now), Due::Changed, "at {now:?}");
    let action = bench.session.socket_action();
    assert_eq!(action, SocketAction::ResumeReading);
    assert!(!bench.session.is_paused());
    bench.feed(now, b"").len()
}

#[test]
fn messages_beyond_the_limit_wait_until_it_allows_them() {
    let mut bench = ten(Wire::Line, Excess::Pause);
    let heard = bench.feed(secs(1), &b"a\n".repeat(20));
    assert_eq!(
        heard.len(),
        11,
        "a second's worth, and the one that was too much"
    );
    assert!(bench.session.take_rearm());
    for late in 1..=9 {
        let now = ms(1_000 + late * 100);
        let due = bench.session.poll_deadline(&bench.env, ms(1_000));
        assert_eq!(due, now.at);
        assert_eq!(bench.due(ms(999 + late * 100)), Due::Wait(now.at));
        assert_eq!(read_on(&mut bench, now), 1);
    }
    // None is left, but the last one was too much again.
    assert_eq!(read_on(&mut bench, secs(2)), 0);
    assert_eq!(bench.env.stats().rate_pauses, 10);
    assert_eq!(bench.session.phase(), Phase::Open);
}

#[test]
fn bytes_beyond_the_limit_wait_whatever_they_are_of() {
    let fragments = fragment(false, Opcode::Continuation, b"x").repeat(1_000);
    for rest in [fragments, masked(Opcode::Ping, b"x").repeat(1_000)] {
        let mut bench = Bench::with(Wire::WebSocket, |_, limits| {
            limits.bytes_per_second = Some(1_024);
            limits.pings_per_second = None;
        });
        bench.feed(secs(1), &fragment(false, Opcode::Binary, b"begin"));
        bench.feed(secs(1), &rest);
        assert!(bench.session.is_paused());
        let mut input = bench.session.take_input(&mut bench.env);
        let left = input.len();
        let read = 5 + 6 + rest.len() - left;
        assert!((1_025..=1_024 + 7).contains(&read), "{read}");
        input.consume(left);
        bench.session.put_input(&mut bench.env, input);
        // Seven bytes take 7 ms.
        let end = bench.session.poll_deadline(&bench.env, secs(1));
        assert!(end <= ms(1_007).at && end > secs(1).at, "{end:?}");
    }
}

#[test]
fn beyond_the_limit_a_peer_is_closed_where_that_is_asked_for() {
    for wire in [Wire::WebSocket, Wire::Line] {
        let is_websocket = matches!(wire, Wire::WebSocket);
        let mut bench = ten(wire, Excess::Close);
        let message = match is_websocket {
            true => masked(Opcode::Text, b"a"),
            false => b"a\n".to_vec(),
        };
        let heard = bench.feed(secs(1), &message.repeat(12));
        assert_eq!(heard.len(), 10);
        assert_eq!(bench.session.cause(), Some(Cause::RateLimited));
        assert_eq!(bench.session.phase(), Phase::Closing);
        let written = bench.flush(secs(1));
        assert!(!is_websocket || sent_close_code(&written) == 1008);
        assert_eq!(bench.env.stats().rate_pauses, 0);
    }
}

#[test]
fn a_long_message_beyond_the_limit_is_dropped_with_its_storage() {
    let mut bench = ten(Wire::WebSocket, Excess::Close);
    let halves = [
        fragment(false, Opcode::Text, b"a"),
        fragment(true, Opcode::Continuation, b"b"),
    ];
    bench.feed(secs(1), &halves.concat().repeat(11));
    assert_eq!(bench.session.cause(), Some(Cause::RateLimited));
    assert_eq!(bench.session.take_assembled().capacity(), 0);
}

#[test]
fn who_is_not_read_because_of_a_limit_is_not_silent() {
    // A line that takes forty seconds more than there are.
    let line = [b"a".repeat(41 * 1_024 - 1), b"\n".to_vec()].concat();
    let limited = |proof| {
        let mut bench = Bench::with(Wire::Line, |heartbeat, limits| {
            heartbeat.proof = proof;
            limits.bytes_per_second = Some(1_024);
        });
        assert_eq!(bench.feed(secs(1), &line).len(), 1);
        assert_eq!(bench.session.limit_ends(), Some(secs(41).at));
        bench
    };

    // Any byte is proof, and bytes wait in the socket.
    let mut bench = limited(Proof::Bytes);
    bench.ping(secs(10));
    bench.ping(secs(20));
    assert_eq!(bench.due(secs(26)), Due::Silent);
    bench.session.handle_waiting_bytes(&bench.env, secs(26));
    assert!(!bench.session.is_silent(&bench.env, secs(26)));

    // The proof is to be read: it has T - I from when reading went on.
    let mut bench = limited(Proof::Message);
    for at in [10, 20, 30, 40] {
        bench.ping(secs(at));
    }
    assert_eq!(read_on(&mut bench, secs(41)), 0);
    bench.ping(secs(50));
    assert_eq!(bench.due(secs(55)), wait(56));
    assert_eq!(bench.due(secs(56)), Due::Silent);
}

#[test]
fn reading_goes_on_when_both_the_limit_and_the_application_want_it() {
    let more = b"a\n".repeat(11);
    // The application pauses during the limit, and is the last.
    let mut bench = ten(Wire::Line, Excess::Pause);
    bench.feed(secs(1), &more);
    bench.session.handle_pause(ms(1_050));
    assert_eq!(bench.due(ms(1_100)), Due::Changed);
    assert_eq!(bench.session.socket_action(), SocketAction::Keep);
    assert!(bench.session.is_paused());
    bench.session.handle_resume(ms(1_200));
    assert_eq!(bench.session.socket_action(), SocketAction::ResumeReading);
    assert!(!bench.session.is_paused());

    // It takes that back before the limit is over.
    let mut bench = ten(Wire::Line, Excess::Pause);
    bench.feed(secs(1), &more);
    bench.session.handle_pause(ms(1_050));
    bench.session.handle_resume(ms(1_060));
    assert_eq!(bench.session.socket_action(), SocketAction::Keep);
    assert_eq!(read_on(&mut bench, ms(1_100)), 0);
}

#[test]
fn a_session_that_closes_reads_on_though_a_limit_has_paused_it() {
    let mut bench = ten(Wire::WebSocket, Excess::Pause);
    bench.feed(secs(1), &masked(Opcode::Text, b"a").repeat(11));
    assert!(bench.session.is_paused());
    bench.close(secs(1), Cause::LocalClose);
    assert_eq!(bench.session.socket_action(), SocketAction::ResumeReading);
    bench.flush(secs(1));
    bench.feed(secs(1), &close_frame(1000));
    assert_eq!(
        bench.end(secs(1), SocketAction::Close),
        (Cause::LocalClose, true)
    );
}

#[test]
fn an_idle_session_has_no_buckets() {
    let mut bench = Bench::with(Wire::Line, |_, limits| {
        limits.messages_per_second = Some(10);
        limits.bytes_per_second = Some(1_024);
    });
    bench.ping(secs(10));
    bench.feed(secs(10), b"PONG\n");
    assert!(bench.session.rare.is_none(), "heartbeats take nothing");
    bench.feed(secs(19), b"hello\n");
    assert!(bench.session.rare.is_some());
    bench.ping(secs(20));
    assert!(bench.session.rare.is_none());
    // Some of what is there is still owed.
    bench.feed(ms(29_950), b"hello\n");
    bench.ping(secs(30));
    assert!(bench.session.rare.is_some());
    bench.ping(secs(40));
    assert!(bench.session.rare.is_none());
}

#[test]
fn a_limit_that_was_paid_for_leaves_what_else_is_kept() {
    let mut bench = Bench::with(Wire::Own(Box::new(Quads::default())), |_, limits| {
        limits.messages_per_second = Some(10);
    });
    bench.feed(secs(1), b"abcd");
    bench.due(secs(9));
    let rare = bench.session.rare.as_ref().unwrap();
    assert!(rare.rates.is_none() && rare.codec.is_some());
}

#[test]
fn messages_that_lay_unread_are_not_too_many() {
    let fifty = b"a\n".repeat(50);
    // Our process was stopped; the peer had said nothing before, or something.
    for before in [0, 3] {
        let mut bench = ten(Wire::Line, Excess::Close);
        bench.feed(secs(1), &b"a\n".repeat(before));
        bench.late(2, 7);
        bench.feed(secs(7), &fifty);
        assert_eq!(bench.session.phase(), Phase::Open);
        bench.feed(secs(7), &b"a\n".repeat(10));
        assert_eq!(bench.session.phase(), Phase::Open);
        bench.feed(secs(7), b"a\n");
        assert_eq!(bench.session.cause(), Some(Cause::RateLimited));
    }
    // The application paused reading.
    for before in [0, 3] {
        let mut bench = ten(Wire::Line, Excess::Close);
        bench.feed(secs(1), &b"a\n".repeat(before));
        bench.session.handle_pause(secs(2));
        bench.session.handle_resume(secs(7));
        bench.feed(secs(7), &fifty);
        bench.feed(secs(7), &b"a\n".repeat(10));
        assert_eq!(bench.session.phase(), Phase::Open);
        bench.feed(secs(7), b"a\n");
        assert_eq!(bench.session.cause(), Some(Cause::RateLimited));
    }
}

#[test]
fn a_pause_by_a_limit_gives_no_credit() {
    let mut bench = ten(Wire::Line, Excess::Pause);
    let mut heard = bench.feed(secs(1), &b"a\n".repeat(1_000)).len();
    for tenth in 1..100 {
        heard += read_on(&mut bench, ms(1_000 + tenth * 100));
    }
    assert_eq!(heard, 11 + 99);
}
