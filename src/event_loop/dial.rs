//! Dialing: names looked up elsewhere, connections begun here, and what follows when one ends.

use std::net::SocketAddr;

use super::client::{ClientEvent, ClientState, DialError};
use super::conn::{Mark, Ready};
use super::context::Context;
use super::core::EventLoop;
use super::endpoint::Endpoint;
use super::handler::Handler;
use super::in_hand::{News, Told};
use super::token::{ClientId, ConnId};
use crate::close::{Cause, Phase};
use crate::proto::flags::Flags;
use crate::proto::session::Session;
use crate::proto::time::Micros;
use crate::sys::{Asker, Socket, System};

impl<D: Default, S: System> EventLoop<D, S> {
    /// Begins every dial that is due, and tells who was stopped before its dial.
    pub(super) fn dial_due<H: Handler<S, Data = D>>(&mut self, handler: &mut H) {
        while let Some(id) = self.stopped.pop() {
            self.forget_client(id);
            handler.on_client(&mut Context::new(self), id, ClientEvent::Stopped);
        }
        self.end_look_ups(handler);
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
    pub(super) fn take_resolved<H: Handler<S, Data = D>>(&mut self, handler: &mut H) {
        if !self.looked_up {
            return;
        }
        while let Some((Asker(id), found)) = self.system.next_found(self.now.at) {
            let id = ClientId(id);
            let Some(client) = self.clients.get_mut(id) else {
                continue;
            };
            // It may have given up meanwhile, and ask for another name now.
            if client.host() != found.name {
                continue;
            }
            if let Some(ends) = client.look_up_ends.take() {
                self.look_ups.remove(&(ends, id));
                self.resolved(handler, id, &found.addrs);
            }
        }
        self.looked_up = false;
    }

    /// Goes on with a client whose callback panicked in the last turn.
    pub(super) fn follow_up<H: Handler<S, Data = D>>(&mut self, handler: &mut H, told: Told) {
        let id = told.client;
        match told.news {
            News::Dialing => self.retry(handler, id, None, None),
            News::Failed(error) => self.retry(handler, id, Some(&error), None),
            #[cfg(feature = "websocket")]
            News::Redirected => self.go_there(handler, id),
            News::Ended { was_open, evidence } => {
                self.client_ended(handler, id, was_open, &evidence);
            }
        }
    }

    /// Calls the handler, so that the client is seen to in the next turn if it panics.
    fn tell<H: Handler<S, Data = D>>(
        &mut self,
        handler: &mut H,
        client: ClientId,
        event: ClientEvent,
        news: News,
    ) {
        self.in_hand.begin_telling(client, news);
        handler.on_client(&mut Context::new(self), client, event);
        self.in_hand.end_telling();
    }

    fn resolved<H: Handler<S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ClientId,
        addrs: &[SocketAddr],
    ) {
        let client = &mut self.clients[id];
        let port = client.port();
        let with_port = |addr: &SocketAddr| {
            let mut addr = *addr;
            addr.set_port(port);
            addr
        };
        client.addrs = addrs.iter().rev().map(with_port).collect();
        if client.addrs.is_empty() {
            let error = DialError::NameNotFound(client.host().to_owned());
            self.attempt_failed(handler, id, error);
        } else {
            self.dial_next(handler, id);
        }
    }

    /// Ends the attempts whose name has not been found in time.
    fn end_look_ups<H: Handler<S, Data = D>>(&mut self, handler: &mut H) {
        let is_due = |core: &Self| {
            let now = core.now.at;
            core.look_up_ends(now).is_some_and(|ends| ends <= now)
        };
        if is_due(self) {
            // What was found is not too late, if only we come to it late.
            self.looked_up = true;
            self.take_resolved(handler);
        }
        while is_due(self)
            && let Some((_, id)) = self.look_ups.pop_first()
        {
            let client = &mut self.clients[id];
            client.look_up_ends = None;
            self.system.give_up_name(client.host(), Asker(id.0));
            self.attempt_failed(handler, id, DialError::Timeout(Cause::ConnectTimeout));
        }
    }

    /// Follows up on a client's connection that has ended, opened or not.
    pub(super) fn client_ended<H: Handler<S, Data = D>>(
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
            } else if let Some(error) = self.follow(handler, id, error) {
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

    fn begin_attempt<H: Handler<S, Data = D>>(&mut self, handler: &mut H, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        client.begin_attempt();
        self.find_address(handler, id);
    }

    /// Finds out what to dial, and dials it.
    fn find_address<H: Handler<S, Data = D>>(&mut self, handler: &mut H, id: ClientId) {
        let client = &mut self.clients[id];
        if let Some(addr) = client.literal() {
            client.addrs = vec![addr];
            return self.dial_next(handler, id);
        }
        client.state = ClientState::Resolving;
        let asked = self.system.look_up(client.host(), Asker(id.0), self.now.at);
        match asked {
            Ok(Some(found)) => self.resolved(handler, id, &found.addrs),
            Ok(None) => {
                let connect = self.env.policy(client.policy).timing.connect;
                let ends = self.now.at + Micros::from_millis(connect.into());
                client.look_up_ends = Some(ends);
                self.look_ups.insert((ends, id));
            }
            Err(error) => self.attempt_failed(handler, id, DialError::from(&error)),
        }
    }

    /// Goes where the server sends a client, if it may; else returns what its attempt failed with.
    #[cfg(feature = "websocket")]
    fn follow<H: Handler<S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ClientId,
        error: DialError,
    ) -> Option<DialError> {
        let client = &mut self.clients[id];
        if client.state == ClientState::Stopped {
            return Some(error);
        }
        let (code, to) = match client.follow(error) {
            Ok(followed) => followed,
            Err(error) => return Some(error),
        };
        // No connection yet: a callback that stops the client now finds none to close.
        client.state = ClientState::Resolving;
        client.addrs.clear();
        let event = ClientEvent::Redirected { code, to };
        self.tell(handler, id, event, News::Redirected);
        self.go_there(handler, id);
        None
    }

    /// Goes where a redirect leads, unless the client was stopped when it heard of that.
    #[cfg(feature = "websocket")]
    fn go_there<H: Handler<S, Data = D>>(&mut self, handler: &mut H, id: ClientId) {
        let client = self.clients.get(id);
        if client.is_some_and(|client| client.state == ClientState::Resolving) {
            self.find_address(handler, id);
        }
    }

    #[cfg(not(feature = "websocket"))]
    fn follow<H: Handler<S, Data = D>>(
        &self,
        _handler: &mut H,
        _id: ClientId,
        error: DialError,
    ) -> Option<DialError> {
        Some(error)
    }

    /// Dials the next address, or queues for it.
    fn dial_next<H: Handler<S, Data = D>>(&mut self, handler: &mut H, id: ClientId) {
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
    fn dial_now<H: Handler<S, Data = D>>(&mut self, handler: &mut H, id: ClientId) -> bool {
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
        if self.group.enter(self.config.max_connections).is_none() {
            self.attempt_failed(handler, id, DialError::Full);
            return false;
        }
        let dialed = self.system.dial(addr).inspect_err(|_| self.group.leave());
        let dialed = dialed.and_then(|socket| {
            self.refresh_now();
            let client = &self.clients[id];
            let (policy, wire) = (client.policy, client.config.wire.make());
            let phase = self.next_phase();
            let session = Session::dialed(&mut self.env, policy, wire, phase, self.now);
            let mut marks = Flags::NONE;
            marks.set(Mark::HalfOpen, self.clients[id].takes_turns());
            self.insert(socket, session, addr, Endpoint::Client(id), marks)
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

    fn attempt_failed<H: Handler<S, Data = D>>(
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

    fn retry<H: Handler<S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ClientId,
        error: Option<&DialError>,
        cause: Option<Cause>,
    ) {
        let (random, asked) = (self.env.random(), self.asked_delay(error));
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        if client.state == ClientState::Stopped {
            // A callback stopped it just now; it is on the list of those still to be told.
            return;
        }
        let event = match client.retry_delay(error, cause, asked, random) {
            Some(delay) => {
                self.schedule_dial(id, delay);
                ClientEvent::Waiting { delay }
            }
            None => {
                self.forget_client(id);
                ClientEvent::Stopped
            }
        };
        handler.on_client(&mut Context::new(self), id, event);
    }

    /// Learns what came of a dial.
    pub(super) fn finish_connect<H: Handler<S, Data = D>>(&mut self, handler: &mut H, id: ConnId) {
        let now = self.now;
        let Some(conn) = self.conn_mut(id) else {
            return;
        };
        match conn.socket.is_connected() {
            Ok(true) => self.connected(handler, id),
            // An event is a hint: not connected yet.
            Ok(false) => {}
            Err(error) => {
                conn.session
                    .handle_io_error(now, error.raw_os_error(), false);
                self.mark_dirty(id.index());
            }
        }
    }

    fn connected<H: Handler<S, Data = D>>(&mut self, handler: &mut H, id: ConnId) {
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

    /// Returns how much longer the server asks us to wait.
    #[cfg(feature = "websocket")]
    fn asked_delay(&mut self, error: Option<&DialError>) -> Micros {
        let asked = error.and_then(|error| error.asked_delay(|| self.date()));
        asked.unwrap_or(Micros::ZERO)
    }

    #[cfg(not(feature = "websocket"))]
    fn asked_delay(&self, _error: Option<&DialError>) -> Micros {
        Micros::ZERO
    }

    #[cfg(not(feature = "websocket"))]
    fn opening_request(&self, _id: ConnId) -> Vec<u8> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};
    use std::sync::mpsc::channel;
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::config::ReactorConfig;
    use crate::proto::message::Message;
    use crate::reactor::{ClientConfig, ListenerConfig, Reactor, WireFactory};

    /// Keeps what became of a client.
    #[derive(Default)]
    struct Log {
        dialed: Vec<SocketAddr>,
        failed: Vec<DialError>,
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
                    // The stop that follows an opening ends the connection, and with it the client.
                    self.stopped = !self.opened;
                    cx.stop();
                }
                ClientEvent::Failed { error } => self.failed.push(error),
                _ => {}
            }
        }
    }

    /// Makes a client that dials once, this port of a name that has these addresses.
    fn resolved(addrs: &[SocketAddr]) -> (Reactor, ClientId) {
        let mut reactor = Reactor::new(ReactorConfig::default()).expect("a selector");
        let found = addrs.to_vec();
        reactor
            .core
            .system
            .resolver_mut()
            .look_up_by(move |_| found.clone());
        let client = ClientConfig {
            reconnect: None,
            ..ClientConfig::new("two.example", addrs[0].port(), WireFactory::Line)
        };
        let id = reactor.connect(client).expect("a sound configuration");
        (reactor, id)
    }

    fn closed_port() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("a port")
    }

    #[track_caller]
    fn drive(reactor: &mut Reactor, log: &mut Log, until: impl Fn(&Log) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !until(log) {
            assert!(Instant::now() < deadline, "gave up");
            let limit = Some(Duration::from_millis(20));
            reactor.turn(log, limit).expect("the selector works");
        }
    }

    #[test]
    fn a_name_that_is_not_found_in_time_is_a_connect_timeout() {
        let mut reactor = Reactor::new(ReactorConfig::default()).expect("a selector");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("a port").port();
        let (let_go, wait) = channel::<()>();
        let wait = Mutex::new(wait);
        reactor.core.system.resolver_mut().look_up_by(move |name| {
            if name == "slow.example" {
                // Ends when the sender is gone.
                wait.lock().expect("nothing panics with it").recv().ok();
            }
            vec![([127, 0, 0, 1], 0).into()]
        });
        let mut config = ClientConfig::new("slow.example", port, WireFactory::Line);
        config.heartbeat.connect_timeout = Duration::from_millis(100);
        config.reconnect = None;
        reactor.connect(config).expect("a sound configuration");
        let mut log = Log::default();
        let began = Instant::now();
        drive(&mut reactor, &mut log, |log| log.stopped);
        assert!(began.elapsed() >= Duration::from_millis(100));
        assert_eq!(log.failed, [DialError::Timeout(Cause::ConnectTimeout)]);
        assert!(log.dialed.is_empty());
        assert!(reactor.core.look_ups.is_empty());
        // What was found too late serves the next attempt.
        let config = ClientConfig::new("slow.example", port, WireFactory::Line);
        drop(let_go);
        // The log has asked for a stop, as `run` would have heeded by now.
        reactor.core.stopping = false;
        reactor.connect(config).expect("a sound configuration");
        drive(&mut reactor, &mut log, |log| log.opened);
    }

    /// Panics at the first news of every kind, of each client.
    #[derive(Default)]
    struct Nervous {
        heard: Vec<(ClientId, &'static str)>,
    }

    impl Handler for Nervous {
        type Data = ();

        fn on_client(&mut self, _: &mut Context<'_, ()>, id: ClientId, event: ClientEvent) {
            let kind = match event {
                ClientEvent::Dialing { .. } => "dialing",
                ClientEvent::Waiting { .. } => "waiting",
                ClientEvent::Failed { .. } => "failed",
                _ => return,
            };
            if !self.heard.contains(&(id, kind)) {
                self.heard.push((id, kind));
                panic!("on purpose");
            }
        }
    }

    #[test]
    fn a_panic_leaves_no_client_without_the_addresses_of_its_name() {
        let mut reactor = Reactor::new(ReactorConfig::default()).expect("a selector");
        reactor
            .core
            .system
            .resolver_mut()
            .look_up_by(|_| vec![([127, 0, 0, 1], 0).into()]);
        let port = closed_port().port();
        let clients = [(); 5].map(|()| {
            let mut config = ClientConfig::new("one.example", port, WireFactory::Line);
            // Longer than this test: who is left out would not be dialed.
            config.heartbeat.connect_timeout = Duration::from_secs(600);
            reactor.connect(config).expect("a sound configuration")
        });
        let mut nervous = Nervous::default();
        let deadline = Instant::now() + Duration::from_secs(20);
        let dialed = |nervous: &Nervous, id| nervous.heard.contains(&(id, "dialing"));
        while !clients.iter().all(|&id| dialed(&nervous, id)) {
            assert!(Instant::now() < deadline, "{:?}", nervous.heard);
            let limit = Some(Duration::from_millis(10));
            let turn = || reactor.turn(&mut nervous, limit).map(drop);
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(turn))
                .unwrap_or(Ok(()))
                .expect("the selector works");
        }
    }

    #[test]
    fn a_client_that_is_removed_is_not_looked_up_any_more() {
        let (mut reactor, id) = resolved(&[closed_port()]);
        let (let_go, wait) = channel::<()>();
        let wait = Mutex::new(wait);
        reactor.core.system.resolver_mut().look_up_by(move |_| {
            wait.lock().expect("nothing panics with it").recv().ok();
            Vec::new()
        });
        let mut log = Log::default();
        let limit = Some(Duration::ZERO);
        while reactor.core.look_ups.is_empty() {
            reactor.turn(&mut log, limit).expect("the selector works");
        }
        reactor.context().disconnect(id);
        assert!(reactor.core.look_ups.is_empty());
        drive(&mut reactor, &mut log, |log| log.stopped);
        drop(let_go);
        assert!(log.failed.is_empty(), "{:?}", log.failed);
    }

    #[test]
    fn one_look_up_serves_every_client_of_a_host_whatever_its_port() {
        let mut reactor = Reactor::new(ReactorConfig::default()).expect("a selector");
        let count = Arc::new(Mutex::new(0));
        let counter = Arc::clone(&count);
        let (let_go, wait) = channel::<()>();
        let wait = Mutex::new(wait);
        reactor.core.system.resolver_mut().look_up_by(move |_| {
            *counter.lock().expect("nothing panics with it") += 1;
            wait.lock().expect("nothing panics with it").recv().ok();
            vec![([127, 0, 0, 1], 0).into()]
        });
        let ports = [closed_port().port(), closed_port().port()];
        for at in 0..200 {
            let config = ClientConfig {
                reconnect: None,
                ..ClientConfig::new("one.example", ports[at % 2], WireFactory::Line)
            };
            reactor.connect(config).expect("a sound configuration");
        }
        let mut log = Log::default();
        let limit = Some(Duration::ZERO);
        while reactor.core.look_ups.len() < 200 {
            reactor.turn(&mut log, limit).expect("the selector works");
        }
        drop(let_go);
        drive(&mut reactor, &mut log, |log| log.dialed.len() == 200);
        assert_eq!(*count.lock().expect("nothing panics with it"), 1);
        let dialed = |port| log.dialed.iter().filter(|addr| addr.port() == port).count();
        assert_eq!((dialed(ports[0]), dialed(ports[1])), (100, 100));
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
        let mut log = Log::default();
        while reactor.core.look_ups.is_empty() {
            let zero = Some(Duration::ZERO);
            reactor.turn(&mut log, zero).expect("the selector works");
        }
        // The loop hears of the name and of the other thread in one turn.
        while !reactor.core.system.resolver_mut().is_done() {
            std::thread::yield_now();
        }
        let handle = reactor.handle();
        handle.notify(1).expect("there is room");
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
            handle.notify(1).expect("there is room");
        }
    }

    #[test]
    fn a_client_that_dials_once_tries_every_address_of_the_name() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("a port");
        // Nobody listens at the first.
        let addrs = [([127, 0, 0, 2], addr.port()).into(), addr];
        let (mut reactor, _) = resolved(&addrs);
        let mut log = Log::default();
        reactor.run(&mut log).expect("the selector works");
        assert_eq!(log.dialed, addrs);
        assert!(log.opened && !log.stopped);
    }

    #[test]
    fn a_client_that_is_disconnected_tries_no_further_address() {
        let closed = closed_port();
        let addrs = [closed, ([127, 0, 0, 2], closed.port()).into()];
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

    /// Answers the clients of its own reactor.
    struct Nobody;

    impl Handler for Nobody {
        type Data = ();

        fn on_message(&mut self, _: &mut Context<'_, ()>, _: ConnId, _: Message<'_>) {}
    }

    fn turn_until(reactor: &mut Reactor, done: impl Fn(&Reactor) -> bool) {
        for _ in 0..10_000 {
            if done(reactor) {
                return;
            }
            let limit = Some(Duration::from_millis(10));
            reactor.turn(&mut Nobody, limit).expect("the loop turns");
        }
        panic!("it never came to be: {:?}", reactor.stats());
    }

    #[test]
    fn f7_after_a_sleep_a_client_probes_at_once() {
        let mut reactor = Reactor::new(ReactorConfig::default()).expect("a loop");
        let any = ([127, 0, 0, 1], 0).into();
        let listener = ListenerConfig::new(any, WireFactory::Line);
        let id = reactor.listen(listener).expect("a free port");
        let port = reactor.local_addr(id).expect("it is bound").port();
        let client = ClientConfig::new("127.0.0.1", port, WireFactory::Line);
        reactor.connect(client).expect("it can be dialed");
        turn_until(&mut reactor, |reactor| reactor.stats().opened == 2);
        assert_eq!(reactor.stats().pings_written, 0);
        reactor
            .core
            .system
            .hands_mut()
            .pretend_sleep(Micros::from_secs(600));
        turn_until(&mut reactor, |reactor| reactor.stats().pongs_matched == 1);
        assert_eq!(reactor.stats().sleeps, 1);
        assert_eq!(reactor.stats().pings_written, 1, "the server asks nobody");
    }

    #[test]
    fn f7_after_a_sleep_a_client_dials_without_the_delays_that_had_added_up() {
        let mut reactor = Reactor::new(ReactorConfig::default()).expect("a loop");
        let gone = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = gone.local_addr().expect("it is bound").port();
        drop(gone);
        let client = ClientConfig::new("127.0.0.1", port, WireFactory::Line);
        let id = reactor.connect(client).expect("it can be dialed");
        turn_until(&mut reactor, |reactor| reactor.stats().rejected == 1);
        for _ in 0..20 {
            reactor.core.clients[id].backoff.next_delay(u64::MAX);
        }
        let far = Micros::from_secs(60);
        let ClientState::Waiting(due) = reactor.core.clients[id].state else {
            panic!("it waits to dial again");
        };
        reactor.core.dials.remove(&(due, id));
        reactor.core.schedule_dial(id, far);
        reactor
            .core
            .system
            .hands_mut()
            .pretend_sleep(Micros::from_secs(600));
        turn_until(&mut reactor, |reactor| reactor.stats().sleeps == 1);
        let ClientState::Waiting(due) = reactor.core.clients[id].state else {
            panic!("it waits to dial again");
        };
        let now = reactor.core.system.hands_mut().at();
        assert!(due <= now + Micros::from_millis(500), "{due:?} at {now:?}");
    }
}
