//! Bytes out: messages encoded and queued, control frames in their reserved place.

use std::io::IoSlice;

use super::buffers::{Buffers, Drain};
use super::deadline::Deadline;
use super::{Env, Fact, Owed, Session, token};
use crate::close::{Cause, Phase};
use crate::config::{Overflow, WireKind};
use crate::error::SendError;
use crate::proto::message::{Encoded, Message, SharedMessage};
use crate::proto::outbox::{Outbox, Parting};
use crate::proto::policy::Policy;
#[cfg(feature = "websocket")]
use crate::proto::received::Received;
use crate::proto::time::{Micros, Moment, Stamp};
#[cfg(feature = "websocket")]
use crate::proto::websocket::{
    Opcode, append_frame, encode, encode_header, encode_ping, fragments,
};
use crate::proto::wire::{EncodeError, Role};
use crate::proto::{binary, line};

impl Session {
    /// Says whether the queue has no room for a message that it would take if it were empty.
    ///
    /// A shell then offers the queue to its socket before it sends, unless the socket has refused output
    /// since the last wait: what its peer would have taken is no reason to drop a message or to close.
    pub fn is_full_for(&self, env: &Env, message: Message<'_>) -> bool {
        self.is_full_for_bytes(env, message.data().len())
    }

    /// Says the same for [`send_shared`](Self::send_shared).
    pub fn is_full_for_shared(&self, env: &Env, shared: &SharedMessage) -> bool {
        let size = match self.shared_frames(shared) {
            Some(encoded) => encoded.len(),
            None => shared.message().data().len(),
        };
        self.is_full_for_bytes(env, size)
    }

    /// Queues a message.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] unless the session is open, [`SendError::Full`] when the queue has no
    /// room (under [`Overflow::Close`] the session closes), [`SendError::Encode`] when the wire
    /// cannot carry the message. Nothing is queued then.
    pub fn send(
        &mut self,
        env: &mut Env,
        now: Moment,
        message: Message<'_>,
    ) -> Result<(), SendError> {
        self.check_room(env, now, message.data().len())?;
        self.queue_message(env, now, message)
    }

    /// Queues a message even if the queue has no room: its bytes are in memory anyhow.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] unless the session is open, [`SendError::Encode`] when the wire cannot
    /// carry the message.
    pub(crate) fn send_in_excess(
        &mut self,
        env: &mut Env,
        now: Moment,
        message: Message<'_>,
    ) -> Result<(), SendError> {
        match self.phase {
            Phase::Open => self.queue_message(env, now, message),
            Phase::Connecting | Phase::Handshaking | Phase::Closing | Phase::Closed => {
                Err(SendError::Closed)
            }
        }
    }

    fn queue_message(
        &mut self,
        env: &mut Env,
        now: Moment,
        message: Message<'_>,
    ) -> Result<(), SendError> {
        match self.wire {
            #[cfg(feature = "websocket")]
            WireKind::WebSocket => self.queue_websocket(env, now, message),
            WireKind::Line => {
                self.queue_encoded(env, now, |out| line::encode(message.data(), out))?;
            }
            WireKind::Binary => {
                self.queue_encoded(env, now, |out| binary::encode(message.data(), out))?;
            }
            WireKind::Raw => self.queue_raw(env, now, message.data()),
            WireKind::Own => self.queue_own(env, now, message)?,
        }
        self.note_sent(env, now);
        Ok(())
    }

    /// Queues a message that many connections share; the bytes are not copied, except for masking.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_shared(
        &mut self,
        env: &mut Env,
        now: Moment,
        shared: &SharedMessage,
    ) -> Result<(), SendError> {
        if self.wire == WireKind::Own {
            return self.send_shared_own(env, now, shared);
        }
        let Some(encoded) = self.shared_frames(shared) else {
            return self.send(env, now, shared.message());
        };
        #[cfg(feature = "deflate")]
        if let Some(compressed) = self.shared_compressed(env, shared) {
            self.check_room(env, now, compressed.len())?;
            self.queue_shared(env, now, compressed);
            self.note_compressed(env, shared.message().data(), compressed.len());
            return Ok(());
        }
        self.check_room(env, now, encoded.len())?;
        self.queue_shared(env, now, encoded);
        Ok(())
    }

    /// Queues the frames of a shared message, for which there is room.
    pub(super) fn queue_shared(&mut self, env: &mut Env, now: Moment, encoded: &Encoded) {
        let held = self.stamped(env, now);
        for (bytes, range) in encoded.frames() {
            held.tx.push_shared(bytes, range, &mut env.pool);
        }
        self.note_sent(env, now);
    }

    /// Queues a ping outside the grid. Nothing happens while one is still waiting to be written.
    pub fn ping(&mut self, env: &mut Env, now: Moment) {
        if self.phase == Phase::Open {
            let timing = &env.policy(self.policy).timing;
            self.heartbeat
                .handle_ping_queued(timing, now, &env.lateness);
            self.queue_ping(env, now);
            // It may be the first to ask, and be late to be answered before the grid asks.
            self.owed.insert(Owed::Rearm);
        }
    }

    /// Fills `out` with what to write next and returns how many slices that is, zero for nothing.
    pub fn slices<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        self.buffers.as_ref().map_or(0, |held| held.tx.slices(out))
    }

    /// Notes that a layer has taken over the first `count` bytes of what [`slices`](Self::slices) gave, and
    /// the kernel has not accepted all of what carries them: [`handle_written`](Self::handle_written) comes
    /// when it has.
    pub fn handle_carried(&mut self, env: &mut Env, count: usize) {
        if let Some(held) = &mut self.buffers
            && count > 0
        {
            held.tx.carry(count, &mut env.pool);
        }
    }

    /// Notes that the kernel accepted `count` bytes: of those that a layer carries, then of what
    /// [`slices`](Self::slices) gave.
    pub fn handle_written(&mut self, env: &mut Env, now: Moment, count: usize) {
        let Some(held) = &mut self.buffers else {
            return;
        };
        if count == 0 {
            return;
        }
        let data = held.tx.data_len();
        let written = held.tx.commit(count, &mut env.pool);
        let left = held.tx.data_len();
        let is_message = left < data;
        if let Some(drain) = &mut held.drain {
            let drained = (data - left) as u64;
            drain.bytes += drained.saturating_sub(drain.ahead);
            drain.ahead = drain.ahead.saturating_sub(drained);
            if left == 0 {
                held.drain = None;
            }
        }
        held.progress = Stamp::new(now.at);
        let was_asked = self.heartbeat.is_asked();
        if written.ping {
            let due = held.ping_due.take();
            self.note_ping_written(env, now, due);
        }
        // What was written together with the ping that asks lay before it, as far as anyone can tell.
        let begins_to_ask = written.ping && !was_asked;
        let behind = if begins_to_ask { 0 } else { count };
        self.heartbeat.handle_written(now, behind);
        if written.close {
            self.facts.insert(Fact::CloseSent);
        }
        if is_message {
            self.note_message(now);
        }
        self.unchoke(now);
        self.await_answer(env, now);
    }

    pub(super) fn note_ping_written(&mut self, env: &mut Env, now: Moment, due: Option<Micros>) {
        env.stats.pings_written += 1;
        if let Some(due) = due {
            env.stats.ping_lateness.record_micros(now.at - due);
        }
        let timing = &env.policies.get(self.policy).timing;
        if self
            .heartbeat
            .handle_ping_written(timing, now, &env.lateness)
        {
            self.owed.insert(Owed::Rearm);
        }
    }

    /// Notes that the kernel accepted bytes that carry some of the output, but all of nothing yet.
    pub fn handle_progress(&mut self, now: Moment, kernel: usize) {
        if let Some(held) = &mut self.buffers
            && kernel > 0
        {
            held.progress = Stamp::new(now.at);
            if let Some(drain) = &mut held.drain {
                drain.bytes += kernel as u64;
                drain.ahead += kernel as u64;
            }
        }
    }

    /// Notes that the socket takes no more output for now.
    pub fn handle_blocked(&mut self) {
        if let Some(held) = &mut self.buffers {
            held.tx.set_blocked(true);
            self.owed.insert(Owed::Rearm);
        }
    }

    /// Lets what is now blocked not keep storage that holds much else.
    pub(crate) fn tighten(&mut self, env: &mut Env) {
        if let Some(held) = &mut self.buffers {
            held.tx.tighten(&mut env.pool);
        }
    }

    /// Notes that the socket takes output again.
    pub fn handle_writable(&mut self) {
        if let Some(held) = &mut self.buffers {
            held.tx.set_blocked(false);
        }
    }

    /// Says whether output waits.
    pub fn has_output(&self) -> bool {
        self.buffers
            .as_ref()
            .is_some_and(|held| !held.tx.is_empty())
    }

    /// Returns bytes of messages queued, without control frames.
    pub fn queued(&self) -> usize {
        self.buffers.as_ref().map_or(0, |held| held.tx.data_len())
    }

    /// Returns at most how many [`slices`](Self::slices) the messages queued take.
    pub(crate) fn pieces(&self) -> usize {
        self.buffers.as_ref().map_or(0, |held| held.tx.pieces())
    }

    /// Gives everything borrowed back if nothing needs it.
    pub fn release(&mut self, env: &mut Env) {
        if self.buffers.as_ref().is_some_and(|held| held.is_idle())
            && let Some(buffers) = self.buffers.take()
        {
            env.give_buffers(buffers);
        }
    }

    /// Says whether nothing is borrowed.
    pub fn is_released(&self) -> bool {
        self.buffers.is_none()
    }

    /// Gives everything back, its policy too, at the end of the connection: whoever drives a session calls
    /// this at last, and asks it nothing that needs the policy from then on.
    pub fn discard(&mut self, env: &mut Env) {
        if self.facts.remove(Fact::HoldsPolicy) {
            env.policies.release(self.policy);
        }
        if let Some(buffers) = self.buffers.take() {
            env.give_buffers(buffers);
        }
    }

    /// Queues bytes as they are.
    pub(super) fn queue_raw(&mut self, env: &mut Env, now: Moment, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let held = self.stamped(env, now);
        if bytes.len() <= LARGEST_COPY {
            held.tx.push_frame(bytes, &[], &mut env.pool);
        } else {
            held.tx.push_block(bytes.into());
        }
    }

    /// Queues what comes before the first frame: nothing overtakes it.
    pub(super) fn queue_head(&mut self, env: &mut Env, now: Moment, head: &[u8]) {
        if !head.is_empty() {
            self.queue_raw(env, now, head);
            self.held(env).tx.begin_front();
        }
    }

    pub(super) fn queue_ping(&mut self, env: &mut Env, now: Moment) {
        if self
            .buffers
            .as_ref()
            .is_some_and(|held| held.tx.ping_waiting())
        {
            return;
        }
        if self.wire == WireKind::Raw {
            return;
        }
        self.encode_ping(env);
        self.queue_control(env, now, |tx, frame| {
            tx.set_ping(frame);
        });
    }

    /// Encodes the next ping into the scratch frame.
    pub(super) fn encode_ping(&mut self, env: &mut Env) {
        let phase = self.heartbeat.phase().fraction();
        let token = token::encode(env.token_key(), phase, self.heartbeat.next_number());
        match self.wire {
            #[cfg(feature = "websocket")]
            WireKind::WebSocket => {
                let mask = self.part.role().mask(env);
                let token = token.to_be_bytes();
                env.scratch.clear();
                match mask {
                    None => env.scratch.extend_from_slice(&encode_ping(token)),
                    Some(_) => encode(true, Opcode::Ping, &token, mask, &mut env.scratch),
                }
            }
            WireKind::Line => replace(&mut env.scratch, line::PING),
            WireKind::Binary => replace(&mut env.scratch, binary::PING),
            WireKind::Raw | WireKind::Own => {
                env.scratch.clear();
                if let Some(codec) = self.codec_mut() {
                    codec.encode_ping(token, &mut env.scratch);
                }
            }
        }
    }

    pub(super) fn queue_pong(&mut self, env: &mut Env, now: Moment, payload: &[u8]) {
        match self.wire {
            #[cfg(feature = "websocket")]
            WireKind::WebSocket => {
                let mask = self.part.role().mask(env);
                env.scratch.clear();
                encode(true, Opcode::Pong, payload, mask, &mut env.scratch);
            }
            WireKind::Line => replace(&mut env.scratch, line::PONG),
            WireKind::Binary => replace(&mut env.scratch, binary::PONG),
            WireKind::Raw => return,
            WireKind::Own => {
                let folded = self.queue_own_pong(env, now, payload);
                env.stats.pongs_folded += folded as u64;
                return;
            }
        }
        let is_counted = !self.wire.is_websocket();
        let mut folded = 0;
        self.queue_control(env, now, |tx, frame| {
            folded = if is_counted {
                tx.push_counted_pong(frame)
            } else {
                tx.push_pong(frame)
            };
        });
        env.stats.pongs_folded += folded as u64;
    }

    /// Queues the goodbye of the wire, if it has one. Nothing can be queued behind it.
    pub(super) fn queue_close(
        &mut self,
        env: &mut Env,
        now: Moment,
        body: &[u8],
        parting: Parting,
    ) {
        env.scratch.clear();
        match self.wire {
            #[cfg(feature = "websocket")]
            WireKind::WebSocket => {
                let mask = self.part.role().mask(env);
                encode(true, Opcode::Close, body, mask, &mut env.scratch);
            }
            WireKind::Line | WireKind::Binary | WireKind::Raw => {}
            WireKind::Own => {
                let _ = body;
                if let Some(codec) = self.codec_mut() {
                    codec.encode_close(&mut env.scratch);
                }
            }
        }
        let scratch = std::mem::take(&mut env.scratch);
        let held = self.stamped(env, now);
        held.tx.set_close(&scratch, parting, &mut env.pool);
        env.scratch = scratch;
    }

    /// Returns when output will have made no progress for too long.
    pub(super) fn write_ends(&self, env: &Env, now: Moment) -> Option<Micros> {
        self.write_deadline(env).map(|end| end.judged(env, now))
    }

    pub(super) fn write_deadline(&self, env: &Env) -> Option<Deadline> {
        let held = self.buffers.as_ref().filter(|held| !held.tx.is_empty())?;
        let span = env.policy(self.policy).timing.write?;
        Some(Deadline::after(span, held.progress))
    }

    /// Says whether a full queue drains too slowly, at `now`; for a shell that has just offered it once more.
    pub(super) fn drains_slowly(&self, env: &Env, now: Moment) -> bool {
        let is_due = self.drain_check(env, now).is_some_and(|end| end <= now.at);
        is_due && !self.has_drained(env)
    }

    /// Returns when the rate is judged at which a full queue drains. A pause of reading changes nothing: input
    /// that waits says nothing of output. The rate is credited with all the time in which our loop was late.
    pub(super) fn drain_check(&self, env: &Env, now: Moment) -> Option<Micros> {
        let floor = env.policy(self.policy).limits.slow_floor;
        let drain = self.buffers.as_ref()?.drain.filter(|_| floor > 0)?;
        let since = drain.since.time(now.at);
        let end = drain.since.plus(self.drain_span(env)).time(now.at);
        Some(end + env.lateness.total_since(since, now.at))
    }

    /// Judges the next span of time anew, if the rate was high enough in the last one.
    pub(super) fn renew_drain(&mut self, env: &Env, now: Moment) {
        let is_due = self.drain_check(env, now).is_some_and(|end| end <= now.at);
        if is_due && self.has_drained(env) {
            self.begin_drain(now);
        }
    }

    fn begin_drain(&mut self, now: Moment) {
        if let Some(held) = &mut self.buffers {
            let since = Stamp::new(now.at);
            let ahead = held.drain.map_or(0, |drain| drain.ahead);
            held.drain = Some(Drain {
                since,
                bytes: 0,
                ahead,
            });
            self.owed.insert(Owed::Rearm);
        }
    }

    fn has_drained(&self, env: &Env) -> bool {
        let floor = env.policy(self.policy).limits.slow_floor;
        let wanted = u64::from(floor) * u64::from(self.drain_span(env)) / 1_000;
        let drain = self.buffers.as_ref().and_then(|held| held.drain);
        drain.is_none_or(|drain| drain.bytes >= wanted)
    }

    /// Returns over how many milliseconds the rate is judged: no less than output may stand still.
    fn drain_span(&self, env: &Env) -> u32 {
        let Policy { timing, limits } = env.policy(self.policy);
        limits.slow_grace.max(timing.write.unwrap_or(0))
    }

    /// Returns the borrowed buffers, borrowing them first if need be.
    pub(super) fn held(&mut self, env: &mut Env) -> &mut Buffers {
        self.buffers.get_or_insert_with(|| env.take_buffers())
    }

    /// Returns the frames of a shared message where this session can send them as they are.
    fn shared_frames<'a>(&self, shared: &'a SharedMessage) -> Option<&'a Encoded> {
        let masked = self.wire.is_websocket() && self.part.role() == Role::Client;
        if masked {
            None
        } else {
            shared.encoded(self.wire)
        }
    }

    fn is_full_for_bytes(&self, env: &Env, size: usize) -> bool {
        let limit = env.policy(self.policy).limits.send_queue;
        self.phase == Phase::Open && room_taken(size) <= limit && !self.has_room(limit, size)
    }

    fn has_room(&self, limit: usize, size: usize) -> bool {
        room_taken(size) <= limit.saturating_sub(self.queue_cost())
    }

    /// Returns what the messages queued count against the limit.
    fn queue_cost(&self) -> usize {
        self.buffers.as_ref().map_or(0, |held| held.tx.data_cost())
    }

    pub(super) fn check_room(
        &mut self,
        env: &mut Env,
        now: Moment,
        size: usize,
    ) -> Result<(), SendError> {
        if self.phase != Phase::Open {
            return Err(SendError::Closed);
        }
        let limit = env.policy(self.policy).limits.send_queue;
        if self.has_room(limit, size) {
            return Ok(());
        }
        let queued = self.queue_cost();
        env.stats.send_full += 1;
        match env.policy(self.policy).limits.overflow {
            Overflow::Drop => {
                let held = self.buffers.as_ref();
                if held.is_some_and(|held| held.drain.is_none() && held.tx.data_len() > 0) {
                    self.begin_drain(now);
                }
            }
            Overflow::Close => {
                self.close(env, now, Cause::SendQueueFull, None, "send queue is full");
            }
        }
        Err(SendError::Full { queued, limit })
    }

    fn note_sent(&mut self, env: &mut Env, now: Moment) {
        env.stats.messages_out += 1;
        self.note_message(now);
    }

    #[cfg(feature = "websocket")]
    fn queue_websocket(&mut self, env: &mut Env, now: Moment, message: Message<'_>) {
        if self.queue_compressed(env, now, message) {
            return;
        }
        let max_fragment = env.policy(self.policy).limits.max_fragment;
        let data = message.data();
        let is_long = data.len() >= Received::LEAST && self.part.role() == Role::Server;
        if !is_long && data.len() <= max_fragment {
            let head = (true, Opcode::of(message.kind()), false);
            self.queue_frame(env, now, head, data);
            return;
        }
        for (fin, opcode, range) in fragments(message.kind(), data.len(), max_fragment) {
            match message.storage().filter(|_| is_long) {
                Some(storage) => {
                    let header = encode_header(fin, opcode, range.len() as u64, None);
                    let held = self.stamped(env, now);
                    held.tx
                        .push_received(&header, storage.part(range), &mut env.pool);
                }
                None => self.queue_frame(env, now, (fin, opcode, false), &data[range]),
            }
        }
    }

    /// Queues one frame of a message: the last one or not, its opcode, and whether a compressed message
    /// begins with it.
    #[cfg(feature = "websocket")]
    pub(super) fn queue_frame(
        &mut self,
        env: &mut Env,
        now: Moment,
        (fin, opcode, is_compressed): (bool, Opcode, bool),
        payload: &[u8],
    ) {
        let mask = self.part.role().mask(env);
        let header = encode_header(fin, opcode, payload.len() as u64, mask);
        let header = header.compressed(is_compressed);
        if payload.len() > LARGEST_COPY {
            // Reserves what it needs and no more, so that the box is made without moving.
            let mut block = Vec::new();
            append_frame(&header, payload, mask, &mut block);
            self.outbox(env, now).push_block(block.into_boxed_slice());
        } else if mask.is_some() {
            env.scratch.clear();
            append_frame(&header, payload, mask, &mut env.scratch);
            self.queue_scratch(env, now);
        } else {
            let held = self.stamped(env, now);
            held.tx.push_frame(&header, payload, &mut env.pool);
        }
    }

    fn queue_encoded(
        &mut self,
        env: &mut Env,
        now: Moment,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
    ) -> Result<(), SendError> {
        env.scratch.clear();
        write(&mut env.scratch).map_err(SendError::Encode)?;
        self.queue_scratch(env, now);
        Ok(())
    }

    /// Queues the scratch buffer as one frame. A long one leaves with its storage: to copy it again would
    /// take as long as to encode it.
    pub(super) fn queue_scratch(&mut self, env: &mut Env, now: Moment) {
        if env.scratch.len() > LARGEST_COPY {
            let block = std::mem::take(&mut env.scratch).into_boxed_slice();
            self.outbox(env, now).push_block(block);
            return;
        }
        let scratch = std::mem::take(&mut env.scratch);
        self.queue_raw(env, now, &scratch);
        env.scratch = scratch;
        env.scratch.clear();
        env.scratch.shrink_to(LARGEST_COPY);
    }

    /// Hands the scratch buffer to one of the outbox's reserved places, unless it is empty.
    pub(super) fn queue_control(
        &mut self,
        env: &mut Env,
        now: Moment,
        put: impl FnOnce(&mut Outbox, &[u8]),
    ) {
        let scratch = std::mem::take(&mut env.scratch);
        if !scratch.is_empty() {
            put(&mut self.stamped(env, now).tx, &scratch);
        }
        env.scratch = scratch;
    }

    /// Returns the outbox for something to be put in.
    fn outbox(&mut self, env: &mut Env, now: Moment) -> &mut Outbox {
        &mut self.stamped(env, now).tx
    }

    /// Returns the buffers for output to be put in; the write clock starts when there was none. Behind our
    /// Close nothing will be: the close timeout runs from that.
    pub(super) fn stamped(&mut self, env: &mut Env, now: Moment) -> &mut Buffers {
        let is_over = self.facts.has(Fact::CloseSent);
        let held = self.held(env);
        if held.tx.is_empty() && !is_over {
            held.progress = Stamp::new(now.at);
        }
        held
    }
}

#[cfg(feature = "websocket")]
impl Role {
    /// Returns what a pong with four bytes brings, if these bytes are one and nothing else.
    pub(super) fn answer(self, input: &[u8]) -> Option<u32> {
        match (self, input) {
            (Self::Server, &[0x8A, 0x84, a, b, c, d, w, x, y, z]) => {
                let mask = u32::from_be_bytes([a, b, c, d]);
                Some(u32::from_be_bytes([w, x, y, z]) ^ mask)
            }
            (Self::Client, &[0x8A, 0x04, w, x, y, z]) => Some(u32::from_be_bytes([w, x, y, z])),
            _ => None,
        }
    }

    /// Returns a fresh mask for a client (RFC 6455, section 5.3), none for a server (section 5.1).
    fn mask(self, env: &mut Env) -> Option<[u8; 4]> {
        match self {
            Self::Server => None,
            Self::Client => Some(env.mask()),
        }
    }
}

fn replace(scratch: &mut Vec<u8>, frame: &[u8]) {
    scratch.clear();
    scratch.extend_from_slice(frame);
}

/// An empty message takes room too: its header, or its line end.
fn room_taken(size: usize) -> usize {
    size.max(1)
}

/// Frames up to this size are copied into the ring; longer ones keep a block of their own.
pub(super) const LARGEST_COPY: usize = 16 * 1024;
