//! More connections than anybody needs.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::attacker::{assert_echo, assert_refused, connect, meet, read_to_end, reset, write};
use crate::probe::{Talk, delayed, on_processor};
use crate::server::Server;
use crate::support::PATIENCE;
use crate::support::Wire::{self, Line, WebSocket};
use crate::support::bytes::upgrade_request;
use crate::support::raw::{Arrival, RawPeer, knock};
use crate::victim::Victim;
use crate::{MIB, WIRES};

#[test]
fn connections_beyond_the_total_are_refused_and_those_within_stay() {
    let args = ["--max-connections", "300", "--share-per-address", "off"];
    Victim::start(&WIRES, &args).withstands(4 * MIB, |victim| {
        let room = 300 - WIRES.len();
        let streams: Vec<_> = (0..400).map(|_| victim.dial(Line)).collect();
        for end in victim.ended(400 - room) {
            end.assert_rejected("refused");
        }
        let late = victim.dial(WebSocket);
        assert_refused(&late, 503);
        drop(streams);
        let left = victim.ended(400 + 1).into_iter().filter(|end| end.was_open);
        assert_eq!(left.map(|end| end.assert_left()).count(), room);
        assert_welcome(victim, victim.open(WebSocket));
    });
}

#[test]
fn connections_of_one_address_beyond_its_share_are_refused_and_no_others() {
    let args = ["--limit-loopback", "--open-per-address", "50"];
    Victim::start(&[WebSocket, Line], &args).withstands(4 * MIB, |victim| {
        let mut streams: Vec<_> = (0..80).map(|_| victim.dial(Line)).collect();
        for end in victim.ended(30) {
            end.assert_rejected("refused");
        }
        let again = meet(victim.server(), WebSocket);
        assert_welcome(victim, again);
        // It counts over all wires.
        let IpAddr::V4(same) = streams[0].local_addr().unwrap().ip() else {
            panic!("attackers have addresses of version 4");
        };
        let other_wire = connect(same, victim.port(WebSocket));
        assert_refused(&other_wire, 429);
        streams.clear();
        victim.ended(80 + 2);
        assert_welcome(victim, victim.open(Line));
    });
}

/// Checks that a peer is served, and lets it go.
fn assert_welcome(victim: &Victim, mut peer: RawPeer) {
    peer.send_text("good morning");
    assert_echo(&mut peer, b"good morning");
    victim.end_without(peer.into_parts().0).assert_left();
}

#[test]
fn thousands_that_come_and_go_leave_nothing_behind() {
    const EACH: usize = 1_700;
    Victim::start(&WIRES, &[]).withstands(8 * MIB, |victim| {
        thread::scope(|scope| {
            for wire in WIRES {
                scope.spawn(move || {
                    for number in 0..EACH {
                        come_and_go(victim, wire, number);
                    }
                });
            }
        });
        victim.ended(EACH * WIRES.len());
    });
}

/// Connects and leaves, in one of several ways.
fn come_and_go(victim: &Victim, wire: Wire, number: usize) {
    let mut stream = victim.dial(wire);
    match number % 5 {
        0 => drop(stream),
        1 => reset(stream),
        2 => stream.write_all(b"PING\nhello").unwrap(),
        3 => {
            stream.write_all(&upgrade_request("/", "")).unwrap();
            reset(stream);
        }
        _ => stream.write_all(&upgrade_request("/", "")).unwrap(),
    }
}

#[test]
fn handshakes_beyond_the_rate_of_all_are_refused_for_a_while() {
    let args = ["--handshakes-per-second", "100"];
    Victim::start(&[WebSocket], &args).withstands(4 * MIB, |victim| {
        let began = Instant::now();
        let streams: Vec<_> = (0..600).map(|_| victim.dial(WebSocket)).collect();
        drop(streams);
        let ended = victim.ended(600);
        let earned = 100 * (1 + began.elapsed().as_secs() as usize + 1);
        let accepted = ended.iter().filter(|end| end.cause() != "refused").count();
        assert!((1..=earned).contains(&accepted), "{accepted} of {earned}");
        // A moment later there is room again.
        let deadline = Instant::now() + PATIENCE;
        while is_refused(victim) {
            assert!(Instant::now() < deadline, "refused for ever");
        }
    });
}

/// Connects, asks for nothing, and says whether that was too much.
fn is_refused(victim: &Victim) -> bool {
    let stream = victim.dial(WebSocket);
    // It may be over already.
    let _over = stream.shutdown(Shutdown::Write);
    let answer = read_to_end(&stream);
    victim.end_without(stream);
    answer.starts_with(b"HTTP/1.1 503")
}

#[test]
fn f24_a_flood_that_takes_all_descriptors_is_told_so_and_nothing_else_suffers() {
    let mut limited = Command::new("prlimit");
    limited.arg("--nofile=150:150");
    // Those that nobody has, as far as the server knows, are not there either.
    withstands_want_of_descriptors(Server::start_under(limited, &WIRES, &[]), 4);
    let mut hidden = Command::new("bash");
    hidden.args([
        "-c",
        "for fd in {60..140}; do eval \"exec $fd</dev/null\"; done; exec prlimit --nofile=150:150 \"$0\" \"$@\"",
    ]);
    withstands_want_of_descriptors(Server::start_under(hidden, &WIRES, &[]), 1);
}

/// Takes all descriptors of a server that has at least so many dozens, twice: who comes then gets an
/// answer, a reset where the wire has no words.
fn withstands_want_of_descriptors(server: Server, dozens: usize) {
    Victim::start_with(server, &WIRES, Talk::Echoes).withstands(4 * MIB, |victim| {
        let process = victim.server().process();
        let pauses = || process.stderr().matches("pauses: ").count();
        let before = pauses();
        let streams: Vec<_> = (0..300).map(|_| victim.dial(Line)).collect();
        // The last one is refused when all before it were taken in or refused.
        assert_eq!(read_to_end(&streams[299]), b"");
        let (began, busy) = (Instant::now(), on_processor(process.pid()));
        let late = victim.dial(WebSocket);
        assert_refused(&late, 503);
        victim.end_without(late).assert_rejected("refused");
        // It rests, and beats.
        victim.probe().wait_answers(60);
        let busy = on_processor(process.pid()) - busy;
        assert!(
            busy < began.elapsed() / 10,
            "busy for {busy:?} of {:?}",
            began.elapsed()
        );
        // There is room again as soon as they are gone.
        drop(streams);
        let ended = victim.ended(300 + 1);
        let held = ended.iter().filter(|end| end.was_open).count();
        assert!(held >= 12 * dozens, "{held}");
        let refused = ended.iter().filter(|end| end.cause() == "refused");
        assert_eq!(refused.count(), 301 - held);
        assert_welcome(victim, victim.open(WebSocket));
        assert_welcome(victim, victim.open(Line));
        // The second attack may come within the same episode.
        let told = pauses() - before;
        assert!(told <= 1 && pauses() > 0, "{}", process.stderr());
    });
}

/// With `ulimit -n 4096` one address held every descriptor for as long as it answered, and others timed
/// out without a word.
#[test]
fn one_address_does_not_take_all_descriptors_from_the_others() {
    let mut limited = Command::new("prlimit");
    limited.arg("--nofile=250:250");
    let server = Server::start_under(limited, &WIRES, &[]);
    Victim::start_with(server, &WIRES, Talk::Echoes).withstands(4 * MIB, |victim| {
        let streams: Vec<_> = (0..300).map(|_| victim.dial(Line)).collect();
        for last in 0..8 {
            let ip = Ipv4Addr::new(127, 0, 2, last);
            let other = connect(ip, victim.port(WebSocket));
            assert_welcome(victim, RawPeer::over(other, WebSocket));
        }
        drop(streams);
        let ended = victim.ended(300 + 8);
        let held = ended.iter().filter(|end| end.was_open).count();
        assert!((170..220).contains(&held), "{held}");
    });
}

/// What a test merely waited for a processor is left out, as the probe does it; of several tries the
/// middle one counts.
#[test]
fn f24_beats_stay_on_time_and_a_place_is_taken_soon_after_a_close() {
    const TRIES: usize = 9;
    let interval = Duration::from_millis(200);
    let mut limited = Command::new("prlimit");
    limited.arg("--nofile=150:150");
    let times = ["--interval", "200ms", "--timeout", "5min"];
    let args = [&times[..], &["--ping-slack", "off"]].concat();
    let server = Server::start_under(limited, &[Line], &args);
    let (port, pid) = (server.port(Line), server.process().pid());
    let held: Vec<_> = (0..5).map(|_| meet(&server, Line)).collect();
    for peer in &held {
        server.wait_open(peer.local_port());
    }
    // The machine may be busy without anybody else.
    let (held, calm) = beat(held, interval, || {});
    let mut crowd: VecDeque<_> = std::iter::from_fn(|| newcomer(port)).collect();
    assert!(crowd.len() < 150, "{} were let in", crowd.len());

    // Those who were there before beat on, while others knock.
    let (held, middle) = beat(held, interval, || crowd.extend(newcomer(port)));
    // A rest that held them up would take a tenth of a second each time.
    let most = interval / 4 + 2 * calm;
    assert!(middle <= most, "off by {middle:?}, and {calm:?} before");

    drop(held);
    // They have left, so that there are places again.
    crowd.extend(std::iter::from_fn(|| newcomer(port)));
    let mut places = Vec::new();
    for _ in 0..TRIES {
        let (began, wait) = (Instant::now(), delayed(pid));
        drop(crowd.pop_front());
        let next = std::iter::repeat_with(|| newcomer(port)).flatten().next();
        places.push(began.elapsed().saturating_sub(delayed(pid) - wait));
        crowd.extend(next);
    }
    places.sort_unstable();
    let middle = places[TRIES / 2];
    assert!(middle <= Duration::from_millis(200), "{places:?}");
}

/// Lets each of these answer pings while something is done again and again. Returns them, and by how much
/// the time between two pings was off the interval, in the middle of all.
fn beat(
    peers: Vec<RawPeer>,
    interval: Duration,
    mut meanwhile: impl FnMut(),
) -> (Vec<RawPeer>, Duration) {
    const BEATS: usize = 12;
    let beating = peers.into_iter().map(|mut peer| {
        thread::spawn(move || {
            let mut at = Vec::new();
            while at.len() <= BEATS {
                match peer.next() {
                    Arrival::Ping(token) => {
                        at.push(Instant::now());
                        peer.send_pong(&token);
                    }
                    other => panic!("{other:?} instead of a ping"),
                }
            }
            (peer, at)
        })
    });
    let beating: Vec<_> = beating.collect();
    while beating.iter().any(|beats| !beats.is_finished()) {
        meanwhile();
        thread::sleep(Duration::from_millis(5));
    }
    let (mut peers, mut off) = (Vec::new(), Vec::new());
    for beats in beating {
        let (peer, at) = beats.join().unwrap();
        let gaps = at.windows(2).map(|pair| pair[1] - pair[0]);
        off.extend(gaps.map(|gap| gap.abs_diff(interval)));
        peers.push(peer);
    }
    off.sort_unstable();
    (peers, off[off.len() / 2])
}

/// Connects, and returns the connection if it is let in: then its ping is answered.
fn newcomer(port: u16) -> Option<TcpStream> {
    let mut stream = knock((Ipv4Addr::LOCALHOST, port).into());
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // It may have been told already that there is no room.
    let _over = stream.write_all(b"PING\n");
    let mut answer = [0; 5];
    match stream.read_exact(&mut answer) {
        Ok(()) => (&answer == b"PONG\n" || &answer == b"PING\n").then_some(stream),
        Err(error) => {
            assert_ne!(error.kind(), ErrorKind::WouldBlock, "neither in nor out");
            None
        }
    }
}

/// Tests that take many descriptors.
mod large {
    use super::*;
    use crate::support::crowd::{alone, raise_descriptor_limit};

    #[test]
    #[ignore = "needs 1 300 descriptors: raise ulimit -Hn"]
    fn handshakes_of_one_address_beyond_its_rate_are_refused_and_no_others() {
        let _alone = alone();
        raise_descriptor_limit(1_000);
        let args = ["--limit-loopback", "--handshakes-per-address", "100"];
        Victim::start(&[WebSocket, Line], &args).withstands(4 * MIB, |victim| {
            let request = upgrade_request("/", "");
            let began = Instant::now();
            let streams: Vec<_> = (0..1_000)
                .map(|_| {
                    let stream = victim.dial(WebSocket);
                    write(&stream, &request);
                    stream
                })
                .collect();
            let other = connect(Ipv4Addr::new(127, 0, 0, 99), victim.port(WebSocket));
            assert_welcome(victim, RawPeer::over(other, WebSocket));
            drop(streams);
            let ended = victim.ended(1_000 + 1);
            let earned = 100 * (1 + began.elapsed().as_secs() as usize + 1);
            let accepted = ended.iter().filter(|end| end.cause() != "refused").count();
            assert!(
                (1..=1 + earned).contains(&accepted),
                "{accepted} of {earned}"
            );
        });
    }
}
