//! What an embedder implements, and what it is shown.

use std::time::Duration;

use super::client::ClientEvent;
use super::context::Context;
use super::endpoint::Endpoint;
use super::token::{ClientId, ConnId, SourceId};
use crate::close::Evidence;
use crate::peer::PeerAddr;
#[cfg(feature = "websocket")]
use crate::proto::http::Request;
use crate::proto::message::Message;
#[cfg(feature = "websocket")]
use crate::proto::websocket::handshake::{Acceptance, Upgrade};
use crate::sys::{Native, System};

/// The embedder's side: what happens when.
///
/// Every method has a default, so a server begins with the one that interests it. A callback runs to
/// its end before the next one starts, and only marks: what it sends, closes or dials happens after it,
/// but for the output that a send with a full queue offers to the kernel ([`Context::send`]).
/// It should return quickly; the time it takes is the loop's own delay, which is measured and never
/// blamed on a peer.
///
/// [`on_open`](Self::on_open) and [`on_close`](Self::on_close) pair exactly: one each, in this order,
/// for every connection that opened. A connection that ends before it opened goes to
/// [`on_rejected`](Self::on_rejected) instead; one on which plain HTTP requests were answered to
/// [`on_answered`](Self::on_answered).
///
/// A panic in a callback is the embedder's: it unwinds out of [`turn`](crate::reactor::Reactor::turn). The
/// next turn goes on where it left off: a connection whose input, offer or opening was in hand is closed
/// with code 1011, every other goes on, and so does a client.
pub trait Handler<S: System = Native> {
    /// What the embedder keeps for each connection; `()` costs nothing. Until a connection is welcome its
    /// default stands in, which nobody gets to see.
    type Data: Default;

    /// Welcomes or turns away a connection, before it opens. A WebSocket server sees the request here.
    ///
    /// Default: welcomes everyone with `Data::default()` and no subprotocol.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] is answered with its HTTP status on WebSocket, and with a plain close on other
    /// wires. The connection ends with cause `refused`.
    fn on_accept(
        &mut self,
        cx: &mut Context<'_, Self::Data, S>,
        offer: &Offer<'_>,
    ) -> Result<Welcome<Self::Data>, Rejection> {
        let _ = (cx, offer);
        Ok(Welcome::default())
    }

    /// A connection is open: messages can be sent and will arrive.
    fn on_open(&mut self, cx: &mut Context<'_, Self::Data, S>, id: ConnId) {
        let _ = (cx, id);
    }

    /// A whole message has arrived.
    fn on_message(
        &mut self,
        cx: &mut Context<'_, Self::Data, S>,
        id: ConnId,
        message: Message<'_>,
    ) {
        let _ = (cx, id, message);
    }

    /// A ping was answered. `rtt` is the round-trip time if that ping was the one being timed: of
    /// several outstanding pings, one is.
    fn on_pong(&mut self, cx: &mut Context<'_, Self::Data, S>, id: ConnId, rtt: Option<Duration>) {
        let _ = (cx, id, rtt);
    }

    /// There is room again after a send that found the queue full.
    fn on_writable(&mut self, cx: &mut Context<'_, Self::Data, S>, id: ConnId) {
        let _ = (cx, id);
    }

    /// A connection that had opened is over; its slot is free already.
    fn on_close(&mut self, cx: &mut Context<'_, Self::Data, S>, closed: Closed<'_, Self::Data>) {
        let _ = (cx, closed);
    }

    /// A connection ended before it opened: refused, timed out, or a dial that failed.
    fn on_rejected(&mut self, cx: &mut Context<'_, Self::Data, S>, rejected: Rejected<'_>) {
        let _ = (cx, rejected);
    }

    /// A connection is over on which plain HTTP requests were answered, by [`on_http`](Self::on_http) or its
    /// default, and which never opened.
    #[cfg(feature = "websocket")]
    fn on_answered(&mut self, cx: &mut Context<'_, Self::Data, S>, answered: Answered<'_>) {
        let _ = (cx, answered);
    }

    /// A plain HTTP request came to a WebSocket listener, its body included. Several may come on one
    /// connection, and an upgrade behind them. Default: 426 Upgrade Required.
    #[cfg(feature = "websocket")]
    fn on_http(
        &mut self,
        cx: &mut Context<'_, Self::Data, S>,
        id: ConnId,
        request: &Request<'_>,
    ) -> HttpAnswer {
        let _ = (cx, id, request);
        HttpAnswer::upgrade_required()
    }

    /// A client changed its state: dials, failed, waits, gave up.
    fn on_client(&mut self, cx: &mut Context<'_, Self::Data, S>, id: ClientId, event: ClientEvent) {
        let _ = (cx, id, event);
    }

    /// A timer set with [`Context::set_timer`] is due; `user_data` is what was given there.
    fn on_timer(&mut self, cx: &mut Context<'_, Self::Data, S>, user_data: u64) {
        let _ = (cx, user_data);
    }

    /// A foreign source is ready. Edge-triggered: act until it would block.
    fn on_source(&mut self, cx: &mut Context<'_, Self::Data, S>, id: SourceId, ready: Readiness) {
        let _ = (cx, id, ready);
    }

    /// Another thread called [`LoopHandle::notify`](super::LoopHandle::notify) with this user data.
    fn on_notify(&mut self, cx: &mut Context<'_, Self::Data, S>, user_data: u64) {
        let _ = (cx, user_data);
    }
}

/// A connection about to open.
#[derive(Clone, Debug)]
pub struct Offer<'a> {
    /// Its id from here on.
    pub id: ConnId,
    /// The peer's address. One that came over IPv4 is an IPv4 address whatever the listener, also where
    /// the kernel has it as IPv6 (`::ffff:192.0.2.1`); one that was dialed is as it was asked for.
    pub peer: PeerAddr,
    /// Our listener or client that it belongs to.
    pub endpoint: Endpoint,
    #[cfg_attr(
        not(feature = "websocket"),
        expect(dead_code, reason = "only HTTP has heads")
    )]
    pub(super) head: Head<'a>,
}

/// The HTTP head that an offer came with.
#[derive(Clone, Copy, Debug)]
pub(super) enum Head<'a> {
    /// A wire without one.
    None(std::marker::PhantomData<&'a ()>),
    #[cfg(feature = "websocket")]
    Request(&'a Upgrade<'a>),
    #[cfg(feature = "websocket")]
    Response(&'a Acceptance<'a>),
}

#[cfg(feature = "websocket")]
impl<'a> Offer<'a> {
    /// Returns the opening request, where we are a WebSocket server.
    pub fn upgrade(&self) -> Option<&'a Upgrade<'a>> {
        match self.head {
            Head::Request(upgrade) => Some(upgrade),
            Head::None(_) | Head::Response(_) => None,
        }
    }

    /// Returns the server's answer, where we are a WebSocket client.
    pub fn acceptance(&self) -> Option<&'a Acceptance<'a>> {
        match self.head {
            Head::Response(response) => Some(response),
            Head::None(_) | Head::Request(_) => None,
        }
    }
}

/// The answer to an [`Offer`] that is welcome.
#[derive(Clone, Debug, Default)]
pub struct Welcome<D> {
    /// What the embedder keeps for the connection.
    pub data: D,
    /// The subprotocol chosen; must be one of those offered. Default: none.
    pub subprotocol: Option<String>,
    /// Header fields to add to the response. Default: none.
    pub headers: Vec<(String, String)>,
}

impl<D> Welcome<D> {
    /// Welcomes with data, and no subprotocol.
    pub fn with(data: D) -> Self {
        Self {
            data,
            subprotocol: None,
            headers: Vec::new(),
        }
    }
}

/// The answer to an [`Offer`] that is turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// HTTP status, 400 to 599. A WebSocket client has no use for it.
    pub status: u16,
    /// Header fields to add, such as `Retry-After`.
    pub headers: Vec<(String, String)>,
    /// Plain text.
    pub body: String,
}

impl Rejection {
    /// Turns away with a status and a word of explanation.
    pub fn new(status: u16, body: impl Into<String>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }
}

/// The answer to a plain HTTP request.
///
/// `Content-Length` and `Connection` are written for it. Behind it the connection is kept for another request,
/// an upgrade perhaps, where the client may send one (RFC 9112, section 9.3), up to
/// [`max_requests`](crate::config::LimitsConfig::max_requests) in all. Each has the handshake timeout to come.
#[cfg(feature = "websocket")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// HTTP status, 200 to 599.
    pub status: u16,
    /// Header fields to add, such as `Content-Type`.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

#[cfg(feature = "websocket")]
impl HttpAnswer {
    /// Answers with a status and plain text.
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self {
            status,
            headers: vec![("Content-Type".into(), "text/plain; charset=utf-8".into())],
            body: body.into().into_bytes(),
        }
    }

    /// Answers that only WebSocket is spoken here (RFC 9110, section 15.5.22).
    pub fn upgrade_required() -> Self {
        let mut answer = Self::text(426, "this is a websocket endpoint\n");
        answer.headers.push(("Upgrade".into(), "websocket".into()));
        answer
            .headers
            .push(("Sec-WebSocket-Version".into(), "13".into()));
        answer
    }
}

/// A connection that is over.
#[derive(Debug)]
#[non_exhaustive]
pub struct Closed<'a, D> {
    /// The id it had.
    pub id: ConnId,
    /// The peer's address; see [`Offer::peer`].
    pub peer: PeerAddr,
    /// Our listener or client that it belongs to.
    pub endpoint: Endpoint,
    /// What the embedder kept for it.
    pub data: D,
    /// Why it ended, and what was known then.
    pub evidence: &'a Evidence,
    /// The reason text of the peer's Close frame, chosen by the peer: escape it before printing. Where the
    /// peer broke a rule of its wire, which one.
    pub reason: &'a str,
}

/// A connection that ended before it opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Rejected<'a> {
    /// The peer's address; see [`Offer::peer`].
    pub peer: PeerAddr,
    /// Our listener or client that it belongs to.
    pub endpoint: Endpoint,
    /// Why it ended, and what was known then.
    pub evidence: &'a Evidence,
    /// Which limit or rule turned it away, in words of ours; empty where the cause says it all.
    pub reason: &'a str,
}

/// A connection that was for plain HTTP requests, and is over.
#[cfg(feature = "websocket")]
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Answered<'a> {
    /// The peer's address; see [`Offer::peer`].
    pub peer: PeerAddr,
    /// Our listener or client that it belongs to.
    pub endpoint: Endpoint,
    /// The status of the last answer.
    pub status: u16,
    /// How many requests were answered.
    pub answers: u32,
    /// What was known then. Clean where the answers have left and nobody broke off.
    pub evidence: &'a Evidence,
    /// Which rule the request broke that ended it, or what turned it away, in words of ours; else empty.
    pub reason: &'a str,
}

/// What a foreign source is ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Reading, or an error that a read would show.
    pub readable: bool,
    /// Writing, or an error that a write would show.
    pub writable: bool,
}
