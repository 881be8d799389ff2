//! Taking connections in: within a budget, within limits, and resting while descriptors are short.

use std::io;
use std::net::SocketAddr;

use mio::net::TcpStream;

use super::admission::Refusal;
use super::conn::{Mark, Ready};
use super::context::Context;
use super::core::Core;
use super::handler::{Handler, Head, Offer, Origin, Rejected};
use super::history::Ended;
use super::socket;
use super::token::{ConnId, ListenerId};
use crate::close::{Cause, Evidence, Phase};
use crate::proto::flags::Flags;
use crate::proto::session::Session;
use crate::proto::time::Micros;
#[cfg(feature = "websocket")]
use crate::proto::websocket::handshake::HttpDate;

impl<D: Default> Core<D> {
    /// Accepts on every listener that may have something waiting.
    pub(super) fn accept_ready<H: Handler<Data = D>>(&mut self, handler: &mut H) {
        for key in 0..self.listeners.capacity() {
            let Some(listener) = self.listeners.get_mut(key) else {
                continue;
            };
            if listener
                .paused_until
                .is_some_and(|until| until <= self.now.at)
            {
                listener.paused_until = None;
                listener.ready = true;
            }
            if listener.ready && listener.paused_until.is_none() {
                self.accept_from(handler, key);
            }
        }
    }

    /// Lets listeners that rest for want of descriptors try again: a connection has just ended.
    pub(super) fn wake_paused_listeners(&mut self) {
        for (_, listener) in &mut self.listeners {
            if let Some(until) = &mut listener.paused_until {
                *until = (*until).min(self.now.at);
            }
        }
    }

    fn accept_from<H: Handler<Data = D>>(&mut self, handler: &mut H, key: usize) {
        for _ in 0..self.config.accept_budget {
            match self.listeners[key].socket.accept() {
                Ok((socket, mut peer)) => {
                    // Over IPv4 to a listener for both families: the same peer as to any other, in
                    // every limit and record.
                    peer.set_ip(peer.ip().to_canonical());
                    self.admit(handler, key, socket, peer);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.listeners[key].ready = false;
                    self.listeners[key].pause = None;
                    return;
                }
                // The peer was gone before we came: nothing is wrong with the listener.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.pause_accepting(key, &error);
                    return;
                }
            }
        }
    }

    /// Rests instead of spinning; one log line for each episode, however many listeners and loops it
    /// concerns.
    fn pause_accepting(&mut self, key: usize, error: &io::Error) {
        let listener = &mut self.listeners[key];
        listener.paused_until = Some(self.now.at + ACCEPT_PAUSE);
        if listener.pause.is_some() {
            return;
        }
        let (pause, is_first) = self.group.pause();
        listener.pause = Some(pause);
        self.env.stats.accept_pauses += 1;
        if !is_first {
            return;
        }
        let addr = listener.addr;
        if error.raw_os_error().is_some_and(socket::lacks_descriptors) {
            log::warn!(
                "accepting on {addr} pauses: {error}; {}, or lower the number of connections",
                socket::MORE_DESCRIPTORS
            );
        } else {
            log::warn!("accepting on {addr} pauses: {error}");
        }
    }

    fn admit<H: Handler<Data = D>>(
        &mut self,
        handler: &mut H,
        key: usize,
        stream: TcpStream,
        peer: SocketAddr,
    ) {
        self.env.stats.accepted += 1;
        let listener = &self.listeners[key];
        let origin = Origin::Listener(ListenerId(u32::try_from(key).expect("listeners are few")));
        let wire = listener.wire.make();
        let policy = listener.policy;
        let counted = listener.admission.counts(peer.ip());
        let half_open = listener.admission.counts_half_open() && wire.kind().is_websocket();
        let mut marks = Flags::NONE;
        marks.set(Mark::HalfOpen, half_open);
        marks.set(Mark::Counted, counted);
        if let Err(refusal) = self.judge(key, peer, marks) {
            self.refuse(handler, &stream, peer, origin, refusal, &wire);
            return;
        }
        let phase = self.next_phase();
        let session = Session::accepted(&self.env, policy, wire, phase, self.now);
        let is_open = session.phase() == Phase::Open;
        let id = match self.insert(stream, session, peer, origin, marks) {
            Ok(id) => id,
            Err(error) => {
                log::warn!("could not register a connection from {peer}: {error}");
                let addresses = &mut self.group.arrivals().addresses;
                if half_open {
                    addresses.leave_half_open(peer.ip(), self.now.at);
                }
                if counted {
                    addresses.leave_open(peer.ip(), self.now.at);
                }
                return;
            }
        };
        self.conns[id.index()].ready.insert(Ready::Writable);
        if is_open {
            self.offer_plain(handler, id);
        }
    }

    /// Holds a new connection against the limits, and takes a place for it if it may come in: at once,
    /// for other loops judge theirs meanwhile.
    fn judge(&self, key: usize, peer: SocketAddr, marks: Flags<Mark>) -> Result<(), Refusal> {
        if self.drain.is_some() {
            return Err(Refusal::Draining);
        }
        if !self.group.enter(self.config.max_connections) {
            return Err(Refusal::Full);
        }
        let now = self.now.at;
        let arrivals = &mut *self.group.arrivals();
        let paid = arrivals.rates.of(key);
        self.listeners[key]
            .admission
            .judge(peer.ip(), now, &mut arrivals.addresses, paid)
            .inspect_err(|_| self.group.leave())?;
        let (counted, half_open) = (marks.has(Mark::Counted), marks.has(Mark::HalfOpen));
        arrivals.addresses.enter(peer.ip(), counted, half_open);
        Ok(())
    }

    /// Offers a connection of a wire without opening handshake to the handler.
    pub(super) fn offer_plain<H: Handler<Data = D>>(&mut self, handler: &mut H, id: ConnId) {
        let Some(conn) = self.conn(id) else { return };
        let offer = Offer {
            id,
            peer: self.peers.addr(conn.peer),
            origin: conn.origin(),
            head: Head::None(std::marker::PhantomData),
        };
        self.offered = Some(id);
        let answer = handler.on_accept(&mut Context::new(self), &offer);
        self.offered = None;
        if self
            .conn(id)
            .is_none_or(|conn| conn.session.phase() != Phase::Open)
        {
            // Closed while it was being judged: it never opened.
            return;
        }
        match answer {
            Ok(welcome) => self.welcome(handler, id, welcome.data),
            Err(_) => {
                if let Some(conn) = self.conns.get_mut(id.index()) {
                    conn.session.end(self.now, Cause::Refused, None);
                }
                self.mark_dirty(id.index());
            }
        }
    }

    /// Lets a connection that is welcome open.
    pub(super) fn welcome<H: Handler<Data = D>>(&mut self, handler: &mut H, id: ConnId, data: D) {
        let key = id.index();
        self.leave_half_open(key);
        let conn = &mut self.conns[key];
        conn.data = data;
        conn.marks.insert(Mark::Welcome);
        self.env.stats.opened += 1;
        if let Origin::Client(client) = self.conns[key].origin() {
            let now = self.now.at;
            self.clients[client].backoff.handle_open(now);
        }
        self.mark_dirty(key);
        self.offered = Some(id);
        handler.on_open(&mut Context::new(self), id);
        self.offered = None;
        self.refresh_now();
    }

    /// Turns a connection away before it has a slot. A WebSocket client is told why, as far as one
    /// write goes; the other wires have no words for it, and get a reset.
    fn refuse<H: Handler<Data = D>>(
        &mut self,
        handler: &mut H,
        stream: &TcpStream,
        peer: SocketAddr,
        origin: Origin,
        refusal: Refusal,
        wire: &crate::proto::session::Wire,
    ) {
        #[cfg(feature = "websocket")]
        refusal.tell(stream, wire, self.date().as_ref());
        #[cfg(not(feature = "websocket"))]
        refusal.tell(stream, wire);
        self.env.stats.rejected += 1;
        self.env.stats.count_end(Cause::Refused);
        let evidence = Evidence {
            cause: Cause::Refused,
            phase: Phase::Handshaking,
            errno: None,
            close_code: None,
            clean: false,
            age: Micros::ZERO,
            last_in: None,
            last_out: None,
            last_proof: None,
            pings_due: 0,
            pings_written: 0,
            pings_answered: 0,
            rtt: None,
            bytes_queued: 0,
            bytes_dropped: 0,
            bytes_unfinished: None,
            forgiveness: Micros::ZERO,
            loop_delay: self.clock.delay(self.now.at),
            kernel: None,
        };
        log::debug!("{peer} was refused, {}: {evidence}", refusal.reason());
        self.history.push(Ended {
            at: self.now.at,
            id: None,
            peer,
            origin,
            was_open: false,
            evidence,
        });
        let rejected = Rejected {
            peer,
            origin,
            evidence: &evidence,
            reason: refusal.reason(),
        };
        handler.on_rejected(&mut Context::new(self), rejected);
    }
}

impl Refusal {
    #[cfg(feature = "websocket")]
    fn tell(
        self,
        mut stream: &TcpStream,
        wire: &crate::proto::session::Wire,
        date: Option<&HttpDate>,
    ) {
        use std::io::Write;

        use crate::proto::session::Wire;
        use crate::proto::websocket::handshake::http_response;

        if !matches!(wire, Wire::WebSocket) {
            socket::reset_on_close(stream);
            return;
        }
        let body = format!("{}\n", self.reason());
        let headers = [("Retry-After", "1"), ("Content-Type", "text/plain")];
        if let Ok(response) = http_response(self.status(), date, &headers, body.as_bytes())
            && let Err(error) = stream.write(&response)
        {
            log::debug!("could not tell a refused connection: {error}");
        }
        // The request may be on its way: ended like this, the answer outlives it.
        if let Err(error) = stream.shutdown(std::net::Shutdown::Write) {
            log::debug!("could not end a refused connection: {error}");
        }
    }

    #[cfg(not(feature = "websocket"))]
    fn tell(self, stream: &TcpStream, _wire: &crate::proto::session::Wire) {
        socket::reset_on_close(stream);
    }
}

/// How long accepting rests when descriptors ran out and nothing ends.
const ACCEPT_PAUSE: Micros = Micros::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AdmissionConfig, ReactorConfig};
    use crate::reactor::{Group, ListenerConfig, Reactor, WireFactory};

    #[test]
    fn a_place_of_an_address_is_taken_before_another_loop_judges() {
        let group = Group::new();
        let config = || ListenerConfig {
            admission: AdmissionConfig {
                open_per_address: Some(1),
                ..AdmissionConfig::default()
            },
            ..ListenerConfig::new(([127, 0, 0, 1], 0).into(), WireFactory::Line)
        };
        let [first, second] = [(); 2].map(|()| {
            let mut reactor =
                Reactor::<()>::in_group(ReactorConfig::default(), &group).expect("one");
            let id = reactor.listen(config()).expect("a free port");
            (reactor, id.0 as usize)
        });
        let judge = |(reactor, key): &(Reactor<()>, usize)| {
            let mut marks = Flags::NONE;
            marks.insert(Mark::Counted);
            reactor
                .core
                .judge(*key, ([192, 0, 2, 1], 9_001).into(), marks)
        };
        assert_eq!(judge(&first), Ok(()));
        assert_eq!(judge(&second), Err(Refusal::Open));
        assert_eq!(group.len(), 1);
    }
}
