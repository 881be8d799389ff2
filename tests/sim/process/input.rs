//! Reading: bytes into the ring, frames out of it, and the opening handshake before the first.

use heartwheel::close::{Cause, Phase};
use heartwheel::proto::http::{self, HeadLimits, Persistence, Request};
use heartwheel::proto::pool::Pool;
use heartwheel::proto::ring::Ring;
use heartwheel::proto::session::{Env, Event, Session};
use heartwheel::proto::time::Micros;
use heartwheel::proto::websocket::handshake::{
    Upgrade, accept_for, accept_response, parse_more_response,
};
use heartwheel::proto::wire::{Payload, Role};

use super::Process;
use crate::world::tcp::Failure;

impl Process {
    /// Reads a connection until it would block, or until its budget for this turn is used up.
    pub(super) async fn read(&mut self, key: usize) {
        let mut ring = self.conns[key].session.take_input(&mut self.env);
        let mut budget = self.program.read;
        let ends = self.now.at + CONN_SLICE;
        let (mut called, mut is_over) = self.decode(key, &mut ring, ends).await;
        loop {
            let conn = &mut self.conns[key];
            if is_over && !conn.session.is_paused() {
                self.carry(key);
                break;
            }
            if !conn.flags.readable || conn.session.is_paused() {
                break;
            }
            if budget == 0 || (called && self.now.at >= ends) {
                self.carry(key);
                break;
            }
            if !make_room(&conn.session, &mut ring, &mut self.env) {
                break;
            }
            self.os.breathe().await;
            let conn = &mut self.conns[key];
            let spare = ring.spare_mut(self.env.pool_mut());
            let room = spare.len().min(budget);
            match self.os.read(conn.sock, &mut spare[..room]) {
                Ok(0) => {
                    conn.flags.readable = false;
                    conn.flags.eof = true;
                    self.handle_eof(key).await;
                    break;
                }
                Ok(count) => {
                    ring.commit(count);
                    if count < room && !conn.flags.ending {
                        conn.flags.readable = false;
                    }
                    // A proof is stamped no earlier than its read.
                    self.refresh_now();
                    budget = budget.saturating_sub(count);
                    self.conns[key]
                        .session
                        .handle_bytes(&mut self.env, self.now, count);
                    (called, is_over) = self.decode(key, &mut ring, ends).await;
                }
                Err(Failure::WouldBlock) => {
                    conn.flags.readable = false;
                    break;
                }
                Err(failure) => {
                    conn.flags.readable = false;
                    conn.fail(self.now, failure);
                    break;
                }
            }
        }
        if called {
            self.refresh_now();
        }
        self.settle_input(key, ring).await;
    }

    async fn settle_input(&mut self, key: usize, mut ring: Ring) {
        let conn = &mut self.conns[key];
        if !ring.is_empty() && conn.session.phase() == Phase::Closed {
            ring.consume(ring.len());
        }
        let is_left = !ring.is_empty() && (conn.flags.carried || conn.session.is_paused());
        self.os
            .watch(conn.sock, |watch, now| watch.handle_decoded(now, is_left));
        conn.session.put_input(&mut self.env, ring);
        self.note_cause(key);
        let conn = &mut self.conns[key];
        if conn.session.phase() != Phase::Open {
            self.mark_dirty(key);
        } else if conn.session.has_output() {
            self.flush(key).await;
        } else {
            conn.session.release(&mut self.env);
            self.rearm(key);
        }
    }

    async fn handle_eof(&mut self, key: usize) {
        let conn = &mut self.conns[key];
        if let Some((_, payload)) = conn.session.decode_rest(&mut self.env, self.now) {
            self.deliver(key, payload, &[]).await;
        }
        let conn = &mut self.conns[key];
        if conn.flags.reset {
            conn.session.handle_io_error(self.now, None, true);
        } else {
            conn.session.handle_eof(&self.env, self.now);
        }
        if conn.flags.broken {
            conn.session.end(self.now, Cause::PeerEof, None);
        }
    }

    /// Decodes what is whole and hands it out, until `ends`. Says whether a callback ran, and whether
    /// time was over before the input was.
    async fn decode(&mut self, key: usize, ring: &mut Ring, ends: Micros) -> (bool, bool) {
        let mut called = false;
        let mut steps = 0;
        loop {
            let conn = &mut self.conns[key];
            if ring.is_empty() || conn.session.is_paused() {
                return (called, false);
            }
            if steps == LOOK_UP {
                steps = 0;
                self.refresh_now();
                if self.now.at >= ends {
                    return (called, true);
                }
                continue;
            }
            steps += 1;
            if conn.session.phase() == Phase::Handshaking {
                if self.handshake(key, ring).await {
                    called = true;
                    continue;
                }
                return (called, false);
            }
            let input = ring.contiguous_mut();
            let (consumed, event) = conn.session.decode(&mut self.env, self.now, input);
            match event {
                Event::NeedMore => {
                    ring.consume(consumed);
                    return (called, false);
                }
                Event::Consumed => {}
                Event::Message { payload, .. } => {
                    self.deliver(key, payload, input).await;
                    called = true;
                }
                Event::Pong { .. } => {
                    self.on_pong().await;
                    called = true;
                }
            }
            ring.consume(consumed);
        }
    }

    async fn deliver(&mut self, key: usize, payload: Payload, input: &[u8]) {
        match payload {
            Payload::Input(range) => self.on_message(key, &input[range]).await,
            Payload::Assembled => {
                let assembled = self.conns[key].session.take_assembled();
                self.on_message(key, &assembled).await;
                self.env.pool_mut().give_vec(assembled);
            }
        }
    }

    /// Goes on with an opening handshake; says whether frames may follow.
    async fn handshake(&mut self, key: usize, ring: &mut Ring) -> bool {
        let len = match self.conns[key].session.role() {
            Role::Server => self.serve_handshake(key, ring),
            Role::Client => self.follow_handshake(key, ring),
        };
        self.note_cause(key);
        if let Some(len) = len {
            self.welcome(key).await;
            ring.consume(len);
        }
        let session = &self.conns[key].session;
        match session.phase() {
            Phase::Open => true,
            Phase::Connecting | Phase::Handshaking => false,
            Phase::Closing if session.was_open() => true,
            Phase::Closing | Phase::Closed => {
                ring.consume(ring.len());
                false
            }
        }
    }

    fn serve_handshake(&mut self, key: usize, ring: &mut Ring) -> Option<usize> {
        let conn = &mut self.conns[key];
        let mut progress = conn.session.head_progress();
        let limits = HeadLimits::default();
        let parsed = Request::parse_more(&mut progress, ring.contiguous_mut(), &limits);
        let Some((request, len)) = parsed.expect("our own client's request is sound") else {
            ring.consume(progress.take_done());
            conn.session.set_head_progress(&mut self.env, progress);
            return None;
        };
        let upgrade = Upgrade::of(&request).expect("our own client asks for an upgrade");
        if self.draining || self.app.refuses() {
            let cause = Cause::Refused;
            self.os
                .watch(conn.sock, |watch, _| watch.handle_wanted(cause));
            let response = http::response(
                503,
                Persistence::Close,
                None,
                &[("Retry-After", "1")],
                b"not now\n",
            );
            let response = response.expect("the head is sound");
            conn.session
                .refuse(&mut self.env, self.now, cause, "not now", &response);
            self.mark_dirty(key);
            return None;
        }
        let none: [(&str, &str); 0] = [];
        let response = accept_response(&upgrade, None, None, &none).expect("the head is sound");
        conn.session
            .handle_handshake(&mut self.env, self.now, &response);
        Some(len)
    }

    fn follow_handshake(&mut self, key: usize, ring: &mut Ring) -> Option<usize> {
        let conn = &mut self.conns[key];
        let nonce = self.clients[conn.client?].nonce;
        let none: [&str; 0] = [];
        let limits = HeadLimits::default();
        let mut progress = conn.session.head_progress();
        let input = ring.contiguous_mut();
        match parse_more_response(&mut progress, input, &accept_for(nonce), &none, &limits) {
            Ok(None) => {
                ring.consume(progress.take_done());
                conn.session.set_head_progress(&mut self.env, progress);
                None
            }
            Ok(Some((_, len))) => {
                conn.session.handle_handshake(&mut self.env, self.now, &[]);
                Some(len)
            }
            Err(_) => {
                self.os
                    .watch(conn.sock, |watch, _| watch.handle_wanted(Cause::Refused));
                conn.session.end(self.now, Cause::Refused, None);
                self.mark_dirty(key);
                None
            }
        }
    }
}

/// As `Conn::make_room` of the reactor.
fn make_room(session: &Session, ring: &mut Ring, env: &mut Env) -> bool {
    if session.phase() != Phase::Handshaking {
        ring.widen(Pool::LARGEST, env.pool_mut());
    }
    !ring.is_full() || ring.grow(session.input_limit(env), env.pool_mut())
}

/// As `socket::is_reset` of the reactor.
pub(super) fn is_reset(failure: Failure) -> bool {
    matches!(failure, Failure::Reset | Failure::BrokenPipe)
}

const CONN_SLICE: Micros = Micros::from_millis(1);
const LOOK_UP: u32 = 8;
