//! Clients of MQTT, Redis and STOMP, written by others, held by our codecs of these protocols: those of the
//! examples, and `support::stomp`.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{JoinHandle, spawn};

use heartwheel::close::Cause;
use heartwheel::{
    Closed, ConnId, Context, Handler, ListenerConfig, LoopHandle, Message, Overflow, Reactor,
    ReactorConfig, WireFactory,
};

use crate::support::PATIENCE;
use crate::support::peers::{mqtt_client, redis_client, stomp_client};
use crate::support::process::Process;
use crate::support::stomp;

#[path = "../../examples/mqtt.rs"]
#[allow(dead_code, unreachable_pub, reason = "its main is not called")]
mod mqtt;
#[path = "../../examples/redis.rs"]
#[allow(dead_code, unreachable_pub, reason = "its main is not called")]
mod redis;

/// Passes everything on to a handler, and the causes of ends to the test.
struct Watched<H> {
    handler: H,
    ends: Sender<Cause>,
}

impl<H: Handler<Data = ()>> Handler for Watched<H> {
    type Data = ();

    fn on_open(&mut self, cx: &mut Context<'_, ()>, id: ConnId) {
        self.handler.on_open(cx, id);
    }

    fn on_message(&mut self, cx: &mut Context<'_, ()>, id: ConnId, message: Message<'_>) {
        self.handler.on_message(cx, id, message);
    }

    fn on_close(&mut self, cx: &mut Context<'_, ()>, closed: Closed<'_, ()>) {
        // A test that is over does not listen.
        let _ = self.ends.send(closed.evidence.cause);
        self.handler.on_close(cx, closed);
    }
}

/// A server on a thread of its own, until it is dropped.
struct Server {
    port: u16,
    ends: Receiver<Cause>,
    handle: LoopHandle,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves without a heartbeat, but for one that the handler sets.
    fn start<H: Handler<Data = ()> + Send + 'static>(wire: WireFactory, handler: H) -> Self {
        let mut config = ListenerConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)), wire);
        (config.heartbeat.interval, config.heartbeat.timeout) = (None, None);
        config.limits.overflow = Overflow::Close;
        config.limits.send_queue = Some(1 << 20);
        let mut reactor = Reactor::new(ReactorConfig::default()).unwrap();
        let id = reactor.listen(config).unwrap();
        let port = reactor.local_addr(id).unwrap().port();
        let (sender, ends) = channel();
        let handle = reactor.handle();
        let mut watched = Watched {
            handler,
            ends: sender,
        };
        let thread = spawn(move || reactor.run(&mut watched).unwrap());
        Self {
            port,
            ends,
            handle,
            thread: Some(thread),
        }
    }

    #[track_caller]
    fn await_end(&self) -> Cause {
        self.ends.recv_timeout(PATIENCE).unwrap()
    }

    fn has_none_ended(&self) -> bool {
        self.ends.try_recv().is_err()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.handle.stop().unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Waits for an event whose fields contain this text, from `mark` on; returns where to look on.
#[track_caller]
fn hears(client: &Process, mark: usize, name: &str, fields: &str) -> usize {
    let (found, ()) = client.wait_past(mark, name, |line| {
        let event = line.event(name)?.to_string();
        event.contains(fields).then_some(())
    });
    found + 1
}

fn mqtt_server() -> Server {
    let wire = WireFactory::own(|_| mqtt::Packets::default());
    Server::start(wire, mqtt::Broker)
}

#[test]
#[ignore = "needs Python 3: install python3 and python3-venv"]
fn paho_subscribes_publishes_pings_and_leaves() {
    let server = mqtt_server();
    let [ann, bob] = ["ann", "bob"].map(|name| mqtt_client(server.port, name));
    for client in [&ann, &bob] {
        hears(client, 0, "connected", r#""failed":false"#);
    }
    ann.input().say("subscribe news");
    hears(&ann, 0, "subscribed", r#"[false]"#);
    ann.input().say("subscribe news/#");
    hears(&ann, 0, "subscribed", r#"[true]"#);
    bob.input().say("publish news hello");
    hears(&bob, 0, "acknowledged", "");
    let mark = hears(&ann, 0, "message", r#""text":"hello""#);
    // Nothing is said, and it lives by its own keep-alives.
    let mark = hears(&ann, mark, "pong", "");
    let mark = hears(&ann, mark, "pong", "");
    assert!(server.has_none_ended(), "{}", ann.transcript());
    ann.input().say("unsubscribe news");
    let mark = hears(&ann, mark, "unsubscribed", "");
    ann.input().say("disconnect");
    hears(&ann, mark, "disconnected", r#""failed":false"#);
    assert_eq!(server.await_end(), Cause::PeerClosed);
}

#[test]
#[ignore = "needs Python 3: install python3 and python3-venv"]
fn paho_that_is_stopped_has_missed_its_keep_alive() {
    let server = mqtt_server();
    let ann = mqtt_client(server.port, "ann");
    hears(&ann, 0, "pong", "");
    ann.stop();
    assert_eq!(server.await_end(), Cause::Silent);
    ann.resume();
    hears(&ann, 0, "disconnected", r#""failed":true"#);
}

fn redis_server() -> Server {
    let wire = WireFactory::own(|_| {
        let mut codec = redis::Commands::default();
        codec.password = Some("secret".to_owned());
        codec
    });
    Server::start(wire, redis::Server)
}

#[test]
#[ignore = "needs Python 3: install python3 and python3-venv"]
fn redis_py_gives_its_password_pings_subscribes_publishes_and_quits() {
    let server = redis_server();
    let eve = redis_client(server.port, "wrong");
    hears(&eve, 0, "refused", "");
    let ann = redis_client(server.port, "secret");
    hears(&ann, 0, "pong", r#""same":true"#);
    ann.input().say("echo grüße");
    hears(&ann, 0, "echoed", r#""same":true"#);
    ann.input().say("pipeline");
    hears(&ann, 0, "answers", r#"[true,"between","error"]"#);
    ann.input().say("subscribe news");
    hears(&ann, 0, "subscribe", r#""data":1"#);
    ann.input().say("publish news hello");
    hears(&ann, 0, "published", r#""subscribers":1"#);
    hears(&ann, 0, "message", r#""data":"hello""#);
    ann.input().say("unsubscribe news");
    hears(&ann, 0, "unsubscribe", r#""data":0"#);
    ann.input().say("quit");
    hears(&ann, 0, "quit", r#""said":true"#);
    assert_eq!(server.await_end(), Cause::PeerClosed);
}

/// Redis asks for no beats: who is stopped is noticed by what it does not take.
#[test]
#[ignore = "needs Python 3: install python3 and python3-venv"]
fn redis_py_that_is_stopped_has_its_queue_filled() {
    let server = redis_server();
    let [ann, bob] = [(); 2].map(|()| redis_client(server.port, "secret"));
    ann.input().say("subscribe news");
    let mark = hears(&ann, 0, "subscribe", r#""data":1"#);
    hears(&bob, 0, "pong", r#""same":true"#);
    ann.stop();
    bob.input().say("flood news 400");
    assert_eq!(server.await_end(), Cause::SendQueueFull);
    hears(&bob, 0, "flooded", "");
    bob.input().say("ping");
    hears(&bob, 1, "pong", r#""same":true"#);
    ann.resume();
    // It has read what the kernel held, and comes again by itself.
    hears(&ann, mark, "subscribe", r#""data":1"#);
}

fn stomp_server() -> Server {
    let wire = WireFactory::own(|_| stomp::Frames::default());
    Server::start(wire, stomp::Server::default())
}

#[test]
#[ignore = "needs Python 3: install python3 and python3-venv"]
fn stomp_py_subscribes_sends_beats_and_leaves() {
    let server = stomp_server();
    let ann = stomp_client(server.port);
    hears(&ann, 0, "connected", r#""version":"1.2""#);
    ann.input().say("subscribe 7 /news");
    hears(&ann, 0, "receipt", r#""id":"subscribe""#);
    ann.input().say("send /news grüße");
    hears(&ann, 0, "receipt", r#""id":"send""#);
    let mark = hears(&ann, 0, "message", r#""subscription":"7","text":"grüße""#);
    // Nothing is said for longer than a missed beat may take.
    let mark = (0..5).fold(mark, |mark, _| hears(&ann, mark, "beat", ""));
    assert!(server.has_none_ended(), "{}", ann.transcript());
    ann.input().say("unsubscribe 7");
    let mark = hears(&ann, mark, "receipt", r#""id":"unsubscribe""#);
    ann.input().say("disconnect");
    hears(&ann, mark, "disconnected", "");
    assert_eq!(server.await_end(), Cause::PeerClosed);
}

#[test]
#[ignore = "needs Python 3: install python3 and python3-venv"]
fn stomp_py_that_is_stopped_has_missed_its_beats() {
    let server = stomp_server();
    let ann = stomp_client(server.port);
    hears(&ann, 0, "beat", "");
    ann.stop();
    assert_eq!(server.await_end(), Cause::PeerUnresponsive);
    ann.resume();
    hears(&ann, 0, "disconnected", "");
}
