//! `heartwheel serve`: holds connections, and reports why each one ended.

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clap::ArgMatches;
use heartwheel::close::Evidence;
use heartwheel::config::ReactorConfig;
use heartwheel::error::SendError;
use heartwheel::proto::http::Request;
use heartwheel::proto::message::{Message, SharedMessage};
use heartwheel::proto::websocket::handshake::Upgrade;
use heartwheel::reactor::{
    Answered, BroadcastDone, Closed, ConnId, Context, Decision, Endpoint, Group, Handler,
    HttpAnswer, Offer, Reactor, Readiness, Rejected, Rejection, RequestId, SourceId, Welcome,
};
use heartwheel::rustls::ServerConfig;
use rlimit::Resource;

use crate::admin::ask::{Ask, Number, Part};
use crate::admin::desk::Desk;
use crate::admin::{self, Admin, Limits};
use crate::args::{Mode, ServeArgs};
use crate::certs::CertStore;
use crate::fan_out::FanOut;
use crate::flags::warn;
use crate::health::{self, Health, State};
use crate::journal::{Change, Journal};
use crate::listening::{HandedIn, listen};
use crate::memory::Memory;
use crate::output::{Form, Output};
use crate::plan::{Plan, Service, Setup, Sources, reactor_config};
use crate::record::Record;
use crate::reload::{Reloader, follow};
use crate::settings::keys::Keys;
use crate::shards::{self, Handle, Loop, Order, Siblings, Sum};
use crate::signals::{self, Signals, Wish};
use crate::steps::Listening;
use crate::values::show_time;
use crate::{FAILED, Failure, complain, config, start_logging};

/// Runs the command.
pub(crate) fn run(args: &ServeArgs, matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let flags = Keys::new().given(matches);
    let (sources, odd) = Sources::new(flags, args.config.clone())?;
    let setup = sources.read().map_err(Failure::of_faults)?;
    let (whole, plans) = (setup.whole.clone(), &setup.plans);
    start_logging(whole.log_level);
    for warning in odd.iter().chain(&setup.warnings) {
        complain(format_args!("warning: {warning}"));
    }
    let mut handed_in = HandedIn::new();
    let mut config = reactor_config(&whole);
    let mut certs = CertStore::default();
    let tls = plans
        .iter()
        .map(|plan| certs.config(plan.certs.as_ref(), plan.flag, plan.wire));
    let tls = tls.collect::<Result<Vec<_>, _>>()?;
    warn(plans.iter().map(|plan| &plan.heartbeat), whole.tick);
    // First of all: many loops alone may take more descriptors than there are at the start.
    let room = Room::make(&setup);
    config.max_connections = room.connections();
    let group = Group::new();
    let mut reactors = (0..whole.shards)
        .map(|_| Reactor::in_group(config.clone(), &group))
        .collect::<Result<Vec<_>, _>>()?;

    let mut output = Output::start(Form::new(whole.json, whole.quiet))?;
    output.record(&room.record(config.memory_limit));
    let mut admin = open_admin(
        &setup,
        &mut reactors[0],
        &mut handed_in,
        &config,
        &mut output,
    )?;
    let secured = plans.iter().zip(tls);
    let listening = open_listeners(secured, &certs, &mut reactors, &mut handed_in, &mut output)?;
    let has_files = sources.has_file() || !certs.is_empty();
    let mut signals = Some(match has_files {
        true => Signals::register_to_reload(&mut reactors[0])?,
        false => Signals::register(&mut reactors[0])?,
    });
    output.flush();

    let began = Instant::now();
    let common = Arc::new(Mutex::new(Common {
        journal: Journal::new(output),
        memory: Memory::new(),
        aborted: None,
        window: whole.drain,
    }));
    let siblings = Siblings::of(&reactors);
    let first = reactors[0].handle();
    let mut reloader = Some(Reloader::new(sources, setup, certs, siblings[0].clone()));
    let mut loops = Vec::new();
    for ((reactor, siblings), listening) in reactors.into_iter().zip(siblings).zip(listening) {
        let server = Server {
            listening,
            held: HashMap::new(),
            health: Health::default(),
            fan_out: FanOut::new(siblings.clone()),
            common: Arc::clone(&common),
            group: group.clone(),
            signals: signals.take(),
            reloader: reloader.take(),
            admin: admin.take(),
            desk: Desk::default(),
            first: first.clone(),
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

/// Opens all listeners, and says where they listen. Returns those of each loop.
fn open_listeners<'a>(
    plans: impl Iterator<Item = (&'a Plan, Option<Arc<ServerConfig>>)>,
    certs: &CertStore,
    reactors: &mut [Loop],
    handed_in: &mut HandedIn,
    output: &mut Output,
) -> Result<Vec<Vec<Listening>>, Failure> {
    let mut listening = vec![Vec::new(); reactors.len()];
    for (number, (plan, tls)) in plans.enumerate() {
        let config = |addr, is_shared| plan.config(Some(addr), is_shared, tls.clone());
        let opened = listen(reactors, handed_in, plan.flag, &plan.place, config)?;
        let name = certs.example_name(plan.certs.as_ref());
        plan.tell(&opened.addr, name.as_deref(), output);
        let plan = Arc::new(plan.clone());
        for (of_loop, id) in listening.iter_mut().zip(opened.ids) {
            of_loop.push(Listening {
                number,
                id,
                plan: Arc::clone(&plan),
                is_closed: false,
            });
        }
    }
    Ok(listening)
}

/// Opens the listener for operators, if there is to be one.
fn open_admin(
    setup: &Setup,
    reactor: &mut Loop,
    handed_in: &mut HandedIn,
    config: &ReactorConfig,
    output: &mut Output,
) -> Result<Option<Admin>, Failure> {
    let flags = &setup.whole.admin;
    let Some(place) = flags.place(setup.is_default) else {
        return Ok(None);
    };
    let access = flags.access(&place)?;
    let terms = |addr, _| admin::terms(addr, &place);
    let reactors = std::slice::from_mut(reactor);
    let opened = listen(reactors, handed_in, "--admin", &place, terms)?;
    output.record(
        &Record::new("listening")
            .phrase(format!("listening admin {}", opened.addr))
            .word("wire", "admin")
            .word("addr", &opened.addr),
    );
    let limits = Limits {
        max_connections: config.max_connections as u64,
        memory_limit: config.memory_limit.map(|limit| limit as u64),
    };
    Ok(Some(Admin::new(opened.ids[0], access, limits)))
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
    fn make(setup: &Setup) -> Self {
        let Setup { whole, plans, .. } = setup;
        let connections = whole.max_connections as u64;
        let has_admin = whole.admin.place(setup.is_default).is_some();
        let checks = match has_admin || plans.iter().any(|plan| plan.service.has_health) {
            true => CHECK_DESCRIPTORS,
            false => 0,
        };
        let each = LOOP_DESCRIPTORS + checks + plans.len() as u64;
        let spare = SPARE_DESCRIPTORS + each * whole.shards as u64;
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
    /// What it listens on.
    listening: Vec<Listening>,
    /// Messages that the queues of their connections had no room for. While one is held, nothing is
    /// read.
    held: HashMap<ConnId, SharedMessage>,
    health: Health,
    fan_out: FanOut,
    common: Arc<Mutex<Common>>,
    group: Group,
    /// In the first loop.
    signals: Option<Signals>,
    /// In the first loop.
    reloader: Option<Reloader>,
    /// In the first loop, if there is a listener for operators.
    admin: Option<Admin>,
    desk: Desk,
    /// How the first loop is reached.
    first: Handle,
}

/// What all loops of the program have together.
struct Common {
    journal: Journal,
    memory: Memory,
    /// How many connections there were when we were asked to end at once.
    aborted: Option<usize>,
    /// Time within which connections are closed.
    window: Duration,
}

impl Server {
    /// Says whether this loop, itself without connections, still has signals to hear for the others: the
    /// second one ends them at once.
    fn hears_for_others(reactor: &Loop, server: &Self) -> bool {
        server.signals.is_some() && reactor.is_empty() && !server.group.is_empty()
    }

    /// Sees to what is due once a turn; returns when to be called again although nothing happens.
    fn after_turn(&mut self) -> Option<Duration> {
        let look = self.reloader.as_mut().and_then(Reloader::after_turn);
        let mut common = self.common();
        let waits = [common.journal.flush(), common.memory.after_turn(), look];
        waits.into_iter().flatten().min()
    }

    /// Returns what is done for those who come to our end of a connection.
    fn service(&self, endpoint: Endpoint) -> Option<&Service> {
        let mut listening = self.listening.iter();
        let ours = listening.find(|one| endpoint == Endpoint::Listener(one.id));
        ours.map(|one| &one.plan.service)
    }

    /// Reads the configuration and certificates again, and says what came of it.
    fn reload(&mut self, cx: &mut Context<'_, ()>) -> Result<(), String> {
        let Some(mut reloader) = self.reloader.take() else {
            return Ok(());
        };
        let reloaded = reloader.reload(cx, &mut self.listening);
        self.reloader = Some(reloader);
        let mut common = self.common();
        match reloaded {
            Err(reason) => {
                log::error!("nothing is reloaded, and what is in use stays: {reason}");
                let record = Record::new("reload_failed").quoted("reason", &reason);
                common.journal.output.record(&record);
                Err(reason)
            }
            Ok(reloaded) => {
                common.window = reloaded.window;
                let output = &mut common.journal.output;
                for (plan, addr, name) in &reloaded.opened {
                    plan.tell(addr, name.as_deref(), output);
                }
                for record in reloaded.records() {
                    output.record(&record);
                }
                Ok(())
            }
        }
    }

    /// Begins to close all connections, in all loops.
    fn drain(&self, cx: &mut Context<'_, ()>, window: Duration) {
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
                        show_time(window)
                    ),
                })
                .number("connections", count as u64)
                .time("window", window),
        );
        drop(common);
        self.fan_out.siblings().drain(window);
        cx.drain(window);
    }

    /// Answers an operator, or asks all loops first.
    fn answer(
        &mut self,
        cx: &mut Context<'_, ()>,
        id: RequestId,
        request: &Request<'_>,
    ) -> Decision<HttpAnswer> {
        let Some(admin) = &mut self.admin else {
            return HttpAnswer::upgrade_required().into();
        };
        if health::is_check(request.path()) {
            return health::answer_to(request.method(), request.path(), State::of(cx)).into();
        }
        let done = match admin.read(request) {
            Err(answer) => return answer.into(),
            Ok(admin::Order::Ask(ask)) => {
                return match self.ask_all(cx, id, ask) {
                    Some((_, answer)) => answer.into(),
                    None => Decision::Later,
                };
            }
            Ok(admin::Order::Policy) => {
                let reloader = self.reloader.as_ref();
                let values = reloader.map(|reloader| config::values(reloader.setup()));
                return admin::json_answer(200, &values.unwrap_or_default()).into();
            }
            Ok(admin::Order::Drain(window)) => {
                let window = window.unwrap_or_else(|| self.common().window);
                self.drain(cx, window);
                Ok(())
            }
            Ok(admin::Order::Reload) => self.reload(cx),
            Ok(admin::Order::Log(level)) => {
                log::set_max_level(level);
                Ok(())
            }
        };
        match done {
            Ok(()) => admin::json_answer(200, &serde_json::json!({ "done": true })).into(),
            Err(reason) => admin::fault(409, &reason).into(),
        }
    }

    /// Asks all loops. Returns the answer, if it is known at once.
    fn ask_all(
        &mut self,
        cx: &mut Context<'_, ()>,
        id: RequestId,
        ask: Ask,
    ) -> Option<(RequestId, HttpAnswer)> {
        let siblings = self.fan_out.siblings().handles();
        let admin = self.admin.as_mut()?;
        if let Some(reloader) = &self.reloader {
            admin.note_certificates(reloader.certificates());
        }
        let number = admin.wait(id, ask.clone(), siblings.len() + 1);
        for handle in siblings {
            if handle.command(Order::Ask(number, ask.clone())).is_err() {
                admin.take(cx, number, None);
            }
        }
        let part = self.ask(cx, number, ask)?;
        self.admin.as_mut()?.take(cx, number, Some(part))
    }

    /// Asks this loop. Returns what it answers, if that is known at once.
    fn ask(&mut self, cx: &mut Context<'_, ()>, number: Number, ask: Ask) -> Option<Part> {
        let had_work = self.desk.has_work();
        let part = self.desk.ask(cx, &self.listening, number, ask);
        if part.is_none() && !had_work {
            cx.set_timer(Duration::ZERO, LISTING);
        }
        part
    }

    /// Tells the first loop what this one answers; the last answer of all goes to whoever asked.
    fn tell(&mut self, cx: &mut Context<'_, ()>, number: Number, part: Part) {
        if let Some(admin) = &mut self.admin {
            if let Some((request, answer)) = admin.take(cx, number, Some(part)) {
                // Whoever asked may have left.
                cx.answer(request, answer).ok();
            }
        } else if self.first.command(Order::Told(number, part)).is_err() {
            log::warn!("the first loop is too busy to hear what an operator asked for");
        }
    }

    /// Goes on with lists for operators.
    fn list(&mut self, cx: &mut Context<'_, ()>) {
        for (number, part) in self.desk.go_on(cx, &self.listening) {
            self.tell(cx, number, part);
        }
        if self.desk.has_work() {
            cx.set_timer(Duration::ZERO, LISTING);
        }
    }

    /// Says whether a connection is an operator's. The journal does not tell of those.
    fn is_operator(&self, endpoint: Endpoint) -> bool {
        self.admin.as_ref().is_some_and(|admin| admin.has(endpoint))
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

impl Handler<Order> for Server {
    type Data = ();

    fn on_accept(
        &mut self,
        _: &mut Context<'_, ()>,
        offer: &Offer<'_>,
    ) -> Result<Decision<Welcome<()>>, Rejection> {
        let Some(service) = self.service(offer.endpoint) else {
            return Err(Rejection::new(404, "this listener is for HTTP\n"));
        };
        let upgrade = offer.upgrade();
        if let Some(upgrade) = upgrade
            && !service.serves(upgrade.request().path())
        {
            return Err(Rejection::new(404, "nothing is served at this path\n"));
        }
        let offered = upgrade.map_or(&[][..], Upgrade::subprotocols);
        let is_ours = |name: &&&str| service.subprotocols.iter().any(|ours| ours == **name);
        let welcome = Welcome {
            subprotocol: offered.iter().find(is_ours).map(|&name| name.to_owned()),
            ..Welcome::default()
        };
        Ok(welcome.into())
    }

    fn on_open(&mut self, cx: &mut Context<'_, ()>, id: ConnId) {
        self.health.forget(id);
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
        let endpoint = cx.endpoint(id);
        let service = endpoint.and_then(|endpoint| self.service(endpoint));
        // A listener that was closed by a reload leaves its connections behind: they are echoed no more.
        match service.map(|service| service.mode) {
            Some(Mode::Echo) => self.echo(cx, id, message),
            Some(Mode::Broadcast) => self.fan_out.pass_on(cx, id, message),
            Some(Mode::Sink) | None => {}
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
        let endpoint = cx.endpoint(id.conn());
        if endpoint.is_some_and(|endpoint| self.is_operator(endpoint)) {
            return self.answer(cx, id, request);
        }
        let service = endpoint.and_then(|endpoint| self.service(endpoint));
        let answer = match service.is_some_and(|service| service.has_health) {
            true => self.health.answer(id.conn(), request, State::of(cx)),
            false => HttpAnswer::upgrade_required(),
        };
        answer.into()
    }

    fn on_rejected(&mut self, _: &mut Context<'_, ()>, rejected: Rejected<'_>) {
        if self.is_operator(rejected.endpoint) {
            return;
        }
        if let Some(id) = rejected.id {
            self.health.forget(id);
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
        if self.is_operator(answered.endpoint) {
            return;
        }
        let is_check = self.health.forget(answered.id);
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
            // What came of it is printed.
            Some(Wish::Reload) => drop(self.reload(cx)),
            Some(Wish::End(1)) => {
                let window = self.common().window;
                self.drain(cx, window);
            }
            Some(Wish::End(_)) => {
                self.common().aborted = Some(self.group.len());
                self.fan_out.siblings().stop();
                cx.stop();
            }
        }
    }

    fn on_command(&mut self, cx: &mut Context<'_, ()>, order: Order) {
        match order {
            Order::Wake => {}
            Order::Follow(steps) => follow(cx, steps, &mut self.listening),
            Order::Ask(number, ask) => {
                if let Some(part) = self.ask(cx, number, ask) {
                    self.tell(cx, number, part);
                }
            }
            Order::Told(number, part) => self.tell(cx, number, part),
        }
    }

    fn on_timer(&mut self, cx: &mut Context<'_, ()>, timer: u64) {
        match timer {
            LISTING => self.list(cx),
            _ => self.fan_out.retry(cx),
        }
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

/// The timer of lists for operators; the other one is of messages that are passed on.
const LISTING: u64 = 1;

/// Descriptors of a loop that are neither connections nor listeners: the selector, its waker and a timer.
const LOOP_DESCRIPTORS: u64 = 3;

/// Descriptors of a loop for health checks and operators, when there is no place for anybody else.
const CHECK_DESCRIPTORS: u64 = 32;

/// Descriptors of the program that are of no loop: standard streams, signals, the listener of operators, and
/// what it reads now and then.
const SPARE_DESCRIPTORS: u64 = 27;

/// Fewer than this deserve a word.
const FEW_DESCRIPTORS: u64 = 10_000;
