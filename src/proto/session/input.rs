//! Bytes in: frames decoded, control frames answered, proof of life noted.

use super::buffers::{Buffers, Unfinished};
use super::deadline::Deadline;
use super::rates::Taken;
use super::{Backlog, Env, Fact, MOST_HEADER, Owed, Part, Session, token};
use crate::close::{Cause, Phase};
use crate::config::WireKind;
use crate::error::{Foreign, ProtocolError};
use crate::proto::heartbeat::PongMatch;
use crate::proto::line;
use crate::proto::pool::Pool;
use crate::proto::ring::Ring;
use crate::proto::time::{Micros, Moment, Stamp};
use crate::proto::wire::{self, MessageKind, Payload, Role};

/// What one step of decoding found.
#[derive(Debug)]
pub enum Event {
    /// Nothing more without more bytes.
    NeedMore,
    /// A frame that asks nothing of the application. Decode on.
    Consumed,
    /// A whole message. Its payload lies in the input, or is to be taken with
    /// [`Session::take_assembled`].
    Message {
        /// Text or bytes.
        kind: MessageKind,
        /// Where the payload lies.
        payload: Payload,
    },
    /// A compressed message is whole, and more of it is to be inflated. Decode on, with the same input, when
    /// others have had their turn.
    Inflating,
    /// A ping of ours was answered.
    Pong {
        /// Round-trip time, where that ping was the one being timed.
        rtt: Option<Micros>,
    },
}

impl Session {
    /// Lends the ring of received bytes, to be filled and decoded outside.
    pub fn take_input(&mut self, env: &mut Env) -> Ring {
        std::mem::take(&mut self.held(env).rx)
    }

    /// Takes the ring back with what is left in it.
    pub fn put_input(&mut self, env: &mut Env, mut input: Ring) {
        input.narrow(&mut env.pool);
        self.held(env).rx = input;
    }

    /// Puts bytes in front of the input that somebody else has read from the socket. Call it before input
    /// is read.
    pub fn put_back(&mut self, env: &mut Env, bytes: &[u8]) {
        if !bytes.is_empty() {
            let mut input = self.take_input(env);
            input.extend(bytes, &mut env.pool);
            self.put_input(env, input);
        }
    }

    /// Says whether bytes received earlier wait to be decoded.
    pub fn has_input(&self) -> bool {
        self.buffers
            .as_ref()
            .is_some_and(|held| !held.rx.is_empty())
            || self.is_inflating()
    }

    /// Returns the most bytes that may wait for the rest of a frame.
    pub fn input_limit(&self, env: &Env) -> usize {
        let limits = &env.policy(self.policy).limits;
        match (self.wire, self.phase) {
            (WireKind::Own, Phase::Connecting | Phase::Handshaking) => limits.max_head,
            (WireKind::Own, _) => limits.max_message.saturating_add(MOST_HEADER),
            #[cfg(feature = "websocket")]
            (WireKind::WebSocket, Phase::Connecting | Phase::Handshaking) => {
                limits.max_head.max(self.exchange().awaited()) + 1
            }
            #[cfg(feature = "websocket")]
            (WireKind::WebSocket, Phase::Open | Phase::Closing | Phase::Closed) => LARGEST_RING,
            (WireKind::Line | WireKind::Binary | WireKind::Raw, _) => LARGEST_RING,
        }
    }

    /// Nothing is compressed without the feature `deflate`.
    #[cfg(not(feature = "deflate"))]
    pub fn is_inflating(&self) -> bool {
        false
    }

    /// Notes that so many bytes left the socket, at the time of the read: what they come to is for
    /// [`decode`](Self::decode).
    pub fn handle_bytes(&mut self, env: &mut Env, now: Moment, count: usize) {
        env.stats.bytes_in += count as u64;
        let late = self.heartbeat.unread_for(now, &env.lateness);
        if late >= LATE {
            self.give_credit(now, Stamp::new(now.at - late));
        }
        self.heartbeat
            .handle_bytes(&env.policy(self.policy).timing, now);
    }

    /// Decodes one step from the front of `input`; returns the bytes consumed and what they were.
    ///
    /// Call it until [`Event::NeedMore`]. A broken rule ends the session and consumes everything.
    pub fn decode(&mut self, env: &mut Env, now: Moment, input: &mut [u8]) -> (usize, Event) {
        // What follows the peer's Close is not a frame (RFC 6455, section 5.5.1).
        let is_over = self.facts.has(Fact::Discarding) || self.facts.has(Fact::CloseReceived);
        if is_over || self.phase == Phase::Closed {
            self.note_trailing(input);
            return (input.len(), Event::NeedMore);
        }
        #[cfg(feature = "deflate")]
        if self.is_inflating() {
            let event = self.inflate_on(env);
            return self.settle_inflation(env, now, event, input);
        }
        if input.is_empty() {
            return (0, Event::NeedMore);
        }
        // For what is noted of a message that is not complete.
        self.held(env);
        let step = match self.wire {
            #[cfg(feature = "websocket")]
            WireKind::WebSocket => self.decode_websocket(env, now, input),
            WireKind::Line | WireKind::Binary => self.decode_plain(env, now, input),
            WireKind::Raw => {
                let payload = Payload::Input(0..input.len());
                Ok((
                    input.len(),
                    Event::Message {
                        kind: MessageKind::Binary,
                        payload,
                    },
                ))
            }
            WireKind::Own => self.decode_own(env, now, input),
        };
        match step {
            Ok((consumed, event)) => {
                match event {
                    // The answer to a ping of ours.
                    Event::Pong { .. } => {}
                    Event::NeedMore
                    | Event::Consumed
                    | Event::Message { .. }
                    | Event::Inflating => {
                        self.charge(env, now, Taken::Bytes(consumed));
                    }
                }
                self.note_progress(now, &event, consumed, &input[consumed..]);
                (consumed, self.count_message(env, now, event))
            }
            Err(error) => {
                self.fail(env, now, error);
                (input.len(), Event::NeedMore)
            }
        }
    }

    #[cfg(feature = "deflate")]
    fn settle_inflation(
        &mut self,
        env: &mut Env,
        now: Moment,
        event: Result<Event, ProtocolError>,
        input: &[u8],
    ) -> (usize, Event) {
        match event {
            Ok(event) => (0, self.count_message(env, now, event)),
            Err(error) => {
                self.fail(env, now, error);
                (input.len(), Event::NeedMore)
            }
        }
    }

    /// Lends the storage of a long message that is arriving, with the number of bytes that may be read
    /// right onto its end. `None` if all that comes must pass through [`decode`](Self::decode).
    #[cfg(feature = "websocket")]
    pub(crate) fn take_assembly(&mut self, env: &mut Env) -> Option<(Vec<u8>, usize)> {
        if self.phase != Phase::Open || !self.wire.is_websocket() {
            return None;
        }
        let held = self.buffers.as_mut()?;
        held.websocket.take_assembly(&mut env.pool)
    }

    /// Other wires have none.
    #[cfg(not(feature = "websocket"))]
    pub(crate) fn take_assembly(&self, _: &Env) -> Option<(Vec<u8>, usize)> {
        None
    }

    /// Takes the storage back.
    #[cfg(feature = "websocket")]
    pub(crate) fn put_assembly(&mut self, assembly: Vec<u8>) {
        if let Some(held) = &mut self.buffers {
            held.websocket.put_assembly(assembly);
        }
    }

    /// None was lent.
    #[cfg(not(feature = "websocket"))]
    pub(crate) fn put_assembly(&self, _: Vec<u8>) {}

    /// Decodes the `fresh` bytes that were read onto the end of a message, before anything else is.
    pub(crate) fn decode_assembled(&mut self, env: &mut Env, now: Moment, fresh: usize) -> Event {
        match self.step_assembled(env, now, fresh) {
            Ok(event) => {
                self.charge(env, now, Taken::Bytes(fresh));
                self.note_progress(now, &event, fresh, &[]);
                self.count_message(env, now, event)
            }
            Err(error) => {
                self.fail(env, now, error);
                Event::NeedMore
            }
        }
    }

    #[cfg(feature = "websocket")]
    fn step_assembled(
        &mut self,
        env: &mut Env,
        now: Moment,
        fresh: usize,
    ) -> Result<Event, ProtocolError> {
        use crate::proto::websocket::Item;

        let Some(held) = &mut self.buffers else {
            return Ok(Event::NeedMore);
        };
        Ok(match held.websocket.decode_assembled(fresh)? {
            Item::Fragment => self.handle_fragment(env, now),
            Item::Message { kind, payload } => {
                self.handle_frame(env, now);
                Event::Message { kind, payload }
            }
            Item::Compressed { kind, payload } => {
                self.handle_frame(env, now);
                self.inflate(env, kind, payload, &[])?
            }
            Item::NeedMore | Item::Ping(_) | Item::Pong(_) | Item::Close { .. } => Event::NeedMore,
        })
    }

    #[cfg(not(feature = "websocket"))]
    fn step_assembled(&self, _: &mut Env, _: Moment, _: usize) -> Result<Event, ProtocolError> {
        Ok(Event::NeedMore)
    }

    /// Returns what the end of input completes: the last line, if it came without its line end.
    pub fn decode_rest(&mut self, env: &mut Env, now: Moment) -> Option<(MessageKind, Payload)> {
        if self.facts.has(Fact::Discarding)
            || self.phase != Phase::Open
            || self.wire != WireKind::Line
        {
            return None;
        }
        let held = self.buffers.as_mut()?;
        held.unfinished = None;
        let item = held.line.finish(&mut env.pool);
        let item = item.and_then(|item| {
            let line = held.line.assembled();
            check_first_line(&mut self.part, &item, line)?;
            Ok(item)
        });
        match item {
            Ok(wire::Item::Message { kind, payload }) => {
                let event = Event::Message { kind, payload };
                match self.count_message(env, now, event) {
                    Event::Message { kind, payload } => Some((kind, payload)),
                    Event::NeedMore | Event::Consumed | Event::Inflating | Event::Pong { .. } => {
                        None
                    }
                }
            }
            Ok(_) => None,
            Err(error) => {
                self.fail(env, now, error);
                None
            }
        }
    }

    /// Takes the payload of a message that was put together from pieces.
    pub fn take_assembled(&mut self) -> Vec<u8> {
        let Some(held) = &mut self.buffers else {
            return Vec::new();
        };
        match self.wire {
            #[cfg(feature = "websocket")]
            WireKind::WebSocket => held.websocket.take_assembled(),
            WireKind::Line => held.line.take_assembled(),
            WireKind::Binary => held.binary.take_assembled(),
            WireKind::Raw | WireKind::Own => Vec::new(),
        }
    }

    #[cfg(feature = "websocket")]
    fn decode_websocket(
        &mut self,
        env: &mut Env,
        now: Moment,
        input: &mut [u8],
    ) -> Result<(usize, Event), ProtocolError> {
        use crate::proto::websocket::Item;

        let max_message = env.policy(self.policy).limits.max_message as u64;
        let (role, compression) = (self.part.role(), self.compression());
        let held = self.buffers.get_or_insert_with(|| env.take_buffers());
        let decoder = &mut held.websocket;
        let (consumed, item) =
            decoder.decode_with(compression, role, input, max_message, &mut env.pool)?;
        let event = match item {
            Item::NeedMore => Event::NeedMore,
            Item::Fragment => self.handle_fragment(env, now),
            Item::Message { kind, payload } => {
                self.handle_frame(env, now);
                Event::Message { kind, payload }
            }
            Item::Compressed { kind, payload } => {
                self.handle_frame(env, now);
                self.inflate(env, kind, payload, input)?
            }
            Item::Ping(payload) => {
                self.handle_ping(env, now, &input[payload]);
                Event::Consumed
            }
            Item::Pong(payload) => {
                let token = <[u8; 4]>::try_from(&input[payload]);
                self.handle_pong(env, now, token.ok().map(u32::from_be_bytes))
            }
            Item::Close { code, reason } => {
                self.handle_peer_close(env, now, code, &input[reason]);
                Event::Consumed
            }
        };
        Ok((consumed, event))
    }

    #[cfg(feature = "websocket")]
    fn handle_fragment(&mut self, env: &Env, now: Moment) -> Event {
        self.handle_frame(env, now);
        self.note_message(now);
        Event::Consumed
    }

    fn decode_plain(
        &mut self,
        env: &mut Env,
        now: Moment,
        input: &mut [u8],
    ) -> Result<(usize, Event), ProtocolError> {
        let max_message = env.policy(self.policy).limits.max_message as u64;
        let is_line = self.wire == WireKind::Line;
        let held = self.buffers.get_or_insert_with(|| env.take_buffers());
        let (consumed, item) = if is_line {
            if self.part.is_new() {
                // Before its bytes are judged as text, however they are cut.
                let mut first = [0; 16];
                let known = held.line.assembled().iter().chain(&*input);
                let known = first.iter_mut().zip(known).map(|(to, from)| *to = *from);
                let known = known.count();
                check_first_line(&mut self.part, &wire::Item::NeedMore, &first[..known])?;
            }
            let (consumed, item) = held.line.decode(input, max_message, &mut env.pool)?;
            let line = match &item {
                wire::Item::Message {
                    payload: Payload::Input(range),
                    ..
                } => &input[range.clone()],
                _ => held.line.assembled(),
            };
            check_first_line(&mut self.part, &item, line)?;
            (consumed, item)
        } else {
            let part = self.part;
            let decoded = held.binary.decode(input, max_message, &mut env.pool);
            let decoded = decoded.map_err(|error| name_foreign(part, error, input))?;
            if decoded.1 != wire::Item::NeedMore {
                self.part.meet();
            }
            decoded
        };
        let event = match item {
            wire::Item::NeedMore => Event::NeedMore,
            wire::Item::Message { kind, payload } => {
                self.handle_frame(env, now);
                Event::Message { kind, payload }
            }
            wire::Item::Ping => {
                self.handle_ping(env, now, &[]);
                Event::Consumed
            }
            wire::Item::Pong => self.handle_pong_in_order(env, now),
        };
        Ok((consumed, event))
    }

    /// Notes a complete valid data frame or ping.
    pub(super) fn handle_frame(&mut self, env: &Env, now: Moment) {
        self.heartbeat
            .handle_frame(&env.policy(self.policy).timing, now);
    }

    pub(super) fn handle_ping(&mut self, env: &mut Env, now: Moment, payload: &[u8]) {
        env.stats.pings_received += 1;
        self.pings_received.add();
        self.handle_frame(env, now);
        let cost = env.policy(self.policy).limits.ping_cost;
        let has_credit = self.facts.has(Fact::Credit);
        if Self::is_flood(&mut self.ping_debt, cost, now, has_credit) {
            self.close(env, now, Cause::PingFlood, None, "too many pings");
            return;
        }
        self.queue_pong(env, now, payload);
    }

    /// Judges a pong by the token it brings back; one without a token of ours matches nothing.
    pub(super) fn handle_pong(&mut self, env: &mut Env, now: Moment, token: Option<u32>) -> Event {
        let timing = &env.policy(self.policy).timing;
        let (key, phase) = (env.token_key(), self.heartbeat.phase().fraction());
        let number = token.map(|token| token::decode(key, phase, token));
        let found = self.heartbeat.handle_pong(timing, now, number);
        self.handle_pong_match(env, now, found)
    }

    /// Judges a pong of a wire without tokens.
    pub(super) fn handle_pong_in_order(&mut self, env: &mut Env, now: Moment) -> Event {
        let timing = &env.policy(self.policy).timing;
        let found = self.heartbeat.handle_pong_in_order(timing, now);
        self.handle_pong_match(env, now, found)
    }

    pub(super) fn handle_pong_match(
        &mut self,
        env: &mut Env,
        now: Moment,
        found: PongMatch,
    ) -> Event {
        match found {
            PongMatch::Answer { rtt } => {
                env.stats.pongs_matched += 1;
                if let Some(rtt) = rtt {
                    env.stats.rtt.record_micros(rtt);
                }
                Event::Pong { rtt }
            }
            PongMatch::Unsolicited | PongMatch::Mismatched => {
                let count = match found == PongMatch::Mismatched {
                    true => &mut env.stats.pongs_mismatched,
                    false => &mut env.stats.pongs_unsolicited,
                };
                *count += 1;
                let cost = env.policy(self.policy).limits.pong_cost;
                let has_credit = self.facts.has(Fact::Credit);
                if Self::is_flood(&mut self.pong_debt, cost, now, has_credit) {
                    self.close(env, now, Cause::PongFlood, None, "too many pongs");
                }
                Event::Consumed
            }
        }
    }

    /// Counts a message, or passes over one that comes after our goodbye.
    fn count_message(&mut self, env: &mut Env, now: Moment, event: Event) -> Event {
        if let Event::Message { .. } = event {
            self.charge(env, now, Taken::Message);
        }
        match event {
            Event::Message { kind, payload } if self.phase == Phase::Open => {
                env.stats.messages_in += 1;
                self.note_message(now);
                Event::Message { kind, payload }
            }
            Event::Message { payload, .. } => {
                if payload == Payload::Assembled {
                    env.pool.give_vec(self.take_assembled());
                }
                Event::Consumed
            }
            Event::NeedMore | Event::Consumed | Event::Inflating | Event::Pong { .. } => event,
        }
    }

    /// Notes bytes behind the peer's Close. Where more of them may come a server cannot simply close the
    /// socket: unread, they would make a reset of it, which could take our last words with it. So it ends
    /// its own direction and reads on (RFC 6455, section 7.1.1).
    fn note_trailing(&mut self, input: &[u8]) {
        let is_trailing = self.facts.has(Fact::CloseReceived) && !input.is_empty();
        if is_trailing && self.part.role() == Role::Server {
            self.facts.insert(Fact::Discarding);
        }
    }

    /// Keeps the clock of an unfinished message, and notes the progress of one: `consumed` bytes were
    /// taken, `left` is what no decoder can take yet.
    fn note_progress(&mut self, now: Moment, event: &Event, consumed: usize, left: &[u8]) {
        let Some(held) = &mut self.buffers else {
            return;
        };
        let (consumed, left) = match event {
            Event::Message { .. } | Event::Inflating => {
                held.unfinished = None;
                return;
            }
            Event::NeedMore => (consumed, left),
            // What is left then has not been looked at yet, and whose bytes those were is known.
            Event::Consumed | Event::Pong { .. } => (0, &left[..0]),
        };
        let Some(found) = held.incomplete(self.wire, left) else {
            held.unfinished = None;
            return;
        };
        let is_long = found.bytes.saturating_add(found.missing) > SHORT_MESSAGE;
        let stamp = Stamp::new(now.at);
        let unfinished = held.unfinished.get_or_insert_with(|| {
            self.owed.insert(Owed::Rearm);
            Unfinished {
                since: stamp,
                bytes: 0,
                long_since: None,
                message: None,
                left: 0,
            }
        });
        let has_more = consumed > 0 || left.len() > unfinished.left;
        unfinished.bytes = found.bytes;
        unfinished.message = found.message;
        unfinished.left = left.len();
        if is_long && unfinished.long_since.is_none() {
            unfinished.long_since = Some(stamp);
            self.owed.insert(Owed::Rearm);
        }
        let is_of_message = found.message.is_some() && !Buffers::is_control(self.wire, left);
        if has_more && is_of_message {
            self.note_message(now);
        }
    }

    pub(super) fn restart_slow_clock(&mut self, now: Moment) {
        if let Some(held) = &mut self.buffers
            && let Some(unfinished) = &mut held.unfinished
        {
            unfinished.since = Stamp::new(now.at);
            unfinished.long_since = unfinished.long_since.map(|_| unfinished.since);
        }
    }

    /// Says whether an unfinished message came too slowly, or took too long in all.
    pub(super) fn is_slow(&self, env: &Env, now: Moment, backlog: Backlog) -> bool {
        let more = backlog.gives(env.policy(self.policy).limits.slow_grace);
        let ends = self.slow_check(env, now);
        ends.is_some_and(|end| end + more <= now.at)
    }

    /// Returns when an unfinished message will have become too slow if nothing more of it comes: by its
    /// rate, once it is known to be long, or by its total time. A short one costs us little, and may be
    /// typed by hand. The rate is credited with all the time in which we did not read.
    pub(super) fn slow_check(&self, env: &Env, now: Moment) -> Option<Micros> {
        if self.heartbeat.is_paused() {
            return None;
        }
        let limits = &env.policy(self.policy).limits;
        let unfinished = self.buffers.as_ref()?.unfinished?;
        let long_since = unfinished.long_since.filter(|_| limits.slow_floor > 0);
        let floor = long_since.map(|since| {
            let earned = unfinished.bytes * 1_000 / u64::from(limits.slow_floor);
            let longest = Stamp::REACH / 2;
            let span = u32::try_from(earned)
                .map_or(longest, |earned| earned.min(longest))
                .max(limits.slow_grace);
            since.plus(span).time(now.at) + env.lateness.total_since(since.time(now.at), now.at)
        });
        let total = limits.message_timeout;
        let total = total.map(|total| Deadline::after(total, unfinished.since).judged(env, now));
        floor.into_iter().chain(total).min()
    }
}

/// Turns away a peer whose first words are those of another protocol, before anything of it is delivered:
/// any page can make the browser of its visitor send an HTTP request here, with lines of the page's choice
/// in it. Where TLS is begun both sides would wait for the other.
fn check_first_line(part: &mut Part, item: &wire::Item, line: &[u8]) -> Result<(), ProtocolError> {
    if !part.is_new() {
        return Ok(());
    }
    match (Foreign::of(line), part.role()) {
        (Some(Foreign::Tls), _) => return Err(ProtocolError::Foreign(Foreign::Tls)),
        (Some(Foreign::HttpResponse), Role::Client) => {
            return Err(ProtocolError::Foreign(Foreign::HttpResponse));
        }
        // What may as well be a line.
        (Some(_) | None, _) => {}
    }
    match item {
        wire::Item::NeedMore => {}
        wire::Item::Message { .. }
            if line::is_http_request(line) && part.role() == Role::Server =>
        {
            return Err(ProtocolError::HttpRequest);
        }
        wire::Item::Message { .. } | wire::Item::Ping | wire::Item::Pong => part.meet(),
    }
    Ok(())
}

/// Names the protocol whose first bytes are no frame.
fn name_foreign(part: Part, error: ProtocolError, input: &[u8]) -> ProtocolError {
    if !part.is_new() || !matches!(error, ProtocolError::UnknownType(_)) {
        return error;
    }
    let line = input.split(|&byte| byte == b'\n').next().unwrap_or(input);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match Foreign::of(input) {
        Some(protocol) => ProtocolError::Foreign(protocol),
        None if line::is_http_request(line) => ProtocolError::HttpRequest,
        None => error,
    }
}

/// Lateness of our own since the last byte that is worth crediting the peer with: it may have sent pings
/// meanwhile that are all read now.
const LATE: Micros = Micros::from_secs(1);

/// Bytes of a message up to which only its total time is limited.
const SHORT_MESSAGE: u64 = 4 * 1024;

/// Largest ring of a wire whose decoder moves long messages elsewhere.
const LARGEST_RING: usize = Pool::LARGEST;
