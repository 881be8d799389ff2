//! Opening handshakes that never come to their end.

use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::MIB;
use crate::attacker::{
    assert_echo, assert_refused, connect, only_status, read_to_end, write, write_until_ended,
};
use crate::support::Wire::WebSocket;
use crate::support::bytes::upgrade_request;
use crate::support::raw::{Arrival, RawPeer};
use crate::victim::Victim;

#[test]
fn f11_dripped_and_silent_handshakes_end_at_the_total_limit() {
    let args = ["--handshake-timeout", "1s", "--close-timeout", "500ms"];
    Victim::start(&[WebSocket], &args).withstands(4 * MIB, |victim| {
        let one_byte: Vec<_> = upgrade_request("/", "")
            .into_iter()
            .map(|byte| vec![byte])
            .collect();
        // A plain request, as slow clients that wear out web servers send it.
        let mut lines = vec![b"GET / HTTP/1.1\r\n".to_vec()];
        lines.resize(one_byte.len(), b"X-Patience: a\r\n".to_vec());
        let silence = vec![Vec::new(); one_byte.len()];
        let drips = [one_byte, lines, silence];
        let streams: Vec<Vec<_>> = drips
            .iter()
            .map(|_| (0..20).map(|_| victim.dial(WebSocket)).collect())
            .collect();

        let ended = while_dripping(&drips, &streams, || victim.ended(60));
        for end in ended {
            end.assert_rejected("handshake_timeout");
            let age = end.record.time("age").as_secs();
            // Had a byte extended it, it would have been far more.
            assert!((1..5).contains(&age), "{}", end.record.0);
        }
        for stream in streams.iter().flatten() {
            assert_eq!(only_status(&read_to_end(stream)), 408);
        }
    });
}

/// Writes the pieces of each drip to all of its streams, one every 100 ms, until `wait` returns.
fn while_dripping<T>(
    drips: &[Vec<Vec<u8>>],
    streams: &[Vec<TcpStream>],
    wait: impl FnOnce() -> T,
) -> T {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for step in 0..drips[0].len() - 1 {
                for (pieces, streams) in drips.iter().zip(streams) {
                    for stream in streams {
                        write(stream, &pieces[step]);
                    }
                }
                if is_over.load(Ordering::Acquire) {
                    return;
                }
                thread::sleep(Duration::from_millis(100));
            }
        });
        let waited = wait();
        is_over.store(true, Ordering::Release);
        waited
    })
}

#[test]
fn heads_without_end_are_refused() {
    // RFC 9112, 3: a target that is too long is 414. What else is too long is 431 (RFC 6585, 5).
    let heads: [(&[u8], &[u8], u16); 6] = [
        (b"", b"G", 431),
        (b"GET /", b"a", 414),
        (b"GET / HTTP/1.1\r\n", b"A", 431),
        (b"GET / HTTP/1.1\r\nA: ", b"b", 431),
        (b"GET / HTTP/1.1\r\n", b"A: b\r\n", 431),
        (b"", b"\r\n", 431),
    ];
    Victim::start(&[WebSocket], &["--close-timeout", "500ms"]).withstands(4 * MIB, |victim| {
        thread::scope(|scope| {
            for (begin, more, status) in heads.iter().cycle().take(24) {
                scope.spawn(|| {
                    let stream = victim.dial(WebSocket);
                    write(&stream, begin);
                    write_until_ended(&stream, &more.repeat(1_000));
                    assert_eq!(only_status(&read_to_end(&stream)), *status);
                });
            }
        });
        for end in victim.ended(24) {
            end.assert_rejected("protocol_error");
        }
    });
}

#[test]
fn the_limits_of_a_head_are_configuration() {
    let args = ["--max-head", "1KiB", "--max-headers", "8"];
    Victim::start(&[WebSocket], &args).withstands(4 * MIB, |victim| {
        let sound = upgrade_request("/", "");
        let with = |lines: &str| {
            let end = sound.len() - 2;
            [&sound[..end], lines.as_bytes(), b"\r\n"].concat()
        };
        let long = 1024 - with("X: \r\n").len();
        for (head, status) in [
            (with("A: 1\r\nB: 2\r\nC: 3\r\n"), 101),
            (with("A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n"), 431),
            (with(&format!("X: {}\r\n", "x".repeat(long))), 101),
            (with(&format!("X: {}\r\n", "x".repeat(long + 1))), 431),
        ] {
            let stream = victim.dial(WebSocket);
            write(&stream, &head);
            stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(only_status(&read_to_end(&stream)), status);
        }
        victim.ended(4);
    });
}

#[test]
fn f12_half_handshakes_that_hold_all_but_a_byte_of_a_head_cost_their_buffers() {
    Victim::start(&[WebSocket], &["--handshake-timeout", "5m"]).withstands(8 * MIB, |victim| {
        let begin = b"GET / HTTP/1.1\r\nX: ";
        let head = [&begin[..], &b"x".repeat(8 * 1024 - 1 - begin.len())].concat();
        let streams: Vec<_> = (0..HALF_OPEN)
            .map(|_| {
                let stream = victim.dial(WebSocket);
                write(&stream, &head);
                stream
            })
            .collect();
        victim.probe().wait_answers(2);
        drop(streams);
        for end in victim.ended(HALF_OPEN) {
            end.assert_rejected("peer_eof");
        }
    });
}

#[test]
fn f12_half_handshakes_renewed_without_end_keep_no_honest_one_of_their_address_out() {
    let args = ["--handshake-timeout", "5m"];
    Victim::start(&[WebSocket], &args).withstands(8 * MIB, |victim| {
        let mut silent: Vec<_> = (0..HALF_OPEN).map(|_| victim.dial(WebSocket)).collect();
        for _ in 0..50 {
            silent.extend((0..5).map(|_| victim.dial(WebSocket)));
            let mut honest = victim.open(WebSocket);
            honest.send_text("good morning");
            assert_echo(&mut honest, b"good morning");
        }
        let count = silent.len() + 50;
        drop(silent);
        victim.ended(count);
    });
}

/// The default of `--half-open-per-address`.
const HALF_OPEN: usize = 256;

/// Checks that somebody with another address is welcome.
fn assert_served_from_elsewhere(port: u16) {
    let stream = connect(Ipv4Addr::new(127, 0, 0, 99), port);
    let mut other = RawPeer::over(stream, WebSocket);
    other.send_text("good morning");
    assert_echo(&mut other, b"good morning");
    other.send_close(1000);
    assert_eq!(other.next_answering(), Arrival::Close(Some(1000)));
}

/// Tests that take many descriptors.
mod large {
    use super::*;
    use crate::support::crowd::{alone, raise_descriptor_limit};

    #[test]
    #[ignore = "needs 2 300 descriptors: raise ulimit -Hn"]
    fn f12_half_handshakes_of_one_address_are_capped_and_touch_no_other() {
        let _alone = alone();
        raise_descriptor_limit(2_000);
        let args = ["--handshake-timeout", "5m"];
        Victim::start(&[WebSocket], &args).withstands(8 * MIB, |victim| {
            let port = victim.port(WebSocket);
            let half = &upgrade_request("/", "")[..60];
            let streams: Vec<_> = (0..2_000)
                .map(|_| {
                    let stream = victim.dial(WebSocket);
                    write(&stream, half);
                    stream
                })
                .collect();
            let refused = victim.ended(2_000 - HALF_OPEN);
            assert_served_from_elsewhere(port);
            let address = |stream: &TcpStream| stream.local_addr().unwrap();
            let mut held: Vec<_> = streams.iter().map(address).collect();
            for end in refused {
                end.assert_rejected("refused");
                let place = held.iter().position(|&held| held == end.peer());
                held.swap_remove(place.expect("each is refused once"));
            }
            for stream in &streams {
                if !held.contains(&address(stream)) {
                    assert_refused(stream, 429);
                }
            }
            drop(streams);
            let ended = victim.ended(2_000 + 1);
            let eof = ended.iter().filter(|end| end.cause() == "peer_eof").count();
            assert_eq!(eof, HALF_OPEN);
        });
    }
}
