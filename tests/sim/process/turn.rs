//! One turn: clock, events, commands, what was carried over, accepts, expiries, dials, flush, reap.

use heartwheel::close::Phase;
use heartwheel::proto::session::{Due, Session};
use heartwheel::proto::time::Micros;

use super::Process;
use crate::model::{Look, When};
use crate::world::tcp::Ready;
use crate::world::{Hardship, Token};

impl Process {
    pub(super) async fn turn(&mut self) {
        let (now, slept) = self.os.clocks();
        let now = self.env.lateness_mut().begin_turn(now);
        self.set_now(now);
        self.forget_refusals();
        let began = self.when();
        if !self.clients.is_empty() && self.clock.take_sleep(slept).is_some() {
            self.os.world(|world| world.meet(Hardship::Sleep));
            self.wake_from_sleep();
        }
        self.reading_ends = self.now.at + EVENTS_SLICE;
        let events = self.os.take_ready(self.program.events);
        let is_full = events.len() >= self.program.events;
        self.has_news = is_full;
        let is_short = is_full || self.overdue;
        self.os
            .world(|world| world.meet_if(is_short, Hardship::BudgetSpent));
        for (token, ready) in events {
            self.handle_event(token, ready).await;
        }
        while let Some(command) = self.os.take_command() {
            self.obey(command);
        }
        self.refresh_now();
        self.read_carried().await;
        self.accept_ready().await;

        self.os.breathe().await;
        self.refresh_now();
        let look = self.expire(is_full).await;

        self.dial_due();

        let mut ended = 0;
        for _ in 0..PASSES {
            if self.dirty.is_empty() && self.doomed.is_empty() {
                break;
            }
            self.os.breathe().await;
            self.refresh_now();
            self.flush_dirty().await;
            ended += self.reap_doomed(REAPED - ended).await;
        }
        self.refresh_now();
        self.tell_model(began, look);
    }

    /// The time as the model has it.
    fn when(&self) -> When {
        let host = self.os.host;
        self.os.world(|world| world.when(host))
    }

    /// A moment of this turn as the model has it.
    fn when_at(&self, at: Micros) -> When {
        let host = self.os.host;
        self.os.world(|world| world.hosts[host].lateness.when(at))
    }

    /// Lets the model look at every connection: what has come due must have been seen to.
    fn tell_model(&mut self, began: When, look: Option<Look>) {
        let host = self.os.host;
        if look.is_some_and(|look| look.is_whole) {
            self.whole_at = self.now.at;
        } else if self.now.at - self.whole_at > OVERLOADED {
            self.os.world(|world| world.note_overload(host));
        }
        for (_, conn) in &self.conns {
            let (due, ..) = conn.session.heartbeat().pings();
            let phase = conn.session.phase();
            self.os.world(|world| {
                let now = world.when(host);
                let is_stalled = world.hosts[host].lateness.is_stalled();
                let is_unread =
                    conn.flags.carried || conn.flags.put_off || world.end(conn.sock).unread() > 0;
                let is_read = !conn.flags.carried && !conn.session.is_paused();
                let holds_output = conn.session.has_output() && !conn.flags.dirty;
                let waiting = world.waiting(conn.sock);
                world.watch(conn.sock, |watch| {
                    watch.handle_phase(began, now, phase);
                    watch.check_ended(now, is_read);
                    watch.check_wakes(now, is_read, holds_output, &waiting);
                    let Some(look) = look else { return };
                    if phase == Phase::Open {
                        // A verdict that waits comes before a ping.
                        let is_whole = look.is_whole && !conn.flags.put_off;
                        let look = Look { is_whole, ..look };
                        watch.check_pings(due, look, is_stalled);
                    }
                    if look.is_whole {
                        watch.check_overdue(look.at, is_unread);
                    }
                });
            });
        }
    }

    async fn handle_event(&mut self, token: Token, ready: Ready) {
        let key = token.key;
        if self.conn(token).is_none() {
            let is_reused = self.conns.contains(key);
            self.os.world(|world| {
                world.meet(Hardship::StaleEvent);
                world.meet_if(is_reused, Hardship::StaleEventOfUsedSlot);
            });
            return;
        }
        let conn = &mut self.conns[key];
        assert_eq!(conn.token, token, "an event of another connection");
        if conn.session.phase() == Phase::Connecting {
            if ready.writable || ready.error {
                self.finish_connect(key).await;
            }
        } else if ready.writable && !conn.flags.refused {
            conn.flags.writable = true;
            if conn.session.has_output() {
                self.mark_dirty(key);
            }
        }
        if !(ready.readable || ready.read_closed || ready.error) || self.conn(token).is_none() {
            return;
        }
        let conn = &mut self.conns[key];
        if conn.session.phase() == Phase::Connecting {
            return;
        }
        conn.flags.readable = true;
        conn.flags.ending |= ready.read_closed || ready.error;
        if conn.flags.carried {
            return;
        }
        if self.now.at >= self.reading_ends {
            self.carry(key);
            return;
        }
        self.read(key).await;
    }

    async fn read_carried(&mut self) {
        let ends = self.now.at + CARRIED_SLICE;
        for _ in 0..self.carried.len() {
            let Some(token) = self.carried.pop_front() else {
                return;
            };
            if self.conn(token).is_some() {
                self.conns[token.key].flags.carried = false;
                self.read(token.key).await;
                if self.now.at >= ends {
                    return;
                }
            }
        }
    }

    async fn accept_ready(&mut self) {
        while let Some((sock, port)) = self.os.accept() {
            self.os.breathe().await;
            if self.draining {
                self.os.close(sock, true);
                continue;
            }
            let terms = self.program.ports[port].clone();
            let phase = self.next_phase();
            let (policy, wire) = (self.ports[port], terms.wire());
            let session = Session::accepted(&self.env, policy, wire, phase, self.now);
            let is_open = session.phase() == Phase::Open;
            let key = self.insert(sock, session, None, &terms);
            if is_open {
                self.welcome(key).await;
            }
        }
    }

    /// Lets the application know of a connection that is open.
    pub(super) async fn welcome(&mut self, key: usize) {
        let conn = &mut self.conns[key];
        conn.is_welcome = true;
        self.os.watch(conn.sock, |watch, now| {
            watch.handle_opened(now);
            watch.handle_open(now);
        });
        if let Some(client) = conn.client {
            self.clients[client].handle_open(self.now.at);
        }
        self.mark_dirty(key);
        self.on_open(key).await;
        self.refresh_now();
    }

    /// Collects what the wheel has due, then handles it. Says when that was.
    async fn expire(&mut self, is_full: bool) -> Option<Look> {
        if (is_full || !self.carried.is_empty()) && self.deferred < DEFERRED {
            self.deferred += 1;
            return None;
        }
        self.deferred = 0;
        // When the loop read its clock, which may be a moment ago, in time as the model counts it.
        let at = self.when_at(self.now.at);
        let budget = self.program.expiries;
        self.overdue = self.wheel.advance(self.now.at, budget, &mut self.expired);
        let is_whole = !self.overdue;
        self.expired.reverse();
        while let Some(key) = self.expired.pop() {
            assert!(self.conns.contains(key), "a timer of nobody has fired");
            self.handle_expiry(key).await;
        }
        let done = self.when();
        Some(Look { at, done, is_whole })
    }

    async fn handle_expiry(&mut self, key: usize) {
        let session = &self.conns[key].session;
        if session.is_overdue(&self.env, self.now) {
            match session.phase() {
                Phase::Connecting => self.finish_connect(key).await,
                _ => self.read_once_more(key).await,
            }
        }
        let conn = &self.conns[key];
        if conn.session.phase() == Phase::Handshaking && conn.flags.carried {
            return self.schedule(key, self.now.at);
        }
        for _ in 0..STEPS {
            let conn = &mut self.conns[key];
            let was_paused = conn.session.is_paused();
            match conn.session.handle_timeout(&mut self.env, self.now) {
                Due::Wait(deadline) => {
                    assert!(deadline > self.now.at, "#{key} waits for what has passed");
                    if deadline < Micros::MAX {
                        self.schedule(key, deadline);
                    }
                    return;
                }
                Due::Changed => {
                    self.mark_dirty(key);
                    self.read_goodbye(key, was_paused);
                }
                Due::Stalled => {
                    self.offer(key);
                    let conn = &mut self.conns[key];
                    if conn.is_lost() {
                        break;
                    }
                    if conn.session.is_stalled(&self.env, self.now) {
                        conn.session.stall(&self.env, self.now);
                    }
                    self.mark_dirty(key);
                }
                Due::Silent => {
                    self.read_once_more(key).await;
                    if !self.judge(key) {
                        break;
                    }
                    self.mark_dirty(key);
                }
            }
        }
        self.schedule(key, self.now.at);
    }

    /// Judges a silence that one more read has not ended; says whether to look on.
    fn judge(&mut self, key: usize) -> bool {
        let now = self.now;
        let conn = &mut self.conns[key];
        if conn.flags.carried && !conn.session.is_silent_behind_backlog(&self.env, now) {
            conn.flags.put_off = true;
            return false;
        }
        conn.flags.put_off = false;
        if conn.session.has_output() && conn.session.is_silent(&self.env, now) {
            self.offer(key);
        }
        let now = self.now;
        let conn = &mut self.conns[key];
        if conn.is_lost() {
            return false;
        }
        if !conn.session.is_silent(&self.env, now) {
            return true;
        }
        let truth = self.os.world(|world| world.truth(conn.sock));
        self.os
            .watch(conn.sock, |watch, now| watch.expect_verdict(now, &truth));
        let figures = self.os.figures(conn.sock);
        let is_spared = conn.session.spare_slow(&self.env, now, figures.as_ref());
        self.os
            .watch(conn.sock, |watch, now| watch.handle_spared(now, is_spared));
        self.os
            .world(|world| world.meet_if(is_spared, Hardship::Spared));
        if !is_spared {
            conn.session.judge(&self.env, now, figures);
        }
        true
    }

    async fn read_once_more(&mut self, key: usize) {
        let conn = &mut self.conns[key];
        if conn.session.is_paused() {
            self.os.world(|world| world.meet(Hardship::LongPause));
            if self.os.peek(conn.sock) || conn.session.has_input() {
                conn.session.handle_waiting_bytes(&self.env, self.now);
                self.os
                    .watch(conn.sock, |watch, now| watch.handle_waiting(now));
            }
            return;
        }
        let ending = std::mem::replace(&mut conn.flags.ending, true);
        conn.flags.readable = true;
        self.read(key).await;
        self.refresh_now();
        let conn = &mut self.conns[key];
        conn.flags.ending = ending;
        if conn.flags.carried && self.os.peek(conn.sock) {
            conn.session.handle_waiting_bytes(&self.env, self.now);
            self.os
                .watch(conn.sock, |watch, now| watch.handle_waiting(now));
        }
    }

    async fn reap_doomed(&mut self, most: usize) -> usize {
        let count = most.min(self.doomed.len());
        let doomed: Vec<_> = self.doomed.drain(..count).collect();
        for key in doomed {
            self.reap(key).await;
        }
        count
    }

    /// Frees what is over, and reports it.
    async fn reap(&mut self, key: usize) {
        self.wheel.cancel(key);
        let mut conn = self.conns.remove(key);
        self.note_large(self.unfinished(conn.sock));
        let evidence = conn.session.evidence(self.now);
        conn.session.discard(&mut self.env);
        assert!(conn.session.is_released(), "#{key} keeps buffers");
        let with_reset = conn.flags.resets;
        self.os.close(conn.sock, with_reset);
        let (host, sock, was_open) = (self.os.host, conn.sock, conn.is_welcome);
        self.os
            .world(|world| world.note_end(sock, host, &evidence, was_open, with_reset));
        self.on_close().await;
        self.refresh_now();
        if let Some(client) = conn.client {
            self.client_ended(client, &evidence);
        }
    }
}

const PASSES: usize = 4;
const REAPED: usize = 256;
const STEPS: usize = 4;
const DEFERRED: u32 = 8;
/// Whoever has not got round to all that is due for so long has budgets that are too small for its load.
const OVERLOADED: Micros = Micros::from_millis(250);
const EVENTS_SLICE: Micros = Micros::from_millis(4);
const CARRIED_SLICE: Micros = Micros::from_millis(4);
