//! The loop that is measured, and the figures of its turns.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use heartwheel::config::{HeartbeatConfig, ReactorConfig};
use heartwheel::proto::message::{Message, SharedMessage};
use heartwheel::reactor::{ConnId, Context, Handler, ListenerConfig, Reactor, WireFactory};
use heartwheel::stats::{Histogram, Stats};
use rustix::time::{ClockId, clock_gettime};

pub(crate) struct Server {
    reactor: Reactor,
    crowd: Crowd,
    addr: SocketAddr,
    turns: Turns,
}

/// Turns since the trouble began.
#[derive(Default)]
struct Turns {
    cpu: Histogram,
    delay: Histogram,
    longest: Duration,
}

impl Server {
    pub(crate) fn start() -> io::Result<Self> {
        let config = ReactorConfig {
            max_connections: 20_000,
            history: 0,
            ..ReactorConfig::default()
        };
        let mut reactor = Reactor::new(config).map_err(io::Error::other)?;
        let addr = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut listener = ListenerConfig::new(addr, WireFactory::WebSocket);
        listener.heartbeat = HeartbeatConfig {
            interval: Some(INTERVAL),
            timeout: Some(TIMEOUT),
            ping_slack: Some(Duration::ZERO),
            ..HeartbeatConfig::websocket()
        };
        listener.admission.half_open_per_address = None;
        listener.admission.share_per_address = None;
        let id = reactor.listen(listener).map_err(io::Error::other)?;
        let addr = reactor.local_addr(id).unwrap();
        Ok(Self {
            reactor,
            crowd: Crowd::default(),
            addr,
            turns: Turns::default(),
        })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Turns until so many connections are open.
    pub(crate) fn hold(&mut self, count: usize) {
        while self.reactor.stats().opened < count as u64 {
            self.turn();
        }
    }

    pub(crate) fn run(&mut self, span: Duration) {
        let end = Instant::now() + span;
        while Instant::now() < end {
            self.turn();
        }
    }

    fn turn(&mut self) {
        let before = cpu_time();
        let limit = Some(Duration::from_millis(100));
        let turn = self.reactor.turn(&mut self.crowd, limit).unwrap();
        let cpu = cpu_time() - before;
        self.turns.cpu.record(cpu);
        self.turns.longest = self.turns.longest.max(cpu);
        self.turns.delay.record(turn.delay);
    }

    /// Forgets the turns so far.
    pub(crate) fn begin(&mut self) -> Stats {
        self.turns = Turns::default();
        self.reactor.stats().clone()
    }

    /// Sends a message to everybody now and then.
    pub(crate) fn broadcast_every(&mut self, span: Duration) {
        self.crowd.every = span;
        self.reactor.context().set_timer(span, BROADCAST);
    }

    /// Does the same connection by connection.
    pub(crate) fn send_every(&mut self, span: Duration) {
        self.crowd.every = span;
        self.reactor.context().set_timer(span, ONE_BY_ONE);
    }

    pub(crate) fn drain(&mut self, window: Duration) {
        self.reactor.context().drain(window);
    }

    pub(crate) fn figures(self, before: &Stats) -> Figures {
        let after = self.reactor.stats();
        Figures {
            turns: self.turns,
            pings: after.ping_lateness.since(&before.ping_lateness),
            opened: after.opened - before.opened,
            messages: (
                after.messages_in - before.messages_in,
                after.messages_out - before.messages_out,
            ),
            left: self.reactor.len(),
        }
    }
}

/// What the turns of a case came to.
pub(crate) struct Figures {
    turns: Turns,
    pings: Histogram,
    opened: u64,
    messages: (u64, u64),
    left: usize,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        let high = |times: &Histogram| {
            let most = times.quantile(1.0);
            format!(
                "{:7.2} (most {:7.2})",
                millis(times.quantile(0.999)),
                millis(most)
            )
        };
        let (read, sent) = self.messages;
        write!(
            f,
            "{:6} turns; p99.9 in ms: cpu {:7.2} (most {:7.2}), delay {}, pings {} of {}; \
             {} opened, {read} messages in, {sent} out, {} left",
            self.turns.cpu.len(),
            millis(self.turns.cpu.quantile(0.999)),
            millis(self.turns.longest),
            high(&self.turns.delay),
            high(&self.pings),
            self.pings.len(),
            self.opened,
            self.left,
        )
    }
}

/// Says something to everybody when its timer is due.
#[derive(Default)]
struct Crowd {
    every: Duration,
}

impl Handler for Crowd {
    type Data = ();

    fn on_message(&mut self, _: &mut Context<'_, ()>, _: ConnId, _: Message<'_>) {}

    fn on_timer(&mut self, cx: &mut Context<'_, ()>, word: u64) {
        let news = SharedMessage::new(Message::text(NEWS));
        if word == BROADCAST {
            let _ = cx.broadcast(&news);
        } else {
            let everybody: Vec<_> = cx.connections().collect();
            for id in everybody {
                let _ = cx.send_shared(id, &news);
            }
        }
        cx.set_timer(self.every, word);
    }
}

/// Returns the CPU time of this thread, the kernel's part of it too.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        time.tv_nsec.unsigned_abs() as u32,
    )
}

const INTERVAL: Duration = Duration::from_secs(4);
pub(crate) const TIMEOUT: Duration = Duration::from_secs(12);

const BROADCAST: u64 = 0;
const ONE_BY_ONE: u64 = 1;

const NEWS: &str =
    "news for everybody, of a length that is usual for such things: under a hundred bytes";
