//! Peers: rustls as its own users drive it, with buffers of its own.

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::sync::Arc;

use heartwheel::proto::time::Micros;
use heartwheel::rustls::{ClientConnection, Connection, ServerConnection};

use super::book::Book;
use super::script::{Fate, Plan};
use super::{OURS, seeded};
use crate::dice::Dice;
use crate::world::tcp::{Failure, SockId};
use crate::world::{Os, Token};

/// A process with connections that follow a plan each.
pub(super) struct Peers<'y> {
    os: Os<'y>,
    conns: Vec<Conn<'y>>,
}

impl<'y> Peers<'y> {
    /// The plans are numbered from `first` on. `dials`: they come to us, and otherwise they are dialed.
    pub(super) fn new(
        os: &Os<'y>,
        book: &Book,
        plans: &[Plan],
        first: usize,
        dials: bool,
        quiet: Micros,
    ) -> Self {
        let conn = |(number, plan): (usize, &Plan)| {
            Conn::new(os, book, plan, first + number, dials, quiet)
        };
        Self {
            os: os.clone(),
            conns: plans.iter().enumerate().map(conn).collect(),
        }
    }

    /// Runs as long as the world does.
    pub(super) fn run(mut self) {
        self.os.look_at_the_clock();
        self.os.listen(0, LISTENER);
        loop {
            let due = self.conns.iter().map(Conn::due).min();
            let events = self.os.wait(due.unwrap_or(Micros::MAX), usize::MAX);
            let now = self.os.look_at_the_clock();
            while let Some(sock) = self.os.accept(0) {
                let waits = |conn: &&mut Conn<'_>| conn.sock.is_none() && !conn.dials;
                let conn = self.conns.iter_mut().find(waits);
                conn.expect("nobody else is dialed").begin(sock, true);
            }
            for conn in &mut self.conns {
                let is_told = events.iter().any(|event| Some(event.token) == conn.token());
                if is_told || conn.due() <= now {
                    conn.is_blocked &= !is_told;
                    conn.go_on(now);
                }
            }
        }
    }
}

/// One connection.
struct Conn<'y> {
    os: Os<'y>,
    book: Book,
    plan: Plan,
    number: usize,
    dials: bool,
    /// From then on nothing new is said.
    quiet: Micros,
    dice: Dice,
    tls: Connection,
    sock: Option<SockId>,
    is_connected: bool,
    is_over: bool,
    /// What became of it has begun.
    is_met: bool,
    answers_pings: bool,
    is_mute: bool,
    /// Its output ends behind what is to be written.
    is_leaving: bool,
    has_left: bool,
    is_at_end: bool,
    /// When answers are due, and the next message.
    answers: VecDeque<Micros>,
    says: Micros,
    /// A part of a line.
    line: Vec<u8>,
    /// Sealed bytes, of which so many more are written at most, the next ones at a time.
    out: VecDeque<u8>,
    limit: usize,
    next: Micros,
    is_blocked: bool,
}

impl<'y> Conn<'y> {
    fn new(
        os: &Os<'y>,
        book: &Book,
        plan: &Plan,
        number: usize,
        dials: bool,
        quiet: Micros,
    ) -> Self {
        let limit = match plan.fate {
            Fate::Stalls { behind } | Fate::HangsUp { behind } => behind,
            _ => usize::MAX,
        };
        Self {
            os: os.clone(),
            book: book.clone(),
            number,
            dials,
            quiet,
            dice: os.fork_dice(),
            tls: connection(plan, dials),
            sock: None,
            is_connected: false,
            is_over: false,
            is_met: false,
            answers_pings: true,
            is_mute: false,
            is_leaving: false,
            has_left: false,
            is_at_end: false,
            answers: VecDeque::new(),
            says: plan.begins + plan.habits.says.unwrap_or(Micros::MAX),
            line: Vec::new(),
            out: VecDeque::new(),
            limit,
            next: Micros::ZERO,
            is_blocked: false,
            plan: plan.clone(),
        }
    }

    fn token(&self) -> Option<Token> {
        self.sock.map(|_| Token(LISTENER.0 + 1 + self.number))
    }

    /// Returns when it has something to do, if nothing comes before.
    fn due(&self) -> Micros {
        if self.is_over {
            return Micros::MAX;
        }
        if self.sock.is_none() {
            return if self.dials {
                self.plan.begins
            } else {
                Micros::MAX
            };
        }
        if !self.is_connected {
            return Micros::MAX;
        }
        let mut due = if self.is_met {
            Micros::MAX
        } else {
            self.plan.at
        };
        due = due.min(self.answers.front().copied().unwrap_or(Micros::MAX));
        if self.is_talking() {
            due = due.min(self.says);
        }
        if !self.out.is_empty() && self.limit > 0 && !self.is_blocked {
            due = due.min(self.next);
        }
        due
    }

    fn is_talking(&self) -> bool {
        !self.is_mute && !self.is_leaving && self.says < self.quiet
    }

    fn begin(&mut self, sock: SockId, is_connected: bool) {
        self.sock = Some(sock);
        self.is_connected = is_connected;
        self.os.register(sock, self.token().expect("it has begun"));
        let number = self.number;
        self.book.with(sock.link, |record| record.plan = number);
    }

    fn go_on(&mut self, now: Micros) {
        if self.is_over || (self.sock.is_none() && !self.dials) {
            return;
        }
        if self.sock.is_none() {
            let path = self.os.host - 1;
            let sock = self.os.dial(OURS, 0, path);
            self.begin(sock, false);
        }
        let sock = self.sock.expect("it has begun");
        if !self.is_connected {
            self.is_connected = self.os.world(|world| world.connected(sock)) == Ok(true);
            if !self.is_connected {
                return;
            }
        }
        self.read(sock, now);
        if !self.is_met && now >= self.plan.at {
            self.is_met = true;
            self.meet(sock);
        }
        while self.answers.front().is_some_and(|&due| due <= now) {
            self.answers.pop_front();
            self.say(b"PONG\n");
        }
        if self.is_talking() && now >= self.says {
            self.says = now + self.plan.habits.says.expect("it talks");
            self.tell(sock);
        }
        if !self.is_over {
            self.collect();
            self.write(sock, now);
        }
    }

    /// Reads all there is.
    fn read(&mut self, sock: SockId, now: Micros) {
        let mut buffer = [0; 4096];
        loop {
            match self.os.world(|world| world.read(sock, &mut buffer)) {
                Ok(0) => {
                    self.is_at_end = true;
                    self.leave();
                    return;
                }
                Ok(count) => self.hear(sock, &buffer[..count], now),
                Err(Failure::WouldBlock) => return,
                Err(_) => return self.close(sock, false),
            }
        }
    }

    fn hear(&mut self, sock: SockId, mut sealed: &[u8], now: Micros) {
        while !sealed.is_empty() && !self.is_leaving {
            self.tls.read_tls(&mut sealed).unwrap();
            match self.tls.process_new_packets() {
                Ok(state) if state.peer_has_closed() => {
                    self.book
                        .with(sock.link, |record| record.has_goodbye = true);
                    self.hear_lines(sock, now);
                    self.leave();
                }
                Ok(_) => self.hear_lines(sock, now),
                Err(_) => {
                    // An alert of ours leaves before the end.
                    self.is_leaving = true;
                }
            }
        }
        // Behind its own goodbye it looks for ours, and for nothing else.
        if self.is_leaving && !sealed.is_empty() && self.tls.read_tls(&mut sealed).is_ok() {
            let state = self.tls.process_new_packets();
            let is_closed = state.is_ok_and(|state| state.peer_has_closed());
            self.book
                .with(sock.link, |record| record.has_goodbye |= is_closed);
        }
    }

    fn hear_lines(&mut self, sock: SockId, now: Micros) {
        match self.tls.reader().read_to_end(&mut self.line) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            read => drop(read.unwrap()),
        }
        while let Some(end) = self.line.iter().position(|&byte| byte == b'\n') {
            let line: Vec<_> = self.line.drain(..=end).collect();
            if line == b"PING\n" {
                self.book.with(sock.link, |record| record.pings.push(now));
                let due = now + self.dice.span(Micros::ZERO, self.plan.habits.answer);
                if self.answers_pings {
                    let last = self.answers.back().copied().unwrap_or(due);
                    self.answers.push_back(due.max(last));
                }
                continue;
            }
            self.book.with(sock.link, |record| {
                let told = format!("note {} ", record.noted);
                assert!(line.starts_with(told.as_bytes()), "no {told}: {line:?}");
                record.noted += 1;
            });
        }
    }

    /// Says the next message, with another key perhaps.
    fn tell(&mut self, sock: SockId) {
        let habits = &self.plan.habits;
        if self.tls.is_handshaking() {
            return;
        }
        if habits.renews > 0 && self.dice.one_in(habits.renews) {
            self.tls.refresh_traffic_keys().unwrap();
        }
        let size = self.dice.index(habits.size);
        let number = self.book.with(sock.link, |record| {
            record.said += 1;
            record.said - 1
        });
        let text = format!("said {number} {}\n", "x".repeat(size));
        self.say(text.as_bytes());
    }

    fn say(&mut self, bytes: &[u8]) {
        if !self.is_leaving {
            self.tls.writer().write_all(bytes).unwrap();
        }
    }

    fn leave(&mut self) {
        if !self.is_leaving {
            self.tls.send_close_notify();
            self.collect();
            self.is_leaving = true;
        }
    }

    /// Does what the script has for it.
    fn meet(&mut self, sock: SockId) {
        match self.plan.fate {
            Fate::Truncates { within } => {
                if within {
                    self.say(b"the rest of this never comes\n");
                    self.collect();
                    self.out.pop_back();
                }
                self.is_leaving = true;
            }
            Fate::Goodbye => self.leave(),
            Fate::Resets => self.close(sock, true),
            Fate::Garbles => {
                self.collect();
                self.out.extend([23, 3, 3, 0, 20]);
                self.out.extend([0; 20]);
            }
            Fate::Renews => {
                for _ in 0..KEYS {
                    self.tls.refresh_traffic_keys().unwrap();
                    self.collect();
                }
            }
            Fate::Mutes { talks } => {
                self.answers_pings = false;
                self.answers.clear();
                self.is_mute = !talks;
            }
            Fate::Babbles => {
                self.out.clear();
                self.out
                    .extend(b"GET / HTTP/1.1\r\nHost: server.test\r\n\r\n");
            }
            Fate::Lives
            | Fate::Blips
            | Fate::PathDies { .. }
            | Fate::PowerLoss
            | Fate::Freezes
            | Fate::Clogs
            | Fate::Stalls { .. }
            | Fate::HangsUp { .. }
            | Fate::Refuses => {}
        }
    }

    /// Takes what rustls has to say.
    fn collect(&mut self) {
        while self.tls.wants_write() && self.plan.fate != Fate::Babbles {
            self.tls.write_tls(&mut self.out).unwrap();
        }
    }

    fn write(&mut self, sock: SockId, now: Micros) {
        while !self.out.is_empty() && self.limit > 0 && self.next <= now && !self.is_blocked {
            let most = self.plan.habits.chunk.min(self.limit).min(self.out.len());
            let piece: Vec<_> = self.out.iter().copied().take(most).collect();
            match self
                .os
                .world(|world| world.write(sock, &[IoSlice::new(&piece)]))
            {
                Ok(count) => {
                    self.out.drain(..count);
                    self.limit -= count;
                    self.is_blocked = count < most;
                    self.next = now + self.plan.habits.gap;
                }
                Err(Failure::WouldBlock) => self.is_blocked = true,
                Err(_) => return self.close(sock, false),
            }
        }
        let hangs_up = self.limit == 0 && matches!(self.plan.fate, Fate::HangsUp { .. });
        if (hangs_up || (self.is_leaving && self.out.is_empty())) && !self.has_left {
            self.has_left = true;
            self.os.shutdown(sock);
        }
        if self.has_left && self.is_at_end {
            self.close(sock, false);
        }
    }

    fn close(&mut self, sock: SockId, with_reset: bool) {
        if !self.is_over {
            self.is_over = true;
            self.os.close(sock, with_reset);
        }
    }
}

/// Returns rustls' part of a peer.
fn connection(plan: &Plan, is_client: bool) -> Connection {
    let versions = seeded::version(plan.habits.is_old);
    let whose = match plan.fate {
        Fate::Refuses => &seeded::STRANGE,
        _ => &seeded::KNOWN,
    };
    let mut tls: Connection = if is_client {
        let mut config = seeded::client(versions, whose);
        config.max_fragment_size = plan.habits.fragment;
        let client = ClientConnection::new(Arc::new(config), seeded::name());
        client.unwrap().into()
    } else {
        let mut config = seeded::server(versions, whose);
        config.max_fragment_size = plan.habits.fragment;
        let server = ServerConnection::new(Arc::new(config));
        server.unwrap().into()
    };
    tls.set_buffer_limit(None);
    tls
}

const LISTENER: Token = Token(1);

/// Far more new keys in a row than anybody has a use for.
const KEYS: usize = 1_000;
