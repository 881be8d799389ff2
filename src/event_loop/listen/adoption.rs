//! Connections that come: accepted by a listener of ours, or by somebody else who hands them over.

use std::collections::VecDeque;

use crate::event_loop::token::ListenerId;
use crate::peer::PeerAddr;

/// How far a connection is that somebody else has accepted. See [`Context::adopt`](crate::Context::adopt).
#[derive(Clone, Debug)]
pub struct Adoption<D> {
    /// Bytes that were read from the socket and that nobody has handled. They are handled before what is
    /// read next. Default: none.
    pub received: Vec<u8>,
    /// `Some` if the opening handshake is complete, or if there is none: the connection opens with this
    /// data, without [`on_accept`](crate::Handler::on_accept). Default `None`: it starts as one that the
    /// listener has accepted. What comes first was said, if it is open: a codec is not asked to
    /// [`begin`](crate::proto::codec::Codec::begin), but to
    /// [`resume`](crate::proto::codec::Codec::resume).
    pub opened: Option<D>,
}

impl<D> Default for Adoption<D> {
    fn default() -> Self {
        Self {
            received: Vec::new(),
            opened: None,
        }
    }
}

impl<D> Adoption<D> {
    /// A connection that is open, with this data.
    pub fn opened(data: D) -> Self {
        Self {
            received: Vec::new(),
            opened: Some(data),
        }
    }
}

/// Those who were handed over, until the loop takes them in.
#[derive(Debug)]
pub(in crate::event_loop) struct Adopted<D, S> {
    waiting: VecDeque<(ListenerId, Arrival<D, S>)>,
}

impl<D, S> Default for Adopted<D, S> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
        }
    }
}

impl<D, S> Adopted<D, S> {
    pub(super) fn push(&mut self, listener: ListenerId, arrival: Arrival<D, S>) {
        self.waiting.push_back((listener, arrival));
    }

    pub(super) fn pop(&mut self) -> Option<(ListenerId, Arrival<D, S>)> {
        self.waiting.pop_front()
    }

    /// Says whether nobody waits.
    pub(in crate::event_loop) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// Somebody who comes: a connected socket.
#[derive(Debug)]
pub(in crate::event_loop) struct Arrival<D, S> {
    pub(super) socket: S,
    pub(super) peer: PeerAddr,
    /// Somebody else has accepted it, and has dealt with what comes before its wire.
    pub(super) is_adopted: bool,
    /// What somebody else who accepted it has read, and nobody has handled.
    pub(super) received: Vec<u8>,
    /// The embedder's data, if its opening handshake is complete.
    pub(super) opened: Option<D>,
}

impl<D, S> Arrival<D, S> {
    /// One that a listener of ours has accepted.
    pub(super) fn new(socket: S, peer: PeerAddr) -> Self {
        Self {
            is_adopted: false,
            ..Self::adopted(socket, peer, Adoption::default())
        }
    }

    /// One that somebody else has accepted.
    pub(super) fn adopted(socket: S, peer: PeerAddr, adoption: Adoption<D>) -> Self {
        let Adoption { received, opened } = adoption;
        Self {
            socket,
            peer,
            is_adopted: true,
            received,
            opened,
        }
    }
}
