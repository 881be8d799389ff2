//! Verdicts on paths that really break: two network namespaces, `heartwheel serve` in one of them, its
//! peers in the other, and between them a wire that is cut, filtered or slow.
//!
//! The numbers in names are rows of the list of failure scenarios.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../support/mod.rs"]
mod support;

mod options;
mod overtaking;
mod paths;
mod peers;
#[cfg(feature = "tls")]
mod secure;
mod slow;

use std::time::Duration;

use support::Wire;
use support::netns::Network;
use support::process::Process;
use support::program::Server;
use support::raw::{Arrival, RawPeer};
use support::record::Record;

/// A server on one host, and the way to the other.
struct Scene {
    /// Ends before its host does.
    server: Server,
    network: Network,
    wire: Wire,
}

impl Scene {
    fn new(wire: Wire, args: &[&str]) -> Self {
        let network = Network::new();
        Self {
            server: Server::start_on(&network.server, &[wire], args),
            network,
            wire,
        }
    }

    /// Makes a peer on the other host.
    fn peer(&self) -> RawPeer {
        let stream = self.network.peer.dial(self.server.addr(self.wire));
        RawPeer::over(stream, self.wire)
    }

    /// Makes a peer on the server's own host, whose path never breaks.
    fn neighbour(&self) -> RawPeer {
        let stream = self.network.server.dial(self.server.addr(self.wire));
        RawPeer::over(stream, self.wire)
    }

    /// Ends the server, which must have counted its only connection once, under this cause.
    fn assert_counted_once(self, cause: &str) {
        let summary = self.server.finish();
        assert_eq!(summary["connections"], 1, "{summary}");
        assert_eq!(
            summary["causes"],
            serde_json::json!({ cause: 1 }),
            "{summary}"
        );
    }
}

/// Waits for a ping and answers it: the last thing that a peer does before something happens to it.
fn answer_one_ping(peer: &mut RawPeer) {
    let Arrival::Ping(token) = peer.next() else {
        panic!("nothing but pings was to come");
    };
    peer.send_pong(&token);
}

/// Answers one ping, and waits until the peer's kernel knows that this has arrived: nothing is under way
/// then.
fn answer_one_ping_and_settle(scene: &Scene, peer: &mut RawPeer) {
    answer_one_ping(peer);
    let server = scene.server.addr(scene.wire);
    scene.network.peer.wait_acknowledged(server);
}

/// Returns the record of a program's end that is not the server's.
fn closed(process: &Process) -> Record {
    process.wait_for("closed", |line| {
        line.event("closed").map(|event| Record(event.clone()))
    })
}

/// Checks that output without progress ended it, at the write timeout.
fn assert_stall(record: &Record, cause: &str, write_timeout: Duration) {
    record.assert_end(cause, false);
    let stall = record.time("last_out");
    let latest = write_timeout + record.allowance(TICK);
    assert!(
        (write_timeout..=latest).contains(&stall),
        "{stall:?} of {write_timeout:?} to {latest:?}: {}",
        record.0
    );
}

const TICK: Duration = Duration::from_millis(10);

/// The timeout of most tests. A kernel repeats what was lost after 200 ms, and again after 400 ms more:
/// that must have begun by then.
const TIMEOUT: Duration = Duration::from_secs(2);

/// That timeout, with pings where the grid has them.
const BEAT: [&str; 6] = [
    "--interval",
    "500ms",
    "--timeout",
    "2s",
    "--ping-slack",
    "off",
];
