//! What an idle connection costs, seen from outside the server.
#![cfg(all(target_os = "linux", feature = "cli"))]
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::fs;
use std::net::{IpAddr, SocketAddr};

use heartwheel::WireKind;
use rustix::process::Pid;
use support::crowd::{Crowd, raise_descriptor_limit};
use support::process::Process;
use support::program::start;
use support::secure::{Files, addr, serve};
use support::swarm::Swarm;

/// In debug builds mio's socket carries a mark, which takes this much with its padding.
const MARK: u16 = if cfg!(debug_assertions) { 16 } else { 0 };

/// Bytes for each that pages only begun and, where the machine is busy, lists of what happens at once may
/// come to.
const SPARE: f64 = 8.0;

const FEW: usize = 1_000;
const MANY: usize = 7_000;

/// Starts a server that tells of few events, as the program does unless it is asked for JSON.
fn server(ip: IpAddr) -> (Process, SocketAddr) {
    let any = SocketAddr::new(ip, 0).to_string();
    let mut args = vec!["serve", "--ws", &any, "--half-open-per-address", "off"];
    args.extend(["--interval", "2s", "--timeout", "60s"]);
    let process = start(&args);
    let addr = process.wait_for("listening", |line| {
        line.text.strip_prefix("listening ws ")?.parse().ok()
    });
    (process, addr)
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

/// Measures what one more idle connection takes with peers on this address of this machine.
fn bytes_each(ip: IpAddr) -> f64 {
    let (server, addr) = server(ip);
    let few = Crowd::rush(addr, FEW);
    rest(&few, FEW);
    let before = own_memory(server.pid());
    let more = Crowd::rush(addr, MANY - FEW);
    rest(&more, MANY - FEW);
    let grown = own_memory(server.pid()).saturating_sub(before);
    let each = grown as f64 / (MANY - FEW) as f64;
    println!("{each:.1} bytes for each of {} connections", MANY - FEW);
    each
}

/// The same over TLS 1.3.
fn bytes_each_over_tls() -> f64 {
    let files = Files::new();
    files.issue("a", &["server.test"]);
    let options = "--half-open-per-address off --interval 2s --timeout 60s --handshake-timeout 60s";
    let options: Vec<_> = options.split(' ').map(str::to_owned).collect();
    let server = serve(&["--wss"], &[&files.flags("a"), &options]);
    let config = files.client(WireKind::WebSocket).config().unwrap();
    raise_descriptor_limit(MANY);
    let swarm = Swarm::new(addr(&server, "wss"), "server.test", config);
    let own_memory = |count| {
        swarm.grow(count);
        swarm.wait_for_answers(3 * count);
        own_memory(server.pid())
    };
    let few = own_memory(FEW);
    let grown = own_memory(MANY).saturating_sub(few);
    let each = grown as f64 / (MANY - FEW) as f64;
    println!("{each:.1} bytes for each of {} connections", MANY - FEW);
    each
}

/// Tests that take many descriptors.
mod large {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};

    #[test]
    #[ignore = "needs 7 000 descriptors: raise ulimit -Hn"]
    fn an_idle_websocket_connection_takes_at_most_144_bytes_and_160_over_ipv6() {
        let ipv4 = super::bytes_each(Ipv4Addr::LOCALHOST.into());
        super::assert_at_most(144, ipv4);
        if let Err(error) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) {
            println!("skipped: this machine has no ::1: {error}");
            return;
        }
        let ipv6 = super::bytes_each(Ipv6Addr::LOCALHOST.into());
        super::assert_at_most(160, ipv6);
    }

    #[test]
    #[ignore = "needs 7 000 descriptors: raise ulimit -Hn"]
    fn an_idle_connection_over_tls_takes_at_most_2_900_bytes() {
        let each = super::bytes_each_over_tls();
        assert!((1_000.0..=2_900.0).contains(&each), "{each} bytes for each");
    }
}

#[track_caller]
fn assert_at_most(budget: u16, each: f64) {
    assert!(
        each <= f64::from(budget + MARK) + SPARE,
        "{each} bytes for each"
    );
    assert!(
        each >= 100.0,
        "{each} bytes for each is too good to be true"
    );
}
