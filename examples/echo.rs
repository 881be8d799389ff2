//! A server that sends back what it gets, and says why each connection ended.
//!
//! `cargo run --example echo` listens for WebSockets on 127.0.0.1:9001 and for lines on 127.0.0.1:9002; other
//! addresses may follow `--`. A line on standard input stops it, within 8 s.

use std::env;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use heartwheel::{
    Cause, Closed, ConnId, Context, Handler, ListenerConfig, LoopHandle, Message, Reactor,
    ReactorConfig, SendError, WireFactory,
};

struct Echo;

impl Handler for Echo {
    type Data = ();

    fn on_message(&mut self, cx: &mut Context<'_, ()>, id: ConnId, message: Message<'_>) {
        match cx.send(id, message) {
            Ok(()) | Err(SendError::Closed) => {}
            // Its queue is full: it sends, and does not read. It is read again when there is room.
            Err(SendError::Full { .. }) => cx.pause(id),
            Err(error) => eprintln!("{id}: {error}"),
        }
    }

    fn on_writable(&mut self, cx: &mut Context<'_, ()>, id: ConnId) {
        cx.resume(id);
    }

    fn on_closing(&mut self, _: &mut Context<'_, ()>, id: ConnId, cause: Cause) {
        println!("{id} is no longer there: {cause}");
    }

    fn on_close(&mut self, _: &mut Context<'_, ()>, closed: Closed<'_, ()>) {
        println!(
            "{} of {} ended: {}",
            closed.id, closed.peer, closed.evidence
        );
    }
}

/// Serves WebSockets on the first address and lines on the second. `ready` is told the real ones, and gets a
/// handle that can stop the loop.
pub fn serve(
    addrs: [SocketAddr; 2],
    ready: impl FnOnce([SocketAddr; 2], LoopHandle),
) -> Result<(), Box<dyn Error>> {
    let mut reactor = Reactor::new(ReactorConfig::default())?;
    let [websockets, lines] = addrs;
    let websockets = reactor.listen(ListenerConfig::new(websockets, WireFactory::WebSocket))?;
    let lines = reactor.listen(ListenerConfig::new(lines, WireFactory::Line))?;
    let real = [websockets, lines].map(|id| reactor.local_addr(id).expect("it listens"));
    ready(real, reactor.handle());
    reactor.run(&mut Echo)?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut given = env::args().skip(1);
    let mut addr = |default: &str| given.next().as_deref().unwrap_or(default).parse();
    let addrs = [addr("127.0.0.1:9001")?, addr("127.0.0.1:9002")?];
    serve(addrs, |[websockets, lines], handle| {
        println!("listening websocket {websockets}, lines {lines}");
        thread::spawn(move || stop_at_a_line(&handle));
    })
}

fn stop_at_a_line(handle: &LoopHandle) {
    let read = io::stdin().read_line(&mut String::new());
    // The end of input is no line.
    if read.is_ok_and(|len| len > 0)
        && let Err(error) = handle.drain(Duration::from_secs(8))
    {
        eprintln!("{error}");
    }
}
