//! What a heartbeat costs: with 1 000 WebSocket connections in the steady state the server makes one
//! read and one write a ping answered, and no more waits than that.
#![cfg(all(target_os = "linux", feature = "cli"))]
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::program::Server;
use support::raw::{RawPeer, masked_frame, unmasked_frame};
use support::{PATIENCE, Wire};

const CONNECTIONS: usize = 1_000;
const INTERVAL: Duration = Duration::from_secs(1);

#[test]
fn a_heartbeat_costs_two_system_calls_and_at_most_one_wait() {
    raise_descriptor_limit();
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
    let crowd = Crowd::connect(server.port(Wire::WebSocket));
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

/// Both ends of all connections need a descriptor, and some systems start with 1024.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let enough = CONNECTIONS as u64 + 200;
    if limit.current.is_some_and(|current| current < enough) {
        let raised = Rlimit {
            current: Some(enough),
            maximum: limit.maximum,
        };
        setrlimit(Resource::Nofile, raised).expect("1 200 descriptors: raise `ulimit -Hn`");
    }
}

/// Clients that answer pings, held by one thread.
struct Crowd {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    answered: AtomicU64,
    lost: AtomicU64,
    over: AtomicBool,
}

impl Crowd {
    fn connect(port: u16) -> Self {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let members: Vec<_> = (0..CONNECTIONS)
            .map(|_| Member::new(RawPeer::connect(Wire::WebSocket, port)))
            .collect();
        thread::spawn(move || hold(members, &theirs));
        Self { shared }
    }

    fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    fn wait_for_answers(&self, count: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.answered() < count {
            assert!(
                Instant::now() < deadline,
                "{} answers of {count}",
                self.answered()
            );
            thread::sleep(INTERVAL / 100);
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
    }
}

struct Member {
    stream: TcpStream,
    rx: Vec<u8>,
}

impl Member {
    fn new(peer: RawPeer) -> Self {
        let (stream, rx) = peer.into_parts();
        stream.set_nonblocking(true).unwrap();
        Self {
            stream: TcpStream::from_std(stream),
            rx,
        }
    }

    /// Reads to would-block and answers pings; returns how many, or nothing at the end.
    fn answer(&mut self) -> Option<u64> {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => self.rx.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return None,
            }
        }
        let mut answered = 0;
        while let Some((first, payload)) = unmasked_frame(&self.rx) {
            assert_eq!(first, 0x89, "only pings are expected");
            let pong = masked_frame(0x8A, &self.rx[payload.clone()]);
            self.stream.write_all(&pong).ok()?;
            self.rx.drain(..payload.end);
            answered += 1;
        }
        Some(answered)
    }
}

fn hold(mut members: Vec<Member>, shared: &Shared) {
    let mut poll = Poll::new().unwrap();
    for (index, member) in members.iter_mut().enumerate() {
        poll.registry()
            .register(&mut member.stream, Token(index), Interest::READABLE)
            .unwrap();
        // What came with the handshake gives no event any more.
        shared
            .answered
            .fetch_add(member.answer().unwrap(), Ordering::Relaxed);
    }
    let mut events = Events::with_capacity(1024);
    while !shared.over.load(Ordering::Relaxed) {
        poll.poll(&mut events, Some(INTERVAL / 10)).unwrap();
        for event in &events {
            match members[event.token().0].answer() {
                Some(count) => shared.answered.fetch_add(count, Ordering::Relaxed),
                None => shared.lost.fetch_add(1, Ordering::Relaxed),
            };
        }
    }
}
