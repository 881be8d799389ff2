//! What an embedder implements, and what its callbacks receive.

use std::time::Duration;

#[cfg(feature = "websocket")]
use super::answer::HttpAnswer;
use super::answer::{Decision, Rejection, Welcome};
use super::client::{ClientEvent, DialRequest};
use super::context::Context;
use super::delivery::BroadcastDone;
use super::endpoint::Endpoint;
#[cfg(feature = "websocket")]
use super::token::RequestId;
use super::token::{ClientId, ConnId, SourceId};
use crate::close::{Cause, Evidence};
use crate::error::SendError;
use crate::peer::PeerAddr;
#[cfg(feature = "websocket")]
use crate::proto::http::Request;
use crate::proto::message::{Message, SharedMessage};
#[cfg(feature = "websocket")]
use crate::proto::websocket::handshake::{Acceptance, Upgrade};
use crate::sys::{Native, System};

/// The embedder's callbacks.
///
/// Each method has a default, so you implement only those that you need. Callbacks run one after
/// the other and never inside each other. A callback only marks what to do: what it sends, closes
/// or dials happens after it returns. There is one exception: a send to a full queue first offers
/// the queue to the kernel ([`Context::send`]). A callback should return quickly. The time it takes
/// delays the loop; this delay is measured and never blamed on a peer.
///
/// Each connection that opens gets exactly one [`on_open`](Self::on_open) and then exactly one
/// [`on_close`](Self::on_close). A connection that ends before it opens goes to
/// [`on_rejected`](Self::on_rejected) instead. If plain HTTP requests were answered on it, it goes
/// to [`on_answered`](Self::on_answered).
///
/// A panic in a callback unwinds out of [`turn`](crate::reactor::Reactor::turn). The embedder may
/// catch it and go on with the next turn. The connection whose input, offer or opening the callback
/// handled is closed with code 1011. All other connections and all clients go on.
///
/// `C` is the type of the commands that other threads give to [`on_command`](Self::on_command). Without
/// commands, `impl Handler for ...` is enough. A handler is written for one `C`; then the compiler finds the
/// types of its [`Reactor`](crate::reactor::Reactor) from it.
pub trait Handler<C = (), S: System = Native> {
    /// The embedder's data for each connection. `()` costs no memory. A connection holds
    /// `Data::default()` until [`on_accept`](Self::on_accept) has accepted it; nobody sees that
    /// value. [`guide::embedding::data`](crate::guide::embedding::data) says what to do with a type that
    /// has no default. It borrows nothing, because another thread may [hand it
    /// over](super::LoopHandle::accept).
    type Data: Default + 'static;

    /// Accepts or rejects a connection before it opens, or puts that off. On a WebSocket server, the
    /// offer has the request. If a [`Codec`](crate::proto::codec::Codec) has a handshake, it is over, and
    /// the codec ([`Context::codec`]) has what it learned.
    ///
    /// After [`Decision::Later`] the connection waits until [`Context::accept`] or
    /// [`Context::reject`] is called, or the same of [`LoopHandle`](super::LoopHandle) by another thread. Its handshake timeout goes on. If
    /// it is over first, the connection ends as `handshake_timeout`: a WebSocket client is answered
    /// 503, a codec with a handshake refuses with 503, and any other peer gets an orderly close. The reason says that the application did not
    /// answer in time. Nothing is read meanwhile. If the peer resets the connection, or ends its direction of
    /// a WebSocket, [`on_rejected`](Self::on_rejected) says so at once.
    ///
    /// On other wires the end of a peer's direction (`printf 'hello\n' | nc -N`) is the end of what it has
    /// to say, and it may read the answer. So the connection waits on: once it is accepted, what was sent
    /// before the end is delivered, queued output leaves, and it ends as `peer_eof`. A peer that has gone
    /// altogether looks the same until something is written to it. Its place is free when the handler decides,
    /// or when the handshake timeout is over; until then it counts as half-open for its address.
    ///
    /// At most [`max_deferred`](crate::config::ReactorConfig::max_deferred) connections wait; the next one
    /// is refused. A client's connection may wait too, once the server has answered.
    ///
    /// Default: accepts every connection, with `Data::default()` and no subprotocol.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] is answered with its HTTP status on WebSocket, by a codec that has a handshake
    /// with [`encode_refusal`](crate::proto::codec::Codec::encode_refusal), and with a plain close on
    /// other wires. The connection ends with cause `refused`.
    fn on_accept(
        &mut self,
        cx: &mut Context<'_, Self::Data, S>,
        offer: &Offer<'_>,
    ) -> Result<Decision<Welcome<Self::Data>>, Rejection> {
        let _ = (cx, offer);
        Ok(Welcome::default().into())
    }

    /// A connection opened: from now on messages can be sent, and will arrive.
    fn on_open(&mut self, cx: &mut Context<'_, Self::Data, S>, id: ConnId) {
        let _ = (cx, id);
    }

    /// A complete message arrived.
    fn on_message(
        &mut self,
        cx: &mut Context<'_, Self::Data, S>,
        id: ConnId,
        message: Message<'_>,
    ) {
        let _ = (cx, id, message);
    }

    /// The peer answered a ping. `rtt` is the round-trip time, if this ping was the timed one: of
    /// several unanswered pings, only one is timed.
    fn on_pong(&mut self, cx: &mut Context<'_, Self::Data, S>, id: ConnId, rtt: Option<Duration>) {
        let _ = (cx, id, rtt);
    }

    /// The send queue has room again, after a send found it full.
    fn on_writable(&mut self, cx: &mut Context<'_, Self::Data, S>, id: ConnId) {
        let _ = (cx, id);
    }

    /// A broadcast is over: each of its recipients has had its turn. This follows each
    /// [`Context::broadcast`] and [`Context::publish`] that was accepted, and each
    /// [`LoopHandle::broadcast`](super::LoopHandle::broadcast) or
    /// [`LoopHandle::publish`](super::LoopHandle::publish) of another thread or loop. Recipients that
    /// ended before their turn are not counted.
    fn on_broadcast(&mut self, cx: &mut Context<'_, Self::Data, S>, done: BroadcastDone) {
        let _ = (cx, done);
    }

    /// A connection is no longer open, for whatever cause: of ours, of the peer's, or of the loop's.
    /// Nothing more can be sent to it, and none of its messages are delivered. So this is the place
    /// to take it off a list of those who are present.
    ///
    /// [`on_close`](Self::on_close) follows once for each call: at once after a reset, and after the
    /// goodbye otherwise, which may take until
    /// [`close_timeout`](crate::config::HeartbeatConfig::close_timeout) is over. Its cause is this
    /// one, or `close_timeout` if the goodbye was not answered, or `memory_limit` if there was no
    /// memory for it.
    fn on_closing(&mut self, cx: &mut Context<'_, Self::Data, S>, id: ConnId, cause: Cause) {
        let _ = (cx, id, cause);
    }

    /// An open connection ended. Its slot is already free.
    fn on_close(&mut self, cx: &mut Context<'_, Self::Data, S>, closed: Closed<'_, Self::Data>) {
        let _ = (cx, closed);
    }

    /// A connection ended before it opened: it was refused, it timed out, or its dial failed.
    fn on_rejected(&mut self, cx: &mut Context<'_, Self::Data, S>, rejected: Rejected<'_>) {
        let _ = (cx, rejected);
    }

    /// A connection ended that never opened, but on which plain HTTP requests were answered, by
    /// [`on_http`](Self::on_http) or its default.
    #[cfg(feature = "websocket")]
    fn on_answered(&mut self, cx: &mut Context<'_, Self::Data, S>, answered: Answered<'_>) {
        let _ = (cx, answered);
    }

    /// A plain HTTP request, with its body, arrived on a WebSocket listener. One connection may
    /// carry several requests, and then an upgrade. Default: 426 Upgrade Required.
    ///
    /// After [`Decision::Later`] the request waits for [`Context::answer`] with its id, under the same rules
    /// as a connection that waits to be [accepted](Self::on_accept). Requests that follow on the same
    /// connection are answered behind it. A client that has only ended its own direction still gets
    /// the answer. If too many wait, the request is answered 503.
    #[cfg(feature = "websocket")]
    fn on_http(
        &mut self,
        cx: &mut Context<'_, Self::Data, S>,
        id: RequestId,
        request: &Request<'_>,
    ) -> Decision<HttpAnswer> {
        let _ = (cx, id, request);
        HttpAnswer::upgrade_required().into()
    }

    /// A client is about to dial. The handler may change path, headers and subprotocols for this
    /// attempt, or put it off with [`Decision::Later`] until [`Context::dial`]: while it asks for a
    /// token, for example. Then it is asked again. Only
    /// [`give_up_after`](super::ReconnectConfig::give_up_after) limits how long that takes.
    ///
    /// It is called once for each attempt, before the name is looked up: an attempt may dial several
    /// addresses, and follow redirects. [`DialRequest::last`] says how the last attempt or connection
    /// ended. By default a status of 401 is the end of a client; with
    /// [`retry_refused`](super::ReconnectConfig::retry_refused) the handler is asked again after the
    /// usual delay.
    ///
    /// Default: dials with the words of the configuration.
    ///
    /// ```
    /// use heartwheel::{ClientId, Context, Decision, DialRequest, Handler};
    ///
    /// struct Feed {
    ///     token: Option<String>,
    /// }
    ///
    /// impl Handler<String> for Feed {
    ///     type Data = ();
    ///
    ///     fn on_dial(
    ///         &mut self,
    ///         _: &mut Context<'_, ()>,
    ///         _: ClientId,
    ///         mut request: DialRequest,
    ///     ) -> Decision<DialRequest> {
    ///         // Each token is good for one attempt. Another thread fetches the next one.
    ///         let Some(token) = self.token.take() else {
    ///             return Decision::Later;
    ///         };
    ///         request.set_header("Authorization", format!("Bearer {token}"));
    ///         request.into()
    ///     }
    ///
    ///     fn on_command(&mut self, cx: &mut Context<'_, ()>, token: String) {
    ///         self.token = Some(token);
    ///         for client in cx.clients() {
    ///             cx.dial(client);
    ///         }
    ///     }
    /// }
    /// ```
    fn on_dial(
        &mut self,
        cx: &mut Context<'_, Self::Data, S>,
        id: ClientId,
        request: DialRequest,
    ) -> Decision<DialRequest> {
        let _ = (cx, id);
        Decision::Now(request)
    }

    /// A client changed its state: it dials, failed, waits, or stopped.
    fn on_client(&mut self, cx: &mut Context<'_, Self::Data, S>, id: ClientId, event: ClientEvent) {
        let _ = (cx, id, event);
    }

    /// A timer of [`Context::set_timer`] is due. `user_data` is what was given there.
    fn on_timer(&mut self, cx: &mut Context<'_, Self::Data, S>, user_data: u64) {
        let _ = (cx, user_data);
    }

    /// A timer of [`Context::set_conn_timer`] is due. `user_data` is what was given there. The connection
    /// is open: it never comes after [`on_closing`](Self::on_closing).
    fn on_conn_timer(&mut self, cx: &mut Context<'_, Self::Data, S>, id: ConnId, user_data: u64) {
        let _ = (cx, id, user_data);
    }

    /// A foreign source is ready. Sources are edge-triggered: read or write until it would block.
    fn on_source(&mut self, cx: &mut Context<'_, Self::Data, S>, id: SourceId, ready: Readiness) {
        let _ = (cx, id, ready);
    }

    /// Another thread gave this to [`LoopHandle::command`](super::LoopHandle::command).
    fn on_command(&mut self, cx: &mut Context<'_, Self::Data, S>, command: C) {
        let _ = (cx, command);
    }

    /// A message of [`LoopHandle::send`](super::LoopHandle::send) was not queued for its connection, for this
    /// reason: there is no open connection with this id any more, its queue has no room, or its wire cannot
    /// carry the message. If the queue has no room, [`on_writable`](Self::on_writable) follows.
    ///
    /// [`Stats::undelivered`](crate::stats::Stats::undelivered) counts these calls. Messages that were queued
    /// for a connection and lost with it are not among them: its end tells how many bytes they were
    /// ([`Evidence::bytes_queued`]). Who was left out of a broadcast or a topic,
    /// [`on_broadcast`](Self::on_broadcast) says.
    fn on_undelivered(
        &mut self,
        cx: &mut Context<'_, Self::Data, S>,
        id: ConnId,
        message: &SharedMessage,
        error: SendError,
    ) {
        let _ = (cx, id, message, error);
    }
}

/// A connection that is about to open.
#[derive(Clone, Debug)]
pub struct Offer<'a> {
    /// Its id from now on.
    pub id: ConnId,
    /// The peer's address. A peer that came over IPv4 has an IPv4 address, even on an IPv6 listener
    /// where the kernel shows `::ffff:192.0.2.1`. A dialed peer has the address that was dialed.
    /// Behind a trusted proxy it is the address of its client, and [`PeerAddr::proxy`] returns that of
    /// the proxy; see [`ListenerConfig::proxy`](super::ListenerConfig::proxy).
    pub peer: PeerAddr,
    /// Our listener or client that the connection belongs to.
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
    /// Returns the opening request, if we are a WebSocket server.
    pub fn upgrade(&self) -> Option<&'a Upgrade<'a>> {
        match self.head {
            Head::Request(upgrade) => Some(upgrade),
            Head::None(_) | Head::Response(_) => None,
        }
    }

    /// Returns the server's answer, if we are a WebSocket client.
    pub fn acceptance(&self) -> Option<&'a Acceptance<'a>> {
        match self.head {
            Head::Response(response) => Some(response),
            Head::None(_) | Head::Request(_) => None,
        }
    }
}

/// A connection that opened and ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct Closed<'a, D> {
    /// The id that it had.
    pub id: ConnId,
    /// The peer's address; see [`Offer::peer`].
    pub peer: PeerAddr,
    /// Our listener or client that the connection belongs to.
    pub endpoint: Endpoint,
    /// The embedder's data for the connection.
    pub data: D,
    /// Why it ended, and what was known then.
    pub evidence: &'a Evidence,
    /// The reason text of the peer's Close frame. The peer chose it: escape it before you print it.
    /// If the peer broke a rule of its wire, it is the rule instead.
    pub reason: &'a str,
}

/// A connection that ended before it opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Rejected<'a> {
    /// The id that it had, by which it was offered. `None` if one of our limits refused it before.
    pub id: Option<ConnId>,
    /// The peer's address; see [`Offer::peer`].
    pub peer: PeerAddr,
    /// Our listener or client that the connection belongs to.
    pub endpoint: Endpoint,
    /// Why it ended, and what was known then.
    pub evidence: &'a Evidence,
    /// The limit or rule that turned it away, in our words. Empty if the cause alone says it.
    pub reason: &'a str,
}

/// A connection that carried only plain HTTP requests and ended.
#[cfg(feature = "websocket")]
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Answered<'a> {
    /// The id that it had.
    pub id: ConnId,
    /// The peer's address; see [`Offer::peer`].
    pub peer: PeerAddr,
    /// Our listener or client that the connection belongs to.
    pub endpoint: Endpoint,
    /// The status of the last answer.
    pub status: u16,
    /// How many requests were answered.
    pub answers: u32,
    /// What was known then. It is clean if all answers left and neither side broke off.
    pub evidence: &'a Evidence,
    /// The rule that the last request broke, or what turned it away, in our words. Otherwise empty.
    pub reason: &'a str,
}

/// What a foreign source is ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// A read will give bytes, the end or an error.
    pub readable: bool,
    /// A write will be accepted, or will give an error.
    pub writable: bool,
}
