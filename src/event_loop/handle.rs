//! The handle of a loop, for other threads.

use std::any::Any;
use std::cell::OnceCell;
use std::error::Error as StdError;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

#[cfg(feature = "websocket")]
use super::answer::HttpAnswer;
use super::answer::{Rejection, Welcome};
use super::lane::Publication;
use super::token::ConnId;
#[cfg(feature = "websocket")]
use super::token::RequestId;
use crate::close::CloseCode;
use crate::proto::message::SharedMessage;
use crate::sys::Wake;

/// What another thread asks of the loop.
#[derive(Debug)]
pub(super) enum Command {
    Send(ConnId, SharedMessage),
    Broadcast(SharedMessage),
    Publish(Publication),
    Close(ConnId, CloseCode, String),
    Subscribe(ConnId, Box<str>),
    Unsubscribe(ConnId, Box<str>),
    /// A connection is let in, with the [`Welcome`] for it. The loop knows its type.
    Accept(ConnId, Box<dyn Any + Send>),
    Reject(ConnId, Rejection),
    #[cfg(feature = "websocket")]
    Answer(RequestId, HttpAnswer),
    /// The embedder's own. Its type is the handle's, and the loop does not know it.
    Own(Box<dyn Any + Send>),
    Drain(Duration),
    Stop,
}

impl Command {
    /// Returns the weight that counts against [`MOST_WEIGHT`]: for a message its
    /// [cost](SharedMessage::cost), for a topic its name. Other commands weigh nothing, so that a loop with too many
    /// messages can still be told to stop.
    fn weight(&self) -> usize {
        match self {
            Self::Send(_, message) | Self::Broadcast(message) => message.cost(),
            Self::Publish(publication) => publication.cost(),
            Self::Subscribe(_, topic) | Self::Unsubscribe(_, topic) => topic.len(),
            #[cfg(feature = "websocket")]
            Self::Answer(_, answer) => answer.body.len(),
            Self::Close(..)
            | Self::Accept(..)
            | Self::Reject(..)
            | Self::Own(_)
            | Self::Drain(_)
            | Self::Stop => 0,
        }
    }
}

/// A handle of a loop for other threads. It is bounded and cheap to clone; one wake-up serves a
/// whole batch of calls.
///
/// No call blocks: it either queues its command or returns an error. The queue limits messages in
/// number and in bytes, and all commands in number, so that other commands still have room when the
/// limit of messages is reached.
///
/// All calls of one thread are handled in their order, whatever they are. A message that cannot be delivered
/// when its turn comes, because its connection has ended, for example, is counted
/// ([`Stats::undelivered`](crate::stats::Stats::undelivered)) and given to
/// [`on_undelivered`](super::Handler::on_undelivered).
///
/// # The end of the loop
///
/// In the turn in which the loop ends, stopped or drained, the queue is emptied once more, after the last
/// [`on_close`](super::Handler::on_close): messages are undelivered then, broadcasts reach nobody, and
/// commands are handed over. A loop that is stopped before its first turn has that one turn. From then on calls still succeed, for the loop may be run again, until the
/// reactor is dropped. What is queued at that time is dropped with it, and later calls get
/// [`HandleError::Gone`].
///
/// `D` is the embedder's data for each connection and `C` the type of its [commands](Self::command), as
/// for the [`Reactor`](crate::reactor::Reactor).
pub struct LoopHandle<D = (), C = ()> {
    queue: Queue,
    /// Any thread may hold a handle, whatever the types are.
    types: PhantomData<fn(D, C)>,
}

/// The other threads' end of the queue.
#[derive(Clone)]
struct Queue {
    commands: SyncSender<Command>,
    waker: Arc<dyn Wake>,
    state: Arc<State>,
}

/// The loop's end of the queue.
pub(super) struct Inbox {
    /// Both ends of the queue, from the first handle on. It takes megabytes, which a loop without handles
    /// does without.
    ends: OnceCell<(Receiver<Command>, Queue)>,
    waker: Arc<dyn Wake>,
    state: Arc<State>,
    /// The queue may hold commands for which no further wake-up will come.
    may_hold: bool,
    /// What `state` says.
    is_congested: bool,
}

/// State that both ends share.
#[derive(Debug, Default)]
struct State {
    /// A wake-up was sent and the loop has not answered it yet.
    woken: AtomicBool,
    /// Weight of the queued commands.
    weight: AtomicUsize,
    /// Other loops of the group do not keep up with what this one publishes.
    congested: AtomicBool,
}

impl State {
    /// Takes room in the queue, if there is enough. An empty queue takes a message of any size.
    fn enter(&self, weight: usize) -> bool {
        // Threads must not fight over a counter that stays as it is.
        if weight == 0 {
            return true;
        }
        self.weight
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| {
                let after = held.saturating_add(weight);
                (held == 0 || after <= MOST_WEIGHT).then_some(after)
            })
            .is_ok()
    }

    /// Gives room back. After the loop has gone there is nothing to give back.
    fn leave(&self, weight: usize) {
        if weight == 0 {
            return;
        }
        self.weight
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| {
                Some(held.saturating_sub(weight))
            })
            .ok();
    }
}

/// Why a call from another thread failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandleError {
    /// The queue is full. Try again later.
    Full,
    /// The reactor no longer exists.
    Gone,
}

/// Why [`LoopHandle::command`] failed, with the command; or [`LoopHandle::accept`] and the like, with what
/// was given to them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CommandError<C> {
    /// Why.
    pub error: HandleError,
    /// The command, to give it again or to free it.
    pub command: C,
}

impl<D, C> LoopHandle<D, C> {
    /// Sends a message to one connection. See [`Context::send_shared`](super::Context::send_shared); if
    /// that fails, [`on_undelivered`](super::Handler::on_undelivered) is told.
    ///
    /// # Errors
    ///
    /// [`HandleError`]; nothing was queued.
    pub fn send(&self, id: ConnId, message: SharedMessage) -> Result<(), HandleError> {
        self.queue.push(Command::Send(id, message))
    }

    /// Sends a message to every open connection. See [`Context::broadcast`](super::Context::broadcast);
    /// while there is no room for another broadcast, all calls of other threads wait in their queue.
    ///
    /// # Errors
    ///
    /// [`HandleError`]; nothing was queued.
    pub fn broadcast(&self, message: SharedMessage) -> Result<(), HandleError> {
        self.queue.push(Command::Broadcast(message))
    }

    /// Sends a message to every connection that subscribes to a topic, in all loops of the loop's
    /// [`Group`](super::Group). See [`Context::publish`](super::Context::publish).
    ///
    /// The loop publishes the message when it takes the call from its queue. Who subscribes then
    /// gets it. [`on_broadcast`](super::Handler::on_broadcast) follows in each loop that has topics.
    ///
    /// # Errors
    ///
    /// [`HandleError`]; nothing was queued. [`HandleError::Full`] also if other loops of the group do
    /// not keep up with what this one has published.
    pub fn publish(&self, topic: &str, message: SharedMessage) -> Result<(), HandleError> {
        if self.queue.state.congested.load(Ordering::Acquire) {
            return Err(HandleError::Full);
        }
        self.queue.push(Command::Publish(Publication {
            topic: topic.into(),
            message,
            except: None,
        }))
    }

    /// Has a connection subscribe to a topic. See [`Context::subscribe`](super::Context::subscribe). A
    /// message that this thread [publishes](Self::publish) later reaches it; what it published before does not.
    ///
    /// If that fails when the loop takes the call, because the connection has ended or has as many topics
    /// as it may, for example, nothing happens, and
    /// [`Stats::subscriptions_missed`](crate::stats::Stats::subscriptions_missed) counts it.
    ///
    /// ```
    /// use heartwheel::{ConnId, HandleError, LoopHandle, Message, SharedMessage};
    ///
    /// /// Tells a room who has come, and the newcomer too.
    /// fn enter(handle: &LoopHandle, id: ConnId, room: &str) -> Result<(), HandleError> {
    ///     handle.subscribe(id, room)?;
    ///     let text = format!("{id} has come");
    ///     handle.publish(room, SharedMessage::new(Message::text(&text)))
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`HandleError`]; nothing was queued. The bytes of the name count as those of a message do.
    pub fn subscribe(&self, id: ConnId, topic: &str) -> Result<(), HandleError> {
        self.queue.push(Command::Subscribe(id, topic.into()))
    }

    /// Takes a connection out of a topic. See [`Context::unsubscribe`](super::Context::unsubscribe). What
    /// this thread published before reaches it still. If it does not subscribe, or has ended, nothing
    /// happens: that is no error, and nothing is counted.
    ///
    /// # Errors
    ///
    /// The same as [`subscribe`](Self::subscribe).
    pub fn unsubscribe(&self, id: ConnId, topic: &str) -> Result<(), HandleError> {
        self.queue.push(Command::Unsubscribe(id, topic.into()))
    }

    /// Closes a connection. See [`Context::close`](super::Context::close). If it has ended meanwhile, nothing
    /// happens: that is no error, and nothing is counted.
    ///
    /// # Errors
    ///
    /// [`HandleError`]; nothing was queued.
    pub fn close(&self, id: ConnId, code: CloseCode, reason: &str) -> Result<(), HandleError> {
        self.queue.push(Command::Close(id, code, reason.to_owned()))
    }

    /// Accepts a connection that waits since [`on_accept`](super::Handler::on_accept) returned
    /// [`Decision::Later`](super::Decision::Later). See [`Context::accept`](super::Context::accept).
    ///
    /// If it has ended before the loop takes the call, nothing happens, and
    /// [`Stats::answers_missed`](crate::stats::Stats::answers_missed) counts it.
    /// [`on_rejected`](super::Handler::on_rejected) has told of the end.
    ///
    /// # Errors
    ///
    /// [`CommandError`] with the welcome; nothing was queued.
    pub fn accept(&self, id: ConnId, welcome: Welcome<D>) -> Result<(), CommandError<Welcome<D>>>
    where
        D: Send + 'static,
    {
        let queued = self.queue.offer(Command::Accept(id, Box::new(welcome)));
        queued.map_err(|(error, command)| {
            let Command::Accept(_, welcome) = command else {
                unreachable!("the queue gives back what it does not take");
            };
            let welcome = welcome.downcast().expect("its type is that of D");
            CommandError {
                error,
                command: *welcome,
            }
        })
    }

    /// Rejects a connection that waits. See [`accept`](Self::accept).
    ///
    /// # Errors
    ///
    /// [`CommandError`] with the rejection; nothing was queued.
    pub fn reject(&self, id: ConnId, rejection: Rejection) -> Result<(), CommandError<Rejection>> {
        let queued = self.queue.offer(Command::Reject(id, rejection));
        queued.map_err(|(error, command)| {
            let Command::Reject(_, command) = command else {
                unreachable!("the queue gives back what it does not take");
            };
            CommandError { error, command }
        })
    }

    /// Answers a plain HTTP request that waits since [`on_http`](super::Handler::on_http) returned
    /// [`Decision::Later`](super::Decision::Later). An answer that comes too late is counted, as for
    /// [`accept`](Self::accept); so is a second answer to the same request.
    ///
    /// # Errors
    ///
    /// [`CommandError`] with the answer; nothing was queued. Its body counts as a message does.
    #[cfg(feature = "websocket")]
    pub fn answer(
        &self,
        id: RequestId,
        answer: HttpAnswer,
    ) -> Result<(), CommandError<HttpAnswer>> {
        let queued = self.queue.offer(Command::Answer(id, answer));
        queued.map_err(|(error, command)| {
            let Command::Answer(_, command) = command else {
                unreachable!("the queue gives back what it does not take");
            };
            CommandError { error, command }
        })
    }

    /// Gives the handler a command of the embedder's own type: the loop calls
    /// [`Handler::on_command`](super::Handler::on_command) with it.
    ///
    /// Commands count against the limit of calls that wait for the loop, 65 536, but not against the limit of
    /// bytes. The loop does not know how large a command is; what it holds is bounded by you.
    ///
    /// ```
    /// use heartwheel::{
    ///     CloseCode, ConnId, Context, Handler, Reactor, ReactorConfig,
    /// };
    ///
    /// enum Admin {
    ///     Kick { who: ConnId },
    ///     Stop,
    /// }
    ///
    /// struct Chat;
    ///
    /// impl Handler<Admin> for Chat {
    ///     type Data = ();
    ///
    ///     fn on_command(&mut self, cx: &mut Context<'_, ()>, command: Admin) {
    ///         match command {
    ///             Admin::Kick { who } => cx.close(who, CloseCode::POLICY, "kicked"),
    ///             Admin::Stop => cx.stop(),
    ///         }
    ///     }
    /// }
    ///
    /// let mut reactor = Reactor::new(ReactorConfig::default())?;
    /// let handle = reactor.handle();
    /// let admin = std::thread::spawn(move || handle.command(Admin::Stop));
    /// reactor.run(&mut Chat)?;
    /// admin.join().expect("it does not panic")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`CommandError`] with the command; nothing was queued.
    pub fn command(&self, command: C) -> Result<(), CommandError<C>>
    where
        C: Send + 'static,
    {
        let queued = self.queue.offer(Command::Own(Box::new(command)));
        queued.map_err(|(error, command)| {
            let Command::Own(command) = command else {
                unreachable!("the queue gives back what it does not take");
            };
            let command = command.downcast().expect("its type is C");
            CommandError {
                error,
                command: *command,
            }
        })
    }

    /// Closes every connection, spread evenly over `window`, and ends the loop. See
    /// [`Context::drain`](super::Context::drain).
    ///
    /// # Errors
    ///
    /// [`HandleError`]; nothing was queued.
    pub fn drain(&self, window: Duration) -> Result<(), HandleError> {
        self.queue.push(Command::Drain(window))
    }

    /// Makes [`Reactor::run`](crate::reactor::Reactor::run) return after its present turn. What this thread
    /// queued before is handled first. See [`Context::stop`](super::Context::stop).
    ///
    /// # Errors
    ///
    /// [`HandleError`]; nothing was queued.
    pub fn stop(&self) -> Result<(), HandleError> {
        self.queue.push(Command::Stop)
    }
}

impl Queue {
    fn push(&self, command: Command) -> Result<(), HandleError> {
        self.offer(command).map_err(|(error, _)| error)
    }

    /// Queues a command, or gives it back.
    fn offer(&self, command: Command) -> Result<(), (HandleError, Command)> {
        let weight = command.weight();
        if !self.state.enter(weight) {
            return Err((HandleError::Full, command));
        }
        self.commands.try_send(command).map_err(|error| {
            self.state.leave(weight);
            match error {
                TrySendError::Full(command) => (HandleError::Full, command),
                TrySendError::Disconnected(command) => (HandleError::Gone, command),
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

impl<D, C> Clone for LoopHandle<D, C> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            types: PhantomData,
        }
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").finish_non_exhaustive()
    }
}

impl<D, C> fmt::Debug for LoopHandle<D, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopHandle").finish_non_exhaustive()
    }
}

impl Inbox {
    pub(super) fn new(waker: Arc<dyn Wake>) -> Self {
        Self {
            ends: OnceCell::new(),
            waker,
            state: Arc::default(),
            may_hold: false,
            is_congested: false,
        }
    }

    /// Returns a handle for other threads.
    pub(super) fn handle<D, C>(&self) -> LoopHandle<D, C> {
        let (_, queue) = self.ends.get_or_init(|| {
            let (commands, receiver) = sync_channel(MOST_COMMANDS);
            let queue = Queue {
                commands,
                waker: Arc::clone(&self.waker),
                state: Arc::clone(&self.state),
            };
            (receiver, queue)
        });
        LoopHandle {
            queue: queue.clone(),
            types: PhantomData,
        }
    }

    /// Says whether the queue may hold commands: a wake-up came, and the queue has not been emptied
    /// since.
    pub(super) fn may_hold(&self) -> bool {
        self.may_hold
    }

    /// Answers a wake-up. The next queued command sends a new one.
    pub(super) fn acknowledge(&mut self) {
        self.may_hold = true;
        self.state.woken.store(false, Ordering::Release);
    }

    /// Notes whether other loops of the group keep up with what is published here.
    pub(super) fn note_congestion(&mut self, is_congested: bool) {
        if self.is_congested != is_congested {
            self.is_congested = is_congested;
            self.state.congested.store(is_congested, Ordering::Release);
        }
    }

    /// Takes the next command.
    pub(super) fn next(&mut self) -> Option<Command> {
        let ends = self.ends.get();
        let Some(command) = ends.and_then(|(commands, _)| commands.try_recv().ok()) else {
            self.may_hold = false;
            return None;
        };
        self.state.leave(command.weight());
        Some(command)
    }
}

/// A call from now on must get [`HandleError::Gone`], not [`HandleError::Full`].
impl Drop for Inbox {
    fn drop(&mut self) {
        self.state.weight.store(0, Ordering::Release);
        self.state.congested.store(false, Ordering::Release);
    }
}

impl fmt::Display for HandleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the reactor's command queue is full"),
            Self::Gone => f.write_str("the reactor no longer exists"),
        }
    }
}

impl StdError for HandleError {}

impl<C> fmt::Debug for CommandError<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandError")
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl<C> fmt::Display for CommandError<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

/// Its source is none: it says the same as its [`error`](CommandError::error).
impl<C> StdError for CommandError<C> {}

impl<C> From<CommandError<C>> for HandleError {
    fn from(error: CommandError<C>) -> Self {
        error.error
    }
}

/// Most commands that may wait for the loop.
pub(super) const MOST_COMMANDS: usize = 64 * 1024;

/// Most weight of queued messages, bytes: enough for half of the commands, or for fewer large
/// messages.
const MOST_WEIGHT: usize = MOST_COMMANDS / 2 * SharedMessage::OVERHEAD;

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    impl Wake for Nobody {
        fn wake(&self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_queue_takes_memory_from_the_first_handle_on() {
        let mut inbox = None;
        let counted = allocation_counter::measure(|| {
            let mut fresh = Inbox::new(Arc::new(Nobody));
            fresh.acknowledge();
            assert!(fresh.next().is_none() && !fresh.may_hold());
            inbox = Some(fresh);
        });
        assert!(counted.bytes_total < 1_000, "{counted:?}");
        let mut inbox = inbox.expect("it was made");
        let handles = [(); 2].map(|()| inbox.handle::<(), ()>());
        for handle in &handles {
            handle.stop().expect("there is room");
        }
        inbox.acknowledge();
        for _ in handles {
            assert!(matches!(inbox.next(), Some(Command::Stop)));
        }
        assert!(inbox.next().is_none());
    }
}
