//! An idle connection's heartbeats allocate nothing: neither a million of them on virtual time, nor
//! those of a reactor on real sockets.
#![cfg(all(target_os = "linux", feature = "cli"))]
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;
#[path = "../benches/idle/world.rs"]
mod world;

use std::thread;
use std::time::Duration;

use allocation_counter::measure;
use heartwheel::config::ReactorConfig;
use heartwheel::reactor::{Handler, ListenerConfig, Reactor, WireFactory};

use support::crowd::Crowd;
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
        let mut run_to = |round_trips| {
            while reactor.stats().pongs_matched < round_trips {
                reactor.turn(&mut Quiet, None).unwrap();
            }
            reactor.stats().opened
        };
        // By then everyone has come, and what is borrowed for heartbeats has been.
        while run_to(1) < CONNECTIONS as u64 {
            run_to(1);
        }
        run_to(4 * CONNECTIONS as u64);
        measure(|| {
            run_to(30 * CONNECTIONS as u64);
        })
    });
    let crowd = Crowd::connect(port, CONNECTIONS);
    let allocated = server.join().unwrap();
    assert_eq!(allocated.count_total, 0, "{allocated:?}");
    assert_eq!(crowd.lost(), 0);
}
