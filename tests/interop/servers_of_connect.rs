//! Servers written by others, dialed by `heartwheel connect`.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::process::Process;
use crate::support::program;
use crate::support::record::Record;
use crate::{
    MEBIBYTE, TEXT, TICK, assert_close, assert_unclean_end, closed_event, had_pong, open_event,
    saw_close,
};

/// Starts a server that echoes and pings.
type Start = fn() -> Process;

mod peers {
    pub(super) use crate::support::peers::{node_server as node, python_server as python};
    pub(super) use crate::tungstenite_peer::server as tungstenite;
}

row!(echo_text_binary_and_a_mebibyte: python node tungstenite);
row!(send_fragments_with_a_ping_among_them: python node tungstenite);
row!(answer_pings_and_are_answered: python node tungstenite);
row!(close_with_code_and_reason: python node tungstenite);
row!(see_our_code: python node tungstenite);
row!(are_told_of_a_message_too_big: python node tungstenite);
row!(end_uncleanly_once_killed: python node tungstenite);
row!(are_dialed_again_once_they_went_silent: python node tungstenite);
row!(choose_a_subprotocol_and_see_origin_and_path: python node tungstenite);

fn url(server: &Process, path: &str) -> String {
    let port = server.wait_for("listening", |line| {
        line.event("listening")?["port"].as_u64()
    });
    format!("ws://127.0.0.1:{port}{path}")
}

/// Starts `connect`, and waits until it is open.
fn connect(server: &Process, path: &str, args: &[&str]) -> Process {
    let url = url(server, path);
    let client = program::start(&[&["connect", &url, "--json"], args].concat());
    open_event(&client);
    client
}

/// Waits for the first message from a line on; returns where to look on.
fn message(client: &Process, mark: usize) -> (usize, Value) {
    let (found, event) = client.wait_past(mark, "message", |line| line.event("message").cloned());
    (found + 1, event)
}

fn end_of(client: &Process) -> Record {
    Record(closed_event(client))
}

fn echo_text_binary_and_a_mebibyte(start: Start) {
    let server = start();
    let client = connect(&server, "", &[]);
    let mut mark = 0;
    for text in [TEXT, &"♥".repeat(MEBIBYTE / "♥".len())] {
        client.input().say(text);
        let (next, event) = message(&client, mark);
        assert_eq!(event["text"], text, "{}", client.transcript());
        mark = next;
    }
    for length in [250, MEBIBYTE] {
        // Whatever is not text is sent as binary; a line has no line feeds.
        let bytes: Vec<u8> = (0..=u8::MAX)
            .rev()
            .filter(|&byte| byte != b'\n')
            .cycle()
            .take(length)
            .collect();
        client.input().say_bytes(&bytes);
        let (next, event) = message(&client, mark);
        assert_eq!(
            (&event["kind"], &event["len"]),
            (&"binary".into(), &length.into()),
            "{}",
            client.transcript()
        );
        assert!(event["hex"].as_str().unwrap().starts_with("ff"), "{event}");
        mark = next;
    }
}

row!(talk_compressed: python node);

fn talk_compressed(start: Start) {
    for takeover in [&[][..], &["--deflate-takeover", "--deflate-threshold", "1"]] {
        let server = start();
        let mut client = connect(&server, "", &[&["--deflate"][..], takeover].concat());
        let mut mark = 0;
        for text in [TEXT, &"♥".repeat(MEBIBYTE / "♥".len()), TEXT, TEXT] {
            client.input().say(text);
            let (next, event) = message(&client, mark);
            assert_eq!(event["text"], text, "{}", client.transcript());
            mark = next;
        }
        client.signal(Signal::INT);
        let summary = client.wait_for("summary", |line| line.event("summary").cloned());
        for key in ["messages_deflated", "messages_inflated"] {
            assert!(summary[key].as_u64() >= Some(1), "{summary}");
        }
        assert!(client.wait_exit().success(), "{}", client.transcript());
    }
}

fn send_fragments_with_a_ping_among_them(start: Start) {
    let server = start();
    let client = connect(&server, "", &[]);
    server.input().say("fragments");
    let (_, event) = message(&client, 0);
    assert_eq!(event["text"], TEXT, "{}", client.transcript());
}

fn answer_pings_and_are_answered(start: Start) {
    let server = start();
    let mut client = connect(&server, "", &["--interval", "200ms", "--timeout", "2s"]);
    for peer in [&client, &server] {
        let mut mark = 0;
        for _ in 0..10 {
            mark = had_pong(peer, mark);
        }
    }
    client.signal(Signal::INT);
    let status = client.wait_exit();
    assert!(status.success(), "{}", client.transcript());
}

fn close_with_code_and_reason(start: Start) {
    let server = start();
    let mut client = connect(&server, "", &["--no-reconnect"]);
    server.input().say("close 3002 so long, heart ♥");
    let record = end_of(&client);
    record.assert_end("peer_closed", true);
    assert_close(&record, 3002, "so long, heart ♥");
    saw_close(&server, 3002);
    let status = client.wait_exit();
    assert_eq!(status.code(), Some(1), "{}", client.transcript());
}

fn see_our_code(start: Start) {
    let server = start();
    let mut client = connect(&server, "", &[]);
    client.signal(Signal::INT);
    assert_eq!(saw_close(&server, 1000), "");
    end_of(&client).assert_end("local_close", true);
    let status = client.wait_exit();
    assert!(status.success(), "{}", client.transcript());
}

fn are_told_of_a_message_too_big(start: Start) {
    let server = start();
    let client = connect(&server, "", &["--max-message", "64KiB", "--no-reconnect"]);
    server.input().say("send 65537");
    let reason = saw_close(&server, 1009);
    assert!(reason.contains("65536"), "{reason}");
    let record = end_of(&client);
    assert_eq!(record.cause(), "message_too_big", "{}", record.0);
}

fn end_uncleanly_once_killed(start: Start) {
    let server = start();
    let client = connect(&server, "", &[]);
    had_pong(&client, 0);
    server.kill();
    assert_unclean_end(&end_of(&client));
    client.wait_for("retrying", |line| line.event("retrying").map(drop));
}

fn are_dialed_again_once_they_went_silent(start: Start) {
    let server = start();
    let times = ["--interval", "500ms", "--timeout", "1250ms"];
    let client = connect(&server, "", &times);
    let mark = had_pong(&client, 0);
    server.stop();
    let (mark, record) = client.wait_past(mark, "closed", |line| {
        line.event("closed").map(|event| Record(event.clone()))
    });
    record.assert_silence(Duration::from_millis(1250), TICK);
    let (mark, ()) = client.wait_past(mark, "retrying", |line| line.event("retrying").map(drop));
    server.resume();
    let (mark, ()) = client.wait_past(mark, "open again", |line| line.event("open").map(drop));
    had_pong(&client, mark);
}

fn choose_a_subprotocol_and_see_origin_and_path(start: Start) {
    let server = start();
    let client = connect(
        &server,
        "/room?seat=1",
        &[
            "--subprotocol",
            "heart.v2",
            "--subprotocol",
            "heart.v1",
            "--header",
            "Origin: http://heart.example",
        ],
    );
    assert_eq!(open_event(&client)["subprotocol"], "heart.v1");
    let seen = open_event(&server);
    for (key, value) in [
        ("subprotocol", "heart.v1"),
        ("origin", "http://heart.example"),
        ("path", "/room?seat=1"),
    ] {
        assert_eq!(seen[key], value, "{}", server.transcript());
    }
}
