//! Slow is not dead.

use std::time::Duration;

use super::support::Wire;
use super::support::raw::{Arrival, RawPeer};
use super::{Scene, TICK};

/// Has 24 KiB echoed on a link that takes three seconds for them, so that pings wait behind them in the
/// server's kernel, which has all of it at once.
fn slow(args: &[&str]) -> (Scene, RawPeer) {
    let scene = Scene::new(Wire::Binary, args);
    let mut peer = scene.peer();
    scene.network.server.limit_rate(64);
    peer.send_binary(&[7; 24 << 10]);
    (scene, peer)
}

#[test]
#[ignore = "needs root, `ip`, `tc`, `ss` and `nft`: install iproute2 and nftables"]
fn a_ping_behind_data_that_drains_is_waited_for_beyond_the_timeout() {
    let args = [
        "--interval",
        "500ms",
        "--timeout",
        "2s",
        "--write-timeout",
        "5s",
    ];
    let (scene, mut peer) = slow(&args);
    // A ping may have been in front of the message.
    assert!(matches!(peer.next_answering(), Arrival::Message(_)));
    let Arrival::Ping(token) = peer.next() else {
        panic!("pings came while it drained");
    };
    let silence = peer.last_write().elapsed();
    assert!(silence > Duration::from_secs(2), "{silence:?} is not slow");
    peer.send_pong(&token);
    for _ in 0..4 {
        peer.send_text("well");
        assert_eq!(peer.next_answering(), Arrival::Message(b"well".to_vec()));
    }
    let summary = scene.server.finish();
    assert_eq!(
        summary["causes"],
        serde_json::json!({ "drain": 1 }),
        "{summary}"
    );
}

#[test]
#[ignore = "needs root, `ip`, `tc`, `ss` and `nft`: install iproute2 and nftables"]
fn data_that_does_not_drain_within_one_more_write_timeout_is_a_stall() {
    let args = [
        "--interval",
        "500ms",
        "--timeout",
        "1s",
        "--write-timeout",
        "700ms",
    ];
    let (scene, peer) = slow(&args);
    let record = scene.server.wait_closed_from(peer.local_port());
    record.assert_end("write_stalled", false);
    let silence = record.time("last_proof");
    let earliest = Duration::from_millis(1_700);
    let latest = earliest + record.allowance(TICK);
    assert!(
        (earliest..=latest).contains(&silence),
        "{silence:?}: {}",
        record.0
    );
    assert_eq!(record.count("queued"), 0, "{}", record.0);
}
