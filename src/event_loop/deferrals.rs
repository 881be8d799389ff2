//! Connections that wait for the handler's answer, and the answers that have come.

use std::collections::{HashMap, VecDeque};

#[cfg(feature = "websocket")]
use super::answer::HttpAnswer;
use super::answer::{Rejection, Welcome};
use super::token::ConnId;
use crate::error::AnswerError;
use crate::proto::session::Awaited;

/// Who waits for the handler's answer, by slot. A connection that does not wait takes no room here.
///
/// The session knows that it waits, and its request lies in its input. Here is only what the handler has
/// said since, until that request is looked at again.
#[derive(Debug)]
pub(super) struct Deferrals<D> {
    most: usize,
    waiting: HashMap<usize, Waiting<D>>,
    /// Those that are answered, the first one first.
    answered: VecDeque<ConnId>,
    /// How many plain requests the handler was asked to answer.
    requests: u64,
}

/// What is awaited for one connection, and what has come.
#[derive(Debug)]
struct Waiting<D> {
    /// The number of the request that is to be answered. A connection is let in only once, so that needs no
    /// number: it is 0.
    request: u64,
    verdict: Option<Verdict<D>>,
}

/// What the handler has decided.
#[derive(Debug)]
pub(super) enum Verdict<D> {
    Accept(Welcome<D>),
    Reject(Rejection),
    /// The answer to the plain request with this number.
    #[cfg(feature = "websocket")]
    Answer(u64, HttpAnswer),
}

impl<D> Verdict<D> {
    pub(super) const fn settles(&self) -> Awaited {
        match self {
            Self::Accept(_) | Self::Reject(_) => Awaited::Verdict,
            #[cfg(feature = "websocket")]
            Self::Answer(..) => Awaited::Answer,
        }
    }

    const fn request(&self) -> u64 {
        match self {
            Self::Accept(_) | Self::Reject(_) => 0,
            #[cfg(feature = "websocket")]
            Self::Answer(request, _) => *request,
        }
    }
}

impl<D> Deferrals<D> {
    /// Makes room for so many at once, none of which is reserved.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            waiting: HashMap::new(),
            answered: VecDeque::new(),
            requests: 0,
        }
    }

    /// Returns the number of one more plain request, about which the handler is asked now.
    #[cfg(feature = "websocket")]
    pub(super) fn number_request(&mut self) -> u64 {
        self.requests += 1;
        self.requests
    }

    /// Returns how many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Makes room for one more that waits, if there is some. If it waits for the answer to a plain request,
    /// that is the request about which the handler was asked last.
    pub(super) fn enter(&mut self, key: usize, awaited: Awaited) -> bool {
        let has_room = self.len() < self.most;
        if has_room {
            let request = match awaited {
                Awaited::Verdict => 0,
                Awaited::Answer => self.requests,
            };
            let verdict = None;
            self.waiting.insert(key, Waiting { request, verdict });
        }
        has_room
    }

    /// Keeps the answer to one that waits and has none.
    pub(super) fn answer(&mut self, id: ConnId, verdict: Verdict<D>) -> Result<(), AnswerError> {
        let waiting = self.waiting.get_mut(&id.index());
        let waiting = waiting.filter(|waiting| waiting.request == verdict.request());
        let place = waiting.map(|waiting| &mut waiting.verdict);
        let place = place.filter(|place| place.is_none());
        *place.ok_or(AnswerError::NotWaiting)? = Some(verdict);
        self.answered.push_back(id);
        Ok(())
    }

    /// Returns how many answers have yet to be acted on.
    pub(super) fn answers(&self) -> usize {
        self.answered.len()
    }

    /// Takes the next connection that has its answer.
    pub(super) fn next_answered(&mut self) -> Option<ConnId> {
        self.answered.pop_front()
    }

    /// Says whether a connection has its answer, which has yet to be acted on.
    pub(super) fn is_answered(&self, key: usize) -> bool {
        let has_answer = |waiting: &Waiting<D>| waiting.verdict.is_some();
        !self.answered.is_empty() && self.waiting.get(&key).is_some_and(has_answer)
    }

    /// Takes the connection that was answered last out of those to be acted on.
    pub(super) fn take_newest(&mut self) {
        self.answered.pop_back();
    }

    /// Takes the answer to the request that a connection has waited with, if there is one.
    pub(super) fn take(&mut self, key: usize) -> Option<Verdict<D>> {
        // Nearly always nobody waits, and each opening asks.
        if self.waiting.is_empty() {
            return None;
        }
        self.waiting.remove(&key)?.verdict
    }

    /// Forgets a connection that waits no more.
    pub(super) fn forget(&mut self, key: usize) {
        if !self.waiting.is_empty() {
            self.waiting.remove(&key);
            if self.waiting.is_empty() {
                self.waiting.shrink_to(FEW);
            }
        }
    }
}

/// Room for waiting connections that is kept while there are none.
const FEW: usize = 64;
