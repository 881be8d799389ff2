//! What is true of one end of a connection, as seen at the border between process and kernel.
//!
//! A [`Watch`] sees the bytes that cross that border and the calls that the application makes. It knows
//! the promises (DESIGN sections 2, 3 and 6) and nothing of the code. It panics where one is broken.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use heartwheel::close::{Cause, KernelFigures, Phase};
use heartwheel::config::Proof;
use heartwheel::proto::time::Micros;

use super::lateness::{Intervals, When};
use super::rules::Rules;
use super::scanner::{Item, Scanner, Speech};
use crate::process::codec::STRAY;
use crate::world::tcp::Failure;

/// A moment known only to lie between two.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Between {
    pub(crate) low: When,
    pub(crate) high: When,
}

impl Between {
    pub(super) fn exactly(when: When) -> Self {
        Self {
            low: when,
            high: when,
        }
    }

    /// Some time in the turn up to then.
    pub(super) fn in_turn(when: When) -> Self {
        Self {
            low: Watch::before(when),
            high: when,
        }
    }

    /// Returns the two on the clock.
    pub(super) fn times(self) -> (Micros, Micros) {
        (self.low.at, self.high.at)
    }
}

/// The first ping since the last proof, or since the policy changed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    /// Times from which it counts, at the earliest and at the latest.
    pub(super) counts: (Micros, Micros),
    /// It has left for the kernel; ends there in the stream.
    pub(super) written: Option<(When, u64)>,
    /// It waits: whether output before it has moved since.
    pub(super) moves: Moves,
    /// It may have been answered by what was read before it and decoded after it.
    pub(super) is_doubtful: bool,
    /// It was not through when the time was up, and output moved: one more W.
    pub(super) is_spared: bool,
}

/// Whether output has moved, in the order of certainty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Moves {
    No,
    Perhaps,
    Surely,
}

/// A ping on the wire.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) payload: Vec<u8>,
    pub(super) when: When,
}

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) about: String,
    pub(super) rules: Rules,
    pub(super) speech: Speech,
    pub(crate) fraction: u32,
    /// A stamp may be older than what it stands for by the time spent in its turn, such as a slow
    /// callback, or a stop in the middle of it: the longest so far.
    pub(crate) longest_turn: Micros,
    /// The least time that a question and its answer are on their way.
    pub(super) shortest: Micros,
    pub(super) began: When,
    pub(crate) phase: Phase,
    /// When the present phase began.
    pub(super) since: Between,
    /// When it opened, if it has.
    pub(crate) opened: Option<When>,

    pub(super) proof: Between,
    /// The same before the latest read, and when the cause of its end arose.
    pub(super) proof_before: Between,
    pub(super) proof_at_end: [Between; 2],
    pub(super) ask: Option<Ask>,
    /// When the policy changed, if no proof has come since.
    pub(super) changed: Option<When>,
    /// When the present rules began to hold.
    pub(super) ruled: When,
    /// They began to hold in this turn.
    pub(super) is_new: bool,
    pub(super) resumed: Option<When>,
    /// Nothing is read, since the application or the loop does not want to.
    pub(super) is_paused: bool,
    pauses: [bool; 2],
    /// It was chosen to end, because there was too little memory.
    pub(super) is_relieved: bool,
    /// The kernel said last that bytes wait for room in the peer's window.
    pub(super) is_shut: bool,
    /// What the application says that it holds for it, bytes.
    pub(super) hoard: usize,
    /// Bytes that are no proof were read since the ping was written.
    pub(super) is_heard: bool,

    /// Grid point of the latest ping, or the next one where its turn reached so far; and the latest that
    /// was rightly passed over.
    pub(super) pinged: [Micros; 2],
    pub(super) passed: Micros,
    /// The latest was passed over because of a stop.
    pub(super) has_skipped: bool,
    /// A turn since the last that saw to everything followed a stop.
    pub(super) is_stalled: bool,
    pub(super) due: u32,
    /// Pings that the application asked for.
    pub(super) asked_for: u32,
    pub(super) is_ping_waiting: bool,
    pub(super) may_ping_wait: bool,
    pub(super) written: Vec<Sent>,
    pub(super) answered: usize,
    /// The ping that is timed, and the latest round trip.
    pub(super) timed: Option<usize>,
    pub(super) rtt: Option<Micros>,
    /// Pongs that answer nothing.
    pub(crate) strays: u64,
    /// Payloads of pongs written on an own wire, where an application may send one again.
    pub(super) ponged: BTreeSet<Vec<u8>>,
    /// How many were answered before the latest read, and before the one that brought the end.
    pub(super) answered_before: usize,
    pub(super) answered_at_end: usize,
    /// When bytes last passed, in and out: at the end of the latest turn, and when the cause arose.
    pub(super) settled: [Option<When>; 2],
    pub(super) passed_at_end: [[Option<When>; 2]; 2],
    /// The same of pings written.
    pub(super) written_before: usize,
    pub(super) written_at_end: usize,

    pub(super) input: Scanner,
    pub(super) output: Scanner,
    pub(super) last_in: Option<When>,
    /// Control frames that came since the path had been silent, if it had.
    burst: Option<u32>,
    /// When a turn last left input unread.
    pub(super) last_unread: Option<When>,
    /// When bytes last waited unread; and the same when the cause of its end arose.
    pub(super) last_waiting: Option<When>,
    pub(super) waited_at_end: Option<When>,
    pub(super) last_out: Option<When>,
    /// When a message last made progress, either way.
    pub(super) last_message: Between,
    pub(super) is_blocked: bool,
    /// When the turn began in which a write was refused last.
    pub(super) refused: Option<Micros>,
    /// When output last moved, or began to wait.
    pub(super) progress: Between,
    pub(super) place: u64,
    /// When a message found the queue full first, and what was written since, and when.
    pub(super) full: Option<When>,
    pub(super) written_lately: VecDeque<(Micros, u64)>,
    /// When the present message began to be incomplete.
    pub(super) unfinished: Option<Between>,
    /// When it was known to be long.
    pub(super) long: Option<Between>,
    /// Input was read and is not decoded yet.
    pub(super) is_undecoded: bool,
    /// That was so at some time.
    pub(super) was_undecoded: bool,
    /// Messages read and not delivered yet.
    pub(super) to_deliver: VecDeque<Vec<u8>>,
    pub(crate) delivered: u64,
    pub(crate) sent: u64,

    /// True time at which a read last found nothing.
    pub(crate) drained: Micros,
    pub(super) is_eof: bool,
    pub(super) failure: Option<Failure>,
    pub(super) is_closed_by_peer: bool,
    /// The application has yet to let it in.
    pub(super) is_deferred: bool,
    /// Ends that the application asked for.
    pub(super) wanted: Vec<Cause>,
    /// Ends that may come of what the application, or the peer's, has done.
    pub(super) allowed: Vec<Cause>,
    /// A verdict waits for what a budget left unread.
    pub(crate) is_put_off: bool,
    /// What a verdict must be, worked out just before it is spoken.
    pub(super) expected: Option<Cause>,
    /// Whether the peer is slow rather than dead, as far as that is certain.
    pub(super) slow: Option<bool>,
    pub(super) cause: Option<(Cause, When)>,
    pub(crate) opens: u32,
    pub(crate) closes: u32,
    /// How late the loop of its process was.
    pub(super) ours: Rc<RefCell<Intervals>>,
    /// What a verdict of silence has been put off by for that, at least and at most.
    pub(super) forgiven: Option<(Micros, Micros)>,
    found: Vec<Item>,
}

/// What a watch is told at its beginning.
#[derive(Clone, Debug)]
pub(crate) struct Birth {
    pub(crate) about: String,
    pub(crate) rules: Rules,
    pub(crate) speech: Speech,
    pub(crate) shortest: Micros,
    pub(crate) phase: Phase,
}

impl Watch {
    pub(crate) fn new(
        birth: Birth,
        now: When,
        in_turn: Micros,
        ours: Rc<RefCell<Intervals>>,
    ) -> Self {
        let opened = (birth.phase == Phase::Open).then_some(now);
        let mut watch = Self {
            about: birth.about,
            rules: birth.rules,
            speech: birth.speech,
            fraction: 0,
            longest_turn: in_turn,
            shortest: birth.shortest,
            began: now,
            phase: birth.phase,
            since: Between::exactly(now),
            opened,
            proof: Between::exactly(now),
            proof_before: Between::exactly(now),
            proof_at_end: [Between::exactly(now); 2],
            ask: None,
            changed: None,
            ruled: now,
            is_new: true,
            resumed: None,
            is_paused: false,
            pauses: [false; 2],
            is_relieved: false,
            is_shut: false,
            hoard: 0,
            is_heard: false,
            pinged: [now.at; 2],
            passed: now.at,
            has_skipped: false,
            is_stalled: false,
            due: 0,
            asked_for: 0,
            is_ping_waiting: false,
            may_ping_wait: false,
            written: Vec::new(),
            answered: 0,
            timed: None,
            rtt: None,
            strays: 0,
            ponged: BTreeSet::new(),
            answered_before: 0,
            answered_at_end: 0,
            settled: [None; 2],
            passed_at_end: [[None; 2]; 2],
            written_before: 0,
            written_at_end: 0,
            input: Scanner::new(birth.speech),
            output: Scanner::new(birth.speech),
            last_in: None,
            burst: None,
            last_waiting: None,
            waited_at_end: None,
            last_unread: None,
            last_out: None,
            last_message: Between::exactly(now),
            is_blocked: false,
            refused: None,
            progress: Between::exactly(now),
            place: 0,
            full: None,
            written_lately: VecDeque::new(),
            unfinished: None,
            long: None,
            is_undecoded: false,
            was_undecoded: false,
            to_deliver: VecDeque::new(),
            delivered: 0,
            sent: 0,
            drained: Micros::ZERO,
            is_eof: false,
            failure: None,
            is_closed_by_peer: false,
            is_deferred: false,
            wanted: Vec::new(),
            allowed: Vec::new(),
            is_put_off: false,
            expected: None,
            slow: None,
            cause: None,
            opens: 0,
            closes: 0,
            ours,
            forgiven: None,
            found: Vec::new(),
        };
        // The beginning counts as proof; its stamp may be as old as the turn.
        watch.proof = Between::in_turn(now);
        watch.since = Between::in_turn(now);
        watch.pinged = [now.at - watch.longest_turn; 2];
        watch
    }

    /// Says whether a call on the socket has failed: what it has to say for itself may lie behind input.
    pub(crate) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.is_paused
    }

    pub(crate) fn is_eof(&self) -> bool {
        self.is_eof
    }

    /// Says whether a write has failed that others wait behind. What came before the reset is read first then,
    /// whatever else is due.
    pub(super) fn is_broken(&self) -> bool {
        self.is_blocked && self.failure.is_some()
    }

    pub(crate) fn note_figures(&mut self, kernel: &KernelFigures) {
        let has_room = match kernel.unacked {
            0 => kernel.window >= kernel.unsent.min(kernel.mss),
            _ => kernel.window > 0,
        };
        self.is_shut = !has_room && (kernel.unacked > 0 || kernel.unsent > 0);
    }

    pub(crate) fn note_shortest(&mut self, shortest: Micros) {
        self.shortest = self.shortest.min(shortest);
    }

    /// Returns how many bytes of an unfinished message have been read, at least one if there is any.
    pub(crate) fn unfinished(&self) -> usize {
        let (_, most) = self.input.unfinished();
        usize::try_from(most)
            .unwrap_or(usize::MAX)
            .max(self.input.is_within().into())
    }

    /// Says what is wrong, and with whom.
    pub(super) fn fail(&self, now: When, what: impl AsRef<str>) -> ! {
        panic!(
            "{} at {:?}: {}\n  {:?}\n  proof {:?} ask {:?} progress {:?} since {:?}",
            self.about,
            now,
            what.as_ref(),
            self.rules,
            self.proof,
            self.ask,
            self.progress,
            self.since,
        );
    }

    pub(super) fn demand(&self, now: When, is_so: bool, what: impl FnOnce() -> String) {
        if !is_so {
            self.fail(now, what());
        }
    }
}

/// Bytes in.
impl Watch {
    pub(crate) fn handle_read(&mut self, now: When, bytes: &[u8]) {
        self.note_burst(now);
        self.last_in = Some(now);
        self.answered_before = self.answered;
        self.proof_before = self.proof;
        self.is_heard = true;
        if self.rules.proof == Proof::Bytes {
            self.prove(now);
        }
        let mut in_message = self.input.is_in_message();
        let mut found = std::mem::take(&mut self.found);
        self.input.scan(bytes, &mut found);
        let has_fragment = found.iter().any(|item| matches!(item, Item::Fragment));
        if has_fragment || self.input.is_within_data() {
            self.last_message = Between::exactly(now);
        } else if self.speech == Speech::Own && self.input.is_within() {
            // Of an own wire nobody knows what it will be.
            self.last_message.high = now;
        }
        for item in found.drain(..) {
            match item {
                Item::Fragment => in_message = true,
                Item::Message(_) => in_message = false,
                Item::Head | Item::Ping(_) | Item::Pong(_) | Item::Close => {}
            }
            // The clock runs from the first byte of a message to its last, control frames or not.
            if !in_message {
                self.unfinished = None;
                self.long = None;
            }
            self.handle_item(now, item);
        }
        self.found = found;
        if self.input.is_within() {
            self.unfinished.get_or_insert_with(|| Between::exactly(now));
            if self.input.is_longer_than(SHORT) {
                self.long.get_or_insert_with(|| Between::exactly(now));
            }
        }
    }

    /// After seconds in which nothing came, though we would have read it, the path may bring at once what
    /// it held back.
    fn note_burst(&mut self, now: When) {
        let Some(last) = self.last_in.filter(|last| now.at - last.at > BURST) else {
            return;
        };
        let is_ours = self.resumed.is_some() || now.late - last.late > BURST;
        self.burst = (!is_ours).then_some(0);
    }

    /// Says whether the path has brought more control frames at once than are let pass.
    pub(super) fn is_swamped(&self) -> bool {
        self.burst.is_some_and(|frames| frames > 3 * PER_SECOND)
    }

    fn handle_item(&mut self, now: When, item: Item) {
        if let (Some(frames), Item::Ping(_) | Item::Pong(_)) = (&mut self.burst, &item) {
            *frames += 1;
        }
        let is_message = self.rules.proof == Proof::Message;
        match item {
            Item::Head => {}
            Item::Fragment if is_message => self.prove(now),
            Item::Fragment => {}
            Item::Message(bytes) => {
                if is_message {
                    self.prove(now);
                }
                self.to_deliver.push_back(bytes);
            }
            Item::Ping(_) if is_message => self.prove(now),
            Item::Ping(_) => {}
            Item::Pong(payload) => self.handle_pong(now, &payload),
            Item::Close => self.is_closed_by_peer = true,
        }
    }

    /// A pong answers the newest ping that it can mean, and all before.
    fn handle_pong(&mut self, now: When, payload: &[u8]) {
        let open = &self.written[self.answered..];
        let place = match self.speech {
            Speech::WebSocket | Speech::Own => {
                open.iter().rposition(|sent| sent.payload == payload)
            }
            Speech::Line | Speech::Binary | Speech::Raw => (!open.is_empty()).then_some(0),
        };
        match place {
            Some(place) => {
                self.handle_answer(now, self.answered + place);
                self.answered += place + 1;
                self.prove(now);
            }
            None if payload == STRAY || self.is_known(payload) => self.strays += 1,
            None => self.fail(now, "a pong that nobody asked for, from a peer of our own"),
        }
    }

    /// Says whether a payload is that of a ping that was answered already.
    fn is_known(&self, payload: &[u8]) -> bool {
        let mut known = self.written[..self.answered].iter();
        known.any(|sent| sent.payload == payload)
    }

    pub(super) fn prove(&mut self, now: When) {
        self.proof = Between::exactly(now);
        self.ask = None;
        self.changed = None;
        self.resumed = None;
    }

    pub(crate) fn handle_eof(&mut self, _now: When) {
        self.is_eof = true;
    }

    pub(crate) fn handle_failure(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }

    /// Notes whether whole frames are left undecoded; what is decoded later proves later.
    pub(crate) fn handle_decoded(&mut self, now: When, is_left: bool) {
        if self.is_undecoded {
            self.proof.high = now;
            self.last_message.high = now;
            if let Some(ask) = &mut self.ask {
                ask.is_doubtful = true;
            }
        }
        for began in [&mut self.unfinished, &mut self.long].into_iter().flatten() {
            if self.last_in.is_some_and(|read| read.at <= began.low.at) {
                began.high = now;
            }
        }
        self.is_undecoded = is_left;
        self.was_undecoded |= is_left;
    }

    /// Compares a message that the application was given with what was read.
    pub(crate) fn handle_delivered(&mut self, now: When, bytes: &[u8]) {
        self.last_message = Between::exactly(now);
        self.delivered += 1;
        if self.speech == Speech::Raw {
            let mut left = bytes;
            while let Some(piece) = self.to_deliver.pop_front() {
                let Some(rest) = left.strip_prefix(piece.as_slice()) else {
                    self.fail(now, "delivered bytes that were not read")
                };
                left = rest;
                if left.is_empty() {
                    return;
                }
            }
            self.fail(now, "delivered more bytes than were read");
        }
        match self.to_deliver.pop_front() {
            Some(message) if message == bytes => {}
            // The end of the stream ends a line.
            None if self.is_eof && self.input.rest() == bytes => {
                self.input.take_rest();
            }
            other => self.fail(
                now,
                format!(
                    "delivered {} bytes, read {:?}",
                    bytes.len(),
                    other.map(|m| m.len())
                ),
            ),
        }
    }
}

/// Bytes out.
impl Watch {
    pub(crate) fn handle_written(&mut self, now: When, bytes: &[u8]) {
        self.last_out = Some(now);
        self.place += bytes.len() as u64;
        if self.full.is_some() {
            self.written_lately.push_back((now.at, bytes.len() as u64));
        }
        self.is_blocked = false;
        self.progress = Between::in_turn(now);
        if let Some(ask) = &mut self.ask
            && ask.written.is_none()
        {
            ask.moves = Moves::Surely;
        }
        let mut found = std::mem::take(&mut self.found);
        self.output.scan(bytes, &mut found);
        let is_data = |item: &Item| matches!(item, Item::Fragment | Item::Message(_));
        if self.output.is_within_data() || found.iter().any(is_data) {
            self.last_message = Between::in_turn(now);
        } else {
            // A head, or what an application sends in the shape of a heartbeat, counts as a message.
            let is_perhaps = |item: &Item| match item {
                Item::Head => true,
                Item::Pong(payload) => payload == STRAY || self.ponged.contains(payload),
                _ => false,
            };
            if self.output.is_in_head() || found.iter().any(is_perhaps) {
                self.last_message.high = now;
            }
        }
        for item in found.drain(..) {
            match item {
                Item::Ping(payload) => self.handle_ping_written(now, payload),
                Item::Pong(payload) if self.speech == Speech::Own => {
                    self.ponged.insert(payload);
                }
                _ => {}
            }
        }
        self.found = found;
    }

    /// Notes that the kernel took less than it was offered.
    pub(crate) fn handle_blocked(&mut self, now: When) {
        if !self.is_blocked && self.last_out.is_none_or(|out| out != now) {
            self.progress = Between::in_turn(now);
        }
        self.is_blocked = true;
        self.refused = Some(now.began);
    }

    /// Notes that a message found no room in the queue.
    pub(crate) fn handle_full(&mut self, now: When) {
        self.full.get_or_insert(now);
    }

    pub(crate) fn handle_sent(&mut self, now: When) {
        self.sent += 1;
        self.handle_stray_sent(now);
    }

    /// Notes that the application sent something that is no message to its peer.
    pub(crate) fn handle_stray_sent(&mut self, now: When) {
        self.last_message = Between::in_turn(now);
    }

    /// Returns the earliest moment that a stamp of the same turn may bear.
    pub(crate) fn before(now: When) -> When {
        When {
            at: now.began,
            ..now
        }
    }
}

/// What the application does.
impl Watch {
    pub(crate) fn handle_open(&mut self, now: When) {
        self.opens += 1;
        self.demand(now, self.opens == 1 && self.closes == 0, || {
            "opened twice".into()
        });
    }

    pub(crate) fn handle_pause(&mut self) {
        self.pauses[0] = true;
        self.is_paused = true;
    }

    pub(crate) fn handle_resume(&mut self, now: When) {
        self.pauses[0] = false;
        self.read_on(now);
    }

    /// Notes that the loop stops reading, because memory is short, or would read again.
    pub(crate) fn handle_held_back(&mut self, now: When, is_held: bool) {
        self.pauses[1] = is_held;
        match is_held {
            true => self.is_paused = true,
            false => self.read_on(now),
        }
    }

    /// Notes that it ends for want of memory, or that its goodbye does: only who holds some is chosen.
    pub(crate) fn handle_relieved(&mut self, now: When) {
        self.demand(now, self.holds_something() || self.is_blocked, || {
            "ends for want of memory and holds none".into()
        });
        self.is_relieved = true;
    }

    /// Notes that the application holds so many bytes for it.
    pub(crate) fn handle_hoard(&mut self, size: usize) {
        self.hoard = size;
    }

    /// Says whether memory is counted for it though no bytes are in transit, or it waits for memory.
    pub(crate) fn is_kept(&self) -> bool {
        self.hoard > 0 || self.pauses[1]
    }

    fn read_on(&mut self, now: When) {
        if self.pauses == [false; 2] && std::mem::take(&mut self.is_paused) {
            self.resumed = Some(now);
            self.last_message = Between::in_turn(now);
            for began in [&mut self.unfinished, &mut self.long].into_iter().flatten() {
                *began = Between::in_turn(now);
            }
        }
    }

    pub(crate) fn handle_policy(&mut self, now: When, rules: Rules) {
        if self.rules.app_idle.is_none() {
            // A limit that was off counts from when it is set.
            self.last_message = Between::exactly(now);
        }
        self.rules = rules;
        self.changed = Some(now);
        self.is_new = true;
        self.ask = None;
        self.passed = self.passed.max(now.at);
    }

    /// Notes that the application decides later whether it lets it in.
    pub(crate) fn handle_deferred(&mut self) {
        self.is_deferred = true;
    }

    /// Notes that the application wants an end for this cause.
    pub(crate) fn handle_wanted(&mut self, cause: Cause) {
        self.wanted.push(cause);
    }

    /// Notes that it may end for this cause, and need not.
    pub(crate) fn handle_allowed(&mut self, cause: Cause) {
        self.allowed.push(cause);
    }

    /// Takes one of those back.
    pub(crate) fn forget_allowed(&mut self, cause: Cause) {
        if let Some(place) = self.allowed.iter().position(|other| *other == cause) {
            self.allowed.swap_remove(place);
        }
    }

    /// Notes that bytes wait unread while reading is paused: they are as good as read.
    pub(crate) fn handle_waiting(&mut self, now: When) {
        self.last_waiting = Some(now);
        if self.rules.proof == Proof::Bytes {
            self.prove(now);
            self.proof = Between::in_turn(now);
        }
    }
}

/// "100 pings a second for 3 s, pongs likewise."
const PER_SECOND: u32 = 100;
const BURST: Micros = Micros::from_secs(3);

/// Bytes of a message up to which it may come as slowly as it likes, within its total time.
const SHORT: u64 = 4 * 1024;
