//! `heartwheel connect`: one client that pings, talks, and dials again.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use heartwheel::close::{Cause, CloseCode, Evidence};
use heartwheel::config::{HeartbeatConfig, LimitsConfig, ReactorConfig, WireKind};
use heartwheel::error::{Error, SendError};
use heartwheel::proto::message::Message;
use heartwheel::proto::websocket::handshake::RedirectError;
use heartwheel::reactor::{
    ClientConfig, ClientEvent, ClientId, Closed, ConnId, Context, Decision, DialError, HandleError,
    Handler, LoopHandle, Offer, Reactor, Readiness, ReconnectConfig, Rejection, SourceId, Welcome,
};
use heartwheel::stats::Stats;
use log::LevelFilter;

use crate::flags::{HeartbeatFlags, LimitFlags, SocketFlags, check, in_words, warn};
use crate::input::{Input, Line};
use crate::output::{Form, Output};
use crate::proxy::{self, ProxyFlag, proxy_or_off};
use crate::record::Record;
use crate::signals::{self, Signals, Wish};
use crate::stream::LAST_MOMENT;
use crate::trust::{TrustFlags, advice};
use crate::unsent::Unsent;
use crate::values::{attempts, count, escape, header, hex_preview, log_level, show_time, time};
use crate::{FAILED, Failure, UNREACHABLE, start_logging};

/// Dials a server, prints round-trip times as ping does, and dials again when the connection is
/// lost
///
/// It sends each line from standard input, and prints each message. By default it pings every 5s,
/// and ends the connection if the server is silent for 12.5s. On tcp+raw there are no pings, and
/// silence does not end the connection. While more than 1 MiB of output waits for its reader, it
/// does not read from the server, so no message is lost. Ctrl-C closes the connection in an orderly
/// way and prints a summary; so does a reader of the output that leaves. Exit codes: 0 after a
/// normal end, 1 if the connection failed or was cut within a message, 2 for a wrong command line,
/// 3 if the server could not be reached.
#[derive(Debug, Args)]
pub(crate) struct ConnectArgs {
    /// ws://HOST:PORT/PATH, tcp://HOST:PORT (text lines), tcp+binary://HOST:PORT or tcp+raw://HOST:PORT;
    /// with TLS wss://, tcps://, tcps+binary:// or tcps+raw://
    url: String,

    /// End after this many pongs
    #[arg(long, value_name = "N", value_parser = count)]
    count: Option<usize>,

    /// Dial only once
    #[arg(long)]
    no_reconnect: bool,

    /// Go through this proxy: http://[USER:PASSWORD@]HOST[:PORT] (CONNECT) or socks5h://..., or off.
    /// The proxy looks the name of the server up [default: what the environment says]
    ///
    /// For ws:// the environment variables are ws_proxy, http_proxy and all_proxy, the first that is
    /// set; for wss:// wss_proxy, https_proxy and all_proxy; for the others all_proxy. Upper case counts too, but for http_proxy. no_proxy lists hosts
    /// to dial directly. localhost and loopback addresses are dialed directly unless the flag is given.
    #[arg(long, value_name = "URL", value_parser = proxy_or_off)]
    proxy: Option<ProxyFlag>,

    /// Stop after this many failures in a row [default: no limit]
    #[arg(long, value_name = "N", value_parser = attempts, conflicts_with = "no_reconnect")]
    max_attempts: Option<u32>,

    /// Stop after this time without an open connection [default: no limit]
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "no_reconnect")]
    give_up_after: Option<Duration>,

    /// Add a header line to the WebSocket request (may be repeated). Host replaces the default Host
    #[arg(long, value_name = "K: V", value_parser = header)]
    header: Vec<(String, String)>,

    /// Follow redirects, at most 5 in a row [default: print the new address and stop]
    ///
    /// A redirect from wss to ws is never followed. Authorization and Cookie are not sent to
    /// another host or port.
    #[arg(long)]
    follow: bool,

    /// Offer this WebSocket subprotocol (may be repeated, the preferred one first)
    #[arg(long, value_name = "NAME")]
    subprotocol: Vec<String>,

    #[command(flatten)]
    heartbeat: HeartbeatFlags,

    /// Total time to establish TCP [default: 5s]
    #[arg(
        long,
        value_name = "TIME",
        value_parser = time,
        help_heading = "Heartbeat (times: 250ms 30s 5m, or off)"
    )]
    connect_timeout: Option<Duration>,

    #[command(flatten)]
    limits: LimitFlags,

    #[command(flatten)]
    trust: TrustFlags,

    #[command(flatten)]
    socket: SocketFlags,

    /// Log records on standard error, from this level up: off, error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL", value_parser = log_level, default_value = "info")]
    log_level: LevelFilter,

    /// Print events as JSON, one object a line
    #[arg(long)]
    json: bool,

    /// Print all of a text that is mostly control characters; its escapes take up to six times its
    /// size [default: cut the text after 1MiB of escapes]
    #[arg(long)]
    whole: bool,
}

/// Runs the command.
pub(crate) fn run(args: &ConnectArgs) -> Result<ExitCode, Failure> {
    start_logging(args.log_level);
    let config = args.client()?;
    let (wire, heartbeat) = (config.wire.kind(), config.heartbeat.clone());
    let way = config.proxy.as_ref().map_or_else(String::new, |proxy| {
        format!(
            " (through the proxy {}, port {})",
            proxy.host(),
            proxy.port()
        )
    });
    let longest = longest_line(&config.limits);
    let mut reactor = Reactor::new(ReactorConfig {
        max_connections: MOST_CONNECTIONS,
        ..ReactorConfig::default()
    })?;
    warn([&heartbeat], ReactorConfig::default().tick);
    let client = reactor.connect(config).map_err(bad_request)?;
    let signals = Signals::register(&mut reactor)?;
    let mut output = Output::start(Form::new(args.json, false))?;
    let (url, words) = (escape(&args.url), in_words(&heartbeat));
    output.say(&format!("{url}{}: {words}", escape(&way)));
    output.flush();

    let handle = reactor.handle();
    let mut session = Session {
        output,
        signals,
        client,
        conn: None,
        is_paused: false,
        handle: reactor.handle(),
        is_whole: args.whole,
        input: Input::start(longest, move || {
            // Full means that the loop has been told already.
            let told = handle.command(());
            told.map_err(HandleError::from) != Err(HandleError::Gone)
        })?,
        wire,
        pings: heartbeat.interval.is_some(),
        count: args.count.map(|count| count as u64),
        subprotocol: None,
        unsent: Unsent::default(),
        tally: Tally::default(),
        failures: BTreeMap::new(),
        was_open: false,
        last: Outcome::Well,
        is_unsent: false,
        ending: Ending::No,
    };
    let handle = reactor.handle();
    session.output.stream().wake_when_left(move || {
        // Full means that the loop is called anyway, and gone that it is over.
        handle.command(()).ok();
    });
    let began = Instant::now();
    let is_kept = |_: &Reactor<_>, _: &_| false;
    signals::run(&mut reactor, &mut session, is_kept, |session| {
        session.output.flush();
        session.unsent.after_turn(Instant::now())
    })?;
    Ok(session.finish(reactor.stats(), began.elapsed()))
}

impl ConnectArgs {
    /// Turns the command line into a client's configuration.
    fn client(&self) -> Result<ClientConfig, Failure> {
        let mut config = ClientConfig::from_url(&self.url).map_err(|error| {
            let (url, reason) = (&self.url, error.reason());
            Failure::usage(format!("the URL {url:?} {reason}"))
        })?;
        let wire = config.wire.kind();
        if wire != WireKind::WebSocket {
            for (flag, is_given) in [
                ("--header", !self.header.is_empty()),
                ("--subprotocol", !self.subprotocol.is_empty()),
                ("--follow", self.follow),
            ] {
                if is_given {
                    return Err(Failure::usage(format!(
                        "{flag} is for ws:// only; {}:// has no request to carry it",
                        wire.label()
                    )));
                }
            }
        }
        let is_raw = wire == WireKind::Raw;
        let base = HeartbeatConfig {
            interval: Some(INTERVAL).filter(|_| !is_raw),
            timeout: Some(TIMEOUT).filter(|_| !is_raw),
            ..HeartbeatConfig::for_wire(wire)
        };
        config.heartbeat = self.heartbeat.heartbeat(wire, base)?;
        if let Some(time) = self.connect_timeout {
            config.heartbeat.connect_timeout = time;
        }
        if self.count.is_some() && config.heartbeat.interval.is_none() {
            return Err(Failure::usage(if is_raw {
                "--count needs pongs, and tcp+raw:// has none; use another scheme"
            } else {
                "--count needs pongs, and --interval is off; give an interval"
            }));
        }
        config.limits = self.limits.limits(LimitsConfig::default())?;
        check(
            &config.heartbeat,
            &config.limits,
            wire,
            ReactorConfig::default().tick,
        )?;
        let is_host = |(name, _): &&(String, String)| name.eq_ignore_ascii_case("host");
        let mut hosts = self.header.iter().filter(is_host);
        config.host_header = hosts.next().map(|(_, host)| host.clone());
        if hosts.next().is_some() {
            return Err(Failure::usage("--header Host may be given once only"));
        }
        let others = self.header.iter().filter(|header| !is_host(header));
        config.headers = others.cloned().collect();
        config.subprotocols.clone_from(&self.subprotocol);
        if self.follow {
            config.follow = MOST_REDIRECTS;
        }
        self.trust.apply(&mut config)?;
        config.reconnect = (!self.no_reconnect).then(|| ReconnectConfig {
            max_attempts: self.max_attempts,
            give_up_after: self.give_up_after,
            ..ReconnectConfig::default()
        });
        config.socket = self.socket.options()?;
        let variable = |name: &str| std::env::var_os(name);
        config.proxy = proxy::choose(
            self.proxy.as_ref(),
            proxy::variables(wire, config.secure),
            &config.host,
            config.port,
            variable,
        )?;
        Ok(config)
    }
}

/// Returns the length of the longest line that can be sent: the size of the queue.
fn longest_line(limits: &LimitsConfig) -> usize {
    let usual = usize::max(1024 * 1024, limits.max_message.saturating_mul(2));
    limits.send_queue.unwrap_or(usual)
}

/// Says which flag or argument the library refuses.
fn bad_request(error: Error) -> Failure {
    let Error::Config(error) = error else {
        return error.into();
    };
    let typed = match error.field() {
        "host" | "path" => "the URL",
        "headers" => "--header",
        "host_header" => "--header Host",
        "subprotocols" => "--subprotocol",
        _ => return Error::Config(error).into(),
    };
    Failure::usage(format!("{typed} {}", error.reason()))
}

/// One target, and what has come of it so far.
struct Session {
    output: Output,
    signals: Signals,
    client: ClientId,
    /// The open connection.
    conn: Option<ConnId>,
    /// Reading is paused until our own reader has caught up.
    is_paused: bool,
    handle: LoopHandle,
    /// Texts are never cut.
    is_whole: bool,
    input: Input,
    wire: WireKind,
    /// Whether we ping.
    pings: bool,
    count: Option<u64>,
    subprotocol: Option<String>,
    unsent: Unsent,
    tally: Tally,
    /// Attempts that failed, by what went wrong.
    failures: BTreeMap<String, u64>,
    was_open: bool,
    last: Outcome,
    /// The last connection ended before all our messages had left.
    is_unsent: bool,
    ending: Ending,
}

/// What the last attempt or connection came to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    /// It ended as connections should.
    Well,
    /// It ended otherwise.
    Failed(String),
    /// There never was a server to talk to.
    Unreachable(String),
}

/// Whether we were asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    No,
    InGoodOrder,
    AtOnce,
}

impl Session {
    /// Sends lines from standard input while there is room.
    fn send_input(&mut self, cx: &mut Context<'_, ()>) {
        if self.ending != Ending::No {
            return;
        }
        while let Some(id) = self.conn
            && let Some(line) = self.input.next()
        {
            let Line::Whole(line) = line else {
                let reason = "the line is longer than the send queue (--send-queue)";
                self.unsent.note(&reason, Instant::now());
                continue;
            };
            let message = match str::from_utf8(&line) {
                Ok(text) => Message::text(text),
                Err(_) => Message::binary(&line),
            };
            match cx.send(id, message) {
                Ok(()) => {}
                Err(SendError::Full { queued, .. }) if queued > 0 => {
                    return self.input.put_back(line);
                }
                Err(SendError::Closed) => return self.input.put_back(line),
                Err(error) => self.unsent.note(&error, Instant::now()),
            }
        }
    }

    /// Stops reading while much output waits for our reader. So no message is lost, and the server
    /// must wait.
    fn keep_pace(&mut self, cx: &mut Context<'_, ()>) {
        let Some(id) = self.conn else { return };
        if self.output.waiting() <= MUCH {
            if std::mem::take(&mut self.is_paused) {
                cx.resume(id);
            }
        } else if !self.is_paused {
            self.is_paused = true;
            cx.pause(id);
            self.output.flush();
            let handle = self.handle.clone();
            // Full means that the loop is called anyway, and gone that nobody waits.
            self.output.stream().wake_when_drained(move || {
                handle.command(()).ok();
            });
        }
    }

    /// Ends in an orderly way, with a closing handshake if there is a connection.
    fn end(&mut self, cx: &mut Context<'_, ()>) {
        self.ending = Ending::InGoodOrder;
        let is_open = self.conn.is_some();
        cx.disconnect(self.client);
        if !is_open {
            cx.stop();
        }
    }

    /// Counts an attempt that failed; each status of a server for itself.
    fn count_failure(&mut self, error: &DialError) {
        let name = match error.status() {
            Some(status) => format!("{}_{status}", error.label()),
            None => error.label().to_owned(),
        };
        *self.failures.entry(name).or_default() += 1;
    }

    /// Prints the summary and returns the exit code.
    fn finish(mut self, stats: &Stats, uptime: Duration) -> ExitCode {
        self.unsent.finish();
        let mut summary = Record::new("summary")
            .number("connections", stats.opened)
            .number("failed", self.failures.values().sum::<u64>())
            .number("pings_written", stats.pings_written)
            .number("pings_answered", stats.pongs_matched)
            .number("pongs_unsolicited", stats.pongs_unsolicited)
            .number("pongs_mismatched", stats.pongs_mismatched);
        if let Some((min, mean, max)) = self.tally.rtts() {
            summary = summary
                .time("rtt_min", min)
                .time("rtt_avg", mean)
                .time("rtt_max", max);
        }
        self.output.record_in_any_case(
            &summary
                .number("messages_in", stats.messages_in)
                .number("messages_out", stats.messages_out)
                .compression(stats)
                .time("uptime", uptime)
                .counts("failures", std::mem::take(&mut self.failures))
                .counts(
                    "causes",
                    stats.causes().map(|(cause, count)| (cause.label(), count)),
                ),
        );
        let (ending, signals, began) = (self.ending, &mut self.signals, Instant::now());
        // Who has not asked us to end gets all of what came, however slowly he reads. Who asks only now, as
        // the connection has just ended by itself, still gets what one who reads takes in a moment.
        let mut asked = None;
        let is_worth = || match ending {
            Ending::No => {
                if asked.is_none() && signals.is_asked() {
                    asked = Some(Instant::now());
                }
                asked.is_none_or(|at: Instant| at.elapsed() < LAST_MOMENT)
            }
            Ending::InGoodOrder | Ending::AtOnce => began.elapsed() < LAST_MOMENTS,
        };
        // What came is not lost to one who pauses; our own last words are.
        let patience = match ending {
            Ending::No => PATIENCE,
            Ending::InGoodOrder | Ending::AtOnce => LAST_MOMENT,
        };
        self.output.finish(patience, is_worth);
        if self.is_unsent && ending == Ending::InGoodOrder {
            return ExitCode::from(FAILED);
        }
        exit_code(ending, &self.last, self.was_open)
    }
}

fn exit_code(ending: Ending, last: &Outcome, was_open: bool) -> ExitCode {
    match (ending, last) {
        (Ending::AtOnce, _) => ExitCode::from(FAILED),
        (Ending::InGoodOrder, _) | (Ending::No, Outcome::Well) => ExitCode::SUCCESS,
        (Ending::No, Outcome::Unreachable(_)) if !was_open => ExitCode::from(UNREACHABLE),
        (Ending::No, Outcome::Unreachable(_) | Outcome::Failed(_)) => ExitCode::from(FAILED),
    }
}

impl Outcome {
    /// Judges the end of a connection that was open.
    fn of_end(wire: WireKind, evidence: &Evidence) -> Self {
        let is_well = match evidence.cause {
            Cause::LocalClose | Cause::Drain | Cause::MaxLifetime | Cause::AppIdle => true,
            Cause::PeerClosed => evidence.close_code.is_none_or(|code| {
                [CloseCode::NORMAL, CloseCode::GOING_AWAY, NO_STATUS].contains(&code)
            }),
            Cause::PeerEof => wire != WireKind::WebSocket,
            _ => false,
        };
        match (is_well, evidence.is_cut()) {
            (true, false) => Self::Well,
            (true, true) => Self::Failed(format!("{} within a message", evidence.cause)),
            (false, _) => Self::Failed(evidence.cause.to_string()),
        }
    }

    /// Judges an attempt that failed.
    fn of_attempt(error: &DialError) -> Self {
        let reason = error.to_string();
        match error {
            DialError::NameNotFound(_)
            | DialError::Io { .. }
            | DialError::Timeout(_)
            | DialError::Proxy(_) => Self::Unreachable(reason),
            _ => Self::Failed(reason),
        }
    }
}

impl Handler for Session {
    type Data = ();

    fn on_accept(
        &mut self,
        _: &mut Context<'_, ()>,
        offer: &Offer<'_>,
    ) -> Result<Decision<Welcome<()>>, Rejection> {
        self.subprotocol = offer
            .acceptance()
            .and_then(|response| response.subprotocol())
            .map(str::to_owned);
        Ok(Welcome::default().into())
    }

    fn on_open(&mut self, cx: &mut Context<'_, ()>, id: ConnId) {
        let Some(info) = cx.info(id) else { return };
        self.conn = Some(id);
        self.was_open = true;
        let mut record = Record::new("open")
            .word("id", id)
            .word("peer", info.peer)
            .word("wire", info.wire.label())
            .tls(cx.tls(id));
        if let Some(subprotocol) = &self.subprotocol {
            record = record.quoted("subprotocol", subprotocol);
        }
        self.output.record(&record);
        if self.pings {
            // The first one at once: nobody wants to wait for an interval to see a time.
            cx.ping(id);
        }
        self.send_input(cx);
        self.is_paused = false;
        self.keep_pace(cx);
    }

    fn on_message(&mut self, cx: &mut Context<'_, ()>, _: ConnId, message: Message<'_>) {
        let data = message.data();
        if let Some(text) = message.as_text() {
            self.output.text(text, self.is_whole);
        } else {
            let hex = hex_preview(data, PREVIEW);
            self.output.record(
                &Record::new("message")
                    .phrase(format!("< {} bytes: {hex}{}", data.len(), readable(data)))
                    .word("kind", "binary")
                    .number("len", data.len() as u64)
                    .word("hex", hex),
            );
        }
        self.keep_pace(cx);
    }

    fn on_pong(&mut self, cx: &mut Context<'_, ()>, _: ConnId, rtt: Option<Duration>) {
        self.tally.pongs += 1;
        if let Some(rtt) = rtt {
            self.tally.add(rtt);
        }
        self.output.record(
            &Record::new("pong")
                .number("seq", self.tally.pongs)
                .maybe_time("rtt", rtt),
        );
        if self.count == Some(self.tally.pongs) {
            self.end(cx);
        }
    }

    fn on_writable(&mut self, cx: &mut Context<'_, ()>, _: ConnId) {
        self.send_input(cx);
    }

    fn on_close(&mut self, cx: &mut Context<'_, ()>, closed: Closed<'_, ()>) {
        self.conn = None;
        self.is_paused = false;
        self.last = Outcome::of_end(self.wire, closed.evidence);
        self.is_unsent = closed.evidence.bytes_dropped > 0;
        self.output
            .record(&Record::new("closed").evidence(closed.evidence, closed.reason));
        if self.ending != Ending::No {
            cx.stop();
        }
    }

    fn on_client(&mut self, cx: &mut Context<'_, ()>, _: ClientId, event: ClientEvent) {
        match event {
            ClientEvent::Dialing { attempt, addr } => self.output.record(
                &Record::new("dialing")
                    .bare("addr", addr)
                    .number("attempt", attempt),
            ),
            ClientEvent::Redirected { code, to } => self.output.record(
                &Record::new("redirected")
                    .phrase(format!("redirected ({code}) to {to}"))
                    .number("status", code)
                    .quoted("to", &to.to_string()),
            ),
            // We have ended it ourselves.
            ClientEvent::Failed { .. } if self.ending != Ending::No => {}
            ClientEvent::Failed { error } => {
                self.last = Outcome::of_attempt(&error);
                self.count_failure(&error);
                let reason = error.to_string();
                let hint = match &error {
                    DialError::Redirect {
                        reason: RedirectError::NotAsked,
                        ..
                    } => "; --follow goes there",
                    error => advice(error),
                };
                let mut record = Record::new("failed")
                    .phrase(format!("failed: {}{hint}", escape(&reason)))
                    .word("failure", error.label())
                    .maybe_number("status", error.status());
                if let DialError::Redirect { to, .. } = &error {
                    record = record.quoted("to", to);
                }
                self.output.record(&record.quoted("error", &reason));
            }
            ClientEvent::Waiting { delay } => self.output.record(
                &Record::new("retrying")
                    .phrase(format!("retrying in {}", show_time(delay)))
                    .time("delay", delay),
            ),
            ClientEvent::Stopped { why } => {
                if let (Ending::No, Outcome::Failed(reason) | Outcome::Unreachable(reason)) =
                    (self.ending, &self.last)
                {
                    self.output.record(
                        &Record::new("gave_up")
                            .phrase(format!("gave up: {}", escape(reason)))
                            .quoted("reason", reason)
                            .word("why", why),
                    );
                }
                cx.stop();
            }
            _ => {}
        }
    }

    fn on_source(&mut self, cx: &mut Context<'_, ()>, id: SourceId, _: Readiness) {
        match self.signals.asked(id) {
            None => {}
            Some(Wish::End(1)) => self.end(cx),
            Some(Wish::End(_) | Wish::Reload) => {
                self.ending = Ending::AtOnce;
                cx.stop();
            }
        }
    }

    /// There is a line to send, or room for output again, or nobody reads the output any more. Each time
    /// all of them are looked at, because one of the calls may not have found room.
    fn on_command(&mut self, cx: &mut Context<'_, ()>, (): ()) {
        if self.ending == Ending::No && self.output.stream().is_left() {
            // As `head` and `grep -m1` do: who asked has heard enough.
            return self.end(cx);
        }
        self.send_input(cx);
        self.keep_pace(cx);
    }
}

/// Shows bytes that are text all the same, as on a wire that knows nothing else.
fn readable(bytes: &[u8]) -> String {
    match str::from_utf8(bytes) {
        Ok(text) if bytes.len() <= PREVIEW && !text.chars().any(char::is_control) => {
            format!(" {text:?}")
        }
        _ => String::new(),
    }
}

/// Pongs, and the round-trip times of those that were timed.
#[derive(Debug, Default)]
struct Tally {
    pongs: u64,
    timed: u32,
    sum: Duration,
    min: Option<Duration>,
    max: Duration,
}

impl Tally {
    fn add(&mut self, rtt: Duration) {
        self.timed += 1;
        self.sum += rtt;
        self.min = Some(self.min.map_or(rtt, |min| min.min(rtt)));
        self.max = self.max.max(rtt);
    }

    /// Returns least, mean and greatest, if there is any.
    fn rtts(&self) -> Option<(Duration, Duration, Duration)> {
        let mean = self.sum.checked_div(self.timed)?;
        Some((self.min?, mean, self.max))
    }
}

const INTERVAL: Duration = Duration::from_secs(5);

const TIMEOUT: Duration = Duration::from_millis(12_500);

/// One is needed; a lost one may overlap with the next.
const MOST_CONNECTIONS: usize = 4;

/// Most redirects in a row; more are probably a circle.
const MOST_REDIRECTS: u8 = 5;

/// What a Close frame without a code stands for (RFC 6455, section 7.1.5).
const NO_STATUS: CloseCode = CloseCode::new(1005);

/// Bytes of output that may wait while messages are read.
const MUCH: usize = 1024 * 1024;

/// Time for a reader that does not read, if nobody asked us to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Time for a slow reader at the end, if we were asked to end.
const LAST_MOMENTS: Duration = Duration::from_secs(5);

/// Bytes of a binary message that are shown.
const PREVIEW: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn unreachable() -> Outcome {
        Outcome::Unreachable("connection refused".into())
    }

    #[test]
    fn the_exit_code_tells_unreachable_from_failed() {
        let failed = Outcome::Failed("pong_timeout".into());
        let code =
            |ending, last: &Outcome, was_open| format!("{:?}", exit_code(ending, last, was_open));
        let says = |number: u8| format!("{:?}", ExitCode::from(number));
        assert_eq!(code(Ending::No, &Outcome::Well, true), says(0));
        assert_eq!(code(Ending::InGoodOrder, &failed, true), says(0));
        assert_eq!(code(Ending::No, &unreachable(), false), says(3));
        assert_eq!(code(Ending::No, &unreachable(), true), says(1));
        assert_eq!(code(Ending::No, &failed, false), says(1));
        assert_eq!(code(Ending::AtOnce, &Outcome::Well, true), says(1));
    }

    #[test]
    fn bytes_that_read_as_text_are_shown_as_text_too() {
        assert_eq!(readable(b"hello"), " \"hello\"");
        assert_eq!(readable(b"\x1b[2J"), "");
        assert_eq!(readable(b"\xff\xfe"), "");
        assert_eq!(readable(&[b'x'; PREVIEW + 1]), "");
    }

    #[test]
    fn times_are_averaged_over_the_pongs_that_were_timed() {
        let mut tally = Tally::default();
        assert_eq!(tally.rtts(), None);
        for micros in [300, 100, 200] {
            tally.add(Duration::from_micros(micros));
        }
        assert_eq!(
            tally.rtts(),
            Some([100, 200, 300].map(Duration::from_micros).into())
        );
    }
}
