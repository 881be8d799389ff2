//! A reactor inside another loop: sleep until its descriptor is readable or its next timeout is over,
//! then turn with a limit of zero.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use heartwheel::reactor::{ListenerConfig, Reactor, WireFactory};

use crate::support::*;

/// An echo and a silent death, both driven by nothing but the foreign loop's `sleep`.
fn prove(mut sleep: impl FnMut(&Reactor<u32>, Option<Duration>)) {
    let (mut reactor, mut recorder) = (reactor(), Recorder::echoing());
    let mut config = ListenerConfig::new(([127, 0, 0, 1], 0).into(), WireFactory::Line);
    config.heartbeat = heartbeat(Some(100), Some(300));
    let (_, addr) = listen_with(&mut reactor, config);
    assert_eq!(reactor.next_timeout(), None, "nothing is due");
    let mut peer = dial(addr);
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
