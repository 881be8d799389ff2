//! Ends in every phase, by a reset and by a half-close.

use std::net::{Shutdown, TcpStream};
use std::thread;

use crate::attacker::{assert_echo, only_status, read_to_end, reset, write};
use crate::server::is_over_tls;
use crate::support::Wire::{self, Binary, Line, WebSocket};
use crate::support::bytes::{masked_frame, message, upgrade_request};
use crate::support::raw::{Arrival, RawPeer};
use crate::victim::Victim;
use crate::{MIB, WIRES};

/// How far a connection has come when its peer ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing was sent; on plain wires that is open already.
    Connected,
    MidHead,
    Open,
    MidFrame,
    BetweenFragments,
    /// The server has output that the peer does not take.
    OutputQueued,
    /// The peer's Close is sent, its echo not read.
    Closed,
}

const STAGES: [(Wire, &[Stage]); 3] = [
    (
        WebSocket,
        &[
            Stage::Connected,
            Stage::MidHead,
            Stage::Open,
            Stage::MidFrame,
            Stage::BetweenFragments,
            Stage::OutputQueued,
            Stage::Closed,
        ],
    ),
    (
        Line,
        &[Stage::Connected, Stage::MidFrame, Stage::OutputQueued],
    ),
    (
        Binary,
        &[Stage::Connected, Stage::MidFrame, Stage::OutputQueued],
    ),
];

impl Stage {
    /// Brings a connection there.
    fn reach(self, victim: &Victim, wire: Wire) -> TcpStream {
        let stream = match self {
            Self::Connected | Self::MidHead => victim.dial(wire),
            Self::Open | Self::MidFrame | Self::BetweenFragments | Self::Closed => {
                victim.open(wire).into_parts().0
            }
            Self::OutputQueued => victim.open_narrow(wire).into_parts().0,
        };
        let bytes = match self {
            Self::Connected | Self::Open => Vec::new(),
            Self::MidHead => upgrade_request("/", "")[..80].to_vec(),
            Self::MidFrame => message(wire, b"unfinished")[..8].to_vec(),
            Self::BetweenFragments => masked_frame(0x01, b"first"),
            Self::OutputQueued => message(wire, &vec![b'q'; QUEUED]),
            Self::Closed => masked_frame(0x88, &1000u16.to_be_bytes()),
        };
        write(&stream, &bytes);
        stream
    }

    fn is_open(self, wire: Wire) -> bool {
        wire != WebSocket || !matches!(self, Self::Connected | Self::MidHead)
    }
}

/// More than the kernel takes for a peer that does not read.
const QUEUED: usize = 500_000;

#[test]
fn resets_in_every_phase_end_as_resets() {
    Victim::start(&WIRES, &[]).withstands(4 * MIB, |victim| {
        for (wire, stages) in STAGES {
            for &stage in stages {
                for _ in 0..20 {
                    let stream = stage.reach(victim, wire);
                    let handle = stream.try_clone().unwrap();
                    reset(stream);
                    let end = victim.end_without(handle);
                    let cause = match stage {
                        // It said goodbye first, and what was read counts.
                        Stage::Closed => "peer_closed",
                        _ => "peer_reset",
                    };
                    let found = (end.was_open, end.cause());
                    let expected = (stage.is_open(wire), cause);
                    assert_eq!(found, expected, "{wire:?} {stage:?} {}", end.record.0);
                }
            }
        }
    });
}

#[test]
fn half_closes_in_every_phase_end_as_the_end_of_input() {
    Victim::start(&WIRES, &[]).withstands(8 * MIB, |victim| {
        for (wire, stages) in STAGES {
            for &stage in stages {
                for _ in 0..10 {
                    let stream = stage.reach(victim, wire);
                    stream.shutdown(Shutdown::Write).unwrap();
                    let rest = read_to_end(&stream);
                    let end = victim.end_of(&stream);
                    check_half_closed(wire, stage, &rest);
                    let cause = match stage {
                        Stage::Closed => "peer_closed",
                        _ => "peer_eof",
                    };
                    let found = (end.was_open, end.cause(), end.record.is_clean());
                    // A line ends with its stream; a binary message that is not whole was cut.
                    let is_cut = (wire, stage) == (Binary, Stage::MidFrame);
                    let is_clean = !is_cut && (stage == Stage::Closed || wire != WebSocket);
                    let expected = (stage.is_open(wire), cause, is_clean);
                    assert_eq!(found, expected, "{wire:?} {stage:?} {}", end.record.0);
                }
            }
        }
    });
}

/// Checks what a peer reads that has ended its own output.
fn check_half_closed(wire: Wire, stage: Stage, rest: &[u8]) {
    match (wire, stage) {
        (WebSocket, Stage::Closed) => assert_eq!(rest, [0x88, 2, 3, 232]),
        // On plain wires it has still all coming to it.
        (Line, Stage::OutputQueued) => assert_eq!(rest.len(), QUEUED + 1),
        (Binary, Stage::OutputQueued) => assert_eq!(rest.len(), QUEUED + 5),
        (Line, Stage::MidFrame) => assert_eq!(rest, b"unfinish\n"),
        // Half-closed without a goodbye: what was on its way, and no more. A relay may carry the end later
        // than all of the echo.
        (WebSocket, Stage::OutputQueued) => assert!(is_over_tls() || rest.len() < QUEUED),
        _ => assert_eq!(rest, b""),
    }
}

#[test]
fn f52_half_closed_peers_that_never_read_are_let_go_after_the_write_timeout() {
    let args = ["--write-timeout", "500ms"];
    Victim::start(&[Line, Binary], &args).withstands(8 * MIB, |victim| {
        for wire in [Line, Binary] {
            let streams: Vec<_> = (0..5)
                .map(|_| {
                    let stream = Stage::OutputQueued.reach(victim, wire);
                    stream.shutdown(Shutdown::Write).unwrap();
                    stream
                })
                .collect();
            for stream in &streams {
                let end = victim.end_of(stream);
                // Output may have stalled for long enough before the end was read.
                let cause = end.cause();
                assert!(["peer_eof", "write_stalled"].contains(&cause), "{cause}");
                assert!(!end.record.is_clean());
            }
        }
    });
}

#[test]
fn a_half_close_behind_a_request_does_not_cost_its_answer() {
    Victim::start(&[WebSocket], &[]).withstands(4 * MIB, |victim| {
        for (request, status) in [
            (&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], 426),
            (b"GET / HTTP/1.1\r\nHost: a\r\nbad line\r\n\r\n", 400),
        ] {
            let stream = victim.dial(WebSocket);
            write(&stream, request);
            stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(only_status(&read_to_end(&stream)), status);
        }
        victim.ended(2);
    });
}

#[test]
fn ends_after_our_close_leave_its_cause_standing() {
    let args = ["--app-idle", "300ms", "--close-timeout", "60s"];
    Victim::start(&[WebSocket], &args).withstands(4 * MIB, |victim| {
        let leave = |mut peer: RawPeer, how: usize| {
            match how {
                0 => reset(peer.into_parts().0),
                1 => {
                    peer.stream().shutdown(Shutdown::Write).unwrap();
                    peer.ignore_until_end();
                }
                _ => {
                    peer.send_close(1000);
                    peer.ignore_until_end();
                }
            };
        };
        thread::scope(|scope| {
            for how in [0, 1, 2].repeat(4) {
                scope.spawn(move || {
                    let mut peer = victim.open(WebSocket);
                    assert_eq!(peer.next_answering(), Arrival::Close(Some(1000)));
                    let handle = peer.stream().try_clone().unwrap();
                    leave(peer, how);
                    let end = victim.end_without(handle);
                    end.assert_closed(WebSocket, "app_idle", 1000);
                    assert_eq!(end.record.is_clean(), how == 2);
                });
            }
        });
    });
}

#[test]
fn everything_at_once_and_gone_is_heard_to_its_end() {
    Victim::start(&WIRES, &[]).withstands(4 * MIB, |victim| {
        for wire in WIRES {
            for _ in 0..20 {
                let mut peer = victim.open(wire);
                let mut bytes = message(wire, b"all").repeat(50);
                if wire == WebSocket {
                    bytes.extend(masked_frame(0x88, &4321u16.to_be_bytes()));
                }
                write(peer.stream(), &bytes);
                peer.stream().shutdown(Shutdown::Write).unwrap();
                for _ in 0..50 {
                    assert_echo(&mut peer, b"all");
                }
                let end = victim.end_of(peer.stream());
                match wire {
                    WebSocket => end.assert_closed(wire, "peer_closed", 4321),
                    Line | Binary => end.record.assert_end("peer_eof", true),
                }
            }
        }
    });
}
