//! What a session borrows while it is not idle.

use crate::close::Evidence;
use crate::config::WireKind;
#[cfg(feature = "websocket")]
use crate::proto::http::{Exchange, HeadProgress};
use crate::proto::outbox::Outbox;
use crate::proto::pool::Pool;
use crate::proto::ring::Ring;
use crate::proto::tally::Tally;
use crate::proto::time::{Micros, Stamp};
use crate::proto::{binary, line};

/// Storage for bytes on their way in and out, and the few words that matter only meanwhile.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// Wire bytes received and not yet decoded. Steps out while they are decoded and handled.
    pub(super) rx: Ring,
    pub(super) tx: Outbox,
    #[cfg(feature = "websocket")]
    pub(super) websocket: crate::proto::websocket::Decoder,
    /// How far the head of the server's answer has been looked at.
    #[cfg(feature = "websocket")]
    pub(super) head: HeadProgress,
    /// How far the requests are: plain ones, and the one to upgrade.
    #[cfg(feature = "websocket")]
    pub(super) exchange: Exchange,
    /// What is kept for compressed messages.
    #[cfg(feature = "deflate")]
    pub(super) deflated: Option<Box<super::deflated::Deflated>>,
    pub(super) line: line::LineDecoder,
    pub(super) binary: binary::BinaryDecoder,
    /// When the unfinished message at the front of the input began, and the bytes it has brought.
    pub(super) unfinished: Option<Unfinished>,
    /// When output last made progress, or began to wait. Valid while `tx` is not empty; in a goodbye, when
    /// its last byte was accepted, as long as the close timeout runs from then.
    pub(super) progress: Stamp,
    /// How the queue drains, from when it had no room for a message until no message is queued.
    pub(super) drain: Option<Drain>,
    /// When the ping that waits was due, if the grid called for it.
    pub(super) ping_due: Option<Micros>,
    /// The record of the end, once its cause is known.
    pub(super) end: Option<Evidence>,
    /// The status of what answered the last plain HTTP request.
    pub(super) answered: Option<u16>,
    /// Bytes that the application holds for the connection.
    pub(super) outside: usize,
    /// Reading is held back, because memory is short.
    pub(super) back: Option<Held>,
    /// Bytes of output that a codec has answered with, since all of them had left. Some of them may have
    /// left since.
    pub(super) replies: usize,
    /// Reading has stopped, because the peer does not take its answers.
    pub(super) choked: Option<Held>,
    /// Output was given up that will never leave.
    pub(super) is_cut: bool,
    /// What all of this was counted as, and where.
    pub(super) tally: Tally,
    /// What the peer's Close frame gave as its reason, or why its handshake was refused, or the rule that
    /// it broke.
    pub(super) reason: String,
}

/// The clock of an unfinished message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unfinished {
    /// When its first byte came.
    pub(super) since: Stamp,
    pub(super) bytes: u64,
    /// From when it was known to be long: only then is its rate judged.
    pub(super) long_since: Option<Stamp>,
    /// How many of them are of a message; `None` where only a control frame is incomplete.
    pub(super) message: Option<u64>,
    /// Bytes of it that no decoder has taken.
    pub(super) left: usize,
}

/// Who does not read a connection that is held back, or whose answers wait.
#[derive(Clone, Copy, Debug)]
pub(super) enum Held {
    /// Only the loop, for this reason.
    Back,
    /// There is another reason, such as a pause of the application.
    Twice,
}

/// What left of a full queue since its rate was judged last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drain {
    pub(super) since: Stamp,
    pub(super) bytes: u64,
    /// Bytes among these, or among those of earlier spans, that carry a piece of output of which the last has
    /// not left.
    pub(super) ahead: u64,
}

/// Something that came in part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Incomplete {
    /// What has come of it.
    pub(super) bytes: u64,
    /// How much of that is of a message, if it is one.
    pub(super) message: Option<u64>,
    /// What its header has announced beyond that.
    pub(super) missing: u64,
}

impl Buffers {
    /// Says whether nothing in here is needed any more, and nothing of it is counted.
    pub(super) fn is_idle(&self) -> bool {
        self.tally.bytes == 0 && self.is_unused()
    }

    /// Says whether nothing in here is needed any more.
    pub(super) fn is_unused(&self) -> bool {
        self.rx.is_empty()
            && self.tx.is_empty()
            && self.unfinished.is_none()
            && self.end.is_none()
            && self.outside == 0
            && self.back.is_none()
            && self.has_no_head()
            && self.decoders_are_idle()
            && self.keeps_no_window()
    }

    /// Says whether no part of an opening head has been read, and no request answered: what is gone of them
    /// still counts.
    fn has_no_head(&self) -> bool {
        #[cfg(feature = "websocket")]
        let is_fresh = self.head.is_fresh() && self.exchange == Exchange::default();
        #[cfg(not(feature = "websocket"))]
        let is_fresh = true;
        is_fresh
    }

    /// Says whether nothing is kept for compressed messages.
    fn keeps_no_window(&self) -> bool {
        #[cfg(feature = "deflate")]
        let is_none = self.deflated.as_ref().is_none_or(|kept| kept.is_empty());
        #[cfg(not(feature = "deflate"))]
        let is_none = true;
        is_none
    }

    /// Returns how many bytes of a codec's answers wait at most: what is queued last leaves last.
    pub(super) fn replies_waiting(&self) -> usize {
        self.replies.min(self.tx.data_len())
    }

    /// Says whether nothing of a request has come.
    pub(super) fn is_between_requests(&self) -> bool {
        #[cfg(feature = "websocket")]
        if !self.exchange.is_between() {
            return false;
        }
        self.rx.is_empty()
    }

    /// Says whether no decoder is within a message.
    pub(super) fn decoders_are_idle(&self) -> bool {
        #[cfg(feature = "websocket")]
        if !self.websocket.is_idle() {
            return false;
        }
        self.line.is_idle() && self.binary.is_idle()
    }

    /// Returns the times in here.
    pub(super) fn stamps(&mut self) -> impl Iterator<Item = &mut Stamp> {
        let unfinished = self.unfinished.as_mut();
        let stamps = unfinished.map(|unfinished| {
            let since = Some(&mut unfinished.since);
            [since, unfinished.long_since.as_mut()]
        });
        let stamps = stamps.into_iter().flatten().flatten();
        let drain = self.drain.as_mut().map(|drain| &mut drain.since);
        std::iter::once(&mut self.progress)
            .chain(stamps)
            .chain(drain)
    }

    /// Returns what there is of something incomplete; `left` is the input that no decoder has taken.
    pub(super) fn incomplete(&self, wire: WireKind, left: &[u8]) -> Option<Incomplete> {
        let len = left.len() as u64;
        let all = |kept: usize, missing| {
            let bytes = kept as u64 + len;
            Some(Incomplete {
                bytes,
                message: Some(bytes),
                missing,
            })
        };
        match wire {
            #[cfg(feature = "websocket")]
            WireKind::WebSocket => {
                let kept = (!self.websocket.is_idle()).then(|| self.websocket.assembled_len());
                if kept.is_none() && left.is_empty() {
                    return None;
                }
                let bytes = kept.unwrap_or(0) as u64 + len;
                let message = if Self::is_control(wire, left) {
                    kept.map(|kept| kept as u64)
                } else {
                    Some(bytes)
                };
                Some(Incomplete {
                    bytes,
                    message,
                    missing: kept.map_or(0, |_| self.websocket.missing_len()),
                })
            }
            WireKind::Line if !self.line.is_idle() => {
                let line = self.line.assembled();
                let is_control = line::PING.starts_with(line) || line::PONG.starts_with(line);
                let bytes = line.len() as u64 + len;
                Some(Incomplete {
                    bytes,
                    message: (!is_control).then_some(bytes),
                    missing: 0,
                })
            }
            WireKind::Binary if !self.binary.is_idle() => {
                all(self.binary.assembled_len(), self.binary.missing_len())
            }
            // Of an own wire nobody knows what it will be.
            WireKind::Line | WireKind::Binary | WireKind::Raw | WireKind::Own => {
                if left.is_empty() { None } else { all(0, 0) }
            }
        }
    }

    /// Says whether input that no decoder has taken is the beginning of a control frame.
    pub(super) fn is_control(wire: WireKind, left: &[u8]) -> bool {
        wire.is_websocket() && left.first().is_some_and(|first| first & 0x08 != 0)
    }

    /// Gives all storage back and is as new, but for small capacities.
    pub(super) fn clear(&mut self, pool: &mut Pool) {
        let waiting = self.rx.len();
        self.rx.consume(waiting);
        self.rx.release(pool);
        self.tx.clear(pool);
        #[cfg(feature = "websocket")]
        {
            self.websocket.release(pool);
            self.head = HeadProgress::default();
            self.exchange = Exchange::default();
        }
        #[cfg(feature = "deflate")]
        {
            self.deflated = None;
        }
        self.progress = Stamp::default();
        self.line.discard(pool);
        self.binary.discard(pool);
        self.unfinished = None;
        self.drain = None;
        self.ping_due = None;
        self.end = None;
        self.answered = None;
        self.outside = 0;
        self.back = None;
        self.replies = 0;
        self.choked = None;
        self.is_cut = false;
        self.tally = Tally::default();
        self.reason.clear();
    }
}
