//! Dialing: names looked up elsewhere, connections begun here, and what follows when one ends.

use std::thread;

use super::client::{Client, ClientEvent, ClientState, DialError, resolve};
use super::conn::{Mark, Ready};
use super::context::Context;
use super::core::{Core, News, Told};
use super::handler::{Handler, Origin};
use super::socket;
use super::token::{ClientId, ConnId};
use crate::close::{Cause, Phase};
use crate::proto::flags::Flags;
use crate::proto::session::Session;
use crate::proto::time::Micros;

impl<D: Default> Core<D> {
    /// Begins every dial that is due, and tells who was stopped before its dial.
    pub(super) fn dial_due<H: Handler<Data = D>>(&mut self, handler: &mut H) {
        while let Some(id) = self.stopped.pop() {
            self.clients.remove(id);
            handler.on_client(&mut Context::new(self), id, ClientEvent::Stopped);
        }
        while let Some(&(due, id)) = self.dials.first()
            && due <= self.now.at
        {
            self.dials.pop_first();
            self.begin_attempt(handler, id);
        }
        while let Some((addr, id)) = self.lanes.first_ready() {
            let client = self.clients.get(id);
            let is_waiting = client.is_some_and(|client| client.state == ClientState::Queued);
            if !is_waiting || !self.dial_now(handler, id) {
                self.lanes.leave(addr);
            }
            self.lanes.done();
        }
    }

    /// Takes up what looking names up has brought.
    pub(super) fn take_resolved<H: Handler<Data = D>>(&mut self, handler: &mut H) {
        if !self.looked_up {
            return;
        }
        while let Ok((id, addrs)) = self.resolved.1.try_recv() {
            let Some(client) = self.clients.get_mut(id) else {
                continue;
            };
            if client.state != ClientState::Resolving {
                continue;
            }
            client.addrs = addrs.into_iter().rev().collect();
            if client.addrs.is_empty() {
                let error = DialError::NameNotFound(client.config.host.clone());
                self.attempt_failed(handler, id, error);
            } else {
                self.dial_next(handler, id);
            }
        }
        self.looked_up = false;
    }

    /// Goes on with a client whose callback panicked in the last turn.
    pub(super) fn follow_up<H: Handler<Data = D>>(&mut self, handler: &mut H, told: Told) {
        let id = told.client;
        match told.news {
            News::Dialing => self.retry(handler, id, None, None),
            News::Failed(error) => self.retry(handler, id, Some(&error), None),
            News::Ended { was_open, evidence } => {
                self.client_ended(handler, id, was_open, &evidence);
            }
        }
    }

    /// Calls the handler, so that the client is seen to in the next turn if it panics.
    fn tell<H: Handler<Data = D>>(
        &mut self,
        handler: &mut H,
        client: ClientId,
        event: ClientEvent,
        news: News,
    ) {
        self.told = Some(Told { client, news });
        handler.on_client(&mut Context::new(self), client, event);
        self.told = None;
    }

    /// Follows up on a client's connection that has ended, opened or not.
    pub(super) fn client_ended<H: Handler<Data = D>>(
        &mut self,
        handler: &mut H,
        id: ClientId,
        was_open: bool,
        evidence: &crate::close::Evidence,
    ) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        if was_open {
            client.error = None;
            client.addrs.clear();
            client.backoff.handle_close(self.now.at);
            self.retry(handler, id, None, Some(evidence.cause));
        } else {
            let error = client
                .error
                .take()
                .unwrap_or_else(|| DialError::of_end(evidence));
            let is_tcp = evidence.phase == Phase::Connecting;
            if is_tcp && !client.addrs.is_empty() {
                self.dial_next(handler, id);
            } else {
                self.attempt_failed(handler, id, error);
            }
        }
    }

    /// Finds out at once, after the machine has slept, which clients still have a peer: what they hold is
    /// probed, and what they wait for is dialed without the delays that have added up.
    pub(super) fn wake_from_sleep(&mut self, span: Micros) {
        log::info!("the machine has slept for {span:?}: every client probes or dials now");
        self.env.stats.sleeps += 1;
        for id in self.clients.ids() {
            let Some(client) = self.clients.get_mut(id) else {
                continue;
            };
            client.backoff.handle_sleep();
            match client.state {
                ClientState::Waiting(due) => {
                    self.dials.remove(&(due, id));
                    let random = self.env.random();
                    let delay = self.clients[id].backoff.next_delay(random);
                    self.schedule_dial(id, delay);
                }
                ClientState::Active(conn) => self.probe(conn),
                ClientState::Queued | ClientState::Resolving | ClientState::Stopped => {}
            }
        }
    }

    fn probe(&mut self, id: ConnId) {
        Context::new(self).ping(id);
    }

    fn begin_attempt<H: Handler<Data = D>>(&mut self, handler: &mut H, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        client.error = None;
        if let Some(addr) = client.literal() {
            client.addrs = vec![addr];
            self.dial_next(handler, id);
        } else {
            client.state = ClientState::Resolving;
            self.look_up(handler, id);
        }
    }

    /// Looks a name up on a thread of its own: the system's resolver blocks.
    fn look_up<H: Handler<Data = D>>(&mut self, handler: &mut H, id: ClientId) {
        let Client { config, .. } = &self.clients[id];
        let (host, port) = (config.host.clone(), config.port);
        let (sender, waker) = (self.resolved.0.clone(), self.waker.clone());
        let spawned = thread::Builder::new()
            .name("heartwheel-resolve".into())
            .spawn(move || {
                // Without its receiver the reactor is gone, and nobody asks any more.
                if sender.send((id, resolve(&host, port))).is_ok()
                    && let Err(error) = waker.wake()
                {
                    log::warn!("could not wake the loop: {error}");
                }
            });
        if let Err(error) = spawned {
            self.attempt_failed(handler, id, DialError::from(&error));
        }
    }

    /// Dials the next address, or queues for it.
    fn dial_next<H: Handler<Data = D>>(&mut self, handler: &mut H, id: ClientId) {
        let client = &mut self.clients[id];
        let next = client.addrs.last().copied();
        match next.filter(|_| client.takes_turns()) {
            Some(addr) => {
                client.state = ClientState::Queued;
                self.lanes.join(addr, id);
            }
            None => drop(self.dial_now(handler, id)),
        }
    }

    /// Dials the next address; says whether it is on its way. If not, what follows from that has been
    /// seen to.
    fn dial_now<H: Handler<Data = D>>(&mut self, handler: &mut H, id: ClientId) -> bool {
        let client = &mut self.clients[id];
        let Some(addr) = client.addrs.pop() else {
            return false;
        };
        let attempt = client.backoff.attempts().saturating_add(1);
        // No connection yet: a callback that stops the client now finds none to close.
        client.state = ClientState::Resolving;
        let event = ClientEvent::Dialing { attempt, addr };
        self.tell(handler, id, event, News::Dialing);
        if self.clients[id].state == ClientState::Stopped {
            return false;
        }
        if !self.group.enter(self.config.max_connections) {
            self.attempt_failed(handler, id, DialError::Full);
            return false;
        }
        let dialed = socket::dial(addr).inspect_err(|_| self.group.leave());
        let dialed = dialed.and_then(|socket| {
            self.refresh_now();
            let client = &self.clients[id];
            let (policy, wire) = (client.policy, client.config.wire.make());
            let phase = self.next_phase();
            let session = Session::dialed(&self.env, policy, wire, phase, self.now);
            let mut marks = Flags::NONE;
            marks.set(Mark::HalfOpen, self.clients[id].takes_turns());
            self.insert(socket, session, addr, Origin::Client(id), marks)
        });
        match dialed {
            Ok(conn) => {
                self.env.stats.dialed += 1;
                self.clients[id].state = ClientState::Active(conn);
                return true;
            }
            Err(error) if !self.clients[id].addrs.is_empty() => {
                log::debug!("dialing {addr} failed: {error}");
                self.dial_next(handler, id);
            }
            Err(error) => self.attempt_failed(handler, id, DialError::from(&error)),
        }
        false
    }

    fn attempt_failed<H: Handler<Data = D>>(
        &mut self,
        handler: &mut H,
        id: ClientId,
        error: DialError,
    ) {
        let event = ClientEvent::Failed {
            error: error.clone(),
        };
        self.tell(handler, id, event, News::Failed(error.clone()));
        self.retry(handler, id, Some(&error), None);
    }

    fn retry<H: Handler<Data = D>>(
        &mut self,
        handler: &mut H,
        id: ClientId,
        error: Option<&DialError>,
        cause: Option<Cause>,
    ) {
        let random = self.env.random();
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        if client.state == ClientState::Stopped {
            // A callback stopped it just now; it is on the list of those still to be told.
            return;
        }
        let event = match client.retry_delay(error, cause, random) {
            Some(delay) => {
                self.schedule_dial(id, delay);
                ClientEvent::Waiting { delay }
            }
            None => {
                self.clients.remove(id);
                ClientEvent::Stopped
            }
        };
        handler.on_client(&mut Context::new(self), id, event);
    }

    /// Learns what came of a dial: writable, no pending error and a peer address mean connected.
    pub(super) fn finish_connect<H: Handler<Data = D>>(&mut self, handler: &mut H, id: ConnId) {
        let now = self.now;
        let Some(conn) = self.conn_mut(id) else {
            return;
        };
        let outcome = match conn.socket.take_error() {
            Ok(Some(error)) | Err(error) => Err(error),
            Ok(None) => conn.socket.peer_addr().map(drop),
        };
        match outcome {
            Ok(()) => self.connected(handler, id),
            // An event is a hint: not connected yet.
            Err(error) if error.kind() == std::io::ErrorKind::NotConnected => {}
            Err(error) => {
                conn.session
                    .handle_io_error(now, error.raw_os_error(), false);
                self.mark_dirty(id.index());
            }
        }
    }

    fn connected<H: Handler<Data = D>>(&mut self, handler: &mut H, id: ConnId) {
        let key = id.index();
        let request = self.opening_request(id);
        let conn = &mut self.conns[key];
        conn.ready.insert(Ready::Writable);
        conn.session
            .handle_connected(&mut self.env, self.now, &request);
        self.mark_dirty(key);
        if self.conns[key].session.phase() == Phase::Open {
            self.offer_plain(handler, id);
        }
    }

    #[cfg(not(feature = "websocket"))]
    fn opening_request(&self, _id: ConnId) -> Vec<u8> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};
    use std::time::Duration;

    use super::*;
    use crate::config::ReactorConfig;
    use crate::reactor::{ClientConfig, Reactor, WireFactory};

    /// Keeps what became of a client.
    #[derive(Default)]
    struct Log {
        dialed: Vec<SocketAddr>,
        opened: bool,
        stopped: bool,
    }

    impl Handler for Log {
        type Data = ();

        fn on_open(&mut self, cx: &mut Context<'_, ()>, _: ConnId) {
            self.opened = true;
            cx.stop();
        }

        fn on_client(&mut self, cx: &mut Context<'_, ()>, _: ClientId, event: ClientEvent) {
            match event {
                ClientEvent::Dialing { addr, .. } => self.dialed.push(addr),
                ClientEvent::Stopped => {
                    self.stopped = true;
                    cx.stop();
                }
                ClientEvent::Failed { .. } | ClientEvent::Waiting { .. } => {}
            }
        }
    }

    /// Makes a client that dials once, and whose name has just been found to have these addresses.
    fn resolved(addrs: &[SocketAddr]) -> (Reactor, ClientId) {
        let mut reactor = Reactor::new(ReactorConfig::default()).expect("a selector");
        let client = ClientConfig {
            reconnect: None,
            ..ClientConfig::new("two.example", 1, WireFactory::Line)
        };
        let id = reactor.connect(client).expect("a sound configuration");
        reactor.core.dials.clear();
        reactor.core.clients[id].state = ClientState::Resolving;
        reactor
            .core
            .resolved
            .0
            .send((id, addrs.to_vec()))
            .expect("the reactor is there");
        reactor.core.waker.wake().expect("the selector is there");
        (reactor, id)
    }

    fn closed_port() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("a port")
    }

    /// Panics when it hears of a dial for the first time; counts the words of other threads.
    #[derive(Default)]
    struct Fragile {
        dials: u32,
        notified: u32,
    }

    impl Handler for Fragile {
        type Data = ();

        fn on_client(&mut self, _: &mut Context<'_, ()>, _: ClientId, event: ClientEvent) {
            if matches!(event, ClientEvent::Dialing { .. }) {
                self.dials += 1;
                assert!(self.dials > 1, "on purpose");
            }
        }

        fn on_notify(&mut self, _: &mut Context<'_, ()>, _: u64) {
            self.notified += 1;
        }
    }

    #[test]
    fn a_panic_while_names_are_taken_in_leaves_no_other_thread_unheard() {
        let (mut reactor, _) = resolved(&[closed_port()]);
        let remote = reactor.remote();
        remote.notify(1).expect("there is room");
        let mut fragile = Fragile::default();
        for notified in 1..=3 {
            for _ in 0..1_000 {
                let zero = Some(Duration::ZERO);
                let turn = || reactor.turn(&mut fragile, zero).map(drop);
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(turn))
                    .unwrap_or(Ok(()))
                    .expect("the selector works");
                if fragile.notified == notified {
                    break;
                }
            }
            assert_eq!((fragile.notified, fragile.dials), (notified, 1));
            remote.notify(1).expect("there is room");
        }
    }

    #[test]
    fn a_client_that_dials_once_tries_every_address_of_the_name() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addrs = [closed_port(), listener.local_addr().expect("a port")];
        let (mut reactor, _) = resolved(&addrs);
        let mut log = Log::default();
        reactor.run(&mut log).expect("the selector works");
        assert_eq!(log.dialed, addrs);
        assert!(log.opened && !log.stopped);
    }

    #[test]
    fn a_client_that_is_disconnected_tries_no_further_address() {
        let addrs = [closed_port(), closed_port()];
        let (mut reactor, id) = resolved(&addrs);
        let mut log = Log::default();
        while log.dialed.is_empty() {
            let limit = Some(Duration::from_secs(1));
            reactor.turn(&mut log, limit).expect("the selector works");
        }
        reactor.context().disconnect(id);
        while !log.stopped {
            let limit = Some(Duration::from_secs(1));
            reactor.turn(&mut log, limit).expect("the selector works");
        }
        assert_eq!(log.dialed, addrs[..1]);
    }
}
