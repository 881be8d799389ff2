//! Clients and servers written by others, against the program on real sockets: they talk, they stay
//! while they live, both sides learn why the other ended, and whoever falls silent is closed for the
//! right reason, in time and never early.
//!
//! Each cell is a test; `cargo test --test interop clients_of_serve`, `chromium` or the name of a row
//! runs a part, and with `-- --ignored` the tests whose peer must be installed. The peers are Python's
//! `websockets` (py), Node's `ws` (ws), the crate `tungstenite` (tu), and a page in headless Chromium
//! (cr), all as they come.
//!
//! # Clients, of `heartwheel serve`
//!
//! | behaviour | py | ws | tu | cr | why not |
//! | --- | --- | --- | --- | --- | --- |
//! | echo of text, binary and 1 MiB, which we return in fragments | x | x | x | x | |
//! | fragments of theirs, a ping among them | x | x | x | | a page cannot |
//! | their ping is answered | x | x | x | | a page cannot |
//! | our pings are answered for ten intervals | x | x | x | x | |
//! | they close with code and reason | x | x | x | x | |
//! | left as a page: 1001 | | | | x | only a page can be |
//! | we close with code and reason | x | x | x | x | |
//! | a message too big: 1009 and why | x | x | x | x | |
//! | killed, an unclean end | x | x | x | x | |
//! | stopped, silence | x | x | x | x | |
//! | a subprotocol offered in vain | x | x | x | x | |
//! | a subprotocol chosen, `Origin` seen (by an embedder) | x | x | x | x | |
//! | the subprotocol taken that `--subprotocol` names | x | x | x | x | |
//! | a page of another host refused | x | x | x | x | |
//! | compression offered and declined | x | x | | x | `tungstenite` has none |
//!
//! # Servers, for `heartwheel connect`
//!
//! | behaviour | py | ws | tu | cr | why not |
//! | --- | --- | --- | --- | --- | --- |
//! | echo of text, binary and 1 MiB, which we send in fragments | x | x | x | | a browser is no server |
//! | fragments of theirs, a ping among them | x | x | x | | |
//! | pings both ways, ten of each | x | x | x | | |
//! | they close with code and reason | x | x | x | | |
//! | we close with a code | x | x | x | | |
//! | a message too big: 1009 and why | x | x | x | | |
//! | killed, an unclean end | x | x | x | | |
//! | stopped, silence, and dialed again | x | x | x | | |
//! | a subprotocol chosen, `Origin` and path seen | x | x | x | | |
//!
//! Over TLS, with a root that the test makes: the first, the sixth and the eighth row of the clients, and of the servers
//! the first, with `py`, `ws` and `cr`; and curl and `openssl s_client`, with both versions of TLS and with key updates.
//!
//! Beside them stand plain TCP peers, raw ones that know when they wrote their last byte, and servers of plain
//! HTTP that redirect, or upgrade in odd ways. `connect` goes through tinyproxy and microsocks to `serve`.
//!
//! Codecs of MQTT, Redis and STOMP hold `paho-mqtt`, `redis` and `stomp.py`, each of them once to the end of an orderly
//! goodbye, and once until it is stopped.
#![cfg(all(unix, feature = "cli"))]
#![allow(clippy::unwrap_used, reason = "a test")]

/// Makes a row of the matrix: a test of a behaviour for each peer that has it.
macro_rules! row {
    ($behaviour:ident: $($peer:ident)+) => {
        mod $behaviour {
            $(cell!($behaviour $peer);)+
        }
    };
}

/// Makes one test of a row; one must ask for those whose peer is a program of others.
macro_rules! cell {
    ($behaviour:ident tungstenite) => {
        #[test]
        fn tungstenite() {
            super::$behaviour(super::peers::tungstenite);
        }
    };
    ($behaviour:ident python) => {
        #[test]
        #[ignore = "needs Python 3: install python3 and python3-venv"]
        fn python() {
            super::$behaviour(super::peers::python);
        }
    };
    ($behaviour:ident node) => {
        #[test]
        #[ignore = "needs Node: install nodejs and npm"]
        fn node() {
            super::$behaviour(super::peers::node);
        }
    };
    ($behaviour:ident chromium) => {
        #[test]
        #[ignore = "needs Chromium and Node: install chromium, nodejs and npm"]
        fn chromium() {
            super::$behaviour(super::peers::chromium);
        }
    };
}

mod chooser;
mod clients_of_serve;
mod codecs;
mod http_servers;
mod plain_peers;
mod proxies;
mod secure;
mod servers_of_connect;
#[path = "../support/mod.rs"]
mod support;
mod tungstenite_peer;

use std::time::{Duration, Instant};

use serde_json::Value;
use support::process::{Line, Process};
use support::program::Server;
use support::record::Record;

const INTERVAL: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_millis(2500);
const TICK: Duration = Duration::from_millis(10);
const TIMES: [&str; 4] = ["--interval", "500ms", "--timeout", "2500ms"];

/// Ten intervals and a little, so that whatever the phase at least ten pings are due.
const TEN_INTERVALS: Duration = Duration::from_millis(10 * 500 + 250);

/// What a peer calls an end without a Close frame (RFC 6455, section 7.1.5).
const NO_CLOSE_FRAME: u16 = 1006;

const TEXT: &str = "grüße, heart ♥";
const MEBIBYTE: usize = 1 << 20;

/// Has a client send a text, a binary and a 1 MiB message, and checks what came back.
fn is_echoed(client: &Process) {
    let mut next = client.mark();
    client.input().say("echo");
    for what in ["text", "binary", "mebibyte"] {
        next = came_back(client, next, what);
    }
}

/// Waits until a message has come back as it was; returns where to look on.
fn came_back(client: &Process, mark: usize, what: &str) -> usize {
    let (found, same) = client.wait_past(mark, &format!("echoed {what}"), |line| {
        let event = line.event("echoed").filter(|event| event["what"] == what)?;
        event["same"].as_bool()
    });
    assert!(same, "{}", client.transcript());
    found + 1
}

/// Waits until a peer has had a pong; returns where to look on.
fn had_pong(peer: &Process, mark: usize) -> usize {
    let (found, ()) = peer.wait_past(mark, "pong", |line| line.event("pong").map(drop));
    found + 1
}

fn open_event(peer: &Process) -> Value {
    peer.wait_for("open", |line| line.event("open").cloned())
}

fn closed_event(peer: &Process) -> Value {
    peer.wait_for("closed", |line| line.event("closed").cloned())
}

/// Checks the code that a peer saw at the end, and whether it calls that clean, if it does tell; returns
/// the reason.
fn saw_close(peer: &Process, code: u16) -> String {
    let event = closed_event(peer);
    assert_eq!(event["code"], code, "{}", peer.transcript());
    if let Some(clean) = event["clean"].as_bool() {
        assert_eq!(clean, code != NO_CLOSE_FRAME, "{}", peer.transcript());
    }
    event["reason"].as_str().unwrap().to_owned()
}

/// Checks the close code and the reason of the peer's in a record.
fn assert_close(record: &Record, code: u16, reason: &str) {
    let told = record.0["reason"].as_str().unwrap_or_default();
    assert_eq!(
        (record.count("code"), told),
        (code.into(), reason),
        "{}",
        record.0
    );
}

/// Checks that a connection ended without a goodbye.
fn assert_unclean_end(record: &Record) {
    assert!(
        ["peer_eof", "peer_reset"].contains(&record.cause()) && !record.is_clean(),
        "{}",
        record.0
    );
}

/// The same over TLS: without its own word the end of the stream proves nothing.
fn assert_unclean_end_over_tls(closed: &Value) {
    let cause = closed["cause"].as_str().unwrap();
    assert!(
        ["tls_error", "peer_reset"].contains(&cause) && closed["clean"] == false,
        "{closed}"
    );
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

fn stays_open(server: &Server, span: Duration) {
    server
        .process()
        .holds(0, span, "closed a client that lives", |line| {
            line.event("closed").is_some()
        });
}

/// Holds a client that takes the command `echo`.
fn lives_through_ten_intervals(server: &Server, client: &Process) {
    open_event(client);
    is_echoed(client);
    stays_open(server, TEN_INTERVALS);
    is_echoed(client);
}

/// Has a client that lived for ten intervals close; returns the server's record of it.
fn leaves(server: &Server, client: &Process, command: &str) -> Record {
    client.input().say(command);
    closed_event(client);
    let (_, record) = server.wait_closed();
    assert_answered(&record, 10);
    record
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
