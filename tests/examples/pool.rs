//! The pool of clients.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use heartwheel::{
    ConnId, Context, Decision, Handler, ListenerConfig, Message, Offer, Reactor, ReactorConfig,
    Rejection, Welcome, WireFactory,
};

use crate::running::{Running, any};
use crate::support::PATIENCE;

#[path = "../../examples/pool.rs"]
#[allow(dead_code, unreachable_pub, reason = "its main is not called")]
mod example;

/// A server that wants a token, and answers each message with who got it.
struct Server;

impl Handler for Server {
    type Data = ();

    fn on_accept(
        &mut self,
        _: &mut Context<'_, ()>,
        offer: &Offer<'_>,
    ) -> Result<Decision<Welcome<()>>, Rejection> {
        let upgrade = offer.upgrade().unwrap();
        match upgrade.request().header("Authorization") {
            Some(b"Bearer secret") => Ok(Welcome::default().into()),
            _ => Err(Rejection::new(401, "who are you?\n")),
        }
    }

    fn on_message(&mut self, cx: &mut Context<'_, ()>, id: ConnId, message: Message<'_>) {
        let text = format!("{id} got {}", message.as_text().unwrap());
        cx.send(id, Message::text(&text)).unwrap();
    }
}

fn serve(addr: SocketAddr) -> Running<SocketAddr> {
    Running::start(move |sender| {
        let mut reactor = Reactor::new(ReactorConfig::default()).unwrap();
        let config = ListenerConfig::new(addr, WireFactory::WebSocket);
        let id = reactor.listen(config).unwrap();
        let addr = reactor.local_addr(id).unwrap();
        sender.send((addr, reactor.handle())).unwrap();
        reactor.run(&mut Server).unwrap();
    })
}

/// Waits for a line that the pool prints.
#[track_caller]
fn await_line(lines: &Receiver<String>, mut is_it: impl FnMut(&str) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let line = lines.recv_timeout(left).expect("it comes");
        if is_it(&line) {
            return;
        }
    }
}

#[test]
fn its_clients_come_with_tokens_answer_in_turn_and_come_back() {
    const CLIENTS: usize = 5;
    let server = serve(any());
    let addr = server.at;
    let (printed, lines) = channel();
    let pool: Running<(), (), example::News> = Running::start(move |sender| {
        let ready = |handle| sender.send(((), handle)).unwrap();
        // The test may have ended, and wants to hear no more.
        let print = move |line| _ = printed.send(line);
        example::run(&format!("ws://{addr}/"), CLIENTS, ready, print).unwrap();
    });
    let all_open = format!("{CLIENTS} open");
    await_line(&lines, |line| line == all_open);
    for _ in 0..CLIENTS {
        pool.handle
            .command(example::News::Line("hello".into()))
            .unwrap();
    }
    let mut answerers = BTreeSet::new();
    await_line(&lines, |line| {
        if let Some((id, text)) = line
            .strip_prefix("< ")
            .and_then(|it| it.split_once(" got "))
        {
            assert_eq!(text, "hello");
            answerers.insert(id.to_owned());
        }
        answerers.len() == CLIENTS
    });

    // The server goes, and what is said meanwhile waits until it is back.
    drop(server);
    await_line(&lines, |line| line.starts_with("0 open"));
    pool.handle
        .command(example::News::Line("late".into()))
        .unwrap();
    let server = serve(addr);
    // The answer may come before all are back, or after.
    let (mut is_answered, mut are_back) = (false, false);
    await_line(&lines, |line| {
        is_answered |= line.ends_with(" got late");
        are_back |= line == all_open;
        is_answered && are_back
    });
    drop(pool);
    drop(server);
}
