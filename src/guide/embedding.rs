//! How to embed a loop in your program: a page for each task, each with an example that compiles.
//!
//! | you want to | read |
//! | --- | --- |
//! | write a first server, and know who is there | [`server`], [`data`] |
//! | send to many: rooms, topics, everybody | [`rooms`] |
//! | reach the loop from other threads | [`threads`] |
//! | stop on a signal without losing what is queued | [`signals`] |
//! | speak a protocol of your own | [`codec`] |
//! | dial servers, with a token, and stay connected | [`clients`] |
//! | listen on a Unix socket or one handed in, or go on with a connection from elsewhere | [`sockets`] |
//! | speak TLS, and renew certificates | [`tls`] |
//! | run the loop inside epoll, mio or tokio | [`nesting`] |
//! | depend on less | [`features`] |
//!
//! # What goes for every page
//!
//! - A [`Reactor`](crate::Reactor) is one loop on one thread. It calls your
//!   [`Handler`](crate::Handler), and waits while a callback runs: one that takes 50 ms delays every
//!   ping by 50 ms. Work that takes longer belongs on another thread ([`threads`]).
//! - A callback gets a [`Context`](crate::Context). It sends, closes, sets timers and looks things up,
//!   and never blocks. A connection is named by its [`ConnId`](crate::ConnId), which no later
//!   connection has; one that has ended is not found, which is no error.
//! - [`run`](crate::Reactor::run) does not catch panics. If a callback panics and you catch it around
//!   `run` or [`turn`](crate::Reactor::turn), go on with the next turn: the connection whose input was
//!   in hand ends as `local_close` with code 1011, everybody else goes on, and no event is lost. A
//!   client whose callback panicked continues as if it had returned.

pub mod server {
    //! A first server.
    //!
    //! Listen, and run. Each listener has a wire: WebSocket, text lines, frames with a length, or raw
    //! bytes. The heartbeat is on from the start; [`liveness`](crate::guide::liveness) says what it
    //! promises.
    //!
    //! ```no_run
    //! use heartwheel::{
    //!     Cause, Closed, ConnId, Context, Handler, ListenerConfig, Message, Reactor, ReactorConfig,
    //!     WireFactory,
    //! };
    //! use std::time::Duration;
    //!
    //! struct Echo;
    //!
    //! impl Handler for Echo {
    //!     type Data = ();
    //!
    //!     fn on_message(&mut self, cx: &mut Context<'_, ()>, id: ConnId, message: Message<'_>) {
    //!         // An error says why nothing was sent: the queue is full, or the connection is closing.
    //!         if let Err(error) = cx.send(id, message) {
    //!             eprintln!("{id}: {error}");
    //!         }
    //!     }
    //!
    //!     fn on_closing(&mut self, _: &mut Context<'_, ()>, id: ConnId, cause: Cause) {
    //!         println!("{id} is no longer there: {cause}");
    //!     }
    //!
    //!     fn on_close(&mut self, _: &mut Context<'_, ()>, closed: Closed<'_, ()>) {
    //!         println!("{} ended: {}", closed.id, closed.evidence);
    //!     }
    //! }
    //!
    //! let mut reactor = Reactor::new(ReactorConfig::default())?;
    //! let mut config = ListenerConfig::new(([127, 0, 0, 1], 9002).into(), WireFactory::Line);
    //! config.heartbeat.interval = Some(Duration::from_secs(4));
    //! config.heartbeat.timeout = Some(Duration::from_secs(10));
    //! reactor.listen(config)?;
    //! reactor.run(&mut Echo)?;
    //! # Ok::<(), heartwheel::Error>(())
    //! ```
    //!
    //! Try it with `nc 127.0.0.1 9002`. A peer that sends nothing, and does not answer `PING` with
    //! `PONG`, ends after 10 s with the cause `peer_unresponsive`.
    //!
    //! # When a queue is full
    //!
    //! [`send`](crate::Context::send) fails with [`Full`](crate::SendError::Full) if the peer reads more
    //! slowly than you send. [`on_writable`](crate::Handler::on_writable) follows when there is room.
    //! Until then keep the message, or [`pause`](crate::Context::pause) the connection it came from.
    //! With [`Overflow::Close`](crate::Overflow::Close) such a peer is closed instead.
}

pub mod data {
    //! Data of your own for each connection.
    //!
    //! The handler's `Data` lies in the connection's slot. [`on_accept`](crate::Handler::on_accept)
    //! decides who comes in, and gives the first value; it sees the address, and on WebSocket the
    //! whole request.
    //!
    //! ```no_run
    //! use heartwheel::{
    //!     ConnId, Context, Decision, Handler, ListenerConfig, Message, Offer, Reactor, ReactorConfig, Rejection,
    //!     Welcome, WireFactory,
    //! };
    //!
    //! #[derive(Default)]
    //! struct Guest {
    //!     name: String,
    //!     said: u32,
    //! }
    //!
    //! struct Party;
    //!
    //! impl Handler for Party {
    //!     type Data = Guest;
    //!
    //!     fn on_accept(
    //!         &mut self,
    //!         _: &mut Context<'_, Guest>,
    //!         offer: &Offer<'_>,
    //!     ) -> Result<Decision<Welcome<Guest>>, Rejection> {
    //!         let name = offer.peer.to_string();
    //!         if name.starts_with("192.0.2.") {
    //!             return Err(Rejection::new(403, "not you"));
    //!         }
    //!         Ok(Welcome::with(Guest { name, said: 0 }).into())
    //!     }
    //!
    //!     fn on_message(&mut self, cx: &mut Context<'_, Guest>, id: ConnId, _: Message<'_>) {
    //!         if let Some(guest) = cx.data_mut(id) {
    //!             guest.said += 1;
    //!             println!("{} has said {} things", guest.name, guest.said);
    //!         }
    //!     }
    //! }
    //!
    //! let mut reactor = Reactor::new(ReactorConfig::default())?;
    //! reactor.listen(ListenerConfig::new(([127, 0, 0, 1], 9002).into(), WireFactory::Line))?;
    //! reactor.run(&mut Party)?;
    //! # Ok::<(), heartwheel::Error>(())
    //! ```
    //!
    //! # Data without a default
    //!
    //! `Data` needs [`Default`]: the slot is made when the connection comes, before `on_accept` can
    //! decide. If yours has no sensible default, such as a handle of a task or a user who is known, keep
    //! it in an [`Option`]. `None` is the value that nobody sees: `on_accept` gives `Some` to all whom
    //! it lets in. A connection may not be found anyway, so one pattern serves for both:
    //!
    //! ```
    //! use std::sync::mpsc::Sender;
    //!
    //! use heartwheel::{
    //!     Closed, ConnId, Context, Decision, Handler, Message, Offer, Rejection, Welcome,
    //! };
    //!
    //! /// Where what a peer says is written down. There is none without a writer.
    //! struct Log {
    //!     writer: Sender<Vec<u8>>,
    //! }
    //!
    //! struct Gate {
    //!     writer: Sender<Vec<u8>>,
    //! }
    //!
    //! impl Handler for Gate {
    //!     type Data = Option<Log>;
    //!
    //!     fn on_accept(
    //!         &mut self,
    //!         _: &mut Context<'_, Option<Log>>,
    //!         _: &Offer<'_>,
    //!     ) -> Result<Decision<Welcome<Option<Log>>>, Rejection> {
    //!         let log = Log { writer: self.writer.clone() };
    //!         Ok(Welcome::with(Some(log)).into())
    //!     }
    //!
    //!     fn on_message(
    //!         &mut self,
    //!         cx: &mut Context<'_, Option<Log>>,
    //!         id: ConnId,
    //!         message: Message<'_>,
    //!     ) {
    //!         if let Some(Some(log)) = cx.data(id) {
    //!             let _ = log.writer.send(message.data().to_vec());
    //!         }
    //!     }
    //!
    //!     fn on_close(
    //!         &mut self,
    //!         _: &mut Context<'_, Option<Log>>,
    //!         closed: Closed<'_, Option<Log>>,
    //!     ) {
    //!         if let Some(log) = closed.data {
    //!             let _ = log.writer.send(b"gone".to_vec());
    //!         }
    //!     }
    //! }
    //! ```
    //!
    //! For a type with a spare value, such as a [`Box`], an `Arc` or a [`String`], the `Option` takes no
    //! more memory. If a connection goes through states of yours, an enum whose `#[default]` is the first
    //! one says more.
    //!
    //! # Deciding later
    //!
    //! A token that a database knows must not be checked in the callback: the whole loop would wait.
    //! Return [`Decision::Later`](crate::Decision::Later), and call
    //! [`accept`](crate::LoopHandle::accept) or [`reject`](crate::LoopHandle::reject) when it is known.
    //! Here a thread does the checks:
    //!
    //! ```no_run
    //! # #[cfg(feature = "websocket")]
    //! # fn main() -> Result<(), heartwheel::Error> {
    //! use std::sync::mpsc::{Sender, channel};
    //! use std::thread;
    //!
    //! use heartwheel::{
    //!     ConnId, Context, Decision, HandleError, Handler, ListenerConfig, LoopHandle, Offer, Reactor,
    //!     ReactorConfig, Rejected, Rejection, Welcome, WireFactory,
    //! };
    //!
    //! struct Door {
    //!     to_check: Sender<(ConnId, String)>,
    //! }
    //!
    //! impl Handler for Door {
    //!     /// The user's name.
    //!     type Data = String;
    //!
    //!     fn on_accept(
    //!         &mut self,
    //!         _: &mut Context<'_, String>,
    //!         offer: &Offer<'_>,
    //!     ) -> Result<Decision<Welcome<String>>, Rejection> {
    //!         let request = offer.upgrade().map(|upgrade| upgrade.request());
    //!         let Some(token) = request.and_then(|request| request.query_value("token")) else {
    //!             return Err(Rejection::new(401, "a token, please\n"));
    //!         };
    //!         // If the thread has ended, the client is told after the handshake timeout.
    //!         let _ = self.to_check.send((offer.id, token.into_owned()));
    //!         Ok(Decision::Later)
    //!     }
    //!
    //!     fn on_rejected(&mut self, _: &mut Context<'_, String>, rejected: Rejected<'_>) {
    //!         // Whoever leaves while it waits, or waits for too long, ends here.
    //!         println!("{:?}: {} {}", rejected.id, rejected.evidence.cause, rejected.reason);
    //!     }
    //! }
    //!
    //! # fn ask_the_database(_: &str) -> Option<String> { None }
    //! /// Says who may come in. Whoever has gone meanwhile is not found, which is no error.
    //! fn decide(handle: &LoopHandle<String>, id: ConnId, token: &str) -> Result<(), HandleError> {
    //!     match ask_the_database(token) {
    //!         Some(user) => Ok(handle.accept(id, Welcome::with(user))?),
    //!         None => Ok(handle.reject(id, Rejection::new(403, "unknown token\n"))?),
    //!     }
    //! }
    //!
    //! let mut reactor = Reactor::new(ReactorConfig::default())?;
    //! reactor.listen(ListenerConfig::new(([127, 0, 0, 1], 9001).into(), WireFactory::WebSocket))?;
    //! let handle = reactor.handle();
    //! let (to_check, tokens) = channel::<(ConnId, String)>();
    //! thread::spawn(move || {
    //!     for (id, token) in tokens {
    //!         if let Err(error) = decide(&handle, id, &token) {
    //!             eprintln!("{id}: {error}");
    //!         }
    //!     }
    //! });
    //! reactor.run(&mut Door { to_check })
    //! # }
    //! # #[cfg(not(feature = "websocket"))]
    //! # fn main() {}
    //! ```
    //!
    //! The client waits for at most its
    //! [`handshake_timeout`](crate::HeartbeatConfig::handshake_timeout), and is then answered 503. At most
    //! [`max_deferred`](crate::ReactorConfig::max_deferred) may wait, and the next one is answered 503 at
    //! once. Plain HTTP requests may wait in the same way: [`on_http`](crate::Handler::on_http) gets the id
    //! of the request, and [`answer`](crate::LoopHandle::answer) takes it. It is not that of the connection,
    //! which may carry many requests. A callback calls the same methods of its
    //! [`Context`](crate::Context::accept), which says at once if nobody waits any more.
    //!
    //! # What a request says
    //!
    //! [`Request`](crate::proto::http::Request) has the path, the parameters of the query
    //! ([`query_value`](crate::proto::http::Request::query_value)), the cookies
    //! ([`cookie`](crate::proto::http::Request::cookie)) and all header fields. It borrows from received
    //! bytes; [`owned`](crate::proto::http::Request::owned) copies it for another thread. All of this is
    //! what a client chose to send.
    //!
    //! # How large data may be
    //!
    //! A large value costs each of 100 000 connections its size: put it into a `Box`. At the end
    //! [`Closed::data`](crate::Closed::data) gives it back.
    //!
    //! [`set_conn_timer`](crate::Context::set_conn_timer) sets a timer that ends with its connection, and
    //! [`info`](crate::Context::info) tells what the loop itself knows: addresses, pings of both sides, round
    //! trips, and whether the peer is [late](crate::Liveness) before it is taken for dead.
}

pub mod rooms {
    //! Sending to many.
    //!
    //! A room is a topic. A published message is encoded once for each wire, all queues share its
    //! bytes, and a large room does not make a long turn. Subscriptions end with their connection. The
    //! example `chat` is a whole program of that kind.
    //!
    //! ```no_run
    //! use heartwheel::{
    //!     ConnId, Context, Handler, ListenerConfig, Message, Reactor, ReactorConfig, SharedMessage,
    //!     WireFactory,
    //! };
    //!
    //! struct Rooms;
    //!
    //! impl Handler for Rooms {
    //!     type Data = ();
    //!
    //!     fn on_open(&mut self, cx: &mut Context<'_, ()>, id: ConnId) {
    //!         if let Err(error) = cx.subscribe(id, "lobby") {
    //!             eprintln!("{id}: {error}");
    //!         }
    //!     }
    //!
    //!     fn on_message(&mut self, cx: &mut Context<'_, ()>, id: ConnId, message: Message<'_>) {
    //!         // To all in the room but its author. `publish` would include the author.
    //!         if let Err(error) = cx.publish_except(id, "lobby", &SharedMessage::new(message)) {
    //!             eprintln!("{id}: {error}");
    //!         }
    //!     }
    //! }
    //!
    //! let mut reactor = Reactor::new(ReactorConfig::default())?;
    //! reactor.listen(ListenerConfig::new(([127, 0, 0, 1], 9002).into(), WireFactory::Line))?;
    //! reactor.run(&mut Rooms)?;
    //! # Ok::<(), heartwheel::Error>(())
    //! ```
    //!
    //! [`broadcast`](crate::Context::broadcast) reaches everybody. Both are only begun by the call:
    //! [`on_broadcast`](crate::Handler::on_broadcast) says later how many queues took the message.
}

pub mod threads {
    //! Other threads.
    //!
    //! A [`LoopHandle`](crate::LoopHandle) may be cloned and moved to any thread. It sends, broadcasts,
    //! publishes, closes, drains and stops. [`command`](crate::LoopHandle::command) hands a value of your own
    //! type to [`on_command`](crate::Handler::on_command); the handler names the type, `Handler<Answer>`:
    //!
    //! ```no_run
    //! use std::sync::mpsc::{Sender, channel};
    //! use std::thread;
    //!
    //! use heartwheel::{
    //!     ConnId, Context, Handler, ListenerConfig, Message, Reactor, ReactorConfig, WireFactory,
    //! };
    //!
    //! /// Questions are answered by a thread that may take its time.
    //! struct Desk {
    //!     questions: Sender<(ConnId, String)>,
    //! }
    //!
    //! /// What the thread has found.
    //! struct Answer {
    //!     to: ConnId,
    //!     text: String,
    //! }
    //!
    //! impl Handler<Answer> for Desk {
    //!     type Data = ();
    //!
    //!     fn on_message(&mut self, _: &mut Context<'_, ()>, id: ConnId, message: Message<'_>) {
    //!         if let Some(text) = message.as_text() {
    //!             let _ = self.questions.send((id, text.to_owned()));
    //!         }
    //!     }
    //!
    //!     fn on_command(&mut self, cx: &mut Context<'_, ()>, answer: Answer) {
    //!         // Whoever has gone meanwhile is not found.
    //!         let _ = cx.send(answer.to, Message::text(&answer.text));
    //!     }
    //! }
    //!
    //! let mut reactor = Reactor::new(ReactorConfig::default())?;
    //! reactor.listen(ListenerConfig::new(([127, 0, 0, 1], 9002).into(), WireFactory::Line))?;
    //! let handle = reactor.handle();
    //! let (questions, asked) = channel();
    //! thread::spawn(move || {
    //!     for (to, question) in asked {
    //!         let text = format!("you asked: {question}");
    //!         // An error gives the command back. If the loop is far behind, wait a little and try again.
    //!         if handle.command(Answer { to, text }).is_err() {
    //!             break;
    //!         }
    //!     }
    //! });
    //! reactor.run(&mut Desk { questions })?;
    //! # Ok::<(), heartwheel::Error>(())
    //! ```
    //!
    //! # Order
    //!
    //! All calls of one thread are handled in their order, whichever they are: what is sent, broadcast and
    //! published, commands, closes, a drain and a stop. No call blocks. If the queue is full, a call returns
    //! [`HandleError::Full`](crate::HandleError::Full) and has queued nothing.
    //!
    //! # What is not delivered
    //!
    //! When its turn comes, a message may find that its connection has ended, or that the send queue is full.
    //! Then [`on_undelivered`](crate::Handler::on_undelivered) gets it, with the reason, and
    //! [`Stats::undelivered`](crate::Stats::undelivered) counts it:
    //!
    //! ```
    //! use heartwheel::{ConnId, Context, Handler, SendError, SharedMessage};
    //!
    //! /// Keeps for later what nobody was there for.
    //! struct Mailbox(Vec<SharedMessage>);
    //!
    //! impl Handler for Mailbox {
    //!     type Data = ();
    //!
    //!     fn on_undelivered(
    //!         &mut self,
    //!         _: &mut Context<'_, ()>,
    //!         _: ConnId,
    //!         message: &SharedMessage,
    //!         error: SendError,
    //!     ) {
    //!         if error == SendError::Closed {
    //!             self.0.push(message.clone());
    //!         }
    //!     }
    //! }
    //! ```
    //!
    //! In the turn in which the loop ends, all that is queued is handled once more: messages are undelivered,
    //! for every connection has ended, and commands are handed over.
    //!
    //! # Types
    //!
    //! `LoopHandle` alone is a handle for connections without data, and without commands. A struct that keeps
    //! another one names its types as the reactor does: `LoopHandle<Data, Command>`. In a closure the compiler
    //! finds them. A handler that wants a handle of its own loop keeps a clone of
    //! [`Reactor::handle`](crate::Reactor::handle).
}

pub mod signals {
    //! Signals, and an end that loses nothing.
    //!
    //! [`drain`](crate::Context::drain) says goodbye to everybody, spread over a window, and refuses who
    //! comes late; then [`run`](crate::Reactor::run) returns. [`LoopHandle::drain`](crate::LoopHandle::drain)
    //! asks for it from another thread, behind all that the thread has sent before. Any crate that delivers signals will do.
    //! Here a thread waits for one and tells the loop:
    //!
    //! ```no_run
    //! use std::time::Duration;
    //!
    //! use heartwheel::{Handler, ListenerConfig, Reactor, ReactorConfig, WireFactory};
    //!
    //! struct Server;
    //!
    //! impl Handler for Server {
    //!     type Data = ();
    //! }
    //!
    //! let mut reactor = Reactor::new(ReactorConfig::default())?;
    //! reactor.listen(ListenerConfig::new(([127, 0, 0, 1], 9002).into(), WireFactory::Line))?;
    //! let handle = reactor.handle();
    //! std::thread::spawn(move || {
    //!     # fn wait_for_a_signal() {}
    //!     wait_for_a_signal(); // such as `signal_hook::iterator::Signals::forever`
    //!     handle.drain(Duration::from_secs(8))
    //! });
    //! reactor.run(&mut Server)?;
    //! # Ok::<(), heartwheel::Error>(())
    //! ```
    //!
    //! A second signal may mean "at once": [`stop`](crate::Context::stop).
}

pub mod codec {
    //! A protocol of your own.
    //!
    //! If it consists of lines, there is a [`LineCodec`](crate::proto::line_codec::LineCodec). This is a
    //! whole server for lines that end with CR LF, and heartbeats `HB n` of the peer that are answered by
    //! `HB-ACK n`. A peer that sends neither for 30 seconds is closed:
    //!
    //! ```no_run
    //! use std::time::Duration;
    //!
    //! use heartwheel::proto::line_codec::{Beat, LineCodec, LineEnd, LineFormat};
    //! use heartwheel::{
    //!     ConnId, Context, Handler, HeartbeatConfig, ListenerConfig, Message, Reactor, ReactorConfig,
    //!     WireFactory,
    //! };
    //!
    //! struct Echo;
    //!
    //! impl Handler for Echo {
    //!     type Data = ();
    //!
    //!     fn on_message(&mut self, cx: &mut Context<'_, ()>, id: ConnId, message: Message<'_>) {
    //!         let _ = cx.send(id, message);
    //!     }
    //! }
    //!
    //! let lines = LineCodec::new(LineFormat {
    //!     end: LineEnd::CrLf,
    //!     beat: Some(Beat::numbered("HB", "HB-ACK")),
    //!     ..LineFormat::default()
    //! });
    //! let wire = WireFactory::own(move |_| lines.clone());
    //! let mut config = ListenerConfig::new(([127, 0, 0, 1], 9003).into(), wire);
    //! config.heartbeat = HeartbeatConfig {
    //!     interval: None,
    //!     timeout: Some(Duration::from_secs(30)),
    //!     ..HeartbeatConfig::tcp()
    //! };
    //! let mut reactor = Reactor::new(ReactorConfig::default())?;
    //! reactor.listen(config)?;
    //! reactor.run(&mut Echo)?;
    //! # Ok::<(), heartwheel::Error>(())
    //! ```
    //!
    //! With an interval, the server sends `HB n` too, and judges the answers by their numbers.
    //!
    //! For anything else write a [`Codec`](crate::proto::codec::Codec). It finds frames in bytes, and makes
    //! bytes of messages. Heartbeats, deadlines, queues, limits and causes then work as on the built-in
    //! wires. What a codec may do:
    //!
    //! | task | with |
    //! | --- | --- |
    //! | know who connects | the [`Contact`](crate::reactor::Contact) that the factory gets |
    //! | answer by itself (an acknowledgement, a receipt) | the argument `out` of `decode` |
    //! | greet, log in, negotiate | `has_handshake`, `begin`, [`Decoded::Open`](crate::proto::codec::Decoded::Open), `encode_open`, `encode_refusal` |
    //! | send heartbeats | `has_pings`, `encode_ping`; without them, switch the interval off |
    //! | say what may be done with its frames | [`Rules`](crate::proto::codec::Rules) |
    //! | be asked by the handler | [`Context::codec`](crate::Context::codec) and [`codec_mut`](crate::Context::codec_mut) |
    //!
    //! The rules say how answers to pings leave, whether pongs bring tokens back, who checks that text is
    //! UTF-8, and whether a message for many is encoded once. The defaults are right for every wire.
    //!
    //! A handshake ends in [`on_accept`](crate::Handler::on_accept). What the codec has learned by then,
    //! such as a name and a password, the handler asks the codec. If a client says how often it will
    //! speak, [`set_heartbeat`](crate::Context::set_heartbeat) in [`on_open`](crate::Handler::on_open) sets
    //! the timeout.
    //!
    //! Two examples have a codec each, with less than 200 lines together with their server: `mqtt` (MQTT
    //! 3.1.1) and `redis` (RESP2).
    //!
    //! If frames are long and end with a mark, remember how far the search has come: `decode` is called
    //! with the same bytes and some more until the frame is whole.
}

pub mod clients {
    //! Dialing.
    //!
    //! A client stays: it dials, and dials again with growing delays after each end, until it is
    //! [disconnected](crate::Context::disconnect). Before each attempt it asks
    //! [`on_dial`](crate::Handler::on_dial), which may change path, headers and subprotocols, or put the
    //! dial off. Here each attempt needs a fresh token, which another thread fetches:
    //!
    //! ```no_run
    //! use std::sync::mpsc::{Receiver, Sender, channel};
    //! use std::thread;
    //!
    //! use heartwheel::{
    //!     ClientConfig, ClientEvent, ClientId, ConnId, Context, Decision, DialRequest, Handler, Message,
    //!     Reactor, ReactorConfig, ReconnectConfig,
    //! };
    //!
    //! struct Feed {
    //!     /// Asks the other thread for a token.
    //!     fetch: Sender<()>,
    //!     token: Option<String>,
    //! }
    //!
    //! impl Handler<String> for Feed {
    //!     type Data = ();
    //!
    //!     fn on_dial(
    //!         &mut self,
    //!         _: &mut Context<'_, ()>,
    //!         _: ClientId,
    //!         mut request: DialRequest,
    //!     ) -> Decision<DialRequest> {
    //!         let Some(token) = self.token.take() else {
    //!             return match self.fetch.send(()) {
    //!                 Ok(()) => Decision::Later,
    //!                 Err(_) => request.into(),
    //!             };
    //!         };
    //!         request.set_header("Authorization", format!("Bearer {token}"));
    //!         request.into()
    //!     }
    //!
    //!     fn on_command(&mut self, cx: &mut Context<'_, ()>, token: String) {
    //!         self.token = Some(token);
    //!         for client in cx.clients() {
    //!             cx.dial(client);
    //!         }
    //!     }
    //!
    //!     fn on_message(&mut self, _: &mut Context<'_, ()>, _: ConnId, message: Message<'_>) {
    //!         println!("{:?}", message.as_text());
    //!     }
    //!
    //!     fn on_client(&mut self, _: &mut Context<'_, ()>, client: ClientId, event: ClientEvent) {
    //!         println!("{client:?}: {event:?}");
    //!     }
    //! }
    //!
    //! # fn ask_the_login_service() -> String { "secret".into() }
    //! let mut reactor = Reactor::new(ReactorConfig::default())?;
    //! let (fetch, asked): (_, Receiver<()>) = channel();
    //! let handle = reactor.handle();
    //! thread::spawn(move || {
    //!     while asked.recv().is_ok() && handle.command(ask_the_login_service()).is_ok() {}
    //! });
    //! # #[cfg(feature = "websocket")]
    //! let mut config = ClientConfig::from_url("ws://127.0.0.1:9001/feed")?;
    //! # #[cfg(not(feature = "websocket"))]
    //! # let mut config = ClientConfig::from_url("tcp://127.0.0.1:9001")?;
    //! config.reconnect = Some(ReconnectConfig {
    //!     // A 401 means that the token was too old, and is not the end.
    //!     retry_refused: true,
    //!     max_attempts: Some(20),
    //!     ..ReconnectConfig::default()
    //! });
    //! reactor.connect(config)?;
    //! reactor.run(&mut Feed { fetch, token: None })?;
    //! # Ok::<(), heartwheel::Error>(())
    //! ```
    //!
    //! How long a client tries is up to [`ReconnectConfig`](crate::ReconnectConfig): so many failures in
    //! a row, or so much time without an open connection.
    //! [`ClientEvent::Stopped`](crate::ClientEvent::Stopped) says why it does not dial again.
    //!
    //! [`send_client`](crate::Context::send_client) sends also while the client is away: its
    //! [`queue`](crate::ClientConfig::queue) keeps messages within limits, and
    //! [`ClientEvent::Unsent`](crate::ClientEvent::Unsent) tells what was lost. A
    //! [`proxy`](crate::ClientConfig::proxy) (HTTP CONNECT or SOCKS5) is dialed in place of the server, and
    //! looks its name up.
    //!
    //! Many clients of one server take turns ([`takes_turns`](crate::ClientConfig::takes_turns)), so that
    //! a server that has come back is not run over. One that waits hears
    //! [`AwaitsTurn`](crate::ClientEvent::AwaitsTurn).
}

pub mod sockets {
    //! Sockets of other kinds, and from elsewhere.
    //!
    //! # Unix sockets
    //!
    //! [`ListenerConfig::unix`](crate::ListenerConfig::unix) listens on a path. Its file is removed with the
    //! listener; one that a dead process has left there is replaced. Everything works as over TCP,
    //! except:
    //!
    //! - The peer has no [`ip`](crate::PeerAddr::ip), so limits for each address do not apply.
    //! - The kernel has no figures about such a socket. A peer that is silent ends as `pong_timeout`, where
    //!   over TCP it would be `peer_unresponsive` or `path_dead`.
    //!
    //! # A socket that somebody else has opened
    //!
    //! ```no_run
    //! use std::os::unix::net::UnixListener;
    //!
    //! use heartwheel::{ListenerConfig, Reactor, ReactorConfig, WireFactory};
    //!
    //! /// `socket` came from a supervisor, or from systemd.
    //! fn serve(socket: UnixListener) -> Result<(), heartwheel::Error> {
    //!     let mut reactor = Reactor::<()>::new(ReactorConfig::default())?;
    //!     reactor.listen(ListenerConfig::at(socket, WireFactory::Line))?;
    //!     Ok(())
    //! }
    //! ```
    //!
    //! # A connection that somebody else has accepted
    //!
    //! [`adopt`](crate::Context::adopt) goes on with it, under the terms of a listener. So an HTTP framework
    //! may own the port, check who comes, and answer the upgrade; from then on the connection costs what
    //! an idle connection costs here, and has its heartbeats.
    //!
    //! ```no_run
    //! use std::net::TcpStream;
    //!
    //! use heartwheel::{
    //!     Adoption, Context, Handler, ListenerConfig, ListenerId, Reactor, ReactorConfig, WireFactory,
    //! };
    //!
    //! # struct Nobody;
    //! # impl Handler for Nobody { type Data = String; }
    //! # fn next_upgraded() -> Option<(TcpStream, Vec<u8>, String)> { None }
    //! let mut reactor = Reactor::new(ReactorConfig::default())?;
    //! # #[cfg(feature = "websocket")]
    //! let upgrades = reactor.listen(ListenerConfig::nowhere(WireFactory::WebSocket))?;
    //! # #[cfg(not(feature = "websocket"))]
    //! # let upgrades = reactor.listen(ListenerConfig::nowhere(WireFactory::Line))?;
    //!
    //! // What the framework read behind the request comes along, and who its user is.
    //! while let Some((socket, received, user)) = next_upgraded() {
    //!     let adoption = Adoption { received, opened: Some(user) };
    //!     reactor.context().adopt(upgrades, socket, adoption)?;
    //! }
    //! reactor.run(&mut Nobody)?;
    //! # Ok::<(), heartwheel::Error>(())
    //! ```
    //!
    //! With `opened: None` the opening handshake is still to come, from `received` on. The example
    //! `beside_axum` is a whole program: axum serves HTTP, and what it upgrades goes on in the loop.
}

pub mod tls {
    //! TLS.
    //!
    //! Listeners and clients take configurations of rustls as they are:
    //! [`ListenerConfig::tls`](crate::ListenerConfig::tls) and
    //! [`ClientConfig::tls`](crate::ClientConfig::tls). The module [`tls`](crate::tls) makes such
    //! configurations from files. rustls itself is [`heartwheel::rustls`](crate::rustls), so its version is
    //! always the right one.
    //!
    //! # A server
    //!
    //! Its [`Certificates`](crate::tls::Certificates) are chosen by the name that a client asks for. They
    //! are shared: replace them from any thread, and every loop shows the new ones to whoever comes next.
    //!
    //! ```no_run
    //! use std::sync::Arc;
    //! use std::thread;
    //! use std::time::Duration;
    //!
    //! use heartwheel::tls::{CertError, Certificates, Pair, PairFiles, ServerTls};
    //! use heartwheel::{Handler, ListenerConfig, Reactor, ReactorConfig, WireFactory, WireKind};
    //!
    //! struct Quiet;
    //!
    //! impl Handler for Quiet {
    //!     type Data = ();
    //! }
    //!
    //! fn read() -> Result<Vec<Pair>, CertError> {
    //!     let names = ["chat.example.com", "example.net"];
    //!     let files = names.map(|name| PairFiles::new(format!("{name}.pem"), format!("{name}.key")));
    //!     files.iter().map(PairFiles::read).collect()
    //! }
    //!
    //! /// Files may hang, so they are read on a thread of their own.
    //! fn renew(certificates: &Certificates) {
    //!     loop {
    //!         thread::sleep(Duration::from_secs(6 * 60 * 60));
    //!         if let Err(error) = read().and_then(|pairs| certificates.replace(pairs)) {
    //!             eprintln!("the old certificates stay: {error}");
    //!         }
    //!     }
    //! }
    //!
    //! let certificates = Certificates::new(read()?)?;
    //! let mut config = ListenerConfig::new(([0, 0, 0, 0], 9443).into(), WireFactory::WebSocket);
    //! config.tls = Some(ServerTls::new(Arc::clone(&certificates), WireKind::WebSocket).config()?);
    //! thread::spawn(move || renew(&certificates));
    //!
    //! let mut reactor = Reactor::new(ReactorConfig::default())?;
    //! reactor.listen(config)?;
    //! reactor.run(&mut Quiet)?;
    //! # Ok::<(), Box<dyn std::error::Error>>(())
    //! ```
    //!
    //! [`Pair::left`](crate::tls::Pair::left) says how long a certificate is still valid. For certificates that
    //! come from elsewhere, such as ACME within the process, write a
    //! [`ResolvesServerCert`](crate::rustls::server::ResolvesServerCert) of your own.
    //!
    //! # A client
    //!
    //! A URL with `wss` or `tcps` makes a client [`secure`](crate::ClientConfig::secure);
    //! [`tls::client`](crate::tls::client) is what it needs if it trusts the roots of the system. All clients
    //! of the process share that, and with it the tickets that make later handshakes shorter.
    //!
    //! ```no_run
    //! use std::path::Path;
    //!
    //! use heartwheel::tls::{self, ClientTls, PairFiles, Roots, Trust};
    //! use heartwheel::{ClientConfig, Reactor, ReactorConfig, WireKind};
    //!
    //! let mut reactor: Reactor = Reactor::new(ReactorConfig::default())?;
    //! reactor.connect(ClientConfig {
    //!     tls: Some(tls::client(WireKind::WebSocket)?),
    //!     ..ClientConfig::from_url("wss://chat.example.com/room")?
    //! })?;
    //!
    //! // One that believes a root of its own, and shows who it is.
    //! let ours = ClientTls {
    //!     trust: Trust::Roots(Roots::read(Path::new("root.pem"))?),
    //!     identity: Some(PairFiles::new("me.pem", "me.key").read()?),
    //!     ..ClientTls::for_wire(WireKind::Line)
    //! };
    //! reactor.connect(ClientConfig {
    //!     tls: Some(ours.config()?),
    //!     server_name: Some("chat.internal".into()),
    //!     ..ClientConfig::from_url("tcps://192.0.2.7:9443")?
    //! })?;
    //! # Ok::<(), Box<dyn std::error::Error>>(())
    //! ```
    //!
    //! # When it fails
    //!
    //! A connection whose handshake fails ends as [`tls_handshake`](crate::Cause::TlsHandshake), an open one as
    //! [`tls_error`](crate::Cause::TlsError). The reason is one of the names of
    //! [`fault_name`](crate::tls::fault_name).
}

pub mod nesting {
    //! The loop inside another one.
    //!
    //! Sleep until the reactor's descriptor is readable or its [next
    //! timeout](crate::Reactor::next_timeout) is over, then [`turn`](crate::Reactor::turn) with a limit of
    //! zero. Ask for the next timeout anew after each turn, and after each other use of the reactor.
    //!
    //! # epoll, or anything that polls descriptors
    //!
    //! The reactor has [`AsFd`](std::os::fd::AsFd). With mio:
    //!
    //! ```no_run
    //! use std::os::fd::AsRawFd;
    //! use std::time::Duration;
    //!
    //! # #[cfg(feature = "sockets")]
    //! # fn main() -> Result<(), Box<dyn std::error::Error>> {
    //! use heartwheel::mio::unix::SourceFd;
    //! use heartwheel::mio::{Events, Interest, Poll, Token};
    //! use heartwheel::{Handler, Reactor, ReactorConfig};
    //!
    //! # struct Nobody;
    //! # impl Handler for Nobody { type Data = (); }
    //! let (mut reactor, mut handler) = (Reactor::new(ReactorConfig::default())?, Nobody);
    //! let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(64));
    //! let fd = reactor.as_raw_fd();
    //! poll.registry().register(&mut SourceFd(&fd), Token(0), Interest::READABLE)?;
    //! while !reactor.is_stopped() {
    //!     poll.poll(&mut events, reactor.next_timeout())?;
    //!     // Your own events here.
    //!     reactor.turn(&mut handler, Some(Duration::ZERO))?;
    //! }
    //! # Ok(())
    //! # }
    //! # #[cfg(not(feature = "sockets"))]
    //! # fn main() {}
    //! ```
    //!
    //! # tokio
    //!
    //! `AsyncFd` owns what it watches, so give it a duplicate of the descriptor: it stands for the same
    //! selector. The reactor stays outside, where a turn may borrow it. The future is not `Send`: run it
    //! with `block_on`, in a `LocalSet`, or on a current-thread runtime.
    //!
    //! ```no_run
    //! use std::os::fd::{AsFd, OwnedFd};
    //! use std::time::Duration;
    //!
    //! use heartwheel::{Handler, Reactor};
    //! use tokio::io::unix::AsyncFd;
    //!
    //! async fn run<H: Handler<Data = ()>>(
    //!     reactor: &mut Reactor<()>,
    //!     handler: &mut H,
    //! ) -> Result<(), Box<dyn std::error::Error>> {
    //!     let duplicate: OwnedFd = reactor.as_fd().try_clone_to_owned()?;
    //! #   #[allow(deprecated)]
    //!     let watched = AsyncFd::new(duplicate)?;
    //!     while !reactor.is_stopped() {
    //!         let timeout = reactor.next_timeout().unwrap_or(Duration::from_secs(3600));
    //!         // Whichever comes first. An error of `timeout` only says that the time is over.
    //!         if let Ok(ready) = tokio::time::timeout(timeout, watched.readable()).await {
    //!             // Before the turn: what comes during it is a new edge.
    //!             ready?.clear_ready();
    //!         }
    //!         reactor.turn(handler, Some(Duration::ZERO))?;
    //!     }
    //!     Ok(())
    //! }
    //! ```
    //!
    //! The example `in_tokio` is a whole program of that kind.
    //!
    //! The outer loop's work delays the pings of this one: its callbacks must be short too.
}

pub mod features {
    //! Depending on less.
    //!
    //! | for | dependency | packages |
    //! | --- | --- | --- |
    //! | a server or client, WebSocket and all socket options | `heartwheel = { version = "0.1", default-features = false, features = ["websocket", "sockets"] }` | 27 |
    //! | the same with TLS | `heartwheel = { version = "0.1", default-features = false, features = ["websocket", "tls"] }` | 42 |
    //! | lines, frames, raw bytes or own codecs | `heartwheel = { version = "0.1", default-features = false }` | 5 |
    //! | the program `heartwheel` too | `heartwheel = "0.1"` | 75 |
    //!
    //! The packages are counted on Linux, this one included. The [front page](crate#features) says what
    //! each feature adds.
    //!
    //! An option that needs a feature which is off is an error of the configuration, with its name:
    //! `reuse_port` without `sockets`, for example. It is never silently ignored.
}
