//! Many clients that answer pings.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::bytes::{masked_frame, unmasked_frame};
use super::raw::RawPeer;
use super::{PATIENCE, Wire};

/// Clients that answer pings, held by one thread.
pub(crate) struct Crowd {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    answered: AtomicU64,
    lost: AtomicU64,
    over: AtomicBool,
    /// When each Close frame was read, and its code.
    goodbyes: Mutex<Vec<(Instant, u16)>>,
}

impl Shared {
    /// Notes what a member heard, or that it has met its end.
    fn note(&self, heard: Option<Heard>) {
        let Some(heard) = heard else {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        };
        self.answered.fetch_add(heard.pings, Ordering::Relaxed);
        if let Some(code) = heard.goodbye {
            let mut goodbyes = self.goodbyes.lock().unwrap();
            goodbyes.push((Instant::now(), code));
        }
    }
}

/// What a member heard and answered.
#[derive(Default)]
struct Heard {
    pings: u64,
    goodbye: Option<u16>,
}

impl Crowd {
    /// Connects so many over WebSocket.
    pub(crate) fn connect(port: u16, count: usize) -> Self {
        raise_descriptor_limit(count);
        Self::hold(connected((Ipv4Addr::LOCALHOST, port).into(), count))
    }

    /// Connects so many as fast as it goes.
    pub(crate) fn rush(addr: SocketAddr, count: usize) -> Self {
        raise_descriptor_limit(count);
        let each = count.div_ceil(RUSHING);
        let rushing: Vec<_> = (0..RUSHING)
            .map(|thread| each.min(count.saturating_sub(thread * each)))
            .map(|share| thread::spawn(move || connected(addr, share)))
            .collect();
        let members = rushing
            .into_iter()
            .flat_map(|thread| thread.join().expect("all could connect"))
            .collect();
        Self::hold(members)
    }

    fn hold(members: Vec<Member>) -> Self {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        thread::spawn(move || hold(members, &theirs));
        Self { shared }
    }

    pub(crate) fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    pub(crate) fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Returns when each member heard the server say goodbye, and with which code.
    pub(crate) fn goodbyes(&self) -> Vec<(Instant, u16)> {
        self.shared.goodbyes.lock().unwrap().clone()
    }

    /// Waits until so many have heard the server say goodbye.
    pub(crate) fn wait_for_goodbyes(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.goodbyes().len() < count {
            let heard = self.goodbyes().len();
            assert!(Instant::now() < deadline, "{heard} goodbyes of {count}");
            thread::sleep(GLANCE);
        }
    }

    pub(crate) fn wait_for_answers(&self, count: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.answered() < count {
            assert!(
                Instant::now() < deadline,
                "{} answers of {count}",
                self.answered()
            );
            thread::sleep(GLANCE);
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
    }
}

struct Member {
    stream: TcpStream,
    rx: Vec<u8>,
}

impl Member {
    fn new(peer: RawPeer) -> Self {
        let (stream, rx) = peer.into_parts();
        stream.set_nonblocking(true).unwrap();
        Self {
            stream: TcpStream::from_std(stream),
            rx,
        }
    }

    /// Reads to would-block and answers pings and Closes; returns nothing at the end.
    fn answer(&mut self) -> Option<Heard> {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => self.rx.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return None,
            }
        }
        let mut heard = Heard::default();
        while let Some((first, payload)) = unmasked_frame(&self.rx) {
            let is_ping = first == PING;
            assert!(
                is_ping || first == CLOSE,
                "{first} is neither a ping nor a Close"
            );
            let opcode = if is_ping { PONG } else { CLOSE };
            let answer = masked_frame(opcode, &self.rx[payload.clone()]);
            self.stream.write_all(&answer).ok()?;
            if is_ping {
                heard.pings += 1;
            } else {
                let code = self.rx[payload.clone()].first_chunk();
                heard.goodbye = Some(code.map_or(0, |code| u16::from_be_bytes(*code)));
            }
            self.rx.drain(..payload.end);
        }
        Some(heard)
    }
}

fn connected(addr: SocketAddr, count: usize) -> Vec<Member> {
    let connect = |_| {
        let stream = std::net::TcpStream::connect(addr).unwrap();
        Member::new(RawPeer::over(stream, Wire::WebSocket))
    };
    (0..count).map(connect).collect()
}

fn hold(mut members: Vec<Member>, shared: &Shared) {
    let mut poll = Poll::new().unwrap();
    for (index, member) in members.iter_mut().enumerate() {
        poll.registry()
            .register(&mut member.stream, Token(index), Interest::READABLE)
            .unwrap();
        // What came with the handshake gives no event any more.
        shared.note(member.answer());
    }
    let mut events = Events::with_capacity(1024);
    while !shared.over.load(Ordering::Relaxed) {
        poll.poll(&mut events, Some(GLANCE)).unwrap();
        for event in &events {
            shared.note(members[event.token().0].answer());
        }
    }
}

/// Waits until no other test of many connections runs: the limit of descriptors is that of the whole process.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes as many descriptors as all tests of a process need that run at the same time, where the system
/// allows it: some start with 1024.
pub(crate) fn take_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX).min(TOGETHER);
    if limit.current.is_some_and(|current| current < most) {
        let raised = Rlimit {
            current: Some(most),
            maximum: limit.maximum,
        };
        setrlimit(Resource::Nofile, raised).expect("a limit may be raised up to its maximum");
    }
}

/// Both ends of all connections need a descriptor, and some systems start with 1024.
pub(crate) fn raise_descriptor_limit(connections: usize) {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    let all = || {
        let open = fs::read_dir("/proc/self/fd").unwrap().count();
        (open + connections) as u64 + 200
    };
    // Those of the test before may still be about to close.
    let patience = Instant::now() + PATIENCE;
    while all() > most && Instant::now() < patience {
        thread::sleep(GLANCE);
    }
    // Other tests of this process, which run at the same time, have enough in what all may take.
    let enough = all().max(TOGETHER.min(most));
    if limit.current.is_some_and(|current| current < enough) {
        let raised = Rlimit {
            current: Some(enough),
            maximum: limit.maximum,
        };
        setrlimit(Resource::Nofile, raised).expect("too few descriptors: raise `ulimit -Hn`");
    }
}

/// First bytes of whole frames.
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;

/// Descriptors that are enough for all tests of a process that one need not ask for.
const TOGETHER: u64 = 4_096;

/// Threads that connect at once.
const RUSHING: usize = 16;

/// How often something is looked at that does not announce itself.
const GLANCE: Duration = Duration::from_millis(10);
