//! Dialing through a proxy.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use heartwheel::close::Cause;
use heartwheel::error::Error;
use heartwheel::proto::message::Message;
use heartwheel::proto::tunnel::{Proxy, TunnelError};
use heartwheel::reactor::{
    ClientConfig, ClientEvent, ClientId, DialError, Endpoint, ReconnectConfig, StopReason,
    WireFactory,
};

use crate::support::recorder::*;
use crate::support::turning::*;

/// A proxy that leads everybody to one server, whatever it is asked for, and keeps what that was.
struct Forward {
    addr: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Forward {
    fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        thread::spawn(move || {
            for client in listener.incoming() {
                let log = Arc::clone(&log);
                // Whoever goes away ends its thread by an error.
                thread::spawn(move || forward(client?, server, &log));
            }
        });
        Self { addr, asked }
    }

    fn proxy(&self, scheme: &str) -> Option<Proxy> {
        let url = format!("{scheme}me:secret@{}", self.addr);
        Some(Proxy::from_url(&url).unwrap())
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn forward(
    mut client: TcpStream,
    server: SocketAddr,
    log: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut first = [0];
    client.read_exact(&mut first)?;
    let asked = match first {
        [5] => socks(&mut client)?,
        _ => connect(&mut client, first[0])?,
    };
    log.lock().unwrap().push(asked);
    let server = TcpStream::connect(server)?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || std::io::copy(&mut from, &mut to));
    std::io::copy(&mut &server, &mut client)?;
    client.shutdown(std::net::Shutdown::Both)
}

fn connect(client: &mut TcpStream, first: u8) -> std::io::Result<String> {
    let mut head = vec![first];
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    // In pieces, as slow proxies do.
    for part in ["HTTP/1.1 2", "00 OK\r\nVia: x\r", "\n\r", "\n"] {
        client.write_all(part.as_bytes())?;
        thread::yield_now();
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn socks(client: &mut TcpStream) -> std::io::Result<String> {
    let mut some = [0; 3];
    client.read_exact(&mut some)?;
    assert_eq!(some, [2, 0, 2], "with or without a user");
    client.write_all(&[5, 2])?;
    let mut login = [0; 11];
    client.read_exact(&mut login)?;
    assert_eq!(login, *b"\x01\x02me\x06secret");
    client.write_all(&[1, 0])?;
    let mut head = [0; 5];
    client.read_exact(&mut head)?;
    assert_eq!(head[..4], [5, 1, 0, 3], "a name");
    let mut name = vec![0; usize::from(head[4]) + 2];
    client.read_exact(&mut name)?;
    for part in [&[5, 0, 0][..], &[1, 127, 0, 0], &[1, 0, 80]] {
        client.write_all(part)?;
        thread::yield_now();
    }
    let port = u16::from_be_bytes([name[name.len() - 2], name[name.len() - 1]]);
    let name = String::from_utf8_lossy(&name[..name.len() - 2]).into_owned();
    Ok(format!("{name}:{port}"))
}

fn client(wire: WireFactory, proxy: Option<Proxy>) -> ClientConfig {
    ClientConfig {
        proxy,
        reconnect: None,
        ..ClientConfig::new("server.example", 9001, wire)
    }
}

#[test]
fn both_kinds_of_proxy_lead_to_the_server_on_every_wire() {
    for scheme in ["http://", "socks5h://", "socks5://"] {
        for wire in [
            || WireFactory::WebSocket,
            || WireFactory::Line,
            || WireFactory::Binary,
        ] {
            let mut recorder = Recorder::reacting(|cx, seen| {
                // The server speaks first.
                if let Seen::Open(id) = seen
                    && let Endpoint::Listener(_) = cx.info(*id).unwrap().endpoint
                {
                    cx.send(*id, Message::text("hello")).unwrap();
                }
                if let Seen::Message(id, data) = seen
                    && let Endpoint::Client(_) = cx.info(*id).unwrap().endpoint
                {
                    assert_eq!(data, b"hello");
                    cx.send(*id, Message::text("you too")).unwrap();
                }
            });
            let mut reactor = reactor();
            let (_, addr) = listen(&mut reactor, wire());
            let proxy = Forward::to(addr);
            let config = client(wire(), proxy.proxy(scheme));
            reactor.connect(config).unwrap();
            drive(&mut reactor, &mut recorder, |seen| {
                seen.messages().len() == 2
            });
            assert_eq!(recorder.messages()[1], b"you too");
            let asked = proxy.asked();
            let [asked] = &asked[..] else {
                panic!("{asked:?}");
            };
            if scheme == "http://" {
                let head = "CONNECT server.example:9001 HTTP/1.1\r\nHost: server.example:9001\r\n\
                    Proxy-Authorization: Basic bWU6c2VjcmV0\r\n\r\n";
                assert_eq!(asked, head);
            } else {
                assert_eq!(asked, "server.example:9001");
            }
            // Who is connected to us is the proxy.
            let addr = recorder.seen.iter().find_map(|seen| match seen {
                Seen::Client(_, ClientEvent::Dialing { addr, .. }) => addr.socket_addr(),
                _ => None,
            });
            assert_eq!(addr, Some(proxy.addr));
        }
    }
}

/// What a proxy says to whatever it hears.
struct Saying {
    listener: TcpListener,
    words: Vec<u8>,
    ends: bool,
    peers: Vec<TcpStream>,
}

impl Saying {
    fn new(words: &[u8], ends: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self {
            listener,
            words: words.to_vec(),
            ends,
            peers: Vec::new(),
        }
    }

    fn proxy(&self, scheme: &str) -> Option<Proxy> {
        let url = format!("{scheme}{}", self.listener.local_addr().unwrap());
        Some(Proxy::from_url(&url).unwrap())
    }

    /// Answers those who have said something.
    fn step(&mut self) {
        while let Ok((mut peer, _)) = self.listener.accept() {
            peer.write_all(&self.words).unwrap();
            if self.ends {
                peer.shutdown(std::net::Shutdown::Write).unwrap();
            }
            self.peers.push(peer);
        }
    }
}

fn failure(recorder: &Recorder) -> Option<DialError> {
    recorder.seen.iter().find_map(|seen| match seen {
        Seen::Client(_, ClientEvent::Failed { error }) => Some(error.clone()),
        _ => None,
    })
}

#[test]
fn each_failure_on_the_way_has_its_cause_and_its_name() {
    let http = "http://";
    let socks = "socks5h://";
    for (scheme, words, error, cause, label) in [
        (
            http,
            &b"HTTP/1.1 407 Who are you\r\n\r\n"[..],
            TunnelError::Status(407),
            Cause::Refused,
            "proxy_refused",
        ),
        (
            http,
            b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\n\r\nsorry",
            TunnelError::Status(503),
            Cause::Refused,
            "proxy_refused",
        ),
        (
            http,
            b"SSH-2.0-x\r\n",
            TunnelError::Malformed,
            Cause::ProtocolError,
            "proxy_error",
        ),
        (
            socks,
            &[5, 0xff],
            TunnelError::NoMethod,
            Cause::Refused,
            "proxy_refused",
        ),
        (
            socks,
            &[5, 0, 5, 5, 0, 1, 0, 0, 0, 0, 0, 0],
            TunnelError::Reply(5),
            Cause::Refused,
            "proxy_refused",
        ),
        (
            socks,
            b"HTTP/1.1 400 Bad\r\n\r\n",
            TunnelError::Malformed,
            Cause::ProtocolError,
            "proxy_error",
        ),
        (
            socks,
            &[5, 0, 5],
            TunnelError::Closed,
            Cause::PeerEof,
            "proxy_error",
        ),
        (
            http,
            b"HTTP/1.1 200",
            TunnelError::Closed,
            Cause::PeerEof,
            "proxy_error",
        ),
    ] {
        let (mut reactor, mut recorder) = (reactor(), Recorder::default());
        let mut proxy = Saying::new(words, true);
        let config = client(WireFactory::WebSocket, proxy.proxy(scheme));
        reactor.connect(config).unwrap();
        drive(&mut reactor, &mut recorder, |seen| {
            proxy.step();
            failure(seen).is_some()
        });
        let failed = failure(&recorder).unwrap();
        assert_eq!(failed, DialError::Proxy(error));
        assert_eq!(failed.label(), label, "{failed}");
        assert_eq!(recorder.rejected()[0].cause, cause, "{failed}");
        assert!(recorder.opened().is_empty());
    }
}

/// Who closes a socket with bytes that it has not read resets the connection.
#[test]
fn a_reset_by_a_proxy_that_was_asked_is_its_own_failure() {
    for scheme in ["http://", "socks5h://"] {
        let (mut reactor, mut recorder) = (reactor(), Recorder::default());
        let proxy = Saying::new(b"", false);
        let config = client(WireFactory::WebSocket, proxy.proxy(scheme));
        reactor.connect(config).unwrap();
        let mut peer = None;
        drive(&mut reactor, &mut recorder, |seen| {
            if let Ok((accepted, _)) = proxy.listener.accept() {
                accepted.set_nonblocking(true).unwrap();
                peer = Some(accepted);
            }
            peer.take_if(|peer| peer.peek(&mut [0]).is_ok());
            failure(seen).is_some()
        });
        let failed = DialError::Proxy(TunnelError::Closed);
        assert_eq!(failure(&recorder), Some(failed));
        assert_eq!(recorder.rejected()[0].cause, Cause::PeerReset);
    }
}

#[test]
fn a_proxy_that_stays_silent_is_a_connect_timeout() {
    for words in [&b""[..], b"HTTP/1.1 200 OK\r\nX: "] {
        let (mut reactor, mut recorder) = (reactor(), Recorder::default());
        let mut proxy = Saying::new(words, false);
        let mut config = client(WireFactory::WebSocket, proxy.proxy("http://"));
        config.heartbeat.connect_timeout = Duration::from_millis(100);
        reactor.connect(config).unwrap();
        drive(&mut reactor, &mut recorder, |seen| {
            proxy.step();
            failure(seen).is_some()
        });
        let timeout = DialError::Timeout(Cause::ConnectTimeout);
        assert_eq!(failure(&recorder), Some(timeout));
    }
}

#[test]
fn what_the_server_says_in_one_packet_with_the_proxy_is_not_lost() {
    let answers: [(&str, &[u8]); 2] = [
        ("http://", b"HTTP/1.1 200 OK\r\n\r\n"),
        ("socks5h://", &[5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0]),
    ];
    for (scheme, answer) in answers {
        let (mut reactor, mut recorder) = (reactor(), Recorder::default());
        let mut proxy = Saying::new(&[answer, b"first\nsecond\n"].concat(), false);
        let config = client(WireFactory::Line, proxy.proxy(scheme));
        reactor.connect(config).unwrap();
        drive(&mut reactor, &mut recorder, |seen| {
            proxy.step();
            seen.messages().len() == 2
        });
        assert_eq!(recorder.messages(), [&b"first"[..], b"second"]);
    }
}

#[test]
fn a_proxy_that_wants_to_know_who_we_are_may_be_asked_again() {
    for (retry_refused, why) in [(false, StopReason::Final), (true, StopReason::Attempts)] {
        let (mut reactor, mut recorder) = (reactor(), Recorder::default());
        let mut proxy = Saying::new(b"HTTP/1.1 407 Who\r\n\r\n", true);
        let mut config = client(WireFactory::WebSocket, proxy.proxy("http://"));
        config.reconnect = Some(ReconnectConfig {
            min: Duration::from_millis(1),
            base: Duration::from_millis(1),
            cap: Duration::from_millis(1),
            max_attempts: Some(2),
            retry_refused,
            ..ReconnectConfig::default()
        });
        reactor.connect(config).unwrap();
        let stopped = |seen: &Recorder| match seen.seen.last() {
            Some(Seen::Client(_, ClientEvent::Stopped { why })) => Some(*why),
            _ => None,
        };
        drive(&mut reactor, &mut recorder, |seen| {
            proxy.step();
            stopped(seen).is_some()
        });
        assert_eq!(stopped(&recorder), Some(why));
    }
}

#[test]
fn behind_a_proxy_clients_of_different_servers_do_not_wait_for_each_other() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let mut proxy = Saying::new(b"HTTP/1.1 200 OK\r\n\r\n", false);
    let ids: Vec<ClientId> = ["a.example", "b.example", "A.example"]
        .map(|host| {
            let mut config = client(WireFactory::WebSocket, proxy.proxy("http://"));
            config.host = host.into();
            reactor.connect(config).unwrap()
        })
        .into();
    drive(&mut reactor, &mut recorder, |seen| {
        proxy.step();
        proxy.peers.len() == 2 && seen.seen.len() >= 3
    });
    let waits = recorder.seen.iter().filter_map(|seen| match seen {
        Seen::Client(id, ClientEvent::AwaitsTurn { ahead, .. }) => Some((*id, *ahead)),
        _ => None,
    });
    assert_eq!(waits.collect::<Vec<_>>(), [(ids[2], 1)]);
    // The next one has its turn when that server has answered, whatever it says.
    for peer in &mut proxy.peers {
        peer.write_all(b"HTTP/1.1 404 Not Found\r\n\r\n").unwrap();
    }
    drive(&mut reactor, &mut recorder, |_| {
        proxy.step();
        proxy.peers.len() == 3
    });
}

#[test]
fn a_host_that_cannot_be_named_to_a_proxy_is_refused_by_field() {
    let mut reactor = reactor();
    let proxy = Proxy::from_url("socks5h://127.0.0.1").unwrap();
    for host in ["a\r\nb", "a b", ""] {
        let mut config = client(WireFactory::Line, Some(proxy.clone()));
        config.host = host.into();
        let Error::Config(error) = reactor.connect(config).unwrap_err() else {
            panic!("{host:?}");
        };
        assert_eq!(error.field(), "host");
    }
}
