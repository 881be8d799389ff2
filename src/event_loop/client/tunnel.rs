//! The way through a proxy, over the socket of a dial that is still connecting.

use std::io::{self, IoSlice};

use super::event::DialError;
use crate::close::Cause;
use crate::event_loop::conn::Ready;
use crate::event_loop::core::EventLoop;
use crate::event_loop::endpoint::Endpoint;
use crate::event_loop::token::ConnId;
use crate::proto::tunnel::{Tunnel, TunnelError};
use crate::sys::{Socket, Stream, System};

/// How far a tunnel has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::event_loop) enum Way {
    /// There is nobody between us and the peer.
    Free,
    /// The tunnel has just opened: bytes of the peer may lie in the socket, and no edge will tell.
    Opened,
    /// It is not open yet, or never will be, which is noted.
    Shut,
}

impl<D, S: System> EventLoop<D, S> {
    /// Goes on with the tunnel of a dialed connection, if it needs one.
    pub(in crate::event_loop) fn go_through(&mut self, id: ConnId) -> Way {
        let key = id.index();
        let Endpoint::Client(client) = self.conns[key].endpoint() else {
            return Way::Free;
        };
        let client = &mut self.clients[client];
        let Some(tunnel) = &mut client.tunnel else {
            return Way::Free;
        };
        let conn = &mut self.conns[key];
        match step(tunnel, conn.stream.socket_mut()) {
            Ok(true) => {
                client.tunnel = None;
                return Way::Opened;
            }
            Ok(false) => return Way::Shut,
            Err(Failure::Proxy(error)) => {
                let cause = match error {
                    TunnelError::Closed => Cause::PeerEof,
                    _ if error.is_answer() => Cause::Refused,
                    _ => Cause::ProtocolError,
                };
                client.error = Some(DialError::Proxy(error));
                conn.session.end(self.now, cause, None);
            }
            Err(Failure::Io(error)) => {
                let errno = error.raw_os_error();
                conn.session.handle_io_error(self.now, errno, false);
            }
        }
        client.tunnel = None;
        self.mark_dirty(key);
        Way::Shut
    }

    /// Reads a connection whose tunnel has opened, though no edge will tell of what lies in the socket.
    pub(in crate::event_loop) fn read_later(&mut self, id: ConnId) {
        if let Some(conn) = self.conn_mut(id) {
            conn.ready.insert(Ready::Readable);
            self.carry(id.index());
        }
    }
}

enum Failure {
    Proxy(TunnelError),
    Io(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<TunnelError> for Failure {
    fn from(error: TunnelError) -> Self {
        Self::Proxy(error)
    }
}

/// Says and hears what the socket takes and gives now. Returns whether the tunnel is open.
fn step(tunnel: &mut Tunnel, socket: &mut impl Socket) -> Result<bool, Failure> {
    if !socket.is_connected()? {
        return Ok(false);
    }
    while !tunnel.is_open() {
        let mut input = [0; ROOM];
        let wants = tunnel.wants().min(ROOM);
        let done = match wants {
            0 => socket.write(&[IoSlice::new(tunnel.output())]),
            wants => socket.read(&mut input[..wants]),
        };
        match done {
            Ok(count) if wants == 0 => tunnel.handle_written(count),
            Ok(0) => return Err(TunnelError::Closed.into()),
            Ok(count) => tunnel.handle_input(&input[..count])?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// The most that a tunnel wants at once is the name in a reply.
const ROOM: usize = 264;
