//! All clients of a loop, and what each of them waits for.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::{Index, IndexMut};

use super::lanes::Lanes;
use super::target::Client;
use crate::event_loop::token::{ClientId, ConnId, Numbers};
use crate::proto::time::Micros;

/// All clients by id. A stale id finds nothing, and a client that has stopped is forgotten.
///
/// Invariant: who waits for something is in its state and on its list, or neither. Only
/// [`enter`](Self::enter) changes states.
#[derive(Debug, Default)]
pub(in crate::event_loop) struct Clients {
    by_id: HashMap<ClientId, Entry>,
    numbers: Numbers,
    /// Those that are [`ClientState::Waiting`], soonest first.
    dials: BTreeSet<(Micros, ClientId)>,
    /// Those that are [`ClientState::LookingUp`], the earliest to give up first.
    look_ups: BTreeSet<(Micros, ClientId)>,
    /// Those that wait for something else, but not for ever; the first to give up first.
    limited: BTreeSet<(Micros, ClientId)>,
    /// Those that are [`ClientState::Stopped`] and have not been told yet.
    stopped: VecDeque<ClientId>,
    /// Those that have lost messages and have not been told yet.
    losses: VecDeque<ClientId>,
    /// Bytes of messages that are kept for clients without an open connection.
    pub(in crate::event_loop) kept: usize,
    /// Opening handshakes, one at a time for each address.
    pub(in crate::event_loop) lanes: Lanes,
    /// Names may have been found for which no further wake-up will come.
    pub(in crate::event_loop) may_have_found: bool,
}

#[derive(Debug)]
struct Entry {
    client: Client,
    state: ClientState,
    /// It is among those that have lost messages.
    has_loss: bool,
}

/// How far a client has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::event_loop) enum ClientState {
    /// Due to be dialed at this time.
    Waiting(Micros),
    /// Its name is being looked up, until this time at most.
    LookingUp(Micros),
    /// The handler does not want it dialed yet; it gives up at this time.
    PutOff(Micros),
    /// Its next address is about to be dialed or looked up.
    Dialing,
    /// It waits until another handshake with its address has ended, until this time at most.
    Queued(Micros),
    /// It has a connection, open or not.
    Active(ConnId),
    /// It will not be dialed again.
    Stopped,
}

impl Clients {
    /// Adds a client, to be dialed at this time.
    pub(in crate::event_loop) fn next_id(&self) -> ClientId {
        let is_taken = |number| self.by_id.contains_key(&ClientId(number));
        ClientId(self.numbers.next(is_taken))
    }

    pub(in crate::event_loop) fn insert(&mut self, client: Client, due: Micros) -> ClientId {
        let id = self.next_id();
        self.numbers.give(id.0);
        let state = ClientState::Dialing;
        let entry = Entry {
            client,
            state,
            has_loss: false,
        };
        self.by_id.insert(id, entry);
        self.enter(id, ClientState::Waiting(due));
        id
    }

    /// Forgets a client.
    pub(in crate::event_loop) fn remove(&mut self, id: ClientId) -> Option<Client> {
        self.enter(id, ClientState::Dialing);
        self.by_id.remove(&id).map(|entry| entry.client)
    }

    pub(in crate::event_loop) fn get(&self, id: ClientId) -> Option<&Client> {
        self.by_id.get(&id).map(|entry| &entry.client)
    }

    pub(in crate::event_loop) fn get_mut(&mut self, id: ClientId) -> Option<&mut Client> {
        self.by_id.get_mut(&id).map(|entry| &mut entry.client)
    }

    pub(in crate::event_loop) fn ids(&self) -> Vec<ClientId> {
        // In their order, so that a seed gives the same run each time.
        let mut ids: Vec<_> = self.by_id.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// Returns the state of a client.
    pub(in crate::event_loop) fn state(&self, id: ClientId) -> Option<ClientState> {
        self.by_id.get(&id).map(|entry| entry.state)
    }

    /// Says whether a client is in this state.
    pub(super) fn is(&self, id: ClientId, state: ClientState) -> bool {
        self.state(id) == Some(state)
    }

    /// Changes the state of a client, and the lists with it.
    pub(super) fn enter(&mut self, id: ClientId, state: ClientState) {
        let Some(entry) = self.by_id.get_mut(&id) else {
            return;
        };
        match std::mem::replace(&mut entry.state, state) {
            ClientState::Waiting(due) => drop(self.dials.remove(&(due, id))),
            ClientState::LookingUp(ends) => drop(self.look_ups.remove(&(ends, id))),
            ClientState::PutOff(ends) | ClientState::Queued(ends) => {
                self.limited.remove(&(ends, id));
            }
            ClientState::Stopped => self.forget_stopped(id),
            ClientState::Dialing | ClientState::Active(_) => {}
        }
        match state {
            ClientState::Waiting(due) => drop(self.dials.insert((due, id))),
            ClientState::LookingUp(ends) => drop(self.look_ups.insert((ends, id))),
            ClientState::PutOff(ends) | ClientState::Queued(ends) if ends < Micros::MAX => {
                self.limited.insert((ends, id));
            }
            ClientState::Stopped => self.stopped.push_back(id),
            ClientState::PutOff(_)
            | ClientState::Dialing
            | ClientState::Queued(_)
            | ClientState::Active(_) => {}
        }
    }

    /// Returns the first that waits to be dialed, and when it is due.
    pub(in crate::event_loop) fn first_dial(&self) -> Option<(Micros, ClientId)> {
        self.dials.first().copied()
    }

    /// Returns the first that gives its look-up up, and when.
    pub(super) fn first_look_up(&self) -> Option<(Micros, ClientId)> {
        self.look_ups.first().copied()
    }

    /// Returns the first that waits for something else and gives that up, and when.
    pub(in crate::event_loop) fn first_limited(&self) -> Option<(Micros, ClientId)> {
        self.limited.first().copied()
    }

    fn forget_stopped(&mut self, id: ClientId) {
        if self.stopped.front() == Some(&id) {
            self.stopped.pop_front();
        } else {
            self.stopped.retain(|&stopped| stopped != id);
        }
    }

    /// Returns the first of those that have stopped and have not been told yet.
    pub(super) fn first_stopped(&self) -> Option<ClientId> {
        self.stopped.front().copied()
    }

    /// Returns how many have stopped and have not been told yet.
    pub(super) fn stopped(&self) -> usize {
        self.stopped.len()
    }

    /// Notes that a client has lost messages.
    pub(super) fn note_loss(&mut self, id: ClientId) {
        if let Some(entry) = self.by_id.get_mut(&id)
            && !std::mem::replace(&mut entry.has_loss, true)
        {
            self.losses.push_back(id);
        }
    }

    /// Removes one of the clients that have lost messages and have not been told yet.
    pub(super) fn next_loss(&mut self) -> Option<ClientId> {
        let id = self.losses.pop_front()?;
        if let Some(entry) = self.by_id.get_mut(&id) {
            entry.has_loss = false;
        }
        Some(id)
    }

    /// Returns how many have lost messages and have not been told yet.
    pub(super) fn losses(&self) -> usize {
        self.losses.len()
    }

    /// Says whether clients have stopped and have not been told yet.
    fn has_stopped(&self) -> bool {
        !self.stopped.is_empty()
    }

    /// Says whether clients have nothing to do, now or at a certain time, other than at an event.
    pub(in crate::event_loop) fn are_quiet(&self) -> bool {
        self.dials.is_empty()
            && self.look_ups.is_empty()
            && self.limited.is_empty()
            && !self.have_work()
    }

    /// Says whether clients have work other than at a certain time.
    pub(in crate::event_loop) fn have_work(&self) -> bool {
        self.has_stopped()
            || self.lanes.has_ready()
            || self.may_have_found
            || !self.losses.is_empty()
    }

    #[cfg(test)]
    pub(super) fn look_ups(&self) -> usize {
        self.look_ups.len()
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
