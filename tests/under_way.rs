//! Messages that are under way while a connection is idle, old or about to end: what is owed arrives, and
//! what was cut is told.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::io::Write;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use socket2::{Domain, Socket, Type};
use support::bytes::{masked_header, message};
use support::program::{Server, start};
use support::raw::{Arrival, RawPeer};
use support::record::Record;
use support::{PATIENCE, Wire};

const WIRES: [Wire; 3] = [Wire::WebSocket, Wire::Line, Wire::Binary];

const MIB: usize = 1 << 20;

/// More than the kernel takes for a peer that does not read.
const LARGE: usize = MIB;

/// The limit on idleness, and how long messages are under way.
const IDLE: Duration = Duration::from_secs(2);
const LASTS: Duration = Duration::from_millis(4_500);

/// Between two pieces of a message.
const PACE: Duration = Duration::from_millis(25);

/// Read or written at each step: a message of a MiB has more of them than there are steps.
const PIECE: usize = 4 * 1024;

/// Connects with a small window.
fn narrow(wire: Wire, port: u16) -> RawPeer {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    socket.connect(&server.into()).unwrap();
    RawPeer::over(socket.into(), wire)
}

/// Keeps a pace, and remembers the longest time between two steps.
struct Pacer {
    began: Instant,
    last: Instant,
    longest: Duration,
}

impl Pacer {
    fn start() -> Self {
        let now = Instant::now();
        Self {
            began: now,
            last: now,
            longest: Duration::ZERO,
        }
    }

    /// Begins anew with the time that is to pass, not with the pace.
    fn restart(&mut self) {
        self.began = Instant::now();
        self.longest = self.longest.max(self.last.elapsed());
        self.last = self.began;
    }

    /// Waits for the next step; says whether there is one.
    fn step(&mut self) -> bool {
        thread::sleep(PACE);
        let now = Instant::now();
        self.longest = self.longest.max(now - self.last);
        self.last = now;
        now - self.began < LASTS
    }

    /// Says whether it was kept so well that nobody may take us for idle.
    fn was_kept(&self) -> bool {
        self.longest.max(self.last.elapsed()) < IDLE / 2
    }
}

/// Tries again where the machine was too busy for the test to keep its own pace.
fn at_a_pace(mut attempt: impl FnMut(&mut Pacer) -> Result<(), String>) {
    for _ in 0..20 {
        let mut pacer = Pacer::start();
        match attempt(&mut pacer) {
            Ok(()) => return,
            Err(what) => assert!(!pacer.was_kept(), "{what}"),
        }
    }
    panic!("the machine is too busy to keep a pace");
}

/// Does the same on each wire, at the same time.
fn on_each_wire(attempt: impl Fn(Wire, &mut Pacer) -> Result<(), String> + Sync) {
    thread::scope(|scope| {
        for wire in WIRES {
            let attempt = &attempt;
            scope.spawn(move || at_a_pace(|pacer| attempt(wire, pacer)));
        }
    });
}

#[test]
fn f53_an_upload_that_takes_longer_than_app_idle_arrives() {
    let server = Server::start(&WIRES, &["--app-idle", "2s"]);
    on_each_wire(|wire, pacer| {
        let mut peer = RawPeer::connect(wire, server.port(wire));
        let bytes = message(wire, &vec![b'x'; MIB]);
        let mut pieces = bytes.chunks(PIECE);
        while pacer.step()
            && let Some(piece) = pieces.next()
            && peer.stream().write_all(piece).is_ok()
        {}
        for piece in pieces {
            peer.stream().write_all(piece).ok();
        }
        match peer.next_answering() {
            Arrival::Message(echo) if echo.len() == MIB => Ok(()),
            other => Err(format!("{wire:?}: {other:.60?}")),
        }
    });
}

#[test]
fn f53_a_download_that_takes_longer_than_app_idle_arrives() {
    let server = Server::start(&WIRES, &["--app-idle", "2s"]);
    on_each_wire(|wire, pacer| {
        let mut peer = narrow(wire, server.port(wire));
        peer.write(&message(wire, &vec![b'x'; LARGE]));
        pacer.restart();
        while pacer.step() {
            peer.read_some(PIECE);
        }
        match peer.next_answering() {
            Arrival::Message(echo) if echo.len() == LARGE => {}
            other => return Err(format!("{wire:?}: {other:.60?}")),
        }
        // It would have arrived even if its end had begun.
        peer.send_text("more");
        match peer.next_answering() {
            Arrival::Message(echo) if echo == b"more" => {}
            other => return Err(format!("{wire:?}: {other:.60?}")),
        }
        // Then it is idle indeed.
        let port = peer.local_port();
        let end = peer.next_answering();
        let expected = match wire {
            Wire::WebSocket => Arrival::Close(Some(1000)),
            Wire::Line | Wire::Binary => Arrival::Eof,
        };
        assert_eq!(end, expected);
        if wire == Wire::WebSocket {
            peer.send_close(1000);
        }
        drop(peer);
        server.wait_closed_from(port).assert_end("app_idle", true);
        Ok(())
    });
}

#[test]
fn f53_a_message_that_has_stopped_is_idle_and_its_end_not_clean() {
    // An answer to a ping would end the line.
    let args = ["--app-idle", "300ms", "--interval", "off"];
    let server = Server::start(&WIRES, &args);
    for wire in WIRES {
        let mut peer = RawPeer::connect(wire, server.port(wire));
        let whole = message(wire, &[b'x'; 1_000]);
        peer.write(&whole[..500]);
        let end = peer.next_answering();
        if wire == Wire::WebSocket {
            assert_eq!(end, Arrival::Close(Some(1000)));
            peer.send_close(1000);
        }
        peer.stream().shutdown(Shutdown::Write).ok();
        let record = server.wait_closed_from(peer.local_port());
        record.assert_end("app_idle", false);
        assert!(
            (400..=500).contains(&record.count("unfinished")),
            "{record:?}"
        );
    }
}

#[test]
fn f52_a_half_closed_peer_that_reads_steadily_gets_all_it_is_owed() {
    let args = ["--close-timeout", "100ms", "--write-timeout", "20s"];
    let server = Server::start(&[Wire::Line, Wire::Binary], &args);
    for wire in [Wire::Line, Wire::Binary] {
        let mut peer = narrow(wire, server.port(wire));
        let bytes = message(wire, &[b'x'; 64 * 1024]).repeat(LARGE / 64 / 1024);
        peer.write(&bytes);
        peer.stream().shutdown(Shutdown::Write).unwrap();
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(1) {
            thread::sleep(PACE);
            peer.read_some(PIECE);
        }
        assert!(
            peer.bytes_read() < bytes.len(),
            "it was not steady, but fast"
        );
        assert_eq!(peer.ignore_until_end().0, Arrival::Eof);
        assert_eq!(peer.bytes_read(), bytes.len());
        let record = server.wait_closed_from(peer.local_port());
        record.assert_end("peer_eof", true);
        assert_eq!(record.count("dropped"), 0);
        assert!(record.count("queued") > 0, "{record:?}");
    }
}

#[test]
fn f52_a_half_closed_peer_that_reads_nothing_goes_after_the_write_timeout() {
    let args = ["--close-timeout", "20s", "--write-timeout", "300ms"];
    let server = Server::start(&[Wire::Line, Wire::Binary], &args);
    for wire in [Wire::Line, Wire::Binary] {
        let mut peer = narrow(wire, server.port(wire));
        peer.write(&message(wire, &vec![b'x'; LARGE]));
        peer.stream().shutdown(Shutdown::Write).unwrap();
        let record = server.wait_closed_from(peer.local_port());
        // It may have stalled before its end was read.
        assert!(matches!(record.cause(), "peer_eof" | "write_stalled"));
        assert!(!record.is_clean());
        assert!(record.count("dropped") > 0, "{record:?}");
    }
}

#[test]
fn close_total_bounds_a_half_closed_peer_that_reads_for_ever() {
    let args = ["--close-total", "500ms", "--write-timeout", "20s"];
    let server = Server::start(&[Wire::Line], &args);
    let mut peer = narrow(Wire::Line, server.port(Wire::Line));
    peer.write(&message(Wire::Line, &vec![b'x'; LARGE]));
    peer.stream().shutdown(Shutdown::Write).unwrap();
    let port = peer.local_port();
    let deadline = Instant::now() + PATIENCE;
    let record = loop {
        assert!(Instant::now() < deadline);
        if let Some(record) = server.closed_from(port) {
            break record;
        }
        thread::sleep(PACE);
        peer.read_some(1_000);
    };
    record.assert_end("peer_eof", false);
    assert!(record.count("dropped") > 0, "{record:?}");
}

/// Reads for a while slowly, and then the whole message.
fn read_slowly(peer: &mut RawPeer) {
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(600) {
        thread::sleep(PACE);
        peer.read_some(PIECE);
    }
    assert!(peer.bytes_read() < LARGE, "it was not slow");
    match peer.next_answering() {
        Arrival::Message(echo) => assert_eq!(echo.len(), LARGE),
        other => panic!("{other:.60?}"),
    }
}

fn check_orderly(server: &Server, mut peer: RawPeer, wire: Wire, cause: &str, code: u16) {
    read_slowly(&mut peer);
    if wire == Wire::WebSocket {
        assert_eq!(peer.next_answering(), Arrival::Close(Some(code)));
        peer.send_close(code);
    } else {
        assert_eq!(peer.next_answering(), Arrival::Eof);
    }
    peer.stream().shutdown(Shutdown::Write).ok();
    let record = server.wait_closed_from(peer.local_port());
    record.assert_end(cause, true);
    assert!(record.count("queued") > 0, "{record:?}");
    assert_eq!(record.count("dropped"), 0);
}

#[test]
fn a_drain_lets_a_message_that_leaves_arrive_whole() {
    for wire in WIRES {
        let args = ["--drain", "60s", "--close-timeout", "100ms"];
        let server = Server::start(&[wire], &args);
        let mut peer = narrow(wire, server.port(wire));
        peer.write(&message(wire, &vec![b'x'; LARGE]));
        // The echo has begun, so that the message was read.
        let first = peer.stream().peek(&mut [0]);
        assert_eq!(first.unwrap(), 1);
        server.process().signal(Signal::TERM);
        check_orderly(&server, peer, wire, "drain", 1001);
    }
}

#[test]
fn a_lifetime_that_is_over_lets_a_message_that_leaves_arrive_whole() {
    let args = ["--max-lifetime", "4s", "--close-timeout", "100ms"];
    let server = Server::start(&WIRES, &args);
    thread::scope(|scope| {
        for wire in WIRES {
            let server = &server;
            scope.spawn(move || {
                let mut peer = narrow(wire, server.port(wire));
                peer.write(&message(wire, &vec![b'x'; LARGE]));
                let first = peer.stream().peek(&mut [0]);
                assert_eq!(first.unwrap(), 1);
                // So that it is over in the midst of it.
                thread::sleep(Duration::from_millis(4_600));
                check_orderly(server, peer, wire, "max_lifetime", 1000);
            });
        }
    });
}

#[test]
fn a_lifetime_that_is_over_within_an_upload_is_not_clean() {
    let server = Server::start(&[Wire::WebSocket], &["--max-lifetime", "300ms"]);
    let mut peer = RawPeer::connect(Wire::WebSocket, server.port(Wire::WebSocket));
    peer.write(&masked_header(0x82, 1_000));
    peer.write(&[0; 600]);
    assert_eq!(peer.next_answering(), Arrival::Close(Some(1000)));
    peer.write(&[0; 400]);
    peer.send_close(1000);
    let record = server.wait_closed_from(peer.local_port());
    record.assert_end("max_lifetime", false);
    assert_eq!(record.count("unfinished"), 600);
}

#[test]
fn a_client_whose_server_cuts_a_message_exits_with_1() {
    for (bytes, code) in [
        (&b"\0\0\0\0\x0awhole mess"[..], 0),
        (b"\0\0\0\0\x0ahalf", 1),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("tcp+binary://{}", listener.local_addr().unwrap());
        let mut client = start(&["connect", "--json", "--no-reconnect", &url]);
        let (mut stream, _): (TcpStream, _) = listener.accept().unwrap();
        stream.write_all(bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let closed = client.wait_for("closed", |line| line.event("closed").cloned());
        Record(closed).assert_end("peer_eof", code == 0);
        assert_eq!(client.wait_exit().code(), Some(code));
    }
}
