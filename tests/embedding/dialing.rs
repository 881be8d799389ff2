//! How long clients try, and how they take turns.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use heartwheel::close::{Cause, CloseCode};
use heartwheel::error::Error;
use heartwheel::reactor::{
    ClientConfig, ClientEvent, ClientId, Decision, DialError, DialRequest, Keepalive, LastEnd,
    ReconnectConfig, Rejection, SocketOptions, StopReason, WireFactory,
};

use crate::support::recorder::*;
use crate::support::turning::*;

/// Dials again at once.
fn eager() -> ReconnectConfig {
    ReconnectConfig {
        min: Duration::from_millis(1),
        base: Duration::from_millis(1),
        cap: Duration::from_millis(1),
        ..ReconnectConfig::default()
    }
}

fn client(wire: WireFactory, addr: SocketAddr, reconnect: ReconnectConfig) -> ClientConfig {
    ClientConfig {
        reconnect: Some(reconnect),
        ..ClientConfig::new(addr.ip().to_string(), addr.port(), wire)
    }
}

/// An address where nobody listens.
fn closed() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn events(recorder: &Recorder, id: ClientId) -> Vec<ClientEvent> {
    let of_client = |seen: &Seen| match seen {
        Seen::Client(client, event) if *client == id => Some(event.clone()),
        _ => None,
    };
    recorder.seen.iter().filter_map(of_client).collect()
}

fn why(recorder: &Recorder, id: ClientId) -> Option<StopReason> {
    match events(recorder, id).last() {
        Some(ClientEvent::Stopped { why }) => Some(*why),
        _ => None,
    }
}

fn dials(recorder: &Recorder, id: ClientId) -> usize {
    let is_dial = |event: &&ClientEvent| matches!(event, ClientEvent::Dialing { .. });
    events(recorder, id).iter().filter(is_dial).count()
}

#[test]
fn a_client_stops_after_so_many_failures_in_a_row() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let most = |most| ReconnectConfig {
        max_attempts: Some(most),
        ..eager()
    };
    for attempts in [1, 3] {
        let config = client(WireFactory::Line, closed(), most(attempts));
        let id = reactor.connect(config).unwrap();
        drive(&mut reactor, &mut recorder, |seen| why(seen, id).is_some());
        assert_eq!(why(&recorder, id), Some(StopReason::Attempts));
        assert_eq!(dials(&recorder, id), usize::try_from(attempts).unwrap());
    }
    // A connection that was stable is no failure, and one that was not is.
    for (stable, expected) in [(Duration::ZERO, 5), (Duration::from_secs(600), 2)] {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = server.local_addr().unwrap();
        server.set_nonblocking(true).unwrap();
        let reconnect = ReconnectConfig { stable, ..most(2) };
        let config = client(WireFactory::Line, addr, reconnect);
        let id = reactor.connect(config).unwrap();
        drive(&mut reactor, &mut recorder, |seen| {
            drop(server.accept());
            why(seen, id).is_some() || dials(seen, id) == 5
        });
        assert_eq!(dials(&recorder, id), expected, "{stable:?}");
        reactor.context().disconnect(id);
    }
}

#[test]
fn a_client_stops_when_its_next_dial_would_come_too_late() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let reconnect = |give_up_after| ReconnectConfig {
        min: Duration::from_secs(500),
        base: Duration::from_secs(500),
        cap: Duration::from_secs(500),
        give_up_after: Some(Duration::from_secs(give_up_after)),
        ..ReconnectConfig::default()
    };
    let short = client(WireFactory::Line, closed(), reconnect(400));
    let long = client(WireFactory::Line, closed(), reconnect(600));
    let (short, long) = (
        reactor.connect(short).unwrap(),
        reactor.connect(long).unwrap(),
    );
    // Not after 400 s: nobody need wait for that.
    drive(&mut reactor, &mut recorder, |seen| {
        why(seen, short).is_some() && events(seen, long).len() == 3
    });
    assert_eq!(why(&recorder, short), Some(StopReason::Time));
    assert_eq!(dials(&recorder, short), 1);
    let last = events(&recorder, long).pop().unwrap();
    assert!(matches!(last, ClientEvent::Waiting { .. }), "{last:?}");
}

#[test]
fn a_client_that_is_refused_may_dial_again() {
    for (status, retries) in [(401, true), (403, true), (407, true), (404, false)] {
        let (mut reactor, mut recorder) = (reactor(), Recorder::default());
        recorder.judge = Some(Box::new(move |_| Err(Rejection::new(status, "no\n"))));
        let (_, addr) = listen(&mut reactor, WireFactory::WebSocket);
        let reconnect = ReconnectConfig {
            retry_refused: true,
            ..eager()
        };
        let config = client(WireFactory::WebSocket, addr, reconnect);
        let id = reactor.connect(config).unwrap();
        drive(&mut reactor, &mut recorder, |seen| {
            dials(seen, id) == 3 || why(seen, id).is_some()
        });
        let expected = (!retries).then_some(StopReason::Final);
        assert_eq!(why(&recorder, id), expected, "{status}");
    }
}

#[test]
fn a_server_that_restarts_is_given_time() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (_, addr) = listen(&mut reactor, WireFactory::WebSocket);
    for (code, least) in [(1012, 5), (1013, 30), (1008, 30), (1001, 0), (4001, 0)] {
        let config = client(WireFactory::WebSocket, addr, eager());
        let id = reactor.connect(config).unwrap();
        recorder.react = Some(Box::new(move |cx, seen| {
            if let Seen::Open(conn) = seen
                && let heartwheel::Endpoint::Listener(_) = cx.info(*conn).unwrap().endpoint
            {
                cx.close(*conn, CloseCode::new(code), "");
            }
        }));
        let delay = |seen: &Recorder| {
            events(seen, id).into_iter().find_map(|event| match event {
                ClientEvent::Waiting { delay } => Some(delay),
                _ => None,
            })
        };
        drive(&mut reactor, &mut recorder, |seen| delay(seen).is_some());
        let delay = delay(&recorder).unwrap();
        let least = Duration::from_secs(least);
        assert!(delay >= least, "{code}: {delay:?}");
        assert!(
            delay.is_zero() || least > Duration::ZERO || delay < Duration::from_secs(1),
            "{code}: {delay:?}"
        );
        reactor.context().disconnect(id);
    }
}

/// A server that accepts and says nothing.
struct Stuck {
    listener: TcpListener,
    peers: Vec<TcpStream>,
}

impl Stuck {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self {
            listener,
            peers: Vec::new(),
        }
    }

    fn accept(&mut self) -> usize {
        while let Ok((peer, _)) = self.listener.accept() {
            self.peers.push(peer);
        }
        self.peers.len()
    }
}

fn waits(recorder: &Recorder, id: ClientId) -> Vec<usize> {
    let ahead = |event: ClientEvent| match event {
        ClientEvent::AwaitsTurn { ahead, .. } => Some(ahead),
        _ => None,
    };
    events(recorder, id).into_iter().filter_map(ahead).collect()
}

#[test]
fn clients_that_wait_for_their_turn_hear_of_it_and_give_up_in_time() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let mut server = Stuck::new();
    let addr = server.listener.local_addr().unwrap();
    let ids: Vec<_> = (0..5)
        .map(|number| {
            // The last one does not wait for ever.
            let give_up_after = (number == 4).then_some(Duration::from_millis(50));
            let reconnect = ReconnectConfig {
                give_up_after,
                ..eager()
            };
            let mut config = client(WireFactory::WebSocket, addr, reconnect);
            config.handshakes_at_once = 2;
            reactor.connect(config).unwrap()
        })
        .collect();
    drive(&mut reactor, &mut recorder, |seen| {
        server.accept() == 2 && why(seen, ids[4]).is_some()
    });
    assert_eq!(why(&recorder, ids[4]), Some(StopReason::Time));
    let ahead: Vec<_> = ids.iter().map(|&id| waits(&recorder, id)).collect();
    assert_eq!(ahead, [vec![], vec![], vec![2], vec![3], vec![4]]);
    assert_eq!(server.accept(), 2, "no wider than asked");
    // The turn of the one that is gone is nobody's loss.
    let mut answered = 0;
    drive(&mut reactor, &mut recorder, |seen| {
        server.accept();
        for peer in &mut server.peers[answered..] {
            let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
            peer.write_all(answer).unwrap();
            answered += 1;
        }
        ids.iter().all(|&id| why(seen, id).is_some())
    });
    let dialed: Vec<_> = ids.iter().map(|&id| dials(&recorder, id)).collect();
    assert_eq!(dialed, [1, 1, 1, 1, 0]);
    let ahead: Vec<_> = ids.iter().map(|&id| waits(&recorder, id)).collect();
    assert_eq!(ahead, [vec![], vec![], vec![2], vec![3], vec![4]], "once");
}

#[test]
fn what_makes_no_sense_for_a_dial_is_refused_by_field() {
    let mut reactor = reactor();
    let plain = || ClientConfig::new("localhost", 9, WireFactory::Line);
    let reconnecting = |reconnect| client(WireFactory::Line, closed(), reconnect);
    let with_socket = |socket| ClientConfig { socket, ..plain() };
    let options = SocketOptions::default;
    for (field, config) in [
        (
            "max_attempts",
            reconnecting(ReconnectConfig {
                max_attempts: Some(0),
                ..eager()
            }),
        ),
        (
            "give_up_after",
            reconnecting(ReconnectConfig {
                give_up_after: Some(Duration::ZERO),
                ..eager()
            }),
        ),
        (
            "handshakes_at_once",
            ClientConfig {
                handshakes_at_once: 0,
                ..plain()
            },
        ),
        (
            "backlog",
            with_socket(SocketOptions {
                backlog: 7,
                ..options()
            }),
        ),
        (
            "reuse_port",
            with_socket(SocketOptions {
                reuse_port: true,
                ..options()
            }),
        ),
        (
            "keepalive",
            with_socket(SocketOptions {
                keepalive: Some(Keepalive::after(Duration::ZERO)),
                ..options()
            }),
        ),
    ] {
        let Error::Config(error) = reactor.connect(config).unwrap_err() else {
            panic!("{field}");
        };
        assert_eq!(error.field(), field);
    }
    assert_eq!(reactor.next_timeout(), None, "none of them is there");
}

/// A server that answers each request with one status, and keeps its head.
struct Answering {
    listener: TcpListener,
    status: &'static str,
    peers: Vec<(TcpStream, Vec<u8>)>,
    heads: Vec<String>,
}

impl Answering {
    fn with(status: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self {
            listener,
            status,
            peers: Vec::new(),
            heads: Vec::new(),
        }
    }

    fn step(&mut self) {
        while let Ok((peer, _)) = self.listener.accept() {
            peer.set_nonblocking(true).unwrap();
            self.peers.push((peer, Vec::new()));
        }
        for (peer, head) in &mut self.peers {
            let mut some = [0; 1024];
            while let Ok(count @ 1..) = peer.read(&mut some) {
                head.extend_from_slice(&some[..count]);
            }
            if head.ends_with(b"\r\n\r\n") {
                let whole = String::from_utf8(std::mem::take(head)).unwrap();
                self.heads.push(whole);
                let status = self.status;
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                peer.write_all(answer.as_bytes()).unwrap();
            }
        }
    }
}

fn line<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(key, _)| *key == name).map(|(_, value)| value)
}

#[test]
fn each_attempt_may_have_fresh_words_and_knows_how_the_last_one_ended() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let mut server = Answering::with("401 Unauthorized");
    let (words, asked) = std::sync::mpsc::channel();
    recorder.dial = Some(Box::new(move |_, mut request| {
        words.send(request.clone()).unwrap();
        let attempt = request.attempt;
        if attempt < 3 {
            request.path = format!("/{attempt}");
            request.set_header("AUTHORIZATION", format!("token {attempt}"));
            request.subprotocols.push(format!("v{attempt}"));
        }
        request.into()
    }));
    let reconnect = ReconnectConfig {
        retry_refused: true,
        max_attempts: Some(3),
        ..eager()
    };
    let addr = server.listener.local_addr().unwrap();
    let mut config = client(WireFactory::WebSocket, addr, reconnect);
    config.path = "/home".into();
    config.headers = vec![("Authorization".into(), "old".into())];
    let id = reactor.connect(config).unwrap();
    drive(&mut reactor, &mut recorder, |seen| {
        server.step();
        why(seen, id).is_some()
    });
    assert_eq!(why(&recorder, id), Some(StopReason::Attempts));
    let found: Vec<_> = server
        .heads
        .iter()
        .map(|head| {
            let path = head.split(' ').nth(1).unwrap();
            let token = line(head, "AUTHORIZATION").or_else(|| line(head, "Authorization"));
            let count = head.to_lowercase().matches("authorization").count();
            assert_eq!(count, 1, "{head}");
            (path, token.unwrap(), line(head, "Sec-WebSocket-Protocol"))
        })
        .collect();
    assert_eq!(
        found,
        [
            ("/1", "token 1", Some("v1")),
            ("/2", "token 2", Some("v2")),
            // Nothing is left of the words of earlier attempts.
            ("/home", "old", None),
        ]
    );
    let asked: Vec<_> = asked.try_iter().collect();
    assert_eq!(asked.len(), 3);
    assert_eq!(asked[0].last, None);
    assert!(asked.iter().all(|request| request.path == "/home"));
    let status = |at: usize| asked[at].last.as_ref().and_then(LastEnd::status);
    assert_eq!((status(1), status(2)), (Some(401), Some(401)));
}

#[test]
fn after_an_open_connection_the_handler_hears_how_it_ended() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (words, asked) = std::sync::mpsc::channel();
    recorder.dial = Some(Box::new(move |_, request| {
        words.send(request.last.clone()).unwrap();
        request.into()
    }));
    recorder.react = Some(Box::new(|cx, seen| {
        if let Seen::Open(conn) = seen
            && let heartwheel::Endpoint::Listener(_) = cx.info(*conn).unwrap().endpoint
        {
            cx.close(*conn, CloseCode::new(4001), "");
        }
    }));
    let (_, addr) = listen(&mut reactor, WireFactory::WebSocket);
    let config = client(WireFactory::WebSocket, addr, eager());
    reactor.connect(config).unwrap();
    let mut heard = Vec::new();
    drive(&mut reactor, &mut recorder, |_| {
        heard.extend(asked.try_iter());
        heard.len() > 1
    });
    let closed = LastEnd::Closed {
        cause: Cause::PeerClosed,
        close_code: Some(CloseCode::new(4001)),
    };
    assert_eq!(heard[..2], [None, Some(closed)]);
}

#[test]
fn a_dial_may_be_put_off_until_another_thread_has_a_token() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let (token, tokens) = std::sync::mpsc::channel::<String>();
    recorder.dial = Some(Box::new(move |cx, mut request| {
        let Ok(token) = tokens.try_recv() else {
            // Not yet put off: this is no answer.
            let dialed: Vec<_> = cx.clients().iter().map(|&id| cx.dial(id)).collect();
            assert_eq!(dialed, [false]);
            return Decision::Later;
        };
        request.set_header("Authorization", token);
        request.into()
    }));
    recorder.react = Some(Box::new(|cx, seen| {
        if let Seen::Command(_) = seen {
            for id in cx.clients() {
                assert!(cx.dial(id));
                assert!(!cx.dial(id), "once");
            }
        }
    }));
    let mut server = Answering::with("404 Not Found");
    let addr = server.listener.local_addr().unwrap();
    let config = client(WireFactory::WebSocket, addr, eager());
    let id = reactor.connect(config).unwrap();
    for _ in 0..3 {
        drive_for(&mut reactor, &mut recorder, Duration::from_millis(5));
    }
    assert_eq!(events(&recorder, id), [], "it is put off, without a word");
    assert_eq!(reactor.next_timeout(), None, "and nothing is due");
    let handle = reactor.handle();
    let fetching = std::thread::spawn(move || {
        token.send("fresh".into()).unwrap();
        handle.command(7).unwrap();
    });
    drive(&mut reactor, &mut recorder, |seen| {
        server.step();
        why(seen, id).is_some()
    });
    fetching.join().unwrap();
    assert_eq!(server.heads.len(), 1);
    assert_eq!(line(&server.heads[0], "Authorization"), Some("fresh"));
}

#[test]
fn a_client_that_is_put_off_ends_with_its_time_or_when_it_is_stopped() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    recorder.dial = Some(Box::new(|_, _| Decision::Later));
    let limited = ReconnectConfig {
        give_up_after: Some(Duration::from_millis(30)),
        ..eager()
    };
    let limited = reactor
        .connect(client(WireFactory::Line, closed(), limited))
        .unwrap();
    let asked = reactor
        .connect(client(WireFactory::Line, closed(), eager()))
        .unwrap();
    drive(&mut reactor, &mut recorder, |seen| {
        why(seen, limited).is_some()
    });
    assert_eq!(why(&recorder, limited), Some(StopReason::Time));
    assert_eq!(why(&recorder, asked), None);
    assert!(!reactor.context().dial(limited), "it is gone");
    reactor.context().disconnect(asked);
    drive(&mut reactor, &mut recorder, |seen| {
        why(seen, asked).is_some()
    });
    assert_eq!(why(&recorder, asked), Some(StopReason::Asked));
    assert_eq!(reactor.next_timeout(), None);
    assert_eq!(reactor.stats().dialed, 0);
    // In the callback itself, whatever it answers.
    recorder.dial = Some(Box::new(|cx, request| {
        for id in cx.clients() {
            cx.disconnect(id);
        }
        match request.path.as_str() {
            "/later" => Decision::Later,
            _ => request.into(),
        }
    }));
    for path in ["/later", "/now"] {
        let mut config = client(WireFactory::Line, closed(), eager());
        config.path = path.into();
        let id = reactor.connect(config).unwrap();
        drive(&mut reactor, &mut recorder, |seen| why(seen, id).is_some());
        assert_eq!(events(&recorder, id).len(), 1, "{path}");
    }
    assert_eq!(reactor.stats().dialed, 0);
}

#[test]
fn words_that_cannot_be_sent_end_the_client_with_the_field() {
    type Change = fn(&mut DialRequest);
    let changes: [(&str, Change); 3] = [
        ("headers", |request| request.set_header("X", "a\r\nY: b")),
        ("path", |request| request.path = "/a b".into()),
        ("subprotocols", |request| {
            request.subprotocols = vec!["a b".into()];
        }),
    ];
    for (field, change) in changes {
        let (mut reactor, mut recorder) = (reactor(), Recorder::default());
        recorder.dial = Some(Box::new(move |_, mut request| {
            change(&mut request);
            request.into()
        }));
        let config = client(WireFactory::WebSocket, closed(), eager());
        let id = reactor.connect(config).unwrap();
        drive(&mut reactor, &mut recorder, |seen| why(seen, id).is_some());
        let [
            ClientEvent::Failed {
                error: DialError::Request(error),
            },
            ClientEvent::Stopped {
                why: StopReason::Final,
            },
        ] = &events(&recorder, id)[..]
        else {
            panic!("{:?}", recorder.seen);
        };
        assert_eq!(error.field(), field);
        assert_eq!(reactor.stats().dialed, 0);
    }
}
