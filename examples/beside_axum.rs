//! Heartwheel beside axum, on one port: axum serves HTTP and checks who may upgrade; the WebSockets go on in
//! the loop, where an idle one costs next to nothing and has its heartbeat.
//!
//! `cargo run --example beside_axum` listens on 127.0.0.1:9001, or on the address that follows `--`.
//!
//! - `GET /feed/NAME`, upgraded to WebSocket, is the feed of a user;
//! - `POST /push/NAME` sends its body to each feed of that user;
//! - `GET /online` counts the feeds.

use std::convert::Infallible;
use std::env;
use std::error::Error;
use std::net::{SocketAddr, TcpStream};
use std::thread;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use heartwheel::proto::websocket::handshake::accept_of;
use heartwheel::{
    Adoption, Cause, ConnId, Context, Handler, ListenerConfig, ListenerId, LoopHandle, Message,
    Reactor, ReactorConfig, SharedMessage, WireFactory,
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::upgrade::downcast;
use tokio::sync::oneshot;

/// What axum's handlers ask of the loop.
#[derive(Debug)]
pub enum Order {
    /// Go on with a connection that was upgraded, whose user is known.
    Adopt(TcpStream, Vec<u8>, String),
    /// Say how many feeds there are.
    Count(oneshot::Sender<usize>),
}

type Feeds = LoopHandle<String, Order>;

/// The loop's side. The data of a connection is its user, and the user's feeds are a topic.
struct Push {
    upgrades: ListenerId,
}

impl Handler<Order> for Push {
    type Data = String;

    fn on_command(&mut self, cx: &mut Context<'_, String>, order: Order) {
        match order {
            Order::Adopt(socket, received, user) => {
                let opened = Some(user);
                let adoption = Adoption { received, opened };
                if let Err(error) = cx.adopt(self.upgrades, socket, adoption) {
                    eprintln!("{error}");
                }
            }
            // Whoever asked may have gone.
            Order::Count(reply) => _ = reply.send(cx.len()),
        }
    }

    fn on_open(&mut self, cx: &mut Context<'_, String>, id: ConnId) {
        let user = cx.data(id).cloned().unwrap_or_default();
        if let Err(error) = cx.subscribe(id, &user) {
            eprintln!("{user}: {error}");
        }
    }

    fn on_closing(&mut self, cx: &mut Context<'_, String>, id: ConnId, cause: Cause) {
        println!("{:?} is gone: {cause}", cx.data(id));
    }
}

/// Answers an upgrade (RFC 6455, section 4.2.2), and hands the connection over when the answer has left.
async fn feed(State(feeds): State<Feeds>, Path(user): Path<String>, upgrade: Upgrade) -> Response {
    let Upgrade(Some((accept, upgraded))) = upgrade else {
        return (StatusCode::UPGRADE_REQUIRED, "this is a websocket\n").into_response();
    };
    tokio::spawn(async move {
        let handed_over = match upgraded.await {
            Ok(upgraded) => hand_over(&feeds, upgraded, user),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = handed_over {
            eprintln!("the upgrade failed: {error}");
        }
    });
    let answer = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::UPGRADE, "websocket")
        .header(header::CONNECTION, "upgrade")
        .header(header::SEC_WEBSOCKET_ACCEPT, accept);
    answer
        .body(Body::empty())
        .unwrap_or_else(|error| error.to_string().into_response())
}

fn hand_over(feeds: &Feeds, upgraded: Upgraded, user: String) -> Result<(), Box<dyn Error>> {
    let parts = downcast::<TokioIo<tokio::net::TcpStream>>(upgraded)
        .map_err(|_| "axum listens on something else than TCP")?;
    let socket = parts.io.into_inner().into_std()?;
    feeds.command(Order::Adopt(socket, parts.read_buf.to_vec(), user))?;
    Ok(())
}

/// What an upgrade needs, if the request is one.
struct Upgrade(Option<(String, OnUpgrade)>);

impl<S: Sync> FromRequestParts<S> for Upgrade {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let is_websocket = is(&parts.headers, header::UPGRADE, "websocket")
            && is(&parts.headers, header::SEC_WEBSOCKET_VERSION, "13");
        let key = parts.headers.get(header::SEC_WEBSOCKET_KEY);
        let Some(key) = key.filter(|_| is_websocket) else {
            return Ok(Self(None));
        };
        let accept = String::from_utf8_lossy(&accept_of(key.as_bytes())).into_owned();
        let upgraded = parts.extensions.remove::<OnUpgrade>();
        Ok(Self(upgraded.map(|upgraded| (accept, upgraded))))
    }
}

fn is(headers: &HeaderMap, name: header::HeaderName, value: &str) -> bool {
    let found = headers.get(name).and_then(|found| found.to_str().ok());
    found.is_some_and(|found| found.eq_ignore_ascii_case(value))
}

async fn push(
    State(feeds): State<Feeds>,
    Path(user): Path<String>,
    text: String,
) -> (StatusCode, String) {
    match feeds.publish(&user, SharedMessage::new(Message::text(&text))) {
        Ok(()) => (StatusCode::ACCEPTED, String::new()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}

async fn online(State(feeds): State<Feeds>) -> Result<String, StatusCode> {
    let (reply, count) = oneshot::channel();
    let asked = feeds.command(Order::Count(reply));
    asked.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    let count = count.await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok(format!("{count}\n"))
}

/// Serves on an address. `ready` is told the real one, and gets a handle; when the loop stops, all ends.
pub fn serve(
    addr: SocketAddr,
    ready: impl FnOnce(SocketAddr, Feeds),
) -> Result<(), Box<dyn Error>> {
    let mut reactor = Reactor::new(ReactorConfig::default())?;
    let upgrades = reactor.listen(ListenerConfig::nowhere(WireFactory::WebSocket))?;
    let handle = reactor.handle();
    let router = Router::new()
        .route("/feed/{user}", get(feed))
        .route("/push/{user}", post(push))
        .route("/online", get(online))
        .with_state(handle.clone());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let listener = runtime.block_on(tokio::net::TcpListener::bind(addr))?;
    ready(listener.local_addr()?, handle);
    let (stopped, stop) = oneshot::channel::<()>();
    let http = thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                served = axum::serve(listener, router) => served,
                _ = stop => Ok(()),
            }
        })
    });
    reactor.run(&mut Push { upgrades })?;
    drop(stopped);
    http.join().map_err(|_| "axum's thread panicked")??;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let given = env::args().nth(1);
    let addr = given.as_deref().unwrap_or("127.0.0.1:9001").parse()?;
    serve(addr, |addr, _| println!("listening http://{addr}"))
}
