//! What a process's targets are up to, and what the model expects of them.

use heartwheel::close::{Cause, CloseCode};
use heartwheel::proto::time::Micros;
use heartwheel::reactor::{ClientConfig, ClientId, ReconnectConfig};

use super::system::target_address;
use super::{Program, Target};
use crate::model::Redial;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Active,
    Stopped,
}

/// One target.
#[derive(Debug)]
struct Client {
    id: Option<ClientId>,
    state: State,
    model: Redial,
    /// Why its last connection ended.
    ended: Option<Cause>,
}

/// All targets of a process.
#[derive(Debug)]
pub(crate) struct Clients(Vec<Client>);

impl Clients {
    pub(super) fn new(program: &Program, now: Micros) -> Self {
        let client = |target: &Target| Client {
            id: None,
            state: State::Stopped,
            model: Redial::new(target.backoff, now),
            ended: None,
        };
        Self(program.targets.iter().map(client).collect())
    }

    /// Lists those that are not dialed any more, and wants them to be dialed at once.
    pub(super) fn wake_stopped(&mut self, now: Micros) -> Vec<usize> {
        let mut woken = Vec::new();
        for (number, client) in self.0.iter_mut().enumerate() {
            if client.state == State::Stopped {
                client.model.handle_wanted(now);
                client.state = State::Waiting;
                woken.push(number);
            }
        }
        woken
    }

    /// Notes under which name, and by when, the loop has taken one in.
    pub(super) fn handle_added(&mut self, number: usize, id: ClientId, now: Micros) {
        self.0[number].id = Some(id);
        self.0[number].model.handle_told(now);
    }

    /// Notes that the loop has begun to turn, with what it was told before.
    pub(super) fn handle_begun(&mut self, now: Micros) {
        for client in &mut self.0 {
            client.model.handle_told(now);
        }
    }

    pub(super) fn handle_open(&mut self, id: ClientId, now: Micros) {
        self.of(id).model.handle_open(now);
    }

    /// Notes why a connection ended.
    pub(super) fn handle_ended(
        &mut self,
        id: ClientId,
        now: Micros,
        cause: Cause,
        code: Option<CloseCode>,
    ) {
        let client = self.of(id);
        client.ended = Some(cause);
        let code = code.filter(|_| cause == Cause::PeerClosed);
        client.model.handle_code(code.map_or(0, CloseCode::as_u16));
        client.model.handle_close(now);
    }

    /// Notes a dial; returns the share of its wait, as the model has it.
    pub(super) fn handle_dial(&mut self, id: ClientId, now: Micros, late: Micros) -> Option<u64> {
        let client = self.of(id);
        client.state = State::Active;
        client.model.handle_dial(now, late)
    }

    /// Notes that it waits to be dialed again, or not any more, which has few reasons.
    pub(super) fn handle_end(&mut self, id: ClientId, now: Micros, again: bool, is_draining: bool) {
        let client = self.of(id);
        client.model.handle_end(now, again);
        client.state = if again {
            State::Waiting
        } else {
            State::Stopped
        };
        let is_final = matches!(client.ended, Some(Cause::LocalClose | Cause::Drain));
        assert!(
            is_draining || again != is_final,
            "dials again: {again}, after {:?}",
            client.ended
        );
    }

    pub(super) fn handle_sleep(&mut self, now: Micros) {
        for client in &mut self.0 {
            let is_waiting = client.state == State::Waiting;
            client.model.handle_sleep(now, is_waiting);
        }
    }

    pub(super) fn number(&self, id: ClientId) -> usize {
        let place = self.0.iter().position(|client| client.id == Some(id));
        place.expect("it is one of ours")
    }

    fn of(&mut self, id: ClientId) -> &mut Client {
        let number = self.number(id);
        &mut self.0[number]
    }
}

/// Returns how the loop is told of a target.
pub(super) fn config(number: usize, target: &Target) -> ClientConfig {
    let addr = target_address(number);
    ClientConfig {
        heartbeat: target.terms.heartbeat.clone(),
        limits: target.terms.limits.clone(),
        reconnect: Some(ReconnectConfig {
            min: target.backoff.min.into(),
            base: target.backoff.base.into(),
            cap: target.backoff.cap.into(),
            stable: target.backoff.stable.into(),
            ..ReconnectConfig::default()
        }),
        ..ClientConfig::new(addr.ip().to_string(), addr.port(), target.terms.wire())
    }
}
