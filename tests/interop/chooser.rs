//! A server made with the library, whose handler does what the program leaves alone: it chooses a
//! subprotocol and looks at `Origin`.

use std::net::Ipv4Addr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use heartwheel::config::{ReactorConfig, WebConfig};
use heartwheel::reactor::{
    Context, Decision, Handler, ListenerConfig, LoopHandle, Offer, Reactor, Rejection, Welcome,
    WireFactory,
};

use crate::support::PATIENCE;

/// What it chooses whenever it is offered.
pub(crate) const SUBPROTOCOL: &str = "heart.v1";

/// Header fields of a client's request.
pub(crate) struct Offered {
    pub(crate) origin: String,
    pub(crate) extensions: String,
}

pub(crate) struct Chooser {
    url: String,
    offers: Receiver<Offered>,
    handle: LoopHandle,
    thread: Option<JoinHandle<()>>,
}

impl Chooser {
    pub(crate) fn start() -> Self {
        let (tell, offers) = channel();
        let (begun, when_begun) = channel();
        let thread = thread::spawn(move || {
            let mut reactor = Reactor::new(ReactorConfig::default()).unwrap();
            let addr = (Ipv4Addr::LOCALHOST, 0).into();
            let id = reactor
                .listen(ListenerConfig {
                    web: WebConfig {
                        any_origin: true,
                        ..WebConfig::default()
                    },
                    ..ListenerConfig::new(addr, WireFactory::WebSocket)
                })
                .unwrap();
            let url = format!("ws://{}", reactor.local_addr(id).unwrap());
            begun.send((url, reactor.handle())).unwrap();
            reactor.run(&mut Choice { tell }).unwrap();
        });
        let (url, handle) = when_begun.recv_timeout(PATIENCE).unwrap();
        Self {
            url,
            offers,
            handle,
            thread: Some(thread),
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Waits for a client, and returns what it said.
    pub(crate) fn offered(&self) -> Offered {
        self.offers.recv_timeout(PATIENCE).unwrap()
    }
}

impl Drop for Chooser {
    fn drop(&mut self) {
        // Gone already if it panicked, which the join tells.
        let _gone = self.handle.stop();
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(matches!(ended, Some(Ok(()))) || thread::panicking());
    }
}

struct Choice {
    tell: Sender<Offered>,
}

impl Handler for Choice {
    type Data = ();

    fn on_accept(
        &mut self,
        _: &mut Context<'_, ()>,
        offer: &Offer<'_>,
    ) -> Result<Decision<Welcome<()>>, Rejection> {
        let upgrade = offer.upgrade().unwrap();
        let header = |name| {
            let value = upgrade.request().header(name).unwrap_or_default();
            String::from_utf8_lossy(value).into_owned()
        };
        let offered = Offered {
            origin: header("Origin"),
            extensions: header("Sec-WebSocket-Extensions"),
        };
        self.tell.send(offered).unwrap();
        let is_offered = upgrade.subprotocols().contains(&SUBPROTOCOL);
        let welcome = Welcome {
            subprotocol: is_offered.then(|| SUBPROTOCOL.into()),
            ..Welcome::default()
        };
        Ok(welcome.into())
    }
}
