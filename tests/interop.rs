//! Clients and servers written by others, held by the program on real sockets: they stay while they
//! live, and are closed for the right reason, in time and never early, once they are stopped.
#![cfg(all(unix, feature = "cli"))]
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::io::ErrorKind;
use std::net::TcpStream;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use support::process::{Line, Process};
use support::program::{self, Server};
use support::raw::{Arrival, RawPeer};
use support::record::Record;
use support::{Wire, peers};
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Message, WebSocket};

const INTERVAL: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_millis(2500);
const TICK: Duration = Duration::from_millis(10);
const TIMES: [&str; 4] = ["--interval", "1s", "--timeout", "2500ms"];

const MEBIBYTE: usize = 1 << 20;

/// Ten intervals and a little, so that whatever the phase at least ten pings are due.
const TEN_INTERVALS: Duration = Duration::from_millis(10 * 1000 + 250);

// Clients that live.

#[test]
fn python_websockets_stays_for_ten_intervals_and_is_echoed() {
    let server = Server::start(&[Wire::WebSocket], &TIMES);
    let client = peers::python_websockets(&server.url(Wire::WebSocket));
    lives_through_ten_intervals(&server, &client);
    let record = says_goodbye(&server, &client);
    record.assert_end("peer_closed", true);
}

#[test]
fn node_ws_stays_for_ten_intervals_and_is_echoed() {
    let server = Server::start(&[Wire::WebSocket], &TIMES);
    let client = peers::node_ws(&server.url(Wire::WebSocket));
    lives_through_ten_intervals(&server, &client);
    let record = says_goodbye(&server, &client);
    record.assert_end("peer_closed", true);
}

#[test]
fn tungstenite_stays_for_ten_intervals_and_is_echoed() {
    let server = Server::start(&[Wire::WebSocket], &TIMES);
    let client = tungstenite_client(&server.url(Wire::WebSocket));
    lives_through_ten_intervals(&server, &client);
    let record = says_goodbye(&server, &client);
    record.assert_end("peer_closed", true);
}

#[test]
fn a_raw_tcp_script_stays_for_ten_intervals_and_is_echoed() {
    let server = Server::start(&[Wire::Binary], &TIMES);
    let client = peers::raw_tcp_script(server.port(Wire::Binary));
    lives_through_ten_intervals(&server, &client);
    let record = says_goodbye(&server, &client);
    record.assert_end("peer_eof", true);
}

#[test]
fn netcat_stays_for_ten_intervals_and_is_echoed() {
    let server = Server::start(&[Wire::Line], &TIMES);
    let mut client = peers::netcat(server.port(Wire::Line));
    client.answer_pings();
    server.wait_first_open();
    // The line wire has no binary messages.
    for text in ["grüße, heart ♥".to_owned(), "x".repeat(MEBIBYTE)] {
        client.input().say(&text);
        client.wait_for("the echo", |line| (line.text == text).then_some(()));
    }
    stays_open(&server, TEN_INTERVALS);
    let mark = client.mark();
    client.input().say("still here");
    client.wait_past(mark, "the echo", |line| {
        (line.text == "still here").then_some(())
    });
    client.input().end();
    let (_, record) = server.wait_closed();
    assert_answered(&record, 10);
    record.assert_end("peer_eof", true);
    assert!(client.wait_exit().success(), "{}", client.transcript());
}

#[test]
fn a_websocket_client_that_only_receives_stays() {
    let server = Server::start(
        &[Wire::WebSocket],
        &[&TIMES[..], &["--mode", "broadcast"]].concat(),
    );
    let receiver = peers::python_websockets(&server.url(Wire::WebSocket));
    server.wait_first_open();
    let talked = talk_to_others(&server, Wire::WebSocket, 10);
    let mut received = 0;
    receiver.wait_for("a message for each one sent", |line| {
        received += usize::from(line.event("message").is_some());
        (received == talked).then_some(())
    });
    let record = says_goodbye(&server, &receiver);
    assert_answered(&record, 9);
}

#[test]
fn a_tcp_client_that_only_receives_stays() {
    let server = Server::start(
        &[Wire::Line],
        &[&TIMES[..], &["--mode", "broadcast"]].concat(),
    );
    let receiver = peers::netcat(server.port(Wire::Line));
    receiver.answer_pings();
    server.wait_first_open();
    let talked = talk_to_others(&server, Wire::Line, 10);
    let mut received = 0;
    receiver.wait_for("a message for each one sent", |line| {
        received += usize::from(line.text.starts_with("news "));
        (received == talked).then_some(())
    });
    receiver.input().end();
    let first = server.process().wait_for("the receiver's end", |line| {
        let event = line
            .event("closed")
            .filter(|event| event["cause"] == "peer_eof")?;
        Some(Record(event.clone()))
    });
    assert_answered(&first, 9);
}

// Clients that are stopped: their kernel still acknowledges.

#[test]
fn a_stopped_python_websockets_client_is_closed_in_time_with_the_right_cause() {
    let server = Server::start(&[Wire::WebSocket], &TIMES);
    let client = peers::python_websockets(&server.url(Wire::WebSocket));
    is_closed_once_stopped(&server, &client);
    assert_eq!(closed_event(&client)["code"], 1006);
}

#[test]
fn a_stopped_node_ws_client_is_closed_in_time_with_the_right_cause() {
    let server = Server::start(&[Wire::WebSocket], &TIMES);
    let client = peers::node_ws(&server.url(Wire::WebSocket));
    is_closed_once_stopped(&server, &client);
    assert_eq!(closed_event(&client)["code"], 1006);
}

#[test]
fn a_stopped_tungstenite_client_is_closed_in_time_with_the_right_cause() {
    let server = Server::start(&[Wire::WebSocket], &TIMES);
    let client = tungstenite_client(&server.url(Wire::WebSocket));
    is_closed_once_stopped(&server, &client);
    assert_eq!(closed_event(&client)["how"], "reset");
}

#[test]
fn a_stopped_raw_tcp_script_is_closed_in_time_with_the_right_cause() {
    let server = Server::start(&[Wire::Binary], &TIMES);
    let client = peers::raw_tcp_script(server.port(Wire::Binary));
    is_closed_once_stopped(&server, &client);
    assert_eq!(closed_event(&client)["how"], "reset");
}

#[test]
fn a_stopped_netcat_is_closed_in_time_with_the_right_cause() {
    let server = Server::start(&[Wire::Line], &TIMES);
    let mut client = peers::netcat(server.port(Wire::Line));
    client.answer_pings();
    client.input().say("hello");
    client.wait_for("the echo", |line| (line.text == "hello").then_some(()));
    is_closed_once_stopped(&server, &client);
    client.wait_exit();
}

// A peer that knows when it wrote its last byte.

#[test]
fn a_silent_websocket_peer_is_never_closed_early_and_in_time() {
    is_closed_after_its_last_byte(Wire::WebSocket);
}

#[test]
fn a_silent_line_peer_is_never_closed_early_and_in_time() {
    is_closed_after_its_last_byte(Wire::Line);
}

#[test]
fn a_silent_binary_peer_is_never_closed_early_and_in_time() {
    is_closed_after_its_last_byte(Wire::Binary);
}

// The client half of the program.

#[test]
fn connect_pings_python_websockets_and_answers_its_pings() {
    talks_to(&peers::python_websockets_server());
}

#[test]
fn connect_pings_node_ws_and_answers_its_pings() {
    talks_to(&peers::node_ws_server());
}

#[test]
fn connect_notices_that_python_websockets_went_silent_and_reconnects() {
    reconnects_after_silence(&peers::python_websockets_server());
}

#[test]
fn connect_notices_that_node_ws_went_silent_and_reconnects() {
    reconnects_after_silence(&peers::node_ws_server());
}

/// Holds a client that takes the commands `echo` and `close`.
fn lives_through_ten_intervals(server: &Server, client: &Process) {
    is_echoed(client);
    server.wait_first_open();
    stays_open(server, TEN_INTERVALS);
    is_echoed(client);
}

/// Has the client send a text, a binary and a 1 MiB message, and checks what came back.
fn is_echoed(client: &Process) {
    client.wait_for("open", |line| line.event("open").map(drop));
    let mark = client.mark();
    client.input().say("echo");
    let mut next = mark;
    for what in ["text", "binary", "mebibyte"] {
        let (found, same) = client.wait_past(next, &format!("echoed {what}"), |line| {
            line.event("echoed")
                .map(|event| (event["what"].clone(), event["same"].clone()))
        });
        assert_eq!(same, (what.into(), true.into()), "{}", client.transcript());
        next = found + 1;
    }
}

fn stays_open(server: &Server, span: Duration) {
    server
        .process()
        .holds(0, span, "closed a client that lives", |line| {
            line.event("closed").is_some()
        });
}

/// Has the client close, and returns the server's record of it.
fn says_goodbye(server: &Server, client: &Process) -> Record {
    client.input().say("close");
    closed_event(client);
    let (_, record) = server.wait_closed();
    if record.time("age") >= TEN_INTERVALS {
        assert_answered(&record, 10);
    }
    record
}

fn closed_event(client: &Process) -> serde_json::Value {
    client.wait_for("closed", |line| line.event("closed").cloned())
}

/// Checks that the server counted at least so many pings, all answered but perhaps the last.
fn assert_answered(record: &Record, pings: u64) {
    let [due, written, answered] =
        ["pings_due", "pings_written", "pings_answered"].map(|key| record.count(key));
    assert!(
        due >= pings && written >= due - 1 && answered >= written - 1,
        "{}",
        record.0
    );
}

/// Sends a line of news at each ping of the server, and leaves. Returns how many there were.
fn talk_to_others(server: &Server, wire: Wire, count: usize) -> usize {
    let mut talker = RawPeer::connect(wire, server.port(wire));
    server.wait_open(talker.local_port());
    let mut sent = 0;
    while sent < count {
        match talker.next() {
            Arrival::Ping(token) => {
                talker.send_pong(&token);
                talker.send_text(&format!("news {sent}"));
                sent += 1;
            }
            // Whether the sender hears its own news is not this test's business.
            Arrival::Message(_) => {}
            end => panic!("the talker met {end:?}"),
        }
    }
    sent
}

/// Stops a client's process, expects the server to close it, and lets it go on to see that.
fn is_closed_once_stopped(server: &Server, client: &Process) {
    server.wait_first_open();
    // Alive, and pinged: not stopped before the heartbeat began.
    stays_open(server, INTERVAL + INTERVAL / 2);
    client.stop();
    let stopped = Instant::now();
    let (Line { at: told, .. }, record) = server.wait_closed();
    client.resume();

    record.assert_silence(TIMEOUT, TICK);
    assert!(record.count("pings_answered") >= 1, "{}", record.0);
    // It cannot have written anything after it was stopped, so this is a bound as well.
    let latest = TIMEOUT + record.allowance(TICK);
    let passed = told.duration_since(stopped);
    assert!(
        passed <= latest,
        "told {passed:?} after the stop, latest {latest:?}: {}",
        record.0
    );
}

/// Lets a peer answer two pings and then write a message as its last bytes.
fn is_closed_after_its_last_byte(wire: Wire) {
    let server = Server::start(&[wire], &TIMES);
    let mut peer = RawPeer::connect(wire, server.port(wire));
    for _ in 0..2 {
        match peer.next() {
            Arrival::Ping(token) => peer.send_pong(&token),
            other => panic!("{other:?} instead of a ping"),
        }
    }
    peer.send_text("my last words");
    let last_byte = peer.last_write();
    let (how, ended) = peer.ignore_until_end();
    let record = server.wait_closed_from(peer.local_port());

    assert_eq!(how, Arrival::Reset, "{}", record.0);
    record.assert_silence(TIMEOUT, TICK);
    let silence = ended.duration_since(last_byte);
    assert!(silence >= TIMEOUT, "early: {silence:?}: {}", record.0);
    let latest = TIMEOUT + record.allowance(TICK);
    assert!(
        silence <= latest,
        "late: {silence:?}, latest {latest:?}: {}",
        record.0
    );
}

/// Starts `connect` with a quick heartbeat.
fn connect_to(server: &Process) -> Process {
    let port = server.wait_for("listening", |line| {
        line.event("listening")?["port"].as_u64()
    });
    let url = format!("ws://127.0.0.1:{port}");
    program::start(&[
        "connect",
        &url,
        "--json",
        "--interval",
        "500ms",
        "--timeout",
        "1250ms",
    ])
}

fn talks_to(server: &Process) {
    let mut client = connect_to(server);
    client.wait_for("open", |line| line.event("open").map(drop));
    client.input().say("grüße, heart ♥");
    client.wait_for("the echo", |line| {
        let message = line.event("message")?.as_object()?;
        message
            .values()
            .any(|value| value == "grüße, heart ♥")
            .then_some(())
    });
    for (who, process) in [("the client", &client), ("the server", server)] {
        let mut pongs = 0;
        process.wait_for(&format!("five pongs to {who}"), |line| {
            pongs += u32::from(line.event("pong").is_some());
            (pongs == 5).then_some(())
        });
    }
    client.signal(rustix::process::Signal::INT);
    assert_eq!(
        closed_event(server)["code"],
        1000,
        "{}",
        client.transcript()
    );
    assert!(client.wait_exit().success(), "{}", client.transcript());
}

fn reconnects_after_silence(server: &Process) {
    let client = connect_to(server);
    let (mark, ()) = client.wait_past(0, "pong", |line| line.event("pong").map(drop));
    server.stop();
    let (mark, record) = client.wait_past(mark, "closed", |line| {
        line.event("closed").map(|event| Record(event.clone()))
    });
    record.assert_silence(Duration::from_millis(1250), TICK);
    let (mark, ()) = client.wait_past(mark, "retrying", |line| line.event("retrying").map(drop));
    server.resume();
    let (mark, ()) = client.wait_past(mark, "open again", |line| line.event("open").map(drop));
    client.wait_past(mark, "pong again", |line| line.event("pong").map(drop));
}

// The crate `tungstenite`, in a process of its own: this very test file, started with a URL.

const TUNGSTENITE_URL: &str = "HEARTWHEEL_TUNGSTENITE_URL";

fn tungstenite_client(url: &str) -> Process {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "tungstenite_is_a_client_of_its_own",
            "--nocapture",
        ])
        .env(TUNGSTENITE_URL, url);
    Process::spawn(&mut command, "it is this test itself")
}

/// Not a test unless another one started it as its peer.
#[test]
fn tungstenite_is_a_client_of_its_own() {
    let Ok(url) = std::env::var(TUNGSTENITE_URL) else {
        return;
    };
    let (mut socket, _) = tungstenite::connect(url).unwrap();
    let MaybeTlsStream::Plain(stream) = socket.get_ref() else {
        panic!("no TLS was asked for")
    };
    // So that commands are noticed between messages.
    stream
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    say(&serde_json::json!({"event": "open"}));
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            let _gone = tell.send(line);
        }
    });
    let how = loop {
        if let Ok(command) = told.try_recv() {
            match command.as_str() {
                "echo" => echo(&mut socket),
                _ => socket.close(None).unwrap(),
            }
        }
        match read(&mut socket) {
            Ok(_) => {}
            Err(tungstenite::Error::ConnectionClosed) => break "closed",
            Err(tungstenite::Error::Io(error)) if is_reset(&error) => break "reset",
            Err(error) => panic!("{error}"),
        }
    };
    say(&serde_json::json!({"event": "closed", "how": how}));
}

/// Says whether the server has reset the connection, which a pong may learn before a read does.
fn is_reset(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    )
}

type Socket = WebSocket<MaybeTlsStream<TcpStream>>;

/// Reads the next message; `None` if none came soon.
fn read(socket: &mut Socket) -> Result<Option<Message>, tungstenite::Error> {
    match socket.read() {
        Ok(message) => Ok(Some(message)),
        Err(tungstenite::Error::Io(error))
            // A stop interrupts a read that has a timeout.
            if matches!(
                error.kind(),
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn echo(socket: &mut Socket) {
    let bytes = |len: usize| (0..=255).cycle().take(len).collect::<Vec<u8>>();
    for (what, message) in [
        ("text", Message::text("grüße, heart ♥")),
        ("binary", Message::binary(bytes(256))),
        ("mebibyte", Message::binary(bytes(MEBIBYTE))),
    ] {
        socket.send(message.clone()).unwrap();
        let back = loop {
            match read(socket).unwrap() {
                Some(back @ (Message::Text(_) | Message::Binary(_))) => break back,
                _ => continue,
            }
        };
        say(&serde_json::json!({"event": "echoed", "what": what, "same": back == message}));
    }
}

fn say(event: &serde_json::Value) {
    // On a line of its own: the harness leaves its own unfinished.
    println!("\n{event}");
}
