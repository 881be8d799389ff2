//! Many clients of ours that answer pings, over TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use heartwheel::{
    ClientConfig, ClientEvent, ClientId, Closed, Context, Handler, Reactor, ReactorConfig,
    WireFactory, rustls,
};

use super::PATIENCE;

/// Clients in one loop, on a thread of its own.
pub(crate) struct Swarm {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// How many there are to be.
    wanted: AtomicU64,
    opened: AtomicU64,
    answered: AtomicU64,
    lost: AtomicU64,
    over: AtomicBool,
}

impl Swarm {
    /// Begins with nobody.
    pub(crate) fn new(addr: SocketAddr, name: &str, tls: Arc<rustls::ClientConfig>) -> Self {
        let shared = Arc::<Shared>::default();
        let (theirs, name) = (Arc::clone(&shared), name.to_owned());
        thread::spawn(move || hold(|| client(addr, &name, &tls), &theirs));
        Self { shared }
    }

    /// Dials until there are so many, a few at a time, and waits until they are open.
    pub(crate) fn grow(&self, count: usize) {
        self.shared.wanted.store(count as u64, Ordering::Relaxed);
        self.wait("open", &self.shared.opened, count as u64);
    }

    /// Waits until so many pings more are answered than there are now.
    pub(crate) fn wait_for_answers(&self, count: usize) {
        let wanted = self.answered() + count as u64;
        self.wait("answers", &self.shared.answered, wanted);
    }

    pub(crate) fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    fn wait(&self, what: &str, figure: &AtomicU64, wanted: u64) {
        let mut deadline = Instant::now() + PATIENCE;
        let mut last = 0;
        loop {
            let now = figure.load(Ordering::Relaxed);
            assert_eq!(self.shared.lost.load(Ordering::Relaxed), 0);
            if now >= wanted {
                return;
            }
            // As long as it goes on.
            if now > last {
                (last, deadline) = (now, Instant::now() + PATIENCE);
            }
            assert!(Instant::now() < deadline, "{now} {what} of {wanted}");
            thread::sleep(GLANCE);
        }
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
    }
}

fn client(addr: SocketAddr, name: &str, tls: &Arc<rustls::ClientConfig>) -> ClientConfig {
    let mut client = ClientConfig::new(addr.ip().to_string(), addr.port(), WireFactory::WebSocket);
    client.heartbeat.interval = None;
    client.heartbeat.timeout = None;
    client.heartbeat.handshake_timeout = PATIENCE;
    client.takes_turns = false;
    client.secure = true;
    client.tls = Some(Arc::clone(tls));
    client.server_name = Some(name.to_owned());
    client
}

fn hold(client: impl Fn() -> ClientConfig, shared: &Shared) {
    let mut reactor = Reactor::new(ReactorConfig::default()).unwrap();
    let mut dialed = 0;
    while !shared.over.load(Ordering::Relaxed) {
        let opened = reactor.stats().opened;
        let wanted = shared.wanted.load(Ordering::Relaxed);
        while dialed < wanted.min(opened + AT_ONCE) {
            reactor.connect(client()).unwrap();
            dialed += 1;
        }
        reactor.turn(&mut Member(shared), Some(GLANCE)).unwrap();
        let stats = reactor.stats();
        shared.opened.store(stats.opened, Ordering::Relaxed);
        shared
            .answered
            .store(stats.pings_received, Ordering::Relaxed);
    }
}

struct Member<'a>(&'a Shared);

impl Handler for Member<'_> {
    type Data = ();

    fn on_close(&mut self, _: &mut Context<'_, ()>, _: Closed<'_, ()>) {
        self.0.lost.fetch_add(1, Ordering::Relaxed);
    }

    fn on_client(&mut self, _: &mut Context<'_, ()>, _: ClientId, event: ClientEvent) {
        if let ClientEvent::Failed { .. } = event {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Dials under way at once.
const AT_ONCE: u64 = 100;

/// How often something is looked at that does not announce itself.
const GLANCE: Duration = Duration::from_millis(10);
