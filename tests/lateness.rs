//! What the process itself was late is never a peer's fault: stopped and resumed processes on real
//! sockets (F5, F6). Nor is what happens to the wall clock (F8).
#![cfg(all(target_os = "linux", feature = "cli"))]
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use support::crowd::Crowd;
use support::program::{Server, start};
use support::raw::RawPeer;
use support::record::Record;
use support::{PATIENCE, Wire};

const INTERVAL: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_millis(1_500);
/// Half of what the loop takes for a stop of the whole process.
const STOP: Duration = Duration::from_millis(125);
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

/// A wall clock for one program, which the test sets.
struct WallClock {
    offset: PathBuf,
}

impl WallClock {
    fn new(name: &str) -> Self {
        let offset = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let clock = Self { offset };
        clock.set("+0s");
        clock
    }

    /// Sets it off from the real one, for instance by `+3600s`.
    fn set(&self, offset: &str) {
        fs::write(&self.offset, offset).unwrap();
    }

    /// Returns a command that runs another under this clock; the other clocks stay true.
    fn command(&self) -> Command {
        let mut command = Command::new("env");
        command
            .env("LD_PRELOAD", faketime())
            .env("FAKETIME_TIMESTAMP_FILE", &self.offset)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        command
    }
}

impl Drop for WallClock {
    fn drop(&mut self) {
        fs::remove_file(&self.offset).ok();
    }
}

/// Returns the library that sets a program's wall clock off.
fn faketime() -> PathBuf {
    let places = fs::read_dir("/usr/lib").unwrap();
    places
        .map(|place| place.unwrap().path().join("faketime/libfaketimeMT.so.1"))
        .find(|library| library.exists())
        .expect("install the package faketime")
}

/// Returns the hour of the day that a log line bears.
fn logged_hour(line: &str) -> Option<u32> {
    let (_, time) = line.split_once('T')?;
    time.get(..2)?.parse().ok()
}

#[test]
#[ignore = "needs libfaketime: install faketime"]
fn f8_a_wall_clock_that_jumps_an_hour_moves_no_deadline_and_stamps_the_log() {
    let clock = WallClock::new("f8-offset");
    let times = [TIMES.as_slice(), &["--log-level", "debug"]].concat();
    let server = Server::start_under(clock.command(), &[Wire::WebSocket], &times);
    let port = server.port(Wire::WebSocket);
    let crowd = Crowd::connect(port, 20);
    let mut hours = Vec::new();
    for offset in ["+0s", "+3600s", "-3600s", "+0s"] {
        let dead = RawPeer::connect(Wire::WebSocket, port);
        server.wait_open(dead.local_port());
        clock.set(offset);
        let record = server.wait_closed_from(dead.local_port());
        record.assert_silence(TIMEOUT, Duration::from_millis(10));
        let ended = format!("of {} ended", record.0["peer"].as_str().unwrap());
        hours.push(server.process().wait_logged(&ended, |line| {
            line.text
                .contains(&ended)
                .then(|| logged_hour(&line.text))?
        }));
        crowd.wait_for_answers(crowd.answered() + 40);
    }
    assert_eq!(crowd.lost(), 0);
    assert_eq!(closed(&server).len(), 4);
    // The hour may have turned between two lines.
    let passed = |from: u32, to: u32| (to + 24 - from) % 24;
    assert!([1, 2].contains(&passed(hours[0], hours[1])), "{hours:?}");
    assert!([22, 23].contains(&passed(hours[1], hours[2])), "{hours:?}");
    assert!([1, 2].contains(&passed(hours[2], hours[3])), "{hours:?}");
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

#[test]
fn a_server_sums_up_how_late_its_pings_were() {
    let server = Server::start(
        &[Wire::WebSocket],
        &[&TIMES[..], &["--ping-slack", "0s"]].concat(),
    );
    let crowd = Crowd::connect(server.port(Wire::WebSocket), CROWD);
    crowd.wait_for_answers(2 * CROWD as u64);
    // A quarter of an interval's pings are late by up to that. Where a busy machine makes a stop much
    // longer they are passed over, which several stops in a row will hardly be.
    for _ in 0..3 {
        server.process().stop();
        thread::sleep(STOP);
        server.process().resume();
        let answered = crowd.answered();
        crowd.wait_for_answers(answered + CROWD as u64);
    }
    let record = Record(server.finish());
    let (p50, p999) = (record.time("ping_late_p50"), record.time("ping_late_p999"));
    assert!(p50 <= p999);
    assert!(p999 >= STOP / 2, "{p999:?} after stops of {STOP:?}");
}
