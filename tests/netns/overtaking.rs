//! Control frames overtake data: 8 MiB wait for a slow link, and a ping is answered as soon as the rest
//! of one fragment and what the kernel holds has left.

use std::net::Shutdown;
use std::time::{Duration, Instant};

use super::Scene;
use super::support::Wire;
use super::support::bytes::masked_frame;
use super::support::netns::BURST;
use super::support::raw::{Arrival, RawPeer};

/// Bytes of a fragment, and of a message on wires that have no fragments.
const PIECE: usize = 16 << 10;

/// Bytes that wait for the link: more than a minute's worth.
const WAITING: usize = 8 << 20;

const TIMEOUT: Duration = Duration::from_millis(2_500);

/// Most bytes that the server's kernel holds: 16 KiB that it has not sent (`TCP_NOTSENT_LOWAT`) and a
/// burst beyond them, because it fills what it has begun; three bursts that are under way, two of which
/// may wait on our side (TCP small queues).
const HELD: usize = (16 << 10) + 4 * BURST;

/// Most bytes of control frames and of frames' heads among them.
const HEADS: usize = 256;

/// Has as much echoed on a link of 1 Mbit/s as waits for it then.
fn busy(wire: Wire) -> (Scene, RawPeer) {
    let args = [
        "--interval",
        "500ms",
        "--timeout",
        "2500ms",
        "--proof",
        "pong",
        // The send queue is as long as two of them.
        "--max-message",
        "16MiB",
    ];
    let scene = Scene::new(wire, &[&args, &["--max-fragment", "16KiB"][..]].concat());
    let mut peer = scene.peer();
    scene.network.server.limit_rate(1_000);
    let message = match wire {
        Wire::WebSocket => vec![b'x'; WAITING / 8],
        Wire::Line | Wire::Binary => vec![b'x'; PIECE],
    };
    for _ in 0..WAITING / message.len() {
        peer.send_binary(&message);
        peer.answer_what_came();
    }
    // Answered once the server has read all of it.
    peer.send_ping(b"mine");
    assert_eq!(next_but_data(&mut peer), Arrival::Pong);
    (scene, peer)
}

fn next_but_data(peer: &mut RawPeer) -> Arrival {
    loop {
        match peer.next_answering() {
            Arrival::Message(_) => {}
            other => return other,
        }
    }
}

/// Does something while the server stands still, so that it comes to know of it before it does anything
/// else; waits for what follows, and checks how many bytes came before that.
fn assert_overtakes(
    scene: &Scene,
    peer: &mut RawPeer,
    act: impl FnOnce(&mut RawPeer),
    follows: &Arrival,
) {
    let server = scene.server.process();
    server.stop();
    let held = scene.network.server.held_for(peer.local_addr());
    assert!(held <= HELD, "the kernel holds {held} bytes");
    peer.read_what_came();
    let before = peer.bytes_read();
    act(peer);
    server.resume();
    assert_eq!(next_but_data(peer), *follows);
    let between = peer.bytes_taken() - before;
    // It may have stopped just before it wrote once more.
    let most = PIECE + HELD + HEADS;
    assert!(
        between <= most,
        "{follows:?} came behind {between} of {most} bytes"
    );
}

/// Pings for twice the timeout, and checks that both sides' pings are answered in time although data
/// waits all along.
fn pings_overtake(wire: Wire) -> (Scene, RawPeer) {
    let (scene, mut peer) = busy(wire);
    let began = Instant::now();
    while began.elapsed() < TIMEOUT * 2 {
        assert_overtakes(
            &scene,
            &mut peer,
            |peer| peer.send_ping(b"mine"),
            &Arrival::Pong,
        );
    }
    (scene, peer)
}

#[test]
#[ignore = "needs root, `ip`, `tc`, `ss` and `nft`: install iproute2 and nftables"]
fn pongs_pings_and_the_close_go_between_the_fragments_of_a_message() {
    let (scene, mut peer) = pings_overtake(Wire::WebSocket);
    // Opcode 3 is reserved. At a goodbye of our own the message would leave first.
    let close = Arrival::Close(Some(1002));
    let offend = |peer: &mut RawPeer| peer.write(&masked_frame(0x83, b""));
    assert_overtakes(&scene, &mut peer, offend, &close);
    assert_eq!(peer.longest_frame(), PIECE);
    peer.stream().shutdown(Shutdown::Write).unwrap();
    let (_, record) = scene.server.wait_closed();
    record.assert_end("protocol_error", false);
    assert!(record.count("dropped") > 0, "{}", record.0);
    // Nothing but answers to its pings counted as life, and they came in spite of the data.
    let (due, written) = (record.count("pings_due"), record.count("pings_written"));
    assert!(written + 1 >= due, "{}", record.0);
    assert!(
        record.count("pings_answered") + 5 >= written,
        "{}",
        record.0
    );
}

#[test]
#[ignore = "needs root, `ip`, `tc`, `ss` and `nft`: install iproute2 and nftables"]
fn pongs_and_pings_go_between_binary_messages() {
    pings_overtake(Wire::Binary);
}

#[test]
#[ignore = "needs root, `ip`, `tc`, `ss` and `nft`: install iproute2 and nftables"]
fn pongs_and_pings_go_between_lines() {
    pings_overtake(Wire::Line);
}
