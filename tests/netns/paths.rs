//! The path breaks under a peer that is well.

use std::io::Write;
use std::thread;
use std::time::Duration;

use super::support::Wire;
use super::support::netns::Network;
use super::support::program::start_on;
use super::support::raw::{Arrival, RawPeer};
use super::support::record::Record;
use super::{BEAT, Scene, TICK, TIMEOUT, answer_one_ping, assert_stall, closed};

/// Breaks the path of an idle peer, and checks that it is found dead in time, and why.
fn f1(break_path: impl FnOnce(&Network)) -> (Scene, RawPeer) {
    let scene = Scene::new(Wire::WebSocket, &BEAT);
    let mut peer = scene.peer();
    answer_one_ping(&mut peer);
    break_path(&scene.network);
    let (line, record) = scene.server.wait_closed();
    let silence = line.at - peer.last_write();
    assert!(silence >= TIMEOUT, "closed after {silence:?}");
    record.assert_silence(TIMEOUT, TICK);
    record.assert_end("path_dead", false);
    (scene, peer)
}

/// Mends the path, and checks that the server's kernel knows nothing of the connection any more.
fn f1_ends(broken: (Scene, RawPeer), mend: impl FnOnce(&Network)) {
    let (scene, mut peer) = broken;
    mend(&scene.network);
    peer.stream().write_all(b"?").unwrap();
    assert_eq!(peer.ignore_until_end().0, Arrival::Reset);
    scene.assert_counted_once("path_dead");
}

#[test]
#[ignore = "needs root, `ip`, `tc`, `ss` and `nft`: install iproute2 and nftables"]
fn f1_packets_lost_towards_the_peer() {
    let broken = f1(|network| network.peer.lose_arriving());
    f1_ends(broken, |network| network.peer.lose_nothing());
}

#[test]
#[ignore = "needs root, `ip`, `tc`, `ss` and `nft`: install iproute2 and nftables"]
fn f1_packets_lost_from_the_peer() {
    let (scene, mut peer) = f1(|network| network.server.lose_arriving());
    // That way nothing is lost, the reset least of all.
    assert_eq!(peer.ignore_until_end().0, Arrival::Reset);
    scene.assert_counted_once("path_dead");
}

#[test]
#[ignore = "needs root, `ip`, `tc`, `ss` and `nft`: install iproute2 and nftables"]
fn f1_packets_lost_both_ways() {
    let broken = f1(|network| {
        network.server.lose_arriving();
        network.peer.lose_arriving();
    });
    f1_ends(broken, |network| {
        network.server.lose_nothing();
        network.peer.lose_nothing();
    });
}

#[test]
#[ignore = "needs root, `ip`, `tc`, `ss` and `nft`: install iproute2 and nftables"]
fn f1_link_down_at_the_peers_end() {
    let broken = f1(|network| network.peer.set_link(false));
    f1_ends(broken, |network| network.peer.set_link(true));
}

/// The kernel finds no way for a packet and keeps it: nothing is under way, so nothing is repeated.
#[test]
#[ignore = "needs root, `ip`, `tc`, `ss` and `nft`: install iproute2 and nftables"]
fn f1_link_down_at_our_own_end() {
    let broken = f1(|network| network.server.set_link(false));
    f1_ends(broken, |network| network.server.set_link(true));
}

/// As with a link that is down, the packet never leaves our kernel.
#[test]
#[ignore = "needs root, `ip`, `tc`, `ss` and `nft`: install iproute2 and nftables"]
fn f1_packets_lost_in_our_own_firewall() {
    let broken = f1(|network| network.server.lose_leaving());
    f1_ends(broken, |network| network.server.lose_nothing());
}

/// Breaks the path before the peer says something, which it then repeats for want of an acknowledgement.
/// Each time our kernel hears of it and forgets how often it has failed to send; a verdict may fall at
/// any time before or after.
fn f1_while_the_peer_repeats(lose: fn(&Network)) {
    let timeouts = [1_200, 1_300, 1_400, 1_450, 1_500, 1_550, 1_700];
    thread::scope(|scope| {
        for timeout in timeouts {
            scope.spawn(move || f1_heard_by_nobody(Duration::from_millis(timeout), lose));
        }
    });
}

fn f1_heard_by_nobody(timeout: Duration, lose: fn(&Network)) {
    let time = format!("{timeout:?}");
    let args = ["--mode", "sink", "--interval", "500ms", "--timeout", &time];
    let scene = Scene::new(Wire::Line, &args);
    let mut peer = scene.peer();
    scene.server.wait_open(peer.local_port());
    lose(&scene.network);
    peer.send_text("do you hear me?");
    let (_, record) = scene.server.wait_closed();
    record.assert_silence(timeout, TICK);
    record.assert_end("path_dead", false);
}

#[test]
#[ignore = "needs root, `ip`, `tc`, `ss` and `nft`: install iproute2 and nftables"]
fn f1_packets_lost_towards_a_peer_that_repeats_its_own() {
    f1_while_the_peer_repeats(|network| network.peer.lose_arriving());
}

#[test]
#[ignore = "needs root, `ip`, `tc`, `ss` and `nft`: install iproute2 and nftables"]
fn f1_packets_lost_in_our_own_firewall_while_the_peer_repeats_its_own() {
    f1_while_the_peer_repeats(|network| network.server.lose_leaving());
}

#[test]
#[ignore = "needs root, `ip`, `tc`, `ss` and `nft`: install iproute2 and nftables"]
fn f1_packets_refused_by_a_firewall_of_the_peers() {
    let broken = f1(|network| network.peer.reject_arriving());
    f1_ends(broken, |network| network.peer.lose_nothing());
}

#[test]
#[ignore = "needs root, `ip`, `tc`, `ss` and `nft`: install iproute2 and nftables"]
fn f1_a_client_finds_its_server_gone() {
    let network = Network::new();
    let listener = network.peer.listen();
    let url = format!("tcp+binary://{}", listener.local_addr().unwrap());
    let args = [&["connect", &url, "--json", "--no-reconnect"], &BEAT[..]].concat();
    let client = start_on(&network.server, &args);
    let mut server = RawPeer::over(listener.accept().unwrap().0, Wire::Binary);
    answer_one_ping(&mut server);
    network.peer.lose_arriving();
    let record = closed(&client);
    record.assert_silence(TIMEOUT, TICK);
    record.assert_end("path_dead", false);
    // The byte of the newest ping is held for sure, and no byte was ever sent but those of pings.
    let unanswered = record.count("pings_written") - record.count("pings_answered");
    let held = record.count("kernel_queued");
    assert!((1..=unanswered).contains(&held), "{}", record.0);
}

/// Makes a server that hands a neighbour's messages to a peer whose path has just broken.
fn with_a_talker(wire: Wire, args: &[&str]) -> (Scene, RawPeer, RawPeer) {
    let scene = Scene::new(wire, &[&["--mode", "broadcast"], args].concat());
    let (mut peer, neighbour) = (scene.peer(), scene.neighbour());
    answer_one_ping(&mut peer);
    scene.network.peer.lose_arriving();
    (scene, peer, neighbour)
}

#[test]
#[ignore = "needs root, `ip`, `tc`, `ss` and `nft`: install iproute2 and nftables"]
fn f2_vanished_with_data_unacknowledged_is_path_dead_at_the_timeout() {
    let (scene, peer, mut neighbour) = with_a_talker(Wire::WebSocket, &BEAT);
    neighbour.send_text("into the void");
    let record = scene.server.wait_closed_from(peer.local_port());
    record.assert_silence(TIMEOUT, TICK);
    record.assert_end("path_dead", false);
    assert!(record.count("kernel_queued") > 0, "{}", record.0);
}

#[test]
#[ignore = "needs root, `ip`, `tc`, `ss` and `nft`: install iproute2 and nftables"]
fn f2_vanished_with_output_queued_is_path_dead_at_the_write_timeout_if_that_is_sooner() {
    let args = [
        "--interval",
        "1s",
        "--timeout",
        "4s",
        "--write-timeout",
        "1s",
        "--max-message",
        "4MiB",
    ];
    let (scene, peer, mut neighbour) = with_a_talker(Wire::Binary, &args);
    neighbour.send_binary(&vec![7; 4 << 20]);
    let record = scene.server.wait_closed_from(peer.local_port());
    assert_stall(&record, "path_dead", Duration::from_secs(1));
    assert!(record.count("queued") > 0, "{}", record.0);
}

/// Returns the record of a peer that vanishes while it is sent a kilobyte as often as this.
fn f41(pause: Option<Duration>) -> Record {
    let (scene, peer, mut neighbour) = with_a_talker(Wire::Line, &BEAT);
    loop {
        if let Some(record) = scene.server.closed_from(peer.local_port()) {
            return record;
        }
        if pause.is_some() {
            neighbour.send_binary(&[b'x'; 1024]);
        }
        // The rate is what is tested.
        thread::sleep(pause.unwrap_or(TICK));
    }
}

#[test]
#[ignore = "needs root, `ip`, `tc`, `ss` and `nft`: install iproute2 and nftables"]
fn f41_a_dead_path_is_found_as_fast_however_much_we_write_into_it() {
    let rates = [None, Some(100), Some(10), Some(1)];
    thread::scope(|scope| {
        let all = rates.map(|pause| scope.spawn(move || f41(pause.map(Duration::from_millis))));
        for found in all {
            let record = found.join().unwrap();
            record.assert_silence(TIMEOUT, TICK);
            record.assert_end("path_dead", false);
        }
    });
}
