//! What a session holds in memory.

use super::buffers::{Buffers, Held};
use super::{Env, Session};
use crate::close::{Cause, Phase};
use crate::proto::tally::Tally;
use crate::proto::time::Moment;

impl Session {
    /// Returns how much memory the session holds beside its own struct, bytes: the storage of
    /// received bytes, of an unfinished message and of queued output, used or not, and what the
    /// application [holds](Self::set_held) for it. Zero if it holds nothing that it needs. Bytes that
    /// queues share are not included: the pool [counts them](crate::proto::pool::Pool::shared_bytes)
    /// once.
    pub fn memory(&self) -> usize {
        let held = self.buffers.as_ref().filter(|held| !held.is_unused());
        held.map_or(0, |held| held.memory())
    }

    /// Sets how much memory the application holds for this connection, bytes. It counts as if the
    /// session held it, until it is set to another number or the session is discarded.
    pub fn set_held(&mut self, env: &mut Env, bytes: usize) {
        if bytes > 0 || self.buffers.is_some() {
            self.held(env).outside = bytes;
        }
    }

    /// Returns what the end of this session would free at most: shared bytes included.
    pub(crate) fn weight(&self) -> usize {
        let held = self.buffers.as_ref().filter(|held| !held.is_unused());
        held.map_or(0, |held| {
            let tx = held.tx.memory();
            held.memory() - tx + tx.max(held.tx.data_cost())
        })
    }

    /// Returns what the loop has counted the session to hold.
    pub(crate) fn tally(&self) -> Tally {
        let held = self.buffers.as_ref();
        held.map(|held| held.tally).unwrap_or_default()
    }

    /// Returns the same, to count anew. Whoever counts nothing [releases](Self::release) it.
    pub(crate) fn tally_mut(&mut self, env: &mut Env) -> &mut Tally {
        &mut self.held(env).tally
    }

    /// Stops reading for a while, because memory is short and this session holds much. Unlike a
    /// [pause](Self::handle_pause) of the application it has an end; while both last, nothing is read.
    /// Says whether it was not held back already.
    pub(crate) fn hold_back(&mut self, env: &mut Env, now: Moment) -> bool {
        if self.phase != Phase::Open || self.is_held_back() {
            return false;
        }
        let is_paused = self.wants_pause();
        self.handle_pause(now);
        self.held(env).back = match is_paused {
            true => Some(Held::Twice),
            false => Some(Held::Back),
        };
        true
    }

    /// Reads on, unless the application pauses too.
    pub(crate) fn let_go(&mut self, now: Moment) {
        let held = self.buffers.as_mut().and_then(|held| held.back.take());
        if let Some(Held::Back) = held {
            self.handle_resume(now);
        }
    }

    pub(super) fn is_held_back(&self) -> bool {
        self.buffers
            .as_ref()
            .is_some_and(|held| held.back.is_some())
    }

    /// Notes that the application pauses or goes on. Says whether that is all, since reading is held back.
    pub(super) fn note_pause(&mut self, is_paused: bool) -> bool {
        let held = self.buffers.as_mut().and_then(|held| held.back.as_mut());
        let is_held = held.is_some();
        if let Some(held) = held {
            *held = match is_paused {
                true => Held::Twice,
                false => Held::Back,
            };
        }
        is_held
    }

    /// Ends the session because memory is short and it holds most: begins to close, and frees what it
    /// holds at once. Where a long frame was partly written, no goodbye can follow it soon: then, and where
    /// the session is closing already, it is over at once.
    pub fn handle_memory_limit(&mut self, env: &mut Env, now: Moment) {
        if let Some(held) = &mut self.buffers {
            // The goodbye waits for nothing but the rest of a frame.
            held.tx.set_blocked(true);
        }
        match self.phase {
            Phase::Closing => self.give_up(now, Cause::MemoryLimit),
            Phase::Connecting | Phase::Handshaking | Phase::Open | Phase::Closed => {
                let why = "memory limit reached";
                self.close(env, now, Cause::MemoryLimit, None, why);
            }
        }
        if self.queued() > LONGEST_REST {
            self.give_up(now, Cause::MemoryLimit);
        }
        let is_over = self.phase == Phase::Closed;
        #[cfg(feature = "deflate")]
        self.forget_deflated(env);
        let Some(held) = &mut self.buffers else {
            return;
        };
        held.outside = 0;
        held.drain = None;
        held.unfinished = None;
        let waiting = held.rx.len();
        held.rx.consume(waiting);
        held.rx.release(&mut env.pool);
        #[cfg(feature = "websocket")]
        held.websocket.release(&mut env.pool);
        held.line.discard(&mut env.pool);
        held.binary.discard(&mut env.pool);
        if is_over {
            held.is_cut |= !held.tx.is_empty();
            held.tx.abandon(&mut env.pool);
        } else {
            held.tx.narrow(&mut env.pool);
        }
    }
}

/// The longest rest of a frame, bytes, that a goodbye for the sake of memory waits for.
const LONGEST_REST: usize = 64 * 1024;

impl Buffers {
    fn memory(&self) -> usize {
        #[cfg(feature = "websocket")]
        let websocket = self.websocket.capacity();
        #[cfg(not(feature = "websocket"))]
        let websocket = 0;
        #[cfg(feature = "deflate")]
        let websocket = websocket + self.deflated.as_ref().map_or(0, |kept| kept.memory());
        let assembled = websocket + self.line.capacity() + self.binary.capacity();
        size_of::<Self>()
            + self.rx.capacity()
            + self.tx.memory()
            + assembled
            + self.reason.capacity()
            + self.outside
    }
}
