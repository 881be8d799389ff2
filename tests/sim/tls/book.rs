//! What both sides of each connection have seen.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use heartwheel::close::Evidence;
use heartwheel::proto::time::Micros;

/// One connection.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Which plan its peer follows.
    pub(super) plan: usize,
    /// When we accepted or dialed it, when it was connected, and when it opened.
    pub(super) began: Micros,
    pub(super) connected: Option<Micros>,
    pub(super) opened: Option<Micros>,
    /// When we last read something, and read it when we were last told of an answer.
    pub(super) read: Micros,
    pub(super) answered: Micros,
    /// Messages of the peer's that we were given, and those that we sent.
    pub(super) heard: u64,
    pub(super) sent: u64,
    /// The kernel took only a part of what we wrote last, and when it did so.
    pub(super) is_cut_short: bool,
    pub(super) shortened: Micros,
    pub(super) end: Option<End>,
    /// What the peer has said and heard, and when it was pinged.
    pub(super) said: u64,
    pub(super) noted: u64,
    pub(super) pings: Vec<Micros>,
    /// The peer has heard our goodbye.
    pub(super) has_goodbye: bool,
}

/// How we have ended it.
#[derive(Debug)]
pub(super) struct End {
    pub(super) evidence: Evidence,
    pub(super) reason: String,
    pub(super) with_reset: bool,
}

/// All of them, by their links.
#[derive(Clone, Debug, Default)]
pub(super) struct Book(Rc<RefCell<BTreeMap<usize, Record>>>);

impl Book {
    pub(super) fn with<R>(&self, link: usize, tell: impl FnOnce(&mut Record) -> R) -> R {
        tell(self.0.borrow_mut().entry(link).or_default())
    }

    pub(super) fn each(&self, look: impl FnMut(&Record)) {
        self.0.borrow().values().for_each(look);
    }
}
