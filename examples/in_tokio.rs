//! A loop nested in tokio: connections are Heartwheel's, everything else is a task.
//!
//! `cargo run --example in_tokio` listens for lines on 127.0.0.1:9002, or on the address that follows `--`. A
//! task counts and publishes; another one answers questions, and may take its time.

use std::env;
use std::error::Error;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use heartwheel::{
    ConnId, Context, Handler, HeartbeatConfig, ListenerConfig, LoopHandle, Message, Reactor,
    ReactorConfig, SharedMessage, WireFactory,
};
use tokio::io::unix::AsyncFd;
use tokio::runtime::Builder;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{interval, sleep, timeout};

/// Subscribes everybody to the count, and hands questions to tasks.
struct Desk(LoopHandle);

impl Handler for Desk {
    type Data = ();

    fn on_open(&mut self, cx: &mut Context<'_, ()>, id: ConnId) {
        if let Err(error) = cx.subscribe(id, "count") {
            eprintln!("{id}: {error}");
        }
    }

    fn on_message(&mut self, _: &mut Context<'_, ()>, id: ConnId, message: Message<'_>) {
        let question = message.as_text().unwrap_or_default().to_owned();
        // A handle, because a task cannot borrow the loop.
        let handle = self.0.clone();
        spawn_local(async move {
            sleep(Duration::from_millis(50)).await;
            let answer = format!("you asked: {question}");
            if let Err(error) = handle.send(id, SharedMessage::new(Message::text(&answer))) {
                eprintln!("{id}: {error}");
            }
        });
    }
}

/// Turns the loop whenever its selector has events, or something is due.
async fn turn_until_stopped(
    reactor: &mut Reactor<()>,
    handler: &mut Desk,
) -> Result<(), Box<dyn Error>> {
    // `AsyncFd` owns what it watches. The duplicate stands for the same selector.
    let duplicate: OwnedFd = reactor.as_fd().try_clone_to_owned()?;
    #[allow(deprecated, reason = "its successor is unsafe, and this one is owned")]
    let selector = AsyncFd::new(duplicate)?;
    while !reactor.is_stopped() {
        let is_readable = async {
            // Before the turn: what comes during it is a new edge.
            selector
                .readable()
                .await
                .map(|mut ready| ready.clear_ready())
        };
        match reactor.next_timeout() {
            // An error of `timeout` says that the time is over.
            Some(limit) => _ = timeout(limit, is_readable).await,
            None => is_readable.await?,
        }
        reactor.turn(handler, Some(Duration::ZERO))?;
    }
    Ok(())
}

async fn count(handle: LoopHandle) {
    let mut seconds = interval(Duration::from_secs(1));
    for number in 0_u64.. {
        seconds.tick().await;
        let text = format!("tick {number}");
        if let Err(error) = handle.publish("count", SharedMessage::new(Message::text(&text))) {
            // The loop is gone, or far behind.
            eprintln!("{text}: {error}");
        }
    }
}

/// Serves on an address. `ready` is told the real one, and gets a handle that can stop the loop.
pub fn serve(
    addr: SocketAddr,
    ready: impl FnOnce(SocketAddr, LoopHandle),
) -> Result<(), Box<dyn Error>> {
    let mut reactor = Reactor::new(ReactorConfig::default())?;
    let mut config = ListenerConfig::new(addr, WireFactory::Line);
    // People who type answer no pings.
    config.heartbeat = HeartbeatConfig {
        interval: None,
        timeout: None,
        ..HeartbeatConfig::tcp()
    };
    let id = reactor.listen(config)?;
    let handle = reactor.handle();
    ready(reactor.local_addr(id).expect("it listens"), handle.clone());
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        spawn_local(count(handle.clone()));
        turn_until_stopped(&mut reactor, &mut Desk(handle)).await
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let given = env::args().nth(1);
    let addr = given.as_deref().unwrap_or("127.0.0.1:9002").parse()?;
    serve(addr, |addr, _| println!("listening lines {addr}"))
}
