//! Clients: dialed when it is time, and again when the connection is lost.

use heartwheel::close::{Cause, Evidence, Phase};
use heartwheel::proto::backoff::Backoff;
use heartwheel::proto::session::{PolicyId, Session};
use heartwheel::proto::time::Micros;
use heartwheel::proto::websocket::handshake::request;

use super::{Process, Target};
use crate::model::{Redial, Speech, Watch};
use crate::world::Token;
use crate::world::tcp::Failure;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting(Micros),
    Active(Token),
    Stopped,
}

/// A target and how far its dialing has come.
pub(super) struct Client {
    policy: PolicyId,
    state: State,
    backoff: Backoff,
    pub(super) nonce: [u8; 16],
    model: Redial,
}

impl Client {
    pub(super) fn new(target: &Target, policy: PolicyId, now: Micros) -> Self {
        Self {
            policy,
            state: State::Stopped,
            backoff: Backoff::new(target.backoff),
            nonce: [0; 16],
            model: Redial::new(target.backoff, now),
        }
    }

    pub(super) fn handle_open(&mut self, now: Micros) {
        self.backoff.handle_open(now);
        self.model.handle_open(now);
    }
}

impl Process {
    pub(super) fn schedule_dial(&mut self, client: usize, delay: Micros) {
        let due = self.os.clocks().0 + delay;
        self.clients[client].state = State::Waiting(due);
        self.dials.insert((due, client));
    }

    /// Dials again what has stopped.
    pub(super) fn redial(&mut self) {
        let now = self.os.clocks().0;
        for client in 0..self.clients.len() {
            if self.clients[client].state == State::Stopped && !self.draining {
                self.clients[client].model.handle_wanted(now);
                self.schedule_dial(client, Micros::ZERO);
            }
        }
    }

    pub(super) fn stop_dialing(&mut self) {
        self.dials.clear();
        for client in &mut self.clients {
            if matches!(client.state, State::Waiting(_)) {
                client.state = State::Stopped;
            }
        }
    }

    pub(super) fn dial_due(&mut self) {
        while let Some(&(due, client)) = self.dials.first()
            && due <= self.now.at
        {
            self.dials.pop_first();
            self.dial(client);
        }
    }

    fn dial(&mut self, client: usize) {
        // A wait ends late, and a turn takes time; the rest is for sleeps of the machine.
        let late = self.env.lateness().delay(self.os.clocks().0) + self.last_delay + HELD;
        let share = self.clients[client].model.handle_dial(self.now.at, late);
        self.os.world(|world| world.book.waits.extend(share));
        let target = self.program.targets[client].clone();
        let sock = self.os.dial(target.host, target.port, target.path);
        self.refresh_now();
        let phase = self.next_phase();
        let (policy, wire) = (self.clients[client].policy, target.terms.wire());
        let session = Session::dialed(&self.env, policy, wire, phase, self.now);
        let key = self.insert(sock, session, Some(client), &target.terms);
        self.clients[client].state = State::Active(self.conns[key].token);
    }

    pub(super) async fn finish_connect(&mut self, key: usize) {
        let conn = &mut self.conns[key];
        match self.os.connected(conn.sock) {
            Ok(true) => self.connected(key).await,
            Ok(false) => {}
            Err(failure) => {
                let errno = Some(failure.errno());
                debug_assert_ne!(failure, Failure::WouldBlock);
                conn.session.handle_io_error(self.now, errno, false);
                self.mark_dirty(key);
            }
        }
    }

    async fn connected(&mut self, key: usize) {
        let conn = &mut self.conns[key];
        conn.flags.writable = true;
        let client = conn.client.expect("only clients connect");
        let mut head = Vec::new();
        if self.program.targets[client].terms.speech == Speech::WebSocket {
            let mut nonce = [0; 16];
            nonce[..8].copy_from_slice(&self.env.random().to_ne_bytes());
            nonce[8..].copy_from_slice(&self.env.random().to_ne_bytes());
            let (no_names, no_fields): ([&str; 0], [(&str, &str); 0]) = ([], []);
            head = request("server", "/", nonce, &no_names, &no_fields).expect("a sound request");
            self.clients[client].nonce = nonce;
        }
        conn.session
            .handle_connected(&mut self.env, self.now, &head);
        let phase = conn.session.phase();
        self.os.watch(conn.sock, |watch, now| {
            // The code may have read its clock a moment ago.
            watch.handle_phase(Watch::before(now), now, phase)
        });
        self.mark_dirty(key);
        if self.conns[key].session.phase() == Phase::Open {
            self.welcome(key).await;
        }
    }

    /// Follows up on a client's connection that has ended, opened or not.
    pub(super) fn client_ended(&mut self, client: usize, evidence: &Evidence) {
        let now = self.now.at;
        let one = &mut self.clients[client];
        one.state = State::Stopped;
        one.backoff.handle_close(now);
        let is_final = matches!(evidence.cause, Cause::LocalClose | Cause::Drain);
        let again = !self.draining && !is_final;
        one.model.handle_end(now, again);
        if !again {
            return;
        }
        let delay = one.backoff.next_delay(self.env.random());
        self.schedule_dial(client, delay);
    }

    /// Finds out at once, after the machine has slept, which clients still have a peer.
    pub(super) fn wake_from_sleep(&mut self) {
        for client in 0..self.clients.len() {
            let one = &mut self.clients[client];
            one.backoff.handle_sleep();
            let is_waiting = matches!(one.state, State::Waiting(_));
            one.model.handle_sleep(self.os.clocks().0, is_waiting);
            match one.state {
                State::Waiting(due) => {
                    self.dials.remove(&(due, client));
                    let delay = one.backoff.next_delay(self.env.random());
                    self.schedule_dial(client, delay);
                }
                State::Active(token) => self.ping(token.key),
                State::Stopped => {}
            }
        }
    }

    /// Sends a ping outside the grid.
    pub(super) fn ping(&mut self, key: usize) {
        let conn = &mut self.conns[key];
        if conn.session.phase() == Phase::Open && conn.session.has_pings() {
            self.os
                .watch(conn.sock, |watch, now| watch.handle_ping_wanted(now));
        }
        conn.session.ping(&mut self.env, self.now);
        self.mark_dirty(key);
    }
}

/// What a dial may be late beyond its loop: a turn, and the reading of its clock.
const HELD: Micros = Micros::from_secs(1);
