//! A pool of clients of one server, each with a token of its own.
//!
//! `cargo run --example pool -- ws://127.0.0.1:9001/ 20` keeps 20 connections open, whatever becomes of the
//! server. Each line of standard input is sent on one of them, in turn; answers are printed. While none is
//! open, up to 1 000 lines wait, for a minute at most.

use std::collections::{BTreeSet, VecDeque};
use std::error::Error;
use std::io::BufRead;
use std::thread;
use std::time::Duration;
use std::{env, io};

use heartwheel::{
    Cause, ClientConfig, ClientEvent, ClientId, ConnId, Context, Decision, DialRequest, Endpoint,
    HandleError, Handler, LoopHandle, Message, QueueConfig, Reactor, ReactorConfig,
    ReconnectConfig, StopReason,
};

/// What other threads tell the loop.
#[derive(Debug)]
pub enum News {
    /// A token for a client that is about to dial.
    Token(ClientId, String),
    /// A line to send.
    Line(String),
}

/// Keeps clients connected, and takes them in turn.
struct Pool<P> {
    handle: LoopHandle<(), News>,
    /// Tokens that have come, each for one attempt.
    tokens: VecDeque<(ClientId, String)>,
    open: BTreeSet<ClientId>,
    /// Whose turn it was last.
    last: Option<ClientId>,
    /// Prints what happens.
    print: P,
}

type Cx<'a> = Context<'a, ()>;

impl<P: FnMut(String)> Handler<News> for Pool<P> {
    type Data = ();

    fn on_dial(
        &mut self,
        _: &mut Cx<'_>,
        client: ClientId,
        mut request: DialRequest,
    ) -> Decision<DialRequest> {
        let mine = self.tokens.iter().position(|(owner, _)| *owner == client);
        let Some((_, token)) = mine.and_then(|place| self.tokens.remove(place)) else {
            let handle = self.handle.clone();
            // It may take its time: the loop goes on meanwhile.
            thread::spawn(move || handle.command(News::Token(client, fetch_token())));
            return Decision::Later;
        };
        request.set_header("Authorization", format!("Bearer {token}"));
        request.into()
    }

    fn on_command(&mut self, cx: &mut Cx<'_>, news: News) {
        match news {
            News::Token(client, token) => {
                self.tokens.push_back((client, token));
                cx.dial(client);
            }
            News::Line(line) => self.send(cx, &line),
        }
    }

    fn on_open(&mut self, cx: &mut Cx<'_>, id: ConnId) {
        if let Some(client) = client_of(cx, id) {
            self.open.insert(client);
            self.tell(format!("{} open", self.open.len()));
        }
    }

    fn on_closing(&mut self, cx: &mut Cx<'_>, id: ConnId, cause: Cause) {
        if let Some(client) = client_of(cx, id) {
            self.open.remove(&client);
            self.tell(format!("{} open, one lost: {cause}", self.open.len()));
        }
    }

    fn on_message(&mut self, _: &mut Cx<'_>, _: ConnId, message: Message<'_>) {
        self.tell(format!("< {}", String::from_utf8_lossy(message.data())));
    }

    fn on_client(&mut self, _: &mut Cx<'_>, client: ClientId, event: ClientEvent) {
        match event {
            ClientEvent::Failed { error } => self.tell(format!("{client:?} failed: {error}")),
            ClientEvent::Unsent { lost } => self.tell(format!("{client:?} lost {lost:?}")),
            // A drain, or a stop that was asked for, needs no word.
            ClientEvent::Stopped { why } if why != StopReason::Asked => {
                self.tell(format!("{client:?} stopped: {why}"));
            }
            _ => {}
        }
    }
}

impl<P: FnMut(String)> Pool<P> {
    fn tell(&mut self, text: String) {
        (self.print)(text);
    }

    /// Sends a line on the next open connection, or leaves it with the next client until it has one.
    fn send(&mut self, cx: &mut Cx<'_>, line: &str) {
        let all = cx.clients();
        let behind = |client: &&ClientId| self.last.is_none_or(|last| **client > last);
        let next = |mut clients: std::slice::Iter<'_, ClientId>| clients.find(behind).copied();
        let open: Vec<_> = self.open.iter().copied().collect();
        let candidates = if open.is_empty() { &all } else { &open };
        let Some(client) = next(candidates.iter()).or_else(|| candidates.first().copied()) else {
            return self.tell("no client is left".to_owned());
        };
        self.last = Some(client);
        if let Err(error) = cx.send_client(client, Message::text(line)) {
            self.tell(format!("{line:?} was not sent: {error}"));
        }
    }
}

fn client_of(cx: &Cx<'_>, id: ConnId) -> Option<ClientId> {
    match cx.info(id)?.endpoint {
        Endpoint::Client(client) => Some(client),
        Endpoint::Listener(_) => None,
    }
}

/// Asks for a token, as one would of another server.
fn fetch_token() -> String {
    thread::sleep(Duration::from_millis(20));
    "secret".to_owned()
}

/// Runs a pool of so many clients. `ready` gets a handle that takes lines and can stop the loop.
pub fn run(
    url: &str,
    count: usize,
    ready: impl FnOnce(LoopHandle<(), News>),
    print: impl FnMut(String),
) -> Result<(), Box<dyn Error>> {
    let mut reactor = Reactor::new(ReactorConfig::default())?;
    for _ in 0..count {
        let mut config = ClientConfig::from_url(url)?;
        config.handshakes_at_once = 8;
        config.reconnect = Some(ReconnectConfig {
            // A token may be too old by now: the next one may do.
            retry_refused: true,
            ..ReconnectConfig::default()
        });
        config.queue = Some(QueueConfig {
            max_age: Some(Duration::from_secs(60)),
            ..QueueConfig::default()
        });
        reactor.connect(config)?;
    }
    let handle = reactor.handle();
    ready(handle.clone());
    reactor.run(&mut Pool {
        handle,
        tokens: VecDeque::new(),
        open: BTreeSet::new(),
        last: None,
        print,
    })?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut given = env::args().skip(1);
    let url = given.next();
    let url = url.as_deref().unwrap_or("ws://127.0.0.1:9001/");
    let count = given.next().as_deref().unwrap_or("20").parse()?;
    let read = |handle| _ = thread::spawn(move || read_lines(&handle));
    run(url, count, read, |text| println!("{text}"))
}

fn read_lines(handle: &LoopHandle<(), News>) {
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        let mut news = News::Line(line);
        while let Err(refused) = handle.command(news) {
            if refused.error == HandleError::Gone {
                return;
            }
            // The loop has much to do, and gave the line back.
            news = refused.command;
            thread::sleep(Duration::from_millis(10));
        }
    }
}
