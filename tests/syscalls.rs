//! What a heartbeat costs: with 1 000 WebSocket connections in the steady state the server makes one
//! read and one write a ping answered, and no more waits than that.
#![cfg(all(target_os = "linux", feature = "cli"))]
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use support::crowd::Crowd;
use support::program::Server;
use support::{PATIENCE, Wire};

const CONNECTIONS: usize = 1_000;
const INTERVAL: Duration = Duration::from_secs(1);

#[test]
fn a_heartbeat_costs_two_system_calls_and_at_most_one_wait() {
    let place =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("syscalls-{}", std::process::id()));
    // The server is the child of this test and strace its own: that needs no right to attach.
    let mut strace = Command::new("strace");
    strace
        .args(["-D", "-f", "-ttt", "-s", "0", "-o"])
        .arg(&place);
    let times = [
        "--interval",
        "1s",
        "--timeout",
        "10s",
        "--max-connections",
        "2000",
    ];
    let server = Server::start_under(strace, &[Wire::WebSocket], &times);
    let crowd = Crowd::connect(server.port(Wire::WebSocket), CONNECTIONS);
    // The steady state: every connection has been through more than a whole interval.
    crowd.wait_for_answers(2 * CONNECTIONS as u64);

    let (from, before) = (unix_time(), crowd.answered());
    crowd.wait_for_answers(before + 5 * CONNECTIONS as u64);
    let (until, answered) = (unix_time(), crowd.answered() - before);
    let calls = wait_for_calls(&place, from, until);
    std::fs::remove_file(&place).unwrap();
    assert_eq!(crowd.lost(), 0, "the server closed connections");

    let is_wait = |name: &str| name.starts_with("epoll_") && name.contains("wait");
    let per_answer = |wait: bool| {
        let counts = calls.iter().filter(|(name, _)| is_wait(name) == wait);
        counts.map(|(_, count)| *count).sum::<u64>() as f64 / answered as f64
    };
    let (waits, others) = (per_answer(true), per_answer(false));
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
