//! The reference model: what is true of every connection, worked out from the promises and from what
//! crossed the borders of processes, and never from the code under test.

mod ends;
mod lateness;
mod pings;
mod redial;
mod rules;
mod scanner;
mod silence;
mod trouble;
mod wakes;
mod watch;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use heartwheel::close::{Cause, Evidence, Phase};
use heartwheel::proto::time::Micros;

use crate::world::tcp::SockId;
use crate::world::{Hardship, HostId, World};
pub(crate) use lateness::{Lateness, Look, When};
pub(crate) use redial::Redial;
pub(crate) use rules::Rules;
pub(crate) use scanner::Speech;
pub(crate) use silence::Truth;
use trouble::Troubles;
pub(crate) use wakes::Waiting;
pub(crate) use watch::{Birth, Watch};

/// The model of a whole world.
#[derive(Debug, Default)]
pub(crate) struct Book {
    watches: BTreeMap<SockId, (HostId, Watch)>,
    pub(crate) records: Vec<Record>,
    pub(crate) troubles: Troubles,
    /// Time that ends were held, summed.
    pub(crate) held: Micros,
    /// Pings written and judgements passed, to see that something is tested at all.
    pub(crate) pings: u64,
    pub(crate) verdicts: u64,
    strays: BTreeMap<HostId, u64>,
    /// How clients waited to dial again, in thousandths of the longest that they may.
    pub(crate) waits: Vec<u64>,
}

/// How one end of a connection ended.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) host: HostId,
    pub(crate) sock: SockId,
    /// When, on the host's own clock.
    pub(crate) when: When,
    pub(crate) evidence: Evidence,
    pub(crate) was_open: bool,
    pub(crate) delivered: u64,
    pub(crate) last_read: Option<Micros>,
}

impl Book {
    /// Forgets the ends that a dead process held: nobody reports them.
    pub(crate) fn forget(&mut self, host: HostId) {
        self.watches.retain(|_, (of, _)| *of != host);
        self.strays.remove(&host);
    }

    /// Notes that a host's clock will stand still while answers are on their way.
    fn forget_shortest(&mut self, host: HostId) {
        for (of, watch) in self.watches.values_mut() {
            if *of == host {
                watch.note_shortest(Micros::ZERO);
            }
        }
    }

    /// Returns how many pongs that answer nothing have come to a process.
    pub(crate) fn strays(&self, host: HostId) -> u64 {
        self.strays.get(&host).copied().unwrap_or(0)
    }

    /// Lists the ends that a host still holds.
    pub(crate) fn held_by(&self, host: HostId) -> impl Iterator<Item = SockId> {
        self.watches
            .iter()
            .filter(move |(_, (of, _))| *of == host)
            .map(|(&sock, _)| sock)
    }

    pub(crate) fn watch(&self, sock: SockId) -> Option<&Watch> {
        self.watches.get(&sock).map(|(_, watch)| watch)
    }
}

impl World {
    /// Returns the time as a host's clock has it, and how late its loop is.
    pub(crate) fn when(&self, host: HostId) -> When {
        let host = &self.hosts[host];
        host.lateness.when(host.clock(self.now))
    }

    /// Notes that the application asks a peer for a sign of life.
    pub(crate) fn note_ping(&mut self, sock: SockId) {
        let now = self.when(self.end(sock).host);
        self.watch(sock, |watch| {
            if watch.phase == Phase::Open && watch.has_pings() {
                watch.handle_ping_wanted(now);
            }
        });
    }

    /// Notes that a process asks the peers of all its clients, for its machine has slept.
    pub(crate) fn note_probes(&mut self, host: HostId) {
        let held: Vec<_> = self.book.held_by(host).collect();
        for sock in held.into_iter().filter(|sock| sock.side == 0) {
            self.note_ping(sock);
        }
    }

    /// Notes that a process says goodbye to everybody. Whoever comes now is turned away.
    pub(crate) fn allow_drain(&mut self, host: HostId) {
        let held: Vec<_> = self.book.held_by(host).collect();
        for sock in held {
            self.watch(sock, |watch| {
                watch.handle_allowed(Cause::Drain);
                watch.handle_allowed(Cause::Refused);
            });
            self.allow_refusal(sock.peer());
        }
        self.hosts[host].is_draining = true;
    }

    /// Notes that an end may be turned away.
    pub(crate) fn allow_refusal(&mut self, sock: SockId) {
        self.watch(sock, |watch| watch.handle_allowed(Cause::Refused));
    }

    /// Begins to watch an end.
    pub(crate) fn begin_watch(&mut self, sock: SockId, host: HostId, birth: Birth) {
        let ours = Rc::clone(&self.hosts[host].lateness.intervals);
        let watch = Watch::new(birth, self.when(host), self.in_turn(host), ours);
        self.trace(|| format!("{} begins: {sock:?}", watch.about));
        let known = self.book.watches.insert(sock, (host, watch));
        assert!(known.is_none(), "{sock:?} begins twice");
    }

    pub(crate) fn watch(&mut self, sock: SockId, tell: impl FnOnce(&mut Watch)) {
        let in_turn = self.in_turn(self.end(sock).host);
        if let Some((_, watch)) = self.book.watches.get_mut(&sock) {
            watch.longest_turn = watch.longest_turn.max(in_turn);
            tell(watch);
        }
    }

    fn in_turn(&self, host: HostId) -> Micros {
        let host = &self.hosts[host];
        host.lateness.in_turn(host.clock(self.now))
    }

    /// Notes that a path may have become shorter.
    pub(crate) fn note_shortest(&mut self, path: usize, shortest: Micros) {
        for (sock, (_, watch)) in &mut self.book.watches {
            if self.links[sock.link].path == path {
                watch.note_shortest(shortest);
            }
        }
    }

    /// Tells what the kernel has for a process, and whether the poll will say so.
    pub(crate) fn waiting(&self, sock: SockId) -> Waiting {
        let end = self.end(sock);
        let token = end.token();
        Waiting {
            input: end.has_input(),
            has_ended: end.has_ended(),
            is_told: token.is_some_and(|token| self.hosts[end.host].has_edge(token)),
            will_have_room: end.will_have_room(),
        }
    }

    /// Tells what the kernel knows of an end, for the model to judge by.
    pub(crate) fn truth(&self, sock: SockId) -> Truth {
        let end = self.end(sock);
        let watch = self.book.watch(sock);
        let place = watch.and_then(Watch::asked_place);
        let drained = watch.map_or(Micros::ZERO, |watch| watch.drained);
        Truth {
            figures: self.hosts[end.host].has_figures.then(|| self.figures(sock)),
            // What came after a read of this very turn that found nothing was not there to be read.
            unread: if drained >= self.hosts[end.host].turned {
                0
            } else {
                end.unread()
            },
            has_ping: place.is_some_and(|place| end.has_acked(place)),
        }
    }

    /// Notes the cause of an end, which must be true at the time `at` of the process's clock.
    pub(crate) fn note_cause(&mut self, sock: SockId, host: HostId, at: Micros, cause: Cause) {
        let now = self.hosts[host].lateness.when(at);
        let mut is_fresh = false;
        let unread = self.truth(sock).unread;
        self.watch(sock, |watch| {
            is_fresh = watch.begin_cause(now, cause, unread);
        });
        if is_fresh {
            self.trace(|| format!("{sock:?} {cause}"));
            self.demand_trouble(sock, cause);
        }
    }

    /// Notes that an end is over, with its evidence.
    pub(crate) fn note_end(
        &mut self,
        sock: SockId,
        host: HostId,
        evidence: &Evidence,
        open: bool,
        with_reset: bool,
    ) {
        let when = self.when(host);
        let Some((_, mut watch)) = self.book.watches.remove(&sock) else {
            panic!("{sock:?} has ended already");
        };
        watch.handle_end(when, evidence, open, with_reset);
        self.trace(|| format!("{} ends: {evidence}", watch.about));
        self.book.held = self.book.held + watch.held(when);
        self.book.pings += u64::from(evidence.pings_written);
        self.book.verdicts += u64::from(evidence.cause.is_reset());
        let is_forgiven = evidence.forgiveness > Duration::ZERO && evidence.cause.is_reset();
        self.meet_if(is_forgiven, Hardship::Forgiveness);
        *self.book.strays.entry(host).or_default() += watch.strays;
        self.meet_if(watch.strays > 0, Hardship::StrayPong);
        self.book.records.push(Record {
            host,
            sock,
            when,
            evidence: *evidence,
            was_open: open,
            delivered: watch.delivered,
            last_read: watch.last_read(),
        });
    }
}
