//! What an idle connection costs, seen from outside the server.
#![cfg(all(target_os = "linux", feature = "cli"))]
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::fs;

use rustix::process::Pid;
use support::crowd::Crowd;
use support::process::Process;
use support::program::start;

/// Bytes of user memory that an idle WebSocket connection may take, all in.
const BUDGET: u64 = 160;

/// In debug builds mio's socket carries a mark, which takes this much with its padding.
const MARK: u64 = if cfg!(debug_assertions) { 16 } else { 0 };

const FEW: usize = 1_000;
const MANY: usize = 7_000;

/// Starts a server that tells of few events, as the program does unless it is asked for JSON.
fn server(args: &[&str]) -> (Process, u16) {
    let mut all = vec!["serve", "--ws", "127.0.0.1:0"];
    all.extend(["--interval", "2s", "--timeout", "60s"]);
    all.extend(args);
    let process = start(&all);
    let port = process.wait_for("listening", |line| {
        let address = line.text.strip_prefix("listening ws ")?;
        address.rsplit_once(':')?.1.parse().ok()
    });
    (process, port)
}

/// Returns the bytes of memory that are the process's own: no file's, such as its code.
fn own_memory(pid: Pid) -> u64 {
    let path = format!("/proc/{}/smaps_rollup", pid.as_raw_nonzero());
    let rollup = fs::read_to_string(path).expect("Linux 4.14 or newer tells");
    let figure = rollup
        .lines()
        .find_map(|line| line.strip_prefix("Anonymous:"))
        .and_then(|rest| rest.trim().strip_suffix("kB"));
    figure.unwrap().trim().parse::<u64>().unwrap() * 1_024
}

/// Waits until each of so many has answered two pings more.
fn rest(crowd: &Crowd, count: usize) {
    crowd.wait_for_answers(crowd.answered() + 2 * count as u64);
    assert_eq!(crowd.lost(), 0);
}

#[test]
fn an_idle_websocket_connection_takes_at_most_160_bytes() {
    let (server, port) = server(&["--half-open-per-address", "off"]);
    let few = Crowd::rush(port, FEW);
    rest(&few, FEW);
    let before = own_memory(server.pid());
    let more = Crowd::rush(port, MANY - FEW);
    rest(&more, MANY - FEW);
    let grown = own_memory(server.pid()).saturating_sub(before);
    let each = grown / (MANY - FEW) as u64;
    println!("{each} bytes for each of {} connections", MANY - FEW);
    assert!(each <= BUDGET + MARK, "{each} bytes for each");
    assert!(each >= 100, "{each} bytes for each is too good to be true");
}
