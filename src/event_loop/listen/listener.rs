//! Listening sockets: what they offer, and how they pause when descriptors run out.

use std::net::SocketAddr;

use super::admission::Admission;
use crate::event_loop::wire_factory::WireFactory;
#[cfg(feature = "websocket")]
use crate::proto::http::Visitors;
use crate::proto::session::PolicyId;
use crate::proto::time::Micros;

/// A listening socket.
#[derive(Debug)]
pub(in crate::event_loop) struct Listener<L> {
    pub(in crate::event_loop) socket: L,
    pub(in crate::event_loop) addr: SocketAddr,
    pub(in crate::event_loop) wire: WireFactory,
    pub(in crate::event_loop) policy: PolicyId,
    pub(in crate::event_loop) admission: Admission,
    #[cfg(feature = "websocket")]
    pub(in crate::event_loop) visitors: Visitors,
    /// Connections may wait to be accepted.
    pub(in crate::event_loop) ready: bool,
    /// Accepting rests until then, because no socket could be had.
    pub(in crate::event_loop) paused_until: Option<Micros>,
    /// When there was last no room for somebody who came.
    pub(in crate::event_loop) shortage: Option<Micros>,
}
