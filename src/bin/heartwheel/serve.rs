//! `heartwheel serve`: holds connections, and reports why each one ended.

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clap::ArgMatches;
use heartwheel::close::Evidence;
use heartwheel::error::SendError;
use heartwheel::proto::http::Request;
use heartwheel::proto::message::{Message, SharedMessage};
use heartwheel::proto::websocket::handshake::Upgrade;
use heartwheel::reactor::{
    Answered, BroadcastDone, Closed, ConnId, Context, Decision, Endpoint, Group, Handler,
    HttpAnswer, Offer, Reactor, Readiness, Rejected, Rejection, RequestId, SourceId, Welcome,
};
use rlimit::Resource;

use crate::args::{Mode, ServeArgs};
use crate::certs::CertStore;
use crate::fan_out::FanOut;
use crate::flags::warn;
use crate::health::{Health, State};
use crate::journal::{Change, Journal};
use crate::listening::{HandedIn, listen};
use crate::memory::Memory;
use crate::output::{Form, Output};
use crate::plan::{Plan, Service, Sources, reactor_config};
use crate::record::Record;
use crate::reload::{Reloader, follow};
use crate::settings::keys::Keys;
use crate::shards::{self, Loop, Order, Siblings, Sum};
use crate::signals::{self, Signals, Wish};
use crate::steps::Listening;
use crate::values::show_time;
use crate::{FAILED, Failure, complain, start_logging};

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
    let room = Room::make(whole.max_connections, whole.shards, plans);
    config.max_connections = room.connections();
    let group = Group::new();
    let mut reactors = (0..whole.shards)
        .map(|_| Reactor::in_group(config.clone(), &group))
        .collect::<Result<Vec<_>, _>>()?;

    let mut output = Output::start(Form::new(whole.json, whole.quiet))?;
    output.record(&room.record(config.memory_limit));
    let mut listening = vec![Vec::new(); whole.shards];
    for (number, (plan, tls)) in plans.iter().zip(tls).enumerate() {
        let config = |addr, is_shared| plan.config(Some(addr), is_shared, tls.clone());
        let (flag, place) = (plan.flag, &plan.place);
        let opened = listen(&mut reactors, &mut handed_in, flag, place, config)?;
        plan.tell(
            &opened.addr,
            certs.example_name(plan.certs.as_ref()).as_deref(),
            &mut output,
        );
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
        let checks = match plans.iter().any(|plan| plan.service.has_health) {
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
    fn reload(&mut self, cx: &mut Context<'_, ()>) {
        let Some(mut reloader) = self.reloader.take() else {
            return;
        };
        match reloader.reload(cx, &mut self.listening) {
            Err(reason) => {
                log::error!("nothing is reloaded, and what is in use stays: {reason}");
                let record = Record::new("reload_failed").quoted("reason", &reason);
                self.common().journal.output.record(&record);
            }
            Ok(reloaded) => {
                let mut common = self.common();
                common.window = reloaded.window;
                let output = &mut common.journal.output;
                for (plan, addr, name) in &reloaded.opened {
                    plan.tell(addr, name.as_deref(), output);
                }
                for record in reloaded.records() {
                    output.record(&record);
                }
            }
        }
        self.reloader = Some(reloader);
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
            return Ok(Welcome::default().into());
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
        let service = endpoint.and_then(|endpoint| self.service(endpoint));
        let answer = match service.is_some_and(|service| service.has_health) {
            true => self.health.answer(id.conn(), request, State::of(cx)),
            false => HttpAnswer::upgrade_required(),
        };
        answer.into()
    }

    fn on_rejected(&mut self, _: &mut Context<'_, ()>, rejected: Rejected<'_>) {
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
            Some(Wish::Reload) => self.reload(cx),
            Some(Wish::End(1)) => {
                let count = self.group.len();
                let mut common = self.common();
                let window = common.window;
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
                self.fan_out.siblings().drain(window);
                cx.drain(window);
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

/// Descriptors of a loop that are neither connections nor listeners: the selector, its waker and a timer.
const LOOP_DESCRIPTORS: u64 = 3;

/// Descriptors of a loop for health checks, when there is no place for anybody else.
const CHECK_DESCRIPTORS: u64 = 32;

/// Descriptors of the program that are of no loop: standard streams, signals, and what it reads now and
/// then.
const SPARE_DESCRIPTORS: u64 = 27;

/// Fewer than this deserve a word.
const FEW_DESCRIPTORS: u64 = 10_000;
