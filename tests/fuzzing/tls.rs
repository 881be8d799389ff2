//! TLS between a socket and a session: whatever happens on the way, nothing panics, no byte is taken for
//! another, and nothing stays in memory where nothing is under way.

use std::cell::RefCell;
use std::io::{self, IoSlice, Read, Write};
use std::sync::{Arc, OnceLock};

use heartwheel::config::WireKind;
use heartwheel::proto::pool::Pool;
use heartwheel::sys::{Layer, LayerFault, Received, Socket, Tls};
use heartwheel::tls::{Certificates, ClientTls, Pair, Roots, ServerTls, Trust};
use rustls::{ClientConnection, Connection, ServerConnection};

use super::certs::Root;
use super::dice::Dice;

/// What happens, a byte a step: our side over a socket, and rustls as its own users drive it.
pub fn tls(data: &[u8]) {
    let Some((&seed, steps)) = data.split_first() else {
        return;
    };
    let mut pair = Sides::new(seed);
    for &step in steps.iter().take(STEPS) {
        pair.step(step);
        if pair.is_over {
            return;
        }
    }
    pair.finish();
}

const STEPS: usize = 400;

/// A socket whose other end the test holds.
#[derive(Debug, Default)]
struct Wire {
    arrived: Vec<u8>,
    is_over: bool,
    written: Vec<u8>,
    room: usize,
}

#[derive(Debug)]
struct End(Arc<std::sync::Mutex<Wire>>);

impl Socket for End {
    const SHORT_READ_DRAINS: bool = true;

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wire = &mut *self.0.lock().unwrap();
        if wire.arrived.is_empty() && !wire.is_over {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = wire.arrived.len().min(buffer.len());
        buffer[..count].copy_from_slice(&wire.arrived[..count]);
        wire.arrived.drain(..count);
        Ok(count)
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let wire = &mut *self.0.lock().unwrap();
        let mut count = 0;
        for slice in slices {
            let taken = slice.len().min(wire.room);
            wire.written.extend_from_slice(&slice[..taken]);
            wire.room -= taken;
            count += taken;
        }
        match count {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }

    fn has_waiting_bytes(&self) -> bool {
        !self.0.lock().unwrap().arrived.is_empty()
    }

    fn is_connected(&self) -> io::Result<bool> {
        Ok(true)
    }

    fn shutdown(&self) -> io::Result<()> {
        Ok(())
    }

    fn reset_on_close(&mut self) {}

    fn figures(&self) -> Option<heartwheel::close::KernelFigures> {
        None
    }
}

struct Configs {
    server: Arc<rustls::ServerConfig>,
    client: Arc<rustls::ClientConfig>,
}

fn configs() -> &'static Configs {
    static CONFIGS: OnceLock<Configs> = OnceLock::new();
    CONFIGS.get_or_init(|| {
        let root = Root::new();
        let issued = root.issue(&["server.test"], -1, 90);
        let pair = Pair::from_pem(issued.chain.as_bytes(), issued.key.as_bytes()).unwrap();
        let certificates = Certificates::new(vec![pair]).unwrap();
        let roots = Roots::from_pem(root.pem().as_bytes()).unwrap();
        let client = ClientTls {
            trust: Trust::Roots(roots),
            ..ClientTls::for_wire(WireKind::Line)
        };
        Configs {
            server: ServerTls::new(certificates, WireKind::Line)
                .config()
                .unwrap(),
            client: client.config().unwrap(),
        }
    })
}

struct Sides {
    dice: Dice,
    tls: Tls,
    socket: End,
    wire: Arc<std::sync::Mutex<Wire>>,
    pool: Pool,
    peer: Connection,
    /// Bytes of the peer's that are not on the wire yet.
    sent: Vec<u8>,
    /// What we are to send, of which the front has been accepted.
    queue: Vec<u8>,
    /// All that we have queued, and what the peer has heard of it.
    said: Vec<u8>,
    heard_by_peer: Vec<u8>,
    /// All that the peer has said, and what we have heard.
    said_by_peer: Vec<u8>,
    heard: Vec<u8>,
    /// Somebody has changed bytes on their way.
    is_spoiled: bool,
    /// The peer has said that no more comes.
    has_peer_closed: bool,
    /// One of the two does not go on.
    is_over: bool,
}

impl Sides {
    fn new(seed: u8) -> Self {
        let configs = configs();
        let name = rustls::pki_types::ServerName::try_from("server.test").unwrap();
        let (tls, peer) = if seed & 1 == 0 {
            let peer = ClientConnection::new(configs.client.clone(), name).unwrap();
            (Tls::server(&configs.server).unwrap(), peer.into())
        } else {
            let peer = match seed & 2 {
                0 => configs.server.clone(),
                // Tickets and certificates come in many pieces.
                _ => {
                    let mut config = (*configs.server).clone();
                    config.max_fragment_size = Some(64);
                    Arc::new(config)
                }
            };
            let peer = ServerConnection::new(peer).unwrap();
            (Tls::client(&configs.client, &name).unwrap(), peer.into())
        };
        let wire = Arc::new(std::sync::Mutex::new(Wire {
            room: usize::MAX,
            ..Wire::default()
        }));
        Self {
            dice: Dice::new(seed.into()),
            tls,
            socket: End(wire.clone()),
            wire,
            pool: Pool::default(),
            peer,
            sent: Vec::new(),
            queue: Vec::new(),
            said: Vec::new(),
            heard_by_peer: Vec::new(),
            said_by_peer: Vec::new(),
            heard: Vec::new(),
            is_spoiled: false,
            has_peer_closed: false,
            is_over: false,
        }
    }

    fn step(&mut self, step: u8) {
        match step {
            0..=79 => self.deliver(1 + usize::from(step)),
            80..=99 => self.deliver(usize::MAX),
            100..=119 => self.listen(),
            120..=149 => {
                let text = vec![step; 1 + self.dice.index(40)];
                self.say(&text);
            }
            150..=154 => {
                let text = vec![step; 1 + self.dice.index(60_000)];
                self.say(&text);
            }
            155..=179 => {
                let text = vec![step; 1 + self.dice.index(40)];
                self.peer_says(&text);
            }
            180..=184 => {
                let text = vec![step; 1 + self.dice.index(60_000)];
                self.peer_says(&text);
            }
            185..=194 => drop(self.peer.refresh_traffic_keys()),
            195..=209 => self.wire.lock().unwrap().room = usize::from(step - 195) * 7,
            210..=219 => self.wire.lock().unwrap().room = usize::MAX,
            220..=229 => self.spoil(),
            230..=234 => {
                let bytes: Vec<_> = (0..self.dice.index(60)).map(|_| self.dice.byte()).collect();
                self.is_spoiled = true;
                self.wire.lock().unwrap().arrived.extend(bytes);
                self.turn();
            }
            235..=239 => {
                self.peer.send_close_notify();
                self.has_peer_closed = true;
            }
            240..=244 => {
                self.wire.lock().unwrap().is_over = true;
                self.turn();
            }
            245..=247 => {
                drop(Layer::shutdown(
                    &mut self.tls,
                    &mut self.socket,
                    &mut self.pool,
                ));
                self.is_over = true;
            }
            248..=255 => self.turn(),
        }
    }

    /// Lets bytes of the peer's arrive, and has our side look.
    fn deliver(&mut self, most: usize) {
        while self.peer.wants_write() {
            self.peer.write_tls(&mut self.sent).unwrap();
        }
        let count = self.sent.len().min(most);
        let arrived: Vec<_> = self.sent.drain(..count).collect();
        self.wire.lock().unwrap().arrived.extend(arrived);
        self.turn();
    }

    /// Changes a byte on its way.
    fn spoil(&mut self) {
        let place = self.dice.index(self.sent.len().max(1));
        if let Some(byte) = self.sent.get_mut(place) {
            *byte ^= 1 << self.dice.index(8);
            self.is_spoiled = true;
        }
    }

    fn say(&mut self, text: &[u8]) {
        self.queue.extend_from_slice(text);
        self.said.extend_from_slice(text);
        self.turn();
    }

    fn peer_says(&mut self, text: &[u8]) {
        self.peer.set_buffer_limit(None);
        if self.peer.is_handshaking() || self.has_peer_closed {
            return;
        }
        self.peer.writer().write_all(text).unwrap();
        self.said_by_peer.extend_from_slice(text);
    }

    /// Lets the peer take what we have written.
    fn listen(&mut self) {
        let written = std::mem::take(&mut self.wire.lock().unwrap().written);
        let mut sealed = &written[..];
        while !sealed.is_empty() {
            if !matches!(self.peer.read_tls(&mut sealed), Ok(1..)) {
                break;
            }
            if self.peer.process_new_packets().is_err() {
                assert!(self.is_spoiled, "we wrote what the peer does not take");
                self.is_over = true;
                return;
            }
            let mut text = [0; 4_096];
            while let Ok(count @ 1..) = self.peer.reader().read(&mut text) {
                self.heard_by_peer.extend_from_slice(&text[..count]);
            }
        }
        assert!(self.said.starts_with(&self.heard_by_peer));
    }

    /// What the loop does for a connection that may be ready for anything.
    fn turn(&mut self) {
        let (tls, socket, pool) = (&mut self.tls, &mut self.socket, &mut self.pool);
        if !Layer::<End>::is_open(tls) {
            match tls.open(socket, pool) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return self.fail(&error),
            }
        }
        if let Err(error) = self.read().and_then(|()| self.write()) {
            self.fail(&error);
        }
    }

    fn read(&mut self) -> io::Result<()> {
        loop {
            let most = 1 + self.dice.index(70_000);
            let heard = RefCell::new(&mut self.heard);
            let before = heard.borrow().len();
            let read = self
                .tls
                .read(&mut self.socket, &mut self.pool, most, &mut |piece| {
                    heard.borrow_mut().extend_from_slice(piece);
                });
            let came = self.heard.len() - before;
            assert!(self.said_by_peer.starts_with(&self.heard), "never said");
            match read {
                Ok(Received::Bytes {
                    session,
                    is_drained,
                    ..
                }) => {
                    assert_eq!(session, came);
                    assert!(came <= most);
                    if is_drained {
                        assert!(!Layer::<End>::holds_bytes(&self.tls));
                        assert!(!self.socket.has_waiting_bytes());
                    }
                }
                Ok(Received::End | Received::Cut) => {
                    self.is_over = true;
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn write(&mut self) -> io::Result<()> {
        while !self.queue.is_empty() || Layer::<End>::wants_write(&self.tls) {
            let (first, second) = self.queue.split_at(self.queue.len() / 3);
            let slices = [IoSlice::new(first), IoSlice::new(second)];
            match self.tls.write(&mut self.socket, &mut self.pool, &slices) {
                Ok(sent) => {
                    assert_eq!(sent.is_refused, Layer::<End>::wants_write(&self.tls));
                    self.queue.drain(..sent.session);
                    if sent.is_refused {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn fail(&mut self, error: &io::Error) {
        let fault =
            LayerFault::of(error).unwrap_or_else(|| panic!("a fault of the socket: {error}"));
        assert!(!fault.reason.is_empty());
        // rustls ends a connection that is given new keys without end.
        let is_goodbye = self.has_peer_closed && fault.reason == "close_notify";
        let is_known =
            is_goodbye || fault.reason.contains("key_update") || self.wire.lock().unwrap().is_over;
        assert!(self.is_spoiled || is_known, "{fault}");
        self.is_over = true;
    }

    /// Lets everything through that is under way: it must all have come, and nothing stay.
    fn finish(&mut self) {
        self.wire.lock().unwrap().room = usize::MAX;
        for _ in 0..20 {
            self.deliver(usize::MAX);
            if self.is_over {
                return;
            }
            self.listen();
            if self.is_over {
                return;
            }
        }
        assert!(
            !self.is_spoiled
                || self.peer.is_handshaking()
                || self.heard.len() <= self.said_by_peer.len()
        );
        if !self.is_spoiled {
            assert_eq!(
                (self.heard.len(), self.heard_by_peer.len()),
                (self.said_by_peer.len(), self.said.len())
            );
            assert_eq!(Layer::<End>::memory(&self.tls), 0, "nothing is under way");
        }
    }
}
