//! Loops on several threads, which end together.

use std::panic::resume_unwind;
use std::thread;
use std::time::Duration;

use heartwheel::error::Error;
use heartwheel::proto::message::SharedMessage;
use heartwheel::reactor::{HandleError, LoopHandle, Reactor};
use heartwheel::stats::Stats;

use crate::Failure;
use crate::admin::ask::{Ask, Number, Part};
use crate::steps::Step;

/// What one loop tells another to do.
#[derive(Debug)]
pub(crate) enum Order {
    /// A turn: this loop is over, and the first one may be waiting for it.
    Wake,
    /// To change listeners.
    Follow(Vec<Step>),
    /// To answer the first one, for an operator.
    Ask(Number, Ask),
    /// What one answers.
    Told(Number, Part),
}

/// How a loop reaches another one.
pub(crate) type Handle = LoopHandle<(), Order>;

/// A loop of the program.
pub(crate) type Loop = Reactor<(), Order>;

/// The other loops of the program, as one of them reaches them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Siblings(Vec<Handle>);

impl Siblings {
    /// Returns the others of each loop.
    pub(crate) fn of(reactors: &[Loop]) -> Vec<Self> {
        let others = |this: usize| {
            let numbered = reactors.iter().enumerate();
            let others = numbered.filter(move |(number, _)| *number != this);
            Self(others.map(|(_, reactor)| reactor.handle()).collect())
        };
        (0..reactors.len()).map(others).collect()
    }

    /// Sends a message to every connection of the others; returns those that have no room for it yet.
    #[must_use]
    pub(crate) fn broadcast(&self, message: &SharedMessage) -> Self {
        let is_full = |handle: &&Handle| {
            // One that is gone has no connections left.
            handle.broadcast(message.clone()) == Err(HandleError::Full)
        };
        Self(self.0.iter().filter(is_full).cloned().collect())
    }

    pub(crate) fn handles(&self) -> &[Handle] {
        &self.0
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Has the others do a turn: this loop is over, and the first one may be waiting for it.
    pub(crate) fn wake(&self) {
        self.each("a wake-up", |handle| Ok(handle.command(Order::Wake)?));
    }

    pub(crate) fn drain(&self, window: Duration) {
        self.each("a drain", |handle| handle.drain(window));
    }

    pub(crate) fn stop(&self) {
        self.each("a stop", Handle::stop);
    }

    fn each(&self, what: &str, call: impl Fn(&Handle) -> Result<(), HandleError>) {
        for handle in &self.0 {
            match call(handle) {
                // Its connections are all gone, and it with them.
                Ok(()) | Err(HandleError::Gone) => {}
                Err(HandleError::Full) => log::warn!("a shard is too busy for {what}"),
            }
        }
    }
}

/// What loops came to.
#[derive(Debug, Default)]
pub(crate) struct Sum {
    pub(crate) stats: Stats,
}

/// Turns every loop until it has ended, the first one on this thread. If one fails, all end.
pub(crate) fn run<H: Send>(
    loops: Vec<(Loop, H, Siblings)>,
    turn: impl Fn(&mut Loop, &mut H) -> Result<(), Error> + Sync,
) -> Result<Sum, Failure> {
    let turn = |(mut reactor, mut handler, siblings): (Loop, H, Siblings)| {
        let together = Together(Some(siblings));
        turn(&mut reactor, &mut handler)?;
        together.part();
        let stats = reactor.stats().clone();
        Ok::<_, Error>(Sum { stats })
    };
    thread::scope(|scope| {
        let mut loops = loops.into_iter();
        let first = loops.next();
        let mut others = Vec::new();
        for one in loops {
            let name = format!("heartwheel-{}", one.0.shard());
            let siblings = one.2.clone();
            let spawned = thread::Builder::new()
                .name(name)
                .spawn_scoped(scope, || turn(one));
            match spawned {
                Ok(other) => others.push(other),
                Err(error) => {
                    siblings.stop();
                    return Err(Failure::failed(format!("cannot start a thread: {error}")));
                }
            }
        }
        let mut sums = vec![first.map_or_else(|| Ok(Sum::default()), &turn)];
        for other in others {
            sums.push(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        let mut all = Sum::default();
        for sum in sums {
            let sum = sum?;
            all.stats.merge(&sum.stats);
        }
        Ok(all)
    })
}

/// Stops the others when this loop fails or panics.
struct Together(Option<Siblings>);

impl Together {
    /// Lets the other loops go on: this loop has finished its work.
    fn part(mut self) {
        self.0 = None;
    }
}

impl Drop for Together {
    fn drop(&mut self) {
        if let Some(siblings) = &self.0 {
            siblings.stop();
        }
    }
}
