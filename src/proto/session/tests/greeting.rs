//! The handshake of an own wire.

use super::*;

/// Lines. `hello` opens, `step` goes on, `no` is refused, `bye` leaves; `bad`, `talk` and `beat` break
/// the rules.
#[derive(Debug, Default)]
struct Door {
    is_open: bool,
}

impl Codec for Door {
    fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Decoded, ProtocolError> {
        let Some(end) = input.iter().position(|&byte| byte == b'\n') else {
            return Ok(Decoded::NeedMore);
        };
        let consumed = end + 1;
        let message = Decoded::Message {
            consumed,
            kind: MessageKind::Text,
            payload: 0..end,
        };
        if self.is_open {
            return Ok(message);
        }
        Ok(match &input[..end] {
            b"hello" => {
                self.is_open = true;
                Decoded::Open { consumed }
            }
            b"step" => {
                out.extend_from_slice(b"go on\n");
                Decoded::Skip { consumed }
            }
            b"much" => {
                out.resize(40_000, b'x');
                Decoded::Skip { consumed }
            }
            b"no" => {
                out.extend_from_slice(b"denied\n");
                Decoded::Refuse {
                    reason: "its name is no",
                }
            }
            b"bye" => Decoded::Close { consumed },
            b"bad" => {
                out.extend_from_slice(b"error\n");
                return Err(ProtocolError::Custom("a bad word"));
            }
            b"beat" => Decoded::Ping {
                consumed,
                payload: 0..0,
            },
            b"loop" => Decoded::Skip { consumed: 0 },
            b"far" => Decoded::Open {
                consumed: consumed + 100,
            },
            _ => message,
        })
    }

    fn encode(
        &mut self,
        _: MessageKind,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        out.extend_from_slice(payload);
        out.push(b'\n');
        Ok(())
    }

    fn has_handshake(&self) -> bool {
        true
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"welcome\n");
    }

    fn encode_open(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"in\n");
    }

    fn encode_refusal(&mut self, status: u16, reason: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("out: {status} {reason}\n").as_bytes());
    }

    fn has_pings(&self) -> bool {
        true
    }

    fn encode_ping(&mut self, _: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(b"ping\n");
    }

    fn encode_close(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"goodbye\n");
    }
}

fn accepted() -> Bench {
    Bench::accepted(Wire::Own(Box::new(Door::default())), |_, _| {})
}

fn shake(bench: &mut Bench, now: Moment, bytes: &[u8]) -> (usize, Shaken) {
    bench.session.handle_bytes(&mut bench.env, now, bytes.len());
    bench.session.shake_hands(&mut bench.env, now, bytes)
}

fn accept(bench: &mut Bench, now: Moment) {
    bench.session.accept_own(&mut bench.env, now);
}

fn flushed(bench: &mut Bench, now: Moment) -> String {
    String::from_utf8(bench.flush(now)).unwrap()
}

#[test]
fn a_handshake_goes_on_until_the_codec_opens_and_the_application_accepts() {
    let mut bench = accepted();
    assert_eq!(bench.session.phase(), Phase::Handshaking);
    assert!(!bench.session.was_open());
    assert_eq!(flushed(&mut bench, secs(0)), "welcome\n");
    assert_eq!(shake(&mut bench, secs(1), b"st"), (0, Shaken::NeedMore));
    assert_eq!(
        shake(&mut bench, secs(1), b"step\nhe"),
        (5, Shaken::Consumed)
    );
    assert_eq!(flushed(&mut bench, secs(1)), "go on\n");
    assert_eq!(
        shake(&mut bench, secs(2), b"hello\nmore\n"),
        (6, Shaken::Complete)
    );
    assert_eq!(
        bench.session.phase(),
        Phase::Handshaking,
        "nobody has accepted it"
    );
    assert_eq!(
        bench.send(secs(2), Message::text("early")),
        Err(SendError::Closed)
    );
    accept(&mut bench, secs(4));
    assert_eq!(bench.session.phase(), Phase::Open);
    bench.send(secs(4), Message::text("hi")).unwrap();
    assert_eq!(flushed(&mut bench, secs(4)), "in\nhi\n");
    assert_eq!(bench.feed(secs(4), b"more\n"), [text("more")]);
    assert!(bench.session.is_released());
    // Once is enough.
    accept(&mut bench, secs(5));
    assert!(!bench.session.has_output());
}

#[test]
fn pings_are_sent_and_silence_counts_from_the_opening_only() {
    let mut bench = accepted();
    assert_eq!(bench.session.poll_deadline(&bench.env, secs(0)), secs(5).at);
    bench.session.ping(&mut bench.env, secs(1));
    assert_eq!(flushed(&mut bench, secs(1)), "welcome\n");
    shake(&mut bench, secs(4), b"hello\n");
    accept(&mut bench, secs(4));
    bench.flush(secs(4));
    assert_eq!(bench.ping(secs(10)), b"ping\n");
    assert_eq!(bench.ping(secs(20)), b"ping\n");
    assert_eq!(bench.due(secs(28)), wait(29));
    assert_eq!(bench.due(secs(29)), Due::Silent);
}

#[test]
fn a_ping_does_not_overtake_what_comes_first() {
    for taken in [0, 1, 8, 9, 14] {
        let mut bench = accepted();
        bench.session.handle_blocked();
        shake(&mut bench, secs(1), b"step\n");
        let mut out = bench.flush_some(secs(1), taken);
        shake(&mut bench, secs(1), b"hello\n");
        accept(&mut bench, secs(1));
        bench.send(secs(1), Message::text("hi")).unwrap();
        bench.session.ping(&mut bench.env, secs(1));
        out.extend(bench.flush(secs(1)));
        let out = String::from_utf8(out).unwrap();
        assert_eq!(out, "welcome\ngo on\nin\nping\nhi\n", "{taken} were taken");
    }
}

#[test]
fn a_handshake_that_fails_ends_with_its_cause_and_what_the_codec_says() {
    for (bytes, cause, reason, said) in [
        (&b"no\n"[..], Cause::Refused, "its name is no", "denied\n"),
        (b"bad\n", Cause::ProtocolError, "a bad word", "error\n"),
        (b"bye\n", Cause::PeerClosed, "", "goodbye\n"),
        (
            b"talk\n",
            Cause::ProtocolError,
            "codec found a frame before it was open",
            "",
        ),
        (
            b"beat\n",
            Cause::ProtocolError,
            "codec found a frame before it was open",
            "",
        ),
        (
            b"loop\n",
            Cause::ProtocolError,
            "codec consumed nothing, or more than there is",
            "",
        ),
        (
            b"far\n",
            Cause::ProtocolError,
            "codec consumed nothing, or more than there is",
            "",
        ),
    ] {
        let mut bench = accepted();
        let input = [bytes, b"hello\n"].concat();
        let all = (input.len(), Shaken::Over);
        assert_eq!(shake(&mut bench, secs(1), &input), all, "{bytes:?}");
        assert_eq!(bench.session.cause(), Some(cause), "{bytes:?}");
        assert_eq!(bench.session.reason(), reason);
        assert_eq!(flushed(&mut bench, secs(1)), format!("welcome\n{said}"));
        assert_eq!(bench.session.socket_action(), SocketAction::ShutdownWrite);
        accept(&mut bench, secs(1));
        bench.session.handle_eof(&bench.env, secs(2));
        let (ended, _) = bench.end(secs(2), SocketAction::Close);
        assert_eq!(ended, cause);
        assert!(!bench.session.was_open());
    }
}

#[test]
fn a_handshake_that_the_application_rejects_is_told_so() {
    let mut bench = accepted();
    shake(&mut bench, secs(1), b"hello\n");
    let told = (403, "not you\nbut others");
    bench
        .session
        .reject_own(&mut bench.env, secs(1), Cause::Refused, told);
    assert_eq!(bench.session.reason(), "not you");
    assert_eq!(
        flushed(&mut bench, secs(1)),
        "welcome\nout: 403 not you\nbut others\n"
    );
    bench.session.handle_eof(&bench.env, secs(2));
    let refused = (Cause::Refused, false);
    assert_eq!(bench.end(secs(2), SocketAction::Close), refused);
}

#[test]
fn a_handshake_has_its_time_whatever_comes() {
    let mut bench = accepted();
    bench.flush(secs(0));
    for at in 1..5 {
        shake(&mut bench, secs(at), b"step\n");
        bench.flush(secs(at));
        assert_eq!(bench.due(secs(at)), wait(5));
    }
    // An application that takes its time has no more of it.
    shake(&mut bench, secs(4), b"hello\n");
    assert_eq!(bench.due(secs(5)), Due::Changed);
    assert_eq!(bench.session.cause(), Some(Cause::HandshakeTimeout));
    let told = "out: 408 the opening handshake took too long\n";
    assert_eq!(flushed(&mut bench, secs(5)), told);
    accept(&mut bench, secs(5));
    assert!(!bench.session.was_open());
    assert_eq!(bench.due(secs(8)), Due::Changed, "the close timeout");
    let late = (Cause::HandshakeTimeout, false);
    assert_eq!(bench.end(secs(8), SocketAction::Close), late);
}

#[test]
fn a_handshake_ends_with_a_drain_a_close_and_an_end_of_input() {
    let mut bench = accepted();
    bench.close(secs(1), Cause::Drain);
    assert_eq!(
        flushed(&mut bench, secs(1)),
        "welcome\nout: 503 going away\n"
    );
    let mut bench = accepted();
    bench.close(secs(1), Cause::LocalClose);
    assert_eq!(bench.session.phase(), Phase::Closed);
    let mut bench = accepted();
    bench.session.handle_eof(&bench.env, secs(1));
    assert_eq!(bench.session.cause(), Some(Cause::PeerEof));
    assert_eq!(bench.session.phase(), Phase::Closed);
}

#[test]
fn a_handshake_takes_no_more_memory_than_it_may() {
    let mut bench = accepted();
    let most = LimitsConfig::default().max_head;
    assert_eq!(bench.session.input_limit(&bench.env), most);
    let long = vec![b'x'; most];
    assert_eq!(
        shake(&mut bench, secs(1), &long[1..]),
        (0, Shaken::NeedMore)
    );
    assert_eq!(shake(&mut bench, secs(1), &long).1, Shaken::Over);
    assert_eq!(bench.session.cause(), Some(Cause::MessageTooBig));

    let mut bench = accepted();
    bench.session.handle_blocked();
    assert_eq!(shake(&mut bench, secs(1), b"much\n").1, Shaken::Consumed);
    assert_eq!(shake(&mut bench, secs(1), b"much\n").1, Shaken::Over);
    assert_eq!(bench.session.cause(), Some(Cause::ProtocolError));
}

#[test]
fn a_client_asks_first_and_has_the_time_of_a_handshake_from_then() {
    let mut bench = Bench::dialed(Wire::Own(Box::new(Door::default())));
    bench.session.handle_connected(&mut bench.env, secs(3), b"");
    assert_eq!(bench.session.phase(), Phase::Handshaking);
    assert_eq!(flushed(&mut bench, secs(3)), "welcome\n");
    assert_eq!(bench.due(secs(7)), wait(8));
    shake(&mut bench, secs(7), b"hello\n");
    accept(&mut bench, secs(7));
    assert_eq!(bench.session.phase(), Phase::Open);
    let mut bench = Bench::dialed(Wire::Own(Box::new(Door::default())));
    bench.session.handle_connected(&mut bench.env, secs(3), b"");
    assert_eq!(bench.due(secs(8)), Due::Changed);
    let late = (Cause::HandshakeTimeout, false);
    assert_eq!(bench.end(secs(8), SocketAction::Reset), late);
}

#[test]
fn a_codec_that_opens_twice_is_wrong() {
    #[derive(Debug)]
    struct Always;

    impl Codec for Always {
        fn decode(&mut self, _: &[u8], _: &mut Vec<u8>) -> Result<Decoded, ProtocolError> {
            Ok(Decoded::Open { consumed: 1 })
        }

        fn encode(&mut self, _: MessageKind, _: &[u8], _: &mut Vec<u8>) -> Result<(), EncodeError> {
            Ok(())
        }
    }

    let mut bench = Bench::new(Wire::Own(Box::new(Always)));
    bench.feed(secs(1), b"x");
    assert_eq!(bench.session.cause(), Some(Cause::ProtocolError));
}
