//! What the loop has in hand while a callback runs. It must not be lost if the callback panics.

use super::client::DialError;
use super::token::{ClientId, ConnId};
use crate::close::Evidence;

/// What callbacks are about at the moment. What is still here when a turn begins, the handler panicked with in
/// the last one.
#[derive(Debug, Default)]
pub(super) struct InHand {
    /// The connection whose input is being handled.
    input: Option<ConnId>,
    /// The connection that is being offered or opened, but not because of its input.
    offered: Option<ConnId>,
    /// The client of which a callback is told, or of whose connection's end.
    told: Option<Told>,
}

/// What is still to be seen to for a client once the callback returns that hears of it.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) client: ClientId,
    pub(super) news: News,
}

/// What a client's callback hears of.
#[derive(Debug)]
#[cfg_attr(
    not(feature = "websocket"),
    expect(
        clippy::large_enum_variant,
        reason = "there is one at a time in each loop"
    )
)]
pub(super) enum News {
    /// An address is about to be dialed.
    Dialing,
    /// The server sent a redirect.
    #[cfg(feature = "websocket")]
    Redirected,
    /// An attempt failed with this.
    Failed(DialError),
    /// Its connection ended, opened or not.
    Ended { was_open: bool, evidence: Evidence },
}

impl InHand {
    pub(super) fn is_empty(&self) -> bool {
        self.input.is_none() && self.offered.is_none() && self.told.is_none()
    }

    pub(super) fn begin_input(&mut self, id: ConnId) {
        self.input = Some(id);
    }

    pub(super) fn end_input(&mut self) {
        self.input = None;
    }

    /// Says whether the input of this connection is being handled.
    pub(super) fn is_input_of(&self, id: ConnId) -> bool {
        self.input == Some(id)
    }

    pub(super) fn begin_offer(&mut self, id: ConnId) {
        self.offered = Some(id);
    }

    pub(super) fn end_offer(&mut self) {
        self.offered = None;
    }

    pub(super) fn begin_telling(&mut self, client: ClientId, news: News) {
        self.told = Some(Told { client, news });
    }

    pub(super) fn end_telling(&mut self) {
        self.told = None;
    }

    /// Takes the connections whose callback panicked, the one with input first.
    pub(super) fn take_conns(&mut self) -> [Option<ConnId>; 2] {
        [self.input.take(), self.offered.take()]
    }

    /// Takes the remaining work for the client whose callback panicked.
    pub(super) fn take_told(&mut self) -> Option<Told> {
        self.told.take()
    }
}
