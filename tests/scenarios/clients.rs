//! Many clients of ours that lose their server (F26, F27).

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use heartwheel::config::ReactorConfig;
use heartwheel::proto::message::Message;
use heartwheel::proto::websocket::handshake::ResponseError;
use heartwheel::reactor::{
    ClientConfig, ClientEvent, ClientId, ConnId, Context, DialError, Handler, Reactor,
    ReconnectConfig, WireFactory,
};
use socket2::SockRef;

use crate::support::PATIENCE;
use crate::support::Wire::WebSocket;
use crate::support::crowd::raise_descriptor_limit;
use crate::support::process::Process;
use crate::support::program::{Server, start};

/// What each client was told, and when by the loop's clock.
#[derive(Default)]
struct Clients {
    told: HashMap<ClientId, Vec<(Duration, ClientEvent)>>,
    opened: usize,
}

impl Handler for Clients {
    type Data = ();

    fn on_open(&mut self, _: &mut Context<'_, ()>, _: ConnId) {
        self.opened += 1;
    }

    fn on_message(&mut self, _: &mut Context<'_, ()>, _: ConnId, _: Message<'_>) {}

    fn on_client(&mut self, cx: &mut Context<'_, ()>, id: ClientId, event: ClientEvent) {
        self.told.entry(id).or_default().push((cx.now(), event));
    }
}

impl Clients {
    /// Returns the waits of each client, in their order.
    fn waits(&self) -> impl Iterator<Item = Vec<Duration>> {
        self.told.values().map(|told| {
            let waits = told.iter().filter_map(|(_, event)| match event {
                ClientEvent::Waiting { delay } => Some(*delay),
                _ => None,
            });
            waits.collect()
        })
    }

    /// Checks that nobody dials before the wait is over that it was told of.
    fn assert_patient(&self) {
        for told in self.told.values() {
            for pair in told.windows(2) {
                if let [(began, ClientEvent::Waiting { delay }), (at, next)] = pair {
                    assert!(*at >= *began + *delay, "{next:?} after {:?}", *at - *began);
                }
            }
        }
    }
}

/// Adds so many clients of one server to a loop whose dice are fixed.
fn dial(
    count: usize,
    port: u16,
    wire: fn() -> WireFactory,
    again: &ReconnectConfig,
) -> Reactor<()> {
    raise_descriptor_limit(count);
    let mut reactor = Reactor::new(ReactorConfig {
        max_connections: 2 * count,
        seed: Some(26),
        ..ReactorConfig::default()
    })
    .unwrap();
    for _ in 0..count {
        let mut config = ClientConfig::new("127.0.0.1", port, wire());
        config.heartbeat.interval = None;
        config.heartbeat.timeout = None;
        config.heartbeat.connect_timeout = PATIENCE;
        config.heartbeat.handshake_timeout = PATIENCE;
        config.reconnect = Some(again.clone());
        config.takes_turns = false;
        reactor.connect(config).unwrap();
    }
    reactor
}

fn drive(reactor: &mut Reactor<()>, clients: &mut Clients, until: impl Fn(&Clients) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !until(clients) {
        assert!(Instant::now() < deadline, "{} have opened", clients.opened);
        let wait = Some(Duration::from_millis(20));
        reactor.turn(clients, wait).unwrap();
    }
}

/// Starts a server where another has just been, which lets so many in each second.
fn follow(port: u16, rate: usize) -> Process {
    let (addr, rate) = (format!("127.0.0.1:{port}"), rate.to_string());
    let args = ["serve", "--json", "--ws", &addr];
    let limits = [
        "--half-open-per-address",
        "off",
        "--handshakes-per-second",
        &rate,
    ];
    let process = start(&[&args[..], &NO_HEARTBEAT, &limits].concat());
    process.wait_for("listening", |line| line.event("listening").map(drop));
    process
}

#[test]
fn f27_delays_grow_to_the_cap_and_none_is_short() {
    const COUNT: usize = 100;
    let again = ReconnectConfig {
        min: Duration::from_millis(1),
        base: Duration::from_millis(4),
        cap: Duration::from_millis(64),
        ..ReconnectConfig::default()
    };
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    server.set_nonblocking(true).unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let ends = Arc::clone(&is_over);
    let accepting = thread::spawn(move || {
        let mut accepted = 0;
        while !ends.load(Ordering::Relaxed) {
            match server.accept() {
                // With nothing of its own to say, it resets.
                Ok((stream, _)) => {
                    accepted += 1;
                    SockRef::from(&stream)
                        .set_linger(Some(Duration::ZERO))
                        .unwrap();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    thread::sleep(Duration::from_millis(1));
                }
                Err(error) => panic!("{error}"),
            }
        }
        accepted
    });
    let mut reactor = dial(COUNT, port, || WireFactory::Line, &again);
    let mut clients = Clients::default();
    drive(&mut reactor, &mut clients, |clients| {
        let mut waits = clients.waits();
        clients.told.len() == COUNT && waits.all(|waits| waits.len() >= 8)
    });
    is_over.store(true, Ordering::Relaxed);
    // Whether a client found its connection open or reset already depends on who was faster.
    let accepted: usize = accepting.join().unwrap();
    assert!(accepted >= 8 * COUNT, "{accepted} accepted");
    clients.assert_patient();

    let (min, base, cap) = (again.min, again.base, again.cap);
    for failures in 0..8u32 {
        let delays: Vec<Duration> = clients
            .waits()
            .map(|waits| waits[failures as usize])
            .collect();
        let ceiling = cap.min(base * 2u32.pow(failures));
        for delay in &delays {
            assert!((min..=ceiling).contains(delay), "{delay:?} of {ceiling:?}");
        }
        // Of a hundred that are even below the ceiling, some lie near it, and their mean at half of it.
        let longest = delays.iter().max().unwrap();
        assert!(*longest >= ceiling * 4 / 5, "{longest:?} of {ceiling:?}");
        let mean = delays.iter().sum::<Duration>() / delays.len() as u32;
        assert!(
            mean >= ceiling / 3 && mean <= ceiling * 3 / 4,
            "{mean:?} of {ceiling:?}"
        );
    }
}

/// However long it takes on a busy machine, nobody ends for silence.
const NO_HEARTBEAT: [&str; 4] = ["--interval", "off", "--timeout", "off"];

/// Tests that take many descriptors.
mod large {
    use super::*;
    use crate::support::crowd::alone;

    #[test]
    #[ignore = "needs 1 300 descriptors: raise ulimit -Hn"]
    fn f26_a_thousand_real_clients_come_back_evenly_and_wait_as_a_full_server_asks() {
        let _alone = alone();
        const COUNT: usize = 1_000;
        let limits = ["--half-open-per-address", "off"];
        let server = Server::start(&[WebSocket], &[&NO_HEARTBEAT[..], &limits].concat());
        let port = server.port(WebSocket);
        let wire = || WireFactory::WebSocket;
        let mut reactor = dial(COUNT, port, wire, &ReconnectConfig::default());
        let mut clients = Clients::default();
        drive(&mut reactor, &mut clients, |clients| {
            clients.opened == COUNT
        });

        // The loop learns of all losses at once, and finds another server where the first one was.
        server.process().kill();
        drop(server);
        let server = follow(port, 100);
        drive(&mut reactor, &mut clients, |clients| {
            clients.opened == 2 * COUNT
        });
        clients.assert_patient();

        let mut first: Vec<_> = clients.waits().map(|waits| waits[0]).collect();
        assert_eq!(first.len(), COUNT);
        first.sort_unstable();
        let (shortest, longest) = (Duration::from_millis(50), Duration::from_millis(500));
        assert!(first[0] >= shortest && first[COUNT - 1] <= longest);
        // Any 100 ms, of which there are four and a half.
        let most = COUNT * 3 / 2 * 2 / 9;
        for (place, &from) in first.iter().enumerate() {
            let window = first[place..].iter();
            let count = window
                .take_while(|&&at| at <= from + Duration::from_millis(100))
                .count();
            assert!(count <= most, "{count} within 100 ms from {from:?}");
        }

        // More than it lets in: the others were told when to come again, and waited.
        let mut told_to_wait = 0;
        for told in clients.told.values() {
            for pair in told.windows(2) {
                let [(_, ClientEvent::Failed { error }), (_, next)] = pair else {
                    continue;
                };
                let DialError::Handshake(ResponseError::Status {
                    code, retry_after, ..
                }) = error
                else {
                    panic!("{error:?}");
                };
                assert_eq!(*code, 503);
                assert!(retry_after.is_some(), "no Retry-After");
                let ClientEvent::Waiting { delay } = next else {
                    panic!("{next:?}");
                };
                assert!(*delay >= Duration::from_secs(1), "{delay:?}");
                told_to_wait += 1;
            }
        }
        assert!(told_to_wait >= COUNT / 10, "{told_to_wait} had to wait");
        drop(server);
    }
}
