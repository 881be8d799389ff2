//! A loop in memory whose peers speak lines.

use std::net::SocketAddr;

use heartwheel::close::{Cause, Liveness};
use heartwheel::config::ReactorConfig;
use heartwheel::event_loop::{
    BroadcastDone, BroadcastId, ClientEvent, ClientId, Closed, ConnId, Context, Handler,
    ListenerConfig, WireFactory,
};
use heartwheel::proto::message::{Message, SharedMessage};
use heartwheel::proto::session::Entropy;
use heartwheel::proto::time::Micros;

use crate::memory::pipe::{Far, Fate, Pipe};
use crate::memory::{Memory, MemoryLoop};

const ADDR: ([u8; 4], u16) = ([127, 0, 0, 1], 1);

type Cx<'a> = Context<'a, (), Memory<Pipe>>;

/// Notes what it is told, and may broadcast whenever a broadcast is over.
#[derive(Default)]
pub(crate) struct App {
    pub(crate) opened: Vec<ConnId>,
    pub(crate) closed: Vec<(ConnId, Cause)>,
    pub(crate) done: Vec<BroadcastDone>,
    pub(crate) writable: Vec<ConnId>,
    pub(crate) timers: usize,
    pub(crate) conn_timers: Vec<(ConnId, u64)>,
    /// Those that are no longer open, and how their peers were graded then.
    pub(crate) closing: Vec<(ConnId, Liveness)>,
    pub(crate) dialed: usize,
    /// What is to be broadcast at the end of others.
    pub(crate) again: Vec<String>,
}

impl Handler<(), Memory<Pipe>> for App {
    type Data = ();

    fn on_open(&mut self, _: &mut Cx<'_>, id: ConnId) {
        self.opened.push(id);
    }

    fn on_writable(&mut self, _: &mut Cx<'_>, id: ConnId) {
        self.writable.push(id);
    }

    fn on_closing(&mut self, cx: &mut Cx<'_>, id: ConnId, _: Cause) {
        let liveness = cx.info(id).expect("it is still there").liveness;
        self.closing.push((id, liveness));
    }

    fn on_close(&mut self, _: &mut Cx<'_>, closed: Closed<'_, ()>) {
        self.closed.push((closed.id, closed.evidence.cause));
    }

    fn on_timer(&mut self, _: &mut Cx<'_>, _: u64) {
        self.timers += 1;
    }

    fn on_conn_timer(&mut self, _: &mut Cx<'_>, id: ConnId, word: u64) {
        let has_closed = self.closing.iter().any(|(closing, _)| *closing == id);
        assert!(!has_closed, "{id}: it is no longer open");
        self.conn_timers.push((id, word));
    }

    fn on_client(&mut self, _: &mut Cx<'_>, _: ClientId, event: ClientEvent) {
        self.dialed += usize::from(matches!(event, ClientEvent::Dialing { .. }));
    }

    fn on_broadcast(&mut self, cx: &mut Cx<'_>, done: BroadcastDone) {
        self.done.push(done);
        if let Some(text) = self.again.pop() {
            cx.broadcast(&shared(&text)).unwrap();
        }
    }
}

#[derive(Debug)]
struct Zero;

impl Entropy for Zero {
    fn next_u64(&mut self) -> u64 {
        0
    }
}

/// Wraps a text for many.
pub(crate) fn shared(text: &str) -> SharedMessage {
    SharedMessage::new(Message::text(text))
}

/// A loop whose peers speak lines.
pub(crate) struct World {
    pub(crate) process: MemoryLoop<App, Pipe>,
    pub(crate) fars: Vec<Far>,
}

impl World {
    /// Each turn hands broadcasts to so many connections.
    pub(crate) fn new(budget: usize) -> Self {
        Self::with(budget, |_| {})
    }

    /// Its listener has no heartbeat unless `change` gives it one.
    pub(crate) fn with(budget: usize, change: impl FnOnce(&mut ListenerConfig)) -> Self {
        let config = ReactorConfig {
            max_connections: 4096,
            broadcast_budget: budget,
            ..ReactorConfig::default()
        };
        let app = App::default();
        let mut process = MemoryLoop::new(config, Micros::ZERO, Box::new(Zero), app);
        let mut listener = ListenerConfig::new(ADDR.into(), WireFactory::Line);
        listener.heartbeat.interval = None;
        listener.heartbeat.timeout = None;
        listener.admission.share_per_address = None;
        change(&mut listener);
        process.inner.listen(listener).unwrap();
        process.due();
        process.turn();
        Self {
            process,
            fars: Vec::new(),
        }
    }

    /// Lets somebody come; the next turn opens the connection.
    pub(crate) fn come(&mut self) {
        let (pipe, far) = Pipe::new(self.fars.len(), true);
        self.fars.push(far);
        let from = SocketAddr::from(ADDR);
        self.process.memory.come(ADDR.1, from, pipe);
    }

    /// Has so many come, and turns until they are open.
    pub(crate) fn fill(&mut self, count: usize) {
        for _ in 0..count {
            self.come();
        }
        self.process.settle();
        assert_eq!(self.process.handler.opened.len(), self.fars.len());
    }

    pub(crate) fn cx(&mut self) -> Cx<'_> {
        self.process.inner.context()
    }

    /// Lets peers end their side whose connection has ended, so that its slot is used again.
    pub(crate) fn part(&self) {
        for far in &self.fars {
            if far.fate() == Fate::Shut {
                far.end();
            }
        }
    }

    /// Says whether the loop would not sleep, and turns it.
    pub(crate) fn turn(&mut self) -> (bool, usize) {
        let is_due = self.process.due() <= self.process.memory.clock();
        (is_due, self.process.turn().reached)
    }

    /// Turns once, and returns how long that took.
    pub(crate) fn turn_length(&mut self) -> Micros {
        let due = self.process.due();
        self.process.memory.set_clock(due);
        self.process.turn();
        self.process.memory.clock() - due
    }

    /// Turns until the loop has nothing to do before `end`. The peers of these numbers answer pings.
    pub(crate) fn run_to(&mut self, end: Micros, answering: std::ops::Range<usize>) {
        while self.process.due() <= end {
            let due = self.process.due();
            self.process.memory.set_clock(due);
            self.process.turn();
            self.answer(answering.clone());
        }
    }

    /// Has the peers of these numbers answer the pings that they were sent.
    pub(crate) fn answer(&self, answering: std::ops::Range<usize>) {
        for number in self.process.memory.take_spoken() {
            if self.read(number) == "PING\n" && answering.contains(&number) {
                self.fars[number].send(b"PONG\n");
            }
        }
    }

    pub(crate) fn read(&self, peer: usize) -> String {
        String::from_utf8(self.fars[peer].take()).unwrap()
    }

    pub(crate) fn done(&self) -> Vec<(BroadcastId, usize, usize)> {
        let done = self.process.handler.done.iter();
        done.map(|done| (done.id, done.sent, done.dropped))
            .collect()
    }
}
