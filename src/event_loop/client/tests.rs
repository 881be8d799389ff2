//! Names looked up and addresses dialed, on real sockets.

use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::clients::ClientState;
use super::event::{ClientEvent, DialError};
use crate::close::Cause;
use crate::config::ReactorConfig;
use crate::event_loop::{ClientId, ConnId, Context, Handler};
use crate::proto::message::Message;
use crate::proto::time::Micros;
use crate::reactor::{ClientConfig, ListenerConfig, Reactor, ReconnectConfig, WireFactory};

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
            ClientEvent::Dialing { addr, .. } => self.dialed.extend(addr.socket_addr()),
            ClientEvent::Stopped { .. } => {
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
    assert!(reactor.core.clients.look_ups() == 0);
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
    while reactor.core.clients.look_ups() == 0 {
        reactor.turn(&mut log, limit).expect("the selector works");
    }
    reactor.context().disconnect(id);
    assert!(reactor.core.clients.look_ups() == 0);
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
    while reactor.core.clients.look_ups() < 200 {
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

    fn on_command(&mut self, _: &mut Context<'_, ()>, (): ()) {
        self.notified += 1;
    }
}

#[test]
fn a_panic_while_names_are_taken_in_leaves_no_other_thread_unheard() {
    let (mut reactor, _) = resolved(&[closed_port()]);
    let mut log = Log::default();
    while reactor.core.clients.look_ups() == 0 {
        let zero = Some(Duration::ZERO);
        reactor.turn(&mut log, zero).expect("the selector works");
    }
    // The loop hears of the name and of the other thread in one turn.
    while !reactor.core.system.resolver_mut().is_done() {
        std::thread::yield_now();
    }
    let handle = reactor.handle();
    handle.command(()).expect("there is room");
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
        handle.command(()).expect("there is room");
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
fn f7_after_a_sleep_who_waits_has_the_whole_of_its_time_again() {
    let mut reactor = Reactor::<()>::new(ReactorConfig::default()).expect("a loop");
    let mut client = ClientConfig::new("127.0.0.1", closed_port().port(), WireFactory::Line);
    let budget = Duration::from_secs(60);
    client.reconnect = Some(ReconnectConfig {
        give_up_after: Some(budget),
        ..ReconnectConfig::default()
    });
    let id = reactor.connect(client).expect("it can be dialed");
    let core = &mut reactor.core;
    for state in [ClientState::PutOff, ClientState::Queued] {
        core.clients.enter(id, state(core.clients[id].gives_up()));
        let later = core.now.at + Micros::from_secs(600);
        core.now.at = later;
        core.wake_from_sleep(Micros::from_secs(600));
        let ends = later + budget.into();
        assert_eq!(core.clients.state(id), Some(state(ends)));
        assert_eq!(core.clients.first_limited(), Some((ends, id)));
    }
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
    let Some(ClientState::Waiting(_)) = reactor.core.clients.state(id) else {
        panic!("it waits to dial again");
    };
    reactor.core.schedule_dial(id, far);
    reactor
        .core
        .system
        .hands_mut()
        .pretend_sleep(Micros::from_secs(600));
    turn_until(&mut reactor, |reactor| reactor.stats().sleeps == 1);
    let Some(ClientState::Waiting(due)) = reactor.core.clients.state(id) else {
        panic!("it waits to dial again");
    };
    let now = reactor.core.system.hands_mut().at();
    assert!(due <= now + Micros::from_millis(500), "{due:?} at {now:?}");
}
