//! A loop of ours that turns in the test's own thread until a condition holds, and the peers it meets.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use heartwheel::config::{HeartbeatConfig, ReactorConfig};
use heartwheel::reactor::{ListenerConfig, ListenerId, Reactor, WireFactory};

use super::PATIENCE;
use super::bytes::upgrade_request;
use super::recorder::Recorder;

/// Makes a reactor with little room, so that every test starts small.
pub(crate) fn reactor() -> Reactor<u32, u64> {
    reactor_with(ReactorConfig {
        max_connections: 64,
        ..ReactorConfig::default()
    })
}

pub(crate) fn reactor_with(config: ReactorConfig) -> Reactor<u32, u64> {
    Reactor::new(config).unwrap()
}

/// Listens on a free loopback port, without pings: they would stand among the bytes a test compares.
pub(crate) fn listen(
    reactor: &mut Reactor<u32, u64>,
    wire: WireFactory,
) -> (ListenerId, SocketAddr) {
    listen_with(reactor, on_loopback(wire, None, None))
}

pub(crate) fn listen_with(
    reactor: &mut Reactor<u32, u64>,
    config: ListenerConfig,
) -> (ListenerId, SocketAddr) {
    let id = reactor.listen(config).unwrap();
    (id, reactor.local_addr(id).unwrap())
}

/// Returns a heartbeat with times in milliseconds, slack off.
pub(crate) fn heartbeat(interval: Option<u64>, timeout: Option<u64>) -> HeartbeatConfig {
    HeartbeatConfig {
        interval: interval.map(Duration::from_millis),
        timeout: timeout.map(Duration::from_millis),
        ping_slack: Some(Duration::ZERO),
        ..HeartbeatConfig::default()
    }
}

/// Returns a listener on a free loopback port, with its heartbeat in milliseconds.
pub(crate) fn on_loopback(
    wire: WireFactory,
    interval: Option<u64>,
    timeout: Option<u64>,
) -> ListenerConfig {
    let mut config = ListenerConfig::new(([127, 0, 0, 1], 0).into(), wire);
    config.heartbeat = heartbeat(interval, timeout);
    config
}

/// Turns until the condition holds.
#[track_caller]
pub(crate) fn drive(
    reactor: &mut Reactor<u32, u64>,
    recorder: &mut Recorder,
    mut until: impl FnMut(&Recorder) -> bool,
) {
    let deadline = Instant::now() + PATIENCE;
    while !until(recorder) {
        assert!(
            Instant::now() < deadline,
            "gave up; seen so far: {:#?}",
            recorder.seen
        );
        reactor
            .turn(recorder, Some(Duration::from_millis(20)))
            .unwrap();
    }
}

/// Turns for at least a while, when what is claimed is that nothing happens.
pub(crate) fn drive_for(reactor: &mut Reactor<u32, u64>, recorder: &mut Recorder, span: Duration) {
    let end = Instant::now() + span;
    while Instant::now() < end {
        reactor
            .turn(recorder, Some(Duration::from_millis(5)))
            .unwrap();
    }
}

/// A blocking peer whose reads are given up quickly, so that the loop can turn in between.
pub(crate) fn connect_peer(addr: SocketAddr) -> TcpStream {
    ready(TcpStream::connect(addr).unwrap())
}

/// Makes a stream's reads short, so that the reactor turns in between.
pub(crate) fn ready(stream: TcpStream) -> TcpStream {
    stream
        .set_read_timeout(Some(Duration::from_millis(10)))
        .unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Turns until the peer has read this many bytes or the end, and returns what it read.
#[track_caller]
pub(crate) fn read_at_least(
    reactor: &mut Reactor<u32, u64>,
    recorder: &mut Recorder,
    peer: &mut TcpStream,
    count: usize,
) -> Vec<u8> {
    let mut read = Vec::new();
    drive(reactor, recorder, |_| {
        let mut chunk = vec![0; 64 * 1024];
        match peer.read(&mut chunk) {
            Ok(0) => return true,
            Ok(n) => read.extend_from_slice(&chunk[..n]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return true,
            Err(_) => {}
        }
        read.len() >= count
    });
    read
}

/// Says whether the peer sees a reset or the end of input, turning meanwhile.
#[track_caller]
pub(crate) fn read_end(
    reactor: &mut Reactor<u32, u64>,
    recorder: &mut Recorder,
    peer: &mut TcpStream,
) -> bool {
    let mut is_reset = false;
    drive(reactor, recorder, |_| match peer.read(&mut [0; 1024]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {
            is_reset = true;
            true
        }
        Err(_) => false,
    });
    is_reset
}

/// Opens a WebSocket from a raw peer and returns it with whatever followed the response head.
#[track_caller]
pub(crate) fn open_websocket(
    reactor: &mut Reactor<u32, u64>,
    recorder: &mut Recorder,
    addr: SocketAddr,
) -> TcpStream {
    let mut peer = connect_peer(addr);
    shake_hands(reactor, recorder, &mut peer);
    peer
}

pub(crate) fn shake_hands(
    reactor: &mut Reactor<u32, u64>,
    recorder: &mut Recorder,
    peer: &mut TcpStream,
) {
    peer.write_all(&upgrade_request("/", "")).unwrap();
    let head = read_head(reactor, recorder, peer);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
}

/// Reads one response head, byte by byte so that nothing behind it is lost.
#[track_caller]
pub(crate) fn read_head(
    reactor: &mut Reactor<u32, u64>,
    recorder: &mut Recorder,
    peer: &mut TcpStream,
) -> String {
    let mut head = Vec::new();
    drive(reactor, recorder, |_| {
        let mut byte = [0];
        while let Ok(1) = peer.read(&mut byte) {
            head.push(byte[0]);
            if head.ends_with(b"\r\n\r\n") {
                return true;
            }
        }
        false
    });
    String::from_utf8(head).unwrap()
}
