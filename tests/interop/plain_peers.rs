//! Peers over plain TCP, and raw ones that write their own bytes.

use crate::support::program::Server;
use crate::support::raw::{Arrival, RawPeer};
use crate::support::{Wire, peers};
use crate::{
    MEBIBYTE, TEN_INTERVALS, TEXT, TICK, TIMEOUT, TIMES, assert_answered, closed_event,
    is_closed_once_stopped, leaves, lives_through_ten_intervals, stays_open,
};

#[test]
#[ignore = "needs Python 3: install python3 and python3-venv"]
fn a_raw_tcp_script_stays_for_ten_intervals_and_is_echoed() {
    let server = Server::start(&[Wire::Binary], &TIMES);
    let client = peers::raw_tcp_script(server.port(Wire::Binary));
    lives_through_ten_intervals(&server, &client);
    leaves(&server, &client, "close").assert_end("peer_eof", true);
}

#[test]
#[ignore = "needs nc: install netcat-openbsd"]
fn netcat_stays_for_ten_intervals_and_is_echoed() {
    let server = Server::start(&[Wire::Line], &TIMES);
    let mut client = peers::netcat(server.port(Wire::Line));
    client.answer_pings();
    server.wait_first_open();
    // The line wire has no binary messages.
    for text in [TEXT.to_owned(), "x".repeat(MEBIBYTE)] {
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
#[ignore = "needs Python 3: install python3 and python3-venv"]
fn a_websocket_client_that_only_receives_stays() {
    let server = Server::start(
        &[Wire::WebSocket],
        &[
            &TIMES[..],
            &["--mode", "broadcast", "--origin", "http://heart.example"],
        ]
        .concat(),
    );
    let receiver = peers::python_client(&server.url(Wire::WebSocket), None);
    let id = server.wait_first_open();
    let talked = talk_to_others(&server, Wire::WebSocket, 10);
    let mut received = 0;
    receiver.wait_for("a message for each one sent", |line| {
        received += usize::from(line.event("message").is_some());
        (received == talked).then_some(())
    });
    receiver.input().say("close 1000");
    let record = server.wait_closed_as(&id);
    record.assert_end("peer_closed", true);
    assert_answered(&record, 9);
}

#[test]
#[ignore = "needs nc: install netcat-openbsd"]
fn a_tcp_client_that_only_receives_stays() {
    let server = Server::start(
        &[Wire::Line],
        &[&TIMES[..], &["--mode", "broadcast"]].concat(),
    );
    let receiver = peers::netcat(server.port(Wire::Line));
    receiver.answer_pings();
    let id = server.wait_first_open();
    let talked = talk_to_others(&server, Wire::Line, 10);
    let mut received = 0;
    receiver.wait_for("a message for each one sent", |line| {
        received += usize::from(line.text.starts_with("news "));
        (received == talked).then_some(())
    });
    receiver.input().end();
    let record = server.wait_closed_as(&id);
    record.assert_end("peer_eof", true);
    assert_answered(&record, 9);
}

#[test]
#[ignore = "needs Python 3: install python3 and python3-venv"]
fn a_stopped_raw_tcp_script_is_closed_in_time_with_the_right_cause() {
    let server = Server::start(&[Wire::Binary], &TIMES);
    let client = peers::raw_tcp_script(server.port(Wire::Binary));
    is_closed_once_stopped(&server, &client);
    assert_eq!(closed_event(&client)["how"], "reset");
}

#[test]
#[ignore = "needs nc: install netcat-openbsd"]
fn a_stopped_netcat_is_closed_in_time_with_the_right_cause() {
    let server = Server::start(&[Wire::Line], &TIMES);
    let mut client = peers::netcat(server.port(Wire::Line));
    client.answer_pings();
    client.input().say("hello");
    client.wait_for("the echo", |line| (line.text == "hello").then_some(()));
    is_closed_once_stopped(&server, &client);
    client.wait_exit();
}

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
