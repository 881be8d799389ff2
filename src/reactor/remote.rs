//! The way in for other threads.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use mio::Waker;

use super::token::ConnId;
use crate::close::CloseCode;
use crate::proto::message::SharedMessage;

/// What another thread asks of the loop.
#[derive(Clone, Debug)]
pub(super) enum Command {
    Send(ConnId, SharedMessage),
    Broadcast(SharedMessage),
    Close(ConnId, CloseCode, String),
    Notify(u64),
    Stop,
}

/// A handle for other threads: bounded, cheap to clone, one wake for a whole batch.
///
/// Nothing blocks: a call either queues or says why it did not. What happens to a message after it was
/// queued (the connection may be gone) is the loop's business, as for a send inside it.
#[derive(Clone)]
pub struct Remote {
    commands: SyncSender<Command>,
    waker: Arc<Waker>,
    /// A wake is on its way that nobody has answered yet.
    woken: Arc<AtomicBool>,
}

/// The loop's end of it.
#[derive(Debug)]
pub(super) struct Inbox {
    commands: Receiver<Command>,
    woken: Arc<AtomicBool>,
}

/// Why a call from another thread was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteError {
    /// The queue is full; try again later.
    Full,
    /// The reactor is gone.
    Gone,
}

impl Remote {
    pub(super) fn new(capacity: usize, waker: Arc<Waker>) -> (Self, Inbox) {
        let (sender, receiver) = sync_channel(capacity);
        let woken = Arc::new(AtomicBool::new(false));
        let remote = Self {
            commands: sender,
            waker,
            woken: Arc::clone(&woken),
        };
        (
            remote,
            Inbox {
                commands: receiver,
                woken,
            },
        )
    }

    /// Sends a message to one connection.
    ///
    /// # Errors
    ///
    /// [`RemoteError`], with nothing queued.
    pub fn send(&self, id: ConnId, message: SharedMessage) -> Result<(), RemoteError> {
        self.queue(Command::Send(id, message))
    }

    /// Sends a message to every open connection.
    ///
    /// # Errors
    ///
    /// [`RemoteError`], with nothing queued.
    pub fn broadcast(&self, message: SharedMessage) -> Result<(), RemoteError> {
        self.queue(Command::Broadcast(message))
    }

    /// Closes a connection.
    ///
    /// # Errors
    ///
    /// [`RemoteError`], with nothing queued.
    pub fn close(&self, id: ConnId, code: CloseCode, reason: &str) -> Result<(), RemoteError> {
        self.queue(Command::Close(id, code, reason.to_owned()))
    }

    /// Calls [`Handler::on_notify`](super::Handler::on_notify) in the loop.
    ///
    /// # Errors
    ///
    /// [`RemoteError`], with nothing queued.
    pub fn notify(&self, word: u64) -> Result<(), RemoteError> {
        self.queue(Command::Notify(word))
    }

    /// Makes [`Reactor::run`](super::Reactor::run) return after its present turn.
    ///
    /// # Errors
    ///
    /// [`RemoteError`], with nothing queued.
    pub fn stop(&self) -> Result<(), RemoteError> {
        self.queue(Command::Stop)
    }

    fn queue(&self, command: Command) -> Result<(), RemoteError> {
        self.commands
            .try_send(command)
            .map_err(|error| match error {
                TrySendError::Full(_) => RemoteError::Full,
                TrySendError::Disconnected(_) => RemoteError::Gone,
            })?;
        if !self.woken.swap(true, Ordering::AcqRel)
            && let Err(error) = self.waker.wake()
        {
            // Cleared, so that the next call tries again; the command itself is safely queued.
            self.woken.store(false, Ordering::Release);
            log::warn!("could not wake the loop: {error}");
        }
        Ok(())
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").finish_non_exhaustive()
    }
}

impl Inbox {
    /// Answers a wake: what is queued after this wakes again.
    pub(super) fn acknowledge(&self) {
        self.woken.store(false, Ordering::Release);
    }

    /// Takes the next command.
    pub(super) fn next(&self) -> Option<Command> {
        self.commands.try_recv().ok()
    }
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the reactor's queue is full"),
            Self::Gone => f.write_str("the reactor is gone"),
        }
    }
}

impl StdError for RemoteError {}
