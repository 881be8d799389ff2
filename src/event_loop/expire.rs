//! Time: due timers of connections and of the embedder.

use super::conn::{Conn, Mark, Ready};
use super::context::Context;
use super::core::EventLoop;
use super::handler::Handler;
use super::timers::Timer;
use super::token::ConnId;
use crate::close::Phase;
use crate::proto::session::{Expiry, Found, Step};
use crate::proto::time::Micros;
use crate::sys::{Probe, Socket, System};

impl<D: Default, S: System> EventLoop<D, S> {
    /// Step 4: collects the due keys of the wheel, then handles them.
    ///
    /// If the last wait filled its buffer or input was carried over, sockets come first. This
    /// happens at most once in a row, because otherwise a busy loop would find dead peers later by
    /// as many turns. Each verdict is preceded by a read of its own socket anyway.
    pub(super) fn expire<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        is_full: bool,
    ) -> usize {
        let is_pressed = (is_full || !self.carried.is_empty()) && !self.expiries.is_behind();
        if self.expiries.put_off(is_pressed) {
            return 0;
        }
        let budget = self.config.expiry_budget;
        self.system.probe_expiries(self.now.at, None);
        let ends = self.now.at + self.expiries.slice(self.now.at, PINGS_SLICE);
        let count = self.expiries.collect(&mut self.wheel, self.now.at, budget);
        let mut written = self.env.stats.bytes_out;
        while let Some(key) = self.expiries.pop() {
            if let Some(next) = self.expiries.peek() {
                self.prefetch_conn(key, next);
                self.wheel.prefetch(next);
            }
            if !self.beat(key)
                && let Some(conn) = self.conns.get(key)
            {
                self.handle_expiry(handler, conn.id(key, self.names));
            }
            let left = self.expiries.len();
            if left == 0 {
                break;
            }
            // Behind a long queue, a ping takes as long as all of it.
            if left.is_multiple_of(LOOK_UP) || self.env.stats.bytes_out - written >= LONG_OUTPUT {
                written = self.env.stats.bytes_out;
                if self.is_past(ends) {
                    break;
                }
            }
        }
        let count = count - self.expiries.len();
        self.look_at_doubtful(handler);
        self.expiries.end_turn(self.now.at);
        self.system
            .probe_expiries(self.now.at, Some(self.expiries.is_empty()));
        count
    }

    /// Looks at the connections that may be dead, at least at one, and at more while there is time.
    /// They come after the pings: a look is several system calls, and many may be due at once.
    fn look_at_doubtful<C, H: Handler<C, S, Data = D>>(&mut self, handler: &mut H) {
        let ends = self.now.at + LOOKS_SLICE;
        while let Some(key) = self.expiries.begin_look() {
            if let Some(conn) = self.conns.get(key) {
                self.handle_expiry(handler, conn.id(key, self.names));
                self.refresh_now();
            }
            if self.now.at >= ends {
                break;
            }
        }
    }

    /// Sees to the deadline of a connection at rest, if no more than a ping is due. Returns whether that
    /// was all.
    fn beat(&mut self, key: usize) -> bool {
        let Some(conn) = self.conns.get_mut(key) else {
            return true;
        };
        if !conn.is_calm() || !self.system.takes_short_way() {
            return false;
        }
        let Some(due) = conn.session.begin_beat(&mut self.env, self.now) else {
            return false;
        };
        match conn.write_beat(&mut self.env, self.now, due) {
            Ok(deadline) => {
                self.wheel.schedule(key, deadline);
                true
            }
            Err(outcome) => {
                self.settle_flush(key, outcome);
                self.flush(key);
                false
            }
        }
    }

    /// Does the steps that a session with a due deadline asks for, until the session waits.
    pub(super) fn handle_expiry<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ConnId,
    ) {
        let key = id.index();
        if self.deferrals.is_answered(key) {
            // The handler has answered in time, and the loop has not come to it.
            self.go_on(handler, id);
        }
        if self.conns[key].session.phase() == Phase::Handshaking {
            // Its answer bears a date.
            self.look_at_calendar();
        }
        if self.guests.have(key) && self.conns[key].session.is_overdue(&self.env, self.now) {
            // It is told what it would have been told before it was let in.
            self.see_off(handler, id);
        }
        // A message under way counts as one that is sent: the session may end for want of any. A ping does
        // not wait for it, or pings would pay for all that is said to everybody.
        let session = &self.conns[key].session;
        if session.may_say_goodbye(&self.env, self.now) && self.settle_broadcasts(key) {
            self.mark_dirty(key);
        }
        let (mut expiry, mut found) = (Expiry::default(), Found::default());
        loop {
            let conn = &mut self.conns[key];
            if conn.marks.has(Mark::Doomed) {
                return;
            }
            found.is_unread = conn.marks.has(Mark::Carried);
            found.is_lost = conn.is_lost();
            let session = &mut conn.session;
            let step = session.handle_expiry(&mut self.env, self.now, &mut expiry, &found);
            if step.looks() && self.expiries.put_off_look(key) {
                return;
            }
            match step {
                Step::Wait(Micros::MAX) => return,
                Step::Wait(deadline) => {
                    self.wheel.schedule(key, deadline);
                    return;
                }
                Step::Connect => self.finish_connect(handler, id),
                Step::ReadOnce => self.read_anyway(handler, id),
                Step::Peek => found.is_waiting = conn.has_waiting_bytes(),
                Step::WriteOnce => {
                    self.write_anyway(key);
                    // It may have left altogether, and its buffers go back.
                    self.mark_dirty(key);
                }
                Step::Figures => found.kernel = conn.socket.figures(),
                // A ping leaves at once: its connection lies in the cache, and the buffers it borrowed
                // serve the next one.
                Step::Flush if session.phase() == Phase::Open => self.flush(key),
                Step::Flush => self.mark_dirty(key),
                Step::Note(note) => self.system.probe(&conn.socket, Probe::Expiry(note)),
            }
        }
    }

    /// Reads until the socket has nothing or a budget is used up, even if the socket is not known
    /// to be readable.
    fn read_anyway<C, H: Handler<C, S, Data = D>>(&mut self, handler: &mut H, id: ConnId) {
        let conn = &mut self.conns[id.index()];
        let doubtful = conn.ready.has(Ready::Doubtful);
        conn.ready.insert(Ready::Doubtful);
        conn.ready.insert(Ready::Readable);
        self.read(handler, id);
        self.refresh_now();
        // A write that failed meanwhile has doubts of its own: the end lies behind the input.
        let ready = &mut self.conns[id.index()].ready;
        let is_broken = ready.has(Ready::Broken);
        ready.set(Ready::Doubtful, doubtful || is_broken);
    }

    pub(super) fn run_timers<C, H: Handler<C, S, Data = D>>(&mut self, handler: &mut H) {
        let due = self.now.at;
        let ends = self.progress.slice(due, TIMERS_SLICE);
        while let Some(Timer { word, conn }) = self.timers.take_due(due) {
            match conn {
                None => handler.on_timer(&mut Context::new(self), word),
                Some(id) if self.conn(id).is_some_and(Conn::is_open) => {
                    handler.on_conn_timer(&mut Context::new(self), id, word);
                }
                // It has begun to close, and its slot is about to be left.
                Some(_) => {}
            }
            if self.is_past(ends) {
                return;
            }
        }
    }
}

/// Pings written between two looks at the clock, and bytes after which it is worth it to look earlier.
const LOOK_UP: usize = 16;
const LONG_OUTPUT: u64 = 8 * 1024;

/// Time in one turn for pings and whatever else is due and needs no look at the socket, and time for looks.
/// Neither depends on what the turn has done before: a busy loop must not fall behind with them. Where
/// that is too little for the pings, they get more.
const PINGS_SLICE: Micros = Micros::from_millis(3);
const LOOKS_SLICE: Micros = Micros::from_millis(2);

/// Time in one turn for the embedder's timers.
const TIMERS_SLICE: Micros = Micros::from_millis(2);

#[cfg(all(test, feature = "websocket"))]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;
    use crate::close::{Cause, CloseCode};
    use crate::config::ReactorConfig;
    use crate::proto::lateness::Lateness;
    use crate::proto::message::Message;
    use crate::proto::time::Moment;
    use crate::reactor::{
        ClientConfig, Closed, Decision, ListenerConfig, Offer, Reactor, Rejection, Welcome,
        WireFactory,
    };

    /// Keeps the causes of ends, opened or not.
    #[derive(Default)]
    struct Ends(Vec<(Cause, bool)>);

    impl Handler for Ends {
        type Data = ();

        fn on_close(&mut self, _: &mut Context<'_, ()>, closed: Closed<'_, ()>) {
            self.0.push((closed.evidence.cause, closed.evidence.clean));
        }
    }

    const SHORT: Duration = Duration::from_millis(50);

    /// Accepts one, which has said nothing yet.
    fn accepted(change: impl FnOnce(&mut ListenerConfig)) -> (Reactor<()>, ConnId, TcpStream) {
        let mut reactor = Reactor::new(ReactorConfig::default()).expect("a selector");
        let mut config = ListenerConfig::new(([127, 0, 0, 1], 0).into(), WireFactory::WebSocket);
        change(&mut config);
        let listener = reactor.listen(config).expect("a free port");
        let addr = reactor.local_addr(listener).expect("it listens");
        let peer = TcpStream::connect(addr).expect("it listens");
        while reactor.is_empty() {
            turn(&mut reactor, &mut Ends::default());
        }
        let (key, conn) = reactor.core.conns.iter().next().expect("it is in");
        let id = conn.id(key, reactor.core.names);
        (reactor, id, peer)
    }

    fn turn(reactor: &mut Reactor<()>, ends: &mut Ends) {
        reactor.turn(ends, Some(SHORT)).expect("the selector works");
    }

    fn shake_hands(mut peer: &TcpStream) {
        let request = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n\
                       Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                       Sec-WebSocket-Version: 13\r\n\r\n";
        peer.write_all(request.as_bytes()).expect("it has room");
    }

    fn opened(change: impl FnOnce(&mut ListenerConfig)) -> (Reactor<()>, ConnId, TcpStream) {
        let (mut reactor, id, peer) = accepted(change);
        shake_hands(&peer);
        while reactor.core.conns[id.index()].session.phase() != Phase::Open {
            turn(&mut reactor, &mut Ends::default());
        }
        (reactor, id, peer)
    }

    /// Handles a deadline that is over, though nothing has been read since.
    fn expire(core: &mut EventLoop<()>, ends: &mut Ends, id: ConnId) {
        // Whatever the turn before it was late.
        core.env.lateness = Lateness::new(Micros::from_millis(10));
        core.set_now(Moment::on_time(core.now.at + Micros::from_secs(60)));
        assert!(
            core.conns[id.index()]
                .session
                .is_overdue(&core.env, core.now)
        );
        core.handle_expiry(ends, id);
    }

    #[test]
    fn a_request_that_lies_unread_is_in_time() {
        let (mut reactor, id, peer) = accepted(|_| {});
        shake_hands(&peer);
        expire(&mut reactor.core, &mut Ends::default(), id);
        assert_eq!(reactor.core.conns[id.index()].session.phase(), Phase::Open);
    }

    #[test]
    fn a_request_that_lies_unread_behind_a_header_is_in_time() {
        let (mut reactor, id, mut peer) = accepted(|config| config.proxy.protocol = true);
        peer.write_all(b"PROXY UNKNOWN\r\n").expect("it has room");
        shake_hands(&peer);
        expire_after(&mut reactor.core, &mut Ends::default(), id, 60);
        assert_eq!(reactor.core.conns[id.index()].session.phase(), Phase::Open);
    }

    #[test]
    fn a_guest_is_heard_behind_its_header_before_it_makes_way() {
        let (mut reactor, id, mut peer) = accepted(|config| config.proxy.protocol = true);
        let request = b"PROXY UNKNOWN\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
        peer.write_all(request).expect("it has room");
        reactor.core.see_off(&mut Ends::default(), id);
        let session = &reactor.core.conns[id.index()].session;
        assert_eq!(session.answered(), Some(426));
    }

    /// Handles deadlines after so many seconds, on a clock that stands still from then on, with bytes of the
    /// peer in the socket.
    fn expire_after(core: &mut EventLoop<()>, ends: &mut Ends, id: ConnId, secs: u64) {
        while !core.conns[id.index()].has_waiting_bytes() {
            std::thread::yield_now();
        }
        let later = core.now.at + Micros::from_secs(secs);
        let hands = std::sync::Mutex::new((later, Micros::ZERO)).into();
        *core.system.hands_mut() = crate::sys::Hands::Scripted(hands);
        core.env.lateness = Lateness::new(Micros::from_millis(10));
        core.refresh_now();
        core.handle_expiry(ends, id);
    }

    #[test]
    fn a_message_that_a_budget_left_unread_is_in_time() {
        let idle = Duration::from_secs(10);
        for (after, phase) in [(15, Phase::Open), (21, Phase::Closing)] {
            let (mut reactor, id, mut peer) =
                opened(|config| config.heartbeat.app_idle = Some(idle));
            reactor.core.config.read_budget = 64;
            let mut bytes = [0x8A, 0x80, 0, 0, 0, 0].repeat(20);
            bytes.extend([0x81, 0x80, 0, 0, 0, 0]);
            peer.write_all(&bytes).expect("it has room");
            expire_after(&mut reactor.core, &mut Ends::default(), id, after);
            let session = &reactor.core.conns[id.index()].session;
            assert_eq!(session.phase(), phase, "after {after} s");
        }
    }

    #[test]
    fn the_rest_of_a_message_that_a_budget_left_unread_is_in_time() {
        let total = Duration::from_secs(10);
        let (mut reactor, id, mut peer) =
            opened(|config| config.limits.message_timeout = Some(total));
        reactor.core.config.read_budget = 64;
        let first = [0x01, 0x81, 0, 0, 0, 0, b'a'];
        let before = reactor.stats().bytes_in;
        peer.write_all(&first).expect("it has room");
        while reactor.stats().bytes_in == before {
            turn(&mut reactor, &mut Ends::default());
        }
        let mut rest = [0x00, 0x81, 0, 0, 0, 0, b'a'].repeat(20);
        rest.extend([0x80, 0x80, 0, 0, 0, 0]);
        peer.write_all(&rest).expect("it has room");
        expire_after(&mut reactor.core, &mut Ends::default(), id, 12);
        let session = &reactor.core.conns[id.index()].session;
        assert_eq!(session.phase(), Phase::Open, "{:?}", session.cause());
    }

    #[test]
    fn a_goodbye_that_a_budget_left_unread_is_in_time() {
        let (mut reactor, id, mut peer) = opened(|_| {});
        reactor.core.config.read_budget = 64;
        let mut ends = Ends::default();
        reactor.context().close(id, CloseCode::NORMAL, "");
        reactor.core.flush_dirty(Micros::MAX);
        let mut bytes = [0x81, 0x81, 0, 0, 0, 0, b'a'].repeat(20);
        bytes.extend([0x88, 0x80, 0, 0, 0, 0]);
        peer.write_all(&bytes).expect("it has room");
        expire_after(&mut reactor.core, &mut ends, id, 4);
        while !reactor.is_empty() {
            turn(&mut reactor, &mut ends);
        }
        assert_eq!(ends.0, [(Cause::LocalClose, true)]);
    }

    #[test]
    fn expiries_are_put_off_for_one_turn_in_a_row_at_most() {
        let (mut reactor, _, _peer) = accepted(|_| {});
        let core = &mut reactor.core;
        // Its opening handshake is over by then.
        core.set_now(Moment::on_time(core.now.at + Micros::from_secs(60)));
        assert_eq!(core.expire(&mut Ends::default(), true), 0);
        assert_eq!(core.expire(&mut Ends::default(), true), 1);
    }

    #[test]
    fn a_request_of_which_a_budget_leaves_a_part_unread_is_in_time() {
        let (mut reactor, id, peer) = accepted(|_| {});
        reactor.core.config.read_budget = 64;
        shake_hands(&peer);
        // A clock that stays where it is, a minute later.
        let later = reactor.core.now.at + Micros::from_secs(60);
        let hands = std::sync::Mutex::new((later, Micros::ZERO)).into();
        *reactor.core.system.hands_mut() = crate::sys::Hands::Scripted(hands);
        reactor.core.env.lateness = Lateness::new(Micros::from_millis(10));
        reactor.core.refresh_now();
        let core = &mut reactor.core;
        for phase in [Phase::Handshaking, Phase::Handshaking, Phase::Open] {
            core.handle_expiry(&mut Ends::default(), id);
            assert_eq!(core.conns[id.index()].session.phase(), phase);
        }
    }

    #[test]
    fn a_goodbye_that_lies_unread_is_in_time() {
        let (mut reactor, id, mut peer) = opened(|_| {});
        let mut ends = Ends::default();
        reactor.context().close(id, CloseCode::NORMAL, "");
        reactor.core.flush_dirty(Micros::MAX);
        peer.write_all(&[0x88, 0x80, 0, 0, 0, 0])
            .expect("it has room");
        expire(&mut reactor.core, &mut ends, id);
        turn(&mut reactor, &mut ends);
        assert_eq!(ends.0, [(Cause::LocalClose, true)]);
    }

    #[test]
    fn a_message_that_lies_unread_is_in_time() {
        let (mut reactor, id, mut peer) =
            opened(|config| config.heartbeat.app_idle = Some(Duration::from_secs(10)));
        peer.write_all(&[0x81, 0x80, 0, 0, 0, 0])
            .expect("it has room");
        expire(&mut reactor.core, &mut Ends::default(), id);
        assert_eq!(reactor.core.conns[id.index()].session.phase(), Phase::Open);
    }

    #[test]
    fn a_dial_whose_answer_nobody_has_looked_at_is_in_time() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("it listens").port();
        let mut reactor = Reactor::new(ReactorConfig::default()).expect("a selector");
        let mut ends = Ends::default();
        let client = ClientConfig::new("127.0.0.1", port, WireFactory::Line);
        reactor.connect(client).expect("a sound configuration");
        while reactor.is_empty() {
            turn(&mut reactor, &mut ends);
        }
        listener.accept().expect("it is dialed");
        let (key, conn) = reactor.core.conns.iter().next().expect("it dials");
        assert_eq!(conn.session.phase(), Phase::Connecting);
        let id = conn.id(key, reactor.core.names);
        expire(&mut reactor.core, &mut ends, id);
        assert_eq!(reactor.core.conns[key].session.phase(), Phase::Open);
    }

    #[test]
    fn a_pause_taken_back_before_the_opening_is_none() {
        struct Pauses(usize);
        impl Handler for Pauses {
            type Data = ();

            fn on_accept(
                &mut self,
                cx: &mut Context<'_, ()>,
                offer: &Offer<'_>,
            ) -> Result<Decision<Welcome<()>>, Rejection> {
                cx.pause(offer.id);
                cx.resume(offer.id);
                Ok(Welcome::default().into())
            }

            fn on_message(&mut self, _: &mut Context<'_, ()>, _: ConnId, _: Message<'_>) {
                self.0 += 1;
            }
        }

        let (mut reactor, _, mut peer) = accepted(|_| {});
        shake_hands(&peer);
        let mut pauses = Pauses(0);
        reactor
            .turn(&mut pauses, Some(SHORT))
            .expect("the selector works");
        peer.write_all(&[0x81, 0x80, 0, 0, 0, 0])
            .expect("it has room");
        for _ in 0..5 {
            reactor
                .turn(&mut pauses, Some(SHORT))
                .expect("the selector works");
        }
        assert_eq!(pauses.0, 1);
    }
}
