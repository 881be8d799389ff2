//! Two loops with one connection between them over a scripted network: split reads, short writes, blocked
//! output, pauses, stalls, closes, ends of input and resets, in an order that a seed decides.

use std::collections::VecDeque;
use std::time::Duration;

use heartwheel::close::Cause;
use heartwheel::config::{HeartbeatConfig, LimitsConfig, Proof};
use heartwheel::event_loop::WireFactory;
use heartwheel::proto::message::Message;
use heartwheel::proto::time::Micros;
use heartwheel::proto::wire::Role;

use crate::dice::Dice;
use crate::end::End;
use crate::memory::pipe::Fate;

/// What the network holds at most in one direction, bytes.
const PIPE: usize = 8 * 1024;

fn end(wire: WireFactory, role: Role, seed: u64) -> End {
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
    let end = End::begin(wire, role, seed, &heartbeat, &limits).open();
    end.far.set_room(0);
    end
}

/// Both ends, and what is between them.
struct Pair {
    ends: [End; 2],
    /// What each of them sent.
    sent: [Vec<Vec<u8>>; 2],
    /// Bytes on their way to each of them, and whether the end follows.
    under_way: [VecDeque<u8>; 2],
    is_ended: [bool; 2],
    dice: Dice,
}

impl Pair {
    fn new(wire: fn() -> WireFactory, seed: u64) -> Self {
        Self {
            ends: [
                end(wire(), Role::Client, seed),
                end(wire(), Role::Server, !seed),
            ],
            sent: Default::default(),
            under_way: Default::default(),
            is_ended: [false; 2],
            dice: Dice::new(seed ^ 0xD1CE),
        }
    }

    fn send(&mut self, end: usize, size: usize) {
        // Text that no wire refuses, and that tells its place.
        let text = format!("{} {}", self.sent[end].len(), "x".repeat(size));
        if self.ends[end].send(Message::text(&text)).is_ok() {
            self.sent[end].push(text.into_bytes());
        }
    }

    fn heard(&self, end: usize) -> Vec<&[u8]> {
        let heard = self.ends[end].process.handler.heard.iter();
        heard.map(|(_, data)| data.as_slice()).collect()
    }

    /// Moves bytes once, at most so many at a time: into each end, and out of it as far as there is room
    /// between them.
    fn exchange(&mut self, most: usize) {
        for end in 0..2 {
            let peer = 1 - end;
            let arrives = most.min(self.under_way[end].len());
            let later = self.under_way[end].split_off(arrives);
            let bytes = std::mem::replace(&mut self.under_way[end], later);
            self.ends[end].feed(&Vec::from(bytes));
            if self.is_ended[end] && self.under_way[end].is_empty() {
                self.ends[end].end();
            }
            let room = match self.ends[peer].cause() {
                Some(_) => PIPE,
                None => PIPE - self.under_way[peer].len(),
            };
            let written = self.ends[end].write(most.min(room));
            self.ends[end].far.set_room(0);
            self.under_way[peer].extend(written);
            match self.ends[end].fate() {
                Fate::Held => {}
                Fate::Shut | Fate::Closed => self.is_ended[peer] = true,
                Fate::Reset => self.ends[peer].reset(),
            }
        }
    }

    /// One random step.
    fn step(&mut self, is_rough: bool) {
        let size = [3, 200, 5_000, 30_000][self.dice.index(4)];
        let most = [4, 100, 20_000][self.dice.index(3)];
        let most = 1 + self.dice.index(most);
        let end = self.dice.index(2);
        match self.dice.index(if is_rough { 60 } else { 40 }) {
            0..8 => self.send(end, size),
            8..30 => self.exchange(most),
            30..37 => {
                let span = Micros::new(self.dice.below(1_500_000));
                self.pass(span);
            }
            37 => self.ends[end].ping(),
            38 => self.ends[end].pause(),
            39..44 => self.ends.iter_mut().for_each(End::resume),
            44 => {
                let stop = Micros::from_secs(self.dice.below(60));
                for (end, bytes) in self.ends.iter_mut().zip(&mut self.under_way) {
                    // The network goes on meanwhile.
                    end.process.due();
                    end.far.send(&bytes.drain(..).collect::<Vec<_>>());
                    end.process.hold_up(stop);
                }
            }
            45 if self.dice.one_in(40) => self.ends[end].close(1000, "that will do"),
            46 if self.dice.one_in(80) => self.ends[end].reset(),
            47 if self.dice.one_in(80) => self.is_ended[end] = true,
            _ => self.exchange(PIPE),
        }
    }

    /// Lets time pass in which nothing moves.
    fn pass(&mut self, span: Micros) {
        for end in &mut self.ends {
            end.pass(span);
        }
    }

    /// Lets everything flow until nothing moves.
    fn drain(&mut self) {
        self.ends.iter_mut().for_each(End::resume);
        while self.is_moving() {
            self.exchange(usize::MAX);
        }
        self.exchange(usize::MAX);
        self.exchange(usize::MAX);
    }

    fn is_moving(&self) -> bool {
        let is_moving = |end: usize| {
            let session = self.ends[end].session();
            session.is_some_and(|session| !self.under_way[end].is_empty() || session.has_output())
        };
        (0..2).any(is_moving)
    }

    /// Lets so much time pass that whoever is closing is closed.
    fn wait(&mut self, secs: u64) {
        for _ in 0..secs * 10 {
            self.pass(Micros::from_millis(100));
            self.exchange(usize::MAX);
        }
    }

    fn assert_faithful(&self) {
        for (from, to) in [(0, 1), (1, 0)] {
            let (sent, heard) = (&self.sent[from], self.heard(to));
            // On the line wire an end of input in the middle of a line ends that line.
            let is_equal = |count: usize| heard.len() >= count && heard[..count] == sent[..count];
            assert!(heard.len() <= sent.len());
            let is_cut = self.is_ended[to] && !is_equal(heard.len());
            let whole = heard.len() - usize::from(is_cut);
            assert!(is_equal(whole), "what was heard is not what was sent");
            if is_cut {
                assert!(sent[whole].starts_with(heard[whole]), "invented");
            }
            let stats = self.ends[from].process.inner.stats();
            assert_eq!(stats.pongs_unsolicited, 0);
        }
    }
}

/// The built-in wires that carry messages, made anew for each end.
const WIRES: [fn() -> WireFactory; 3] = [
    || WireFactory::WebSocket,
    || WireFactory::Line,
    || WireFactory::Binary,
];

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
                assert_eq!(pair.ends[from].cause(), None);
                assert_eq!(pair.sent[from], pair.heard(to));
                let session = pair.ends[from].session().unwrap();
                assert!(session.is_released());
            }
            let closer = pair.dice.index(2);
            pair.send(closer, 20_000);
            pair.ends[closer].close(1000, "done");
            pair.drain();
            let other = if name == "ws" {
                Cause::PeerClosed
            } else {
                Cause::PeerEof
            };
            assert_eq!(pair.ends[closer].cause(), Some(Cause::LocalClose));
            assert_eq!(pair.ends[1 - closer].cause(), Some(other));
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
            for end in &mut pair.ends {
                end.resume();
                end.close(1000, "enough");
            }
            pair.wait(40);
            pair.assert_faithful();
            for end in &pair.ends {
                causes.push(end.cause().expect("both ends have ended"));
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
