//! What comes on a wire and is not what the wire is for.

use std::io::Write;
use std::net::Shutdown;
use std::time::Duration;

use heartwheel::close::Cause;
use heartwheel::config::LimitsConfig;
use heartwheel::error::ProtocolError;
use heartwheel::proto::codec::{Codec, Decoded};
use heartwheel::proto::wire::{EncodeError, MessageKind};
use heartwheel::reactor::{ClientConfig, WireFactory};

use crate::support::recorder::*;
use crate::support::turning::*;

/// A read stops at an urgent byte, however much lies behind it: it was taken for all there is, and the
/// rest lay there until more came. The byte itself was missing from the stream.
#[test]
#[cfg(target_os = "linux")]
fn what_lies_behind_an_urgent_byte_is_read() {
    use rustix::net::{SendFlags, send};

    let mut reactor = reactor();
    let (_, addr) = listen_with(&mut reactor, on_loopback(WireFactory::Line, None, None));
    let mut recorder = Recorder::echoing();
    let mut peer = connect_peer(addr);
    for round in 1..=3 {
        peer.write_all(b"hel").unwrap();
        send(&peer, b"l", SendFlags::OOB).unwrap();
        peer.write_all(b"o\nthere\n").unwrap();
        drive(&mut reactor, &mut recorder, |seen| {
            seen.messages().len() == 2 * round
        });
    }
    let expected = [&b"hello"[..], b"there"].repeat(3);
    assert_eq!(recorder.messages(), expected);
}

/// Never satisfied.
#[derive(Debug)]
struct Greedy;

impl Codec for Greedy {
    fn decode(&mut self, _: &[u8], _: &mut Vec<u8>) -> Result<Decoded, ProtocolError> {
        Ok(Decoded::NeedMore)
    }

    fn encode(&mut self, _: MessageKind, _: &[u8], _: &mut Vec<u8>) -> Result<(), EncodeError> {
        Ok(())
    }
}

/// The input stopped exactly at the limit that it had to pass to be refused, and hung there.
#[test]
fn an_own_codec_that_wants_too_much_is_told_so() {
    for max_message in [1_000, 60 * 1024, 100_000] {
        let mut recorder = Recorder::default();
        let mut reactor = reactor();
        let wire = WireFactory::own(|_| Greedy);
        let mut config = on_loopback(wire, None, None);
        config.heartbeat.close_timeout = Duration::from_millis(100);
        config.limits.max_message = max_message;
        let (_, addr) = listen_with(&mut reactor, config);
        let mut peer = connect_peer(addr);
        peer.write_all(&vec![0; 200_000]).unwrap();
        drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
        assert_eq!(recorder.closed()[0].1.cause, Cause::MessageTooBig);
    }
}

/// A rate floor of one byte a second and a large message made a span that the stamps cannot hold.
#[test]
fn a_low_floor_does_not_turn_against_a_large_message() {
    let mut recorder = Recorder::default();
    let mut reactor = reactor();
    let mut config = on_loopback(WireFactory::Binary, None, None);
    config.limits = LimitsConfig {
        slow_floor: 1,
        slow_grace: Duration::from_millis(50),
        message_timeout: None,
        ..LimitsConfig::default()
    };
    let (_, addr) = listen_with(&mut reactor, config);
    let mut peer = connect_peer(addr);
    peer.set_nonblocking(true).unwrap();
    let mut bytes = vec![0; 5 + 3_000_000];
    bytes[1..5].copy_from_slice(&4_000_000u32.to_be_bytes());
    let mut sent = 0;
    drive(&mut reactor, &mut recorder, |_| {
        sent += peer.write(&bytes[sent..]).unwrap_or(0);
        sent == bytes.len()
    });
    drive_for(&mut reactor, &mut recorder, Duration::from_millis(200));
    assert!(recorder.closed().is_empty(), "{:?}", recorder.closed());
    assert_eq!(reactor.stats().bytes_in, bytes.len() as u64);
}

/// A client of TLS on a wire of lines sent text that was not UTF-8, or none at all for a minute; on the
/// binary wire it had an unknown frame type. What a web server said to a client of ours was a message.
#[test]
fn other_protocols_are_named_on_wires_without_handshake() {
    const HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\xc7\n\xd1";
    const ALERT: &[u8] = b"\x15\x03\x03\x00\x02\x02\x46";
    let ended = |recorder: &Recorder| {
        let end = recorder.seen.iter().find_map(|seen| match seen {
            Seen::Closed(_, evidence, _, reason) => Some((evidence.cause, reason.clone())),
            _ => None,
        })?;
        assert_eq!(recorder.messages(), [b""; 0]);
        Some(end)
    };
    let named = |what: &str| Some((Cause::ProtocolError, format!("this looks like {what}")));
    for (wire, bytes, what) in [
        (WireFactory::Line, HELLO, "tls"),
        (WireFactory::Line, &HELLO[..11], "tls"),
        (
            WireFactory::Line,
            b"GET / HTTP/1.1\r\n\r\n",
            "an http request",
        ),
        (WireFactory::Binary, HELLO, "tls"),
        (
            WireFactory::Binary,
            b"GET / HTTP/1.1\r\n\r\n",
            "an http request",
        ),
        (WireFactory::Binary, b"SSH-2.0-x\r\n", "ssh"),
    ] {
        let (mut reactor, mut recorder) = (reactor(), Recorder::default());
        let wire_has_lines = matches!(wire, WireFactory::Line);
        let (_, addr) = listen_with(&mut reactor, on_loopback(wire, None, None));
        let mut peer = connect_peer(addr);
        let (start, rest) = match wire_has_lines {
            true => bytes.split_at(2),
            false => bytes.split_at(0),
        };
        peer.write_all(start).unwrap();
        drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 1);
        peer.write_all(rest).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
        assert_eq!(ended(&recorder), named(what));
    }
    for (wire, bytes, what) in [
        (WireFactory::Line, ALERT, "tls"),
        (
            WireFactory::Line,
            b"HTTP/1.1 400 Bad\r\n\r\n",
            "an http response",
        ),
        (WireFactory::Binary, ALERT, "tls"),
        (
            WireFactory::Binary,
            b"HTTP/1.1 400 Bad\r\n",
            "an http response",
        ),
    ] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut reactor, mut recorder) = (reactor(), Recorder::default());
        let port = listener.local_addr().unwrap().port();
        let client = ClientConfig {
            reconnect: None,
            ..ClientConfig::new("127.0.0.1", port, wire)
        };
        reactor.connect(client).unwrap();
        drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 1);
        let (mut peer, _) = listener.accept().unwrap();
        peer.write_all(bytes).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 1);
        assert_eq!(ended(&recorder), named(what));
    }
}

/// Only after the first words: later ones may be anything.
#[test]
fn lines_about_other_protocols_are_messages() {
    let mut reactor = reactor();
    let (_, addr) = listen_with(&mut reactor, on_loopback(WireFactory::Line, None, None));
    let mut recorder = Recorder::default();
    let mut peer = connect_peer(addr);
    let lines = ["hello", "GET / HTTP/1.1", "HTTP/1.1 200 OK", "\x16\x03\x01"];
    for line in lines {
        writeln!(peer, "{line}").unwrap();
    }
    drive(&mut reactor, &mut recorder, |seen| {
        seen.messages().len() == 4
    });
    assert_eq!(recorder.messages(), lines.map(str::as_bytes));
}
