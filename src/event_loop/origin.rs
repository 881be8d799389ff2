//! Where a connection comes from: a listener of ours, or a client.

use super::token::{ClientId, ListenerId};

/// Where a connection came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Accepted by a listener.
    Listener(ListenerId),
    /// Dialed by a client.
    Client(ClientId),
}

/// An [`Origin`] in four bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct PackedOrigin(u32);

impl From<Origin> for PackedOrigin {
    fn from(origin: Origin) -> Self {
        let (kind, id) = match origin {
            Origin::Listener(ListenerId(id)) => (0, id),
            Origin::Client(ClientId(id)) => (CLIENT, id),
        };
        assert!(id < CLIENT, "listeners and clients are few");
        Self(kind | id)
    }
}

impl From<PackedOrigin> for Origin {
    fn from(PackedOrigin(packed): PackedOrigin) -> Self {
        match packed & CLIENT {
            0 => Self::Listener(ListenerId(packed)),
            _ => Self::Client(ClientId(packed & !CLIENT)),
        }
    }
}

/// Marks a client's number.
const CLIENT: u32 = 1 << 31;
