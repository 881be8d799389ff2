//! Connections that a proxy passes on: the header in front of them, and what the client then counts for.
//!
//! A header is read right from the socket, and no further than to its end: what lies behind it is for the
//! stream. While it is awaited the connection is `Connecting`, so that the handshake timeout bounds it.

use std::io;
use std::net::IpAddr;

use super::admission::Room;
use super::refusal::Refusal;
use crate::error::ProtocolError;
use crate::event_loop::conn::{Mark, Ready};
use crate::event_loop::core::EventLoop;
use crate::event_loop::endpoint::Endpoint;
use crate::event_loop::handler::Handler;
use crate::event_loop::token::{ConnId, ListenerId};
use crate::peer::PeerAddr;
use crate::proto::proxy_header::{ProxyHeader, Reported};
use crate::sys::{Socket, Stream, System, is_reset};

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
        let Some(mut header) = self.headers.take(key) else {
            return true;
        };
        let seen = self.read_header(key, &mut header);
        self.refresh_now();
        let (session, env) = (&mut self.conns[key].session, &mut self.env);
        match seen {
            Ok(Seen::Whole(reported)) => return self.learn_client(handler, id, reported),
            Ok(Seen::Part) => {
                self.headers.keep(key, header);
                return false;
            }
            Ok(Seen::End) => {
                self.headers.keep(key, header);
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
            let socket = conn.stream.socket_mut();
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
        self.conns[key].ready.insert(Ready::Readable);
        let Reported::Client(client) = reported else {
            return true;
        };
        let ip = client.ip();
        self.set_client(key, client);
        let (Endpoint::Listener(listener), Some(ip)) = (self.conns[key].endpoint(), ip) else {
            return true;
        };
        if let Err(refusal) = self.judge_client(listener, key, ip) {
            self.refuse_client(key, refusal);
            return false;
        }
        if self.conns[key].marks.has(Mark::HalfOpen) {
            self.waiting.enter(ip, id);
            self.make_way(handler, listener, ip, id);
        }
        true
    }

    fn set_client(&mut self, key: usize, client: PeerAddr) {
        let conn = &mut self.conns[key];
        let proxy = self.peers.forget(conn.peer);
        conn.peer = self.peers.keep(client.behind(proxy));
    }

    /// Checks a connection, which has its place, against the limits of its client, and counts it in.
    fn judge_client(&mut self, id: ListenerId, key: usize, ip: IpAddr) -> Result<(), Refusal> {
        let Some(listener) = self.listeners.get(id) else {
            // Closed since: what it accepted goes on.
            return Ok(());
        };
        let (admission, all) = (listener.admission(), self.room());
        // Its own place counts among those that are left.
        let left = all.saturating_sub(self.group.len().saturating_sub(1));
        let conn = &mut self.conns[key];
        let shakes_hands = conn.session.wire().is_websocket() || !conn.stream.is_open();
        let half_open = admission.counts_half_open() && shakes_hands;
        let counted = admission.counts(ip);
        let now = self.now.at;
        let addresses = &mut self.group.arrivals().addresses;
        let judged = admission.judge_address(ip, now, addresses, Room { all, left });
        if judged.is_ok() {
            addresses.enter(ip, now, counted, half_open);
            conn.marks.set(Mark::HalfOpen, half_open);
            conn.marks.set(Mark::Counted, counted);
        }
        judged
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
        refusal.tell(&mut conn.stream, conn.session.wire(), &self.env);
        let reason = refusal.reason();
        conn.session.turn_away(&mut self.env, self.now, reason);
        self.mark_dirty(key);
    }
}

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
