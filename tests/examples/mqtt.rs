//! The MQTT broker, spoken to in bytes as the standard shows them (MQTT 3.1.1, section 3).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::running::{Running, any};
use crate::support::PATIENCE;

#[path = "../../examples/mqtt.rs"]
#[allow(dead_code, unreachable_pub, reason = "its main is not called")]
mod example;

/// The example, until it is dropped.
struct Broker(Running<SocketAddr>);

impl Broker {
    fn start() -> Self {
        Self(Running::start(|sender| {
            let ready = |addr, handle| sender.send((addr, handle)).unwrap();
            example::serve(any(), ready).unwrap();
        }))
    }

    fn dial(&self) -> TcpStream {
        let peer = TcpStream::connect(self.0.at).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        peer
    }

    /// Connects with a keep alive of so many seconds.
    fn connect(&self, keep_alive: u8) -> TcpStream {
        let mut peer = self.dial();
        let head = b"\x10\x0d\x00\x04MQTT\x04\x02\x00";
        peer.write_all(head).unwrap();
        peer.write_all(&[keep_alive, 0, 1, b'a']).unwrap();
        expect(&mut peer, b"\x20\x02\x00\x00");
        peer
    }
}

#[track_caller]
fn expect(peer: &mut TcpStream, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    peer.read_exact(&mut read).unwrap();
    assert_eq!(read, bytes);
}

#[track_caller]
fn expect_end(peer: &mut TcpStream) {
    // What was not read makes a reset of the end.
    match peer.read(&mut [0]) {
        Ok(count) => assert_eq!(count, 0),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
}

#[test]
fn who_subscribes_gets_what_is_published() {
    let broker = Broker::start();
    let (mut ann, mut eve) = (broker.connect(60), broker.connect(0));
    // Two topics, of which the second has a wildcard.
    ann.write_all(b"\x82\x0d\x00\x07\x00\x04news\x00\x00\x01#\x00")
        .unwrap();
    expect(&mut ann, b"\x90\x04\x00\x07\x00\x80");
    // A ping in pieces, and a message with its flag for a repeat.
    eve.write_all(b"\xc0").unwrap();
    eve.write_all(b"\x00\x38\x0b\x00\x04newshello").unwrap();
    expect(&mut eve, b"\xd0\x00");
    expect(&mut ann, b"\x30\x0b\x00\x04newshello");
    ann.write_all(b"\xa2\x08\x00\x08\x00\x04news").unwrap();
    expect(&mut ann, b"\xb0\x02\x00\x08");
    eve.write_all(b"\x30\x0b\x00\x04newshello\xc0\x00").unwrap();
    expect(&mut eve, b"\xd0\x00");
    ann.write_all(b"\xc0\x00").unwrap();
    expect(&mut ann, b"\xd0\x00");
    ann.write_all(b"\xe0\x00").unwrap();
    expect_end(&mut ann);
}

#[test]
fn a_broken_rule_ends_the_connection() {
    let broker = Broker::start();
    // No CONNECT first; one of another version; a length of five bytes; a message that is no request.
    for bytes in [
        &b"\x30\x07\x00\x04newsx"[..],
        b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x3c\x00\x01a",
        b"\x30\xff\xff\xff\xff\x01",
        b"\xf0\x00",
    ] {
        let mut peer = broker.dial();
        peer.write_all(bytes).unwrap();
        if bytes[0] == 0x10 {
            expect(&mut peer, b"\x20\x02\x00\x01");
        }
        expect_end(&mut peer);
    }
    broker.connect(60);
}

#[test]
fn a_client_that_is_silent_for_one_and_a_half_keep_alives_is_gone() {
    let broker = Broker::start();
    let mut peer = broker.connect(1);
    let began = Instant::now();
    expect_end(&mut peer);
    let took = began.elapsed();
    // The answer to CONNECT left a little before it was read.
    assert!(took >= Duration::from_millis(1_400), "early: {took:?}");
}
