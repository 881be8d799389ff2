//! What went wrong in the world, and when: a peer is only ever blamed while something is.

use heartwheel::close::Cause;
use heartwheel::config::{PingWhen, Proof};
use heartwheel::proto::time::Micros;

use super::Rules;
use crate::world::tcp::SockId;
use crate::world::{Act, Command, HostId, World};

/// Who or what is in trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// One direction of a path, by the side it leads to.
    Way(usize, usize),
    /// How fast a path is.
    Speed(usize),
    /// A process does not run.
    Process(HostId),
    /// A machine sleeps, or its clock is not true.
    Machine(HostId),
    /// An application does not read.
    Reading(HostId),
    Link(usize),
}

/// A time during which answers need not come.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    place: Place,
    from: Micros,
    to: Micros,
    /// Only connections begun before are touched: what a machine has forgotten stays forgotten.
    before: usize,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Troubles {
    list: Vec<Trouble>,
}

impl Troubles {
    fn begin(&mut self, place: Place, from: Micros) {
        self.list.push(Trouble {
            place,
            from,
            to: Micros::MAX,
            before: usize::MAX,
        });
    }

    /// Ends what is going on at a place; what was lost meanwhile takes as long again to come through.
    fn end(&mut self, place: Place, now: Micros) {
        for trouble in &mut self.list {
            if trouble.place == place && trouble.to == Micros::MAX && trouble.before == usize::MAX {
                trouble.to = now + (now - trouble.from) + AFTERMATH;
            }
        }
    }

    fn note(&mut self, place: Place, from: Micros, to: Micros) {
        let known = self.list.iter_mut().rev().take(8);
        for trouble in known.filter(|known| known.place == place && known.to < Micros::MAX) {
            if trouble.to >= from {
                trouble.to = trouble.to.max(to);
                return;
            }
        }
        self.list.push(Trouble {
            place,
            from,
            to,
            before: usize::MAX,
        });
    }

    /// Says whether anything of these places was in trouble since `from`.
    fn any(&self, places: &[Place], link: usize, from: Micros) -> bool {
        self.list.iter().any(|trouble| {
            trouble.to >= from && link < trouble.before && places.contains(&trouble.place)
        })
    }
}

impl World {
    /// Notes the trouble that an act of the script makes, or ends.
    pub(crate) fn note_trouble(&mut self, act: &Act) {
        let now = self.now;
        let links = self.links.len();
        let troubles = &mut self.book.troubles;
        match *act {
            Act::Path {
                path,
                to,
                is_down: true,
            } => troubles.begin(Place::Way(path, to), now),
            Act::Path { path, to, .. } => troubles.end(Place::Way(path, to), now),
            Act::Delay { path, .. } => {
                // What is under way keeps what follows waiting.
                let longest = self.paths[path].round_trip();
                troubles.note(Place::Speed(path), now, now + longest + AFTERMATH);
            }
            Act::Narrow {
                path,
                rate: Some(_),
            } => troubles.begin(Place::Speed(path), now),
            Act::Narrow { path, rate: None } => troubles.end(Place::Speed(path), now),
            Act::Stop(host) => troubles.begin(Place::Process(host), now),
            Act::Resume(host) => troubles.end(Place::Process(host), now),
            Act::Sleep(host) => {
                troubles.begin(Place::Machine(host), now);
                self.book.forget_shortest(host);
            }
            Act::WakeUp(host) => troubles.end(Place::Machine(host), now),
            Act::Jump(host, span) => {
                troubles.note(Place::Machine(host), now, now + span + AFTERMATH);
            }
            Act::Kill(host) | Act::PowerOff(host) => troubles.list.push(Trouble {
                place: Place::Process(host),
                from: now,
                to: Micros::MAX,
                before: links,
            }),
            Act::PowerOn(_) | Act::Start(_) => {}
            Act::Command(host, ref command) => match command {
                Command::Pause { .. } => troubles.begin(Place::Reading(host), now),
                Command::Resume => troubles.end(Place::Reading(host), now),
                Command::Policy { .. } => {
                    troubles.note(Place::Process(host), now, now + AFTERMATH + AFTERMATH);
                }
                // Whoever holds most may have to go, and others wait.
                Command::Hoard { .. } => {
                    troubles.note(Place::Process(host), now, Micros::MAX);
                }
                Command::Send { .. }
                | Command::Burst { .. }
                | Command::Close { .. }
                | Command::Ping { .. }
                | Command::Stray { .. }
                | Command::Redial
                | Command::CloseListener { .. }
                | Command::Listen
                | Command::Drain => {}
            },
        }
    }

    /// Notes that the listener of an end that nobody has accepted yet closes: its dialer, which may be
    /// connected for all that it knows, hears of that only when it sends something, or nothing.
    pub(crate) fn note_abandoned(&mut self, sock: SockId) {
        let now = self.now;
        self.book.troubles.begin(Place::Link(sock.link), now);
    }

    /// Notes that a process does not keep up with its load: its pings and answers come late.
    pub(crate) fn note_overload(&mut self, host: HostId) {
        let now = self.now;
        let to = now + AFTERMATH;
        self.book.troubles.note(Place::Process(host), now, to);
    }

    /// Notes that a connection has more to send than leaves at once, which answers wait behind;
    /// `is_blocked`: more than the kernel takes.
    pub(crate) fn note_backlog(&mut self, sock: SockId, is_blocked: bool) {
        let (windows, path) = self.backlog(sock);
        let each = path.round_trip() + LONGEST_TURN;
        let lasts = each.saturating_mul(windows);
        if windows > 0 || is_blocked {
            let to = self.now + lasts + lasts + AFTERMATH;
            let link = Place::Link(sock.link);
            self.book.troubles.note(link, self.now, to);
        }
    }

    /// Demands, where a live peer would be blamed, that something was wrong in the time that counts.
    pub(super) fn demand_trouble(&self, sock: SockId, cause: Cause) {
        let blames = matches!(
            cause,
            Cause::Silent
                | Cause::PongTimeout
                | Cause::PathDead
                | Cause::PeerUnresponsive
                | Cause::WriteStalled
        );
        let Some(watch) = self.book.watch(sock).filter(|_| blames) else {
            return;
        };
        if watch.has_failed() {
            return;
        }
        let peer = self.book.watch(sock.peer());
        if !self.must_hear(&watch.rules, peer.map(|peer| &peer.rules), sock) {
            return;
        }
        let link = &self.links[sock.link];
        let mut places = vec![
            Place::Way(link.path, 0),
            Place::Way(link.path, 1),
            Place::Speed(link.path),
            Place::Link(sock.link),
        ];
        for end in &link.ends {
            places.extend([Place::Process, Place::Machine, Place::Reading].map(|of| of(end.host)));
        }
        let rules = &watch.rules;
        let window = rules.timeout.unwrap_or(Micros::ZERO)
            + rules.interval.unwrap_or(Micros::ZERO)
            + rules.write.unwrap_or(Micros::ZERO)
            + AFTERMATH;
        let is_explained = self
            .book
            .troubles
            .any(&places, sock.link, self.now - window);
        assert!(
            is_explained,
            "{}: {cause} at {:?}, though its peer was well for {window:?}\n  {:?}",
            watch.about, self.now, rules
        );
    }

    /// Says whether a peer that is well is heard often enough not to be closed.
    fn must_hear(&self, rules: &Rules, peer: Option<&Rules>, sock: SockId) -> bool {
        let round_trip = self.paths[self.links[sock.link].path].round_trip() + AFTERMATH;
        if rules.write.is_some_and(|write| write < round_trip) {
            return false;
        }
        let Some(timeout) = rules.timeout else {
            return true;
        };
        if rules.interval.is_some() {
            return round_trip < rules.answer();
        }
        // We send no pings; the peer's own must come often enough.
        let Some(peer) = peer else { return false };
        let pings = peer.interval.filter(|_| peer.ping_when == PingWhen::Always);
        rules.proof != Proof::Pong
            && pings.is_some_and(|interval| interval + peer.widest() + round_trip < timeout)
    }
}

/// What a process may take to read what has filled its window.
const LONGEST_TURN: Micros = Micros::from_millis(50);

/// What an end of trouble still drags along, and what a turn may take.
const AFTERMATH: Micros = Micros::from_millis(1_500);
