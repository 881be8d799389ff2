//! The rules that a codec states, and what it answers by itself.

use super::*;

/// Lines. `ping x`, `pong 7`; `ack x` is answered at once, `bad x` too.
#[derive(Debug, Default)]
pub(super) struct Talk {
    rules: Rules,
    encoded: usize,
}

impl Talk {
    fn with(rules: Rules) -> Bench {
        Bench::new(Wire::Own(Box::new(Self { rules, encoded: 0 })))
    }
}

impl Codec for Talk {
    fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Decoded, ProtocolError> {
        assert!(out.is_empty(), "an answer has nothing in front of it");
        let Some(end) = input.iter().position(|&byte| byte == b'\n') else {
            return Ok(Decoded::NeedMore);
        };
        let consumed = end + 1;
        let (word, payload) = match input[..end].iter().position(|&byte| byte == b' ') {
            Some(space) => (&input[..space], space + 1..end),
            None => (&input[..end], end..end),
        };
        match word {
            b"ping" => return Ok(Decoded::Ping { consumed, payload }),
            b"pong" => {
                let token = std::str::from_utf8(&input[payload]).ok();
                let token = token.and_then(|token| token.parse().ok());
                return Ok(Decoded::Pong { consumed, token });
            }
            b"ack" => {
                out.extend_from_slice(b"acked ");
                out.extend_from_slice(&input[payload.start..consumed]);
            }
            b"bad" => {
                out.extend_from_slice(b"error\n");
                return Err(ProtocolError::Custom("a bad word"));
            }
            _ => {}
        }
        Ok(Decoded::Message {
            consumed,
            kind: MessageKind::Text,
            payload: 0..end,
        })
    }

    fn encode(
        &mut self,
        _: MessageKind,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        self.encoded += 1;
        if payload.contains(&b'\n') {
            return Err(EncodeError::Custom("two lines"));
        }
        out.extend_from_slice(payload);
        out.push(b'\n');
        Ok(())
    }

    fn rules(&self) -> Rules {
        self.rules
    }

    fn has_pings(&self) -> bool {
        true
    }

    fn encode_ping(&mut self, token: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("ping {token}\n").as_bytes());
    }

    fn encode_pong(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"pong ");
        out.extend_from_slice(payload);
        out.push(b'\n');
    }

    fn encode_close(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"bye\n");
    }
}

fn encoded(bench: &Bench) -> usize {
    let codec: &dyn Any = bench.session.codec().unwrap();
    codec.downcast_ref::<Talk>().unwrap().encoded
}

fn pongs(pongs: Pongs) -> Bench {
    let rules = Rules {
        pongs,
        ..Rules::default()
    };
    let codec = Talk { rules, encoded: 0 };
    Bench::with(Wire::Own(Box::new(codec)), |_, limits| {
        limits.pings_per_second = None;
    })
}

#[test]
fn answers_to_pings_leave_as_the_codec_says() {
    for (rule, taken) in [
        (Pongs::InOrder, "hello\npong 1\npong 2\nthere\n"),
        (Pongs::Ahead, "hello\npong 1\npong 2\nthere\n"),
        (Pongs::Newest, "hello\npong 2\nthere\n"),
    ] {
        let mut bench = pongs(rule);
        bench.send(secs(1), Message::text("hello")).unwrap();
        assert_eq!(bench.flush_some(secs(1), 1), b"h");
        bench.session.handle_blocked();
        if rule != Pongs::InOrder {
            bench.send(secs(1), Message::text("there")).unwrap();
        }
        bench.feed(secs(1), b"ping 1\nping 2\n");
        if rule == Pongs::InOrder {
            bench.send(secs(1), Message::text("there")).unwrap();
        }
        bench.session.handle_writable();
        let out = bench.flush(secs(2));
        assert_eq!(String::from_utf8(out).unwrap(), taken[1..], "{rule:?}");
        let folded = u64::from(rule == Pongs::Newest);
        assert_eq!(bench.env.stats().pongs_folded, folded);
    }
}

#[test]
fn what_a_codec_answers_leaves_before_what_the_application_does() {
    let mut bench = Talk::with(Rules::default());
    assert_eq!(bench.feed(secs(1), b"ack one\n"), [text("ack one")]);
    bench.send(secs(1), Message::text("done")).unwrap();
    assert_eq!(bench.flush(secs(1)), b"acked one\ndone\n");
    assert!(bench.session.is_released());
}

#[test]
fn what_a_codec_answers_to_a_broken_rule_leaves_before_the_goodbye() {
    let mut bench = Talk::with(Rules::default());
    bench.feed(secs(1), b"bad\nmore\n");
    assert_eq!(bench.session.cause(), Some(Cause::ProtocolError));
    assert_eq!(bench.session.reason(), "a bad word");
    assert_eq!(bench.flush(secs(1)), b"error\nbye\n");
}

#[test]
fn text_is_checked_by_the_session_unless_the_codec_does() {
    for (checks_text, cause) in [(false, Some(Cause::InvalidUtf8)), (true, None)] {
        let bench = Talk::with(Rules {
            checks_text,
            ..Rules::default()
        });
        let (mut session, mut env) = (bench.session, bench.env);
        let (_, event) = session.decode(&mut env, secs(1), &mut b"a \xff\n".to_vec());
        assert_eq!(session.cause(), cause);
        assert_eq!(matches!(event, Event::Message { .. }), checks_text);
    }
}

#[test]
fn a_pong_is_judged_by_its_token_where_the_codec_says_that_it_has_one() {
    for (has_tokens, answers) in [(false, [true, true]), (true, [false, true])] {
        let mut bench = Talk::with(Rules {
            has_tokens,
            ..Rules::default()
        });
        let ping = bench.ping(secs(10));
        // Of no ping, and one that cannot be read.
        for (bytes, is_answer) in [(&b"pong 1\n"[..], answers[0]), (b"pong x\n", false)] {
            let heard = bench.feed(secs(11), bytes);
            assert_eq!(!heard.is_empty(), is_answer, "{bytes:?}");
        }
        if has_tokens {
            let pong = [b"pong", &ping[4..]].concat();
            assert!(matches!(
                bench.feed(secs(12), &pong)[..],
                [Heard::Pong(Some(_))]
            ));
        }
    }
}

#[test]
fn a_shared_message_is_encoded_once_where_the_codec_says_so() {
    let bench = |encoding| {
        Talk::with(Rules {
            encoding,
            ..Rules::default()
        })
    };
    let shared = SharedMessage::new(Message::text("news"));
    let [mut first, mut second, mut other] = [1, 1, 2].map(|number| bench(Encoding::Once(number)));
    let mut each = bench(Encoding::Each);
    for (bench, times) in [
        (&mut first, 1),
        (&mut second, 0),
        (&mut other, 1),
        (&mut each, 1),
    ] {
        let sent = bench.session.send_shared(&mut bench.env, secs(1), &shared);
        assert_eq!(sent, Ok(()));
        assert_eq!(encoded(bench), times);
        assert_eq!(bench.flush(secs(1)), b"news\n");
    }
}

#[test]
fn many_encodings_of_one_message_are_not_kept() {
    let shared = SharedMessage::new(Message::text("news"));
    for number in 0..20 {
        for is_known in [false, true] {
            let mut bench = Talk::with(Rules {
                encoding: Encoding::Once(number),
                ..Rules::default()
            });
            let (session, env) = (&mut bench.session, &mut bench.env);
            session.send_shared(env, secs(1), &shared).unwrap();
            let times = usize::from(!is_known || number >= 8);
            assert_eq!(encoded(&bench), times, "encoding {number}");
            assert_eq!(bench.flush(secs(1)), b"news\n");
        }
    }
}

#[test]
fn a_shared_message_that_a_codec_cannot_carry_is_refused_to_each() {
    let shared = SharedMessage::new(Message::text("two\nlines"));
    for _ in 0..2 {
        let mut bench = Talk::with(Rules {
            encoding: Encoding::Once(0),
            ..Rules::default()
        });
        let sent = bench.session.send_shared(&mut bench.env, secs(1), &shared);
        assert_eq!(
            sent,
            Err(SendError::Encode(EncodeError::Custom("two lines")))
        );
        assert!(!bench.session.has_output());
    }
}

// A peer that does not take its answers.

/// Sends until nothing more is decoded; returns how many answers wait.
fn choke(bench: &mut Bench, now: Moment, bytes: &[u8]) -> usize {
    let mut count = 0;
    while !bench.session.is_paused() {
        bench.feed(now, bytes);
        count += 1;
        assert!(count < 10_000, "decoding does not stop");
    }
    count
}

#[test]
fn a_peer_that_does_not_take_its_answers_is_not_read() {
    for (rule, bytes, most, half) in [
        (Pongs::InOrder, &b"ack 8901234\n"[..], 64 * 1024, 32 * 1024),
        (Pongs::InOrder, b"ping 890123456789\n", 64 * 1024, 32 * 1024),
        (Pongs::Ahead, b"ping 890123456789\n", 4_096, 2_048),
    ] {
        let mut bench = pongs(rule);
        bench.session.handle_blocked();
        let answer = if bytes[0] == b'a' { 14 } else { bytes.len() };
        let count = choke(&mut bench, secs(1), bytes);
        let waiting = count * answer;
        assert!((most..most + answer + 1).contains(&waiting), "{waiting}");
        // What comes now is kept, and not decoded.
        let heard = bench.feed(secs(2), b"late\n");
        assert!(heard.is_empty());
        // For as long as it does not read, its silence is no sign of death.
        assert!(bench.session.heartbeat().is_paused());
        bench.flush_some(secs(3), waiting - half - answer);
        assert!(bench.session.is_paused(), "{rule:?}");
        bench.flush_some(secs(4), answer);
        assert!(!bench.session.is_paused(), "{rule:?}");
        assert_eq!(bench.session.socket_action(), SocketAction::ResumeReading);
        assert_eq!(bench.feed(secs(4), b""), [text("late")]);
        bench.flush(secs(4));
        assert!(bench.session.is_released());
    }
}

#[test]
fn messages_that_wait_are_no_answers() {
    let mut bench = Talk::with(Rules::default());
    bench.session.handle_blocked();
    let long = "x".repeat(100_000);
    bench.send(secs(1), Message::text(&long)).unwrap();
    assert_eq!(bench.feed(secs(1), b"ack 1\n"), [text("ack 1")]);
    assert!(!bench.session.is_paused());
}

#[test]
fn the_pauses_for_answers_for_memory_and_of_the_application_end_apart() {
    // Each order in which the three may end.
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        for is_paused_first in [true, false] {
            let mut bench = Talk::with(Rules::default());
            bench.session.handle_blocked();
            choke(&mut bench, secs(1), b"ack 8901234\n");
            let hold_back = |bench: &mut Bench| bench.session.hold_back(&mut bench.env, secs(2));
            if is_paused_first {
                bench.session.handle_pause(secs(2));
                assert!(hold_back(&mut bench));
            } else {
                assert!(hold_back(&mut bench));
                bench.session.handle_pause(secs(2));
            }
            for (ended, what) in order.into_iter().enumerate() {
                assert!(bench.session.is_paused(), "{order:?}: {ended} ended");
                match what {
                    0 => drop(bench.flush(secs(3))),
                    1 => bench.session.let_go(secs(3)),
                    _ => bench.session.handle_resume(secs(3)),
                }
            }
            assert!(!bench.session.is_paused(), "{order:?}");
        }
    }
}

#[test]
fn the_pauses_for_answers_and_for_a_limit_end_apart() {
    for is_flushed_first in [true, false] {
        let mut bench = Bench::with(Wire::Own(Box::new(Talk::default())), |heartbeat, limits| {
            heartbeat.interval = None;
            heartbeat.timeout = None;
            heartbeat.write_timeout = None;
            limits.bytes_per_second = Some(1_024);
        });
        bench.session.handle_blocked();
        let long = [b"ack ", &[b'x'; 70_000][..], b"\n"].concat();
        bench.feed(secs(1), &long);
        assert!(bench.session.is_paused());
        let limit_ends = |bench: &mut Bench| {
            let Due::Wait(at) = bench.due(secs(2)) else {
                panic!("a limit has an end");
            };
            assert_eq!(bench.due(Moment::on_time(at)), Due::Changed);
        };
        if is_flushed_first {
            bench.flush(secs(2));
            assert!(bench.session.is_paused(), "the limit");
            limit_ends(&mut bench);
        } else {
            limit_ends(&mut bench);
            assert!(bench.session.is_paused(), "the answer waits");
            bench.flush(secs(100));
        }
        assert!(!bench.session.is_paused());
    }
}
