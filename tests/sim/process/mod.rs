//! A process: the library's own loop, on a system that the simulator makes for it.
//!
//! Nothing of the loop is repeated here. Time passes where it asks the system for something: a simulated
//! process may lose the processor at each system call and each look at the clock.

mod app;
mod clients;
pub(crate) mod codec;
mod system;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use heartwheel::close::Phase;
use heartwheel::config::{HeartbeatConfig, LimitsConfig, ReactorConfig};
use heartwheel::event_loop::EventLoop;
use heartwheel::proto::backoff::BackoffPolicy;
use heartwheel::proto::pool::Pool;
use heartwheel::proto::time::Micros;
use heartwheel::reactor::{Group, LoopHandle, WireFactory};
use heartwheel::sys::Token;

use crate::model::{Look, Speech, Watch, When};
use crate::world::{HostId, Os};
use app::App;
pub(crate) use app::Manner;
use clients::Clients;
use system::{Asleep, Simulated};

/// What connections of one kind speak, and under which rules.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) speech: Speech,
    pub(crate) heartbeat: HeartbeatConfig,
    pub(crate) limits: LimitsConfig,
}

impl Terms {
    fn wire(&self) -> WireFactory {
        match self.speech {
            Speech::WebSocket => WireFactory::WebSocket,
            Speech::Line => WireFactory::Line,
            Speech::Binary => WireFactory::Binary,
            Speech::Raw => WireFactory::Raw,
            Speech::Own => WireFactory::own(|_| codec::Tagged::default()),
        }
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
    /// Budgets of one turn.
    pub(crate) events: usize,
    pub(crate) expiries: usize,
    pub(crate) read: usize,
    /// The limit of memory for all connections.
    pub(crate) memory: Option<usize>,
    /// Heartbeats of connections at rest take the short way.
    pub(crate) is_short: bool,
}

impl Program {
    fn config(&self) -> ReactorConfig {
        ReactorConfig {
            tick: self.tick.into(),
            max_connections: MOST,
            events: self.events,
            read_budget: self.read,
            expiry_budget: self.expiries,
            memory_limit: self.memory,
            max_deferred: app::MOST_DEFERRED,
            history: 0,
            ..ReactorConfig::default()
        }
    }
}

pub(crate) struct Process<'y> {
    os: Os<'y>,
    program: Rc<Program>,
    event_loop: EventLoop<u64, Simulated<'y>>,
    app: App<'y>,
    /// The most that the pool has kept while nothing was borrowed.
    kept: usize,
    /// When it last saw to all that was due.
    whole_at: Micros,
}

impl<'y> Process<'y> {
    pub(crate) fn new(os: Os<'y>, program: &Rc<Program>) -> Self {
        let mut dice = os.fork_dice();
        let entropy = Box::new(dice.fork());
        let now = os.clocks().0;
        let clients = Rc::new(RefCell::new(Clients::new(program, now)));
        let system = Simulated::new(os.clone(), Rc::clone(program), Rc::clone(&clients));
        let event_loop = EventLoop::new(
            program.config(),
            system,
            Arc::new(Asleep),
            entropy,
            &Group::new(),
        );
        Self {
            app: App::new(os.clone(), Rc::clone(program), clients, dice),
            event_loop: event_loop.expect("a script's program makes sense"),
            program: Rc::clone(program),
            os,
            kept: 0,
            whole_at: now,
        }
    }

    /// Runs until it is killed.
    pub(crate) fn run(mut self) {
        let cx = &mut self.event_loop.context();
        self.app.listen(cx);
        self.app.dial_stopped(cx);
        self.event_loop.look_ahead();
        self.app.handle_begun();
        loop {
            let longest = self.event_loop.prepare_wait(None);
            let now = self.os.known();
            let until = longest.map_or(Micros::MAX, |longest| now + longest.into());
            let events = self.os.wait(until, self.program.events);
            if events.iter().any(|event| event.token == Token::WAKE) {
                let handle: LoopHandle<_> = self.event_loop.handle();
                handle.command(()).expect("there is room for one");
            }
            let began = self.when();
            let (app, most) = (&mut self.app, self.program.events);
            let turn = self.event_loop.turn(app, events.iter().copied(), most);
            self.app.handle_turn(turn.delay.into());
            let look = self.os.take_look();
            self.tell_model(began, look);
            self.check(began);
            if self.app.is_draining() && self.event_loop.is_empty() {
                self.check_nothing_is_left();
            }
        }
    }

    /// The time as the model has it.
    fn when(&self) -> When {
        let host = self.os.host;
        self.os.world(|world| world.when(host))
    }

    /// Lets the model look at every connection: what has come due must have been seen to.
    fn tell_model(&mut self, began: When, look: Option<Look>) {
        let host = self.os.host;
        let now = self.os.clocks().0;
        if look.is_some_and(|look| look.is_whole) {
            self.whole_at = now;
        } else if now - self.whole_at > OVERLOADED {
            self.os.world(|world| world.note_overload(host));
        }
        for conn in self.event_loop.inspect() {
            let (sock, session) = (conn.socket.sock, conn.session);
            let (due, ..) = session.heartbeat().pings();
            let (phase, fraction) = (session.phase(), session.heartbeat().phase().fraction());
            self.os.world(|world| {
                let now = world.when(host);
                let is_stalled = world.hosts[host].lateness.is_stalled();
                // A flush lets who was paused be read again.
                let is_read = !conn.is_carried && !conn.is_dirty && !session.is_paused();
                let is_waiting = conn.is_carried || world.end(sock).unread() > 0;
                let holds_output = session.has_output() && !conn.is_dirty;
                let waiting = world.waiting(sock);
                world.watch(sock, |watch| {
                    watch.fraction = fraction;
                    watch.handle_phase(began, now, phase);
                    watch.check_ended(now, is_read);
                    watch.check_wakes(now, is_read, holds_output, &waiting);
                    watch.note_stop(is_stalled);
                    // Where a write has failed, what the peer said before is read first.
                    let Some(look) = look.filter(|_| !(watch.has_failed() && is_waiting)) else {
                        return;
                    };
                    if phase == Phase::Open {
                        // A verdict that waits comes before a ping.
                        let is_whole = look.is_whole && !watch.is_put_off;
                        let look = Look { is_whole, ..look };
                        watch.check_pings(due, look);
                    }
                    if look.is_whole {
                        watch.check_overdue(look.at, is_waiting || watch.is_put_off);
                    }
                });
            });
        }
    }

    /// Demands, between two turns, what must hold then.
    fn check(&mut self, began: When) {
        let has_drained = self.app.has_drained(began.at);
        let mut large = self.app.take_largest();
        let mut is_released = true;
        for conn in self.event_loop.inspect() {
            let (session, id) = (conn.session, conn.id);
            assert!(
                !has_drained || !matches!(session.phase(), Phase::Connecting | Phase::Handshaking),
                "{id} still opens in a drain"
            );
            let is_idle =
                session.phase() == Phase::Open && !session.has_output() && !session.has_input();
            let (within, is_kept) = self.os.world(|world| {
                let watch = world.book.watch(conn.socket.sock);
                let is_kept = watch.is_some_and(Watch::is_kept);
                (watch.map_or(0, Watch::unfinished), is_kept)
            });
            large = large.max(within);
            is_released &= session.is_released();
            assert!(
                !is_idle || within > 0 || is_kept || session.is_released(),
                "{id} is idle and owns buffers: {session:?}"
            );
        }
        let free = self.event_loop.pool().free_bytes();
        assert!(free <= Pool::KEPT, "{free} bytes are kept");
        if large > LARGEST_BUFFER / 2 {
            // Storage that outgrows the largest class does not come back.
            self.kept = 0;
        }
        if is_released {
            // A buffer that is not given back is missing from now on.
            let free = self.event_loop.free_bytes();
            let least = self.kept.min(Pool::KEPT - LARGEST_BUFFER);
            assert!(free >= least, "{free} bytes came back of {}", self.kept);
            self.kept = self.kept.max(free);
        }
    }

    fn check_nothing_is_left(&self) {
        let wheel = self.event_loop.wheel();
        assert!(wheel.is_empty(), "a timer is left over");
        wheel.assert_consistent();
        let stats = self.event_loop.stats();
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

/// Connections that a process may hold.
const MOST: usize = 1_000;

/// Whoever has not got round to all that is due for so long has budgets that are too small for its load.
const OVERLOADED: Micros = Micros::from_millis(250);

/// The largest class of the pool.
const LARGEST_BUFFER: usize = 64 * 1024;
