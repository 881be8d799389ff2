//! STOMP 1.2 as a codec of its own: does it fit without reaching around the library? `tests/interop` has a client of
//! others.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::str;
use std::time::{Duration, Instant};

use heartwheel::close::Cause;
use heartwheel::{ListenerConfig, Reactor, ReactorConfig, WireFactory};

use crate::support::PATIENCE;
use crate::support::stomp::{Frames, Server};

/// A server, and the clients that a test has of it.
struct Bench {
    reactor: Reactor,
    server: Server,
    port: u16,
}

impl Bench {
    fn new() -> Self {
        let mut reactor = Reactor::new(ReactorConfig::default()).unwrap();
        let wire = WireFactory::own(|_| Frames::default());
        let mut config = ListenerConfig::new(([127, 0, 0, 1], 0).into(), wire);
        (config.heartbeat.interval, config.heartbeat.timeout) = (None, None);
        let id = reactor.listen(config).unwrap();
        let port = reactor.local_addr(id).unwrap().port();
        Self {
            reactor,
            server: Server::default(),
            port,
        }
    }

    fn dial(&self) -> TcpStream {
        let peer = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        peer.set_read_timeout(Some(Duration::from_millis(5)))
            .unwrap();
        peer.set_nodelay(true).unwrap();
        peer
    }

    /// Dials, and shakes hands.
    fn come(&mut self, beats: &str, piece: usize) -> TcpStream {
        let mut peer = self.dial();
        let hello = format!("CONNECT\naccept-version:1.1,1.2\nhost:a\nheart-beat:{beats}\n\n\0\n");
        self.say(&mut peer, &hello, piece);
        let heard = self.hear(&mut peer, |heard| heard.ends_with('\0'));
        assert_eq!(heard, "CONNECTED\nversion:1.2\nheart-beat:1000,1000\n\n\0");
        peer
    }

    /// Writes in pieces of this size, each of which is handled by itself.
    fn say(&mut self, peer: &mut TcpStream, text: &str, piece: usize) {
        for piece in text.as_bytes().chunks(piece) {
            peer.write_all(piece).unwrap();
            self.turn();
        }
    }

    fn turn(&mut self) {
        let limit = Some(Duration::from_millis(5));
        self.reactor.turn(&mut self.server, limit).unwrap();
    }

    /// Turns until the first connection has ended, for this cause.
    #[track_caller]
    fn await_end(&mut self, cause: Cause) {
        let deadline = Instant::now() + PATIENCE;
        while self.server.ends.is_empty() {
            assert!(Instant::now() < deadline, "nobody ended");
            self.turn();
        }
        assert_eq!(self.server.ends, [cause]);
    }

    /// Turns until what a client has heard is what it waits for, or its end.
    #[track_caller]
    fn hear(&mut self, peer: &mut TcpStream, is_all: impl Fn(&str) -> bool) -> String {
        let (deadline, mut heard) = (Instant::now() + PATIENCE, String::new());
        while !is_all(&heard) {
            assert!(Instant::now() < deadline, "gave up after {heard:?}");
            self.turn();
            let mut chunk = [0; 4096];
            match peer.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => heard.push_str(str::from_utf8(&chunk[..count]).unwrap()),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        heard
    }
}

#[test]
fn stomp_who_subscribes_gets_what_is_sent_however_it_comes() {
    for piece in [usize::MAX, 1] {
        let mut bench = Bench::new();
        let mut ann = bench.come("0,0", piece);
        let mut bob = bench.come("0,0", piece);
        bench.say(
            &mut ann,
            "SUBSCRIBE\nid:7\ndestination:/news\nreceipt:a\n\n\0",
            piece,
        );
        let heard = bench.hear(&mut ann, |heard| heard.ends_with('\0'));
        assert_eq!(heard, "RECEIPT\nreceipt-id:a\n\n\0");
        bench.say(
            &mut bob,
            "SUBSCRIBE\r\nid:x\r\ndestination:/news\r\n\r\n\0",
            piece,
        );
        // A body with a zero in it, by its length, and one that ends at its zero.
        let send = "SEND\ndestination:/news\ncontent-length:3\n\na\0b\0\n\n";
        bench.say(&mut bob, send, piece);
        bench.say(
            &mut bob,
            "SEND\ndestination:/news\nreceipt:r\n\nhello\0",
            piece,
        );
        let first = |id: &str| {
            format!(
                "MESSAGE\nsubscription:{id}\nmessage-id:1\ndestination:/news\ncontent-length:3\n\na\0b\0"
            )
        };
        let second = |id: &str| {
            format!(
                "MESSAGE\nsubscription:{id}\nmessage-id:2\ndestination:/news\ncontent-length:5\n\nhello\0"
            )
        };
        let all = first("7") + &second("7");
        assert_eq!(bench.hear(&mut ann, |heard| heard.len() >= all.len()), all);
        let all = format!("{}RECEIPT\nreceipt-id:r\n\n\0{}", first("x"), second("x"));
        assert_eq!(bench.hear(&mut bob, |heard| heard.len() >= all.len()), all);

        bench.say(&mut ann, "UNSUBSCRIBE\nid:7\n\n\0", piece);
        bench.say(&mut bob, "SEND\ndestination:/news\n\nlast\0", piece);
        bench.hear(&mut bob, |heard| heard.contains("last"));
        bench.say(&mut ann, "DISCONNECT\nreceipt:end\n\n\0", piece);
        let heard = bench.hear(&mut ann, |_| false);
        assert_eq!(heard, "RECEIPT\nreceipt-id:end\n\n\0");
        drop(ann);
        bench.await_end(Cause::PeerClosed);
    }
}

#[test]
fn stomp_beats_are_negotiated_and_who_misses_them_is_gone() {
    let mut bench = Bench::new();
    let mut still = bench.come("0,1000", usize::MAX);
    let mut silent = bench.come("1000,0", usize::MAX);
    let began = Instant::now();
    // One gets beats and owes none; the other owes some and gets none.
    assert_eq!(bench.hear(&mut still, |heard| heard.len() >= 2), "\n\n");
    assert_eq!(bench.hear(&mut silent, |_| false), "");
    assert!(began.elapsed() >= Duration::from_millis(1900));
    // We have sent it nothing that it could have left unanswered.
    bench.await_end(Cause::Silent);
    assert_eq!(bench.reactor.len(), 1);
}

#[test]
fn stomp_what_breaks_a_rule_is_told_so() {
    for (said, reason) in [
        (
            "CONNECT\naccept-version:1.1\n\n\0",
            "version 1.2 is spoken here",
        ),
        (
            "CONNECT\naccept-version:1.2\nheart-beat:x\n\n\0",
            "heart-beat is two numbers",
        ),
        (
            "SEND\ndestination:/a\n\nearly\0",
            "no such command, or not now",
        ),
        (
            "CONNECT\ncontent-length:x\n\n\0",
            "content-length is a number",
        ),
        (
            "CONNECT\ncontent-length:1\n\nab\0",
            "the body is longer than content-length",
        ),
    ] {
        let mut bench = Bench::new();
        let mut peer = bench.dial();
        bench.say(&mut peer, said, usize::MAX);
        let heard = bench.hear(&mut peer, |_| false);
        assert_eq!(heard, format!("ERROR\nmessage:{reason}\n\n\0"));
    }
    let mut bench = Bench::new();
    let mut peer = bench.come("0,0", usize::MAX);
    bench.say(&mut peer, "SUBSCRIBE\nid:7\n\n\0", usize::MAX);
    let heard = bench.hear(&mut peer, |_| false);
    assert_eq!(heard, "ERROR\nmessage:SUBSCRIBE lacks a header\n\n\0");
}
