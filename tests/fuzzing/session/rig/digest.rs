//! What one turn has done, held against what it ought to: its input first, then verdicts, then output.

use heartwheel::close::{Cause, Phase};
use heartwheel::config::Proof;
use heartwheel::proto::outbox::Outbox;
use heartwheel::proto::pool::Pool;
use heartwheel::proto::session::{Note, Session};
use heartwheel::proto::time::Micros;
use heartwheel::sys::Probe;

use super::super::super::memory::opening;
use super::super::plan::WireChoice;
use super::super::reader::Next;
use super::Rig;

/// The connection before a turn.
pub(super) struct Before {
    phase: Phase,
    cause: Option<Cause>,
    had_output: bool,
    is_paused: bool,
    queued: usize,
    age: Micros,
    pings_received: u64,
    bad_pongs: u64,
    folded: u64,
    unread: usize,
}

impl Rig {
    pub(super) fn look(&self) -> Before {
        let session = self.session();
        let stats = self.process.inner.stats();
        Before {
            phase: self.phase(),
            cause: self.cause(),
            had_output: self.has_output(),
            is_paused: self.is_paused(),
            queued: session.map_or(0, Session::queued),
            age: session.map_or(Micros::ZERO, |session| session.age(self.moment())),
            pings_received: stats.pings_received,
            bad_pongs: stats.pongs_unsolicited + stats.pongs_mismatched,
            folded: stats.pongs_folded,
            unread: self.arrived.len(),
        }
    }

    pub(super) fn digest(&mut self, before: &Before) {
        if self.is_ended {
            return;
        }
        let count = self.arrived.len() - self.far.unread();
        let read: Vec<_> = self.arrived.drain(..count).collect();
        let now = self.moment();
        if !read.is_empty() {
            let times = self.policies[0].clone();
            self.law.note_bytes(&times, now);
        }
        let has_read = !read.is_empty();
        self.check_input(before, read);
        self.check_verdict(before);
        let has_written = self.check_output(before);
        if !before.had_output && self.has_output() {
            self.law.note_progress(now);
        }
        let is_over = self.session().is_none();
        if is_over && before.phase == Phase::Closing && !has_read && !has_written && !self.is_over {
            let times = self.policies[0].clone();
            self.law.check_close(&times, before.had_output, now);
        }
        self.check_state();
        if is_over {
            self.finish();
        }
    }

    fn check_input(&mut self, before: &Before, read: Vec<u8>) {
        let is_opened = self.process.handler.is_opened;
        self.waiting.extend(read);
        match before.phase {
            Phase::Open => {}
            Phase::Handshaking if is_opened => {
                let len = opening::head_len(&self.waiting).expect("it has opened");
                self.waiting.drain(..len);
            }
            Phase::Handshaking if self.phase() == Phase::Handshaking => return,
            Phase::Connecting | Phase::Handshaking | Phase::Closing | Phase::Closed => {
                self.waiting.clear();
                assert!(
                    self.process.handler.heard.is_empty(),
                    "not while it is open"
                );
                self.process.handler.pongs.clear();
                return;
            }
        }
        self.check_frames(before);
        self.check_rest_of_line();
        let handler = &self.process.handler;
        assert!(handler.heard.is_empty(), "a message out of nothing");
        assert!(handler.pongs.is_empty(), "an answer out of nothing");
    }

    /// Reads as the session does, and compares.
    fn check_frames(&mut self, before: &Before) {
        let cause = self.cause();
        let stats = self.process.inner.stats();
        let pings = stats.pings_received - before.pings_received;
        let bad = stats.pongs_unsolicited + stats.pongs_mismatched - before.bad_pongs;
        let (mut pings_seen, mut bad_seen) = (0, 0);
        while !self.waiting.is_empty() {
            if cause == Some(Cause::RateLimited) && (pings_seen, bad_seen) == (pings, bad) {
                let handler = &self.process.handler;
                if handler.heard.is_empty() && handler.pongs.is_empty() {
                    // The rest was too much.
                    return self.waiting.clear();
                }
            }
            let (used, next) = match self.reader.step(self.waiting.clone()) {
                Ok(step) => step,
                Err(error) => {
                    assert_eq!(cause, Some(error.cause()), "{error:?}");
                    return self.waiting.clear();
                }
            };
            self.waiting.drain(..used);
            match next {
                Next::More => break,
                Next::Frame => {}
                Next::Message(payload) => {
                    let heard = &mut self.process.handler.heard;
                    let heard = match self.wire {
                        // Each read is a message.
                        WireChoice::Raw => Some(heard.drain(..).flatten().collect()),
                        _ => heard.pop_front(),
                    };
                    assert_eq!(heard, Some(payload), "{cause:?}");
                    let (times, now) = (self.policies[0].clone(), self.moment());
                    self.law.note_message_in(&times, now);
                }
                Next::Ping(payload) => {
                    pings_seen += 1;
                    if cause == Some(Cause::PingFlood) && pings_seen == pings {
                        let all = self.process.inner.stats().pings_received;
                        assert_burst(all, self.limits.pings_per_second);
                        return self.waiting.clear();
                    }
                    self.observer.expect_pong(payload);
                }
                Next::Pong(token) => {
                    bad_seen += u64::from(!self.check_pong(token));
                    if cause == Some(Cause::PongFlood) && bad_seen == bad {
                        let stats = self.process.inner.stats();
                        let all = stats.pongs_unsolicited + stats.pongs_mismatched;
                        assert_burst(all, self.limits.pongs_per_second);
                        return self.waiting.clear();
                    }
                }
                Next::Close => {
                    assert_eq!(cause, Some(Cause::PeerClosed));
                    return self.waiting.clear();
                }
            }
        }
        assert_eq!((pings_seen, bad_seen), (pings, bad), "{cause:?}");
        // While the socket takes output every ping gets a pong of its own, within the bounds of memory.
        let is_free = self.room == usize::MAX && !self.far.is_starved() && !before.had_output;
        if is_free && self.observer.owed_bytes() <= Outbox::PONG_LIMIT {
            let folded = self.process.inner.stats().pongs_folded;
            assert_eq!(folded, before.folded, "a pong stands for two pings");
        }
    }

    /// Says whether a pong answers a ping of ours, as the loop must have it.
    fn check_pong(&mut self, token: Option<Vec<u8>>) -> bool {
        let written = self.observer.pings.len();
        let number = match token {
            // A wire without tokens: the oldest.
            None => (self.answered < written).then_some(self.answered),
            Some(token) => {
                let mut outstanding = (self.answered..written).rev();
                outstanding.find(|&number| self.observer.pings[number] == token)
            }
        };
        let Some(number) = number else {
            return false;
        };
        self.answered = number + 1;
        let rtt = self.process.handler.pongs.pop_front();
        let took = self.now() - self.written_at[number];
        let rtt = rtt.expect("the application is told of an answer");
        assert!(rtt.is_none_or(|rtt| Micros::from(rtt) == took));
        let now = self.moment();
        self.law.note_answer(now);
        true
    }

    /// The end of input ends a line.
    fn check_rest_of_line(&mut self) {
        if !self.is_over || self.arrived.len() > self.far.unread() {
            return;
        }
        if let Some(line) = self.process.handler.heard.pop_front() {
            assert!(matches!(self.wire, WireChoice::Line));
            assert!(line.len() <= self.limits.max_message);
        }
    }

    fn check_verdict(&mut self, before: &Before) {
        let (times, now) = (self.policies[0].clone(), self.moment());
        let mut is_judged = false;
        for probe in self.far.take_probes() {
            match probe {
                Probe::Expiry(Note::Judging) => is_judged = true,
                Probe::Expiry(Note::Spared) => {
                    is_judged = false;
                    self.law.note_spared(&times);
                }
                Probe::Expiry(Note::Waiting) if times.proof == Proof::Bytes => {
                    self.law.note_bytes(&times, now);
                }
                Probe::Cause(_)
                | Probe::Decoded { .. }
                | Probe::Expiry(_)
                | Probe::HeldBack(_)
                | Probe::Relieved => {}
            }
        }
        let (None, Some(cause)) = (before.cause, self.cause()) else {
            return;
        };
        if is_judged {
            let is_left = before.is_paused && before.unread > 0;
            assert!(
                !(is_left && times.proof == Proof::Bytes),
                "proof was waiting"
            );
            self.law.check_silence(cause, &times, before.is_paused, now);
            return;
        }
        // The kernel may know better than that output is stuck.
        let cause = match cause {
            Cause::PathDead if !self.is_over => Cause::WriteStalled,
            cause => cause,
        };
        match cause {
            Cause::WriteStalled
            | Cause::ConnectTimeout
            | Cause::HandshakeTimeout
            | Cause::SlowPeer
            | Cause::AppIdle
            | Cause::MaxLifetime => {
                let state = (before.age, before.is_paused);
                self.law
                    .check_deadline(cause, &times, &self.limits, state, now);
            }
            _ => {}
        }
    }

    /// Has the peer read what was written; says whether there was anything.
    fn check_output(&mut self, before: &Before) -> bool {
        let (bytes, now) = (self.far.take(), self.moment());
        if bytes.is_empty() {
            return false;
        }
        let pings = self.observer.pings.len();
        self.observer.read(&bytes);
        let queued = self.session().map_or(0, Session::queued);
        self.law.note_written(queued < before.queued, now);
        for _ in pings..self.observer.pings.len() {
            self.written_at.push(now.at);
            self.law.note_ping_written(now);
        }
        let written = self.written_at.len() as u64;
        assert_eq!(self.process.inner.stats().pings_written, written);
        true
    }

    fn check_state(&mut self) {
        let (now, evidence) = (self.moment(), self.evidence());
        let late = self.process.inner.lateness().total(now.at);
        assert!(
            Micros::from(evidence.forgiveness) <= late.saturating_mul(2),
            "{evidence:?} {now:?}"
        );
        assert!(evidence.pings_answered <= evidence.pings_written);
        assert!(
            evidence
                .last_in
                .is_none_or(|span| span <= std::time::Duration::from(now.at))
        );
        let is_numbered = matches!(
            evidence.cause,
            Cause::IoError | Cause::PeerReset | Cause::PathDead
        );
        assert!(evidence.errno.is_none() || is_numbered);
        if let Some(rtt) = evidence.rtt {
            assert!(rtt.min <= rtt.last && rtt.min <= rtt.smoothed);
        }
        assert!(!(evidence.clean && evidence.is_cut()), "{evidence:?}");
        assert!(self.process.inner.pool().free_bytes() <= Pool::KEPT);
        let Some(session) = self.session() else {
            return;
        };
        let (phase, cause) = (session.phase(), session.cause());
        assert_eq!(evidence.cause, cause.unwrap_or(Cause::LocalClose));
        assert_eq!(evidence.last_proof.is_some(), session.was_open());
        assert!(session.reason().len() <= 123);
        if phase == Phase::Open {
            // Control frames have reserved places, each of a known size.
            let data = session.queued() as u64;
            assert!(evidence.bytes_queued >= data);
            let control = evidence.bytes_queued - data;
            assert!(
                control <= 4096 + 4 * 131,
                "{control} bytes of control frames"
            );
        }
        self.law.note_state(phase, cause, now);
    }

    /// What must be so when nothing is under way.
    pub(in super::super) fn check_rest(&mut self) {
        let (now, times) = (self.moment(), self.policies[0].clone());
        let stats = self.process.inner.stats();
        let (pings_due, folded) = (stats.pings_due, stats.pongs_folded);
        self.law.check_pings(&times, now, pings_due);
        self.process.inner.wheel().assert_consistent();
        let Some(session) = self.session().filter(|session| !session.has_output()) else {
            return;
        };
        let is_goodbye_due = session.phase() == Phase::Closing && session.was_open();
        if is_goodbye_due && matches!(self.wire, WireChoice::WebSocket | WireChoice::Own) {
            let is_spared = session.cause() == Some(Cause::PeerEof);
            assert!(self.observer.is_closed || is_spared, "no goodbye");
        }
        if session.phase() != Phase::Open {
            return;
        }
        if self.waiting.is_empty() && self.reader.is_idle() && !session.has_input() {
            assert!(session.is_released(), "an idle session keeps buffers");
        }
        assert!(self.observer.sent.is_empty(), "a message was lost");
        self.observer.settle_pongs(folded);
    }

    fn finish(&mut self) {
        let evidence = self.evidence();
        let is_websocket = matches!(self.wire, WireChoice::WebSocket);
        if is_websocket && evidence.clean && self.process.handler.is_opened {
            assert!(self.observer.is_closed, "clean without our goodbye");
        }
        self.is_ended = true;
        self.check_nothing_is_left();
    }
}

/// A peer may send three seconds' worth at once.
fn assert_burst(count: u64, rate: Option<u32>) {
    let cost = 1_000 / rate.expect("the limit is on");
    assert!(count * u64::from(cost) > 3_000, "a flood of {count}");
}
