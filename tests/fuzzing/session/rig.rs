//! Drives the library's loop with one connection, in memory and on virtual time, and checks what it does.

use std::net::SocketAddr;

use heartwheel::close::{Cause, CloseCode, Evidence, Phase};
use heartwheel::config::{HeartbeatConfig, LimitsConfig, Overflow, ReactorConfig};
use heartwheel::error::SendError;
use heartwheel::event_loop::{ClientConfig, ConnId, Context, ListenerConfig};
use heartwheel::proto::message::{Message, SharedMessage};
use heartwheel::proto::policy::Policy;
use heartwheel::proto::pool::Pool;
use heartwheel::proto::session::Session;
use heartwheel::proto::time::{Micros, Moment};
use heartwheel::proto::wire::Role;

use super::super::dice::Dice;
use super::super::memory::pipe::{Far, Fate, Pipe};
use super::super::memory::{Memory, MemoryLoop, opening};
use super::application::Application;
use super::law::{Law, TICK};
use super::observer::Observer;
use super::plan::{Figures, Plan, WireChoice};
use super::reader::Reader;

mod digest;

/// A loop with its surroundings.
pub(super) struct Rig {
    process: MemoryLoop<Application, Pipe>,
    id: ConnId,
    pub(super) far: Far,
    pub(super) wire: WireChoice,
    pub(super) role: Role,
    pub(super) limits: LimitsConfig,
    pub(super) observer: Observer,
    /// The connection is over and its slot is free.
    pub(super) is_ended: bool,
    /// The heartbeats that it may have, the one in force first.
    policies: [HeartbeatConfig; 2],
    /// Makes of the same input what the session must make of it.
    reader: Reader,
    law: Law,
    /// Bytes that have arrived and are not read, as the peer counts them.
    arrived: Vec<u8>,
    /// What the peer says before its opening handshake, and comes behind it.
    early: Vec<u8>,
    /// Bytes that were read and are no whole frame yet.
    waiting: Vec<u8>,
    /// The next bytes to arrive are not told of; some were not.
    pub(super) is_unnoticed: bool,
    has_news: bool,
    /// The peer's output or the whole socket is over.
    is_over: bool,
    room: usize,
    /// When each ping was written, and how many of them are answered.
    written_at: Vec<Micros>,
    answered: usize,
}

impl Rig {
    /// Sets a connection up; `None` if its configuration is refused.
    pub(super) fn new(plan: &Plan<'_>) -> Option<Self> {
        let factory = plan.wire.factory();
        let kind = factory.kind();
        let limits = plan.limits.config();
        let policies = [plan.heartbeat.config(kind), plan.other.config(kind)];
        for times in &policies {
            if let Err(error) = Policy::new(times, &limits, kind, TICK) {
                assert!(!error.field().is_empty() && !error.reason().is_empty());
                return None;
            }
        }
        let config = ReactorConfig {
            tick: TICK,
            max_connections: 1,
            // Now and then budgets are too small for what there is.
            read_budget: if plan.is_narrow { 100 } else { 256 * 1024 },
            ..ReactorConfig::default()
        };
        let entropy = Box::new(Dice::new(u64::from(plan.phase)));
        let mut process = MemoryLoop::new(config, Micros::ZERO, entropy, Application::default());
        let (pipe, far) = Pipe::new(0, !plan.is_dialed);
        far.take_probes();
        far.set_figures(plan.kernel.map(Figures::kernel));
        let (heartbeat, limits) = (policies[0].clone(), limits);
        let addr = SocketAddr::from(([127, 0, 0, 1], 1));
        let role = if plan.is_dialed {
            process.memory.expect_dial(pipe);
            let client = ClientConfig {
                heartbeat,
                limits: limits.clone(),
                reconnect: None,
                ..ClientConfig::new("127.0.0.1", addr.port(), factory)
            };
            process.inner.connect(client).expect("it was checked");
            Role::Client
        } else {
            let listener = ListenerConfig {
                heartbeat,
                limits: limits.clone(),
                ..ListenerConfig::new(addr, factory)
            };
            process.inner.listen(listener).expect("it was checked");
            process.memory.come(addr.port(), addr, pipe);
            Role::Server
        };
        process.settle();
        let first = process.inner.inspect().next().expect("it has begun");
        let (id, phase) = (first.id, first.session.phase());
        Some(Self {
            id,
            far,
            wire: plan.wire,
            role,
            observer: Observer::new(plan.wire, role),
            is_ended: false,
            policies,
            reader: Reader::new(plan.wire, role, limits.max_message as u64),
            limits,
            law: Law::new(phase, Moment::default()),
            arrived: Vec::new(),
            early: Vec::new(),
            waiting: Vec::new(),
            is_unnoticed: false,
            has_news: false,
            is_over: false,
            room: usize::MAX,
            written_at: Vec::new(),
            answered: 0,
            process,
        })
    }

    /// The heartbeat in force.
    pub(super) fn times(&self) -> &HeartbeatConfig {
        &self.policies[0]
    }

    pub(super) fn now(&self) -> Micros {
        self.process.memory.clock()
    }

    fn moment(&self) -> Moment {
        Moment::on_time(self.now())
    }

    pub(super) fn session(&self) -> Option<&Session> {
        self.process.inner.inspect().next().map(|held| held.session)
    }

    /// Returns how far the connection is.
    pub(super) fn phase(&self) -> Phase {
        self.session().map_or(Phase::Closed, Session::phase)
    }

    fn has_output(&self) -> bool {
        self.session().is_some_and(Session::has_output)
    }

    fn is_paused(&self) -> bool {
        self.session().is_some_and(Session::is_paused)
    }

    /// Returns what is known of its end, or would be if it ended now.
    fn evidence(&self) -> Evidence {
        match (&self.process.handler.end, self.session()) {
            (Some(end), None) => *end,
            (None, Some(session)) => session.evidence(self.moment()),
            (end, session) => panic!("{end:?} of {session:?}"),
        }
    }

    fn cause(&self) -> Option<Cause> {
        match self.session() {
            Some(session) => session.cause(),
            None => Some(self.evidence().cause),
        }
    }
}

/// What the peer and its kernel do.
impl Rig {
    /// Lets bytes arrive. Before the opening they wait, to come behind its heads.
    pub(super) fn arrive(&mut self, bytes: &[u8]) {
        if self.is_over || self.arrived.len() + self.early.len() > MOST_WAITING {
            return;
        }
        if matches!(self.phase(), Phase::Connecting | Phase::Handshaking) {
            self.early.extend_from_slice(bytes);
            return;
        }
        self.arrived.extend_from_slice(bytes);
        self.far.send_unnoticed(bytes);
        if std::mem::take(&mut self.is_unnoticed) {
            self.has_news = true;
        } else {
            self.far.note();
            self.settle();
        }
    }

    /// Tells of what went unnoticed.
    pub(super) fn notice(&mut self) {
        if std::mem::take(&mut self.has_news) {
            self.far.note();
            self.settle();
        }
    }

    /// Loses the newest bytes that were not read.
    pub(super) fn lose(&mut self, count: usize) {
        let left = self.arrived.len().saturating_sub(count);
        self.arrived.truncate(left);
        self.far.lose(count);
    }

    pub(super) fn connect(&mut self) {
        if self.phase() == Phase::Connecting {
            self.far.connect();
            self.settle();
            self.come_early();
        }
    }

    /// Does the peer's part of the opening handshake, or has it refused.
    pub(super) fn shake_hands(&mut self, is_refused: bool) {
        if self.phase() != Phase::Handshaking || self.is_over {
            return;
        }
        let head = match (self.role, is_refused) {
            (Role::Server, _) => {
                self.process.handler.refuses = is_refused;
                Some(opening::ask())
            }
            (Role::Client, true) => Some(b"HTTP/1.1 503 no\r\n\r\n".to_vec()),
            (Role::Client, false) => self.observer.head().and_then(opening::answer),
        };
        if let Some(mut bytes) = head {
            bytes.append(&mut self.early);
            self.arrived.extend_from_slice(&bytes);
            self.far.send(&bytes);
            self.settle();
        }
    }

    fn come_early(&mut self) {
        if !matches!(self.phase(), Phase::Connecting | Phase::Handshaking) {
            let early = std::mem::take(&mut self.early);
            self.arrive(&early);
        }
    }

    pub(super) fn end_input(&mut self) {
        self.is_over = true;
        self.far.end();
        self.settle();
    }

    pub(super) fn fail(&mut self, errno: i32) {
        self.is_over = true;
        self.arrived.clear();
        self.far.fail(errno);
        self.settle();
    }

    /// Lets the socket take so many bytes more.
    pub(super) fn set_room(&mut self, room: usize) {
        self.room = room;
        self.far.set_room(room);
        self.settle();
    }
}

/// What the application asks for.
impl Rig {
    /// Asks for something, and looks at what that has changed at once.
    fn ask<R>(&mut self, ask: impl FnOnce(&mut Context<'_, (), Memory<Pipe>>, ConnId) -> R) -> R {
        let before = self.look();
        let answer = ask(&mut self.process.inner.context(), self.id);
        self.digest(&before);
        answer
    }

    /// Queues a message and checks the answer.
    pub(super) fn send(&mut self, message: Message<'_>, is_shared: bool) {
        let before = self.session().map_or(0, Session::queued);
        let was_open = self.phase() == Phase::Open;
        let limit = self.limits.send_queue.unwrap_or(1024 * 1024);
        let size = message.data().len();
        let is_message = !(matches!(self.wire, WireChoice::Raw) && size == 0);
        // It may leave before it is known to be queued.
        self.observer.sent.push_back(message.data().to_vec());
        let sent = self.ask(|cx, id| match is_shared {
            true => cx.send_shared(id, &SharedMessage::new(message)),
            false => cx.send(id, message),
        });
        if sent.is_err() || !is_message {
            self.observer.sent.pop_back();
        }
        let queued = self.session().map_or(0, Session::queued);
        match sent {
            Ok(()) => {
                assert!(was_open && size <= limit);
                let pieces = size.div_ceil(self.limits.max_fragment) + 1;
                assert!(queued <= limit + 14 * pieces);
                let now = self.moment();
                self.law.note_message_out(now);
                return;
            }
            Err(SendError::Closed) => assert!(!was_open || self.is_over),
            Err(SendError::Full {
                queued,
                limit: most,
            }) => {
                // What is said includes the bookkeeping.
                assert!(was_open && most == limit);
                let headers = if is_shared { 14 } else { 0 };
                assert!(size.max(1) + headers > limit.saturating_sub(queued));
                self.law.note_full(self.moment());
                let is_closing = self.cause() == Some(Cause::SendQueueFull);
                assert_eq!(is_closing, self.limits.overflow == Overflow::Close);
                if !is_closing && size <= limit {
                    let is_refused = self.room == 0 || self.far.is_starved();
                    assert!(is_refused, "full, and the kernel was not asked");
                }
            }
            Err(SendError::Encode(_)) => {
                assert!(matches!(self.wire, WireChoice::Line | WireChoice::Own));
            }
            Err(error) => panic!("{error}"),
        }
        assert!(queued <= before, "refused, yet queued");
    }

    pub(super) fn ping(&mut self) {
        self.ask(|cx, id| cx.ping(id));
    }

    pub(super) fn pause(&mut self) {
        if self.phase() == Phase::Open {
            self.ask(|cx, id| cx.pause(id));
        }
    }

    pub(super) fn resume(&mut self) {
        if self.is_paused() {
            self.ask(|cx, id| cx.resume(id));
            let now = self.moment();
            self.law.note_resumed(now);
        }
    }

    pub(super) fn change_policy(&mut self) {
        if self.phase() != Phase::Open {
            return;
        }
        self.policies.swap(0, 1);
        let times = self.policies[0].clone();
        self.ask(|cx, id| cx.set_heartbeat(id, &times).expect("it was checked"));
        let pings_due = self.process.inner.stats().pings_due;
        let now = self.moment();
        self.law.note_policy(now, pings_due);
    }

    pub(super) fn close(&mut self, cause: Cause, code: CloseCode, reason: &str) {
        self.ask(|cx, id| match cause {
            Cause::Replaced => cx.replace(id),
            _ => cx.close(id, code, reason),
        });
    }
}

/// Time passes.
impl Rig {
    /// When the loop turns by itself next.
    pub(super) fn due(&mut self) -> Micros {
        self.process.due()
    }

    pub(super) fn turn(&mut self) {
        let before = self.look();
        self.process.turn();
        self.digest(&before);
    }

    /// Does all that is to be done now.
    pub(super) fn settle(&mut self) {
        self.pass_until(self.now());
    }

    /// Lets time pass; the loop turns on its way.
    pub(super) fn pass_until(&mut self, at: Micros) {
        for _ in 0..TURNS {
            let due = self.due();
            if self.is_ended || due > at {
                break;
            }
            self.process.memory.set_clock(due);
            self.turn();
        }
        if self.is_ended || self.due() > at {
            self.process.memory.set_clock(at);
        }
    }

    /// Holds the loop up in its wait.
    pub(super) fn stall(&mut self, span: Micros) {
        let due = self.due();
        let began = self.now();
        self.process.memory.set_clock(began + span);
        self.law
            .note_stop(due.max(began) + LEAST_LATENESS, self.now());
        self.turn();
        self.settle();
    }

    /// Returns the end of the reader's unfinished business with the loop: nothing is left behind.
    pub(super) fn check_nothing_is_left(&self) {
        let inner = &self.process.inner;
        assert!(inner.is_empty() && inner.wheel().is_empty());
        assert!(inner.pool().free_bytes() <= Pool::KEPT);
        assert!(self.far.is_closed());
        let cause = self.evidence().cause;
        assert!(
            !cause.is_reset() || self.far.fate() == Fate::Reset,
            "{cause}"
        );
    }
}

/// Turns that one passage of time follows.
const TURNS: usize = 64;

/// What is not counted as late.
const LEAST_LATENESS: Micros = Micros::from_millis(10);

/// Bytes that wait unread at most.
const MOST_WAITING: usize = 64 * 1024;
