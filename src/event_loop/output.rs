//! Writing: queued output is written as far as the kernel accepts it. After a refusal, nothing is
//! written until the next wait.

use super::conn::{FlushOutcome, Mark, Ready};
use super::context::Context;
use super::core::EventLoop;
use super::handler::Handler;
use super::token::ConnId;
use crate::close::Phase;
use crate::proto::session::SocketAction;
use crate::proto::time::Micros;
use crate::sys::{Socket, System, is_reset};

impl<D, S: System> EventLoop<D, S> {
    /// Offers the queue of a connection to the kernel, because a message does not fit. The queue
    /// may be full only because the turn is not over. This is the only place within a callback that
    /// makes system calls. It runs no callback and frees nothing.
    pub(super) fn offer(&mut self, key: usize) {
        let conn = &mut self.conns[key];
        if conn.may_take_more() {
            // A message is about to be lost: that is worse than a ping behind what the kernel holds.
            conn.deepen(true);
            self.write_anyway(key);
        }
    }

    /// Writes even if the socket is not known to have room, because this turn may not have reached
    /// the event that says so. Does nothing after a refusal.
    pub(super) fn write_anyway(&mut self, key: usize) {
        let conn = &mut self.conns[key];
        if conn.may_take_more() {
            conn.ready.insert(Ready::Writable);
            self.refresh_now();
            // Where this is a callback it goes on.
            self.is_behind = true;
            self.write(key);
        }
    }

    /// Writes the queue of a connection until it is empty or the kernel accepts no more. Only marks
    /// what happens to the connection.
    pub(super) fn write(&mut self, key: usize) {
        let outcome = self.conns[key].flush(&mut self.env, self.now);
        self.settle_flush(key, outcome);
    }

    /// Notes for the loop what became of a flush.
    pub(super) fn settle_flush(&mut self, key: usize, outcome: FlushOutcome) {
        let conn = &mut self.conns[key];
        match outcome {
            FlushOutcome::Done => {}
            FlushOutcome::Refused => {
                self.refused.push(&mut conn.ready, key);
            }
            FlushOutcome::Failed(error) => self.write_failed(key, &error),
        }
    }

    /// Allows refused writes again, before a wait.
    pub(super) fn forget_refusals(&mut self) {
        while !self.refused.is_empty() {
            let conns = &mut self.conns;
            self.refused
                .pop(|key| conns.get_mut(key).map(|conn| &mut conn.ready));
        }
    }

    /// Handles a failed write. What the peer sent before is read first. The end of that input, or a
    /// second failure, ends the connection.
    fn write_failed(&mut self, key: usize, error: &std::io::Error) {
        let conn = &mut self.conns[key];
        let was_reset = error.kind() == std::io::ErrorKind::ConnectionReset;
        if conn.ready.has(Ready::Reset) || conn.ready.has(Ready::Eof) || conn.session.is_paused() {
            conn.fail(&mut self.env, self.now, error);
            return;
        }
        if was_reset {
            conn.ready.insert(Ready::Reset);
        }
        conn.ready.insert(Ready::Broken);
        conn.ready.insert(Ready::Readable);
        conn.ready.insert(Ready::Doubtful);
        if !was_reset && !is_reset(error) {
            conn.fail(&mut self.env, self.now, error);
            return;
        }
        self.carry(key);
    }

    /// Sees to a connection that a callback has sent to or changed. The one whose input is in hand is
    /// seen to as soon as the callback has returned.
    pub(super) fn mark_touched(&mut self, id: ConnId) {
        self.probe_cause(id.index());
        if !self.in_hand.is_input_of(id) {
            self.mark_dirty(id.index());
        }
    }

    /// Puts a connection on the list to be flushed at the end of the turn.
    pub(super) fn mark_dirty(&mut self, key: usize) {
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        self.dirty.push(&mut conn.marks, key);
        if conn.session.phase() == Phase::Closed {
            self.vacate(key);
        }
        self.probe_cause(key);
    }
}

impl<D: Default, S: System> EventLoop<D, S> {
    /// Step 6: writes queued output, and closes the sockets that are done: at least one, and more
    /// until `ends`. The rest follows in the next turn, because a callback may send to everybody.
    pub(super) fn flush_dirty(&mut self, ends: Micros) {
        // What is marked meanwhile is flushed in the next pass.
        for _ in 0..self.dirty.len() {
            let conns = &mut self.conns;
            let next = self.dirty.pop(|key| Some(&mut conns.get_mut(key)?.marks));
            if let Some((key, Some(_))) = next {
                self.flush(key);
                if self.is_past(ends) {
                    return;
                }
            }
        }
    }

    pub(super) fn flush(&mut self, key: usize) {
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        self.dirty.withdraw(&mut conn.marks);
        if conn.marks.has(Mark::Doomed) {
            return;
        }
        if conn.session.phase() != Phase::Connecting {
            self.write(key);
        }
        self.probe_cause(key);
        let conn = &mut self.conns[key];
        if conn.session.phase() != Phase::Handshaking {
            self.deferrals.forget(key);
        }
        let conn = &mut self.conns[key];
        if conn.session.owes_closing() {
            self.closing.push_back(conn.id(key, self.names));
        }
        loop {
            match conn.session.socket_action() {
                SocketAction::Keep => break,
                SocketAction::ResumeReading => {
                    conn.ready.insert(Ready::Readable);
                    let id = conn.id(key, self.names);
                    self.carried.push(&mut conn.marks, id);
                }
                SocketAction::ShutdownWrite => {
                    if let Err(error) = conn.transport().shutdown(&mut self.env.pool) {
                        let peer = self.peers.addr(conn.peer);
                        log::debug!("could not end output to {peer}: {error}");
                    }
                }
                SocketAction::Close => {
                    let figures = conn.session.is_unanswered().then(|| conn.socket.figures());
                    if figures
                        .flatten()
                        .is_some_and(|kernel| kernel.is_shut(false))
                    {
                        // The kernel would keep our last words for minutes, for a peer that takes none.
                        conn.socket.reset_on_close();
                    } else if conn.layer().is_some() && !conn.session.has_ended_output() {
                        // Its last word, as far as one write goes: nobody is left to hear of a failure.
                        let _ = conn.transport().shutdown(&mut self.env.pool);
                    }
                    self.doom(key);
                    return;
                }
                SocketAction::Reset => {
                    if let Some(figures) = conn.socket.figures() {
                        conn.session.handle_kernel_figures(figures);
                    }
                    conn.socket.reset_on_close();
                    self.doom(key);
                    return;
                }
            }
        }
        if !conn.session.has_output() {
            conn.deepen(false);
            if conn.marks.remove(Mark::WantsRoom) {
                self.roomy.push(conn.id(key, self.names));
            }
        }
        self.settle(key);
        self.rearm(key);
    }

    /// Reports connections that have begun to close: at least one, and more until `ends`.
    pub(super) fn report_closing<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        ends: Micros,
    ) {
        while let Some(id) = self.closing.pop_front() {
            if self.tell_closing(handler, id) && self.now.at >= ends {
                return;
            }
        }
    }

    /// Tells the handler that a connection has begun to close, unless it knows. Returns whether it was told.
    pub(super) fn tell_closing<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ConnId,
    ) -> bool {
        let news = self.conn_mut(id).and_then(|conn| {
            let is_news = conn.session.take_closing() && conn.marks.has(Mark::Welcome);
            conn.session.cause().filter(|_| is_news)
        });
        if let Some(cause) = news {
            handler.on_closing(&mut Context::new(self), id, cause);
            self.refresh_now();
        }
        news.is_some()
    }

    pub(super) fn report_room<C, H: Handler<C, S, Data = D>>(&mut self, handler: &mut H) {
        while let Some(id) = self.roomy.pop() {
            if self
                .conn(id)
                .is_some_and(|conn| conn.session.phase() == Phase::Open)
            {
                handler.on_writable(&mut Context::new(self), id);
                self.refresh_now();
            }
        }
    }
}

/// Time in one turn for writing queued output.
pub(super) const FLUSHING_SLICE: Micros = Micros::from_millis(3);

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use crate::close::Phase;
    use crate::config::ReactorConfig;
    use crate::event_loop::conn::Ready;
    use crate::proto::message::Message;
    use crate::proto::session::{Backlog, Due};
    use crate::reactor::{ClientConfig, ConnId, Context, Handler, Reactor, WireFactory};

    /// Dials a listener, and turns until the connection is open.
    fn connected(write: Duration, queue: usize) -> (Reactor<()>, ConnId, TcpStream) {
        let mut reactor = Reactor::new(ReactorConfig::default()).expect("a selector");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("it is bound").port();
        let mut config = ClientConfig::new("127.0.0.1", port, WireFactory::Line);
        config.heartbeat.write_timeout = Some(write);
        config.limits.send_queue = Some(queue);
        reactor.connect(config).expect("a sound configuration");
        let mut opened = Opened::default();
        while opened.0.is_none() {
            turn(&mut reactor, &mut opened);
        }
        let (peer, _) = listener.accept().expect("it was dialed");
        (reactor, opened.0.expect("it is open"), peer)
    }

    fn turn(reactor: &mut Reactor<()>, handler: &mut Opened) {
        let limit = Some(Duration::from_secs(10));
        reactor.turn(handler, limit).expect("the selector works");
    }

    #[derive(Default)]
    struct Opened(Option<ConnId>);

    impl Handler for Opened {
        type Data = ();

        fn on_open(&mut self, _: &mut Context<'_, ()>, id: ConnId) {
            self.0 = Some(id);
        }
    }

    /// The event that tells of room may not have been handed out yet: the loop was busy with others.
    #[test]
    fn output_that_was_not_offered_in_this_turn_is_not_judged() {
        let (mut reactor, id, mut peer) = connected(Duration::from_millis(1), 1024);
        let core = &mut reactor.core;
        let key = id.index();
        core.conns[key].ready.remove(Ready::Writable);
        let sent = core.conns[key]
            .session
            .send(&mut core.env, core.now, Message::text("hello"));
        assert_eq!(sent, Ok(()));
        while core.conns[key]
            .session
            .handle_timeout(&mut core.env, core.now, Backlog::None)
            != Due::Stalled
        {
            core.refresh_now();
        }
        core.handle_expiry(&mut Opened::default(), id);
        assert_eq!(core.conns[key].session.phase(), Phase::Open);
        let mut read = [0; 6];
        peer.read_exact(&mut read).expect("it was written");
        assert_eq!(&read, b"hello\n");
    }

    /// Pings do not wait behind more than that once the queue has been empty again.
    #[cfg(all(feature = "sockets", target_os = "linux"))]
    #[test]
    fn the_kernel_holds_much_only_from_a_full_queue_to_an_empty_one() {
        let (mut reactor, id, mut peer) = connected(Duration::from_secs(10), 64 * 1024);
        let unsent = |reactor: &Reactor<()>| {
            let socket = socket2::SockRef::from(&reactor.core.conns[id.index()].socket);
            socket.tcp_notsent_lowat().expect("readable")
        };
        let little = unsent(&reactor);
        let text = "x".repeat(8 * 1024);
        let mut owed = 0;
        loop {
            let is_offered = reactor.stats().writes_refused > 0 || owed > 64 * 1024;
            assert_eq!(unsent(&reactor) > little, is_offered, "{owed}");
            match reactor.context().send(id, Message::text(&text)) {
                Ok(()) => owed += text.len() + 1,
                Err(_) => break,
            }
        }
        assert_eq!(reactor.stats().writes_refused, 1);
        assert_eq!(unsent(&reactor), u32::MAX);
        let reading = std::thread::spawn(move || {
            let mut read = vec![0; owed];
            peer.read_exact(&mut read).expect("it is all sent");
            peer
        });
        while reactor.stats().bytes_out < owed as u64 {
            turn(&mut reactor, &mut Opened::default());
        }
        assert_eq!(unsent(&reactor), little);
        drop(reading.join().expect("it reads all"));
    }
}
