//! One connection without its socket: a wire, a heartbeat, and the phases from the first byte to the
//! last.
//!
//! The contract: the shell owns the socket and the clock, and the session decides. After each call that
//! tells the session something, the shell asks the session what to do next.
//!
//! | what happened | call | what it returns |
//! | --- | --- | --- |
//! | bytes arrived | [`handle_bytes`](Session::handle_bytes), [`decode`](Session::decode) | one [`Event`] after the other |
//! | an HTTP head arrived | `next_request`, `next_response` | what to ask the application |
//! | the application takes its time to decide | [`defer`](Session::defer), and then [`end_deferral`](Session::end_deferral) | nothing |
//! | bytes of a codec's handshake arrived | [`shake_hands`](Session::shake_hands) | one [`Shaken`] after the other |
//! | a deadline is due | [`handle_expiry`](Session::handle_expiry) | one [`Step`] after the other |
//! | output was queued | [`slices`](Session::slices), [`handle_written`](Session::handle_written) | what to write |
//! | any of these | [`socket_action`](Session::socket_action) | what to do with the socket |
//! | any of these | [`poll_deadline`](Session::poll_deadline) | when the next deadline is |
//!
//! The session makes no callbacks.

mod aside;
mod beat;
mod buffers;
mod closing;
mod deadline;
mod deferral;
#[cfg(feature = "deflate")]
mod deflate;
#[cfg(feature = "deflate")]
mod deflated;
mod env;
mod excess;
mod expiry;
mod input;
mod liveness;
mod memory;
#[cfg(all(feature = "websocket", not(feature = "deflate")))]
mod no_deflate;
#[cfg(feature = "websocket")]
mod opening;
mod output;
mod own;
mod pause;
mod policies;
mod rates;
mod short_count;
mod timeout;
mod token;

pub(crate) use deadline::Backlog;
pub use deferral::Awaited;
pub use env::{Entropy, Env};
pub use expiry::{Expiry, Found, Note, Step};
pub use input::Event;
#[cfg(feature = "websocket")]
pub use opening::{Asked, Door, PlainRequest, Replied};
pub use own::Shaken;
pub use policies::PolicyId;

use std::any::Any;
use std::fmt;
use std::time::Duration;

use crate::close::{Cause, Evidence, Phase};
use crate::config::WireKind;
use crate::error::ConfigError;
use crate::proto::codec::Codec;
use crate::proto::flags::{Flags, flags};
use crate::proto::heartbeat::{Heartbeat, PingPhase};
#[cfg(feature = "websocket")]
use crate::proto::http::{Exchange, HeadProgress};
use crate::proto::policy::{Policy, Timing};
use crate::proto::time::{Fine, Micros, Moment, Stamp};
#[cfg(feature = "deflate")]
use crate::proto::websocket::handshake::DeflateAgreement;
use crate::proto::wire::Role;
use buffers::Buffers;
use rates::Rates;
use short_count::ShortCount;

/// The wire that a session speaks. The built-in wires need no memory of their own; an embedder's
/// codec is in a box.
pub enum Wire {
    /// RFC 6455.
    #[cfg(feature = "websocket")]
    WebSocket,
    /// Text lines.
    Line,
    /// Length-prefixed data.
    Binary,
    /// No framing.
    Raw,
    /// An embedder's codec.
    Own(Box<dyn Codec>),
}

impl Wire {
    /// Returns the kind, without the codec.
    pub const fn kind(&self) -> WireKind {
        match self {
            #[cfg(feature = "websocket")]
            Self::WebSocket => WireKind::WebSocket,
            Self::Line => WireKind::Line,
            Self::Binary => WireKind::Binary,
            Self::Raw => WireKind::Raw,
            Self::Own(_) => WireKind::Own,
        }
    }

    /// Says whether the wire has pings of ours to send.
    pub fn has_pings(&self) -> bool {
        match self {
            Self::Own(codec) => codec.has_pings(),
            #[cfg(feature = "websocket")]
            Self::WebSocket => self.kind().has_pings(),
            Self::Line | Self::Binary | Self::Raw => self.kind().has_pings(),
        }
    }

    /// Says whether the wire has a handshake, before which nothing is open.
    pub fn has_handshake(&self) -> bool {
        match self {
            Self::Own(codec) => codec.has_handshake(),
            #[cfg(feature = "websocket")]
            Self::WebSocket => true,
            Self::Line | Self::Binary | Self::Raw => false,
        }
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind().label())
    }
}

/// What a deadline that came due asks of the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing before this time.
    Wait(Micros),
    /// Output was queued or the phase changed: flush, then look at the socket action.
    Changed,
    /// Output has made no progress, or too little, for too long. Offer it to the socket once more, unless
    /// the socket has refused it since the last wait; only if it [is still stalled](Session::is_stalled)
    /// then, call [`stall`](Session::stall), and if it still [drains slowly](Session::drains_slowly), close.
    Stalled,
    /// Silence has lasted too long. Read the socket once more; only if that finds nothing, call
    /// [`judge`](Session::judge).
    Silent,
}

/// What the shell must do with the socket after it has flushed the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketAction {
    /// Nothing.
    Keep,
    /// Read again, whatever was known of the socket: a pause is over, since it was ended or since the session
    /// closes. The peer's goodbye may have been waiting all along.
    ResumeReading,
    /// End our direction, and go on reading until the peer ends its own.
    ShutdownWrite,
    /// Close it; the session is over.
    Close,
    /// Close it with a reset; the session is over.
    Reset,
}

/// The state of one connection.
///
/// ```text
///                    TCP up               head accepted            close, drain, Close frame
///   Connecting ----------------> Handshaking ----------> Open ------------------------> Closing
///       |       (line, binary, raw: straight to Open;      |                               |
///       |        a codec says whether it has a handshake)  |                               |
///       | connect_timeout,            | handshake_timeout, | silence, reset, io_error      | flushed and
///       | io_error                    | refused            |                               | answered, or
///       v                             v                    v                               v timed out
///     Closed                       Closed                Closed                          Closed
/// ```
///
/// While it is handshaking, a server may answer plain HTTP requests; see [`answer`](Self::answer).
///
/// An idle open session owns no buffer: what it borrows, it gives back in
/// [`release`](Self::release).
#[derive(Debug)]
pub struct Session {
    heartbeat: Heartbeat,
    /// Borrowed while bytes, an unfinished message or an end are there to be kept.
    buffers: Option<Box<Buffers>>,
    /// What few sessions need.
    rare: Option<Box<Rare>>,
    /// When the connection was accepted or dialed.
    began: Fine,
    /// When the phase must be over, whatever may end it before. While open: when reading was paused, or went
    /// on.
    phase_ends: Stamp,
    /// When the peer's pings so far are paid for; see [`Session::is_flood`].
    ping_debt: Stamp,
    /// The same for unasked pongs.
    pong_debt: Stamp,
    pings_received: ShortCount,
    /// Given back in [`Session::discard`], once.
    policy: PolicyId,
    phase: Phase,
    part: Part,
    wire: WireKind,
    facts: Flags<Fact>,
    owed: Flags<Owed>,
}

/// Which side of the connection we are, and how far the peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The peer has yet to say its first line or frame, where the wire has no opening handshake.
    NewClient,
    Client,
    /// The same.
    NewServer,
    Server,
}

impl Part {
    const fn role(self) -> Role {
        match self {
            Self::NewClient | Self::Client => Role::Client,
            Self::NewServer | Self::Server => Role::Server,
        }
    }

    const fn is_new(self) -> bool {
        matches!(self, Self::NewClient | Self::NewServer)
    }

    /// Notes that the peer speaks our wire.
    fn meet(&mut self) {
        *self = match *self {
            Self::NewClient | Self::Client => Self::Client,
            Self::NewServer | Self::Server => Self::Server,
        };
    }
}

/// What a session keeps aside, since only an own wire or a limit that is off by default needs it, and of
/// some limits only who has sent something lately.
#[derive(Debug)]
struct Rare {
    codec: Option<Box<dyn Codec>>,
    /// What the shell keeps with it.
    aside: Option<Box<dyn Any + Send>>,
    /// Last progress of a message of the application, either way, or when the limit on it was set or
    /// reading went on, real time.
    last_message: Stamp,
    /// What the peer has sent lately, if that is limited.
    rates: Option<Box<Rates>>,
    /// What is agreed on about compressed messages, if it is not the usual.
    #[cfg(feature = "deflate")]
    deflate: Option<DeflateAgreement>,
}

flags! {
    /// What else is to be remembered of a session.
    Fact {
        /// The policy is still to be given back.
        HoldsPolicy,
        /// Our Close frame is written.
        CloseSent,
        /// The peer's Close frame was read.
        CloseReceived,
        /// Input is discarded from here on.
        Discarding,
        /// Our direction is ended.
        HalfClosed,
        /// The peer's direction is ended.
        Eof,
        /// Control frames that came while the shell did not read have not been counted yet.
        Credit,
        /// `Open` was reached.
        WasOpen,
    }
}

flags! {
    /// What the shell is still to be told, and what the application has yet to say.
    Owed {
        /// The deadline may have moved to earlier: ask [`Session::poll_deadline`].
        Rearm,
        /// Reading goes on after a pause: [`SocketAction::ResumeReading`].
        ResumeReading,
        /// The session has opened, and is to say when that is over: [`Session::take_closing`].
        Closing,
        /// The application has yet to let it in: [`Session::awaited`].
        Verdict,
        /// The application has yet to answer its request.
        Answer,
        /// A dial has come through, and what lies between socket and session is to finish its handshake.
        Layer,
        /// Messages of the peer are to be inflated where they are compressed: that was agreed on.
        Inflating,
    }
}

impl Session {
    /// If time jumps by this much (one day) or more, call [`handle_leap`](Self::handle_leap).
    pub const LEAP: Micros = Micros::from_secs(24 * 60 * 60);

    /// Starts a session on an accepted connection. WebSocket waits for the opening handshake, and a
    /// codec for its own, if it has one; every other wire opens at once. The session uses the policy until it is
    /// [discarded](Self::discard).
    pub fn accepted(
        env: &mut Env,
        policy: PolicyId,
        wire: Wire,
        phase: PingPhase,
        now: Moment,
    ) -> Self {
        let mut session = Self::begin(env, policy, wire, phase, now);
        if !session.wire.is_websocket() {
            session.begin_plain(env, now);
        }
        session
    }

    /// Starts a session on a connection that somebody else has accepted and opened: its opening handshake is
    /// complete, if the wire has one, and a codec says nothing for the first time, but goes on
    /// ([`resume`](Codec::resume)). The session uses the policy until it is [discarded](Self::discard).
    pub fn resumed(
        env: &mut Env,
        policy: PolicyId,
        wire: Wire,
        phase: PingPhase,
        now: Moment,
    ) -> Self {
        let mut session = Self::begin(env, policy, wire, phase, now);
        session.resume_own(env, now);
        session.open(env, now);
        session
    }

    /// Starts a session on an accepted connection whose byte stream still has its own handshake.
    /// When that is complete, call [`handle_connected`](Self::handle_connected). Both handshakes
    /// together have the handshake timeout. The session uses the policy until it is
    /// [discarded](Self::discard).
    pub fn admitted(
        env: &mut Env,
        policy: PolicyId,
        wire: Wire,
        phase: PingPhase,
        now: Moment,
    ) -> Self {
        Self {
            phase: Phase::Connecting,
            ..Self::begin(env, policy, wire, phase, now)
        }
    }

    /// Starts a session on a connection that is being dialed. The session uses the policy until it
    /// is [discarded](Self::discard).
    pub fn dialed(
        env: &mut Env,
        policy: PolicyId,
        wire: Wire,
        phase: PingPhase,
        now: Moment,
    ) -> Self {
        let connect = env.policy(policy).timing.connect;
        Self {
            phase_ends: Stamp::new(now.at).plus(connect),
            phase: Phase::Connecting,
            part: Part::NewClient,
            ..Self::begin(env, policy, wire, phase, now)
        }
    }

    /// Begins as a server before its handshake.
    fn begin(env: &mut Env, policy: PolicyId, wire: Wire, phase: PingPhase, now: Moment) -> Self {
        env.policies.retain(policy);
        let timing = &env.policy(policy).timing;
        let kind = wire.kind();
        let codec = match wire {
            Wire::Own(codec) => Some(codec),
            #[cfg(feature = "websocket")]
            Wire::WebSocket => None,
            Wire::Line | Wire::Binary | Wire::Raw => None,
        };
        let mut session = Self {
            heartbeat: Heartbeat::new(timing, phase, now),
            buffers: None,
            rare: None,
            began: Fine::new(now.at),
            phase_ends: Stamp::new(now.at).plus(timing.handshake),
            ping_debt: Stamp::new(now.at),
            pong_debt: Stamp::new(now.at),
            pings_received: ShortCount::default(),
            policy,
            phase: Phase::Handshaking,
            part: Part::NewServer,
            wire: kind,
            facts: Flags::NONE.with(Fact::HoldsPolicy),
            owed: Flags::NONE.with(Owed::Rearm),
        };
        session.keep_rare(timing, now, codec);
        session
    }

    /// Makes room for what few sessions need, if this is one of them.
    fn keep_rare(&mut self, timing: &Timing, now: Moment, codec: Option<Box<dyn Codec>>) {
        if self.rare.is_none() && (codec.is_some() || timing.app_idle.is_some()) {
            self.rare_mut(now).codec = codec;
        }
    }

    /// Returns the room for what few sessions need.
    fn rare_mut(&mut self, now: Moment) -> &mut Rare {
        self.rare.get_or_insert_with(|| {
            Box::new(Rare {
                codec: None,
                aside: None,
                last_message: Stamp::new(now.at),
                rates: None,
                #[cfg(feature = "deflate")]
                deflate: None,
            })
        })
    }

    /// Notes that a dial has come through, but a layer between socket and session has a handshake of its own.
    /// From now on the handshake timeout runs, for both handshakes together.
    pub fn handle_dialed(&mut self, env: &Env, now: Moment) {
        let handshake = env.policy(self.policy).timing.handshake;
        self.phase_ends = Stamp::new(now.at).plus(handshake);
        self.owed.insert(Owed::Layer);
        self.owed.insert(Owed::Rearm);
    }

    /// Says whether a dial is still under way.
    pub fn is_dialing(&self) -> bool {
        self.phase == Phase::Connecting
            && self.part.role() == Role::Client
            && !self.owed.has(Owed::Layer)
    }

    /// Notes that the byte stream is established. A WebSocket client then sends `request` and waits
    /// for the answer. A codec begins.
    pub fn handle_connected(&mut self, env: &mut Env, now: Moment, request: &[u8]) {
        assert_eq!(
            self.phase,
            Phase::Connecting,
            "a stream is established once"
        );
        let is_dialing = self.is_dialing();
        self.phase = Phase::Handshaking;
        self.owed.remove(Owed::Layer);
        if is_dialing {
            let handshake = env.policy(self.policy).timing.handshake;
            self.phase_ends = Stamp::new(now.at).plus(handshake);
        }
        self.owed.insert(Owed::Rearm);
        if self.wire.is_websocket() {
            self.queue_head(env, now, request);
        } else {
            self.begin_plain(env, now);
        }
    }

    /// Begins on an established stream that is no WebSocket: a codec says what comes first. Without a
    /// handshake of its own the session opens at once.
    fn begin_plain(&mut self, env: &mut Env, now: Moment) {
        if !self.begin_own(env, now) {
            self.open(env, now);
        }
    }

    /// Opens a WebSocket session whose opening handshake succeeded. A server passes the response to
    /// send, a client an empty one.
    pub fn handle_handshake(&mut self, env: &mut Env, now: Moment, response: &[u8]) {
        assert_eq!(self.phase, Phase::Handshaking, "a handshake succeeds once");
        self.queue_head(env, now, response);
        self.open(env, now);
    }

    /// Returns how far a server is with the requests before the one to upgrade, and with that.
    #[cfg(feature = "websocket")]
    fn exchange(&self) -> Exchange {
        let held = self.buffers.as_ref();
        held.map(|held| held.exchange).unwrap_or_default()
    }

    /// Returns how far the opening head has been looked at.
    #[cfg(feature = "websocket")]
    fn head_progress(&self) -> HeadProgress {
        let held = self.buffers.as_ref();
        held.map(|held| held.head).unwrap_or_default()
    }

    pub(super) fn open(&mut self, env: &Env, now: Moment) {
        self.phase = Phase::Open;
        #[cfg(feature = "websocket")]
        if let Some(held) = &mut self.buffers {
            held.head = HeadProgress::default();
            held.exchange = Exchange::default();
            held.answered = None;
        }
        // Reading may be paused since before.
        self.phase_ends = Stamp::new(now.at);
        self.heartbeat
            .handle_open(&env.policy(self.policy).timing, now);
        self.note_message(now);
        self.facts.insert(Fact::WasOpen);
        self.owed.insert(Owed::Closing);
        self.owed.insert(Owed::Rearm);
    }

    /// Changes the policy of an open connection; see [`Heartbeat::handle_policy`]. An `app_idle`
    /// that was off before counts from now. The old policy is released.
    ///
    /// # Errors
    ///
    /// The field `heartbeat` if more than 65 536 different policies would be in use. Nothing has
    /// changed then.
    pub fn set_policy(
        &mut self,
        env: &mut Env,
        now: Moment,
        policy: Policy,
    ) -> Result<(), ConfigError> {
        let was_limited = env.policy(self.policy).timing.app_idle.is_some();
        self.policy = env.policies.exchange(self.policy, policy)?;
        self.follow_policy(env, now, was_limited);
        Ok(())
    }

    /// Changes to a policy that is in use already. One that opens later begins with it, and what is under way
    /// of its opening keeps the end that it has.
    pub(crate) fn take_policy(&mut self, env: &mut Env, now: Moment, policy: PolicyId) {
        let was_limited = env.policy(self.policy).timing.app_idle.is_some();
        env.policies.retain(policy);
        env.policies.release(self.policy);
        self.policy = policy;
        self.follow_policy(env, now, was_limited);
    }

    fn follow_policy(&mut self, env: &Env, now: Moment, was_limited: bool) {
        let timing = &env.policy(self.policy).timing;
        self.keep_rare(timing, now, None);
        if self.phase != Phase::Open {
            return;
        }
        self.heartbeat.handle_policy(timing, now);
        if !was_limited {
            self.note_message(now);
        }
        self.owed.insert(Owed::Rearm);
    }

    /// Notes that time jumps from `before`, the last moment that any session of the loop was told,
    /// to `now`: the process was stopped, or nobody turned the loop. Call it before anything else
    /// at `now`, if the jump is [`LEAP`](Self::LEAP) or more.
    ///
    /// A session's times have 32 bits and cover 24 days of past and future. While the loop runs, a
    /// session renews them itself. Without this call, a time weeks ago would look like one in the
    /// future.
    pub fn handle_leap(&mut self, before: Moment, now: Moment) {
        self.heartbeat.handle_leap(before, now);
        let rare = self.rare.as_mut().map(|rare| &mut rare.last_message);
        let held = self.buffers.iter_mut().flat_map(|held| held.stamps());
        for stamp in [
            &mut self.ping_debt,
            &mut self.pong_debt,
            &mut self.phase_ends,
        ]
        .into_iter()
        .chain(rare)
        .chain(held)
        {
            stamp.leap(before.at, now.at);
        }
    }

    /// Returns, once, whether the deadline may have become earlier since it was last asked for.
    pub fn take_rearm(&mut self) -> bool {
        self.owed.remove(Owed::Rearm)
    }

    /// Returns the phase.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Returns which side of the connection we are.
    pub fn role(&self) -> Role {
        self.part.role()
    }

    /// Returns the wire.
    pub fn wire(&self) -> WireKind {
        self.wire
    }

    /// Says whether the wire has pings of ours to send.
    pub fn has_pings(&self) -> bool {
        self.codec()
            .map_or_else(|| self.wire.has_pings(), |codec| codec.has_pings())
    }

    /// Says whether a codec leads a handshake of its own.
    pub fn has_handshake(&self) -> bool {
        self.codec().is_some_and(|codec| codec.has_handshake())
    }

    /// Returns the policy. It exists until the session is [discarded](Self::discard).
    pub fn policy(&self) -> PolicyId {
        self.policy
    }

    /// Says whether there is output to write, or something else that
    /// [`socket_action`](Self::socket_action) tells of an open session.
    pub fn wants_flush(&self) -> bool {
        self.owed.has(Owed::ResumeReading) || self.has_output()
    }

    /// Says whether the session ever opened.
    pub fn was_open(&self) -> bool {
        self.facts.has(Fact::WasOpen)
    }

    /// Says whether reading is paused: by the shell, or because the application [has yet to
    /// decide](Self::awaited). A session that closes reads again, for the peer's goodbye.
    pub fn is_paused(&self) -> bool {
        match self.phase {
            Phase::Open => self.heartbeat.is_paused(),
            Phase::Handshaking => self.awaited().is_some(),
            Phase::Connecting | Phase::Closing | Phase::Closed => false,
        }
    }

    /// Returns the heartbeat, for its figures.
    pub fn heartbeat(&self) -> &Heartbeat {
        &self.heartbeat
    }

    /// Returns the time since the connection was accepted or dialed.
    pub fn age(&self, now: Moment) -> Micros {
        self.began.age(now.at)
    }

    /// Returns the record of the end, as of when its cause arose. Before that, it is the record of
    /// an end by us now. Only the received close code, whether the end is clean, and what was
    /// dropped are as of now.
    pub fn evidence(&self, now: Moment) -> Evidence {
        let known = self.buffers.as_ref().and_then(|held| held.end);
        let mut evidence = known.unwrap_or_else(|| self.snapshot(now, Cause::LocalClose));
        evidence.bytes_dropped = self.dropped();
        evidence.clean = self.is_clean(&evidence);
        evidence
    }

    /// Returns what is known at `now`, for the record of an end whose cause arises then.
    fn snapshot(&self, now: Moment, cause: Cause) -> Evidence {
        let held = self.buffers.as_ref();
        let (pings_due, pings_written, pings_answered) = self.heartbeat.pings();
        Evidence {
            cause,
            phase: self.phase,
            errno: None,
            close_code: None,
            clean: false,
            age: self.age(now).into(),
            last_in: self.heartbeat.last_in(now).map(Duration::from),
            last_out: self.heartbeat.last_out(now).map(Duration::from),
            last_proof: self
                .facts
                .has(Fact::WasOpen)
                .then(|| self.heartbeat.last_proof(now).into()),
            pings_due,
            pings_written,
            pings_answered,
            rtt: self.heartbeat.rtt(),
            bytes_queued: held.map_or(0, |held| held.tx.len() as u64),
            bytes_dropped: 0,
            bytes_unfinished: held
                .and_then(|held| held.unfinished)
                .and_then(|unfinished| unfinished.message)
                .map(|bytes| u32::try_from(bytes).unwrap_or(u32::MAX)),
            forgiveness: Duration::ZERO,
            loop_delay: now.delay.into(),
            kernel: None,
        }
    }

    /// Notes a message of the application, or progress of one, either way.
    fn note_message(&mut self, now: Moment) {
        if let Some(rare) = &mut self.rare {
            rare.last_message = Stamp::new(now.at);
        }
    }

    /// Returns the codec of an own wire.
    pub fn codec(&self) -> Option<&dyn Codec> {
        self.rare.as_ref()?.codec.as_deref()
    }

    /// Returns the codec of an own wire, to change it.
    pub fn codec_mut(&mut self) -> Option<&mut (dyn Codec + 'static)> {
        Some(&mut **self.rare.as_mut()?.codec.as_mut()?)
    }

    /// Has another codec speak the wire from now on, which is one for the client that a proxy has named
    /// meanwhile. Nothing has been said yet. A codec that has pings where the other has none, or the
    /// other way round, does not fit the policy, and is not taken.
    pub(crate) fn set_codec(&mut self, codec: Box<dyn Codec>) {
        let fits = self.has_pings() == codec.has_pings();
        if let Some(rare) = self.rare.as_mut().filter(|_| fits) {
            rare.codec = Some(codec);
        }
    }

    fn refresh_stamps(&mut self, now: Moment) {
        if let Some(rare) = &mut self.rare {
            rare.last_message.refresh(now.at);
        }
        self.ping_debt.refresh(now.at);
        self.pong_debt.refresh(now.at);
        for stamp in self.buffers.iter_mut().flat_map(|held| held.stamps()) {
            stamp.refresh(now.at);
        }
        if self.phase == Phase::Open {
            self.phase_ends.refresh(now.at);
            if self.phase_ends.plus(FLOOD_BURST).is_due(now.at) {
                self.facts.remove(Fact::Credit);
            }
        }
    }

    /// Lets control frames count as if they had come evenly since then, for reading was paused or our loop
    /// was late: a peer that pings once a second has done nothing wrong.
    pub(super) fn give_credit(&mut self, now: Moment, since: Stamp) {
        if self.phase != Phase::Open {
            return;
        }
        self.credit_rates(since.time(now.at), now);
        for debt in [&mut self.ping_debt, &mut self.pong_debt] {
            if debt.is_due(now.at) {
                *debt = since.later(*debt);
            }
        }
        self.phase_ends = Stamp::new(now.at);
        self.facts.insert(Fact::Credit);
    }

    /// Takes `millis` of credit for one control frame of the peer's; says whether it has now sent more
    /// than three seconds' worth ahead of time. (A leaky bucket kept as a single time stamp: the
    /// generic cell rate algorithm, ITU-T I.371.)
    fn is_flood(debt: &mut Stamp, cost: Option<u32>, now: Moment, has_credit: bool) -> bool {
        let Some(cost) = cost else { return false };
        let start = Stamp::new(now.at);
        let limit = start.plus(FLOOD_BURST);
        let base = if has_credit { *debt } else { debt.later(start) };
        *debt = base.plus(cost);
        *debt != limit && debt.later(limit) == *debt
    }
}

/// Bytes that a codec's frame may have beyond its message.
const MOST_HEADER: usize = 4 * 1024;

/// Milliseconds' worth of pings or pongs that a peer may send at once.
const FLOOD_BURST: u32 = 3_000;

#[cfg(test)]
#[cfg(feature = "websocket")]
mod tests;
