//! The path is well, the peer is not.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use socket2::SockRef;

use super::support::Wire;
use super::support::process::Process;
use super::support::program::start_on;
use super::support::raw::RawPeer;
use super::{BEAT, Scene, TICK, TIMEOUT, answer_one_ping_and_settle, assert_stall, closed};

/// Starts the program's own client on the other host, and waits for its first pong.
fn client(scene: &Scene) -> Process {
    let url = scene.server.url(scene.wire);
    let client = start_on(
        &scene.network.peer,
        &[
            "connect",
            &url,
            "--json",
            "--no-reconnect",
            "--interval",
            "200ms",
            "--timeout",
            "60s",
        ],
    );
    client.wait_for("pong", |line| line.event("pong").map(drop));
    client
}

#[test]
#[ignore = "needs root, `ip`, `tc`, `ss` and `nft`: install iproute2 and nftables"]
fn f3_a_stopped_process_is_unresponsive_though_its_kernel_acknowledges() {
    let scene = Scene::new(Wire::WebSocket, &BEAT);
    let client = client(&scene);
    client.stop();
    let (_, record) = scene.server.wait_closed();
    record.assert_silence(TIMEOUT, TICK);
    record.assert_end("peer_unresponsive", false);
    assert_eq!(record.count("unacked"), 0, "{}", record.0);
    client.resume();
    closed(&client).assert_end("peer_reset", false);
    scene.assert_counted_once("peer_unresponsive");
}

#[test]
#[ignore = "needs root, `ip`, `tc`, `ss` and `nft`: install iproute2 and nftables"]
fn a_killed_process_is_known_at_once() {
    let scene = Scene::new(Wire::WebSocket, &["--interval", "10s", "--timeout", "60s"]);
    let client = client(&scene);
    client.signal(Signal::KILL);
    let (_, record) = scene.server.wait_closed();
    // A kernel resets a connection whose process dies with bytes unread.
    assert!(
        ["peer_eof", "peer_reset"].contains(&record.cause()),
        "{}",
        record.0
    );
}

#[test]
#[ignore = "needs root, `ip`, `tc`, `ss` and `nft`: install iproute2 and nftables"]
fn a_rebooted_peer_is_known_with_the_next_ping() {
    let args = [
        "--interval",
        "500ms",
        "--timeout",
        "30s",
        "--ping-slack",
        "off",
    ];
    let scene = Scene::new(Wire::WebSocket, &args);
    let mut peer = scene.peer();
    answer_one_ping_and_settle(&scene, &mut peer);
    // Nothing of its end is heard.
    scene.network.server.lose_arriving();
    SockRef::from(peer.stream())
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(peer);
    scene.network.server.lose_nothing();
    let back = Instant::now();
    let (line, record) = scene.server.wait_closed();
    record.assert_end("peer_reset", false);
    // What was sent meanwhile is repeated, the next ping comes by itself.
    let latest = Duration::from_millis(500) + record.allowance(TICK);
    eprintln!("{:?} {}", line.at - back, record.0);
    assert!(
        line.at - back <= latest + Duration::from_secs(1),
        "{}",
        record.0
    );
    scene.assert_counted_once("peer_reset");
}

/// Makes a peer that will not read, and a neighbour who talks to it through the server.
fn deaf(args: &[&str], room: Option<usize>) -> (Scene, RawPeer, RawPeer) {
    let mode = ["--mode", "broadcast", "--messages-per-second", "off"];
    let scene = Scene::new(Wire::Binary, &[&mode[..], args].concat());
    let addr = scene.server.addr(scene.wire);
    let stream = match room {
        Some(room) => scene.network.peer.dial_with_room(addr, room),
        None => scene.network.peer.dial(addr),
    };
    let peer = RawPeer::over(stream, scene.wire);
    scene.server.wait_open(peer.local_port());
    let neighbour = scene.neighbour();
    (scene, peer, neighbour)
}

#[test]
#[ignore = "needs root, `ip`, `tc`, `ss` and `nft`: install iproute2 and nftables"]
fn f4_a_peer_that_does_not_read_stalls_at_the_write_timeout() {
    let args = [
        "--interval",
        "1s",
        "--timeout",
        "6s",
        "--write-timeout",
        "1s",
        "--max-message",
        "256KiB",
        "--send-queue",
        "1MiB",
    ];
    let (scene, peer, mut neighbour) = deaf(&args, None);
    for _ in 0..16 {
        neighbour.send_binary(&vec![7; 256 << 10]);
    }
    let record = scene.server.wait_closed_from(peer.local_port());
    assert_stall(&record, "write_stalled", Duration::from_secs(1));
    let queued = record.count("queued");
    // A ping beside the data: it has a place of its own.
    assert!((1..=(1 << 20) + 1).contains(&queued), "{}", record.0);
    assert_eq!(record.count("window"), 0, "{}", record.0);
}

#[test]
#[ignore = "needs root, `ip`, `tc`, `ss` and `nft`: install iproute2 and nftables"]
fn f4_a_peer_that_does_not_read_stalls_at_the_timeout_if_that_is_sooner() {
    let (scene, peer, mut neighbour) = deaf(&BEAT, None);
    for _ in 0..16 {
        neighbour.send_binary(&vec![7; 256 << 10]);
    }
    let record = scene.server.wait_closed_from(peer.local_port());
    record.assert_silence(TIMEOUT, TICK);
    record.assert_end("write_stalled", false);
}

/// Our own queue is empty, so that no write timeout runs; the ping is stuck in the kernel.
#[test]
#[ignore = "needs root, `ip`, `tc`, `ss` and `nft`: install iproute2 and nftables"]
fn f4_a_ping_stuck_in_the_kernel_before_a_closed_window_is_a_stall() {
    let (scene, peer, mut neighbour) = deaf(&BEAT, Some(8 << 10));
    neighbour.send_binary(&[7; 16 << 10]);
    let record = scene.server.wait_closed_from(peer.local_port());
    record.assert_silence(TIMEOUT, TICK);
    record.assert_end("write_stalled", false);
    assert_eq!(record.count("queued"), 0, "{}", record.0);
    assert!(record.count("unsent") > 0, "{}", record.0);
}
