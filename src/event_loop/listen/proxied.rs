//! What is to be remembered of connections that a proxy passes on.

use std::collections::HashMap;
#[cfg(feature = "websocket")]
use std::collections::HashSet;

use crate::close::Cause;
#[cfg(feature = "websocket")]
use crate::peer::PeerAddr;
use crate::proto::proxy_header::ProxyHeader;

/// What is to be remembered of connections that a proxy passes on, by their slots. Of an open connection
/// that is nothing: the address of its client has taken the proxy's place.
#[derive(Debug, Default)]
pub(in crate::event_loop) struct Proxied {
    /// Headers that are awaited.
    headers: HashMap<usize, ProxyHeader>,
    /// Where requests come from whose fields name a client. The next request may name another one.
    #[cfg(feature = "websocket")]
    senders: HashMap<usize, PeerAddr>,
    /// Those whose header says that a client sends the requests, and not which.
    #[cfg(feature = "websocket")]
    unknown: HashSet<usize>,
}

impl Proxied {
    /// Notes that a connection begins with a header.
    pub(super) fn expect(&mut self, key: usize) {
        self.headers.insert(key, ProxyHeader::default());
    }

    /// Keeps what has come of one, for the rest of it.
    pub(super) fn keep(&mut self, key: usize, header: ProxyHeader) {
        self.headers.insert(key, header);
    }

    /// Notes where a request comes from that names a client.
    #[cfg(feature = "websocket")]
    pub(super) fn keep_sender(&mut self, key: usize, sender: PeerAddr) {
        self.senders.insert(key, sender);
    }

    /// Notes that a client sends the requests of a connection whom its header does not name.
    #[cfg(feature = "websocket")]
    pub(super) fn keep_unknown(&mut self, key: usize) {
        self.unknown.insert(key);
    }

    /// Says whether that is so.
    #[cfg(feature = "websocket")]
    pub(super) fn is_unknown(&self, key: usize) -> bool {
        self.unknown.contains(&key)
    }

    /// Returns where the last request of a connection came from, if it named a client.
    #[cfg(feature = "websocket")]
    pub(super) fn sender(&self, key: usize) -> Option<PeerAddr> {
        self.senders.get(&key).cloned()
    }

    /// Says whether the header of a connection has yet to come.
    pub(in crate::event_loop) fn awaits_header(&self, key: usize) -> bool {
        // Each opening asks, and where there are no proxies nobody waits.
        !self.headers.is_empty() && self.headers.contains_key(&key)
    }

    pub(super) fn take(&mut self, key: usize) -> Option<ProxyHeader> {
        let header = self.headers.remove(&key);
        if self.headers.is_empty() {
            self.headers.shrink_to(FEW);
        }
        header
    }

    /// Forgets a connection that ends. Returns why, if it ends for want of its header.
    pub(in crate::event_loop) fn forget(
        &mut self,
        key: usize,
        cause: Cause,
    ) -> Option<&'static str> {
        #[cfg(feature = "websocket")]
        self.settle(key);
        if self.headers.is_empty() {
            return None;
        }
        let header = self.take(key)?;
        let blames_peer = matches!(cause, Cause::HandshakeTimeout | Cause::PeerEof);
        blames_peer.then_some(match header.is_empty() {
            true => "no header of the proxy protocol came",
            false => "the header of the proxy protocol is not whole",
        })
    }

    /// Forgets where the requests of a connection came from: no other one follows.
    #[cfg(feature = "websocket")]
    pub(in crate::event_loop) fn settle(&mut self, key: usize) {
        if !self.senders.is_empty() {
            self.senders.remove(&key);
            if self.senders.is_empty() {
                self.senders.shrink_to(FEW);
            }
        }
        if self.unknown.remove(&key) && self.unknown.is_empty() {
            self.unknown.shrink_to(FEW);
        }
    }
}

/// Room that is kept while nothing is to be remembered.
const FEW: usize = 64;
