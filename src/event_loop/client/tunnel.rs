//! The way through a proxy, over the socket of a dial that is still connecting.

use std::io::{self, IoSlice};

use super::event::DialError;
use crate::close::Cause;
use crate::event_loop::core::EventLoop;
use crate::event_loop::endpoint::Endpoint;
use crate::event_loop::token::ConnId;
use crate::proto::tunnel::{Tunnel, TunnelError};
use crate::sys::{Socket, System};

impl<D, S: System> EventLoop<D, S> {
    /// Goes on with the tunnel of a dialed connection, if it needs one. Returns whether there is nobody
    /// between us and the peer any more.
    ///
    /// Bytes of the peer that lie in the socket then are those of the event in hand, or of a later one.
    pub(in crate::event_loop) fn go_through(&mut self, id: ConnId) -> bool {
        let key = id.index();
        let Endpoint::Client(client) = self.conns[key].endpoint() else {
            return true;
        };
        let client = &mut self.clients[client];
        let Some(tunnel) = &mut client.tunnel else {
            return true;
        };
        let conn = &mut self.conns[key];
        match step(tunnel, &mut conn.socket) {
            Ok(true) => {
                client.tunnel = None;
                return true;
            }
            Ok(false) => return false,
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
                // Before that, nobody was reached at this address.
                let is_reset = tunnel.has_begun() && is_reset(&error);
                if is_reset {
                    client.error = Some(DialError::Proxy(TunnelError::Closed));
                }
                let errno = error.raw_os_error();
                conn.session.handle_io_error(self.now, errno, is_reset);
            }
        }
        client.tunnel = None;
        self.mark_dirty(key);
        false
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

fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

/// The most that a tunnel wants at once is the name in a reply.
const ROOM: usize = 264;
