//! What a listener gets from the kernel: room for a burst, and a port that several may share.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use heartwheel::reactor::{ListenerConfig, SocketOptions, WireFactory};

use crate::support::PATIENCE;
use crate::support::recorder::*;
use crate::support::turning::*;

/// More than the 128 that mio asks for; both ends of one take two descriptors once accepted.
const BURST: usize = 300;

#[test]
fn a_burst_is_completed_by_the_kernel_before_the_loop_turns_at_all() {
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn");
    if most.is_ok_and(|most| most.trim().parse::<usize>().unwrap() < BURST) {
        println!("skipped: net.core.somaxconn is below {BURST}");
        return;
    }
    let (mut reactor, mut recorder) = (
        reactor_with(heartwheel::config::ReactorConfig {
            // Of which one address has its share.
            max_connections: 2 * BURST,
            ..Default::default()
        }),
        Recorder::default(),
    );
    let (_, addr) = listen(&mut reactor, WireFactory::Line);
    // Beyond the backlog a dial waits for the second try, a second later.
    let began = Instant::now();
    let peers: Vec<_> = (0..BURST)
        .map(|_| TcpStream::connect_timeout(&addr, Duration::from_millis(900)).unwrap())
        .collect();
    assert!(began.elapsed() < PATIENCE);
    drive(&mut reactor, &mut recorder, |seen| {
        seen.opened().len() == BURST
    });
    drop(peers);
}

#[test]
fn two_reactors_share_a_port_where_both_ask_for_it() {
    let shared = |addr: SocketAddr, reuse_port| ListenerConfig {
        socket: SocketOptions {
            reuse_port,
            ..SocketOptions::default()
        },
        ..ListenerConfig::new(addr, WireFactory::Line)
    };
    let (mut first, mut second, mut third) = (reactor(), reactor(), reactor());
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let (_, addr) = listen_with(&mut first, shared(any, true));
    listen_with(&mut second, shared(addr, true));
    assert!(third.listen(shared(addr, false)).is_err());

    let (mut ours, mut theirs) = (Recorder::default(), Recorder::default());
    let peers: Vec<_> = (0..8).map(|_| connect_peer(addr)).collect();
    drive(&mut first, &mut ours, |ours| {
        second
            .turn(&mut theirs, Some(Duration::from_millis(5)))
            .unwrap();
        ours.opened().len() + theirs.opened().len() == peers.len()
    });
}
