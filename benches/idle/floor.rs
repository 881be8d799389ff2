//! The floor: as little as a server can do that pings its connections.
//!
//! One edge-triggered wait for up to 1024 events; one read for each, and one write for each ping that
//! is due, by due times in a flat array; nothing else for a connection. It parses nothing but the first
//! byte of an answer, has one canned reply to every opening handshake, and closes who has not answered
//! for the timeout when the next ping is due. Its pings are spread over the interval by the same
//! sequence as heartwheel's.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use heartwheel::proto::time::Micros;
use heartwheel::stats::Histogram;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use socket2::{Domain, Protocol, Socket, Type};

use super::control::{Look, next_command, say, show};
use super::peers::RESPONSE;
use super::subject::{ANSWERED, ENDED, HELD, LATENESS, Order, WRITTEN};

pub(crate) fn serve(order: Order) -> io::Result<()> {
    let listener = listen(order.port)?;
    let addr = listener.local_addr()?.as_socket().expect("it is IPv4");
    let mut floor = Floor::new(order, listener)?;
    say(&addr.to_string())?;
    floor.run()
}

/// Listens where other processes may listen too, if a port is given.
pub(crate) fn listen(port: u16) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_port(true)?;
    let addr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
    socket.bind(&addr.into())?;
    socket.listen(4096)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

struct Floor {
    epoll: OwnedFd,
    listener: Socket,
    start: Instant,
    interval: u64,
    timeout: u64,
    /// The socket of each slot.
    sockets: Vec<Option<OwnedFd>>,
    /// When each slot was last heard of, µs; zero before the handshake.
    heard: Vec<u64>,
    free: Vec<u32>,
    /// Slots in the order in which they are pinged, and where in the interval that is, µs.
    order: Vec<u32>,
    due: Vec<u32>,
    /// The next in that order, and when its interval began.
    next: usize,
    began: u64,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    held: u64,
    written: u64,
    answered: u64,
    ended: u64,
    lateness: Histogram,
}

impl Floor {
    fn new(order: Order, listener: Socket) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let input = epoll::EventFlags::IN;
        epoll::add(
            &epoll,
            &listener,
            epoll::EventData::new_u64(LISTENER),
            input,
        )?;
        let stdin = rustix::stdio::stdin();
        epoll::add(&epoll, stdin, epoll::EventData::new_u64(STDIN), input)?;
        let interval = Micros::from(order.interval).as_micros();
        let quantum = order
            .subject
            .slack
            .map_or(0, |slack| slack.as_micros() as u64 * 2);
        let slots = u32::try_from(order.capacity).map_err(io::Error::other)?;
        let (order_of, due) = spread(slots, interval, quantum);
        Ok(Self {
            epoll,
            listener,
            start: Instant::now(),
            interval,
            timeout: Micros::from(order.timeout).as_micros(),
            sockets: (0..slots).map(|_| None).collect(),
            heard: vec![0; order.capacity],
            free: (0..slots).rev().collect(),
            order: order_of,
            due,
            next: 0,
            began: 0,
            counts: Counts::default(),
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            let wait = self.next_due().saturating_sub(self.now()).div_ceil(1_000);
            let wait = Duration::from_millis(wait);
            let wait = Timespec::try_from(wait).map_err(io::Error::other)?;
            events.clear();
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                Some(&wait),
            ) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let now = self.now();
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    STDIN => match next_command()? {
                        Some(_) => show(&self.look())?,
                        None => return Ok(()),
                    },
                    slot => self.read(slot as usize, now),
                }
            }
            self.ping();
        }
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    fn next_due(&self) -> u64 {
        self.began + u64::from(self.due[self.next])
    }

    /// Accepts some, so that those who are there have their turn; the wait tells of the rest.
    fn accept(&mut self) -> io::Result<()> {
        for _ in 0..ACCEPTS {
            let socket = match accept_with(&self.listener, SocketFlags::NONBLOCK) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let slot = self
                .free
                .pop()
                .ok_or_else(|| io::Error::other("too many"))?;
            let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
            epoll::add(
                &self.epoll,
                &socket,
                epoll::EventData::new_u64(slot.into()),
                flags,
            )?;
            self.sockets[slot as usize] = Some(socket);
            self.heard[slot as usize] = 0;
        }
        Ok(())
    }

    fn read(&mut self, slot: usize, now: u64) {
        let Some(socket) = &self.sockets[slot] else {
            return;
        };
        let mut buffer = [0; 1024];
        match rustix::io::read(socket, &mut buffer) {
            Ok(count) if count > 0 && self.heard[slot] > 0 && buffer[0] == 0x8A => {
                self.counts.answered += 1;
                self.heard[slot] = now;
            }
            Ok(count) if buffer[..count].ends_with(b"\r\n\r\n") => {
                if rustix::io::write(socket, RESPONSE) == Ok(RESPONSE.len()) {
                    self.counts.held += 1;
                    self.heard[slot] = now;
                }
            }
            Err(Errno::AGAIN) => {}
            _ => self.close(slot),
        }
    }

    fn close(&mut self, slot: usize) {
        self.sockets[slot] = None;
        self.free.push(slot as u32);
        self.counts.held -= u64::from(self.heard[slot] > 0);
        self.counts.ended += 1;
    }

    /// Pings whose time has come. The clock is read anew for each few writes.
    fn ping(&mut self) {
        let mut now = self.now();
        let mut written = 0;
        while self.next_due() <= now {
            let slot = self.order[self.next] as usize;
            if let Some(socket) = &self.sockets[slot]
                && self.heard[slot] > 0
            {
                if now - self.heard[slot] > self.timeout {
                    self.close(slot);
                } else if rustix::io::write(socket, PING) == Ok(PING.len()) {
                    let late = now - self.next_due();
                    self.counts.lateness.record(Duration::from_micros(late));
                    self.counts.written += 1;
                    written += 1;
                }
                if written % 32 == 0 {
                    now = self.now();
                }
            }
            self.next += 1;
            if self.next == self.order.len() {
                self.next = 0;
                self.began += self.interval;
            }
        }
    }

    fn look(&self) -> Look {
        Look::now()
            .with(HELD, self.counts.held)
            .with(WRITTEN, self.counts.written)
            .with(ANSWERED, self.counts.answered)
            .with(ENDED, self.counts.ended)
            .with_times(LATENESS, &self.counts.lateness)
    }
}

/// Returns the slots in the order of their phases, golden-ratio steps apart, and the phases in µs, each
/// moved to the nearest multiple of the quantum if there is one.
fn spread(slots: u32, interval: u64, quantum: u64) -> (Vec<u32>, Vec<u32>) {
    let phase = |slot: &u32| slot.wrapping_mul(GOLDEN);
    let mut order: Vec<_> = (0..slots).collect();
    order.sort_unstable_by_key(phase);
    let moved = |phase: u64| match quantum {
        0 => phase,
        quantum => (phase + quantum / 2) / quantum * quantum,
    };
    let due = |slot| moved((u64::from(phase(slot)) * interval) >> 32) as u32;
    let due = order.iter().map(due).collect();
    (order, due)
}

/// Steps of this much, in 2^-32 of an interval, spread whatever number there is of them.
pub(crate) const GOLDEN: u32 = 0x9E37_79B9;

/// Taken from one wait at most.
const EVENTS: usize = 1024;

/// Accepted between two waits at most.
const ACCEPTS: usize = 64;

/// A ping without a mask and with four bytes of payload, as heartwheel's.
const PING: &[u8] = &[0x89, 4, 1, 2, 3, 4];

const LISTENER: u64 = u64::MAX;
const STDIN: u64 = u64::MAX - 1;
