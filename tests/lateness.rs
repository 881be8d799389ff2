//! What the process itself was late is never a peer's fault: stopped and resumed processes on real
//! sockets (F5, F6).
#![cfg(all(target_os = "linux", feature = "cli"))]
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::thread;
use std::time::{Duration, Instant};

use support::crowd::Crowd;
use support::program::{Server, start};
use support::raw::RawPeer;
use support::record::Record;
use support::{PATIENCE, Wire};

const INTERVAL: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_millis(1_500);
const TIMES: [&str; 4] = ["--interval", "500ms", "--timeout", "1500ms"];

const CROWD: usize = 200;

fn closed(server: &Server) -> Vec<Record> {
    server
        .process()
        .lines()
        .iter()
        .filter_map(|line| line.event("closed").cloned().map(Record))
        .collect()
}

#[test]
fn f6_a_server_stopped_for_three_timeouts_closes_only_who_is_dead() {
    let server = Server::start(&[Wire::WebSocket], &TIMES);
    let port = server.port(Wire::WebSocket);
    let crowd = Crowd::connect(port, CROWD);
    crowd.wait_for_answers(2 * CROWD as u64);
    let dead: Vec<_> = (0..5)
        .map(|_| RawPeer::connect(Wire::WebSocket, port))
        .collect();
    for peer in &dead {
        server.wait_open(peer.local_port());
    }

    server.process().stop();
    thread::sleep(3 * TIMEOUT);
    let answered = crowd.answered();
    let resumed = Instant::now();
    server.process().resume();

    for peer in &dead {
        let record = server.wait_closed_from(peer.local_port());
        record.assert_silence(TIMEOUT, Duration::from_millis(10));
        let forgiven = record.time("forgiveness");
        assert!(forgiven >= 2 * TIMEOUT, "{forgiven:?} of a stop of 3 T");
    }
    let spared = resumed.elapsed();
    assert!(spared < TIMEOUT + PATIENCE / 10, "dead for {spared:?} more");
    crowd.wait_for_answers(answered + 2 * CROWD as u64);
    assert_eq!(crowd.lost(), 0);
    assert_eq!(closed(&server).len(), dead.len());
}

#[test]
fn f6_a_client_stopped_for_three_timeouts_keeps_a_server_that_answers() {
    let server = Server::start(
        &[Wire::WebSocket],
        &["--interval", "off", "--timeout", "off"],
    );
    let url = server.url(Wire::WebSocket);
    let mut args = vec!["connect", &url, "--json"];
    args.extend(TIMES);
    let client = start(&args);
    let pong = |from| {
        client
            .wait_past(from, "a pong", |line| line.event("pong").map(drop))
            .0
            + 1
    };
    pong(0);
    client.stop();
    thread::sleep(3 * TIMEOUT);
    client.resume();
    let mut from = client.mark();
    for _ in 0..3 {
        from = pong(from);
    }
    let is_end = |line: &support::process::Line| line.event("closed").is_some();
    assert!(
        !client.lines().iter().any(is_end),
        "{}",
        client.transcript()
    );
}

#[test]
fn f5_a_server_that_is_late_all_the_time_says_so_and_blames_nobody() {
    let server = Server::start(&[Wire::WebSocket], &TIMES);
    let port = server.port(Wire::WebSocket);
    let crowd = Crowd::connect(port, CROWD);
    crowd.wait_for_answers(CROWD as u64);
    // Stopped for three quarters of the time, a stretch longer than T - I in each.
    for _ in 0..4 {
        server.process().stop();
        thread::sleep(TIMEOUT);
        server.process().resume();
        thread::sleep(INTERVAL);
    }
    let answered = crowd.answered();
    crowd.wait_for_answers(answered + 2 * CROWD as u64);
    assert_eq!(crowd.lost(), 0);
    assert_eq!(closed(&server).len(), 0);

    // Someone who falls silent now is told of with the lateness that he was not blamed for.
    let peer = RawPeer::connect(Wire::WebSocket, port);
    server.wait_open(peer.local_port());
    server.process().stop();
    thread::sleep(INTERVAL);
    server.process().resume();
    let record = server.wait_closed_from(peer.local_port());
    record.assert_silence(TIMEOUT, Duration::from_millis(10));
    assert!(record.time("forgiveness") >= INTERVAL / 2, "{record:?}");
}
