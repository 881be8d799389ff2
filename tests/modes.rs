//! What the program does with messages, with a wire that it only guards, and with what is typed.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use rustix::process::Signal;
use support::program::{Server, start};
use support::raw::{Arrival, RawPeer, assert_broadcast_from};
use support::record::Record;
use support::{PATIENCE, Wire};

const WIRES: [Wire; 3] = [Wire::WebSocket, Wire::Line, Wire::Binary];

#[test]
fn echo_sends_a_message_back_to_its_sender_alone() {
    let server = Server::start(&WIRES, &[]);
    for wire in WIRES {
        let port = server.port(wire);
        let (mut one, mut other) = (RawPeer::connect(wire, port), RawPeer::connect(wire, port));
        one.send_text("mine");
        assert_eq!(one.next_answering(), Arrival::Message(b"mine".to_vec()));
        other.send_text("yours");
        assert_eq!(other.next_answering(), Arrival::Message(b"yours".to_vec()));
    }
}

#[test]
fn broadcast_reaches_every_wire_and_not_the_sender() {
    let server = Server::start(&WIRES, &["--mode", "broadcast"]);
    let mut peers: Vec<_> = WIRES
        .iter()
        .map(|&wire| RawPeer::connect(wire, server.port(wire)))
        .collect();
    for peer in &peers {
        server.wait_open(peer.local_port());
    }
    let senders = 0..peers.len();
    assert_broadcast_from(&mut peers, senders);
}

/// Each message costs its sender a few bytes, and the server a message to everybody.
#[test]
fn broadcasts_beyond_ten_a_second_wait_and_none_is_lost() {
    let server = Server::start(&[Wire::Line], &["--mode", "broadcast"]);
    let port = server.port(Wire::Line);
    let mut sender = RawPeer::connect(Wire::Line, port);
    let mut reader = RawPeer::connect(Wire::Line, port);
    for peer in [&sender, &reader] {
        server.wait_open(peer.local_port());
    }
    let began = Instant::now();
    let texts: Vec<_> = (0..25).map(|number| number.to_string()).collect();
    sender.write((texts.join("\n") + "\n").as_bytes());
    for text in texts {
        assert_eq!(reader.next_answering(), Arrival::Message(text.into()));
    }
    assert!(
        began.elapsed().as_secs_f64() >= 1.4,
        "{:?}",
        began.elapsed()
    );
    assert!(server.finish()["rate_pauses"].as_u64().unwrap() > 0);
}

#[test]
fn sink_reads_and_says_nothing() {
    let server = Server::start(&[Wire::WebSocket], &["--mode", "sink"]);
    let mut peer = RawPeer::connect(Wire::WebSocket, server.port(Wire::WebSocket));
    for _ in 0..10 {
        peer.send_text("lost");
    }
    peer.send_close(1000);
    assert_eq!(peer.next_answering(), Arrival::Close(Some(1000)));
}

#[test]
fn a_raw_listener_guards_a_read_deadline_and_speaks_of_itself_never() {
    let args = [
        "serve",
        "--json",
        "--tcp-raw",
        "127.0.0.1:0",
        "--timeout",
        "500ms",
    ];
    let process = start(&args);
    let addr: String = process.wait_for("listening", |line| {
        Some(line.event("listening")?["addr"].as_str()?.to_owned())
    });
    let mut peer = TcpStream::connect(addr).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let began = Instant::now();
    peer.write_all(b"no frame at all").unwrap();
    let mut heard = Vec::new();
    let end = peer.read_to_end(&mut heard);
    assert_eq!(heard, b"no frame at all");
    assert!(began.elapsed().as_millis() >= 500, "early: {end:?}");
    assert!(end.is_err(), "a silent peer is told by a reset");
    let record = process.wait_for("closed", |line| {
        line.event("closed").map(|event| Record(event.clone()))
    });
    record.assert_end("silent", false);
    assert_eq!(record.count("pings_written"), 0);
}

#[test]
fn connect_sends_what_is_typed_and_sums_up() {
    let server = Server::start(&[Wire::WebSocket], &[]);
    let url = server.url(Wire::WebSocket);
    let mut client = start(&["connect", &url, "--interval", "200ms"]);
    client.input().say("good morning");
    client.wait_for("the echo", |line| {
        (line.text == "< good morning").then_some(())
    });
    client.wait_for("a second pong", |line| {
        line.text.starts_with("pong seq=2 rtt=").then_some(())
    });
    client.signal(Signal::INT);
    let summary = client.wait_for("the summary", |line| {
        line.text.starts_with("summary ").then(|| line.text.clone())
    });
    for word in [
        "connections=1",
        "failed=0",
        "messages_in=1",
        "messages_out=1",
        "causes=local_close:1",
    ] {
        assert!(summary.split(' ').any(|said| said == word), "{summary}");
    }
    assert!(client.wait_exit().success());
}

#[test]
fn connect_to_nobody_says_so_and_exits_with_three() {
    let port = {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        holder.local_addr().unwrap().port()
    };
    let url = format!("tcp://127.0.0.1:{port}");
    let mut client = start(&["connect", &url, "--no-reconnect"]);
    client.wait_for("the reason", |line| {
        line.text.contains("connection refused").then_some(())
    });
    assert_eq!(client.wait_exit().code(), Some(3));
}

#[test]
fn quiet_prints_no_event() {
    let address = {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        holder.local_addr().unwrap()
    };
    let mut server = start(&["serve", "--quiet", "--tcp", &address.to_string()]);
    let began = Instant::now();
    let mut peer = loop {
        match TcpStream::connect(address) {
            Ok(peer) => break peer,
            Err(error) => assert!(began.elapsed() < PATIENCE, "{error}"),
        }
    };
    peer.write_all(b"hello\n").unwrap();
    let mut echo = [0; 6];
    peer.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"hello\n");
    drop(peer);
    server.signal(Signal::TERM);
    assert!(server.wait_exit().success());
    assert_eq!(
        server.transcript().matches("id=").count(),
        0,
        "{}",
        server.transcript()
    );
}
