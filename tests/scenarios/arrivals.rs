//! Many that come at once, and a message that comes slowly.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::Wire::{self, Binary, Line, WebSocket};
use crate::support::bytes::message;
use crate::support::crowd::Crowd;
use crate::support::process;
use crate::support::program::Server;
use crate::support::raw::RawPeer;

/// Lets so many come as fast as they can, and checks that all are there and stay.
pub(crate) fn rush_in(count: usize) {
    // A ping for each within a test's patience, and time for all that a busy machine may be late.
    let times = ["--interval", "15s", "--timeout", "5min"];
    let limits = [
        "--half-open-per-address",
        "off",
        "--handshake-timeout",
        "5min",
    ];
    let server = Server::start(&[WebSocket], &[times, limits].concat());
    let crowd = Crowd::rush(server.addr(WebSocket), count);
    crowd.wait_for_answers(count as u64);
    assert_eq!(crowd.lost(), 0);
    let process = server.process();
    let is_end = |line: &process::Line| {
        line.event("closed")
            .or_else(|| line.event("rejected"))
            .cloned()
    };
    assert_eq!(process.find(is_end), None);
    process.signal(Signal::TERM);
    let held = |line: &process::Line| line.event("draining")?["connections"].as_u64();
    assert_eq!(process.wait_for("draining", held), count as u64);
}

#[test]
fn f9_four_mebibytes_that_come_slowly_survive_every_deadline() {
    let times = ["--interval", "1500ms", "--timeout", "4s"];
    let floor = ["--slow-floor", "16KiB", "--slow-grace", "500ms"];
    let wires = [WebSocket, Line, Binary];
    let mode = ["--mode", "sink", "--max-message", "4MiB"];
    let args = [&times[..], &floor, &mode].concat();
    let server = Server::start(&wires, &args);
    thread::scope(|scope| {
        for wire in wires {
            let server = &server;
            scope.spawn(move || send_slowly(server, wire));
        }
    });
    let summary = server.finish();
    assert_eq!(summary["messages_in"], wires.len(), "{summary}");
}

/// Sends 4 MiB over more than two timeouts of silence, and leaves.
fn send_slowly(server: &Server, wire: Wire) {
    const STEPS: usize = 128;
    let mut peer = RawPeer::connect(wire, server.port(wire));
    let text = vec![b's'; 4 << 20];
    let bytes = message(wire, &text);
    let began = Instant::now();
    // A pong would be a proof of its own, so none is sent: only unfinished bytes speak for the peer.
    for step in 0..STEPS {
        let part = |step| bytes.len() * step / STEPS;
        peer.write(&bytes[part(step)..part(step + 1)]);
        thread::sleep(Duration::from_millis(70));
    }
    assert!(began.elapsed() > Duration::from_secs(8), "two timeouts");
    // It goes with pings unread, which makes a reset of it.
    let port = peer.local_port();
    drop(peer);
    let end = server.wait_closed_from(port);
    let has_left = ["peer_eof", "peer_reset"].contains(&end.cause());
    assert!(has_left, "{wire:?}: {}", end.0);
}
