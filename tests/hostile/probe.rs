//! The healthy peer: it talks, and measures how long each answer takes.
//!
//! What either side merely waited for a processor is not counted: tests share the machine with others,
//! and the server is not to be blamed for them.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::Pid;

use crate::attacker::connect;
use crate::support::raw::{Arrival, RawPeer};
use crate::support::{PATIENCE, Wire};

/// A thread that talks over one connection of each wire in turn.
pub(crate) struct Probe {
    peers: Vec<SocketAddr>,
    state: Arc<State>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    stop: AtomicBool,
    answers: AtomicU64,
    /// Microseconds that the slowest answer took.
    worst: AtomicU64,
    /// What each answer took since somebody asked last.
    took: Mutex<Vec<Duration>>,
}

/// What the probe says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Talk {
    /// Messages, which must come back, and a ping now and then.
    Echoes,
    /// Only pings, where messages do not come back.
    Pings,
}

impl Probe {
    pub(crate) fn start(server: Pid, ports: &[(Wire, u16)], talk: Talk) -> Self {
        let open = |&(wire, port): &(Wire, u16)| {
            let stream = connect(ADDRESS, port);
            (
                stream.local_addr().unwrap(),
                (wire, RawPeer::over(stream, wire)),
            )
        };
        let (peers, talkers) = ports.iter().map(open).unzip();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let thread = thread::spawn(move || shared.talk(server, talkers, talk));
        Self {
            peers,
            state,
            thread,
        }
    }

    /// Returns the addresses of its connections.
    pub(crate) fn peers(&self) -> &[SocketAddr] {
        &self.peers
    }

    /// Waits for so many more answers.
    pub(crate) fn wait_answers(&self, count: u64) {
        let goal = self.state.answers.load(Ordering::Acquire) + count;
        let deadline = Instant::now() + PATIENCE;
        while self.state.answers.load(Ordering::Acquire) < goal {
            assert!(!self.thread.is_finished(), "the probe has failed");
            assert!(Instant::now() < deadline, "the probe is not answered");
            thread::sleep(PACE);
        }
    }

    /// Returns what the slowest answer took, and begins to measure anew.
    pub(crate) fn take_worst(&self) -> Duration {
        Duration::from_micros(self.state.worst.swap(0, Ordering::AcqRel))
    }

    /// Measures so many answers from now on, and returns what each took.
    pub(crate) fn measure(&self, count: usize) -> Vec<Duration> {
        self.state.took.lock().unwrap().clear();
        // The one that is under way began before.
        self.wait_answers(count as u64 + 1);
        let mut took = self.state.took.lock().unwrap();
        took.drain(1..).collect()
    }

    /// Lets it say goodbye, which must be answered in good order.
    pub(crate) fn finish(self) {
        self.state.stop.store(true, Ordering::Release);
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

impl State {
    fn talk(&self, server: Pid, mut peers: Vec<(Wire, RawPeer)>, talk: Talk) {
        let mut number = 0u32;
        while !self.stop.load(Ordering::Acquire) {
            number += 1;
            for (wire, peer) in &mut peers {
                let (began, delayed) = (Instant::now(), delayed(server));
                if talk == Talk::Pings || number.is_multiple_of(16) {
                    ping(peer, number);
                } else {
                    echo(peer, *wire, number);
                }
                let delayed = self::delayed(server) - delayed;
                let took = began.elapsed().saturating_sub(delayed);
                let micros = u64::try_from(took.as_micros()).unwrap();
                self.worst.fetch_max(micros, Ordering::AcqRel);
                self.took.lock().unwrap().push(took);
                self.answers.fetch_add(1, Ordering::AcqRel);
            }
            thread::sleep(PACE);
        }
        for (wire, peer) in &mut peers {
            say_goodbye(peer, *wire);
        }
    }
}

fn ping(peer: &mut RawPeer, number: u32) {
    peer.send_ping(&number.to_be_bytes());
    loop {
        match peer.next_answering() {
            Arrival::Pong => return,
            // Of others, where the server passes them on.
            Arrival::Message(_) => {}
            end => panic!("the probe's connection ended: {end:?}"),
        }
    }
}

fn echo(peer: &mut RawPeer, wire: Wire, number: u32) {
    let text = format!("probe {number}");
    peer.send_text(&text);
    let answer = peer.next_answering();
    assert_eq!(answer, Arrival::Message(text.into_bytes()), "on {wire:?}");
}

fn say_goodbye(peer: &mut RawPeer, wire: Wire) {
    if wire == Wire::WebSocket {
        peer.send_close(1000);
        while let Arrival::Message(_) | Arrival::Ping(_) = peer.next() {}
    } else {
        peer.stream().shutdown(std::net::Shutdown::Write).unwrap();
    }
    peer.ignore_until_end();
}

/// Returns for how long, in all, the server's loop and this thread were ready to run and had no
/// processor.
pub(crate) fn delayed(server: Pid) -> Duration {
    let server = format!("/proc/{}/schedstat", server.as_raw_nonzero());
    scheduled(&server, 1) + scheduled("/proc/thread-self/schedstat", 1)
}

/// Returns for how long, in all, the server's loop has had a processor.
pub(crate) fn on_processor(server: Pid) -> Duration {
    scheduled(&format!("/proc/{}/schedstat", server.as_raw_nonzero()), 0)
}

/// Returns one of the figures that the scheduler has of a thread.
fn scheduled(path: &str, place: usize) -> Duration {
    let text = fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("{path}: {error}; the kernel needs CONFIG_SCHED_INFO"));
    let nanos = text
        .split(' ')
        .nth(place)
        .and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_else(|| panic!("{path}: {text}")))
}

/// Where it comes from; attackers have other addresses.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Between two exchanges, well within what etiquette allows of pings.
const PACE: Duration = Duration::from_millis(20);
