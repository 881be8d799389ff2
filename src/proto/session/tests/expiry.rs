//! What an expiry asks of the shell, in order.

use super::*;

/// What the shell finds each time it is asked.
#[derive(Clone, Copy, Default)]
struct Finds {
    found: Found,
    /// What a read gets.
    input: &'static [u8],
    /// Bytes that a write takes.
    room: usize,
}

impl Bench {
    /// Does what the session asks for, and returns all of it.
    fn expire(&mut self, now: Moment, finds: Finds) -> Vec<Step> {
        let mut expiry = Expiry::default();
        let mut steps = Vec::new();
        loop {
            let step = self
                .session
                .handle_expiry(&mut self.env, now, &mut expiry, &finds.found);
            steps.push(step);
            match step {
                Step::Wait(_) => return steps,
                Step::ReadOnce if !finds.input.is_empty() => {
                    self.feed(now, finds.input);
                }
                Step::WriteOnce => {
                    self.flush_some(now, finds.room);
                }
                Step::Connect
                | Step::ReadOnce
                | Step::Peek
                | Step::Figures
                | Step::Flush
                | Step::Note(_) => {}
            }
            assert!(steps.len() < 20, "{steps:?}");
        }
    }
}

const SILENT: Step = Step::Note(Note::Silent { is_put_off: false });
const PUT_OFF: Step = Step::Note(Note::Silent { is_put_off: true });
const JUDGING: Step = Step::Note(Note::Judging);
const WAITING: Step = Step::Note(Note::Waiting);
const OVER: Step = Step::Wait(Micros::MAX);

fn until(secs: u64) -> Step {
    Step::Wait(Micros::from_secs(secs))
}

/// A session whose two pings have left, and whose silence lasts too long at 25 s.
fn unanswered(proof: Proof) -> Bench {
    let mut bench = Bench::with(Wire::WebSocket, |heartbeat, _| heartbeat.proof = proof);
    bench.ping(secs(10));
    bench.ping(secs(20));
    bench
}

#[test]
fn silence_is_judged_after_a_read_and_with_the_figures() {
    let mut bench = unanswered(Proof::Bytes);
    let steps = bench.expire(secs(25), Finds::default());
    let whole = [
        Step::ReadOnce,
        SILENT,
        JUDGING,
        Step::Figures,
        Step::Flush,
        OVER,
    ];
    assert_eq!(steps, whole);
    assert_eq!(bench.session.cause(), Some(Cause::PongTimeout));
}

#[test]
fn what_the_read_finds_calls_the_verdict_off() {
    let mut bench = unanswered(Proof::Bytes);
    let input = b"\x81";
    let finds = Finds {
        input,
        ..Finds::default()
    };
    let steps = bench.expire(secs(25), finds);
    assert_eq!(steps, [Step::ReadOnce, SILENT, until(30)]);
    assert_eq!(bench.session.cause(), None);
}

#[test]
fn bytes_that_a_budget_left_are_a_word_from_the_peer() {
    let found = Found {
        is_unread: true,
        is_waiting: true,
        ..Found::default()
    };
    let finds = Finds {
        found,
        ..Finds::default()
    };
    let counted = [Step::ReadOnce, Step::Peek, WAITING, PUT_OFF, until(25)];
    let mut bench = unanswered(Proof::Bytes);
    assert_eq!(bench.expire(secs(25), finds), counted);
    assert_eq!(bench.expire(secs(25), finds), [until(30)], "it counted");
    // For another proof they put the verdict off, by T - I.
    let mut bench = unanswered(Proof::Pong);
    assert_eq!(bench.expire(secs(39), finds)[..4], counted[..4]);
    assert_eq!(bench.session.cause(), None);
    assert_eq!(
        bench.expire(secs(40), finds)[3..6],
        [SILENT, JUDGING, Step::Figures]
    );
    assert_eq!(bench.session.cause(), Some(Cause::PongTimeout));
}

#[test]
fn while_reading_is_paused_only_what_waits_is_looked_at() {
    let mut bench = unanswered(Proof::Bytes);
    bench.session.handle_pause(secs(21));
    let mut finds = Finds::default();
    finds.found.is_waiting = true;
    let steps = bench.expire(secs(25), finds);
    assert_eq!(steps, [Step::Peek, WAITING, SILENT, until(30)]);
    finds.found.is_waiting = false;
    bench.ping(secs(30));
    bench.ping(secs(40));
    let steps = bench.expire(secs(50), finds);
    assert_eq!(steps[..3], [Step::Peek, SILENT, JUDGING]);
    assert!(bench.session.cause().is_some());
}

#[test]
fn output_is_offered_before_it_is_found_to_have_stalled() {
    let stalled = || {
        let mut bench = Bench::with(Wire::Raw, |heartbeat, _| heartbeat.timeout = None);
        bench.send(secs(0), Message::binary(&[7; 100])).unwrap();
        bench
    };
    let mut bench = stalled();
    let finds = Finds::default();
    assert_eq!(
        bench.expire(secs(10), finds),
        [Step::WriteOnce, Step::Flush, OVER]
    );
    assert_eq!(bench.session.cause(), Some(Cause::WriteStalled));

    let mut bench = stalled();
    let finds = Finds {
        room: 1,
        ..Finds::default()
    };
    assert_eq!(
        bench.expire(secs(10), finds),
        [Step::WriteOnce, Step::Flush, until(20)]
    );

    // What the peer said before its reset is still to be read.
    let mut bench = stalled();
    let mut finds = Finds::default();
    finds.found.is_lost = true;
    assert_eq!(bench.expire(secs(10), finds), [Step::WriteOnce, until(10)]);
    assert_eq!(bench.session.cause(), None);
}

#[test]
fn where_output_waits_a_silent_peer_is_offered_it_too() {
    let mut bench = unanswered(Proof::Bytes);
    bench.send(secs(24), Message::text("a last word")).unwrap();
    let steps = bench.expire(secs(25), Finds::default());
    let whole = [
        Step::ReadOnce,
        SILENT,
        Step::WriteOnce,
        JUDGING,
        Step::Figures,
        Step::Flush,
        OVER,
    ];
    assert_eq!(steps, whole);
}

#[test]
fn an_opening_handshake_is_refused_after_a_read_that_came_to_its_end() {
    let mut bench = Bench::accepted(Wire::WebSocket, |_, _| {});
    let mut finds = Finds::default();
    finds.found.is_unread = true;
    assert_eq!(
        bench.expire(secs(5), finds),
        [Step::ReadOnce, Step::Peek, until(5)]
    );
    assert_eq!(bench.session.cause(), None);
    let steps = bench.expire(secs(5), Finds::default());
    assert_eq!(steps[..2], [Step::ReadOnce, Step::Flush]);
    assert_eq!(bench.session.cause(), Some(Cause::HandshakeTimeout));
}

#[test]
fn a_dial_is_asked_what_came_of_it_before_it_is_too_late() {
    let mut bench = Bench::dialed(Wire::Line);
    let late = Moment::on_time(bench.session.poll_deadline(&bench.env, secs(0)));
    let steps = bench.expire(late, Finds::default());
    assert_eq!(steps, [Step::Connect, Step::Flush, OVER]);
    assert_eq!(bench.session.cause(), Some(Cause::ConnectTimeout));
}

#[test]
fn a_ping_that_is_due_takes_two_steps() {
    let mut bench = Bench::new(Wire::Line);
    let steps = bench.expire(secs(10), Finds::default());
    assert_eq!(steps, [Step::Flush, until(20)]);
}
