//! Sessions whose application decides later.

use super::*;
use crate::proto::websocket::handshake::Upgrade;

const UPGRADE: &[u8] =
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const HEAD: &[u8] = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
const WHY: &str = "the application did not answer in time";

impl Bench {
    /// Waits for the application, with this in front of the input.
    fn waiting(wire: Wire, now: Moment, says: &[u8], awaited: Awaited) -> Self {
        let mut bench = Self::accepted(wire, |_, _| {});
        let (session, env) = (&mut bench.session, &mut bench.env);
        let mut input = session.take_input(env);
        input.extend(says, &mut env.pool);
        session.put_input(env, input);
        session.defer(env, now, awaited);
        session.release(env);
        bench
    }

    fn ends_at(&self, now: Moment) -> Micros {
        self.session.poll_deadline(&self.env, now)
    }

    fn says(&mut self, now: Moment) -> String {
        String::from_utf8(self.flush(now)).unwrap()
    }
}

#[test]
fn the_handshake_timeout_goes_on_while_a_session_waits() {
    for (wire, says) in [(Wire::WebSocket, UPGRADE), (Wire::Line, b"")] {
        let mut bench = Bench::waiting(wire, secs(1), says, Awaited::Verdict);
        assert_eq!(bench.session.phase(), Phase::Handshaking);
        assert_eq!(bench.session.awaited(), Some(Awaited::Verdict));
        assert!(bench.session.is_paused());
        assert!(!bench.session.was_open() && !bench.session.owes_closing());
        assert_eq!(bench.ends_at(secs(1)), Micros::from_secs(5));
        // No ping meanwhile, and whatever the peer says changes nothing.
        assert_eq!(bench.feed(secs(4), b"early\n"), []);
        assert_eq!(bench.due(ms(4_990)), wait(5));
        assert_eq!(bench.session.heartbeat().pings(), (0, 0, 0));
    }
}

/// Nothing is awaited of the peer: the socket needs no look, and the peer is told whose fault it is.
#[test]
fn a_session_that_waits_for_too_long_does_not_blame_the_peer() {
    let why = |text: &str| format!("\r\n\r\n{text}\n");
    for (says, awaited, has_body) in [
        (UPGRADE, Awaited::Verdict, true),
        (HEAD, Awaited::Answer, false),
    ] {
        let mut bench = Bench::waiting(Wire::WebSocket, secs(1), says, awaited);
        let (mut expiry, found) = (Expiry::default(), Found::default());
        let (session, env) = (&mut bench.session, &mut bench.env);
        let step = session.handle_expiry(env, secs(5), &mut expiry, &found);
        assert_eq!(step, Step::Flush);
        let answer = bench.says(secs(5));
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("\r\nRetry-After: 1\r\n"), "{answer}");
        assert_eq!(answer.ends_with(&why(WHY)), has_body, "{answer}");
        assert_eq!(answer.ends_with("\r\n\r\n"), !has_body, "{answer}");
        assert_eq!(bench.session.cause(), Some(Cause::HandshakeTimeout));
        assert_eq!(bench.session.reason(), WHY);
        assert!(!bench.session.has_input(), "nobody needs its request");
    }
    let mut bench = Bench::waiting(Wire::Line, secs(0), b"", Awaited::Verdict);
    assert_eq!(bench.due(secs(5)), Due::Changed);
    assert_eq!(bench.flush(secs(5)), b"");
    assert_eq!(bench.session.reason(), WHY);
    // Reading goes on, for the peer's end.
    let actions = [(); 3].map(|()| bench.session.socket_action());
    let expected = [
        SocketAction::ResumeReading,
        SocketAction::ShutdownWrite,
        SocketAction::Keep,
    ];
    assert_eq!(actions, expected);
    bench.session.handle_eof(&bench.env, secs(6));
    let end = bench.end(secs(6), SocketAction::Close);
    assert_eq!(end, (Cause::HandshakeTimeout, false));
}

/// The answer may have waited in the loop's queue as long.
#[test]
fn our_lateness_puts_that_deadline_off_as_that_of_any_handshake() {
    let mut bench = Bench::waiting(Wire::Line, secs(1), b"", Awaited::Verdict);
    bench.late(2, 4);
    assert_eq!(bench.due(secs(5)), wait(7));
}

#[test]
fn a_request_is_looked_at_again_once_the_application_has_decided() {
    let mut bench = Bench::waiting(Wire::WebSocket, secs(1), UPGRADE, Awaited::Verdict);
    let (session, env) = (&mut bench.session, &mut bench.env);
    session.end_deferral();
    assert_eq!(session.awaited(), None);
    assert!(!session.is_paused());
    let mut input = session.take_input(env);
    let asked = session.next_request(env, secs(4), input.contiguous_mut(), Door::default());
    let Asked::Upgrade(request, len) = asked else {
        panic!("{asked:?}");
    };
    assert_eq!(len, UPGRADE.len());
    let upgrade = Upgrade::of(&request).unwrap();
    let none: &[(&str, &str)] = &[];
    session
        .accept_upgrade(env, secs(4), &upgrade, None, none)
        .unwrap();
    assert_eq!(session.phase(), Phase::Open);
    // Its time of silence begins now.
    assert_eq!(session.heartbeat().last_proof(secs(4)), Micros::ZERO);
}

#[test]
fn a_session_without_requests_opens_when_it_is_admitted() {
    let mut bench = Bench::waiting(Wire::Line, secs(1), b"", Awaited::Verdict);
    bench.session.admit(&mut bench.env, secs(4));
    assert_eq!(bench.session.phase(), Phase::Open);
    assert!(bench.session.was_open() && !bench.session.is_paused());
    assert_eq!(bench.session.heartbeat().last_proof(secs(4)), Micros::ZERO);
    assert_eq!(bench.feed(secs(5), b"hello\n"), [text("hello")]);
}

#[test]
fn the_end_of_input_ends_a_websocket_that_waits_and_not_who_may_still_read_an_answer() {
    let mut bench = Bench::waiting(Wire::WebSocket, secs(1), UPGRADE, Awaited::Verdict);
    bench.session.handle_eof(&bench.env, secs(2));
    let end = bench.end(secs(2), SocketAction::Close);
    assert_eq!(end, (Cause::PeerEof, false));
    let mut bench = Bench::waiting(Wire::WebSocket, secs(1), HEAD, Awaited::Answer);
    bench.session.handle_eof(&bench.env, secs(2));
    assert_eq!(bench.session.awaited(), Some(Awaited::Answer));
    // Nobody answers: the end was read before.
    assert_eq!(bench.due(secs(5)), Due::Changed);
    assert!(bench.says(secs(5)).starts_with("HTTP/1.1 503 "));
    assert_eq!(bench.session.socket_action(), SocketAction::ResumeReading);
    let end = bench.end(secs(5), SocketAction::Close);
    assert_eq!(end.0, Cause::HandshakeTimeout);
}

/// `printf 'hello' | nc`: the end says that all of it has come.
#[test]
fn who_ended_its_output_on_another_wire_is_let_in_rejected_or_told_in_time() {
    let waiting = || {
        let mut bench = Bench::waiting(Wire::Line, secs(1), b"", Awaited::Verdict);
        bench.session.handle_eof(&bench.env, secs(2));
        assert_eq!(bench.session.awaited(), Some(Awaited::Verdict));
        assert_eq!(bench.ends_at(secs(2)), Micros::from_secs(5));
        bench
    };
    let mut bench = waiting();
    bench.session.admit(&mut bench.env, secs(4));
    assert_eq!(bench.feed(secs(4), b"hello\n"), [text("hello")]);
    bench.send(secs(4), Message::text("there")).unwrap();
    bench.session.handle_eof(&bench.env, secs(4));
    assert_eq!(bench.flush(secs(4)), b"there\n");
    assert_eq!(
        bench.end(secs(4), SocketAction::Close),
        (Cause::PeerEof, true)
    );
    let mut bench = waiting();
    bench.session.end(secs(4), Cause::Refused, None);
    let end = bench.end(secs(4), SocketAction::Close);
    assert_eq!(end.0, Cause::Refused);
    let mut bench = waiting();
    assert_eq!(bench.due(secs(5)), Due::Changed);
    assert_eq!(bench.session.socket_action(), SocketAction::ResumeReading);
    let end = bench.end(secs(5), SocketAction::Close);
    assert_eq!(end, (Cause::HandshakeTimeout, false));
    assert_eq!(bench.session.reason(), WHY);
}

#[test]
fn who_waits_is_sent_away_in_an_orderly_way_when_we_go() {
    for cause in [Cause::Drain, Cause::LocalClose] {
        let says = [(Wire::WebSocket, UPGRADE), (Wire::Line, b"")];
        for (wire, says) in says {
            let is_websocket = !says.is_empty();
            let mut bench = Bench::waiting(wire, secs(1), says, Awaited::Verdict);
            let (session, env) = (&mut bench.session, &mut bench.env);
            match cause {
                Cause::Drain => session.close(env, secs(2), cause, None, "going away"),
                _ => session.leave(env, secs(2), cause),
            }
            let answer = bench.says(secs(2));
            assert_eq!(answer.starts_with("HTTP/1.1 503 "), is_websocket);
            assert_eq!(answer.is_empty(), !is_websocket);
            let first = bench.session.socket_action();
            assert_eq!(first, SocketAction::ResumeReading);
            let second = bench.session.socket_action();
            assert_eq!(second, SocketAction::ShutdownWrite);
            assert_eq!(bench.session.cause(), Some(cause));
        }
    }
}

/// A dialed connection has the handshake timeout from when it was established.
#[test]
fn a_client_that_waits_ends_in_time_too() {
    let mut bench = Bench::dialed(Wire::Line);
    let (session, env) = (&mut bench.session, &mut bench.env);
    session.handle_connected(env, secs(4), b"");
    session.defer(env, secs(4), Awaited::Verdict);
    assert_eq!(bench.ends_at(secs(4)), Micros::from_secs(9));
    assert_eq!(bench.due(secs(9)), Due::Changed);
    assert_eq!(bench.session.reason(), WHY);
    let end = bench.end(secs(9), SocketAction::Close);
    assert_eq!(end, (Cause::HandshakeTimeout, false));
}

#[test]
fn nothing_is_awaited_of_an_open_websocket() {
    let mut bench = Bench::new(Wire::WebSocket);
    bench.session.defer(&bench.env, secs(1), Awaited::Verdict);
    assert_eq!(bench.session.phase(), Phase::Open);
    assert_eq!(bench.session.awaited(), None);
}
