//! Our end of a connection: a listener, or a client.

use super::token::{ClientId, ListenerId};

/// Our end of a connection: what accepted or dialed it. Not to be confused with the HTTP header `Origin`.
///
/// ```
/// use heartwheel::reactor::{Closed, Endpoint};
///
/// fn ended<D>(closed: &Closed<'_, D>) {
///     match closed.endpoint {
///         Endpoint::Listener(id) => println!("{} left {id:?}", closed.peer),
///         Endpoint::Client(id) => println!("{id:?} lost {}", closed.peer),
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Accepted by a listener.
    Listener(ListenerId),
    /// Dialed by a client.
    Client(ClientId),
}

impl From<ListenerId> for Endpoint {
    fn from(id: ListenerId) -> Self {
        Self::Listener(id)
    }
}

/// An [`Endpoint`] in four bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct PackedEndpoint(u32);

impl From<Endpoint> for PackedEndpoint {
    fn from(endpoint: Endpoint) -> Self {
        let (kind, id) = match endpoint {
            Endpoint::Listener(ListenerId(id)) => (0, id),
            Endpoint::Client(ClientId(id)) => (CLIENT, id),
        };
        assert!(id < CLIENT, "listeners and clients are few");
        Self(kind | id)
    }
}

impl From<PackedEndpoint> for Endpoint {
    fn from(PackedEndpoint(packed): PackedEndpoint) -> Self {
        match packed & CLIENT {
            0 => Self::Listener(ListenerId(packed)),
            _ => Self::Client(ClientId(packed & !CLIENT)),
        }
    }
}

/// Marks a client's number.
const CLIENT: u32 = 1 << 31;
