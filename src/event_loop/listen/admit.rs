//! A new connection is checked against the limits: accepted, perhaps in place of an older one, or
//! refused.

use std::net::IpAddr;

use super::admission::Room;
use super::adoption::Arrival;
use super::listener::Listener;
use super::newcomer::Newcomer;
use super::refusal::Refusal;
use crate::close::{Cause, Evidence, Phase};
use crate::config::WireKind;
use crate::event_loop::conn::{Mark, Ready};
use crate::event_loop::context::Context;
use crate::event_loop::core::EventLoop;
use crate::event_loop::endpoint::Endpoint;
use crate::event_loop::handler::{Handler, Rejected};
use crate::event_loop::history::Ended;
use crate::event_loop::token::{ConnId, ListenerId};
use crate::event_loop::wire_factory::Contact;
use crate::peer::PeerAddr;
use crate::proto::flags::Flags;
use crate::proto::session::Session;
use crate::proto::wire::Role;
use crate::sys::{Layer, System, Transport};

impl<D: Default, S: System> EventLoop<D, S> {
    /// Notes that an address has used up its share. There is one log line for each episode.
    pub(super) fn note_crowding(&self, id: ListenerId, ip: IpAddr, room: usize) {
        let Some(listener) = self.listeners.get(id) else {
            return;
        };
        if !self.group.note_crowding(self.now.at) {
            return;
        }
        let held = self.group.arrivals().addresses.tally(ip).open;
        log::warn!(
            "refusing more connections from {ip} on {}: it holds {held} of {room}, its full share \
             (share_per_address); if all clients come through your own proxy, name it as a trusted one",
            listener.name()
        );
    }

    /// Notes why somebody is refused, if an operator should know.
    fn note_refusal(&mut self, id: ListenerId, refusal: Refusal, ip: Option<IpAddr>, room: usize) {
        match refusal {
            Refusal::Full => {
                let what = "connections are held, all that there is room for";
                self.note_shortage(id, format_args!("{room} {what}; newcomers are refused"));
            }
            Refusal::Share => {
                if let Some(ip) = ip {
                    self.note_crowding(id, ip, room);
                }
            }
            Refusal::Draining
            | Refusal::Closed
            | Refusal::Unwatched
            | Refusal::Unsealed
            | Refusal::Rate
            | Refusal::HalfOpen
            | Refusal::Open
            | Refusal::AddressRate => {}
        }
    }

    pub(super) fn admit<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        listener: ListenerId,
        arrival: Arrival<D, S::Socket>,
        room: usize,
    ) {
        self.env.stats.accepted += 1;
        let peer = arrival.peer.clone();
        let mut newcomer = match self.size_up(listener, arrival) {
            Ok(newcomer) => newcomer,
            Err(refusal) => {
                return self.report_refused(handler, peer, listener.into(), refusal);
            }
        };
        let judged = match self.listeners.get(listener) {
            Some(terms) => self.judge(terms, listener, newcomer.ip, newcomer.marks, room),
            None => Err(Refusal::Closed),
        };
        if let Err(refusal) = judged {
            self.note_refusal(listener, refusal, newcomer.ip, room);
            if !newcomer.may_be_guest || !self.make_room_for_guest(handler, refusal) {
                return self.turn_away(handler, newcomer, refusal);
            }
            let policy = self.listeners.get(listener).map(Listener::policy);
            if policy != Some(newcomer.policy) {
                // A callback of those who made room has closed or changed its listener.
                drop(newcomer);
                return self.report_refused(handler, peer, listener.into(), Refusal::Closed);
            }
            newcomer.marks = Flags::NONE;
            newcomer.is_guest = true;
            // Until it has its slot.
            self.group.enter(usize::MAX);
        }
        self.seat(handler, newcomer);
    }

    /// Sees what somebody who comes is, and what counts for it.
    fn size_up(
        &self,
        id: ListenerId,
        arrival: Arrival<D, S::Socket>,
    ) -> Result<Newcomer<D, S>, Refusal> {
        let peer = &arrival.peer;
        let listener = self.listeners.get(id).ok_or(Refusal::Closed)?;
        let wire = listener.make_wire(&Contact::new(peer.clone(), id.into()));
        let layer = self.system.layer(Role::Server, listener.seal());
        let layer = layer.map_err(|error| {
            log::warn!("could not begin TLS on {}: {error}", listener.name());
            Refusal::Unsealed
        })?;
        let (admission, proxies) = (listener.admission(), listener.proxies());
        let expects_header = !arrival.is_adopted && proxies.expect_header(peer.ip());
        // A proxy comes for many: who is behind it is counted once that is known.
        let is_proxy = expects_header || peer.ip().is_some_and(|ip| proxies.trust(ip));
        // Who comes by a Unix socket has no address that could be limited.
        let ip = peer.ip().filter(|_| !is_proxy);
        let shakes_hands = arrival.opened.is_none() && (wire.has_handshake() || layer.is_some());
        let mut marks = Flags::NONE;
        marks.set(
            Mark::HalfOpen,
            ip.is_some() && admission.counts_half_open() && shakes_hands,
        );
        marks.set(Mark::Counted, ip.is_some_and(|ip| admission.counts(ip)));
        Ok(Newcomer {
            listener: id,
            wire,
            layer,
            policy: listener.policy(),
            ip,
            marks,
            expects_header,
            may_be_guest: listener.takes_guests() && !arrival.is_adopted,
            is_guest: false,
            arrival,
        })
    }

    /// Tells somebody why it is not let in, as far as that goes.
    fn turn_away<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        mut newcomer: Newcomer<D, S>,
        refusal: Refusal,
    ) {
        let wire = newcomer.wire.kind();
        self.look_at_calendar();
        let transport = Transport {
            socket: &mut newcomer.arrival.socket,
            layer: newcomer.layer.as_mut(),
        };
        match newcomer.arrival.opened {
            Some(_) => refusal.tell_open(transport, wire, &mut self.env),
            None => refusal.tell(transport, wire, &mut self.env),
        }
        let peer = newcomer.arrival.peer.clone();
        let endpoint = newcomer.listener.into();
        drop(newcomer);
        self.report_refused(handler, peer, endpoint, refusal);
    }

    /// Gives somebody a slot, and begins with it.
    fn seat<C, H: Handler<C, S, Data = D>>(&mut self, handler: &mut H, newcomer: Newcomer<D, S>) {
        let Newcomer {
            listener: listener_id,
            arrival,
            wire,
            layer,
            policy,
            ip,
            marks,
            expects_header,
            is_guest,
            ..
        } = newcomer;
        let peer = arrival.peer;
        let phase = self.next_phase();
        let is_open = layer.as_ref().is_none_or(Layer::is_open);
        let mut session = match is_open && !expects_header {
            true if arrival.opened.is_some() => {
                Session::resumed(&mut self.env, policy, wire, phase, self.now)
            }
            true => Session::accepted(&mut self.env, policy, wire, phase, self.now),
            false => Session::admitted(&mut self.env, policy, wire, phase, self.now),
        };
        match layer {
            None => session.put_back(&mut self.env, &arrival.received),
            Some(mut layer) => {
                layer.put_back(&arrival.received);
                session.keep_aside(self.now, Box::new(layer));
            }
        }
        let endpoint = listener_id.into();
        let id = match self.insert(arrival.socket, session, peer.clone(), endpoint, marks) {
            Ok(id) => id,
            Err(error) => {
                log::warn!("could not register a connection from {peer}: {error}");
                self.leave_counts(ip, marks);
                return self.report_refused(handler, peer, endpoint, Refusal::Unwatched);
            }
        };
        if let Some(listener) = self.listeners.get_mut(listener_id) {
            listener.enter();
        }
        self.conns[id.index()].ready.insert(Ready::Writable);
        if is_guest {
            self.group.leave();
            self.guests.enter(id);
        }
        if expects_header {
            self.proxied.expect(id.index());
        }
        if let (true, Some(ip)) = (marks.has(Mark::HalfOpen), ip) {
            // It has its place before a callback runs, which may panic, or close the listener.
            self.waiting.enter(ip, id);
            self.make_way(handler, listener_id, ip, id);
        }
        if !arrival.received.is_empty() && self.conns[id.index()].layer().is_none() {
            // No event will tell of what was read before.
            self.carry(id.index());
        }
        if self.conn(id).is_some_and(|conn| conn.session.has_output()) {
            // What a codec says first.
            self.mark_dirty(id.index());
        }
        self.begin(handler, id, arrival.opened);
    }

    /// Takes a connection that came to nothing out of the counts of its address.
    fn leave_counts(&self, ip: Option<IpAddr>, marks: Flags<Mark>) {
        let Some(ip) = ip else { return };
        let addresses = &mut self.group.arrivals().addresses;
        if marks.has(Mark::HalfOpen) {
            addresses.leave_half_open(ip, self.now.at);
        }
        if marks.has(Mark::Counted) {
            addresses.leave_open(ip, self.now.at);
        }
    }

    /// Ends the oldest opening handshake of an address, because a newer one takes its place: idle
    /// connections must not keep others out. If the oldest has unread bytes, it is read first. If
    /// its answer is leaving, it does not count. If all of them are in other loops, none is closed;
    /// so each of those loops may have one more.
    pub(in crate::event_loop) fn make_way<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        listener: ListenerId,
        ip: IpAddr,
        newcomer: ConnId,
    ) {
        while self.is_crowded(listener, ip) {
            let (conns, names) = (&self.conns, self.names);
            let waits = |id| Self::is_half_open(conns, names, id);
            let oldest = self.waiting.oldest(ip, waits);
            let Some(id) = oldest.filter(|&id| id != newcomer) else {
                return;
            };
            let key = id.index();
            let conn = &mut self.conns[key];
            if conn.session.phase() == Phase::Connecting {
                self.finish_connect(handler, id);
            } else if conn.session.phase() == Phase::Handshaking && conn.has_waiting_bytes() {
                conn.ready.insert(Ready::Readable);
                self.read(handler, id);
            }
            if !Self::is_half_open(&self.conns, self.names, id) {
                continue;
            }
            let session = &self.conns[key].session;
            // What a codec says in its handshake is no answer that ends it.
            let is_greeting =
                session.phase() == Phase::Handshaking && session.wire() == WireKind::Own;
            if is_greeting || !session.has_output() {
                return self.end_half_open(key, Refusal::HalfOpen);
            }
            // The limits on its answer or goodbye and on the connections of its address bound it.
            self.leave_half_open(key);
        }
    }

    /// Counts an open connection as half-open, if its listener counts those. Returns its address then. A proxy
    /// that speaks for itself is not counted, as when it came.
    pub(in crate::event_loop) fn enter_half_open(
        &mut self,
        listener: ListenerId,
        key: usize,
    ) -> Option<IpAddr> {
        let listener = self.listeners.get(listener)?;
        let conn = &mut self.conns[key];
        let peer = self.peers.addr(conn.peer);
        let (ip, proxies) = (peer.ip()?, listener.proxies());
        let is_proxy =
            peer.proxy().is_none() && (proxies.expect_header(Some(ip)) || proxies.trust(ip));
        let is_counted = !is_proxy
            && listener.admission().counts_half_open()
            && self
                .group
                .arrivals()
                .addresses
                .enter_half_open(ip, self.now.at);
        if is_counted {
            conn.marks.insert(Mark::HalfOpen);
        }
        is_counted.then_some(ip)
    }

    fn is_crowded(&self, listener: ListenerId, ip: IpAddr) -> bool {
        let addresses = &self.group.arrivals().addresses;
        let listener = self.listeners.get(listener);
        listener.is_some_and(|listener| listener.admission().is_crowded(ip, addresses))
    }

    pub(super) fn end_half_open(&mut self, key: usize, refusal: Refusal) {
        self.look_at_calendar();
        let conn = &mut self.conns[key];
        if conn.session.phase() == Phase::Handshaking {
            // Between two requests there is nothing to answer.
            if !conn.session.is_between_requests() {
                let wire = conn.session.wire();
                refusal.tell(conn.transport(), wire, &mut self.env);
            }
            conn.session
                .turn_away(&mut self.env, self.now, refusal.reason());
            // Many may wait to be reaped, and none needs what it has said.
            let mut ring = conn.session.take_input(&mut self.env);
            ring.consume(ring.len());
            conn.session.put_input(&mut self.env, ring);
        } else {
            // It has its answer, and has yet to go.
            conn.session.end(self.now, Cause::Refused, None);
        }
        self.leave_half_open(key);
        self.mark_dirty(key);
    }

    /// Checks a new connection against the limits and takes a place for it at once, because other
    /// loops judge at the same time. Returns whether its address has too many half-open
    /// connections.
    fn judge(
        &self,
        listener: &Listener<S::Listener>,
        id: ListenerId,
        ip: Option<IpAddr>,
        marks: Flags<Mark>,
        room: usize,
    ) -> Result<(), Refusal> {
        if self.drain.is_some() {
            return Err(Refusal::Draining);
        }
        let Some(held) = self.group.enter(room) else {
            return Err(Refusal::Full);
        };
        let room = Room {
            all: room,
            left: room - held,
        };
        let now = self.now.at;
        let arrivals = &mut *self.group.arrivals();
        let paid = arrivals.rates.of(id);
        listener
            .admission()
            .judge(ip, now, &mut arrivals.addresses, paid, room)
            .inspect_err(|_| self.group.leave())?;
        if let Some(ip) = ip {
            let (counted, half_open) = (marks.has(Mark::Counted), marks.has(Mark::HalfOpen));
            arrivals.addresses.enter(ip, now, counted, half_open);
        }
        Ok(())
    }

    /// Reports a connection that was refused before it had a slot.
    pub(super) fn report_refused<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        peer: PeerAddr,
        endpoint: Endpoint,
        refusal: Refusal,
    ) {
        self.env.stats.rejected += 1;
        self.env.stats.count_end(Cause::Refused);
        let mut evidence = Evidence::new(Cause::Refused, Phase::Handshaking);
        evidence.loop_delay = self.env.lateness.delay(self.now.at).into();
        log::debug!("{peer} was refused, {}: {evidence}", refusal.reason());
        self.history.push(Ended {
            at: self.now.at.into(),
            id: None,
            peer: peer.clone(),
            endpoint,
            was_open: false,
            status: None,
            evidence,
        });
        let rejected = Rejected {
            id: None,
            peer,
            endpoint,
            evidence: &evidence,
            reason: refusal.reason(),
        };
        handler.on_rejected(&mut Context::new(self), rejected);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AdmissionConfig, ReactorConfig};
    use crate::reactor::{Group, ListenerConfig, Reactor, WireFactory};

    #[cfg(feature = "websocket")]
    mod ways {
        use std::io::Write;
        use std::net::{SocketAddr, TcpStream as Client};
        use std::time::{Duration, Instant};

        use super::*;

        /// Counts who opens.
        struct Opened(usize);

        impl Handler for Opened {
            type Data = ();

            fn on_open(&mut self, _: &mut Context<'_, ()>, _: ConnId) {
                self.0 += 1;
            }
        }

        /// Listens where an address may have two opening handshakes at once.
        fn with_two() -> (Reactor, SocketAddr) {
            let mut reactor = Reactor::new(ReactorConfig::default()).expect("a selector");
            let config = ListenerConfig {
                admission: AdmissionConfig {
                    half_open_per_address: Some(2),
                    ..AdmissionConfig::default()
                },
                ..ListenerConfig::new(([127, 0, 0, 1], 0).into(), WireFactory::WebSocket)
            };
            let listener = reactor.listen(config).expect("a free port");
            let addr = reactor.local_addr(listener).expect("it listens");
            (reactor, addr)
        }

        fn dial(addr: SocketAddr, request: &str) -> Client {
            let mut client = Client::connect(addr).expect("it listens");
            client.write_all(request.as_bytes()).expect("it has room");
            client
        }

        #[track_caller]
        fn drive(
            reactor: &mut Reactor,
            opened: &mut Opened,
            until: impl Fn(&Reactor, &Opened) -> bool,
        ) {
            let deadline = Instant::now() + Duration::from_secs(20);
            while !until(reactor, opened) {
                assert!(Instant::now() < deadline, "gave up: {:?}", reactor.stats());
                let limit = Some(Duration::from_millis(20));
                reactor.turn(opened, limit).expect("the selector works");
            }
        }

        /// All of them come in one batch, each with its request right behind it.
        #[test]
        fn whose_request_lies_unread_makes_no_way() {
            let (mut reactor, addr) = with_two();
            let request = format!(
                "GET / HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            );
            let clients = [(); 5].map(|()| dial(addr, &request));
            let mut opened = Opened(0);
            drive(&mut reactor, &mut opened, |reactor, opened| {
                opened.0 as u64 + reactor.stats().rejected == 5
            });
            assert_eq!((opened.0, reactor.stats().rejected), (clients.len(), 0));
        }

        #[test]
        fn nobody_makes_way_for_the_sake_of_one_that_has_ended() {
            let (mut reactor, addr) = with_two();
            let mut opened = Opened(0);
            let _waits = dial(addr, "GET / HT");
            drive(&mut reactor, &mut opened, |reactor, _| reactor.len() == 1);
            let leaves = dial(addr, "");
            drive(&mut reactor, &mut opened, |reactor, _| reactor.len() == 2);
            // Its end and a newcomer are seen in one turn.
            drop(leaves);
            let ended = |reactor: &Reactor| {
                let mut conns = reactor.core.conns.iter();
                conns.any(|(_, conn)| conn.socket.peek(&mut [0]).is_ok_and(|len| len == 0))
            };
            let deadline = Instant::now() + Duration::from_secs(20);
            while !ended(&reactor) {
                assert!(Instant::now() < deadline, "its end does not come");
                std::thread::yield_now();
            }
            let _comes = dial(addr, "GET");
            drive(&mut reactor, &mut opened, |reactor, _| {
                reactor.stats().accepted == 3 && reactor.stats().rejected > 0
            });
            assert_eq!((reactor.len(), reactor.stats().rejected), (2, 1));
        }
    }

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
            (reactor, id)
        });
        let judge = |(reactor, id): &(Reactor<()>, ListenerId)| {
            let mut marks = Flags::NONE;
            marks.insert(Mark::Counted);
            let core = &reactor.core;
            let listener = core.listeners.get(*id).expect("it listens");
            core.judge(listener, *id, Some([192, 0, 2, 1].into()), marks, 10)
        };
        assert_eq!(judge(&first), Ok(()));
        assert_eq!(judge(&second), Err(Refusal::Open));
        assert_eq!(group.len(), 1);
    }
}
