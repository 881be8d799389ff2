//! What a heartbeat and a message cost: with 1 000 WebSocket connections in the steady state the server
//! makes one read and one write a ping answered, and no more waits than that; for a message that it
//! echoes it makes one of each.
#![cfg(all(target_os = "linux", feature = "cli"))]
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use heartwheel::WireKind;
use support::crowd::{Crowd, raise_descriptor_limit};
use support::program::Server;
use support::raw::{Arrival, RawPeer};
use support::secure::{Files, Peer, addr};
use support::swarm::Swarm;
use support::{PATIENCE, Wire};

const CONNECTIONS: usize = 1_000;
const INTERVAL: Duration = Duration::from_secs(1);
const ECHOES: u64 = 2_000;

#[test]
#[ignore = "needs strace: install strace"]
fn a_heartbeat_costs_two_system_calls_and_at_most_one_wait() {
    let (server, place) = start_traced("1s", &[Wire::WebSocket], &[]);
    let crowd = Crowd::connect(server.port(Wire::WebSocket), CONNECTIONS);
    // The steady state: every connection has been through more than a whole interval.
    crowd.wait_for_answers(2 * CONNECTIONS as u64);

    let (from, before) = (unix_time(), crowd.answered());
    crowd.wait_for_answers(before + 5 * CONNECTIONS as u64);
    let (until, answered) = (unix_time(), crowd.answered() - before);
    let calls = wait_for_calls(&place, from, until);
    std::fs::remove_file(&place).unwrap();
    assert_eq!(crowd.lost(), 0, "the server closed connections");
    assert_two_calls(&calls, answered);
}

#[test]
#[ignore = "needs strace: install strace"]
fn a_heartbeat_over_tls_costs_no_more_of_them() {
    let files = Files::new();
    files.issue("a", &["server.test"]);
    let flags = files.flags("a");
    let mut options = vec!["--wss", "127.0.0.1:0", "--half-open-per-address", "off"];
    options.extend(flags.iter().map(String::as_str));
    let (server, place) = start_traced("1s", &[], &options);
    raise_descriptor_limit(CONNECTIONS);
    let config = files.client(WireKind::WebSocket).config().unwrap();
    let swarm = Swarm::new(addr(server.process(), "wss"), "server.test", config);
    swarm.grow(CONNECTIONS);
    swarm.wait_for_answers(2 * CONNECTIONS);

    let (from, before) = (unix_time(), swarm.answered());
    swarm.wait_for_answers(5 * CONNECTIONS);
    let (until, answered) = (unix_time(), swarm.answered() - before);
    let calls = wait_for_calls(&place, from, until);
    std::fs::remove_file(&place).unwrap();
    assert_two_calls(&calls, answered);
}

#[test]
#[ignore = "needs strace: install strace"]
fn the_answer_to_a_ping_over_tls_costs_two_system_calls_and_at_most_one_wait() {
    // No more than may come at once.
    const PINGS: u64 = 250;
    let files = Files::new();
    files.issue("a", &["server.test"]);
    let flags = files.flags("a");
    let mut options = vec!["--tls-tcp", "127.0.0.1:0"];
    options.extend(flags.iter().map(String::as_str));
    let (server, place) = start_traced("30s", &[], &options);
    let config = files.client(WireKind::Line).config().unwrap();
    let mut peer = Peer::connect(addr(server.process(), "tcps"), &config, "server.test").unwrap();
    let mut ping = || {
        peer.write(b"PING\n").unwrap();
        assert_eq!(peer.read().unwrap(), b"PONG\n");
    };
    (0..20).for_each(|_| ping());
    let from = unix_time();
    (0..PINGS).for_each(|_| ping());
    let until = unix_time();
    ping();
    let calls = wait_for_calls(&place, from, until);
    std::fs::remove_file(&place).unwrap();

    let (waits, others) = calls_each(&calls, PINGS);
    println!("{PINGS} pings of a peer: {others:.3} calls and {waits:.3} waits each: {calls:?}");
    assert!(waits <= 1.1, "{waits:.3} waits a ping: {calls:?}");
    assert!(
        (1.9..=2.1).contains(&others),
        "{others:.3} calls a ping: {calls:?}"
    );
}

/// Makes sure that there was a write and a read for each ping answered, and little else.
#[track_caller]
fn assert_two_calls(calls: &BTreeMap<String, u64>, answered: u64) {
    let (waits, others) = calls_each(calls, answered);
    println!("{answered} pings answered: {others:.3} calls and {waits:.3} waits each: {calls:?}");
    assert!(
        others <= 2.1,
        "{others:.3} calls a ping answered: {calls:?}"
    );
    assert!(waits <= 1.0, "{waits:.3} waits a ping answered: {calls:?}");
    // So that an empty trace cannot pass: each ping was written, each answer read.
    assert!(
        others >= 1.9,
        "{others:.3} calls a ping answered: {calls:?}"
    );
}

#[test]
#[ignore = "needs strace: install strace"]
fn a_small_message_costs_two_system_calls_and_at_most_one_wait() {
    let (server, place) = start_traced("30s", &[Wire::WebSocket], &[]);
    let mut peer = RawPeer::connect(Wire::WebSocket, server.port(Wire::WebSocket));
    let mut echo = || {
        peer.send_binary(&[7; 64]);
        let echo = Arrival::Message(vec![7; 64]);
        assert_eq!(peer.next_answering(), echo);
    };
    // The first ones find everything cold.
    (0..100).for_each(|_| echo());

    let from = unix_time();
    (0..ECHOES).for_each(|_| echo());
    let until = unix_time();
    // For the trace to go on past the end.
    echo();
    let calls = wait_for_calls(&place, from, until);
    std::fs::remove_file(&place).unwrap();

    let (waits, others) = calls_each(&calls, ECHOES);
    println!("{ECHOES} messages echoed: {others:.3} calls and {waits:.3} waits each: {calls:?}");
    assert!(waits <= 1.05, "{waits:.3} waits a message: {calls:?}");
    assert!(others <= 2.05, "{others:.3} calls a message: {calls:?}");
    assert!(others >= 1.95, "{others:.3} calls a message: {calls:?}");
}

/// Starts a server below strace; returns where the trace is written.
fn start_traced(interval: &str, wires: &[Wire], more: &[&str]) -> (Server, PathBuf) {
    let name = format!("syscalls-{}-{interval}-{}", std::process::id(), more.len());
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // The server is the child of this test and strace its own: that needs no right to attach.
    let mut strace = Command::new("strace");
    strace
        .args(["-D", "-f", "-ttt", "-s", "0", "-o"])
        .arg(&place);
    let options = [
        "--interval",
        interval,
        "--timeout",
        "60s",
        "--max-connections",
        "2000",
    ];
    let options = [&options, more].concat();
    (Server::start_under(strace, wires, &options), place)
}

/// Returns how many waits and how many other calls there were for each of so many occasions.
fn calls_each(calls: &BTreeMap<String, u64>, occasions: u64) -> (f64, f64) {
    let is_wait = |name: &str| name.starts_with("epoll_") && name.contains("wait");
    let count = |wait: bool| {
        let counts = calls.iter().filter(|(name, _)| is_wait(name) == wait);
        counts.map(|(_, count)| *count).sum::<u64>() as f64 / occasions as f64
    };
    (count(true), count(false))
}

fn unix_time() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64()
}

/// Counts the calls of this span by name, once strace has written all of them.
fn wait_for_calls(trace: &Path, from: f64, until: f64) -> BTreeMap<String, u64> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = std::fs::read_to_string(trace).unwrap();
        // A line begins with the thread, the time and the name; the last one may be a part.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let calls = whole.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            let time: f64 = words.nth(1)?.parse().ok()?;
            let (name, _) = words.next()?.split_once('(')?;
            Some((time, name))
        });
        let mut counts = BTreeMap::new();
        for (time, name) in calls {
            if time > until {
                return counts;
            }
            if time >= from {
                *counts.entry(name.to_owned()).or_default() += 1;
            }
        }
        assert!(
            Instant::now() < deadline,
            "the trace does not reach its end: {counts:?}"
        );
        thread::sleep(INTERVAL / 100);
    }
}
