//! The application: what it does by itself, and what a script asks of it.

use heartwheel::close::{Cause, Phase};
use heartwheel::config::{HeartbeatConfig, Proof, WireKind};
use heartwheel::error::SendError;
use heartwheel::proto::message::Message;
use heartwheel::proto::time::Micros;

use super::codec::STRAY;
use super::{Process, Terms, intern};
use crate::dice::Dice;
use crate::model::{Rules, Speech};
use crate::world::{Command, Hardship};

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
}

impl Manner {
    /// Answers at once, and sends nothing of its own.
    pub(crate) const CALM: Self = Self {
        echoes: false,
        slow_odds: 0,
        longest: Micros::ZERO,
        close_odds: 0,
        refuse_odds: 0,
    };
}

pub(super) struct App {
    manner: Manner,
    dice: Dice,
}

impl App {
    pub(super) fn new(manner: Manner, dice: Dice) -> Self {
        Self { manner, dice }
    }

    pub(super) fn refuses(&mut self) -> bool {
        self.manner.refuse_odds > 0 && self.dice.one_in(self.manner.refuse_odds)
    }

    /// How long the present callback takes.
    fn lasts(&mut self) -> Micros {
        if self.manner.slow_odds == 0 || !self.dice.one_in(self.manner.slow_odds) {
            return Micros::ZERO;
        }
        self.dice.span(Micros::ZERO, self.manner.longest)
    }
}

/// Callbacks.
impl Process {
    pub(super) async fn on_open(&mut self, _key: usize) {
        self.take_time().await;
    }

    pub(super) async fn on_pong(&mut self) {
        self.take_time().await;
    }

    pub(super) async fn on_close(&mut self) {
        self.take_time().await;
    }

    pub(super) async fn on_message(&mut self, key: usize, bytes: &[u8]) {
        let conn = &mut self.conns[key];
        self.os
            .watch(conn.sock, |watch, now| watch.handle_delivered(now, bytes));
        let terms = self.terms(key);
        if terms.speech != Speech::Raw && !self.conns[key].flags.eof {
            check_message(self.conns[key].heard, bytes);
        }
        self.conns[key].heard += 1;
        self.note_large(bytes.len());
        let is_answer = terms.speech == Speech::Raw || bytes.starts_with(b"echo");
        if self.app.manner.echoes && !is_answer {
            self.send(key, bytes.len(), true);
        }
        let odds = self.app.manner.close_odds;
        if odds > 0 && self.app.dice.one_in(odds) {
            let which = self.app.dice.below(1 << 32);
            self.close(which, Cause::LocalClose);
        }
        self.take_time().await;
    }

    async fn take_time(&mut self) {
        let span = self.app.lasts();
        if span > Micros::ZERO {
            self.os.work(span).await;
        }
    }
}

/// Commands.
impl Process {
    pub(super) fn obey(&mut self, command: Command) {
        match command {
            Command::Send { which, size } => {
                if let Some(key) = self.pick(which) {
                    self.send(key, size, false);
                }
            }
            Command::Burst { which, size, count } => {
                if let Some(key) = self.pick(which) {
                    for _ in 0..count {
                        self.send(key, size, false);
                    }
                }
            }
            Command::Close { which, cause } => self.close(which, cause),
            Command::Ping { which } => {
                if let Some(key) = self.pick(which) {
                    self.ping(key);
                }
            }
            Command::Stray { which } => {
                if let Some(key) = self.pick(which) {
                    self.stray(key);
                }
            }
            Command::Pause { which } => {
                if let Some(key) = self.pick(which) {
                    let conn = &mut self.conns[key];
                    conn.session.handle_pause(self.now);
                    self.os.watch(conn.sock, |watch, _| watch.handle_pause());
                    self.mark_dirty(key);
                }
            }
            Command::Resume => self.resume_all(),
            Command::Policy { which, heartbeat } => {
                if let Some(key) = self.pick(which) {
                    let terms = Terms {
                        heartbeat: *heartbeat,
                        ..self.terms(key)
                    };
                    if terms.speech != Speech::Raw || fits_raw(&terms.heartbeat) {
                        self.change_policy(key, &terms);
                    }
                }
            }
            Command::Redial => self.redial(),
            Command::Drain => self.drain(),
        }
    }

    /// Picks one of the open connections.
    fn pick(&self, which: u64) -> Option<usize> {
        let open: Vec<_> = self
            .conns
            .iter()
            .filter(|(_, conn)| conn.session.phase() == Phase::Open && conn.is_welcome)
            .map(|(key, _)| key)
            .collect();
        let place = which.checked_rem(open.len() as u64)?;
        open.get(usize::try_from(place).ok()?).copied()
    }

    fn terms(&self, key: usize) -> Terms {
        let conn = &self.conns[key];
        match conn.client {
            Some(client) => self.program.targets[client].terms.clone(),
            None => self.os.world(|world| {
                let port = world.links[conn.sock.link].port;
                self.program.ports[port].clone()
            }),
        }
    }

    fn send(&mut self, key: usize, size: usize, is_echo: bool) {
        let conn = &mut self.conns[key];
        let number = self
            .os
            .world(|world| world.book.watch(conn.sock).map_or(0, |watch| watch.sent));
        let text = message(number, size, is_echo);
        if conn.session.is_full_for(&self.env, Message::text(&text)) {
            self.offer(key);
            if self.conns[key].flags.broken {
                self.mark_dirty(key);
                return;
            }
        }
        let conn = &mut self.conns[key];
        let was_paused = conn.session.is_paused();
        let sent = conn
            .session
            .send(&mut self.env, self.now, Message::text(&text));
        match sent {
            Ok(()) => self
                .os
                .watch(conn.sock, |watch, now| watch.handle_sent(now)),
            Err(SendError::Full { .. }) => {
                let limit = self.terms(key).limits.send_queue;
                let is_large = limit.is_some_and(|limit| text.len() > limit);
                assert!(
                    self.conns[key].flags.refused || is_large,
                    "#{key} is full, and the kernel was not asked"
                );
                let (conn, full) = (&self.conns[key], Cause::SendQueueFull);
                self.os
                    .watch(conn.sock, |watch, _| watch.handle_wanted(full));
            }
            // The connection is closing, or its wire cannot carry so much.
            Err(_) => {}
        }
        self.mark_dirty(key);
        self.read_goodbye(key, was_paused);
    }

    /// Sends a pong that answers nothing. Only a codec of ours lets an application do that.
    fn stray(&mut self, key: usize) {
        let conn = &mut self.conns[key];
        if conn.session.wire() != WireKind::Own {
            return;
        }
        let sent = conn
            .session
            .send(&mut self.env, self.now, Message::binary(STRAY));
        if sent.is_ok() {
            self.os
                .watch(conn.sock, |watch, now| watch.handle_stray_sent(now));
            self.mark_dirty(key);
        }
    }

    fn close(&mut self, which: u64, cause: Cause) {
        if let Some(key) = self.pick(which) {
            self.close_conn(key, cause);
        }
    }

    fn close_conn(&mut self, key: usize, cause: Cause) {
        let conn = &mut self.conns[key];
        self.os
            .watch(conn.sock, |watch, _| watch.handle_wanted(cause));
        let was_paused = conn.session.is_paused();
        conn.session
            .close(&mut self.env, self.now, cause, None, "enough");
        self.mark_dirty(key);
        self.read_goodbye(key, was_paused);
    }

    fn resume_all(&mut self) {
        let keys: Vec<_> = self.conns.iter().map(|(key, _)| key).collect();
        for key in keys {
            let conn = &mut self.conns[key];
            if conn.session.is_paused() {
                conn.session.handle_resume(self.now);
                conn.flags.readable = true;
                self.os
                    .watch(conn.sock, |watch, now| watch.handle_resume(now));
                self.carry(key);
                self.mark_dirty(key);
            }
        }
    }

    fn change_policy(&mut self, key: usize, terms: &Terms) {
        let tick = self.program.tick;
        let policy = intern(&mut self.env, terms, tick);
        self.os.world(|world| world.meet(Hardship::OtherPolicy));
        let conn = &mut self.conns[key];
        conn.session.set_policy(&self.env, self.now, policy);
        let rules = Rules::new(&terms.heartbeat, &terms.limits, tick);
        self.os
            .watch(conn.sock, |watch, now| watch.handle_policy(now, rules));
        self.mark_dirty(key);
    }

    /// Says goodbye to everybody.
    fn drain(&mut self) {
        self.draining = true;
        self.stop_dialing();
        let keys: Vec<_> = self.conns.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.close_conn(key, Cause::Drain);
        }
    }
}

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
