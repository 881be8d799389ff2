//! A machine and the process on it: its clock, when it runs, and what has been told to it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use heartwheel::close::Cause;
use heartwheel::config::HeartbeatConfig;
use heartwheel::proto::time::Micros;

use super::tcp::{Ready, SockId};
use super::{Event, Hardship, Token, World};
use crate::dice::Dice;
use crate::model::{Lateness, Look, When};

/// Which host.
pub(crate) type HostId = usize;

/// What the application on a host is asked to do. `which` picks one of its open connections.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    Send {
        which: u64,
        size: usize,
    },
    /// Sends so many messages at once.
    Burst {
        which: u64,
        size: usize,
        count: usize,
    },
    /// Holds so many bytes for it, beside those of others.
    Hoard {
        which: u64,
        size: usize,
    },
    Close {
        which: u64,
        cause: Cause,
    },
    Ping {
        which: u64,
    },
    /// Sends a pong that answers nothing, where the wire is our own.
    Stray {
        which: u64,
    },
    Pause {
        which: u64,
    },
    Resume,
    Policy {
        which: u64,
        heartbeat: Box<HeartbeatConfig>,
    },
    /// Dials once more, from a client that stopped.
    Redial,
    /// Closes a listener, if it is open. `which` picks one of the ports.
    CloseListener {
        which: u64,
    },
    /// Opens a listener on each port that has none.
    Listen,
    Drain,
}

/// What the process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// Nothing: it has ended, or was killed.
    Nothing,
    /// It waits for events, until its own clock shows this.
    Waiting(Micros),
    /// It works until this true time.
    Working(Micros),
}

/// How promptly the process runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// A wait ends up to this much late.
    pub(crate) wake: Micros,
    /// One in so many pauses for breath takes time, up to `breath`. Zero: none does.
    pub(crate) breath_odds: u64,
    pub(crate) breath: Micros,
    /// It always has something to do: no wait lasts, and each turn takes so long at least, between two
    /// spans.
    pub(crate) busy: Option<(Micros, Micros)>,
}

#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) name: &'static str,
    /// What the process reads as its clocks: core time, and time slept.
    pub(crate) clocks: (Micros, Micros),
    /// Something was read, and the process has not looked at its clock since. Time that it loses in between
    /// makes what it read younger, which is right and cannot be seen from here.
    pub(super) is_unstamped: bool,
    /// A wait is over, and the process has not looked at its clock since.
    is_woken: bool,
    /// How many waits are over.
    pub(crate) wakes: u64,
    /// What the clock showed when the process last looked.
    pub(crate) known: Micros,
    /// How far the clock has been moved ahead of true time, and how long it stood still.
    pub(crate) ahead: Micros,
    pub(crate) slept: Micros,
    /// How far it is to be moved during the next wait.
    leap: Micros,
    /// Since when the machine sleeps.
    asleep: Option<Micros>,
    is_off: bool,
    is_stopped: bool,
    doing: Doing,
    /// Number of the latest wake; older ones in the queue are void.
    wake: u64,
    /// When the process goes on, if that is settled.
    wake_at: Option<Micros>,
    /// It was to go on while it could not.
    is_overdue: bool,
    /// Whom the kernel has connected for the process, with their ports.
    pub(crate) backlog: VecDeque<(SockId, usize)>,
    ready: Vec<(Token, Ready)>,
    /// How many of them, the first, the latest wait had no room for.
    left: usize,
    pub(crate) commands: VecDeque<Command>,
    pub(crate) pace: Pace,
    /// An alarm on a clock that never stands still ends the wait in which the machine slept.
    pub(crate) has_alarm: bool,
    /// Whether its kernel tells figures of a socket.
    pub(crate) has_figures: bool,
    pub(crate) dice: Dice,
    /// How long the present turn has still to work.
    pub(super) owes: Micros,
    /// Sockets by their tokens, and the ports that have a listener, with its token.
    pub(crate) socks: BTreeMap<Token, SockId>,
    pub(crate) ports: BTreeMap<usize, Token>,
    /// Slots that have been used.
    pub(crate) slots: usize,
    /// Sockets with a write that was refused since the last wait.
    pub(crate) refused: BTreeSet<SockId>,
    /// The socket that was closed last, and whether with a reset.
    pub(crate) closed: Option<(SockId, bool)>,
    /// The one whose silence is being judged.
    pub(crate) judging: Option<SockId>,
    /// When the present turn began to look at what was due, and what came of that.
    pub(crate) look_began: When,
    pub(crate) look: Option<Look>,
    pub(crate) is_draining: bool,
    /// True time at which the present turn began.
    pub(crate) turned: Micros,
    /// The lateness that the model sees.
    pub(crate) lateness: Lateness,
}

impl Host {
    pub(crate) fn new(name: &'static str, dice: Dice, start: Micros, tick: Micros) -> Self {
        Self {
            name,
            clocks: (start, Micros::ZERO),
            known: start,
            is_unstamped: false,
            is_woken: false,
            wakes: 0,
            ahead: start,
            slept: Micros::ZERO,
            leap: Micros::ZERO,
            asleep: None,
            is_off: false,
            is_stopped: false,
            doing: Doing::Nothing,
            wake: 0,
            wake_at: None,
            is_overdue: false,
            backlog: VecDeque::new(),
            ready: Vec::new(),
            left: 0,
            commands: VecDeque::new(),
            pace: Pace {
                wake: Micros::ZERO,
                breath_odds: 0,
                breath: Micros::ZERO,
                busy: None,
            },
            has_alarm: false,
            has_figures: true,
            dice,
            owes: Micros::ZERO,
            socks: BTreeMap::new(),
            ports: BTreeMap::new(),
            slots: 0,
            refused: BTreeSet::new(),
            closed: None,
            judging: None,
            look_began: When::default(),
            look: None,
            is_draining: false,
            turned: Micros::ZERO,
            lateness: Lateness::new(tick),
        }
    }

    /// Says whether packets find anybody.
    pub(crate) fn has_kernel(&self) -> bool {
        !self.is_off && self.asleep.is_none()
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.doing != Doing::Nothing
    }

    /// Returns what the machine's clock shows at a true time.
    pub(crate) fn clock(&self, now: Micros) -> Micros {
        let now = self.asleep.map_or(now, |since| since.min(now));
        now + self.ahead - self.slept
    }

    /// Returns the true time at which the clock will show `clock`, if nothing happens to it.
    fn true_time(&self, clock: Micros) -> Micros {
        match clock {
            Micros::MAX => Micros::MAX,
            clock => clock + self.slept - self.ahead,
        }
    }

    /// Forgets what only the process knew.
    fn forget_process(&mut self) {
        self.ready.clear();
        self.left = 0;
        self.socks.clear();
        self.ports.clear();
        self.refused.clear();
        self.slots = 0;
        self.judging = None;
        self.look = None;
        self.is_draining = false;
    }

    /// Says whether a port has a listener.
    pub(crate) fn listens(&self, port: usize) -> bool {
        self.ports.contains_key(&port)
    }

    /// Tells the poll that somebody waits to be accepted on a port.
    pub(super) fn note_arrival(&mut self, port: usize) {
        if let Some(&token) = self.ports.get(&port) {
            self.note(token, Ready::default());
        }
    }

    fn can_run(&self) -> bool {
        self.has_kernel() && !self.is_stopped
    }

    pub(super) fn note(&mut self, token: Token, ready: Ready) {
        match self.ready.iter_mut().find(|(known, _)| *known == token) {
            Some((_, known)) => known.merge(ready),
            None => self.ready.push((token, ready)),
        }
    }

    /// Hands edges out, at most so many: first those that an earlier wait had no room for, in their order,
    /// then those that have come since, in any order.
    pub(super) fn take_ready(&mut self, most: usize) -> Vec<(Token, Ready)> {
        for place in self.left + 1..self.ready.len() {
            let other = self.left + self.dice.index(place + 1 - self.left);
            self.ready.swap(place, other);
        }
        // What a script asks for is asked for in the same turn.
        let is_wake = |&(token, _): &(Token, Ready)| token == Token::WAKE;
        if !self.commands.is_empty()
            && let Some(place) = self.ready.iter().position(is_wake)
        {
            self.ready[..=place].rotate_right(1);
        }
        let count = most.min(self.ready.len());
        self.left = self.ready.len() - count;
        self.ready.drain(..count).collect()
    }

    /// Says whether the next wait tells of a socket.
    pub(crate) fn has_edge(&self, token: Token) -> bool {
        self.ready.iter().any(|&(known, _)| known == token)
    }

    fn has_news(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Says whether it is busy all the time, and has more to see to than one wait tells it.
    pub(super) fn is_behind(&self) -> bool {
        self.pace.busy.is_some() && self.left > 0
    }
}

impl World {
    /// Begins a wait until the host's own clock shows `until`.
    pub(super) fn begin_wait(&mut self, host: HostId, until: Micros) {
        let now = self.now;
        let one = &mut self.hosts[host];
        let clock = one.clock(now);
        let is_long = one.lateness.in_turn(clock) > one.lateness.threshold();
        // What passes behind the last look at the clock is a part of the wait for all that anybody knows.
        one.lateness.end_turn(one.known, until);
        one.doing = Doing::Waiting(until);
        one.refused.clear();
        one.wake_at = None;
        if let Some((low, high)) = one.pace.busy {
            one.owes = one.dice.span(low, high);
            one.note(Token::WAKE, Ready::default());
        }
        let is_busy = one.pace.busy.is_some();
        self.meet_if(is_long, Hardship::LongTurn);
        self.meet_if(is_long && is_busy, Hardship::Saturation);
        self.leap(host);
        self.settle_wake(host);
    }

    /// Lets the process work for so long.
    pub(super) fn begin_work(&mut self, host: HostId, span: Micros) {
        let ends = self.now + span;
        self.hosts[host].doing = Doing::Working(ends);
        self.wake_process(host, ends);
    }

    /// Ends a wait soon, because there is news.
    pub(super) fn nudge(&mut self, host: HostId) {
        if matches!(self.hosts[host].doing, Doing::Waiting(_)) {
            self.settle_wake(host);
        }
    }

    /// Finds out when a waiting process goes on.
    fn settle_wake(&mut self, host: HostId) {
        let now = self.now;
        let one = &mut self.hosts[host];
        let Doing::Waiting(until) = one.doing else {
            return;
        };
        let due = if one.has_news() {
            now
        } else {
            one.true_time(until)
        };
        if due == Micros::MAX {
            return;
        }
        let wake = one.pace.wake;
        let at = due.max(now) + one.dice.span(Micros::ZERO, wake);
        if one.wake_at.is_none_or(|known| at < known) {
            self.wake_process(host, at);
        }
    }

    fn wake_process(&mut self, host: HostId, at: Micros) {
        let one = &mut self.hosts[host];
        one.wake += 1;
        one.wake_at = Some(at);
        let wake = one.wake;
        self.schedule(at, Event::Wake(host, wake));
    }

    /// Says whether the process goes on now.
    pub(super) fn handle_wake(&mut self, host: HostId, wake: u64) -> bool {
        let one = &mut self.hosts[host];
        if one.wake != wake || one.doing == Doing::Nothing {
            return false;
        }
        if !one.can_run() {
            // Where the clock stands still a wait is not over.
            one.is_overdue = one.asleep.is_none() || matches!(one.doing, Doing::Working(_));
            one.wake_at = None;
            return false;
        }
        self.begin_running(host);
        true
    }

    fn begin_running(&mut self, host: HostId) {
        let now = self.now;
        let one = &mut self.hosts[host];
        let clock = one.clock(now);
        if matches!(one.doing, Doing::Waiting(_)) {
            one.is_woken = true;
            one.wakes += 1;
            one.turned = now;
        }
        one.is_overdue = false;
        one.clocks = (clock, one.slept);
    }

    /// Reads a clock for a loop, which knows of no later time until it reads it again. The first time is the
    /// beginning of its turn, for all that anybody knows.
    pub(super) fn look_at_the_clock(&mut self, host: HostId) -> Micros {
        let one = &mut self.hosts[host];
        one.known = one.clocks.0;
        one.is_unstamped = false;
        if std::mem::take(&mut one.is_woken) {
            one.lateness.begin_turn(one.known);
            let is_stalled = one.lateness.is_stalled();
            self.meet_if(is_stalled, Hardship::Stop);
        }
        self.hosts[host].known
    }

    /// Starts the process anew.
    pub(super) fn start(&mut self, host: HostId) {
        let one = &mut self.hosts[host];
        one.lateness = Lateness::new(one.lateness.tick());
        one.doing = Doing::Working(self.now);
        let clock = one.clock(self.now);
        one.lateness.begin_turn(clock);
        self.begin_running(host);
    }

    /// Ends the process; its kernel goes on.
    pub(super) fn kill(&mut self, host: HostId) {
        let one = &mut self.hosts[host];
        one.doing = Doing::Nothing;
        one.is_stopped = false;
        one.commands.clear();
        self.close_ports(host);
        self.hosts[host].forget_process();
        self.book.forget(host);
        self.close_all(host);
    }

    /// Cuts the power, or lets it come back: the machine has forgotten everything then.
    pub(super) fn set_power(&mut self, host: HostId, is_on: bool) {
        if !is_on {
            self.hosts[host].doing = Doing::Nothing;
            self.hosts[host].forget_process();
            self.book.forget(host);
            self.forget_all(host);
        }
        self.hosts[host].is_off = !is_on;
    }

    pub(super) fn stop(&mut self, host: HostId) {
        self.hosts[host].is_stopped = true;
    }

    /// Says whether the process has something to do at once.
    pub(super) fn resume(&mut self, host: HostId) {
        self.hosts[host].is_stopped = false;
        self.catch_up(host);
    }

    pub(super) fn fall_asleep(&mut self, host: HostId) {
        let now = self.now;
        self.hosts[host].asleep.get_or_insert(now);
    }

    pub(super) fn wake_up(&mut self, host: HostId) {
        let now = self.now;
        let one = &mut self.hosts[host];
        if let Some(since) = one.asleep.take() {
            one.slept = one.slept + (now - since);
            if one.has_alarm && matches!(one.doing, Doing::Waiting(_)) {
                self.wake_process(host, now);
                return;
            }
            one.wake_at = None;
            self.settle_wake(host);
            self.catch_up(host);
        }
    }

    /// Moves the clock of a machine ahead: during a wait, or while nothing runs that could see it.
    pub(super) fn jump(&mut self, host: HostId, span: Micros) {
        let one = &mut self.hosts[host];
        one.leap = one.leap + span;
        match one.doing {
            Doing::Nothing => self.leap(host),
            Doing::Waiting(_) => {
                self.leap(host);
                self.hosts[host].wake_at = None;
                self.settle_wake(host);
            }
            Doing::Working(_) => {}
        }
    }

    fn leap(&mut self, host: HostId) {
        let one = &mut self.hosts[host];
        let leap = std::mem::take(&mut one.leap);
        one.ahead = one.ahead + leap;
        self.meet_if(leap > Micros::ZERO, Hardship::ClockJump);
    }

    fn catch_up(&mut self, host: HostId) {
        let now = self.now;
        if self.hosts[host].is_overdue && self.hosts[host].can_run() {
            self.wake_process(host, now);
        }
    }

    /// Gives the application something to do.
    pub(crate) fn command(&mut self, host: HostId, command: Command) {
        if self.hosts[host].is_alive() {
            self.hosts[host].commands.push_back(command);
            self.hosts[host].note(Token::WAKE, Ready::default());
            self.nudge(host);
        }
    }
}
