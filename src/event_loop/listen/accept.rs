//! Accepting connections, within a budget, with pauses while descriptors are short.

use std::io;

use super::adoption::Arrival;
use super::guests::Guests;
use super::refusal::Refusal;
use crate::event_loop::core::EventLoop;
use crate::event_loop::endpoint::Endpoint;
use crate::event_loop::handler::Handler;
use crate::event_loop::token::ListenerId;
use crate::peer::PeerAddr;
use crate::proto::time::Micros;
use crate::proto::wire::Role;
use crate::sys::{MORE_DESCRIPTORS, System, Transport, lacks_descriptors};

impl<D: Default, S: System> EventLoop<D, S> {
    /// Accepts on every listener on which connections may wait.
    pub(in crate::event_loop) fn accept_ready<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
    ) {
        let mut behind = None;
        while let Some(id) = self.listeners.next_ready(behind, self.now.at) {
            self.accept_from(handler, id);
            behind = Some(id);
        }
    }

    /// Returns how many connections one listener may accept in this turn. If the last turn could
    /// not reap all ended connections, it is half of what that turn reaped. Each new connection may
    /// end another one, and an ended connection keeps its memory until it is reaped.
    fn accept_budget(&self) -> usize {
        let budget = self.config.accept_budget;
        if self.doomed.is_empty() {
            return budget;
        }
        let share = self.progress.reaped() / 2 / self.listeners.len();
        share.clamp(1, budget)
    }

    fn accept_from<C, H: Handler<C, S, Data = D>>(&mut self, handler: &mut H, id: ListenerId) {
        let room = self.room();
        let share = ACCEPTING_SLICE.as_micros() / self.listeners.len().max(1) as u64;
        let ends = self.progress.slice(self.now.at, Micros::new(share));
        for count in 0..self.accept_budget() {
            if count > 0 && self.now.at >= ends {
                return;
            }
            let Some(listener) = self.listeners.get(id) else {
                // Closed by a callback.
                return;
            };
            if listener.takes_guests() && self.guests.len() >= Guests::MOST {
                // The next turn has let go of some.
                return;
            }
            let Some(socket) = listener.socket() else {
                return;
            };
            match self.system.accept(socket) {
                Ok((socket, peer)) => {
                    self.admit(handler, id, Arrival::new(socket, peer), room);
                    self.refresh_now();
                }
                Err(error) if error.raw_os_error().is_some_and(lacks_descriptors) => {
                    // Linux says so before it looks whether anybody waits.
                    if let Err(error) = self.refuse_by_reserve(handler, id, error)
                        && !self.goes_on_after(id, &error)
                    {
                        return;
                    }
                }
                Err(error) => {
                    if !self.goes_on_after(id, &error) {
                        return;
                    }
                }
            }
        }
    }

    /// Says whether accepting may continue after this error.
    fn goes_on_after(&mut self, id: ListenerId, error: &io::Error) -> bool {
        let now = self.now.at;
        let Some(listener) = self.listeners.get_mut(id) else {
            return false;
        };
        match error.kind() {
            // The peer was gone before we came: nothing is wrong with the listener.
            io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => true,
            io::ErrorKind::WouldBlock => {
                listener.note_drained();
                false
            }
            _ => {
                // Rests instead of spinning.
                listener.pause(now + ACCEPT_PAUSE);
                self.note_shortage(id, format_args!("{error}"));
                false
            }
        }
    }

    /// Accepts a connection with the reserved descriptor, only to refuse it with an answer.
    fn refuse_by_reserve<C, H: Handler<C, S, Data = D>>(
        &mut self,
        handler: &mut H,
        id: ListenerId,
        error: io::Error,
    ) -> io::Result<()> {
        self.look_at_calendar();
        let Some((listener, socket)) = self
            .listeners
            .get(id)
            .and_then(|listener| Some((listener, listener.socket()?)))
        else {
            return Err(error);
        };
        let refused = self.group.with_reserve(|| -> io::Result<PeerAddr> {
            let (mut socket, peer) = self.system.accept(socket)?;
            let mut layer = self.system.layer(Role::Server, listener.seal())?;
            let transport = Transport {
                socket: &mut socket,
                layer: layer.as_mut(),
            };
            Refusal::Full.tell(transport, listener.wire().kind(), &mut self.env);
            Ok(peer)
        });
        let peer = match refused {
            Some(refused) => refused?,
            None => return Err(error),
        };
        self.note_shortage(id, format_args!("{error}; newcomers are refused"));
        self.env.stats.accepted += 1;
        let endpoint = Endpoint::Listener(id);
        self.report_refused(handler, peer, endpoint, Refusal::Full);
        Ok(())
    }

    /// Notes that there is no place for a new connection. There is one log line for each episode,
    /// for all listeners and loops together, even if places are free for a moment.
    pub(super) fn note_shortage(&mut self, id: ListenerId, what: std::fmt::Arguments<'_>) {
        let now = self.now.at;
        let Some(listener) = self.listeners.get_mut(id) else {
            return;
        };
        if listener.note_shortage(now) {
            self.env.stats.accept_pauses += 1;
        }
        if self.group.note_shortage(now) {
            log::warn!(
                "accepting on {} pauses: {what}; {}, or max_connections",
                listener.name(),
                MORE_DESCRIPTORS
            );
        }
    }
}

impl<D, S: System> EventLoop<D, S> {
    /// Returns how many connections there may be in the group.
    pub(super) fn room(&self) -> usize {
        let guests = match self.listeners.take_guests() {
            true => Guests::MOST * self.group.loops(),
            false => 0,
        };
        let descriptors = self.system.descriptors();
        let descriptors = descriptors.map(|limit| limit.saturating_sub(guests));
        self.group.room(self.config.max_connections, descriptors)
    }
}

/// Time in one turn for accepting, on all listeners together.
const ACCEPTING_SLICE: Micros = Micros::from_millis(2);

/// How long accepting pauses when there are no descriptors and no connection ends.
const ACCEPT_PAUSE: Micros = Micros::from_millis(100);

#[cfg(test)]
mod tests {
    use crate::config::ReactorConfig;
    use crate::event_loop::conn::Mark;
    use crate::proto::flags::Flags;
    use crate::reactor::{ListenerConfig, Reactor, WireFactory};

    /// What has ended and is not reaped yet still holds its memory.
    #[test]
    fn no_more_come_than_the_turns_can_let_go_of() {
        let mut reactor = Reactor::<()>::new(ReactorConfig::default()).expect("a selector");
        let config = |wire| ListenerConfig::new(([127, 0, 0, 1], 0).into(), wire);
        reactor
            .listen(config(WireFactory::Line))
            .expect("a free port");
        let core = &mut reactor.core;
        assert_eq!(core.accept_budget(), core.config.accept_budget);
        core.doomed.push(&mut Flags::NONE.with(Mark::Counted), 0);
        for (reaped, budget) in [(0, 1), (20, 10), (10_000, core.config.accept_budget)] {
            core.progress.end_reaping(reaped);
            assert_eq!(core.accept_budget(), budget, "{reaped} were reaped");
        }
        reactor
            .listen(config(WireFactory::Raw))
            .expect("a free port");
        reactor.core.progress.end_reaping(20);
        assert_eq!(reactor.core.accept_budget(), 5);
    }
}
