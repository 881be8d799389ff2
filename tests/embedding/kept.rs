//! Messages for clients that have no open connection.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use heartwheel::config::ReactorConfig;
use heartwheel::error::{Error, SendError};
use heartwheel::proto::message::Message;
use heartwheel::reactor::{
    ClientConfig, ClientEvent, Decision, Endpoint, Lost, QueueConfig, QueueOverflow, Reactor,
    WireFactory,
};

use crate::support::recorder::*;
use crate::support::turning::*;

fn client(wire: WireFactory, addr: SocketAddr, queue: QueueConfig) -> ClientConfig {
    ClientConfig {
        queue: Some(queue),
        ..ClientConfig::new(addr.ip().to_string(), addr.port(), wire)
    }
}

/// What clients were told that they lost: no room, too old, unfit, stopped.
fn losses(recorder: &Recorder) -> Vec<[u64; 4]> {
    let lost = |seen: &Seen| match seen {
        Seen::Client(_, ClientEvent::Unsent { lost }) => {
            let Lost {
                overflow,
                too_old,
                unfit,
                stopped,
                ..
            } = *lost;
            Some([overflow, too_old, unfit, stopped])
        }
        _ => None,
    };
    recorder.seen.iter().filter_map(lost).collect()
}

fn texts(recorder: &Recorder) -> Vec<String> {
    let texts = recorder.messages().into_iter();
    texts.map(|data| String::from_utf8(data).unwrap()).collect()
}

/// Dials when it is told to, and greets as soon as it is connected.
fn patient() -> Recorder {
    let mut recorder = Recorder::reacting(|cx, seen| {
        if let Seen::Open(conn) = seen
            && let Endpoint::Client(id) = cx.info(*conn).unwrap().endpoint
        {
            cx.send(*conn, Message::text("direct")).unwrap();
            cx.send_client(id, Message::text("last")).unwrap();
        }
    });
    let mut is_asked = false;
    recorder.dial = Some(Box::new(move |_, request| {
        match std::mem::replace(&mut is_asked, true) {
            true => request.into(),
            false => Decision::Later,
        }
    }));
    recorder
}

fn turn(reactor: &mut Reactor<u32, u64>, recorder: &mut Recorder) {
    reactor.turn(recorder, Some(Duration::ZERO)).unwrap();
}

#[test]
fn what_is_kept_arrives_in_order_and_before_what_is_sent_later() {
    for wire in [
        || WireFactory::WebSocket,
        || WireFactory::Line,
        || WireFactory::Binary,
    ] {
        let (mut reactor, mut recorder) = (reactor(), patient());
        let (_, addr) = listen(&mut reactor, wire());
        let mut config = client(wire(), addr, QueueConfig::default());
        // All that is kept takes more than this.
        config.limits.send_queue = Some(10_000);
        let id = reactor.connect(config).unwrap();
        let word = |number: usize| format!("{number} {}", "x".repeat(300));
        let kept = (0..100).map(word).collect::<Vec<_>>();
        for text in &kept[..50] {
            let sent = reactor.context().send_client(id, Message::text(text));
            sent.unwrap();
        }
        turn(&mut reactor, &mut recorder);
        for text in &kept[50..] {
            let sent = reactor.context().send_client(id, Message::text(text));
            sent.unwrap();
        }
        turn(&mut reactor, &mut recorder);
        let memory = reactor.stats().memory;
        assert!(memory >= 100 * 300, "it is counted: {memory}");
        assert!(reactor.context().dial(id));
        drive(&mut reactor, &mut recorder, |seen| {
            seen.messages().len() == 102
        });
        let texts = texts(&recorder);
        assert_eq!(texts[..100], kept);
        assert_eq!(texts[100..], ["direct", "last"]);
        assert_eq!(losses(&recorder), [[0; 4]; 0]);
        turn(&mut reactor, &mut recorder);
        assert_eq!(reactor.stats().memory, 0);
    }
}

#[test]
fn what_is_dropped_is_told_with_its_reason() {
    for (overflow, expected, is_ok) in [
        (QueueOverflow::DropOldest, ["2", "3"], true),
        (QueueOverflow::DropNewest, ["1", "2"], true),
        (QueueOverflow::Refuse, ["1", "2"], false),
    ] {
        let (mut reactor, mut recorder) = (reactor(), patient());
        let (_, addr) = listen(&mut reactor, WireFactory::Line);
        let queue = QueueConfig {
            max_messages: 2,
            overflow,
            ..QueueConfig::default()
        };
        let id = reactor
            .connect(client(WireFactory::Line, addr, queue))
            .unwrap();
        turn(&mut reactor, &mut recorder);
        for text in ["1", "2"] {
            let sent = reactor.context().send_client(id, Message::text(text));
            sent.unwrap();
        }
        let sent = reactor.context().send_client(id, Message::text("3"));
        assert_eq!(sent.is_ok(), is_ok, "{sent:?}");
        turn(&mut reactor, &mut recorder);
        let lost = if is_ok { vec![[1, 0, 0, 0]] } else { vec![] };
        assert_eq!(losses(&recorder), lost, "{overflow:?}");
        assert!(reactor.context().dial(id));
        drive(&mut reactor, &mut recorder, |seen| {
            seen.messages().len() == 4
        });
        let [first, second] = expected;
        assert_eq!(texts(&recorder), [first, second, "direct", "last"]);
        assert_eq!(losses(&recorder), lost);
    }
}

#[test]
fn what_is_too_old_or_does_not_fit_the_wire_is_told_when_the_client_opens() {
    let (mut reactor, mut recorder) = (reactor(), patient());
    let (_, addr) = listen(&mut reactor, WireFactory::Line);
    let queue = QueueConfig {
        max_age: Some(Duration::from_millis(20)),
        ..QueueConfig::default()
    };
    let id = reactor
        .connect(client(WireFactory::Line, addr, queue))
        .unwrap();
    let sent = reactor.context().send_client(id, Message::text("old"));
    sent.unwrap();
    drive_for(&mut reactor, &mut recorder, Duration::from_millis(30));
    assert!(reactor.context().dial(id));
    // It is young: a line cannot contain another one.
    let sent = reactor.context().send_client(id, Message::text("a\nb"));
    sent.unwrap();
    drive(&mut reactor, &mut recorder, |seen| {
        seen.messages().len() == 2
    });
    assert_eq!(texts(&recorder), ["direct", "last"]);
    let lost = losses(&recorder);
    // Under load both may have become too old.
    assert!(
        matches!(lost[..], [[0, 1, 1, 0] | [0, 2, 0, 0]]),
        "{lost:?}"
    );
}

#[test]
fn a_client_that_stops_tells_what_it_kept_and_then_takes_nothing() {
    let (mut reactor, mut recorder) = (reactor(), patient());
    let (_, addr) = listen(&mut reactor, WireFactory::Line);
    let queue = QueueConfig::default();
    let id = reactor
        .connect(client(WireFactory::Line, addr, queue))
        .unwrap();
    turn(&mut reactor, &mut recorder);
    for text in ["1", "2"] {
        let sent = reactor.context().send_client(id, Message::text(text));
        sent.unwrap();
    }
    reactor.context().disconnect(id);
    let sent = reactor.context().send_client(id, Message::text("3"));
    assert_eq!(sent, Err(SendError::Closed));
    let is_stop = |seen: &Seen| matches!(seen, Seen::Client(_, ClientEvent::Stopped { .. }));
    drive(&mut reactor, &mut recorder, |seen| {
        seen.seen.iter().any(is_stop)
    });
    assert!(is_stop(recorder.seen.last().unwrap()), "the last word");
    assert_eq!(losses(&recorder), [[0, 0, 0, 2]]);
    let sent = reactor.context().send_client(id, Message::text("4"));
    assert_eq!(sent, Err(SendError::Closed));
    turn(&mut reactor, &mut recorder);
    assert_eq!(reactor.stats().memory, 0);
    // Without a queue nothing is kept.
    let plain = ClientConfig {
        queue: None,
        ..client(WireFactory::Line, addr, QueueConfig::default())
    };
    let id = reactor.connect(plain).unwrap();
    let sent = reactor.context().send_client(id, Message::text("5"));
    assert_eq!(sent, Err(SendError::Closed));
}

/// Each message is one too many, and the handler sends another one for it.
#[test]
fn what_is_lost_while_a_loss_is_told_is_told_in_the_next_turn() {
    let mut reactor = reactor();
    let mut left = 1000;
    let mut recorder = Recorder::reacting(move |cx, seen| {
        if let Seen::Client(id, ClientEvent::Unsent { .. }) = seen
            && left > 0
        {
            left -= 1;
            cx.send_client(*id, Message::text("instead")).unwrap();
        }
    });
    recorder.dial = Some(Box::new(|_, _| Decision::Later));
    let queue = QueueConfig {
        max_messages: 1,
        ..QueueConfig::default()
    };
    let config = client(WireFactory::Line, ([127, 0, 0, 1], 9).into(), queue);
    let id = reactor.connect(config).unwrap();
    for text in ["1", "2"] {
        let sent = reactor.context().send_client(id, Message::text(text));
        sent.unwrap();
    }
    for turns in 1..=3 {
        turn(&mut reactor, &mut recorder);
        assert_eq!(losses(&recorder), vec![[1, 0, 0, 0]; turns]);
    }
}

#[test]
fn a_connection_is_told_open_before_its_client_hears_of_losses() {
    let mut reactor = reactor();
    let (_, addr) = listen(&mut reactor, WireFactory::Line);
    let mut is_told = false;
    let mut recorder = Recorder::reacting(move |cx, seen| match seen {
        Seen::Open(conn) => {
            is_told |= matches!(cx.info(*conn).unwrap().endpoint, Endpoint::Client(_));
        }
        Seen::Client(id, ClientEvent::Unsent { .. }) => {
            assert!(is_told);
            cx.disconnect(*id);
        }
        _ => {}
    });
    let config = client(WireFactory::Line, addr, QueueConfig::default());
    let id = reactor.connect(config).unwrap();
    // A line cannot contain another one.
    let sent = reactor.context().send_client(id, Message::text("a\nb"));
    sent.unwrap();
    let is_stop = |seen: &Seen| matches!(seen, Seen::Client(_, ClientEvent::Stopped { .. }));
    drive(&mut reactor, &mut recorder, |seen| {
        seen.seen.iter().any(is_stop)
    });
    assert_eq!(losses(&recorder), [[0, 0, 1, 0]]);
}

#[test]
fn a_panic_about_what_is_lost_does_not_keep_the_end_from_being_told() {
    let mut reactor = reactor();
    let mut recorder = Recorder::reacting(|_, seen| {
        if let Seen::Client(_, ClientEvent::Unsent { .. }) = seen {
            panic!("on purpose");
        }
    });
    recorder.dial = Some(Box::new(|_, _| Decision::Later));
    let addr = ([127, 0, 0, 1], 9).into();
    let config = client(WireFactory::Line, addr, QueueConfig::default());
    let id = reactor.connect(config).unwrap();
    let sent = reactor.context().send_client(id, Message::text("1"));
    sent.unwrap();
    reactor.context().disconnect(id);
    let unwound = catch_unwind(AssertUnwindSafe(|| turn(&mut reactor, &mut recorder)));
    assert!(unwound.is_err());
    turn(&mut reactor, &mut recorder);
    let last = recorder.seen.last().unwrap();
    assert!(matches!(last, Seen::Client(_, ClientEvent::Stopped { .. })));
    assert_eq!(losses(&recorder), [[0; 4]; 0], "told once");
    assert_eq!(reactor.context().clients(), []);
}

#[test]
fn what_is_kept_counts_within_the_limit_of_memory() {
    let mut reactor = reactor_with(ReactorConfig {
        memory_limit: Some(1024 * 1024),
        ..ReactorConfig::default()
    });
    let mut recorder = patient();
    let (_, addr) = listen(&mut reactor, WireFactory::Line);
    let queue = QueueConfig {
        max_messages: usize::MAX,
        max_bytes: usize::MAX,
        overflow: QueueOverflow::Refuse,
        ..QueueConfig::default()
    };
    let id = reactor
        .connect(client(WireFactory::Line, addr, queue))
        .unwrap();
    let block = "x".repeat(64 * 1024);
    let mut kept = 0;
    let refused = loop {
        match reactor.context().send_client(id, Message::text(&block)) {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, SendError::Full { .. }), "{refused:?}");
    assert_eq!(kept, 15);
    turn(&mut reactor, &mut recorder);
    assert!(reactor.stats().memory <= 1024 * 1024);
}

#[test]
fn a_queue_that_keeps_nothing_is_refused_by_field() {
    let mut reactor = reactor();
    let default = QueueConfig::default;
    for (field, queue) in [
        (
            "max_messages",
            QueueConfig {
                max_messages: 0,
                ..default()
            },
        ),
        (
            "max_bytes",
            QueueConfig {
                max_bytes: 64,
                ..default()
            },
        ),
        (
            "max_age",
            QueueConfig {
                max_age: Some(Duration::ZERO),
                ..default()
            },
        ),
    ] {
        let config = client(WireFactory::Line, ([127, 0, 0, 1], 9).into(), queue);
        let Error::Config(error) = reactor.connect(config).unwrap_err() else {
            panic!("{field}");
        };
        assert_eq!(error.field(), field);
    }
}
