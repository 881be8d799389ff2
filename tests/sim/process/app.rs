//! The application: what it does by itself, and what a script asks of it.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use heartwheel::close::{Cause, CloseCode, Evidence, Phase};
use heartwheel::config::{HeartbeatConfig, Proof};
use heartwheel::error::{AnswerError, SendError};
use heartwheel::event_loop::{Context, Handler};
use heartwheel::proto::message::Message;
use heartwheel::proto::time::Micros;
use heartwheel::reactor::{
    ClientEvent, ClientId, Closed, ConnId, Decision, Endpoint, ListenerConfig, ListenerId, Offer,
    Rejected, Rejection, Welcome,
};
use heartwheel::sys::Token;

use super::clients::{self, Clients};
use super::codec::STRAY;
use super::system::{Simulated, listening_address};
use super::{Program, Terms};
use crate::dice::Dice;
use crate::model::{Rules, Speech};
use crate::world::tcp::SockId;
use crate::world::{Command, Hardship, Os};

/// Habits of an application.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// It sends every message back.
    pub(crate) echoes: bool,
    /// One callback in so many takes up to `longest`. Zero: none does.
    pub(crate) slow_odds: u64,
    pub(crate) longest: Micros,
    /// One message in so many makes it close some connection. Zero: none does.
    pub(crate) close_odds: u64,
    /// One handshake in so many is refused. Zero: none is.
    pub(crate) refuse_odds: u64,
    /// One opening handshake in so many is decided about later, or never. Zero: none is.
    pub(crate) defer_odds: u64,
}

impl Manner {
    /// Answers at once, and sends nothing of its own.
    pub(crate) const CALM: Self = Self {
        echoes: false,
        slow_odds: 0,
        longest: Micros::ZERO,
        close_odds: 0,
        refuse_odds: 0,
        defer_odds: 0,
    };
}

pub(super) struct App<'y> {
    os: Os<'y>,
    program: Rc<Program>,
    clients: Rc<RefCell<Clients>>,
    /// Who listens on each port.
    listeners: Vec<Option<ListenerId>>,
    dice: Dice,
    /// When it began to say goodbye to everybody, as its clock has it.
    drained_at: Option<Micros>,
    /// How late the last turns were in the end: as many as there are targets, since each turn dials one of
    /// those that are due at least.
    delays: VecDeque<Micros>,
    /// The largest message of this turn: sent, received or begun by who has ended.
    largest: usize,
    /// Connections that have begun to close, and why.
    closing: HashMap<ConnId, Cause>,
    /// When the timer of a connection is due, at the earliest.
    timers: HashMap<ConnId, Micros>,
    /// Those that wait to be let in, and those that it decides about when a timer with that number is due.
    waiting: HashMap<ConnId, Verdict>,
    to_decide: HashMap<u64, ConnId>,
    decisions: u64,
}

/// What it thinks of a connection that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    None,
    Accepted,
    Rejected,
}

type Cx<'a, 'y> = Context<'a, u64, Simulated<'y>>;

impl<'y> App<'y> {
    pub(super) fn new(
        os: Os<'y>,
        program: Rc<Program>,
        clients: Rc<RefCell<Clients>>,
        dice: Dice,
    ) -> Self {
        Self {
            os,
            listeners: vec![None; program.ports.len()],
            program,
            clients,
            dice,
            drained_at: None,
            delays: VecDeque::new(),
            largest: 0,
            closing: HashMap::new(),
            timers: HashMap::new(),
            waiting: HashMap::new(),
            to_decide: HashMap::new(),
            decisions: 0,
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.drained_at.is_some()
    }

    /// Says whether it has had its time at `now` to say goodbye to as many as there are.
    pub(super) fn has_drained(&self, now: Micros) -> bool {
        self.drained_at.is_some_and(|at| now >= at + DRAINING)
    }

    pub(super) fn handle_turn(&mut self, delay: Micros) {
        if self.delays.len() > self.program.targets.len() {
            self.delays.pop_front();
        }
        self.delays.push_back(delay);
    }

    pub(super) fn take_largest(&mut self) -> usize {
        std::mem::take(&mut self.largest)
    }

    /// Opens a listener on each port that has none.
    pub(super) fn listen(&mut self, cx: &mut Cx<'_, 'y>) {
        let ports = self.program.ports.iter().zip(&mut self.listeners);
        for (number, (terms, listener)) in ports.enumerate() {
            if listener.is_some() {
                continue;
            }
            let addr = listening_address(self.os.host, number);
            let config = ListenerConfig {
                heartbeat: terms.heartbeat.clone(),
                limits: terms.limits.clone(),
                ..ListenerConfig::new(addr, terms.wire())
            };
            let id = cx.listen(config).expect("a script's terms make sense");
            *listener = Some(id);
        }
    }

    /// Dials every target that is not dialed any more.
    pub(super) fn dial_stopped(&self, cx: &mut Cx<'_, 'y>) {
        let woken = self.clients.borrow_mut().wake_stopped(self.os.clocks().0);
        for number in woken {
            let config = clients::config(number, &self.program.targets[number]);
            let id = cx.connect(config).expect("a script's terms make sense");
            let now = self.os.clocks().0;
            self.clients.borrow_mut().handle_added(number, id, now);
        }
    }

    /// Notes that the loop begins to turn.
    pub(super) fn handle_begun(&self) {
        let now = self.os.clocks().0;
        self.clients.borrow_mut().handle_begun(now);
    }

    fn defers(&mut self) -> bool {
        let odds = self.program.manner.defer_odds;
        odds > 0 && self.dice.one_in(odds)
    }

    /// Lets a connection wait, if it may, and draws when to decide: at once, soon, too late, or never.
    fn defer(&mut self, cx: &mut Cx<'_, 'y>, id: ConnId) {
        let sock = self.sock(id);
        let may_wait = cx.deferred() < MOST_DEFERRED;
        self.os.world(|world| {
            world.allow_refusal(sock.peer());
            world.watch(sock, |watch| match may_wait {
                true => watch.handle_deferred(),
                false => watch.handle_wanted(Cause::Refused),
            });
            world.meet(match may_wait {
                true => Hardship::Deferred,
                false => Hardship::DeferralRefused,
            });
        });
        if !may_wait {
            return;
        }
        self.waiting.insert(id, Verdict::None);
        let delay = match self.dice.index(4) {
            0 => return,
            1 => Micros::ZERO,
            _ => self.dice.millis(0, 7_000),
        };
        self.decisions += 1;
        self.to_decide.insert(self.decisions, id);
        cx.set_timer(delay.into(), self.decisions);
    }

    fn decide(&mut self, cx: &mut Cx<'_, 'y>, id: ConnId) {
        let accepts = !self.dice.one_in(4);
        let decided = match accepts {
            true => cx.accept(id, Welcome::with(0)),
            false => cx.reject(id, Rejection::new(503, "not you")),
        };
        let Some(verdict) = self.waiting.get_mut(&id) else {
            assert_eq!(decided, Err(AnswerError::Gone), "{id} has ended");
            return;
        };
        if decided.is_err() {
            assert_eq!(decided, Err(AnswerError::Gone), "{id} waits");
            let phase = cx.info(id).map(|info| info.phase);
            let is_ending = matches!(phase, Some(Phase::Closing | Phase::Closed));
            assert!(is_ending, "{id} is still there, in {phase:?}");
            return;
        }
        assert_eq!(*verdict, Verdict::None, "it is decided about once");
        *verdict = match accepts {
            true => Verdict::Accepted,
            false => Verdict::Rejected,
        };
        if !accepts {
            let sock = self.sock(id);
            self.os
                .watch(sock, |watch, _| watch.handle_allowed(Cause::Refused));
        }
        let again = cx.accept(id, Welcome::with(0));
        assert_eq!(again, Err(AnswerError::NotWaiting));
    }

    fn refuses(&mut self) -> bool {
        let odds = self.program.manner.refuse_odds;
        odds > 0 && self.dice.one_in(odds)
    }

    /// Has a timer that a connection takes along, unless it has had `ROUNDS` of them: this is number `round`.
    fn set_timer(&mut self, cx: &mut Cx<'_, 'y>, id: ConnId, round: u64) {
        if round < ROUNDS {
            let due = cx.now() + ROUND;
            let timer = cx.set_conn_timer(id, ROUND, round);
            assert!(timer.is_some(), "{id} is open");
            self.timers.insert(id, due.into());
        }
    }

    /// Spends the time that the present callback takes.
    fn take_time(&mut self) {
        let manner = self.program.manner;
        if manner.slow_odds > 0 && self.dice.one_in(manner.slow_odds) {
            let span = self.dice.span(Micros::ZERO, manner.longest);
            if span > Micros::ZERO {
                self.os.work(span);
            }
        }
    }

    fn sock(&self, id: ConnId) -> SockId {
        self.os.sock(token_of(id)).expect("the loop holds it")
    }

    /// What a connection speaks, and under which rules it began.
    fn terms(&self, cx: &Cx<'_, 'y>, id: ConnId) -> Terms {
        let info = cx.info(id).expect("it is open");
        match info.endpoint {
            Endpoint::Client(client) => {
                let number = self.clients.borrow().number(client);
                self.program.targets[number].terms.clone()
            }
            Endpoint::Listener(_) => {
                let sock = self.sock(id);
                let port = self.os.world(|world| world.links[sock.link].port);
                self.program.ports[port].clone()
            }
        }
    }

    fn ended(&mut self, now: Micros, endpoint: Endpoint, evidence: &Evidence, was_open: bool) {
        // The loop has just closed it.
        let (sock, with_reset) = self.os.take_closed();
        let host = self.os.host;
        let unfinished = self.os.world(|world| {
            let watch = world.book.watch(sock)?;
            let unfinished = watch.unfinished();
            world.note_end(sock, host, evidence, was_open, with_reset);
            Some(unfinished)
        });
        assert!(
            unfinished.is_some() || evidence.cause == Cause::Refused,
            "{sock:?}: {evidence}"
        );
        // Who was turned away before it had a place was not watched.
        self.largest = self.largest.max(unfinished.unwrap_or(0));
        if let Endpoint::Client(client) = endpoint {
            let cause = evidence.cause;
            let ended = if was_open { cause } else { Cause::IoError };
            let mut clients = self.clients.borrow_mut();
            clients.handle_ended(client, now, ended, evidence.close_code);
        }
        self.take_time();
    }
}

/// Callbacks.
impl<'y> Handler<(), Simulated<'y>> for App<'y> {
    type Data = u64;

    fn on_accept(
        &mut self,
        cx: &mut Cx<'_, 'y>,
        offer: &Offer<'_>,
    ) -> Result<Decision<Welcome<u64>>, Rejection> {
        let shakes_hands = offer.upgrade().is_some() || offer.acceptance().is_some();
        if shakes_hands && self.defers() {
            self.defer(cx, offer.id);
            return Ok(Decision::Later);
        }
        if offer.upgrade().is_some() && self.refuses() {
            let sock = self.sock(offer.id);
            self.os.world(|world| {
                world.watch(sock, |watch| watch.handle_wanted(Cause::Refused));
                world.watch(sock.peer(), |watch| watch.handle_allowed(Cause::Refused));
            });
            return Err(Rejection::new(503, "not now"));
        }
        Ok(Welcome::with(0).into())
    }

    fn on_timer(&mut self, cx: &mut Cx<'_, 'y>, number: u64) {
        let id = self.to_decide.remove(&number);
        self.decide(cx, id.expect("each is due once"));
        self.take_time();
    }

    fn on_open(&mut self, cx: &mut Cx<'_, 'y>, id: ConnId) {
        let verdict = self.waiting.remove(&id);
        let is_welcome = matches!(verdict, None | Some(Verdict::Accepted));
        assert!(is_welcome, "{id} opens, and was to wait: {verdict:?}");
        self.os.watch(self.sock(id), |watch, now| {
            watch.handle_opened(now);
            watch.handle_open(now);
        });
        if let Some(Endpoint::Client(client)) = cx.info(id).map(|info| info.endpoint) {
            self.clients
                .borrow_mut()
                .handle_open(client, cx.now().into());
        }
        self.set_timer(cx, id, 0);
        self.take_time();
    }

    fn on_conn_timer(&mut self, cx: &mut Cx<'_, 'y>, id: ConnId, round: u64) {
        assert!(!self.closing.contains_key(&id), "it is as good as gone");
        let due = self.timers.remove(&id).expect("it was set");
        assert!(due <= cx.now().into(), "the timer of {id} is early");
        self.set_timer(cx, id, round + 1);
        self.take_time();
    }

    fn on_message(&mut self, cx: &mut Cx<'_, 'y>, id: ConnId, message: Message<'_>) {
        assert!(!self.closing.contains_key(&id), "it is as good as gone");
        let bytes = message.data();
        let sock = self.sock(id);
        self.os
            .watch(sock, |watch, now| watch.handle_delivered(now, bytes));
        let terms = self.terms(cx, id);
        let heard = cx.data_mut(id).expect("it is welcome");
        let is_eof = self
            .os
            .world(|world| world.book.watch(sock).is_some_and(|watch| watch.is_eof()));
        if terms.speech != Speech::Raw && !is_eof {
            check_message(*heard, bytes);
        }
        *heard += 1;
        self.largest = self.largest.max(bytes.len());
        let is_answer = terms.speech == Speech::Raw || bytes.starts_with(b"echo");
        if self.program.manner.echoes && !is_answer {
            self.send(cx, id, bytes.len(), true);
        }
        let odds = self.program.manner.close_odds;
        if odds > 0 && self.dice.one_in(odds) {
            let which = self.dice.below(1 << 32);
            self.close(cx, which, Cause::LocalClose);
        }
        self.take_time();
    }

    fn on_pong(&mut self, _cx: &mut Cx<'_, 'y>, _id: ConnId, _rtt: Option<Duration>) {
        self.take_time();
    }

    fn on_closing(&mut self, cx: &mut Cx<'_, 'y>, id: ConnId, cause: Cause) {
        assert!(cx.info(id).is_some_and(|info| info.phase != Phase::Open));
        assert_eq!(self.closing.insert(id, cause), None, "{id} is told of once");
        self.timers.remove(&id);
        self.take_time();
    }

    fn on_close(&mut self, cx: &mut Cx<'_, 'y>, closed: Closed<'_, u64>) {
        let cause = self.closing.remove(&closed.id);
        let cause = cause.expect("it was told before");
        let ended = closed.evidence.cause;
        let is_orderly = matches!(cause, Cause::LocalClose | Cause::PeerClosed);
        let is_cut_short = matches!(ended, Cause::CloseTimeout | Cause::MemoryLimit);
        let may_follow = ended == cause || is_orderly && is_cut_short;
        assert!(may_follow, "{ended} after {cause}");
        self.ended(cx.now().into(), closed.endpoint, closed.evidence, true);
    }

    fn on_rejected(&mut self, cx: &mut Cx<'_, 'y>, rejected: Rejected<'_>) {
        let verdict = rejected.id.and_then(|id| self.waiting.remove(&id));
        check_rejected(verdict, &rejected);
        self.ended(cx.now().into(), rejected.endpoint, rejected.evidence, false);
    }

    fn on_client(&mut self, cx: &mut Cx<'_, 'y>, id: ClientId, event: ClientEvent) {
        let (mut clients, now) = (self.clients.borrow_mut(), Micros::from(cx.now()));
        match event {
            ClientEvent::Dialing { .. } => {
                // A wait ends late, and a turn takes time; the rest is for sleeps of the machine.
                let before = self
                    .delays
                    .iter()
                    .fold(Micros::ZERO, |sum, &delay| sum + delay);
                let late = Micros::from(cx.loop_delay()) + before + HELD;
                let share = clients.handle_dial(id, now, late);
                self.os.world(|world| world.book.waits.extend(share));
            }
            ClientEvent::Waiting { .. } => clients.handle_end(id, now, true, self.is_draining()),
            ClientEvent::Stopped { .. } => clients.handle_end(id, now, false, self.is_draining()),
            _ => {}
        }
    }

    fn on_command(&mut self, cx: &mut Cx<'_, 'y>, (): ()) {
        self.os.work_off();
        while let Some(command) = self.os.take_command() {
            self.obey(cx, command);
        }
    }
}

/// Commands.
impl<'y> App<'y> {
    fn obey(&mut self, cx: &mut Cx<'_, 'y>, command: Command) {
        match command {
            Command::Send { which, size } => {
                if let Some(id) = pick(cx, which) {
                    self.send(cx, id, size, false);
                }
            }
            Command::Burst { which, size, count } => {
                if let Some(id) = pick(cx, which) {
                    for _ in 0..count {
                        self.send(cx, id, size, false);
                    }
                }
            }
            Command::Hoard { which, size } => {
                if let Some(id) = pick(cx, which) {
                    self.os
                        .watch(self.sock(id), |watch, _| watch.handle_hoard(size));
                    cx.set_held(id, size);
                }
            }
            Command::Close { which, cause } => self.close(cx, which, cause),
            Command::Ping { which } => {
                if let Some(id) = pick(cx, which) {
                    self.ping(cx, id);
                }
            }
            Command::Stray { which } => {
                if let Some(id) = pick(cx, which) {
                    self.stray(cx, id);
                }
            }
            Command::Pause { which } => {
                if let Some(id) = pick(cx, which) {
                    self.os
                        .watch(self.sock(id), |watch, _| watch.handle_pause());
                    cx.pause(id);
                }
            }
            Command::Resume => self.resume_all(cx),
            Command::Policy { which, heartbeat } => {
                if let Some(id) = pick(cx, which) {
                    self.change_policy(cx, id, &heartbeat);
                }
            }
            Command::Redial => {
                if !self.is_draining() {
                    self.dial_stopped(cx);
                }
            }
            Command::CloseListener { which } => self.close_listener(cx, which),
            Command::Listen => {
                if !self.is_draining() {
                    self.listen(cx);
                }
            }
            Command::Drain => self.drain(cx),
        }
    }

    /// Closes one of the listeners: its address is free at once, and its id finds nothing.
    fn close_listener(&mut self, cx: &mut Cx<'_, 'y>, which: u64) {
        let Some(number) = which.checked_rem(self.listeners.len() as u64) else {
            return;
        };
        let number = usize::try_from(number).expect("ports are few");
        let Some(id) = self.listeners[number].take() else {
            return;
        };
        assert!(cx.close_listener(id), "{id:?} is open");
        assert!(!self.os.listens(number), "{id:?} listens on");
        assert!(!cx.close_listener(id), "{id:?} is closed already");
        assert_eq!(cx.local_addr(id), None);
        self.os.world(|world| world.meet(Hardship::ListenerClosed));
    }

    fn send(&mut self, cx: &mut Cx<'_, 'y>, id: ConnId, size: usize, is_echo: bool) {
        let Some(sock) = self.os.sock(token_of(id)) else {
            return;
        };
        let number = self
            .os
            .world(|world| world.book.watch(sock).map_or(0, |watch| watch.sent));
        let text = message(number, size, is_echo);
        let limit = self.terms(cx, id).limits.send_queue;
        self.largest = self.largest.max(text.len());
        // Where there is no room that may be the end of it.
        self.os
            .watch(sock, |watch, _| watch.handle_allowed(Cause::SendQueueFull));
        match cx.send(id, Message::text(&text)) {
            Ok(()) => self.os.watch(sock, |watch, now| {
                watch.forget_allowed(Cause::SendQueueFull);
                watch.handle_sent(now);
            }),
            Err(SendError::Full { .. }) => {
                self.os.world(|world| world.meet(Hardship::FullQueue));
                self.os.watch(sock, |watch, now| watch.handle_full(now));
                let is_large = limit.is_some_and(|limit| text.len() > limit);
                assert!(
                    is_large || self.os.is_refused(sock),
                    "{id} is full, and the kernel was not asked"
                );
            }
            // The connection is closing, or its wire cannot carry so much.
            Err(_) => self.os.watch(sock, |watch, _| {
                watch.forget_allowed(Cause::SendQueueFull);
            }),
        }
    }

    /// Sends a pong that answers nothing. Only a codec of ours lets an application do that.
    fn stray(&self, cx: &mut Cx<'_, 'y>, id: ConnId) {
        if self.terms(cx, id).speech == Speech::Own && cx.send(id, Message::binary(STRAY)).is_ok() {
            self.os
                .watch(self.sock(id), |watch, now| watch.handle_stray_sent(now));
        }
    }

    fn ping(&self, cx: &mut Cx<'_, 'y>, id: ConnId) {
        let sock = self.sock(id);
        self.os.world(|world| world.note_ping(sock));
        cx.ping(id);
    }

    fn close(&self, cx: &mut Cx<'_, 'y>, which: u64, cause: Cause) {
        let Some(id) = pick(cx, which) else { return };
        self.os
            .watch(self.sock(id), |watch, _| watch.handle_wanted(cause));
        match cause {
            Cause::Replaced => cx.replace(id),
            _ => cx.close(id, CloseCode::NORMAL, "enough"),
        }
    }

    fn resume_all(&self, cx: &mut Cx<'_, 'y>) {
        for (token, sock) in self.os.paused() {
            cx.resume(ConnId::from_u64(token.0 as u64));
            self.os.watch(sock, |watch, now| watch.handle_resume(now));
        }
    }

    fn change_policy(&self, cx: &mut Cx<'_, 'y>, id: ConnId, heartbeat: &HeartbeatConfig) {
        let terms = self.terms(cx, id);
        if terms.speech == Speech::Raw && !fits_raw(heartbeat) {
            return;
        }
        self.os.world(|world| world.meet(Hardship::OtherPolicy));
        cx.set_heartbeat(id, heartbeat)
            .expect("a script's terms make sense");
        let rules = Rules::new(heartbeat, &terms.limits, self.program.tick);
        self.os
            .watch(self.sock(id), |watch, now| watch.handle_policy(now, rules));
    }

    /// Says goodbye to everybody.
    fn drain(&mut self, cx: &mut Cx<'_, 'y>) {
        self.drained_at = Some(self.os.known());
        self.os.allow_drain();
        cx.drain(WINDOW);
    }
}

/// Checks why a connection ended that was offered and has not opened: what we are late with ourselves is told
/// apart from what the peer is late with.
fn check_rejected(verdict: Option<Verdict>, rejected: &Rejected<'_>) {
    let cause = rejected.evidence.cause;
    let is_ours = rejected.reason == "the application did not answer in time";
    assert_eq!(
        is_ours,
        cause == Cause::HandshakeTimeout && verdict.is_some(),
        "{cause}, {verdict:?}: {}",
        rejected.reason
    );
    // Who was accepted right before a drain is turned away by that.
    let is_turned_away =
        verdict.is_some() && cause == Cause::Refused && rejected.reason != "going away";
    assert!(
        !is_turned_away || verdict == Some(Verdict::Rejected),
        "refused, and {verdict:?}"
    );
}

/// Picks one of the open connections.
fn pick(cx: &Cx<'_, '_>, which: u64) -> Option<ConnId> {
    let open: Vec<_> = cx.connections().collect();
    let place = which.checked_rem(open.len() as u64)?;
    open.get(usize::try_from(place).ok()?).copied()
}

/// Returns the token that a connection's name is.
fn token_of(id: ConnId) -> Token {
    Token(usize::try_from(id.as_u64()).expect("a name is a token"))
}

/// Time between two timers of a connection, and how many there are.
const ROUND: Duration = Duration::from_millis(7_300);
const ROUNDS: u64 = 8;

/// Connections that may wait at once for a decision.
pub(super) const MOST_DEFERRED: usize = 3;

/// What a dial may be late beyond its loop: a turn, and the reading of its clock.
const HELD: Micros = Micros::from_secs(1);

/// Longer than a world lasts after it: whoever is let go has all the time that its own limits give.
const WINDOW: Duration = Duration::from_secs(600);

/// More than it takes at 100 connections a second.
const DRAINING: Micros = Micros::from_secs(2);

/// A message that tells its own number and length.
fn message(number: u64, size: usize, is_echo: bool) -> String {
    let word = if is_echo { "echo" } else { "note" };
    let mut text = format!("{word} {number} {size} ");
    text.extend(std::iter::repeat_n('x', size));
    text
}

fn check_message(number: u64, bytes: &[u8]) {
    let text = str::from_utf8(bytes).expect("we send text");
    let mut parts = text.split(' ');
    let told = parts.nth(1).and_then(|word| word.parse().ok());
    assert_eq!(told, Some(number), "message {number} came as {:.40}", text);
    let size: Option<usize> = parts.next().and_then(|word| word.parse().ok());
    let rest = parts.next().map(str::len);
    assert!(
        rest.is_none() || rest <= size,
        "message {number} is too long"
    );
}

fn fits_raw(heartbeat: &HeartbeatConfig) -> bool {
    heartbeat.interval.is_none() && heartbeat.proof == Proof::Bytes
}
