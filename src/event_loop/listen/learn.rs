//! Connections that a proxy passes on: who says whose they are, and what the client then counts for.
//!
//! It is said by the header in front of a connection, or by the fields of a request. A header is read right from the socket, and no further than to its end: what lies behind it is for the
//! stream. While it is awaited the connection is `Connecting`, so that the handshake timeout bounds it.

use std::io;

use super::admission::Room;
use super::refusal::Refusal;
#[cfg(feature = "websocket")]
use crate::close::Cause;
use crate::config::WireKind;
use crate::error::ProtocolError;
use crate::event_loop::conn::{Mark, Ready};
use crate::event_loop::core::EventLoop;
use crate::event_loop::endpoint::Endpoint;
use crate::event_loop::handler::Handler;
use crate::event_loop::token::ConnId;
use crate::event_loop::wire_factory::Contact;
use crate::peer::PeerAddr;
#[cfg(feature = "websocket")]
use crate::proto::http::{ForwardedError, Request, client_of};
use crate::proto::proxy_header::{ProxyHeader, Reported};
use crate::proto::session::Wire;
use crate::sys::{Socket, System, is_reset};

/// What a look at the socket found of a header.
enum Seen {
    Part,
    Whole(Reported),
    End,
}

impl<D: Default, S: System> EventLoop<D, S> {
    /// Reads what there is of the header in front of a connection. Returns whether the stream behind it may
    /// begin.
    pub(in crate::event_loop) fn take_header<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ConnId,
    ) -> bool {
        let key = id.index();
        let Some(mut header) = self.proxied.take(key) else {
            return true;
        };
        let seen = self.read_header(key, &mut header);
        self.refresh_now();
        let (session, env) = (&mut self.conns[key].session, &mut self.env);
        match seen {
            Ok(Seen::Whole(reported)) => return self.learn_client(handler, id, reported),
            Ok(Seen::Part) => {
                self.proxied.keep(key, header);
                return false;
            }
            Ok(Seen::End) => {
                self.proxied.keep(key, header);
                session.handle_eof(env, self.now);
            }
            Err(Fault::Header(error)) => session.refuse_front(env, self.now, error),
            Err(Fault::Socket(error)) => {
                let (errno, is_reset) = (error.raw_os_error(), is_reset(&error));
                session.handle_io_error(self.now, errno, is_reset);
            }
        }
        self.mark_dirty(key);
        false
    }

    /// Takes bytes of a header from the socket, and none behind it. A header is short, and so is this.
    fn read_header(&mut self, key: usize, header: &mut ProxyHeader) -> Result<Seen, Fault> {
        let mut buffer = [0; PIECE];
        loop {
            let conn = &mut self.conns[key];
            let socket = &mut conn.socket;
            let found = match socket.peek(&mut buffer) {
                Ok(0) => return Ok(Seen::End),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Seen::Part),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Fault::Socket(error)),
            };
            let received = header.receive(&buffer[..found]);
            let (used, _) = received.as_ref().map_err(|&fault| fault)?;
            let mut left = *used;
            while left > 0 {
                match socket.read(&mut buffer[..left]) {
                    Ok(0) => return Ok(Seen::End),
                    Ok(count) => left -= count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(Fault::Socket(error)),
                }
            }
            conn.session.handle_bytes(&mut self.env, self.now, *used);
            if let Ok((_, Some(reported))) = received {
                return Ok(Seen::Whole(reported));
            }
        }
    }

    /// Puts the address of the client in the place of the proxy's. Returns whether the client is let in.
    fn learn_client<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ConnId,
        reported: Reported,
    ) -> bool {
        let key = id.index();
        // What lies behind the header gives no other edge.
        let conn = &mut self.conns[key];
        conn.ready.insert(Ready::Readable);
        let client = match reported {
            Reported::Client(client) => client,
            Reported::Proxy => return true,
            Reported::Unknown => {
                #[cfg(feature = "websocket")]
                self.proxied.keep_unknown(key);
                return true;
            }
        };
        let ip = client.ip();
        let proxy = self.peers.addr(conn.peer);
        self.set_peer(key, client.behind(proxy));
        self.make_codec_anew(key);
        let conn = &self.conns[key];
        let shakes_hands = conn.session.wire().is_websocket()
            || conn.session.has_handshake()
            || !conn.is_unsealed();
        if let Err(refusal) = self.judge_client(key, shakes_hands) {
            self.refuse_client(key, refusal);
            return false;
        }
        if let (Endpoint::Listener(listener), Some(ip)) = (self.conns[key].endpoint(), ip)
            && self.conns[key].marks.has(Mark::HalfOpen)
        {
            self.waiting.enter(ip, id);
            self.make_way(handler, listener, ip, id);
        }
        true
    }

    /// Has the listener make the codec for the client, if it makes codecs.
    fn make_codec_anew(&mut self, key: usize) {
        let conn = &mut self.conns[key];
        let (endpoint, peer) = (conn.endpoint(), self.peers.addr(conn.peer));
        if let Endpoint::Listener(id) = endpoint
            && conn.session.wire() == WireKind::Own
            && let Some(listener) = self.listeners.get(id)
            && let Wire::Own(codec) = listener.make_wire(&Contact::new(peer, endpoint))
        {
            conn.session.set_codec(codec);
        }
    }

    /// Gives a connection another address, for which nothing is counted yet.
    fn set_peer(&mut self, key: usize, peer: PeerAddr) {
        self.leave_address(key);
        let conn = &mut self.conns[key];
        self.peers.forget(conn.peer);
        conn.peer = self.peers.keep(peer);
    }

    /// Checks a connection, which has its place, against the limits of its client, and counts it in. A client
    /// that is itself a proxy is not limited.
    fn judge_client(&mut self, key: usize, shakes_hands: bool) -> Result<(), Refusal> {
        let conn = &self.conns[key];
        let Some(ip) = self.peers.addr(conn.peer).ip() else {
            return Ok(());
        };
        let listener = match conn.endpoint() {
            Endpoint::Listener(listener) => self.listeners.get(listener),
            Endpoint::Client(_) => None,
        };
        if self.guests.have(key) {
            return Ok(());
        }
        // What was accepted by one that was closed since goes on.
        let Some(listener) = listener.filter(|listener| !listener.proxies().trust(ip)) else {
            return Ok(());
        };
        let (admission, all) = (listener.admission(), self.room());
        // Its own place counts among those that are left.
        let left = all.saturating_sub(self.group.len().saturating_sub(1));
        let half_open = shakes_hands && admission.counts_half_open();
        let counted = admission.counts(ip);
        let now = self.now.at;
        let addresses = &mut self.group.arrivals().addresses;
        admission.judge_address(ip, now, addresses, Room { all, left })?;
        addresses.enter(ip, now, counted, half_open);
        let marks = &mut self.conns[key].marks;
        marks.set(Mark::HalfOpen, half_open);
        marks.set(Mark::Counted, counted);
        Ok(())
    }

    fn refuse_client(&mut self, key: usize, refusal: Refusal) {
        self.look_at_calendar();
        let conn = &self.conns[key];
        if let (Endpoint::Listener(listener), Refusal::Share) = (conn.endpoint(), refusal)
            && let Some(ip) = self.peers.addr(conn.peer).ip()
        {
            self.note_crowding(listener, ip, self.room());
        }
        let conn = &mut self.conns[key];
        let wire = conn.session.wire();
        refusal.tell(conn.transport(), wire, &mut self.env);
        let reason = refusal.reason();
        conn.session.turn_away(&mut self.env, self.now, reason);
        self.mark_dirty(key);
    }
}

#[cfg(feature = "websocket")]
impl<D: Default, S: System> EventLoop<D, S> {
    /// Puts the client that a request names in the place of the proxy, if it comes from one. Returns whether
    /// the request is let in. A request may be looked at again.
    pub(in crate::event_loop) fn learn_sender(
        &mut self,
        id: ConnId,
        request: &Request<'_>,
    ) -> bool {
        let key = id.index();
        let refusal = match self.name_client(key, request) {
            Ok(true) => match self.judge_client(key, false) {
                Ok(()) => return true,
                Err(refusal) => refusal,
            },
            Ok(false) => return true,
            Err(error) => {
                let session = &mut self.conns[key].session;
                let (cause, reason) = (Cause::ProtocolError, error.to_string());
                let answer = (400, &[][..], reason.as_str());
                session.refuse_request(&mut self.env, self.now, request, cause, answer);
                self.mark_dirty(key);
                return false;
            }
        };
        let session = &mut self.conns[key].session;
        let answer = (refusal.status(), RETRY, refusal.reason());
        session.refuse_request(&mut self.env, self.now, request, Cause::Refused, answer);
        self.mark_dirty(key);
        false
    }

    /// Gives a connection the address that its request names, or that of its sender back. Returns whether it
    /// has another one now.
    fn name_client(&mut self, key: usize, request: &Request<'_>) -> Result<bool, ForwardedError> {
        let conn = &self.conns[key];
        let Endpoint::Listener(listener) = conn.endpoint() else {
            return Ok(false);
        };
        let Some(proxies) = self.listeners.proxies(listener) else {
            return Ok(false);
        };
        // An unknown client may have written the fields itself.
        if !proxies.trust_any() || self.proxied.is_unknown(key) {
            return Ok(false);
        }
        let present = self.peers.addr(conn.peer);
        let sender = self.proxied.sender(key).unwrap_or_else(|| present.clone());
        if !sender.ip().is_some_and(|ip| proxies.trust(ip)) {
            return Ok(false);
        }
        let peer = match client_of(request, |ip| proxies.trust(ip))? {
            // Our socket is connected to the first of several proxies.
            Some(client) => {
                PeerAddr::from(client).behind(sender.proxy().unwrap_or(&sender).clone())
            }
            None => sender.clone(),
        };
        if peer == present {
            return Ok(false);
        }
        self.proxied.keep_sender(key, sender);
        self.set_peer(key, peer);
        Ok(true)
    }
}

/// When to try again that was refused for now.
#[cfg(feature = "websocket")]
const RETRY: &[(&str, &str)] = &[("Retry-After", "1")];

/// Why there is no header.
enum Fault {
    Header(ProtocolError),
    Socket(io::Error),
}

impl From<crate::error::ProxyFault> for Fault {
    fn from(fault: crate::error::ProxyFault) -> Self {
        Self::Header(ProtocolError::Proxy(fault))
    }
}

/// Bytes looked at together.
const PIECE: usize = 512;
