//! Several loops behind one port: they count as one.
#![cfg(all(target_os = "linux", feature = "cli"))]
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::program::{Server, start};
use support::raw::{Arrival, RawPeer, assert_broadcast_from, knock};
use support::{PATIENCE, Wire};

const SHARDS: [&str; 2] = ["--shards", "3"];

/// Connections among which each of three shards has some: the kernel deals them out blindly, and one
/// goes empty-handed less than once in 10^9 times.
const MANY: usize = 60;

fn serve(args: &[&str]) -> Server {
    Server::start(&[Wire::Line], &[SHARDS.as_slice(), args].concat())
}

fn connect(server: &Server, count: usize) -> Vec<RawPeer> {
    let port = server.port(Wire::Line);
    (0..count)
        .map(|_| RawPeer::connect(Wire::Line, port))
        .collect()
}

/// Returns the names of connections that have opened, once there are so many.
fn opened(server: &Server, count: usize) -> Vec<String> {
    let mut names = Vec::new();
    let mut mark = 0;
    while names.len() < count {
        let (at, name) = server.process().wait_past(mark, "open", |line| {
            line.event("open")?["id"].as_str().map(str::to_owned)
        });
        names.push(name);
        mark = at + 1;
    }
    names
}

/// Returns the shard that a connection has come to.
fn shard_of(server: &Server, peer: &RawPeer) -> usize {
    let end = format!(":{}", peer.local_port());
    let name = server.process().wait_for("open", |line| {
        let event = line.event("open")?;
        let is_it = event["peer"].as_str()?.ends_with(&end);
        is_it.then(|| event["id"].as_str().map(str::to_owned))?
    });
    shard(&name)
}

/// Returns the shard that a name carries: none is written for the first.
fn shard(name: &str) -> usize {
    name.split_once(':')
        .map_or(0, |(shard, _)| shard.parse().unwrap())
}

#[test]
fn every_loop_has_connections_and_no_two_have_one_name() {
    let server = serve(&[]);
    let _peers = connect(&server, MANY);
    let names = opened(&server, MANY);
    let shards: BTreeSet<_> = names.iter().map(|name| shard(name)).collect();
    assert_eq!(shards.into_iter().collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), MANY);
    let summary = server.finish();
    assert_eq!(summary["connections"], MANY);
    assert_eq!(summary["causes"]["drain"], MANY);
}

#[test]
fn a_broadcast_reaches_the_connections_of_every_loop_but_its_sender() {
    let server = serve(&["--mode", "broadcast"]);
    let mut peers = connect(&server, MANY);
    opened(&server, MANY);
    assert_broadcast_from(&mut peers, [0, MANY - 1]);
}

#[test]
fn a_sender_waits_for_loops_that_do_not_keep_up_with_its_broadcasts() {
    /// More than the loops' queues hold.
    const COUNT: usize = 80_000;
    // Those who only read would be silent for too long on a busy machine.
    let heartbeat = ["--interval", "off", "--timeout", "off"];
    let mode = ["--mode", "broadcast", "--messages-per-second", "off"];
    let server = serve(&[&mode[..], &heartbeat[..]].concat());
    let mut sender = RawPeer::connect(Wire::Line, server.port(Wire::Line));
    let own = shard_of(&server, &sender);
    // Whoever shares the sender's loop would hold it back.
    let others: Vec<_> = connect(&server, MANY)
        .into_iter()
        .filter(|peer| shard_of(&server, peer) != own)
        .collect();
    thread::scope(|scope| {
        for mut peer in others {
            scope.spawn(move || {
                for number in 0..COUNT {
                    let message = Arrival::Message((number % 10).to_string().into_bytes());
                    assert_eq!(peer.next(), message, "message {number}");
                }
            });
        }
        let mut lines = String::new();
        for number in 0..COUNT {
            lines.push_str(&format!("{}\n", number % 10));
        }
        sender.write(lines.as_bytes());
    });
}

/// Dials at once, so often, and returns the connections that get an echo: the others are reset.
fn let_in(server: &Server, count: usize) -> Vec<TcpStream> {
    let addr = server.addr(Wire::Line);
    let mut dialed: Vec<_> = (0..count).map(|_| knock(addr)).collect();
    let is_answered = |mut stream: &TcpStream| {
        let mut answer = [0; 3];
        stream.set_read_timeout(Some(PATIENCE)).is_ok()
            && stream.write_all(b"hi\n").is_ok()
            && stream.read_exact(&mut answer).is_ok()
    };
    dialed.retain(is_answered);
    dialed
}

#[test]
fn the_total_of_connections_holds_for_all_loops_together() {
    let server = serve(&["--max-connections", "20"]);
    let stay = let_in(&server, MANY);
    assert_eq!(stay.len(), 20);
    // What goes makes room, wherever it was.
    drop(stay);
    let deadline = Instant::now() + PATIENCE;
    while let_in(&server, 20).len() < 20 {
        assert!(Instant::now() < deadline, "20 have gone");
    }
}

#[test]
fn limits_of_an_address_hold_for_all_loops_together() {
    let server = serve(&["--limit-loopback", "--open-per-address", "7"]);
    let stay = let_in(&server, MANY);
    assert_eq!(stay.len(), 7);
}

#[test]
fn a_rate_of_new_connections_holds_for_all_loops_together() {
    let began = Instant::now();
    let server = serve(&["--handshakes-per-second", "5"]);
    let stay = let_in(&server, MANY);
    let (stay, seconds) = (stay.len(), began.elapsed().as_secs_f64());
    let most = 5.0 + 5.0 * seconds;
    assert!(
        stay >= 5 && stay as f64 <= most,
        "{stay} within {seconds} s"
    );
}

#[test]
fn heartbeats_and_verdicts_are_each_loops_own() {
    let times = ["--interval", "300ms", "--timeout", "900ms"];
    let server = serve(&times);
    let peers = connect(&server, MANY);
    for peer in &peers {
        let record = server.wait_closed_from(peer.local_port());
        record.assert_silence(Duration::from_millis(900), Duration::from_millis(10));
    }
}

/// Starts a server that waits long for connections that do not close when they are asked to.
fn serve_patiently() -> Server {
    let times = ["--drain", "60s", "--close-timeout", "60s"];
    serve(&[times.as_slice(), &["--interval", "off", "--timeout", "off"]].concat())
}

/// Signals twice while there are so many connections, which are left then.
fn assert_ends_at_once(mut server: Server, count: usize) {
    server.process().signal(Signal::TERM);
    let told = |line: &support::process::Line| line.event("draining")?["connections"].as_u64();
    let draining = server.process().wait_for("draining", told);
    assert_eq!(draining, count as u64);
    server.process().signal(Signal::TERM);
    let status = server.process_mut().wait_exit();
    assert_eq!(status.code(), Some(1));
}

#[test]
fn a_second_signal_ends_every_loop_at_once() {
    let server = serve_patiently();
    let _peers = connect(&server, MANY);
    opened(&server, MANY);
    assert_ends_at_once(server, MANY);
}

#[test]
fn a_second_signal_is_heard_where_the_first_loop_has_no_connections() {
    let server = serve_patiently();
    let (first, others): (Vec<_>, Vec<_>) = connect(&server, MANY)
        .into_iter()
        .partition(|peer| shard_of(&server, peer) == 0);
    let ports: Vec<_> = first.iter().map(RawPeer::local_port).collect();
    drop(first);
    for port in ports {
        server.wait_closed_from(port);
    }
    assert_ends_at_once(server, others.len());
}

#[test]
fn a_drain_ends_when_the_last_loop_is_done() {
    let server = serve(&["--drain", "60s", "--interval", "off", "--timeout", "off"]);
    let mut peer = loop {
        let peer = RawPeer::connect(Wire::Line, server.port(Wire::Line));
        if shard_of(&server, &peer) > 0 {
            break peer;
        }
    };
    // It closes when it is asked to, after the first loop has found itself without connections.
    let closes = thread::spawn(move || {
        peer.ignore_until_end();
    });
    let summary = server.finish();
    assert_eq!(summary["causes"]["drain"], 1);
    closes.join().unwrap();
}

#[test]
fn a_port_that_other_loops_share_is_in_use() {
    let server = serve(&[]);
    let addr = server.addr(Wire::Line).to_string();
    let mut second = start(&["serve", "--shards", "2", "--tcp", &addr]);
    assert_eq!(second.wait_exit().code(), Some(1));
    assert!(
        second.stderr().contains("port is in use"),
        "{}",
        second.stderr()
    );
}

#[test]
fn room_is_told_for_the_loops_that_there_are() {
    let mut limited = Command::new("prlimit");
    // Not enough at the start for the loops alone.
    limited.arg("--nofile=40:150");
    let server = Server::start_under(limited, &[Wire::Line], &["--shards", "16"]);
    let room = server
        .process()
        .wait_for("room", |line| line.event("room")?["connections"].as_u64());
    let room = usize::try_from(room).unwrap();
    assert!((50..=80).contains(&room), "{room}");
    let peers = connect(&server, room);
    opened(&server, peers.len());
}

#[test]
fn shards_out_of_range_are_refused_with_the_flag() {
    for (typed, reason) in [("0", "must not be zero"), ("65", "must be at most 64")] {
        let mut program = start(&["serve", "--shards", typed]);
        assert_eq!(program.wait_exit().code(), Some(2));
        let said = program.stderr();
        assert!(said.contains("--shards") && said.contains(reason), "{said}");
    }
}
