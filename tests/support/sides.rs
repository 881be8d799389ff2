//! Both sides of a connection on real sockets: a server of ours with raw clients, and a client of ours
//! with a raw server.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use heartwheel::close::Evidence;
use heartwheel::reactor::{
    ClientConfig, ClientEvent, ListenerConfig, ListenerId, Reactor, WireFactory,
};

use super::PATIENCE;
use super::head::response;
use super::recorder::{Recorder, Seen};
use super::turning::{
    connect_peer, drive, drive_for, heartbeat, listen_with, open_websocket, reactor, read_at_least,
    read_head, ready,
};

/// How a connection ended, as the other side sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Fin,
    Reset,
}

/// A reactor with what it tells its handler.
pub(crate) struct RecordedReactor {
    pub(crate) reactor: Reactor<u32, u64>,
    pub(crate) recorder: Recorder,
}

impl RecordedReactor {
    fn new(recorder: Recorder) -> Self {
        Self {
            reactor: reactor(),
            recorder,
        }
    }

    #[track_caller]
    pub(crate) fn drive(&mut self, until: impl FnMut(&Recorder) -> bool) {
        drive(&mut self.reactor, &mut self.recorder, until);
    }

    /// Takes one turn, and whatever has come by then.
    pub(crate) fn turn(&mut self) {
        let limit = Some(Duration::from_millis(1));
        self.reactor.turn(&mut self.recorder, limit).unwrap();
    }

    /// Turns for a moment, when what is claimed is that nothing happens.
    pub(crate) fn idle(&mut self) {
        let moment = Duration::from_millis(100);
        drive_for(&mut self.reactor, &mut self.recorder, moment);
    }

    #[track_caller]
    pub(crate) fn read(&mut self, peer: &mut TcpStream, count: usize) -> Vec<u8> {
        let (reactor, recorder) = (&mut self.reactor, &mut self.recorder);
        read_at_least(reactor, recorder, peer, count)
    }

    #[track_caller]
    pub(crate) fn read_head(&mut self, peer: &mut TcpStream) -> String {
        read_head(&mut self.reactor, &mut self.recorder, peer)
    }

    /// Reads until the connection ends.
    #[track_caller]
    pub(crate) fn read_to_end(&mut self, peer: &mut TcpStream) -> (Vec<u8>, Ended) {
        let (mut bytes, mut ended) = (Vec::new(), None);
        self.drive(|_| {
            let mut chunk = vec![0; 64 * 1024];
            match peer.read(&mut chunk) {
                Ok(0) => ended = Some(Ended::Fin),
                Ok(count) => bytes.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    ended = Some(Ended::Reset);
                }
                Err(_) => {}
            }
            ended.is_some()
        });
        (bytes, ended.unwrap())
    }

    /// Turns until the only connection has ended, and returns how.
    #[track_caller]
    pub(crate) fn evidence(&mut self) -> Evidence {
        self.drive(|seen| seen.closed().len() + seen.rejected().len() == 1);
        let closed = self.recorder.closed();
        closed
            .first()
            .map_or_else(|| self.recorder.rejected()[0], |(_, evidence)| *evidence)
    }

    pub(crate) fn close(&mut self, code: u16, reason: &str) {
        let id = *self.recorder.opened().last().unwrap();
        let code = heartwheel::close::CloseCode::new(code);
        self.reactor.context().close(id, code, reason);
    }
}

/// A server of ours.
pub(crate) struct Acceptor {
    pub(crate) turning: RecordedReactor,
    addr: SocketAddr,
}

impl Acceptor {
    pub(crate) fn new() -> Self {
        Self::with(Recorder::default(), |_| {})
    }

    pub(crate) fn with(recorder: Recorder, change: impl FnOnce(&mut ListenerConfig)) -> Self {
        let mut turning = RecordedReactor::new(recorder);
        let mut config = ListenerConfig::new(([127, 0, 0, 1], 0).into(), WireFactory::WebSocket);
        config.heartbeat = heartbeat(None, None);
        config.heartbeat.close_timeout = PATIENCE * 2;
        config.heartbeat.handshake_timeout = PATIENCE * 2;
        // The sample request of section 1.2 comes from a page of another host.
        config.web.any_origin = true;
        change(&mut config);
        let listened: (ListenerId, _) = listen_with(&mut turning.reactor, config);
        let (_, addr) = listened;
        Self { turning, addr }
    }

    pub(crate) fn dial(&self) -> TcpStream {
        connect_peer(self.addr)
    }

    /// Opens a connection, with its handshake behind it.
    #[track_caller]
    pub(crate) fn open(&mut self) -> TcpStream {
        let RecordedReactor { reactor, recorder } = &mut self.turning;
        open_websocket(reactor, recorder, self.addr)
    }

    /// Sends a request and returns all of the answer.
    #[track_caller]
    pub(crate) fn ask(&mut self, request: &[u8]) -> String {
        let mut peer = self.dial();
        peer.write_all(request).unwrap();
        let (answer, ended) = self.turning.read_to_end(&mut peer);
        let answer = String::from_utf8(answer).unwrap();
        assert_eq!(ended, Ended::Fin, "{answer}");
        answer
    }
}

/// A client of ours, and the raw server that it dials.
pub(crate) struct Dialer {
    pub(crate) turning: RecordedReactor,
    listener: TcpListener,
}

impl Dialer {
    /// Dials once.
    pub(crate) fn new() -> Self {
        Self::with(Recorder::default(), |_| {})
    }

    pub(crate) fn with(recorder: Recorder, change: impl FnMut(&mut ClientConfig)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let turning = RecordedReactor::new(recorder);
        let mut dialer = Self { turning, listener };
        dialer.connect("/", change);
        dialer
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// Adds a client that dials this path once, unless `change` says otherwise.
    pub(crate) fn connect(&mut self, path: &str, mut change: impl FnMut(&mut ClientConfig)) {
        let mut config = ClientConfig::from_url(&format!("ws://{}{path}", self.addr())).unwrap();
        config.heartbeat = heartbeat(None, None);
        config.heartbeat.close_timeout = PATIENCE * 2;
        config.heartbeat.handshake_timeout = PATIENCE * 2;
        config.reconnect = None;
        change(&mut config);
        self.turning.reactor.connect(config).unwrap();
    }

    /// Accepts a connection, if one has come.
    pub(crate) fn try_accept(&self) -> Option<TcpStream> {
        let (peer, _) = self.listener.accept().ok()?;
        Some(ready(peer))
    }

    /// Accepts the next connection, and returns it with its request.
    #[track_caller]
    pub(crate) fn accept(&mut self) -> (TcpStream, String) {
        let mut peer = None;
        let listener = &self.listener;
        self.turning.drive(|_| {
            peer = listener.accept().ok();
            peer.is_some()
        });
        let mut peer = ready(peer.unwrap().0);
        let request = self.turning.read_head(&mut peer);
        (peer, request)
    }

    /// Accepts the next connection and completes its handshake.
    #[track_caller]
    pub(crate) fn open(&mut self) -> TcpStream {
        let (mut peer, request) = self.accept();
        peer.write_all(&response(&request, "")).unwrap();
        let before = self.turning.recorder.opened().len();
        self.turning.drive(|seen| seen.opened().len() > before);
        peer
    }

    /// Returns what became of the dials.
    pub(crate) fn events(&self) -> Vec<ClientEvent> {
        let event = |seen: &Seen| match seen {
            Seen::Client(_, event) => Some(event.clone()),
            _ => None,
        };
        self.turning
            .recorder
            .seen
            .iter()
            .filter_map(event)
            .collect()
    }
}
