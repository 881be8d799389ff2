//! Headers of the PROXY protocol that have yet to come, or are not whole.

use std::collections::HashMap;

use crate::close::Cause;
use crate::proto::proxy_header::ProxyHeader;

/// Headers that are awaited, by the slot of their connection.
#[derive(Debug, Default)]
pub(in crate::event_loop) struct Headers(HashMap<usize, ProxyHeader>);

impl Headers {
    /// Notes that a connection begins with a header.
    pub(super) fn expect(&mut self, key: usize) {
        self.0.insert(key, ProxyHeader::default());
    }

    /// Keeps what has come of one, for the rest of it.
    pub(super) fn keep(&mut self, key: usize, header: ProxyHeader) {
        self.0.insert(key, header);
    }

    /// Says whether the header of a connection has yet to come.
    pub(in crate::event_loop) fn await_that_of(&self, key: usize) -> bool {
        // Each opening asks, and where there are no proxies nobody waits.
        !self.0.is_empty() && self.0.contains_key(&key)
    }

    pub(super) fn take(&mut self, key: usize) -> Option<ProxyHeader> {
        let header = self.0.remove(&key);
        if self.0.is_empty() {
            self.0.shrink_to(FEW);
        }
        header
    }

    /// Forgets a connection that ends. Returns why, if it ends for want of its header.
    pub(in crate::event_loop) fn forget(
        &mut self,
        key: usize,
        cause: Cause,
    ) -> Option<&'static str> {
        if self.0.is_empty() {
            return None;
        }
        let header = self.take(key)?;
        let blames_peer = matches!(cause, Cause::HandshakeTimeout | Cause::PeerEof);
        blames_peer.then_some(match header.is_empty() {
            true => "no header of the proxy protocol came",
            false => "the header of the proxy protocol is not whole",
        })
    }
}

/// Room for headers that is kept while none is awaited.
const FEW: usize = 64;
