//! A process: a loop with its wheel, its sessions and its clock.
//!
//! It drives the core as the reactor does (`src/event_loop/turn.rs`, step by step and by the same names),
//! on simulated sockets; the clock and its count of lateness are the reactor's own. At each point where
//! a real process may lose the processor, time may pass.

mod app;
pub(crate) mod codec;
mod dial;
mod input;
mod output;
mod turn;

use std::collections::{BTreeSet, VecDeque};

use heartwheel::close::Phase;
use heartwheel::config::{HeartbeatConfig, LimitsConfig, WireKind};
use heartwheel::proto::backoff::BackoffPolicy;
use heartwheel::proto::heartbeat;
use heartwheel::proto::policy::Policy;
use heartwheel::proto::pool::Pool;
use heartwheel::proto::session::{Env, PolicyId, Session, Wire};
use heartwheel::proto::time::{Micros, Moment};
use heartwheel::proto::wheel::Wheel;
use slab::Slab;

use crate::clock::Clock;
use crate::dice::Dice;
use crate::model::{Birth, Rules, Speech, Watch};
use crate::world::tcp::SockId;
use crate::world::{Hardship, HostId, Os, Token};
use app::App;
pub(crate) use app::Manner;
use dial::Client;

/// What connections of one kind speak, and under which rules.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) speech: Speech,
    pub(crate) heartbeat: HeartbeatConfig,
    pub(crate) limits: LimitsConfig,
}

impl Terms {
    pub(crate) fn wire(&self) -> Wire {
        match self.speech {
            Speech::WebSocket => Wire::WebSocket,
            Speech::Line => Wire::Line,
            Speech::Binary => Wire::Binary,
            Speech::Raw => Wire::Raw,
            Speech::Own => Wire::Own(Box::new(Box::new(codec::Tagged::default()))),
        }
    }

    fn kind(&self) -> WireKind {
        self.wire().kind()
    }
}

/// Somebody to dial.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) host: HostId,
    pub(crate) port: usize,
    pub(crate) path: usize,
    pub(crate) terms: Terms,
    pub(crate) backoff: BackoffPolicy,
}

/// What a process is started with.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) tick: Micros,
    /// What is spoken on its ports, by number; none: it does not listen.
    pub(crate) ports: Vec<Terms>,
    pub(crate) targets: Vec<Target>,
    pub(crate) manner: Manner,
    pub(crate) wheel_slots: usize,
    /// Budgets of one turn.
    pub(crate) events: usize,
    pub(crate) expiries: usize,
    pub(crate) read: usize,
}

/// A slot of the slab.
struct Conn {
    sock: SockId,
    session: Session,
    token: Token,
    client: Option<usize>,
    /// The application knows of it.
    is_welcome: bool,
    heard: u64,
    flags: Flags,
}

/// As `ConnFlags` of the reactor.
#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    readable: bool,
    writable: bool,
    /// A write was refused since the last wait.
    refused: bool,
    ending: bool,
    dirty: bool,
    doomed: bool,
    carried: bool,
    eof: bool,
    broken: bool,
    reset: bool,
    /// The socket is to be closed with a reset.
    resets: bool,
    /// A verdict waits for what the budget left unread.
    put_off: bool,
}

pub(crate) struct Process {
    os: Os,
    program: Program,
    clock: Clock,
    now: Moment,
    env: Env,
    ports: Vec<PolicyId>,
    wheel: Wheel,
    conns: Slab<Conn>,
    /// Slots that have been used.
    slots: usize,
    clients: Vec<Client>,
    dials: BTreeSet<(Micros, usize)>,
    dirty: Vec<usize>,
    doomed: Vec<usize>,
    carried: VecDeque<Token>,
    expired: Vec<usize>,
    overdue: bool,
    deferred: u32,
    reading_ends: Micros,
    has_news: bool,
    draining: bool,
    /// How late the turn before this one was in the end.
    last_delay: Micros,
    generation: u32,
    phase: u32,
    app: App,
    /// The most that the pool has kept while nothing was borrowed.
    kept: usize,
    /// When it last saw to all that was due.
    whole_at: Micros,
}

impl Process {
    pub(crate) fn new(os: Os, program: Program) -> Self {
        let mut dice = os.fork_dice();
        let (now, slept) = os.clocks();
        let clock = Clock::new(slept);
        let mut env = Env::new(Box::new(dice.fork()));
        env.set_tick(program.tick);
        let now = env.lateness().moment(now);
        let policy = |env: &mut Env, terms: &Terms| intern(env, terms, program.tick);
        let ports = program
            .ports
            .iter()
            .map(|terms| policy(&mut env, terms))
            .collect();
        let clients = program
            .targets
            .iter()
            .map(|target| {
                let policy = policy(&mut env, &target.terms);
                Client::new(target, policy, now.at)
            })
            .collect();
        let phase = dice.next_phase();
        Self {
            wheel: Wheel::with_slots(program.tick, program.wheel_slots, now.at),
            app: App::new(program.manner, dice),
            os,
            program,
            clock,
            now,
            env,
            ports,
            conns: Slab::new(),
            slots: 0,
            clients,
            dials: BTreeSet::new(),
            dirty: Vec::new(),
            doomed: Vec::new(),
            carried: VecDeque::new(),
            expired: Vec::new(),
            overdue: false,
            deferred: 0,
            reading_ends: Micros::ZERO,
            has_news: false,
            draining: false,
            last_delay: Micros::ZERO,
            generation: 0,
            phase,
            kept: 0,
            whole_at: now.at,
        }
    }

    /// Runs until everything has ended after a drain.
    pub(crate) async fn run(mut self) {
        self.now = self.env.lateness_mut().begin_turn(self.os.clocks().0);
        if !self.program.ports.is_empty() {
            self.os.listen();
        }
        for client in 0..self.clients.len() {
            self.schedule_dial(client, Micros::ZERO);
        }
        loop {
            self.last_delay = self.env.lateness().delay(self.now.at);
            let until = self.next_wake(self.now.at);
            self.now = self.env.lateness_mut().end_turn(self.now.at, until);
            self.os.wait(until).await;
            self.turn().await;
            self.check();
            if self.draining && self.conns.is_empty() {
                self.check_nothing_is_left();
            }
        }
    }

    /// Returns by when the next wait must end: now, where work was left over.
    fn next_wake(&self, now: Micros) -> Micros {
        let is_busy = !self.carried.is_empty()
            || !self.dirty.is_empty()
            || !self.doomed.is_empty()
            || self.overdue
            || !self.expired.is_empty()
            || self.has_news;
        if is_busy {
            return now;
        }
        let wake = self.wheel.next_deadline().unwrap_or(Micros::MAX);
        match self.dials.first() {
            Some(&(due, _)) => wake.min(due),
            None => wake,
        }
    }

    /// Puts a connection into a slot, and begins to watch it.
    fn insert(
        &mut self,
        sock: SockId,
        session: Session,
        client: Option<usize>,
        terms: &Terms,
    ) -> usize {
        let entry = self.conns.vacant_entry();
        let key = entry.key();
        let is_reused = key < self.slots;
        self.slots = self.slots.max(key + 1);
        let token = Token {
            key,
            generation: self.generation,
        };
        self.generation = self.generation.wrapping_add(1);
        let rules = Rules::new(&terms.heartbeat, &terms.limits, self.program.tick);
        let (fraction, phase) = (self.phase, session.phase());
        let (host, speech) = (self.os.host, terms.speech);
        self.os.world(|world| {
            world.meet_if(is_reused, Hardship::SlotReuse);
            let name = world.hosts[host].name;
            let about = format!("{name} #{key}.{} {speech:?} {sock:?}", token.generation);
            let shortest = world.paths[world.links[sock.link].path].shortest();
            let birth = Birth {
                about,
                rules,
                speech,
                fraction,
                shortest,
                phase,
            };
            world.begin_watch(sock, host, birth);
        });
        entry.insert(Conn {
            sock,
            session,
            token,
            client,
            is_welcome: false,
            heard: 0,
            flags: Flags {
                writable: client.is_none(),
                ..Flags::default()
            },
        });
        self.os.register(sock, token);
        self.rearm(key);
        key
    }

    /// Moves on to the next phase of the golden-ratio sequence.
    fn next_phase(&mut self) -> heartbeat::Phase {
        self.phase = self.phase.wrapping_add(GOLDEN);
        heartbeat::Phase::new(self.phase)
    }

    fn conn(&self, token: Token) -> Option<&Conn> {
        self.conns.get(token.key).filter(|conn| conn.token == token)
    }

    fn mark_dirty(&mut self, key: usize) {
        if let Some(conn) = self.conns.get_mut(key)
            && !conn.flags.dirty
        {
            conn.flags.dirty = true;
            self.dirty.push(key);
        }
        self.note_cause(key);
    }

    /// Tells the model of a cause as soon as there is one.
    fn note_cause(&self, key: usize) {
        if let Some(conn) = self.conns.get(key)
            && let Some(cause) = conn.session.cause()
        {
            let host = self.os.host;
            self.os
                .world(|world| world.note_cause(conn.sock, host, self.now.at, cause));
        }
    }

    fn carry(&mut self, key: usize) {
        if let Some(conn) = self.conns.get_mut(key)
            && !conn.flags.carried
        {
            conn.flags.carried = true;
            self.carried.push_back(conn.token);
        }
    }

    /// Reads on from a connection that began to close while reading was paused.
    fn read_goodbye(&mut self, key: usize, was_paused: bool) {
        if let Some(conn) = self.conns.get_mut(key)
            && was_paused
            && !conn.session.is_paused()
        {
            conn.flags.readable = true;
            self.carry(key);
        }
    }

    fn doom(&mut self, key: usize) {
        if let Some(conn) = self.conns.get_mut(key)
            && !conn.flags.doomed
        {
            conn.flags.doomed = true;
            self.doomed.push(key);
        }
    }

    fn rearm(&mut self, key: usize) {
        if let Some(conn) = self.conns.get_mut(key)
            && conn.session.take_rearm()
        {
            let deadline = conn.session.poll_deadline(&self.env, self.now);
            let armed = self.wheel.deadline(key).unwrap_or(Micros::MAX);
            if deadline < armed && armed > self.now.at {
                self.schedule(key, deadline);
            }
        }
    }

    /// Arms a timer, which is to fire at the first tick that is no earlier than the deadline.
    fn schedule(&mut self, key: usize, deadline: Micros) {
        self.wheel.schedule(key, deadline);
        let armed = self.wheel.deadline(key).expect("it was armed just now");
        let latest = deadline.max(self.now.at) + self.program.tick;
        assert!(
            armed >= deadline && armed <= latest,
            "a timer for {deadline:?} is set to {armed:?} at {:?}",
            self.now.at
        );
    }

    fn refresh_now(&mut self) {
        self.set_now(self.env.lateness().moment(self.os.clocks().0));
    }

    fn set_now(&mut self, now: Moment) {
        let before = std::mem::replace(&mut self.now, now);
        if now.at - before.at >= Session::LEAP {
            for (_, conn) in &mut self.conns {
                conn.session.handle_leap(before, now);
            }
        }
    }

    /// Demands, between two turns, what must hold then.
    fn check(&mut self) {
        let mut large = 0;
        for (key, conn) in &self.conns {
            let is_idle = conn.session.phase() == Phase::Open
                && !conn.session.has_output()
                && !conn.session.has_input();
            let within = self.unfinished(conn.sock);
            large = large.max(within);
            assert!(
                !is_idle || within > 0 || conn.session.is_released(),
                "#{key} is idle and owns buffers"
            );
        }
        let free = self.env.pool().free_bytes();
        assert!(free <= Pool::KEPT, "{free} bytes are kept");
        self.note_large(large);
        if self
            .conns
            .iter()
            .all(|(_, conn)| conn.session.is_released())
        {
            // A buffer that is not given back is missing from now on.
            let least = self.kept.min(Pool::KEPT - LARGEST_BUFFER);
            assert!(free >= least, "{free} bytes came back of {}", self.kept);
            self.kept = self.kept.max(free);
        }
    }

    /// Returns how many bytes of an unfinished message were read from a socket.
    fn unfinished(&self, sock: SockId) -> usize {
        self.os.world(|world| {
            let watch = world.book.watch(sock);
            watch.map_or(0, Watch::unfinished)
        })
    }

    /// Notes a message of so many bytes: storage that outgrows the largest class does not come back.
    fn note_large(&mut self, size: usize) {
        if size > LARGEST_BUFFER / 2 {
            self.kept = 0;
        }
    }

    fn check_nothing_is_left(&self) {
        assert!(self.wheel.is_empty(), "a timer is left over");
        self.wheel.assert_consistent();
        assert!(self.dirty.is_empty() && self.doomed.is_empty());
        let stats = self.env.stats();
        let (written, matched) = (stats.pings_written, stats.pongs_matched);
        assert!(written >= matched, "{matched} answers to {written} pings");
        let strays = self.os.world(|world| world.book.strays(self.os.host));
        // What comes after a goodbye is read and not looked at.
        let unsolicited = stats.pongs_unsolicited + stats.pongs_mismatched;
        assert!(
            unsolicited <= strays,
            "{unsolicited} stray pongs of {strays}"
        );
    }
}

/// Adds the policy of some terms.
fn intern(env: &mut Env, terms: &Terms, tick: Micros) -> PolicyId {
    let policy = Policy::new(&terms.heartbeat, &terms.limits, terms.kind(), tick.into())
        .expect("a script's terms make sense");
    env.intern(policy).expect("a script has few policies")
}

impl Dice {
    fn next_phase(&mut self) -> u32 {
        u32::try_from(self.below(1 << 32)).expect("below 2^32")
    }
}

/// What the golden ratio adds to a phase, in 2^-32 of the interval.
const GOLDEN: u32 = 0x9E37_79B9;

/// The largest class of the pool.
const LARGEST_BUFFER: usize = 64 * 1024;
