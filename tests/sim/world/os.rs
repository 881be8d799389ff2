//! What a process sees of the world: system calls, its clock, and places where time may pass.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::IoSlice;
use std::rc::Rc;
use std::task::Poll;

use heartwheel::close::KernelFigures;
use heartwheel::proto::time::Micros;

use super::tcp::{Failure, Ready, SockId};
use super::{Command, Hardship, HostId, Token, World};
use crate::dice::Dice;
use crate::model::{Watch, When};

/// A process's way into the world.
#[derive(Clone)]
pub(crate) struct Os {
    world: Rc<RefCell<World>>,
    pub(crate) host: HostId,
}

impl Os {
    pub(super) fn new(world: Rc<RefCell<World>>, host: HostId) -> Self {
        Self { world, host }
    }

    /// Reads the clocks: core time, and time slept.
    pub(crate) fn clocks(&self) -> (Micros, Micros) {
        self.world.borrow().hosts[self.host].clocks
    }

    pub(crate) fn fork_dice(&self) -> Dice {
        self.world.borrow_mut().hosts[self.host].dice.fork()
    }

    /// Waits for events, until the clock shows `until` at the latest.
    pub(crate) async fn wait(&self, until: Micros) {
        self.world.borrow_mut().begin_wait(self.host, until);
        pause().await;
    }

    /// Works for so long.
    pub(crate) async fn work(&self, span: Micros) {
        self.world.borrow_mut().begin_work(self.host, span);
        pause().await;
    }

    /// Lets the machine do something else in between, now and then.
    pub(crate) async fn breathe(&self) {
        let span = {
            let host = &mut self.world.borrow_mut().hosts[self.host];
            let pace = host.pace;
            let owed = std::mem::take(&mut host.owes);
            if owed > Micros::ZERO {
                owed
            } else if pace.breath_odds == 0 || !host.dice.one_in(pace.breath_odds) {
                return;
            } else {
                host.dice.span(Micros::ZERO, pace.breath)
            }
        };
        self.work(span).await;
    }

    pub(crate) fn take_ready(&self, most: usize) -> Vec<(Token, Ready)> {
        self.world.borrow_mut().hosts[self.host].take_ready(most)
    }

    pub(crate) fn take_command(&self) -> Option<Command> {
        self.world.borrow_mut().hosts[self.host]
            .commands
            .pop_front()
    }

    pub(crate) fn listen(&self) {
        self.world.borrow_mut().hosts[self.host].listens = true;
    }

    pub(crate) fn accept(&self) -> Option<(SockId, usize)> {
        self.world.borrow_mut().hosts[self.host].backlog.pop_front()
    }

    pub(crate) fn dial(&self, to: HostId, port: usize, path: usize) -> SockId {
        self.world.borrow_mut().dial(self.host, to, port, path)
    }

    pub(crate) fn register(&self, sock: SockId, token: Token) {
        self.world.borrow_mut().register(sock, token);
    }

    pub(crate) fn read(&self, sock: SockId, into: &mut [u8]) -> Result<usize, Failure> {
        let mut world = self.world.borrow_mut();
        let read = world.read(sock, into);
        let now = world.when(self.host);
        if read != Err(Failure::WouldBlock) {
            world.trace(|| format!("{sock:?} reads {read:?} at {:?}", now.at));
        }
        match read {
            Ok(0) => {
                world.meet(Hardship::EndOfInput);
                world.watch(sock, |watch| watch.handle_eof(now));
            }
            Ok(count) => {
                world.watch(sock, |watch| watch.handle_read(now, &into[..count]));
                let watch = world.book.watch(sock);
                let is_split = watch.is_some_and(|watch| watch.unfinished() > 0);
                world.meet_if(is_split, Hardship::SplitRead);
            }
            Err(Failure::WouldBlock) => {
                let drained = world.now;
                world.watch(sock, |watch| watch.drained = drained);
            }
            Err(failure) => {
                world.meet_if(failure == Failure::Reset, Hardship::Reset);
                world.watch(sock, |watch| watch.handle_failure(failure));
            }
        }
        read
    }

    pub(crate) fn write(&self, sock: SockId, slices: &[IoSlice<'_>]) -> Result<usize, Failure> {
        let mut world = self.world.borrow_mut();
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        let written = world.write(sock, slices);
        let now = world.when(self.host);
        world.trace(|| format!("{sock:?} writes {written:?} of {offered} at {:?}", now.at));
        match written {
            Ok(count) => {
                let bytes: Vec<u8> = slices
                    .iter()
                    .flat_map(|slice| slice.iter().copied())
                    .take(count)
                    .collect();
                world.watch(sock, |watch| watch.handle_written(now, &bytes));
                world.meet_if(count < offered, Hardship::ShortWrite);
                world.note_backlog(sock, count < offered);
            }
            Err(Failure::WouldBlock) => world.note_backlog(sock, true),
            Err(failure) => world.watch(sock, |watch| watch.handle_failure(failure)),
        }
        if written.is_ok_and(|count| count < offered) || written == Err(Failure::WouldBlock) {
            world.watch(sock, |watch| watch.handle_blocked(now));
        }
        written
    }

    pub(crate) fn peek(&self, sock: SockId) -> bool {
        self.world.borrow().peek(sock)
    }

    pub(crate) fn connected(&self, sock: SockId) -> Result<bool, Failure> {
        let mut world = self.world.borrow_mut();
        let connected = world.connected(sock);
        if let Err(failure) = connected {
            world.watch(sock, |watch| watch.handle_failure(failure));
        }
        connected
    }

    pub(crate) fn shutdown(&self, sock: SockId) {
        self.world.borrow_mut().shutdown(sock);
    }

    pub(crate) fn close(&self, sock: SockId, with_reset: bool) {
        self.world.borrow_mut().close(sock, with_reset);
    }

    /// Returns the kernel's figures, where this one tells them.
    pub(crate) fn figures(&self, sock: SockId) -> Option<KernelFigures> {
        let world = self.world.borrow();
        world.hosts[self.host]
            .has_figures
            .then(|| world.figures(sock))
    }

    /// Tells the model something about one end, with the time.
    pub(crate) fn watch(&self, sock: SockId, tell: impl FnOnce(&mut Watch, When)) {
        let mut world = self.world.borrow_mut();
        let now = world.when(self.host);
        world.watch(sock, |watch| tell(watch, now));
    }

    /// Does something to the world that is no system call: what the model is told, mostly.
    pub(crate) fn world<R>(&self, act: impl FnOnce(&mut World) -> R) -> R {
        act(&mut self.world.borrow_mut())
    }
}

/// Hands over to the world, which polls again when it is time.
async fn pause() {
    let mut has_paused = false;
    poll_fn(|_| {
        if has_paused {
            return Poll::Ready(());
        }
        has_paused = true;
        Poll::Pending
    })
    .await;
}
