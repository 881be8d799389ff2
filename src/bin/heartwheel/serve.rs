//! `heartwheel serve`: holds connections, and reports why each one ended.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use heartwheel::PeerAddr;
use heartwheel::close::Evidence;
use heartwheel::config::{
    AdmissionConfig, HeartbeatConfig, LimitsConfig, ProxyConfig, ReactorConfig, WebConfig, WireKind,
};
use heartwheel::error::SendError;
use heartwheel::proto::http::Request;
use heartwheel::proto::message::{Message, SharedMessage};
use heartwheel::proto::websocket::handshake::Upgrade;
use heartwheel::reactor::{
    Answered, BroadcastDone, Closed, ConnId, Context, Decision, Group, Handler, HttpAnswer,
    ListenAddr, ListenerConfig, Offer, Reactor, Readiness, Rejected, Rejection, RequestId,
    SocketOptions, SourceId, Welcome, WireFactory,
};
use heartwheel::rustls::ServerConfig;
use log::LevelFilter;
use rlimit::Resource;

use crate::certs::{CertFlags, Certs};
use crate::fan_out::FanOut;
use crate::flags::{
    AdmissionFlags, HeartbeatFlags, LimitFlags, ProxyFlags, SocketFlags, WebFlags, check, in_words,
    warn,
};
use crate::health::{Health, State};
use crate::journal::{Change, Journal};
use crate::listening::{HandedIn, Place, hints, hints_over_tls, listen, program_name};
use crate::machine;
use crate::memory::Memory;
use crate::output::{Form, Output};
use crate::record::Record;
use crate::shards::{self, Siblings, Sum};
use crate::signals::{self, Signals, Wish};
use crate::values::{Switch, count, log_level, shards, show_time, size_or_off, subprotocol, time};
use crate::{FAILED, Failure, complain, start_logging};

/// Holds connections, pings them, closes dead ones and reports why each one ended
///
/// Without an address it listens on ws 127.0.0.1:9001 and tcp 127.0.0.1:9002. Ctrl-C closes every
/// connection in an orderly way; a second Ctrl-C exits at once. A slow reader of events or of the
/// log does not block the program: lines that are not read in time are dropped and counted. With
/// certificates, SIGHUP reads them again.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Speak WebSocket on this address: IP:PORT, unix:PATH, or fd:3 for a socket that systemd has
    /// opened (may be repeated)
    #[arg(long, value_name = "ADDR", value_parser = Place::parse)]
    ws: Vec<Place>,

    /// Speak text lines on this address; PING is answered by PONG (may be repeated)
    #[arg(long, value_name = "ADDR", value_parser = Place::parse)]
    tcp: Vec<Place>,

    /// Speak binary frames with a length on this address (may be repeated)
    #[arg(long, value_name = "ADDR", value_parser = Place::parse)]
    tcp_binary: Vec<Place>,

    /// Read any bytes on this address and send no pings (may be repeated)
    #[arg(long, value_name = "ADDR", value_parser = Place::parse)]
    tcp_raw: Vec<Place>,

    /// Speak WebSocket over TLS on this address; needs --cert and --key (may be repeated)
    #[arg(long, value_name = "ADDR", value_parser = Place::parse)]
    wss: Vec<Place>,

    /// The same as --tcp over TLS (may be repeated)
    #[arg(long, value_name = "ADDR", value_parser = Place::parse)]
    tls_tcp: Vec<Place>,

    /// The same as --tcp-binary over TLS (may be repeated)
    #[arg(long, value_name = "ADDR", value_parser = Place::parse)]
    tls_tcp_binary: Vec<Place>,

    /// The same as --tcp-raw over TLS (may be repeated)
    #[arg(long, value_name = "ADDR", value_parser = Place::parse)]
    tls_tcp_raw: Vec<Place>,

    /// What to do with a message
    #[arg(long, value_name = "MODE", value_enum, default_value_t)]
    mode: Mode,

    /// Accept this subprotocol if a WebSocket client offers it (may be repeated). If the client
    /// offers several of them, the first in its list is chosen
    #[arg(long, value_name = "NAME", value_parser = subprotocol)]
    subprotocol: Vec<String>,

    /// Time within which connections are closed after the first Ctrl-C
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "8s")]
    drain: Duration,

    /// Log records on standard error, from this level up: off, error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL", value_parser = log_level, default_value = "info")]
    log_level: LevelFilter,

    /// Print no events
    #[arg(long)]
    quiet: bool,

    /// Print each event as JSON, one object a line
    #[arg(long)]
    json: bool,

    /// Number of loops, each on its own thread. They share ports and limits. Use one for each core
    #[arg(long, value_name = "N", value_parser = shards, default_value = "1")]
    shards: usize,

    #[command(flatten)]
    certs: CertFlags,

    #[command(flatten)]
    heartbeat: HeartbeatFlags,

    /// Resolution of the timers, 1ms to 1s
    #[arg(
        long,
        value_name = "TIME",
        value_parser = time,
        default_value = "10ms",
        help_heading = "Heartbeat (times: 250ms 30s 5m, or off)"
    )]
    tick: Duration,

    #[command(flatten)]
    limits: LimitFlags,

    /// Most connections at once
    #[arg(
        long,
        value_name = "N",
        value_parser = count,
        default_value = "1000000",
        help_heading = "Limits (sizes: 65536 64KiB 16MiB)"
    )]
    max_connections: usize,

    /// Most memory for messages in transit, over all connections: unfinished messages and send queues.
    /// Near it, reading from those that hold most stops for a while; at it, the one that holds most is
    /// closed [default: half of the memory of the machine or the control group; off: no limit]
    #[arg(
        long,
        value_name = "SIZE",
        value_parser = size_or_off,
        help_heading = "Limits (sizes: 65536 64KiB 16MiB)"
    )]
    memory_limit: Option<Switch<usize>>,

    #[command(flatten)]
    admission: AdmissionFlags,

    #[command(flatten)]
    proxy: ProxyFlags,

    /// Do not answer /healthz and /readyz on WebSocket listeners
    #[arg(long, help_heading = "Behind a proxy")]
    no_health: bool,

    #[command(flatten)]
    web: WebFlags,

    #[command(flatten)]
    socket: SocketFlags,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Send it back to its sender
    #[default]
    Echo,
    /// Read it and do nothing
    Sink,
    /// Send it to all other connections, at most 10 a second from each (see --messages-per-second)
    Broadcast,
}

impl Mode {
    /// Returns the limits of a connection, where no flag says otherwise.
    fn limits(self) -> LimitsConfig {
        LimitsConfig {
            messages_per_second: match self {
                Self::Echo | Self::Sink => None,
                // Its sender pays for one message, and we for one to everybody.
                Self::Broadcast => Some(10),
            },
            max_message: MAX_MESSAGE,
            ..LimitsConfig::default()
        }
    }
}

/// One place to listen on, checked.
#[derive(Debug)]
struct Plan {
    flag: &'static str,
    wire: WireKind,
    place: Place,
    heartbeat: HeartbeatConfig,
    limits: LimitsConfig,
    admission: AdmissionConfig,
    proxy: ProxyConfig,
    has_health: bool,
    web: WebConfig,
    socket: SocketOptions,
    tls: Option<Arc<ServerConfig>>,
    /// What a client may ask a listener with TLS for.
    name: Option<String>,
}

impl Plan {
    /// Returns what one loop is to listen with; where there are several the port is shared.
    fn config(&self, addr: ListenAddr, is_shared: bool) -> ListenerConfig {
        ListenerConfig {
            heartbeat: self.heartbeat.clone(),
            limits: self.limits.clone(),
            admission: self.admission.clone(),
            proxy: self.proxy.clone(),
            answer_when_full: self.has_health,
            web: self.web.clone(),
            tls: self.tls.clone(),
            socket: SocketOptions {
                reuse_port: is_shared,
                ..self.socket.clone()
            },
            ..ListenerConfig::at(addr, factory(self.wire))
        }
    }
}

impl Plan {
    /// Says where it listens, for how long silence is borne, and what to try.
    fn tell(&self, addr: &PeerAddr, output: &mut Output) {
        let (wire, heartbeat) = (self.wire, &self.heartbeat);
        let scheme = scheme(wire, self.tls.is_some());
        output.record(
            &Record::new("listening")
                .phrase(format!("listening {scheme} {addr}"))
                .word("wire", scheme)
                .word("addr", addr)
                .maybe_time("interval", heartbeat.interval)
                .maybe_time("timeout", heartbeat.timeout),
        );
        output.say(&format!("    {}", in_words(heartbeat)));
        let program = program_name();
        let hints = match self.tls {
            Some(_) => hints_over_tls(scheme, addr, self.name.as_deref(), &program),
            None => hints(wire, addr, heartbeat.interval.is_some(), &program),
        };
        for hint in hints {
            output.say(&format!("    {hint}"));
        }
    }
}

/// Runs the command.
pub(crate) fn run(args: &ServeArgs) -> Result<ExitCode, Failure> {
    start_logging(args.log_level);
    let mut handed_in = HandedIn::new();
    let mut config = ReactorConfig {
        tick: args.tick,
        max_connections: args.max_connections,
        memory_limit: args.memory_limit(),
        ..ReactorConfig::default()
    };
    config.check()?;
    let certs = args.certs.read(args.secure_flag())?;
    let plans = args.plans(certs.as_ref())?;
    warn(plans.iter().map(|plan| &plan.heartbeat), args.tick);
    // First of all: many loops alone may take more descriptors than there are at the start.
    let room = Room::make(args.max_connections, args.shards, &plans);
    config.max_connections = room.connections();
    let group = Group::new();
    let mut reactors = (0..args.shards)
        .map(|_| Reactor::in_group(config.clone(), &group))
        .collect::<Result<Vec<_>, _>>()?;

    let mut output = Output::start(Form::new(args.json, args.quiet))?;
    output.record(&room.record(config.memory_limit));
    for plan in plans {
        let config = |addr, is_shared| plan.config(addr, is_shared);
        let (flag, place) = (plan.flag, &plan.place);
        let addr = listen(&mut reactors, &mut handed_in, flag, place, config)?;
        plan.tell(&addr, &mut output);
    }
    let mut signals = Some(match certs {
        Some(_) => Signals::register_to_reload(&mut reactors[0])?,
        None => Signals::register(&mut reactors[0])?,
    });
    output.flush();

    let began = Instant::now();
    let common = Arc::new(Mutex::new(Common {
        journal: Journal::new(output),
        memory: Memory::new(),
        aborted: None,
    }));
    let mut certs = certs;
    let mut loops = Vec::new();
    let siblings = Siblings::of(&reactors);
    for (reactor, siblings) in reactors.into_iter().zip(siblings) {
        let server = Server {
            mode: args.mode,
            subprotocols: args.subprotocol.clone(),
            held: HashMap::new(),
            health: (!args.no_health).then(Health::default),
            fan_out: FanOut::new(siblings.clone()),
            common: Arc::clone(&common),
            group: group.clone(),
            signals: signals.take(),
            certs: certs.take(),
            window: args.drain,
        };
        loops.push((reactor, server, siblings));
    }
    let sum = shards::run(loops, |reactor, server| {
        signals::run(
            reactor,
            server,
            Server::hears_for_others,
            Server::after_turn,
        )?;
        server.fan_out.siblings().wake();
        Ok(())
    })?;
    let common = Arc::into_inner(common).expect("the loops are over");
    let common = common.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(common.finish(&sum, began.elapsed()))
}

impl ServeArgs {
    /// Returns the most memory for messages: half of what there is, unless it is given.
    fn memory_limit(&self) -> Option<usize> {
        match self.memory_limit {
            Some(Switch(limit)) => limit,
            None => {
                let half = machine::memory()? / 2;
                Some(usize::try_from(half).unwrap_or(usize::MAX))
            }
        }
    }

    /// Turns flags into listeners; nothing is opened yet.
    fn plans(&self, certs: Option<&Certs>) -> Result<Vec<Plan>, Failure> {
        if self.drain.is_zero() {
            return Err(Failure::usage(
                "--drain must not be zero; give a time such as 8s",
            ));
        }
        let groups = [
            ("--ws", WireKind::WebSocket, &self.ws),
            ("--tcp", WireKind::Line, &self.tcp),
            ("--tcp-binary", WireKind::Binary, &self.tcp_binary),
            ("--tcp-raw", WireKind::Raw, &self.tcp_raw),
        ];
        let mut plans = Vec::new();
        for (flag, wire, places) in groups {
            for place in places {
                plans.push(self.plan(flag, wire, place.clone(), self.web.web(false))?);
            }
        }
        if let Some(certs) = certs {
            for (flag, wire, places) in self.secure() {
                for place in places {
                    let plan = self.plan(flag, wire, place.clone(), self.web.web(false))?;
                    plans.push(Plan {
                        tls: Some(certs.config(wire)?),
                        name: certs.example_name(),
                        ..plan
                    });
                }
            }
        }
        if plans.is_empty() {
            for (flag, wire, port) in [
                ("--ws", WireKind::WebSocket, 9001),
                ("--tcp", WireKind::Line, 9002),
            ] {
                let place = Place::Tcp((Ipv4Addr::LOCALHOST, port).into());
                plans.push(self.plan(flag, wire, place, self.web.web(true))?);
            }
        }
        Ok(plans)
    }

    /// Lists the listeners that speak TLS.
    fn secure(&self) -> [(&'static str, WireKind, &[Place]); 4] {
        [
            ("--wss", WireKind::WebSocket, &self.wss),
            ("--tls-tcp", WireKind::Line, &self.tls_tcp),
            ("--tls-tcp-binary", WireKind::Binary, &self.tls_tcp_binary),
            ("--tls-tcp-raw", WireKind::Raw, &self.tls_tcp_raw),
        ]
    }

    /// Returns the flag of the first of them, if there is any.
    fn secure_flag(&self) -> Option<&'static str> {
        let groups = self.secure().into_iter();
        let mut given = groups.filter(|(_, _, places)| !places.is_empty());
        given.next().map(|(flag, ..)| flag)
    }

    fn plan(
        &self,
        flag: &'static str,
        wire: WireKind,
        place: Place,
        web: WebConfig,
    ) -> Result<Plan, Failure> {
        let heartbeat = self
            .heartbeat
            .heartbeat(wire, HeartbeatConfig::for_wire(wire))?;
        let limits = self.limits.limits(self.mode.limits());
        check(&heartbeat, &limits, wire, self.tick)?;
        Ok(Plan {
            flag,
            wire,
            place,
            heartbeat,
            limits,
            admission: self.admission.admission(),
            proxy: self.proxy.proxy(wire),
            has_health: wire == WireKind::WebSocket && !self.no_health,
            web,
            socket: self.socket.options()?,
            tls: None,
            name: None,
        })
    }
}

fn factory(wire: WireKind) -> WireFactory {
    match wire {
        WireKind::WebSocket => WireFactory::WebSocket,
        WireKind::Line => WireFactory::Line,
        WireKind::Binary => WireFactory::Binary,
        WireKind::Raw | WireKind::Own => WireFactory::Raw,
    }
}

/// Returns the scheme of the URL that leads to a listener; events call the listener so.
const fn scheme(wire: WireKind, is_secure: bool) -> &'static str {
    if !is_secure {
        return wire.label();
    }
    match wire {
        WireKind::WebSocket => "wss",
        WireKind::Line => "tcps",
        WireKind::Binary => "tcps+binary",
        WireKind::Raw | WireKind::Own => "tcps+raw",
    }
}

/// How many connections there may be, and why no more.
#[derive(Debug)]
struct Room {
    connections: u64,
    /// Descriptors that the system allows, and how many it allowed before it was asked for more.
    open_files: u64,
    open_files_before: u64,
}

impl Room {
    /// Asks for as many descriptors as the system lets us have; a connection needs one, and so does each
    /// listener of each loop.
    fn make(connections: usize, shards: usize, plans: &[Plan]) -> Self {
        let connections = connections as u64;
        let checks = match plans.iter().any(|plan| plan.has_health) {
            true => CHECK_DESCRIPTORS,
            false => 0,
        };
        let each = LOOP_DESCRIPTORS + checks + plans.len() as u64;
        let spare = SPARE_DESCRIPTORS + each * shards as u64;
        let wanted = connections.saturating_add(spare);
        let before = rlimit::getrlimit(Resource::NOFILE).map_or(0, |(soft, _)| soft);
        let open_files = rlimit::increase_nofile_limit(wanted).unwrap_or_else(|error| {
            log::warn!("could not raise the limit of open files: {error}");
            before
        });
        let room = Self {
            connections: connections.min(open_files.saturating_sub(spare)),
            open_files,
            open_files_before: before,
        };
        if room.connections < connections && open_files < FEW_DESCRIPTORS {
            complain(format_args!(
                "warning: the system allows {open_files} open files, so no more than about {} \
                 connections; raise it with ulimit -Hn, or LimitNOFILE for a service",
                room.connections
            ));
        }
        room
    }

    /// Returns how many connections may be accepted.
    fn connections(&self) -> usize {
        usize::try_from(self.connections).map_or(usize::MAX, |connections| connections.max(1))
    }

    fn record(&self, memory: Option<usize>) -> Record {
        let Self {
            connections,
            open_files,
            open_files_before: before,
        } = *self;
        let raised = match open_files > before {
            true => format!(", raised from {before}"),
            false => String::new(),
        };
        Record::new("room")
            .phrase(format!(
                "room for {connections} connections: open files may be {open_files}{raised}"
            ))
            .number("connections", connections)
            .number("open_files", open_files)
            .number("open_files_before", before)
            .maybe_number("memory_limit", memory.map(|limit| limit as u64))
    }
}

/// What serves the connections of one loop.
struct Server {
    mode: Mode,
    /// Those that we take.
    subprotocols: Vec<String>,
    /// Messages that the queues of their connections had no room for. While one is held, nothing is
    /// read.
    held: HashMap<ConnId, SharedMessage>,
    /// Unless that is switched off.
    health: Option<Health>,
    fan_out: FanOut,
    common: Arc<Mutex<Common>>,
    group: Group,
    /// In the first loop.
    signals: Option<Signals>,
    /// In the first loop, if there are any.
    certs: Option<Certs>,
    window: Duration,
}

/// What all loops of the program have together.
struct Common {
    journal: Journal,
    memory: Memory,
    /// How many connections there were when we were asked to end at once.
    aborted: Option<usize>,
}

impl Server {
    /// Says whether this loop, itself without connections, still has signals to hear for the others: the
    /// second one ends them at once.
    fn hears_for_others(reactor: &Reactor, server: &Self) -> bool {
        server.signals.is_some() && reactor.is_empty() && !server.group.is_empty()
    }

    /// Sees to what is due once a turn; returns when to be called again although nothing happens.
    fn after_turn(&mut self) -> Option<Duration> {
        let look = self.certs.as_mut().map(Certs::after_turn);
        let mut common = self.common();
        let waits = [common.journal.flush(), common.memory.after_turn(), look];
        waits.into_iter().flatten().min()
    }

    /// Reads certificates again, and says what came of it.
    fn reload(&mut self) {
        let Some(certs) = &mut self.certs else { return };
        let record = match certs.reload() {
            Ok(reloaded) => Record::new("reloaded")
                .number("certificates", reloaded.certificates as u64)
                .number("changed", reloaded.changed as u64),
            Err(reason) => {
                log::error!("nothing is reloaded, and the certificates in use stay: {reason}");
                Record::new("reload_failed").quoted("reason", &reason)
            }
        };
        self.common().journal.output.record(&record);
    }

    /// Sends a message back; if there is no room, the sender waits until there is.
    fn echo(&mut self, cx: &mut Context<'_, ()>, id: ConnId, message: Message<'_>) {
        match cx.send(id, message) {
            Ok(()) | Err(SendError::Closed) => {}
            Err(SendError::Full { queued, .. }) if queued > 0 => {
                self.held.insert(id, SharedMessage::new(message));
                cx.set_held(id, message.data().len());
                cx.pause(id);
            }
            Err(error) => log::debug!("{id}: not echoed: {error}"),
        }
    }

    /// Forgets what a connection has asked. Returns whether that was how we are, and nothing else.
    fn forget_check(&mut self, id: ConnId) -> bool {
        self.health.as_mut().is_some_and(|health| health.forget(id))
    }

    /// Returns what all loops share, for a moment.
    fn common(&self) -> MutexGuard<'_, Common> {
        self.common.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Common {
    /// Sums up and returns how it went.
    fn finish(mut self, sum: &Sum, uptime: Duration) -> ExitCode {
        let Sum { stats } = sum;
        self.journal.write_sums();
        let causes: Vec<_> = stats
            .causes()
            .map(|(cause, count)| (cause.label(), count))
            .collect();
        let late = |share| {
            let lateness = &stats.ping_lateness;
            (!lateness.is_empty()).then(|| lateness.quantile(share))
        };
        let output = &mut self.journal.output;
        if let Some(left) = self.aborted {
            output.record_in_any_case(
                &Record::new("aborted")
                    .phrase(format!("aborted with {} left", connections(left)))
                    .number("connections", left as u64),
            );
        }
        output.record_in_any_case(
            &Record::new("summary")
                .number("connections", stats.opened)
                .number("rejected", stats.rejected)
                .number("answered", stats.answered)
                .number("pings_written", stats.pings_written)
                .number("pings_answered", stats.pongs_matched)
                .number("pongs_unsolicited", stats.pongs_unsolicited)
                .number("pongs_mismatched", stats.pongs_mismatched)
                .maybe_time("ping_late_p50", late(0.5))
                .maybe_time("ping_late_p99", late(0.99))
                .maybe_time("ping_late_p999", late(0.999))
                .number("messages_in", stats.messages_in)
                .number("messages_out", stats.messages_out)
                .compression(stats)
                .number("send_full", stats.send_full)
                .number("memory_pauses", stats.memory_pauses)
                .number("rate_pauses", stats.rate_pauses)
                .time("uptime", uptime)
                .counts("causes", causes),
        );
        self.journal.finish();
        match self.aborted {
            Some(_) => ExitCode::from(FAILED),
            None => ExitCode::SUCCESS,
        }
    }
}

impl Handler for Server {
    type Data = ();

    fn on_accept(
        &mut self,
        _: &mut Context<'_, ()>,
        offer: &Offer<'_>,
    ) -> Result<Decision<Welcome<()>>, Rejection> {
        let offered = offer.upgrade().map_or(&[][..], Upgrade::subprotocols);
        let is_ours = |name: &&&str| self.subprotocols.iter().any(|ours| ours == **name);
        let welcome = Welcome {
            subprotocol: offered.iter().find(is_ours).map(|&name| name.to_owned()),
            ..Welcome::default()
        };
        Ok(welcome.into())
    }

    fn on_open(&mut self, cx: &mut Context<'_, ()>, id: ConnId) {
        self.forget_check(id);
        let Some(info) = cx.info(id) else { return };
        self.common().journal.tell(Change::Opened, || {
            Record::new("open")
                .word("id", id)
                .peer(&info.peer)
                .word("wire", info.wire.label())
                .tls(cx.tls(id))
        });
    }

    fn on_message(&mut self, cx: &mut Context<'_, ()>, id: ConnId, message: Message<'_>) {
        match self.mode {
            Mode::Echo => self.echo(cx, id, message),
            Mode::Sink => {}
            Mode::Broadcast => self.fan_out.pass_on(cx, id, message),
        }
    }

    fn on_writable(&mut self, cx: &mut Context<'_, ()>, id: ConnId) {
        let Some(held) = self.held.remove(&id) else {
            return;
        };
        cx.set_held(id, 0);
        self.echo(cx, id, held.message());
        if !self.held.contains_key(&id) {
            cx.resume(id);
        }
    }

    fn on_close(&mut self, _: &mut Context<'_, ()>, closed: Closed<'_, ()>) {
        self.held.remove(&closed.id);
        let mut common = self.common();
        common.memory.note_end(held(closed.evidence));
        common
            .journal
            .tell(Change::Closed(closed.evidence.cause), || {
                Record::new("closed")
                    .word("id", closed.id)
                    .peer(&closed.peer)
                    .evidence(closed.evidence, closed.reason)
            });
    }

    fn on_http(
        &mut self,
        cx: &mut Context<'_, ()>,
        id: RequestId,
        request: &Request<'_>,
    ) -> Decision<HttpAnswer> {
        let answer = match &mut self.health {
            Some(health) => health.answer(id.conn(), request, State::of(cx)),
            None => HttpAnswer::upgrade_required(),
        };
        answer.into()
    }

    fn on_rejected(&mut self, _: &mut Context<'_, ()>, rejected: Rejected<'_>) {
        if let Some(id) = rejected.id {
            self.forget_check(id);
        }
        let mut common = self.common();
        common.memory.note_end(held(rejected.evidence));
        common
            .journal
            .tell(Change::Rejected(rejected.evidence.cause), || {
                Record::new("rejected")
                    .peer(&rejected.peer)
                    .evidence(rejected.evidence, rejected.reason)
            });
    }

    fn on_answered(&mut self, _: &mut Context<'_, ()>, answered: Answered<'_>) {
        let is_check = self.forget_check(answered.id);
        let mut common = self.common();
        common.memory.note_end(held(answered.evidence));
        if is_check {
            return;
        }
        common.journal.tell(Change::Answered, || {
            Record::new("answered")
                .peer(&answered.peer)
                .number("status", answered.status)
                .number("answers", answered.answers)
                .evidence(answered.evidence, answered.reason)
        });
    }

    fn on_source(&mut self, cx: &mut Context<'_, ()>, id: SourceId, _: Readiness) {
        let asked = self.signals.as_mut().and_then(|signals| signals.asked(id));
        match asked {
            None => {}
            Some(Wish::Reload) => self.reload(),
            Some(Wish::End(1)) => {
                let count = self.group.len();
                let mut common = self.common();
                common.journal.write_sums();
                common.journal.output.record(
                    &Record::new("draining")
                        .phrase(match count {
                            0 => "draining 0 connections".to_owned(),
                            _ => format!(
                                "draining {} for up to {}; a second Ctrl-C ends at once",
                                connections(count),
                                show_time(self.window)
                            ),
                        })
                        .number("connections", count as u64)
                        .time("window", self.window),
                );
                self.fan_out.siblings().drain(self.window);
                cx.drain(self.window);
            }
            Some(Wish::End(_)) => {
                self.common().aborted = Some(self.group.len());
                self.fan_out.siblings().stop();
                cx.stop();
            }
        }
    }

    fn on_timer(&mut self, cx: &mut Context<'_, ()>, _: u64) {
        self.fan_out.retry(cx);
    }

    fn on_broadcast(&mut self, cx: &mut Context<'_, ()>, done: BroadcastDone) {
        self.fan_out.handle_done(cx, done);
    }
}

/// Returns the bytes of messages that a connection held in the end.
fn held(end: &Evidence) -> u64 {
    end.bytes_queued + u64::from(end.bytes_unfinished.unwrap_or(0))
}

fn connections(count: usize) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} connection{plural}")
}

/// Largest message that the program accepts by default. Few need more, and who does may say so.
const MAX_MESSAGE: usize = 1024 * 1024;

/// Descriptors of a loop that are neither connections nor listeners: the selector, its waker and a timer.
const LOOP_DESCRIPTORS: u64 = 3;

/// Descriptors of a loop for health checks, when there is no place for anybody else.
const CHECK_DESCRIPTORS: u64 = 32;

/// Descriptors of the program that are of no loop: standard streams, signals, and what it reads now and
/// then.
const SPARE_DESCRIPTORS: u64 = 27;

/// Fewer than this deserve a word.
const FEW_DESCRIPTORS: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        serve: ServeArgs,
    }

    /// Returns the rules for web pages of the listeners that these flags ask for.
    fn web(flags: &[&str]) -> Vec<WebConfig> {
        let line = ["serve"].iter().chain(flags);
        let args = <Line as clap::Parser>::try_parse_from(line).expect("it makes sense");
        let plans = args.serve.plans(None).expect("it makes sense");
        plans.into_iter().map(|plan| plan.web).collect()
    }

    #[test]
    fn only_names_of_loopback_lead_to_the_addresses_that_nobody_asked_for() {
        let by_default = web(&[]);
        assert!(by_default.iter().all(|web| web.loopback_hosts));
        assert!(by_default.iter().all(|web| web.hosts.is_empty()));
        let more = web(&["--allow-host", "dev.example"]);
        assert!(more[0].loopback_hosts && more[0].hosts == ["dev.example"]);
        assert_eq!(web(&["--allow-host", "any"])[0], WebConfig::default());
        // A proxy may pass any name on to an address that somebody chose.
        assert_eq!(web(&["--ws", "127.0.0.1:9001"])[0], WebConfig::default());
    }
}
