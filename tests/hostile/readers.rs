//! Peers that make the server speak, and do not listen.

use std::fs;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::attacker::{assert_echo, write, write_until_ended};
use crate::probe::Talk;
use crate::server::Server;
use crate::support::Wire::WebSocket;
use crate::support::bytes::{masked_frame, message};
use crate::support::{PATIENCE, Wire};
use crate::victim::Victim;
use crate::{MIB, WIRES};

#[test]
fn never_reading_peers_of_an_echo_stall_with_bounded_queues() {
    let args = ["--write-timeout", "1s", "--send-queue", "1MiB"];
    Victim::start(&WIRES, &args).withstands(24 * MIB, |victim| {
        flood_without_reading(victim, &WIRES.repeat(4), 60_000, |victim, wire, stream| {
            let end = victim.end_of(stream);
            assert_eq!(end.cause(), "write_stalled", "{wire:?} {}", end.record.0);
            // The queue, and the control frames beside it.
            let queued = end.record.count("queued");
            assert!(queued <= (MIB + 8 * 1024) as u64, "{}", end.record.0);
        });
    });
}

#[test]
fn never_reading_peers_of_tiny_echoes_cost_no_more_than_their_queues() {
    let args = ["--write-timeout", "1s", "--send-queue", "256KiB"];
    Victim::start(&WIRES, &args).withstands(5 * MIB, |victim| {
        // A peer sends a million of them before its kernel and ours are full.
        flood_without_reading(victim, &WIRES, 0, |victim, wire, stream| {
            let end = victim.end_of(stream);
            assert_eq!(end.cause(), "write_stalled", "{wire:?} {}", end.record.0);
        });
    });
}

#[test]
fn never_reading_peers_are_closed_where_a_full_queue_closes() {
    let args = [
        "--overflow",
        "close",
        "--send-queue",
        "256KiB",
        "--close-timeout",
        "500ms",
    ];
    Victim::start(&WIRES, &args).withstands(16 * MIB, |victim| {
        flood_without_reading(victim, &WIRES.repeat(2), 60_000, |victim, wire, stream| {
            let end = victim.end_of(stream);
            end.assert_closed(wire, "send_queue_full", 1008);
        });
        assert_no_output_lingers(victim);
    });
}

/// Writes messages of this size as fast as possible on each of the wires, and reads nothing, until the
/// server has had enough.
fn flood_without_reading(
    victim: &Victim,
    wires: &[Wire],
    size: usize,
    check: impl Fn(&Victim, Wire, &TcpStream) + Sync,
) {
    thread::scope(|scope| {
        for &wire in wires {
            let check = &check;
            scope.spawn(move || {
                let peer = victim.open_narrow(wire);
                let text = message(wire, &vec![b'x'; size]);
                let times = (60_000 / text.len()).max(1);
                write_until_ended(peer.stream(), &text.repeat(times));
                check(victim, wire, peer.stream());
            });
        }
    });
}

/// Checks that the kernel holds no output for peers that the server has let go: a peer that never takes
/// it would keep it there for many minutes.
fn assert_no_output_lingers(victim: &Victim) {
    let ports: Vec<_> = victim
        .ports()
        .iter()
        .map(|(wire, _)| format!(":{:04X}", victim.server().own_port(wire.label())))
        .collect();
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        let lingers = |line: &&str| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let is_ours = ports.iter().any(|port| fields[1].ends_with(port.as_str()));
            // FIN_WAIT1, CLOSING and LAST_ACK: ended by us, and not acknowledged.
            is_ours && ["04", "0B", "09"].contains(&fields[3])
        };
        let lingering: Vec<_> = table.lines().skip(1).filter(lingers).collect();
        if lingering.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{}", lingering.join("\n"));
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_broken_rule_of_a_peer_that_never_reads_leaves_nothing_behind() {
    Victim::start(&[WebSocket], &["--close-timeout", "500ms"]).withstands(24 * MIB, |victim| {
        let peers: Vec<_> = (0..8)
            .map(|_| {
                let peer = victim.open_narrow(WebSocket);
                write(peer.stream(), &message(WebSocket, &vec![b'x'; MIB]));
                write(peer.stream(), &masked_frame(0x83, b""));
                peer
            })
            .collect();
        for peer in &peers {
            let end = victim.end_of(peer.stream());
            end.assert_closed(WebSocket, "protocol_error", 1002);
        }
        assert_no_output_lingers(victim);
    });
}

#[test]
fn a_subscriber_that_never_reads_costs_its_queue_and_holds_up_nobody() {
    let args = [
        "--mode",
        "broadcast",
        "--messages-per-second",
        "off",
        "--write-timeout",
        "2s",
        "--send-queue",
        "256KiB",
    ];
    let server = Server::start(&WIRES, &args);
    let victim = Victim::start_with(server, &WIRES, Talk::Pings);
    victim.withstands(24 * MIB, |victim| {
        let stuck: Vec<_> = WIRES
            .repeat(8)
            .into_iter()
            .map(|wire| victim.open_narrow(wire))
            .collect();
        let mut reader = victim.open(WebSocket);
        let mut talker = victim.open(WebSocket);
        for peer in stuck.iter().chain([&reader, &talker]) {
            victim.server().wait_open(peer.local_port());
        }
        let text = vec![b'b'; 1_000];
        for _ in 0..1_000 {
            talker.write(&message(WebSocket, &text));
            assert_echo(&mut reader, &text);
        }
        for peer in &stuck {
            let end = victim.end_of(peer.stream());
            assert_eq!(end.cause(), "write_stalled", "{}", end.record.0);
        }
        drop((reader, talker));
        victim.ended(stuck.len() + 2);
    });
}

#[test]
fn a_window_that_never_opens_again_is_a_stall_and_not_a_silence() {
    let args = [
        "--interval",
        "300ms",
        "--timeout",
        "1s",
        "--write-timeout",
        "off",
    ];
    Victim::start(&WIRES, &args).withstands(8 * MIB, |victim| {
        for wire in WIRES {
            let peer = victim.open_narrow(wire);
            write(peer.stream(), &message(wire, &vec![b'x'; 500_000]));
            let end = victim.end_of(peer.stream());
            assert_eq!(end.cause(), "write_stalled", "{wire:?} {}", end.record.0);
        }
    });
}

#[test]
fn one_byte_at_a_time_in_both_directions_is_served() {
    Victim::start(&WIRES, &[]).withstands(4 * MIB, |victim| {
        for wire in WIRES {
            let mut peer = victim.open_narrow(wire);
            let began = Instant::now();
            for number in 0..20 {
                let text = format!("number {number}");
                for byte in message(wire, text.as_bytes()) {
                    peer.write(&[byte]);
                }
                assert_echo(&mut peer, text.as_bytes());
            }
            assert!(began.elapsed() < PATIENCE);
        }
    });
}
