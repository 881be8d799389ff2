//! An idle connection's heartbeats allocate nothing: neither a million of them on virtual time, nor
//! those of a reactor on real sockets. Nor does a broadcast that reaches it.
#![cfg(all(target_os = "linux", feature = "cli"))]
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;
#[path = "../benches/idle/world.rs"]
mod world;

use std::thread;
use std::time::Duration;

use allocation_counter::measure;
use heartwheel::WireKind;
use heartwheel::config::ReactorConfig;
use heartwheel::proto::message::{Message, SharedMessage};
use heartwheel::reactor::{Handler, ListenerConfig, Reactor, WireFactory};
use heartwheel::tls::{Certificates, ServerTls};

use support::crowd::Crowd;
use support::memory;
use support::secure::{Files, Peer, pair};
use world::World;

#[test]
fn a_million_heartbeats_on_virtual_time_allocate_nothing() {
    const SESSIONS: usize = 20_000;
    const MINUTES: u64 = 25;
    let mut world = World::new(SESSIONS);
    // The first one fills capacities that stay.
    world.run_a_minute();
    let allocated = measure(|| (0..MINUTES).for_each(|_| world.run_a_minute()));
    assert_eq!(allocated.count_total, 0, "{allocated:?}");
    world.check(1 + MINUTES);
    assert!(world.stats().pongs_matched >= 1_000_000);
}

#[test]
fn a_broadcast_allocates_nothing_for_its_recipients() {
    let mut world = World::new(20_000);
    let news = SharedMessage::new(Message::text("news for everybody"));
    // The first one is encoded, and fills capacities that stay.
    world.broadcast(&news);
    let allocated = measure(|| world.broadcast(&news));
    assert_eq!(allocated.count_total, 0, "{allocated:?}");
    assert_eq!(world.stats().messages_out, 2 * 20_000);
}

/// The note of what is under way, and two of 16 bytes for records. Nothing of them stays.
#[test]
fn heartbeats_over_tls_allocate_little_and_keep_nothing() {
    const CONNECTIONS: u64 = 10;
    const BEATS: u64 = 30;
    let files = Files::new();
    let issued = files.root.issue(&["server.test"], -1, 90);
    let certificates = Certificates::new(vec![pair(&issued)]).unwrap();
    let tls = ServerTls::new(certificates, WireKind::Line).config();
    let mut reactor = Reactor::new(ReactorConfig::default()).unwrap();
    let mut config = ListenerConfig::new(([127, 0, 0, 1], 0).into(), WireFactory::Line);
    config.heartbeat.interval = Some(Duration::from_millis(50));
    config.heartbeat.timeout = Some(Duration::from_secs(60));
    config.tls = Some(tls.unwrap());
    let listener = reactor.listen(config).unwrap();
    let addr = reactor.local_addr(listener).unwrap();
    for _ in 0..CONNECTIONS {
        let client = files.client(WireKind::Line).config().unwrap();
        thread::spawn(move || {
            let peer = Peer::connect(addr, &client, "server.test").unwrap();
            peer.answer_pings();
        });
    }
    let mut answered = |count: u64| {
        while reactor.stats().pongs_matched < count * CONNECTIONS {
            reactor.turn(&mut Quiet, None).unwrap();
        }
        reactor.stats().pongs_matched
    };
    // The slowest peer of them may come late.
    let before = answered(10);
    let mut beats = 0;
    let allocated = measure(|| beats = answered(10 + BEATS) - before);
    println!("{beats} heartbeats: {allocated:?}");
    assert_eq!(allocated.count_current, 0, "{allocated:?}");
    // Some of them may be cut at either end.
    let most = 3 * (beats + CONNECTIONS);
    assert!(allocated.count_total <= most, "{beats}: {allocated:?}");
}

struct Quiet;

impl Handler for Quiet {
    type Data = ();
}

#[test]
fn heartbeats_on_real_sockets_allocate_nothing() {
    const CONNECTIONS: usize = 200;
    let mut reactor = Reactor::new(ReactorConfig::default()).unwrap();
    let addr = ([127, 0, 0, 1], 0).into();
    let mut config = ListenerConfig::new(addr, WireFactory::WebSocket);
    config.heartbeat.interval = Some(Duration::from_millis(50));
    config.heartbeat.timeout = Some(Duration::from_secs(60));
    // Half of the pings are due at the same time.
    config.heartbeat.ping_slack = Some(Duration::from_millis(12));
    let listener = reactor.listen(config).unwrap();
    let port = reactor.local_addr(listener).unwrap().port();
    let server = thread::spawn(move || {
        let mut answered = |count: usize| {
            while reactor.stats().pongs_matched < (count * CONNECTIONS) as u64 {
                reactor.turn(&mut Quiet, None).unwrap();
            }
        };
        // Peers answer once all of them are there. By then what heartbeats borrow has been made.
        answered(4);
        let allocated = measure(|| answered(30));
        (allocated, reactor)
    });
    let crowd = Crowd::connect(port, CONNECTIONS);
    let (allocated, reactor) = server.join().unwrap();
    assert_eq!(allocated.count_total, 0, "{allocated:?}");
    assert_eq!((crowd.lost(), reactor.len()), (0, CONNECTIONS));
}
