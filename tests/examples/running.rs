//! An example on a thread of its own.

use std::net::SocketAddr;
use std::sync::mpsc::{Sender, channel};
use std::thread::{JoinHandle, spawn};

use heartwheel::LoopHandle;

/// A free port of loopback.
pub(crate) fn any() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// Runs until it is dropped.
pub(crate) struct Running<A, D = (), C = ()> {
    /// Where it listens.
    pub(crate) at: A,
    pub(crate) handle: LoopHandle<D, C>,
    thread: Option<JoinHandle<()>>,
}

impl<A, D, C> Running<A, D, C>
where
    A: Send + 'static,
    D: 'static,
    C: Send + 'static,
{
    /// Starts what serves, and tells once where.
    pub(crate) fn start(
        serve: impl FnOnce(Sender<(A, LoopHandle<D, C>)>) + Send + 'static,
    ) -> Self {
        let (sender, receiver) = channel();
        let thread = spawn(|| serve(sender));
        let (at, handle) = receiver.recv().unwrap();
        Self {
            at,
            handle,
            thread: Some(thread),
        }
    }
}

impl<A, D, C> Drop for Running<A, D, C> {
    fn drop(&mut self) {
        self.handle.stop().unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}
