//! Heartwheel's reactor with a handler that only counts.

use std::io;

use heartwheel::close::Cause;
use heartwheel::config::ReactorConfig;
use heartwheel::proto::time::Micros;
use heartwheel::reactor::{
    Closed, Context, Handler, ListenerConfig, Reactor, Readiness, SourceId, WireFactory,
};
use heartwheel::stats::Histogram;
use mio::Interest;
use mio::unix::SourceFd;

use super::control::{Look, next_command, say, show};
use super::secure;
use super::subject::{ANSWERED, ENDED, HELD, LATENESS, Order, WRITTEN};

pub(crate) fn serve(order: Order) -> io::Result<()> {
    let config = ReactorConfig {
        max_connections: order.capacity,
        ..ReactorConfig::default()
    };
    let mut counter = Counter::new(order, Micros::from(config.tick));
    let mut reactor = Reactor::new(config).map_err(io::Error::other)?;
    let listener = reactor.listen(listener(order)?).map_err(io::Error::other)?;
    reactor
        .register(&mut SourceFd(&0), Interest::READABLE)
        .map_err(io::Error::other)?;
    let addr = reactor.local_addr(listener).expect("it listens");
    say(&addr.to_string())?;
    reactor.run(&mut counter).map_err(io::Error::other)
}

fn listener(order: Order) -> io::Result<ListenerConfig> {
    let mut config =
        ListenerConfig::new(([127, 0, 0, 1], order.port).into(), WireFactory::WebSocket);
    config.heartbeat.interval = Some(order.interval);
    config.heartbeat.timeout = Some(order.timeout);
    config.heartbeat.ping_slack = order.subject.slack;
    // All peers share an address, and come at once.
    config.admission.half_open_per_address = None;
    config.admission.share_per_address = None;
    config.socket.reuse_port = true;
    if order.subject.is_secure {
        config.tls = Some(secure::ours()?);
    }
    Ok(config)
}

/// Counts ends, and how long after the last proof of life each came.
struct Counter {
    timeout: Micros,
    tick: Micros,
    ended: u64,
    /// Verdicts of silence: all of them, those before the timeout, those after it by more than a tick
    /// and the delay of the loop.
    silent: u64,
    early: u64,
    overdue: u64,
    /// How far beyond the timeout they came.
    beyond: Histogram,
}

impl Counter {
    fn new(order: Order, tick: Micros) -> Self {
        Self {
            timeout: order.timeout.into(),
            tick,
            ended: 0,
            silent: 0,
            early: 0,
            overdue: 0,
            beyond: Histogram::default(),
        }
    }

    fn look(&self, cx: &Context<'_, ()>) -> Look {
        let stats = cx.stats();
        let ended = self.ended;
        Look::now()
            .with(HELD, stats.opened - ended)
            .with(WRITTEN, stats.pings_written)
            .with(ANSWERED, stats.pongs_matched)
            .with(ENDED, ended)
            .with_times(LATENESS, &stats.ping_lateness)
            .with(SILENT, self.silent)
            .with(EARLY, self.early)
            .with(OVERDUE, self.overdue)
            .with_times(BEYOND, &self.beyond)
            .with("turns", stats.turns)
    }
}

impl Handler for Counter {
    type Data = ();

    fn on_source(&mut self, cx: &mut Context<'_, ()>, _: SourceId, _: Readiness) {
        match next_command() {
            Ok(Some(_)) => show(&self.look(cx)).expect("the bench listens"),
            Ok(None) | Err(_) => cx.stop(),
        }
    }

    fn on_close(&mut self, cx: &mut Context<'_, ()>, closed: Closed<'_, ()>) {
        self.ended += 1;
        let evidence = closed.evidence;
        let (Cause::PeerUnresponsive | Cause::PongTimeout | Cause::PathDead, Some(silence)) =
            (evidence.cause, evidence.last_proof.map(Micros::from))
        else {
            return;
        };
        // The peer has its time to answer from when the ping was written, which the loop may have been
        // late with.
        let late = Micros::from(cx.stats().ping_lateness.quantile(1.0)) - self.tick;
        let ours = Micros::from(evidence.loop_delay) + evidence.forgiveness.into();
        let bound = self.timeout + self.tick + ours + late;
        self.silent += 1;
        self.early += u64::from(silence < self.timeout);
        self.overdue += u64::from(silence > bound);
        self.beyond.record((silence - self.timeout).into());
    }
}

pub(crate) const SILENT: &str = "silent";
pub(crate) const EARLY: &str = "early";
pub(crate) const OVERDUE: &str = "overdue";
pub(crate) const BEYOND: &str = "beyond";
