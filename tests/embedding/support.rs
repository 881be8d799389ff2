//! A handler that records, a loop with a deadline, and peers that speak bytes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use heartwheel::close::{Cause, Evidence};
use heartwheel::config::{HeartbeatConfig, ReactorConfig};
use heartwheel::error::SendError;
use heartwheel::proto::http::Request;
use heartwheel::proto::message::Message;
use heartwheel::proto::time::Micros;
use heartwheel::reactor::{
    Answered, ClientEvent, ClientId, Closed, ConnId, Context, Handler, HttpAnswer, ListenerConfig,
    ListenerId, Offer, Reactor, Readiness, Rejected, Rejection, SourceId, Welcome, WireFactory,
};

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What a callback was told.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    Open(ConnId),
    Message(ConnId, Vec<u8>),
    Pong(ConnId, Option<Micros>),
    Writable(ConnId),
    Closed(ConnId, Evidence, u32, String),
    Rejected(Evidence, String),
    /// The status of the last answer, how many there were, and the reason of the end.
    Answered(u16, u32, Evidence, String),
    Client(ClientId, ClientEvent),
    Timer(u64, Micros),
    Source(SourceId, Readiness),
    Notify(u64),
}

type React = Box<dyn FnMut(&mut Context<'_, u32>, &Seen)>;
type Judge = Box<dyn FnMut(&Offer<'_>) -> Result<Welcome<u32>, Rejection>>;

/// Records every callback; may react to one.
#[derive(Default)]
pub struct Recorder {
    pub seen: Vec<Seen>,
    pub react: Option<React>,
    pub judge: Option<Judge>,
    pub http: Option<HttpAnswer>,
    /// Plain requests, each with its body: `POST /path`, what followed.
    pub requests: Vec<(String, Vec<u8>)>,
    pub echo: bool,
}

impl Recorder {
    pub fn echoing() -> Self {
        Self {
            echo: true,
            ..Self::default()
        }
    }

    pub fn reacting(react: impl FnMut(&mut Context<'_, u32>, &Seen) + 'static) -> Self {
        Self {
            react: Some(Box::new(react)),
            ..Self::default()
        }
    }

    fn note(&mut self, cx: &mut Context<'_, u32>, seen: Seen) {
        if let Some(react) = &mut self.react {
            react(cx, &seen);
        }
        self.seen.push(seen);
    }

    pub fn opened(&self) -> Vec<ConnId> {
        let open = |seen: &Seen| match seen {
            Seen::Open(id) => Some(*id),
            _ => None,
        };
        self.seen.iter().filter_map(open).collect()
    }

    pub fn closed(&self) -> Vec<(ConnId, Evidence)> {
        let closed = |seen: &Seen| match seen {
            Seen::Closed(id, evidence, ..) => Some((*id, *evidence)),
            _ => None,
        };
        self.seen.iter().filter_map(closed).collect()
    }

    pub fn rejected(&self) -> Vec<Evidence> {
        let rejected = |seen: &Seen| match seen {
            Seen::Rejected(evidence, _) => Some(*evidence),
            _ => None,
        };
        self.seen.iter().filter_map(rejected).collect()
    }

    pub fn answered(&self) -> Vec<(u16, u32, Evidence)> {
        let answered = |seen: &Seen| match seen {
            Seen::Answered(status, answers, evidence, _) => Some((*status, *answers, *evidence)),
            _ => None,
        };
        self.seen.iter().filter_map(answered).collect()
    }

    pub fn messages(&self) -> Vec<Vec<u8>> {
        let message = |seen: &Seen| match seen {
            Seen::Message(_, data) => Some(data.clone()),
            _ => None,
        };
        self.seen.iter().filter_map(message).collect()
    }
}

impl Handler for Recorder {
    type Data = u32;

    fn on_accept(
        &mut self,
        _cx: &mut Context<'_, u32>,
        offer: &Offer<'_>,
    ) -> Result<Welcome<u32>, Rejection> {
        match &mut self.judge {
            Some(judge) => judge(offer),
            None => Ok(Welcome::with(7)),
        }
    }

    fn on_open(&mut self, cx: &mut Context<'_, u32>, id: ConnId) {
        self.note(cx, Seen::Open(id));
    }

    fn on_message(&mut self, cx: &mut Context<'_, u32>, id: ConnId, message: Message<'_>) {
        if self.echo {
            let sent = cx.send(id, message);
            assert!(matches!(sent, Ok(()) | Err(SendError::Closed)), "{sent:?}");
        }
        self.note(cx, Seen::Message(id, message.data().to_vec()));
    }

    fn on_pong(&mut self, cx: &mut Context<'_, u32>, id: ConnId, rtt: Option<Micros>) {
        self.note(cx, Seen::Pong(id, rtt));
    }

    fn on_writable(&mut self, cx: &mut Context<'_, u32>, id: ConnId) {
        self.note(cx, Seen::Writable(id));
    }

    fn on_close(&mut self, cx: &mut Context<'_, u32>, closed: Closed<'_, u32>) {
        let reason = closed.reason.to_owned();
        self.note(
            cx,
            Seen::Closed(closed.id, *closed.evidence, closed.data, reason),
        );
    }

    fn on_rejected(&mut self, cx: &mut Context<'_, u32>, rejected: Rejected<'_>) {
        let reason = rejected.reason.to_owned();
        self.note(cx, Seen::Rejected(*rejected.evidence, reason));
    }

    fn on_answered(&mut self, cx: &mut Context<'_, u32>, answered: Answered<'_>) {
        let (status, answers) = (answered.status, answered.answers);
        let (evidence, reason) = (*answered.evidence, answered.reason.to_owned());
        self.note(cx, Seen::Answered(status, answers, evidence, reason));
    }

    fn on_http(
        &mut self,
        _cx: &mut Context<'_, u32>,
        _id: ConnId,
        request: &Request<'_>,
    ) -> HttpAnswer {
        let line = format!("{} {}", request.method(), request.target());
        self.requests.push((line, request.body().to_vec()));
        self.http
            .clone()
            .unwrap_or_else(HttpAnswer::upgrade_required)
    }

    fn on_client(&mut self, cx: &mut Context<'_, u32>, id: ClientId, event: ClientEvent) {
        self.note(cx, Seen::Client(id, event));
    }

    fn on_timer(&mut self, cx: &mut Context<'_, u32>, word: u64) {
        let now = cx.now();
        self.note(cx, Seen::Timer(word, now));
    }

    fn on_source(&mut self, cx: &mut Context<'_, u32>, id: SourceId, ready: Readiness) {
        self.note(cx, Seen::Source(id, ready));
    }

    fn on_notify(&mut self, cx: &mut Context<'_, u32>, word: u64) {
        self.note(cx, Seen::Notify(word));
    }
}

/// Makes a reactor with little room, so that every test starts small.
pub fn reactor() -> Reactor<u32> {
    reactor_with(ReactorConfig {
        max_connections: 64,
        ..ReactorConfig::default()
    })
}

pub fn reactor_with(config: ReactorConfig) -> Reactor<u32> {
    Reactor::new(config).unwrap()
}

/// Listens on a free loopback port, without pings: they would stand among the bytes a test compares.
pub fn listen(reactor: &mut Reactor<u32>, wire: WireFactory) -> (ListenerId, SocketAddr) {
    let mut config = ListenerConfig::new(([127, 0, 0, 1], 0).into(), wire);
    config.heartbeat = heartbeat(None, None);
    listen_with(reactor, config)
}

pub fn listen_with(reactor: &mut Reactor<u32>, config: ListenerConfig) -> (ListenerId, SocketAddr) {
    let id = reactor.listen(config).unwrap();
    (id, reactor.local_addr(id).unwrap())
}

/// Returns the cause that a silent peer ends with which was pinged, has kept its socket open and has
/// read nothing since: its kernel acknowledges all the same, and where that is known it decides.
pub fn silence_cause(evidence: &Evidence) -> Cause {
    match evidence.kernel {
        Some(figures) => {
            assert_eq!((figures.unacked, figures.unsent), (0, 0), "{evidence:?}");
            Cause::PeerUnresponsive
        }
        None => Cause::PongTimeout,
    }
}

/// Returns a heartbeat with times in milliseconds, slack off.
pub fn heartbeat(interval: Option<u64>, timeout: Option<u64>) -> HeartbeatConfig {
    HeartbeatConfig {
        interval: interval.map(Duration::from_millis),
        timeout: timeout.map(Duration::from_millis),
        ping_slack: Some(Duration::ZERO),
        ..HeartbeatConfig::default()
    }
}

/// Turns until the condition holds.
#[track_caller]
pub fn drive(
    reactor: &mut Reactor<u32>,
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
pub fn drive_for(reactor: &mut Reactor<u32>, recorder: &mut Recorder, span: Duration) {
    let end = Instant::now() + span;
    while Instant::now() < end {
        reactor
            .turn(recorder, Some(Duration::from_millis(5)))
            .unwrap();
    }
}

/// A blocking peer whose reads are given up quickly, so that the loop can turn in between.
pub fn dial(addr: SocketAddr) -> TcpStream {
    ready(TcpStream::connect(addr).unwrap())
}

/// Makes a stream's reads short, so that the reactor turns in between.
pub fn ready(stream: TcpStream) -> TcpStream {
    stream
        .set_read_timeout(Some(Duration::from_millis(10)))
        .unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Turns until the peer has read this many bytes or the end, and returns what it read.
#[track_caller]
pub fn read_at_least(
    reactor: &mut Reactor<u32>,
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
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return true,
            Err(_) => {}
        }
        read.len() >= count
    });
    read
}

/// Says whether the peer sees a reset or the end of input, turning meanwhile.
#[track_caller]
pub fn read_end(reactor: &mut Reactor<u32>, recorder: &mut Recorder, peer: &mut TcpStream) -> bool {
    let mut is_reset = false;
    drive(reactor, recorder, |_| match peer.read(&mut [0; 1024]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
            is_reset = true;
            true
        }
        Err(_) => false,
    });
    is_reset
}

/// The opening request of a WebSocket client, with the sample key of RFC 6455, section 1.3.
pub fn upgrade_request(path: &str, extra: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{extra}\r\n"
    )
    .into_bytes()
}

/// Opens a WebSocket from a raw peer and returns it with whatever followed the response head.
#[track_caller]
pub fn open_websocket(
    reactor: &mut Reactor<u32>,
    recorder: &mut Recorder,
    addr: SocketAddr,
) -> TcpStream {
    let mut peer = dial(addr);
    shake_hands(reactor, recorder, &mut peer);
    peer
}

pub fn shake_hands(reactor: &mut Reactor<u32>, recorder: &mut Recorder, peer: &mut TcpStream) {
    peer.write_all(&upgrade_request("/", "")).unwrap();
    let head = read_head(reactor, recorder, peer);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
}

/// Reads one response head, byte by byte so that nothing behind it is lost.
#[track_caller]
pub fn read_head(
    reactor: &mut Reactor<u32>,
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

/// A masked frame of a client, with a mask of zeros.
pub fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | u8::try_from(len).unwrap()),
        len => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(len).unwrap().to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend_from_slice(payload);
    frame
}
