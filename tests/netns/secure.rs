//! The same verdicts over TLS, where what the kernel counts is not what the session has written.

use std::time::Duration;

use rustix::process::Signal;

use super::support::netns::{Host, Network};
use super::support::process::Process;
use super::support::program::start_on;
use super::support::record::Record;
use super::support::secure::{Files, addr};
use super::{BEAT, TICK, TIMEOUT, assert_stall};

/// A server with TLS on one host, and the way to the other.
struct Scene {
    /// Ends before its host does.
    server: Process,
    files: Files,
    network: Network,
}

impl Scene {
    fn new(args: &[&str]) -> Self {
        let (network, files) = (Network::new(), Files::new());
        let host = network.server.addr().to_string();
        files.issue("server", &[&host]);
        let (listener, flags) = (format!("{host}:0"), files.flags("server"));
        let mut all = vec!["serve", "--json", "--tls-tcp", &listener];
        all.extend(flags.iter().map(String::as_str));
        all.extend(args);
        Self {
            server: start_on(&network.server, &all),
            files,
            network,
        }
    }

    /// Starts the program's own client, and waits for its first pong.
    fn client(&self, host: &Host) -> Process {
        let url = format!("tcps://{}", addr(&self.server, "tcps"));
        let root = self.files.path("root.pem");
        let args = ["--no-reconnect", "--interval", "200ms", "--timeout", "60s"];
        let mut all = vec!["connect", &url, "--json", "--ca", &root];
        all.extend(args);
        let client = start_on(host, &all);
        client.wait_for("pong", |line| line.event("pong").map(drop));
        client
    }

    /// Waits for the first end.
    fn closed(&self) -> Record {
        super::closed(&self.server)
    }
}

/// Breaks the path of an idle peer, and checks that it is found dead in time, and why.
fn f1(break_path: impl FnOnce(&Network)) {
    let scene = Scene::new(&BEAT);
    let _client = scene.client(&scene.network.peer);
    break_path(&scene.network);
    let record = scene.closed();
    record.assert_silence(TIMEOUT, TICK);
    record.assert_end("path_dead", false);
}

#[test]
#[ignore = "needs root, `ip`, `tc`, `ss` and `nft`: install iproute2 and nftables"]
fn f1_packets_lost_towards_a_peer_over_tls() {
    f1(|network| network.peer.lose_arriving());
}

#[test]
#[ignore = "needs root, `ip`, `tc`, `ss` and `nft`: install iproute2 and nftables"]
fn f1_packets_lost_both_ways_over_tls() {
    f1(|network| {
        network.server.lose_arriving();
        network.peer.lose_arriving();
    });
}

#[test]
#[ignore = "needs root, `ip`, `tc`, `ss` and `nft`: install iproute2 and nftables"]
fn f1_link_down_at_our_own_end_over_tls() {
    f1(|network| network.server.set_link(false));
}

#[test]
#[ignore = "needs root, `ip`, `tc`, `ss` and `nft`: install iproute2 and nftables"]
fn f3_a_stopped_process_is_unresponsive_over_tls() {
    let scene = Scene::new(&BEAT);
    let client = scene.client(&scene.network.peer);
    client.stop();
    let record = scene.closed();
    record.assert_silence(TIMEOUT, TICK);
    record.assert_end("peer_unresponsive", false);
    assert_eq!(record.count("unacked"), 0, "{}", record.0);
    client.resume();
    super::closed(&client).assert_end("peer_reset", false);
}

/// A process that dies says no goodbye, so its end is no `peer_eof`.
#[test]
#[ignore = "needs root, `ip`, `tc`, `ss` and `nft`: install iproute2 and nftables"]
fn a_killed_process_is_known_at_once_over_tls() {
    let scene = Scene::new(&["--interval", "10s", "--timeout", "60s"]);
    let client = scene.client(&scene.network.peer);
    client.signal(Signal::KILL);
    let record = scene.closed();
    match record.cause() {
        "tls_error" => assert_eq!(record.0["reason"], "truncated", "{}", record.0),
        // A kernel resets a connection whose process dies with bytes unread.
        cause => assert_eq!(cause, "peer_reset", "{}", record.0),
    }
    assert!(!record.is_clean(), "{}", record.0);
}

#[test]
#[ignore = "needs root, `ip`, `tc`, `ss` and `nft`: install iproute2 and nftables"]
fn f4_a_peer_that_does_not_read_stalls_at_the_write_timeout_over_tls() {
    let args = [
        "--interval",
        "1s",
        "--timeout",
        "6s",
        "--write-timeout",
        "1s",
        "--send-queue",
        "1MiB",
        "--mode",
        "broadcast",
        "--messages-per-second",
        "off",
    ];
    let scene = Scene::new(&args);
    let deaf = scene.client(&scene.network.peer);
    let neighbour = scene.client(&scene.network.server);
    deaf.stop();
    let line = "x".repeat(60_000);
    for _ in 0..80 {
        neighbour.input().say(&line);
    }
    let record = scene.closed();
    assert_stall(&record, "write_stalled", Duration::from_secs(1));
    assert!(record.count("queued") > 0, "{}", record.0);
    assert_eq!(record.count("window"), 0, "{}", record.0);
}
