//! Sessions on virtual time, driven as the shell drives them. Unless a test says otherwise: interval
//! 10 s, timeout 25 s, write 10 s, handshake 5 s, close 3 s, no slack, tick 10 ms.

use std::io::IoSlice;
use std::time::Duration;

use super::*;
use crate::close::{CloseCode, KernelFigures, Rtt, Side};
use crate::config::{HeartbeatConfig, LimitsConfig, Overflow, PingWhen, Proof};
use crate::dice::Dice;
use crate::error::{ProtocolError, SendError};
use crate::proto::codec::{Decoded, Encoding, Pongs, Rules};
use crate::proto::message::{Message, SharedMessage};
use crate::proto::policy::Policy;
use crate::proto::received::Received;
use crate::proto::websocket::{Opcode, close_body, encode};
use crate::proto::wire::{EncodeError, MessageKind, Payload};
use crate::sizes::sizes;

mod beat;
mod deferral;
#[cfg(feature = "deflate")]
mod deflate;
mod drain;
mod ends;
mod expiry;
mod greeting;
mod opening;
mod own;
mod plain;
mod rates;
mod timer;

/// What the application was told.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Text(String),
    Bytes(Vec<u8>),
    Pong(Option<Micros>),
}

fn text(text: &str) -> Heard {
    Heard::Text(text.to_owned())
}

/// One session and its surroundings.
struct Bench {
    env: Env,
    session: Session,
}

impl Bench {
    /// Accepts a connection at time zero; a WebSocket has its handshake behind it.
    fn new(wire: Wire) -> Self {
        Self::with(wire, |_, _| {})
    }

    fn with(wire: Wire, change: impl FnOnce(&mut HeartbeatConfig, &mut LimitsConfig)) -> Self {
        let mut bench = Self::accepted(wire, change);
        if bench.session.phase() == Phase::Handshaking {
            bench.session.handle_handshake(&mut bench.env, secs(0), b"");
        }
        bench
    }

    fn accepted(wire: Wire, change: impl FnOnce(&mut HeartbeatConfig, &mut LimitsConfig)) -> Self {
        let (mut env, policy) = surroundings(&wire, change);
        let session = Session::accepted(&mut env, policy, wire, PingPhase::ZERO, secs(0));
        Self { env, session }
    }

    fn dialed(wire: Wire) -> Self {
        let (mut env, policy) = surroundings(&wire, |_, _| {});
        let session = Session::dialed(&mut env, policy, wire, PingPhase::ZERO, secs(0));
        Self { env, session }
    }

    /// Dials a WebSocket, with its handshake done at time zero.
    fn client() -> Self {
        let mut bench = Self::dialed(Wire::WebSocket);
        bench.session.handle_connected(&mut bench.env, secs(0), b"");
        bench.session.handle_handshake(&mut bench.env, secs(0), b"");
        bench
    }

    /// Changes the policy of the session.
    fn set_policy(
        &mut self,
        now: Moment,
        change: impl FnOnce(&mut HeartbeatConfig, &mut LimitsConfig),
    ) {
        let policy = policy(self.session.wire(), change);
        self.session.set_policy(&mut self.env, now, policy).unwrap();
    }

    /// Reads `bytes` as the shell does, in one piece.
    fn feed(&mut self, now: Moment, bytes: &[u8]) -> Vec<Heard> {
        let mut input = self.session.take_input(&mut self.env);
        input.extend(bytes, &mut self.env.pool);
        self.session.handle_bytes(&mut self.env, now, bytes.len());
        let mut heard = Vec::new();
        while !self.session.is_paused() {
            let waiting = input.contiguous_mut();
            let (consumed, event) = self.session.decode(&mut self.env, now, waiting);
            match event {
                Event::NeedMore => {
                    input.consume(consumed);
                    break;
                }
                Event::Consumed | Event::Inflating => {}
                Event::Pong { rtt } => heard.push(Heard::Pong(rtt)),
                Event::Message { kind, payload } => {
                    let data = match payload {
                        Payload::Input(range) => waiting[range].to_vec(),
                        Payload::Assembled => self.session.take_assembled(),
                    };
                    heard.push(match kind {
                        MessageKind::Text => Heard::Text(String::from_utf8(data).unwrap()),
                        MessageKind::Binary => Heard::Bytes(data),
                    });
                }
            }
            input.consume(consumed);
        }
        self.session.put_input(&mut self.env, input);
        self.session.release(&mut self.env);
        heard
    }

    /// Ends the session because its output was offered once more and refused.
    fn stall(&mut self, now: Moment) {
        assert_eq!(self.due(now), Due::Stalled);
        assert!(self.session.is_stalled(&self.env, now));
        self.session.stall(&self.env, now);
    }

    /// Lets the loop be late for some seconds.
    fn late(&mut self, from: u64, to: u64) {
        self.env.lateness.be_late(secs(from).at, secs(to).at);
    }

    /// Writes all output and returns it.
    fn flush(&mut self, now: Moment) -> Vec<u8> {
        self.flush_some(now, usize::MAX)
    }

    /// Writes at most `most` bytes of output and returns them.
    fn flush_some(&mut self, now: Moment, most: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while out.len() < most {
            let mut slices = [IoSlice::new(&[]); 4];
            let count = self.session.slices(&mut slices);
            if count == 0 {
                break;
            }
            let mut piece: Vec<u8> = slices[..count]
                .iter()
                .flat_map(|slice| slice.to_vec())
                .collect();
            piece.truncate(most - out.len());
            self.session.handle_written(&mut self.env, now, piece.len());
            out.extend(piece);
        }
        self.session.release(&mut self.env);
        out
    }

    fn due(&mut self, now: Moment) -> Due {
        self.session
            .handle_timeout(&mut self.env, now, Backlog::None)
    }

    /// Expects a ping to be due, writes it and returns what was written.
    fn ping(&mut self, now: Moment) -> Vec<u8> {
        assert_eq!(self.due(now), Due::Changed, "at {now:?}");
        let written = self.flush(now);
        assert!(!written.is_empty());
        assert!(matches!(self.due(now), Due::Wait(_)));
        written
    }

    fn send(&mut self, now: Moment, message: Message<'_>) -> Result<(), SendError> {
        self.session.send(&mut self.env, now, message)
    }

    fn close(&mut self, now: Moment, cause: Cause) {
        self.session.close(&mut self.env, now, cause, None, "bye");
    }

    fn evidence(&self, now: Moment) -> Evidence {
        self.session.evidence(now)
    }

    /// Expects the session to be over and returns the cause, and whether the end was clean.
    fn end(&mut self, now: Moment, action: SocketAction) -> (Cause, bool) {
        assert_eq!(self.session.socket_action(), action);
        assert_eq!(self.session.phase(), Phase::Closed);
        assert_eq!(self.session.poll_deadline(&self.env, now), Micros::MAX);
        assert_eq!(self.due(now), Due::Wait(Micros::MAX));
        let evidence = self.evidence(now);
        assert_eq!(self.session.cause(), Some(evidence.cause));
        (evidence.cause, evidence.clean)
    }
}

fn policy(wire: WireKind, change: impl FnOnce(&mut HeartbeatConfig, &mut LimitsConfig)) -> Policy {
    let mut heartbeat = HeartbeatConfig {
        ping_slack: Some(Duration::ZERO),
        ..HeartbeatConfig::tcp()
    };
    if wire == WireKind::Raw {
        heartbeat.interval = None;
    }
    let mut limits = LimitsConfig::default();
    change(&mut heartbeat, &mut limits);
    Policy::new(&heartbeat, &limits, wire, Duration::from_millis(10)).unwrap()
}

fn surroundings(
    wire: &Wire,
    change: impl FnOnce(&mut HeartbeatConfig, &mut LimitsConfig),
) -> (Env, PolicyId) {
    let mut env = Env::new(Box::new(Dice::new(1)));
    let policy = env.intern(policy(wire.kind(), change)).unwrap();
    (env, policy)
}

fn secs(secs: u64) -> Moment {
    ms(secs * 1_000)
}

fn ms(millis: u64) -> Moment {
    Moment::on_time(Micros::from_millis(millis))
}

fn wait(secs: u64) -> Due {
    Due::Wait(Micros::from_secs(secs))
}

/// A frame as a client sends it.
fn masked(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    fragment(true, opcode, payload)
}

fn fragment(fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode(fin, opcode, payload, Some([1, 2, 3, 4]), &mut out);
    out
}

/// A frame as a server sends it.
fn plain(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode(true, opcode, payload, None, &mut out);
    out
}

fn close_frame(code: u16) -> Vec<u8> {
    masked(Opcode::Close, &close_body(CloseCode::new(code), "so long"))
}

/// Returns the code of the one Close frame of a server's that `bytes` are.
fn sent_close_code(bytes: &[u8]) -> u16 {
    assert_eq!(bytes[0], 0x88, "{bytes:02x?}");
    assert_eq!(usize::from(bytes[1]), bytes.len() - 2);
    u16::from_be_bytes([bytes[2], bytes[3]])
}

// Phases before the connection is open.

#[test]
fn line_binary_raw_and_own_wires_are_open_at_once() {
    let own = Wire::Own(Box::new(Quads::default()));
    for wire in [Wire::Line, Wire::Binary, Wire::Raw, own] {
        let bench = Bench::accepted(wire, |_, _| {});
        assert_eq!(bench.session.phase(), Phase::Open);
        assert!(bench.session.was_open());
    }
}

#[test]
fn a_websocket_is_open_after_its_handshake_and_silence_counts_from_then() {
    let mut bench = Bench::accepted(Wire::WebSocket, |_, _| {});
    assert_eq!(bench.session.phase(), Phase::Handshaking);
    assert!(!bench.session.was_open());
    assert_eq!(bench.evidence(secs(1)).last_proof, None);
    bench
        .session
        .handle_handshake(&mut bench.env, secs(4), b"response");
    assert_eq!(bench.session.phase(), Phase::Open);
    assert_eq!(bench.flush(secs(4)), b"response");
    bench.ping(secs(10));
    bench.ping(secs(20));
    assert_eq!(bench.due(secs(28)), wait(29));
    assert_eq!(bench.due(secs(29)), Due::Silent);
}

#[test]
fn a_ping_does_not_overtake_the_handshake() {
    let mut bench = Bench::accepted(Wire::WebSocket, |_, _| {});
    bench
        .session
        .handle_handshake(&mut bench.env, secs(4), b"response");
    bench.session.ping(&mut bench.env, secs(4));
    bench.feed(secs(4), &masked(Opcode::Ping, b"hasty"));
    bench.send(secs(4), Message::text("welcome")).unwrap();
    let written = bench.flush(secs(4));
    assert!(
        written.starts_with(b"response\x8a\x05hasty\x89\x04"),
        "{written:02x?}"
    );
    assert!(written.ends_with(b"\x81\x07welcome"));
}

#[test]
fn f11_bytes_do_not_extend_the_handshake_timeout() {
    let mut bench = Bench::accepted(Wire::WebSocket, |_, _| {});
    for at in 1..5 {
        bench.session.handle_bytes(&mut bench.env, secs(at), 1);
        assert_eq!(bench.due(secs(at)), wait(5));
    }
    assert_eq!(bench.due(secs(5)), Due::Changed);
    assert!(bench.flush(secs(5)).starts_with(b"HTTP/1.1 408 "));
    assert_eq!(bench.session.socket_action(), SocketAction::ShutdownWrite);
    assert_eq!(bench.session.socket_action(), SocketAction::Keep);
    bench.session.handle_eof(&bench.env, secs(6));
    assert_eq!(
        bench.end(secs(6), SocketAction::Close),
        (Cause::HandshakeTimeout, false)
    );
    assert_eq!(bench.evidence(secs(6)).phase, Phase::Handshaking);
    assert!(!bench.session.was_open());
}

#[test]
fn the_handshake_timeout_is_forgiven_for_our_lateness() {
    let mut bench = Bench::accepted(Wire::WebSocket, |_, _| {});
    bench.late(1, 3);
    bench.late(3, 4);
    assert_eq!(bench.due(secs(5)), wait(7));
    assert_eq!(bench.due(secs(7)), Due::Changed);
    assert_eq!(bench.evidence(secs(7)).forgiveness, Duration::from_secs(2));
}

#[test]
fn a_deadline_is_put_off_by_its_own_length_at_most() {
    for (cause, begin) in [
        (Cause::ConnectTimeout, Bench::dialed(Wire::WebSocket)),
        (
            Cause::HandshakeTimeout,
            Bench::accepted(Wire::WebSocket, |_, _| {}),
        ),
    ] {
        let mut bench = begin;
        // At its time, after 5 s, the loop was late.
        bench.late(1, 61);
        assert_eq!(bench.due(secs(61)), wait(66));
        assert_eq!(bench.due(ms(65_999)), wait(66));
        assert_eq!(bench.due(secs(66)), Due::Changed);
        assert_eq!(bench.session.cause(), Some(cause));
    }
}

#[test]
fn the_close_timeout_is_forgiven_since_the_last_byte() {
    let mut bench = Bench::new(Wire::WebSocket);
    bench.close(secs(1), Cause::LocalClose);
    bench.late(1, 2);
    bench.flush(secs(2));
    // Half a second after the last byte was accepted: 5 becomes 5.5, and not 6.
    bench.env.lateness.be_late(ms(3_000).at, ms(3_500).at);
    // Nothing is owed behind our Close, and talk changes nothing.
    bench.feed(ms(3_500), &masked(Opcode::Ping, b"hi"));
    assert_eq!(bench.due(secs(5)), Due::Wait(ms(5_500).at));
    assert_eq!(bench.due(ms(5_500)), Due::Changed);
    assert_eq!(bench.session.cause(), Some(Cause::CloseTimeout));
}

#[test]
fn the_close_timeout_holds_where_a_stop_puts_off_the_total_of_a_goodbye() {
    let mut bench = Bench::new(Wire::WebSocket);
    bench.close(secs(1), Cause::LocalClose);
    // The total, 300 s, falls within the stop and is put off to 700 s. What was said leaves after it.
    bench.late(1, 400);
    bench.flush(secs(401));
    assert_eq!(bench.due(secs(401)), wait(404));
    assert_eq!(bench.due(secs(404)), Due::Changed);
    assert_eq!(bench.session.cause(), Some(Cause::CloseTimeout));
}

#[test]
fn the_total_of_a_message_is_forgiven_once_and_its_rate_in_full() {
    let slow = |floor| {
        let mut bench = Bench::with(Wire::Binary, |heartbeat, limits| {
            heartbeat.timeout = None;
            heartbeat.interval = None;
            limits.slow_floor = floor;
            limits.slow_grace = Duration::from_secs(10);
            limits.message_timeout = Some(Duration::from_secs(30));
        });
        bench.feed(secs(1), &[0, 0, 1, 0, 0, 1, 2, 3]);
        for second in 2..6 {
            bench.late(second, second + 1);
        }
        bench
    };
    let mut bench = slow(0);
    assert_eq!(bench.due(secs(31)), wait(32));
    assert_eq!(bench.due(secs(32)), Due::Changed);
    assert_eq!(bench.session.cause(), Some(Cause::SlowPeer));
    let mut bench = slow(1_024);
    assert_eq!(bench.due(secs(11)), wait(15));
    assert_eq!(bench.due(secs(15)), Due::Changed);
    assert_eq!(bench.session.cause(), Some(Cause::SlowPeer));
}

#[test]
fn a_dialed_connection_connects_then_shakes_hands_each_in_its_time() {
    let mut bench = Bench::dialed(Wire::WebSocket);
    assert_eq!(bench.due(secs(4)), wait(5));
    bench
        .session
        .handle_connected(&mut bench.env, secs(4), b"request");
    assert_eq!(bench.flush(secs(4)), b"request");
    assert!(bench.session.take_rearm());
    assert_eq!(bench.due(secs(8)), wait(9));
    assert_eq!(bench.due(secs(9)), Due::Changed);
    assert_eq!(
        bench.end(secs(9), SocketAction::Close),
        (Cause::HandshakeTimeout, false)
    );
}

#[test]
fn connecting_takes_at_most_its_timeout() {
    let mut bench = Bench::dialed(Wire::Line);
    assert_eq!(bench.due(secs(5)), Due::Changed);
    assert_eq!(
        bench.end(secs(5), SocketAction::Close),
        (Cause::ConnectTimeout, false)
    );
    assert_eq!(bench.evidence(secs(5)).phase, Phase::Connecting);
}

#[test]
fn a_refusal_is_flushed_before_the_end() {
    let mut bench = Bench::accepted(Wire::WebSocket, |_, _| {});
    bench.session.refuse(
        &mut bench.env,
        secs(1),
        Cause::Refused,
        "no room",
        b"HTTP/1.1 503 no\r\n\r\n",
    );
    assert_eq!(bench.session.socket_action(), SocketAction::Keep);
    assert_eq!(bench.session.reason(), "no room");
    assert_eq!(bench.flush(secs(1)), b"HTTP/1.1 503 no\r\n\r\n");
    assert_eq!(bench.feed(secs(1), b"more of the request"), []);
    assert_eq!(bench.session.socket_action(), SocketAction::ShutdownWrite);
    assert_eq!(bench.due(secs(3)), wait(4));
    assert_eq!(bench.due(secs(4)), Due::Changed);
    assert_eq!(
        bench.end(secs(4), SocketAction::Close),
        (Cause::Refused, false)
    );
}

#[test]
fn the_end_of_input_before_the_handshake_is_peer_eof() {
    let mut bench = Bench::accepted(Wire::WebSocket, |_, _| {});
    bench.session.handle_eof(&bench.env, secs(1));
    assert_eq!(
        bench.end(secs(1), SocketAction::Close),
        (Cause::PeerEof, false)
    );
}

// Heartbeats over each wire.

#[test]
fn a_websocket_ping_has_a_token_and_its_pong_a_round_trip() {
    let mut bench = Bench::new(Wire::WebSocket);
    let ping = bench.ping(secs(10));
    assert_eq!((ping.len(), &ping[..2]), (6, &b"\x89\x04"[..]));
    let heard = bench.feed(ms(10_250), &masked(Opcode::Pong, &ping[2..]));
    assert_eq!(heard, [Heard::Pong(Some(Micros::from_millis(250)))]);
    let rtt = bench.evidence(secs(11)).rtt;
    assert_eq!(
        rtt,
        Some(Rtt {
            last: Duration::from_millis(250),
            min: Duration::from_millis(250),
            smoothed: Duration::from_millis(250)
        })
    );
    let stats = bench.env.stats();
    assert_eq!(
        (stats.pings_due, stats.pings_written, stats.pongs_matched),
        (1, 1, 1)
    );
}

#[test]
fn a_client_masks_its_pings_each_with_another_mask() {
    let mut bench = Bench::client();
    let mut masks = Vec::new();
    for at in [10, 20] {
        let ping = bench.ping(secs(at));
        assert_eq!((ping.len(), &ping[..2]), (10, &b"\x89\x84"[..]));
        let token: Vec<u8> = (0..4).map(|i| ping[2 + i] ^ ping[6 + i]).collect();
        let heard = bench.feed(secs(at), &plain(Opcode::Pong, &token));
        assert_eq!(heard, [Heard::Pong(Some(Micros::ZERO))]);
        masks.push(ping[2..6].to_vec());
    }
    assert_ne!(masks[0], masks[1]);
}

#[test]
fn a_client_refuses_masked_frames() {
    let mut bench = Bench::client();
    bench.feed(secs(1), &masked(Opcode::Text, b"hi"));
    assert_eq!(bench.session.cause(), Some(Cause::ProtocolError));
}

#[test]
fn line_and_binary_pongs_match_in_order() {
    for (wire, ping, pong) in [
        (Wire::Line, &b"PING\n"[..], &b"PONG\n"[..]),
        (Wire::Binary, &b"\x01"[..], &b"\x02"[..]),
    ] {
        let mut bench = Bench::new(wire);
        assert_eq!(bench.ping(secs(10)), ping);
        assert_eq!(
            bench.feed(secs(11), pong),
            [Heard::Pong(Some(Micros::from_secs(1)))]
        );
        assert_eq!(bench.feed(secs(12), pong), []);
        assert_eq!(bench.env.stats().pongs_unsolicited, 1);
    }
}

#[test]
fn a_raw_wire_sends_nothing_by_itself_and_ends_as_silent() {
    let mut bench = Bench::new(Wire::Raw);
    assert_eq!(bench.feed(secs(3), b"any"), [Heard::Bytes(b"any".to_vec())]);
    assert_eq!(bench.due(secs(27)), wait(28));
    assert_eq!(bench.due(secs(28)), Due::Silent);
    assert_eq!(bench.flush(secs(28)), b"");
    assert!(bench.session.is_silent(&bench.env, secs(28)));
    assert_eq!(
        bench.session.judge(&mut bench.env, secs(28), None),
        Cause::Silent
    );
    assert_eq!(
        bench.end(secs(28), SocketAction::Reset),
        (Cause::Silent, false)
    );
}

#[test]
fn f48_with_the_interval_off_a_silent_client_ends_at_the_timeout() {
    let mut bench = Bench::with(Wire::WebSocket, |heartbeat, _| heartbeat.interval = None);
    for at in [5, 10, 15] {
        bench.feed(secs(at), &masked(Opcode::Ping, b""));
        assert_eq!(bench.flush(secs(at)), b"\x8a\x00");
    }
    assert_eq!(bench.due(secs(39)), wait(40));
    assert_eq!(bench.due(secs(40)), Due::Silent);
    assert_eq!(
        bench.session.judge(&mut bench.env, secs(40), None),
        Cause::Silent
    );
}

#[test]
fn a_read_that_finds_bytes_calls_the_verdict_off() {
    let mut bench = Bench::new(Wire::Line);
    bench.ping(secs(10));
    bench.ping(secs(20));
    assert_eq!(bench.due(secs(25)), Due::Silent);
    bench.feed(secs(25), b"P");
    assert!(!bench.session.is_silent(&bench.env, secs(25)));
    assert_eq!(bench.due(secs(25)), wait(30));
}

#[test]
fn a_ping_just_queued_is_not_write_stalled() {
    let mut bench = Bench::with(Wire::Line, |heartbeat, _| {
        heartbeat.ping_when = PingWhen::Idle;
        heartbeat.timeout = Some(Duration::from_secs(15));
    });
    bench.feed(secs(1), b"hello\n");
    assert_eq!(bench.due(secs(10)), wait(16));
    assert_eq!(bench.due(secs(16)), wait(20));
    assert_eq!(bench.due(secs(20)), Due::Changed);
    assert_eq!(bench.due(secs(20)), wait(25));
    assert_eq!(bench.flush(secs(20)), b"PING\n");
    assert_eq!(bench.due(secs(25)), Due::Silent);
    assert_eq!(
        bench.session.judge(&mut bench.env, secs(25), None),
        Cause::PongTimeout
    );
}

#[test]
fn a_slow_reader_of_a_large_frame_is_not_dead() {
    let mut bench = Bench::new(Wire::WebSocket);
    bench.send(secs(1), Message::binary(&[5; 60_000])).unwrap();
    for at in 1..35 {
        assert_eq!(bench.flush_some(secs(at), 1_700).len(), 1_700);
        while bench.due(secs(at)) == Due::Changed {}
        if at == 25 {
            assert_eq!(bench.due(secs(25)), Due::Silent);
            assert!(bench.session.spare_slow(&bench.env, secs(25), None));
        }
        assert!(matches!(bench.due(secs(at)), Due::Wait(_)), "at {at}");
    }
    // The frame ends, the ping behind it is written and has T - I to be answered.
    let rest = bench.flush(secs(34));
    assert_eq!(rest[rest.len() - 6..][..2], *b"\x89\x04");
    assert_eq!(bench.due(secs(48)), Due::Changed);
    bench.feed(secs(48), &masked(Opcode::Pong, &rest[rest.len() - 4..]));
    assert_eq!(bench.evidence(secs(48)).pings_answered, 1);
}

#[test]
fn a_later_ping_on_its_way_does_not_make_a_silent_peer_slow() {
    let mut bench = Bench::new(Wire::Line);
    bench.ping(secs(10));
    bench.ping(secs(20));
    assert_eq!(bench.due(secs(25)), Due::Silent);
    // The first ping was acknowledged after it was written; the second has not arrived yet.
    let kernel = KernelFigures {
        unacked: 1,
        queued: 5,
        window: 65_535,
        last_ack: Duration::from_millis(14_900),
        ..KernelFigures::default()
    };
    assert!(
        !bench
            .session
            .spare_slow(&bench.env, secs(25), Some(&kernel))
    );
}

#[test]
fn a_ping_by_hand_is_none_that_the_grid_called_for() {
    let mut bench = Bench::new(Wire::Line);
    bench.session.ping(&mut bench.env, secs(1));
    bench.session.ping(&mut bench.env, secs(1));
    assert_eq!(bench.flush(secs(1)), b"PING\n");
    let evidence = bench.evidence(secs(1));
    assert_eq!((evidence.pings_due, evidence.pings_written), (0, 1));
    let stats = bench.env.stats();
    assert_eq!((stats.pings_due, stats.pings_written), (0, 1));
}

#[test]
fn f42_a_peer_that_only_answers_pings_is_never_silent() {
    let mut bench = Bench::new(Wire::Line);
    for at in 1..1_000 {
        bench.ping(secs(at * 10));
        bench.feed(ms(at * 10_000 + 200), b"PONG\n");
    }
    let evidence = bench.evidence(secs(9_991));
    assert_eq!((evidence.pings_due, evidence.pings_answered), (999, 999));
}

#[test]
fn the_evidence_tells_what_was_known_at_the_verdict() {
    let mut bench = Bench::new(Wire::WebSocket);
    let ping = bench.ping(secs(10));
    bench.feed(secs(11), &masked(Opcode::Pong, &ping[2..]));
    let late = |at| Moment {
        delay: Micros::from_millis(7),
        ..secs(at)
    };
    bench.late(12, 16);
    bench.ping(late(20));
    bench.ping(late(30));
    assert_eq!(bench.due(late(40)), Due::Silent);
    let kernel = KernelFigures {
        unacked: 2,
        retransmits: 3,
        window: 500,
        ..KernelFigures::default()
    };
    assert_eq!(
        bench.session.judge(&mut bench.env, late(40), Some(kernel)),
        Cause::PathDead
    );
    // Asked for a second later, in a turn that is on time, it tells all as of the verdict.
    let evidence = bench.session.evidence(secs(41));
    assert_eq!(
        evidence,
        Evidence {
            cause: Cause::PathDead,
            phase: Phase::Open,
            errno: None,
            close_code: None,
            clean: false,
            age: Duration::from_secs(40),
            last_in: Some(Duration::from_secs(29)),
            last_out: Some(Duration::from_secs(10)),
            last_proof: Some(Duration::from_secs(29)),
            pings_due: 3,
            pings_written: 3,
            pings_answered: 1,
            rtt: Some(Rtt {
                last: Duration::from_secs(1),
                min: Duration::from_secs(1),
                smoothed: Duration::from_secs(1)
            }),
            bytes_queued: 0,
            bytes_dropped: 0,
            bytes_unfinished: None,
            forgiveness: Duration::from_secs(4),
            loop_delay: Duration::from_millis(7),
            kernel: Some(kernel),
        }
    );
    assert_eq!(evidence.side(), Side::Path);
}

#[test]
fn output_that_stalls_because_nothing_is_acknowledged_is_a_dead_path() {
    let mut bench = Bench::new(Wire::Line);
    for (window, cause) in [(100, Cause::PathDead), (0, Cause::WriteStalled)] {
        bench
            .session
            .send(&mut bench.env, secs(1), Message::text("hello"))
            .unwrap();
        bench.session.handle_blocked();
        bench.stall(secs(11));
        let kernel = KernelFigures {
            unacked: 1,
            retransmits: 2,
            window,
            ..KernelFigures::default()
        };
        bench.session.handle_kernel_figures(kernel);
        let evidence = bench.evidence(secs(11));
        assert_eq!((evidence.cause, evidence.kernel), (cause, Some(kernel)));
        bench = Bench::new(Wire::Line);
    }
}

#[test]
fn a_path_that_the_kernel_gave_up_has_a_number_and_no_figures() {
    let mut bench = Bench::new(Wire::Line);
    bench.session.handle_path_error(secs(2), Some(110));
    bench
        .session
        .handle_kernel_figures(KernelFigures::default());
    let evidence = bench.evidence(secs(2));
    assert_eq!(
        (evidence.cause, evidence.errno),
        (Cause::PathDead, Some(110))
    );
    assert_eq!(evidence.kernel, None);
}

// Reading paused.

#[test]
fn f49_paused_reading_with_waiting_data_is_not_silence() {
    let mut bench = Bench::new(Wire::Line);
    bench.session.handle_pause(secs(1));
    assert!(bench.session.is_paused());
    bench.ping(secs(10));
    bench.ping(secs(20));
    assert_eq!(bench.due(secs(25)), Due::Silent);
    bench.session.handle_waiting_bytes(&bench.env, secs(25));
    assert!(!bench.session.is_silent(&bench.env, secs(25)));
    assert_eq!(bench.due(secs(25)), wait(30));
    bench.session.handle_resume(secs(28));
    assert!(!bench.session.is_paused());
    assert_eq!(bench.feed(secs(28), b"hello\n"), [text("hello")]);
}

#[test]
fn the_end_of_a_pause_asks_once_for_reading_whoever_ends_it() {
    let ways: [fn(&mut Bench); 3] = [
        |bench| bench.session.handle_resume(secs(2)),
        |bench| bench.close(secs(2), Cause::LocalClose),
        |bench| bench.close(secs(2), Cause::SendQueueFull),
    ];
    for end in ways {
        let mut bench = Bench::new(Wire::WebSocket);
        bench.session.handle_pause(secs(1));
        assert_eq!(bench.session.socket_action(), SocketAction::Keep);
        end(&mut bench);
        assert!(bench.session.wants_flush());
        assert_eq!(bench.session.socket_action(), SocketAction::ResumeReading);
        assert_eq!(bench.session.socket_action(), SocketAction::Keep);
    }
}

#[test]
fn a_pause_taken_back_before_the_opening_asks_for_nothing() {
    let mut bench = Bench::accepted(Wire::WebSocket, |_, _| {});
    bench.session.handle_pause(secs(0));
    bench.session.handle_resume(secs(1));
    assert_eq!(bench.session.socket_action(), SocketAction::Keep);
}

#[test]
fn an_unfinished_message_is_not_slow_while_reading_is_paused() {
    let mut bench = Bench::new(Wire::Binary);
    bench.feed(secs(1), b"\x00\x00\x00\x20\x00begin");
    bench.session.handle_pause(secs(1));
    bench.ping(secs(10));
    assert_eq!(bench.due(secs(19)), wait(20));
    bench.session.handle_resume(secs(19));
    assert!(bench.session.take_rearm());
    bench.ping(secs(20));
    // The grace of 10 s counts from the resumption: silence comes first, at 26.
    assert_eq!(bench.due(secs(25)), wait(26));
    bench.feed(secs(25), b"x");
    assert_eq!(bench.due(secs(28)), wait(29));
    assert_eq!(bench.due(secs(29)), Due::Changed);
    assert_eq!(bench.session.cause(), Some(Cause::SlowPeer));
}

// Output.

#[test]
fn f4_output_without_progress_ends_as_write_stalled() {
    let mut bench = Bench::new(Wire::Line);
    bench.send(secs(3), Message::text("hello")).unwrap();
    assert_eq!(bench.flush_some(secs(4), 2), b"he");
    bench.session.handle_blocked();
    assert!(bench.session.take_rearm());
    assert_eq!(bench.due(secs(10)), Due::Changed);
    assert_eq!(bench.due(secs(13)), wait(14));
    bench.feed(secs(13), b"still here\n");
    bench.stall(secs(14));
    assert_eq!(
        bench.end(secs(14), SocketAction::Reset),
        (Cause::WriteStalled, false)
    );
    assert_eq!(
        bench.evidence(secs(14)).bytes_queued,
        9,
        "llo, a line feed and the ping"
    );
}

#[test]
fn a_ping_that_gets_through_at_last_brings_the_deadline_forward() {
    let mut bench = Bench::new(Wire::Binary);
    bench.send(secs(9), Message::binary(&[7; 100])).unwrap();
    bench.flush_some(secs(9), 50);
    bench.session.handle_blocked();
    assert_eq!(bench.due(secs(10)), Due::Changed);
    assert_eq!(bench.flush_some(secs(11), 10).len(), 10);
    assert_eq!(bench.due(secs(20)), Due::Changed);
    assert_eq!(bench.flush_some(secs(20), 10).len(), 10);
    assert_eq!(bench.due(secs(25)), Due::Silent);
    assert!(bench.session.spare_slow(&bench.env, secs(25), None));
    assert_eq!(bench.due(secs(25)), wait(30));
    bench.session.take_rearm();
    assert!(bench.flush(secs(26)).ends_with(b"\x01"));
    assert!(
        bench.session.take_rearm(),
        "the ping has no more time than others"
    );
}

#[test]
fn a_ping_outside_the_grid_may_bring_the_deadline_forward() {
    let mut bench = Bench::with(Wire::Line, |heartbeat, _| {
        heartbeat.timeout = Some(Duration::from_secs(15));
        heartbeat.ping_when = PingWhen::Idle;
    });
    bench.feed(secs(9), b"hello\n");
    assert_eq!(bench.due(secs(10)), wait(20));
    bench.session.take_rearm();
    bench.session.ping(&mut bench.env, secs(12));
    bench.flush(secs(12));
    assert!(bench.session.take_rearm());
    // Five seconds for the answer are over at 17, the timeout at 24; the next grid point is 20.
    assert_eq!(bench.due(secs(13)), wait(20));
    bench.ping(secs(20));
    assert_eq!(bench.due(secs(24)), Due::Silent);
}

#[test]
fn progress_of_output_extends_the_write_timeout() {
    let mut bench = Bench::with(Wire::Raw, |heartbeat, _| heartbeat.timeout = None);
    bench.send(secs(0), Message::binary(&[7; 100])).unwrap();
    for at in [9, 18, 27] {
        assert_eq!(bench.due(secs(at)), wait(at + 1));
        assert_eq!(bench.flush_some(secs(at), 10).len(), 10);
    }
    assert_eq!(bench.due(secs(36)), wait(37));
    bench.stall(secs(37));
    assert_eq!(bench.session.cause(), Some(Cause::WriteStalled));
}

#[test]
fn the_write_timeout_is_forgiven_for_our_lateness() {
    let mut bench = Bench::with(Wire::Raw, |heartbeat, _| heartbeat.timeout = None);
    bench.send(secs(0), Message::binary(b"x")).unwrap();
    bench.late(1, 6);
    bench.late(7, 9);
    assert_eq!(bench.due(secs(10)), wait(15));
    bench.stall(secs(15));
    assert_eq!(bench.evidence(secs(15)).forgiveness, Duration::from_secs(5));
}

#[test]
fn output_that_leaves_when_it_is_offered_once_more_has_not_stalled() {
    let mut bench = Bench::with(Wire::Raw, |heartbeat, _| heartbeat.timeout = None);
    bench.send(secs(0), Message::binary(&[7; 100])).unwrap();
    assert_eq!(bench.due(secs(10)), Due::Stalled);
    assert_eq!(
        bench.due(secs(10)),
        Due::Stalled,
        "the verdict is the shell's"
    );
    bench.flush_some(secs(10), 1);
    assert!(!bench.session.is_stalled(&bench.env, secs(10)));
    assert_eq!(bench.due(secs(10)), wait(20));
    bench.stall(secs(20));
}

#[test]
fn the_write_clock_starts_when_output_begins_to_wait() {
    let mut bench = Bench::with(Wire::Raw, |heartbeat, _| heartbeat.timeout = None);
    bench.send(secs(0), Message::binary(b"x")).unwrap();
    assert_eq!(bench.flush(secs(0)), b"x");
    bench.send(secs(100), Message::binary(b"y")).unwrap();
    assert_eq!(bench.due(secs(100)), wait(110));
}

#[test]
fn a_full_send_queue_drops_the_message() {
    let mut bench = Bench::with(Wire::Line, |_, limits| limits.send_queue = Some(19));
    assert_eq!(bench.send(secs(1), Message::text("12345")), Ok(()));
    // Six bytes, and nine to remember where they end.
    let full = SendError::Full {
        queued: 15,
        limit: 19,
    };
    assert_eq!(bench.send(secs(1), Message::text("12345")), Err(full));
    assert_eq!(bench.send(secs(1), Message::text("1234")), Ok(()));
    assert_eq!(bench.flush(secs(1)), b"12345\n1234\n");
    assert_eq!(bench.session.phase(), Phase::Open);
    assert_eq!(bench.env.stats().send_full, 1);
}

#[test]
fn a_full_send_queue_closes_where_that_is_asked_for() {
    let mut bench = Bench::with(Wire::WebSocket, |_, limits| {
        limits.send_queue = Some(10);
        limits.overflow = Overflow::Close;
    });
    bench.send(secs(1), Message::binary(b"12345678")).unwrap();
    bench.session.handle_blocked();
    assert!(bench.send(secs(1), Message::binary(b"9")).is_err());
    assert_eq!(bench.session.cause(), Some(Cause::SendQueueFull));
    assert_eq!(
        bench.send(secs(1), Message::binary(b"")),
        Err(SendError::Closed)
    );
    assert_eq!(sent_close_code(&bench.flush(secs(2))), 1008);
}

#[test]
fn pings_go_between_the_fragments_of_a_large_message() {
    let mut bench = Bench::with(Wire::WebSocket, |_, limits| limits.max_fragment = 1_000);
    bench.send(secs(10), Message::binary(&[5; 2_500])).unwrap();
    // Half of the first fragment has left when the ping falls due.
    let mut wire = bench.flush_some(secs(10), 500);
    assert_eq!(bench.due(secs(10)), Due::Changed);
    wire.extend(bench.flush(secs(10)));
    assert_eq!(&wire[..4], b"\x02\x7e\x03\xe8");
    assert_eq!(&wire[1_004..1_006], b"\x89\x04");
    assert_eq!(&wire[1_010..1_014], b"\x00\x7e\x03\xe8");
    assert_eq!(&wire[2_014..2_018], b"\x80\x7e\x01\xf4");
    assert_eq!(wire.len(), 2_518);
}

#[test]
fn a_client_masks_every_fragment_and_the_server_reads_it_back() {
    let mut client = Bench::client();
    let mut server = Bench::new(Wire::WebSocket);
    let large: Vec<u8> = (0..200_000u32).map(|i| i.to_le_bytes()[0]).collect();
    client.send(secs(1), Message::binary(&large)).unwrap();
    client.send(secs(1), Message::text("small")).unwrap();
    let wire = client.flush(secs(1));
    assert_eq!(
        server.feed(secs(1), &wire),
        [Heard::Bytes(large), text("small")]
    );
    assert!(server.session.is_released());
}

#[test]
fn a_shared_message_is_sent_on_every_wire_as_an_own_one() {
    let shared = SharedMessage::new(Message::text("news"));
    for wire in [Wire::WebSocket, Wire::Line, Wire::Binary, Wire::Raw] {
        let mut bench = Bench::new(wire);
        bench
            .session
            .send_shared(&mut bench.env, secs(1), &shared)
            .unwrap();
        let first = bench.flush(secs(1));
        bench.send(secs(1), Message::text("news")).unwrap();
        assert_eq!(first, bench.flush(secs(1)));
    }
    let mut client = Bench::client();
    client
        .session
        .send_shared(&mut client.env, secs(1), &shared)
        .unwrap();
    let wire = client.flush(secs(1));
    assert_eq!((wire.len(), wire[1]), (10, 0x84));
}

#[test]
fn a_message_that_the_wire_cannot_carry_is_not_queued() {
    let mut bench = Bench::new(Wire::Line);
    let error = SendError::Encode(EncodeError::LineFeed { at: 1 });
    assert_eq!(bench.send(secs(1), Message::text("a\nb")), Err(error));
    assert_eq!(bench.flush(secs(1)), b"");
    assert_eq!(bench.env.stats().messages_out, 0);
}

// Closing.

#[test]
fn each_cause_of_ours_has_its_close_code() {
    for (cause, code) in [
        (Cause::LocalClose, 1000),
        (Cause::AppIdle, 1000),
        (Cause::MaxLifetime, 1000),
        (Cause::Drain, 1001),
        (Cause::Replaced, 1008),
        (Cause::SlowPeer, 1008),
        (Cause::PingFlood, 1008),
        (Cause::RateLimited, 1008),
        (Cause::PongFlood, 1008),
        (Cause::SendQueueFull, 1008),
        (Cause::MemoryLimit, 1013),
    ] {
        let mut bench = Bench::new(Wire::WebSocket);
        bench.close(secs(1), cause);
        assert_eq!(sent_close_code(&bench.flush(secs(1))), code, "{cause}");
        let evidence = bench.evidence(secs(1));
        assert_eq!(evidence.cause, cause);
        assert_eq!(evidence.close_code, Some(CloseCode::new(code)));
    }
}

#[test]
fn a_code_that_must_not_be_sent_is_replaced() {
    for code in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, u16::MAX] {
        let mut bench = Bench::new(Wire::WebSocket);
        let Bench { env, session } = &mut bench;
        let code = Some(CloseCode::new(code));
        session.close(env, secs(1), Cause::LocalClose, code, "");
        assert_eq!(sent_close_code(&bench.flush(secs(1))), 1000, "{code:?}");
        let evidence = bench.evidence(secs(1));
        assert_eq!(evidence.close_code, Some(CloseCode::NORMAL));
    }
}

#[test]
fn each_broken_rule_has_its_close_code() {
    for (bytes, cause, code) in [
        (masked(Opcode::Text, b"\xff"), Cause::InvalidUtf8, 1007),
        (
            b"\x82\xff\0\0\0\0\x7f\0\0\0mask".to_vec(),
            Cause::MessageTooBig,
            1009,
        ),
        (b"\xf2\x80mask".to_vec(), Cause::ProtocolError, 1002),
        (plain(Opcode::Text, b"unmasked"), Cause::ProtocolError, 1002),
    ] {
        let mut bench = Bench::new(Wire::WebSocket);
        assert_eq!(bench.feed(secs(1), &bytes), []);
        assert_eq!(bench.session.cause(), Some(cause));
        assert_eq!(sent_close_code(&bench.flush(secs(1))), code);
        // A peer that breaks rules is not waited for with an answer, only for its end.
        assert_eq!(bench.session.socket_action(), SocketAction::ShutdownWrite);
        bench.session.handle_eof(&bench.env, secs(2));
        assert_eq!(bench.end(secs(2), SocketAction::Close), (cause, false));
    }
}

#[test]
fn f17_a_long_or_fragmented_control_frame_is_a_protocol_error_without_a_pong() {
    for bytes in [
        b"\x89\xfe\x00\x7emask".to_vec(),
        fragment(true, Opcode::Ping, b""),
    ] {
        let mut bytes = bytes;
        if bytes[1] == 0x80 {
            bytes[0] = 0x09;
        }
        let mut bench = Bench::new(Wire::WebSocket);
        bench.feed(secs(1), &bytes);
        assert_eq!(bench.session.cause(), Some(Cause::ProtocolError));
        assert_eq!(sent_close_code(&bench.flush(secs(1))), 1002);
        assert_eq!(bench.env.stats().pings_received, 0);
    }
}

#[test]
fn f18_a_ping_between_fragments_is_answered_at_once() {
    let mut bench = Bench::new(Wire::WebSocket);
    assert_eq!(
        bench.feed(secs(1), &fragment(false, Opcode::Text, b"half ")),
        []
    );
    assert_eq!(bench.feed(secs(2), &masked(Opcode::Ping, b"now")), []);
    assert_eq!(bench.flush(secs(2)), b"\x8a\x03now");
    let rest = fragment(true, Opcode::Continuation, b"and half");
    assert_eq!(bench.feed(secs(3), &rest), [text("half and half")]);
}

#[test]
fn f19_nothing_is_owed_after_our_close() {
    let mut bench = Bench::new(Wire::WebSocket);
    bench.close(secs(1), Cause::LocalClose);
    bench.feed(secs(1), &masked(Opcode::Ping, b"late"));
    assert_eq!(sent_close_code(&bench.flush(secs(1))), 1000);
    bench.feed(secs(2), &masked(Opcode::Ping, b"later"));
    assert_eq!(bench.flush(secs(2)), b"");
}

#[test]
fn a_pong_owed_before_the_close_leaves_before_it() {
    let ping = masked(Opcode::Ping, b"early");
    let close = masked(Opcode::Close, &1000u16.to_be_bytes());
    for is_blocked in [false, true] {
        let mut bench = Bench::new(Wire::WebSocket);
        if is_blocked {
            bench.session.handle_blocked();
        }
        bench.feed(secs(1), &[ping.clone(), close.clone()].concat());
        assert_eq!(bench.flush(secs(1)), b"\x8a\x05early\x88\x02\x03\xe8");
    }
}

#[test]
fn f20_traffic_does_not_extend_the_close_timeout() {
    let mut bench = Bench::new(Wire::WebSocket);
    bench.close(secs(1), Cause::LocalClose);
    bench.flush(secs(1));
    for at in 2..4 {
        assert_eq!(bench.feed(secs(at), &masked(Opcode::Text, b"more")), []);
        assert_eq!(bench.due(secs(at)), wait(4));
    }
    assert_eq!(bench.due(secs(4)), Due::Changed);
    assert_eq!(
        bench.end(secs(4), SocketAction::Reset),
        (Cause::CloseTimeout, false)
    );
}

#[test]
fn f20_an_unanswered_drain_stays_a_drain_and_is_not_clean() {
    let mut bench = Bench::new(Wire::WebSocket);
    bench.close(secs(1), Cause::Drain);
    bench.flush(secs(1));
    assert_eq!(bench.due(secs(4)), Due::Changed);
    assert_eq!(
        bench.end(secs(4), SocketAction::Close),
        (Cause::Drain, false)
    );
}

#[test]
fn an_answered_close_is_clean_and_the_server_ends_tcp() {
    let mut bench = Bench::new(Wire::WebSocket);
    bench.close(secs(1), Cause::LocalClose);
    assert_eq!(bench.session.socket_action(), SocketAction::Keep);
    bench.flush(secs(1));
    assert_eq!(bench.session.socket_action(), SocketAction::Keep);
    bench.feed(secs(2), &close_frame(1000));
    assert_eq!(
        bench.end(secs(2), SocketAction::Close),
        (Cause::LocalClose, true)
    );
}

#[test]
fn a_client_leaves_the_end_of_tcp_to_the_server() {
    let mut bench = Bench::client();
    bench.close(secs(1), Cause::LocalClose);
    bench.flush(secs(1));
    bench.feed(secs(2), &plain(Opcode::Close, b"\x03\xe8"));
    assert_eq!(bench.session.socket_action(), SocketAction::Keep);
    bench.session.handle_eof(&bench.env, secs(3));
    assert_eq!(
        bench.end(secs(3), SocketAction::Close),
        (Cause::LocalClose, true)
    );
}

#[test]
fn a_client_whose_server_does_not_end_tcp_is_clean_all_the_same() {
    let mut bench = Bench::client();
    bench.close(secs(1), Cause::LocalClose);
    bench.flush(secs(1));
    bench.feed(secs(2), &plain(Opcode::Close, b""));
    assert_eq!(bench.due(secs(4)), Due::Changed);
    assert_eq!(
        bench.end(secs(4), SocketAction::Close),
        (Cause::LocalClose, true)
    );
}

#[test]
fn the_peers_close_is_echoed_with_its_code() {
    for (frame, code) in [(close_frame(3_333), 3_333), (close_frame(1001), 1001)] {
        let mut bench = Bench::new(Wire::WebSocket);
        bench.feed(secs(1), &frame);
        assert_eq!(bench.session.phase(), Phase::Closing);
        assert_eq!(sent_close_code(&bench.flush(secs(1))), code);
        assert_eq!(bench.session.reason(), "so long");
        assert_eq!(
            bench.end(secs(1), SocketAction::Close),
            (Cause::PeerClosed, true)
        );
        assert_eq!(
            bench.evidence(secs(1)).close_code,
            Some(CloseCode::new(code))
        );
    }
}

#[test]
fn a_close_without_a_code_is_echoed_without_one() {
    let mut bench = Bench::new(Wire::WebSocket);
    bench.feed(secs(1), &masked(Opcode::Close, b""));
    assert_eq!(bench.flush(secs(1)), b"\x88\x00");
    assert_eq!(
        bench.end(secs(1), SocketAction::Close),
        (Cause::PeerClosed, true)
    );
    assert_eq!(bench.evidence(secs(1)).close_code, None);
}

#[test]
fn what_follows_the_peers_close_is_discarded() {
    let mut bench = Bench::new(Wire::WebSocket);
    let mut bytes = close_frame(1000);
    bytes.extend(masked(Opcode::Text, b"too late"));
    bytes.extend(b"garbage");
    assert_eq!(bench.feed(secs(1), &bytes), []);
    assert_eq!(sent_close_code(&bench.flush(secs(1))), 1000);
    // A close over more of it would be a reset: we end our direction and read on.
    assert_eq!(bench.session.socket_action(), SocketAction::ShutdownWrite);
    assert_eq!(bench.feed(secs(2), b"more"), []);
    assert_eq!(bench.session.socket_action(), SocketAction::Keep);
    bench.session.handle_eof(&bench.env, secs(2));
    assert_eq!(
        bench.end(secs(2), SocketAction::Close),
        (Cause::PeerClosed, true)
    );
}

#[test]
fn closes_that_cross_need_no_echo() {
    let mut bench = Bench::new(Wire::WebSocket);
    bench.close(secs(1), Cause::LocalClose);
    bench.feed(secs(1), &close_frame(4_000));
    assert_eq!(sent_close_code(&bench.flush(secs(1))), 1000);
    assert_eq!(
        bench.end(secs(1), SocketAction::Close),
        (Cause::LocalClose, true)
    );
    let received = bench.evidence(secs(1)).close_code;
    assert_eq!(received, Some(CloseCode::new(4_000)));
}

#[test]
fn garbage_instead_of_an_answer_does_not_hold_our_close_back() {
    let mut bench = Bench::new(Wire::WebSocket);
    bench.close(secs(1), Cause::LocalClose);
    bench.feed(secs(1), b"\xff\xff");
    assert_eq!(sent_close_code(&bench.flush(secs(1))), 1000);
    assert_eq!(bench.session.socket_action(), SocketAction::ShutdownWrite);
    bench.session.handle_eof(&bench.env, secs(2));
    assert_eq!(
        bench.end(secs(2), SocketAction::Close),
        (Cause::LocalClose, false)
    );
}

#[test]
fn messages_queued_before_leave_before_the_close() {
    let mut bench = Bench::new(Wire::WebSocket);
    bench.send(secs(1), Message::text("last words")).unwrap();
    bench.close(secs(1), Cause::LocalClose);
    let wire = bench.flush(secs(1));
    assert!(wire.starts_with(b"\x81\x0alast words\x88"), "{wire:02x?}");
}

#[test]
fn the_first_cause_wins() {
    let mut bench = Bench::new(Wire::WebSocket);
    bench.close(secs(1), Cause::Drain);
    bench.close(secs(1), Cause::LocalClose);
    bench.flush(secs(1));
    bench.session.handle_io_error(secs(2), Some(104), true);
    bench.session.handle_eof(&bench.env, secs(2));
    assert_eq!(
        bench.end(secs(2), SocketAction::Close),
        (Cause::Drain, false)
    );
    assert_eq!(bench.evidence(secs(2)).errno, None);
}

#[test]
fn a_reset_and_other_errors_are_told_apart() {
    for (is_reset, cause) in [(true, Cause::PeerReset), (false, Cause::IoError)] {
        let mut bench = Bench::new(Wire::WebSocket);
        bench.session.handle_io_error(secs(2), Some(113), is_reset);
        assert_eq!(bench.end(secs(2), SocketAction::Close), (cause, false));
        assert_eq!(bench.evidence(secs(2)).errno, Some(113));
    }
}

#[test]
fn f22_data_before_a_reset_is_delivered_first() {
    let mut bench = Bench::new(Wire::Line);
    assert_eq!(bench.feed(secs(1), b"data\n"), [text("data")]);
    bench.session.handle_io_error(secs(1), None, true);
    assert_eq!(
        bench.end(secs(1), SocketAction::Close),
        (Cause::PeerReset, false)
    );
}

#[test]
fn f21_the_end_of_input_without_a_close_frame_is_peer_eof() {
    let mut bench = Bench::new(Wire::WebSocket);
    bench.session.handle_eof(&bench.env, secs(1));
    assert_eq!(
        bench.end(secs(1), SocketAction::Close),
        (Cause::PeerEof, false)
    );
}

#[test]
fn f50_data_and_the_end_of_input_deliver_the_data_and_flush_what_is_queued() {
    let mut bench = Bench::new(Wire::Line);
    assert_eq!(bench.feed(secs(1), b"one\nlast"), [text("one")]);
    bench.send(secs(1), Message::text("echo")).unwrap();
    let rest = bench.session.decode_rest(&mut bench.env, secs(1));
    assert_eq!(rest, Some((MessageKind::Text, Payload::Assembled)));
    assert_eq!(bench.session.take_assembled(), b"last");
    bench.session.handle_eof(&bench.env, secs(1));
    assert_eq!(bench.session.socket_action(), SocketAction::Keep);
    assert_eq!(bench.flush(secs(1)), b"echo\n");
    assert_eq!(
        bench.end(secs(1), SocketAction::Close),
        (Cause::PeerEof, true)
    );
}

#[test]
fn the_flush_after_the_end_of_input_takes_the_write_timeout_without_progress() {
    for (write, end) in [(2, 3), (10, 11)] {
        let mut bench = Bench::with(Wire::Binary, |heartbeat, _| {
            heartbeat.write_timeout = Some(Duration::from_secs(write));
        });
        bench.send(secs(1), Message::binary(b"unread")).unwrap();
        bench.session.handle_eof(&bench.env, secs(1));
        assert!(bench.session.take_rearm());
        assert_eq!(bench.due(secs(2)), wait(end));
        bench.stall(secs(end));
        assert_eq!(
            bench.end(secs(end), SocketAction::Reset),
            (Cause::PeerEof, false)
        );
    }
}

#[test]
fn an_end_whose_output_never_leaves_is_a_reset_whatever_its_cause() {
    let mut bench = Bench::new(Wire::WebSocket);
    bench.send(secs(1), Message::binary(b"unread")).unwrap();
    bench.session.handle_blocked();
    bench.close(secs(1), Cause::ProtocolError);
    assert_eq!(bench.session.socket_action(), SocketAction::Keep);
    assert_eq!(bench.due(secs(4)), Due::Changed);
    let end = (Cause::ProtocolError, false);
    assert_eq!(bench.end(secs(4), SocketAction::Reset), end);
}

#[test]
fn a_plain_wire_closes_by_ending_its_output_and_waits_for_the_peers() {
    let mut bench = Bench::new(Wire::Line);
    bench.send(secs(1), Message::text("bye")).unwrap();
    bench.close(secs(1), Cause::LocalClose);
    assert_eq!(bench.session.socket_action(), SocketAction::Keep);
    assert_eq!(bench.flush(secs(1)), b"bye\n");
    assert_eq!(bench.session.socket_action(), SocketAction::ShutdownWrite);
    assert_eq!(bench.feed(secs(2), b"unheard\nPING\n"), []);
    assert_eq!(bench.flush(secs(2)), b"");
    bench.session.handle_eof(&bench.env, secs(2));
    assert_eq!(
        bench.end(secs(2), SocketAction::Close),
        (Cause::LocalClose, true)
    );
}

#[test]
fn a_plain_wire_whose_goodbye_is_not_taken_ends_as_close_timeout() {
    let mut bench = Bench::new(Wire::Line);
    bench.send(secs(1), Message::text("bye")).unwrap();
    bench.close(secs(1), Cause::LocalClose);
    bench.stall(secs(11));
    assert_eq!(
        bench.end(secs(11), SocketAction::Reset),
        (Cause::CloseTimeout, false)
    );
}

// Etiquette.

#[test]
fn f13_three_hundred_pings_at_once_are_tolerated_and_one_more_is_a_flood() {
    for start in [
        Micros::from_secs(1),
        Micros::new(1_000_001),
        Micros::new(1_000_999),
    ] {
        let start = Moment::on_time(start);
        let mut bench = Bench::new(Wire::WebSocket);
        for _ in 0..300 {
            bench.feed(start, &masked(Opcode::Ping, b""));
        }
        assert_eq!(bench.session.phase(), Phase::Open, "at {start:?}");
        assert_eq!(bench.flush(start).len(), 600, "a pong each");
        bench.feed(start, &masked(Opcode::Ping, b""));
        assert_eq!(bench.session.cause(), Some(Cause::PingFlood));
        assert_eq!(sent_close_code(&bench.flush(start)), 1008);
    }
}

#[test]
fn a_hundred_pings_a_second_are_tolerated_for_ever() {
    let mut bench = Bench::new(Wire::Binary);
    for at in 0..10_000 {
        bench.feed(ms(at * 10), b"\x01");
        bench.flush(ms(at * 10));
    }
    assert_eq!(bench.session.phase(), Phase::Open);
}

#[test]
fn f13_pings_that_are_not_read_leave_one_owed_pong_when_output_is_blocked() {
    let mut bench = Bench::new(Wire::WebSocket);
    bench.feed(secs(1), &masked(Opcode::Ping, b"0"));
    bench.session.handle_blocked();
    for count in 1..100u8 {
        bench.feed(secs(1), &masked(Opcode::Ping, &[count]));
    }
    assert_eq!(bench.env.stats().pongs_folded, 99);
    bench.session.handle_writable();
    assert_eq!(bench.flush(secs(2)), b"\x8a\x01\x63");
}

#[test]
fn pongs_without_a_token_are_counted_and_none_stands_for_another() {
    for (wire, ping, pong) in [
        (Wire::Line, &b"PING\n"[..], &b"PONG\n"[..]),
        (Wire::Binary, b"\x01", b"\x02"),
    ] {
        let mut bench = Bench::new(wire);
        bench.send(secs(1), Message::text("blocked")).unwrap();
        bench.session.handle_blocked();
        for _ in 0..10 {
            bench.feed(secs(1), ping);
        }
        let output = bench.flush(secs(2));
        assert!(output.starts_with(&pong.repeat(10)), "{output:?}");
        assert_eq!(bench.env.stats().pongs_folded, 0);
    }
}

#[test]
fn pings_and_pongs_that_came_while_reading_was_paused_are_no_flood() {
    for (frame, cause) in [
        (Opcode::Ping, Cause::PingFlood),
        (Opcode::Pong, Cause::PongFlood),
    ] {
        let frame = masked(frame, b"oops");
        let mut bench = Bench::new(Wire::WebSocket);
        bench.session.handle_pause(secs(1));
        bench.session.handle_pause(secs(9));
        bench.session.handle_resume(secs(11));
        // A thousand in ten seconds, and three hundred at once.
        bench.feed(secs(11), &frame.repeat(1_300));
        assert_eq!(bench.session.phase(), Phase::Open);
        bench.feed(secs(11), &frame);
        assert_eq!(bench.session.cause(), Some(cause));
    }
}

#[test]
fn a_pause_from_before_the_opening_makes_no_flood_of_the_first_ping() {
    let mut bench = Bench::accepted(Wire::WebSocket, |_, _| {});
    bench.session.handle_pause(secs(0));
    bench.session.handle_handshake(&mut bench.env, secs(0), b"");
    bench.session.handle_resume(secs(0));
    bench.feed(secs(0), &masked(Opcode::Ping, b"early"));
    assert_eq!(bench.session.phase(), Phase::Open);
}

#[test]
fn credit_for_a_pause_is_soon_forgotten() {
    let mut bench = Bench::new(Wire::Binary);
    bench.session.handle_pause(secs(1));
    bench.session.handle_resume(secs(9));
    bench.ping(secs(10));
    bench.feed(secs(19), b"alive".map(|_| 2).as_slice());
    bench.ping(secs(20));
    bench.feed(secs(21), &[1; 301]);
    assert_eq!(bench.session.cause(), Some(Cause::PingFlood));
}

#[test]
fn pings_that_came_while_our_process_was_stopped_are_no_flood() {
    let mut bench = Bench::new(Wire::Binary);
    // Six seconds in two pieces, and the first read comes in a later turn than the one that saw the stop.
    bench.late(1, 4);
    bench.late(5, 8);
    let resumed = secs(10);
    bench.feed(resumed, &[1; 400]);
    bench.feed(resumed, &[1; 500]);
    assert_eq!(bench.session.phase(), Phase::Open);
    bench.feed(resumed, &[1]);
    assert_eq!(bench.session.cause(), Some(Cause::PingFlood));
}

#[test]
fn f14_unasked_pongs_are_counted_and_past_the_limit_a_flood() {
    let mut bench = Bench::new(Wire::WebSocket);
    for _ in 0..300 {
        assert_eq!(bench.feed(secs(1), &masked(Opcode::Pong, b"oops")), []);
    }
    assert_eq!(bench.session.phase(), Phase::Open);
    assert_eq!(bench.env.stats().pongs_unsolicited, 300);
    bench.feed(secs(1), &masked(Opcode::Pong, b"oops"));
    assert_eq!(bench.session.cause(), Some(Cause::PongFlood));
}

#[test]
fn f14_an_unasked_pong_settles_no_pending_ping() {
    let mut bench = Bench::new(Wire::WebSocket);
    let ping = bench.ping(secs(10));
    bench.feed(secs(11), &masked(Opcode::Pong, b"oops"));
    bench.feed(secs(11), &masked(Opcode::Pong, &ping[2..5]));
    bench.feed(secs(11), &masked(Opcode::Pong, b""));
    let evidence = bench.evidence(secs(11));
    assert_eq!((evidence.pings_answered, evidence.rtt), (0, None));
    let stats = bench.env.stats();
    assert_eq!((stats.pongs_unsolicited, stats.pongs_mismatched), (0, 3));
    let heard = bench.feed(secs(12), &masked(Opcode::Pong, &ping[2..]));
    assert_eq!(heard, [Heard::Pong(Some(Micros::from_secs(2)))]);
}

#[test]
fn a_limit_that_is_off_tolerates_any_number() {
    let mut bench = Bench::with(Wire::Binary, |_, limits| limits.pings_per_second = None);
    bench.feed(secs(1), &[1; 10_000]);
    assert_eq!(bench.session.phase(), Phase::Open);
}

// HTTP on a wire of lines.

/// A page can make the browser of its visitor send a request to any port, with lines of its own in it.
#[test]
fn an_http_request_on_a_wire_of_lines_delivers_none_of_its_lines() {
    let request = b"POST / HTTP/1.1\r\nHost: 127.0.0.1:9002\r\n\r\nsay this\nPING\n";
    for cut in 0..=request.len() {
        let mut bench = Bench::new(Wire::Line);
        assert_eq!(bench.feed(secs(1), &request[..cut]), []);
        assert_eq!(bench.feed(secs(1), &request[cut..]), [], "cut at {cut}");
        assert_eq!(bench.session.cause(), Some(Cause::ProtocolError));
        assert_eq!(bench.env.stats().messages_in, 0);
    }
    let mut bench = Bench::new(Wire::Line);
    bench.feed(secs(1), b"GET / HTTP/1.1");
    let (env, session) = (&mut bench.env, &mut bench.session);
    assert!(session.decode_rest(env, secs(1)).is_none());
    assert_eq!(session.cause(), Some(Cause::ProtocolError));
}

#[test]
fn only_the_first_line_can_be_that_of_a_request() {
    for first in [&b"hello\n"[..], b"PING\n", b"PONG\n"] {
        let mut bench = Bench::new(Wire::Line);
        bench.feed(secs(1), first);
        let heard = bench.feed(secs(1), b"GET / HTTP/1.1\n");
        assert_eq!(heard, [text("GET / HTTP/1.1")]);
    }
    let mut client = Bench::dialed(Wire::Line);
    client
        .session
        .handle_connected(&mut client.env, secs(0), b"");
    let heard = client.feed(secs(1), b"GET / HTTP/1.1\n");
    assert_eq!(heard, [text("GET / HTTP/1.1")]);
}

/// The other wires end such a connection anyway, or deliver bytes without any meaning.
#[test]
fn an_http_request_is_no_message_of_the_binary_wire() {
    let mut bench = Bench::new(Wire::Binary);
    assert_eq!(bench.feed(secs(1), b"POST / HTTP/1.1\r\n"), []);
    assert_eq!(bench.session.cause(), Some(Cause::ProtocolError));
}

// Slow messages.

/// Feeds one message of `size` bytes, `step` bytes a second, and returns when it ended.
fn drip(bench: &mut Bench, size: usize, step: usize) -> Result<u64, (u64, Cause)> {
    let mut frame = vec![0x82, 0xff];
    frame.extend((size as u64).to_be_bytes());
    frame.extend([0; 4]);
    frame.resize(frame.len() + size, 7);
    for (second, piece) in (1u64..).zip(frame.chunks(step)) {
        let heard = bench.feed(secs(second), piece);
        while bench.due(secs(second)) == Due::Changed {
            if let Some(cause) = bench.session.cause() {
                return Err((second, cause));
            }
            bench.flush(secs(second));
        }
        if !heard.is_empty() {
            return Ok(second);
        }
    }
    panic!("the message never ended");
}

#[test]
fn f9_a_message_above_the_floor_survives() {
    let mut bench = Bench::new(Wire::WebSocket);
    assert_eq!(drip(&mut bench, 4 * 1024 * 1024, 16 * 1024), Ok(257));
    assert!(bench.session.is_released());
}

#[test]
fn a_message_below_the_floor_is_slow_after_the_grace() {
    let mut bench = Bench::new(Wire::WebSocket);
    // The first piece comes at 1 s, the grace is 10 s.
    assert_eq!(drip(&mut bench, 100_000, 500), Err((11, Cause::SlowPeer)));
}

#[test]
fn f10_one_byte_in_five_seconds_is_slow_at_the_cap() {
    let mut bench = Bench::new(Wire::WebSocket);
    bench.feed(secs(0), b"\x82\xfe\x40\x00mask");
    bench.feed(secs(5), b"x");
    assert_eq!(
        bench.session.poll_deadline(&bench.env, secs(5)),
        Micros::from_secs(10)
    );
    bench.feed(secs(10), b"x");
    assert_eq!(bench.due(secs(10)), Due::Changed);
    assert_eq!(bench.session.cause(), Some(Cause::SlowPeer));
    assert_eq!(sent_close_code(&bench.flush(secs(10))), 1008);
}

#[test]
fn a_message_takes_five_minutes_at_most_however_fast() {
    let mut bench = Bench::new(Wire::WebSocket);
    assert_eq!(
        drip(&mut bench, 1_000_000, 2_000),
        Err((301, Cause::SlowPeer))
    );
}

#[test]
fn a_new_message_has_a_clock_of_its_own() {
    let mut bench = Bench::new(Wire::Line);
    for at in 0..60 {
        bench.feed(secs(at), b"end\nbegin ");
        while bench.due(secs(at)) == Due::Changed {
            bench.flush(secs(at));
        }
    }
    assert_eq!(bench.session.phase(), Phase::Open);
}

/// Types as a person does, a letter every five seconds, and returns the second at which that ended.
fn letters(wire: Wire, begin: &[u8]) -> (u64, Cause) {
    let mut bench = Bench::with(wire, |heartbeat, _| {
        heartbeat.interval = None;
        heartbeat.timeout = None;
    });
    bench.feed(secs(0), begin);
    for at in 1..400 {
        while bench.due(secs(at)) == Due::Changed {
            if let Some(cause) = bench.session.cause() {
                return (at, cause);
            }
            bench.flush(secs(at));
        }
        if at % 5 == 0 {
            bench.feed(secs(at), b"a");
        }
    }
    panic!("a line without end");
}

/// Who typed for longer than ten seconds was closed as too slow.
#[test]
fn a_short_message_may_come_letter_by_letter_until_its_total_time() {
    let mut bench = Bench::with(Wire::Line, |heartbeat, _| {
        heartbeat.interval = None;
        heartbeat.timeout = None;
    });
    for (letter, at) in b"hello, this takes me a minute"
        .iter()
        .zip((0..).step_by(2))
    {
        assert_eq!(bench.feed(secs(at), &[*letter]), []);
        assert_eq!(bench.due(secs(at)), wait(300));
    }
    let heard = bench.feed(secs(60), b"\n");
    assert_eq!(heard, [text("hello, this takes me a minute")]);
    assert_eq!(letters(Wire::Line, b"h"), (300, Cause::SlowPeer));
    assert_eq!(
        letters(Wire::Binary, b"\0\0\0\x10\0"),
        (300, Cause::SlowPeer)
    );
}

#[test]
fn a_message_is_held_to_the_rate_from_when_it_is_known_to_be_long() {
    // As it is announced at once.
    assert_eq!(
        letters(Wire::Binary, b"\0\0\0\x10\x01"),
        (10, Cause::SlowPeer)
    );
    assert_eq!(
        letters(Wire::WebSocket, b"\x82\xfe\x10\x01mask"),
        (10, Cause::SlowPeer)
    );
    // As it has come: the 4096 bytes at 0 s, one more at 5 s, and ten seconds from then on.
    assert_eq!(letters(Wire::Line, &[b'a'; 4_096]), (15, Cause::SlowPeer));
}

#[test]
fn pings_that_reads_cut_in_two_are_no_slow_message() {
    let mut bench = Bench::new(Wire::WebSocket);
    let ping = masked(Opcode::Ping, b"steady");
    bench.feed(secs(0), &ping[..5]);
    for at in 1..60 {
        bench.feed(secs(at), &[&ping[5..], &ping[..5]].concat());
        while bench.due(secs(at)) == Due::Changed {
            bench.flush(secs(at));
        }
    }
    assert_eq!(bench.session.phase(), Phase::Open);
}

#[test]
fn a_message_whose_rest_never_comes_is_slow_though_pings_go_on() {
    let mut bench = Bench::new(Wire::WebSocket);
    bench.feed(secs(0), &fragment(false, Opcode::Binary, &[7; 5_000]));
    for at in 1..10 {
        bench.feed(secs(at), &masked(Opcode::Ping, b""));
        assert_eq!(bench.due(secs(at)), wait(10));
        bench.flush(secs(at));
    }
    assert_eq!(bench.due(secs(10)), Due::Changed);
    assert_eq!(bench.session.cause(), Some(Cause::SlowPeer));
}

// Idle and old.

#[test]
fn app_idle_counts_messages_either_way_and_nothing_else() {
    let mut bench = Bench::with(Wire::Line, |heartbeat, _| {
        heartbeat.app_idle = Some(Duration::from_secs(60));
        heartbeat.interval = None;
        heartbeat.timeout = None;
    });
    assert_eq!(bench.due(secs(59)), wait(60));
    bench.feed(secs(59), b"hello\n");
    assert_eq!(bench.due(secs(60)), wait(119));
    bench.feed(secs(118), b"PING\nunfinished");
    bench.flush(secs(118));
    bench.send(secs(118), Message::text("hi")).unwrap();
    bench.flush(secs(118));
    bench.feed(secs(119), b"\n");
    bench.late(120, 170);
    assert_eq!(
        bench.due(secs(179)),
        Due::Changed,
        "our lateness does not extend it"
    );
    assert_eq!(bench.session.cause(), Some(Cause::AppIdle));
}

#[test]
fn nobody_is_idle_while_reading_is_paused() {
    let mut bench = Bench::with(Wire::Line, |heartbeat, _| {
        heartbeat.app_idle = Some(Duration::from_secs(60));
    });
    bench.session.handle_pause(secs(1));
    for at in 1..=7 {
        bench.ping(secs(10 * at));
        bench
            .session
            .handle_waiting_bytes(&bench.env, secs(10 * at));
    }
    assert!(!bench.session.is_overdue(&bench.env, secs(79)));
    assert_eq!(bench.due(secs(79)), wait(80));
    assert_eq!(bench.session.cause(), None);
    bench.session.handle_resume(secs(79));
    assert!(bench.session.take_rearm());
    for at in 8..=13 {
        bench.feed(secs(10 * at), b"PONG\n");
        bench.ping(secs(10 * at));
    }
    assert_eq!(bench.due(secs(138)), wait(139), "it counts from the resume");
    assert_eq!(bench.due(secs(139)), Due::Changed);
    assert_eq!(bench.session.cause(), Some(Cause::AppIdle));
}

#[test]
fn f32_a_lifetime_ends_within_a_tenth_either_way_by_the_phase() {
    for (fraction, end) in [(0, 900), (1 << 31, 1_000), (u32::MAX, 1_099)] {
        let (mut env, policy) = surroundings(&Wire::Line, |heartbeat, _| {
            heartbeat.max_lifetime = Some(Duration::from_secs(1_000));
            heartbeat.interval = None;
            heartbeat.timeout = None;
        });
        let phase = PingPhase::new(fraction);
        let mut session = Session::accepted(&mut env, policy, Wire::Line, phase, secs(0));
        assert_eq!(
            session.poll_deadline(&env, secs(0)).as_millis() / 1_000,
            end
        );
        assert!(matches!(
            session.handle_timeout(&mut env, secs(end - 1), Backlog::None),
            Due::Wait(_)
        ));
        assert_eq!(
            session.handle_timeout(&mut env, secs(end + 1), Backlog::None),
            Due::Changed
        );
        assert_eq!(session.cause(), Some(Cause::MaxLifetime));
    }
}

#[test]
fn f36_another_policy_takes_effect_at_once() {
    let mut bench = Bench::new(Wire::Line);
    bench.ping(secs(10));
    bench.set_policy(secs(13), |heartbeat, _| {
        heartbeat.interval = Some(Duration::from_secs(2));
        heartbeat.timeout = Some(Duration::from_secs(5));
    });
    assert!(bench.session.take_rearm());
    for at in [14, 16, 18] {
        bench.ping(secs(at));
    }
    assert_eq!(bench.due(secs(18)), wait(19));
    assert_eq!(bench.due(secs(19)), Due::Silent);
}

// Memory.

#[test]
fn an_idle_session_owns_no_buffers() {
    for wire in [Wire::WebSocket, Wire::Line, Wire::Binary, Wire::Raw] {
        let ping: &[u8] = match wire {
            Wire::WebSocket => &masked(Opcode::Ping, b"hi"),
            Wire::Line => b"PING\n",
            Wire::Binary => b"\x01",
            Wire::Raw | Wire::Own(_) => b"any",
        };
        let ping = ping.to_vec();
        let mut bench = Bench::new(wire);
        assert!(bench.session.is_released());
        bench.feed(secs(1), &ping);
        bench.flush(secs(1));
        bench.send(secs(2), Message::text("hello")).unwrap();
        assert!(!bench.session.is_released());
        bench.flush(secs(2));
        assert!(bench.session.is_released(), "{:?}", bench.session.wire());
    }
}

#[test]
fn an_unfinished_message_is_kept_until_its_end() {
    let mut bench = Bench::new(Wire::Line);
    bench.feed(secs(1), b"begin ");
    assert!(!bench.session.is_released());
    assert_eq!(bench.feed(secs(2), b"end\n"), [text("begin end")]);
    assert!(bench.session.is_released());
}

#[test]
fn what_an_unfinished_message_borrowed_comes_back_at_the_end() {
    for (wire, bytes) in [
        (Wire::Line, b"begin ".as_slice()),
        (Wire::Binary, b"\0\0\0\0\x10begin "),
        (Wire::WebSocket, &masked(Opcode::Text, b"begin ")[..8]),
    ] {
        let mut bench = Bench::new(wire);
        bench.feed(secs(1), bytes);
        let (session, env) = (&mut bench.session, &mut bench.env);
        let free = env.pool().free_bytes();
        session.discard(env);
        assert!(session.is_released());
        assert!(env.pool().free_bytes() > free, "{:?}", session.wire());
    }
}

#[test]
fn a_record_stays_small() {
    assert!(size_of::<Evidence>() <= 256, "{}", size_of::<Evidence>());
}

#[test]
fn an_idle_session_takes_112_bytes() {
    let Bench { session, .. } = Bench::new(Wire::WebSocket);
    let fields = sizes!(&session => Session {
        heartbeat,
        buffers,
        rare,
        began,
        phase_ends,
        ping_debt,
        pong_debt,
        pings_received,
        policy,
        phase,
        part,
        wire,
        facts,
        owed,
    });
    let sum: usize = fields.iter().map(|(_, size)| size).sum();
    assert_eq!((sum, size_of::<Session>()), (112, 112), "{fields:?}");
    assert!(session.buffers.is_none() && session.rare.is_none());
}

#[test]
fn what_the_shell_keeps_stays_until_it_is_taken() {
    let mut bench = Bench::new(Wire::Line);
    assert_eq!(bench.session.aside::<u64>(), None);
    assert!(bench.session.take_aside().is_none());
    let now = Moment::on_time(Micros::ZERO);
    bench.session.keep_aside(now, Box::new(7_u64));
    assert_eq!(bench.session.aside::<u32>(), None);
    *bench.session.aside_mut::<u64>().unwrap() += 1;
    let thing = bench.session.take_aside();
    assert_eq!(bench.session.aside::<u64>(), None);
    bench.session.give_aside(thing);
    assert_eq!(bench.session.aside::<u64>(), Some(&8));
}

#[test]
fn only_an_own_wire_or_a_limit_on_idleness_keeps_something_aside() {
    for wire in [Wire::WebSocket, Wire::Line, Wire::Binary, Wire::Raw] {
        assert!(Bench::new(wire).session.rare.is_none());
    }
    let idle = Some(Duration::from_secs(60));
    let bench = Bench::with(Wire::Line, |heartbeat, _| heartbeat.app_idle = idle);
    assert!(bench.session.rare.is_some());
    assert!(own().session.rare.is_some());
}

#[test]
fn a_limit_on_idleness_that_was_off_counts_from_when_it_is_set() {
    let mut bench = Bench::new(Wire::Line);
    bench.feed(secs(1), b"hello\n");
    let idle = Some(Duration::from_secs(20));
    bench.feed(secs(5), b"PING\n");
    bench.set_policy(secs(5), |heartbeat, _| heartbeat.app_idle = idle);
    let policy = bench.session.policy();
    assert_eq!(
        bench.session.idle_ends(&bench.env.policy(policy).timing),
        Some(Stamp::new(secs(25).at))
    );
    bench.feed(secs(9), b"hello\n");
    assert_eq!(
        bench.session.idle_ends(&bench.env.policy(policy).timing),
        Some(Stamp::new(secs(29).at))
    );
}

#[test]
fn equal_policies_are_kept_once() {
    let (mut env, policy_id) = surroundings(&Wire::Line, |_, _| {});
    let same = policy(WireKind::Line, |_, _| {});
    assert_eq!(env.intern(same).unwrap(), policy_id);
    let other = policy(WireKind::Line, |heartbeat, _| heartbeat.proof = Proof::Pong);
    assert_ne!(env.intern(other).unwrap(), policy_id);
    assert_eq!(env.policy_count(), 2);
}

#[test]
fn nothing_is_left_of_a_policy_when_all_sessions_are_gone() {
    let (mut env, listened) = surroundings(&Wire::Line, |_, _| {});
    let begin = |env: &mut Env, phase| Session::accepted(env, listened, Wire::Line, phase, secs(0));
    let mut sessions: Vec<_> = (0..3)
        .map(|number| begin(&mut env, PingPhase::new(number)))
        .collect();
    env.release(listened);
    assert_eq!(env.policy_count(), 1, "its sessions use it still");
    for (session, millis) in sessions.iter_mut().zip(1..) {
        let own = policy(WireKind::Line, |heartbeat, _| {
            heartbeat.app_idle = Some(Duration::from_millis(millis));
        });
        session.set_policy(&mut env, secs(1), own).unwrap();
    }
    assert_eq!(env.policy_count(), 3, "each has its own");
    for (session, left) in sessions.iter_mut().zip([2, 1, 0]) {
        session.discard(&mut env);
        assert_eq!(env.policy_count(), left);
        session.discard(&mut env);
        assert_eq!(env.policy_count(), left, "given back once");
    }
}

#[test]
fn a_policy_that_finds_no_room_changes_nothing() {
    let mut bench = Bench::new(Wire::Line);
    bench.ping(secs(10));
    let numbered = |number| {
        policy(WireKind::Line, |heartbeat, _| {
            heartbeat.app_idle = Some(Duration::from_millis(number));
        })
    };
    for number in 1..65_536 {
        bench.env.intern(numbered(number)).unwrap();
    }
    bench.session.take_rearm();
    let before = format!("{:?}", bench.session);
    let (session, env) = (&mut bench.session, &mut bench.env);
    // The one of its listener, which holds it too.
    let error = session.set_policy(env, secs(11), numbered(65_536));
    assert_eq!(error.unwrap_err().field(), "heartbeat");
    assert_eq!(format!("{session:?}"), before);
    assert_eq!(env.policy_count(), 65_536);
    session.set_policy(env, secs(11), numbered(7)).unwrap();
    assert!(session.take_rearm());
}

// A wire of the embedder's own: four bytes a frame, "ping", "pong" and "bye." among them.

#[derive(Debug, Default)]
struct Quads {
    tokens: bool,
}

impl Codec for Quads {
    fn decode(&mut self, input: &[u8], _: &mut Vec<u8>) -> Result<Decoded, ProtocolError> {
        let Some(quad) = input.first_chunk::<4>() else {
            return Ok(Decoded::NeedMore);
        };
        Ok(match quad {
            b"ping" => Decoded::Ping {
                consumed: 4,
                payload: 0..4,
            },
            b"pong" => Decoded::Pong {
                consumed: 4,
                token: None,
            },
            b"bye." => Decoded::Close { consumed: 4 },
            b"skip" => Decoded::Skip { consumed: 4 },
            b"oops" => return Err(ProtocolError::Custom("oops is not a word")),
            b"loop" => Decoded::Skip { consumed: 0 },
            [0xff, ..] => Decoded::Message {
                consumed: 4,
                kind: MessageKind::Binary,
                payload: 0..5,
            },
            [b'#', token @ ..] if self.tokens => Decoded::Pong {
                consumed: 4,
                token: Some(u32::from_be_bytes([0, token[0], token[1], token[2]])),
            },
            _ => Decoded::Message {
                consumed: 4,
                kind: MessageKind::Binary,
                payload: 0..4,
            },
        })
    }

    fn encode(
        &mut self,
        _kind: MessageKind,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        out.extend_from_slice(payload);
        Ok(())
    }

    fn rules(&self) -> Rules {
        Rules {
            pongs: Pongs::Ahead,
            has_tokens: self.tokens,
            ..Rules::default()
        }
    }

    fn has_pings(&self) -> bool {
        true
    }

    fn encode_ping(&mut self, _token: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(b"ping");
    }

    fn encode_pong(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        assert_eq!(payload, b"ping");
        out.extend_from_slice(b"pong");
    }

    fn encode_close(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"bye.");
    }
}

fn own() -> Bench {
    Bench::new(Wire::Own(Box::new(Quads::default())))
}

#[test]
fn an_own_codec_has_messages_heartbeats_and_a_goodbye() {
    let mut bench = own();
    assert_eq!(
        bench.feed(secs(1), b"skipdatada"),
        [Heard::Bytes(b"data".to_vec())]
    );
    assert_eq!(bench.feed(secs(1), b"ta"), [Heard::Bytes(b"data".to_vec())]);
    assert_eq!(bench.ping(secs(10)), b"ping");
    assert_eq!(
        bench.feed(secs(11), b"pong"),
        [Heard::Pong(Some(Micros::from_secs(1)))]
    );
    bench.feed(secs(11), b"ping");
    assert_eq!(bench.flush(secs(11)), b"pong");
    assert!(bench.session.is_released());
    bench.close(secs(12), Cause::LocalClose);
    assert_eq!(bench.flush(secs(12)), b"bye.");
    assert_eq!(bench.session.socket_action(), SocketAction::ShutdownWrite);
}

#[test]
fn an_own_codec_may_say_goodbye_first() {
    let mut bench = own();
    bench.feed(secs(1), b"bye.");
    assert_eq!(bench.flush(secs(1)), b"bye.");
    assert_eq!(bench.session.socket_action(), SocketAction::ShutdownWrite);
    bench.session.handle_eof(&bench.env, secs(2));
    assert_eq!(
        bench.end(secs(2), SocketAction::Close),
        (Cause::PeerClosed, true)
    );
}

#[test]
fn a_codec_that_errs_ends_its_connection_and_nothing_else() {
    for bytes in [&b"oops"[..], b"loop", b"\xff123"] {
        let mut bench = own();
        assert_eq!(bench.feed(secs(1), bytes), []);
        assert_eq!(
            bench.session.cause(),
            Some(Cause::ProtocolError),
            "{bytes:02x?}"
        );
    }
}

#[test]
fn under_message_proof_a_whole_fragment_is_life_and_half_a_one_is_not() {
    let mut fragment = Vec::new();
    encode(false, Opcode::Binary, b"part", Some([0; 4]), &mut fragment);
    for (bytes, is_life) in [(&fragment[..], true), (&fragment[..8], false)] {
        let mut bench = Bench::with(Wire::WebSocket, |heartbeat, _| {
            heartbeat.proof = Proof::Message;
        });
        for at in [10, 20] {
            assert_eq!(bench.due(secs(at)), Due::Changed);
            bench.flush(secs(at));
        }
        bench.feed(secs(24), bytes);
        let due = bench.due(secs(25));
        assert_eq!(matches!(due, Due::Wait(_)), is_life, "{due:?}");
        assert_eq!(due == Due::Silent, !is_life, "{due:?}");
    }
}

#[test]
fn the_lateness_of_a_ping_runs_from_its_due_time_to_its_writing() {
    let lateness = |change: fn(&mut HeartbeatConfig), handled: u64, written: u64| {
        let (mut env, policy) = surroundings(&Wire::Line, |heartbeat, _| change(heartbeat));
        // A phase of 44.4 ms.
        let phase = PingPhase::new(0x0123_4567);
        let session = Session::accepted(&mut env, policy, Wire::Line, phase, secs(0));
        let mut bench = Bench { env, session };
        let now = |micros| Moment::on_time(Micros::new(micros));
        let due = bench
            .session
            .handle_timeout(&mut bench.env, now(handled), Backlog::None);
        assert_eq!(due, Due::Changed);
        bench
            .session
            .handle_written(&mut bench.env, now(written), 5);
        let stats = bench.env.stats();
        assert_eq!(stats.ping_lateness.len(), 1);
        stats.ping_lateness.quantile(1.0).as_micros()
    };
    let told = |micros: u128, exact: u128| (exact..=exact + exact / 16).contains(&micros);
    let due = u64::try_from((10_000_000 * 0x0123_4567u128) >> 32).unwrap();
    let exact = lateness(|_| {}, due + 3_000, due + 5_000);
    assert!(told(exact, 5_000), "{exact}");
    // With a slack of 50 ms it is due at the nearest multiple of 100 ms.
    let slack = |config: &mut HeartbeatConfig| config.ping_slack = Some(Duration::from_millis(50));
    let moved = lateness(slack, 10_007_000, 10_009_000);
    assert!(told(moved, 9_000), "{moved}");
    // Beats that were missed altogether do not shorten it.
    let stopped = lateness(
        |config| config.timeout = None,
        due + 31_000_000,
        due + 31_000_000,
    );
    assert!(told(stopped, 31_000_000), "{stopped}");
}

#[test]
fn a_ping_by_hand_is_never_late() {
    let mut bench = Bench::new(Wire::Line);
    bench.session.ping(&mut bench.env, secs(3));
    bench.session.handle_written(&mut bench.env, secs(4), 5);
    assert_eq!(bench.env.stats().pings_written, 1);
    assert!(bench.env.stats().ping_lateness.is_empty());
}

#[test]
fn unread_input_puts_a_verdict_of_silence_off_by_t_less_i() {
    let mut bench = Bench::new(Wire::Line);
    bench.ping(secs(10));
    bench.ping(secs(20));
    assert_eq!(bench.due(secs(25)), Due::Silent);
    let is_over = |bench: &Bench, now| bench.session.is_silent_behind_backlog(&bench.env, now);
    assert!(!is_over(&bench, secs(25)));
    assert!(!is_over(&bench, ms(39_999)));
    assert!(is_over(&bench, secs(40)));
}

// Time that goes on by days at once.

/// Spans around those that a stamp of 32 bits takes for another, in days.
const LEAPS: [u64; 13] = [1, 6, 12, 18, 24, 25, 26, 31, 37, 43, 49, 50, 120];

/// Returns the moment so many days later, in which the loop was late for all that time or for none of
/// it, and lets the session know.
fn leap(bench: &mut Bench, before: Moment, days: u64, is_late: bool) -> Moment {
    let span = Micros::from_secs(days * 24 * 60 * 60);
    let now = Moment {
        at: before.at + span,
        delay: Micros::ZERO,
    };
    if is_late {
        bench.env.lateness.be_late(before.at, now.at);
        bench.env.lateness.go_on_at(now.at);
    }
    assert!(span >= Session::LEAP);
    bench.session.handle_leap(before, now);
    now
}

fn later(now: Moment, secs: u64) -> Moment {
    Moment {
        at: now.at + Micros::from_secs(secs),
        ..now
    }
}

#[test]
fn after_a_stop_of_any_length_a_dead_peer_is_found_in_time_and_a_living_one_stays() {
    for days in LEAPS {
        for is_dead in [true, false] {
            let mut bench = Bench::new(Wire::Line);
            let back = leap(&mut bench, secs(1), days, true);
            let mut verdict = None;
            // As the shell does: when something is due, and no sooner.
            let mut now = back;
            for _ in 0..100 {
                let due = bench.due(now);
                match due {
                    Due::Wait(deadline) => {
                        let wait = deadline - now.at;
                        assert!(wait <= Micros::from_secs(25), "{days} days: {wait:?}");
                        now = later(now, wait.as_micros().div_ceil(1_000_000));
                    }
                    Due::Changed => {
                        let written = bench.flush(now);
                        if !is_dead && written == b"PING\n" {
                            bench.feed(now, b"PONG\n");
                        }
                    }
                    Due::Stalled => panic!("{days} days: all output is taken"),
                    Due::Silent => {
                        verdict = Some(now.at - back.at);
                        break;
                    }
                }
            }
            let Some(verdict) = verdict else {
                assert!(!is_dead, "{days} days: nobody is found dead");
                assert!(now.at - back.at > Micros::from_secs(200), "{days} days");
                continue;
            };
            assert!(is_dead, "{days} days: a living peer is blamed");
            // One ping is passed over, the next comes within 10 s, and has 15 s to be answered.
            assert!(verdict >= Micros::from_secs(15), "{days} days: {verdict:?}");
            assert!(verdict <= Micros::from_secs(36), "{days} days: {verdict:?}");
        }
    }
}

#[test]
fn after_days_a_ping_of_the_peers_is_no_flood() {
    for days in LEAPS {
        for is_late in [true, false] {
            let mut bench = Bench::with(Wire::WebSocket, |heartbeat, _| heartbeat.timeout = None);
            for _ in 0..3 {
                bench.feed(secs(1), &masked(Opcode::Ping, b"hi"));
                bench.feed(secs(1), &masked(Opcode::Pong, b"unasked"));
            }
            bench.flush(secs(1));
            let now = leap(&mut bench, secs(1), days, is_late);
            bench.feed(now, &masked(Opcode::Ping, b"hi"));
            bench.feed(now, &masked(Opcode::Pong, b"unasked"));
            assert_eq!(bench.session.cause(), None, "{days} days, late: {is_late}");
        }
    }
}

#[test]
fn after_days_without_a_turn_whatever_came_due_is_due_at_once() {
    type Begin = fn() -> Bench;
    let cases: [(Cause, Begin); 6] = [
        (Cause::ConnectTimeout, || Bench::dialed(Wire::WebSocket)),
        (Cause::HandshakeTimeout, || {
            Bench::accepted(Wire::WebSocket, |_, _| {})
        }),
        (Cause::AppIdle, || {
            let mut bench = Bench::with(Wire::Line, |heartbeat, _| {
                heartbeat.app_idle = Some(Duration::from_secs(60));
            });
            bench.feed(secs(1), b"hello\n");
            bench
        }),
        (Cause::WriteStalled, || {
            let mut bench = Bench::new(Wire::Line);
            bench.send(secs(1), Message::text("hello")).unwrap();
            bench.session.handle_blocked();
            bench
        }),
        (Cause::SlowPeer, || {
            let mut bench = Bench::new(Wire::Line);
            bench.feed(secs(1), b"hel");
            bench
        }),
        (Cause::CloseTimeout, || {
            let mut bench = Bench::new(Wire::WebSocket);
            bench.close(secs(1), Cause::LocalClose);
            bench.flush(secs(1));
            bench
        }),
    ];
    for days in LEAPS {
        for (cause, begin) in cases {
            let mut bench = begin();
            let now = leap(&mut bench, secs(1), days, false);
            match cause {
                Cause::WriteStalled => bench.stall(now),
                _ => assert_eq!(bench.due(now), Due::Changed, "{cause} after {days} days"),
            }
            assert_eq!(bench.evidence(now).cause, cause, "{days} days");
        }
    }
}

#[test]
fn after_days_nothing_that_a_stop_put_off_is_due_at_once() {
    for days in LEAPS {
        let mut bench = Bench::with(Wire::Line, |heartbeat, _| {
            heartbeat.interval = None;
            heartbeat.timeout = None;
        });
        bench.send(secs(1), Message::text("hello")).unwrap();
        bench.session.handle_blocked();
        bench.feed(secs(1), b"hel");
        let now = leap(&mut bench, secs(1), days, true);
        // The write timeout of 10 s, and none of it has passed.
        let due = now.at + Micros::from_secs(10);
        assert_eq!(bench.due(now), Due::Wait(due), "{days} days");
    }
}

#[test]
fn output_that_waits_for_weeks_is_not_taken_for_new() {
    let off = |heartbeat: &mut HeartbeatConfig| {
        heartbeat.interval = None;
        heartbeat.timeout = None;
    };
    let mut bench = Bench::with(Wire::Line, |heartbeat, _| {
        off(heartbeat);
        heartbeat.write_timeout = None;
    });
    bench.send(secs(1), Message::text("hello")).unwrap();
    bench.session.handle_blocked();
    let mut now = secs(1);
    while now.at < Micros::from_secs(30 * 24 * 60 * 60) {
        let Due::Wait(deadline) = bench.due(now) else {
            panic!("nothing is due for weeks");
        };
        now = Moment::on_time(deadline);
    }
    bench.set_policy(now, |heartbeat, _| off(heartbeat));
    bench.stall(now);
    assert_eq!(bench.session.cause(), Some(Cause::WriteStalled));
}

/// Says that the payload of everything ends before it begins.
#[derive(Debug)]
struct Backwards(fn(std::ops::Range<usize>) -> Decoded);

impl Codec for Backwards {
    fn decode(&mut self, _: &[u8], _: &mut Vec<u8>) -> Result<Decoded, ProtocolError> {
        let payload = std::ops::Range { start: 3, end: 1 };
        Ok(self.0(payload))
    }

    fn encode(&mut self, _: MessageKind, _: &[u8], _: &mut Vec<u8>) -> Result<(), EncodeError> {
        Ok(())
    }
}

/// A codec's range that ends before it begins got through the check of what codecs say, and panicked.
#[test]
fn a_payload_that_ends_before_it_begins_is_an_error_of_the_codec() {
    let saying: [fn(std::ops::Range<usize>) -> Decoded; 2] = [
        |payload| Decoded::Ping {
            consumed: 4,
            payload,
        },
        |payload| Decoded::Message {
            consumed: 4,
            kind: MessageKind::Binary,
            payload,
        },
    ];
    for says in saying {
        let mut bench = Bench::new(Wire::Own(Box::new(Backwards(says))));
        bench.feed(ms(1), &[0; 4]);
        assert_eq!(bench.session.cause(), Some(Cause::ProtocolError));
    }
}

#[test]
fn a_server_sends_a_long_message_on_without_a_copy() {
    let long = vec![b'x'; 100_000];
    let received = Received::assembled(long.clone());
    let message = Message::received(MessageKind::Binary, &received);
    for (mut bench, is_copied) in [
        (Bench::new(Wire::WebSocket), false),
        (Bench::client(), true),
    ] {
        let sent = bench.session.send(&mut bench.env, secs(1), message);
        assert_eq!(sent, Ok(()));
        let mut slices = [IoSlice::new(&[]); 16];
        let count = bench.session.slices(&mut slices);
        let shared = received.data().as_ptr_range();
        let lies_there = |slice: &&IoSlice<'_>| shared.contains(&slice.as_ptr());
        let there = slices[..count].iter().filter(lies_there).count();
        assert_eq!(there, if is_copied { 0 } else { 2 }, "two fragments");
    }
}
