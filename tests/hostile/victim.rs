//! The server under attack, and the account of what an attack costs it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::MIB;
use crate::attacker::{assert_echo, connect, connect_narrow};
use crate::probe::{Probe, Talk};
use crate::server::Server;
use crate::support::bytes::message;
use crate::support::crowd::take_descriptors;
use crate::support::process::{Line, Process};
use crate::support::raw::RawPeer;
use crate::support::record::Record;
use crate::support::{PATIENCE, Wire};

/// A live server with a healthy peer.
pub(crate) struct Victim {
    server: Server,
    ports: Vec<(Wire, u16)>,
    probe: Probe,
    /// Where the output stood when the present attack began.
    mark: AtomicUsize,
    /// The lines whose ends were told of.
    told: Mutex<HashSet<usize>>,
}

/// How a connection ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    /// Whether it had opened.
    pub(crate) was_open: bool,
    pub(crate) record: Record,
}

impl Victim {
    /// Starts the server with a listener for each of the wires, and the probe on all of them.
    pub(crate) fn start(wires: &[Wire], args: &[&str]) -> Self {
        let server = Server::start(wires, &unasked(args));
        Self::start_with(server, wires, Talk::Echoes)
    }

    pub(crate) fn start_with(server: Server, wires: &[Wire], talk: Talk) -> Self {
        take_descriptors();
        let ports: Vec<_> = wires
            .iter()
            .map(|&wire| (wire, server.port(wire)))
            .collect();
        if talk == Talk::Echoes {
            warm_up(&server, &ports);
        }
        let probe = Probe::start(server.process().pid(), &ports, talk);
        Self {
            server,
            ports,
            probe,
            mark: AtomicUsize::new(0),
            told: Mutex::default(),
        }
    }

    pub(crate) fn port(&self, wire: Wire) -> u16 {
        let found = self.ports.iter().find(|(other, _)| *other == wire);
        found.expect("a listener was asked for").1
    }

    /// Returns all ports it listens on.
    pub(crate) fn ports(&self) -> &[(Wire, u16)] {
        &self.ports
    }

    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    pub(crate) fn probe(&self) -> &Probe {
        &self.probe
    }

    /// Connects.
    pub(crate) fn dial(&self, wire: Wire) -> TcpStream {
        connect(address(wire), self.port(wire))
    }

    /// Connects, and shakes hands where the wire does.
    pub(crate) fn open(&self, wire: Wire) -> RawPeer {
        RawPeer::over(self.dial(wire), wire)
    }

    /// The same with a peer that has hardly room for what is sent to it.
    pub(crate) fn open_narrow(&self, wire: Wire) -> RawPeer {
        RawPeer::over(connect_narrow(address(wire), self.port(wire)), wire)
    }

    /// Lets an attack run twice. `budget` is how much memory it may cost meanwhile, in bytes.
    ///
    /// The attack waits for the ends of its own connections.
    pub(crate) fn withstands(self, budget: usize, attack: impl Fn(&Self)) {
        self.probe.wait_answers(CALM);
        let calm = self.probe.take_worst();
        let base = Memory::of(self.server.process());
        let first = self.cost(&base, &attack);
        let second = self.cost(&base, &attack);
        for cost in [first, second] {
            assert!(cost <= budget, "{cost} bytes of {budget}");
        }
        let most = first + first / 4 + 4 * MIB;
        assert!(second <= most, "first {first}, then {second} bytes");

        let worst = self.probe.take_worst();
        println!("grew by {first} and {second} bytes; slowest answer {calm:?}, then {worst:?}");
        let bound = (calm * 20).max(LATEST_ANSWER);
        assert!(
            worst <= bound,
            "the probe waited {worst:?}, before {calm:?}"
        );
        self.finish();
    }

    /// Runs an attack, and returns by how many bytes the server grew at most.
    fn cost(&self, base: &Memory, attack: impl Fn(&Self)) -> usize {
        let process = self.server.process();
        self.mark.store(process.mark(), Ordering::Release);
        Memory::forget_peak(process);
        attack(self);
        let peak = Memory::of(process).peak;
        self.probe.wait_answers(1);
        let most = base.data + LEFT;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let data = Memory::of(process).data;
            if data <= most {
                break;
            }
            let grown = data - base.data;
            assert!(
                Instant::now() < deadline,
                "{grown} bytes are not given back"
            );
            thread::sleep(Duration::from_millis(20));
        }
        peak.saturating_sub(base.resident)
    }

    /// Waits until so many connections, the probe's aside, have ended since the attack began, whether
    /// they were told of before or not.
    pub(crate) fn ended(&self, count: usize) -> Vec<Ended> {
        let mut ended = Vec::new();
        if count > 0 {
            let mut place = self.mark.load(Ordering::Acquire);
            let process = self.server.process();
            process.wait_past(place, &format!("{count} ends"), |line| {
                if let Some(end) = Ended::of(line) {
                    self.told.lock().unwrap().insert(place);
                    ended.push(end);
                }
                place += 1;
                (ended.len() == count).then_some(())
            });
        }
        ended
    }

    /// Waits for the end of this connection. Of several that had its address one after another, each
    /// call tells of the next.
    pub(crate) fn end_of(&self, stream: &TcpStream) -> Ended {
        self.end_of_address(stream.local_addr().unwrap())
    }

    /// Lets a connection go, and waits for its end.
    pub(crate) fn end_without(&self, stream: TcpStream) -> Ended {
        let local = stream.local_addr().unwrap();
        drop(stream);
        self.end_of_address(local)
    }

    fn end_of_address(&self, local: SocketAddr) -> Ended {
        let mut place = self.mark.load(Ordering::Acquire);
        let what = format!("the end of {local}");
        let process = self.server.process();
        let (found, ended) = process.wait_past(place, &what, |line| {
            let is_told = self.told.lock().unwrap().contains(&place);
            place += 1;
            Ended::of(line).filter(|ended| !is_told && ended.peer() == local)
        });
        self.told.lock().unwrap().insert(found);
        ended
    }

    /// Ends the healthy peer and the server, and checks the books.
    pub(crate) fn finish(self) {
        let Self { server, probe, .. } = self;
        let (mark, peers) = (server.process().mark(), probe.peers().to_vec());
        probe.finish();
        for peer in peers {
            let of_peer = |line: &Line| Ended::of(line).filter(|ended| ended.peer() == peer);
            let (_, ended) = server.process().wait_past(mark, "the probe's end", of_peer);
            let is_goodbye = ["peer_closed", "peer_eof"].contains(&ended.cause());
            assert!(is_goodbye && ended.record.is_clean(), "{}", ended.record.0);
        }
        server.process().signal(Signal::TERM);
        finish(server);
    }
}

/// Waits for the end of a server that was asked to end, and checks its books.
pub(crate) fn finish(mut server: Server) {
    let status = server.process_mut().wait_exit();
    assert!(status.success(), "{}", server.process().transcript());
    check_books(server.process());
}

impl Ended {
    /// Returns the end that a line tells of.
    fn of(line: &Line) -> Option<Self> {
        let ends = [("closed", true), ("rejected", false), ("answered", false)];
        let (event, was_open) = ends
            .into_iter()
            .find_map(|(name, was_open)| Some((line.event(name)?, was_open)))?;
        let record = Record(event.clone());
        Some(Self { was_open, record })
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.record.0["peer"].as_str().unwrap().parse().unwrap()
    }

    pub(crate) fn cause(&self) -> &str {
        self.record.cause()
    }

    /// Returns the close code, on WebSocket.
    pub(crate) fn code(&self) -> Option<u64> {
        self.record.0["code"].as_u64()
    }

    /// Checks that it was open, and closed for this cause and with this code.
    pub(crate) fn assert_closed(&self, wire: Wire, cause: &str, code: u64) {
        let code = (wire == Wire::WebSocket).then_some(code);
        let found = (self.was_open, self.cause(), self.code());
        assert_eq!(found, (true, cause, code), "{}", self.record.0);
    }

    /// Checks that it was open until the peer left, which is a reset where something was unread.
    pub(crate) fn assert_left(&self) {
        let left = ["peer_eof", "peer_reset"].contains(&self.cause());
        assert!(self.was_open && left, "{}", self.record.0);
    }

    /// Checks that it never opened.
    pub(crate) fn assert_rejected(&self, cause: &str) {
        let found = (&self.record.0["event"], self.cause());
        assert_eq!(found, (&"rejected".into(), cause), "{}", self.record.0);
    }

    /// Checks that it was for a plain HTTP request, which got this answer.
    pub(crate) fn assert_answered(&self, status: u16) {
        let found = (&self.record.0["event"], &self.record.0["status"]);
        assert_eq!(
            found,
            (&"answered".into(), &status.into()),
            "{}",
            self.record.0
        );
    }
}

/// Returns the address that attackers on a wire come from: one of its own for each, so that no two that
/// are connected at the same time have the same address and port.
const fn address(wire: Wire) -> Ipv4Addr {
    match wire {
        Wire::WebSocket => Ipv4Addr::new(127, 0, 0, 11),
        Wire::Line => Ipv4Addr::new(127, 0, 0, 12),
        Wire::Binary => Ipv4Addr::new(127, 0, 0, 13),
    }
}

/// Bytes of a process.
pub(crate) struct Memory {
    pub(crate) resident: usize,
    /// The most that was resident since the peak was forgotten.
    pub(crate) peak: usize,
    /// What is resident and no file: not the program itself.
    data: usize,
}

impl Memory {
    pub(crate) fn of(process: &Process) -> Self {
        let pid = process.pid().as_raw_nonzero();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let figure = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib =
                line.and_then(|rest| rest.trim_end_matches("kB").trim().parse::<usize>().ok());
            kib.unwrap_or_else(|| panic!("no {name} in {status}")) * 1024
        };
        Self {
            resident: figure("VmRSS:"),
            peak: figure("VmHWM:"),
            data: figure("RssAnon:"),
        }
    }

    /// Lets the peak be measured from now on.
    pub(crate) fn forget_peak(process: &Process) {
        let pid = process.pid().as_raw_nonzero();
        let path = format!("/proc/{pid}/clear_refs");
        fs::write(&path, "5").unwrap_or_else(|error| panic!("{path}: {error}"));
    }
}

/// Lets the server borrow and give back, and read its own pages in, before it is measured.
fn warm_up(server: &Server, ports: &[(Wire, u16)]) {
    for &(wire, port) in ports {
        let mut peers: Vec<_> = (0..WARM).map(|_| RawPeer::connect(wire, port)).collect();
        for peer in &mut peers {
            for size in [10, 5_000, 15_000] {
                let text = vec![b'w'; size];
                peer.write(&message(wire, &text));
                assert_echo(peer, &text);
            }
        }
    }
    let mut left = WARM * ports.len();
    server.process().wait_for("the ends of the first", |line| {
        left -= usize::from(Ended::of(line).is_some());
        (left == 0).then_some(())
    });
}

/// Checks that every connection that opened was closed exactly once, that no event was lost, and that
/// no peer got a control character through to the terminal.
fn check_books(process: &Process) {
    let (stdout, stderr) = (process.stdout(), process.stderr());
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert_printable(&stdout);
    assert_printable(&stderr);
    let mut open: HashMap<String, i32> = HashMap::new();
    for line in stdout.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let change = match event["event"].as_str().unwrap() {
            "open" => 1,
            "closed" => -1,
            "dropped" => panic!("the test has read too slowly: {event}"),
            _ => continue,
        };
        let id = event["id"].as_str().unwrap().to_owned();
        let count = open.entry(id).or_default();
        *count += change;
        assert!((0..=1).contains(count), "{event}");
    }
    assert!(open.values().all(|count| *count == 0), "{open:?}");
}

/// Checks that there is nothing in it that a terminal would act on.
pub(crate) fn assert_printable(text: &str) {
    for line in text.lines() {
        let acts = |letter: char| letter.is_control() || INVISIBLE.contains(&letter);
        assert!(!line.contains(acts), "{line:?}");
        assert!(!line.contains('\u{fffd}'), "not UTF-8: {line:?}");
    }
}

/// Keeps pings of the grid, which are due at any time, from those whose next word is looked at, and ends
/// nobody for silence, which is long on a busy machine; unless a test asks for either.
pub(crate) fn unasked<'a>(args: &[&'a str]) -> Vec<&'a str> {
    let mut args = args.to_vec();
    for flag in ["--interval", "--timeout"] {
        if !args.contains(&flag) {
            args.extend([flag, "off"]);
        }
    }
    args
}

/// Letters that reorder or hide others: zero width, and the bidirectional controls.
const INVISIBLE: [char; 12] = [
    '\u{200b}', '\u{200e}', '\u{200f}', '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}',
    '\u{2066}', '\u{2067}', '\u{2069}', '\u{feff}',
];

/// Connections that come and go on each wire before anything is measured.
const WARM: usize = 20;

/// Answers that the probe waits for before an attack.
const CALM: u64 = 20;

/// No answer may take longer than this, or than 20 times the slowest one before the attack.
const LATEST_ANSWER: Duration = Duration::from_secs(1);

/// Bytes that may stay after an attack: pools, tables and spare buffers, all with limits.
const LEFT: usize = 4 * MIB;
