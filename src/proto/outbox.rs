//! The output of one connection: a queue of whole frames, and separate places for control frames.
//!
//! If a ping waited behind a megabyte of data, its round-trip time would measure the data, not the
//! peer. So pings, pongs and the close are not in the queue: they are sent at the next frame
//! boundary. The queue knows where each frame ends. It knows no wire: the caller passes encoded
//! frames.

use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;
use std::mem;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;

use super::pool::Pool;
use super::received::Received;
use super::ring::Ring;
use super::shares::Share;

/// Frames that wait to be written to the socket.
///
/// The order in which bytes are written:
///
/// 1. the rest of a frame that was partly written, whatever its kind;
/// 2. waiting pongs, then the ping;
/// 3. data frames, in the order in which they were queued;
/// 4. the close.
///
/// The close is always last. The caller chooses which data is written before it, see [`Parting`]:
/// all of it, or, once output is [blocked](Self::set_blocked), only the rest of the frame or
/// message that was partly written.
///
/// Each call queues **one whole frame**, because control frames may be written between any two
/// frames. The caller must split a long message into fragments, so that a ping does not wait for
/// all of it, and must check limits before it queues a frame. After [`set_close`](Self::set_close)
/// nothing more is queued.
///
/// Writing takes two calls, with no frame queued between them: [`slices`](Self::slices), and
/// [`commit`](Self::commit) with the number of bytes that the socket accepted.
///
/// ```
/// use std::io::IoSlice;
/// use heartwheel::proto::outbox::Outbox;
/// use heartwheel::proto::pool::Pool;
///
/// let mut pool = Pool::default();
/// let mut outbox = Outbox::default();
/// outbox.push_frame(b"hello", b"\n", &mut pool);
/// outbox.set_ping(b"PING\n");
///
/// let mut slices = [IoSlice::new(&[]); 8];
/// assert_eq!(outbox.slices(&mut slices), 2);
/// assert_eq!(&*slices[0], b"PING\n");
/// assert_eq!(&*slices[1], b"hello\n");
///
/// let written = outbox.commit(7, &mut pool);
/// assert!(written.ping);
/// assert_eq!(outbox.len(), 4);
/// ```
#[derive(Default)]
pub struct Outbox {
    /// Data frames in order, for the frame boundaries. Their bytes are in `inline` and `large`.
    frames: VecDeque<Frame>,
    /// Whether the front data frame was partly written. If so, no control frame is unfinished.
    begun: bool,
    carried: Carried,
    /// The unwritten bytes of all inline frames, without gaps.
    inline: Ring,
    large: VecDeque<Large>,
    /// Large frames that the close made obsolete. They stay here until their storage is given back.
    obsolete: Vec<Large>,
    /// Invariant: the number of unwritten bytes in `large`.
    large_len: usize,
    /// Invariant: the size of the storage in `large` and `obsolete` that is not shared.
    owned: usize,
    /// Whether a frame in `large` may share storage that holds much else.
    has_loose: bool,
    /// Invariant: the number of bytes in `inline` that are written after the last frame in `large`.
    inline_behind: usize,

    /// The rest of a ping or pong that was partly written; empty if there is none.
    unfinished: Vec<u8>,
    /// The kind of the frame in `unfinished`. It means nothing while that is empty.
    unfinished_kind: Control,
    pongs: Pongs,
    ping: Vec<u8>,
    close: Vec<u8>,
    closed: bool,
    blocked: bool,
    /// Which data is still written after the close was queued. It means nothing before.
    parting: Parting,
    /// Bytes of data that were dropped because of the close.
    dropped: usize,
}

impl Outbox {
    /// The limit for waiting pongs in bytes. Above it, new pongs replace older ones even while
    /// output is not blocked.
    pub const PONG_LIMIT: usize = 4096;

    /// Queues one whole data frame, header and payload, by copying it. Does nothing for an empty
    /// frame.
    pub fn push_frame(&mut self, header: &[u8], payload: &[u8], pool: &mut Pool) {
        let Some(len) = NonZeroUsize::new(header.len() + payload.len()) else {
            return;
        };
        if self.closed {
            return;
        }
        self.inline.extend_both(header, payload, pool);
        self.inline_behind += len.get();
        make_place(&mut self.frames);
        self.frames.push_back(Frame::Inline(len));
    }

    /// Queues one whole data frame without copying it. For large payloads.
    pub fn push_block(&mut self, frame: Box<[u8]>) {
        let range = 0..frame.len();
        self.push_large(Head::NONE, Bytes::Owned(frame), range);
    }

    /// Queues one whole data frame: a header, and a part of a received message, whose storage it
    /// shares. While output is blocked, storage that holds much else is not kept: the part is copied.
    ///
    /// # Panics
    ///
    /// If the header is longer than 14 bytes.
    #[cfg_attr(
        all(not(feature = "websocket"), not(test)),
        expect(dead_code, reason = "only WebSocket shares what it received")
    )]
    pub(crate) fn push_received(&mut self, header: &[u8], part: Received, pool: &mut Pool) {
        if self.closed {
            return;
        }
        let (head, range) = (Head::new(header), 0..part.len());
        let bytes = if self.blocked && part.is_loose() {
            Bytes::Owned(part.data().into())
        } else {
            self.has_loose |= part.is_loose();
            let share = pool.share_at(part.address(), part.capacity());
            Bytes::Received(part, share)
        };
        self.push_large(head, bytes, range);
    }

    /// Queues one whole data frame: the part at `range` of bytes that are shared with other
    /// connections. The pool counts them once.
    ///
    /// # Panics
    ///
    /// If `range` exceeds the bytes.
    pub fn push_shared(&mut self, bytes: Arc<[u8]>, range: Range<usize>, pool: &mut Pool) {
        assert!(
            range.end <= bytes.len(),
            "shared frame reaches beyond its bytes"
        );
        if !range.is_empty() && !self.closed {
            let share = pool.share(&bytes);
            self.push_large(Head::NONE, Bytes::Shared(bytes, share), range);
        }
    }

    /// Treats the front data frame as partly written, so that no control frame is written before
    /// it. For the bytes that come before the first frame of a wire, such as an opening handshake.
    pub(crate) fn begin_front(&mut self) {
        debug_assert!(self.unfinished.is_empty(), "no other frame has begun");
        self.begun = !self.frames.is_empty();
    }

    /// Adds bytes to what comes before the first frame, in front of which no control frame is written.
    /// Nothing else is queued yet.
    pub(crate) fn push_first(&mut self, bytes: &[u8], pool: &mut Pool) {
        let Some(len) = NonZeroUsize::new(bytes.len()).filter(|_| !self.closed) else {
            return;
        };
        match self.frames.back_mut() {
            Some(Frame::Inline(first)) => {
                *first = first.saturating_add(len.get());
                self.inline.extend(bytes, pool);
                self.inline_behind += len.get();
            }
            Some(Frame::Large) | None => self.push_frame(bytes, &[], pool),
        }
        self.begin_front();
    }

    /// Queues a ping. A newer ping replaces a waiting one. If a ping was partly written, the newer
    /// one waits behind it.
    pub fn set_ping(&mut self, frame: &[u8]) -> PingQueued {
        if self.closed || frame.is_empty() {
            return PingQueued::Refused;
        }
        let replaced = !self.ping.is_empty();
        self.ping.clear();
        self.ping.extend_from_slice(frame);
        if replaced {
            PingQueued::Replaced
        } else {
            PingQueued::Queued
        }
    }

    /// Queues a pong, and returns how many waiting pongs it replaced.
    ///
    /// While output is not blocked, each pong is queued, up to [`PONG_LIMIT`](Self::PONG_LIMIT)
    /// bytes. While it is blocked, the newest pong replaces all that wait (RFC 6455, 5.5.3).
    pub fn push_pong(&mut self, frame: &[u8]) -> usize {
        if self.closed || frame.is_empty() {
            return 0;
        }
        let folded = if self.blocked || self.pongs.bytes.len() + frame.len() > Self::PONG_LIMIT {
            self.pongs.clear()
        } else {
            0
        };
        self.pongs.push(frame);
        folded
    }

    /// Queues a pong that does not say which ping it answers. Returns how many pongs were dropped.
    ///
    /// The peer counts these pongs, so one cannot replace another. Each is queued, even while
    /// output is blocked. Above [`PONG_LIMIT`](Self::PONG_LIMIT) bytes the new pong is dropped.
    pub(crate) fn push_counted_pong(&mut self, frame: &[u8]) -> usize {
        if self.closed || frame.is_empty() {
            return 0;
        }
        if self.pongs.bytes.len() + frame.len() > Self::PONG_LIMIT {
            return 1;
        }
        self.pongs.push(frame);
        0
    }

    /// Queues a pong, whatever waits: the caller stops the peer's pings where that is too much.
    pub(crate) fn push_each_pong(&mut self, frame: &[u8]) {
        if !self.closed && !frame.is_empty() {
            self.pongs.push(frame);
        }
    }

    /// Queues the last frame. `parting` says which of the queued data is still written.
    ///
    /// While output is not blocked, all data is written before the close. A ping that was not
    /// partly written is dropped. Waiting pongs are written (RFC 6455, 5.5.2). From now on nothing
    /// can be queued.
    ///
    /// A wire without a close frame passes an empty one. Then nothing more is queued, and the
    /// connection can be shut down for writing as soon as the outbox is empty. A second close is
    /// ignored. If dropped data leaves the ring empty, its storage goes back with the next
    /// [`commit`](Self::commit) or [`clear`](Self::clear).
    pub fn set_close(&mut self, frame: &[u8], parting: Parting, pool: &mut Pool) {
        if self.closed {
            return;
        }
        self.closed = true;
        self.parting = parting;
        self.ping.clear();
        self.close.extend_from_slice(frame);
        if self.blocked {
            self.drop_obsolete();
            self.give_obsolete(pool);
        }
    }

    /// Sets whether output is blocked: the socket has refused more bytes. After a
    /// [close](Self::set_close), this drops the data that the close does not wait for.
    ///
    /// A [`commit`](Self::commit) does not change it: a socket that accepted some bytes may have
    /// refused the rest.
    pub fn set_blocked(&mut self, blocked: bool) {
        self.blocked = blocked;
        if blocked && self.closed {
            self.drop_obsolete();
        }
    }

    /// Takes the first `count` bytes of what [`slices`](Self::slices) returned out of the queue: a layer,
    /// such as TLS, has them in a form of its own, which the socket has not accepted. They count as queued
    /// until they are [committed](Self::commit), and nothing overtakes or drops them.
    ///
    /// # Panics
    ///
    /// If `count` is more than is queued, or a layer has bytes already.
    pub fn carry(&mut self, count: usize, pool: &mut Pool) {
        assert_eq!(
            self.carried.len, 0,
            "a layer takes one piece after the other"
        );
        let before = self.data_len();
        let completes = self.commit(count, pool);
        self.carried = Carried {
            len: count,
            data: before - self.data_len(),
            completes,
        };
    }

    /// Counts `written` bytes as accepted by the socket: those that a layer [carries](Self::carry), then the
    /// first ones of what [`slices`](Self::slices) returned. Gives back storage that is now empty.
    ///
    /// # Panics
    ///
    /// If `written` is more than [`len`](Self::len).
    pub fn commit(&mut self, written: usize, pool: &mut Pool) -> Written {
        assert!(
            written <= self.len(),
            "committed more bytes than are queued"
        );
        if written == self.len() {
            return self.commit_all(pool);
        }
        let mut report = Written::default();
        let mut left = self.commit_carried(written, &mut report);
        left = self.commit_unfinished(left, &mut report);
        if self.begun {
            left = self.commit_frame(left, pool);
        }
        left = self.commit_pongs(left);
        left = self.commit_ping(left, &mut report);
        while left > 0 && !self.frames.is_empty() {
            left = self.commit_frame(left, pool);
        }
        left = self.commit_close(left, &mut report);
        debug_assert_eq!(left, 0, "len() counts every queued byte");
        self.inline.release(pool);
        self.give_obsolete(pool);
        self.inline.slim(pool);
        slim(&mut self.frames);
        slim(&mut self.large);
        report
    }

    /// Discards everything, also the flags. Keeps small allocations for the next connection.
    pub fn clear(&mut self, pool: &mut Pool) {
        self.forget_queued(pool);
        self.carried = Carried::default();
        shorten(&mut self.frames);
        shorten(&mut self.large);
        shorten(&mut self.pongs.frames);
        self.obsolete.shrink_to(KEPT_FRAMES);
        for bytes in [
            &mut self.pongs.bytes,
            &mut self.unfinished,
            &mut self.ping,
            &mut self.close,
        ] {
            bytes.shrink_to(KEPT_BYTES);
        }
        self.closed = false;
        self.blocked = false;
        self.parting = Parting::default();
        self.dropped = 0;
    }

    /// Drops everything, control frames too: nothing more will be written but what a layer has. Gives all
    /// storage back.
    pub(crate) fn abandon(&mut self, pool: &mut Pool) {
        self.dropped += self.data_len() - self.carried.data;
        self.forget_queued(pool);
        self.narrow(pool);
    }

    /// Gives back storage beyond what the queued bytes need.
    pub(crate) fn narrow(&mut self, pool: &mut Pool) {
        self.give_obsolete(pool);
        self.tighten(pool);
        self.inline.fit(pool);
        shorten(&mut self.frames);
        shorten(&mut self.large);
        self.obsolete.shrink_to(KEPT_FRAMES);
    }

    /// Fills `out` with what to write next, in order, and returns how many slices it used.
    ///
    /// Adjacent inline frames are one slice, or two if the ring wraps around. If `out` is too
    /// short, the rest follows after the next [`commit`](Self::commit).
    pub fn slices<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        let mut gather = Gather { out, count: 0 };
        gather.push(&self.unfinished);
        let control_waits = !self.pongs.bytes.is_empty() || !self.ping.is_empty();
        let (inline_done, large_done) = if control_waits {
            self.gather_begun(&mut gather)
        } else {
            (0, 0)
        };
        gather.push(&self.pongs.bytes);
        gather.push(&self.ping);
        self.gather_data(inline_done, large_done, &mut gather);
        gather.push(&self.close);
        gather.count
    }

    /// Returns the number of bytes queued, with control frames.
    pub fn len(&self) -> usize {
        let control =
            self.unfinished.len() + self.pongs.bytes.len() + self.ping.len() + self.close.len();
        let carried = self.carried.len - self.carried.data;
        self.data_len() + control + carried
    }

    /// Returns the number of bytes of pongs that wait.
    pub(crate) fn pongs_len(&self) -> usize {
        self.pongs.bytes.len()
    }

    /// Returns the number of bytes of data frames queued.
    pub fn data_len(&self) -> usize {
        self.inline.len() + self.large_len + self.carried.data
    }

    /// Returns how much memory the queued data frames take: their unwritten bytes and, for each
    /// frame, its entry in the queue and the overhead of its storage. With tiny frames that is more
    /// than the bytes.
    ///
    /// A queue that fills up takes at most a quarter more than this, plus 64 KiB. A queue that was
    /// fuller before takes at most twice this. The written part of a large frame is not included,
    /// although its memory is freed only with the rest. Shared bytes are counted in every queue.
    pub fn data_cost(&self) -> usize {
        self.data_len() + self.frames.len() * FRAME_COST + self.large.len() * LARGE_COST
    }

    /// Returns at most how many [`slices`](Self::slices) the queued data frames take.
    pub(crate) fn pieces(&self) -> usize {
        // A header and a part of something shared each, and inline frames between them.
        self.large.len() * 3 + 2
    }

    /// Returns how much memory the outbox holds: all storage, used or not, but for bytes that are
    /// shared.
    pub fn memory(&self) -> usize {
        let entries = self.frames.capacity() * size_of::<Frame>()
            + (self.large.capacity() + self.obsolete.capacity()) * size_of::<Large>()
            + self.pongs.frames.capacity() * size_of::<usize>();
        let control = self.unfinished.capacity()
            + self.pongs.bytes.capacity()
            + self.ping.capacity()
            + self.close.capacity();
        self.inline.capacity() + self.owned + entries + control
    }

    /// Returns how many bytes of data frames were dropped because of the close.
    pub fn dropped(&self) -> usize {
        self.dropped
    }

    /// Returns whether no byte is queued.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether the socket refused more output; see [`set_blocked`](Self::set_blocked).
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Returns whether [`set_close`](Self::set_close) was called: nothing more can be queued.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Returns whether any byte of a ping is still unwritten.
    pub fn ping_waiting(&self) -> bool {
        let begun = !self.unfinished.is_empty() && self.unfinished_kind == Control::Ping;
        begun || !self.ping.is_empty() || self.carried.completes.ping
    }

    /// Returns whether any byte of the close frame is still unwritten.
    pub fn close_waiting(&self) -> bool {
        !self.close.is_empty() || self.carried.completes.close
    }

    fn push_large(&mut self, head: Head, bytes: Bytes, range: Range<usize>) {
        if range.is_empty() || self.closed {
            return;
        }
        self.large_len += head.rest().len() + range.len();
        self.owned += bytes.owned();
        let inline_before = mem::take(&mut self.inline_behind);
        make_place(&mut self.large);
        self.large.push_back(Large {
            inline_before,
            head,
            range,
            bytes,
        });
        make_place(&mut self.frames);
        self.frames.push_back(Frame::Large);
    }

    /// Drops the data that the close does not wait for, because output is blocked.
    fn drop_obsolete(&mut self) {
        let kept = match self.parting {
            Parting::Everything => return,
            Parting::Message(goes_on) => self.begun_message(goes_on),
            Parting::Frame => usize::from(self.begun),
        };
        let before = self.data_len();
        self.frames.truncate(kept);
        let (mut inline, mut behind, mut large) = (0, 0, 0);
        for frame in &self.frames {
            match frame {
                Frame::Inline(len) => {
                    inline += len.get();
                    behind += len.get();
                }
                Frame::Large => {
                    large += 1;
                    behind = 0;
                }
            }
        }
        self.inline.truncate(inline);
        self.inline_behind = behind;
        self.obsolete.extend(self.large.drain(large..));
        self.large_len = self.large.iter().map(Large::len).sum();
        self.dropped += before - self.data_len();
    }

    /// Copies received messages that lie in storage with much else, because they have to wait. Call it
    /// when output becomes blocked.
    pub(crate) fn tighten(&mut self, pool: &mut Pool) {
        if !mem::take(&mut self.has_loose) {
            return;
        }
        for large in &mut self.large {
            if let Bytes::Received(part, _) = &large.bytes
                && part.is_loose()
            {
                let rest = Bytes::Owned(large.rest().into());
                self.owned += rest.owned();
                large.range = 0..large.range.len();
                mem::replace(&mut large.bytes, rest).give(pool);
            }
        }
    }

    fn give_obsolete(&mut self, pool: &mut Pool) {
        while let Some(obsolete) = self.obsolete.pop() {
            self.owned -= obsolete.bytes.owned();
            obsolete.bytes.give(pool);
        }
    }

    /// Returns how many of the queued data frames belong to the message that was partly written.
    fn begun_message(&self, goes_on: fn(u8) -> bool) -> usize {
        let (older, newer) = self.inline.filled();
        let (mut inline, mut large) = (0, 0);
        let mut count = 0;
        for frame in &self.frames {
            let first = match frame {
                Frame::Inline(len) => {
                    let at = inline;
                    inline += len.get();
                    older.get(at).or_else(|| newer.get(at - older.len()))
                }
                Frame::Large => {
                    large += 1;
                    self.large[large - 1].first()
                }
            };
            let is_begun = count == 0 && self.begun;
            if !is_begun && !first.is_some_and(|&byte| goes_on(byte)) {
                break;
            }
            count += 1;
        }
        count
    }

    /// Counts every byte as accepted: the usual case, in which the socket has room.
    fn commit_all(&mut self, pool: &mut Pool) -> Written {
        let report = Written {
            ping: self.ping_waiting(),
            close: self.close_waiting(),
        };
        self.forget_queued(pool);
        self.carried = Carried::default();
        report
    }

    /// Discards what is queued, and keeps the allocations and the flags.
    fn forget_queued(&mut self, pool: &mut Pool) {
        if !self.frames.is_empty() || !self.obsolete.is_empty() {
            self.forget_data(pool);
        }
        self.inline.release(pool);
        self.unfinished.clear();
        self.pongs.clear();
        self.ping.clear();
        self.close.clear();
    }

    /// Discards the data. Not called if there is only a heartbeat, because it has no data.
    fn forget_data(&mut self, pool: &mut Pool) {
        self.inline.truncate(0);
        self.inline_behind = 0;
        self.frames.clear();
        self.begun = false;
        while let Some(left) = self.large.pop_front() {
            self.owned -= left.bytes.owned();
            left.bytes.give(pool);
        }
        self.give_obsolete(pool);
        self.large_len = 0;
        self.has_loose = false;
    }

    fn commit_carried(&mut self, left: usize, report: &mut Written) -> usize {
        let accepted = left.min(self.carried.len);
        self.carried.len -= accepted;
        self.carried.data = self.carried.data.min(self.carried.len);
        if self.carried.len == 0 {
            *report = mem::take(&mut self.carried).completes;
        }
        left - accepted
    }

    fn commit_unfinished(&mut self, left: usize, report: &mut Written) -> usize {
        let accepted = left.min(self.unfinished.len());
        self.unfinished.drain(..accepted);
        if accepted > 0 && self.unfinished.is_empty() {
            report.ping |= self.unfinished_kind == Control::Ping;
        }
        left - accepted
    }

    /// Counts bytes of the front data frame as accepted. Returns the number of bytes after its end.
    fn commit_frame(&mut self, left: usize, pool: &mut Pool) -> usize {
        let rest = self.front_rest();
        let accepted = left.min(rest);
        if accepted == 0 {
            return left;
        }
        self.begun = accepted < rest;
        match self.frames.front_mut() {
            Some(Frame::Inline(len)) => {
                if let Some(rest) = NonZeroUsize::new(rest - accepted) {
                    *len = rest;
                }
                self.inline.consume(accepted);
                match self.large.front_mut() {
                    Some(large) => large.inline_before -= accepted,
                    None => self.inline_behind -= accepted,
                }
            }
            Some(Frame::Large) => {
                self.large_len -= accepted;
                self.large[0].consume(accepted);
                if !self.begun
                    && let Some(large) = self.large.pop_front()
                {
                    self.owned -= large.bytes.owned();
                    large.bytes.give(pool);
                }
            }
            None => {}
        }
        if !self.begun {
            self.frames.pop_front();
        }
        left - accepted
    }

    fn commit_pongs(&mut self, mut left: usize) -> usize {
        let mut gone = 0;
        while left > 0
            && let Some(len) = self.pongs.frames.pop_front()
        {
            let accepted = left.min(len);
            if accepted < len {
                let rest = &self.pongs.bytes[gone + accepted..gone + len];
                self.unfinished.extend_from_slice(rest);
                self.unfinished_kind = Control::Pong;
            }
            gone += len;
            left -= accepted;
        }
        self.pongs.bytes.drain(..gone);
        left
    }

    fn commit_ping(&mut self, left: usize, report: &mut Written) -> usize {
        let accepted = left.min(self.ping.len());
        if accepted < self.ping.len() && accepted > 0 {
            mem::swap(&mut self.ping, &mut self.unfinished);
            self.unfinished.drain(..accepted);
            self.unfinished_kind = Control::Ping;
        } else if accepted > 0 {
            self.ping.clear();
            report.ping = true;
        }
        left - accepted
    }

    fn commit_close(&mut self, left: usize, report: &mut Written) -> usize {
        let accepted = left.min(self.close.len());
        // Nothing follows the close frame, so its rest can stay in `close`.
        self.close.drain(..accepted);
        report.close |= accepted > 0 && self.close.is_empty();
        left - accepted
    }

    /// Returns the unwritten bytes of the front data frame; zero if there is none.
    fn front_rest(&self) -> usize {
        match self.frames.front() {
            Some(Frame::Inline(len)) => len.get(),
            Some(Frame::Large) => self.large.front().map_or(0, Large::len),
            None => 0,
        }
    }

    /// Adds the rest of a partly written data frame to the slices, because control frames follow
    /// it. Returns how many inline bytes and how many frames of `large` that were.
    fn gather_begun<'a>(&'a self, gather: &mut Gather<'a, '_>) -> (usize, usize) {
        match self.frames.front() {
            Some(Frame::Inline(rest)) if self.begun => {
                self.gather_inline(0..rest.get(), gather);
                (rest.get(), 0)
            }
            Some(Frame::Large) if self.begun => {
                gather.push_large(&self.large[0]);
                (0, 1)
            }
            Some(Frame::Inline(_) | Frame::Large) | None => (0, 0),
        }
    }

    /// Adds the data after the first `inline_done` inline bytes and the first `large_done` large
    /// frames to the slices. Takes one step for each large frame, however many inline frames lie
    /// between them.
    fn gather_data<'a>(
        &'a self,
        inline_done: usize,
        large_done: usize,
        gather: &mut Gather<'a, '_>,
    ) {
        let mut at = inline_done;
        let mut end = 0;
        for large in self.large.iter().skip(large_done) {
            end += large.inline_before;
            self.gather_inline(at..end, gather);
            gather.push_large(large);
            at = end;
            if gather.is_full() {
                return;
            }
        }
        self.gather_inline(at..self.inline.len(), gather);
    }

    fn gather_inline<'a>(&'a self, range: Range<usize>, gather: &mut Gather<'a, '_>) {
        let (older, newer) = self.inline.filled();
        let split = older.len();
        gather.push(&older[range.start.min(split)..range.end.min(split)]);
        gather.push(&newer[range.start.max(split) - split..range.end.max(split) - split]);
    }
}

/// Shows the sizes but not the bytes. They are the peer's data and do not belong in a log.
impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("len", &self.len())
            .field("data_len", &self.data_len())
            .field("frames", &self.frames.len())
            .field("begun", &self.begun)
            .field("ping_waiting", &self.ping_waiting())
            .field("closed", &self.closed)
            .field("blocked", &self.blocked)
            .finish()
    }
}

/// Which of the queued data is still written after a close was queued.
#[derive(Clone, Copy, Debug, Default)]
pub enum Parting {
    /// All of it, however long that takes.
    #[default]
    Everything,
    /// All of it, until output is blocked. Then only the rest of the message that was partly
    /// written. The function gets the first byte of a frame and says whether the frame continues
    /// the message of the frame before.
    Message(fn(u8) -> bool),
    /// All of it, until output is blocked. Then only the rest of the frame that was partly written:
    /// the close is sent at the next frame boundary.
    Frame,
}

/// What happened to a ping that was to be queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PingQueued {
    /// It waits. No other ping was waiting, or only one that was partly written.
    Queued,
    /// It waits, and has replaced an older one, which will never be written.
    Replaced,
    /// It was not queued: the outbox is closed, or the frame was empty.
    Refused,
}

/// What was completed by a [`commit`](Outbox::commit).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The last byte of a ping was accepted. If [`Outbox::ping_waiting`] is still true, that was
    /// the older of two pings.
    pub ping: bool,
    /// The last byte of the close frame was accepted.
    pub close: bool,
}

/// Bytes that a layer has taken over, and the socket has not accepted.
#[derive(Default)]
struct Carried {
    len: usize,
    /// So many of them are of data frames.
    data: usize,
    /// What the last of them completes.
    completes: Written,
}

/// What is left of one data frame. It takes eight bytes, because a queue of small frames is long.
enum Frame {
    /// This number of the inline bytes.
    Inline(NonZeroUsize),
    /// The next one of the large frames.
    Large,
}

/// A data frame with storage of its own.
struct Large {
    /// Inline bytes that are written before this frame and after the large frame before it.
    inline_before: usize,
    /// What is written before `bytes`, where these do not begin with the header.
    head: Head,
    /// The unwritten part of the bytes. Invariant: not empty, within `bytes`.
    range: Range<usize>,
    bytes: Bytes,
}

impl Large {
    fn rest(&self) -> &[u8] {
        let range = self.range.clone();
        match &self.bytes {
            Bytes::Owned(bytes) => &bytes[range],
            Bytes::Shared(bytes, _) => &bytes[range],
            Bytes::Received(part, _) => &part.data()[range],
        }
    }

    /// Returns the number of unwritten bytes.
    fn len(&self) -> usize {
        self.head.rest().len() + self.range.len()
    }

    fn first(&self) -> Option<&u8> {
        self.head.rest().first().or_else(|| self.rest().first())
    }

    /// Takes the first `count` unwritten bytes off.
    fn consume(&mut self, count: usize) {
        let of_head = count.min(self.head.rest().len());
        self.head.consume(of_head);
        self.range.start += count - of_head;
    }
}

/// The header of a frame whose payload lies elsewhere.
struct Head {
    bytes: [u8; Self::MOST],
    /// The unwritten part.
    rest: Range<u8>,
}

impl Head {
    /// Bytes that a header may have: those of the longest of WebSocket.
    const MOST: usize = 14;

    const NONE: Self = Self {
        bytes: [0; Self::MOST],
        rest: 0..0,
    };

    fn new(header: &[u8]) -> Self {
        let mut head = Self::NONE;
        head.bytes[..header.len()].copy_from_slice(header);
        for _ in header {
            head.rest.end += 1;
        }
        head
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.rest.start.into()..self.rest.end.into()]
    }

    fn consume(&mut self, count: usize) {
        for _ in 0..count {
            self.rest.start += 1;
        }
    }
}

enum Bytes {
    Owned(Box<[u8]>),
    Shared(Arc<[u8]>, Option<Share>),
    Received(Received, Share),
}

impl Bytes {
    /// Gives the storage back. The pool may keep it if it has the size of one of the pool's
    /// classes.
    fn give(self, pool: &mut Pool) {
        match self {
            Self::Owned(bytes) => pool.give(bytes),
            Self::Shared(bytes, share) => pool.give_shared(bytes, share),
            Self::Received(part, share) => {
                pool.unshare(share);
                part.give(pool);
            }
        }
    }

    /// Returns the size of the storage, if the pool does not count it as shared.
    fn owned(&self) -> usize {
        match self {
            Self::Owned(bytes) => bytes.len(),
            Self::Shared(bytes, None) => bytes.len(),
            Self::Shared(_, Some(_)) | Self::Received(..) => 0,
        }
    }
}

/// Pongs of which nothing was written, in order.
#[derive(Default)]
struct Pongs {
    bytes: Vec<u8>,
    /// Lengths of the frames in `bytes`. Invariant: none is zero, and their sum is the length of
    /// `bytes`.
    frames: VecDeque<usize>,
}

impl Pongs {
    fn push(&mut self, frame: &[u8]) {
        self.bytes.extend_from_slice(frame);
        self.frames.push_back(frame.len());
    }

    /// Discards all, and returns how many there were.
    fn clear(&mut self) -> usize {
        let count = self.frames.len();
        if count > 0 {
            self.bytes.clear();
            self.frames.clear();
        }
        count
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Control {
    #[default]
    Ping,
    Pong,
}

/// Fills slices in order. When all are full, it ignores the rest.
struct Gather<'a, 'o> {
    out: &'o mut [IoSlice<'a>],
    count: usize,
}

impl<'a> Gather<'a, '_> {
    fn push(&mut self, bytes: &'a [u8]) {
        if !bytes.is_empty() && !self.is_full() {
            self.out[self.count] = IoSlice::new(bytes);
            self.count += 1;
        }
    }

    fn push_large(&mut self, large: &'a Large) {
        self.push(large.head.rest());
        self.push(large.rest());
    }

    fn is_full(&self) -> bool {
        self.count == self.out.len()
    }
}

/// Makes room for one more entry. A long queue grows by an eighth only: after doubling, up to half
/// of it would be unused memory.
fn make_place<T>(queue: &mut VecDeque<T>) {
    let len = queue.len();
    if len == queue.capacity() && len >= KEPT_FRAMES {
        queue.reserve_exact(len / 8);
    }
}

/// Gives back memory of a long queue when more than half of it is empty.
fn slim<T>(queue: &mut VecDeque<T>) {
    let capacity = queue.capacity();
    if capacity > KEPT_FRAMES && queue.len() < capacity / 2 {
        queue.shrink_to((capacity / 4 * 3).max(KEPT_FRAMES));
    }
}

/// Gives back memory of a queue beyond what is kept for the next connection.
fn shorten<T>(queue: &mut VecDeque<T>) {
    if queue.capacity() > KEPT_FRAMES {
        queue.shrink_to(KEPT_FRAMES);
    }
}

/// The memory counted for an entry: its size, and the eighth by which its queue may have grown too
/// much.
const FRAME_COST: usize = size_of::<Frame>() + size_of::<Frame>() / 8;
const LARGE_COST: usize = size_of::<Large>() + size_of::<Large>() / 8 + STORAGE;

/// The overhead of a frame's own storage: the counts of an `Arc`, and what the allocator needs.
const STORAGE: usize = 32;

/// The size up to which [`Outbox::clear`] keeps allocations for the next connection.
const KEPT_FRAMES: usize = 64;
const KEPT_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    /// What `slices` shows, one vector a slice.
    fn shown(outbox: &Outbox) -> Vec<Vec<u8>> {
        let mut slices = [IoSlice::new(&[]); 16];
        let count = outbox.slices(&mut slices);
        slices[..count].iter().map(|slice| slice.to_vec()).collect()
    }

    fn joined(outbox: &Outbox) -> Vec<u8> {
        shown(outbox).concat()
    }

    #[test]
    fn adjacent_inline_frames_are_one_slice() {
        let (mut pool, mut outbox) = (Pool::default(), Outbox::default());
        outbox.push_frame(b"a", b"1", &mut pool);
        outbox.push_frame(b"b", b"2", &mut pool);
        outbox.push_block(Box::from(*b"block"));
        outbox.push_frame(b"c", b"3", &mut pool);
        outbox.push_shared(Arc::from(*b"-shared-"), 1..7, &mut pool);
        assert_eq!(shown(&outbox), [&b"a1b2"[..], b"block", b"c3", b"shared"]);
        assert_eq!((outbox.len(), outbox.data_len()), (17, 17));
    }

    #[test]
    fn a_begun_frame_alone_does_not_split_the_run() {
        let (mut pool, mut outbox) = (Pool::default(), Outbox::default());
        outbox.push_frame(b"a", b"1", &mut pool);
        outbox.push_frame(b"b", b"2", &mut pool);
        outbox.commit(1, &mut pool);
        assert_eq!(shown(&outbox), [b"1b2"]);
    }

    #[test]
    fn control_frames_leave_at_the_next_boundary_pongs_first() {
        let (mut pool, mut outbox) = (Pool::default(), Outbox::default());
        outbox.push_frame(b"a", b"1", &mut pool);
        outbox.push_frame(b"b", b"2", &mut pool);
        outbox.commit(1, &mut pool);
        outbox.set_ping(b"ping");
        outbox.push_pong(b"pong");
        assert_eq!(shown(&outbox), [&b"1"[..], b"pong", b"ping", b"b2"]);
        assert!(!outbox.commit(8, &mut pool).ping);
        assert!(outbox.ping_waiting());
        assert!(outbox.commit(1, &mut pool).ping);
        assert_eq!(shown(&outbox), [b"b2"]);
    }

    #[test]
    fn a_begun_block_is_finished_before_control_frames() {
        let (mut pool, mut outbox) = (Pool::default(), Outbox::default());
        outbox.push_block(Box::from(*b"block"));
        outbox.push_frame(b"a", b"1", &mut pool);
        outbox.commit(2, &mut pool);
        outbox.set_ping(b"ping");
        assert_eq!(shown(&outbox), [&b"ock"[..], b"ping", b"a1"]);
    }

    fn received(bytes: &[u8]) -> Received {
        Received::assembled(bytes.to_vec())
    }

    #[test]
    fn a_received_message_leaves_behind_its_header_without_a_copy() {
        let (mut pool, mut outbox) = (Pool::default(), Outbox::default());
        let message = received(b"message");
        outbox.push_frame(b"a", b"1", &mut pool);
        outbox.push_received(b"h1", message.part(0..4), &mut pool);
        outbox.push_received(b"h2", message.part(4..7), &mut pool);
        outbox.push_frame(b"b", b"2", &mut pool);
        assert_eq!(
            shown(&outbox),
            [&b"a1"[..], b"h1", b"mess", b"h2", b"age", b"b2"]
        );
        assert_eq!((outbox.len(), outbox.data_len()), (15, 15));
        let mut slices = [IoSlice::new(&[]); 16];
        let count = outbox.slices(&mut slices);
        assert_eq!(slices[2].as_ptr(), message.data().as_ptr());
        assert!(count <= outbox.pieces());
    }

    #[test]
    fn no_queue_takes_more_slices_than_it_has_pieces() {
        let (mut pool, mut outbox) = (Pool::default(), Outbox::default());
        let message = received(b"message");
        for large in 0..12 {
            outbox.push_frame(b"a", b"1", &mut pool);
            match large % 2 {
                0 => outbox.push_received(b"h", message.part(0..7), &mut pool),
                _ => outbox.push_shared(Arc::from(*b"shared"), 0..6, &mut pool),
            }
            let mut slices = [IoSlice::new(&[]); 64];
            assert!(outbox.slices(&mut slices) <= outbox.pieces());
        }
    }

    #[test]
    fn a_received_message_may_be_cut_anywhere() {
        let whole = b"h1messh2ageb2";
        for cut in 0..=whole.len() {
            let (mut pool, mut outbox) = (Pool::default(), Outbox::default());
            let message = received(b"message");
            outbox.push_received(b"h1", message.part(0..4), &mut pool);
            outbox.push_received(b"h2", message.part(4..7), &mut pool);
            outbox.push_frame(b"b", b"2", &mut pool);
            outbox.commit(cut, &mut pool);
            assert_eq!(joined(&outbox), whole[cut..], "{cut}");
            assert_eq!(outbox.data_len(), whole.len() - cut);
            outbox.set_ping(b"ping");
            let boundary = [0, 6, 11, 13].into_iter().find(|&end| end >= cut);
            let (begun, rest) = whole[cut..].split_at(boundary.unwrap() - cut);
            assert_eq!(joined(&outbox), [begun, b"ping", rest].concat(), "{cut}");
        }
    }

    #[test]
    fn a_close_waits_for_the_rest_of_a_received_message() {
        let goes_on = |first: u8| first == b'-';
        for cut in [1, 2, 3] {
            let (mut pool, mut outbox) = (Pool::default(), Outbox::default());
            let message = received(b"message");
            outbox.push_received(b"h1", message.part(0..4), &mut pool);
            outbox.push_received(b"-2", message.part(4..7), &mut pool);
            outbox.push_received(b"h3", message.part(0..7), &mut pool);
            outbox.commit(cut, &mut pool);
            outbox.set_blocked(true);
            outbox.set_close(b"close", Parting::Message(goes_on), &mut pool);
            assert_eq!(joined(&outbox), b"h1mess-2ageclose"[cut..]);
            assert_eq!(outbox.dropped(), 9);
        }
    }

    /// A small message must not keep a buffer of the pool for as long as a peer does not read.
    #[test]
    fn what_lies_in_loose_storage_is_copied_once_it_has_to_wait() {
        let (mut pool, mut outbox) = (Pool::default(), Outbox::default());
        let mut storage = pool.take(Pool::LARGEST).into_vec();
        storage[7..11].copy_from_slice(b"mess");
        let message = Received::within(storage, 7..11);
        outbox.push_received(b"h1", message.part(0..4), &mut pool);
        outbox.push_received(b"h2", message.part(0..4), &mut pool);
        outbox.commit(3, &mut pool);
        assert_eq!(pool.free_bytes(), 0);
        outbox.set_blocked(true);
        outbox.tighten(&mut pool);
        outbox.push_received(b"h3", message.part(2..4), &mut pool);
        assert_eq!(pool.shared_bytes(), 0);
        message.give(&mut pool);
        assert_eq!(pool.free_bytes(), Pool::LARGEST, "nobody else holds it");
        assert_eq!(joined(&outbox), b"essh2messh3ss");
    }

    #[test]
    fn a_front_that_counts_as_begun_is_not_overtaken() {
        for block in [false, true] {
            let (mut pool, mut outbox) = (Pool::default(), Outbox::default());
            outbox.begin_front();
            if block {
                outbox.push_block(Box::from(*b"head"));
            } else {
                outbox.push_frame(b"he", b"ad", &mut pool);
            }
            outbox.begin_front();
            outbox.push_frame(b"a", b"1", &mut pool);
            outbox.set_ping(b"ping");
            outbox.push_pong(b"pong");
            assert_eq!(joined(&outbox), b"headpongpinga1");
            outbox.commit(4, &mut pool);
            assert_eq!(joined(&outbox), b"pongpinga1");
        }
    }

    #[test]
    fn a_newer_ping_replaces_one_that_has_not_begun() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.set_ping(b"ping1"), PingQueued::Queued);
        assert_eq!(outbox.set_ping(b"ping2"), PingQueued::Replaced);
        assert_eq!(joined(&outbox), b"ping2");
    }

    #[test]
    fn a_newer_ping_follows_one_that_has_begun() {
        let (mut pool, mut outbox) = (Pool::default(), Outbox::default());
        outbox.set_ping(b"ping1");
        outbox.commit(2, &mut pool);
        assert_eq!(outbox.set_ping(b"ping2"), PingQueued::Queued);
        assert_eq!(joined(&outbox), b"ng1ping2");
        assert!(outbox.commit(3, &mut pool).ping);
        assert!(outbox.ping_waiting(), "the newer one has not left");
        assert!(outbox.commit(5, &mut pool).ping);
        assert!(!outbox.ping_waiting());
    }

    #[test]
    fn pongs_queue_while_output_flows_and_fold_while_it_is_blocked() {
        let (mut pool, mut outbox) = (Pool::default(), Outbox::default());
        assert_eq!(outbox.push_pong(b"pong1"), 0);
        assert_eq!(outbox.push_pong(b"pong2"), 0);
        assert_eq!(outbox.push_pong(b"pong3"), 0);
        outbox.commit(3, &mut pool);
        outbox.set_blocked(true);
        assert_eq!(outbox.push_pong(b"pong4"), 2, "the first has begun");
        assert_eq!(outbox.push_pong(b"pong5"), 1);
        assert_eq!(joined(&outbox), b"g1pong5");
        outbox.commit(2, &mut pool);
        assert!(outbox.is_blocked(), "accepting some bytes does not unblock");
        outbox.set_blocked(false);
        assert_eq!(outbox.push_pong(b"pong6"), 0);
        assert_eq!(joined(&outbox), b"pong5pong6");
    }

    #[test]
    fn pongs_fold_at_their_limit_too() {
        let mut outbox = Outbox::default();
        for _ in 0..4096 / 128 {
            assert_eq!(outbox.push_pong(&[7; 128]), 0);
        }
        assert_eq!(outbox.len(), Outbox::PONG_LIMIT);
        assert_eq!(outbox.push_pong(&[8; 128]), 32);
        assert_eq!(joined(&outbox), [8; 128]);
    }

    #[test]
    fn pongs_that_are_counted_do_not_fold() {
        let mut outbox = Outbox::default();
        outbox.set_blocked(true);
        for _ in 0..4096 / 2 {
            assert_eq!(outbox.push_counted_pong(b"p\n"), 0);
        }
        assert_eq!(outbox.push_counted_pong(b"q\n"), 1);
        assert!(joined(&outbox) == b"p\n".repeat(2048));
    }

    #[test]
    fn pongs_that_are_counted_are_refused_behind_a_close() {
        let (mut pool, mut outbox) = (Pool::default(), Outbox::default());
        outbox.push_counted_pong(b"p\n");
        outbox.set_close(b"c", Parting::Frame, &mut pool);
        assert_eq!(outbox.push_counted_pong(b"q\n"), 0);
        assert_eq!(joined(&outbox), b"p\nc");
    }

    #[test]
    fn a_close_leaves_after_everything_while_output_flows() {
        let (mut pool, mut outbox) = (Pool::default(), Outbox::default());
        outbox.push_frame(b"a", b"1", &mut pool);
        outbox.push_block(Box::from(*b"block"));
        outbox.set_ping(b"ping");
        outbox.push_pong(b"pong");
        outbox.set_close(b"close", Parting::Frame, &mut pool);
        assert_eq!(shown(&outbox), [&b"pong"[..], b"a1", b"block", b"close"]);
        let written = outbox.commit(15, &mut pool);
        assert_eq!(written, Written::default());
        assert!(outbox.close_waiting());
        assert!(outbox.commit(1, &mut pool).close);
        assert!(outbox.is_empty() && outbox.is_closed() && !outbox.close_waiting());
    }

    #[test]
    fn a_close_overtakes_data_while_output_is_blocked() {
        let (mut pool, mut outbox) = (Pool::default(), Outbox::default());
        outbox.push_frame(b"a", b"1", &mut pool);
        outbox.push_frame(b"b", b"2", &mut pool);
        outbox.push_block(Box::from(*b"block"));
        outbox.push_frame(b"c", b"3", &mut pool);
        outbox.commit(1, &mut pool);
        outbox.push_pong(b"pong");
        outbox.set_blocked(true);
        outbox.set_close(b"close", Parting::Frame, &mut pool);
        assert_eq!(outbox.dropped(), 9);
        assert_eq!(shown(&outbox), [&b"1"[..], b"pong", b"close"]);
        assert!(outbox.commit(10, &mut pool).close);
        assert_eq!(pool.free_bytes(), 4096);
    }

    #[test]
    fn a_close_that_leaves_everything_never_overtakes() {
        let (mut pool, mut outbox) = (Pool::default(), Outbox::default());
        outbox.set_blocked(true);
        outbox.push_frame(b"a", b"1", &mut pool);
        outbox.push_block(Box::from(*b"block"));
        outbox.set_close(b"close", Parting::Everything, &mut pool);
        outbox.commit(1, &mut pool);
        outbox.set_blocked(true);
        assert_eq!(shown(&outbox), [&b"1"[..], b"block", b"close"]);
        assert_eq!(outbox.dropped(), 0);
    }

    #[test]
    fn a_close_set_while_output_flowed_overtakes_at_the_first_refusal() {
        let (mut pool, mut outbox) = (Pool::default(), Outbox::default());
        outbox.push_frame(b"a", b"1", &mut pool);
        outbox.push_block(Box::from(*b"block"));
        outbox.push_frame(b"b", b"2", &mut pool);
        outbox.set_close(b"close", Parting::Frame, &mut pool);
        outbox.commit(3, &mut pool);
        assert_eq!(shown(&outbox), [&b"lock"[..], b"b2", b"close"]);
        outbox.set_blocked(true);
        assert_eq!(shown(&outbox), [&b"lock"[..], b"close"]);
        assert_eq!(outbox.dropped(), 2);
    }

    #[test]
    fn a_close_may_let_the_message_begun_finish() {
        let goes_on = Parting::Message(|byte| byte == b'+');
        // Written so far; what is left then. `M` begins a message, `+` goes on with it.
        for (written, left) in [
            (0, "close"),
            (1, "1+block+2close"),
            (2, "+block+2close"),
            (5, "ock+2close"),
            (8, "+2close"),
            (9, "2close"),
            (10, "close"),
            (11, "3+4close"),
            (12, "+4close"),
        ] {
            let (mut pool, mut outbox) = (Pool::default(), Outbox::default());
            outbox.push_frame(b"M", b"1", &mut pool);
            outbox.push_block(Box::from(*b"+block"));
            outbox.push_frame(b"+", b"2", &mut pool);
            outbox.push_frame(b"M", b"3", &mut pool);
            outbox.push_frame(b"+", b"4", &mut pool);
            outbox.push_frame(b"M", b"5", &mut pool);
            outbox.commit(written, &mut pool);
            outbox.set_blocked(true);
            outbox.set_close(b"close", goes_on, &mut pool);
            assert_eq!(joined(&outbox), left.as_bytes(), "{written} written");
            let gone = written + left.len() - "close".len();
            assert_eq!(outbox.dropped(), 16 - gone);
            // Nothing has lost its place.
            for byte in left.bytes() {
                assert_eq!(joined(&outbox)[0], byte);
                outbox.commit(1, &mut pool);
            }
        }
    }

    #[test]
    fn a_close_lets_a_begun_block_finish() {
        let (mut pool, mut outbox) = (Pool::default(), Outbox::default());
        outbox.push_block(Box::from(*b"block"));
        outbox.push_frame(b"a", b"1", &mut pool);
        outbox.push_block(Box::from(*b"block"));
        outbox.commit(2, &mut pool);
        outbox.set_blocked(true);
        outbox.set_close(b"close", Parting::Frame, &mut pool);
        assert_eq!(outbox.dropped(), 7);
        assert_eq!(shown(&outbox), [&b"ock"[..], b"close"]);
        assert_eq!((outbox.len(), outbox.data_len()), (8, 3));
    }

    #[test]
    fn large_blocks_go_back_to_the_pool_whichever_way_they_leave() {
        const LEN: usize = 100_000;
        let ways: [fn(&mut Outbox, &mut Pool); 4] = [
            |outbox, pool| {
                outbox.commit(LEN, pool);
            },
            |outbox, pool| {
                outbox.commit(LEN + 1, pool);
            },
            |outbox, pool| outbox.clear(pool),
            |outbox, pool| {
                outbox.set_blocked(true);
                outbox.set_close(b"close", Parting::Frame, pool);
            },
        ];
        for way in ways {
            for is_shared in [false, true] {
                let (mut pool, mut outbox) = (Pool::default(), Outbox::default());
                pool.put_off_frees();
                if is_shared {
                    outbox.push_shared(vec![0; LEN].into(), 0..LEN, &mut pool);
                } else {
                    outbox.push_block(vec![0; LEN].into());
                }
                outbox.push_frame(b"a", b"", &mut pool);
                way(&mut outbox, &mut pool);
                assert!(pool.has_waste());
                assert_ne!(pool.free_some(LEN - 1), is_shared);
                assert!(!pool.free_some(1));
            }
        }
    }

    #[test]
    fn a_close_lets_a_begun_ping_finish() {
        let (mut pool, mut outbox) = (Pool::default(), Outbox::default());
        outbox.set_ping(b"ping");
        outbox.commit(1, &mut pool);
        outbox.set_ping(b"newer");
        outbox.set_close(b"close", Parting::Frame, &mut pool);
        assert_eq!(joined(&outbox), b"ingclose");
        assert_eq!(
            outbox.commit(8, &mut pool),
            Written {
                ping: true,
                close: true
            }
        );
    }

    #[test]
    fn nothing_is_queued_behind_a_close() {
        let (mut pool, mut outbox) = (Pool::default(), Outbox::default());
        outbox.set_close(b"close", Parting::Frame, &mut pool);
        outbox.push_frame(b"a", b"1", &mut pool);
        outbox.push_block(Box::from(*b"block"));
        outbox.push_shared(Arc::from(*b"shared"), 0..6, &mut pool);
        assert_eq!(outbox.set_ping(b"ping"), PingQueued::Refused);
        assert_eq!(outbox.push_pong(b"pong"), 0);
        outbox.set_close(b"again", Parting::Frame, &mut pool);
        assert_eq!(joined(&outbox), b"close");
    }

    #[test]
    fn a_wire_without_a_close_frame_only_ends_the_queue() {
        let (mut pool, mut outbox) = (Pool::default(), Outbox::default());
        outbox.push_frame(b"a", b"1", &mut pool);
        outbox.set_close(b"", Parting::Frame, &mut pool);
        assert!(outbox.is_closed() && !outbox.close_waiting());
        assert!(!outbox.commit(2, &mut pool).close);
        assert!(outbox.is_empty());
    }

    #[test]
    fn empty_frames_are_nothing() {
        let (mut pool, mut outbox) = (Pool::default(), Outbox::default());
        outbox.push_frame(b"", b"", &mut pool);
        outbox.push_block(Box::default());
        outbox.push_shared(Arc::from(*b"x"), 1..1, &mut pool);
        assert_eq!(outbox.set_ping(b""), PingQueued::Refused);
        outbox.push_pong(b"");
        assert!(outbox.is_empty() && shown(&outbox).is_empty());
        assert_eq!(outbox.commit(0, &mut pool), Written::default());
    }

    #[test]
    fn too_few_slices_show_the_beginning() {
        let (mut pool, mut outbox) = (Pool::default(), Outbox::default());
        outbox.push_block(Box::from(*b"block"));
        outbox.push_frame(b"a", b"1", &mut pool);
        outbox.set_close(b"close", Parting::Frame, &mut pool);
        let mut slices = [IoSlice::new(&[]); 2];
        assert_eq!(outbox.slices(&mut slices), 2);
        assert_eq!((&*slices[0], &*slices[1]), (&b"block"[..], &b"a1"[..]));
        assert_eq!(outbox.slices(&mut []), 0);
    }

    #[test]
    fn clearing_gives_storage_back_and_opens_the_outbox_again() {
        let (mut pool, mut outbox) = (Pool::default(), Outbox::default());
        outbox.push_frame(&[0; 1000], &[0; 9000], &mut pool);
        outbox.push_block(Box::from(*b"block"));
        outbox.push_pong(&[0; 4000]);
        outbox.commit(1, &mut pool);
        outbox.set_blocked(true);
        outbox.set_close(b"close", Parting::Frame, &mut pool);
        outbox.clear(&mut pool);
        assert!(outbox.is_empty() && !outbox.is_closed() && !outbox.is_blocked());
        assert_eq!(pool.free_bytes(), 16_384);
        assert!(outbox.pongs.bytes.capacity() <= KEPT_BYTES);
        outbox.push_frame(b"a", b"1", &mut pool);
        outbox.set_ping(b"ping");
        assert_eq!(shown(&outbox), [&b"ping"[..], b"a1"]);
    }

    #[test]
    fn writing_may_stop_at_every_byte() {
        for stop in 0..=27 {
            let (mut pool, mut outbox) = (Pool::default(), Outbox::default());
            outbox.push_frame(b"a", b"1", &mut pool);
            outbox.push_block(Box::from(*b"block"));
            outbox.push_frame(b"b", b"2", &mut pool);
            outbox.push_shared(Arc::from(*b"-shared-"), 1..7, &mut pool);
            outbox.set_ping(b"ping");
            outbox.push_pong(b"pong");
            outbox.push_pong(b"PONG");
            let whole = joined(&outbox);
            assert_eq!(whole, b"pongPONGpinga1blockb2shared");
            let mut written = whole[..stop].to_vec();
            outbox.commit(written.len(), &mut pool);
            assert_eq!(joined(&outbox), whole[written.len()..], "stopped at {stop}");
            assert_eq!(outbox.len(), whole.len() - written.len());
            while !outbox.is_empty() {
                written.push(joined(&outbox)[0]);
                outbox.commit(1, &mut pool);
            }
            assert_eq!(written, whole);
            assert_eq!(pool.free_bytes(), 4096);
        }
    }

    #[test]
    #[should_panic(expected = "committed more bytes than are queued")]
    fn committing_more_than_is_queued_is_a_bug() {
        Outbox::default().commit(1, &mut Pool::default());
    }
}
