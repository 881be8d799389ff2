//! Plain HTTP requests before an upgrade, or instead of one: how long a connection is kept for them.

use super::*;
use crate::proto::http::Persistence;

const ANSWER: [u8; 100] = [b'x'; 100];

/// Accepts a connection at time zero and answers a request at 1 s, behind which it is kept.
fn answered() -> Bench {
    let mut bench = Bench::accepted(Wire::WebSocket, |_, _| {});
    bench.answer(secs(1), Persistence::Keep);
    bench
}

impl Bench {
    fn answer(&mut self, now: Moment, persistence: Persistence) {
        let Self { env, session } = self;
        session.answer(env, now, 200, &ANSWER, persistence);
    }

    /// Leaves bytes of a request unread by any decoder.
    fn receive(&mut self, now: Moment, bytes: &[u8]) {
        let Self { env, session } = self;
        let mut input = session.take_input(env);
        input.extend(bytes, &mut env.pool);
        session.handle_bytes(env, now, bytes.len());
        session.put_input(env, input);
        session.release(env);
    }
}

#[test]
fn each_request_has_the_handshake_timeout_anew() {
    let mut bench = answered();
    assert_eq!(bench.flush(secs(1)), ANSWER);
    assert_eq!(
        bench.session.poll_deadline(&bench.env, secs(1)),
        Micros::from_secs(6)
    );
    assert_eq!(bench.due(ms(5_990)), wait(6));
    bench.answer(ms(5_990), Persistence::Keep);
    bench.flush(ms(5_990));
    assert_eq!(bench.due(secs(6)), Due::Wait(Micros::from_millis(10_990)));
    assert_eq!(
        (bench.session.answers(), bench.env.stats().answered),
        (2, 2)
    );
}

#[test]
fn who_asks_for_nothing_more_is_let_go_without_a_word() {
    let mut bench = answered();
    bench.flush(secs(1));
    assert!(bench.session.is_between_requests());
    assert_eq!(bench.due(secs(6)), Due::Changed);
    assert_eq!(bench.flush(secs(6)), b"");
    assert_eq!(bench.session.socket_action(), SocketAction::ShutdownWrite);
    bench.session.handle_eof(&bench.env, secs(7));
    assert_eq!(
        bench.end(secs(7), SocketAction::Close),
        (Cause::LocalClose, true)
    );
    assert_eq!(bench.session.answered(), Some(200));
}

#[test]
fn who_asks_for_half_of_it_is_told() {
    let mut bench = answered();
    bench.flush(secs(1));
    bench.receive(secs(2), b"GET /");
    assert!(!bench.session.is_between_requests());
    assert_eq!(bench.due(secs(6)), Due::Changed);
    assert!(bench.flush(secs(6)).starts_with(b"HTTP/1.1 408 "));
    assert_eq!(bench.session.socket_action(), SocketAction::ShutdownWrite);
    bench.session.handle_eof(&bench.env, secs(7));
    let end = bench.end(secs(7), SocketAction::Close);
    assert_eq!(end, (Cause::HandshakeTimeout, false));
}

#[test]
fn an_answer_leaves_while_it_makes_progress() {
    let mut bench = answered();
    for at in [9, 18, 27] {
        assert!(matches!(bench.due(secs(at)), Due::Wait(_)), "at {at} s");
        assert_eq!(bench.flush_some(secs(at), 25).len(), 25);
    }
    assert_eq!(bench.flush(secs(36)).len(), 25);
    // Only now another request is waited for.
    assert_eq!(bench.due(secs(37)), wait(41));
}

#[test]
fn an_answer_that_makes_no_progress_ends_it() {
    let mut bench = answered();
    bench.flush_some(secs(2), 1);
    bench.session.handle_blocked();
    assert!(matches!(bench.due(secs(11)), Due::Wait(_)));
    bench.stall(secs(12));
    assert_eq!(
        bench.end(secs(12), SocketAction::Reset),
        (Cause::WriteStalled, false)
    );
    // And one that makes too little is not waited for for ever.
    let mut bench = answered();
    for at in (9..300).step_by(9) {
        bench.flush_some(secs(at), 1);
    }
    assert!(matches!(bench.due(secs(300)), Due::Wait(_)));
    assert_eq!(bench.due(secs(301)), Due::Changed);
    assert_eq!(
        bench.end(secs(301), SocketAction::Reset),
        (Cause::CloseTimeout, false)
    );
}

#[test]
fn an_end_behind_a_request_does_not_cost_its_answer() {
    let mut bench = answered();
    bench.session.handle_eof(&bench.env, secs(1));
    assert_eq!(bench.session.socket_action(), SocketAction::Keep);
    assert_eq!(bench.flush(secs(2)), ANSWER);
    assert_eq!(
        bench.end(secs(2), SocketAction::Close),
        (Cause::PeerEof, true)
    );
}

#[test]
fn a_close_behind_a_request_does_not_cost_its_answer() {
    let mut bench = answered();
    bench.close(secs(2), Cause::LocalClose);
    assert_eq!(bench.session.socket_action(), SocketAction::Keep);
    assert_eq!(bench.flush(secs(8)), ANSWER);
    assert_eq!(bench.session.socket_action(), SocketAction::ShutdownWrite);
    bench.session.handle_eof(&bench.env, secs(9));
    let end = bench.end(secs(9), SocketAction::Close);
    assert_eq!(end, (Cause::LocalClose, true));
}

#[test]
fn a_connection_that_opens_is_no_plain_one_any_more() {
    let mut bench = answered();
    bench.flush(secs(1));
    bench
        .session
        .handle_handshake(&mut bench.env, secs(2), b"response");
    assert_eq!(
        (bench.session.answered(), bench.session.answers()),
        (None, 0)
    );
    bench.flush(secs(2));
    assert!(bench.session.is_released());
    bench.session.handle_eof(&bench.env, secs(3));
    // Without a Close it is not clean.
    assert_eq!(
        bench.end(secs(3), SocketAction::Close),
        (Cause::PeerEof, false)
    );
}

#[test]
fn the_last_answer_ends_it() {
    let mut bench = answered();
    bench.answer(secs(2), Persistence::Close);
    assert_eq!(bench.session.phase(), Phase::Closing);
    assert_eq!(bench.flush(secs(2)).len(), 2 * ANSWER.len());
    assert_eq!(bench.session.socket_action(), SocketAction::ShutdownWrite);
    bench.session.handle_eof(&bench.env, secs(3));
    assert_eq!(
        bench.end(secs(3), SocketAction::Close),
        (Cause::LocalClose, true)
    );
    assert_eq!(bench.session.answers(), 2);
}
