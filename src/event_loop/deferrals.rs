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
    waiting: HashMap<usize, Option<Verdict<D>>>,
    /// Those that are answered, the first one first.
    answered: VecDeque<ConnId>,
}

/// What the handler has decided.
#[derive(Debug)]
pub(super) enum Verdict<D> {
    Accept(Welcome<D>),
    Reject(Rejection),
    #[cfg(feature = "websocket")]
    Answer(HttpAnswer),
}

impl<D> Verdict<D> {
    pub(super) const fn settles(&self) -> Awaited {
        match self {
            Self::Accept(_) | Self::Reject(_) => Awaited::Verdict,
            #[cfg(feature = "websocket")]
            Self::Answer(_) => Awaited::Answer,
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
        }
    }

    /// Returns how many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Makes room for one more that waits, if there is some.
    pub(super) fn enter(&mut self, key: usize) -> bool {
        let has_room = self.len() < self.most;
        if has_room {
            self.waiting.insert(key, None);
        }
        has_room
    }

    /// Keeps the answer to one that waits and has none.
    pub(super) fn answer(&mut self, id: ConnId, verdict: Verdict<D>) -> Result<(), AnswerError> {
        match self.waiting.get_mut(&id.index()) {
            Some(place @ None) => *place = Some(verdict),
            Some(Some(_)) | None => return Err(AnswerError::NotWaiting),
        }
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
        !self.answered.is_empty() && matches!(self.waiting.get(&key), Some(Some(_)))
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
        self.waiting.remove(&key)?
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
