//! Foreign sources: other sources of the embedder in the same poll.

use std::io;

use mio::Interest;
use mio::event::Source;

use super::Reactor;
use crate::error::Error;
use crate::event_loop::{Context, EventLoop, SourceId};
use crate::sys::Native;

impl<D, C> Reactor<D, C> {
    /// Registers a foreign source, edge-triggered. [`Handler::on_source`] is called when it is
    /// ready.
    ///
    /// ```
    /// use heartwheel::mio::{Interest, net::UdpSocket};
    /// use heartwheel::{Reactor, ReactorConfig};
    ///
    /// let mut reactor: Reactor = Reactor::new(ReactorConfig::default())?;
    /// let mut socket = UdpSocket::bind(([127, 0, 0, 1], 0).into())?;
    /// let id = reactor.register(&mut socket, Interest::READABLE)?;
    /// reactor.context().deregister(&mut socket, id)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Register`] with the selector's error.
    ///
    /// [`Handler::on_source`]: crate::event_loop::Handler::on_source
    pub fn register(
        &mut self,
        source: &mut impl Source,
        interest: Interest,
    ) -> Result<SourceId, Error> {
        register(&mut self.core, source, interest)
    }
}

impl<D> Context<'_, D, Native> {
    /// Registers a foreign source, edge-triggered.
    /// [`on_source`](crate::event_loop::Handler::on_source) is called when it is ready.
    ///
    /// # Errors
    ///
    /// [`Error::Register`] with the selector's error.
    pub fn register(
        &mut self,
        source: &mut impl Source,
        interest: Interest,
    ) -> Result<SourceId, Error> {
        register(self.event_loop(), source, interest)
    }

    /// Removes a foreign source. Its id is the one from [`register`](Self::register). `on_source`
    /// is not called for it again, not even in this turn.
    ///
    /// # Errors
    ///
    /// [`Error::Register`] with the selector's error. The kind is
    /// [`NotFound`](io::ErrorKind::NotFound) if no source has this id; nothing has changed then.
    pub fn deregister(&mut self, source: &mut impl Source, id: SourceId) -> Result<(), Error> {
        if !self.event_loop().has_source(id) {
            let words = "no source has this id";
            return Err(Error::Register(io::Error::new(
                io::ErrorKind::NotFound,
                words,
            )));
        }
        let registry = self.event_loop().system.registry();
        registry.deregister(source).map_err(Error::Register)?;
        self.event_loop().remove_source(id);
        Ok(())
    }
}

fn register<D>(
    event_loop: &mut EventLoop<D, Native>,
    source: &mut impl Source,
    interest: Interest,
) -> Result<SourceId, Error> {
    let (id, token) = event_loop.add_source();
    let registry = event_loop.system.registry();
    let registered = registry.register(source, token.into(), interest);
    registered.map_err(|error| {
        event_loop.remove_source(id);
        Error::Register(error)
    })?;
    Ok(id)
}
