//! The server leaves (F30, F31), single connections are sent away (F32) or half gone (F52).

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use socket2::{Domain, Socket, Type};

use crate::support::PATIENCE;
use crate::support::Wire::{self, WebSocket};
use crate::support::bytes::{message, upgrade_request};
use crate::support::crowd::Crowd;
use crate::support::process::Line;
use crate::support::program::Server;
use crate::support::raw::{Arrival, RawPeer};
use crate::support::record::Record;

/// Lets so many go over a window, and checks everything but how evenly they went: a busy machine can
/// spoil that, and nothing else, so that it may be tried again.
pub(crate) fn let_go_evenly(count: usize, window: Duration) {
    let mut found = Vec::new();
    for _ in 0..TRIES {
        let seconds = let_go(count, window);
        let mean = seconds.iter().sum::<usize>() / seconds.len();
        let is_even = |&second: &usize| second.abs_diff(mean) * 5 <= mean;
        if seconds.iter().all(is_even) {
            return;
        }
        found.push(seconds);
    }
    panic!("goodbyes in each second, in {TRIES} tries: {found:?}");
}

/// Lets so many go, and returns how many went in each whole second between the first and the last.
fn let_go(count: usize, window: Duration) -> Vec<usize> {
    let drain = format!("{}s", window.as_secs());
    let limits = [
        "--half-open-per-address",
        "off",
        "--handshake-timeout",
        "60s",
    ];
    let times = [
        "--interval",
        "off",
        "--timeout",
        "off",
        "--close-timeout",
        "60s",
        "--drain",
        &drain,
    ];
    let mut server = Server::start(&[WebSocket], &[&limits[..], &times].concat());
    let addr = server.addr(WebSocket);
    let crowd = Crowd::rush(addr, count);
    server.process().signal(Signal::TERM);
    let told = |line: &Line| line.event("draining")?["connections"].as_u64();
    assert_eq!(server.process().wait_for("draining", told), count as u64);
    for share in [1, count / 4, count / 2] {
        crowd.wait_for_goodbyes(share);
        assert_turned_away(addr);
    }
    crowd.wait_for_goodbyes(count);
    let status = server.process_mut().wait_exit();
    assert_eq!(status.code(), Some(0), "{}", server.process().transcript());
    let summary = server
        .process()
        .wait_for("summary", |line| line.event("summary").cloned());
    assert_eq!(summary["connections"], count, "{summary}");
    assert_eq!(summary["causes"]["drain"], count, "{summary}");

    let goodbyes = crowd.goodbyes();
    assert_eq!(goodbyes.len(), count);
    assert!(goodbyes.iter().all(|&(_, code)| code == 1001));
    let first = goodbyes.iter().map(|&(at, _)| at).min().unwrap();
    let seconds = goodbyes.iter().map(|&(at, _)| (at - first).as_secs());
    let mut counts = Vec::new();
    for second in seconds {
        let second = usize::try_from(second).unwrap();
        counts.resize(counts.len().max(second + 1), 0);
        counts[second] += 1;
    }
    // The last second is not a whole one.
    counts.pop();
    assert!(
        counts.len() as u64 + 1 >= window.as_secs(),
        "too soon: {counts:?}"
    );
    counts
}

/// Shakes hands with a server that leaves.
fn assert_turned_away(addr: SocketAddr) {
    let mut late = TcpStream::connect(addr).unwrap();
    late.set_read_timeout(Some(PATIENCE)).unwrap();
    late.write_all(&upgrade_request("/", "")).unwrap();
    let mut answer = Vec::new();
    late.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
}

#[test]
fn f30_five_hundred_are_let_go_evenly_over_the_window() {
    let_go_evenly(500, Duration::from_secs(4));
}

/// Starts a server with clients that never answer its goodbye.
fn with_deaf_peers(drain: &str) -> (Server, Vec<RawPeer>) {
    let times = ["--interval", "off", "--timeout", "off"];
    let leaving = ["--close-timeout", "10min", "--drain", drain];
    let server = Server::start(&[WebSocket], &[times, leaving].concat());
    let mut peers: Vec<_> = (0..DEAF)
        .map(|_| RawPeer::connect(WebSocket, server.port(WebSocket)))
        .collect();
    for peer in &peers {
        server.wait_open(peer.local_port());
    }
    server.process().signal(Signal::TERM);
    for peer in &mut peers {
        assert_eq!(peer.next(), Arrival::Close(Some(1001)));
    }
    (server, peers)
}

/// Returns the causes of the ends that the program told of, and how many were clean.
fn told_ends(server: &Server) -> (Vec<String>, usize) {
    let lines = server.process().lines();
    let ends = lines.iter().filter_map(|line| line.event("closed"));
    let ends: Vec<_> = ends.cloned().map(Record).collect();
    let clean = ends.iter().filter(|end| end.is_clean()).count();
    let causes = ends.iter().map(|end| end.cause().to_owned());
    (causes.collect(), clean)
}

#[test]
fn f31_a_second_signal_ends_at_once_with_one_and_tells_who_was_left() {
    // Nothing but the second signal could end this within a test's patience.
    let (mut server, _peers) = with_deaf_peers("10min");
    server.process().signal(Signal::TERM);
    let status = server.process_mut().wait_exit();
    assert_eq!(status.code(), Some(1));
    let told = |line: &Line| line.event("aborted")?["connections"].as_u64();
    assert_eq!(server.process().find(told), Some(DEAF as u64));
}

#[test]
fn f31_who_has_not_gone_when_the_window_is_over_is_told_of() {
    let began = Instant::now();
    let (mut server, peers) = with_deaf_peers("2s");
    let status = server.process_mut().wait_exit();
    assert_eq!(status.code(), Some(0), "{}", server.process().transcript());
    assert!(
        began.elapsed() >= Duration::from_secs(2),
        "the window is theirs"
    );
    assert_eq!(told_ends(&server), (vec!["drain".to_owned(); DEAF], 0));
    let summary = |line: &Line| line.event("summary").cloned();
    let summary = server.process().find(summary).expect("a summary");
    assert_eq!(summary["causes"]["drain"], DEAF, "{summary}");
    for mut peer in peers {
        let (end, _) = peer.ignore_until_end();
        assert!(matches!(end, Arrival::Eof | Arrival::Reset), "{end:?}");
    }
}

#[test]
fn f32_lifetimes_end_spread_by_a_tenth_and_are_no_failures() {
    const LIFETIME: Duration = Duration::from_secs(3);
    let args = [
        "--max-lifetime",
        "3s",
        "--interval",
        "off",
        "--timeout",
        "off",
    ];
    let server = Server::start(&[WebSocket], &args);
    let port = server.port(WebSocket);
    let peers: Vec<_> = (0..MORTALS)
        .map(|_| RawPeer::connect(WebSocket, port))
        .collect();
    let ports: Vec<_> = peers.iter().map(RawPeer::local_port).collect();
    // Each reads on its own, so that none waits to answer for another.
    let reading: Vec<_> = peers
        .into_iter()
        .map(|mut peer| {
            thread::spawn(move || {
                assert_eq!(peer.next(), Arrival::Close(Some(1000)));
                peer.send_close(1000);
                assert_eq!(peer.next(), Arrival::Eof);
            })
        })
        .collect();
    for thread in reading {
        thread.join().unwrap();
    }
    let mut ages = Vec::new();
    for port in ports {
        let record = server.wait_closed_from(port);
        record.assert_end("max_lifetime", true);
        let age = record.time("age");
        assert!(age >= LIFETIME * 9 / 10, "early: {}", record.0);
        ages.push(age.saturating_sub(record.time("loop_delay")));
    }
    ages.sort_unstable();
    // A busy machine makes single ones late, and none early: the middle is where it must be.
    let middle = ages[MORTALS / 2];
    let tick = Duration::from_millis(10);
    assert!(middle <= LIFETIME * 11 / 10 + tick, "{ages:?}");
    let spread = ages[MORTALS * 9 / 10] - ages[MORTALS / 10];
    assert!(spread >= LIFETIME / 10, "all at once: {ages:?}");
    let summary = server.finish();
    assert_eq!(
        summary["causes"],
        serde_json::json!({ "max_lifetime": MORTALS })
    );
    assert_eq!(summary["rejected"], 0);
}

/// Sends more than the kernel holds, ends its direction, and returns the connection; reads nothing yet.
fn half_closed(server: &Server, wire: Wire, text: &[u8]) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(64 * 1_024).unwrap();
    socket.connect(&server.addr(wire).into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.write_all(&message(wire, text)).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn f52_a_half_closed_peer_that_reads_slowly_gets_all_and_one_that_does_not_is_let_go() {
    const STEP: usize = 256 * 1_024;
    let write_timeout = Duration::from_secs(2);
    let args = [
        "--interval",
        "off",
        "--timeout",
        "5min",
        "--write-timeout",
        "2s",
        "--max-message",
        "12MiB",
    ];
    let wires = [Wire::Line, Wire::Binary];
    let server = Server::start(&wires, &args);
    let text = vec![b't'; 12 << 20];
    thread::scope(|scope| {
        for wire in wires {
            let (server, text) = (&server, &text);
            scope.spawn(move || {
                let mut steady = half_closed(server, wire, text);
                let port = steady.local_addr().unwrap().port();
                let began = Instant::now();
                let (mut heard, mut buffer) = (Vec::new(), vec![0; STEP]);
                loop {
                    match steady.read(&mut buffer).unwrap() {
                        0 => break,
                        count => heard.extend_from_slice(&buffer[..count]),
                    }
                    // However small the pieces are in which it comes: 2 500 KiB a second.
                    let due = Duration::from_millis(heard.len() as u64 / 2_560);
                    thread::sleep(due.saturating_sub(began.elapsed()));
                }
                let echo = match wire {
                    Wire::Line => [text, &b"\n"[..]].concat(),
                    _ => message(wire, text),
                };
                assert!(heard == echo, "{} bytes of {}", heard.len(), echo.len());
                let close_timeout = Duration::from_secs(3);
                assert!(began.elapsed() > close_timeout, "that is no total");
                server.wait_closed_from(port).assert_end("peer_eof", true);
            });
            scope.spawn(move || {
                let idle = half_closed(server, wire, text);
                let began = Instant::now();
                let record = server.wait_closed_from(idle.local_addr().unwrap().port());
                record.assert_end("peer_eof", false);
                // Its kernel takes no more, from about when it had sent all.
                let took = began.elapsed();
                assert!(took >= write_timeout * 3 / 4, "{took:?}: {}", record.0);
            });
        }
    });
    server.finish();
}

/// Clients that never answer a goodbye.
const DEAF: usize = 20;

/// Connections with a lifetime.
const MORTALS: usize = 60;

/// A busy machine may spoil some.
const TRIES: usize = 3;
