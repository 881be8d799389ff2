//! More messages and bytes than a peer may send.

use std::thread;
use std::time::{Duration, Instant};

use crate::attacker::write;
use crate::support::Wire::{self, Binary};
use crate::support::bytes::message;
use crate::support::raw::Arrival;
use crate::victim::Victim;
use crate::{MIB, WIRES};

/// What is too much waits in the kernel, the answers to our pings among it, and that is no silence.
#[test]
fn a_peer_above_its_rate_is_read_more_slowly_and_stays() {
    const COUNT: usize = 2_500;
    let rates = [
        "--messages-per-second",
        "1000",
        "--bytes-per-second",
        "1MiB",
    ];
    let beat = [
        "--interval",
        "300ms",
        "--timeout",
        "900ms",
        "--proof",
        "pong",
    ];
    let args = [&rates[..], &beat[..], &["--max-message", "4MiB"]].concat();
    Victim::start(&WIRES, &args).withstands(8 * MIB, |victim| {
        thread::scope(|scope| {
            for wire in WIRES {
                scope.spawn(move || stay_above(victim, wire, COUNT, b"much"));
            }
            scope.spawn(move || stay_above(victim, Binary, 1, &vec![7; 5 * MIB / 2]));
        });
    });
}

/// Sends what takes the server a second and a half more than there are, is echoed, and leaves.
fn stay_above(victim: &Victim, wire: Wire, count: usize, text: &[u8]) {
    let began = Instant::now();
    let mut peer = victim.open(wire);
    let writer = peer.stream().try_clone().unwrap();
    let bytes = message(wire, text).repeat(count);
    let writing = thread::spawn(move || write(&writer, &bytes));
    for _ in 0..count {
        assert!(peer.next_answering() == Arrival::Message(text.to_vec()));
    }
    assert!(writing.join().unwrap());
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(1_400), "{took:?}");
    victim.end_without(peer.into_parts().0).assert_left();
}

#[test]
fn a_peer_above_its_rate_is_closed_where_that_is_asked_for() {
    let rates = ["--messages-per-second", "1000", "--excess", "close"];
    let args = [&rates[..], &["--close-timeout", "500ms"]].concat();
    Victim::start(&WIRES, &args).withstands(4 * MIB, |victim| {
        for wire in WIRES {
            let peer = victim.open(wire);
            // What is read in one turn comes at once.
            write(peer.stream(), &message(wire, b"much").repeat(5_000));
            let end = victim.end_of(peer.stream());
            end.assert_closed(wire, "rate_limited", 1008);
        }
    });
}
