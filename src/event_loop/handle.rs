//! What other threads hold of a loop.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use super::token::ConnId;
use crate::close::CloseCode;
use crate::proto::message::SharedMessage;
use crate::sys::Wake;

/// What another thread asks of the loop.
#[derive(Clone, Debug)]
pub(super) enum Command {
    Send(ConnId, SharedMessage),
    Broadcast(SharedMessage),
    Close(ConnId, CloseCode, String),
    Notify(u64),
    Stop,
}

impl Command {
    /// Returns what it takes of the room for messages: their bytes, and what keeping one costs. Other
    /// commands take none, so that a loop with more messages than it can send can still be told to stop.
    fn weight(&self) -> usize {
        match self {
            Self::Send(_, message) | Self::Broadcast(message) => {
                MESSAGE_COST + message.message().data().len()
            }
            Self::Close(..) | Self::Notify(_) | Self::Stop => 0,
        }
    }
}

/// A handle for other threads: bounded, cheap to clone, one wake for a whole batch.
///
/// Messages that wait are bounded in number and in bytes, and other calls in number, so that there is
/// room for these when there is none for messages. Nothing blocks: a call either queues or says why it
/// did not. What happens to a message after it was queued (the connection may be gone) is the loop's
/// business, as for a send inside it.
#[derive(Clone)]
pub struct LoopHandle {
    commands: SyncSender<Command>,
    waker: Arc<dyn Wake>,
    state: Arc<State>,
}

/// The loop's end of it.
#[derive(Debug)]
pub(super) struct Inbox {
    commands: Receiver<Command>,
    state: Arc<State>,
    /// The other end, to be given away.
    handle: LoopHandle,
    /// Commands may be left that no wake will announce again.
    may_hold: bool,
}

/// What both ends look at.
#[derive(Debug, Default)]
struct State {
    /// A wake is on its way that nobody has answered yet.
    woken: AtomicBool,
    /// Weight of the commands that wait.
    weight: AtomicUsize,
}

impl State {
    /// Takes room, if there is some. A message of any size finds room where there is no other.
    fn enter(&self, weight: usize) -> bool {
        self.weight
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| {
                let after = held.saturating_add(weight);
                (weight == 0 || held == 0 || after <= MOST_WEIGHT).then_some(after)
            })
            .is_ok()
    }

    /// Gives room back. There is nothing to give back where the loop has gone meanwhile.
    fn leave(&self, weight: usize) {
        self.weight
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| {
                Some(held.saturating_sub(weight))
            })
            .ok();
    }
}

/// Why a call from another thread was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandleError {
    /// The queue is full; try again later.
    Full,
    /// The reactor is gone.
    Gone,
}

impl LoopHandle {
    /// Sends a message to one connection.
    ///
    /// # Errors
    ///
    /// [`HandleError`], with nothing queued.
    pub fn send(&self, id: ConnId, message: SharedMessage) -> Result<(), HandleError> {
        self.queue(Command::Send(id, message))
    }

    /// Sends a message to every open connection.
    ///
    /// # Errors
    ///
    /// [`HandleError`], with nothing queued.
    pub fn broadcast(&self, message: SharedMessage) -> Result<(), HandleError> {
        self.queue(Command::Broadcast(message))
    }

    /// Closes a connection.
    ///
    /// # Errors
    ///
    /// [`HandleError`], with nothing queued.
    pub fn close(&self, id: ConnId, code: CloseCode, reason: &str) -> Result<(), HandleError> {
        self.queue(Command::Close(id, code, reason.to_owned()))
    }

    /// Calls [`Handler::on_notify`](super::Handler::on_notify) in the loop.
    ///
    /// # Errors
    ///
    /// [`HandleError`], with nothing queued.
    pub fn notify(&self, user_data: u64) -> Result<(), HandleError> {
        self.queue(Command::Notify(user_data))
    }

    /// Makes [`Reactor::run`](crate::reactor::Reactor::run) return after its present turn.
    ///
    /// # Errors
    ///
    /// [`HandleError`], with nothing queued.
    pub fn stop(&self) -> Result<(), HandleError> {
        self.queue(Command::Stop)
    }

    fn queue(&self, command: Command) -> Result<(), HandleError> {
        let weight = command.weight();
        if !self.state.enter(weight) {
            return Err(HandleError::Full);
        }
        self.commands.try_send(command).map_err(|error| {
            self.state.leave(weight);
            match error {
                TrySendError::Full(_) => HandleError::Full,
                TrySendError::Disconnected(_) => HandleError::Gone,
            }
        })?;
        if !self.state.woken.swap(true, Ordering::AcqRel)
            && let Err(error) = self.waker.wake()
        {
            // Cleared, so that the next call tries again; the command itself is safely queued.
            self.state.woken.store(false, Ordering::Release);
            log::warn!("could not wake the loop: {error}");
        }
        Ok(())
    }
}

impl fmt::Debug for LoopHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopHandle").finish_non_exhaustive()
    }
}

impl Inbox {
    pub(super) fn new(waker: Arc<dyn Wake>) -> Self {
        let (sender, receiver) = sync_channel(MOST_COMMANDS);
        let state = Arc::<State>::default();
        Self {
            commands: receiver,
            state: Arc::clone(&state),
            handle: LoopHandle {
                commands: sender,
                waker,
                state,
            },
            may_hold: false,
        }
    }

    /// Returns the handle for other threads.
    pub(super) fn handle(&self) -> &LoopHandle {
        &self.handle
    }

    /// Says whether commands may be left: a wake came, and they have not been taken to their end since.
    pub(super) fn may_hold(&self) -> bool {
        self.may_hold
    }

    /// Answers a wake: what is queued after this wakes again.
    pub(super) fn acknowledge(&mut self) {
        self.may_hold = true;
        self.state.woken.store(false, Ordering::Release);
    }

    /// Takes the next command.
    pub(super) fn next(&mut self) -> Option<Command> {
        let Ok(command) = self.commands.try_recv() else {
            self.may_hold = false;
            return None;
        };
        self.state.leave(command.weight());
        Some(command)
    }
}

/// Who comes now is to learn that the reactor is gone, not that its queue is full.
impl Drop for Inbox {
    fn drop(&mut self) {
        self.state.weight.store(0, Ordering::Release);
    }
}

impl fmt::Display for HandleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the reactor's queue is full"),
            Self::Gone => f.write_str("the reactor is gone"),
        }
    }
}

impl StdError for HandleError {}

/// Commands that may wait for the loop.
const MOST_COMMANDS: usize = 64 * 1024;

/// Weight of the messages among them, bytes: half as many messages, or fewer.
const MOST_WEIGHT: usize = MOST_COMMANDS / 2 * MESSAGE_COST;

/// What keeping a message costs beside its payload, bytes, generously.
const MESSAGE_COST: usize = 512;
