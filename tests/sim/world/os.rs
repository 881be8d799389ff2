//! What a process sees of the world: system calls, its clock, and places where time may pass.

use std::cell::RefCell;
use std::fmt;
use std::io::IoSlice;
use std::rc::Rc;

use corosensei::Yielder;
use heartwheel::close::KernelFigures;
use heartwheel::proto::time::Micros;
use heartwheel::sys::{Event, Ready};

use super::tcp::{self, Failure, SockId};
use super::{Command, Hardship, HostId, Token, World};
use crate::dice::Dice;
use crate::model::{Look, Watch, When};

/// A process's way into the world.
#[derive(Clone)]
pub(crate) struct Os<'y> {
    world: Rc<RefCell<World>>,
    pub(crate) host: HostId,
    /// Hands over to the world, which resumes the process when it is time.
    yielder: &'y Yielder<(), ()>,
}

impl fmt::Debug for Os<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host {}", self.host)
    }
}

impl<'y> Os<'y> {
    pub(super) fn new(
        world: Rc<RefCell<World>>,
        host: HostId,
        yielder: &'y Yielder<(), ()>,
    ) -> Self {
        Self {
            world,
            host,
            yielder,
        }
    }

    /// Reads the clocks: core time, and time slept.
    pub(crate) fn clocks(&self) -> (Micros, Micros) {
        self.world.borrow().hosts[self.host].clocks
    }

    /// Returns what the loop knows of the time.
    pub(crate) fn known(&self) -> Micros {
        self.world.borrow().hosts[self.host].known
    }

    /// Reads the clock for the loop.
    pub(crate) fn look_at_the_clock(&self) -> Micros {
        self.world.borrow_mut().look_at_the_clock(self.host)
    }

    pub(crate) fn fork_dice(&self) -> Dice {
        self.world.borrow_mut().hosts[self.host].dice.fork()
    }

    /// Waits until the clock shows `until` at the latest, and returns what has come, at most so many.
    pub(crate) fn wait(&self, until: Micros, most: usize) -> Vec<Event> {
        self.world.borrow_mut().begin_wait(self.host, until);
        self.yielder.suspend(());
        let mut world = self.world.borrow_mut();
        let ready = world.hosts[self.host].take_ready(most);
        world.meet_if(ready.len() >= most, Hardship::BudgetSpent);
        if world.hosts[self.host].is_behind() {
            world.note_overload(self.host);
        }
        world.note_stale(self.host, &ready);
        let event = |(token, ready): (Token, tcp::Ready)| Event {
            token,
            ready: Ready {
                readable: ready.readable || ready.read_closed || ready.error,
                writable: ready.writable,
                doubtful: ready.read_closed || ready.error,
                failed: ready.error,
                write_closed: ready.error,
            },
        };
        ready.into_iter().map(event).collect()
    }

    /// Works for so long.
    pub(crate) fn work(&self, span: Micros) {
        self.world.borrow_mut().begin_work(self.host, span);
        self.yielder.suspend(());
    }

    /// Lets the machine do something else in between, now and then.
    pub(crate) fn breathe(&self) {
        let span = {
            let host = &mut self.world.borrow_mut().hosts[self.host];
            let pace = host.pace;
            let is_held = pace.breath_odds > 0 && host.dice.one_in(pace.breath_odds);
            if host.is_unstamped || !is_held {
                return;
            }
            host.dice.span(Micros::ZERO, pace.breath)
        };
        self.work(span);
    }

    /// Does what a process that always has something to do must do in each turn.
    pub(crate) fn work_off(&self) {
        let owed = std::mem::take(&mut self.world.borrow_mut().hosts[self.host].owes);
        if owed > Micros::ZERO {
            self.work(owed);
        }
    }

    pub(crate) fn take_command(&self) -> Option<Command> {
        self.world.borrow_mut().hosts[self.host]
            .commands
            .pop_front()
    }

    /// Says whether somebody listens on a port.
    pub(crate) fn listens(&self, port: usize) -> bool {
        self.world.borrow().hosts[self.host].listens(port)
    }

    pub(crate) fn listen(&self, port: usize, token: Token) {
        let host = &mut self.world.borrow_mut().hosts[self.host];
        host.ports.insert(port, token);
    }

    pub(crate) fn close_listener(&self, port: usize) {
        let mut world = self.world.borrow_mut();
        let waited = world.close_port(self.host, port);
        world.meet_if(waited > 0, Hardship::BacklogReset);
    }

    /// Takes the next connection to a port in. Who comes in a drain may be turned away.
    pub(crate) fn accept(&self, port: usize) -> Option<SockId> {
        let mut world = self.world.borrow_mut();
        let backlog = &mut world.hosts[self.host].backlog;
        let place = backlog.iter().position(|&(_, other)| other == port)?;
        let (sock, _) = backlog.remove(place)?;
        if world.hosts[self.host].is_draining {
            world.allow_refusal(sock.peer());
        }
        Some(sock)
    }

    pub(crate) fn dial(&self, to: HostId, port: usize, path: usize) -> SockId {
        self.world.borrow_mut().dial(self.host, to, port, path)
    }

    pub(crate) fn register(&self, sock: SockId, token: Token) {
        let mut world = self.world.borrow_mut();
        let host = &mut world.hosts[self.host];
        host.socks.insert(token, sock);
        let slot = slot_of(token);
        let is_reused = slot < host.slots;
        host.slots = host.slots.max(slot + 1);
        world.meet_if(is_reused, Hardship::SlotReuse);
        world.register(sock, token);
    }

    /// Returns the socket of a token, while it is open.
    pub(crate) fn sock(&self, token: Token) -> Option<SockId> {
        let world = self.world.borrow();
        world.hosts[self.host].socks.get(&token).copied()
    }

    /// Lists the sockets that the application has paused, with their tokens.
    pub(crate) fn paused(&self) -> Vec<(Token, SockId)> {
        let world = self.world.borrow();
        let socks = world.hosts[self.host].socks.iter();
        let is_paused = |sock| world.book.watch(sock).is_some_and(Watch::is_paused);
        let held = socks.map(|(&token, &sock)| (token, sock));
        held.filter(|&(_, sock)| is_paused(sock)).collect()
    }

    /// Says whether the kernel has refused a write of this socket since the last wait.
    pub(crate) fn is_refused(&self, sock: SockId) -> bool {
        self.world.borrow().hosts[self.host].refused.contains(&sock)
    }

    /// Returns the socket that was closed last, and whether with a reset.
    pub(crate) fn take_closed(&self) -> (SockId, bool) {
        let closed = self.world.borrow_mut().hosts[self.host].closed.take();
        closed.expect("a socket is closed before its end is told")
    }

    pub(crate) fn allow_drain(&self) {
        self.world.borrow_mut().allow_drain(self.host);
    }

    pub(crate) fn begin_judging(&self, sock: SockId) {
        self.world.borrow_mut().hosts[self.host].judging = Some(sock);
    }

    pub(crate) fn take_judging(&self) -> Option<SockId> {
        self.world.borrow_mut().hosts[self.host].judging.take()
    }

    /// Notes that the loop looks at what is due, when its clock says `at`, which may be a moment ago.
    pub(crate) fn begin_look(&self, at: Micros) {
        let host = &mut self.world.borrow_mut().hosts[self.host];
        host.look_began = host.lateness.when(at);
    }

    pub(crate) fn end_look(&self, is_whole: bool) {
        let mut world = self.world.borrow_mut();
        world.meet_if(!is_whole, Hardship::BudgetSpent);
        let done = world.when(self.host);
        let host = &mut world.hosts[self.host];
        host.look = Some(Look {
            at: host.look_began,
            done,
            is_whole,
        });
    }

    pub(crate) fn take_look(&self) -> Option<Look> {
        self.world.borrow_mut().hosts[self.host].look.take()
    }

    pub(crate) fn read(&self, sock: SockId, into: &mut [u8]) -> Result<usize, Failure> {
        let mut world = self.world.borrow_mut();
        let read = world.read(sock, into);
        world.hosts[self.host].is_unstamped = read.is_ok();
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
            let is_first = world.hosts[self.host].refused.insert(sock);
            assert!(is_first, "{sock:?} is refused twice in a turn");
        }
        written
    }

    pub(crate) fn peek(&self, sock: SockId) -> bool {
        let mut world = self.world.borrow_mut();
        let is_paused = world.book.watch(sock).is_some_and(Watch::is_paused);
        world.meet_if(is_paused, Hardship::LongPause);
        world.peek(sock)
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

    /// Closes what the process still holds, with a reset where that is asked for.
    pub(crate) fn close(&self, sock: SockId, with_reset: bool) {
        let mut world = self.world.borrow_mut();
        if let Some(token) = world.end(sock).token() {
            world.hosts[self.host].socks.remove(&token);
        }
        world.hosts[self.host].closed = Some((sock, with_reset));
        if world.end(sock).is_held() {
            world.close(sock, with_reset);
        }
    }

    /// Returns the kernel's figures, where this one tells them.
    pub(crate) fn figures(&self, sock: SockId) -> Option<KernelFigures> {
        let mut world = self.world.borrow_mut();
        let figures = world.hosts[self.host]
            .has_figures
            .then(|| world.figures(sock));
        if let Some(figures) = &figures {
            world.watch(sock, |watch| watch.note_figures(figures));
        }
        figures
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

/// Returns the slot that a connection's token names.
fn slot_of(token: Token) -> usize {
    token.0 & ((1 << Token::SLOT_BITS) - 1)
}

impl World {
    /// Notes events of sockets that are closed.
    fn note_stale(&mut self, host: HostId, ready: &[(Token, tcp::Ready)]) {
        for &(token, _) in ready {
            let (socks, ports) = (&self.hosts[host].socks, &self.hosts[host].ports);
            let is_known = socks.contains_key(&token) || ports.values().any(|port| *port == token);
            if is_known || token == Token::WAKE {
                continue;
            }
            let is_reused = socks.keys().any(|other| slot_of(*other) == slot_of(token));
            self.meet(Hardship::StaleEvent);
            self.meet_if(is_reused, Hardship::StaleEventOfUsedSlot);
        }
    }
}
