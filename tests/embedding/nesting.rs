//! A reactor inside another loop: sleep until its descriptor is readable or its next timeout is over,
//! then turn with a limit of zero.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use heartwheel::reactor::{ListenerConfig, Reactor, WireFactory};

use crate::support::PATIENCE;
use crate::support::recorder::*;
use crate::support::silence::silence_cause;
use crate::support::turning::*;

/// An echo and a silent death, both driven by nothing but the foreign loop's `sleep`.
fn prove(mut sleep: impl FnMut(&Reactor<u32, u64>, Option<Duration>)) {
    let (mut reactor, mut recorder) = (reactor(), Recorder::echoing());
    let mut config = ListenerConfig::new(([127, 0, 0, 1], 0).into(), WireFactory::Line);
    config.heartbeat = heartbeat(Some(100), Some(300));
    let (_, addr) = listen_with(&mut reactor, config);
    assert_eq!(reactor.next_timeout(), None, "nothing is due");
    let mut peer = connect_peer(addr);
    peer.write_all(b"hello\n").unwrap();
    let wrote = Instant::now();
    let deadline = wrote + PATIENCE;
    let mut turns = 0;
    while recorder.closed().is_empty() {
        assert!(Instant::now() < deadline, "{:?}", recorder.seen);
        sleep(&reactor, reactor.next_timeout());
        reactor.turn(&mut recorder, Some(Duration::ZERO)).unwrap();
        turns += 1;
    }
    assert!(wrote.elapsed() >= Duration::from_millis(300), "early");
    assert_eq!(recorder.messages(), [b"hello"]);
    let evidence = recorder.closed()[0].1;
    assert_eq!(evidence.cause, silence_cause(&evidence));
    assert!(turns < 100, "{turns} turns: the foreign loop spins");
    let echoed = read_at_least(&mut reactor, &mut recorder, &mut peer, 6);
    assert_eq!(echoed[..6], *b"hello\n");
}

#[cfg(target_os = "linux")]
#[test]
fn a_reactor_nests_inside_epoll() {
    use rustix::event::epoll;
    use rustix::time::Timespec;

    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let mut added = false;
    prove(|reactor, timeout| {
        if !added {
            let data = epoll::EventData::new_u64(1);
            epoll::add(&epoll, reactor, data, epoll::EventFlags::IN).unwrap();
            added = true;
        }
        let timeout = timeout.map(|span| Timespec::try_from(span).unwrap());
        let mut events = Vec::with_capacity(8);
        epoll::wait(
            &epoll,
            rustix::buffer::spare_capacity(&mut events),
            timeout.as_ref(),
        )
        .unwrap();
    });
}

#[test]
fn a_reactor_nests_inside_a_mio_poll() {
    use mio::unix::SourceFd;
    use mio::{Events, Interest, Poll, Token};

    let mut poll = Poll::new().unwrap();
    let mut events = Events::with_capacity(8);
    let mut added = false;
    prove(|reactor, timeout| {
        if !added {
            let fd = reactor.as_raw_fd();
            poll.registry()
                .register(&mut SourceFd(&fd), Token(0), Interest::READABLE)
                .unwrap();
            added = true;
        }
        poll.poll(&mut events, timeout).unwrap();
    });
}

#[test]
#[expect(
    deprecated,
    reason = "the descriptor is owned and stays open, and `register` is unsafe"
)]
fn a_reactor_nests_inside_tokio() {
    use std::os::fd::{AsFd, OwnedFd};
    use tokio::io::unix::AsyncFd;

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .unwrap();
    let mut watched: Option<AsyncFd<OwnedFd>> = None;
    prove(|reactor, timeout| {
        runtime.block_on(async {
            let watched = watched.get_or_insert_with(|| {
                AsyncFd::new(reactor.as_fd().try_clone_to_owned().unwrap()).unwrap()
            });
            let readable = async {
                watched.readable().await.unwrap().clear_ready();
            };
            match timeout {
                Some(timeout) => {
                    let _ = tokio::time::timeout(timeout, readable).await;
                }
                None => readable.await,
            }
        });
    });
}

/// Drives the reactor as its documentation says and not otherwise: it turns when the foreign loop woke
/// for an edge, or when the timeout it was told is over.
#[cfg(target_os = "linux")]
mod edges {
    use std::cell::Cell;
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::os::fd::OwnedFd;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::rc::Rc;
    use std::time::{Duration, Instant};

    use heartwheel::close::{Cause, CloseCode, Evidence};
    use heartwheel::config::ReactorConfig;
    use heartwheel::proto::message::Message;
    use heartwheel::reactor::{ClientConfig, ClientEvent, ListenerConfig, Reactor, WireFactory};
    use rustix::event::epoll;
    use rustix::time::Timespec;

    use crate::support::PATIENCE;
    use crate::support::recorder::*;
    use crate::support::turning::*;

    /// A foreign loop on epoll that hears of each edge once.
    struct Outer {
        epoll: OwnedFd,
        turns: usize,
    }

    impl Outer {
        fn new(reactor: &Reactor<u32, u64>) -> Self {
            let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
            let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
            epoll::add(&epoll, reactor, epoll::EventData::new_u64(1), flags).unwrap();
            Self { epoll, turns: 0 }
        }

        /// Sleeps as the contract says; `false` if nothing woke it for as long as a test may take.
        fn sleep(&self, timeout: Option<Duration>) -> bool {
            let span = timeout.unwrap_or(PATIENCE).min(PATIENCE);
            let began = Instant::now();
            loop {
                let left = span.saturating_sub(began.elapsed());
                let mut events = Vec::with_capacity(8);
                let woken = epoll::wait(
                    &self.epoll,
                    rustix::buffer::spare_capacity(&mut events),
                    Some(&Timespec::try_from(left).unwrap()),
                );
                match woken {
                    Ok(count) if count > 0 => return true,
                    Err(rustix::io::Errno::INTR) => {}
                    Ok(_) if left.is_zero() => return timeout.is_some_and(|span| span < PATIENCE),
                    Ok(_) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }

        /// Turns, when it is told to and not otherwise, until the condition holds.
        #[track_caller]
        fn obey(
            &mut self,
            reactor: &mut Reactor<u32, u64>,
            recorder: &mut Recorder,
            mut until: impl FnMut(&Recorder) -> bool,
        ) {
            let deadline = Instant::now() + PATIENCE;
            while !until(recorder) {
                let timeout = reactor.next_timeout();
                let is_woken = self.sleep(timeout);
                assert!(
                    is_woken && Instant::now() < deadline,
                    "after {} turns nothing woke the loop, which was told to sleep for {timeout:?}: \
                     {:?}, and {} callbacks",
                    self.turns,
                    reactor.stats(),
                    recorder.seen.len()
                );
                let zero = Some(Duration::ZERO);
                let turn = catch_unwind(AssertUnwindSafe(|| reactor.turn(recorder, zero).unwrap()));
                if let Err(panic) = turn {
                    assert!(
                        panic.is::<Planned>(),
                        "{:?}",
                        panic.downcast_ref::<String>()
                    );
                }
                self.turns += 1;
            }
        }
    }

    /// What a callback panics with on purpose.
    struct Planned;

    fn panic_as_planned() -> ! {
        std::panic::resume_unwind(Box::new(Planned))
    }

    fn config(events: usize) -> ReactorConfig {
        ReactorConfig {
            max_connections: 4_096,
            events,
            ..ReactorConfig::default()
        }
    }

    /// Makes a reactor that takes so many events from a wait, on a line wire without heartbeats.
    fn nested(config: ReactorConfig) -> (Reactor<u32, u64>, Outer, SocketAddr) {
        let mut reactor = reactor_with(config);
        let (_, addr) = listen(&mut reactor, WireFactory::Line);
        let outer = Outer::new(&reactor);
        (reactor, outer, addr)
    }

    /// Says whether nothing is due for long: a session is looked at once in hours.
    fn is_at_rest(reactor: &Reactor<u32, u64>) -> bool {
        reactor
            .next_timeout()
            .is_none_or(|timeout| timeout > Duration::from_secs(1))
    }

    fn say(peers: &mut [TcpStream], line: &[u8]) {
        for peer in peers {
            peer.write_all(line).unwrap();
        }
    }

    /// Has many peers speak at once, again and again, and wants every word answered.
    fn crowd(events: usize, count: usize, rounds: usize) {
        let (mut reactor, mut outer, addr) = nested(config(events));
        let mut recorder = Recorder::echoing();
        let mut peers = Vec::new();
        while peers.len() < count {
            // No more than the backlog takes while nobody accepts.
            let more = 500.min(count - peers.len());
            peers.extend((0..more).map(|_| connect_peer(addr)));
            outer.obey(&mut reactor, &mut recorder, |seen| {
                seen.opened().len() == peers.len()
            });
        }
        for _ in 0..rounds {
            recorder.seen.clear();
            say(&mut peers, b"hello\n");
            outer.obey(&mut reactor, &mut recorder, |seen| seen.seen.len() == count);
            for peer in &mut peers {
                let mut echo = [0; 6];
                peer.read_exact(&mut echo).unwrap();
                assert_eq!(echo, *b"hello\n");
            }
        }
        // The last wait may have been just full.
        reactor.turn(&mut recorder, Some(Duration::ZERO)).unwrap();
        assert!(is_at_rest(&reactor));
    }

    #[test]
    fn two_hundred_peers_with_four_events_a_wait() {
        crowd(4, 200, 10);
    }

    #[cfg(target_os = "linux")]
    mod large {
        use super::*;
        use crate::support::crowd::{alone, raise_descriptor_limit};

        #[test]
        #[ignore = "needs 3 300 descriptors: raise ulimit -Hn"]
        fn more_peers_than_the_default_takes_from_a_wait() {
            let _alone = alone();
            raise_descriptor_limit(2 * 1_500);
            crowd(ReactorConfig::default().events, 1_500, 4);
        }
    }

    #[test]
    fn one_event_a_wait() {
        crowd(1, 20, 4);
    }

    #[test]
    fn a_wait_that_is_just_full_is_followed_by_one_that_finds_nothing() {
        let (mut reactor, mut outer, addr) = nested(config(4));
        let mut recorder = Recorder::echoing();
        let mut peers: Vec<_> = (0..4).map(|_| connect_peer(addr)).collect();
        outer.obey(&mut reactor, &mut recorder, |seen| seen.opened().len() == 4);
        while reactor.next_timeout() == Some(Duration::ZERO) {
            reactor.turn(&mut recorder, Some(Duration::ZERO)).unwrap();
        }
        say(&mut peers, b"hello\n");
        let turn = reactor.turn(&mut recorder, Some(PATIENCE)).unwrap();
        assert_eq!(turn.events, 4);
        assert_eq!(reactor.next_timeout(), Some(Duration::ZERO));
        let turn = reactor.turn(&mut recorder, Some(Duration::ZERO)).unwrap();
        assert_eq!((turn.events, is_at_rest(&reactor)), (0, true));
    }

    #[test]
    fn input_that_is_carried_over() {
        let small = ReactorConfig {
            read_budget: 4_096,
            ..config(4)
        };
        let (mut reactor, mut outer, addr) = nested(small);
        let mut recorder = Recorder::default();
        let mut peers: Vec<_> = (0..20).map(|_| connect_peer(addr)).collect();
        say(&mut peers, &b"a line of sixteen\n".repeat(4_000));
        outer.obey(&mut reactor, &mut recorder, |seen| {
            seen.seen.len() == 20 * 4_001
        });
    }

    #[test]
    fn verdicts_are_spoken_while_others_keep_the_waits_full() {
        let mut reactor = reactor_with(config(4));
        let mut listener = ListenerConfig::new(([127, 0, 0, 1], 0).into(), WireFactory::Line);
        listener.heartbeat = heartbeat(Some(100), Some(300));
        let (_, addr) = listen_with(&mut reactor, listener);
        let mut outer = Outer::new(&reactor);
        let mut recorder = Recorder::default();
        let silent = connect_peer(addr);
        let mut peers: Vec<_> = (0..40).map(|_| connect_peer(addr)).collect();
        outer.obey(&mut reactor, &mut recorder, |seen| {
            say(&mut peers, b"hello\n");
            !seen.closed().is_empty()
        });
        assert_eq!(recorder.closed().len(), 1);
        drop(silent);
    }

    #[test]
    fn commands_and_accepts_beyond_their_budgets() {
        const MANY: usize = 5_000;
        let small = ReactorConfig {
            accept_budget: 2,
            ..config(64)
        };
        let (mut reactor, mut outer, addr) = nested(small);
        let mut recorder = Recorder::default();
        for word in 0..MANY {
            reactor.handle().command(word as u64).unwrap();
        }
        let peers: Vec<_> = (0..50).map(|_| connect_peer(addr)).collect();
        outer.obey(&mut reactor, &mut recorder, |seen| {
            seen.seen.len() == MANY + peers.len()
        });
        // Between turns they come one by one, each with a wake of its own.
        for word in 0..20 {
            let before = recorder.seen.len();
            reactor.handle().command(word).unwrap();
            outer.obey(&mut reactor, &mut recorder, |seen| seen.seen.len() > before);
        }
    }

    #[test]
    fn names_that_are_looked_up_elsewhere() {
        let (mut reactor, mut outer, addr) = nested(config(4));
        let mut recorder = Recorder::default();
        for _ in 0..8 {
            let client = ClientConfig {
                heartbeat: heartbeat(None, None),
                ..ClientConfig::new("localhost", addr.port(), WireFactory::Line)
            };
            reactor.connect(client).unwrap();
        }
        outer.obey(&mut reactor, &mut recorder, |seen| {
            seen.opened().len() == 16
        });
    }

    #[test]
    fn foreign_sources() {
        let (mut reactor, mut outer, _) = nested(config(4));
        let mut recorder = Recorder::default();
        let mut pairs = Vec::new();
        for _ in 0..20 {
            let (near, mut far) = mio::net::UnixStream::pair().unwrap();
            reactor.register(&mut far, mio::Interest::READABLE).unwrap();
            pairs.push((near, far));
        }
        for round in 1..=5 {
            for (near, _) in &mut pairs {
                near.write_all(b"x").unwrap();
            }
            outer.obey(&mut reactor, &mut recorder, |seen| {
                seen.seen.len() >= 20 * round
            });
        }
    }

    #[test]
    fn callbacks_that_make_work_for_each_other() {
        let (mut reactor, mut outer, addr) = nested(config(64));
        // Each end is the end of the next, which is more than one turn does.
        let mut recorder = Recorder::reacting(|cx, seen| {
            if let Seen::Closed(..) = seen {
                let next = cx.connections().next();
                next.into_iter()
                    .for_each(|next| cx.close(next, CloseCode::NORMAL, ""));
            }
        });
        let mut peers: Vec<_> = (0..30).map(|_| connect_peer(addr)).collect();
        outer.obey(&mut reactor, &mut recorder, |seen| {
            seen.opened().len() == 30
        });
        peers[0].shutdown(std::net::Shutdown::Write).unwrap();
        outer.obey(&mut reactor, &mut recorder, |seen| {
            // Who is told goodbye says it, too.
            for peer in &mut peers {
                peer.set_nonblocking(true).unwrap();
                if matches!(peer.read(&mut [0; 16]), Ok(0)) {
                    peer.shutdown(std::net::Shutdown::Write).ok();
                }
            }
            seen.closed().len() == 30
        });
    }

    #[test]
    fn panics_in_callbacks() {
        let (mut reactor, mut outer, addr) = nested(config(4));
        let mut heard = 0;
        let mut recorder = Recorder::reacting(move |_, seen| {
            if matches!(seen, Seen::Message(..) | Seen::Command(_)) {
                heard += 1;
                if heard % 3 == 0 {
                    panic_as_planned();
                }
            }
        });
        let mut peers: Vec<_> = (0..60).map(|_| connect_peer(addr)).collect();
        outer.obey(&mut reactor, &mut recorder, |seen| {
            seen.opened().len() == 60
        });
        for _ in 0..60 {
            reactor.handle().command(1).unwrap();
        }
        say(&mut peers, b"hello\n");
        // What panics is not recorded; each of the others is.
        outer.obey(&mut reactor, &mut recorder, |seen| {
            let notified = seen
                .seen
                .iter()
                .filter(|seen| matches!(seen, Seen::Command(_)));
            seen.messages().len() + notified.count() == 80
        });
        // Remotes are still heard.
        let before = recorder.seen.len();
        reactor.handle().command(2).unwrap();
        outer.obey(&mut reactor, &mut recorder, |seen| seen.seen.len() > before);
    }

    #[test]
    fn a_panic_about_a_client_or_a_new_connection() {
        let (mut reactor, mut outer, addr) = nested(config(4));
        let panics = Rc::new(Cell::new(0));
        let counter = Rc::clone(&panics);
        let mut failed = [false; 3];
        // Each kind of news panics once: the client is dialed again all the same.
        let mut recorder = Recorder::reacting(move |_, seen| {
            let kind = match seen {
                Seen::Client(_, ClientEvent::Dialing { .. }) => 0,
                Seen::Client(_, ClientEvent::Failed { .. }) => 1,
                Seen::Closed(..) => 2,
                _ => return,
            };
            if !std::mem::replace(&mut failed[kind], true) {
                counter.set(counter.get() + 1);
                panic_as_planned();
            }
        });
        let connect = |reactor: &mut Reactor<u32, u64>, port| {
            let client = ClientConfig {
                heartbeat: heartbeat(None, None),
                ..ClientConfig::new("localhost", port, WireFactory::Line)
            };
            reactor.connect(client).unwrap()
        };
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let nobody = closed.local_addr().unwrap().port();
        drop(closed);
        let first = connect(&mut reactor, nobody);
        outer.obey(&mut reactor, &mut recorder, |seen| {
            let is_second = |seen: &&Seen| {
                matches!(seen, Seen::Client(id, ClientEvent::Failed { .. }) if *id == first)
            };
            seen.seen.iter().filter(is_second).count() == 1
        });
        assert_eq!(panics.get(), 2);
        // It was while names were taken in, as the words of other threads are: those are still heard.
        reactor.handle().command(1).unwrap();
        outer.obey(&mut reactor, &mut recorder, |seen| {
            seen.seen.contains(&Seen::Command(1))
        });
        connect(&mut reactor, addr.port());
        outer.obey(&mut reactor, &mut recorder, |seen| seen.opened().len() == 2);
        let ids: Vec<_> = recorder.opened();
        for &id in &ids {
            reactor.context().replace(id);
        }
        outer.obey(&mut reactor, &mut recorder, |seen| seen.opened().len() == 4);
        assert_eq!(panics.get(), 3);

        // Whoever panics over a new connection loses that one.
        let fragile = Rc::new(Cell::new(true));
        let is_fragile = Rc::clone(&fragile);
        recorder.judge = Some(Box::new(move |_| {
            if is_fragile.replace(false) {
                panic_as_planned();
            }
            Ok(heartwheel::reactor::Welcome::with(7))
        }));
        let mut peer = connect_peer(addr);
        outer.obey(&mut reactor, &mut recorder, |seen| {
            peer.set_nonblocking(true).unwrap();
            if matches!(peer.read(&mut [0; 16]), Ok(0)) {
                peer.shutdown(std::net::Shutdown::Write).ok();
            }
            // Failed dials are rejected too, however many there were until now.
            let is_accepted = |evidence: &Evidence| evidence.cause != Cause::IoError;
            seen.rejected().into_iter().filter(is_accepted).count() == 1
        });
    }

    #[test]
    fn what_is_asked_for_between_turns() {
        let (mut reactor, mut outer, addr) = nested(config(4));
        let mut recorder = Recorder::default();
        let mut peer = connect_peer(addr);
        outer.obey(&mut reactor, &mut recorder, |seen| seen.opened().len() == 1);
        let id = recorder.opened()[0];
        reactor.context().pause(id);
        peer.write_all(b"hello\n").unwrap();
        for _ in 0..3 {
            reactor.turn(&mut recorder, Some(Duration::ZERO)).unwrap();
        }
        assert!(recorder.messages().is_empty());
        reactor.context().resume(id);
        outer.obey(&mut reactor, &mut recorder, |seen| {
            seen.messages().len() == 1
        });
        reactor.context().send(id, Message::text("there")).unwrap();
        outer.obey(&mut reactor, &mut recorder, |_| {
            matches!(peer.read(&mut [0; 16]), Ok(6))
        });
        reactor.context().set_timer(Duration::from_millis(30), 5);
        outer.obey(&mut reactor, &mut recorder, |seen| {
            matches!(seen.seen.last(), Some(Seen::Timer(5, _)))
        });
        reactor.context().close(id, CloseCode::NORMAL, "");
        outer.obey(&mut reactor, &mut recorder, |seen| {
            if matches!(peer.read(&mut [0; 16]), Ok(0)) {
                peer.shutdown(std::net::Shutdown::Write).ok();
            }
            !seen.closed().is_empty()
        });
        reactor.context().stop();
        assert_eq!(reactor.next_timeout(), Some(Duration::ZERO));
        reactor.turn(&mut recorder, None).unwrap();
        assert!(reactor.is_stopped());
    }

    #[test]
    fn a_deadline_that_waits_of_its_own_had_given_to_a_timer() {
        let (mut reactor, mut outer, addr) = nested(config(4));
        let mut recorder = Recorder::default();
        let mut peer = connect_peer(addr);
        outer.obey(&mut reactor, &mut recorder, |seen| seen.opened().len() == 1);
        let set = Instant::now();
        reactor.context().set_timer(Duration::from_millis(300), 5);
        for said in 1..=100 {
            peer.write_all(b"hello\n").unwrap();
            while recorder.messages().len() < said {
                reactor.turn(&mut recorder, None).unwrap();
            }
        }
        for _ in 0..3 {
            outer.obey(&mut reactor, &mut recorder, |seen| {
                matches!(seen.seen.last(), Some(Seen::Timer(..)))
            });
            assert!(set.elapsed() >= Duration::from_millis(300));
            recorder.seen.clear();
            reactor.context().set_timer(Duration::from_millis(50), 6);
        }
    }

    #[test]
    #[expect(
        deprecated,
        reason = "the descriptor is owned and stays open, and `register` is unsafe"
    )]
    fn tokio_with_four_events_a_wait() {
        use std::os::fd::AsFd;
        use tokio::io::unix::AsyncFd;

        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .unwrap();
        let (mut reactor, _, addr) = nested(config(4));
        let mut recorder = Recorder::echoing();
        let mut peers: Vec<_> = (0..200).map(|_| connect_peer(addr)).collect();
        runtime.block_on(async {
            let fd = reactor.as_fd().try_clone_to_owned().unwrap();
            let watched = AsyncFd::new(fd).unwrap();
            for round in 0..10 {
                say(&mut peers, b"hello\n");
                let wanted = |seen: &Recorder| seen.messages().len() == 200 * (round + 1);
                while !wanted(&recorder) {
                    let readable = async {
                        watched.readable().await.unwrap().clear_ready();
                    };
                    let timeout = reactor.next_timeout();
                    let span = timeout.unwrap_or(PATIENCE).min(PATIENCE);
                    let woken = tokio::time::timeout(span, readable).await;
                    assert!(
                        woken.is_ok() || span < PATIENCE,
                        "told to sleep for {timeout:?}"
                    );
                    reactor.turn(&mut recorder, Some(Duration::ZERO)).unwrap();
                }
            }
        });
    }
}
