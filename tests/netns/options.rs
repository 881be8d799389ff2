//! What the kernel finds out by itself, where it is asked to.

use std::time::Duration;

use rustix::io::Errno;

use super::support::Wire;
use super::support::netns::Network;
use super::support::raw::Arrival;
use super::support::record::Record;
use super::{Scene, answer_one_ping_and_settle};

/// Far beyond what the kernel is asked for.
const TIMEOUT: Duration = Duration::from_secs(60);

fn assert_errno(record: &Record, errno: Errno) {
    let expected = u64::try_from(errno.raw_os_error()).unwrap();
    assert_eq!(record.count("errno"), expected, "{}", record.0);
}

/// Returns the record of a connection whose path breaks under a user timeout of one second.
fn given_up(break_path: impl FnOnce(&Network)) -> Record {
    let args = [
        "--interval",
        "500ms",
        "--timeout",
        "60s",
        "--tcp-user-timeout",
        "1s",
    ];
    let scene = Scene::new(Wire::WebSocket, &args);
    let mut peer = scene.peer();
    answer_one_ping_and_settle(&scene, &mut peer);
    break_path(&scene.network);
    let (_, record) = scene.server.wait_closed();
    record.assert_end("path_dead", false);
    let silence = record.time("last_proof");
    assert!(silence >= Duration::from_secs(1), "{}", record.0);
    assert!(silence < TIMEOUT / 2, "{}", record.0);
    record
}

#[test]
#[ignore = "needs root, `ip`, `tc`, `ss` and `nft`: install iproute2 and nftables"]
fn a_user_timeout_ends_what_is_unacknowledged_before_silence_would() {
    let record = given_up(|network| network.peer.lose_arriving());
    assert_errno(&record, Errno::TIMEDOUT);
}

#[test]
#[ignore = "needs root, `ip`, `tc`, `ss` and `nft`: install iproute2 and nftables"]
fn a_user_timeout_ends_what_finds_no_link() {
    given_up(|network| network.server.set_link(false));
}

/// What a firewall answers becomes the number of the end.
#[test]
#[ignore = "needs root, `ip`, `tc`, `ss` and `nft`: install iproute2 and nftables"]
fn a_user_timeout_ends_what_a_firewall_refuses() {
    let record = given_up(|network| network.peer.reject_arriving());
    assert_errno(&record, Errno::CONNREFUSED);
}

#[test]
#[ignore = "needs root, `ip`, `tc`, `ss` and `nft`: install iproute2 and nftables"]
fn keepalive_probes_find_a_dead_path_without_any_heartbeat() {
    let args = [
        "--interval",
        "off",
        "--timeout",
        "off",
        "--tcp-keepalive",
        "1s,1s,2",
    ];
    let scene = Scene::new(Wire::Line, &args);
    let mut peer = scene.peer();
    peer.send_text("hello");
    assert_eq!(peer.next(), Arrival::Message(b"hello".to_vec()));
    scene.network.peer.lose_arriving();
    let (_, record) = scene.server.wait_closed();
    record.assert_end("path_dead", false);
    assert_errno(&record, Errno::TIMEDOUT);
    assert_eq!(record.count("pings_due"), 0, "{}", record.0);
}
