//! Adding, stopping and removing clients.

use super::clients::ClientState;
use super::config::ClientConfig;
use super::event::StopReason;
use super::target::Client;
use crate::error::Error;
use crate::event_loop::context::Context;
use crate::event_loop::core::EventLoop;
use crate::event_loop::endpoint::Endpoint;
use crate::event_loop::token::{ClientId, ConnId};
use crate::proto::time::Micros;
use crate::sys::{Asker, System};

impl<D, S: System> EventLoop<D, S> {
    /// Adds a client, to be dialed in the next turn. In a drain, it is told that it is stopped,
    /// unless it is added when clients hear that in the drain's last turn.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with the field that makes no sense.
    pub fn connect(&mut self, config: ClientConfig) -> Result<ClientId, Error> {
        self.progress.spoil_plan();
        #[cfg(feature = "websocket")]
        config.check_request()?;
        let endpoint = Endpoint::Client(self.clients.next_id());
        let policy = self.adopt(&config.heartbeat, &config.limits, &config.wire, endpoint)?;
        let due = self.read_clock();
        let client = Client::new(config, policy, due).inspect_err(|_| self.env.release(policy))?;
        if !self.sleep.is_watched() {
            self.system
                .watch_for_sleep()
                .inspect_err(|_| self.env.release(policy))
                .map_err(Error::Register)?;
            self.sleep.watch();
        }
        let id = self.clients.insert(client, due);
        if self.drain.is_some() {
            self.stop_dialing(id, StopReason::Drain);
        }
        Ok(id)
    }

    /// Puts a client on the list of dials.
    pub(super) fn schedule_dial(&mut self, id: ClientId, delay: Micros) {
        let due = self.read_clock() + delay;
        self.clients.enter(id, ClientState::Waiting(due));
    }

    /// Removes a client from the list of dials for good. Its connection stays.
    pub(in crate::event_loop) fn stop_dialing(&mut self, id: ClientId, why: StopReason) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        client.stop.get_or_insert(why);
        client.config.reconnect = None;
        client.config.follow = 0;
        client.addrs.clear();
        match self.clients.state(id) {
            Some(ClientState::LookingUp(_)) => {
                self.system
                    .forget_name(self.clients[id].host(), Asker(id.0));
                self.clients.enter(id, ClientState::Stopped);
            }
            Some(
                ClientState::Waiting(_)
                | ClientState::PutOff(_)
                | ClientState::Dialing
                | ClientState::Queued(_),
            ) => {
                self.clients.enter(id, ClientState::Stopped);
            }
            Some(ClientState::Active(_) | ClientState::Stopped) | None => {}
        }
    }

    /// Has the handler asked again about a client that it put off. Returns whether it was.
    pub(in crate::event_loop) fn dial_after_all(&mut self, id: ClientId) -> bool {
        let is_put_off = matches!(self.clients.state(id), Some(ClientState::PutOff(_)));
        if is_put_off {
            self.schedule_dial(id, Micros::ZERO);
        }
        is_put_off
    }

    /// Stops a client. Returns its connection.
    pub(in crate::event_loop) fn disconnect(&mut self, id: ClientId) -> Option<ConnId> {
        self.stop_dialing(id, StopReason::Asked);
        match self.clients.state(id)? {
            ClientState::Active(conn) => Some(conn),
            ClientState::Waiting(_)
            | ClientState::PutOff(_)
            | ClientState::LookingUp(_)
            | ClientState::Dialing
            | ClientState::Queued(_)
            | ClientState::Stopped => None,
        }
    }

    /// After the machine has slept, tests at once which clients still have a peer: connected ones
    /// send a ping, and waiting ones dial without the delays that had added up.
    pub(in crate::event_loop) fn wake_from_sleep(&mut self, span: Micros) {
        log::info!("the machine slept for {span:?}: every client now pings its server or dials");
        self.env.stats.sleeps += 1;
        for id in self.clients.ids() {
            let Some(client) = self.clients.get_mut(id) else {
                continue;
            };
            client.handle_sleep(self.now.at);
            match self.clients.state(id) {
                Some(ClientState::Waiting(_)) => {
                    let random = self.env.random();
                    let delay = self.clients[id].backoff.next_delay(random);
                    self.schedule_dial(id, delay);
                }
                Some(ClientState::Active(conn)) => self.probe(conn),
                // The time that it may take begins now.
                Some(ClientState::PutOff(_)) => {
                    let ends = self.clients[id].gives_up();
                    self.clients.enter(id, ClientState::PutOff(ends));
                }
                Some(ClientState::Queued(_)) => {
                    let ends = self.clients[id].gives_up();
                    self.clients.enter(id, ClientState::Queued(ends));
                }
                Some(ClientState::LookingUp(_) | ClientState::Dialing | ClientState::Stopped)
                | None => {}
            }
        }
    }

    fn probe(&mut self, id: ConnId) {
        Context::new(self).ping(id);
    }
}
