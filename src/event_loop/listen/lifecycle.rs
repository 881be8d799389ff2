//! Opening, changing and closing listeners, at any time.

use super::admission::Admission;
use super::config::ListenerConfig;
use super::listener::{Listener, Place, Terms};
use super::proxies::Proxies;
use crate::error::{ConfigError, Error};
use crate::event_loop::core::EventLoop;
use crate::event_loop::endpoint::Endpoint;
use crate::event_loop::token::{ListenerId, Target};
#[cfg(feature = "websocket")]
use crate::proto::http::Visitors;
use crate::sys::{ListenAddr, Seal, SocketOptions, System};

impl<D, S: System> EventLoop<D, S> {
    /// Opens a listening socket.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with the field that makes no sense. [`Error::Listen`] if the kernel
    /// refuses the address.
    pub fn listen(&mut self, mut config: ListenerConfig) -> Result<ListenerId, Error> {
        self.progress.spoil_plan();
        let (addr, options) = (config.addr.take(), config.socket.clone());
        ListenAddr::check(addr.as_ref(), &options)?;
        let id = self.listeners.next_id();
        let terms = self.terms(id, config)?;
        let place = match addr {
            Some(addr) => {
                let opened = self.open(id, addr, &options);
                Some(opened.inspect_err(|_| self.env.release(terms.policy))?)
            }
            None => None,
        };
        let listener = Listener::new(place, options, terms);
        self.listeners.insert(id, listener);
        self.group.arrivals().rates.join(id);
        self.group.set_aside();
        Ok(id)
    }

    /// Closes a listening socket at once. Returns whether there was one with this id. See
    /// [`Context::close_listener`](crate::event_loop::Context::close_listener).
    pub fn close_listener(&mut self, id: ListenerId) -> bool {
        self.progress.spoil_plan();
        let Some(policy) = self.listeners.close(id) else {
            return false;
        };
        self.env.release(policy);
        self.group.arrivals().rates.leave(id);
        true
    }

    /// Changes a listener for later connections. Returns whether there is a listener with this id.
    /// See [`Context::set_listener`](crate::event_loop::Context::set_listener).
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with the field that makes no sense or cannot be changed. Nothing has
    /// changed then.
    pub fn set_listener(&mut self, id: ListenerId, config: ListenerConfig) -> Result<bool, Error> {
        self.progress.spoil_plan();
        let Some(listener) = self.listeners.get(id) else {
            return Ok(false);
        };
        listener.check_place(&config)?;
        let terms = self.terms(id, config)?;
        if let Some(listener) = self.listeners.get_mut(id) {
            let before = listener.set_terms(terms);
            self.env.release(before.policy);
        }
        Ok(true)
    }

    /// Parses the configuration for later connections, and becomes a user of its policy.
    fn terms(&mut self, id: ListenerId, config: ListenerConfig) -> Result<Terms, ConfigError> {
        let endpoint = Endpoint::Listener(id);
        let admission = Admission::try_from(&config.admission)?;
        let proxies = Proxies::new(&config.proxy, config.wire.kind())?;
        #[cfg(feature = "websocket")]
        let visitors = Visitors::try_from(&config.web)?;
        #[cfg(feature = "tls")]
        let seal = config.tls.map_or(Seal::None, Seal::Server);
        #[cfg(not(feature = "tls"))]
        let seal = Seal::None;
        let policy = self.adopt(&config.heartbeat, &config.limits, &config.wire, endpoint)?;
        #[cfg(feature = "websocket")]
        let takes_guests = config.answer_when_full && config.wire.kind().is_websocket();
        #[cfg(not(feature = "websocket"))]
        let takes_guests = false;
        Ok(Terms {
            wire: config.wire,
            policy,
            admission,
            proxies,
            seal,
            takes_guests,
            #[cfg(feature = "websocket")]
            visitors,
        })
    }

    fn open(
        &mut self,
        id: ListenerId,
        addr: ListenAddr,
        options: &SocketOptions,
    ) -> Result<Place<S::Listener>, Error> {
        let asked = addr.name();
        let opened = self.system.listen(addr, options);
        let (mut socket, addr) = opened.map_err(|source| Error::Listen {
            addr: asked.clone(),
            source,
        })?;
        self.system
            .register_listener(&mut socket, Target::Listener(id).token())
            .map_err(Error::Register)?;
        Ok(Place {
            socket,
            addr,
            asked,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::config::ReactorConfig;
    use crate::event_loop::Handler;
    use crate::reactor::{Group, Reactor, WireFactory};

    struct Nobody;

    impl Handler for Nobody {
        type Data = ();
    }

    fn config(seconds: u64) -> ListenerConfig {
        let mut config = ListenerConfig::new(([127, 0, 0, 1], 0).into(), WireFactory::Line);
        config.heartbeat.interval = Some(Duration::from_secs(seconds));
        config.heartbeat.timeout = Some(Duration::from_secs(3 * seconds));
        config
    }

    fn turn_until(reactor: &mut Reactor, until: impl Fn(&Reactor) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !until(reactor) {
            assert!(Instant::now() < deadline, "gave up: {:?}", reactor.stats());
            let limit = Some(Duration::from_millis(20));
            reactor
                .turn(&mut Nobody, limit)
                .expect("the selector works");
        }
    }

    #[test]
    fn f55_nothing_is_left_of_listeners_that_came_changed_and_went() {
        let group = Group::new();
        let mut reactor = Reactor::in_group(ReactorConfig::default(), &group).expect("a selector");
        let policies = |reactor: &Reactor| reactor.core.env.policy_count();
        let first = reactor.listen(config(10)).expect("a free port");
        let addr = reactor.local_addr(first).expect("it listens");
        let peer = TcpStream::connect(addr).expect("it listens");
        turn_until(&mut reactor, |reactor| reactor.len() == 1);
        for seconds in 11..50 {
            let is_there = reactor.context().set_listener(first, config(seconds));
            assert!(is_there.expect("a sound configuration"));
            assert_eq!(
                policies(&reactor),
                2,
                "the connection's, and the listener's"
            );
            let other = reactor.listen(config(seconds)).expect("a free port");
            let wrong = || ListenerConfig {
                addr: Some(addr.into()),
                ..config(100 + seconds)
            };
            assert!(reactor.listen(wrong()).is_err(), "the address is taken");
            let mut wrong = wrong();
            wrong.admission.share_per_address = Some(100);
            assert!(reactor.context().set_listener(first, wrong).is_err());
            assert!(reactor.context().close_listener(other));
            assert_eq!(policies(&reactor), 2);
        }
        assert!(reactor.context().close_listener(first));
        assert_eq!(policies(&reactor), 1, "the connection's");
        assert_eq!(reactor.core.listeners.closed(), 1);
        assert!(group.arrivals().rates.is_empty());
        drop(peer);
        turn_until(&mut reactor, |reactor| reactor.is_empty());
        assert_eq!(
            (policies(&reactor), reactor.core.listeners.closed()),
            (0, 0)
        );
        // A loop that goes lets go of those that it has.
        reactor.listen(config(10)).expect("a free port");
        assert!(!group.arrivals().rates.is_empty());
        drop(reactor);
        assert!(group.arrivals().rates.is_empty());
    }
}
