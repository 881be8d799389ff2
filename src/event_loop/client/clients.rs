//! All clients of a loop.

use std::collections::HashMap;
use std::ops::{Index, IndexMut};

use super::target::Client;
use crate::event_loop::token::ClientId;

/// All clients by name. Names are never given twice, so a stale one finds nothing, and a client that
/// has stopped is forgotten.
#[derive(Debug, Default)]
pub(in crate::event_loop) struct Clients {
    by_id: HashMap<ClientId, Client>,
    last: u32,
}

impl Clients {
    pub(in crate::event_loop) fn insert(&mut self, client: Client) -> ClientId {
        self.last = self
            .last
            .checked_add(1)
            .expect("clients are fewer than 2^32");
        let id = ClientId(self.last);
        self.by_id.insert(id, client);
        id
    }

    pub(in crate::event_loop) fn remove(&mut self, id: ClientId) -> Option<Client> {
        self.by_id.remove(&id)
    }

    pub(in crate::event_loop) fn get(&self, id: ClientId) -> Option<&Client> {
        self.by_id.get(&id)
    }

    pub(in crate::event_loop) fn get_mut(&mut self, id: ClientId) -> Option<&mut Client> {
        self.by_id.get_mut(&id)
    }

    pub(in crate::event_loop) fn ids(&self) -> Vec<ClientId> {
        // In their order, so that a seed gives the same run each time.
        let mut ids: Vec<_> = self.by_id.keys().copied().collect();
        ids.sort_unstable();
        ids
    }
}

/// A client that has a connection, or is about to, is there.
impl Index<ClientId> for Clients {
    type Output = Client;

    fn index(&self, id: ClientId) -> &Client {
        self.get(id)
            .expect("a client lives as long as its connection")
    }
}

impl IndexMut<ClientId> for Clients {
    fn index_mut(&mut self, id: ClientId) -> &mut Client {
        self.get_mut(id)
            .expect("a client lives as long as its connection")
    }
}
