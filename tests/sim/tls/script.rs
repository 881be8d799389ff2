//! What a seed makes of a world over TLS.

use std::rc::Rc;
use std::time::Duration;

use heartwheel::close::{Cause, Evidence};
use heartwheel::config::{HeartbeatConfig, Proof};
use heartwheel::proto::time::Micros;
use heartwheel::sys::LayerFault;

use super::book::{Book, Record};
use super::ours::Ours;
use super::peer::Peers;
use super::{OURS, TICK, seeded};
use crate::dice::Dice;
use crate::script::NAMES;
use crate::world::path::{Direction, Path};
use crate::world::tcp::Sizes;
use crate::world::{Act, Command, Host, HostId, Pace, Sim, World};

/// What becomes of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It answers to the end.
    Lives,
    /// So it does, though its path is cut for a moment.
    Blips,
    /// Its stream ends without a goodbye, perhaps within a record.
    Truncates {
        within: bool,
    },
    Goodbye,
    Resets,
    /// It sends a record that nobody sealed.
    Garbles,
    /// It changes its key time after time.
    Renews,
    /// Nothing comes through to us any more, and nothing to it perhaps.
    PathDies {
        is_deaf: bool,
    },
    PowerLoss,
    /// It does not run any more; its kernel does.
    Freezes,
    /// It reads, and does not answer pings; perhaps it says other things.
    Mutes {
        talks: bool,
    },
    /// It freezes while very much is on its way to it.
    Clogs,
    /// It says so many bytes of the handshake, and nothing or the end behind them.
    Stalls {
        behind: usize,
    },
    HangsUp {
        behind: usize,
    },
    /// It says what is no TLS.
    Babbles,
    /// It believes in another root than ours, or we do.
    Refuses,
}

impl Fate {
    fn of(dice: &mut Dice, is_old: bool, talks: bool) -> Self {
        match dice.index(19) {
            0..3 => Self::Lives,
            3 => Self::Blips,
            4 => Self::Truncates { within: false },
            5 => Self::Truncates { within: true },
            6 => Self::Goodbye,
            7 => Self::Resets,
            8 => Self::Garbles,
            9 if is_old => Self::Lives,
            9 => Self::Renews,
            10 => Self::PathDies {
                is_deaf: dice.one_in(2),
            },
            11 => Self::PowerLoss,
            12 => Self::Freezes,
            13 => Self::Mutes { talks },
            14 => Self::Clogs,
            15 => Self::Stalls {
                behind: dice.index(150),
            },
            16 => Self::HangsUp {
                behind: dice.index(150),
            },
            17 => Self::Babbles,
            _ => Self::Refuses,
        }
    }

    /// It happens before the connection is open.
    fn is_early(self) -> bool {
        match self {
            Self::Stalls { .. } | Self::HangsUp { .. } | Self::Babbles | Self::Refuses => true,
            Self::Lives
            | Self::Blips
            | Self::Truncates { .. }
            | Self::Goodbye
            | Self::Resets
            | Self::Garbles
            | Self::Renews
            | Self::PathDies { .. }
            | Self::PowerLoss
            | Self::Freezes
            | Self::Mutes { .. }
            | Self::Clogs => false,
        }
    }

    /// Returns what it is told as, and whether in those words.
    fn is_told_by(self, evidence: &Evidence, reason: &str) -> bool {
        let cause = evidence.cause;
        match self {
            Self::Lives | Self::Blips => cause == Cause::Drain,
            Self::Truncates { .. } => (cause, reason) == (Cause::TlsError, LayerFault::TRUNCATED),
            Self::Goodbye => cause == Cause::PeerEof,
            Self::Resets => cause == Cause::PeerReset,
            Self::Garbles | Self::Renews => {
                cause == Cause::TlsError && ![LayerFault::TRUNCATED, ""].contains(&reason)
            }
            Self::PathDies { .. } | Self::PowerLoss => match cause {
                Cause::PathDead => true,
                // The kernel had no time to send it once more.
                Cause::PongTimeout => evidence.last_out.is_some_and(|age| age < SOON),
                _ => false,
            },
            // What it said last may have crossed the ping.
            Self::Freezes | Self::Mutes { talks: false } => {
                matches!(cause, Cause::PeerUnresponsive | Cause::PongTimeout)
            }
            Self::Mutes { talks: true } => cause == Cause::PongTimeout,
            Self::Clogs => cause == Cause::WriteStalled,
            Self::Stalls { .. } => cause == Cause::HandshakeTimeout,
            Self::HangsUp { .. } => (cause, reason) == (Cause::TlsHandshake, LayerFault::TRUNCATED),
            Self::Babbles | Self::Refuses => {
                cause == Cause::TlsHandshake && ![LayerFault::TRUNCATED, ""].contains(&reason)
            }
        }
    }
}

/// How a peer talks.
#[derive(Clone, Debug)]
pub(super) struct Habits {
    /// The longest that it takes to answer a ping.
    pub(super) answer: Micros,
    /// It writes so many bytes at a time, with so much time between two pieces.
    pub(super) chunk: usize,
    pub(super) gap: Micros,
    /// The time between two messages of its own, and their size; none: it says none.
    pub(super) says: Option<Micros>,
    pub(super) size: usize,
    /// One message in so many comes under a new key. Zero: none does.
    pub(super) renews: u64,
    /// The longest of its records.
    pub(super) fragment: Option<usize>,
    /// It speaks version 1.2.
    pub(super) is_old: bool,
}

/// What a peer does: who it is, and what becomes of it when.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) begins: Micros,
    pub(super) fate: Fate,
    pub(super) at: Micros,
    pub(super) habits: Habits,
}

impl Plan {
    /// It comes, and answers each ping at once to the end.
    pub(super) fn calm(begins: Micros) -> Self {
        Self {
            begins,
            fate: Fate::Lives,
            at: Micros::MAX,
            habits: Habits {
                answer: Micros::ZERO,
                chunk: usize::MAX,
                gap: Micros::ZERO,
                says: None,
                size: 1,
                renews: 0,
                fragment: None,
                is_old: false,
            },
        }
    }
}

/// A world as a seed has it.
#[derive(Clone, Debug)]
pub(super) struct Script {
    seed: u64,
    /// The loop is a server, and its peers dial.
    pub(super) is_server: bool,
    pub(super) heartbeat: HeartbeatConfig,
    /// What each host beside ours does: one connection or several.
    pub(super) hosts: Vec<Vec<Plan>>,
    pub(super) paths: Vec<Path>,
    pub(super) sizes: Sizes,
    wake: Micros,
    /// The first bytes of a connection cost us so much time.
    pub(super) cost: Micros,
    /// When our process is stopped.
    stops: Vec<(Micros, Micros)>,
    acts: Vec<(Micros, Act)>,
}

impl Script {
    /// Throws the dice of a seed.
    pub(super) fn of_seed(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let heartbeat = heartbeat(&mut dice);
        let sizes = sizes(&mut dice);
        let mut script = Self {
            seed,
            is_server: !dice.one_in(3),
            heartbeat,
            hosts: Vec::new(),
            paths: Vec::new(),
            sizes,
            wake: Micros::new(dice.pick(&[0, 100, 5_000])),
            cost: Micros::new(dice.pick(&[0, 500, 5_000])),
            stops: Vec::new(),
            acts: Vec::new(),
        };
        for host in 1..=1 + dice.index(4) {
            script.throw_peer(&mut dice, host);
        }
        for _ in 0..dice.index(3) {
            script.throw_stop(&mut dice);
        }
        script
    }

    /// A server to which nothing happens that is not asked for, over paths that take no time.
    pub(super) fn calm(interval: Micros, hosts: Vec<Vec<Plan>>) -> Self {
        Self {
            seed: 1,
            is_server: true,
            heartbeat: HeartbeatConfig {
                interval: Some(interval.into()),
                timeout: Some((interval + interval + interval).into()),
                ping_slack: Some(Duration::ZERO),
                ..HeartbeatConfig::tcp()
            },
            paths: vec![Path::default(); hosts.len()],
            hosts,
            sizes: Sizes {
                send: 64 * 1_024,
                receive: 64 * 1_024,
                segment: 1_448,
            },
            wake: Micros::ZERO,
            cost: Micros::ZERO,
            stops: Vec::new(),
            acts: Vec::new(),
        }
    }

    fn timeout(&self) -> Micros {
        self.heartbeat.timeout.expect("silence ends").into()
    }

    fn stall(&self) -> Micros {
        self.heartbeat.write_timeout.expect("output stalls").into()
    }

    fn throw_peer(&mut self, dice: &mut Dice, host: HostId) {
        let is_old = dice.one_in(3);
        let chunk = 1 + dice.index(60);
        let gap = dice.span(Micros::ZERO, Micros::from_millis(chunk as u64));
        let says = (!dice.one_in(3)).then(|| dice.millis(300, 900));
        let is_strict = self.heartbeat.proof == Proof::Pong;
        let fate = Fate::of(dice, is_old, is_strict && says.is_some());
        let begins = dice.millis(0, 2_000);
        let at = match fate.is_early() {
            true => begins,
            false => dice.millis(15_000, 90_000),
        };
        let chunk = dice.pick(&[chunk, usize::MAX, usize::MAX]);
        let most = usize::try_from(self.sizes.send).expect("it is small");
        // It says no more than leaves in its time.
        let is_slow = chunk < usize::MAX || most < 1_000;
        let plan = Plan {
            begins,
            fate,
            at,
            habits: Habits {
                answer: dice.millis(0, 900),
                chunk,
                gap: if chunk < usize::MAX {
                    gap
                } else {
                    Micros::ZERO
                },
                says,
                size: dice.pick(&[1, 100, if is_slow { 100 } else { 3_000 }]),
                renews: if is_old { 0 } else { dice.pick(&[0, 1, 5]) },
                fragment: dice.pick(&[None, Some(40), Some(500)]),
                is_old,
            },
        };
        let mut quiet = QUIET;
        match fate {
            Fate::Blips => {
                let again = at + dice.millis(50, 800);
                for to in [0, 1] {
                    self.cut(host, to, at, true);
                    self.cut(host, to, again, false);
                }
            }
            Fate::PathDies { is_deaf } => {
                let ours = usize::from(self.is_server);
                self.cut(host, ours, at, true);
                if is_deaf {
                    self.cut(host, 1 - ours, at, true);
                }
            }
            Fate::PowerLoss => self.acts.push((at, Act::PowerOff(host))),
            Fate::Freezes => {
                // What it does not read is to fit into its window.
                quiet = at - Micros::from_secs(6);
                self.acts.push((at, Act::Stop(host)));
            }
            Fate::Clogs => {
                self.acts.push((at, Act::Stop(host)));
                let (which, size) = (host as u64, most.min(3_000));
                let room = self.sizes.send + self.sizes.receive;
                let count = usize::try_from(room).expect("it is small") * 2 / size + 1;
                let burst = Command::Burst { which, size, count };
                self.acts.push((at, Act::Command(OURS, burst)));
            }
            _ => {}
        }
        let mut told = dice.millis(3_000, 20_000);
        while told < quiet {
            let which = host as u64;
            let size = dice.index(most.min(3_000));
            let send = Act::Command(OURS, Command::Send { which, size });
            self.acts.push((told, send));
            told = told + dice.millis(2_000, 20_000);
        }
        self.hosts.push(vec![plan]);
        self.paths.push(path(dice));
    }

    fn cut(&mut self, host: HostId, to: usize, at: Micros, is_down: bool) {
        let path = host - 1;
        self.acts.push((at, Act::Path { path, to, is_down }));
    }

    /// Stops our process for up to three timeouts.
    fn throw_stop(&mut self, dice: &mut Dice) {
        let from = dice.millis(20_000, 100_000);
        let longest = self.timeout().saturating_mul(3);
        let to = from + dice.span(Micros::from_millis(100), longest);
        if self
            .stops
            .iter()
            .all(|&(other, end)| to < other || from > end)
        {
            self.stops.push((from, to));
            self.acts.push((from, Act::Stop(OURS)));
            self.acts.push((to, Act::Resume(OURS)));
        }
    }

    /// Makes the world, and starts what runs in it.
    pub(super) fn begin(&self, is_traced: bool) -> (Sim, Book) {
        let mut dice = Dice::new(!self.seed);
        seeded::begin(dice.fork());
        let mut world = World::new(dice.next_u64(), is_traced);
        world.sizes = self.sizes;
        world.paths.clone_from(&self.paths);
        for name in NAMES.iter().take(1 + self.hosts.len()) {
            let mut host = Host::new(name, dice.fork(), Micros::ZERO, TICK);
            host.pace = Pace {
                wake: self.wake,
                breath_odds: 0,
                breath: Micros::ZERO,
                busy: None,
            };
            world.hosts.push(host);
        }
        let (mut sim, book) = (Sim::new(world), Book::default());
        let (script, ours) = (self.clone(), book.clone());
        sim.add_process(Rc::new(move |os| Ours::new(&os, &script, &ours).run()));
        let mut first = 0;
        for plans in self.hosts.clone() {
            let (book, dials, count) = (book.clone(), self.is_server, plans.len());
            sim.add_process(Rc::new(move |os| {
                Peers::new(&os, &book, &plans, first, dials, QUIET).run();
            }));
            first += count;
        }
        // Whoever is dialed is there first.
        for host in (1..=self.hosts.len()).chain([OURS]) {
            sim.start(host);
        }
        for (at, act) in &self.acts {
            sim.plan(*at, act.clone());
        }
        (sim, book)
    }

    /// Runs it all, to the end, and looks at what came of it. Returns the causes of the ends.
    pub(super) fn play(&self, sim: &mut Sim, book: &Book) -> Vec<Cause> {
        sim.run_to(CURTAIN);
        sim.act(Act::Command(OURS, Command::Drain));
        sim.run_to(CURTAIN + FAREWELL);
        let plans: Vec<_> = self.hosts.concat();
        let mut causes = Vec::new();
        book.each(|record| {
            let cause = self.check(&plans[record.plan], record);
            causes.push(cause);
        });
        assert_eq!(causes.len(), plans.len());
        causes
    }

    /// Demands that a connection ended as what it was, in its time. Returns the cause.
    fn check(&self, plan: &Plan, record: &Record) -> Cause {
        let about = format!("{plan:?}\n{record:?}\n{:?}", self.heartbeat);
        let end = record.end.as_ref();
        let end = end.unwrap_or_else(|| panic!("it has not ended: {about}"));
        let cause = end.evidence.cause;
        assert!(
            plan.fate.is_told_by(&end.evidence, &end.reason),
            "{cause} {:?}: {about}",
            end.reason
        );
        assert_eq!(record.opened.is_some(), !plan.fate.is_early(), "{about}");
        let at = record.began + end.evidence.age.into();
        match cause {
            Cause::PeerUnresponsive | Cause::PongTimeout | Cause::PathDead => {
                self.check_silence(record, cause, at, &about);
            }
            Cause::HandshakeTimeout => {
                let since = record.connected.expect("it was connected");
                let due = since + self.heartbeat.handshake_timeout.into();
                assert!(at >= due && at <= due + self.slip(), "at {at:?}: {about}");
            }
            _ => {}
        }
        assert!(end.with_reset || !cause.is_reset(), "no reset: {about}");
        if let Fate::Lives | Fate::Blips = plan.fate {
            assert!(!end.with_reset, "a reset: {about}");
            assert_eq!(record.heard, record.said, "heard: {about}");
            assert_eq!(record.noted, record.sent, "sent: {about}");
        }
        if matches!(cause, Cause::PeerEof | Cause::Drain) {
            // It leaves as far as one write goes.
            assert!(
                record.has_goodbye || record.is_cut_short,
                "no goodbye: {about}"
            );
            assert!(end.evidence.clean, "not clean: {about}");
        }
        cause
    }

    /// Returns when the last proof of life came.
    fn proof(&self, record: &Record) -> Micros {
        let proof = match self.heartbeat.proof {
            Proof::Pong => record.answered,
            Proof::Bytes | Proof::Message => record.read,
        };
        proof.max(record.opened.unwrap_or_default())
    }

    /// Never early, and late by a tick and what we were held up ourselves.
    fn check_silence(&self, record: &Record, cause: Cause, at: Micros, about: &str) {
        let mut wait = self.timeout();
        if cause == Cause::PathDead {
            // So may be output that was stuck before.
            wait = wait.min(self.stall());
        }
        let due = self.proof(record) + wait;
        assert!(at >= due, "early, at {at:?} of {due:?}: {about}");
        let latest = self.latest(record, at);
        assert!(at <= latest, "late, at {at:?} of {latest:?}: {about}");
    }

    /// Returns when a silence has ended at the latest, as of `now`. Where we were stopped meanwhile, the peer
    /// has its time again, and one more interval for a ping that was skipped.
    fn latest(&self, record: &Record, now: Micros) -> Micros {
        let proof = self.proof(record);
        let stops = self
            .stops
            .iter()
            .filter(|&&(from, to)| from <= now && to >= proof);
        let mut due = proof + self.timeout();
        if let Some(resumed) = stops.map(|&(_, to)| to).max() {
            due = due.max(resumed) + self.timeout();
        }
        if record.shortened >= proof {
            // A slow peer is spared twice: until a ping is written, and behind that.
            due = due + self.timeout() + self.timeout();
        }
        due + self.slip()
    }

    /// A tick, a wait that ends late, and the handshakes of others.
    fn slip(&self) -> Micros {
        TICK + self.wake + self.cost.saturating_mul(4)
    }

    /// Demands, between two turns, that a silence is not longer than it may be.
    pub(super) fn check_overdue(&self, record: &Record, now: Micros) {
        let latest = self.latest(record, now);
        assert!(now <= latest, "overdue at {now:?}: {record:?}");
    }
}

fn heartbeat(dice: &mut Dice) -> HeartbeatConfig {
    // Fractions of a millisecond are rounded up.
    let interval = Micros::from_millis(dice.between(2_000, 5_000));
    // Beside a ping that is lost there is time for an answer.
    let timeout = interval + Micros::from_millis(dice.between(3_000, 8_000));
    HeartbeatConfig {
        interval: Some(interval.into()),
        timeout: Some(timeout.into()),
        proof: dice.pick(&[Proof::Bytes, Proof::Bytes, Proof::Pong]),
        handshake_timeout: Micros::from_millis(dice.between(6_000, 9_000)).into(),
        ..HeartbeatConfig::tcp()
    }
}

fn path(dice: &mut Dice) -> Path {
    let longest = dice.pick(&[0, 1, 20, 100]);
    let direction = |dice: &mut Dice| Direction {
        delay: dice.millis(0, longest),
        jitter: dice.millis(0, longest / 4),
        ..Direction::default()
    };
    Path {
        to: [direction(dice), direction(dice)],
    }
}

fn sizes(dice: &mut Dice) -> Sizes {
    let segment = dice.pick(&[3, 100, 1_448, 1_448, 64 * 1_024]);
    let largest = if segment < 100 { 4_096 } else { 64 * 1_024 };
    Sizes {
        send: dice.pick(&[256, 4_096, largest]),
        receive: dice.pick(&[4_096, largest]),
        segment,
    }
}

/// A kernel sends again what is not acknowledged for so long.
const SOON: Duration = Duration::from_secs(1);

/// When nothing new is said any more, and when we say goodbye.
const QUIET: Micros = Micros::from_secs(170);
const CURTAIN: Micros = Micros::from_secs(190);

/// More than it takes to part.
const FAREWELL: Micros = Micros::from_secs(40);
