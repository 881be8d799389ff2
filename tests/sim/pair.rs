//! Two sessions back to back over a scripted network: split reads, short writes, blocked output,
//! pauses, stalls, closes, ends of input and resets, in an order that a seed decides.

use std::time::Duration;

use heartwheel::close::Cause;
use heartwheel::config::{HeartbeatConfig, LimitsConfig, Proof};
use heartwheel::proto::message::Message;
use heartwheel::proto::session::{SocketAction, Wire};
use heartwheel::proto::time::{Micros, Moment};
use heartwheel::proto::wire::Role;

use crate::dice::Dice;
use crate::end::End;

/// What the network holds at most in one direction, bytes.
const PIPE: usize = 8 * 1024;

fn end(wire: Wire, role: Role, seed: u64) -> End {
    let heartbeat = HeartbeatConfig {
        interval: Some(Duration::from_secs(10)),
        timeout: Some(Duration::from_secs(25)),
        proof: [Proof::Bytes, Proof::Message, Proof::Pong][(seed % 3) as usize],
        ..HeartbeatConfig::tcp()
    };
    let limits = LimitsConfig {
        max_fragment: 3_000,
        ..LimitsConfig::default()
    };
    End::begin(wire, role, seed, &heartbeat, &limits).open()
}

/// Both ends and the time.
struct Pair {
    ends: [End; 2],
    /// What each of them sent.
    sent: [Vec<Vec<u8>>; 2],
    now: Moment,
    dice: Dice,
}

impl Pair {
    fn new(wire: fn() -> Wire, seed: u64) -> Self {
        Self {
            ends: [
                end(wire(), Role::Client, seed),
                end(wire(), Role::Server, !seed),
            ],
            sent: [Vec::new(), Vec::new()],
            now: Moment::default(),
            dice: Dice::new(seed ^ 0xD1CE),
        }
    }

    fn send(&mut self, end: usize, size: usize) {
        // Text that no wire refuses, and that tells its place.
        let mut text = format!("{} ", self.sent[end].len());
        text.extend(std::iter::repeat_n('x', size));
        if self.ends[end].send(self.now, Message::text(&text)) {
            self.sent[end].push(text.into_bytes());
        }
    }

    fn heard(&self, end: usize) -> Vec<&[u8]> {
        let heard = self.ends[end].heard.iter();
        heard.map(|(_, data)| data.as_slice()).collect()
    }

    /// Writes, reads and looks at the sockets once.
    fn exchange(&mut self, most: usize) {
        let now = self.now;
        let [client, server] = &mut self.ends;
        for is_client in [true, false] {
            let (end, peer) = if is_client {
                (&mut *client, &mut *server)
            } else {
                (&mut *server, &mut *client)
            };
            end.read(now, most);
            end.tick(now);
            let room = match peer.cause {
                Some(_) => PIPE,
                None => PIPE - peer.pipe.len(),
            };
            peer.pipe.extend(end.write(now, most.min(room)));
            match end.settle(now) {
                SocketAction::Keep | SocketAction::ResumeReading => {}
                SocketAction::ShutdownWrite => {
                    assert!(!peer.fin, "a direction ends once");
                    peer.fin = true;
                }
                SocketAction::Close => peer.fin = true,
                SocketAction::Reset => peer.reset = true,
            }
            if end.cause.is_none() {
                end.session.release(&mut end.env);
            }
        }
    }

    /// One random step.
    fn step(&mut self, is_rough: bool) {
        let size = [3, 200, 5_000, 30_000][self.dice.index(4)];
        let most = [4, 100, 20_000][self.dice.index(3)];
        let most = 1 + self.dice.index(most);
        let end = self.dice.index(2);
        let now = self.now;
        match self.dice.index(if is_rough { 60 } else { 40 }) {
            0..8 => self.send(end, size),
            8..30 => self.exchange(most),
            30..37 => self.now.at = now.at + Micros::new(self.dice.below(1_500_000)),
            37 => self.ends[end].session.ping(&mut self.ends[end].env, now),
            38 => self.ends[end].session.handle_pause(now),
            39..44 => self
                .ends
                .iter_mut()
                .for_each(|end| end.session.handle_resume(now)),
            44 => {
                let stop = Micros::from_secs(self.dice.below(60));
                let ends = now.at + stop;
                for end in &mut self.ends {
                    let lateness = end.env.lateness_mut();
                    lateness.end_turn(now.at, now.at);
                    self.now = lateness.begin_turn(ends);
                }
                self.exchange(most);
                for end in &mut self.ends {
                    self.now = end.env.lateness_mut().end_turn(ends, Micros::MAX);
                }
            }
            45 if self.dice.one_in(40) => self.ends[end].close(now, "that will do"),
            46 if self.dice.one_in(80) => self.ends[end].reset = true,
            47 if self.dice.one_in(80) => self.ends[end].fin = true,
            _ => self.exchange(PIPE),
        }
    }

    /// Lets everything flow until nothing moves.
    fn drain(&mut self) {
        let now = self.now;
        self.ends
            .iter_mut()
            .for_each(|end| end.session.handle_resume(now));
        while self.is_moving() {
            self.exchange(usize::MAX);
        }
        self.exchange(usize::MAX);
        self.exchange(usize::MAX);
    }

    fn is_moving(&self) -> bool {
        let is_moving = |end: &End| !end.pipe.is_empty() || end.session.has_output();
        self.ends
            .iter()
            .any(|end| end.cause.is_none() && is_moving(end))
    }

    /// Lets so much time pass that whoever is closing is closed.
    fn wait(&mut self, secs: u64) {
        for _ in 0..secs * 10 {
            self.now.at = self.now.at + Micros::from_millis(100);
            self.exchange(usize::MAX);
        }
    }

    fn assert_faithful(&self) {
        for (from, to) in [(0, 1), (1, 0)] {
            let (sent, heard) = (&self.sent[from], self.heard(to));
            // On the line wire an end of input in the middle of a line ends that line.
            let whole = self.ends[to].rest.unwrap_or(heard.len());
            assert!(whole <= sent.len());
            assert!(
                heard[..whole] == sent[..whole],
                "what was heard is not what was sent"
            );
            assert!(heard.len() <= whole + 1);
            let stats = self.ends[from].env.stats();
            assert_eq!(stats.pongs_unsolicited, 0);
        }
    }
}

/// The built-in wires that carry messages, made anew for each end.
const WIRES: [fn() -> Wire; 3] = [|| Wire::WebSocket, || Wire::Line, || Wire::Binary];

#[test]
fn gentle_networks_deliver_everything_and_close_cleanly() {
    for wire in WIRES {
        let name = wire().kind().label();
        for seed in 0..40 {
            eprintln!("{name}, seed {seed}");
            let mut pair = Pair::new(wire, seed);
            for _ in 0..300 {
                pair.step(false);
                // Nobody is to die of a pause here.
                if pair.dice.one_in(10) {
                    pair.drain();
                }
            }
            pair.drain();
            for (from, to) in [(0, 1), (1, 0)] {
                assert_eq!(pair.ends[from].cause, None);
                assert_eq!(pair.sent[from], pair.heard(to));
                assert!(pair.ends[from].session.is_released());
            }
            let (now, closer) = (pair.now, pair.dice.index(2));
            pair.send(closer, 20_000);
            pair.ends[closer].close(now, "done");
            pair.drain();
            let other = if name == "ws" {
                Cause::PeerClosed
            } else {
                Cause::PeerEof
            };
            assert_eq!(pair.ends[closer].cause, Some(Cause::LocalClose));
            assert_eq!(pair.ends[1 - closer].cause, Some(other));
            assert_eq!(pair.sent[closer], pair.heard(1 - closer));
        }
    }
}

#[test]
fn rough_networks_end_every_connection_once_and_invent_nothing() {
    let mut causes = Vec::new();
    for wire in WIRES {
        let name = wire().kind().label();
        for seed in 0..150 {
            eprintln!("{name}, seed {seed}");
            let mut pair = Pair::new(wire, seed);
            for _ in 0..600 {
                pair.step(true);
            }
            pair.assert_faithful();
            // One end closes, if any is left; the other follows, or is judged.
            let now = pair.now;
            for end in pair.ends.iter_mut().filter(|end| end.cause.is_none()) {
                end.session.handle_resume(now);
                end.close(now, "enough");
            }
            pair.wait(40);
            pair.assert_faithful();
            for end in &pair.ends {
                causes.push(end.cause.expect("both ends have ended"));
            }
        }
    }
    causes.sort_unstable();
    causes.dedup();
    for expected in [
        Cause::LocalClose,
        Cause::PeerClosed,
        Cause::PeerEof,
        Cause::PeerReset,
    ] {
        assert!(causes.contains(&expected), "no {expected} among {causes:?}");
    }
}
