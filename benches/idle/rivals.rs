//! tokio-tungstenite and fastwebsockets as servers, on one thread, each connection with an interval and
//! a timeout of its own, as their users write it. Only that the intervals of connections which come at
//! once begin spread, as those of the others do, and as they would be had everyone come at leisure.

use std::io;
use std::pin::pin;
use std::process::exit;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex};
use std::thread;
use std::time::Duration;

use fastwebsockets::{FragmentCollector, Frame, OpCode, Payload, WebSocketError, upgrade};
use futures_util::future::{Either, select};
use futures_util::{SinkExt, StreamExt};
use heartwheel::stats::Histogram;
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Interval, interval_at};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::accept_async_with_config;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::control::{Look, next_command, say, show};
use super::floor::{GOLDEN, listen};
use super::secure;
use super::subject::{ANSWERED, ENDED, HELD, LATENESS, Order, WRITTEN};

/// What the connections of one server count.
struct Counts {
    held: AtomicU64,
    written: AtomicU64,
    answered: AtomicU64,
    ended: AtomicU64,
    lateness: Mutex<Histogram>,
}

static COUNTS: Counts = Counts {
    held: AtomicU64::new(0),
    written: AtomicU64::new(0),
    answered: AtomicU64::new(0),
    ended: AtomicU64::new(0),
    lateness: Mutex::new(Histogram::new()),
};

impl Counts {
    fn opened(&self) {
        self.held.fetch_add(1, Ordering::Relaxed);
    }

    fn over(&self) {
        self.held.fetch_sub(1, Ordering::Relaxed);
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    fn wrote(&self, due: Instant) {
        self.written.fetch_add(1, Ordering::Relaxed);
        let late = due.elapsed();
        self.lateness.lock().unwrap().record(late);
    }

    fn look(&self) -> Look {
        let number = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Look::now()
            .with(HELD, number(&self.held))
            .with(WRITTEN, number(&self.written))
            .with(ANSWERED, number(&self.answered))
            .with(ENDED, number(&self.ended))
            .with_times(LATENESS, &self.lateness.lock().unwrap())
    }
}

fn answer_commands() {
    while let Ok(Some(_)) = next_command() {
        show(&COUNTS.look()).expect("the bench listens");
    }
    exit(0);
}

/// Accepts on the runtime that both projects recommend for a single thread.
pub(crate) fn serve<F>(order: Order, hold: fn(TcpStream, Order) -> F) -> io::Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener: std::net::TcpListener = listen(order.port)?.into();
    say(&listener.local_addr()?.to_string())?;
    thread::spawn(answer_commands);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(hold(stream, order));
        }
    })
}

/// A heartbeat that the connection keeps itself.
struct Beat {
    ticks: Interval,
    timeout: Duration,
    heard: Instant,
}

impl Beat {
    fn new(order: Order) -> Self {
        let number = COUNTS.held.load(Ordering::Relaxed) as u32;
        let phase = f64::from(number.wrapping_mul(GOLDEN)) / f64::from(u32::MAX);
        Self {
            ticks: interval_at(
                Instant::now() + order.interval.mul_f64(phase),
                order.interval,
            ),
            timeout: order.timeout,
            heard: Instant::now(),
        }
    }

    fn is_silent(&self) -> bool {
        self.heard.elapsed() > self.timeout
    }
}

/// With buffers that fit what is expected: the default of 128 KiB a connection would be all there is to
/// see.
pub(crate) async fn hold_with_tungstenite(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    order: Order,
) {
    let config = WebSocketConfig::default()
        .read_buffer_size(1024)
        .write_buffer_size(0);
    let Ok(mut socket) = accept_async_with_config(stream, Some(config)).await else {
        return;
    };
    COUNTS.opened();
    let mut beat = Beat::new(order);
    loop {
        let step = match select(pin!(socket.next()), pin!(beat.ticks.tick())).await {
            Either::Left((message, _)) => Either::Left(message),
            Either::Right((due, _)) => Either::Right(due),
        };
        match step {
            Either::Left(Some(Ok(message))) => {
                beat.heard = Instant::now();
                if message.is_pong() {
                    COUNTS.answered.fetch_add(1, Ordering::Relaxed);
                }
            }
            Either::Left(_) => break,
            Either::Right(due) => {
                let ping = Message::Ping(vec![1, 2, 3, 4].into());
                if beat.is_silent() || socket.send(ping).await.is_err() {
                    break;
                }
                COUNTS.wrote(due);
            }
        }
    }
    COUNTS.over();
}

/// The same by way of tokio-rustls.
pub(crate) async fn hold_with_tungstenite_over_tls(stream: TcpStream, order: Order) {
    static ACCEPTOR: LazyLock<TlsAcceptor> =
        LazyLock::new(|| secure::server().expect("the files are there").into());
    if let Ok(stream) = ACCEPTOR.accept(stream).await {
        hold_with_tungstenite(stream, order).await;
    }
}

/// By way of hyper, as the project's own example.
pub(crate) async fn hold_with_fastwebsockets(stream: TcpStream, order: Order) {
    let switch = move |request| switch_protocols(request, order);
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service_fn(switch))
        .with_upgrades()
        .await;
}

async fn switch_protocols(
    mut request: Request<Incoming>,
    order: Order,
) -> Result<Response<Empty<Bytes>>, WebSocketError> {
    let (response, upgraded) = upgrade::upgrade(&mut request)?;
    tokio::spawn(async move {
        if let Ok(socket) = upgraded.await {
            COUNTS.opened();
            hold_upgraded(FragmentCollector::new(socket), order).await;
            COUNTS.over();
        }
    });
    Ok(response)
}

async fn hold_upgraded(
    mut socket: FragmentCollector<TokioIo<hyper::upgrade::Upgraded>>,
    order: Order,
) {
    let mut beat = Beat::new(order);
    loop {
        let step = match select(pin!(socket.read_frame()), pin!(beat.ticks.tick())).await {
            Either::Left((frame, _)) => Either::Left(frame.map(|frame| frame.opcode)),
            Either::Right((due, _)) => Either::Right(due),
        };
        match step {
            Either::Left(Ok(opcode)) => {
                beat.heard = Instant::now();
                if opcode == OpCode::Pong {
                    COUNTS.answered.fetch_add(1, Ordering::Relaxed);
                }
            }
            Either::Left(Err(_)) => return,
            Either::Right(due) => {
                let payload = Payload::Borrowed(&[1, 2, 3, 4]);
                let ping = Frame::new(true, OpCode::Ping, None, payload);
                if beat.is_silent() || socket.write_frame(ping).await.is_err() {
                    return;
                }
                COUNTS.wrote(due);
            }
        }
    }
}
