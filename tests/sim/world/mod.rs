//! A world of hosts and the network between them, on virtual time.
//!
//! Nothing here runs by itself: events lie in one queue, and each process is a future that is polled
//! when its wait is over. A process that is stopped is not polled; a machine that sleeps has a clock
//! that stands still.

mod hardship;
mod host;
mod os;
pub(crate) mod path;
mod sim;
pub(crate) mod tcp;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use heartwheel::proto::time::Micros;

use crate::dice::Dice;
use crate::model::Book;
pub(crate) use hardship::{Hardship, Hardships};
pub(crate) use heartwheel::sys::Token;
pub(crate) use host::{Command, Host, HostId, Pace};
pub(crate) use os::Os;
use path::Path;
pub(crate) use sim::{Act, Sim};
use tcp::{Link, Packet, Sizes, SockId};

/// Everything but the processes.
pub(crate) struct World {
    /// True time: what a clock shows that never stops.
    pub(crate) now: Micros,
    queue: BinaryHeap<Reverse<(Micros, u64, usize)>>,
    /// What is in the queue, by its number there.
    events: Vec<Option<Event>>,
    free: Vec<usize>,
    sequence: u64,
    pub(crate) hosts: Vec<Host>,
    pub(crate) paths: Vec<Path>,
    pub(crate) links: Vec<Link>,
    /// Kernel buffers of connections to come.
    pub(crate) sizes: Sizes,
    pub(crate) dice: Dice,
    /// What is true of every connection, and what was done about it.
    pub(crate) book: Book,
    pub(crate) hardships: Hardships,
    pub(crate) is_traced: bool,
    pub(crate) lines: Vec<String>,
}

/// More than any world needs; a loop that spins passes it soon.
const MOST_EVENTS: u64 = 20_000_000;

/// What happens at its time.
#[derive(Debug)]
pub(crate) enum Event {
    Packet(SockId, Packet),
    Timer(SockId),
    Room(SockId),
    /// A process goes on, unless it has been woken since.
    Wake(HostId, u64),
    /// The script's next act.
    Act(usize),
}

impl World {
    pub(crate) fn new(seed: u64, is_traced: bool) -> Self {
        Self {
            now: Micros::ZERO,
            queue: BinaryHeap::new(),
            events: Vec::new(),
            free: Vec::new(),
            sequence: 0,
            hosts: Vec::new(),
            paths: Vec::new(),
            links: Vec::new(),
            sizes: Sizes {
                send: 64 * 1024,
                receive: 64 * 1024,
                segment: 1448,
            },
            dice: Dice::new(seed),
            book: Book::default(),
            hardships: Hardships::default(),
            is_traced,
            lines: Vec::new(),
        }
    }

    pub(crate) fn schedule(&mut self, at: Micros, event: Event) {
        let at = at.max(self.now);
        let place = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() - 1
        });
        self.events[place] = Some(event);
        self.sequence += 1;
        assert!(
            self.sequence < MOST_EVENTS,
            "the world does not come to rest"
        );
        self.queue.push(Reverse((at, self.sequence, place)));
    }

    /// Takes the next event up to `end` out of the queue, and moves time to it.
    fn next_event(&mut self, end: Micros) -> Option<Event> {
        let &Reverse((at, _, place)) = self.queue.peek()?;
        if at > end {
            return None;
        }
        self.queue.pop();
        self.free.push(place);
        self.now = at;
        self.events[place].take()
    }

    /// Keeps a line for whoever wants to read what happened.
    pub(crate) fn trace(&mut self, line: impl FnOnce() -> String) {
        if self.is_traced {
            let text = format!("{:>12.6} {}", self.now.as_secs_f64(), line());
            self.lines.push(text);
        }
    }
}
