//! The short way of a heartbeat against the general one: two sessions live through the same, one of them
//! takes the short way wherever it may, and nothing about them differs.

use super::*;

/// A session, and what its shell does with it.
struct Twin {
    bench: Bench,
    is_short: bool,
    /// How often it took the short way.
    beats: u32,
    answers: u32,
    deadline: Micros,
    written: Vec<u8>,
    heard: Vec<Heard>,
}

impl Twin {
    fn new(bench: Bench, is_short: bool) -> Self {
        Self {
            bench,
            is_short,
            beats: 0,
            answers: 0,
            deadline: Micros::ZERO,
            written: Vec::new(),
            heard: Vec::new(),
        }
    }

    /// Sees to a deadline, whatever is due, with so much room in the socket.
    fn expire(&mut self, now: Moment, room: usize) {
        if self.is_short && self.beat(now, room) {
            return;
        }
        let (mut expiry, mut found) = (Expiry::default(), Found::default());
        loop {
            let Bench { env, session } = &mut self.bench;
            match session.handle_expiry(env, now, &mut expiry, &found) {
                Step::Wait(deadline) => {
                    self.deadline = deadline;
                    return;
                }
                Step::Flush | Step::WriteOnce => self.write(now, room),
                Step::Peek => found.is_waiting = false,
                Step::Connect | Step::ReadOnce | Step::Figures | Step::Note(_) => {}
            }
        }
    }

    fn beat(&mut self, now: Moment, room: usize) -> bool {
        let Bench { env, session } = &mut self.bench;
        let Some(due) = session.begin_beat(env, now) else {
            return false;
        };
        self.beats += 1;
        if room >= env.frame().len() {
            self.written.extend_from_slice(env.frame());
            self.deadline = session.end_beat(env, now, due);
            return true;
        }
        session.keep_beat(env, now, due);
        self.write(now, room);
        false
    }

    fn write(&mut self, now: Moment, room: usize) {
        let written = self.bench.flush_some(now, room);
        if self.bench.session.has_output() {
            self.bench.session.handle_blocked();
        }
        self.written.extend(written);
    }

    fn read(&mut self, now: Moment, bytes: &[u8]) {
        if self.is_short && self.bench.session.is_at_rest() {
            let Bench { env, session } = &mut self.bench;
            session.handle_bytes(env, now, bytes.len());
            if let Some(rtt) = session.decode_answer(env, now, bytes) {
                self.answers += 1;
                self.heard.push(Heard::Pong(rtt));
                return;
            }
            // Not a second time.
            let stats = env.stats.clone();
            let heard = self.bench.feed(now, bytes);
            self.bench.env.stats.bytes_in = stats.bytes_in;
            self.heard.extend(heard);
            return;
        }
        let heard = self.bench.feed(now, bytes);
        self.heard.extend(heard);
    }

    /// Everything that may not differ.
    fn state(&self) -> String {
        let Self {
            bench,
            deadline,
            written,
            heard,
            ..
        } = self;
        let (session, stats) = (&bench.session, &bench.env.stats);
        format!("{deadline:?} {written:02x?} {heard:?} {session:?} {stats:?}")
    }
}

/// What comes to pass for both.
struct Fate {
    dice: Dice,
    now: Micros,
    wire: WireKind,
}

impl Fate {
    fn step(&mut self, twins: &mut [Twin; 2]) {
        let deadline = twins[0].deadline;
        let ahead = self.dice.millis(0, 30);
        self.now = match self.dice.below(8) {
            0..5 if deadline < Micros::MAX => self.now.max(deadline) + ahead,
            5 => self.now + self.dice.millis(0, 20_000),
            _ => self.now + ahead,
        };
        let now = Moment::on_time(self.now);
        let past = self.now - self.dice.millis(0, 3_000);
        let (choice, room) = (self.dice.below(24), self.dice.below(12) as usize);
        let pong = self.pong(&twins[0], choice == 8);
        for twin in twins {
            let Bench { env, session } = &mut twin.bench;
            match choice {
                0 => env.lateness.be_late(past, self.now),
                1 => env.lateness.go_on_at(self.now),
                2 => session.handle_pause(now),
                3 => session.handle_resume(now),
                4 if self.wire == WireKind::WebSocket => {
                    twin.read(now, &masked(Opcode::Text, b"hello"));
                }
                5 if self.wire == WireKind::WebSocket => twin.read(now, &pong[..pong.len() / 2]),
                6 => session.ping(env, now),
                7 => {
                    let interval = Duration::from_millis(700 + 700 * room as u64);
                    twin.bench
                        .set_policy(now, |heartbeat, _| heartbeat.interval = Some(interval));
                }
                9 => twin.write(now, usize::MAX),
                10 => twin.expire(now, room),
                8 | 11..20 if !session.is_paused() && session.heartbeat().is_awaiting() => {
                    twin.read(now, &pong);
                }
                _ => twin.expire(now, usize::MAX),
            }
        }
    }

    /// A pong that answers the newest ping, or one that answers none.
    fn pong(&self, twin: &Twin, is_foreign: bool) -> Vec<u8> {
        match self.wire {
            WireKind::WebSocket => {
                let at = twin
                    .written
                    .windows(2)
                    .rposition(|head| head == b"\x89\x04");
                let newest = at.and_then(|at| twin.written.get(at + 2..at + 6));
                let token = newest.filter(|_| !is_foreign).unwrap_or(b"none");
                masked(Opcode::Pong, token)
            }
            _ => crate::proto::line::PONG.to_vec(),
        }
    }
}

/// Lets twins live, and returns how many pings and pongs took the short way.
fn live(seed: u64) -> (u32, u32) {
    let mut dice = Dice::new(seed);
    let wire = dice.pick(&[WireKind::WebSocket, WireKind::WebSocket, WireKind::Line]);
    let interval = dice.pick(&[500, 1_000, 1_234, 10_000]);
    let timeout = interval + dice.pick(&[100, 1_000, 15_000]);
    let slack = dice.pick(&[0, 0, 7, 40]);
    let proof = dice.pick(&[Proof::Bytes, Proof::Message, Proof::Pong]);
    let ping_when = dice.pick(&[PingWhen::Always, PingWhen::Always, PingWhen::Idle]);
    let [mut short, mut general] = [true, false].map(|is_short| {
        let own = match wire {
            WireKind::WebSocket => Wire::WebSocket,
            _ => Wire::Line,
        };
        let bench = Bench::with(own, |heartbeat, _| {
            heartbeat.interval = Some(Duration::from_millis(interval));
            heartbeat.timeout = Some(Duration::from_millis(timeout));
            heartbeat.ping_slack = Some(Duration::from_millis(slack));
            heartbeat.proof = proof;
            heartbeat.ping_when = ping_when;
        });
        Twin::new(bench, is_short)
    });
    // A response to the opening handshake leaves first.
    for twin in [&mut short, &mut general] {
        twin.write(secs(0), usize::MAX);
    }
    let mut fate = Fate {
        dice,
        now: Micros::ZERO,
        wire,
    };
    let mut twins = [short, general];
    for step in 0..200 {
        fate.step(&mut twins);
        let [short, general] = &twins;
        assert_eq!(short.state(), general.state(), "seed {seed}, step {step}");
        if short.bench.session.phase() != Phase::Open {
            break;
        }
    }
    (twins[0].beats, twins[0].answers)
}

#[test]
fn both_ways_of_a_heartbeat_come_to_the_same() {
    let (mut beats, mut answers) = (0, 0);
    for seed in 0..300 {
        let (more_beats, more_answers) = live(seed);
        (beats, answers) = (beats + more_beats, answers + more_answers);
    }
    assert!(beats > 300 && answers > 700, "{beats} {answers}");
}
