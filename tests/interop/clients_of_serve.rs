//! Clients written by others, held by `heartwheel serve`.

use rustix::process::Signal;
use serde_json::Value;

use crate::chooser::{Chooser, SUBPROTOCOL};
use crate::support::Wire;
use crate::support::process::Process;
use crate::support::program::Server;
use crate::{
    NO_CLOSE_FRAME, TIMES, assert_close, assert_unclean_end, came_back, had_pong,
    is_closed_once_stopped, is_echoed, leaves, lives_through_ten_intervals, open_event, saw_close,
};

/// Starts a client of a URL that may offer a subprotocol.
type Client = fn(&str, Option<&str>) -> Process;

mod peers {
    pub(super) use crate::support::peers::{
        chromium_client as chromium, node_client as node, python_client as python,
    };
    pub(super) use crate::tungstenite_peer::client as tungstenite;
}

row!(are_echoed_text_binary_and_a_mebibyte: python node tungstenite chromium);
row!(send_fragments_with_a_ping_among_them: python node tungstenite);
row!(are_answered_when_they_ping: python node tungstenite);
row!(stay_for_ten_intervals_by_their_pongs: python node tungstenite chromium);
row!(close_with_code_and_reason: python node tungstenite chromium);
row!(see_our_code_and_reason: python node tungstenite chromium);
row!(are_told_of_a_message_too_big: python node tungstenite chromium);
row!(end_uncleanly_once_killed: python node tungstenite chromium);
row!(are_closed_in_time_once_stopped: python node tungstenite chromium);

fn serve(args: &[&str]) -> Server {
    // The clients say that they are pages of another host, or a file.
    let pages = ["--origin", "http://heart.example", "--origin", "null"];
    Server::start(&[Wire::WebSocket], &[args, &pages].concat())
}

/// Starts a client, and waits until it is open.
fn join(client: Client, server: &Server) -> Process {
    let client = client(&server.url(Wire::WebSocket), None);
    open_event(&client);
    client
}

fn are_echoed_text_binary_and_a_mebibyte(client: Client) {
    let server = serve(&[]);
    is_echoed(&join(client, &server));
}

fn send_fragments_with_a_ping_among_them(client: Client) {
    let server = serve(&[]);
    let client = join(client, &server);
    client.input().say("fragments");
    // Its last fragment waits for the pong.
    let mark = had_pong(&client, 0);
    came_back(&client, mark, "fragments");
}

fn are_answered_when_they_ping(client: Client) {
    let server = serve(&[]);
    let client = join(client, &server);
    client.input().say("ping");
    let mark = had_pong(&client, 0);
    client.input().say("ping");
    had_pong(&client, mark);
}

fn stay_for_ten_intervals_by_their_pongs(client: Client) {
    let server = serve(&[&TIMES[..], &["--proof", "pong"]].concat());
    let client = join(client, &server);
    lives_through_ten_intervals(&server, &client);
    leaves(&server, &client, "close 1000").assert_end("peer_closed", true);
}

fn close_with_code_and_reason(client: Client) {
    let server = serve(&[]);
    let client = join(client, &server);
    client.input().say("close 3001 bye, heart ♥");
    let (_, record) = server.wait_closed();
    record.assert_end("peer_closed", true);
    assert_close(&record, 3001, "bye, heart ♥");
    saw_close(&client, 3001);
}

#[test]
#[ignore = "needs Chromium and Node: install chromium, nodejs and npm"]
fn chromium_says_that_it_goes_when_its_page_is_left() {
    let server = serve(&[]);
    let client = join(peers::chromium, &server);
    client.input().say("leave");
    let (_, record) = server.wait_closed();
    record.assert_end("peer_closed", true);
    assert_close(&record, 1001, "");
}

fn see_our_code_and_reason(client: Client) {
    let mut server = serve(&[]);
    let client = join(client, &server);
    server.process().signal(Signal::TERM);
    assert_eq!(saw_close(&client, 1001), "going away");
    let (_, record) = server.wait_closed();
    record.assert_end("drain", true);
    let status = server.process_mut().wait_exit();
    assert!(status.success(), "{}", server.process().transcript());
}

fn are_told_of_a_message_too_big(client: Client) {
    let server = serve(&["--max-message", "64KiB"]);
    let client = join(client, &server);
    client.input().say("send 65537");
    let reason = saw_close(&client, 1009);
    assert!(reason.contains("65536"), "{reason}");
    let (_, record) = server.wait_closed();
    assert_eq!(record.cause(), "message_too_big", "{}", record.0);
    assert_close(&record, 1009, &reason);
}

fn end_uncleanly_once_killed(client: Client) {
    let server = serve(&[]);
    let client = join(client, &server);
    is_echoed(&client);
    client.kill();
    let (_, record) = server.wait_closed();
    assert_unclean_end(&record);
}

fn are_closed_in_time_once_stopped(client: Client) {
    let server = serve(&TIMES);
    let client = join(client, &server);
    is_closed_once_stopped(&server, &client);
    assert_eq!(saw_close(&client, NO_CLOSE_FRAME), "");
}

row!(are_given_the_subprotocol_that_serve_takes: python node tungstenite chromium);

fn are_given_the_subprotocol_that_serve_takes(client: Client) {
    let server = serve(&["--subprotocol", "mqtt", "--subprotocol", "v1"]);
    let client = client(&server.url(Wire::WebSocket), Some("v1"));
    assert_eq!(open_event(&client)["subprotocol"], "v1");
    is_echoed(&client);
}

row!(of_another_page_are_refused: python node tungstenite chromium);

fn of_another_page_are_refused(client: Client) {
    let server = Server::start(&[Wire::WebSocket], &["--origin", "https://another.example"]);
    let client = client(&server.url(Wire::WebSocket), None);
    client.wait_for("failed", |line| line.event("failed").map(drop));
    let reason = server.process().wait_for("rejected", |line| {
        line.event("rejected")?["reason"]
            .as_str()
            .map(str::to_owned)
    });
    assert!(reason.starts_with("origin '"), "{reason}");
}

// Our answer without a subprotocol is legal; so is a client that then goes away (RFC 6455, section
// 4.2.2, leaves it to the client). Whether it does is decided by each of them.

#[test]
#[ignore = "needs Python 3: install python3 and python3-venv"]
fn python_stays_without_the_subprotocol_that_it_offered() {
    let server = serve(&[]);
    let client = peers::python(&server.url(Wire::WebSocket), Some("v1"));
    assert_eq!(open_event(&client)["subprotocol"], Value::Null);
    is_echoed(&client);
}

row!(fail_without_the_subprotocol_that_they_offered: node tungstenite chromium);

fn fail_without_the_subprotocol_that_they_offered(client: Client) {
    let server = serve(&[]);
    let client = client(&server.url(Wire::WebSocket), Some("v1"));
    client.wait_for("failed", |line| line.event("failed").map(drop));
    let (_, record) = server.wait_closed();
    assert_unclean_end(&record);
}

row!(offer_compression_and_do_without: python node chromium);

fn offer_compression_and_do_without(client: Client) {
    let chooser = Chooser::start();
    let client = client(chooser.url(), None);
    let offered = chooser.offered().extensions;
    assert!(offered.contains("permessage-deflate"), "{offered}");
    assert_eq!(open_event(&client)["extensions"], "");
}

row!(are_echoed_compressed: python node chromium);

fn are_echoed_compressed(client: Client) {
    for takeover in [&[][..], &["--deflate-takeover", "--deflate-threshold", "1"]] {
        let server = serve(&[&["--deflate"][..], takeover].concat());
        let client = client(&server.url(Wire::WebSocket), None);
        let extensions = open_event(&client)["extensions"].to_string();
        assert!(extensions.contains("permessage-deflate"), "{extensions}");
        for _ in 0..3 {
            is_echoed(&client);
        }
        client.input().say("close 1000");
        saw_close(&client, 1000);
        let (_, record) = server.wait_closed();
        record.assert_end("peer_closed", true);
        assert_compressed(server.process());
    }
}

/// Expects a summary of the program's that says that messages were compressed, both ways.
fn assert_compressed(process: &Process) {
    process.signal(Signal::INT);
    let summary = process.wait_for("summary", |line| line.event("summary").cloned());
    let count = |key: &str| summary[key].as_u64().unwrap_or(0);
    assert!(count("messages_deflated") >= 3, "{summary}");
    assert!(count("messages_inflated") >= 3, "{summary}");
    assert!(
        count("deflated_to") < count("deflated_from") / 10,
        "{summary}"
    );
}

row!(are_given_a_subprotocol_and_tell_their_origin: python node tungstenite);

fn are_given_a_subprotocol_and_tell_their_origin(client: Client) {
    is_given_a_subprotocol(client, "http://heart.example");
}

#[test]
#[ignore = "needs Chromium and Node: install chromium, nodejs and npm"]
fn chromium_is_given_a_subprotocol_and_has_no_origin_for_a_file() {
    // An opaque origin is written so (RFC 6454, section 6.1).
    is_given_a_subprotocol(peers::chromium, "null");
}

fn is_given_a_subprotocol(client: Client, origin: &str) {
    let chooser = Chooser::start();
    let client = client(chooser.url(), Some(SUBPROTOCOL));
    assert_eq!(open_event(&client)["subprotocol"], SUBPROTOCOL);
    assert_eq!(chooser.offered().origin, origin);
    client.input().say("close 1000");
    saw_close(&client, 1000);
}
