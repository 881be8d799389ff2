//! Connections come and go, and leave nothing behind (F44).

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use socket2::SockRef;

use crate::support::PATIENCE;
use crate::support::Wire::{self, Binary, Line, WebSocket};
use crate::support::bytes::{masked_frame, message, ping, upgrade_request};
use crate::support::program::Server;

/// What a process holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    descriptors: usize,
    /// Bytes that are its own: no file's.
    memory: usize,
}

impl Held {
    fn by(pid: Pid) -> Self {
        let place = format!("/proc/{}", pid.as_raw_nonzero());
        let status = fs::read_to_string(format!("{place}/status")).unwrap();
        let own = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = own.unwrap().trim().trim_end_matches("kB").trim();
        Self {
            descriptors: fs::read_dir(format!("{place}/fd")).unwrap().count(),
            memory: 1_024 * kib.parse::<usize>().unwrap(),
        }
    }
}

/// Lets connections come and go for a while, and checks what the program holds afterwards.
pub(crate) fn come_and_go_for(span: Duration) {
    let times = [
        "--interval",
        "400ms",
        "--timeout",
        "1s",
        "--write-timeout",
        "1s",
    ];
    let ends = ["--handshake-timeout", "500ms", "--close-timeout", "300ms"];
    let limits = ["--half-open-per-address", "off"];
    let server = Server::start(&WIRES, &[&times[..], &ends, &limits].concat());
    let ports = WIRES.map(|wire| (wire, server.port(wire)));
    let pid = server.process().pid();
    let fresh = Held::by(pid);
    // Pools, tables and pages of the program are there once a few of each kind have been.
    let mut count = churn(&ports, Duration::from_secs(1));
    let base = at_rest(pid, fresh.descriptors, usize::MAX);
    count += churn(&ports, span);
    let after = at_rest(pid, fresh.descriptors, base.memory + SPARE);
    println!("{count} connections; fresh {fresh:?}, then {base:?}, at the end {after:?}");

    let summary = server.finish();
    let figure = |value: &serde_json::Value| value.as_u64().unwrap();
    let ended = figure(&summary["connections"]) + figure(&summary["rejected"]);
    assert_eq!(ended, count as u64, "{summary}");
    let causes = summary["causes"].as_object().unwrap();
    assert_eq!(causes.values().map(figure).sum::<u64>(), ended, "{summary}");
    for cause in ["peer_eof", "peer_reset", "peer_closed", "protocol_error"] {
        assert!(causes.contains_key(cause), "nobody ended so: {summary}");
    }
}

/// Waits until the program holds no more than this; returns what it holds then.
fn at_rest(pid: Pid, descriptors: usize, memory: usize) -> Held {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let held = Held::by(pid);
        if held.descriptors <= descriptors && held.memory <= memory {
            return held;
        }
        assert!(
            Instant::now() < deadline,
            "{held:?}: more than {descriptors} descriptors or {memory} bytes"
        );
        thread::sleep(Duration::from_millis(20));
    }
}

/// Returns how many came and went.
fn churn(ports: &[(Wire, u16)], span: Duration) -> usize {
    let (until, count) = (Instant::now() + span, AtomicUsize::new(0));
    thread::scope(|scope| {
        for worker in 0..WORKERS {
            let count = &count;
            scope.spawn(move || {
                // Those that say nothing any more, until the server has had enough of them.
                let mut silent = Vec::new();
                let mut number = worker;
                while Instant::now() < until {
                    let (wire, port) = ports[number % ports.len()];
                    count.fetch_add(1, Ordering::Relaxed);
                    silent.extend(come_and_go(wire, port, number / ports.len()));
                    if silent.len() > MOST_SILENT {
                        silent.remove(0);
                    }
                    number += 1;
                    thread::sleep(Duration::from_millis(1));
                }
            });
        }
    });
    count.into_inner()
}

/// Connects and leaves in one of several ways; returns who stays and is silent.
fn come_and_go(wire: Wire, port: u16, number: usize) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let way = number % 8;
    if way == 0 {
        return None;
    }
    if wire == WebSocket {
        let request = upgrade_request("/", "");
        if way == 1 {
            stream.write_all(&request[..20]).unwrap();
            return None;
        }
        stream.write_all(&request).unwrap();
        read_past(&mut stream, b"\r\n\r\n");
    }
    match way {
        // Whatever it is owed, it does not wait for it.
        1 => stream.write_all(&ping(wire, b"gone")).unwrap(),
        2 => SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap(),
        3 | 4 => {
            let text = vec![b'c'; [3, 30_000][way - 3]];
            stream.write_all(&message(wire, &text)).unwrap();
            read_past(&mut stream, &text);
        }
        5 if wire == WebSocket => {
            stream
                .write_all(&masked_frame(0x88, &1000u16.to_be_bytes()))
                .unwrap();
            read_to_end(&mut stream);
        }
        5 => {
            stream.shutdown(Shutdown::Write).unwrap();
            read_to_end(&mut stream);
        }
        6 => {
            // No wire has such a beginning, or such a line.
            stream.write_all(&[0xFE; 16]).unwrap();
            stream.write_all(b"\n").unwrap();
            read_to_end(&mut stream);
        }
        _ => return Some(stream),
    }
    None
}

/// Reads until this has come; what is in front of it may be pings.
fn read_past(stream: &mut TcpStream, awaited: &[u8]) {
    let mut heard = Vec::new();
    let mut buffer = [0; 64 * 1_024];
    while !heard.windows(awaited.len()).any(|window| window == awaited) {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the server left early");
        heard.extend_from_slice(&buffer[..count]);
    }
}

fn read_to_end(stream: &mut TcpStream) {
    match stream.read_to_end(&mut Vec::new()) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("no end: {error}"),
        Ok(_) | Err(_) => {}
    }
}

#[test]
fn f44_after_churn_the_program_is_as_small_as_before() {
    come_and_go_for(Duration::from_secs(4));
}

/// The loop itself, in this thread, with its peers beside it.
mod in_process {
    use std::fs;
    use std::io::Write;
    use std::net::Shutdown;
    use std::os::fd::AsRawFd;

    use heartwheel::close::Cause;
    use heartwheel::reactor::{ListenerConfig, Reactor, WireFactory};
    use socket2::SockRef;

    use crate::support::bytes::masked_frame;
    use crate::support::recorder::Recorder;
    use crate::support::turning::{
        connect_peer, drive, heartbeat, listen_with, open_websocket, reactor,
    };

    /// Returns how many descriptors its selector watches.
    fn watched(reactor: &Reactor<u32, u64>) -> usize {
        let path = format!("/proc/self/fdinfo/{}", reactor.as_raw_fd());
        let info = fs::read_to_string(path).unwrap();
        info.lines().filter(|line| line.starts_with("tfd:")).count()
    }

    #[test]
    fn f44_after_churn_slots_timers_and_descriptors_are_as_before() {
        const ROUNDS: usize = 60;
        let (mut reactor, mut recorder) = (reactor(), Recorder::echoing());
        let addrs = [WireFactory::WebSocket, WireFactory::Line].map(|wire| {
            let mut config = ListenerConfig::new(([127, 0, 0, 1], 0).into(), wire);
            config.heartbeat = heartbeat(Some(20), Some(60));
            listen_with(&mut reactor, config).1
        });
        let [web, line] = addrs;
        let before = watched(&reactor);
        assert_eq!(reactor.next_timeout(), None);
        let mut ended = 0;
        for _ in 0..ROUNDS {
            let mut closes = open_websocket(&mut reactor, &mut recorder, web);
            closes.write_all(&masked_frame(0x88, &[3, 0xE8])).unwrap();
            let breaks = open_websocket(&mut reactor, &mut recorder, web);
            (&breaks).write_all(&[0xFF; 8]).unwrap();
            let leaves = connect_peer(line);
            leaves.shutdown(Shutdown::Write).unwrap();
            let resets = connect_peer(line);
            let half = connect_peer(web);
            let silent = connect_peer(line);
            ended += 6;
            // The silent one is open once it is pinged, and is given up; the others end by themselves.
            drive(&mut reactor, &mut recorder, |seen| {
                seen.opened().len() % 5 == 0
            });
            SockRef::from(&resets)
                .set_linger(Some(std::time::Duration::ZERO))
                .unwrap();
            drop((breaks, resets, half));
            drive(&mut reactor, &mut recorder, |seen| {
                seen.closed().len() + seen.rejected().len() == ended
            });
            drop((closes, leaves, silent));
            // Nothing is left: no connection, no timer, nothing to watch.
            assert!(reactor.is_empty());
            assert_eq!(reactor.next_timeout(), None);
            assert_eq!(watched(&reactor), before);
        }
        // Each opened slot was used again and again.
        let slots = recorder.opened().into_iter().map(|id| {
            let name = id.to_string();
            let slot = name.split('.').next().unwrap();
            slot.parse::<usize>().unwrap()
        });
        assert!(slots.max().unwrap() < 6);
        let closed = recorder.closed();
        let count = |cause: Cause| closed.iter().filter(|(_, end)| end.cause == cause).count();
        assert_eq!(count(Cause::PeerClosed), ROUNDS);
        assert_eq!(count(Cause::ProtocolError), ROUNDS);
    }
}

const WIRES: [Wire; 3] = [WebSocket, Line, Binary];

/// Threads whose clients come and go.
const WORKERS: usize = 4;

/// Silent ones that a thread holds at once.
const MOST_SILENT: usize = 100;

/// What pools, tables and the allocator may hold more than the first time, all with limits of their own.
const SPARE: usize = 4 << 20;
